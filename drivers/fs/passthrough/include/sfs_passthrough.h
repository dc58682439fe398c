/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The passthrough filesystem: a directory of the host as the guest's share.
 */
#ifndef SFS_PASSTHROUGH_H
#define SFS_PASSTHROUGH_H

#include "sfs_fs.h"

/**
 * Options: docs of the configuration file, `fs.options`. create() drops the supplementary groups of the whole
 * process where it is root's; thread_init() gives each thread a file mode mask and a working directory of its
 * own.
 */
extern const struct sfs_fs_ops sfs_fs_passthrough;

#endif
