/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of node records goes back when the guest has forgotten them, and no id of the guest's ever means another object for it. The
 * session is one with workers, which do the work.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../lib/fuse/session_priv.h"
#include "../lib/shared_kib.h"
#include "fuse_rig.h"

#define COUNT 40000u /* some 5 MiB of records */

struct trimmed {
	struct sfs_workers *workers;
	struct sfs_workers_client *client;
	struct sfs_session *se;
	struct sfs_req *req; /* of the test's thread */
	uint64_t *ids;
};

/*
 * The moment in which the worker takes every free record of a full table, while a lookup looks for one: the test has both wait for
 * each other.
 */
static struct {
	atomic_bool armed; /* until the lookup has looked twice in vain */
	atomic_bool looks; /* it has once, and looks again */
	atomic_bool came;  /* the worker has, to a node that it frees */
	atomic_bool taken; /* some, by the worker */
} duel;

/* The worker stops where it has taken something and not yet put it down. */
enum { HELD_NOT, HELD_WITH_RECORD, HELD_WITH_CHUNK };
static struct {
	_Atomic int where;
	atomic_bool there;
} held;

/* How often a lookup looks at a stack, where nobody else takes and frees anything: a few times. */
#define LOOKS_MAX 16
static __thread unsigned looks;
static bool looks_forever;

static __thread bool looked_in_vain; /* before in the same lookup */
static __thread bool tests_thread;   /* not a worker's */

static void hold(int where)
{
	while (!tests_thread && atomic_load(&held.where) == where) {
		atomic_store(&held.there, true);
		sched_yield();
	}
}

uint32_t __real_free_stack_pop(struct free_stack *s, void *records, size_t record_bytes, size_t next_off);
uint32_t __wrap_free_stack_pop(struct free_stack *s, void *records, size_t record_bytes, size_t next_off);
uint32_t __real_free_stack_take(struct free_stack *s);
uint32_t __wrap_free_stack_take(struct free_stack *s);

/* The worker: others use records for the first time and free them just before it takes those that are free. */
static _Atomic(struct sfs_session *) grows;

static void table_grow(struct sfs_session *se)
{
	for (uint32_t idx; (idx = sfs_high_take(&se->node_high, se->limits.inodes)) != NO_IDX;)
		free_stack_push(&se->node_free, idx, &se->nodes[idx].hash_next);
}

uint32_t __wrap_free_stack_pop(struct free_stack *s, void *records, size_t record_bytes, size_t next_off)
{
	struct sfs_session *se = atomic_load(&grows);
	uint32_t idx;

	if (se)
		table_grow(se);
	if (tests_thread && ++looks > LOOKS_MAX) {
		looks_forever = true;
		atomic_store(&held.where, HELD_NOT);
	}
	if (looked_in_vain && atomic_load(&duel.armed)) {
		atomic_store(&duel.looks, true);
		while (!atomic_load(&duel.taken))
			sched_yield();
		idx = __real_free_stack_pop(s, records, record_bytes, next_off);
		assert_int_equal(idx, NO_IDX);
		atomic_store(&duel.armed, false);
		return idx;
	}
	idx = __real_free_stack_pop(s, records, record_bytes, next_off);
	looked_in_vain = idx == NO_IDX;
	if (idx != NO_IDX)
		hold(HELD_WITH_RECORD);
	return idx;
}

uint32_t __wrap_free_stack_take(struct free_stack *s)
{
	uint32_t first = __real_free_stack_take(s);

	if (first)
		hold(HELD_WITH_CHUNK);
	atomic_store(&duel.taken, true);
	while (atomic_load(&duel.armed))
		sched_yield();
	return first;
}

/* The worker frees nodes: not before the lookup has begun. */
static void evict(struct sfs_session *se, struct sfs_node *node)
{
	if (tests_thread || !atomic_load(&duel.armed))
		return;
	atomic_store(&duel.came, true);
	while (atomic_load(&duel.armed) && !atomic_load(&duel.looks))
		sched_yield();
}

