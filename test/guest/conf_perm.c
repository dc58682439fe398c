/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may do what, and to whom new objects belong. All of it needs root to become somebody else. */
#include "conf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static void perm_create_all(void)
{
	conf_write_file("f", "mine", 4);
	OK(mkdir("d", 0755));
	OK(symlink("f", "s"));
	OK(mkfifo("p", 0644));
	OK(mknod("k", S_IFSOCK | 0644, 0));
	OK(link("f", "l"));
}

static void perm_expect_owner(uid_t uid, gid_t gid)
{
	static const char *const names[] = {"f", "d", "s", "p", "k", "l"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct stat st = conf_lstat(names[i]);

		EQ(st.st_uid, uid);
		EQ(st.st_gid, gid);
	}
}

static void perm_owner_of_new_objects(void)
{
	static const uid_t users[] = {CONF_USER, CONF_OTHER_USER, 65533, 0};
	static const char *const dirs[] = {"a", "b", "c", "r"};

	conf_need_root();
	for (size_t i = 0; i < 4; i++) {
		OK(mkdir(dirs[i], 0777));
		OK(chmod(dirs[i], 0777));
		OK(chdir(dirs[i]));
		conf_run_as(users[i], users[i] + 1, perm_create_all);
		perm_expect_owner(users[i], users[i] + 1);
		OK(chdir(".."));
	}
}

static void perm_setgid_by_user(void)
{
	conf_write_file("d/f", "", 0);
	OK(mkdir("d/e", 0755));
}

static void perm_setgid_directory_as_user(void)
{
	conf_need_root();
	OK(mkdir("d", 0777));
	OK(chown("d", 0, 4242));
	OK(chmod("d", 02777));
	conf_run_as(CONF_USER, CONF_USER, perm_setgid_by_user);
	EQ(conf_lstat("d/f").st_uid, CONF_USER);
	EQ(conf_lstat("d/f").st_gid, 4242);
	EQ(conf_lstat("d/e").st_gid, 4242);
	EQ(conf_lstat("d/e").st_mode, S_IFDIR | 02755);
}

static void perm_denied_file(void)
{
	FAILS(EACCES, open("secret", O_RDONLY));
	FAILS(EACCES, open("secret", O_WRONLY));
	FAILS(EACCES, open("readable", O_WRONLY));
	FAILS(EACCES, open("readable", O_RDONLY | O_TRUNC));
	OK(close(OK(open("readable", O_RDONLY))));
	FAILS(EACCES, truncate("readable", 0));
	FAILS(EACCES, access("secret", R_OK));
	OK(access("secret", F_OK));
	OK(access("readable", R_OK));
	FAILS(EACCES, access("readable", X_OK));
	FAILS(EPERM, chmod("readable", 0666));
	FAILS(EPERM, chown("readable", CONF_USER, CONF_USER));
	FAILS(EPERM, utimensat(AT_FDCWD, "readable", (struct timespec[2]){{1, 0}, {1, 0}}, 0));
	FAILS(EACCES, utimensat(AT_FDCWD, "readable", NULL, 0));
}

static void perm_file(void)
{
	conf_need_root();
	conf_write_file("secret", "data", 4);
	OK(chmod("secret", 0600));
	conf_write_file("readable", "data", 4);
	conf_run_as(CONF_USER, CONF_USER, perm_denied_file);
	conf_expect_file("readable", "data", 4);
}

static void perm_denied_directory(void)
{
	FAILS(EACCES, open("closed/f", O_RDONLY));
	CHECK(opendir("closed") == NULL && errno == EACCES);
	FAILS(EACCES, open("searchable/new", O_WRONLY | O_CREAT, 0644));
	FAILS(EACCES, mkdir("searchable/new", 0755));
	FAILS(EACCES, unlink("searchable/f"));
	FAILS(EACCES, rename("searchable/f", "stolen"));
	FAILS(EACCES, rename("searchable/f", "searchable/g"));
	FAILS(EACCES, symlink("x", "searchable/s"));
	FAILS(EACCES, mknod("searchable/p", S_IFIFO | 0644, 0));
	FAILS(EACCES, rmdir("searchable/d"));
	FAILS(EACCES, chdir("closed"));
	conf_expect_file("searchable/f", "data", 4);
}

