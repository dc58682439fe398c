/* SPDX-License-Identifier: BSD-3-Clause */
/* What a guest can name: who keeps what alive, and for how long. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "table_rig.h"

/* --- handles --- */

static uint64_t handle(uint64_t node, int fd)
{
	struct sfs_req *req = req_new();
	uint64_t fh = 0;

	assert_non_null(sfs_handle_open(req, node, fd, O_RDWR, 0, &fh));
	rig_req_end(req);
	return fh;
}

static int release(uint64_t node, uint64_t fh)
{
	struct sfs_req *req = req_new();
	int rc = sfs_handle_release(req, node, fh);

	rig_req_end(req);
	return rc;
}

static void test_release_while_pinned(void **state)
{
	struct sfs_req *read = req_new(), *late = req_new();
	int fd = rig_fd(), other;
	uint64_t fh = handle(5, fd);
	struct sfs_fdent *ent;

	assert_non_null(sfs_handle_pin(read, 5, fh, &ent));
	assert_int_equal(ent->fd, fd);
	assert_int_equal(release(5, fh), 0);
	assert_null(sfs_handle_pin(late, 5, fh, NULL)); /* gone for those who come now */
	assert_int_equal(release(5, fh), -EBADF);
	assert_true(rig_fd_open(fd)); /* there for who has it */
	other = rig_fd();             /* another device's: never the same number */
	assert_int_not_equal(other, fd);
	assert_int_equal(ent->fd, fd);
	assert_int_equal(rig.freed, 0);
	rig_req_end(late);
	rig_req_end(read);
	assert_false(rig_fd_open(fd));
	assert_int_equal(rig.freed, 1);
	assert_int_equal(figures().handles, 0);
	assert_int_equal(figures().fds, 0);
	close(other);
}

static void test_handle_id_is_stale_after_reuse(void **state)
{
	uint64_t old = handle(5, rig_fd()), fresh;
	struct sfs_req *req = req_new();

	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(release(5, old), 0);
		fresh = handle(5, rig_fd());
		assert_int_equal((uint32_t)fresh, (uint32_t)old); /* the same record */
		assert_int_not_equal(fresh, old);
		assert_null(sfs_handle_pin(req, 5, old, NULL));
		assert_int_equal(release(5, old), -EBADF);
		old = fresh;
	}
	assert_int_equal(release(5, old), 0);
	rig_req_end(req);
}

static void test_handle_of_another_node(void **state)
{
	uint64_t fh = handle(5, rig_fd());
	struct sfs_req *req = req_new();

	assert_null(sfs_handle_pin(req, 6, fh, NULL));
	assert_int_equal(release(6, fh), -EBADF);
	assert_non_null(sfs_handle_pin(req, 5, fh, NULL));
	rig_req_end(req);
	assert_int_equal(release(5, fh), 0);
}

static void test_hostile_handles(void **state)
{
	static const uint64_t never[] = {1,          2,          7,          8,          9,    0xffff,
					 UINT32_MAX, 1ull << 32, 1ull << 63, UINT64_MAX, ~7ull};
	struct sfs_req *req = req_new();
	struct sfs_fdent *ent;

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(never); i++) {
		assert_null(sfs_handle_pin(req, 0, never[i], &ent));
		assert_int_equal(sfs_handle_release(req, 0, never[i]), -EBADF);
	}
	assert_null(sfs_handle_pin(req, 0, 0, &ent)); /* not even the first one, before it is there */
	uint64_t fh = handle(0, -1);

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(never); i++)
		assert_null(sfs_handle_pin(req, 0, never[i], &ent));
	assert_non_null(sfs_handle_pin(req, 0, fh, &ent));
	assert_null(ent);
	rig_req_end(req);
	assert_int_equal(release(0, fh), 0);
	assert_null(
	    sfs_handle_pin((req = req_new()), 0, fh, &ent)); /* free, though nobody has used it since */
	rig_req_end(req);
}

static void test_handle_table_full(void **state)
{
	uint64_t fh[2] = {handle(5, -1), handle(5, -1)}, none;
	struct sfs_req *req = req_new();
	int fd = rig_fd();

	assert_null(sfs_handle_open(req, 5, fd, 0, 0, &none));
	assert_true(rig_fd_open(fd)); /* still the caller's */
	assert_int_equal(figures().limit_hits, 1);
	assert_int_equal(release(5, fh[0]), 0);
	assert_non_null(sfs_handle_open(req, 5, fd, 0, 0, &fh[0]));
	rig_req_end(req);
	assert_int_equal(release(5, fh[0]), 0);
	assert_false(rig_fd_open(fd));
	assert_int_equal(release(5, fh[1]), 0);
}

