/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looks at the daemon's system calls from outside, as strace does: how many of each kind its reactor and its
 * other threads make, and whether the data of file I/O lies in the guest's memory.
 */
#ifndef TRACE_H
#define TRACE_H

#include "harness.h"

#include <pthread.h>
#include <stdatomic.h>

#define FN_TRACE_CALLS 512

struct fn_trace {
	const struct fn_env *env;
	pid_t pid, reactor;
	ino_t guest_ino; /* of the guest's memory file; its one region */
	struct {
		uint64_t from, to;
	} guest[8], sqes[8];
	unsigned guest_count, sqes_count;

	/* Results, after fn_trace_end(). */
	unsigned on_reactor[FN_TRACE_CALLS], elsewhere[FN_TRACE_CALLS]; /* calls, by number */
	unsigned reactor_reads_that_wait; /* vectored reads of the reactor without RWF_NOWAIT */
	unsigned inside, outside;         /* segments of data in the guest's memory, and anywhere else */

	pthread_t thread;
	atomic_int state;
};

/** Starts to follow all threads of the daemon; skips the test where that is not allowed. @g is attached,
 * with one region. */
void fn_trace_begin(struct fn_env *env, struct fn_trace *t, const struct sfs_fg *g);
void fn_trace_end(struct fn_trace *t);

#endif
