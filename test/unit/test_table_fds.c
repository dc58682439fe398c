/* SPDX-License-Identifier: BSD-3-Clause */
/* The descriptors that nodes hold: how many stay open, and which ones. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "table_rig.h"

static void test_cached_descriptors_are_bounded(void **state)
{
	for (uint64_t ino = 10; ino < 50; ino++) {
		assert_int_not_equal(lookup(ino, true, rig_fd()), 0);
		assert_true(figures().fds <= 4);
	}
	assert_int_equal(figures().fds, 4);
}

/* Also where each was used since the hand came by, and where it would have far to go. */
static void test_many_cached_descriptors_are_bounded(void **state)
{
	enum { MANY = 3000, NOBODYS_FD = 1 << 30 };

	rig_stop();
	begin(2 * MANY, 8, 64, MANY);
	for (uint64_t ino = 10; ino < 10 + MANY * 3 / 2; ino++) {
		assert_int_not_equal(lookup(ino, true, NOBODYS_FD), 0);
		assert_true(figures().fds <= MANY);
	}
	/* Some were let go for others. */
	assert_true(figures().fds > MANY / 2);
}

static void test_descriptor_in_use_is_not_evicted(void **state)
{
	struct sfs_req *req = req_new();
	int fd = rig_fd();
	uint64_t id = lookup(10, true, fd);
	struct sfs_node *node = sfs_node_pin(req, id);

	assert_int_equal(sfs_node_fd(req, node)->fd, fd);
	for (uint64_t ino = 20; ino < 60; ino++)
		lookup(ino, true, rig_fd());
	assert_true(rig_fd_open(fd));
	assert_int_equal(sfs_node_fd(req, node)->fd, fd);
	rig_req_end(req);
}

static void test_nodes_without_handle_keep_theirs(void **state)
{
	int fd[5];

	for (unsigned i = 0; i < 5; i++) {
		fd[i] = rig_fd();
		assert_int_not_equal(lookup(10 + i, false, fd[i]), 0);
	}
	for (uint64_t ino = 20; ino < 60; ino++)
		lookup(ino, true, rig_fd());
	for (unsigned i = 0; i < 5; i++)
		assert_true(rig_fd_open(fd[i]));
}

static void test_second_descriptor_is_closed(void **state)
{
	int first = rig_fd(), second = rig_fd();

	lookup(10, true, first);
	lookup(10, true, second);
	assert_true(rig_fd_open(first));
	assert_false(rig_fd_open(second));
	assert_int_equal(figures().fds, 1);
}

static void test_no_room_for_a_nodes_descriptor(void **state)
{
	struct sfs_req *req = req_new();
	struct sfs_node_key key = key_of(12, false);
	struct sfs_fdent *ents[5];
	bool created;
	uint64_t id;
	int fd = rig_fd();

	for (unsigned i = 0; i < 5; i++)
		ents[i] = sfs_fd_insert(se, NULL, rig_fd());
	assert_int_equal(lookup(10, false, fd), 0); /* could never be opened again */
	/* Nothing is left in the hands of the request, which may be a listing and goes on. */
	assert_null(sfs_node_get(req, &key, S_IFREG, fd, 1, &created));
	assert_int_equal(req->pin_node_count, 0);
	rig_req_end(req);
	assert_true(rig_fd_open(fd));
	id = lookup(11, true, fd); /* has a handle */
	assert_int_not_equal(id, 0);
	assert_false(rig_fd_open(fd));
	sfs_fd_unlink(se, ents[0]);
	fd = rig_fd();
	assert_int_not_equal(lookup(10, false, fd), 0); /* the record that was left found its descriptor */
	assert_true(rig_fd_open(fd));
	for (unsigned i = 1; i < 5; i++)
		sfs_fd_unlink(se, ents[i]);
}

/* --- swapped, dropped, held --- */

static uint64_t node_fds(void)
{
	return atomic_load(&se->node_fds);
}

