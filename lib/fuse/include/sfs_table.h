/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a guest can name: nodes (nodeid), handles (fh), and the host descriptors behind them. Tables of plain data in one
 * mapping per session: indices and generations, fixed-size records, no pointers.
 *
 * An id is generation << 32 | index. Requests pin the records that they use; FORGET, RELEASE and eviction unlink a record
 * at once, the last unpin frees it and closes its descriptor, in one function. So a number of a closed descriptor is never
 * used for a request that was parked meanwhile.
 *
 * Every function here may be called by any reactor of the device and by its workers, unless it says otherwise. None blocks
 * but those that close descriptors (they say so).
 */
#ifndef SFS_TABLE_H
#define SFS_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sfs_aio.h"
#include "sfs_base.h"

struct sfs_req;
struct sfs_session;

#define SFS_NODE_HANDLE_BYTES 40

/** What makes a node the same object: found or inserted by all of these. */
struct sfs_node_key {
	uint64_t dev, ino;
	uint64_t btime_ns; /* birth time; 0: the filesystem has none */
	uint32_t mnt_idx;  /* the driver's index of the mount */
	int32_t
	    handle_type; /* of the file handle; handle_bytes 0: none. Compared where both sides have one */
	uint8_t handle_bytes;
	uint8_t handle[SFS_NODE_HANDLE_BYTES];
};

/** An open host descriptor. Index in the session's table; pinned by requests, linked by a node or a handle. */
struct sfs_fdent {
	_Atomic uint32_t
	    pins; /* SFS_PINS_LIVE and a count; unlinked: without it, and the last unpin closes */
	int fd;
	union {
		uint32_t next_free; /* of an entry that is unlinked */
		_Atomic uint32_t
		    open_flags; /* O_* of one that a node holds: O_PATH, or as sfs_node_fd_swap() says */
	};
	_Atomic uint32_t
	    owner; /* index + 1 of the node that keeps it and may lose it, 0: none; and SFS_FD_USED */
	struct sfs_aio_file file; /* engines that hold it open: they let go before it is closed */
};

#define SFS_FD_USED (1u << 31) /* since the clock's hand came by */

/* Two cache lines. A node that is known is found, counted and used by the first alone. */
struct sfs_node {
	_Atomic uint32_t state; /* SFS_REC_*; written last */
	uint32_t gen;
	_Atomic uint64_t nlookup; /* the guest's count; saturates, never underflows */
	_Atomic uint32_t pins;
	_Atomic uint32_t fd_idx; /* index + 1 of its descriptor, 0: none held; and a mark of node_fd.c */
	_Atomic uint32_t flags;  /* the driver's, but for SFS_NODE_* */
	uint32_t mode;           /* S_IFMT part only: an object never changes its type */
	struct sfs_node_key key;
	uint32_t hash_next;
	_Atomic uint32_t bucket; /* where it is found */
	uint64_t drv;            /* the driver's */
};

struct sfs_handle {
	_Atomic uint32_t state;
	uint32_t gen;
	_Atomic uint32_t pins;
	uint32_t fd_idx; /* index + 1 in the fd table; 0: the driver has none */
	uint64_t nodeid;
	uint32_t open_flags;   /* as opened on the host */
	uint32_t flags;        /* SFS_HANDLE_*, and the driver's above bit 8 */
	_Atomic uint32_t busy; /* directory position in use by one request: sfs_handle_lock() */
	uint32_t next_free;
	_Atomic uint32_t locks;   /* index + 1 of the first lock owner that came through it: sfs_lock.h */
	_Atomic uint32_t flocked; /* its flock is counted: sfs_lock.h */
	uint64_t drv[3];          /* the driver's: a directory's position, ... */
};

enum { SFS_REC_FREE, SFS_REC_LIVE, SFS_REC_DEAD };
#define SFS_PINS_LIVE (1u << 31)
enum { SFS_HANDLE_DIR = 1 };
enum {
	SFS_NODE_GONE = 1 << 30,     /* sfs_node_gone() */
	SFS_NODE_STALE = 1 << 29,    /* sfs_node_stale() */
	SFS_NODE_UNHASHED = 1 << 28, /* in no bucket: no key finds it, the guest still knows it by its id */
	SFS_NODE_HELD = 1 << 27,     /* sfs_node_hold() */
};

