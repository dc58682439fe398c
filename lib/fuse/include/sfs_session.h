/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A FUSE session: what one guest and one filesystem have agreed on, and the tables of what the guest can name. One per device;
 * emptied between guests.
 */
#ifndef SFS_SESSION_H
#define SFS_SESSION_H

#include "sfs_fs.h"
#include "sfs_reactor.h"
#include "sfs_workers.h"

struct sfs_session_opts {
	const struct sfs_fs_ops *fs;
	void *fs_ctx;
	struct sfs_session_limits limits;
	enum sfs_block_policy block_policy;
	uint64_t init_flags; /* what the driver wants (sfs_fs_info) */
	uint64_t needed_flags;
	struct sfs_init_limits init;
	unsigned lane_count; /* queues of the device, hiprio included */
	struct sfs_reactor *const
	    *reactors; /* all that may hold waiters: woken by sfs_session_wake(); copied */
	unsigned reactor_count;
	struct sfs_workers_client
	    *workers; /* closes descriptors where a reactor must not; NULL: closed inline */
};

/** Makes a session with empty tables; address space is reserved, memory comes with use. 0 or -errno. Control thread. */
int sfs_session_create(const struct sfs_session_opts *opts, struct sfs_session **se);

/** Closes everything and frees it. No lane uses it any more. Control thread; may block. */
void sfs_session_destroy(struct sfs_session *se);

/** A guest comes: driver's session_begin. 0 or -errno. Control thread; may block. */
int sfs_session_begin(struct sfs_session *se);
/** The guest went: driver's session_end, then tables emptied. Calls that hang keep what they pinned. Control thread; may block. */
void sfs_session_end(struct sfs_session *se);

/** Lane @idx begins or ends to take part in barriers. Its reactor, or a control thread while the lane does not run. */
void sfs_session_lane_join(struct sfs_session *se, unsigned idx);
void sfs_session_lane_leave(struct sfs_session *se, unsigned idx);

#define SFS_SESSION_TABLES 4
/** The mappings of the tables of nodes, handles and descriptors, for whoever places memory. Their count, at most SFS_SESSION_TABLES. Any thread. */
unsigned sfs_session_tables(const struct sfs_session *se, struct iovec tables[SFS_SESSION_TABLES]);

struct sfs_session_figures {
	uint64_t inodes, handles, fds, limit_hits, bytes_copied;
};
void sfs_session_figures(const struct sfs_session *se, struct sfs_session_figures *fig);

#endif
