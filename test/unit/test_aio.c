/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One suite over all engines, and over io_uring and libaio once more on kernels that give less: the linker
 * lets the calls below go through us (--wrap).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "sfs_aio_engines.h"
#include "sfs_base.h"
#include "sfs_iov.h"
#include "sfs_reactor.h"
#include "sfs_workers.h"

#define DEPTH      8
#define BLOCK      4096u
#define FILE_BYTES (256 * BLOCK)
#define SEGS_MAX   16

/* Everything a test of one engine needs. */
struct rig {
	const struct sfs_aio_ops *ops;
	struct sfs_workers *wk;
	struct sfs_workers_client *client;
	struct sfs_aio aio;
	int fd, direct_fd; /* one file of FILE_BYTES; direct_fd is -1 where the filesystem has no O_DIRECT */
	uint8_t *want;     /* what the file holds */
	uint8_t *mem;      /* page-aligned, FILE_BYTES */
	unsigned random;
};

/* --- a worse kernel --- */

static struct kernel {
	unsigned refuse_setup;  /* flags that io_uring_setup does not know */
	bool refuse_enable;     /* the ring cannot be enabled */
	bool refuse_submit;     /* every other submit takes nothing, and io_submit at most two */
	bool other_ring;        /* libaio's ring has a layout that we do not know */
	unsigned submits, gets; /* system calls: those that hand over, and those that collect */
} kernel;

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

static unsigned below(struct rig *rig, unsigned n)
{
	rig->random = rig->random * 1103515245 + 12345;
	return (rig->random >> 8) % n;
}

/* The last CPU that we may use: where the kernel's workers are to stay. */
static int iowq_cpu(void)
{
	cpu_set_t set;
	int cpu = CPU_SETSIZE - 1;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	while (!CPU_ISSET(cpu, &set))
		cpu--;
	return cpu;
}

static int open_engine(struct rig *rig, unsigned depth, struct sfs_reactor *reactor, uint64_t seed)
{
	char cpus[16];
	struct sfs_aio_opts opts = {
	    .depth = depth, .iowq_cpus = cpus, .workers = rig->client, .reactor = reactor, .seed = seed};

	snprintf(cpus, sizeof(cpus), "%d", iowq_cpu());
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

static int setup(void **state)
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
	assert_int_equal(open_engine(rig, DEPTH, NULL, 1), 0);
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
	if (rig->direct_fd >= 0)
		close(rig->direct_fd);
	munmap(rig->mem, FILE_BYTES);
	free(rig->want);
	free(rig);
	return 0;
}

static void commit(struct rig *rig)
{
	for (unsigned i = 0; sfs_aio_commit(&rig->aio); i++)
		assert_true(i < 2 * DEPTH);
}

static void reap_into(struct rig *rig, struct sfs_io **ios, unsigned n)
{
	for (unsigned got = 0; got < n;) {
		unsigned now = sfs_aio_reap(&rig->aio, ios + got, n - got);

		if (now == 0) {
			commit(rig);
			sched_yield();
		}
		got += now;
	}
}

/* One I/O from beginning to end. */
static int64_t run(struct rig *rig, struct sfs_io *io)
{
	struct sfs_io *back = NULL;

	assert_int_equal(sfs_aio_queue(&rig->aio, io), 0);
	reap_into(rig, &back, 1);
	assert_ptr_equal(back, io);
	assert_int_equal(rig->aio.in_flight, 0);
	return io->res;
}

/* Cuts @len bytes at @mem into random segments of multiples of @unit. */
static unsigned segment(struct rig *rig, struct iovec *iov, uint8_t *mem, unsigned len, unsigned unit)
{
	unsigned cnt = 0;

	while (len) {
		unsigned n = cnt == SEGS_MAX - 1 ? len : unit * (1 + below(rig, len / unit));

		iov[cnt++] = (struct iovec){mem, n};
		mem += n;
		len -= n;
	}
	return cnt;
}

