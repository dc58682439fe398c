/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/frontend without a daemon: the test plays the device in the shared memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "sfs_base.h"
#include "sfs_fe_guest.h"

#define REGION_BYTES (1u << 20)

/* --- a device that answers in the order the test says --- */

struct device {
	struct sfs_fe_ring *ring;
	uint16_t avail_idx, used_idx;
};

static unsigned device_pop(struct device *d)
{
	assert_int_not_equal(d->avail_idx, __atomic_load_n(&d->ring->avail->idx, __ATOMIC_ACQUIRE));
	return d->ring->avail->ring[d->avail_idx++ & (d->ring->size - 1)];
}

/* Returns whether the driver wants an interrupt for it. */
static bool device_push(struct device *d, uint32_t id, uint32_t bytes)
{
	uint16_t from = d->used_idx++;
	struct sfs_fe_ring *r = d->ring;

	r->used->ring[from & (r->size - 1)] = (struct vring_used_elem){.id = id, .len = bytes};
	__atomic_store_n(&r->used->idx, d->used_idx, __ATOMIC_RELEASE);
	if (r->event_idx)
		return sfs_fe_ring_crossed(*sfs_fe_ring_used_event(r), d->used_idx, from);
	return !(r->avail->flags & VRING_AVAIL_F_NO_INTERRUPT);
}

static void make_ring(struct sfs_fe_mem *mem, struct sfs_fe_ring *ring, struct sfs_fe_ring_opts opts)
{
	struct sfs_fe_mem_opts mo = {.region_bytes = REGION_BYTES, .gpa_base = 0x100000};

	assert_int_equal(sfs_fe_mem_init(mem, &mo), 0);
	assert_int_equal(sfs_fe_ring_init(ring, mem, &opts), 0);
}

static void drop_ring(struct sfs_fe_mem *mem, struct sfs_fe_ring *ring)
{
	sfs_fe_ring_fini(ring);
	sfs_fe_mem_fini(mem);
}

/* --- memory --- */

static void test_mem_addresses(void **state)
{
	struct sfs_fe_mem mem;
	struct sfs_fe_mem_opts opts = {.region_count = 8,
				       .region_bytes = 3 * 4096,
				       .gpa_base = 0x69fa000,
				       .gpa_gap = 0x7000,
				       .mmap_offset = 0x11000};

	assert_int_equal(sfs_fe_mem_init(&mem, &opts), 0);
	for (unsigned i = 0; i < 8; i++) {
		struct sfs_fe_region *r = &mem.region[i];
		uint8_t byte = (uint8_t)(i + 1), seen = 0;

		assert_int_equal(r->gpa, 0x69fa000 + i * (3 * 4096 + 0x7000));
		assert_int_equal(sfs_fe_mem_gpa(&mem, r->hva + 5), r->gpa + 5);
		assert_ptr_equal(sfs_fe_mem_hva(&mem, r->gpa + 5, 10), r->hva + 5);
		assert_ptr_equal(sfs_fe_mem_hva(&mem, r->gpa, r->bytes), r->hva);
		assert_null(sfs_fe_mem_hva(&mem, r->gpa + 1, r->bytes));
		assert_null(sfs_fe_mem_hva(&mem, r->gpa - 1, 1));
		/* What we write lies at the offset that the daemon is told. */
		r->hva[7] = byte;
		assert_int_equal(pread(r->fd, &seen, 1, 0x11000 + 7), 1);
		assert_int_equal(seen, byte);
	}
	assert_true(sfs_fe_mem_gpa(&mem, &mem) == UINT64_MAX);
	sfs_fe_mem_fini(&mem);
}

static void test_mem_alloc_moves_to_the_next_region(void **state)
{
	struct sfs_fe_mem mem;
	struct sfs_fe_mem_opts opts = {.region_count = 2, .region_bytes = 8192, .gpa_base = 0x1000};

	assert_int_equal(sfs_fe_mem_init(&mem, &opts), 0);
	assert_ptr_equal(sfs_fe_mem_alloc(&mem, 10, 1), mem.region[0].hva);
	assert_ptr_equal(sfs_fe_mem_alloc(&mem, 10, 64), mem.region[0].hva + 64);
	assert_ptr_equal(sfs_fe_mem_alloc(&mem, 8192, 64), mem.region[1].hva);
	assert_null(sfs_fe_mem_alloc(&mem, 1, 1));
	sfs_fe_mem_fini(&mem);
}