static void test_swapped(void **state)
{
	struct sfs_req *req = req_new(), *other = req_new();
	int first = rig_fd(), second = rig_fd(), third = rig_fd();
	struct sfs_node *node = sfs_node_pin(req, lookup(10, true, first));
	struct sfs_fdent *ent = sfs_node_fd(other, node);

	assert_int_equal(ent->open_flags, O_PATH);
	ent = sfs_node_fd_swap(req, node, second, O_RDWR);
	assert_int_equal(ent->fd, second);
	assert_int_equal(ent->open_flags, O_RDWR);
	assert_ptr_equal(sfs_node_fd(req, node), ent);
	assert_true(rig_fd_open(first)); /* somebody uses it */
	rig_req_end(other);
	assert_false(rig_fd_open(first));
	assert_int_equal(node_fds(), 1);
	/* What is not its own any more is not taken away. */
	other = req_new();
	sfs_node_fd_swap(other, node, third, O_RDONLY);
	assert_false(sfs_node_fd_drop(se, node, ent));
	ent = sfs_node_fd(other, node);
	assert_int_equal(ent->fd, third);
	assert_true(sfs_node_fd_drop(se, node, ent));
	assert_null(sfs_node_fd(other, node));
	assert_int_equal(node_fds(), 0);
	rig_req_end(other);
	rig_req_end(req);
	assert_false(rig_fd_open(second));
	assert_false(rig_fd_open(third));
}

/* Also where there is no room beside what others use: then it is the request's alone. */
static void test_swapped_without_room(void **state)
{
	struct sfs_req *req = req_new(), *users = req_new();
	int own = rig_fd(), fd = rig_fd();
	struct sfs_node *node;

	for (uint64_t ino = 20; ino < 23; ino++)
		assert_non_null(sfs_node_fd(users, sfs_node_pin(users, lookup(ino, true, rig_fd()))));
	node = sfs_node_pin(req, lookup(10, true, own));
	assert_non_null(sfs_node_fd(req, node));
	assert_int_equal(sfs_node_fd_swap(req, node, fd, O_RDWR)->fd, fd);
	assert_int_equal(sfs_node_fd(req, node)->fd, own);
	rig_req_end(req);
	rig_req_end(users);
	assert_true(rig_fd_open(own));
	assert_false(rig_fd_open(fd));
	assert_int_equal(node_fds(), 4);
}

static void test_held(void **state)
{
	int fd = rig_fd(), next = rig_fd();
	uint64_t id = lookup(10, true, fd);
	struct sfs_req *req = req_new();
	struct sfs_node *node = sfs_node_pin(req, id);
	struct sfs_fdent *ent;

	sfs_node_hold(node);
	for (uint64_t ino = 20; ino < 60; ino++)
		lookup(ino, true, rig_fd());
	ent = sfs_node_fd(req, node);
	assert_int_equal(ent->fd, fd);
	assert_false(sfs_node_fd_drop(se, node, ent));
	assert_ptr_equal(sfs_node_fd(req, node), ent);
	sfs_node_fd_swap(req, node, next, O_RDWR);
	rig_req_end(req);
	assert_false(rig_fd_open(fd));
	for (uint64_t ino = 20; ino < 60; ino++)
		lookup(ino, true, rig_fd());
	assert_true(rig_fd_open(next));
	/* The guest forgets it, and learns of it again. */
	sfs_node_forget(se, id, 1);
	assert_false(rig_fd_open(next));
	lookup(10, true, rig_fd());
	for (uint64_t ino = 20; ino < 60; ino++)
		lookup(ino, true, rig_fd());
	req = req_new();
	assert_null(sfs_node_fd(req, sfs_node_pin(req, id)));
	rig_req_end(req);
}

enum { ROUNDS = 20000, NOBODYS_FD = 1 << 30 };

static _Atomic bool over;

/* Others want descriptors all the time. */
static void *evict_thread(void *arg)
{
	for (uint64_t ino = 20; !atomic_load(&over); ino = ino == 49 ? 20 : ino + 1)
		lookup(ino, true, NOBODYS_FD);
	return NULL;
}

