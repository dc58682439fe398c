/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's (guest's) side of a split virtqueue in guest memory, virtio 1.2 section 2.7. One thread per
 * ring; only sfs_fe_ring_wait() blocks or makes a system call, and sfs_fe_ring_publish() where the device
 * asked for a kick.
 *
 * What the device writes is checked: an id that is not in flight is an error of the device, not a crash of
 * ours.
 */
#ifndef SFS_FE_RING_H
#define SFS_FE_RING_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "sfs_frontend.h"

struct sfs_fe_seg {
	uint64_t gpa;
	uint32_t bytes;
};

struct sfs_fe_ring_opts {
	unsigned size;         /* power of two, 2 to 32768 */
	bool event_idx;        /* SFS_FE_F_EVENT_IDX was negotiated */
	bool interrupts;       /* the device is to signal completions; otherwise it is told not to */
	unsigned indirect_max; /* entries of each indirect table; 0: only direct descriptors */
	uint16_t start_idx;    /* avail and used idx at the start (SET_VRING_BASE) */
};

struct sfs_fe_ring {
	/* In guest memory; a hostile test writes here what it likes. */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct vring_desc *indirect; /* size tables of indirect_max entries, one for each head */
	uint64_t indirect_gpa;

	unsigned size;
	unsigned indirect_max;
	bool indirect_on; /* set where indirect_max is not 0; may be cleared */
	bool event_idx, interrupts;
	uint16_t avail_idx;  /* next to be filled */
	uint16_t kicked_idx; /* avail_idx when a kick was last thought about */
	uint16_t used_idx;   /* next to be taken */
	uint16_t used_seen;  /* used->idx at the last look */
	uint16_t base_idx;   /* what SET_VRING_BASE says at the next attach */
	unsigned free_head, free_count;
	uint16_t *next;      /* free list and chains, out of the device's reach */
	uint16_t *chain_len; /* descriptors of each head in flight */
	void **token;        /* of each head; NULL: not in flight */

	int kick_fd, call_fd;     /* eventfds, non-blocking; the ring's own */
	uint64_t kicks;           /* written */
	uint64_t interrupt_count; /* received so far, see sfs_fe_ring_interrupts() */
};

/**
 * Lays a ring out in @mem, which must outlive it, and makes its eventfds. 0, -EINVAL (size), -ENOMEM, or what
 * eventfd() gave. sfs_fe_ring_fini() ends it.
 */
int sfs_fe_ring_init(struct sfs_fe_ring *ring, struct sfs_fe_mem *mem, const struct sfs_fe_ring_opts *opts);

/** Closes the eventfds and frees our own memory; guest memory stays with its owner. */
void sfs_fe_ring_fini(struct sfs_fe_ring *ring);

/** Empties the ring: nothing is in flight any more, both indexes are @start_idx. The device must not run on
 * it. */
void sfs_fe_ring_reset(struct sfs_fe_ring *ring, uint16_t start_idx);

/**
 * Sends number, base, addresses, call and kick of the ring as index @idx, and enables it where @enable.
 * Errors as sfs_fe_set().
 */
int sfs_fe_ring_attach(struct sfs_fe_ring *ring, struct sfs_fe *fe, unsigned idx, bool enable);

/**
 * Puts one chain into the ring: @readable segments for the device to read, then @writable ones. @token (not
 * NULL) comes back with the used element. An indirect table is used for more than one segment where the ring
 * has them. The device sees it after sfs_fe_ring_publish(). 0, -ENOSPC (no room now), -EINVAL (no segment, or
 * more than ever fit).
 */
int sfs_fe_ring_add(struct sfs_fe_ring *ring, const struct sfs_fe_seg *segs, unsigned readable,
		    unsigned writable, void *token);

/** Shows a device that polls what was added; whether it wants a kick only sfs_fe_ring_publish() asks. */
static inline void sfs_fe_ring_show(struct sfs_fe_ring *ring)
{
	__atomic_store_n(&ring->avail->idx, ring->avail_idx, __ATOMIC_RELEASE);
}

/**
 * Shows the device what was added and kicks it if it asked for that. 1 kicked, 0 no need to, or what write()
 * gave.
 */
int sfs_fe_ring_publish(struct sfs_fe_ring *ring);

/** Kicks, asked for or not. 0 or -errno. */
int sfs_fe_ring_kick(struct sfs_fe_ring *ring);

/** Takes one used element of any content. 1 taken, 0 none there. For tests that put heads in by hand. */
int sfs_fe_ring_poll_raw(struct sfs_fe_ring *ring, uint32_t *id, uint32_t *bytes);

/**
 * Takes one completed chain: its token and the bytes that the device says it wrote. 1 taken, 0 none there,
 * -EPROTO: the device gave back what was not in flight.
 */
int sfs_fe_ring_poll(struct sfs_fe_ring *ring, void **token, uint32_t *bytes);

/**
 * Sleeps until an interrupt arrives or something is there to be taken, at most @timeout_ms. 0, -ETIMEDOUT.
 * Only for rings with interrupts.
 */
int sfs_fe_ring_wait(struct sfs_fe_ring *ring, unsigned timeout_ms);

/** Asks for an interrupt at the next completion; true where one is already there (do not sleep). */
bool sfs_fe_ring_arm(struct sfs_fe_ring *ring);

/** Interrupts that the device has sent since init. Reads the call eventfd. */
uint64_t sfs_fe_ring_interrupts(struct sfs_fe_ring *ring);

/* --- by hand, for hostile tests --- */

/** Writes descriptor @i of the ring's table. */
void sfs_fe_ring_set_desc(struct sfs_fe_ring *ring, unsigned i, uint64_t gpa, uint32_t bytes, uint16_t flags,
			  uint16_t next);

/** Puts any number into the avail ring as a head. */
void sfs_fe_ring_put_head(struct sfs_fe_ring *ring, uint16_t head);

/* --- arithmetic (inline, for tests, too) --- */

/** Whether the other side, waiting at @event, is to be told about a move from @from to @to
 * (virtio 1.2, 2.7.7.2). */
static inline bool sfs_fe_ring_crossed(uint16_t event, uint16_t to, uint16_t from)
{
	return (uint16_t)(to - event - 1) < (uint16_t)(to - from);
}

static inline uint16_t *sfs_fe_ring_used_event(const struct sfs_fe_ring *ring)
{
	return &ring->avail->ring[ring->size];
}

static inline uint16_t *sfs_fe_ring_avail_event(const struct sfs_fe_ring *ring)
{
	return (uint16_t *)(void *)&ring->used->ring[ring->size];
}

#endif
