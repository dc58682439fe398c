/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of a request between accept and answer: run, park, resume, end.
 */
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "sfs_iov.h"
#include "sfs_lock.h"
#include "sfs_log.h"
#include "plant.h"
#include "session_priv.h"

/* How many completions one look takes. */
#define REAP_BATCH 64

/* What it may take to look at one of the objects of a listing, on any host. */
#define LOOK_US 4

/* I/Os that go to a busy disk together, while requests come turn after turn. */
#define SUBMIT_TOGETHER     8
#define SUBMITS_PUT_OFF_MAX 4

/* How often who waits for a lock looks again unasked: a holder outside of this device wakes nobody. */
#define LOCK_EVERY_MIN SFS_NS_PER_MS
#define LOCK_EVERY_MAX (32 * SFS_NS_PER_MS)

__thread bool sfs_on_worker;

/* --- running --- */

void sfs_req_run(struct sfs_req *req)
{
	sfs_op_fn fn = req->session->fn[req->op->opcode];
	int rc;

	do {
		assert(req->state == SFS_REQ_RUNNING);
		rc = fn(req);
	} while (rc == SFS_AGAIN);
	if (rc == SFS_PARKED) {
		assert(req->state != SFS_REQ_RUNNING);
		return;
	}
	assert(rc <= 0);
	sfs_req_end(req, rc);
	if (sfs_plant("double_end") && rc < 0 && req->path == SFS_PATH_WORKER)
		sfs_req_list_push(&req->lane->ended, req);
}

/* Enters a parked request again. */
static void req_resume(struct sfs_req *req, int64_t res)
{
	req->res = res;
	req->state = SFS_REQ_RUNNING;
	sfs_req_run(req);
}

void sfs_req_expect(const struct sfs_req *req)
{
	const struct sfs_session *se = req->session;
	const struct iovec *iov = req->chain.iov;
	uint64_t nodeid;

	if (req->chain.readable_count == 0 || iov->iov_len < sizeof(struct fuse_in_header))
		return;
	memcpy(&nodeid, (const char *)iov->iov_base + offsetof(struct fuse_in_header, nodeid),
	       sizeof(nodeid));
	if ((uint32_t)nodeid < se->node_cap)
		__builtin_prefetch(&se->nodes[(uint32_t)nodeid]);
}

void sfs_req_begin(struct sfs_req *req)
{
	struct sfs_lane *lane = req->lane;
	int rc;

	assert(req->state == SFS_REQ_FREE);
	req->state = SFS_REQ_RUNNING;
	req->start_ns = lane->now_ns;
	req->op = NULL;
	req->path = SFS_PATH_INLINE;
	req->step = 0;
	req->out_bytes = 0;
	req->res = 0;
	req->data_bytes = req->data_left = 0;
	req->data_cnt = 0;
	req->head_saved_idx = -1;
	req->extra_bytes = 0;
	req->lock_waiter = false;
	memset(req->drv, 0, sizeof(req->drv));
	SFS_STAT_ADD(lane->requests, 1);
	lane->bytes_in_flight += req->chain.readable_bytes + req->chain.writable_bytes;
	rc = sfs_req_parse(req);
	sfs_share_begin(req);
	if (!req->buf_taken && !(req->op && (req->op->flags & SFS_OP_BUF)))
		lane_buf_put(req);
	if (SFS_LIKELY(rc == 0)) {
		sfs_req_run(req);
		return;
	}
	if (rc > 0) {
		req->op = NULL;
		rc = -EBADMSG;
	}
	SFS_STAT_ADD(lane->bad_requests, 1);
	sfs_req_end(req, rc);
}

/* --- waiting --- */

static int req_park(struct sfs_req *req, uint16_t step, enum sfs_req_state state)
{
	assert(req->state == SFS_REQ_RUNNING);
	req->step = step;
	req->state = state;
	return SFS_PARKED;
}

static bool lane_try_io(struct sfs_lane *lane, struct sfs_req *req)
{
	if (sfs_aio_queue(&lane->aio, &req->io) < 0)
		return false;
	lane->io_uncommitted++;
	return true;
}

static void lane_queue_io(struct sfs_lane *lane, struct sfs_req *req)
{
	if (lane->io_wait.first || !lane_try_io(lane, req))
		sfs_req_list_push(&lane->io_wait, req);
}

