/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files that an engine holds open: used as long as it holds them, gone when it drops them. What tells that a description is
 * gone is its lock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <cmocka.h>

#include "sfs_aio_engines.h"
#include "sfs_base.h"
#include "sfs_workers.h"

#define BLOCK      4096u
#define FILE_BYTES (64 * BLOCK)
#define FILE_BIT   4u

struct rig {
	struct sfs_workers *wk;
	struct sfs_workers_client *client;
	struct sfs_aio aio;
	int fd;
	uint8_t *want, *mem;
};

static void open_engine(struct rig *rig, const struct sfs_aio_ops *ops, uint64_t file_bit)
{
	struct sfs_aio_opts opts = {.depth = 8, .workers = rig->client, .file_bit = file_bit};

	assert_int_equal(sfs_aio_open(&rig->aio, ops, &opts), 0);
}

static int setup(void **state)
{
	char name[] = "/tmp/test_aio_files.XXXXXX";
	struct rig *rig = calloc(1, sizeof(*rig));
	struct sfs_workers_opts opts = {.count = 1};

	assert_non_null(rig);
	assert_int_equal(sfs_workers_create(&opts, &rig->wk), 0);
	rig->client = sfs_workers_client_create(rig->wk, 1);
	rig->want = malloc(FILE_BYTES);
	rig->mem = malloc(BLOCK);
	assert_true(rig->client && rig->want && rig->mem);
	for (unsigned i = 0; i < FILE_BYTES; i++)
		rig->want[i] = (uint8_t)(i * 31 + (i >> 8) * 7);
	rig->fd = mkstemp(name);
	assert_true(rig->fd >= 0);
	unlink(name);
	assert_int_equal(write(rig->fd, rig->want, FILE_BYTES), FILE_BYTES);
	open_engine(rig, &sfs_aio_uring, FILE_BIT);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	sfs_aio_close(&rig->aio);
	sfs_workers_client_destroy(rig->client);
	assert_int_equal(sfs_workers_destroy(rig->wk, UINT64_MAX), 0);
	close(rig->fd);
	free(rig->want);
	free(rig->mem);
	free(rig);
	return 0;
}

static void reap_one(struct rig *rig, const struct sfs_io *io)
{
	struct sfs_io *back;

	while (!sfs_aio_reap(&rig->aio, &back, 1)) {
		sfs_aio_commit(&rig->aio);
		sched_yield();
	}
	assert_ptr_equal(back, io);
}

/* One I/O from beginning to end. */
static int64_t run(struct rig *rig, struct sfs_io *io)
{
	assert_int_equal(sfs_aio_queue(&rig->aio, io), 0);
	sfs_aio_commit(&rig->aio);
	reap_one(rig, io);
	return io->res;
}

#define OFTEN 40

/* Reads @idx's file at once and often. False: the engine does not hold it after that. */
static bool read_often(struct rig *rig, int fd, struct sfs_aio_file *file, uint32_t idx)
{
	struct iovec iov = {rig->mem, BLOCK};
	struct sfs_io io = {.fd = fd, .file = file, .file_idx = idx, .iov = &iov, .iovcnt = 1};

	for (unsigned i = 0; i < OFTEN; i++) {
		io.offset = i * BLOCK;
		assert_int_equal(run(rig, &io), BLOCK);
		assert_memory_equal(rig->mem, rig->want + io.offset, BLOCK);
	}
	return atomic_load(&file->holders) == FILE_BIT;
}

/* Whether the description of @fd, which has the file locked, is gone. */
static void until_unlocked(int other)
{
	while (flock(other, LOCK_EX | LOCK_NB) < 0) {
		assert_int_equal(errno, EWOULDBLOCK);
		sched_yield();
	}
	flock(other, LOCK_UN);
}

