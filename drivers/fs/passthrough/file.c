/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files, but for their data (io.c): OPEN, CREATE, FLUSH, RELEASE, FSYNC, FALLOCATE, LSEEK, COPY_FILE_RANGE,
 * SYNCFS.
 */
#include "pt.h"

#define CREATE_TRIES   8
#define COPY_BYTES_MAX (128ull << 20) /* of one request: a worker's time is bounded, the guest asks again */

/* --- OPEN --- */

int pt_open_flags(const struct sfs_req *req, uint32_t flags)
{
	uint64_t init = sfs_session_init_flags(req->session);
	const struct pt_fs *fs = pt_fs(req);
	uint32_t keep = O_ACCMODE | O_SYNC | O_DSYNC; /* O_APPEND is each write's: io.c */

	if (init & FUSE_ATOMIC_O_TRUNC)
		keep |= O_TRUNC;
	if (fs->allow_direct_io)
		keep |= O_DIRECT;
	if (fs->preserve_noatime)
		keep |= O_NOATIME;
	flags &= keep;
	/* The guest's kernel reads what it writes in part. */
	if ((init & FUSE_WRITEBACK_CACHE) && (flags & O_ACCMODE) == O_WRONLY)
		flags = (flags & ~(uint32_t)O_ACCMODE) | O_RDWR;
	return (int)flags;
}

int pt_open_check(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return 0;
	case S_IFDIR:
		return -EISDIR;
	case S_IFLNK:
		return -ELOOP;
	default:
		return -ENXIO; /* opening it would reach a device or a process of the host */
	}
}

static uint32_t pt_open_reply(const struct pt_fs *fs, bool dir)
{
	switch (fs->cache) {
	case PT_CACHE_NEVER:
		return dir ? 0 : FOPEN_DIRECT_IO;
	case PT_CACHE_METADATA:
		return dir ? FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE : FOPEN_DIRECT_IO;
	case PT_CACHE_ALWAYS:
		return dir ? FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE : FOPEN_KEEP_CACHE;
	default:
		return 0;
	}
}

int pt_handle_make(struct sfs_req *req, struct sfs_node *node, int fd, int flags, uint32_t handle_flags,
		   struct fuse_open_out *out)
{
	struct sfs_handle *h;

	out->open_flags = pt_open_reply(pt_fs(req), handle_flags & SFS_HANDLE_DIR);
	if (pt_no_open(req)) {
		if (!sfs_node_fd_swap(req, node, fd, (uint32_t)flags))
			close(fd);
		return 0;
	}
	h = sfs_handle_open(req, sfs_node_id(req->session, node), fd, (uint32_t)flags, handle_flags,
			    &out->fh);
	if (!h) {
		close(fd);
		return -ENFILE;
	}
	h->drv[PT_HANDLE_MOUNT] = node->key.mnt_idx;
	h->drv[PT_HANDLE_POS] = 0;
	return 0;
}

/* With writeback the guest writes whole pages: that cannot be done to a file that may only be appended to. */
int pt_open_host(struct sfs_req *req, struct sfs_node *node, int *flags, uint32_t guest_flags)
{
	int rc = pt_node_open(req, node, *flags);

	if (rc == -EPERM && (guest_flags & O_APPEND) &&
	    !(sfs_session_init_flags(req->session) & FUSE_WRITEBACK_CACHE)) {
		rc = pt_node_open(req, node, *flags | O_APPEND);
		if (rc >= 0)
			*flags |= O_APPEND;
	}
	return rc;
}

/* Opens with O_TRUNC where the guest wants the set-user-ID and set-group-ID bits to go with the contents. */
static int pt_open_kill(struct sfs_req *req, struct sfs_node *node, int *flags, uint32_t guest_flags,
			uint32_t open_flags)
{
	bool kill = (*flags & O_TRUNC) && pt_kills(req, open_flags & FUSE_OPEN_KILL_SUIDGID);
	int rc = kill ? pt_fsetid_drop() : 0;

	if (rc < 0)
		return rc;
	rc = pt_open_host(req, node, flags, guest_flags);
	if (kill)
		pt_fsetid_restore();
	return rc;
}

