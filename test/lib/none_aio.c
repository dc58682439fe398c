/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "none_aio.h"

static int none_open(struct sfs_aio *aio, const struct sfs_aio_opts *opts)
{
	return 0;
}

static void none_close(struct sfs_aio *aio)
{
}

static int none_queue(struct sfs_aio *aio, struct sfs_io *io)
{
	abort();
}

static unsigned none_commit(struct sfs_aio *aio)
{
	return 0;
}

static unsigned none_reap(struct sfs_aio *aio, struct sfs_io **ios, unsigned max)
{
	return 0;
}

static bool none_ready(struct sfs_aio *aio)
{
	return false;
}

static int none_fd(struct sfs_aio *aio)
{
	return -1;
}

const struct sfs_aio_ops none_aio = {
    .name = "none",
    .open = none_open,
    .close = none_close,
    .queue = none_queue,
    .commit = none_commit,
    .reap = none_reap,
    .ready = none_ready,
    .fd = none_fd,
};
