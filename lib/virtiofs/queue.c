/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue.h"
#include "sfs_log.h"

/* Chains that one turn takes from one ring: what one guest may ask of the reactor before the next has its turn. */
#define ACCEPT_BATCH 64
/* What a malformed chain counts of a turn: as if all its descriptors had been looked at. */
#define BAD_CHAIN_NS 20000

/* --- the turn --- */

static void queue_fault(struct sfs_queue *q, const char *why)
{
	q->accepting = false;
	atomic_store(&q->fault, why);
	SFS_ERROR("queue %u stopped: %s", q->idx, why);
}

/* Set by the control thread; a reactor that comes back from a call that hung sees it before its message. */
static inline bool queue_detached(struct sfs_queue *q)
{
	return atomic_load_explicit(&q->detached, memory_order_relaxed);
}

/* What a pop into the slot gave: whether it is a request. A malformed chain goes straight back. */
static inline bool queue_taken(struct sfs_queue *q, struct sfs_req *req, const struct iovec *big, int rc)
{
	struct sfs_lane *lane = &q->lane;

	if (SFS_LIKELY(rc > 0)) {
		if (req->chain.iov == big)
			sfs_lane_big_take(lane, req);
		return true;
	}
	sfs_lane_slot_put(lane, req);
	if (rc == -EBADMSG) {
		SFS_STAT_ADD(lane->bad_requests, 1);
		lane->share_ns -= BAD_CHAIN_NS;
		sfs_virtq_push(&q->vq, req->chain.head, 0);
	}
	return false;
}

/*
 * Takes the next chain into a slot; malformed ones go straight back. @left: how many chains may be taken, counted down.
 * NULL: none waits, or there is no slot for it.
 */
static struct sfs_req *queue_take(struct sfs_queue *q, unsigned *left)
{
	struct iovec *big;
	struct sfs_req *req;
	int rc;

	while (*left && !sfs_lane_sated(&q->lane)) {
		req = sfs_lane_slot_get(&q->lane, &big);
		if (!req)
			return NULL;
		rc = sfs_virtq_pop(&q->vq, &req->chain, big);
		if (SFS_UNLIKELY(rc <= 0 && rc != -EBADMSG)) {
			sfs_lane_slot_put(&q->lane, req);
			return NULL;
		}
		--*left;
		if (SFS_LIKELY(queue_taken(q, req, big, rc)))
			return req;
	}
	return NULL;
}

/* Chains that were set aside run as if they had just come, before any that did. False: not all of them have slots yet. */
static bool queue_retake(struct sfs_queue *q)
{
	struct sfs_aside *a = &q->again;
	struct iovec *big;

	while (a->next < a->count && !q->lane.barrier_count && !q->vq.fault && !queue_detached(q)) {
		struct sfs_req *req = sfs_lane_slot_get(&q->lane, &big);

		if (!req)
			return false;
		if (queue_taken(q, req, big, sfs_virtq_retake(&q->vq, a->heads[a->next++], &req->chain, big)))
			sfs_req_begin(req);
	}
	return a->next == a->count;
}

/* What the request's first step reads, and the reply header: lines that another core wrote. */
static void queue_prefetch(struct sfs_queue *q, const struct sfs_req *req)
{
	const struct sfs_chain *c = &req->chain;

	__builtin_prefetch(q->guess[0] = c->iov[0].iov_base);
	if (c->readable_count > 1)
		__builtin_prefetch(q->guess[1] = c->iov[1].iov_base);
	if (c->writable_count)
		sfs_prefetch_write(c->iov[c->readable_count].iov_base);
}

/*
 * With few requests in flight each is waited for line by line: ring, descriptor, table, header. A driver that has just got a slot
 * back uses it again, so all of them are likely where they were, and are fetched at once. Hints only.
 */
static void queue_guess(const struct sfs_queue *q)
{
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(q->vq.guess); i++)
		__builtin_prefetch(q->vq.guess[i]);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(q->guess); i++)
		__builtin_prefetch(q->guess[i]);
}

/* As if it had not been taken. */
static void queue_untake(struct sfs_queue *q, struct sfs_req *req)
{
	sfs_virtq_unpop(&q->vq, req->chain.head);
	sfs_lane_slot_put(&q->lane, req);
}

unsigned sfs_queue_pending(struct sfs_queue *q)
{
	unsigned n = q->accepting ? sfs_virtq_pending(&q->vq) : 0;

	return SFS_MIN(n, (unsigned)ACCEPT_BATCH);
}

