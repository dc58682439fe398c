/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The passthrough driver with many names: few descriptors, changes by the host, deep paths, long listings.
 * With SPINFS_TEST_FULL=1 a million each.
 */
#include <sys/resource.h>

#include "../lib/shared_kib.h"
#include "pt_rig.h"

#define ROOT    SFS_ROOT_ID
#define PER_DIR 1000u
#define SEED    12345u

static unsigned scale(unsigned quick, unsigned full)
{
	const char *env = getenv("SPINFS_TEST_FULL");

	return env && strcmp(env, "1") == 0 ? full : quick;
}

static uint32_t next_random(uint32_t *state, uint32_t limit)
{
	*state = *state * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)*state * limit) >> 32);
}

static void shuffle(uint32_t *order, unsigned count)
{
	uint32_t state = SEED;

	for (unsigned i = 0; i < count; i++)
		order[i] = i;
	for (unsigned i = count; i-- > 1;) {
		uint32_t j = next_random(&state, i + 1), x = order[i];

		order[i] = order[j];
		order[j] = x;
	}
}

static void name_of(char name[32], unsigned i, bool moved)
{
	snprintf(name, 32, "d%u/%c%u", i / PER_DIR, moved ? 'm' : 'f', i);
}

static void make_files(struct rig *r, unsigned count)
{
	char name[32];

	for (unsigned i = 0; i < count; i++) {
		if (i % PER_DIR == 0) {
			snprintf(name, sizeof(name), "d%u", i / PER_DIR);
			assert_int_equal(mkdirat(r->dir, name, 0755), 0);
		}
		name_of(name, i, false);
		rig_file(r, name, name);
	}
}

static void lookup_all(struct rig *r, unsigned count, uint64_t *nodes)
{
	struct fuse_entry_out e;
	uint64_t dir = 0;
	char name[32];

	for (unsigned i = 0; i < count; i++) {
		name_of(name, i, false);
		if (i % PER_DIR == 0) {
			*strchr(name, '/') = 0;
			dir = rig_node(r, ROOT, name);
			name_of(name, i, false);
		}
		assert_int_equal(fc_lookup(&r->c, dir, strchr(name, '/') + 1, &e), 0);
		nodes[i] = e.nodeid;
	}
}

/* Every tenth: half of these go, half get another name. */
static void disturb(struct rig *r, unsigned count)
{
	char name[32], moved[32];

	for (unsigned i = 0; i < count; i += 10) {
		name_of(name, i, false);
		name_of(moved, i, true);
		if (i % 20 == 0)
			assert_int_equal(unlinkat(r->dir, name, 0), 0);
		else
			assert_int_equal(renameat(r->dir, name, r->dir, moved), 0);
	}
}

static void use_all(struct rig *r, unsigned count, const uint64_t *nodes, const uint32_t *order)
{
	char name[32], text[64];

	for (unsigned n = 0; n < count; n++) {
		uint32_t i = order[n];
		int rc = rig_cat(r, nodes[i], text, sizeof(text));

		name_of(name, i, false);
		if (i % 20 == 0 && rc == -ESTALE)
			continue;
		assert_int_equal(rc, 0);
		assert_string_equal(text, name);
	}
}

static void forget_all(struct rig *r, unsigned count, const uint64_t *nodes, const uint32_t *order)
{
	for (unsigned n = 0; n < count; n++)
		fc_forget(&r->c, nodes[order[n]], 1);
}

static void test_many_names(void **state)
{
	const unsigned count = scale(20000, 1000000);
	const struct sfs_session_limits limits = {
	    .inodes = count + count / PER_DIR + 16, .handles = 64, .fds = 64, .node_fds = 32};
	struct rlimit old, few = {256, 256};
	uint32_t *order = calloc(count, sizeof(*order));
	uint64_t *nodes = calloc(count, sizeof(*nodes));
	struct sfs_session_figures fig;
	struct rig *r = *state;
	unsigned long empty, full;

	make_files(r, count);
	shuffle(order, count);
	getrlimit(RLIMIT_NOFILE, &old);
	few.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	rig_start_with(r, ", \"inode_fds_max\": 32", RIG_FLAGS_ALL, &limits);
	empty = test_shared_kib();
	for (unsigned round = 0; round < 2; round++) {
		if (round == 0)
			lookup_all(r, count, nodes);
		full = test_shared_kib();
		assert_true(full - empty > count / 1024 * sizeof(struct sfs_node));
		if (round == 0)
			disturb(r, count);
		use_all(r, count, nodes, order);
		forget_all(r, count, nodes, order);
		/* Ids that were given back mean nothing any more. */
		for (unsigned i = 0; i < 100; i++)
			assert_int_equal(fc_getattr(&r->c, nodes[order[i]], NULL), -ESTALE);
		/* A worker gives the memory back, but for what shares its pages with the directories: wait
		 * for it. */
		for (unsigned i = 0; test_shared_kib() - empty > (full - empty) / 3; i++) {
			assert_true(i < 100000);
			usleep(100);
		}
		sfs_session_figures(r->g.se, &fig);
		assert_true(fig.inodes < count / 4);
		if (round == 0) {
			/* All of it again, in records that were given back. */
			uint64_t was = nodes[1];
			char name[32];

			for (unsigned i = 0; i < count; i += 20) {
				name_of(name, i, false);
				rig_file(r, name, name);
				name_of(name, i + 10, false);
				if (i + 10 < count)
					rig_file(r, name, name);
			}
			lookup_all(r, count, nodes);
			for (unsigned i = 0; i < count; i++)
				assert_true(nodes[i] != was);
		}
	}
	rig_stop(r);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	free(order);
	free(nodes);
}

