/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The passthrough driver beyond the usual: what was agreed on at INIT and how long the guest may keep what it
 * got, TMPFILE, STATX, IOCTL, and what follows operations that create.
 */
#include <grp.h>
#include <linux/fs.h>
#include <linux/fiemap.h>
#include <linux/fsverity.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#include "pt_rig.h"
#include "sfs_passthrough.h"

#define ROOT     SFS_ROOT_ID
#define DAY      86400
#define PLUS     (FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO)
#define KILLPRIV ((uint64_t)FUSE_HANDLE_KILLPRIV_V2 | FUSE_HANDLE_KILLPRIV)
#define ACL      SFS_FUSE_ACL_FLAGS

/* --- INIT --- */

/* Which options switch which flags; what no row names is what all shares agree on. */
static const struct {
	const char *options;
	uint64_t on, off;
} init_rows[] = {
    {"",
     FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC | FUSE_EXPORT_SUPPORT | FUSE_BIG_WRITES |
	 FUSE_FLOCK_LOCKS | FUSE_HAS_IOCTL_DIR | FUSE_AUTO_INVAL_DATA | PLUS | FUSE_ASYNC_DIO |
	 FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_SUBMOUNTS | FUSE_INIT_EXT |
	 FUSE_CREATE_SUPP_GROUP | FUSE_ALLOW_IDMAP | ACL,
     FUSE_FILE_OPS | FUSE_SPLICE_READ | FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE | FUSE_WRITEBACK_CACHE |
	 FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT | FUSE_EXPLICIT_INVAL_DATA | FUSE_MAP_ALIGNMENT |
	 KILLPRIV | FUSE_SECURITY_CTX | FUSE_HAS_INODE_DAX | FUSE_DIRECT_IO_ALLOW_MMAP | 1ull << 37 |
	 1ull << 38 | 1ull << 39 | 1ull << 41 | 1ull << 42},
    {", \"posix_locks\": false", FUSE_FLOCK_LOCKS, FUSE_POSIX_LOCKS},
    {", \"flock\": false", FUSE_POSIX_LOCKS, FUSE_FLOCK_LOCKS},
    {", \"posix_acl\": \"never\"", 0, ACL},
    {", \"xattr\": false", 0, ACL},
    {", \"readdirplus\": false", 0, PLUS},
    {", \"readdirplus\": true", PLUS, 0},
    {", \"readdirplus\": \"always\"", FUSE_DO_READDIRPLUS, FUSE_READDIRPLUS_AUTO},
    {", \"writeback\": true", FUSE_WRITEBACK_CACHE, 0},
    {", \"cache\": \"never\"", 0, PLUS | FUSE_CACHE_SYMLINKS},
    {", \"cache\": \"metadata\"", PLUS | FUSE_CACHE_SYMLINKS, 0},
    {", \"cache\": \"always\"", PLUS | FUSE_CACHE_SYMLINKS, 0},
    {", \"allow_mmap\": true", FUSE_DIRECT_IO_ALLOW_MMAP, 0},
    {", \"announce_submounts\": false", 0, FUSE_SUBMOUNTS},
    {", \"killpriv_v2\": true", FUSE_HANDLE_KILLPRIV_V2, FUSE_HANDLE_KILLPRIV},
};

static void test_init_flags(void **state)
{
	struct rig *r = *state;

	for (size_t i = 0; i < SFS_ARRAY_SIZE(init_rows); i++) {
		uint64_t all, less = init_rows[i].on & ~(uint64_t)FUSE_INIT_EXT, flags;

		rig_start(r, init_rows[i].options);
		all = sfs_session_init_flags(r->g.se);
		assert_int_equal(all & init_rows[i].on, init_rows[i].on);
		assert_int_equal(all & init_rows[i].off, 0);
		rig_stop(r);
		/* Nothing that was not offered is ever answered. */
		for (uint64_t bit = 1; bit; bit <<= 1) {
			if (!(less & bit))
				continue;
			rig_start_with(r, init_rows[i].options, RIG_FLAGS_ALL & ~bit, NULL);
			flags = sfs_session_init_flags(r->g.se);
			assert_int_equal(flags & bit, 0);
			/* Those of access lists come together. */
			assert_int_equal(flags & ~(uint64_t)FUSE_HANDLE_KILLPRIV,
					 all & ~(bit & ACL ? ACL : bit));
			rig_stop(r);
		}
	}
	/* A guest that knows the older form alone gets that. */
	rig_start_with(r, ", \"killpriv_v2\": true", RIG_FLAGS_ALL & ~(uint64_t)FUSE_HANDLE_KILLPRIV_V2,
		       NULL);
	assert_true(sfs_session_init_flags(r->g.se) & FUSE_HANDLE_KILLPRIV);
}

