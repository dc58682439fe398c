/* SPDX-License-Identifier: BSD-3-Clause */
/* The walk over chains that guests get wrong, and the indexes around it. */
#include "virtq_rig.h"

/* A malformed chain is taken, told so, and can be given back; the next one is served. */
static void assert_bad(struct rig *r, unsigned head)
{
	assert_int_equal(rig_try(r, head), -EBADMSG);
	assert_null(r->vq.fault);
	assert_int_equal(r->chain.head, head);
	rig_done(r, 0);
	rig_desc(r, 15, FAR, 8, 0, 0);
	assert_int_equal(rig_try(r, 15), 1);
	rig_seg(r, 0, FAR, 8);
	rig_done(r, 0);
}

static void assert_good(struct rig *r, unsigned head, unsigned readable, unsigned writable)
{
	assert_int_equal(rig_try(r, head), 1);
	assert_int_equal(r->chain.readable_count, readable);
	assert_int_equal(r->chain.writable_count, writable);
}

/* --- well-formed --- */

static void test_readable_then_writable(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 3, FAR, 40, NEXT, 7);
	rig_desc(r, 7, NEAR + 5, 16, NEXT, 1);
	rig_desc(r, 1, RAM + 0x1000, 4096, WRITE, 99);
	assert_good(r, 3, 2, 1);
	rig_seg(r, 0, FAR, 40);
	rig_seg(r, 1, NEAR + 5, 16);
	rig_seg(r, 2, RAM + 0x1000, 4096);
	assert_int_equal(r->chain.readable_bytes, 56);
	assert_int_equal(r->chain.writable_bytes, 4096);
	rig_done(r, 123);
	assert_int_equal(r->used->idx, 1);
	assert_int_equal(r->used->ring[0].id, 3);
	assert_int_equal(r->used->ring[0].len, 123);
	rig_free(r);
}

static void test_zero_length_segments_vanish(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, HOLE, 0, NEXT, 1); /* an address that would be refused if it were used */
	rig_desc(r, 1, FAR, 8, NEXT, 2);
	rig_desc(r, 2, UINT64_MAX, 0, NEXT | WRITE, 3);
	rig_desc(r, 3, FAR + FAR_BYTES, 0, WRITE, 0);
	assert_good(r, 0, 1, 0);
	rig_seg(r, 0, FAR, 8);
	rig_free(r);
}

static void test_indirect_table(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 2, TABLE, 3 * 16, INDIRECT, 0);
	rig_entry(r, 0, FAR, 40, NEXT, 2);
	rig_entry(r, 2, NEAR, 4, NEXT, 1);
	rig_entry(r, 1, NEAR + 8, 100, WRITE, 0);
	assert_good(r, 2, 2, 1);
	rig_seg(r, 1, NEAR, 4);
	rig_seg(r, 2, NEAR + 8, 100);
	rig_free(r);
}

static void test_indirect_after_direct(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, FAR, 40, NEXT, 1);
	rig_desc(r, 1, TABLE, 16, INDIRECT, 0);
	rig_entry(r, 0, NEAR, 100, WRITE, 0);
	assert_good(r, 0, 1, 1);
	rig_free(r);
}

/* --- addresses and lengths --- */

static void test_address_at_both_ends(void **state)
{
	static const struct {
		uint64_t begin, end;
		bool joins; /* another region follows for the guest */
	} at[] = {{RAM, NEAR, true}, {NEAR, HOLE, false}, {FAR, FAR + FAR_BYTES, false}};
	struct rig *r = rig_new(&plain);

	for (unsigned i = 0; i < 3; i++) {
		rig_desc(r, 0, at[i].begin, 1, 0, 0);
		assert_good(r, 0, 1, 0);
		rig_done(r, 0);
		rig_desc(r, 0, at[i].end - 1, 1, WRITE, 0);
		assert_good(r, 0, 0, 1);
		rig_seg(r, 0, at[i].end - 1, 1);
		rig_done(r, 0);
		rig_desc(r, 0, at[i].begin, (uint32_t)(at[i].end - at[i].begin), 0, 0);
		assert_good(r, 0, 1, 0);
		rig_done(r, 0);
		if (at[i].begin != NEAR) {
			rig_desc(r, 0, at[i].begin - 1, 1, 0, 0);
			assert_bad(r, 0);
			rig_desc(r, 0, at[i].begin - 1, 2, WRITE, 0);
			assert_bad(r, 0);
		}
		if (!at[i].joins) {
			rig_desc(r, 0, at[i].end, 1, WRITE, 0);
			assert_bad(r, 0);
			rig_desc(r, 0, at[i].end - 1, 2, 0, 0);
			assert_bad(r, 0);
		}
	}
	rig_free(r);
}