static void test_mem_refuses_bad_options(void **state)
{
	struct sfs_fe_mem mem;

	assert_int_equal(sfs_fe_mem_init(&mem, &(struct sfs_fe_mem_opts){.region_bytes = 0}), -EINVAL);
	assert_int_equal(
	    sfs_fe_mem_init(&mem, &(struct sfs_fe_mem_opts){.region_bytes = 1, .region_count = 9}), -EINVAL);
	assert_int_equal(sfs_fe_mem_init(&mem, &(struct sfs_fe_mem_opts){.region_bytes = 1, .gpa_base = 1}),
			 -EINVAL);
}

/* --- ring --- */

static void test_crossed_agrees_with_counting(void **state)
{
	for (unsigned from = 65500; from < 65572; from++) {
		for (unsigned moved = 0; moved < 40; moved++) {
			for (unsigned event = 65480; event < 65600; event++) {
				bool crossed = event >= from && event < from + moved;

				assert_int_equal(sfs_fe_ring_crossed((uint16_t)event,
								     (uint16_t)(from + moved),
								     (uint16_t)from),
						 crossed);
			}
		}
	}
}

static void test_ring_refuses_bad_sizes(void **state)
{
	struct sfs_fe_mem_opts mo = {.region_bytes = REGION_BYTES};
	unsigned sizes[] = {0, 1, 3, 100, 65536};
	struct sfs_fe_mem mem;
	struct sfs_fe_ring ring;

	assert_int_equal(sfs_fe_mem_init(&mem, &mo), 0);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(sizes); i++) {
		struct sfs_fe_ring_opts opts = {.size = sizes[i]};

		assert_int_equal(sfs_fe_ring_init(&ring, &mem, &opts), -EINVAL);
	}
	sfs_fe_mem_fini(&mem);
}

static void test_ring_direct_chain(void **state)
{
	struct sfs_fe_seg segs[] = {{0x1000, 10}, {0x2000, 20}, {0x3000, 30}};
	struct sfs_fe_mem mem;
	struct sfs_fe_ring ring;
	int token;

	make_ring(&mem, &ring, (struct sfs_fe_ring_opts){.size = 4});
	assert_int_equal(sfs_fe_ring_add(&ring, segs, 2, 1, &token), 0);
	assert_int_equal(ring.avail->idx, 0); /* not shown yet */
	assert_int_equal(sfs_fe_ring_add(&ring, segs, 1, 1, &token), -ENOSPC);
	assert_int_equal(sfs_fe_ring_add(&ring, segs, 3, 2, &token), -EINVAL);
	assert_int_equal(sfs_fe_ring_add(&ring, segs, 0, 0, &token), -EINVAL);
	assert_int_equal(sfs_fe_ring_publish(&ring), 1);
	assert_int_equal(ring.avail->idx, 1);

	unsigned at = ring.avail->ring[0];
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(ring.desc[at].addr, segs[i].gpa);
		assert_int_equal(ring.desc[at].len, segs[i].bytes);
		assert_int_equal(ring.desc[at].flags,
				 (i == 2 ? VRING_DESC_F_WRITE : 0) | (i < 2 ? VRING_DESC_F_NEXT : 0));
		at = ring.desc[at].next;
	}
	drop_ring(&mem, &ring);
}

