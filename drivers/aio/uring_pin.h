/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory as registered buffers. A ring of its own, which does no I/O, gets them registered by a worker; the rings of the guest's queues
 * take them over from it, which only counts references. Piece by piece: a buffer is at most 1 GiB, and a piece is pinned with
 * interrupts off where all of it is there.
 */
#ifndef URING_PIN_H
#define URING_PIN_H

#include <liburing.h>
#include <stdbool.h>

#include "sfs_aio.h"

/* Not in liburing 2.3: numbers of include/uapi/linux/io_uring.h, since Linux 6.12 and 6.15. */
enum {
	UR_REGISTER_CLONE_BUFFERS = 30,
	UR_OP_READV_FIXED = 60,
	UR_OP_WRITEV_FIXED = 61,
};

/** An engine's pin operation. */
int ur_pin_begin(const struct sfs_aio_pin_opts *opts, struct sfs_aio_pin **pin);

/** Whether the kernel takes segments of a registered buffer, UR_OP_*V_FIXED. Any thread. */
bool ur_pin_vectors(const struct sfs_aio_pin *pin);

/** Has @ring take all over, once: 0, -EAGAIN (not pinned yet), or -errno: it never will. The ring's own thread. */
int ur_pin_take(const struct sfs_aio_pin *pin, const struct io_uring *ring);

/** The number of the registered buffer that holds all of @iov, or -1. Any thread. */
int ur_pin_find(const struct sfs_aio_pin *pin, const struct iovec *iov, unsigned count);

#endif
