/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sfs_base.h"
#include "sfs_virtq.h"

_Static_assert(sizeof(struct vring_desc) == 16, "virtio 1.2, 2.7.5");

static inline uint16_t load16(const void *p)
{
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
}

static inline void store16(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, v, __ATOMIC_RELAXED);
}

/* The event fields behind the rings (virtio 1.2, 2.7.7 and 2.7.8). */
static inline void *used_event(const struct sfs_virtq *vq)
{
	return &vq->avail->ring[vq->size];
}

static inline void *avail_event(const struct sfs_virtq *vq)
{
	return &vq->used->ring[vq->size];
}

static bool head_test_and_set(struct sfs_virtq *vq, uint16_t head)
{
	uint64_t bit = 1ull << (head & 63), *word = &vq->heads[head >> 6];
	bool was = *word & bit;

	*word |= bit;
	return was;
}

int sfs_virtq_init(struct sfs_virtq *vq, const struct sfs_virtq_setup *s)
{
	if (s->size == 0 || (s->size & (s->size - 1)) || s->size > SFS_VIRTQ_SIZE_MAX)
		return -EINVAL;
	memset(vq, 0, sizeof(*vq));
	vq->heads = calloc((s->size + 63u) / 64, sizeof(uint64_t));
	if (!vq->heads)
		return -ENOMEM;
	vq->mem = s->mem;
	vq->desc = s->desc;
	vq->avail = s->avail;
	vq->used = s->used;
	vq->size = s->size;
	vq->last_avail = vq->avail_seen = s->last_avail;
	vq->used_idx = vq->used_published = vq->reminded = s->last_used;
	vq->event_idx = s->event_idx;
	vq->indirect = s->indirect;
	vq->call_fd = s->call_fd;
	sfs_virtq_disarm(vq);
	return 0;
}

void sfs_virtq_fini(struct sfs_virtq *vq)
{
	free(vq->heads);
	vq->heads = NULL;
}

/* The ring is not walked any more: nothing in it counts as waiting. */
static void ring_fault(struct sfs_virtq *vq, const char *why)
{
	vq->fault = why;
	vq->avail_seen = vq->last_avail;
}

unsigned sfs_virtq_pending(struct sfs_virtq *vq)
{
	uint16_t n = (uint16_t)(vq->avail_seen - vq->last_avail);

	if (n)
		return n;
	if (SFS_UNLIKELY(vq->fault))
		return 0;
	vq->avail_seen = __atomic_load_n(&vq->avail->idx, __ATOMIC_ACQUIRE);
	n = (uint16_t)(vq->avail_seen - vq->last_avail);
	if (SFS_UNLIKELY(n > vq->size)) {
		ring_fault(vq, "avail index runs ahead by more than the ring holds");
		return 0;
	}
	return n;
}

/* What the slow ways of a walk over one chain share with the quick one. */
struct walk {
	struct sfs_virtq *vq;
	struct sfs_chain *chain;
	struct iovec *big;
	const struct sfs_mem_region
	    *last;           /* where the segment before was: nearly always where the next is, too */
	unsigned count, max; /* segments in chain->iov, and its room */
};

static int walk_grow(struct walk *w)
{
	if (w->max == SFS_CHAIN_SEGS_MAX)
		return -EBADMSG;
	if (!w->big)
		return -EAGAIN;
	memcpy(w->big, w->chain->inline_segs, w->count * sizeof(struct iovec));
	w->chain->iov = w->big;
	w->max = SFS_CHAIN_SEGS_MAX;
	return 0;
}

/* One segment, inside of one region. */
static int walk_push(struct walk *w, void *p, uint64_t n)
{
	int rc = w->count == w->max ? walk_grow(w) : 0;

	if (rc)
		return rc;
	w->chain->iov[w->count++] = (struct iovec){.iov_base = p, .iov_len = n};
	return 0;
}

/*
 * A descriptor that the quick way does not take: of no length, in another region than the one before, over the border
 * between two (then it makes more than one segment), or one more than the array has room for.
 */
static __attribute__((noinline)) int walk_find(struct walk *w, uint64_t gpa, uint64_t len)
{
	const struct sfs_mem *mem = w->vq->mem;
	int rc = 0;

	while (len && rc == 0) {
		uint64_t n = len;
		char *p = sfs_mem_at(mem, gpa, &n);

		if (SFS_UNLIKELY(!p))
			return -EBADMSG;
		for (unsigned i = 0; i < mem->region_count; i++)
			if (gpa - mem->regions[i].guest_addr < mem->regions[i].bytes)
				w->last = &mem->regions[i];
		rc = walk_push(w, p, n);
		gpa += n;
		len -= n;
	}
	return rc;
}

/* Reads a descriptor once: two loads that nobody may repeat. */
static inline struct vring_desc desc_load(const struct vring_desc *from)
{
	const uint64_t *w = (const uint64_t *)(const void *)from;
	union {
		uint64_t w[2];
		struct vring_desc d;
	} u;

	u.w[0] = __atomic_load_n(&w[0], __ATOMIC_RELAXED);
	u.w[1] = __atomic_load_n(&w[1], __ATOMIC_RELAXED);
	return u.d;
}