static void test_ring_indirect_chain(void **state)
{
	struct sfs_fe_seg segs[] = {{0x1000, 10}, {0x2000, 20}, {0x3000, 30}};
	struct sfs_fe_mem mem;
	struct sfs_fe_ring ring;
	int token;

	make_ring(&mem, &ring, (struct sfs_fe_ring_opts){.size = 2, .indirect_max = 3});
	assert_int_equal(sfs_fe_ring_add(&ring, segs, 1, 2, &token), 0);
	assert_int_equal(sfs_fe_ring_add(&ring, segs, 1, 0, &token), 0); /* a single one needs no table */
	assert_int_equal(sfs_fe_ring_add(&ring, segs, 1, 0, &token), -ENOSPC);
	const struct vring_desc *d = &ring.desc[ring.avail->ring[0]];
	assert_int_equal(d->flags, VRING_DESC_F_INDIRECT);
	assert_int_equal(d->len, 3 * sizeof(*d));
	const struct vring_desc *table = sfs_fe_mem_hva(&mem, d->addr, d->len);
	assert_non_null(table);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(table[i].addr, segs[i].gpa);
		assert_int_equal(table[i].flags,
				 (i ? VRING_DESC_F_WRITE : 0) | (i < 2 ? VRING_DESC_F_NEXT : 0));
		if (i < 2)
			assert_int_equal(table[i].next, i + 1);
	}
	assert_int_equal(ring.desc[ring.avail->ring[1]].flags, 0);
	assert_int_equal(ring.desc[ring.avail->ring[1]].len, 10);
	drop_ring(&mem, &ring);
}

/* Chains of changing length, given back in changing order: nothing is lost, and tokens find their way. */
static void check_many(struct sfs_fe_ring_opts opts)
{
	struct sfs_fe_seg segs[5] = {{0x1000, 1}, {0x2000, 1}, {0x3000, 1}, {0x4000, 1}, {0x5000, 1}};
	struct sfs_fe_mem mem;
	struct sfs_fe_ring ring;
	static int tokens[70000];
	unsigned next = 0, taken = 0, held = 0, waiting[3];
	void *expected[3];

	make_ring(&mem, &ring, opts);
	struct device dev = {&ring, opts.start_idx, opts.start_idx};
	while (taken < 70000) {
		while (held < 3 && next < 70000 &&
		       sfs_fe_ring_add(&ring, segs, 1 + next % 3, next % 2, &tokens[next]) == 0) {
			expected[held] = &tokens[next++];
			assert_true(sfs_fe_ring_publish(&ring) >= 0);
			waiting[held++] = device_pop(&dev);
		}
		assert_true(held > 0);
		unsigned pick = taken % held;
		uint32_t bytes;
		void *token;

		bool interrupt = device_push(&dev, waiting[pick], taken);
		assert_false(interrupt && !opts.interrupts);
		assert_int_equal(sfs_fe_ring_poll(&ring, &token, &bytes), 1);
		assert_ptr_equal(token, expected[pick]);
		assert_int_equal(bytes, taken);
		held--;
		waiting[pick] = waiting[held];
		expected[pick] = expected[held];
		taken++;
	}
	void *token;
	uint32_t bytes;
	assert_int_equal(sfs_fe_ring_poll(&ring, &token, &bytes), 0);
	assert_int_equal(ring.free_count, ring.size);
	drop_ring(&mem, &ring);
}

static void test_ring_many_direct(void **state)
{
	check_many((struct sfs_fe_ring_opts){.size = 8});
}

static void test_ring_many_event_idx_polled(void **state)
{
	check_many(
	    (struct sfs_fe_ring_opts){.size = 8, .event_idx = true, .indirect_max = 4, .start_idx = 65530});
}

static void test_ring_many_small(void **state)
{
	check_many((struct sfs_fe_ring_opts){.size = 2, .event_idx = true, .indirect_max = 4});
}

static void add_one(struct sfs_fe_ring *ring, int *token)
{
	struct sfs_fe_seg seg = {0x1000, 1};

	assert_int_equal(sfs_fe_ring_add(ring, &seg, 1, 0, token), 0);
}

static void complete_one(struct device *dev)
{
	void *token;
	uint32_t bytes;

	device_push(dev, device_pop(dev), 0);
	assert_int_equal(sfs_fe_ring_poll(dev->ring, &token, &bytes), 1);
}

