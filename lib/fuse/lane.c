/* SPDX-License-Identifier: BSD-3-Clause */
/* A lane's memory: the slots of its requests, and what some of them need besides. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "session_priv.h"

/* Buffers and long segment arrays of a lane: more requests that need them at once wait in the ring. */
#define LANE_POOL_MAX 64

#define LANE_BUF_BYTES SFS_ALIGN_UP((size_t)SFS_BUF_BYTES + SFS_REQ_TAIL_BYTES, (size_t)4096)

static void *mem_alloc(size_t bytes)
{
	void *p =
	    mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A pool is a stack of pointers into one mapping; memory comes with first use. */
static int pool_init(struct sfs_pool *pool, unsigned count, size_t item_bytes)
{
	pool->mem_bytes = count * item_bytes;
	pool->mem = mem_alloc(pool->mem_bytes);
	pool->items = calloc(count, sizeof(void *));
	if (!pool->mem || !pool->items)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++)
		pool->items[count - 1 - i] = (char *)pool->mem + i * item_bytes;
	pool->free_count = count;
	return 0;
}

static void pool_fini(struct sfs_pool *pool)
{
	if (pool->mem)
		munmap(pool->mem, pool->mem_bytes);
	free(pool->items);
}

static inline void *pool_peek(const struct sfs_pool *pool)
{
	return pool->free_count ? pool->items[pool->free_count - 1] : NULL;
}

bool sfs_lane_has_slot(const struct sfs_lane *lane)
{
	return lane->free_slots && lane->bigs.free_count && lane->bufs.free_count &&
	       !(lane->bytes_in_flight_max && lane->bytes_in_flight >= lane->bytes_in_flight_max);
}

struct sfs_req *sfs_lane_slot_get(struct sfs_lane *lane, struct iovec **big)
{
	struct sfs_req *req = lane->free_slots;

	*big = pool_peek(&lane->bigs);
	if (!sfs_lane_has_slot(lane))
		return NULL;
	lane->free_slots = req->next;
	SFS_STAT_ADD(lane->in_flight, 1);
	/* Whether it is needed is known after the parse; until then others may get slots, too. */
	req->buf = lane->bufs.items[--lane->bufs.free_count];
	req->buf_taken = req->big_taken = false;
	return req;
}

void sfs_lane_big_take(struct sfs_lane *lane, struct sfs_req *req)
{
	assert(req->chain.iov == pool_peek(&lane->bigs));
	lane->bigs.free_count--;
	req->big_taken = true;
}

void sfs_lane_slot_put(struct sfs_lane *lane, struct sfs_req *req)
{
	lane_buf_put(req);
	if (req->big_taken)
		lane->bigs.items[lane->bigs.free_count++] = req->chain.iov;
	req->state = SFS_REQ_FREE;
	req->next = lane->free_slots;
	lane->free_slots = req;
	SFS_STAT_ADD(lane->in_flight, -1u);
}

int sfs_lane_init(struct sfs_lane *lane, const struct sfs_lane_opts *o)
{
	struct sfs_aio_opts aio = o->aio;
	unsigned pool = SFS_MIN(o->slot_count, LANE_POOL_MAX);
	int rc;

	memset(lane, 0, sizeof(*lane));
	lane->idx = o->idx;
	lane->session = o->session;
	lane->reactor = o->reactor;
	lane->group = o->group;
	lane->workers = o->workers;
	lane->port.reactor = o->reactor;
	lane->bytes_in_flight_max = o->bytes_in_flight_max;
	lane->slot_count = o->slot_count;
	lane->lock_timer = -1;
	sfs_req_list_init(&lane->ended);
	sfs_req_list_init(&lane->io_wait);
	sfs_req_list_init(&lane->waiters);
	sfs_req_list_init(&lane->barriers);
	sfs_req_list_init(&lane->yielded);
	lane->share_ns = lane->turn_share_ns = o->share_ns ? o->share_ns : SFS_LANE_SHARE_NS;
	lane->slots = mem_alloc(o->slot_count * sizeof(struct sfs_req));
	lane->stats = calloc(SFS_OP_COUNT, sizeof(*lane->stats));
	if (!lane->slots || !lane->stats || pool_init(&lane->bufs, pool, LANE_BUF_BYTES) ||
	    pool_init(&lane->bigs, pool, SFS_CHAIN_SEGS_MAX * sizeof(struct iovec))) {
		sfs_lane_fini(lane);
		return -ENOMEM;
	}
	for (unsigned i = o->slot_count; i-- > 0;) {
		struct sfs_req *req = &lane->slots[i];

		req->lane = lane;
		req->session = o->session;
		req->next = lane->free_slots;
		lane->free_slots = req;
	}
	aio.workers = o->workers;
	aio.reactor = o->reactor;
	rc = sfs_aio_open(&lane->aio, o->engine, &aio);
	if (rc) {
		lane->aio.ops = NULL;
		sfs_lane_fini(lane);
	}
	return rc;
}

void sfs_lane_fini(struct sfs_lane *lane)
{
	assert(lane->in_flight == 0);
	if (lane->aio.ops)
		sfs_aio_close(&lane->aio);
	if (lane->lock_timer >= 0)
		close(lane->lock_timer);
	pool_fini(&lane->bufs);
	pool_fini(&lane->bigs);
	if (lane->slots)
		munmap(lane->slots, lane->slot_count * sizeof(struct sfs_req));
	free(lane->stats);
	memset(lane, 0, sizeof(*lane));
}
