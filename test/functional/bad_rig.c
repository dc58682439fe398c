/* SPDX-License-Identifier: BSD-3-Clause */
#include "bad_rig.h"

#include <dirent.h>

const struct sfs_fg_opts bad_opts = {.request_queues = 2,
				     .ring_size = RAW_RING,
				     .depth = 16,
				     .data_bytes = 64u << 10,
				     .seg_bytes = SFS_FG_PAGE};
static const char good_text[] = "of the good guest";

/* --- coming and going --- */

void bad_arrive(struct bad *b)
{
	struct fuse_entry_out entry;
	struct fuse_open_out open;
	struct fuse_init_out init;

	b->g = fn_guest_on(b->env, "bad", &bad_opts);
	fn_ok(sfs_fg_init(b->g, FUSE_KERNEL_MINOR_VERSION,
			  FUSE_MAX_PAGES | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS, &init));
	b->ring = &b->g->queue[RAW_QUEUE].ring;
	b->in = sfs_fe_mem_alloc(&b->g->mem, RAW_IN, 4096);
	b->out = sfs_fe_mem_alloc(&b->g->mem, RAW_OUT, 4096);
	b->table = sfs_fe_mem_alloc(&b->g->mem, RAW_TABLE * sizeof(*b->table), 4096);
	assert_true(b->in && b->out && b->table);
	b->in_gpa = sfs_fe_mem_gpa(&b->g->mem, b->in);
	b->out_gpa = sfs_fe_mem_gpa(&b->g->mem, b->out);
	b->table_gpa = sfs_fe_mem_gpa(&b->g->mem, b->table);
	fn_open(b->g, "file", O_RDWR, &b->file, &b->fh);
	fn_ok(sfs_fg_lookup(b->g, FUSE_ROOT_ID, "other", &entry));
	b->other = entry.nodeid;
	fn_ok(sfs_fg_lookup(b->g, FUSE_ROOT_ID, "dir", &entry));
	b->dir = entry.nodeid;
	fn_ok(sfs_fg_opendir(b->g, b->dir, &open));
	b->dirfh = open.fh;
}

void bad_begin(struct bad *b, struct fn_env *env)
{
	const struct fn_share shares[] = {{"bad", NULL, "\"xattr\": true"}, {"good", NULL, NULL}};

	*b = (struct bad){.env = env, .unique = 1000};
	fn_start_config(env, NULL, shares, SFS_ARRAY_SIZE(shares));
	fn_put(fn_path(env, "bad/file"), "0123456789");
	fn_put(fn_path(env, "bad/other"), "other");
	assert_int_equal(mkdir(fn_path(env, "bad/dir"), 0755), 0);
	fn_put(fn_path(env, "good/open"), good_text);
	b->good = fn_guest_on(env, "good", NULL);
	fn_open(b->good, "open", O_RDONLY, &b->good_node, &b->good_fh);
	bad_arrive(b);
}

/* Nobody else has noticed. */
void bad_others_live(struct bad *b)
{
	char text[64];

	assert_true(fn_alive(b->env));
	assert_int_equal(sfs_fg_read(b->good, b->good_node, b->good_fh, 0, text, sizeof(text)),
			 sizeof(good_text) - 1);
	assert_memory_equal(text, good_text, sizeof(good_text) - 1);
	fn_work(b->good, "work", 1);
}

/* ... and the next guest of the same device finds it whole. */
void bad_end(struct bad *b)
{
	bad_others_live(b);
	fn_guest_leave(b->env, b->g);
	bad_arrive(b);
	fn_work(b->g, "work", 1);
	bad_others_live(b);
}

/* --- requests by hand --- */

/* Waits for what RAW_QUEUE gives back next: the bytes that were written, they say. */
uint32_t raw_wait(struct bad *b, uint32_t head)
{
	uint32_t id, bytes;

	fn_until(sfs_fe_ring_poll_raw(b->ring, &id, &bytes));
	assert_int_equal(id, head);
	return bytes;
}

