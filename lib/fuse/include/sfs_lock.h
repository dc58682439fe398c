/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who holds record locks. A lock owner of the guest (a process, or an open file description) is one open file
 * description of the host for each file that it locks: locks of one owner never stand in each other's way,
 * those of two always do, and they go with the descriptor.
 *
 * Records are found by node and owner, and are linked to the handle through which the owner came: they end
 * with it at the latest. The descriptors are entries of the session's table, counted by limits.fds.
 *
 * Every function may be called by any reactor of the device and by its workers, and none blocks, but for the
 * close of a descriptor when its last pin goes (sfs_table.h).
 */
#ifndef SFS_LOCK_H
#define SFS_LOCK_H

#include "sfs_table.h"

/** An owner, and its process. */
struct sfs_lock_holder {
	uint64_t owner;
	uint32_t pid;
};

/** Whether any owner is known: where not, a FLUSH has nothing to look for. */
bool sfs_lock_owner_any(const struct sfs_session *se);

/**
 * The descriptor of @owner's locks on @nodeid, pinned by @req, and in *@open_flags how it was opened; NULL:
 * the owner is not known there. @pid: the guest's process that asks, noted for sfs_lock_owner_next(); 0:
 * leave what is noted.
 */
struct sfs_fdent *sfs_lock_owner_find(struct sfs_req *req, uint64_t nodeid, uint64_t owner, uint32_t pid,
				      uint32_t *open_flags);

/**
 * Makes @owner known on the node of @handle (pinned by @req), over @fd, opened with @open_flags; takes @fd
 * over in any case. Returns its descriptor, or that of another thread that was faster, pinned by @req. NULL:
 * tables are full, or the handle was released meanwhile: answer ENOLCK.
 */
struct sfs_fdent *sfs_lock_owner_add(struct sfs_req *req, struct sfs_handle *handle, uint64_t owner, int fd,
				     uint32_t open_flags);

/**
 * Gives an owner whose descriptor is @old, pinned by @req, the descriptor @fd instead, taken over in any
 * case. Returns its entry, pinned by @req, and has unlinked @old; or NULL: another request uses @old now, the
 * owner has gone, or the table is full.
 */
struct sfs_fdent *sfs_lock_owner_swap(struct sfs_req *req, uint64_t nodeid, uint64_t owner,
				      struct sfs_fdent *old, int fd, uint32_t open_flags);

/** Forgets @owner on @nodeid: its descriptor is unlinked, and returned pinned by @req. NULL: not known. */
struct sfs_fdent *sfs_lock_owner_drop(struct sfs_req *req, uint64_t nodeid, uint64_t owner);

/** Forgets one of the owners that came through @handle: as sfs_lock_owner_drop(). NULL: none is left. */
struct sfs_fdent *sfs_lock_owner_pop(struct sfs_req *req, struct sfs_handle *handle);

/**
 * Goes through the owners that are known on @nodeid: *@pos begins at 0. Returns the descriptor of the next,
 * pinned by @req, and who it is in *@holder; NULL: no more. What comes and goes meanwhile may be missed. A
 * worker: it may look at the whole table.
 */
struct sfs_fdent *sfs_lock_owner_next(struct sfs_req *req, uint64_t nodeid, uint32_t *pos,
				      struct sfs_lock_holder *holder);

/* --- how many locks there are (limits.locks) --- */

/*
 * The host alone knows how many record locks an owner holds: they merge and split. So for each owner no more than an upper bound is known,
 * which changes raise by what they may add. Where that is too much the caller counts what there is, of owners that may have fewer, and
 * tries again.
 */

/** An owner's record at some moment. */
struct sfs_lock_count {
	uint64_t nodeid, owner, added;
	uint32_t serial, flying;
};

/** What a change will do, by a look at what the owner holds. */
struct sfs_lock_look {
	struct sfs_lock_count count; /* taken before the look */
	uint32_t after;              /* locks that it will hold */
	uint32_t adds;               /* how many more than now; 0: or fewer */
};

/** A change under way. */
struct sfs_lock_change {
	struct sfs_lock_count before;
	uint32_t adds, after;
	bool all, known;
};

/**
 * Before the caller locks or unlocks for @req's owner, through the descriptor that it has pinned: counts in what that may add, by @look, or
 * where NULL at worst. False: limits.locks would be exceeded, nothing was counted.
 */
bool sfs_lock_change_begin(struct sfs_req *req, const struct sfs_lock_look *look, struct sfs_lock_change *c);

/** After it. @done: the host did it; an owner that was granted a lock may stand in others' way from now on. */
void sfs_lock_change_end(struct sfs_req *req, const struct sfs_lock_change *c, bool done);

/** Begins a look at @req's owner. False: it is not known any more. */
bool sfs_lock_count_begin(struct sfs_req *req, struct sfs_lock_count *c);

/**
 * The next owner, of any node, that may hold fewer locks than are counted: *@pos begins at 0. Its descriptor, pinned by @req; NULL: no more.
 * The caller counts and says so. A worker: it may look at the whole table.
 */
struct sfs_fdent *sfs_lock_count_next(struct sfs_req *req, uint32_t *pos, struct sfs_lock_count *c);

/** It held @locks. */
void sfs_lock_count_end(struct sfs_session *se, const struct sfs_lock_count *c, uint32_t locks);

/** Before a flock of @h (pinned): counts it as one lock. *@first: it was not counted before. False: limits.locks would be exceeded. */
bool sfs_lock_flock_count(struct sfs_session *se, struct sfs_handle *h, bool *first);

/** It holds none. The end of a handle does that by itself. */
void sfs_lock_flock_uncount(struct sfs_session *se, struct sfs_handle *h);

/* --- who waits for whom --- */

/** A request that waits for a record lock: sfs_req_lock_waits(). */
struct sfs_lock_wait {
	uint64_t nodeid, owner;
	uint64_t start, end; /* both included */
	uint64_t serial;     /* who came later has a larger one */
	uint32_t type;       /* F_RDLCK or F_WRLCK */
};

/** What @req, which waits, is waiting for. */
struct sfs_lock_wait sfs_lock_wait_of(const struct sfs_req *req);

/**
 * Whether the wait of @req may close a circle: somebody else waits for a lock on a node where @req's owner was granted one.
 * Quick, and true more often than there is one.
 */
bool sfs_lock_wait_suspect(const struct sfs_req *req);

/**
 * What @owner's requests wait for that came before @serial: at most @max of them to @waits, how many is returned. Of a circle the
 * one that came last closes it: who looks only at those before it finds each circle once.
 */
unsigned sfs_lock_waits_get(struct sfs_session *se, uint64_t owner, uint64_t serial,
			    struct sfs_lock_wait *waits, unsigned max);

#endif
