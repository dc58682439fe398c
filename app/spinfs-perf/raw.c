/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The same work by plain system calls in a loop: what the bare core can do. The main thread sleeps meanwhile,
 * so that the process has a second thread and file references cost what they cost a daemon.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "perf.h"

#define PR_TIMED  32 /* one operation in so many is timed, lest the clock count as work */
#define PR_ROUNDS 2000
#define PR_UNTAR  (128u << 10) /* buffers hold at least what the workloads write at once */

static int raw_dir_fd;

static void pr_count(struct perf_lane *lane, uint64_t took)
{
	sfs_hist_fine_add(&lane->c.hist, took);
	lane->c.min_ns = SFS_MIN(lane->c.min_ns, took);
}

/*
 * With several in flight an operation begins when the one that many before it has ended: all of them wait in one queue, and the time is that
 * of so many in a row.
 */
static void pr_loop(struct perf_thread *t, struct perf_job *job, uint8_t *bufs, size_t stride)
{
	struct perf_lane *lane = job->lane;
	const struct perf_workload *w = lane->guest->work.workload;
	unsigned depth = lane->guest->work.iodepth, every = depth > 1 ? depth : PR_TIMED;
	uint64_t now, from = sfs_now_ns();

	for (uint64_t n = 1; !lane->ended; n++) {
		bool timed = n % every == 0;
		int64_t rc;

		if (timed && depth == 1)
			from = sfs_now_ns();
		rc = w->raw(job, raw_dir_fd, bufs + n % PERF_RAW_BUFFERS * stride);

		lane->c.ops++;
		if (SFS_LIKELY(rc >= 0))
			lane->c.bytes += (uint64_t)rc;
		else if (!lane->c.errors++)
			lane->c.first_error = (int)rc;
		if (SFS_UNLIKELY(perf_lane_due(lane)))
			perf_lane_turns(lane, sfs_now_ns());
		if (!timed)
			continue;
		now = sfs_now_ns();
		pr_count(lane, now - from);
		from = now;
		atomic_store_explicit(&t->run->ops_so_far, lane->c.ops, memory_order_relaxed);
		if (perf_thread_phase(t) == PERF_STOP)
			break;
	}
}

static void *pr_body(void *thread)
{
	struct perf_thread *t = thread;
	struct perf_lane *lane = &t->lanes[0];
	struct perf_job job = {.lane = lane, .id = lane->idx};
	size_t stride = SFS_ALIGN_UP(SFS_MAX(lane->guest->work.bs, PR_UNTAR), SFS_FG_PAGE);
	uint8_t *bufs = aligned_alloc(SFS_FG_PAGE, stride * PERF_RAW_BUFFERS);

	if (!bufs || perf_raw_held(&job) < 0) {
		free(bufs);
		return NULL;
	}
	if (lane->guest->work.bs < PR_UNTAR && lane->guest->work.workload->kind == PERF_DATA)
		stride = SFS_ALIGN_UP(lane->guest->work.bs, SFS_FG_PAGE);
	memset(bufs, 1, stride * PERF_RAW_BUFFERS);
	perf_thread_phase(t);
	pr_loop(t, &job, bufs, stride);
	while (perf_thread_phase(t) != PERF_STOP)
		sfs_pause();
	perf_raw_held_end(&job, raw_dir_fd);
	if (lane->guest->work.workload == perf_workload_find("untar"))
		perf_untar_clean(&job, raw_dir_fd);
	free(bufs);
	return NULL;
}

int perf_raw(struct perf_run *run)
{
	int root = open(run->opts.raw_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return -errno;
	int rc = perf_files_prepare_raw(&run->guests[0], root);
	close(root);
	if (rc < 0)
		return rc;
	raw_dir_fd = rc;
	rc = perf_threads_run(run, run->opts.io_uring ? perf_raw_uring_body : pr_body, NULL);
	perf_files_finish(&run->guests[0]);
	close(raw_dir_fd);
	return rc;
}

/* --- how long it takes to another core and back: by an eventfd, and through a cache line that both look at --- */

struct pr_trip {
	int there, back;
	_Atomic unsigned line SFS_ALIGNED; /* odd: the echo's turn */
};

static void *pr_echo(void *arg)
{
	struct pr_trip *trip = arg;
	eventfd_t value;

	while (eventfd_read(trip->there, &value) == 0 && value == 1)
		eventfd_write(trip->back, 1);
	for (unsigned i = 0; i < PR_ROUNDS; i++) {
		while (atomic_load_explicit(&trip->line, memory_order_acquire) != 2 * i + 1)
			sfs_pause();
		atomic_store_explicit(&trip->line, 2 * i + 2, memory_order_release);
	}
	return NULL;
}

static void pr_there_and_back(struct pr_trip *trip, bool spin, unsigned i)
{
	eventfd_t value;

	if (!spin) {
		eventfd_write(trip->there, 1);
		eventfd_read(trip->back, &value);
		return;
	}
	atomic_store_explicit(&trip->line, 2 * i + 1, memory_order_release);
	while (atomic_load_explicit(&trip->line, memory_order_acquire) != 2 * i + 2)
		sfs_pause();
}

static void pr_trips(struct pr_trip *trip, bool spin, uint64_t *ns)
{
	static struct sfs_hist_fine hist;

	memset(&hist, 0, sizeof(hist));
	for (unsigned i = 0; i < PR_ROUNDS; i++) {
		uint64_t from = sfs_now_ns();

		pr_there_and_back(trip, spin, i);
		sfs_hist_fine_add(&hist, sfs_now_ns() - from);
	}
	*ns = sfs_hist_fine_quantile(&hist, 0.5);
}

int perf_round_trip(const struct perf_opts *o, uint64_t *eventfd_ns, uint64_t *spin_ns)
{
	static struct pr_trip trip;
	pthread_t echo;
	cpu_set_t set;

	trip.there = eventfd(0, EFD_CLOEXEC);
	trip.back = eventfd(0, EFD_CLOEXEC);
	int rc = trip.there < 0 || trip.back < 0 ? -errno : 0;

	if (rc == 0 && perf_cpu_set(o->cpus, o->cpu_count, &set) == 0)
		sched_setaffinity(0, sizeof(set), &set);
	if (rc == 0)
		rc = -pthread_create(&echo, NULL, pr_echo, &trip);
	if (rc == 0) {
		if (perf_cpu_set(o->daemon_cpus, o->daemon_cpu_count, &set) == 0)
			pthread_setaffinity_np(echo, sizeof(set), &set);
		pr_trips(&trip, false, eventfd_ns);
		eventfd_write(trip.there, 2);
		pr_trips(&trip, true, spin_ns);
		pthread_join(echo, NULL);
	}
	close(trip.there);
	close(trip.back);
	return rc;
}