static void test_kick_by_event_idx_over_the_wrap(void **state)
{
	struct sfs_fe_mem mem;
	struct sfs_fe_ring ring;
	int token;

	make_ring(&mem, &ring, (struct sfs_fe_ring_opts){.size = 4, .event_idx = true, .start_idx = 65534});
	struct device dev = {&ring, 65534, 65534};

	*sfs_fe_ring_avail_event(&ring) = 65534;
	add_one(&ring, &token);
	assert_int_equal(sfs_fe_ring_publish(&ring), 1);
	assert_int_equal(sfs_fe_ring_publish(&ring), 0); /* nothing new */
	complete_one(&dev);
	add_one(&ring, &token); /* 65535: the device did not move its wish on */
	assert_int_equal(sfs_fe_ring_publish(&ring), 0);
	complete_one(&dev);
	*sfs_fe_ring_avail_event(&ring) = 1;
	add_one(&ring, &token); /* 0 */
	assert_int_equal(sfs_fe_ring_publish(&ring), 0);
	add_one(&ring, &token); /* 1 and 2 at once */
	add_one(&ring, &token);
	assert_int_equal(sfs_fe_ring_publish(&ring), 1);
	assert_int_equal(ring.kicks, 2);

	uint64_t count;
	assert_int_equal(read(ring.kick_fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 2);
	drop_ring(&mem, &ring);
}

static void test_kick_by_flag(void **state)
{
	struct sfs_fe_mem mem;
	struct sfs_fe_ring ring;
	int token;

	make_ring(&mem, &ring, (struct sfs_fe_ring_opts){.size = 4});
	assert_int_equal(ring.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
	ring.used->flags = VRING_USED_F_NO_NOTIFY;
	add_one(&ring, &token);
	assert_int_equal(sfs_fe_ring_publish(&ring), 0);
	ring.used->flags = 0;
	add_one(&ring, &token);
	assert_int_equal(sfs_fe_ring_publish(&ring), 1);
	assert_int_equal(ring.kicks, 1);
	drop_ring(&mem, &ring);
}

static void test_interrupts(void **state)
{
	struct sfs_fe_mem mem;
	struct sfs_fe_ring ring;
	int token;
	uint64_t one = 1;

	make_ring(
	    &mem, &ring,
	    (struct sfs_fe_ring_opts){.size = 4, .event_idx = true, .interrupts = true, .start_idx = 65535});
	struct device dev = {&ring, 65535, 65535};
	for (unsigned i = 0; i < 3; i++) {
		void *got;
		uint32_t bytes;

		add_one(&ring, &token);
		sfs_fe_ring_publish(&ring);
		assert_false(sfs_fe_ring_arm(&ring));
		assert_int_equal(sfs_fe_ring_wait(&ring, 0), -ETIMEDOUT);
		assert_true(device_push(&dev, device_pop(&dev), 0));
		assert_int_equal(write(ring.call_fd, &one, sizeof(one)), sizeof(one));
		assert_int_equal(sfs_fe_ring_wait(&ring, 1000), 0);
		assert_true(sfs_fe_ring_arm(&ring)); /* there, not yet taken */
		assert_int_equal(sfs_fe_ring_poll(&ring, &got, &bytes), 1);
		assert_int_equal(sfs_fe_ring_interrupts(&ring), i + 1);
	}
	drop_ring(&mem, &ring);
}

static void test_ring_refuses_ids_not_in_flight(void **state)
{
	uint32_t ids[] = {1, 4, 65536, UINT32_MAX};
	struct sfs_fe_mem mem;
	struct sfs_fe_ring ring;
	void *token;
	uint32_t bytes;
	int mine;

	make_ring(&mem, &ring, (struct sfs_fe_ring_opts){.size = 4});
	struct device dev = {&ring, 0, 0};
	add_one(&ring, &mine);
	sfs_fe_ring_publish(&ring);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(ids); i++) {
		device_push(&dev, ids[i], 0);
		assert_int_equal(sfs_fe_ring_poll(&ring, &token, &bytes), -EPROTO);
	}
	device_push(&dev, 0, 0);
	assert_int_equal(sfs_fe_ring_poll(&ring, &token, &bytes), 1);
	assert_ptr_equal(token, &mine);
	device_push(&dev, 0, 0); /* a second time */
	assert_int_equal(sfs_fe_ring_poll(&ring, &token, &bytes), -EPROTO);
	drop_ring(&mem, &ring);
}

/* --- messages: the other end's answers lie in the socket before we ask --- */

static void queue_answer(int fd, uint32_t id, uint32_t flags, uint32_t size, const void *payload,
			 size_t bytes)
{
	struct sfs_fe peer = {.fd = fd};

	assert_int_equal(sfs_fe_send_raw(&peer, id, flags, size, payload, bytes, NULL, 0), 0);
}

static void test_messages(void **state)
{
	const uint32_t reply = SFS_FE_VERSION | SFS_FE_REPLY;
	uint64_t value = 0x170000000, zero = 0, one = 1;
	struct sfs_fe_msg msg;
	struct sfs_fe fe, peer;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	sfs_fe_adopt(&fe, sv[0]);
	sfs_fe_adopt(&peer, sv[1]);

	queue_answer(sv[1], SFS_FE_GET_FEATURES, reply, 8, &value, 8);
	uint64_t features = 0;
	assert_int_equal(sfs_fe_get_features(&fe, &features), 0);
	assert_int_equal(features, value);
	assert_int_equal(sfs_fe_recv(&peer, &msg), 0);
	assert_int_equal(msg.id, SFS_FE_GET_FEATURES);
	assert_int_equal(msg.flags, SFS_FE_VERSION);
	assert_int_equal(msg.size, 0);

	assert_int_equal(sfs_fe_set_protocol_features(&fe, SFS_FE_P_REPLY_ACK), 0); /* not yet acknowledged */
	assert_int_equal(sfs_fe_recv(&peer, &msg), 0);
	queue_answer(sv[1], SFS_FE_SET_VRING_KICK, reply, 8, &zero, 8);
	assert_int_equal(sfs_fe_set_vring_kick(&fe, 3, sv[0]), 0);
	assert_int_equal(sfs_fe_recv(&peer, &msg), 0);
	assert_int_equal(msg.flags, SFS_FE_VERSION | SFS_FE_NEED_REPLY);
	assert_int_equal(msg.payload.u64, 3);
	assert_int_equal(msg.fd_count, 1);
	close(msg.fds[0]);
	queue_answer(sv[1], SFS_FE_SET_VRING_CALL, reply, 8, &one, 8);
	assert_int_equal(sfs_fe_set_vring_call(&fe, 3, -1), -EREMOTEIO);
	assert_int_equal(sfs_fe_recv(&peer, &msg), 0);
	assert_int_equal(msg.payload.u64, 0x103);
	assert_int_equal(msg.fd_count, 0);

	queue_answer(sv[1], SFS_FE_SET_FEATURES, reply, 8, &zero, 8); /* to another question */
	assert_int_equal(sfs_fe_get_features(&fe, &features), -EPROTO);
	queue_answer(sv[1], SFS_FE_GET_FEATURES, reply, 4, &zero, 4);
	assert_int_equal(sfs_fe_get_features(&fe, &features), -EPROTO);
	fe.timeout_ms = 0;
	assert_int_equal(sfs_fe_get_features(&fe, &features), -ETIMEDOUT);
	assert_int_equal(sfs_fe_wait_hangup(&fe), -ETIMEDOUT);
	sfs_fe_close(&peer);
	assert_int_equal(sfs_fe_wait_hangup(&fe), 0);
	assert_int_equal(sfs_fe_get_features(&fe, &features), -ECONNRESET);
	sfs_fe_close(&fe);
	sfs_fe_close(&fe);
}

/* --- requests --- */

static struct vring_desc *request_table(struct sfs_fg *g, unsigned *count)
{
	struct sfs_fe_ring *ring = &g->queue[1].ring;
	struct vring_desc *d = &ring->desc[ring->avail->ring[(ring->avail->idx - 1) & (ring->size - 1)]];

	assert_int_equal(d->flags, VRING_DESC_F_INDIRECT);
	*count = d->len / (unsigned)sizeof(*d);
	return sfs_fe_mem_hva(&g->mem, d->addr, d->len);
}

static void check_lens(const struct vring_desc *table, unsigned count, const uint32_t *lens,
		       unsigned readable)
{
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(table[i].len, lens[i]);
		assert_int_equal(!!(table[i].flags & VRING_DESC_F_WRITE), i >= readable);
	}
}

