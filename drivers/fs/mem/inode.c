/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inodes: life and death, attributes, handles, and the operations on one inode.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "mem.h"

#define MEM_NSEC_MAX 999999999u

int mem_inodes_init(struct mem_fs *fs, uint32_t count)
{
	fs->inode_max = count;
	fs->inode_top = MEM_ROOT_INO;
	fs->inode_free = count - 1;
	fs->inodes = mem_reserve(count * sizeof(*fs->inodes));
	return fs->inodes ? 0 : -ENOMEM;
}

void mem_inodes_fini(struct mem_fs *fs)
{
	if (!fs->inodes)
		return;
	for (uint32_t i = MEM_ROOT_INO; i < fs->inode_top; i++)
		pthread_rwlock_destroy(&fs->inodes[i].lock);
	munmap(fs->inodes, fs->inode_max * sizeof(*fs->inodes));
}

uint32_t mem_inodes_free(struct mem_fs *fs)
{
	pthread_mutex_lock(&fs->pool);
	uint32_t n = fs->inode_free;
	pthread_mutex_unlock(&fs->pool);
	return n;
}

void mem_lock_init(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

struct timespec mem_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts;
}

/* --- life and death --- */

/* Takes a number. Its record, and so its lock, is used again and again; it is set up the first time. */
static struct mem_inode *inode_take(struct mem_fs *fs)
{
	struct mem_inode *inode = NULL;

	pthread_mutex_lock(&fs->pool);
	if (fs->inode_list) {
		inode = &fs->inodes[fs->inode_list];
		fs->inode_list = inode->next_free;
	} else if (fs->inode_top < fs->inode_max) {
		inode = &fs->inodes[fs->inode_top];
		inode->ino = fs->inode_top++;
		mem_lock_init(&inode->lock);
	}
	if (inode) {
		fs->inode_free--;
		inode->gen = ++fs->next_gen;
	}
	pthread_mutex_unlock(&fs->pool);
	return inode;
}

struct mem_inode *mem_inode_new(struct mem_fs *fs, struct mem_inode *dir, uint32_t mode, uint32_t uid,
				uint32_t gid)
{
	struct mem_inode *inode = inode_take(fs);
	uint32_t dir_perm = 0, dir_gid = gid;

	if (!inode)
		return NULL;
	if (dir) {
		mem_rdlock(dir);
		dir_perm = dir->perm;
		dir_gid = dir->gid;
		mem_unlock(dir);
	}

	mem_wrlock(inode);
	inode->type = mode & S_IFMT;
	inode->perm = mode & ~(uint32_t)S_IFMT & 07777;
	inode->uid = uid;
	inode->gid = gid;
	if (dir_perm & S_ISGID) {
		inode->gid = dir_gid;
		if (S_ISDIR(mode))
			inode->perm |= S_ISGID;
		else if ((inode->perm & S_IXGRP) && gid != dir_gid && uid != 0)
			inode->perm &=
			    ~(uint32_t)S_ISGID; /* no program for a group that its owner is not in */
	}
	inode->nlink = 0;
	inode->rdev = 0;
	inode->size = 0;
	inode->atime = inode->mtime = inode->ctime = mem_now();
	inode->parent = 0;
	inode->entries = 0;
	inode->slots = 0;
	atomic_store_explicit(&inode->refs, 1, memory_order_relaxed);
	mem_unlock(inode);
	return inode;
}

void mem_inode_put(struct mem_fs *fs, struct mem_inode *inode)
{
	if (atomic_fetch_sub_explicit(&inode->refs, 1, memory_order_acq_rel) > 1)
		return;
	/* Nobody can name it any more: no lock is needed. */
	mem_tree_put(fs, inode->data.root, inode->data.depth);
	inode->data = (struct mem_map){0};
	mem_xattr_free_all(fs, inode);

	pthread_mutex_lock(&fs->pool);
	inode->next_free = fs->inode_list;
	fs->inode_list = inode->ino;
	fs->inode_free++;
	pthread_mutex_unlock(&fs->pool);
}

/*
 * A node is found by its key, so the key names the inode. node->drv would not do: another reactor may find a
 * new node before its maker has filled drv. A number is not used again while a node refers to it; the
 * generation in the key keeps a record that is just going from being taken for its successor.
 */
struct mem_inode *mem_node_inode(struct sfs_req *req, uint64_t nodeid)
{
	const struct sfs_node *node = sfs_node_pin(req, nodeid);

	return node ? &mem_req_fs(req)->inodes[node->key.ino] : NULL;
}

void mem_node_evict(struct sfs_session *se, struct sfs_node *node)
{
	struct mem_fs *fs = sfs_session_fs(se);

	if (node->key.ino != MEM_ROOT_INO) /* the root's node is made by the session and refers to nothing */
		mem_inode_put(fs, &fs->inodes[node->key.ino]);
}

