/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest that means harm, through the whole daemon: bad names, numbers of nodes and handles, bad order. */
#include "bad_rig.h"

/* --- names --- */

struct named {
	uint32_t opcode, args_bytes;
	bool two, more; /* two names; bytes may follow the names */
};

static const struct named named[] = {
    {FUSE_LOOKUP, 0, false, false},
    {FUSE_UNLINK, 0, false, false},
    {FUSE_RMDIR, 0, false, false},
    {FUSE_MKDIR, sizeof(struct fuse_mkdir_in), false, true},
    {FUSE_MKNOD, sizeof(struct fuse_mknod_in), false, true},
    {FUSE_CREATE, sizeof(struct fuse_create_in), false, true},
    {FUSE_LINK, sizeof(struct fuse_link_in), false, false},
    {FUSE_SYMLINK, 0, true, true},
    {FUSE_RENAME, sizeof(struct fuse_rename_in), true, false},
    {FUSE_RENAME2, sizeof(struct fuse_rename2_in), true, false},
};

/** Bytes with the NUL, if any, that ends them. */
struct bad_name {
	const char *bytes;
	uint32_t count;
	int result;
};

/* One name of an operation, the first or the second, is bad. */
static void name_try(struct bad *b, const struct named *op, const struct bad_name *n, bool second)
{
	static char tail[RAW_IN];
	uint64_t args[8] = {0};
	struct raw r =
	    RAW_INIT(op->opcode, FUSE_ROOT_ID, .args = args, .args_bytes = op->args_bytes, .tail = tail);

	if (op->opcode == FUSE_LINK)
		args[0] = b->file;
	else if (op->opcode == FUSE_RENAME || op->opcode == FUSE_RENAME2)
		args[0] = FUSE_ROOT_ID;
	if (second) {
		memcpy(tail, "file", 5);
		r.tail_bytes = 5;
	}
	memcpy(tail + r.tail_bytes, n->bytes, n->count);
	r.tail_bytes += n->count;
	if (op->two && !second && n->bytes[n->count - 1] == '\0') {
		memcpy(tail + r.tail_bytes, "made", 5);
		r.tail_bytes += 5;
	}
	raw_is(b, second ? "second name" : "name", &r, n->result);
}

static void test_names(struct fn_env *env)
{
	static char longest[256 + 1], huge[100000];
	const struct bad_name names[] = {
	    {"", 1, -EINVAL},
	    {"/", 2, -EINVAL},
	    {"a/b", 4, -EINVAL},
	    {"dir/", 5, -EINVAL},
	    {"/etc", 5, -EINVAL},
	    {"../bad", 7, -EINVAL},
	    {".", 2, -EINVAL},
	    {"..", 3, -EINVAL},
	    {"unended", 7, -EINVAL},
	    {longest, sizeof(longest), -ENAMETOOLONG},
	    {huge, sizeof(huge), -ENAMETOOLONG},
	    {"in\0side", 8, -EINVAL},
	};
	unsigned outside, inside;
	struct bad b;

	memset(longest, 'x', 256);
	memset(huge, 'y', sizeof(huge) - 1);
	bad_begin(&b, env);
	outside = bad_entries(env, "");
	inside = bad_entries(env, "bad");
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(named); i++) {
		for (unsigned n = 0; n < SFS_ARRAY_SIZE(names); n++) {
			bool dots =
			    named[i].opcode == FUSE_LOOKUP && names[n].bytes[0] == '.' && names[n].count < 4;
			bool split = names[n].count == 8;

			/* Of LOOKUP dots are names, and where more may follow a NUL ends the name. */
			if (!dots && !(split && (named[i].more || named[i].two)))
				name_try(&b, &named[i], &names[n], false);
			if (named[i].two && named[i].opcode != FUSE_SYMLINK && !split)
				name_try(&b, &named[i], &names[n], true);
		}
		struct raw none =
		    RAW_INIT(named[i].opcode, FUSE_ROOT_ID, .args = huge, .args_bytes = named[i].args_bytes);
		raw_is(&b, "no name", &none, -EINVAL);
	}
	/* A link's target is any text that is one. */
	const struct bad_name targets[] = {
	    {"", 1, -ENOENT}, {huge, 4096, -EINVAL}, {huge + sizeof(huge) - 4097, 4097, -ENAMETOOLONG}};
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(targets); i++)
		name_try(&b, &(struct named){FUSE_SYMLINK, 0, true, true}, &targets[i], true);
	assert_int_equal(bad_entries(env, "bad"), inside);
	assert_int_equal(bad_entries(env, ""), outside);
	/* Nothing is above the shared directory. */
	struct fuse_entry_out entry;
	fn_ok(sfs_fg_lookup(b.g, FUSE_ROOT_ID, "..", &entry));
	assert_int_equal(entry.nodeid, FUSE_ROOT_ID);
	fn_ok(sfs_fg_lookup(b.g, b.dir, "..", &entry));
	assert_int_equal(entry.nodeid, FUSE_ROOT_ID);
	fn_fails(ENOTDIR, sfs_fg_lookup(b.g, b.file, "..", &entry));
	bad_end(&b);
}

