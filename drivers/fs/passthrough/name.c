/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations on names: LOOKUP, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, READLINK.
 */
#include <sys/sysmacros.h>

#include "pt.h"

#define DEPTH_MAX 65536 /* directories between one and the root, for ".." */

enum { LOOKUP_ELSEWHERE = PT_END + 1 };

/* --- LOOKUP --- */

static bool is_dot(const char *name)
{
	return name[0] == '.' && name[1] == 0;
}

static bool is_dotdot(const char *name)
{
	return name[0] == '.' && name[1] == '.' && name[2] == 0;
}

static int64_t pt_lookup_any(struct sfs_req *req, bool enter)
{
	struct pt_op *op = pt_op(req);
	int dirfd = pt_op_fd(req);

	if (dirfd < 0)
		return dirfd;
	return pt_enter_name(req, op->node, dirfd, req->name[0], true, enter, &req->out.entry);
}

static int64_t pt_lookup_fn(struct sfs_req *req)
{
	return pt_lookup_any(req, false);
}

static int64_t pt_lookup_elsewhere_fn(struct sfs_req *req)
{
	return pt_lookup_any(req, true);
}

static int64_t pt_lookup_dot_fn(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int fd = pt_op_fd(req);

	return fd < 0 ? fd : pt_enter_again(req, op->node, op->node, fd, &req->out.entry);
}

static bool same_dir(const struct statx *a, const struct statx *b)
{
	return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major &&
	       a->stx_dev_minor == b->stx_dev_minor && a->stx_mnt_id == b->stx_mnt_id;
}

/*
 * Whether the shared directory is above @fd (or @fd itself). A directory that was moved out of the share
 * while the guest knew it has a parent that is none of the guest's business.
 */
