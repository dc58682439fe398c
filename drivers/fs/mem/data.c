/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Contents of files.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "sfs_iov.h"

static const char data_zeros[MEM_BLOCK];

/* Up to @want bytes from @offset, without crossing a block. */
static uint32_t data_piece(uint64_t offset, uint64_t want)
{
	return (uint32_t)SFS_MIN(want, MEM_BLOCK - offset % MEM_BLOCK);
}

/* Zeroes [from, to), which lies in one block, where there is one. */
static void data_zero(struct mem_fs *fs, struct mem_inode *inode, uint64_t from, uint64_t to)
{
	uint32_t block = from < to ? mem_map_find(fs, &inode->data, from / MEM_BLOCK) : 0;

	if (block)
		memset((char *)mem_block(fs, block) + from % MEM_BLOCK, 0, to - from);
}

void mem_truncate(struct mem_fs *fs, struct mem_inode *inode, uint64_t size)
{
	mem_map_cut(fs, &inode->data, SFS_ALIGN_UP(size, MEM_BLOCK) / MEM_BLOCK, MEM_BLOCKS_MAX);
	if (size < inode->size)
		data_zero(fs, inode, size, SFS_ALIGN_UP(size, MEM_BLOCK));
	inode->size = size;
}

int mem_read(struct sfs_req *req)
{
	const struct fuse_read_in *in = &req->arg.read;
	struct mem_fs *fs = mem_req_fs(req);
	struct sfs_handle *handle;
	struct mem_inode *inode = mem_handle_inode(req, in->fh, &handle);
	uint64_t left;

	if (!inode || (handle->open_flags & O_ACCMODE) == O_WRONLY)
		return -EBADF;
	if (!S_ISREG(inode->type))
		return -EISDIR;

	mem_rdlock(inode);
	left = in->offset < inode->size ? inode->size - in->offset : 0;
	left = SFS_MIN(SFS_MIN(left, in->size), req->data_left);
	for (uint64_t off = in->offset; left;) {
		uint32_t piece = data_piece(off, left);
		uint32_t block = mem_map_find(fs, &inode->data, off / MEM_BLOCK);
		const char *from = block ? (char *)mem_block(fs, block) + off % MEM_BLOCK : data_zeros;

		sfs_iov_from_buf(req->data, req->data_cnt, 0, from, piece);
		sfs_req_data_advance(req, piece);
		off += piece;
		left -= piece;
		req->data_bytes += piece;
	}
	mem_unlock(inode);
	sfs_session_copied(req->session, req->data_bytes);
	return SFS_DONE;
}

/* Takes @bytes from the guest to @offset; fewer where memory ends. Returns the bytes taken. Under the write
 * lock. */
static uint32_t data_take(struct sfs_req *req, struct mem_inode *inode, uint64_t offset, uint32_t bytes)
{
	struct mem_fs *fs = mem_req_fs(req);
	uint32_t done = 0;

	while (done < bytes) {
		uint32_t piece = data_piece(offset, bytes - done);
		uint64_t start = offset % MEM_BLOCK;
		bool fresh;
		uint32_t block = mem_map_make(fs, &inode->data, offset / MEM_BLOCK, &fresh);
		char *to;

		if (!block)
			break;
		to = mem_block(fs, block);
		if (fresh) { /* what the guest does not fill must not show what stood here before */
			memset(to, 0, start);
			memset(to + start + piece, 0, MEM_BLOCK - start - piece);
		}
		sfs_iov_to_buf(req->data, req->data_cnt, 0, to + start, piece);
		sfs_req_data_advance(req, piece);
		offset += piece;
		done += piece;
	}
	return done;
}

