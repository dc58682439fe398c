/* SPDX-License-Identifier: BSD-3-Clause */
/* The load over rings: every slot is kept busy, or as many as the rate asks for, and completions are polled. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "perf.h"

#define PL_DRAIN_NS   (10 * SFS_NS_PER_S)
#define PL_NOISY_MOST 4 /* at one look, lest the guest that is measured wait for the load itself */

static void pl_reap_hiprio(struct sfs_fg_queue *q)
{
	struct sfs_fg_req *req;

	while (sfs_fg_poll(q, &req) == 1)
		sfs_fg_req_put(req);
}

void perf_forget(struct perf_guest *guest, uint64_t nodeid, uint64_t nlookup)
{
	struct sfs_fg_queue *q = &guest->fg.queue[SFS_FG_HIPRIO];
	struct fuse_forget_in in = {.nlookup = nlookup};
	struct sfs_fg_call call = {
	    .opcode = FUSE_FORGET, .nodeid = nodeid, .args = &in, .args_bytes = sizeof(in), .no_reply = true};
	struct sfs_fg_req *req;

	pthread_spin_lock(&guest->hiprio_lock);
	pl_reap_hiprio(q);
	while (!(req = sfs_fg_req_get(q)) &&
	       atomic_load_explicit(&guest->run->phase, memory_order_relaxed) != PERF_STOP) {
		sfs_fg_publish(q);
		pl_reap_hiprio(q);
	}
	if (req && sfs_fg_start(req, &call) < 0)
		sfs_fg_req_put(req);
	atomic_store_explicit(&guest->hiprio_dirty, true, memory_order_relaxed);
	pthread_spin_unlock(&guest->hiprio_lock);
}

static void pl_forget_kick(struct perf_guest *guest)
{
	if (!atomic_load_explicit(&guest->hiprio_dirty, memory_order_relaxed))
		return;
	pthread_spin_lock(&guest->hiprio_lock);
	atomic_store_explicit(&guest->hiprio_dirty, false, memory_order_relaxed);
	sfs_fg_publish(&guest->fg.queue[SFS_FG_HIPRIO]);
	pthread_spin_unlock(&guest->hiprio_lock);
}

static void pl_request(struct perf_lane *lane, struct sfs_fg_req *req)
{
	struct perf_job *job = req->user;
	struct sfs_fg_call call;
	union perf_args args;

	lane->guest->work.workload->build(job, req, &call, &args);
	int rc = sfs_fg_start(req, &call);
	if (SFS_LIKELY(rc == 0)) {
		lane->in_flight++;
		/* At once, as Linux does, lest the device wait while the rest is being built. */
		sfs_fe_ring_show(&lane->queue->ring);
		return;
	}
	if (rc == -ENOSPC) {
		req->next = lane->starved;
		lane->starved = req;
		return;
	}
	lane->fatal = rc;
}

static void pl_operation_over(struct perf_lane *lane, struct sfs_fg_req *req, uint64_t now)
{
	struct perf_job *job = req->user;
	uint64_t took = now - job->start_ns;

	if (SFS_UNLIKELY(req->result < 0) && !lane->c.errors++)
		lane->c.first_error = req->result;
	lane->c.ops++;
	sfs_hist_fine_add(&lane->c.hist, took);
	if (took < lane->c.min_ns)
		lane->c.min_ns = took;
	job->step = 0;
	job->start_ns = now;
	if (SFS_UNLIKELY(perf_lane_due(lane)))
		perf_lane_turns(lane, now);
}

static void pl_answered(struct perf_lane *lane, struct sfs_fg_req *req, uint64_t now, bool stop)
{
	const struct perf_workload *w = lane->guest->work.workload;
	struct perf_job *job = req->user;

	lane->in_flight--;
	if ((req->result >= 0 || w->judges_errors) && !w->reply(job, req) &&
	    (req->result >= 0 || w->judges_errors)) {
		pl_request(lane, req);
		return;
	}
	if (SFS_LIKELY(!lane->ended))
		pl_operation_over(lane, req, now);
	if (SFS_UNLIKELY(stop || lane->ended)) {
		sfs_fg_req_put(req);
	} else if (lane->interval_ns) {
		req->next = lane->idle;
		lane->idle = req;
	} else {
		pl_request(lane, req);
	}
}

/* With --rate: what is due by now. An operation that finds no free slot keeps the time when it was due. */
static unsigned pl_due(struct perf_lane *lane, uint64_t now)
{
	unsigned started = 0;

	while (lane->idle && lane->due_ns <= now) {
		struct sfs_fg_req *req = lane->idle;

		lane->idle = req->next;
		((struct perf_job *)req->user)->start_ns = lane->due_ns;
		lane->due_ns += lane->interval_ns;
		pl_request(lane, req);
		started++;
	}
	return started;
}

