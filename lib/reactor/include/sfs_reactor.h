/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A reactor is one thread that takes turns over its pollers and runs messages sent to it. Time is an argument
 * of a turn, so a test turns a reactor by hand.
 *
 * In the idle policy `spin` a reactor never sleeps. In `adaptive` it spins for spin_ns after the last useful
 * turn, then arms its pollers (each asks its guest for notifications and looks once more) and sleeps on the
 * file descriptors that were added. No wake-up is lost: whoever makes work for a reactor does so first and then
 * calls sfs_reactor_wake() or makes one of the descriptors readable; the reactor announces its sleep first and
 * then looks for work (both with a full fence between).
 */
#ifndef SFS_REACTOR_H
#define SFS_REACTOR_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "sfs_base.h"

struct sfs_reactor;
struct sfs_poller;

struct sfs_poller_ops {
	/** One turn. Returns the amount of work done; 0 means idle. Must not block. */
	unsigned (*poll)(struct sfs_poller *poller, uint64_t now_ns);
	/** About to sleep: ask for notifications, then return true if there is work already. May be NULL. */
	bool (*arm)(struct sfs_poller *poller);
	/** Awake again: notifications are not wanted any more. May be NULL. */
	void (*disarm)(struct sfs_poller *poller);
};

/** Embedded in whatever polls. The owner allocates it; between add and remove it belongs to the reactor. */
struct sfs_poller {
	const struct sfs_poller_ops *ops;
	TAILQ_ENTRY(sfs_poller) link;
};

/** A message: a function that a reactor runs between two turns. Embedded in the sender's object. */
struct sfs_msg {
	struct sfs_msg *next;
	void (*fn)(struct sfs_msg *msg);
};

enum sfs_idle { SFS_IDLE_SPIN, SFS_IDLE_ADAPTIVE };

struct sfs_reactor_opts {
	const char *name; /* copied; at most 12 bytes are shown as thread name */
	int cpu;          /* CPU to pin to, -1: not pinned */
	enum sfs_idle idle;
	uint64_t spin_ns;      /* adaptive: how long to spin before sleeping */
	const cpu_set_t *cpus; /* where an unpinned reactor may run, NULL: as the creator */
};

/** Figures of a reactor; written by it alone, read by anyone. */
struct sfs_reactor_stats {
	uint64_t turns, busy_ns, idle_ns, sleeps, wakeups;
};

/**
 * Makes a reactor; no thread runs it yet. Returns 0 and the reactor, or -errno: -ENOMEM, or what epoll_create
 * or eventfd gave (-EMFILE). The caller owns it until sfs_reactor_destroy().
 */
int sfs_reactor_create(const struct sfs_reactor_opts *opts, struct sfs_reactor **reactor);

/** Frees a reactor that does not run and has no pollers. Messages not yet run are dropped. */
void sfs_reactor_destroy(struct sfs_reactor *r);

/**
 * Starts the thread. Returns 0 or -errno: -EINVAL where the CPU cannot be had, -EAGAIN where no thread could be
 * made. Control thread.
 */
int sfs_reactor_start(struct sfs_reactor *r);

/**
 * Asks the thread to end and waits for it, @timeout_ns and up to a second more. Pollers stay where they are. 0, or
 * -ETIMEDOUT: it hangs in a call, and uses the reactor when that comes back: do not destroy it. Control thread; blocks.
 */
int sfs_reactor_stop(struct sfs_reactor *r, uint64_t timeout_ns);

/** One turn by hand or from the thread: messages, then each poller once. Returns the work done. Its thread only. */
unsigned sfs_reactor_turn(struct sfs_reactor *r, uint64_t now_ns);

/** Announces sleep, arms all pollers. Returns true if it may sleep. Exposed for tests; the thread does it itself. */
bool sfs_reactor_arm(struct sfs_reactor *r);
/** Ends what sfs_reactor_arm() began. */
void sfs_reactor_disarm(struct sfs_reactor *r);