int sfs_req_io(struct sfs_req *req, uint16_t step, enum sfs_io_kind kind, struct sfs_fdent *ent,
	       uint64_t offset, unsigned flags, int rw_flags)
{
	req_park(req, step, SFS_REQ_IO);
	if (req->path < SFS_PATH_ENGINE)
		req->path = SFS_PATH_ENGINE;
	req->io.kind = (uint8_t)kind;
	req->io.flags = (uint8_t)flags;
	req->io.fd = ent->fd;
	req->io.file = &ent->file;
	req->io.file_idx = (uint32_t)(ent - req->session->fds);
	req->io.rw_flags = rw_flags;
	req->io.iov = req->data;
	req->io.iovcnt = req->data_cnt;
	req->io.offset = offset;
	if ((flags & SFS_IO_F_AT_ONCE) && sfs_group_queue(req->lane->group, req))
		return SFS_PARKED;
	req->io.flags &= (uint8_t)~SFS_IO_F_AT_ONCE; /* a lane's engine may refuse that for ever */
	lane_queue_io(req->lane, req);
	return SFS_PARKED;
}

void sfs_req_done_at_once(struct sfs_req *req)
{
	assert(req->state == SFS_REQ_IO);
	if (req->io.res == -EAGAIN || req->io.res == -EINTR) {
		req->io.flags &= (uint8_t)~SFS_IO_F_AT_ONCE;
		lane_queue_io(req->lane, req);
	} else {
		req_resume(req, req->io.res);
	}
}

/* Runs on the worker. */
static void call_trampoline(struct sfs_call *call)
{
	struct sfs_req *req = SFS_CONTAINER_OF(call, struct sfs_req, call);

	sfs_on_worker = true;
	req->res = req->call_fn(req);
	sfs_on_worker = false;
}

int sfs_req_call(struct sfs_req *req, uint16_t step, int64_t (*fn)(struct sfs_req *req))
{
	struct sfs_lane *lane = req->lane;

	req_park(req, step, SFS_REQ_CALL);
	req->path = SFS_PATH_WORKER;
	req->call_fn = fn;
	req->call.fn = call_trampoline;
	req->call.port = &lane->port;
	lane->calls_out++;
	sfs_call_submit(lane->workers, &req->call);
	return SFS_PARKED;
}

/* What a call that began at @begin took, less what it usually takes to look at so many objects. */
static uint64_t call_ticks(const struct sfs_req *req, uint64_t begin)
{
	uint64_t took = sfs_ticks() - begin, usual;

	if (SFS_LIKELY(!req->looked))
		return took;
	usual = (uint64_t)req->looked * LOOK_US * sfs_ticks_per_us();
	return took > usual ? took - usual : 0;
}

int sfs_req_block(struct sfs_req *req, uint16_t step, int64_t (*fn)(struct sfs_req *req))
{
	enum sfs_call_kind kind = req->op->flags & SFS_OP_MUTATES ? SFS_CALL_CHANGES : SFS_CALL_LOOKS;
	struct sfs_session *se = req->session;
	uint64_t begin;

	req->looked = 0;
	switch (se->policy) {
	case SFS_BLOCK_NEVER:
		return sfs_req_call(req, step, fn);
	case SFS_BLOCK_AUTO:
		if (sfs_session_is_slow(se, kind, req->lane->now_ns))
			return sfs_req_call(req, step, fn);
		begin = sfs_ticks();
		req->res = fn(req);
		sfs_session_call_cost(se, kind, call_ticks(req, begin));
		break;
	case SFS_BLOCK_ALWAYS:
		req->res = fn(req);
		break;
	}
	sfs_req_share_looked(req, req->looked);
	req->step = step;
	return SFS_AGAIN;
}

int sfs_req_wait(struct sfs_req *req, uint16_t step, uint64_t epoch)
{
	struct sfs_lane *lane = req->lane;

	req_park(req, step, SFS_REQ_WAIT);
	req->wait_epoch = epoch;
	atomic_fetch_add(&req->session->waiters, 1);
	lane->waiter_count++;
	sfs_req_list_push(&lane->waiters, req);
	return SFS_PARKED;
}

/* --- waiting for locks --- */

/* Sets the time of the next look, and what ends the reactor's sleep then. */
static void lock_retry_arm(struct sfs_lane *lane)
{
	struct itimerspec when = {.it_value.tv_nsec = (long)lane->lock_every_ns};

	lane->lock_retry_ns = lane->now_ns + lane->lock_every_ns;
	if (lane->lock_timer >= 0)
		timerfd_settime(lane->lock_timer, 0, &when, NULL);
}

