/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon.h"
#include "sfs_cpus.h"
#include "sfs_env.h"
#include "sfs_log.h"

/* Descriptors that the daemon itself may need beside those of the guests: sockets, eventfds, rings, guest memory. */
#define OWN_FDS_DEVICE 512
#define OWN_FDS        256

/* --- threads --- */

/* What each thread that may run operations does first. */
static void thread_begin(void *arg)
{
	struct spinfsd *d = arg;

	for (unsigned i = 0; i < d->config->device_count; i++)
		if (d->devices[i].fs->thread_init)
			d->devices[i].fs->thread_init(d->devices[i].fs_ctx);
	sem_post(&d->thread_begun);
}

static void wait_begun(struct spinfsd *d)
{
	while (sem_wait(&d->thread_begun) < 0 && errno == EINTR)
		;
}

struct begin_msg {
	struct sfs_msg msg;
	struct spinfsd *daemon;
};

static void reactor_begin(struct sfs_msg *msg)
{
	thread_begin(SFS_CONTAINER_OF(msg, struct begin_msg, msg)->daemon);
}

static int start_reactors(struct spinfsd *d)
{
	const struct spinfsd_config *c = d->config;
	struct begin_msg begin = {.msg.fn = reactor_begin, .daemon = d};

	d->reactors = calloc(c->reactor_count, sizeof(*d->reactors));
	if (!d->reactors)
		return -ENOMEM;
	for (unsigned i = 0; i < c->reactor_count; i++) {
		const struct spinfsd_reactor_config *r = &c->reactors[i];
		struct sfs_reactor_opts opts = {
		    .name = r->name, .cpu = r->cpu, .idle = r->idle, .spin_ns = r->spin_us * SFS_NS_PER_US};
		int rc = sfs_reactor_create(&opts, &d->reactors[i]);

		if (rc == 0)
			rc = sfs_reactor_start(d->reactors[i]);
		if (rc) {
			SFS_ERROR("reactor %s cannot start: %s", r->name, strerror(-rc));
			return rc;
		}
		sfs_reactor_send(d->reactors[i], &begin.msg);
		wait_begun(d);
	}
	return 0;
}

static int start_workers(struct spinfsd *d)
{
	const struct spinfsd_config *c = d->config;
	struct sfs_workers_opts opts = {.count = c->workers.count,
					.cpus = &c->workers.cpus,
					.spin_ns = c->workers.share ? 0 : c->workers.spin_us * SFS_NS_PER_US,
					.background = c->workers.share,
					.thread_init = thread_begin,
					.thread_init_arg = d};
	int rc = sfs_workers_create(&opts, &d->workers);

	if (rc) {
		SFS_ERROR("%u workers cannot start: %s", opts.count, strerror(-rc));
		return rc;
	}
	/* They use the drivers' instances before their first call: none may go before they have. */
	for (unsigned i = 0; i < opts.count; i++)
		wait_begun(d);
	return 0;
}

/* --- devices --- */

int spinfsd_create(struct spinfsd *d, const struct spinfsd_config *config, struct sfs_conf_err *err)
{
	memset(d, 0, sizeof(*d));
	d->config = config;
	sem_init(&d->thread_begun, 0, 0);
	d->start_ns = sfs_now_ns();
	d->devices = calloc(config->device_count, sizeof(*d->devices));
	if (!d->devices) {
		snprintf(err->text, sizeof(err->text), "out of memory");
		return -ENOMEM;
	}
	for (unsigned i = 0; i < config->device_count; i++) {
		struct spinfsd_device *dv = &d->devices[i];
		int rc;

		dv->daemon = d;
		dv->config = &config->devices[i];
		dv->fs = spinfsd_fs_find(dv->config->fs.driver);
		rc = dv->fs->create(dv->config->fs.options, &dv->fs_ctx, &dv->fs_info, err);
		if (rc)
			return rc;
		d->device_count++;
	}
	return 0;
}

