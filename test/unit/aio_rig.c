/* SPDX-License-Identifier: BSD-3-Clause */
#include <fcntl.h>
#include <libaio.h>
#include <liburing.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aio_rig.h"
#include "sfs_base.h"

/* --- a worse kernel --- */

struct kernel kernel;

int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p);
int __real_io_uring_register(unsigned fd, unsigned opcode, const void *arg, unsigned n);
int __real_io_uring_submit_and_get_events(struct io_uring *ring);
int __real_io_uring_get_events(struct io_uring *ring);
int __real_io_setup(int depth, io_context_t *ctx);
int __real_io_submit(io_context_t ctx, long n, struct iocb *iocbs[]);
int __real_io_getevents(io_context_t ctx, long min, long max, struct io_event *events,
			struct timespec *timeout);

int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p);
int __wrap_io_uring_register(unsigned fd, unsigned opcode, const void *arg, unsigned n);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring);
int __wrap_io_uring_get_events(struct io_uring *ring);
int __wrap_io_setup(int depth, io_context_t *ctx);
int __wrap_io_submit(io_context_t ctx, long n, struct iocb *iocbs[]);
int __wrap_io_getevents(io_context_t ctx, long min, long max, struct io_event *events,
			struct timespec *timeout);

int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p)
{
	if (p->flags & kernel.refuse_setup)
		return -EINVAL;
	return __real_io_uring_queue_init_params(entries, ring, p);
}

int __wrap_io_uring_register(unsigned fd, unsigned opcode, const void *arg, unsigned n)
{
	if (kernel.refuse_enable && opcode == IORING_REGISTER_ENABLE_RINGS)
		return -EPERM;
	return __real_io_uring_register(fd, opcode, arg, n);
}

int __wrap_io_uring_submit_and_get_events(struct io_uring *ring)
{
	if (kernel.submits++ % 2 == 0 && kernel.refuse_submit)
		return -EAGAIN;
	return __real_io_uring_submit_and_get_events(ring);
}

int __wrap_io_uring_get_events(struct io_uring *ring)
{
	kernel.gets++;
	return __real_io_uring_get_events(ring);
}

int __wrap_io_setup(int depth, io_context_t *ctx)
{
	int rc = __real_io_setup(depth, ctx);

	if (rc == 0 && kernel.other_ring)
		((uint32_t *)(void *)*ctx)[4] = 0;
	return rc;
}

int __wrap_io_submit(io_context_t ctx, long n, struct iocb *iocbs[])
{
	if (kernel.submits++ % 2 == 0 && kernel.refuse_submit)
		return -EAGAIN;
	return __real_io_submit(ctx, kernel.refuse_submit ? SFS_MIN(n, 2) : n, iocbs);
}

int __wrap_io_getevents(io_context_t ctx, long min, long max, struct io_event *events,
			struct timespec *timeout)
{
	kernel.gets++;
	return __real_io_getevents(ctx, min, max, events, timeout);
}

/* --- the rig --- */

static uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset * 31 + (offset >> 8) * 7 + (offset >> 16));
}

/* The last CPU that we may use: where the kernel's workers are to stay. */
int rig_iowq_cpu(void)
{
	cpu_set_t set;
	int cpu = CPU_SETSIZE - 1;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	while (!CPU_ISSET(cpu, &set))
		cpu--;
	return cpu;
}

int rig_open_engine(struct rig *rig, unsigned depth, struct sfs_reactor *reactor, uint64_t seed)
{
	char cpus[16];
	struct sfs_aio_opts opts = {
	    .depth = depth, .iowq_cpus = cpus, .workers = rig->client, .reactor = reactor, .seed = seed};

	snprintf(cpus, sizeof(cpus), "%d", rig_iowq_cpu());
	return sfs_aio_open(&rig->aio, rig->ops, &opts);
}

static void make_file(struct rig *rig)
{
	char name[] = "test_aio.XXXXXX";

	rig->want = malloc(FILE_BYTES);
	rig->mem = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_non_null(rig->want);
	assert_ptr_not_equal(rig->mem, MAP_FAILED);
	for (unsigned i = 0; i < FILE_BYTES; i++)
		rig->want[i] = pattern(i);
	rig->fd = mkstemp(name); /* in the build directory: tmpfs has no O_DIRECT */
	assert_true(rig->fd >= 0);
	rig->direct_fd = open(name, O_RDWR | O_DIRECT | O_CLOEXEC);
	unlink(name);
	assert_int_equal(pwrite(rig->fd, rig->want, FILE_BYTES, 0), FILE_BYTES);
	assert_int_equal(fsync(rig->fd), 0);
}

