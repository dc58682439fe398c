/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * READ and WRITE. The segments that the system calls get are the guest's own pages: nothing is copied here.
 *
 * A read first takes what the page cache has (RWF_NOWAIT, which never waits), by pieces of a turn's share, so that nobody
 * waits for a long copy, then the engine fetches the rest. Small ones of which many come at once go to the engine together: one
 * system call copies what is cached for all of them. On filesystems that do not know RWF_NOWAIT the whole read goes to a worker instead: the engine would
 * use the kernel's threads, which all shares of a reactor have in common. Buffered writes have no form that
 * does not wait: they run where the policy says. O_DIRECT is the engine's.
 *
 * O_APPEND and O_DIRECT are each request's: fcntl() may have changed them since the open, and what the guest's page cache writes
 * has its place, however the file was opened.
 */
#include <sys/syscall.h>
#include <sys/uio.h>

#include "pt.h"

enum { IO_ENGINE = PT_END + 1, IO_MORE };

#define WRITE_INLINE_MAX                                                                                     \
	(128u << 10)      /* a longer write cannot be cut into turns: some other part of it could fail */
#define DIRECT_ALIGN 512u /* an O_DIRECT transfer that ended elsewhere has met the end of the file */

/* Offsets that the system calls would take for "the current position", or refuse. */
static bool pt_offset_bad(uint64_t offset, uint64_t bytes)
{
	return offset > INT64_MAX || bytes > INT64_MAX - offset;
}

static bool pt_is_direct(const struct pt_op *op)
{
	return op->open_flags & O_DIRECT;
}

/* Whether @flags, the guest's of this request, want the page cache where the open file goes around it. */
static bool pt_wants_cache(const struct pt_op *op, uint32_t flags)
{
	return pt_is_direct(op) && !(flags & O_DIRECT);
}

/* The file once more, for such a request. The caller's, or -errno. May block. */
static int pt_cached_fd(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int flags = (int)(op->open_flags & ~(uint32_t)(O_DIRECT | O_TRUNC)) | O_CLOEXEC | O_NOCTTY;
	char name[PT_NAME_BYTES];

	return (int)PT_CALL(openat(pt_fs(req)->proc_fd, pt_fd_name(name, op->ent->fd), flags));
}

/* Runs @all on it. */
static int64_t pt_cached_call(struct sfs_req *req, int64_t (*all)(struct sfs_req *req, int fd))
{
	int fd = pt_cached_fd(req);
	int64_t rc;

	if (fd < 0)
		return fd;
	rc = all(req, fd);
	close(fd);
	return rc;
}

/* Notes @bytes more; true: nothing is left to do. */
static bool pt_io_advance(struct sfs_req *req, int64_t bytes)
{
	pt_op(req)->done += (uint64_t)bytes;
	sfs_req_data_advance(req, (uint64_t)bytes);
	return req->data_left == 0;
}

/*
 * Of the guest's write: at the end of the file as the host knows it, so that guests do not overwrite each other. What the guest's page cache
 * writes has its place; and where it writes back it knows where the end is.
 */
static int pt_rw_flags(const struct sfs_req *req)
{
	const struct fuse_write_in *in = &req->arg.write;

	if (!(in->flags & O_APPEND) || (in->write_flags & FUSE_WRITE_CACHE))
		return 0;
	return sfs_session_init_flags(req->session) & FUSE_WRITEBACK_CACHE ? 0 : RWF_APPEND;
}

static int pt_io_engine(struct sfs_req *req, enum sfs_io_kind kind, unsigned flags)
{
	struct pt_op *op = pt_op(req);

	return sfs_req_io(req, IO_ENGINE, kind, op->ent, op->offset + op->done,
			  pt_is_direct(op) ? SFS_IO_F_DIRECT : flags,
			  kind == SFS_IO_WRITEV ? pt_rw_flags(req) : 0);
}

/* Whether an engine's result ends the transfer of an O_DIRECT handle that it did not fill. */
static bool pt_direct_ended(const struct pt_op *op)
{
	return pt_is_direct(op) && (op->offset + op->done) % DIRECT_ALIGN != 0;
}

/* --- READ --- */

static int pt_read_end(struct sfs_req *req, int64_t rc)
{
	if (rc < 0 && pt_op(req)->done == 0)
		return (int)rc;
	req->data_bytes = pt_op(req)->done;
	return SFS_DONE;
}

/* All that is left, waiting for it. */
static int64_t pt_read_all(struct sfs_req *req, int fd)
{
	struct pt_op *op = pt_op(req);

	while (req->data_left) {
		int64_t rc =
		    PT_CALL(preadv(fd, req->data, (int)req->data_cnt, (off_t)(op->offset + op->done)));

		if (rc <= 0)
			return rc;
		pt_io_advance(req, rc);
	}
	return 0;
}

