/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of node records that nobody needs goes back. A guest that looks up a million names and forgets them
 * leaves a table of free records; pages that hold no other ones are given to the kernel. A worker does that
 * each time the number of nodes that the guest knows has fallen to half.
 *
 * Records are handed out and taken back through a stack without a lock. Its whole content is taken at once,
 * so that these records are nobody else's; what fills no chunk is pushed back. A chunk that was released is
 * known by a bit, and whoever clears that bit owns its records: all zero, but for a generation that no id of
 * the guest's can have.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "session_priv.h"

#define CHUNK        SFS_NODE_CHUNK
#define HIGH_MIN     8192u /* a smaller table is not worth it */
#define PAGE         4096u
#define PAGE_BUCKETS (PAGE / sizeof(uint32_t))

_Static_assert(CHUNK * sizeof(struct sfs_node) % PAGE == 0, "a chunk is whole pages");
_Static_assert(CHUNK <= UINT8_MAX, "counted in bytes");

static uint32_t live_count(struct sfs_session *se)
{
	uint64_t all = atomic_load_explicit(&se->inode_count, memory_order_relaxed);
	uint32_t zero = atomic_load_explicit(&se->node_zero, memory_order_relaxed);

	return all > zero ? (uint32_t)(all - zero) : 0;
}

bool sfs_node_released(const struct sfs_session *se, uint32_t idx)
{
	uint32_t chunk = idx / CHUNK;

	return atomic_load_explicit(&se->trim.released[chunk / 64], memory_order_acquire) >> chunk % 64 & 1;
}

/*
 * Free records that are on no stack and of no released chunk are in somebody's hands for a moment: how many have some (low half), and
 * how often anybody took some (high half).
 */
static void hands_fill(struct sfs_session *se)
{
	atomic_fetch_add(&se->trim.hands, (1ull << 32) + 1);
}

static void hands_empty(struct sfs_session *se)
{
	atomic_fetch_sub(&se->trim.hands, 1);
}

/* Whether nobody had any since @before was read, so that none to be seen is none at all. */
static bool hands_empty_since(struct sfs_session *se, uint64_t before)
{
	return (uint32_t)before == 0 && atomic_load(&se->trim.hands) == before;
}

/* --- giving away --- */

/* How many free records each chunk has; the records are ours. */
static void count_chunks(const struct sfs_session *se, uint32_t first, uint8_t *counts)
{
	for (uint32_t at = first; at; at = se->nodes[at - 1].hash_next)
		counts[(at - 1) / CHUNK]++;
}

/* The highest generation of the records that will lose it. The others are anybody's again. */
static uint32_t keep_rest(struct sfs_session *se, uint32_t first, const uint8_t *counts)
{
	uint32_t gen = 0;

	for (uint32_t at = first, next; at; at = next) {
		struct sfs_node *node = &se->nodes[at - 1];

		next = node->hash_next;
		if (counts[(at - 1) / CHUNK] == CHUNK)
			gen = SFS_MAX(gen, node->gen);
		else
			free_stack_push(&se->node_free, at - 1, &node->hash_next);
	}
	return gen;
}

static void release_chunks(struct sfs_session *se, const uint8_t *counts, uint32_t chunks)
{
	for (uint32_t i = 0; i < chunks; i++) {
		struct sfs_node *nodes = &se->nodes[(size_t)i * CHUNK];

		if (counts[i] != CHUNK)
			continue;
		/* Where the kernel keeps the pages, the records must not keep their contents. */
		if (madvise(nodes, CHUNK * sizeof(*nodes), MADV_REMOVE) < 0)
			memset(nodes, 0, CHUNK * sizeof(*nodes));
		atomic_fetch_or_explicit(&se->trim.released[i / 64], 1ull << i % 64, memory_order_release);
		atomic_fetch_add(&se->trim.released_count, 1);
	}
}

/* Buckets that are all empty, a page at a time. Locks are fewer than buckets: those of one page are all
 * different. */
static void release_buckets(struct sfs_session *se)
{
	_Static_assert(BUCKET_LOCKS % PAGE_BUCKETS == 0, "a page's locks");

	for (uint32_t b = 0; b <= se->bucket_mask; b += PAGE_BUCKETS) {
		bool empty = true;

		for (uint32_t i = 0; i < PAGE_BUCKETS; i++)
			sfs_bucket_lock(se, b + i);
		for (uint32_t i = 0; i < PAGE_BUCKETS && empty; i++)
			empty = !atomic_load_explicit(&se->buckets[b + i], memory_order_relaxed);
		if (empty)
			madvise((void *)(uintptr_t)&se->buckets[b], PAGE, MADV_REMOVE);
		for (uint32_t i = 0; i < PAGE_BUCKETS; i++)
			sfs_bucket_unlock(se, b + i);
	}
}