static void test_address_zero_and_high(void **state)
{
	static const uint64_t bad[] = {0,          1,          RAM - 4096, HOLE + 1,
				       1ull << 32, 1ull << 63, UINT64_MAX, UINT64_MAX - 7};
	struct rig *r = rig_new(&plain);

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(bad); i++) {
		rig_desc(r, 0, bad[i], 8, i & 1 ? WRITE : 0, 0);
		assert_bad(r, 0);
	}
	rig_free(r);
}

static void test_length_wrap(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, FAR + 16, UINT32_MAX, 0, 0);
	assert_bad(r, 0);
	rig_desc(r, 0, UINT64_MAX - 15, 32, WRITE, 0);
	assert_bad(r, 0);
	rig_desc(r, 0, RAM, UINT32_MAX, WRITE, 0);
	assert_bad(r, 0);
	rig_free(r);
}

static void test_segment_crosses_regions(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, NEAR - 24, 64, WRITE, 0);
	assert_good(r, 0, 0, 2);
	rig_seg(r, 0, NEAR - 24, 24);
	rig_seg(r, 1, NEAR, 40);
	assert_int_equal(r->chain.writable_bytes, 64);
	rig_free(r);
}

static void test_segment_crosses_into_hole(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, NEAR - 24, (uint32_t)(24 + NEAR_BYTES + 1), WRITE, 0);
	assert_bad(r, 0);
	rig_desc(r, 0, HOLE - 1, 2, 0, 0);
	assert_bad(r, 0);
	rig_free(r);
}

/* --- order and links --- */

static void test_readable_after_writable(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, FAR, 8, NEXT | WRITE, 1);
	rig_desc(r, 1, FAR, 8, 0, 0);
	assert_bad(r, 0);
	rig_desc(r, 1, TABLE, 16, INDIRECT, 0);
	rig_entry(r, 0, FAR, 8, 0, 0);
	assert_bad(r, 0);
	rig_free(r);
}

static void test_loop_direct(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, FAR, 8, NEXT, 0); /* itself */
	assert_bad(r, 0);
	rig_desc(r, 0, FAR, 8, NEXT, 1);
	rig_desc(r, 1, FAR, 8, NEXT, 2);
	rig_desc(r, 2, FAR, 8, NEXT, 1); /* back into the middle */
	assert_bad(r, 0);
	rig_free(r);
}

static void test_loop_direct_of_nothing(void **state)
{
	struct rig *r = rig_new(&plain);

	for (unsigned i = 0; i < 15; i++)
		rig_desc(r, i, 0, 0, NEXT, (i + 1) % 15);
	assert_bad(r, 0);
	rig_free(r);
}

static void test_loop_indirect(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, TABLE, 4 * 16, INDIRECT, 0);
	for (unsigned i = 0; i < 4; i++)
		rig_entry(r, i, FAR, 8, NEXT | WRITE, (i + 1) % 4);
	assert_bad(r, 0);
	rig_entry(r, 0, FAR, 8, NEXT, 0);
	assert_bad(r, 0);
	rig_free(r);
}

/* A table is as large as the guest likes; the walk over it is not. */
static void test_loop_in_huge_table_of_nothing(void **state)
{
	struct rig *r = rig_new(&plain);
	unsigned entries = (NEAR - TABLE) / 16;

	rig_desc(r, 0, TABLE, entries * 16, INDIRECT, 0);
	for (unsigned i = 0; i < entries; i++)
		rig_entry(r, i, 0, 0, NEXT, (i + 1) % 0x10000);
	rig_entry(r, SFS_CHAIN_SEGS_MAX, 0, 0, 0, 0); /* it would end here, one step too late */
	assert_bad(r, 0);
	rig_entry(r, SFS_CHAIN_SEGS_MAX - 1, FAR, 8, 0, 0);
	assert_good(r, 0, 1, 0);
	rig_free(r);
}

