/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on what is open, and on contents. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model.h"

static uint8_t pattern(uint64_t number, uint32_t i)
{
	return (uint8_t)((number + i) * 0x9e3779b97f4a7c15ull >> 56);
}

/* --- files --- */

void check_open(struct op *op, const struct sfs_fg_req *req)
{
	const struct fuse_open_out *out = out_of(req);

	*op->handle = (struct handle){.obj = op->obj,
				      .fh = out->fh,
				      .writable = op->in.open.flags & O_RDWR,
				      .dir = op->obj->type == S_IFDIR};
	op->obj->opens++;
	sim_note(out->fh);
	if (op->in.open.flags & O_TRUNC) {
		memset(op->obj->data, 0, FILE_MAX);
		op->obj->size = 0;
	}
}

bool step_open(struct actor *a, struct op *op)
{
	struct obj *o = any_obj(a, sim_chance(250) ? S_IFDIR : S_IFREG);
	struct handle *h = free_handle(a);

	if (!o || !h)
		return false;
	op_make(op, o->type == S_IFDIR ? FUSE_OPENDIR : FUSE_OPEN, o->id, sizeof(op->in.open),
		sizeof(struct fuse_open_out));
	if (o->type == S_IFREG)
		op->in.open.flags = sim_chance(500) ? O_RDONLY : sim_chance(200) ? O_RDWR | O_TRUNC : O_RDWR;
	h->obj = o;
	op->handle = h;
	op->obj = o;
	op->check = check_open;
	return true;
}

static void check_read(struct op *op, const struct sfs_fg_req *req)
{
	const struct obj *o = op->obj;
	uint64_t off = op->in.read.offset;
	uint32_t want = off >= o->size ? 0 : (uint32_t)SFS_MIN(op->in.read.size, o->size - off);

	if ((uint32_t)req->result > want || ((uint32_t)req->result < want && !sim.plan.errors))
		FAIL(op, "%d bytes instead of %u", op->actor->idx, op->call.opcode, req->result, want);
	if (memcmp(req->data, o->data + off, (size_t)req->result))
		FAIL(op, "wrong data", op->actor->idx, op->call.opcode);
}

void make_read(struct op *op, struct handle *h, uint64_t off, uint32_t size)
{
	op_make(op, FUSE_READ, h->obj->id, sizeof(op->in.read), 0);
	op->in.read = (struct fuse_read_in){.fh = h->fh, .offset = off, .size = size};
	op->call.data_writable = size;
	op->obj = h->obj;
	if (sim.plan.errors) {
		op->other[1] = -EIO;
		op->other[2] = -ENOMEM;
	}
	op->check = check_read;
}

bool step_read(struct actor *a, struct op *op)
{
	struct handle *h = any_handle(a, false, false);

	if (!h)
		return false;
	make_read(op, h, sim_below(FILE_MAX), (uint32_t)sim_below(FILE_MAX));
	return true;
}

static void check_write(struct op *op, const struct sfs_fg_req *req)
{
	const struct fuse_write_out *out = out_of(req);
	struct obj *o = op->obj;
	uint32_t off = (uint32_t)op->in.write.offset;

	if (out->size != op->in.write.size)
		FAIL(op, "%u bytes of %u", op->actor->idx, op->call.opcode, out->size, op->in.write.size);
	memcpy(o->data + off, op->data, out->size);
	o->size = SFS_MAX(o->size, off + out->size);
}

static void make_write(struct op *op, struct handle *h, uint32_t off, uint32_t bytes)
{
	op_make(op, FUSE_WRITE, h->obj->id, sizeof(op->in.write), sizeof(struct fuse_write_out));
	op->in.write = (struct fuse_write_in){.fh = h->fh, .offset = off, .size = bytes};
	op->number = sim_below(UINT64_MAX);
	for (uint32_t i = 0; i < bytes; i++)
		op->data[i] = pattern(op->number, i);
	op->call.data_readable = bytes;
	op->obj = h->obj;
	op->check = check_write;
}

bool step_write(struct actor *a, struct op *op)
{
	struct handle *h = any_handle(a, false, true);
	uint32_t off = (uint32_t)sim_below(FILE_MAX - DATA_MAX);

	if (!h)
		return false;
	make_write(op, h, off, 1 + (uint32_t)sim_below(DATA_MAX / 2));
	if (sim_chance(200)) { /* another one at the same time, beside it */
		op[1].actor = a;
		make_write(&op[1], h, off + op->in.write.size, 1 + (uint32_t)sim_below(DATA_MAX / 2));
		sim.cover->races++;
	}
	return true;
}

