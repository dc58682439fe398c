/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lane: what a request may touch besides itself. One per running virtqueue (lib/virtiofs), used by that queue's reactor
 * alone, except where it says otherwise.
 */
#ifndef SFS_LANE_H
#define SFS_LANE_H

#include "sfs_aio.h"
#include "sfs_group.h"
#include "sfs_hist.h"
#include "sfs_op.h"
#include "sfs_reactor.h"
#include "sfs_req.h"
#include "sfs_session.h"
#include "sfs_workers.h"

/** First in, first out; linked by req->next. */
struct sfs_req_list {
	struct sfs_req *first, **last;
};

static inline void sfs_req_list_init(struct sfs_req_list *l)
{
	l->first = NULL;
	l->last = &l->first;
}

static inline void sfs_req_list_push(struct sfs_req_list *l, struct sfs_req *req)
{
	req->next = NULL;
	*l->last = req;
	l->last = &req->next;
}

static inline struct sfs_req *sfs_req_list_pop(struct sfs_req_list *l)
{
	struct sfs_req *req = l->first;

	if (req) {
		l->first = req->next;
		if (!l->first)
			l->last = &l->first;
	}
	return req;
}

/** Equal pieces of memory, handed out and taken back by one thread. */
struct sfs_pool {
	void **items; /* the free ones are items[0 .. free_count) */
	unsigned free_count;
	void *mem;
	size_t mem_bytes;
};

/** Figures of one opcode on one lane. */
struct sfs_op_stats {
	uint64_t count, errors, bytes;
	uint64_t path[3]; /* by enum sfs_req_path */
	struct sfs_hist hist;
};

struct sfs_lane {
	struct sfs_session *session;
	struct sfs_reactor *reactor; /* NULL in tests that turn the lane by hand */
	uint64_t now_ns;             /* of this turn */
	unsigned idx;                /* the queue's index: its place in the session's barrier words */

	struct sfs_req_list ended;    /* to be answered */
	struct sfs_req_list io_wait;  /* I/O that the engine had no room for */
	struct sfs_req_list waiters;  /* sfs_req_wait() */
	struct sfs_req_list barriers; /* sfs_req_barrier() */
	struct sfs_req_list yielded;  /* sfs_req_yield() */
	int64_t share_ns; /* what is left of this turn's share, by an estimate of what requests cost */
	unsigned turn_share_ns;
	bool share_cut;           /* part of it went to a copy */
	enum sfs_company company; /* whom else the reactor serves: turns are shorter then */
	unsigned barrier_count, waiter_count;
	unsigned lock_waiter_count;            /* requests that have waited for a lock and have not ended */
	uint64_t lock_retry_ns, lock_every_ns; /* when they look again by themselves, and the interval */
	int lock_timer;                        /* ends the reactor's sleep then; -1: none yet */
	bool ending;                           /* nobody waits for locks any more */
	bool given_up; /* sfs_lane_abandon(): no part in barriers, and nothing is emptied for it any more */
	uint64_t epoch_seen; /* the session's epoch when waiters were looked at last */

	struct sfs_group *group; /* whose turns it has part in; NULL: none, and nothing is done together */
	struct sfs_aio aio;
	unsigned io_uncommitted;  /* I/Os that the kernel has not taken */
	unsigned submits_put_off; /* turns in which they were not handed over though they could have been */
	bool arrived;             /* requests came in this turn: set by who accepts them */
	struct sfs_workers_client *workers;
	struct sfs_call_port port;
	unsigned calls_out; /* worker calls not yet back */

	struct sfs_req *slots; /* slot_count of them */
	struct sfs_req *free_slots;
	unsigned slot_count, in_flight;
	struct sfs_pool bufs, bigs; /* 64 KiB buffers; arrays of SFS_CHAIN_SEGS_MAX segments */

	uint64_t bytes_in_flight, bytes_in_flight_max;
	uint64_t requests, bad_requests;
	struct sfs_op_stats *stats; /* SFS_OP_COUNT of them */
};

/*
 * What a lane may do in a turn, alone on its reactor and while others have work, so that one guest's requests do not keep the
 * next guest's waiting: an estimate, since the same requests shall always get the same share. A READ of 4 KiB that the page
 * cache holds counts 1 us. Alone a READ of 1 MiB is copied by one call.
 */
#define SFS_LANE_SHARE_NS        270000u
#define SFS_LANE_SHARE_NS_SHARED 4000u

