/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A call travels: sender -> client->incoming -> client's queue -> a worker -> port->done. The first and the
 * last hop are lock-free stacks; what lies between is the workers' own, under one lock.
 *
 * Why no call is overlooked: a sender pushes, counts an event, then looks whether a worker is arriving (awake
 * and going to look) or asleep. A worker stops arriving, or announces its sleep, and then reads the events.
 * All of these are sequentially consistent, so either the sender sees the worker's state or the worker sees
 * the sender's event.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "sfs_base.h"
#include "sfs_reactor.h"
#include "sfs_workers.h"

struct sfs_workers_client {
	struct sfs_workers *wk;
	unsigned max_running;

	/* Written by senders. */
	SFS_ALIGNED _Atomic(struct sfs_call *) incoming; /* newest first */
	struct sfs_workers_client *woken_next;           /* whoever makes incoming non-empty */

	/* Under the pool's lock. */
	SFS_ALIGNED struct sfs_call *head; /* calls that wait, oldest first */
	struct sfs_call **tail;
	unsigned running;
	bool is_ready;     /* on the pool's ready list: has calls and may run one more */
	bool is_destroyed; /* by its owner; goes with its last call */
	TAILQ_ENTRY(sfs_workers_client) ready_link;
	LIST_ENTRY(sfs_workers_client) link;
};

struct sfs_workers {
	uint64_t spin_ns;
	unsigned spin_max; /* how many may spin at once */
	bool background;
	void (*thread_init)(void *arg);
	void *thread_init_arg;
	sem_t sem; /* one token for each sleeper that was claimed */

	/* Written by senders and workers. */
	SFS_ALIGNED _Atomic(struct sfs_workers_client *) woken; /* clients with incoming calls */
	atomic_ullong events; /* counts whatever may give a worker something to do */
	atomic_uint arriving; /* workers that spin or were woken, and will look for work */
	atomic_uint sleepers; /* workers that wait for a token and have none yet */
	atomic_uint waiting;  /* figure: calls handed over and not yet begun */
	atomic_bool stopping;

	SFS_ALIGNED pthread_mutex_t lock; /* what follows is under it */
	TAILQ_HEAD(, sfs_workers_client) ready;
	LIST_HEAD(, sfs_workers_client) clients;
	uint64_t busy, calls; /* figures */
	unsigned live;        /* threads that have not ended */
	bool abandoned;       /* the last thread to end frees the pool */
	pthread_cond_t ended;
	unsigned count;
	pthread_t threads[];
};

static void *wk_alloc(size_t bytes)
{
	size_t size = SFS_ALIGN_UP(bytes, (size_t)SFS_CACHE_LINE);
	void *mem = aligned_alloc(SFS_CACHE_LINE, size);

	return mem ? memset(mem, 0, size) : NULL;
}

/* Takes one announced sleeper, whichever: it is owed a token now. */
static bool wk_claim(struct sfs_workers *wk)
{
	unsigned n = atomic_load(&wk->sleepers);

	while (n > 0)
		if (atomic_compare_exchange_weak(&wk->sleepers, &n, n - 1))
			return true;
	return false;
}

static bool wk_wake_one(struct sfs_workers *wk)
{
	if (!wk_claim(wk))
		return false;
	atomic_fetch_add(&wk->arriving, 1);
	sem_post(&wk->sem);
	return true;
}

/* There is work: sees to it that some worker looks, without a system call where one is going to anyway. */
static void wk_kick(struct sfs_workers *wk)
{
	atomic_fetch_add(&wk->events, 1);
	if (atomic_load(&wk->arriving) == 0)
		wk_wake_one(wk);
}

/* --- under the lock --- */

static void wk_make_ready(struct sfs_workers *wk, struct sfs_workers_client *c)
{
	if (c->is_ready || !c->head || c->running >= c->max_running)
		return;
	TAILQ_INSERT_TAIL(&wk->ready, c, ready_link);
	c->is_ready = true;
}

