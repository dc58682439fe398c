/* SPDX-License-Identifier: BSD-3-Clause */
/* The door around the messages: listening, deadlines, ends of sessions at every point. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "door_rig.h"
#include "sfs_base.h"
#include "sfs_log.h"

/* --- listening --- */

static int add_again(struct rig *r, struct rig_dev *d, const struct sfs_door_device_opts *opts)
{
	struct sfs_door_device *dev = NULL;
	int rc = sfs_door_add(r->door, opts, &dev);

	if (rc == 0)
		d->dev = dev;
	return rc;
}

static int listen_at(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void test_socket_mode(void **state)
{
	static const mode_t umasks[] = {0, 022, 077};
	struct rig r;
	struct stat st;

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(umasks); i++) {
		mode_t old = umask(umasks[i]);

		rig_init(&r, 1);
		umask(old);
		assert_int_equal(stat(r.dev[0].path, &st), 0);
		assert_true(S_ISSOCK(st.st_mode));
		assert_int_equal(st.st_mode & 07777, 0660);
		rig_fini(&r);
	}
}

static void test_socket_group(void **state)
{
	struct rig r;
	struct stat st;
	struct sfs_door_device_opts opts;
	char path[108];

	rig_init(&r, 1);
	opts = r.dev[0].opts;
	assert_int_equal(sfs_link_create(1, RIG_QUEUES, &r.dev[1].link), 0);
	r.dev[1].vmm = r.dev[1].be = -1;
	snprintf(path, sizeof(path), "%s/group", r.dir);
	opts.socket_path = path;
	opts.link = r.dev[1].link;
	opts.gid = geteuid() ? getegid() : 1234;
	opts.mode = 0620;
	assert_int_equal(add_again(&r, &r.dev[1], &opts), 0);
	r.count = 2;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_gid, opts.gid);
	assert_int_equal(st.st_mode & 07777, 0620);
	rig_fini(&r);
}

static void test_private_directory(void **state)
{
	struct rig r;
	char cmd[256];

	rig_init(&r, 1);
	rig_begin(&r, &r.dev[0]);
	snprintf(cmd, sizeof(cmd),
		 "test \"$(stat -c %%a %s/spinfs-*)\" = 700 && test -z \"$(ls %s/spinfs-*)\"", r.dir, r.dir);
	/* For its owner only, and the socket is gone once rte_vhost has connected. */
	assert_int_equal(system(cmd), 0);
	rig_hangup(&r, &r.dev[0]);
	rig_fini(&r);
}

