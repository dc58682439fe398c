/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A FUSE request in its slot, and the calls with which an operation waits.
 *
 * Each FUSE operation is one function. It finishes, or it parks. When what it waited for is ready, the same function
 * is entered again at its next step (req->step) with the result in req->res. Only sfs_req_run() ever calls an operation.
 * No local variable survives a park: what must, goes into the request (state of the driver: req->drv).
 *
 * An operation returns
 *   SFS_DONE    finished: the reply is what it put into req->out / the guest's pages (see below);
 *   SFS_PARKED  only as the value of one of the wait calls below;
 *   SFS_AGAIN   only as the value of sfs_req_block(): enter me again now;
 *   -errno      finished with this error; everything it holds but pins must be given back before. EINTR, EAGAIN of
 *               internal origin and positive values are bugs.
 */
#ifndef SFS_REQ_H
#define SFS_REQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sfs_aio.h"
#include "sfs_base.h"
#include "sfs_chain.h"
#include "sfs_proto.h"
#include "sfs_workers.h"

enum { SFS_DONE = 0, SFS_PARKED = 1, SFS_AGAIN = 2 };

enum sfs_req_state {
	SFS_REQ_FREE,
	SFS_REQ_RUNNING, /* an operation's function is on the stack, or is about to be */
	SFS_REQ_IO,      /* the engine's, or in the lane's list of I/O not yet queued */
	SFS_REQ_CALL,    /* a worker's */
	SFS_REQ_WAIT,    /* in the lane's list of waiters */
	SFS_REQ_BARRIER, /* waits for the session to drain */
	SFS_REQ_YIELD,   /* waits for the next turn */
	SFS_REQ_ENDED,   /* in the lane's list of ended requests */
};

struct sfs_lane;
struct sfs_session;
struct sfs_op;
struct sfs_node;
struct sfs_handle;
struct sfs_fdent;

#define SFS_REQ_PINS       4
#define SFS_REQ_DRV_BYTES  128
#define SFS_REQ_TAIL_BYTES 520 /* two names, each of at most NAME_MAX bytes and a NUL, inline */

/** Where a request's time went, for the figures. */
enum sfs_req_path { SFS_PATH_INLINE, SFS_PATH_ENGINE, SFS_PATH_WORKER };

struct sfs_req {
	/*
	 * What each request touches comes first, by cache line: slots are used in turn, and the copy that the kernel makes for a
	 * READ has pushed them out of the nearest cache meanwhile.
	 */
	struct sfs_req *next; /* the list that state names */
	struct sfs_lane *lane;
	struct sfs_session *session;
	const struct sfs_op *op;
	uint8_t state;      /* enum sfs_req_state */
	uint8_t path;       /* enum sfs_req_path: the slowest that was used */
	uint16_t step;      /* where the operation goes on; 0 at first */
	uint32_t out_bytes; /* bytes of `out` that make the fixed part of the reply; set by the operation */
	int64_t res;        /* the result of what the operation waited for; >= 0 or -errno */
	uint64_t
	    data_bytes; /* READ and the like: bytes that now stand in the guest's pages after the reply header */
	uint64_t start_ns;

	struct fuse_in_header in; /* our copy, checked */
	/* Bulk data: segments in guest memory. READ: where the data goes; WRITE: where it comes from. The array is the
	 * slot's own: sfs_req_data_advance() moves on after a short count. */
	struct iovec *data;
	unsigned data_cnt;
	int head_saved_idx; /* of the writable segment that header and data share, -1: none */
	uint64_t data_left; /* bytes of data[] */

	struct sfs_chain chain;

	struct sfs_handle *pin_handle[2]; /* released when the request ends, as pin_fd and pin_node */
	uint8_t pin_fd_count, pin_node_count, pin_handle_count;
	bool lock_waiter; /* counted as such until it ends: sfs_req_wait_lock() */
	bool buf_taken;   /* the arguments' tail stands in buf */
	bool big_taken;   /* the segment array is one of the lane's pool */
	char *buf;        /* a 64 KiB buffer of the lane, or NULL: sfs_req_buf() */

	union {
		struct fuse_forget_in forget;
		struct fuse_getattr_in getattr;
		struct fuse_setattr_in setattr;
		struct fuse_mknod_in mknod;
		struct fuse_mkdir_in mkdir;
		struct fuse_rename2_in rename; /* RENAME fills flags with 0 */
		struct fuse_link_in link;
		struct fuse_open_in open;
		struct fuse_create_in create;
		struct fuse_read_in read; /* READ, READDIR, READDIRPLUS */
		struct fuse_write_in write;
		struct fuse_release_in release;
		struct fuse_flush_in flush;
		struct fuse_fsync_in fsync;
		struct fuse_setxattr_in setxattr;
		struct fuse_getxattr_in getxattr; /* GETXATTR, LISTXATTR */
		struct fuse_access_in access;
		struct fuse_init_in init;
		struct fuse_interrupt_in interrupt;
		struct fuse_batch_forget_in batch_forget;
		struct fuse_fallocate_in fallocate;
		struct fuse_lseek_in lseek;
		struct fuse_lk_in lk;
		struct fuse_copy_file_range_in copy_file_range;
		struct fuse_ioctl_in ioctl;
		struct fuse_syncfs_in syncfs;
		struct sfs_fuse_statx_in statx;
	} arg; /* our copy, length and fields checked by parse.c; bytes that an older guest did not send are 0 */

