/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of node records that nobody needs goes back. A guest that looks up a million names and forgets them
 * leaves a table of free records; pages that hold no other ones are given to the kernel. A worker does that
 * each time the number of nodes that the guest knows has fallen to half.
 *
 * Nobody has to wait for it, so whatever is free can be found at any moment. Free records are in one of three places, each of them a stack
 * or a bit without a lock, and the worker moves them on, from one to the next:
 *
 *   the free stack    where they come when they are freed, and where they are had from first;
 *   bins              a stack for each chunk, filled by the worker alone: one record at a time;
 *   released chunks   known by a bit; whoever clears it owns the records: all zero, but for a generation that no id of the guest's can
 *                     have.
 *
 * What the worker has in hand meanwhile is one record, or the one chunk that it gives away. The table has a chunk more than the limit
 * says, so that the rest is enough. Who searches goes through the places in the same order.
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
 * Free records can be missed by a search that goes on meanwhile, for a moment: how many threads bring some back to the free stack (low
 * half), and how often anybody has put some where such a search may have been already (high half).
 */
static void hands_fill(struct sfs_session *se)
{
	atomic_fetch_add(&se->trim.hands, (1ull << 32) + 1);
}

static void hands_empty(struct sfs_session *se)
{
	atomic_fetch_sub(&se->trim.hands, 1);
}

/* The worker has put down what it had in hand. */
static void hands_moved(struct sfs_session *se)
{
	atomic_fetch_add(&se->trim.hands, 1ull << 32);
}

/* Whether nothing was missed since @before was read, but what the worker has in hand all the time. */
static bool hands_still(struct sfs_session *se, uint64_t before)
{
	return (uint32_t)before == 0 && atomic_load(&se->trim.hands) == before;
}

static uint32_t node_free_pop(struct sfs_session *se)
{
	return free_stack_pop(&se->node_free, se->nodes, sizeof(*se->nodes),
			      offsetof(struct sfs_node, hash_next));
}

/* --- bins and released chunks: a bit for each that has any --- */

static uint32_t bits_words(const struct sfs_session *se)
{
	return se->node_cap / CHUNK / 64 + 1;
}

static void bit_set(struct sfs_session *se, _Atomic uint64_t *bits, uint32_t chunk)
{
	if (!(atomic_fetch_or(&bits[chunk / 64], 1ull << chunk % 64) >> chunk % 64 & 1))
		atomic_fetch_add(&se->trim.chunks, 1);
}

/* False: somebody was faster. */
static bool bit_claim(struct sfs_session *se, _Atomic uint64_t *bits, uint32_t chunk)
{
	if (!(atomic_fetch_and(&bits[chunk / 64], ~(1ull << chunk % 64)) >> chunk % 64 & 1))
		return false;
	atomic_fetch_sub(&se->trim.chunks, 1);
	return true;
}

/* The first at @chunk or after it; NO_IDX: there is none. */
static uint32_t bit_next(const struct sfs_session *se, const _Atomic uint64_t *bits, uint32_t chunk)
{
	uint64_t mask = ~0ull << chunk % 64;

	for (uint32_t w = chunk / 64; w < bits_words(se); w++, mask = ~0ull) {
		uint64_t word = atomic_load(&bits[w]) & mask;

		if (word)
			return w * 64 + (uint32_t)__builtin_ctzll(word);
	}
	return NO_IDX;
}

/* --- giving away --- */

/* The worker alone puts into bins: whoever claims the bit afterwards has the record. */
static void bin_put(struct sfs_session *se, uint32_t idx)
{
	free_stack_push(&se->trim.bins[idx / CHUNK], idx, &se->nodes[idx].hash_next);
	bit_set(se, se->trim.binned, idx / CHUNK);
}

/* Others free more meanwhile: no end but that of the table would be one. */
static void fill_bins(struct sfs_session *se, uint32_t records)
{
	uint32_t idx;

	while (records-- && (idx = node_free_pop(se)) != NO_IDX)
		bin_put(se, idx);
	hands_moved(se);
}

/* The chunk is all ours. Its records lose their generations. */
static void release_chunk(struct sfs_session *se, uint32_t chunk, uint32_t gen)
{
	struct sfs_node *nodes = &se->nodes[(size_t)chunk * CHUNK];

	if (gen >= atomic_load(&se->trim.gen_base))
		atomic_store(&se->trim.gen_base, gen + 1);
	/* Where the kernel keeps the pages, the records must not keep their contents. */
	if (madvise(nodes, CHUNK * sizeof(*nodes), MADV_REMOVE) < 0)
		memset(nodes, 0, CHUNK * sizeof(*nodes));
	bit_set(se, se->trim.released, chunk);
}