/* Whichever comes first, a node that is held and was offered one has one, and none once it is forgotten. */
static void test_held_beside_threads(void **state)
{
	pthread_t thread[2];
	unsigned missed = 0;

	atomic_store(&over, false);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, evict_thread, NULL), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t id = lookup(10, true, NOBODYS_FD);
		struct sfs_req *req = req_new();
		struct sfs_node *node = sfs_node_pin(req, id);

		sfs_node_hold(node);
		if (!sfs_node_fd(req, node))
			missed += !sfs_node_fd_offer(req, node, NOBODYS_FD);
		rig_req_end(req);
		sched_yield();
		req = req_new();
		missed += !sfs_node_fd(req, node);
		rig_req_end(req);
		sfs_node_forget(se, id, 1);
	}
	atomic_store(&over, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(missed, 0);
	assert_true(node_fds() <= 4);
	assert_true(figures().fds <= 4);
}

/* --- seen without a pin --- */

static void test_seen(void **state)
{
	uint64_t id = lookup(10, true, rig_fd()), bare = lookup(11, true, -1);
	struct sfs_node_sight sight;
	struct sfs_req *req = req_new();
	struct sfs_node *node = sfs_node_pin(req, id);
	struct sfs_fdent *ent;

	rig_req_end(req);
	assert_false(sfs_node_see(se, bare, &sight));
	assert_false(sfs_node_see(se, id + 100, &sight));
	assert_false(sfs_node_see(se, id + (1ull << 32), &sight));
	assert_false(sfs_node_see(se, 0, &sight));
	assert_false(sfs_node_see(se, UINT64_MAX, &sight));
	assert_true(sfs_node_see(se, id, &sight));
	assert_int_equal(atomic_load(&node->pins), SFS_PINS_LIVE);
	assert_true(sfs_node_seen(se, &sight, 1, 10));
	/* What had the number of its descriptor for a moment. */
	assert_false(sfs_node_seen(se, &sight, 1, 11));
	assert_false(sfs_node_seen(se, &sight, 2, 10));
	/* Its descriptor goes, and it gets another. */
	req = req_new();
	ent = sfs_node_fd(req, sfs_node_pin(req, id));
	assert_int_equal(sight.fd, ent->fd);
	assert_true(sfs_node_fd_drop(se, node, ent));
	assert_false(sfs_node_seen(se, &sight, 1, 10));
	assert_false(sfs_node_see(se, id, &sight));
	assert_non_null(sfs_node_fd_offer(req, node, rig_fd()));
	rig_req_end(req);
	assert_false(sfs_node_seen(se, &sight, 1, 10));
	assert_true(sfs_node_see(se, id, &sight));
	sfs_node_forget(se, id, 1);
	assert_false(sfs_node_seen(se, &sight, 1, 10));
	assert_false(sfs_node_see(se, id, &sight));
}

/* An entry that is in use again, with another descriptor. */
static void test_seen_before_a_swap(void **state)
{
	uint64_t id = lookup(10, true, rig_fd());
	struct sfs_node_sight sight, other;
	struct sfs_req *req = req_new();
	struct sfs_node *node = sfs_node_pin(req, id);
	int base = rig_fd();

	assert_true(sfs_node_see(se, id, &sight));
	for (int fd = -1; fd < 0 || other.fd_idx != sight.fd_idx;) {
		fd = fcntl(base, F_DUPFD_CLOEXEC, sight.fd + 1);
		assert_true(fd > sight.fd);
		sfs_node_fd_swap(req, node, fd, O_PATH);
		rig_req_end(req);
		req = req_new();
		node = sfs_node_pin(req, id);
		assert_true(sfs_node_see(se, id, &other));
		assert_int_equal(other.fd, fd);
		assert_false(sfs_node_seen(se, &sight, 1, 10));
	}
	rig_req_end(req);
	close(base);
}

/* The record, the entry, both numbers: all of it is another object's of the same inode number by now. */
static void test_seen_before_another_life(void **state)
{
	struct sfs_node_key key = key_of(10, false);
	struct sfs_node_sight sight, other;
	struct sfs_req *req;
	bool created;
	uint64_t id;

	id = lookup(10, false, rig_fd());
	assert_true(sfs_node_see(se, id, &sight));
	sfs_node_forget(se, id, 1);
	assert_false(rig_fd_open(sight.fd));
	req = req_new();
	key.btime_ns++;
	id = sfs_node_id(se, sfs_node_get(req, &key, S_IFREG, rig_fd(), 1, &created));
	rig_req_end(req);
	assert_true(sfs_node_see(se, id, &other));
	assert_ptr_equal(other.node, sight.node);
	assert_int_equal(other.fd_idx, sight.fd_idx);
	assert_int_equal(other.fd, sight.fd);
	assert_true(sfs_node_seen(se, &other, 1, 10));
	assert_false(sfs_node_seen(se, &sight, 1, 10));
}

