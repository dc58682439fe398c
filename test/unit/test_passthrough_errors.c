/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Errors of the host reach the guest as they are, EINTR and EAGAIN never: the linker lets the driver's system
 * calls go through us (--wrap).
 */
#include <sched.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#include "pt_rig.h"

#define ROOT SFS_ROOT_ID

/* What is to fail: the next @times calls of @fn, with @err; or to do less than it was asked for. */
static struct {
	const char *fn;
	int err, times;
	size_t most_bytes; /* of one pwritev(): a short count */
} inject;

static bool fails(const char *fn)
{
	if (!inject.fn || inject.times == 0 || strcmp(fn, inject.fn) != 0)
		return false;
	inject.times--;
	errno = inject.err;
	return true;
}

#define WRAP(type, fn, params, args)                                                                         \
	type __real_##fn params;                                                                             \
	type __wrap_##fn params;                                                                             \
	type __wrap_##fn params                                                                              \
	{                                                                                                    \
		return fails(#fn) ? -1 : __real_##fn args;                                                   \
	}

WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, flock, (int fd, int how), (fd, how))
WRAP(int, fallocate64, (int fd, int mode, off_t off, off_t len), (fd, mode, off, len))
WRAP(off_t, lseek64, (int fd, off_t off, int whence), (fd, off, whence))
WRAP(int, ftruncate64, (int fd, off_t size), (fd, size))
WRAP(int, mkdirat, (int fd, const char *name, mode_t mode), (fd, name, mode))
WRAP(int, mknodat, (int fd, const char *name, mode_t mode, dev_t dev), (fd, name, mode, dev))
WRAP(int, symlinkat, (const char *to, int fd, const char *name), (to, fd, name))
WRAP(ssize_t, readlinkat, (int fd, const char *name, char *buf, size_t bytes), (fd, name, buf, bytes))
WRAP(int, linkat, (int f, const char *a, int t, const char *b, int flags), (f, a, t, b, flags))
WRAP(int, unlinkat, (int fd, const char *name, int flags), (fd, name, flags))
WRAP(int, renameat2, (int f, const char *a, int t, const char *b, unsigned flags), (f, a, t, b, flags))
WRAP(int, fchownat, (int fd, const char *name, uid_t u, gid_t g, int flags), (fd, name, u, g, flags))
WRAP(int, fchmodat, (int fd, const char *name, mode_t mode, int flags), (fd, name, mode, flags))
WRAP(int, utimensat, (int fd, const char *name, const struct timespec *t, int flags), (fd, name, t, flags))
WRAP(int, statx, (int fd, const char *name, int flags, unsigned mask, struct statx *st),
     (fd, name, flags, mask, st))
WRAP(int, open_by_handle_at, (int fd, struct file_handle *h, int flags), (fd, h, flags))
WRAP(int, setxattr, (const char *p, const char *n, const void *v, size_t bytes, int flags),
     (p, n, v, bytes, flags))
WRAP(ssize_t, getxattr, (const char *p, const char *n, void *v, size_t bytes), (p, n, v, bytes))
WRAP(ssize_t, listxattr, (const char *p, char *list, size_t bytes), (p, list, bytes))
WRAP(int, removexattr, (const char *p, const char *n), (p, n))
WRAP(ssize_t, getdents64, (int fd, void *buf, size_t bytes), (fd, buf, bytes))
WRAP(ssize_t, copy_file_range, (int a, off_t *oa, int b, off_t *ob, size_t len, unsigned flags),
     (a, oa, b, ob, len, flags))

static unsigned syncs;

int __real_syncfs(int fd);
int __wrap_syncfs(int fd);
int __wrap_syncfs(int fd)
{
	syncs++;
	return fails("syncfs") ? -1 : __real_syncfs(fd);
}

/* The share lies on a filesystem that the driver knows nothing about. */
static bool unknown_fs;

int __real_fstatfs64(int fd, struct statfs *st);
int __wrap_fstatfs64(int fd, struct statfs *st);
int __wrap_fstatfs64(int fd, struct statfs *st)
{
	int rc = fails("fstatfs64") ? -1 : __real_fstatfs64(fd, st);

	if (rc == 0 && unknown_fs)
		st->f_type = 0x12345678;
	return rc;
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
	bool fail = fails("close");
	int err = errno, rc = __real_close(fd); /* Linux closes in any case */

	if (!fail)
		return rc;
	errno = err;
	return -1;
}

