/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sfs_log.h"
#include "sfs_reactor.h"

/* How many messages or events one look takes: the rest waits a turn. */
#define REACTOR_EVENTS 16
/* Beside a disk's I/O: see reactor_patience(). */
#define PATIENCE_MIN_NS 2000
#define ARRIVAL_SHIFT   3
/* How often the reactor makes way for workers on its own CPU while it serves others than those who wait for them. */
#define YIELD_EVERY_NS (2 * SFS_NS_PER_MS)
/* How long who had work counts as being there. */
#define REACTOR_PARTY_NS (10 * SFS_NS_PER_MS)

/* The two that had work last, the very last one first. */
struct parties {
	const void *party[2];
	uint64_t ns[2];
};

struct sfs_reactor {
	TAILQ_HEAD(, sfs_poller) pollers;
	struct sfs_poller
	    *next; /* the poller after the one being called, so that any may remove itself or others */
	struct sfs_reactor_stats stats;
	struct sfs_clock clock;
	bool waits, arrived, answered; /* of the last turn */
	uint64_t turn_ns, slept_ns;    /* when it began, and when the last sleep ended */
	uint64_t
	    arrival_ns; /* how long after the end of work the next request comes, about; at most spin_ns */
	struct parties worked, quick;

	/* Written by others. */
	SFS_ALIGNED _Atomic(struct sfs_msg *) inbox; /* newest first */
	atomic_bool sleeping;
	atomic_bool stop;

	int epfd, wake_fd;
	char name[32];
	int cpu;
	enum sfs_idle idle;
	uint64_t spin_ns;
	bool has_cpus;
	cpu_set_t cpus; /* where it may run */
	bool started;
	pthread_t thread;
};

static __thread uint64_t thread_sleeps;

int sfs_reactor_create(const struct sfs_reactor_opts *opts, struct sfs_reactor **reactor)
{
	struct sfs_reactor *r = NULL;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	int rc;

	if (posix_memalign((void **)&r, SFS_CACHE_LINE, sizeof(*r)))
		return -ENOMEM;
	memset(r, 0, sizeof(*r));
	TAILQ_INIT(&r->pollers);
	snprintf(r->name, sizeof(r->name), "%s", opts->name);
	r->cpu = opts->cpu;
	r->idle = opts->idle;
	r->spin_ns = r->arrival_ns = opts->spin_ns;
	if (opts->cpus) {
		r->has_cpus = true;
		r->cpus = *opts->cpus;
	}
	r->wake_fd = -1;
	r->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (r->epfd < 0)
		goto fail;
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->wake_fd < 0)
		goto fail;
	if (epoll_ctl(r->epfd, EPOLL_CTL_ADD, r->wake_fd, &ev) < 0)
		goto fail;
	*reactor = r;
	return 0;
fail:
	rc = -errno;
	sfs_reactor_destroy(r);
	return rc;
}

void sfs_reactor_destroy(struct sfs_reactor *r)
{
	if (!r)
		return;
	if (r->epfd >= 0)
		close(r->epfd);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	free(r);
}

static unsigned reactor_messages(struct sfs_reactor *r)
{
	struct sfs_msg *msg, *list = NULL;
	unsigned n = 0;

	if (SFS_LIKELY(!atomic_load_explicit(&r->inbox, memory_order_relaxed)))
		return 0;
	msg = atomic_exchange_explicit(&r->inbox, NULL, memory_order_acquire);
	while (msg) { /* oldest first */
		struct sfs_msg *next = msg->next;

		msg->next = list;
		list = msg;
		msg = next;
	}
	while (list) {
		msg = list;
		list = list->next;
		msg->fn(msg);
		n++;
	}
	return n;
}

unsigned sfs_reactor_turn(struct sfs_reactor *r, uint64_t now_ns)
{
	unsigned work = reactor_messages(r);
	struct sfs_poller *p = TAILQ_FIRST(&r->pollers);

	r->arrived = r->answered = r->waits = false;
	r->turn_ns = now_ns;
	while (p) {
		r->next = TAILQ_NEXT(p, link);
		work += p->ops->poll(p, now_ns);
		p = r->next;
	}
	SFS_STAT_ADD(r->stats.turns, 1);
	return work;
}

bool sfs_reactor_arm(struct sfs_reactor *r)
{
	struct sfs_poller *p;
	bool work = false;

	/* Announce first, look after: whoever makes work does it the other way round. */
	atomic_store_explicit(&r->sleeping, true, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&r->inbox, memory_order_relaxed) ||
	    atomic_load_explicit(&r->stop, memory_order_relaxed))
		work = true;
	TAILQ_FOREACH (p, &r->pollers, link)
		if (p->ops->arm && p->ops->arm(p))
			work = true;
	return !work;
}

