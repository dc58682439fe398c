/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A door with scripted surroundings, turned by hand in one thread: the VMM's end of the socket, an engine's
 * end of the link, and a stand-in for rte_vhost on the private socket. What the engine and the stand-in see
 * goes to one log, so that a test reads the order of things.
 */
#ifndef DOOR_RIG_H
#define DOOR_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sfs_door.h"

#define RIG_QUEUES   4 /* hiprio and three */
#define RIG_SIZE_MAX 1024
#define RIG_TIMEOUT  10000 /* ms; what a condition may take before the test fails */

struct rig_dev {
	char path[108];
	struct sfs_link *link;
	struct sfs_door_device *dev;
	struct sfs_door_device_opts opts;
	int be, vmm;
	char log[4096];
	char states[256]; /* first letters, as on_state told them */
	unsigned disconnects;
	/* script */
	bool hold_stop, hold_all, be_nack, be_close, be_garbage, start_fails, map_fails, attach_fails;
	uint64_t be_features;
	uint16_t base;              /* that GET_VRING_BASE finds, and where each ring stops */
	struct sfs_ring_mask moved; /* as the last START said */
	/* the engine's unanswered commands */
	struct sfs_link_cmd held[SFS_LINK_DEPTH];
	unsigned held_count;
	int mem_fd; /* guest memory of the set-ups; -1: a new file each time */
};

struct rig {
	char dir[64];
	struct sfs_door *door;
	struct rig_dev dev[2];
	unsigned count;
	bool real; /* the ends are real ones, in threads of their own: only the door is turned */
};

struct rig_msg {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		uint32_t u32[2];
		uint8_t bytes[4096];
	} p;
} __attribute__((packed)); /* as on the wire */

#define RIG_NEED_REPLY 8u

/** Memory regions as on the wire, room for more of them than there may be. */
struct rig_table {
	uint32_t count, padding;
	uint64_t regions[16][4];
};

extern const struct rig_table rig_one_region; /* all of a rig_memfd() */

#define U32S(...) ((const uint32_t[]){__VA_ARGS__})
#define U64S(...) ((const uint64_t[]){__VA_ARGS__})

void rig_init(struct rig *r, unsigned devices);
void rig_fini(struct rig *r);
/** One turn of door, engines and stand-ins. */
void rig_turn(struct rig *r);
/** Turns until @state is told; fails the test after RIG_TIMEOUT. */
void rig_await(struct rig *r, struct rig_dev *d, enum sfs_door_state state);
void rig_answer_held(struct rig_dev *d);

int rig_connect(struct rig_dev *d);
/** A session: connected and the private side attached. */
void rig_begin(struct rig *r, struct rig_dev *d);
void rig_hangup(struct rig *r, struct rig_dev *d);
void rig_send_raw(struct rig_dev *d, const void *buf, size_t len, const int *fds, unsigned fd_count);
void rig_send(struct rig_dev *d, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
	      const int *fds, unsigned fd_count);
/** Turns until a reply is there: 1; or the door has hung up: 0. */
int rig_reply(struct rig *r, struct rig_dev *d, struct rig_msg *msg);
/** Sends with NEED_REPLY; the acknowledgement's value. */
uint64_t rig_ask(struct rig *r, struct rig_dev *d, uint32_t request, const void *payload, uint32_t size,
		 const int *fds, unsigned fd_count);
/** Sends without; turns until the door waits for the next message. */
void rig_tell(struct rig *r, struct rig_dev *d, uint32_t request, const void *payload, uint32_t size,
	      const int *fds, unsigned fd_count);

unsigned rig_fd_count(void);
/** A memory file of 2 MiB, which a set-up maps as one region at guest address 0 and the VMM's 0x7f0000000000.
 */
int rig_memfd(void);

/* QEMU's and User-Mode Linux's way to set up @rings rings, to the point where all run. */
void rig_setup_qemu(struct rig *r, struct rig_dev *d, unsigned rings);
void rig_setup_uml(struct rig *r, struct rig_dev *d, unsigned rings);
void rig_mem_table(struct rig *r, struct rig_dev *d, uint32_t flags, unsigned payload_regions);
void rig_state(struct rig *r, struct rig_dev *d, uint32_t request, uint32_t index, uint32_t num);
void rig_ring_fd(struct rig *r, struct rig_dev *d, uint32_t request, uint32_t index);
void rig_addr(struct rig *r, struct rig_dev *d, uint32_t index);

#endif