static void test_socket_taken(void **state)
{
	struct sfs_door_device_opts opts;
	struct sfs_link *link;
	struct rig r;
	struct stat st;
	char path[108];
	unsigned fds;
	int fd;

	rig_init(&r, 1);
	assert_int_equal(sfs_link_create(1, RIG_QUEUES, &link), 0);
	fds = rig_fd_count();
	opts = r.dev[0].opts;
	opts.link = link;
	/* A live one: our own. */
	assert_int_equal(add_again(&r, &r.dev[0], &opts), -EADDRINUSE);
	rig_begin(&r, &r.dev[0]);
	rig_hangup(&r, &r.dev[0]);
	/* A file that is no socket stays as it is. */
	snprintf(path, sizeof(path), "%s/file", r.dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	opts.socket_path = path;
	assert_int_equal(add_again(&r, &r.dev[0], &opts), -EEXIST);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	unlink(path);
	/* No directory; too long. */
	snprintf(path, sizeof(path), "%s/none/sock", r.dir);
	assert_int_equal(add_again(&r, &r.dev[0], &opts), -ENOENT);
	opts.socket_path = "/tmp/0123456789012345678901234567890123456789012345678901234567890123456789"
			   "0123456789012345678901234567890123456789";
	assert_int_equal(add_again(&r, &r.dev[0], &opts), -ENAMETOOLONG);
	assert_int_equal(rig_fd_count(), fds);
	sfs_link_destroy(link);
	rig_fini(&r);
}

static void test_socket_stale(void **state)
{
	struct sfs_door_device_opts opts;
	struct rig r;
	char path[108];

	rig_init(&r, 1);
	snprintf(path, sizeof(path), "%s/stale", r.dir);
	close(listen_at(path));
	opts = r.dev[0].opts;
	opts.socket_path = path;
	r.dev[1] = r.dev[0];
	assert_int_equal(sfs_link_create(1, RIG_QUEUES, &r.dev[1].link), 0);
	opts.link = r.dev[1].link;
	opts.ctx = &r.dev[1];
	snprintf(r.dev[1].path, sizeof(r.dev[1].path), "%s", path);
	assert_int_equal(add_again(&r, &r.dev[1], &opts), 0);
	r.count = 2;
	rig_begin(&r, &r.dev[1]);
	rig_hangup(&r, &r.dev[1]);
	rig_fini(&r);
}

/* Somebody else has put a socket in our place: it is not ours to remove. */
static void test_socket_replaced(void **state)
{
	struct rig r;
	struct stat st;
	char path[108];
	int fd;

	rig_init(&r, 1);
	memcpy(path, r.dev[0].path, sizeof(path));
	unlink(path);
	fd = listen_at(path);
	sfs_door_stop(r.door);
	assert_int_equal(lstat(path, &st), 0);
	close(fd);
	unlink(path);
	rig_fini(&r);
}

static void test_passed_fd(void **state)
{
	struct sfs_door_device_opts opts;
	struct stat st;
	struct rig r;
	int fd, pair[2];

	rig_init(&r, 1);
	r.dev[1] = r.dev[0];
	assert_int_equal(sfs_link_create(1, RIG_QUEUES, &r.dev[1].link), 0);
	opts = r.dev[0].opts;
	opts.link = r.dev[1].link;
	opts.ctx = &r.dev[1];
	opts.socket_path = NULL;
	/* Not listening; not a socket. The descriptor stays the caller's. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	opts.listen_fd = pair[0];
	assert_int_equal(add_again(&r, &r.dev[1], &opts), -EINVAL);
	assert_int_equal(close(pair[0]), 0);
	close(pair[1]);
	opts.listen_fd = rig_memfd();
	assert_int_equal(add_again(&r, &r.dev[1], &opts), -ENOTSOCK);
	assert_int_equal(close(opts.listen_fd), 0);

	snprintf(r.dev[1].path, sizeof(r.dev[1].path), "%s/passed", r.dir);
	fd = listen_at(r.dev[1].path);
	opts.listen_fd = fd;
	assert_int_equal(add_again(&r, &r.dev[1], &opts), 0);
	r.count = 2;
	rig_begin(&r, &r.dev[1]);
	rig_setup_uml(&r, &r.dev[1], 2);
	rig_hangup(&r, &r.dev[1]);
	rig_begin(&r, &r.dev[1]);
	rig_hangup(&r, &r.dev[1]);
	/* The file is the one's who made it. */
	sfs_door_stop(r.door);
	assert_int_equal(lstat(r.dev[1].path, &st), 0);
	unlink(r.dev[1].path);
	rig_fini(&r);
}

static void test_bad_options(void **state)
{
	static const unsigned sizes[] = {0, 1, 3, 1000, 65536};
	struct sfs_door_device_opts opts;
	struct rig r;

	rig_init(&r, 1);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(sizes); i++) {
		opts = r.dev[0].opts;
		opts.ring_size_max = sizes[i];
		assert_int_equal(add_again(&r, &r.dev[0], &opts), -EINVAL);
	}
	rig_fini(&r);
}

/* One VMM at a time: the next one waits, and is served when the first has left. */
static void test_backlog(void **state)
{
	struct rig r;
	struct rig_msg m;
	struct rig_dev *d = &r.dev[0];
	struct sfs_door_figures fig;
	int second;

	rig_init(&r, 1);
	rig_begin(&r, d);
	second = rig_connect(d);
	rig_setup_qemu(&r, d, 2);
	sfs_door_device_figures(d->dev, &fig);
	assert_int_equal(fig.sessions, 1);
	close(d->vmm);
	d->vmm = second;
	rig_await(&r, d, SFS_DOOR_QUIESCING);
	rig_await(&r, d, SFS_DOOR_CONNECTED);
	rig_send(d, 1, 0, NULL, 0, NULL, 0);
	assert_int_equal(rig_reply(&r, d, &m), 1);
	rig_hangup(&r, d);
	rig_fini(&r);
}

