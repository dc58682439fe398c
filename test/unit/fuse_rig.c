/* SPDX-License-Identifier: BSD-3-Clause */
#include <fcntl.h>
#include <sys/stat.h>

#include "fuse_rig.h"
#include "../lib/none_aio.h"

struct rig rig;

/* --- the filesystem --- */

static void note_bytes(char **to, const void *from, size_t bytes)
{
	free(*to);
	*to = malloc(bytes + 1);
	assert_non_null(*to);
	if (bytes)
		memcpy(*to, from, bytes);
}

int rig_note(struct sfs_req *req)
{
	struct rig_seen *s = &rig.seen;

	s->calls++;
	s->opcode = req->in.opcode;
	memcpy(s->arg, &req->arg, SFS_MIN(sizeof(s->arg), sizeof(req->arg)));
	for (unsigned i = 0; i < req->op->names; i++) {
		s->name_bytes[i] = req->name_bytes[i];
		assert_int_equal(strlen(req->name[i]), req->name_bytes[i]);
		assert_true(req->name_bytes[i] < sizeof(s->name[i]));
		strcpy(s->name[i], req->name[i]);
	}
	s->extra_bytes = req->op->flags & SFS_OP_EXTRA ? req->extra_bytes : 0;
	note_bytes(&s->extra, req->extra, s->extra_bytes);
	s->data_left = req->data_left;
	s->data_cnt = req->data_cnt;
	assert_int_equal(sfs_iov_bytes(req->data, req->data_cnt), req->data_left);
	if (req->in.opcode == FUSE_WRITE) {
		note_bytes(&s->data, NULL, 0);
		s->data = realloc(s->data, req->data_left + 1);
		sfs_iov_to_buf(req->data, req->data_cnt, 0, s->data, req->data_left);
	}
	if (req->in.opcode == FUSE_READ) {
		char buf[4096];

		memset(buf, 'r', sizeof(buf));
		req->data_bytes = SFS_MIN((uint64_t)rig.read_bytes, req->data_left);
		assert_true(req->data_bytes <= sizeof(buf));
		sfs_iov_from_buf(req->data, req->data_cnt, 0, buf, req->data_bytes);
	}
	return rig.result;
}

static int any(struct sfs_req *req)
{
	return rig.hook ? rig.hook(req) : rig_note(req);
}

static int begin(void *fs, struct sfs_session *se)
{
	const struct sfs_node_key key = {.dev = 1, .ino = 1};

	return sfs_session_root(se, &key, S_IFDIR, -1, 0);
}

static void evict(struct sfs_session *se, struct sfs_node *node)
{
	__atomic_fetch_add(&rig.evicted, 1, __ATOMIC_RELAXED);
}

static void handle_free(struct sfs_session *se, struct sfs_handle *h)
{
	__atomic_fetch_add(&rig.freed, 1, __ATOMIC_RELAXED);
	if (rig.on_free)
		rig.on_free();
}

static const struct sfs_fs_ops ops = {
    .name = "rig",
    .session_begin = begin,
    .node_evict = evict,
    .handle_free = handle_free,
    .lookup = any,
    .getattr = any,
    .setattr = any,
    .readlink = any,
    .symlink = any,
    .mknod = any,
    .mkdir = any,
    .unlink = any,
    .rmdir = any,
    .rename = any,
    .link = any,
    .open = any,
    .read = any,
    .write = any,
    .statfs = any,
    .release = any,
    .fsync = any,
    .setxattr = any,
    .getxattr = any,
    .listxattr = any,
    .removexattr = any,
    .flush = any,
    .opendir = any,
    .readdir = any,
    .releasedir = any,
    .fsyncdir = any,
    .access = any,
    .create_file = any,
    .fallocate = any,
    .readdirplus = any,
    .lseek = any,
    .copy_file_range = any,
    .syncfs = any,
    .tmpfile = any,
};

void rig_start(const struct rig_opts *o)
{
	struct sfs_session_opts so = {.fs = &ops,
				      .limits = o->limits,
				      .block_policy = SFS_BLOCK_ALWAYS,
				      .init_flags = o->driver_flags,
				      .init = o->init,
				      .lane_count = o->lanes ? o->lanes : 1};

	memset(&rig, 0, sizeof(rig));
	if (!so.limits.inodes)
		so.limits =
		    (struct sfs_session_limits){.inodes = 1024, .handles = 64, .fds = 64, .node_fds = 8};
	rig.lane_count = so.lane_count;
	if (o->workers) {
		struct sfs_workers_opts wo = {.count = 1};

		assert_int_equal(sfs_workers_create(&wo, &rig.workers), 0);
		rig.client = sfs_workers_client_create(rig.workers, 1);
		assert_non_null(rig.client);
	}
	assert_int_equal(sfs_session_create(&so, &rig.se), 0);
	assert_int_equal(sfs_session_begin(rig.se), 0);
	for (unsigned i = 0; i < rig.lane_count; i++) {
		struct sfs_lane_opts lo = {.idx = i,
					   .slot_count = RIG_SLOTS,
					   .session = rig.se,
					   .workers = rig.client,
					   .engine = &none_aio};

		assert_int_equal(sfs_lane_init(&rig.lanes[i], &lo), 0);
		sfs_session_lane_join(rig.se, i);
	}
	if (!o->no_init) {
		struct fuse_init_out out;

		for (unsigned i = 1; i < rig.lane_count; i++)
			sfs_session_lane_leave(rig.se, i);
		assert_int_equal(rig_init(7, 38, o->guest_flags, 64, &out), 0);
		for (unsigned i = 1; i < rig.lane_count; i++)
			sfs_session_lane_join(rig.se, i);
	}
}