/* Random I/O, up to DEPTH at once on parts of the file that do not overlap, compared with what the file
 * should hold. */
static void random_io(struct rig *rig, int fd, unsigned flags, unsigned unit)
{
	unsigned part = FILE_BYTES / DEPTH;

	for (unsigned round = 0; round < 60; round++) {
		struct iovec iov[DEPTH][SEGS_MAX];
		struct sfs_io ios[DEPTH], *back[DEPTH];
		unsigned n = 1 + below(rig, DEPTH);

		for (unsigned i = 0; i < n; i++) {
			unsigned len = unit * (1 + below(rig, part / unit));
			unsigned offset = i * part + unit * below(rig, (part - len) / unit + 1);
			uint8_t *mem = rig->mem + i * part;

			ios[i] = (struct sfs_io){.kind = below(rig, 2) ? SFS_IO_READV : SFS_IO_WRITEV,
						 .flags = (uint8_t)flags,
						 .fd = fd,
						 .iov = iov[i],
						 .offset = offset,
						 .res = len};
			if (ios[i].kind == SFS_IO_WRITEV)
				for (unsigned k = 0; k < len; k++)
					mem[k] = rig->want[offset + k] = (uint8_t)(round + offset + k);
			else
				memset(mem, 0xee, len);
			ios[i].iovcnt = segment(rig, iov[i], mem, len, unit);
			ios[i].priv[0] = 0;
			assert_int_equal(sfs_aio_queue(&rig->aio, &ios[i]), 0);
		}
		commit(rig);
		reap_into(rig, back, n);
		for (unsigned i = 0; i < n; i++) {
			size_t len = sfs_iov_bytes(back[i]->iov, back[i]->iovcnt);

			assert_int_equal(back[i]->res, len);
			assert_memory_equal(back[i]->iov->iov_base, rig->want + back[i]->offset, len);
		}
	}
	assert_int_equal(rig->aio.in_flight, 0);
	assert_int_equal(pread(rig->fd, rig->mem, FILE_BYTES, 0), FILE_BYTES);
	assert_memory_equal(rig->mem, rig->want, FILE_BYTES);
}

static void buffered_data_goes_where_it_should(void **state)
{
	struct rig *rig = *state;

	random_io(rig, rig->fd, 0, 1);
}

static void direct_data_goes_where_it_should(void **state)
{
	struct rig *rig = *state;

	if (rig->direct_fd < 0) {
		print_message("no O_DIRECT on this filesystem\n");
		skip();
	}
	random_io(rig, rig->direct_fd, SFS_IO_F_DIRECT, BLOCK);
}

static void a_full_engine_delays_and_goes_on(void **state)
{
	struct rig *rig = *state;
	struct sfs_io ios[DEPTH + 1], *back[DEPTH];
	struct iovec iov = {rig->mem, 1};

	for (unsigned i = 0; i <= DEPTH; i++)
		ios[i] = (struct sfs_io){.fd = rig->fd, .iov = &iov, .iovcnt = 1, .offset = i};
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < DEPTH; i++)
			assert_int_equal(sfs_aio_queue(&rig->aio, &ios[i]), 0);
		assert_int_equal(sfs_aio_queue(&rig->aio, &ios[DEPTH]), -EAGAIN);
		sfs_aio_commit(&rig->aio);
		assert_int_equal(sfs_aio_queue(&rig->aio, &ios[DEPTH]), -EAGAIN);
		reap_into(rig, back, 1); /* one at a time leaves the rest where it is */
		assert_int_equal(sfs_aio_queue(&rig->aio, &ios[DEPTH]), 0);
		reap_into(rig, back, DEPTH);
		assert_int_equal(rig->aio.in_flight, 0);
	}
}