static int make_device(struct spinfsd *d, struct spinfsd_device *dv)
{
	const struct spinfsd_device_config *c = dv->config;
	struct sfs_reactor *reactors[SFS_REQUEST_QUEUES_MAX + 1];
	unsigned count = SFS_MIN(c->queues.reactor_count, (unsigned)SFS_ARRAY_SIZE(reactors));
	struct sfs_device_opts opts = {.tag = c->tag ? c->tag : "",
				       .request_queue_count = c->queues.request_count,
				       .ring_size_max = c->queues.size_max,
				       .slots_max = c->limits.requests,
				       .io_depth = d->config->io.depth,
				       .engine = d->engine,
				       .iowq_cpus = d->iowq_cpus,
				       .pin_memory = c->pin_memory,
				       .reactors = reactors,
				       .reactor_count = count,
				       .workers = d->workers,
				       .workers_max = c->limits.workers,
				       .limits = {.inodes = c->limits.inodes,
						  .handles = c->limits.handles,
						  .fds = dv->fds_max,
						  .locks = c->limits.locks,
						  .lock_waiters = c->limits.lock_waiters},
				       .bytes_in_flight_max = c->limits.bytes_in_flight,
				       .fs = dv->fs,
				       .fs_ctx = dv->fs_ctx,
				       .fs_info = dv->fs_info,
				       .numa_node = d->config->memory.numa,
				       .numa = &sfs_env_numa_host};

	opts.fs_info.node_fds_max = dv->node_fds_max;
	for (unsigned i = 0; i < count; i++)
		reactors[i] = d->reactors[c->queues.reactors[i]];
	return sfs_device_create(&opts, &dv->dev);
}

static int make_devices(struct spinfsd *d)
{
	for (unsigned i = 0; i < d->device_count; i++) {
		struct spinfsd_device *dv = &d->devices[i];
		int rc = make_device(d, dv);

		if (rc == 0)
			rc = sfs_link_create(i, sfs_device_queue_count(dv->dev), &dv->link);
		if (rc) {
			SFS_ERROR("devices[%u] cannot be made: %s", i, strerror(-rc));
			return rc;
		}
	}
	return 0;
}

/* --- the door --- */

static void door_config_read(void *ctx, uint32_t offset, void *buf, uint32_t bytes)
{
	struct spinfsd_device *dv = ctx;

	sfs_device_config_read(dv->dev, offset, buf, bytes);
}

static void door_disconnected(void *ctx)
{
	struct spinfsd_device *dv = ctx;
	struct spinfsd *d = dv->daemon;

	dv->left = dv->config->on_disconnect == SPINFSD_EXIT;
	for (unsigned i = 0; i < d->device_count; i++)
		if (!d->devices[i].left)
			return;
	d->stop = true;
}

/* Where private sockets go: the service manager's place, else the system's or the user's, else /tmp. */
static const char *runtime_dir(void)
{
	const char *dirs[] = {getenv("RUNTIME_DIRECTORY"), "/run", getenv("XDG_RUNTIME_DIR"),
			      getenv("TMPDIR")};

	for (size_t i = 0; i < SFS_ARRAY_SIZE(dirs); i++)
		if (dirs[i] && *dirs[i] == '/' && access(dirs[i], W_OK | X_OK) == 0)
			return dirs[i];
	return "/tmp";
}

static int group_id(const char *name, gid_t *gid)
{
	const struct group *gr;
	char *end;

	if (!name) {
		*gid = (gid_t)-1;
		return 0;
	}
	gr = getgrnam(name);
	*gid = gr ? gr->gr_gid : (gid_t)strtoul(name, &end, 10);
	if (!gr && (*end || end == name)) {
		SFS_ERROR("socket.group: there is no group \"%s\" on this host", name);
		return -ENOENT;
	}
	return 0;
}

static int open_door(struct spinfsd *d, struct spinfsd_device *dv)
{
	const struct spinfsd_device_config *c = dv->config;
	struct sfs_door_device_opts opts = {.name = c->tag ? c->tag : "spinfs",
					    .socket_path = c->socket.path,
					    .listen_fd = c->socket.fd,
					    .mode = c->socket.mode,
					    .exit_on_disconnect = c->on_disconnect == SPINFSD_EXIT,
					    .ring_size_max = c->queues.size_max,
					    .stop_timeout_ms = d->config->stop_timeout_ms,
					    .link = dv->link,
					    .config_read = c->tag ? door_config_read : NULL,
					    .on_disconnect = door_disconnected,
					    .ctx = dv};
	int rc = group_id(c->socket.group, &opts.gid);

	if (rc)
		return rc;
	return sfs_door_add(d->door, &opts, &dv->door);
}

static int start_doors(struct spinfsd *d)
{
	struct sfs_vhost_user_device *devs = calloc(d->device_count, sizeof(*devs));
	int rc;

	if (!devs)
		return -ENOMEM;
	for (unsigned i = 0; i < d->device_count; i++)
		devs[i] = (struct sfs_vhost_user_device){d->devices[i].link, d->devices[i].dev};
	rc = sfs_vhost_user_create(devs, d->device_count, &d->vu);
	free(devs);
	if (rc) {
		SFS_ERROR("rte_vhost cannot start: %s", strerror(-rc));
		return rc;
	}
	rc = sfs_door_create(runtime_dir(), &d->door);
	if (rc) {
		SFS_ERROR("no private sockets in %s: %s", runtime_dir(), strerror(-rc));
		return rc;
	}
	for (unsigned i = 0; rc == 0 && i < d->device_count; i++)
		rc = open_door(d, &d->devices[i]);
	return rc;
}

