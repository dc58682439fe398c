/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The in-memory filesystem through a real session: names and listings.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "mem_fs_rig.h"

/* --- names --- */

static void test_root_and_lookup(void **state)
{
	struct fuse_attr attr = attr_of(ROOT);
	struct fuse_entry_out e;
	uint64_t d;

	assert_int_equal(attr.mode, S_IFDIR | 0755);
	assert_int_equal(attr.nlink, 2);
	assert_int_equal(fc_lookup(c, ROOT, "none", &e), -ENOENT);
	d = make_dir(ROOT, "d");
	assert_int_equal(fc_lookup(c, ROOT, "d", &e), 0);
	assert_int_equal(e.nodeid, d);
	assert_int_equal(fc_lookup(c, d, "..", &e), 0);
	assert_int_equal(e.nodeid, ROOT);
	assert_int_equal(fc_lookup(c, d, ".", &e), 0);
	assert_int_equal(e.nodeid, d);
	assert_int_equal(fc_lookup(c, 12345, "d", &e), -ESTALE);
	assert_int_equal(fc_getattr(c, 0, NULL), -ESTALE);
	assert_int_equal(fc_rmdir(c, ROOT, "d"), 0);
	assert_int_equal(fc_lookup(c, d, "..", &e), -ENOENT);
	assert_int_equal(fc_mkdir(c, d, "x", 0755, &e), -ENOENT);
	assert_nothing_left();
}

static void test_make_and_remove(void **state)
{
	struct fuse_entry_out e;
	uint64_t fh, f = make("f", &fh), d = make_dir(ROOT, "d");

	assert_int_equal(attr_of(ROOT).nlink, 3);
	assert_int_equal(fc_mkdir(c, ROOT, "f", 0755, &e), -EEXIST);
	assert_int_equal(fc_mkdir(c, f, "x", 0755, &e), -ENOTDIR);
	assert_int_equal(fc_lookup(c, f, "x", &e), -ENOTDIR);
	assert_int_equal(fc_create(c, ROOT, "f", O_RDWR | O_EXCL, 0644, &e, &fh), -EEXIST);
	assert_int_equal(fc_create(c, ROOT, "d", O_RDWR, 0644, &e, &fh), -EISDIR);
	assert_int_equal(fc_create(c, f, "x", O_RDWR, 0644, &e, &fh), -ENOTDIR);
	assert_int_equal(fc_unlink(c, ROOT, "d"), -EISDIR);
	assert_int_equal(fc_rmdir(c, ROOT, "f"), -ENOTDIR);
	assert_int_equal(fc_rmdir(c, ROOT, "none"), -ENOENT);
	make_dir(d, "sub");
	assert_int_equal(fc_rmdir(c, ROOT, "d"), -ENOTEMPTY);
	assert_int_equal(fc_rmdir(c, d, "sub"), 0);
	assert_int_equal(attr_of(d).nlink, 2);
	assert_int_equal(fc_rmdir(c, ROOT, "d"), 0);
	assert_int_equal(attr_of(d).nlink, 0);
	assert_int_equal(attr_of(ROOT).nlink, 2);
	assert_int_equal(fc_unlink(c, ROOT, "f"), 0);
	assert_nothing_left();
}

static void test_special_files(void **state)
{
	char target[4096], got[4096];
	struct fuse_entry_out e;
	uint64_t fh;

	memset(target, 't', sizeof(target));
	target[4095] = '\0';
	assert_int_equal(fc_symlink(c, ROOT, "l", target, &e), 0);
	assert_int_equal(e.attr.mode, S_IFLNK | 0777);
	assert_int_equal(e.attr.size, 4095);
	assert_int_equal(fc_readlink(c, e.nodeid, got, sizeof(got)), 4095);
	assert_string_equal(got, target);
	assert_int_equal(fc_open(c, e.nodeid, O_RDONLY, &fh), -ELOOP);
	assert_int_equal(fc_readlink(c, ROOT, got, sizeof(got)), -EINVAL);

	assert_int_equal(fc_mknod(c, ROOT, "fifo", S_IFIFO | 0600, 0, &e), 0);
	assert_int_equal(e.attr.mode, S_IFIFO | 0600);
	assert_int_equal(fc_open(c, e.nodeid, O_RDONLY, &fh), -ENXIO);
	assert_int_equal(fc_mknod(c, ROOT, "dev", S_IFCHR | 0600, 0x103, &e), 0);
	assert_int_equal(e.attr.rdev, 0x103);
	assert_int_equal(fc_mknod(c, ROOT, "sock", S_IFSOCK | 0600, 0, &e), 0);
	assert_int_equal(fc_mknod(c, ROOT, "reg", S_IFREG | 0600, 0, &e), 0);
	assert_int_equal(fc_open(c, e.nodeid, O_RDONLY, &fh), 0);
	assert_int_equal(fc_mknod(c, ROOT, "dir", S_IFDIR | 0600, 0, &e), -EINVAL);
	assert_int_equal(fc_create(c, ROOT, "fifo", O_RDWR, 0600, &e, &fh), -EEXIST);
	for (const char *const *n = (const char *const[]){"l", "fifo", "dev", "sock", "reg", NULL}; *n; n++)
		assert_int_equal(fc_unlink(c, ROOT, *n), 0);
	assert_nothing_left();
}

