/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fixed files of one ring: a file in use often is registered with the ring, which saves the kernel taking and dropping a
 * reference for each I/O. A registered file is held open by the ring, whatever becomes of the descriptor: see struct
 * sfs_aio_file for who lets go of it when.
 */
#ifndef URING_FILES_H
#define URING_FILES_H

#include <liburing.h>

#include "sfs_aio.h"

#define UR_SLOTS 256u

/* One place of the ring's table; files share a place by their numbers. */
struct ur_slot {
	struct sfs_aio_file *file; /* registered, or the candidate; NULL: none yet */
	int fd;                    /* of the registered file; -1: none is */
	uint16_t in_use;           /* I/Os queued with it and not yet reaped */
	uint16_t uses; /* of the candidate; of a registered file: how long others have to want the place */
};

struct ur_files {
	struct io_uring *ring;
	uint64_t bit;          /* ours in sfs_aio_file.holders */
	struct ur_slot *slots; /* UR_SLOTS; NULL: files are not registered here */
};

/**
 * Makes the table of a ring that is not enabled yet. Files are registered only where this succeeded: 0, or -errno: -EINVAL
 * (a kernel before 5.19, or no @bit), -ENOMEM, -EMFILE (the limit of open files is too low). Control thread.
 */
int ur_files_open(struct ur_files *f, struct io_uring *ring, uint64_t bit);
void ur_files_close(struct ur_files *f);

/** The place where @io's file is registered, held until ur_files_put(); -1: use the descriptor. The ring's issuer. */
int ur_files_get(struct ur_files *f, const struct sfs_io *io);
/** The I/O has been reaped. The ring's issuer. */
void ur_files_put(struct ur_files *f, unsigned slot);

/** See struct sfs_aio_ops. The ring's issuer. */
void ur_files_drop(struct ur_files *f, const struct sfs_aio_file *file, uint32_t file_idx);

#endif
