/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory: what a VMM may say about it, and what happens when it takes it away. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sfs_base.h"
#include "sfs_mem.h"

#define PAGE 4096u

static int file_of(size_t bytes)
{
	int fd = memfd_create("sfs-test-mem", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static unsigned maps_count(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "sfs-test-mem") != NULL;
	fclose(f);
	return n;
}

/* --- what is refused --- */

static void assert_refused(const struct sfs_mem_region *regions, unsigned count)
{
	int fd = file_of(PAGE), fds[SFS_MEM_REGIONS_MAX + 1];
	struct sfs_mem *mem = NULL;

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(fds); i++)
		fds[i] = fd;
	assert_int_equal(sfs_mem_create(regions, fds, count, &mem), -EINVAL);
	assert_int_equal(sfs_mem_create_mapped(regions, count, &mem), -EINVAL);
	assert_null(mem);
	assert_int_equal(maps_count(), 0);
	close(fd);
}

static void test_count(void **state)
{
	struct sfs_mem_region r[SFS_MEM_REGIONS_MAX + 1];

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(r); i++)
		r[i] = (struct sfs_mem_region){.guest_addr = i * PAGE, .bytes = PAGE};
	assert_refused(r, 0);
	assert_refused(r, SFS_MEM_REGIONS_MAX + 1);
}

static void test_zero_size(void **state)
{
	const struct sfs_mem_region r[] = {{.guest_addr = 0, .bytes = PAGE},
					   {.guest_addr = PAGE, .bytes = 0}};

	assert_refused(r, 2);
}

static void test_wrap(void **state)
{
	const struct sfs_mem_region guest = {.guest_addr = 0ull - PAGE, .bytes = 2 * PAGE};
	const struct sfs_mem_region guest_end = {.guest_addr = 0ull - PAGE, .bytes = PAGE};
	const struct sfs_mem_region user = {.user_addr = 0ull - PAGE, .bytes = 2 * PAGE};
	const struct sfs_mem_region offset = {.mmap_offset = 0ull - PAGE, .bytes = 2 * PAGE};

	assert_refused(&guest, 1);
	assert_refused(&guest_end, 1);
	assert_refused(&user, 1);
	assert_refused(&offset, 1);
}

static void test_overlap(void **state)
{
	static const struct {
		uint64_t at, bytes;
	} second[] = {{0x10000, PAGE},     /* the same */
		      {0x11000, PAGE},     /* inside */
		      {0x13fff, 1},        /* its last byte */
		      {0xf000, 2 * PAGE},  /* over its beginning */
		      {0x13000, 4 * PAGE}, /* over its end */
		      {0, 0x100000}};      /* around it */

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(second); i++) {
		const struct sfs_mem_region r[] = {{.guest_addr = 0x10000, .bytes = 4 * PAGE},
						   {.guest_addr = second[i].at, .bytes = second[i].bytes}};
		const struct sfs_mem_region swapped[] = {r[1], r[0]};

		assert_refused(r, 2);
		assert_refused(swapped, 2);
	}
}

static void test_offset_beyond_address_space(void **state)
{
	const struct sfs_mem_region r[] = {{.guest_addr = 0, .bytes = PAGE},
					   {.guest_addr = PAGE, .bytes = PAGE, .mmap_offset = 1ull << 62}};
	int fd = file_of(PAGE), fds[] = {fd, fd};
	struct sfs_mem *mem;

	assert_true(sfs_mem_create(r, fds, 2, &mem) < 0);
	assert_int_equal(maps_count(), 0); /* the first one did not stay behind */
	close(fd);
}

static void test_bad_descriptor(void **state)
{
	const struct sfs_mem_region r = {.guest_addr = 0, .bytes = PAGE};
	struct sfs_mem *mem;
	int bad = -1;

	assert_int_equal(sfs_mem_create(&r, &bad, 1, &mem), -EBADF);
}

/* --- what is there --- */

