/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file that is released and forgotten while a request of it is parked: the request meets that file and no
 * other, whatever is opened meanwhile under the same number.
 */
#include "harness.h"

#include <pthread.h>
#include <stdatomic.h>

#define WORKERS    "\"workers\": { \"count\": 4 }"
#define FOREIGN    40 /* files that others open meanwhile */
#define FILE_BYTES 65536u

/* Files full of one byte. */
static void make_foreign(const struct fn_env *env, const char *dir)
{
	static char bytes[FILE_BYTES];
	char name[128];

	memset(bytes, 'F', sizeof(bytes));
	for (unsigned i = 0; i < FOREIGN; i++) {
		snprintf(name, sizeof(name), "%s/%s/foreign%u", env->dir, dir, i);
		int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
		close(fd);
	}
}

static void open_foreign(struct sfs_fg *g)
{
	uint64_t nodeid, fh;
	char name[32];

	for (unsigned i = 0; i < FOREIGN; i++) {
		snprintf(name, sizeof(name), "foreign%u", i);
		fn_open(g, name, O_RDWR, &nodeid, &fh);
	}
}

static void check_foreign(const struct fn_env *env, const char *dir)
{
	char name[128], bytes[4096];

	for (unsigned i = 0; i < FOREIGN; i++) {
		snprintf(name, sizeof(name), "%s/%s/foreign%u", env->dir, dir, i);
		int fd = open(name, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		for (ssize_t n; (n = read(fd, bytes, sizeof(bytes))) > 0;)
			for (ssize_t b = 0; b < n; b++)
				assert_int_equal(bytes[b], 'F');
		close(fd);
	}
}

static struct sfs_fg_req *start_release(struct sfs_fg_queue *q, uint64_t nodeid, uint64_t fh)
{
	struct fuse_release_in in = {.fh = fh};
	struct sfs_fg_call call = {
	    .opcode = FUSE_RELEASE, .nodeid = nodeid, .args = &in, .args_bytes = sizeof(in)};

	return fn_call(q, &call);
}

static struct sfs_fg_req *start_forget(struct sfs_fg_queue *q, uint64_t nodeid, uint64_t count)
{
	struct fuse_forget_in in = {.nlookup = count};
	struct sfs_fg_call call = {
	    .opcode = FUSE_FORGET, .nodeid = nodeid, .args = &in, .args_bytes = sizeof(in), .no_reply = true};

	return fn_call(q, &call);
}

/* What slowfs puts at @at of its file. */
static bool is_slow_file(const uint8_t *data, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		if (data[i] != (uint8_t)(i * 7 + i / 256))
			return false;
	return true;
}

enum { SAME_BATCH, OTHER_QUEUE };

/*
 * All workers are held in READs of one file. A READ of another waits for them: it has its descriptor's
 * number and is not yet in the system call. Then its handle is released, its node forgotten, and everybody
 * opens files.
 */
static void parked_for_a_worker(struct fn_env *env, int how, bool write)
{
	enum { HELD = 4 };
	const struct fn_share shares[] = {
	    {.tag = "slow", .more = "\"queues\": { \"request_count\": 2 }, \"limits\": { \"workers\": 4 }"},
	    /* All workers are held: here none is asked. */
	    {.tag = "other", .options = "\"inline_blocking\": \"always\""}};
	uint64_t held_id, held_fh, nodeid, fh;
	struct sfs_fg_req *held[HELD], *req, *release, *forget;
	struct fuse_entry_out entry;
	struct fuse_open_out open;

	fn_slowfs(env, "slow", true);
	fn_start_config(env, WORKERS, shares, SFS_ARRAY_SIZE(shares));
	fn_until(access(fn_path(env, "other.sock"), F_OK) == 0);
	make_foreign(env, "other");
	struct sfs_fg *g = fn_guest_on(env, "slow", &(struct sfs_fg_opts){.request_queues = 2, .depth = 32});
	struct sfs_fg *other = fn_guest_on(env, "other", NULL);

	fn_open(g, "empty", O_RDONLY, &held_id, &held_fh);
	for (unsigned round = 0; round < 5; round++) {
		fn_ok(sfs_fg_lookup(g, FUSE_ROOT_ID, "file", &entry));
		fn_ok(sfs_fg_open(g, entry.nodeid, O_RDWR, &open));
		nodeid = entry.nodeid;
		fh = open.fh;
		slowfs_hold(env->slowfs, FUSE_READ);
		for (unsigned i = 0; i < HELD; i++)
			held[i] = fn_read(&g->queue[1], held_id, held_fh, 0, 4096);
		fn_publish(&g->queue[1]);
		fn_until(slowfs_held(env->slowfs) == HELD);
		if (write) /* what is there already */
			for (uint32_t i = 0; i < 16384; i++)
				g->queue[1].free->data[i] = (uint8_t)(i * 7 + i / 256);
		req = (write ? fn_write : fn_read)(&g->queue[1], nodeid, fh, 0, 16384);
		struct sfs_fg_queue *q = &g->queue[how == SAME_BATCH ? 1 : 2];
		if (how == OTHER_QUEUE) {
			fn_publish(&g->queue[1]);
			fn_until(fn_figure(env, "devices.0.queues.1.in_flight") == HELD + 1);
		}
		release = start_release(q, nodeid, fh);
		forget = start_forget(q, nodeid, 1);
		fn_publish(q);
		assert_int_equal(fn_result(release), 0);
		assert_int_equal(fn_result(forget), 0);
		fn_fails(EBADF, sfs_fg_release(g, nodeid, fh));
		open_foreign(other);
		slowfs_release(env->slowfs);
		assert_int_equal(fn_result(req), write ? 0 : 16384);
		assert_true(write || is_slow_file(req->data, 16384));
		for (unsigned i = 0; i < HELD; i++)
			assert_int_equal(fn_result(held[i]), 0);
	}
	check_foreign(env, "other");
	fn_ok(sfs_fg_release(g, held_id, held_fh));
	fn_until(fn_figure(env, "devices.0.handles") == 0);
}

static void test_read_same_batch(struct fn_env *env)
{
	parked_for_a_worker(env, SAME_BATCH, false);
}

static void test_read_other_queue(struct fn_env *env)
{
	parked_for_a_worker(env, OTHER_QUEUE, false);
}

static void test_write_same_batch(struct fn_env *env)
{
	parked_for_a_worker(env, SAME_BATCH, true);
}

static void test_write_other_queue(struct fn_env *env)
{
	parked_for_a_worker(env, OTHER_QUEUE, true);
}

/* --- the same with the engine, between queueing and submission, by chance --- */

struct opener {
	struct sfs_fg *g;
	atomic_bool stop;
	const char *wrong;
	pthread_t thread;
};

/* Opens and releases the files of the second device all the time. */
static void *opener_main(void *arg)
{
	struct opener *o = arg;
	struct fuse_entry_out entry;
	struct fuse_open_out open;
	char name[32];

	for (unsigned i = 0; !atomic_load(&o->stop) && !o->wrong; i++) {
		snprintf(name, sizeof(name), "foreign%u", i % FOREIGN);
		if (sfs_fg_lookup(o->g, FUSE_ROOT_ID, name, &entry) ||
		    sfs_fg_open(o->g, entry.nodeid, O_RDWR, &open) ||
		    sfs_fg_release(o->g, entry.nodeid, open.fh) || sfs_fg_forget(o->g, entry.nodeid, 1))
			o->wrong = "open or release failed";
	}
	return NULL;
}

/* READ (never cached: O_DIRECT), RELEASE, FORGET and an OPEN of another file in one batch. */
static void direct_round(struct sfs_fg *g, const uint8_t *content, unsigned round)
{
	enum { FILES = 8, BYTES = 8192 };
	struct sfs_fg_req *reads[FILES], *others[3 * FILES];
	uint64_t nodeid[FILES], fh[FILES];
	struct fuse_entry_out entry;
	struct fuse_open_out open;
	unsigned n = 0;
	char name[32];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "mine%u", i);
		fn_open(g, name, O_RDWR | O_DIRECT, &nodeid[i], &fh[i]);
	}
	fn_ok(sfs_fg_lookup(g, FUSE_ROOT_ID, "foreign0", &entry));
	for (unsigned i = 0; i < FILES; i++) {
		struct fuse_open_in in = {.flags = O_RDWR};
		struct sfs_fg_call call = {.opcode = FUSE_OPEN,
					   .nodeid = entry.nodeid,
					   .args = &in,
					   .args_bytes = sizeof(in),
					   .out_bytes = sizeof(open)};
		struct sfs_fg_queue *q = &g->queue[round % 2 ? 1 : 2];

		reads[i] = fn_read(&g->queue[1], nodeid[i], fh[i], i * BYTES, BYTES);
		others[n++] = start_release(q, nodeid[i], fh[i]);
		others[n++] = start_forget(q, nodeid[i], 1);
		others[n++] = fn_call(q, &call);
	}
	fn_publish(&g->queue[1]);
	fn_publish(&g->queue[2]);
	for (unsigned i = 0; i < FILES; i++) {
		int rc = fn_result(reads[i]);

		/* From the other queue the RELEASE may come first. */
		assert_true(rc == BYTES || (round % 2 == 0 && rc == -EBADF));
		if (rc == BYTES)
			assert_memory_equal(reads[i]->data, content + i * BYTES, BYTES);
	}
	for (unsigned i = 0; i < n; i++) {
		fn_ok(sfs_fg_wait(others[i]));
		assert_int_equal(others[i]->result, 0);
		memcpy(&open, others[i]->out_args, sizeof(open));
		if (i % 3 == 2)
			fn_ok(sfs_fg_release(g, entry.nodeid, open.fh));
		sfs_fg_req_put(others[i]);
	}
	fn_ok(sfs_fg_forget(g, entry.nodeid, 1));
}

