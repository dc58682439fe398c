/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Worker threads without threads: a call runs on the simulation's own thread, some turns after it was handed over, before
 * or after others as the seed says. Stands in for lib/aio/workers.c. And the system calls whose results the seed may change.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "sfs_iov.h"
#include "sim.h"

#define CALLS_MAX 1024

struct waiting {
	struct sfs_call *call;
	uint64_t due;
};

static struct waiting waiting[CALLS_MAX];
static unsigned waiting_count;
static bool run_at_once;

struct sfs_workers_client {
	int unused;
};

static void call_run(struct sfs_call *call)
{
	struct sfs_call_port *port = call->port;

	call->fn(call);
	if (!port)
		return;
	call->next = atomic_load(&port->done);
	atomic_store(&port->done, call);
	if (port->reactor)
		sfs_reactor_wake(port->reactor);
}

bool sfs_workers_in_background(const struct sfs_workers_client *client)
{
	return false;
}

struct sfs_workers_client *sfs_workers_client_create(struct sfs_workers *workers, unsigned max_running)
{
	return calloc(1, sizeof(struct sfs_workers_client));
}

void sfs_workers_client_destroy(struct sfs_workers_client *client)
{
	free(client);
}

void sfs_call_submit(struct sfs_workers_client *client, struct sfs_call *call)
{
	if (run_at_once) {
		call_run(call);
		return;
	}
	if (waiting_count == CALLS_MAX)
		sim_fail("more worker calls than slots");
	waiting[waiting_count++] = (struct waiting){call, sim.turn + sim_below(sim.plan.call_delay + 1)};
}

struct sfs_call *sfs_call_reap(struct sfs_call_port *port)
{
	struct sfs_call *list = atomic_exchange(&port->done, NULL), *oldest = NULL;

	while (list) {
		struct sfs_call *next = list->next;

		list->next = oldest;
		oldest = list;
		list = next;
	}
	return oldest;
}

unsigned sim_calls_turn(void)
{
	unsigned start = waiting_count ? (unsigned)sim_below(waiting_count) : 0;

	for (unsigned i = 0, n = waiting_count; i < n; i++) {
		unsigned at = (start + i) % n;

		if (at < waiting_count && waiting[at].due <= sim.turn) {
			struct sfs_call *call = waiting[at].call;

			waiting[at] = waiting[--waiting_count];
			call_run(call);
		}
	}
	return waiting_count;
}

void sim_calls_at_once(bool at_once)
{
	run_at_once = at_once;
	while (at_once && waiting_count)
		call_run(waiting[--waiting_count].call);
}

/* --- system calls --- */

long __real_syscall(long number, ...);
ssize_t __real_preadv64(int fd, const struct iovec *iov, int cnt, off_t offset);
ssize_t __real_pwritev64v2(int fd, const struct iovec *iov, int cnt, off_t offset, int flags);
int __real_clock_gettime(clockid_t clock, struct timespec *ts);
long __wrap_syscall(long number, ...);
ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int cnt, off_t offset);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int cnt, off_t offset, int flags);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);

static unsigned magnitude(size_t n)
{
	return n ? 63 - (unsigned)__builtin_clzll(n) : 0;
}

/* A part of what was asked for, in a copy of the segments; 0: the seed leaves it whole. */
static int cut_short(struct iovec *part, const struct iovec *iov, int cnt, uint64_t *seen)
{
	size_t bytes = sfs_iov_bytes(iov, (unsigned)cnt), keep;

	if (bytes < 2 || cnt > 64 || !sim_chance(sim.plan.short_permille))
		return 0;
	keep = 1 + sim_below(bytes - 1);
	for (int i = 0; i < cnt; i++)
		part[i] = iov[i];
	*seen |= 1ull << magnitude(keep);
	return (int)sfs_iov_cut(part, (unsigned)cnt, keep);
}

/* Reads that must not wait: the seed says what of the file is in the page cache. */
static ssize_t read_cached(int fd, const struct iovec *iov, int cnt, off_t offset)
{
	if (sim_chance(sim.plan.cached_permille))
		return __wrap_preadv64(fd, iov, cnt, offset);
	errno = EAGAIN;
	return -1;
}

long __wrap_syscall(long number, ...)
{
	long arg[6];
	va_list ap;

	va_start(ap, number);
	for (unsigned i = 0; i < 6; i++) /* as the C library's own does it */
		arg[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_preadv2 && (arg[5] & RWF_NOWAIT))
		return read_cached((int)arg[0], (const struct iovec *)arg[1], (int)arg[2], arg[3]);
	return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int cnt, off_t offset)
{
	struct iovec part[64];
	int parts = cut_short(part, iov, cnt, &sim.cover->short_reads);

	return __real_preadv64(fd, parts ? part : iov, parts ? parts : cnt, offset);
}

/* pwritev2(), as it is called where off_t has 64 bits. */
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int cnt, off_t offset, int flags)
{
	struct iovec part[64];
	int parts = cut_short(part, iov, cnt, &sim.cover->short_writes);

	return __real_pwritev64v2(fd, parts ? part : iov, parts ? parts : cnt, offset, flags);
}

/* What files are compared with to see whether they are old: none ever is, however slow the machine. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	int rc = __real_clock_gettime(clock, ts);

	if (clock == CLOCK_REALTIME_COARSE)
		*ts = (struct timespec){0};
	return rc;
}
