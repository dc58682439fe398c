/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "door_int.h"

#define DO_EVENTS 32

const char *sfs_door_state_name(enum sfs_door_state state)
{
	static const char *const names[] = {"listening", "connected", "running",
					    "quiescing", "broken",    "failed"};

	return names[state];
}

int dd_watch(struct dd_source *src, int epoll_op, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = src};

	return epoll_ctl(src->dev->door->epoll_fd, epoll_op, src->fd, &ev) < 0 ? -errno : 0;
}

void dd_source_close(struct dd_source *src)
{
	if (src->fd >= 0)
		close(src->fd);
	src->fd = -1;
}

void dd_msg_clear(struct sfs_door_device *d)
{
	for (unsigned i = 0; i < d->msg.fd_count; i++) {
		int fd = d->msg.fds[i];

		if (dc_is_memory(fd) || dc_is_notifier(d, fd))
			close(fd);
		else
			da_close(d->aside, fd);
	}
	d->msg.fd_count = 0;
	dw_clear(&d->msg);
}

/* --- the door --- */

static int do_init(struct sfs_door *door, const char *runtime_dir)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int len;

	door->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	door->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	door->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (door->epoll_fd < 0 || door->timer_fd < 0 || door->proc_fd < 0 ||
	    epoll_ctl(door->epoll_fd, EPOLL_CTL_ADD, door->timer_fd, &ev) < 0)
		return -errno;
	len = snprintf(door->dir, sizeof(door->dir), "%s/spinfs-XXXXXX", runtime_dir);
	if (len < 0 || (size_t)len >= sizeof(door->dir)) {
		door->dir[0] = '\0';
		return -ENAMETOOLONG;
	}
	if (!mkdtemp(door->dir)) { /* mode 0700 */
		int err = -errno;

		door->dir[0] = '\0';
		return err;
	}
	return 0;
}

int sfs_door_create(const char *runtime_dir, struct sfs_door **out)
{
	struct sfs_door *door = calloc(1, sizeof(*door));
	int rc;

	if (!door)
		return -ENOMEM;
	LIST_INIT(&door->devices);
	rc = do_init(door, runtime_dir);
	if (rc < 0) {
		sfs_door_destroy(door);
		return rc;
	}
	*out = door;
	return 0;
}

static void do_device_free(struct sfs_door_device *d)
{
	char path[SFS_LINK_PATH_MAX];

	dl_close(d);
	dd_source_close(&d->vmm);
	dd_source_close(&d->private);
	if (d->backend_fd >= 0)
		close(d->backend_fd);
	dd_msg_clear(d);
	dw_clear(&d->reply);
	da_destroy(d->aside);
	if (d->session && sfs_link_path(d->opts.link, d->session, path) == 0)
		unlink(path);
	free(d->name);
	free(d->path);
	free(d);
}

void sfs_door_destroy(struct sfs_door *door)
{
	if (!door)
		return;
	while (!LIST_EMPTY(&door->devices)) {
		struct sfs_door_device *d = LIST_FIRST(&door->devices);

		LIST_REMOVE(d, entry);
		do_device_free(d);
	}
	if (door->dir[0])
		rmdir(door->dir);
	if (door->epoll_fd >= 0)
		close(door->epoll_fd);
	if (door->timer_fd >= 0)
		close(door->timer_fd);
	if (door->proc_fd >= 0)
		close(door->proc_fd);
	free(door);
}

static bool do_opts_valid(const struct sfs_door_device_opts *o)
{
	unsigned size = o->ring_size_max;

	return o->name && o->link && (o->socket_path || o->listen_fd >= 0) && size >= 2 && size <= 32768 &&
	       !(size & (size - 1)) && o->stop_timeout_ms;
}

static int do_device_init(struct sfs_door_device *d)
{
	int rc;

	d->name = strdup(d->opts.name);
	if (d->opts.socket_path)
		d->path = strdup(d->opts.socket_path);
	if (!d->name || (d->opts.socket_path && !d->path))
		return -ENOMEM;
	d->opts.name = d->name;
	d->opts.socket_path = d->path;
	d->ring_count = sfs_link_ring_count(d->opts.link);
	d->proto_features = SFS_LINK_PROTO_FEATURES & ~(d->opts.config_read ? 0 : SFS_LINK_P_CONFIG);
	rc = sfs_link_dir_set(d->opts.link, d->door->dir);
	if (rc < 0)
		return rc;
	rc = da_create(&d->aside);
	if (rc < 0)
		return rc;
	d->aside_event.fd = da_event_fd(d->aside);
	rc = dd_watch(&d->aside_event, EPOLL_CTL_ADD, EPOLLIN);
	if (rc == 0)
		rc = dd_watch(&d->link, EPOLL_CTL_ADD, EPOLLIN);
	if (rc == 0)
		rc = dl_open(d);
	if (rc == 0)
		rc = dd_watch(&d->listener, EPOLL_CTL_ADD, EPOLLIN | EPOLLONESHOT);
	return rc;
}

