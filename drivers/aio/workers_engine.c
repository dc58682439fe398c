/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All I/O by blocking calls on worker threads: for hosts that allow neither io_uring nor Linux AIO.
 */
#include <errno.h>
#include <stdlib.h>

#include "calls.h"
#include "sfs_aio_engines.h"

struct we {
	struct aio_calls calls;
	unsigned depth;
};

static int we_open(struct sfs_aio *aio, const struct sfs_aio_opts *opts)
{
	struct we *we;
	int rc;

	if (opts->depth == 0)
		return -EINVAL;
	we = calloc(1, sizeof(*we));
	if (!we)
		return -ENOMEM;
	we->depth = opts->depth;
	rc = aio_calls_init(&we->calls, opts);
	if (rc) {
		free(we);
		return rc;
	}
	aio->priv = we;
	return 0;
}

static void we_close(struct sfs_aio *aio)
{
	free(aio->priv);
}

static int we_queue(struct sfs_aio *aio, struct sfs_io *io)
{
	struct we *we = aio->priv;

	if (aio->in_flight >= we->depth)
		return -EAGAIN;
	aio_calls_submit(&we->calls, io);
	return 0;
}

static unsigned we_commit(struct sfs_aio *aio)
{
	return 0;
}

static unsigned we_reap(struct sfs_aio *aio, struct sfs_io **ios, unsigned max)
{
	struct we *we = aio->priv;

	return aio_calls_reap(&we->calls, ios, max);
}

static bool we_ready(struct sfs_aio *aio)
{
	struct we *we = aio->priv;

	return aio_calls_ready(&we->calls);
}

static int we_fd(struct sfs_aio *aio)
{
	return -1;
}

const struct sfs_aio_ops sfs_aio_workers = {
    .name = "workers",
    .open = we_open,
    .close = we_close,
    .queue = we_queue,
    .commit = we_commit,
    .reap = we_reap,
    .ready = we_ready,
    .fd = we_fd,
};
