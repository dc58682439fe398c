/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lower filesystem that hangs, under one share of two on the same reactor: it is a FUSE mount whose server
 * keeps the requests of one opcode, or is stopped altogether. The other share is served as before.
 */
#include "harness.h"

#include <signal.h>
#include <sys/wait.h>

#define STOP_MS "\"stop_timeout_ms\": 1000"

static const struct fn_share shares[] = {{.tag = "slow", .options = "\"xattr\": true"},
					 {.tag = "other", .options = "\"xattr\": true"}};

/* Nodes and handles of the hanging share, open before it hangs. */
struct slow {
	struct sfs_fg *g;
	uint64_t file, fh, dir, dir_fh, link, empty, empty_fh;
};

static void slow_begin(struct fn_env *env, struct slow *s, const struct sfs_fg_opts *opts)
{
	struct fuse_entry_out entry;
	struct fuse_open_out open;

	s->g = fn_guest_on(env, "slow", opts);
	fn_open(s->g, "file", O_RDWR, &s->file, &s->fh);
	fn_open(s->g, "empty", O_RDWR, &s->empty, &s->empty_fh);
	fn_ok(sfs_fg_lookup(s->g, FUSE_ROOT_ID, "dir", &entry));
	s->dir = entry.nodeid;
	fn_ok(sfs_fg_opendir(s->g, s->dir, &open));
	s->dir_fh = open.fh;
	fn_ok(sfs_fg_lookup(s->g, FUSE_ROOT_ID, "link", &entry));
	s->link = entry.nodeid;
}

/* What a guest may do, every operation once; all of it is answered, and rightly. */
static void all_operations(struct sfs_fg *g)
{
	struct fuse_entry_out dir, file, entry;
	struct fuse_open_out open, listing;
	struct fuse_statfs_out statfs;
	struct fuse_attr_out attr;
	struct fuse_setattr_in set = {.valid = FATTR_MODE, .mode = 0600};
	char target[SFS_FG_PAGE], buf[4096];

	fn_ok(sfs_fg_mkdir(g, FUSE_ROOT_ID, "work", 0755, &dir));
	fn_ok(sfs_fg_create(g, dir.nodeid, "file", O_RDWR, S_IFREG | 0644, &file, &open));
	assert_int_equal(sfs_fg_write(g, file.nodeid, open.fh, 0, "content", 7), 7);
	assert_int_equal(sfs_fg_read(g, file.nodeid, open.fh, 0, buf, sizeof(buf)), 7);
	fn_ok(sfs_fg_flush(g, file.nodeid, open.fh));
	fn_ok(sfs_fg_fsync(g, file.nodeid, open.fh, false));
	fn_ok(sfs_fg_release(g, file.nodeid, open.fh));
	fn_ok(sfs_fg_open(g, file.nodeid, O_RDONLY, &open));
	fn_ok(sfs_fg_release(g, file.nodeid, open.fh));
	fn_ok(sfs_fg_getattr(g, file.nodeid, NULL, &attr));
	assert_int_equal(attr.attr.size, 7);
	fn_ok(sfs_fg_setattr(g, file.nodeid, &set, &attr));
	fn_ok(sfs_fg_access(g, file.nodeid, R_OK));
	fn_ok(sfs_fg_setxattr(g, file.nodeid, "user.name", "value", 5, 0));
	assert_int_equal(sfs_fg_getxattr(g, file.nodeid, "user.name", buf, sizeof(buf)), 5);
	assert_true(sfs_fg_listxattr(g, file.nodeid, buf, sizeof(buf)) > 0);
	fn_ok(sfs_fg_removexattr(g, file.nodeid, "user.name"));
	fn_ok(sfs_fg_symlink(g, dir.nodeid, "link", "file", &entry));
	assert_int_equal(sfs_fg_readlink(g, entry.nodeid, target), 4);
	fn_ok(sfs_fg_link(g, file.nodeid, dir.nodeid, "hard", &entry));
	fn_ok(sfs_fg_mknod(g, dir.nodeid, "node", S_IFREG | 0644, 0, &entry));
	fn_ok(sfs_fg_rename(g, dir.nodeid, "node", dir.nodeid, "renamed", 0));
	fn_ok(sfs_fg_opendir(g, dir.nodeid, &listing));
	assert_true(sfs_fg_readdir(g, dir.nodeid, listing.fh, 0, buf, sizeof(buf), false) > 0);
	assert_true(sfs_fg_readdir(g, dir.nodeid, listing.fh, 0, buf, sizeof(buf), true) > 0);
	fn_ok(sfs_fg_fsyncdir(g, dir.nodeid, listing.fh));
	fn_ok(sfs_fg_releasedir(g, dir.nodeid, listing.fh));
	fn_ok(sfs_fg_statfs(g, FUSE_ROOT_ID, &statfs));
	fn_ok(sfs_fg_unlink(g, dir.nodeid, "file"));
	fn_ok(sfs_fg_unlink(g, dir.nodeid, "hard"));
	fn_ok(sfs_fg_unlink(g, dir.nodeid, "link"));
	fn_ok(sfs_fg_unlink(g, dir.nodeid, "renamed"));
	fn_ok(sfs_fg_rmdir(g, FUSE_ROOT_ID, "work"));
	fn_ok(sfs_fg_forget(g, file.nodeid, 2));
	fn_ok(sfs_fg_forget(g, dir.nodeid, 1));
}

