/* SPDX-License-Identifier: BSD-3-Clause */
/* FUSE requests: built in a slot, put into the ring, taken back and checked. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "sfs_base.h"
#include "sfs_fe_guest.h"

#define FC_SPINS    20000
#define FC_SLEEP_NS 50000
#define FC_LOOK_MS  100 /* a sleeping wait looks this often whether the daemon is still there */

struct sfs_fg_req *sfs_fg_req_get(struct sfs_fg_queue *q)
{
	struct sfs_fg_req *req = q->free;

	if (req)
		q->free = req->next;
	return req;
}

void sfs_fg_req_put(struct sfs_fg_req *req)
{
	req->next = req->queue->free;
	req->queue->free = req;
}

static unsigned fc_seg(struct sfs_fe_seg *segs, unsigned n, uint64_t gpa, uint32_t bytes)
{
	if (!bytes)
		return n;
	segs[n] = (struct sfs_fe_seg){.gpa = gpa, .bytes = bytes};
	return n + 1;
}

static unsigned fc_data_segs(const struct sfs_fg_queue *q, unsigned n, uint64_t gpa, uint32_t bytes)
{
	uint32_t step = q->guest->opts.seg_bytes ? q->guest->opts.seg_bytes : bytes;

	for (; bytes > step; gpa += step, bytes -= step)
		n = fc_seg(q->segs, n, gpa, step);
	return fc_seg(q->segs, n, gpa, bytes);
}

int sfs_fg_start(struct sfs_fg_req *req, const struct sfs_fg_call *call)
{
	struct sfs_fg_queue *q = req->queue;
	struct sfs_fg *g = q->guest;
	uint32_t args_bytes = call->args_bytes + call->tail_bytes[0] + call->tail_bytes[1];
	bool is_long = args_bytes > SFS_FG_ARGS_INLINE;
	uint8_t *args = is_long ? req->args_long : req->args;
	uint32_t data_max = q->idx == SFS_FG_HIPRIO ? 0 : g->opts.data_bytes;
	unsigned readable, total;

	if (args_bytes > SFS_FG_ARGS_MAX || call->out_bytes > SFS_FG_OUT_MAX ||
	    call->data_readable > data_max || call->data_writable > data_max)
		return -EINVAL;
	req->unique = q->next_unique;
	*req->in = (struct fuse_in_header){
	    .len = (uint32_t)sizeof(*req->in) + args_bytes + call->data_readable,
	    .opcode = call->opcode,
	    .unique = req->unique,
	    .nodeid = call->nodeid,
	    .uid = g->uid,
	    .gid = g->gid,
	    .pid = g->pid,
	};
	if (call->args_bytes)
		memcpy(args, call->args, call->args_bytes);
	args += call->args_bytes;
	for (unsigned i = 0; i < 2 && call->tail_bytes[i]; i++) {
		memcpy(args, call->tail[i], call->tail_bytes[i]);
		args += call->tail_bytes[i];
	}
	req->out_room = call->out_bytes;
	req->data_room = call->data_writable;
	req->out_short = call->out_short;
	req->no_reply = call->no_reply;
	req->done = false;

	readable = fc_seg(q->segs, 0, req->in_gpa, sizeof(*req->in));
	readable = fc_seg(q->segs, readable, is_long ? req->args_long_gpa : req->args_gpa, args_bytes);
	readable = fc_data_segs(q, readable, req->data_gpa, call->data_readable);
	total = readable;
	if (!call->no_reply) {
		total = fc_seg(q->segs, total, req->out_gpa, sizeof(*req->out));
		total = fc_seg(q->segs, total, req->out_args_gpa, call->out_bytes);
		total = fc_data_segs(q, total, req->data_gpa, call->data_writable);
	}
	int rc = sfs_fe_ring_add(&q->ring, q->segs, readable, total - readable, req);
	if (rc == 0)
		q->next_unique += 2;
	return rc;
}

/* What the reply says, as req->result. */
static int fc_judge(struct sfs_fg_req *req)
{
	const struct fuse_out_header out = *req->out;
	uint32_t body = out.len - (uint32_t)sizeof(out);

	if (req->no_reply)
		return 0;
	if (out.len < sizeof(out) || body > req->out_room + req->data_room || out.unique != req->unique)
		return -EPROTO;
	if (out.error)
		return out.error < 0 && out.error > -4096 && body == 0 ? out.error : -EPROTO;
	if (body < req->out_room) {
		if (!req->out_short)
			return -EPROTO;
		memset(req->out_args + body, 0, req->out_room - body);
		return 0;
	}
	return (int)(body - req->out_room);
}