static unsigned count_text(int log, const char *what)
{
	static char text[65536];
	ssize_t len = pread(log, text, sizeof(text) - 1, 0);
	unsigned count = 0;

	assert_true(len >= 0);
	text[len] = '\0';
	for (const char *at = text; (at = strstr(at, what)); at++)
		count++;
	return count;
}

static bool door_ready(struct rig *r)
{
	struct pollfd pfd = {.fd = sfs_door_fd(r->door), .events = POLLIN};

	return poll(&pfd, 1, 0) > 0;
}

/* Without descriptors for a VMM that waits, the door sleeps between its attempts, and says so once. */
static void test_out_of_descriptors(void **state)
{
	int saved = dup(STDERR_FILENO), log = rig_memfd(), lowest;
	uint64_t end = sfs_now_ns() + RIG_TIMEOUT * SFS_NS_PER_MS;
	struct rlimit old, none;
	struct rig r;
	struct rig_dev *d = &r.dev[0];

	rig_init(&r, 1);
	assert_int_equal(ftruncate(log, 0), 0);
	dup2(log, STDERR_FILENO);
	sfs_log_setup(SFS_LOG_WARN, SFS_LOG_STDERR);
	for (unsigned spell = 1; spell <= 2; spell++) {
		d->vmm = rig_connect(d);
		assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
		lowest = dup(STDERR_FILENO);
		close(lowest);
		none = (struct rlimit){(rlim_t)lowest, old.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
		/* Twice: its own attempt is one more that fails. */
		for (unsigned attempt = 0; attempt < 2; attempt++) {
			assert_int_equal(sfs_door_run_once(r.door, RIG_TIMEOUT), 0);
			while (door_ready(&r)) {
				assert_true(sfs_now_ns() < end);
				assert_int_equal(sfs_door_run_once(r.door, 0), 0);
			}
		}
		assert_int_equal(count_text(log, "accept: "), spell);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		rig_await(&r, d, SFS_DOOR_CONNECTED);
		rig_hangup(&r, d);
	}
	sfs_log_setup(SFS_LOG_OFF, SFS_LOG_STDERR);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(log);
	rig_fini(&r);
}

/* The end may come between two attempts. */
static void test_stop_out_of_descriptors(void **state)
{
	struct rlimit old, none;
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	int lowest;

	rig_init(&r, 1);
	d->vmm = rig_connect(d);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	lowest = dup(STDERR_FILENO);
	close(lowest);
	none = (struct rlimit){(rlim_t)lowest, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(sfs_door_run_once(r.door, RIG_TIMEOUT), 0);
	sfs_door_stop(r.door);
	assert_true(sfs_door_stopped(r.door));
	/* The attempt that was to come is none any more. */
	assert_int_equal(sfs_door_run_once(r.door, RIG_TIMEOUT), 0);
	assert_false(door_ready(&r));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	rig_fini(&r);
}

static void test_exit_on_disconnect(void **state)
{
	struct sfs_door_figures fig;
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	int late;

	rig_init(&r, 1);
	sfs_door_destroy(r.door);
	assert_int_equal(sfs_door_create(r.dir, &r.door), 0);
	d->opts.exit_on_disconnect = true;
	assert_int_equal(add_again(&r, d, &d->opts), 0);
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, 1);
	rig_hangup(&r, d);
	assert_int_equal(d->disconnects, 1);
	late = rig_connect(d);
	for (int i = 0; i < 10; i++)
		rig_turn(&r);
	sfs_door_device_figures(d->dev, &fig);
	assert_int_equal(fig.sessions, 1);
	close(late);
	rig_fini(&r);
}

/* --- ends --- */

static void setup_part(struct rig *r, struct rig_dev *d, unsigned part)
{
	uint64_t features = SFS_LINK_FEATURES;

	if (part > 0)
		rig_tell(r, d, 2, &features, 8, NULL, 0);
	if (part > 1)
		rig_mem_table(r, d, RIG_NEED_REPLY, 1);
	if (part > 2)
		rig_state(r, d, 8, 0, 128);
	if (part > 3)
		rig_addr(r, d, 0);
	if (part > 4)
		rig_ring_fd(r, d, 12, 0);
	if (part > 5)
		rig_state(r, d, 18, 0, 1);
	if (part > 6)
		rig_ring_fd(r, d, 13, 0);
}

static void test_disconnect_anywhere(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	unsigned before;

	rig_init(&r, 1);
	before = rig_fd_count();
	for (unsigned part = 0; part <= 7; part++)
		for (unsigned turns = 0; turns < 12; turns++) {
			int fd = eventfd(0, EFD_CLOEXEC);
			uint64_t ring = 0;

			rig_begin(&r, d);
			setup_part(&r, d, part);
			/* And in the middle of a message. */
			rig_send(d, 13, 0, &ring, 8, &fd, 1);
			close(fd);
			for (unsigned i = 0; i < turns; i++)
				sfs_door_run_once(r.door, 0);
			rig_hangup(&r, d);
			assert_int_equal(rig_fd_count(), before);
		}
	/* While it is attached. */
	for (unsigned turns = 0; turns < 4; turns++) {
		d->vmm = rig_connect(d);
		for (unsigned i = 0; i < turns; i++)
			sfs_door_run_once(r.door, 0);
		close(d->vmm);
		d->vmm = -1;
		for (unsigned i = 0; i < 50; i++)
			rig_turn(&r);
		rig_await(&r, d, SFS_DOOR_LISTENING);
	}
	assert_int_equal(rig_fd_count(), before);
	rig_fini(&r);
}

static void test_many_connects(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	struct sfs_door_figures fig;
	unsigned before;

	rig_init(&r, 1);
	before = rig_fd_count();
	for (unsigned i = 0; i < 1000; i++) {
		rig_begin(&r, d);
		if (i % 10 == 0)
			rig_setup_qemu(&r, d, RIG_QUEUES);
		rig_hangup(&r, d);
	}
	assert_int_equal(rig_fd_count(), before);
	sfs_door_device_figures(d->dev, &fig);
	assert_int_equal(fig.sessions, 1000);
	assert_int_equal(d->disconnects, 1000);
	rig_fini(&r);
}

static void test_stop(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	struct stat st;

	rig_init(&r, 2);
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, 2);
	d->log[0] = '\0';
	sfs_door_stop(r.door);
	assert_false(sfs_door_stopped(r.door));
	while (!sfs_door_stopped(r.door))
		rig_turn(&r);
	assert_string_equal(d->log, "stop:3+unmap detach ");
	assert_int_equal(lstat(d->path, &st), -1);
	assert_int_equal(lstat(r.dev[1].path, &st), -1);
	rig_fini(&r);
}

