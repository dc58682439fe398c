/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locks of the passthrough driver: what one owner locks stands in the way of other owners, of the host and of
 * other guests, and nobody waits on a thread.
 */
#include <sys/file.h>

#include "pt_lock_rig.h"

/* --- record locks --- */

static struct fuse_file_lock get(struct rig *r, uint64_t node, uint64_t fh, uint64_t owner, uint32_t type,
				 uint64_t start, uint64_t end)
{
	struct fuse_lk_in in = lk_in(fh, owner, type, start, end);
	struct fuse_lk_out out;

	assert_int_equal(fc_call(&r->c, FUSE_GETLK, node, &in, sizeof(in), NULL, NULL, sizeof(out)), 0);
	assert_int_equal(r->c.m->out_bytes, sizeof(out));
	memcpy(&out, r->c.m->out, sizeof(out));
	return out.lk;
}

static void test_owners(void **state)
{
	struct rig *r = *state;
	struct opened o;

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 10, 29), 0);
	assert_int_equal(set(r, o.node, o.b, BOB, F_WRLCK, 0, 10), -EAGAIN);
	assert_int_equal(set(r, o.node, o.b, BOB, F_RDLCK, 29, 29), -EAGAIN);
	assert_int_equal(set(r, o.node, o.b, BOB, F_WRLCK, 0, 9), 0);
	/* An owner never stands in its own way, through whichever handle it comes. */
	assert_int_equal(set(r, o.node, o.b, ALICE, F_WRLCK, 20, 40), 0);
	assert_int_equal(set(r, o.node, o.b, BOB, F_WRLCK, 40, 40), -EAGAIN);
	/* Shared ones go together. */
	assert_int_equal(set(r, o.node, o.a, ALICE, F_RDLCK, 100, 200), 0);
	assert_int_equal(set(r, o.node, o.b, BOB, F_RDLCK, 150, INT64_MAX), 0);
	assert_int_equal(set(r, o.node, o.b, BOB, F_WRLCK, 200, 200), -EAGAIN);
	/* A hole. */
	assert_int_equal(set(r, o.node, o.a, ALICE, F_UNLCK, 15, 17), 0);
	assert_int_equal(set(r, o.node, o.b, BOB, F_WRLCK, 15, 17), 0);
	assert_int_equal(set(r, o.node, o.b, BOB, F_WRLCK, 14, 14), -EAGAIN);
	/* All of it. */
	assert_int_equal(set(r, o.node, o.a, ALICE, F_UNLCK, 0, INT64_MAX), 0);
	assert_int_equal(set(r, o.node, o.b, BOB, F_WRLCK, 0, INT64_MAX), 0);
}

static void test_get(void **state)
{
	struct rig *r = *state;
	struct fuse_file_lock l;
	struct opened o;
	int fd;

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	r->g.pid = 1234;
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 10, 29), 0);
	r->g.pid = 77;
	assert_int_equal(set(r, o.node, o.a, CAROL, F_RDLCK, 50, 50), 0);
	l = get(r, o.node, o.b, BOB, F_WRLCK, 0, 40);
	assert_int_equal(l.type, F_WRLCK);
	assert_int_equal(l.start, 10);
	assert_int_equal(l.end, 29);
	assert_int_equal(l.pid, 1234);
	l = get(r, o.node, o.b, BOB, F_WRLCK, 40, INT64_MAX);
	assert_int_equal(l.type, F_RDLCK);
	assert_int_equal(l.pid, 77);
	assert_int_equal(get(r, o.node, o.b, BOB, F_RDLCK, 40, INT64_MAX).type, F_UNLCK);
	assert_int_equal(get(r, o.node, o.b, ALICE, F_WRLCK, 0, 40).type, F_UNLCK);
	/* The host's locks have no process of the guest. */
	fd = host_open(r);
	assert_int_equal(host_lock(fd, F_SETLK, F_WRLCK, 100, 0), 0);
	l = get(r, o.node, o.b, BOB, F_RDLCK, 90, 110);
	assert_int_equal(l.type, F_WRLCK);
	assert_int_equal(l.start, 100);
	assert_int_equal(l.end, INT64_MAX);
	assert_int_equal(l.pid, 0);
	close(fd);
}