static void test_fd_table_full(void **state)
{
	struct sfs_req *req = req_new();
	struct sfs_fdent *ents[5];
	uint64_t none;
	int fd = rig_fd();

	for (unsigned i = 0; i < 5; i++) { /* limits.fds and node_fds */
		ents[i] = sfs_fd_insert(se, NULL, rig_fd());
		assert_non_null(ents[i]);
	}
	for (unsigned i = 0; i < 10; i++)
		assert_null(sfs_handle_open(req, 5, fd, 0, 0, &none));
	assert_true(rig_fd_open(fd));
	sfs_fd_unlink(se, ents[0]);
	assert_non_null(sfs_handle_open(req, 5, fd, 0, 0, &none)); /* no record was lost by the failures */
	rig_req_end(req);
	assert_int_equal(release(5, none), 0);
	for (unsigned i = 1; i < 5; i++)
		sfs_fd_unlink(se, ents[i]);
	assert_int_equal(figures().fds, 0);
}

static void test_directory_position_has_one_user(void **state)
{
	struct sfs_req *req = req_new();
	struct sfs_handle *h;
	uint64_t fh, epoch;

	h = sfs_handle_open(req, 5, -1, 0, SFS_HANDLE_DIR, &fh);
	assert_true(sfs_handle_trylock(h));
	epoch = sfs_session_epoch(se);
	assert_false(sfs_handle_trylock(h));
	sfs_handle_unlock(se, h);
	assert_int_not_equal(sfs_session_epoch(se), epoch); /* whoever waits looks again */
	assert_true(sfs_handle_trylock(h));
	sfs_handle_unlock(se, h);
	rig_req_end(req);
	assert_int_equal(release(5, fh), 0);
}

/* --- nodes --- */

static void test_forget_while_pinned(void **state)
{
	struct sfs_req *open_req = req_new();
	int fd = rig_fd();
	uint64_t id = lookup(10, false, fd);
	struct sfs_node *node = sfs_node_pin(open_req, id);
	struct sfs_fdent *ent = sfs_node_fd(open_req, node);

	assert_non_null(node);
	assert_int_equal(ent->fd, fd);
	sfs_node_gone(node); /* its last name was removed */
	sfs_node_forget(se, id, 1);
	assert_false(known(id));
	for (uint64_t ino = 100; ino < 200; ino++) { /* whoever needs records now gets others */
		uint64_t other = lookup(ino, true, -1);

		assert_int_not_equal((uint32_t)other, (uint32_t)id);
		sfs_node_forget(se, other, 1);
	}
	assert_true(rig_fd_open(fd));
	assert_int_equal(node->key.ino, 10);
	rig_req_end(open_req);
	assert_false(rig_fd_open(fd));
}

static void test_gone_node_goes_with_its_last_lookup(void **state)
{
	struct sfs_req *req = req_new();
	uint64_t id = lookup(10, false, rig_fd());
	uint64_t before = figures().inodes;

	sfs_node_gone(sfs_node_pin(req, id));
	rig_req_end(req);
	assert_true(known(id));
	sfs_node_forget(se, id, 1);
	assert_int_equal(figures().inodes, before - 1);
	assert_int_equal(figures().fds, 0);
	assert_int_equal(rig.evicted, 1);
}

/* Seen again without a pin: only what holds a descriptor or has the driver's mark, and each time counts. */
static void test_seen_again(void **state)
{
	struct sfs_node_key held_key = key_of(10, false), key = key_of(11, true), partial = key_of(11, false);
	uint64_t held = lookup(10, false, rig_fd()), id = lookup(11, true, -1), got = 0;
	struct sfs_req *req = req_new();
	struct sfs_node *node = sfs_node_pin(req, id);

	assert_true(sfs_node_again(se, &held_key, 0, 1, &got));
	assert_int_equal(got, held);
	assert_false(sfs_node_again(se, &key, 0, 1, &got));
	assert_false(sfs_node_again(se, &key, 1, 1, &got));
	atomic_fetch_or(&node->flags, 1);
	assert_false(sfs_node_again(se, &key, 2, 1, &got));
	assert_true(sfs_node_again(se, &partial, 1, 1, &got));
	assert_int_equal(got, id);
	sfs_node_forget(se, id, 1);
	assert_true(known(id));
	sfs_node_forget(se, id, 1);
	assert_false(known(id));
	assert_true(sfs_node_again(se, &key, 1, 1, &got)); /* back from zero */
	assert_true(known(id));
	sfs_node_forget(se, held, 1);
	assert_true(known(held));
	rig_req_end(req);
}

