/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who waits for a lock while the VMM stops the device: a paused guest, memory that is hot-plugged, a queue whose eventfd changes. A
 * wait is neither answered nor lost by that, and never comes back to a guest that has begun anew.
 */
#include <sys/file.h>

#include "harness.h"

#define ALICE 0xa11ceull
#define BOB   0xb0bull
#define QUEUE 1

struct locked {
	struct sfs_fg *g;
	uint64_t node, fh;
};

static struct fuse_lk_in lk_in(const struct locked *l, uint64_t owner, uint32_t type, uint64_t at)
{
	return (struct fuse_lk_in){
	    .fh = l->fh, .owner = owner, .lk = {.start = at, .end = at, .type = type, .pid = 7}};
}

static int lock(const struct locked *l, uint64_t owner, uint32_t type, uint64_t at)
{
	const struct fuse_lk_in in = lk_in(l, owner, type, at);
	const struct sfs_fg_call call = {
	    .opcode = FUSE_SETLK, .nodeid = l->node, .args = &in, .args_bytes = sizeof(in)};

	return sfs_fg_call(l->g, &call, NULL, NULL, NULL);
}

/* A request that waits until the byte is free. */
static struct sfs_fg_req *wait_on(const struct locked *l, unsigned queue, uint64_t owner, uint64_t at)
{
	const struct fuse_lk_in in = lk_in(l, owner, F_WRLCK, at);
	const struct sfs_fg_call call = {
	    .opcode = FUSE_SETLKW, .nodeid = l->node, .args = &in, .args_bytes = sizeof(in)};
	struct sfs_fg_req *req = fn_call(&l->g->queue[queue], &call);

	fn_publish(&l->g->queue[queue]);
	return req;
}

/* Awaits that so many requests of the queue are at the daemon's. */
static void await_in_flight(const struct fn_env *env, unsigned queue, int64_t count)
{
	char path[64];

	snprintf(path, sizeof(path), "devices.0.queues.%u.in_flight", queue);
	fn_until(fn_figure(env, path) == count);
}

static void init(struct sfs_fg *g)
{
	struct fuse_init_out out;

	fn_ok(sfs_fg_init(g, FUSE_KERNEL_MINOR_VERSION,
			  FUSE_MAX_PAGES | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS | FUSE_INIT_EXT, &out));
	assert_true((out.flags & FUSE_POSIX_LOCKS) && (out.flags & FUSE_FLOCK_LOCKS));
}

static struct locked begin(struct fn_env *env, const struct sfs_fg_opts *opts)
{
	struct locked l = {.g = &env->g};

	fn_host_write(env, "file", "0123456789", 10);
	fn_guest(env, opts);
	init(&env->g);
	fn_open(&env->g, "file", O_RDWR, &l.node, &l.fh);
	return l;
}

static uint16_t used_idx(const struct sfs_fg *g, unsigned queue)
{
	return __atomic_load_n(&g->queue[queue].ring.used->idx, __ATOMIC_ACQUIRE);
}

/* A process of the host: an open file description's lock, or whether there is one in its way. */
static int host_lock(int fd, int cmd, short type, off_t at)
{
	struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};

	return fcntl(fd, cmd, &fl) < 0 ? -errno : fl.l_type;
}

