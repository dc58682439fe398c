/* SPDX-License-Identifier: BSD-3-Clause */
/* open, creat, close and what their flags mean. */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void open_create_excl(void)
{
	int fd = OK(open("new", O_RDWR | O_CREAT | O_EXCL, 0644));

	FAILS(EEXIST, open("new", O_RDWR | O_CREAT | O_EXCL, 0644));
	OK(symlink("nowhere", "link"));
	FAILS(EEXIST, open("link", O_RDWR | O_CREAT | O_EXCL, 0644));
	FAILS(ENOENT, access("nowhere", F_OK));
	OK(close(fd));
}

static void open_create_through_symlink(void)
{
	OK(symlink("target", "link"));
	OK(close(OK(open("link", O_WRONLY | O_CREAT, 0600))));
	CHECK(S_ISREG(conf_lstat("target").st_mode));
	CHECK(S_ISLNK(conf_lstat("link").st_mode));
}

static void open_existing_with_creat(void)
{
	conf_write_file("f", "data", 4);
	OK(chmod("f", 0640));
	OK(close(OK(open("f", O_WRONLY | O_CREAT, 0777))));
	EQ(conf_lstat("f").st_mode, S_IFREG | 0640);
	conf_expect_file("f", "data", 4);
}

static void open_truncate(void)
{
	conf_write_file("f", "some data", 9);
	int reader = OK(open("f", O_RDONLY));
	int fd = OK(open("f", O_WRONLY | O_TRUNC));
	char byte;

	EQ(conf_lstat("f").st_size, 0);
	EQ(pread(reader, &byte, 1, 0), 0);
	conf_write_all(fd, "new", 3, 0);
	conf_expect_file("f", "new", 3);
	OK(close(fd));
	OK(close(reader));
}

static void open_append(void)
{
	int a = OK(open("f", O_WRONLY | O_CREAT | O_APPEND, 0644));
	int b = OK(open("f", O_WRONLY | O_APPEND));

	EQ(write(a, "one ", 4), 4);
	EQ(write(b, "two ", 4), 4);
	EQ(lseek(a, 0, SEEK_SET), 0);
	EQ(write(a, "three", 5), 5);
	EQ(lseek(a, 0, SEEK_CUR), 13);
	conf_expect_file("f", "one two three", 13);
	OK(close(a));
	OK(close(b));
}

static void open_append_set_later(void)
{
	conf_write_file("f", "0123456789", 10);
	int fd = OK(open("f", O_RDWR));
	char text[4] = "";

	OK(fcntl(fd, F_SETFL, O_APPEND));
	EQ(write(fd, "end", 3), 3);
	OK(fcntl(fd, F_SETFL, 0));
	EQ(pwrite(fd, "X", 1, 0), 1);
	EQ(pread(fd, text, 3, 10), 3);
	CHECK(memcmp(text, "end", 3) == 0);
	conf_expect_file("f", "X123456789end", 13);
	OK(close(fd));
}

static void open_append_cleared_later(void)
{
	int fd = OK(open("f", O_WRONLY | O_CREAT | O_APPEND, 0644));

	EQ(write(fd, "0123456789", 10), 10);
	OK(fcntl(fd, F_SETFL, 0));
	EQ(pwrite(fd, "X", 1, 0), 1);
	EQ(lseek(fd, 5, SEEK_SET), 5);
	EQ(write(fd, "Y", 1), 1);
	OK(close(fd));
	conf_expect_file("f", "X1234Y6789", 10);
}

static void open_directory_flag(void)
{
	conf_write_file("f", "", 0);
	OK(mkdir("d", 0755));
	FAILS(ENOTDIR, open("f", O_RDONLY | O_DIRECTORY));
	OK(close(OK(open("d", O_RDONLY | O_DIRECTORY))));
	FAILS(EISDIR, open("d", O_WRONLY));
	FAILS(EISDIR, open("d", O_RDWR));
	FAILS(EISDIR, open("d", O_RDONLY | O_CREAT, 0644));
}

static void open_read_directory(void)
{
	char byte;
	int fd = OK(open(".", O_RDONLY | O_DIRECTORY));

	FAILS(EISDIR, read(fd, &byte, 1));
	FAILS(EBADF, write(fd, &byte, 1));
	OK(close(fd));
}

static void open_nofollow(void)
{
	conf_write_file("f", "", 0);
	OK(symlink("f", "link"));
	OK(close(OK(open("f", O_RDONLY | O_NOFOLLOW))));
	FAILS(ELOOP, open("link", O_RDONLY | O_NOFOLLOW));
}

static void open_missing(void)
{
	FAILS(ENOENT, open("none", O_RDONLY));
	FAILS(ENOENT, open("none/f", O_WRONLY | O_CREAT, 0644));
	FAILS(ENOENT, open("", O_RDONLY));
	OK(symlink("none", "dangling"));
	FAILS(ENOENT, open("dangling", O_RDONLY));
}

static void open_through_file(void)
{
	conf_write_file("f", "", 0);
	FAILS(ENOTDIR, open("f/x", O_RDONLY));
	FAILS(ENOTDIR, open("f/x", O_WRONLY | O_CREAT, 0644));
	FAILS(ENOTDIR, open("f/", O_RDONLY));
}