/* --- the process --- */

/* Raises the limit of descriptors as configured. What it is then. */
static uint64_t raise_nofile(const struct spinfsd *d)
{
	rlim_t wanted = d->config->rlimit_nofile;
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return UINT64_MAX;
	if (wanted) {
		struct rlimit want = {wanted, SFS_MAX(wanted, lim.rlim_max)};

		if (setrlimit(RLIMIT_NOFILE, &want) < 0) {
			want = (struct rlimit){SFS_MIN(wanted, lim.rlim_max), lim.rlim_max};
			if (setrlimit(RLIMIT_NOFILE, &want) < 0) {
				SFS_WARN("the limit of open files stays as it is: %s", strerror(errno));
				want = lim;
			}
		}
		lim = want;
	}
	return lim.rlim_cur;
}

/* What one of those gets who want @sum together and may have @room. */
static uint32_t share_of(uint32_t wanted, uint64_t room, uint64_t sum)
{
	return room >= sum ? wanted : wanted ? SFS_MAX(1u, (uint32_t)(wanted * room / sum)) : 0;
}

/*
 * Gives each device its part of the descriptors, so that no guest takes what the others and the daemon need, and grows the
 * table once, while nobody waits: growing later stalls single opens.
 */
static void share_descriptors(struct spinfsd *d)
{
	/* EAL holds a descriptor for each huge page. */
	uint64_t own = OWN_FDS + (uint64_t)d->device_count * OWN_FDS_DEVICE +
		       (d->config->memory.hugepages ? d->config->memory.heap_mib / 2 : 0);
	uint64_t limit = raise_nofile(d), files = 0, nodes = 0, room, node_room;
	int fd;

	for (unsigned i = 0; i < d->device_count; i++) {
		files += d->devices[i].config->limits.fds;
		nodes += d->devices[i].fs_info.node_fds_max;
	}
	/* Where the limit is that low, the daemon comes by with half of it: its own share is an upper bound. */
	room = SFS_MAX(limit / 2, limit - SFS_MIN(limit, own));
	/* The nodes' cache makes each operation quicker, limits.fds is more than most guests ever open: at least a quarter. */
	node_room = SFS_MAX(room / 4, room - SFS_MIN(room, files));
	node_room = SFS_MIN(nodes, node_room);
	if (files + nodes > room)
		SFS_INFO("at most %llu descriptors can be open, %llu may be asked for: guests get ENFILE at "
			 "%.2f %% "
			 "of devices[].limits.fds, inode_fds_max is %.2f %% (rlimit_nofile)",
			 (unsigned long long)limit, (unsigned long long)(own + files + nodes),
			 files ? 100.0 * (double)(room - node_room) / (double)files : 100,
			 nodes ? 100.0 * (double)node_room / (double)nodes : 100);
	for (unsigned i = 0; i < d->device_count; i++) {
		struct spinfsd_device *dv = &d->devices[i];

		dv->fds_max = share_of(dv->config->limits.fds, room - node_room, files);
		dv->node_fds_max = share_of(dv->fs_info.node_fds_max, node_room, nodes);
	}
	fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC,
		   (int)SFS_MIN(SFS_MIN(limit, own + files + nodes), 1048576ull) - 1);
	if (fd >= 0)
		close(fd);
}

static int start_env(struct spinfsd *d)
{
	const struct spinfsd_config *c = d->config;
	struct sfs_env_opts opts = {.program = "spinfsd",
				    .cpus = &c->control_cpus,
				    .heap_mib = c->memory.heap_mib,
				    .hugepages = c->memory.hugepages,
				    .extra = c->eal,
				    .extra_count = c->eal_count};
	int rc = sfs_env_init(&opts);

	if (rc)
		SFS_ERROR("EAL cannot start: %s%s", strerror(-rc),
			  c->memory.hugepages ? " (memory.hugepages: are there free hugepages?)" : "");
	return rc;
}

/* The place of the default control socket, which the README suggests for the devices' sockets, too. Any other path is its
 * user's to make. */
static void make_run_dir(const struct spinfsd *d)
{
	const char *path = d->config->control_socket;

	if (path && strncmp(path, SPINFSD_RUN_DIR "/", sizeof(SPINFSD_RUN_DIR)) == 0 &&
	    mkdir(SPINFSD_RUN_DIR, 0755) < 0 && errno != EEXIST)
		SFS_WARN("%s cannot be made: %s", SPINFSD_RUN_DIR, strerror(errno));
}

