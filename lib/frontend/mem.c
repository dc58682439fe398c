/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory: memfd files, mapped, and handed out from front to back. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sfs_base.h"
#include "sfs_frontend.h"

#define FM_PAGE      4096ull
#define FM_HUGE_PAGE (2ull << 20)

static int fm_map_region(struct sfs_fe_region *r, bool hugepages)
{
	r->fd = memfd_create("guest", MFD_CLOEXEC | (hugepages ? MFD_HUGETLB : 0));
	if (r->fd < 0)
		return -errno;
	if (ftruncate(r->fd, (off_t)(r->mmap_offset + r->bytes)) < 0)
		return -errno;
	void *hva = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, (off_t)r->mmap_offset);
	if (hva == MAP_FAILED)
		return -errno;
	r->hva = hva;
	return 0;
}

int sfs_fe_mem_init(struct sfs_fe_mem *mem, const struct sfs_fe_mem_opts *opts)
{
	uint64_t page = opts->hugepages ? FM_HUGE_PAGE : FM_PAGE;
	unsigned count = opts->region_count ? opts->region_count : 1;
	uint64_t gpa = opts->gpa_base;

	memset(mem, 0, sizeof(*mem));
	if (count > SFS_FE_REGIONS_MAX || !opts->region_bytes)
		return -EINVAL;
	if (opts->gpa_base % FM_PAGE || opts->gpa_gap % FM_PAGE || opts->mmap_offset % page)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++) {
		struct sfs_fe_region *r = &mem->region[i];

		r->gpa = gpa;
		r->bytes = SFS_ALIGN_UP(opts->region_bytes, page);
		r->mmap_offset = opts->mmap_offset;
		mem->region_count++;
		int rc = fm_map_region(r, opts->hugepages);
		if (rc < 0) {
			sfs_fe_mem_fini(mem);
			return rc;
		}
		gpa += r->bytes + opts->gpa_gap;
	}
	return 0;
}

void sfs_fe_mem_fini(struct sfs_fe_mem *mem)
{
	for (unsigned i = 0; i < mem->region_count; i++) {
		struct sfs_fe_region *r = &mem->region[i];

		if (r->hva)
			munmap(r->hva, r->bytes);
		if (r->fd >= 0)
			close(r->fd);
	}
	memset(mem, 0, sizeof(*mem));
}

void *sfs_fe_mem_alloc(struct sfs_fe_mem *mem, uint64_t bytes, uint64_t align)
{
	unsigned i = mem->alloc_region;
	uint64_t offset = SFS_ALIGN_UP(mem->alloc_offset, align);

	for (; i < mem->region_count; i++, offset = 0) {
		if (offset <= mem->region[i].bytes && bytes <= mem->region[i].bytes - offset) {
			mem->alloc_region = i;
			mem->alloc_offset = offset + bytes;
			return mem->region[i].hva + offset;
		}
	}
	return NULL;
}

uint64_t sfs_fe_mem_gpa(const struct sfs_fe_mem *mem, const void *hva)
{
	uintptr_t at = (uintptr_t)hva;

	for (unsigned i = 0; i < mem->region_count; i++) {
		const struct sfs_fe_region *r = &mem->region[i];

		if (at - (uintptr_t)r->hva < r->bytes)
			return r->gpa + (at - (uintptr_t)r->hva);
	}
	return UINT64_MAX;
}

void *sfs_fe_mem_hva(const struct sfs_fe_mem *mem, uint64_t gpa, uint64_t bytes)
{
	for (unsigned i = 0; i < mem->region_count; i++) {
		const struct sfs_fe_region *r = &mem->region[i];

		if (gpa - r->gpa < r->bytes && bytes <= r->bytes - (gpa - r->gpa))
			return r->hva + (gpa - r->gpa);
	}
	return NULL;
}