/* --- numbers of nodes and handles --- */

static void test_nodeids(struct fn_env *env)
{
	static const struct named ops[] = {
	    {FUSE_GETATTR, sizeof(struct fuse_getattr_in), false, false},
	    {FUSE_SETATTR, sizeof(struct fuse_setattr_in), false, false},
	    {FUSE_READLINK, 0, false, false},
	    {FUSE_OPEN, sizeof(struct fuse_open_in), false, false},
	    {FUSE_OPENDIR, sizeof(struct fuse_open_in), false, false},
	    {FUSE_STATFS, 0, false, false},
	    {FUSE_ACCESS, sizeof(struct fuse_access_in), false, false},
	    {FUSE_LISTXATTR, sizeof(struct fuse_getxattr_in), false, false},
	};
	struct fuse_entry_out entry;
	struct bad b;

	bad_begin(&b, env);
	fn_ok(sfs_fg_mkdir(b.g, FUSE_ROOT_ID, "gone", 0755, &entry));
	fn_ok(sfs_fg_rmdir(b.g, FUSE_ROOT_ID, "gone"));
	fn_ok(sfs_fg_forget(b.g, entry.nodeid, 1));
	const uint64_t ids[] = {
	    0,          entry.nodeid, b.file ^ (1ull << 32),    b.dir ^ (1ull << 63), 4242,
	    UINT32_MAX, UINT64_MAX,   FUSE_ROOT_ID | 1ull << 32};
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(ids); i++) {
		uint64_t args[16] = {0};

		for (unsigned k = 0; k < SFS_ARRAY_SIZE(ops); k++)
			raw_is(&b, "nodeid",
			       RAW(ops[k].opcode, ids[i], .args = args, .args_bytes = ops[k].args_bytes),
			       -ESTALE);
		for (unsigned k = 0; k < SFS_ARRAY_SIZE(named); k++) {
			struct raw r =
			    RAW_INIT(named[k].opcode, ids[i], .args = args, .args_bytes = named[k].args_bytes,
				     .tail = "a\0b", .tail_bytes = named[k].two ? 4 : 2);

			args[0] = named[k].opcode == FUSE_LINK ? b.file : FUSE_ROOT_ID;
			raw_is(&b, "parent's nodeid", &r, -ESTALE);
			args[0] = ids[i];
			r.nodeid = FUSE_ROOT_ID;
			if (named[k].opcode == FUSE_LINK)
				raw_is(&b, "link of", &r, -ESTALE);
			if (named[k].opcode == FUSE_RENAME || named[k].opcode == FUSE_RENAME2)
				raw_is(&b, "rename to", &r, -ESTALE);
		}
		fn_ok(sfs_fg_forget(b.g, ids[i], UINT64_MAX)); /* nobody's */
	}
	/* A guest that counts wrong loses its own node, and the root is not its to lose. */
	fn_ok(sfs_fg_forget(b.g, FUSE_ROOT_ID, UINT64_MAX));
	fn_ok(sfs_fg_forget(b.g, b.other, UINT64_MAX));
	fn_fails(ESTALE, sfs_fg_access(b.g, b.other, F_OK));
	fn_ok(sfs_fg_access(b.g, b.file, F_OK));
	raw_serves(&b);
	bad_end(&b);
}

