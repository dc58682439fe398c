/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtio-fs device: its queues, their life cycle, its figures. The transport (lib/vhost_user, or a test) starts
 * and stops queues; everything between is the device's own.
 */
#ifndef SFS_VIRTIOFS_H
#define SFS_VIRTIOFS_H

#include <stdbool.h>
#include <stdint.h>

#include "sfs_aio.h"
#include "sfs_env.h"
#include "sfs_fs.h"
#include "sfs_mem.h"
#include "sfs_reactor.h"
#include "sfs_workers.h"

#define SFS_TAG_MAX            36 /* virtio_fs_config.tag; not NUL-terminated when full */
#define SFS_REQUEST_QUEUES_MAX 64
#define SFS_RING_SIZE_MAX      32768

/* Virtio feature bits (virtio 1.2, section 6) that the device offers. */
#define SFS_F_INDIRECT_DESC (1ull << 28)
#define SFS_F_EVENT_IDX     (1ull << 29)
#define SFS_F_VERSION_1     (1ull << 32)

struct sfs_device;

struct sfs_device_opts {
	const char *tag;              /* copied */
	unsigned request_queue_count; /* 1 to SFS_REQUEST_QUEUES_MAX; hiprio comes on top */
	unsigned ring_size_max;       /* power of two, 2 to SFS_RING_SIZE_MAX */
	unsigned slots_max;           /* limits.requests: requests in flight of one queue */
	unsigned io_depth;            /* of a queue's engine */
	unsigned turn_share_ns;       /* what a queue may do in a turn; 0: as usual */
	const struct sfs_aio_ops *engine;
	const char *iowq_cpus;
	bool
	    pin_memory; /* the guest's, while it is there; where that cannot be had it is said once and does not matter */
	struct sfs_reactor *const *reactors; /* queue i runs on reactors[i mod count]; the array is copied */
	unsigned reactor_count;
	struct sfs_workers *workers;
	unsigned workers_max;             /* limits.workers */
	struct sfs_session_limits limits; /* node_fds is the driver's: fs_info.node_fds_max */
	uint64_t
	    bytes_in_flight_max; /* of the device, shared out evenly to its request queues; 0: no limit */
	const struct sfs_fs_ops *fs;
	void *fs_ctx; /* from fs->create(); the device calls fs->destroy() in sfs_device_destroy() */
	struct sfs_fs_info fs_info; /* from fs->create() */
	int numa_node; /* where slots and tables go, and reactors that may; -1: the node of the guest's memory */
	const struct sfs_env_numa *numa; /* how they get there */
};

/** Makes a device without running queues. 0 or -errno (-ENOMEM, -EINVAL). Control thread. */
int sfs_device_create(const struct sfs_device_opts *opts, struct sfs_device **dev);

/** Frees it; every queue is stopped or abandoned, and the reactors still turn (or no longer have threads). Control thread. */
void sfs_device_destroy(struct sfs_device *dev);

const char *sfs_device_tag(const struct sfs_device *dev);
/** hiprio plus request queues. */
unsigned sfs_device_queue_count(const struct sfs_device *dev);
/** Bytes 0.. of virtio_fs_config (virtio 1.2, 5.11.4); clipped and zero-filled. Any thread. */
void sfs_device_config_read(const struct sfs_device *dev, uint32_t offset, void *buf, uint32_t bytes);

/** How to run one ring. Addresses are ours (sfs_mem_at_user()), valid as long as mem is referenced. */
struct sfs_vring_setup {
	uint64_t features;   /* negotiated virtio features */
	struct sfs_mem *mem; /* the queue takes a reference of its own */
	void *desc, *avail, *used;
	uint16_t size;
	uint16_t last_avail_idx, last_used_idx;
	bool
	    base_kept; /* nobody has moved the avail index since the queue's last stop: what was set aside then goes on */
	int kick_fd, call_fd; /* the queue's own after success (dup before); -1: none */
};

/**
 * Starts queue @idx: allocates its slots, and the reactor polls it from its next turn on. 0 or -errno: -EINVAL (index,
 * size, a ring outside of memory), -EBUSY (runs), -ENOMEM, or what the engine's open gave. One control thread per device;
 * may block (memory, engine set-up), never on the reactor.
 */
int sfs_device_queue_start(struct sfs_device *dev, unsigned idx, const struct sfs_vring_setup *setup);

/** A stop under way. The caller owns it until done is called. */
struct sfs_queue_stop {
	void (*done)(
	    struct sfs_queue_stop *stop); /* on the reactor's thread; must not block: write an eventfd */
	uint16_t last_avail_idx, last_used_idx; /* set before done: where the ring stands */
};

/**
 * Stops queue @idx: accepting ends, requests in flight finish and are answered, then done. Those that wait for locks are set
 * aside: neither answered nor lost, they go on when the queue starts again on the same ring, and are dropped by
 * sfs_device_reset() or where it starts on another. 0, or -ENOENT where it does not run (done is not called). Control thread;
 * does not block.
 */
int sfs_device_queue_stop(struct sfs_device *dev, unsigned idx, struct sfs_queue_stop *stop);

/** After done of a stop: frees slots and closes descriptors. Control thread; may block. */
void sfs_device_queue_release(struct sfs_device *dev, unsigned idx);

/**
 * Gives up on a queue, mostly on a stop that is overdue: the queue leaves the device at once, writes no answer to the ring
 * any more, and is freed after its last call has come back. Waits for nothing, not even for the reactor, which may hang in
 * a call itself; one that is just writing an answer finishes that. True: done of a stop will not be called any more. False:
 * the queue has drained meanwhile, done has been called or is being called: release it after. Control thread.
 */
bool sfs_device_queue_abandon(struct sfs_device *dev, unsigned idx);

/** Whether queue @idx runs. Control thread. */
bool sfs_device_queue_running(const struct sfs_device *dev, unsigned idx);

/**
 * The front end has gone, or the device was reset: forgets nodes, handles and INIT values. All queues are stopped or
 * abandoned. Control thread; may block (closes files).
 */
void sfs_device_reset(struct sfs_device *dev);

/** Why a queue stopped by itself, for the log and the figures; NULL: it did not. Any thread. */
const char *sfs_device_queue_fault(const struct sfs_device *dev, unsigned idx);

/* --- figures (any thread; values a moment old) --- */

struct sfs_queue_figures {
	const char *reactor;
	uint64_t requests, in_flight, kicks, calls, eventfd_reads;
};
void sfs_device_queue_figures(const struct sfs_device *dev, unsigned idx, struct sfs_queue_figures *fig);

struct sfs_op_figures {
	const char *name; /* "READ" */
	uint64_t count, errors, inline_count, engine_count, worker_count, bytes, p50_ns, p99_ns;
};
/** Figures of opcode @opcode summed over queues; false where the opcode is unknown or never came. */
bool sfs_device_op_figures(const struct sfs_device *dev, unsigned opcode, struct sfs_op_figures *fig);

struct sfs_device_figures {
	uint64_t inodes, handles, fds, limit_hits, bytes_copied, bad_requests, pinned_bytes;
};
void sfs_device_figures(const struct sfs_device *dev, struct sfs_device_figures *fig);

#endif
