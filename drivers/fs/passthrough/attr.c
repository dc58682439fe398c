/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attributes: GETATTR, SETATTR, STATFS, ACCESS.
 */
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "pt.h"

#define FREES_MUCH_BLOCKS (64u << 11) /* 64 MiB, as st_blocks counts */

int pt_pin_attr(struct sfs_req *req, bool by_handle, uint64_t fh, bool writes)
{
	int rc;

	if (!by_handle || pt_no_open(req))
		rc = pt_pin_held(req);
	else if ((rc = pt_pin_node(req, false)) == 0)
		rc = pt_pin_handle(req, fh, false);
	return rc == 0 && writes && pt_fs(req)->readonly ? -EROFS : rc;
}

/* The system call itself: glibc's fstat() is one that takes a name, which the kernel has to see is empty. */
static int pt_fstat(int fd, struct stat *st)
{
	_Static_assert(sizeof(long) == 8, "on 64-bit machines the kernel's structure is glibc's");
	return (int)syscall(SYS_fstat, fd, st);
}

/* All that the replies of GETATTR and SETATTR have is in fstat, which is cheaper than statx. */
static void pt_attr_answer(struct sfs_req *req, const struct stat *st)
{
	const struct pt_fs *fs = pt_fs(req);

	req->out.attr.attr_valid = fs->attr_timeout.s;
	req->out.attr.attr_valid_nsec = fs->attr_timeout.ns;
	req->out.attr.attr = (struct fuse_attr){
	    .ino = st->st_ino,
	    .size = (uint64_t)st->st_size,
	    .blocks = (uint64_t)st->st_blocks,
	    .atime = (uint64_t)st->st_atim.tv_sec,
	    .mtime = (uint64_t)st->st_mtim.tv_sec,
	    .ctime = (uint64_t)st->st_ctim.tv_sec,
	    .atimensec = (uint32_t)st->st_atim.tv_nsec,
	    .mtimensec = (uint32_t)st->st_mtim.tv_nsec,
	    .ctimensec = (uint32_t)st->st_ctim.tv_nsec,
	    .mode = st->st_mode,
	    .nlink = (uint32_t)st->st_nlink,
	    .uid = st->st_uid,
	    .gid = st->st_gid,
	    .rdev = (uint32_t)st->st_rdev,
	    .blksize = (uint32_t)st->st_blksize,
	};
	req->out_bytes = sizeof(req->out.attr);
}

static int64_t pt_attr_reply(struct sfs_req *req, int fd)
{
	struct stat st;
	int64_t rc = PT_CALL(pt_fstat(fd, &st));

	if (rc == 0)
		pt_attr_answer(req, &st);
	return rc;
}

static int64_t pt_getattr_fn(struct sfs_req *req)
{
	int fd = pt_op_fd(req);

	return fd < 0 ? fd : pt_attr_reply(req, fd);
}

/*
 * A node that holds its descriptor, as most do, is asked without being pinned. False: once more, with pins. Not where a file on a server,
 * anybody's, may get the number of the descriptor meanwhile: the call would wait for that.
 */
static bool pt_getattr_seen(struct sfs_req *req)
{
	struct sfs_node_sight sight;
	struct stat st;

	if (atomic_load_explicit(&pt_remote_known, memory_order_relaxed) ||
	    !sfs_node_see(req->session, req->in.nodeid, &sight) || pt_fstat(sight.fd, &st) < 0 ||
	    !sfs_node_seen(req->session, &sight, st.st_dev, st.st_ino))
		return false;
	pt_attr_answer(req, &st);
	return true;
}

int pt_getattr(struct sfs_req *req)
{
	bool by_handle = req->arg.getattr.getattr_flags & FUSE_GETATTR_FH;
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	if ((!by_handle || pt_no_open(req)) && pt_getattr_seen(req))
		return SFS_DONE;
	rc = pt_pin_attr(req, by_handle, req->arg.getattr.fh, false);
	return rc < 0 ? rc : pt_quick(req, pt_getattr_fn);
}

/* --- SETATTR --- */

static int64_t pt_set_mode(struct sfs_req *req, int fd)
{
	mode_t mode = req->arg.setattr.mode & 07777;
	char name[PT_NAME_BYTES];

	if (pt_op(req)->handle)
		return PT_CALL(fchmod(fd, mode));
	return PT_CALL(fchmodat(pt_fs(req)->proc_fd, pt_fd_name(name, fd), mode, 0));
}