void sfs_reactor_disarm(struct sfs_reactor *r)
{
	struct sfs_poller *p;

	atomic_store_explicit(&r->sleeping, false, memory_order_relaxed);
	TAILQ_FOREACH (p, &r->pollers, link)
		if (p->ops->disarm)
			p->ops->disarm(p);
}

static void reactor_sleep(struct sfs_reactor *r)
{
	struct epoll_event ev[REACTOR_EVENTS];

	if (sfs_reactor_arm(r)) {
		SFS_STAT_ADD(r->stats.sleeps, 1);
		thread_sleeps++;
		/* Edge-triggered throughout: no descriptor has to be read to be armed again. */
		while (epoll_wait(r->epfd, ev, REACTOR_EVENTS, -1) < 0 && errno == EINTR)
			;
		SFS_STAT_ADD(r->stats.wakeups, 1);
	}
	sfs_reactor_disarm(r);
}

/* A request has ended an idle time of @ns. */
static void reactor_learn(struct sfs_reactor *r, uint64_t ns)
{
	r->arrival_ns += (SFS_MIN(ns, r->spin_ns) >> ARRIVAL_SHIFT) - (r->arrival_ns >> ARRIVAL_SHIFT);
}

/*
 * How long to spin. While a disk works, answers bring new requests at once or not at all: there is nothing to be had by spinning
 * for longer than that, and a sleep lets the disk's completions come together.
 */
static uint64_t reactor_patience(const struct sfs_reactor *r)
{
	return r->waits ? SFS_MIN(r->spin_ns, PATIENCE_MIN_NS + 2 * r->arrival_ns) : r->spin_ns;
}

static void *reactor_thread(void *arg)
{
	struct sfs_reactor *r = arg;
	uint64_t last = sfs_clock_now(&r->clock), idle_since = last;
	bool busy = false, was_busy;

	while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
		uint64_t now = sfs_clock_now(&r->clock);

		/* What the turn before took is its own; idle time begins when a busy one has ended, however long it was. */
		if (busy) {
			SFS_STAT_ADD(r->stats.busy_ns, now - last);
			/* Who sent what only the disk answers had the whole turn to send more. */
			idle_since = r->waits && !r->answered ? last : now;
		} else {
			SFS_STAT_ADD(r->stats.idle_ns, now - last);
		}
		last = now;
		was_busy = busy;
		busy = sfs_reactor_turn(r, now) != 0;
		if (busy) {
			if (!was_busy && r->arrived)
				reactor_learn(r, now - idle_since);
			continue;
		}
		sfs_pause();
		if (r->idle == SFS_IDLE_ADAPTIVE && now - idle_since >= reactor_patience(r)) {
			reactor_sleep(r);
			/* Whoever is woken by a timer finds its time has come. */
			sfs_clock_resync(&r->clock);
			last = r->slept_ns = sfs_clock_now(&r->clock);
			/* A request that comes now took as long as that to come; nothing that comes soon is no reason to sleep. */
			if (!r->waits)
				idle_since = last;
		}
	}
	return NULL;
}

int sfs_reactor_start(struct sfs_reactor *r)
{
	pthread_attr_t attr;
	char name[16];
	int rc;

	pthread_attr_init(&attr);
	if (r->cpu >= 0) {
		CPU_ZERO(&r->cpus);
		CPU_SET(r->cpu, &r->cpus);
		r->has_cpus = true;
	}
	if (!r->has_cpus)
		r->has_cpus = sched_getaffinity(0, sizeof(r->cpus), &r->cpus) == 0;
	if (r->has_cpus)
		pthread_attr_setaffinity_np(&attr, sizeof(r->cpus), &r->cpus);
	atomic_store(&r->stop, false);
	rc = -pthread_create(&r->thread, &attr, reactor_thread, r);
	pthread_attr_destroy(&attr);
	if (rc)
		return rc;
	r->started = true;
	snprintf(name, sizeof(name), "sfs-%.11s", r->name);
	pthread_setname_np(r->thread, name);
	return 0;
}

int sfs_reactor_stop(struct sfs_reactor *r, uint64_t timeout_ns)
{
	struct timespec until;

	if (!r->started)
		return 0;
	atomic_store(&r->stop, true);
	atomic_thread_fence(memory_order_seq_cst);
	sfs_reactor_wake(r);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(timeout_ns / SFS_NS_PER_S) + 1;
	if (pthread_timedjoin_np(r->thread, NULL, &until))
		return -ETIMEDOUT;
	r->started = false;
	return 0;
}

