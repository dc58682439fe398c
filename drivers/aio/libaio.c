/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Linux AIO. It is asynchronous for files open with O_DIRECT only: all other I/O goes to workers. Completions
 * are read from the ring that the kernel maps into our memory.
 */
#include <assert.h>
#include <errno.h>
#include <libaio.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "calls.h"
#include "sfs_aio_engines.h"
#include "sfs_base.h"

#define LA_RING_MAGIC 0xa10a10a1u
#define LA_BATCH      64 /* completions that one call collects where the ring cannot be read */

/* What the kernel maps at the address that io_setup() returns (fs/aio.c); an unknown layout has another
 * magic. */
struct la_ring {
	uint32_t id;
	uint32_t nr;   /* events in the ring */
	uint32_t head; /* ours */
	uint32_t tail; /* the kernel's */
	uint32_t magic;
	uint32_t compat_features;
	uint32_t incompat_features;
	uint32_t header_length;
	struct io_event events[];
};

/*
 * A context. To destroy one takes some 30 ms (the kernel waits for RCU), which nobody wants to spend at the stop of a
 * queue: one that is closed has nothing in flight and serves the next instance of the same depth. There are never more
 * than were open at a time.
 */
struct la_ctx {
	struct la_ctx *next;
	io_context_t id;
	unsigned depth;
};

static pthread_mutex_t la_lock = PTHREAD_MUTEX_INITIALIZER;
static struct la_ctx *la_idle; /* la_lock */

struct la {
	struct la_ctx *ctx;
	struct la_ring *ring; /* NULL: its layout is unknown, io_getevents() it is */
	unsigned depth;
	int efd;
	bool wake;             /* somebody sleeps on efd */
	unsigned in_kernel;    /* submitted and not yet collected */
	unsigned queued;       /* in batch */
	struct sfs_io *failed; /* refused by io_submit(), newest first */
	struct aio_calls calls;
	struct iocb *batch[];
};

static_assert(sizeof(struct iocb) <= sizeof(((struct sfs_io *)0)->priv), "an iocb fits into an I/O");

/* What an I/O of a batch costs beside the batch's system call. */
#define LA_EACH_NS 150

static struct la_ctx *la_ctx_find(unsigned depth)
{
	struct la_ctx **at = &la_idle, *ctx;

	pthread_mutex_lock(&la_lock);
	while (*at && (*at)->depth != depth)
		at = &(*at)->next;
	ctx = *at;
	if (ctx)
		*at = ctx->next;
	pthread_mutex_unlock(&la_lock);
	return ctx;
}

static int la_ctx_get(unsigned depth, struct la_ctx **out)
{
	struct la_ctx *ctx = la_ctx_find(depth);
	int rc;

	if (!ctx) {
		ctx = calloc(1, sizeof(*ctx));
		if (!ctx)
			return -ENOMEM;
		ctx->depth = depth;
		rc = io_setup((int)depth, &ctx->id);
		if (rc < 0) {
			free(ctx);
			return rc;
		}
	}
	*out = ctx;
	return 0;
}

static void la_ctx_put(struct la_ctx *ctx)
{
	pthread_mutex_lock(&la_lock);
	ctx->next = la_idle;
	la_idle = ctx;
	pthread_mutex_unlock(&la_lock);
}

static int la_setup(struct la *la, const struct sfs_aio_opts *opts)
{
	struct la_ring *ring;
	int rc = aio_calls_init(&la->calls, opts);

	if (rc)
		return rc;
	la->depth = opts->depth;
	la->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (la->efd < 0)
		return -errno;
	rc = la_ctx_get(opts->depth, &la->ctx);
	if (rc < 0) {
		close(la->efd);
		return rc;
	}
	ring = (struct la_ring *)(void *)la->ctx->id;
	if (ring->magic == LA_RING_MAGIC && ring->incompat_features == 0 &&
	    ring->header_length == sizeof(*ring))
		la->ring = ring;
	return 0;
}

static int la_open(struct sfs_aio *aio, const struct sfs_aio_opts *opts)
{
	struct la *la;
	int rc;

	if (opts->depth == 0 || opts->depth > INT32_MAX)
		return -EINVAL;
	la = calloc(1, sizeof(*la) + opts->depth * sizeof(la->batch[0]));
	if (!la)
		return -ENOMEM;
	rc = la_setup(la, opts);
	if (rc) {
		free(la);
		return rc;
	}
	aio->priv = la;
	if (opts->at_once)
		aio->cached_min = aio->blocking_min = sfs_aio_batch_min(LA_EACH_NS);
	return 0;
}

static void la_close(struct sfs_aio *aio)
{
	struct la *la = aio->priv;

	assert(la->in_kernel == 0 && la->queued == 0);
	la_ctx_put(la->ctx);
	close(la->efd);
	free(la);
}

