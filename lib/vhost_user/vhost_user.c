/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thread follows the links. rte_vhost's dispatcher thread handles the relayed messages and calls back
 * here only when a connection begins or ends. A vid is used under vu_lock, which the end of the connection
 * takes before the library frees the device: a number is never used for another device's session.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_vhost.h>

#include "sfs_base.h"
#include "sfs_log.h"
#include "sfs_vhost_user.h"

#define VU_EVENTS         16
#define VU_FAULT_CHECK_MS 1000 /* how soon a ring that stopped by itself is reported */

enum vu_stop { VU_STOP_WAIT, VU_STOP_DONE, VU_STOP_LEFT };

struct vu_ring {
	struct vu_dev *dev;
	struct sfs_queue_stop stop;
	_Atomic int stop_state; /* the reactor: DONE, wake the engine, LEFT; only then is nothing of ours
				   touched any more */
	bool running, stopping, faulted;
};

struct vu_dev {
	struct sfs_vhost_user *vu;
	struct sfs_link *link;
	struct sfs_device *dev;
	struct sfs_mem *mem;      /* changed under vu_lock */
	struct sfs_link_cmd stop; /* the STOP under way; op 0: none */
	bool attached;
	int vid; /* vu_lock; -1: no connection */
	char path[SFS_LINK_PATH_MAX];
	struct vu_ring rings[SFS_LINK_RINGS_MAX];
};

struct sfs_vhost_user {
	pthread_t thread;
	int epoll_fd, wake_fd;
	_Atomic bool quit;
	unsigned count;
	struct vu_dev devs[];
};

static pthread_mutex_t vu_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sfs_vhost_user *vu_only; /* vu_lock; rte_vhost's callbacks carry no context */

/* --- rte_vhost's callbacks; new_connection on our thread, the others on rte_vhost's --- */