static void test_request_layout(void **state)
{
	struct sfs_fg_opts opts = {.ring_size = 4, .data_bytes = 16384, .seg_bytes = SFS_FG_PAGE};
	struct fuse_read_in in = {.size = 10000};
	struct sfs_fg_call call = {
	    .opcode = FUSE_READ, .nodeid = 7, .args = &in, .args_bytes = sizeof(in), .data_writable = 10000};
	const uint32_t read_lens[] = {40, 40, 16, 4096, 4096, 1808}, lookup_lens[] = {40, 6, 16, 128};
	const uint32_t long_lens[] = {40, 2000, 16, 128};
	char name[2000];
	struct sfs_fg g;
	unsigned count;

	assert_int_equal(sfs_fg_begin(&g, &opts), 0);
	struct sfs_fg_req *req = sfs_fg_req_get(&g.queue[1]);
	assert_int_equal(sfs_fg_start(req, &call), 0);
	sfs_fg_publish(&g.queue[1]);
	struct vring_desc *table = request_table(&g, &count);
	assert_int_equal(count, 6);
	check_lens(table, count, read_lens, 2);
	const struct fuse_in_header *h = sfs_fe_mem_hva(&g.mem, table[0].addr, sizeof(*h));
	assert_int_equal(h->len, 80);
	assert_int_equal(h->opcode, FUSE_READ);
	assert_int_equal(h->nodeid, 7);
	assert_int_equal(table[4].addr, table[3].addr + 4096);

	call = (struct sfs_fg_call){
	    .opcode = FUSE_LOOKUP, .tail = {"hello"}, .tail_bytes = {6}, .out_bytes = 128};
	assert_int_equal(sfs_fg_start(sfs_fg_req_get(&g.queue[1]), &call), 0);
	sfs_fg_publish(&g.queue[1]);
	table = request_table(&g, &count);
	assert_int_equal(count, 4);
	check_lens(table, count, lookup_lens, 2);
	assert_string_equal(sfs_fe_mem_hva(&g.mem, table[1].addr, 6), "hello");

	memset(name, 'n', sizeof(name)); /* more than fits beside the header */
	call.tail[0] = name;
	call.tail_bytes[0] = sizeof(name);
	assert_int_equal(sfs_fg_start(sfs_fg_req_get(&g.queue[1]), &call), 0);
	sfs_fg_publish(&g.queue[1]);
	table = request_table(&g, &count);
	check_lens(table, count, long_lens, 2);
	assert_memory_equal(sfs_fe_mem_hva(&g.mem, table[1].addr, 2000), name, 2000);

	call.data_writable = 16385;
	assert_int_equal(sfs_fg_start(sfs_fg_req_get(&g.queue[1]), &call), -EINVAL);
	assert_null(sfs_fg_req_get(&g.queue[1]));
	sfs_fg_end(&g);
}

