/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A seeded simulation of one device: a real filesystem driver, real queues and rings, but one thread that turns everything
 * by hand, an engine that delays, reorders, shortens and fails, and workers whose calls run when the seed says. Programs of
 * FUSE operations, made from the seed, run against it; each has objects of its own, so a small model knows every result.
 *
 * Time and seed are inputs: the same seed gives the same trace. Only the simulation's own random numbers may be used.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "device.h"
#include "sfs_aio_engines.h"
#include "sfs_fe_guest.h"

/** Everything that a seed decides about a run before its first turn. */
struct sim_plan {
	uint64_t seed;
	bool mem;        /* the in-memory driver; else passthrough on a scratch directory */
	bool errors;     /* the engine reports errors */
	unsigned queues; /* request queues */
	unsigned reactors;
	unsigned slots, depth, share_ns;
	unsigned actors, steps;
	unsigned call_delay;                      /* turns that a worker's call may take */
	unsigned cached_permille, short_permille; /* of reads from the page cache, of worker calls */
	struct sfs_fg_opts guest;
	char options[512]; /* of the driver */
};

/* What a whole run of seeds must have met: for each operation the steps it was parked at, and how. */
enum sim_park { SIM_PARK_IO, SIM_PARK_CALL, SIM_PARK_WAIT, SIM_PARK_BARRIER, SIM_PARK_YIELD, SIM_PARKS };

struct sim_coverage {
	uint64_t parked[SFS_OP_COUNT][SIM_PARKS]; /* bit: the step it came back to */
	uint64_t done[SFS_OP_COUNT], failed[SFS_OP_COUNT];
	uint64_t short_reads, short_writes; /* bit: length's order of magnitude */
	uint64_t engine_full, slots_full, ring_full, races, restarts, inits;
};

struct sim {
	struct sim_plan plan;
	uint64_t random;
	uint64_t turn, last_progress;
	uint64_t trace; /* hash of all that happened */
	bool verbose;
	char dir[128]; /* the scratch directory */
	bool foreign;  /* it is not in memory */
	const struct sfs_fs_ops *fs;
	struct sfs_device *dev;
	struct sfs_mem *mem;
	struct sfs_reactor *reactors[2];
	struct sfs_fg guest;
	struct sim_coverage *cover;
};

/** The one that runs: the replaced workers and system calls find it here. */
extern struct sim sim;

/** 0 to @n - 1. */
uint64_t sim_below(uint64_t n);
static inline bool sim_chance(unsigned permille)
{
	return permille && sim_below(1000) < permille;
}

/** Ends the process: says what is wrong, the seed, and how to run it alone. */
void sim_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/** A fact of this run: part of the trace. */
void sim_note(uint64_t fact);

/* --- calls.c: the workers --- */

/** Runs those whose turn has come, in any order. Returns how many still wait. */
unsigned sim_calls_turn(void);
/** From now on a call runs as soon as it is handed over: at the end, when nobody turns the world any more. */
void sim_calls_at_once(bool at_once);

/* --- world.c --- */

void sim_plan_make(struct sim_plan *plan, uint64_t seed);
void sim_world_begin(void);
void sim_world_end(void);
/** One turn of everything but the guest's programs. */
void sim_world_turn(void);
/** Stops queue @idx, turns until it has drained, starts it again from where it stood. */
void sim_world_restart(unsigned idx);
/** INIT on some queue, from start to end. */
void sim_world_init(void);

/* --- program.c --- */

/** Runs the programs of all actors to their ends, checks everything, and takes it down. */
void sim_programs(void);

#endif
