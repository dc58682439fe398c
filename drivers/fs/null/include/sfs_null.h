/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The filesystem without data, for measurements: its root holds one file, "data". A READ is answered as done
 * and leaves the guest's pages as they were, a WRITE is answered as taken and thrown away. What remains is
 * the cost of the way there and back. Never give it to a guest that believes what it reads: the guest sees
 * whatever its own pages held before.
 *
 * Options: size_mib (1 to 1073741824, default 1024): the size of "data", and of what a READ reaches.
 */
#ifndef SFS_NULL_H
#define SFS_NULL_H

#include "sfs_fs.h"

extern const struct sfs_fs_ops sfs_fs_null;

#endif