/* A stale node answers its id for as long as the guest counts it, but its key leads to another. */
static void test_stale_node_is_not_found(void **state)
{
	uint64_t id = lookup(10, true, -1), other, before = figures().inodes;
	struct sfs_req *req = req_new();

	sfs_node_stale(sfs_node_pin(req, id));
	rig_req_end(req);
	other = lookup(10, true, -1);
	assert_int_not_equal(other, id);
	assert_int_equal(lookup(10, true, -1), other);
	assert_true(known(id));
	sfs_node_forget(se, id, 1); /* kept for nobody */
	assert_int_equal(figures().inodes, before);
}

static void test_counts_clamp_and_saturate(void **state)
{
	uint64_t id = lookup(10, true, -1);
	struct sfs_req *req = req_new();
	const struct sfs_node_key key = key_of(10, true);

	assert_int_equal(lookup(10, true, -1), id);
	sfs_node_forget(se, id, 1);
	assert_true(known(id));
	sfs_node_forget(se, id, 0);
	assert_true(known(id));
	sfs_node_forget(se, id, UINT64_MAX); /* more than it has */
	assert_false(known(id));
	sfs_node_forget(se, id, 5);
	assert_int_equal(lookup(10, true, -1), id);
	sfs_node_forget(se, id, 1);
	assert_false(known(id)); /* clamped to zero, not below */

	assert_non_null(sfs_node_find(req, &key, UINT64_MAX));
	assert_non_null(sfs_node_find(req, &key, 2));
	sfs_node_forget(se, id, 3); /* a count that was lost is never trusted again */
	sfs_node_forget(se, id, UINT64_MAX - 1);
	assert_true(known(id));
	rig_req_end(req);
}

static void test_node_id_is_stale_after_reuse(void **state)
{
	uint64_t old = lookup(10, true, -1), fresh;

	for (uint64_t ino = 20; ino < 30; ino++) {
		uint64_t keep = lookup(1000, true, -1); /* the table is full */

		assert_int_not_equal(keep, 0);
		sfs_node_forget(se, old, 1);
		fresh = lookup(ino, true, -1);
		assert_int_equal((uint32_t)fresh, (uint32_t)old);
		assert_int_not_equal(fresh, old);
		assert_false(known(old));
		sfs_node_forget(se, old, 1); /* nobody's count */
		assert_true(known(fresh));
		old = fresh;
	}
}

static void test_hostile_nodeids(void **state)
{
	static const uint64_t never[] = {0,          2,
					 3,          63,
					 64,         65,
					 1ull << 31, UINT32_MAX,
					 1ull << 32, (1ull << 32) + 1,
					 1ull << 63, UINT64_MAX,
					 ~63ull,     (7ull << 32) + 2};

	assert_true(known(SFS_ROOT_ID));
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(never); i++) {
		assert_false(known(never[i]));
		sfs_node_forget(se, never[i], 1);
		sfs_node_forget(se, never[i], UINT64_MAX);
	}
	for (unsigned i = 0; i < 3; i++)
		sfs_node_forget(se, SFS_ROOT_ID, UINT64_MAX);
	assert_true(known(SFS_ROOT_ID));
	assert_int_equal(lookup(10, true, -1), 2);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(never); i++)
		assert_int_equal(known(never[i]), never[i] == 2);
}

static void test_forgotten_node_is_found_again(void **state)
{
	struct sfs_req *req = req_new();
	const struct sfs_node_key key = key_of(10, true);
	uint64_t id = lookup(10, true, -1);
	struct sfs_node *node;
	bool created;

	sfs_node_forget(se, id, 1);
	node = sfs_node_get(req, &key, S_IFREG, -1, 1, &created);
	assert_false(created);
	assert_int_equal(sfs_node_id(se, node), id);
	assert_true(known(id));
	rig_req_end(req);
}

