/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest without rings for tests of filesystem drivers: builds FUSE requests in plain memory, runs them on
 * lanes of a real session, and hands back what would stand in the guest's pages. Lanes are turned by hand,
 * each by one thread at a time.
 */
#ifndef FUSE_GUEST_H
#define FUSE_GUEST_H

#include "sfs_lane.h"

#define FG_LANES_MAX   4
#define FG_SLOTS       16
#define FG_DATA_BYTES  (1u << 20)
#define FG_PIECE_BYTES 150000 /* replies are cut here: pieces that fit no block of anything */

struct fg {
	const struct sfs_fs_ops *ops;
	void *fs;
	struct sfs_session *se;
	struct sfs_workers *workers;
	struct sfs_workers_client *client;
	struct sfs_group group; /* of all lanes, where a test has no other; requests: as the test wants */
	struct sfs_lane lanes[FG_LANES_MAX];
	unsigned lane_count;
	uint64_t turns[FG_LANES_MAX]; /* each has had */
	const struct sfs_aio_ops *engine;
	uint64_t init_flags;                            /* what the guest offers at INIT */
	uint32_t uid, gid, pid;                         /* the caller of the requests to come */
	struct fg_msg *by_slot[FG_LANES_MAX][FG_SLOTS]; /* what waits for an answer */
};

/** One request and its answer. */
struct fg_msg {
	bool answered;
	char in[512]; /* header and arguments */
	char *tail;   /* names, or a WRITE's data */
	uint32_t in_bytes, tail_bytes;
	struct fuse_out_header head; /* the answer: header, */
	_Alignas(
	    4096) char out[FG_DATA_BYTES + 256]; /* and what follows it; aligned, as a guest's pages are */
	uint32_t out_bytes;
};

/** Makes an instance of @ops from the JSON text @options and a session of @lanes lanes, INIT done. Fails the
 * test on errors. */
void fg_start(struct fg *g, const struct sfs_fs_ops *ops, const char *options, unsigned lanes);
/** As fg_start() with limits of its own. */
void fg_start_limited(struct fg *g, const struct sfs_fs_ops *ops, const char *options, unsigned lanes,
		      const struct sfs_session_limits *limits);
/**
 * As fg_start_limited(); @engine is for drivers that do I/O (NULL: none), @init_flags what the guest offers.
 * The driver's thread_init runs on the calling thread, too.
 */
void fg_start_engine(struct fg *g, const struct sfs_fs_ops *ops, const char *options, unsigned lanes,
		     const struct sfs_session_limits *limits, const struct sfs_aio_ops *engine,
		     uint64_t init_flags);
void fg_stop(struct fg *g);
/** Ends the session and begins another over the same instance, as when the next guest comes. */
void fg_reconnect(struct fg *g);

/** A message with room for an answer; fg_free() it. */
struct fg_msg *fg_new(void);
void fg_free(struct fg_msg *m);

/**
 * Hands a request to lane @lane: @arg, then either up to two NUL-terminated names or @data. @room: bytes for
 * the answer behind its header.
 */
void fg_send(struct fg *g, unsigned lane, struct fg_msg *m, uint32_t opcode, uint64_t nodeid, const void *arg,
	     size_t arg_bytes, const char *name0, const char *name1, const void *data, size_t data_bytes,
	     uint32_t room);
/** Turns the lane until @m is answered; the error of its reply, 0 or negative. */
int fg_wait(struct fg *g, unsigned lane, struct fg_msg *m);
/** One turn of a lane. */
void fg_turn(struct fg *g, unsigned lane);

#endif