static void errors_come_back_as_results(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = {rig->mem, 100}, bad = {(void *)(uintptr_t)8, 100};
	int reader = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	for (unsigned flags = 0; flags <= SFS_IO_F_DIRECT; flags++) {
		struct sfs_io closed = {.flags = (uint8_t)flags, .fd = 1 << 20, .iov = &iov, .iovcnt = 1};
		struct sfs_io write = {.kind = SFS_IO_WRITEV, .fd = reader, .iov = &iov, .iovcnt = 1};
		struct sfs_io fault = {.fd = rig->fd, .iov = &bad, .iovcnt = 1};
		struct sfs_io nowhere = {
		    .flags = (uint8_t)flags, .fd = rig->fd, .iov = &iov, .iovcnt = 1, .offset = UINT64_MAX};

		assert_int_equal(run(rig, &closed), -EBADF);
		assert_int_equal(run(rig, &write), -EBADF);
		assert_int_equal(run(rig, &fault), -EFAULT);
		assert_int_equal(run(rig, &nowhere), -EINVAL);
	}
	assert_int_equal(lseek(rig->fd, 0, SEEK_CUR), 0); /* nobody used the file's position */
	close(reader);
}

/* The first I/O of a batch cannot even be submitted, the others are not hurt. */
static void one_bad_io_spoils_no_batch(void **state)
{
	struct rig *rig = *state;
	int fd = rig->direct_fd >= 0 ? rig->direct_fd : rig->fd;
	struct sfs_io ios[DEPTH], *back[DEPTH];
	unsigned good = 0, bad = 0;

	for (unsigned i = 0; i < DEPTH; i++) {
		static struct iovec iov[DEPTH];

		iov[i] = (struct iovec){rig->mem + i * BLOCK, BLOCK};
		ios[i] = (struct sfs_io){.flags = SFS_IO_F_DIRECT,
					 .fd = i % 3 == 0 ? 1 << 20 : fd,
					 .iov = &iov[i],
					 .iovcnt = 1,
					 .offset = i * BLOCK};
		assert_int_equal(sfs_aio_queue(&rig->aio, &ios[i]), 0);
	}
	reap_into(rig, back, DEPTH);
	for (unsigned i = 0; i < DEPTH; i++) {
		if (back[i]->fd == fd) {
			assert_int_equal(back[i]->res, BLOCK);
			assert_memory_equal(back[i]->iov->iov_base, rig->want + back[i]->offset, BLOCK);
			good++;
		} else {
			assert_int_equal(back[i]->res, -EBADF);
			bad++;
		}
	}
	assert_int_equal(good, 5);
	assert_int_equal(bad, 3);
}

static void the_end_of_a_file_is_short_then_nothing(void **state)
{
	struct rig *rig = *state;
	struct iovec iov[2] = {{rig->mem, 300}, {rig->mem + 300, 300}};
	struct sfs_io io = {.fd = rig->fd, .iov = iov, .iovcnt = 2, .offset = FILE_BYTES - 400};

	assert_int_equal(run(rig, &io), 400);
	assert_memory_equal(rig->mem, rig->want + FILE_BYTES - 400, 400);
	io.offset = FILE_BYTES;
	assert_int_equal(run(rig, &io), 0);
	io.iovcnt = 0;
	io.offset = 0;
	assert_int_equal(run(rig, &io), 0);
}

static void writes_obey_their_flags(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = {rig->want, 100};
	struct sfs_io io = {.kind = SFS_IO_WRITEV,
			    .fd = rig->fd,
			    .rw_flags = RWF_APPEND | RWF_DSYNC,
			    .iov = &iov,
			    .iovcnt = 1};
	struct stat st;

	assert_int_equal(run(rig, &io), 100);
	assert_int_equal(fstat(rig->fd, &st), 0);
	assert_int_equal(st.st_size, FILE_BYTES + 100);
}

