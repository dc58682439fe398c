/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings and guest memory while requests pass: tables changed, queues stopped, front ends that vanish,
 * memory that goes. */
#include "harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define TWO_REACTORS "\"reactors\": [ { \"name\": \"r0\" }, { \"name\": \"r1\" } ]"

/* --- load: writes and reads that are checked, from a thread of its own --- */

#define LOAD_DEPTH 16
#define LOAD_BYTES 12288u

struct load {
	struct sfs_fg_queue *q;
	uint64_t nodeid, fh, base; /* a region of the file that is this load's alone */
	atomic_bool stop;
	atomic_ullong done; /* batches */
	const char *wrong;
	int result;
	pthread_t thread;
};

static const char *load_wait(struct load *l, struct sfs_fg_req *req, int want)
{
	int rc = sfs_fg_wait(req);

	l->result = rc < 0 ? rc : req->result;
	if (rc < 0)
		return "no answer";
	return req->result == want ? NULL : "another result";
}

static struct sfs_fg_req *load_start(struct load *l, unsigned n, bool write)
{
	uint64_t at = l->base + n * (uint64_t)LOAD_BYTES;
	struct fuse_read_in rd = {.fh = l->fh, .offset = at, .size = LOAD_BYTES};
	struct fuse_write_in wr = {.fh = l->fh, .offset = at, .size = LOAD_BYTES};
	struct sfs_fg_call call = {.opcode = write ? FUSE_WRITE : FUSE_READ,
				   .nodeid = l->nodeid,
				   .args = write ? (void *)&wr : (void *)&rd,
				   .args_bytes = write ? sizeof(wr) : sizeof(rd),
				   .data_readable = write ? LOAD_BYTES : 0,
				   .data_writable = write ? 0 : LOAD_BYTES,
				   .out_bytes = write ? sizeof(struct fuse_write_out) : 0};
	struct sfs_fg_req *req = sfs_fg_req_get(l->q);

	if (req && sfs_fg_start(req, &call) < 0)
		req = NULL;
	return req;
}

/* One batch of writes, then one of reads that must find them. */
static const char *load_round(struct load *l, unsigned round)
{
	struct sfs_fg_req *reqs[LOAD_DEPTH];
	uint8_t want[LOAD_BYTES];
	const char *wrong = NULL;

	for (unsigned pass = 0; pass < 2 && !wrong; pass++) {
		bool write = pass == 0;

		for (unsigned i = 0; i < LOAD_DEPTH; i++) {
			if (write)
				fn_pattern(l->q->free->data, LOAD_BYTES, round * 31 + i + (unsigned)l->base);
			else
				memset(l->q->free->data, 0xee, LOAD_BYTES);
			reqs[i] = load_start(l, i, write);
			if (!reqs[i])
				return "cannot start";
		}
		if (sfs_fg_publish(l->q) < 0)
			return "cannot publish";
		for (unsigned i = 0; i < LOAD_DEPTH && !wrong; i++) {
			wrong = load_wait(l, reqs[i], write ? 0 : (int)LOAD_BYTES);
			fn_pattern(want, LOAD_BYTES, round * 31 + i + (unsigned)l->base);
			if (!wrong && !write && memcmp(reqs[i]->data, want, LOAD_BYTES) != 0)
				wrong = "other data";
			sfs_fg_req_put(reqs[i]);
		}
	}
	return wrong;
}

static void *load_main(void *arg)
{
	struct load *l = arg;

	for (unsigned round = 0; !atomic_load(&l->stop) && !l->wrong; round++) {
		l->wrong = load_round(l, round);
		atomic_fetch_add(&l->done, 1);
	}
	return NULL;
}

/* On request queue @queue of @g. The file is made before. */
static void load_begin(struct load *l, struct sfs_fg *g, unsigned queue, const char *file, int flags)
{
	*l = (struct load){.q = &g->queue[queue], .base = queue * (uint64_t)LOAD_DEPTH * LOAD_BYTES};
	fn_open(g, file, O_RDWR | flags, &l->nodeid, &l->fh);
	assert_int_equal(pthread_create(&l->thread, NULL, load_main, l), 0);
}

