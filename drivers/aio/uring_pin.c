/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "sfs_base.h"
#include "sfs_log.h"
#include "sfs_workers.h"
#include "uring_pin.h"

#define PIECE_SHIFT_MIN 26 /* 64 MiB */
#define PIECE_SHIFT_MAX 30 /* the kernel's limit */
/* About how many pieces a guest may have before they grow: each ring counts a reference for each. */
#define PIECES_AIM 512u
/* How much is brought into memory at a time: others of the process wait that long to map anything. */
#define POPULATE_BYTES (2u << 20)

enum pin_state {
	PIN_BUSY,
	PIN_READY,
	PIN_FAILED,
};

struct pin_region {
	uintptr_t at;
	size_t bytes;
	unsigned first; /* its first piece's number */
};

struct ur_pin {
	struct sfs_aio_pin pin;
	struct sfs_call call;
	struct io_uring ring;
	_Atomic enum pin_state state;
	bool vectors;
	unsigned shift; /* of a piece's size */
	unsigned region_count;
	struct pin_region regions[SFS_AIO_PIN_REGIONS_MAX];
	void (*release)(void *ctx);
	void *ctx;
	char name[64];
};

static struct ur_pin *pin_of(const struct sfs_aio_pin *pin)
{
	return (struct ur_pin *)((uintptr_t)pin - offsetof(struct ur_pin, pin));
}

/* The argument of UR_REGISTER_CLONE_BUFFERS. */
struct clone_buffers {
	uint32_t src_fd, flags, src_off, dst_off, nr, pad[3];
};

static int clone_from(int src_fd, int dst_fd)
{
	struct clone_buffers arg = {.src_fd = (uint32_t)src_fd};

	return io_uring_register((unsigned)dst_fd, UR_REGISTER_CLONE_BUFFERS, &arg, 1);
}

static size_t pieces_of(size_t bytes, unsigned shift)
{
	return (bytes + ((size_t)1 << shift) - 1) >> shift;
}

static void pin_layout(struct ur_pin *p, const struct sfs_aio_pin_opts *o)
{
	size_t bytes = 0;
	unsigned pieces = 0;

	for (unsigned i = 0; i < o->count; i++)
		bytes += o->regions[i].iov_len;
	p->shift = PIECE_SHIFT_MIN;
	while (p->shift < PIECE_SHIFT_MAX && bytes >> p->shift > PIECES_AIM)
		p->shift++;
	for (unsigned i = 0; i < o->count; i++) {
		const struct iovec *r = &o->regions[i];

		p->regions[i] = (struct pin_region){(uintptr_t)r->iov_base, r->iov_len, pieces};
		pieces += (unsigned)pieces_of(r->iov_len, p->shift);
	}
	p->region_count = o->count;
}

/* --- on a worker --- */

static bool unwanted(const struct ur_pin *p)
{
	return atomic_load_explicit(&p->pin.refs, memory_order_relaxed) == 1;
}

static int piece_pin(struct ur_pin *p, unsigned idx, char *at, size_t bytes)
{
	struct iovec iov = {at, bytes};
	struct io_uring_rsrc_update2 arg = {.offset = idx, .data = (uintptr_t)&iov, .nr = 1};
	int rc;

	for (size_t done = 0; done < bytes; done += POPULATE_BYTES) {
		if (unwanted(p))
			return -ECANCELED;
		if (madvise(at + done, SFS_MIN(bytes - done, (size_t)POPULATE_BYTES), MADV_POPULATE_WRITE) <
		    0)
			return -errno;
	}
	rc = io_uring_register((unsigned)p->ring.ring_fd, IORING_REGISTER_BUFFERS_UPDATE, &arg, sizeof(arg));
	return rc < 0 ? rc : 0;
}

static int region_pin(struct ur_pin *p, const struct pin_region *r)
{
	size_t step = (size_t)1 << p->shift;
	int rc = 0;

	for (size_t done = 0; rc == 0 && done < r->bytes; done += step)
		rc = piece_pin(p, r->first + (unsigned)(done >> p->shift), (char *)r->at + done,
			       SFS_MIN(r->bytes - done, step));
	return rc;
}

static int all_pin(struct ur_pin *p, uint64_t *bytes)
{
	const struct pin_region *last = &p->regions[p->region_count - 1];
	struct io_uring_rsrc_register table = {.nr = last->first + (unsigned)pieces_of(last->bytes, p->shift),
					       .flags = IORING_RSRC_REGISTER_SPARSE};
	int rc =
	    io_uring_register((unsigned)p->ring.ring_fd, IORING_REGISTER_BUFFERS2, &table, sizeof(table));

	*bytes = 0;
	for (unsigned i = 0; rc >= 0 && i < p->region_count; i++) {
		rc = region_pin(p, &p->regions[i]);
		*bytes += p->regions[i].bytes;
	}
	return rc;
}

