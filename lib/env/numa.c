/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <numaif.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sfs_cpus.h"
#include "sfs_env.h"
#include "sfs_log.h"

#define NODE_BITS (8 * sizeof(unsigned long))
#define NODES_MAX 1024

static int host_node_of(const void *addr)
{
	uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
	void *page = (void *)((uintptr_t)addr & ~(page_size - 1));
	int status = -ENOENT;

	/* move_pages without target nodes only asks, and allocates nothing. */
	if (move_pages(0, 1, &page, NULL, &status, 0) < 0)
		return -errno;
	return status;
}

static int host_bind(void *addr, size_t len, int node)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;
	unsigned long mask[NODES_MAX / NODE_BITS] = {0};

	if (node < 0 || node >= NODES_MAX)
		return -EINVAL;
	mask[(size_t)node / NODE_BITS] |= 1ul << ((size_t)node % NODE_BITS);
	/* Preferred, not strict: a full node must not kill the daemon. */
	if (mbind(addr, len, MPOL_PREFERRED, mask, NODES_MAX, MPOL_MF_MOVE) == 0)
		return 0;
	if (!atomic_flag_test_and_set(&said))
		SFS_DEBUG("memory stays on whatever NUMA node it is: %s", strerror(errno));
	return errno == ENOSYS ? 0 : -errno;
}

static int host_cpus(int node, cpu_set_t *set)
{
	char path[64], list[4096];
	int rc = -EIO;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	if (fgets(list, sizeof(list), f)) {
		list[strcspn(list, "\n")] = '\0';
		rc = sfs_cpus_parse(list, set);
	}
	fclose(f);
	return rc;
}

const struct sfs_env_numa sfs_env_numa_host = {
    .node_of = host_node_of,
    .bind = host_bind,
    .cpus = host_cpus,
};