/* One request of the hanging share, and what of the lower filesystem it waits for. */
struct hang {
	uint32_t opcode;
	uint32_t lower; /* 0: the same */
	enum { ROOT, FILE_, LINK, DIR_ } node;
	enum {
		NONE,
		NAME,
		READ,
		WRITE,
		FH,
		GETATTR,
		SETATTR,
		MODE,
		OPEN,
		CREATE,
		RENAME,
		LINK_TO,
		ACCESS,
		GETX,
		SETX
	} args;
	const char *name, *name2;
	uint32_t out_bytes, room;
};

#define ENTRY sizeof(struct fuse_entry_out)

static const struct hang hangs[] = {
    {FUSE_LOOKUP, 0, ROOT, NAME, "dir", NULL, ENTRY, 0},
    {FUSE_GETATTR, 0, FILE_, GETATTR, NULL, NULL, sizeof(struct fuse_attr_out), 0},
    {FUSE_SETATTR, 0, FILE_, SETATTR, NULL, NULL, sizeof(struct fuse_attr_out), 0},
    {FUSE_READLINK, 0, LINK, NONE, NULL, NULL, 0, 4096},
    {FUSE_SYMLINK, 0, ROOT, NAME, "new-link", "target", ENTRY, 0},
    {FUSE_MKNOD, 0, ROOT, MODE, "new-node", NULL, ENTRY, 0},
    {FUSE_MKDIR, 0, ROOT, MODE, "new-dir", NULL, ENTRY, 0},
    {FUSE_LINK, 0, ROOT, LINK_TO, "new-hard", NULL, ENTRY, 0},
    {FUSE_RENAME, 0, ROOT, RENAME, "new-hard", "newer", 0, 0},
    {FUSE_UNLINK, 0, ROOT, NAME, "newer", NULL, 0, 0},
    {FUSE_RMDIR, 0, ROOT, NAME, "new-dir", NULL, 0, 0},
    {FUSE_OPEN, 0, FILE_, OPEN, NULL, NULL, sizeof(struct fuse_open_out), 0},
    {FUSE_READ, 0, FILE_, READ, NULL, NULL, 0, 4096},
    {FUSE_WRITE, 0, FILE_, WRITE, NULL, NULL, sizeof(struct fuse_write_out), 0},
    {FUSE_STATFS, 0, ROOT, NONE, NULL, NULL, sizeof(struct fuse_statfs_out), 0},
    {FUSE_FSYNC, 0, FILE_, FH, NULL, NULL, 0, 0},
    {FUSE_FLUSH, 0, FILE_, FH, NULL, NULL, 0, 0},
    {FUSE_CREATE, 0, ROOT, CREATE, "new-file", NULL, ENTRY + sizeof(struct fuse_open_out), 0},
    {FUSE_SETXATTR, 0, FILE_, SETX, "user.name", "value", 0, 0},
    {FUSE_GETXATTR, 0, FILE_, GETX, "user.name", NULL, 0, 256},
    {FUSE_LISTXATTR, 0, FILE_, GETX, NULL, NULL, 0, 256},
    {FUSE_REMOVEXATTR, 0, FILE_, NAME, "user.name", NULL, 0, 0},
    {FUSE_OPENDIR, 0, DIR_, OPEN, NULL, NULL, sizeof(struct fuse_open_out), 0},
    {FUSE_READDIR, 0, DIR_, READ, NULL, NULL, 0, 4096},
    {FUSE_READDIRPLUS, FUSE_LOOKUP, DIR_, READ, NULL, NULL, 0, 4096},
    {FUSE_FSYNCDIR, 0, DIR_, FH, NULL, NULL, 0, 0},
    /* The last close of a file; that of a directory waits for nothing. */
    {FUSE_RELEASE, FUSE_FLUSH, FILE_, FH, NULL, NULL, 0, 0},
};