static void perm_directory(void)
{
	conf_need_root();
	OK(mkdir("closed", 0700));
	conf_write_file("closed/f", "data", 4);
	OK(mkdir("searchable", 0755));
	OK(mkdir("searchable/d", 0755));
	conf_write_file("searchable/f", "data", 4);
	conf_run_as(CONF_USER, CONF_USER, perm_denied_directory);
}

static void perm_sticky_by_other(void)
{
	FAILS(EPERM, unlink("d/f"));
	FAILS(EPERM, rename("d/f", "d/g"));
	conf_write_file("d/own", "", 0);
	OK(rename("d/own", "d/renamed"));
	OK(unlink("d/renamed"));
}

static void perm_sticky_directory(void)
{
	conf_need_root();
	OK(mkdir("d", 0777));
	OK(chmod("d", 01777));
	conf_write_file("d/f", "", 0);
	conf_run_as(CONF_USER, CONF_USER, perm_sticky_by_other);
	OK(access("d/f", F_OK));
}

static void perm_by_group(void)
{
	gid_t groups[] = {4242};

	OK(setgroups(1, groups));
	OK(setresgid(CONF_USER, CONF_USER, CONF_USER));
	OK(setresuid(CONF_USER, CONF_USER, CONF_USER));
	int fd = OK(open("f", O_RDWR));
	conf_write_all(fd, "group", 5, 0);
	OK(close(fd));
	conf_write_file("d/new", "", 0);
	EQ(conf_lstat("d/new").st_uid, CONF_USER);
	FAILS(EPERM, chmod("f", 0666));
}

/* Supplementary groups count for what exists; the guest's kernel knows them. */
static void perm_supplementary_group(void)
{
	conf_need_root();
	conf_write_file("f", "data", 4);
	OK(chown("f", 0, 4242));
	OK(chmod("f", 0660));
	OK(mkdir("d", 0777));
	OK(chmod("d", 0777));
	conf_run(perm_by_group);
	conf_expect_file("f", "group", 5);
}

static void perm_member_of_group(void)
{
	gid_t groups[] = {4241, 4242};

	OK(setgroups(2, groups));
	OK(setresgid(CONF_USER, CONF_USER, CONF_USER));
	OK(setresuid(CONF_USER, CONF_USER, CONF_USER));
	umask(0);
	OK(close(OK(open("d/member", O_RDWR | O_CREAT | O_EXCL, 02775))));
	OK(mkdir("d/dir", 02775));
}

static void perm_stranger_to_group(void)
{
	umask(0);
	OK(close(OK(open("d/stranger", O_RDWR | O_CREAT | O_EXCL, 02775))));
}

/* Whether a new file may have the set-group-ID bit of a directory's group depends on its maker being in that group. */
static void perm_setgid_of_member(void)
{
	conf_need_root();
	conf_need_kernel(6, 3); /* virtio-fs guests before tell nobody their groups */
	OK(mkdir("d", 0777));
	OK(chown("d", 0, 4242));
	OK(chmod("d", 02777));
	conf_run(perm_member_of_group);
	conf_run_as(CONF_USER, CONF_USER, perm_stranger_to_group);
	EQ(conf_lstat("d/member").st_mode, S_IFREG | 02775);
	EQ(conf_lstat("d/member").st_gid, 4242);
	EQ(conf_lstat("d/dir").st_mode, S_IFDIR | 02775);
	EQ(conf_lstat("d/dir").st_gid, 4242);
	EQ(conf_lstat("d/stranger").st_gid, 4242);
	EQ(conf_lstat("d/stranger").st_mode, S_IFREG | 0775);
}

static void perm_owner_changes(void)
{
	OK(chmod("f", 0640));
	EQ(conf_lstat("f").st_mode, S_IFREG | 0640);
	FAILS(EPERM, chown("f", CONF_OTHER_USER, (gid_t)-1));
	FAILS(EPERM, chown("f", (uid_t)-1, CONF_OTHER_USER));
	OK(utimensat(AT_FDCWD, "f", (struct timespec[2]){{1, 0}, {1, 0}}, 0));
	OK(chmod("f", 0));
	FAILS(EACCES, open("f", O_RDONLY));
	OK(chmod("f", 0400));
	OK(close(OK(open("f", O_RDONLY))));
	FAILS(EACCES, open("f", O_WRONLY));
	OK(unlink("f"));
}

