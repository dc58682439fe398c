/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest's memory, queues and slots, and how it is attached to a daemon. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sfs_base.h"
#include "sfs_fe_guest.h"

#define FG_RING_SIZE   128
#define FG_DATA_BYTES  (1u << 20)
#define FG_GPA_BASE    0x100000
#define FG_TIMEOUT     10000
#define FG_HIPRIO_DATA 4096
#define FG_FIXED_SEGS  4 /* header, arguments, reply's header, its fixed part */

/* Places inside a slot's control block. Its size is an odd number of cache lines, so that slots spread over
 * the sets. */
#define FG_AT_ARGS 64

#define FG_AT_OUT      (FG_AT_ARGS + SFS_FG_ARGS_INLINE)
#define FG_AT_OUT_ARGS (FG_AT_OUT + 64)
#define FG_CTL_BYTES   (FG_AT_OUT_ARGS + SFS_FG_OUT_MAX + 64)

static uint32_t fg_data_bytes(const struct sfs_fg *g, unsigned idx)
{
	return idx == SFS_FG_HIPRIO ? FG_HIPRIO_DATA : g->opts.data_bytes;
}

/* An odd number of pages from slot to slot, lest they all compete for the same few entries of a TLB. */
static uint64_t fg_data_stride(uint32_t data_bytes)
{
	return SFS_ALIGN_UP(data_bytes, 2 * SFS_FG_PAGE) + SFS_FG_PAGE;
}

static unsigned fg_seg_max(const struct sfs_fg *g, unsigned idx)
{
	uint32_t bytes = fg_data_bytes(g, idx);

	return FG_FIXED_SEGS +
	       2 * (g->opts.seg_bytes ? (bytes + g->opts.seg_bytes - 1) / g->opts.seg_bytes : 1);
}

static uint64_t fg_bytes_needed(const struct sfs_fg *g)
{
	uint64_t sum = 1u << 20;

	for (unsigned i = 0; i < g->queue_count; i++) {
		uint64_t slot = FG_CTL_BYTES + SFS_FG_ARGS_MAX + fg_data_stride(fg_data_bytes(g, i));
		uint64_t entry = (2 + fg_seg_max(g, i)) * sizeof(struct vring_desc);

		sum += g->opts.depth * slot + g->opts.ring_size * entry + 4 * SFS_FG_PAGE;
	}
	return sum;
}

static int fg_place_slot(struct sfs_fg *g, struct sfs_fg_req *req, uint8_t *ctl, uint32_t data_bytes)
{
	uint64_t gpa = sfs_fe_mem_gpa(&g->mem, ctl);

	req->in = (struct fuse_in_header *)(void *)ctl;
	req->args = ctl + FG_AT_ARGS;
	req->out = (struct fuse_out_header *)(void *)(ctl + FG_AT_OUT);
	req->out_args = ctl + FG_AT_OUT_ARGS;
	req->in_gpa = gpa;
	req->args_gpa = gpa + FG_AT_ARGS;
	req->out_gpa = gpa + FG_AT_OUT;
	req->out_args_gpa = gpa + FG_AT_OUT_ARGS;
	req->args_long = sfs_fe_mem_alloc(&g->mem, SFS_FG_ARGS_MAX, SFS_CACHE_LINE);
	req->data = sfs_fe_mem_alloc(&g->mem, fg_data_stride(data_bytes), SFS_FG_PAGE);
	if (!req->args_long || !req->data)
		return -ENOMEM;
	req->args_long_gpa = sfs_fe_mem_gpa(&g->mem, req->args_long);
	req->data_gpa = sfs_fe_mem_gpa(&g->mem, req->data);
	return 0;
}

static void fg_free_slots(struct sfs_fg_queue *q)
{
	q->free = NULL;
	q->done_head = NULL;
	q->done_tail = &q->done_head;
	for (unsigned i = q->depth; i-- > 0;) {
		q->reqs[i].next = q->free;
		q->free = &q->reqs[i];
	}
}

