/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "door_rig.h"
#include "sfs_base.h"

/* --- negotiation and what the door answers by itself --- */

static void test_negotiation(void **state)
{
	struct rig r;
	struct rig_msg m;
	struct rig_dev *d = &r.dev[0];

	rig_init(&r, 1);
	rig_begin(&r, d);
	rig_send(d, 1, 0, NULL, 0, NULL, 0);
	assert_int_equal(rig_reply(&r, d, &m), 1);
	assert_int_equal(m.p.u64, SFS_LINK_FEATURES);
	rig_send(d, 15, 0, NULL, 0, NULL, 0);
	assert_int_equal(rig_reply(&r, d, &m), 1);
	assert_int_equal(m.p.u64, 1 << 0 | 1 << 3 | 1 << 5 | 1 << 9);
	rig_send(d, 17, 0, NULL, 0, NULL, 0);
	assert_int_equal(rig_reply(&r, d, &m), 1);
	assert_int_equal(m.size, 8);
	assert_int_equal(m.p.u64, RIG_QUEUES);
	assert_string_equal(d->log, "1 15 ");
	rig_hangup(&r, d);
	rig_fini(&r);
}

static void test_config(void **state)
{
	struct rig r;
	struct rig_msg m;
	struct rig_dev *d = &r.dev[0];
	uint32_t req[3 + 64] = {0};

	rig_init(&r, 1);
	rig_begin(&r, d);
	/* As User-Mode Linux reads it: offset 0, one byte more each time. */
	for (uint32_t size = 1; size <= 40; size++) {
		req[1] = size;
		rig_send(d, 24, 0, req, 12 + size, NULL, 0);
		assert_int_equal(rig_reply(&r, d, &m), 1);
		assert_int_equal(m.size, 12 + size);
		assert_int_equal(m.p.u32[1], size);
		assert_int_equal(m.p.bytes[12 + size - 1], size);
	}
	req[0] = 250;
	req[1] = 4;
	rig_send(d, 24, 0, req, 16, NULL, 0);
	assert_int_equal(rig_reply(&r, d, &m), 1);
	assert_int_equal(m.p.bytes[12], 251);
	/* Beyond the space: hung up, the request has no other way to fail. */
	req[0] = 253;
	rig_send(d, 24, 0, req, 16, NULL, 0);
	assert_int_equal(rig_reply(&r, d, &m), 0);
	rig_hangup(&r, d);
	assert_string_equal(d->log, "detach ");
	rig_fini(&r);
}

static void test_no_tag(void **state)
{
	struct rig r;
	struct rig_msg m;
	struct rig_dev *d = &r.dev[0], *e = &r.dev[1];
	uint32_t req[4] = {0, 4, 0, 0};
	uint64_t bit = 1 << 9;

	rig_init(&r, 1);
	snprintf(e->path, sizeof(e->path), "%s/untagged", r.dir);
	e->be = e->vmm = e->mem_fd = -1;
	e->be_features = UINT64_MAX;
	assert_int_equal(sfs_link_create(7, RIG_QUEUES, &e->link), 0);
	e->opts = d->opts;
	e->opts.name = "untagged";
	e->opts.link = e->link;
	e->opts.socket_path = e->path;
	e->opts.config_read = NULL;
	e->opts.ctx = e;
	assert_int_equal(sfs_door_add(r.door, &e->opts, &e->dev), 0);
	r.count = 2;
	rig_begin(&r, e);
	rig_send(e, 15, 0, NULL, 0, NULL, 0);
	assert_int_equal(rig_reply(&r, e, &m), 1);
	assert_int_equal(m.p.u64, 1 << 0 | 1 << 3 | 1 << 5);
	assert_int_not_equal(rig_ask(&r, e, 16, &bit, 8, NULL, 0), 0);
	rig_send(e, 24, 0, req, 16, NULL, 0);
	assert_int_equal(rig_reply(&r, e, &m), 0);
	rig_hangup(&r, e);
	rig_fini(&r);
}

/* --- what is refused --- */

