/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session without a filesystem: requests of any bytes in any segments, and one function that stands for every
 * operation, notes what it was given, and answers what the test says. Lanes are turned by hand.
 */
#ifndef FUSE_RIG_H
#define FUSE_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sfs_iov.h"
#include "sfs_lane.h"

#define RIG_LANES 3
#define RIG_SLOTS 8
#define RIG_BYTES (200u << 10)
#define IN_HEAD   ((uint32_t)sizeof(struct fuse_in_header))
#define OUT_HEAD  ((uint32_t)sizeof(struct fuse_out_header))

/** What the last operation was given. */
struct rig_seen {
	unsigned calls;
	uint32_t opcode;
	char arg[128];
	char name[2][5000];
	uint32_t name_bytes[2];
	char *extra; /* a copy */
	uint32_t extra_bytes;
	char *data; /* WRITE: a copy of what the segments hold */
	uint64_t data_left;
	unsigned data_cnt;
};

/** A request, in bytes as the guest lays them out, and where its answer goes. */
struct rig_msg {
	char in[RIG_BYTES], out[RIG_BYTES];
	uint32_t in_bytes;            /* of in: the chain's readable bytes */
	uint32_t out_bytes;           /* the chain's writable bytes */
	uint32_t in_piece, out_piece; /* the segments' size; 0: one segment */
	uint32_t in_first, out_first; /* size of the first segment; 0: as the others */
	unsigned
	    repeat; /* how often what follows header and struct fuse_write_in stands in the chain; 0: once */
	bool answered;
	uint32_t used;
};

struct rig {
	struct sfs_session *se;
	struct sfs_lane lanes[RIG_LANES];
	unsigned lane_count;
	struct rig_msg *by_slot[RIG_LANES][RIG_SLOTS];
	struct rig_seen seen;
	int (*hook)(struct sfs_req *req); /* NULL: rig_note() */
	int result;                       /* of rig_note() */
	uint32_t read_bytes;              /* READ answers with this many bytes of 'r' */
	unsigned evicted, freed;          /* node_evict and handle_free so far */
	void (*on_free)(void);            /* in handle_free; or NULL */
	struct sfs_workers *workers;      /* of opts.workers; or NULL */
	struct sfs_workers_client *client;
};

/** The rig of the running test: operations find it here. */
extern struct rig rig;

struct rig_opts {
	unsigned lanes;                   /* 0: 1 */
	struct sfs_session_limits limits; /* inodes 0: ample ones */
	uint64_t driver_flags;
	struct sfs_init_limits init;
	bool no_init;
	bool workers;         /* the lanes have one worker: INIT and DESTROY empty the tables there */
	uint64_t guest_flags; /* offered at INIT */
};

void rig_start(const struct rig_opts *opts);
void rig_stop(void);

/** The operation that notes. */
int rig_note(struct sfs_req *req);

/** A message with a header of @opcode; free() it. */
struct rig_msg *rig_msg(uint32_t opcode, const void *arg, size_t arg_bytes);
/** Appends bytes and sets in.len anew. */
void rig_put(struct rig_msg *m, const void *bytes, size_t count);
static inline struct fuse_in_header *rig_in(struct rig_msg *m)
{
	return (struct fuse_in_header *)(void *)m->in;
}
static inline const struct fuse_out_header *rig_out(const struct rig_msg *m)
{
	return (const struct fuse_out_header *)(const void *)m->out;
}

/** Hands it to a lane. */
void rig_send(unsigned lane, struct rig_msg *m);
/** One turn of the lane. */
void rig_turn(unsigned lane);
/** Sends on lane 0, turns it until the answer is there. Returns the reply's error; 1: came back without a reply. */
int rig_do(struct rig_msg *m);
/** rig_do() of an INIT. */
int rig_init(uint32_t major, uint32_t minor, uint64_t flags, uint32_t bytes, struct fuse_init_out *out);

/** An open descriptor, and whether one is open. */
int rig_fd(void);
bool rig_fd_open(int fd);
/** The end of a request that a test made by itself (calloc): its pins go, then it. */
void rig_req_end(struct sfs_req *req);

#endif