/* --- the engine or rte_vhost do not do what they should --- */

static void short_deadlines(struct rig *r)
{
	rig_init(r, 1);
	sfs_door_destroy(r->door);
	assert_int_equal(sfs_door_create(r->dir, &r->door), 0);
	r->dev[0].opts.stop_timeout_ms = 30;
	assert_int_equal(add_again(r, &r->dev[0], &r->dev[0].opts), 0);
}

static void test_stop_overdue(void **state)
{
	struct rig r;
	struct rig_msg m;
	struct rig_dev *d = &r.dev[0];
	struct sfs_door_figures fig;
	uint32_t ring0[2] = {0, 0};

	short_deadlines(&r);
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, 2);
	d->log[0] = '\0';
	d->hold_stop = true;
	rig_send(d, 11, 0, ring0, 8, NULL, 0);
	assert_int_equal(rig_reply(&r, d, &m), 1);
	assert_string_equal(d->log, "stop:1 abandon:1 11 ");
	assert_int_equal(sfs_door_device_state(d->dev), SFS_DOOR_BROKEN);
	/* It is not started again; the other ring is untouched. */
	rig_ring_fd(&r, d, 12, 0);
	assert_string_equal(d->log, "stop:1 abandon:1 11 12/1 ");
	rig_hangup(&r, d);
	assert_string_equal(d->log, "stop:1 abandon:1 11 12/1 stop:2+unmap abandon:2 detach ");
	sfs_door_device_figures(d->dev, &fig);
	assert_int_equal(fig.quarantined, 1);
	d->hold_stop = false;
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, 2);
	assert_int_equal(sfs_door_device_state(d->dev), SFS_DOOR_RUNNING);
	rig_hangup(&r, d);
	rig_fini(&r);
}

