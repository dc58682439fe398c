/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks between two processes of one guest: POSIX, open file description, flock. */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

static int lock_record(int fd, int cmd, short type, off_t start, off_t length)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	return fcntl(fd, cmd, &lock);
}

/* Who stands in the way of a write lock on this range: its type, or F_UNLCK. */
static short lock_test(int fd, off_t start, off_t length, pid_t *pid)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	OK(fcntl(fd, F_GETLK, &lock));
	*pid = lock.l_pid;
	return lock.l_type;
}

static void lock_posix(void)
{
	int held[2], done[2];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	pid_t owner;

	conf_pipe(held);
	conf_pipe(done);
	pid_t pid = conf_fork();
	if (pid == 0) {
		OK(lock_record(fd, F_SETLK, F_WRLCK, 10, 20));
		OK(lock_record(fd, F_SETLK, F_RDLCK, 100, 10));
		conf_signal(held[1]);
		conf_await(done[0]);
		_exit(0);
	}
	conf_await(held[0]);
	FAILS(EAGAIN, lock_record(fd, F_SETLK, F_WRLCK, 0, 11));
	FAILS(EAGAIN, lock_record(fd, F_SETLK, F_RDLCK, 29, 1));
	OK(lock_record(fd, F_SETLK, F_WRLCK, 30, 10));
	OK(lock_record(fd, F_SETLK, F_RDLCK, 100, 5));
	FAILS(EAGAIN, lock_record(fd, F_SETLK, F_WRLCK, 100, 5));
	EQ(lock_test(fd, 0, 100, &owner), F_WRLCK);
	EQ(owner, pid);
	EQ(lock_test(fd, 200, 10, &owner), F_UNLCK);
	conf_signal(done[1]);
	/* Granted when the other process ends. */
	OK(lock_record(fd, F_SETLKW, F_WRLCK, 0, 0));
	conf_join(pid);
	OK(close(fd));
}

static void lock_posix_closed_by_any_close(void)
{
	int held[2], done[2];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	conf_pipe(held);
	conf_pipe(done);
	pid_t pid = conf_fork();
	if (pid == 0) {
		OK(lock_record(fd, F_SETLK, F_WRLCK, 0, 0));
		OK(close(OK(open("f", O_RDONLY))));
		conf_signal(held[1]);
		conf_await(done[0]);
		_exit(0);
	}
	conf_await(held[0]);
	OK(lock_record(fd, F_SETLK, F_WRLCK, 0, 0));
	conf_signal(done[1]);
	conf_join(pid);
	OK(close(fd));
}

static void lock_posix_unlock(void)
{
	int held[2], go[2], freed[2];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	conf_pipe(held);
	conf_pipe(go);
	conf_pipe(freed);
	pid_t pid = conf_fork();
	if (pid == 0) {
		OK(lock_record(fd, F_SETLK, F_WRLCK, 0, 100));
		conf_signal(held[1]);
		conf_await(go[0]);
		OK(lock_record(fd, F_SETLK, F_UNLCK, 40, 20));
		conf_signal(freed[1]);
		conf_await(go[0]);
		_exit(0);
	}
	conf_await(held[0]);
	FAILS(EAGAIN, lock_record(fd, F_SETLK, F_WRLCK, 40, 20));
	conf_signal(go[1]);
	conf_await(freed[0]);
	OK(lock_record(fd, F_SETLK, F_WRLCK, 40, 20));
	FAILS(EAGAIN, lock_record(fd, F_SETLK, F_WRLCK, 39, 1));
	FAILS(EAGAIN, lock_record(fd, F_SETLK, F_WRLCK, 60, 1));
	conf_signal(go[1]);
	conf_join(pid);
	OK(close(fd));
}

