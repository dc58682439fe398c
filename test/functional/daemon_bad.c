/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that means harm, through the whole daemon: rings, chains and lengths that are wrong. What it sends is refused by
 * the errno or the broken ring that the documents name, the guest of another device is served as before, and so is the next
 * guest of the same device.
 */
#include "bad_rig.h"

#include <pthread.h>
#include <stdatomic.h>

static int64_t bad_requests(struct bad *b)
{
	return fn_figure(b->env, "devices.0.bad_requests");
}

/* --- malformed chains: given back with length 0, and the ring goes on --- */

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

/** Up to four descriptors of the ring, or of an indirect table. Addresses are relative to @base. */
struct chain {
	const char *what;
	enum { ABSOLUTE, OF_IN, OF_END, OF_TABLE } base;
	struct vring_desc d[4];
	bool in_table; /* d is the table's, which a good descriptor of the ring names */
};

static const struct chain bad_chains[] = {
    {"names itself", OF_IN, {{0, 40, NEXT, 0}}, false},
    {"loop of two", OF_IN, {{0, 40, NEXT, 1}, {0, 40, NEXT, 0}}, false},
    {"loop of nothing", OF_IN, {{0, 0, NEXT, 1}, {0, 0, NEXT, 0}}, false},
    {"loop in a table", OF_IN, {{0, 40, NEXT, 1}, {0, 40, NEXT, 0}}, true},
    {"next beyond the ring", OF_IN, {{0, 40, NEXT, RAW_RING}}, false},
    {"next far beyond the ring", OF_IN, {{0, 40, NEXT, UINT16_MAX}}, false},
    {"next beyond the table", OF_IN, {{0, 40, NEXT, 4}}, true},
    {"address 0", ABSOLUTE, {{0, 40, 0, 0}}, false},
    {"address outside", ABSOLUTE, {{0xffffffff00000000, 40, 0, 0}}, false},
    {"wraps around", ABSOLUTE, {{UINT64_MAX - 15, 40, 0, 0}}, false},
    {"wraps around to 0", ABSOLUTE, {{UINT64_MAX - 39, 40, 0, 0}}, false},
    {"behind the end", OF_END, {{0, 40, 0, 0}}, false},
    {"over the end", OF_END, {{-(uint64_t)20, 40, 0, 0}}, false},
    {"answer over the end", OF_END, {{-(uint64_t)4096, 40, NEXT, 1}, {-(uint64_t)8, 16, WRITE, 0}}, false},
    {"longest of all", OF_IN, {{0, UINT32_MAX, 0, 0}}, false},
    {"readable behind writable", OF_IN, {{0, 40, NEXT | WRITE, 1}, {0, 40, 0, 0}}, false},
    {"table of nothing", OF_TABLE, {{0, 0, INDIRECT, 0}}, false},
    {"table of a byte too many", OF_TABLE, {{0, 17, INDIRECT, 0}}, false},
    {"table of half an entry", OF_TABLE, {{0, 8, INDIRECT, 0}}, false},
    {"table and a next one", OF_TABLE, {{0, 16, INDIRECT | NEXT, 1}}, false},
    {"table that is not aligned", OF_TABLE, {{1, 16, INDIRECT, 0}}, false},
    {"table outside", ABSOLUTE, {{0xffffffff00000000, 16, INDIRECT, 0}}, false},
    {"table that wraps around", ABSOLUTE, {{UINT64_MAX - 15, 32, INDIRECT, 0}}, false},
    {"table over the end", OF_END, {{-(uint64_t)16, 32, INDIRECT, 0}}, false},
    {"table of 4 GiB", OF_TABLE, {{0, 0xfffffff0, INDIRECT, 0}}, false},
    {"table in a table", OF_TABLE, {{0, 16, INDIRECT, 0}}, true},
    {"table behind a segment", OF_TABLE, {{0, 40, NEXT, 1}, {0, 17, INDIRECT, 0}}, false},
    {"no bytes at all", OF_IN, {{0, 0, 0, 0}}, false},
    {"half a header", OF_IN, {{0, 39, 0, 0}}, false},
    {"nothing to read", OF_IN, {{0, 4096, WRITE, 0}}, false},
};