/*
 * 3. accept: up to a batch of chains, copied, checked, run. While one runs, the caches fetch what the next ones need: its
 * header, the table of the one after, the descriptor of the third; then the record of its node.
 */
static unsigned queue_accept(struct sfs_queue *q)
{
	struct sfs_virtq *vq = &q->vq;
	unsigned n = sfs_queue_pending(q), left = n;
	struct sfs_req *req, *next;

	if (SFS_UNLIKELY(q->again.next < q->again.count) && !queue_retake(q))
		return 0;
	if (n == 0)
		goto out;
	sfs_reactor_arrived(q->reactor);
	queue_guess(q);
	sfs_virtq_prefetch(vq, n);
	sfs_virtq_expect_used(vq, n);
	req = queue_take(q, &left);
	if (req)
		queue_prefetch(q, req);
	while (req) {
		next = queue_take(q, &left);
		if (next)
			queue_prefetch(q, next);
		sfs_virtq_prefetch(vq, left);
		sfs_req_begin(req);
		/* After a call that hung the ring may be nobody's any more: what stands in it is not run. */
		if (SFS_UNLIKELY(next && (q->lane.barrier_count || queue_detached(q)))) {
			queue_untake(q, next);
			left++;
			break;
		}
		/* Its header has come meanwhile. */
		if (next)
			sfs_req_expect(next);
		req = next;
	}
out:
	q->lane.arrived = n != left;
	if (SFS_UNLIKELY(vq->fault != NULL))
		queue_fault(q, vq->fault);
	return n - left;
}

/* 5. answer: ended requests leave; used elements written, slots free. */
static void queue_answer(struct sfs_queue *q)
{
	struct sfs_lane *lane = &q->lane;
	uint64_t now = sfs_reactor_now_ns(q->reactor);
	struct sfs_req *req;

	sfs_reactor_answered(q->reactor);
	while ((req = sfs_req_list_pop(&lane->ended)) != NULL) {
		if (SFS_LIKELY(!queue_detached(q)))
			sfs_virtq_push(&q->vq, req->chain.head, sfs_req_answer(req, now));
		sfs_lane_slot_put(lane, req);
	}
}

/* The last request has gone: the reactor lets go of the queue. */
static void queue_drained(struct sfs_queue *q)
{
	struct sfs_queue_stop *stop = atomic_exchange(&q->stop, NULL);

	if (!stop && !q->abandoned)
		return; /* given up a moment ago: that message is on its way */
	sfs_poll_group_remove(q->group, q);
	if (stop) {
		sfs_lane_leave(&q->lane);
		stop->last_avail_idx = q->vq.last_avail;
		stop->last_used_idx = q->vq.used_idx;
		while (q->again.next < q->again.count)
			sfs_aside_add(&q->aside, q->again.heads[q->again.next++]);
		q->aside.place.last_avail = q->vq.last_avail;
		q->aside.place.last_used = q->vq.used_idx;
	}
	/* From here on the queue may be freed. */
	atomic_store(&q->gone, true);
	if (stop)
		stop->done(stop);
}

/*
 * A queue that stops does not wait for who waits for a lock, perhaps for ever. Those are set aside, in the order in which they came: who
 * waited here, then who was set aside before and has had no slot since.
 */
void sfs_queue_drain(struct sfs_queue *q)
{
	struct sfs_req *req;

	while (!queue_detached(q) && (req = sfs_lane_aside(&q->lane)) != NULL) {
		sfs_aside_add(&q->aside, req->chain.head);
		sfs_lane_slot_put(&q->lane, req);
	}
	if (q->lane.in_flight == 0)
		queue_drained(q);
}

unsigned sfs_queue_accept(struct sfs_queue *q, uint64_t now_ns, enum sfs_company company)
{
	struct sfs_lane *lane = &q->lane;
	unsigned work;

	lane->now_ns = now_ns;
	lane->arrived = false;
	lane->company = company;
	work = sfs_lane_resume(lane); /* 1. reap, 2. resume */
	if (SFS_LIKELY(q->accepting && !queue_detached(q)) && sfs_lane_open(lane)) {
		if (SFS_UNLIKELY(atomic_load_explicit(&q->mem->broken, memory_order_relaxed)))
			queue_fault(q, "the VMM took guest memory away");
		else
			work += queue_accept(q); /* 3. accept */
	}
	return work;
}