static void perm_owner(void)
{
	conf_need_root();
	conf_write_file("f", "data", 4);
	OK(chown("f", CONF_USER, CONF_USER));
	conf_run_as(CONF_USER, CONF_USER, perm_owner_changes);
	FAILS(ENOENT, access("f", F_OK));
}

static void perm_root_overrides(void)
{
	conf_need_root();
	OK(mkdir("d", 0));
	conf_write_file("d/f", "data", 4);
	OK(chmod("d/f", 0));
	conf_expect_file("d/f", "data", 4);
	FAILS(EACCES, access("d/f", X_OK));
	OK(access("d/f", R_OK | W_OK));
}

static void perm_create_read_only_by_user(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT | O_EXCL, 0444));

	conf_write_all(fd, "data", 4, 0);
	OK(ftruncate(fd, 2));
	OK(close(fd));
	FAILS(EACCES, open("f", O_WRONLY));
	conf_expect_file("f", "da", 2);
}

static void perm_create_read_only(void)
{
	conf_run_as(CONF_USER, CONF_USER, perm_create_read_only_by_user);
}

static void perm_keeps_access_by_user(void)
{
	int fd = OK(open("f", O_RDWR));

	OK(fchmod(fd, 0));
	conf_write_all(fd, "still", 5, 0);
	OK(close(fd));
	FAILS(EACCES, open("f", O_RDWR));
}

static void perm_open_file_keeps_access(void)
{
	conf_need_root();
	conf_write_file("f", "data", 4);
	OK(chown("f", CONF_USER, CONF_USER));
	conf_run_as(CONF_USER, CONF_USER, perm_keeps_access_by_user);
	conf_expect_file("f", "still", 5);
}

/* --- id-mapped mounts: mount_setattr(2) --- */

static void perm_write_map(pid_t pid, const char *name, const char *map)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	int fd = OK(open(path, O_WRONLY));
	EQ(write(fd, map, strlen(map)), strlen(map));
	OK(close(fd));
}

/* A user namespace that maps these ids, which outlives its only process. */
static int perm_user_namespace(const char *map)
{
	int made[2], over[2];
	char path[64], byte;

	conf_pipe(made);
	conf_pipe(over);
	pid_t pid = conf_fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWUSER) < 0)
			conf_skip("no user namespaces");
		conf_signal(made[1]);
		conf_await(over[0]);
		_exit(0);
	}
	OK(close(made[1]));
	if (read(made[0], &byte, 1) != 1)
		conf_join(pid); /* skips */
	OK(close(made[0]));
	perm_write_map(pid, "uid_map", map);
	perm_write_map(pid, "gid_map", map);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	int ns = OK(open(path, O_RDONLY | O_CLOEXEC));
	conf_signal(over[1]);
	conf_join(pid);
	OK(close(over[0]));
	OK(close(over[1]));
	return ns;
}

/* This directory once more, through a mount that maps its ids. It is nowhere to be seen and ends with the descriptor. */
static int perm_mapped_tree(const char *map)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP};
	int ns = perm_user_namespace(map);
	int tree = open_tree(AT_FDCWD, ".", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0 && (errno == ENOSYS || errno == EPERM))
		conf_skip("no mounts here");
	OK(tree);
	attr.userns_fd = (uint64_t)ns;
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
		CHECK(errno == EINVAL || errno == ENOSYS || errno == EPERM);
		conf_skip("no id-mapped mounts of this filesystem");
	}
	OK(close(ns));
	return tree;
}

static int perm_tree;

static struct stat perm_stat_at(const char *name)
{
	struct stat st;

	OK(fstatat(perm_tree, name, &st, AT_SYMLINK_NOFOLLOW));
	return st;
}

#define PERM_MAPPED 3000 /* what CONF_USER is in the mount */

