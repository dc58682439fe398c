/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory: our own reference-counted mapping of the regions that the VMM shared. A queue and each request
 * in flight hold a reference, so pages stay mapped until the last call that may touch them has ended.
 */
#ifndef SFS_MEM_H
#define SFS_MEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SFS_MEM_REGIONS_MAX 8

/** One region, as the VMM described it (vhost-user "memory region description"). */
struct sfs_mem_region {
	uint64_t guest_addr; /* guest physical */
	uint64_t user_addr;  /* the VMM's own address; ring addresses are given in these */
	uint64_t bytes;
	uint64_t mmap_offset; /* of the region's first byte in fd */
	char *host;           /* our address of the region's first byte; set by sfs_mem_create() */
};

struct sfs_mem {
	_Atomic uint32_t refs;
	_Atomic uint32_t
	    broken; /* the VMM shrank the file under us: zero pages took its place (SIGBUS handler) */
	unsigned region_count;
	struct sfs_mem_region regions[SFS_MEM_REGIONS_MAX];
	struct {
		void *addr;
		size_t bytes;
	} maps[SFS_MEM_REGIONS_MAX];
};

/**
 * Maps @count regions (host is ignored on entry) from @fds; the descriptors stay the caller's and may be closed at
 * once. Returns 0 and a table with one reference, or -errno: -EINVAL (count, zero size, wrap, overlap in guest
 * addresses), or what mmap gave. Control thread; may block. Source: vhost-user, VHOST_USER_SET_MEM_TABLE.
 */
int sfs_mem_create(const struct sfs_mem_region *regions, const int *fds, unsigned count,
		   struct sfs_mem **mem);

/** A table over memory that is already mapped (tests, loopback): regions[].host is given, nothing is unmapped. */
int sfs_mem_create_mapped(const struct sfs_mem_region *regions, unsigned count, struct sfs_mem **mem);

/** One more reference. Any thread that holds one. */
void sfs_mem_get(struct sfs_mem *mem);

/** Gives a reference back; the last one unmaps, which may take long for large guests: not on a reactor if it can be last. */
void sfs_mem_put(struct sfs_mem *mem);

/**
 * Our address of guest address @gpa, where [gpa, gpa + *bytes) begins in a region; *bytes is cut to what that region
 * holds from there. NULL: no such address or *bytes is 0. Any thread holding a reference.
 */
static inline void *sfs_mem_at(const struct sfs_mem *mem, uint64_t gpa, uint64_t *bytes)
{
	for (unsigned i = 0; i < mem->region_count; i++) {
		const struct sfs_mem_region *r = &mem->regions[i];
		uint64_t off = gpa - r->guest_addr;

		if (off < r->bytes) {
			if (*bytes > r->bytes - off)
				*bytes = r->bytes - off;
			return *bytes ? r->host + off : NULL;
		}
	}
	return NULL;
}

/** Our address of the VMM's address @uva if all @bytes lie in one region, else NULL. */
void *sfs_mem_at_user(const struct sfs_mem *mem, uint64_t uva, uint64_t bytes);

/**
 * Installs the process-wide SIGBUS handler: a fault inside a table's maps puts zero pages over that whole map and
 * sets broken; a fault elsewhere dies as before. Once, at start. 0 or -errno.
 */
int sfs_mem_sigbus_install(void);

/**
 * Covers [addr, addr + bytes) - another mapping of the same guest (rte_vhost's) - by the handler, until sfs_mem_sigbus_uncover()
 * or until @mem goes. 0 or -ENOSPC. Any thread that holds a reference.
 */
int sfs_mem_sigbus_cover(struct sfs_mem *mem, void *addr, size_t bytes);

/** Ends all that sfs_mem_sigbus_cover() began for @mem, before it is unmapped: the addresses may be anything then, while a queue
 * that hangs still holds @mem. The table's own maps stay covered. Any thread that holds a reference. */
void sfs_mem_sigbus_uncover(struct sfs_mem *mem);

/**
 * For a thread that is not ours and touches guest memory before any table covers it (rte_vhost's, while it handles a memory
 * table): from now on a fault of the calling thread that nothing covers gets zero pages, too, instead of ending the process.
 */
void sfs_mem_sigbus_cover_thread(void);

#endif
