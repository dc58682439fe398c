/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads of load: who runs which lanes, the phases of a run, and what comes together in the end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "perf.h"

#define PT_LOOK_NS (2 * SFS_NS_PER_MS) /* how soon the end of --ops is seen */

uint64_t perf_random(struct perf_lane *lane)
{
	lane->rng ^= lane->rng << 13;
	lane->rng ^= lane->rng >> 7;
	lane->rng ^= lane->rng << 17;
	return lane->rng * 0x2545f4914f6cdd1dull;
}

int perf_cpu_set(const int *cpus, unsigned count, cpu_set_t *set)
{
	CPU_ZERO(set);
	for (unsigned i = 0; i < count; i++)
		CPU_SET((unsigned)cpus[i], set);
	return count ? 0 : -ENOENT;
}

void perf_lane_begin(struct perf_lane *lane, uint64_t now)
{
	memset(&lane->c, 0, sizeof(lane->c));
	lane->c.min_ns = UINT64_MAX;
	lane->c.start_ns = now;
	if (lane->queue) {
		lane->c.kicks = lane->queue->ring.kicks;
		lane->c.interrupts = sfs_fe_ring_interrupts(&lane->queue->ring);
	}
}

void perf_lane_end(struct perf_lane *lane, uint64_t now)
{
	lane->c.stop_ns = now;
	if (lane->queue) {
		lane->c.kicks = lane->queue->ring.kicks - lane->c.kicks;
		lane->c.interrupts = sfs_fe_ring_interrupts(&lane->queue->ring) - lane->c.interrupts;
	}
}

static double pt_thread_cpu_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / (double)SFS_NS_PER_S;
}

void perf_lane_turns(struct perf_lane *lane, uint64_t now)
{
	uint64_t errors = lane->c.errors;
	int first_error = lane->c.first_error;

	if (lane->skip) {
		perf_lane_begin(lane, now);
		lane->c.errors = errors;
		lane->c.first_error = first_error;
		lane->skip = 0;
	} else {
		perf_lane_end(lane, now);
		lane->ended = true;
		atomic_fetch_sub(&lane->guest->run->lanes_left, 1);
	}
}

int perf_thread_phase(struct perf_thread *t)
{
	int phase = atomic_load_explicit(&t->run->phase, memory_order_relaxed);
	uint64_t now;

	if (SFS_LIKELY(phase == t->phase))
		return phase;
	now = sfs_now_ns();
	t->own_cpu_s = pt_thread_cpu_s() - (phase == PERF_STOP ? t->own_cpu_s : 0);
	for (unsigned i = 0; i < t->lane_count; i++) {
		if (phase == PERF_MEASURE)
			perf_lane_begin(&t->lanes[i], now);
		else if (!t->lanes[i].ended)
			perf_lane_end(&t->lanes[i], now);
	}
	t->phase = phase;
	return phase;
}

/* Every lane of every guest, dealt out to the threads in turn. */
static int pt_deal(struct perf_run *run, struct perf_thread *t, unsigned threads)
{
	const struct perf_opts *o = &run->opts;
	unsigned n = 0, all = 0;

	for (unsigned g = 0; g < run->guest_count; g++)
		all += o->raw_dir ? threads : run->guests[g].work.queues;
	t->lanes = calloc(all / threads + 1, sizeof(*t->lanes));
	if (!t->lanes)
		return -ENOMEM;
	for (unsigned g = 0; g < run->guest_count; g++) {
		struct perf_guest *guest = &run->guests[g];
		unsigned count = o->raw_dir ? threads : guest->work.queues;

		for (unsigned i = 0; i < count; i++, n++) {
			struct perf_lane *lane = &t->lanes[t->lane_count];

			if (n % threads != t->idx)
				continue;
			t->lane_count++;
			lane->guest = guest;
			lane->queue = o->raw_dir ? NULL : &guest->fg.queue[1 + i];
			lane->idx = i;
			lane->count = count;
			lane->rng = 0x853c49e6748fea9bull + n;
			lane->quota = guest->noisy ? 0 : o->ops / count + (i < o->ops % count);
			lane->skip = o->skip;
			lane->ended = o->ops && !guest->noisy && !lane->quota;
			if (lane->quota)
				atomic_fetch_add(&run->lanes_left, 1);
			if (guest->work.rate > 0)
				lane->interval_ns =
				    (uint64_t)((double)SFS_NS_PER_S * count / guest->work.rate);
			perf_lane_begin(lane, sfs_now_ns());
		}
	}
	return 0;
}

