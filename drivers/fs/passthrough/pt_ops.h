/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operations of the passthrough driver, in the order of the files that have them. Included by pt.h.
 */
#ifndef PT_OPS_H
#define PT_OPS_H

struct sfs_req;

int pt_lookup(struct sfs_req *req);
int pt_readlink(struct sfs_req *req);
int pt_symlink(struct sfs_req *req);
int pt_mknod(struct sfs_req *req);
int pt_mkdir(struct sfs_req *req);
int pt_unlink(struct sfs_req *req);
int pt_rmdir(struct sfs_req *req);
int pt_rename(struct sfs_req *req);
int pt_link(struct sfs_req *req);

int pt_getattr(struct sfs_req *req);
int pt_setattr(struct sfs_req *req);
int pt_statx(struct sfs_req *req);
int pt_statfs(struct sfs_req *req);
int pt_access(struct sfs_req *req);

int pt_open(struct sfs_req *req);
int pt_create(struct sfs_req *req);
int pt_tmpfile(struct sfs_req *req);
int pt_ioctl(struct sfs_req *req);
int pt_read(struct sfs_req *req);
int pt_write(struct sfs_req *req);
int pt_flush(struct sfs_req *req);
int pt_release(struct sfs_req *req);
int pt_fsync(struct sfs_req *req);
int pt_fallocate(struct sfs_req *req);
int pt_lseek(struct sfs_req *req);
int pt_copy_file_range(struct sfs_req *req);
int pt_syncfs(struct sfs_req *req);

int pt_opendir(struct sfs_req *req);
int pt_readdir(struct sfs_req *req);
int pt_readdirplus(struct sfs_req *req);

int pt_getlk(struct sfs_req *req);
int pt_setlk(struct sfs_req *req);
int pt_setlkw(struct sfs_req *req);

int pt_setxattr(struct sfs_req *req);
int pt_getxattr(struct sfs_req *req);
int pt_listxattr(struct sfs_req *req);
int pt_removexattr(struct sfs_req *req);

#endif
