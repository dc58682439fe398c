/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the in-memory filesystem share: one instance, one guest, one lane.
 */
#ifndef MEM_FS_RIG_H
#define MEM_FS_RIG_H

#include "../lib/fuse_calls.h"
#include "sfs_mem_fs.h"

#define ROOT SFS_ROOT_ID

extern struct fg guest;
extern struct fc *const c;
extern struct fuse_kstatfs before; /* of the empty filesystem */

int setup(void **state);
int teardown(void **state);

/** Everything was deleted and closed: then nothing is used, once the guest has gone. */
void assert_nothing_left(void);

/** A new file in the root, open for reading and writing; its nodeid. */
uint64_t make(const char *name, uint64_t *fh);
uint64_t make_dir(uint64_t dir, const char *name);
struct fuse_attr attr_of(uint64_t node);

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