static int64_t pt_read_fn(struct sfs_req *req)
{
	return pt_read_all(req, pt_op(req)->ent->fd);
}

static int64_t pt_read_cached_fn(struct sfs_req *req)
{
	return pt_cached_call(req, pt_read_all);
}

/* A filesystem without RWF_NOWAIT: here if it lives in memory, else on a worker. */
static int pt_read_plain(struct sfs_req *req)
{
	const struct pt_fs *fs = pt_fs(req);

	if (pt_op(req)->mount->store != SFS_STORE_MEMORY)
		return pt_slow(req, PT_END, pt_read_fn);
	if (req->data_left > fs->inline_bytes_max || fs->policy == SFS_BLOCK_NEVER)
		return pt_block(req, PT_END, pt_read_fn);
	return pt_read_end(req, pt_read_fn(req));
}

/* The system call itself: glibc's preadv2() is a cancellation point, which costs a threaded program two atomic operations. */
static long read_nowait(int fd, const struct iovec *iov, unsigned cnt, uint64_t offset)
{
	return syscall(SYS_preadv2, fd, iov, (unsigned long)cnt, (unsigned long)offset, 0ul, RWF_NOWAIT);
}

/* The first @bytes of the request's segments: *iov, the number is returned. @part: room for a segment that has to be cut. */
static unsigned read_piece(const struct sfs_req *req, uint64_t bytes, struct iovec *part,
			   const struct iovec **iov)
{
	unsigned n = 0;

	*iov = req->data;
	if (bytes == req->data_left)
		return req->data_cnt;
	while (n < req->data_cnt && req->data[n].iov_len <= bytes)
		bytes -= req->data[n++].iov_len;
	if (n)
		return n;
	*part = (struct iovec){req->data[0].iov_base, bytes};
	*iov = part;
	return 1;
}

/* What the page cache holds; a short count is the end of the file, or of what is cached: the second look
 * tells. */
static int pt_read_cached(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	struct pt_mount *m = op->mount;
	uint64_t max = pt_fs(req)->inline_bytes_max;
	const struct iovec *iov;
	struct iovec part;

	for (;;) {
		uint64_t bytes = sfs_req_share(req, max ? SFS_MIN(req->data_left, max) : req->data_left);
		unsigned cnt;
		int64_t rc;

		if (bytes == 0)
			return sfs_req_yield(req, IO_MORE);
		cnt = read_piece(req, bytes, &part, &iov);
		rc = PT_CALL(read_nowait(op->ent->fd, iov, cnt, op->offset + op->done));
		if (rc == -EOPNOTSUPP) {
			atomic_store_explicit(&m->nowait, PT_NOWAIT_NO, memory_order_relaxed);
			return pt_read_plain(req);
		}
		if (atomic_load_explicit(&m->nowait, memory_order_relaxed) == PT_NOWAIT_UNKNOWN)
			atomic_store_explicit(&m->nowait, PT_NOWAIT_YES, memory_order_relaxed);
		if (rc == -EAGAIN)
			return pt_io_engine(req, SFS_IO_READV, 0);
		if (rc <= 0 || pt_io_advance(req, rc))
			return pt_read_end(req, rc);
	}
}

static int pt_read_start(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	uint8_t nowait;
	int rc = pt_pin_file(req, req->arg.read.fh, false, PT_USE_READ, req->arg.read.flags);

	if (rc != 0)
		return rc;
	if (pt_is_dir(op))
		return -EISDIR;
	op->offset = req->arg.read.offset;
	if (pt_offset_bad(op->offset, req->data_left))
		return -EINVAL;
	if (req->data_left == 0)
		return SFS_DONE;
	if (pt_wants_cache(op, req->arg.read.flags))
		return pt_slow(req, PT_END, pt_read_cached_fn);
	if (op->mount->store == SFS_STORE_REMOTE)
		return pt_slow(req, PT_END, pt_read_fn);
	if (pt_is_direct(op))
		return pt_io_engine(req, SFS_IO_READV, 0);
	nowait = atomic_load_explicit(&op->mount->nowait, memory_order_relaxed);
	if (nowait == PT_NOWAIT_NO)
		return pt_read_plain(req);
	if (nowait == PT_NOWAIT_YES && pt_fs(req)->inline_bytes_max == 0)
		return pt_io_engine(req, SFS_IO_READV, 0);
	if (nowait == PT_NOWAIT_YES && req->data_left <= SFS_REQ_SHARE_MIN &&
	    sfs_req_batched(req, SFS_IO_F_CACHED)) {
		sfs_req_share(req, req->data_left);
		return pt_io_engine(req, SFS_IO_READV, SFS_IO_F_CACHED);
	}
	return pt_read_cached(req);
}

