/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The I/O engines there are.
 */
#ifndef SFS_AIO_ENGINES_H
#define SFS_AIO_ENGINES_H

#include "sfs_aio.h"

extern const struct sfs_aio_ops sfs_aio_uring;   /* io_uring: single issuer, deferred task work */
extern const struct sfs_aio_ops sfs_aio_libaio;  /* Linux AIO for O_DIRECT, workers for buffered I/O */
extern const struct sfs_aio_ops sfs_aio_workers; /* preadv2/pwritev2 on worker threads */
extern const struct sfs_aio_ops sfs_aio_sim;     /* tests: seeded delay, reordering, short results, errors */

/**
 * Whether this host lets us use the engine: opens and closes one instance, with a worker thread of its own.
 * 0 or -errno with the reason. Control thread, at start; may block.
 */
int sfs_aio_probe(const struct sfs_aio_ops *ops);

/**
 * What sim does to the I/O given to it; set before open, process-wide, tests only. The I/O is done by reap,
 * when its turn has come: as far as it will be reported, and not at all where an error is. Same plan, seed
 * and calls: same results.
 */
struct sfs_aio_sim_plan {
	unsigned delay_max_turns; /* a completion is held for 0 to this many reaps */
	unsigned short_permille;  /* results cut short, to any length but 0 (O_DIRECT: whole blocks) */
	unsigned error_permille;  /* results replaced by an error of errors[] */
	const int *errors;        /* negative errnos */
	unsigned error_count;
	unsigned full_permille; /* queue answers -EAGAIN */
};
extern struct sfs_aio_sim_plan sfs_aio_sim_plan;

#endif