/* Every operation that takes a handle, with one of @fh; the handle is not @fh's node's, or nobody's. */
static void handle_try(struct bad *b, const char *what, uint64_t nodeid, uint64_t fh)
{
	struct fuse_read_in rd = {.fh = fh, .size = 100};
	struct fuse_write_in wr = {.fh = fh, .size = 4};
	struct fuse_release_in rel = {.fh = fh};
	struct fuse_flush_in flush = {.fh = fh};
	struct fuse_fsync_in sync = {.fh = fh};
	struct fuse_fallocate_in alloc = {.fh = fh, .length = 10};
	struct fuse_lseek_in seek = {.fh = fh};
	struct fuse_getattr_in get = {.fh = fh, .getattr_flags = FUSE_GETATTR_FH};
	struct fuse_setattr_in set = {.fh = fh, .valid = FATTR_FH | FATTR_SIZE};
	struct fuse_lk_in lock = {.fh = fh, .lk = {.end = 10, .type = F_WRLCK}};
	struct fuse_copy_file_range_in from = {.fh_in = fh, .nodeid_out = b->file, .fh_out = b->fh, .len = 1};
	struct fuse_copy_file_range_in to = {.fh_in = b->fh, .nodeid_out = nodeid, .fh_out = fh, .len = 1};
	const struct raw requests[] = {
	    RAW_INIT(FUSE_READ, nodeid, RAW_ARGS(rd)),
	    RAW_INIT(FUSE_WRITE, nodeid, RAW_ARGS(wr), .tail = "abcd", .tail_bytes = 4),
	    RAW_INIT(FUSE_READDIR, nodeid, RAW_ARGS(rd)),
	    RAW_INIT(FUSE_READDIRPLUS, nodeid, RAW_ARGS(rd)),
	    RAW_INIT(FUSE_RELEASE, nodeid, RAW_ARGS(rel)),
	    RAW_INIT(FUSE_RELEASEDIR, nodeid, RAW_ARGS(rel)),
	    RAW_INIT(FUSE_FLUSH, nodeid, RAW_ARGS(flush)),
	    RAW_INIT(FUSE_FSYNC, nodeid, RAW_ARGS(sync)),
	    RAW_INIT(FUSE_FSYNCDIR, nodeid, RAW_ARGS(sync)),
	    RAW_INIT(FUSE_FALLOCATE, nodeid, RAW_ARGS(alloc)),
	    RAW_INIT(FUSE_LSEEK, nodeid, RAW_ARGS(seek)),
	    RAW_INIT(FUSE_GETATTR, nodeid, RAW_ARGS(get)),
	    RAW_INIT(FUSE_SETATTR, nodeid, RAW_ARGS(set)),
	    RAW_INIT(FUSE_GETLK, nodeid, RAW_ARGS(lock)),
	    RAW_INIT(FUSE_SETLK, nodeid, RAW_ARGS(lock)),
	    RAW_INIT(FUSE_SETLKW, nodeid, RAW_ARGS(lock)),
	    RAW_INIT(FUSE_COPY_FILE_RANGE, nodeid, RAW_ARGS(from)),
	    RAW_INIT(FUSE_COPY_FILE_RANGE, b->file, RAW_ARGS(to)),
	};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(requests); i++)
		raw_is(b, what, &requests[i], -EBADF);
}

