/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Security labels that guests choose, on a host with SELinux: for the machine of guests_selinux_host(), whose policy is selinux.conf.
 * The row's argument says where the share's calls run.
 */
#include "harness.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/xattr.h>

#define SELINUX   "security.selinux"
#define UNKNOWN   "guest:object_r:unknown_t" /* the policy has no such type: the kernel does not take it */
#define NOWHERE   "guest:object_r:nowhere_t" /* it takes this one, and then no creation */
#define TAIL_MAX  256
#define IN_FLIGHT 24 /* of a queue */

static const char *const labels[] = {
    "guest:object_r:guest0_t",
    "guest:object_r:guest1_t",
    "host:object_r:guest2_t",
    "guest:object_r:guest3_t",
};

enum kind { FILE_, DIR_, NODE, FIFO, LINK, TMPFILE, KINDS };

/* --- guests --- */

static const struct sfs_fg_opts small = {
    .request_queues = 2, .depth = IN_FLIGHT, .data_bytes = SFS_FG_PAGE, .seg_bytes = SFS_FG_PAGE};

static uint64_t init_with(struct sfs_fg *g, uint64_t flags)
{
	struct fuse_init_out out;

	fn_ok(sfs_fg_init(g, FUSE_KERNEL_MINOR_VERSION, flags | FUSE_INIT_EXT, &out));
	return out.flags | (uint64_t)out.flags2 << 32;
}

/* A daemon with two shares, "labels" and "plain", by two reactors; a guest on the first, which sends labels. */
static struct sfs_fg *start(struct fn_env *env)
{
	static const char top[] = "\"reactors\": [ { \"name\": \"r0\" }, { \"name\": \"r1\" } ]";
	char options[128];
	const struct fn_share shares[] = {{.tag = "labels", .options = options},
					  {.tag = "plain", .options = env->test->args[0]}};
	struct sfs_fg *g;

	snprintf(options, sizeof(options), "%s, \"xattr\": true, \"security_label\": \"auto\"",
		 env->test->args[0]);
	fn_start_config(env, top, shares, SFS_ARRAY_SIZE(shares));
	g = fn_guest_attach(env, "labels", &small);
	assert_true(init_with(g, FUSE_SECURITY_CTX) & FUSE_SECURITY_CTX);
	return g;
}

/* What follows the name: a link's target, and the label as Linux sends it. Its bytes. */
static uint32_t tail_make(uint8_t *to, bool link, const char *label)
{
	struct fuse_secctx_header head = {.nr_secctx = 1};
	struct fuse_secctx ctx;
	uint32_t at = 0;

	memset(to, 0, TAIL_MAX);
	if (link)
		at = sizeof("target");
	memcpy(to, "target", at);
	if (!label)
		return at;
	ctx = (struct fuse_secctx){.size = (uint32_t)strlen(label) + 1};
	head.size = (uint32_t)SFS_ALIGN_UP(sizeof(head) + sizeof(ctx) + sizeof(SELINUX) + ctx.size, 8);
	assert_true(at + head.size <= TAIL_MAX);
	memcpy(to + at, &head, sizeof(head));
	memcpy(to + at + sizeof(head), &ctx, sizeof(ctx));
	memcpy(to + at + sizeof(head) + sizeof(ctx), SELINUX, sizeof(SELINUX));
	memcpy(to + at + sizeof(head) + sizeof(ctx) + sizeof(SELINUX), label, ctx.size);
	return at + head.size;
}

/* Starts making @name of @kind below the root; a label of NULL: none. */
static struct sfs_fg_req *make_start(struct sfs_fg_queue *q, enum kind kind, const char *name,
				     const char *label)
{
	static const uint32_t opcodes[] = {FUSE_CREATE, FUSE_MKDIR,   FUSE_MKNOD,
					   FUSE_MKNOD,  FUSE_SYMLINK, FUSE_TMPFILE};
	struct fuse_create_in create = {.flags = O_RDWR | (kind == FILE_ ? O_EXCL : 0),
					.mode = S_IFREG | 0644};
	struct fuse_mkdir_in dir = {.mode = 0755};
	struct fuse_mknod_in node = {.mode = (kind == FIFO ? S_IFIFO : S_IFREG) | 0644};
	uint8_t tail[TAIL_MAX];
	struct sfs_fg_call call = {.opcode = opcodes[kind],
				   .nodeid = FUSE_ROOT_ID,
				   .tail = {kind == TMPFILE ? "/" : name, tail},
				   .tail_bytes = {kind == TMPFILE ? 2 : (uint32_t)strlen(name) + 1,
						  tail_make(tail, kind == LINK, label)},
				   .out_bytes = sizeof(struct fuse_entry_out)};

	if (kind == FILE_ || kind == TMPFILE) {
		call.args = &create;
		call.args_bytes = sizeof(create);
		call.out_bytes += sizeof(struct fuse_open_out);
	} else if (kind == DIR_) {
		call.args = &dir;
		call.args_bytes = sizeof(dir);
	} else if (kind != LINK) {
		call.args = &node;
		call.args_bytes = sizeof(node);
	}
	return fn_call(q, &call);
}

