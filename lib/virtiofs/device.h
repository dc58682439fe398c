/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of a device; lib/virtiofs only.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include <pthread.h>

#include "poll_group.h"
#include "queue.h"

#define QUEUES_MAX (SFS_REQUEST_QUEUES_MAX + 1)

_Static_assert(QUEUES_MAX <= SFS_GROUPS_MAX, "a group a reactor, of which there are no more than queues");

/* What the figures keep of queues that are gone. */
struct queue_past {
	uint64_t requests, kicks, calls;
};

struct sfs_device {
	char tag[SFS_TAG_MAX + 1];
	struct sfs_device_opts opts;
	struct sfs_reactor *reactors[QUEUES_MAX];
	struct sfs_poll_group groups[QUEUES_MAX]; /* one a reactor */
	unsigned queue_count;
	struct sfs_session *session;
	struct sfs_workers_client *workers;
	int tables_node; /* where the session's tables are; -1: wherever */
	bool begun;      /* the session has its root: a guest is or was there */

	pthread_mutex_t lock; /* the pointers below, between the control thread and readers of figures */
	struct sfs_queue *queues[QUEUES_MAX];
	struct sfs_queue *abandoned;
	struct queue_past past[QUEUES_MAX];
	struct sfs_op_stats *past_ops; /* SFS_OP_COUNT of them */
	uint64_t past_bad_requests;
	struct sfs_aio_pin *pin;            /* of pin_mem; NULL: could not be */
	struct sfs_mem *pin_mem;            /* guest memory that is pinned; the control thread's */
	struct sfs_aside aside[QUEUES_MAX]; /* of stopped queues; the control thread's */
};

/** Adds the figures of a queue that is about to go. Under the device's lock. */
void sfs_device_figures_keep(struct sfs_device *dev, const struct sfs_queue *q);

#endif