static int init(struct rig *r, uint64_t flags)
{
	struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION,
				  .minor = 38,
				  .flags = (uint32_t)flags,
				  .flags2 = (uint32_t)(flags >> 32)};

	return fc_call(&r->c, FUSE_INIT, 0, &in, sizeof(in), NULL, NULL, sizeof(struct fuse_init_out));
}

/* "always": a guest that cannot is not served without. */
static void test_init_needs(void **state)
{
	struct rig *r = *state;

	rig_start(r, ", \"posix_acl\": \"always\"");
	assert_int_equal(sfs_session_init_flags(r->g.se) & ACL, ACL);
	for (uint64_t bit = 1; bit; bit <<= 1) {
		if (!(ACL & bit))
			continue;
		assert_int_equal(init(r, RIG_FLAGS_ALL & ~bit), -EPROTO);
		assert_int_equal(fc_getattr(&r->c, ROOT, NULL), -EIO);
		assert_int_equal(init(r, RIG_FLAGS_ALL), 0);
		assert_int_equal(fc_getattr(&r->c, ROOT, NULL), 0);
	}
	rig_stop(r);
	rig_start(r, "");
	assert_int_equal(init(r, RIG_FLAGS_ALL & ~ACL), 0);
	rig_stop(r);
	/* The host's part is seen to by test_label_refused. */
	rig_start(r, ", \"security_label\": \"always\", \"xattrmap\": \":map:security.selinux:user.:\"");
	assert_int_equal(init(r, RIG_FLAGS_ALL & ~(uint64_t)FUSE_SECURITY_CTX), -EPROTO);
	assert_int_equal(init(r, RIG_FLAGS_ALL), 0);
}

/* --- what the guest may keep --- */

static const struct {
	const char *options;
	uint64_t entry_s, attr_s;
	uint32_t entry_ns, attr_ns;
	uint32_t file, dir; /* FOPEN_* */
	bool negative;
} cache_rows[] = {
    {", \"cache\": \"never\"", 0, 0, 0, 0, FOPEN_DIRECT_IO, 0, false},
    {", \"cache\": \"none\"", 0, 0, 0, 0, FOPEN_DIRECT_IO, 0, false},
    {", \"cache\": \"metadata\"", DAY, DAY, 0, 0, FOPEN_DIRECT_IO, FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE, false},
    {"", 1, 1, 0, 0, 0, 0, false},
    {", \"cache\": \"auto\"", 1, 1, 0, 0, 0, 0, false},
    {", \"cache\": \"always\"", DAY, DAY, 0, 0, FOPEN_KEEP_CACHE, FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE, false},
    {", \"cache\": \"never\", \"attr_timeout_ms\": 250", 0, 0, 0, 250000000, FOPEN_DIRECT_IO, 0, false},
    {", \"cache\": \"always\", \"entry_timeout_ms\": 0, \"attr_timeout_ms\": null", 0, DAY, 0, 0,
     FOPEN_KEEP_CACHE, FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE, false},
    {", \"entry_timeout_ms\": 5001, \"negative_timeout_ms\": 3000", 5, 1, 1000000, 0, 0, 0, true},
    {", \"cache\": \"always\", \"allow_direct_io\": true, \"writeback\": true", DAY, DAY, 0, 0,
     FOPEN_KEEP_CACHE, FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE, false},
};

static uint32_t open_reply(struct rig *r, uint32_t opcode, uint64_t node)
{
	struct fuse_open_in in = {.flags = O_RDONLY};
	struct fuse_open_out out;

	assert_int_equal(fc_call(&r->c, opcode, node, &in, sizeof(in), NULL, NULL, sizeof(out)), 0);
	memcpy(&out, r->c.m->out, sizeof(out));
	return out.open_flags;
}

