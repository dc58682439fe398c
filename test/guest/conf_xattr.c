/* SPDX-License-Identifier: BSD-3-Clause */
/* Extended attributes and access control lists; skipped where the filesystem has none. */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define XATTR_VALUE_MAX 65536 /* Linux's own limit */

static void xattr_file(void)
{
	conf_write_file("f", "", 0);
	if (setxattr("f", "user.probe", "", 0, 0) < 0 && errno == EOPNOTSUPP)
		conf_skip("no user xattrs here");
	OK(removexattr("f", "user.probe"));
}

static void xattr_set_get(void)
{
	char found[16] = "";

	xattr_file();
	OK(setxattr("f", "user.name", "value", 5, 0));
	EQ(getxattr("f", "user.name", found, sizeof(found)), 5);
	CHECK(memcmp(found, "value", 5) == 0);
	EQ(getxattr("f", "user.name", NULL, 0), 5);
	OK(setxattr("f", "user.name", "other value", 11, 0));
	EQ(getxattr("f", "user.name", found, sizeof(found)), 11);
	OK(setxattr("f", "user.empty", "", 0, 0));
	EQ(getxattr("f", "user.empty", found, sizeof(found)), 0);
	OK(setxattr("f", "user.a/b/../c", "path", 4, 0));
	EQ(getxattr("f", "user.a/b/../c", found, sizeof(found)), 4);
	OK(removexattr("f", "user.a/b/../c"));
}

static void xattr_flags(void)
{
	xattr_file();
	FAILS(ENODATA, setxattr("f", "user.a", "1", 1, XATTR_REPLACE));
	OK(setxattr("f", "user.a", "1", 1, XATTR_CREATE));
	FAILS(EEXIST, setxattr("f", "user.a", "2", 1, XATTR_CREATE));
	OK(setxattr("f", "user.a", "2", 1, XATTR_REPLACE));
}

static void xattr_errors(void)
{
	char found[16], name[300];

	xattr_file();
	FAILS(ENODATA, getxattr("f", "user.none", found, sizeof(found)));
	FAILS(ENODATA, removexattr("f", "user.none"));
	OK(setxattr("f", "user.long", "0123456789", 10, 0));
	FAILS(ERANGE, getxattr("f", "user.long", found, 5));
	FAILS(ERANGE, listxattr("f", found, 3));
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[256] = 0;
	FAILS(ERANGE, setxattr("f", name, "x", 1, 0));
	FAILS(ENOENT, setxattr("none", "user.a", "x", 1, 0));
	char *huge = conf_alloc(XATTR_VALUE_MAX + 1);
	CHECK(setxattr("f", "user.huge", huge, XATTR_VALUE_MAX + 1, 0) < 0 && errno == E2BIG);
	free(huge);
}

static bool xattr_listed(const char *list, ssize_t size_bytes, const char *name)
{
	for (const char *at = list; at < list + size_bytes; at += strlen(at) + 1) {
		if (strcmp(at, name) == 0)
			return true;
	}
	return false;
}

static void xattr_list_remove(void)
{
	char name[32], list[4096];

	xattr_file();
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "user.number-%d", i);
		OK(setxattr("f", name, name, strlen(name), 0));
	}
	ssize_t size = OK(listxattr("f", list, sizeof(list)));
	EQ(listxattr("f", NULL, 0), size);
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "user.number-%d", i);
		CHECK(xattr_listed(list, size, name));
		OK(removexattr("f", name));
	}
	size = OK(listxattr("f", list, sizeof(list)));
	CHECK(!xattr_listed(list, size, "user.number-7"));
}

/* The largest value that the filesystem below takes: ext4 keeps them in one block, others up to 64 KiB. */
static void xattr_long_value(void)
{
	static const size_t sizes[] = {3000, 16000, 60000, XATTR_VALUE_MAX};
	char *value = conf_alloc(XATTR_VALUE_MAX), *found = conf_alloc(XATTR_VALUE_MAX);

	xattr_file();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		conf_fill(value, sizes[i], (unsigned int)i);
		if (setxattr("f", "user.long", value, sizes[i], 0) < 0) {
			CHECK(errno == ENOSPC || errno == E2BIG);
			CHECK(i > 0);
			break;
		}
		EQ(getxattr("f", "user.long", NULL, 0), sizes[i]);
		EQ(getxattr("f", "user.long", found, XATTR_VALUE_MAX), sizes[i]);
		CHECK(memcmp(found, value, sizes[i]) == 0);
	}
	free(value);
	free(found);
}