struct sfs_lane_opts {
	unsigned idx;
	unsigned slot_count;
	struct sfs_reactor *reactor;
	struct sfs_session *session;
	struct sfs_group *group; /* of the session, on the same reactor; or NULL */
	struct sfs_workers_client *workers;
	const struct sfs_aio_ops *engine;
	struct sfs_aio_opts aio;      /* workers and reactor are filled in by the lane */
	uint64_t bytes_in_flight_max; /* 0: no limit */
	unsigned share_ns;            /* of a turn: as above where it is 0 */
};

/** Builds slots and pools and opens the engine. 0 or -errno (-ENOMEM, or the engine's). Control thread; may block. */
int sfs_lane_init(struct sfs_lane *lane, const struct sfs_lane_opts *opts);

/** Frees it: nothing is in flight. Control thread, or the reactor for an abandoned lane; may block. */
void sfs_lane_fini(struct sfs_lane *lane);

/** Whether sfs_lane_slot_get() would give one. Where not, what is in flight has to end first. */
bool sfs_lane_has_slot(const struct sfs_lane *lane);
/**
 * A free slot, or NULL where slots, buffers or segment arrays are used up or too many bytes are in flight: stop accepting.
 * *@big: the array that the pop may use for a long chain; sfs_lane_big_take() if it did.
 */
struct sfs_req *sfs_lane_slot_get(struct sfs_lane *lane, struct iovec **big);
/** Makes the array of sfs_lane_slot_get() the request's own, given back with the slot. Right after the pop. */
void sfs_lane_big_take(struct sfs_lane *lane, struct sfs_req *req);
/** Gives a slot back that was not begun, or that was answered. */
void sfs_lane_slot_put(struct sfs_lane *lane, struct sfs_req *req);

/** Fetches the record of the node that a request names whose chain was popped before another one ran. A hint: see sfs_virtq_prefetch(). */
void sfs_req_expect(const struct sfs_req *req);

/**
 * Copies and checks a request whose chain was just popped, and runs it. Afterwards it is parked, or in lane->ended with its
 * reply decided.
 */
void sfs_req_begin(struct sfs_req *req);

/** Enters the request's operation; the only function that does. */
void sfs_req_run(struct sfs_req *req);

/** Steps 1 and 2 of a turn: completions of engine and workers, runnable requests, waiters, barriers. Returns how many ran. */
unsigned sfs_lane_resume(struct sfs_lane *lane);

/** The queue is given up: who waits for a lock ends with an error at the next turn, and nobody waits any more. Reactor. */
void sfs_lane_end_lock_waits(struct sfs_lane *lane);

/**
 * The queue stops: takes out the request that has waited for a lock longest, unanswered and with nothing changed, so that its
 * chain can be taken again later; NULL: there is none now. The caller gives the slot back. Reactor.
 */
struct sfs_req *sfs_lane_aside(struct sfs_lane *lane);

/**
 * The lane's guest is given up, and the lane leaves: its requests end by and by, but those that wait for a barrier end now, and one that
 * holds the session's lets go of it and empties no more of the tables: the next guest must neither wait for them nor be reset by them.
 * The lane's reactor.
 */
void sfs_lane_abandon(struct sfs_lane *lane);

/**
 * The queue ends: the session does not count on this lane any more. What is in flight (of a lane that was given up) ends as before.
 * The lane's reactor.
 */
void sfs_lane_leave(struct sfs_lane *lane);

/** Whether this turn's share is used up: what waits in the ring waits for the next turn. */
static inline bool sfs_lane_sated(const struct sfs_lane *lane)
{
	return lane->share_ns <= 0;
}

/**
 * Step 4: what was queued goes to the engine, and what that has finished by then comes back, in at most one
 * system call. Its requests go on at once, so that they are answered in this turn. How many.
 */
unsigned sfs_lane_submit(struct sfs_lane *lane);

/** Writes reply header and fixed part into the guest's pages; returns the used length. @end_ns for the figures. */
uint32_t sfs_req_answer(struct sfs_req *req, uint64_t end_ns);

/** Whether requests may be accepted: no barrier of the session stands. */
bool sfs_lane_open(struct sfs_lane *lane);

/** Whether the lane has something to do at once: the reactor must not sleep. */
bool sfs_lane_has_work(struct sfs_lane *lane);

#endif