static const struct rig_table nine_regions = {.count = 9,
					      .regions = {{0, 4096, 0x1000, 0},
							  {1 << 20, 4096, 0x1000, 0},
							  {2 << 20, 4096, 0x1000, 0},
							  {3 << 20, 4096, 0x1000, 0},
							  {4 << 20, 4096, 0x1000, 0},
							  {5 << 20, 4096, 0x1000, 0},
							  {6 << 20, 4096, 0x1000, 0},
							  {7 << 20, 4096, 0x1000, 0},
							  {8 << 20, 4096, 0x1000, 0}}};
static const struct rig_table empty_region = {.count = 1, .regions = {{0, 0, 0x1000, 0}}};
static const struct rig_table wrapping_guest = {.count = 1,
						.regions = {{UINT64_MAX - 4095, 8192, 0x1000, 0}}};
static const struct rig_table wrapping_file = {.count = 1, .regions = {{0, 8192, 0x1000, UINT64_MAX - 4095}}};
static const struct rig_table no_region = {.count = 0};

struct ring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};

struct hostile {
	const char *what;
	uint32_t request;
	uint32_t size;
	unsigned fds; /* 100 + n: n regular files */
	const void *payload;
	uint32_t flags; /* besides version 1 */
};

static const struct hostile hostiles[] = {
    {"unknown id 0", 0, 0, 0, NULL, 0},
    {"unknown id 6, SET_LOG_BASE", 6, 16, 1, U64S(4096, 0), 0},
    {"unknown id 7, SET_LOG_FD", 7, 0, 1, NULL, 0},
    {"unknown id 22, IOTLB", 22, 32, 0, U64S(0, 0, 0, 0), 0},
    {"unknown id 28, POSTCOPY_ADVISE", 28, 0, 0, NULL, 0},
    {"unknown id 31, GET_INFLIGHT_FD", 31, 24, 0, U64S(0, 0, 0x0080000100000000), 0},
    {"unknown id 32, SET_INFLIGHT_FD", 32, 24, 1, U64S(4096, 0, 0x0080ffff), 0},
    {"unknown id 34, RESET_DEVICE", 34, 0, 0, NULL, 0},
    {"unknown id 36, GET_MAX_MEM_SLOTS", 36, 0, 0, NULL, 0},
    {"unknown id 37, ADD_MEM_REG", 37, 40, 1, U64S(0, 0, 4096, 0x1000, 0), 0},
    {"unknown id 39, SET_STATUS", 39, 8, 0, U64S(15), 0},
    {"unknown id 42, SET_DEVICE_STATE_FD", 42, 8, 1, U64S(0), 0},
    {"unknown id, largest", UINT32_MAX, 0, 0, NULL, 0},
    {"reply bit", 3, 0, 0, NULL, 4},
    {"version 2", 3, 0, 0, NULL, 3}, /* 1 | 3 == 3 */
    {"SET_OWNER with payload", 3, 8, 0, U64S(0), 0},
    {"SET_OWNER with a descriptor", 3, 0, 1, NULL, 0},
    {"SET_FEATURES too short", 2, 4, 0, U32S(0), 0},
    {"SET_FEATURES too long", 2, 16, 0, U64S(0, 0), 0},
    {"SET_FEATURES, LOG_ALL", 2, 8, 0, U64S(1 << 26), 0},
    {"SET_FEATURES, packed ring", 2, 8, 0, U64S(1ull << 34), 0},
    {"SET_FEATURES, device bit 0", 2, 8, 0, U64S(1), 0},
    {"SET_FEATURES with a descriptor", 2, 8, 1, U64S(0), 0},
    {"SET_PROTOCOL_FEATURES, INFLIGHT", 16, 8, 0, U64S(1 << 12), 0},
    {"SET_PROTOCOL_FEATURES, LOG_SHMFD", 16, 8, 0, U64S(1 << 1), 0},
    {"SET_PROTOCOL_FEATURES, CONFIGURE_MEM_SLOTS", 16, 8, 0, U64S(1 << 15), 0},
    {"SET_MEM_TABLE of 9 regions", 5, 8 + 9 * 32, 8, &nine_regions, 0},
    {"SET_MEM_TABLE of 9 regions, 9 descriptors", 5, 8 + 9 * 32, 9, &nine_regions, 0},
    {"SET_MEM_TABLE without descriptor", 5, 40, 0, &rig_one_region, 0},
    {"SET_MEM_TABLE with two for one", 5, 40, 2, &rig_one_region, 0},
    {"SET_MEM_TABLE with 40 for one", 5, 40, 40, &rig_one_region, 0},
    {"SET_MEM_TABLE of none", 5, 8, 0, &no_region, 0},
    {"SET_MEM_TABLE, shorter than its regions", 5, 32, 1, &rig_one_region, 0},
    {"SET_MEM_TABLE, size 4", 5, 4, 1, &rig_one_region, 0},
    {"SET_MEM_TABLE, empty region", 5, 40, 1, &empty_region, 0},
    {"SET_MEM_TABLE, guest addresses wrap", 5, 40, 1, &wrapping_guest, 0},
    {"SET_MEM_TABLE, file offsets wrap", 5, 40, 1, &wrapping_file, 0},
    {"SET_VRING_NUM, ring 4", 8, 8, 0, U32S(4, 128), 0},
    {"SET_VRING_NUM, ring 65", 8, 8, 0, U32S(65, 128), 0},
    {"SET_VRING_NUM, ring 255", 8, 8, 0, U32S(255, 128), 0},
    {"SET_VRING_NUM, ring 65535", 8, 8, 0, U32S(65535, 128), 0},
    {"SET_VRING_NUM, ring 2^31", 8, 8, 0, U32S(1u << 31, 128), 0},
    {"SET_VRING_NUM, size 0", 8, 8, 0, U32S(0, 0), 0},
    {"SET_VRING_NUM, size 1", 8, 8, 0, U32S(0, 1), 0},
    {"SET_VRING_NUM, size 3", 8, 8, 0, U32S(0, 3), 0},
    {"SET_VRING_NUM, size 2048", 8, 8, 0, U32S(0, 2048), 0},
    {"SET_VRING_NUM, size 65536", 8, 8, 0, U32S(0, 65536), 0},
    {"SET_VRING_NUM, short", 8, 4, 0, U32S(0), 0},
    {"SET_VRING_NUM with a descriptor", 8, 8, 1, U32S(0, 128), 0},
    {"SET_VRING_BASE, ring 4", 10, 8, 0, U32S(4, 0), 0},
    {"SET_VRING_BASE, 17 bits", 10, 8, 0, U32S(0, 65536), 0},
    {"SET_VRING_ADDR without memory", 9, 40, 0, (&(const struct ring_addr){0, 0, 0x1000, 0x2000, 0x3000, 0}),
     0},
    {"SET_VRING_ADDR, logged", 9, 40, 0, (&(const struct ring_addr){0, 1, 0x1000, 0x2000, 0x3000, 0}), 0},
    {"SET_VRING_ADDR, short", 9, 32, 0, (&(const struct ring_addr){0, 0, 0x1000, 0x2000, 0x3000, 0}), 0},
    {"SET_VRING_KICK of a ring that is not set up", 12, 8, 1, U64S(0), 0},
    {"SET_VRING_KICK, ring 255", 12, 8, 1, U64S(255), 0},
    {"SET_VRING_CALL, ring 4", 13, 8, 1, U64S(4), 0},
    {"SET_VRING_CALL, ring 255", 13, 8, 1, U64S(255), 0},
    {"SET_VRING_CALL, ring 65535", 13, 8, 1, U64S(65535), 0},
    {"SET_VRING_CALL, unknown bit", 13, 8, 1, U64S(1ull << 63), 0},
    {"SET_VRING_CALL without descriptor", 13, 8, 0, U64S(0), 0},
    {"SET_VRING_CALL with two", 13, 8, 2, U64S(0), 0},
    {"SET_VRING_CALL, none announced and one sent", 13, 8, 1, U64S(256), 0},
    {"SET_VRING_CALL with a file", 13, 8, 101, U64S(0), 0},
    {"SET_VRING_ERR, ring 9", 14, 8, 1, U64S(9), 0},
    {"SET_VRING_ENABLE, ring 4", 18, 8, 0, U32S(4, 1), 0},
    {"SET_VRING_ENABLE, value 2", 18, 8, 0, U32S(0, 2), 0},
    {"SET_VRING_ENABLE before PROTOCOL_FEATURES", 18, 8, 0, U32S(0, 1), 0},
    {"SET_BACKEND_REQ_FD without descriptor", 21, 0, 0, NULL, 0},
    {"SET_BACKEND_REQ_FD with two", 21, 0, 2, NULL, 0},
    {"SET_BACKEND_REQ_FD with a file", 21, 0, 101, NULL, 0},
    {"SET_CONFIG", 25, 16, 0, U32S(0, 4, 0, 0), 0},
};

