/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring. The ring is made disabled by the control thread and enabled by the first queue, on the reactor's
 * thread, which is its single issuer from then on. I/Os in flight never exceed the entries of the submission
 * ring, of which the completion ring has twice as many: neither can overflow.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "calls.h"
#include "sfs_aio_engines.h"
#include "sfs_base.h"
#include "sfs_cpus.h"
#include "sfs_log.h"
#include "uring_files.h"
#include "uring_pin.h"

/*
 * The kernel's threads for I/O that would block are one pool for all rings of a reactor, by default of four
 * threads a CPU. Files of a filesystem that hangs would soon hold all of them, and with them the I/O of other
 * devices.
 */
#define UR_IOWQ_THREADS_MAX 1024
/* What an I/O costs on its way through the rings, beside the batch's system call: measured, decision 21. */
#define UR_EACH_NS 90

struct ur {
	struct io_uring ring;
	unsigned depth;
	bool enabled;
	bool refused; /* could not be enabled: all goes to workers */
	bool has_cpus;
	bool wake; /* somebody sleeps on efd */
	cpu_set_t iowq_cpus;
	int efd;
	struct aio_calls calls;
	struct ur_files files;
	struct sfs_aio_pin *pin; /* NULL: none */
	int pinned;              /* 1: the ring has its buffers; 0: not yet; -1: it never will */
	struct sfs_aio bulk;     /* does SFS_IO_F_BLOCKS; its ops are NULL where it cannot be had */
};

/* What this kernel does not give; nothing depends on it. */
static void ur_without(atomic_flag *said, const char *what, int rc)
{
	if (rc < 0 && !atomic_flag_test_and_set(said))
		SFS_DEBUG("io_uring without %s: %s", what, strerror(-rc));
}

static int ur_make_ring(struct ur *ur, unsigned depth)
{
	static const unsigned modes[] = {
	    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	    0,
	};
	int rc = -EINVAL;

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(modes) && rc == -EINVAL; i++) {
		struct io_uring_params params = {.flags =
						     IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP | modes[i]};

		rc = io_uring_queue_init_params(depth, &ur->ring, &params);
		ur->depth = SFS_MIN(depth, params.sq_entries);
	}
	return rc;
}

#define UR_ALLOWED_PINNED  3u
#define UR_ALLOWED_VECTORS 2u

/* What the ring may ever be used for, whoever gets hold of it. What the kernel does not know it would not take here either. */
static void ur_restrict(struct ur *ur)
{
	static atomic_flag said = ATOMIC_FLAG_INIT; /* once a process, here and below */
	struct io_uring_restriction allowed[] = {
	    {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ},
	    {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITE},
	    {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READV},
	    {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITEV},
	    {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_ENABLE_RINGS},
	    {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_FIXED_FILE},
	    {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_IOWQ_AFF},
	    {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_FILES_UPDATE},
	    /* With pinned memory: UR_ALLOWED_PINNED more. */
	    {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ_FIXED},
	    {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITE_FIXED},
	    {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = UR_REGISTER_CLONE_BUFFERS},
	    /* Where the kernel knows them: UR_ALLOWED_VECTORS more. */
	    {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = UR_OP_READV_FIXED},
	    {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = UR_OP_WRITEV_FIXED},
	};
	unsigned count = SFS_ARRAY_SIZE(allowed);

	if (!ur->pin || !ur_pin_vectors(ur->pin))
		count -= UR_ALLOWED_VECTORS;
	if (!ur->pin)
		count -= UR_ALLOWED_PINNED;
	/* By its number: liburing 2.3 exports no function for it. */
	ur_without(
	    &said, "restrictions",
	    io_uring_register((unsigned)ur->ring.ring_fd, IORING_REGISTER_RESTRICTIONS, allowed, count));
}

/*
 * Signals are for those who sleep and cost some 100 ns, so they are off while we are in the kernel ourselves;
 * what came meanwhile is seen by ur_ready() after they are on again, hence the full barrier.
 */
static void ur_signals(struct ur *ur, bool on)
{
	if (on)
		__atomic_fetch_and(ur->ring.cq.kflags, ~IORING_CQ_EVENTFD_DISABLED, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_or(ur->ring.cq.kflags, IORING_CQ_EVENTFD_DISABLED, __ATOMIC_SEQ_CST);
}

static int ur_setup(struct ur *ur, const struct sfs_aio_opts *opts)
{
	static atomic_flag said = ATOMIC_FLAG_INIT, said_files = ATOMIC_FLAG_INIT;
	unsigned threads[2] = {UR_IOWQ_THREADS_MAX, 0};
	int rc;

	if (opts->depth == 0)
		return -EINVAL;
	rc = aio_calls_init(&ur->calls, opts);
	if (rc)
		return rc;
	if (opts->iowq_cpus) {
		rc = sfs_cpus_parse(opts->iowq_cpus, &ur->iowq_cpus);
		if (rc)
			return rc;
		ur->has_cpus = true;
	}
	ur->pin = opts->pin;
	ur->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ur->efd < 0)
		return -errno;
	rc = ur_make_ring(ur, opts->depth);
	if (rc) {
		close(ur->efd);
		return rc;
	}
	/* With deferred task work a poll of the ring's own descriptor sees no completion: only an eventfd
	 * does. */
	rc = io_uring_register_eventfd(&ur->ring, ur->efd);
	if (rc) {
		io_uring_queue_exit(&ur->ring);
		close(ur->efd);
		return rc;
	}
	ur_signals(ur, false);
	ur_without(&said, "a limit of kernel workers",
		   io_uring_register_iowq_max_workers(&ur->ring, threads));
	if (opts->file_bit)
		ur_without(&said_files, "fixed files", ur_files_open(&ur->files, &ur->ring, opts->file_bit));
	ur_restrict(ur);
	return 0;
}

