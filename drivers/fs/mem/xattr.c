/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extended attributes: a list for each inode, under its lock. Each attribute has a block for its name, and a
 * map of its own for its value: a new value is complete before it takes the place of the old one.
 */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "mem.h"

#define XATTR_COUNT_MAX 256 /* of one inode: bounds every walk along a list */

struct mem_xattr {
	uint32_t next; /* block of the next one */
	uint32_t value_bytes;
	struct mem_map value;
	uint32_t name_bytes;
	char name[MEM_NAME_MAX];
};

_Static_assert(sizeof(struct mem_xattr) <= MEM_BLOCK, "an attribute's head is one block");

/* The link (the inode's, or that of the attribute before) which names attribute @name, or the last one, which
 * names none. */
static uint32_t *xattr_link(const struct mem_fs *fs, struct mem_inode *inode, const char *name,
			    uint32_t bytes)
{
	uint32_t *link = &inode->xattr;

	while (*link) {
		struct mem_xattr *x = mem_block(fs, *link);

		if (x->name_bytes == bytes && memcmp(x->name, name, bytes) == 0)
			break;
		link = &x->next;
	}
	return link;
}

/* Takes the attribute that @link names out of its list and frees it. */
static void xattr_del(struct mem_fs *fs, struct mem_inode *inode, uint32_t *link)
{
	uint32_t block = *link;
	struct mem_xattr *x = mem_block(fs, block);

	*link = x->next;
	inode->xattr_count--;
	inode->xattr_list_bytes -= x->name_bytes + 1;
	mem_tree_put(fs, x->value.root, x->value.depth);
	mem_tree_put(fs, block, 0);
}

void mem_xattr_free_all(struct mem_fs *fs, struct mem_inode *inode)
{
	while (inode->xattr)
		xattr_del(fs, inode, &inode->xattr);
}

/* Appends attribute @name without a value at @link. 0 or -ENOSPC. */
static int xattr_add(struct mem_fs *fs, struct mem_inode *inode, uint32_t *link, const char *name,
		     uint32_t bytes)
{
	struct mem_xattr *x;
	uint32_t block;

	if (inode->xattr_count == XATTR_COUNT_MAX || inode->xattr_list_bytes + bytes + 1 > SFS_BUF_BYTES)
		return -ENOSPC;
	block = mem_block_get(fs);
	if (!block)
		return -ENOSPC;
	x = mem_block(fs, block);
	*x = (struct mem_xattr){.name_bytes = bytes};
	memcpy(x->name, name, bytes);
	*link = block;
	inode->xattr_count++;
	inode->xattr_list_bytes += bytes + 1;
	return 0;
}

static int xattr_set(struct mem_fs *fs, struct mem_inode *inode, const struct sfs_req *req)
{
	const struct fuse_setxattr_in *in = &req->arg.setxattr;
	uint32_t *link = xattr_link(fs, inode, req->name[0], req->name_bytes[0]);
	struct mem_map value = {0};
	struct mem_xattr *x;
	int rc;

	if (*link && (in->flags & XATTR_CREATE))
		return -EEXIST;
	if (!*link && (in->flags & XATTR_REPLACE))
		return -ENODATA;
	rc = mem_map_fill(fs, &value, req->extra, in->size);
	if (rc == 0 && !*link)
		rc = xattr_add(fs, inode, link, req->name[0], req->name_bytes[0]);
	if (rc) {
		mem_tree_put(fs, value.root, value.depth);
		return rc;
	}
	x = mem_block(fs, *link);
	mem_tree_put(fs, x->value.root, x->value.depth);
	x->value = value;
	x->value_bytes = in->size;
	inode->ctime = mem_now();
	return 0;
}

int mem_setxattr(struct sfs_req *req)
{
	const struct fuse_setxattr_in *in = &req->arg.setxattr;
	struct mem_inode *inode = mem_node_inode(req, req->in.nodeid);
	int rc;

	if (!inode)
		return -ESTALE;
	if (in->size > req->extra_bytes || (in->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE)))
		return -EINVAL;
	if (in->size > SFS_BUF_BYTES)
		return -E2BIG;
	mem_wrlock(inode);
	rc = xattr_set(mem_req_fs(req), inode, req);
	mem_unlock(inode);
	return rc;
}

/* The second half of GETXATTR and LISTXATTR: @bytes in the request's buffer, or only how many there are. */
static int xattr_reply(struct sfs_req *req, uint32_t bytes)
{
	if (req->arg.getxattr.size == 0) {
		if (sfs_req_reply_room(req) < sizeof(req->out.xattr))
			return -EINVAL;
		req->out.xattr.size = bytes;
		req->out_bytes = sizeof(req->out.xattr);
		return SFS_DONE;
	}
	if (bytes > req->arg.getxattr.size || bytes > sfs_req_reply_room(req))
		return -ERANGE;
	sfs_req_reply_bytes(req, sfs_req_buf(req), bytes);
	return SFS_DONE;
}

int mem_getxattr(struct sfs_req *req)
{
	struct mem_inode *inode = mem_node_inode(req, req->in.nodeid);
	struct mem_fs *fs = mem_req_fs(req);
	const struct mem_xattr *x;
	uint32_t block, bytes = 0;

	if (!inode)
		return -ESTALE;
	mem_rdlock(inode);
	block = *xattr_link(fs, inode, req->name[0], req->name_bytes[0]);
	if (block) {
		x = mem_block(fs, block);
		bytes = x->value_bytes;
		if (req->arg.getxattr.size)
			mem_map_copy(fs, &x->value, sfs_req_buf(req), bytes);
	}
	mem_unlock(inode);
	return block ? xattr_reply(req, bytes) : -ENODATA;
}

int mem_listxattr(struct sfs_req *req)
{
	struct mem_inode *inode = mem_node_inode(req, req->in.nodeid);
	struct mem_fs *fs = mem_req_fs(req);
	char *buf = sfs_req_buf(req);
	uint32_t bytes = 0;

	if (!inode)
		return -ESTALE;
	mem_rdlock(inode);
	for (uint32_t block = inode->xattr; block;) {
		const struct mem_xattr *x = mem_block(fs, block);

		memcpy(buf + bytes, x->name, x->name_bytes);
		bytes += x->name_bytes;
		buf[bytes++] = '\0';
		block = x->next;
	}
	mem_unlock(inode);
	return xattr_reply(req, bytes);
}

int mem_removexattr(struct sfs_req *req)
{
	struct mem_inode *inode = mem_node_inode(req, req->in.nodeid);
	struct mem_fs *fs = mem_req_fs(req);
	int rc = -ENODATA;
	uint32_t *link;

	if (!inode)
		return -ESTALE;
	mem_wrlock(inode);
	link = xattr_link(fs, inode, req->name[0], req->name_bytes[0]);
	if (*link) {
		xattr_del(fs, inode, link);
		inode->ctime = mem_now();
		rc = 0;
	}
	mem_unlock(inode);
	return rc;
}
