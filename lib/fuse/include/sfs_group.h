/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lanes of one session that one reactor turns one after the other: what they do together. Cached reads and small writes that
 * came in one turn, on whichever queue, are one system call; so are closes. One per device and reactor (lib/virtiofs); all calls but
 * init and fini are made by that reactor's thread.
 *
 * A turn: sfs_group_begin(); sfs_lane_resume() of each lane and what it accepts; sfs_group_commit(); sfs_lane_submit() of each and its
 * answers; sfs_group_end().
 */
#ifndef SFS_GROUP_H
#define SFS_GROUP_H

#include "sfs_aio.h"
#include "sfs_table.h"

struct sfs_reactor;
struct sfs_session;
struct sfs_workers_client;

#define SFS_GROUPS_MAX  65 /* of a session */
#define SFS_GROUP_DEPTH 128

/** Descriptors that are closed at the end of a turn, together. */
#define SFS_CLOSING_MAX 64
struct sfs_closing {
	unsigned count;
	struct sfs_fdent *ents[SFS_CLOSING_MAX];
};

struct sfs_group {
	struct sfs_session *session;
	unsigned idx;       /* among the session's: its place in the lists of files to let go of */
	unsigned requests;  /* that run in this turn: set by who accepts them */
	struct sfs_aio aio; /* does SFS_IO_F_AT_ONCE alone: in flight within a commit */
	unsigned blocking;  /* how many of those queued may wait there */
	struct sfs_closing closing;
};

struct sfs_group_opts {
	unsigned idx;
	struct sfs_session *session;
	struct sfs_workers_client *workers;
	const struct sfs_aio_ops *engine;
};

/** Opens the engine. 0 or -errno of its open. Control thread; may block. */
int sfs_group_init(struct sfs_group *g, const struct sfs_group_opts *opts);
/** Closes it; no lane uses it. Control thread; may block. */
void sfs_group_fini(struct sfs_group *g);

/** It turns from now on. */
void sfs_group_join(struct sfs_group *g);
/** It turns no more, and its lanes have no request in flight: lets go of all files. */
void sfs_group_leave(struct sfs_group *g);

/**
 * Begins a turn in which @requests run at most. What this thread closes of the session until sfs_group_end() is put off to that,
 * where there is room for more open files. Returns how much work it did.
 */
unsigned sfs_group_begin(struct sfs_group *g, unsigned requests);
/**
 * What was queued is done, in one system call for reads and one for writes, and the requests go on at once: they are answered in this turn, or
 * what the page cache lacks is queued to the lane's own engine. How many.
 */
unsigned sfs_group_commit(struct sfs_group *g);
void sfs_group_end(struct sfs_group *g);

/** Whether there is something to do at once: the reactor must not sleep. */
bool sfs_group_has_work(const struct sfs_group *g);

#endif
