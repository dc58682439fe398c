/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring whose memory is the input: descriptors, indirect tables, avail ring. Whatever stands there, each segment of a chain
 * lies inside of guest memory, counts are bounded, and the walk ends.
 *
 * Input: ring size's logarithm, features, how often to change memory, then memory from the ring on.
 */
#include <errno.h>
#include <sys/mman.h>

#include "fuzz.h"
#include "sfs_base.h"
#include "sfs_virtq.h"

#define REGIONS 3
#define BYTES   0x4000u

static struct sfs_mem_region regions[REGIONS] = {
    {.guest_addr = 0x1000, .bytes = BYTES},  /* the ring */
    {.guest_addr = 0x5000, .bytes = BYTES},  /* next to it for the guest */
    {.guest_addr = 0x10000, .bytes = BYTES}, /* behind a hole */
};
static struct sfs_mem *mem;
static struct iovec big[SFS_CHAIN_SEGS_MAX];

static void memory_make(void)
{
	for (unsigned i = 0; i < REGIONS; i++) {
		char *p = mmap(NULL, BYTES + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		MUST(p != MAP_FAILED && mprotect(p + 4096, BYTES, PROT_READ | PROT_WRITE) == 0);
		regions[i].host = p + 4096;
	}
	MUST(sfs_mem_create_mapped(regions, REGIONS, &mem) == 0);
}

static void check_segment(const struct iovec *v)
{
	for (unsigned i = 0; i < REGIONS; i++) {
		size_t off = (size_t)((char *)v->iov_base - regions[i].host);

		if (off < BYTES) {
			MUST(v->iov_len > 0 && v->iov_len <= BYTES - off);
			return;
		}
	}
	MUST(!"inside of guest memory");
}

static void check_chain(const struct sfs_chain *c)
{
	uint64_t readable = 0, writable = 0;
	unsigned n = (unsigned)c->readable_count + c->writable_count;

	MUST(n <= SFS_CHAIN_SEGS_MAX);
	MUST(c->iov == c->inline_segs ? n <= SFS_CHAIN_INLINE_SEGS : c->iov == big);
	for (unsigned i = 0; i < n; i++) {
		check_segment(&c->iov[i]);
		*(i < c->readable_count ? &readable : &writable) += c->iov[i].iov_len;
	}
	MUST(readable == c->readable_bytes && writable == c->writable_bytes);
}

static void chains_take(struct sfs_virtq *vq, struct fuzz_in *in, unsigned change)
{
	struct sfs_chain chain;
	unsigned taken = 0;

	for (unsigned turn = 0; turn < 64; turn++) {
		bool with_big = !(change & 1) || turn % 2;
		int rc;

		sfs_virtq_prefetch(vq, 16);
		rc = sfs_virtq_pop(vq, &chain, with_big ? big : NULL);

		MUST(rc == 1 || rc == 0 || rc == -EAGAIN || rc == -EBADMSG || rc == -EPROTO);
		MUST(rc != -EAGAIN || !with_big);
		MUST((rc == -EPROTO) == (vq->fault != NULL));
		if (rc == 0 || rc == -EPROTO)
			break;
		if (rc == -EAGAIN)
			continue;
		MUST(chain.head < vq->size);
		if (rc == 1)
			check_chain(&chain);
		taken++;
		MUST(taken <= vq->size || (change & 2));
		if (change & 2)
			sfs_virtq_push(vq, chain.head, 0);
		if (change & 4) /* the guest writes while we walk */
			fuzz_take(in, regions[0].host + fuzz_byte(in) * 16, 16);
	}
	sfs_virtq_publish(vq);
	sfs_virtq_arm(vq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, data + size};
	unsigned shift = fuzz_byte(&in) % 9, change = fuzz_byte(&in);
	struct sfs_virtq_setup s = {.size = (uint16_t)(1u << shift), .call_fd = -1};
	struct sfs_virtq vq;

	if (!mem)
		memory_make();
	s.event_idx = change & 8;
	s.indirect = !(change & 16);
	for (unsigned i = 0; i < REGIONS; i++)
		memset(regions[i].host, 0, BYTES);
	fuzz_take(&in, regions[0].host, SFS_MIN(fuzz_left(&in) / 4 * 3, (size_t)BYTES));
	s.mem = mem;
	s.avail = regions[0].host;
	s.desc = regions[0].host + 0x400;
	s.used = regions[1].host + 0x2000;
	MUST(sfs_virtq_init(&vq, &s) == 0);
	chains_take(&vq, &in, change);
	sfs_virtq_fini(&vq);
	return 0;
}