static void open_symlink_loop(void)
{
	OK(symlink("b", "a"));
	OK(symlink("a", "b"));
	FAILS(ELOOP, open("a", O_RDONLY));
	FAILS(ELOOP, open("a/f", O_RDONLY));
}

static void open_modes(void)
{
	char byte = 'x';
	int reader = OK(open("f", O_RDONLY | O_CREAT, 0644));
	int writer = OK(open("f", O_WRONLY));

	FAILS(EBADF, write(reader, &byte, 1));
	FAILS(EBADF, read(writer, &byte, 1));
	FAILS(EINVAL, ftruncate(reader, 0));
	EQ(write(writer, &byte, 1), 1);
	OK(close(reader));
	OK(close(writer));
}

static void open_mode_zero(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT | O_EXCL, 0));

	EQ(conf_lstat("f").st_mode, S_IFREG);
	conf_write_all(fd, "still", 5, 0);
	OK(close(fd));
	EQ(conf_lstat("f").st_size, 5);
}

static void open_umask(void)
{
	umask(027);
	OK(close(OK(open("f", O_WRONLY | O_CREAT, 0666))));
	OK(mkdir("d", 0777));
	OK(mknod("p", S_IFIFO | 0666, 0));
	EQ(conf_lstat("f").st_mode, S_IFREG | 0640);
	EQ(conf_lstat("d").st_mode, S_IFDIR | 0750);
	EQ(conf_lstat("p").st_mode, S_IFIFO | 0640);
	umask(0);
	OK(close(OK(open("g", O_WRONLY | O_CREAT, 0666))));
	EQ(conf_lstat("g").st_mode, S_IFREG | 0666);
}

static void open_unlinked(void)
{
	char data[8192];
	char found[sizeof(data)];

	conf_fill(data, sizeof(data), 1);
	conf_write_file("f", data, sizeof(data));
	int fd = OK(open("f", O_RDWR));
	struct stat st;

	OK(unlink("f"));
	FAILS(ENOENT, access("f", F_OK));
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	EQ(st.st_size, sizeof(data));
	conf_read_all(fd, found, sizeof(found), 0);
	CHECK(memcmp(data, found, sizeof(data)) == 0);
	conf_write_all(fd, "more", 4, sizeof(data));
	OK(ftruncate(fd, 100));
	OK(fchmod(fd, 0600));
	OK(fsync(fd));
	OK(fstat(fd, &st));
	EQ(st.st_size, 100);
	conf_write_file("f", "another", 7);
	conf_read_all(fd, found, 100, 0);
	CHECK(memcmp(data, found, 100) == 0);
	OK(close(fd));
	conf_expect_file("f", "another", 7);
}

static void open_two_descriptors(void)
{
	int a = OK(open("f", O_RDWR | O_CREAT, 0644));
	int b = OK(open("f", O_RDWR));
	char found[8] = "";
	struct stat st;

	conf_write_all(a, "from a", 6, 0);
	conf_read_all(b, found, 6, 0);
	CHECK(memcmp(found, "from a", 6) == 0);
	conf_write_all(b, "B", 1, 5);
	conf_read_all(a, found, 6, 0);
	CHECK(memcmp(found, "from B", 6) == 0);
	OK(ftruncate(a, 2));
	EQ(pread(b, found, 6, 0), 2);
	OK(fstat(b, &st));
	EQ(st.st_size, 2);
	OK(close(a));
	OK(close(b));
}

static void open_dup_shares_offset(void)
{
	conf_write_file("f", "abcdef", 6);
	int fd = OK(open("f", O_RDONLY));
	int copy = OK(dup(fd));
	char found[3];

	EQ(read(fd, found, 3), 3);
	EQ(read(copy, found, 3), 3);
	CHECK(memcmp(found, "def", 3) == 0);
	OK(close(fd));
	OK(close(copy));
}

static void open_sync(void)
{
	static const int flags[] = {O_SYNC, O_DSYNC};
	char data[5000];

	conf_fill(data, sizeof(data), 3);
	for (size_t i = 0; i < 2; i++) {
		int fd = OK(open("f", O_WRONLY | O_CREAT | O_TRUNC | flags[i], 0644));

		conf_write_all(fd, data, sizeof(data), 0);
		OK(close(fd));
		conf_expect_file("f", data, sizeof(data));
	}
}

static void open_direct(void)
{
	const size_t size = 64 * 1024;
	char *data = NULL;
	int fd = open("f", O_RDWR | O_CREAT | O_DIRECT, 0644);

	if (fd < 0 && errno == EINVAL)
		conf_skip("no O_DIRECT here");
	OK(fd);
	CHECK(posix_memalign((void **)&data, 4096, 2 * size) == 0);
	conf_fill(data, size, 9);
	conf_write_all(fd, data, size, 0);
	conf_write_all(fd, data, size, (off_t)size);
	conf_read_all(fd, data + size, size, (off_t)size);
	CHECK(memcmp(data, data + size, size) == 0);
	EQ(pread(fd, data, size, (off_t)(2 * size)), 0);
	OK(close(fd));
	conf_expect_file("f", data, 2 * size);
	free(data);
}