/* After a write that io_uring cannot do without blocking. */
static void kernel_workers_stay_on_their_cpus(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = {rig->want, 100};
	struct sfs_io io = {
	    .kind = SFS_IO_WRITEV, .fd = rig->fd, .rw_flags = RWF_DSYNC, .iov = &iov, .iovcnt = 1};
	DIR *dir = opendir("/proc/self/task");
	char path[300], name[32], want[32];
	struct dirent *de;
	cpu_set_t set;

	assert_non_null(dir);
	assert_int_equal(run(rig, &io), 100);
	snprintf(want, sizeof(want), "iou-wrk-%d\n", gettid());
	while ((de = readdir(dir))) {
		FILE *comm;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", de->d_name);
		comm = fopen(path, "re");
		if (!comm)
			continue;
		if (fgets(name, sizeof(name), comm) && strcmp(name, want) == 0 &&
		    sched_getaffinity(atoi(de->d_name), sizeof(set), &set) == 0) {
			assert_int_equal(CPU_COUNT(&set), 1);
			assert_true(CPU_ISSET(iowq_cpu(), &set));
		}
		fclose(comm);
	}
	closedir(dir);
}

static void readiness_is_seen_without_reaping(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = {rig->mem, BLOCK};
	struct sfs_io io = {.fd = rig->fd, .iov = &iov, .iovcnt = 1}, *back;

	assert_false(sfs_aio_ready(&rig->aio));
	assert_int_equal(sfs_aio_queue(&rig->aio, &io), 0);
	commit(rig);
	while (!sfs_aio_ready(&rig->aio))
		sched_yield();
	reap_into(rig, &back, 1);
	assert_int_equal(io.res, BLOCK);
	assert_false(sfs_aio_ready(&rig->aio));
}

/* A reactor that sleeps on nothing but what the engine gives it, as the daemon's do. */
struct sleeper {
	struct sfs_poller poller;
	struct rig *rig;
	struct sfs_io io;
	struct iovec iov;
	unsigned left;
	bool busy, failed;
	atomic_bool done;
};

static unsigned sleeper_poll(struct sfs_poller *poller, uint64_t now_ns)
{
	struct sleeper *s = SFS_CONTAINER_OF(poller, struct sleeper, poller);
	struct sfs_io *io;

	if (sfs_aio_reap(&s->rig->aio, &io, 1)) {
		s->busy = false;
		if (io->res != BLOCK)
			s->failed = true;
	}
	if (!s->busy && s->left) {
		s->left--;
		s->busy = true;
		s->io.offset = s->left % (FILE_BYTES / BLOCK) * BLOCK;
		if (sfs_aio_queue(&s->rig->aio, &s->io))
			s->failed = true;
		sfs_aio_commit(&s->rig->aio);
		return 1;
	}
	if (sfs_aio_commit(&s->rig->aio))
		return 1;
	if (!s->busy)
		atomic_store(&s->done, true);
	return 0;
}

static bool sleeper_arm(struct sfs_poller *poller)
{
	struct sleeper *s = SFS_CONTAINER_OF(poller, struct sleeper, poller);

	return sfs_aio_ready(&s->rig->aio);
}

static void completions_wake_a_sleeping_reactor(void **state)
{
	static const struct sfs_poller_ops ops = {.poll = sleeper_poll, .arm = sleeper_arm};
	struct sfs_reactor_opts opts = {.name = "t", .cpu = -1, .idle = SFS_IDLE_ADAPTIVE};
	struct rig *rig = *state;
	bool direct = rig->direct_fd >= 0;
	struct sleeper s = {.poller.ops = &ops, .rig = rig, .iov = {rig->mem, BLOCK}, .left = 3000};
	struct sfs_reactor_stats stats;
	struct sfs_reactor *r;
	int fd;

	s.io = (struct sfs_io){.flags = direct ? SFS_IO_F_DIRECT : 0,
			       .fd = direct ? rig->direct_fd : rig->fd,
			       .iov = &s.iov,
			       .iovcnt = 1};
	sfs_aio_close(&rig->aio);
	assert_int_equal(sfs_reactor_create(&opts, &r), 0);
	assert_int_equal(open_engine(rig, DEPTH, r, 1), 0);
	fd = sfs_aio_fd(&rig->aio);
	if (fd >= 0)
		assert_int_equal(sfs_reactor_fd_add(r, fd), 0);
	sfs_reactor_add(r, &s.poller);
	assert_int_equal(sfs_reactor_start(r), 0);
	while (!atomic_load(&s.done))
		sched_yield();
	assert_int_equal(sfs_reactor_stop(r, 60 * SFS_NS_PER_S), 0);
	sfs_reactor_stats_get(r, &stats);
	if (rig->ops != &sfs_aio_sim) /* it has no completion to wait for: it wants to be asked */
		assert_true(stats.sleeps > 0);
	assert_false(s.failed);
	sfs_aio_close(&rig->aio);
	/* The reactor may go only when no worker can wake it any more. */
	sfs_workers_client_destroy(rig->client);
	assert_int_equal(sfs_workers_destroy(rig->wk, UINT64_MAX), 0);
	sfs_reactor_destroy(r);

	assert_int_equal(sfs_workers_create(&(struct sfs_workers_opts){.count = 1}, &rig->wk), 0);
	rig->client = sfs_workers_client_create(rig->wk, 1);
	assert_int_equal(open_engine(rig, DEPTH, NULL, 1), 0); /* for teardown */
}