/* On rte_vhost's thread: it reads rings in memory that MAP has not covered yet. */
static enum rte_vhost_msg_result vu_pre_message(int vid, void *msg)
{
	sfs_mem_sigbus_cover_thread();
	return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

static const struct rte_vhost_user_extern_ops vu_extern_ops = {.pre_msg_handle = vu_pre_message};

static int vu_new_connection(int vid)
{
	char path[SFS_LINK_PATH_MAX];
	int rc = -1;

	if (rte_vhost_get_ifname(vid, path, sizeof(path)) < 0 ||
	    rte_vhost_extern_callback_register(vid, &vu_extern_ops, NULL) < 0)
		return -1;
	pthread_mutex_lock(&vu_lock);
	for (unsigned i = 0; i < vu_only->count; i++) {
		struct vu_dev *d = &vu_only->devs[i];

		if (strcmp(d->path, path) == 0) {
			d->vid = vid;
			rc = 0;
		}
	}
	pthread_mutex_unlock(&vu_lock);
	return rc;
}

static void vu_destroy_connection(int vid)
{
	pthread_mutex_lock(&vu_lock);
	for (unsigned i = 0; i < vu_only->count; i++) {
		struct vu_dev *d = &vu_only->devs[i];

		if (d->vid != vid)
			continue;
		d->vid = -1;
		if (d->mem)
			sfs_mem_sigbus_uncover(d->mem);
	}
	pthread_mutex_unlock(&vu_lock);
}

static const struct rte_vhost_device_ops vu_ops = {
    .new_connection = vu_new_connection,
    .destroy_connection = vu_destroy_connection,
};

/* Takes vu_lock and returns the vid, or -ENOTCONN without the lock. */
static int vu_vid_get(struct vu_dev *d)
{
	pthread_mutex_lock(&vu_lock);
	if (d->vid >= 0)
		return d->vid;
	pthread_mutex_unlock(&vu_lock);
	return -ENOTCONN;
}

static void vu_vid_put(void)
{
	pthread_mutex_unlock(&vu_lock);
}

/* --- ATTACH, DETACH --- */

static int vu_attach(struct vu_dev *d, uint32_t session)
{
	int vid;

	if (d->attached)
		return -EBUSY;
	if (sfs_link_path(d->link, session, d->path) < 0)
		return -EINVAL;
	if (rte_vhost_driver_register(d->path, RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT) < 0)
		return -ENOSPC;
	d->attached = true;
	if (rte_vhost_driver_set_features(d->path, SFS_LINK_FEATURES) < 0 ||
	    rte_vhost_driver_set_protocol_features(d->path, SFS_LINK_PROTO_FEATURES) < 0 ||
	    rte_vhost_driver_callback_register(d->path, &vu_ops) < 0 || rte_vhost_driver_start(d->path) < 0)
		return -ENOTCONN;
	/* The door listens before it sends ATTACH, so the connection was made within the call above. */
	vid = vu_vid_get(d);
	if (vid < 0)
		return vid;
	vu_vid_put();
	return 0;
}

/* Without waiting for the reactor, unless it is about to say that the ring has stopped after all. */
static void vu_abandon_ring(struct vu_dev *d, unsigned idx)
{
	struct vu_ring *r = &d->rings[idx];

	if (!sfs_device_queue_abandon(d->dev, idx)) {
		while (atomic_load(&r->stop_state) != VU_STOP_LEFT)
			sched_yield();
		sfs_device_queue_release(d->dev, idx);
	}
	r->running = false;
	r->stopping = false;
}

/* Before the library unmaps its part: with a new table, or at the end. A queue that hangs may keep ours for ever. */
static void vu_unmap(struct vu_dev *d)
{
	struct sfs_mem *mem;

	pthread_mutex_lock(&vu_lock);
	mem = d->mem;
	d->mem = NULL;
	pthread_mutex_unlock(&vu_lock);
	if (!mem)
		return;
	sfs_mem_sigbus_uncover(mem);
	sfs_mem_put(mem);
}

static int vu_detach(struct vu_dev *d)
{
	for (unsigned i = 0; i < sfs_link_ring_count(d->link); i++)
		if (d->rings[i].running)
			vu_abandon_ring(d, i);
	vu_unmap(d);
	if (d->attached)
		rte_vhost_driver_unregister(d->path);
	pthread_mutex_lock(&vu_lock);
	d->vid = -1;
	d->path[0] = '\0';
	pthread_mutex_unlock(&vu_lock);
	d->attached = false;
	sfs_device_reset(d->dev);
	return 0;
}

/* --- MAP: our own mapping of the table that rte_vhost has just accepted --- */

static int vu_map_table(const struct rte_vhost_memory *table, struct sfs_mem **mem)
{
	struct sfs_mem_region regions[SFS_MEM_REGIONS_MAX];
	int fds[SFS_MEM_REGIONS_MAX];
	int rc;

	if (table->nregions == 0 || table->nregions > SFS_MEM_REGIONS_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < table->nregions; i++) {
		const struct rte_vhost_mem_region *r = &table->regions[i];

		/* The library maps each file from its offset 0. */
		regions[i] = (struct sfs_mem_region){
		    .guest_addr = r->guest_phys_addr,
		    .user_addr = r->guest_user_addr,
		    .bytes = r->size,
		    .mmap_offset = r->host_user_addr - (uint64_t)(uintptr_t)r->mmap_addr,
		};
		fds[i] = r->fd;
	}
	rc = sfs_mem_create(regions, fds, table->nregions, mem);
	for (uint32_t i = 0; rc == 0 && i < table->nregions; i++) {
		rc = sfs_mem_sigbus_cover(*mem, table->regions[i].mmap_addr, table->regions[i].mmap_size);
		if (rc < 0)
			sfs_mem_put(*mem);
	}
	return rc;
}

static int vu_map(struct vu_dev *d)
{
	struct rte_vhost_memory *table = NULL;
	int vid, rc;

	vu_unmap(d);
	vid = vu_vid_get(d);
	if (vid < 0)
		return vid;
	rc = rte_vhost_get_mem_table(vid, &table) < 0 ? -ENOTCONN : vu_map_table(table, &d->mem);
	if (rc < 0)
		d->mem = NULL;
	vu_vid_put();
	free(table);
	return rc;
}

/* --- START --- */

/* Our address of what the library sees at @lib, if all @bytes are inside one region. */
static void *vu_translate(const struct sfs_mem *mem, const struct rte_vhost_memory *table, const void *lib,
			  uint64_t bytes)
{
	for (uint32_t i = 0; i < table->nregions; i++) {
		const struct rte_vhost_mem_region *r = &table->regions[i];
		uint64_t off = (uint64_t)(uintptr_t)lib - r->host_user_addr;

		if (off < r->size)
			return sfs_mem_at_user(mem, r->guest_user_addr + off, bytes);
	}
	return NULL;
}

static int vu_dup(int fd)
{
	int copy;

	if (fd < 0)
		return -1;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return copy < 0 ? -errno - 1 : copy;
}

/* Everything about a ring that comes from the library, under vu_lock. */
static int vu_setup_fill(struct vu_dev *d, int vid, unsigned idx, struct sfs_vring_setup *setup)
{
	struct rte_vhost_memory *table = NULL;
	struct rte_vhost_vring vring;
	uint64_t n;

	if (rte_vhost_get_vhost_vring(vid, (uint16_t)idx, &vring) < 0 ||
	    rte_vhost_get_negotiated_features(vid, &setup->features) < 0 ||
	    rte_vhost_get_vring_base(vid, (uint16_t)idx, &setup->last_avail_idx, &setup->last_used_idx) < 0 ||
	    rte_vhost_get_mem_table(vid, &table) < 0)
		return -ENOTCONN;
	n = vring.size;
	setup->features &= SFS_LINK_FEATURES & ~SFS_LINK_F_PROTOCOL;
	setup->mem = d->mem;
	setup->size = vring.size;
	setup->desc = vu_translate(d->mem, table, vring.desc, 16 * n);
	setup->avail = vu_translate(d->mem, table, vring.avail, 6 + 2 * n);
	setup->used = vu_translate(d->mem, table, vring.used, 6 + 8 * n);
	free(table);
	if (n == 0 || !setup->desc || !setup->avail || !setup->used)
		return -EFAULT;
	setup->kick_fd = vu_dup(vring.kickfd);
	setup->call_fd = vu_dup(vring.callfd);
	return setup->kick_fd < -1 || setup->call_fd < -1 ? -EMFILE : 0;
}

static int vu_start_ring(struct vu_dev *d, unsigned idx, bool base_kept)
{
	struct sfs_vring_setup setup = {.base_kept = base_kept, .kick_fd = -1, .call_fd = -1};
	struct vu_ring *r = &d->rings[idx];
	int vid, rc;

	if (r->running)
		return -EBUSY;
	if (!d->mem)
		return -ENXIO;
	vid = vu_vid_get(d);
	if (vid < 0)
		return vid;
	rc = vu_setup_fill(d, vid, idx, &setup);
	vu_vid_put();
	if (rc == 0)
		rc = sfs_device_queue_start(d->dev, idx, &setup);
	if (rc < 0) {
		if (setup.kick_fd >= 0)
			close(setup.kick_fd);
		if (setup.call_fd >= 0)
			close(setup.call_fd);
		SFS_ERROR("%s: queue %u does not start: %s", sfs_device_tag(d->dev), idx, strerror(-rc));
		return rc;
	}
	r->running = true;
	r->faulted = false;
	return 0;
}

static void vu_start(struct vu_dev *d, const struct sfs_link_cmd *cmd, struct sfs_link_ack *ack)
{
	for (unsigned i = 0; i < sfs_link_ring_count(d->link); i++) {
		int rc = sfs_ring_mask_test(&cmd->rings, i)
			     ? vu_start_ring(d, i, !sfs_ring_mask_test(&cmd->moved, i))
			     : 0;

		if (rc < 0) {
			ack->result = rc;
			sfs_ring_mask_set(&ack->rings, i);
		}
	}
}

/* --- STOP, ABANDON --- */

static void vu_wake(struct sfs_vhost_user *vu)
{
	if (eventfd_write(vu->wake_fd, 1) < 0)
		assert(errno == EAGAIN);
}

/* On a reactor's thread. */
static void vu_ring_stopped(struct sfs_queue_stop *stop)
{
	struct vu_ring *r = SFS_CONTAINER_OF(stop, struct vu_ring, stop);

	atomic_store(&r->stop_state, VU_STOP_DONE);
	vu_wake(r->dev->vu);
	atomic_store(&r->stop_state, VU_STOP_LEFT);
}

static bool vu_ring_has_stopped(struct vu_ring *r)
{
	if (atomic_load(&r->stop_state) == VU_STOP_WAIT)
		return false;
	while (atomic_load(&r->stop_state) != VU_STOP_LEFT)
		sched_yield();
	return true;
}

/* The ring is drained: its memory goes, and the library's own copy of where it stands is put right. */
static void vu_ring_release(struct vu_dev *d, unsigned idx, struct sfs_link_ack *ack)
{
	struct vu_ring *r = &d->rings[idx];
	int vid;

	sfs_device_queue_release(d->dev, idx);
	r->running = false;
	r->stopping = false;
	sfs_ring_mask_set(&ack->rings, idx);
	ack->last_avail[idx] = r->stop.last_avail_idx;
	vid = vu_vid_get(d);
	if (vid >= 0) {
		rte_vhost_set_vring_base(vid, (uint16_t)idx, r->stop.last_avail_idx, r->stop.last_used_idx);
		vu_vid_put();
	}
}

static void vu_stop_begin(struct vu_dev *d, const struct sfs_link_cmd *cmd)
{
	d->stop = *cmd;
	for (unsigned i = 0; i < sfs_link_ring_count(d->link); i++) {
		struct vu_ring *r = &d->rings[i];

		if (!sfs_ring_mask_test(&cmd->rings, i) || !r->running)
			continue;
		atomic_store(&r->stop_state, VU_STOP_WAIT);
		r->stop = (struct sfs_queue_stop){.done = vu_ring_stopped};
		if (sfs_device_queue_stop(d->dev, i, &r->stop) == 0)
			r->stopping = true;
		else
			r->running = false;
	}
}

/* Answers the STOP under way; rings that still stop are left out of the answer. */
static void vu_stop_answer(struct vu_dev *d)
{
	struct sfs_link_ack ack = {.op = SFS_LINK_STOP};

	for (unsigned i = 0; i < sfs_link_ring_count(d->link); i++) {
		struct vu_ring *r = &d->rings[i];

		if (r->stopping && vu_ring_has_stopped(r))
			vu_ring_release(d, i, &ack);
		else if (r->stopping)
			ack.result = -ETIMEDOUT;
	}
	if (d->stop.flags & SFS_LINK_UNMAP)
		vu_unmap(d);
	d->stop.op = 0;
	sfs_link_answer(d->link, &ack);
}

static void vu_stop_check(struct vu_dev *d)
{
	if (d->stop.op == 0)
		return;
	for (unsigned i = 0; i < sfs_link_ring_count(d->link); i++)
		if (d->rings[i].stopping && !vu_ring_has_stopped(&d->rings[i]))
			return;
	vu_stop_answer(d);
}

static void vu_abandon(struct vu_dev *d, struct sfs_link_ack *ack)
{
	if (d->stop.op)
		vu_stop_answer(d);
	for (unsigned i = 0; i < sfs_link_ring_count(d->link); i++) {
		struct vu_ring *r = &d->rings[i];

		if (!r->stopping)
			continue;
		vu_abandon_ring(d, i);
		sfs_ring_mask_set(&ack->rings, i);
	}
}

/* --- the thread --- */

static void vu_command(struct vu_dev *d, const struct sfs_link_cmd *cmd)
{
	struct sfs_link_ack ack = {.op = cmd->op};

	switch (cmd->op) {
	case SFS_LINK_ATTACH:
		ack.result = vu_attach(d, cmd->session);
		break;
	case SFS_LINK_MAP:
		ack.result = vu_map(d);
		break;
	case SFS_LINK_START:
		vu_start(d, cmd, &ack);
		break;
	case SFS_LINK_STOP:
		vu_stop_begin(d, cmd);
		vu_stop_check(d);
		return;
	case SFS_LINK_ABANDON:
		vu_abandon(d, &ack);
		break;
	case SFS_LINK_DETACH:
		ack.result = vu_detach(d);
		break;
	default:
		ack.result = -EINVAL;
		break;
	}
	sfs_link_answer(d->link, &ack);
}

static void vu_commands(struct vu_dev *d)
{
	struct sfs_link_cmd cmd;

	sfs_link_engine_clear(d->link);
	while (sfs_link_next(d->link, &cmd) > 0)
		vu_command(d, &cmd);
}

/* Reports rings that stopped by themselves. Returns whether any ring runs. */
static bool vu_faults(struct sfs_vhost_user *vu)
{
	bool running = false;

	for (unsigned n = 0; n < vu->count; n++) {
		struct vu_dev *d = &vu->devs[n];

		for (unsigned i = 0; i < sfs_link_ring_count(d->link); i++) {
			struct vu_ring *r = &d->rings[i];
			const char *why;

			if (!r->running || r->faulted)
				continue;
			running = true;
			why = sfs_device_queue_fault(d->dev, i);
			if (!why)
				continue;
			SFS_ERROR("%s: queue %u is broken: %s", sfs_device_tag(d->dev), i, why);
			r->faulted = true;
			sfs_link_broken_post(d->link, i);
		}
	}
	return running;
}

static void *vu_main(void *arg)
{
	struct sfs_vhost_user *vu = arg;
	struct epoll_event ev[VU_EVENTS];

	while (!atomic_load(&vu->quit)) {
		int n = epoll_wait(vu->epoll_fd, ev, VU_EVENTS, vu_faults(vu) ? VU_FAULT_CHECK_MS : -1);
		eventfd_t val;

		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr)
				vu_commands(ev[i].data.ptr);
			else if (eventfd_read(vu->wake_fd, &val) < 0)
				assert(errno == EAGAIN);
		}
		for (unsigned i = 0; i < vu->count; i++)
			vu_stop_check(&vu->devs[i]);
	}
	for (unsigned i = 0; i < vu->count; i++)
		if (vu->devs[i].attached)
			vu_detach(&vu->devs[i]);
	return NULL;
}