static int fg_begin_queue(struct sfs_fg *g, unsigned idx)
{
	struct sfs_fg_queue *q = &g->queue[idx];
	struct sfs_fe_ring_opts ro = {
	    .size = g->opts.ring_size,
	    .event_idx = !(g->opts.features_refused & SFS_FE_F_EVENT_IDX),
	    .interrupts = g->opts.interrupts,
	};

	q->guest = g;
	q->idx = idx;
	q->depth = g->opts.depth;
	q->next_unique = ((uint64_t)idx << 48) + 2;
	q->seg_max = fg_seg_max(g, idx);
	if (!(g->opts.features_refused & SFS_FE_F_INDIRECT_DESC))
		ro.indirect_max = q->seg_max;
	int rc = sfs_fe_ring_init(&q->ring, &g->mem, &ro);
	if (rc < 0)
		return rc;
	q->segs = calloc(q->seg_max, sizeof(*q->segs));
	q->reqs = calloc(q->depth, sizeof(*q->reqs));
	uint8_t *ctl = sfs_fe_mem_alloc(&g->mem, (uint64_t)q->depth * FG_CTL_BYTES, SFS_CACHE_LINE);
	if (!q->segs || !q->reqs || !ctl)
		return -ENOMEM;
	for (unsigned i = 0; i < q->depth; i++) {
		q->reqs[i].queue = q;
		rc = fg_place_slot(g, &q->reqs[i], ctl + (size_t)i * FG_CTL_BYTES, fg_data_bytes(g, idx));
		if (rc < 0)
			return rc;
	}
	fg_free_slots(q);
	return 0;
}

int sfs_fg_begin(struct sfs_fg *g, const struct sfs_fg_opts *opts)
{
	memset(g, 0, sizeof(*g));
	g->fe.fd = -1;
	g->opts = *opts;
	g->opts.request_queues = opts->request_queues ? opts->request_queues : 1;
	g->opts.ring_size = opts->ring_size ? opts->ring_size : FG_RING_SIZE;
	g->opts.depth = opts->depth ? opts->depth : g->opts.ring_size;
	g->opts.data_bytes = opts->data_bytes ? opts->data_bytes : FG_DATA_BYTES;
	g->opts.mem.gpa_base = opts->mem.gpa_base ? opts->mem.gpa_base : FG_GPA_BASE;
	g->queue_count = 1 + g->opts.request_queues;
	g->timeout_ms = FG_TIMEOUT;
	g->pid = (uint32_t)getpid();
	if (!g->opts.mem.region_bytes)
		g->opts.mem.region_bytes = fg_bytes_needed(g);
	int rc = sfs_fe_mem_init(&g->mem, &g->opts.mem);
	if (rc < 0)
		return rc;
	g->queue = calloc(g->queue_count, sizeof(*g->queue));
	if (!g->queue)
		rc = -ENOMEM;
	for (unsigned i = 0; g->queue && i < g->queue_count; i++)
		g->queue[i].ring.kick_fd = g->queue[i].ring.call_fd = -1;
	for (unsigned i = 0; rc == 0 && i < g->queue_count; i++)
		rc = fg_begin_queue(g, i);
	if (rc < 0) {
		sfs_fg_end(g);
		return rc;
	}
	g->sync_queue = &g->queue[1];
	return 0;
}

void sfs_fg_end(struct sfs_fg *g)
{
	sfs_fe_close(&g->fe);
	for (unsigned i = 0; g->queue && i < g->queue_count; i++) {
		sfs_fe_ring_fini(&g->queue[i].ring);
		free(g->queue[i].segs);
		free(g->queue[i].reqs);
	}
	free(g->queue);
	g->queue = NULL;
	sfs_fe_mem_fini(&g->mem);
}