static unsigned hostile_fds(const struct hostile *h, int *fds)
{
	unsigned count = h->fds % 100;

	for (unsigned i = 0; i < count; i++)
		fds[i] = h->request == 5 || h->fds >= 100 ? rig_memfd() : eventfd(0, EFD_CLOEXEC);
	return count;
}

static void hostile_one(struct rig *r, struct rig_dev *d, const struct hostile *h, uint32_t flags)
{
	unsigned before, count;
	struct rig_msg m;
	int fds[64];

	rig_begin(r, d);
	before = rig_fd_count();
	count = hostile_fds(h, fds);
	rig_send(d, h->request, h->flags | flags, h->payload, h->size, fds, count);
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
	if (flags) {
		if (rig_reply(r, d, &m) != 1 || m.request != h->request || m.size != 8 || m.p.u64 == 0)
			fail_msg("%s: not refused", h->what);
		/* Nothing has reached the back end, no descriptor stays, and the session goes on. */
		if (d->log[0] || rig_fd_count() != before)
			fail_msg("%s: relayed (%s), or descriptors leak", h->what, d->log);
		assert_int_equal(rig_ask(r, d, 3, NULL, 0, NULL, 0), 0);
	} else if (rig_reply(r, d, &m) != 0) {
		fail_msg("%s: not hung up", h->what);
	}
	rig_hangup(r, d);
}

