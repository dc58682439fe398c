/* SPDX-License-Identifier: BSD-3-Clause */
/* One helper for each FUSE operation. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "sfs_base.h"
#include "sfs_fe_guest.h"

/* A call with its struct of arguments. */
#define FO_CALL(op, node, in)                                                                                \
	{                                                                                                    \
		.opcode = (op), .nodeid = (node), .args = &(in), .args_bytes = sizeof(in)                    \
	}

static void fo_name(struct sfs_fg_call *call, unsigned i, const char *name)
{
	call->tail[i] = name;
	call->tail_bytes[i] = (uint32_t)strlen(name) + 1;
}

/* For calls whose reply has no data of variable size. */
static int fo_fixed(struct sfs_fg *g, struct sfs_fg_call *call, void *out, uint32_t out_bytes)
{
	call->out_bytes = out_bytes;
	return sfs_fg_call(g, call, NULL, out, NULL);
}

int sfs_fg_init(struct sfs_fg *g, uint32_t minor, uint64_t flags, struct fuse_init_out *out)
{
	struct fuse_init_in in = {
	    .major = FUSE_KERNEL_VERSION,
	    .minor = minor,
	    .max_readahead = 128 << 10,
	    .flags = (uint32_t)flags,
	    .flags2 = (uint32_t)(flags >> 32),
	};
	struct sfs_fg_call call = FO_CALL(FUSE_INIT, 0, in);

	call.out_short = true;
	return fo_fixed(g, &call, out, sizeof(*out));
}

int sfs_fg_destroy(struct sfs_fg *g)
{
	struct sfs_fg_call call = {.opcode = FUSE_DESTROY};

	return fo_fixed(g, &call, NULL, 0);
}

int sfs_fg_lookup(struct sfs_fg *g, uint64_t parent, const char *name, struct fuse_entry_out *out)
{
	struct sfs_fg_call call = {.opcode = FUSE_LOOKUP, .nodeid = parent};

	fo_name(&call, 0, name);
	return fo_fixed(g, &call, out, sizeof(*out));
}

int sfs_fg_forget(struct sfs_fg *g, uint64_t nodeid, uint64_t nlookup)
{
	struct fuse_forget_in in = {.nlookup = nlookup};
	struct sfs_fg_call call = FO_CALL(FUSE_FORGET, nodeid, in);

	call.no_reply = true;
	return fo_fixed(g, &call, NULL, 0);
}

int sfs_fg_batch_forget(struct sfs_fg *g, const struct fuse_forget_one *list, uint32_t count)
{
	struct fuse_batch_forget_in in = {.count = count};
	struct sfs_fg_call call = FO_CALL(FUSE_BATCH_FORGET, 0, in);

	if (count > SFS_FG_ARGS_MAX / sizeof(*list))
		return -EINVAL;
	call.tail[0] = list;
	call.tail_bytes[0] = count * (uint32_t)sizeof(*list);
	call.no_reply = true;
	return fo_fixed(g, &call, NULL, 0);
}

int sfs_fg_interrupt(struct sfs_fg *g, uint64_t unique)
{
	struct fuse_interrupt_in in = {.unique = unique};
	struct sfs_fg_call call = FO_CALL(FUSE_INTERRUPT, 0, in);

	/* The daemon may answer (EAGAIN, ENOSYS) or give the chain back unanswered; both end it. */
	int rc = fo_fixed(g, &call, NULL, 0);
	return rc == -EPROTO ? 0 : rc;
}

int sfs_fg_getattr(struct sfs_fg *g, uint64_t nodeid, const uint64_t *fh, struct fuse_attr_out *out)
{
	struct fuse_getattr_in in = {.getattr_flags = fh ? FUSE_GETATTR_FH : 0, .fh = fh ? *fh : 0};
	struct sfs_fg_call call = FO_CALL(FUSE_GETATTR, nodeid, in);

	return fo_fixed(g, &call, out, sizeof(*out));
}

int sfs_fg_setattr(struct sfs_fg *g, uint64_t nodeid, const struct fuse_setattr_in *in,
		   struct fuse_attr_out *out)
{
	struct sfs_fg_call call = FO_CALL(FUSE_SETATTR, nodeid, *in);

	return fo_fixed(g, &call, out, sizeof(*out));
}

int sfs_fg_access(struct sfs_fg *g, uint64_t nodeid, uint32_t mask)
{
	struct fuse_access_in in = {.mask = mask};
	struct sfs_fg_call call = FO_CALL(FUSE_ACCESS, nodeid, in);

	return fo_fixed(g, &call, NULL, 0);
}

int sfs_fg_statfs(struct sfs_fg *g, uint64_t nodeid, struct fuse_statfs_out *out)
{
	struct sfs_fg_call call = {.opcode = FUSE_STATFS, .nodeid = nodeid};

	return fo_fixed(g, &call, out, sizeof(*out));
}

int sfs_fg_mknod(struct sfs_fg *g, uint64_t parent, const char *name, uint32_t mode, uint32_t rdev,
		 struct fuse_entry_out *out)
{
	struct fuse_mknod_in in = {.mode = mode, .rdev = rdev};
	struct sfs_fg_call call = FO_CALL(FUSE_MKNOD, parent, in);

