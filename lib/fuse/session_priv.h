/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of a session; lib/fuse only.
 */
#ifndef SESSION_PRIV_H
#define SESSION_PRIV_H

#include "sfs_group.h"
#include "sfs_lane.h"
#include "sfs_session.h"

#define LANES_MAX    65
#define BUCKET_LOCKS 4096
#define REACTORS_MAX 64
#define NO_IDX       0xffffffffu

/** Free records as a stack without a lock: the head carries a counter against reuse between load and exchange. */
struct free_stack {
	_Atomic uint64_t head; /* counter << 32 | (index + 1); 0 in the low half: empty */
};

/** Lock owners (lock.c): records as in a table, found by node and owner. */
struct lock_table {
	atomic_flag lock; /* of all but count */
	struct sfs_lock_owner *owners;
	uint32_t *buckets; /* index + 1 of the first owner */
	uint32_t cap, high, free, bucket_mask;
	uint64_t seed;
	_Atomic uint32_t count;
	uint32_t serial;
	uint64_t held, held_max; /* locks, at most: record locks of all owners, and flocks; limits.locks */
	struct lock_wait *waits; /* requests that wait for a record lock */
	uint32_t wait_cap, wait_high, wait_free;
	uint64_t wait_serial;
};

/* Node records that go back to the kernel together (trim.c). */
#define SFS_NODE_CHUNK 128u

struct node_trim {
	void *map;
	size_t map_bytes;
	_Atomic uint64_t *released,
	    *binned;               /* in map, a bit for each chunk: given back, or something in its bin */
	struct free_stack *bins;   /* in map, one for each chunk */
	_Atomic uint32_t chunks;   /* how many of the bits are set, a moment late */
	_Atomic uint32_t gen_base; /* generation of records that come back */
	_Atomic uint32_t live;     /* nodes that the guest knew at most since the last time */
	atomic_bool busy;
	_Atomic uint64_t hands; /* who moves free records, see trim.c */
	struct sfs_call call;
};

/* Calls that change the filesystem may be slow where others are not. */
enum sfs_call_kind { SFS_CALL_LOOKS, SFS_CALL_CHANGES, SFS_CALL_KINDS };

/* AUTO: what is known of a kind of calls. */
struct slow_spell {
	_Atomic uint64_t until_ns;       /* workers until then */
	_Atomic uint64_t for_ns;         /* how long the last spell was */
	_Atomic uint64_t worked_ns;      /* when a call that took long without waiting ended last */
	_Atomic uint64_t worked_long_ns; /* one that took very long */
	_Atomic uint64_t waited_ns;      /* what long calls have cost, less what has been forgiven since */
	_Atomic uint64_t waited_at_ns;   /* when that was brought up to date */
};

struct sfs_session {
	const struct sfs_fs_ops *fs;
	void *fs_ctx;
	sfs_op_fn fn[SFS_OP_COUNT]; /* by opcode; never NULL */

	/* Whose the session is. Who empties the tables for an INIT or DESTROY may hang in a close until that guest has gone. */
	atomic_flag guest_lock; /* of guest and of sfs_lane.given_up; held for a few loads */
	uint64_t guest;         /* counted on by sfs_session_end() */

	/* Negotiated. Written inside a barrier. */
	atomic_bool inited;
	atomic_bool refused; /* an INIT that offered too little, and the log says so */
	uint32_t minor;
	uint64_t init_flags;
	uint64_t driver_flags, needed_flags;
	struct sfs_init_limits init;

	/* Where blocking calls run. */
	enum sfs_block_policy policy;
	struct slow_spell slow[SFS_CALL_KINDS];
	uint64_t slow_ticks; /* what a call may take */

	/* Waiters and barriers. */
	SFS_ALIGNED _Atomic uint64_t epoch;
	_Atomic unsigned waiters;
	_Atomic uint32_t lock_waiters; /* requests of sfs_req_wait_lock() */
	_Atomic(struct sfs_req *) barrier;
	_Atomic uint32_t barrier_seq;
	atomic_bool lane_running[LANES_MAX];
	_Atomic uint32_t lane_ack[LANES_MAX];
	unsigned lane_count;
	struct sfs_reactor *reactors[REACTORS_MAX];
	unsigned reactor_count;
	struct sfs_workers_client *workers;

	/* Tables. */
	struct sfs_session_limits limits;
	struct sfs_node *nodes;
	uint32_t node_cap; /* limits.inodes, and what trim.c may have in hand */
	struct sfs_handle *handles;
	struct sfs_fdent *fds;
	_Atomic uint32_t *buckets; /* index + 1 of the first node */
	uint32_t bucket_mask;
	uint32_t fd_cap, fd_plenty; /* with fewer open closes may be put off for a moment */
	atomic_flag bucket_locks[BUCKET_LOCKS];
	SFS_ALIGNED struct free_stack node_free;
	struct free_stack handle_free, fd_free;
	_Atomic uint32_t node_high, handle_high, fd_high; /* records ever used */
	_Atomic uint32_t node_zero;                       /* live nodes of count zero */
	_Atomic uint32_t node_hand, fd_hand;              /* clock hands */
	struct lock_table locks;
	struct node_trim trim;
	_Atomic uint32_t node_fds; /* cached descriptors that may be evicted */

