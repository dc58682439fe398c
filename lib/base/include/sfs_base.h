/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small things that every component uses: compiler hints, time, sizes.
 */
#ifndef SFS_BASE_H
#define SFS_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define SFS_LIKELY(x)   __builtin_expect(!!(x), 1)
#define SFS_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SFS_CACHE_LINE  64
#define SFS_ALIGNED     __attribute__((aligned(SFS_CACHE_LINE)))

#define SFS_ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define SFS_MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define SFS_MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define SFS_ALIGN_UP(x, a)                  (((x) + (a)-1) & ~((__typeof__(x))(a)-1))
#define SFS_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Figures have one writer; others read them while it writes. Never torn, no order between two of them. */
#define SFS_STAT_ADD(var, n) __atomic_store_n(&(var), (var) + (n), __ATOMIC_RELAXED)
#define SFS_STAT_GET(var)    __atomic_load_n(&(var), __ATOMIC_RELAXED)

#define SFS_NS_PER_US 1000ull
#define SFS_NS_PER_MS 1000000ull
#define SFS_NS_PER_S  1000000000ull

/** Monotonic time in nanoseconds. Any thread; a vDSO call of some 20 ns, no system call. */
static inline uint64_t sfs_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SFS_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/**
 * A cheap clock for short intervals on one thread: processor ticks where there is such a counter, else nanoseconds. Some 10 ns.
 * sfs_ticks_per_us() tells the unit.
 */
static inline uint64_t sfs_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	return sfs_now_ns();
#endif
}

/** Ticks in a microsecond; measured at the first call, which takes a millisecond. Control thread first, then any. */
uint64_t sfs_ticks_per_us(void);

/** What entering the kernel and coming back costs, in nanoseconds; measured at the first call, some 100 us. Any thread. */
unsigned sfs_syscall_ns(void);

/**
 * The monotonic time as sfs_now_ns() tells it, to within a microsecond, at the price of sfs_ticks(): for one thread that asks
 * all the time. Zeroed, then set by the first call.
 */
struct sfs_clock {
	uint64_t base_ns, base_ticks; /* when it was set right last */
	uint64_t last_ns;             /* what it said last: it never goes back */
	uint64_t mult;                /* ns a tick, times 2^32 */
	uint64_t resync_ticks;
};

/** Sets it right: every millisecond, by sfs_clock_now(). */
void sfs_clock_resync(struct sfs_clock *clock);

static inline uint64_t sfs_clock_now(struct sfs_clock *clock)
{
	uint64_t ticks = sfs_ticks() - clock->base_ticks, now;

	if (SFS_UNLIKELY(ticks >= clock->resync_ticks)) {
		sfs_clock_resync(clock);
		ticks = 0;
	}
	now = clock->base_ns + (ticks * clock->mult >> 32);
	if (SFS_LIKELY(now > clock->last_ns))
		clock->last_ns = now;
	return clock->last_ns;
}

/** Fetches the cache line at @p to write to it: what another core wrote last is taken from it before the store has to wait. */
static inline void sfs_prefetch_write(const void *p)
{
#if defined(__x86_64__)
	/* Not left to the compiler: without -mprfchw it asks for a shared line. A no-op where the processor is too old. */
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
	__builtin_prefetch(p, 1);
#endif
}

/** What a spinning loop does between two looks. */
static inline void sfs_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#else
	__asm__ volatile("" ::: "memory");
#endif
}

#endif
