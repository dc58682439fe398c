/* SPDX-License-Identifier: BSD-3-Clause */
/* An I/O engine for tests of what does no I/O: it is never asked; queueing ends the program. */
#ifndef NONE_AIO_H
#define NONE_AIO_H

#include "sfs_aio.h"

extern const struct sfs_aio_ops none_aio;

#endif
