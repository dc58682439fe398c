/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "sfs_cpus.h"

static void expect_list(const char *list, const char *canonical)
{
	cpu_set_t set;
	char buf[64];

	assert_int_equal(sfs_cpus_parse(list, &set), 0);
	assert_int_equal(sfs_cpus_format(&set, buf, sizeof(buf)), (int)strlen(canonical));
	assert_string_equal(buf, canonical);
}

static void test_lists(void **state)
{
	expect_list("0", "0");
	expect_list("0-1,3", "0-1,3");
	expect_list("3,1,2", "1-3");
	expect_list("5-5", "5");
	expect_list("1023,0", "0,1023");
	expect_list("0-1023", "0-1023");
}

static void test_bad_lists(void **state)
{
	static const struct {
		const char *list;
		int rc;
	} bad[] = {
	    {"", -EINVAL},
	    {",", -EINVAL},
	    {"1,", -EINVAL},
	    {"a", -EINVAL},
	    {"1-", -EINVAL},
	    {"-1", -EINVAL},
	    {"1 ,2", -EINVAL},
	    {" 1", -EINVAL},
	    {"+1", -EINVAL},
	    {"1-2-3", -EINVAL},
	    {"0x1", -EINVAL},
	    {"1024", -ERANGE},
	    {"0-99999999999999999999", -ERANGE},
	    {"3-1", -ERANGE},
	    {"1,1", -EEXIST},
	    {"0-3,2", -EEXIST},
	};
	cpu_set_t set;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (sfs_cpus_parse(bad[i].list, &set) != bad[i].rc)
			fail_msg("\"%s\": %d", bad[i].list, sfs_cpus_parse(bad[i].list, &set));
	}
}

static void test_format_room(void **state)
{
	cpu_set_t set;
	char buf[4];

	CPU_ZERO(&set);
	assert_int_equal(sfs_cpus_format(&set, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
	CPU_SET(0, &set);
	CPU_SET(1, &set);
	assert_int_equal(sfs_cpus_format(&set, buf, 4), 3);
	assert_string_equal(buf, "0-1");
	assert_int_equal(sfs_cpus_format(&set, buf, 3), -ENOSPC);
	assert_int_equal(sfs_cpus_format(&set, buf, 0), -ENOSPC);
}

static void test_host(void **state)
{
	cpu_set_t allowed, online, both;

	assert_int_equal(sfs_cpus_allowed(&allowed), 0);
	assert_true(CPU_COUNT(&allowed) > 0);
	assert_int_equal(sfs_cpus_online(&online), 0);
	CPU_AND(&both, &allowed, &online);
	assert_true(CPU_COUNT(&both) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lists),
	    cmocka_unit_test(test_bad_lists),
	    cmocka_unit_test(test_format_room),
	    cmocka_unit_test(test_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
