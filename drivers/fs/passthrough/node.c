/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From names and descriptors to nodes, and from nodes back to descriptors.
 */
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "pt.h"

int pt_stat(int fd, struct statx *stx)
{
	return (int)PT_CALL(statx(fd, "", AT_EMPTY_PATH, PT_STATX_MASK, stx));
}

void pt_attr_fill(struct fuse_attr *attr, const struct statx *stx)
{
	*attr = (struct fuse_attr){
	    .ino = stx->stx_ino,
	    .size = stx->stx_size,
	    .blocks = stx->stx_blocks,
	    .atime = (uint64_t)stx->stx_atime.tv_sec,
	    .mtime = (uint64_t)stx->stx_mtime.tv_sec,
	    .ctime = (uint64_t)stx->stx_ctime.tv_sec,
	    .atimensec = stx->stx_atime.tv_nsec,
	    .mtimensec = stx->stx_mtime.tv_nsec,
	    .ctimensec = stx->stx_ctime.tv_nsec,
	    .mode = stx->stx_mode,
	    .nlink = stx->stx_nlink,
	    .uid = stx->stx_uid,
	    .gid = stx->stx_gid,
	    .rdev = (uint32_t)makedev(stx->stx_rdev_major, stx->stx_rdev_minor),
	    .blksize = stx->stx_blksize,
	};
}

void pt_key_fill(const struct pt_fs *fs, unsigned mnt_idx, const struct statx *stx, struct sfs_node_key *key)
{
	*key = (struct sfs_node_key){
	    .dev = makedev(stx->stx_dev_major, stx->stx_dev_minor),
	    .ino = stx->stx_ino,
	    .mnt_idx = mnt_idx,
	};
	if (fs->mounts[mnt_idx].btime && (stx->stx_mask & STATX_BTIME))
		key->btime_ns = (uint64_t)stx->stx_btime.tv_sec * SFS_NS_PER_S + stx->stx_btime.tv_nsec;
}

/* Adds the file handle to @key. Without one (this object has none) its node keeps its descriptor. */
static int pt_key_handle(const struct pt_fs *fs, int fd, struct sfs_node_key *key)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + SFS_NODE_HANDLE_BYTES];
	} u = {.h.handle_bytes = SFS_NODE_HANDLE_BYTES};
	int mnt_id;

	if (!fs->mounts[key->mnt_idx].handles)
		return 0;
	if (name_to_handle_at(fd, "", &u.h, &mnt_id, AT_EMPTY_PATH) < 0)
		return fs->inode_handles == PT_HANDLES_MANDATORY ? -errno : 0;
	key->handle_type = u.h.handle_type;
	key->handle_bytes = (uint8_t)u.h.handle_bytes;
	memcpy(key->handle, u.h.f_handle, u.h.handle_bytes);
	return 0;
}

/* Whether @fd is the very object of @node: a handle may outlive it, and its number may be another's. */
static int pt_node_check(const struct pt_fs *fs, const struct sfs_node *node, int fd)
{
	struct sfs_node_key key;
	struct statx stx;
	int rc = pt_stat(fd, &stx);

	if (rc < 0)
		return rc;
	pt_key_fill(fs, node->key.mnt_idx, &stx, &key);
	if (key.dev != node->key.dev || key.ino != node->key.ino || key.btime_ns != node->key.btime_ns ||
	    (stx.stx_mode & S_IFMT) != node->mode)
		return -ESTALE;
	return 0;
}

static int pt_handle_open(const struct pt_fs *fs, const struct sfs_node *node, int flags)
{
	const struct sfs_node_key *key = &node->key;
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + SFS_NODE_HANDLE_BYTES];
	} u = {.h = {.handle_bytes = key->handle_bytes, .handle_type = key->handle_type}};

	if (key->handle_bytes == 0)
		return -ESTALE;
	memcpy(u.h.f_handle, key->handle, key->handle_bytes);
	return (int)PT_CALL(
	    open_by_handle_at(fs->mounts[key->mnt_idx].fd, &u.h, flags | O_CLOEXEC | O_NOCTTY));
}

int pt_node_fd(struct sfs_req *req, struct sfs_node *node)
{
	struct sfs_fdent *ent = sfs_node_fd(req, node);
	const struct pt_fs *fs = pt_fs(req);
	int fd, rc;

	if (ent)
		return ent->fd;
	fd = pt_handle_open(fs, node, O_PATH);
	if (fd < 0)
		return fd;
	rc = pt_node_check(fs, node, fd);
	if (rc == 0) {
		ent = sfs_node_fd_offer(req, node, fd);
		if (ent)
			return ent->fd;
		rc = -ENFILE;
	}
	close(fd);
	return rc;
}

int pt_op_fd(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);

	return op->ent ? op->ent->fd : pt_node_fd(req, op->node);
}