/* A number in a file of the kernel's; 0: not to be had. */
static unsigned long ur_sysctl(const char *path)
{
	FILE *f = fopen(path, "re");
	unsigned long n = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%lu", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

/*
 * A ring has its threads do buffered writes, one by one; Linux AIO does many at once. Its contexts are the whole host's: others
 * need them more, so no more than half of them are taken.
 */
static int ur_bulk_open(struct ur *ur, const struct sfs_aio_opts *opts)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;
	int rc = -EAGAIN;

	if (ur_sysctl("/proc/sys/fs/aio-nr") + opts->depth <= ur_sysctl("/proc/sys/fs/aio-max-nr") / 2)
		rc = sfs_aio_open(&ur->bulk, &sfs_aio_libaio, opts);
	if (rc < 0)
		ur->bulk.ops = NULL;
	ur_without(&said, "writes in batches", rc);
	return rc;
}

static int ur_open(struct sfs_aio *aio, const struct sfs_aio_opts *opts)
{
	struct ur *ur = calloc(1, sizeof(*ur));
	int rc;

	if (!ur)
		return -ENOMEM;
	rc = ur_setup(ur, opts);
	if (rc) {
		free(ur);
		return rc;
	}
	aio->priv = ur;
	if (ur->pin)
		sfs_aio_pin_get(ur->pin);
	if (!opts->at_once)
		return 0;
	aio->cached_min = sfs_aio_batch_min(UR_EACH_NS);
	if (ur_bulk_open(ur, opts) == 0)
		aio->blocking_min = ur->bulk.blocking_min;
	return 0;
}

static void ur_close(struct sfs_aio *aio)
{
	struct ur *ur = aio->priv;

	if (ur->bulk.ops)
		sfs_aio_close(&ur->bulk);
	io_uring_queue_exit(&ur->ring);
	close(ur->efd);
	ur_files_close(&ur->files);
	sfs_aio_pin_put(ur->pin);
	free(ur);
}

/* The reactor's first use of the ring. */
static void ur_enable(struct ur *ur)
{
	static atomic_flag said_refused = ATOMIC_FLAG_INIT, said_cpus = ATOMIC_FLAG_INIT;
	unsigned fd = (unsigned)ur->ring.ring_fd;
	int rc = io_uring_register(fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);

	if (rc < 0) {
		if (!atomic_flag_test_and_set(&said_refused))
			SFS_WARN("io_uring cannot be enabled, worker threads do its I/O: %s", strerror(-rc));
		ur->refused = true;
		return;
	}
	ur->enabled = true;
	if (!ur->has_cpus)
		return;
	/* The mask belongs to this thread's kernel workers, which the submission of nothing brings into
	 * being. */
	rc = io_uring_enter(fd, 1, 0, 0, NULL);
	if (rc >= 0)
		rc = io_uring_register_iowq_aff(&ur->ring, sizeof(ur->iowq_cpus), &ur->iowq_cpus);
	ur_without(&said_cpus, "CPUs for kernel workers", rc);
}

/* The registered buffer that holds all of the I/O's segments; -1: none. */
static int ur_buffer(struct ur *ur, const struct sfs_io *io)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;

	if (!ur->pin || ur->pinned < 0)
		return -1;
	if (SFS_UNLIKELY(!ur->pinned)) {
		int rc = ur_pin_take(ur->pin, &ur->ring);

		if (rc == -EAGAIN)
			return -1;
		ur->pinned = rc < 0 ? -1 : 1;
		ur_without(&said, "pinned memory", rc);
		if (rc < 0)
			return -1;
	}
	return ur_pin_find(ur->pin, io->iov, io->iovcnt);
}

static void ur_prep(struct ur *ur, struct io_uring_sqe *sqe, const struct sfs_io *io)
{
	bool read = io->kind == SFS_IO_READV, one = io->iovcnt == 1 && io->iov->iov_len <= UINT32_MAX;
	int buffer = ur_buffer(ur, io);

	if (one)
		io_uring_prep_rw(read ? IORING_OP_READ : IORING_OP_WRITE, sqe, io->fd, io->iov->iov_base,
				 (unsigned)io->iov->iov_len, io->offset);
	else
		io_uring_prep_rw(read ? IORING_OP_READV : IORING_OP_WRITEV, sqe, io->fd, io->iov, io->iovcnt,
				 io->offset);
	if (buffer < 0)
		return;
	if (one)
		sqe->opcode = read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
	else if (ur_pin_vectors(ur->pin))
		sqe->opcode = read ? UR_OP_READV_FIXED : UR_OP_WRITEV_FIXED;
	else
		return;
	sqe->buf_index = (uint16_t)buffer;
}