static void pin_failed(struct ur_pin *p, int rc)
{
	struct rlimit locked = {0};

	/* What is pinned already goes with the ring. */
	atomic_store(&p->state, PIN_FAILED);
	if (rc == -ECANCELED)
		return;
	getrlimit(RLIMIT_MEMLOCK, &locked);
	if (rc == -ENOMEM && locked.rlim_cur != RLIM_INFINITY)
		SFS_WARN("device %s: guest memory is not pinned: the limit of locked memory is %llu KiB "
			 "(ulimit -l, "
			 "LimitMEMLOCK=)",
			 p->name, (unsigned long long)locked.rlim_cur / 1024);
	else
		SFS_WARN("device %s: guest memory is not pinned: %s", p->name, strerror(-rc));
}

static void pin_call(struct sfs_call *call)
{
	struct ur_pin *p = SFS_CONTAINER_OF(call, struct ur_pin, call);
	uint64_t bytes, start = sfs_now_ns();
	int rc = all_pin(p, &bytes);

	if (rc < 0) {
		pin_failed(p, rc);
	} else {
		atomic_store_explicit(&p->state, PIN_READY, memory_order_release);
		atomic_store(&p->pin.bytes, bytes);
		SFS_INFO("device %s: %llu MiB of guest memory pinned in %llu ms", p->name,
			 (unsigned long long)bytes >> 20,
			 (unsigned long long)(sfs_now_ns() - start) / 1000000);
	}
	sfs_aio_pin_put(&p->pin);
}

/* --- the control thread --- */

static void pin_free(struct sfs_aio_pin *pin)
{
	struct ur_pin *p = pin_of(pin);

	io_uring_queue_exit(&p->ring);
	p->release(p->ctx);
	free(p);
}

static bool knows_vectors(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool knows = probe && io_uring_opcode_supported(probe, UR_OP_WRITEV_FIXED);

	io_uring_free_probe(probe);
	return knows;
}

int ur_pin_begin(const struct sfs_aio_pin_opts *o, struct sfs_aio_pin **out)
{
	struct io_uring_params params = {0};
	struct ur_pin *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return -ENOMEM;
	rc = io_uring_queue_init_params(1, &p->ring, &params);
	if (rc) {
		free(p);
		return rc;
	}
	/* A kernel that knows the operation finds no ring there. */
	if (clone_from(-1, p->ring.ring_fd) != -EBADF) {
		io_uring_queue_exit(&p->ring);
		free(p);
		return -ENOSYS;
	}
	p->vectors = knows_vectors(&p->ring);
	pin_layout(p, o);
	snprintf(p->name, sizeof(p->name), "%s", o->name);
	p->release = o->release;
	p->ctx = o->ctx;
	atomic_store(&p->pin.refs, 2); /* the caller's and the call's */
	p->pin.free = pin_free;
	p->call.fn = pin_call;
	sfs_call_submit(o->workers, &p->call);
	*out = &p->pin;
	return 0;
}

/* --- the rings of queues --- */

bool ur_pin_vectors(const struct sfs_aio_pin *pin)
{
	return pin_of(pin)->vectors;
}

int ur_pin_take(const struct sfs_aio_pin *pin, const struct io_uring *ring)
{
	const struct ur_pin *p = pin_of(pin);

	switch (atomic_load_explicit(&p->state, memory_order_acquire)) {
	case PIN_BUSY:
		return -EAGAIN;
	case PIN_READY:
		return clone_from(p->ring.ring_fd, ring->ring_fd);
	case PIN_FAILED:
		break;
	}
	return -ENODATA;
}

static int piece_find(const struct ur_pin *p, const struct iovec *iov)
{
	for (unsigned i = 0; i < p->region_count; i++) {
		const struct pin_region *r = &p->regions[i];
		size_t off = (uintptr_t)iov->iov_base - r->at, piece = off >> p->shift;

		if (off >= r->bytes)
			continue;
		if (iov->iov_len == 0 || iov->iov_len > r->bytes - off ||
		    (off + iov->iov_len - 1) >> p->shift != piece)
			return -1;
		return (int)(r->first + piece);
	}
	return -1;
}

int ur_pin_find(const struct sfs_aio_pin *pin, const struct iovec *iov, unsigned count)
{
	const struct ur_pin *p = pin_of(pin);
	int idx = piece_find(p, &iov[0]);

	for (unsigned i = 1; i < count && idx >= 0; i++)
		if (piece_find(p, &iov[i]) != idx)
			return -1;
	return idx;
}