static void perm_mapped_user(void)
{
	char text[4] = {0};
	int fd = OK(openat(perm_tree, "f", O_RDWR));

	conf_read_all(fd, text, 4, 0);
	CHECK(memcmp(text, "mine", 4) == 0);
	conf_write_all(fd, "more", 4, 4);
	OK(fchmod(fd, 0640));
	OK(close(fd));
	OK(close(OK(openat(perm_tree, "new", O_RDWR | O_CREAT | O_EXCL, 0600))));
	OK(mkdirat(perm_tree, "dir", 0700));
	OK(close(OK(openat(perm_tree, "dir/below", O_RDWR | O_CREAT, 0600))));
	OK(symlinkat("f", perm_tree, "link"));
	OK(mkfifoat(perm_tree, "fifo", 0600));
	OK(linkat(perm_tree, "f", perm_tree, "hard", 0));
	OK(renameat(perm_tree, "new", perm_tree, "renamed"));
	int tmp = openat(perm_tree, ".", O_TMPFILE | O_RDWR, 0600);
	if (tmp >= 0) {
		struct stat st;

		OK(fstat(tmp, &st));
		EQ(st.st_uid, PERM_MAPPED);
		OK(close(tmp));
	}
	FAILS(EPERM, fchownat(perm_tree, "f", PERM_MAPPED + 1, PERM_MAPPED, 0));
	FAILS(EACCES, openat(perm_tree, "of_root", O_RDONLY));
	FAILS(EPERM, fchmodat(perm_tree, "of_root", 0666, 0));
}

/* Who is nobody in the mount owns nothing there and can make nothing that would be his. */
static void perm_unmapped_user(void)
{
	FAILS(EACCES, openat(perm_tree, "f", O_RDONLY));
	FAILS(EACCES, openat(perm_tree, "dir/below", O_RDONLY));
	FAILS(EOVERFLOW, openat(perm_tree, "x", O_RDWR | O_CREAT, 0600));
	FAILS(EOVERFLOW, mkdirat(perm_tree, "x", 0700));
	FAILS(ENOENT, faccessat(perm_tree, "x", F_OK, 0));
}

static void perm_idmapped_mount(void)
{
	static const char *const names[] = {"f", "renamed", "dir", "dir/below", "link", "fifo", "hard"};
	char map[64];

	conf_need_root();
	snprintf(map, sizeof(map), "0 0 1\n%d %d 10", CONF_USER, PERM_MAPPED);
	conf_write_file("f", "mine", 4);
	OK(chown("f", CONF_USER, CONF_USER));
	OK(chmod("f", 0600));
	conf_write_file("of_root", "secret", 6);
	OK(chmod("of_root", 0600));
	conf_write_file("of_nobody", "", 0);
	OK(chown("of_nobody", CONF_OTHER_USER, CONF_OTHER_USER));
	perm_tree = perm_mapped_tree(map);

	EQ(perm_stat_at("f").st_uid, PERM_MAPPED);
	EQ(perm_stat_at("f").st_gid, PERM_MAPPED);
	EQ(perm_stat_at("of_root").st_uid, 0);
	EQ(perm_stat_at("of_nobody").st_uid, 65534);
	conf_run_as(PERM_MAPPED, PERM_MAPPED, perm_mapped_user);
	conf_run_as(CONF_USER, CONF_USER, perm_unmapped_user);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		EQ(perm_stat_at(names[i]).st_uid, PERM_MAPPED);
		EQ(perm_stat_at(names[i]).st_gid, PERM_MAPPED);
		EQ(conf_lstat(names[i]).st_uid, CONF_USER);
		EQ(conf_lstat(names[i]).st_gid, CONF_USER);
	}
	EQ(conf_lstat("f").st_mode, S_IFREG | 0640);
	conf_expect_file("f", "minemore", 8);

	/* Root's orders name ids of the mount. */
	OK(fchownat(perm_tree, "f", PERM_MAPPED + 1, PERM_MAPPED + 2, 0));
	EQ(conf_lstat("f").st_uid, CONF_USER + 1);
	EQ(conf_lstat("f").st_gid, CONF_USER + 2);
	FAILS(EOVERFLOW, fchownat(perm_tree, "f", CONF_USER, (gid_t)-1, 0));
	OK(unlinkat(perm_tree, "hard", 0));
	OK(close(perm_tree));
}

const struct conf_case conf_perm_cases[] = {
    {"perm_owner_of_new_objects", perm_owner_of_new_objects},
    {"perm_setgid_directory_as_user", perm_setgid_directory_as_user},
    {"perm_file", perm_file},
    {"perm_directory", perm_directory},
    {"perm_sticky_directory", perm_sticky_directory},
    {"perm_supplementary_group", perm_supplementary_group},
    {"perm_setgid_of_member", perm_setgid_of_member},
    {"perm_owner", perm_owner},
    {"perm_root_overrides", perm_root_overrides},
    {"perm_create_read_only", perm_create_read_only},
    {"perm_open_file_keeps_access", perm_open_file_keeps_access},
    {"perm_idmapped_mount", perm_idmapped_mount},
    {NULL, NULL},
};
