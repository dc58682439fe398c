/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "sfs_base.h"
#include "sfs_reactor.h"
#include "sfs_workers.h"

/* A call that waits for a byte of a pipe (fd >= 0) and then notes its number. */
struct job {
	struct sfs_call call;
	int fd;
	unsigned id;
	atomic_uint runs;
	struct trace *trace;
};

struct trace {
	atomic_uint begun, most;
	atomic_uint running;
	pthread_mutex_t lock;
	unsigned ids[256];
	unsigned count;
};

static void job_run(struct sfs_call *call)
{
	struct job *job = SFS_CONTAINER_OF(call, struct job, call);
	struct trace *t = job->trace;
	char c;

	atomic_fetch_add(&job->runs, 1);
	if (t) {
		unsigned now = atomic_fetch_add(&t->running, 1) + 1, most = atomic_load(&t->most);

		while (now > most && !atomic_compare_exchange_weak(&t->most, &most, now))
			;
		pthread_mutex_lock(&t->lock);
		t->ids[t->count++ % SFS_ARRAY_SIZE(t->ids)] = job->id;
		pthread_mutex_unlock(&t->lock);
		atomic_fetch_add(&t->begun, 1);
	}
	if (job->fd >= 0)
		while (read(job->fd, &c, 1) < 0)
			;
	if (t)
		atomic_fetch_sub(&t->running, 1);
}

static void job_submit(struct job *job, struct sfs_workers_client *client, struct sfs_call_port *port)
{
	job->call.port = port;
	job->call.fn = job_run;
	sfs_call_submit(client, &job->call);
}

static struct sfs_workers *make(unsigned count, uint64_t spin_ns)
{
	struct sfs_workers_opts opts = {.count = count, .spin_ns = spin_ns};
	struct sfs_workers *wk = NULL;

	assert_int_equal(sfs_workers_create(&opts, &wk), 0);
	return wk;
}

/* Waits for @n calls to come back. */
static void reap(struct sfs_call_port *port, unsigned n)
{
	while (n) {
		struct sfs_call *call = sfs_call_reap(port), *next;

		if (!call)
			sched_yield();
		for (; call; call = next) {
			next = call->next;
			assert_true(n > 0);
			n--;
		}
	}
}

#define AWAIT(cond)                                                                                          \
	do {                                                                                                 \
		while (!(cond))                                                                              \
			sched_yield();                                                                       \
	} while (0)

static void jobs_init(struct job *jobs, unsigned n, int fd, struct trace *trace)
{
	for (unsigned i = 0; i < n; i++) {
		jobs[i].fd = fd;
		jobs[i].id = i;
		atomic_init(&jobs[i].runs, 0);
		jobs[i].trace = trace;
	}
}

static void release(int fd, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(write(fd, "x", 1), 1);
}

static void calls_of_one_client_begin_and_return_in_order(void **state)
{
	struct trace t = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct sfs_workers *wk = make(3, 0);
	struct sfs_workers_client *client = sfs_workers_client_create(wk, 1);
	struct sfs_call_port port = {.done = NULL};
	struct sfs_call *call;
	struct job gate, jobs[200];
	int p[2];

	assert_int_equal(pipe(p), 0);
	jobs_init(&gate, 1, p[0], NULL);
	jobs_init(jobs, SFS_ARRAY_SIZE(jobs), -1, &t);
	job_submit(&gate, client, &port);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(jobs); i++)
		job_submit(&jobs[i], client, &port);
	release(p[1], 1);
	AWAIT(atomic_load(&t.begun) == SFS_ARRAY_SIZE(jobs));
	sfs_workers_client_destroy(client);
	assert_int_equal(sfs_workers_destroy(wk, UINT64_MAX), 0);

	call = sfs_call_reap(&port);
	assert_ptr_equal(call, &gate.call);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(jobs); i++) {
		assert_int_equal(t.ids[i], i);
		call = call->next;
		assert_ptr_equal(call, &jobs[i].call);
	}
	assert_null(call->next);
	assert_null(sfs_call_reap(&port));
	close(p[0]);
	close(p[1]);
}