/* Moves what senders pushed to the queues of their clients. */
static void wk_gather(struct sfs_workers *wk)
{
	struct sfs_workers_client *c, *next;

	if (!atomic_load_explicit(&wk->woken, memory_order_relaxed))
		return;
	for (c = atomic_exchange_explicit(&wk->woken, NULL, memory_order_acquire); c; c = next) {
		struct sfs_call *call, *list = NULL, *last;

		next = c->woken_next; /* before incoming is empty: from then on senders write it again */
		call = atomic_exchange_explicit(&c->incoming, NULL, memory_order_acq_rel);
		for (last = call; call;) {
			struct sfs_call *older = call->next;

			call->next = list;
			list = call;
			call = older;
		}
		*c->tail = list;
		c->tail = &last->next;
		wk_make_ready(wk, c);
	}
}

static struct sfs_call *wk_take(struct sfs_workers *wk, struct sfs_workers_client *c)
{
	struct sfs_call *call = c->head;

	TAILQ_REMOVE(&wk->ready, c, ready_link);
	c->is_ready = false;
	c->head = call->next;
	if (!c->head)
		c->tail = &c->head;
	c->running++;
	wk_make_ready(wk, c); /* behind all others */
	SFS_STAT_ADD(wk->busy, 1);
	SFS_STAT_ADD(wk->calls, 1);
	atomic_fetch_sub_explicit(&wk->waiting, 1, memory_order_relaxed);
	return call;
}

static void wk_client_free(struct sfs_workers_client *c)
{
	LIST_REMOVE(c, link);
	free(c);
}

static void wk_finished(struct sfs_workers *wk, struct sfs_workers_client *c)
{
	c->running--;
	SFS_STAT_ADD(wk->busy, -1);
	wk_make_ready(wk, c);
	if (c->is_destroyed && !c->running && !c->head)
		wk_client_free(c);
}

/* --- the threads --- */

/* Waits for an event after @seen without sleeping. */
static bool wk_spin(struct sfs_workers *wk, uint64_t seen)
{
	uint64_t end_ns = sfs_now_ns() + wk->spin_ns;
	bool news = false;

	if (atomic_fetch_add(&wk->arriving, 1) < wk->spin_max) {
		while (!(news = atomic_load(&wk->events) != seen) && sfs_now_ns() < end_ns)
			sfs_pause();
	}
	atomic_fetch_sub(&wk->arriving, 1);
	return news;
}

/* Waits for an event after @seen. */
static void wk_idle(struct sfs_workers *wk, uint64_t seen)
{
	if (wk->spin_ns && wk_spin(wk, seen))
		return;
	atomic_fetch_add(&wk->sleepers, 1);
	/* Announced: look once more. Where a waker was faster than our withdrawal there is a token to take.
	 */
	if (atomic_load(&wk->events) != seen && wk_claim(wk))
		return;
	while (sem_wait(&wk->sem) < 0 && errno == EINTR)
		;
	atomic_fetch_sub(&wk->arriving, 1);
}

/* The client whose turn it is; waits for one. NULL: the pool stops. Called and returns with the lock held. */
static struct sfs_workers_client *wk_next(struct sfs_workers *wk)
{
	for (;;) {
		uint64_t seen = atomic_load(&wk->events);

		if (atomic_load(&wk->stopping))
			return NULL;
		wk_gather(wk);
		if (!TAILQ_EMPTY(&wk->ready))
			return TAILQ_FIRST(&wk->ready);
		pthread_mutex_unlock(&wk->lock);
		wk_idle(wk, seen);
		pthread_mutex_lock(&wk->lock);
	}
}

static void wk_complete(struct sfs_call *call, struct sfs_call_port *port)
{
	struct sfs_reactor *reactor = port->reactor;
	struct sfs_call *head = atomic_load_explicit(&port->done, memory_order_relaxed);

	do {
		call->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&port->done, &head, call, memory_order_release,
							memory_order_relaxed));
	/* Call and port are not ours any more. */
	if (reactor)
		sfs_reactor_wake(reactor);
}

