/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sfs_base.h"

/* Both clocks at one moment: of some readings the one that nothing came in between of. */
static void time_pair(uint64_t *ns, uint64_t *ticks)
{
	uint64_t best = UINT64_MAX;

	*ns = *ticks = 0;
	for (unsigned i = 0; i < 8; i++) {
		uint64_t before = sfs_now_ns(), at = sfs_ticks(), after = sfs_now_ns();

		if (after - before >= best)
			continue;
		best = after - before;
		*ns = before + best / 2;
		*ticks = at;
	}
}

uint64_t sfs_ticks_per_us(void)
{
	static _Atomic uint64_t known;
	uint64_t per_us = atomic_load(&known), begin_ns, begin, end_ns, end;

	if (per_us)
		return per_us;
	time_pair(&begin_ns, &begin);
	while (sfs_now_ns() - begin_ns < SFS_NS_PER_MS)
		sfs_pause();
	time_pair(&end_ns, &end);
	per_us = ((end - begin) * SFS_NS_PER_US + (end_ns - begin_ns) / 2) / (end_ns - begin_ns);
	if (per_us == 0)
		per_us = 1;
	atomic_store(&known, per_us);
	return per_us;
}

/* The best of some rounds: what else the machine does can only lengthen one. */
unsigned sfs_syscall_ns(void)
{
	enum { ROUNDS = 8, CALLS = 16 };
	static _Atomic unsigned known;
	uint64_t best = UINT32_MAX;

	if (atomic_load(&known))
		return atomic_load(&known);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t begin = sfs_now_ns();

		for (unsigned k = 0; k < CALLS; k++)
			syscall(SYS_getppid);
		best = SFS_MIN(best, (sfs_now_ns() - begin) / CALLS);
	}
	atomic_store(&known, (unsigned)SFS_MAX(best, 1ull));
	return atomic_load(&known);
}

void sfs_clock_resync(struct sfs_clock *clock)
{
	if (clock->mult == 0) {
		clock->mult = (SFS_NS_PER_US << 32) / sfs_ticks_per_us();
		clock->resync_ticks = sfs_ticks_per_us() * 1000;
	}
	clock->base_ns = sfs_now_ns();
	clock->base_ticks = sfs_ticks();
}