	/* Descriptors that wait for a group's engine to let go of them. Index + 1, linked by next_free. */
	_Atomic uint32_t drop_head[SFS_GROUPS_MAX];
	atomic_bool group_running[SFS_GROUPS_MAX];

	/* Descriptors that wait to be closed by a worker. */
	_Atomic uint32_t close_head; /* index + 1, linked by next_free */
	atomic_bool close_busy;
	_Atomic uint32_t close_count; /* descriptors that wait */
	atomic_bool ending; /* sfs_session_end(): its thread serves all devices and closes nothing itself */
	_Atomic uint32_t close_calls; /* calls handed over and not yet done with the session */
	struct sfs_call close_call;

	SFS_ALIGNED _Atomic uint64_t inode_count, handle_count, fd_count, limit_hits, bytes_copied;
};

/** Who empties the tables, and of which guest. */
struct sfs_reset {
	struct sfs_session *se;
	const struct sfs_lane *lane; /* of the INIT or DESTROY; NULL: sfs_session_end() */
	uint64_t guest;
};

/** True on a thread that runs a worker call: it may close and block. */
extern __thread bool sfs_on_worker;

/** share.c: a turn begins; a request that was parsed counts what it is, what came with it included. The reactor. */
void sfs_share_renew(struct sfs_lane *lane);
void sfs_share_begin(struct sfs_req *req);

/* table.c */
void free_stack_push(struct free_stack *s, uint32_t idx, uint32_t *next);
uint32_t free_stack_pop(struct free_stack *s, void *records, size_t record_bytes, size_t next_off);
/** Takes all: index + 1 of the first, linked by their next; 0: none. */
uint32_t free_stack_take(struct free_stack *s);
int sfs_fds_create(struct sfs_session *se);
void sfs_fds_destroy(struct sfs_session *se);
int sfs_handles_create(struct sfs_session *se);
void sfs_handles_destroy(struct sfs_session *se);
void sfs_handles_reset(const struct sfs_reset *r);
/** The bit of a group's engine in sfs_fdent.file.holders; 0: it keeps no files. */
static inline uint64_t sfs_group_bit(unsigned group)
{
	return group < 64 ? 1ull << group : 0;
}
/** Goes on with descriptors that wait for the engine of @group: @aio, or NULL where the group has left. How many. */
unsigned sfs_fds_drop(struct sfs_session *se, unsigned group, struct sfs_aio *aio);
/** Between the two this thread puts off what it closes of @se, to @closing. */
void sfs_closes_begin(struct sfs_session *se, struct sfs_closing *closing);
void sfs_closes_end(struct sfs_session *se, struct sfs_closing *closing);
void sfs_fd_unpin(struct sfs_session *se, struct sfs_fdent *ent);
void sfs_handle_unpin(struct sfs_session *se, struct sfs_handle *h);
/** Pins @ent unless it is unlinked. */
bool sfs_fd_trypin(struct sfs_fdent *ent);
void sfs_req_pin_fd(struct sfs_req *req, struct sfs_fdent *ent);
/** Blocks until nothing waits to be closed any more: true; or @timeout_ns is over: false. */
bool sfs_fds_drain(struct sfs_session *se, uint64_t timeout_ns);
/** One more pin unless the record is unlinked or free. */
bool sfs_pins_tryget(_Atomic uint32_t *pins);
/** A record of a table that was never used; NO_IDX: there is none left. */
uint32_t sfs_high_take(_Atomic uint32_t *high, uint32_t cap);
/** Zeroed address space for a table; NULL: not to be had. */
void *sfs_table_map(size_t bytes);

/* lock.c */
int sfs_locks_create(struct sfs_session *se);
void sfs_locks_destroy(struct sfs_session *se);
/** Forgets all owners; before the handles are reset. */
void sfs_locks_reset(const struct sfs_reset *r);

/** @req waits for a record lock from now on, until sfs_lock_wait_forget(). */
void sfs_lock_wait_add(struct sfs_req *req);
void sfs_lock_wait_forget(struct sfs_req *req);
/** Forgets the locks of @h, whose last pin has gone, and the owners that came through it. */
void sfs_locks_handle_gone(struct sfs_session *se, struct sfs_handle *h);

/* node.c */
int sfs_nodes_create(struct sfs_session *se);
void sfs_nodes_destroy(struct sfs_session *se);
/** Forgets all nodes but the root; those pinned by hung requests go when these end. */
void sfs_nodes_reset(const struct sfs_reset *r, bool root_too);
void sfs_node_unpin(struct sfs_session *se, struct sfs_node *node);
/** Looks at @steps records for nodes of count zero, and frees them, but no more than @enough. */
void sfs_nodes_sweep(struct sfs_session *se, unsigned steps, unsigned enough);
static inline uint32_t node_idx(const struct sfs_session *se, const struct sfs_node *node)
{
	return (uint32_t)(node - se->nodes);
}
/** The record that @nodeid names, whosever it is by now; NULL: there never was one. */
static inline struct sfs_node *node_record(const struct sfs_session *se, uint64_t nodeid)
{
	uint32_t idx = (uint32_t)nodeid;

	return idx && idx < atomic_load_explicit(&se->node_high, memory_order_acquire) ? &se->nodes[idx]
										       : NULL;
}
void sfs_bucket_lock(struct sfs_session *se, uint32_t b);
void sfs_bucket_unlock(struct sfs_session *se, uint32_t b);

