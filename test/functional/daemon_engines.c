/* SPDX-License-Identifier: BSD-3-Clause */
/* The I/O engines: the same data from each, cached or not, buffered or not; what each asks of the kernel;
 * no copy anywhere. */
#include "trace.h"

#include <sys/syscall.h>
#include <sys/uio.h>

#define FILE_BYTES (4u << 20)
#define PART       65536u
#define PARTS      (FILE_BYTES / PART)

struct engine {
	struct fn_env *env;
	struct sfs_fg *g;
	int host_fd;
	uint8_t *content;
};

static void engine_begin(struct fn_env *env, struct engine *e, const char *engine, const char *options,
			 bool pinned)
{
	const struct fn_share share = {
	    .tag = "a", .more = pinned ? "\"pin_memory\": true" : NULL, .options = options};
	char top[128];

	snprintf(top, sizeof(top), "\"io\": { \"engine\": \"%s\" }", engine);
	*e = (struct engine){.env = env, .content = malloc(FILE_BYTES)};
	fn_write_config(env, top, &share, 1);
	e->host_fd = open(fn_path(env, "a/file"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	assert_true(e->host_fd >= 0);
	fn_pattern(e->content, FILE_BYTES, 9);
	assert_int_equal(pwrite(e->host_fd, e->content, FILE_BYTES, 0), FILE_BYTES);
	fn_start_config(env, top, &share, 1);
	e->g = fn_guest_on(
	    env, "a", &(struct sfs_fg_opts){.depth = PARTS, .data_bytes = PART, .seg_bytes = SFS_FG_PAGE});
}

static void engine_end(struct engine *e)
{
	close(e->host_fd);
	free(e->content);
}

/* The page cache holds nothing of the file afterwards; false where it will not let go. */
static bool make_cold(struct engine *e)
{
	char byte;
	struct iovec iov = {&byte, 1};

	assert_int_equal(fsync(e->host_fd), 0);
	assert_int_equal(posix_fadvise(e->host_fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	return preadv2(e->host_fd, &iov, 1, FILE_BYTES / 2, RWF_NOWAIT) < 0;
}

/* All of the file in reads that are in flight together. */
static void read_all(struct engine *e, int flags)
{
	struct sfs_fg_req *reqs[PARTS];
	uint64_t nodeid, fh;

	fn_open(e->g, "file", flags, &nodeid, &fh);
	for (unsigned i = 0; i < PARTS; i++) {
		memset(e->g->queue[1].free->data, 0xee, PART);
		reqs[i] = fn_read(&e->g->queue[1], nodeid, fh, (i * 37 % PARTS) * (uint64_t)PART, PART);
	}
	fn_publish(&e->g->queue[1]);
	for (unsigned i = 0; i < PARTS; i++) {
		assert_int_equal(fn_result(reqs[i]), PART);
		assert_memory_equal(reqs[i]->data, e->content + (i * 37 % PARTS) * PART, PART);
	}
	fn_ok(sfs_fg_release(e->g, nodeid, fh));
}

/* Other contents; the host must see them. */
static void write_all(struct engine *e, int flags, unsigned seed)
{
	uint8_t *got = malloc(FILE_BYTES);
	struct sfs_fg_req *reqs[PARTS];
	uint64_t nodeid, fh;

	fn_pattern(e->content, FILE_BYTES, seed);
	fn_open(e->g, "file", flags, &nodeid, &fh);
	for (unsigned i = 0; i < PARTS; i++) {
		memcpy(e->g->queue[1].free->data, e->content + i * PART, PART);
		reqs[i] = fn_write(&e->g->queue[1], nodeid, fh, i * (uint64_t)PART, PART);
	}
	fn_publish(&e->g->queue[1]);
	for (unsigned i = 0; i < PARTS; i++)
		assert_int_equal(fn_result(reqs[i]), 0);
	fn_ok(sfs_fg_fsync(e->g, nodeid, fh, false));
	fn_ok(sfs_fg_release(e->g, nodeid, fh));
	assert_int_equal(pread(e->host_fd, got, FILE_BYTES, 0), FILE_BYTES);
	assert_memory_equal(got, e->content, FILE_BYTES);
	free(got);
}

/* Odd places and the end of the file. */
static void read_edges(struct engine *e, int flags, uint32_t align)
{
	uint8_t *got = malloc(PART);
	uint64_t nodeid, fh;

	fn_open(e->g, "file", flags, &nodeid, &fh);
	for (unsigned i = 0; i < 20; i++) {
		uint64_t at = (i * 77777ull + 13) / align * align;
		uint32_t bytes = SFS_MAX((i * 3001 + 1) % PART / align * align, align);

		assert_int_equal(sfs_fg_read(e->g, nodeid, fh, at, got, bytes), bytes);
		assert_memory_equal(got, e->content + at, bytes);
	}
	assert_int_equal(sfs_fg_read(e->g, nodeid, fh, FILE_BYTES - align, got, PART), align);
	assert_memory_equal(got, e->content + FILE_BYTES - align, align);
	assert_int_equal(sfs_fg_read(e->g, nodeid, fh, FILE_BYTES, got, PART), 0);
	assert_int_equal(sfs_fg_read(e->g, nodeid, fh, 2 * FILE_BYTES, got, PART), 0);
	fn_ok(sfs_fg_release(e->g, nodeid, fh));
	free(got);
}

static void data(struct fn_env *env, const char *engine, bool pinned)
{
	unsigned cold = 0, rounds = fn_full() ? 20 : 3;
	struct engine e;

	engine_begin(env, &e, engine, "\"allow_direct_io\": true", pinned);
	if (pinned)
		fn_until_pinned(env, e.g);
	assert_true(strcmp(engine, "auto") == 0 || fn_figure_is(env, "io_engine", engine));
	for (unsigned i = 0; i < rounds; i++) {
		read_all(&e, O_RDONLY);
		read_edges(&e, O_RDONLY, 1);
		cold += make_cold(&e);
		read_all(&e, O_RDONLY);
		cold += make_cold(&e);
		read_edges(&e, O_RDONLY, 1);
		write_all(&e, O_RDWR, 100 + i);
		write_all(&e, O_RDWR | O_DIRECT, 200 + i);
		read_all(&e, O_RDONLY | O_DIRECT);
		read_edges(&e, O_RDONLY | O_DIRECT, 4096);
		read_all(&e, O_RDONLY);
	}
	if (cold)
		assert_true(fn_figure(env, "devices.0.ops.READ.engine") > 0);
	assert_int_equal(fn_figure(env, "devices.0.ops.READ.errors"), 0);
	assert_int_equal(fn_figure(env, "devices.0.ops.WRITE.errors"), 0);
	assert_int_equal(fn_figure(env, "devices.0.bytes_copied"), 0);
	engine_end(&e);
}

/* The same workload, seen from outside. */
static void traced(struct fn_env *env, const char *engine, struct fn_trace *t)
{
	struct engine e;

	engine_begin(env, &e, engine, "\"allow_direct_io\": true, \"inline_bytes_max\": 65536", false);
	read_all(&e, O_RDONLY | O_DIRECT); /* the engine is there */
	fn_trace_begin(env, t, e.g);
	if (!make_cold(&e)) {
		fn_trace_end(t);
		fn_skip("the page cache keeps what it is told to drop");
	}
	read_all(&e, O_RDONLY);
	read_all(&e, O_RDONLY);
	write_all(&e, O_RDWR, 1);
	write_all(&e, O_RDWR | O_DIRECT, 2);
	read_all(&e, O_RDONLY | O_DIRECT);
	fn_trace_end(t);
	print_message("%u segments of data, %u of them not in the guest's memory\n", t->inside + t->outside,
		      t->outside);
	assert_int_equal(t->outside, 0);
	assert_true(t->inside > PARTS * PART / SFS_FG_PAGE);
	assert_int_equal(t->reactor_reads_that_wait, 0);
	assert_int_equal(fn_figure(env, "devices.0.bytes_copied"), 0);
	engine_end(&e);
}

static void test_data_io_uring(struct fn_env *env)
{
	data(env, "io_uring", false);
}

static void test_data_pinned(struct fn_env *env)
{
	data(env, "io_uring", true);
}

static void test_data_libaio(struct fn_env *env)
{
	data(env, "libaio", false);
}

static void test_data_workers(struct fn_env *env)
{
	data(env, "workers", false);
}

static void test_traced_io_uring(struct fn_env *env)
{
	struct fn_trace t;

	traced(env, "io_uring", &t);
	assert_true(t.on_reactor[SYS_io_uring_enter] > 0);
	assert_int_equal(t.on_reactor[SYS_io_submit], 0);
	assert_int_equal(t.elsewhere[SYS_preadv] + t.elsewhere[SYS_preadv2] + t.elsewhere[SYS_pread64], 0);
}

static void test_traced_libaio(struct fn_env *env)
{
	struct fn_trace t;

	traced(env, "libaio", &t);
	assert_true(t.on_reactor[SYS_io_submit] > 0);
	assert_int_equal(t.on_reactor[SYS_io_uring_enter], 0);
	/* Buffered misses have no asynchronous form there. */
	assert_true(t.elsewhere[SYS_preadv] + t.elsewhere[SYS_preadv2] + t.elsewhere[SYS_pread64] > 0);
}

static void test_traced_workers(struct fn_env *env)
{
	struct fn_trace t;

	traced(env, "workers", &t);
	assert_int_equal(t.on_reactor[SYS_io_submit] + t.on_reactor[SYS_io_uring_enter], 0);
	assert_true(t.elsewhere[SYS_preadv] + t.elsewhere[SYS_preadv2] + t.elsewhere[SYS_pread64] >= PARTS);
}

/* --- how long reads are cut --- */

enum { LONG_READ = 1 << 20 };

struct reader {
	struct sfs_fg *g;
	uint64_t nodeid, fh;
};

/* How many reads the reactor makes for one READ of each of @readers at a time, while @quick (NULL: nobody) asks it something again and again. */
static unsigned reads_made(struct fn_env *env, const struct reader *readers, unsigned count,
			   struct sfs_fg *quick)
{
	struct sfs_fg_req *done;
	struct fuse_attr_out out;
	struct fn_trace t;

	fn_trace_begin(env, &t, readers[0].g);
	/* Enough to be known as one whose requests are short. */
	for (unsigned i = 0; quick && i < 20; i++)
		fn_ok(sfs_fg_getattr(quick, FUSE_ROOT_ID, NULL, &out));
	for (unsigned i = 0; i < count; i++) {
		fn_read(&readers[i].g->queue[1], readers[i].nodeid, readers[i].fh, 0, LONG_READ);
		fn_publish(&readers[i].g->queue[1]);
	}
	for (unsigned i = 0; i < count; i++) {
		int rc;

		while ((rc = sfs_fg_poll(&readers[i].g->queue[1], &done)) == 0) {
			if (quick)
				fn_ok(sfs_fg_getattr(quick, FUSE_ROOT_ID, NULL, &out));
		}
		assert_int_equal(rc, 1);
		assert_int_equal(done->used_bytes, sizeof(struct fuse_out_header) + LONG_READ);
		sfs_fg_req_put(done);
	}
	fn_trace_end(&t);
	return t.on_reactor[SYS_preadv2];
}

static int by_count(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return (x > y) - (x < y);
}

/*
 * In halves beside a guest whose requests are short, who waits for each; not beside another one that reads as much. A guest
 * that is not heard of for a while is no company, which a busy machine can make of any.
 */
static void test_pieces(struct fn_env *env)
{
	const struct fn_share shares[] = {{.tag = "a"}, {.tag = "b"}, {.tag = "c"}};
	uint8_t *content = malloc(LONG_READ);
	struct reader readers[2];
	struct sfs_fg *quick;
	unsigned tries = 0, made, busy[15];

	fn_start_config(env, NULL, shares, SFS_ARRAY_SIZE(shares));
	fn_pattern(content, LONG_READ, 3);
	for (unsigned i = 0; i < 2; i++) {
		struct sfs_fg *g = readers[i].g = fn_guest_on(env, shares[i].tag, NULL);
		struct fuse_entry_out entry;
		struct fuse_open_out file;

		fn_ok(sfs_fg_create(g, FUSE_ROOT_ID, "long", O_RDWR, 0644, &entry, &file));
		assert_int_equal(sfs_fg_write(g, entry.nodeid, file.fh, 0, content, LONG_READ), LONG_READ);
		readers[i].nodeid = entry.nodeid;
		readers[i].fh = file.fh;
	}
	quick = fn_guest_on(env, "c", NULL);
	do {
		assert_true(++tries < 200);
		made = reads_made(env, readers, 1, quick);
	} while (made < LONG_READ / 8192 || made > LONG_READ / 8192 + 10);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(busy); i++)
		busy[i] = reads_made(env, readers, 2, NULL);
	qsort(busy, SFS_ARRAY_SIZE(busy), sizeof(busy[0]), by_count);
	assert_true(busy[SFS_ARRAY_SIZE(busy) / 2] <= 2 * LONG_READ / 16384 + 20);
	free(content);
}

/* --- a throttled disk under one share --- */

/* Reads of the daemon from the loop device at dir/slow: a few a second. False: the machine has no such
 * means. */
static bool throttle(struct fn_env *env)
{
	return fn_shell(NULL, 0,
			"exec 2>/dev/null; n=$(stat -c %%d %s/slow); n=$((n >> 8)):$((n & 255)); "
			"if [ -e /sys/fs/cgroup/blkio/blkio.throttle.read_iops_device ]; then "
			"  g=/sys/fs/cgroup/blkio/spinfs-%d; mkdir $g && echo $n 20 "
			">$g/blkio.throttle.read_iops_device; "
			"else "
			"  echo +io >/sys/fs/cgroup/cgroup.subtree_control; "
			"  g=/sys/fs/cgroup/spinfs-%d; mkdir $g && echo $n riops=20 >$g/io.max; "
			"fi && echo %d >$g/cgroup.procs",
			env->dir, env->pid, env->pid, env->pid) == 0;
}

static void unthrottle(const struct fn_env *env)
{
	fn_shell(NULL, 0,
		 "exec 2>/dev/null; for g in /sys/fs/cgroup/blkio /sys/fs/cgroup; do "
		 "if [ -d $g/spinfs-%d ]; then echo %d >$g/cgroup.procs; rmdir $g/spinfs-%d; fi; done",
		 env->pid, env->pid, env->pid);
}

static void mount_loop(struct fn_env *env)
{
	mkdir(fn_path(env, "slow"), 0755);
	if (fn_shell(NULL, 0,
		     "exec 2>&1; truncate -s 64M %s/image && mkfs.ext4 -q -F %s/image && mount -o loop "
		     "%s/image %s/slow",
		     env->dir, env->dir, env->dir, env->dir) != 0)
		fn_skip("no loop devices with ext4 here");
	snprintf(env->loop_dir, sizeof(env->loop_dir), "%s", fn_path(env, "slow"));
}

static void misses_and_hits(struct fn_env *env, const char *engine)
{
	enum { MISSES = 48, HITS = 500, STEP = 1 << 20 };
	const struct fn_share shares[] = {{.tag = "slow"}, {.tag = "fast"}};
	struct sfs_fg_req *miss[MISSES], *taken;
	static uint8_t block[STEP];
	uint64_t nodeid, fh;
	char top[128];
	unsigned back = 0;

	mount_loop(env);
	snprintf(top, sizeof(top), "\"io\": { \"engine\": \"%s\" }", engine);
	fn_start_config(env, top, shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *slow =
	    fn_guest_on(env, "slow", &(struct sfs_fg_opts){.depth = 64, .data_bytes = 4096});
	struct sfs_fg *fast = fn_guest_on(env, "fast", NULL);
	int fd = open(fn_path(env, "slow/file"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	for (unsigned i = 0; i < MISSES; i++) {
		fn_pattern(block, STEP, i);
		assert_int_equal(write(fd, block, STEP), STEP);
	}
	fn_open(slow, "file", O_RDONLY, &nodeid, &fh);
	fn_work(fast, "work", 3);
	assert_int_equal(fsync(fd), 0);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	if (!throttle(env)) {
		unthrottle(env);
		fn_skip("no throttling of disks here");
	}
	for (unsigned i = 0; i < MISSES; i++)
		miss[i] = fn_read(&slow->queue[1], nodeid, fh, i * (uint64_t)STEP, 4096);
	fn_publish(&slow->queue[1]);
	/* Hits of the other share, while most of the misses are out. */
	fn_work(fast, "work", HITS / 5);
	while (sfs_fg_poll(&slow->queue[1], &taken) == 1)
		back++;
	print_message("%u of %u misses were back after %u operations of the other share\n", back, MISSES,
		      HITS);
	unthrottle(env);
	for (unsigned i = 0; i < MISSES; i++) {
		fn_pattern(block, 4096, i);
		assert_int_equal(fn_result(miss[i]), 4096);
		assert_memory_equal(miss[i]->data, block, 4096);
	}
	assert_true(back < MISSES);
}

static void test_throttled_io_uring(struct fn_env *env)
{
	misses_and_hits(env, "io_uring");
}

static void test_throttled_libaio(struct fn_env *env)
{
	misses_and_hits(env, "libaio");
}

static void test_throttled_workers(struct fn_env *env)
{
	misses_and_hits(env, "workers");
}

const struct fn_test fn_tests[] = {
    {"data, io_uring", test_data_io_uring, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"data, io_uring, pinned memory", test_data_pinned, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"data, libaio", test_data_libaio, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"data, workers", test_data_workers, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"system calls, io_uring", test_traced_io_uring, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"system calls, libaio", test_traced_libaio, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"system calls, workers", test_traced_workers, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"pieces of long reads", test_pieces, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"misses and hits, io_uring", test_throttled_io_uring, {NULL}, FN_NO_DAEMON | FN_ONCE | FN_ROOT},
    {"misses and hits, libaio", test_throttled_libaio, {NULL}, FN_NO_DAEMON | FN_ONCE | FN_ROOT},
    {"misses and hits, workers", test_throttled_workers, {NULL}, FN_NO_DAEMON | FN_ONCE | FN_ROOT},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
