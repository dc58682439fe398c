/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's side of a split virtqueue (virtio 1.2, 2.7). Everything in the ring is the guest's and may change at any
 * moment: each descriptor, index and length is read once, into our own memory, then checked, then used.
 *
 * One thread, the queue's reactor. Nothing here blocks; only sfs_virtq_publish() may make a system call (one eventfd write).
 */
#ifndef SFS_VIRTQ_H
#define SFS_VIRTQ_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/virtio_ring.h>

#include "sfs_chain.h"
#include "sfs_mem.h"

#define SFS_VIRTQ_SIZE_MAX 32768

struct sfs_virtq {
	const struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct sfs_mem *mem;
	uint64_t *heads;     /* bitmap of heads in flight: one used twice is refused */
	uint16_t size;       /* power of two */
	uint16_t last_avail; /* next entry of the avail ring to take */
	uint16_t avail_seen; /* avail->idx as read last */
	uint16_t used_idx;   /* next entry of the used ring to fill */
	uint16_t used_published;
	uint16_t reminded; /* what had been published at the last sfs_virtq_remind() that notified */
	bool event_idx, indirect;
	const void *guess
	    [2]; /* where the chain before had its first descriptor and its table: to be fetched, no more */
	int call_fd;       /* -1: none; the owner's */
	const char *fault; /* why the ring is not walked any more; NULL: it is */
	uint64_t calls;    /* notifications sent */
};

struct sfs_virtq_setup {
	struct sfs_mem *mem; /* must outlive the queue; no reference is taken here */
	void *desc, *avail, *used;
	uint16_t size, last_avail, last_used;
	bool event_idx, indirect;
	int call_fd;
};

/**
 * Prepares @vq; allocates the bitmap of heads. 0 or -errno: -EINVAL (size 0, no power of two, larger than
 * SFS_VIRTQ_SIZE_MAX), -ENOMEM. Control thread. From here on the guest is asked not to kick.
 */
int sfs_virtq_init(struct sfs_virtq *vq, const struct sfs_virtq_setup *setup);

/** Frees the bitmap. */
void sfs_virtq_fini(struct sfs_virtq *vq);

/** Bytes of the three parts of a ring of @size (virtio 1.2, 2.7.2), the event fields included. */
static inline uint64_t sfs_virtq_desc_bytes(unsigned size)
{
	return 16ull * size;
}
static inline uint64_t sfs_virtq_avail_bytes(unsigned size)
{
	return 6 + 2ull * size;
}
static inline uint64_t sfs_virtq_used_bytes(unsigned size)
{
	return 6 + 8ull * size;
}

/** How many chains wait; reads avail->idx only when all seen before were taken. Sets fault where the index is impossible. */
unsigned sfs_virtq_pending(struct sfs_virtq *vq);

/**
 * Takes the next chain into @chain. @big: an array of SFS_CHAIN_SEGS_MAX segments for a chain that needs more than
 * SFS_CHAIN_INLINE_SEGS, or NULL where the caller has none at hand; used if chain->iov == big afterwards.
 * Returns 1: taken; 0: none waits; -EAGAIN: needs @big, nothing was taken; -EBADMSG: the chain is malformed (a loop, a bad
 * address, order or table, too long): it was taken, give it back with length 0; -EPROTO: the ring is malformed: fault says how.
 */
int sfs_virtq_pop(struct sfs_virtq *vq, struct sfs_chain *chain, struct iovec *big);

/** Puts the chain that was popped last back: the next pop takes it again. */
void sfs_virtq_unpop(struct sfs_virtq *vq, uint16_t head);

/**
 * Takes the chain of @head (below size) once more, that an earlier queue on the same ring took and did not give back. Descriptors
 * are read afresh. Returns as sfs_virtq_pop() but 0.
 */
int sfs_virtq_retake(struct sfs_virtq *vq, uint16_t head, struct sfs_chain *chain, struct iovec *big);

/**
 * Lets the caches fetch what the next pops will read, of which @count are known to wait: the indirect table of the next, the
 * descriptor of the one after. To be called between any two of them, so that each has been fetched when its turn comes. What it
 * reads of the guest serves as an address hint alone: nothing is kept, and a wrong hint costs a wasted prefetch.
 */
void sfs_virtq_prefetch(const struct sfs_virtq *vq, unsigned count);
/** Fetches, to be written, the lines of the used ring that the next @count pushes go to: the driver has them since it read them last. A hint. */
void sfs_virtq_expect_used(const struct sfs_virtq *vq, unsigned count);

/** Gives a chain back: the used element is written, not yet published. @bytes: how many we wrote into it. */
void sfs_virtq_push(struct sfs_virtq *vq, uint16_t head, uint32_t bytes);

/** Publishes all that was pushed: one release store of used->idx; notifies the guest once where it wants that. */
void sfs_virtq_publish(struct sfs_virtq *vq);

/** Notifies whatever the guest asked for: after a start, since one may have been lost with the predecessor. */
void sfs_virtq_notify(struct sfs_virtq *vq);

/** Asks the guest for kicks. Returns true if chains wait already (look again instead of sleeping). */
bool sfs_virtq_arm(struct sfs_virtq *vq);

/**
 * Nothing is under way any more: notifies once more, once, if the driver waits for an index that has been published already. It
 * should have seen that itself, after it asked; a CPU without barriers between the two lets it miss it (QEMU 7.2's emulation of a
 * single one), and it would wait for ever. The ring's thread, before it sleeps.
 */
void sfs_virtq_remind(struct sfs_virtq *vq);

/** Kicks are not wanted any more. */
void sfs_virtq_disarm(struct sfs_virtq *vq);

#endif
