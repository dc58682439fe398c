/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The in-memory filesystem through a real session: contents, attributes, lifetimes and limits. Names are in
 * test_mem_fs_names.c, what two lanes do at once in test_mem_fs_threads.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem_fs_rig.h"

#define BLOCK 4096u
#define MIB   (1u << 20)

static void fill(char *buf, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		buf[i] = (char)(1 + (seed * 7919 + i * 31 + i / 251) % 255); /* never 0 */
}

static bool all_zero(const char *buf, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (buf[i])
			return false;
	return true;
}

/* --- contents --- */

static void test_read_write(void **state)
{
	char *out = malloc(MIB), *in = malloc(MIB);
	uint64_t fh, ro, f = make("f", &fh);

	fill(out, MIB, 1);
	assert_int_equal(fc_read(c, f, fh, 0, in, 100), 0);
	assert_int_equal(fc_write(c, f, fh, 4000, out, 200), 200); /* over a block's edge; a hole before it */
	assert_int_equal(attr_of(f).size, 4200);
	assert_int_equal(fc_read(c, f, fh, 0, in, MIB), 4200);
	assert_true(all_zero(in, 4000));
	assert_memory_equal(in + 4000, out, 200);
	assert_int_equal(fc_read(c, f, fh, 4199, in, 100), 1);
	assert_int_equal(fc_read(c, f, fh, 4200, in, 100), 0);
	assert_int_equal(fc_read(c, f, fh, UINT64_MAX, in, 100), 0);

	assert_int_equal(fc_write(c, f, fh, 12345, out, MIB),
			 MIB); /* as much as a request can hold, at an odd place */
	assert_int_equal(fc_read(c, f, fh, 12345, in, MIB), MIB);
	assert_memory_equal(in, out, MIB);
	assert_int_equal(fc_write(c, f, fh, 5ull << 40, out, 10),
			 10); /* far away: the map grows, the rest stays */
	assert_int_equal(fc_read(c, f, fh, 12345, in, MIB), MIB);
	assert_memory_equal(in, out, MIB);
	assert_int_equal(fc_read(c, f, fh, 5ull << 40, in, 100), 10);
	assert_memory_equal(in, out, 10);
	assert_true(attr_of(f).blocks * 512 < 2 * MIB);
	assert_int_equal(fc_write(c, f, fh, 1ull << 62, out, 10), -EFBIG);
	assert_int_equal(fc_write(c, f, fh, UINT64_MAX, out, 10), -EFBIG);

	assert_int_equal(fc_open(c, f, O_RDONLY, &ro), 0);
	assert_int_equal(fc_write(c, f, ro, 0, out, 10), -EBADF);
	assert_int_equal(fc_read(c, f, ro + 7, 0, in, 10), -EBADF);
	assert_int_equal(fc_read(c, ROOT, ro, 0, in, 10), -EBADF); /* another node's handle */
	assert_int_equal(fc_release(c, f, ro), 0);
	assert_int_equal(fc_open(c, f, O_WRONLY, &ro), 0);
	assert_int_equal(fc_read(c, f, ro, 0, in, 10), -EBADF);
	assert_int_equal(fc_release(c, f, ro), 0);
	assert_int_equal(fc_release(c, f, ro), -EBADF);
	assert_int_equal(fc_open(c, ROOT, O_RDONLY, &ro), -EISDIR);
	assert_int_equal(fc_unlink(c, ROOT, "f"), 0);
	assert_nothing_left();
	free(out);
	free(in);
}

