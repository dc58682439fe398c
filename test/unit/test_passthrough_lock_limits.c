/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks of the passthrough driver are bounded, and so is who waits for one; what counts is what is there. */
#include <pthread.h>

#include "pt_lock_rig.h"

/* --- descriptors and waiters --- */

static void test_no_room(void **state)
{
	static const struct sfs_session_limits limits = {
	    .inodes = 64, .handles = 8, .fds = 4, .node_fds = 1, .lock_waiters = 4};
	struct rig *r = *state;
	struct opened o;
	int rc = 0;

	rig_start_with(r, "", RIG_FLAGS_ALL, &limits);
	o = open_twice(r, O_RDWR);
	for (uint64_t owner = 1; rc == 0; owner++) {
		assert_true(owner < 8);
		rc = set(r, o.node, o.a, owner, F_RDLCK, 0, 9);
	}
	assert_int_equal(rc, -ENOLCK);
	assert_int_equal(flush(r, o.node, o.a, 1), 0);
	assert_int_equal(set(r, o.node, o.a, 100, F_RDLCK, 0, 9), 0);
}

static void test_waiters_bounded(void **state)
{
	static const struct sfs_session_limits few = {
	    .inodes = 1024, .handles = 64, .fds = 64, .lock_waiters = 3};
	static const struct sfs_session_limits many = {
	    .inodes = 1024, .handles = 64, .fds = 64, .lock_waiters = 1000};
	struct rig *r = *state;

	for (unsigned round = 0; round < 2; round++) {
		unsigned max = round ? FG_SLOTS / 2 : 3;
		struct fg_msg *m[FG_SLOTS];
		struct opened o;

		rig_start_with(r, "", RIG_FLAGS_ALL, round ? &many : &few);
		o = open_twice(r, O_RDWR);
		assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 9), 0);
		for (unsigned i = 0; i < max; i++)
			m[i] = wait_send(r, o.node, o.b, 1 + i, F_RDLCK, 0, 9, 0);
		assert_int_equal(wait_end(r, wait_send(r, o.node, o.b, BOB, F_RDLCK, 0, 9, 0)), -ENOLCK);
		assert_int_equal(set(r, o.node, o.a, ALICE, F_UNLCK, 0, 9), 0);
		for (unsigned i = 0; i < max; i++)
			assert_int_equal(wait_end(r, m[i]), 0);
		assert_int_equal(wait_end(r, wait_send(r, o.node, o.b, BOB, F_RDLCK, 0, 9, 0)), 0);
		rig_stop(r);
	}
}

/* --- limits.locks --- */

#define LOCKS 16

static void start_few_locks(struct rig *r, const char *policy)
{
	static const struct sfs_session_limits few = {
	    .inodes = 1024, .handles = 64, .fds = 256, .locks = LOCKS, .lock_waiters = 4};
	char options[64];

	snprintf(options, sizeof(options), ", \"inline_blocking\": \"%s\"", policy);
	rig_start_with(r, options, RIG_FLAGS_ALL, &few);
}

static uint64_t limit_hits(struct rig *r)
{
	struct sfs_session_figures fig;

	sfs_session_figures(r->g.se, &fig);
	return fig.limit_hits;
}

/* Locks every other byte from @from on until that is refused; how many. */
static unsigned lock_bytes(struct rig *r, const struct opened *o, uint64_t owner, uint64_t from)
{
	uint64_t hits = limit_hits(r);
	unsigned n = 0;
	int rc;

	while ((rc = set(r, o->node, o->a, owner, F_WRLCK, from + 2 * n, from + 2 * n)) == 0) {
		assert_true(n < 10 * LOCKS);
		n++;
	}
	assert_int_equal(rc, -ENOLCK);
	assert_int_equal(limit_hits(r), hits + 1);
	return n;
}

