/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What follows the operations that create: supplementary groups and security labels of the caller. And
 * operations beyond the usual: TMPFILE, STATX, IOCTL.
 */
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <sys/ioctl.h>

#include "pt.h"

#define DIGEST_BYTES_MAX 64

/* --- extensions --- */

static int pt_ext_groups(const char *at, uint32_t bytes, struct pt_ext *ext)
{
	uint32_t count;

	if (bytes < sizeof(struct sfs_fuse_supp_groups))
		return -EINVAL;
	memcpy(&count, at, sizeof(count));
	at += sizeof(struct sfs_fuse_supp_groups);
	bytes -= (uint32_t)sizeof(struct sfs_fuse_supp_groups);
	if (count > PT_GROUPS_MAX || count > bytes / sizeof(ext->groups[0]))
		return -EINVAL;
	memcpy(ext->groups, at, count * sizeof(ext->groups[0]));
	ext->group_count = count;
	return 0;
}

/* One context: a name and, after its NUL, the label. The host decides what name it goes by. */
static int pt_ext_label(const char *at, uint32_t bytes, struct pt_ext *ext)
{
	struct fuse_secctx ctx;
	const char *nul;

	if (bytes < sizeof(ctx))
		return -EINVAL;
	memcpy(&ctx, at, sizeof(ctx));
	at += sizeof(ctx);
	bytes -= (uint32_t)sizeof(ctx);
	nul = memchr(at, 0, bytes);
	if (!nul || ctx.size > bytes - (uint32_t)(nul + 1 - at))
		return -EINVAL;
	ext->label = ctx.size ? nul + 1 : NULL;
	ext->label_bytes = ctx.size;
	return 0;
}

int pt_ext_parse(const char *at, uint32_t bytes, struct pt_ext *ext)
{
	struct sfs_fuse_ext_header head;
	int rc = 0;

	ext->group_count = 0;
	ext->label = NULL;
	while (rc == 0 && bytes) {
		if (bytes < sizeof(head))
			return -EINVAL;
		memcpy(&head, at, sizeof(head));
		if (head.size < sizeof(head) || head.size > bytes)
			return -EINVAL;
		if (head.type == SFS_FUSE_EXT_GROUPS && !ext->group_count)
			rc = pt_ext_groups(at + sizeof(head), head.size - (uint32_t)sizeof(head), ext);
		else if (head.type == 1 && !ext->label)
			rc = pt_ext_label(at + sizeof(head), head.size - (uint32_t)sizeof(head), ext);
		else if (head.type != 0)
			rc = -EINVAL;
		at += head.size;
		bytes -= head.size;
	}
	return rc;
}

/* --- TMPFILE --- */

static int64_t pt_tmpfile_fn(struct sfs_req *req)
{
	const struct fuse_create_in *in = &req->arg.create;
	int rc, fd, dirfd = pt_op_fd(req), flags = pt_open_flags(req, in->flags) & ~O_TRUNC;
	struct sfs_node *node;
	struct pt_caller c;
	mode_t mode;

	if (dirfd < 0)
		return dirfd;
	rc = pt_creator_begin(req, &c);
	if (rc < 0)
		return rc;
	mode = pt_caller_mask(req, &c, in->mode, in->umask);
	fd = (int)PT_CALL(
	    openat(dirfd, ".", flags | (int)(in->flags & O_EXCL) | O_TMPFILE | O_CLOEXEC, mode & 07777));
	pt_caller_end(&c);
	if (fd < 0)
		return fd;
	rc = pt_caller_label(req, &c, fd);
	if (rc == 0)
		rc = pt_create_enter(req, fd, &node);
	if (rc != 0) {
		close(fd);
		return rc;
	}
	/* It has no name by which it could be had again. */
	if (pt_outlives_handles(req))
		sfs_node_hold(node);
	rc = pt_handle_make(req, node, fd, flags, 0, &req->out.create.open);
	if (rc < 0)
		sfs_node_forget(req->session, req->out.create.entry.nodeid, 1);
	req->out_bytes = sizeof(req->out.create);
	return rc;
}

int pt_tmpfile(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_node(req, true);
	if (rc == 0 && !S_ISDIR(pt_op(req)->node->mode))
		rc = -ENOTDIR;
	return rc < 0 ? rc : pt_block(req, PT_END, pt_tmpfile_fn);
}