static void test_cache_matrix(void **state)
{
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out attr;
	struct fuse_entry_out e;
	struct rig *r = *state;

	rig_file(r, "f", "text");
	for (size_t i = 0; i < SFS_ARRAY_SIZE(cache_rows); i++) {
		rig_start(r, cache_rows[i].options);
		assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), 0);
		assert_int_equal(e.entry_valid, cache_rows[i].entry_s);
		assert_int_equal(e.entry_valid_nsec, cache_rows[i].entry_ns);
		assert_int_equal(e.attr_valid, cache_rows[i].attr_s);
		assert_int_equal(e.attr_valid_nsec, cache_rows[i].attr_ns);
		assert_int_equal(
		    fc_call(&r->c, FUSE_GETATTR, e.nodeid, &in, sizeof(in), NULL, NULL, sizeof(attr)), 0);
		memcpy(&attr, r->c.m->out, sizeof(attr));
		assert_int_equal(attr.attr_valid, cache_rows[i].attr_s);
		assert_int_equal(attr.attr_valid_nsec, cache_rows[i].attr_ns);
		assert_int_equal(open_reply(r, FUSE_OPEN, e.nodeid), cache_rows[i].file);
		assert_int_equal(open_reply(r, FUSE_OPENDIR, ROOT), cache_rows[i].dir);
		memset(&e, 0xee, sizeof(e));
		if (cache_rows[i].negative) {
			assert_int_equal(fc_lookup(&r->c, ROOT, "none", &e), 0);
			assert_int_equal(e.nodeid, 0);
			assert_int_equal(e.entry_valid, 3);
		} else {
			assert_int_equal(fc_lookup(&r->c, ROOT, "none", &e), -ENOENT);
		}
		rig_stop(r);
	}
}

/* --- TMPFILE --- */

struct created {
	struct fuse_entry_out entry;
	struct fuse_open_out open;
};

static int create_with(struct rig *r, uint32_t opcode, uint64_t dir, const char *name, uint32_t flags,
		       uint32_t mode, const void *ext, size_t ext_bytes, struct created *out)
{
	struct fuse_create_in in = {.flags = flags, .mode = mode};
	char tail[8192];
	size_t len = strlen(name) + 1;
	int rc;

	assert_true(len + ext_bytes <= sizeof(tail));
	memcpy(tail, name, len);
	if (ext_bytes)
		memcpy(tail + len, ext, ext_bytes);
	fg_send(&r->g, 0, r->c.m, opcode, dir, &in, sizeof(in), NULL, NULL, tail, len + ext_bytes,
		sizeof(*out));
	rc = fg_wait(&r->g, 0, r->c.m);
	if (rc == 0) {
		assert_int_equal(r->c.m->out_bytes, sizeof(*out));
		memcpy(out, r->c.m->out, sizeof(*out));
	}
	return rc;
}

static void test_tmpfile(void **state)
{
	struct fuse_entry_out e;
	struct rig *r = *state;
	struct created t;
	char text[16] = "";

	rig_start(r, "");
	assert_int_equal(create_with(r, FUSE_TMPFILE, ROOT, "/", O_RDWR, S_IFREG | 0640, NULL, 0, &t), 0);
	assert_int_equal(t.entry.attr.nlink, 0);
	assert_int_equal(t.entry.attr.mode, S_IFREG | 0640);
	assert_int_equal(fc_write(&r->c, t.entry.nodeid, t.open.fh, 0, "hello", 5), 5);
	assert_int_equal(fc_read(&r->c, t.entry.nodeid, t.open.fh, 0, text, 15), 5);
	assert_string_equal(text, "hello");
	/* It gets its name when it is complete. */
	assert_int_equal(fc_link(&r->c, t.entry.nodeid, ROOT, "named", &e), 0);
	assert_int_equal(e.nodeid, t.entry.nodeid);
	assert_int_equal(rig_stat(r, "named").st_size, 5);
	assert_int_equal(fc_release(&r->c, t.entry.nodeid, t.open.fh), 0);
	/* One that is never to have one. */
	assert_int_equal(
	    create_with(r, FUSE_TMPFILE, ROOT, "/", O_RDWR | O_EXCL, S_IFREG | 0600, NULL, 0, &t), 0);
	assert_int_equal(fc_link(&r->c, t.entry.nodeid, ROOT, "never", &e), -ENOENT);
	/* Not in files. */
	assert_int_equal(create_with(r, FUSE_TMPFILE, e.nodeid, "/", O_RDWR, S_IFREG | 0600, NULL, 0, &t),
			 -ENOTDIR);
	rig_stop(r);
	rig_start(r, ", \"readonly\": true");
	assert_int_equal(create_with(r, FUSE_TMPFILE, ROOT, "/", O_RDWR, S_IFREG | 0600, NULL, 0, &t),
			 -EROFS);
}