static void a_hung_client_leaves_workers_to_others(void **state)
{
	struct trace t = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct sfs_workers *wk = make(3, 0);
	struct sfs_workers_client *hung = sfs_workers_client_create(wk, 2),
				  *other = sfs_workers_client_create(wk, 3);
	struct sfs_call_port hung_port = {.done = NULL}, port = {.done = NULL};
	struct job stuck[6], jobs[100];
	unsigned busy, waiting;
	uint64_t calls;
	int p[2];

	assert_int_equal(pipe(p), 0);
	jobs_init(stuck, SFS_ARRAY_SIZE(stuck), p[0], &t);
	jobs_init(jobs, SFS_ARRAY_SIZE(jobs), -1, NULL);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(stuck); i++)
		job_submit(&stuck[i], hung, &hung_port);
	AWAIT(atomic_load(&t.begun) == 2);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(jobs); i++)
		job_submit(&jobs[i], other, &port);
	reap(&port, SFS_ARRAY_SIZE(jobs));
	assert_int_equal(atomic_load(&t.begun), 2);
	assert_null(sfs_call_reap(&hung_port));
	AWAIT((sfs_workers_stats(wk, &busy, &waiting, &calls), busy == 2));
	assert_int_equal(waiting, 4);
	assert_int_equal(calls, 102);

	release(p[1], 6);
	reap(&hung_port, 6);
	assert_int_equal(atomic_load(&t.most), 2);
	sfs_workers_client_destroy(hung);
	sfs_workers_client_destroy(other);
	assert_int_equal(sfs_workers_destroy(wk, UINT64_MAX), 0);
	close(p[0]);
	close(p[1]);
}

static void clients_take_turns(void **state)
{
	struct trace t = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct sfs_workers *wk = make(1, 0);
	struct sfs_workers_client *greedy = sfs_workers_client_create(wk, 1),
				  *modest = sfs_workers_client_create(wk, 1);
	struct sfs_call_port port = {.done = NULL};
	struct job gate, many[100], few[5];
	unsigned last = 0;
	int p[2];

	assert_int_equal(pipe(p), 0);
	jobs_init(&gate, 1, p[0], &t);
	jobs_init(many, SFS_ARRAY_SIZE(many), -1, &t);
	jobs_init(few, SFS_ARRAY_SIZE(few), -1, &t);
	job_submit(&gate, greedy, &port);
	AWAIT(atomic_load(&t.begun) == 1);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(many); i++)
		job_submit(&many[i], greedy, &port);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(few); i++) {
		few[i].id = 1000;
		job_submit(&few[i], modest, &port);
	}
	release(p[1], 1);
	reap(&port, 106);
	sfs_workers_client_destroy(greedy);
	sfs_workers_client_destroy(modest);
	assert_int_equal(sfs_workers_destroy(wk, UINT64_MAX), 0);
	for (unsigned i = 0; i < t.count; i++)
		if (t.ids[i] == 1000)
			last = i;
	assert_in_range(last, 5, 11); /* the gate, then by turns */
	close(p[0]);
	close(p[1]);
}

static void as_many_run_at_once_as_there_are_workers(void **state)
{
	struct job jobs[8];
	int p[2];

	assert_int_equal(pipe(p), 0);
	for (uint64_t spin_ns = 0; spin_ns <= 20000; spin_ns += 20000) {
		struct sfs_workers *wk = make(4, spin_ns);
		struct sfs_workers_client *client = sfs_workers_client_create(wk, 4);
		struct sfs_call_port port = {.done = NULL};

		/* Time and again, so that the workers are asleep now and then when the calls come all at
		 * once. */
		for (unsigned round = 0; round < 300; round++) {
			struct trace t = {.lock = PTHREAD_MUTEX_INITIALIZER};

			jobs_init(jobs, SFS_ARRAY_SIZE(jobs), p[0], &t);
			for (unsigned i = 0; i < SFS_ARRAY_SIZE(jobs); i++)
				job_submit(&jobs[i], client, &port);
			AWAIT(atomic_load(&t.running) == 4);
			release(p[1], 8);
			reap(&port, 8);
			assert_int_equal(atomic_load(&t.most), 4);
		}
		sfs_workers_client_destroy(client);
		assert_int_equal(sfs_workers_destroy(wk, UINT64_MAX), 0);
	}
	close(p[0]);
	close(p[1]);
}

