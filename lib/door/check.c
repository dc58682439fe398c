/* SPDX-License-Identifier: BSD-3-Clause */
/* What of a message can be judged by itself and by what came before it. Nothing here changes the device. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "door_int.h"

static int dc_refuse(const char **why, const char *text)
{
	*why = text;
	return -EINVAL;
}

static int dc_index(const struct sfs_door_device *d, uint64_t index, const char **why)
{
	return index < d->ring_count ? 0 : dc_refuse(why, "no such ring");
}

static int dc_features(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	return msg->payload.u64 & ~SFS_LINK_FEATURES ? dc_refuse(why, "features that were not offered") : 0;
}

static int dc_proto_features(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	return msg->payload.u64 & ~d->proto_features
		   ? dc_refuse(why, "protocol features that were not offered")
		   : 0;
}

static int dc_mem_table(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	uint32_t count = msg->payload.mem.count;

	if (count > DW_REGIONS_MAX)
		return dc_refuse(
		    why, "more than 8 memory regions; start the guest with fewer DIMMs or memory devices");
	if (count == 0 || (msg->fd_count == 0 && !msg->fds_lost))
		return dc_refuse(why, DW_NOT_SHARED);
	if (msg->fds_lost || msg->fd_count != count)
		return dc_refuse(why, "not one descriptor for each region");
	if (msg->hdr.size < offsetof(union dw_payload, mem.regions) + count * sizeof(struct dw_region))
		return dc_refuse(why, "shorter than its regions");
	for (uint32_t i = 0; i < count; i++) {
		const struct dw_region *r = &msg->payload.mem.regions[i];

		if (r->bytes == 0 || r->guest_addr + r->bytes < r->guest_addr ||
		    r->user_addr + r->bytes < r->user_addr || r->mmap_offset + r->bytes < r->mmap_offset)
			return dc_refuse(why, "a region that is empty or wraps");
	}
	return 0;
}

static int dc_vring_state(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	return dc_index(d, msg->payload.state.index, why);
}

static int dc_vring_num(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	uint32_t num = msg->payload.state.num;

	if (num < 2 || num > d->opts.ring_size_max || (num & (num - 1)))
		return dc_refuse(why,
				 "a ring size that is not a power of two from 2 to the configured size_max");
	return dc_vring_state(d, msg, why);
}

static int dc_vring_base(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	if (msg->payload.state.num > UINT16_MAX)
		return dc_refuse(why, "a ring base of more than 16 bits");
	return dc_vring_state(d, msg, why);
}

static int dc_vring_enable(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	if (msg->payload.state.num > 1)
		return dc_refuse(why, "neither 0 nor 1");
	if (!(d->features & SFS_LINK_F_PROTOCOL))
		return dc_refuse(why, "rings have no enable state unless PROTOCOL_FEATURES is negotiated");
	return dc_vring_state(d, msg, why);
}

static int dc_vring_addr(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	if (msg->payload.addr.flags)
		return dc_refuse(why, "logging was not offered");
	if (!d->mapped)
		return dc_refuse(why, "no memory table was set");
	if ((msg->payload.addr.desc & 15) || (msg->payload.addr.avail & 1) || (msg->payload.addr.used & 3))
		return dc_refuse(why, "a ring address that is not aligned");
	return dc_index(d, msg->payload.addr.index, why);
}

bool dc_is_memory(int fd)
{
	return fcntl(fd, F_GET_SEALS) >= 0;
}

bool dc_is_notifier(const struct sfs_door_device *d, int fd)
{
	char self[16], target[32];
	ssize_t len;

	snprintf(self, sizeof(self), "%d", fd);
	len = readlinkat(d->door->proc_fd, self, target, sizeof(target) - 1);
	if (len < 0)
		return false;
	target[len] = '\0';
	return strcmp(target, "anon_inode:[eventfd]") == 0 || strncmp(target, "pipe:[", 6) == 0 ||
	       strncmp(target, "socket:[", 8) == 0;
}

static int dc_vring_fd(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	bool none = msg->payload.u64 & DW_NO_FD;
	int flags;

	if (dc_index(d, msg->payload.u64 & ~(uint64_t)DW_NO_FD, why) < 0)
		return -EINVAL;
	if (msg->fds_lost || msg->fd_count != (none ? 0 : 1))
		return dc_refuse(why, none ? "a descriptor where none was announced" : "not one descriptor");
	if (none)
		return 0;
	if (!dc_is_notifier(d, msg->fds[0]))
		return dc_refuse(why, "a descriptor that is no eventfd, pipe or socket");
	/* A counter or a pipe that the VMM filled must not hold up a reactor. */
	flags = fcntl(msg->fds[0], F_GETFL);
	if (flags < 0 || fcntl(msg->fds[0], F_SETFL, flags | O_NONBLOCK) < 0)
		return dc_refuse(why, "a descriptor that cannot be made non-blocking");
	return 0;
}

static int dc_vring_kick(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	const struct dd_ring *r;

	if (dc_vring_fd(d, msg, why) < 0)
		return -EINVAL;
	r = &d->rings[msg->payload.u64 & 0xff];
	return r->num && r->addr && d->mapped ? 0
					      : dc_refuse(why, "a ring without memory, size or addresses");
}

