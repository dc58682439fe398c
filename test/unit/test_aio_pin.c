/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pinned memory. What tells that an I/O went by it: the addresses lead nowhere any more, and the data is in the memory's file
 * all the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "sfs_aio_engines.h"
#include "sfs_base.h"
#include "sfs_workers.h"

#define BLOCK      4096u
#define FILE_BYTES (64 * BLOCK)
#define MIB        ((size_t)1 << 20)
/* Two pieces and a bit. */
#define BIG_BYTES   (129 * MIB)
#define SMALL_BYTES MIB
#define PIECE_BYTES (64 * MIB)

struct rig {
	struct sfs_workers *wk;
	struct sfs_workers_client *client;
	struct sfs_aio aio;
	bool open;
	struct sfs_aio_pin *pin;
	atomic_uint released;
	int fd; /* a file of pattern */
	uint8_t *want;
	int mem_fd[2];
	struct iovec regions[2];
	uint8_t *seen[2]; /* the regions' files a second time */
};

static bool kernel_can = true;

int __real_io_uring_register(unsigned fd, unsigned opcode, const void *arg, unsigned n);
int __wrap_io_uring_register(unsigned fd, unsigned opcode, const void *arg, unsigned n);

/* A kernel before 6.12: buffers cannot be taken over from another ring. */
int __wrap_io_uring_register(unsigned fd, unsigned opcode, const void *arg, unsigned n)
{
	if (!kernel_can && opcode == 30)
		return -EINVAL;
	return __real_io_uring_register(fd, opcode, arg, n);
}