static void chain_put(struct bad *b, const struct chain *c)
{
	const struct sfs_fe_region *r = &b->g->mem.region[0];
	uint64_t base[] = {0, b->in_gpa, r->gpa + r->bytes, b->table_gpa};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(c->d); i++) {
		struct vring_desc d = c->d[i];

		d.addr += base[c->base];
		if (c->in_table)
			b->table[i] = d;
		else
			sfs_fe_ring_set_desc(b->ring, i, d.addr, d.len, d.flags, d.next);
	}
	if (c->in_table)
		sfs_fe_ring_set_desc(b->ring, 0, b->table_gpa, sizeof(c->d), INDIRECT, 0);
}

static void test_malformed_chains(struct fn_env *env)
{
	struct bad b;

	bad_begin(&b, env);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(bad_chains); i++) {
		int64_t before = bad_requests(&b);
		uint32_t used;

		memset(b.in, 0, RAW_IN);
		((struct fuse_in_header *)(void *)b.in)->len = HEAD_BYTES;
		chain_put(&b, &bad_chains[i]);
		raw_show(&b, 0);
		used = raw_wait(&b, 0);
		if (used || bad_requests(&b) != before + 1)
			fail_msg("%s: used length %u, %ld bad requests", bad_chains[i].what, used,
				 (long)(bad_requests(&b) - before));
		raw_serves(&b);
		bad_others_live(&b);
	}
	fn_work(b.g, "work", 1);
	bad_end(&b);
}

/* 1,024 segments are the most, however they are named. */
static void test_longest_chains(struct fn_env *env)
{
	struct fuse_getattr_in in = {0};
	struct bad b;

	bad_begin(&b, env);
	/* 56 bytes of request and 968 of room, each a descriptor of its own: as long as a chain may be. */
	raw_is(&b, "1,024 pieces", RAW(FUSE_GETATTR, FUSE_ROOT_ID, RAW_ARGS(in), .room = 968, .piece = 1),
	       sizeof(struct fuse_attr_out));
	raw_is(&b, "1,025 pieces", RAW(FUSE_GETATTR, FUSE_ROOT_ID, RAW_ARGS(in), .room = 969, .piece = 1),
	       NO_ANSWER);
	raw_is(&b, "4,056 pieces", RAW(FUSE_GETATTR, FUSE_ROOT_ID, RAW_ARGS(in), .room = 4000, .piece = 1),
	       NO_ANSWER);
	raw_is(&b, "pieces of 3", RAW(FUSE_LOOKUP, FUSE_ROOT_ID, RAW_NAME("file"), .piece = 3, .room = 999),
	       sizeof(struct fuse_entry_out));
	for (unsigned i = 0; i < RAW_TABLE; i++)
		b.table[i] = (struct vring_desc){b.in_gpa, 0, NEXT, (uint16_t)(i + 1)};
	sfs_fe_ring_set_desc(b.ring, 0, b.table_gpa, RAW_TABLE * sizeof(*b.table), INDIRECT, 0);
	raw_show(&b, 0);
	assert_int_equal(raw_wait(&b, 0), 0);
	raw_serves(&b);
	bad_end(&b);
}

/* --- broken rings: that queue stops, says why, and can be set up again --- */

static void break_head(struct bad *b)
{
	sfs_fe_ring_put_head(b->ring, RAW_RING);
}

static void break_index(struct bad *b)
{
	b->ring->avail_idx = (uint16_t)(b->ring->avail_idx + RAW_RING + 1);
}

static void break_twice(struct bad *b)
{
	sfs_fe_ring_set_desc(b->ring, 0, b->in_gpa, HEAD_BYTES, 0, 0);
	sfs_fe_ring_put_head(b->ring, 0);
	sfs_fe_ring_put_head(b->ring, 0);
}

