/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONF_EXIT_FAIL 1
#define CONF_EXIT_SKIP 77

static _Noreturn void conf_end(int status)
{
	fflush(stdout);
	_exit(status);
}

unsigned int conf_waiters = 24;
unsigned int conf_entries = 5000;
bool conf_no_shared_mappings;

void conf_check(const char *file, int line, const char *text, bool holds)
{
	if (holds)
		return;
	printf("# %s:%d: not so: %s\n", file, line, text);
	conf_end(CONF_EXIT_FAIL);
}

void conf_eq(const char *file, int line, const char *text, long long a, long long b)
{
	if (a == b)
		return;
	printf("# %s:%d: not so: %s (%lld and %lld)\n", file, line, text, a, b);
	conf_end(CONF_EXIT_FAIL);
}

long conf_ok(const char *file, int line, const char *text, long rc)
{
	if (rc >= 0)
		return rc;
	printf("# %s:%d: %s: %s\n", file, line, text, strerror(errno));
	conf_end(CONF_EXIT_FAIL);
}

void conf_fails(const char *file, int line, const char *text, long rc, int err)
{
	if (rc == -1 && errno == err)
		return;
	printf("# %s:%d: %s: wanted %s, got %s\n", file, line, text, strerrorname_np(err),
	       rc == -1 ? strerrorname_np(errno) : "no error");
	conf_end(CONF_EXIT_FAIL);
}

void conf_skip(const char *reason)
{
	printf("# skip: %s\n", reason);
	conf_end(CONF_EXIT_SKIP);
}

pid_t conf_fork(void)
{
	fflush(stdout);
	return OK(fork());
}

void conf_join(pid_t pid)
{
	int status;

	OK(waitpid(pid, &status, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		conf_end(WEXITSTATUS(status));
	EQ(status, 0);
}

void conf_run(void (*fn)(void))
{
	pid_t pid = conf_fork();

	if (pid == 0) {
		fn();
		conf_end(0);
	}
	conf_join(pid);
}

void conf_run_as(uid_t uid, gid_t gid, void (*fn)(void))
{
	conf_need_root();
	pid_t pid = conf_fork();

	if (pid == 0) {
		OK(setgroups(0, NULL));
		OK(setresgid(gid, gid, gid));
		OK(setresuid(uid, uid, uid));
		fn();
		conf_end(0);
	}
	conf_join(pid);
}

void conf_need_root(void)
{
	if (geteuid() != 0)
		conf_skip("needs root");
}

void conf_need_kernel(unsigned int major, unsigned int minor)
{
	unsigned int is_major = 0, is_minor = 0;
	struct utsname name;

	OK(uname(&name));
	EQ(sscanf(name.release, "%u.%u", &is_major, &is_minor), 2);
	if (is_major < major || (is_major == major && is_minor < minor))
		conf_skip("needs a newer kernel");
}

void conf_pipe(int fds[2])
{
	OK(pipe2(fds, O_CLOEXEC));
}

void conf_signal(int fd)
{
	EQ(write(fd, "x", 1), 1);
}

void conf_await(int fd)
{
	char byte;

	EQ(read(fd, &byte, 1), 1);
}

void conf_write_all(int fd, const void *data, size_t size_bytes, off_t offset)
{
	const char *from = data;

	while (size_bytes > 0) {
		ssize_t done = OK(pwrite(fd, from, size_bytes, offset));

		CHECK(done > 0);
		from += done;
		offset += done;
		size_bytes -= (size_t)done;
	}
}

void conf_read_all(int fd, void *data, size_t size_bytes, off_t offset)
{
	char *to = data;

	while (size_bytes > 0) {
		ssize_t done = OK(pread(fd, to, size_bytes, offset));

		CHECK(done > 0);
		to += done;
		offset += done;
		size_bytes -= (size_t)done;
	}
}

void conf_write_file(const char *path, const void *data, size_t size_bytes)
{
	int fd = OK(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

	conf_write_all(fd, data, size_bytes, 0);
	OK(close(fd));
}

void conf_expect_file(const char *path, const void *data, size_t size_bytes)
{
	int fd = OK(open(path, O_RDONLY | O_CLOEXEC));
	char *found = conf_alloc(size_bytes + 1);

	EQ(lseek(fd, 0, SEEK_END), size_bytes);
	conf_read_all(fd, found, size_bytes, 0);
	EQ(pread(fd, found + size_bytes, 1, (off_t)size_bytes), 0);
	CHECK(memcmp(found, data, size_bytes) == 0);
	free(found);
	OK(close(fd));
}

void *conf_map_shared(int fd, size_t size_bytes, int prot)
{
	void *map = mmap(NULL, size_bytes, prot, MAP_SHARED, fd, 0);

	if (conf_no_shared_mappings) {
		conf_fails(__FILE__, __LINE__, "mmap of a shared mapping", map == MAP_FAILED ? -1 : 0,
			   ENODEV);
		conf_end(0);
	}
	OK(map == MAP_FAILED ? -1 : 0);
	return map;
}

struct stat conf_lstat(const char *path)
{
	struct stat st;

	OK(lstat(path, &st));
	return st;
}

void *conf_alloc(size_t size_bytes)
{
	void *memory = calloc(1, size_bytes);

	CHECK(memory != NULL);
	return memory;
}

void conf_fill(void *data, size_t size_bytes, unsigned int seed)
{
	unsigned char *bytes = data;

	for (size_t i = 0; i < size_bytes; i++)
		bytes[i] = (unsigned char)(((i + seed) * 2654435761u) >> 13);
}

uint32_t conf_random(uint32_t *state, uint32_t limit)
{
	uint32_t x = *state;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	*state = x;
	return x % limit;
}