static void test_handles(struct fn_env *env)
{
	struct fuse_open_out open;
	struct fuse_read_in rd = {.size = 100};
	struct fuse_write_in wr = {.size = 4};
	char text[16];
	struct bad b;

	bad_begin(&b, env);
	fn_ok(sfs_fg_open(b.g, b.other, O_RDONLY, &open));
	handle_try(&b, "another node's", b.file, open.fh);
	handle_try(&b, "another node's", b.other, b.fh);
	handle_try(&b, "a folder's", b.file, b.dirfh);
	handle_try(&b, "of the good guest", b.dir, b.good_fh);
	fn_ok(sfs_fg_release(b.g, b.other, open.fh));
	handle_try(&b, "released", b.other, open.fh);
	const uint64_t fhs[] = {4242, UINT32_MAX, UINT64_MAX, b.fh ^ (1ull << 32), b.fh ^ (1ull << 63)};
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(fhs); i++)
		handle_try(&b, "nobody's", b.file, fhs[i]);

	/* The right one, for what it is not. */
	rd.fh = b.dirfh;
	raw_is(&b, "READ of a folder", RAW(FUSE_READ, b.dir, RAW_ARGS(rd)), -EISDIR);
	wr.fh = b.dirfh;
	raw_is(&b, "WRITE to a folder", RAW(FUSE_WRITE, b.dir, RAW_ARGS(wr), .tail = "abcd", .tail_bytes = 4),
	       -EBADF);
	rd.fh = b.fh;
	raw_is(&b, "READDIR of a file", RAW(FUSE_READDIR, b.file, RAW_ARGS(rd)), -ENOTDIR);
	raw_is(&b, "READDIRPLUS of a file", RAW(FUSE_READDIRPLUS, b.file, RAW_ARGS(rd)), -ENOTDIR);
	fn_ok(sfs_fg_open(b.g, b.other, O_RDONLY, &open));
	wr.fh = open.fh;
	raw_is(&b, "WRITE to what is open for reading",
	       RAW(FUSE_WRITE, b.other, RAW_ARGS(wr), .tail = "abcd", .tail_bytes = 4), -EBADF);
	assert_int_equal(sfs_fg_read(b.g, b.file, b.fh, 0, text, sizeof(text)), 10);
	assert_memory_equal(text, "0123456789", 10);
	fn_host_read(env, "../bad/other", text, 5);
	assert_memory_equal(text, "other", 5);
	bad_end(&b);
}

/* What is no regular file is not opened: behind it is a device, a process, or another file of the host. */
static void test_opens(struct fn_env *env)
{
	struct fuse_setattr_in set = {.valid = FATTR_SIZE};
	struct fuse_entry_out fifo, socket, link;
	struct fuse_open_in in = {.flags = O_RDWR | O_NONBLOCK};
	struct bad b;

	bad_begin(&b, env);
	fn_ok(sfs_fg_mknod(b.g, FUSE_ROOT_ID, "fifo", S_IFIFO | 0666, 0, &fifo));
	fn_ok(sfs_fg_mknod(b.g, FUSE_ROOT_ID, "socket", S_IFSOCK | 0666, 0, &socket));
	fn_ok(sfs_fg_symlink(b.g, FUSE_ROOT_ID, "link", fn_path(env, "good/open"), &link));
	const struct {
		uint64_t id;
		int open, opendir, truncate;
	} nodes[] = {{fifo.nodeid, -ENXIO, -ENOTDIR, -ENXIO},
		     {socket.nodeid, -ENXIO, -ENOTDIR, -ENXIO},
		     {link.nodeid, -ELOOP, -ENOTDIR, -ELOOP},
		     {b.dir, -EISDIR, sizeof(struct fuse_open_out), -EISDIR},
		     {b.file, sizeof(struct fuse_open_out), -ENOTDIR, sizeof(struct fuse_attr_out)}};
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(nodes); i++) {
		raw_is(&b, "OPEN", RAW(FUSE_OPEN, nodes[i].id, RAW_ARGS(in)), nodes[i].open);
		raw_is(&b, "OPENDIR", RAW(FUSE_OPENDIR, nodes[i].id, RAW_ARGS(in)), nodes[i].opendir);
		raw_is(&b, "truncate", RAW(FUSE_SETATTR, nodes[i].id, RAW_ARGS(set)), nodes[i].truncate);
	}
	raw_serves(&b);
	bad_end(&b);
}

/* --- BATCH_FORGET --- */