static int64_t pt_set_owner(struct sfs_req *req, int fd)
{
	const struct fuse_setattr_in *in = &req->arg.setattr;
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;

	return PT_CALL(fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
}

static int64_t pt_truncate(struct sfs_req *req, int fd)
{
	const struct fuse_setattr_in *in = &req->arg.setattr;
	bool kill = pt_kills(req, in->valid & FATTR_KILL_SUIDGID);
	int64_t rc = kill ? pt_fsetid_drop() : 0;

	if (rc < 0)
		return rc;
	rc = PT_CALL(ftruncate(fd, (off_t)in->size));
	if (kill)
		pt_fsetid_restore();
	return rc;
}

static int64_t pt_set_size(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int64_t rc;
	int fd;

	if (op->ent && (op->open_flags & O_ACCMODE) != O_RDONLY)
		return pt_truncate(req, op->ent->fd);
	rc = pt_open_check(op->node->mode);
	if (rc < 0)
		return rc;
	fd = pt_node_open(req, op->node, O_WRONLY);
	if (fd < 0)
		return fd;
	rc = pt_truncate(req, fd);
	close(fd);
	return rc;
}

static int64_t pt_set_times(struct sfs_req *req, int fd)
{
	const struct fuse_setattr_in *in = &req->arg.setattr;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
	char name[PT_NAME_BYTES];

	if (in->valid & FATTR_ATIME_NOW)
		times[0].tv_nsec = UTIME_NOW;
	else if (in->valid & FATTR_ATIME)
		times[0] = (struct timespec){.tv_sec = (time_t)in->atime, .tv_nsec = in->atimensec};
	if (in->valid & FATTR_MTIME_NOW)
		times[1].tv_nsec = UTIME_NOW;
	else if (in->valid & FATTR_MTIME)
		times[1] = (struct timespec){.tv_sec = (time_t)in->mtime, .tv_nsec = in->mtimensec};
	/* UTIME_NOW and UTIME_OMIT are not the guest's to say in the nanoseconds. */
	if ((in->valid & FATTR_ATIME && in->atimensec >= SFS_NS_PER_S) ||
	    (in->valid & FATTR_MTIME && in->mtimensec >= SFS_NS_PER_S))
		return -EINVAL;
	if (pt_op(req)->handle)
		return PT_CALL(futimens(fd, times));
	return PT_CALL(utimensat(pt_fs(req)->proc_fd, pt_fd_name(name, fd), times, 0));
}

static int64_t pt_setattr_fn(struct sfs_req *req)
{
	const uint32_t valid = req->arg.setattr.valid;
	int64_t rc = 0;
	int fd = pt_op_fd(req);

	if (fd < 0)
		return fd;
	if (valid & FATTR_MODE)
		rc = pt_set_mode(req, fd);
	if (rc == 0 && (valid & (FATTR_UID | FATTR_GID)))
		rc = pt_set_owner(req, fd);
	if (rc == 0 && (valid & FATTR_SIZE))
		rc = pt_set_size(req);
	if (rc == 0 && (valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)))
		rc = pt_set_times(req, fd);
	return rc < 0 ? rc : pt_attr_reply(req, fd);
}

/* Whether it frees, or looks for, so many blocks that it takes long for certain. Where nobody has the file open that is not known. */
static bool pt_frees_much(struct sfs_req *req)
{
	const struct fuse_setattr_in *in = &req->arg.setattr;
	const struct pt_op *op = pt_op(req);
	struct statx stx;

	if (!(in->valid & FATTR_SIZE) || op->mount->store == SFS_STORE_REMOTE)
		return false;
	return op->ent ? pt_stat(op->ent->fd, &stx) == 0 && stx.stx_blocks > FREES_MUCH_BLOCKS : true;
}

int pt_setattr(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_attr(req, req->arg.setattr.valid & FATTR_FH, req->arg.setattr.fh, true);
	if (rc < 0)
		return rc;
	return pt_frees_much(req) ? pt_slow(req, PT_END, pt_setattr_fn)
				  : pt_block(req, PT_END, pt_setattr_fn);
}

/* --- STATFS, ACCESS --- */

static int64_t pt_statfs_fn(struct sfs_req *req)
{
	struct statfs st;
	int64_t rc;
	int fd = pt_op_fd(req);

	if (fd < 0)
		return fd;
	rc = PT_CALL(fstatfs(fd, &st));
	if (rc < 0)
		return rc;
	req->out.statfs = (struct fuse_kstatfs){
	    .blocks = st.f_blocks,
	    .bfree = st.f_bfree,
	    .bavail = st.f_bavail,
	    .files = st.f_files,
	    .ffree = st.f_ffree,
	    .bsize = (uint32_t)st.f_bsize,
	    .namelen = (uint32_t)st.f_namelen,
	    .frsize = (uint32_t)st.f_frsize,
	};
	req->out_bytes = sizeof(req->out.statfs);
	return 0;
}

int pt_statfs(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_attr(req, false, 0, false);
	return rc < 0 ? rc : pt_quick(req, pt_statfs_fn);
}

static int64_t pt_access_fn(struct sfs_req *req)
{
	unsigned mask = req->arg.access.mask & (R_OK | W_OK | X_OK);
	struct pt_caller c;
	int64_t rc;
	int fd = pt_op_fd(req);

	if (fd < 0)
		return fd;
	rc = pt_asker_begin(req, &c, false);
	if (rc < 0)
		return rc;
	rc = PT_CALL(syscall(SYS_faccessat2, fd, "", mask, AT_EMPTY_PATH | AT_EACCESS));
	pt_caller_end(&c);
	return rc;
}

int pt_access(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_attr(req, false, 0, false);
	if (rc < 0)
		return rc;
	if (pt_fs(req)->readonly && (req->arg.access.mask & W_OK) && !S_ISCHR(pt_op(req)->node->mode))
		return -EROFS;
	return pt_quick(req, pt_access_fn);
}
