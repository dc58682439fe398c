/* SPDX-License-Identifier: BSD-3-Clause */
/* Names: unlink, rename, link, symlink, mknod, and how long a name may be. */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

static void name_unlink(void)
{
	conf_write_file("f", "", 0);
	OK(mkdir("d", 0755));
	OK(symlink("f", "link"));
	OK(unlink("link"));
	OK(access("f", F_OK));
	OK(unlink("f"));
	FAILS(ENOENT, unlink("f"));
	FAILS(EISDIR, unlink("d"));
	FAILS(ENOENT, unlink("none/f"));
	conf_write_file("g", "", 0);
	FAILS(ENOTDIR, unlink("g/x"));
	FAILS(ENOTDIR, unlink("g/"));
}

static void name_create_again(void)
{
	for (int i = 0; i < 50; i++) {
		char text[16];
		int length = snprintf(text, sizeof(text), "round %d", i);

		conf_write_file("f", text, (size_t)length);
		conf_expect_file("f", text, (size_t)length);
		OK(unlink("f"));
		FAILS(ENOENT, open("f", O_RDONLY));
	}
}

static void name_rename(void)
{
	conf_write_file("a", "data", 4);
	ino_t ino = conf_lstat("a").st_ino;

	OK(rename("a", "b"));
	FAILS(ENOENT, access("a", F_OK));
	conf_expect_file("b", "data", 4);
	EQ(conf_lstat("b").st_ino, ino);
	OK(rename("b", "b"));
	OK(mkdir("d", 0755));
	OK(rename("b", "d/c"));
	conf_expect_file("d/c", "data", 4);
	FAILS(ENOENT, access("b", F_OK));
	FAILS(ENOENT, rename("none", "x"));
	FAILS(ENOENT, rename("d/c", "none/x"));
}

static void name_rename_over(void)
{
	conf_write_file("a", "new", 3);
	conf_write_file("b", "old", 3);
	int fd = OK(open("b", O_RDONLY));
	char found[3];
	struct stat st;

	OK(rename("a", "b"));
	conf_expect_file("b", "new", 3);
	FAILS(ENOENT, access("a", F_OK));
	conf_read_all(fd, found, 3, 0);
	CHECK(memcmp(found, "old", 3) == 0);
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	OK(close(fd));
}

static void name_rename_while_open(void)
{
	int fd = OK(open("a", O_RDWR | O_CREAT, 0644));

	conf_write_all(fd, "one", 3, 0);
	OK(rename("a", "b"));
	conf_write_all(fd, "two", 3, 3);
	conf_expect_file("b", "onetwo", 6);
	OK(fchmod(fd, 0600));
	EQ(conf_lstat("b").st_mode, S_IFREG | 0600);
	OK(close(fd));
}

static void name_rename_kinds(void)
{
	conf_write_file("f", "", 0);
	OK(mkdir("d", 0755));
	OK(mkdir("full", 0755));
	conf_write_file("full/f", "", 0);
	FAILS(EISDIR, rename("f", "d"));
	FAILS(ENOTDIR, rename("d", "f"));
	CHECK(rename("d", "full") < 0 && (errno == ENOTEMPTY || errno == EEXIST));
	FAILS(EINVAL, rename("d", "d/below"));
	FAILS(ENOTDIR, rename("d", "f/x"));
	OK(rename("full", "d"));
	OK(access("d/f", F_OK));
	FAILS(ENOENT, access("full", F_OK));
}

static void name_rename_directory(void)
{
	char path[PATH_MAX];

	OK(mkdir("a", 0755));
	OK(mkdir("a/b", 0755));
	OK(mkdir("other", 0755));
	conf_write_file("a/b/f", "deep", 4);
	int fd = OK(open("a/b/f", O_RDONLY));
	OK(rename("a/b", "other/c"));
	conf_expect_file("other/c/f", "deep", 4);
	FAILS(ENOENT, access("a/b/f", F_OK));
	EQ(conf_lstat("other/c/..").st_ino, conf_lstat("other").st_ino);
	OK(chdir("other/c"));
	OK(rename("../../other", "../../again"));
	CHECK(getcwd(path, sizeof(path)) != NULL);
	CHECK(strlen(path) > 8 && strcmp(path + strlen(path) - 8, "/again/c") == 0);
	conf_expect_file("f", "deep", 4);
	OK(close(fd));
}

static int name_renameat2(const char *from, const char *to, unsigned int flags)
{
	int rc = renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);

	if (rc < 0 && errno == EINVAL)
		conf_skip("no flags of rename here");
	return rc;
}

