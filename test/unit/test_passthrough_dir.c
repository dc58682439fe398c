/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The passthrough driver: directories, limits, mounts, and several threads at once.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "pt_rig.h"

#define ROOT SFS_ROOT_ID

/* --- directories --- */

#define ENTRIES 700

struct listing {
	struct rig *r;
	unsigned count, nodes;
	uint64_t last_off;
	uint64_t offs[ENTRIES + 16];
	char names[ENTRIES + 16][16];
	uint64_t nodeids[ENTRIES + 16];
	bool check_ino;
};

static void list_one(void *arg, const struct fuse_dirent *d, const struct fuse_entry_out *e)
{
	struct listing *l = arg;
	char *name = l->names[l->count];

	assert_true(l->count < SFS_ARRAY_SIZE(l->names) && d->namelen < sizeof(l->names[0]));
	memcpy(name, d->name, d->namelen);
	name[d->namelen] = 0;
	l->offs[l->count] = d->off;
	l->nodeids[l->count] = e ? e->nodeid : 0;
	if (e && e->nodeid) {
		l->nodes++;
		assert_int_equal(e->attr.ino, d->ino);
		assert_int_equal(e->attr.mode & S_IFMT, d->type << 12);
	}
	if (l->check_ino && strcmp(name, "..") != 0)
		assert_int_equal(d->ino, rig_stat(l->r, name).st_ino);
	l->last_off = d->off;
	l->count++;
}

/* Lists from @off to the end, @bytes at a time. */
static void list_all(struct rig *r, uint64_t fh, uint64_t off, uint32_t bytes, bool plus, struct listing *l)
{
	l->last_off = off;
	for (;;) {
		int n = fc_readdir(&r->c, ROOT, fh, l->last_off, bytes, plus, list_one, l);

		assert_true(n >= 0);
		if (n == 0)
			return;
	}
}

static void fill_dir(struct rig *r)
{
	char name[16];

	for (int i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "entry%d", i);
		rig_file(r, name, "");
	}
}

/* Each name once. */
static void check_listing(const struct listing *l)
{
	static bool seen[ENTRIES];
	unsigned dots = 0;

	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < l->count; i++) {
		int k;

		if (l->names[i][0] == '.') {
			dots++;
			continue;
		}
		assert_int_equal(sscanf(l->names[i], "entry%d", &k), 1);
		assert_false(seen[k]);
		seen[k] = true;
	}
	assert_int_equal(dots, 2);
	assert_int_equal(l->count, ENTRIES + 2);
}

static void test_readdir(void **state)
{
	static const uint32_t sizes[] = {300, 1000, 4096, 65536, 1000000};
	struct rig *r = *state;
	struct listing *l = calloc(2, sizeof(*l));
	uint64_t fh;

	fill_dir(r);
	rig_start(r, "");
	assert_int_equal(fc_opendir(&r->c, ROOT, &fh), 0);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(sizes); i++) {
		memset(l, 0, sizeof(*l));
		l->r = r;
		l->check_ino = i == 0;
		list_all(r, fh, 0, sizes[i], false, l);
		check_listing(l);
	}
	/* From anywhere in the middle, in any order, the rest is the same. */
	for (unsigned i = ENTRIES; i > 0; i -= i > 97 ? 97 : i) {
		memset(&l[1], 0, sizeof(l[1]));
		list_all(r, fh, l->offs[i - 1], 1000, false, &l[1]);
		assert_int_equal(l[1].count, l->count - i);
		for (unsigned k = 0; k < l[1].count; k++)
			assert_string_equal(l[1].names[k], l->names[i + k]);
	}
	assert_int_equal(fc_readdir(&r->c, ROOT, fh, 0, 20, false, NULL, NULL), -EINVAL);
	assert_int_equal(fc_releasedir(&r->c, ROOT, fh), 0);
	assert_int_equal(fc_readdir(&r->c, ROOT, fh, 0, 4096, false, NULL, NULL), -EBADF);
	free(l);
}