/* Makes it. 0 or -errno. A file without a name gets @name afterwards. */
static int make(struct sfs_fg *g, enum kind kind, const char *name, const char *label)
{
	struct sfs_fg_req *req = make_start(&g->queue[1], kind, name, label);
	struct fuse_create_out {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;
	struct fuse_entry_out linked;
	int rc;

	fn_publish(&g->queue[1]);
	fn_ok(sfs_fg_wait(req));
	memcpy(&out, req->out_args, sizeof(out));
	rc = fn_result(req);
	if (rc < 0)
		return rc;
	if (kind == TMPFILE)
		fn_ok(sfs_fg_link(g, out.entry.nodeid, FUSE_ROOT_ID, name, &linked));
	if (kind == FILE_ || kind == TMPFILE)
		fn_ok(sfs_fg_release(g, out.entry.nodeid, out.open.fh));
	return 0;
}

/* --- the host's side --- */

/* The label of @share/@name, "" where there is no such thing. */
static const char *label_of(const struct fn_env *env, const char *share, const char *name)
{
	static char label[128];
	char path[256];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s/%s", env->dir, share, name);
	n = lgetxattr(path, SELINUX, label, sizeof(label) - 1);
	if (n < 0 && errno != ENOENT)
		fail_msg("%s: %s: is this a host with test/guest/selinux.conf?", path, strerror(errno));
	label[SFS_MAX(n, (ssize_t)0)] = '\0';
	return label;
}

/* The label that the policy itself gives to what is made in @share. */
static void label_default(const struct fn_env *env, const char *share, char label[128])
{
	char name[128];

	snprintf(name, sizeof(name), "%s/by-host", share);
	fn_put(fn_path(env, name), "");
	snprintf(label, 128, "%s", label_of(env, share, "by-host"));
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(labels); i++)
		assert_string_not_equal(label, labels[i]);
}

static unsigned task_entries(const struct fn_env *env, const char *what, bool (*is)(const char *path))
{
	char dir[64], path[128];
	unsigned count = 0;
	struct dirent *d;

	snprintf(dir, sizeof(dir), "/proc/%d/%s", (int)env->pid, what);
	DIR *list = opendir(dir);
	assert_non_null(list);
	while ((d = readdir(list))) {
		snprintf(path, sizeof(path), "%s/%.32s", dir, d->d_name);
		count += d->d_name[0] != '.' && is(path);
	}
	closedir(list);
	return count;
}

static bool fd_is_label(const char *path)
{
	char target[256] = "";

	return readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "/attr/");
}

static bool thread_has_label(const char *path)
{
	char name[160], label[128];
	int fd;
	ssize_t n;

	snprintf(name, sizeof(name), "%s/attr/fscreate", path);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	n = read(fd, label, sizeof(label));
	assert_true(fd >= 0 && n >= 0);
	close(fd);
	return n > 0;
}

/* Nothing of any label stays in the daemon between requests. */
static void check_daemon(const struct fn_env *env)
{
	assert_int_equal(task_entries(env, "fd", fd_is_label), 0);
	assert_int_equal(task_entries(env, "task", thread_has_label), 0);
}

/* By the figures: the calls did run where they should. */
static void check_path(const struct fn_env *env)
{
	if (strstr(env->test->args[0], "never"))
		assert_int_equal(fn_figure(env, "devices.0.ops.MKDIR.inline"), 0);
	if (strstr(env->test->args[0], "always"))
		assert_int_equal(fn_figure(env, "devices.0.ops.MKDIR.worker"), 0);
}

/* --- the tests --- */

static void test_exact(struct fn_env *env)
{
	struct sfs_fg *g = start(env);
	char normal[128], name[32];

	label_default(env, "labels", normal);
	for (unsigned round = 0; round < SFS_ARRAY_SIZE(labels); round++) {
		for (unsigned kind = 0; kind < KINDS; kind++) {
			const char *label = labels[(round + kind) % SFS_ARRAY_SIZE(labels)];

			snprintf(name, sizeof(name), "%u-%u", round, kind);
			fn_ok(make(g, kind, name, label));
			assert_string_equal(label_of(env, "labels", name), label);
			/* What comes next does not get it. */
			snprintf(name, sizeof(name), "%u-%u-without", round, kind);
			fn_ok(make(g, kind, name, NULL));
			assert_string_equal(label_of(env, "labels", name), normal);
		}
		check_daemon(env);
	}
	check_path(env);
}