/* --- handles: drv[0] is the number of the inode, which the handle refers to --- */

int mem_handle_new(struct sfs_req *req, uint64_t nodeid, struct mem_inode *inode, uint32_t open_flags,
		   uint32_t flags, uint64_t *fh)
{
	struct sfs_handle *h = sfs_handle_open(req, nodeid, -1, open_flags, flags, fh);

	if (!h)
		return -ENFILE;
	/* A guest that guesses *fh may use it on another queue at this moment: it finds no inode yet, and
	 * gets EBADF. */
	mem_inode_get(inode);
	__atomic_store_n(&h->drv[0], inode->ino, __ATOMIC_RELEASE);
	return 0;
}

struct mem_inode *mem_handle_inode(struct sfs_req *req, uint64_t fh, struct sfs_handle **handle)
{
	struct sfs_handle *h = sfs_handle_pin(req, req->in.nodeid, fh, NULL);
	uint64_t ino = h ? __atomic_load_n(&h->drv[0], __ATOMIC_ACQUIRE) : 0;

	if (handle)
		*handle = h;
	return ino ? &mem_req_fs(req)->inodes[ino] : NULL;
}

void mem_handle_free(struct sfs_session *se, struct sfs_handle *handle)
{
	struct mem_fs *fs = sfs_session_fs(se);

	if (handle->drv[0])
		mem_inode_put(fs, &fs->inodes[handle->drv[0]]);
}

/* --- attributes --- */

static void inode_attr(const struct mem_fs *fs, struct mem_inode *inode, struct fuse_attr *attr)
{
	mem_rdlock(inode);
	attr->ino = inode->ino;
	attr->size = inode->size;
	attr->blocks = S_ISDIR(inode->type) ? inode->size / 512
					    : mem_map_blocks(fs, &inode->data) * (MEM_BLOCK / 512ull);
	attr->atime = (uint64_t)inode->atime.tv_sec;
	attr->mtime = (uint64_t)inode->mtime.tv_sec;
	attr->ctime = (uint64_t)inode->ctime.tv_sec;
	attr->atimensec = (uint32_t)inode->atime.tv_nsec;
	attr->mtimensec = (uint32_t)inode->mtime.tv_nsec;
	attr->ctimensec = (uint32_t)inode->ctime.tv_nsec;
	attr->mode = inode->type | inode->perm;
	attr->nlink = inode->nlink;
	attr->uid = inode->uid;
	attr->gid = inode->gid;
	attr->rdev = inode->rdev;
	attr->blksize = MEM_BLOCK;
	mem_unlock(inode);
}

static int inode_reply_attr(struct sfs_req *req, struct mem_inode *inode)
{
	inode_attr(mem_req_fs(req), inode, &req->out.attr.attr);
	req->out.attr.attr_valid = MEM_TIMEOUT_S;
	req->out_bytes = sizeof(req->out.attr);
	return SFS_DONE;
}

static struct sfs_node_key inode_key(const struct mem_inode *inode)
{
	return (struct sfs_node_key){.ino = inode->ino, .btime_ns = inode->gen};
}

struct sfs_node *mem_entry_node(struct sfs_req *req, struct mem_inode *inode, struct fuse_entry_out *entry)
{
	struct sfs_node_key key = inode_key(inode);
	struct mem_fs *fs = mem_req_fs(req);
	bool created;
	struct sfs_node *node = sfs_node_get(req, &key, inode->type, -1, 1, &created);

	if (node) {
		entry->nodeid = sfs_node_id(req->session, node);
		entry->generation = inode->gen;
		entry->entry_valid = MEM_TIMEOUT_S;
		entry->attr_valid = MEM_TIMEOUT_S;
		inode_attr(fs, inode, &entry->attr);
		if (entry->attr.nlink == 0) /* removed by another reactor since it was found */
			sfs_node_gone(node);
	}
	/* A new node keeps the caller's reference, until mem_node_evict(). */
	if (!node || !created)
		mem_inode_put(fs, inode);
	return node;
}

void mem_inode_gone(struct sfs_req *req, struct mem_inode *inode)
{
	struct sfs_node_key key = inode_key(inode);
	struct sfs_node *node = sfs_node_find(req, &key, 0);

	/* Else the node, and so the contents, would be kept for a later lookup. */
	if (node)
		sfs_node_gone(node);
	mem_inode_put(mem_req_fs(req), inode);
}

int mem_reply_entry(struct sfs_req *req, struct mem_inode *inode)
{
	req->out_bytes = sizeof(req->out.entry);
	return mem_entry_node(req, inode, &req->out.entry) ? SFS_DONE : -ENFILE;
}

int mem_getattr(struct sfs_req *req)
{
	struct mem_inode *inode;

	if (req->arg.getattr.getattr_flags & FUSE_GETATTR_FH) {
		inode = mem_handle_inode(req, req->arg.getattr.fh, NULL);
		return inode ? inode_reply_attr(req, inode) : -EBADF;
	}
	inode = mem_node_inode(req, req->in.nodeid);
	return inode ? inode_reply_attr(req, inode) : -ESTALE;
}