	const char *name
	    [2]; /* names after the arguments: NUL-terminated, checked, in tail or buf; [1] for RENAME's new
	                      * name and SYMLINK's target */
	uint32_t name_bytes[2];
	/* What follows arguments and names, of operations with SFS_OP_EXTRA: SETXATTR's value, BATCH_FORGET's items, ... */
	uint32_t extra_bytes;
	const char *extra;

	SFS_ALIGNED uint64_t
	    drv[SFS_REQ_DRV_BYTES / 8]; /* the driver's; zeroed before the operation's first step */

	/* The reply. The header is written by sfs_req_end(). */
	union {
		struct fuse_entry_out entry;
		struct fuse_attr_out attr;
		struct {
			struct fuse_entry_out entry;
			struct fuse_open_out open;
		} create;
		struct fuse_open_out open;
		struct fuse_write_out write;
		struct fuse_kstatfs statfs;     /* the payload of fuse_statfs_out */
		struct fuse_getxattr_out xattr; /* size queries of GETXATTR and LISTXATTR */
		struct fuse_init_out init;
		struct fuse_lseek_out lseek;
		struct fuse_lk_out lk;
		struct fuse_ioctl_out ioctl;
		struct sfs_fuse_statx_out statx;
		struct sfs_fuse_copy_file_range_out copy; /* COPY_FILE_RANGE_64; the older one: write */
	} out; /* of this operation's kind: zeroed before its first step */

	struct sfs_fdent *pin_fd[SFS_REQ_PINS];
	struct sfs_node *pin_node[SFS_REQ_PINS];
	struct iovec head_saved; /* the segment at head_saved_idx, as it was */
	struct sfs_io io;
	struct sfs_call call;
	int64_t (*call_fn)(struct sfs_req *req);
	uint32_t looked; /* objects looked at, as the function of sfs_req_block() says; 0 before it runs */
	uint64_t wait_epoch;
	uint32_t lock_wait; /* of a waiter for a record lock: its place in the session's table + 1 */
	char tail[SFS_REQ_TAIL_BYTES];
};

_Static_assert(offsetof(struct sfs_req, in) == SFS_CACHE_LINE, "the first cache lines are full");
_Static_assert(offsetof(struct sfs_req, chain) == 2 * SFS_CACHE_LINE, "the first cache lines are full");
_Static_assert(offsetof(struct sfs_req, arg) == 6 * SFS_CACHE_LINE, "arguments begin a cache line");

/** The driver's own state in the request, typed. At most SFS_REQ_DRV_BYTES; all zero at step 0. */
#define SFS_REQ_DRV(req, type)                                                                               \
	({                                                                                                   \
		_Static_assert(sizeof(type) <= SFS_REQ_DRV_BYTES, "driver state too large");                 \
		(type *)(void *)(req)->drv;                                                                  \
	})

/* --- the ways to wait; each is the operation's return value: return sfs_req_io(...); --- */

/**
 * Reads into (SFS_IO_READV) or writes from (SFS_IO_WRITEV) req->data - at most data_left bytes - at @offset of
 * @ent's file, by the lane's engine. Goes on at @step with res = bytes or -errno. @ent is pinned by the request. @flags: SFS_IO_F_*.
 */
int sfs_req_io(struct sfs_req *req, uint16_t step, enum sfs_io_kind kind, struct sfs_fdent *ent,
	       uint64_t offset, unsigned flags, int rw_flags);

/**
 * Runs @fn(req) on a worker thread; goes on at @step with res = its result. @fn may block and may use the request, its
 * pins, sfs_node_*, sfs_handle_*, sfs_fd_*, and nothing of the lane.
 */
int sfs_req_call(struct sfs_req *req, uint16_t step, int64_t (*fn)(struct sfs_req *req));

/**
 * As sfs_req_call(), but inline where the share's policy lets blocking calls run on the reactor (sfs_block_policy): then
 * fn has run when this returns, and the operation is entered again at @step at once. What it took is judged: where it is long for
 * what was done (req->looked), workers get the next ones.
 */
int sfs_req_block(struct sfs_req *req, uint16_t step, int64_t (*fn)(struct sfs_req *req));

