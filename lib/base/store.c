/* SPDX-License-Identifier: BSD-3-Clause */
#include <linux/magic.h>

#include "sfs_base.h"
#include "sfs_store.h"

/* Magic numbers of statfs that <linux/magic.h> lacks. */
#define MAGIC_LUSTRE 0x0BD00BD0u
#define MAGIC_GPFS   0x47504653u
#define MAGIC_PANFS  0xAAD7AAEAu
#define MAGIC_BEEGFS 0x19830326u
#define MAGIC_VBOXSF 0x786F4256u
#define MAGIC_GFS2   0x01161970u

enum sfs_store sfs_store_of(uint32_t magic)
{
	static const uint32_t remote[] = {
	    FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC,   SMB2_SUPER_MAGIC, CIFS_SUPER_MAGIC,
	    CEPH_SUPER_MAGIC, V9FS_MAGIC,      AFS_SUPER_MAGIC,   AFS_FS_MAGIC,     CODA_SUPER_MAGIC,
	    NCP_SUPER_MAGIC,  MAGIC_LUSTRE,    MAGIC_GPFS,        MAGIC_PANFS,      MAGIC_BEEGFS,
	    MAGIC_VBOXSF,     MAGIC_GFS2,      OCFS2_SUPER_MAGIC,
	};

	if (magic == TMPFS_MAGIC || magic == RAMFS_MAGIC || magic == HUGETLBFS_MAGIC)
		return SFS_STORE_MEMORY;
	for (size_t i = 0; i < SFS_ARRAY_SIZE(remote); i++)
		if (magic == remote[i])
			return SFS_STORE_REMOTE;
	return SFS_STORE_LOCAL;
}