/* A reactor that may sleep needs a timer. */
static bool lock_timer_ready(struct sfs_lane *lane)
{
	if (lane->lock_timer >= 0 || !lane->reactor || sfs_reactor_idle(lane->reactor) == SFS_IDLE_SPIN)
		return true;
	lane->lock_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (lane->lock_timer >= 0 && sfs_reactor_fd_add(lane->reactor, lane->lock_timer) < 0) {
		close(lane->lock_timer);
		lane->lock_timer = -1;
	}
	return lane->lock_timer >= 0;
}

static bool lane_refuses_lock_waits(const struct sfs_lane *lane)
{
	return lane->ending || atomic_load(&lane->session->barrier);
}

static bool lock_wait_admit(struct sfs_req *req)
{
	struct sfs_session *se = req->session;
	struct sfs_lane *lane = req->lane;

	if (lane_refuses_lock_waits(lane))
		return false;
	if (req->lock_waiter)
		return true;
	if (lane->lock_waiter_count < lane->slot_count / 2 && lock_timer_ready(lane)) {
		if (atomic_fetch_add(&se->lock_waiters, 1) < se->limits.lock_waiters) {
			req->lock_waiter = true;
			lane->lock_waiter_count++;
			lane->lock_every_ns = LOCK_EVERY_MIN;
			lock_retry_arm(lane);
			if (!(req->arg.lk.lk_flags & FUSE_LK_FLOCK))
				sfs_lock_wait_add(req);
			return true;
		}
		atomic_fetch_sub(&se->lock_waiters, 1);
	}
	sfs_session_limit_hit(se);
	return false;
}

int sfs_req_lock_waits(struct sfs_req *req)
{
	return lock_wait_admit(req) ? 0 : -ENOLCK;
}

int sfs_req_wait_lock(struct sfs_req *req, uint16_t step, uint64_t epoch)
{
	if (lock_wait_admit(req))
		return sfs_req_wait(req, step, epoch);
	req->step = step;
	req->res = -ENOLCK;
	return SFS_AGAIN;
}

static void lock_wait_end(struct sfs_req *req)
{
	sfs_lock_wait_forget(req);
	req->lane->lock_waiter_count--;
	atomic_fetch_sub(&req->session->lock_waiters, 1);
}

void sfs_lane_end_lock_waits(struct sfs_lane *lane)
{
	lane->ending = true;
}

struct sfs_req *sfs_lane_aside(struct sfs_lane *lane)
{
	struct sfs_req **at = &lane->waiters.first, *req;

	while (*at && !(*at)->lock_waiter)
		at = &(*at)->next;
	req = *at;
	if (!req)
		return NULL;
	*at = req->next;
	if (!*at)
		lane->waiters.last = at;
	atomic_fetch_sub(&req->session->waiters, 1);
	lane->waiter_count--;
	lock_wait_end(req);
	sfs_req_unpin_to(req, (struct sfs_pin_mark){0});
	lane->bytes_in_flight -= req->chain.readable_bytes + req->chain.writable_bytes;
	return req;
}

int sfs_req_barrier(struct sfs_req *req, uint16_t step)
{
	req_park(req, step, SFS_REQ_BARRIER);
	req->lane->barrier_count++;
	sfs_req_list_push(&req->lane->barriers, req);
	return SFS_PARKED;
}

int sfs_req_yield(struct sfs_req *req, uint16_t step)
{
	req_park(req, step, SFS_REQ_YIELD);
	sfs_req_list_push(&req->lane->yielded, req);
	return SFS_PARKED;
}

/* --- resuming: steps 1 and 2 of a turn --- */

/* Each goes on for a piece at least, so that this ends. */
static unsigned lane_run_yielded(struct sfs_lane *lane)
{
	struct sfs_req *req;
	unsigned n = 0;

	while (!sfs_lane_sated(lane) && (req = sfs_req_list_pop(&lane->yielded)) != NULL) {
		req_resume(req, 0);
		n++;
	}
	return n;
}

static unsigned lane_reap_io(struct sfs_lane *lane)
{
	struct sfs_io *ios[REAP_BATCH];
	struct sfs_req *req;
	unsigned n = sfs_aio_reap(&lane->aio, ios, REAP_BATCH);

	for (unsigned i = 0; i < n; i++) {
		req = SFS_CONTAINER_OF(ios[i], struct sfs_req, io);
		assert(req->state == SFS_REQ_IO);
		req_resume(req, ios[i]->res);
	}
	/* What found no room goes first, in its order. */
	while (lane->io_wait.first && lane_try_io(lane, lane->io_wait.first))
		sfs_req_list_pop(&lane->io_wait);
	return n;
}

