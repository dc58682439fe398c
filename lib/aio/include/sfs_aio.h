/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I/O in flight: one engine instance (struct sfs_aio) per lane, that is per running virtqueue, and one per group of lanes for what is done
 * at once. All calls but open, fd and close are made by the lane's reactor thread. Queueing cannot fail for good: a full engine only
 * delays. Nothing completes inside queue or commit; completions are seen by reap alone.
 *
 * Engines: drivers/aio (uring, libaio, workers, and sim for tests).
 */
#ifndef SFS_AIO_H
#define SFS_AIO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "sfs_aio_pin.h"

enum sfs_io_kind {
	SFS_IO_READV,
	SFS_IO_WRITEV,
};

enum {
	SFS_IO_F_DIRECT = 1, /* the file is open with O_DIRECT: its kernel AIO does not block */
	/* On an instance that was opened at_once: the commit has done it when it returns, or could not: -EAGAIN or -EINTR. */
	SFS_IO_F_CACHED =
	    2, /* a read of what the page cache probably holds, of a file that knows RWF_NOWAIT: does not wait */
	SFS_IO_F_BLOCKS = 4, /* a buffered write: waits where a system call of its own would */
	SFS_IO_F_AT_ONCE = SFS_IO_F_CACHED | SFS_IO_F_BLOCKS,
};

/**
 * What engines remember of an open file: embedded in its owner's record of the descriptor, zero at first. An engine may hold
 * a file open beyond its I/Os; then its bit is set. The owner closes the descriptor only when no bit is left: it has each
 * engine that has one drop the file, and clears the bit after. So the last close is the owner's own, and a number that is
 * used again is never an old file's.
 */
struct sfs_aio_file {
	_Atomic uint64_t holders; /* set and cleared by the engines, cleared by the owner after a drop */
};

/**
 * One I/O. Embedded in the request; whoever queues it owns it again when reap hands it back. Between the two
 * the structure, the segment array and the memory behind it stay as they are.
 */
struct sfs_io {
	struct sfs_io *next; /* the engine's, while in flight */
	uint8_t kind;
	uint8_t flags;   /* SFS_IO_F_* */
	uint32_t iovcnt; /* at most IOV_MAX */
	int fd;
	uint32_t file_idx; /* the owner's number of the file, small and dense */
	struct sfs_aio_file
	    *file;    /* the file behind fd, or NULL: nothing of it is kept. Stays until the reap */
	int rw_flags; /* RWF_* for writes that want them (RWF_DSYNC, RWF_APPEND), else 0 */
	const struct iovec *iov;
	uint64_t offset;   /* beyond INT64_MAX: -EINVAL at reap */
	int64_t res;       /* at reap: bytes done (short counts as the kernel gave them) or -errno, but
	                          * never -EINTR or -EAGAIN where it is not SFS_IO_F_AT_ONCE */
	uint64_t priv[12]; /* the engine's: an iocb, a worker call */
};

struct sfs_workers_client;
struct sfs_reactor;

struct sfs_aio_opts {
	unsigned depth;                     /* I/Os that may be in flight in the kernel; at least 1 */
	bool at_once;                       /* it is there for SFS_IO_F_AT_ONCE, and for nothing else */
	const char *iowq_cpus;              /* CPU list for kernel workers ("0-1"), NULL: leave */
	struct sfs_workers_client *workers; /* do what would block the engine; the caller's; sim needs none */
	uint64_t file_bit;           /* this instance's in sfs_aio_file.holders; 0: it keeps no files */
	struct sfs_reactor *reactor; /* woken when a worker finishes; NULL: nobody */
	struct sfs_aio_pin *pin;     /* same engine's; the instance keeps a reference. NULL: none */
	uint64_t seed;               /* sim: where its randomness comes from */
};

struct sfs_aio;