static void wk_free(struct sfs_workers *wk)
{
	struct sfs_workers_client *c;

	while ((c = LIST_FIRST(&wk->clients))) /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): LIST_REMOVE() */
		wk_client_free(c);
	sem_destroy(&wk->sem);
	pthread_cond_destroy(&wk->ended);
	pthread_mutex_destroy(&wk->lock);
	free(wk);
}

static void *wk_main(void *arg)
{
	struct sfs_workers *wk = arg;
	struct sfs_workers_client *c;
	bool last;

	if (wk->thread_init)
		wk->thread_init(wk->thread_init_arg);
	pthread_mutex_lock(&wk->lock);
	while ((c = wk_next(wk))) {
		struct sfs_call *call = wk_take(wk, c);
		struct sfs_call_port *port = call->port;
		bool more = !TAILQ_EMPTY(&wk->ready);

		pthread_mutex_unlock(&wk->lock);
		if (more)
			wk_kick(wk);
		call->fn(call);
		/* Where nobody waits, its function may have handed the call over again, or freed it. */
		if (port)
			wk_complete(call, port);
		pthread_mutex_lock(&wk->lock);
		wk_finished(wk, c);
	}
	last = --wk->live == 0 && wk->abandoned;
	pthread_cond_signal(&wk->ended);
	pthread_mutex_unlock(&wk->lock);
	if (last)
		wk_free(wk);
	return NULL;
}

bool sfs_workers_in_background(const struct sfs_workers_client *client)
{
	return client->wk->background;
}

/* --- the pool --- */

static int wk_start(struct sfs_workers *wk, const struct sfs_workers_opts *opts)
{
	static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGSYS, SIGTRAP, SIGABRT};
	const struct sched_param none = {0};
	pthread_attr_t attr;
	sigset_t blocked;
	char name[16];
	int rc = 0;

	sigfillset(&blocked);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(faults); i++)
		sigdelset(&blocked, faults[i]);
	if (pthread_attr_init(&attr))
		return -ENOMEM;
	if (opts->cpus)
		rc = -pthread_attr_setaffinity_np(&attr, sizeof(*opts->cpus), opts->cpus);
	if (!rc)
		rc = -pthread_attr_setsigmask_np(&attr, &blocked);
	pthread_mutex_lock(&wk->lock);
	while (!rc && wk->count < opts->count) {
		rc = -pthread_create(&wk->threads[wk->count], &attr, wk_main, wk);
		if (rc)
			break;
		if (opts->background) /* from here: their own system calls may be filtered already */
			pthread_setschedparam(wk->threads[wk->count], SCHED_BATCH, &none);
		snprintf(name, sizeof(name), "sfs-worker%u", wk->count % 10000);
		pthread_setname_np(wk->threads[wk->count], name);
		wk->live = ++wk->count;
	}
	pthread_mutex_unlock(&wk->lock);
	pthread_attr_destroy(&attr);
	return rc;
}

int sfs_workers_create(const struct sfs_workers_opts *opts, struct sfs_workers **workers)
{
	struct sfs_workers *wk;
	pthread_condattr_t attr;
	cpu_set_t cpus;
	int rc;

	if (opts->count == 0)
		return -EINVAL;
	wk = wk_alloc(sizeof(*wk) + opts->count * sizeof(wk->threads[0]));
	if (!wk)
		return -ENOMEM;
	if (opts->cpus)
		cpus = *opts->cpus;
	else if (pthread_getaffinity_np(pthread_self(), sizeof(cpus), &cpus))
		CPU_ZERO(&cpus);
	wk->spin_ns = opts->spin_ns;
	wk->background = opts->background;
	wk->spin_max = SFS_MAX(CPU_COUNT(&cpus), 1);
	wk->thread_init = opts->thread_init;
	wk->thread_init_arg = opts->thread_init_arg;
	TAILQ_INIT(&wk->ready);
	LIST_INIT(&wk->clients);
	sem_init(&wk->sem, 0, 0);
	pthread_mutex_init(&wk->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&wk->ended, &attr);
	pthread_condattr_destroy(&attr);
	rc = wk_start(wk, opts);
	if (rc) {
		sfs_workers_destroy(wk, UINT64_MAX);
		return rc;
	}
	*workers = wk;
	return 0;
}