static int fc_take(struct sfs_fg_queue *q, struct sfs_fg_req **req)
{
	void *token;
	uint32_t bytes;
	int rc = sfs_fe_ring_poll(&q->ring, &token, &bytes);

	if (rc <= 0)
		return rc;
	*req = token;
	(*req)->used_bytes = bytes;
	(*req)->result = fc_judge(*req);
	(*req)->done = true;
	return 1;
}

int sfs_fg_poll(struct sfs_fg_queue *q, struct sfs_fg_req **req)
{
	if (SFS_UNLIKELY(q->done_head != NULL)) {
		*req = q->done_head;
		q->done_head = (*req)->next;
		if (!q->done_head)
			q->done_tail = &q->done_head;
		return 1;
	}
	return fc_take(q, req);
}

/* Whether the daemon has closed the connection. */
static bool fc_hung_up(const struct sfs_fg *g)
{
	struct pollfd pfd = {.fd = g->fe.fd, .events = 0};

	return g->fe.fd >= 0 && poll(&pfd, 1, 0) > 0;
}

/* Between two looks at the ring: a short spin at first, then short sleeps. 1: the daemon was gone before this
 * pause. */
static int fc_pause(struct sfs_fg_queue *q, unsigned *spins)
{
	if (++*spins < FC_SPINS && !q->ring.interrupts) {
		sfs_pause();
		return 0;
	}
	int gone = fc_hung_up(q->guest);
	if (q->ring.interrupts) {
		int rc = sfs_fe_ring_wait(&q->ring, gone ? 0 : FC_LOOK_MS);

		return rc < 0 && rc != -ETIMEDOUT ? rc : gone;
	}
	nanosleep(&(struct timespec){.tv_nsec = FC_SLEEP_NS}, NULL);
	return gone;
}

int sfs_fg_wait(struct sfs_fg_req *req)
{
	struct sfs_fg_queue *q = req->queue;
	uint64_t deadline = sfs_now_ns() + q->guest->timeout_ms * SFS_NS_PER_MS;
	unsigned spins = 0;
	int gone = 0;

	while (!req->done) {
		struct sfs_fg_req *other;
		int rc = fc_take(q, &other);

		if (rc == 1 && other != req) {
			other->next = NULL;
			*q->done_tail = other;
			q->done_tail = &other->next;
		}
		if (rc == 0) {
			if (gone || sfs_now_ns() >= deadline)
				return gone ? -ECONNRESET : -ETIMEDOUT;
			gone = rc = fc_pause(q, &spins);
		}
		if (rc < 0)
			return rc;
	}
	for (struct sfs_fg_req **at = &q->done_head; *at; at = &(*at)->next) {
		if (*at != req)
			continue;
		*at = req->next;
		if (!*at)
			q->done_tail = at;
		break;
	}
	return 0;
}

int sfs_fg_call(struct sfs_fg *g, const struct sfs_fg_call *call, const void *data_in, void *out,
		void *data_out)
{
	struct sfs_fg_queue *q =
	    call->no_reply || call->opcode == FUSE_INTERRUPT ? &g->queue[SFS_FG_HIPRIO] : g->sync_queue;
	struct sfs_fg_req *req = sfs_fg_req_get(q);

	if (!req)
		return -ENOSPC;
	if (data_in && call->data_readable <= g->opts.data_bytes)
		memcpy(req->data, data_in, call->data_readable);
	int rc = sfs_fg_start(req, call);
	if (rc < 0) {
		sfs_fg_req_put(req);
		return rc;
	}
	rc = sfs_fg_publish(q);
	if (rc >= 0)
		rc = sfs_fg_wait(req);
	if (rc < 0)
		return rc;
	rc = req->result;
	if (rc >= 0 && out)
		memcpy(out, req->out_args, call->out_bytes);
	if (rc > 0 && data_out)
		memcpy(data_out, req->data, (size_t)rc);
	sfs_fg_req_put(req);
	return rc;
}
