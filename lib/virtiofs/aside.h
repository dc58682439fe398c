/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chains that a queue took and had not answered when it stopped: requests that wait for locks, which may be for ever. They have
 * changed nothing, so their heads are all that is kept; the next queue on the same ring takes them again as if they had just come.
 * lib/virtiofs only; control thread, but for what a running queue holds.
 */
#ifndef ASIDE_H
#define ASIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "sfs_virtiofs.h"

/** What must be the same for a ring to be the same: where it lies for the guest, and how far it was used. */
struct sfs_ring_place {
	uint64_t desc, avail, used; /* guest addresses */
	uint64_t features;
	uint16_t size, last_avail, last_used;
};

struct sfs_aside {
	struct sfs_ring_place place;
	uint16_t *heads; /* place.size of them have room; NULL: nothing is set aside */
	unsigned count;  /* in the order in which they came */
	unsigned next;   /* the first that was not taken again */
};

/** Room for the heads of the ring of @setup, which lies inside of setup->mem. 0 or -ENOMEM. */
int sfs_aside_init(struct sfs_aside *a, const struct sfs_vring_setup *setup);
/** Drops what it holds. */
void sfs_aside_fini(struct sfs_aside *a);
/** Reactor: one more head. A head is in flight once, so there is room. */
void sfs_aside_add(struct sfs_aside *a, uint16_t head);

/**
 * Whether the ring of @setup is the one that @a was left by, untouched since. A driver that began anew has set both indexes to 0,
 * where those left behind differ by what was set aside.
 */
bool sfs_aside_fits(const struct sfs_aside *a, const struct sfs_vring_setup *setup);

#endif
