/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of nodes under threads: one looks up, one forgets what the first was told, one uses any id it has ever heard
 * of. Afterwards every count is what was looked up less what was forgotten: nothing.
 *
 * 100,000 lookups; 10,000,000 with SPINFS_TEST_FULL=1. Meant for the thread sanitizer, too.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuse_rig.h"

#define KEYS   700
#define INODES 512
#define MARK   1    /* a driver's, of nodes that are seen again without a descriptor */
#define RING   4096 /* ids on their way from the one who looks up to the one who forgets */

struct hammer {
	struct sfs_session *se;
	uint64_t rounds;
	_Atomic uint64_t ring[RING];
	_Atomic uint64_t pushed, popped;
	atomic_bool done;
	_Atomic uint64_t found, again, created, refused, pinned;
};

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* Threads may not fail a test by jumping out of it. */
static void must(bool ok)
{
	if (!ok)
		abort();
}

static struct sfs_node_key key_of(uint64_t ino)
{
	struct sfs_node_key key = {.dev = 1, .ino = 1000 + ino, .btime_ns = ino};

	if (ino % 3) { /* the others keep their descriptor */
		key.handle_bytes = 8;
		memcpy(key.handle, &ino, sizeof(ino));
	}
	return key;
}

static void *look_up(void *arg)
{
	struct hammer *h = arg;
	struct sfs_req *req = calloc(1, sizeof(*req));
	uint64_t rnd = 88172645463325252ull;

	must(req);
	req->session = h->se;
	for (uint64_t i = 0; i < h->rounds; i++) {
		struct sfs_node_key key = key_of(next_random(&rnd) % KEYS);
		int fd = i % 16 == 0 || !key.handle_bytes ? open("/", O_PATH | O_CLOEXEC) : -1;
		struct sfs_node *node;
		bool created;
		uint64_t id;

		while (atomic_load(&h->pushed) - atomic_load(&h->popped) >= RING)
			sched_yield();
		if (rnd % 4 == 0 && sfs_node_again(h->se, &key, MARK, 1, &id)) {
			if (fd >= 0)
				close(fd);
			atomic_store(&h->ring[i % RING], id);
			atomic_fetch_add(&h->again, 1);
			atomic_store(&h->pushed, i + 1);
			continue;
		}
		node = sfs_node_get(req, &key, S_IFREG, fd, 1, &created);
		if (node) {
			must(node->key.ino == key.ino);
			if (rnd % 32 == 0)
				sfs_node_stale(node);
			else if (key.handle_bytes && rnd % 2)
				atomic_fetch_or(&node->flags, MARK);
			atomic_store(&h->ring[i % RING], sfs_node_id(h->se, node));
			atomic_fetch_add(created ? &h->created : &h->found, 1);
		} else {
			if (fd >= 0)
				close(fd);
			atomic_store(&h->ring[i % RING], 0);
			atomic_fetch_add(&h->refused, 1);
		}
		sfs_req_unpin_to(req, (struct sfs_pin_mark){0});
		atomic_store(&h->pushed, i + 1);
	}
	free(req);
	return NULL;
}

static void *forget(void *arg)
{
	struct hammer *h = arg;

	for (uint64_t i = 0; i < h->rounds; i++) {
		while (atomic_load(&h->pushed) <= i)
			sched_yield();
		sfs_node_forget(h->se, atomic_load(&h->ring[i % RING]), 1);
		atomic_store(&h->popped, i + 1);
	}
	atomic_store(&h->done, true);
	return NULL;
}

static void *use(void *arg)
{
	struct hammer *h = arg;
	struct sfs_req *req = calloc(1, sizeof(*req));
	uint64_t rnd = 1;

	must(req);
	req->session = h->se;
	while (!atomic_load(&h->done)) {
		uint64_t id = atomic_load(&h->ring[next_random(&rnd) % RING]);
		struct sfs_node *node = sfs_node_pin(req, id);
		struct sfs_fdent *ent;

		if (node) {
			must(sfs_node_id(h->se, node) == id);
			ent = sfs_node_fd(req, node);
			if (ent)
				must(fcntl(ent->fd, F_GETFD) >= 0);
			atomic_fetch_add(&h->pinned, 1);
		}
		if (rnd % 8 == 0)
			sfs_node_forget(h->se, id | 1ull << 63, 1); /* an id of nobody's */
		sfs_req_unpin_to(req, (struct sfs_pin_mark){0});
	}
	free(req);
	return NULL;
}

static void test_forgets_against_lookups(void **state)
{
	const char *full = getenv("SPINFS_TEST_FULL");
	struct hammer *h = calloc(1, sizeof(*h));
	struct sfs_session_figures fig;
	pthread_t threads[3];
	struct sfs_req *req = calloc(1, sizeof(*req));

	assert_true(h && req);
	rig_start(
	    &(struct rig_opts){.limits = {.inodes = INODES, .handles = 4, .fds = 2 * KEYS, .node_fds = 16}});
	h->se = rig.se;
	h->rounds = full && *full == '1' ? 10000000 : 100000;
	assert_int_equal(pthread_create(&threads[0], NULL, forget, h), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, use, h), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, look_up, h), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);

	/* Nobody counts anything now: every record can be had for another object. */
	req->session = h->se;
	for (unsigned i = 0; i < INODES - 2; i++) {
		struct sfs_node_key key = {.dev = 2, .ino = i + 1, .handle_bytes = 1};
		bool created;

		assert_non_null(sfs_node_get(req, &key, S_IFREG, -1, 1, &created));
		assert_true(created);
		sfs_req_unpin_to(req, (struct sfs_pin_mark){0});
	}
	sfs_session_figures(h->se, &fig);
	assert_int_equal(fig.inodes, INODES - 1);
	assert_int_equal(fig.fds, 0);
	assert_true(h->found && h->again && h->created && h->pinned);
	print_message("%lu found, %lu seen again, %lu made, %lu refused, %lu pinned\n", h->found, h->again,
		      h->created, h->refused, h->pinned);
	rig_stop();
	free(req);
	free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_forgets_against_lookups),
	};

	return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