union args {
	struct fuse_read_in read;
	struct fuse_write_in write;
	struct fuse_fsync_in fsync;
	struct fuse_flush_in flush;
	struct fuse_release_in release;
	struct fuse_getattr_in getattr;
	struct fuse_setattr_in setattr;
	struct fuse_mknod_in mknod;
	struct fuse_mkdir_in mkdir;
	struct fuse_open_in open;
	struct fuse_create_in create;
	struct fuse_rename_in rename;
	struct fuse_link_in link;
	struct fuse_getxattr_in getxattr;
	struct fuse_setxattr_in setxattr;
};

/* Fills what kind of arguments the operation takes; their size. */
static uint32_t hang_args(const struct hang *h, const struct slow *s, union args *a)
{
	uint64_t fh = h->node == DIR_ ? s->dir_fh : s->fh;

	memset(a, 0, sizeof(*a));
	switch (h->args) {
	case READ:
		a->read = (struct fuse_read_in){.fh = fh, .size = 4096};
		return sizeof(a->read);
	case WRITE:
		a->write = (struct fuse_write_in){.fh = fh, .size = 4096};
		return sizeof(a->write);
	case FH:
		if (h->opcode == FUSE_RELEASE)
			a->release.fh = fh;
		else
			a->flush.fh = fh; /* at the same place in fsync */
		return h->opcode == FUSE_FSYNC || h->opcode == FUSE_FSYNCDIR ? sizeof(a->fsync)
									     : sizeof(a->flush);
	case GETATTR:
		return sizeof(a->getattr);
	case SETATTR:
		a->setattr = (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0644};
		return sizeof(a->setattr);
	case MODE:
		if (h->opcode == FUSE_MKNOD)
			a->mknod.mode = S_IFREG | 0644;
		else
			a->mkdir.mode = 0755;
		return h->opcode == FUSE_MKNOD ? sizeof(a->mknod) : sizeof(a->mkdir);
	case OPEN:
		return sizeof(a->open);
	case CREATE:
		a->create = (struct fuse_create_in){.flags = O_RDWR, .mode = S_IFREG | 0644};
		return sizeof(a->create);
	case RENAME:
		a->rename.newdir = FUSE_ROOT_ID;
		return sizeof(a->rename);
	case LINK_TO:
		a->link.oldnodeid = s->file;
		return sizeof(a->link);
	case GETX:
		a->getxattr.size = h->room;
		return sizeof(a->getxattr);
	case SETX:
		a->setxattr.size = (uint32_t)strlen(h->name2);
		return FUSE_COMPAT_SETXATTR_IN_SIZE;
	default:
		return 0;
	}
}

