/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The in-memory filesystem: a small complete driver. It is the example for authors of drivers, and the
 * fastest thing to test a guest against.
 *
 * Options: size_mib (1 to 1048576, default 1024): memory for contents, names and attributes; beyond it
 * ENOSPC. inodes (16 to 16777216, default 65536): objects; beyond it ENOSPC. Memory is reserved at create and
 * taken from the host when it is first used; what was deleted is used again, but not given back to the host
 * before destroy. Contents belong to the instance: they are there for the next guest.
 */
#ifndef SFS_MEM_FS_H
#define SFS_MEM_FS_H

#include "sfs_fs.h"

extern const struct sfs_fs_ops sfs_fs_mem;

#endif
