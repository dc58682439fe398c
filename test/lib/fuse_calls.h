/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * FUSE operations as function calls, each one request on one lane. Results are those of the reply: 0 or a
 * count, or -errno.
 */
#ifndef FUSE_CALLS_H
#define FUSE_CALLS_H

#include <sys/types.h>

#include "fuse_guest.h"

/** A caller: one thread, one lane. */
struct fc {
	struct fg *g;
	unsigned lane;
	struct fg_msg *m;
	uint32_t io_flags; /* what READ and WRITE say of the file: as at the last open */
};

void fc_init(struct fc *c, struct fg *g, unsigned lane);
void fc_fini(struct fc *c);

/** The raw one. The answer stands in c->m. */
int fc_call(struct fc *c, uint32_t opcode, uint64_t node, const void *arg, size_t arg_bytes,
	    const char *name0, const char *name1, uint32_t room);

int fc_lookup(struct fc *c, uint64_t dir, const char *name, struct fuse_entry_out *e);
void fc_forget(struct fc *c, uint64_t node, uint64_t count);
int fc_getattr(struct fc *c, uint64_t node, struct fuse_attr *attr);
int fc_setattr(struct fc *c, uint64_t node, const struct fuse_setattr_in *in, struct fuse_attr *attr);
int fc_truncate(struct fc *c, uint64_t node, uint64_t size);
int fc_mkdir(struct fc *c, uint64_t dir, const char *name, uint32_t mode, struct fuse_entry_out *e);
int fc_mknod(struct fc *c, uint64_t dir, const char *name, uint32_t mode, uint32_t rdev,
	     struct fuse_entry_out *e);
int fc_symlink(struct fc *c, uint64_t dir, const char *name, const char *target, struct fuse_entry_out *e);
int fc_readlink(struct fc *c, uint64_t node, char *target, size_t bytes);
int fc_link(struct fc *c, uint64_t node, uint64_t dir, const char *name, struct fuse_entry_out *e);
int fc_unlink(struct fc *c, uint64_t dir, const char *name);
int fc_rmdir(struct fc *c, uint64_t dir, const char *name);
int fc_rename(struct fc *c, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
	      uint32_t flags);
int fc_create(struct fc *c, uint64_t dir, const char *name, uint32_t flags, uint32_t mode,
	      struct fuse_entry_out *e, uint64_t *fh);
int fc_open(struct fc *c, uint64_t node, uint32_t flags, uint64_t *fh);
int fc_opendir(struct fc *c, uint64_t node, uint64_t *fh);
int fc_release(struct fc *c, uint64_t node, uint64_t fh);
int fc_releasedir(struct fc *c, uint64_t node, uint64_t fh);
ssize_t fc_read(struct fc *c, uint64_t node, uint64_t fh, uint64_t off, void *buf, uint32_t bytes);
ssize_t fc_write(struct fc *c, uint64_t node, uint64_t fh, uint64_t off, const void *buf, uint32_t bytes);
int fc_fallocate(struct fc *c, uint64_t node, uint64_t fh, uint32_t mode, uint64_t off, uint64_t bytes);
int64_t fc_lseek(struct fc *c, uint64_t node, uint64_t fh, uint64_t off, int whence);
int fc_statfs(struct fc *c, struct fuse_kstatfs *st);
int fc_setxattr(struct fc *c, uint64_t node, const char *name, const void *value, uint32_t bytes,
		uint32_t flags);
/** @room 0: asks for the size. */
ssize_t fc_getxattr(struct fc *c, uint64_t node, const char *name, void *value, uint32_t room);
ssize_t fc_listxattr(struct fc *c, uint64_t node, char *list, uint32_t room);
int fc_removexattr(struct fc *c, uint64_t node, const char *name);

/** One READDIR or READDIRPLUS; calls @fn for each entry, returns how many there were, or -errno. */
int fc_readdir(struct fc *c, uint64_t node, uint64_t fh, uint64_t off, uint32_t bytes, bool plus,
	       void (*fn)(void *arg, const struct fuse_dirent *d, const struct fuse_entry_out *e), void *arg);

#endif
