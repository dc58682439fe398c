/* SPDX-License-Identifier: BSD-3-Clause */
/* Whose objects are that a guest makes: its caller's, wherever the call runs. */
#include "harness.h"

/* The row's argument: where the share's calls run. */
static struct sfs_fg *start(struct fn_env *env)
{
	const struct fn_share share = {.tag = "share", .options = env->test->args[0]};

	if (!env->pid)
		fn_start_config(env, NULL, &share, 1);
	return fn_guest_on(env, "share", NULL);
}

/* By the figures: they did run there. */
static void check_path(const struct fn_env *env)
{
	bool never = strstr(env->test->args[0], "never"), always = strstr(env->test->args[0], "always");

	assert_true(!never || fn_figure(env, "devices.0.ops.MKDIR.inline") == 0);
	assert_true(!always || fn_figure(env, "devices.0.ops.MKDIR.worker") == 0);
}

enum kind { FILE_, DIR_, NODE, LINK, KINDS };

/* Makes an object of the kind below @parent as whoever @g says. */
static void make(struct sfs_fg *g, enum kind kind, uint64_t parent, const char *name, uint32_t mode)
{
	struct fuse_entry_out entry;
	struct fuse_open_out open;

	switch (kind) {
	case FILE_:
		fn_ok(sfs_fg_create(g, parent, name, O_RDWR, S_IFREG | mode, &entry, &open));
		fn_ok(sfs_fg_release(g, entry.nodeid, open.fh));
		break;
	case DIR_:
		fn_ok(sfs_fg_mkdir(g, parent, name, mode, &entry));
		break;
	case NODE:
		fn_ok(sfs_fg_mknod(g, parent, name, S_IFREG | mode, 0, &entry));
		break;
	default:
		fn_ok(sfs_fg_symlink(g, parent, name, "target", &entry));
		break;
	}
	assert_int_equal(entry.attr.uid, g->uid);
}

static void check(const struct fn_env *env, const char *name, uid_t uid, gid_t gid, mode_t mode)
{
	struct stat st;

	assert_int_equal(lstat(fn_path(env, name), &st), 0);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_gid, gid);
	if (!S_ISLNK(st.st_mode))
		assert_int_equal(st.st_mode & 07777, mode);
}

static void test_callers(struct fn_env *env)
{
	static const struct {
		uint32_t uid, gid;
	} callers[] = {{0, 0}, {1000, 1000}, {0, 1000}, {1000, 0}, {1, 2}, {65534, 65534}, {123456, 654321}};
	char name[32], path[64];

	struct sfs_fg *g = start(env);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < SFS_ARRAY_SIZE(callers); i++) {
			for (unsigned kind = 0; kind < KINDS; kind++) {
				snprintf(name, sizeof(name), "%u-%u-%u", round, i, kind);
				snprintf(path, sizeof(path), "share/%s", name);
				g->uid = callers[i].uid;
				g->gid = callers[i].gid;
				make(g, kind, FUSE_ROOT_ID, name, 0751);
				check(env, path, callers[i].uid, callers[i].gid, 0751);
			}
		}
	}
	check_path(env);
}

/* The group of a setgid directory, which directories below hand on. */
static void test_setgid_directory(struct fn_env *env)
{
	struct fuse_entry_out dir;
	static const char *const names[KINDS] = {"file", "dir", "node", "link"};
	char path[64];

	assert_int_equal(mkdirat(env->share_fd, "group", 0), 0);
	assert_int_equal(fchownat(env->share_fd, "group", 0, 4321, 0), 0);
	assert_int_equal(fchmodat(env->share_fd, "group", 02777, 0), 0);
	struct sfs_fg *g = start(env);
	g->uid = g->gid = 1000;
	fn_ok(sfs_fg_lookup(g, FUSE_ROOT_ID, "group", &dir));
	for (unsigned kind = 0; kind < KINDS; kind++) {
		make(g, kind, dir.nodeid, names[kind], 0755);
		snprintf(path, sizeof(path), "share/group/%s", names[kind]);
		check(env, path, 1000, 4321, kind == DIR_ ? 02755 : 0755);
	}
}

/* Where the guest leaves it to us, as it does with access lists, its mask counts; else its kernel has applied it. */
static void test_umask(struct fn_env *env)
{
	static const struct {
		uint64_t init;
		mode_t mode;
	} cases[] = {
	    {0, 0777}, {FUSE_DONT_MASK, 0777}, {FUSE_POSIX_ACL | FUSE_DONT_MASK | FUSE_SETXATTR_EXT, 0750}};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(cases); i++) {
		struct fuse_create_in create = {.flags = O_RDWR, .mode = S_IFREG | 0777, .umask = 027};
		struct fuse_mkdir_in mkdir = {.mode = 0777, .umask = 027};
		struct fuse_mknod_in mknod = {.mode = S_IFREG | 0777, .umask = 027};
		const struct {
			uint32_t opcode;
			const void *args;
			uint32_t bytes, out;
		} calls[] = {{FUSE_CREATE, &create, sizeof(create),
			      sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out)},
			     {FUSE_MKDIR, &mkdir, sizeof(mkdir), sizeof(struct fuse_entry_out)},
			     {FUSE_MKNOD, &mknod, sizeof(mknod), sizeof(struct fuse_entry_out)}};
		struct fuse_init_out init;

		struct sfs_fg *g = start(env);
		fn_ok(sfs_fg_init(g, 38, FUSE_MAX_PAGES | cases[i].init, &init));
		assert_int_equal((init.flags & FUSE_DONT_MASK) != 0, cases[i].mode == 0750);
		g->uid = g->gid = 1000;
		for (unsigned c = 0; c < SFS_ARRAY_SIZE(calls); c++) {
			char name[32], path[64];
			struct sfs_fg_call call = {.opcode = calls[c].opcode,
						   .nodeid = FUSE_ROOT_ID,
						   .args = calls[c].args,
						   .args_bytes = calls[c].bytes,
						   .tail = {name},
						   .out_bytes = calls[c].out};

			snprintf(name, sizeof(name), "%u-%u", i, c);
			snprintf(path, sizeof(path), "share/%s", name);
			call.tail_bytes[0] = (uint32_t)strlen(name) + 1;
			fn_ok(sfs_fg_call(g, &call, NULL, NULL, NULL));
			check(env, path, 1000, 1000, cases[i].mode);
		}
		fn_guest_leave(env, g);
	}
}