static int ur_queue(struct sfs_aio *aio, struct sfs_io *io)
{
	struct ur *ur = aio->priv;
	struct io_uring_sqe *sqe;
	int slot;

	if (SFS_UNLIKELY(!ur->enabled) && !ur->refused)
		ur_enable(ur);
	if (aio->in_flight >= ur->depth)
		return -EAGAIN;
	/* An offset that is none would be taken for the file's position. */
	if (SFS_UNLIKELY(ur->refused || io->offset > INT64_MAX)) {
		if (io->flags & SFS_IO_F_AT_ONCE)
			return -EAGAIN;
		aio_calls_submit(&ur->calls, io);
		return 0;
	}
	if ((io->flags & SFS_IO_F_BLOCKS) && ur->bulk.ops)
		return sfs_aio_queue(&ur->bulk, io);
	sqe = io_uring_get_sqe(&ur->ring);
	assert(sqe);
	slot = ur_files_get(&ur->files, io);
	io->priv[0] = (uint64_t)(slot + 1);
	ur_prep(ur, sqe, io);
	if (slot >= 0) {
		sqe->fd = slot;
		sqe->flags = IOSQE_FIXED_FILE;
	}
	sqe->rw_flags = io->rw_flags;
	if (io->flags & SFS_IO_F_CACHED) /* or it would go on alone */
		sqe->rw_flags |= RWF_NOWAIT;
	io_uring_sqe_set_data(sqe, io);
	return 0;
}

/* The kernel has completions that only a system call of ours makes it finish. */
static bool ur_wants_us(const struct ur *ur)
{
	return __atomic_load_n(ur->ring.sq.kflags, __ATOMIC_ACQUIRE) & IORING_SQ_TASKRUN;
}

static unsigned ur_commit(struct sfs_aio *aio)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;
	struct ur *ur = aio->priv;
	unsigned left = ur->bulk.in_flight ? sfs_aio_commit(&ur->bulk) : 0;
	int rc;

	if (io_uring_sq_ready(&ur->ring) == 0 && !ur_wants_us(ur))
		return left;
	if (ur->wake)
		ur_signals(ur, false);
	rc = io_uring_submit_and_get_events(&ur->ring);
	if (ur->wake)
		ur_signals(ur, true);
	if (SFS_UNLIKELY(rc < 0 && rc != -EAGAIN && rc != -EBUSY && rc != -EINTR) &&
	    !atomic_flag_test_and_set(&said))
		SFS_ERROR("io_uring takes no I/O: %s", strerror(-rc));
	return left + io_uring_sq_ready(&ur->ring);
}

/* Takes what stands in the completion ring. */
static unsigned ur_harvest(struct ur *ur, struct sfs_io **ios, unsigned max)
{
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0, n = 0;

	io_uring_for_each_cqe(&ur->ring, head, cqe)
	{
		struct sfs_io *io = io_uring_cqe_get_data(cqe);

		if (n == max)
			break;
		seen++;
		if (io->priv[0])
			ur_files_put(&ur->files, (unsigned)io->priv[0] - 1);
		if (SFS_UNLIKELY((cqe->res == -EAGAIN || cqe->res == -EINTR) &&
				 !(io->flags & SFS_IO_F_AT_ONCE))) {
			aio_calls_submit(&ur->calls, io);
			continue;
		}
		io->res = cqe->res;
		ios[n++] = io;
	}
	io_uring_cq_advance(&ur->ring, seen);
	return n;
}

static unsigned ur_reap(struct sfs_aio *aio, struct sfs_io **ios, unsigned max)
{
	struct ur *ur = aio->priv;
	unsigned n = aio_calls_reap(&ur->calls, ios, max);

	n += sfs_aio_reap(&ur->bulk, ios + n, max - n);
	return n + ur_harvest(ur, ios + n, max - n);
}

static bool ur_ready(struct sfs_aio *aio)
{
	struct ur *ur = aio->priv;

	return aio_calls_ready(&ur->calls) || sfs_aio_ready(&ur->bulk) || io_uring_cq_ready(&ur->ring) ||
	       ur_wants_us(ur);
}

static int ur_fd(struct sfs_aio *aio)
{
	struct ur *ur = aio->priv;

	ur->wake = true; /* the first commit switches signals on */
	return ur->efd;
}

static void ur_files_dropped(struct sfs_aio *aio, const struct sfs_aio_file *file, uint32_t file_idx)
{
	struct ur *ur = aio->priv;

	ur_files_drop(&ur->files, file, file_idx);
}

const struct sfs_aio_ops sfs_aio_uring = {
    .name = "io_uring",
    .open = ur_open,
    .close = ur_close,
    .queue = ur_queue,
    .commit = ur_commit,
    .reap = ur_reap,
    .ready = ur_ready,
    .fd = ur_fd,
    .files_drop = ur_files_dropped,
    .pin = ur_pin_begin,
};