/* --- STATX --- */

static void test_statx(void **state)
{
	struct sfs_fuse_statx_in in = {.sx_mask = STATX_BASIC_STATS | STATX_BTIME};
	struct sfs_fuse_statx_out out;
	struct rig *r = *state;
	struct statx want;
	uint64_t node, fh;

	rig_file(r, "f", "text");
	assert_int_equal(statx(r->dir, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &want), 0);
	rig_start(r, "");
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh), 0);
	for (int by_handle = 0; by_handle < 2; by_handle++) {
		in.getattr_flags = by_handle ? FUSE_GETATTR_FH : 0;
		in.fh = fh;
		assert_int_equal(
		    fc_call(&r->c, SFS_FUSE_STATX, node, &in, sizeof(in), NULL, NULL, sizeof(out)), 0);
		assert_int_equal(r->c.m->out_bytes, sizeof(out));
		memcpy(&out, r->c.m->out, sizeof(out));
		assert_int_equal(out.attr_valid, 1);
		assert_int_equal(out.stat.mask, want.stx_mask & (STATX_BASIC_STATS | STATX_BTIME));
		assert_int_equal(out.stat.ino, want.stx_ino);
		assert_int_equal(out.stat.mode, want.stx_mode);
		assert_int_equal(out.stat.size, 4);
		assert_int_equal(out.stat.nlink, 1);
		assert_int_equal(out.stat.btime.tv_sec, want.stx_btime.tv_sec);
		assert_int_equal(out.stat.btime.tv_nsec, want.stx_btime.tv_nsec);
		assert_int_equal(out.stat.mtime.tv_nsec, want.stx_mtime.tv_nsec);
		assert_int_equal(out.stat.dev_major, want.stx_dev_major);
		assert_int_equal(out.stat.dev_minor, want.stx_dev_minor);
	}
	in.fh = fh + 100;
	assert_int_equal(fc_call(&r->c, SFS_FUSE_STATX, node, &in, sizeof(in), NULL, NULL, sizeof(out)),
			 -EBADF);
	assert_int_equal(fc_call(&r->c, SFS_FUSE_STATX, 77, &in, sizeof(in), NULL, NULL, sizeof(out)),
			 -ESTALE);
}

static void test_copy_64(void **state)
{
	struct fuse_copy_file_range_in in = {.len = 3};
	struct sfs_fuse_copy_file_range_out out;
	struct rig *r = *state;

	rig_start(r, "");
	rig_file(r, "from", "0123456789");
	rig_file(r, "to", "");
	in.nodeid_out = rig_node(r, ROOT, "to");
	assert_int_equal(fc_open(&r->c, rig_node(r, ROOT, "from"), O_RDONLY, &in.fh_in), 0);
	assert_int_equal(fc_open(&r->c, in.nodeid_out, O_RDWR, &in.fh_out), 0);
	in.off_in = 2;
	assert_int_equal(fc_call(&r->c, SFS_FUSE_COPY_FILE_RANGE_64, rig_node(r, ROOT, "from"), &in,
				 sizeof(in), NULL, NULL, sizeof(out)),
			 0);
	assert_int_equal(r->c.m->out_bytes, sizeof(out));
	memcpy(&out, r->c.m->out, sizeof(out));
	assert_int_equal(out.bytes_copied, 3);
	assert_int_equal(rig_stat(r, "to").st_size, 3);
}

/* --- IOCTL --- */