void sfs_reactor_move(struct sfs_reactor *r, const cpu_set_t *cpus)
{
	cpu_set_t to;

	if (!r->started || r->cpu >= 0 || !TAILQ_EMPTY(&r->pollers))
		return;
	CPU_AND(&to, cpus, &r->cpus);
	if (CPU_COUNT(&to) && pthread_setaffinity_np(pthread_self(), sizeof(to), &to))
		SFS_DEBUG("reactor %s stays on its CPUs", r->name);
}

void sfs_reactor_add(struct sfs_reactor *r, struct sfs_poller *poller)
{
	TAILQ_INSERT_TAIL(&r->pollers, poller, link);
}

void sfs_reactor_remove(struct sfs_reactor *r, struct sfs_poller *poller)
{
	if (r->next == poller)
		r->next = TAILQ_NEXT(poller, link);
	TAILQ_REMOVE(&r->pollers, poller, link);
}

void sfs_reactor_arrived(struct sfs_reactor *r)
{
	r->arrived = true;
}

void sfs_reactor_answered(struct sfs_reactor *r)
{
	r->answered = true;
}

void sfs_reactor_waits(struct sfs_reactor *r)
{
	r->waits = true;
}

void sfs_reactor_yields(struct sfs_reactor *r, bool shared)
{
	if (!shared || r->turn_ns - r->slept_ns >= YIELD_EVERY_NS)
		r->waits = true;
}

static void parties_add(struct parties *p, const void *party, uint64_t now_ns)
{
	if (SFS_UNLIKELY(p->party[0] != party)) {
		p->party[1] = p->party[0];
		p->ns[1] = p->ns[0];
		p->party[0] = party;
	}
	p->ns[0] = now_ns;
}

static bool parties_other(const struct parties *p, const void *party, uint64_t now_ns)
{
	unsigned other = p->party[0] == party;

	return p->party[other] && now_ns - p->ns[other] < REACTOR_PARTY_NS;
}

void sfs_reactor_worked(struct sfs_reactor *r, const void *party, uint64_t now_ns, bool quick)
{
	parties_add(&r->worked, party, now_ns);
	if (quick)
		parties_add(&r->quick, party, now_ns);
}

enum sfs_company sfs_reactor_company(const struct sfs_reactor *r, const void *party, uint64_t now_ns)
{
	if (SFS_LIKELY(!parties_other(&r->worked, party, now_ns)))
		return SFS_ALONE;
	return parties_other(&r->quick, party, now_ns) ? SFS_BESIDE_QUICK : SFS_BESIDE_BUSY;
}

int sfs_reactor_fd_add(struct sfs_reactor *r, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};

	return epoll_ctl(r->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

void sfs_reactor_fd_del(struct sfs_reactor *r, int fd)
{
	epoll_ctl(r->epfd, EPOLL_CTL_DEL, fd, NULL);
}

void sfs_reactor_send(struct sfs_reactor *r, struct sfs_msg *msg)
{
	struct sfs_msg *head = atomic_load_explicit(&r->inbox, memory_order_relaxed);

	do {
		msg->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&r->inbox, &head, msg, memory_order_release,
							memory_order_relaxed));
	sfs_reactor_wake(r);
}

void sfs_reactor_wake(struct sfs_reactor *r)
{
	uint64_t one = 1;

	atomic_thread_fence(memory_order_seq_cst);
	if (SFS_LIKELY(!atomic_load_explicit(&r->sleeping, memory_order_relaxed)))
		return;
	/* Can only fail where the counter is full: then the reactor has been told often enough. */
	if (write(r->wake_fd, &one, sizeof(one)) < 0)
		return;
}

uint64_t sfs_reactor_thread_sleeps(void)
{
	return thread_sleeps;
}

const char *sfs_reactor_name(const struct sfs_reactor *r)
{
	return r->name;
}

int sfs_reactor_cpu(const struct sfs_reactor *r)
{
	return r->cpu;
}

uint64_t sfs_reactor_now_ns(struct sfs_reactor *r)
{
	return sfs_clock_now(&r->clock);
}

enum sfs_idle sfs_reactor_idle(const struct sfs_reactor *r)
{
	return r->idle;
}

bool sfs_reactor_is_mine(const struct sfs_reactor *r)
{
	return !r->started || pthread_equal(r->thread, pthread_self());
}

void sfs_reactor_stats_get(const struct sfs_reactor *r, struct sfs_reactor_stats *stats)
{
	stats->turns = SFS_STAT_GET(r->stats.turns);
	stats->busy_ns = SFS_STAT_GET(r->stats.busy_ns);
	stats->idle_ns = SFS_STAT_GET(r->stats.idle_ns);
	stats->sleeps = SFS_STAT_GET(r->stats.sleeps);
	stats->wakeups = SFS_STAT_GET(r->stats.wakeups);
}