static void test_next_out_of_range(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, FAR, 8, NEXT, 16);
	assert_bad(r, 0);
	rig_desc(r, 0, FAR, 8, NEXT, 65535);
	assert_bad(r, 0);
	rig_desc(r, 0, TABLE, 2 * 16, INDIRECT, 0);
	rig_entry(r, 0, FAR, 8, NEXT, 2);
	rig_entry(r, 2, FAR, 8, 0, 0); /* there, but not in the table */
	assert_bad(r, 0);
	rig_free(r);
}

/* --- indirect tables --- */

static void test_indirect_with_next(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, TABLE, 16, INDIRECT | NEXT, 1);
	rig_desc(r, 1, FAR, 8, 0, 0);
	rig_entry(r, 0, FAR, 8, 0, 0);
	assert_bad(r, 0);
	rig_free(r);
}

static void test_indirect_length(void **state)
{
	static const uint32_t bad[] = {0, 1, 8, 15, 17, 24, 31, 33};
	struct rig *r = rig_new(&plain);

	rig_entry(r, 0, FAR, 8, 0, 0);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(bad); i++) {
		rig_desc(r, 0, TABLE, bad[i], INDIRECT, 0);
		assert_bad(r, 0);
	}
	rig_free(r);
}

static void test_indirect_nested(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, TABLE, 2 * 16, INDIRECT, 0);
	rig_entry(r, 0, FAR, 8, NEXT, 1);
	rig_entry(r, 1, TABLE, 2 * 16, INDIRECT, 0); /* itself */
	assert_bad(r, 0);
	rig_entry(r, 1, TABLE + 2 * 16, 16, INDIRECT, 0); /* one that would end */
	rig_entry(r, 2, FAR, 8, 0, 0);
	assert_bad(r, 0);
	rig_free(r);
}

/* A table at the address of the ring's own is a table: its descriptors may not name another, or the walk has no end. */
static void test_indirect_names_the_ring(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, RAM, 16 * 16, INDIRECT, 0); /* itself */
	assert_bad(r, 0);
	rig_desc(r, 1, RAM, 16 * 16, INDIRECT, 0);
	rig_desc(r, 0, FAR, 8, 0, 0);
	assert_good(r, 1, 1, 0); /* one that ends is like any other */
	rig_free(r);
}

static void test_indirect_outside_memory(void **state)
{
	static const struct {
		uint64_t at;
		uint32_t bytes;
	} bad[] = {{HOLE, 16},
		   {RAM - 16, 16},
		   {RAM - 16, 32},
		   {FAR + FAR_BYTES - 16, 32},
		   {FAR + FAR_BYTES, 16},
		   {UINT64_MAX - 15, 16},
		   {UINT64_MAX - 15, 32},
		   {FAR, 0xfffffff0},
		   {NEAR - 16, 32} /* in two regions: not in one piece for us */};
	struct rig *r = rig_new(&plain);

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(bad); i++) {
		rig_desc(r, 0, bad[i].at, bad[i].bytes, INDIRECT, 0);
		assert_bad(r, 0);
	}
	rig_free(r);
}

static void test_indirect_misaligned(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 0, TABLE + 4, 16, INDIRECT, 0);
	assert_bad(r, 0);
	rig_free(r);
}

static void test_indirect_without_the_feature(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){.no_indirect = true});

	rig_desc(r, 0, TABLE, 16, INDIRECT, 0);
	rig_entry(r, 0, FAR, 8, 0, 0);
	assert_bad(r, 0);
	rig_free(r);
}

/* --- long chains --- */

static void fill_table(struct rig *r, unsigned entries)
{
	rig_desc(r, 0, TABLE, entries * 16, INDIRECT, 0);
	for (unsigned i = 0; i < entries; i++)
		rig_entry(r, i, FAR + i, 1, (i ? WRITE : 0) | (i + 1 < entries ? NEXT : 0), i + 1);
}