static void test_translation(void **state)
{
	const struct sfs_mem_region r[] = {
	    {.guest_addr = 0x10000, .user_addr = 0x7f0000000000, .bytes = 2 * PAGE, .mmap_offset = 0},
	    {.guest_addr = 0x12000,
	     .user_addr = 0x7e0000000000,
	     .bytes = PAGE,
	     .mmap_offset = 2 * PAGE + 512}};
	int fd = file_of(4 * PAGE), fds[] = {fd, fd};
	struct sfs_mem *mem;
	uint64_t n;
	char *file;

	assert_int_equal(sfs_mem_create(r, fds, 2, &mem), 0);
	file = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(file != MAP_FAILED);
	close(fd);
	for (unsigned i = 0; i < 4 * PAGE; i++)
		file[i] = (char)(i * 7 + (i >> 8));
	n = 100;
	assert_memory_equal(sfs_mem_at(mem, 0x10000, &n), file, 100);
	assert_int_equal(n, 100);
	n = 100;
	assert_memory_equal(sfs_mem_at(mem, 0x12000 - 40, &n), file + 2 * PAGE - 40, 40);
	assert_int_equal(n, 40); /* cut at the region's end */
	n = UINT64_MAX;
	assert_memory_equal(sfs_mem_at(mem, 0x12000, &n), file + 2 * PAGE + 512, PAGE);
	assert_int_equal(n, PAGE);
	for (unsigned i = 0; i < 3; i++) {
		static const uint64_t none[] = {0x10000 - 1, 0x13000, UINT64_MAX};

		n = 1;
		assert_null(sfs_mem_at(mem, none[i], &n));
	}
	n = 0;
	assert_null(sfs_mem_at(mem, 0x10000, &n));
	assert_memory_equal(sfs_mem_at_user(mem, 0x7e0000000010, 16), file + 2 * PAGE + 512 + 16, 16);
	assert_non_null(sfs_mem_at_user(mem, 0x7f0000000000, 2 * PAGE));
	assert_null(sfs_mem_at_user(mem, 0x7f0000000000, 2 * PAGE + 1));
	assert_null(sfs_mem_at_user(mem, 0x7f0000001fff, 2));
	assert_null(sfs_mem_at_user(mem, 0x7f0000002000, 0));
	assert_null(sfs_mem_at_user(mem, 0x7f0000000000, UINT64_MAX));
	munmap(file, 4 * PAGE);
	sfs_mem_put(mem);
}

static void test_references(void **state)
{
	const struct sfs_mem_region r = {.guest_addr = 0, .bytes = 2 * PAGE};
	int fd = file_of(2 * PAGE);
	struct sfs_mem *mem;

	assert_int_equal(sfs_mem_create(&r, &fd, 1, &mem), 0);
	close(fd);
	sfs_mem_get(mem);
	sfs_mem_put(mem);
	assert_int_equal(maps_count(), 1);
	mem->regions[0].host[PAGE] = 1;
	sfs_mem_put(mem);
	assert_int_equal(maps_count(), 0);
}

/* A region of QEMU's that ends inside of a huge page leaves nothing mapped behind. */
static void test_huge_pages_go(void **state)
{
	const struct sfs_mem_region r = {.guest_addr = 0, .bytes = 0xa0000};
	int fd = memfd_create("sfs-test-mem", MFD_CLOEXEC | MFD_HUGETLB);
	struct sfs_mem *mem = NULL;

	if (fd < 0 || ftruncate(fd, 4 << 20) < 0 || sfs_mem_create(&r, &fd, 1, &mem) < 0) {
		if (fd >= 0)
			close(fd);
		skip(); /* a kernel without huge pages */
	}
	close(fd);
	assert_int_equal(maps_count(), 1);
	sfs_mem_put(mem);
	assert_int_equal(maps_count(), 0);
}

/* --- a file that shrinks --- */

/* In each test anew: the test library sets a handler of its own before each. */
static void install(void)
{
	signal(SIGBUS, SIG_DFL);
	assert_int_equal(sfs_mem_sigbus_install(), 0);
}

static void test_truncated_file_reads_as_zero(void **state)
{
	const struct sfs_mem_region r[] = {{.guest_addr = 0, .bytes = 4 * PAGE},
					   {.guest_addr = 0x100000, .bytes = PAGE}};
	int fds[] = {file_of(4 * PAGE), file_of(PAGE)};
	struct sfs_mem *mem, *other;
	volatile char *p, *second;

	install();
	assert_int_equal(sfs_mem_create(r, fds, 2, &mem), 0);
	assert_int_equal(sfs_mem_create(r + 1, fds + 1, 1, &other), 0);
	p = mem->regions[0].host;
	second = mem->regions[1].host;
	p[PAGE] = 17;
	second[0] = 4;
	assert_int_equal(ftruncate(fds[0], 0), 0);
	assert_int_equal(p[PAGE], 0);
	assert_true(atomic_load(&mem->broken));
	for (unsigned i = 0; i < 4; i++)
		p[i * PAGE] = 1; /* may be written, too */
	assert_int_equal(second[0], 4);
	assert_false(atomic_load(&other->broken)); /* this device alone */
	sfs_mem_put(mem);
	sfs_mem_put(other);
	close(fds[0]);
	close(fds[1]);
}

