/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The drivers that this build has: filesystems and I/O engines, in two explicit lists.
 */
#ifndef SPINFSD_DRIVERS_H
#define SPINFSD_DRIVERS_H

#include "config.h"
#include "sfs_aio_engines.h"
#include "sfs_fs.h"

/** Names of the filesystem drivers, NULL at the end. */
extern const char *const spinfsd_fs_names[];

/** The driver called @name, or NULL. */
const struct sfs_fs_ops *spinfsd_fs_find(const char *name);

/**
 * The engine that the configuration asks for: with `auto` the first that this host allows, with a line in the log where that is
 * not io_uring. 0 or -errno with a line logged: the host refuses the one asked for. Control thread; blocks.
 */
int spinfsd_engine_pick(enum spinfsd_engine wanted, const struct sfs_aio_ops **engine);

#endif