unsigned sfs_queue_answer(struct sfs_queue *q)
{
	struct sfs_lane *lane = &q->lane;
	unsigned work = sfs_lane_submit(lane); /* 4. submit */

	if (lane->ended.first)
		queue_answer(q); /* 5. answer */
	if (SFS_LIKELY(!queue_detached(q))) {
		sfs_virtq_publish(&q->vq); /* 6. publish */
		if (SFS_UNLIKELY(q->notify_once)) {
			q->notify_once = false;
			sfs_virtq_notify(&q->vq);
		}
	}
	if (lane->aio.in_flight)
		sfs_reactor_waits(q->reactor);
	else if (q->yields && lane->calls_out)
		sfs_reactor_yields(q->reactor, lane->company != SFS_ALONE);
	return work;
}

bool sfs_queue_arm(struct sfs_queue *q)
{
	bool work = sfs_lane_has_work(&q->lane);

	if (q->accepting && !queue_detached(q) && sfs_lane_open(&q->lane)) {
		q->asleep = true;
		/* With no slot to be had the ring waits for completions, not for kicks. */
		if ((sfs_virtq_arm(&q->vq) || q->again.next < q->again.count) && sfs_lane_has_slot(&q->lane))
			work = true;
	}
	if (!work && q->lane.in_flight == 0 && !queue_detached(q))
		sfs_virtq_remind(&q->vq);
	return work;
}

void sfs_queue_disarm(struct sfs_queue *q)
{
	if (!q->asleep)
		return;
	q->asleep = false;
	/* The ring may be a successor's by now, who wants kicks. */
	if (queue_detached(q))
		return;
	sfs_virtq_disarm(&q->vq);
	if (q->accepting && sfs_virtq_pending(&q->vq))
		SFS_STAT_ADD(q->kicks, 1);
}

/* --- messages: on the reactor's thread --- */

static void run_msg(struct sfs_msg *msg)
{
	struct sfs_queue *q = SFS_CONTAINER_OF(msg, struct sfs_queue, run_msg);

	/* A predecessor that was given up has left by now: its messages came before. */
	sfs_session_lane_join(q->session, q->idx);
	if (q->has_cpus)
		sfs_reactor_move(q->reactor, &q->cpus);
	sfs_poll_group_add(q->group, q);
}

static void stop_msg(struct sfs_msg *msg)
{
	struct sfs_queue *q = SFS_CONTAINER_OF(msg, struct sfs_queue, stop_msg);

	q->accepting = false;
	q->ending = true;
}

static void abandon_msg(struct sfs_msg *msg)
{
	struct sfs_queue *q = SFS_CONTAINER_OF(msg, struct sfs_queue, abandon_msg);

	q->accepting = false;
	q->ending = q->abandoned = true;
	sfs_lane_end_lock_waits(&q->lane);
	sfs_lane_abandon(&q->lane);
}

void sfs_queue_run(struct sfs_queue *q)
{
	sfs_reactor_send(q->reactor, &q->run_msg);
}

void sfs_queue_stop(struct sfs_queue *q, struct sfs_queue_stop *stop)
{
	q->stop_sent = true;
	atomic_store(&q->stop, stop);
	sfs_reactor_send(q->reactor, &q->stop_msg);
}

bool sfs_queue_abandon(struct sfs_queue *q)
{
	/* Whoever takes the stop decides. */
	if (q->stop_sent && !atomic_exchange(&q->stop, NULL))
		return false;
	atomic_store(&q->detached, true);
	sfs_reactor_send(q->reactor, &q->abandon_msg);
	return true;
}

/* --- making and freeing --- */

static bool ring_inside(const struct sfs_mem *mem, const void *p, uint64_t bytes, unsigned align)
{
	uintptr_t at = (uintptr_t)p;

	if (at % align)
		return false;
	for (unsigned i = 0; i < mem->region_count; i++) {
		const struct sfs_mem_region *r = &mem->regions[i];
		uint64_t off = at - (uintptr_t)r->host;

		if (off < r->bytes && bytes <= r->bytes - off)
			return true;
	}
	return false;
}

static int setup_check(const struct sfs_vring_setup *s)
{
	if (s->size < 2 || s->size > SFS_RING_SIZE_MAX || (s->size & (s->size - 1)))
		return -EINVAL;
	if (!ring_inside(s->mem, s->desc, sfs_virtq_desc_bytes(s->size), 16) ||
	    !ring_inside(s->mem, s->avail, sfs_virtq_avail_bytes(s->size), 2) ||
	    !ring_inside(s->mem, s->used, sfs_virtq_used_bytes(s->size), 4))
		return -EINVAL;
	return 0;
}

