/* SPDX-License-Identifier: BSD-3-Clause */
/* The device as a driver and a VMM see it: configuration, features, rings, coming and going. */
#include "harness.h"

static void raw_connect(struct fn_env *env, struct sfs_fe *fe)
{
	fn_ok(sfs_fe_connect(fe, env->socket, FN_WAIT_MS));
}

static void test_config(struct fn_env *env)
{
	struct {
		char tag[36];
		uint32_t queues;
	} config, part;

	fn_guest(env, NULL);
	assert_true(env->g.protocol_features & SFS_FE_P_CONFIG);
	fn_ok(sfs_fe_get_config(&env->g.fe, 0, &config, sizeof(config)));
	assert_string_equal(config.tag, "a-tag");
	for (unsigned i = sizeof("a-tag"); i < sizeof(config.tag); i++)
		assert_int_equal(config.tag[i], 0);
	assert_int_equal(config.queues, 3);
	for (uint32_t bytes = 1; bytes <= sizeof(config); bytes++) { /* as User-Mode Linux reads it */
		memset(&part, 0xff, sizeof(part));
		fn_ok(sfs_fe_get_config(&env->g.fe, 0, &part, bytes));
		assert_memory_equal(&part, &config, bytes);
	}
	fn_ok(sfs_fe_get_config(&env->g.fe, 36, &part, 4));
	assert_memory_equal(&part, &config.queues, 4);
	assert_int_equal(env->g.daemon_queues, 1 + 3);
}

static void test_features(struct fn_env *env)
{
	const uint64_t known =
	    SFS_FE_F_VERSION_1 | SFS_FE_F_PROTOCOL_FEATURES | SFS_FE_F_INDIRECT_DESC | SFS_FE_F_EVENT_IDX;
	const uint64_t protocol = SFS_FE_P_MQ | SFS_FE_P_REPLY_ACK;
	struct sfs_fe fe;
	uint64_t offered;

	for (unsigned bit = 0; bit < 64; bit++) {
		raw_connect(env, &fe);
		fn_ok(sfs_fe_set_owner(&fe));
		fn_ok(sfs_fe_get_features(&fe, &offered));
		assert_int_equal(offered & known, known);
		fn_ok(sfs_fe_get_protocol_features(&fe, &offered));
		assert_int_equal(offered & protocol, protocol);
		fn_ok(sfs_fe_set_protocol_features(&fe, protocol));
		fn_ok(sfs_fe_get_features(&fe, &offered));
		int rc = sfs_fe_set_features(&fe, SFS_FE_F_VERSION_1 | (1ull << bit));
		if (offered & (1ull << bit))
			fn_ok(rc);
		else
			assert_true(rc == -EREMOTEIO || rc == -ECONNRESET);
		sfs_fe_close(&fe);
	}
}

static void test_ring_sizes(struct fn_env *env)
{
	for (unsigned size = 2; size <= 1024; size *= 2) {
		fn_guest(env, &(struct sfs_fg_opts){
				  .ring_size = size, .seg_bytes = SFS_FG_PAGE, .data_bytes = 65536});
		fn_work(&env->g, "work", 3);
		fn_guest_gone(env);
	}
	/* Without indirect tables a request of 9 descriptors needs a ring of 16. */
	for (unsigned size = 16; size <= 1024; size *= 4) {
		fn_guest(env, &(struct sfs_fg_opts){.ring_size = size,
						    .seg_bytes = SFS_FG_PAGE,
						    .data_bytes = 65536,
						    .features_refused = SFS_FE_F_INDIRECT_DESC});
		fn_work(&env->g, "work", 3);
		fn_guest_gone(env);
	}
}

/* All ways to be told about completions. */
static void test_notifications(struct fn_env *env)
{
	for (unsigned i = 0; i < 4; i++) {
		fn_guest(env, &(struct sfs_fg_opts){.depth = 8,
						    .seg_bytes = SFS_FG_PAGE,
						    .interrupts = i & 1,
						    .features_refused = i & 2 ? SFS_FE_F_EVENT_IDX : 0});
		fn_work(&env->g, "work", 20);
		if (i & 1)
			assert_true(sfs_fe_ring_interrupts(&env->g.queue[1].ring) > 0);
		fn_guest_gone(env);
	}
}

static void test_memory_regions(struct fn_env *env)
{
	for (unsigned regions = 1; regions <= SFS_FE_REGIONS_MAX; regions++) {
		struct sfs_fg_opts opts = {.depth = 8,
					   .data_bytes = 65536,
					   .seg_bytes = SFS_FG_PAGE,
					   .mem = {.region_count = regions,
						   .region_bytes = regions == 1 ? 0 : 4 << 20,
						   .gpa_base = 0x69fa000,
						   .gpa_gap = regions % 2 ? 0 : 0x13000,
						   .mmap_offset = 0x11000 * (uint64_t)(regions / 2)}};
		fn_guest(env, &opts);
		fn_work(&env->g, "work", 5);
		fn_guest_gone(env);
	}
}

