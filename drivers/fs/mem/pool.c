/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks, and the maps that name them.
 *
 * Giving a tree back is one push on a list, however large it is: deleting a file of many gigabytes must not
 * hold up a reactor. The trees on the lists are taken apart when blocks are needed, one index block at a
 * time.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "mem.h"

void *mem_reserve(uint64_t bytes)
{
	void *addr =
	    mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return addr == MAP_FAILED ? NULL : addr;
}

int mem_pool_init(struct mem_fs *fs, uint64_t bytes)
{
	pthread_mutex_init(&fs->pool, NULL);
	fs->block_max = (uint32_t)(bytes / MEM_BLOCK);
	fs->block_top = 1;
	fs->block_free = fs->block_max - 1;
	fs->blocks = mem_reserve(bytes);
	fs->info = mem_reserve(fs->block_max * sizeof(*fs->info));
	if (!fs->blocks || !fs->info)
		return -ENOMEM;
	return 0;
}

void mem_pool_fini(struct mem_fs *fs)
{
	pthread_mutex_destroy(&fs->pool);
	if (fs->blocks)
		munmap(fs->blocks, (uint64_t)fs->block_max * MEM_BLOCK);
	if (fs->info)
		munmap(fs->info, fs->block_max * sizeof(*fs->info));
}

uint32_t mem_pool_free(struct mem_fs *fs)
{
	pthread_mutex_lock(&fs->pool);
	uint32_t n = fs->block_free;
	pthread_mutex_unlock(&fs->pool);
	return n;
}

static void pool_push(struct mem_fs *fs, uint32_t root, uint32_t depth)
{
	fs->info[root].next = fs->free_list[depth];
	fs->free_list[depth] = root;
}

static uint32_t pool_pop(struct mem_fs *fs, uint32_t depth)
{
	uint32_t block = fs->free_list[depth];

	if (block)
		fs->free_list[depth] = fs->info[block].next;
	return block;
}

/* Pops a tree's index block after putting what it names on the list below. */
static uint32_t pool_take_apart(struct mem_fs *fs)
{
	for (uint32_t depth = 1; depth <= MEM_DEPTH_MAX; depth++) {
		uint32_t block = pool_pop(fs, depth);
		const uint32_t *slot;

		if (!block)
			continue;
		slot = mem_block(fs, block);
		for (unsigned i = 0; i < MEM_FAN; i++) {
			if (slot[i])
				pool_push(fs, slot[i], depth - 1);
		}
		return block;
	}
	return 0;
}

uint32_t mem_block_get(struct mem_fs *fs)
{
	uint32_t block;

	pthread_mutex_lock(&fs->pool);
	block = pool_pop(fs, 0);
	if (!block)
		block = pool_take_apart(fs);
	if (!block && fs->block_top < fs->block_max)
		block = fs->block_top++;
	if (block) {
		fs->block_free--;
		fs->info[block].used = 1;
	}
	pthread_mutex_unlock(&fs->pool);
	return block;
}

void mem_tree_put(struct mem_fs *fs, uint32_t root, uint32_t depth)
{
	if (!root)
		return;
	pthread_mutex_lock(&fs->pool);
	fs->block_free += fs->info[root].used;
	pool_push(fs, root, depth);
	pthread_mutex_unlock(&fs->pool);
}

/* --- maps --- */

static uint64_t map_span(uint32_t depth)
{
	return 1ull << (MEM_FAN_BITS * depth);
}

/* Blocks of a tree of @depth without a hole. */
static uint64_t map_full(uint32_t depth)
{
	uint64_t n = 0;

	for (uint32_t d = 0; d <= depth; d++)
		n += map_span(d);
	return n;
}

static unsigned map_slot(uint64_t idx, uint32_t depth)
{
	return (unsigned)(idx >> (MEM_FAN_BITS * (depth - 1))) & (MEM_FAN - 1);
}

uint32_t mem_map_find(const struct mem_fs *fs, const struct mem_map *map, uint64_t idx)
{
	uint32_t block = map->root;

	if (idx >= map_span(map->depth))
		return 0;
	for (uint32_t depth = map->depth; depth > 0 && block; depth--)
		block = ((const uint32_t *)mem_block(fs, block))[map_slot(idx, depth)];
	return block;
}

static uint32_t map_index_new(struct mem_fs *fs)
{
	uint32_t block = mem_block_get(fs);

	if (block)
		memset(mem_block(fs, block), 0, MEM_BLOCK);
	return block;
}

/* Puts index blocks on top until position @idx is in reach. */
static bool map_grow(struct mem_fs *fs, struct mem_map *map, uint64_t idx)
{
	while (idx >= map_span(map->depth)) {
		if (map->root) {
			uint32_t top = map_index_new(fs);

			if (!top)
				return false;
			*(uint32_t *)mem_block(fs, top) = map->root;
			fs->info[top].used += fs->info[map->root].used;
			map->root = top;
		}
		map->depth++;
	}
	return true;
}

