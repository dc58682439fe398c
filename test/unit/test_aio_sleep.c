/* SPDX-License-Identifier: BSD-3-Clause */
/* Completions wake who sleeps, whatever the engine and the kernel: none is missed. */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "aio_rig.h"
#include "sfs_base.h"

static void readiness_is_seen_without_reaping(void **state)
{
	struct rig *rig = *state;
	struct iovec iov = {rig->mem, BLOCK};
	struct sfs_io io = {.fd = rig->fd, .iov = &iov, .iovcnt = 1}, *back;

	assert_false(sfs_aio_ready(&rig->aio));
	assert_int_equal(sfs_aio_queue(&rig->aio, &io), 0);
	rig_commit(rig);
	while (!sfs_aio_ready(&rig->aio))
		sched_yield();
	rig_reap_into(rig, &back, 1);
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
	assert_int_equal(rig_open_engine(rig, DEPTH, r, 1), 0);
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
	assert_int_equal(rig_open_engine(rig, DEPTH, NULL, 1), 0); /* for teardown */
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
		rig_commit(rig);
		while (sfs_aio_commit(&rig->aio), sfs_aio_reap(&rig->aio, &back, 1) == 0)
			if (!sfs_aio_ready(&rig->aio))
				await_edge(epfd);
		assert_int_equal(io.res, BLOCK);
	}
	close(epfd);
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
	rig_commit(rig);
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
			rig_reap_into(rig, &back, 1);
	}
	for (unsigned i = 0; i < DEPTH; i++) {
		close(p[i][0]);
		close(p[i][1]);
	}
	close(epfd);
}

static int run(const struct sfs_aio_ops *ops, const char *title)
{
	const struct CMUnitTest tests[] = {
	    TEST(readiness_is_seen_without_reaping, ops),
	    TEST(each_completion_is_an_edge, ops),
	    TEST(a_reap_hides_no_later_completion, ops),
	    TEST(completions_wake_a_sleeping_reactor, ops),
	};

	return cmocka_run_group_tests_name(title, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run);
}