struct sfs_session_limits {
	uint32_t inodes;       /* node records; a large table has some more */
	uint32_t handles;      /* handle records */
	uint32_t fds;          /* descriptors of handles and nodes together */
	uint32_t node_fds;     /* cached descriptors of nodes (inode_fds_max) */
	uint32_t locks;        /* locks that are held */
	uint32_t lock_waiters; /* requests that wait for a lock at a time */
};

#define SFS_ROOT_ID 1ull /* FUSE_ROOT_ID: index 1, generation 0 */

/* --- descriptors --- */

/**
 * Takes over @fd into the table; returns its entry with one pin of @req (released when @req ends), or NULL: table full
 * (limits.fds), @fd still the caller's, answer ENFILE. @req NULL: no pin.
 */
struct sfs_fdent *sfs_fd_insert(struct sfs_session *se, struct sfs_req *req, int fd);

/** Unlinks an entry: closed when the last pin goes - now, if there is none. The close may run on a worker. */
void sfs_fd_unlink(struct sfs_session *se, struct sfs_fdent *ent);

/* --- nodes --- */

/**
 * The live node that the guest calls @nodeid, pinned by @req until it ends; NULL: unknown, forgotten or stale: answer ESTALE.
 */
struct sfs_node *sfs_node_pin(struct sfs_req *req, uint64_t nodeid);

/** The id under which the guest knows @node. */
uint64_t sfs_node_id(const struct sfs_session *se, const struct sfs_node *node);

/**
 * Finds the node with @key or inserts one, pins it for @req and adds @count to its lookup count (0: none). *@created tells
 * which. @mode: S_IFMT bits, @fd_new: an O_PATH descriptor that a new node may keep (taken over in any case where it is
 * >= 0 and the call succeeds: kept, or closed as one too many). Returns the node, or NULL: table full (answer ENFILE; nothing is pinned, fd_new is still the caller's).
 */
struct sfs_node *sfs_node_get(struct sfs_req *req, const struct sfs_node_key *key, uint32_t mode, int fd_new,
			      uint64_t count, bool *created);

/** As sfs_node_get(), but only finds: NULL where there is no such node. Revives one whose count is zero. */
struct sfs_node *sfs_node_find(struct sfs_req *req, const struct sfs_node_key *key, uint64_t count);

/** Fetches what the next sfs_node_again() or sfs_node_get() with @key begins with. A hint. */
void sfs_node_expect(struct sfs_session *se, const struct sfs_node_key *key);

/**
 * One more sight of a node that is known: adds @count to the lookup count of the node with @key, if it holds a descriptor or has
 * one of @flags (the driver's bits of node->flags). *@nodeid: its id. False: there is no such node, nothing was counted.
 * Nothing is pinned: the guest's count keeps the node.
 */
bool sfs_node_again(struct sfs_session *se, const struct sfs_node_key *key, uint32_t flags, uint64_t count,
		    uint64_t *nodeid);

/** @node, pinned by the caller, is no object of the host any more: its key will not find it again. */
void sfs_node_stale(struct sfs_node *node);

/**
 * The object behind @node, pinned by the caller, has lost its last name: the record is not kept for a later lookup, but goes,
 * and with it its descriptor and what node->drv names, with the guest's last lookup and the last pin.
 */
void sfs_node_gone(struct sfs_node *node);

/** Takes @count from the lookup count of @nodeid; more than it has clamps to zero; unknown ids are ignored. */
void sfs_node_forget(struct sfs_session *se, uint64_t nodeid, uint64_t count);

/**
 * The descriptor that the node holds, O_PATH unless exchanged by sfs_node_fd_swap(), pinned for @req; NULL: none held (open one, offer it
 * with sfs_node_fd_offer()).
 */