static struct sfs_fg_req *hang_start(const struct hang *h, const struct slow *s)
{
	const uint64_t nodes[] = {
	    [ROOT] = FUSE_ROOT_ID, [FILE_] = s->file, [LINK] = s->link, [DIR_] = s->dir};
	union args args;
	struct sfs_fg_call call = {.opcode = h->opcode,
				   .nodeid = nodes[h->node],
				   .args = &args,
				   .args_bytes = hang_args(h, s, &args),
				   .tail = {h->name, h->name2},
				   .out_bytes = h->out_bytes,
				   .data_readable = h->args == WRITE ? 4096 : 0,
				   .data_writable = h->room};

	if (h->name)
		call.tail_bytes[0] = (uint32_t)strlen(h->name) + 1;
	if (h->name2)
		call.tail_bytes[1] = (uint32_t)strlen(h->name2) + (h->args != SETX);
	return fn_call(&s->g->queue[1], &call);
}

/* One after the other hangs; the other share does all it can meanwhile, then the answer comes. */
static void test_each_operation(struct fn_env *env)
{
	struct slow s;

	fn_slowfs(env, "slow", false);
	fn_start_config(env, NULL, shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *other = fn_guest_on(env, "other", NULL);
	slow_begin(env, &s, NULL);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(hangs); i++) {
		const struct hang *h = &hangs[i];

		slowfs_hold(env->slowfs, h->lower ? h->lower : h->opcode);
		struct sfs_fg_req *req = hang_start(h, &s);
		fn_publish(&s.g->queue[1]);
		for (uint64_t end = sfs_now_ns() + FN_WAIT_MS * SFS_NS_PER_MS;
		     slowfs_held(env->slowfs) == 0;) {
			if (sfs_now_ns() > end)
				fail_msg("opcode %u never reached the lower filesystem", h->opcode);
			usleep(100);
		}
		all_operations(other);
		slowfs_release(env->slowfs);
		fn_ok(sfs_fg_wait(req));
		if (req->result < 0)
			fail_msg("opcode %u: %s", h->opcode, strerror(-req->result));
		sfs_fg_req_put(req);
	}
}

/* INIT and DESTROY of a guest whose files cannot be closed. */
static void test_reset_hangs(struct fn_env *env)
{
	struct fuse_attr_out attr;
	struct sfs_fg_req *req;
	struct slow s;

	fn_slowfs(env, "slow", false);
	fn_start_config(env, STOP_MS, shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *other = fn_guest_on(env, "other", NULL);
	for (unsigned round = 0; round < 4; round++) {
		const struct fuse_init_in in = {.major = 7, .minor = 38};
		const struct sfs_fg_call init = {.opcode = FUSE_INIT,
						 .args = &in,
						 .args_bytes = sizeof(in),
						 .out_bytes = sizeof(struct fuse_init_out)};
		const struct sfs_fg_call destroy = {.opcode = FUSE_DESTROY};

		slow_begin(env, &s, NULL);
		slowfs_hold(env->slowfs, FUSE_FLUSH);
		req = fn_call(&s.g->queue[1], round % 2 ? &init : &destroy);
		fn_publish(&s.g->queue[1]);
		fn_until(slowfs_held(env->slowfs) > 0);
		all_operations(other);
		if (round < 2) {
			slowfs_release(env->slowfs);
			assert_int_equal(fn_result(req), 0);
			fn_init(s.g);
			fn_ok(sfs_fg_getattr(s.g, FUSE_ROOT_ID, NULL, &attr));
			fn_guest_leave(env, s.g);
			continue;
		}
		/* The guest's VMM loses patience. What then ends takes nothing from the next guest. */
		fn_guest_leave(env, s.g);
		all_operations(other);
		s.g = fn_guest_on(env, "slow", NULL);
		fn_open(s.g, "file", O_RDWR, &s.file, &s.fh);
		fn_open(s.g, "empty", O_RDWR, &s.empty, &s.empty_fh);
		slowfs_release(env->slowfs);
		fn_until(fn_figure(env, "devices.0.handles") <= 2);
		fn_ok(sfs_fg_getattr(s.g, s.file, &s.fh, &attr));
		fn_ok(sfs_fg_getattr(s.g, s.empty, &s.empty_fh, &attr));
		fn_guest_leave(env, s.g);
	}
	fn_work(fn_guest_on(env, "slow", NULL), "work", 2);
}

/* Starts a request of every kind while nothing answers. */
static unsigned start_all(const struct slow *s)
{
	unsigned count = 0;

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(hangs); i++, count++)
		hang_start(&hangs[i], s);
	fn_publish(&s->g->queue[1]);
	return count;
}