/* The table that a descriptor of the ring names, or NULL where it may not. */
static const struct vring_desc *walk_indirect(const struct sfs_virtq *vq, struct vring_desc d)
{
	uint64_t bytes = d.len;
	const void *table;

	if (!vq->indirect || (d.flags & VRING_DESC_F_NEXT) || d.len == 0 || d.len % sizeof(struct vring_desc))
		return NULL;
	table = sfs_mem_at(vq->mem, d.addr, &bytes);
	return bytes < d.len || ((uintptr_t)table & 7) ? NULL : table;
}

/* How many descriptors of a table a chain may have: a loop ends by that count, and so does a table that is larger than any
 * chain: descriptors of length zero would make no segments, only work. */
static inline unsigned walk_steps(unsigned size)
{
	return SFS_MIN(size, (unsigned)SFS_CHAIN_SEGS_MAX);
}

static inline void walk_end(struct sfs_chain *c, const struct iovec *writable, const struct iovec *end,
			    uint64_t bytes)
{
	if (writable) {
		c->readable_count = (uint16_t)(writable - c->iov);
		c->writable_count = (uint16_t)(end - writable);
		c->writable_bytes = bytes - c->readable_bytes;
	} else {
		c->readable_count = (uint16_t)(end - c->iov);
		c->readable_bytes = bytes;
		c->writable_count = 0;
		c->writable_bytes = 0;
	}
}

/* Follows the chain from descriptor @idx of the ring on. */
static int walk_chain(struct walk *w, uint16_t idx)
{
	struct sfs_virtq *vq = w->vq;
	struct sfs_chain *c = w->chain;
	const struct vring_desc *table = vq->desc;
	unsigned size = vq->size, left = walk_steps(size);
	const struct sfs_mem_region *last = w->last;
	struct iovec *at = c->iov, *end = at + w->max,
		     *writable = NULL; /* the next segment, the first writable one */
	uint64_t bytes = 0;
	bool indirect = false; /* the address of a table tells nothing: one may name the ring's own */
	int rc;

	while (left--) {
		struct vring_desc d = desc_load(&table[idx]);
		uint64_t off = d.addr - last->guest_addr;

		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (indirect)
				return -EBADMSG;
			indirect = true;
			table = walk_indirect(vq, d);
			if (SFS_UNLIKELY(!table))
				return -EBADMSG;
			vq->guess[1] = table;
			size = d.len / sizeof(d);
			left = walk_steps(size);
			idx = 0;
			continue;
		}
		if (!(d.flags & VRING_DESC_F_WRITE)) {
			if (SFS_UNLIKELY(writable))
				return -EBADMSG; /* virtio 1.2, 2.7.4.2: readable ones come first */
		} else if (!writable) {
			writable = at;
			c->readable_bytes = bytes;
		}
		bytes += d.len;
		/* Also false for a length of zero. */
		if (SFS_LIKELY(off < last->bytes && d.len - 1ull < last->bytes - off && at < end)) {
			/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): it is a slot's array */
			at->iov_base = last->host + off;
			at->iov_len = d.len;
			at++;
		} else {
			unsigned readable = writable ? (unsigned)(writable - c->iov) : 0;

			w->count = (unsigned)(at - c->iov);
			rc = walk_find(w, d.addr, d.len);
			if (rc)
				return rc;
			at = c->iov + w->count;
			end = c->iov + w->max;
			writable = writable ? c->iov + readable : NULL;
			last = w->last;
		}
		if (!(d.flags & VRING_DESC_F_NEXT)) {
			walk_end(c, writable, at, bytes);
			return 0;
		}
		idx = d.next;
		if (SFS_UNLIKELY(idx >= size))
			return -EBADMSG;
	}
	return -EBADMSG; /* a loop, or too long */
}

/* Walks the chain from @head on, which is in flight unless this returns -EAGAIN or -EPROTO. */
static inline int chain_take(struct sfs_virtq *vq, uint16_t head, struct sfs_chain *c, struct iovec *big)
{
	struct walk w = {
	    .vq = vq, .chain = c, .big = big, .last = vq->mem->regions, .max = SFS_CHAIN_INLINE_SEGS};
	int rc;

	vq->guess[0] = &vq->desc[head];
	c->head = head;
	c->iov = c->inline_segs;
	rc = walk_chain(&w, head);
	if (rc == -EAGAIN)
		return rc;
	if (SFS_UNLIKELY(head_test_and_set(vq, head))) {
		ring_fault(vq, "one head is in flight twice");
		return -EPROTO;
	}
	return rc ? rc : 1;
}