/* node_fd.c */
/** Takes its descriptor @fd_idx, as node->fd_idx said, away from @node, unless somebody else did. The last pin closes it. */
void sfs_node_drop_fd(struct sfs_session *se, struct sfs_node *node, uint32_t fd_idx);

/* trim.c */
int sfs_nodes_trim_create(struct sfs_session *se);
void sfs_nodes_trim_destroy(struct sfs_session *se);
/** The guest has forgotten a node: has a worker give memory back where that is due. */
void sfs_nodes_trim(struct sfs_session *se);
/** A node was made. */
void sfs_nodes_grew(struct sfs_session *se);
/** Whether the record's memory is given back: not to be touched. */
bool sfs_node_released(const struct sfs_session *se, uint32_t idx);
/** How many records the table has. */
uint32_t sfs_nodes_cap(const struct sfs_session *se);
/** A record that the worker has put aside or given back, others go to the free stack; NO_IDX: it seems that there is none. */
uint32_t sfs_node_unrelease(struct sfs_session *se);
/** A free record, wherever it is, of a table whose records were all used once; NO_IDX: limits.inodes of them are in use. */
uint32_t sfs_node_search(struct sfs_session *se);

static inline void session_guest_lock(struct sfs_session *se)
{
	while (atomic_flag_test_and_set_explicit(&se->guest_lock, memory_order_acquire))
		sfs_pause();
}

static inline void session_guest_unlock(struct sfs_session *se)
{
	atomic_flag_clear_explicit(&se->guest_lock, memory_order_release);
}

static inline void session_wake_all(struct sfs_session *se)
{
	for (unsigned i = 0; i < se->reactor_count; i++)
		sfs_reactor_wake(se->reactors[i]);
}

/** lane.c: gives the request's buffer back to the lane's pool, if it has one. */
static inline void lane_buf_put(struct sfs_req *req)
{
	struct sfs_pool *pool = &req->lane->bufs;

	if (req->buf)
		pool->items[pool->free_count++] = req->buf;
	req->buf = NULL;
}

/* req.c */
void sfs_req_end(struct sfs_req *req, int rc);
/** An I/O of sfs_group_queue() has come back: the request goes on, with its lane's own engine where it could not be done at once. */
void sfs_req_done_at_once(struct sfs_req *req);

/* group.c: false: there is no room, or no group. */
bool sfs_group_queue(struct sfs_group *g, struct sfs_req *req);

/* parse.c: fills the request from its chain. 0: run it; 1: give the chain back with length 0; -errno: answer with it. */
int sfs_req_parse(struct sfs_req *req);

/**
 * session.c: from a true one until the unlock the tables are those that @r is to empty; nothing in between may block. False, and nothing
 * to unlock: the guest has gone or was given up, and what is there is not @r's.
 */
bool sfs_reset_lock(const struct sfs_reset *r);
void sfs_reset_unlock(const struct sfs_reset *r);

/* session.c: the session's own operations */
int sfs_session_op_init(struct sfs_req *req);
int sfs_session_op_destroy(struct sfs_req *req);
int sfs_session_op_forget(struct sfs_req *req);
int sfs_session_op_batch_forget(struct sfs_req *req);
int sfs_session_op_interrupt(struct sfs_req *req);
/** A blocking call ran on the reactor for @ticks: a slow one sends the share's calls of its kind to workers for a while. */
void sfs_session_call_slow(struct sfs_session *se, enum sfs_call_kind kind, uint64_t ticks);
/** Notes how often this thread has been switched away until now. */
void sfs_session_switches_note(void);
extern __thread unsigned sfs_session_calls;
/* The judgement of a slow call looks at no more than the calls since that note. */
#define CALLS_NOTED 64

static inline void sfs_session_call_cost(struct sfs_session *se, enum sfs_call_kind kind, uint64_t ticks)
{
	if (SFS_UNLIKELY(ticks > se->slow_ticks))
		sfs_session_call_slow(se, kind, ticks);
	else if (SFS_UNLIKELY(++sfs_session_calls % CALLS_NOTED == 0))
		sfs_session_switches_note();
}

/**
 * Whether workers run the share's calls of @kind now (policy AUTO). Where the filesystem is slow to look at, it is slow to change, too.
 * @now_ns: of this turn.
 */
static inline bool sfs_session_is_slow(const struct sfs_session *se, enum sfs_call_kind kind, uint64_t now_ns)
{
	return now_ns < atomic_load_explicit(&se->slow[SFS_CALL_LOOKS].until_ns, memory_order_relaxed) ||
	       (kind == SFS_CALL_CHANGES &&
		now_ns < atomic_load_explicit(&se->slow[SFS_CALL_CHANGES].until_ns, memory_order_relaxed));
}

#endif
