/* SPDX-License-Identifier: BSD-3-Clause */
/* The in-memory filesystem, for the rig. */
#ifndef FUZZ_MEM_H
#define FUZZ_MEM_H

#include "../lib/none_aio.h"
#include "fuzz_rig.h"
#include "sfs_mem_fs.h"

static const struct fz_fs fuzz_mem = {
    .ops = &sfs_fs_mem, .options = "{\"size_mib\": 4, \"inodes\": 64}", .engine = &none_aio};

#endif