/* --- STATX --- */

static struct sfs_fuse_sx_time pt_sx_time(struct statx_timestamp t)
{
	return (struct sfs_fuse_sx_time){.tv_sec = t.tv_sec, .tv_nsec = t.tv_nsec};
}

static void pt_statx_fill(struct sfs_fuse_statx *to, const struct statx *stx)
{
	*to = (struct sfs_fuse_statx){
	    .mask = stx->stx_mask & (STATX_BASIC_STATS | STATX_BTIME),
	    .blksize = stx->stx_blksize,
	    .attributes = stx->stx_attributes,
	    .attributes_mask = stx->stx_attributes_mask,
	    .nlink = stx->stx_nlink,
	    .uid = stx->stx_uid,
	    .gid = stx->stx_gid,
	    .mode = stx->stx_mode,
	    .ino = stx->stx_ino,
	    .size = stx->stx_size,
	    .blocks = stx->stx_blocks,
	    .atime = pt_sx_time(stx->stx_atime),
	    .btime = pt_sx_time(stx->stx_btime),
	    .ctime = pt_sx_time(stx->stx_ctime),
	    .mtime = pt_sx_time(stx->stx_mtime),
	    .rdev_major = stx->stx_rdev_major,
	    .rdev_minor = stx->stx_rdev_minor,
	    .dev_major = stx->stx_dev_major,
	    .dev_minor = stx->stx_dev_minor,
	};
}

static int64_t pt_statx_fn(struct sfs_req *req)
{
	const struct sfs_fuse_statx_in *in = &req->arg.statx;
	int flags = AT_EMPTY_PATH | (int)(in->sx_flags & AT_STATX_SYNC_TYPE);
	const struct pt_fs *fs = pt_fs(req);
	struct statx stx;
	int64_t rc;
	int fd = pt_op_fd(req);

	if (fd < 0)
		return fd;
	/* The guest takes attributes only if the basic ones are all there. */
	rc = PT_CALL(statx(fd, "", flags, (in->sx_mask & STATX_BTIME) | STATX_BASIC_STATS, &stx));
	if (rc < 0)
		return rc;
	req->out.statx.attr_valid = fs->attr_timeout.s;
	req->out.statx.attr_valid_nsec = fs->attr_timeout.ns;
	pt_statx_fill(&req->out.statx.stat, &stx);
	req->out_bytes = sizeof(req->out.statx);
	return 0;
}

int pt_statx(struct sfs_req *req)
{
	const struct sfs_fuse_statx_in *in = &req->arg.statx;
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_attr(req, in->getattr_flags & FUSE_GETATTR_FH, in->fh, false);
	return rc < 0 ? rc : pt_quick(req, pt_statx_fn);
}

/* --- IOCTL --- */

/* Answers with @bytes of @data, as far as the guest asked for and has room. */
static int64_t pt_ioctl_reply(struct sfs_req *req, const void *data, size_t bytes)
{
	struct fuse_ioctl_out out = {0};
	uint64_t room = sfs_req_reply_room(req) - sizeof(out); /* there is: the operation's row says so */
	char *buf = sfs_req_buf(req);

	bytes = SFS_MIN(bytes, (size_t)SFS_MIN(req->arg.ioctl.out_size, room));
	memcpy(buf, &out, sizeof(out));
	memcpy(buf + sizeof(out), data, bytes);
	sfs_req_reply_bytes(req, buf, sizeof(out) + bytes);
	return 0;
}

static int64_t pt_ioctl_get(struct sfs_req *req, unsigned long cmd)
{
	union {
		int flags;
		struct fsxattr fsx;
	} u = {.fsx = {0}};
	int64_t rc = PT_CALL(ioctl(pt_op(req)->ent->fd, cmd, &u));

	return rc < 0 ? rc
		      : pt_ioctl_reply(req, &u, cmd == FS_IOC_GETFLAGS ? sizeof(u.flags) : sizeof(u.fsx));
}