static void name_rename_noreplace(void)
{
	conf_write_file("a", "a", 1);
	conf_write_file("b", "b", 1);
	FAILS(EEXIST, name_renameat2("a", "b", RENAME_NOREPLACE));
	conf_expect_file("a", "a", 1);
	conf_expect_file("b", "b", 1);
	OK(name_renameat2("a", "c", RENAME_NOREPLACE));
	conf_expect_file("c", "a", 1);
	FAILS(ENOENT, access("a", F_OK));
}

static void name_rename_exchange(void)
{
	conf_write_file("a", "data", 4);
	OK(mkdir("d", 0755));
	conf_write_file("d/f", "", 0);
	FAILS(ENOENT, name_renameat2("a", "none", RENAME_EXCHANGE));
	OK(name_renameat2("a", "d", RENAME_EXCHANGE));
	conf_expect_file("d", "data", 4);
	OK(access("a/f", F_OK));
	CHECK(S_ISDIR(conf_lstat("a").st_mode));
}

static void name_rename_whiteout(void)
{
	conf_need_root();
	conf_write_file("f", "data", 4);
	if (renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_WHITEOUT) < 0) {
		/* EPERM: no devices for this root */
		CHECK(errno == EINVAL || errno == EPERM);
		conf_skip("no whiteouts here");
	}
	conf_expect_file("g", "data", 4);
	EQ(conf_lstat("f").st_mode & S_IFMT, S_IFCHR);
	EQ(conf_lstat("f").st_rdev, 0);
	OK(unlink("f"));
	FAILS(ENOENT, access("f", F_OK));
}

static void name_link(void)
{
	conf_write_file("a", "data", 4);
	OK(link("a", "b"));
	OK(mkdir("d", 0755));
	OK(link("b", "d/c"));
	EQ(conf_lstat("a").st_nlink, 3);
	EQ(conf_lstat("a").st_ino, conf_lstat("b").st_ino);
	EQ(conf_lstat("a").st_ino, conf_lstat("d/c").st_ino);
	int fd = OK(open("b", O_WRONLY));
	conf_write_all(fd, "DATA", 4, 0);
	OK(close(fd));
	conf_expect_file("d/c", "DATA", 4);
	OK(chmod("d/c", 0600));
	EQ(conf_lstat("a").st_mode, S_IFREG | 0600);
	OK(unlink("a"));
	EQ(conf_lstat("b").st_nlink, 2);
	OK(unlink("b"));
	EQ(conf_lstat("d/c").st_nlink, 1);
	conf_expect_file("d/c", "DATA", 4);
}

static void name_link_errors(void)
{
	conf_write_file("a", "", 0);
	conf_write_file("b", "", 0);
	OK(mkdir("d", 0755));
	FAILS(EEXIST, link("a", "b"));
	FAILS(ENOENT, link("none", "x"));
	FAILS(EPERM, link("d", "x"));
	FAILS(ENOENT, link("a", "none/x"));
	EQ(conf_lstat("a").st_nlink, 1);
}

static void name_link_of_symlink(void)
{
	OK(symlink("target", "s"));
	OK(link("s", "t"));
	CHECK(S_ISLNK(conf_lstat("t").st_mode));
	EQ(conf_lstat("s").st_ino, conf_lstat("t").st_ino);
	EQ(conf_lstat("s").st_nlink, 2);
}

static void name_rename_of_links(void)
{
	conf_write_file("a", "", 0);
	OK(link("a", "b"));
	/* Two names of one file: nothing happens. */
	OK(rename("a", "b"));
	OK(access("a", F_OK));
	OK(access("b", F_OK));
	EQ(conf_lstat("a").st_nlink, 2);
}

static void name_symlink(void)
{
	char target[PATH_MAX] = "";

	OK(symlink("some/where", "s"));
	EQ(readlink("s", target, sizeof(target)), 10);
	CHECK(memcmp(target, "some/where", 10) == 0);
	EQ(readlink("s", target, 4), 4);
	EQ(conf_lstat("s").st_size, 10);
	CHECK(S_ISLNK(conf_lstat("s").st_mode));
	FAILS(EEXIST, symlink("x", "s"));
	FAILS(ENOENT, symlink("", "empty"));
	conf_write_file("f", "", 0);
	FAILS(EINVAL, readlink("f", target, sizeof(target)));
	FAILS(ENOENT, readlink("none", target, sizeof(target)));
}