/* The engine is silent: failed, the VMM is let go, and all is well again when it speaks. */
static void test_engine_silent(void **state)
{
	struct rig r;
	struct rig_msg m;
	struct rig_dev *d = &r.dev[0];
	uint32_t ring0[2] = {0, 0};

	short_deadlines(&r);
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, 2);
	d->hold_all = true;
	rig_send(d, 11, 0, ring0, 8, NULL, 0);
	assert_int_equal(rig_reply(&r, d, &m), 0);
	assert_int_equal(sfs_door_device_state(d->dev), SFS_DOOR_FAILED);
	sfs_door_stop(r.door);
	assert_true(sfs_door_stopped(r.door));
	d->hold_all = false;
	rig_answer_held(d);
	close(d->vmm);
	d->vmm = -1;
	rig_await(&r, d, SFS_DOOR_LISTENING);
	rig_fini(&r);
}

static void test_attach_silent(void **state)
{
	struct rig r;
	struct rig_msg m;
	struct rig_dev *d = &r.dev[0];

	short_deadlines(&r);
	d->hold_all = true;
	d->vmm = rig_connect(d);
	rig_await(&r, d, SFS_DOOR_FAILED);
	assert_int_equal(rig_reply(&r, d, &m), 0);
	d->hold_all = false;
	rig_answer_held(d);
	rig_hangup(&r, d);
	rig_begin(&r, d);
	rig_hangup(&r, d);
	rig_fini(&r);
}

static void test_attach_fails(void **state)
{
	struct rig r;
	struct rig_msg m;
	struct rig_dev *d = &r.dev[0];

	rig_init(&r, 1);
	d->attach_fails = true;
	d->vmm = rig_connect(d);
	assert_int_equal(rig_reply(&r, d, &m), 0);
	rig_hangup(&r, d);
	d->attach_fails = false;
	rig_begin(&r, d);
	rig_hangup(&r, d);
	rig_fini(&r);
}

static void test_backend_misbehaves(void **state)
{
	struct rig r;
	struct rig_msg m;
	struct rig_dev *d = &r.dev[0];
	bool *const ways[] = {&d->be_close, &d->be_garbage};

	rig_init(&r, 1);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(ways); i++) {
		rig_begin(&r, d);
		rig_setup_qemu(&r, d, 1);
		*ways[i] = true;
		rig_send(d, 3, RIG_NEED_REPLY, NULL, 0, NULL, 0);
		assert_int_equal(rig_reply(&r, d, &m), 0);
		*ways[i] = false;
		rig_hangup(&r, d);
	}
	/* Between two messages. */
	rig_begin(&r, d);
	close(d->be);
	d->be = -1;
	assert_int_equal(rig_reply(&r, d, &m), 0);
	rig_hangup(&r, d);
	rig_fini(&r);
}

static void test_map_and_start_fail(void **state)
{
	struct {
		uint32_t count, padding;
		uint64_t region[4];
	} table = {.count = 1, .region = {0, 2 << 20, 0x7f0000000000, 0}};
	uint32_t enable[2] = {0, 1};
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	int fd = rig_memfd();

	rig_init(&r, 1);
	rig_begin(&r, d);
	d->map_fails = true;
	assert_int_not_equal(rig_ask(&r, d, 5, &table, sizeof(table), &fd, 1), 0);
	d->map_fails = false;
	setup_part(&r, d, 5);
	d->log[0] = '\0';
	d->start_fails = true;
	assert_int_not_equal(rig_ask(&r, d, 18, enable, 8, NULL, 0), 0);
	assert_int_equal(sfs_door_device_state(d->dev), SFS_DOOR_BROKEN);
	/* Tried once; what did not start is not stopped either. */
	rig_ring_fd(&r, d, 13, 0);
	assert_string_equal(d->log, "18 start:1 13/1 ");
	rig_hangup(&r, d);
	close(fd);
	rig_fini(&r);
}

