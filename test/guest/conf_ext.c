/* SPDX-License-Identifier: BSD-3-Clause */
/* What newer kernels ask for: nameless files, birth times, inode flags; file handles; and locks that wait. */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void ext_tmpfile(void)
{
	char path[64];
	int fd = open(".", O_TMPFILE | O_RDWR, 0640);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		conf_skip("no O_TMPFILE");
	OK(fd);
	conf_write_all(fd, "content", 7, 0);
	struct stat st;
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	EQ(st.st_mode, S_IFREG | 0640);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	OK(close(fd));
	conf_expect_file("named", "content", 7);
}

static void ext_tmpfile_exclusive(void)
{
	char path[64];
	int fd = open(".", O_TMPFILE | O_EXCL | O_RDWR, 0600);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		conf_skip("no O_TMPFILE");
	OK(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	FAILS(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	OK(close(fd));
}

static void ext_birth_time(void)
{
	struct statx a, b;

	conf_write_file("f", "x", 1);
	OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &a));
	if (!(a.stx_mask & STATX_BTIME))
		conf_skip("no birth times");
	CHECK(a.stx_btime.tv_sec > 0);
	OK(chmod("f", 0600));
	conf_write_file("f", "longer", 6);
	OK(rename("f", "g"));
	OK(statx(AT_FDCWD, "g", AT_STATX_FORCE_SYNC, STATX_BASIC_STATS | STATX_BTIME, &b));
	EQ(a.stx_btime.tv_sec, b.stx_btime.tv_sec);
	EQ(a.stx_btime.tv_nsec, b.stx_btime.tv_nsec);
	EQ(b.stx_size, 6);
}

static void ext_flags(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), flags, again;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0) {
		CHECK(errno == ENOTTY || errno == EOPNOTSUPP || errno == ENOSYS);
		conf_skip("no inode flags");
	}
	flags |= FS_NOATIME_FL;
	if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
		conf_skip("flags are not to be set here");
	OK(ioctl(fd, FS_IOC_GETFLAGS, &again));
	CHECK(again & FS_NOATIME_FL);
	OK(close(fd));
}

static void ext_fsxattr(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), flags;
	struct fsxattr attr, again;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0) {
		CHECK(errno == ENOTTY || errno == EOPNOTSUPP || errno == ENOSYS);
		conf_skip("no such attributes");
	}
	attr.fsx_xflags |= FS_XFLAG_NOATIME;
	if (ioctl(fd, FS_IOC_FSSETXATTR, &attr) < 0)
		conf_skip("they are not to be set here");
	OK(ioctl(fd, FS_IOC_FSGETXATTR, &again));
	CHECK(again.fsx_xflags & FS_XFLAG_NOATIME);
	OK(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	CHECK(flags & FS_NOATIME_FL);
	attr.fsx_xflags &= ~(__u32)FS_XFLAG_NOATIME;
	OK(ioctl(fd, FS_IOC_FSSETXATTR, &attr));
	OK(ioctl(fd, FS_IOC_FSGETXATTR, &again));
	CHECK(!(again.fsx_xflags & FS_XFLAG_NOATIME));
	OK(close(fd));
}

static void ext_handle_expect(int dir, struct file_handle *handle, const char *data, size_t size_bytes)
{
	char found[16];
	int fd = OK(open_by_handle_at(dir, handle, O_RDONLY));

	EQ(pread(fd, found, sizeof(found), 0), size_bytes);
	CHECK(memcmp(found, data, size_bytes) == 0);
	OK(close(fd));
}

/* A handle means the file, whatever its name. It is held: a guest's kernel knows no handle of what it has forgotten. */
static void ext_file_handle(void)
{
	struct file_handle *handle = conf_alloc(sizeof(*handle) + MAX_HANDLE_SZ);
	int dir = OK(open(".", O_RDONLY | O_DIRECTORY)), mount, fd;

	conf_need_root();
	conf_write_file("f", "first", 5);
	int held = OK(open("f", O_PATH));
	handle->handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(AT_FDCWD, "f", handle, &mount, 0) < 0) {
		CHECK(errno == EOPNOTSUPP || errno == EPERM);
		conf_skip("no file handles here");
	}
	fd = open_by_handle_at(dir, handle, O_RDONLY);
	if (fd < 0 && errno == EPERM)
		conf_skip("file handles are not to be opened by this root");
	OK(fd);
	OK(close(fd));
	ext_handle_expect(dir, handle, "first", 5);
	OK(rename("f", "g"));
	conf_write_file("f", "other", 5);
	ext_handle_expect(dir, handle, "first", 5);
	OK(unlink("g"));
	OK(close(held));
	FAILS(ESTALE, open_by_handle_at(dir, handle, O_RDONLY));
	OK(close(dir));
	free(handle);
}