static void name_symlink_long(void)
{
	static const size_t lengths[] = {59, 60, 255, 1024, 4000, 4095};
	char target[PATH_MAX + 1], found[PATH_MAX + 1], name[16];

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memset(target, 'a' + (int)i, lengths[i]);
		target[lengths[i]] = 0;
		snprintf(name, sizeof(name), "s%zu", lengths[i]);
		if (symlink(target, name) < 0) {
			/* Some filesystems end a little before PATH_MAX. */
			EQ(errno, ENAMETOOLONG);
			CHECK(lengths[i] >= 1024);
			continue;
		}
		EQ(readlink(name, found, sizeof(found)), lengths[i]);
		CHECK(memcmp(found, target, lengths[i]) == 0);
	}
	memset(target, 'x', PATH_MAX);
	target[PATH_MAX] = 0;
	FAILS(ENAMETOOLONG, symlink(target, "too-long"));
}

static void name_mkdir_rmdir(void)
{
	OK(mkdir("d", 0700));
	EQ(conf_lstat("d").st_mode, S_IFDIR | 0700);
	FAILS(EEXIST, mkdir("d", 0755));
	OK(mkdir("d/e", 0755));
	CHECK(rmdir("d") < 0 && (errno == ENOTEMPTY || errno == EEXIST));
	OK(rmdir("d/e"));
	OK(rmdir("d"));
	FAILS(ENOENT, rmdir("d"));
	conf_write_file("f", "", 0);
	FAILS(ENOTDIR, rmdir("f"));
	FAILS(EEXIST, mkdir("f", 0755));
	FAILS(ENOENT, mkdir("none/d", 0755));
	OK(mkdir("g", 0755));
	FAILS(EINVAL, rmdir("g/."));
	OK(symlink("g", "s"));
	FAILS(ENOTDIR, rmdir("s"));
}

static void name_directory_links(void)
{
	OK(mkdir("d", 0755));
	nlink_t before = conf_lstat("d").st_nlink;

	OK(mkdir("d/e", 0755));
	nlink_t after = conf_lstat("d").st_nlink;
	if (before == 1)
		EQ(after, 1);
	else
		EQ(after, before + 1);
	OK(rmdir("d/e"));
	EQ(conf_lstat("d").st_nlink, before);
}

static void name_mknod(void)
{
	OK(mknod("p", S_IFIFO | 0640, 0));
	OK(mknod("s", S_IFSOCK | 0600, 0));
	OK(mknod("f", S_IFREG | 0644, 0));
	EQ(conf_lstat("p").st_mode, S_IFIFO | 0640);
	EQ(conf_lstat("s").st_mode, S_IFSOCK | 0600);
	EQ(conf_lstat("f").st_mode, S_IFREG | 0644);
	EQ(conf_lstat("f").st_size, 0);
	FAILS(EEXIST, mknod("p", S_IFIFO | 0640, 0));
	FAILS(ENXIO, open("s", O_RDONLY));
	OK(unlink("p"));
	OK(unlink("s"));
}

static void name_mknod_device(void)
{
	conf_need_root();
	if (mknod("null", S_IFCHR | 0666, makedev(1, 3)) < 0) {
		EQ(errno, EPERM);
		conf_skip("no device files here");
	}
	struct stat st = conf_lstat("null");
	CHECK(S_ISCHR(st.st_mode));
	EQ(st.st_rdev, makedev(1, 3));
}

static void name_fifo_between_processes(void)
{
	char found[6] = "";

	OK(mkfifo("p", 0644));
	pid_t pid = conf_fork();
	if (pid == 0) {
		int out = OK(open("p", O_WRONLY));

		EQ(write(out, "hello", 5), 5);
		_exit(0);
	}
	int in = OK(open("p", O_RDONLY));
	size_t have = 0;
	ssize_t got;
	while ((got = OK(read(in, found + have, sizeof(found) - have))) > 0)
		have += (size_t)got;
	conf_join(pid);
	EQ(have, 5);
	CHECK(memcmp(found, "hello", 5) == 0);
	FAILS(ESPIPE, lseek(in, 0, SEEK_SET));
	OK(close(in));
	FAILS(ENXIO, open("p", O_WRONLY | O_NONBLOCK));
}

static void name_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "sock"};
	int server = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	int client = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	char byte;

	OK(bind(server, (struct sockaddr *)&address, sizeof(address)));
	CHECK(S_ISSOCK(conf_lstat("sock").st_mode));
	OK(listen(server, 1));
	OK(connect(client, (struct sockaddr *)&address, sizeof(address)));
	int peer = OK(accept(server, NULL, NULL));
	conf_signal(client);
	EQ(read(peer, &byte, 1), 1);
	FAILS(EADDRINUSE,
	      bind(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&address, sizeof(address)));
	OK(close(peer));
	OK(close(client));
	OK(close(server));
}

