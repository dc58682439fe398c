/* SPDX-License-Identifier: BSD-3-Clause */
#include "sfs_hist.h"

uint64_t sfs_hist_upper_ns(unsigned bits, unsigned idx)
{
	unsigned exp = idx >> bits;
	uint64_t sub = idx & ((1u << bits) - 1);

	if (exp == 0)
		return idx;
	return (((1ull << bits) + sub + 1) << (exp - 1)) - 1;
}

static void hist_merge(uint64_t *into, const uint64_t *from, unsigned buckets)
{
	for (unsigned i = 0; i < buckets; i++)
		into[i] += SFS_STAT_GET(from[i]);
}

static uint64_t hist_quantile(const uint64_t *bucket, unsigned bits, uint64_t max_ns, double q)
{
	uint64_t total = 0, seen = 0;

	for (unsigned i = 0; i < SFS_HIST_BUCKETS(bits); i++)
		total += bucket[i];
	if (total == 0)
		return 0;
	double want = q * (double)total;
	for (unsigned i = 0; i < SFS_HIST_BUCKETS(bits); i++) {
		seen += bucket[i];
		if (bucket[i] && (double)seen >= want) {
			uint64_t upper = sfs_hist_upper_ns(bits, i);

			return upper < max_ns ? upper : max_ns;
		}
	}
	return max_ns;
}

void sfs_hist_merge(struct sfs_hist *into, const struct sfs_hist *from)
{
	uint64_t max_ns = SFS_STAT_GET(from->max_ns);

	into->count += SFS_STAT_GET(from->count);
	into->max_ns = SFS_MAX(into->max_ns, max_ns);
	hist_merge(into->bucket, from->bucket, SFS_ARRAY_SIZE(from->bucket));
}

void sfs_hist_fine_merge(struct sfs_hist_fine *into, const struct sfs_hist_fine *from)
{
	uint64_t max_ns = SFS_STAT_GET(from->max_ns);

	into->count += SFS_STAT_GET(from->count);
	into->max_ns = SFS_MAX(into->max_ns, max_ns);
	hist_merge(into->bucket, from->bucket, SFS_ARRAY_SIZE(from->bucket));
}

uint64_t sfs_hist_quantile(const struct sfs_hist *h, double q)
{
	return hist_quantile(h->bucket, SFS_HIST_BITS, h->max_ns, q);
}

uint64_t sfs_hist_fine_quantile(const struct sfs_hist_fine *h, double q)
{
	return hist_quantile(h->bucket, SFS_HIST_FINE_BITS, h->max_ns, q);
}
