/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a filesystem of the host keeps what is in its files, and so what may have to be waited for. */
#ifndef SFS_STORE_H
#define SFS_STORE_H

#include <stdint.h>

enum sfs_store {
	SFS_STORE_LOCAL,  /* a disk, or nobody knows */
	SFS_STORE_MEMORY, /* reads never wait for a device */
	SFS_STORE_REMOTE, /* a server somewhere, another process of the host included */
};

/** By the f_type of statfs. Any thread. */
enum sfs_store sfs_store_of(uint32_t magic);

#endif