/* Takes what came back, each slot once at most. The clock is read once for all that were seen at one look. */
static int pl_take(struct perf_lane *lane, uint64_t *now, bool stop, unsigned *taken)
{
	const struct sfs_fe_ring *ring = &lane->queue->ring;
	unsigned most = lane->guest->noisy ? PL_NOISY_MOST : lane->guest->work.iodepth;
	struct sfs_fg_req *req;
	int rc = 0;

	while (*taken < most) {
		bool look = ring->used_idx == ring->used_seen;

		rc = sfs_fg_poll(lane->queue, &req);
		if (rc != 1)
			break;
		if (look || !*taken)
			*now = sfs_now_ns();
		++*taken;
		pl_answered(lane, req, *now, stop);
	}
	return rc;
}

static unsigned pl_lane_turn(struct perf_lane *lane, uint64_t *now, bool stop)
{
	struct sfs_fg_req *req;
	unsigned taken = 0;
	int rc = pl_take(lane, now, stop, &taken);

	if (SFS_UNLIKELY(rc < 0))
		lane->fatal = rc;
	if (lane->interval_ns && !stop) {
		if (!taken)
			*now = sfs_now_ns();
		taken += pl_due(lane, *now);
	}
	if (!taken)
		return 0;
	req = lane->starved;
	lane->starved = NULL;
	while (SFS_UNLIKELY(req != NULL)) {
		struct sfs_fg_req *next = req->next;

		pl_request(lane, req);
		req = next;
	}
	rc = sfs_fg_publish(lane->queue);
	if (SFS_UNLIKELY(rc < 0))
		lane->fatal = rc;
	pl_forget_kick(lane->guest);
	return taken;
}

static void pl_sleep(struct perf_thread *t)
{
	struct pollfd pfd[PERF_THREADS_MAX];
	unsigned count = SFS_MIN(t->lane_count, PERF_THREADS_MAX);

	for (unsigned i = 0; i < count; i++) {
		if (sfs_fe_ring_arm(&t->lanes[i].queue->ring))
			return;
		pfd[i] = (struct pollfd){.fd = t->lanes[i].queue->ring.call_fd, .events = POLLIN};
	}
	poll(pfd, count, t->lanes[0].interval_ns ? 1 : 100);
	for (unsigned i = 0; i < count; i++)
		sfs_fe_ring_interrupts(&t->lanes[i].queue->ring);
}

static int pl_first_requests(struct perf_lane *lane)
{
	unsigned depth = lane->guest->work.iodepth;
	uint64_t now = sfs_now_ns();

	lane->jobs = calloc(depth, sizeof(*lane->jobs));
	if (!lane->jobs)
		return -ENOMEM;
	lane->due_ns = now;
	for (unsigned k = 0; k < depth && !lane->ended; k++) {
		struct sfs_fg_req *req = sfs_fg_req_get(lane->queue);

		if (!req)
			return -ENOSPC;
		lane->jobs[k] = (struct perf_job){.lane = lane, .start_ns = now};
		lane->jobs[k].id = lane->idx + k * lane->count;
		req->user = &lane->jobs[k];
		if (lane->interval_ns) {
			req->next = lane->idle;
			lane->idle = req;
		} else {
			pl_request(lane, req);
		}
	}
	int rc = sfs_fg_publish(lane->queue);
	return rc < 0 ? rc : lane->fatal;
}

/* What was counted is kept aside: the operations that end while the queues drain do not belong to it. */
static void pl_drain(struct perf_lane *lane)
{
	struct perf_count kept = lane->c;
	uint64_t now = sfs_now_ns(), deadline = now + PL_DRAIN_NS;

	while (lane->in_flight && !lane->fatal && sfs_now_ns() < deadline) {
		if (!pl_lane_turn(lane, &now, true))
			sfs_pause();
	}
	lane->c = kept;
	if (!lane->fatal && lane->in_flight)
		lane->fatal = -ETIMEDOUT;
	if (lane->fatal && !lane->c.errors++)
		lane->c.first_error = lane->fatal;
}

static bool pl_turn(struct perf_thread *t, uint64_t *now)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < t->lane_count; i++) {
		if (SFS_LIKELY(!t->lanes[i].fatal))
			taken += pl_lane_turn(&t->lanes[i], now, false);
	}
	return taken;
}

void *perf_load_body(void *thread)
{
	struct perf_thread *t = thread;
	struct perf_run *run = t->run;
	uint64_t now = sfs_now_ns();

	perf_thread_phase(t);
	for (unsigned i = 0; i < t->lane_count; i++)
		t->lanes[i].fatal = pl_first_requests(&t->lanes[i]);
	while (perf_thread_phase(t) != PERF_STOP) {
		if (pl_turn(t, &now)) {
			if (t->idx == 0 && t->lane_count)
				atomic_store_explicit(&run->ops_so_far, t->lanes[0].c.ops,
						      memory_order_relaxed);
		} else if (run->opts.interrupts && t->lane_count) {
			pl_sleep(t);
		} else {
			sfs_pause();
		}
	}
	for (unsigned i = 0; i < t->lane_count; i++) {
		struct perf_lane *lane = &t->lanes[i];

		pl_drain(lane);
		if (lane->guest->work.workload == perf_workload_find("untar")) {
			for (unsigned k = 0; lane->jobs && k < lane->guest->work.iodepth; k++)
				perf_untar_clean(&lane->jobs[k], -1);
		}
		free(lane->jobs);
	}
	return NULL;
}
