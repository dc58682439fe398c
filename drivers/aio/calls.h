/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I/O by blocking system calls, for whatever an engine does not do in the kernel's asynchronous ways.
 */
#ifndef SFS_AIO_CALLS_H
#define SFS_AIO_CALLS_H

#include "sfs_aio.h"
#include "sfs_workers.h"

/** The worker calls of one engine instance. The port is its own: no one else reaps it. */
struct aio_calls {
	struct sfs_workers_client *client;
	struct sfs_call_port port;
	struct sfs_call *ready; /* finished and not yet handed out, oldest first */
};

/** Does @io, with the segments @iov instead of its own. Bytes done or -errno, never -EINTR or -EAGAIN. Any
 * thread; blocks. */
int64_t aio_do(const struct sfs_io *io, const struct iovec *iov, unsigned iovcnt);

/** Takes workers and reactor from @opts. 0, or -EINVAL: no workers. */
int aio_calls_init(struct aio_calls *calls, const struct sfs_aio_opts *opts);

/** Gives @io to a worker; uses its next and priv. The lane's reactor. */
void aio_calls_submit(struct aio_calls *calls, struct sfs_io *io);

/** Collects up to @max finished ones. The lane's reactor. */
unsigned aio_calls_reap(struct aio_calls *calls, struct sfs_io **ios, unsigned max);

/** Whether there is one to collect. The lane's reactor. */
bool aio_calls_ready(const struct aio_calls *calls);

#endif