static int vu_watch(struct sfs_vhost_user *vu, int fd, struct vu_dev *d)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = d};

	return epoll_ctl(vu->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int vu_init(struct sfs_vhost_user *vu, const struct sfs_vhost_user_device *devs, unsigned count)
{
	vu->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	vu->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (vu->epoll_fd < 0 || vu->wake_fd < 0)
		return -errno;
	int rc = vu_watch(vu, vu->wake_fd, NULL);

	for (unsigned i = 0; rc == 0 && i < count; i++) {
		struct vu_dev *d = &vu->devs[i];

		if (sfs_link_ring_count(devs[i].link) != sfs_device_queue_count(devs[i].dev))
			return -EINVAL;
		*d = (struct vu_dev){.vu = vu, .link = devs[i].link, .dev = devs[i].dev, .vid = -1};
		for (unsigned r = 0; r < SFS_LINK_RINGS_MAX; r++)
			d->rings[r].dev = d;
		vu->count++;
		rc = vu_watch(vu, sfs_link_engine_fd(d->link), d);
	}
	return rc;
}

static void vu_free(struct sfs_vhost_user *vu)
{
	pthread_mutex_lock(&vu_lock);
	if (vu_only == vu)
		vu_only = NULL;
	pthread_mutex_unlock(&vu_lock);
	if (vu->epoll_fd >= 0)
		close(vu->epoll_fd);
	if (vu->wake_fd >= 0)
		close(vu->wake_fd);
	free(vu);
}

int sfs_vhost_user_create(const struct sfs_vhost_user_device *devs, unsigned count,
			  struct sfs_vhost_user **out)
{
	struct sfs_vhost_user *vu = calloc(1, sizeof(*vu) + count * sizeof(vu->devs[0]));
	int rc;

	if (!vu)
		return -ENOMEM;
	vu->epoll_fd = vu->wake_fd = -1;
	pthread_mutex_lock(&vu_lock);
	rc = vu_only ? -EBUSY : 0;
	if (rc == 0)
		vu_only = vu;
	pthread_mutex_unlock(&vu_lock);
	if (rc == 0)
		rc = vu_init(vu, devs, count);
	if (rc == 0)
		rc = -pthread_create(&vu->thread, NULL, vu_main, vu);
	if (rc < 0) {
		vu_free(vu);
		return rc;
	}
	pthread_setname_np(vu->thread, "spinfs-eng");
	*out = vu;
	return 0;
}

void sfs_vhost_user_destroy(struct sfs_vhost_user *vu)
{
	if (!vu)
		return;
	atomic_store(&vu->quit, true);
	vu_wake(vu);
	pthread_join(vu->thread, NULL);
	vu_free(vu);
}
