/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From names and descriptors to nodes, and from nodes back to descriptors.
 */
#include <linux/openat2.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "pt.h"

/* The coarsest clock of a kernel ticks in 10 ms. */
#define SETTLED_NS SFS_NS_PER_S

#define HANDLE_TRIES 100

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

/* Adds the file handle of @name in @fd ("": of @fd) to @key. Without one (this object has none) its node keeps its
 * descriptor. */
static int pt_key_handle(const struct pt_fs *fs, int fd, const char *name, struct sfs_node_key *key)
{
	const struct pt_mount *m = &fs->mounts[key->mnt_idx];
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + SFS_NODE_HANDLE_BYTES];
	} u = {.h.handle_bytes = SFS_NODE_HANDLE_BYTES};
	int mnt_id;

	if (!m->handles)
		return 0;
	if (name_to_handle_at(fd, name, &u.h, &mnt_id, *name ? 0 : AT_EMPTY_PATH) < 0)
		return fs->inode_handles == PT_HANDLES_MANDATORY ? -errno : 0;
	if (*name && (uint64_t)mnt_id != m->mnt_id)
		return -ENOENT; /* something was mounted there meanwhile */
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

static int pt_node_check_open(const struct pt_fs *fs, struct sfs_node *node, int fd)
{
	int rc = pt_node_check(fs, node, fd);

	if (rc == 0)
		return fd;
	close(fd);
	if (rc == -ESTALE)
		sfs_node_stale(node);
	return rc;
}

/*
 * The kernel says ENOMEM also where the inode's number is another object's that is being made right now (fs/inode.c: iget_locked() meets
 * I_CREATING). A moment later it knows that the handle is stale.
 */
static int pt_handle_open(const struct pt_fs *fs, struct sfs_node *node, int flags)
{
	const struct sfs_node_key *key = &node->key;
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + SFS_NODE_HANDLE_BYTES];
	} u = {.h = {.handle_bytes = key->handle_bytes, .handle_type = key->handle_type}};

	if (key->handle_bytes == 0)
		return -ESTALE;
	memcpy(u.h.f_handle, key->handle, key->handle_bytes);
	for (unsigned tries = 1;; tries++) {
		int fd = (int)PT_CALL(
		    open_by_handle_at(fs->mounts[key->mnt_idx].fd, &u.h, flags | O_CLOEXEC | O_NOCTTY));

		if (fd != -ENOMEM || tries == HANDLE_TRIES)
			return fd;
		sched_yield();
	}
}

static void pt_node_flags(struct sfs_node *node, uint32_t flags)
{
	if ((atomic_load_explicit(&node->flags, memory_order_relaxed) & flags) != flags)
		atomic_fetch_or_explicit(&node->flags, flags, memory_order_relaxed);
}

/* By its handle alone, which may outlive its object. */
static int pt_handle_open_check(const struct pt_fs *fs, struct sfs_node *node, int flags)
{
	int fd = pt_handle_open(fs, node, flags);

	if (fd == -ESTALE && node->key.handle_bytes)
		sfs_node_stale(node);
	if (fd >= 0)
		fd = pt_node_check_open(fs, node, fd);
	if (fd >= 0)
		pt_node_flags(node, PT_NODE_PROVEN);
	return fd;
}

/* What a node was identified by may have been of two objects, and on filesystems that we do not know a handle may be another's by
 * now. Opening that one could wait for ever (a FIFO) or reach a device: then it is looked at first. */
static bool pt_handle_trusted(const struct pt_fs *fs, const struct sfs_node *node)
{
	return fs->mounts[node->key.mnt_idx].plain &&
	       (atomic_load_explicit(&node->flags, memory_order_relaxed) & PT_NODE_PROVEN);
}

int pt_node_fd(struct sfs_req *req, struct sfs_node *node)
{
	struct sfs_fdent *ent = sfs_node_fd(req, node);
	int fd;

	if (ent)
		return ent->fd;
	fd = pt_handle_open_check(pt_fs(req), node, O_PATH);
	if (fd < 0)
		return fd;
	ent = sfs_node_fd_offer(req, node, fd);
	if (ent)
		return ent->fd;
	close(fd);
	return -ENFILE;
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
	int fd, path;

	if (!ent && pt_handle_trusted(fs, node))
		return pt_handle_open_check(fs, node, flags);
	path = ent ? ent->fd : pt_node_fd(req, node);
	if (path < 0)
		return path;
	/* While its own descriptor is held and pinned the inode stays what it is: there is nothing to check, and its handle
	 * is of no other. That saves the way through /proc, which also reaches what was deleted. */
	fd = pt_handle_trusted(fs, node) ? pt_handle_open(fs, node, flags) : -ESTALE;
	if (fd != -ESTALE)
		return fd;
	return (int)PT_CALL(openat(fs->proc_fd, pt_fd_name(name, path), flags | O_CLOEXEC | O_NOCTTY));
}