static void test_hostile(void **state)
{
	struct rig r;
	unsigned before;

	rig_init(&r, 1);
	before = rig_fd_count();
	for (size_t i = 0; i < SFS_ARRAY_SIZE(hostiles); i++) {
		hostile_one(&r, &r.dev[0], &hostiles[i], RIG_NEED_REPLY);
		hostile_one(&r, &r.dev[0], &hostiles[i], 0);
	}
	assert_int_equal(rig_fd_count(), before);
	rig_fini(&r);
}

/* Requests with a reply of their own cannot be refused but by hanging up, NEED_REPLY or not. */
static const struct hostile gets[] = {
    {"GET_FEATURES with payload", 1, 8, 0, U64S(0), 0},
    {"GET_FEATURES with a descriptor", 1, 0, 1, NULL, 0},
    {"GET_PROTOCOL_FEATURES with payload", 15, 8, 0, U64S(0), 0},
    {"GET_QUEUE_NUM with payload", 17, 8, 0, U64S(0), 0},
    {"GET_VRING_BASE of ring 4", 11, 8, 0, U32S(4, 0), 0},
    {"GET_VRING_BASE of ring 65535", 11, 8, 0, U32S(65535, 0), 0},
    {"GET_VRING_BASE, short", 11, 4, 0, U32S(0), 0},
    {"GET_CONFIG, size beyond the message", 24, 16, 0, U32S(0, 200, 0, 0), 0},
    {"GET_CONFIG, size 257", 24, 16, 0, U32S(0, 257, 0, 0), 0},
    {"GET_CONFIG, offset 2^32 - 1", 24, 16, 0, U32S(UINT32_MAX, 4, 0, 0), 0},
    {"GET_CONFIG, short", 24, 8, 0, U32S(0, 4), 0},
};

