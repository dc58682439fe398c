/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aside.h"

/* The guest's address of ours. */
static uint64_t place_of(const struct sfs_mem *mem, const void *p)
{
	for (unsigned i = 0; i < mem->region_count; i++) {
		const struct sfs_mem_region *r = &mem->regions[i];
		uint64_t off = (uintptr_t)p - (uintptr_t)r->host;

		if (off < r->bytes)
			return r->guest_addr + off;
	}
	return UINT64_MAX;
}

static void place_set(struct sfs_ring_place *place, const struct sfs_vring_setup *s)
{
	*place = (struct sfs_ring_place){
	    .desc = place_of(s->mem, s->desc),
	    .avail = place_of(s->mem, s->avail),
	    .used = place_of(s->mem, s->used),
	    .features = s->features,
	    .size = s->size,
	    .last_avail = s->last_avail_idx,
	    .last_used = s->last_used_idx,
	};
}

int sfs_aside_init(struct sfs_aside *a, const struct sfs_vring_setup *s)
{
	memset(a, 0, sizeof(*a));
	place_set(&a->place, s);
	a->heads = calloc(s->size, sizeof(*a->heads));
	return a->heads ? 0 : -ENOMEM;
}

void sfs_aside_fini(struct sfs_aside *a)
{
	free(a->heads);
	memset(a, 0, sizeof(*a));
}

void sfs_aside_add(struct sfs_aside *a, uint16_t head)
{
	assert(a->count < a->place.size);
	a->heads[a->count++] = head;
}

bool sfs_aside_fits(const struct sfs_aside *a, const struct sfs_vring_setup *s)
{
	struct sfs_ring_place now;

	place_set(&now, s);
	return s->base_kept && now.desc == a->place.desc && now.avail == a->place.avail &&
	       now.used == a->place.used && now.features == a->place.features && now.size == a->place.size &&
	       now.last_used == a->place.last_used;
}