/* One data segment that begins in one region and ends in the next, which lies elsewhere for the daemon. */
static void test_segment_across_regions(struct fn_env *env)
{
	struct sfs_fg_opts opts = {
	    .depth = 4, .data_bytes = 65536, .mem = {.region_count = 2, .region_bytes = 16 << 20}};
	struct fuse_entry_out entry;
	struct fuse_open_out open;
	uint8_t sent[8192];

	fn_guest(env, &opts);
	fn_pattern(sent, sizeof(sent), 1);
	fn_host_write(env, "file", sent, sizeof(sent));
	fn_ok(sfs_fg_lookup(&env->g, FUSE_ROOT_ID, "file", &entry));
	fn_ok(sfs_fg_open(&env->g, entry.nodeid, O_RDONLY, &open));

	struct sfs_fg_req *req = sfs_fg_req_get(&env->g.queue[1]);
	const struct sfs_fe_region *r = env->g.mem.region;
	assert_int_equal(r[0].gpa + r[0].bytes, r[1].gpa);
	assert_true(env->g.mem.alloc_region == 0 && env->g.mem.alloc_offset < r[0].bytes - 4096);
	req->data_gpa = r[1].gpa - 3000;
	struct fuse_read_in in = {.fh = open.fh, .size = sizeof(sent)};
	struct sfs_fg_call call = {.opcode = FUSE_READ,
				   .nodeid = entry.nodeid,
				   .args = &in,
				   .args_bytes = sizeof(in),
				   .data_writable = sizeof(sent)};
	fn_ok(sfs_fg_start(req, &call));
	assert_true(sfs_fg_publish(&env->g.queue[1]) >= 0);
	fn_ok(sfs_fg_wait(req));
	assert_int_equal(req->result, sizeof(sent));
	assert_memory_equal(r[0].hva + r[0].bytes - 3000, sent, 3000);
	assert_memory_equal(r[1].hva, sent + 3000, sizeof(sent) - 3000);
}

/* Every request queue with as much in flight as it holds; each answer belongs to its question. */
static void test_several_queues(struct fn_env *env)
{
	enum { QUEUES = 4, DEPTH = 32, ROUNDS = 50 };
	static uint8_t content[QUEUES * DEPTH * 4096];
	struct fuse_entry_out entry;
	struct fuse_open_out open;

	fn_guest(env, &(struct sfs_fg_opts){.request_queues = QUEUES, .depth = DEPTH, .data_bytes = 65536});
	fn_pattern(content, sizeof(content), 0);
	fn_host_write(env, "file", content, sizeof(content));
	fn_ok(sfs_fg_lookup(&env->g, FUSE_ROOT_ID, "file", &entry));
	fn_ok(sfs_fg_open(&env->g, entry.nodeid, O_RDONLY, &open));
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct sfs_fg_req *reqs[QUEUES * DEPTH];

		for (unsigned i = 0; i < QUEUES * DEPTH; i++) {
			struct fuse_read_in in = {.fh = open.fh, .offset = (uint64_t)i * 4096, .size = 4096};
			struct sfs_fg_call call = {.opcode = FUSE_READ,
						   .nodeid = entry.nodeid,
						   .args = &in,
						   .args_bytes = sizeof(in),
						   .data_writable = 4096};

			reqs[i] = sfs_fg_req_get(&env->g.queue[1 + i % QUEUES]);
			assert_non_null(reqs[i]);
			fn_ok(sfs_fg_start(reqs[i], &call));
		}
		for (unsigned q = 1; q <= QUEUES; q++)
			assert_true(sfs_fg_publish(&env->g.queue[q]) >= 0);
		for (unsigned i = 0; i < QUEUES * DEPTH; i++) {
			fn_ok(sfs_fg_wait(reqs[i]));
			assert_int_equal(reqs[i]->result, 4096);
			assert_memory_equal(reqs[i]->data, content + i * 4096, 4096);
			assert_int_equal(reqs[i]->used_bytes, reqs[i]->out->len);
			sfs_fg_req_put(reqs[i]);
		}
	}
	for (unsigned q = 1; q <= QUEUES; q++) {
		env->g.sync_queue = &env->g.queue[q];
		fn_work(&env->g, "work", 2);
	}
}

