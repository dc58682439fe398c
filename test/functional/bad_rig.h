/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of bad guests have in common: one daemon with two devices, an honest guest on one, and on the other a
 * guest with a queue that is filled by hand.
 */
#ifndef BAD_RIG_H
#define BAD_RIG_H

#include "harness.h"

#include <limits.h>

#define RAW_QUEUE    2 /* the bad guest's, filled by hand; its queue 1 stays honest */
#define RAW_IN       (128u << 10)
#define RAW_OUT      (128u << 10)
#define RAW_TABLE    4096 /* descriptors */
#define RAW_RING     64
#define RAW_POISON   0xa5
#define NO_ANSWER    INT_MIN
#define HEAD_BYTES   ((uint32_t)sizeof(struct fuse_in_header))
#define ANSWER_BYTES ((uint32_t)sizeof(struct fuse_out_header))

/** The two devices of one daemon, and what stands ready on them. */
struct bad {
	struct fn_env *env;
	struct sfs_fg *g, *good;
	struct sfs_fe_ring *ring; /* RAW_QUEUE */
	uint8_t *in, *out;        /* in the bad guest's memory, and where that is */
	struct vring_desc *table;
	uint64_t in_gpa, out_gpa, table_gpa, unique;
	uint64_t good_node, good_fh;          /* open over there */
	uint64_t file, fh, other, dir, dirfh; /* on the bad one's share: two files, a folder, opened */
};

extern const struct sfs_fg_opts bad_opts;

/** Starts the daemon, attaches both guests, makes and opens what the tests use. */
void bad_begin(struct bad *b, struct fn_env *env);
/** The bad guest comes (again) and opens its files. */
void bad_arrive(struct bad *b);
/** The daemon lives and the good guest is served as ever. */
void bad_others_live(struct bad *b);
/** The same, and the next guest of the bad one's device finds it whole. */
void bad_end(struct bad *b);

/* --- requests by hand --- */

/** One request on RAW_QUEUE. What is 0 is as it should be. */
struct raw {
	uint32_t opcode;
	uint64_t nodeid;
	const void *args;
	uint32_t args_bytes;
	const void *tail;
	uint32_t tail_bytes;
	uint32_t len;      /* in the header */
	uint32_t readable; /* bytes that the chain has */
	uint32_t room;     /* that it has for the answer */
	bool no_room;
	uint32_t piece; /* bytes a descriptor */
};

#define RAW_INIT(op, node, ...)                                                                              \
	{                                                                                                    \
		.opcode = (op), .nodeid = (node), ##__VA_ARGS__                                              \
	}
#define RAW(...)     (&(struct raw)RAW_INIT(__VA_ARGS__))
#define RAW_ARGS(in) .args = &(in), .args_bytes = sizeof(in)
#define RAW_NAME(s)  .tail = (s), .tail_bytes = sizeof(s)

/** Shows the daemon a head of RAW_QUEUE. */
void raw_show(struct bad *b, uint16_t head);
/** Waits for what RAW_QUEUE gives back next, which must be @head: the bytes that were written, they say. */
uint32_t raw_wait(struct bad *b, uint32_t head);
/** Sends one request as head 0. */
void raw_start(struct bad *b, const struct raw *r);
/**
 * Sends one request and waits for it: the error of the answer, the bytes that follow its header, or NO_ANSWER. Nothing
 * may be written beyond what the used element says.
 */
int raw_call(struct bad *b, const struct raw *r);
/** ... which must be @result. @what: said where it is not. */
void raw_is(struct bad *b, const char *what, const struct raw *r, int result);
/** The queue by hand serves an honest request. */
void raw_serves(struct bad *b);

/** How many entries the directory dir/@name has. */
unsigned bad_entries(struct fn_env *env, const char *name);

#endif
