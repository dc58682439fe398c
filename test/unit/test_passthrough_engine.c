/* SPDX-License-Identifier: BSD-3-Clause */
/* Errors that an I/O engine brings reach the guest as they are; and a filesystem that is really full, by each engine. */
#include <sched.h>
#include <sys/mount.h>

#include "pt_rig.h"
#include "sfs_aio_engines.h"

#define ROOT SFS_ROOT_ID

/* An engine that answers what the test says, and after that EIO. */
static struct {
	int64_t results[8];
	unsigned count, next;
	struct sfs_io *waiting;
} script;

static int script_open(struct sfs_aio *aio, const struct sfs_aio_opts *opts)
{
	return 0;
}

static void script_close(struct sfs_aio *aio)
{
}

static int script_queue(struct sfs_aio *aio, struct sfs_io *io)
{
	if (script.waiting)
		return -EAGAIN;
	script.waiting = io;
	return 0;
}

static unsigned script_commit(struct sfs_aio *aio)
{
	return 0;
}

static unsigned script_reap(struct sfs_aio *aio, struct sfs_io **ios, unsigned max)
{
	if (!script.waiting)
		return 0;
	ios[0] = script.waiting;
	script.waiting = NULL;
	ios[0]->res = script.next < script.count ? script.results[script.next++] : -EIO;
	return 1;
}

static bool script_ready(struct sfs_aio *aio)
{
	return script.waiting;
}

static int script_fd(struct sfs_aio *aio)
{
	return -1;
}

static const struct sfs_aio_ops script_ops = {.name = "script",
					      .open = script_open,
					      .close = script_close,
					      .queue = script_queue,
					      .commit = script_commit,
					      .reap = script_reap,
					      .ready = script_ready,
					      .fd = script_fd};

static void play(unsigned count, const int64_t *results)
{
	memcpy(script.results, results, count * sizeof(*results));
	script.count = count;
	script.next = 0;
}

/* READ and WRITE by the engine: as O_DIRECT is. */
static void test_engine_errors(void **state)
{
	static const int errors[] = {EIO, ENOSPC, EDQUOT, EROFS, ESTALE, ENOMEM, ENXIO, EREMOTEIO, ETIMEDOUT};
	static char buf[16384];
	struct rig *r = *state;
	uint64_t node, fh;

	rig_file(r, "file", "0123456789");
	r->engine = &script_ops;
	rig_start(r, ", \"allow_direct_io\": true");
	node = rig_node(r, ROOT, "file");
	assert_int_equal(fc_open(&r->c, node, O_RDWR | O_DIRECT, &fh), 0);
	for (size_t e = 0; e < SFS_ARRAY_SIZE(errors); e++) {
		play(1, (int64_t[]){-errors[e]});
		assert_int_equal(fc_write(&r->c, node, fh, 0, buf, 4096), -errors[e]);
		play(1, (int64_t[]){-errors[e]});
		assert_int_equal(fc_read(&r->c, node, fh, 0, buf, 4096), -errors[e]);
		/* What was done before it counts, and the error comes with the next. */
		play(2, (int64_t[]){4096, -errors[e]});
		assert_int_equal(fc_write(&r->c, node, fh, 0, buf, 16384), 4096);
		play(2, (int64_t[]){4096, -errors[e]});
		assert_int_equal(fc_read(&r->c, node, fh, 0, buf, 16384), 4096);
		play(1, (int64_t[]){-errors[e]});
		assert_int_equal(fc_write(&r->c, node, fh, 4096, buf, 4096), -errors[e]);
	}
	/* Short counts are gone on from; nothing more is the end. */
	play(3, (int64_t[]){4096, 8192, 4096});
	assert_int_equal(fc_write(&r->c, node, fh, 0, buf, 16384), 16384);
	play(3, (int64_t[]){4096, 8192, 0});
	assert_int_equal(fc_read(&r->c, node, fh, 0, buf, 16384), 12288);
	rig_stop(r);
}

/* What an engine could not do "now", or was interrupted in, a worker does: neither is told. */
static void test_engine_never(void **state)
{
	static const int errors[] = {EINTR, EAGAIN};
	static char buf[16384] __attribute__((aligned(4096)));
	struct rig *r = *state;
	uint64_t node, fh;

	rig_file(r, "file", "");
	r->engine = &script_ops;
	rig_start(r, ", \"allow_direct_io\": true");
	node = rig_node(r, ROOT, "file");
	assert_int_equal(fc_open(&r->c, node, O_RDWR | O_DIRECT, &fh), 0);
	for (unsigned e = 0; e < 2; e++) {
		int64_t rc;

		play(1, (int64_t[]){-errors[e]});
		rc = fc_write(&r->c, node, fh, 0, buf, 4096);
		/* The guest's pages need not be as a device wants them: that is EINVAL, from the real call. */
		assert_true(rc == 4096 || rc == -EINVAL);
		play(1, (int64_t[]){-errors[e]});
		rc = fc_read(&r->c, node, fh, 0, buf, 4096);
		assert_true(rc == 4096 || rc == 0 || rc == -EINVAL);
		assert_int_equal(rig_path(r, FUSE_WRITE, SFS_PATH_WORKER), e + 1);
		assert_int_equal(rig_path(r, FUSE_READ, SFS_PATH_WORKER), e + 1);
	}
	rig_stop(r);
}

/* An engine that only counts, and lets go of all at the end. */
static struct {
	struct sfs_io *ios[16];
	unsigned queued, committed;
	bool over;
} hold;