static int host_open(const struct fn_env *env)
{
	int fd = openat(env->share_fd, "file", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* The pause of a guest, as QEMU's stop and cont make it. */
static void check_pause(struct fn_env *env, const struct sfs_fg_opts *opts)
{
	struct locked l = begin(env, opts);
	struct sfs_fg_req *req;
	int fd = host_open(env);

	fn_ok(lock(&l, ALICE, F_WRLCK, 0));
	req = wait_on(&l, QUEUE, BOB, 0);
	for (unsigned round = 0; round < 3; round++) {
		await_in_flight(env, QUEUE, 1);
		fn_ok(sfs_fg_stop(l.g));
		/* The ring says that it was taken, and that it was not answered. */
		assert_int_equal(l.g->queue[QUEUE].ring.base_idx, l.g->queue[QUEUE].ring.avail_idx);
		assert_int_equal((uint16_t)(l.g->queue[QUEUE].ring.base_idx - used_idx(l.g, QUEUE)), 1);
		fn_ok(sfs_fg_restart(l.g));
		fn_work(l.g, "other", 3);
		assert_false(req->done);
		fn_fails(EAGAIN, lock(&l, BOB, F_WRLCK, 0));
	}
	fn_ok(lock(&l, ALICE, F_UNLCK, 0));
	assert_int_equal(fn_result(req), 0);
	assert_int_equal(host_lock(fd, F_OFD_GETLK, F_WRLCK, 0), F_WRLCK);
	fn_ok(lock(&l, BOB, F_UNLCK, 0));
	assert_int_equal(host_lock(fd, F_OFD_GETLK, F_WRLCK, 0), F_UNLCK);
	close(fd);
}

static void test_pause(struct fn_env *env)
{
	check_pause(env, NULL);
}

static void test_pause_plain_ring(struct fn_env *env)
{
	static const struct sfs_fg_opts plain = {.features_refused =
						     SFS_FE_F_INDIRECT_DESC | SFS_FE_F_EVENT_IDX,
						 .interrupts = true,
						 .ring_size = 16};

	check_pause(env, &plain);
}

/* The holder lets go while the guest is paused: nothing is granted before it goes on. */
static void test_unlocked_while_paused(struct fn_env *env)
{
	struct locked l = begin(env, NULL);
	int fd = host_open(env), other = host_open(env);
	struct sfs_fg_req *req;
	uint16_t used;

	assert_int_equal(host_lock(fd, F_OFD_SETLK, F_WRLCK, 3), F_WRLCK);
	req = wait_on(&l, QUEUE, BOB, 3);
	await_in_flight(env, QUEUE, 1);
	fn_ok(sfs_fg_stop(l.g));
	used = used_idx(l.g, QUEUE);
	close(fd);
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(host_lock(other, F_OFD_GETLK, F_WRLCK, 3), F_UNLCK);
		usleep(2000);
	}
	assert_int_equal(used_idx(l.g, QUEUE), used);
	fn_ok(sfs_fg_restart(l.g));
	assert_int_equal(fn_result(req), 0);
	assert_int_equal(host_lock(other, F_OFD_GETLK, F_WRLCK, 3), F_WRLCK);
	close(other);
}

/* Many on two queues, both kinds of locks, others that come and go between them; each is granted its own, once. */
static void test_many(struct fn_env *env)
{
	enum { COUNT = 20 };
	static const struct sfs_fg_opts opts = {.request_queues = 2, .ring_size = 64};
	struct locked l = begin(env, &opts);
	struct sfs_fg_req *reqs[2][COUNT], *flocks[2];
	int fd = host_open(env);

	assert_int_equal(flock(fd, LOCK_EX), 0);
	for (unsigned i = 0; i < COUNT; i++)
		fn_ok(lock(&l, ALICE, F_WRLCK, i));
	for (unsigned q = 0; q < 2; q++) {
		struct fuse_lk_in in = lk_in(&l, l.fh, F_WRLCK, 0);
		const struct sfs_fg_call call = {
		    .opcode = FUSE_SETLKW, .nodeid = l.node, .args = &in, .args_bytes = sizeof(in)};

		in.lk_flags = FUSE_LK_FLOCK;
		flocks[q] = fn_call(&l.g->queue[q + 1], &call);
		for (unsigned i = 0; i < COUNT; i++) {
			reqs[q][i] = wait_on(&l, q + 1, BOB + q, i);
			fn_work(l.g, "between", 1);
		}
		await_in_flight(env, q + 1, COUNT + 1);
	}
	for (unsigned round = 0; round < 5; round++) {
		fn_ok(sfs_fg_stop(l.g));
		fn_ok(sfs_fg_restart(l.g));
		fn_work(l.g, "other", 1);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		fn_ok(lock(&l, ALICE, F_UNLCK, i));
		for (unsigned n = 0; n < 2; n++) {
			unsigned q;

			/* One of the two has it; the other waits until it lets go. */
			fn_until(host_lock(fd, F_OFD_GETLK, F_WRLCK, i) == F_WRLCK);
			q = lock(&l, BOB, F_WRLCK, i) == 0 ? 0 : 1;
			assert_int_equal(fn_result(reqs[q][i]), 0);
			if (n == 0)
				assert_false(reqs[!q][i]->done);
			fn_ok(lock(&l, BOB + q, F_UNLCK, i));
			fn_ok(sfs_fg_stop(l.g));
			fn_ok(sfs_fg_restart(l.g));
			if (n == 0)
				fn_until(host_lock(fd, F_OFD_GETLK, F_WRLCK, i) == F_WRLCK);
		}
	}
	assert_int_equal(flock(fd, LOCK_UN), 0);
	close(fd);
	assert_int_equal(fn_result(flocks[0]), 0);
	assert_int_equal(fn_result(flocks[1]), 0);
	await_in_flight(env, 1, 0);
	await_in_flight(env, 2, 0);
}

/* Memory that is plugged, a notifier that changes: the VMM does not stop the queues, the door does. */
static void test_quiesced(struct fn_env *env)
{
	struct locked l = begin(env, NULL);
	struct sfs_fe_ring *ring = &l.g->queue[QUEUE].ring;
	struct sfs_fg_req *req;

	fn_ok(lock(&l, ALICE, F_WRLCK, 0));
	req = wait_on(&l, QUEUE, BOB, 0);
	for (unsigned i = 0; i < 20; i++) {
		await_in_flight(env, QUEUE, 1);
		fn_ok(sfs_fe_set_mem_table(&l.g->fe, &l.g->mem));
		fn_ok(sfs_fe_set_vring_call(&l.g->fe, QUEUE, ring->call_fd));
		fn_ok(sfs_fe_set_vring_kick(&l.g->fe, QUEUE, ring->kick_fd));
		fn_ok(sfs_fe_set_vring_enable(&l.g->fe, QUEUE, false));
		fn_ok(sfs_fe_set_vring_enable(&l.g->fe, QUEUE, true));
		fn_work(l.g, "other", 1);
	}
	assert_false(req->done);
	fn_ok(lock(&l, ALICE, F_UNLCK, 0));
	assert_int_equal(fn_result(req), 0);
}

/* The guest's driver begins anew in the same session of the VMM: what its predecessor waited for is not answered into its ring. */
static void test_driver_begins_anew(struct fn_env *env)
{
	struct locked l = begin(env, NULL);
	struct sfs_fe_ring *ring = &l.g->queue[QUEUE].ring;
	int fd = host_open(env);

	assert_int_equal(host_lock(fd, F_OFD_SETLK, F_WRLCK, 0), F_WRLCK);
	wait_on(&l, QUEUE, BOB, 0);
	await_in_flight(env, QUEUE, 1);
	fn_ok(sfs_fg_stop(l.g));
	for (unsigned i = 0; i < l.g->queue_count; i++)
		sfs_fe_ring_reset(&l.g->queue[i].ring, 0);
	fn_ok(sfs_fg_restart(l.g));
	close(fd);
	init(l.g);
	fn_open(l.g, "file", O_RDWR, &l.node, &l.fh);
	fn_ok(lock(&l, ALICE, F_WRLCK, 0));
	fn_work(l.g, "other", 5);
	assert_int_equal(ring->used_idx, ring->avail_idx);
	assert_int_equal(used_idx(l.g, QUEUE), ring->used_idx);
	assert_int_equal(fn_figure(env, "devices.0.queues.1.in_flight"), 0);
}

/* The same where the VMM hangs up: the next guest has nothing of it. */
static void test_guest_leaves_paused(struct fn_env *env)
{
	int fd = -1;

	for (unsigned i = 0; i < 3; i++) {
		struct locked l = begin(env, NULL);

		fd = host_open(env);
		assert_int_equal(host_lock(fd, F_OFD_SETLK, F_WRLCK, 0), F_WRLCK);
		wait_on(&l, QUEUE, BOB, 0);
		await_in_flight(env, QUEUE, 1);
		fn_ok(sfs_fg_stop(l.g));
		fn_guest_gone(env);
		fn_until(fn_figure_is(env, "devices.0.state", "listening"));
		close(fd);
	}
	fn_guest(env, NULL);
	fn_work(&env->g, "other", 5);
	fd = host_open(env);
	assert_int_equal(host_lock(fd, F_OFD_GETLK, F_WRLCK, 0), F_UNLCK);
	close(fd);
}

#define ARGS                                                                                                 \
	{                                                                                                    \
		"-o", "posix_lock,flock", "--on-disconnect", "listen"                                        \
	}

const struct fn_test fn_tests[] = {
    {"a wait outlives a pause of the guest", test_pause, ARGS, 0},
    {"a wait outlives a pause, plain ring", test_pause_plain_ring, ARGS, FN_ONCE},
    {"a wait outlives a pause, reactor spins",
     test_pause,
     {"-o", "posix_lock,flock", "--idle", "spin"},
     FN_ONCE},
    {"unlocked while the guest is paused", test_unlocked_while_paused, ARGS, FN_ONCE},
    {"many waits on two queues", test_many, {"-o", "posix_lock,flock", "--request-queues", "2"}, 0},
    {"waits while queues are quiesced", test_quiesced, ARGS, FN_ONCE},
    {"the driver begins anew under a wait", test_driver_begins_anew, ARGS, FN_ONCE},
    {"the guest leaves paused", test_guest_leaves_paused, ARGS, FN_ONCE},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
