/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fuse_guest.h"
#include "none_aio.h"

static void guest_begin(struct fg *g)
{
	struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION,
				    .minor = 38,
				    .flags = (uint32_t)g->init_flags,
				    .flags2 = (uint32_t)(g->init_flags >> 32)};
	struct fg_msg *m = fg_new();

	const struct sfs_group_opts go = {.session = g->se, .workers = g->client, .engine = g->engine};

	assert_int_equal(sfs_session_begin(g->se), 0);
	assert_int_equal(sfs_group_init(&g->group, &go), 0);
	sfs_group_join(&g->group);
	for (unsigned i = 0; i < g->lane_count; i++) {
		struct sfs_lane_opts lo = {.idx = i,
					   .slot_count = FG_SLOTS,
					   .session = g->se,
					   .group = &g->group,
					   .workers = g->client,
					   .engine = g->engine,
					   .aio.depth = FG_SLOTS};

		assert_int_equal(sfs_lane_init(&g->lanes[i], &lo), 0);
	}
	/* Only the lane that INIT comes on takes part in its barrier: nobody turns the others yet. */
	sfs_session_lane_join(g->se, 0);
	fg_send(g, 0, m, FUSE_INIT, 0, &init, sizeof(init), NULL, NULL, NULL, 0,
		sizeof(struct fuse_init_out));
	assert_int_equal(fg_wait(g, 0, m), 0);
	fg_free(m);
}

static void guest_end(struct fg *g)
{
	sfs_session_lane_leave(g->se, 0);
	sfs_group_leave(&g->group);
	for (unsigned i = 0; i < g->lane_count; i++)
		sfs_lane_fini(&g->lanes[i]);
	sfs_group_fini(&g->group);
}

void fg_start_engine(struct fg *g, const struct sfs_fs_ops *ops, const char *options, unsigned lanes,
		     const struct sfs_session_limits *limits, const struct sfs_aio_ops *engine,
		     uint64_t init_flags)
{
	struct sfs_workers_opts wo = {.count = 2};
	struct sfs_session_opts so = {.fs = ops, .limits = *limits, .lane_count = lanes};
	struct sfs_fs_info info = {0};
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err;

	memset(g, 0, sizeof(*g));
	g->ops = ops;
	g->lane_count = lanes;
	g->engine = engine ? engine : &none_aio;
	g->init_flags = init_flags;
	g->uid = g->gid = 1000;
	assert_int_equal(sfs_conf_doc_parse(options, strlen(options), "options", &doc, &err), 0);
	assert_int_equal(ops->create(sfs_conf_doc_root(doc), &g->fs, &info, &err), 0);
	sfs_conf_doc_destroy(doc);
	if (ops->thread_init)
		ops->thread_init(g->fs);
	wo.thread_init = ops->thread_init;
	wo.thread_init_arg = g->fs;
	assert_int_equal(sfs_workers_create(&wo, &g->workers), 0);
	g->client = sfs_workers_client_create(g->workers, 2);
	assert_non_null(g->client);
	so.fs_ctx = g->fs;
	so.init_flags = info.init_flags;
	so.needed_flags = info.needed_flags;
	if (!so.limits.node_fds)
		so.limits.node_fds = info.node_fds_max;
	if (!so.limits.locks)
		so.limits.locks = 16384;
	if (!so.limits.lock_waiters)
		so.limits.lock_waiters = 64;
	so.block_policy = info.block_policy;
	so.workers = g->client;
	assert_int_equal(sfs_session_create(&so, &g->se), 0);
	guest_begin(g);
}

void fg_start_limited(struct fg *g, const struct sfs_fs_ops *ops, const char *options, unsigned lanes,
		      const struct sfs_session_limits *limits)
{
	fg_start_engine(g, ops, options, lanes, limits, NULL, INT32_MAX);
}

void fg_start(struct fg *g, const struct sfs_fs_ops *ops, const char *options, unsigned lanes)
{
	struct sfs_session_limits limits = {.inodes = 65536, .handles = 1024, .fds = 64};

	fg_start_limited(g, ops, options, lanes, &limits);
}

void fg_stop(struct fg *g)
{
	guest_end(g);
	sfs_session_destroy(g->se);
	sfs_workers_client_destroy(g->client);
	assert_int_equal(sfs_workers_destroy(g->workers, 10 * SFS_NS_PER_S), 0);
	g->ops->destroy(g->fs);
}

void fg_reconnect(struct fg *g)
{
	guest_end(g);
	sfs_session_end(g->se);
	guest_begin(g);
}

/* --- requests --- */

struct fg_msg *fg_new(void)
{
	struct fg_msg *m = aligned_alloc(_Alignof(struct fg_msg), sizeof(*m));

	assert_non_null(m);
	memset(m, 0, sizeof(*m));
	return m;
}

