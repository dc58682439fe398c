/* SPDX-License-Identifier: BSD-3-Clause */
/* From bytes in any segments to a checked request, and the reply back into segments. */
#include <limits.h>

#include "fuse_rig.h"

static int setup(void **state)
{
	rig_start(&(struct rig_opts){.guest_flags = 0});
	return 0;
}

static int setup_xattr_ext(void **state)
{
	rig_start(&(struct rig_opts){.driver_flags = SFS_FUSE_ACL_FLAGS, .guest_flags = SFS_FUSE_ACL_FLAGS});
	return 0;
}

static int teardown(void **state)
{
	rig_stop();
	return 0;
}

static struct rig_msg *named(uint32_t opcode, const void *arg, size_t arg_bytes, const char *name)
{
	struct rig_msg *m = rig_msg(opcode, arg, arg_bytes);

	rig_put(m, name, strlen(name) + 1);
	return m;
}

/* The operation is not called and the guest is told why. */
static void refused(struct rig_msg *m, int error)
{
	unsigned calls = rig.seen.calls;

	assert_int_equal(rig_do(m), error);
	assert_int_equal(rig.seen.calls, calls);
	free(m);
}

static void accepted(struct rig_msg *m)
{
	unsigned calls = rig.seen.calls;

	assert_int_equal(rig_do(m), 0);
	assert_int_equal(rig.seen.calls, calls + 1);
	free(m);
}

/* --- segments --- */

static void test_header_split_at_every_byte(void **state)
{
	const struct fuse_mkdir_in in = {.mode = 0755, .umask = 022};

	for (uint32_t at = 1; at < IN_HEAD + sizeof(in) + 6; at++) {
		struct rig_msg *m = named(FUSE_MKDIR, &in, sizeof(in), "hello");

		m->in_first = at;
		accepted(m);
		assert_int_equal(rig.seen.opcode, FUSE_MKDIR);
		assert_memory_equal(rig.seen.arg, &in, sizeof(in));
		assert_string_equal(rig.seen.name[0], "hello");
	}
}

static void test_segments_of_every_size(void **state)
{
	const struct fuse_rename2_in in = {.newdir = 77, .flags = 1};

	for (uint32_t size = 1; size < 80; size++) {
		struct rig_msg *m = named(FUSE_RENAME2, &in, sizeof(in), "from");

		rig_put(m, "to", 3);
		m->in_piece = m->out_piece = size;
		m->out_bytes = OUT_HEAD + 32;
		accepted(m);
		assert_memory_equal(rig.seen.arg, &in, sizeof(in));
		assert_string_equal(rig.seen.name[0], "from");
		assert_string_equal(rig.seen.name[1], "to");
	}
}

static void test_reply_header_split(void **state)
{
	rig.result = -EXDEV;
	for (uint32_t size = 1; size <= OUT_HEAD + 1; size++) {
		struct rig_msg *m = rig_msg(FUSE_STATFS, NULL, 0);

		m->out_piece = size;
		m->out_bytes = OUT_HEAD + sizeof(struct fuse_statfs_out);
		assert_int_equal(rig_do(m), -EXDEV);
		assert_int_equal(m->used, OUT_HEAD);
		free(m);
	}
}

static void test_read_behind_the_header(void **state)
{
	/* Header and data in one segment, apart, and the header cut anywhere. */
	for (uint32_t first = 0; first < 3 * OUT_HEAD; first++) {
		struct fuse_read_in in = {.size = 1000};
		struct rig_msg *m = rig_msg(FUSE_READ, &in, sizeof(in));

		m->out_bytes = OUT_HEAD + 1000;
		m->out_first = first;
		rig.read_bytes = 1000 - first;
		assert_int_equal(rig_do(m), 0);
		assert_int_equal(rig.seen.data_left, 1000);
		assert_int_equal(m->used, OUT_HEAD + 1000 - first);
		for (uint32_t i = OUT_HEAD; i < m->used; i++)
			assert_int_equal(m->out[i], 'r');
		free(m);
	}
}

