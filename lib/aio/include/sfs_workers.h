/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Worker threads for system calls that may block. A reactor hands a call over without a lock and without a
 * system call where a worker is awake; the call comes back through the port of the lane that sent it.
 *
 * One pool a process; one client a device, so that a device whose filesystem hangs occupies at most
 * max_running workers and the others' calls go on. Clients take turns; the calls of one client begin in the
 * order of their hand-over.
 *
 * Who hands a call over wakes at most one sleeping worker, and none while another is about to look for work;
 * a worker that leaves work behind when it begins a call wakes the next.
 */
#ifndef SFS_WORKERS_H
#define SFS_WORKERS_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

struct sfs_reactor;
struct sfs_workers;
struct sfs_workers_client;
struct sfs_call_port;

/** One call. Embedded in the request; belongs to the pool between submit and reap. */
struct sfs_call {
	struct sfs_call *next;
	struct sfs_call_port *port;        /* NULL: nobody waits for its end */
	void (*fn)(struct sfs_call *call); /* runs on a worker; may block; keeps its result behind the call */
};

/**
 * Where finished calls of one lane wait for its reactor: a lock-free list with many producers, one consumer.
 */
struct sfs_call_port {
	_Atomic(struct sfs_call *) done;
	struct sfs_reactor *reactor; /* woken after each call, so it must outlive the pool; NULL: nobody */
};

struct sfs_workers_opts {
	unsigned count;        /* threads; at least 1 */
	const cpu_set_t *cpus; /* where they run; NULL: as the creator */
	uint64_t spin_ns;      /* how long an idle worker spins before it sleeps (at most one for each of
	                          * their CPUs at once); 0 where it shares a polling core */
	bool
	    background; /* they do not take a CPU from who is using it, but wait for its time slice to end (SCHED_BATCH, see
			    sched(7)); where that is not allowed, as usual */
	void (*thread_init)(void *arg); /* first thing on each thread; may be NULL */
	void *thread_init_arg;
};

/**
 * Starts the threads; they take no signals but those that their own faults raise. 0 or -errno: -EINVAL (no
 * thread, or no CPU of @opts->cpus is to be had), -EAGAIN (limit of threads), -ENOMEM. Control thread. @opts
 * need not stay.
 */
int sfs_workers_create(const struct sfs_workers_opts *opts, struct sfs_workers **workers);

/**
 * Stops the threads after the calls that are running; calls that wait are never begun and are their senders'
 * again, and all clients are freed. Waits at most @timeout_ns, then abandons the threads that hang: the last
 * of them to come back frees the pool. Returns 0, or -ETIMEDOUT. No client may submit any more. Control
 * thread; blocks.
 */
int sfs_workers_destroy(struct sfs_workers *workers, uint64_t timeout_ns);

/** A client that may occupy up to @max_running workers (at least 1). NULL: out of memory. Control thread. */
struct sfs_workers_client *sfs_workers_client_create(struct sfs_workers *workers, unsigned max_running);

/** Whether the client's workers are in the background: who waits for them had better sleep. Any thread. */
bool sfs_workers_in_background(const struct sfs_workers_client *client);

/**
 * Frees a client without calls in flight; one with calls is freed after the last has come back. Control
 * thread.
 */
void sfs_workers_client_destroy(struct sfs_workers_client *client);

/**
 * Hands a call over, port and fn set: fn will run once on a worker, then the call
 * appears at @call->port, which is not touched any more after that. Any thread; never blocks.
 */
void sfs_call_submit(struct sfs_workers_client *client, struct sfs_call *call);

/** Takes all finished calls, oldest first, linked by next. NULL: none. The port's consumer only. */
struct sfs_call *sfs_call_reap(struct sfs_call_port *port);

/** Workers busy now, calls waiting, calls ever run: for the figures. Any thread. */
void sfs_workers_stats(const struct sfs_workers *workers, unsigned *busy, unsigned *waiting, uint64_t *calls);

#endif