int __real_openat64(int fd, const char *name, int flags, mode_t mode);
int __wrap_openat64(int fd, const char *name, int flags, ...);
int __wrap_openat64(int fd, const char *name, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (flags & (O_CREAT | O_TMPFILE)) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return fails("openat64") ? -1 : __real_openat64(fd, name, flags, mode);
}

int __real_fcntl64(int fd, int cmd, void *arg);
int __wrap_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return fails("fcntl64") ? -1 : __real_fcntl64(fd, cmd, arg);
}

int __real_ioctl(int fd, unsigned long cmd, void *arg);
int __wrap_ioctl(int fd, unsigned long cmd, ...);
int __wrap_ioctl(int fd, unsigned long cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return fails("ioctl") ? -1 : __real_ioctl(fd, cmd, arg);
}

/* pwritev2(), as it is called where off_t has 64 bits. */
ssize_t __real_pwritev64v2(int fd, const struct iovec *iov, int count, off_t off, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int count, off_t off, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	struct iovec one = iov[0];

	if (inject.most_bytes) {
		one.iov_len = SFS_MIN(one.iov_len, inject.most_bytes);
		inject.most_bytes = 0;
		return __real_pwritev64v2(fd, &one, 1, off, flags);
	}
	return fails("pwritev64v2") ? -1 : __real_pwritev64v2(fd, iov, count, off, flags);
}

/* Calls that have no function of their own, or a slower one. */
long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	const char *fn = number == SYS_preadv2      ? "preadv2"
			 : number == SYS_faccessat2 ? "faccessat2"
			 : number == SYS_fstat      ? "fstat"
						    : "";

	return fails(fn) ? -1 : __real_syscall(number, a, b, c, d, e, f);
}

/* --- operations --- */

struct world {
	uint64_t file, fh, dir, dirfh, link;
};

static struct world world_make(struct rig *r)
{
	struct world w;

	rig_file(r, "file", "0123456789");
	mkdirat(r->dir, "dir", 0755);
	symlinkat("target", r->dir, "link");
	w.file = rig_node(r, ROOT, "file");
	w.dir = rig_node(r, ROOT, "dir");
	w.link = rig_node(r, ROOT, "link");
	assert_int_equal(fc_open(&r->c, w.file, O_RDWR, &w.fh), 0);
	assert_int_equal(fc_opendir(&r->c, ROOT, &w.dirfh), 0);
	return w;
}

static int only_error(int64_t rc)
{
	return rc < 0 ? (int)rc : 0;
}

static int do_fsync(struct rig *r, const struct world *w)
{
	struct fuse_fsync_in in = {.fh = w->fh};

	return fc_call(&r->c, FUSE_FSYNC, w->file, &in, sizeof(in), NULL, NULL, 0);
}

static int do_fdatasync(struct rig *r, const struct world *w)
{
	struct fuse_fsync_in in = {.fh = w->fh, .fsync_flags = FUSE_FSYNC_FDATASYNC};

	return fc_call(&r->c, FUSE_FSYNC, w->file, &in, sizeof(in), NULL, NULL, 0);
}

static int do_fsyncdir(struct rig *r, const struct world *w)
{
	struct fuse_fsync_in in = {.fh = w->dirfh};

	return fc_call(&r->c, FUSE_FSYNCDIR, ROOT, &in, sizeof(in), NULL, NULL, 0);
}

static int do_syncfs(struct rig *r, const struct world *w)
{
	struct fuse_syncfs_in in = {0};

	return fc_call(&r->c, FUSE_SYNCFS, ROOT, &in, sizeof(in), NULL, NULL, 0);
}

static int do_write(struct rig *r, const struct world *w)
{
	return only_error(fc_write(&r->c, w->file, w->fh, 0, "abc", 3));
}

static int do_read(struct rig *r, const struct world *w)
{
	char text[8];

	return only_error(fc_read(&r->c, w->file, w->fh, 0, text, sizeof(text)));
}

static int do_access(struct rig *r, const struct world *w)
{
	struct fuse_access_in in = {.mask = R_OK};

	return fc_call(&r->c, FUSE_ACCESS, w->file, &in, sizeof(in), NULL, NULL, 0);
}