static unsigned lane_reap_calls(struct sfs_lane *lane)
{
	struct sfs_call *call;
	unsigned n = 0;

	if (!lane->calls_out)
		return 0;
	call = sfs_call_reap(&lane->port);
	while (call) {
		struct sfs_req *req = SFS_CONTAINER_OF(call, struct sfs_req, call);

		call = call->next;
		if (sfs_plant("lost_resume") && n == 1) {
			n++;
			continue;
		}
		assert(req->state == SFS_REQ_CALL);
		lane->calls_out--;
		req_resume(req, req->res);
		n++;
	}
	return n;
}

static unsigned lane_run_waiters(struct sfs_lane *lane)
{
	struct sfs_session *se = lane->session;
	uint64_t epoch = atomic_load(&se->epoch);
	struct sfs_req_list again = lane->waiters;
	bool refuse = lane_refuses_lock_waits(lane), retry = refuse;
	unsigned n = 0;

	if (!lane->waiters.first)
		return 0;
	if (!lane->waiters.first->next)
		again.last = &again.first;
	if (lane->lock_waiter_count && lane->now_ns >= lane->lock_retry_ns) {
		retry = true;
		lane->lock_every_ns = SFS_MIN(lane->lock_every_ns * 2, LOCK_EVERY_MAX);
		lock_retry_arm(lane);
	}
	sfs_req_list_init(&lane->waiters);
	for (struct sfs_req *req = again.first, *next; req; req = next) {
		next = req->next;
		if (req->wait_epoch == epoch && !(retry && req->lock_waiter)) {
			sfs_req_list_push(&lane->waiters, req);
			continue;
		}
		atomic_fetch_sub(&se->waiters, 1);
		lane->waiter_count--;
		req_resume(req, refuse && req->lock_waiter ? -ENOLCK : 0);
		n++;
	}
	return n;
}

static bool barrier_all_acked(const struct sfs_session *se, uint32_t seq)
{
	for (unsigned i = 0; i < se->lane_count; i++)
		if (atomic_load(&se->lane_running[i]) && atomic_load(&se->lane_ack[i]) != seq)
			return false;
	return true;
}

/* Takes the session's barrier for the lane's first request that wants it, says that this lane has drained, and runs the
 * owner when all have. */
static unsigned lane_barriers(struct sfs_lane *lane)
{
	struct sfs_session *se = lane->session;
	struct sfs_req *owner = atomic_load(&se->barrier);
	uint32_t seq;

	if (lane->given_up)
		return 0; /* another lane may be at its place by now */
	if (!owner && lane->barriers.first) {
		if (atomic_compare_exchange_strong(&se->barrier, &owner, lane->barriers.first)) {
			owner = lane->barriers.first;
			atomic_fetch_add(&se->barrier_seq, 1);
			session_wake_all(se);
		}
	}
	if (!owner)
		return 0;
	seq = atomic_load(&se->barrier_seq);
	if (atomic_load(&se->lane_ack[lane->idx]) != seq && lane->in_flight == lane->barrier_count) {
		atomic_store(&se->lane_ack[lane->idx], seq);
		session_wake_all(se);
	}
	if (owner != lane->barriers.first || !barrier_all_acked(se, seq))
		return 0;
	sfs_req_list_pop(&lane->barriers);
	req_resume(owner, 0);
	return 1;
}

/* The barrier's owner has ended: queues accept again. */
static void barrier_end(struct sfs_req *req)
{
	struct sfs_session *se = req->session;

	if (atomic_load_explicit(&se->barrier, memory_order_relaxed) != req)
		return;
	req->lane->barrier_count--;
	atomic_store(&se->barrier, NULL);
	sfs_session_wake(se);
	session_wake_all(se);
}

void sfs_lane_abandon(struct sfs_lane *lane)
{
	struct sfs_session *se = lane->session;
	struct sfs_req *owner = atomic_load(&se->barrier), *req;

	session_guest_lock(se);
	lane->given_up = true;
	session_guest_unlock(se);
	if (owner && owner->lane == lane) {
		atomic_store(&se->barrier, NULL);
		sfs_session_wake(se);
		session_wake_all(se);
	}
	while ((req = sfs_req_list_pop(&lane->barriers))) {
		req->state = SFS_REQ_RUNNING;
		sfs_req_end(req, -EIO);
	}
	lane->barrier_count = 0; /* also of an owner that runs */
	sfs_lane_leave(lane);
}