static void check_release(struct op *op, const struct sfs_fg_req *req)
{
	struct obj *o = op->handle->obj;

	op->handle->obj = NULL;
	o->opens--;
	obj_settle(o);
}

void make_release(struct op *op, struct handle *h)
{
	op_make(op, h->dir ? FUSE_RELEASEDIR : FUSE_RELEASE, h->obj->id, sizeof(op->in.release), 0);
	op->in.release.fh = h->fh;
	op->handle = h;
	op->check = check_release;
}

bool step_release(struct actor *a, struct op *op)
{
	struct handle *h = any_handle(a, sim_chance(500), false);

	if (!h || h == &a->handles[0])
		return false;
	make_release(op, h);
	return true;
}

/* The handle goes while a READ of it is under way: its data, or no such handle; never another file's. */
bool step_read_release(struct actor *a, struct op *op)
{
	struct handle *h = any_handle(a, false, false);

	if (!h)
		return false;
	make_read(op, h, 0, FILE_MAX);
	op->other[0] = -EBADF;
	op[1].actor = a;
	make_release(&op[1], h);
	sim.cover->races++;
	return true;
}

bool step_bad_handle(struct actor *a, struct op *op)
{
	struct obj *o = any_obj(a, S_IFREG);

	if (!o)
		return false;
	op_make(op, FUSE_READ, o->id, sizeof(op->in.read), 0);
	op->in.read =
	    (struct fuse_read_in){.fh = sim_below(2) << 63 | sim_below(400) | 0xfffull << 40, .size = 10};
	op->call.data_writable = 10;
	op->expect = -EBADF;
	return true;
}

bool step_sync(struct actor *a, struct op *op)
{
	bool dir = sim_chance(300);
	struct handle *h = any_handle(a, dir, false);

	if (!h)
		return false;
	if (!dir && sim_chance(500)) {
		op_make(op, FUSE_FLUSH, h->obj->id, sizeof(op->in.flush), 0);
		op->in.flush.fh = h->fh;
	} else {
		op_make(op, dir ? FUSE_FSYNCDIR : FUSE_FSYNC, h->obj->id, sizeof(op->in.fsync), 0);
		op->in.fsync.fh = h->fh;
		op->in.fsync.fsync_flags = (uint32_t)sim_below(2);
	}
	op->check = check_nothing;
	return true;
}

bool step_fallocate(struct actor *a, struct op *op)
{
	struct handle *h = any_handle(a, false, true);

	if (!h)
		return false;
	op_make(op, FUSE_FALLOCATE, h->obj->id, sizeof(op->in.fallocate), 0);
	op->in.fallocate = (struct fuse_fallocate_in){
	    .fh = h->fh, .length = sim_chance(700) ? 2 << 20 : 4096, .mode = FALLOC_FL_KEEP_SIZE};
	op->other[0] = -EOPNOTSUPP;
	op->other[1] = -ENOSPC;
	op->check = check_nothing;
	return true;
}

static void check_lseek(struct op *op, const struct sfs_fg_req *req)
{
	const struct fuse_lseek_out *out = out_of(req);

	if (out->offset < op->in.lseek.offset || out->offset > op->obj->size)
		FAIL(op, "hole at %llu", op->actor->idx, op->call.opcode, (unsigned long long)out->offset);
}

bool step_lseek(struct actor *a, struct op *op)
{
	struct handle *h = any_handle(a, false, false);

	if (!h)
		return false;
	op_make(op, FUSE_LSEEK, h->obj->id, sizeof(op->in.lseek), sizeof(struct fuse_lseek_out));
	op->in.lseek =
	    (struct fuse_lseek_in){.fh = h->fh, .offset = sim_below(FILE_MAX), .whence = SEEK_HOLE};
	op->obj = h->obj;
	op->expect = op->in.lseek.offset >= h->obj->size ? -ENXIO : 0;
	op->check = check_lseek;
	return true;
}

static void check_copy(struct op *op, const struct sfs_fg_req *req)
{
	const struct fuse_write_out *out = out_of(req);
	struct obj *from = op->obj, *to = op->obj2;
	uint32_t off = (uint32_t)op->in.copy.off_in;
	uint32_t want = off >= from->size ? 0 : (uint32_t)SFS_MIN(op->in.copy.len, from->size - off);

	if (out->size != want)
		FAIL(op, "%u bytes of %u", op->actor->idx, op->call.opcode, out->size, want);
	memcpy(to->data + op->in.copy.off_out, from->data + off, want);
	if (want)
		to->size = SFS_MAX(to->size, (uint32_t)op->in.copy.off_out + want);
}

