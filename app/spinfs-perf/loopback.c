/* SPDX-License-Identifier: BSD-3-Clause */
/* A device in a thread of our own that answers every request at once: what remains is the cost of the load
 * itself. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "perf.h"

#define LB_RING_MAX 32768

struct lb_queue {
	const struct sfs_fe_ring *ring;
	const struct sfs_fe_mem *mem;
	uint16_t avail_idx, used_idx;
};

struct perf_loopback {
	pthread_t thread;
	_Atomic bool stop;
	unsigned queue_count;
	struct lb_queue queues[];
};

/* What the requests of the preparation need to hear. */
static void lb_fill_out(const struct fuse_in_header *in, const uint8_t *args, void *out_args)
{
	struct fuse_entry_out *entry = out_args;

	switch (in->opcode) {
	case FUSE_INIT:
		*(struct fuse_init_out *)out_args = (struct fuse_init_out){.major = FUSE_KERNEL_VERSION,
									   .minor = FUSE_KERNEL_MINOR_VERSION,
									   .max_write = 1u << 20,
									   .max_pages = 256};
		break;
	case FUSE_LOOKUP:
	case FUSE_CREATE:
	case FUSE_MKDIR:
		entry->nodeid = 2;
		entry->attr.size = INT64_MAX;
		break;
	case FUSE_WRITE:
		((struct fuse_write_out *)out_args)->size =
		    ((const struct fuse_write_in *)(const void *)args)->size;
		break;
	default:
		break;
	}
}

static bool lb_has_fixed_out(uint32_t opcode)
{
	return opcode != FUSE_READ && opcode != FUSE_READDIRPLUS;
}

static uint32_t lb_answer(const struct sfs_fe_mem *mem, const struct vring_desc *desc, unsigned count)
{
	const struct fuse_in_header *in = sfs_fe_mem_hva(mem, desc[0].addr, sizeof(*in));
	const uint8_t *args = count > 1 ? sfs_fe_mem_hva(mem, desc[1].addr, 1) : NULL;
	struct fuse_out_header *out;
	unsigned i = 0;

	while (i < count && !(desc[i].flags & VRING_DESC_F_WRITE))
		i++;
	if (i == count)
		return 0;
	out = sfs_fe_mem_hva(mem, desc[i].addr, sizeof(*out));
	out->len = sizeof(*out);
	out->error = 0;
	out->unique = in->unique;
	if (in->opcode == FUSE_READ && args) {
		out->len += ((const struct fuse_read_in *)(const void *)args)->size;
	} else if (lb_has_fixed_out(in->opcode) && i + 1 < count) {
		lb_fill_out(in, args, sfs_fe_mem_hva(mem, desc[i + 1].addr, desc[i + 1].len));
		out->len += desc[i + 1].len;
	}
	return out->len;
}

static bool lb_turn(struct lb_queue *q, struct vring_desc *copy)
{
	const struct sfs_fe_ring *ring = q->ring;
	const struct sfs_fe_mem *mem = q->mem;
	uint16_t avail_idx = __atomic_load_n(&ring->avail->idx, __ATOMIC_ACQUIRE);

	if (avail_idx == q->avail_idx)
		return false;
	for (; q->avail_idx != avail_idx; q->avail_idx++) {
		uint16_t head = ring->avail->ring[q->avail_idx & (ring->size - 1)];
		const struct vring_desc *desc = &ring->desc[head];
		unsigned count = 0;
		uint32_t bytes;

		if (desc->flags & VRING_DESC_F_INDIRECT) {
			bytes = lb_answer(mem, sfs_fe_mem_hva(mem, desc->addr, desc->len),
					  desc->len / (unsigned)sizeof(*desc));
		} else {
			for (copy[count++] = *desc; desc->flags & VRING_DESC_F_NEXT; copy[count++] = *desc)
				desc = &ring->desc[desc->next];
			bytes = lb_answer(mem, copy, count);
		}
		ring->used->ring[q->used_idx++ & (ring->size - 1)] =
		    (struct vring_used_elem){.id = head, .len = bytes};
	}
	__atomic_store_n(&ring->used->idx, q->used_idx, __ATOMIC_RELEASE);
	return true;
}

static void *lb_body(void *arg)
{
	struct perf_loopback *lb = arg;
	struct vring_desc *copy = calloc(LB_RING_MAX, sizeof(*copy));

	while (copy && !atomic_load_explicit(&lb->stop, memory_order_relaxed)) {
		bool any = false;

		for (unsigned i = 0; i < lb->queue_count; i++)
			any |= lb_turn(&lb->queues[i], copy);
		if (!any)
			sfs_pause();
	}
	free(copy);
	return NULL;
}

static void lb_adopt(struct perf_loopback *lb, const struct sfs_fg *g)
{
	for (unsigned i = 0; i < g->queue_count; i++) {
		struct lb_queue *q = &lb->queues[lb->queue_count++];

		q->ring = &g->queue[i].ring;
		q->mem = &g->mem;
		/* The device polls: it never wants a kick. */
		q->ring->used->flags = VRING_USED_F_NO_NOTIFY;
		*sfs_fe_ring_avail_event(q->ring) = UINT16_MAX;
	}
}

int perf_loopback_start(struct perf_run *run, struct perf_loopback **lb)
{
	unsigned count = 0;
	pthread_attr_t attr;
	cpu_set_t set;

	for (unsigned i = 0; i < run->guest_count; i++)
		count += run->guests[i].fg.queue_count;
	struct perf_loopback *l = calloc(1, sizeof(*l) + count * sizeof(l->queues[0]));
	if (!l)
		return -ENOMEM;
	for (unsigned i = 0; i < run->guest_count; i++)
		lb_adopt(l, &run->guests[i].fg);
	pthread_attr_init(&attr);
	if (perf_cpu_set(run->opts.daemon_cpus, run->opts.daemon_cpu_count, &set) == 0)
		pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	int rc = -pthread_create(&l->thread, &attr, lb_body, l);
	pthread_attr_destroy(&attr);
	if (rc < 0) {
		free(l);
		return rc;
	}
	*lb = l;
	return 0;
}

void perf_loopback_stop(struct perf_loopback *lb)
{
	atomic_store(&lb->stop, true);
	pthread_join(lb->thread, NULL);
	free(lb);
}

int perf_loopback_cpu_ns(struct perf_loopback *lb, uint64_t *ns)
{
	struct timespec ts;
	clockid_t clock;

	if (pthread_getcpuclockid(lb->thread, &clock) || clock_gettime(clock, &ts) < 0)
		return -ESRCH;
	*ns = (uint64_t)ts.tv_sec * SFS_NS_PER_S + (uint64_t)ts.tv_nsec;
	return 0;
}