static void test_truncate(void **state)
{
	char out[3 * BLOCK], in[4 * BLOCK];
	uint64_t fh, f = make("f", &fh);
	struct fuse_entry_out e;

	fill(out, sizeof(out), 2);
	assert_int_equal(fc_write(c, f, fh, 0, out, sizeof(out)), sizeof(out));
	assert_int_equal(fc_truncate(c, f, 5000), 0);
	assert_int_equal(attr_of(f).size, 5000);
	assert_int_equal(attr_of(f).blocks, 3 * 8); /* two blocks and an index */
	assert_int_equal(fc_truncate(c, f, sizeof(in)), 0);
	assert_int_equal(fc_read(c, f, fh, 0, in, sizeof(in)), sizeof(in));
	assert_memory_equal(in, out, 5000);
	assert_true(all_zero(in + 5000, sizeof(in) - 5000)); /* what was cut off does not come back */
	assert_int_equal(fc_truncate(c, f, 1ull << 60), -EFBIG);
	assert_int_equal(fc_truncate(c, ROOT, 0), -EISDIR);
	assert_int_equal(fc_create(c, ROOT, "f", O_RDWR | O_TRUNC, 0644, &e, &fh), 0);
	assert_int_equal(e.attr.size, 0);
	assert_int_equal(attr_of(f).blocks, 0);
	assert_int_equal(fc_write(c, f, fh, 0, out, 100), 100);
	assert_int_equal(fc_open(c, f, O_RDWR | O_TRUNC, &fh), 0);
	assert_int_equal(attr_of(f).size, 0);
	assert_int_equal(fc_unlink(c, ROOT, "f"), 0);
	assert_nothing_left();
}