static void test_hostile_gets(void **state)
{
	struct rig_msg m;
	struct rig r;

	rig_init(&r, 1);
	for (size_t i = 0; i < 2 * SFS_ARRAY_SIZE(gets); i++) {
		const struct hostile *h = &gets[i / 2];
		int fds[64];

		rig_begin(&r, &r.dev[0]);
		unsigned count = hostile_fds(h, fds);

		rig_send(&r.dev[0], h->request, i & 1 ? RIG_NEED_REPLY : 0, h->payload, h->size, fds, count);
		for (unsigned f = 0; f < count; f++)
			close(fds[f]);
		if (rig_reply(&r, &r.dev[0], &m) != 0)
			fail_msg("%s: answered", h->what);
		rig_hangup(&r, &r.dev[0]);
	}
	rig_fini(&r);
}

/* Addresses are looked at once there is memory. */
static void test_bad_addresses(void **state)
{
	static const struct ring_addr addrs[] = {
	    {0, 0, 0x1008, 0x2000, 0x3000, 0},   {0, 0, 0x1000, 0x2002, 0x3000, 0},
	    {0, 0, 0x1000, 0x2000, 0x3001, 0},   {0, 1, 0x1000, 0x2000, 0x3000, 0},
	    {4, 0, 0x1000, 0x2000, 0x3000, 0},   {65, 0, 0x1000, 0x2000, 0x3000, 0},
	    {255, 0, 0x1000, 0x2000, 0x3000, 0}, {UINT32_MAX, 0, 0x1000, 0x2000, 0x3000, 0},
	};
	struct rig r;
	struct rig_dev *d = &r.dev[0];

	rig_init(&r, 1);
	rig_begin(&r, d);
	rig_mem_table(&r, d, RIG_NEED_REPLY, 1);
	d->log[0] = '\0';
	for (size_t i = 0; i < SFS_ARRAY_SIZE(addrs); i++)
		assert_int_not_equal(rig_ask(&r, d, 9, &addrs[i], sizeof(addrs[i]), NULL, 0), 0);
	assert_string_equal(d->log, "");
	/* Size and addresses, each alone, do not make a ring that can be kicked. */
	rig_addr(&r, d, 0);
	rig_state(&r, d, 8, 1, 128);
	assert_int_not_equal(rig_ask(&r, d, 12, U64S(0 | 256), 8, NULL, 0), 0);
	assert_int_not_equal(rig_ask(&r, d, 12, U64S(1 | 256), 8, NULL, 0), 0);
	assert_string_equal(d->log, "9 8 ");
	rig_hangup(&r, d);
	rig_fini(&r);
}

static void test_huge_payload(void **state)
{
	uint32_t hdr[3] = {5, 1 | RIG_NEED_REPLY, 4097};
	struct rig_msg m;
	struct rig r;

	rig_init(&r, 1);
	rig_begin(&r, &r.dev[0]);
	rig_send_raw(&r.dev[0], hdr, sizeof(hdr), NULL, 0);
	assert_int_equal(rig_reply(&r, &r.dev[0], &m), 0);
	rig_hangup(&r, &r.dev[0]);
	rig_fini(&r);
}

