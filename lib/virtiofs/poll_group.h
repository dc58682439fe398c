/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queues of a device that one reactor polls: one poller, whose turn takes requests from all rings before it does what they have in
 * common, and answers on all of them after. Part of the device; lib/virtiofs only.
 */
#ifndef POLL_GROUP_H
#define POLL_GROUP_H

#include <sys/queue.h>

#include "sfs_group.h"
#include "sfs_reactor.h"

struct sfs_queue;

struct sfs_poll_group {
	/* The reactor's. */
	struct sfs_poller poller; /* known to the reactor while there are queues */
	struct sfs_group lanes;
	TAILQ_HEAD(, sfs_queue) queues;
	unsigned
	    quick_turns; /* with work, that were not all of their share, since one that was; at most as many as count */

	/* Constant. */
	struct sfs_reactor *reactor;
	struct sfs_session *session;
	bool open; /* control thread: lanes is */
};

struct sfs_poll_group_opts {
	struct sfs_reactor *reactor;
	struct sfs_group_opts lanes;
};

/** Makes it usable; nothing where it is. 0 or -errno of the engine's open. Control thread; may block. */
int sfs_poll_group_open(struct sfs_poll_group *pg, const struct sfs_poll_group_opts *opts);
/** It has no queues. Control thread; may block. */
void sfs_poll_group_close(struct sfs_poll_group *pg);

/** @q has part in the turns from the next one on. The reactor's thread. */
void sfs_poll_group_add(struct sfs_poll_group *pg, struct sfs_queue *q);
/** @q has nothing in flight and has part in no turn any more. After the last one the group may be closed. The reactor's thread. */
void sfs_poll_group_remove(struct sfs_poll_group *pg, struct sfs_queue *q);

#endif
