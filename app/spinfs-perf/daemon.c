/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon as a process: where it runs, how much CPU time it took, its start and end. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "perf.h"

#define PD_STOP_NS (10 * SFS_NS_PER_S)

int perf_parse_cpus(const char *text, int *cpus, unsigned max, unsigned *count)
{
	*count = 0;
	for (;;) {
		char *end;
		long from = strtol(text, &end, 10), to = from;

		if (end == text || from < 0)
			return -EINVAL;
		if (*end == '-') {
			text = end + 1;
			to = strtol(text, &end, 10);
			if (end == text)
				return -EINVAL;
		}
		for (; from <= to; from++) {
			if (*count == max || from >= CPU_SETSIZE)
				return -EINVAL;
			cpus[(*count)++] = (int)from;
		}
		if (*end == '\0')
			return *count ? 0 : -EINVAL;
		if (*end != ',')
			return -EINVAL;
		text = end + 1;
	}
}

int perf_spawn(const char *cmd, const int *cpus, unsigned cpu_count, int *pid)
{
	cpu_set_t set;
	bool pin = perf_cpu_set(cpus, cpu_count, &set) == 0;
	pid_t child = fork();

	if (child < 0)
		return -errno;
	if (child == 0) {
		setpgid(0, 0);
		if (pin && sched_setaffinity(0, sizeof(set), &set) < 0)
			_exit(126);
		execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
		_exit(127);
	}
	setpgid(child, child);
	*pid = child;
	return 0;
}

void perf_spawn_stop(int pid)
{
	uint64_t deadline = sfs_now_ns() + PD_STOP_NS;
	int status;

	kill(-pid, SIGTERM);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (sfs_now_ns() >= deadline) {
			kill(-pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
}

static int pd_cpu_ns(pid_t pid, uint64_t *ns)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts) < 0)
		return -ESRCH;
	*ns += (uint64_t)ts.tv_sec * SFS_NS_PER_S + (uint64_t)ts.tv_nsec;
	return 0;
}

static pid_t pd_parent(const char *pid)
{
	char path[300], stat[512];
	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(stat, 1, sizeof(stat) - 1, f) : 0;

	if (f)
		fclose(f);
	stat[n] = '\0';
	/* The name in brackets may hold anything; the state and the parent follow the last bracket. */
	const char *at = strrchr(stat, ')');
	int parent;
	return at && sscanf(at + 1, " %*c %d", &parent) == 1 ? parent : -1;
}

/* Calls @fn for the process and all below it. */
static int pd_tree(pid_t pid, unsigned depth, int (*fn)(pid_t, void *), void *arg)
{
	int rc = fn(pid, arg);
	DIR *proc = depth < 4 ? opendir("/proc") : NULL;

	for (struct dirent *d; proc && (d = readdir(proc));) {
		if (isdigit((unsigned char)d->d_name[0]) && pd_parent(d->d_name) == pid)
			pd_tree(atoi(d->d_name), depth + 1, fn, arg);
	}
	if (proc)
		closedir(proc);
	return rc;
}

static pid_t pd_peer(const struct perf_guest *guest)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(guest->fg.fe.fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -1;
	return cred.pid > 0 ? cred.pid : -1;
}

/* Each daemon once, however many guests it has. */
static int pd_each(struct perf_run *run, int (*fn)(pid_t, void *), void *arg)
{
	int rc = -ESRCH;

	for (unsigned i = 0; i < run->guest_count; i++) {
		pid_t pid = pd_peer(&run->guests[i]);
		bool seen = pid < 0;

		for (unsigned k = 0; k < i && !seen; k++)
			seen = pd_peer(&run->guests[k]) == pid;
		if (!seen)
			rc = pd_tree(pid, 0, fn, arg);
	}
	return rc;
}

static int pd_add_cpu(pid_t pid, void *ns)
{
	return pd_cpu_ns(pid, ns);
}

int perf_daemons_cpu_ns(struct perf_run *run, uint64_t *ns)
{
	*ns = 0;
	return pd_each(run, pd_add_cpu, ns);
}

/* Memory by what the process alone uses and its share of the rest; descriptors of the one that has most. */
static int pd_add_figures(pid_t pid, void *arg)
{
	struct perf_daemon_figures *f = arg;
	unsigned long long kib;
	uint64_t fds = 0;
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	FILE *maps = fopen(path, "r");
	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "Pss: %llu", &kib) == 1)
			f->pss_bytes += kib << 10;
		else if (sscanf(line, "Pss_Anon: %llu", &kib) == 1)
			f->pss_anon_bytes += kib << 10;
	}
	if (maps)
		fclose(maps);
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *dir = opendir(path);
	for (struct dirent *d; dir && (d = readdir(dir));)
		fds += d->d_name[0] != '.';
	if (dir)
		closedir(dir);
	f->fds = SFS_MAX(f->fds, fds);
	return 0;
}

void perf_daemons_look(struct perf_run *run)
{
	pd_each(run, pd_add_figures, &run->daemon);
}
