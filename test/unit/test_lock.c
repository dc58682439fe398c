/* SPDX-License-Identifier: BSD-3-Clause */
/* Lock owners: who has a descriptor of its own for its locks, and when that goes. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../lib/fuse/session_priv.h"
#include "fuse_rig.h"
#include "sfs_lock.h"

#define NODE  5
#define ALICE 0xa11ceull
#define BOB   0xb0bull

static struct sfs_session *se;

static struct sfs_req *req_new(uint32_t pid)
{
	struct sfs_req *req = calloc(1, sizeof(*req));

	assert_non_null(req);
	req->session = se;
	req->in.pid = pid;
	return req;
}

static int setup(void **state)
{
	rig_start(&(struct rig_opts){.limits = {.inodes = 64, .handles = 8, .fds = 16, .node_fds = 4}});
	se = rig.se;
	return 0;
}

static int teardown(void **state)
{
	rig_stop();
	return 0;
}

static uint64_t fds(void)
{
	struct sfs_session_figures f;

	sfs_session_figures(se, &f);
	return f.fds;
}

static uint64_t handle_of(uint64_t node)
{
	struct sfs_req *req = req_new(1);
	uint64_t fh;

	assert_non_null(sfs_handle_open(req, node, -1, O_RDWR, 0, &fh));
	rig_req_end(req);
	return fh;
}

static void release(uint64_t node, uint64_t fh)
{
	struct sfs_req *req = req_new(1);

	assert_int_equal(sfs_handle_release(req, node, fh), 0);
	rig_req_end(req);
}

/* Makes @owner known through @fh; the number of its descriptor, -1: refused. */
static int add(uint64_t node, uint64_t fh, uint64_t owner, uint32_t pid, uint32_t flags)
{
	struct sfs_req *req = req_new(pid);
	struct sfs_handle *h = sfs_handle_pin(req, node, fh, NULL);
	struct sfs_fdent *ent;
	int fd = -1;

	assert_non_null(h);
	ent = sfs_lock_owner_add(req, h, owner, rig_fd(), flags);
	if (ent)
		fd = ent->fd;
	rig_req_end(req);
	return fd;
}

/* The number of the owner's descriptor; -1: it is not known. */
static int find(uint64_t node, uint64_t owner, uint32_t pid, uint32_t *flags)
{
	struct sfs_req *req = req_new(1);
	struct sfs_fdent *ent = sfs_lock_owner_find(req, node, owner, pid, flags);
	int fd = ent ? ent->fd : -1;

	rig_req_end(req);
	return fd;
}

static bool drop(uint64_t node, uint64_t owner)
{
	struct sfs_req *req = req_new(1);
	struct sfs_fdent *ent = sfs_lock_owner_drop(req, node, owner);
	bool was = ent;

	/* Usable until the request ends, whoever drops it. */
	assert_true(!ent || rig_fd_open(ent->fd));
	rig_req_end(req);
	return was;
}

static void test_found_by_node_and_owner(void **state)
{
	uint64_t fh = handle_of(NODE), other = handle_of(6);
	uint32_t flags = 0;
	int a, b, c;

	assert_false(sfs_lock_owner_any(se));
	a = add(NODE, fh, ALICE, 10, O_RDWR);
	assert_true(sfs_lock_owner_any(se));
	b = add(NODE, fh, BOB, 11, O_RDONLY);
	c = add(6, other, ALICE, 10, O_WRONLY);
	assert_true(a >= 0 && b >= 0 && c >= 0 && a != b && b != c && a != c);
	assert_int_equal(fds(), 3);
	assert_int_equal(find(NODE, ALICE, 0, &flags), a);
	assert_int_equal(flags, O_RDWR);
	assert_int_equal(find(NODE, BOB, 0, &flags), b);
	assert_int_equal(flags, O_RDONLY);
	assert_int_equal(find(6, ALICE, 0, &flags), c);
	assert_int_equal(flags, O_WRONLY);
	assert_int_equal(find(6, BOB, 0, &flags), -1);
	assert_int_equal(find(7, ALICE, 0, &flags), -1);
	assert_true(drop(NODE, ALICE));
	assert_false(rig_fd_open(a));
	assert_false(drop(NODE, ALICE));
	assert_int_equal(find(NODE, ALICE, 0, &flags), -1);
	assert_int_equal(find(6, ALICE, 0, &flags), c);
	assert_true(drop(NODE, BOB) && drop(6, ALICE));
	assert_false(sfs_lock_owner_any(se));
	assert_int_equal(fds(), 0);
}

/* Two threads of one owner come at a time: the second gets what the first made, and loses what it brought. */
static void test_added_twice(void **state)
{
	uint64_t fh = handle_of(NODE);
	int a = add(NODE, fh, ALICE, 10, O_RDWR);
	uint32_t flags;

	assert_int_equal(add(NODE, fh, ALICE, 10, O_RDONLY), a);
	assert_int_equal(fds(), 1);
	assert_int_equal(find(NODE, ALICE, 0, &flags), a);
	assert_int_equal(flags, O_RDWR);
}

