/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring in memory that is laid out to catch mistakes: two regions that the guest sees side by side but that lie apart
 * here, a hole, a third region; each between pages that nobody may touch.
 */
#ifndef VIRTQ_RIG_H
#define VIRTQ_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "sfs_base.h"
#include "sfs_virtq.h"

#define RAM        0x100000ull /* region 0: the ring, and tables */
#define RAM_BYTES  0x200000ull
#define NEAR       0x300000ull /* region 1: begins where region 0 ends */
#define NEAR_BYTES 0x10000ull
#define HOLE       0x310000ull
#define FAR        0x400000ull /* region 2 */
#define FAR_BYTES  0x10000ull
#define TABLE      0x200000ull /* where tests put indirect tables, in region 0 */

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

struct rig {
	struct sfs_mem *mem;
	struct sfs_mem_region regions[3];
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct sfs_virtq vq;
	uint16_t avail_idx;
	int call_fd;
	struct sfs_chain chain;
	struct iovec big[SFS_CHAIN_SEGS_MAX];
};

struct rig_opts {
	unsigned size; /* 0: 16 */
	uint16_t start;
	bool event_idx, no_indirect;
};

static const struct rig_opts plain = {0};

static inline char *rig_map(uint64_t bytes)
{
	char *p = mmap(NULL, bytes + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	assert_int_equal(mprotect(p + 4096, bytes, PROT_READ | PROT_WRITE), 0);
	return p + 4096;
}

static inline void *rig_at(const struct rig *r, uint64_t gpa)
{
	uint64_t one = 1;
	void *p = sfs_mem_at(r->mem, gpa, &one);

	assert_non_null(p);
	return p;
}

static inline struct rig *rig_new(const struct rig_opts *o)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct sfs_virtq_setup s = {.size = (uint16_t)(o->size ? o->size : 16),
				    .last_avail = o->start,
				    .last_used = o->start,
				    .event_idx = o->event_idx,
				    .indirect = !o->no_indirect};

	assert_non_null(r);
	r->regions[0] =
	    (struct sfs_mem_region){.guest_addr = RAM, .bytes = RAM_BYTES, .user_addr = 0x70000000};
	r->regions[1] =
	    (struct sfs_mem_region){.guest_addr = NEAR, .bytes = NEAR_BYTES, .user_addr = 0x60000000};
	r->regions[2] =
	    (struct sfs_mem_region){.guest_addr = FAR, .bytes = FAR_BYTES, .user_addr = 0x50000000};
	for (unsigned i = 0; i < 3; i++)
		r->regions[i].host = rig_map(r->regions[i].bytes);
	assert_int_equal(sfs_mem_create_mapped(r->regions, 3, &r->mem), 0);
	r->desc = rig_at(r, RAM);
	r->avail = rig_at(r, RAM + 0x80000);
	r->used = rig_at(r, RAM + 0xa0000);
	r->call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	r->avail->idx = r->used->idx = r->avail_idx = o->start;
	s.mem = r->mem;
	s.desc = r->desc;
	s.avail = r->avail;
	s.used = r->used;
	s.call_fd = r->call_fd;
	assert_int_equal(sfs_virtq_init(&r->vq, &s), 0);
	return r;
}

static inline void rig_free(struct rig *r)
{
	sfs_virtq_fini(&r->vq);
	sfs_mem_put(r->mem);
	for (unsigned i = 0; i < 3; i++)
		munmap(r->regions[i].host - 4096, r->regions[i].bytes + 8192);
	close(r->call_fd);
	free(r);
}

static inline void rig_desc(struct rig *r, unsigned i, uint64_t gpa, uint32_t len, unsigned flags,
			    unsigned next)
{
	r->desc[i] =
	    (struct vring_desc){.addr = gpa, .len = len, .flags = (uint16_t)flags, .next = (uint16_t)next};
}

/** Entry @i of the indirect table at TABLE. */
static inline void rig_entry(struct rig *r, unsigned i, uint64_t gpa, uint32_t len, unsigned flags,
			     unsigned next)
{
	struct vring_desc *t = rig_at(r, TABLE);

	t[i] = (struct vring_desc){.addr = gpa, .len = len, .flags = (uint16_t)flags, .next = (uint16_t)next};
}

/** Puts a head into the avail ring and shows it. */
static inline void rig_offer(struct rig *r, unsigned head)
{
	r->avail->ring[r->avail_idx++ & (r->vq.size - 1)] = (uint16_t)head;
	__atomic_store_n(&r->avail->idx, r->avail_idx, __ATOMIC_RELEASE);
}

static inline int rig_pop(struct rig *r)
{
	return sfs_virtq_pop(&r->vq, &r->chain, r->big);
}

/** Offers @head and takes it. */
static inline int rig_try(struct rig *r, unsigned head)
{
	rig_offer(r, head);
	return rig_pop(r);
}

static inline void rig_done(struct rig *r, uint32_t bytes)
{
	sfs_virtq_push(&r->vq, r->chain.head, bytes);
	sfs_virtq_publish(&r->vq);
}

/** Notifications since the last look. */
static inline unsigned rig_calls(struct rig *r)
{
	eventfd_t n;

	return eventfd_read(r->call_fd, &n) < 0 ? 0 : (unsigned)n;
}

static inline void rig_seg(const struct rig *r, unsigned i, uint64_t gpa, uint64_t len)
{
	assert_ptr_equal(r->chain.iov[i].iov_base, rig_at(r, gpa));
	assert_int_equal(r->chain.iov[i].iov_len, len);
}

#endif