/* A reactor that sleeps is woken by the guest's kicks and by the engine. */
static int queue_watch(struct sfs_queue *q)
{
	int rc;

	if (sfs_reactor_idle(q->reactor) == SFS_IDLE_SPIN)
		return 0;
	if (q->kick_fd >= 0) {
		rc = sfs_reactor_fd_add(q->reactor, q->kick_fd);
		if (rc)
			return rc;
	}
	q->aio_fd = sfs_aio_fd(&q->lane.aio);
	if (q->aio_fd < 0)
		return 0;
	rc = sfs_reactor_fd_add(q->reactor, q->aio_fd);
	if (rc) {
		q->aio_fd = -1;
		if (q->kick_fd >= 0)
			sfs_reactor_fd_del(q->reactor, q->kick_fd);
	}
	return rc;
}

int sfs_queue_create(const struct sfs_queue_opts *o, const struct sfs_vring_setup *s, struct sfs_queue **out)
{
	struct sfs_lane_opts lane = o->lane;
	struct sfs_queue *q = NULL;
	struct sfs_virtq_setup vs = {.mem = s->mem,
				     .desc = s->desc,
				     .avail = s->avail,
				     .used = s->used,
				     .size = s->size,
				     .last_avail = s->last_avail_idx,
				     .last_used = s->last_used_idx,
				     .event_idx = s->features & SFS_F_EVENT_IDX,
				     .indirect = s->features & SFS_F_INDIRECT_DESC,
				     .call_fd = s->call_fd};
	int rc = setup_check(s);

	if (rc)
		return rc;
	if (posix_memalign((void **)&q, SFS_CACHE_LINE, sizeof(*q)))
		return -ENOMEM;
	memset(q, 0, sizeof(*q));
	q->idx = o->idx;
	q->group = o->group;
	q->reactor = lane.reactor = o->group->reactor;
	q->session = lane.session = o->group->session;
	lane.group = &o->group->lanes;
	q->mem = s->mem;
	q->kick_fd = s->kick_fd;
	q->call_fd = s->call_fd;
	q->aio_fd = -1;
	q->accepting = q->notify_once = true;
	q->run_msg.fn = run_msg;
	q->stop_msg.fn = stop_msg;
	q->abandon_msg.fn = abandon_msg;
	q->yields = sfs_workers_in_background(lane.workers);
	lane.slot_count = SFS_MIN(lane.slot_count, (unsigned)s->size);
	rc = sfs_lane_init(&q->lane, &lane);
	if (rc)
		goto fail_lane;
	rc = sfs_virtq_init(&q->vq, &vs);
	if (rc)
		goto fail_virtq;
	rc = sfs_aside_init(&q->aside, s);
	if (rc)
		goto fail_watch;
	rc = queue_watch(q);
	if (rc)
		goto fail_watch;
	/* The VMM gave the descriptor; a write to it must not stop the reactor, whatever it is. */
	if (q->call_fd >= 0)
		fcntl(q->call_fd, F_SETFL, fcntl(q->call_fd, F_GETFL) | O_NONBLOCK);
	sfs_mem_get(q->mem);
	if (o->again) {
		q->again = *o->again;
		o->again->heads = NULL;
	}
	*out = q;
	return 0;
fail_watch:
	sfs_aside_fini(&q->aside);
	sfs_virtq_fini(&q->vq);
fail_virtq:
	sfs_lane_fini(&q->lane);
fail_lane:
	free(q);
	return rc;
}

void sfs_queue_destroy(struct sfs_queue *q)
{
	if (q->aio_fd >= 0)
		sfs_reactor_fd_del(q->reactor, q->aio_fd);
	if (q->kick_fd >= 0) {
		if (sfs_reactor_idle(q->reactor) == SFS_IDLE_ADAPTIVE)
			sfs_reactor_fd_del(q->reactor, q->kick_fd);
		close(q->kick_fd);
	}
	if (q->call_fd >= 0)
		close(q->call_fd);
	sfs_aside_fini(&q->aside);
	sfs_aside_fini(&q->again);
	sfs_virtq_fini(&q->vq);
	sfs_lane_fini(&q->lane);
	sfs_mem_put(q->mem);
	free(q);
}
