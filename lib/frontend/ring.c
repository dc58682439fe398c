/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver's side of a split virtqueue. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sfs_base.h"
#include "sfs_fe_ring.h"

#define FR_SIZE_MAX 32768
#define FR_EVENT_EVERY                                                                                       \
	0x4000 /* a polling driver moves used_event on this often, so that it is never crossed */

static uint16_t fr_load(const uint16_t *at)
{
	return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

static void fr_store(uint16_t *at, uint16_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
}

static int fr_lay_out(struct sfs_fe_ring *ring, struct sfs_fe_mem *mem)
{
	unsigned n = ring->size;
	uint64_t tables = (uint64_t)n * ring->indirect_max * sizeof(struct vring_desc);

	ring->desc = sfs_fe_mem_alloc(mem, n * sizeof(struct vring_desc), SFS_CACHE_LINE);
	ring->avail =
	    sfs_fe_mem_alloc(mem, sizeof(struct vring_avail) + (n + 1) * sizeof(uint16_t), SFS_CACHE_LINE);
	ring->used = sfs_fe_mem_alloc(mem, sizeof(struct vring_used) + n * sizeof(struct vring_used_elem) + 2,
				      SFS_CACHE_LINE);
	if (!ring->desc || !ring->avail || !ring->used)
		return -ENOMEM;
	if (!tables)
		return 0;
	ring->indirect = sfs_fe_mem_alloc(mem, tables, SFS_CACHE_LINE);
	if (!ring->indirect)
		return -ENOMEM;
	ring->indirect_gpa = sfs_fe_mem_gpa(mem, ring->indirect);
	return 0;
}

int sfs_fe_ring_init(struct sfs_fe_ring *ring, struct sfs_fe_mem *mem, const struct sfs_fe_ring_opts *opts)
{
	int rc;

	memset(ring, 0, sizeof(*ring));
	ring->kick_fd = ring->call_fd = -1;
	if (opts->size < 2 || opts->size > FR_SIZE_MAX || (opts->size & (opts->size - 1)))
		return -EINVAL;
	ring->size = opts->size;
	ring->event_idx = opts->event_idx;
	ring->interrupts = opts->interrupts;
	ring->indirect_max = opts->indirect_max;
	ring->indirect_on = opts->indirect_max > 0;
	rc = fr_lay_out(ring, mem);
	if (rc < 0)
		return rc;
	ring->next = calloc(ring->size, sizeof(*ring->next));
	ring->chain_len = calloc(ring->size, sizeof(*ring->chain_len));
	ring->token = calloc(ring->size, sizeof(*ring->token));
	if (!ring->next || !ring->chain_len || !ring->token) {
		sfs_fe_ring_fini(ring);
		return -ENOMEM;
	}
	ring->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ring->call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ring->kick_fd < 0 || ring->call_fd < 0) {
		rc = -errno;
		sfs_fe_ring_fini(ring);
		return rc;
	}
	sfs_fe_ring_reset(ring, opts->start_idx);
	return 0;
}

void sfs_fe_ring_fini(struct sfs_fe_ring *ring)
{
	if (ring->kick_fd >= 0)
		close(ring->kick_fd);
	if (ring->call_fd >= 0)
		close(ring->call_fd);
	free(ring->next);
	free(ring->chain_len);
	free(ring->token);
	memset(ring, 0, sizeof(*ring));
	ring->kick_fd = ring->call_fd = -1;
}

void sfs_fe_ring_reset(struct sfs_fe_ring *ring, uint16_t start_idx)
{
	unsigned n = ring->size;

	memset(ring->desc, 0, n * sizeof(*ring->desc));
	memset(ring->avail, 0, sizeof(*ring->avail) + (n + 1) * sizeof(uint16_t));
	memset(ring->used, 0, sizeof(*ring->used) + n * sizeof(struct vring_used_elem) + 2);
	for (unsigned i = 0; i < n; i++)
		ring->next[i] = (uint16_t)(i + 1);
	memset(ring->token, 0, n * sizeof(*ring->token));
	ring->free_head = 0;
	ring->free_count = n;
	ring->avail_idx = ring->kicked_idx = start_idx;
	ring->used_idx = ring->used_seen = ring->base_idx = start_idx;
	ring->avail->idx = ring->used->idx = start_idx;
	ring->avail->flags = ring->interrupts ? 0 : VRING_AVAIL_F_NO_INTERRUPT;
	*sfs_fe_ring_used_event(ring) = (uint16_t)(ring->interrupts ? start_idx : start_idx - 1);
	*sfs_fe_ring_avail_event(ring) = start_idx;
}