static void test_cover_of_another_mapping(void **state)
{
	const struct sfs_mem_region r = {.guest_addr = 0, .bytes = PAGE};
	int fd = file_of(2 * PAGE);
	struct sfs_mem *mem;
	volatile char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	install();
	assert_true(p != MAP_FAILED);
	assert_int_equal(sfs_mem_create(&r, &fd, 1, &mem), 0);
	assert_int_equal(sfs_mem_sigbus_cover(mem, (void *)(uintptr_t)p, 2 * PAGE), 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	p[PAGE] = 5;
	assert_int_equal(p[PAGE], 5);
	assert_true(atomic_load(&mem->broken));
	sfs_mem_put(mem);
	munmap((void *)(uintptr_t)p, 2 * PAGE);
	close(fd);
}

/* What is not guest memory, or is none any more, still kills. */
static void test_other_faults_kill(void **state)
{
	const struct sfs_mem_region r = {.guest_addr = 0, .bytes = PAGE};
	int fd = file_of(PAGE), status;
	pid_t pid = fork();

	if (pid == 0) {
		struct sfs_mem *mem;
		volatile char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		install();
		if (sfs_mem_create(&r, &fd, 1, &mem) == 0 &&
		    sfs_mem_sigbus_cover(mem, (void *)(uintptr_t)p, PAGE) == 0)
			sfs_mem_put(mem);
		if (ftruncate(fd, 0) == 0 && close(STDERR_FILENO) == 0)
			p[0] = 1;
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(fd);
}

/* Whether a write to @p by a process of its own ends that one. */
static bool kills(volatile char *p)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		close(STDERR_FILENO);
		p[0] = 1;
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
}

/* What the other mapping was is not covered any more, while the table itself is, as long as somebody holds it. */
static void test_uncover(void **state)
{
	const struct sfs_mem_region r = {.guest_addr = 0, .bytes = PAGE};
	int fd = file_of(PAGE);
	struct sfs_mem *mem;
	volatile char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	install();
	assert_true(p != MAP_FAILED);
	assert_int_equal(sfs_mem_create(&r, &fd, 1, &mem), 0);
	assert_int_equal(sfs_mem_sigbus_cover(mem, (void *)(uintptr_t)p, PAGE), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_false(kills(p));
	sfs_mem_sigbus_uncover(mem);
	assert_true(kills(p));
	assert_false(kills(mem->regions[0].host));
	sfs_mem_put(mem);
	munmap((void *)(uintptr_t)p, PAGE);
	close(fd);
}

/* Places for the handler are used again: more tables than it has room for come and go. */
static void test_covers_are_given_back(void **state)
{
	const struct sfs_mem_region r = {.guest_addr = 0, .bytes = PAGE};
	int fd = file_of(PAGE);

	for (unsigned i = 0; i < 10000; i++) {
		struct sfs_mem *mem;

		assert_int_equal(sfs_mem_create(&r, &fd, 1, &mem), 0);
		sfs_mem_put(mem);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_count),
	    cmocka_unit_test(test_zero_size),
	    cmocka_unit_test(test_wrap),
	    cmocka_unit_test(test_overlap),
	    cmocka_unit_test(test_offset_beyond_address_space),
	    cmocka_unit_test(test_bad_descriptor),
	    cmocka_unit_test(test_translation),
	    cmocka_unit_test(test_references),
	    cmocka_unit_test(test_huge_pages_go),
	    cmocka_unit_test(test_truncated_file_reads_as_zero),
	    cmocka_unit_test(test_cover_of_another_mapping),
	    cmocka_unit_test(test_other_faults_kill),
	    cmocka_unit_test(test_uncover),
	    cmocka_unit_test(test_covers_are_given_back),
	};

	return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