static int64_t pt_open_fn(struct sfs_req *req)
{
	int flags = pt_open_flags(req, req->arg.open.flags);
	struct pt_op *op = pt_op(req);
	int fd = pt_open_kill(req, op->node, &flags, req->arg.open.flags, req->arg.open.open_flags);

	if (fd < 0)
		return fd;
	req->out_bytes = sizeof(req->out.open);
	return pt_handle_make(req, op->node, fd, flags, 0, &req->out.open);
}

int pt_open(struct sfs_req *req)
{
	int rc, flags;

	if (req->step == PT_END)
		return pt_end(req);
	if (pt_no_open(req))
		return -ENOSYS;
	flags = pt_open_flags(req, req->arg.open.flags);
	rc = pt_pin_node(req, (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC));
	if (rc == 0)
		rc = pt_open_check(pt_op(req)->node->mode);
	return rc < 0 ? rc : pt_block(req, PT_END, pt_open_fn);
}

/* --- CREATE --- */

/* Makes the file, as the caller; what exists is never opened by its name. A descriptor or -errno. */
static int pt_create_new(struct sfs_req *req, int dirfd, int flags)
{
	struct pt_caller c;
	mode_t mode;
	int rc = pt_creator_begin(req, &c);

	if (rc < 0)
		return rc;
	mode = pt_caller_mask(req, &c, req->arg.create.mode, req->arg.create.umask);
	rc = (int)PT_CALL(openat(dirfd, req->name[0],
				 (flags & ~O_TRUNC) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY,
				 mode & 07777));
	pt_caller_end(&c);
	if (rc >= 0) {
		int fd = rc;

		rc = pt_caller_label(req, &c, fd);
		if (rc == 0)
			return fd;
		unlinkat(dirfd, req->name[0], 0);
		close(fd);
	}
	return rc;
}

int pt_create_enter(struct sfs_req *req, int fd, struct sfs_node **node)
{
	return pt_enter_made(req, pt_op(req)->node, fd, &req->out.create.entry, node);
}

/* A file that was there: its node, and a descriptor or -errno. */
static int pt_create_old(struct sfs_req *req, int dirfd, int *flags, struct sfs_node **node)
{
	struct fuse_entry_out *entry = &req->out.create.entry;
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	int rc, fd = pt_name_open(dirfd, req->name[0]);

	if (fd < 0)
		return fd;
	rc = pt_enter(req, pt_op(req)->node, fd, true, true, entry, node);
	if (rc < 0)
		return rc;
	rc = pt_open_check((*node)->mode);
	if (rc == 0)
		rc = pt_open_kill(req, *node, flags, req->arg.create.flags, req->arg.create.open_flags);
	if (rc < 0) {
		sfs_node_forget(req->session, entry->nodeid, 1);
		sfs_req_unpin_to(req, mark);
		*node = NULL;
		return rc;
	}
	/* O_TRUNC has changed what pt_enter() saw. */
	if (*flags & O_TRUNC) {
		struct statx stx;

		if (pt_stat(rc, &stx) == 0)
			pt_attr_fill(&entry->attr, &stx);
	}
	return rc;
}

static int64_t pt_create_fn(struct sfs_req *req)
{
	int flags = pt_open_flags(req, req->arg.create.flags);
	struct sfs_node *node = NULL;
	int rc, fd, dirfd = pt_op_fd(req);

	if (dirfd < 0)
		return dirfd;
	for (int i = 0;; i++) {
		fd = pt_create_new(req, dirfd, flags);
		if (fd != -EEXIST || (req->arg.create.flags & O_EXCL))
			break;
		fd = pt_create_old(req, dirfd, &flags, &node);
		/* It may have gone between the two. */
		if (fd != -ENOENT || i == CREATE_TRIES)
			break;
	}
	if (fd < 0)
		return fd;
	if (!node) {
		rc = pt_create_enter(req, fd, &node);
		if (rc < 0) {
			close(fd);
			return rc;
		}
	}
	rc = pt_handle_make(req, node, fd, flags & ~O_TRUNC, 0, &req->out.create.open);
	if (rc < 0)
		sfs_node_forget(req->session, req->out.create.entry.nodeid, 1);
	req->out_bytes = sizeof(req->out.create);
	return rc;
}