static int reopen(const struct rig *rig)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", rig->fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void a_held_file_is_used_until_it_is_dropped(void **state)
{
	struct rig *rig = *state;
	struct sfs_aio_file file = {0};
	struct iovec iov = {rig->mem, BLOCK};
	struct sfs_io io = {.file = &file, .file_idx = 7, .iov = &iov, .iovcnt = 1};
	int fd = reopen(rig);

	io.fd = fd;
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_true(read_often(rig, fd, &file, 7));
	/* The number alone would not do any more. */
	close(fd);
	io.offset = 5 * BLOCK;
	assert_int_equal(run(rig, &io), BLOCK);
	assert_memory_equal(rig->mem, rig->want + io.offset, BLOCK);
	assert_int_equal(flock(rig->fd, LOCK_EX | LOCK_NB), -1);
	sfs_aio_files_drop(&rig->aio, &file, 7);
	assert_int_equal(atomic_load(&file.holders), 0);
	until_unlocked(rig->fd);
	assert_int_equal(run(rig, &io), -EBADF);
}

/* Two files of one place: the one in use stays, the one that is not makes room. */
static void files_share_places(void **state)
{
	struct rig *rig = *state;
	struct sfs_aio_file file[2] = {{0}};
	struct iovec iov = {rig->mem, BLOCK};
	struct sfs_io io = {.iov = &iov, .iovcnt = 1};
	int fd[2] = {reopen(rig), reopen(rig)};

	assert_int_equal(flock(fd[0], LOCK_EX), 0);
	assert_true(read_often(rig, fd[0], &file[0], 9));
	for (unsigned i = 0; i < 4 * OFTEN; i++) {
		io.fd = fd[i % 2];
		io.file = &file[i % 2];
		io.file_idx = 9 + i % 2 * 1024;
		assert_int_equal(run(rig, &io), BLOCK);
	}
	assert_int_equal(atomic_load(&file[0].holders), FILE_BIT);
	assert_int_equal(atomic_load(&file[1].holders), 0);
	assert_true(read_often(rig, fd[1], &file[1], 9 + 1024));
	assert_int_equal(atomic_load(&file[0].holders), 0);
	close(fd[0]);
	until_unlocked(rig->fd);
	/* Too late for the first, which does not touch the second. */
	sfs_aio_files_drop(&rig->aio, &file[0], 9);
	assert_int_equal(atomic_load(&file[1].holders), FILE_BIT);
	sfs_aio_files_drop(&rig->aio, &file[1], 9 + 1024);
	assert_int_equal(atomic_load(&file[1].holders), 0);
	close(fd[1]);
}

/* All are dropped, and files that come after are held again. */
static void all_are_dropped(void **state)
{
	struct rig *rig = *state;
	struct sfs_aio_file file[2] = {0};
	int fd[2] = {reopen(rig), reopen(rig)};

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 2; i++)
			assert_true(read_often(rig, fd[i], &file[i], i + 1));
		sfs_aio_files_drop(&rig->aio, NULL, 0);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(atomic_load(&file[i].holders), 0);
	}
	assert_int_equal(flock(fd[0], LOCK_EX), 0);
	close(fd[0]);
	until_unlocked(rig->fd);
	close(fd[1]);
}

/* Engines and instances that hold no files. */
static void others_hold_none(void **state)
{
	static const struct sfs_aio_ops *const engines[] = {&sfs_aio_uring, &sfs_aio_libaio,
							    &sfs_aio_workers};
	struct rig *rig = *state;
	struct sfs_aio_file file = {0};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(engines); i++) {
		if (sfs_aio_probe(engines[i]) < 0)
			continue;
		sfs_aio_close(&rig->aio);
		open_engine(rig, engines[i], i ? FILE_BIT : 0);
		assert_false(read_often(rig, rig->fd, &file, 1));
		assert_int_equal(atomic_load(&file.holders), 0);
		sfs_aio_files_drop(&rig->aio, &file, 1);
		sfs_aio_files_drop(&rig->aio, NULL, 0);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(a_held_file_is_used_until_it_is_dropped),
	    T(files_share_places),
	    T(all_are_dropped),
	    T(others_hold_none),
	};
	int rc = sfs_aio_probe(&sfs_aio_uring);

	signal(SIGPIPE, SIG_IGN);
	if (rc) {
		printf("io_uring: SKIPPED: %s\n", strerror(-rc));
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