static void test_bad_requests(void **state)
{
	struct rig *r = *state;
	struct fuse_lk_in in;
	struct opened o;

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	assert_int_equal(set(r, o.node, o.a, ALICE, 17, 0, 1), -EINVAL);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_RDLCK, 2, 1), -EINVAL);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_RDLCK, 0, UINT64_MAX), -EINVAL);
	assert_int_equal(set(r, o.node, o.a + 100, ALICE, F_RDLCK, 0, 1), -EBADF);
	assert_int_equal(set(r, ROOT, o.a, ALICE, F_RDLCK, 0, 1), -EBADF);
	in = lk_in(o.a, ALICE, F_RDLCK, 0, INT64_MAX);
	in.lk_flags = FUSE_LK_FLOCK;
	assert_int_equal(
	    fc_call(&r->c, FUSE_GETLK, o.node, &in, sizeof(in), NULL, NULL, sizeof(struct fuse_lk_out)),
	    -EINVAL);
	rig_stop(r);
	rig_start(r, ", \"posix_locks\": false, \"flock\": false");
	o = open_twice(r, O_RDWR);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_RDLCK, 0, 1), -ENOSYS);
	assert_int_equal(set_flock(r, o.node, o.a, F_RDLCK), -ENOSYS);
	assert_int_equal(sfs_session_init_flags(r->g.se) & (FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS), 0);
}

static void test_host_sees(void **state)
{
	struct rig *r = *state;
	struct opened o;
	int fd;

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	fd = host_open(r);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 9), 0);
	assert_int_equal(host_lock(fd, F_SETLK, F_RDLCK, 5, 1), -EAGAIN);
	assert_int_equal(host_lock(fd, F_SETLK, F_WRLCK, 20, 1), 0);
	assert_int_equal(set(r, o.node, o.b, BOB, F_RDLCK, 20, 30), -EAGAIN);
	/* A close of another descriptor of the file in the daemon drops nobody's locks. */
	assert_int_equal(fc_release(&r->c, o.node, o.b), 0);
	assert_int_equal(host_lock(fd, F_SETLK, F_RDLCK, 5, 1), -EAGAIN);
	close(fd);
}

/* --- the end of locks --- */

static void test_flush(void **state)
{
	struct rig *r = *state;
	uint64_t fds;
	struct opened o;

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	fds = fds_of(r);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 9), 0);
	assert_int_equal(set(r, o.node, o.a, BOB, F_WRLCK, 10, 19), 0);
	assert_int_equal(fds_of(r), fds + 2);
	/* As POSIX has it: any close of the file by the owner, not only that of the handle it locked through.
	 */
	assert_int_equal(flush(r, o.node, o.b, ALICE), 0);
	assert_int_equal(fds_of(r), fds + 1);
	assert_int_equal(set(r, o.node, o.b, CAROL, F_WRLCK, 0, 9), 0);
	assert_int_equal(set(r, o.node, o.b, CAROL, F_WRLCK, 10, 10), -EAGAIN);
	assert_int_equal(flush(r, o.node, o.a, BOB), 0);
	assert_int_equal(flush(r, o.node, o.a, BOB), 0);
	assert_int_equal(set(r, o.node, o.b, CAROL, F_WRLCK, 10, 10), 0);
}

static void test_release(void **state)
{
	struct rig *r = *state;
	struct opened o;
	uint64_t fds;

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	fds = fds_of(r);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 9), 0);
	assert_int_equal(set(r, o.node, o.a, BOB, F_WRLCK, 20, 29), 0);
	assert_int_equal(set(r, o.node, o.b, CAROL, F_WRLCK, 40, 49), 0);
	assert_int_equal(flush(r, o.node, o.a, BOB), 0);
	assert_int_equal(fc_release(&r->c, o.node, o.a), 0);
	assert_int_equal(set(r, o.node, o.b, CAROL, F_WRLCK, 0, 39), 0);
	assert_int_equal(fc_release(&r->c, o.node, o.b), 0);
	UNTIL(fds_of(r) == fds - 2);
}

