/* SPDX-License-Identifier: BSD-3-Clause */
/* How the daemon starts, stops and is talked to: users, pages, signals, sockets, configuration files, the
 * operator. */
#include "harness.h"

#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>

#define NOBODY        65534
#define HUGEPAGES     64 /* of 2 MiB: the daemon's heap, a guest's memory */
#define TWO_REACTORS  "\"reactors\": [ { \"name\": \"r0\" }, { \"name\": \"r1\" } ]"
#define CONFIG_ERRORS (sizeof(config_errors) / sizeof(config_errors[0]))

/* The build's programs, for those that are run to their end. */
static const char *program(const char *name)
{
	static char path[512];
	const char *daemon = getenv("SPINFSD");

	if (strcmp(name, "spinfsd") == 0)
		return daemon;
	/* SPINFSD is FOLDER/app/spinfsd/spinfsd. */
	snprintf(path, sizeof(path), "%.*s%s/%s", (int)(strlen(daemon) - strlen("spinfsd/spinfsd")), daemon,
		 name, name);
	return path;
}

static int listen_at(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

/* --- who it runs as, and on what --- */

static void test_as_nobody(struct fn_env *env)
{
	const char *args[] = {"--socket-path",
			      env->socket,
			      "--shared-dir",
			      env->share,
			      "--sandbox",
			      "none",
			      "--seccomp",
			      "none",
			      "--engine",
			      fn_engine(),
			      "--control-socket",
			      env->control,
			      NULL};
	struct fuse_entry_out entry;
	struct fuse_open_out open;
	struct stat st;
	const char *mine[] = {"", "run", "share"};

	/* The build's folder may be closed to others. */
	assert_int_equal(fn_shell(NULL, 0, "cp %s %s", program("spinfsd"), fn_path(env, "spinfsd")), 0);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(mine); i++)
		assert_int_equal(chown(fn_path(env, mine[i]), NOBODY, NOBODY), 0);
	env->uid = NOBODY;
	fn_start(env, args);
	fn_guest(env, NULL);
	fn_work(&env->g, "work", 3);
	env->g.uid = 1000; /* a daemon that may not switch makes all objects its own */
	fn_ok(sfs_fg_create(&env->g, FUSE_ROOT_ID, "file", O_RDWR, S_IFREG | 0644, &entry, &open));
	assert_int_equal(fstatat(env->share_fd, "file", &st, 0), 0);
	assert_int_equal(st.st_uid, NOBODY);
	fn_fails(EPERM, sfs_fg_mknod(&env->g, FUSE_ROOT_ID, "null", S_IFCHR | 0600, makedev(1, 3), &entry));
	fn_ok(sfs_fg_mknod(&env->g, FUSE_ROOT_ID, "fifo", S_IFIFO | 0600, 0, &entry));
	assert_true(kill(env->pid, SIGTERM) == 0);
	assert_int_equal(fn_wait_exit(env), 0);
}

static void test_hugepages(struct fn_env *env)
{
	const struct fn_share share = {.tag = "a"};
	char want[32], got[32];

	if (fn_shell(env->hugepages, sizeof(env->hugepages), "cat /proc/sys/vm/nr_hugepages") != 0 ||
	    !env->hugepages[0]) {
		env->hugepages[0] = '\0';
		fn_skip("no hugepages here");
	}
	snprintf(want, sizeof(want), "%d", atoi(env->hugepages) + HUGEPAGES);
	fn_put("/proc/sys/vm/nr_hugepages", want);
	fn_shell(got, sizeof(got), "cat /proc/sys/vm/nr_hugepages");
	if (atoi(got) < atoi(want))
		fn_skip("of %s hugepages the machine gave %d", want, atoi(got));
	fn_start_config(env, "\"memory\": { \"hugepages\": true, \"heap_mib\": 32 }", &share, 1);
	struct sfs_fg *g = fn_guest_on(
	    env, "a", &(struct sfs_fg_opts){.depth = 16, .data_bytes = 65536, .mem = {.hugepages = true}});
	fn_work(g, "work", 20);
	fn_guest_leave(env, g);
	g = fn_guest_on(env, "a", NULL);
	fn_work(g, "work", 3);
}

