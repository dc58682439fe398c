/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes and space: truncation, allocation, holes, figures of the filesystem. */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static void space_truncate(void)
{
	conf_write_file("f", "0123456789", 10);
	OK(truncate("f", 4));
	conf_expect_file("f", "0123", 4);
	OK(truncate("f", 8));
	conf_expect_file("f", "0123\0\0\0\0", 8);
	OK(truncate("f", 0));
	conf_expect_file("f", "", 0);
}

static void space_ftruncate(void)
{
	char data[9000], found[9000];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	conf_fill(data, sizeof(data), 7);
	conf_write_all(fd, data, sizeof(data), 0);
	OK(ftruncate(fd, 5000));
	EQ(pread(fd, found, sizeof(found), 0), 5000);
	OK(ftruncate(fd, 9000));
	conf_read_all(fd, found, sizeof(found), 0);
	CHECK(memcmp(found, data, 5000) == 0);
	for (size_t i = 5000; i < 9000; i++)
		EQ(found[i], 0);
	OK(close(fd));
}

static void space_truncate_errors(void)
{
	OK(mkdir("d", 0755));
	conf_write_file("f", "data", 4);
	FAILS(EISDIR, truncate("d", 0));
	FAILS(ENOENT, truncate("none", 0));
	FAILS(EINVAL, truncate("f", -1));
	FAILS(ENOTDIR, truncate("f/x", 0));
	conf_expect_file("f", "data", 4);
}

static void space_truncate_changes_times(void)
{
	struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

	conf_write_file("f", "data", 4);
	OK(utimensat(AT_FDCWD, "f", old, 0));
	OK(truncate("f", 2));
	CHECK(conf_lstat("f").st_mtime > 1000);
}

static int space_allocate(int fd, int mode, off_t at, off_t length)
{
	int rc = fallocate(fd, mode, at, length);

	if (rc < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		conf_skip("no fallocate of this kind here");
	return rc;
}

static void space_fallocate(void)
{
	char zeros[100] = {0}, found[100];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	OK(space_allocate(fd, 0, 0, 100000));
	EQ(conf_lstat("f").st_size, 100000);
	CHECK(conf_lstat("f").st_blocks * 512 >= 100000);
	conf_read_all(fd, found, sizeof(found), 99900);
	CHECK(memcmp(found, zeros, sizeof(zeros)) == 0);
	conf_write_all(fd, "kept", 4, 50000);
	OK(space_allocate(fd, 0, 0, 200000));
	conf_read_all(fd, found, 4, 50000);
	CHECK(memcmp(found, "kept", 4) == 0);
	FAILS(EINVAL, fallocate(fd, 0, 0, 0));
	OK(close(fd));
	fd = OK(open("f", O_RDONLY));
	FAILS(EBADF, fallocate(fd, 0, 0, 1));
	OK(close(fd));
}

static void space_fallocate_keep_size(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	conf_write_all(fd, "four", 4, 0);
	OK(space_allocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1000000));
	EQ(conf_lstat("f").st_size, 4);
	OK(close(fd));
	conf_expect_file("f", "four", 4);
}

static void space_punch_hole(void)
{
	char data[5 * 4096], found[sizeof(data)];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	conf_fill(data, sizeof(data), 8);
	conf_write_all(fd, data, sizeof(data), 0);
	OK(space_allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 9000));
	memset(data + 5000, 0, 9000);
	conf_read_all(fd, found, sizeof(found), 0);
	CHECK(memcmp(found, data, sizeof(data)) == 0);
	EQ(conf_lstat("f").st_size, sizeof(data));
	OK(close(fd));
}

/* A filesystem may know no holes but the one behind the end; it must never deny data. */
static void space_seek_data_hole(void)
{
	const off_t mib = 1024 * 1024;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	conf_write_all(fd, "start", 5, 0);
	conf_write_all(fd, "middle", 6, 4 * mib);
	OK(ftruncate(fd, 8 * mib));
	OK(fsync(fd));
	EQ(OK(lseek(fd, 0, SEEK_DATA)), 0);
	EQ(OK(lseek(fd, 4 * mib + 2, SEEK_DATA)), 4 * mib + 2);
	off_t data = OK(lseek(fd, mib, SEEK_DATA));
	CHECK(data >= mib && data <= 4 * mib);
	off_t hole = OK(lseek(fd, 0, SEEK_HOLE));
	CHECK(hole >= 5 && hole <= 8 * mib);
	CHECK(hole <= 4 * mib || hole == 8 * mib);
	FAILS(ENXIO, lseek(fd, 8 * mib, SEEK_DATA));
	FAILS(ENXIO, lseek(fd, 8 * mib, SEEK_HOLE));
	OK(close(fd));
}

static void space_seek(void)
{
	conf_write_file("f", "0123456789", 10);
	int fd = OK(open("f", O_RDWR));
	char byte;

	EQ(lseek(fd, -3, SEEK_END), 7);
	EQ(read(fd, &byte, 1), 1);
	EQ(byte, '7');
	EQ(lseek(fd, 1, SEEK_CUR), 9);
	EQ(lseek(fd, 100, SEEK_SET), 100);
	EQ(read(fd, &byte, 1), 0);
	FAILS(EINVAL, lseek(fd, -1, SEEK_SET));
	FAILS(EINVAL, lseek(fd, -11, SEEK_END));
	EQ(conf_lstat("f").st_size, 10);
	OK(close(fd));
}

static void space_size_limit(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	CHECK(ftruncate(fd, INT64_MAX) < 0 || conf_lstat("f").st_size == INT64_MAX);
	FAILS(EINVAL, pwrite(fd, "x", 1, -5));
	OK(close(fd));
}

static void space_statfs(void)
{
	struct statvfs by_path, by_fd;
	int fd = OK(open(".", O_RDONLY));

	OK(statvfs(".", &by_path));
	OK(fstatvfs(fd, &by_fd));
	CHECK(by_path.f_bsize > 0 && by_path.f_frsize > 0);
	CHECK(by_path.f_bfree <= by_path.f_blocks && by_path.f_bavail <= by_path.f_bfree);
	CHECK(by_path.f_namemax >= 255);
	EQ(by_path.f_blocks, by_fd.f_blocks);
	EQ(by_path.f_frsize, by_fd.f_frsize);
	OK(close(fd));
}

static void space_blocks_follow_data(void)
{
	char data[64 * 1024];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	conf_fill(data, sizeof(data), 1);
	conf_write_all(fd, data, sizeof(data), 0);
	OK(fsync(fd));
	CHECK(conf_lstat("f").st_blocks * 512 >= (blkcnt_t)sizeof(data));
	CHECK(conf_lstat("f").st_blksize > 0);
	OK(close(fd));
}

const struct conf_case conf_space_cases[] = {
    {"space_truncate", space_truncate},
    {"space_ftruncate", space_ftruncate},
    {"space_truncate_errors", space_truncate_errors},
    {"space_truncate_changes_times", space_truncate_changes_times},
    {"space_fallocate", space_fallocate},
    {"space_fallocate_keep_size", space_fallocate_keep_size},
    {"space_punch_hole", space_punch_hole},
    {"space_seek_data_hole", space_seek_data_hole},
    {"space_seek", space_seek},
    {"space_size_limit", space_size_limit},
    {"space_statfs", space_statfs},
    {"space_blocks_follow_data", space_blocks_follow_data},
    {NULL, NULL},
};