/* A reused inode number is another object: by birth time or by handle. */
static void test_same_number_other_object(void **state)
{
	uint64_t a = lookup(10, true, -1), b, c;
	struct sfs_node_key key = key_of(10, true);
	struct sfs_req *req = req_new();
	bool created;

	key.btime_ns++;
	b = sfs_node_id(se, sfs_node_get(req, &key, S_IFREG, -1, 1, &created));
	assert_true(created);
	key = key_of(10, true);
	key.handle[0]++;
	c = sfs_node_id(se, sfs_node_get(req, &key, S_IFREG, -1, 1, &created));
	assert_true(created);
	assert_true(a != b && b != c && a != c);
	key = key_of(10, false); /* no handle known: the numbers decide */
	key.btime_ns++;
	assert_int_equal(sfs_node_id(se, sfs_node_get(req, &key, S_IFREG, -1, 1, &created)), b);
	rig_req_end(req);
}

/* Files that are made and removed over and over get the same few numbers: what was there before leaves nothing behind. */
static void test_number_used_again_and_again(void **state)
{
	uint64_t before = figures().inodes;

	for (uint64_t round = 1; round <= 40; round++) {
		struct sfs_node_key key = {.dev = 1, .ino = 7, .btime_ns = round, .handle_bytes = 8};
		struct sfs_req *req = req_new();
		struct sfs_node *node;
		bool created;
		uint64_t id;

		memcpy(key.handle, &round, sizeof(round));
		node = sfs_node_get(req, &key, S_IFREG, -1, 1, &created);
		assert_true(node && created);
		id = sfs_node_id(se, node);
		rig_req_end(req);
		/* A guest that still knows it keeps it. */
		if (round == 20)
			continue;
		sfs_node_forget(se, id, 1);
		assert_false(known(id));
		assert_int_equal(figures().inodes - before, round < 20 ? 1 : 2);
	}
}

/*
 * The same by a guest that forgets nothing: all stay known, none makes the way to the others longer. The bucket is walked as whoever looks for a key
 * walks it.
 */
static void test_number_used_again_and_never_forgotten(void **state)
{
	enum { ROUNDS = 60 };
	struct sfs_node_key key = {.dev = 1, .ino = 7, .handle_bytes = 8};
	uint64_t ids[ROUNDS], before = figures().inodes;
	unsigned longest = 0;
	bool created;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct sfs_req *req = req_new();
		struct sfs_node *node;
		unsigned n = 0;

		key.btime_ns = round + 1;
		memcpy(key.handle, &key.btime_ns, sizeof(key.btime_ns));
		node = sfs_node_get(req, &key, S_IFREG, -1, 1, &created);
		assert_true(node && created);
		ids[round] = sfs_node_id(se, node);
		for (uint32_t at = se->buckets[node->bucket]; at; at = se->nodes[at - 1].hash_next)
			n++;
		longest = SFS_MAX(longest, n);
		/* The newest are found by what they are. */
		assert_ptr_equal(sfs_node_find(req, &key, 0), node);
		rig_req_end(req);
	}
	assert_in_range(longest, 2, 16);
	for (unsigned round = 0; round < ROUNDS; round++) {
		assert_true(known(ids[round]));
		sfs_node_forget(se, ids[round], 1);
		assert_false(known(ids[round]));
	}
	assert_in_range(figures().inodes - before, 0, longest);
}

static void test_node_table_full(void **state)
{
	uint64_t id[2] = {lookup(10, true, -1), lookup(11, true, -1)};
	int fd = rig_fd();

	assert_int_equal(lookup(12, true, fd), 0);
	assert_true(rig_fd_open(fd));
	assert_int_equal(figures().limit_hits, 1);
	assert_int_equal(lookup(11, true, -1), id[1]); /* known ones need no record */
	sfs_node_forget(se, id[0], 1);
	assert_int_not_equal(lookup(12, true, fd), 0);
	assert_int_equal(rig.evicted, 1);
	assert_true(known(id[1]));
	assert_int_equal(figures().inodes, 3);
}