/* A listing has found it, the guest has not. */
static void test_not_seen_before_it_is_known(void **state)
{
	struct sfs_req *req = req_new();
	const struct sfs_node_key key = key_of(10, false);
	struct sfs_node_sight sight;
	bool created;
	struct sfs_node *node = sfs_node_get(req, &key, S_IFREG, rig_fd(), 0, &created);

	assert_non_null(sfs_node_fd(req, node));
	assert_false(sfs_node_see(se, sfs_node_id(se, node), &sight));
	rig_req_end(req);
}

/* To the clock's hand that is a use. */
static void test_seen_is_used(void **state)
{
	uint64_t id = lookup(10, true, rig_fd());
	struct sfs_node_sight sight;
	struct sfs_fdent *ent;

	assert_true(sfs_node_see(se, id, &sight));
	ent = &se->fds[sight.fd_idx - 1];
	atomic_fetch_and(&ent->owner, ~SFS_FD_USED);
	assert_true(sfs_node_see(se, id, &sight));
	assert_true(atomic_load(&ent->owner) & SFS_FD_USED);
}

/*
 * Each of two files keeps its own attributes, while their descriptors come and go under the same numbers. By the system calls themselves: the
 * tables close so, and a checker of threads that saw the other half alone would take numbers for shared.
 */
static uint64_t lookup_file(int fd)
{
	struct sfs_req *req = req_new();
	struct sfs_node_key key;
	bool created;
	struct stat st;
	uint64_t id;

	assert_int_equal(fstat(fd, &st), 0);
	key = key_of(st.st_ino, true);
	key.dev = st.st_dev;
	id = sfs_node_id(se, sfs_node_get(req, &key, S_IFREG, (int)syscall(SYS_dup, fd), 1, &created));
	rig_req_end(req);
	return id;
}

static int churn_fd;

static void *churn_thread(void *arg)
{
	while (!atomic_load(&over))
		sfs_node_forget(se, lookup_file(churn_fd), 1);
	return NULL;
}

static void test_seen_beside_threads(void **state)
{
	unsigned seen = 0, wrong = 0;
	pthread_t thread[2];
	int fd = memfd_create("seen", 0);

	churn_fd = memfd_create("churn", 0);
	assert_true(fd >= 0 && churn_fd >= 0);
	assert_int_equal(ftruncate(fd, 1), 0);
	atomic_store(&over, false);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, churn_thread, NULL), 0);
	for (unsigned i = 0; i < ROUNDS || (!seen && i < 100 * ROUNDS); i++) {
		uint64_t id = lookup_file(fd);
		struct sfs_node_sight sight;
		struct stat st;

		if (sfs_node_see(se, id, &sight) && syscall(SYS_fstat, sight.fd, &st) == 0 &&
		    sfs_node_seen(se, &sight, st.st_dev, st.st_ino)) {
			seen++;
			wrong += st.st_size != 1;
		}
		sfs_node_forget(se, id, 1);
	}
	atomic_store(&over, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	close(fd);
	close(churn_fd);
	assert_int_equal(wrong, 0);
	assert_true(seen > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_cached_descriptors_are_bounded),
	    T(test_many_cached_descriptors_are_bounded),
	    T(test_descriptor_in_use_is_not_evicted),
	    T(test_nodes_without_handle_keep_theirs),
	    T(test_second_descriptor_is_closed),
	    T_TINY(test_no_room_for_a_nodes_descriptor),
	    T(test_swapped),
	    T(test_swapped_without_room),
	    T(test_held),
	    T(test_held_beside_threads),
	    T(test_seen),
	    T(test_seen_before_a_swap),
	    T(test_seen_before_another_life),
	    T(test_not_seen_before_it_is_known),
	    T(test_seen_is_used),
	    T(test_seen_beside_threads),
	};

	return cmocka_run_group_tests_name("table_fds", tests, NULL, NULL);
}
