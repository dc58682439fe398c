/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations that find, make and remove one name.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "mem.h"

int mem_node_dir(struct sfs_req *req, uint64_t nodeid, struct mem_inode **dir)
{
	*dir = mem_node_inode(req, nodeid);
	if (!*dir)
		return -ESTALE;
	return S_ISDIR((*dir)->type) ? 0 : -ENOTDIR;
}

void mem_dir_changed(struct mem_inode *dir, int links)
{
	uint64_t blocks = SFS_ALIGN_UP(dir->entries, MEM_BLOCK_ENTRIES) / MEM_BLOCK_ENTRIES;

	mem_wrlock(dir);
	dir->nlink += (uint32_t)links;
	dir->size = blocks * MEM_BLOCK;
	dir->mtime = dir->ctime = mem_now();
	mem_unlock(dir);
}

bool mem_inode_unlink(struct mem_inode *inode)
{
	bool last;

	mem_wrlock(inode);
	inode->nlink -= S_ISDIR(inode->type) ? 2 : 1;
	inode->ctime = mem_now();
	last = inode->nlink == 0;
	mem_unlock(inode);
	return last;
}

/* --- LOOKUP --- */

/* The inode that @name of @dir means, with a reference; NULL: none. Under the tree's lock. */
static struct mem_inode *name_find(struct mem_fs *fs, struct mem_inode *dir, const char *name, uint32_t bytes)
{
	const struct mem_entry *e;
	struct mem_inode *inode;

	if (bytes == 1 && name[0] == '.') {
		inode = dir;
	} else if (bytes == 2 && name[0] == '.' && name[1] == '.') {
		inode = dir->nlink ? &fs->inodes[dir->parent] : NULL;
	} else {
		e = mem_entry_find(fs, dir, name, bytes);
		inode = e ? &fs->inodes[e->ino] : NULL;
	}
	if (inode)
		mem_inode_get(inode);
	return inode;
}

int mem_lookup(struct sfs_req *req)
{
	struct mem_fs *fs = mem_req_fs(req);
	struct mem_inode *dir, *inode;
	int rc = mem_node_dir(req, req->in.nodeid, &dir);

	if (rc)
		return rc;
	pthread_rwlock_rdlock(&fs->tree);
	inode = name_find(fs, dir, req->name[0], req->name_bytes[0]);
	pthread_rwlock_unlock(&fs->tree);
	if (!inode)
		return -ENOENT;
	return mem_reply_entry(req, inode);
}

/* --- making --- */

/* Gives @inode its first name. It gains the reference of having links at all. Under the tree's lock. */
static int name_add_new(struct mem_fs *fs, struct mem_inode *dir, const char *name, uint32_t bytes,
			struct mem_inode *inode)
{
	bool is_dir = S_ISDIR(inode->type);
	int rc;

	if (dir->nlink == 0) /* removed, but still known to the guest */
		return -ENOENT;
	if (mem_entry_find(fs, dir, name, bytes))
		return -EEXIST;
	if (is_dir && dir->nlink >= MEM_LINK_MAX)
		return -EMLINK;
	rc = mem_entry_add(fs, dir, name, bytes, inode);
	if (rc)
		return rc;
	mem_inode_get(inode);
	inode->parent = dir->ino;
	mem_wrlock(inode);
	inode->nlink = is_dir ? 2 : 1;
	mem_unlock(inode);
	mem_dir_changed(dir, is_dir ? 1 : 0);
	return 0;
}

/* A new object of @mode under the request's first name, owned by the caller; with a reference in *@inode. */
static int name_make(struct sfs_req *req, struct mem_inode *dir, struct mem_inode *inode)
{
	struct mem_fs *fs = mem_req_fs(req);
	int rc;

	pthread_rwlock_wrlock(&fs->tree);
	rc = name_add_new(fs, dir, req->name[0], req->name_bytes[0], inode);
	pthread_rwlock_unlock(&fs->tree);
	return rc;
}

/*
 * The common part of MKNOD, MKDIR and SYMLINK. Where the guest's table of nodes is full the object stays, and
 * the guest learns of it by its next LOOKUP.
 */
static int name_make_and_reply(struct sfs_req *req, uint32_t mode, uint32_t rdev, const char *target,
			       uint32_t bytes)
{
	struct mem_fs *fs = mem_req_fs(req);
	struct mem_inode *dir, *inode;
	int rc = mem_node_dir(req, req->in.nodeid, &dir);

	if (rc)
		return rc;
	inode = mem_inode_new(fs, dir, mode, req->in.uid, req->in.gid);
	if (!inode)
		return -ENOSPC;
	inode->rdev = rdev;
	inode->size = bytes;
	rc = mem_map_fill(fs, &inode->data, target, bytes);
	if (rc == 0)
		rc = name_make(req, dir, inode);
	if (rc) {
		mem_inode_put(fs, inode);
		return rc;
	}
	return mem_reply_entry(req, inode);
}

int mem_symlink(struct sfs_req *req)
{
	return name_make_and_reply(req, S_IFLNK | 0777, 0, req->name[1], req->name_bytes[1]);
}

int mem_mkdir(struct sfs_req *req)
{
	return name_make_and_reply(req, S_IFDIR | (req->arg.mkdir.mode & 07777), 0, NULL, 0);
}

int mem_mknod(struct sfs_req *req)
{
	const struct fuse_mknod_in *in = &req->arg.mknod;

	switch (in->mode & S_IFMT) {
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
		return name_make_and_reply(req, in->mode, 0, NULL, 0);
	case S_IFCHR:
	case S_IFBLK:
		return name_make_and_reply(req, in->mode, in->rdev, NULL, 0);
	default:
		return -EINVAL;
	}
}