static void test_read_in_small_segments(void **state)
{
	for (uint32_t piece = 1; piece < 40; piece++) {
		struct fuse_read_in in = {.size = 64};
		struct rig_msg *m = rig_msg(FUSE_READ, &in, sizeof(in));

		m->out_bytes = OUT_HEAD + 64;
		m->out_piece = piece;
		rig.read_bytes = 64;
		assert_int_equal(rig_do(m), 0);
		assert_int_equal(m->used, OUT_HEAD + 64);
		for (uint32_t i = OUT_HEAD; i < m->used; i++)
			assert_int_equal(m->out[i], 'r');
		free(m);
	}
}

static void test_read_error_leaves_the_pages(void **state)
{
	struct fuse_read_in in = {.size = 64};
	struct rig_msg *m = rig_msg(FUSE_READ, &in, sizeof(in));

	rig.result = -EIO;
	assert_int_equal(rig_do(m), -EIO);
	assert_int_equal(m->used, OUT_HEAD);
	free(m);
}

static void test_read_is_cut_to_the_room(void **state)
{
	static const uint32_t rooms[] = {0, 1, 15, 64, 4095};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(rooms); i++) {
		struct fuse_read_in in = {.size = 4096};
		struct rig_msg *m = rig_msg(FUSE_READ, &in, sizeof(in));

		m->out_bytes = OUT_HEAD + rooms[i];
		rig.read_bytes = 4096;
		assert_int_equal(rig_do(m), 0);
		assert_int_equal(rig.seen.data_left, rooms[i]);
		assert_int_equal(m->used, OUT_HEAD + rooms[i]);
		free(m);
	}
}

static void test_write_from_the_segments(void **state)
{
	char data[3000];

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 3);
	for (uint32_t piece = 7; piece < 4000; piece += 131) {
		struct fuse_write_in in = {.size = 2500, .offset = 5};
		struct rig_msg *m = rig_msg(FUSE_WRITE, &in, sizeof(in));

		rig_put(m, data, sizeof(data)); /* more than it says */
		m->in_piece = piece;
		accepted(m);
		assert_int_equal(rig.seen.data_left, 2500);
		assert_memory_equal(rig.seen.data, data, 2500);
	}
}

/* --- lengths --- */

static void test_len_smaller_than_the_chain(void **state)
{
	struct rig_msg *m = named(FUSE_LOOKUP, NULL, 0, "name");
	uint32_t len = m->in_bytes;

	rig_put(m, "rest of the page", 16);
	rig_in(m)->len = len;
	accepted(m);
	assert_string_equal(rig.seen.name[0], "name");
	m = named(FUSE_LOOKUP, NULL, 0, "name");
	rig_in(m)->len -= 1; /* without the NUL, though it is there */
	refused(m, -EINVAL);
}

static void test_len_larger_than_the_chain(void **state)
{
	static const uint32_t more[] = {1, 4096, 0x7fffffff};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(more); i++) {
		struct rig_msg *m = named(FUSE_LOOKUP, NULL, 0, "name");

		rig_in(m)->len += more[i];
		refused(m, -EINVAL);
	}
}

static void test_len_smaller_than_the_header(void **state)
{
	const struct fuse_write_in in = {.size = 4};

	for (uint32_t len = 0; len < IN_HEAD; len++) {
		struct rig_msg *m = rig_msg(FUSE_WRITE, &in, sizeof(in)); /* the rest is all there */

		rig_put(m, "data", 4);
		rig_in(m)->len = len;
		refused(m, -EINVAL);
	}
}

static void test_chain_smaller_than_the_header(void **state)
{
	for (uint32_t bytes = 0; bytes < IN_HEAD; bytes++) {
		struct rig_msg *m = rig_msg(FUSE_STATFS, NULL, 0);

		m->in_bytes = bytes;
		refused(m, 1); /* nothing that could be answered to */
	}
}

static void test_no_room_for_the_reply(void **state)
{
	for (uint32_t bytes = 0; bytes < OUT_HEAD; bytes++) {
		struct rig_msg *m = rig_msg(FUSE_STATFS, NULL, 0);

		m->out_bytes = bytes;
		refused(m, 1);
		m = rig_msg(4242, NULL, 0);
		m->out_bytes = bytes;
		refused(m, 1);
	}
}