static int inode_check_setattr(const struct fuse_setattr_in *in, const struct mem_inode *inode)
{
	if (in->valid & FATTR_SIZE) {
		if (S_ISDIR(inode->type))
			return -EISDIR;
		if (!S_ISREG(inode->type))
			return -EINVAL;
		if (in->size > MEM_FILE_MAX)
			return -EFBIG;
	}
	if (in->atimensec > MEM_NSEC_MAX || in->mtimensec > MEM_NSEC_MAX || in->ctimensec > MEM_NSEC_MAX)
		return -EINVAL;
	return 0;
}

static void inode_set_times(struct mem_inode *inode, const struct fuse_setattr_in *in, struct timespec now)
{
	if (in->valid & FATTR_ATIME_NOW)
		inode->atime = now;
	else if (in->valid & FATTR_ATIME)
		inode->atime = (struct timespec){(time_t)in->atime, in->atimensec};
	if (in->valid & FATTR_MTIME_NOW)
		inode->mtime = now;
	else if (in->valid & FATTR_MTIME)
		inode->mtime = (struct timespec){(time_t)in->mtime, in->mtimensec};
	if (in->valid & FATTR_CTIME)
		inode->ctime = (struct timespec){(time_t)in->ctime, in->ctimensec};
	else
		inode->ctime = now;
}

int mem_setattr(struct sfs_req *req)
{
	const struct fuse_setattr_in *in = &req->arg.setattr;
	struct timespec now = mem_now();
	struct mem_inode *inode;
	int rc;

	if (in->valid & FATTR_FH) {
		inode = mem_handle_inode(req, in->fh, NULL);
		if (!inode)
			return -EBADF;
	} else {
		inode = mem_node_inode(req, req->in.nodeid);
		if (!inode)
			return -ESTALE;
	}
	rc = inode_check_setattr(in, inode);
	if (rc)
		return rc;

	mem_wrlock(inode);
	if (in->valid & FATTR_MODE)
		inode->perm = in->mode & 07777;
	if (in->valid & FATTR_UID)
		inode->uid = in->uid;
	if (in->valid & FATTR_GID)
		inode->gid = in->gid;
	if (in->valid & FATTR_SIZE) {
		mem_truncate(mem_req_fs(req), inode, in->size);
		inode->mtime = now;
	}
	inode_set_times(inode, in, now);
	mem_unlock(inode);
	return inode_reply_attr(req, inode);
}

/* --- operations without a state of their own --- */

int mem_readlink(struct sfs_req *req)
{
	struct mem_inode *inode = mem_node_inode(req, req->in.nodeid);
	char *buf = sfs_req_buf(req);
	uint32_t bytes;

	if (!inode)
		return -ESTALE;
	if (!S_ISLNK(inode->type))
		return -EINVAL;
	mem_rdlock(inode);
	bytes = (uint32_t)SFS_MIN(inode->size, sfs_req_reply_room(req));
	mem_map_copy(mem_req_fs(req), &inode->data, buf, bytes);
	mem_unlock(inode);
	sfs_req_reply_bytes(req, buf, bytes);
	return SFS_DONE;
}

int mem_open(struct sfs_req *req)
{
	struct mem_inode *inode = mem_node_inode(req, req->in.nodeid);
	uint32_t flags = req->arg.open.flags;
	int rc;

	if (!inode)
		return -ESTALE;
	if (S_ISDIR(inode->type))
		return -EISDIR;
	if (!S_ISREG(inode->type))
		return S_ISLNK(inode->type) ? -ELOOP : -ENXIO;
	rc = mem_handle_new(req, req->in.nodeid, inode, flags, 0, &req->out.open.fh);
	if (rc)
		return rc;
	if (flags & O_TRUNC) {
		mem_wrlock(inode);
		mem_truncate(mem_req_fs(req), inode, 0);
		inode->mtime = inode->ctime = mem_now();
		mem_unlock(inode);
	}
	req->out_bytes = sizeof(req->out.open);
	return SFS_DONE;
}

/* RELEASE and RELEASEDIR. What the handle refers to goes in mem_handle_free(), when no request uses it any
 * more. */
int mem_release(struct sfs_req *req)
{
	return sfs_handle_release(req, req->in.nodeid, req->arg.release.fh);
}

/* FLUSH, FSYNC and FSYNCDIR: nothing is ever dirty. All three have the handle's number first in their
 * arguments. */
int mem_sync(struct sfs_req *req)
{
	_Static_assert(offsetof(struct fuse_flush_in, fh) == offsetof(struct fuse_fsync_in, fh),
		       "one place for fh");
	return mem_handle_inode(req, req->arg.fsync.fh, NULL) ? SFS_DONE : -EBADF;
}