/* --- many producers --- */

#define PRODUCERS      4
#define PRODUCER_BATCH 64
#define PRODUCER_CALLS (PRODUCER_BATCH * 200)

struct producer {
	pthread_t thread;
	struct sfs_workers_client *client;
	struct sfs_call_port port;
	struct job jobs[PRODUCER_BATCH];
};

static void *produce(void *arg)
{
	struct producer *p = arg;

	for (unsigned sent = 0; sent < PRODUCER_CALLS; sent += PRODUCER_BATCH) {
		for (unsigned i = 0; i < PRODUCER_BATCH; i++)
			job_submit(&p->jobs[i], p->client, &p->port);
		reap(&p->port, PRODUCER_BATCH);
	}
	return NULL;
}

static void every_call_of_many_producers_runs_once(void **state)
{
	for (uint64_t spin_ns = 0; spin_ns <= 20000; spin_ns += 20000) {
		struct sfs_workers *wk = make(3, spin_ns);
		struct sfs_workers_client *clients[2] = {sfs_workers_client_create(wk, 2),
							 sfs_workers_client_create(wk, 3)};
		struct producer *ps = calloc(PRODUCERS, sizeof(*ps));
		unsigned busy, waiting;
		uint64_t calls;

		assert_non_null(ps);
		for (unsigned i = 0; i < PRODUCERS; i++) {
			ps[i].client = clients[i % 2]; /* two threads share one client */
			jobs_init(ps[i].jobs, PRODUCER_BATCH, -1, NULL);
			assert_int_equal(pthread_create(&ps[i].thread, NULL, produce, &ps[i]), 0);
		}
		for (unsigned i = 0; i < PRODUCERS; i++) {
			pthread_join(ps[i].thread, NULL);
			for (unsigned k = 0; k < PRODUCER_BATCH; k++)
				assert_int_equal(atomic_load(&ps[i].jobs[k].runs),
						 PRODUCER_CALLS / PRODUCER_BATCH);
		}
		sfs_workers_stats(wk, &busy, &waiting, &calls);
		assert_int_equal(waiting, 0);
		assert_int_equal(calls, PRODUCERS * PRODUCER_CALLS);
		sfs_workers_client_destroy(clients[0]);
		sfs_workers_client_destroy(clients[1]);
		assert_int_equal(sfs_workers_destroy(wk, UINT64_MAX), 0);
		free(ps);
	}
}

/* --- wake-ups --- */

/* One call at a time: the workers sleep, or are just about to, whenever one is handed over. */
static void no_wake_up_is_lost(uint64_t spin_ns, unsigned calls)
{
	struct sfs_workers *wk = make(2, spin_ns);
	struct sfs_workers_client *client = sfs_workers_client_create(wk, 2);
	struct sfs_call_port port = {.done = NULL};
	struct job job;
	unsigned random = 1;

	jobs_init(&job, 1, -1, NULL);
	for (unsigned i = 0; i < calls; i++) {
		job_submit(&job, client, &port);
		reap(&port, 1);
		random = random * 1103515245 + 12345;
		/* Gaps around the spin window, so that calls meet workers in all stages of falling asleep. */
		for (uint64_t end = sfs_now_ns() + (random >> 16) % (2 * spin_ns + 1); sfs_now_ns() < end;)
			sfs_pause();
	}
	assert_int_equal(atomic_load(&job.runs), calls);
	sfs_workers_client_destroy(client);
	assert_int_equal(sfs_workers_destroy(wk, UINT64_MAX), 0);
}

