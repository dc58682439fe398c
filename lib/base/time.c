/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdatomic.h>

#include "sfs_base.h"

uint64_t sfs_ticks_per_us(void)
{
	static _Atomic uint64_t known;
	uint64_t per_us = atomic_load(&known), begin_ns, begin, ns;

	if (per_us)
		return per_us;
	begin_ns = sfs_now_ns();
	begin = sfs_ticks();
	while ((ns = sfs_now_ns() - begin_ns) < SFS_NS_PER_MS)
		sfs_pause();
	per_us = (sfs_ticks() - begin) * SFS_NS_PER_US / ns;
	if (per_us == 0)
		per_us = 1;
	atomic_store(&known, per_us);
	return per_us;
}