int pt_name_open(int dirfd, const char *name)
{
	const struct open_how how = {
	    .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	return (int)PT_CALL(syscall(SYS_openat2, dirfd, name, &how, sizeof(how)));
}

void pt_hold_last(struct sfs_req *req, const struct sfs_node *parent, int dirfd, const char *name)
{
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	const struct pt_fs *fs = pt_fs(req);
	struct sfs_node_key key;
	struct sfs_node *node;
	struct statx stx;
	int idx;

	if (!pt_outlives_handles(req) ||
	    PT_CALL(statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, PT_STATX_MASK, &stx)) < 0 ||
	    !S_ISREG(stx.stx_mode) || stx.stx_nlink > 1)
		return;
	idx = pt_mount_find(fs, parent->key.mnt_idx, stx.stx_mnt_id);
	if (idx < 0)
		return;
	pt_key_fill(fs, (unsigned)idx, &stx, &key);
	node = sfs_node_find(req, &key, 0);
	if (node && sfs_node_hold(node))
		pt_node_fd(req, node);
	sfs_req_unpin_to(req, mark);
}

static void pt_entry_fill(const struct sfs_req *req, const struct sfs_node *parent, uint64_t nodeid,
			  const struct sfs_node_key *key, const struct statx *stx,
			  struct fuse_entry_out *entry)
{
	const struct pt_fs *fs = pt_fs(req);

	*entry = (struct fuse_entry_out){
	    .nodeid = nodeid,
	    .entry_valid = fs->entry_timeout.s,
	    .entry_valid_nsec = fs->entry_timeout.ns,
	    .attr_valid = fs->attr_timeout.s,
	    .attr_valid_nsec = fs->attr_timeout.ns,
	};
	pt_attr_fill(&entry->attr, stx);
	if (S_ISDIR(stx->stx_mode) && (key->mnt_idx != parent->key.mnt_idx || key->dev != parent->key.dev) &&
	    (sfs_session_init_flags(req->session) & FUSE_SUBMOUNTS))
		entry->attr.flags = FUSE_ATTR_SUBMOUNT;
}

/* The index of the mount of @fd, if we may go there from here. */
static int pt_enter_mount(struct pt_fs *fs, const struct sfs_node *parent, int fd, const struct statx *stx,
			  bool enter, unsigned *idx)
{
	int rc = pt_mount_find(fs, parent->key.mnt_idx, stx->stx_mnt_id);

	if (!enter &&
	    (rc < 0 || ((unsigned)rc != parent->key.mnt_idx && fs->mounts[rc].store == SFS_STORE_REMOTE)))
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
	bool remote = fs->mounts[parent->key.mnt_idx].store == SFS_STORE_REMOTE;
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);

	if (!enter && !remote)
		flags |= AT_STATX_DONT_SYNC;
	return (int)PT_CALL(statx(dirfd, name, flags, PT_STATX_MASK, stx));
}

/* Whether a birth time is so long ago that a later inode of the same number has another one. */
static bool pt_key_settled(const struct pt_fs *fs, const struct sfs_node_key *key)
{
	struct timespec now;

	if (!fs->mounts[key->mnt_idx].plain || !key->handle_bytes || !key->btime_ns)
		return false;
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return (uint64_t)now.tv_sec * SFS_NS_PER_S + (uint64_t)now.tv_nsec > key->btime_ns + SETTLED_NS;
}

/* The node of @key, with one more lookup, and its entry; gets @flags. @fd is taken over, also after a failure. */
static int pt_enter_key(struct sfs_req *req, const struct sfs_node *parent, const struct sfs_node_key *key,
			const struct statx *stx, int fd, uint32_t flags, struct fuse_entry_out *entry,
			struct sfs_node **node_out)
{
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	bool created;
	struct sfs_node *node = sfs_node_get(req, key, stx->stx_mode & S_IFMT, fd, 1, &created);

	if (!node) {
		if (fd >= 0)
			close(fd);
		return -ENFILE;
	}
	if (pt_key_settled(pt_fs(req), key))
		flags |= PT_NODE_SETTLED;
	if (flags)
		pt_node_flags(node, flags);
	pt_entry_fill(req, parent, sfs_node_id(req->session, node), &node->key, stx, entry);
	if (node_out)
		*node_out = node;
	else
		sfs_req_unpin_to(req, mark);
	return 0;
}