static void test_locks_bounded(void **state)
{
	const char *const policies[] = {"auto", "never", "always"};
	struct rig *r = *state;

	for (unsigned p = 0; p < 3; p++) {
		struct opened o;

		start_few_locks(r, policies[p]);
		o = open_twice(r, O_RDWR);
		assert_int_equal(lock_bytes(r, &o, ALICE, 0), LOCKS);
		/* All of a device count together. */
		assert_int_equal(lock_bytes(r, &o, BOB, 1000), 0);
		assert_int_equal(wait_end(r, wait_send(r, o.node, o.b, BOB, F_WRLCK, 1000, 1000, 0)),
				 -ENOLCK);
		assert_int_equal(set_flock(r, o.node, o.b, F_RDLCK), -ENOLCK);
		/* What does not add one goes on: the same again, another kind, two that become one. */
		assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 4, 4), 0);
		assert_int_equal(set(r, o.node, o.a, ALICE, F_RDLCK, 4, 4), 0);
		assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 1, 1), 0);
		assert_int_equal(lock_bytes(r, &o, BOB, 1000), 1);
		assert_int_equal(set(r, o.node, o.a, ALICE, F_UNLCK, 4, 9), 0);
		assert_int_equal(lock_bytes(r, &o, BOB, 2000), 3);
		/* All of an owner's. */
		assert_int_equal(flush(r, o.node, o.a, BOB), 0);
		assert_int_equal(lock_bytes(r, &o, CAROL, 3000), 4);
		assert_int_equal(set(r, o.node, o.a, ALICE, F_UNLCK, 0, INT64_MAX), 0);
		assert_int_equal(lock_bytes(r, &o, CAROL, 4000), LOCKS - 4);
		assert_int_equal(fc_release(&r->c, o.node, o.a), 0);
		o.a = o.b;
		assert_int_equal(lock_bytes(r, &o, DAVE, 0), LOCKS);
		rig_stop(r);
	}
}

/* What merges, goes again or is not granted uses nothing up, of an owner that comes back to it as of those that do not. */
static void test_locks_that_do_not_add(void **state)
{
	enum { OWNERS = 4, TIMES = 10 * LOCKS };
	struct rig *r = *state;
	struct opened o;

	start_few_locks(r, "auto");
	o = open_twice(r, O_RDWR);
	for (unsigned i = 0; i < TIMES; i++)
		assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, i, i), 0);
	for (unsigned i = 0; i < TIMES; i++)
		assert_int_equal(set(r, o.node, o.a, BOB, i % 2 ? F_WRLCK : F_RDLCK, i, i), -EAGAIN);
	for (unsigned i = 0; i < TIMES; i++) {
		assert_int_equal(set(r, o.node, o.a, BOB, F_WRLCK, 1000, 1009), 0);
		assert_int_equal(set(r, o.node, o.a, BOB, F_RDLCK, 1010, 1019), 0);
		assert_int_equal(set(r, o.node, o.a, BOB, F_UNLCK, 1000, 1014), 0);
		assert_int_equal(set(r, o.node, o.a, BOB, F_UNLCK, 1015, 1019), 0);
	}
	assert_int_equal(flush(r, o.node, o.a, BOB), 0);
	/* Each holds one, of two that merged. */
	for (uint64_t owner = 1; owner <= OWNERS; owner++) {
		assert_int_equal(set(r, o.node, o.b, owner, F_WRLCK, 10000 * owner, 10000 * owner), 0);
		assert_int_equal(set(r, o.node, o.b, owner, F_WRLCK, 10000 * owner + 2, 10000 * owner + 2),
				 0);
		assert_int_equal(set(r, o.node, o.b, owner, F_WRLCK, 10000 * owner, 10000 * owner + 2), 0);
	}
	assert_int_equal(limit_hits(r), 0);
	assert_int_equal(lock_bytes(r, &o, CAROL, 1000), LOCKS - 1 - OWNERS);
}

/* An unlock in the middle makes two of one. */
static void test_locks_split(void **state)
{
	struct rig *r = *state;
	struct opened o;
	unsigned n = 0;
	int rc;

	start_few_locks(r, "auto");
	o = open_twice(r, O_RDWR);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, INT64_MAX), 0);
	while ((rc = set(r, o.node, o.a, ALICE, F_UNLCK, 10 + 10 * n, 10 + 10 * n)) == 0) {
		assert_true(n < 10 * LOCKS);
		n++;
	}
	assert_int_equal(rc, -ENOLCK);
	assert_true(n >= LOCKS - 1 && n <= LOCKS + LOCKS / 8);
	/* Each by itself can go nevertheless. */
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(set(r, o.node, o.a, ALICE, F_UNLCK, 11 + 10 * i, 19 + 10 * i), 0);
	assert_int_equal(set(r, o.node, o.b, BOB, F_WRLCK, 11, 19), 0);
	assert_int_equal(flush(r, o.node, o.a, BOB), 0);
	/* Another kind in the middle makes three. */
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, INT64_MAX), 0);
	for (n = 0; (rc = set(r, o.node, o.a, ALICE, F_RDLCK, 10 + 10 * n, 10 + 10 * n)) == 0; n++)
		assert_true(n < LOCKS);
	assert_int_equal(rc, -ENOLCK);
	assert_int_equal(n, (LOCKS - 1) / 2);
}