static void test_fewer_queues_than_offered(struct fn_env *env)
{
	fn_guest(env, &(struct sfs_fg_opts){.depth = 8});
	assert_int_equal(env->g.daemon_queues, 1 + 4);
	fn_work(&env->g, "work", 5);
}

static void test_used_length(struct fn_env *env)
{
	struct sfs_fg_call calls[] = {
	    {.opcode = FUSE_GETATTR, .nodeid = FUSE_ROOT_ID, .out_bytes = sizeof(struct fuse_attr_out)},
	    {.opcode = FUSE_GETATTR, .nodeid = 12345, .out_bytes = sizeof(struct fuse_attr_out)},
	    {.opcode = FUSE_LOOKUP,
	     .nodeid = FUSE_ROOT_ID,
	     .tail = {"missing"},
	     .tail_bytes = {8},
	     .out_bytes = sizeof(struct fuse_entry_out)},
	    {.opcode = FUSE_STATFS, .nodeid = FUSE_ROOT_ID, .out_bytes = sizeof(struct fuse_statfs_out)},
	    {.opcode = 4000, .nodeid = FUSE_ROOT_ID},
	};
	struct fuse_getattr_in in = {0};

	fn_guest(env, NULL);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(calls); i++) {
		struct sfs_fg_req *req = sfs_fg_req_get(&env->g.queue[1]);

		if (calls[i].opcode == FUSE_GETATTR) {
			calls[i].args = &in;
			calls[i].args_bytes = sizeof(in);
		}
		fn_ok(sfs_fg_start(req, &calls[i]));
		assert_true(sfs_fg_publish(&env->g.queue[1]) >= 0);
		fn_ok(sfs_fg_wait(req));
		assert_int_not_equal(req->result, -EPROTO);
		assert_int_equal(req->used_bytes, req->out->len);
		sfs_fg_req_put(req);
	}
	/* What has no answer gives its chain back with nothing written. */
	struct fuse_forget_in forget = {.nlookup = 1};
	struct sfs_fg_call call = {.opcode = FUSE_FORGET,
				   .nodeid = 12345,
				   .args = &forget,
				   .args_bytes = sizeof(forget),
				   .no_reply = true};
	struct sfs_fg_req *req = sfs_fg_req_get(&env->g.queue[SFS_FG_HIPRIO]);
	fn_ok(sfs_fg_start(req, &call));
	assert_true(sfs_fg_publish(&env->g.queue[SFS_FG_HIPRIO]) >= 0);
	fn_ok(sfs_fg_wait(req));
	assert_int_equal(req->used_bytes, 0);
}

static void test_stop_and_restart(struct fn_env *env)
{
	fn_guest(env, NULL);
	for (unsigned i = 0; i < 10; i++) {
		fn_work(&env->g, "work", 2);
		fn_ok(sfs_fg_stop(&env->g));
		for (unsigned q = 0; q < env->g.queue_count; q++)
			assert_int_equal(env->g.queue[q].ring.base_idx, env->g.queue[q].ring.avail_idx);
		fn_ok(sfs_fg_restart(&env->g));
	}
	fn_work(&env->g, "work", 2);
}

/* What lies in a ring that does not run is found when it is started again. */
static void test_requests_wait_for_restart(struct fn_env *env)
{
	struct sfs_fg_call call = {
	    .opcode = FUSE_STATFS, .nodeid = FUSE_ROOT_ID, .out_bytes = sizeof(struct fuse_statfs_out)};
	struct sfs_fg_req *got;

	fn_guest(env, NULL);
	fn_ok(sfs_fg_stop(&env->g));
	struct sfs_fg_req *req = sfs_fg_req_get(&env->g.queue[1]);
	fn_ok(sfs_fg_start(req, &call));
	assert_true(sfs_fg_publish(&env->g.queue[1]) >= 0);
	assert_int_equal(sfs_fg_poll(&env->g.queue[1], &got), 0);
	fn_ok(sfs_fg_restart(&env->g));
	fn_ok(sfs_fe_ring_kick(&env->g.queue[1].ring));
	fn_ok(sfs_fg_wait(req));
	assert_int_equal(req->result, 0);
}

static void test_memory_table_again(struct fn_env *env)
{
	fn_guest(env, NULL);
	for (unsigned i = 0; i < 20; i++) {
		fn_work(&env->g, "work", 2);
		fn_ok(sfs_fe_set_mem_table(&env->g.fe, &env->g.mem));
	}
	fn_work(&env->g, "work", 2);
}

static void test_reconnect(struct fn_env *env)
{
	for (unsigned i = 0; i < 20; i++) {
		fn_guest(env, &(struct sfs_fg_opts){.depth = 8});
		fn_work(&env->g, "work", 1);
		fn_guest_gone(env);
	}
}

