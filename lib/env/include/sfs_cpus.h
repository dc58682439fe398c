/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets of CPUs and their spelling as lists: "0-1,3".
 */
#ifndef SFS_CPUS_H
#define SFS_CPUS_H

#include <sched.h>
#include <stddef.h>

/**
 * Reads a list into @set: numbers and ranges, in any order, separated by commas. Returns 0, -EINVAL (empty,
 * or no list), -ERANGE (a CPU of CPU_SETSIZE or more, a range that ends before it begins) or -EEXIST (a CPU
 * is named twice).
 */
int sfs_cpus_parse(const char *list, cpu_set_t *set);

/** Writes @set as the shortest list, "" for the empty set. Returns its length or -ENOSPC. */
int sfs_cpus_format(const cpu_set_t *set, char *buf, size_t bytes);

/** The CPUs on which the calling thread may run now. 0 or -errno. */
int sfs_cpus_allowed(cpu_set_t *set);

/** The CPUs that are online. 0 or -errno (no sysfs). May block. */
int sfs_cpus_online(cpu_set_t *set);

#endif