int pt_read(struct sfs_req *req)
{
	switch (req->step) {
	case PT_START:
		return pt_read_start(req);
	case IO_MORE:
		return pt_read_cached(req);
	case IO_ENGINE:
		/* No error of the file's: it only could not be had this way. */
		if (req->res == -EAGAIN || req->res == -EINTR)
			return pt_slow(req, PT_END, pt_read_fn);
		if (req->res <= 0 || pt_io_advance(req, req->res) || pt_direct_ended(pt_op(req)))
			return pt_read_end(req, req->res);
		return pt_io_engine(req, SFS_IO_READV, 0);
	default:
		return pt_read_end(req, req->res);
	}
}

/* --- WRITE --- */

static int pt_write_end(struct sfs_req *req, int64_t rc)
{
	if (rc < 0 && pt_op(req)->done == 0)
		return (int)rc;
	req->out.write.size = (uint32_t)pt_op(req)->done;
	req->out_bytes = sizeof(req->out.write);
	return SFS_DONE;
}

/* Whether this write has to clear set-user-ID and set-group-ID bits, which the kernel would leave to a daemon
 * with CAP_FSETID. */
static bool pt_write_kills(const struct sfs_req *req, int fd)
{
	return pt_kills(req, req->arg.write.write_flags & FUSE_WRITE_KILL_SUIDGID) && pt_is_set_id(fd);
}

static int64_t pt_write_all(struct sfs_req *req, int fd)
{
	struct pt_op *op = pt_op(req);
	int flags = pt_rw_flags(req);
	bool kill = pt_write_kills(req, fd);
	int64_t rc = kill ? pt_fsetid_drop() : 0;

	while (rc >= 0 && req->data_left) {
		rc = PT_CALL(
		    pwritev2(fd, req->data, (int)req->data_cnt, (off_t)(op->offset + op->done), flags));
		if (rc > 0)
			pt_io_advance(req, rc);
		else if (rc == 0)
			break;
	}
	if (kill)
		pt_fsetid_restore();
	return rc < 0 ? rc : 0;
}

static int64_t pt_write_fn(struct sfs_req *req)
{
	return pt_write_all(req, pt_op(req)->ent->fd);
}

static int64_t pt_write_cached_fn(struct sfs_req *req)
{
	return pt_cached_call(req, pt_write_all);
}

static int pt_write_start(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int rc = pt_pin_file(req, req->arg.write.fh, true, PT_USE_WRITE, req->arg.write.flags);

	if (rc != 0)
		return rc;
	if (pt_is_dir(op))
		return -EBADF;
	op->offset = req->arg.write.offset;
	if (pt_offset_bad(op->offset, req->data_left))
		return -EINVAL;
	if (req->data_left == 0)
		return pt_write_end(req, 0);
	if (pt_wants_cache(op, req->arg.write.flags))
		return pt_slow(req, PT_END, pt_write_cached_fn);
	if (pt_is_direct(op) && op->mount->store != SFS_STORE_REMOTE && !pt_write_kills(req, op->ent->fd))
		return pt_io_engine(req, SFS_IO_WRITEV, 0);
	/* Copying this much is long for a turn, and says nothing about the filesystem. */
	if (req->data_left > SFS_MIN(pt_fs(req)->inline_bytes_max, WRITE_INLINE_MAX))
		return pt_slow(req, PT_END, pt_write_fn);
	if (req->data_left <= SFS_REQ_SHARE_MIN && op->mount->store != SFS_STORE_REMOTE &&
	    !pt_is_direct(op) && sfs_req_batched(req, SFS_IO_F_BLOCKS) && !pt_write_kills(req, op->ent->fd))
		return pt_io_engine(req, SFS_IO_WRITEV, SFS_IO_F_BLOCKS);
	return pt_block(req, PT_END, pt_write_fn);
}

int pt_write(struct sfs_req *req)
{
	switch (req->step) {
	case PT_START:
		return pt_write_start(req);
	case IO_ENGINE:
		if (req->res == -EAGAIN || req->res == -EINTR)
			return pt_slow(req, PT_END, pt_write_fn);
		if (req->res <= 0 || pt_io_advance(req, req->res))
			return pt_write_end(req, req->res);
		return pt_io_engine(req, SFS_IO_WRITEV, 0);
	default:
		return pt_write_end(req, req->res);
	}
}