/* Under a caller's ids, which take capabilities from the thread while it makes the object. */
static void test_callers(struct fn_env *env)
{
	struct sfs_fg *g = start(env);
	char normal[128], name[32];
	struct stat st;

	label_default(env, "labels", normal);
	for (unsigned kind = 0; kind < KINDS; kind++) {
		const char *label = labels[kind % SFS_ARRAY_SIZE(labels)];

		snprintf(name, sizeof(name), "labels/%u", kind);
		g->uid = g->gid = 1000;
		/* Access is the guest's to decide: the share belongs to root. */
		fn_ok(make(g, kind, name + 7, label));
		assert_string_equal(label_of(env, "labels", name + 7), label);
		assert_int_equal(lstat(fn_path(env, name), &st), 0);
		assert_int_equal(st.st_uid, 1000);
		fn_fails(EINVAL, make(g, kind, "refused", UNKNOWN));
		check_daemon(env);
		g->uid = g->gid = 0;
		snprintf(name, sizeof(name), "labels/%u-root", kind);
		fn_ok(make(g, kind, name + 7, NULL));
		assert_string_equal(label_of(env, "labels", name + 7), normal);
		assert_int_equal(lstat(fn_path(env, name), &st), 0);
		assert_int_equal(st.st_uid, 0);
	}
}

/* Labels that are refused, and creations that fail with a good one, leave nothing behind. */
static void test_failures(struct fn_env *env)
{
	struct sfs_fg *g = start(env);
	char normal[128], name[32];

	label_default(env, "labels", normal);
	for (unsigned kind = 0; kind < KINDS; kind++) {
		const char *label = labels[kind % SFS_ARRAY_SIZE(labels)];

		for (unsigned i = 0; i < 3; i++) {
			fn_fails(EINVAL, make(g, kind, "refused",
					      i == 0   ? UNKNOWN
					      : i == 1 ? "x"
						       : "a:b:c:d"));
			assert_string_equal(label_of(env, "labels", "refused"), "");
			check_daemon(env);
		}
		if (kind != TMPFILE) { /* which Linux lets everybody make, under no name */
			fn_fails(EACCES, make(g, kind, "refused", NOWHERE));
			assert_string_equal(label_of(env, "labels", "refused"), "");
			fn_fails(EEXIST, make(g, kind, "by-host", label));
		}
		assert_string_equal(label_of(env, "labels", "by-host"), normal);
		check_daemon(env);
		snprintf(name, sizeof(name), "%u-without", kind);
		fn_ok(make(g, kind, name, NULL));
		assert_string_equal(label_of(env, "labels", name), normal);
		snprintf(name, sizeof(name), "%u", kind);
		fn_ok(make(g, kind, name, label));
		assert_string_equal(label_of(env, "labels", name), label);
	}
}

/* The number that the daemon's next descriptor gets. */
static unsigned fd_next(const struct fn_env *env)
{
	char path[64], target[8];
	unsigned fd = 0;

	do
		snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)env->pid, fd);
	while (readlink(path, target, sizeof(target)) > 0 && ++fd);
	return fd;
}

/* With hardly a descriptor to be had a creation may fail; the thread is rid of the label all the same. */
static void test_no_descriptors(struct fn_env *env)
{
	struct sfs_fg *g = start(env);
	char normal[128], name[32];
	struct rlimit old, lim;
	unsigned failures = 0;

	label_default(env, "labels", normal);
	assert_int_equal(prlimit(env->pid, RLIMIT_NOFILE, NULL, &old), 0);
	for (unsigned i = 0; i < KINDS * 4; i++) {
		const char *label = labels[i % SFS_ARRAY_SIZE(labels)];
		int rc;

		lim = (struct rlimit){fd_next(env) + i / KINDS, old.rlim_max};
		assert_int_equal(prlimit(env->pid, RLIMIT_NOFILE, &lim, NULL), 0);
		snprintf(name, sizeof(name), "%u", i);
		rc = make(g, i % KINDS, name, label);
		assert_int_equal(prlimit(env->pid, RLIMIT_NOFILE, &old, NULL), 0);
		failures += rc == -EMFILE;
		assert_true(rc == 0 || rc == -EMFILE);
		if (rc == 0)
			assert_string_equal(label_of(env, "labels", name), label);
		check_daemon(env);
	}
	assert_true(failures > 0);
	fn_ok(make(g, DIR_, "without", NULL));
	assert_string_equal(label_of(env, "labels", "without"), normal);
}

