/* SPDX-License-Identifier: BSD-3-Clause */
/* What a reactor does without work: `adaptive` sleeps and loses no kick, `spin` wants none. */
#include "harness.h"

#include <dirent.h>
#include <time.h>

#define SPIN_US       50
#define ADAPTIVE      "\"reactors\": [ { \"name\": \"r0\", \"idle\": \"adaptive\", \"spin_us\": 50 } ]"
#define EVENT_WRAP    65536
#define IDLE_SECONDS  3
#define IDLE_PERMILLE 10 /* of one core */

/* A reproducible sequence. */
static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

static void gap(uint64_t ns)
{
	uint64_t end = sfs_now_ns() + ns;

	while (sfs_now_ns() < end)
		sfs_pause();
}

/* Voluntary context switches of a thread of the daemon. */
static uint64_t thread_sleeps(const struct fn_env *env, pid_t tid)
{
	return fn_status(env, tid, "voluntary_ctxt_switches:");
}

/* Nanoseconds on a CPU, of all threads of the daemon. */
static uint64_t cpu_ns(const struct fn_env *env)
{
	unsigned long long sum = 0, ns;
	struct dirent *d;
	char path[128];

	snprintf(path, sizeof(path), "/proc/%d/task", env->pid);
	DIR *dir = opendir(path);
	assert_non_null(dir);
	while ((d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat", env->pid, d->d_name);
		FILE *f = d->d_name[0] == '.' ? NULL : fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		fclose(f);
	}
	closedir(dir);
	return sum;
}

/* @count requests, one at a time or a few, after gaps of @least to @most ns. Each must come back. */
static void with_gaps(struct sfs_fg *g, unsigned count, uint64_t least, uint64_t most, uint64_t *random)
{
	const struct sfs_fg_call call = {
	    .opcode = FUSE_STATFS, .nodeid = FUSE_ROOT_ID, .out_bytes = sizeof(struct fuse_statfs_out)};
	const struct fuse_forget_in forget_in = {.nlookup = 1};
	const struct sfs_fg_call forget = {.opcode = FUSE_FORGET,
					   .nodeid = 12345,
					   .args = &forget_in,
					   .args_bytes = sizeof(forget_in),
					   .no_reply = true};
	struct sfs_fg_req *reqs[4];

	while (count) {
		unsigned n = SFS_MIN(1 + next_random(random) % 4 * (next_random(random) % 4 == 0), count);
		bool hiprio = next_random(random) % 8 == 0;
		struct sfs_fg_queue *q = &g->queue[hiprio ? SFS_FG_HIPRIO : 1];

		gap(least + next_random(random) % (most - least));
		for (unsigned i = 0; i < n; i++)
			reqs[i] = fn_call(q, hiprio ? &forget : &call);
		fn_publish(q);
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(fn_result(reqs[i]), 0);
		count -= n;
	}
}

/* The same one at a time: how often the reactor slept before. */
static uint64_t sleeps_before(struct fn_env *env, struct sfs_fg *g, unsigned count, uint64_t *random)
{
	struct fuse_statfs_out out;
	pid_t tid = fn_thread(env, "sfs-r0");
	uint64_t before;

	assert_true(tid > 0);
	before = thread_sleeps(env, tid);
	for (unsigned i = 0; i < count; i++) {
		/* Well beyond the window, so that it is asleep whoever else uses the CPU. */
		nanosleep(&(struct timespec){.tv_nsec = 6 * SPIN_US * 1000 + next_random(random) % 100000},
			  NULL);
		fn_ok(sfs_fg_statfs(g, FUSE_ROOT_ID, &out));
	}
	return thread_sleeps(env, tid) - before;
}

static void check_idle(struct fn_env *env)
{
	uint64_t used, wall, before_ns, before = sfs_now_ns();

	before_ns = cpu_ns(env);
	nanosleep(&(struct timespec){.tv_sec = IDLE_SECONDS}, NULL);
	used = cpu_ns(env) - before_ns;
	wall = sfs_now_ns() - before;
	print_message("idle: %llu us on a CPU in %llu ms\n", (unsigned long long)used / 1000,
		      (unsigned long long)wall / 1000000);
	assert_true(used < wall / 1000 * IDLE_PERMILLE);
}

static void adaptive(struct fn_env *env, bool event_idx, unsigned around, unsigned beyond)
{
	const struct fn_share share = {.tag = "a"};
	const struct sfs_fg_opts opts = {
	    .depth = 16, .data_bytes = 4096, .features_refused = event_idx ? 0 : SFS_FE_F_EVENT_IDX};
	uint64_t random = 1, slept;

	fn_start_config(env, ADAPTIVE, &share, 1);
	struct sfs_fg *g = fn_guest_on(env, "a", &opts);
	with_gaps(g, around, 0, 2 * SPIN_US * SFS_NS_PER_US, &random);
	slept = sleeps_before(env, g, beyond, &random);
	print_message("%llu sleeps before %u requests, %llu kicks in all\n", (unsigned long long)slept,
		      beyond, (unsigned long long)g->queue[1].ring.kicks);
	assert_true(slept >= beyond * 9ull / 10);
	check_idle(env);
	fn_work(g, "work", 2);
}

static void test_adaptive(struct fn_env *env)
{
	adaptive(env, true, fn_full() ? 800000 : 15000, fn_full() ? 200000 : 5000);
}

static void test_adaptive_without_event_idx(struct fn_env *env)
{
	adaptive(env, false, fn_full() ? 100000 : 8000, fn_full() ? 20000 : 2000);
}

/* Nobody is there yet, or nobody any more. */
static void test_idle_without_guest(struct fn_env *env)
{
	const struct fn_share shares[] = {{.tag = "a"}, {.tag = "b"}};

	fn_start_config(env, ADAPTIVE, shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *g = fn_guest_on(env, "a", NULL);
	fn_work(g, "work", 2);
	fn_guest_leave(env, g);
	fn_until(fn_figure_is(env, "devices.0.state", "listening"));
	check_idle(env);
}

/* Completions of the engine and of workers wake a sleeper as well as kicks do. */
static void test_sleeps_while_parked(struct fn_env *env)
{
	const struct fn_share shares[] = {{.tag = "slow"}};
	unsigned rounds = fn_full() ? 2000 : 200;
	uint64_t nodeid, fh;

	fn_slowfs(env, "slow", false);
	fn_start_config(env, ADAPTIVE, shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *g = fn_guest_on(env, "slow", NULL);
	fn_open(g, "file", O_RDONLY, &nodeid, &fh);
	for (unsigned i = 0; i < rounds; i++) {
		slowfs_hold(env->slowfs, FUSE_READ);
		struct sfs_fg_req *req = fn_read(&g->queue[1], nodeid, fh, 0, 4096);
		fn_publish(&g->queue[1]);
		fn_until(slowfs_held(env->slowfs) == 1);
		if (i % 2) /* long enough for the reactor to sleep */
			nanosleep(&(struct timespec){.tv_nsec = 10 * SPIN_US * 1000}, NULL);
		slowfs_release(env->slowfs);
		assert_int_equal(fn_result(req), 4096);
	}
	check_idle(env);
}

/* With as much in flight as may be, what waits in the ring waits for its end: no reason to stay awake. */
static void test_sleeps_while_full(struct fn_env *env)
{
	const struct fn_share shares[] = {
	    {.tag = "slow", .more = "\"limits\": { \"bytes_in_flight\": 1048576 }"}};
	const struct sfs_fg_opts opts = {.depth = 4, .data_bytes = 1 << 20};
	uint64_t nodeid, fh, before;
	struct sfs_fg_req *reqs[2];

	fn_slowfs(env, "slow", false);
	fn_start_config(env, ADAPTIVE, shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *g = fn_guest_on(env, "slow", &opts);
	fn_open(g, "file", O_RDONLY, &nodeid, &fh);
	slowfs_hold(env->slowfs, FUSE_READ);
	reqs[0] = fn_read(&g->queue[1], nodeid, fh, 0, 1 << 20);
	fn_publish(&g->queue[1]);
	fn_until(slowfs_held(env->slowfs) > 0);
	before = thread_sleeps(env, fn_thread(env, "sfs-r0"));
	reqs[1] = fn_read(&g->queue[1], nodeid, fh, 0, 4096);
	fn_publish(&g->queue[1]);
	fn_until(thread_sleeps(env, fn_thread(env, "sfs-r0")) > before);
	slowfs_release(env->slowfs);
	assert_true(fn_result(reqs[0]) > 0);
	assert_int_equal(fn_result(reqs[1]), 4096);
}

static void spin(struct fn_env *env, unsigned queues)
{
	enum { DEPTH = 32, COUNT = 200000 };
	const struct sfs_fg_call call = {.opcode = FUSE_GETATTR,
					 .nodeid = FUSE_ROOT_ID,
					 .args = &(struct fuse_getattr_in){0},
					 .args_bytes = sizeof(struct fuse_getattr_in),
					 .out_bytes = sizeof(struct fuse_attr_out)};
	struct sfs_fg_req *reqs[DEPTH];
	uint64_t pending;

	fn_guest(env, &(struct sfs_fg_opts){.depth = DEPTH, .data_bytes = 4096, .request_queues = queues});
	for (unsigned q = 1; q <= queues; q++) {
		for (unsigned n = 0; n < COUNT / queues; n += DEPTH) {
			for (unsigned i = 0; i < DEPTH; i++)
				reqs[i] = fn_call(&env->g.queue[q], &call);
			fn_publish(&env->g.queue[q]);
			for (unsigned i = 0; i < DEPTH; i++)
				assert_int_equal(fn_result(reqs[i]), 0);
		}
	}
	for (unsigned q = 0; q < env->g.queue_count; q++) {
		struct sfs_fe_ring *ring = &env->g.queue[q].ring;
		uint64_t passed = q ? COUNT / queues : 0;

		assert_in_range(ring->kicks, 0, 1 + passed / EVENT_WRAP);
		/* Nobody has read them. */
		if (!ring->kicks)
			continue;
		assert_int_equal(read(ring->kick_fd, &pending, sizeof(pending)), sizeof(pending));
		assert_int_equal(pending, ring->kicks);
	}
	assert_true(fn_figure_is(env, "reactors.0.idle", "spin"));
	assert_int_equal(fn_figure(env, "reactors.0.sleeps"), 0);
	assert_int_equal(fn_figure(env, "devices.0.queues.1.eventfd_reads"), 0);
}

static void test_spin(struct fn_env *env)
{
	spin(env, 1);
}

static void test_spin_on_two_queues(struct fn_env *env)
{
	spin(env, 2);
}

const struct fn_test fn_tests[] = {
    {"adaptive", test_adaptive, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"adaptive without EVENT_IDX", test_adaptive_without_event_idx, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"idle without a guest", test_idle_without_guest, {NULL}, FN_NO_DAEMON},
    {"sleeps while a request is parked", test_sleeps_while_parked, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"sleeps while as much is in flight as may be", test_sleeps_while_full, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"spin", test_spin, {"--idle", "spin"}, FN_ONCE},
    {"spin on two queues", test_spin_on_two_queues, {"--idle", "spin"}, FN_ONCE},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