/* Many callers at once: neither a batch nor a worker takes one for another. */
static void test_callers_at_once(struct fn_env *env)
{
	enum { COUNT = 64 };
	unsigned rounds = fn_full() ? 200 : 10;
	struct sfs_fg_req *reqs[COUNT];
	char names[COUNT][32], path[64];

	struct sfs_fg *g = start(env);
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < COUNT; i++) {
			struct fuse_mkdir_in in = {.mode = 0755};
			struct sfs_fg_call call = {.opcode = FUSE_MKDIR,
						   .nodeid = FUSE_ROOT_ID,
						   .args = &in,
						   .args_bytes = sizeof(in),
						   .tail = {names[i]},
						   .out_bytes = sizeof(struct fuse_entry_out)};

			snprintf(names[i], sizeof(names[i]), "dir-%u-%u", round, i);
			call.tail_bytes[0] = (uint32_t)strlen(names[i]) + 1;
			g->uid = i % 5 * 1000;
			g->gid = i % 7 * 100;
			reqs[i] = fn_call(&g->queue[1], &call);
		}
		fn_publish(&g->queue[1]);
		for (unsigned i = 0; i < COUNT; i++) {
			assert_int_equal(fn_result(reqs[i]), 0);
			snprintf(path, sizeof(path), "share/%.40s", names[i]);
			check(env, path, i % 5 * 1000, i % 7 * 100, 0755);
		}
	}
	check_path(env);
}

/* A caller's rights are what its ids give: root's are not lent to it where they would show. */
static void test_daemon_stays_itself(struct fn_env *env)
{
	struct fuse_entry_out entry;
	struct fuse_setattr_in set = {.valid = FATTR_UID | FATTR_GID, .uid = 7, .gid = 8};
	struct fuse_attr_out attr;

	struct sfs_fg *g = start(env);
	g->uid = g->gid = 1000;
	make(g, FILE_, FUSE_ROOT_ID, "file", 0600);
	/* Right after a switch the daemon is itself again: it may change owners. */
	fn_ok(sfs_fg_lookup(g, FUSE_ROOT_ID, "file", &entry));
	fn_ok(sfs_fg_setattr(g, entry.nodeid, &set, &attr));
	check(env, "share/file", 7, 8, 0600);
	/* Ids that are none. */
	g->uid = UINT32_MAX;
	fn_fails(EPERM, sfs_fg_mkdir(g, FUSE_ROOT_ID, "dir", 0755, &entry));
	g->uid = 0;
	fn_ok(sfs_fg_mkdir(g, FUSE_ROOT_ID, "dir", 0755, &entry));
	check(env, "share/dir", 0, 1000, 0755);
}

#define POLICY(where, more) "\"inline_blocking\": \"" where "\"" more
#define ACL                 ", \"posix_acl\": \"auto\""

const struct fn_test fn_tests[] = {
    {"callers, inline", test_callers, {POLICY("always", "")}, FN_NO_DAEMON | FN_ROOT},
    {"setgid directory, inline", test_setgid_directory, {POLICY("always", "")}, FN_NO_DAEMON | FN_ROOT},
    {"umask, inline", test_umask, {POLICY("always", ACL)}, FN_NO_DAEMON | FN_ROOT},
    {"callers at once, inline", test_callers_at_once, {POLICY("always", "")}, FN_NO_DAEMON | FN_ROOT},
    {"the daemon stays itself, inline",
     test_daemon_stays_itself,
     {POLICY("always", "")},
     FN_NO_DAEMON | FN_ROOT},
    {"callers, on workers", test_callers, {POLICY("never", "")}, FN_NO_DAEMON | FN_ROOT},
    {"setgid directory, on workers", test_setgid_directory, {POLICY("never", "")}, FN_NO_DAEMON | FN_ROOT},
    {"umask, on workers", test_umask, {POLICY("never", ACL)}, FN_NO_DAEMON | FN_ROOT},
    {"callers at once, on workers", test_callers_at_once, {POLICY("never", "")}, FN_NO_DAEMON | FN_ROOT},
    {"the daemon stays itself, on workers",
     test_daemon_stays_itself,
     {POLICY("never", "")},
     FN_NO_DAEMON | FN_ROOT},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