/* What the guest forgets makes room at once, however far a search for it would have to go. */
static void test_large_table_full(void **state)
{
	const uint32_t inodes = 40000;
	struct sfs_req *req = req_new();
	uint64_t id, first, pinned;

	rig_stop();
	begin(inodes, 8, 16, 4);
	req->session = se;
	first = lookup(1, true, -1);
	pinned = lookup(2, true, -1);
	for (uint32_t i = 3; i < inodes - 1; i++)
		assert_int_not_equal(lookup(i, true, -1), 0);
	assert_int_equal(lookup(inodes, true, -1), 0);
	assert_non_null(sfs_node_pin(req, pinned));
	for (uint64_t ino = inodes; ino < inodes + 50; ino++) {
		sfs_node_forget(se, first, 1);
		id = lookup(ino, true, -1);
		assert_int_equal((uint32_t)id, (uint32_t)first);
		assert_int_equal(lookup(1, true, -1), 0);
		first = id;
	}
	sfs_node_forget(se, pinned, 1);
	assert_int_equal(lookup(1, true, -1), 0);
	sfs_req_unpin_to(req, (struct sfs_pin_mark){0});
	assert_int_not_equal(lookup(1, true, -1), 0);
	free(req);
}

/* What was forgotten before the table was full makes room, too, wherever it is. */
static void test_forgotten_far_away(void **state)
{
	enum { INODES = 40000, FREED = 1000, FAR = 2000 };
	struct sfs_req *req = req_new();
	uint64_t *ids = calloc(INODES, sizeof(*ids));

	rig_stop();
	begin(INODES, 8, 16, 4);
	req->session = se;
	for (uint32_t i = 0; i < INODES - 2; i++) {
		ids[i] = lookup(1 + i, true, -1);
		assert_int_not_equal(ids[i], 0);
	}
	/* Some are free at once, so that those at the other end stay as nodes that nobody knows. */
	for (uint32_t i = 0; i < FREED; i++) {
		sfs_node_stale(sfs_node_pin(req, ids[i]));
		sfs_req_unpin_to(req, (struct sfs_pin_mark){0});
		sfs_node_forget(se, ids[i], 1);
	}
	for (uint32_t i = INODES - 2 - FAR; i < INODES - 2; i++)
		sfs_node_forget(se, ids[i], 1);
	for (uint32_t i = 0; i < FREED + FAR; i++)
		assert_int_not_equal(lookup(INODES + i, true, -1), 0);
	assert_int_equal(lookup(1, true, -1), 0);
	free(ids);
	free(req);
}

/* The same for what was forgotten while there still were records that nobody had used. */
static void test_forgotten_before_the_table_was_full(void **state)
{
	enum { INODES = 40000, USED = 36000, FAR = 2000 };
	struct sfs_req *req = req_new();
	uint64_t *ids = calloc(USED, sizeof(*ids));

	rig_stop();
	begin(INODES, 8, 16, 4);
	req->session = se;
	for (uint32_t i = 0; i < USED; i++)
		ids[i] = lookup(1 + i, true, -1);
	for (uint32_t i = USED - FAR; i < USED; i++)
		sfs_node_forget(se, ids[i], 1);
	for (uint32_t i = 0; i < INODES - 2 - USED + FAR; i++)
		assert_int_not_equal(lookup(INODES + i, true, -1), 0);
	assert_int_equal(lookup(USED, true, -1), 0);
	free(ids);
	free(req);
}

/* Shared memory of this process, the tables': in bytes. */
static uint64_t tables_bytes(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "re");
	unsigned long long kib = 0;
	char line[128];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Pss_Shmem: %llu kB", &kib) == 1)
			break;
	fclose(f);
	return kib * 1024;
}

/*
 * Nodes cost what their records do, whether there are many or few for the size of the table; those without a handle have the record
 * of a descriptor, too: of one that nobody opened, which is why it can be closed.
 */
static void memory_of_nodes(bool handle)
{
	static const uint32_t counts[] = {2000, 14000, 300000};
	enum { NOBODYS_FD = 1 << 30 };

	for (unsigned i = 0; i < SFS_ARRAY_SIZE(counts); i++) {
		uint64_t before, grown;

		rig_stop();
		begin(4u << 20, 8, 1u << 20, 4);
		before = tables_bytes();
		for (uint32_t n = 0; n < counts[i]; n++)
			assert_int_not_equal(lookup(1000000 + n + n / 10, handle, handle ? -1 : NOBODYS_FD),
					     0);
		grown = tables_bytes() - before;
		print_message("%u nodes: %llu bytes each\n", counts[i],
			      (unsigned long long)(grown / counts[i]));
		assert_true(grown <= counts[i] * 160ull);
	}
}

static void test_memory_of_nodes(void **state)
{
	memory_of_nodes(true);
}

static void test_memory_of_nodes_without_handles(void **state)
{
	memory_of_nodes(false);
}