static uint8_t *map(int fd, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static void make_file(struct rig *rig)
{
	char name[] = "/tmp/test_aio_pin.XXXXXX";

	rig->want = malloc(FILE_BYTES);
	assert_non_null(rig->want);
	for (unsigned i = 0; i < FILE_BYTES; i++)
		rig->want[i] = (uint8_t)(i * 31 + (i >> 8) * 7 + 1);
	rig->fd = mkstemp(name);
	assert_true(rig->fd >= 0);
	unlink(name);
	assert_int_equal(write(rig->fd, rig->want, FILE_BYTES), FILE_BYTES);
}

static int setup(void **state)
{
	static const size_t bytes[2] = {BIG_BYTES, SMALL_BYTES};
	struct rig *rig = calloc(1, sizeof(*rig));
	struct sfs_workers_opts opts = {.count = 1};

	assert_non_null(rig);
	kernel_can = true;
	assert_int_equal(sfs_workers_create(&opts, &rig->wk), 0);
	rig->client = sfs_workers_client_create(rig->wk, 1);
	assert_non_null(rig->client);
	make_file(rig);
	for (unsigned i = 0; i < 2; i++) {
		rig->mem_fd[i] = memfd_create("guest", MFD_CLOEXEC);
		assert_true(rig->mem_fd[i] >= 0);
		assert_int_equal(ftruncate(rig->mem_fd[i], (off_t)bytes[i]), 0);
		rig->regions[i] = (struct iovec){map(rig->mem_fd[i], bytes[i]), bytes[i]};
		rig->seen[i] = map(rig->mem_fd[i], bytes[i]);
	}
	*state = rig;
	return 0;
}

static void engine_close(struct rig *rig)
{
	if (rig->open)
		sfs_aio_close(&rig->aio);
	rig->open = false;
}

static void unpin(struct rig *rig)
{
	sfs_aio_pin_put(rig->pin);
	rig->pin = NULL;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	engine_close(rig);
	unpin(rig);
	sfs_workers_client_destroy(rig->client);
	assert_int_equal(sfs_workers_destroy(rig->wk, UINT64_MAX), 0);
	for (unsigned i = 0; i < 2; i++) {
		munmap(rig->regions[i].iov_base, rig->regions[i].iov_len);
		munmap(rig->seen[i], rig->regions[i].iov_len);
		close(rig->mem_fd[i]);
	}
	close(rig->fd);
	free(rig->want);
	free(rig);
	return 0;
}

static void released(void *ctx)
{
	struct rig *rig = ctx;

	atomic_fetch_add(&rig->released, 1);
}

static int pin_on(struct rig *rig, const struct sfs_aio_ops *ops)
{
	struct sfs_aio_pin_opts o = {.name = "test",
				     .regions = rig->regions,
				     .count = 2,
				     .workers = rig->client,
				     .release = released,
				     .ctx = rig};

	return sfs_aio_pin_begin(ops, &o, &rig->pin);
}

/* Or skips: this host has no io_uring, or one that cannot. */
static void pin(struct rig *rig)
{
	int rc = sfs_aio_probe(&sfs_aio_uring);

	if (rc == 0)
		rc = pin_on(rig, &sfs_aio_uring);
	if (rc == -ENOSYS || rc == -EPERM) {
		print_message("no pinned memory here: %s\n", strerror(-rc));
		skip();
	}
	assert_int_equal(rc, 0);
}

static void until_pinned(struct rig *rig)
{
	while (!atomic_load(&rig->pin->bytes))
		sched_yield();
}

static void engine_open(struct rig *rig)
{
	struct sfs_aio_opts opts = {.depth = 8, .workers = rig->client, .pin = rig->pin};

	assert_int_equal(sfs_aio_open(&rig->aio, &sfs_aio_uring, &opts), 0);
	rig->open = true;
}

/* One I/O from beginning to end. */
static int64_t run(struct rig *rig, struct sfs_io *io)
{
	struct sfs_io *back;

	assert_int_equal(sfs_aio_queue(&rig->aio, io), 0);
	while (!sfs_aio_reap(&rig->aio, &back, 1)) {
		sfs_aio_commit(&rig->aio);
		sched_yield();
	}
	assert_ptr_equal(back, io);
	return io->res;
}

/* Where a region is at @off, and what its file holds there. */
static struct iovec at(const struct rig *rig, unsigned region, size_t off, size_t bytes)
{
	return (struct iovec){(uint8_t *)rig->regions[region].iov_base + off, bytes};
}

static void lead_nowhere(struct rig *rig)
{
	for (unsigned i = 0; i < 2; i++)
		assert_ptr_equal(mmap(rig->regions[i].iov_base, rig->regions[i].iov_len, PROT_NONE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
				 rig->regions[i].iov_base);
}

static int64_t transfer(struct rig *rig, enum sfs_io_kind kind, const struct iovec *iov, unsigned count)
{
	struct sfs_io io = {
	    .kind = (uint8_t)kind, .fd = rig->fd, .iov = iov, .iovcnt = count, .offset = BLOCK};

	return run(rig, &io);
}

/* --- tests --- */

static void test_pinned(void **state)
{
	struct rig *rig = *state;
	const size_t offs[] = {0, 3 * BLOCK, PIECE_BYTES - BLOCK, PIECE_BYTES, BIG_BYTES - BLOCK};
	struct iovec iov;

	pin(rig);
	engine_open(rig);
	until_pinned(rig);
	assert_int_equal(atomic_load(&rig->pin->bytes), BIG_BYTES + SMALL_BYTES);
	lead_nowhere(rig);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(offs); i++) {
		iov = at(rig, 0, offs[i], BLOCK);
		assert_int_equal(transfer(rig, SFS_IO_READV, &iov, 1), BLOCK);
		assert_memory_equal(rig->seen[0] + offs[i], rig->want + BLOCK, BLOCK);
	}
	iov = at(rig, 1, SMALL_BYTES - 100, 100);
	assert_int_equal(transfer(rig, SFS_IO_READV, &iov, 1), 100);
	assert_memory_equal(rig->seen[1] + SMALL_BYTES - 100, rig->want + BLOCK, 100);
}

static void test_pinned_write(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = at(rig, 0, PIECE_BYTES + 5, 3000);
	uint8_t got[3000];

	pin(rig);
	engine_open(rig);
	until_pinned(rig);
	lead_nowhere(rig);
	memset(rig->seen[0] + PIECE_BYTES + 5, 0x5a, 3000);
	assert_int_equal(transfer(rig, SFS_IO_WRITEV, &iov, 1), 3000);
	assert_int_equal(pread(rig->fd, got, 3000, BLOCK), 3000);
	assert_memory_equal(got, rig->seen[0] + PIECE_BYTES + 5, 3000);
}

/* Whether the kernel knows segments of pinned memory (IORING_OP_WRITEV_FIXED, Linux 6.15). */
static bool knows_segments(void)
{
	struct io_uring_probe *probe = io_uring_get_probe();
	bool knows = probe && io_uring_opcode_supported(probe, 61);

	io_uring_free_probe(probe);
	return knows;
}

/* On older kernels they are plain I/O. */
static void test_segments(void **state)
{
	struct rig *rig = *state;
	struct iovec iov[3] = {at(rig, 0, 8 * BLOCK, BLOCK), at(rig, 0, 0, BLOCK),
			       at(rig, 0, 5 * BLOCK, 100)};

	pin(rig);
	engine_open(rig);
	until_pinned(rig);
	if (knows_segments())
		lead_nowhere(rig);
	assert_int_equal(transfer(rig, SFS_IO_READV, iov, 3), 2 * BLOCK + 100);
	assert_memory_equal(rig->seen[0] + 8 * BLOCK, rig->want + BLOCK, BLOCK);
	assert_memory_equal(rig->seen[0], rig->want + 2 * BLOCK, BLOCK);
	assert_memory_equal(rig->seen[0] + 5 * BLOCK, rig->want + 3 * BLOCK, 100);
	memset(rig->seen[0] + 8 * BLOCK, 0x11, BLOCK);
	assert_int_equal(transfer(rig, SFS_IO_WRITEV, iov, 2), 2 * BLOCK);
	assert_int_equal(pread(rig->fd, rig->want, BLOCK, BLOCK), BLOCK);
	assert_memory_equal(rig->seen[0] + 8 * BLOCK, rig->want, BLOCK);
}

/* Two pieces, two regions, memory of ours: done as without. */
static void test_what_is_not_in_one_piece(void **state)
{
	struct rig *rig = *state;
	uint8_t own[BLOCK];
	struct iovec across = at(rig, 0, PIECE_BYTES - 10, 100), mine = {own, BLOCK};
	struct iovec two[2] = {at(rig, 0, 0, 10), at(rig, 1, 0, 10)};

	pin(rig);
	engine_open(rig);
	until_pinned(rig);
	assert_int_equal(transfer(rig, SFS_IO_READV, &across, 1), 100);
	assert_memory_equal(rig->seen[0] + PIECE_BYTES - 10, rig->want + BLOCK, 100);
	assert_int_equal(transfer(rig, SFS_IO_READV, two, 2), 20);
	assert_memory_equal(rig->seen[0], rig->want + BLOCK, 10);
	assert_memory_equal(rig->seen[1], rig->want + BLOCK + 10, 10);
	assert_int_equal(transfer(rig, SFS_IO_READV, &mine, 1), BLOCK);
	assert_memory_equal(own, rig->want + BLOCK, BLOCK);
}

/* Another ring, and one that was opened before all was pinned: the same memory. */
static void test_rings_share(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = at(rig, 1, 0, BLOCK);

	pin(rig);
	engine_open(rig);
	until_pinned(rig);
	engine_close(rig);
	engine_open(rig);
	lead_nowhere(rig);
	assert_int_equal(transfer(rig, SFS_IO_READV, &iov, 1), BLOCK);
	assert_memory_equal(rig->seen[1], rig->want + BLOCK, BLOCK);
}

static void test_release(void **state)
{
	struct rig *rig = *state;

	pin(rig);
	engine_open(rig);
	until_pinned(rig);
	while (atomic_load(&rig->pin->refs) > 2) /* the worker's */
		sched_yield();
	unpin(rig);
	assert_int_equal(atomic_load(&rig->released), 0);
	engine_close(rig);
	assert_int_equal(atomic_load(&rig->released), 1);
}

/* Nobody wants it any more before its turn has come: the worker lets go of it at once. */
static void test_unwanted(void **state)
{
	struct rig *rig = *state;

	pin(rig);
	unpin(rig);
	while (!atomic_load(&rig->released))
		sched_yield();
	assert_int_equal(atomic_load(&rig->released), 1);
}

static void until_given_up(struct rig *rig)
{
	while (atomic_load(&rig->pin->refs) > (rig->open ? 2 : 1))
		sched_yield();
	assert_int_equal(atomic_load(&rig->pin->bytes), 0);
}

/* The VMM cut the memory's file short: nothing is pinned, I/O to the rest goes on. */
static void test_memory_gone(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = at(rig, 0, 0, BLOCK);

	assert_int_equal(ftruncate(rig->mem_fd[0], (off_t)(PIECE_BYTES + BLOCK)), 0);
	pin(rig);
	engine_open(rig);
	until_given_up(rig);
	assert_int_equal(transfer(rig, SFS_IO_READV, &iov, 1), BLOCK);
	assert_memory_equal(rig->seen[0], rig->want + BLOCK, BLOCK);
}

/* Somebody who may lock little: in a process of its own. */
static int limited(struct rig *rig)
{
	struct rlimit little = {64 << 10, 64 << 10};
	struct sfs_workers_opts opts = {.count = 1};
	struct iovec iov = at(rig, 0, 0, BLOCK);

	if (setrlimit(RLIMIT_MEMLOCK, &little) < 0 || (geteuid() == 0 && setuid(65534) < 0))
		return 2;
	if (sfs_workers_create(&opts, &rig->wk) < 0)
		return 3;
	rig->client = sfs_workers_client_create(rig->wk, 1);
	if (sfs_aio_probe(&sfs_aio_uring) < 0 || pin_on(rig, &sfs_aio_uring) < 0)
		return 77;
	engine_open(rig);
	until_given_up(rig);
	return transfer(rig, SFS_IO_READV, &iov, 1) == BLOCK &&
		       !memcmp(rig->seen[0], rig->want + BLOCK, BLOCK)
		   ? 0
		   : 4;
}

static void test_limit(void **state)
{
	struct rig *rig = *state;
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(limited(rig));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("no pinned memory here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void test_refused(void **state)
{
	struct rig *rig = *state;
	struct sfs_aio_pin_opts none = {
	    .name = "test", .workers = rig->client, .release = released, .ctx = rig};
	struct sfs_aio_pin *p = NULL;

	assert_int_equal(pin_on(rig, &sfs_aio_libaio), -ENOSYS);
	assert_int_equal(pin_on(rig, &sfs_aio_workers), -ENOSYS);
	assert_int_equal(sfs_aio_pin_begin(&sfs_aio_uring, &none, &p), -EINVAL);
	none.count = SFS_AIO_PIN_REGIONS_MAX + 1;
	assert_int_equal(sfs_aio_pin_begin(&sfs_aio_uring, &none, &p), -EINVAL);
	if (sfs_aio_probe(&sfs_aio_uring) == 0) {
		kernel_can = false;
		assert_int_equal(pin_on(rig, &sfs_aio_uring), -ENOSYS);
	}
	assert_int_equal(atomic_load(&rig->released), 0);
	assert_null(rig->pin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_pinned, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pinned_write, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_segments, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_what_is_not_in_one_piece, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_rings_share, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_release, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unwanted, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_memory_gone, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	};

	return cmocka_run_group_tests_name("aio_pin", tests, NULL, NULL);
}
