/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SHARED_KIB_H
#define SHARED_KIB_H

#include <stdio.h>

/** Shared memory of this process, in KiB: the tables of its sessions. */
static inline unsigned long test_shared_kib(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/self/status", "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "RssShmem: %lu", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

#endif