/* The descriptor itself is never read. */
static void await_edge(int epfd)
{
	struct epoll_event ev;

	while (epoll_wait(epfd, &ev, 1, -1) < 0)
		assert_int_equal(errno, EINTR); /* cooperative task work interrupts, and then signals */
}

static void each_completion_is_an_edge(void **state)
{
	struct rig *rig = *state;
	int fd = sfs_aio_fd(&rig->aio), epfd = epoll_create1(EPOLL_CLOEXEC);
	bool direct = rig->direct_fd >= 0;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	struct iovec iov = {rig->mem, BLOCK};
	struct sfs_io io = {.flags = direct ? SFS_IO_F_DIRECT : 0,
			    .fd = direct ? rig->direct_fd : rig->fd,
			    .iov = &iov,
			    .iovcnt = 1};
	struct sfs_io *back;

	assert_true(epfd >= 0);
	/* Where there is no descriptor, and for buffered I/O of libaio, the reactor is woken: see below. */
	if (fd >= 0)
		assert_int_equal(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev), 0);
	for (unsigned i = 0; i < 200 && fd >= 0 && direct && !kernel.refuse_enable; i++) {
		assert_int_equal(sfs_aio_queue(&rig->aio, &io), 0);
		commit(rig);
		while (sfs_aio_commit(&rig->aio), sfs_aio_reap(&rig->aio, &back, 1) == 0)
			if (!sfs_aio_ready(&rig->aio))
				await_edge(epfd);
		assert_int_equal(io.res, BLOCK);
	}
	close(epfd);
}

/* A pipe without data: the call that waits for it would wait for ever. (preadv2() says that pipes have no
 * offsets.) */
static void nothing_blocks_and_nothing_is_asked_for_in_vain(void **state)
{
	struct rig *rig = *state;
	char data = 'x', got = 0;
	struct iovec iov = {&got, 1}, iov2 = {rig->mem, BLOCK};
	struct sfs_io slow = {.iov = &iov, .iovcnt = 1}, quick = {.fd = rig->fd, .iov = &iov2, .iovcnt = 1},
		      *back;
	int p[2];

	assert_int_equal(pipe(p), 0);
	slow.fd = p[0];
	assert_int_equal(write(p[1], &data, rig->ops == &sfs_aio_sim), rig->ops == &sfs_aio_sim);
	assert_int_equal(sfs_aio_queue(&rig->aio, &slow), 0);
	assert_int_equal(sfs_aio_queue(&rig->aio, &quick), 0);
	commit(rig);
	if (rig->ops == &sfs_aio_uring && !kernel.refuse_enable) {
		reap_into(rig, &back, 1);
		assert_ptr_equal(back, &quick);
		assert_int_equal(quick.res, BLOCK);
		kernel.gets = kernel.submits = 0;
		for (unsigned i = 0; i < 1000; i++) {
			assert_int_equal(sfs_aio_reap(&rig->aio, &back, 1), 0);
			assert_int_equal(sfs_aio_commit(&rig->aio), 0);
		}
		assert_int_equal(kernel.gets + kernel.submits, 0);
		assert_int_equal(write(p[1], &data, 1), 1);
		reap_into(rig, &back, 1);
		assert_int_equal(slow.res, 1);
	} else {
		struct sfs_io *both[2];

		reap_into(rig, both, 2);
		assert_int_equal(quick.res, BLOCK);
		assert_int_equal(slow.res, -ESPIPE);
	}
	close(p[0]);
	close(p[1]);
}