void sfs_lane_leave(struct sfs_lane *lane)
{
	sfs_session_lane_leave(lane->session, lane->idx);
}

unsigned sfs_lane_resume(struct sfs_lane *lane)
{
	unsigned n;

	sfs_share_renew(lane);
	n = lane_reap_io(lane) + lane_reap_calls(lane);
	if (SFS_UNLIKELY(lane->yielded.first != NULL))
		n += lane_run_yielded(lane);
	if (SFS_UNLIKELY(lane->waiter_count))
		n += lane_run_waiters(lane);
	if (SFS_UNLIKELY(lane->barrier_count ||
			 atomic_load_explicit(&lane->session->barrier, memory_order_relaxed)))
		n += lane_barriers(lane);
	return n;
}

/* A disk that is busy anyway loses nothing by a moment, in which more may come that one call hands over. */
static bool submit_later(struct sfs_lane *lane)
{
	return lane->arrived && lane->io_uncommitted < SUBMIT_TOGETHER &&
	       lane->aio.in_flight - lane->io_uncommitted >= SUBMIT_TOGETHER &&
	       lane->submits_put_off++ < SUBMITS_PUT_OFF_MAX;
}

unsigned sfs_lane_submit(struct sfs_lane *lane)
{
	if (!lane->aio.in_flight || submit_later(lane))
		return 0;
	lane->submits_put_off = 0;
	lane->io_uncommitted = sfs_aio_commit(&lane->aio);
	/* What these queue goes with the next turn. */
	return lane_reap_io(lane);
}

bool sfs_lane_open(struct sfs_lane *lane)
{
	return !atomic_load_explicit(&lane->session->barrier, memory_order_acquire);
}

bool sfs_lane_has_work(struct sfs_lane *lane)
{
	const struct sfs_session *se = lane->session;
	uint64_t epoch = atomic_load(&se->epoch);

	if (lane->ended.first || lane->yielded.first || lane->io_uncommitted ||
	    atomic_load(&lane->port.done) || sfs_aio_ready(&lane->aio))
		return true;
	for (struct sfs_req *req = lane->waiters.first; req; req = req->next)
		if (req->wait_epoch != epoch || (req->lock_waiter && lane_refuses_lock_waits(lane)))
			return true;
	if (lane->barriers.first && !atomic_load(&se->barrier))
		return true;
	if (atomic_load(&se->barrier) && !lane->given_up) {
		uint32_t seq = atomic_load(&se->barrier_seq);

		if (atomic_load(&se->lane_ack[lane->idx]) != seq)
			return lane->in_flight == lane->barrier_count;
		return atomic_load(&se->barrier) == lane->barriers.first && barrier_all_acked(se, seq);
	}
	return false;
}

/* --- ending --- */

void sfs_req_unpin_to(struct sfs_req *req, struct sfs_pin_mark mark)
{
	struct sfs_session *se = req->session;

	while (req->pin_handle_count > mark.handle_count)
		sfs_handle_unpin(se, req->pin_handle[--req->pin_handle_count]);
	while (req->pin_fd_count > mark.fd_count)
		sfs_fd_unpin(se, req->pin_fd[--req->pin_fd_count]);
	while (req->pin_node_count > mark.node_count)
		sfs_node_unpin(se, req->pin_node[--req->pin_node_count]);
}

/*
 * The two that are no guest's business: a call that was interrupted is made again, and "try again" is nothing that an
 * application expects of a file. Of a lock it is the answer.
 */
static int error_for_guest(const struct sfs_req *req, int rc)
{
	if (rc != -EINTR && rc != -EAGAIN)
		return rc;
	return rc == -EAGAIN && req->op && req->op->opcode == FUSE_SETLK ? rc : -EIO;
}

void sfs_req_end(struct sfs_req *req, int rc)
{
	assert(req->state == SFS_REQ_RUNNING);
	if (rc < 0) {
		rc = error_for_guest(req, rc);
		req->out_bytes = 0;
		req->data_bytes = 0;
	}
	req->res = rc;
	if (SFS_UNLIKELY(req->lock_waiter))
		lock_wait_end(req);
	sfs_req_unpin_to(req, (struct sfs_pin_mark){0});
	barrier_end(req);
	req->state = SFS_REQ_ENDED;
	sfs_req_list_push(&req->lane->ended, req);
}