static void test_guest_leaves(void **state)
{
	struct rig *r = *state;
	struct opened o;
	int fd;

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 9), 0);
	assert_int_equal(set_flock(r, o.node, o.b, F_WRLCK), 0);
	fg_reconnect(&r->g);
	fd = host_open(r);
	UNTIL(host_lock(fd, F_SETLK, F_WRLCK, 0, 0) == 0);
	UNTIL(flock(fd, LOCK_EX | LOCK_NB) == 0);
	close(fd);
	o = open_twice(r, O_RDWR);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 9), 0);
}

/* An owner that has a file open for reading, and later for writing, too. */
static void test_widen(void **state)
{
	struct rig *r = *state;
	struct opened o;
	uint64_t w;
	int fd;

	rig_start(r, "");
	o = open_twice(r, O_RDONLY);
	assert_int_equal(fc_open(&r->c, o.node, O_RDWR, &w), 0);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_RDLCK, 0, 9), 0);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_RDLCK, 50, INT64_MAX), 0);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 20, 29), -EBADF);
	assert_int_equal(set(r, o.node, w, ALICE, F_WRLCK, 20, 29), 0);
	fd = host_open(r);
	assert_int_equal(host_lock(fd, F_SETLK, F_WRLCK, 9, 1), -EAGAIN);
	assert_int_equal(host_lock(fd, F_SETLK, F_RDLCK, 9, 1), 0);
	assert_int_equal(host_lock(fd, F_SETLK, F_RDLCK, 20, 1), -EAGAIN);
	assert_int_equal(host_lock(fd, F_SETLK, F_WRLCK, 1000, 1), -EAGAIN);
	assert_int_equal(host_lock(fd, F_SETLK, F_WRLCK, 10, 10), 0);
	close(fd);
}

/* What it has for reading is not in the way of the same for writing. */
static void test_widen_over_its_own(void **state)
{
	struct rig *r = *state;
	struct opened o;
	uint64_t w;
	int fd;

	rig_start(r, "");
	o = open_twice(r, O_RDONLY);
	assert_int_equal(fc_open(&r->c, o.node, O_RDWR, &w), 0);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_RDLCK, 0, 9), 0);
	assert_int_equal(set(r, o.node, o.b, BOB, F_RDLCK, 8, 9), 0);
	assert_int_equal(set(r, o.node, w, ALICE, F_WRLCK, 0, 9), -EAGAIN);
	assert_int_equal(set(r, o.node, w, ALICE, F_WRLCK, 0, 4), 0);
	fd = host_open(r);
	assert_int_equal(host_lock(fd, F_SETLK, F_RDLCK, 4, 1), -EAGAIN);
	assert_int_equal(host_lock(fd, F_SETLK, F_WRLCK, 5, 1), -EAGAIN);
	assert_int_equal(host_lock(fd, F_SETLK, F_RDLCK, 5, 1), 0);
	close(fd);
}

/* The first lock for writing is one over what is held for reading. */
static void test_widen_at_once(void **state)
{
	struct rig *r = *state;
	struct opened o;
	uint64_t w;

	rig_start(r, "");
	o = open_twice(r, O_RDONLY);
	assert_int_equal(fc_open(&r->c, o.node, O_RDWR, &w), 0);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_RDLCK, 0, 9), 0);
	assert_int_equal(set(r, o.node, w, ALICE, F_WRLCK, 0, 9), 0);
	assert_int_equal(set(r, o.node, o.b, BOB, F_RDLCK, 9, 9), -EAGAIN);
}

/* --- flock --- */