static int do_ioctl(struct rig *r, uint64_t node, uint64_t fh, unsigned long cmd, const void *data,
		    size_t in_bytes, void *out, uint32_t out_bytes)
{
	struct fuse_ioctl_in in = {
	    .fh = fh, .cmd = (uint32_t)cmd, .in_size = (uint32_t)in_bytes, .out_size = out_bytes};
	struct fuse_ioctl_out head;
	int rc;

	fg_send(&r->g, 0, r->c.m, FUSE_IOCTL, node, &in, sizeof(in), NULL, NULL, data, in_bytes,
		(uint32_t)sizeof(head) + out_bytes);
	rc = fg_wait(&r->g, 0, r->c.m);
	if (rc == 0) {
		assert_true(r->c.m->out_bytes >= sizeof(head));
		memcpy(&head, r->c.m->out, sizeof(head));
		assert_int_equal(head.result, 0);
		assert_int_equal(r->c.m->out_bytes - sizeof(head), out_bytes);
		if (out_bytes)
			memcpy(out, r->c.m->out + sizeof(head), out_bytes);
	}
	return rc;
}

static void test_ioctl_flags(void **state)
{
	struct rig *r = *state;
	uint64_t node, fh, dir;
	int host, flags = 0, got = 0, fd;
	struct fsxattr fsx;

	rig_file(r, "f", "text");
	fd = openat(r->dir, "f", O_RDONLY | O_CLOEXEC);
	if (ioctl(fd, FS_IOC_GETFLAGS, &host) < 0) {
		close(fd);
		skip();
	}
	rig_start(r, "");
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh), 0);
	assert_int_equal(do_ioctl(r, node, fh, FS_IOC_GETFLAGS, NULL, 0, &got, sizeof(got)), 0);
	assert_int_equal(got, host);
	flags = host | FS_NOATIME_FL;
	assert_int_equal(do_ioctl(r, node, fh, FS_IOC_SETFLAGS, &flags, sizeof(flags), NULL, 0), 0);
	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &got), 0);
	assert_int_equal(got, flags);
	assert_int_equal(do_ioctl(r, node, fh, FS_IOC_FSGETXATTR, NULL, 0, &fsx, sizeof(fsx)), 0);
	assert_true(fsx.fsx_xflags & FS_XFLAG_NOATIME);
	fsx.fsx_xflags &= ~(uint32_t)FS_XFLAG_NOATIME;
	assert_int_equal(do_ioctl(r, node, fh, FS_IOC_FSSETXATTR, &fsx, sizeof(fsx), NULL, 0), 0);
	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &got), 0);
	assert_int_equal(got, host);
	assert_int_equal(do_ioctl(r, node, fh, FS_IOC_FSSETXATTR, &fsx, sizeof(fsx) - 1, NULL, 0), -EINVAL);
	/* Not everybody's to set, whatever the guest's kernel lets through. */
	if (rig_is_root()) {
		flags = host | FS_IMMUTABLE_FL;
		r->g.uid = r->g.gid = 1000;
		assert_int_equal(do_ioctl(r, node, fh, FS_IOC_SETFLAGS, &flags, sizeof(flags), NULL, 0),
				 -EPERM);
		r->g.uid = r->g.gid = 0;
	}
	assert_int_equal(do_ioctl(r, node, fh, FS_IOC_SETFLAGS, &flags, 2, NULL, 0), -EINVAL);
	/* Directories. */
	assert_int_equal(fc_opendir(&r->c, ROOT, &dir), 0);
	assert_int_equal(do_ioctl(r, ROOT, dir, FS_IOC_GETFLAGS, NULL, 0, &got, sizeof(got)), 0);
	close(fd);
}