static void test_hard_links(void **state)
{
	uint64_t fh, f = make("a", &fh), d = make_dir(ROOT, "d");
	struct fuse_entry_out e;

	assert_int_equal(fc_link(c, f, d, "b", &e), 0);
	assert_int_equal(e.nodeid, f);
	assert_int_equal(e.attr.nlink, 2);
	assert_int_equal(fc_link(c, f, d, "b", &e), -EEXIST);
	assert_int_equal(fc_link(c, d, ROOT, "x", &e), -EPERM);
	assert_int_equal(fc_link(c, 999, ROOT, "x", &e), -ESTALE);
	assert_int_equal(fc_unlink(c, ROOT, "a"), 0);
	assert_int_equal(attr_of(f).nlink, 1);
	assert_int_equal(fc_unlink(c, d, "b"), 0);
	assert_int_equal(fc_link(c, f, d, "again", &e), -ENOENT);
	assert_int_equal(fc_rmdir(c, ROOT, "d"), 0);
	assert_nothing_left();
}

static void test_rename(void **state)
{
	uint64_t fh, a = make("a", &fh), b = make("b", &fh);
	uint64_t d1 = make_dir(ROOT, "d1"), d2 = make_dir(d1, "d2"), empty = make_dir(ROOT, "empty");
	struct fuse_entry_out e;

	assert_int_equal(fc_rename(c, ROOT, "none", ROOT, "x", 0), -ENOENT);
	assert_int_equal(fc_rename(c, ROOT, "a", ROOT, "b", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(fc_rename(c, ROOT, "a", ROOT, "d1", 0), -EISDIR);
	assert_int_equal(fc_rename(c, ROOT, "d1", ROOT, "a", 0), -ENOTDIR);
	assert_int_equal(fc_rename(c, ROOT, "empty", ROOT, "d1", 0), -ENOTEMPTY);
	assert_int_equal(fc_rename(c, ROOT, "d1", d2, "x", 0), -EINVAL);
	assert_int_equal(fc_rename(c, ROOT, "d1", d1, "x", 0), -EINVAL);
	assert_int_equal(fc_rename(c, ROOT, "a", a, "x", 0), -ENOTDIR);
	assert_int_equal(fc_rename(c, ROOT, "a", ROOT, "b", RENAME_WHITEOUT), -EINVAL);
	assert_int_equal(fc_rename(c, ROOT, "a", ROOT, "x", RENAME_EXCHANGE), -ENOENT);

	/* Exchange of a file and a directory between directories: names and link counts move. */
	assert_int_equal(fc_rename(c, ROOT, "a", d1, "d2", RENAME_EXCHANGE), 0);
	assert_int_equal(fc_lookup(c, ROOT, "a", &e), 0);
	assert_int_equal(e.nodeid, d2);
	assert_int_equal(fc_lookup(c, d1, "d2", &e), 0);
	assert_int_equal(e.nodeid, a);
	assert_int_equal(attr_of(ROOT).nlink, 5);
	assert_int_equal(attr_of(d1).nlink, 2);
	assert_int_equal(fc_lookup(c, d2, "..", &e), 0);
	assert_int_equal(e.nodeid, ROOT);
	/* A directory never comes to stand below itself, on either side. */
	assert_int_equal(fc_rename(c, ROOT, "a", d1, "d2", RENAME_EXCHANGE), 0);
	assert_int_equal(fc_rename(c, d1, "d2", ROOT, "d1", RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(fc_rename(c, ROOT, "d1", d1, "d2", RENAME_EXCHANGE), -EINVAL);

	/* Over a file, which goes; over an empty directory; over another link of the same file: nothing
	 * happens. */
	assert_int_equal(fc_rename(c, ROOT, "a", ROOT, "b", 0), 0);
	assert_int_equal(attr_of(b).nlink, 0);
	assert_int_equal(fc_lookup(c, ROOT, "a", &e), -ENOENT);
	assert_int_equal(fc_rename(c, d1, "d2", ROOT, "empty", 0), 0);
	assert_int_equal(attr_of(empty).nlink, 0);
	assert_int_equal(attr_of(ROOT).nlink, 4);
	assert_int_equal(fc_rename(c, ROOT, "b", empty, "x", 0), -ENOENT);
	assert_int_equal(fc_link(c, a, ROOT, "c", &e), 0);
	assert_int_equal(fc_rename(c, ROOT, "b", ROOT, "c", 0), 0);
	assert_int_equal(fc_lookup(c, ROOT, "b", &e), 0);
	assert_int_equal(fc_rename(c, ROOT, "d1", ROOT, "d1", 0), 0);
	assert_int_equal(fc_unlink(c, ROOT, "b"), 0);
	assert_int_equal(fc_unlink(c, ROOT, "c"), 0);
	assert_int_equal(fc_rmdir(c, ROOT, "d1"), 0);
	assert_int_equal(fc_rmdir(c, ROOT, "empty"), 0);
	assert_nothing_left();
}

/* --- listings --- */

#define LIST_NAMES 500

struct seen {
	unsigned count, times[LIST_NAMES];
	uint64_t last_off;
	uint64_t nodeid; /* of the last entry */
	bool skip_last;
};

static void see(void *arg, const struct fuse_dirent *d, const struct fuse_entry_out *e)
{
	struct seen *s = arg;
	char name[256];
	unsigned i;

	snprintf(name, sizeof(name), "%.*s", (int)d->namelen, d->name);
	s->last_off = d->off;
	s->count++;
	if (name[0] == '.') {
		assert_int_equal(d->type, S_IFDIR >> 12);
		if (e)
			assert_int_equal(e->nodeid, 0);
		return;
	}
	assert_int_equal(sscanf(name, "name-%u", &i), 1);
	assert_true(i < LIST_NAMES);
	s->times[i]++;
	if (e) {
		assert_int_equal(e->attr.ino, d->ino);
		s->nodeid = e->nodeid;
	}
}

static void list_names_make(uint64_t dir)
{
	struct fuse_entry_out e;
	char name[32];

	for (unsigned i = 0; i < LIST_NAMES; i++) {
		snprintf(name, sizeof(name), "name-%u", i);
		assert_int_equal(fc_mknod(c, dir, name, S_IFREG | 0600, 0, &e), 0);
		fc_forget(c, e.nodeid, 1);
	}
}

static void list_names_remove(uint64_t dir, unsigned from, unsigned step)
{
	char name[32];

	for (unsigned i = from; i < LIST_NAMES; i += step) {
		snprintf(name, sizeof(name), "name-%u", i);
		assert_int_equal(fc_unlink(c, dir, name), 0);
	}
}

static void test_readdir(void **state)
{
	uint64_t d = make_dir(ROOT, "d"), fh;
	struct seen s = {0};

	list_names_make(d);
	assert_int_equal(fc_opendir(c, d, &fh), 0);
	while (fc_readdir(c, d, fh, s.last_off, 1000, false, see, &s) > 0)
		;
	assert_int_equal(s.count, LIST_NAMES + 2);
	for (unsigned i = 0; i < LIST_NAMES; i++)
		assert_int_equal(s.times[i], 1);
	assert_int_equal(fc_readdir(c, d, fh, UINT64_MAX, 1000, false, NULL, NULL), 0);
	assert_int_equal(fc_readdir(c, d, fh, 0, 16, false, NULL, NULL), -EINVAL);
	assert_int_equal(fc_readdir(c, d, fh + 1, 0, 1000, false, NULL, NULL), -EBADF);
	assert_int_equal(fc_releasedir(c, d, fh), 0);
	assert_int_equal(fc_readdir(c, d, fh, 0, 1000, false, NULL, NULL), -EBADF);
	list_names_remove(d, 0, 1);
	assert_int_equal(attr_of(d).size, 0);
	assert_int_equal(fc_rmdir(c, ROOT, "d"), 0);
	assert_nothing_left();
}

/* Names come and go between two pieces of a listing: each that stays is told once. */
static void test_readdir_under_change(void **state)
{
	uint64_t d = make_dir(ROOT, "d"), fh;
	struct fuse_entry_out e;
	struct seen s = {0};
	char name[32];

	list_names_make(d);
	assert_int_equal(fc_opendir(c, d, &fh), 0);
	assert_true(fc_readdir(c, d, fh, 0, 4096, false, see, &s) > 0);
	list_names_remove(d, 0, 2);
	for (unsigned i = 0; i < LIST_NAMES;
	     i += 2) { /* of the same inode numbers, elsewhere in the directory */
		snprintf(name, sizeof(name), ".new-%u", i);
		assert_int_equal(fc_mknod(c, d, name, S_IFREG | 0600, 0, &e), 0);
		fc_forget(c, e.nodeid, 1);
		assert_int_equal(fc_unlink(c, d, name), 0);
	}
	while (fc_readdir(c, d, fh, s.last_off, 4096, false, see, &s) > 0)
		;
	for (unsigned i = 1; i < LIST_NAMES; i += 2)
		assert_int_equal(s.times[i], 1);
	for (unsigned i = 0; i < LIST_NAMES; i += 2)
		assert_true(s.times[i] <= 1);
	list_names_remove(d, 1, 2);
	assert_int_equal(fc_releasedir(c, d, fh), 0);
	assert_int_equal(fc_rmdir(c, ROOT, "d"), 0);
	assert_nothing_left();
}

/* READDIRPLUS counts one lookup for each entry that it tells, and none for those that did not fit. */
static void test_readdirplus(void **state)
{
	uint64_t d = make_dir(ROOT, "d"), fh;
	struct seen s = {0};
	struct fuse_attr attr;

	list_names_make(d);
	assert_int_equal(fc_opendir(c, d, &fh), 0);
	while (fc_readdir(c, d, fh, s.last_off, 65536, true, see, &s) > 0) {
		assert_int_equal(fc_getattr(c, s.nodeid, &attr), 0);
		fc_forget(c, s.nodeid, 1);
		s.nodeid = 0;
	}
	assert_int_equal(s.count, LIST_NAMES + 2);
	for (unsigned i = 0; i < LIST_NAMES; i++)
		assert_int_equal(s.times[i], 1);
	list_names_remove(d, 0, 1);
	assert_int_equal(fc_releasedir(c, d, fh), 0);
	assert_int_equal(fc_rmdir(c, ROOT, "d"), 0);
	assert_nothing_left();
}

/* Beside other guests a turn has three objects or so, or as many times eight names. */
static void test_listings_take_turns(void **state)
{
	uint64_t d = make_dir(ROOT, "d"), fh, turns;

	list_names_make(d);
	assert_int_equal(fc_opendir(c, d, &fh), 0);
	guest.lanes[0].company = SFS_BESIDE_BUSY;
	fg_turn(&guest, 0);
	for (unsigned plus = 0; plus <= 1; plus++) {
		struct seen s = {0};

		turns = guest.turns[0];
		while (fc_readdir(c, d, fh, s.last_off, 65536, plus, see, &s) > 0)
			;
		assert_int_equal(s.count, LIST_NAMES + 2);
		for (unsigned i = 0; i < LIST_NAMES; i++)
			assert_int_equal(s.times[i], 1);
		assert_true(guest.turns[0] - turns >= LIST_NAMES / (plus ? 5 : 40));
	}
	list_names_remove(d, 0, 1);
	assert_int_equal(fc_releasedir(c, d, fh), 0);
	assert_int_equal(fc_rmdir(c, ROOT, "d"), 0);
	assert_nothing_left();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_root_and_lookup),      T(test_make_and_remove), T(test_special_files),
	    T(test_hard_links),           T(test_rename),          T(test_readdir),
	    T(test_readdir_under_change), T(test_readdirplus),     T(test_listings_take_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