static void test_flock(void **state)
{
	struct fuse_release_in rel = {.release_flags = FUSE_RELEASE_FLOCK_UNLOCK};
	struct rig *r = *state;
	struct opened o;
	int fd;

	rig_start(r, "");
	o = open_twice(r, O_RDONLY);
	fd = host_open(r);
	assert_int_equal(set_flock(r, o.node, o.a, F_RDLCK), 0);
	assert_int_equal(set_flock(r, o.node, o.b, F_RDLCK), 0);
	assert_int_equal(set_flock(r, o.node, o.b, F_WRLCK), -EAGAIN);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
	assert_int_equal(set_flock(r, o.node, o.b, F_UNLCK), 0);
	assert_int_equal(set_flock(r, o.node, o.a, F_WRLCK), 0);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
	/* Record locks and these know nothing of each other. */
	assert_int_equal(host_lock(fd, F_SETLK, F_WRLCK, 0, 0), 0);
	rel.fh = o.a;
	assert_int_equal(fc_call(&r->c, FUSE_RELEASE, o.node, &rel, sizeof(rel), NULL, NULL, 0), 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(set_flock(r, o.node, o.b, F_RDLCK), -EAGAIN);
	close(fd);
}

/* --- waiting --- */

static void turn(struct rig *r, unsigned times)
{
	while (times--)
		fg_turn(&r->g, 0);
}

/* More waiters than workers, and the unlock, which needs a worker, gets through. */
static void test_waiters(void **state)
{
	const char *const policies[] = {"auto", "never", "always"};
	struct rig *r = *state;

	for (unsigned p = 0; p < 3; p++) {
		struct fg_msg *m[6];
		char options[64];
		struct opened o;

		snprintf(options, sizeof(options), ", \"inline_blocking\": \"%s\"", policies[p]);
		rig_start(r, options);
		o = open_twice(r, O_RDWR);
		assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 9), 0);
		for (unsigned i = 0; i < 6; i++)
			m[i] = wait_send(r, o.node, o.b, 1 + i, F_WRLCK, i, i, 0);
		turn(r, 20);
		for (unsigned i = 0; i < 6; i++)
			assert_false(m[i]->answered);
		assert_int_equal(set(r, o.node, o.a, ALICE, F_UNLCK, 0, 2), 0);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(fg_wait(&r->g, 0, m[i]), 0);
		assert_false(m[3]->answered || m[4]->answered || m[5]->answered);
		assert_int_equal(set(r, o.node, o.b, BOB, F_WRLCK, 2, 2), -EAGAIN);
		assert_int_equal(flush(r, o.node, o.a, ALICE), 0);
		for (unsigned i = 0; i < 6; i++)
			assert_int_equal(wait_end(r, m[i]), 0);
		rig_stop(r);
	}
}

static void test_wait_free(void **state)
{
	struct rig *r = *state;
	struct opened o;

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	assert_int_equal(wait_end(r, wait_send(r, o.node, o.a, ALICE, F_WRLCK, 0, 9, 0)), 0);
	assert_int_equal(wait_end(r, wait_send(r, o.node, o.a, ALICE, F_UNLCK, 0, INT64_MAX, 0)), 0);
	assert_int_equal(wait_end(r, wait_send(r, o.node, o.b, BOB, F_WRLCK, 0, 9, 0)), 0);
}

static void test_wait_flock(void **state)
{
	struct rig *r = *state;
	struct fg_msg *ex, *sh;
	struct opened o;

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	assert_int_equal(set_flock(r, o.node, o.a, F_WRLCK), 0);
	sh = wait_send(r, o.node, o.b, 0, F_RDLCK, 0, INT64_MAX, FUSE_LK_FLOCK);
	turn(r, 20);
	assert_false(sh->answered);
	assert_int_equal(set_flock(r, o.node, o.a, F_RDLCK), 0);
	assert_int_equal(wait_end(r, sh), 0);
	ex = wait_send(r, o.node, o.b, 0, F_WRLCK, 0, INT64_MAX, FUSE_LK_FLOCK);
	turn(r, 20);
	assert_false(ex->answered);
	assert_int_equal(fc_release(&r->c, o.node, o.a), 0);
	assert_int_equal(wait_end(r, ex), 0);
}