static void test_no_room_for_the_fixed_part(void **state)
{
	for (uint32_t bytes = 0; bytes < sizeof(struct fuse_entry_out); bytes += 8) {
		struct rig_msg *m = named(FUSE_LOOKUP, NULL, 0, "name");

		m->out_bytes = OUT_HEAD + bytes;
		refused(m, -EINVAL);
	}
}

static void test_arguments_cut_short(void **state)
{
	const struct fuse_setattr_in in = {.valid = 1};

	for (uint32_t bytes = 0; bytes < sizeof(in); bytes++)
		refused(rig_msg(FUSE_SETATTR, &in, bytes), -EINVAL);
	accepted(rig_msg(FUSE_SETATTR, &in, sizeof(in)));
}

static void test_forget_comes_back_without_a_reply(void **state)
{
	const struct fuse_forget_in in = {.nlookup = 1};
	struct rig_msg *m = rig_msg(FUSE_FORGET, &in, sizeof(in));

	assert_int_equal(rig_do(m), 1);
	m->out_bytes = 0;
	assert_int_equal(rig_do(m), 1);
	free(m);
	m = rig_msg(FUSE_FORGET, &in, 3); /* malformed: no reply either */
	assert_int_equal(rig_do(m), 1);
	free(m);
}

static void test_unknown_opcodes(void **state)
{
	static const uint32_t none[] = {
	    0,  7,  19, FUSE_BMAP, FUSE_POLL, FUSE_NOTIFY_REPLY, FUSE_SETUPMAPPING, FUSE_REMOVEMAPPING,
	    54, 63, 64, 65,        4096,      0x80000000,        UINT32_MAX};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(none); i++)
		refused(rig_msg(none[i], NULL, 0), -ENOSYS);
}

static void test_write_larger_than_the_chain(void **state)
{
	static const uint32_t sizes[] = {5, 4096, 0x7fffffff, UINT32_MAX};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(sizes); i++) {
		const struct fuse_write_in in = {.size = sizes[i]};
		struct rig_msg *m = rig_msg(FUSE_WRITE, &in, sizeof(in));

		rig_put(m, "data", 4);
		refused(m, -EINVAL);
	}
}

/* A chain may name the same pages again and again: what one request may ask for is what was agreed on. */
static void test_more_than_max_write(void **state)
{
	const struct fuse_read_in in = {.size = SFS_FUSE_MAX_WRITE + 1}, most = {.size = SFS_FUSE_MAX_WRITE};
	const struct fuse_write_in write = {.size = SFS_FUSE_MAX_WRITE + 1};
	static char page[100000];
	struct rig_msg *m = rig_msg(FUSE_WRITE, &write, sizeof(write));

	refused(rig_msg(FUSE_READ, &in, sizeof(in)), -EINVAL);
	accepted(rig_msg(FUSE_READ, &most, sizeof(most)));
	rig_put(m, page, sizeof(page));
	m->repeat = 12;
	rig_in(m)->len += 11 * (uint32_t)sizeof(page);
	refused(m, -EINVAL);
}

/* --- names --- */

static void test_name_without_nul(void **state)
{
	struct rig_msg *m = rig_msg(FUSE_LOOKUP, NULL, 0);

	refused(m, -EINVAL); /* no byte of a name */
	m = rig_msg(FUSE_LOOKUP, NULL, 0);
	rig_put(m, "name", 4);
	refused(m, -EINVAL);
	m = rig_msg(FUSE_MKDIR, &(struct fuse_mkdir_in){0}, sizeof(struct fuse_mkdir_in));
	rig_put(m, "name", 4);
	refused(m, -EINVAL);
	m = named(FUSE_RENAME2, &(struct fuse_rename2_in){0}, sizeof(struct fuse_rename2_in), "one");
	refused(m, -EINVAL);
	m = named(FUSE_RENAME2, &(struct fuse_rename2_in){0}, sizeof(struct fuse_rename2_in), "one");
	rig_put(m, "two", 3);
	refused(m, -EINVAL);
}

