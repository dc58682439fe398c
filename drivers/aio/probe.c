/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "sfs_aio_engines.h"
#include "sfs_workers.h"

int sfs_aio_probe(const struct sfs_aio_ops *ops)
{
	struct sfs_workers_opts workers_opts = {.count = 1};
	struct sfs_aio_opts opts = {.depth = 1};
	struct sfs_workers *workers;
	struct sfs_aio aio;
	int rc = sfs_workers_create(&workers_opts, &workers);

	if (rc)
		return rc;
	opts.workers = sfs_workers_client_create(workers, 1);
	rc = opts.workers ? sfs_aio_open(&aio, ops, &opts) : -ENOMEM;
	if (rc == 0)
		sfs_aio_close(&aio);
	sfs_workers_destroy(workers, UINT64_MAX);
	return rc;
}