static void test_exit_mode(struct fn_env *env)
{
	fn_guest(env, NULL);
	fn_work(&env->g, "work", 1);
	fn_guest_gone(env);
	assert_int_equal(fn_wait_exit(env), 0);
}

/* Reads and writes are in flight when the guest's memory and socket vanish. */
static void test_killed_in_flight(struct fn_env *env)
{
	for (unsigned round = 0; round < 10; round++) {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
		struct sfs_fg_req *req;
		unsigned started = 0;

		fn_guest(env,
			 &(struct sfs_fg_opts){.depth = 128, .data_bytes = 65536, .seg_bytes = SFS_FG_PAGE});
		fn_ok(sfs_fg_create(&env->g, FUSE_ROOT_ID, "file", O_RDWR | O_CREAT, S_IFREG | 0644, &entry,
				    &open));
		while ((req = sfs_fg_req_get(&env->g.queue[1]))) {
			struct fuse_write_in wr = {
			    .fh = open.fh, .offset = started * 65536ull, .size = 65536};
			struct fuse_read_in rd = {.fh = open.fh, .size = 65536};
			struct sfs_fg_call call = {.opcode = FUSE_WRITE,
						   .nodeid = entry.nodeid,
						   .args = &wr,
						   .args_bytes = sizeof(wr),
						   .data_readable = 65536,
						   .out_bytes = sizeof(struct fuse_write_out)};

			if (started++ % 2)
				call = (struct sfs_fg_call){.opcode = FUSE_READ,
							    .nodeid = entry.nodeid,
							    .args = &rd,
							    .args_bytes = sizeof(rd),
							    .data_writable = 65536};
			fn_ok(sfs_fg_start(req, &call));
		}
		assert_int_equal(started, 128);
		assert_true(sfs_fg_publish(&env->g.queue[1]) >= 0);
		fn_guest_gone(env);
	}
	fn_guest(env, NULL);
	fn_work(&env->g, "work", 2);
}

static void test_kicks_while_polling(struct fn_env *env)
{
	struct fuse_attr_out attr;
	uint64_t pending;

	fn_guest(env, NULL);
	for (unsigned i = 0; i < 5000; i++)
		fn_ok(sfs_fg_getattr(&env->g, FUSE_ROOT_ID, NULL, &attr));
	for (unsigned i = 0; i < 500; i++)
		fn_ok(sfs_fg_forget(&env->g, 12345, 1));
	for (unsigned q = 0; q < env->g.queue_count; q++) {
		struct sfs_fe_ring *ring = &env->g.queue[q].ring;

		assert_in_range(ring->kicks, 0, 1);
		/* Nobody read the eventfd either: the count is still in it. */
		if (ring->kicks) {
			assert_int_equal(read(ring->kick_fd, &pending, sizeof(pending)), sizeof(pending));
			assert_int_equal(pending, 1);
		}
	}
}

/* --- bad rings: that ring may die, the daemon serves the next guest --- */

static void spoil_loop(struct fn_env *env, struct sfs_fe_ring *ring)
{
	sfs_fe_ring_set_desc(ring, 0, env->g.queue[1].reqs[0].in_gpa, 40, VRING_DESC_F_NEXT, 1);
	sfs_fe_ring_set_desc(ring, 1, env->g.queue[1].reqs[0].in_gpa, 40, VRING_DESC_F_NEXT, 0);
	sfs_fe_ring_put_head(ring, 0);
}

static void spoil_address(struct fn_env *env, struct sfs_fe_ring *ring)
{
	sfs_fe_ring_set_desc(ring, 0, 0xffffffff00000000, 40, 0, 0);
	sfs_fe_ring_put_head(ring, 0);
}

static void spoil_length(struct fn_env *env, struct sfs_fe_ring *ring)
{
	sfs_fe_ring_set_desc(ring, 0, env->g.queue[1].reqs[0].in_gpa, UINT32_MAX, 0, 0);
	sfs_fe_ring_put_head(ring, 0);
}

static void spoil_head(struct fn_env *env, struct sfs_fe_ring *ring)
{
	sfs_fe_ring_put_head(ring, (uint16_t)ring->size);
}

static void spoil_next(struct fn_env *env, struct sfs_fe_ring *ring)
{
	sfs_fe_ring_set_desc(ring, 0, env->g.queue[1].reqs[0].in_gpa, 40, VRING_DESC_F_NEXT,
			     (uint16_t)ring->size);
	sfs_fe_ring_put_head(ring, 0);
}