static void no_wake_up_of_sleeping_workers_is_lost(void **state)
{
	no_wake_up_is_lost(0, 100000);
}

static void no_wake_up_of_spinning_workers_is_lost(void **state)
{
	no_wake_up_is_lost(10000, 20000);
}

/* A lane by itself: hands a call over, and the next one whenever one comes back, on a reactor that sleeps
 * between. */
struct lane {
	struct sfs_poller poller;
	struct sfs_call_port port;
	struct sfs_workers_client *client;
	struct job job;
	unsigned left;
	bool busy;
	atomic_bool done;
};

static unsigned lane_poll(struct sfs_poller *poller, uint64_t now_ns)
{
	struct lane *lane = SFS_CONTAINER_OF(poller, struct lane, poller);

	if (sfs_call_reap(&lane->port))
		lane->busy = false;
	if (lane->busy)
		return 0;
	if (lane->left == 0) {
		atomic_store(&lane->done, true);
		return 0;
	}
	lane->left--;
	lane->busy = true;
	job_submit(&lane->job, lane->client, &lane->port);
	return 1;
}

static bool lane_arm(struct sfs_poller *poller)
{
	struct lane *lane = SFS_CONTAINER_OF(poller, struct lane, poller);

	return atomic_load_explicit(&lane->port.done, memory_order_relaxed);
}

static void finished_calls_wake_a_sleeping_reactor(void **state)
{
	static const struct sfs_poller_ops ops = {.poll = lane_poll, .arm = lane_arm};
	struct sfs_reactor_opts opts = {.name = "t", .cpu = -1, .idle = SFS_IDLE_ADAPTIVE};
	struct sfs_workers *wk = make(2, 0);
	struct lane lane = {.poller.ops = &ops, .left = 20000, .client = sfs_workers_client_create(wk, 1)};
	struct sfs_reactor_stats stats;
	struct sfs_reactor *r;

	assert_int_equal(sfs_reactor_create(&opts, &r), 0);
	lane.port.reactor = r;
	jobs_init(&lane.job, 1, -1, NULL);
	sfs_reactor_add(r, &lane.poller);
	assert_int_equal(sfs_reactor_start(r), 0);
	AWAIT(atomic_load(&lane.done));
	assert_int_equal(sfs_reactor_stop(r, 60 * SFS_NS_PER_S), 0);
	sfs_reactor_stats_get(r, &stats);
	assert_true(stats.sleeps > 0);
	assert_int_equal(atomic_load(&lane.job.runs), 20000);
	sfs_reactor_remove(r, &lane.poller);
	sfs_workers_client_destroy(lane.client);
	assert_int_equal(sfs_workers_destroy(wk, UINT64_MAX), 0);
	sfs_reactor_destroy(r);
}

/* --- calls that nobody waits for --- */

/* Hands itself over again until it has run often enough, then frees itself. */
struct loner {
	struct sfs_call call;
	struct sfs_workers_client *client;
	unsigned left;
	atomic_uint *ended;
};

static void loner_run(struct sfs_call *call)
{
	struct loner *loner = SFS_CONTAINER_OF(call, struct loner, call);

	if (--loner->left) {
		sfs_call_submit(loner->client, &loner->call);
		return;
	}
	atomic_fetch_add(loner->ended, 1);
	free(loner);
}

static void a_call_that_nobody_waits_for_is_its_functions_own(void **state)
{
	struct sfs_workers *wk = make(3, 0);
	struct sfs_workers_client *client = sfs_workers_client_create(wk, 3);
	atomic_uint ended = 0;
	unsigned busy, waiting;
	uint64_t calls;

	for (unsigned i = 0; i < 100; i++) {
		struct loner *loner = malloc(sizeof(*loner));

		assert_non_null(loner);
		*loner = (struct loner){.call.fn = loner_run, .client = client, .left = 50, .ended = &ended};
		sfs_call_submit(client, &loner->call);
	}
	AWAIT(atomic_load(&ended) == 100);
	sfs_workers_client_destroy(client);
	sfs_workers_stats(wk, &busy, &waiting, &calls);
	assert_int_equal(calls, 5000);
	assert_int_equal(sfs_workers_destroy(wk, UINT64_MAX), 0);
}