static void trim(struct sfs_session *se)
{
	/* Of the whole table: by the time that the free records are taken more of it may have been used. */
	uint32_t high = atomic_load(&se->node_high), chunks = se->limits.inodes / CHUNK + 1, first;
	uint8_t *counts = calloc(chunks, 1);
	uint32_t gen;

	if (!counts)
		return;
	sfs_nodes_sweep(se, high, high);
	hands_fill(se);
	first = free_stack_take(&se->node_free);
	count_chunks(se, first, counts);
	gen = keep_rest(se, first, counts);
	if (gen >= atomic_load(&se->trim.gen_base))
		atomic_store(&se->trim.gen_base, gen + 1);
	release_chunks(se, counts, chunks);
	hands_empty(se);
	if (live_count(se) < PAGE_BUCKETS)
		release_buckets(se);
	free(counts);
}

static bool trim_due(struct sfs_session *se)
{
	return live_count(se) < (atomic_load_explicit(&se->trim.live, memory_order_relaxed) + 1) / 2;
}

static void trim_call(struct sfs_call *call)
{
	struct sfs_session *se = SFS_CONTAINER_OF(call, struct sfs_session, trim.call);

	do {
		while (trim_due(se)) {
			atomic_store(&se->trim.live, live_count(se));
			trim(se);
		}
		atomic_store(&se->trim.busy, false);
		/* It may have become due again before the flag fell. */
	} while (trim_due(se) && !atomic_exchange(&se->trim.busy, true));
	/* The session may be freed now. */
	atomic_fetch_sub(&se->close_calls, 1);
}

void sfs_nodes_trim(struct sfs_session *se)
{
	if (atomic_load_explicit(&se->node_high, memory_order_relaxed) < HIGH_MIN || !se->workers ||
	    !trim_due(se))
		return;
	if (atomic_exchange(&se->trim.busy, true))
		return;
	atomic_fetch_add(&se->close_calls, 1);
	se->trim.call.fn = trim_call;
	se->trim.call.port = NULL;
	sfs_call_submit(se->workers, &se->trim.call);
}

/* --- taking again --- */

void sfs_nodes_grew(struct sfs_session *se)
{
	uint32_t live = live_count(se);

	if (live > atomic_load_explicit(&se->trim.live, memory_order_relaxed))
		atomic_store_explicit(&se->trim.live, live, memory_order_relaxed);
}

static uint32_t chunk_take(struct sfs_session *se, uint32_t chunk)
{
	uint32_t gen = atomic_load(&se->trim.gen_base), idx = chunk * CHUNK;

	for (uint32_t i = 0; i < CHUNK; i++)
		se->nodes[idx + i].gen = gen;
	for (uint32_t i = 1; i < CHUNK; i++)
		free_stack_push(&se->node_free, idx + i, &se->nodes[idx + i].hash_next);
	return idx;
}

static uint32_t released_take(struct sfs_session *se)
{
	uint32_t words = se->limits.inodes / CHUNK / 64 + 1, idx = NO_IDX;

	if (!atomic_load_explicit(&se->trim.released_count, memory_order_relaxed))
		return NO_IDX;
	hands_fill(se);
	for (uint32_t w = 0; w < words && idx == NO_IDX; w++) {
		uint64_t bits = atomic_load_explicit(&se->trim.released[w], memory_order_relaxed);

		for (; bits && idx == NO_IDX; bits &= bits - 1) {
			uint32_t bit = (uint32_t)__builtin_ctzll(bits);

			if (!(atomic_fetch_and(&se->trim.released[w], ~(1ull << bit)) >> bit & 1))
				continue;
			atomic_fetch_sub(&se->trim.released_count, 1);
			idx = chunk_take(se, w * 64 + bit);
		}
	}
	hands_empty(se);
	return idx;
}

/*
 * Where each record of the table was used once and others hold what is free, there is nothing to be had, but not because the table is
 * full: what they do not give away or use themselves comes back in a moment.
 */
uint32_t sfs_node_unrelease(struct sfs_session *se)
{
	uint32_t idx = released_take(se);
	uint64_t before;

	while (idx == NO_IDX &&
	       atomic_load_explicit(&se->node_high, memory_order_relaxed) >= se->limits.inodes) {
		before = atomic_load(&se->trim.hands);
		idx = free_stack_pop(&se->node_free, se->nodes, sizeof(*se->nodes),
				     offsetof(struct sfs_node, hash_next));
		if (idx == NO_IDX && !atomic_load(&se->trim.released_count) && hands_empty_since(se, before))
			break;
		if (idx == NO_IDX)
			idx = released_take(se);
		sfs_pause();
	}
	return idx;
}

int sfs_nodes_trim_create(struct sfs_session *se)
{
	se->trim.released_bytes = (se->limits.inodes / CHUNK / 64 + 1) * sizeof(uint64_t);
	se->trim.released = sfs_table_map(se->trim.released_bytes);
	return se->trim.released ? 0 : -1;
}

void sfs_nodes_trim_destroy(struct sfs_session *se)
{
	if (se->trim.released)
		munmap((void *)(uintptr_t)se->trim.released, se->trim.released_bytes);
}
