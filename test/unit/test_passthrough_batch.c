/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The passthrough driver: what comes together is done together, in one system call, on whichever queue it came.
 */
#include "pt_rig.h"
#include "sfs_aio_engines.h"

#define ROOT SFS_ROOT_ID

/* How often anything was handed to the kernel. */
static unsigned submissions;

struct io_uring;
struct iocb;
typedef struct io_context *io_context_t;

int __real_io_uring_submit_and_get_events(struct io_uring *ring);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring);
int __real_io_submit(io_context_t ctx, long n, struct iocb **ios);
int __wrap_io_submit(io_context_t ctx, long n, struct iocb **ios);

int __wrap_io_uring_submit_and_get_events(struct io_uring *ring)
{
	submissions++;
	return __real_io_uring_submit_and_get_events(ring);
}

int __wrap_io_submit(io_context_t ctx, long n, struct iocb **ios)
{
	submissions++;
	return __real_io_submit(ctx, n, ios);
}

/* As on a host where that pays. */
static void batches_pay(struct rig *r, const struct sfs_aio_ops *engine, const char *options)
{
	r->engine = engine;
	rig_start(r, options);
	r->g.group.aio.cached_min = r->g.group.aio.blocking_min = 3;
}

static struct fg_msg *read_send(struct rig *r, uint64_t node, uint64_t fh, uint64_t offset, uint32_t bytes)
{
	struct fuse_read_in in = {.fh = fh, .offset = offset, .size = bytes};
	struct fg_msg *m = fg_new();

	fg_send(&r->g, 0, m, FUSE_READ, node, &in, sizeof(in), NULL, NULL, NULL, 0, bytes);
	return m;
}

/*
 * Cached reads that come together go to the engine by one call, and are answered in the same turn; what is not cached comes
 * later, and right.
 */
static void read_batch(struct rig *r, const struct sfs_aio_ops *engine)
{
	enum { BLOCKS = 8, BYTES = BLOCKS * 4096 };
	static char whole[BYTES], first[4096];
	struct fg_msg *m[BLOCKS + 1];
	uint64_t node, fh;

	rig_pattern(whole, BYTES, 5);
	rig_file(r, "file", "");
	rig_await_cold(r, "file", 0); /* skips where there is no cold */
	batches_pay(r, engine, "");
	node = rig_node(r, ROOT, "file");
	assert_int_equal(fc_open(&r->c, node, O_RDWR, &fh), 0);
	assert_int_equal(fc_write(&r->c, node, fh, 0, whole, BYTES - 100), BYTES - 100);
	/* The first shows what the filesystem can; alone it is inline. */
	assert_int_equal(fc_read(&r->c, node, fh, 0, first, 4096), 4096);
	assert_int_equal(rig_path(r, FUSE_READ, SFS_PATH_ENGINE), 0);
	for (unsigned cold = 0; cold < 2; cold++) {
		uint64_t before = rig_path(r, FUSE_READ, SFS_PATH_ENGINE);

		if (cold)
			rig_await_cold(r, "file", 0);
		r->g.group.requests = BLOCKS;
		for (unsigned i = 0; i < BLOCKS; i++)
			m[i] = read_send(r, node, fh, i * 4096, 4096);
		m[BLOCKS] = read_send(r, node, fh, BYTES, 4096);
		r->g.group.requests = 0;
		fg_turn(&r->g, 0);
		for (unsigned i = 0; i <= BLOCKS; i++) {
			if (!cold && i != BLOCKS - 1) /* after a short count it looks a second time */
				assert_true(m[i]->answered);
			assert_int_equal(fg_wait(&r->g, 0, m[i]), 0);
			if (i < BLOCKS)
				assert_memory_equal(m[i]->out, whole + i * 4096, m[i]->out_bytes);
			assert_int_equal(m[i]->out_bytes, i == BLOCKS       ? 0
							  : i == BLOCKS - 1 ? 4096 - 100
									    : 4096);
			fg_free(m[i]);
		}
		assert_int_equal(rig_path(r, FUSE_READ, SFS_PATH_ENGINE), before + BLOCKS + 1);
	}
	rig_stop(r);
	r->engine = NULL;
}

static void test_read_batch(void **state)
{
	struct rig *r = *state;

	read_batch(r, &sfs_aio_uring);
	read_batch(r, &sfs_aio_libaio);
}