static void load_end(struct load *l)
{
	atomic_store(&l->stop, true);
	pthread_join(l->thread, NULL);
	if (l->wrong)
		fail_msg("the load on queue %u: %s (%d)", l->q->idx, l->wrong, l->result);
	assert_true(atomic_load(&l->done) > 0);
}

static void make_file(const struct fn_env *env, const char *name)
{
	int fd = open(fn_path(env, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 8 << 20), 0);
	close(fd);
}

/* --- rings --- */

static void test_large_ring(struct fn_env *env)
{
	enum { DEPTH = 3000, BYTES = 512 };
	struct sfs_fg_opts opts = {.ring_size = 32768, .depth = DEPTH, .data_bytes = 4096};
	static struct sfs_fg_req *reqs[DEPTH];
	static uint8_t content[DEPTH * BYTES];
	uint64_t nodeid, fh;

	fn_pattern(content, sizeof(content), 5);
	fn_host_write(env, "file", content, sizeof(content));
	fn_guest(env, &opts);
	fn_open(&env->g, "file", O_RDONLY, &nodeid, &fh);
	/* Around the index's end, with more in the ring than the daemon has slots. */
	for (unsigned round = 0; round < 25; round++) {
		for (unsigned i = 0; i < DEPTH; i++)
			reqs[i] = fn_read(&env->g.queue[1], nodeid, fh, i * BYTES, BYTES);
		fn_publish(&env->g.queue[1]);
		for (unsigned i = 0; i < DEPTH; i++) {
			assert_int_equal(fn_result(reqs[i]), BYTES);
			assert_memory_equal(reqs[i]->data, content + i * BYTES, BYTES);
		}
	}
}

static void test_ring_too_large(struct fn_env *env)
{
	struct sfs_fg_opts opts = {.ring_size = 256, .depth = 4, .data_bytes = 4096};

	fn_ok(sfs_fg_begin(&env->g, &opts));
	env->guest_up = true;
	assert_true(sfs_fg_attach(&env->g, env->socket, FN_WAIT_MS) < 0);
	fn_guest_gone(env);
	opts.ring_size = 128;
	fn_guest(env, &opts);
	fn_work(&env->g, "work", 2);
}

static void test_two_reactors(struct fn_env *env)
{
	const struct fn_share share = {.tag = "a", .more = "\"queues\": { \"request_count\": 4 }"};
	struct load load[4];
	char path[64];

	fn_start_config(env, TWO_REACTORS, &share, 1);
	make_file(env, "a/file");
	struct sfs_fg *g = fn_guest_on(
	    env, "a",
	    &(struct sfs_fg_opts){
		.request_queues = 4, .depth = 32, .data_bytes = LOAD_BYTES, .seg_bytes = SFS_FG_PAGE});
	for (unsigned q = 1; q <= 4; q++) {
		g->sync_queue = &g->queue[q];
		load_begin(&load[q - 1], g, q, "file", 0);
	}
	for (unsigned q = 1; q <= 4; q++)
		fn_until(atomic_load(&load[q - 1].done) > 200);
	for (unsigned q = 1; q <= 4; q++)
		load_end(&load[q - 1]);
	for (unsigned q = 1; q <= 4; q++) {
		snprintf(path, sizeof(path), "devices.0.queues.%u.reactor", q);
		assert_true(fn_figure_is(env, path, q % 2 ? "r1" : "r0"));
		snprintf(path, sizeof(path), "devices.0.queues.%u.requests", q);
		assert_true(fn_figure(env, path) >= 200 * LOAD_DEPTH);
	}
}

/* --- memory tables and stops under load --- */

static void test_mem_table_under_load(struct fn_env *env)
{
	struct sfs_fg_opts opts = {.depth = 32,
				   .data_bytes = LOAD_BYTES,
				   .seg_bytes = SFS_FG_PAGE,
				   .mem = {.region_count = 2, .region_bytes = 16 << 20, .gpa_gap = 0x10000}};
	unsigned rounds = fn_full() ? 300 : 100;
	struct sfs_fe_mem less;
	struct load load;

	make_file(env, "share/file");
	fn_guest(env, &opts);
	assert_int_equal(env->g.mem.alloc_region, 0); /* the second region is nobody's */
	less = env->g.mem;
	less.region_count = 1;
	load_begin(&load, &env->g, 1, "file", 0);
	for (unsigned i = 0; i < rounds; i++)
		fn_ok(sfs_fe_set_mem_table(&env->g.fe, i % 2 ? &env->g.mem : &less));
	load_end(&load);
	fn_work(&env->g, "work", 2);
}