bool step_copy(struct actor *a, struct op *op)
{
	struct handle *from = any_handle(a, false, false), *to = any_handle(a, false, true);

	if (!from || !to || from->obj == to->obj)
		return false;
	op_make(op, FUSE_COPY_FILE_RANGE, from->obj->id, sizeof(op->in.copy), sizeof(struct fuse_write_out));
	op->in.copy = (struct fuse_copy_file_range_in){.fh_in = from->fh,
						       .off_in = sim_below(FILE_MAX / 2),
						       .nodeid_out = to->obj->id,
						       .fh_out = to->fh,
						       .off_out = sim_below(FILE_MAX / 2),
						       .len = sim_below(FILE_MAX / 2)};
	op->obj = from->obj;
	op->obj2 = to->obj;
	op->other[0] = -ENOSYS;
	op->check = check_copy;
	return true;
}

/* --- the rest --- */

bool step_statfs(struct actor *a, struct op *op)
{
	if (sim_chance(300)) {
		op_make(op, FUSE_SYNCFS, a->dir, sizeof(op->in.syncfs), 0);
		op->other[0] = -ENOSYS;
	} else if (sim_chance(500)) {
		op_make(op, FUSE_STATFS, a->dir, 0, sizeof(struct fuse_statfs_out));
	} else {
		op_make(op, FUSE_ACCESS, a->dir, sizeof(op->in.access), 0);
		op->in.access.mask = R_OK | X_OK;
		op->other[0] = -ENOSYS;
	}
	op->check = check_nothing;
	return true;
}

bool step_interrupt(struct actor *a, struct op *op)
{
	op_make(op, FUSE_INTERRUPT, 0, sizeof(op->in.interrupt), 0);
	op->in.interrupt.unique = sim_below(1000);
	op->call.no_reply = true;
	op->queue = SFS_FG_HIPRIO;
	op->check = check_nothing;
	return true;
}

static void check_setxattr(struct op *op, const struct sfs_fg_req *req)
{
	op->obj->has_xattr = true;
	op->obj->xattr_bytes = op->in.setxattr.size;
	memcpy(op->obj->xattr, op->name[1], op->in.setxattr.size);
}

static void check_removexattr(struct op *op, const struct sfs_fg_req *req)
{
	op->obj->has_xattr = false;
}

static void check_getxattr(struct op *op, const struct sfs_fg_req *req)
{
	const struct obj *o = op->obj;

	if (req->result != (int)o->xattr_bytes || memcmp(req->data, o->xattr, o->xattr_bytes))
		FAIL(op, "wrong value", op->actor->idx, op->call.opcode);
}

static void check_listxattr(struct op *op, const struct sfs_fg_req *req)
{
	bool there = memmem(req->data, (size_t)req->result, "user.sim", 9);

	if (there != op->obj->has_xattr)
		FAIL(op, "attribute %s", op->actor->idx, op->call.opcode, there ? "listed" : "not listed");
}

bool step_xattr(struct actor *a, struct op *op)
{
	struct obj *o = any_obj(a, S_IFREG);
	unsigned what = (unsigned)sim_below(4);

	if (!o)
		return false;
	if (what == 0) {
		op_make(op, FUSE_SETXATTR, o->id, sizeof(op->in.setxattr), 0);
		op->in.setxattr.size = (uint32_t)sim_below(sizeof(o->xattr));
		op_name(op, 0, "user.sim");
		for (uint32_t i = 0; i < op->in.setxattr.size; i++)
			op->name[1][i] = (char)('a' + sim_below(26));
		op->call.tail[1] = op->name[1];
		op->call.tail_bytes[1] = op->in.setxattr.size;
	} else {
		op_make(op,
			what == 1   ? FUSE_GETXATTR
			: what == 2 ? FUSE_LISTXATTR
				    : FUSE_REMOVEXATTR,
			o->id, what == 3 ? 0 : sizeof(op->in.getxattr), 0);
		if (what < 3) {
			op->in.getxattr.size = 4096;
			op->call.data_writable = 4096;
		}
		if (what != 2) {
			op_name(op, 0, "user.sim");
			op->expect = o->has_xattr ? 0 : -ENODATA;
		}
	}
	op->obj = o;
	op->other[0] = -EOPNOTSUPP;
	op->check = (void (*[])(struct op *, const struct sfs_fg_req *)){
	    check_setxattr, check_getxattr, check_listxattr, check_removexattr}[what];
	return true;
}