static void test_long_chain_needs_the_array(void **state)
{
	struct rig *r = rig_new(&plain);

	fill_table(r, SFS_CHAIN_INLINE_SEGS);
	assert_good(r, 0, 1, SFS_CHAIN_INLINE_SEGS - 1);
	assert_ptr_equal(r->chain.iov, r->chain.inline_segs);
	rig_done(r, 0);
	fill_table(r, SFS_CHAIN_INLINE_SEGS + 1);
	rig_offer(r, 0);
	assert_int_equal(sfs_virtq_pop(&r->vq, &r->chain, NULL), -EAGAIN);
	assert_int_equal(sfs_virtq_pop(&r->vq, &r->chain, NULL), -EAGAIN);
	assert_int_equal(sfs_virtq_pending(&r->vq), 1); /* nothing was taken */
	assert_int_equal(rig_pop(r), 1);
	assert_ptr_equal(r->chain.iov, r->big);
	assert_int_equal(r->chain.writable_count, SFS_CHAIN_INLINE_SEGS);
	for (unsigned i = 0; i <= SFS_CHAIN_INLINE_SEGS; i++)
		rig_seg(r, i, FAR + i, 1);
	rig_free(r);
}

static void test_longest_chain(void **state)
{
	struct rig *r = rig_new(&plain);

	fill_table(r, SFS_CHAIN_SEGS_MAX);
	assert_good(r, 0, 1, SFS_CHAIN_SEGS_MAX - 1);
	rig_seg(r, SFS_CHAIN_SEGS_MAX - 1, FAR + SFS_CHAIN_SEGS_MAX - 1, 1);
	rig_done(r, 0);
	fill_table(r, SFS_CHAIN_SEGS_MAX + 1);
	assert_bad(r, 0);
	rig_free(r);
}

static void test_longest_chain_split_by_regions(void **state)
{
	struct rig *r = rig_new(&plain);

	/* 1,024 descriptors, one of which becomes two segments. */
	fill_table(r, SFS_CHAIN_SEGS_MAX);
	rig_entry(r, 5, NEAR - 1, 2, NEXT | WRITE, 6);
	assert_bad(r, 0);
	rig_free(r);
}

static void test_long_direct_chain(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){.size = 2048});

	for (unsigned i = 0; i < 2048; i++)
		rig_desc(r, i, FAR + i, 1, i < 1023 ? NEXT : 0, i + 1);
	assert_good(r, 0, SFS_CHAIN_SEGS_MAX, 0);
	rig_done(r, 0);
	rig_desc(r, 1023, FAR, 1, NEXT, 1024);
	assert_int_equal(rig_try(r, 0), -EBADMSG);
	rig_free(r);
}

/* --- the ring itself --- */

/* A broken ring stays broken, says why, and nobody is made to wait for it. */
static void assert_fault(struct rig *r)
{
	assert_non_null(r->vq.fault);
	assert_int_equal(sfs_virtq_pending(&r->vq), 0);
	assert_int_equal(rig_pop(r), -EPROTO);
	assert_false(sfs_virtq_arm(&r->vq));
}

static void test_head_out_of_range(void **state)
{
	static const uint16_t bad[] = {16, 17, 0x8000, 0xffff};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(bad); i++) {
		struct rig *r = rig_new(&plain);

		assert_int_equal(rig_try(r, bad[i]), -EPROTO);
		assert_fault(r);
		rig_free(r);
	}
}

static void test_avail_runs_ahead(void **state)
{
	static const uint16_t by[] = {17, 18, 0x7fff, 0x8000, 0xffff};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(by); i++) {
		struct rig *r = rig_new(&(struct rig_opts){.start = (uint16_t)(i * 13000)});

		r->avail->idx = (uint16_t)(r->avail_idx + by[i]);
		assert_int_equal(rig_pop(r), -EPROTO);
		assert_fault(r);
		rig_free(r);
	}
}

static void test_full_ring(void **state)
{
	struct rig *r = rig_new(&plain);

	for (unsigned i = 0; i < 16; i++) {
		rig_desc(r, i, FAR, i + 1, 0, 0);
		rig_offer(r, i);
	}
	assert_int_equal(sfs_virtq_pending(&r->vq), 16);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(rig_pop(r), 1);
		assert_int_equal(r->chain.readable_bytes, i + 1);
	}
	assert_int_equal(rig_pop(r), 0);
	for (unsigned i = 16; i-- > 0;)
		sfs_virtq_push(&r->vq, (uint16_t)i, i);
	assert_int_equal(r->used->idx, 0); /* not yet published */
	sfs_virtq_publish(&r->vq);
	assert_int_equal(r->used->idx, 16);
	rig_free(r);
}

