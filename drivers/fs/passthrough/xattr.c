/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extended attributes. The calls know no O_PATH descriptors, so they go by the descriptor's link in /proc.
 */
#include <sys/xattr.h>

#include "pt.h"

static bool is_acl(const char *name)
{
	return strcmp(name, PT_ACL_ACCESS) == 0 || strcmp(name, PT_ACL_DEFAULT) == 0;
}

/* Guests that were not told of ACLs do not apply them: they shall not set or see them. */
static bool acl_off(const struct sfs_req *req)
{
	return !(sfs_session_init_flags(req->session) & FUSE_POSIX_ACL);
}

/* What the request's name is on the host. 0 or what the guest is to get. */
static int pt_host_name(const struct sfs_req *req, char host[PT_XATTR_NAME_BYTES])
{
	const struct pt_xattrmap *map = pt_fs(req)->xattrmap;
	int rc;

	if (!map) {
		strcpy(host, req->name[0]); /* at most 255 bytes, by the request's check */
		return 0;
	}
	rc = pt_xattrmap_to_host(map, req->name[0], host);
	return rc == 0 && is_acl(host) && acl_off(req) ? -EOPNOTSUPP : rc;
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
	char path[PT_NAME_BYTES], name[PT_XATTR_NAME_BYTES];
	int64_t rc = pt_host_name(req, name);
	int fd = rc < 0 ? (int)rc : pt_op_fd(req);
	bool kill;

	if (fd < 0)
		return fd;
	kill = (in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) && strcmp(name, PT_ACL_ACCESS) == 0;
	rc = kill ? pt_fsetid_drop() : 0;
	if (rc < 0)
		return rc;
	rc = PT_CALL(setxattr(pt_fd_path(path, fd), name, req->extra, in->size, (int)in->flags));
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
	char path[PT_NAME_BYTES], name[PT_XATTR_NAME_BYTES], *buf = sfs_req_buf(req);
	bool ask = req->arg.getxattr.size == 0;
	size_t room = pt_xattr_room(req);
	int64_t rc = pt_host_name(req, name);
	int fd = rc < 0 ? (int)rc : pt_op_fd(req);

	if (fd < 0)
		return fd;
	rc = PT_CALL(getxattr(pt_fd_path(path, fd), name, buf, room));
	if (rc < 0)
		return rc;
	if (ask)
		return pt_xattr_size(req, rc);
	/* To the host no room is the question for the size, not so to the guest. */
	if ((uint64_t)rc > room)
		return -ERANGE;
	sfs_req_reply_bytes(req, buf, (uint64_t)rc);
	return 0;
}

int pt_getxattr(struct sfs_req *req)
{
	return pt_xattr_op(req, false, pt_getxattr_fn);
}

/* What the guest sees of a name; NULL: nothing. */
static const char *pt_guest_name(const struct sfs_req *req, const char *name)
{
	const struct pt_xattrmap *map = pt_fs(req)->xattrmap;

	if (is_acl(name) && acl_off(req))
		return NULL;
	if (map)
		name = pt_xattrmap_to_guest(map, name);
	return name && is_acl(name) && acl_off(req) ? NULL : name;
}

/* Makes the host's list the guest's, in place, since no name grows; returns the new length. */
static int64_t pt_list_translate(const struct sfs_req *req, char *list, int64_t bytes)
{
	int64_t from = 0, to = 0;

	while (from < bytes) {
		int64_t len = (int64_t)strnlen(list + from, (size_t)(bytes - from)) + 1;
		const char *name = pt_guest_name(req, list + from);

		from += len;
		if (!name)
			continue;
		len = (int64_t)strlen(name) + 1;
		memmove(list + to, name, (size_t)len);
		to += len;
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
	if (rc > 0 && (acl_off(req) || pt_fs(req)->xattrmap))
		rc = pt_list_translate(req, buf, rc);
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
	char path[PT_NAME_BYTES], name[PT_XATTR_NAME_BYTES];
	int rc = pt_host_name(req, name), fd = rc < 0 ? rc : pt_op_fd(req);

	return fd < 0 ? fd : PT_CALL(removexattr(pt_fd_path(path, fd), name));
}

int pt_removexattr(struct sfs_req *req)
{
	return pt_xattr_op(req, true, pt_removexattr_fn);
}