/* GET_VRING_BASE is answered when what the daemon took has been answered, not before. */
static void test_stop_waits(struct fn_env *env)
{
	enum { COUNT = 9 };
	const struct fn_share shares[] = {{.tag = "slow"}};
	struct {
		uint32_t idx, num;
	} state = {.idx = 1};
	struct sfs_fg_req *reqs[COUNT];
	struct sfs_fe_msg msg;
	uint64_t nodeid, fh;

	fn_slowfs(env, "slow", false);
	fn_start_config(env, NULL, shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *g = fn_guest_on(env, "slow", NULL);
	fn_open(g, "file", O_RDONLY, &nodeid, &fh);
	for (unsigned round = 0; round < 3; round++) {
		slowfs_hold(env->slowfs, FUSE_READ);
		for (unsigned i = 0; i < COUNT; i++)
			reqs[i] = fn_read(&g->queue[1], nodeid, fh, i * 4096, 4096);
		fn_publish(&g->queue[1]);
		fn_until(fn_figure(env, "devices.0.queues.1.in_flight") == COUNT);
		fn_ok(sfs_fe_send_raw(&g->fe, SFS_FE_GET_VRING_BASE, SFS_FE_VERSION, sizeof(state), &state,
				      sizeof(state), NULL, 0));
		fn_until(fn_figure_is(env, "devices.0.state", "quiescing"));
		g->fe.timeout_ms = 100;
		fn_fails(ETIMEDOUT, sfs_fe_recv(&g->fe, &msg));
		g->fe.timeout_ms = 10000;
		slowfs_release(env->slowfs);
		fn_ok(sfs_fe_recv(&g->fe, &msg));
		assert_int_equal(msg.id, SFS_FE_GET_VRING_BASE);
		assert_int_equal(msg.payload.u64 >> 32, g->queue[1].ring.avail_idx);
		assert_int_equal(__atomic_load_n(&g->queue[1].ring.used->idx, __ATOMIC_ACQUIRE),
				 g->queue[1].ring.avail_idx);
		for (unsigned i = 0; i < COUNT; i++)
			assert_int_equal(fn_result(reqs[i]), 4096);
		g->queue[1].ring.base_idx = (uint16_t)(msg.payload.u64 >> 32);
		fn_ok(sfs_fe_ring_attach(&g->queue[1].ring, &g->fe, 1, true));
	}
	fn_work(g, "work", 2);
}

/* Stopped in the middle of what is in the ring, and started again from where it stands: nothing is lost,
 * nothing done twice. */
static void test_stop_and_restart_under_load(struct fn_env *env)
{
	unsigned rounds = fn_full() ? 1000 : 60, part = 0;
	struct load load;

	make_file(env, "share/file");
	fn_guest(env, &(struct sfs_fg_opts){.depth = 32, .data_bytes = LOAD_BYTES, .seg_bytes = SFS_FG_PAGE});
	const struct sfs_fe_ring *ring = &env->g.queue[1].ring;
	load_begin(&load, &env->g, 1, "file", 0);
	for (unsigned round = 0; round < rounds; round++) {
		unsigned long long done = atomic_load(&load.done);

		fn_ok(sfs_fg_stop(&env->g));
		/* All that was taken is answered, and what was not waits. */
		assert_int_equal(__atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE), ring->base_idx);
		part += ring->base_idx != __atomic_load_n(&ring->avail->idx, __ATOMIC_ACQUIRE);
		fn_ok(sfs_fg_restart(&env->g));
		fn_until(round % 4 || atomic_load(&load.done) > done);
	}
	load_end(&load);
	print_message("%u of %u stops met a ring that was not empty\n", part, rounds);
	fn_work(&env->g, "work", 2);
}

/* --- pinned memory --- */

/* KiB of the daemon's memory that are pinned, as the kernel counts them. */
static uint64_t pinned_kib(const struct fn_env *env)
{
	return fn_status(env, env->pid, "VmPin:");
}