static void test_name_with_nul_inside(void **state)
{
	struct rig_msg *m = rig_msg(FUSE_UNLINK, NULL, 0);

	rig_put(m, "na\0me", 6);
	refused(m, -EINVAL);
}

static void test_bad_names(void **state)
{
	static const struct {
		const char *name;
		bool lookup_too;
	} bad[] = {{"", true},     {"/", true},  {"a/b", true}, {"/etc", true},
		   {"../x", true}, {"a/", true}, {".", false},  {"..", false}};
	static const uint32_t plain[] = {FUSE_UNLINK, FUSE_RMDIR, FUSE_LOOKUP};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(bad); i++) {
		for (unsigned j = 0; j < 3; j++) {
			struct rig_msg *m = named(plain[j], NULL, 0, bad[i].name);

			if (plain[j] == FUSE_LOOKUP && !bad[i].lookup_too)
				accepted(m);
			else
				refused(m, -EINVAL);
		}
		refused(
		    named(FUSE_MKDIR, &(struct fuse_mkdir_in){0}, sizeof(struct fuse_mkdir_in), bad[i].name),
		    -EINVAL);
		refused(named(FUSE_CREATE, &(struct fuse_create_in){0}, sizeof(struct fuse_create_in),
			      bad[i].name),
			-EINVAL);
	}
	accepted(named(FUSE_UNLINK, NULL, 0, "..."));
	accepted(named(FUSE_UNLINK, NULL, 0, ".x"));
	accepted(named(FUSE_UNLINK, NULL, 0, "\xff\x01 \n"));
}

static void test_long_names(void **state)
{
	char name[4200];

	for (unsigned bytes = 250; bytes < sizeof(name); bytes += bytes < 530 ? 1 : 611) {
		memset(name, 'n', bytes);
		name[bytes] = 0;
		if (bytes <= NAME_MAX) {
			accepted(named(FUSE_LOOKUP, NULL, 0, name));
			assert_int_equal(rig.seen.name_bytes[0], bytes);
		} else {
			refused(named(FUSE_LOOKUP, NULL, 0, name), -ENAMETOOLONG);
			refused(
			    named(FUSE_MKDIR, &(struct fuse_mkdir_in){0}, sizeof(struct fuse_mkdir_in), name),
			    -ENAMETOOLONG);
		}
	}
}

static void test_rename_names(void **state)
{
	const struct fuse_rename_in in = {.newdir = 0x1122334455667788};
	struct fuse_rename2_in seen;
	char name[256];
	struct rig_msg *m;

	memset(name, 'x', 255);
	name[255] = 0;
	m = named(FUSE_RENAME, &in, sizeof(in), name);
	name[0] = 'y';
	rig_put(m, name, 256);
	accepted(m);
	assert_int_equal(rig.seen.name_bytes[0], 255);
	assert_string_equal(rig.seen.name[1], name);
	memcpy(&seen, rig.seen.arg, sizeof(seen));
	assert_int_equal(seen.newdir, in.newdir);
	assert_int_equal(seen.flags, 0); /* not the beginning of a name */
	m = named(FUSE_RENAME, &in, sizeof(in), "ok");
	rig_put(m, "..", 3);
	refused(m, -EINVAL);
	m = named(FUSE_RENAME, &in, sizeof(in), "..");
	rig_put(m, "ok", 3);
	refused(m, -EINVAL);
	m = named(FUSE_RENAME, &in, sizeof(in), "ok");
	rig_put(m, "a/b", 4);
	refused(m, -EINVAL);
	m = named(FUSE_RENAME, &in, sizeof(in), "one");
	rig_put(m, "two\0three", 10);
	refused(m, -EINVAL);
}

