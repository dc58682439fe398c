/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The filesystem without data, through a real session.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "../lib/fuse_calls.h"
#include "sfs_null.h"

#define ROOT SFS_ROOT_ID
#define SIZE (3ull << 20)

static struct fg guest;
static struct fc call, *const c = &call;

static int setup(void **state)
{
	fg_start(&guest, &sfs_fs_null, "{\"size_mib\": 3}", 1);
	fc_init(c, &guest, 0);
	return 0;
}

static int teardown(void **state)
{
	fc_fini(c);
	fg_stop(&guest);
	return 0;
}

static uint64_t data_node(void)
{
	struct fuse_entry_out e;

	assert_int_equal(fc_lookup(c, ROOT, "data", &e), 0);
	return e.nodeid;
}

static void test_names(void **state)
{
	uint64_t node = data_node(), again = data_node();
	struct fuse_entry_out e;
	struct fuse_attr attr;

	assert_int_equal(node, again);
	assert_int_equal(fc_lookup(c, ROOT, "other", &e), -ENOENT);
	assert_int_equal(fc_lookup(c, node, "data", &e), -ENOTDIR);
	assert_int_equal(fc_lookup(c, 77, "data", &e), -ESTALE);
	assert_int_equal(fc_getattr(c, node, &attr), 0);
	assert_int_equal(attr.size, SIZE);
	assert_int_equal(attr.mode, S_IFREG | 0666);
	assert_int_equal(fc_getattr(c, ROOT, &attr), 0);
	assert_int_equal(attr.mode, S_IFDIR | 0755);
	assert_int_equal(fc_mkdir(c, ROOT, "d", 0755, &e), -ENOSYS);
}

static void test_data(void **state)
{
	uint64_t node = data_node(), fh;
	char buf[8192], untouched[8192];

	memset(untouched, 0xee, sizeof(untouched)); /* what the guest's pages held before: see fg_send() */
	assert_int_equal(fc_open(c, ROOT, O_RDONLY, &fh), -EISDIR);
	assert_int_equal(fc_open(c, node, O_RDWR, &fh), 0);
	assert_int_equal(fc_read(c, node, fh, 4096, buf, sizeof(buf)), sizeof(buf));
	assert_memory_equal(buf, untouched, sizeof(buf));
	assert_int_equal(fc_read(c, node, fh, SIZE - 10, buf, sizeof(buf)), 10);
	assert_int_equal(fc_read(c, node, fh, SIZE, buf, sizeof(buf)), 0);
	assert_int_equal(fc_read(c, node, fh, UINT64_MAX, buf, sizeof(buf)), 0);
	assert_int_equal(fc_write(c, node, fh, SIZE * 2, buf, 5000), 5000);
	assert_int_equal(fc_read(c, node, fh + 1, 0, buf, 10), -EBADF);
	assert_int_equal(fc_write(c, node, fh + 1, 0, buf, 10), -EBADF);
	assert_int_equal(fc_release(c, node, fh), 0);
	assert_int_equal(fc_release(c, node, fh), -EBADF);
	assert_int_equal(fc_read(c, node, fh, 0, buf, 10), -EBADF);
}

static void see(void *arg, const struct fuse_dirent *d, const struct fuse_entry_out *e)
{
	char *names = arg;

	strncat(names, d->name, d->namelen);
	strcat(names, " ");
}

static void test_listing(void **state)
{
	uint64_t node = data_node(), fh, file;
	char names[64] = "", buf[10];

	assert_int_equal(fc_opendir(c, node, &fh), -ENOTDIR);
	assert_int_equal(fc_opendir(c, ROOT, &fh), 0);
	assert_int_equal(fc_open(c, node, O_RDWR, &file), 0);
	assert_int_equal(fc_readdir(c, ROOT, fh, 0, 4096, false, see, names), 3);
	assert_string_equal(names, ". .. data ");
	assert_int_equal(fc_readdir(c, ROOT, fh, 2, 4096, false, NULL, NULL), 1);
	assert_int_equal(fc_readdir(c, ROOT, fh, 3, 4096, false, NULL, NULL), 0);
	assert_int_equal(fc_readdir(c, ROOT, fh, UINT64_MAX, 4096, false, NULL, NULL), 0);
	assert_int_equal(fc_readdir(c, node, file, 0, 4096, false, NULL, NULL), -EBADF);
	assert_int_equal(fc_read(c, ROOT, fh, 0, buf, sizeof(buf)), -EBADF);
	assert_int_equal(fc_releasedir(c, ROOT, fh), 0);
}

static void test_statfs(void **state)
{
	struct fuse_kstatfs st;

	assert_int_equal(fc_statfs(c, &st), 0);
	assert_int_equal(st.blocks * st.bsize, SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_names, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_data, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_listing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_statfs, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