/* --- signals --- */

/* Requests that the daemon has taken are answered before it goes. */
static void stop_in_flight(struct fn_env *env, int sig)
{
	enum { COUNT = 12 };
	const struct fn_share shares[] = {{.tag = "slow"}, {.tag = "other"}};
	struct sfs_fg_req *reqs[COUNT];
	uint64_t nodeid, fh;

	fn_slowfs(env, "slow", false);
	fn_start_config(env, NULL, shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *g = fn_guest_on(env, "slow", NULL);
	struct sfs_fg *other = fn_guest_on(env, "other", NULL);
	fn_work(other, "work", 1);
	fn_open(g, "file", O_RDONLY, &nodeid, &fh);
	slowfs_hold(env->slowfs, FUSE_READ);
	for (unsigned i = 0; i < COUNT; i++)
		reqs[i] = fn_read(&g->queue[1], nodeid, fh, i * 4096, 4096);
	fn_publish(&g->queue[1]);
	fn_until(slowfs_held(env->slowfs) > 0 && fn_figure(env, "devices.0.queues.1.in_flight") == COUNT);
	assert_int_equal(kill(env->pid, sig), 0);
	/* The other guest is let go at once; the daemon itself waits. */
	fn_ok(sfs_fe_wait_hangup(&other->fe));
	assert_true(fn_alive(env));
	slowfs_release(env->slowfs);
	assert_int_equal(fn_wait_exit(env), 0);
	for (unsigned i = 0; i < COUNT; i++) {
		fn_ok(sfs_fg_wait(reqs[i]));
		assert_int_equal(reqs[i]->result, 4096);
		for (unsigned b = 0; b < 4096; b++)
			assert_int_equal(reqs[i]->data[b],
					 (uint8_t)((i * 4096 + b) * 7 + (i * 4096 + b) / 256));
	}
}

static void test_sigterm(struct fn_env *env)
{
	stop_in_flight(env, SIGTERM);
}

static void test_sigint(struct fn_env *env)
{
	stop_in_flight(env, SIGINT);
}

/* While requests pour in. */
static void test_sigterm_under_load(struct fn_env *env)
{
	struct sfs_fg_req *req;
	unsigned answered = 0;
	uint64_t nodeid, fh;

	fn_host_write(env, "file", "content", 7);
	fn_guest(env, NULL);
	fn_open(&env->g, "file", O_RDWR, &nodeid, &fh);
	for (unsigned i = 0; fn_alive(env); i++) {
		for (unsigned n = 0; env->g.queue[1].free; n++) {
			if (n % 2)
				fn_read(&env->g.queue[1], nodeid, fh, 0, 7);
			else
				fn_write(&env->g.queue[1], nodeid, fh, 4096, 4096);
		}
		fn_publish(&env->g.queue[1]);
		while (sfs_fg_poll(&env->g.queue[1], &req) == 1) {
			assert_true(req->result >= 0);
			sfs_fg_req_put(req);
			answered++;
		}
		if (i == 2000)
			kill(env->pid, SIGTERM);
	}
	assert_int_equal(fn_wait_exit(env), 0);
	assert_true(answered > 0);
}

/* --- sockets --- */

static void test_stale_socket(struct fn_env *env)
{
	const struct fn_share share = {.tag = "a"};

	close(listen_at(fn_path(env, "a.sock")));
	close(listen_at(env->control));
	fn_start_config(env, NULL, &share, 1);
	fn_work(fn_guest_on(env, "a", NULL), "work", 1);
	assert_true(fn_figure(env, "version") == 1);
}

static void test_live_socket(struct fn_env *env)
{
	char said[4096];

	fn_guest(env, NULL);
	assert_int_equal(
	    fn_shell(said, sizeof(said),
		     "timeout 30 %s --socket-path %s --shared-dir %s --sandbox none --seccomp none 2>&1",
		     program("spinfsd"), env->socket, env->share),
	    1);
	assert_non_null(strstr(said, "another process listens there"));
	assert_non_null(strstr(said, env->socket));
	assert_int_equal(
	    fn_shell(said, sizeof(said),
		     "timeout 30 %s --socket-path %s.2 --shared-dir %s --sandbox none --seccomp none "
		     "--control-socket %s 2>&1",
		     program("spinfsd"), env->socket, env->share, env->control),
	    1);
	assert_non_null(strstr(said, "another daemon serves it"));
	fn_work(&env->g, "work", 2);
	assert_true(fn_figure(env, "version") == 1);
}

/* What is no socket is nobody's to remove. */
static void test_socket_is_a_file(struct fn_env *env)
{
	char said[4096];

	fn_put(env->socket, "precious");
	assert_int_equal(
	    fn_shell(said, sizeof(said),
		     "timeout 30 %s --socket-path %s --shared-dir %s --sandbox none --seccomp none 2>&1",
		     program("spinfsd"), env->socket, env->share),
	    1);
	assert_non_null(strstr(said, "is not a socket"));
	assert_int_equal(fn_shell(NULL, 0, "grep -qx precious %s", env->socket), 0);
}

static void test_passed_socket(struct fn_env *env)
{
	char fd[16];
	const char *args[] = {
	    "--fd", fd,         "--shared-dir", env->share,         "--sandbox",  "none", "--seccomp",
	    "none", "--engine", fn_engine(),    "--control-socket", env->control, NULL};
	char path[96];

	snprintf(path, sizeof(path), "%s", fn_path(env, "passed"));
	env->pass_fd = listen_at(path);
	snprintf(fd, sizeof(fd), "%d", env->pass_fd);
	fn_start(env, args);
	snprintf(env->socket, sizeof(env->socket), "%s", path);
	fn_guest(env, NULL);
	fn_work(&env->g, "work", 3);
	fn_guest_gone(env);
	assert_int_equal(fn_wait_exit(env), 0);
	/* The file is its maker's. */
	assert_int_equal(unlink(path), 0);
}

static void test_passed_junk(struct fn_env *env)
{
	char said[4096];

	assert_int_equal(
	    fn_shell(said, sizeof(said),
		     "timeout 30 %s --fd 7 --shared-dir %s --sandbox none --seccomp none 2>&1 7</dev/null",
		     program("spinfsd"), env->share),
	    1);
	assert_non_null(strstr(said, "not a listening unix stream socket"));
}

/* --- several devices --- */

static void test_listen_mode(struct fn_env *env)
{
	const struct fn_share share = {.tag = "a"};

	fn_start_config(env, NULL, &share, 1); /* listen is the file's default */
	for (unsigned i = 0; i < 3; i++) {
		struct sfs_fg *g = fn_guest_on(env, "a", NULL);

		fn_work(g, "work", 1);
		fn_guest_leave(env, g);
		fn_until(fn_figure_is(env, "devices.0.state", "listening"));
	}
	assert_true(fn_alive(env));
}

static void test_exit_mode_of_two(struct fn_env *env)
{
	const struct fn_share shares[] = {{.tag = "a", .more = "\"on_disconnect\": \"exit\""},
					  {.tag = "b", .more = "\"on_disconnect\": \"exit\""}};

	fn_start_config(env, NULL, shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *a = fn_guest_on(env, "a", NULL);
	struct sfs_fg *b = fn_guest_on(env, "b", NULL);
	fn_guest_leave(env, a);
	fn_until(fn_figure_is(env, "devices.0.state", "listening"));
	fn_work(b, "work", 3);
	fn_guest_leave(env, b);
	assert_int_equal(fn_wait_exit(env), 0);
}

/* Three shares, each with two queues on two reactors, all with requests in flight at the same time. */
static void test_three_devices(struct fn_env *env)
{
	enum { SHARES = 3, DEPTH = 32, ROUNDS = 30 };
	const struct fn_share shares[SHARES] = {{.tag = "a", .more = "\"queues\": { \"request_count\": 2 }"},
						{.tag = "b", .more = "\"queues\": { \"request_count\": 2 }"},
						{.tag = "c", .more = "\"queues\": { \"request_count\": 2 }"}};
	struct sfs_fg_req *reqs[SHARES][2][DEPTH];
	uint64_t nodeid[SHARES], fh[SHARES];
	struct sfs_fg *g[SHARES];
	uint8_t want[4096];

	fn_start_config(env, TWO_REACTORS, shares, SHARES);
	for (unsigned s = 0; s < SHARES; s++) {
		struct fuse_entry_out entry;
		struct fuse_open_out open;

		g[s] = fn_guest_on(
		    env, shares[s].tag,
		    &(struct sfs_fg_opts){.request_queues = 2, .depth = DEPTH, .data_bytes = 8192});
		fn_ok(sfs_fg_create(g[s], FUSE_ROOT_ID, "file", O_RDWR, S_IFREG | 0644, &entry, &open));
		nodeid[s] = entry.nodeid;
		fh[s] = open.fh;
	}
	for (unsigned round = 0; round < 2 * ROUNDS; round++) {
		bool write = round % 2 == 0;

		for (unsigned i = 0; i < SHARES * 2 * DEPTH; i++) {
			unsigned s = i % SHARES, q = i / SHARES % 2, n = i / SHARES / 2;
			struct sfs_fg_queue *queue = &g[s]->queue[1 + q];
			uint64_t at = (q * DEPTH + n) * 4096ull;

			if (write)
				fn_pattern(queue->free->data, 4096,
					   (unsigned)at / 4096 * 7 + s * 100 + round);
			reqs[s][q][n] = (write ? fn_write : fn_read)(queue, nodeid[s], fh[s], at, 4096);
		}
		for (unsigned i = 0; i < SHARES * 2; i++)
			fn_publish(&g[i / 2]->queue[1 + i % 2]);
		for (unsigned i = 0; i < SHARES * 2 * DEPTH; i++) {
			unsigned s = i % SHARES, q = i / SHARES % 2, n = i / SHARES / 2;

			fn_ok(sfs_fg_wait(reqs[s][q][n]));
			assert_int_equal(reqs[s][q][n]->result, write ? 0 : 4096);
			fn_pattern(want, sizeof(want), (q * DEPTH + n) * 7 + s * 100 + round - !write);
			if (!write)
				assert_memory_equal(reqs[s][q][n]->data, want, sizeof(want));
			sfs_fg_req_put(reqs[s][q][n]);
		}
	}
	assert_true(fn_figure_is(env, "devices.1.queues.1.reactor", "r1"));
	assert_true(fn_figure_is(env, "devices.1.queues.2.reactor", "r0"));
	assert_int_equal(fn_figure(env, "devices.2.queues.2.requests"), 2 * ROUNDS * DEPTH);
	assert_int_equal(fn_figure(env, "devices.2.ops.READ.count"), ROUNDS * DEPTH * 2);
	assert_int_equal(fn_figure(env, "devices.2.ops.READ.bytes"), ROUNDS * DEPTH * 2 * 4096);
	assert_int_equal(fn_figure(env, "devices.2.ops.WRITE.bytes"), ROUNDS * DEPTH * 2 * 4096);
	assert_int_equal(fn_figure(env, "devices.0.bytes_copied"), 0);
}

/* Of few descriptors the cache of nodes gets enough to be of use; one guest opens what it can: the other still opens, and the
 * next VMM is served. */
static void test_descriptors_are_shared(struct fn_env *env)
{
	enum { LIMIT = 1000, KNOWN = 50 };
	struct fuse_entry_out entry;
	char name[16];
	const struct fn_share shares[] = {{.tag = "a"}, {.tag = "b"}};
	struct fuse_open_out open;
	uint64_t nodeid, fh;
	unsigned opened = 0;
	int rc;

	fn_start_config(env, "\"rlimit_nofile\": 1000", shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *a = fn_guest_on(env, "a", NULL);
	struct sfs_fg *b = fn_guest_on(env, "b", NULL);
	fn_put(fn_path(env, "a/file"), "a");
	fn_put(fn_path(env, "b/file"), "b");
	for (unsigned i = 0; i < KNOWN; i++) {
		snprintf(name, sizeof(name), "a/%u", i);
		fn_put(fn_path(env, name), "");
		fn_ok(sfs_fg_lookup(a, FUSE_ROOT_ID, strchr(name, '/') + 1, &entry));
	}
	if (geteuid() == 0) /* file handles: who has none keeps them all as long as the guest knows them */
		assert_true(fn_figure(env, "devices.0.fds") > KNOWN);
	fn_open(a, "file", O_RDONLY, &nodeid, &fh);
	while ((rc = sfs_fg_open(a, nodeid, O_RDONLY, &open)) == 0)
		assert_true(++opened < LIMIT);
	fn_open(b, "file", O_RDONLY, &nodeid, &fh);
	assert_int_equal(rc, -ENFILE);
	assert_true(opened > LIMIT / 8); /* a part that is of use */
	fn_guest_leave(env, b);
	b = fn_guest_on(env, "b", NULL);
	fn_work(b, "work", 3);
	/* The other may have as much. */
	fn_open(b, "file", O_RDONLY, &nodeid, &fh);
	for (unsigned i = 0; i < opened; i++)
		fn_ok(sfs_fg_open(b, nodeid, O_RDONLY, &open));
	fn_guest_leave(env, a);
	a = fn_guest_on(env, "a", NULL);
	fn_work(a, "work", 3);
	assert_true(fn_figure(env, "devices.0.limit_hits") > 0);
}

/* --- the operator --- */

struct shape {
	const char *key;
	char type; /* i, f, s: number, real, string */
};

static void check_shape(const json_t *o, const struct shape *shape)
{
	for (; shape->key; shape++) {
		const json_t *v = json_object_get(o, shape->key);

		if (!(shape->type == 'i'   ? json_is_integer(v)
		      : shape->type == 'f' ? json_is_real(v)
					   : json_is_string(v)))
			fail_msg("the figures have no %s of type %c", shape->key, shape->type);
	}
}

static void check_figures(const char *text, unsigned devices)
{
	static const struct shape top[] = {
	    {"version", 'i'}, {"uptime_s", 'f'}, {"engine_pid", 'i'}, {"engine_restarts", 'i'}, {NULL, 0}};
	static const struct shape reactor[] = {{"name", 's'},   {"cpu", 'i'},     {"idle", 's'},
					       {"turns", 'i'},  {"busy_ns", 'i'}, {"idle_ns", 'i'},
					       {"sleeps", 'i'}, {"wakeups", 'i'}, {NULL, 0}};
	static const struct shape device[] = {
	    {"tag", 's'},        {"state", 's'},        {"inodes", 'i'},       {"handles", 'i'}, {"fds", 'i'},
	    {"limit_hits", 'i'}, {"bytes_copied", 'i'}, {"bad_requests", 'i'}, {NULL, 0}};
	static const struct shape queue[] = {{"index", 'i'},         {"reactor", 's'}, {"requests", 'i'},
					     {"in_flight", 'i'},     {"kicks", 'i'},   {"calls", 'i'},
					     {"eventfd_reads", 'i'}, {NULL, 0}};
	static const struct shape op[] = {{"count", 'i'},  {"errors", 'i'}, {"inline", 'i'},
					  {"engine", 'i'}, {"worker", 'i'}, {"bytes", 'i'},
					  {"p50_ns", 'i'}, {"p99_ns", 'i'}, {NULL, 0}};
	json_t *all = json_loads(text, 0, NULL), *ops;
	const json_t *list, *dev;
	const char *name;
	size_t i, j;

	assert_non_null(all);
	check_shape(all, top);
	list = json_object_get(all, "reactors");
	assert_int_equal(json_array_size(list), 2);
	for (i = 0; i < 2; i++)
		check_shape(json_array_get(list, i), reactor);
	list = json_object_get(all, "devices");
	assert_int_equal(json_array_size(list), devices);
	for (i = 0; i < devices; i++) {
		dev = json_array_get(list, i);
		check_shape(dev, device);
		assert_int_equal(json_array_size(json_object_get(dev, "queues")), 1 + 4);
		for (j = 0; j < 1 + 4; j++)
			check_shape(json_array_get(json_object_get(dev, "queues"), j), queue);
		ops = json_object_get(dev, "ops");
		assert_true(json_is_object(ops));
		const json_t *one;
		json_object_foreach(ops, name, one) check_shape(one, op);
	}
	json_decref(all);
}

static void test_operator(struct fn_env *env)
{
	const struct fn_share shares[] = {{.tag = "first"}, {.tag = "second"}};
	static char said[65536];
	char ctl[640];

	fn_start_config(env, TWO_REACTORS, shares, SFS_ARRAY_SIZE(shares));
	struct sfs_fg *g = fn_guest_on(env, "first", NULL);
	fn_work(g, "work", 5);
	snprintf(ctl, sizeof(ctl), "%s --socket %s", program("spinfs-ctl"), env->control);

	assert_int_equal(fn_shell(said, sizeof(said), "%s status", ctl), 0);
	assert_non_null(strstr(said, "first"));
	assert_non_null(strstr(said, "running"));
	assert_non_null(strstr(said, "second"));
	assert_non_null(strstr(said, "listening"));
	assert_int_equal(fn_shell(said, sizeof(said), "%s stats", ctl), 0);
	assert_non_null(strstr(said, "CREATE"));
	assert_int_equal(fn_shell(said, sizeof(said), "%s stats --json", ctl), 0);
	check_figures(said, 2);
	assert_int_equal(fn_shell(said, sizeof(said), "%s stats --json --device first", ctl), 0);
	check_figures(said, 1);
	assert_int_equal(fn_figure(env, "devices.0.ops.CREATE.count"), 5);
	assert_int_equal(fn_figure(env, "devices.0.ops.CREATE.errors"), 0);
	assert_int_equal(fn_figure(env, "devices.0.ops.READ.bytes"), 5 * 20000);
	assert_int_equal(fn_figure(env, "devices.0.handles"), 0);
	assert_int_equal(fn_figure(env, "engine_pid"), env->pid);

	assert_int_equal(fn_shell(said, sizeof(said), "%s stats --device nobody 2>&1", ctl), 1);
	assert_int_equal(fn_shell(said, sizeof(said), "%s dance 2>&1", ctl), 2);
	assert_int_equal(fn_shell(said, sizeof(said), "%s status --json 2>&1", ctl), 2);
	fn_work(g, "work", 1);
	assert_int_equal(fn_shell(NULL, 0, "%s stop", ctl), 0);
	assert_int_equal(fn_wait_exit(env), 0);
	assert_int_equal(fn_shell(said, sizeof(said), "%s status 2>&1", ctl), 1);
}

/* --- configuration --- */

static void test_config_check_and_print(struct fn_env *env)
{
	const struct fn_share shares[] = {
	    {.tag = "a", .options = "\"readonly\": true, \"cache\": \"always\""},
	    {.tag = "b", .more = "\"queues\": { \"request_count\": 1, \"reactors\": [ \"r1\" ] }"}};
	static char once[65536], twice[65536];
	const char *config = fn_path(env, "config.json");

	fn_write_config(env, TWO_REACTORS, shares, SFS_ARRAY_SIZE(shares));
	assert_int_equal(
	    fn_shell(once, sizeof(once), "%s --config %s --check-config 2>&1", program("spinfsd"), config),
	    0);
	assert_int_equal(
	    fn_shell(once, sizeof(once), "%s --config %s --print-config", program("spinfsd"), config), 0);
	assert_non_null(strstr(once, "\"readonly\": true"));
	assert_non_null(strstr(once, "\"stop_timeout_ms\": 30000"));
	fn_put(fn_path(env, "printed.json"), once);
	assert_int_equal(fn_shell(twice, sizeof(twice), "%s --config %s/printed.json --print-config",
				  program("spinfsd"), env->dir),
			 0);
	assert_string_equal(once, twice);
	/* Neither left anything running or lying about. */
	assert_int_equal(access(fn_path(env, "a.sock"), F_OK), -1);
	assert_int_equal(access(env->control, F_OK), -1);
}

static const struct {
	const char *json;
	const char *says;
} config_errors[] = {
    {"{ \"devices\": [", "bad.json:1:"},
    {"{ \"version\": 1, \"devices\": [], \"devices\": [] }", "devices"},
    {"{ \"version\": 1, \"devices\": [ ] }", "devices"},
    {"{ \"version\": 1, \"keeper\": true, \"devices\": [ ] }", "keeper"},
    {"{ \"version\": 1, \"devices\": [ { \"tag\": \"a\", \"socket\": { \"path\": \"s\" },\n"
     "\"fs\": { \"driver\": \"passthrough\", \"options\": { \"shared_dir\": \"share\", \"cache\": \"fast\" } "
     "} } ] }",
     "bad.json:2:"},
    {"{ \"version\": 1, \"devices\": [ { \"tag\": \"a\", \"socket\": { \"path\": \"s\" },"
     "\"fs\": { \"driver\": \"passthrough\", \"options\": { \"shared_dir\": \"missing\" } } } ] }",
     "devices[0].fs.options.shared_dir"},
    {"{ \"version\": 1, \"devices\": [ { \"tag\": \"\", \"socket\": { \"path\": \"s\" },"
     "\"fs\": { \"driver\": \"passthrough\", \"options\": { \"shared_dir\": \"share\" } } } ] }",
     "devices[0].tag"},
    {"{ \"version\": 1, \"devices\": [ { \"tag\": \"a\", \"socket\": { \"path\": \"s\" },"
     "\"fs\": { \"driver\": \"tape\" } } ] }",
     "devices[0].fs.driver"},
    {"{ \"version\": 1, \"reactors\": [ { \"name\": \"r\", \"cpu\": 4000 } ], \"devices\": [ { \"tag\": "
     "\"a\","
     "\"socket\": { \"path\": \"s\" },"
     "\"fs\": { \"driver\": \"passthrough\", \"options\": { \"shared_dir\": \"share\" } } } ] }",
     "reactors[0].cpu"},
};

static void test_config_errors(struct fn_env *env)
{
	char said[4096];

	for (unsigned i = 0; i < CONFIG_ERRORS; i++) {
		fn_put(fn_path(env, "bad.json"), config_errors[i].json);
		for (unsigned check = 0; check < 2; check++) {
			assert_int_equal(
			    fn_shell(said, sizeof(said), "timeout 30 %s --config %s/bad.json %s 2>&1",
				     program("spinfsd"), env->dir, check ? "--check-config" : ""),
			    2);
			assert_int_equal(strncmp(said, "spinfsd: ", 9), 0);
			if (!strstr(said, config_errors[i].says))
				fail_msg("\"%s\" is not in: %s", config_errors[i].says, said);
			assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1); /* one line */
		}
	}
}

static void test_exit_statuses(struct fn_env *env)
{
	static const struct {
		int status;
		const char *args;
	} cases[] = {
	    {0, "--help"},
	    {0, "--version"},
	    {0, "--print-capabilities"},
	    {2, ""},
	    {2, "--no-such-option"},
	    {2, "--shared-dir /"},
	    {2, "--socket-path s --shared-dir /no/such/directory --sandbox none --seccomp none"},
	    {2, "--socket-path s --shared-dir / --cache fast --sandbox none --seccomp none"},
	    {2, "--config /no/such/file.json"},
	    {2, "--config /dev/null --tag x"},
	    {1, "--socket-path /no/such/directory/s --shared-dir / --sandbox none --seccomp none"},
	};

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(cases); i++) {
		int status = fn_shell(NULL, 0, "cd %s && timeout 30 %s %s 2>&1", env->dir, program("spinfsd"),
				      cases[i].args);

		if (status != cases[i].status)
			fail_msg("spinfsd %s: exit status %d, not %d", cases[i].args, status,
				 cases[i].status);
	}
}

/* The default control socket's directory is made where it is missing. */
static void test_run_dir(struct fn_env *env)
{
	const char *config = fn_path(env, "default.json");
	char text[512], out[4096];
	struct stat st;

	if (access("/run/spinfs", F_OK) == 0)
		fn_skip("/run/spinfs is there: somebody's own");
	snprintf(text, sizeof(text),
		 "{ \"devices\": [ { \"tag\": \"t\", \"socket\": { \"path\": \"/run/spinfs/test-%d.sock\" },"
		 " \"fs\": { \"driver\": \"passthrough\", \"options\": { \"shared_dir\": \"%s\" } } } ] }",
		 getpid(), env->share);
	fn_put(config, text);
	fn_start(env, (const char *const[]){"--config", config, NULL});
	fn_until(access("/run/spinfs/control.sock", F_OK) == 0);
	assert_int_equal(stat("/run/spinfs", &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0755);
	assert_int_equal(fn_shell(out, sizeof(out), "%s status", program("spinfs-ctl")), 0);
	assert_int_equal(kill(env->pid, SIGTERM), 0);
	fn_expect_exit(env, 0);
	assert_int_equal(rmdir("/run/spinfs"), 0);
}

const struct fn_test fn_tests[] = {
    {"as nobody", test_as_nobody, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"hugepages", test_hugepages, {NULL}, FN_NO_DAEMON | FN_ONCE | FN_ROOT},
    {"SIGTERM in flight", test_sigterm, {NULL}, FN_NO_DAEMON | FN_ROOT},
    {"SIGINT in flight", test_sigint, {NULL}, FN_NO_DAEMON | FN_ONCE | FN_ROOT},
    {"SIGTERM under load", test_sigterm_under_load, {NULL}, 0},
    {"/run/spinfs", test_run_dir, {NULL}, FN_NO_DAEMON | FN_ONCE | FN_ROOT},
    {"stale sockets", test_stale_socket, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"live sockets", test_live_socket, {NULL}, FN_ONCE},
    {"socket is a file", test_socket_is_a_file, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"passed socket", test_passed_socket, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"passed junk", test_passed_junk, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"listen mode", test_listen_mode, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"exit mode of two", test_exit_mode_of_two, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"three devices on two reactors", test_three_devices, {NULL}, FN_NO_DAEMON},
    {"descriptors are shared", test_descriptors_are_shared, {NULL}, FN_NO_DAEMON},
    {"the operator", test_operator, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"configuration checked and printed", test_config_check_and_print, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"bad configurations", test_config_errors, {NULL}, FN_NO_DAEMON | FN_ONCE},
    {"exit statuses", test_exit_statuses, {NULL}, FN_NO_DAEMON | FN_ONCE},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
