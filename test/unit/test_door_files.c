/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that a VMM sends to the door and a server keeps: who waits for that server. */
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <cmocka.h>

#include "../lib/slowfs.h"
#include "door_rig.h"
#include "sfs_base.h"

/* A file of procfs plays one: calls about it go through the test, which names its filesystem and may let them wait. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint32_t magic;
	bool hold;
	unsigned held, asked, on_control;
	ino_t ino;
	pthread_t control;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

int __real_fstatfs64(int fd, struct statfs *st);
int __wrap_fstatfs64(int fd, struct statfs *st);
int __real_close(int fd);
int __wrap_close(int fd);

static void server_call(bool question)
{
	pthread_mutex_lock(&server.lock);
	server.asked += question;
	/* The door's thread would hang: counted instead. */
	if (pthread_equal(pthread_self(), server.control)) {
		server.on_control++;
	} else {
		server.held++;
		while (server.hold)
			pthread_cond_wait(&server.cond, &server.lock);
		server.held--;
	}
	pthread_mutex_unlock(&server.lock);
}

int __wrap_fstatfs64(int fd, struct statfs *st)
{
	int rc = __real_fstatfs64(fd, st);

	if (server.magic) {
		server_call(true);
		st->f_type = server.magic;
	}
	return rc;
}

int __wrap_close(int fd)
{
	struct stat st;

	if (server.ino && fstat(fd, &st) == 0 && st.st_ino == server.ino)
		server_call(false);
	return __real_close(fd);
}

static int server_begin(uint32_t magic)
{
	int fd = open("/proc/version", O_RDONLY | O_CLOEXEC);
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	server.magic = magic;
	server.ino = st.st_ino;
	server.control = pthread_self();
	server.asked = server.on_control = 0;
	return fd;
}

static void server_hold(bool hold)
{
	pthread_mutex_lock(&server.lock);
	server.hold = hold;
	pthread_cond_broadcast(&server.cond);
	pthread_mutex_unlock(&server.lock);
}

static void server_end(int fd)
{
	server_hold(false);
	assert_int_equal(server.on_control, 0);
	server.magic = 0;
	server.ino = 0;
	__real_close(fd);
}

/* Turns until a call is held, or none is any more. */
static void await_held(struct rig *r, bool any)
{
	uint64_t end = sfs_now_ns() + RIG_TIMEOUT * SFS_NS_PER_MS;
	unsigned held;

	do {
		rig_turn(r);
		assert_true(sfs_now_ns() < end);
		pthread_mutex_lock(&server.lock);
		held = server.held;
		pthread_mutex_unlock(&server.lock);
	} while ((held > 0) != any);
}

static void await_fds(unsigned count)
{
	uint64_t end = sfs_now_ns() + RIG_TIMEOUT * SFS_NS_PER_MS;

	while (rig_fd_count() != count) {
		assert_true(sfs_now_ns() < end);
		sched_yield();
	}
}

static void test_memory_files(void **state)
{
	static const struct {
		uint32_t magic;
		bool fine;
	} cases[] = {
	    {EXT4_SUPER_MAGIC, true},      {XFS_SUPER_MAGIC, true},   {BTRFS_SUPER_MAGIC, true},
	    {TMPFS_MAGIC, true},           {FUSE_SUPER_MAGIC, false}, {NFS_SUPER_MAGIC, false},
	    {SMB2_SUPER_MAGIC, false},     {V9FS_MAGIC, false},       {CEPH_SUPER_MAGIC, false},
	    {OVERLAYFS_SUPER_MAGIC, true},
	};
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	unsigned before;
	int fd, memory;

	rig_init(&r, 1);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(cases); i++) {
		fd = server_begin(cases[i].magic);
		rig_begin(&r, d);
		before = rig_fd_count();
		if (!rig_ask(&r, d, 5, &rig_one_region, 40, &fd, 1) != cases[i].fine)
			fail_msg("magic %#x", cases[i].magic);
		assert_string_equal(d->log, cases[i].fine ? "5/1 map " : "");
		assert_int_equal(server.asked, 1);
		/* The session goes on, and memory needs no question. */
		memory = rig_memfd();
		assert_int_equal(rig_ask(&r, d, 5, &rig_one_region, 40, &memory, 1), 0);
		close(memory);
		assert_int_equal(server.asked, 1);
		await_fds(before);
		rig_hangup(&r, d);
		if (cases[i].fine)
			server.on_control = 0; /* of the stand-in for rte_vhost */
		server_end(fd);
	}
	rig_fini(&r);
}