/* The head of a request that waits for a lock. */
static void break_parked(struct bad *b)
{
	struct fuse_lk_in in = {.fh = b->fh, .owner = 1, .lk = {.end = INT64_MAX, .type = F_WRLCK}};
	struct sfs_fg_call lock = {
	    .opcode = FUSE_SETLK, .nodeid = b->file, .args = &in, .args_bytes = sizeof(in)};

	fn_ok(sfs_fg_call(b->g, &lock, NULL, NULL, NULL));
	in.owner = 2;
	raw_start(b, RAW(FUSE_SETLKW, b->file, RAW_ARGS(in)));
	fn_until(fn_figure(b->env, "devices.0.queues.2.in_flight") == 1);
	sfs_fe_ring_put_head(b->ring, 0);
}

static const struct {
	void (*spoil)(struct bad *b);
	const char *says;
} bad_rings[] = {
    {break_head, "queue 2 stopped: avail ring names a descriptor beyond the table"},
    {break_index, "queue 2 stopped: avail index runs ahead by more than the ring holds"},
    {break_twice, "queue 2 stopped: one head is in flight twice"},
    {break_parked, "queue 2 stopped: one head is in flight twice"},
};

static void test_broken_rings(struct fn_env *env)
{
	struct bad b;

	bad_begin(&b, env);
	for (unsigned i = 0; i < 2 * SFS_ARRAY_SIZE(bad_rings); i++) {
		uint32_t id, bytes;

		bad_rings[i / 2].spoil(&b);
		assert_true(sfs_fe_ring_publish(b.ring) >= 0);
		fn_ok(sfs_fe_ring_kick(b.ring));
		fn_until(fn_figure_is(env, "devices.0.state", "broken"));
		assert_true(fn_log_has(env, bad_rings[i / 2].says));
		fn_work(b.g, "work", 1); /* its other queues go on */
		bad_others_live(&b);
		/* What comes after is not looked at any more. */
		while (sfs_fe_ring_poll_raw(b.ring, &id, &bytes))
			;
		raw_show(&b, 1);
		fn_work(b.g, "work", 1);
		assert_int_equal(sfs_fe_ring_poll_raw(b.ring, &id, &bytes), 0);
		if (i % 2) {
			fn_guest_leave(env, b.g);
			bad_arrive(&b);
		} else {
			fn_ok(sfs_fg_stop(b.g));
			for (unsigned q = 0; q < b.g->queue_count; q++)
				sfs_fe_ring_reset(&b.g->queue[q].ring, 0);
			fn_ok(sfs_fg_restart(b.g));
		}
		raw_serves(&b);
		fn_work(b.g, "work", 1);
	}
	bad_end(&b);
}

/* --- requests that do not fit their chain --- */