static int start_operator(struct spinfsd *d)
{
	struct sfs_rpc_server_opts opts = {.path = d->config->control_socket,
					   .methods = spinfsd_methods,
					   .method_count = spinfsd_method_count,
					   .arg = d};
	int rc;

	if (!opts.path)
		return 0;
	rc = sfs_rpc_server_create(&opts, &d->rpc);
	if (rc)
		SFS_ERROR("control_socket %s: %s%s", opts.path, strerror(-rc),
			  rc == -EADDRINUSE ? "; another daemon serves it" : "");
	return rc;
}

int spinfsd_start(struct spinfsd *d)
{
	char cpus[256];
	int rc;

	share_descriptors(d);
	rc = sfs_mem_sigbus_install();
	if (rc)
		return rc;
	rc = start_env(d);
	if (rc)
		return rc;
	if (sfs_cpus_format(&d->config->workers.cpus, cpus, sizeof(cpus)) > 0)
		d->iowq_cpus = strdup(cpus);
	make_run_dir(d);
	rc = spinfsd_engine_pick(d->config->io.engine, &d->engine);
	if (rc == 0)
		rc = start_reactors(d);
	if (rc == 0)
		rc = start_workers(d);
	if (rc == 0)
		rc = make_devices(d);
	if (rc == 0)
		rc = start_doors(d);
	if (rc == 0)
		rc = start_operator(d);
	return rc;
}

/* --- serving --- */

static int watch(int epfd, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return fd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

static void take_signal(struct spinfsd *d, int sigfd)
{
	struct signalfd_siginfo info;

	if (read(sigfd, &info, sizeof(info)) != sizeof(info))
		return;
	SFS_INFO("signal %u: stopping", info.ssi_signo);
	d->stop = true;
}

static int serve(struct spinfsd *d, int epfd, int sigfd)
{
	bool stopping = false;

	while (!stopping || !sfs_door_stopped(d->door)) {
		struct epoll_event ev[4];
		int n = epoll_wait(epfd, ev, SFS_ARRAY_SIZE(ev), -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++) {
			if (ev[i].data.fd == sigfd)
				take_signal(d, sigfd);
			else if (d->rpc && ev[i].data.fd == sfs_rpc_server_fd(d->rpc))
				sfs_rpc_server_run(d->rpc);
			else
				sfs_door_run_once(d->door, 0);
		}
		if (d->stop && !stopping) {
			stopping = true;
			sfs_door_stop(d->door);
		}
	}
	return 0;
}

int spinfsd_run(struct spinfsd *d)
{
	sigset_t set;
	int epfd, sigfd, rc = -EMFILE;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (epfd >= 0 && sigfd >= 0) {
		rc = watch(epfd, sigfd);
		if (rc == 0)
			rc = watch(epfd, sfs_door_fd(d->door));
		if (rc == 0)
			rc = watch(epfd, d->rpc ? sfs_rpc_server_fd(d->rpc) : -1);
		if (rc == 0)
			rc = serve(d, epfd, sigfd);
	}
	if (rc)
		SFS_ERROR("cannot serve: %s", strerror(-rc));
	close(sigfd);
	close(epfd);
	return rc;
}

void spinfsd_destroy(struct spinfsd *d)
{
	bool hung = false;

	sfs_rpc_server_destroy(d->rpc);
	if (d->vu)
		sfs_vhost_user_destroy(d->vu);
	if (d->door)
		sfs_door_destroy(d->door);
	for (unsigned i = 0; d->devices && i < d->device_count; i++) {
		struct spinfsd_device *dv = &d->devices[i];

		if (dv->dev)
			sfs_device_destroy(dv->dev);
		else
			dv->fs->destroy(dv->fs_ctx);
		if (dv->link)
			sfs_link_destroy(dv->link);
	}
	for (unsigned i = 0; d->reactors && i < d->config->reactor_count; i++)
		if (d->reactors[i] && sfs_reactor_stop(d->reactors[i], 0) < 0) {
			SFS_ERROR("reactor %s hangs in a call and is left to the end of the process",
				  sfs_reactor_name(d->reactors[i]));
			hung = true;
		}
	/* A worker wakes the reactor of what it has finished: a hung one still may. */
	if (d->workers && sfs_workers_destroy(d->workers, d->config->stop_timeout_ms * SFS_NS_PER_MS) < 0)
		return;
	if (hung)
		return;
	for (unsigned i = 0; d->reactors && i < d->config->reactor_count; i++)
		sfs_reactor_destroy(d->reactors[i]);
	free(d->reactors);
	free(d->devices);
	free(d->iowq_cpus);
}
