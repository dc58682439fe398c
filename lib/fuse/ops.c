/* SPDX-License-Identifier: BSD-3-Clause */
#include "sfs_fs.h"
#include "sfs_op.h"

#define OWN        0xffff
#define DRV(field) offsetof(struct sfs_fs_ops, field)
/* The second form is for what the oldest supported headers lack. */
#define ROW(OP, ...)   [FUSE_##OP] = {.name = #OP, .opcode = FUSE_##OP, __VA_ARGS__}
#define NEWER(OP, ...) [SFS_FUSE_##OP] = {.name = #OP, .opcode = SFS_FUSE_##OP, __VA_ARGS__}
#define ARG(type)      .arg_min = sizeof(struct type), .arg_bytes = sizeof(struct type)
#define OUT(type)      .out_min = sizeof(struct type)
#define NAMES(n)       .names = n
#define FLAGS(f)       .flags = (f)
#define SLOT(s)        .slot = s

#define ENTRY_OUT OUT(fuse_entry_out)
#define MUTATES   SFS_OP_MUTATES
#define FINDS     SFS_OP_FINDS

/* clang-format off */
static const struct sfs_op ops[SFS_OP_COUNT] = {
	ROW(LOOKUP,      NAMES(1), ENTRY_OUT, FLAGS(SFS_OP_DOTS | FINDS), SLOT(DRV(lookup))),
	ROW(FORGET,      ARG(fuse_forget_in), FLAGS(SFS_OP_NO_REPLY | SFS_OP_ANYTIME), SLOT(OWN)),
	ROW(GETATTR,     ARG(fuse_getattr_in), OUT(fuse_attr_out), SLOT(DRV(getattr))),
	ROW(SETATTR,     ARG(fuse_setattr_in), OUT(fuse_attr_out), FLAGS(MUTATES), SLOT(DRV(setattr))),
	ROW(READLINK,    FLAGS(SFS_OP_BUF), SLOT(DRV(readlink))),
	ROW(SYMLINK,     NAMES(2), ENTRY_OUT, FLAGS(SFS_OP_TARGET | SFS_OP_BUF | SFS_OP_EXTRA | MUTATES), SLOT(DRV(symlink))),
	ROW(MKNOD,       ARG(fuse_mknod_in), NAMES(1), ENTRY_OUT, FLAGS(SFS_OP_EXTRA | MUTATES), SLOT(DRV(mknod))),
	ROW(MKDIR,       ARG(fuse_mkdir_in), NAMES(1), ENTRY_OUT, FLAGS(SFS_OP_EXTRA | MUTATES), SLOT(DRV(mkdir))),
	ROW(UNLINK,      NAMES(1), FLAGS(MUTATES), SLOT(DRV(unlink))),
	ROW(RMDIR,       NAMES(1), FLAGS(MUTATES), SLOT(DRV(rmdir))),
	ROW(RENAME,      ARG(fuse_rename_in), NAMES(2), FLAGS(MUTATES), SLOT(DRV(rename))),
	ROW(LINK,        ARG(fuse_link_in), NAMES(1), ENTRY_OUT, FLAGS(MUTATES), SLOT(DRV(link))),
	ROW(OPEN,        ARG(fuse_open_in), OUT(fuse_open_out), FLAGS(FINDS), SLOT(DRV(open))),
	ROW(READ,        ARG(fuse_read_in), FLAGS(SFS_OP_DATA_OUT), SLOT(DRV(read))),
	ROW(WRITE,       ARG(fuse_write_in), OUT(fuse_write_out), FLAGS(SFS_OP_DATA_IN | MUTATES), SLOT(DRV(write))),
	ROW(STATFS,      OUT(fuse_statfs_out), SLOT(DRV(statfs))),
	ROW(RELEASE,     ARG(fuse_release_in), SLOT(DRV(release))),
	ROW(FSYNC,       ARG(fuse_fsync_in), SLOT(DRV(fsync))),
	ROW(SETXATTR,    .arg_min = SFS_SETXATTR_IN_BYTES_OLD, .arg_bytes = sizeof(struct fuse_setxattr_in), NAMES(1),
			 FLAGS(SFS_OP_ATTR | SFS_OP_BUF | SFS_OP_EXTRA | MUTATES), SLOT(DRV(setxattr))),
	ROW(GETXATTR,    ARG(fuse_getxattr_in), NAMES(1), FLAGS(SFS_OP_ATTR | SFS_OP_BUF), SLOT(DRV(getxattr))),
	ROW(LISTXATTR,   ARG(fuse_getxattr_in), FLAGS(SFS_OP_BUF), SLOT(DRV(listxattr))),
	ROW(REMOVEXATTR, NAMES(1), FLAGS(SFS_OP_ATTR | MUTATES), SLOT(DRV(removexattr))),
	ROW(FLUSH,       ARG(fuse_flush_in), SLOT(DRV(flush))),
	ROW(INIT,        .arg_min = SFS_INIT_IN_BYTES_OLD, .arg_bytes = sizeof(struct fuse_init_in), OUT(fuse_init_out),
			 FLAGS(SFS_OP_ANYTIME), SLOT(OWN)),
	ROW(OPENDIR,     ARG(fuse_open_in), OUT(fuse_open_out), FLAGS(FINDS), SLOT(DRV(opendir))),
	ROW(READDIR,     ARG(fuse_read_in), FLAGS(SFS_OP_BUF | FINDS), SLOT(DRV(readdir))),
	ROW(RELEASEDIR,  ARG(fuse_release_in), SLOT(DRV(releasedir))),
	ROW(FSYNCDIR,    ARG(fuse_fsync_in), SLOT(DRV(fsyncdir))),
	ROW(GETLK,       ARG(fuse_lk_in), OUT(fuse_lk_out), SLOT(DRV(getlk))),
	ROW(SETLK,       ARG(fuse_lk_in), SLOT(DRV(setlk))),
	ROW(SETLKW,      ARG(fuse_lk_in), SLOT(DRV(setlkw))),
	ROW(ACCESS,      ARG(fuse_access_in), SLOT(DRV(access))),
	ROW(CREATE,      ARG(fuse_create_in), NAMES(1), .out_min = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out),
			 FLAGS(SFS_OP_EXTRA | MUTATES), SLOT(DRV(create_file))),
	ROW(INTERRUPT,   ARG(fuse_interrupt_in), FLAGS(SFS_OP_NO_REPLY), SLOT(OWN)),
	ROW(DESTROY,     SLOT(OWN)),
	ROW(IOCTL,       ARG(fuse_ioctl_in), OUT(fuse_ioctl_out), FLAGS(SFS_OP_BUF | SFS_OP_EXTRA), SLOT(DRV(ioctl))),
	ROW(BATCH_FORGET, ARG(fuse_batch_forget_in),
			 FLAGS(SFS_OP_NO_REPLY | SFS_OP_BUF | SFS_OP_EXTRA | SFS_OP_ANYTIME), SLOT(OWN)),
	ROW(FALLOCATE,   ARG(fuse_fallocate_in), FLAGS(MUTATES), SLOT(DRV(fallocate))),
	ROW(READDIRPLUS, ARG(fuse_read_in), FLAGS(SFS_OP_BUF | FINDS), SLOT(DRV(readdirplus))),
	ROW(RENAME2,     ARG(fuse_rename2_in), NAMES(2), FLAGS(MUTATES), SLOT(DRV(rename))),
	ROW(LSEEK,       ARG(fuse_lseek_in), OUT(fuse_lseek_out), SLOT(DRV(lseek))),
	ROW(COPY_FILE_RANGE, ARG(fuse_copy_file_range_in), OUT(fuse_write_out), FLAGS(MUTATES), SLOT(DRV(copy_file_range))),
	ROW(SYNCFS,      ARG(fuse_syncfs_in), SLOT(DRV(syncfs))),
	/* The name that Linux sends with it is none ("/"): it stays in extra. */
	ROW(TMPFILE,     ARG(fuse_create_in), .out_min = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out),
			 FLAGS(SFS_OP_EXTRA | MUTATES), SLOT(DRV(tmpfile))),
	NEWER(STATX,     ARG(sfs_fuse_statx_in), OUT(sfs_fuse_statx_out), SLOT(DRV(statx))),
	NEWER(COPY_FILE_RANGE_64, ARG(fuse_copy_file_range_in), OUT(sfs_fuse_copy_file_range_out), FLAGS(MUTATES),
			 SLOT(DRV(copy_file_range))),
};
/* clang-format on */

const struct sfs_op *sfs_op_get(uint32_t opcode)
{
	if (opcode >= SFS_OP_COUNT || !ops[opcode].name)
		return NULL;
	return &ops[opcode];
}
