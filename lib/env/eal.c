/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include "sfs_base.h"
#include "sfs_env.h"
#include "sfs_log.h"

#define ENV_ARGS_OWN   10
#define ENV_HEAP_LEAST 16

/* EAL's log lines come here instead of to its own console and syslog; its level is set so that only errors
 * do. */
static ssize_t env_log_write(void *cookie, const char *buf, size_t len)
{
	size_t n = len;

	while (n && (buf[n - 1] == '\n' || buf[n - 1] == '\r'))
		n--;
	if (n)
		SFS_ERROR("dpdk: %.*s", (int)n, buf);
	return (ssize_t)len;
}

static int env_log_setup(void)
{
	static const cookie_io_functions_t io = {.write = env_log_write};
	FILE *stream = fopencookie(NULL, "w", io);

	if (!stream)
		return -errno;
	setvbuf(stream, NULL, _IOLBF, 1024);
	return rte_openlog_stream(stream) < 0 ? -EINVAL : 0;
}

/* "0@(0,2,3)": one lcore, this thread, on all of the CPUs, so that none of EAL's threads goes anywhere else.
 */
static int env_lcores(const cpu_set_t *cpus, char *buf, size_t size)
{
	size_t len = (size_t)snprintf(buf, size, "0@(");
	unsigned count = 0;

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, cpus))
			continue;
		len += (size_t)snprintf(buf + len, size - len, "%s%d", count++ ? "," : "", cpu);
	}
	snprintf(buf + len, size - len, ")");
	return count ? 0 : -EINVAL;
}

static int env_start(const struct sfs_env_opts *opts, char *lcores)
{
	char heap[16];
	struct rlimit files;
	bool limited = getrlimit(RLIMIT_NOFILE, &files) == 0;
	unsigned argc = 0;
	char **argv = calloc(ENV_ARGS_OWN + opts->extra_count + 1, sizeof(*argv));
	int rc;

	if (!argv)
		return -ENOMEM;
	snprintf(heap, sizeof(heap), "%u", opts->heap_mib);

	const char *const own[] = {opts->program,
				   "--lcores",
				   lcores,
				   "-m",
				   heap,
				   "--no-pci",
				   "--no-telemetry",
				   "--log-level=4",
				   opts->hugepages ? "--in-memory" : "--no-huge",
				   opts->hugepages ? NULL : "--no-shconf"};

	_Static_assert(SFS_ARRAY_SIZE(own) == ENV_ARGS_OWN, "ENV_ARGS_OWN");
	/* EAL wants pointers to characters that it does not change, but may reorder. */
	for (unsigned i = 0; i < ENV_ARGS_OWN; i++)
		if (own[i])
			argv[argc++] = (char *)(uintptr_t)own[i];
	for (unsigned i = 0; i < opts->extra_count; i++)
		argv[argc++] = (char *)(uintptr_t)opts->extra[i];
	rc = rte_eal_init((int)argc, argv);
	if (rc < 0)
		rc = rte_errno ? -rte_errno : -EINVAL;
	/* EAL raises it to the maximum: the limit that was set is the one that counts. */
	if (limited && setrlimit(RLIMIT_NOFILE, &files) < 0)
		SFS_WARN("the limit of open files stays where EAL has put it: %s", strerror(errno));
	free(argv);
	return rc < 0 ? rc : 0;
}

/* EAL makes a directory for files of its own even where it is told to make none; an empty one is in nobody's use. */
static void env_tidy(void)
{
	char dir[PATH_MAX], *end;

	snprintf(dir, sizeof(dir), "%s", rte_eal_get_runtime_dir());
	rmdir(dir);
	end = strrchr(dir, '/');
	if (!end)
		return;
	*end = '\0';
	rmdir(dir);
}

int sfs_env_init(const struct sfs_env_opts *opts)
{
	static bool done;
	char *lcores;
	cpu_set_t cpus;
	size_t size = CPU_SETSIZE * 5;
	int rc;

	if (done)
		return -EALREADY;
	if (opts->cpus)
		cpus = *opts->cpus;
	else if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return -errno;
	/* EAL looks only at CPUs of the caller's mask. */
	rc = -pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	if (rc < 0)
		return rc;
	lcores = malloc(size);
	if (!lcores)
		return -ENOMEM;
	rc = env_lcores(&cpus, lcores, size);
	if (rc == 0)
		rc = env_log_setup();
	if (rc == 0) {
		done = true;
		rc = env_start(opts, lcores);
		if (rc == 0)
			env_tidy();
	}
	free(lcores);
	return rc;
}

void sfs_env_fini(void)
{
	rte_eal_cleanup();
}

unsigned sfs_env_heap_mib(unsigned rings, unsigned ring_size)
{
	/* rte_vhost allocates some 40 bytes an entry for a data path that is not used here, and 20 % more for
	 * overhead. */
	uint64_t bytes = (uint64_t)rings * ring_size * 40 * 12 / 10;

	return SFS_MAX((unsigned)((bytes >> 20) + 1), ENV_HEAP_LEAST);
}
