/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One running virtqueue: a ring, a lane, a poller. Made at each start, freed after its stop; one that was abandoned
 * lives on until its last call has come back. lib/virtiofs only.
 */
#ifndef QUEUE_H
#define QUEUE_H

#include <stdatomic.h>

#include "aside.h"
#include "poll_group.h"
#include "sfs_lane.h"
#include "sfs_virtiofs.h"
#include "sfs_virtq.h"

struct sfs_queue {
	/* The reactor's. */
	TAILQ_ENTRY(sfs_queue) link; /* of the group's queues */
	struct sfs_virtq vq;
	struct sfs_lane lane;
	bool accepting;         /* chains are taken from the ring */
	bool ending;            /* stopped or abandoned: leaves the reactor when nothing is in flight */
	bool abandoned;         /* the message has come */
	bool notify_once;       /* first turn: a notification may have been lost with the predecessor */
	bool asleep;            /* armed: work found at the next turn came with a kick */
	const void *guess[2];   /* where the chain before had its header and arguments */
	uint64_t kicks;         /* sleeps that ended with chains in this ring */
	struct sfs_aside again; /* set aside by the predecessor: taken before anything else */
	struct sfs_aside aside; /* set aside by the stop; complete when it is done */

	/* Constant while it runs. */
	struct sfs_poll_group *group;
	struct sfs_reactor *reactor; /* the group's */
	struct sfs_session *session;
	struct sfs_mem *mem;
	unsigned idx;
	bool yields;   /* workers run when the reactor sleeps */
	bool has_cpus; /* cpus are those near the guest's memory */
	cpu_set_t cpus;
	int kick_fd, call_fd, aio_fd; /* aio_fd is the engine's */

	/* Written by the reactor, read by the control thread. */
	_Atomic(const char *) fault;
	atomic_bool gone; /* detached and drained: the reactor does not know it any more */

	/*
	 * From the control thread, which never waits for the reactor: that may hang in a call. Each message is sent
	 * at most once, and they arrive in this order.
	 */
	struct sfs_msg run_msg, stop_msg, abandon_msg;
	bool stop_sent; /* the control thread's */
	/* Taken by whoever ends the queue: the reactor or an abandon. */
	_Atomic(struct sfs_queue_stop *) stop;
	atomic_bool detached; /* abandoned: no answer is written any more */

	struct sfs_queue *next; /* the device's list of abandoned ones */
};

struct sfs_queue_opts {
	unsigned idx;
	struct sfs_poll_group *group; /* open */
	struct sfs_lane_opts lane;    /* reactor, session and group are filled in by the queue */
	struct sfs_aside *again;      /* what fits the ring; the queue's after success. NULL: nothing */
};

/** Makes a queue for @setup. 0 or -errno; see sfs_device_queue_start(). Control thread; may block. */
int sfs_queue_create(const struct sfs_queue_opts *opts, const struct sfs_vring_setup *setup,
		     struct sfs_queue **queue);
/** Frees a queue that no reactor knows. Control thread; may block. */
void sfs_queue_destroy(struct sfs_queue *q);
/** The reactor polls it from its next turn on. */
void sfs_queue_run(struct sfs_queue *q);
/** Stops accepting; stop->done when drained, and the reactor does not know the queue any more. */
void sfs_queue_stop(struct sfs_queue *q, struct sfs_queue_stop *stop);
/**
 * Detaches it from ring and guest: true, and gone tells when it may be freed. Or false: it has drained meanwhile, and
 * stop->done has been called or is about to be.
 */
bool sfs_queue_abandon(struct sfs_queue *q);

/* --- the parts of a turn, in this order: the reactor's thread --- */

/** How many requests a turn may take from the ring now. */
unsigned sfs_queue_pending(struct sfs_queue *q);
/** Steps 1 to 3: goes on with what has come back, and takes new requests. @company: who else wants the reactor. How much work. */
unsigned sfs_queue_accept(struct sfs_queue *q, uint64_t now_ns, enum sfs_company company);
/** Steps 4 to 6: what waits for the engine goes there, answers to the ring. How much work. */
unsigned sfs_queue_answer(struct sfs_queue *q);
/** Whether it is stopped or abandoned. */
static inline bool sfs_queue_ending(const struct sfs_queue *q)
{
	return q->ending;
}
/** After the turn of a queue that is ending: it leaves the group, and may be freed, when nothing is in flight. */
void sfs_queue_drain(struct sfs_queue *q);

/** The reactor is about to sleep: has the guest notify. True: there is work. */
bool sfs_queue_arm(struct sfs_queue *q);
/** It is awake again. */
void sfs_queue_disarm(struct sfs_queue *q);

#endif