int sfs_workers_destroy(struct sfs_workers *wk, uint64_t timeout_ns)
{
	uint64_t now_ns = sfs_now_ns(), end_ns = now_ns + SFS_MIN(timeout_ns, UINT64_MAX / 2 - now_ns);
	struct timespec end = {(time_t)(end_ns / SFS_NS_PER_S), (long)(end_ns % SFS_NS_PER_S)};
	bool abandoned;
	int rc = 0;

	atomic_store(&wk->stopping, true);
	atomic_fetch_add(&wk->events, 1);
	while (wk_wake_one(wk))
		;
	pthread_mutex_lock(&wk->lock);
	while (wk->live > 0 && !rc)
		rc = pthread_cond_timedwait(&wk->ended, &wk->lock, &end);
	abandoned = wk->abandoned = wk->live > 0;
	for (unsigned i = 0; i < wk->count && abandoned; i++)
		pthread_detach(wk->threads[i]);
	pthread_mutex_unlock(&wk->lock);
	if (abandoned)
		return -ETIMEDOUT;
	for (unsigned i = 0; i < wk->count; i++)
		pthread_join(wk->threads[i], NULL);
	wk_free(wk);
	return 0;
}

struct sfs_workers_client *sfs_workers_client_create(struct sfs_workers *wk, unsigned max_running)
{
	struct sfs_workers_client *c = wk_alloc(sizeof(*c));

	assert(max_running > 0);
	if (!c)
		return NULL;
	c->wk = wk;
	c->max_running = max_running;
	c->tail = &c->head;
	pthread_mutex_lock(&wk->lock);
	LIST_INSERT_HEAD(&wk->clients, c, link);
	pthread_mutex_unlock(&wk->lock);
	return c;
}

void sfs_workers_client_destroy(struct sfs_workers_client *c)
{
	struct sfs_workers *wk = c->wk;

	pthread_mutex_lock(&wk->lock);
	wk_gather(wk); /* calls that no worker has seen yet count, too */
	c->is_destroyed = true;
	if (!c->running && !c->head)
		wk_client_free(c);
	pthread_mutex_unlock(&wk->lock);
}

void sfs_call_submit(struct sfs_workers_client *c, struct sfs_call *call)
{
	struct sfs_workers *wk = c->wk;
	struct sfs_call *head = atomic_load_explicit(&c->incoming, memory_order_relaxed);
	struct sfs_workers_client *woken;

	atomic_fetch_add_explicit(&wk->waiting, 1, memory_order_relaxed);
	do {
		call->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&c->incoming, &head, call, memory_order_acq_rel,
							memory_order_relaxed));
	/* From here on the call may be over and the client gone, but for whoever has to announce the client.
	 */
	if (!head) {
		woken = atomic_load_explicit(&wk->woken, memory_order_relaxed);
		do {
			c->woken_next = woken;
		} while (!atomic_compare_exchange_weak_explicit(&wk->woken, &woken, c, memory_order_release,
								memory_order_relaxed));
	}
	wk_kick(wk);
}

struct sfs_call *sfs_call_reap(struct sfs_call_port *port)
{
	struct sfs_call *call, *list = NULL;

	if (SFS_LIKELY(!atomic_load_explicit(&port->done, memory_order_relaxed)))
		return NULL;
	call = atomic_exchange_explicit(&port->done, NULL, memory_order_acquire);
	while (call) { /* oldest first */
		struct sfs_call *older = call->next;

		call->next = list;
		list = call;
		call = older;
	}
	return list;
}

void sfs_workers_stats(const struct sfs_workers *wk, unsigned *busy, unsigned *waiting, uint64_t *calls)
{
	*busy = (unsigned)SFS_STAT_GET(wk->busy);
	*waiting = atomic_load_explicit(&wk->waiting, memory_order_relaxed);
	*calls = SFS_STAT_GET(wk->calls);
}