int pt_create(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_node(req, true);
	return rc < 0 ? rc : pt_block(req, PT_END, pt_create_fn);
}

/* --- FLUSH, RELEASE, FSYNC --- */

static int64_t pt_flush_fn(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int fd;

	pt_locks_flush(req, req->arg.flush.lock_owner);
	if (!op->handle)
		pt_flush_unopened(req);
	if (!op->ent)
		return 0;
	/* The host would do nothing either. */
	if (op->mount->plain)
		return 0;
	fd = (int)PT_CALL(fcntl(op->ent->fd, F_DUPFD_CLOEXEC, 0));
	/* Where nothing is written at a close, want of descriptors is no reason to fail the guest's. */
	if (fd < 0)
		return op->mount->store == SFS_STORE_REMOTE ? fd : 0;
	/* Linux closes in any case: never again after EINTR. */
	return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

int pt_flush(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	if (pt_no_open(req))
		rc = pt_pin_held(req);
	else
		rc = pt_pin_handle(req, req->arg.flush.fh, false);
	return rc < 0 ? rc : pt_quick(req, pt_flush_fn);
}

int pt_release(struct sfs_req *req)
{
	int rc;

	/* A guest that created files before it first opened one does not know yet that nothing is open. */
	if (req->step == PT_END || pt_no_open(req))
		return SFS_DONE;
	rc = pt_pin_handle(req, req->arg.release.fh, false);
	if (rc == 0)
		rc = sfs_handle_unlink(req->session, pt_op(req)->handle);
	return rc < 0 || !pt_locks_held(req) ? rc : pt_block(req, PT_END, pt_locks_release_fn);
}

static int64_t pt_fsync_fn(struct sfs_req *req)
{
	int fd = pt_op(req)->ent->fd;

	return req->arg.fsync.fsync_flags & FUSE_FSYNC_FDATASYNC ? PT_CALL(fdatasync(fd))
								 : PT_CALL(fsync(fd));
}

int pt_fsync(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_file(req, req->arg.fsync.fh, false, PT_USE_ANY, 0);
	return rc != 0 ? rc : pt_slow(req, PT_END, pt_fsync_fn);
}

/* --- space and holes --- */

/*
 * Where the guest leaves it to us to clear set-user-ID and set-group-ID bits it does not say so of these two: mm/filemap.c's file_modified() asks
 * for it with any change of contents by who is not privileged. Newer guests do not say who that is.
 */
static bool pt_modify_kills(const struct sfs_req *req, int fd)
{
	uint64_t agreed = sfs_session_init_flags(req->session);

	return (agreed & (FUSE_HANDLE_KILLPRIV | FUSE_HANDLE_KILLPRIV_V2)) && req->in.uid != 0 &&
	       pt_is_set_id(fd);
}

static int64_t pt_fallocate_fn(struct sfs_req *req)
{
	const struct fuse_fallocate_in *in = &req->arg.fallocate;
	int fd = pt_op(req)->ent->fd;
	bool kill = pt_modify_kills(req, fd);
	int64_t rc = kill ? pt_fsetid_drop() : 0;

	if (rc < 0)
		return rc;
	rc = PT_CALL(fallocate(fd, (int)in->mode, (off_t)in->offset, (off_t)in->length));
	if (kill)
		pt_fsetid_restore();
	return rc;
}

int pt_fallocate(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_file(req, req->arg.fallocate.fh, true, PT_USE_WRITE, 0);
	/* How long it takes is the guest's to say. */
	return rc != 0 ? rc : pt_slow(req, PT_END, pt_fallocate_fn);
}

static int64_t pt_lseek_fn(struct sfs_req *req)
{
	const struct fuse_lseek_in *in = &req->arg.lseek;
	int64_t rc = PT_CALL(lseek(pt_op(req)->ent->fd, (off_t)in->offset, (int)in->whence));

	if (rc < 0)
		return rc;
	req->out.lseek.offset = (uint64_t)rc;
	req->out_bytes = sizeof(req->out.lseek);
	return 0;
}

int pt_lseek(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_file(req, req->arg.lseek.fh, false, PT_USE_ANY, 0);
	if (rc != 0)
		return rc;
	/* A directory's position belongs to READDIR, and the other kinds of seeks need no server. */
	if (pt_is_dir(pt_op(req)) ||
	    (req->arg.lseek.whence != SEEK_DATA && req->arg.lseek.whence != SEEK_HOLE))
		return -EINVAL;
	return pt_block(req, PT_END, pt_lseek_fn);
}

static int64_t pt_copy(struct sfs_req *req, int from_fd, int to_fd)
{
	const struct fuse_copy_file_range_in *in = &req->arg.copy_file_range;
	off_t from = (off_t)in->off_in, to = (off_t)in->off_out;
	size_t len = SFS_MIN(in->len, COPY_BYTES_MAX);
	bool kill = pt_modify_kills(req, to_fd);
	int64_t rc = kill ? pt_fsetid_drop() : 0;

	if (rc < 0)
		return rc;
	rc = PT_CALL(copy_file_range(from_fd, &from, to_fd, &to, len, (unsigned)in->flags));
	if (kill)
		pt_fsetid_restore();
	if (rc < 0)
		return rc;
	if (req->in.opcode == FUSE_COPY_FILE_RANGE) {
		req->out.write.size = (uint32_t)rc;
		req->out_bytes = sizeof(req->out.write);
	} else {
		req->out.copy.bytes_copied = (uint64_t)rc;
		req->out_bytes = sizeof(req->out.copy);
	}
	return 0;
}

static int64_t pt_copy_fn(struct sfs_req *req)
{
	const struct pt_op *op = pt_op(req);

	return pt_copy(req, op->ent->fd, op->ent2->fd);
}

static int64_t pt_copy_unopened_fn(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int to, from = pt_node_open(req, op->node, O_RDONLY);
	int64_t rc;

	if (from < 0)
		return from;
	to = pt_node_open(req, op->node2, O_WRONLY);
	rc = to < 0 ? to : pt_copy(req, from, to);
	close(from);
	if (to >= 0)
		close(to);
	return rc;
}

static int pt_copy_unopened(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int rc = pt_pin_node(req, true);

	if (rc == 0)
		rc = pt_pin_second(req, req->arg.copy_file_range.nodeid_out);
	if (rc == 0)
		rc = pt_open_check(op->node->mode);
	if (rc == 0)
		rc = pt_open_check(op->node2->mode);
	return rc < 0 ? rc : pt_slow(req, PT_END, pt_copy_unopened_fn);
}

int pt_copy_file_range(struct sfs_req *req)
{
	const struct fuse_copy_file_range_in *in = &req->arg.copy_file_range;
	struct pt_op *op = pt_op(req);
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	if (pt_no_open(req))
		return pt_copy_unopened(req);
	rc = pt_pin_handle(req, in->fh_in, true);
	if (rc < 0)
		return rc;
	op->handle2 = sfs_handle_pin(req, in->nodeid_out, in->fh_out, &op->ent2);
	if (!op->handle2 || !op->ent2)
		return -EBADF;
	return pt_slow(req, PT_END, pt_copy_fn);
}

/* --- SYNCFS --- */

/* Where submounts are no mounts of the guest's own, its one sync is for all of them. */
static int64_t pt_syncfs_fn(struct sfs_req *req)
{
	bool all = !(sfs_session_init_flags(req->session) & FUSE_SUBMOUNTS);
	struct pt_op *op = pt_op(req);
	struct pt_fs *fs = pt_fs(req);
	unsigned count = atomic_load_explicit(&fs->mount_count, memory_order_acquire);
	int64_t rc, result = 0;

	for (unsigned i = 0; i < count; i++) {
		if (fs->mounts[i].fd < 0 || (!all && &fs->mounts[i] != op->mount))
			continue;
		rc = PT_CALL(syncfs(fs->mounts[i].fd));
		if (rc < 0)
			result = rc;
	}
	return result;
}

int pt_syncfs(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_node(req, false);
	return rc < 0 ? rc : pt_slow(req, PT_END, pt_syncfs_fn);
}
