/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "perf.h"

#define PM_CONNECT_MS 10000
#define PM_CHUNK      (128u << 10) /* a slot holds at least this much, for the preparation */

enum { EXIT_FAILED = 1 };

static void pm_raise_fds(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

static int pm_say(const char *what, int rc)
{
	if (rc < 0)
		fprintf(stderr, "spinfs-perf: %s: %s\n", what, strerror(-rc));
	return rc;
}

static int pm_attach(struct perf_guest *guest)
{
	struct fuse_init_out init;
	uint64_t flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_DO_READDIRPLUS |
			 FUSE_PARALLEL_DIROPS | FUSE_ASYNC_DIO | FUSE_ATOMIC_O_TRUNC | FUSE_INIT_EXT;
	uint64_t from = sfs_now_ns();
	int rc = 0;

	if (!guest->run->opts.loopback)
		rc = pm_say(guest->socket, sfs_fg_attach(&guest->fg, guest->socket, PM_CONNECT_MS));
	if (rc == -ERANGE)
		fprintf(stderr, "spinfs-perf: the daemon has only %llu request queues\n",
			(unsigned long long)guest->fg.daemon_queues - 1);
	if (rc == 0)
		rc = pm_say("INIT", sfs_fg_init(&guest->fg, FUSE_KERNEL_MINOR_VERSION, flags, &init));
	guest->attach_ns = sfs_now_ns() - from;
	return rc;
}

static int pm_begin(struct perf_guest *guest)
{
	const struct perf_opts *o = &guest->run->opts;
	struct sfs_fg_opts go = {
	    .mem.hugepages = o->hugepages,
	    .request_queues = guest->work.queues,
	    .ring_size = o->ring_size,
	    .depth = o->ring_size,
	    .data_bytes = SFS_MAX(guest->work.bs, PM_CHUNK),
	    .seg_bytes = o->segment,
	    .interrupts = o->interrupts,
	    .features_refused =
		(o->indirect ? 0 : SFS_FE_F_INDIRECT_DESC) | (o->event_idx ? 0 : SFS_FE_F_EVENT_IDX),
	};

	return pm_say(o->hugepages
			  ? "guest memory in 2 MiB pages (are there enough in /proc/sys/vm/nr_hugepages?)"
			  : "guest memory",
		      sfs_fg_begin(&guest->fg, &go));
}

static int pm_over_rings(struct perf_run *run)
{
	struct perf_loopback *lb = NULL;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < run->guest_count; i++)
		rc = pm_begin(&run->guests[i]);
	if (rc == 0 && run->opts.loopback)
		rc = pm_say("loopback", perf_loopback_start(run, &lb));
	for (unsigned i = 0; rc == 0 && i < run->guest_count; i++)
		rc = pm_attach(&run->guests[i]);
	for (unsigned i = 0; rc == 0 && i < run->guest_count; i++)
		rc = pm_say("preparation", perf_files_prepare(&run->guests[i]));
	if (rc == 0)
		rc = pm_say("load", perf_threads_run(run, perf_load_body, lb));
	for (unsigned i = 0; i < run->guest_count; i++)
		perf_files_finish(&run->guests[i]);
	if (lb)
		perf_loopback_stop(lb);
	for (unsigned i = 0; i < run->guest_count; i++) {
		if (run->guests[i].fg.queue)
			sfs_fg_end(&run->guests[i].fg);
	}
	return rc;
}

/* "%d" in a socket's path stands for the guest's number. */
static void pm_socket(struct perf_guest *guest, const char *path)
{
	const char *at = path ? strstr(path, "%d") : NULL;

	if (at)
		snprintf(guest->socket, sizeof(guest->socket), "%.*s%u%s", (int)(at - path), path, guest->idx,
			 at + 2);
	else if (path)
		snprintf(guest->socket, sizeof(guest->socket), "%s", path);
}

static int pm_guests(struct perf_run *run)
{
	const struct perf_opts *o = &run->opts;

	run->guest_count = o->guests + o->noisy_count;
	run->guests = calloc(run->guest_count, sizeof(*run->guests));
	for (unsigned i = 0; run->guests && i < run->guest_count; i++) {
		struct perf_guest *g = &run->guests[i];

		g->run = run;
		g->idx = i;
		g->noisy = i >= o->guests;
		g->work = g->noisy ? o->noisy[i - o->guests] : o->work;
		g->fg.fe.fd = -1;
		pthread_spin_init(&g->hiprio_lock, PTHREAD_PROCESS_PRIVATE);
		if (g->work.socket[0])
			pm_socket(g, g->work.socket);
		else if (o->socket_count)
			pm_socket(g, o->sockets[g->noisy ? 0 : i % o->socket_count]);
	}
	return run->guests ? 0 : -ENOMEM;
}

/* The same load on a device that answers at once, for a second. */
static int pm_ceiling(const struct perf_opts *o, double *ops_s)
{
	static struct perf_run run;

	run.opts = *o;
	run.opts.loopback = true;
	run.opts.time_s = 1;
	run.opts.ramp_s = 0.2;
	run.opts.ops = 0;
	run.opts.work.rate = 0;
	int rc = pm_guests(&run);
	if (rc == 0)
		rc = pm_over_rings(&run);
	for (unsigned i = 0; rc == 0 && i < o->guests; i++)
		*ops_s += perf_ops_s(&run.guests[i].total);
	free(run.guests);
	return rc;
}

static int pm_run(struct perf_run *run)
{
	const struct perf_opts *o = &run->opts;
	int pid = 0, rc = pm_say("guests", pm_guests(run));

	if (rc == 0 && o->ceiling)
		rc = pm_say("ceiling", pm_ceiling(o, &run->ceiling_ops_s));
	if (rc == 0 && o->spawn)
		rc = pm_say(o->spawn, perf_spawn(o->spawn, o->daemon_cpus, o->daemon_cpu_count, &pid));
	if (rc == 0)
		rc = o->raw_dir ? pm_say(o->raw_dir, perf_raw(run)) : pm_over_rings(run);
	if (rc == 0)
		rc = pm_say("result", perf_report(run));
	if (pid)
		perf_spawn_stop(pid);
	free(run->guests);
	return rc;
}

int main(int argc, char **argv)
{
	static struct perf_run run;
	bool over = false;
	int status = perf_options(argc, argv, &run.opts, &over);

	if (status || over)
		return status;
	if (run.opts.round_trip) {
		uint64_t by_eventfd, by_spinning;

		if (pm_say("eventfd", perf_round_trip(&run.opts, &by_eventfd, &by_spinning)) < 0)
			return EXIT_FAILED;
		printf("{\"eventfd_round_trip_ns\":%llu,\"spin_round_trip_ns\":%llu}\n",
		       (unsigned long long)by_eventfd, (unsigned long long)by_spinning);
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	pm_raise_fds();
	return pm_run(&run) == 0 ? 0 : EXIT_FAILED;
}