int mem_write(struct sfs_req *req)
{
	const struct fuse_write_in *in = &req->arg.write;
	uint32_t bytes = (uint32_t)SFS_MIN(in->size, req->data_left), done;
	struct sfs_handle *handle;
	struct mem_inode *inode = mem_handle_inode(req, in->fh, &handle);

	if (!inode || (handle->open_flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	if (!S_ISREG(inode->type))
		return -EISDIR;
	if (in->offset > MEM_FILE_MAX || bytes > MEM_FILE_MAX - in->offset)
		return -EFBIG;

	mem_wrlock(inode);
	done = data_take(req, inode, in->offset, bytes);
	if (done) {
		inode->size = SFS_MAX(inode->size, in->offset + done);
		inode->mtime = inode->ctime = mem_now();
	}
	mem_unlock(inode);
	if (bytes && !done)
		return -ENOSPC;
	sfs_session_copied(req->session, done);
	req->out.write.size = done;
	req->out_bytes = sizeof(req->out.write);
	return SFS_DONE;
}

/* --- fallocate: the operation that waits --- */

enum { DATA_FA_START, DATA_FA_TURN, DATA_FA_DONE };

/* What must survive a park, in the request. The handle is pinned until the request ends, and refers to the
 * inode. */
struct data_fa {
	uint32_t ino;
};

/* Fills the holes of [from, to) with zeroed blocks, one piece at a time; the lock is free in between. 0 or
 * -ENOSPC. */
static int data_fill(struct mem_fs *fs, struct mem_inode *inode, uint64_t from, uint64_t to, bool keep_size)
{
	while (from < to) {
		uint64_t end = SFS_MIN(to, (from / MEM_PIECE + 1) * MEM_PIECE);
		uint32_t block = 1;
		bool fresh;

		mem_wrlock(inode);
		for (uint64_t idx = from / MEM_BLOCK; idx * MEM_BLOCK < end && block; idx++) {
			block = mem_map_make(fs, &inode->data, idx, &fresh);
			if (block && fresh)
				memset(mem_block(fs, block), 0, MEM_BLOCK);
		}
		if (block && !keep_size)
			inode->size = SFS_MAX(inode->size, end);
		inode->ctime = mem_now();
		if (!keep_size)
			inode->mtime = inode->ctime;
		mem_unlock(inode);
		if (!block)
			return -ENOSPC;
		from = end;
	}
	return 0;
}

static int data_punch(struct mem_fs *fs, struct mem_inode *inode, uint64_t from, uint64_t to)
{
	uint64_t first = SFS_ALIGN_UP(from, MEM_BLOCK), last = to - to % MEM_BLOCK;

	mem_wrlock(inode);
	data_zero(fs, inode, from, SFS_MIN(first, to));
	if (last >= first)
		data_zero(fs, inode, last, to);
	mem_map_cut(fs, &inode->data, first / MEM_BLOCK, last / MEM_BLOCK);
	inode->mtime = inode->ctime = mem_now();
	mem_unlock(inode);
	return SFS_DONE;
}

static int data_fa_fill(struct sfs_req *req, struct mem_inode *inode)
{
	const struct fuse_fallocate_in *in = &req->arg.fallocate;
	struct mem_fs *fs = mem_req_fs(req);
	uint64_t blocks = in->length / MEM_BLOCK;

	mem_rdlock(inode);
	uint64_t have = mem_map_blocks(fs, &inode->data);
	mem_unlock(inode);
	if (blocks > have && blocks - have > mem_pool_free(fs))
		return -ENOSPC;
	return data_fill(fs, inode, in->offset, in->offset + in->length, in->mode & FALLOC_FL_KEEP_SIZE);
}

/*
 * On a worker. The turn is given back here and not in the operation's last step: it is the driver's, and must
 * become free even if the guest and its queue have gone meanwhile.
 */
static int64_t data_fa_call(struct sfs_req *req)
{
	struct mem_fs *fs = mem_req_fs(req);
	int rc = data_fa_fill(req, &fs->inodes[SFS_REQ_DRV(req, struct data_fa)->ino]);

	atomic_store(&fs->fallocating, false);
	sfs_session_wake(req->session);
	return rc;
}

static int data_fa_check(const struct fuse_fallocate_in *in, const struct mem_inode *inode,
			 const struct sfs_handle *handle)
{
	if (!inode || (handle->open_flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	if (!S_ISREG(inode->type))
		return -ENODEV;
	if (in->length == 0)
		return -EINVAL;
	if (in->offset > MEM_FILE_MAX || in->length > MEM_FILE_MAX - in->offset)
		return -EFBIG;
	if (in->mode != 0 && in->mode != FALLOC_FL_KEEP_SIZE &&
	    in->mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	return 0;
}

/*
 * A small range is filled at once. A large one takes too long for a reactor and goes to a worker, one at a
 * time: each looks first whether there is room for all of it, and would be fooled by another that is half
 * done.
 */
int mem_fallocate(struct sfs_req *req)
{
	const struct fuse_fallocate_in *in = &req->arg.fallocate;
	struct mem_fs *fs = mem_req_fs(req);
	struct sfs_handle *handle;
	struct mem_inode *inode;
	uint64_t epoch;
	int rc;

	switch (req->step) {
	case DATA_FA_START:
		inode = mem_handle_inode(req, in->fh, &handle);
		rc = data_fa_check(in, inode, handle);
		if (rc)
			return rc;
		if (in->mode & FALLOC_FL_PUNCH_HOLE)
			return data_punch(fs, inode, in->offset, in->offset + in->length);
		if (in->length <= MEM_PIECE)
			return data_fa_fill(req, inode);
		SFS_REQ_DRV(req, struct data_fa)->ino = inode->ino;
		/* fall through */
	case DATA_FA_TURN: /* a wait comes back here, not to the start: the handle is pinned once */
		epoch = sfs_session_epoch(req->session);
		if (atomic_exchange(&fs->fallocating, true))
			return sfs_req_wait(req, DATA_FA_TURN, epoch);
		return sfs_req_call(req, DATA_FA_DONE, data_fa_call);
	default:
		return (int)req->res;
	}
}

int mem_lseek(struct sfs_req *req)
{
	const struct fuse_lseek_in *in = &req->arg.lseek;
	struct mem_inode *inode = mem_handle_inode(req, in->fh, NULL);
	bool data = in->whence == SEEK_DATA;
	uint64_t pos, size;

	if (!inode)
		return -EBADF;
	if (!S_ISREG(inode->type) || (!data && in->whence != SEEK_HOLE))
		return -EINVAL;

	mem_rdlock(inode);
	size = inode->size;
	pos = mem_map_next(mem_req_fs(req), &inode->data, in->offset / MEM_BLOCK, data);
	mem_unlock(inode);
	pos = pos < MEM_BLOCKS_MAX ? SFS_MAX(pos * MEM_BLOCK, in->offset) : size;
	if (in->offset >= size || (data && pos >= size))
		return -ENXIO;
	req->out.lseek.offset = SFS_MIN(pos, size);
	req->out_bytes = sizeof(req->out.lseek);
	return SFS_DONE;
}