/* One lookup for each entry that was delivered, none for the dots and for what did not fit. */
static void readdirplus_counts(struct rig *r, const char *options)
{
	struct listing *l = calloc(1, sizeof(*l));
	struct sfs_session_figures fig;
	uint64_t fh;

	rig_start(r, options);
	l->r = r;
	assert_int_equal(fc_opendir(&r->c, ROOT, &fh), 0);
	assert_true(fc_readdir(&r->c, ROOT, fh, 0, 3000, true, list_one, l) > 5);
	sfs_session_figures(r->g.se, &fig);
	assert_int_equal(fig.inodes, l->nodes + 1);
	list_all(r, fh, l->last_off, 3000, true, l);
	check_listing(l);
	assert_int_equal(l->nodes, ENTRIES);
	for (unsigned i = 0; i < l->count; i++) {
		if (!l->nodeids[i])
			continue;
		assert_int_equal(fc_getattr(&r->c, l->nodeids[i], NULL), 0);
		fc_forget(&r->c, l->nodeids[i], 1);
		assert_int_equal(fc_getattr(&r->c, l->nodeids[i], NULL), -ESTALE);
	}
	rig_stop(r);
	free(l);
}

static void test_readdirplus(void **state)
{
	fill_dir(*state);
	readdirplus_counts(*state, "");
	readdirplus_counts(*state, ", \"inode_file_handles\": \"never\"");
	readdirplus_counts(*state, ", \"inline_blocking\": \"never\"");
}

static void listings_take_turns(struct rig *r, const char *options, bool opened)
{
	static const uint32_t sizes[] = {400, 4096, 32768, 65536};
	struct listing *l = calloc(1, sizeof(*l));
	uint64_t fh = 0, before;

	rig_start(r, options);
	if (opened)
		assert_int_equal(fc_opendir(&r->c, ROOT, &fh), 0);
	r->g.lanes[0].company = SFS_BESIDE_BUSY;
	fg_turn(&r->g, 0);
	for (unsigned i = 0; i < 2 * SFS_ARRAY_SIZE(sizes); i++) {
		bool plus = i % 2;

		memset(l, 0, sizeof(*l));
		l->r = r;
		before = r->g.turns[0];
		list_all(r, fh, 0, sizes[i / 2], plus, l);
		check_listing(l);
		assert_int_equal(l->nodes, plus ? ENTRIES : 0);
		/* A piece is three objects, or some dozen names: what is read at once. */
		assert_true(r->g.turns[0] - before >= ENTRIES / (plus ? 5 : 40));
	}
	/* Looked up as often as they were listed. */
	for (unsigned i = 0; i < l->count; i++) {
		if (!l->nodeids[i])
			continue;
		fc_forget(&r->c, l->nodeids[i], SFS_ARRAY_SIZE(sizes) - 1);
		assert_int_equal(fc_getattr(&r->c, l->nodeids[i], NULL), 0);
		fc_forget(&r->c, l->nodeids[i], 1);
		assert_int_equal(fc_getattr(&r->c, l->nodeids[i], NULL), -ESTALE);
	}
	assert_int_equal(rig_path(r, FUSE_READDIRPLUS, SFS_PATH_WORKER), 0);
	rig_stop(r);
	free(l);
}

/* What takes longer than a turn's share goes on in the next one: the reactor's other guests have theirs in between. */
static void test_listings_take_turns(void **state)
{
	fill_dir(*state);
	listings_take_turns(*state, ", \"inline_blocking\": \"always\"", true);
	listings_take_turns(
	    *state, ", \"inline_blocking\": \"always\", \"cache\": \"always\", \"no_open\": true", false);
}

static void test_batch_forget_takes_turns(void **state)
{
	struct fuse_batch_forget_in in = {.count = ENTRIES};
	struct fuse_forget_one ones[ENTRIES];
	struct sfs_session_figures fig;
	struct rig *r = *state;
	unsigned turns = 0;
	char name[16];

	fill_dir(r);
	rig_start(r, "");
	for (int i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "entry%d", i);
		ones[i] = (struct fuse_forget_one){.nodeid = rig_node(r, ROOT, name), .nlookup = 1};
	}
	r->g.lanes[0].turn_share_ns = SFS_LANE_SHARE_NS_SHARED;
	fg_turn(&r->g, 0);
	for (fg_send(&r->g, 0, r->c.m, FUSE_BATCH_FORGET, 0, &in, sizeof(in), NULL, NULL, ones, sizeof(ones),
		     0);
	     !r->c.m->answered; turns++) {
		assert_true(turns < ENTRIES);
		fg_turn(&r->g, 0);
	}
	assert_true(turns > 10);
	for (int i = 0; i < ENTRIES; i++)
		assert_int_equal(fc_getattr(&r->c, ones[i].nodeid, NULL), -ESTALE);
	sfs_session_figures(r->g.se, &fig);
	assert_true(fig.inodes <= ENTRIES + 1);
}