static void ext_ioctl_unknown(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), value = 0;

	FAILS(ENOTTY, ioctl(fd, _IOWR('#', 99, int), &value));
	OK(close(fd));
}

/* --- waiting --- */

static void ext_lock(int fd, int cmd, short type, off_t start, off_t length)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	OK(fcntl(fd, cmd, &lock));
}

/* More processes wait than any pool has threads; each hands on to the next. */
static void ext_lock_chain(void)
{
	pid_t pids[CONF_WAITERS_MAX];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), ready[2];
	char byte = 'x';

	conf_pipe(ready);
	ext_lock(fd, F_SETLK, F_WRLCK, 0, 0);
	for (unsigned int i = 0; i < conf_waiters; i++) {
		pids[i] = conf_fork();
		if (pids[i] == 0) {
			int own = OK(open("f", O_RDWR));

			conf_signal(ready[1]);
			ext_lock(own, F_SETLKW, F_WRLCK, 0, 0);
			conf_write_all(own, &byte, 1, lseek(own, 0, SEEK_END));
			ext_lock(own, F_SETLK, F_UNLCK, 0, 0);
			_exit(0);
		}
	}
	for (unsigned int i = 0; i < conf_waiters; i++)
		conf_await(ready[0]);
	/* Other work goes on meanwhile. */
	conf_write_file("other", "data", 4);
	conf_expect_file("other", "data", 4);
	ext_lock(fd, F_SETLK, F_UNLCK, 0, 0);
	for (unsigned int i = 0; i < conf_waiters; i++)
		conf_join(pids[i]);
	struct stat st = conf_lstat("f");
	EQ(st.st_size, conf_waiters);
	OK(close(fd));
}

/* A holder that is killed lets go. */
static void ext_lock_of_killed(void)
{
	int held[2], fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	conf_pipe(held);
	pid_t pid = conf_fork();
	if (pid == 0) {
		int own = OK(open("f", O_RDWR));

		ext_lock(own, F_SETLK, F_WRLCK, 0, 10);
		OK(flock(own, LOCK_EX));
		conf_signal(held[1]);
		pause();
		_exit(0);
	}
	conf_await(held[0]);
	FAILS(EWOULDBLOCK, flock(fd, LOCK_SH | LOCK_NB));
	OK(kill(pid, SIGKILL));
	ext_lock(fd, F_SETLKW, F_WRLCK, 0, 10);
	OK(flock(fd, LOCK_EX));
	OK(close(fd));
}

/* An owner with two descriptors: locked for reading by the one, then for writing by the other. */
static void ext_lock_two_descriptors(void)
{
	conf_write_file("f", "0123456789", 10);
	int reader = OK(open("f", O_RDONLY)), writer = OK(open("f", O_RDWR));

	ext_lock(reader, F_SETLK, F_RDLCK, 0, 5);
	ext_lock(writer, F_SETLK, F_WRLCK, 5, 5);
	ext_lock(writer, F_SETLK, F_WRLCK, 0, 2);
	pid_t pid = conf_fork();
	if (pid == 0) {
		int own = OK(open("f", O_RDWR));
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 1};

		FAILS(EAGAIN, fcntl(own, F_SETLK, &lock));
		ext_lock(own, F_SETLK, F_RDLCK, 3, 1);
		_exit(0);
	}
	conf_join(pid);
	OK(close(reader));
	OK(close(writer));
}

const struct conf_case conf_ext_cases[] = {
    {"ext_tmpfile", ext_tmpfile},
    {"ext_tmpfile_exclusive", ext_tmpfile_exclusive},
    {"ext_birth_time", ext_birth_time},
    {"ext_flags", ext_flags},
    {"ext_fsxattr", ext_fsxattr},
    {"ext_file_handle", ext_file_handle},
    {"ext_ioctl_unknown", ext_ioctl_unknown},
    {"ext_lock_chain", ext_lock_chain},
    {"ext_lock_of_killed", ext_lock_of_killed},
    {"ext_lock_two_descriptors", ext_lock_two_descriptors},
    {NULL, NULL},
};