int sfs_door_add(struct sfs_door *door, const struct sfs_door_device_opts *opts, struct sfs_door_device **out)
{
	struct sfs_door_device *d;
	int rc;

	if (!do_opts_valid(opts))
		return -EINVAL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->door = door;
	d->opts = *opts;
	d->backend_fd = -1;
	d->listener = (struct dd_source){DD_LISTENER, -1, d};
	d->vmm = (struct dd_source){DD_VMM, -1, d};
	d->private = (struct dd_source){DD_PRIVATE, -1, d};
	d->link = (struct dd_source){DD_LINK, sfs_link_door_fd(opts->link), d};
	d->aside_event = (struct dd_source){DD_ASIDE, -1, d};
	rc = do_device_init(d);
	if (rc < 0) {
		dd_watch(&d->link, EPOLL_CTL_DEL, 0);
		/* A passed descriptor becomes ours only by success. */
		if (!d->path)
			d->listener.fd = -1;
		do_device_free(d);
		return rc;
	}
	LIST_INSERT_HEAD(&door->devices, d, entry);
	SFS_INFO("%s: Waiting for vhost-user socket connection...", d->name);
	*out = d;
	return 0;
}

int sfs_door_fd(const struct sfs_door *door)
{
	return door->epoll_fd;
}

/* --- turns --- */

static void do_event(struct dd_source *src)
{
	if (src->fd < 0)
		return;
	switch (src->kind) {
	case DD_LISTENER:
		ds_accept(src->dev);
		break;
	case DD_VMM:
		ds_vmm_event(src->dev);
		break;
	case DD_PRIVATE:
		ds_private_event(src->dev);
		break;
	case DD_LINK:
		ds_link_event(src->dev);
		break;
	case DD_ASIDE:
		ds_aside_event(src->dev);
		break;
	}
}

static void do_deadlines(struct sfs_door *door)
{
	struct sfs_door_device *d;
	struct itimerspec its = {0};
	uint64_t next = 0, now = sfs_now_ns();

	LIST_FOREACH (d, &door->devices, entry) {
		if (d->deadline_ns && d->deadline_ns <= now)
			ds_deadline(d);
		if (d->deadline_ns && (!next || d->deadline_ns < next))
			next = d->deadline_ns;
	}
	/* Setting it clears an expiry that has been seen. */
	its.it_value.tv_sec = (time_t)(next / SFS_NS_PER_S);
	its.it_value.tv_nsec = (long)(next % SFS_NS_PER_S);
	int rc = timerfd_settime(door->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);

	assert(rc == 0);
}

int sfs_door_run_once(struct sfs_door *door, int timeout_ms)
{
	struct epoll_event ev[DO_EVENTS];
	int n = epoll_wait(door->epoll_fd, ev, DO_EVENTS, timeout_ms);

	if (n < 0 && errno != EINTR)
		return -errno;
	for (int i = 0; i < n; i++)
		if (ev[i].data.ptr)
			do_event(ev[i].data.ptr);
	do_deadlines(door);
	return 0;
}

void sfs_door_stop(struct sfs_door *door)
{
	struct sfs_door_device *d;

	door->stopping = true;
	LIST_FOREACH (d, &door->devices, entry) {
		dl_close(d);
		ds_end(d);
	}
	do_deadlines(door);
}

bool sfs_door_stopped(const struct sfs_door *door)
{
	const struct sfs_door_device *d;

	LIST_FOREACH (d, &door->devices, entry) {
		if (d->step != DD_IDLE && !d->failed)
			return false;
	}
	return true;
}

enum sfs_door_state sfs_door_device_state(const struct sfs_door_device *d)
{
	return d->state;
}

void sfs_door_device_figures(const struct sfs_door_device *d, struct sfs_door_figures *fig)
{
	*fig = d->figures;
}