int sfs_fe_ring_attach(struct sfs_fe_ring *ring, struct sfs_fe *fe, unsigned idx, bool enable)
{
	int rc = sfs_fe_set_vring_num(fe, idx, ring->size);

	if (rc == 0)
		rc = sfs_fe_set_vring_base(fe, idx, ring->base_idx);
	if (rc == 0)
		rc = sfs_fe_set_vring_addr(fe, idx, ring->desc, ring->avail, ring->used);
	if (rc == 0)
		rc = sfs_fe_set_vring_call(fe, idx, ring->call_fd);
	if (rc == 0)
		rc = sfs_fe_set_vring_kick(fe, idx, ring->kick_fd);
	if (rc == 0 && enable)
		rc = sfs_fe_set_vring_enable(fe, idx, true);
	return rc;
}

void sfs_fe_ring_set_desc(struct sfs_fe_ring *ring, unsigned i, uint64_t gpa, uint32_t bytes, uint16_t flags,
			  uint16_t next)
{
	ring->desc[i] = (struct vring_desc){.addr = gpa, .len = bytes, .flags = flags, .next = next};
}

void sfs_fe_ring_put_head(struct sfs_fe_ring *ring, uint16_t head)
{
	ring->avail->ring[ring->avail_idx & (ring->size - 1)] = head;
	ring->avail_idx++;
}

/* What stays as it is is not written: the device's core keeps its copy of the cache line. */
static void fr_put_desc(struct vring_desc *at, uint64_t gpa, uint32_t bytes, uint16_t flags, uint16_t next)
{
	struct vring_desc desc = {.addr = gpa, .len = bytes, .flags = flags, .next = next};

	if (memcmp(at, &desc, sizeof(desc)) != 0)
		*at = desc;
}

static void fr_fill_indirect(struct sfs_fe_ring *ring, unsigned head, const struct sfs_fe_seg *segs,
			     unsigned readable, unsigned total)
{
	struct vring_desc *table = ring->indirect + (size_t)head * ring->indirect_max;
	uint64_t gpa = ring->indirect_gpa + (uint64_t)head * ring->indirect_max * sizeof(*table);

	for (unsigned i = 0; i < total; i++) {
		uint16_t flags = (uint16_t)((i < readable ? 0 : VRING_DESC_F_WRITE) |
					    (i + 1 < total ? VRING_DESC_F_NEXT : 0));

		fr_put_desc(&table[i], segs[i].gpa, segs[i].bytes, flags, (uint16_t)(i + 1));
	}
	fr_put_desc(&ring->desc[head], gpa, (uint32_t)(total * sizeof(*table)), VRING_DESC_F_INDIRECT, 0);
}

int sfs_fe_ring_add(struct sfs_fe_ring *ring, const struct sfs_fe_seg *segs, unsigned readable,
		    unsigned writable, void *token)
{
	unsigned total = readable + writable;
	bool indirect = ring->indirect_on && total > 1 && total <= ring->indirect_max;
	unsigned need = indirect ? 1 : total;
	unsigned head = ring->free_head;

	if (!total || !token || need > ring->size)
		return -EINVAL;
	if (need > ring->free_count)
		return -ENOSPC;
	if (indirect) {
		fr_fill_indirect(ring, head, segs, readable, total);
		ring->free_head = ring->next[head];
	} else {
		unsigned at = head;

		for (unsigned i = 0; i < total; i++) {
			uint16_t flags = i < readable ? 0 : VRING_DESC_F_WRITE;

			if (i + 1 < total)
				flags |= VRING_DESC_F_NEXT;
			fr_put_desc(&ring->desc[at], segs[i].gpa, segs[i].bytes, flags, ring->next[at]);
			at = ring->next[at];
		}
		ring->free_head = at;
	}
	ring->free_count -= need;
	ring->chain_len[head] = (uint16_t)need;
	ring->token[head] = token;
	sfs_fe_ring_put_head(ring, (uint16_t)head);
	return 0;
}