void rig_stop(void)
{
	for (unsigned i = 0; i < rig.lane_count; i++) {
		sfs_session_lane_leave(rig.se, i);
		sfs_lane_fini(&rig.lanes[i]);
	}
	sfs_session_destroy(rig.se);
	if (rig.workers) {
		sfs_workers_client_destroy(rig.client);
		assert_int_equal(sfs_workers_destroy(rig.workers, 10 * SFS_NS_PER_S), 0);
	}
	free(rig.seen.extra);
	free(rig.seen.data);
}

/* --- messages --- */

void rig_put(struct rig_msg *m, const void *bytes, size_t count)
{
	assert_true(m->in_bytes + count <= sizeof(m->in));
	if (count)
		memcpy(m->in + m->in_bytes, bytes, count);
	m->in_bytes += (uint32_t)count;
	rig_in(m)->len = m->in_bytes;
}

struct rig_msg *rig_msg(uint32_t opcode, const void *arg, size_t arg_bytes)
{
	static uint64_t unique;
	struct rig_msg *m = calloc(1, sizeof(*m));
	const struct fuse_in_header in = {.opcode = opcode, .unique = ++unique, .nodeid = SFS_ROOT_ID};

	assert_non_null(m);
	rig_put(m, &in, sizeof(in));
	rig_put(m, arg, arg_bytes);
	m->out_bytes = 4096;
	return m;
}

static unsigned cut(struct iovec *to, char *buf, uint32_t bytes, uint32_t first, uint32_t piece)
{
	unsigned n = 0;

	for (uint32_t off = 0; off < bytes;) {
		uint32_t want = n == 0 && first ? first : piece ? piece : bytes;
		uint32_t len = SFS_MIN(want, bytes - off);

		assert_true(n < SFS_CHAIN_SEGS_MAX / 2);
		to[n++] = (struct iovec){buf + off, len};
		off += len;
	}
	return n;
}

/* The same pages of data, named over and over. */
static void repeat_data(struct sfs_chain *c, struct rig_msg *m)
{
	uint32_t fixed = IN_HEAD + (uint32_t)sizeof(struct fuse_write_in);

	c->iov[0].iov_len = fixed;
	c->readable_bytes = fixed;
	for (unsigned i = 0; i < m->repeat; i++) {
		c->iov[c->readable_count++] = (struct iovec){m->in + fixed, m->in_bytes - fixed};
		c->readable_bytes += m->in_bytes - fixed;
	}
}

void rig_send(unsigned lane, struct rig_msg *m)
{
	struct sfs_lane *l = &rig.lanes[lane];
	struct iovec *big;
	struct sfs_req *req = sfs_lane_slot_get(l, &big);
	struct sfs_chain *c;

	assert_non_null(req);
	c = &req->chain;
	c->iov = big;
	c->readable_bytes = m->in_bytes;
	c->writable_bytes = m->out_bytes;
	c->readable_count = (uint16_t)cut(c->iov, m->in, m->in_bytes, m->in_first, m->in_piece);
	if (m->repeat)
		repeat_data(c, m);
	c->writable_count =
	    (uint16_t)cut(c->iov + c->readable_count, m->out, m->out_bytes, m->out_first, m->out_piece);
	sfs_lane_big_take(l, req);
	memset(m->out, 0xee, sizeof(m->out));
	m->answered = false;
	rig.by_slot[lane][req - l->slots] = m;
	sfs_req_begin(req);
}

void rig_turn(unsigned lane)
{
	struct sfs_lane *l = &rig.lanes[lane];
	struct sfs_req *req;

	sfs_lane_resume(l);
	sfs_lane_submit(l);
	while ((req = sfs_req_list_pop(&l->ended))) {
		struct rig_msg *m = rig.by_slot[lane][req - l->slots];

		m->used = sfs_req_answer(req, 0);
		m->answered = true;
		sfs_lane_slot_put(l, req);
	}
}

int rig_do(struct rig_msg *m)
{
	rig_send(0, m);
	for (unsigned i = 0; i < 10 && !m->answered; i++)
		rig_turn(0);
	assert_true(m->answered);
	if (m->used == 0)
		return 1;
	assert_true(m->used >= OUT_HEAD && m->used <= m->out_bytes);
	assert_int_equal(rig_out(m)->len, m->used);
	assert_int_equal(rig_out(m)->unique, rig_in(m)->unique);
	assert_true(rig_out(m)->error <= 0);
	for (uint32_t i = m->used; i < m->out_bytes; i++) /* behind the reply nothing was written */
		assert_int_equal((unsigned char)m->out[i], 0xee);
	return rig_out(m)->error;
}

int rig_init(uint32_t major, uint32_t minor, uint64_t flags, uint32_t bytes, struct fuse_init_out *out)
{
	const struct fuse_init_in in = {.major = major,
					.minor = minor,
					.max_readahead = 1 << 17,
					.flags = (uint32_t)flags,
					.flags2 = (uint32_t)(flags >> 32)};
	struct rig_msg *m = rig_msg(FUSE_INIT, &in, bytes);
	int rc = rig_do(m);

	memset(out, 0, sizeof(*out));
	if (rc == 0)
		memcpy(out, m->out + OUT_HEAD, m->used - OUT_HEAD);
	free(m);
	return rc;
}

int rig_fd(void)
{
	int fd = open("/", O_PATH | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

bool rig_fd_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

void rig_req_end(struct sfs_req *req)
{
	sfs_req_unpin_to(req, (struct sfs_pin_mark){0});
	free(req);
}