static void test_lengths(struct fn_env *env)
{
	struct fuse_getattr_in getattr = {0};
	struct fuse_mkdir_in mkdir = {.mode = 0755};
	struct fuse_forget_in forget = {.nlookup = 1};
	const uint32_t lens[] = {1,
				 16,
				 HEAD_BYTES - 1,
				 HEAD_BYTES + sizeof(getattr) + 1,
				 UINT32_MAX,
				 HEAD_BYTES + sizeof(getattr) - 1,
				 HEAD_BYTES};
	const struct raw make = *RAW(FUSE_MKDIR, FUSE_ROOT_ID, RAW_ARGS(mkdir), RAW_NAME("made"));
	struct raw r;
	struct bad b;

	bad_begin(&b, env);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(lens); i++) {
		r = *RAW(FUSE_GETATTR, FUSE_ROOT_ID, RAW_ARGS(getattr), .len = lens[i]);
		raw_is(&b, "header's length", &r, -EINVAL);
	}
	/* What the header does not count is not looked at. */
	r = *RAW(FUSE_GETATTR, FUSE_ROOT_ID, RAW_ARGS(getattr), .readable = 4096);
	raw_is(&b, "chain longer than the request", &r, sizeof(struct fuse_attr_out));
	r = *RAW(FUSE_LOOKUP, FUSE_ROOT_ID, RAW_NAME("file"), .len = HEAD_BYTES + 4);
	raw_is(&b, "name cut short", &r, -EINVAL);
	r.len = HEAD_BYTES;
	raw_is(&b, "no name", &r, -EINVAL);
	for (uint32_t n = 1; n < HEAD_BYTES; n++) {
		r = *RAW(FUSE_GETATTR, FUSE_ROOT_ID, RAW_ARGS(getattr), .readable = n);
		raw_is(&b, "header cut short", &r, NO_ANSWER);
	}
	/* Where no answer fits nothing is done, and where it fits only in part, it is said. */
	for (uint32_t room = 0; room < ANSWER_BYTES; room++) {
		r = make;
		r.room = room;
		r.no_room = room == 0;
		raw_is(&b, "no room for an answer", &r, NO_ANSWER);
	}
	for (uint32_t room = ANSWER_BYTES; room < ANSWER_BYTES + sizeof(struct fuse_entry_out); room++) {
		r = make;
		r.room = room;
		raw_is(&b, "no room for the entry", &r, -EINVAL);
	}
	assert_int_equal(access(fn_path(env, "bad/made"), F_OK), -1);
	r = *RAW(FUSE_FORGET, 12345, RAW_ARGS(forget));
	raw_is(&b, "FORGET with room", &r, NO_ANSWER);
	r = *RAW(FUSE_FORGET, b.other, RAW_ARGS(forget), .len = HEAD_BYTES + 4);
	raw_is(&b, "FORGET cut short", &r, NO_ANSWER);
	fn_ok(sfs_fg_access(b.g, b.other, F_OK)); /* it was not obeyed */
	for (unsigned i = 0; i < 70; i++) {
		const uint32_t opcodes[] = {0, 7, 19, 54, 63, 64, 65, 4000, 4096, UINT32_MAX};

		r = *RAW(opcodes[i % SFS_ARRAY_SIZE(opcodes)], FUSE_ROOT_ID);
		raw_is(&b, "unknown operation", &r, -ENOSYS);
	}
	raw_serves(&b);
	bad_end(&b);
}

/* Everything that is smaller than it says, or larger than it can be. */
static void test_data(struct fn_env *env)
{
	struct fuse_write_in wr = {.size = 11};
	struct fuse_read_in rd = {.size = UINT32_MAX};
	char got[16];
	struct bad b;

	bad_begin(&b, env);
	wr.fh = rd.fh = b.fh;
	raw_is(&b, "WRITE of more than there is",
	       RAW(FUSE_WRITE, b.file, RAW_ARGS(wr), .tail = "abcdefghij", .tail_bytes = 10), -EINVAL);
	raw_is(&b, "WRITE of what the header does not count",
	       RAW(FUSE_WRITE, b.file, RAW_ARGS(wr), .tail = "abcdefghijk", .tail_bytes = 11,
		   .len = HEAD_BYTES + sizeof(wr) + 10),
	       -EINVAL);
	wr.size = UINT32_MAX;
	raw_is(&b, "WRITE of 4 GiB", RAW(FUSE_WRITE, b.file, RAW_ARGS(wr), RAW_NAME("abc")), -EINVAL);
	wr.size = 3;
	wr.offset = UINT64_MAX;
	raw_is(&b, "WRITE at the end of all", RAW(FUSE_WRITE, b.file, RAW_ARGS(wr), RAW_NAME("abc")),
	       -EINVAL);
	wr.offset = INT64_MAX - 1;
	raw_is(&b, "WRITE over the end of all", RAW(FUSE_WRITE, b.file, RAW_ARGS(wr), RAW_NAME("abc")),
	       -EINVAL);
	fn_host_read(env, "../bad/file", got, 10);
	assert_memory_equal(got, "0123456789", 10);

	raw_is(&b, "READ of 4 GiB", RAW(FUSE_READ, b.file, RAW_ARGS(rd)), -EINVAL);
	rd.size = 1u << 20;
	raw_is(&b, "READ of more than there is room for",
	       RAW(FUSE_READ, b.file, RAW_ARGS(rd), .room = ANSWER_BYTES + 4), 4);
	assert_memory_equal(b.out + ANSWER_BYTES, "0123", 4);
	raw_is(&b, "READ in pieces",
	       RAW(FUSE_READ, b.file, RAW_ARGS(rd), .room = ANSWER_BYTES + 7, .piece = 1), 7);
	assert_memory_equal(b.out + ANSWER_BYTES, "0123456", 7);
	raw_is(&b, "READ without room", RAW(FUSE_READ, b.file, RAW_ARGS(rd), .room = ANSWER_BYTES), 0);
	rd.offset = UINT64_MAX;
	raw_is(&b, "READ at the end of all", RAW(FUSE_READ, b.file, RAW_ARGS(rd)), -EINVAL);
	bad_end(&b);
}

