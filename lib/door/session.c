/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session: a VMM is accepted, the engine's rte_vhost is attached by a private socket of its own, messages
 * pass, and at the end everything is undone in the same order whatever went before: queues stopped, or
 * abandoned after their deadline, rte_vhost detached, the next VMM listened for. At most one thing is under
 * way of: a command to the engine (d->cmd, with d->abandoning two), a reply of rte_vhost (d->waits_reply).
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "door_int.h"

/* A guest's driver that has agreed on features sets its memory within milliseconds. */
#define DS_HINT_MS 2000
/* Descriptors or memory that accept() lacked may be back by then. */
#define DS_ACCEPT_MS 100

static const struct sfs_ring_mask ds_none;

static bool ds_ring_broken(const struct sfs_door_device *d)
{
	for (unsigned i = 0; i < d->ring_count; i++)
		if (d->rings[i].dead || d->rings[i].broken)
			return true;
	return false;
}

void ds_state_update(struct sfs_door_device *d)
{
	enum sfs_door_state state;

	if (d->failed)
		state = SFS_DOOR_FAILED;
	else if (d->step == DD_IDLE && !d->ending)
		state = SFS_DOOR_LISTENING;
	else if (d->ending || d->cmd.op == SFS_LINK_STOP)
		state = SFS_DOOR_QUIESCING;
	else if (ds_ring_broken(d))
		state = SFS_DOOR_BROKEN;
	else if (sfs_ring_mask_any(&d->running))
		state = SFS_DOOR_RUNNING;
	else
		state = SFS_DOOR_CONNECTED;
	if (state == d->state)
		return;
	d->state = state;
	SFS_DEBUG("%s: %s", d->name, sfs_door_state_name(state));
	if (d->opts.on_state)
		d->opts.on_state(d->opts.ctx, state);
}

static void ds_deadline_set(struct sfs_door_device *d)
{
	d->deadline_ns = sfs_now_ns() + d->opts.stop_timeout_ms * SFS_NS_PER_MS;
}

void ds_command(struct sfs_door_device *d, uint32_t op, struct sfs_ring_mask rings, uint32_t flags)
{
	d->cmd = (struct sfs_link_cmd){
	    .op = op, .session = d->session, .rings = rings, .flags = flags, .moved = d->moved};
	ds_deadline_set(d);
	int rc = sfs_link_send(d->opts.link, &d->cmd);

	assert(rc == 0);
}

void ds_read_next(struct sfs_door_device *d)
{
	dd_msg_clear(d);
	d->step = DD_READ;
	/* QEMU with memory that cannot be shared stops here, and its guest waits for ever. */
	if (d->features && !d->mapped && !d->hinted)
		d->deadline_ns = sfs_now_ns() + DS_HINT_MS * SFS_NS_PER_MS;
	if (dd_watch(&d->vmm, EPOLL_CTL_MOD, EPOLLIN | EPOLLONESHOT) < 0)
		ds_end(d);
}

static void ds_listen(struct sfs_door_device *d)
{
	int rc = d->listener.fd < 0 ? 0 : dd_watch(&d->listener, EPOLL_CTL_MOD, EPOLLIN | EPOLLONESHOT);

	if (rc < 0)
		SFS_ERROR("%s: cannot listen again: %s", d->name, strerror(-rc));
}

/* --- the end --- */

static void ds_finish(struct sfs_door_device *d)
{
	char path[SFS_LINK_PATH_MAX];

	dd_source_close(&d->private);
	if (sfs_link_path(d->opts.link, d->session, path) == 0)
		unlink(path);
	dd_msg_clear(d);
	dw_clear(&d->reply);
	memset(d->rings, 0, sizeof(d->rings));
	d->running = d->moved = ds_none;
	d->features = 0;
	d->refusals = 0;
	d->mapped = d->hinted = d->quarantined = d->failed = d->ending = false;
	d->step = DD_IDLE;
	if (d->opts.exit_on_disconnect || d->door->stopping) {
		SFS_INFO("%s: Client disconnected, shutting down", d->name);
	} else {
		SFS_INFO("%s: Client disconnected", d->name);
		SFS_INFO("%s: Waiting for vhost-user socket connection...", d->name);
		ds_listen(d);
	}
	ds_state_update(d);
	if (d->opts.on_disconnect)
		d->opts.on_disconnect(d->opts.ctx);
}

