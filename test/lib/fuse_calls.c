/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fuse_calls.h"

void fc_init(struct fc *c, struct fg *g, unsigned lane)
{
	c->g = g;
	c->lane = lane;
	c->m = fg_new();
}

void fc_fini(struct fc *c)
{
	fg_free(c->m);
}

int fc_call(struct fc *c, uint32_t opcode, uint64_t node, const void *arg, size_t arg_bytes,
	    const char *name0, const char *name1, uint32_t room)
{
	fg_send(c->g, c->lane, c->m, opcode, node, arg, arg_bytes, name0, name1, NULL, 0, room);
	return fg_wait(c->g, c->lane, c->m);
}

/* As fc_call() for an answer of fixed size. */
static int call_out(struct fc *c, uint32_t opcode, uint64_t node, const void *arg, size_t arg_bytes,
		    const char *name0, const char *name1, void *out, uint32_t out_bytes)
{
	int rc = fc_call(c, opcode, node, arg, arg_bytes, name0, name1, out_bytes);

	if (rc == 0) {
		assert_int_equal(c->m->out_bytes, out_bytes);
		if (out)
			memcpy(out, c->m->out, out_bytes);
	}
	return rc;
}

static int call_entry(struct fc *c, uint32_t opcode, uint64_t node, const void *arg, size_t arg_bytes,
		      const char *name0, const char *name1, struct fuse_entry_out *e)
{
	struct fuse_entry_out unused;

	return call_out(c, opcode, node, arg, arg_bytes, name0, name1, e ? e : &unused, sizeof(*e));
}

int fc_lookup(struct fc *c, uint64_t dir, const char *name, struct fuse_entry_out *e)
{
	return call_entry(c, FUSE_LOOKUP, dir, NULL, 0, name, NULL, e);
}

void fc_forget(struct fc *c, uint64_t node, uint64_t count)
{
	struct fuse_forget_in in = {.nlookup = count};

	fc_call(c, FUSE_FORGET, node, &in, sizeof(in), NULL, NULL, 0);
	assert_int_equal(c->m->out_bytes, 0);
}

int fc_getattr(struct fc *c, uint64_t node, struct fuse_attr *attr)
{
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out out;
	int rc = call_out(c, FUSE_GETATTR, node, &in, sizeof(in), NULL, NULL, &out, sizeof(out));

	if (rc == 0 && attr)
		*attr = out.attr;
	return rc;
}

int fc_setattr(struct fc *c, uint64_t node, const struct fuse_setattr_in *in, struct fuse_attr *attr)
{
	struct fuse_attr_out out;
	int rc = call_out(c, FUSE_SETATTR, node, in, sizeof(*in), NULL, NULL, &out, sizeof(out));

	if (rc == 0 && attr)
		*attr = out.attr;
	return rc;
}

int fc_truncate(struct fc *c, uint64_t node, uint64_t size)
{
	struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = size};

	return fc_setattr(c, node, &in, NULL);
}

int fc_mkdir(struct fc *c, uint64_t dir, const char *name, uint32_t mode, struct fuse_entry_out *e)
{
	struct fuse_mkdir_in in = {.mode = mode};

	return call_entry(c, FUSE_MKDIR, dir, &in, sizeof(in), name, NULL, e);
}

int fc_mknod(struct fc *c, uint64_t dir, const char *name, uint32_t mode, uint32_t rdev,
	     struct fuse_entry_out *e)
{
	struct fuse_mknod_in in = {.mode = mode, .rdev = rdev};

	return call_entry(c, FUSE_MKNOD, dir, &in, sizeof(in), name, NULL, e);
}

int fc_symlink(struct fc *c, uint64_t dir, const char *name, const char *target, struct fuse_entry_out *e)
{
	return call_entry(c, FUSE_SYMLINK, dir, NULL, 0, name, target, e);
}

int fc_readlink(struct fc *c, uint64_t node, char *target, size_t bytes)
{
	int rc = fc_call(c, FUSE_READLINK, node, NULL, 0, NULL, NULL, (uint32_t)bytes - 1);

	if (rc)
		return rc;
	memcpy(target, c->m->out, c->m->out_bytes);
	target[c->m->out_bytes] = '\0';
	return (int)c->m->out_bytes;
}