/* A message that stops half way, at each byte, stalls nobody else. */
static void test_stall(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0], *e = &r.dev[1];
	unsigned before;
	struct {
		uint32_t hdr[3];
		uint32_t payload[2];
	} msg = {{8, 1 | RIG_NEED_REPLY, 8}, {0, 128}};
	struct rig_msg m;

	rig_init(&r, 2);
	before = rig_fd_count();
	for (size_t cut = 1; cut < sizeof(msg); cut++) {
		int fd = eventfd(0, EFD_CLOEXEC);

		rig_begin(&r, d);
		rig_send_raw(d, &msg, cut, &fd, 1);
		close(fd);
		for (int i = 0; i < 5; i++)
			rig_turn(&r);
		rig_begin(&r, e);
		rig_setup_qemu(&r, e, RIG_QUEUES);
		assert_int_equal(sfs_door_device_state(e->dev), SFS_DOOR_RUNNING);
		rig_hangup(&r, e);
		if (cut % 2) {
			/* The rest comes after all: refused, for the descriptor that does not belong to it.
			 */
			rig_send_raw(d, (char *)&msg + cut, sizeof(msg) - cut, NULL, 0);
			assert_int_equal(rig_reply(&r, d, &m), 1);
			assert_int_not_equal(m.p.u64, 0);
		}
		rig_hangup(&r, d);
	}
	assert_int_equal(rig_fd_count(), before);
	rig_fini(&r);
}

/* --- set-up, and stopping around messages --- */

static void test_setup_qemu(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0];

	rig_init(&r, 1);
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, 2);
	assert_string_equal(d->log, "1 15 16 3 2 13/1 13/1 13/1 13/1 5/1 map "
				    "8 10 9 12/1 8 10 9 12/1 18 start:1 18 start:2 "
				    "stop:1 13/1 start:1 stop:2 13/1 start:2 ");
	assert_int_equal(sfs_door_device_state(d->dev), SFS_DOOR_RUNNING);
	d->log[0] = '\0';
	rig_hangup(&r, d);
	assert_string_equal(d->log, "stop:3+unmap detach ");
	assert_int_equal(d->disconnects, 1);
	rig_fini(&r);
}

static void test_setup_uml(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0];

	rig_init(&r, 1);
	rig_begin(&r, d);
	rig_setup_uml(&r, d, 3);
	assert_string_equal(d->log, "1 15 16 3 2 5/1 map "
				    "13/1 8 10 9 13/1 8 10 9 13/1 8 10 9 "
				    "12/1 18 start:1 12/1 18 start:2 12/1 18 start:4 ");
	d->log[0] = '\0';
	/* It never asks for the base. */
	for (unsigned i = 0; i < 3; i++)
		rig_state(&r, d, 18, i, 0);
	assert_string_equal(d->log, "stop:1 18 stop:2 18 stop:4 18 ");
	assert_int_equal(sfs_door_device_state(d->dev), SFS_DOOR_CONNECTED);
	rig_hangup(&r, d);
	rig_fini(&r);
}

static void test_get_vring_base(void **state)
{
	struct rig r;
	struct rig_msg m;
	struct rig_dev *d = &r.dev[0];

	rig_init(&r, 1);
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, 2);
	d->log[0] = '\0';
	d->base = 4711;
	rig_send(d, 11, 0, U32S(1, 0), 8, NULL, 0);
	assert_int_equal(rig_reply(&r, d, &m), 1);
	assert_int_equal(m.p.u32[0], 1);
	assert_int_equal(m.p.u32[1], 4711);
	assert_string_equal(d->log, "stop:2 11 ");
	/* Enabled but not kicked again: it stays stopped, whatever else happens. */
	rig_ring_fd(&r, d, 13, 1);
	rig_state(&r, d, 18, 1, 1);
	rig_mem_table(&r, d, RIG_NEED_REPLY, 1);
	assert_string_equal(d->log, "stop:2 11 13/1 18 stop:1+unmap 5/1 map start:1 ");
	rig_ring_fd(&r, d, 12, 1);
	assert_string_equal(d->log, "stop:2 11 13/1 18 stop:1+unmap 5/1 map start:1 12/1 start:2 ");
	rig_hangup(&r, d);
	rig_fini(&r);
}