/**
 * Moves a reactor that is not pinned and polls nothing to those of @cpus on which it may run; elsewhere and where there is
 * none it stays. The reactor's thread only; a system call.
 */
void sfs_reactor_move(struct sfs_reactor *r, const cpu_set_t *cpus);

/** Adds a poller: from the next turn on it is called. The reactor's thread only (send a message to get there). */
void sfs_reactor_add(struct sfs_reactor *r, struct sfs_poller *poller);

/** Removes a poller, also from within its own poll(). The reactor's thread only. */
void sfs_reactor_remove(struct sfs_reactor *r, struct sfs_poller *poller);

/** Within a turn of a poller: a request has come. */
void sfs_reactor_arrived(struct sfs_reactor *r);

/** Within a turn of a poller: a request was answered, and the next may come because of that. */
void sfs_reactor_answered(struct sfs_reactor *r);

/**
 * Within a turn of a poller: something is under way that takes its time and will end a sleep, a disk's I/O. An adaptive
 * reactor spins no longer then than the next request usually takes to come.
 */
void sfs_reactor_waits(struct sfs_reactor *r);

/**
 * Within a turn of a poller: a worker that runs where the reactor does has something to do. As sfs_reactor_waits(), but while others
 * are served (@shared) the reactor makes way at most once in two milliseconds: each time is one of their requests that waits for the worker.
 */
void sfs_reactor_yields(struct sfs_reactor *r, bool shared);

/**
 * Work for @party, whoever that is to the caller, was done at @now_ns. @quick: as ever of late, it was soon done. For sfs_reactor_company().
 * The reactor's thread.
 */
void sfs_reactor_worked(struct sfs_reactor *r, const void *party, uint64_t now_ns, bool quick);

/** For whom else there was work within the last 10 ms. */
enum sfs_company {
	SFS_ALONE,
	SFS_BESIDE_BUSY, /* who takes long now is waited for, by others who do so, too */
	SFS_BESIDE_QUICK, /* or by one at least whose work is always soon done: its latency is the longest turn of the others */
};
enum sfs_company sfs_reactor_company(const struct sfs_reactor *r, const void *party, uint64_t now_ns);

/**
 * Lets @fd end the reactor's sleep (edge-triggered, so it never has to be read). Returns 0 or -errno of
 * epoll_ctl. Any thread. A descriptor that is closed in all its copies leaves by itself.
 */
int sfs_reactor_fd_add(struct sfs_reactor *r, int fd);
/** Takes @fd out again; must come before close() where copies of it live on. Any thread. */
void sfs_reactor_fd_del(struct sfs_reactor *r, int fd);

/**
 * Queues @msg; its fn runs on the reactor's thread, messages of one sender in order. Never blocks, never fails,
 * any thread. @msg belongs to the reactor until fn is called; fn may free or send it again.
 */
void sfs_reactor_send(struct sfs_reactor *r, struct sfs_msg *msg);

/** Ends the reactor's sleep if it sleeps; call after making work. A fence and a load where it is awake. Any thread. */
void sfs_reactor_wake(struct sfs_reactor *r);

/** How often the calling thread has slept as a reactor: its voluntary context switches beyond these are calls that blocked. */
uint64_t sfs_reactor_thread_sleeps(void);

/** The time by the clock that turns are given: cheaper than sfs_now_ns(). The reactor's thread. */
uint64_t sfs_reactor_now_ns(struct sfs_reactor *r);

const char *sfs_reactor_name(const struct sfs_reactor *r);
int sfs_reactor_cpu(const struct sfs_reactor *r);
enum sfs_idle sfs_reactor_idle(const struct sfs_reactor *r);
/** True where the caller runs on the reactor's thread, or the reactor has no thread. */
bool sfs_reactor_is_mine(const struct sfs_reactor *r);
void sfs_reactor_stats_get(const struct sfs_reactor *r, struct sfs_reactor_stats *stats);

#endif