int fc_link(struct fc *c, uint64_t node, uint64_t dir, const char *name, struct fuse_entry_out *e)
{
	struct fuse_link_in in = {.oldnodeid = node};

	return call_entry(c, FUSE_LINK, dir, &in, sizeof(in), name, NULL, e);
}

int fc_unlink(struct fc *c, uint64_t dir, const char *name)
{
	return fc_call(c, FUSE_UNLINK, dir, NULL, 0, name, NULL, 0);
}

int fc_rmdir(struct fc *c, uint64_t dir, const char *name)
{
	return fc_call(c, FUSE_RMDIR, dir, NULL, 0, name, NULL, 0);
}

int fc_rename(struct fc *c, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
	      uint32_t flags)
{
	struct fuse_rename2_in in = {.newdir = new_dir, .flags = flags};
	struct fuse_rename_in old = {.newdir = new_dir};

	if (!flags)
		return fc_call(c, FUSE_RENAME, dir, &old, sizeof(old), name, new_name, 0);
	return fc_call(c, FUSE_RENAME2, dir, &in, sizeof(in), name, new_name, 0);
}

int fc_create(struct fc *c, uint64_t dir, const char *name, uint32_t flags, uint32_t mode,
	      struct fuse_entry_out *e, uint64_t *fh)
{
	struct fuse_create_in in = {.flags = flags, .mode = mode};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;
	int rc;

	c->io_flags = flags;
	rc = call_out(c, FUSE_CREATE, dir, &in, sizeof(in), name, NULL, &out, sizeof(out));

	if (rc == 0) {
		*e = out.entry;
		*fh = out.open.fh;
	}
	return rc;
}

static int call_open(struct fc *c, uint32_t opcode, uint64_t node, uint32_t flags, uint64_t *fh)
{
	struct fuse_open_in in = {.flags = flags};
	struct fuse_open_out out;
	int rc = call_out(c, opcode, node, &in, sizeof(in), NULL, NULL, &out, sizeof(out));

	if (rc == 0)
		*fh = out.fh;
	return rc;
}

int fc_open(struct fc *c, uint64_t node, uint32_t flags, uint64_t *fh)
{
	c->io_flags = flags;
	return call_open(c, FUSE_OPEN, node, flags, fh);
}

int fc_opendir(struct fc *c, uint64_t node, uint64_t *fh)
{
	return call_open(c, FUSE_OPENDIR, node, 0, fh);
}

int fc_release(struct fc *c, uint64_t node, uint64_t fh)
{
	struct fuse_release_in in = {.fh = fh};

	return fc_call(c, FUSE_RELEASE, node, &in, sizeof(in), NULL, NULL, 0);
}

int fc_releasedir(struct fc *c, uint64_t node, uint64_t fh)
{
	struct fuse_release_in in = {.fh = fh};

	return fc_call(c, FUSE_RELEASEDIR, node, &in, sizeof(in), NULL, NULL, 0);
}

ssize_t fc_read(struct fc *c, uint64_t node, uint64_t fh, uint64_t off, void *buf, uint32_t bytes)
{
	struct fuse_read_in in = {.fh = fh, .offset = off, .size = bytes, .flags = c->io_flags};
	int rc = fc_call(c, FUSE_READ, node, &in, sizeof(in), NULL, NULL, bytes);

	if (rc)
		return rc;
	memcpy(buf, c->m->out, c->m->out_bytes);
	return c->m->out_bytes;
}

ssize_t fc_write(struct fc *c, uint64_t node, uint64_t fh, uint64_t off, const void *buf, uint32_t bytes)
{
	struct fuse_write_in in = {.fh = fh, .offset = off, .size = bytes, .flags = c->io_flags};
	struct fuse_write_out out;
	int rc;

	fg_send(c->g, c->lane, c->m, FUSE_WRITE, node, &in, sizeof(in), NULL, NULL, buf, bytes, sizeof(out));
	rc = fg_wait(c->g, c->lane, c->m);
	if (rc)
		return rc;
	memcpy(&out, c->m->out, sizeof(out));
	return out.size;
}

