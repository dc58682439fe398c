/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The FUSE protocol: the kernel's structures (include/uapi/linux/fuse.h), and private copies of what the oldest
 * supported header lacks. Numbers of a protocol never change.
 */
#ifndef SFS_PROTO_H
#define SFS_PROTO_H

#include <linux/fuse.h>

#define SFS_FUSE_MINOR     45
#define SFS_FUSE_MINOR_MIN 27
#define SFS_FUSE_MAX_PAGES 256
#define SFS_FUSE_PAGE      4096u
#define SFS_FUSE_MAX_WRITE (SFS_FUSE_MAX_PAGES * SFS_FUSE_PAGE)

#ifndef FUSE_CREATE_SUPP_GROUP
#define FUSE_CREATE_SUPP_GROUP (1ULL << 34)
#endif
#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#endif
#ifndef FUSE_ALLOW_IDMAP
#define FUSE_ALLOW_IDMAP (1ULL << 40)
#endif

/* What a guest has to know for access lists to be the host's: that also applies the umask, and is told when to clear the set-group-ID bit. */
#define SFS_FUSE_ACL_FLAGS ((uint64_t)FUSE_POSIX_ACL | FUSE_DONT_MASK | FUSE_SETXATTR_EXT)

/* --- operations --- */

#define SFS_FUSE_STATX              52
#define SFS_FUSE_COPY_FILE_RANGE_64 53

struct sfs_fuse_statx_in {
	uint32_t getattr_flags;
	uint32_t reserved;
	uint64_t fh;
	uint32_t sx_flags, sx_mask;
};

struct sfs_fuse_sx_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t reserved;
};

struct sfs_fuse_statx {
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare0;
	uint64_t ino, size, blocks, attributes_mask;
	struct sfs_fuse_sx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t spare2[14];
};
_Static_assert(sizeof(struct sfs_fuse_statx) == 256, "protocol");

struct sfs_fuse_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct sfs_fuse_statx stat;
};

struct sfs_fuse_copy_file_range_out {
	uint64_t bytes_copied;
};

/* --- what may follow an operation that creates: records of a multiple of 8 bytes --- */

#define SFS_FUSE_EXT_SECCTX_MAX 31 /* types up to here: so many security contexts follow the header */
#define SFS_FUSE_EXT_GROUPS     32

struct sfs_fuse_ext_header {
	uint32_t size; /* of the record, this included */
	uint32_t type;
};

struct sfs_fuse_supp_groups {
	uint32_t nr_groups;
	uint32_t groups[];
};

/* Sizes of what older guests send and expect (protocol 7.27 to 7.38). */
#define SFS_INIT_IN_BYTES_OLD     16 /* before 7.36: no flags2 */
#define SFS_SETXATTR_IN_BYTES_OLD 8  /* without FUSE_SETXATTR_EXT (FUSE_COMPAT_SETXATTR_IN_SIZE) */

#endif
