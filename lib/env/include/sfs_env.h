/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process's environment: the start of EAL (which rte_vhost needs), and NUMA nodes of memory.
 */
#ifndef SFS_ENV_H
#define SFS_ENV_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

struct sfs_env_opts {
	const char *program; /* argv[0] of EAL */
	const cpu_set_t
	    *cpus; /* control CPUs: EAL's and rte_vhost's threads stay there. NULL: the caller's affinity */
	unsigned heap_mib;        /* EAL's heap; without hugepages it does not grow */
	bool hugepages;           /* EAL's heap from hugepages (guest memory is not concerned) */
	const char *const *extra; /* further EAL arguments, or NULL */
	unsigned extra_count;
};

/**
 * Starts EAL, once in a process, and leaves the calling thread on the control CPUs. No files are made, no
 * driver is loaded, limits stay as they are, and only EAL's errors are logged. 0 or -errno: -EALREADY (a second call), -EINVAL (no
 * CPU), -ENOMEM, or what rte_eal_init gave (bad arguments, no hugepages). The caller's thread becomes EAL's
 * main one. Blocks some 100 ms (calibration of the clock).
 */
int sfs_env_init(const struct sfs_env_opts *opts);

/** Ends EAL; nothing of rte_vhost is in use any more. */
void sfs_env_fini(void);

/** The MiB of heap that @rings rings of @ring_size entries (over all devices) need from EAL, and the least
 * that starts. */
unsigned sfs_env_heap_mib(unsigned rings, unsigned ring_size);

/**
 * What is asked of the host about NUMA nodes, and told it. On a host with one node all of it works, too; a kernel without NUMA
 * answers -ENOSYS to the question, and binding does nothing.
 */
struct sfs_env_numa {
	/** The node that backs the page at @addr, or -errno: -ENOENT (this process has not touched it yet), -EFAULT,
	 * -ENOSYS. Touches nothing. Any thread; a system call. */
	int (*node_of)(const void *addr);
	/** Puts the whole pages of [addr, addr + len) on @node if it has room, also those not touched yet. 0, or -errno of
	 * mbind: -EINVAL (no such node), -EPERM. Any thread; may take long if pages have to move. */
	int (*bind)(void *addr, size_t len, int node);
	/** The CPUs of @node. 0 or -errno: -ENOENT (no such node, no sysfs), -EINVAL (it has none). May block. */
	int (*cpus)(int node, cpu_set_t *set);
};

extern const struct sfs_env_numa sfs_env_numa_host;

#endif