/* With id-mapped mounts agreed on, a guest says who calls only where something gets an owner. */
static void test_ioctl_of_nobody_in_particular(void **state)
{
	struct fsverity_enable_arg arg = {.version = 1, .hash_algorithm = 1, .block_size = 4096};
	struct fuse_access_in access = {.mask = R_OK | W_OK};
	struct rig *r = *state;
	uint64_t node, fh;
	int host, flags, got, fd;

	rig_file(r, "f", "text");
	fd = openat(r->dir, "f", O_RDONLY | O_CLOEXEC);
	if (ioctl(fd, FS_IOC_GETFLAGS, &host) < 0) {
		close(fd);
		skip();
	}
	rig_start(r, "");
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh), 0);
	r->g.uid = r->g.gid = UINT32_MAX;
	flags = host ^ FS_NOATIME_FL;
	assert_int_equal(do_ioctl(r, node, fh, FS_IOC_SETFLAGS, &flags, sizeof(flags), NULL, 0), 0);
	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &got), 0);
	assert_int_equal(got, flags);
	assert_int_equal(fc_call(&r->c, FUSE_ACCESS, node, &access, sizeof(access), NULL, NULL, 0), 0);
	assert_int_not_equal(do_ioctl(r, node, fh, FS_IOC_ENABLE_VERITY, &arg, sizeof(arg), NULL, 0), -EPERM);
	/* What is made has an owner. */
	if (rig_is_root())
		assert_int_equal(fc_mkdir(&r->c, ROOT, "d", 0700, NULL), -EPERM);
	rig_stop(r);
	/* A guest that has not agreed on it means what it says. */
	rig_start_with(r, "", RIG_FLAGS_ALL & ~FUSE_ALLOW_IDMAP, NULL);
	node = rig_node(r, ROOT, "f");
	r->g.uid = r->g.gid = 0;
	assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh), 0);
	r->g.uid = r->g.gid = UINT32_MAX;
	if (rig_is_root())
		assert_int_equal(do_ioctl(r, node, fh, FS_IOC_SETFLAGS, &host, sizeof(host), NULL, 0),
				 -EPERM);
	close(fd);
}

static void test_ioctl_others(void **state)
{
	static const unsigned long none[] = {FIGETBSZ, FIONREAD, FS_IOC_FIEMAP, FICLONE, FITRIM,
					     0x5401,   0,        UINT32_MAX};
	struct rig *r = *state;
	uint64_t node, fh;
	char room[128] = {0};

	rig_start(r, "");
	rig_file(r, "f", "text");
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh), 0);
	for (size_t i = 0; i < SFS_ARRAY_SIZE(none); i++)
		assert_int_equal(do_ioctl(r, node, fh, none[i], room, sizeof(room), room, sizeof(room)),
				 -ENOTTY);
	assert_int_equal(do_ioctl(r, node, fh + 9, FS_IOC_GETFLAGS, NULL, 0, room, 4), -EBADF);
	rig_stop(r);
	rig_start(r, ", \"readonly\": true");
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh), 0);
	assert_int_equal(do_ioctl(r, node, fh, FS_IOC_SETFLAGS, room, 4, NULL, 0), -EROFS);
	assert_int_equal(do_ioctl(r, node, fh, FS_IOC_ENABLE_VERITY, room, 128, NULL, 0), -EROFS);
}

/* What the host's filesystem says to fsverity, the guest gets, too. */
static void test_ioctl_verity(void **state)
{
	struct fsverity_enable_arg arg = {.version = 1, .hash_algorithm = 1, .block_size = 4096};
	char digest[sizeof(struct fsverity_digest) + 64] = {0};
	struct fsverity_digest *d = (void *)digest;
	struct rig *r = *state;
	uint64_t node, fh;
	int fd, want, got;

	rig_start(r, "");
	rig_file(r, "f", "text");
	fd = openat(r->dir, "f", O_RDONLY | O_CLOEXEC);
	d->digest_size = 64;
	want = ioctl(fd, FS_IOC_MEASURE_VERITY, d) < 0 ? -errno : 0;
	assert_true(want < 0);
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh), 0);
	got = do_ioctl(r, node, fh, FS_IOC_MEASURE_VERITY, digest, sizeof(*d), digest, sizeof(digest));
	assert_int_equal(got, want);
	/* Salt that is announced and not there. */
	arg.salt_size = 32;
	assert_int_equal(do_ioctl(r, node, fh, FS_IOC_ENABLE_VERITY, &arg, sizeof(arg), NULL, 0), -EINVAL);
	arg.salt_size = UINT32_MAX;
	arg.sig_size = 1;
	assert_int_equal(do_ioctl(r, node, fh, FS_IOC_ENABLE_VERITY, &arg, sizeof(arg), NULL, 0), -EINVAL);
	arg.salt_size = arg.sig_size = 0;
	want = ioctl(fd, FS_IOC_ENABLE_VERITY, &arg) < 0 ? -errno : 0;
	got = do_ioctl(r, node, fh, FS_IOC_ENABLE_VERITY, &arg, sizeof(arg), NULL, 0);
	assert_int_equal(got, want == 0 ? -EEXIST : want);
	close(fd);
}