static void test_pinned_node_is_not_evicted(void **state)
{
	uint64_t a = lookup(10, true, -1), b = lookup(11, true, -1);
	struct sfs_req *req = req_new();
	struct sfs_node *node = sfs_node_pin(req, a);

	sfs_node_forget(se, a, 1);
	assert_int_equal(lookup(12, true, -1), 0); /* all are counted or pinned */
	assert_int_equal(node->key.ino, 10);
	rig_req_end(req);
	assert_int_not_equal(lookup(12, true, -1), 0);
	assert_true(known(b));
}

/* --- guests come and go --- */

static void test_all_is_closed_at_the_end(void **state)
{
	int fds[6] = {rig_fd(), rig_fd(), rig_fd(), rig_fd(), rig_fd(), rig_fd()};
	uint64_t fh = handle(5, fds[0]);

	handle(5, fds[1]);
	lookup(10, true, fds[2]);
	lookup(11, false, fds[3]);
	assert_non_null(sfs_fd_insert(se, NULL, fds[4])); /* not even linked: destroy closes it */
	sfs_session_end(se);
	for (unsigned i = 0; i < 4; i++)
		assert_false(rig_fd_open(fds[i]));
	assert_int_equal(figures().inodes, 0);
	assert_int_equal(figures().handles, 0);
	assert_int_equal(sfs_session_begin(se), 0);
	assert_int_equal(release(5, fh), -EBADF);
	close(fds[5]);
}

static void test_request_that_hangs_over_the_end(void **state)
{
	struct sfs_req *hung = req_new();
	int fd = rig_fd(), node_fd = rig_fd();
	uint64_t fh = handle(5, fd), id = lookup(10, false, node_fd);
	struct sfs_fdent *ent;

	assert_non_null(sfs_handle_pin(hung, 5, fh, &ent));
	assert_non_null(sfs_node_fd(hung, sfs_node_pin(hung, id)));
	sfs_session_end(se);
	assert_int_equal(sfs_session_begin(se), 0);
	assert_false(known(id));
	assert_int_equal(release(5, fh), -EBADF);
	assert_true(rig_fd_open(fd) && rig_fd_open(node_fd));
	assert_int_equal(ent->fd, fd);
	rig_req_end(hung);
	assert_false(rig_fd_open(fd));
}

/* The root is everybody's: what an old guest's request holds of it must not be missing to the next guest. */
static void test_root_pinned_over_the_end(void **state)
{
	struct sfs_req *hung[3] = {req_new(), req_new(), req_new()};

	for (unsigned i = 0; i < 3; i++)
		assert_non_null(sfs_node_pin(hung[i], SFS_ROOT_ID));
	sfs_session_end(se);
	assert_false(known(SFS_ROOT_ID));
	rig_req_end(hung[0]); /* comes back while nobody is there */
	assert_false(known(SFS_ROOT_ID));
	assert_int_equal(sfs_session_begin(se), 0);
	assert_true(known(SFS_ROOT_ID));
	rig_req_end(hung[1]);
	rig_req_end(hung[2]);
	assert_true(known(SFS_ROOT_ID));
	sfs_session_end(se);
	assert_int_equal(sfs_session_begin(se), 0);
	assert_true(known(SFS_ROOT_ID));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_release_while_pinned),
	    T(test_handle_id_is_stale_after_reuse),
	    T(test_handle_of_another_node),
	    T(test_hostile_handles),
	    T_TINY(test_handle_table_full),
	    T_TINY(test_fd_table_full),
	    T(test_directory_position_has_one_user),
	    T(test_forget_while_pinned),
	    T(test_gone_node_goes_with_its_last_lookup),
	    T(test_seen_again),
	    T(test_stale_node_is_not_found),
	    T(test_counts_clamp_and_saturate),
	    T_TINY(test_node_id_is_stale_after_reuse),
	    T(test_hostile_nodeids),
	    T(test_forgotten_node_is_found_again),
	    T(test_same_number_other_object),
	    T(test_number_used_again_and_again),
	    T(test_number_used_again_and_never_forgotten),
	    T_TINY(test_node_table_full),
	    T(test_large_table_full),
	    T(test_forgotten_far_away),
	    T(test_forgotten_before_the_table_was_full),
	    T(test_memory_of_nodes),
	    T(test_memory_of_nodes_without_handles),
	    T_TINY(test_pinned_node_is_not_evicted),
	    T(test_all_is_closed_at_the_end),
	    T(test_request_that_hangs_over_the_end),
	    T(test_root_pinned_over_the_end),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