/* Finds or makes the regular file of CREATE; *@inode with a reference. */
static int name_open_or_make(struct sfs_req *req, struct mem_inode *dir, struct mem_inode **inode)
{
	const struct fuse_create_in *in = &req->arg.create;
	struct mem_fs *fs = mem_req_fs(req);
	int rc;

	*inode = mem_inode_new(fs, dir, S_IFREG | (in->mode & 07777), req->in.uid, req->in.gid);
	if (!*inode)
		return -ENOSPC;
	pthread_rwlock_wrlock(&fs->tree);
	rc = name_add_new(fs, dir, req->name[0], req->name_bytes[0], *inode);
	if (rc) {
		mem_inode_put(fs, *inode);
		*inode = NULL;
	}
	if (rc == -EEXIST && !(in->flags & O_EXCL)) {
		*inode = name_find(fs, dir, req->name[0], req->name_bytes[0]);
		assert(*inode); /* the lock is held: it exists */
		rc = 0;
	}
	pthread_rwlock_unlock(&fs->tree);
	if (rc == 0 && !S_ISREG((*inode)->type)) {
		rc = S_ISDIR((*inode)->type) ? -EISDIR : -EEXIST;
		mem_inode_put(fs, *inode);
	}
	return rc;
}

int mem_create(struct sfs_req *req)
{
	const struct fuse_create_in *in = &req->arg.create;
	struct fuse_entry_out *entry = &req->out.create.entry;
	struct mem_inode *dir, *inode;
	int rc = mem_node_dir(req, req->in.nodeid, &dir);

	if (rc == 0)
		rc = name_open_or_make(req, dir, &inode);
	if (rc)
		return rc;
	if (!mem_entry_node(req, inode, entry))
		return -ENFILE;
	/* From here on the node, pinned, holds the inode. */
	if (in->flags & O_TRUNC) {
		mem_wrlock(inode);
		mem_truncate(mem_req_fs(req), inode, 0);
		inode->mtime = inode->ctime = mem_now();
		mem_unlock(inode);
		entry->attr.size = entry->attr.blocks = 0;
	}
	rc = mem_handle_new(req, entry->nodeid, inode, in->flags, 0, &req->out.create.open.fh);
	if (rc) { /* the guest gets no entry, so it will not forget it */
		sfs_node_forget(req->session, entry->nodeid, 1);
		return rc;
	}
	req->out_bytes = sizeof(req->out.create);
	return SFS_DONE;
}

int mem_link(struct sfs_req *req)
{
	struct mem_fs *fs = mem_req_fs(req);
	struct mem_inode *inode = mem_node_inode(req, req->arg.link.oldnodeid), *dir;
	int rc = mem_node_dir(req, req->in.nodeid, &dir);

	if (!inode)
		return -ESTALE;
	if (rc)
		return rc;
	if (S_ISDIR(inode->type))
		return -EPERM;

	pthread_rwlock_wrlock(&fs->tree);
	if (dir->nlink == 0 || inode->nlink == 0)
		rc = -ENOENT;
	else if (inode->nlink >= MEM_LINK_MAX)
		rc = -EMLINK;
	else if (mem_entry_find(fs, dir, req->name[0], req->name_bytes[0]))
		rc = -EEXIST;
	else
		rc = mem_entry_add(fs, dir, req->name[0], req->name_bytes[0], inode);
	if (rc == 0) {
		mem_wrlock(inode);
		inode->nlink++;
		inode->ctime = mem_now();
		mem_unlock(inode);
		mem_dir_changed(dir, 0);
	}
	pthread_rwlock_unlock(&fs->tree);
	if (rc)
		return rc;
	mem_inode_get(inode);
	return mem_reply_entry(req, inode);
}

/* --- removing --- */

/* Takes the request's name away; *@last: that inode has lost its last link. Under the tree's lock. */
static int name_remove(struct sfs_req *req, struct mem_inode *dir, bool want_dir, struct mem_inode **last)
{
	struct mem_fs *fs = mem_req_fs(req);
	struct mem_entry *e = mem_entry_find(fs, dir, req->name[0], req->name_bytes[0]);
	struct mem_inode *inode;

	if (!e)
		return -ENOENT;
	inode = &fs->inodes[e->ino];
	if (want_dir && !S_ISDIR(inode->type))
		return -ENOTDIR;
	if (!want_dir && S_ISDIR(inode->type))
		return -EISDIR;
	if (want_dir && inode->entries)
		return -ENOTEMPTY;
	mem_entry_del(fs, dir, e);
	mem_dir_changed(dir, want_dir ? -1 : 0);
	*last = mem_inode_unlink(inode) ? inode : NULL;
	return 0;
}

static int name_remove_op(struct sfs_req *req, bool want_dir)
{
	struct mem_fs *fs = mem_req_fs(req);
	struct mem_inode *dir, *last = NULL;
	int rc = mem_node_dir(req, req->in.nodeid, &dir);

	if (rc)
		return rc;
	pthread_rwlock_wrlock(&fs->tree);
	rc = name_remove(req, dir, want_dir, &last);
	pthread_rwlock_unlock(&fs->tree);
	if (last)
		mem_inode_gone(req, last);
	return rc;
}

int mem_unlink(struct sfs_req *req)
{
	return name_remove_op(req, false);
}

int mem_rmdir(struct sfs_req *req)
{
	return name_remove_op(req, true);
}