static int pt_contained(const struct pt_fs *fs, int fd)
{
	struct statx root, here, above;
	int rc, at = fd, next;

	rc = pt_stat(fs->root_fd, &root);
	if (rc == 0)
		rc = pt_stat(fd, &here);
	for (unsigned depth = 0; rc == 0 && !same_dir(&here, &root); depth++) {
		next = (int)PT_CALL(openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
		if (at != fd)
			close(at);
		if (next < 0)
			return next;
		at = next;
		rc = pt_stat(at, &above);
		if (rc == 0 && (same_dir(&here, &above) || depth == DEPTH_MAX))
			rc = -ESTALE;
		here = above;
	}
	if (at != fd)
		close(at);
	return rc;
}

static int64_t pt_lookup_dotdot_fn(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int rc, up, fd = pt_op_fd(req);

	if (fd < 0)
		return fd;
	up = (int)PT_CALL(openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
	if (up < 0)
		return up;
	rc = pt_contained(pt_fs(req), up);
	if (rc < 0) {
		close(up);
		return rc;
	}
	return pt_enter(req, op->node, up, true, true, &req->out.entry, NULL);
}

static int pt_lookup_end(struct sfs_req *req)
{
	const struct pt_timeout *negative = &pt_fs(req)->negative_timeout;

	if (req->res == PT_ELSEWHERE)
		return sfs_req_call(req, LOOKUP_ELSEWHERE, pt_lookup_elsewhere_fn);
	if (req->res < 0 && !(req->res == -ENOENT && (negative->s || negative->ns)))
		return (int)req->res;
	if (req->res < 0)
		req->out.entry =
		    (struct fuse_entry_out){.entry_valid = negative->s, .entry_valid_nsec = negative->ns};
	req->out_bytes = sizeof(req->out.entry);
	return SFS_DONE;
}

int pt_lookup(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int rc;

	if (req->step != PT_START)
		return pt_lookup_end(req);
	rc = pt_pin_node(req, false);
	if (rc < 0)
		return rc;
	if (!S_ISDIR(op->node->mode))
		return -ENOTDIR;
	if (is_dot(req->name[0]) || (is_dotdot(req->name[0]) && req->in.nodeid == SFS_ROOT_ID))
		return pt_block(req, PT_END, pt_lookup_dot_fn);
	if (is_dotdot(req->name[0]))
		return pt_slow(req, PT_END, pt_lookup_dotdot_fn);
	return pt_block(req, PT_END, pt_lookup_fn);
}

/* --- objects that come with a name --- */

static int pt_entry_end(struct sfs_req *req)
{
	if (req->res < 0)
		return (int)req->res;
	req->out_bytes = sizeof(req->out.entry);
	return SFS_DONE;
}

static int64_t pt_make(struct sfs_req *req, int dirfd, struct pt_caller *c)
{
	const char *name = req->name[0];
	mode_t mode;

	switch (req->in.opcode) {
	case FUSE_MKDIR:
		mode = pt_caller_mask(req, c, req->arg.mkdir.mode, req->arg.mkdir.umask);
		return PT_CALL(mkdirat(dirfd, name, mode & 07777));
	case FUSE_MKNOD:
		mode = pt_caller_mask(req, c, req->arg.mknod.mode, req->arg.mknod.umask);
		return PT_CALL(mknodat(dirfd, name, mode & (S_IFMT | 07777), req->arg.mknod.rdev));
	default:
		return PT_CALL(symlinkat(req->name[1], dirfd, name));
	}
}

static int64_t pt_make_fn(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	struct pt_caller c;
	int64_t rc;
	int fd, dirfd = pt_op_fd(req);

	if (dirfd < 0)
		return dirfd;
	rc = pt_creator_begin(req, &c);
	if (rc < 0)
		return rc;
	rc = pt_make(req, dirfd, &c);
	pt_caller_end(&c);
	if (rc < 0)
		return rc;
	fd = pt_name_open(dirfd, req->name[0]);
	if (fd < 0)
		return fd;
	rc = pt_caller_label(req, &c, fd);
	if (rc < 0) {
		unlinkat(dirfd, req->name[0], req->in.opcode == FUSE_MKDIR ? AT_REMOVEDIR : 0);
		close(fd);
		return rc;
	}
	return pt_enter(req, op->node, fd, true, true, &req->out.entry, NULL);
}

static int pt_make_op(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_entry_end(req);
	rc = pt_pin_node(req, true);
	return rc < 0 ? rc : pt_block(req, PT_END, pt_make_fn);
}

int pt_symlink(struct sfs_req *req)
{
	return pt_make_op(req);
}

int pt_mknod(struct sfs_req *req)
{
	return pt_make_op(req);
}

int pt_mkdir(struct sfs_req *req)
{
	return pt_make_op(req);
}

int pt_pin_second(struct sfs_req *req, uint64_t nodeid)
{
	struct pt_op *op = pt_op(req);

	op->node2 = sfs_node_pin(req, nodeid);
	return op->node2 ? 0 : -ESTALE;
}

static int64_t pt_link_fn(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	char name[PT_NAME_BYTES];
	int64_t rc;
	int fd, dirfd = pt_op_fd(req);

	if (dirfd < 0)
		return dirfd;
	fd = pt_node_fd(req, op->node2);
	if (fd < 0)
		return fd;
	/* The link in /proc is followed to the object itself, and no further where that is a symlink. */
	rc = PT_CALL(
	    linkat(pt_fs(req)->proc_fd, pt_fd_name(name, fd), dirfd, req->name[0], AT_SYMLINK_FOLLOW));
	return rc < 0 ? rc : pt_enter_again(req, op->node, op->node2, fd, &req->out.entry);
}

int pt_link(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_entry_end(req);
	rc = pt_pin_node(req, true);
	if (rc == 0)
		rc = pt_pin_second(req, req->arg.link.oldnodeid);
	return rc < 0 ? rc : pt_block(req, PT_END, pt_link_fn);
}

/* --- names that go or change --- */

static int64_t pt_unlink_fn(struct sfs_req *req)
{
	int dirfd = pt_op_fd(req);

	if (dirfd < 0)
		return dirfd;
	if (req->in.opcode == FUSE_UNLINK)
		pt_hold_last(req, pt_op(req)->node, dirfd, req->name[0]);
	return PT_CALL(unlinkat(dirfd, req->name[0], req->in.opcode == FUSE_RMDIR ? AT_REMOVEDIR : 0));
}

int pt_unlink(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_node(req, true);
	return rc < 0 ? rc : pt_block(req, PT_END, pt_unlink_fn);
}

int pt_rmdir(struct sfs_req *req)
{
	return pt_unlink(req);
}

static int64_t pt_rename_fn(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int to, from = pt_op_fd(req);

	if (from < 0)
		return from;
	to = pt_node_fd(req, op->node2);
	if (to < 0)
		return to;
	if (!(req->arg.rename.flags & (RENAME_NOREPLACE | RENAME_EXCHANGE)))
		pt_hold_last(req, op->node2, to, req->name[1]);
	return PT_CALL(renameat2(from, req->name[0], to, req->name[1], req->arg.rename.flags));
}

int pt_rename(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_node(req, true);
	if (rc == 0)
		rc = pt_pin_second(req, req->arg.rename.newdir);
	return rc < 0 ? rc : pt_block(req, PT_END, pt_rename_fn);
}

/* --- READLINK --- */

static int64_t pt_readlink_fn(struct sfs_req *req)
{
	uint64_t room = SFS_MIN(sfs_req_reply_room(req), (uint64_t)SFS_BUF_BYTES);
	char *buf = sfs_req_buf(req);
	int fd = pt_op_fd(req);
	int64_t rc;

	if (fd < 0)
		return fd;
	if (room == 0)
		return -EINVAL;
	rc = PT_CALL(readlinkat(fd, "", buf, room));
	if (rc >= 0)
		sfs_req_reply_bytes(req, buf, (uint64_t)rc);
	return rc;
}

int pt_readlink(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_node(req, false);
	if (rc < 0)
		return rc;
	if (!S_ISLNK(pt_op(req)->node->mode))
		return -EINVAL;
	return pt_block(req, PT_END, pt_readlink_fn);
}