/**
 * Waits for another request to let go of something: goes on at @step after the next sfs_session_wake() (or at once, if
 * one came since @epoch = sfs_session_epoch() was read, which must be before the look that found the thing taken).
 */
int sfs_req_wait(struct sfs_req *req, uint16_t step, uint64_t epoch);

/**
 * As sfs_req_wait(), for what may be held for ever, and by others than this device: locks. Also looked at again at
 * growing intervals. Goes on with res = 0, or with -ENOLCK: too many wait already (limits.lock_waiters of the device,
 * half of a queue's slots, so that what lets go can always come), or the guest starts anew. Where the queue stops meanwhile the
 * operation does not go on: after a restart the request begins again at step 0, so it must have changed nothing.
 */
int sfs_req_wait_lock(struct sfs_req *req, uint16_t step, uint64_t epoch);

/**
 * A lock was refused, and the request is going to wait: it counts as a waiter until it ends, as in sfs_req_wait_lock(), which does
 * this where it was not done before. For those who look for deadlocks first (sfs_lock.h). 0 or -ENOLCK. Reactor.
 */
int sfs_req_lock_waits(struct sfs_req *req);

/**
 * Waits until every queue of the device has stopped accepting and no other request is in flight; they accept again when
 * this request ends. INIT and DESTROY. With another barrier already set: waits for its end first.
 */
int sfs_req_barrier(struct sfs_req *req, uint16_t step);

/**
 * Lets the reactor's other queues have their turns: goes on at @step in the next turn of this one. For what sfs_req_share()
 * and sfs_req_share_objects() cut into pieces.
 */
int sfs_req_yield(struct sfs_req *req, uint16_t step);

/* --- helpers for operations --- */

/**
 * How many of the @want bytes (at least 1) an operation may copy now, on the reactor: a turn's share is 1 MiB or so, less
 * where the reactor serves other guests. 0: this turn's is used up, sfs_req_yield(). What is granted counts as used.
 * What is not more than SFS_REQ_SHARE_MIN, or half of it where one of these is always quick, is never cut.
 */
uint64_t sfs_req_share(struct sfs_req *req, uint64_t want);
#define SFS_REQ_SHARE_MIN 16384u

/**
 * How many of the @want objects (at least 1) of a listing an operation may look at now, on the reactor. 0: this turn's share is used up,
 * sfs_req_yield(). Never less than SFS_REQ_SHARE_OBJECTS, or all that is wanted. Names alone count SFS_REQ_NAMES_PER_OBJECT for one.
 * What was looked at counts when it is said: to sfs_req_share_looked(), or to sfs_req_block() in req->looked.
 */
uint32_t sfs_req_share_objects(struct sfs_req *req, uint32_t want);
void sfs_req_share_looked(struct sfs_req *req, uint32_t objects);
#define SFS_REQ_NAMES_PER_OBJECT 8u
#define SFS_REQ_SHARE_OBJECTS    3u

/**
 * Whether a cached read (@flag SFS_IO_F_CACHED) or a write that may wait (SFS_IO_F_BLOCKS) costs less by sfs_req_io() with that flag
 * than by a call: enough other requests come with it, on whichever queue, and what may wait may do so on the reactor. Where that
 * could not be done at once it goes to the engine like any other I/O.
 */
bool sfs_req_batched(const struct sfs_req *req, unsigned flag);

/** How many pins a request holds: for operations that look at many objects, a listing with attributes. */
struct sfs_pin_mark {
	uint8_t fd_count, node_count, handle_count;
};

static inline struct sfs_pin_mark sfs_req_pin_mark(const struct sfs_req *req)
{
	return (struct sfs_pin_mark){req->pin_fd_count, req->pin_node_count, req->pin_handle_count};
}

/** Releases what was pinned since @mark. May close descriptors, by the share's policy. Whoever owns the request. */
void sfs_req_unpin_to(struct sfs_req *req, struct sfs_pin_mark mark);

/** A 64 KiB buffer for listings and xattr values, the request's until it ends. Never NULL for ops with SFS_OP_BUF. */
#define SFS_BUF_BYTES 65536
static inline char *sfs_req_buf(struct sfs_req *req)
{
	return req->buf;
}

/** How many bytes of reply may follow the reply header: what the guest gave room for. */
static inline uint64_t sfs_req_reply_room(const struct sfs_req *req)
{
	return req->chain.writable_bytes - sizeof(struct fuse_out_header);
}

/**
 * Copies @bytes (at most sfs_req_reply_room()) behind the reply header, as the whole payload of the reply. Counted in
 * bytes_copied. Reactor or worker.
 */
void sfs_req_reply_bytes(struct sfs_req *req, const void *bytes, uint64_t len);

/** After a short count: the first @bytes of req->data are done. */
void sfs_req_data_advance(struct sfs_req *req, uint64_t bytes);

#endif