static int la_queue(struct sfs_aio *aio, struct sfs_io *io)
{
	struct la *la = aio->priv;
	struct iocb *iocb = (struct iocb *)(void *)io->priv;

	if (aio->in_flight >= la->depth)
		return -EAGAIN;
	if ((io->flags & SFS_IO_F_AT_ONCE) && io->offset > INT64_MAX)
		return -EAGAIN;
	if (!(io->flags & (SFS_IO_F_DIRECT | SFS_IO_F_AT_ONCE)) || io->offset > INT64_MAX) {
		aio_calls_submit(&la->calls, io);
		return 0;
	}
	memset(iocb, 0, sizeof(*iocb));
	iocb->data = io;
	iocb->aio_lio_opcode = io->kind == SFS_IO_READV ? IO_CMD_PREADV : IO_CMD_PWRITEV;
	iocb->aio_fildes = io->fd;
	iocb->aio_rw_flags = (unsigned)io->rw_flags;
	iocb->u.v.vec = io->iov;
	iocb->u.v.nr = io->iovcnt;
	iocb->u.v.offset = (long long)io->offset;
	if (io->flags & SFS_IO_F_CACHED) /* or refused there */
		iocb->aio_rw_flags |= RWF_NOWAIT;
	if (la->wake && !(io->flags & SFS_IO_F_AT_ONCE))
		io_set_eventfd(iocb, la->efd);
	la->batch[la->queued++] = iocb;
	return 0;
}

static unsigned la_commit(struct sfs_aio *aio)
{
	struct la *la = aio->priv;
	unsigned done = 0;
	int rc;

	if (la->queued == 0)
		return 0;
	rc = io_submit(la->ctx->id, la->queued, la->batch);
	if (rc > 0) {
		done = (unsigned)rc;
		la->in_kernel += done;
	} else if (rc < 0 && rc != -EAGAIN && rc != -EINTR) { /* the first of them cannot be done */
		struct sfs_io *io = la->batch[0]->data;

		io->res = rc;
		io->next = la->failed;
		la->failed = io;
		done = 1;
	}
	la->queued -= done;
	memmove(la->batch, la->batch + done, la->queued * sizeof(la->batch[0]));
	return la->queued;
}

/* Takes up to @max completions; where the ring can be read without a system call. */
static unsigned la_events(struct la *la, struct io_event *events, unsigned max)
{
	struct timespec none = {0};
	uint32_t head, tail;
	unsigned n = 0;
	int rc;

	if (!la->ring) {
		rc = io_getevents(la->ctx->id, 0, max, events, &none);
		return rc > 0 ? (unsigned)rc : 0;
	}
	head = la->ring->head;
	tail = __atomic_load_n(&la->ring->tail, __ATOMIC_ACQUIRE);
	while (head != tail && n < max) {
		events[n++] = la->ring->events[head];
		head = head + 1 == la->ring->nr ? 0 : head + 1;
	}
	__atomic_store_n(&la->ring->head, head, __ATOMIC_RELEASE);
	return n;
}

static unsigned la_reap(struct sfs_aio *aio, struct sfs_io **ios, unsigned max)
{
	struct la *la = aio->priv;
	struct io_event events[LA_BATCH];
	unsigned n = aio_calls_reap(&la->calls, ios, max), got;

	for (; la->failed && n < max; la->failed = la->failed->next)
		ios[n++] = la->failed;
	while (la->in_kernel && n < max) {
		got = la_events(la, events, SFS_MIN(max - n, LA_BATCH));
		if (got == 0)
			break;
		la->in_kernel -= got;
		for (unsigned i = 0; i < got; i++) {
			struct sfs_io *io = events[i].data;

			io->res = (int64_t)events[i].res;
			if (SFS_UNLIKELY((io->res == -EAGAIN || io->res == -EINTR) &&
					 !(io->flags & SFS_IO_F_AT_ONCE)))
				aio_calls_submit(&la->calls, io);
			else
				ios[n++] = io;
		}
	}
	return n;
}

static bool la_ready(struct sfs_aio *aio)
{
	struct la *la = aio->priv;

	if (la->failed || aio_calls_ready(&la->calls))
		return true;
	/* Without the ring only efd tells: it was signalled for all that io_getevents() has not seen. */
	return la->ring && la->ring->head != __atomic_load_n(&la->ring->tail, __ATOMIC_ACQUIRE);
}

static int la_fd(struct sfs_aio *aio)
{
	struct la *la = aio->priv;

	la->wake = true;
	return la->efd;
}

const struct sfs_aio_ops sfs_aio_libaio = {
    .name = "libaio",
    .open = la_open,
    .close = la_close,
    .queue = la_queue,
    .commit = la_commit,
    .reap = la_reap,
    .ready = la_ready,
    .fd = la_fd,
};