struct sfs_aio_ops {
	const char *name;
	/**
	 * Makes the instance. May block; control thread. 0 or -errno: -ENOSYS, -EPERM (not to be had on this
	 * host), -EINVAL (no depth, no workers, a CPU list that is none), -ENOMEM, -EMFILE, -EAGAIN (a limit
	 * of the host).
	 */
	int (*open)(struct sfs_aio *aio, const struct sfs_aio_opts *opts);
	/** Frees it; nothing is in flight. */
	void (*close)(struct sfs_aio *aio);
	/**
	 * Takes @io; 0, or -EAGAIN: full, try again after the next reap. The lane keeps what is refused in
	 * order. Of SFS_IO_F_AT_ONCE also: cannot be done here.
	 */
	int (*queue)(struct sfs_aio *aio, struct sfs_io *io);
	/**
	 * Hands all that was queued to the kernel, and has it finish what it can only finish in a call of ours: at most one
	 * system call (and one for SFS_IO_F_BLOCKS), none if there is neither. The reap after it finds what that brought. Returns how many the kernel did
	 * not take: where that is not 0 the lane commits again at its next turn and does not sleep before.
	 */
	unsigned (*commit)(struct sfs_aio *aio);
	/** Collects up to @max finished I/Os, res set. Never blocks; no system call. */
	unsigned (*reap)(struct sfs_aio *aio, struct sfs_io **ios, unsigned max);
	/**
	 * Whether a commit and a reap may find something now. No system call. The last look of a reactor that has
	 * announced its sleep: whatever finishes after a false makes fd() readable or wakes opts->reactor.
	 */
	bool (*ready)(struct sfs_aio *aio);
	/**
	 * The descriptor that becomes readable (edge) when the kernel has finished something, for a reactor
	 * that sleeps. From this call on completions cost its signal, so a reactor that only spins does not
	 * ask. What workers finish wakes opts->reactor instead. -1: all of it does. The engine's own; never
	 * read it. Any thread, before the first queue.
	 */
	int (*fd)(struct sfs_aio *aio);
	/**
	 * Lets go of @file, number @file_idx, which no I/O in flight uses; its bit is clear then. NULL: of all files; nothing is in
	 * flight. NULL: an engine that keeps none.
	 */
	void (*files_drop)(struct sfs_aio *aio, const struct sfs_aio_file *file, uint32_t file_idx);
	/** See sfs_aio_pin_begin(). NULL: an engine that cannot. */
	int (*pin)(const struct sfs_aio_pin_opts *opts, struct sfs_aio_pin **pin);
};

/** An engine instance, embedded in the lane; priv is the engine's. */
struct sfs_aio {
	const struct sfs_aio_ops *ops;
	unsigned in_flight; /* queued and not yet reaped; kept by the sfs_aio_* wrappers */
	/*
	 * Opened at_once: from how many together on SFS_IO_F_CACHED and SFS_IO_F_BLOCKS cost less here than a system call each. 0: never, or
	 * not to be had.
	 */
	unsigned cached_min, blocking_min;
	void *priv;
};

/** cached_min or blocking_min of an engine that needs one system call for a batch, and @each_ns more for each I/O of it than a call of its own. */
unsigned sfs_aio_batch_min(unsigned each_ns);

/**
 * Opens an engine for a lane. Returns 0 or -errno of its open. Control thread; may block. @opts need not
 * stay, what its pointers name must stay until close.
 */
int sfs_aio_open(struct sfs_aio *aio, const struct sfs_aio_ops *ops, const struct sfs_aio_opts *opts);
/** Closes it; nothing may be in flight. Any one thread. May block. */
void sfs_aio_close(struct sfs_aio *aio);

static inline int sfs_aio_queue(struct sfs_aio *aio, struct sfs_io *io)
{
	int rc = aio->ops->queue(aio, io);

	if (rc == 0)
		aio->in_flight++;
	return rc;
}

static inline unsigned sfs_aio_commit(struct sfs_aio *aio)
{
	return aio->ops->commit(aio);
}

static inline unsigned sfs_aio_reap(struct sfs_aio *aio, struct sfs_io **ios, unsigned max)
{
	unsigned n = aio->in_flight ? aio->ops->reap(aio, ios, max) : 0;

	aio->in_flight -= n;
	return n;
}

static inline bool sfs_aio_ready(struct sfs_aio *aio)
{
	return aio->in_flight && aio->ops->ready(aio);
}

static inline int sfs_aio_fd(struct sfs_aio *aio)
{
	return aio->ops->fd(aio);
}

static inline void sfs_aio_files_drop(struct sfs_aio *aio, const struct sfs_aio_file *file, uint32_t file_idx)
{
	if (aio->ops->files_drop)
		aio->ops->files_drop(aio, file, file_idx);
}

#endif