/* The server does not run at all: like a file server that is gone. */
static void test_server_stopped(struct fn_env *env)
{
	struct slow s;
	uint32_t base;

	fn_slowfs(env, "slow", true);
	fn_start_config(env, STOP_MS, shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *other = fn_guest_on(env, "other", NULL);
	slow_begin(env, &s, &(struct sfs_fg_opts){.depth = 64, .data_bytes = 8192});
	assert_int_equal(kill(slowfs_server(env->slowfs), SIGSTOP), 0);
	unsigned count = start_all(&s);
	fn_until(fn_figure(env, "devices.0.queues.1.in_flight") >= count - 4);
	for (unsigned i = 0; i < 20; i++)
		all_operations(other);
	/* QEMU's `stop` is answered, at the price of this device alone. */
	fn_ok(sfs_fe_set_vring_enable(&s.g->fe, 1, false));
	fn_ok(sfs_fe_get_vring_base(&s.g->fe, 1, &base));
	assert_true(fn_log_has(env, "did not stop within"));
	assert_true(fn_figure_is(env, "devices.0.state", "broken"));
	assert_true(fn_figure_is(env, "devices.1.state", "running"));
	assert_int_equal(fn_figure(env, "devices.0.quarantined"), 1);
	all_operations(other);
	/* The guest is killed; the next one of this share is let in when it works again, those of the
	 * other at once. */
	fn_guest_leave(env, s.g);
	all_operations(other);
	fn_guest_leave(env, other);
	other = fn_guest_on(env, "other", NULL);
	all_operations(other);
	assert_int_equal(kill(slowfs_server(env->slowfs), SIGCONT), 0);
	slow_begin(env, &s, NULL);
	fn_work(s.g, "work", 3);
	all_operations(other);
}

/* The next guest comes while the server is still stopped: it gets as far as INIT. */
static void test_next_guest_while_stopped(struct fn_env *env)
{
	struct fuse_attr_out attr;
	struct slow s;

	fn_slowfs(env, "slow", true);
	fn_start_config(env, STOP_MS, shares, SFS_ARRAY_SIZE(shares));
	for (unsigned round = 0; round < 3; round++) {
		slow_begin(env, &s, &(struct sfs_fg_opts){.depth = 64, .data_bytes = 8192});
		assert_int_equal(kill(slowfs_server(env->slowfs), SIGSTOP), 0);
		start_all(&s);
		fn_until(fn_figure(env, "devices.0.queues.1.in_flight") > 0);
		fn_guest_leave(env, s.g);
		struct sfs_fg *g = fn_guest_on(env, "slow", NULL);
		assert_int_equal(kill(slowfs_server(env->slowfs), SIGCONT), 0);
		fn_ok(sfs_fg_getattr(g, FUSE_ROOT_ID, NULL, &attr));
		fn_work(g, "work", 2);
		fn_guest_leave(env, g);
	}
	fn_until(fn_figure(env, "devices.0.handles") == 0);
	fn_until(fn_figure(env, "devices.0.fds") <= 1);
}

/* An orderly end does not wait for what never comes. */
static void test_stop_while_stopped(struct fn_env *env)
{
	struct slow s;

	fn_slowfs(env, "slow", true);
	fn_start_config(env, STOP_MS, shares, SFS_ARRAY_SIZE(shares));
	all_operations(fn_guest_on(env, "other", NULL));
	slow_begin(env, &s, &(struct sfs_fg_opts){.depth = 64, .data_bytes = 8192});
	assert_int_equal(kill(slowfs_server(env->slowfs), SIGSTOP), 0);
	start_all(&s);
	fn_until(fn_figure(env, "devices.0.queues.1.in_flight") > 0);
	assert_int_equal(kill(env->pid, SIGTERM), 0);
	assert_int_equal(fn_wait_exit(env), 0);
	kill(slowfs_server(env->slowfs), SIGCONT);
}

/* Requests of the hanging share hold the workers that they may; calls of the other that need workers go
 * on. */
static void test_workers_are_shared_out(struct fn_env *env)
{
	const struct fn_share never[] = {{.tag = "slow"},
					 {.tag = "other", .options = "\"inline_blocking\": \"never\""}};
	struct sfs_fg_req *reqs[32];
	struct slow s;

	fn_slowfs(env, "slow", false);
	fn_start_config(env, NULL, never, SFS_ARRAY_SIZE(never));
	struct sfs_fg *other = fn_guest_on(env, "other", NULL);
	slow_begin(env, &s, NULL);
	slowfs_hold(env->slowfs, FUSE_READ);
	for (unsigned i = 0; i < 32; i++)
		reqs[i] = fn_read(&s.g->queue[1], s.file, s.fh, i * 100, 4096);
	fn_publish(&s.g->queue[1]);
	fn_until(slowfs_held(env->slowfs) == 4); /* limits.workers */
	for (unsigned i = 0; i < 5; i++)
		all_operations(other);
	assert_int_equal(slowfs_held(env->slowfs), 4);
	assert_true(fn_figure(env, "devices.1.ops.CREATE.worker") > 0);
	slowfs_release(env->slowfs);
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(fn_result(reqs[i]), 4096);
}

/* Two reactors: that of the first share hangs with it, for its calls are never handed to workers. */
static void two_reactors(struct fn_env *env, bool no_flush)
{
	const struct fn_share apart[] = {
	    {"slow", "\"queues\": { \"request_count\": 1, \"reactors\": [\"r0\"] }",
	     "\"inline_blocking\": \"always\""},
	    {"other", "\"queues\": { \"request_count\": 1, \"reactors\": [\"r1\"] }", "\"xattr\": true"}};

	fn_slowfs(env, "slow", no_flush);
	fn_start_config(env, STOP_MS ", \"reactors\": [ { \"name\": \"r0\" }, { \"name\": \"r1\" } ]", apart,
			2);
}

/* The reactor sleeps in the filesystem. */
static void reactor_hangs(struct fn_env *env, const struct slow *s)
{
	assert_int_equal(kill(slowfs_server(env->slowfs), SIGSTOP), 0);
	hang_start(&hangs[0], s);
	hang_start(&hangs[1], s);
	fn_publish(&s->g->queue[1]);
	fn_until(fn_figure(env, "devices.0.queues.1.in_flight") > 0);
}

/* Guests of the other share come and go, and the operator is answered. */
static void others_come_and_go(struct fn_env *env)
{
	for (unsigned i = 0; i < 3; i++) {
		struct sfs_fg *other = fn_guest_on(env, "other", NULL);

		all_operations(other);
		assert_true(fn_figure_is(env, "devices.1.state", "running"));
		fn_guest_leave(env, other);
	}
}

static void test_reactor_hangs(struct fn_env *env)
{
	const struct fuse_init_in in = {.major = 7, .minor = 38};
	const struct sfs_fg_call init = {.opcode = FUSE_INIT,
					 .args = &in,
					 .args_bytes = sizeof(in),
					 .out_bytes = sizeof(struct fuse_init_out)};
	struct sfs_fg_req *req;
	struct slow s;

	two_reactors(env, false);
	for (unsigned round = 0; round < 3; round++) {
		slow_begin(env, &s, NULL);
		reactor_hangs(env, &s);
		others_come_and_go(env);
		fn_guest_leave(env, s.g); /* its rings cannot be stopped */
		others_come_and_go(env);
		fn_until(fn_figure_is(env, "devices.0.state", "listening"));
		/* The next guest of this share is let in, and served when the reactor comes back. */
		s.g = fn_guest_attach(env, "slow", NULL);
		req = fn_call(&s.g->queue[1], &init);
		fn_publish(&s.g->queue[1]);
		others_come_and_go(env);
		assert_int_equal(kill(slowfs_server(env->slowfs), SIGCONT), 0);
		assert_int_equal(fn_result(req), 0);
		fn_work(s.g, "work", 3);
		fn_guest_leave(env, s.g);
	}
	fn_until(fn_figure(env, "devices.0.handles") == 0);
	fn_until(fn_figure(env, "devices.0.fds") <= 1);
}

/* What stands behind the call that hangs, in a ring that is given up meanwhile, is not done any more. */
static void test_ring_given_up_behind_a_call(struct fn_env *env)
{
	const struct hang mkdir = {FUSE_MKDIR, 0, ROOT, MODE, "late", NULL, ENTRY, 0};
	struct fuse_entry_out entry;
	struct slow s;
	uint32_t base;

	two_reactors(env, false);
	slow_begin(env, &s, NULL);
	assert_int_equal(kill(slowfs_server(env->slowfs), SIGSTOP), 0);
	hang_start(&hangs[0], &s);
	hang_start(&mkdir, &s);
	fn_publish(&s.g->queue[1]);
	fn_until(fn_figure(env, "devices.0.queues.1.in_flight") > 0);
	fn_ok(sfs_fe_set_vring_enable(&s.g->fe, 1, false));
	fn_ok(sfs_fe_get_vring_base(&s.g->fe, 1, &base));
	assert_true(fn_figure_is(env, "devices.0.state", "broken"));
	assert_int_equal(kill(slowfs_server(env->slowfs), SIGCONT), 0);
	/* The guest's other queue is on the same reactor: after its answer that has gone on. */
	s.g->sync_queue = &s.g->queue[0];
	fn_ok(sfs_fg_lookup(s.g, FUSE_ROOT_ID, "dir", &entry));
	fn_fails(ENOENT, sfs_fg_lookup(s.g, FUSE_ROOT_ID, "late", &entry));
}

/* A reactor that never comes back does not hold up the end. */
static void test_stop_while_reactor_hangs(struct fn_env *env)
{
	struct slow s;

	two_reactors(env, true);
	all_operations(fn_guest_on(env, "other", NULL));
	slow_begin(env, &s, NULL);
	reactor_hangs(env, &s);
	assert_int_equal(kill(env->pid, SIGTERM), 0);
	assert_int_equal(fn_wait_exit(env), 0);
	kill(slowfs_server(env->slowfs), SIGCONT);
}

const struct fn_test fn_tests[] = {
    {"each operation hangs", test_each_operation, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"INIT and DESTROY hang", test_reset_hangs, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"the server is stopped", test_server_stopped, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"the next guest while it is stopped", test_next_guest_while_stopped, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"SIGTERM while it is stopped", test_stop_while_stopped, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"a reactor hangs", test_reactor_hangs, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"a ring is given up behind a call", test_ring_given_up_behind_a_call, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"SIGTERM while a reactor hangs", test_stop_while_reactor_hangs, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"workers are shared out", test_workers_are_shared_out, {NULL}, FN_NO_DAEMON | FN_ROOT},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