/* What the requests in flight ask for, in turn. */
static const struct {
	const char *label;
	int result;
} picks[] = {
    {"guest:object_r:guest0_t", 0}, {NULL, 0},          {"guest:object_r:guest1_t", 0}, {UNKNOWN, -EINVAL},
    {"host:object_r:guest2_t", 0},  {NOWHERE, -EACCES}, {"guest:object_r:guest3_t", 0},
};

/* Requests of one queue that are in flight together. */
struct batch {
	struct sfs_fg_queue *q;
	const char *share;
	bool labelled; /* the share takes labels; one that does not lets them be */
	unsigned seed;
	struct sfs_fg_req *reqs[IN_FLIGHT];
};

static void batch_start(struct batch *b, unsigned round)
{
	char name[32];

	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		snprintf(name, sizeof(name), "%u-%u-%u", round, b->seed, i);
		b->reqs[i] = make_start(b->q, i % TMPFILE, name,
					picks[(i + b->seed + round) % SFS_ARRAY_SIZE(picks)].label);
	}
}

static void batch_check(const struct fn_env *env, struct batch *b, unsigned round, const char *normal)
{
	char name[32];

	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		unsigned pick = (i + b->seed + round) % SFS_ARRAY_SIZE(picks);
		int result = b->labelled ? picks[pick].result : 0;
		const char *label = b->labelled && picks[pick].label ? picks[pick].label : normal;

		snprintf(name, sizeof(name), "%u-%u-%u", round, b->seed, i);
		assert_int_equal(fn_result(b->reqs[i]), result);
		assert_string_equal(label_of(env, b->share, name), result < 0 ? "" : label);
	}
}

/* Each gets its own, whatever its neighbours ask for: of its queue, of another queue, of a guest whose share takes no labels. */
static void test_in_flight(struct fn_env *env)
{
	struct sfs_fg *g = start(env), *plain = fn_guest_attach(env, "plain", &small);
	struct batch batches[] = {{.q = &g->queue[1], .share = "labels", .labelled = true},
				  {.q = &g->queue[2], .share = "labels", .labelled = true, .seed = 3},
				  {.q = &plain->queue[1], .share = "plain", .seed = 5},
				  {.q = &plain->queue[2], .share = "plain", .seed = 6}};
	char normal[128];

	assert_false(init_with(plain, FUSE_SECURITY_CTX) & FUSE_SECURITY_CTX);
	label_default(env, "labels", normal);
	for (unsigned round = 0; round < SFS_ARRAY_SIZE(picks); round++) {
		for (unsigned i = 0; i < SFS_ARRAY_SIZE(batches); i++)
			batch_start(&batches[i], round);
		for (unsigned i = 0; i < SFS_ARRAY_SIZE(batches); i++)
			fn_publish(batches[i].q);
		for (unsigned i = 0; i < SFS_ARRAY_SIZE(batches); i++)
			batch_check(env, &batches[i], round, normal);
		check_daemon(env);
	}
	check_path(env);
}

#define INLINE "\"inline_blocking\": \"always\""
#define WORKER "\"inline_blocking\": \"never\""
#define AUTO   "\"inline_blocking\": \"auto\""

const struct fn_test fn_tests[] = {
    {"labels are exact, inline", test_exact, {INLINE}, FN_NO_DAEMON},
    {"labels are exact, on workers", test_exact, {WORKER}, FN_NO_DAEMON},
    {"labels under a caller's ids, inline", test_callers, {INLINE}, FN_NO_DAEMON},
    {"labels under a caller's ids, on workers", test_callers, {WORKER}, FN_NO_DAEMON},
    {"labels that are refused, inline", test_failures, {INLINE}, FN_NO_DAEMON},
    {"labels that are refused, on workers", test_failures, {WORKER}, FN_NO_DAEMON},
    {"no descriptors, inline", test_no_descriptors, {INLINE}, FN_NO_DAEMON},
    {"no descriptors, on workers", test_no_descriptors, {WORKER}, FN_NO_DAEMON},
    {"in flight, inline", test_in_flight, {INLINE}, FN_NO_DAEMON},
    {"in flight, on workers", test_in_flight, {WORKER}, FN_NO_DAEMON},
    {"in flight, by both", test_in_flight, {AUTO}, FN_NO_DAEMON},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