static int do_fallocate(struct rig *r, const struct world *w)
{
	return fc_fallocate(&r->c, w->file, w->fh, 0, 0, 100);
}

static int do_lseek(struct rig *r, const struct world *w)
{
	return only_error(fc_lseek(&r->c, w->file, w->fh, 0, SEEK_DATA));
}

static int do_truncate(struct rig *r, const struct world *w)
{
	return fc_truncate(&r->c, w->file, 5);
}

static int do_mkdir(struct rig *r, const struct world *w)
{
	unlinkat(r->dir, "new", AT_REMOVEDIR);
	return fc_mkdir(&r->c, ROOT, "new", 0755, NULL);
}

static int do_mknod(struct rig *r, const struct world *w)
{
	unlinkat(r->dir, "node", 0);
	return fc_mknod(&r->c, ROOT, "node", S_IFREG | 0644, 0, NULL);
}

static int do_create(struct rig *r, const struct world *w)
{
	struct fuse_entry_out e;
	uint64_t fh;

	return fc_create(&r->c, ROOT, "created", O_RDWR, 0644, &e, &fh);
}

static int do_symlink(struct rig *r, const struct world *w)
{
	unlinkat(r->dir, "sym", 0);
	return fc_symlink(&r->c, ROOT, "sym", "to", NULL);
}

static int do_readlink(struct rig *r, const struct world *w)
{
	char text[64];

	return only_error(fc_readlink(&r->c, w->link, text, sizeof(text)));
}

static int do_link(struct rig *r, const struct world *w)
{
	unlinkat(r->dir, "hard", 0);
	return fc_link(&r->c, w->file, ROOT, "hard", NULL);
}

static int do_unlink(struct rig *r, const struct world *w)
{
	rig_file(r, "victim", "");
	return fc_unlink(&r->c, ROOT, "victim");
}

static int do_rename(struct rig *r, const struct world *w)
{
	rig_file(r, "from", "");
	return fc_rename(&r->c, ROOT, "from", ROOT, "to", 0);
}

static int do_chown(struct rig *r, const struct world *w)
{
	struct fuse_setattr_in in = {.valid = FATTR_UID, .uid = geteuid()};

	return fc_setattr(&r->c, w->file, &in, NULL);
}

static int do_chmod(struct rig *r, const struct world *w)
{
	struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = 0600};

	return fc_setattr(&r->c, w->file, &in, NULL);
}

static int do_utimes(struct rig *r, const struct world *w)
{
	struct fuse_setattr_in in = {.valid = FATTR_MTIME};

	return fc_setattr(&r->c, w->file, &in, NULL);
}

static int do_statfs(struct rig *r, const struct world *w)
{
	struct fuse_kstatfs st;

	return fc_statfs(&r->c, &st);
}

static int do_getattr(struct rig *r, const struct world *w)
{
	return fc_getattr(&r->c, w->file, NULL);
}

static int do_lookup(struct rig *r, const struct world *w)
{
	return fc_lookup(&r->c, ROOT, "file", NULL);
}

static int do_open(struct rig *r, const struct world *w)
{
	uint64_t fh;

	return fc_open(&r->c, w->file, O_RDONLY, &fh);
}

static int do_setxattr(struct rig *r, const struct world *w)
{
	struct {
		struct fuse_setxattr_in in;
		char tail[16];
	} m = {.in = {.size = 1}, .tail = "user.a\0v"};

	return fc_call(&r->c, FUSE_SETXATTR, w->file, &m, sizeof(m.in) + 8, NULL, NULL, 0);
}

static int do_getxattr(struct rig *r, const struct world *w)
{
	char value[16];

	return only_error(fc_getxattr(&r->c, w->file, "user.b", value, sizeof(value)));
}

static int do_listxattr(struct rig *r, const struct world *w)
{
	char list[256];

	return only_error(fc_listxattr(&r->c, w->file, list, sizeof(list)));
}

static int do_removexattr(struct rig *r, const struct world *w)
{
	fsetxattr(r->dir, "user.gone", "v", 1, 0);
	return fc_removexattr(&r->c, ROOT, "user.gone");
}

static int do_readdir(struct rig *r, const struct world *w)
{
	return only_error(fc_readdir(&r->c, ROOT, w->dirfh, 0, 4096, false, NULL, NULL));
}