static void test_direct_reads(struct fn_env *env)
{
	const struct fn_share shares[] = {{.tag = "mine",
					   .more = "\"queues\": { \"request_count\": 2 }",
					   .options = "\"allow_direct_io\": true, \"inode_fds_max\": 4"},
					  {.tag = "other"}};
	static uint8_t content[FILE_BYTES];
	unsigned rounds = fn_full() ? 5000 : 300;
	struct opener o = {0};
	char name[128];

	fn_start_config(env, "\"reactors\": [ { \"name\": \"r0\" }, { \"name\": \"r1\" } ]", shares,
			SFS_ARRAY_SIZE(shares));
	fn_until(access(fn_path(env, "other.sock"), F_OK) == 0);
	make_foreign(env, "other");
	make_foreign(env, "mine");
	fn_pattern(content, sizeof(content), 3);
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "%s/mine/mine%u", env->dir, i);
		int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		assert_int_equal(write(fd, content, sizeof(content)), sizeof(content));
		close(fd);
	}
	struct sfs_fg *g = fn_guest_on(
	    env, "mine",
	    &(struct sfs_fg_opts){.request_queues = 2, .depth = 64, .ring_size = 256, .data_bytes = 8192});
	o.g = fn_guest_on(env, "other", NULL);
	assert_int_equal(pthread_create(&o.thread, NULL, opener_main, &o), 0);
	for (unsigned i = 0; i < rounds; i++)
		direct_round(g, content, i);
	atomic_store(&o.stop, true);
	pthread_join(o.thread, NULL);
	assert_null(o.wrong);
	check_foreign(env, "other");
	assert_int_equal(fn_figure(env, "devices.0.handles"), 0);
	assert_true(fn_figure(env, "devices.0.ops.READ.engine") > 0);
}

const struct fn_test fn_tests[] = {
    {"READ parked, RELEASE in its batch", test_read_same_batch, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"READ parked, RELEASE on another queue", test_read_other_queue, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"WRITE parked, RELEASE in its batch", test_write_same_batch, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"WRITE parked, RELEASE on another queue", test_write_other_queue, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"O_DIRECT reads and their RELEASE", test_direct_reads, {NULL}, FN_NO_DAEMON},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