void raw_show(struct bad *b, uint16_t head)
{
	sfs_fe_ring_put_head(b->ring, head);
	assert_true(sfs_fe_ring_publish(b->ring) >= 0);
}

/* Descriptors for [gpa, gpa + bytes) in the indirect table, from @n on. */
static unsigned raw_pieces(struct bad *b, unsigned n, uint64_t gpa, uint32_t bytes, uint32_t piece,
			   bool write)
{
	while (bytes) {
		uint32_t len = SFS_MIN(bytes, piece ? piece : bytes);

		assert_true(n < RAW_TABLE);
		b->table[n] = (struct vring_desc){
		    .addr = gpa,
		    .len = len,
		    .flags = (uint16_t)(VRING_DESC_F_NEXT | (write ? VRING_DESC_F_WRITE : 0)),
		    .next = (uint16_t)(n + 1)};
		n++;
		gpa += len;
		bytes -= len;
	}
	return n;
}

/*
 * The error of the answer, the bytes that follow its header, or NO_ANSWER. Nothing is written beyond what the used
 * element says.
 */
static uint32_t raw_room(const struct raw *r)
{
	return r->no_room ? 0 : r->room ? r->room : 8192;
}

void raw_start(struct bad *b, const struct raw *r)
{
	struct fuse_in_header head = {.len = HEAD_BYTES + r->args_bytes + r->tail_bytes,
				      .opcode = r->opcode,
				      .unique = ++b->unique,
				      .nodeid = r->nodeid};
	uint32_t readable = r->readable ? r->readable : head.len, room = raw_room(r);
	unsigned n;

	assert_true(head.len <= RAW_IN && readable <= RAW_IN && room <= RAW_OUT);
	if (r->len)
		head.len = r->len;
	memcpy(b->in, &head, sizeof(head));
	if (r->args_bytes)
		memcpy(b->in + HEAD_BYTES, r->args, r->args_bytes);
	if (r->tail_bytes)
		memcpy(b->in + HEAD_BYTES + r->args_bytes, r->tail, r->tail_bytes);
	memset(b->out, RAW_POISON, RAW_OUT);
	n = raw_pieces(b, 0, b->in_gpa, readable, r->piece, false);
	n = raw_pieces(b, n, b->out_gpa, room, r->piece, true);
	b->table[n - 1].flags &= (uint16_t)~VRING_DESC_F_NEXT;
	sfs_fe_ring_set_desc(b->ring, 0, b->table_gpa, n * (uint32_t)sizeof(*b->table), VRING_DESC_F_INDIRECT,
			     0);
	raw_show(b, 0);
}

int raw_call(struct bad *b, const struct raw *r)
{
	struct fuse_out_header out;
	uint32_t used;

	raw_start(b, r);
	used = raw_wait(b, 0);
	assert_true(used <= raw_room(r));
	for (uint32_t i = used; i < RAW_OUT; i++)
		assert_int_equal(b->out[i], RAW_POISON);
	if (used == 0)
		return NO_ANSWER;
	memcpy(&out, b->out, sizeof(out));
	assert_int_equal(out.len, used);
	assert_int_equal(out.unique, b->unique);
	assert_true(out.error <= 0 && (out.error == 0 || used == ANSWER_BYTES));
	return out.error ? out.error : (int)(used - ANSWER_BYTES);
}

void raw_is(struct bad *b, const char *what, const struct raw *r, int result)
{
	int rc = raw_call(b, r);

	if (rc != result)
		fail_msg("%s: opcode %u gives %d, not %d", what, r->opcode, rc, result);
}

/* The ring by hand serves an honest request. */
void raw_serves(struct bad *b)
{
	struct fuse_getattr_in in = {0};

	raw_is(b, "honest", RAW(FUSE_GETATTR, FUSE_ROOT_ID, RAW_ARGS(in)), sizeof(struct fuse_attr_out));
}

unsigned bad_entries(struct fn_env *env, const char *name)
{
	DIR *dir = opendir(fn_path(env, name));
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}