static void test_running_messages(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	uint64_t features = SFS_LINK_FEATURES;

	rig_init(&r, 1);
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, 2);
	d->log[0] = '\0';
	rig_state(&r, d, 8, 0, 64);
	rig_state(&r, d, 10, 0, 5);
	rig_addr(&r, d, 1);
	rig_ring_fd(&r, d, 12, 1);
	assert_string_equal(d->log,
			    "stop:1 8 start:1 stop:1 10 start:1 stop:2 9 start:2 stop:2 12/1 start:2 ");
	d->log[0] = '\0';
	assert_int_equal(rig_ask(&r, d, 2, &features, 8, NULL, 0), 0);
	rig_ring_fd(&r, d, 14, 0);  /* ERR touches nothing */
	rig_state(&r, d, 18, 0, 1); /* is enabled already */
	rig_state(&r, d, 18, 0, 0);
	rig_ring_fd(&r, d, 13, 0); /* does not run now */
	assert_string_equal(d->log, "stop:3 2 start:3 14/1 18 stop:1 18 13/1 ");
	d->log[0] = '\0';
	assert_int_equal(rig_ask(&r, d, 4, NULL, 0, NULL, 0), 0);
	assert_string_equal(d->log, "stop:2+unmap 4 ");
	/* After the reset nothing is set up: neither memory nor rings. */
	assert_int_not_equal(rig_ask(&r, d, 18, U32S(1, 1), 8, NULL, 0), 0);
	assert_int_not_equal(rig_ask(&r, d, 12, U64S(1 | 256), 8, NULL, 0), 0);
	rig_hangup(&r, d);
	rig_fini(&r);
}

/* The engine is told whether a ring goes on where it was left, or the VMM has set it back. */
static void test_moved(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0];

	rig_init(&r, 1);
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, 2);
	d->base = 4711;
	rig_mem_table(&r, d, RIG_NEED_REPLY, 1);
	assert_int_equal(d->moved.bits[0], 0);
	rig_state(&r, d, 10, 1, 4711); /* stops it, too */
	assert_int_equal(d->moved.bits[0], 0);
	rig_state(&r, d, 10, 1, 0);
	assert_int_equal(d->moved.bits[0], 2);
	/* Once it has run from there, that is where it is left. */
	rig_state(&r, d, 18, 1, 0);
	d->base = 7;
	rig_state(&r, d, 18, 1, 1);
	assert_int_equal(d->moved.bits[0], 0);
	rig_state(&r, d, 18, 0, 0);
	rig_state(&r, d, 10, 0, 4711);
	rig_state(&r, d, 10, 0, 7);
	rig_state(&r, d, 18, 0, 1);
	assert_int_equal(d->moved.bits[0], 1); /* moved and back is not left alone */
	rig_hangup(&r, d);
	rig_fini(&r);
}

/* Without PROTOCOL_FEATURES a ring runs when it is kicked. */
static void test_no_protocol_features(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	uint64_t features = 1ull << 32;

	rig_init(&r, 1);
	rig_begin(&r, d);
	assert_int_equal(rig_ask(&r, d, 2, &features, 8, NULL, 0), 0);
	rig_mem_table(&r, d, RIG_NEED_REPLY, 1);
	rig_state(&r, d, 8, 0, 128);
	rig_addr(&r, d, 0);
	d->log[0] = '\0';
	/* Polled: no descriptor at all. */
	assert_int_equal(rig_ask(&r, d, 12, U64S(0 | 256), 8, NULL, 0), 0);
	assert_string_equal(d->log, "12 start:1 ");
	rig_hangup(&r, d);
	rig_fini(&r);
}