void fg_free(struct fg_msg *m)
{
	free(m->tail);
	free(m);
}

static void msg_fill(const struct fg *g, struct fg_msg *m, uint32_t opcode, uint64_t nodeid, const void *arg,
		     size_t arg_bytes, const char *name0, const char *name1, const void *data,
		     size_t data_bytes)
{
	struct fuse_in_header in = {
	    .opcode = opcode, .unique = 1, .nodeid = nodeid, .uid = g->uid, .gid = g->gid, .pid = g->pid};
	size_t len0 = name0 ? strlen(name0) + 1 : 0, len1 = name1 ? strlen(name1) + 1 : 0;

	free(m->tail);
	m->tail_bytes = (uint32_t)(len0 + len1 + data_bytes);
	m->tail = aligned_alloc(4096, SFS_ALIGN_UP(m->tail_bytes + 1, 4096u));
	assert_non_null(m->tail);
	if (len0)
		memcpy(m->tail, name0, len0);
	if (len1)
		memcpy(m->tail + len0, name1, len1);
	if (data_bytes)
		memcpy(m->tail + len0 + len1, data, data_bytes);
	m->in_bytes = (uint32_t)(sizeof(in) + arg_bytes);
	in.len = m->in_bytes + m->tail_bytes;
	memcpy(m->in, &in, sizeof(in));
	if (arg_bytes)
		memcpy(m->in + sizeof(in), arg, arg_bytes);
}

static void chain_add(struct sfs_chain *c, bool writable, void *base, size_t bytes)
{
	if (!bytes)
		return;
	assert_true(c->readable_count + c->writable_count < SFS_CHAIN_INLINE_SEGS);
	c->iov[c->readable_count + c->writable_count] = (struct iovec){base, bytes};
	if (writable) {
		c->writable_count++;
		c->writable_bytes += bytes;
	} else {
		c->readable_count++;
		c->readable_bytes += bytes;
	}
}

void fg_send(struct fg *g, unsigned lane, struct fg_msg *m, uint32_t opcode, uint64_t nodeid, const void *arg,
	     size_t arg_bytes, const char *name0, const char *name1, const void *data, size_t data_bytes,
	     uint32_t room)
{
	struct sfs_lane *l = &g->lanes[lane];
	struct sfs_req *req;
	struct iovec *big;
	struct sfs_chain *c;

	assert_true(room <= sizeof(m->out) && sizeof(struct fuse_in_header) + arg_bytes <= sizeof(m->in));
	msg_fill(g, m, opcode, nodeid, arg, arg_bytes, name0, name1, data, data_bytes);
	memset(&m->head, 0xee, sizeof(m->head));
	memset(m->out, 0xee, room);
	m->answered = false;
	req = sfs_lane_slot_get(l, &big);
	assert_non_null(req);
	g->by_slot[lane][req - l->slots] = m;
	c = &req->chain;
	*c = (struct sfs_chain){0};
	c->iov = c->inline_segs;
	chain_add(c, false, m->in, m->in_bytes);
	for (uint32_t off = 0; off < m->tail_bytes; off += FG_PIECE_BYTES)
		chain_add(c, false, m->tail + off, SFS_MIN(m->tail_bytes - off, FG_PIECE_BYTES));
	chain_add(c, true, &m->head, sizeof(m->head));
	for (uint32_t off = 0; off < room; off += FG_PIECE_BYTES)
		chain_add(c, true, m->out + off, SFS_MIN(room - off, FG_PIECE_BYTES));
	sfs_req_begin(req);
}

/* Answers what has ended on the lane. */
static void lane_answer(struct fg *g, unsigned lane)
{
	struct sfs_lane *l = &g->lanes[lane];
	struct sfs_req *req;

	while ((req = sfs_req_list_pop(&l->ended))) {
		struct fg_msg *m = g->by_slot[lane][req - l->slots];
		uint32_t len = sfs_req_answer(req, sfs_now_ns());

		m->out_bytes = len ? len - (uint32_t)sizeof(m->head) : 0;
		m->answered = true;
		sfs_lane_slot_put(l, req);
	}
}

void fg_turn(struct fg *g, unsigned lane)
{
	struct sfs_lane *l = &g->lanes[lane];

	g->turns[lane]++;
	l->now_ns = sfs_now_ns();
	sfs_group_begin(l->group, l->group->requests);
	if (!sfs_lane_resume(l) && !l->ended.first)
		sched_yield();
	sfs_group_commit(l->group);
	sfs_lane_submit(l);
	lane_answer(g, lane);
	sfs_group_end(l->group);
}

int fg_wait(struct fg *g, unsigned lane, struct fg_msg *m)
{
	while (!m->answered)
		fg_turn(g, lane);
	return m->head.error;
}