/* Arguments and long chains are work before the operation begins. */
static void test_size_counts(void **state)
{
	struct fuse_setxattr_in small = {.size = 1}, large = {.size = 60000};
	struct rig *r = *state;
	struct sfs_lane *lane = &r->g.lanes[0];
	char *value = calloc(1, 65536);
	int64_t before, cheap;
	uint64_t node;

	rig_file(r, "f", "");
	rig_start(r, "");
	node = rig_node(r, ROOT, "f");
	memcpy(value, "user.a", 7);
	before = lane->share_ns;
	fg_send(&r->g, 0, r->c.m, FUSE_SETXATTR, node, &small, sizeof(small), NULL, NULL, value, 8, 0);
	cheap = before - lane->share_ns;
	fg_wait(&r->g, 0, r->c.m);
	before = lane->share_ns;
	fg_send(&r->g, 0, r->c.m, FUSE_SETXATTR, node, &large, sizeof(large), NULL, NULL, value, 60007, 0);
	assert_true(before - lane->share_ns > cheap + 10000);
	fg_wait(&r->g, 0, r->c.m);
	free(value);
}

static void test_readdirplus_table_full(void **state)
{
	struct sfs_session_limits limits = {.inodes = 100, .handles = 16, .fds = 64};
	struct listing *l = calloc(1, sizeof(*l));
	struct rig *r = *state;
	uint64_t fh;

	fill_dir(r);
	rig_start_with(r, "", RIG_FLAGS_ALL, &limits);
	assert_int_equal(fc_opendir(&r->c, ROOT, &fh), 0);
	list_all(r, fh, 0, 4096, true, l);
	check_listing(l);
	assert_int_equal(l->nodes, 98);
	assert_int_equal(fc_lookup(&r->c, ROOT, "entry0", NULL) == 0 || l->nodes < ENTRIES, true);
	free(l);
}

/* --- limits --- */

/* Nodes that need a descriptor each, and no descriptor to be had: a listing goes on with entries that are not known. */
static void test_readdirplus_without_descriptors(void **state)
{
	struct sfs_session_limits limits = {.inodes = 1000, .handles = 100, .fds = 16, .node_fds = 8};
	struct listing *l = calloc(1, sizeof(*l));
	struct rig *r = *state;
	uint64_t node, fh, dir;

	fill_dir(r);
	rig_start_with(r, ", \"inode_file_handles\": \"never\"", RIG_FLAGS_ALL, &limits);
	assert_int_equal(fc_opendir(&r->c, ROOT, &dir), 0);
	node = rig_node(r, ROOT, "entry0");
	while (fc_open(&r->c, node, O_RDONLY, &fh) == 0)
		;
	l->r = r;
	list_all(r, dir, 0, 65536, true, l);
	check_listing(l);
	assert_in_range(l->nodes, 0, 1);
	free(l);
}

static void test_limits(void **state)
{
	struct sfs_session_limits limits = {.inodes = 100, .handles = 4, .fds = 64};
	struct rig *r = *state;
	struct rlimit old, low;
	uint64_t node, fh[8];
	int probe;

	rig_file(r, "f", "");
	/* "always": else a close may be on its way, and with it a lower number. */
	rig_start_with(r, ", \"inline_blocking\": \"always\"", RIG_FLAGS_ALL, &limits);
	node = rig_node(r, ROOT, "f");
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh[i]), 0);
	assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh[4]), -ENFILE);
	assert_int_equal(fc_release(&r->c, node, fh[0]), 0);
	/* The host's own limit. */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	probe = dup(0);
	close(probe);
	low = old;
	low.rlim_cur = (rlim_t)probe;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh[0]), -EMFILE);
	assert_int_equal(fc_call(&r->c, FUSE_FLUSH, node, &(struct fuse_flush_in){.fh = fh[1]},
				 sizeof(struct fuse_flush_in), NULL, NULL, 0),
			 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh[0]), 0);
}

