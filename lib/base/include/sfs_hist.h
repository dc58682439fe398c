/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A histogram of durations from 1 ns to 2^40 ns, with the same number of buckets to each power of two. One
 * writer; any thread may read a value that is a moment old.
 *
 * Two sizes of the same thing: struct sfs_hist has eight buckets to a power of two (a quantile is at most 12.5 % too large)
 * in 2.4 KiB, since a daemon keeps one for each operation of each queue; struct sfs_hist_fine has 64 (1.6 %) in 18 KiB, for
 * measurements.
 */
#ifndef SFS_HIST_H
#define SFS_HIST_H

#include <stdint.h>

#include "sfs_base.h"

#define SFS_HIST_BITS      3
#define SFS_HIST_FINE_BITS 6

/* Buckets of a histogram with 2^bits of them to a power of two. */
#define SFS_HIST_BUCKETS(bits) (((40 - (bits)) + 1) << (bits))

struct sfs_hist {
	uint64_t count;
	uint64_t max_ns;
	uint64_t bucket[SFS_HIST_BUCKETS(SFS_HIST_BITS)];
};

struct sfs_hist_fine {
	uint64_t count;
	uint64_t max_ns;
	uint64_t bucket[SFS_HIST_BUCKETS(SFS_HIST_FINE_BITS)];
};

/** The bucket that @ns counts into. Inlined with constant @bits. */
static inline unsigned sfs_hist_idx(unsigned bits, uint64_t ns)
{
	if (ns < (1u << bits))
		return (unsigned)ns;
	unsigned msb = 63 - (unsigned)__builtin_clzll(ns);
	unsigned sub = (unsigned)(ns >> (msb - bits)) & ((1u << bits) - 1);
	unsigned idx = ((msb - bits + 1) << bits) + sub;

	return idx < SFS_HIST_BUCKETS(bits) ? idx : SFS_HIST_BUCKETS(bits) - 1;
}

/** The largest duration that counts into bucket @idx. */
uint64_t sfs_hist_upper_ns(unsigned bits, unsigned idx);

/** Counts one duration. The owning thread only. */
static inline void sfs_hist_add(struct sfs_hist *h, uint64_t ns)
{
	SFS_STAT_ADD(h->count, 1);
	if (ns > h->max_ns)
		__atomic_store_n(&h->max_ns, ns, __ATOMIC_RELAXED);
	SFS_STAT_ADD(h->bucket[sfs_hist_idx(SFS_HIST_BITS, ns)], 1);
}

static inline void sfs_hist_fine_add(struct sfs_hist_fine *h, uint64_t ns)
{
	SFS_STAT_ADD(h->count, 1);
	if (ns > h->max_ns)
		__atomic_store_n(&h->max_ns, ns, __ATOMIC_RELAXED);
	SFS_STAT_ADD(h->bucket[sfs_hist_idx(SFS_HIST_FINE_BITS, ns)], 1);
}

/** Adds the counts of @from to @into (a private copy of the reader). */
void sfs_hist_merge(struct sfs_hist *into, const struct sfs_hist *from);
void sfs_hist_fine_merge(struct sfs_hist_fine *into, const struct sfs_hist_fine *from);

/** The duration in ns that a share of @q (0 to 1) of the counted ones does not exceed; 0 where none was counted. */
uint64_t sfs_hist_quantile(const struct sfs_hist *h, double q);
uint64_t sfs_hist_fine_quantile(const struct sfs_hist_fine *h, double q);

#endif