static void lock_open_file_description(void)
{
	int a = OK(open("f", O_RDWR | O_CREAT, 0644));
	int b = OK(open("f", O_RDWR));
	int copy = OK(dup(a));

	OK(lock_record(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	FAILS(EAGAIN, lock_record(b, F_OFD_SETLK, F_WRLCK, 5, 10));
	OK(lock_record(copy, F_OFD_SETLK, F_WRLCK, 5, 10));
	OK(close(a));
	FAILS(EAGAIN, lock_record(b, F_OFD_SETLK, F_RDLCK, 0, 1));
	OK(close(copy));
	/* A network filesystem may hear of the close a moment later: wait for the lock. */
	OK(lock_record(b, F_OFD_SETLKW, F_WRLCK, 0, 0));
	OK(close(b));
}

static void lock_flock(void)
{
	int held[2], go[2];

	conf_write_file("f", "", 0);
	conf_pipe(held);
	conf_pipe(go);
	pid_t pid = conf_fork();
	if (pid == 0) {
		int own = OK(open("f", O_RDONLY));

		OK(flock(own, LOCK_EX));
		conf_signal(held[1]);
		conf_await(go[0]);
		OK(flock(own, LOCK_SH));
		conf_signal(held[1]);
		conf_await(go[0]);
		_exit(0);
	}
	int fd = OK(open("f", O_RDONLY));
	conf_await(held[0]);
	FAILS(EWOULDBLOCK, flock(fd, LOCK_EX | LOCK_NB));
	FAILS(EWOULDBLOCK, flock(fd, LOCK_SH | LOCK_NB));
	conf_signal(go[1]);
	conf_await(held[0]);
	OK(flock(fd, LOCK_SH | LOCK_NB));
	FAILS(EWOULDBLOCK, flock(fd, LOCK_EX | LOCK_NB));
	conf_signal(go[1]);
	OK(flock(fd, LOCK_EX));
	conf_join(pid);
	OK(flock(fd, LOCK_UN));
	OK(close(fd));
}

static void lock_flock_in_one_process(void)
{
	conf_write_file("f", "", 0);
	int a = OK(open("f", O_RDONLY));
	int b = OK(open("f", O_RDONLY));
	int copy = OK(dup(a));

	OK(flock(a, LOCK_EX));
	FAILS(EWOULDBLOCK, flock(b, LOCK_EX | LOCK_NB));
	OK(flock(copy, LOCK_EX | LOCK_NB));
	OK(close(a));
	FAILS(EWOULDBLOCK, flock(b, LOCK_EX | LOCK_NB));
	OK(close(copy));
	/* As above: it goes with a RELEASE that nobody waits for. */
	OK(flock(b, LOCK_EX));
	OK(close(b));
}

/* Each holds what the other one waits for: one of them is told, and the other one gets it all when that one lets go. */
static void lock_deadlock(void)
{
	int held[2], go[2];

	conf_write_file("a", "", 0);
	conf_write_file("b", "", 0);
	conf_pipe(held);
	conf_pipe(go);
	pid_t pid = conf_fork();
	int first = OK(open(pid ? "a" : "b", O_RDWR)), second = OK(open(pid ? "b" : "a", O_RDWR));
	OK(lock_record(first, F_SETLKW, F_WRLCK, 0, 10));
	if (pid) {
		conf_await(held[0]);
		conf_signal(go[1]);
	} else {
		conf_signal(held[1]);
		conf_await(go[0]);
	}
	if (lock_record(second, F_SETLKW, F_WRLCK, 5, 1) < 0) {
		EQ(errno, EDEADLK);
		OK(lock_record(first, F_SETLK, F_UNLCK, 0, 0));
		OK(lock_record(second, F_SETLKW, F_WRLCK, 5, 1));
	}
	OK(close(first));
	OK(close(second));
	if (pid == 0)
		_exit(0);
	conf_join(pid);
}

static void lock_counter_child(void)
{
	int fd = OK(open("counter", O_RDWR));

	for (int i = 0; i < 25; i++) {
		int value;

		OK(lock_record(fd, F_SETLKW, F_WRLCK, 0, sizeof(value)));
		conf_read_all(fd, &value, sizeof(value), 0);
		value++;
		conf_write_all(fd, &value, sizeof(value), 0);
		OK(lock_record(fd, F_SETLK, F_UNLCK, 0, sizeof(value)));
	}
	OK(close(fd));
}

static void lock_counter_in_processes(void)
{
	enum { processes = 4 };
	pid_t pids[processes];
	int value = 0;

	conf_write_file("counter", &value, sizeof(value));
	for (int i = 0; i < processes; i++) {
		pids[i] = conf_fork();
		if (pids[i] == 0) {
			lock_counter_child();
			_exit(0);
		}
	}
	for (int i = 0; i < processes; i++)
		conf_join(pids[i]);
	value = processes * 25;
	conf_expect_file("counter", &value, sizeof(value));
}

static void lock_modes(void)
{
	int reader = OK(open("f", O_RDONLY | O_CREAT, 0644));

	FAILS(EBADF, lock_record(reader, F_SETLK, F_WRLCK, 0, 1));
	OK(lock_record(reader, F_SETLK, F_RDLCK, 0, 1));
	FAILS(EINVAL, lock_record(reader, F_SETLK, F_RDLCK, -1, 1));
	OK(close(reader));
}

const struct conf_case conf_lock_cases[] = {
    {"lock_posix", lock_posix},
    {"lock_posix_closed_by_any_close", lock_posix_closed_by_any_close},
    {"lock_posix_unlock", lock_posix_unlock},
    {"lock_open_file_description", lock_open_file_description},
    {"lock_flock", lock_flock},
    {"lock_flock_in_one_process", lock_flock_in_one_process},
    {"lock_deadlock", lock_deadlock},
    {"lock_counter_in_processes", lock_counter_in_processes},
    {"lock_modes", lock_modes},
    {NULL, NULL},
};