	fo_name(&call, 0, name);
	return fo_fixed(g, &call, out, sizeof(*out));
}

int sfs_fg_mkdir(struct sfs_fg *g, uint64_t parent, const char *name, uint32_t mode,
		 struct fuse_entry_out *out)
{
	struct fuse_mkdir_in in = {.mode = mode};
	struct sfs_fg_call call = FO_CALL(FUSE_MKDIR, parent, in);

	fo_name(&call, 0, name);
	return fo_fixed(g, &call, out, sizeof(*out));
}

int sfs_fg_symlink(struct sfs_fg *g, uint64_t parent, const char *name, const char *target,
		   struct fuse_entry_out *out)
{
	struct sfs_fg_call call = {.opcode = FUSE_SYMLINK, .nodeid = parent};

	fo_name(&call, 0, name);
	fo_name(&call, 1, target);
	return fo_fixed(g, &call, out, sizeof(*out));
}

int sfs_fg_readlink(struct sfs_fg *g, uint64_t nodeid, char *target)
{
	struct sfs_fg_call call = {
	    .opcode = FUSE_READLINK, .nodeid = nodeid, .data_writable = SFS_FG_PAGE - 1};
	int rc = sfs_fg_call(g, &call, NULL, NULL, target);

	if (rc >= 0)
		target[rc] = '\0';
	return rc;
}

int sfs_fg_link(struct sfs_fg *g, uint64_t nodeid, uint64_t parent, const char *name,
		struct fuse_entry_out *out)
{
	struct fuse_link_in in = {.oldnodeid = nodeid};
	struct sfs_fg_call call = FO_CALL(FUSE_LINK, parent, in);

	fo_name(&call, 0, name);
	return fo_fixed(g, &call, out, sizeof(*out));
}

int sfs_fg_unlink(struct sfs_fg *g, uint64_t parent, const char *name)
{
	struct sfs_fg_call call = {.opcode = FUSE_UNLINK, .nodeid = parent};

	fo_name(&call, 0, name);
	return fo_fixed(g, &call, NULL, 0);
}

int sfs_fg_rmdir(struct sfs_fg *g, uint64_t parent, const char *name)
{
	struct sfs_fg_call call = {.opcode = FUSE_RMDIR, .nodeid = parent};

	fo_name(&call, 0, name);
	return fo_fixed(g, &call, NULL, 0);
}

int sfs_fg_rename(struct sfs_fg *g, uint64_t from, const char *name, uint64_t to, const char *new_name,
		  uint32_t flags)
{
	struct fuse_rename2_in in = {.newdir = to, .flags = flags};
	struct sfs_fg_call call = FO_CALL(FUSE_RENAME2, from, in);

	if (!flags) {
		call.opcode = FUSE_RENAME;
		call.args_bytes = sizeof(struct fuse_rename_in); /* the first member, too */
	}
	fo_name(&call, 0, name);
	fo_name(&call, 1, new_name);
	return fo_fixed(g, &call, NULL, 0);
}

int sfs_fg_create(struct sfs_fg *g, uint64_t parent, const char *name, uint32_t flags, uint32_t mode,
		  struct fuse_entry_out *entry, struct fuse_open_out *open)
{
	struct fuse_create_in in = {.flags = flags, .mode = mode};
	struct sfs_fg_call call = FO_CALL(FUSE_CREATE, parent, in);
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;

	fo_name(&call, 0, name);
	g->io_flags = flags;
	int rc = fo_fixed(g, &call, &out, sizeof(out));
	if (rc == 0) {
		*entry = out.entry;
		*open = out.open;
	}
	return rc;
}

static int fo_open(struct sfs_fg *g, uint32_t opcode, uint64_t nodeid, uint32_t flags,
		   struct fuse_open_out *out)
{
	struct fuse_open_in in = {.flags = flags};
	struct sfs_fg_call call = FO_CALL(opcode, nodeid, in);

	return fo_fixed(g, &call, out, sizeof(*out));
}

int sfs_fg_open(struct sfs_fg *g, uint64_t nodeid, uint32_t flags, struct fuse_open_out *out)
{
	g->io_flags = flags;
	return fo_open(g, FUSE_OPEN, nodeid, flags, out);
}

int sfs_fg_opendir(struct sfs_fg *g, uint64_t nodeid, struct fuse_open_out *out)
{
	return fo_open(g, FUSE_OPENDIR, nodeid, 0, out);
}

int sfs_fg_flush(struct sfs_fg *g, uint64_t nodeid, uint64_t fh)
{
	struct fuse_flush_in in = {.fh = fh};
	struct sfs_fg_call call = FO_CALL(FUSE_FLUSH, nodeid, in);

	return fo_fixed(g, &call, NULL, 0);
}

static int fo_release(struct sfs_fg *g, uint32_t opcode, uint64_t nodeid, uint64_t fh)
{
	struct fuse_release_in in = {.fh = fh};
	struct sfs_fg_call call = FO_CALL(opcode, nodeid, in);

	return fo_fixed(g, &call, NULL, 0);
}