static int begin(void *ctx, struct sfs_session *se)
{
	static const struct sfs_node_key key = {.dev = 1, .ino = UINT64_MAX};

	return sfs_session_root(se, &key, S_IFDIR, -1, 0);
}

static const struct sfs_fs_ops no_fs = {.name = "none", .session_begin = begin, .node_evict = evict};

static int setup(void **state)
{
	static struct trimmed t;
	struct sfs_workers_opts wo = {.count = 2};
	struct sfs_session_opts so = {
	    .fs = &no_fs,
	    .limits = {.inodes = COUNT + 1000, .handles = 4, .fds = 16, .node_fds = 4},
	    .lane_count = 1};

	assert_int_equal(sfs_workers_create(&wo, &t.workers), 0);
	t.client = sfs_workers_client_create(t.workers, 2);
	assert_non_null(t.client);
	so.workers = t.client;
	assert_int_equal(sfs_session_create(&so, &t.se), 0);
	assert_int_equal(sfs_session_begin(t.se), 0);
	t.req = calloc(1, sizeof(*t.req));
	t.ids = calloc(COUNT, sizeof(*t.ids));
	assert_true(t.req && t.ids);
	t.req->session = t.se;
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	struct trimmed *t = *state;

	tests_thread = false;
	atomic_store(&held.where, HELD_NOT);
	atomic_store(&duel.armed, false);
	sfs_session_end(t->se);
	sfs_session_destroy(t->se);
	sfs_workers_client_destroy(t->client);
	assert_int_equal(sfs_workers_destroy(t->workers, SFS_NS_PER_S * 10), 0);
	free(t->req);
	free(t->ids);
	return 0;
}

static struct sfs_node_key key_of(uint64_t ino)
{
	struct sfs_node_key key = {.dev = 1, .ino = ino, .btime_ns = ino, .handle_bytes = 8};

	memcpy(key.handle, &ino, sizeof(ino));
	return key;
}

/* One lookup by a request's thread; the id, 0: there is no room. */
static uint64_t lookup(struct sfs_req *req, uint64_t ino, bool *created)
{
	const struct sfs_node_key key = key_of(ino);
	struct sfs_node *node = sfs_node_get(req, &key, S_IFREG, -1, 1, created);
	uint64_t id = node ? sfs_node_id(req->session, node) : 0;

	looked_in_vain = false;
	looks = 0;
	sfs_req_unpin_to(req, (struct sfs_pin_mark){0});
	return id;
}

static bool known(struct sfs_req *req, uint64_t id, uint64_t ino)
{
	struct sfs_node *node = sfs_node_pin(req, id);
	bool yes = node && node->key.ino == ino;

	/* Never another one's. */
	assert_true(!node || yes);
	sfs_req_unpin_to(req, (struct sfs_pin_mark){0});
	return yes;
}

static void fill(struct trimmed *t, uint64_t first)
{
	bool created;

	for (unsigned i = 0; i < COUNT; i++) {
		t->ids[i] = lookup(t->req, first + i, &created);
		assert_true(t->ids[i] != 0);
	}
}

/* Until memory has gone down to a part of what it was; the worker is the one who does it. */
static void await_kib(unsigned long at_most)
{
	for (unsigned i = 0; test_shared_kib() > at_most; i++) {
		assert_true(i < 100000);
		usleep(100);
	}
}

static void test_memory_returns(void **state)
{
	struct trimmed *t = *state;
	unsigned long empty = test_shared_kib(), full;
	struct sfs_session_figures f;
	uint64_t *before = calloc(COUNT, sizeof(*before));

	for (unsigned round = 0; round < 3; round++) {
		fill(t, 1 + round * COUNT);
		full = test_shared_kib();
		assert_true(full - empty > COUNT * sizeof(struct sfs_node) / 1024);
		for (unsigned i = 0; i < COUNT; i++)
			sfs_node_forget(t->se, t->ids[i], 1);
		await_kib(empty + (full - empty) / 3);
		sfs_session_figures(t->se, &f);
		assert_true(f.inodes < COUNT / 2);
		for (unsigned i = 0; i < COUNT; i++) {
			assert_false(known(t->req, t->ids[i], 1 + round * COUNT + i));
			/* A record that came back has a generation that no id had. */
			assert_false(before[i] && known(t->req, before[i], 0));
			before[i] = t->ids[i];
		}
	}
	free(before);
}

