/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may do what, and to whom new objects belong. All of it needs root to become somebody else. */
#include "conf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
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
    {NULL, NULL},
};