/* Pinned is what the guest's table holds, as long as it does; I/O goes on meanwhile, and meets no page of the table before. */
static void test_pinned(struct fn_env *env)
{
	const struct fn_share share = {
	    .tag = "a", .more = "\"pin_memory\": true", .options = "\"allow_direct_io\": true"};
	struct sfs_fg_opts opts = {.depth = 32,
				   .data_bytes = LOAD_BYTES,
				   .seg_bytes = SFS_FG_PAGE,
				   .mem = {.region_count = 2, .region_bytes = 16 << 20, .gpa_gap = 0x10000}};
	struct sfs_fe_mem less;
	struct load load;

	fn_start_config(env, NULL, &share, 1);
	make_file(env, "a/file");
	struct sfs_fg *g = fn_guest_on(env, "a", &opts);
	fn_until_pinned(env, g);
	assert_true(pinned_kib(env) >= (32 << 10));
	less = g->mem;
	less.region_count = 1;
	load_begin(&load, g, 1, "file", O_DIRECT);
	for (unsigned i = 0; i < 20; i++) {
		unsigned long long done = atomic_load(&load.done);

		fn_ok(sfs_fe_set_mem_table(&g->fe, i % 2 ? &g->mem : &less));
		fn_until(i % 5 || fn_figure(env, "devices.0.pinned_bytes") == (i % 2 ? 32 << 20 : 16 << 20));
		fn_until(atomic_load(&load.done) > done);
	}
	load_end(&load);
	fn_until_pinned(env, g);
	fn_guest_leave(env, g);
	fn_until(fn_figure_is(env, "devices.0.state", "listening"));
	assert_int_equal(fn_figure(env, "devices.0.pinned_bytes"), 0);
	fn_until(pinned_kib(env) == 0);
	/* The next guest's memory, perhaps at the same addresses. */
	g = fn_guest_on(env, "a", &opts);
	fn_until_pinned(env, g);
	load_begin(&load, g, 1, "file", O_DIRECT);
	fn_until(atomic_load(&load.done) > 20);
	load_end(&load);
}