int fc_fallocate(struct fc *c, uint64_t node, uint64_t fh, uint32_t mode, uint64_t off, uint64_t bytes)
{
	struct fuse_fallocate_in in = {.fh = fh, .offset = off, .length = bytes, .mode = mode};

	return fc_call(c, FUSE_FALLOCATE, node, &in, sizeof(in), NULL, NULL, 0);
}

int64_t fc_lseek(struct fc *c, uint64_t node, uint64_t fh, uint64_t off, int whence)
{
	struct fuse_lseek_in in = {.fh = fh, .offset = off, .whence = (uint32_t)whence};
	struct fuse_lseek_out out;
	int rc = call_out(c, FUSE_LSEEK, node, &in, sizeof(in), NULL, NULL, &out, sizeof(out));

	return rc ? rc : (int64_t)out.offset;
}

int fc_statfs(struct fc *c, struct fuse_kstatfs *st)
{
	return call_out(c, FUSE_STATFS, SFS_ROOT_ID, NULL, 0, NULL, NULL, st, sizeof(*st));
}

int fc_setxattr(struct fc *c, uint64_t node, const char *name, const void *value, uint32_t bytes,
		uint32_t flags)
{
	/* Without FUSE_SETXATTR_EXT the structure is half as long; the name and the value follow it. */
	struct fuse_setxattr_in in = {.size = bytes, .flags = flags};
	char tail[SFS_BUF_BYTES + 512];
	size_t name_bytes = strlen(name) + 1;

	memcpy(tail, name, name_bytes);
	memcpy(tail + name_bytes, value, bytes);
	fg_send(c->g, c->lane, c->m, FUSE_SETXATTR, node, &in, FUSE_COMPAT_SETXATTR_IN_SIZE, NULL, NULL, tail,
		name_bytes + bytes, 0);
	return fg_wait(c->g, c->lane, c->m);
}

static ssize_t call_xattr(struct fc *c, uint32_t opcode, uint64_t node, const char *name, void *buf,
			  uint32_t room)
{
	struct fuse_getxattr_in in = {.size = room};
	struct fuse_getxattr_out out;
	int rc = fc_call(c, opcode, node, &in, sizeof(in), name, NULL, room ? room : sizeof(out));

	if (rc)
		return rc;
	if (room) {
		memcpy(buf, c->m->out, c->m->out_bytes);
		return c->m->out_bytes;
	}
	memcpy(&out, c->m->out, sizeof(out));
	return out.size;
}

ssize_t fc_getxattr(struct fc *c, uint64_t node, const char *name, void *value, uint32_t room)
{
	return call_xattr(c, FUSE_GETXATTR, node, name, value, room);
}

ssize_t fc_listxattr(struct fc *c, uint64_t node, char *list, uint32_t room)
{
	return call_xattr(c, FUSE_LISTXATTR, node, NULL, list, room);
}

int fc_removexattr(struct fc *c, uint64_t node, const char *name)
{
	return fc_call(c, FUSE_REMOVEXATTR, node, NULL, 0, name, NULL, 0);
}

int fc_readdir(struct fc *c, uint64_t node, uint64_t fh, uint64_t off, uint32_t bytes, bool plus,
	       void (*fn)(void *arg, const struct fuse_dirent *d, const struct fuse_entry_out *e), void *arg)
{
	struct fuse_read_in in = {.fh = fh, .offset = off, .size = bytes};
	int rc = fc_call(c, plus ? FUSE_READDIRPLUS : FUSE_READDIR, node, &in, sizeof(in), NULL, NULL, bytes);
	const char *at = c->m->out, *end = at + c->m->out_bytes;
	int count = 0;

	if (rc)
		return rc;
	for (; at < end; count++) {
		const struct fuse_entry_out *e = plus ? (const void *)at : NULL;
		const struct fuse_dirent *d = (const void *)(at + (plus ? sizeof(*e) : 0));
		size_t fixed = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;

		at += FUSE_DIRENT_ALIGN(fixed + d->namelen);
		assert_true(at <= end);
		if (fn)
			fn(arg, d, e);
	}
	return count;
}