static void test_deep_path(void **state)
{
	const unsigned depth = 5000;
	struct rig *r = *state;
	uint64_t node = ROOT;
	char text[16];
	int at, next;

	assert_int_equal(mkdirat(r->dir, "d", 0755), 0);
	at = openat(r->dir, "d", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 1; i < depth; i++) {
		assert_int_equal(mkdirat(at, "d", 0755), 0);
		next = openat(at, "d", O_PATH | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	next = openat(at, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	assert_int_equal(write(next, "deep", 4), 4);
	close(next);
	close(at);
	rig_start(r, ", \"inode_fds_max\": 64");
	for (unsigned i = 0; i < depth; i++)
		node = rig_node(r, node, "d");
	assert_int_equal(rig_cat(r, rig_node(r, node, "f"), text, sizeof(text)), 0);
	assert_string_equal(text, "deep");
	/* And all the way up again. */
	assert_int_equal(fc_unlink(&r->c, node, "f"), 0);
	for (unsigned i = 0; i < 20; i++)
		node = rig_node(r, node, "..");
	assert_int_equal(fc_mkdir(&r->c, node, "beside", 0755, NULL), 0);
	assert_int_equal(fc_rmdir(&r->c, node, "beside"), 0);
	rig_stop(r);
	/* No path is long enough to remove it by. */
	for (unsigned i = 1; i < depth; i++) {
		assert_int_equal(renameat(r->dir, "d/d", r->dir, "e"), 0);
		assert_int_equal(unlinkat(r->dir, "d", AT_REMOVEDIR), 0);
		assert_int_equal(renameat(r->dir, "e", r->dir, "d"), 0);
	}
}

/* --- listings --- */

struct listing {
	struct rig *r;
	uint8_t *seen;
	uint64_t *offs; /* after which entry `then` came */
	uint32_t *then;
	unsigned count, noted;
	uint64_t last, prev;
	bool disturb;
	unsigned entries;
};

static bool number_of(const struct fuse_dirent *d, unsigned *number)
{
	char name[32] = "";

	memcpy(name, d->name, SFS_MIN(d->namelen, 31u));
	return sscanf(name, "f%u", number) == 1;
}

static void list_entry(void *arg, const struct fuse_dirent *d, const struct fuse_entry_out *e)
{
	struct listing *l = arg;
	unsigned n;

	l->prev = l->last;
	l->last = d->off;
	l->entries++;
	if (!number_of(d, &n))
		return;
	assert_true(n < l->count);
	if (l->seen[n]++)
		fail_msg("f%u is listed twice", n);
	if (l->prev && n % 97 == 0 && l->noted < 1000) {
		l->offs[l->noted] = l->prev;
		l->then[l->noted++] = n;
	}
}

static void list_first(void *arg, const struct fuse_dirent *d, const struct fuse_entry_out *e)
{
	struct listing *l = arg;

	if (l->entries++ == 0 && !number_of(d, &l->noted))
		l->noted = UINT32_MAX;
}

static void test_long_listing(void **state)
{
	const unsigned count = scale(20000, 1000000);
	struct rig *r = *state;
	struct listing l = {
	    .r = r, .count = count, .seen = calloc(count, 1), .offs = calloc(1000, sizeof(*l.offs))};
	uint32_t random = SEED;
	char name[32];
	uint64_t fh;
	int rc;

	l.then = calloc(1000, sizeof(*l.then));
	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		close(openat(r->dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	}
	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "gone%u", i);
		close(openat(r->dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	}
	rig_start(r, "");
	assert_int_equal(fc_opendir(&r->c, ROOT, &fh), 0);
	for (unsigned i = 0;; i++) {
		rc = fc_readdir(&r->c, ROOT, fh, l.last, 32768, false, list_entry, &l);
		assert_true(rc >= 0);
		if (rc == 0)
			break;
		snprintf(name, sizeof(name), "gone%u", i);
		unlinkat(r->dir, name, 0);
		snprintf(name, sizeof(name), "came%u", i);
		close(openat(r->dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	}
	for (unsigned i = 0; i < count; i++)
		if (l.seen[i] != 1)
			fail_msg("f%u is not listed", i);
	/* From anywhere, in any order, through another handle, too. */
	assert_int_equal(fc_releasedir(&r->c, ROOT, fh), 0);
	assert_int_equal(fc_opendir(&r->c, ROOT, &fh), 0);
	for (unsigned i = 0; i < 200; i++) {
		unsigned at = next_random(&random, l.noted);
		struct listing first = {.noted = 0};

		rc = fc_readdir(&r->c, ROOT, fh, l.offs[at], 4096, i % 2, list_first, &first);
		assert_true(rc > 0);
		/* Something that came meanwhile may stand before it. */
		if (first.noted != UINT32_MAX)
			assert_int_equal(first.noted, l.then[at]);
	}
	free(l.seen);
	free(l.offs);
	free(l.then);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_many_names, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_deep_path, rig_setup, rig_teardown),
	    cmocka_unit_test_setup_teardown(test_long_listing, rig_setup, rig_teardown),
	};

	return cmocka_run_group_tests_name("passthrough_scale", tests, NULL, NULL);
}