static void test_holes(void **state)
{
	char out[8 * BLOCK], in[8 * BLOCK];
	uint64_t fh, f = make("f", &fh);
	const uint32_t punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	fill(out, sizeof(out), 3);
	assert_int_equal(fc_write(c, f, fh, 0, out, sizeof(out)), sizeof(out));
	assert_int_equal(fc_lseek(c, f, fh, 0, SEEK_HOLE), sizeof(out));
	assert_int_equal(fc_lseek(c, f, fh, 100, SEEK_DATA), 100);
	assert_int_equal(fc_fallocate(c, f, fh, punch, BLOCK + 10, 3 * BLOCK), 0);
	assert_int_equal(fc_read(c, f, fh, 0, in, sizeof(in)), sizeof(in));
	memset(out + BLOCK + 10, 0, 3 * BLOCK);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(fc_lseek(c, f, fh, 0, SEEK_HOLE), 2 * BLOCK);
	assert_int_equal(fc_lseek(c, f, fh, 2 * BLOCK + 5, SEEK_HOLE), 2 * BLOCK + 5);
	assert_int_equal(fc_lseek(c, f, fh, 2 * BLOCK + 5, SEEK_DATA), 4 * BLOCK);
	assert_int_equal(fc_fallocate(c, f, fh, punch, 5 * BLOCK + 1, 10), 0); /* inside of one block */
	memset(out + 5 * BLOCK + 1, 0, 10);
	assert_int_equal(fc_read(c, f, fh, 0, in, sizeof(in)), sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(fc_fallocate(c, f, fh, punch, 0, 1ull << 51), 0);
	assert_int_equal(attr_of(f).blocks, 0);
	assert_int_equal(fc_lseek(c, f, fh, 0, SEEK_DATA), -ENXIO);
	assert_int_equal(fc_lseek(c, f, fh, 0, SEEK_HOLE), 0);
	assert_int_equal(fc_lseek(c, f, fh, sizeof(out), SEEK_HOLE), -ENXIO);
	assert_int_equal(fc_lseek(c, f, fh, UINT64_MAX, SEEK_HOLE), -ENXIO);
	assert_int_equal(fc_lseek(c, f, fh, 0, SEEK_CUR), -EINVAL);
	assert_int_equal(fc_unlink(c, ROOT, "f"), 0);
	assert_nothing_left();
}

static void test_fallocate(void **state)
{
	uint64_t fh, ro, f = make("f", &fh);
	char buf[100];

	assert_int_equal(fc_fallocate(c, f, fh, 0, 0, 10000), 0);
	assert_int_equal(attr_of(f).size, 10000);
	assert_int_equal(attr_of(f).blocks, 4 * 8);
	assert_int_equal(fc_fallocate(c, f, fh, FALLOC_FL_KEEP_SIZE, 0, 3 * MIB),
			 0); /* large: by way of a worker */
	assert_int_equal(attr_of(f).size, 10000);
	assert_true(attr_of(f).blocks * 512 >= 3 * MIB);
	assert_int_equal(fc_fallocate(c, f, fh, 0, MIB, 2 * MIB), 0);
	assert_int_equal(attr_of(f).size, 3 * MIB);
	assert_int_equal(fc_read(c, f, fh, 2 * MIB, buf, sizeof(buf)), sizeof(buf));
	assert_true(all_zero(buf, sizeof(buf)));
	assert_int_equal(fc_fallocate(c, f, fh, 0, 0, 1ull << 30), -ENOSPC);
	assert_int_equal(fc_fallocate(c, f, fh, 0, 0, 0), -EINVAL);
	assert_int_equal(fc_fallocate(c, f, fh, 0, UINT64_MAX, 2), -EFBIG);
	assert_int_equal(fc_fallocate(c, f, fh, 0, 2, UINT64_MAX), -EFBIG);
	assert_int_equal(fc_fallocate(c, f, fh, FALLOC_FL_ZERO_RANGE, 0, 10), -EOPNOTSUPP);
	assert_int_equal(fc_open(c, f, O_RDONLY, &ro), 0);
	assert_int_equal(fc_fallocate(c, f, ro, 0, 0, 10), -EBADF);
	assert_int_equal(fc_unlink(c, ROOT, "f"), 0);
	assert_nothing_left();
}

/* Several large ones at once on one lane: each gets its turn, and while they are under way the lane serves
 * others. */
static void test_fallocate_turns(void **state)
{
	uint64_t fh, f = make("f", &fh);
	struct fg_msg *m[4];

	for (unsigned i = 0; i < 4; i++) {
		struct fuse_fallocate_in in = {.fh = fh, .offset = i * 2 * MIB, .length = 2 * MIB};

		m[i] = fg_new();
		fg_send(&guest, 0, m[i], FUSE_FALLOCATE, f, &in, sizeof(in), NULL, NULL, NULL, 0, 0);
	}
	assert_int_equal(fc_getattr(c, ROOT, NULL), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(fg_wait(&guest, 0, m[i]), 0);
		fg_free(m[i]);
	}
	assert_int_equal(attr_of(f).size, 8 * MIB);
	assert_int_equal(guest.lanes[0].stats[FUSE_FALLOCATE].path[SFS_PATH_WORKER], 4);
	assert_int_equal(fc_unlink(c, ROOT, "f"), 0);
	assert_nothing_left();
}

/* --- lifetimes and limits --- */

static void test_open_unlinked(void **state)
{
	uint64_t fh, f = make("f", &fh);
	struct fuse_kstatfs st;
	char buf[10];

	assert_int_equal(fc_write(c, f, fh, 0, "contents", 8), 8);
	assert_int_equal(fc_unlink(c, ROOT, "f"), 0);
	assert_int_equal(attr_of(f).nlink, 0);
	assert_int_equal(fc_read(c, f, fh, 0, buf, sizeof(buf)), 8);
	fc_forget(c, f, 1);
	assert_int_equal(fc_read(c, f, fh, 0, buf, sizeof(buf)), 8); /* the handle alone holds it */
	assert_memory_equal(buf, "contents", 8);
	assert_int_equal(fc_write(c, f, fh, 8, "!", 1), 1);
	assert_int_equal(fc_release(c, f, fh), 0);
	assert_int_equal(fc_read(c, f, fh, 0, buf, sizeof(buf)), -EBADF);
	assert_int_equal(fc_statfs(c, &st), 0);
	assert_int_equal(st.bfree, before.bfree); /* at once, not when the guest goes */
	assert_nothing_left();
}

static void test_no_space(void **state)
{
	char *buf = malloc(MIB);
	uint64_t fh, total = 0, f = make("f", &fh);
	struct fuse_kstatfs st;
	struct fuse_entry_out e;
	ssize_t n;

	fill(buf, MIB, 4);
	while ((n = fc_write(c, f, fh, total, buf, MIB)) > 0)
		total += (uint64_t)n;
	assert_int_equal(n, -ENOSPC);
	assert_true(total > 15 * MIB && total < 16 * MIB);
	assert_int_equal(attr_of(f).size, total);
	assert_int_equal(fc_statfs(c, &st), 0);
	assert_int_equal(st.bfree, 0);
	assert_int_equal(fc_setxattr(c, f, "user.x", "1", 1, 0), -ENOSPC);
	assert_int_equal(fc_fallocate(c, f, fh, 0, total + MIB, 1), -ENOSPC);
	assert_int_equal(fc_symlink(c, ROOT, "l", "t", &e), -ENOSPC);
	/* Memory of a tree that was given back as a whole is found again, piece by piece. */
	assert_int_equal(fc_truncate(c, f, 0), 0);
	for (total = 0; (n = fc_write(c, f, fh, total, buf, MIB)) > 0; total += (uint64_t)n)
		;
	assert_true(total > 15 * MIB);
	assert_int_equal(fc_read(c, f, fh, 3 * MIB, buf, 10), 10);
	assert_int_equal(fc_release(c, f, fh), 0);
	assert_int_equal(fc_unlink(c, ROOT, "f"), 0);
	fc_forget(c, f, 1);
	assert_int_equal(fc_statfs(c, &st), 0);
	assert_int_equal(st.bfree, before.bfree);
	assert_nothing_left();
	free(buf);
}

static void test_no_inodes(void **state)
{
	struct fuse_entry_out e;
	char name[32];
	unsigned n;
	int rc;

	for (n = 0;; n++) {
		snprintf(name, sizeof(name), "%u", n);
		rc = fc_mknod(c, ROOT, name, S_IFREG | 0600, 0, &e);
		if (rc)
			break;
		fc_forget(c, e.nodeid, 1);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(n, before.ffree);
	while (n--) {
		snprintf(name, sizeof(name), "%u", n);
		assert_int_equal(fc_unlink(c, ROOT, name), 0);
	}
	assert_nothing_left();
}

/* The guest's table of nodes is full: an errno, and nothing is lost on either side. */
static void test_table_full(void **state)
{
	const struct sfs_session_limits limits = {.inodes = 16, .handles = 4, .fds = 4};
	struct fuse_entry_out e = {0}, last;
	uint64_t fh[8];
	char name[32];
	unsigned n;
	int rc = 0;

	fc_fini(c);
	fg_stop(&guest);
	fg_start_limited(&guest, &sfs_fs_mem, "{\"size_mib\": 16, \"inodes\": 4096}", 1, &limits);
	fc_init(c, &guest, 0);
	for (n = 0; rc == 0 && n < 100; n++) {
		last = e;
		snprintf(name, sizeof(name), "%u", n);
		rc = fc_mkdir(c, ROOT, name, 0755, &e);
	}
	assert_int_equal(rc, -ENFILE);
	assert_int_equal(fc_opendir(c, ROOT, &fh[0]), 0);
	assert_int_equal(fc_readdir(c, ROOT, fh[0], 0, 65536, true, NULL, NULL),
			 n + 2); /* no name is missing */
	fc_forget(c, last.nodeid, 10);
	assert_int_equal(fc_create(c, ROOT, "file", O_RDWR, 0644, &e, &fh[1]), 0);
	for (n = 2; (rc = fc_open(c, e.nodeid, O_RDWR, &fh[n])) == 0; n++)
		;
	assert_int_equal(rc, -ENFILE);
	assert_int_equal(n, 4);
	/* CREATE finds the node and gets no handle: the lookup that it counted is taken back. */
	assert_int_equal(fc_create(c, ROOT, "file", O_RDWR, 0644, &last, &fh[4]), -ENFILE);
	while (n-- > 1)
		assert_int_equal(fc_release(c, e.nodeid, fh[n]), 0);
	fc_forget(c, e.nodeid, 1);
	assert_int_equal(fc_unlink(c, ROOT, "file"), 0);
	assert_int_equal(fc_getattr(c, e.nodeid, NULL), -ESTALE);
	assert_int_equal(fc_lookup(c, ROOT, "file", &e), -ENOENT);
}

static void test_contents_outlive_the_guest(void **state)
{
	uint64_t fh, f = make("f", &fh);
	struct fuse_entry_out e;
	char buf[10];

	assert_int_equal(fc_write(c, f, fh, 0, "contents", 8), 8);
	fg_reconnect(&guest);
	assert_int_equal(fc_read(c, f, fh, 0, buf, 8), -EBADF);
	assert_int_equal(fc_lookup(c, ROOT, "f", &e), 0);
	assert_int_equal(fc_open(c, e.nodeid, O_RDWR, &fh), 0);
	assert_int_equal(fc_read(c, e.nodeid, fh, 0, buf, 8), 8);
	assert_memory_equal(buf, "contents", 8);
	assert_int_equal(fc_unlink(c, ROOT, "f"), 0);
	assert_nothing_left();
}

/* --- attributes --- */

static void test_setattr(void **state)
{
	uint64_t fh, f = make("f", &fh);
	struct fuse_setattr_in in = {
	    .valid = FATTR_MODE | FATTR_UID | FATTR_GID, .mode = S_IFDIR | 04751, .uid = 1, .gid = 2};
	struct fuse_attr attr;

	attr = attr_of(f);
	assert_int_equal(attr.uid, 1000);
	assert_int_equal(attr.gid, 1000);
	assert_int_equal(fc_setattr(c, f, &in, &attr), 0);
	assert_int_equal(attr.mode, S_IFREG | 04751); /* the type never changes */
	assert_int_equal(attr.uid, 1);
	assert_int_equal(attr.gid, 2);
	in = (struct fuse_setattr_in){
	    .valid = FATTR_ATIME | FATTR_MTIME, .atime = 5, .atimensec = 6, .mtime = 7};
	assert_int_equal(fc_setattr(c, f, &in, &attr), 0);
	assert_int_equal(attr.atime, 5);
	assert_int_equal(attr.atimensec, 6);
	assert_int_equal(attr.mtime, 7);
	assert_true(attr.ctime > 1000);
	in = (struct fuse_setattr_in){.valid = FATTR_MTIME | FATTR_MTIME_NOW};
	assert_int_equal(fc_setattr(c, f, &in, &attr), 0);
	assert_true(attr.mtime > 1000);
	in = (struct fuse_setattr_in){.valid = FATTR_MTIME, .mtimensec = 1000000000};
	assert_int_equal(fc_setattr(c, f, &in, &attr), -EINVAL);
	in = (struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_FH, .size = 9, .fh = fh};
	assert_int_equal(fc_setattr(c, f, &in, &attr), 0);
	assert_int_equal(attr.size, 9);
	in.fh++;
	assert_int_equal(fc_setattr(c, f, &in, &attr), -EBADF);
	assert_int_equal(fc_unlink(c, ROOT, "f"), 0);
	assert_nothing_left();
}

static void test_setgid_directory(void **state)
{
	struct fuse_setattr_in in = {.valid = FATTR_MODE | FATTR_GID, .mode = 02775, .gid = 77};
	uint64_t fh, d = make_dir(ROOT, "d");
	struct fuse_entry_out e;

	assert_int_equal(fc_setattr(c, d, &in, NULL), 0);
	assert_int_equal(fc_create(c, d, "f", O_RDWR, 02755, &e, &fh), 0);
	assert_int_equal(e.attr.gid, 77);
	assert_int_equal(e.attr.mode, S_IFREG | 0755); /* the caller is not in group 77 */
	assert_int_equal(fc_mkdir(c, d, "sub", 0755, &e), 0);
	assert_int_equal(e.attr.gid, 77);
	assert_int_equal(e.attr.mode, S_IFDIR | 02755);
	assert_int_equal(fc_rmdir(c, d, "sub"), 0);
	assert_int_equal(fc_unlink(c, d, "f"), 0);
	assert_int_equal(fc_rmdir(c, ROOT, "d"), 0);
	assert_nothing_left();
}

static void test_xattr(void **state)
{
	char *big = malloc(65536), *got = malloc(65536), name[256];
	uint64_t fh, f = make("f", &fh);
	struct fuse_getxattr_in ask = {.size = 0};

	fill(big, 65536, 5);
	assert_int_equal(fc_getxattr(c, f, "user.a", got, 10), -ENODATA);
	assert_int_equal(fc_listxattr(c, f, got, 100), 0);
	assert_int_equal(fc_setxattr(c, f, "user.a", "one", 3, XATTR_REPLACE), -ENODATA);
	assert_int_equal(fc_setxattr(c, f, "user.a", "one", 3, XATTR_CREATE), 0);
	assert_int_equal(fc_setxattr(c, f, "user.a", "one", 3, XATTR_CREATE), -EEXIST);
	assert_int_equal(fc_setxattr(c, f, "user.b", big, 65536, 0), 0);
	assert_int_equal(fc_setxattr(c, f, "user.c", "", 0, 0), 0);
	assert_int_equal(fc_getxattr(c, f, "user.a", NULL, 0), 3);
	assert_int_equal(fc_getxattr(c, f, "user.a", got, 2), -ERANGE);
	assert_int_equal(fc_getxattr(c, f, "user.a", got, 100), 3);
	assert_memory_equal(got, "one", 3);
	assert_int_equal(fc_getxattr(c, f, "user.b", got, 65536), 65536);
	assert_memory_equal(got, big, 65536);
	assert_int_equal(fc_getxattr(c, f, "user.c", got, 10), 0);
	assert_int_equal(fc_listxattr(c, f, NULL, 0), 21);
	assert_int_equal(fc_listxattr(c, f, got, 20), -ERANGE);
	assert_int_equal(fc_call(c, FUSE_LISTXATTR, f, &ask, sizeof(ask), NULL, NULL, 7), -EINVAL);
	assert_int_equal(fc_listxattr(c, f, got, 21), 21);
	assert_memory_equal(got, "user.a\0user.b\0user.c", 21);
	assert_int_equal(fc_setxattr(c, f, "user.b", "two", 3, XATTR_REPLACE), 0);
	assert_int_equal(fc_getxattr(c, f, "user.b", got, 100), 3);
	assert_int_equal(fc_removexattr(c, f, "user.a"), 0);
	assert_int_equal(fc_removexattr(c, f, "user.a"), -ENODATA);
	assert_int_equal(fc_listxattr(c, f, got, 100), 14);
	memset(name, 'n', 255);
	name[255] = '\0';
	for (unsigned i = 0; i < 300; i++) { /* as many as a list of 64 KiB can tell, and then no more */
		memcpy(name,
		       (const char[]){'0' + (char)(i / 100), '0' + (char)(i / 10 % 10), '0' + (char)(i % 10)},
		       3);
		if (fc_setxattr(c, f, name, "x", 1, 0) == -ENOSPC)
			break;
		assert_true(i < 299);
	}
	assert_true(fc_listxattr(c, f, got, 65536) > 60000);
	assert_int_equal(fc_unlink(c, ROOT, "f"), 0);
	assert_nothing_left();
	free(big);
	free(got);
}

static void test_sync(void **state)
{
	uint64_t fh, f = make("f", &fh);
	struct fuse_fsync_in in = {.fh = fh};

	assert_int_equal(fc_call(c, FUSE_FSYNC, f, &in, sizeof(in), NULL, NULL, 0), 0);
	in.fh++;
	assert_int_equal(fc_call(c, FUSE_FSYNC, f, &in, sizeof(in), NULL, NULL, 0), -EBADF);
	assert_int_equal(fc_unlink(c, ROOT, "f"), 0);
	assert_nothing_left();
}

/* Unknown options and values out of range are errors with a place. */
static void test_options(void **state)
{
	static const char *const bad[] = {"{\"size_mib\": 0}", "{\"size_mib\": \"1\"}", "{\"inodes\": 3}",
					  "{\"x\": 1}"};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(bad); i++) {
		struct sfs_fs_info info = {0};
		struct sfs_conf_doc *doc;
		struct sfs_conf_err err;
		void *fs;

		assert_int_equal(sfs_conf_doc_parse(bad[i], strlen(bad[i]), "o", &doc, &err), 0);
		assert_int_equal(sfs_fs_mem.create(sfs_conf_doc_root(doc), &fs, &info, &err), -EINVAL);
		assert_non_null(strstr(err.text, "o:1:"));
		sfs_conf_doc_destroy(doc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_read_write),
	    T(test_truncate),
	    T(test_holes),
	    T(test_fallocate),
	    T(test_fallocate_turns),
	    T(test_open_unlinked),
	    T(test_no_space),
	    T(test_no_inodes),
	    T(test_table_full),
	    T(test_contents_outlive_the_guest),
	    T(test_setattr),
	    T(test_setgid_directory),
	    T(test_xattr),
	    T(test_sync),
	    cmocka_unit_test(test_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
