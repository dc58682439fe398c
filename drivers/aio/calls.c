/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "calls.h"
#include "sfs_base.h"

/* A file below that says "try again" to a blocking call is asked this often, a millisecond apart. */
#define CALLS_AGAIN_MAX 100

static_assert(sizeof(struct sfs_call) <= sizeof(((struct sfs_io *)0)->priv), "a call fits into an I/O");

int64_t aio_do(const struct sfs_io *io, const struct iovec *iov, unsigned iovcnt)
{
	unsigned again = 0;
	ssize_t n;

	/* To the kernel an offset of -1 is the file's position, which nobody here may move. */
	if (io->offset > INT64_MAX)
		return -EINVAL;
	for (;;) {
		if (io->kind == SFS_IO_READV)
			n = preadv2(io->fd, iov, (int)iovcnt, (off_t)io->offset, io->rw_flags);
		else
			n = pwritev2(io->fd, iov, (int)iovcnt, (off_t)io->offset, io->rw_flags);
		if (n >= 0)
			return n;
		if (errno == EAGAIN) {
			if (++again > CALLS_AGAIN_MAX)
				return -EIO;
			usleep(1000);
		} else if (errno != EINTR) {
			return -errno;
		}
	}
}

static void calls_run(struct sfs_call *call)
{
	struct sfs_io *io = SFS_CONTAINER_OF(call, struct sfs_io, priv);

	io->res = aio_do(io, io->iov, io->iovcnt);
}

int aio_calls_init(struct aio_calls *calls, const struct sfs_aio_opts *opts)
{
	if (!opts->workers)
		return -EINVAL;
	calls->client = opts->workers;
	atomic_init(&calls->port.done, NULL);
	calls->port.reactor = opts->reactor;
	calls->ready = NULL;
	return 0;
}

void aio_calls_submit(struct aio_calls *calls, struct sfs_io *io)
{
	struct sfs_call *call = (struct sfs_call *)(void *)io->priv;

	call->port = &calls->port;
	call->fn = calls_run;
	sfs_call_submit(calls->client, call);
}

unsigned aio_calls_reap(struct aio_calls *calls, struct sfs_io **ios, unsigned max)
{
	unsigned n = 0;

	while (n < max) {
		struct sfs_call *call = calls->ready ? calls->ready : sfs_call_reap(&calls->port);

		if (!call)
			break;
		calls->ready = call->next;
		ios[n++] = SFS_CONTAINER_OF(call, struct sfs_io, priv);
	}
	return n;
}

bool aio_calls_ready(const struct aio_calls *calls)
{
	return calls->ready || atomic_load_explicit(&calls->port.done, memory_order_relaxed);
}