static void test_symlink_targets(void **state)
{
	char target[5000];
	struct rig_msg *m = named(FUSE_SYMLINK, NULL, 0, "link");

	rig_put(m, "../../etc/passwd", 17);
	accepted(m);
	assert_string_equal(rig.seen.name[1], "../../etc/passwd");
	m = named(FUSE_SYMLINK, NULL, 0, "link");
	rig_put(m, "", 1);
	refused(m, -ENOENT);
	for (unsigned bytes = PATH_MAX - 2; bytes < PATH_MAX + 2; bytes++) {
		memset(target, '/', bytes);
		target[bytes] = 0;
		m = named(FUSE_SYMLINK, NULL, 0, "link");
		rig_put(m, target, bytes + 1);
		if (bytes < PATH_MAX) {
			accepted(m);
			assert_int_equal(rig.seen.name_bytes[1], bytes);
		} else {
			refused(m, -ENAMETOOLONG);
		}
	}
	m = named(FUSE_SYMLINK, NULL, 0, "a/b");
	rig_put(m, "x", 2);
	refused(m, -EINVAL);
}

/* --- what follows names --- */

static void put_setxattr(struct rig_msg *m, const char *name, uint32_t bytes)
{
	static char value[SFS_BUF_BYTES + 1000];

	memset(value, 'v', sizeof(value));
	rig_put(m, name, strlen(name) + 1);
	rig_put(m, value, bytes);
}

static void test_setxattr_old_form(void **state)
{
	const struct fuse_setxattr_in in = {.size = 3, .flags = 1};
	struct rig_msg *m = rig_msg(FUSE_SETXATTR, &in, SFS_SETXATTR_IN_BYTES_OLD);

	/* A name of eight bytes and more could be taken for the newer form's fields. */
	put_setxattr(m, "user.a_long_name", 3);
	accepted(m);
	assert_string_equal(rig.seen.name[0], "user.a_long_name");
	assert_int_equal(rig.seen.extra_bytes, 3);
	assert_memory_equal(rig.seen.extra, "vvv", 3);
	assert_memory_equal(rig.seen.arg, &in, sizeof(in)); /* the rest is zero */
}

static void test_setxattr_new_form(void **state)
{
	const struct fuse_setxattr_in in = {.size = 3, .flags = 1, .setxattr_flags = 1};
	struct rig_msg *m = rig_msg(FUSE_SETXATTR, &in, sizeof(in));

	put_setxattr(m, "user.a", 3);
	accepted(m);
	assert_string_equal(rig.seen.name[0], "user.a");
	assert_int_equal(rig.seen.extra_bytes, 3);
	assert_memory_equal(rig.seen.arg, &in, sizeof(in));
	refused(rig_msg(FUSE_SETXATTR, &in, SFS_SETXATTR_IN_BYTES_OLD), -EINVAL);
}

static void test_setxattr_sizes(void **state)
{
	const struct fuse_setxattr_in in = {0};
	char name[256];

	memset(name, 'x', 255);
	name[255] = 0;
	for (uint32_t bytes = 0; bytes <= SFS_BUF_BYTES; bytes += bytes < 1024 ? 128 : 1024) {
		struct rig_msg *m = rig_msg(FUSE_SETXATTR, &in, SFS_SETXATTR_IN_BYTES_OLD);

		put_setxattr(m, name, bytes);
		m->in_piece = 1000;
		accepted(m);
		assert_int_equal(rig.seen.extra_bytes, bytes);
		for (uint32_t i = 0; i < bytes; i++)
			assert_int_equal(rig.seen.extra[i], 'v');
	}
	assert_int_equal(rig.lanes[0].bufs.free_count, RIG_SLOTS);
}

/* What @m counts of a turn's share. */
static int64_t counted(struct rig_msg *m)
{
	int64_t before = rig.lanes[0].share_ns, count;

	rig_send(0, m);
	count = before - rig.lanes[0].share_ns;
	rig_turn(0);
	assert_true(m->answered);
	free(m);
	return count;
}