int sfs_virtq_pop(struct sfs_virtq *vq, struct sfs_chain *c, struct iovec *big)
{
	uint16_t head;
	int rc;

	if (SFS_UNLIKELY(vq->fault))
		return -EPROTO;
	if (!sfs_virtq_pending(vq))
		return vq->fault ? -EPROTO : 0;
	head = load16(&vq->avail->ring[vq->last_avail & (vq->size - 1)]);
	if (SFS_UNLIKELY(head >= vq->size)) {
		ring_fault(vq, "avail ring names a descriptor beyond the table");
		return -EPROTO;
	}
	rc = chain_take(vq, head, c, big);
	if (SFS_LIKELY(rc != -EAGAIN && rc != -EPROTO))
		vq->last_avail++;
	return rc;
}

int sfs_virtq_retake(struct sfs_virtq *vq, uint16_t head, struct sfs_chain *c, struct iovec *big)
{
	assert(head < vq->size);
	return vq->fault ? -EPROTO : chain_take(vq, head, c, big);
}

void sfs_virtq_unpop(struct sfs_virtq *vq, uint16_t head)
{
	vq->heads[head >> 6] &= ~(1ull << (head & 63));
	vq->last_avail--;
}

/* The descriptor that the @i-th of the next pops begins with. */
static inline const struct vring_desc *ahead(const struct sfs_virtq *vq, unsigned i)
{
	uint16_t head = load16(&vq->avail->ring[(uint16_t)(vq->last_avail + i) & (vq->size - 1)]);

	return &vq->desc[head & (vq->size - 1)];
}

void sfs_virtq_prefetch(const struct sfs_virtq *vq, unsigned count)
{
	struct vring_desc d;
	const char *table;
	uint64_t bytes;

	if (count > 1)
		__builtin_prefetch(ahead(vq, 1));
	if (count == 0)
		return;
	d = desc_load(ahead(vq, 0));
	bytes = d.len;
	if (!(d.flags & VRING_DESC_F_INDIRECT))
		return;
	table = sfs_mem_at(vq->mem, d.addr, &bytes);
	if (table) {
		__builtin_prefetch(table);
		__builtin_prefetch(table + SFS_CACHE_LINE);
	}
}

void sfs_virtq_expect_used(const struct sfs_virtq *vq, unsigned count)
{
	const unsigned line = SFS_CACHE_LINE / sizeof(struct vring_used_elem);

	/* They begin anywhere in a line. */
	for (unsigned i = 0; i < count + line - 1; i += line)
		sfs_prefetch_write(&vq->used->ring[(vq->used_idx + i) & (vq->size - 1)]);
}

void sfs_virtq_push(struct sfs_virtq *vq, uint16_t head, uint32_t bytes)
{
	struct vring_used_elem *e = &vq->used->ring[vq->used_idx & (vq->size - 1)];

	vq->heads[head >> 6] &= ~(1ull << (head & 63));
	__atomic_store_n(&e->id, head, __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, bytes, __ATOMIC_RELAXED);
	vq->used_idx++;
}

void sfs_virtq_notify(struct sfs_virtq *vq)
{
	uint64_t one = 1;

	if (vq->call_fd < 0)
		return;
	SFS_STAT_ADD(vq->calls, 1);
	/* Fails only where the counter is full: the guest has been told. */
	if (write(vq->call_fd, &one, sizeof(one)) < 0)
		return;
}

void sfs_virtq_publish(struct sfs_virtq *vq)
{
	uint16_t old = vq->used_published, now = vq->used_idx;
	bool wanted;

	if (old == now)
		return;
	__atomic_store_n(&vq->used->idx, now, __ATOMIC_RELEASE);
	vq->used_published = now;
	/* The store must be seen before the guest's wish is read, or both sides wait (virtio 1.2, 2.7.7.2). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (vq->event_idx)
		wanted = vring_need_event(load16(used_event(vq)), now, old);
	else
		wanted = !(load16(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	if (wanted)
		sfs_virtq_notify(vq);
}

bool sfs_virtq_arm(struct sfs_virtq *vq)
{
	if (vq->fault)
		return false;
	if (vq->event_idx)
		store16(avail_event(vq), vq->last_avail);
	else
		store16(&vq->used->flags, 0);
	/* Ask first, look after: the guest publishes first and looks at our wish after. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return sfs_virtq_pending(vq) != 0;
}

void sfs_virtq_remind(struct sfs_virtq *vq)
{
	uint16_t behind;

	if (!vq->event_idx || vq->fault || vq->reminded == vq->used_published)
		return;
	/* A driver that wants no interrupts leaves its index far behind. */
	behind = (uint16_t)(vq->used_published - load16(used_event(vq)));
	if (behind == 0 || behind > vq->size)
		return;
	vq->reminded = vq->used_published;
	sfs_virtq_notify(vq);
}

void sfs_virtq_disarm(struct sfs_virtq *vq)
{
	/* With EVENT_IDX the flag is ignored: an event index just passed gives one kick in 65,536 requests. */
	if (vq->event_idx)
		store16(avail_event(vq), (uint16_t)(vq->last_avail - 1));
	else
		store16(&vq->used->flags, VRING_USED_F_NO_NOTIFY);
}