static int do_copy(struct rig *r, const struct world *w)
{
	struct fuse_copy_file_range_in in = {
	    .fh_in = w->fh, .nodeid_out = w->file, .fh_out = w->fh, .off_out = 100, .len = 3};

	return fc_call(&r->c, FUSE_COPY_FILE_RANGE, w->file, &in, sizeof(in), NULL, NULL,
		       sizeof(struct fuse_write_out));
}

static int do_flush(struct rig *r, const struct world *w)
{
	struct fuse_flush_in in = {.fh = w->fh};

	return fc_call(&r->c, FUSE_FLUSH, w->file, &in, sizeof(in), NULL, NULL, 0);
}

static int do_flock(struct rig *r, const struct world *w)
{
	struct fuse_lk_in in = {
	    .fh = w->fh, .lk_flags = FUSE_LK_FLOCK, .lk = {.type = F_WRLCK, .end = INT64_MAX}};

	return fc_call(&r->c, FUSE_SETLK, w->file, &in, sizeof(in), NULL, NULL, 0);
}

static int do_lock(struct rig *r, const struct world *w)
{
	struct fuse_lk_in in = {.fh = w->fh, .owner = 1, .lk = {.type = F_WRLCK, .end = 10}};

	return fc_call(&r->c, FUSE_SETLK, w->file, &in, sizeof(in), NULL, NULL, 0);
}

static int do_ioctl(struct rig *r, const struct world *w)
{
	struct fuse_ioctl_in in = {.fh = w->fh, .cmd = _IOR('f', 1, long), .out_size = 4};

	return fc_call(&r->c, FUSE_IOCTL, w->file, &in, sizeof(in), NULL, NULL,
		       4 + sizeof(struct fuse_ioctl_out));
}

static int do_rmdir(struct rig *r, const struct world *w)
{
	mkdirat(r->dir, "empty", 0755);
	return fc_rmdir(&r->c, ROOT, "empty");
}

static int do_opendir(struct rig *r, const struct world *w)
{
	uint64_t fh;

	return fc_opendir(&r->c, w->dir, &fh);
}

static int do_readdirplus(struct rig *r, const struct world *w)
{
	return only_error(fc_readdir(&r->c, ROOT, w->dirfh, 0, 4096, true, NULL, NULL));
}

static int do_truncate_handle(struct rig *r, const struct world *w)
{
	struct fuse_setattr_in in = {.valid = FATTR_SIZE | FATTR_FH, .fh = w->fh, .size = 4};

	return fc_setattr(&r->c, w->file, &in, NULL);
}

