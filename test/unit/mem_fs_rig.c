/* SPDX-License-Identifier: BSD-3-Clause */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mem_fs_rig.h"

struct fg guest;
static struct fc call;
struct fc *const c = &call;
struct fuse_kstatfs before;

int setup(void **state)
{
	fg_start(&guest, &sfs_fs_mem, "{\"size_mib\": 16, \"inodes\": 4096}", 1);
	fc_init(c, &guest, 0);
	assert_int_equal(fc_statfs(c, &before), 0);
	return 0;
}

int teardown(void **state)
{
	fc_fini(c);
	fg_stop(&guest);
	return 0;
}

void assert_nothing_left(void)
{
	struct fuse_kstatfs now;

	fg_reconnect(&guest);
	assert_int_equal(fc_statfs(c, &now), 0);
	assert_int_equal(now.bfree, before.bfree);
	assert_int_equal(now.ffree, before.ffree);
}

uint64_t make(const char *name, uint64_t *fh)
{
	struct fuse_entry_out e;

	assert_int_equal(fc_create(c, ROOT, name, O_RDWR | O_EXCL, 0644, &e, fh), 0);
	return e.nodeid;
}

uint64_t make_dir(uint64_t dir, const char *name)
{
	struct fuse_entry_out e;

	assert_int_equal(fc_mkdir(c, dir, name, 0755, &e), 0);
	return e.nodeid;
}

struct fuse_attr attr_of(uint64_t node)
{
	struct fuse_attr attr;

	assert_int_equal(fc_getattr(c, node, &attr), 0);
	return attr;
}