/* The VMM takes pinned memory away: that guest is lost, and nothing of it stays. */
static void test_pinned_gone(struct fn_env *env)
{
	const struct fn_share shares[] = {
	    {.tag = "a", .more = "\"pin_memory\": true", .options = "\"allow_direct_io\": true"},
	    {.tag = "b"}};

	fn_start_config(env, NULL, shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *g = fn_guest_on(env, "a", NULL);
	fn_until_pinned(env, g);
	assert_int_equal(ftruncate(g->mem.region[0].fd, 0), 0);
	fn_work(fn_guest_on(env, "b", NULL), "work", 2);
	fn_guest_leave(env, g);
	fn_until(fn_figure_is(env, "devices.0.state", "listening"));
	fn_until(pinned_kib(env) == 0);
	g = fn_guest_on(env, "a", NULL);
	fn_until_pinned(env, g);
	fn_work(g, "work", 2);
}

/* --- front ends that vanish --- */

static void test_vanish_with_a_thousand(struct fn_env *env)
{
	enum { COUNT = 1000 };
	const struct fn_share shares[] = {
	    {.tag = "slow",
	     .more = "\"queues\": { \"request_count\": 1 }, \"limits\": { \"requests\": 1024 }"},
	    {.tag = "other"}};
	const struct sfs_fg_opts opts = {.ring_size = 1024, .depth = COUNT, .data_bytes = 4096};
	unsigned fds = 0, maps = 0;
	uint64_t nodeid, fh;

	fn_slowfs(env, "slow", false);
	fn_start_config(env, NULL, shares, SFS_ARRAY_SIZE(shares));
	for (unsigned round = 0; round < 5; round++) {
		struct sfs_fg *g = fn_guest_on(env, "slow", &opts);

		fn_open(g, "file", O_RDONLY, &nodeid, &fh);
		slowfs_hold(env->slowfs, FUSE_READ);
		for (unsigned i = 0; i < COUNT; i++)
			fn_read(&g->queue[1], nodeid, fh, i * 16, 4096);
		fn_publish(&g->queue[1]);
		fn_until(fn_figure(env, "devices.0.queues.1.in_flight") == COUNT);
		fn_guest_leave(env, g);
		slowfs_release(env->slowfs);
		fn_until(fn_figure_is(env, "devices.0.state", "listening"));
		assert_int_equal(fn_figure(env, "devices.0.handles"), 0);
		assert_int_equal(fn_figure(env, "devices.0.queues.1.in_flight"), 0);
		assert_int_equal(fn_figure(env, "devices.0.quarantined"), 0);
		if (round == 1) {
			fds = fn_fd_count(env);
			maps = fn_map_count(env);
		}
	}
	fn_until(fn_fd_count(env) <= fds);
	fn_until(fn_map_count(env) <= maps);
	fn_work(fn_guest_on(env, "slow", NULL), "work", 2);
	fn_work(fn_guest_on(env, "other", NULL), "work", 2);
}

/* Comes, fills a queue with reads and writes, and goes without a word. */
static void come_and_go(struct fn_env *env, unsigned round)
{
	const struct sfs_fg_opts opts = {
	    .depth = 32, .ring_size = 64, .data_bytes = 16384, .seg_bytes = SFS_FG_PAGE};
	struct sfs_fg *g = fn_guest_on(env, "a", &opts);
	uint64_t nodeid, fh;

	fn_open(g, "file", O_RDWR, &nodeid, &fh);
	for (unsigned i = 0; i < 32; i++)
		(i % 2 ? fn_read : fn_write)(&g->queue[1], nodeid, fh, i * 16384, 16384);
	fn_publish(&g->queue[1]);
	if (round % 3 == 0)
		fn_ok(sfs_fg_stop(g));
	fn_guest_leave(env, g);
}

static void test_connects(struct fn_env *env)
{
	enum { WARM = 20 };
	unsigned rounds = fn_full() ? 10000 : 200, fds = 0, maps = 0;
	const struct fn_share shares[] = {{.tag = "a"}, {.tag = "b"}};
	struct load load;

	fn_start_config(env, TWO_REACTORS, shares, SFS_ARRAY_SIZE(shares));
	fn_until(access(fn_path(env, "b.sock"), F_OK) == 0);
	make_file(env, "a/file");
	make_file(env, "b/file");
	struct sfs_fg *other = fn_guest_on(
	    env, "b", &(struct sfs_fg_opts){.depth = 32, .data_bytes = LOAD_BYTES, .seg_bytes = SFS_FG_PAGE});
	load_begin(&load, other, 1, "file", 0);
	for (unsigned i = 0; i < WARM + rounds; i++) {
		if (i == WARM) {
			fn_until(fn_figure_is(env, "devices.0.state", "listening"));
			fds = fn_fd_count(env);
			maps = fn_map_count(env);
		}
		come_and_go(env, i);
	}
	load_end(&load);
	fn_until(fn_figure_is(env, "devices.0.state", "listening"));
	fn_until(fn_fd_count(env) <= fds);
	fn_until(fn_map_count(env) <= maps);
	assert_int_equal(fn_figure(env, "devices.0.sessions"), WARM + rounds);
	assert_int_equal(fn_figure(env, "devices.0.handles"), 0);
	assert_int_equal(fn_figure(env, "devices.0.quarantined"), 0);
	assert_int_equal(fn_figure(env, "devices.0.queues.1.in_flight"), 0);
	fn_work(fn_guest_on(env, "a", NULL), "work", 2);
}

/* --- memory that the front end takes away --- */

enum { IDLE, IN_FLIGHT, DATA_ONLY };

static void truncated(struct fn_env *env, int how)
{
	struct sfs_fg_opts opts = {.depth = 32, .data_bytes = 65536, .seg_bytes = SFS_FG_PAGE};
	uint64_t nodeid, fh;

	struct sfs_fg *g = fn_guest_on(env, "a", &opts);
	fn_open(g, "file", O_RDWR, &nodeid, &fh);
	for (unsigned i = 0; i < 32 && how == IN_FLIGHT; i++)
		(i % 2 ? fn_read : fn_write)(&g->queue[1], nodeid, fh, i * 65536, 65536);
	if (how == IN_FLIGHT)
		fn_publish(&g->queue[1]);
	/* From here on the guest's memory must not be touched by us either. */
	assert_int_equal(ftruncate(g->mem.region[0].fd, 0), 0);
	for (unsigned q = 0; q < g->queue_count; q++)
		fn_ok(sfs_fe_ring_kick(&g->queue[q].ring));
	fn_until(fn_figure_is(env, "devices.0.state", "broken"));
	fn_guest_leave(env, g);
	fn_until(fn_figure_is(env, "devices.0.state", "listening"));
}

/* Rings stay, the pages of the data go: the requests fail, and nothing else does. */
static void truncated_data(struct fn_env *env)
{
	struct sfs_fg_opts opts = {.depth = 8,
				   .data_bytes = 65536,
				   .seg_bytes = SFS_FG_PAGE,
				   .mem = {.region_count = 2, .region_bytes = 4 << 20}};
	uint64_t nodeid, fh;
	struct sfs_fg *g = fn_guest_on(env, "a", &opts);

	fn_open(g, "file", O_RDWR, &nodeid, &fh);
	assert_int_equal(g->mem.alloc_region, 0);
	assert_int_equal(ftruncate(g->mem.region[1].fd, 0), 0);
	for (unsigned i = 0; i < 20; i++) {
		struct sfs_fg_req *req = sfs_fg_req_get(&g->queue[1]);
		uint64_t data_gpa = req->data_gpa;
		int result;

		req->data_gpa = g->mem.region[1].gpa + i * 65536;
		sfs_fg_req_put(req);
		req = (i % 2 ? fn_read : fn_write)(&g->queue[1], nodeid, fh, 0, 65536);
		fn_publish(&g->queue[1]);
		result = fn_result(req);
		req->data_gpa = data_gpa;
		assert_int_equal(result, -EFAULT);
	}
	fn_work(g, "work", 2);
	fn_guest_leave(env, g);
}

static void test_truncated(struct fn_env *env)
{
	const struct fn_share shares[] = {{.tag = "a"}, {.tag = "b"}};
	unsigned rounds = fn_full() ? 20 : 2;
	struct load load;

	fn_start_config(env, NULL, shares, SFS_ARRAY_SIZE(shares));
	fn_until(access(fn_path(env, "b.sock"), F_OK) == 0);
	make_file(env, "a/file");
	make_file(env, "b/file");
	struct sfs_fg *other = fn_guest_on(
	    env, "b", &(struct sfs_fg_opts){.depth = 32, .data_bytes = LOAD_BYTES, .seg_bytes = SFS_FG_PAGE});
	load_begin(&load, other, 1, "file", 0);
	for (unsigned i = 0; i < rounds; i++) {
		truncated(env, IDLE);
		truncated(env, IN_FLIGHT);
		truncated_data(env);
		struct sfs_fg *g = fn_guest_on(env, "a", NULL);
		fn_work(g, "work", 2);
		fn_guest_leave(env, g);
	}
	load_end(&load);
	fn_work(other, "work", 2);
}

/* A driver that copies by itself touches the guest's pages itself: that device breaks, and nothing else does. */
static void test_truncated_under_copies(struct fn_env *env)
{
	static const char config[] =
	    "{ \"version\": 1, \"control_socket\": \"control\", \"sandbox\": \"none\", \"seccomp\": "
	    "\"none\",\n"
	    "  \"devices\": [\n"
	    "    { \"tag\": \"a\", \"socket\": { \"path\": \"a.sock\" }, \"fs\": { \"driver\": \"mem\" } },\n"
	    "    { \"tag\": \"b\", \"socket\": { \"path\": \"b.sock\" },\n"
	    "      \"fs\": { \"driver\": \"passthrough\", \"options\": { \"shared_dir\": \"b\" } } } ] }\n";
	const char *const args[] = {"--config", fn_path(env, "config.json"), NULL};
	const struct sfs_fg_opts opts = {.depth = 8,
					 .data_bytes = 65536,
					 .seg_bytes = SFS_FG_PAGE,
					 .mem = {.region_count = 2, .region_bytes = 4 << 20}};

	assert_int_equal(mkdir(fn_path(env, "b"), 0755), 0);
	fn_put(args[1], config);
	fn_start(env, args);
	fn_until(access(fn_path(env, "b.sock"), F_OK) == 0);
	struct sfs_fg *other = fn_guest_on(env, "b", NULL);
	for (unsigned round = 0; round < 4; round++) {
		struct sfs_fg *g = fn_guest_on(env, "a", &opts);
		struct fuse_entry_out entry;
		struct fuse_open_out open;
		struct sfs_fg_req *req;
		char name[16];

		snprintf(name, sizeof(name), "file%u", round);
		fn_ok(sfs_fg_create(g, FUSE_ROOT_ID, name, O_RDWR, S_IFREG | 0644, &entry, &open));
		req = fn_write(&g->queue[1], entry.nodeid, open.fh, 0, 65536);
		fn_publish(&g->queue[1]);
		fn_ok(fn_result(req));
		assert_int_equal(ftruncate(g->mem.region[1].fd, 0), 0);
		req = sfs_fg_req_get(&g->queue[1]);
		req->data_gpa = g->mem.region[1].gpa;
		sfs_fg_req_put(req);
		(round % 2 ? fn_read : fn_write)(&g->queue[1], entry.nodeid, open.fh, 0, 65536);
		fn_publish(&g->queue[1]);
		fn_until(fn_figure_is(env, "devices.0.state", "broken"));
		fn_work(other, "work", 2);
		fn_guest_leave(env, g);
		fn_until(fn_figure_is(env, "devices.0.state", "listening"));
	}
	struct sfs_fg *g = fn_guest_on(env, "a", NULL);
	fn_work(g, "work", 2);
}

/* --- a guest that boots again --- */

static void test_guest_reboots(struct fn_env *env)
{
	struct fuse_entry_out entry, dir;
	struct fuse_open_out file, listing;
	struct fuse_attr_out attr;
	unsigned fds = 0;
	char buf[16];

	fn_guest(env, NULL);
	for (unsigned i = 0; i < 20; i++) {
		fn_ok(sfs_fg_create(&env->g, FUSE_ROOT_ID, "file", O_RDWR, S_IFREG | 0644, &entry, &file));
		if (i == 0)
			fn_ok(sfs_fg_mkdir(&env->g, FUSE_ROOT_ID, "dir", 0755, &dir));
		fn_ok(sfs_fg_lookup(&env->g, FUSE_ROOT_ID, "dir", &dir));
		fn_ok(sfs_fg_opendir(&env->g, dir.nodeid, &listing));
		if (i % 2)
			fn_ok(sfs_fg_destroy(&env->g));
		fn_init(&env->g);
		fn_fails(ESTALE, sfs_fg_getattr(&env->g, entry.nodeid, NULL, &attr));
		fn_fails(EBADF, sfs_fg_read(&env->g, entry.nodeid, file.fh, 0, buf, sizeof(buf)));
		int rc = sfs_fg_readdir(&env->g, dir.nodeid, listing.fh, 0, buf, sizeof(buf), false);
		assert_true(rc == -EBADF || rc == -ESTALE);
		assert_int_equal(fn_figure(env, "devices.0.handles"), 0);
		assert_int_equal(fn_figure(env, "devices.0.inodes"), 1);
		if (i == 1)
			fds = fn_fd_count(env);
		fn_until(!fds || fn_fd_count(env) <= fds);
	}
	fn_work(&env->g, "work", 2);
}

#define LISTEN "--on-disconnect", "listen"

const struct fn_test fn_tests[] = {
    {"ring of 32,768", test_large_ring, {"--queue-size-max", "32768", "--request-queues", "1"}, 0},
    {"ring too large", test_ring_too_large, {"--queue-size-max", "128", LISTEN}, FN_ONCE},
    {"one device on two reactors", test_two_reactors, {NULL}, FN_NO_DAEMON},
    {"memory tables under load", test_mem_table_under_load, {NULL}, 0},
    {"pinned memory", test_pinned, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"pinned memory taken away", test_pinned_gone, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"a stop waits for requests in flight", test_stop_waits, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"stop and restart under load", test_stop_and_restart_under_load, {NULL}, 0},
    {"vanish with 1,000 in flight", test_vanish_with_a_thousand, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"connects and disconnects", test_connects, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"memory taken away", test_truncated, {NULL}, FN_NO_DAEMON},
    {"memory taken away under a driver that copies",
     test_truncated_under_copies,
     {NULL},
     FN_NO_DAEMON | FN_ONCE},
    {"a guest reboots", test_guest_reboots, {NULL}, 0},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