static void test_batch_forget(struct fn_env *env)
{
	struct fuse_forget_one one[2] = {{.nlookup = 1}, {.nlookup = UINT64_MAX}};
	const uint32_t counts[] = {UINT32_MAX, 3, 1u << 28, 0x10000001};
	struct fuse_batch_forget_in in;
	struct fuse_entry_out entry;
	struct bad b;

	bad_begin(&b, env);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(counts); i++) {
		fn_ok(sfs_fg_mkdir(b.g, FUSE_ROOT_ID, "gone", 0755, &entry));
		fn_ok(sfs_fg_rmdir(b.g, FUSE_ROOT_ID, "gone"));
		one[0].nodeid = entry.nodeid;
		one[1].nodeid = 4242;
		in = (struct fuse_batch_forget_in){.count = counts[i]};
		/* What is there is forgotten, the half record at the end is not. */
		raw_is(&b, "count too large",
		       RAW(FUSE_BATCH_FORGET, 0, RAW_ARGS(in), .tail = one, .tail_bytes = sizeof(one) - 8),
		       NO_ANSWER);
		fn_fails(ESTALE, sfs_fg_access(b.g, entry.nodeid, F_OK));
	}
	one[0].nodeid = b.other;
	in.count = 0;
	raw_is(&b, "count 0", RAW(FUSE_BATCH_FORGET, 0, RAW_ARGS(in), .tail = one, .tail_bytes = sizeof(one)),
	       NO_ANSWER);
	in.count = 1;
	raw_is(&b, "no record", RAW(FUSE_BATCH_FORGET, 0, RAW_ARGS(in), .tail = one, .tail_bytes = 15),
	       NO_ANSWER);
	raw_is(&b, "no count", RAW(FUSE_BATCH_FORGET, 0, .args = &in, .args_bytes = 7), NO_ANSWER);
	fn_ok(sfs_fg_access(b.g, b.other, F_OK));
	raw_serves(&b);
	bad_end(&b);
}

/* --- order --- */

/* What needs INIT fails, what does not is taken. */
static void order_refused(struct bad *b)
{
	struct fuse_getattr_in getattr = {0};
	struct fuse_open_in open = {0};
	struct fuse_interrupt_in interrupt = {.unique = 1};
	struct fuse_forget_in forget = {.nlookup = 1};

	raw_is(b, "order", RAW(FUSE_GETATTR, FUSE_ROOT_ID, RAW_ARGS(getattr)), -EIO);
	raw_is(b, "order", RAW(FUSE_LOOKUP, FUSE_ROOT_ID, RAW_NAME("file")), -EIO);
	raw_is(b, "order", RAW(FUSE_OPENDIR, FUSE_ROOT_ID, RAW_ARGS(open)), -EIO);
	raw_is(b, "order", RAW(FUSE_STATFS, FUSE_ROOT_ID), -EIO);
	raw_is(b, "order", RAW(FUSE_DESTROY, FUSE_ROOT_ID), -EIO);
	raw_is(b, "order", RAW(FUSE_INTERRUPT, 0, RAW_ARGS(interrupt)), NO_ANSWER);
	raw_is(b, "order", RAW(FUSE_FORGET, FUSE_ROOT_ID, RAW_ARGS(forget)), NO_ANSWER);
}

/* Nothing that the guest knew is valid any more, whatever it opens now. */
static void order_forgotten(struct bad *b)
{
	struct fuse_read_in rd = {.fh = b->fh, .size = 10};
	uint64_t node, fh;

	raw_is(b, "forgotten", RAW(FUSE_READLINK, b->file), -ESTALE);
	raw_is(b, "forgotten", RAW(FUSE_READ, b->file, RAW_ARGS(rd)), -EBADF);
	fn_open(b->g, "other", O_RDONLY, &node, &fh);
	raw_is(b, "forgotten", RAW(FUSE_READLINK, b->file), -ESTALE);
	raw_is(b, "forgotten", RAW(FUSE_READ, b->file, RAW_ARGS(rd)), -EBADF);
	raw_serves(b);
}

