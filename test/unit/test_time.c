/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sfs_base.h"

static void test_ticks_have_one_unit(void **state)
{
	uint64_t per_us = sfs_ticks_per_us();

	assert_true(per_us > 0);
	assert_int_equal(sfs_ticks_per_us(), per_us);
}

/* The cheap clock is never ahead of the time by more than its unit allows in the millisecond until it is set right, and
 * never goes back; how far it is behind is the scheduler's choice. */
static void test_clock_follows_the_time(void **state)
{
	struct sfs_clock clock = {0};
	uint64_t end = sfs_now_ns() + 20 * SFS_NS_PER_MS, last = 0;

	while (sfs_now_ns() < end) {
		uint64_t now = sfs_clock_now(&clock);

		assert_true(now <= sfs_now_ns() + SFS_NS_PER_MS / 10);
		assert_true(now >= last);
		last = now;
	}
	assert_true(last > 0);
}

/* After a long silence it tells the time, not what the ticks make of it. */
static void test_clock_is_set_right(void **state)
{
	struct sfs_clock clock = {0};
	uint64_t before;

	sfs_clock_now(&clock);
	clock.base_ns -= SFS_NS_PER_S; /* as if it had gone wrong by a second */
	clock.base_ticks -= clock.resync_ticks;
	before = sfs_now_ns();
	assert_true(sfs_clock_now(&clock) >= before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ticks_have_one_unit),
	    cmocka_unit_test(test_clock_follows_the_time),
	    cmocka_unit_test(test_clock_is_set_right),
	};

	return cmocka_run_group_tests_name("time", tests, NULL, NULL);
}