static void test_one_head_twice(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 4, FAR, 8, 0, 0);
	assert_good(r, 4, 1, 0);
	assert_int_equal(rig_try(r, 4), -EPROTO);
	assert_fault(r);
	rig_free(r);
}

static void test_one_head_twice_malformed(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 4, HOLE, 8, 0, 0);
	assert_int_equal(rig_try(r, 4), -EBADMSG);
	assert_int_equal(rig_try(r, 4), -EPROTO);
	assert_fault(r);
	rig_free(r);
}

/* A queue that takes over a ring in which one chain is still unanswered takes that one again by its head. */
static void test_retake(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){.start = 9});
	struct sfs_virtq_setup s = {.mem = r->mem,
				    .desc = r->desc,
				    .avail = r->avail,
				    .used = r->used,
				    .size = 16,
				    .last_avail = 12,
				    .last_used = 10,
				    .indirect = true,
				    .call_fd = r->call_fd};

	for (unsigned i = 0; i < 3; i++) {
		rig_desc(r, i, FAR + i * 64, 8, 0, 0);
		assert_good(r, i, 1, 0);
	}
	r->chain.head = 1;
	rig_done(r, 5);
	sfs_virtq_fini(&r->vq);
	assert_int_equal(sfs_virtq_init(&r->vq, &s), 0);
	rig_desc(r, 2, HOLE, 8, 0, 0);
	assert_int_equal(sfs_virtq_retake(&r->vq, 0, &r->chain, r->big), 1);
	assert_int_equal(r->chain.head, 0);
	rig_seg(r, 0, FAR, 8);
	/* Its descriptors are what they are now. */
	assert_int_equal(sfs_virtq_retake(&r->vq, 2, &r->chain, r->big), -EBADMSG);
	assert_int_equal(r->chain.head, 2);
	rig_done(r, 0);
	assert_int_equal(r->used->ring[10].id, 2);
	assert_int_equal(r->used->idx, 11);
	/* The ring itself goes on where it stood, and a head that is in flight is not to come again. */
	assert_good(r, 2 + 1, 0, 0);
	assert_int_equal(rig_try(r, 0), -EPROTO);
	assert_fault(r);
	assert_int_equal(sfs_virtq_retake(&r->vq, 5, &r->chain, r->big), -EPROTO);
	rig_free(r);
}

static void test_head_again_after_push(void **state)
{
	struct rig *r = rig_new(&plain);

	rig_desc(r, 4, FAR, 8, 0, 0);
	for (unsigned i = 0; i < 100; i++) {
		assert_good(r, 4, 1, 0);
		rig_done(r, 0);
	}
	rig_free(r);
}

static void test_unpop(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){.start = 65534});

	rig_desc(r, 4, FAR, 8, 0, 0);
	rig_desc(r, 5, FAR, 16, 0, 0);
	for (unsigned i = 0; i < 4; i++) {
		rig_offer(r, 4);
		rig_offer(r, 5);
		assert_int_equal(rig_pop(r), 1);
		assert_int_equal(sfs_virtq_pending(&r->vq), 1);
		sfs_virtq_unpop(&r->vq, r->chain.head);
		assert_int_equal(sfs_virtq_pending(&r->vq), 2);
		for (unsigned head = 4; head <= 5; head++) {
			assert_int_equal(rig_pop(r), 1);
			assert_int_equal(r->chain.head, head);
			rig_done(r, 0);
		}
		assert_int_equal(sfs_virtq_pending(&r->vq), 0);
	}
	rig_free(r);
}

static void test_index_wrap(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){.start = 65530});

	for (unsigned i = 0; i < 40; i++) {
		rig_desc(r, i % 16, FAR, i + 1, 0, 0);
		assert_good(r, i % 16, 1, 0);
		assert_int_equal(r->chain.readable_bytes, i + 1);
		rig_done(r, i);
		assert_int_equal(r->used->idx, (uint16_t)(65531 + i));
		assert_int_equal(r->used->ring[(uint16_t)(65530 + i) % 16].id, i % 16);
		assert_int_equal(r->used->ring[(uint16_t)(65530 + i) % 16].len, i);
	}
	rig_free(r);
}