struct sfs_fdent *sfs_node_fd(struct sfs_req *req, struct sfs_node *node);

/**
 * Offers an O_PATH descriptor of @node for keeping; the table takes @fd over and pins the entry for @req in any case.
 * Beyond limits.node_fds one that was not used of late goes for it; where none is found, @fd goes with the request. NULL: no room among
 * limits.fds; @fd still the caller's.
 */
struct sfs_fdent *sfs_node_fd_offer(struct sfs_req *req, struct sfs_node *node, int fd);

/** As sfs_node_fd_offer() for one opened with @open_flags, which goes in place of the one that the node holds. */
struct sfs_fdent *sfs_node_fd_swap(struct sfs_req *req, struct sfs_node *node, int fd, uint32_t open_flags);

/**
 * Takes @ent, pinned by the caller, away from @node, which has a handle and is pinned, too. False: it is another's by now, or the node is
 * held.
 */
bool sfs_node_fd_drop(struct sfs_session *se, struct sfs_node *node, const struct sfs_fdent *ent);

/**
 * From now on no other node's needs take the descriptor of @node, pinned by the caller, away from it, until the guest has forgotten
 * it: the object is about to lose its last name. One that holds none, sfs_node_fd(), has to be offered one then. False: the guest does
 * not know it.
 */
bool sfs_node_hold(struct sfs_node *node);
/** Whether it is. */
bool sfs_node_held(const struct sfs_node *node);

/** A node and its descriptor as one look saw them, without a pin. */
struct sfs_node_sight {
	const struct sfs_node *node;
	uint32_t gen, fd_idx;
	int fd;
};

/**
 * What sfs_node_pin() and sfs_node_fd() would find for @nodeid, for one short call that changes nothing: pins are written, and what is
 * written costs as much as such a call's own work. Nothing keeps the descriptor: by the time of the call its number may be another file's,
 * so whatever the call finds is nobody's until sfs_node_seen() has said that it is the node's. False: no such node, or it holds none.
 */
bool sfs_node_see(struct sfs_session *se, uint64_t nodeid, struct sfs_node_sight *sight);

/**
 * Whether the call that sfs_node_see() was for met the node: it holds the same descriptor as before, and what was met has its numbers,
 * @dev and @ino, lest the descriptor had been closed and opened again meanwhile. An inode that is there before and after a moment shares
 * its number with nobody in between.
 */
bool sfs_node_seen(const struct sfs_session *se, const struct sfs_node_sight *sight, uint64_t dev,
		   uint64_t ino);

/* --- handles --- */

/**
 * A new handle for node @nodeid over @fd (taken over; -1: none), pinned for @req. Returns it, or NULL: a table is full
 * (answer ENFILE, @fd still the caller's). *@fh is the number that the guest gets.
 */
struct sfs_handle *sfs_handle_open(struct sfs_req *req, uint64_t nodeid, int fd, uint32_t open_flags,
				   uint32_t flags, uint64_t *fh);

/** The live handle @fh of node @nodeid, pinned by @req, and its descriptor's entry in *@ent (pinned too; NULL where it has
 * none; @ent may be NULL). NULL: no such handle, or another node's: answer EBADF. */
struct sfs_handle *sfs_handle_pin(struct sfs_req *req, uint64_t nodeid, uint64_t fh, struct sfs_fdent **ent);

/** Unlinks @fh: later requests get EBADF, those under way keep it; descriptor closed after the last. 0 or -EBADF. */
int sfs_handle_release(struct sfs_req *req, uint64_t nodeid, uint64_t fh);

/** As sfs_handle_release() for a handle that the caller has pinned. 0, or -EBADF: another RELEASE was faster. */
int sfs_handle_unlink(struct sfs_session *se, struct sfs_handle *h);

/** One request at a time uses a directory's position. True: locked, until sfs_handle_unlock() (which wakes waiters). */
bool sfs_handle_trylock(struct sfs_handle *h);
void sfs_handle_unlock(struct sfs_session *se, struct sfs_handle *h);

#endif
