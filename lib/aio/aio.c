/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <stddef.h>

#include "sfs_aio.h"
#include "sfs_base.h"

int sfs_aio_open(struct sfs_aio *aio, const struct sfs_aio_ops *ops, const struct sfs_aio_opts *opts)
{
	aio->ops = ops;
	aio->in_flight = aio->cached_min = aio->blocking_min = 0;
	aio->priv = NULL;
	return ops->open(aio, opts);
}

unsigned sfs_aio_batch_min(unsigned each_ns)
{
	unsigned call_ns = sfs_syscall_ns();

	/* The batch pays its one call, and about as much once again for a way that is longer. */
	return call_ns > each_ns ? 2 * call_ns / (call_ns - each_ns) + 1 : 0;
}

void sfs_aio_close(struct sfs_aio *aio)
{
	assert(aio->in_flight == 0);
	aio->ops->close(aio);
	aio->priv = NULL;
}