/* A server that does not answer holds up the VMM that sent its file, and nobody else. */
static void test_memory_file_hangs(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0], *other = &r.dev[1];
	int fd = server_begin(FUSE_SUPER_MAGIC);
	struct rig_msg m;
	unsigned before;

	rig_init(&r, 2);
	rig_begin(&r, d);
	before = rig_fd_count();
	server_hold(true);
	rig_send(d, 5, RIG_NEED_REPLY, &rig_one_region, 40, &fd, 1);
	await_held(&r, true);
	rig_begin(&r, other);
	rig_setup_qemu(&r, other, RIG_QUEUES);
	assert_int_equal(sfs_door_device_state(other->dev), SFS_DOOR_RUNNING);
	rig_hangup(&r, other);
	server_hold(false);
	assert_int_equal(rig_reply(&r, d, &m), 1);
	assert_int_not_equal(m.p.u64, 0);
	assert_string_equal(d->log, "");
	await_fds(before);
	/* Its VMM may leave meanwhile, and the next one is served. */
	server_hold(true);
	rig_send(d, 5, RIG_NEED_REPLY, &rig_one_region, 40, &fd, 1);
	await_held(&r, true);
	rig_hangup(&r, d);
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, RIG_QUEUES);
	assert_int_equal(sfs_door_device_state(d->dev), SFS_DOOR_RUNNING);
	server_hold(false);
	await_held(&r, false);
	assert_int_equal(sfs_door_device_state(d->dev), SFS_DOOR_RUNNING);
	rig_hangup(&r, d);
	server_end(fd);
	rig_fini(&r);
}

static void test_memory_file_overdue(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	int fd = server_begin(EXT4_SUPER_MAGIC);

	rig_init(&r, 1);
	sfs_door_destroy(r.door);
	assert_int_equal(sfs_door_create(r.dir, &r.door), 0);
	d->opts.stop_timeout_ms = 30;
	assert_int_equal(sfs_door_add(r.door, &d->opts, &d->dev), 0);
	rig_begin(&r, d);
	server_hold(true);
	assert_int_not_equal(rig_ask(&r, d, 5, &rig_one_region, 40, &fd, 1), 0);
	assert_string_equal(d->log, "");
	server_hold(false);
	await_held(&r, false);
	/* What is answered late is not for the next question. */
	assert_int_equal(server.on_control, 0);
	assert_int_equal(rig_ask(&r, d, 5, &rig_one_region, 40, &fd, 1), 0);
	server.on_control = 0; /* of the stand-in for rte_vhost */
	rig_hangup(&r, d);
	server_end(fd);
	rig_fini(&r);
}

/* Closing waits as well, whatever message a file came with; many of them are not kept. */
static void test_close_hangs(void **state)
{
	struct rig r;
	struct rig_dev *d = &r.dev[0], *other = &r.dev[1];
	int fds[8], fd = server_begin(FUSE_SUPER_MAGIC);
	unsigned idle, before, sent = 0;
	struct rig_msg m;

	rig_init(&r, 2);
	idle = rig_fd_count();
	rig_begin(&r, d);
	before = rig_fd_count();
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(fds); i++)
		fds[i] = fd;
	server_hold(true);
	assert_int_not_equal(rig_ask(&r, d, 13, U64S(0), 8, &fd, 1), 0);
	await_held(&r, true);
	rig_begin(&r, other);
	rig_setup_qemu(&r, other, RIG_QUEUES);
	rig_hangup(&r, other);
	for (;;) {
		rig_send(d, 3, RIG_NEED_REPLY, NULL, 0, fds, 8);
		assert_true(++sent < 20);
		if (rig_reply(&r, d, &m) != 1)
			break;
	}
	assert_true(rig_fd_count() < before + 80);
	rig_hangup(&r, d);
	server_hold(false);
	await_held(&r, false);
	await_fds(idle);
	rig_begin(&r, d);
	rig_setup_qemu(&r, d, RIG_QUEUES);
	rig_hangup(&r, d);
	/* The end does not wait either. */
	server_hold(true);
	rig_begin(&r, d);
	assert_int_not_equal(rig_ask(&r, d, 13, U64S(0), 8, &fd, 1), 0);
	await_held(&r, true);
	rig_fini(&r);
	server_end(fd);
}

/* The same by the kernel's FUSE. */
static void test_fuse_file(void **state)
{
	char dir[] = "/tmp/sfs-door-fuse-XXXXXX", path[64];
	struct slowfs *fs = NULL;
	struct rig r;
	struct rig_dev *d = &r.dev[0];
	int fd;

	assert_non_null(mkdtemp(dir));
	if (slowfs_mount(dir, 0, &fs) < 0) {
		rmdir(dir);
		skip(); /* not root, or no FUSE */
	}
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	rig_init(&r, 1);
	rig_begin(&r, d);
	slowfs_hold(fs, FUSE_FLUSH);
	assert_int_not_equal(rig_ask(&r, d, 5, &rig_one_region, 40, &fd, 1), 0);
	assert_int_not_equal(rig_ask(&r, d, 13, U64S(0), 8, &fd, 1), 0);
	assert_string_equal(d->log, "");
	rig_mem_table(&r, d, RIG_NEED_REPLY, 1);
	rig_hangup(&r, d);
	rig_fini(&r);
	slowfs_release(fs);
	close(fd);
	slowfs_unmount(fs);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_memory_files),        cmocka_unit_test(test_memory_file_hangs),
	    cmocka_unit_test(test_memory_file_overdue), cmocka_unit_test(test_close_hangs),
	    cmocka_unit_test(test_fuse_file),
	};

	/* Mounts are ours alone, and go with us however we end. */
	if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0)
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
