/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <stddef.h>

#include "sfs_aio.h"

int sfs_aio_open(struct sfs_aio *aio, const struct sfs_aio_ops *ops, const struct sfs_aio_opts *opts)
{
	aio->ops = ops;
	aio->in_flight = 0;
	aio->priv = NULL;
	return ops->open(aio, opts);
}

void sfs_aio_close(struct sfs_aio *aio)
{
	assert(aio->in_flight == 0);
	aio->ops->close(aio);
	aio->priv = NULL;
}