static void test_ring_sizes(void **state)
{
	static const uint16_t bad[] = {0, 3, 5, 6, 1000, 32769, 65535};
	struct rig *r = rig_new(&plain);
	struct sfs_virtq vq;

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(bad); i++) {
		struct sfs_virtq_setup s = {
		    .mem = r->mem, .desc = r->desc, .avail = r->avail, .used = r->used, .size = bad[i]};

		assert_int_equal(sfs_virtq_init(&vq, &s), -EINVAL);
	}
	rig_free(r);
	for (unsigned size = 2; size <= SFS_VIRTQ_SIZE_MAX; size *= 2) {
		r = rig_new(&(struct rig_opts){.size = size, .event_idx = true});
		for (unsigned i = 0; i < size; i++)
			rig_desc(r, i, FAR, 1 + i % 7, 0, 0);
		for (unsigned i = size; i-- > 0;)
			rig_offer(r, i);
		for (unsigned i = size; i-- > 0;) {
			assert_int_equal(rig_pop(r), 1);
			assert_int_equal(r->chain.head, i);
			sfs_virtq_push(&r->vq, r->chain.head, i);
		}
		sfs_virtq_publish(&r->vq);
		assert_int_equal(r->used->idx, size);
		assert_int_equal(r->used->ring[size - 1].id, 0);
		assert_int_equal(rig_try(r, size & 0xffff), -EPROTO);
		rig_free(r);
	}
}

static void test_bytes_of_a_ring(void **state)
{
	assert_int_equal(sfs_virtq_desc_bytes(256), 4096);
	assert_int_equal(sfs_virtq_avail_bytes(256), 4 + 512 + 2);
	assert_int_equal(sfs_virtq_used_bytes(256), 4 + 2048 + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_readable_then_writable),
	    cmocka_unit_test(test_zero_length_segments_vanish),
	    cmocka_unit_test(test_indirect_table),
	    cmocka_unit_test(test_indirect_after_direct),
	    cmocka_unit_test(test_address_at_both_ends),
	    cmocka_unit_test(test_address_zero_and_high),
	    cmocka_unit_test(test_length_wrap),
	    cmocka_unit_test(test_segment_crosses_regions),
	    cmocka_unit_test(test_segment_crosses_into_hole),
	    cmocka_unit_test(test_readable_after_writable),
	    cmocka_unit_test(test_loop_direct),
	    cmocka_unit_test(test_loop_direct_of_nothing),
	    cmocka_unit_test(test_loop_indirect),
	    cmocka_unit_test(test_loop_in_huge_table_of_nothing),
	    cmocka_unit_test(test_next_out_of_range),
	    cmocka_unit_test(test_indirect_with_next),
	    cmocka_unit_test(test_indirect_length),
	    cmocka_unit_test(test_indirect_nested),
	    cmocka_unit_test(test_indirect_names_the_ring),
	    cmocka_unit_test(test_indirect_outside_memory),
	    cmocka_unit_test(test_indirect_misaligned),
	    cmocka_unit_test(test_indirect_without_the_feature),
	    cmocka_unit_test(test_long_chain_needs_the_array),
	    cmocka_unit_test(test_longest_chain),
	    cmocka_unit_test(test_longest_chain_split_by_regions),
	    cmocka_unit_test(test_long_direct_chain),
	    cmocka_unit_test(test_head_out_of_range),
	    cmocka_unit_test(test_avail_runs_ahead),
	    cmocka_unit_test(test_full_ring),
	    cmocka_unit_test(test_one_head_twice),
	    cmocka_unit_test(test_one_head_twice_malformed),
	    cmocka_unit_test(test_retake),
	    cmocka_unit_test(test_head_again_after_push),
	    cmocka_unit_test(test_unpop),
	    cmocka_unit_test(test_index_wrap),
	    cmocka_unit_test(test_ring_sizes),
	    cmocka_unit_test(test_bytes_of_a_ring),
	};

	return cmocka_run_group_tests_name("virtq", tests, NULL, NULL);
}