static void xattr_of_open_file(void)
{
	char found[8];

	xattr_file();
	int fd = OK(open("f", O_RDWR));
	OK(fsetxattr(fd, "user.a", "fd", 2, 0));
	EQ(getxattr("f", "user.a", found, sizeof(found)), 2);
	OK(unlink("f"));
	EQ(fgetxattr(fd, "user.a", found, sizeof(found)), 2);
	OK(fsetxattr(fd, "user.b", "gone", 4, 0));
	CHECK(flistxattr(fd, NULL, 0) >= 14);
	OK(fremovexattr(fd, "user.a"));
	FAILS(ENODATA, fgetxattr(fd, "user.a", found, sizeof(found)));
	OK(close(fd));
}

static void xattr_of_directory(void)
{
	char found[8];

	xattr_file();
	OK(mkdir("d", 0755));
	OK(setxattr("d", "user.a", "dir", 3, 0));
	EQ(getxattr("d", "user.a", found, sizeof(found)), 3);
	OK(rename("d", "e"));
	EQ(getxattr("e", "user.a", found, sizeof(found)), 3);
}

static void xattr_of_symlink(void)
{
	xattr_file();
	OK(symlink("f", "s"));
	OK(setxattr("s", "user.a", "x", 1, 0));
	EQ(getxattr("f", "user.a", NULL, 0), 1);
	FAILS(EPERM, lsetxattr("s", "user.b", "x", 1, 0));
}

static void xattr_denied(void)
{
	char found[8];

	FAILS(EACCES, setxattr("f", "user.b", "x", 1, 0));
	FAILS(EACCES, removexattr("f", "user.a"));
	EQ(getxattr("f", "user.a", found, sizeof(found)), 1);
	FAILS(EACCES, getxattr("secret", "user.a", found, sizeof(found)));
}

static void xattr_permissions(void)
{
	conf_need_root();
	xattr_file();
	OK(setxattr("f", "user.a", "x", 1, 0));
	conf_write_file("secret", "", 0);
	OK(setxattr("secret", "user.a", "x", 1, 0));
	OK(chmod("secret", 0600));
	conf_run_as(CONF_USER, CONF_USER, xattr_denied);
}

/* --- access control lists --- */

#define XATTR_ACL_ACCESS  "system.posix_acl_access"
#define XATTR_ACL_DEFAULT "system.posix_acl_default"

/* All rights of one list, in the order in which the kernel gives them. */
struct xattr_acl {
	__u16 owner, user, group, mask, other; /* user: CONF_USER's */
};

struct xattr_acl_value {
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entries[5];
};

static struct xattr_acl_value xattr_acl_value(const struct xattr_acl *acl)
{
	return (struct xattr_acl_value){
	    .header = {POSIX_ACL_XATTR_VERSION},
	    .entries = {{ACL_USER_OBJ, acl->owner, (__u32)ACL_UNDEFINED_ID},
			{ACL_USER, acl->user, CONF_USER},
			{ACL_GROUP_OBJ, acl->group, (__u32)ACL_UNDEFINED_ID},
			{ACL_MASK, acl->mask, (__u32)ACL_UNDEFINED_ID},
			{ACL_OTHER, acl->other, (__u32)ACL_UNDEFINED_ID}},
	};
}

static void xattr_acl_set(const char *path, const char *name, const struct xattr_acl *acl)
{
	struct xattr_acl_value value = xattr_acl_value(acl);

	if (setxattr(path, name, &value, sizeof(value), 0) < 0) {
		EQ(errno, EOPNOTSUPP);
		conf_skip("no ACLs here");
	}
}

static void xattr_acl_expect(const char *path, const char *name, const struct xattr_acl *acl)
{
	struct xattr_acl_value value = xattr_acl_value(acl), found;

	EQ(getxattr(path, name, &found, sizeof(found)), sizeof(found));
	CHECK(memcmp(&found, &value, sizeof(value)) == 0);
}

/* A default list decides about new objects in place of the umask. */
static void xattr_acl_default(void)
{
	const struct xattr_acl of_dir = {7, 7, 5, 7, 0}, of_file = {6, 7, 5, 6, 0};

	OK(mkdir("d", 0755));
	xattr_acl_set("d", XATTR_ACL_DEFAULT, &of_dir);
	umask(077);
	OK(close(OK(open("d/f", O_WRONLY | O_CREAT, 0666))));
	OK(mkdir("d/e", 0777));
	OK(mkfifo("d/p", 0666));
	EQ(conf_lstat("d/f").st_mode, S_IFREG | 0660);
	EQ(conf_lstat("d/p").st_mode, S_IFIFO | 0660);
	EQ(conf_lstat("d/e").st_mode, S_IFDIR | 0770);
	xattr_acl_expect("d/f", XATTR_ACL_ACCESS, &of_file);
	xattr_acl_expect("d/p", XATTR_ACL_ACCESS, &of_file);
	xattr_acl_expect("d/e", XATTR_ACL_ACCESS, &of_dir);
	xattr_acl_expect("d/e", XATTR_ACL_DEFAULT, &of_dir);
	FAILS(ENODATA, getxattr("d/f", XATTR_ACL_DEFAULT, NULL, 0));
	OK(removexattr("d", XATTR_ACL_DEFAULT));
	OK(close(OK(open("d/g", O_WRONLY | O_CREAT, 0666))));
	EQ(conf_lstat("d/g").st_mode, S_IFREG | 0600);
	FAILS(ENODATA, getxattr("d/g", XATTR_ACL_ACCESS, NULL, 0));
}