static void pt_progress(struct perf_run *run, double seconds, const char *what)
{
	bool show = isatty(STDERR_FILENO);
	uint64_t end = sfs_now_ns() + (uint64_t)(seconds * (double)SFS_NS_PER_S), now;
	uint64_t last = atomic_load_explicit(&run->ops_so_far, memory_order_relaxed), last_ns = sfs_now_ns();

	while ((now = sfs_now_ns()) < end) {
		uint64_t step = SFS_MIN(end - now, run->opts.ops ? PT_LOOK_NS : SFS_NS_PER_S);
		struct timespec ts = {.tv_sec = (time_t)(step / SFS_NS_PER_S),
				      .tv_nsec = (long)(step % SFS_NS_PER_S)};

		nanosleep(&ts, NULL);
		if (run->opts.ops && !atomic_load(&run->lanes_left))
			break;
		if (!show || sfs_now_ns() - last_ns < SFS_NS_PER_S)
			continue;
		uint64_t ops = atomic_load_explicit(&run->ops_so_far, memory_order_relaxed);
		fprintf(stderr, "\r%s: %llu operations a second, %.0f s to go  ", what,
			(unsigned long long)(ops >= last ? ops - last : ops), (double)(end - now) / 1e9);
		last = ops;
		last_ns = sfs_now_ns();
	}
	if (show)
		fprintf(stderr, "\r\033[K");
}

static void pt_add(struct perf_count *sum, const struct perf_count *c)
{
	sum->ops += c->ops;
	sum->bytes += c->bytes;
	sum->kicks += c->kicks;
	sum->interrupts += c->interrupts;
	if (c->errors && !sum->errors)
		sum->first_error = c->first_error;
	sum->errors += c->errors;
	if (c->ops)
		sum->min_ns = sum->min_ns ? SFS_MIN(sum->min_ns, c->min_ns) : c->min_ns;
	sum->start_ns = sum->start_ns ? SFS_MIN(sum->start_ns, c->start_ns) : c->start_ns;
	sum->stop_ns = SFS_MAX(sum->stop_ns, c->stop_ns);
	sfs_hist_fine_merge(&sum->hist, &c->hist);
}

static int pt_start(struct perf_run *run, struct perf_thread *t, unsigned count, void *(*body)(void *))
{
	const struct perf_opts *o = &run->opts;
	pthread_attr_t attr;
	cpu_set_t set;
	int rc = pt_deal(run, t, count);

	if (rc < 0)
		return rc;
	pthread_attr_init(&attr);
	if (o->cpu_count && perf_cpu_set(&o->cpus[t->idx % o->cpu_count], 1, &set) == 0)
		pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	rc = -pthread_create(&t->thread, &attr, body, t);
	pthread_attr_destroy(&attr);
	return rc;
}

static int pt_cpu_ns(struct perf_run *run, struct perf_loopback *lb, uint64_t *ns)
{
	if (run->opts.raw_dir)
		return -ESRCH;
	return lb ? perf_loopback_cpu_ns(lb, ns) : perf_daemons_cpu_ns(run, ns);
}

/* The phases, timed by the thread that waits for the others. */
static void pt_conduct(struct perf_run *run, struct perf_loopback *lb)
{
	uint64_t from = 0, to = 0;

	pt_progress(run, run->opts.ops ? 0 : run->opts.ramp_s, "ramp");
	bool have = pt_cpu_ns(run, lb, &from) == 0;
	atomic_store(&run->phase, PERF_MEASURE);
	pt_progress(run, run->opts.time_s, run->opts.work.workload->name);
	atomic_store(&run->phase, PERF_STOP);
	if (have && pt_cpu_ns(run, lb, &to) == 0)
		run->daemon.cpu_s = (double)(to - from) / (double)SFS_NS_PER_S;
}

int perf_threads_run(struct perf_run *run, void *(*body)(void *), struct perf_loopback *lb)
{
	unsigned count = SFS_MAX(run->opts.cpu_count, 1u), started = 0;
	struct perf_thread *threads = calloc(count, sizeof(*threads));
	int rc = threads ? 0 : -ENOMEM;

	atomic_store(&run->phase, run->opts.ops ? PERF_MEASURE : PERF_RAMP);
	for (; rc == 0 && started < count; started++) {
		threads[started] = (struct perf_thread){.run = run, .idx = started};
		rc = pt_start(run, &threads[started], count, body);
		if (rc < 0)
			break;
	}
	if (rc == 0)
		pt_conduct(run, lb);
	atomic_store(&run->phase, PERF_STOP);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i].thread, NULL);
	if (rc == 0 && !lb && !run->opts.raw_dir)
		perf_daemons_look(run);
	for (unsigned i = 0; threads && i < count; i++) {
		for (unsigned k = 0; k < threads[i].lane_count; k++)
			pt_add(&threads[i].lanes[k].guest->total, &threads[i].lanes[k].c);
		run->load_cpu_s += threads[i].own_cpu_s;
		free(threads[i].lanes);
	}
	free(threads);
	return rc;
}
