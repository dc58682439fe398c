/* SPDX-License-Identifier: BSD-3-Clause */
/* A daemon for each test, and the program's main. */
#include "harness.h"

#include <dirent.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FN_CONNECT_MS 100
#define FN_EXIT_MS    60000
#define FN_SKIPPED    77 /* as meson and automake understand it */

static const char *fn_daemon_path;

void fn_pattern(void *buf, size_t bytes, unsigned seed)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)(i * 131 + (i >> 8) * 17 + (i >> 16) * 5 + seed);
}

void fn_host_write(struct fn_env *env, const char *name, const void *bytes, size_t count)
{
	int fd = openat(env->share_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, count), count);
	close(fd);
}

void fn_host_read(struct fn_env *env, const char *name, void *bytes, size_t count)
{
	int fd = openat(env->share_fd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, count);
	assert_int_equal(read(fd, bytes, count), count);
	close(fd);
}

/* --- the daemon --- */

const char *fn_engine(void)
{
	const char *engine = getenv("SPINFS_ENGINE");

	return engine && *engine ? engine : "auto";
}

bool fn_full(void)
{
	const char *full = getenv("SPINFS_TEST_FULL");

	return full && strcmp(full, "1") == 0;
}

static void fn_exec(struct fn_env *env, const char **argv)
{
	int fd = open(fn_path(env, "log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	const char *program = env->uid ? fn_path(env, "spinfsd") : fn_daemon_path;

	if (fd >= 0) {
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
	}
	if (env->pass_fd >= 0)
		fcntl(env->pass_fd, F_SETFD, 0);
	setenv("RUNTIME_DIRECTORY", fn_path(env, "run"), 1);
	if (env->uid && (setgroups(0, NULL) < 0 || setgid(env->uid) < 0 || setuid(env->uid) < 0))
		_exit(126);
	execv(program, (char *const *)(uintptr_t)argv);
	_exit(127);
}

void fn_start(struct fn_env *env, const char *const *args)
{
	const char *argv[2 * FN_ARGS_MAX] = {fn_daemon_path};

	for (unsigned i = 0; args[i]; i++) {
		assert_true(i + 2 < SFS_ARRAY_SIZE(argv));
		argv[i + 1] = args[i];
	}
	env->exited = false;
	env->pid = fork();
	if (env->pid == 0)
		fn_exec(env, argv);
	assert_true(env->pid > 0);
}

/* The daemon that a test has from the beginning. */
static void fn_start_default(struct fn_env *env)
{
	const char *args[2 * FN_ARGS_MAX] = {"--socket-path", env->socket, "--shared-dir",     env->share,
					     "--sandbox",     "none",      "--seccomp",        "none",
					     "--engine",      fn_engine(), "--control-socket", env->control};
	unsigned n = 12;

	for (unsigned i = 0; i < FN_ARGS_MAX && env->test->args[i]; i++)
		args[n++] = env->test->args[i];
	fn_start(env, args);
}

static int fn_setup(void **state)
{
	struct fn_env *env = calloc(1, sizeof(*env));

	if (!env)
		return -1;
	env->test = *state;
	*state = env;
	snprintf(env->dir, sizeof(env->dir), "/tmp/spinfs-test.XXXXXX");
	if (!mkdtemp(env->dir))
		return -1;
	snprintf(env->socket, sizeof(env->socket), "%s/socket", env->dir);
	snprintf(env->share, sizeof(env->share), "%s/share", env->dir);
	snprintf(env->control, sizeof(env->control), "%s/control", env->dir);
	if (mkdir(env->share, 0755) < 0 || mkdir(fn_path(env, "run"), 0755) < 0)
		return -1;
	env->pass_fd = -1;
	env->share_fd = open(env->share, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return env->share_fd < 0 ? -1 : 0;
}

/* True once the daemon has ended, within @ms. */
static bool fn_reap(struct fn_env *env, int ms)
{
	if (env->exited || !env->pid)
		return true;
	int pidfd = (int)syscall(SYS_pidfd_open, env->pid, 0);
	struct pollfd pfd = {.fd = pidfd, .events = POLLIN};

	if (pidfd >= 0) {
		poll(&pfd, 1, ms);
		close(pidfd);
	}
	env->exited = waitpid(env->pid, &env->status, WNOHANG) == env->pid;
	return env->exited;
}

bool fn_alive(struct fn_env *env)
{
	return !fn_reap(env, 0);
}

int fn_wait_exit(struct fn_env *env)
{
	return fn_reap(env, FN_EXIT_MS) && WIFEXITED(env->status) ? WEXITSTATUS(env->status) : -1;
}

static void fn_show_log(const struct fn_env *env)
{
	char line[1024];

	FILE *f = fopen(fn_path(env, "log"), "r");
	while (f && fgets(line, sizeof(line), f))
		fprintf(stderr, "    | %s", line);
	if (f)
		fclose(f);
}

void fn_expect_exit(struct fn_env *env, int status)
{
	assert_int_equal(fn_wait_exit(env), status);
	env->pid = 0;
}

bool fn_log_has(const struct fn_env *env, const char *text)
{
	FILE *f = fopen(fn_path(env, "log"), "r");
	char line[1024];
	bool has = false;

	while (f && !has && fgets(line, sizeof(line), f))
		has = strstr(line, text);
	if (f)
		fclose(f);
	return has;
}

/* --- the end of a test --- */

static int fn_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

/* What the daemon should have taken away: its sockets, and the directories of private ones. */
static int fn_leftovers(const struct fn_env *env, const char *name)
{
	DIR *dir = opendir(fn_path(env, name));
	struct dirent *d;
	int count = 0;

	while (dir && (d = readdir(dir))) {
		if (d->d_type != DT_SOCK && strncmp(d->d_name, "spinfs-", 7) != 0)
			continue;
		fprintf(stderr, "    the daemon left %s/%s behind\n", name, d->d_name);
		count++;
	}
	if (dir)
		closedir(dir);
	return count;
}

/* What the test itself put up around the daemon. */
static void fn_clear(struct fn_env *env)
{
	for (unsigned i = 0; i < FN_GUESTS_MAX; i++)
		if (env->guests[i])
			fn_guest_leave(env, env->guests[i]);
	fn_guest_gone(env);
	slowfs_unmount(env->slowfs);
	if (env->loop_dir[0])
		fn_shell(NULL, 0, "umount -d %s", env->loop_dir);
	if (env->hugepages[0])
		fn_put("/proc/sys/vm/nr_hugepages", env->hugepages);
	if (env->pass_fd >= 0)
		close(env->pass_fd);
	close(env->share_fd);
	nftw(env->dir, fn_remove, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	free(env);
}

/* Every daemon that ends here ends with status 0 and leaves nothing, whatever the guest did to it. */
static int fn_teardown(void **state)
{
	struct fn_env *env = *state;
	int status, left;

	if (env->slowfs && fn_alive(env)) {
		slowfs_release(env->slowfs);
		kill(slowfs_server(env->slowfs), SIGCONT);
	}
	if (env->pid && fn_alive(env))
		kill(env->pid, SIGTERM);
	status = env->pid ? fn_wait_exit(env) : 0;
	left = fn_leftovers(env, "") + fn_leftovers(env, "run");
	if (env->pid && !fn_reap(env, 0)) {
		kill(env->pid, SIGKILL);
		waitpid(env->pid, &env->status, 0);
	}
	if (status != 0)
		fprintf(stderr, "    the daemon ended with status %#x%s\n", (unsigned)env->status,
			env->exited ? "" : " (killed after SIGTERM did not end it)");
	if (status != 0 || left || getenv("SPINFS_TEST_LOG"))
		fn_show_log(env);
	fn_clear(env);
	return status == 0 && left == 0 ? 0 : -1;
}

/* --- guests --- */

void fn_init(struct sfs_fg *g)
{
	struct fuse_init_out init;

	fn_ok(sfs_fg_init(g, FUSE_KERNEL_MINOR_VERSION,
			  FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_DO_READDIRPLUS | FUSE_ATOMIC_O_TRUNC |
			      FUSE_PARALLEL_DIROPS | FUSE_INIT_EXT,
			  &init));
}

static const struct sfs_fg_opts fn_pages = {.seg_bytes = SFS_FG_PAGE, .depth = 64};

/* Attaches to the daemon at @path, which may still be starting. 0 or -errno. */
static int fn_attach(struct fn_env *env, struct sfs_fg *g, const char *path)
{
	int rc;

	for (unsigned waited = 0; waited < FN_WAIT_MS; waited += FN_CONNECT_MS) {
		struct sfs_fe fe;

		rc = sfs_fe_connect(&fe, path, FN_CONNECT_MS);
		if (rc == 0)
			return sfs_fg_attach_fd(g, fe.fd);
		if (!fn_alive(env))
			break;
	}
	return rc;
}

void fn_guest(struct fn_env *env, const struct sfs_fg_opts *opts)
{
	fn_ok(sfs_fg_begin(&env->g, opts ? opts : &fn_pages));
	env->guest_up = true;
	env->g.timeout_ms = FN_WAIT_MS;
	fn_ok(fn_attach(env, &env->g, env->socket));
	fn_init(&env->g);
}

void fn_guest_gone(struct fn_env *env)
{
	if (env->guest_up)
		sfs_fg_end(&env->g);
	env->guest_up = false;
}

struct sfs_fg *fn_guest_attach(struct fn_env *env, const char *tag, const struct sfs_fg_opts *opts)
{
	unsigned i = 0;
	char name[64];

	while (env->guests[i])
		assert_true(++i < FN_GUESTS_MAX);
	struct sfs_fg *g = calloc(1, sizeof(*g));
	assert_non_null(g);
	if (sfs_fg_begin(g, opts ? opts : &fn_pages) < 0) {
		free(g);
		fail_msg("no memory for a guest");
	}
	env->guests[i] = g;
	g->timeout_ms = FN_WAIT_MS;
	snprintf(name, sizeof(name), "%s.sock", tag);
	fn_ok(fn_attach(env, g, fn_path(env, name)));
	return g;
}

struct sfs_fg *fn_guest_on(struct fn_env *env, const char *tag, const struct sfs_fg_opts *opts)
{
	struct sfs_fg *g = fn_guest_attach(env, tag, opts);

	fn_init(g);
	return g;
}

void fn_guest_leave(struct fn_env *env, struct sfs_fg *g)
{
	for (unsigned i = 0; i < FN_GUESTS_MAX; i++)
		if (env->guests[i] == g)
			env->guests[i] = NULL;
	sfs_fg_end(g);
	free(g);
}

void fn_until_pinned(struct fn_env *env, const struct sfs_fg *g)
{
	int64_t bytes = 0;

	for (unsigned i = 0; i < g->mem.region_count; i++)
		bytes += (int64_t)g->mem.region[i].bytes;
	fn_until(fn_figure(env, "devices.0.pinned_bytes") == bytes ||
		 fn_log_has(env, "memory is not pinned: needs"));
	if (fn_figure(env, "devices.0.pinned_bytes") != bytes)
		fn_skip("the kernel cannot share pinned memory between rings");
}

/* --- the program --- */

static void fn_run(void **state)
{
	struct fn_env *env = *state;

	if ((env->test->flags & FN_ROOT) && geteuid() != 0)
		fn_skip("needs root");
	if (!(env->test->flags & FN_NO_DAEMON))
		fn_start_default(env);
	env->test->run(env);
	assert_true(fn_alive(env) || !env->pid || (WIFEXITED(env->status) && WEXITSTATUS(env->status) == 0));
}

static unsigned fn_add(struct CMUnitTest *to, const struct fn_test *from, unsigned count)
{
	bool once = strcmp(fn_engine(), "auto") == 0 || strcmp(fn_engine(), "io_uring") == 0;
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		if ((from[i].flags & FN_ONCE) && !once)
			continue;
		to[n++] = (struct CMUnitTest){.name = from[i].name,
					      .test_func = fn_run,
					      .setup_func = fn_setup,
					      .teardown_func = fn_teardown,
					      .initial_state = (void *)(uintptr_t)&from[i]};
	}
	return n;
}

int main(int argc, char **argv)
{
	struct CMUnitTest *tests = calloc(fn_test_count, sizeof(*tests));

	fn_daemon_path = getenv("SPINFSD");
	if (!fn_daemon_path) {
		printf("skipped: SPINFSD does not name the daemon to test\n");
		free(tests);
		return FN_SKIPPED;
	}
	if (access(fn_daemon_path, X_OK) < 0) {
		printf("%s: %s\n", fn_daemon_path, strerror(errno));
		free(tests);
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	/* Mounts of tests are ours alone, and go with us however we end. */
	if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0)
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	unsigned n = fn_add(tests, fn_tests, fn_test_count);
	if (n == 0) {
		printf("skipped: nothing here depends on the engine\n");
		free(tests);
		return FN_SKIPPED;
	}
	int failed = _cmocka_run_group_tests("daemon", tests, n, NULL, NULL);
	free(tests);
	return failed ? 1 : 0;
}