static int64_t pt_ioctl_set(struct sfs_req *req, unsigned long cmd)
{
	union {
		int flags;
		struct fsxattr fsx;
	} u = {.fsx = {0}};
	size_t bytes = cmd == FS_IOC_SETFLAGS ? sizeof(u.flags) : sizeof(u.fsx);
	struct pt_caller c;
	int64_t rc;

	if (req->extra_bytes < bytes)
		return -EINVAL;
	memcpy(&u, req->extra, bytes);
	/* Immutable files and the like are not everybody's to make: older guests do not check. */
	rc = pt_asker_begin(req, &c, true);
	if (rc < 0)
		return rc;
	rc = PT_CALL(ioctl(pt_op(req)->ent->fd, cmd, &u));
	pt_caller_end(&c);
	return rc < 0 ? rc : pt_ioctl_reply(req, "", 0);
}

/* Salt and signature are the guest's memory: newer guests send both behind the structure, older ones cannot.
 */
static int64_t pt_ioctl_enable_verity(struct sfs_req *req)
{
	struct fsverity_enable_arg arg;
	struct pt_caller c;
	uint64_t more;
	int64_t rc;

	if (req->extra_bytes < sizeof(arg))
		return -EINVAL;
	memcpy(&arg, req->extra, sizeof(arg));
	more = (uint64_t)arg.salt_size + arg.sig_size;
	if (more > req->extra_bytes - sizeof(arg))
		return -EINVAL;
	arg.salt_ptr = arg.salt_size ? (uintptr_t)(req->extra + sizeof(arg)) : 0;
	arg.sig_ptr = arg.sig_size ? (uintptr_t)(req->extra + sizeof(arg) + arg.salt_size) : 0;
	rc = pt_asker_begin(req, &c, true);
	if (rc < 0)
		return rc;
	rc = PT_CALL(ioctl(pt_op(req)->ent->fd, FS_IOC_ENABLE_VERITY, &arg));
	pt_caller_end(&c);
	return rc < 0 ? rc : pt_ioctl_reply(req, "", 0);
}

static int64_t pt_ioctl_measure_verity(struct sfs_req *req)
{
	union {
		struct fsverity_digest digest;
		char room[sizeof(struct fsverity_digest) + DIGEST_BYTES_MAX];
	} u;
	int64_t rc;

	if (req->extra_bytes < sizeof(u.digest) || req->arg.ioctl.out_size < sizeof(u.digest))
		return -EINVAL;
	memset(&u, 0, sizeof(u));
	u.digest.digest_size =
	    (uint16_t)SFS_MIN(req->arg.ioctl.out_size - sizeof(u.digest), DIGEST_BYTES_MAX);
	rc = PT_CALL(ioctl(pt_op(req)->ent->fd, FS_IOC_MEASURE_VERITY, &u));
	return rc < 0 ? rc : pt_ioctl_reply(req, &u, sizeof(u.digest) + u.digest.digest_size);
}

static int64_t pt_ioctl_fn(struct sfs_req *req)
{
	switch (req->arg.ioctl.cmd) {
	case FS_IOC_GETFLAGS:
	case FS_IOC_FSGETXATTR:
		return pt_ioctl_get(req, req->arg.ioctl.cmd);
	case FS_IOC_SETFLAGS:
	case FS_IOC_FSSETXATTR:
		return pt_ioctl_set(req, req->arg.ioctl.cmd);
	case FS_IOC_ENABLE_VERITY:
		return pt_ioctl_enable_verity(req);
	default:
		return pt_ioctl_measure_verity(req);
	}
}

/* What is open is regular files and directories only, so that no device is ever asked. */
int pt_ioctl(struct sfs_req *req)
{
	const struct fuse_ioctl_in *in = &req->arg.ioctl;
	bool writes = true;
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	switch (in->cmd) {
	case FS_IOC_GETFLAGS:
	case FS_IOC_FSGETXATTR:
	case FS_IOC_MEASURE_VERITY:
		writes = false;
		break;
	case FS_IOC_SETFLAGS:
	case FS_IOC_FSSETXATTR:
	case FS_IOC_ENABLE_VERITY:
		break;
	default:
		return -ENOTTY;
	}
	if (in->flags & (FUSE_IOCTL_COMPAT | FUSE_IOCTL_UNRESTRICTED))
		return -ENOTTY;
	rc = pt_pin_file(req, in->fh, writes, PT_USE_ANY, 0);
	if (rc != 0)
		return rc;
	return in->cmd == FS_IOC_ENABLE_VERITY ? pt_slow(req, PT_END, pt_ioctl_fn)
					       : pt_block(req, PT_END, pt_ioctl_fn);
}