/* What came through a handle goes with its last pin, whatever else of the owner there is. */
static void test_released(void **state)
{
	uint64_t fh = handle_of(NODE), other = handle_of(NODE);
	int a = add(NODE, fh, ALICE, 10, O_RDWR), b = add(NODE, fh, BOB, 11, O_RDWR);
	int c = add(NODE, other, 3, 12, O_RDWR);
	struct sfs_req *req = req_new(10);
	struct sfs_handle *h = sfs_handle_pin(req, NODE, fh, NULL);
	struct sfs_fdent *ent;
	uint32_t flags;

	release(NODE, fh);
	assert_true(rig_fd_open(a) && rig_fd_open(b));
	/* Nobody would ever look for one that came now. */
	assert_null(sfs_lock_owner_add(req, h, 4, rig_fd(), O_RDWR));
	assert_int_equal(fds(), 3);
	/* RELEASE itself takes them one by one. */
	ent = sfs_lock_owner_pop(req, h);
	assert_non_null(ent);
	assert_true(ent->fd == a || ent->fd == b);
	assert_true(rig_fd_open(ent->fd));
	rig_req_end(req);
	assert_false(rig_fd_open(a) || rig_fd_open(b));
	assert_int_equal(find(NODE, ALICE, 0, &flags), -1);
	assert_int_equal(find(NODE, BOB, 0, &flags), -1);
	assert_int_equal(find(NODE, 3, 0, &flags), c);
	req = req_new(12);
	h = sfs_handle_pin(req, NODE, other, NULL);
	assert_non_null(sfs_lock_owner_pop(req, h));
	assert_null(sfs_lock_owner_pop(req, h));
	rig_req_end(req);
	assert_int_equal(fds(), 0);
}

static void test_next(void **state)
{
	uint64_t fh = handle_of(NODE), other = handle_of(6);
	struct sfs_req *req = req_new(1);
	uint32_t pos = 0, pids = 0, flags;
	struct sfs_lock_holder holder;
	struct sfs_fdent *ent;

	assert_null(sfs_lock_owner_next(req, NODE, &pos, &holder));
	add(NODE, fh, 100, 1, O_RDWR);
	add(6, other, 100, 2, O_RDWR);
	add(NODE, fh, 101, 4, O_RDWR);
	add(NODE, fh, 102, 8, O_RDWR);
	assert_true(drop(NODE, 101));
	/* Another process of the same owner locks: it is who is named now. */
	assert_true(find(NODE, 102, 16, &flags) >= 0);
	assert_true(find(NODE, 100, 0, &flags) >= 0);
	pos = 0;
	while ((ent = sfs_lock_owner_next(req, NODE, &pos, &holder))) {
		struct sfs_pin_mark none = {0};

		assert_true(rig_fd_open(ent->fd));
		assert_int_equal(holder.owner, holder.pid == 1 ? 100 : 102);
		pids += holder.pid;
		sfs_req_unpin_to(req, none);
	}
	assert_int_equal(pids, 1 + 16);
	rig_req_end(req);
}

static void test_swap(void **state)
{
	uint64_t fh = handle_of(NODE);
	int a = add(NODE, fh, ALICE, 10, O_RDONLY), fd = rig_fd();
	struct sfs_req *req = req_new(10), *rival = req_new(10);
	struct sfs_fdent *old, *ent;
	uint32_t flags;

	/* Somebody else is about to lock with it. */
	old = sfs_lock_owner_find(req, NODE, ALICE, 0, &flags);
	assert_non_null(sfs_lock_owner_find(rival, NODE, ALICE, 0, &flags));
	assert_null(sfs_lock_owner_swap(req, NODE, ALICE, old, fd, O_RDWR));
	assert_false(rig_fd_open(fd));
	assert_int_equal(find(NODE, ALICE, 0, &flags), a);
	assert_int_equal(flags, O_RDONLY);
	rig_req_end(rival);

	fd = rig_fd();
	ent = sfs_lock_owner_swap(req, NODE, ALICE, old, fd, O_RDWR);
	assert_non_null(ent);
	assert_int_equal(ent->fd, fd);
	assert_true(rig_fd_open(a)); /* pinned until then */
	rig_req_end(req);
	assert_false(rig_fd_open(a));
	assert_int_equal(find(NODE, ALICE, 0, &flags), fd);
	assert_int_equal(flags, O_RDWR);
	assert_int_equal(fds(), 1);

	/* The owner has gone meanwhile. */
	req = req_new(10);
	old = sfs_lock_owner_find(req, NODE, ALICE, 0, &flags);
	assert_true(drop(NODE, ALICE));
	assert_null(sfs_lock_owner_swap(req, NODE, ALICE, old, rig_fd(), O_RDWR));
	rig_req_end(req);
	assert_int_equal(fds(), 0);
}