int pt_enter(struct sfs_req *req, const struct sfs_node *parent, int fd, bool keep, bool enter,
	     struct fuse_entry_out *entry, struct sfs_node **node_out)
{
	struct pt_fs *fs = pt_fs(req);
	struct sfs_node_key key;
	struct statx stx;
	unsigned idx;
	int rc;

	rc = pt_enter_stat(fs, parent, fd, "", enter, &stx);
	if (rc == 0)
		rc = pt_enter_mount(fs, parent, fd, &stx, enter, &idx);
	if (rc == 0) {
		pt_key_fill(fs, idx, &stx, &key);
		rc = pt_key_handle(fs, fd, "", &key);
	}
	if (rc != 0) {
		close(fd);
		return rc;
	}
	if (!keep && key.handle_bytes) {
		close(fd);
		fd = -1;
	}
	return pt_enter_key(req, parent, &key, &stx, fd, PT_NODE_PROVEN, entry, node_out);
}

int pt_enter_made(struct sfs_req *req, const struct sfs_node *parent, int fd, struct fuse_entry_out *entry,
		  struct sfs_node **node)
{
	const struct pt_fs *fs = pt_fs(req);
	char name[PT_NAME_BYTES];
	struct sfs_node_key key;
	struct statx stx;
	int path, idx, rc = pt_stat(fd, &stx);

	if (rc < 0)
		return rc;
	idx = pt_mount_find(fs, parent->key.mnt_idx, stx.stx_mnt_id);
	/* Its handle is enough, but for one without a name, which waits for LINK. */
	if (idx >= 0 && fs->mounts[idx].plain && stx.stx_nlink > 0 && !pt_writes_late(req)) {
		pt_key_fill(fs, (unsigned)idx, &stx, &key);
		rc = pt_key_handle(fs, fd, "", &key);
		if (rc < 0 || key.handle_bytes)
			return rc < 0
				   ? rc
				   : pt_enter_key(req, parent, &key, &stx, -1, PT_NODE_PROVEN, entry, node);
	}
	path = (int)PT_CALL(openat(fs->proc_fd, pt_fd_name(name, fd), O_PATH | O_CLOEXEC));
	return path < 0 ? path : pt_enter(req, parent, path, true, true, entry, node);
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
	pt_entry_fill(req, parent, sfs_node_id(req->session, again), &again->key, &stx, entry);
	return 0;
}

/*
 * One system call is enough for a node that is known, if it holds its descriptor - as long as that is open the inode's
 * number is nobody else's; the look at fd_idx comes after the statx, so it was open then - or is settled. A directory that is
 * looked up shall have its descriptor again: it is where names are found.
 */
static bool pt_enter_known(struct sfs_req *req, const struct sfs_node *parent, unsigned idx,
			   const struct statx *stx, bool keep, struct fuse_entry_out *entry)
{
	uint32_t flags = keep && (S_ISDIR(stx->stx_mode) || pt_writes_late(req)) ? 0 : PT_NODE_SETTLED;
	struct sfs_node_key key;

	pt_key_fill(pt_fs(req), idx, stx, &key);
	/* The answer is written while the table's line is on its way. */
	sfs_node_expect(req->session, &key);
	pt_entry_fill(req, parent, 0, &key, stx, entry);
	return sfs_node_again(req->session, &key, flags, 1, &entry->nodeid);
}

/*
 * A node that shall hold no descriptor, by a handle. True: it has come to an end, *rc. If another object has taken the
 * name since the statx, the node's numbers and its handle are of two: it does not pass pt_node_check().
 */
static bool pt_enter_handle(struct sfs_req *req, const struct sfs_node *parent, int dirfd, const char *name,
			    unsigned idx, const struct statx *stx, struct fuse_entry_out *entry, int *rc)
{
	const struct pt_fs *fs = pt_fs(req);
	struct sfs_node_key key;

	pt_key_fill(fs, idx, stx, &key);
	*rc = pt_key_handle(fs, dirfd, name, &key);
	if (*rc < 0 || !key.handle_bytes)
		return *rc < 0;
	*rc = pt_enter_key(req, parent, &key, stx, -1, 0, entry, NULL);
	return true;
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
	if (rc == 0 && pt_enter_known(req, parent, idx, &stx, keep, entry))
		return 0;
	if (rc == 0 && !keep && pt_enter_handle(req, parent, dirfd, name, idx, &stx, entry, &rc))
		return rc;
	fd = pt_name_open(dirfd, name);
	if (fd < 0)
		return fd;
	return pt_enter(req, parent, fd, keep, enter, entry, NULL);
}
