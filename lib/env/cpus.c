/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sfs_cpus.h"

/* The number at *@p, which moves behind it. */
static int cpus_number(const char **p)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)**p))
		return -EINVAL;
	value = strtoul(*p, &end, 10);
	*p = end;
	return value < CPU_SETSIZE ? (int)value : -ERANGE;
}

int sfs_cpus_parse(const char *list, cpu_set_t *set)
{
	const char *p = list;

	CPU_ZERO(set);
	for (;;) {
		int first = cpus_number(&p), last = first;

		if (first < 0)
			return first;
		if (*p == '-') {
			p++;
			last = cpus_number(&p);
			if (last < 0)
				return last;
		}
		if (last < first)
			return -ERANGE;
		for (int cpu = first; cpu <= last; cpu++) {
			if (CPU_ISSET((unsigned)cpu, set))
				return -EEXIST;
			CPU_SET((unsigned)cpu, set);
		}
		if (*p == '\0')
			return 0;
		if (*p++ != ',')
			return -EINVAL;
	}
}

int sfs_cpus_format(const cpu_set_t *set, char *buf, size_t bytes)
{
	size_t len = 0;

	if (bytes == 0)
		return -ENOSPC;
	buf[0] = '\0';
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		unsigned last = cpu;
		int n;

		if (!CPU_ISSET(cpu, set))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
			last++;
		n = snprintf(buf + len, bytes - len, last > cpu ? "%s%u-%u" : "%s%u", len ? "," : "", cpu,
			     last);
		len += (size_t)n;
		if (len >= bytes)
			return -ENOSPC;
		cpu = last;
	}
	return (int)len;
}

int sfs_cpus_allowed(cpu_set_t *set)
{
	return sched_getaffinity(0, sizeof(*set), set) ? -errno : 0;
}

int sfs_cpus_online(cpu_set_t *set)
{
	FILE *f = fopen("/sys/devices/system/cpu/online", "re");
	char list[4096];
	int rc = -EIO;

	if (!f)
		return -errno;
	if (fgets(list, sizeof(list), f)) {
		list[strcspn(list, "\n")] = '\0';
		rc = sfs_cpus_parse(list, set);
	}
	fclose(f);
	return rc;
}