static void empty_bin(struct sfs_session *se, uint32_t chunk)
{
	uint32_t first, count = 0, gen = 0;

	if (!bit_claim(se, se->trim.binned, chunk))
		return;
	first = free_stack_take(&se->trim.bins[chunk]);
	for (uint32_t at = first; at; at = se->nodes[at - 1].hash_next, count++)
		gen = SFS_MAX(gen, se->nodes[at - 1].gen);
	if (count == CHUNK)
		release_chunk(se, chunk, gen);
	for (uint32_t at = count == CHUNK ? 0 : first, next; at; at = next) {
		next = se->nodes[at - 1].hash_next;
		bin_put(se, at - 1);
	}
	hands_moved(se);
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
	uint32_t high = atomic_load(&se->node_high);

	sfs_nodes_sweep(se, high, high);
	fill_bins(se, se->node_cap);
	for (uint32_t c = 0; (c = bit_next(se, se->trim.binned, c)) != NO_IDX; c++)
		empty_bin(se, c);
	if (live_count(se) < PAGE_BUCKETS)
		release_buckets(se);
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

/* Two ways to take what a bit stands for: a record, the others go to the free stack. NO_IDX: it is empty. */
static uint32_t bin_take(struct sfs_session *se, uint32_t chunk)
{
	uint32_t first = free_stack_take(&se->trim.bins[chunk]);

	if (!first)
		return NO_IDX;
	for (uint32_t at = se->nodes[first - 1].hash_next, next; at; at = next) {
		next = se->nodes[at - 1].hash_next;
		free_stack_push(&se->node_free, at - 1, &se->nodes[at - 1].hash_next);
	}
	return first - 1;
}

static uint32_t released_take(struct sfs_session *se, uint32_t chunk)
{
	uint32_t gen = atomic_load(&se->trim.gen_base), idx = chunk * CHUNK;

	for (uint32_t i = 0; i < CHUNK; i++)
		__atomic_store_n(&se->nodes[idx + i].gen, gen, __ATOMIC_RELAXED);
	for (uint32_t i = 1; i < CHUNK; i++)
		free_stack_push(&se->node_free, idx + i, &se->nodes[idx + i].hash_next);
	return idx;
}

static uint32_t chunk_take(struct sfs_session *se, _Atomic uint64_t *bits,
			   uint32_t (*take)(struct sfs_session *se, uint32_t chunk))
{
	uint32_t chunk = 0, idx = NO_IDX;

	while (idx == NO_IDX && (chunk = bit_next(se, bits, chunk)) != NO_IDX) {
		hands_fill(se);
		if (bit_claim(se, bits, chunk))
			idx = take(se, chunk);
		hands_empty(se);
	}
	return idx;
}

static uint32_t chunks_search(struct sfs_session *se)
{
	uint32_t idx = chunk_take(se, se->trim.binned, bin_take);

	return idx == NO_IDX ? chunk_take(se, se->trim.released, released_take) : idx;
}

uint32_t sfs_node_unrelease(struct sfs_session *se)
{
	return atomic_load_explicit(&se->trim.chunks, memory_order_relaxed) ? chunks_search(se) : NO_IDX;
}

/*
 * A search that finds nothing, while nobody put anything where it had been, has seen all that was free when it began but for what the
 * worker has in hand. It waits for nobody but those who bring the rest of one chunk to the free stack.
 */
uint32_t sfs_node_search(struct sfs_session *se)
{
	uint64_t before;
	uint32_t idx;

	for (;;) {
		before = atomic_load(&se->trim.hands);
		idx = node_free_pop(se);
		if (idx == NO_IDX)
			idx = chunks_search(se);
		if (idx != NO_IDX || hands_still(se, before))
			return idx;
		sfs_pause();
	}
}

uint32_t sfs_nodes_cap(const struct sfs_session *se)
{
	bool trimmed = se->workers && se->limits.inodes >= HIGH_MIN;

	return se->limits.inodes + (trimmed ? CHUNK : 0);
}

int sfs_nodes_trim_create(struct sfs_session *se)
{
	size_t bits = bits_words(se) * sizeof(uint64_t);

	se->trim.map_bytes = 2 * bits + bits_words(se) * 64 * sizeof(*se->trim.bins);
	se->trim.map = sfs_table_map(se->trim.map_bytes);
	if (!se->trim.map)
		return -1;
	se->trim.released = se->trim.map;
	se->trim.binned = se->trim.released + bits_words(se);
	se->trim.bins = (void *)((char *)se->trim.map + 2 * bits);
	return 0;
}

void sfs_nodes_trim_destroy(struct sfs_session *se)
{
	if (se->trim.map)
		munmap(se->trim.map, se->trim.map_bytes);
}
