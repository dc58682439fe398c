/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extended attributes. The calls know no O_PATH descriptors, so they go by the descriptor's link in /proc.
 */
#include <sys/xattr.h>

#include "pt.h"

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

static bool is_acl(const char *name)
{
	return strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0;
}

/* Guests that were not told of ACLs do not apply them: they shall not set or see them. */
static bool acl_off(const struct sfs_req *req)
{
	return !(sfs_session_init_flags(req->session) & FUSE_POSIX_ACL);
}

static int pt_xattr_op(struct sfs_req *req, bool writes, int64_t (*fn)(struct sfs_req *))
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	if (!pt_fs(req)->xattr)
		return -ENOSYS;
	rc = pt_pin_node(req, writes);
	if (rc < 0)
		return rc;
	if (req->name[0] && is_acl(req->name[0]) && acl_off(req))
		return -EOPNOTSUPP;
	return pt_block(req, PT_END, fn);
}

static int64_t pt_setxattr_fn(struct sfs_req *req)
{
	const struct fuse_setxattr_in *in = &req->arg.setxattr;
	/* The caller may not keep the bit that the new ACL's group would get. */
	bool kill =
	    (in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) && strcmp(req->name[0], ACL_ACCESS) == 0;
	char path[PT_NAME_BYTES];
	int fd = pt_op_fd(req);
	int64_t rc;

	if (fd < 0)
		return fd;
	rc = kill ? pt_fsetid_drop() : 0;
	if (rc < 0)
		return rc;
	rc = PT_CALL(setxattr(pt_fd_path(path, fd), req->name[0], req->extra, in->size, (int)in->flags));
	if (kill)
		pt_fsetid_restore();
	return rc;
}

int pt_setxattr(struct sfs_req *req)
{
	if (req->step == PT_START && req->arg.setxattr.size > req->extra_bytes)
		return -EINVAL;
	return pt_xattr_op(req, true, pt_setxattr_fn);
}

/* Room for a value or list: what the guest asked for, has space for and we hold. */
static size_t pt_xattr_room(const struct sfs_req *req)
{
	uint64_t room = SFS_MIN(sfs_req_reply_room(req), (uint64_t)SFS_BUF_BYTES);

	return SFS_MIN((uint64_t)req->arg.getxattr.size, room);
}

static int64_t pt_xattr_size(struct sfs_req *req, int64_t bytes)
{
	if (sfs_req_reply_room(req) < sizeof(req->out.xattr))
		return -EINVAL;
	req->out.xattr.size = (uint32_t)bytes;
	req->out_bytes = sizeof(req->out.xattr);
	return 0;
}

static int64_t pt_getxattr_fn(struct sfs_req *req)
{
	char path[PT_NAME_BYTES], *buf = sfs_req_buf(req);
	bool ask = req->arg.getxattr.size == 0;
	int fd = pt_op_fd(req);
	int64_t rc;

	if (fd < 0)
		return fd;
	rc = PT_CALL(getxattr(pt_fd_path(path, fd), req->name[0], buf, ask ? 0 : pt_xattr_room(req)));
	if (rc < 0)
		return rc;
	if (ask)
		return pt_xattr_size(req, rc);
	sfs_req_reply_bytes(req, buf, (uint64_t)rc);
	return 0;
}

int pt_getxattr(struct sfs_req *req)
{
	return pt_xattr_op(req, false, pt_getxattr_fn);
}

/* Takes the names of ACLs out of a list; returns the new length. */
static int64_t pt_list_filter(char *list, int64_t bytes)
{
	int64_t from = 0, to = 0;

	while (from < bytes) {
		int64_t len = (int64_t)strnlen(list + from, (size_t)(bytes - from)) + 1;

		if (!is_acl(list + from)) {
			memmove(list + to, list + from, (size_t)len);
			to += len;
		}
		from += len;
	}
	return to;
}

static int64_t pt_listxattr_fn(struct sfs_req *req)
{
	char path[PT_NAME_BYTES], *buf = sfs_req_buf(req);
	int fd = pt_op_fd(req);
	int64_t rc;

	if (fd < 0)
		return fd;
	rc = PT_CALL(listxattr(pt_fd_path(path, fd), buf, SFS_BUF_BYTES));
	if (rc > 0 && acl_off(req))
		rc = pt_list_filter(buf, rc);
	if (rc < 0)
		return rc;
	if (req->arg.getxattr.size == 0)
		return pt_xattr_size(req, rc);
	if ((uint64_t)rc > pt_xattr_room(req))
		return -ERANGE;
	sfs_req_reply_bytes(req, buf, (uint64_t)rc);
	return 0;
}

int pt_listxattr(struct sfs_req *req)
{
	return pt_xattr_op(req, false, pt_listxattr_fn);
}

static int64_t pt_removexattr_fn(struct sfs_req *req)
{
	char path[PT_NAME_BYTES];
	int fd = pt_op_fd(req);

	return fd < 0 ? fd : PT_CALL(removexattr(pt_fd_path(path, fd), req->name[0]));
}

int pt_removexattr(struct sfs_req *req)
{
	return pt_xattr_op(req, true, pt_removexattr_fn);
}