/* One request, answered with @out and @extra; what the guest makes of it. */
static int judged(struct sfs_fg *g, const struct sfs_fg_call *call, struct fuse_out_header out)
{
	struct device dev = {&g->queue[1].ring, g->queue[1].ring.avail_idx, g->queue[1].ring.used_idx};
	struct sfs_fg_req *req = sfs_fg_req_get(&g->queue[1]), *got;

	assert_int_equal(sfs_fg_start(req, call), 0);
	sfs_fg_publish(&g->queue[1]);
	out.unique += req->unique;
	*req->out = out;
	device_push(&dev, device_pop(&dev), out.len);
	assert_int_equal(sfs_fg_poll(&g->queue[1], &got), 1);
	assert_ptr_equal(got, req);
	assert_true(req->done);
	sfs_fg_req_put(req);
	return req->result;
}

static void test_replies_are_checked(void **state)
{
	struct sfs_fg_call fixed = {.opcode = FUSE_GETATTR, .out_bytes = 104};
	struct sfs_fg_call data = {.opcode = FUSE_READ, .data_writable = 4096};
	struct sfs_fg_opts opts = {.ring_size = 4, .data_bytes = 4096};
	struct sfs_fg g;

	assert_int_equal(sfs_fg_begin(&g, &opts), 0);
	assert_int_equal(judged(&g, &fixed, (struct fuse_out_header){.len = 120}), 0);
	assert_int_equal(judged(&g, &fixed, (struct fuse_out_header){.len = 119}), -EPROTO);
	assert_int_equal(judged(&g, &fixed, (struct fuse_out_header){.len = 121}), -EPROTO);
	assert_int_equal(judged(&g, &fixed, (struct fuse_out_header){.len = 120, .unique = 2}), -EPROTO);
	assert_int_equal(judged(&g, &fixed, (struct fuse_out_header){.len = 16, .error = -ENOENT}), -ENOENT);
	assert_int_equal(judged(&g, &fixed, (struct fuse_out_header){.len = 120, .error = -ENOENT}), -EPROTO);
	assert_int_equal(judged(&g, &fixed, (struct fuse_out_header){.len = 16, .error = ENOENT}), -EPROTO);
	assert_int_equal(judged(&g, &fixed, (struct fuse_out_header){.len = 0}), -EPROTO);
	assert_int_equal(judged(&g, &data, (struct fuse_out_header){.len = 16}), 0);
	assert_int_equal(judged(&g, &data, (struct fuse_out_header){.len = 16 + 4096}), 4096);
	assert_int_equal(judged(&g, &data, (struct fuse_out_header){.len = 16 + 4097}), -EPROTO);
	fixed.out_short = true;
	assert_int_equal(judged(&g, &fixed, (struct fuse_out_header){.len = 40}), 0);
	sfs_fg_end(&g);
}

