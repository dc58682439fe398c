/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One message of the VMM from its check to its answer. dm_run() is entered again at d->step whenever what it
 * waited for has come: the queues stopped, rte_vhost's reply, the memory mapped, the queues started.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "door_int.h"

#define DM_REFUSALS_LOGGED 16 /* of one session */

static void dm_refuse(struct sfs_door_device *d, const struct dm_spec *spec, const char *why)
{
	d->figures.refused++;
	if (d->refusals++ < DM_REFUSALS_LOGGED)
		SFS_WARN("%s: refused %s (%u): %s", d->name, spec ? spec->name : "message",
			 d->msg.hdr.request, why);
	d->result = -EINVAL;
}

static bool dm_should_run(const struct sfs_door_device *d, const struct dd_ring *r)
{
	return d->mapped && r->num && r->addr && r->kicked && !r->broken && !r->dead &&
	       (r->enabled || !(d->features & SFS_LINK_F_PROTOCOL));
}

struct sfs_ring_mask dm_startable(const struct sfs_door_device *d)
{
	struct sfs_ring_mask mask = {0};

	for (unsigned i = 0; i < d->ring_count; i++)
		if (dm_should_run(d, &d->rings[i]) && !sfs_ring_mask_test(&d->running, i))
			sfs_ring_mask_set(&mask, i);
	return mask;
}

/* --- answers that rte_vhost cannot give --- */

static void dm_local(struct sfs_door_device *d)
{
	struct dw_config *c = &d->reply.payload.config;

	d->reply.hdr.size = d->msg.hdr.size;
	switch (d->msg.hdr.request) {
	case DW_GET_QUEUE_NUM:
		d->reply.payload.u64 = d->ring_count;
		d->reply.hdr.size = sizeof(d->reply.payload.u64);
		break;
	case DW_GET_CONFIG:
		*c = (struct dw_config){.offset = d->msg.payload.config.offset,
					.size = d->msg.payload.config.size};
		d->opts.config_read(d->opts.ctx, c->offset, c->region, c->size);
		break;
	case DW_SET_BACKEND_REQ_FD:
		/* Nothing is sent there yet, but it stays open: User-Mode Linux takes its closing for a
		 * broken device. */
		if (d->backend_fd >= 0)
			close(d->backend_fd);
		d->backend_fd = d->msg.fds[0];
		d->msg.fd_count = 0;
		break;
	default:
		break;
	}
}

/* --- around the relay --- */

/* Has stopped what the message touches. Whether there is something to wait for. */
static bool dm_stop(struct sfs_door_device *d, const struct dm_spec *spec)
{
	struct sfs_ring_mask mask = {0};
	unsigned idx;

	if (spec->stop_all)
		mask = d->running;
	if (spec->stop_ring) {
		bool enable = d->msg.hdr.request == DW_SET_VRING_ENABLE && d->msg.payload.state.num;

		idx = dc_ring(&d->msg);
		if (!enable && sfs_ring_mask_test(&d->running, idx))
			sfs_ring_mask_set(&mask, idx);
	}
	if (!sfs_ring_mask_any(&mask) && !(spec->unmap && d->mapped))
		return false;
	if (spec->unmap)
		d->mapped = false;
	ds_command(d, SFS_LINK_STOP, mask, spec->unmap ? SFS_LINK_UNMAP : 0);
	return true;
}

static void dm_relay(struct sfs_door_device *d, const struct dm_spec *spec)
{
	struct dw_header hdr = {.request = d->msg.hdr.request, .flags = DW_VERSION, .size = d->msg.hdr.size};
	int rc;

	/* Never on a message with a reply of its own: a refusal would read as such a reply. */
	if (!spec->reply)
		hdr.flags |= DW_NEED_REPLY;
	if (hdr.request == DW_SET_MEM_TABLE)
		hdr.size = (uint32_t)(offsetof(union dw_payload, mem.regions) +
				      d->msg.payload.mem.count * sizeof(struct dw_region));
	rc = dw_send(d->private.fd, &hdr, &d->msg.payload, d->msg.fds, d->msg.fd_count);
	if (rc < 0) {
		SFS_ERROR("%s: the private connection failed at %s: %s", d->name, spec->name, strerror(-rc));
		ds_end(d);
		return;
	}
	d->waits_reply = true;
	d->deadline_ns = sfs_now_ns() + d->opts.stop_timeout_ms * SFS_NS_PER_MS;
}

void dm_reply(struct sfs_door_device *d)
{
	const struct dm_spec *spec = dc_spec(d->msg.hdr.request);
	uint64_t *val = &d->reply.payload.u64;

	if (d->reply.hdr.request != d->msg.hdr.request || !(d->reply.hdr.flags & DW_REPLY) ||
	    d->reply.hdr.size != sizeof(*val) || d->reply.fd_count || d->reply.fds_lost) {
		SFS_ERROR("%s: rte_vhost gave a reply to %s that is none", d->name, spec->name);
		ds_end(d);
		return;
	}
	switch (d->msg.hdr.request) {
	case DW_GET_FEATURES:
		*val &= SFS_LINK_FEATURES;
		break;
	case DW_GET_PROTOCOL_FEATURES:
		*val &= d->proto_features;
		break;
	case DW_GET_VRING_BASE:
		break;
	default:
		if (*val)
			dm_refuse(d, spec, "rte_vhost does not take it");
		break;
	}
	d->step = DD_MAP;
	dm_run(d);
}