/* Many nodes, few descriptors: all of them can be used; what the host deletes is stale, not another's. */
static void test_few_descriptors(void **state)
{
	struct rig *r = *state;
	struct sfs_session_figures fig;
	uint64_t nodes[ENTRIES];
	char name[16], text[16];

	fill_dir(r);
	rig_start(r, ", \"inode_fds_max\": 8");
	for (int i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "entry%d", i);
		nodes[i] = rig_node(r, ROOT, name);
	}
	sfs_session_figures(r->g.se, &fig);
	if (fig.fds > 100)
		skip(); /* no file handles to be had here */
	assert_int_equal(unlinkat(r->dir, "entry0", 0), 0);
	assert_int_equal(fc_getattr(&r->c, nodes[0], NULL), -ESTALE);
	for (int i = 1; i < ENTRIES; i++) {
		assert_int_equal(fc_getattr(&r->c, nodes[i], NULL), 0);
		assert_int_equal(rig_cat(r, nodes[i], text, sizeof(text)), 0);
	}
	sfs_session_figures(r->g.se, &fig);
	assert_true(fig.fds < 20);
}

/* --- mounts --- */

static void test_submount(void **state)
{
	struct rig *r = *state;
	struct listing *l = calloc(1, sizeof(*l));
	struct fuse_entry_out e, f, twin;
	char path[128];
	uint64_t fh;

	snprintf(path, sizeof(path), "%s/mnt", r->share);
	assert_int_equal(mkdir(path, 0755), 0);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", path, "tmpfs", 0, "size=1m") < 0)
		skip();
	assert_int_equal(mkdirat(r->dir, "twin", 0755), 0);
	snprintf(path, sizeof(path), "%s/twin", r->share);
	assert_int_equal(mount("none", path, "tmpfs", 0, "size=1m"), 0);
	close(r->dir);
	r->dir = open(r->share, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rig_file(r, "f", "outer");
	rig_file(r, "mnt/f", "inner");
	rig_file(r, "twin/f", "other");
	rig_start(r, "");
	assert_int_equal(fc_opendir(&r->c, ROOT, &fh), 0);
	list_all(r, fh, 0, 4096, true, l);
	assert_int_equal(l->count, 5);
	/* The first file of each tmpfs: one number, two objects. */
	assert_int_equal(fc_lookup(&r->c, ROOT, "twin", &e), 0);
	assert_true(e.attr.flags & FUSE_ATTR_SUBMOUNT);
	assert_int_equal(fc_lookup(&r->c, e.nodeid, "f", &twin), 0);
	assert_int_equal(rig_cat(r, twin.nodeid, path, sizeof(path)), 0);
	assert_string_equal(path, "other");
	assert_int_equal(fc_lookup(&r->c, ROOT, "mnt", &e), 0);
	assert_true(e.attr.flags & FUSE_ATTR_SUBMOUNT);
	assert_int_equal(fc_lookup(&r->c, e.nodeid, "f", &f), 0);
	assert_false(f.attr.flags & FUSE_ATTR_SUBMOUNT);
	assert_int_equal(rig_cat(r, f.nodeid, path, sizeof(path)), 0);
	assert_string_equal(path, "inner");
	assert_int_equal(rig_node(r, e.nodeid, ".."), ROOT);
	assert_int_equal(fc_rename(&r->c, e.nodeid, "f", ROOT, "g", 0), -EXDEV);
	assert_int_equal(f.attr.ino, twin.attr.ino);
	assert_int_not_equal(f.nodeid, twin.nodeid);
	rig_stop(r);
	/* Where they are not announced, they are entered all the same. */
	rig_start(r, ", \"announce_submounts\": false");
	assert_int_equal(fc_lookup(&r->c, ROOT, "mnt", &e), 0);
	assert_false(e.attr.flags & FUSE_ATTR_SUBMOUNT);
	assert_int_equal(rig_cat(r, rig_node(r, e.nodeid, "f"), path, sizeof(path)), 0);
	assert_string_equal(path, "inner");
	rig_stop(r);
	snprintf(path, sizeof(path), "%s/mnt", r->share);
	assert_int_equal(umount(path), 0);
	snprintf(path, sizeof(path), "%s/twin", r->share);
	assert_int_equal(umount(path), 0);
	free(l);
}

/* Handles or nothing: a filesystem without them is not entered, and the log says why; with "prefer" it is. */
static void test_mandatory_handles(void **state)
{
	struct rig *r = *state;
	struct listing *l = calloc(1, sizeof(*l));
	struct sfs_session_figures fig;
	struct fuse_entry_out e;
	char path[128], text[64];
	uint64_t fh, node;

	snprintf(path, sizeof(path), "%s/mnt", r->share);
	assert_int_equal(mkdir(path, 0755), 0);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", path, "proc", 0, NULL) < 0)
		skip();
	rig_file(r, "f", "text");
	rig_start(r, ", \"inode_file_handles\": \"mandatory\", \"inode_fds_max\": 1");
	/* What has been looked up is found again by its handle alone. */
	node = rig_node(r, ROOT, "f");
	for (unsigned i = 0; i < 20; i++) {
		snprintf(text, sizeof(text), "f%u", i);
		rig_file(r, text, "other");
		rig_node(r, ROOT, text);
	}
	assert_int_equal(renameat(r->dir, "f", r->dir, "g"), 0);
	assert_int_equal(rig_cat(r, node, text, sizeof(text)), 0);
	assert_string_equal(text, "text");
	sfs_session_figures(r->g.se, &fig);
	assert_true(fig.fds < 10);
	/* The other filesystem is there by name, and no further. */
	assert_int_equal(fc_lookup(&r->c, ROOT, "mnt", &e), -EOPNOTSUPP);
	assert_int_equal(fc_opendir(&r->c, ROOT, &fh), 0);
	list_all(r, fh, 0, 4096, true, l);
	assert_int_equal(l->count, 24);
	rig_stop(r);

	rig_start(r, ", \"inode_file_handles\": \"prefer\"");
	assert_int_equal(fc_lookup(&r->c, ROOT, "mnt", &e), 0);
	assert_int_equal(rig_cat(r, rig_node(r, e.nodeid, "version"), text, sizeof(text)), 0);
	assert_int_equal(strncmp(text, "Linux", 5), 0);
	rig_stop(r);
	assert_int_equal(umount(path), 0);
	free(l);
}

/* --- several threads --- */

static void *mess_thread(void *arg)
{
	struct fc *c = arg;
	unsigned seed = c->lane + 1;
	struct fuse_entry_out e;
	char name[16], other[16];
	uint64_t fh, dir;

	for (unsigned i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "m%d", rand_r(&seed) % 8);
		snprintf(other, sizeof(other), "m%d", rand_r(&seed) % 8);
		switch (rand_r(&seed) % 6) {
		case 0:
			if (fc_create(c, ROOT, name, O_RDWR, S_IFREG | 0644, &e, &fh) == 0) {
				fc_write(c, e.nodeid, fh, 0, name, 3);
				fc_release(c, e.nodeid, fh);
				fc_forget(c, e.nodeid, 1);
			}
			break;
		case 1:
			fc_unlink(c, ROOT, name);
			break;
		case 2:
			fc_rename(c, ROOT, name, ROOT, other, 0);
			break;
		case 3:
			if (fc_opendir(c, ROOT, &dir) == 0) {
				fc_readdir(c, ROOT, dir, 0, 4096, true, NULL, NULL);
				fc_releasedir(c, ROOT, dir);
			}
			break;
		default:
			if (fc_lookup(c, ROOT, name, &e) == 0) {
				if (fc_open(c, e.nodeid, O_RDWR, &fh) == 0) {
					fc_read(c, e.nodeid, fh, 0, other, 3);
					fc_release(c, e.nodeid, fh);
				}
				fc_truncate(c, e.nodeid, 2);
				fc_forget(c, e.nodeid, 1);
			}
		}
	}
	return NULL;
}

static void several_threads(struct rig *r, const char *options)
{
	struct sfs_session_figures fig;
	struct fc other;
	pthread_t t;

	rig_start(r, options);
	fc_init(&other, &r->g, 1);
	assert_int_equal(pthread_create(&t, NULL, mess_thread, &other), 0);
	mess_thread(&r->c);
	pthread_join(t, NULL);
	fc_fini(&other);
	sfs_session_figures(r->g.se, &fig);
	assert_int_equal(fig.handles, 0);
	rig_stop(r);
}

static void test_several_threads(void **state)
{
	several_threads(*state, ", \"inode_fds_max\": 2");
	several_threads(*state, ", \"inode_file_handles\": \"never\", \"inline_blocking\": \"never\"");
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_readdir),
	    T(test_readdirplus),
	    T(test_readdirplus_table_full),
	    T(test_limits),
	    T(test_readdirplus_without_descriptors),
	    T(test_listings_take_turns),
	    T(test_batch_forget_takes_turns),
	    T(test_size_counts),
	    T(test_few_descriptors),
	    T(test_several_threads),
	    T(test_submount),
	    T(test_mandatory_handles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