/* Asleep while several are in flight: collecting one of them must not swallow the signal of the next. */
static void a_reap_hides_no_later_completion(void **state)
{
	struct rig *rig = *state;
	int fd = sfs_aio_fd(&rig->aio), epfd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	struct sfs_io ios[DEPTH], *back;
	struct iovec iov = {rig->mem, 1};
	int p[DEPTH][2];

	assert_true(epfd >= 0);
	for (unsigned i = 0; i < DEPTH; i++) {
		assert_int_equal(pipe(p[i]), 0);
		ios[i] = (struct sfs_io){.fd = p[i][0], .iov = &iov, .iovcnt = 1};
		assert_int_equal(sfs_aio_queue(&rig->aio, &ios[i]), 0);
	}
	commit(rig);
	if (rig->ops == &sfs_aio_uring && !kernel.refuse_enable) { /* to the others a pipe is an error */
		assert_int_equal(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev), 0);
		for (unsigned i = 0; i < DEPTH; i++) {
			assert_int_equal(sfs_aio_reap(&rig->aio, &back, 1), 0);
			assert_false(sfs_aio_ready(&rig->aio));
			assert_int_equal(write(p[i][1], "x", 1), 1);
			await_edge(epfd);
			while (sfs_aio_commit(&rig->aio), sfs_aio_reap(&rig->aio, &back, 1) == 0)
				if (!sfs_aio_ready(&rig->aio))
					await_edge(epfd);
			assert_ptr_equal(back, &ios[i]);
			/* What is left of earlier edges: from here on only new ones end a sleep. */
			while (epoll_wait(epfd, &ev, 1, 0) != 0)
				;
		}
	} else {
		for (unsigned i = 0; i < DEPTH; i++)
			assert_int_equal(write(p[i][1], "x", 1), 1);
		for (unsigned i = 0; i < DEPTH; i++)
			reap_into(rig, &back, 1);
	}
	for (unsigned i = 0; i < DEPTH; i++) {
		close(p[i][0]);
		close(p[i][1]);
	}
	close(epfd);
}

/* What the kernel would not wait for is done again where waiting is allowed. */
static void try_again_is_no_answer(void **state)
{
	struct rig *rig = *state;
	char got;
	struct iovec iov = {&got, 1};
	struct sfs_io io = {.rw_flags = RWF_NOWAIT, .iov = &iov, .iovcnt = 1};
	int p[2];

	assert_int_equal(pipe(p), 0);
	io.fd = p[0];
	assert_int_equal(run(rig, &io), -ESPIPE); /* preadv2()'s answer, which never tries */
	close(p[0]);
	close(p[1]);
}

static void completions_are_collected_without_system_calls(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = {rig->mem, BLOCK};
	struct sfs_io io = {.flags = SFS_IO_F_DIRECT, .fd = rig->direct_fd, .iov = &iov, .iovcnt = 1};

	kernel.gets = 0;
	for (unsigned i = 0; i < 50 && rig->direct_fd >= 0; i++)
		assert_int_equal(run(rig, &io), BLOCK);
	if (rig->ops == &sfs_aio_libaio && !kernel.other_ring)
		assert_int_equal(kernel.gets, 0);
	if (rig->ops == &sfs_aio_uring) /* one at most for each that the kernel announces */
		assert_in_range(kernel.gets, 0, 50);
}

