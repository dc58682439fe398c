/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <errno.h>
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

int sfs_aio_pin_begin(const struct sfs_aio_ops *ops, const struct sfs_aio_pin_opts *opts,
		      struct sfs_aio_pin **pin)
{
	if (!ops->pin)
		return -ENOSYS;
	if (opts->count == 0 || opts->count > SFS_AIO_PIN_REGIONS_MAX)
		return -EINVAL;
	return ops->pin(opts, pin);
}

void sfs_aio_pin_put(struct sfs_aio_pin *pin)
{
	if (pin && atomic_fetch_sub_explicit(&pin->refs, 1, memory_order_acq_rel) == 1)
		pin->free(pin);
}