static void test_order(struct fn_env *env)
{
	struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION};
	struct fuse_init_out out;
	struct bad b;

	bad_begin(&b, env);
	fn_init(b.g); /* a second INIT begins anew */
	order_forgotten(&b);
	fn_ok(sfs_fg_destroy(b.g));
	order_refused(&b);
	fn_guest_leave(env, b.g);
	bad_arrive(&b);
	fn_ok(sfs_fg_destroy(b.g));

	/* An INIT that is none leaves things as they are. */
	in.major = FUSE_KERNEL_VERSION - 1;
	raw_is(&b, "INIT of an old major version", RAW(FUSE_INIT, 0, RAW_ARGS(in)), -EPROTO);
	in = (struct fuse_init_in){.major = FUSE_KERNEL_VERSION, .minor = 26};
	raw_is(&b, "INIT of an old minor version", RAW(FUSE_INIT, 0, RAW_ARGS(in)), -EPROTO);
	raw_is(&b, "INIT cut short", RAW(FUSE_INIT, 0, .args = &in, .args_bytes = 15), -EINVAL);
	in.minor = FUSE_KERNEL_MINOR_VERSION;
	raw_is(&b, "INIT without room", RAW(FUSE_INIT, 0, RAW_ARGS(in), .room = ANSWER_BYTES + 63), -EINVAL);
	in.major = UINT32_MAX;
	raw_is(&b, "INIT of the future", RAW(FUSE_INIT, 0, RAW_ARGS(in)), sizeof(out));
	memcpy(&out, b.out + ANSWER_BYTES, sizeof(out));
	assert_int_equal(out.major, FUSE_KERNEL_VERSION);
	order_refused(&b);

	/* DESTROY and INIT by turns, and all at once on two queues. */
	for (unsigned i = 0; i < 50; i++) {
		fn_init(b.g);
		raw_serves(&b);
		fn_ok(sfs_fg_destroy(b.g));
	}
	in.major = FUSE_KERNEL_VERSION;
	for (unsigned i = 0; i < 50; i++) {
		struct sfs_fg_call call = {.opcode = FUSE_INIT,
					   .args = &in,
					   .args_bytes = sizeof(in),
					   .out_bytes = sizeof(out),
					   .out_short = true};
		struct sfs_fg_req *req = fn_call(&b.g->queue[1], &call);

		fn_publish(&b.g->queue[1]);
		raw_is(&b, "INIT twice", RAW(FUSE_INIT, 0, RAW_ARGS(in)), sizeof(out));
		assert_true(fn_result(req) >= 0);
	}
	fn_work(b.g, "work", 1);
	bad_end(&b);
}

/* Before the very first INIT; and a device that nobody ever initialised lets go of its guest. */
static void test_before_init(struct fn_env *env)
{
	struct sfs_fg g;
	struct bad b;

	bad_begin(&b, env);
	fn_guest_leave(env, b.g);
	fn_ok(sfs_fg_begin(&g, &bad_opts));
	fn_ok(sfs_fg_attach(&g, fn_path(env, "bad.sock"), FN_WAIT_MS));
	for (unsigned i = 0; i < 20; i++) {
		struct fuse_entry_out entry;

		fn_fails(EIO, sfs_fg_lookup(&g, FUSE_ROOT_ID, "file", &entry));
		fn_fails(EIO, sfs_fg_destroy(&g));
		fn_ok(sfs_fg_forget(&g, FUSE_ROOT_ID, 1));
	}
	sfs_fg_end(&g);
	bad_others_live(&b);
	bad_arrive(&b);
	bad_end(&b);
}

const struct fn_test fn_tests[] = {
    {"names", test_names, {NULL}, FN_NO_DAEMON},
    {"nodeids", test_nodeids, {NULL}, FN_NO_DAEMON},
    {"handles", test_handles, {NULL}, FN_NO_DAEMON},
    {"opens", test_opens, {NULL}, FN_NO_DAEMON},
    {"batch forget", test_batch_forget, {NULL}, FN_NO_DAEMON},
    {"order", test_order, {NULL}, FN_NO_DAEMON},
    {"before init", test_before_init, {NULL}, FN_NO_DAEMON},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