static void bad_options_are_refused(void **state)
{
	struct rig *rig = *state;
	struct sfs_aio_opts opts = {.depth = 0, .workers = rig->client};
	struct sfs_aio aio;

	assert_int_equal(sfs_aio_open(&aio, rig->ops, &opts), -EINVAL);
	opts.depth = 1;
	opts.workers = NULL;
	if (rig->ops != &sfs_aio_sim)
		assert_int_equal(sfs_aio_open(&aio, rig->ops, &opts), -EINVAL);
	opts.workers = rig->client;
	opts.iowq_cpus = "none";
	if (rig->ops == &sfs_aio_uring)
		assert_int_equal(sfs_aio_open(&aio, rig->ops, &opts), -EINVAL);
}

/* Registers @fn for the engine, which the fixtures find in *state. */
#define TEST(fn, engine)                                                                                     \
	{                                                                                                    \
#fn, fn, setup, teardown, (void *)(uintptr_t)(engine)                                        \
	}

static int run_here(const struct sfs_aio_ops *ops, const char *title, struct kernel with)
{
	const struct CMUnitTest tests[] = {
	    TEST(buffered_data_goes_where_it_should, ops),
	    TEST(direct_data_goes_where_it_should, ops),
	    TEST(a_full_engine_delays_and_goes_on, ops),
	    TEST(errors_come_back_as_results, ops),
	    TEST(one_bad_io_spoils_no_batch, ops),
	    TEST(the_end_of_a_file_is_short_then_nothing, ops),
	    TEST(writes_obey_their_flags, ops),
	    TEST(kernel_workers_stay_on_their_cpus, ops),
	    TEST(readiness_is_seen_without_reaping, ops),
	    TEST(each_completion_is_an_edge, ops),
	    TEST(a_reap_hides_no_later_completion, ops),
	    TEST(completions_wake_a_sleeping_reactor, ops),
	    TEST(nothing_blocks_and_nothing_is_asked_for_in_vain, ops),
	    TEST(try_again_is_no_answer, ops),
	    TEST(completions_are_collected_without_system_calls, ops),
	    TEST(bad_options_are_refused, ops),
	};
	int rc;

	kernel = with;
	rc = sfs_aio_probe(ops);
	if (rc) {
		printf("engine %s: SKIPPED: %s\n", title, strerror(-rc));
		return 0;
	}
	return cmocka_run_group_tests_name(title, tests, NULL, NULL);
}

/* In a process of its own: what an engine keeps for its next instance knows the kernel that it came from. */
static int run_engine(const struct sfs_aio_ops *ops, const char *title, struct kernel with)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		exit(run_here(ops, title, with));
	return pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}

int main(void)
{
	const unsigned defer = IORING_SETUP_DEFER_TASKRUN, coop = IORING_SETUP_COOP_TASKRUN;
	int rc = 0;

	rc |= run_engine(&sfs_aio_uring, "io_uring", (struct kernel){0});
	rc |= run_engine(&sfs_aio_uring, "io_uring, cooperative", (struct kernel){.refuse_setup = defer});
	rc |= run_engine(&sfs_aio_uring, "io_uring, plain", (struct kernel){.refuse_setup = defer | coop});
	rc |= run_engine(&sfs_aio_uring, "io_uring, refused late", (struct kernel){.refuse_enable = true});
	rc |= run_engine(&sfs_aio_uring, "io_uring, short of memory", (struct kernel){.refuse_submit = true});
	rc |= run_engine(&sfs_aio_libaio, "libaio", (struct kernel){0});
	rc |= run_engine(&sfs_aio_libaio, "libaio, unknown ring", (struct kernel){.other_ring = true});
	rc |= run_engine(&sfs_aio_libaio, "libaio, short of memory", (struct kernel){.refuse_submit = true});
	rc |= run_engine(&sfs_aio_workers, "workers", (struct kernel){0});
	rc |= run_engine(&sfs_aio_sim, "sim", (struct kernel){0});
	return rc;
}