/* Who asked for an acknowledgement gets it, negotiated or not; who did not gets none. */
static void test_need_reply(void **state)
{
	struct rig r;
	struct rig_msg m;
	struct rig_dev *d = &r.dev[0];

	rig_init(&r, 1);
	rig_begin(&r, d);
	assert_int_equal(rig_ask(&r, d, 3, NULL, 0, NULL, 0), 0);
	rig_tell(&r, d, 3, NULL, 0, NULL, 0);
	/* With the flag on a GET there is one answer, the own one. */
	rig_send(d, 1, RIG_NEED_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(rig_reply(&r, d, &m), 1);
	assert_int_equal(m.p.u64, SFS_LINK_FEATURES);
	for (int i = 0; i < 10; i++)
		rig_turn(&r);
	assert_int_equal(recv(d->vmm, &m, sizeof(m), 0), -1);
	assert_int_equal(errno, EAGAIN);
	/* A refusal of the back end is passed on, or ends the session. */
	d->be_nack = true;
	assert_int_not_equal(rig_ask(&r, d, 8, U32S(0, 128), 8, NULL, 0), 0);
	rig_send(d, 8, 0, U32S(0, 128), 8, NULL, 0);
	assert_int_equal(rig_reply(&r, d, &m), 0);
	rig_hangup(&r, d);
	rig_fini(&r);
}

/* Messages one behind the other in one write are handled one by one. */
static void test_pipelined(void **state)
{
	struct rig r;
	struct rig_msg m;
	struct rig_dev *d = &r.dev[0];
	uint32_t msgs[] = {3, 1 | RIG_NEED_REPLY, 0, 1, 1, 0, 17, 1, 0};
	uint8_t buf[20 + 20 + 20];
	size_t got = 0;

	rig_init(&r, 1);
	rig_begin(&r, d);
	rig_send_raw(d, msgs, sizeof(msgs), NULL, 0);
	while (got < sizeof(buf)) {
		ssize_t n = recv(d->vmm, buf + got, sizeof(buf) - got, 0);

		if (n > 0)
			got += (size_t)n;
		rig_turn(&r);
	}
	for (int i = 0; i < 3; i++) {
		memcpy(&m, buf + 20 * i, 20);
		assert_int_equal(m.request, msgs[3 * i]);
	}
	rig_hangup(&r, d);
	rig_fini(&r);
}

/* The channel for our own requests stays open till the VMM has left; nothing is sent. */
static void test_backend_channel(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	int pair[2], next[2];
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, next), 0);
	rig_init(&r, 1);
	rig_begin(&r, d);
	assert_int_equal(rig_ask(&r, d, 21, NULL, 0, &pair[1], 1), 0);
	close(pair[1]);
	assert_int_equal(recv(pair[0], &c, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
	/* A second one takes its place. */
	assert_int_equal(rig_ask(&r, d, 21, NULL, 0, &next[1], 1), 0);
	close(next[1]);
	assert_int_equal(recv(pair[0], &c, 1, 0), 0);
	assert_int_equal(recv(next[0], &c, 1, 0), -1);
	assert_string_equal(d->log, "");
	rig_hangup(&r, d);
	assert_int_equal(recv(next[0], &c, 1, 0), 0);
	rig_fini(&r);
	close(pair[0]);
	close(next[0]);
}

static void test_call_fd_nonblocking(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	int fd = eventfd(0, EFD_CLOEXEC), pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	rig_init(&r, 1);
	rig_begin(&r, d);
	assert_int_equal(rig_ask(&r, d, 13, U64S(0), 8, &fd, 1), 0);
	assert_int_equal(rig_ask(&r, d, 13, U64S(1), 8, &pipes[1], 1), 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(pipes[1], F_GETFL) & O_NONBLOCK);
	assert_false(fcntl(pipes[0], F_GETFL) & O_NONBLOCK);
	rig_hangup(&r, d);
	rig_fini(&r);
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_negotiation),     cmocka_unit_test(test_config),
	    cmocka_unit_test(test_no_tag),          cmocka_unit_test(test_hostile),
	    cmocka_unit_test(test_hostile_gets),    cmocka_unit_test(test_bad_addresses),
	    cmocka_unit_test(test_huge_payload),    cmocka_unit_test(test_stall),
	    cmocka_unit_test(test_setup_qemu),      cmocka_unit_test(test_setup_uml),
	    cmocka_unit_test(test_get_vring_base),  cmocka_unit_test(test_running_messages),
	    cmocka_unit_test(test_moved),           cmocka_unit_test(test_no_protocol_features),
	    cmocka_unit_test(test_need_reply),      cmocka_unit_test(test_pipelined),
	    cmocka_unit_test(test_backend_channel), cmocka_unit_test(test_call_fd_nonblocking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