uint32_t mem_map_make(struct mem_fs *fs, struct mem_map *map, uint64_t idx, bool *fresh)
{
	uint32_t path[MEM_DEPTH_MAX + 1], n = 0;
	uint32_t *slot = &map->root;

	*fresh = false;
	if (!map_grow(fs, map, idx))
		return 0;
	for (uint32_t depth = map->depth;; depth--) {
		if (!*slot) {
			uint32_t block = depth ? map_index_new(fs) : mem_block_get(fs);

			if (!block)
				return 0;
			for (uint32_t i = 0; i < n; i++)
				fs->info[path[i]].used++;
			*slot = block;
			*fresh = depth == 0;
		}
		if (depth == 0)
			return *slot;
		path[n++] = *slot;
		slot = (uint32_t *)mem_block(fs, *slot) + map_slot(idx, depth);
	}
}

/* Cuts [first, last) out of the tree at *@slot, which begins at position @base and reaches into it. Returns
 * the blocks freed. */
static uint32_t map_cut(struct mem_fs *fs, uint32_t *slot, uint32_t depth, uint64_t base, uint64_t first,
			uint64_t last)
{
	uint32_t root = *slot, freed = 0;

	if (!root)
		return 0;
	if (first <= base && base + map_span(depth) <= last) {
		freed = fs->info[root].used;
		mem_tree_put(fs, root, depth);
		*slot = 0;
		return freed;
	}

	uint64_t step = map_span(depth - 1);
	uint64_t i = first > base ? (first - base) / step : 0;

	for (; i < MEM_FAN && base + i * step < last; i++)
		freed +=
		    map_cut(fs, (uint32_t *)mem_block(fs, root) + i, depth - 1, base + i * step, first, last);
	fs->info[root].used -= freed;
	if (fs->info[root].used == 1) { /* an index of nothing */
		mem_tree_put(fs, root, 0);
		*slot = 0;
		freed++;
	}
	return freed;
}

void mem_map_cut(struct mem_fs *fs, struct mem_map *map, uint64_t first, uint64_t last)
{
	if (first < last && first < map_span(map->depth))
		map_cut(fs, &map->root, map->depth, 0, first, last);
	if (!map->root)
		map->depth = 0;
}

/* As mem_map_next() in one tree; skips what is empty, or full, as a whole. */
static uint64_t map_next(const struct mem_fs *fs, uint32_t root, uint32_t depth, uint64_t base, uint64_t idx,
			 bool data)
{
	if (data ? !root : root && fs->info[root].used == map_full(depth))
		return MEM_BLOCKS_MAX;
	if (!root || depth == 0)
		return SFS_MAX(base, idx);

	uint64_t step = map_span(depth - 1);

	for (uint64_t i = idx > base ? (idx - base) / step : 0; i < MEM_FAN; i++) {
		uint32_t child = ((const uint32_t *)mem_block(fs, root))[i];
		uint64_t found = map_next(fs, child, depth - 1, base + i * step, idx, data);

		if (found < MEM_BLOCKS_MAX)
			return found;
	}
	return MEM_BLOCKS_MAX;
}

uint64_t mem_map_next(const struct mem_fs *fs, const struct mem_map *map, uint64_t idx, bool data)
{
	uint64_t found = MEM_BLOCKS_MAX, end = map_span(map->depth);

	if (idx < end)
		found = map_next(fs, map->root, map->depth, 0, idx, data);
	if (found == MEM_BLOCKS_MAX && !data)
		found = SFS_MAX(idx, end);
	return found;
}

int mem_map_fill(struct mem_fs *fs, struct mem_map *map, const char *buf, uint32_t bytes)
{
	for (uint32_t done = 0; done < bytes; done += MEM_BLOCK) {
		bool fresh;
		uint32_t block = mem_map_make(fs, map, done / MEM_BLOCK, &fresh);

		if (!block) {
			mem_map_cut(fs, map, 0, MEM_BLOCKS_MAX);
			return -ENOSPC;
		}
		memcpy(mem_block(fs, block), buf + done, SFS_MIN(bytes - done, MEM_BLOCK));
	}
	return 0;
}

void mem_map_copy(const struct mem_fs *fs, const struct mem_map *map, char *buf, uint32_t bytes)
{
	for (uint32_t done = 0; done < bytes; done += MEM_BLOCK)
		memcpy(buf + done, mem_block(fs, mem_map_find(fs, map, done / MEM_BLOCK)),
		       SFS_MIN(bytes - done, MEM_BLOCK));
}
