/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directory entries: fixed-size records in the blocks of their directory, found by one hash table of the
 * whole filesystem.
 *
 * The number of an entry is that of its block times 16 plus its index in it. Block 0 is never used, so 0 is
 * no entry.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "mem.h"

#define ENTRY_DEPTH_MAX 4096 /* directories between the root and one that another directory is moved to */

_Static_assert(sizeof(struct mem_entry) == MEM_ENTRY_BYTES, "an entry has no padding");
_Static_assert(MEM_BLOCK_ENTRIES <= 16, "four bits of an entry's number");

static const uint64_t entry_prime = (1ull << 61) - 1;

int mem_entries_init(struct mem_fs *fs, uint32_t inode_count)
{
	uint64_t count = 1;

	mem_lock_init(&fs->tree);
	while (count < inode_count)
		count *= 2;
	fs->bucket_mask = count - 1;
	fs->buckets = mem_reserve(count * sizeof(*fs->buckets));
	if (!fs->buckets)
		return -ENOMEM;
	if (getrandom(&fs->hash_key, sizeof(fs->hash_key), 0) != sizeof(fs->hash_key))
		return -EIO;
	fs->hash_key = fs->hash_key % (entry_prime - 1) + 1;
	return 0;
}

void mem_entries_fini(struct mem_fs *fs)
{
	if (fs->buckets)
		munmap(fs->buckets, (fs->bucket_mask + 1) * sizeof(*fs->buckets));
	pthread_rwlock_destroy(&fs->tree);
}

/*
 * The name as a polynomial over a prime field, at a point that the guest does not know: two given names
 * collide for few points only, so nobody can prepare names that make one long chain.
 */
static uint32_t *entry_bucket(const struct mem_fs *fs, uint32_t dir, const char *name, uint32_t bytes)
{
	uint64_t h = dir;

	for (uint32_t i = 0; i < bytes; i += 7) {
		uint64_t word = 0;

		memcpy(&word, name + i, SFS_MIN(bytes - i, 7u));
		h = (uint64_t)(((unsigned __int128)h * fs->hash_key + word + 1) % entry_prime);
	}
	h = (uint64_t)((unsigned __int128)h * fs->hash_key % entry_prime);
	return &fs->buckets[h & fs->bucket_mask];
}

static struct mem_entry *entry_at(const struct mem_fs *fs, uint32_t number)
{
	return (struct mem_entry *)mem_block(fs, number / 16) + number % 16;
}

static uint32_t entry_number(const struct mem_fs *fs, const struct mem_entry *entry)
{
	uint64_t off = (uint64_t)((const char *)entry - fs->blocks);

	return (uint32_t)(off / MEM_BLOCK * 16 + off % MEM_BLOCK / MEM_ENTRY_BYTES);
}

struct mem_entry *mem_entry_find(const struct mem_fs *fs, const struct mem_inode *dir, const char *name,
				 uint32_t bytes)
{
	for (uint32_t n = *entry_bucket(fs, dir->ino, name, bytes); n; n = entry_at(fs, n)->next) {
		struct mem_entry *e = entry_at(fs, n);

		if (e->dir == dir->ino && e->name_bytes == bytes && memcmp(e->name, name, bytes) == 0)
			return e;
	}
	return NULL;
}

/*
 * The next entry at the end of @dir; NULL: no block left. Positions are not used twice as long as the
 * directory holds anything: a listing that goes on from an offset finds each name that stayed, once.
 */
static struct mem_entry *entry_append(struct mem_fs *fs, struct mem_inode *dir)
{
	uint64_t idx = dir->slots / MEM_BLOCK_ENTRIES;
	struct mem_entry *e;
	uint32_t block;
	bool fresh;

	if (idx >= MEM_BLOCKS_MAX)
		return NULL;
	block = mem_map_make(fs, &dir->data, idx, &fresh);
	if (!block)
		return NULL;
	if (fresh)
		memset(mem_block(fs, block), 0, MEM_BLOCK);
	e = (struct mem_entry *)mem_block(fs, block) + dir->slots % MEM_BLOCK_ENTRIES;
	e->slot = dir->slots++;
	return e;
}

int mem_entry_add(struct mem_fs *fs, struct mem_inode *dir, const char *name, uint32_t bytes,
		  const struct mem_inode *inode)
{
	uint32_t *bucket = entry_bucket(fs, dir->ino, name, bytes);
	struct mem_entry *e = entry_append(fs, dir);

	if (!e)
		return -ENOSPC;
	e->dir = dir->ino;
	e->ino = inode->ino;
	e->name_bytes = (uint8_t)bytes;
	memcpy(e->name, name, bytes);
	e->next = *bucket;
	*bucket = entry_number(fs, e);
	dir->entries++;
	return 0;
}

void mem_entry_del(struct mem_fs *fs, struct mem_inode *dir, struct mem_entry *entry)
{
	uint32_t number = entry_number(fs, entry);
	uint32_t *link = entry_bucket(fs, dir->ino, entry->name, entry->name_bytes);
	const struct mem_entry *first = entry_at(fs, number / 16 * 16);
	uint64_t idx = entry->slot / MEM_BLOCK_ENTRIES;

	while (*link != number)
		link = &entry_at(fs, *link)->next;
	*link = entry->next;
	entry->ino = 0;
	if (--dir->entries == 0)
		dir->slots = 0;
	for (unsigned i = 0; i < MEM_BLOCK_ENTRIES; i++) {
		if (first[i].ino)
			return;
	}
	mem_map_cut(fs, &dir->data, idx, idx + 1);
}

const struct mem_entry *mem_entry_next(const struct mem_fs *fs, const struct mem_inode *dir, uint64_t *slot)
{
	while (*slot < dir->slots) {
		uint64_t idx = mem_map_next(fs, &dir->data, *slot / MEM_BLOCK_ENTRIES, true);
		const struct mem_entry *first;

		if (idx == MEM_BLOCKS_MAX)
			break;
		first = mem_block(fs, mem_map_find(fs, &dir->data, idx));
		*slot = SFS_MAX(*slot, idx * MEM_BLOCK_ENTRIES);
		for (; *slot < (idx + 1) * MEM_BLOCK_ENTRIES; ++*slot) {
			if (first[*slot % MEM_BLOCK_ENTRIES].ino)
				return &first[*slot % MEM_BLOCK_ENTRIES];
		}
	}
	return NULL;
}

int mem_entry_below(const struct mem_fs *fs, const struct mem_inode *dir, const struct mem_inode *inode)
{
	for (unsigned depth = 0; depth < ENTRY_DEPTH_MAX; depth++) {
		if (dir == inode)
			return 1;
		if (dir->ino == MEM_ROOT_INO)
			return 0;
		dir = &fs->inodes[dir->parent];
	}
	return -ELOOP;
}