static int do_tmpfile(struct rig *r, const struct world *w)
{
	struct fuse_create_in in = {.flags = O_RDWR, .mode = S_IFREG | 0600};

	return fc_call(&r->c, FUSE_TMPFILE, ROOT, &in, sizeof(in), "/", NULL,
		       sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
}

static int do_statx(struct rig *r, const struct world *w)
{
	struct sfs_fuse_statx_in in = {.sx_mask = STATX_BASIC_STATS};

	return fc_call(&r->c, SFS_FUSE_STATX, w->file, &in, sizeof(in), NULL, NULL,
		       sizeof(struct sfs_fuse_statx_out));
}

static int do_copy_64(struct rig *r, const struct world *w)
{
	struct fuse_copy_file_range_in in = {
	    .fh_in = w->fh, .nodeid_out = w->file, .fh_out = w->fh, .off_out = 100, .len = 3};

	return fc_call(&r->c, SFS_FUSE_COPY_FILE_RANGE_64, w->file, &in, sizeof(in), NULL, NULL,
		       sizeof(struct sfs_fuse_copy_file_range_out));
}

static int do_getlk(struct rig *r, const struct world *w)
{
	struct fuse_lk_in in = {.fh = w->fh, .owner = 1, .lk = {.type = F_WRLCK, .end = 10}};

	return fc_call(&r->c, FUSE_GETLK, w->file, &in, sizeof(in), NULL, NULL, sizeof(struct fuse_lk_out));
}

static int do_setlkw(struct rig *r, const struct world *w)
{
	struct fuse_lk_in in = {.fh = w->fh, .owner = 1, .lk = {.type = F_WRLCK, .end = 10}};

	return fc_call(&r->c, FUSE_SETLKW, w->file, &in, sizeof(in), NULL, NULL, 0);
}

enum { LOCKS = 1, ONCE_CLOSED = 2, UNKNOWN_FS = 4, ASKED_AGAIN = 8 };

static const struct {
	const char *fn;
	int (*op)(struct rig *r, const struct world *w);
	int flags;
} rows[] = {
    {"fsync", do_fsync, 0},
    {"fsync", do_fsyncdir, 0},
    {"fdatasync", do_fdatasync, 0},
    {"syncfs", do_syncfs, 0},
    {"pwritev64v2", do_write, 0},
    {"preadv2", do_read, 0},
    {"faccessat2", do_access, 0},
    {"fallocate64", do_fallocate, 0},
    {"lseek64", do_lseek, 0},
    {"ftruncate64", do_truncate, 0},
    {"mkdirat", do_mkdir, 0},
    {"mknodat", do_mknod, 0},
    {"openat64", do_create, 0},
    {"symlinkat", do_symlink, 0},
    {"readlinkat", do_readlink, 0},
    {"linkat", do_link, 0},
    {"unlinkat", do_unlink, 0},
    {"renameat2", do_rename, 0},
    {"fchownat", do_chown, 0},
    {"fchmodat", do_chmod, 0},
    {"utimensat", do_utimes, 0},
    {"fstatfs64", do_statfs, 0},
    {"fstat", do_getattr, ASKED_AGAIN}, /* with pins */
    {"statx", do_lookup, 0},
    {"openat64", do_open, UNKNOWN_FS},
    {"setxattr", do_setxattr, 0},
    {"getxattr", do_getxattr, 0},
    {"listxattr", do_listxattr, 0},
    {"removexattr", do_removexattr, 0},
    {"getdents64", do_readdir, 0},
    {"copy_file_range", do_copy, 0},
    {"close", do_flush, ONCE_CLOSED | UNKNOWN_FS},
    {"flock", do_flock, LOCKS},
    {"fcntl64", do_lock, LOCKS},
    {"ioctl", do_ioctl, 0},
    {"unlinkat", do_rmdir, 0},
    {"openat64", do_opendir, UNKNOWN_FS},
    {"getdents64", do_readdirplus, 0},
    {"ftruncate64", do_truncate_handle, 0},
    {"openat64", do_tmpfile, 0},
    {"statx", do_statx, 0},
    {"copy_file_range", do_copy_64, 0},
    {"fcntl64", do_getlk, 0},
    {"fcntl64", do_setlkw, 0},
};

static void arm(const char *fn, int err, int times)
{
	inject.fn = fn;
	inject.err = err;
	inject.times = times;
}

static void test_errors(void **state)
{
	static const int errors[] = {EIO,    ENOSPC, EDQUOT, EROFS, EMFILE,
				     ENFILE, ESTALE, ENOMEM, EPERM, EACCES};
	struct rig *r = *state;

	for (size_t i = 0; i < SFS_ARRAY_SIZE(rows); i++) {
		unknown_fs = rows[i].flags & UNKNOWN_FS;
		rig_start(r, ", \"inline_blocking\": \"always\", \"attr_timeout_ms\": 0");
		fsetxattr(r->dir, "user.b", "v", 1, 0);
		for (size_t e = 0; e < SFS_ARRAY_SIZE(errors); e++) {
			struct world w = world_make(r);
			int rc;

			unlinkat(r->dir, "created", 0);
			arm(rows[i].fn, errors[e], rows[i].flags & ASKED_AGAIN ? 2 : 1);
			rc = rows[i].op(r, &w);
			if (rc != -errors[e] || inject.times)
				fail_msg("%s (%zu): %s gave %d", rows[i].fn, i, strerror(errors[e]), rc);
			inject.fn = NULL;
			assert_int_equal(fc_release(&r->c, w.file, w.fh), 0);
		}
		rig_stop(r);
		unknown_fs = false;
	}
}

/* A call that was interrupted is made again, as often as it takes; EAGAIN says nothing to a guest. */
static void test_never(void **state)
{
	struct rig *r = *state;

	for (size_t i = 0; i < SFS_ARRAY_SIZE(rows); i++) {
		struct world w;
		int rc, clean;

		unknown_fs = rows[i].flags & UNKNOWN_FS;
		rig_start(r, ", \"inline_blocking\": \"always\"");
		w = world_make(r);
		unlinkat(r->dir, "created", 0);
		clean = rows[i].op(r, &w);
		unlinkat(r->dir, "created", 0);
		arm(rows[i].fn, EINTR, rows[i].flags & ONCE_CLOSED ? 1 : 5);
		rc = rows[i].op(r, &w);
		if (rc != clean || inject.times)
			fail_msg("%s (%zu): EINTR gave %d, not %d", rows[i].fn, i, rc, clean);
		unlinkat(r->dir, "created", 0);
		arm(rows[i].fn, EAGAIN, 1);
		rc = rows[i].op(r, &w);
		if (rc == -EAGAIN && !(rows[i].flags & LOCKS))
			fail_msg("%s (%zu): EAGAIN reached the guest", rows[i].fn, i);
		inject.fn = NULL;
		rig_stop(r);
		unknown_fs = false;
	}
}

/* A file is opened by its handle; where the filesystem says that the handle is stale, but its descriptor is held, by that. */
static void test_open_by_handle(void **state)
{
	struct rig *r = *state;
	struct world w;
	uint64_t fh;

	if (!rig_is_root())
		skip();
	rig_start(r, ", \"inline_blocking\": \"always\"");
	w = world_make(r);
	arm("open_by_handle_at", EMFILE, 1);
	assert_int_equal(fc_open(&r->c, w.file, O_RDONLY, &fh), -EMFILE);
	arm("open_by_handle_at", ESTALE, 1);
	assert_int_equal(fc_open(&r->c, w.file, O_RDONLY, &fh), 0);
	assert_int_equal(inject.times, 0);
	assert_int_equal(fc_release(&r->c, w.file, fh), 0);
	/* That was no reason to give up the node. */
	assert_int_equal(rig_node(r, ROOT, "file"), w.file);
	inject.fn = NULL;
	rig_stop(r);
}

/* FLUSH: nothing is called where nothing is to be done. */
static void test_flush_plain(void **state)
{
	struct rig *r = *state;
	struct world w;

	rig_start(r, ", \"inline_blocking\": \"always\"");
	w = world_make(r);
	arm("fcntl64", EMFILE, 1);
	assert_int_equal(do_flush(r, &w), 0);
	arm("close", EIO, 1);
	assert_int_equal(do_flush(r, &w), 0);
	inject.fn = NULL;
	rig_stop(r);
}

/* One sync is of one mount where the guest knows its mounts apart, else of all that it has met. */
static void test_sync_of_mounts(void **state)
{
	struct fuse_syncfs_in in = {0};
	struct rig *r = *state;
	char path[128];

	snprintf(path, sizeof(path), "%s/mnt", r->share);
	assert_int_equal(mkdir(path, 0755), 0);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", path, "tmpfs", 0, "size=1m") < 0)
		skip();
	for (unsigned announced = 0; announced < 2; announced++) {
		rig_start(r, announced ? "" : ", \"announce_submounts\": false");
		rig_node(r, ROOT, "mnt");
		syncs = 0;
		assert_int_equal(fc_call(&r->c, FUSE_SYNCFS, ROOT, &in, sizeof(in), NULL, NULL, 0), 0);
		assert_int_equal(syncs, announced ? 1 : 2);
		rig_stop(r);
	}
	assert_int_equal(umount(path), 0);
}

/* What was written before the error counts, and the error comes with the next request. */
static void test_short_write(void **state)
{
	struct rig *r = *state;
	struct world w;

	rig_start(r, ", \"inline_blocking\": \"always\"");
	w = world_make(r);
	inject.most_bytes = 4;
	arm("pwritev64v2", ENOSPC, 1);
	assert_int_equal(fc_write(&r->c, w.file, w.fh, 20, "0123456789", 10), 4);
	assert_int_equal(rig_stat(r, "file").st_size, 24);
	inject.most_bytes = 4;
	arm("pwritev64v2", EINTR, 3);
	assert_int_equal(fc_write(&r->c, w.file, w.fh, 20, "0123456789", 10), 10);
	inject.fn = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_errors, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_never, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_open_by_handle, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_flush_plain, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_sync_of_mounts, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_short_write, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests_name("passthrough_errors", tests, NULL, NULL);
}