int sfs_fg_release(struct sfs_fg *g, uint64_t nodeid, uint64_t fh)
{
	return fo_release(g, FUSE_RELEASE, nodeid, fh);
}

int sfs_fg_releasedir(struct sfs_fg *g, uint64_t nodeid, uint64_t fh)
{
	return fo_release(g, FUSE_RELEASEDIR, nodeid, fh);
}

static int fo_fsync(struct sfs_fg *g, uint32_t opcode, uint64_t nodeid, uint64_t fh, bool data_only)
{
	struct fuse_fsync_in in = {.fh = fh, .fsync_flags = data_only ? FUSE_FSYNC_FDATASYNC : 0};
	struct sfs_fg_call call = FO_CALL(opcode, nodeid, in);

	return fo_fixed(g, &call, NULL, 0);
}

int sfs_fg_fsync(struct sfs_fg *g, uint64_t nodeid, uint64_t fh, bool data_only)
{
	return fo_fsync(g, FUSE_FSYNC, nodeid, fh, data_only);
}

int sfs_fg_fsyncdir(struct sfs_fg *g, uint64_t nodeid, uint64_t fh)
{
	return fo_fsync(g, FUSE_FSYNCDIR, nodeid, fh, false);
}

int sfs_fg_read(struct sfs_fg *g, uint64_t nodeid, uint64_t fh, uint64_t offset, void *buf, uint32_t bytes)
{
	struct fuse_read_in in = {.fh = fh, .offset = offset, .size = bytes, .flags = g->io_flags};
	struct sfs_fg_call call = FO_CALL(FUSE_READ, nodeid, in);

	call.data_writable = bytes;
	return sfs_fg_call(g, &call, NULL, NULL, buf);
}

int sfs_fg_write(struct sfs_fg *g, uint64_t nodeid, uint64_t fh, uint64_t offset, const void *buf,
		 uint32_t bytes)
{
	struct fuse_write_in in = {.fh = fh, .offset = offset, .size = bytes, .flags = g->io_flags};
	struct sfs_fg_call call = FO_CALL(FUSE_WRITE, nodeid, in);
	struct fuse_write_out out;

	call.data_readable = bytes;
	call.out_bytes = sizeof(out);
	int rc = sfs_fg_call(g, &call, buf, &out, NULL);
	if (rc < 0)
		return rc;
	return out.size <= bytes ? (int)out.size : -EPROTO;
}

int sfs_fg_readdir(struct sfs_fg *g, uint64_t nodeid, uint64_t fh, uint64_t offset, void *buf, uint32_t bytes,
		   bool plus)
{
	struct fuse_read_in in = {.fh = fh, .offset = offset, .size = bytes};
	struct sfs_fg_call call = FO_CALL(plus ? FUSE_READDIRPLUS : FUSE_READDIR, nodeid, in);

	call.data_writable = bytes;
	return sfs_fg_call(g, &call, NULL, NULL, buf);
}

int sfs_fg_setxattr(struct sfs_fg *g, uint64_t nodeid, const char *name, const void *value, uint32_t bytes,
		    uint32_t flags)
{
	struct fuse_setxattr_in in = {.size = bytes, .flags = flags};
	struct sfs_fg_call call = FO_CALL(FUSE_SETXATTR, nodeid, in);

	call.args_bytes =
	    FUSE_COMPAT_SETXATTR_IN_SIZE; /* the short form, where FUSE_SETXATTR_EXT is not agreed on */
	fo_name(&call, 0, name);
	call.tail[1] = value;
	call.tail_bytes[1] = bytes;
	return fo_fixed(g, &call, NULL, 0);
}

/* GETXATTR and LISTXATTR: the size alone, or the bytes. */
static int fo_xattr(struct sfs_fg *g, struct sfs_fg_call *call, void *value, uint32_t bytes)
{
	struct fuse_getxattr_out out;

	if (bytes) {
		call->data_writable = bytes;
		return sfs_fg_call(g, call, NULL, NULL, value);
	}
	int rc = fo_fixed(g, call, &out, sizeof(out));
	return rc < 0 ? rc : (int)out.size;
}

int sfs_fg_getxattr(struct sfs_fg *g, uint64_t nodeid, const char *name, void *value, uint32_t bytes)
{
	struct fuse_getxattr_in in = {.size = bytes};
	struct sfs_fg_call call = FO_CALL(FUSE_GETXATTR, nodeid, in);

	fo_name(&call, 0, name);
	return fo_xattr(g, &call, value, bytes);
}

int sfs_fg_listxattr(struct sfs_fg *g, uint64_t nodeid, void *list, uint32_t bytes)
{
	struct fuse_getxattr_in in = {.size = bytes};
	struct sfs_fg_call call = FO_CALL(FUSE_LISTXATTR, nodeid, in);

	return fo_xattr(g, &call, list, bytes);
}

int sfs_fg_removexattr(struct sfs_fg *g, uint64_t nodeid, const char *name)
{
	struct sfs_fg_call call = {.opcode = FUSE_REMOVEXATTR, .nodeid = nodeid};

	fo_name(&call, 0, name);
	return fo_fixed(g, &call, NULL, 0);
}
