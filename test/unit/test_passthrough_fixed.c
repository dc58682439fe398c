/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files that io_uring holds open beside their descriptors: who is released last is gone at the group's next turn, and no
 * other file is ever read in its place.
 */
#include "pt_rig.h"
#include "sfs_aio_engines.h"

#define ROOT  SFS_ROOT_ID
#define FILES 8
#define OFTEN 40 /* reads after which io_uring has registered a file */

/* Whether nobody has the file open for writing: a lease for reading is to be had. */
static bool let_go(struct rig *r, const char *name)
{
	int fd = openat(r->dir, name, O_RDONLY | O_CLOEXEC);
	bool got;

	assert_true(fd >= 0);
	got = fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
	close(fd);
	return got;
}

static void until_let_go(struct rig *r, const char *name)
{
	uint64_t end = sfs_now_ns() + 20 * SFS_NS_PER_S;

	/* The kernel may take a moment after the ring's update. */
	while (!let_go(r, name)) {
		assert_true(sfs_now_ns() < end);
		usleep(1000);
	}
}

static struct sfs_group group; /* of lane 1 */

/* A share whose reads all go through the ring of lane 1's group; false: not on this kernel. */
static bool fixed_begin(struct rig *r, struct fc *c)
{
	struct sfs_group_opts go = {.idx = 1, .engine = &sfs_aio_uring};
	char name[2] = "a", text[4096];

	if (sfs_aio_probe(&sfs_aio_uring) < 0)
		return false;
	r->engine = &sfs_aio_uring;
	for (; name[0] < 'a' + FILES; name[0]++) {
		memset(text, name[0], sizeof(text) - 1);
		text[sizeof(text) - 1] = 0;
		rig_file(r, name, text);
	}
	rig_start(r, "");
	go.session = r->g.se;
	go.workers = r->g.client;
	assert_int_equal(sfs_group_init(&group, &go), 0);
	group.aio.cached_min = group.requests = 1;
	sfs_group_join(&group);
	r->g.lanes[1].group = &group;
	sfs_session_lane_join(r->g.se, 1);
	fc_init(c, &r->g, 1);
	return true;
}

static void fixed_end(struct rig *r, struct fc *c)
{
	fc_fini(c);
	sfs_lane_leave(&r->g.lanes[1]);
	sfs_group_leave(&group);
	sfs_group_fini(&group);
}

static void read_often(struct rig *r, struct fc *c, const char *name, uint64_t *node, uint64_t *fh)
{
	char text[4095], want[4095];

	memset(want, name[0], sizeof(want));
	*node = rig_node(r, ROOT, name);
	assert_int_equal(fc_open(c, *node, O_RDWR, fh), 0);
	for (unsigned i = 0; i < OFTEN; i++) {
		assert_int_equal(fc_read(c, *node, *fh, 0, text, sizeof(text)), sizeof(text));
		assert_memory_equal(text, want, sizeof(want));
	}
	assert_false(let_go(r, name));
}

/* One after the other, so that each has the number and the place of the one before. */
static void test_fixed_files_one_after_another(void **state)
{
	struct rig *r = *state;
	uint64_t node, fh;
	struct fc c;

	if (!fixed_begin(r, &c))
		skip();
	for (unsigned i = 0; i < 4 * FILES; i++) {
		const char name[2] = {(char)('a' + i % FILES)};

		read_often(r, &c, name, &node, &fh);
		assert_int_equal(fc_release(&c, node, fh), 0);
		fg_turn(&r->g, 1);
		until_let_go(r, name);
	}
	fixed_end(r, &c);
}

/* Released elsewhere: the group whose ring holds the file lets go at its next turn, and nobody else can before. */
static void test_fixed_files_other_group(void **state)
{
	struct rig *r = *state;
	uint64_t node[FILES], fh[FILES];
	struct sfs_session_figures fig;
	struct fc c;

	if (!fixed_begin(r, &c))
		skip();
	for (unsigned i = 0; i < FILES; i++)
		read_often(r, &c, (const char[2]){(char)('a' + i)}, &node[i], &fh[i]);
	for (unsigned i = 0; i < FILES; i++)
		assert_int_equal(fc_release(&r->c, node[i], fh[i]), 0);
	assert_true(sfs_group_has_work(&group));
	fg_turn(&r->g, 1);
	assert_false(sfs_group_has_work(&group));
	for (unsigned i = 0; i < FILES; i++)
		until_let_go(r, (const char[2]){(char)('a' + i)});
	sfs_session_figures(r->g.se, &fig);
	assert_int_equal(fig.handles, 0);
	fixed_end(r, &c);
}

/* A group that leaves holds nothing, and what is released after it waits for nobody. */
static void test_fixed_files_group_leaves(void **state)
{
	struct rig *r = *state;
	uint64_t node[2], fh[2];
	struct fc c;

	if (!fixed_begin(r, &c))
		skip();
	read_often(r, &c, "a", &node[0], &fh[0]);
	read_often(r, &c, "b", &node[1], &fh[1]);
	assert_int_equal(fc_release(&r->c, node[0], fh[0]), 0); /* waits for a turn that does not come */
	sfs_group_leave(&group);
	until_let_go(r, "a");
	assert_int_equal(fc_release(&r->c, node[1], fh[1]), 0);
	until_let_go(r, "b");
	/* And one that comes back holds files again. */
	sfs_group_join(&group);
	read_often(r, &c, "c", &node[0], &fh[0]);
	assert_int_equal(fc_release(&c, node[0], fh[0]), 0);
	fg_turn(&r->g, 1);
	until_let_go(r, "c");
	fixed_end(r, &c);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_fixed_files_one_after_another),
	    T(test_fixed_files_other_group),
	    T(test_fixed_files_group_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