/* As dd with oflag=direct does: the last block, which is not a whole one, without. */
static void open_direct_cleared_later(void)
{
	const size_t size = 4096, odd = 1001;
	char *data = NULL;
	char found[16];
	int fd = open("f", O_RDWR | O_CREAT | O_DIRECT, 0644);

	if (fd < 0 && errno == EINVAL)
		conf_skip("no O_DIRECT here");
	OK(fd);
	CHECK(posix_memalign((void **)&data, 4096, 2 * size) == 0);
	conf_fill(data, 2 * size, 13);
	EQ(write(fd, data, size), size);
	OK(fcntl(fd, F_SETFL, OK(fcntl(fd, F_GETFL)) & ~O_DIRECT));
	EQ(write(fd, data + size, odd), odd);
	conf_read_all(fd, found, 3, (off_t)size - 1);
	CHECK(memcmp(found, data + size - 1, 3) == 0);
	OK(close(fd));
	conf_expect_file("f", data, size + odd);
	free(data);
}

static void open_tmpfile(void)
{
	int fd = open(".", O_RDWR | O_TMPFILE, 0600);
	char path[64];
	struct stat st;

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		conf_skip("no O_TMPFILE here");
	OK(fd);
	conf_write_all(fd, "hidden", 6, 0);
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, path, AT_FDCWD, "seen", AT_SYMLINK_FOLLOW));
	conf_expect_file("seen", "hidden", 6);
	EQ(conf_lstat("seen").st_ino, st.st_ino);
	OK(close(fd));
}

static void open_path(void)
{
	conf_write_file("f", "data", 4);
	OK(symlink("f", "link"));
	int fd = OK(open("link", O_PATH | O_NOFOLLOW));
	char target[8];
	struct stat st;

	OK(fstat(fd, &st));
	CHECK(S_ISLNK(st.st_mode));
	EQ(readlinkat(fd, "", target, sizeof(target)), 1);
	FAILS(EBADF, read(fd, target, 1));
	OK(close(fd));
}

static void open_again_by_descriptor(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	char path[64];
	char found[4];

	conf_write_all(fd, "data", 4, 0);
	OK(rename("f", "g"));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = OK(open(path, O_RDONLY));
	conf_read_all(again, found, 4, 0);
	CHECK(memcmp(found, "data", 4) == 0);
	OK(close(again));
	OK(close(fd));
}

static void open_close_many(void)
{
	conf_write_file("f", "x", 1);
	for (int i = 0; i < 1000; i++) {
		int fd = OK(open("f", i % 2 ? O_RDONLY : O_RDWR));

		OK(close(fd));
	}
	int fds[200];
	for (size_t i = 0; i < 200; i++)
		fds[i] = OK(open("f", O_RDONLY));
	for (size_t i = 0; i < 200; i++) {
		char byte;

		EQ(pread(fds[i], &byte, 1, 0), 1);
		OK(close(fds[i]));
	}
}

static void open_relative_to_directory(void)
{
	OK(mkdir("d", 0755));
	int dir = OK(open("d", O_RDONLY | O_DIRECTORY));
	int fd = OK(openat(dir, "f", O_WRONLY | O_CREAT, 0644));

	conf_write_all(fd, "inside", 6, 0);
	OK(close(fd));
	OK(rename("d", "e"));
	fd = OK(openat(dir, "f", O_RDONLY));
	OK(close(fd));
	conf_expect_file("e/f", "inside", 6);
	OK(unlinkat(dir, "f", 0));
	OK(rmdir("e"));
	FAILS(ENOENT, openat(dir, "f", O_WRONLY | O_CREAT, 0644));
	OK(close(dir));
}

const struct conf_case conf_open_cases[] = {
    {"open_create_excl", open_create_excl},
    {"open_create_through_symlink", open_create_through_symlink},
    {"open_existing_with_creat", open_existing_with_creat},
    {"open_truncate", open_truncate},
    {"open_append", open_append},
    {"open_append_set_later", open_append_set_later},
    {"open_append_cleared_later", open_append_cleared_later},
    {"open_directory_flag", open_directory_flag},
    {"open_read_directory", open_read_directory},
    {"open_nofollow", open_nofollow},
    {"open_missing", open_missing},
    {"open_through_file", open_through_file},
    {"open_symlink_loop", open_symlink_loop},
    {"open_modes", open_modes},
    {"open_mode_zero", open_mode_zero},
    {"open_umask", open_umask},
    {"open_unlinked", open_unlinked},
    {"open_two_descriptors", open_two_descriptors},
    {"open_dup_shares_offset", open_dup_shares_offset},
    {"open_sync", open_sync},
    {"open_direct", open_direct},
    {"open_direct_cleared_later", open_direct_cleared_later},
    {"open_tmpfile", open_tmpfile},
    {"open_path", open_path},
    {"open_again_by_descriptor", open_again_by_descriptor},
    {"open_close_many", open_close_many},
    {"open_relative_to_directory", open_relative_to_directory},
    {NULL, NULL},
};