/* What the guest still knows stays where it is. */
static void test_the_known_stay(void **state)
{
	struct trimmed *t = *state;
	unsigned long empty = test_shared_kib(), full;
	bool created;

	fill(t, 1);
	full = test_shared_kib();
	for (unsigned i = 0; i < COUNT; i++)
		if (i % 1000)
			sfs_node_forget(t->se, t->ids[i], 1);
	await_kib(empty + (full - empty) / 2);
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(known(t->req, t->ids[i], i + 1), i % 1000 == 0);
	/* And is found by name again, beside new ones in records that were given back. */
	for (unsigned i = 0; i < COUNT; i++) {
		uint64_t id = lookup(t->req, i + 1, &created);

		/* Some that were forgotten last are still there, and are found by their old id. */
		assert_true(i % 1000 || !created);
		assert_int_equal(id == t->ids[i], !created);
		assert_true(known(t->req, id, i + 1));
	}
}

/* --- looking up and forgetting while memory goes back --- */

struct wave {
	struct trimmed *t;
	pthread_t thread;
	uint64_t first;
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void *wave_main(void *arg)
{
	enum { OWN = COUNT / 2 - 100 };
	struct wave *w = arg;
	struct sfs_req *req = calloc(1, sizeof(*req));
	uint64_t *ids = calloc(OWN, sizeof(*ids));
	bool created;

	must(req && ids);
	req->session = w->t->se;
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < OWN; i++) {
			ids[i] = lookup(req, w->first + i, &created);
			must(ids[i] != 0);
		}
		for (unsigned i = 0; i < OWN; i++) {
			struct sfs_node *node = sfs_node_pin(req, ids[i]);

			must(node && node->key.ino == w->first + i);
			sfs_req_unpin_to(req, (struct sfs_pin_mark){0});
			sfs_node_forget(w->t->se, ids[i], 1);
		}
	}
	free(ids);
	free(req);
	return NULL;
}

static void test_waves(void **state)
{
	struct trimmed *t = *state;
	struct wave w[2] = {{.t = t, .first = 1}, {.t = t, .first = 10000000}};
	struct sfs_session_figures f;
	unsigned long empty = test_shared_kib();

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&w[i].thread, NULL, wave_main, &w[i]), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(w[i].thread, NULL);
	await_kib(empty + COUNT * sizeof(struct sfs_node) / 1024);
	/* Every record can be had again. */
	fill(t, 20000000);
	sfs_session_figures(t->se, &f);
	assert_true(f.inodes >= COUNT);
	for (unsigned i = 0; i < COUNT; i++)
		assert_true(known(t->req, t->ids[i], 20000000 + i));
}

/* Every record of the table was used, and the guest knows them all. */
static void use_all(struct trimmed *t)
{
	bool created;

	for (unsigned i = 0; atomic_load(&t->se->node_high) < t->se->node_cap; i++) {
		uint64_t id = lookup(t->req, 1 + i, &created);

		assert_true(id != 0);
		if (i < COUNT)
			t->ids[i] = id;
	}
}

/*
 * A search that began before the worker took what is free finds room. A lookup sweeps a few records itself: those after the one that the
 * worker has come to, which the guest still knows.
 */