static void name_length(void)
{
	char name[258];

	conf_write_file("f", "", 0);
	memset(name, 'n', sizeof(name));
	name[255] = 0;
	conf_write_file(name, "longest", 7);
	conf_expect_file(name, "longest", 7);
	char other[256];
	memset(other, 'm', 255);
	other[255] = 0;
	OK(rename(name, other));
	OK(link(other, name));
	EQ(conf_lstat(name).st_nlink, 2);
	OK(unlink(other));
	OK(mkdir(other, 0755));
	OK(rmdir(other));
	name[255] = 'n';
	name[256] = 0;
	FAILS(ENAMETOOLONG, open(name, O_WRONLY | O_CREAT, 0644));
	FAILS(ENAMETOOLONG, mkdir(name, 0755));
	FAILS(ENAMETOOLONG, symlink("x", name));
	FAILS(ENAMETOOLONG, rename("f", name));
	FAILS(ENAMETOOLONG, access(name, F_OK));
}

static void name_any_bytes(void)
{
	static const char *const names[] = {
	    " ",        "a b",         "-rf", "*",   "\n",      "tab\there", "\xff\xfe",
	    "\xc3\xa4", "back\\slash", "...", "..x", ".hidden", "~",         "$HOME",
	};
	size_t count = sizeof(names) / sizeof(names[0]);

	for (size_t i = 0; i < count; i++)
		conf_write_file(names[i], names[i], strlen(names[i]));
	for (size_t i = 0; i < count; i++) {
		conf_expect_file(names[i], names[i], strlen(names[i]));
		OK(unlink(names[i]));
	}
}

static void name_case_matters(void)
{
	conf_write_file("name", "lower", 5);
	conf_write_file("NAME", "upper", 5);
	conf_expect_file("name", "lower", 5);
	conf_expect_file("NAME", "upper", 5);
}

static void name_deep_path(void)
{
	char part[64], path[PATH_MAX] = "";
	size_t length = 0;

	memset(part, 'd', 60);
	part[60] = 0;
	for (int i = 0; i < 50; i++) {
		length += (size_t)snprintf(path + length, sizeof(path) - length, "%s%s", i ? "/" : "", part);
		OK(mkdir(path, 0755));
	}
	snprintf(path + length, sizeof(path) - length, "/f");
	conf_write_file(path, "bottom", 6);
	conf_expect_file(path, "bottom", 6);
	path[length] = 0;
	OK(chdir(path));
	conf_expect_file("f", "bottom", 6);
	for (int i = 0; i < 50; i++)
		OK(chdir(".."));
	EQ(conf_lstat(part).st_mode, S_IFDIR | 0755);
}

static void name_dots(void)
{
	OK(mkdir("d", 0755));
	OK(mkdir("d/e", 0755));
	conf_write_file("f", "up", 2);
	conf_expect_file("d/e/../../f", "up", 2);
	conf_expect_file("./d/./../f", "up", 2);
	EQ(conf_lstat("d/.").st_ino, conf_lstat("d").st_ino);
	EQ(conf_lstat("d/e/..").st_ino, conf_lstat("d").st_ino);
	FAILS(EEXIST, mkdir("d/.", 0755));
	FAILS(EEXIST, mkdir("d/..", 0755));
	CHECK(unlink("d/.") < 0);
	CHECK(rename("d/.", "x") < 0 && (errno == EBUSY || errno == EINVAL));
}

const struct conf_case conf_name_cases[] = {
    {"name_unlink", name_unlink},
    {"name_create_again", name_create_again},
    {"name_rename", name_rename},
    {"name_rename_over", name_rename_over},
    {"name_rename_while_open", name_rename_while_open},
    {"name_rename_kinds", name_rename_kinds},
    {"name_rename_directory", name_rename_directory},
    {"name_rename_noreplace", name_rename_noreplace},
    {"name_rename_exchange", name_rename_exchange},
    {"name_rename_whiteout", name_rename_whiteout},
    {"name_link", name_link},
    {"name_link_errors", name_link_errors},
    {"name_link_of_symlink", name_link_of_symlink},
    {"name_rename_of_links", name_rename_of_links},
    {"name_symlink", name_symlink},
    {"name_symlink_long", name_symlink_long},
    {"name_mkdir_rmdir", name_mkdir_rmdir},
    {"name_directory_links", name_directory_links},
    {"name_mknod", name_mknod},
    {"name_mknod_device", name_mknod_device},
    {"name_fifo_between_processes", name_fifo_between_processes},
    {"name_socket", name_socket},
    {"name_length", name_length},
    {"name_any_bytes", name_any_bytes},
    {"name_case_matters", name_case_matters},
    {"name_deep_path", name_deep_path},
    {"name_dots", name_dots},
    {NULL, NULL},
};