/* Lists and values. */
static void test_lists(struct fn_env *env)
{
	static uint8_t tail[RAW_IN / 2 + 8192];
	const uint64_t offsets[] = {1, 7, 12345, UINT32_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
	struct bad b;

	bad_begin(&b, env);
	for (unsigned i = 0; i < 2 * SFS_ARRAY_SIZE(offsets); i++) {
		struct fuse_read_in in = {.fh = b.dirfh, .offset = offsets[i / 2], .size = 4096};
		int rc = raw_call(&b, RAW(i % 2 ? FUSE_READDIR : FUSE_READDIRPLUS, b.dir, RAW_ARGS(in)));

		assert_true(rc == -EINVAL || (rc >= 0 && rc <= 4096));
	}
	for (uint32_t size = 0; size < 24; size += 8) {
		struct fuse_read_in in = {.fh = b.dirfh, .size = size};

		raw_is(&b, "READDIR of nothing", RAW(FUSE_READDIR, b.dir, RAW_ARGS(in)), -EINVAL);
	}
	struct fuse_read_in all = {.fh = b.dirfh, .size = UINT32_MAX};
	raw_is(&b, "READDIR", RAW(FUSE_READDIR, b.dir, RAW_ARGS(all)), 2 * 32);
	raw_is(&b, "READDIR of 4 GiB with room for one",
	       RAW(FUSE_READDIR, b.dir, RAW_ARGS(all), .room = ANSWER_BYTES + 40), 32);
	raw_is(&b, "READDIR without room", RAW(FUSE_READDIR, b.dir, RAW_ARGS(all), .room = ANSWER_BYTES),
	       -EINVAL);

	struct {
		uint32_t size, flags;
	} set = {.size = 4};
	memcpy(tail, "user.a", 7);
	for (uint32_t bytes = 0; bytes < 4; bytes++)
		raw_is(&b, "SETXATTR of more than there is",
		       RAW(FUSE_SETXATTR, b.file, RAW_ARGS(set), .tail = tail, .tail_bytes = 7 + bytes),
		       -EINVAL);
	set.size = UINT32_MAX;
	raw_is(&b, "SETXATTR of 4 GiB",
	       RAW(FUSE_SETXATTR, b.file, RAW_ARGS(set), .tail = tail, .tail_bytes = 64), -EINVAL);
	set.size = sizeof(tail) - 7;
	raw_is(&b, "SETXATTR of more than a value holds",
	       RAW(FUSE_SETXATTR, b.file, RAW_ARGS(set), .tail = tail, .tail_bytes = sizeof(tail)),
	       -ENAMETOOLONG);
	fn_fails(ENODATA, sfs_fg_getxattr(b.g, b.file, "user.a", NULL, 0));
	fn_ok(sfs_fg_setxattr(b.g, b.file, "user.a", "value", 5, 0));
	struct fuse_getxattr_in get = {.size = UINT32_MAX};
	raw_is(&b, "GETXATTR without room",
	       RAW(FUSE_GETXATTR, b.file, RAW_ARGS(get), RAW_NAME("user.a"), .room = ANSWER_BYTES + 4),
	       -ERANGE);
	raw_is(&b, "GETXATTR without any room",
	       RAW(FUSE_GETXATTR, b.file, RAW_ARGS(get), RAW_NAME("user.a"), .room = ANSWER_BYTES), -ERANGE);
	fn_ok(sfs_fg_setxattr(b.g, b.file, "user.empty", "", 0, 0));
	raw_is(&b, "GETXATTR of nothing without any room",
	       RAW(FUSE_GETXATTR, b.file, RAW_ARGS(get), RAW_NAME("user.empty"), .room = ANSWER_BYTES), 0);
	fn_ok(sfs_fg_removexattr(b.g, b.file, "user.empty"));
	raw_is(&b, "LISTXATTR without any room",
	       RAW(FUSE_LISTXATTR, b.file, RAW_ARGS(get), .room = ANSWER_BYTES), -ERANGE);
	raw_is(&b, "LISTXATTR without room",
	       RAW(FUSE_LISTXATTR, b.file, RAW_ARGS(get), .room = ANSWER_BYTES + 6), -ERANGE);
	get.size = 0;
	raw_is(&b, "GETXATTR without room for the size",
	       RAW(FUSE_GETXATTR, b.file, RAW_ARGS(get), RAW_NAME("user.a"), .room = ANSWER_BYTES + 7),
	       -EINVAL);
	fn_ok(sfs_fg_removexattr(b.g, b.file, "user.a"));
	/* What is no file's name may look like a path. */
	fn_ok(sfs_fg_setxattr(b.g, b.file, "user.a/../b", "value", 5, 0));
	assert_int_equal(sfs_fg_getxattr(b.g, b.file, "user.a/../b", NULL, 0), 5);
	fn_ok(sfs_fg_removexattr(b.g, b.file, "user.a/../b"));
	fn_fails(EOPNOTSUPP, sfs_fg_setxattr(b.g, b.file, "..", "value", 5, 0));
	fn_fails(EINVAL, sfs_fg_setxattr(b.g, b.file, "", "value", 5, 0));
	bad_end(&b);
}

/* --- noise: chains of anything, in memory that another thread writes meanwhile --- */

#define NOISE_HEADS   8
#define NOISE_TABLE   8   /* descriptors for each */
#define NOISE_REQUEST 512 /* bytes */

struct noise {
	struct bad *b;
	uint64_t seed;
	atomic_bool stop;
};

static uint64_t noise_next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static uint64_t noise_gpa(const struct bad *b, uint64_t r)
{
	const struct sfs_fe_region *m = &b->g->mem.region[0];
	const uint64_t some[] = {b->in_gpa,
				 b->out_gpa,
				 b->table_gpa,
				 b->in_gpa + r % RAW_IN,
				 m->gpa,
				 m->gpa + m->bytes,
				 UINT64_MAX - 7,
				 0,
				 m->gpa + m->bytes - r % 64};

	/* Mostly what works: the rest ends each chain at its first descriptor. */
	return r % 16 < SFS_ARRAY_SIZE(some) ? some[r % 16] : b->in_gpa + (r >> 32) % RAW_IN;
}

static struct vring_desc noise_desc(const struct bad *b, uint64_t *seed)
{
	uint64_t r = noise_next(seed);
	const uint32_t lens[] = {HEAD_BYTES, HEAD_BYTES, 16, 64, 4096, 80, (uint32_t)(r >> 40) % 300, 0};
	uint16_t flags = r % 3 ? NEXT : 0;

	if (r % 5 == 0)
		flags |= WRITE;
	if (r % 41 == 0)
		flags |= INDIRECT;
	if (r % 97 == 0)
		return (struct vring_desc){noise_gpa(b, r >> 8), (uint32_t)(r >> 32), (uint16_t)(r >> 16),
					   (uint16_t)r};
	return (struct vring_desc){noise_gpa(b, r >> 8), lens[(r >> 24) % SFS_ARRAY_SIZE(lens)], flags,
				   (uint16_t)((r >> 28) % 8)};
}

/* A header of any operation but those that would fill the disk, make files that cannot be removed, or wait for ever. */
static void noise_request(const struct bad *b, uint8_t *at, uint64_t *seed)
{
	struct fuse_in_header head = {.len = HEAD_BYTES + 40 + (uint32_t)(noise_next(seed) % 200),
				      .opcode = (uint32_t)(noise_next(seed) % 55),
				      .unique = noise_next(seed)};
	uint64_t pick = noise_next(seed);
	const uint64_t ids[] = {FUSE_ROOT_ID, FUSE_ROOT_ID, b->file, b->fh, b->dirfh, pick % 8, pick};

	if (head.opcode == FUSE_FALLOCATE || head.opcode == FUSE_IOCTL || head.opcode == FUSE_SETLKW)
		head.opcode = FUSE_GETATTR;
	/* Not too often: all is forgotten then. */
	if ((head.opcode == FUSE_INIT || head.opcode == FUSE_DESTROY || head.opcode == FUSE_FORGET) &&
	    pick % 32)
		head.opcode = FUSE_LOOKUP;
	head.nodeid = ids[noise_next(seed) % SFS_ARRAY_SIZE(ids)];
	memcpy(at, &head, sizeof(head));
	for (unsigned i = 0; i < (NOISE_REQUEST - HEAD_BYTES) / 8; i++) {
		uint64_t r = noise_next(seed),
			 word = r % 3 ? ids[(r >> 8) % SFS_ARRAY_SIZE(ids)] : r >> (r % 64);

		memcpy(at + HEAD_BYTES + 8 * (size_t)i, &word, sizeof(word));
	}
	if (pick >> 60 < 6) { /* a name, or two, perhaps with arguments before them */
		memset(at + HEAD_BYTES + pick % 5 * 8, 'a' + (int)(pick >> 8) % 4, head.len - HEAD_BYTES);
		at[head.len - 1] = '\0';
		if (pick >> 60 < 2)
			at[head.len - 4] = '\0';
	}
}

/* Writes descriptors while the daemon walks them. Headers stay: they say what must not be asked. */
static void *noise_thread(void *arg)
{
	struct noise *n = arg;
	uint64_t seed = n->seed * 3 + 1;

	while (!atomic_load(&n->stop)) {
		uint64_t r = noise_next(&seed) % ((uint64_t)NOISE_HEADS * NOISE_REQUEST);

		n->b->table[noise_next(&seed) % ((uint64_t)NOISE_HEADS * NOISE_TABLE)] =
		    noise_desc(n->b, &seed);
		if (r % NOISE_REQUEST >= HEAD_BYTES)
			n->b->in[r] = (uint8_t)noise_next(&seed);
		usleep(20);
	}
	return NULL;
}

/* A request of two or three descriptors in table @i, and one in eight times something else. Returns its head. */
static uint16_t noise_chain(struct bad *b, unsigned i, uint64_t *seed)
{
	struct vring_desc *table = b->table + NOISE_TABLE * (size_t)i;
	uint64_t r = noise_next(seed), in = b->in_gpa + NOISE_REQUEST * (uint64_t)i;
	uint32_t first = r % 4 ? NOISE_REQUEST : HEAD_BYTES;
	unsigned n = 0;

	noise_request(b, b->in + NOISE_REQUEST * (size_t)i, seed);
	table[n++] = (struct vring_desc){in, first, NEXT, 1};
	if (first != NOISE_REQUEST)
		table[n++] = (struct vring_desc){in + first, NOISE_REQUEST - first, NEXT, 2};
	table[n++] = (struct vring_desc){b->out_gpa + 4096 * (uint64_t)i, 4096, WRITE, 0};
	sfs_fe_ring_set_desc(b->ring, i, b->table_gpa + NOISE_TABLE * sizeof(*table) * (uint64_t)i,
			     NOISE_TABLE * sizeof(*table), INDIRECT, 0);
	if ((r >> 8) % 8 == 0)
		table[(r >> 16) % n] = noise_desc(b, seed);
	if ((r >> 24) % 16 == 0)
		b->ring->desc[i] = noise_desc(b, seed);
	return (uint16_t)((r >> 32) % 509 ? i : r >> 48);
}

/* One batch. The daemon gives all of it back, or says that the ring is broken, which is then reset. */
static void noise_round(struct bad *b, uint64_t *seed)
{
	unsigned heads = 1 + (unsigned)(noise_next(seed) % NOISE_HEADS), back = 0;
	uint32_t id, bytes;

	for (unsigned i = 0; i < heads; i++)
		sfs_fe_ring_put_head(b->ring, noise_chain(b, i, seed));
	assert_true(sfs_fe_ring_publish(b->ring) >= 0);
	for (unsigned spins = 0; back < heads; spins++) {
		if (sfs_fe_ring_poll_raw(b->ring, &id, &bytes)) {
			back++;
		} else if (spins < 1000) {
			sfs_pause();
		} else if (fn_figure_is(b->env, "devices.0.state", "broken")) {
			fn_ok(sfs_fg_stop(b->g));
			for (unsigned q = 0; q < b->g->queue_count; q++)
				sfs_fe_ring_reset(&b->g->queue[q].ring, 0);
			fn_ok(sfs_fg_restart(b->g));
			return;
		} else {
			assert_true(fn_alive(b->env));
			usleep(1000);
			assert_true(spins < 1000 + FN_WAIT_MS);
		}
	}
}

static void test_noise(struct fn_env *env)
{
	unsigned rounds = fn_full() ? 50000 : 2000;
	const char *given = getenv("SPINFS_TEST_SEED");
	struct noise n = {.seed = given ? strtoull(given, NULL, 0) : sfs_now_ns() | 1};
	uint64_t seed = n.seed;
	pthread_t thread;
	struct bad b;

	print_message("SPINFS_TEST_SEED=%llu\n", (unsigned long long)seed);
	bad_begin(&b, env);
	n.b = &b;
	assert_int_equal(pthread_create(&thread, NULL, noise_thread, &n), 0);
	for (unsigned i = 0; i < rounds && fn_alive(env); i++) {
		if (i % 16 == 0)
			fn_init(b.g);
		noise_round(&b, &seed);
		if (i % 500 == 0)
			bad_others_live(&b);
	}
	atomic_store(&n.stop, true);
	pthread_join(thread, NULL);
	bad_others_live(&b);
	/* Some of it made sense. */
	assert_true(bad_requests(&b) > 100);
	assert_true(fn_figure(env, "devices.0.ops.GETATTR.count") >
		    fn_figure(env, "devices.0.ops.GETATTR.errors") + 10);
	assert_int_equal(
	    fn_shell(NULL, 0,
		     "cd %s && chmod 755 . && chown 0:0 . && find . -mindepth 1 -delete && mkdir dir",
		     fn_path(env, "bad")),
	    0);
	fn_put(fn_path(env, "bad/file"), "0123456789");
	fn_put(fn_path(env, "bad/other"), "other");
	bad_end(&b);
}

const struct fn_test fn_tests[] = {
    {"malformed chains", test_malformed_chains, {NULL}, FN_NO_DAEMON},
    {"longest chains", test_longest_chains, {NULL}, FN_NO_DAEMON},
    {"broken rings", test_broken_rings, {NULL}, FN_NO_DAEMON},
    {"lengths", test_lengths, {NULL}, FN_NO_DAEMON},
    {"data", test_data, {NULL}, FN_NO_DAEMON},
    {"lists", test_lists, {NULL}, FN_NO_DAEMON},
    {"noise", test_noise, {NULL}, FN_NO_DAEMON},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