static void test_ring_breaks(void **state)
{
	uint32_t ring1[2] = {1, 0};
	struct rig_msg m;
	struct rig r;
	struct rig_dev *d = &r.dev[0];

	rig_init(&r, 1);
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, 2);
	sfs_link_broken_post(d->link, 1);
	rig_await(&r, d, SFS_DOOR_BROKEN);
	d->log[0] = '\0';
	/* The other ring goes on and follows the messages. */
	rig_mem_table(&r, d, RIG_NEED_REPLY, 1);
	assert_string_equal(d->log, "stop:3+unmap 5/1 map start:1 ");
	/* What the guest makes of it after a reset is another ring. */
	rig_send(d, 11, 0, ring1, 8, NULL, 0);
	assert_int_equal(rig_reply(&r, d, &m), 1);
	d->log[0] = '\0';
	rig_ring_fd(&r, d, 12, 1);
	assert_string_equal(d->log, "12/1 start:2 ");
	assert_int_equal(sfs_door_device_state(d->dev), SFS_DOOR_RUNNING);
	rig_hangup(&r, d);
	/* A notice that comes late is not the next VMM's. */
	sfs_link_broken_post(d->link, 1);
	rig_turn(&r);
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, 2);
	assert_int_equal(sfs_door_device_state(d->dev), SFS_DOOR_RUNNING);
	rig_hangup(&r, d);
	rig_fini(&r);
}

static void test_states(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0];

	rig_init(&r, 1);
	assert_int_equal(sfs_door_device_state(d->dev), SFS_DOOR_LISTENING);
	rig_begin(&r, d);
	setup_part(&r, d, 7);
	rig_hangup(&r, d);
	/* connected, running, a blink of quiescing for the second SET_VRING_CALL, running, quiescing,
	 * listening */
	assert_string_equal(d->states, "crqcrql");
	rig_fini(&r);
}

/* Memory that is not shared: QEMU sets features and then nothing. One line says what to do. */
static void test_hint(void **state)
{
	uint64_t features = SFS_LINK_FEATURES, end = sfs_now_ns() + RIG_TIMEOUT * SFS_NS_PER_MS;
	int saved = dup(STDERR_FILENO), log = rig_memfd();
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	char text[4096] = "";
	const char *first;

	rig_init(&r, 1);
	assert_int_equal(ftruncate(log, 0), 0);
	dup2(log, STDERR_FILENO);
	sfs_log_setup(SFS_LOG_WARN, SFS_LOG_STDERR);
	rig_begin(&r, d);
	rig_tell(&r, d, 2, &features, 8, NULL, 0);
	while (!strstr(text, "share=on") && sfs_now_ns() < end) {
		assert_int_equal(sfs_door_run_once(r.door, 100), 0);
		assert_true(pread(log, text, sizeof(text) - 1, 0) >= 0);
	}
	/* The session is as it was. */
	rig_setup_qemu(&r, d, 1);
	assert_int_equal(sfs_door_device_state(d->dev), SFS_DOOR_RUNNING);
	rig_hangup(&r, d);
	sfs_log_setup(SFS_LOG_OFF, SFS_LOG_STDERR);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(log);
	first = strstr(text, "share=on");
	assert_non_null(first);
	assert_null(strstr(first + 1, "share=on"));
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_socket_mode),
	    cmocka_unit_test(test_socket_group),
	    cmocka_unit_test(test_private_directory),
	    cmocka_unit_test(test_socket_taken),
	    cmocka_unit_test(test_socket_stale),
	    cmocka_unit_test(test_socket_replaced),
	    cmocka_unit_test(test_passed_fd),
	    cmocka_unit_test(test_bad_options),
	    cmocka_unit_test(test_backlog),
	    cmocka_unit_test(test_out_of_descriptors),
	    cmocka_unit_test(test_stop_out_of_descriptors),
	    cmocka_unit_test(test_exit_on_disconnect),
	    cmocka_unit_test(test_disconnect_anywhere),
	    cmocka_unit_test(test_many_connects),
	    cmocka_unit_test(test_stop),
	    cmocka_unit_test(test_stop_overdue),
	    cmocka_unit_test(test_engine_silent),
	    cmocka_unit_test(test_attach_silent),
	    cmocka_unit_test(test_attach_fails),
	    cmocka_unit_test(test_backend_misbehaves),
	    cmocka_unit_test(test_map_and_start_fail),
	    cmocka_unit_test(test_ring_breaks),
	    cmocka_unit_test(test_states),
	    cmocka_unit_test(test_hint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