int pt_node_open(struct sfs_req *req, struct sfs_node *node, int flags)
{
	struct sfs_fdent *ent = sfs_node_fd(req, node);
	const struct pt_fs *fs = pt_fs(req);
	char name[PT_NAME_BYTES];
	int fd, rc;

	flags |= O_CLOEXEC | O_NOCTTY;
	/* By its held descriptor, which also reaches what was deleted; a handle saves the way through /proc.
	 */
	if (ent)
		fd = (int)PT_CALL(openat(fs->proc_fd, pt_fd_name(name, ent->fd), flags));
	else
		fd = pt_handle_open(fs, node, flags);
	if (fd < 0)
		return fd;
	rc = pt_node_check(fs, node, fd);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

int pt_name_open(int dirfd, const char *name)
{
	const struct open_how how = {
	    .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	return (int)PT_CALL(syscall(SYS_openat2, dirfd, name, &how, sizeof(how)));
}

static void pt_entry_fill(const struct sfs_req *req, const struct sfs_node *parent,
			  const struct sfs_node *node, const struct statx *stx, struct fuse_entry_out *entry)
{
	const struct pt_fs *fs = pt_fs(req);

	*entry = (struct fuse_entry_out){
	    .nodeid = sfs_node_id(req->session, node),
	    .entry_valid = fs->entry_timeout.s,
	    .entry_valid_nsec = fs->entry_timeout.ns,
	    .attr_valid = fs->attr_timeout.s,
	    .attr_valid_nsec = fs->attr_timeout.ns,
	};
	pt_attr_fill(&entry->attr, stx);
	if (S_ISDIR(stx->stx_mode) &&
	    (node->key.mnt_idx != parent->key.mnt_idx || node->key.dev != parent->key.dev) &&
	    (sfs_session_init_flags(req->session) & FUSE_SUBMOUNTS))
		entry->attr.flags = FUSE_ATTR_SUBMOUNT;
}

/* The index of the mount of @fd, if we may go there from here. */
static int pt_enter_mount(struct pt_fs *fs, const struct sfs_node *parent, int fd, const struct statx *stx,
			  bool enter, unsigned *idx)
{
	int rc = pt_mount_find(fs, parent->key.mnt_idx, stx->stx_mnt_id);

	if (!enter &&
	    (rc < 0 || ((unsigned)rc != parent->key.mnt_idx && fs->mounts[rc].kind == PT_MOUNT_REMOTE)))
		return PT_ELSEWHERE;
	if (rc < 0 && fd >= 0)
		rc = pt_mount_get(fs, parent->key.mnt_idx, fd, stx);
	if (rc < 0)
		return rc;
	*idx = (unsigned)rc;
	return 0;
}

/* Attributes without asking a server that we may not wait for. */
static int pt_enter_stat(const struct pt_fs *fs, const struct sfs_node *parent, int dirfd, const char *name,
			 bool enter, struct statx *stx)
{
	bool remote = fs->mounts[parent->key.mnt_idx].kind == PT_MOUNT_REMOTE;
	int flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;

	if (!enter && !remote)
		flags |= AT_STATX_DONT_SYNC;
	return (int)PT_CALL(statx(dirfd, name, flags, PT_STATX_MASK, stx));
}

int pt_enter(struct sfs_req *req, const struct sfs_node *parent, int fd, bool keep, bool enter,
	     struct fuse_entry_out *entry, struct sfs_node **node_out)
{
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	struct pt_fs *fs = pt_fs(req);
	struct sfs_node_key key;
	struct sfs_node *node;
	struct statx stx;
	unsigned idx;
	bool created;
	int rc;

	rc = pt_enter_stat(fs, parent, fd, "", enter, &stx);
	if (rc == 0)
		rc = pt_enter_mount(fs, parent, fd, &stx, enter, &idx);
	if (rc == 0) {
		pt_key_fill(fs, idx, &stx, &key);
		rc = pt_key_handle(fs, fd, &key);
	}
	if (rc != 0) {
		close(fd);
		return rc;
	}
	if (!keep && key.handle_bytes) {
		close(fd);
		fd = -1;
	}
	node = sfs_node_get(req, &key, stx.stx_mode & S_IFMT, fd, 1, &created);
	if (!node) {
		if (fd >= 0)
			close(fd);
		return -ENFILE;
	}
	pt_entry_fill(req, parent, node, &stx, entry);
	if (node_out)
		*node_out = node;
	else
		sfs_req_unpin_to(req, mark);
	return 0;
}

int pt_enter_again(struct sfs_req *req, const struct sfs_node *parent, const struct sfs_node *node, int fd,
		   struct fuse_entry_out *entry)
{
	struct sfs_node *again;
	struct statx stx;
	int rc = pt_stat(fd, &stx);

	if (rc < 0)
		return rc;
	again = sfs_node_find(req, &node->key, 1);
	if (!again)
		return -ESTALE;
	pt_entry_fill(req, parent, again, &stx, entry);
	return 0;
}

/*
 * A node that is known and holds its descriptor needs one system call: as long as the descriptor is open the
 * inode's number is nobody else's. The look at fd_idx comes after the statx, so it was open then.
 */
static bool pt_enter_known(struct sfs_req *req, const struct sfs_node *parent, unsigned idx,
			   const struct statx *stx, struct fuse_entry_out *entry)
{
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	struct sfs_node_key key;
	struct sfs_node *node;
	bool held;

	pt_key_fill(pt_fs(req), idx, stx, &key);
	node = sfs_node_find(req, &key, 1);
	if (!node)
		return false;
	held = atomic_load_explicit(&node->fd_idx, memory_order_acquire) != 0;
	if (held)
		pt_entry_fill(req, parent, node, stx, entry);
	else
		sfs_node_forget(req->session, sfs_node_id(req->session, node), 1);
	sfs_req_unpin_to(req, mark);
	return held;
}

int pt_enter_name(struct sfs_req *req, const struct sfs_node *parent, int dirfd, const char *name, bool keep,
		  bool enter, struct fuse_entry_out *entry)
{
	struct pt_fs *fs = pt_fs(req);
	struct statx stx;
	unsigned idx;
	int rc, fd;

	rc = pt_enter_stat(fs, parent, dirfd, name, enter, &stx);
	if (rc < 0)
		return rc;
	rc = pt_enter_mount(fs, parent, -1, &stx, enter, &idx);
	if (rc == PT_ELSEWHERE)
		return rc;
	if (rc == 0 && pt_enter_known(req, parent, idx, &stx, entry))
		return 0;
	fd = pt_name_open(dirfd, name);
	if (fd < 0)
		return fd;
	return pt_enter(req, parent, fd, keep, enter, entry, NULL);
}