static int hold_queue(struct sfs_aio *aio, struct sfs_io *io)
{
	hold.ios[hold.committed + hold.queued++] = io;
	return 0;
}

static unsigned hold_commit(struct sfs_aio *aio)
{
	hold.committed += hold.queued;
	hold.queued = 0;
	return 0;
}

static unsigned hold_reap(struct sfs_aio *aio, struct sfs_io **ios, unsigned max)
{
	unsigned n = hold.over ? hold.committed : 0;

	for (unsigned i = 0; i < n; i++) {
		ios[i] = hold.ios[i];
		ios[i]->res = 0;
	}
	hold.committed -= n;
	return n;
}

static bool hold_ready(struct sfs_aio *aio)
{
	return hold.over && hold.committed;
}

static const struct sfs_aio_ops hold_ops = {.name = "hold",
					    .open = script_open,
					    .close = script_close,
					    .queue = hold_queue,
					    .commit = hold_commit,
					    .reap = hold_reap,
					    .ready = hold_ready,
					    .fd = script_fd};

/* I/O for a disk that is busy waits for more to go with it, but not for long: neither for ever new requests, nor asleep. */
static void test_submitted_together(void **state)
{
	enum { BUSY = 8 };
	struct fg_msg *m[BUSY + 2];
	struct fuse_read_in in = {.size = 4096, .flags = O_DIRECT};
	struct rig *r = *state;
	struct sfs_lane *lane = &r->g.lanes[0];
	unsigned turns = 0;
	uint64_t node;

	memset(&hold, 0, sizeof(hold));
	rig_file(r, "file", "0123456789");
	r->engine = &hold_ops;
	rig_start(r, ", \"allow_direct_io\": true");
	node = rig_node(r, ROOT, "file");
	assert_int_equal(fc_open(&r->c, node, O_RDWR | O_DIRECT, &in.fh), 0);
	for (unsigned i = 0; i < BUSY + 2; i++) {
		m[i] = fg_new();
		fg_send(&r->g, 0, m[i], FUSE_READ, node, &in, sizeof(in), NULL, NULL, NULL, 0, 4096);
		lane->arrived = true;
		if (i < BUSY) { /* the disk is not busy yet */
			fg_turn(&r->g, 0);
			assert_int_equal(hold.committed, i + 1);
		}
	}
	for (; hold.queued; turns++) {
		assert_true(turns < 16);
		assert_true(sfs_lane_has_work(lane));
		fg_turn(&r->g, 0);
	}
	assert_true(turns > 1);
	assert_int_equal(hold.committed, BUSY + 2);
	/* Nothing comes any more: at once. */
	hold.over = true;
	for (unsigned i = 0; i < BUSY + 2; i++) {
		assert_int_equal(fg_wait(&r->g, 0, m[i]), 0);
		fg_free(m[i]);
	}
	rig_stop(r);
}

/* A filesystem that is really full, by each engine and without one. */
static void full_filesystem(struct rig *r, const struct sfs_aio_ops *engine, const char *options, int flags)
{
	enum { BYTES = 256 << 10 };
	static char data[BYTES];
	struct fuse_entry_out dir, e;
	uint64_t at = 0, fh;
	int64_t rc;

	r->engine = engine;
	rig_start(r, options);
	assert_int_equal(fc_lookup(&r->c, ROOT, "mnt", &dir), 0);
	assert_int_equal(fc_create(&r->c, dir.nodeid, "f", O_RDWR | flags, S_IFREG | 0644, &e, &fh), 0);
	while ((rc = fc_write(&r->c, e.nodeid, fh, at, data, 96 << 10)) > 0) {
		at += (uint64_t)rc;
		assert_true(at <= BYTES);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_true(at > BYTES / 2);
	assert_int_equal(fc_fallocate(&r->c, e.nodeid, fh, 0, at, BYTES), -ENOSPC);
	assert_int_equal(fc_write(&r->c, e.nodeid, fh, at, data, 4096), -ENOSPC);
	/* What is there can be read, and room that is made is room. */
	assert_int_equal(fc_read(&r->c, e.nodeid, fh, 0, data, 4096), 4096);
	assert_int_equal(fc_truncate(&r->c, e.nodeid, 0), 0);
	assert_int_equal(fc_write(&r->c, e.nodeid, fh, 0, data, 4096), 4096);
	assert_int_equal(fc_release(&r->c, e.nodeid, fh), 0);
	assert_int_equal(fc_unlink(&r->c, dir.nodeid, "f"), 0);
	rig_stop(r);
}

static void test_full_filesystem(void **state)
{
	static const char direct[] = ", \"allow_direct_io\": true";
	struct rig *r = *state;
	char path[128];

	snprintf(path, sizeof(path), "%s/mnt", r->share);
	assert_int_equal(mkdir(path, 0755), 0);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", path, "tmpfs", 0, "size=256k") < 0)
		skip();
	close(r->dir);
	r->dir = open(r->share, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	full_filesystem(r, &sfs_aio_uring, direct, O_DIRECT);
	full_filesystem(r, &sfs_aio_libaio, direct, O_DIRECT);
	full_filesystem(r, &sfs_aio_workers, direct, O_DIRECT);
	full_filesystem(r, &sfs_aio_workers, ", \"inline_blocking\": \"never\"", 0);
	full_filesystem(r, &sfs_aio_workers, ", \"inline_blocking\": \"always\"", 0);
	assert_int_equal(umount(path), 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {T(test_engine_errors), T(test_engine_never),
					   T(test_submitted_together), T(test_full_filesystem)};

	return cmocka_run_group_tests_name("passthrough_engine", tests, NULL, NULL);
}