static void xattr_acl_granted(void)
{
	conf_expect_file("f", "data", 4);
	FAILS(EACCES, open("f", O_WRONLY));
}

static void xattr_acl_not_granted(void)
{
	FAILS(EACCES, open("f", O_RDONLY));
}

static void xattr_acl_grants(void)
{
	const struct xattr_acl acl = {6, 4, 0, 4, 0};

	conf_need_root();
	conf_write_file("f", "data", 4);
	OK(chmod("f", 0600));
	conf_run_as(CONF_USER, CONF_USER, xattr_acl_not_granted);
	xattr_acl_set("f", XATTR_ACL_ACCESS, &acl);
	EQ(conf_lstat("f").st_mode, S_IFREG | 0640);
	conf_run_as(CONF_USER, CONF_USER, xattr_acl_granted);
	conf_run_as(CONF_OTHER_USER, CONF_OTHER_USER, xattr_acl_not_granted);
	/* The group's bits of the mode are the list's mask. */
	OK(chmod("f", 0600));
	conf_run_as(CONF_USER, CONF_USER, xattr_acl_not_granted);
}

/* --- security.* --- */

/* Root of a container may not, or not all of it. */
static void xattr_set_security(const char *name, const void *value, size_t size_bytes)
{
	if (setxattr("f", name, value, size_bytes, 0) < 0) {
		CHECK(errno == EPERM || errno == EOPNOTSUPP);
		conf_skip("no such attribute for this root");
	}
}

static void xattr_security(void)
{
	char found[16], list[1024];

	conf_need_root();
	conf_write_file("f", "", 0);
	xattr_set_security("security.probe", "label", 5);
	EQ(getxattr("f", "security.probe", found, sizeof(found)), 5);
	CHECK(memcmp(found, "label", 5) == 0);
	CHECK(xattr_listed(list, OK(listxattr("f", list, sizeof(list))), "security.probe"));
	OK(removexattr("f", "security.probe"));
	FAILS(ENODATA, getxattr("f", "security.probe", found, sizeof(found)));
}

static void xattr_write_as_user(void)
{
	int fd = OK(open("f", O_WRONLY));

	conf_write_all(fd, "x", 1, 0);
	OK(close(fd));
}

static void xattr_truncate_as_user(void)
{
	OK(truncate("f", 0));
}

/* Rights of a program are not those of what others made of it. */
static void xattr_capability_dropped(void)
{
	static void (*const changes[])(void) = {xattr_write_as_user, xattr_truncate_as_user};
	const struct vfs_cap_data cap = {
	    .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
	    .data = {{.permitted = 1U << CAP_NET_RAW}},
	};

	conf_need_root();
	conf_write_file("f", "program", 7);
	OK(chmod("f", 0777));
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct vfs_cap_data found;

		xattr_set_security("security.capability", &cap, XATTR_CAPS_SZ_2);
		EQ(getxattr("f", "security.capability", &found, sizeof(found)), XATTR_CAPS_SZ_2);
		CHECK(memcmp(&found, &cap, XATTR_CAPS_SZ_2) == 0);
		conf_run_as(CONF_USER, CONF_USER, changes[i]);
		FAILS(ENODATA, getxattr("f", "security.capability", &found, sizeof(found)));
	}
}

const struct conf_case conf_xattr_cases[] = {
    {"xattr_set_get", xattr_set_get},
    {"xattr_flags", xattr_flags},
    {"xattr_errors", xattr_errors},
    {"xattr_list_remove", xattr_list_remove},
    {"xattr_long_value", xattr_long_value},
    {"xattr_of_open_file", xattr_of_open_file},
    {"xattr_of_directory", xattr_of_directory},
    {"xattr_of_symlink", xattr_of_symlink},
    {"xattr_permissions", xattr_permissions},
    {"xattr_acl_default", xattr_acl_default},
    {"xattr_acl_grants", xattr_acl_grants},
    {"xattr_security", xattr_security},
    {"xattr_capability_dropped", xattr_capability_dropped},
    {NULL, NULL},
};
