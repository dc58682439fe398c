/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One descriptor chain (virtio 1.2, 2.7.5), copied and checked: its segments are host addresses inside guest memory.
 */
#ifndef SFS_CHAIN_H
#define SFS_CHAIN_H

#include <stdint.h>
#include <sys/uio.h>

#define SFS_CHAIN_INLINE_SEGS 12   /* segments a slot holds itself */
#define SFS_CHAIN_SEGS_MAX    1024 /* as a pooled array; IOV_MAX: one vectored system call takes them all */

struct sfs_chain {
	uint16_t head;           /* index of the first descriptor: goes back in the used element */
	uint16_t readable_count; /* iov[0 .. readable_count): what the guest wrote for us */
	uint16_t writable_count; /* iov[readable_count ..): where we may write */
	uint64_t readable_bytes, writable_bytes;
	struct iovec *iov; /* inline_segs, or an array of the lane's pool */
	struct iovec inline_segs[SFS_CHAIN_INLINE_SEGS];
};

static inline struct iovec *sfs_chain_writable(struct sfs_chain *c)
{
	return c->iov + c->readable_count;
}

#endif