/* --- what follows operations that create --- */

struct groups_ext {
	struct sfs_fuse_ext_header head;
	uint32_t count, group[5];
};

static void test_groups(void **state)
{
	struct groups_ext ext = {
	    .head = {.size = 16, .type = SFS_FUSE_EXT_GROUPS}, .count = 1, .group = {4242}};
	struct rig *r = *state;
	struct created t;

	if (!rig_is_root())
		skip();
	assert_int_equal(mkdirat(r->dir, "dir", 0775), 0);
	assert_int_equal(fchownat(r->dir, "dir", 0, 4242, 0), 0);
	assert_int_equal(fchmodat(r->dir, "dir", 02775, 0), 0);
	rig_start(r, "");
	r->g.uid = r->g.gid = 1000;
	/* A stranger may not hand out the group's bit, a member may. */
	assert_int_equal(
	    create_with(r, FUSE_CREATE, rig_node(r, ROOT, "dir"), "a", O_RDWR, S_IFREG | 02775, NULL, 0, &t),
	    0);
	assert_int_equal(rig_stat(r, "dir/a").st_gid, 4242);
	assert_int_equal(rig_stat(r, "dir/a").st_mode & S_ISGID, 0);
	assert_int_equal(
	    create_with(r, FUSE_CREATE, rig_node(r, ROOT, "dir"), "b", O_RDWR, S_IFREG | 02775, &ext, 16, &t),
	    0);
	assert_int_equal(rig_stat(r, "dir/b").st_gid, 4242);
	assert_int_equal(rig_stat(r, "dir/b").st_mode & S_ISGID, S_ISGID);
	/* Nothing of it stays with the thread. */
	assert_int_equal(
	    create_with(r, FUSE_CREATE, rig_node(r, ROOT, "dir"), "c", O_RDWR, S_IFREG | 02775, NULL, 0, &t),
	    0);
	assert_int_equal(rig_stat(r, "dir/c").st_mode & S_ISGID, 0);
	assert_int_equal(getgroups(0, NULL), 0);
	assert_int_equal(create_with(r, FUSE_TMPFILE, rig_node(r, ROOT, "dir"), "/", O_RDWR, S_IFREG | 02775,
				     &ext, 16, &t),
			 0);
	assert_int_equal(t.entry.attr.mode & S_ISGID, S_ISGID);
}

static int create_ext(struct rig *r, const void *ext, size_t bytes)
{
	struct created t;

	return create_with(r, FUSE_CREATE, ROOT, "x", O_RDWR | O_EXCL, S_IFREG | 0644, ext, bytes, &t);
}

static void test_bad_extensions(void **state)
{
	struct {
		struct sfs_fuse_ext_header head;
		struct fuse_secctx ctx;
		char text[24];
	} label = {.head = {.size = 40, .type = 1}, .ctx = {.size = 4}, .text = "security.selinux\0abc"};
	struct groups_ext g = {.head = {.size = 16, .type = SFS_FUSE_EXT_GROUPS}, .count = 1};
	struct rig *r = *state;

	rig_start(r, "");
	assert_int_equal(create_ext(r, "junk", 4), -EINVAL);
	g.head.size = 4;
	assert_int_equal(create_ext(r, &g, 16), -EINVAL);
	g.head.size = 17;
	assert_int_equal(create_ext(r, &g, 16), -EINVAL);
	g.head.size = 16;
	g.count = 2;
	assert_int_equal(create_ext(r, &g, 16), -EINVAL);
	g.count = UINT32_MAX;
	assert_int_equal(create_ext(r, &g, sizeof(g)), -EINVAL);
	g.head.type = 33;
	assert_int_equal(create_ext(r, &g, 16), -EINVAL);
	label.ctx.size = 9;
	label.head.size = 37;
	assert_int_equal(create_ext(r, &label, 37), -EINVAL);
	label.head.size = 12;
	assert_int_equal(create_ext(r, &label, 12), -EINVAL);
	assert_int_equal(faccessat(r->dir, "x", F_OK, 0), -1);
	/* A label that was not agreed on is none. */
	label.head.size = 40;
	label.ctx.size = 4;
	assert_int_equal(create_ext(r, &label, 40), 0);
}