static int dc_backend_req_fd(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	if (msg->fds_lost || msg->fd_count != 1)
		return dc_refuse(why, "not one descriptor");
	return dc_is_notifier(d, msg->fds[0]) ? 0 : dc_refuse(why, "a descriptor that is no socket or pipe");
}

static int dc_get_config(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	const struct dw_config *c = &msg->payload.config;

	if (!(d->proto_features & SFS_LINK_P_CONFIG))
		return dc_refuse(why, "CONFIG was not offered");
	if (c->size > sizeof(c->region) || msg->hdr.size != offsetof(struct dw_config, region) + c->size ||
	    c->offset > sizeof(c->region) - c->size)
		return dc_refuse(why, "outside of the configuration space");
	return 0;
}

static int dc_set_config(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	return dc_refuse(why, "the configuration space is read-only");
}

#define DC_U64    8, 8
#define DC_STATE  8, 8
#define DC_ADDR   40, 40
#define DC_CONFIG 12, 12 + 256
#define DC_MEM    8, DW_PAYLOAD_MAX /* larger than its regions from UML */

static const struct dm_spec dc_specs[DW_REQUESTS] = {
    [DW_GET_FEATURES] = {"GET_FEATURES", 0, 0, .reply = true},
    [DW_SET_FEATURES] = {"SET_FEATURES", DC_U64, .stop_all = true, .check = dc_features},
    [DW_SET_OWNER] = {"SET_OWNER", 0, 0, .check = NULL},
    [DW_RESET_OWNER] = {"RESET_OWNER", 0, 0, .stop_all = true, .unmap = true},
    [DW_SET_MEM_TABLE] = {"SET_MEM_TABLE", DC_MEM, .stop_all = true, .unmap = true, .check = dc_mem_table},
    [DW_SET_VRING_NUM] = {"SET_VRING_NUM", DC_STATE, .stop_ring = true, .check = dc_vring_num},
    [DW_SET_VRING_ADDR] = {"SET_VRING_ADDR", DC_ADDR, .stop_ring = true, .check = dc_vring_addr},
    [DW_SET_VRING_BASE] = {"SET_VRING_BASE", DC_STATE, .stop_ring = true, .check = dc_vring_base},
    [DW_GET_VRING_BASE] = {"GET_VRING_BASE", DC_STATE, .reply = true, .stop_ring = true,
			   .check = dc_vring_state},
    [DW_SET_VRING_KICK] = {"SET_VRING_KICK", DC_U64, .stop_ring = true, .check = dc_vring_kick},
    [DW_SET_VRING_CALL] = {"SET_VRING_CALL", DC_U64, .stop_ring = true, .check = dc_vring_fd},
    [DW_SET_VRING_ERR] = {"SET_VRING_ERR", DC_U64, .check = dc_vring_fd},
    [DW_GET_PROTOCOL_FEATURES] = {"GET_PROTOCOL_FEATURES", 0, 0, .reply = true},
    [DW_SET_PROTOCOL_FEATURES] = {"SET_PROTOCOL_FEATURES", DC_U64, .check = dc_proto_features},
    [DW_GET_QUEUE_NUM] = {"GET_QUEUE_NUM", 0, 0, .reply = true, .local = true},
    [DW_SET_VRING_ENABLE] = {"SET_VRING_ENABLE", DC_STATE, .stop_ring = true, .check = dc_vring_enable},
    [DW_SET_BACKEND_REQ_FD] = {"SET_BACKEND_REQ_FD", 0, 8, .local = true, .check = dc_backend_req_fd},
    [DW_GET_CONFIG] = {"GET_CONFIG", DC_CONFIG, .reply = true, .local = true, .check = dc_get_config},
    [DW_SET_CONFIG] = {"SET_CONFIG", DC_CONFIG, .local = true, .check = dc_set_config},
};

const struct dm_spec *dc_spec(uint32_t request)
{
	return request < DW_REQUESTS && dc_specs[request].name ? &dc_specs[request] : NULL;
}

/* The requests whose checks count descriptors themselves. */
static bool dc_takes_fds(uint32_t request)
{
	switch (request) {
	case DW_SET_MEM_TABLE:
	case DW_SET_VRING_KICK:
	case DW_SET_VRING_CALL:
	case DW_SET_VRING_ERR:
	case DW_SET_BACKEND_REQ_FD:
		return true;
	default:
		return false;
	}
}

int dc_check(struct sfs_door_device *d, struct dw_msg *msg, const char **why)
{
	const struct dm_spec *spec = dc_spec(msg->hdr.request);

	if (!spec)
		return dc_refuse(why, "not spoken here");
	if ((msg->hdr.flags & DW_VERSION_MASK) != DW_VERSION || (msg->hdr.flags & DW_REPLY))
		return dc_refuse(why, "bad flags");
	if (msg->hdr.size < spec->size_min || msg->hdr.size > spec->size_max)
		return dc_refuse(why, "bad payload size");
	if (!dc_takes_fds(msg->hdr.request) && (msg->fd_count || msg->fds_lost))
		return dc_refuse(why, "descriptors that do not belong to it");
	return spec->check ? spec->check(d, msg, why) : 0;
}

unsigned dc_ring(const struct dw_msg *msg)
{
	switch (msg->hdr.request) {
	case DW_SET_VRING_KICK:
	case DW_SET_VRING_CALL:
		return msg->payload.u64 & 0xff;
	default: /* state and addr both begin with the index */
		return msg->payload.state.index;
	}
}