/* --- deadlocks --- */

/* A wait that closes no circle: it is not answered. */
static struct fg_msg *waits(struct rig *r, uint64_t node, uint64_t fh, uint64_t owner, uint64_t at)
{
	unsigned before = r->g.lanes[0].lock_waiter_count;
	struct fg_msg *m = wait_send(r, node, fh, owner, F_WRLCK, at, at, 0);

	UNTIL((turn(r, 1), m->answered || r->g.lanes[0].lock_waiter_count > before));
	turn(r, 50);
	assert_false(m->answered);
	return m;
}

/* Who would wait for itself gets an error and keeps what it has; the others wait until it lets go. */
static void test_deadlock(void **state)
{
	const char *const policies[] = {"auto", "never", "always"};
	struct rig *r = *state;

	for (unsigned p = 0; p < 3; p++) {
		struct fg_msg *a, *b;
		char options[64];
		struct opened o;
		uint64_t g, fh;

		snprintf(options, sizeof(options), ", \"inline_blocking\": \"%s\"", policies[p]);
		rig_start(r, options);
		o = open_twice(r, O_RDWR);
		rig_file(r, "g", "");
		g = rig_node(r, ROOT, "g");
		assert_int_equal(fc_open(&r->c, g, O_RDWR, &fh), 0);
		/* Alice for Bob, Bob for Carol, over two files. */
		assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 9), 0);
		assert_int_equal(set(r, o.node, o.a, BOB, F_RDLCK, 10, 19), 0);
		assert_int_equal(set(r, g, fh, CAROL, F_WRLCK, 0, 0), 0);
		a = waits(r, o.node, o.a, ALICE, 15);
		b = waits(r, g, fh, BOB, 0);
		/* It holds nothing that anybody waits for; then it does. */
		assert_int_equal(set(r, o.node, o.b, CAROL, F_WRLCK, 0, 0), -EAGAIN);
		assert_int_equal(wait_end(r, wait_send(r, o.node, o.b, CAROL, F_WRLCK, 9, 9, 0)), -EDEADLK);
		assert_int_equal(wait_end(r, wait_send(r, o.node, o.b, CAROL, F_RDLCK, 0, 0, 0)), -EDEADLK);
		assert_int_equal(wait_end(r, wait_send(r, o.node, o.b, CAROL, F_RDLCK, 10, 12, 0)), 0);
		assert_false(a->answered || b->answered);
		/* What it had is still its own; when it goes the circle is none. */
		assert_int_equal(set(r, g, fh, DAVE, F_WRLCK, 0, 0), -EAGAIN);
		assert_int_equal(flush(r, g, fh, CAROL), 0);
		assert_int_equal(wait_end(r, b), 0);
		assert_false(a->answered);
		assert_int_equal(flush(r, o.node, o.a, BOB), 0);
		assert_int_equal(flush(r, o.node, o.a, CAROL), 0);
		assert_int_equal(wait_end(r, a), 0);
		rig_stop(r);
	}
}

/* Many wait for one another in a row, and one more closes the circle; those who only share a file are no part of it. */
static void test_deadlock_row(void **state)
{
	enum { ROW = FG_SLOTS / 2 - 1 };
	struct rig *r = *state;
	struct fg_msg *m[ROW];
	struct opened o;

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	for (unsigned i = 0; i < ROW; i++)
		assert_int_equal(set(r, o.node, o.a, 1 + i, F_WRLCK, i, i), 0);
	for (unsigned i = 1; i < ROW; i++)
		m[i] = waits(r, o.node, o.a, 1 + i, i - 1);
	assert_int_equal(wait_end(r, wait_send(r, o.node, o.a, 1, F_WRLCK, ROW - 1, ROW - 1, 0)), -EDEADLK);
	/* The same for two owners of whom only one holds anything. */
	assert_int_equal(set(r, o.node, o.b, ALICE, F_WRLCK, 100, 100), 0);
	m[0] = waits(r, o.node, o.b, ALICE, ROW - 1);
	for (unsigned i = 0; i < ROW; i++) {
		assert_int_equal(flush(r, o.node, o.a, 1 + i), 0);
		if (i + 1 < ROW)
			assert_int_equal(wait_end(r, m[i + 1]), 0);
	}
	assert_int_equal(wait_end(r, m[0]), 0);
}

