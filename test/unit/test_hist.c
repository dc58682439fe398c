/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sfs_hist.h"

/* Every duration lies in the bucket whose bounds hold it, and the buckets follow each other without a gap. */
static void check_buckets(unsigned bits)
{
	unsigned last = 0;

	for (uint64_t ns = 0; ns < (1ull << 40); ns = ns < 4096 ? ns + 1 : ns + ns / 97) {
		unsigned idx = sfs_hist_idx(bits, ns);
		uint64_t upper = sfs_hist_upper_ns(bits, idx);

		assert_true(idx == last || idx > last);
		assert_true(idx < SFS_HIST_BUCKETS(bits));
		assert_true(ns <= upper);
		assert_true(idx == 0 || ns > sfs_hist_upper_ns(bits, idx - 1));
		assert_true(upper - ns <= ns >> bits);
		last = idx;
	}
	assert_int_equal(sfs_hist_idx(bits, UINT64_MAX), SFS_HIST_BUCKETS(bits) - 1);
}

static void test_buckets(void **state)
{
	check_buckets(SFS_HIST_BITS);
	check_buckets(SFS_HIST_FINE_BITS);
}

static void test_quantiles(void **state)
{
	struct sfs_hist *h = calloc(1, sizeof(*h));
	struct sfs_hist_fine *fine = calloc(1, sizeof(*fine));

	assert_non_null(h);
	assert_non_null(fine);
	assert_int_equal(sfs_hist_quantile(h, 0.5), 0);
	assert_int_equal(sfs_hist_fine_quantile(fine, 0.5), 0);
	for (uint64_t ns = 1; ns <= 100000; ns++) {
		sfs_hist_add(h, ns);
		sfs_hist_fine_add(fine, ns);
	}
	assert_in_range(sfs_hist_quantile(h, 0.5), 50000, 50000 + 50000 / 8);
	assert_in_range(sfs_hist_fine_quantile(fine, 0.5), 50000, 50000 + 50000 / 64);
	assert_in_range(sfs_hist_fine_quantile(fine, 0.999), 99900, 100000);
	/* Nothing is said to be longer than the longest. */
	assert_int_equal(sfs_hist_quantile(h, 1), 100000);
	assert_int_equal(sfs_hist_fine_quantile(fine, 1), 100000);
	free(h);
	free(fine);
}

static void test_merge(void **state)
{
	struct sfs_hist_fine *a = calloc(2, sizeof(*a)), *b;

	assert_non_null(a);
	b = a + 1;
	sfs_hist_fine_add(a, 10);
	sfs_hist_fine_add(b, 2000);
	sfs_hist_fine_add(b, 20);
	sfs_hist_fine_merge(a, b);
	assert_int_equal(a->count, 3);
	assert_int_equal(a->max_ns, 2000);
	assert_int_equal(sfs_hist_fine_quantile(a, 0.3), 10);
	assert_int_equal(sfs_hist_fine_quantile(a, 0.6), 20);
	assert_int_equal(sfs_hist_fine_quantile(a, 1), 2000);
	free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_buckets),
	    cmocka_unit_test(test_quantiles),
	    cmocka_unit_test(test_merge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