/* The next step of undoing a session, when nothing is under way at the engine's end. */
static void ds_end_step(struct sfs_door_device *d)
{
	if (sfs_ring_mask_any(&d->running))
		ds_command(d, SFS_LINK_STOP, d->running, SFS_LINK_UNMAP);
	else
		ds_command(d, SFS_LINK_DETACH, ds_none, 0);
}

void ds_end(struct sfs_door_device *d)
{
	if (d->step == DD_IDLE || d->ending)
		return;
	d->ending = true;
	d->waits_reply = false;
	dd_source_close(&d->vmm);
	if (d->backend_fd >= 0)
		close(d->backend_fd);
	d->backend_fd = -1;
	dd_msg_clear(d);
	/* The connection stays open till DETACH: what rte_vhost says or does now does not matter any more. */
	if (d->private.fd >= 0)
		dd_watch(&d->private, EPOLL_CTL_DEL, 0);
	if (d->cmd.op == 0)
		ds_end_step(d);
	ds_state_update(d);
}

/* --- the engine's answers --- */

static void ds_attached(struct sfs_door_device *d, int result)
{
	char path[SFS_LINK_PATH_MAX];
	int fd;

	if (result < 0) {
		SFS_ERROR("%s: rte_vhost cannot be attached: %s", d->name, strerror(-result));
		ds_end(d);
		return;
	}
	/* It has connected already; nobody else is to. */
	fd = accept4(d->private.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	dd_source_close(&d->private);
	if (sfs_link_path(d->opts.link, d->session, path) == 0)
		unlink(path);
	d->private.fd = fd;
	if (fd < 0 || dd_watch(&d->private, EPOLL_CTL_ADD, EPOLLIN) < 0) {
		SFS_ERROR("%s: rte_vhost's connection cannot be had: %s", d->name, strerror(errno));
		ds_end(d);
		return;
	}
	SFS_INFO("%s: Client connected, servicing requests", d->name);
	ds_read_next(d);
}

static void ds_rings_broken(struct sfs_door_device *d, const struct sfs_ring_mask *mask, bool for_good)
{
	for (unsigned i = 0; i < d->ring_count; i++) {
		if (!sfs_ring_mask_test(mask, i))
			continue;
		d->rings[i].broken = true;
		d->rings[i].dead |= for_good;
	}
}

static void ds_mask_remove(struct sfs_ring_mask *from, const struct sfs_ring_mask *what)
{
	from->bits[0] &= ~what->bits[0];
	from->bits[1] &= ~what->bits[1];
}

static void ds_started(struct sfs_door_device *d, const struct sfs_link_ack *ack)
{
	struct sfs_ring_mask failed = {
	    {ack->rings.bits[0] & d->cmd.rings.bits[0], ack->rings.bits[1] & d->cmd.rings.bits[1]}};

	ds_mask_remove(&d->cmd.rings, &failed);
	d->running.bits[0] |= d->cmd.rings.bits[0];
	d->running.bits[1] |= d->cmd.rings.bits[1];
	ds_rings_broken(d, &failed, false);
	if (ack->result < 0)
		d->result = ack->result;
}

/* A STOP has been answered, after a deadline by the ABANDON that followed it: in both cases nothing of it
 * runs any more. */
static void ds_stopped(struct sfs_door_device *d, const struct sfs_link_ack *ack)
{
	if (ack->op == SFS_LINK_ABANDON)
		ds_rings_broken(d, &ack->rings, true);
	for (unsigned i = 0; i < d->ring_count; i++) {
		if (!sfs_ring_mask_test(&d->cmd.rings, i))
			continue;
		sfs_ring_mask_set(&d->moved, i);
		if (ack->op != SFS_LINK_STOP || !sfs_ring_mask_test(&ack->rings, i))
			continue; /* nobody knows where it is left */
		d->rings[i].left = ack->last_avail[i];
		sfs_ring_mask_clear(&d->moved, i);
	}
	ds_mask_remove(&d->running, &d->cmd.rings);
}

static void ds_acked(struct sfs_door_device *d, const struct sfs_link_ack *ack)
{
	uint32_t op = d->cmd.op;

	/* The STOP that was given up on is answered before its ABANDON, which says how it ended. */
	if (d->abandoning && ack->op == SFS_LINK_STOP)
		return;
	if (ack->op != (d->abandoning ? SFS_LINK_ABANDON : op))
		return;
	if (d->failed)
		SFS_INFO("%s: the engine answers again", d->name);
	d->deadline_ns = 0;
	d->failed = d->abandoning = false;
	if (op == SFS_LINK_START)
		ds_started(d, ack);
	else if (op == SFS_LINK_STOP)
		ds_stopped(d, ack);
	else if (op == SFS_LINK_MAP)
		d->mapped = ack->result == 0;
	d->cmd.op = 0;
	if (op == SFS_LINK_MAP && ack->result < 0) {
		SFS_ERROR("%s: guest memory cannot be mapped: %s", d->name, strerror(-ack->result));
		d->result = ack->result;
	}
	if (op == SFS_LINK_DETACH)
		ds_finish(d);
	else if (d->ending)
		ds_end_step(d);
	else if (op == SFS_LINK_ATTACH)
		ds_attached(d, ack->result);
	else
		dm_run(d);
}

void ds_link_event(struct sfs_door_device *d)
{
	struct sfs_ring_mask broken;
	struct sfs_link_ack ack;

	sfs_link_door_clear(d->opts.link);
	while (sfs_link_receive(d->opts.link, &ack) > 0)
		ds_acked(d, &ack);
	broken = sfs_link_broken_take(d->opts.link);
	if (d->step != DD_IDLE)
		ds_rings_broken(d, &broken, false);
	ds_state_update(d);
}

/* --- deadlines --- */

void ds_deadline(struct sfs_door_device *d)
{
	struct sfs_link_cmd abandon = {.op = SFS_LINK_ABANDON, .session = d->session, .rings = d->cmd.rings};

	d->deadline_ns = 0;
	if (d->step == DD_IDLE) {
		ds_listen(d);
	} else if (d->step == DD_READ && !d->ending) {
		SFS_WARN("%s: the VMM has set no memory: %s", d->name, DW_NOT_SHARED);
		d->hinted = true;
	} else if (d->step == DD_ASK && !d->ending) {
		dm_asked(d, "guest memory in a file whose server does not answer");
	} else if (d->waits_reply) {
		SFS_ERROR("%s: rte_vhost has not answered within %u ms; ending the session", d->name,
			  d->opts.stop_timeout_ms);
		ds_end(d);
	} else if (d->cmd.op == SFS_LINK_STOP && !d->abandoning) {
		SFS_ERROR(
		    "%s: queues did not stop within %u ms; the device is broken until the guest's VMM leaves",
		    d->name, d->opts.stop_timeout_ms);
		if (!d->quarantined)
			d->figures.quarantined++;
		d->quarantined = d->abandoning = true;
		ds_deadline_set(d);
		int rc = sfs_link_send(d->opts.link, &abandon);

		assert(rc == 0);
	} else {
		SFS_ERROR("%s: the engine has not answered within %u ms; nobody is served until it does",
			  d->name, d->opts.stop_timeout_ms);
		d->failed = true;
		ds_end(d);
	}
	ds_state_update(d);
}

/* --- what the connections say --- */

void ds_private_event(struct sfs_door_device *d)
{
	int rc;

	if (d->step == DD_IDLE || d->ending || d->private.fd < 0)
		return;
	if (!d->waits_reply) {
		SFS_ERROR("%s: rte_vhost ended the connection", d->name);
		ds_end(d);
		return;
	}
	rc = dw_receive(d->private.fd, &d->reply);
	if (rc == 0)
		return;
	if (rc < 0) {
		SFS_ERROR("%s: rte_vhost closed the connection at message %u", d->name, d->msg.hdr.request);
		ds_end(d);
	} else {
		d->waits_reply = false;
		d->deadline_ns = 0;
		dm_reply(d);
		d->reply.got = 0;
	}
	ds_state_update(d);
}

void ds_vmm_event(struct sfs_door_device *d)
{
	int rc;

	if (d->step != DD_READ || d->ending)
		return;
	if (da_full(d->aside)) {
		SFS_WARN("%s: descriptors that the VMM sent do not close; hanging up", d->name);
		ds_end(d);
		ds_state_update(d);
		return;
	}
	rc = dw_receive(d->vmm.fd, &d->msg);
	if (rc == 0) {
		rc = dd_watch(&d->vmm, EPOLL_CTL_MOD, EPOLLIN | EPOLLONESHOT);
	} else if (rc > 0) {
		dm_begin(d);
		rc = 0;
	} else if (rc == -EMSGSIZE) {
		SFS_WARN("%s: message %u announces %u bytes; hanging up", d->name, d->msg.hdr.request,
			 d->msg.hdr.size);
	}
	if (rc < 0)
		ds_end(d);
	ds_state_update(d);
}

void ds_aside_event(struct sfs_door_device *d)
{
	const char *why;

	if (da_answer(d->aside, &why) && d->step == DD_ASK && !d->ending) {
		dm_asked(d, why);
		ds_state_update(d);
	}
}

/* --- the beginning --- */

static int ds_begin(struct sfs_door_device *d)
{
	char path[SFS_LINK_PATH_MAX];
	int rc;

	d->session++;
	rc = sfs_link_path(d->opts.link, d->session, path);
	if (rc < 0)
		return rc;
	d->private.fd = dl_listen(path, 2);
	if (d->private.fd < 0)
		return d->private.fd;
	return dd_watch(&d->vmm, EPOLL_CTL_ADD, EPOLLONESHOT);
}

static void ds_accept_failed(struct sfs_door_device *d, int err)
{
	if (err == EAGAIN || err == EINTR || err == ECONNABORTED) {
		ds_listen(d);
		return;
	}
	/* The VMM stays in the queue, so the listener would be ready again at once. */
	if (!d->accept_failed)
		SFS_WARN("%s: accept: %s; trying again every %u ms", d->name, strerror(err), DS_ACCEPT_MS);
	d->accept_failed = true;
	d->deadline_ns = sfs_now_ns() + DS_ACCEPT_MS * SFS_NS_PER_MS;
}

void ds_accept(struct sfs_door_device *d)
{
	int fd, rc;

	if (d->step != DD_IDLE || d->listener.fd < 0 || d->door->stopping)
		return;
	fd = accept4(d->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		ds_accept_failed(d, errno);
		return;
	}
	d->accept_failed = false;
	d->vmm.fd = fd;
	rc = ds_begin(d);
	if (rc < 0) {
		SFS_ERROR("%s: cannot begin a session: %s", d->name, strerror(-rc));
		dd_source_close(&d->vmm);
		dd_source_close(&d->private);
		ds_listen(d);
		return;
	}
	d->figures.sessions++;
	d->step = DD_ATTACH;
	ds_command(d, SFS_LINK_ATTACH, ds_none, 0);
	ds_state_update(d);
}