int sfs_fe_ring_kick(struct sfs_fe_ring *ring)
{
	uint64_t one = 1;

	if (write(ring->kick_fd, &one, sizeof(one)) < 0)
		return -errno;
	ring->kicks++;
	return 0;
}

int sfs_fe_ring_publish(struct sfs_fe_ring *ring)
{
	uint16_t from = ring->kicked_idx;
	bool wanted;

	if (ring->avail->idx !=
	    ring->avail_idx) /* else shown before, and perhaps seen: the line stays there */
		sfs_fe_ring_show(ring);
	if (from == ring->avail_idx)
		return 0;
	/* The index must be seen before the device's wish is read: it does the same the other way round. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (ring->event_idx)
		wanted = sfs_fe_ring_crossed(fr_load(sfs_fe_ring_avail_event(ring)), ring->avail_idx, from);
	else
		wanted = !(fr_load(&ring->used->flags) & VRING_USED_F_NO_NOTIFY);
	ring->kicked_idx = ring->avail_idx;
	if (!wanted)
		return 0;
	int rc = sfs_fe_ring_kick(ring);
	return rc < 0 ? rc : 1;
}

int sfs_fe_ring_poll_raw(struct sfs_fe_ring *ring, uint32_t *id, uint32_t *bytes)
{
	if (ring->used_idx == ring->used_seen) {
		ring->used_seen = fr_load(&ring->used->idx);
		if (ring->used_idx == ring->used_seen)
			return 0;
	}
	const struct vring_used_elem *elem = &ring->used->ring[ring->used_idx & (ring->size - 1)];

	*id = elem->id;
	*bytes = elem->len;
	ring->used_idx++;
	if (!ring->interrupts && ring->event_idx && ring->used_idx % FR_EVENT_EVERY == 0)
		fr_store(sfs_fe_ring_used_event(ring), (uint16_t)(ring->used_idx - 1));
	return 1;
}

int sfs_fe_ring_poll(struct sfs_fe_ring *ring, void **token, uint32_t *bytes)
{
	uint32_t id;

	if (!sfs_fe_ring_poll_raw(ring, &id, bytes))
		return 0;
	if (id >= ring->size || !ring->token[id])
		return -EPROTO;
	*token = ring->token[id];
	ring->token[id] = NULL;
	unsigned tail = id;
	for (unsigned i = 1; i < ring->chain_len[id]; i++)
		tail = ring->next[tail];
	ring->next[tail] = (uint16_t)ring->free_head;
	ring->free_head = id;
	ring->free_count += ring->chain_len[id];
	return 1;
}

bool sfs_fe_ring_arm(struct sfs_fe_ring *ring)
{
	if (ring->event_idx)
		fr_store(sfs_fe_ring_used_event(ring), ring->used_idx);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return fr_load(&ring->used->idx) != ring->used_idx;
}

uint64_t sfs_fe_ring_interrupts(struct sfs_fe_ring *ring)
{
	uint64_t count;

	if (read(ring->call_fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
		ring->interrupt_count += count;
	return ring->interrupt_count;
}

int sfs_fe_ring_wait(struct sfs_fe_ring *ring, unsigned timeout_ms)
{
	struct pollfd pfd = {.fd = ring->call_fd, .events = POLLIN};

	if (sfs_fe_ring_arm(ring))
		return 0;
	int rc = poll(&pfd, 1, (int)timeout_ms);
	if (rc < 0 && errno != EINTR)
		return -errno;
	sfs_fe_ring_interrupts(ring);
	return rc == 0 ? -ETIMEDOUT : 0;
}