static void test_full(void **state)
{
	struct sfs_session_figures f;
	uint64_t fh = handle_of(NODE), limit = 8; /* as many as there may be handles */
	uint32_t flags;

	for (uint64_t i = 0; i < limit; i++)
		assert_true(add(NODE, fh, i, 1, O_RDWR) >= 0);
	assert_int_equal(add(NODE, fh, limit, 1, O_RDWR), -1);
	sfs_session_figures(se, &f);
	assert_int_equal(f.fds, limit);
	assert_int_equal(f.limit_hits, 1);
	assert_true(drop(NODE, 3));
	assert_true(add(NODE, fh, limit, 1, O_RDWR) >= 0);
	for (uint64_t i = 0; i <= limit; i++)
		assert_int_equal(find(NODE, i, 0, &flags) >= 0, i != 3);
}

/* A guest begins anew. */
static void test_reset(void **state)
{
	struct fuse_init_out out;
	uint64_t fh = handle_of(NODE);
	int a = add(NODE, fh, ALICE, 10, O_RDWR), b = add(NODE, fh, BOB, 11, O_RDWR);
	uint32_t flags;

	assert_int_equal(rig_init(7, 38, 0, 64, &out), 0);
	assert_false(rig_fd_open(a) || rig_fd_open(b));
	assert_false(sfs_lock_owner_any(se));
	assert_int_equal(find(NODE, ALICE, 0, &flags), -1);
	assert_true(add(NODE, handle_of(NODE), ALICE, 10, O_RDWR) >= 0);
}

/* --- threads --- */

#define THREADS 3
#define OWNERS  5

struct hammer {
	pthread_t thread;
	uint64_t random, fh[2];
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void hammer_one(struct hammer *h, struct sfs_req *req)
{
	uint64_t owner, fh;
	struct sfs_fdent *ent = NULL;
	struct sfs_handle *handle;
	struct sfs_lock_holder holder;
	uint32_t flags = 0, pos = 0;
	int fd;

	h->random = h->random * 6364136223846793005ull + 1442695040888963407ull;
	owner = (h->random >> 40) % OWNERS;
	fh = h->fh[h->random >> 50 & 1];
	switch ((h->random >> 33) % 6) {
	case 0:
	case 1:
		handle = sfs_handle_pin(req, NODE, fh, NULL);
		must(handle);
		fd = open("/", O_PATH | O_CLOEXEC);
		must(fd >= 0);
		ent = sfs_lock_owner_add(req, handle, owner, fd, O_RDONLY);
		break;
	case 2:
		ent = sfs_lock_owner_find(req, NODE, owner, 7, &flags);
		fd = ent ? open("/", O_PATH | O_CLOEXEC) : -1;
		if (fd >= 0)
			sfs_lock_owner_swap(req, NODE, owner, ent, fd, O_RDWR);
		break;
	case 3:
		ent = sfs_lock_owner_drop(req, NODE, owner);
		break;
	case 4:
		handle = sfs_handle_pin(req, NODE, fh, NULL);
		must(handle);
		ent = sfs_lock_owner_pop(req, handle);
		break;
	default:
		ent = sfs_lock_owner_next(req, NODE, &pos, &holder);
		break;
	}
	/* Whatever others do: it is open as long as it is pinned. */
	must(!ent || rig_fd_open(ent->fd));
	sfs_req_unpin_to(req, (struct sfs_pin_mark){0});
}

static atomic_uint hammers; /* that have not ended */

static void *hammer_main(void *arg)
{
	struct hammer *h = arg;
	struct sfs_req *req = calloc(1, sizeof(*req));

	must(req);
	req->session = se;
	for (unsigned i = 0; i < 20000; i++)
		hammer_one(h, req);
	free(req);
	atomic_fetch_sub(&hammers, 1);
	return NULL;
}

static void hammers_start(struct hammer h[THREADS], const uint64_t fh[2])
{
	atomic_store(&hammers, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		h[i].random = i + 1;
		memcpy(h[i].fh, fh, sizeof(h[i].fh));
		assert_int_equal(pthread_create(&h[i].thread, NULL, hammer_main, &h[i]), 0);
	}
}

static void hammers_join(struct hammer h[THREADS])
{
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(h[i].thread, NULL);
}

static void test_threads(void **state)
{
	struct hammer h[THREADS] = {0};
	uint64_t fh[2] = {handle_of(NODE), handle_of(NODE)};

	hammers_start(h, fh);
	hammers_join(h);
	release(NODE, fh[0]);
	release(NODE, fh[1]);
	assert_false(sfs_lock_owner_any(se));
	assert_int_equal(fds(), 0);
}

/* Requests of queues that were given up come back while the session ends. */
static void test_reset_beside_threads(void **state)
{
	struct hammer h[THREADS] = {0};
	uint64_t fh[2] = {handle_of(NODE), handle_of(NODE)};

	hammers_start(h, fh);
	while (atomic_load(&hammers))
		sfs_locks_reset(&(struct sfs_reset){.se = se, .guest = se->guest});
	hammers_join(h);
	sfs_session_end(se);
	assert_false(sfs_lock_owner_any(se));
	assert_int_equal(fds(), 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_found_by_node_and_owner),
	    T(test_added_twice),
	    T(test_released),
	    T(test_next),
	    T(test_swap),
	    T(test_full),
	    T(test_reset),
	    T(test_threads),
	    T(test_reset_beside_threads),
	};

	return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
