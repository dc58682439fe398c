/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz_rig.h"
#include "sfs_log.h"

static struct sfs_session *se;
static struct sfs_lane lane;
static void *fs;
static uint8_t out[FZ_BYTES];

/* --- workers without threads --- */

void sfs_call_submit(struct sfs_workers_client *client, struct sfs_call *call)
{
	struct sfs_call_port *port = call->port;

	call->fn(call);
	if (!port)
		return;
	call->next = atomic_load(&port->done);
	atomic_store(&port->done, call);
}

struct sfs_call *sfs_call_reap(struct sfs_call_port *port)
{
	return atomic_exchange(&port->done, NULL);
}

/* --- requests --- */

/* At most 300 segments of the given size; the last one takes what is left. */
static unsigned cut(struct iovec *to, uint8_t *at, uint32_t bytes, uint32_t piece)
{
	unsigned n = 0;

	while (bytes) {
		uint32_t len = piece && n < 300 ? SFS_MIN(piece, bytes) : bytes;

		to[n++] = (struct iovec){at, len};
		at += len;
		bytes -= len;
	}
	return n;
}

static void check_reply(const struct fz_msg *m, uint32_t used, uint64_t unique)
{
	const struct fuse_out_header *head = (const void *)out;

	MUST(used >= sizeof(*head) && used <= m->out_bytes);
	MUST(head->len == used);
	MUST(head->unique == unique);
	MUST(head->error <= 0 && head->error > -4096);
	MUST(head->error == 0 || used == sizeof(*head));
	MUST(head->error != -EAGAIN && head->error != -EINTR);
	if (head->error) /* behind an error nothing was written */
		for (uint32_t i = used; i < m->out_bytes && i < used + 256; i++)
			MUST(out[i] == 0xa5);
}

const struct fuse_out_header *fz_request(const struct fz_msg *m)
{
	struct fuse_in_header in = {0};
	struct iovec *big;
	struct sfs_req *req = sfs_lane_slot_get(&lane, &big);
	struct sfs_chain *c;
	uint32_t used;

	MUST(req && m->out_bytes <= sizeof(out));
	memcpy(&in, m->in, SFS_MIN(m->in_bytes, (uint32_t)sizeof(in)));
	memset(out, 0xa5, m->out_bytes);
	c = &req->chain;
	c->iov = big;
	c->readable_bytes = m->in_bytes;
	c->writable_bytes = m->out_bytes;
	c->readable_count = (uint16_t)cut(c->iov, m->in, m->in_bytes, m->in_piece);
	c->writable_count = (uint16_t)cut(c->iov + c->readable_count, out, m->out_bytes, m->out_piece);
	sfs_lane_big_take(&lane, req);
	sfs_req_begin(req);
	for (unsigned turn = 0; turn < 10 && !lane.ended.first; turn++) {
		lane.now_ns += 1000;
		sfs_lane_resume(&lane);
	}
	MUST(sfs_req_list_pop(&lane.ended) == req); /* every request ends */
	MUST(!lane.ended.first);
	used = sfs_req_answer(req, 0);
	sfs_lane_slot_put(&lane, req);
	MUST(lane.in_flight == 0 && lane.bytes_in_flight == 0 && lane.waiter_count == 0 &&
	     lane.calls_out == 0);
	MUST(lane.bufs.free_count == lane.slot_count && lane.bigs.free_count == lane.slot_count);
	if (!used)
		return NULL;
	check_reply(m, used, in.unique);
	return (const void *)out;
}

static void simple(uint32_t opcode, const void *arg, uint32_t arg_bytes, const char *tail,
		   uint32_t tail_bytes)
{
	uint8_t buf[512];
	struct fuse_in_header in = {.len = (uint32_t)sizeof(in) + arg_bytes + tail_bytes,
				    .opcode = opcode,
				    .unique = 1,
				    .nodeid = FUSE_ROOT_ID};
	const struct fz_msg m = {.in = buf, .in_bytes = in.len, .out_bytes = 4096};
	const struct fuse_out_header *head;

	memcpy(buf, &in, sizeof(in));
	if (arg_bytes)
		memcpy(buf + sizeof(in), arg, arg_bytes);
	if (tail_bytes)
		memcpy(buf + sizeof(in) + arg_bytes, tail, tail_bytes);
	head = fz_request(&m);
	MUST(head && head->error == 0);
}

void fz_begin(const struct fz_fs *of)
{
	const struct fuse_init_in init = {.major = 7, .minor = 38, .flags = INT32_MAX};
	const struct fuse_create_in create = {.flags = 2 /* O_RDWR */, .mode = S_IFREG | 0644};
	const struct fuse_mkdir_in mkdir = {.mode = 0755};
	struct sfs_session_opts so = {.fs = of->ops,
				      .limits = {.inodes = 64, .handles = 16, .fds = 16, .lock_waiters = 4},
				      .block_policy = SFS_BLOCK_NEVER,
				      .lane_count = 1,
				      .workers = (void *)&lane};
	struct sfs_lane_opts lo = {
	    .slot_count = 4, .workers = so.workers, .engine = of->engine, .aio.depth = 4};
	struct sfs_fs_info info = {0};
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err;

	sfs_log_setup(SFS_LOG_OFF, SFS_LOG_STDERR);
	MUST(sfs_conf_doc_parse(of->options, strlen(of->options), "options", &doc, &err) == 0);
	MUST(of->ops->create(sfs_conf_doc_root(doc), &fs, &info, &err) == 0);
	sfs_conf_doc_destroy(doc);
	so.fs_ctx = fs;
	so.init_flags = info.init_flags;
	so.limits.node_fds = SFS_MIN(info.node_fds_max, 8u);
	MUST(sfs_session_create(&so, &se) == 0 && sfs_session_begin(se) == 0);
	lo.session = se;
	MUST(sfs_lane_init(&lane, &lo) == 0);
	sfs_session_lane_join(se, 0);
	simple(FUSE_INIT, &init, sizeof(init), NULL, 0);
	simple(FUSE_CREATE, &create, sizeof(create), "file", 5);
	simple(FUSE_MKDIR, &mkdir, sizeof(mkdir), "dir", 4);
	simple(FUSE_SYMLINK, NULL, 0, "link\0target", 12);
}

void fz_end(const struct fz_fs *of)
{
	struct sfs_session_figures fig;

	sfs_session_lane_leave(se, 0);
	sfs_lane_fini(&lane);
	sfs_session_end(se);
	sfs_session_figures(se, &fig);
	MUST(fig.inodes == 0 && fig.handles == 0 && fig.fds == 0);
	sfs_session_destroy(se);
	of->ops->destroy(fs);
}
