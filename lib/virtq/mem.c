/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <linux/magic.h>

#include "sfs_base.h"
#include "sfs_mem.h"

/*
 * What the SIGBUS handler knows: address ranges of guest memory. Entries are claimed and cleared under the lock; the handler
 * only reads, in a thread that holds a reference to the table whose memory it touched.
 */
#define COVER_MAX 8192

struct cover {
	_Atomic(uintptr_t) addr;
	_Atomic(size_t) bytes;
	_Atomic(struct sfs_mem *) mem; /* NULL: free */
	bool other;                    /* not one of the table's own maps; under the lock */
};

static struct cover covers[COVER_MAX];
static atomic_uint cover_count; /* entries ever used: how far the handler has to look */
static pthread_mutex_t cover_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction old_action;
static _Thread_local volatile bool thread_covered;

/* Zero pages over the page at @at: of the common size, or of a huge page, of which a part cannot be replaced. */
static bool zero_page(uintptr_t at)
{
	static const size_t sizes[] = {4096, 64 << 10, 2 << 20, 1 << 30};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		if (mmap((void *)(at & ~(uintptr_t)(sizes[i] - 1)), sizes[i], PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED)
			return true;
	return false;
}

static void sigbus(int sig, siginfo_t *info, void *ctx)
{
	uintptr_t at = (uintptr_t)info->si_addr;
	unsigned n = atomic_load(&cover_count);

	for (unsigned i = 0; i < n; i++) {
		struct sfs_mem *mem = atomic_load(&covers[i].mem);
		uintptr_t addr = atomic_load(&covers[i].addr);
		size_t bytes = atomic_load(&covers[i].bytes);

		if (!mem || at - addr >= bytes)
			continue;
		if (mmap((void *)addr, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
			break;
		atomic_store(&mem->broken, 1);
		return;
	}
	if (thread_covered && zero_page(at))
		return;
	/* Not guest memory: die as if we were not here, at the same instruction. */
	sigaction(SIGBUS, &old_action, NULL);
}

int sfs_mem_sigbus_install(void)
{
	struct sigaction sa = {.sa_sigaction = sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigemptyset(&sa.sa_mask);
	return sigaction(SIGBUS, &sa, &old_action) < 0 ? -errno : 0;
}

static int cover(struct sfs_mem *mem, void *addr, size_t bytes, bool other)
{
	int rc = -ENOSPC;

	pthread_mutex_lock(&cover_lock);
	for (unsigned i = 0; i < COVER_MAX; i++) {
		if (atomic_load(&covers[i].mem))
			continue;
		atomic_store(&covers[i].addr, (uintptr_t)addr);
		atomic_store(&covers[i].bytes, bytes);
		covers[i].other = other;
		atomic_store(&covers[i].mem, mem);
		if (i >= atomic_load(&cover_count))
			atomic_store(&cover_count, i + 1);
		rc = 0;
		break;
	}
	pthread_mutex_unlock(&cover_lock);
	return rc;
}

int sfs_mem_sigbus_cover(struct sfs_mem *mem, void *addr, size_t bytes)
{
	return cover(mem, addr, bytes, true);
}

void sfs_mem_sigbus_cover_thread(void)
{
	thread_covered = true;
}

static void uncover(struct sfs_mem *mem, bool own)
{
	pthread_mutex_lock(&cover_lock);
	for (unsigned i = 0; i < atomic_load(&cover_count); i++)
		if (atomic_load(&covers[i].mem) == mem && (own || covers[i].other))
			atomic_store(&covers[i].mem, NULL);
	pthread_mutex_unlock(&cover_lock);
}

void sfs_mem_sigbus_uncover(struct sfs_mem *mem)
{
	uncover(mem, false);
}

static int regions_check(const struct sfs_mem_region *r, unsigned count)
{
	if (count == 0 || count > SFS_MEM_REGIONS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++) {
		if (r[i].bytes == 0 || r[i].guest_addr + r[i].bytes < r[i].guest_addr ||
		    r[i].user_addr + r[i].bytes < r[i].user_addr ||
		    r[i].mmap_offset + r[i].bytes < r[i].bytes)
			return -EINVAL;
		for (unsigned j = 0; j < i; j++)
			if (r[i].guest_addr < r[j].guest_addr + r[j].bytes &&
			    r[j].guest_addr < r[i].guest_addr + r[i].bytes)
				return -EINVAL;
	}
	return 0;
}

static struct sfs_mem *mem_new(const struct sfs_mem_region *regions, unsigned count)
{
	struct sfs_mem *mem = calloc(1, sizeof(*mem));

	if (!mem)
		return NULL;
	atomic_store(&mem->refs, 1);
	mem->region_count = count;
	memcpy(mem->regions, regions, count * sizeof(*regions));
	return mem;
}

/* How much to map of a file, and later to unmap: munmap() takes only whole pages, which may be huge ones. */
static size_t map_bytes(int fd, size_t bytes)
{
	struct statfs st;

	if (fstatfs(fd, &st) == 0 && st.f_type == HUGETLBFS_MAGIC)
		return SFS_ALIGN_UP(bytes, (size_t)st.f_bsize);
	return bytes;
}

int sfs_mem_create(const struct sfs_mem_region *regions, const int *fds, unsigned count, struct sfs_mem **out)
{
	struct sfs_mem *mem;
	int rc = regions_check(regions, count);

	if (rc)
		return rc;
	mem = mem_new(regions, count);
	if (!mem)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		struct sfs_mem_region *r = &mem->regions[i];
		/* From offset 0, since an offset need not be a multiple of the file's page size (hugepages). */
		size_t bytes = map_bytes(fds[i], r->mmap_offset + r->bytes);
		char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fds[i], 0);

		if (p == MAP_FAILED) {
			rc = -errno;
			sfs_mem_put(mem);
			return rc;
		}
		madvise(p, bytes, MADV_DONTDUMP);
		mem->maps[i].addr = p;
		mem->maps[i].bytes = bytes;
		r->host = p + r->mmap_offset;
		rc = cover(mem, p, bytes, false);
		if (rc) {
			sfs_mem_put(mem);
			return rc;
		}
	}
	*out = mem;
	return 0;
}

int sfs_mem_create_mapped(const struct sfs_mem_region *regions, unsigned count, struct sfs_mem **out)
{
	int rc = regions_check(regions, count);

	if (rc)
		return rc;
	*out = mem_new(regions, count);
	return *out ? 0 : -ENOMEM;
}

void sfs_mem_get(struct sfs_mem *mem)
{
	atomic_fetch_add_explicit(&mem->refs, 1, memory_order_relaxed);
}

void sfs_mem_put(struct sfs_mem *mem)
{
	if (atomic_fetch_sub_explicit(&mem->refs, 1, memory_order_acq_rel) != 1)
		return;
	uncover(mem, true);
	for (unsigned i = 0; i < mem->region_count; i++)
		if (mem->maps[i].addr)
			munmap(mem->maps[i].addr, mem->maps[i].bytes);
	free(mem);
}

void *sfs_mem_at_user(const struct sfs_mem *mem, uint64_t uva, uint64_t bytes)
{
	for (unsigned i = 0; i < mem->region_count; i++) {
		const struct sfs_mem_region *r = &mem->regions[i];
		uint64_t off = uva - r->user_addr;

		if (off < r->bytes && bytes <= r->bytes - off)
			return r->host + off;
	}
	return NULL;
}
