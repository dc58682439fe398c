/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that an engine keeps pinned, so that I/O to and from it need not look up its pages: one for all the engine instances of a
 * guest. I/O does not wait for the pinning, and goes on as without where it fails.
 */
#ifndef SFS_AIO_PIN_H
#define SFS_AIO_PIN_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/uio.h>

struct sfs_aio_ops;
struct sfs_workers_client;

/** The common part; the engine's own is around it. */
struct sfs_aio_pin {
	_Atomic uint32_t refs;
	_Atomic uint64_t bytes;                /* how much is pinned: 0 until all is */
	void (*free)(struct sfs_aio_pin *pin); /* the engine's, after the last reference */
};

struct sfs_aio_pin_opts {
	const char *name;            /* the guest's, for the log; copied */
	const struct iovec *regions; /* multiples of a page, apart from each other; the array need not stay */
	unsigned count;              /* 1 to SFS_AIO_PIN_REGIONS_MAX */
	/* One of them pins, which takes seconds for a guest whose memory is not there yet. */
	struct sfs_workers_client *workers;
	/* Called once after success, not on a reactor: the memory is not used any more and may be unmapped. */
	void (*release)(void *ctx);
	void *ctx;
};

#define SFS_AIO_PIN_REGIONS_MAX 8

/**
 * Begins to pin. 0 and one reference, or -errno: -ENOSYS (the engine or the kernel cannot), -EINVAL (count), or what the host
 * refused. Control thread; does not wait for the pinning, whose own failure is a line of the log.
 */
int sfs_aio_pin_begin(const struct sfs_aio_ops *ops, const struct sfs_aio_pin_opts *opts,
		      struct sfs_aio_pin **pin);

/** One more reference. Any thread that holds one. */
static inline void sfs_aio_pin_get(struct sfs_aio_pin *pin)
{
	atomic_fetch_add_explicit(&pin->refs, 1, memory_order_relaxed);
}

/** Gives one back (NULL: nothing). The last one unpins; what is under way in the kernel keeps its pages. Not on a reactor; may block. */
void sfs_aio_pin_put(struct sfs_aio_pin *pin);

#endif