/* --- ends --- */

static void a_client_with_calls_in_flight_goes_with_the_last(void **state)
{
	struct trace t = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct sfs_workers *wk = make(2, 0);
	struct sfs_workers_client *client = sfs_workers_client_create(wk, 1),
				  *other = sfs_workers_client_create(wk, 1);
	struct sfs_call_port port = {.done = NULL};
	struct job jobs[10], after;
	int p[2];

	assert_int_equal(pipe(p), 0);
	jobs_init(jobs, SFS_ARRAY_SIZE(jobs), p[0], &t);
	jobs_init(&after, 1, -1, NULL);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(jobs); i++)
		job_submit(&jobs[i], client, &port);
	AWAIT(atomic_load(&t.begun) == 1);
	sfs_workers_client_destroy(client);
	release(p[1], SFS_ARRAY_SIZE(jobs));
	reap(&port, SFS_ARRAY_SIZE(jobs));
	job_submit(&after, other, &port);
	reap(&port, 1);
	sfs_workers_client_destroy(other);
	assert_int_equal(sfs_workers_destroy(wk, UINT64_MAX), 0);
	close(p[0]);
	close(p[1]);
}

static void clients_come_and_go_under_load(void **state)
{
	struct sfs_workers *wk = make(3, 0);
	struct sfs_call_port port = {.done = NULL};
	struct job jobs[8];
	size_t before_bytes = mallinfo2().uordblks;

	jobs_init(jobs, SFS_ARRAY_SIZE(jobs), -1, NULL);
	for (unsigned round = 0; round < 2000; round++) {
		struct sfs_workers_client *client = sfs_workers_client_create(wk, 1 + round % 3);

		assert_non_null(client);
		for (unsigned i = 0; i < round % 9; i++)
			job_submit(&jobs[i], client, &port);
		sfs_workers_client_destroy(client);
		reap(&port, round % 9);
	}
	AWAIT(mallinfo2().uordblks < before_bytes + 65536); /* a leak of the clients were six times as much */
	assert_int_equal(sfs_workers_destroy(wk, UINT64_MAX), 0);
}

static unsigned threads_now(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *de;
	unsigned n = 0;

	assert_non_null(dir);
	while ((de = readdir(dir)))
		n += de->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void calls_that_wait_at_the_end_are_not_begun(void **state)
{
	struct trace t = {.lock = PTHREAD_MUTEX_INITIALIZER};
	unsigned threads = threads_now();
	struct sfs_workers *wk = make(1, 0);
	struct sfs_workers_client *client = sfs_workers_client_create(wk, 1);
	struct sfs_call_port port = {.done = NULL};
	struct job jobs[3];
	int p[2];

	assert_int_equal(pipe(p), 0);
	jobs_init(jobs, SFS_ARRAY_SIZE(jobs), p[0], &t);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(jobs); i++)
		job_submit(&jobs[i], client, &port);
	AWAIT(atomic_load(&t.begun) == 1);
	sfs_workers_client_destroy(client);
	/* The first call ends only after the pool was told to stop, and finds the others waiting. */
	assert_int_equal(sfs_workers_destroy(wk, 0), -ETIMEDOUT);
	release(p[1], 1);
	AWAIT(sfs_call_reap(&port) == &jobs[0].call);
	AWAIT(threads_now() == threads);
	assert_int_equal(atomic_load(&t.begun), 1);
	close(p[1]);
	close(p[0]);
}