/* What came with a request counts for it, and not for whoever has its slot after it. */
static void test_value_counts_once(void **state)
{
	const struct fuse_setxattr_in in = {.size = SFS_BUF_BYTES};
	const struct fuse_getattr_in getattr = {0};
	struct rig_msg *m = rig_msg(FUSE_SETXATTR, &in, SFS_SETXATTR_IN_BYTES_OLD);
	int64_t usual = counted(rig_msg(FUSE_GETATTR, &getattr, sizeof(getattr)));

	put_setxattr(m, "user.a_long_name", SFS_BUF_BYTES);
	assert_true(counted(m) > usual);
	assert_int_equal(counted(rig_msg(FUSE_GETATTR, &getattr, sizeof(getattr))), usual);
	/* Nor for one of its own kind that ends before its tail is looked at. */
	usual = counted(rig_msg(FUSE_SETXATTR, NULL, 0));
	m = rig_msg(FUSE_SETXATTR, &in, SFS_SETXATTR_IN_BYTES_OLD);
	put_setxattr(m, "user.a_long_name", SFS_BUF_BYTES);
	assert_true(counted(m) > usual);
	assert_int_equal(counted(rig_msg(FUSE_SETXATTR, NULL, 0)), usual);
}

static void test_huge_tail(void **state)
{
	static char zeros[RIG_BYTES - 1000];
	static const uint32_t opcodes[] = {FUSE_LOOKUP,       FUSE_MKDIR,   FUSE_SYMLINK, FUSE_SETXATTR,
					   FUSE_STATFS,       FUSE_GETATTR, FUSE_READDIR, FUSE_CREATE,
					   FUSE_BATCH_FORGET, FUSE_READ,    FUSE_INIT};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(opcodes); i++)
		for (uint32_t bytes = 500; bytes < sizeof(zeros); bytes += 3700) {
			struct rig_msg *m = rig_msg(opcodes[i], zeros, bytes);
			int rc = rig_do(m);

			assert_true(rc == -EINVAL || rc == -ENAMETOOLONG || rc == -EPROTO || rc == 0 ||
				    rc == 1);
			if (bytes > SFS_BUF_BYTES + SFS_REQ_TAIL_BYTES + 64)
				assert_true(rc != 0);
			free(m);
		}
	assert_int_equal(rig.lanes[0].bufs.free_count, RIG_SLOTS);
	assert_int_equal(rig.lanes[0].in_flight, 0);
	assert_int_equal(rig.lanes[0].bytes_in_flight, 0);
}

static void test_later_guests_longer_arguments(void **state)
{
	char in[200] = {0};

	accepted(rig_msg(FUSE_GETATTR, in, sizeof(struct fuse_getattr_in) + 64));
	accepted(rig_msg(FUSE_OPEN, in, sizeof(struct fuse_open_in) + 8));
}

#define T(test)     cmocka_unit_test_setup_teardown(test, setup, teardown)
#define T_EXT(test) cmocka_unit_test_setup_teardown(test, setup_xattr_ext, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_header_split_at_every_byte),
	    T(test_segments_of_every_size),
	    T(test_reply_header_split),
	    T(test_read_behind_the_header),
	    T(test_read_in_small_segments),
	    T(test_read_error_leaves_the_pages),
	    T(test_read_is_cut_to_the_room),
	    T(test_write_from_the_segments),
	    T(test_len_smaller_than_the_chain),
	    T(test_len_larger_than_the_chain),
	    T(test_len_smaller_than_the_header),
	    T(test_chain_smaller_than_the_header),
	    T(test_no_room_for_the_reply),
	    T(test_no_room_for_the_fixed_part),
	    T(test_arguments_cut_short),
	    T(test_forget_comes_back_without_a_reply),
	    T(test_unknown_opcodes),
	    T(test_write_larger_than_the_chain),
	    T(test_more_than_max_write),
	    T(test_name_without_nul),
	    T(test_name_with_nul_inside),
	    T(test_bad_names),
	    T(test_long_names),
	    T(test_rename_names),
	    T(test_symlink_targets),
	    T(test_setxattr_old_form),
	    T_EXT(test_setxattr_new_form),
	    T(test_setxattr_sizes),
	    T(test_value_counts_once),
	    T(test_huge_tail),
	    T(test_later_guests_longer_arguments),
	};

	return cmocka_run_group_tests_name("parse", tests, NULL, NULL);
}