/* Where the host has no labels at creation, that is said at once. */
static void test_label_refused(void **state)
{
	static const char json[] = "{\"shared_dir\": \"/\", \"security_label\": \"always\"}";
	char text[16];
	struct sfs_conf_err err = {""};
	struct sfs_fs_info info;
	struct sfs_conf_doc *doc;
	struct rig *r = *state;
	int fd = open("/proc/thread-self/attr/fscreate", O_RDONLY | O_CLOEXEC);
	bool works = fd >= 0 && read(fd, text, sizeof(text)) >= 0;
	void *fs;

	if (fd >= 0)
		close(fd);
	assert_int_equal(sfs_conf_doc_parse(json, strlen(json), "f", &doc, &err), 0);
	if (works) {
		assert_int_equal(sfs_fs_passthrough.create(sfs_conf_doc_root(doc), &fs, &info, &err), 0);
		assert_true(info.init_flags & FUSE_SECURITY_CTX);
		sfs_fs_passthrough.destroy(fs);
	} else {
		assert_int_equal(sfs_fs_passthrough.create(sfs_conf_doc_root(doc), &fs, &info, &err),
				 -EINVAL);
		assert_non_null(strstr(err.text, "security_label"));
	}
	sfs_conf_doc_destroy(doc);
	rig_start(r, ", \"security_label\": \"auto\"");
	assert_int_equal((sfs_session_init_flags(r->g.se) & FUSE_SECURITY_CTX) != 0, works);
}

/* A guest's labels under another name, where the host's security module has no part in them: there once the answer is. */
static void test_label_renamed(void **state)
{
	enum { LARGE = 6000 }; /* more than ext4 keeps in an attribute */
	struct {
		struct sfs_fuse_ext_header head;
		struct fuse_secctx ctx;
		char text[LARGE + 24];
	} label = {.head = {.size = 40, .type = 1}, .ctx = {.size = 4}, .text = "security.selinux\0abc"};
	static const char name[] = "user.v.security.selinux";
	char text[16], path[64];
	struct rig *r = *state;
	struct stat st;
	int rc, dir = r->dir;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/x", dir);
	rig_file(r, "x", "");
	if (setxattr(path, name, "abc", 4, 0) < 0)
		skip(); /* such attributes are not kept here */
	assert_int_equal(unlinkat(dir, "x", 0), 0);
	rig_start(r, ", \"xattrmap\": \":map:security.:user.v.:\", \"security_label\": \"always\"");
	assert_true(sfs_session_init_flags(r->g.se) & FUSE_SECURITY_CTX);
	assert_int_equal(create_ext(r, &label, 40), 0);
	assert_int_equal(getxattr(path, name, text, sizeof(text)), 4);
	assert_string_equal(text, "abc");
	assert_int_equal(unlinkat(dir, "x", 0), 0);
	/* Without one there is none. */
	assert_int_equal(create_ext(r, NULL, 0), 0);
	assert_int_equal(getxattr(path, name, text, sizeof(text)), -1);
	assert_int_equal(unlinkat(dir, "x", 0), 0);
	/* What cannot be labelled is not made. */
	memset(label.text + 17, 'a', LARGE);
	label.ctx.size = LARGE;
	label.head.size = SFS_ALIGN_UP(8 + 8 + 17 + LARGE, 8);
	rc = create_ext(r, &label, label.head.size);
	assert_int_equal(fstatat(dir, "x", &st, 0), rc == 0 ? 0 : -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_init_flags, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_init_needs, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_cache_matrix, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_tmpfile, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_statx, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_copy_64, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_ioctl_flags, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_ioctl_of_nobody_in_particular, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_ioctl_others, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_ioctl_verity, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_groups, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_bad_extensions, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_label_refused, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_label_renamed, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests_name("passthrough_ext", tests, NULL, NULL);
}