/* What an accepted message means for the rings. */
static void dm_apply(struct sfs_door_device *d)
{
	const union dw_payload *p = &d->msg.payload;

	switch (d->msg.hdr.request) {
	case DW_SET_FEATURES:
		d->features = p->u64;
		break;
	case DW_RESET_OWNER:
		d->features = 0;
		for (unsigned i = 0; i < d->ring_count; i++)
			d->rings[i] = (struct dd_ring){.dead = d->rings[i].dead};
		memset(&d->moved, 0xff, sizeof(d->moved));
		break;
	case DW_SET_VRING_NUM:
		d->rings[p->state.index].num = (uint16_t)p->state.num;
		break;
	case DW_SET_VRING_ADDR:
		d->rings[p->addr.index].addr = true;
		break;
	case DW_SET_VRING_BASE:
		if (p->state.num != d->rings[p->state.index].left)
			sfs_ring_mask_set(&d->moved, p->state.index);
		break;
	case DW_GET_VRING_BASE:
		/* How a VMM begins to reset the device: what comes next is a new ring. */
		d->rings[p->state.index].kicked = d->rings[p->state.index].broken = false;
		break;
	case DW_SET_VRING_KICK:
		d->rings[dc_ring(&d->msg)].kicked = true;
		break;
	case DW_SET_VRING_ENABLE:
		d->rings[p->state.index].enabled = p->state.num;
		break;
	default:
		break;
	}
}

static void dm_answer(struct sfs_door_device *d, const struct dm_spec *spec)
{
	struct dw_header hdr = {.request = d->msg.hdr.request, .flags = DW_VERSION | DW_REPLY};
	uint64_t nack = d->result < 0;
	bool own = spec && spec->reply && d->result == 0;
	int rc = 0;

	d->figures.messages++;
	if (own) {
		hdr.size = d->reply.hdr.size;
		rc = dw_send(d->vmm.fd, &hdr, &d->reply.payload, NULL, 0);
	} else if (!(spec && spec->reply) && (d->msg.hdr.flags & DW_NEED_REPLY)) {
		/* The VMM's own flag decides, not the negotiated bit. */
		hdr.size = sizeof(nack);
		rc = dw_send(d->vmm.fd, &hdr, &nack, NULL, 0);
	} else {
		/* A refusal that cannot be told: as any back end, hang up. */
		rc = d->result;
	}
	if (rc < 0)
		ds_end(d);
	else
		ds_read_next(d);
}

void dm_run(struct sfs_door_device *d)
{
	const struct dm_spec *spec = dc_spec(d->msg.hdr.request);
	struct sfs_ring_mask start;

	switch (d->step) {
	case DD_STOP:
		d->step = DD_RELAY;
		if (dm_stop(d, spec))
			return;
		/* fall through */
	case DD_RELAY:
		d->step = DD_REPLY;
		dm_relay(d, spec);
		return;
	case DD_MAP:
		d->step = DD_START;
		if (d->result == 0)
			dm_apply(d);
		if (d->result == 0 && d->msg.hdr.request == DW_SET_MEM_TABLE) {
			ds_command(d, SFS_LINK_MAP, (struct sfs_ring_mask){0}, 0);
			return;
		}
		/* fall through */
	case DD_START:
		d->step = DD_ANSWER;
		start = dm_startable(d);
		if (sfs_ring_mask_any(&start)) {
			ds_command(d, SFS_LINK_START, start, 0);
			return;
		}
		/* fall through */
	case DD_ANSWER:
		dm_answer(d, spec);
		return;
	default:
		assert(false);
	}
}

/* Whether the files of a memory table are to be asked for: memory is known without. */
static bool dm_asks(const struct sfs_door_device *d)
{
	if (d->msg.hdr.request != DW_SET_MEM_TABLE)
		return false;
	for (unsigned i = 0; i < d->msg.fd_count; i++)
		if (!dc_is_memory(d->msg.fds[i]))
			return true;
	return false;
}

void dm_asked(struct sfs_door_device *d, const char *why)
{
	d->deadline_ns = 0;
	d->step = DD_STOP;
	if (why) {
		dm_refuse(d, dc_spec(d->msg.hdr.request), why);
		d->step = DD_ANSWER;
	}
	dm_run(d);
}

void dm_begin(struct sfs_door_device *d)
{
	const struct dm_spec *spec = dc_spec(d->msg.hdr.request);
	const char *why = NULL;

	SFS_DEBUG("%s: %s (%u), %u bytes, %u descriptors", d->name, spec ? spec->name : "?",
		  d->msg.hdr.request, d->msg.hdr.size, d->msg.fd_count);
	d->result = 0;
	d->deadline_ns = 0;
	d->step = DD_STOP;
	if (dc_check(d, &d->msg, &why) < 0) {
		dm_refuse(d, spec, why);
		d->step = DD_ANSWER;
	} else if (spec->local) {
		dm_local(d);
		d->step = DD_ANSWER;
	} else if (dm_asks(d)) {
		d->step = DD_ASK;
		d->deadline_ns = sfs_now_ns() + d->opts.stop_timeout_ms * SFS_NS_PER_MS;
		if (da_ask(d->aside, d->msg.fds, d->msg.fd_count) < 0)
			dm_asked(d, "no thread to look at its files");
		return;
	}
	dm_run(d);
}