static int fg_negotiate(struct sfs_fg *g)
{
	uint64_t known =
	    SFS_FE_F_VERSION_1 | SFS_FE_F_PROTOCOL_FEATURES | SFS_FE_F_INDIRECT_DESC | SFS_FE_F_EVENT_IDX;
	uint64_t offered = 0;
	int rc = sfs_fe_set_owner(&g->fe);

	if (rc == 0)
		rc = sfs_fe_get_features(&g->fe, &offered);
	if (rc < 0)
		return rc;
	g->features = offered & known & ~g->opts.features_refused;
	g->protocol_features = 0;
	if (!(g->features & SFS_FE_F_VERSION_1))
		return -ENOTSUP;
	if (g->features & SFS_FE_F_PROTOCOL_FEATURES) {
		rc = sfs_fe_get_protocol_features(&g->fe, &offered);
		if (rc < 0)
			return rc;
		g->protocol_features = offered & (SFS_FE_P_MQ | SFS_FE_P_REPLY_ACK | SFS_FE_P_CONFIG) &
				       ~g->opts.protocol_refused;
		rc = sfs_fe_set_protocol_features(&g->fe, g->protocol_features);
	}
	g->daemon_queues = g->queue_count;
	if (rc == 0 && (g->protocol_features & SFS_FE_P_MQ))
		rc = sfs_fe_get_queue_num(&g->fe, &g->daemon_queues);
	if (rc == 0 && g->daemon_queues < g->queue_count)
		rc = -ERANGE;
	return rc == 0 ? sfs_fe_set_features(&g->fe, g->features) : rc;
}

static int fg_attach(struct sfs_fg *g)
{
	bool enable;
	int rc = fg_negotiate(g);

	if (rc == 0)
		rc = sfs_fe_set_mem_table(&g->fe, &g->mem);
	enable = g->features & SFS_FE_F_PROTOCOL_FEATURES;
	for (unsigned i = 0; rc == 0 && i < g->queue_count; i++) {
		struct sfs_fe_ring *ring = &g->queue[i].ring;

		ring->event_idx = g->features & SFS_FE_F_EVENT_IDX;
		ring->indirect_on = ring->indirect_max && (g->features & SFS_FE_F_INDIRECT_DESC);
		sfs_fe_ring_reset(ring, 0);
		fg_free_slots(&g->queue[i]);
		rc = sfs_fe_ring_attach(ring, &g->fe, i, false);
	}
	for (unsigned i = 0; rc == 0 && enable && i < g->queue_count; i++)
		rc = sfs_fe_set_vring_enable(&g->fe, i, true);
	if (rc < 0)
		sfs_fe_close(&g->fe);
	return rc;
}

int sfs_fg_attach(struct sfs_fg *g, const char *path, unsigned wait_ms)
{
	int rc = sfs_fe_connect(&g->fe, path, wait_ms);

	return rc < 0 ? rc : fg_attach(g);
}

int sfs_fg_attach_fd(struct sfs_fg *g, int fd)
{
	sfs_fe_adopt(&g->fe, fd);
	return fg_attach(g);
}

int sfs_fg_stop(struct sfs_fg *g)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < g->queue_count; i++) {
		if (g->features & SFS_FE_F_PROTOCOL_FEATURES)
			rc = sfs_fe_set_vring_enable(&g->fe, i, false);
	}
	for (unsigned i = 0; rc == 0 && i < g->queue_count; i++) {
		uint32_t base;

		rc = sfs_fe_get_vring_base(&g->fe, i, &base);
		g->queue[i].ring.base_idx = (uint16_t)base;
	}
	return rc;
}

int sfs_fg_restart(struct sfs_fg *g)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < g->queue_count; i++)
		rc = sfs_fe_ring_attach(&g->queue[i].ring, &g->fe, i,
					g->features & SFS_FE_F_PROTOCOL_FEATURES);
	return rc;
}

void sfs_fg_detach(struct sfs_fg *g)
{
	sfs_fe_close(&g->fe);
	for (unsigned i = 0; i < g->queue_count; i++)
		fg_free_slots(&g->queue[i]);
}