static void req_count(struct sfs_req *req, uint64_t end_ns)
{
	struct sfs_op_stats *st;

	if (!req->op)
		return;
	st = &req->lane->stats[req->op->opcode];
	SFS_STAT_ADD(st->count, 1);
	if (req->res < 0)
		SFS_STAT_ADD(st->errors, 1);
	SFS_STAT_ADD(st->path[req->path], 1);
	/* A refused request's `out` is an earlier one's. */
	if (req->res >= 0)
		SFS_STAT_ADD(st->bytes,
			     req->op->flags & SFS_OP_DATA_IN ? req->out.write.size : req->data_bytes);
	sfs_hist_add(&st->hist, end_ns - req->start_ns);
}

static void req_log(const struct sfs_req *req, uint32_t len)
{
	SFS_DEBUG("Replying %s (%u) unique=%llu nodeid=%llu pid=%u: len=%u error=%d",
		  req->op ? req->op->name : "?", req->in.opcode, (unsigned long long)req->in.unique,
		  (unsigned long long)req->in.nodeid, req->in.pid, len, (int)req->res);
}

/*
 * Two words from registers. Put together in memory and read back at once as one piece, it would wait there until all stores before it are
 * done, which are those to the guest's lines.
 */
static void answer_header(const struct sfs_req *req, const struct iovec *iov, uint32_t len)
{
	uint64_t first = (uint64_t)(uint32_t)req->res << 32 | len;

	_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ &&
			   offsetof(struct fuse_out_header, error) == 4 &&
			   offsetof(struct fuse_out_header, unique) == 8,
		       "the length is the lower half of the first word");
	if (SFS_LIKELY(iov[0].iov_len >= sizeof(struct fuse_out_header))) {
		memcpy(iov[0].iov_base, &first, sizeof(first));
		memcpy((char *)iov[0].iov_base + sizeof(first), &req->in.unique, sizeof(req->in.unique));
	} else {
		const struct fuse_out_header head = {
		    .len = len, .error = (int32_t)req->res, .unique = req->in.unique};

		sfs_iov_from_buf(iov, req->chain.writable_count, 0, &head, sizeof(head));
	}
}

uint32_t sfs_req_answer(struct sfs_req *req, uint64_t end_ns)
{
	struct sfs_chain *c = &req->chain;
	struct iovec *iov = sfs_chain_writable(c);
	uint64_t len = sizeof(struct fuse_out_header) + req->out_bytes + req->data_bytes;

	assert(req->state == SFS_REQ_ENDED);
	req_count(req, end_ns);
	req->lane->bytes_in_flight -= c->readable_bytes + c->writable_bytes;
	if (req->res == -EBADMSG && !req->op) /* cannot be answered: see sfs_req_parse() */
		return 0;
	if (req->op && (req->op->flags & SFS_OP_NO_REPLY))
		return 0;
	if (req->head_saved_idx >= 0)
		c->iov[req->head_saved_idx] = req->head_saved;
	answer_header(req, iov, (uint32_t)len);
	/* As Linux lays it out: the header in the first segment, the fixed part in the second. */
	if (req->out_bytes && iov[0].iov_len == sizeof(struct fuse_out_header) && c->writable_count > 1 &&
	    iov[1].iov_len >= req->out_bytes)
		memcpy(iov[1].iov_base, &req->out, req->out_bytes);
	else if (req->out_bytes)
		sfs_iov_from_buf(iov, c->writable_count, sizeof(struct fuse_out_header), &req->out,
				 req->out_bytes);
	if (sfs_log_on(SFS_LOG_DEBUG))
		req_log(req, (uint32_t)len);
	return (uint32_t)len;
}

/* --- helpers for operations --- */

void sfs_req_reply_bytes(struct sfs_req *req, const void *bytes, uint64_t len)
{
	assert(len <= sfs_req_reply_room(req));
	sfs_iov_from_buf(sfs_chain_writable(&req->chain), req->chain.writable_count,
			 sizeof(struct fuse_out_header), bytes, len);
	req->out_bytes = 0;
	req->data_bytes = len;
	sfs_session_copied(req->session, len);
}

void sfs_req_data_advance(struct sfs_req *req, uint64_t bytes)
{
	assert(bytes <= req->data_left);
	req->data_left -= bytes;
	sfs_iov_advance(&req->data, &req->data_cnt, bytes);
}