int rig_setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct sfs_workers_opts opts = {.count = 2};

	assert_non_null(rig);
	rig->ops = *state;
	rig->random = 42;
	assert_int_equal(sfs_workers_create(&opts, &rig->wk), 0);
	rig->client = sfs_workers_client_create(rig->wk, 2);
	assert_non_null(rig->client);
	make_file(rig);
	assert_int_equal(rig_open_engine(rig, DEPTH, NULL, 1), 0);
	*state = rig;
	return 0;
}

int rig_teardown(void **state)
{
	struct rig *rig = *state;

	sfs_aio_close(&rig->aio);
	sfs_workers_client_destroy(rig->client);
	assert_int_equal(sfs_workers_destroy(rig->wk, UINT64_MAX), 0);
	close(rig->fd);
	if (rig->direct_fd >= 0)
		close(rig->direct_fd);
	munmap(rig->mem, FILE_BYTES);
	free(rig->want);
	free(rig);
	return 0;
}

void rig_commit(struct rig *rig)
{
	for (unsigned i = 0; sfs_aio_commit(&rig->aio); i++)
		assert_true(i < 2 * DEPTH);
}

void rig_reap_into(struct rig *rig, struct sfs_io **ios, unsigned n)
{
	for (unsigned got = 0; got < n;) {
		unsigned now = sfs_aio_reap(&rig->aio, ios + got, n - got);

		if (now == 0) {
			rig_commit(rig);
			sched_yield();
		}
		got += now;
	}
}

int64_t rig_run(struct rig *rig, struct sfs_io *io)
{
	struct sfs_io *back = NULL;

	assert_int_equal(sfs_aio_queue(&rig->aio, io), 0);
	rig_reap_into(rig, &back, 1);
	assert_ptr_equal(back, io);
	assert_int_equal(rig->aio.in_flight, 0);
	return io->res;
}

static int run_here(rig_tests tests, const struct sfs_aio_ops *ops, const char *title, struct kernel with)
{
	int rc;

	kernel = with;
	rc = sfs_aio_probe(ops);
	if (rc) {
		printf("engine %s: SKIPPED: %s\n", title, strerror(-rc));
		return 0;
	}
	return tests(ops, title);
}

/* In a process of its own: what an engine keeps for its next instance knows the kernel that it came from. */
static int run_engine(rig_tests tests, const struct sfs_aio_ops *ops, const char *title, struct kernel with)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		exit(run_here(tests, ops, title, with));
	return pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}

int rig_main(rig_tests tests)
{
	const unsigned defer = IORING_SETUP_DEFER_TASKRUN, coop = IORING_SETUP_COOP_TASKRUN;
	int rc = 0;

	rc |= run_engine(tests, &sfs_aio_uring, "io_uring", (struct kernel){0});
	rc |= run_engine(tests, &sfs_aio_uring, "io_uring, cooperative",
			 (struct kernel){.refuse_setup = defer});
	rc |= run_engine(tests, &sfs_aio_uring, "io_uring, plain",
			 (struct kernel){.refuse_setup = defer | coop});
	rc |= run_engine(tests, &sfs_aio_uring, "io_uring, refused late",
			 (struct kernel){.refuse_enable = true});
	rc |= run_engine(tests, &sfs_aio_uring, "io_uring, short of memory",
			 (struct kernel){.refuse_submit = true});
	rc |= run_engine(tests, &sfs_aio_libaio, "libaio", (struct kernel){0});
	rc |= run_engine(tests, &sfs_aio_libaio, "libaio, unknown ring", (struct kernel){.other_ring = true});
	rc |= run_engine(tests, &sfs_aio_libaio, "libaio, short of memory",
			 (struct kernel){.refuse_submit = true});
	rc |= run_engine(tests, &sfs_aio_workers, "workers", (struct kernel){0});
	rc |= run_engine(tests, &sfs_aio_sim, "sim", (struct kernel){0});
	return rc;
}