static void test_worker_has_all(void **state)
{
	enum { KNOWN = 500, FORGOTTEN = 4000 };
	struct trimmed *t = *state;
	bool created;

	use_all(t);
	atomic_store(&t->se->node_hand, 0);
	atomic_store(&duel.taken, false);
	atomic_store(&duel.armed, true);
	tests_thread = true;
	/* Of a full table the first node that is forgotten goes at once. */
	sfs_node_forget(t->se, t->ids[FORGOTTEN], 1);
	sfs_node_forget(t->se, t->ids[0], 1);
	for (unsigned i = KNOWN; i < FORGOTTEN - 1; i++)
		sfs_node_forget(t->se, t->ids[i], 1);
	atomic_store(&t->se->trim.live, UINT32_MAX - 1); /* so that the worker comes for as few */
	sfs_node_forget(t->se, t->ids[FORGOTTEN - 1], 1);
	while (!atomic_load(&duel.came))
		sched_yield();
	assert_true(lookup(t->req, 20000000, &created) != 0);
	assert_true(lookup(t->req, 20000001, &created) != 0);
	assert_true(created);
	assert_true(atomic_load(&duel.taken));
	assert_false(atomic_load(&duel.armed));
}

/* New nodes until the guest is told that there is no room: no lookup waits for the worker. How many. */
static unsigned fill_up(struct trimmed *t, uint64_t first)
{
	unsigned count = 0;
	bool created;

	tests_thread = true;
	while (lookup(t->req, first + count, &created)) {
		assert_true(created);
		count++;
	}
	assert_false(looks_forever);
	tests_thread = false;
	return count;
}

/* A worker that is stopped at the worst moment, for good, keeps nobody waiting, and nothing of what the guest may have. */
static void stopped_worker(struct trimmed *t, int where)
{
	enum { FORGOTTEN = 20000 };
	struct sfs_session_figures f;
	unsigned count;

	use_all(t);
	atomic_store(&held.there, false);
	atomic_store(&held.where, where);
	for (unsigned i = 0; i < FORGOTTEN; i++)
		sfs_node_forget(t->se, t->ids[i], 1);
	atomic_store(&t->se->trim.live, UINT32_MAX - 1);
	sfs_node_forget(t->se, t->ids[FORGOTTEN], 1);
	while (!atomic_load(&held.there))
		sched_yield();
	count = fill_up(t, 20000000);
	assert_int_equal(atomic_load(&held.where), where);
	assert_true(count <= FORGOTTEN);
	sfs_session_figures(t->se, &f);
	assert_true(f.inodes >= t->se->limits.inodes - 1); /* the first record is no node's */
	/* What it had in hand is there in the end, and not more. */
	atomic_store(&held.where, HELD_NOT);
	while (atomic_load(&t->se->trim.busy))
		sched_yield();
	assert_int_equal(count + fill_up(t, 30000000), FORGOTTEN + 1);
}

static void test_stopped_with_chunk(void **state)
{
	stopped_worker(*state, HELD_WITH_CHUNK);
}

static void test_stopped_with_record(void **state)
{
	stopped_worker(*state, HELD_WITH_RECORD);
}

/* The records that the worker moves are more than were ever used when it began. */
static void test_table_grows_meanwhile(void **state)
{
	enum { FEW = COUNT / 4 };
	struct trimmed *t = *state;
	unsigned long empty = test_shared_kib();
	bool created;

	for (unsigned i = 0; i < FEW; i++)
		t->ids[i] = lookup(t->req, 1 + i, &created);
	atomic_store(&grows, t->se);
	for (unsigned i = 0; i < FEW; i++)
		sfs_node_forget(t->se, t->ids[i], 1);
	await_kib(empty + FEW * sizeof(struct sfs_node) / 1024 / 2);
	atomic_store(&grows, NULL);
	assert_int_equal(atomic_load(&t->se->node_high), t->se->limits.inodes);
	fill(t, 1);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_memory_returns),     T(test_the_known_stay),        T(test_waves),
	    T(test_worker_has_all),     T(test_table_grows_meanwhile), T(test_stopped_with_chunk),
	    T(test_stopped_with_record)};

	return cmocka_run_group_tests_name("trim", tests, NULL, NULL);
}