static void test_flocks_bounded(void **state)
{
	struct rig *r = *state;
	struct opened o;
	uint64_t fh[LOCKS];
	int fd;

	start_few_locks(r, "auto");
	o = open_twice(r, O_RDWR);
	for (unsigned i = 0; i < LOCKS; i++) {
		assert_int_equal(fc_open(&r->c, o.node, O_RDWR, &fh[i]), 0);
		assert_int_equal(set_flock(r, o.node, fh[i], F_RDLCK), 0);
		assert_int_equal(set_flock(r, o.node, fh[i], F_RDLCK), 0);
		/* Not granted. */
		assert_int_equal(set_flock(r, o.node, o.b, F_WRLCK), i < LOCKS - 1 ? -EAGAIN : -ENOLCK);
	}
	assert_int_equal(set_flock(r, o.node, o.a, F_RDLCK), -ENOLCK);
	assert_int_equal(set_flock(r, o.node, fh[0], F_UNLCK), 0);
	assert_int_equal(set_flock(r, o.node, fh[0], F_UNLCK), 0);
	assert_int_equal(set_flock(r, o.node, o.a, F_RDLCK), 0);
	assert_int_equal(lock_bytes(r, &o, ALICE, 0), 0);
	assert_int_equal(fc_release(&r->c, o.node, fh[1]), 0);
	UNTIL(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 0) == 0);
	assert_int_equal(lock_bytes(r, &o, ALICE, 2), 0);
	/* A guest that begins anew has all. */
	fg_reconnect(&r->g);
	fd = host_open(r);
	UNTIL(host_lock(fd, F_SETLK, F_WRLCK, 0, 0) == 0);
	close(fd);
	o = open_twice(r, O_RDWR);
	assert_int_equal(lock_bytes(r, &o, ALICE, 0), LOCKS);
}

/* --- several threads --- */

struct locker {
	struct fc c;
	struct opened o;
	uint32_t random;
};

static uint32_t pick(struct locker *l, uint32_t limit)
{
	l->random = l->random * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)l->random * limit) >> 32);
}

static void *locker_thread(void *arg)
{
	static const uint32_t types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
	struct locker *l = arg;

	for (unsigned i = 0; i < 1500; i++) {
		uint64_t fh = pick(l, 2) ? l->o.a : l->o.b, from = pick(l, 20);
		struct fuse_lk_in in = lk_in(fh, pick(l, 4), types[pick(l, 3)], from, from + pick(l, 5));
		struct fuse_flush_in flush_in = {.fh = fh, .lock_owner = in.owner};
		uint64_t own;

		switch (pick(l, 4)) {
		case 0:
			fc_call(&l->c, FUSE_FLUSH, l->o.node, &flush_in, sizeof(flush_in), NULL, NULL, 0);
			break;
		case 1:
			fc_call(&l->c, FUSE_GETLK, l->o.node, &in, sizeof(in), NULL, NULL,
				sizeof(struct fuse_lk_out));
			break;
		case 2:
			assert_int_equal(fc_open(&l->c, l->o.node, pick(l, 2) ? O_RDWR : O_RDONLY, &own), 0);
			in.fh = own;
			fc_call(&l->c, FUSE_SETLK, l->o.node, &in, sizeof(in), NULL, NULL, 0);
			assert_int_equal(fc_release(&l->c, l->o.node, own), 0);
			break;
		default:
			fc_call(&l->c, FUSE_SETLK, l->o.node, &in, sizeof(in), NULL, NULL, 0);
		}
	}
	return NULL;
}

/* Whatever comes between, at the end nothing is locked or counted and no descriptor is left. */
static void test_several_threads(void **state)
{
	const char *const policies[] = {"always", "never"};
	struct rig *r = *state;

	for (unsigned p = 0; p < 2; p++) {
		struct locker a = {.random = 1}, b = {.random = 2};
		pthread_t t;
		uint64_t fds;
		int fd;

		start_few_locks(r, policies[p]);
		a.o = b.o = open_twice(r, O_RDWR);
		fds = fds_of(r);
		a.c = r->c;
		fc_init(&b.c, &r->g, 1);
		assert_int_equal(pthread_create(&t, NULL, locker_thread, &b), 0);
		locker_thread(&a);
		pthread_join(t, NULL);
		for (uint64_t owner = 0; owner < 4; owner++)
			assert_int_equal(flush(r, a.o.node, a.o.a, owner), 0);
		/* The last ones may wait for a worker to close them. */
		for (unsigned i = 0; fds_of(r) != fds; i++) {
			assert_true(i < 100000);
			usleep(100);
		}
		fd = host_open(r);
		assert_int_equal(host_lock(fd, F_SETLK, F_WRLCK, 0, 0), 0);
		close(fd);
		assert_int_equal(lock_bytes(r, &a.o, DAVE, 0), LOCKS);
		fc_fini(&b.c);
		rig_stop(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_no_room, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_waiters_bounded, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_locks_bounded, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_locks_that_do_not_add, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_locks_split, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_flocks_bounded, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_several_threads, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests_name("passthrough_lock_limits", tests, NULL, NULL);
}