static void spoil_indirect_length(struct fn_env *env, struct sfs_fe_ring *ring)
{
	sfs_fe_ring_set_desc(ring, 0, ring->indirect_gpa, 17, VRING_DESC_F_INDIRECT, 0);
	sfs_fe_ring_put_head(ring, 0);
}

static void spoil_indirect_nested(struct fn_env *env, struct sfs_fe_ring *ring)
{
	ring->indirect[0] =
	    (struct vring_desc){.addr = ring->indirect_gpa, .len = 16, .flags = VRING_DESC_F_INDIRECT};
	sfs_fe_ring_set_desc(ring, 0, ring->indirect_gpa, 16, VRING_DESC_F_INDIRECT, 0);
	sfs_fe_ring_put_head(ring, 0);
}

static void spoil_avail_idx(struct fn_env *env, struct sfs_fe_ring *ring)
{
	ring->avail_idx = (uint16_t)(ring->avail_idx + ring->size + 1);
}

static void spoil_head_twice(struct fn_env *env, struct sfs_fe_ring *ring)
{
	sfs_fe_ring_set_desc(ring, 0, env->g.queue[1].reqs[0].in_gpa, 40, 0, 0);
	sfs_fe_ring_put_head(ring, 0);
	sfs_fe_ring_put_head(ring, 0);
}

static void test_bad_rings(struct fn_env *env)
{
	static void (*const spoil[])(struct fn_env *, struct sfs_fe_ring *) = {
	    spoil_loop,       spoil_address,         spoil_length,          spoil_head,
	    spoil_next,       spoil_indirect_length, spoil_indirect_nested, spoil_avail_idx,
	    spoil_head_twice,
	};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(spoil); i++) {
		fn_guest(env, &(struct sfs_fg_opts){.depth = 8, .request_queues = 2});
		struct sfs_fe_ring *ring = &env->g.queue[2].ring;
		spoil[i](env, ring);
		assert_true(sfs_fe_ring_publish(ring) >= 0);
		fn_ok(sfs_fe_ring_kick(ring));
		fn_work(&env->g, "work", 2); /* the other queue is not disturbed */
		assert_true(fn_alive(env));
		fn_guest_gone(env);
	}
	fn_guest(env, NULL);
	fn_work(&env->g, "work", 2);
}

static void test_bad_messages(struct fn_env *env)
{
	uint8_t junk[64];
	struct sfs_fe fe;

	memset(junk, 0xff, sizeof(junk));
	for (uint32_t id = 0; id <= 48; id++) {
		raw_connect(env, &fe);
		fn_ok(sfs_fe_send_raw(&fe, id, SFS_FE_VERSION, sizeof(junk), junk, sizeof(junk), NULL, 0));
		sfs_fe_close(&fe);
		raw_connect(env, &fe);
		fn_ok(sfs_fe_send_raw(&fe, id, SFS_FE_VERSION, UINT32_MAX, junk, sizeof(junk), NULL, 0));
		fn_ok(sfs_fe_wait_hangup(&fe));
		sfs_fe_close(&fe);
	}
	fn_guest(env, NULL);
	fn_work(&env->g, "work", 2);
}

#define LISTEN "--on-disconnect", "listen"

const struct fn_test fn_tests[] = {
    {"configuration space", test_config, {"--tag", "a-tag", "--request-queues", "3"}, 0},
    {"features", test_features, {LISTEN}, 0},
    {"ring sizes", test_ring_sizes, {LISTEN}, 0},
    {"notifications", test_notifications, {LISTEN}, 0},
    {"notifications, spinning", test_notifications, {LISTEN, "--idle", "spin"}, 0},
    {"memory regions", test_memory_regions, {LISTEN}, 0},
    {"segment across regions", test_segment_across_regions, {NULL}, 0},
    {"several queues", test_several_queues, {"--request-queues", "4"}, 0},
    {"fewer queues than offered", test_fewer_queues_than_offered, {"--request-queues", "4"}, 0},
    {"used length", test_used_length, {NULL}, 0},
    {"stop and restart", test_stop_and_restart, {NULL}, 0},
    {"requests wait for restart", test_requests_wait_for_restart, {NULL}, 0},
    {"memory table again", test_memory_table_again, {NULL}, 0},
    {"reconnect", test_reconnect, {LISTEN}, 0},
    {"exit mode", test_exit_mode, {NULL}, 0},
    {"killed in flight", test_killed_in_flight, {LISTEN}, 0},
    {"kicks while polling", test_kicks_while_polling, {"--idle", "spin"}, 0},
    {"bad rings", test_bad_rings, {LISTEN}, 0},
    {"bad messages", test_bad_messages, {LISTEN}, 0},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