/* Others that come back while one is waited for are kept, in order. */
static void test_wait_keeps_the_others(void **state)
{
	struct sfs_fg_call call = {.opcode = FUSE_DESTROY};
	struct sfs_fg_opts opts = {.ring_size = 8, .data_bytes = 4096};
	struct sfs_fg_req *req[3], *got;
	struct sfs_fg g;

	assert_int_equal(sfs_fg_begin(&g, &opts), 0);
	struct device dev = {&g.queue[1].ring, 0, 0};
	for (unsigned i = 0; i < 3; i++) {
		req[i] = sfs_fg_req_get(&g.queue[1]);
		assert_int_equal(sfs_fg_start(req[i], &call), 0);
	}
	sfs_fg_publish(&g.queue[1]);
	for (unsigned i = 0; i < 3; i++) {
		*req[i]->out = (struct fuse_out_header){.len = 16, .unique = req[i]->unique};
		device_push(&dev, device_pop(&dev), 16);
	}
	assert_int_equal(sfs_fg_wait(req[2]), 0);
	assert_int_equal(sfs_fg_wait(req[1]), 0);
	assert_int_equal(sfs_fg_poll(&g.queue[1], &got), 1);
	assert_ptr_equal(got, req[0]);
	assert_int_equal(sfs_fg_poll(&g.queue[1], &got), 0);
	g.timeout_ms = 0;
	assert_int_equal(sfs_fg_call(&g, &call, NULL, NULL, NULL), -ETIMEDOUT);
	sfs_fg_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_mem_addresses),
	    cmocka_unit_test(test_mem_alloc_moves_to_the_next_region),
	    cmocka_unit_test(test_mem_refuses_bad_options),
	    cmocka_unit_test(test_crossed_agrees_with_counting),
	    cmocka_unit_test(test_ring_refuses_bad_sizes),
	    cmocka_unit_test(test_ring_direct_chain),
	    cmocka_unit_test(test_ring_indirect_chain),
	    cmocka_unit_test(test_ring_many_direct),
	    cmocka_unit_test(test_ring_many_event_idx_polled),
	    cmocka_unit_test(test_ring_many_small),
	    cmocka_unit_test(test_kick_by_event_idx_over_the_wrap),
	    cmocka_unit_test(test_kick_by_flag),
	    cmocka_unit_test(test_interrupts),
	    cmocka_unit_test(test_ring_refuses_ids_not_in_flight),
	    cmocka_unit_test(test_messages),
	    cmocka_unit_test(test_request_layout),
	    cmocka_unit_test(test_replies_are_checked),
	    cmocka_unit_test(test_wait_keeps_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
