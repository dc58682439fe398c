/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include "sfs_base.h"
#include "sfs_env.h"
#include "sfs_log.h"

static void test_heap(void **state)
{
	/* As measured: 65 rings of 1024 take some 2.6 MiB. */
	assert_in_range(sfs_env_heap_mib(65 * 24, 1024), 60, 80);
	assert_in_range(sfs_env_heap_mib(2, 128), 1, 16);
	assert_true(sfs_env_heap_mib(1024 * 65, 32768) > 90000);
}

static void test_nodes(void **state)
{
	const struct sfs_env_numa *numa = &sfs_env_numa_host;
	size_t bytes = 16 << 12;
	cpu_set_t cpus;
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int node;

	/* Asking touches nothing. */
	assert_int_equal(numa->node_of(p), -ENOENT);
	assert_int_equal(numa->node_of(p + 100), -ENOENT);
	p[0] = 1;
	node = numa->node_of(p + 100);
	assert_in_range(node, 0, 1023);
	assert_int_equal(numa->cpus(node, &cpus), 0);
	assert_true(CPU_COUNT(&cpus) > 0);
	assert_int_equal(numa->cpus(1023, &cpus), -ENOENT);
	assert_int_equal(numa->node_of(p + 4096), -ENOENT);
	assert_int_equal(numa->bind(p, bytes, node), 0);
	assert_int_equal(numa->bind(p, bytes, -1), -EINVAL);
	p[4096] = 1;
	assert_int_equal(numa->node_of(p + 4096), node);
	munmap(p, bytes);
	assert_int_equal(numa->node_of(p), -EFAULT);
}

/* Where each thread of this process may run: the one CPU given. */
static void check_threads(int cpu)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned count = 0;
	struct dirent *e;

	assert_non_null(dir);
	while ((e = readdir(dir)) != NULL) {
		cpu_set_t cpus;

		if (e->d_name[0] == '.')
			continue;
		assert_int_equal(sched_getaffinity(atoi(e->d_name), sizeof(cpus), &cpus), 0);
		assert_int_equal(CPU_COUNT(&cpus), 1);
		assert_true(CPU_ISSET(cpu, &cpus));
		count++;
	}
	closedir(dir);
	/* Ours, and EAL's at least one. */
	assert_true(count > 1);
}

static void test_init(void **state)
{
	static const char *const extra[] = {"--file-prefix", "spinfs-test"};
	struct sfs_env_opts opts = {.program = "test_eal", .heap_mib = 16, .extra = extra, .extra_count = 2};
	char run[] = "/tmp/sfs-eal-XXXXXX";
	struct rlimit files, after;
	cpu_set_t before, one;
	int cpu = 0;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = 200;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	while (!CPU_ISSET(cpu, &before))
		cpu++;
	CPU_ZERO(&one);
	/* No CPU is an error, and not the one start there is. */
	opts.cpus = &one;
	assert_true(sfs_env_init(&opts) < 0);
	CPU_SET(cpu, &one);
	assert_non_null(mkdtemp(run));
	setenv("RUNTIME_DIRECTORY", run, 1);
	assert_int_equal(sfs_env_init(&opts), 0);
	assert_int_equal(sfs_env_init(&opts), -EALREADY);
	check_threads(cpu);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &after), 0);
	assert_int_equal(after.rlim_cur, 200);
	/* It leaves nothing. */
	assert_int_equal(rmdir(run), 0);
	sfs_env_fini();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_heap),
	    cmocka_unit_test(test_nodes),
	    cmocka_unit_test(test_init),
	};

	sfs_log_setup(SFS_LOG_OFF, SFS_LOG_STDERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