static void an_abandoned_pool_goes_when_its_last_thread_comes_back(void **state)
{
	struct trace t = {.lock = PTHREAD_MUTEX_INITIALIZER};
	unsigned threads = threads_now();
	struct sfs_workers *wk = make(4, 0);
	struct sfs_workers_client *client = sfs_workers_client_create(wk, 4);
	struct sfs_call_port port = {.done = NULL};
	struct job jobs[2];
	int p[2];

	assert_int_equal(pipe(p), 0);
	jobs_init(jobs, SFS_ARRAY_SIZE(jobs), p[0], &t);
	job_submit(&jobs[0], client, &port);
	job_submit(&jobs[1], client, &port);
	AWAIT(atomic_load(&t.begun) == 2);
	sfs_workers_client_destroy(client);
	assert_int_equal(sfs_workers_destroy(wk, SFS_NS_PER_MS), -ETIMEDOUT);
	AWAIT(threads_now() == threads + 2);
	release(p[1], 2);
	reap(&port, 2);
	AWAIT(threads_now() == threads);
	close(p[0]);
	close(p[1]);
}

static void count_thread(void *arg)
{
	atomic_fetch_add((atomic_uint *)arg, 1);
}

static void threads_are_initialised_and_bad_options_refused(void **state)
{
	atomic_uint inits = 0;
	cpu_set_t cpus;
	struct sfs_workers_opts opts = {.count = 3, .thread_init = count_thread, .thread_init_arg = &inits};
	struct sfs_workers *wk;

	assert_int_equal(sfs_workers_create(&opts, &wk), 0);
	assert_int_equal(sfs_workers_destroy(wk, UINT64_MAX), 0);
	assert_int_equal(atomic_load(&inits), 3);

	CPU_ZERO(&cpus);
	CPU_SET(CPU_SETSIZE - 1, &cpus);
	opts.cpus = &cpus;
	assert_int_equal(sfs_workers_create(&opts, &wk), -EINVAL);
	opts.cpus = NULL;
	opts.count = 0;
	assert_int_equal(sfs_workers_create(&opts, &wk), -EINVAL);
}

static void look_policy(struct sfs_call *call)
{
	struct job *job = SFS_CONTAINER_OF(call, struct job, call);

	job->id = (unsigned)sched_getscheduler(0);
}

/* Workers in the background wait for their turn; others are like any thread. */
static void background_workers_do_not_preempt(void **state)
{
	for (unsigned background = 0; background < 2; background++) {
		struct sfs_workers_opts opts = {.count = 2, .background = background};
		struct sfs_workers_client *client;
		struct sfs_call_port port = {.reactor = NULL};
		struct sfs_workers *wk;
		struct job job = {.call = {.fn = look_policy, .port = &port}};

		assert_int_equal(sfs_workers_create(&opts, &wk), 0);
		client = sfs_workers_client_create(wk, 2);
		assert_non_null(client);
		sfs_call_submit(client, &job.call);
		AWAIT(sfs_call_reap(&port) == &job.call);
		assert_int_equal(job.id, background ? SCHED_BATCH : SCHED_OTHER);
		assert_int_equal(sfs_workers_in_background(client), background);
		sfs_workers_client_destroy(client);
		assert_int_equal(sfs_workers_destroy(wk, UINT64_MAX), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(calls_of_one_client_begin_and_return_in_order),
	    cmocka_unit_test(a_hung_client_leaves_workers_to_others),
	    cmocka_unit_test(clients_take_turns),
	    cmocka_unit_test(as_many_run_at_once_as_there_are_workers),
	    cmocka_unit_test(every_call_of_many_producers_runs_once),
	    cmocka_unit_test(no_wake_up_of_sleeping_workers_is_lost),
	    cmocka_unit_test(no_wake_up_of_spinning_workers_is_lost),
	    cmocka_unit_test(finished_calls_wake_a_sleeping_reactor),
	    cmocka_unit_test(background_workers_do_not_preempt),
	    cmocka_unit_test(a_call_that_nobody_waits_for_is_its_functions_own),
	    cmocka_unit_test(a_client_with_calls_in_flight_goes_with_the_last),
	    cmocka_unit_test(clients_come_and_go_under_load),
	    cmocka_unit_test(calls_that_wait_at_the_end_are_not_begun),
	    cmocka_unit_test(an_abandoned_pool_goes_when_its_last_thread_comes_back),
	    cmocka_unit_test(threads_are_initialised_and_bad_options_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