/* Writes that come together are done by one call where they may wait on the reactor, and by workers where they may not. */
static void write_batch(struct rig *r, const struct sfs_aio_ops *engine, const char *policy)
{
	enum { BLOCKS = 8, BYTES = BLOCKS * 5000 };
	static char whole[BYTES], back[BYTES];
	bool engines = strcmp(policy, "never") != 0;
	struct fg_msg *m[BLOCKS];
	struct fuse_write_in in = {.size = 5000};
	char options[64];
	uint64_t node;

	rig_pattern(whole, BYTES, 9);
	rig_file(r, "file", "");
	snprintf(options, sizeof(options), ", \"inline_blocking\": \"%s\"", policy);
	batches_pay(r, engine, options);
	node = rig_node(r, ROOT, "file");
	assert_int_equal(fc_open(&r->c, node, O_RDWR, &in.fh), 0);
	r->g.group.requests = BLOCKS;
	for (unsigned i = 0; i < BLOCKS; i++) {
		m[i] = fg_new();
		in.offset = i * 5000;
		fg_send(&r->g, 0, m[i], FUSE_WRITE, node, &in, sizeof(in), NULL, NULL, whole + i * 5000, 5000,
			sizeof(struct fuse_write_out));
	}
	r->g.group.requests = 0;
	fg_turn(&r->g, 0);
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (engines)
			assert_true(m[i]->answered);
		assert_int_equal(fg_wait(&r->g, 0, m[i]), 0);
		assert_int_equal(((struct fuse_write_out *)(void *)m[i]->out)->size, 5000);
		fg_free(m[i]);
	}
	assert_int_equal(rig_path(r, FUSE_WRITE, engines ? SFS_PATH_ENGINE : SFS_PATH_WORKER), BLOCKS);
	assert_int_equal(fc_read(&r->c, node, in.fh, 0, back, BYTES), BYTES);
	assert_memory_equal(back, whole, BYTES);
	/* Errors are each write's own. */
	r->g.group.requests = BLOCKS;
	in.offset = INT64_MAX - 5000;
	m[0] = fg_new();
	fg_send(&r->g, 0, m[0], FUSE_WRITE, node, &in, sizeof(in), NULL, NULL, whole, 5000,
		sizeof(struct fuse_write_out));
	r->g.group.requests = 0;
	assert_int_equal(fg_wait(&r->g, 0, m[0]), -EFBIG);
	fg_free(m[0]);
	rig_stop(r);
	r->engine = NULL;
}

static void test_write_batch(void **state)
{
	static const char *const policies[] = {"auto", "always", "never"};
	struct rig *r = *state;

	for (unsigned i = 0; i < 3; i++) {
		write_batch(r, &sfs_aio_uring, policies[i]);
		write_batch(r, &sfs_aio_libaio, policies[i]);
	}
}

/* Two queues of a group: what came on both is one call, and each answers its own in the same turn. */
static void batch_of_two_queues(struct rig *r, const struct sfs_aio_ops *engine)
{
	enum { EACH = 2 };
	static char whole[4 * EACH * 4096];
	struct fuse_read_in in = {.size = 4096};
	struct fg_msg *m[2][EACH];
	uint64_t node, fh;

	rig_pattern(whole, sizeof(whole), 3);
	rig_file(r, "file", "");
	batches_pay(r, engine, "");
	sfs_session_lane_join(r->g.se, 1);
	node = rig_node(r, ROOT, "file");
	assert_int_equal(fc_open(&r->c, node, O_RDWR, &fh), 0);
	assert_int_equal(fc_write(&r->c, node, fh, 0, whole, sizeof(whole)), sizeof(whole));
	assert_int_equal(fc_read(&r->c, node, fh, 0, whole, 4096), 4096);
	submissions = 0;
	in.fh = fh;
	/* Neither queue has enough of its own. */
	r->g.group.requests = 2 * EACH;
	for (unsigned lane = 0; lane < 2; lane++)
		for (unsigned i = 0; i < EACH; i++) {
			m[lane][i] = fg_new();
			in.offset = (lane * EACH + i) * 4096;
			fg_send(&r->g, lane, m[lane][i], FUSE_READ, node, &in, sizeof(in), NULL, NULL, NULL,
				0, 4096);
		}
	r->g.group.requests = 0;
	fg_turn(&r->g, 0);
	assert_non_null(r->g.lanes[1].ended.first);
	fg_turn(&r->g, 1);
	assert_int_equal(submissions, 1);
	for (unsigned lane = 0; lane < 2; lane++)
		for (unsigned i = 0; i < EACH; i++) {
			assert_true(m[lane][i]->answered);
			assert_int_equal(m[lane][i]->head.error, 0);
			assert_memory_equal(m[lane][i]->out, whole + (lane * EACH + i) * 4096, 4096);
			fg_free(m[lane][i]);
		}
	sfs_lane_leave(&r->g.lanes[1]);
	rig_stop(r);
	r->engine = NULL;
}

static void test_batch_of_two_queues(void **state)
{
	struct rig *r = *state;

	batch_of_two_queues(r, &sfs_aio_uring);
	batch_of_two_queues(r, &sfs_aio_libaio);
}

static int refuse(struct sfs_aio *aio, struct sfs_io *io)
{
	return -EAGAIN;
}

/* What the group cannot take is any I/O of the lane's own engine. */
static void test_group_refuses(void **state)
{
	struct rig *r = *state;
	struct sfs_aio_ops refusing;
	char text[16];
	uint64_t node, fh;
	struct fg_msg *m;

	rig_file(r, "file", "0123456789");
	batches_pay(r, &sfs_aio_uring, "");
	node = rig_node(r, ROOT, "file");
	assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh), 0);
	assert_int_equal(fc_read(&r->c, node, fh, 0, text, 10), 10);
	refusing = *r->g.group.aio.ops;
	refusing.queue = refuse;
	r->g.group.aio.ops = &refusing;
	r->g.group.requests = 8;
	m = read_send(r, node, fh, 0, 10);
	r->g.group.requests = 0;
	for (unsigned i = 0; i < r->g.lanes[0].slot_count; i++)
		assert_false(r->g.lanes[0].slots[i].io.flags & SFS_IO_F_AT_ONCE);
	assert_int_equal(fg_wait(&r->g, 0, m), 0);
	assert_int_equal(m->out_bytes, 10);
	assert_memory_equal(m->out, "0123456789", 10);
	assert_int_equal(rig_path(r, FUSE_READ, SFS_PATH_ENGINE), 1);
	fg_free(m);
	rig_stop(r);
	r->engine = NULL;
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_read_batch),
	    T(test_write_batch),
	    T(test_batch_of_two_queues),
	    T(test_group_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