/* Nobody tells when the host unlocks. */
static void test_wait_for_host(void **state)
{
	struct rig *r = *state;
	struct fg_msg *m;
	struct opened o;
	int fd;

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	fd = host_open(r);
	assert_int_equal(host_lock(fd, F_SETLK, F_WRLCK, 0, 0), 0);
	m = wait_send(r, o.node, o.a, ALICE, F_WRLCK, 0, 9, 0);
	turn(r, 100);
	assert_false(m->answered);
	close(fd);
	assert_int_equal(wait_end(r, m), 0);
}

static void test_two_guests(void **state)
{
	struct rig *r = *state, other = *r;
	struct fg_msg *m;
	struct opened o, p;

	rig_start(r, "");
	rig_start(&other, "");
	o = open_twice(r, O_RDWR);
	p = open_twice(&other, O_RDWR);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 9), 0);
	assert_int_equal(set(&other, p.node, p.a, ALICE, F_RDLCK, 9, 9), -EAGAIN);
	assert_int_equal(get(&other, p.node, p.a, ALICE, F_RDLCK, 9, 9).type, F_WRLCK);
	m = wait_send(&other, p.node, p.a, ALICE, F_WRLCK, 0, 0, 0);
	turn(&other, 20);
	assert_false(m->answered);
	assert_int_equal(flush(r, o.node, o.b, ALICE), 0);
	assert_int_equal(wait_end(&other, m), 0);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 0), -EAGAIN);
	rig_stop(&other);
}

/* The queue stops, or the guest boots anew: who waits ends, so that what waits for them goes on. */
static void test_waits_end(void **state)
{
	struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION};
	struct rig *r = *state;
	struct fg_msg *m, *again;
	struct opened o;

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 9), 0);
	m = wait_send(r, o.node, o.b, BOB, F_RDLCK, 0, 9, 0);
	turn(r, 10);
	assert_false(m->answered);
	again = fg_new();
	fg_send(&r->g, 0, again, FUSE_INIT, 0, &init, sizeof(init), NULL, NULL, NULL, 0,
		sizeof(struct fuse_init_out));
	assert_int_equal(wait_end(r, m), -ENOLCK);
	assert_int_equal(wait_end(r, again), 0);
	rig_stop(r);

	rig_start(r, "");
	o = open_twice(r, O_RDWR);
	assert_int_equal(set(r, o.node, o.a, ALICE, F_WRLCK, 0, 9), 0);
	m = wait_send(r, o.node, o.b, BOB, F_RDLCK, 0, 9, 0);
	turn(r, 10);
	assert_false(m->answered);
	/* Given up. */
	sfs_lane_end_lock_waits(&r->g.lanes[0]);
	assert_int_equal(wait_end(r, m), -ENOLCK);
	assert_int_equal(wait_end(r, wait_send(r, o.node, o.b, BOB, F_RDLCK, 0, 9, 0)), -ENOLCK);
	assert_int_equal(r->g.lanes[0].in_flight, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_owners, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_get, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_bad_requests, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_host_sees, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_flush, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_release, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_guest_leaves, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_widen, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_widen_over_its_own, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_widen_at_once, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_flock, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_waiters, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_wait_free, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_wait_flock, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_deadlock, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_deadlock_row, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_wait_for_host, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_two_guests, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_waits_end, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests_name("passthrough_lock", tests, NULL, NULL);
}
