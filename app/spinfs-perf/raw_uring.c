/* SPDX-License-Identifier: BSD-3-Clause */
/* Plain reads and writes by io_uring at its best: one system call a batch, registered files and buffers. */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "perf.h"

struct pu_ring {
	struct perf_lane *lane;
	struct io_uring ring;
	unsigned depth;
	struct perf_job *jobs;
	struct iovec *iov; /* one buffer for each operation in flight */
	bool fixed_buffers;
	unsigned in_flight;
};

static int pu_open(struct pu_ring *r)
{
	const struct perf_guest *guest = r->lane->guest;
	unsigned files = guest->work.files;
	size_t stride = SFS_ALIGN_UP(guest->work.bs, SFS_FG_PAGE);
	int *fds = calloc(files, sizeof(*fds)), rc;
	uint8_t *bufs;

	r->depth = guest->work.iodepth;
	r->jobs = calloc(r->depth, sizeof(*r->jobs));
	r->iov = calloc(r->depth, sizeof(*r->iov));
	bufs = aligned_alloc(SFS_FG_PAGE, stride * r->depth);
	if (!r->jobs || !r->iov || !bufs || !fds) {
		free(fds);
		free(bufs);
		return -ENOMEM;
	}
	memset(bufs, 1, stride * r->depth);
	for (unsigned i = 0; i < r->depth; i++)
		r->iov[i] = (struct iovec){.iov_base = bufs + i * stride, .iov_len = guest->work.bs};
	for (unsigned i = 0; i < files; i++)
		fds[i] = guest->files[i].fd;
	rc = io_uring_queue_init(r->depth, &r->ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	if (rc == 0) {
		rc = io_uring_register_files(&r->ring, fds, files);
		/* May be refused where memory that is locked is limited. */
		r->fixed_buffers = rc == 0 && !r->lane->guest->run->opts.unpinned &&
				   io_uring_register_buffers(&r->ring, r->iov, r->depth) == 0;
	}
	free(fds);
	return rc;
}

static void pu_start(struct pu_ring *r, unsigned i, uint64_t now)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
	struct perf_job *job = &r->jobs[i];
	unsigned bs = (unsigned)r->iov[i].iov_len;

	job->lane = r->lane;
	job->id = i;
	job->start_ns = now;
	perf_pick_block(job);
	if (job->is_write)
		io_uring_prep_write(sqe, (int)job->file, r->iov[i].iov_base, bs, job->offset);
	else
		io_uring_prep_read(sqe, (int)job->file, r->iov[i].iov_base, bs, job->offset);
	if (r->fixed_buffers) {
		sqe->opcode = job->is_write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
		sqe->buf_index = (uint16_t)i;
	}
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, i);
	r->in_flight++;
}

static void pu_over(struct pu_ring *r, const struct io_uring_cqe *cqe, uint64_t now)
{
	struct perf_lane *lane = r->lane;
	uint64_t took = now - r->jobs[cqe->user_data].start_ns;

	r->in_flight--;
	lane->c.ops++;
	if (cqe->res >= 0)
		lane->c.bytes += (uint64_t)cqe->res;
	else if (!lane->c.errors++)
		lane->c.first_error = cqe->res;
	sfs_hist_fine_add(&lane->c.hist, took);
	lane->c.min_ns = SFS_MIN(lane->c.min_ns, took);
}

static void pu_turn(struct pu_ring *r, bool more)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_submit_and_wait(&r->ring, 1);
	uint64_t now = sfs_now_ns();
	io_uring_for_each_cqe(&r->ring, head, cqe)
	{
		pu_over(r, cqe, now);
		if (more)
			pu_start(r, (unsigned)cqe->user_data, now);
		n++;
	}
	io_uring_cq_advance(&r->ring, n);
}

void *perf_raw_uring_body(void *thread)
{
	struct perf_thread *t = thread;
	struct pu_ring r = {.lane = &t->lanes[0]};
	int rc = pu_open(&r);

	perf_thread_phase(t);
	for (unsigned i = 0; rc == 0 && i < r.depth; i++)
		pu_start(&r, i, sfs_now_ns());
	while (perf_thread_phase(t) != PERF_STOP) {
		if (rc == 0)
			pu_turn(&r, true);
		else
			sfs_pause();
		atomic_store_explicit(&t->run->ops_so_far, r.lane->c.ops, memory_order_relaxed);
	}
	struct perf_count kept = r.lane->c;
	while (rc == 0 && r.in_flight)
		pu_turn(&r, false);
	r.lane->c = kept;
	if (rc < 0) {
		r.lane->c.errors++;
		r.lane->c.first_error = rc;
	} else {
		io_uring_queue_exit(&r.ring);
	}
	free(r.iov ? r.iov[0].iov_base : NULL);
	free(r.iov);
	free(r.jobs);
	return NULL;
}
