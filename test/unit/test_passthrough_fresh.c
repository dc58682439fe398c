/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the host changes between two requests stands in the answer to the second, in every cache mode: the caches are the
 * guest's, none is ours.
 */
#include <limits.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "pt_rig.h"

#define ROOT SFS_ROOT_ID

/* The name that has, for a moment, another object's handle. */
static struct {
	const char *name, *other;
} swap;

int __real_name_to_handle_at(int fd, const char *name, struct file_handle *h, int *mnt_id, int flags);
int __wrap_name_to_handle_at(int fd, const char *name, struct file_handle *h, int *mnt_id, int flags);
int __wrap_name_to_handle_at(int fd, const char *name, struct file_handle *h, int *mnt_id, int flags)
{
	return __real_name_to_handle_at(fd, swap.name && !strcmp(name, swap.name) ? swap.other : name, h,
					mnt_id, flags);
}

/* How many handles are not to be had yet. */
static unsigned in_the_making;

int __real_open_by_handle_at(int fd, struct file_handle *h, int flags);
int __wrap_open_by_handle_at(int fd, struct file_handle *h, int flags);
int __wrap_open_by_handle_at(int fd, struct file_handle *h, int flags)
{
	if (in_the_making) {
		in_the_making--;
		errno = ENOMEM;
		return -1;
	}
	return __real_open_by_handle_at(fd, h, flags);
}

struct seen {
	const char *name;
	struct fuse_entry_out e;
	uint32_t type;
	bool found;
};

static void see_one(void *arg, const struct fuse_dirent *d, const struct fuse_entry_out *e)
{
	struct seen *s = arg;

	if (d->namelen != strlen(s->name) || memcmp(d->name, s->name, d->namelen) != 0)
		return;
	s->e = *e;
	s->type = d->type;
	s->found = true;
}

/* @name in a listing of the root. */
static bool list_for(struct rig *r, const char *name, struct fuse_entry_out *e)
{
	struct seen s = {.name = name};
	uint64_t fh;

	assert_int_equal(fc_opendir(&r->c, ROOT, &fh), 0);
	assert_true(fc_readdir(&r->c, ROOT, fh, 0, 4096, true, see_one, &s) > 0);
	assert_int_equal(fc_releasedir(&r->c, ROOT, fh), 0);
	*e = s.e;
	return s.found;
}

enum how { BY_LOOKUP, BY_LISTING, BY_GETATTR, HOWS };

/* One look at "f", known as @node. */
static struct fuse_attr look(struct rig *r, enum how how, uint64_t node)
{
	struct fuse_entry_out e;
	struct fuse_attr attr;

	switch (how) {
	case BY_LOOKUP:
		assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), 0);
		break;
	case BY_LISTING:
		assert_true(list_for(r, "f", &e));
		break;
	default:
		assert_int_equal(fc_getattr(&r->c, node, &attr), 0);
		return attr;
	}
	assert_int_equal(e.nodeid, node);
	return e.attr;
}

static void check_same(const struct fuse_attr *a, const struct stat *st)
{
	assert_int_equal(a->ino, st->st_ino);
	assert_int_equal(a->mode, st->st_mode);
	assert_int_equal(a->size, st->st_size);
	assert_int_equal(a->nlink, st->st_nlink);
	assert_int_equal(a->uid, st->st_uid);
	assert_int_equal(a->mtime, st->st_mtim.tv_sec);
	assert_int_equal(a->mtimensec, st->st_mtim.tv_nsec);
	assert_int_equal(a->ctimensec, st->st_ctim.tv_nsec);
}

/* Until birth times of now are long ago. */
static void grow_old(struct rig *r, const char *name)
{
	struct timespec now;
	struct statx stx;

	assert_int_equal(statx(r->dir, name, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &stx), 0);
	if (!(stx.stx_mask & STATX_BTIME))
		return;
	do {
		usleep(20000);
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	} while (now.tv_sec * 1000 + now.tv_nsec / 1000000 <=
		 stx.stx_btime.tv_sec * 1000 + stx.stx_btime.tv_nsec / 1000000 + 1001);
}

static void change_all(struct rig *r, const char *cache, enum how known_by, const char *more)
{
	char options[128];
	struct fuse_attr attr;
	struct fuse_entry_out e;
	struct stat st;

	snprintf(options, sizeof(options), ", \"cache\": \"%s\"%s", cache, more);
	rig_start(r, options);
	if (known_by == BY_LISTING)
		assert_true(list_for(r, "f", &e));
	else
		assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), 0);
	for (enum how how = 0; how < HOWS; how++) {
		assert_int_equal(fchmodat(r->dir, "f", 0600 + how, 0), 0);
		st = rig_stat(r, "f");
		attr = look(r, how, e.nodeid);
		check_same(&attr, &st);
		rig_file(r, "f", &"a longer text"[how]);
		st = rig_stat(r, "f");
		attr = look(r, how, e.nodeid);
		check_same(&attr, &st);
		assert_int_equal(linkat(r->dir, "f", r->dir, "g", 0), 0);
		attr = look(r, how, e.nodeid);
		assert_int_equal(attr.nlink, 2);
		/* Another name, then the first one again. */
		assert_int_equal(unlinkat(r->dir, "f", 0), 0);
		assert_int_equal(fc_lookup(&r->c, ROOT, "f", NULL), -ENOENT);
		assert_int_equal(renameat(r->dir, "g", r->dir, "f"), 0);
		assert_int_equal(fc_lookup(&r->c, ROOT, "g", NULL), -ENOENT);
		attr = look(r, how, e.nodeid);
		assert_int_equal(attr.nlink, 1);
	}
	rig_stop(r);
}

static const char *const caches[] = {"never", "metadata", "auto", "always"};

static void test_changes_are_seen(void **state)
{
	struct rig *r = *state;

	rig_file(r, "f", "text");
	grow_old(r, "f");
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(caches); i++) {
		change_all(r, caches[i], BY_LOOKUP, "");
		change_all(r, caches[i], BY_LISTING, "");
		change_all(r, caches[i], BY_LISTING, ", \"inode_file_handles\": \"never\"");
	}
}

/* LOOKUP, GETATTR and READDIRPLUS ask in different ways. */
static void test_attributes_agree(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out by_name, by_list;
	struct fuse_attr attr;

	if (!rig_is_root())
		skip();
	assert_int_equal(mknodat(r->dir, "dev", S_IFCHR | 0600, makedev(300, 70000)), 0);
	assert_int_equal(symlinkat("to", r->dir, "link"), 0);
	assert_int_equal(mkdirat(r->dir, "dir", 01777), 0);
	rig_file(r, "f", "0123456789");
	rig_start(r, "");
	for (const char *const *name = (const char *const[]){"dev", "link", "dir", "f", NULL}; *name;
	     name++) {
		assert_true(list_for(r, *name, &by_list));
		assert_int_equal(fc_lookup(&r->c, ROOT, *name, &by_name), 0);
		assert_int_equal(by_name.nodeid, by_list.nodeid);
		assert_int_equal(fc_getattr(&r->c, by_name.nodeid, &attr), 0);
		assert_memory_equal(&attr, &by_name.attr, sizeof(attr));
		assert_memory_equal(&attr, &by_list.attr, sizeof(attr));
	}
	rig_stop(r);
}

/* Another object under the name is another node: its number may be the same, and its birth the same tick of the clock. */
static void replaced(struct rig *r, bool old, const char *more)
{
	struct fuse_entry_out was, e, again;
	unsigned reused = 0;
	char text[16];

	rig_start(r, more);
	for (int i = 0; i < (old ? 2 : 100); i++) {
		rig_file(r, "f", "old");
		if (old)
			grow_old(r, "f");
		assert_true(list_for(r, "f", &was));
		assert_true(was.nodeid != 0);
		assert_true(list_for(r, "f", &again));
		assert_int_equal(again.nodeid, was.nodeid);
		assert_int_equal(unlinkat(r->dir, "f", 0), 0);
		rig_file(r, "f", "new");
		assert_true(list_for(r, "f", &e));
		reused += e.attr.ino == was.attr.ino;
		assert_true(e.nodeid != 0 && e.nodeid != was.nodeid);
		assert_int_equal(rig_cat(r, e.nodeid, text, sizeof(text)), 0);
		assert_string_equal(text, "new");
		if (rig_cat(r, was.nodeid, text, sizeof(text)) == 0)
			assert_string_equal(text, "old");
		assert_int_equal(fc_lookup(&r->c, ROOT, "f", &again), 0);
		assert_int_equal(again.nodeid, e.nodeid);
	}
	print_message("inode numbers used again: %u\n", reused);
	rig_stop(r);
}

static void test_replaced_is_another(void **state)
{
	replaced(*state, false, "");
	replaced(*state, true, "");
	replaced(*state, false, ", \"inline_blocking\": \"never\"");
	replaced(*state, false, ", \"inode_file_handles\": \"never\"");
}

static const struct sfs_session_limits few_fds = {
    .inodes = 4096, .handles = 64, .fds = 256, .node_fds = 2, .locks = 16, .lock_waiters = 16};

/* Their nodes get the descriptors that there are. */
static void look_at_others(struct rig *r)
{
	struct fuse_entry_out e;
	char name[16];

	for (unsigned i = 0; i < 16; i++) {
		snprintf(name, sizeof(name), "other%u", i);
		if (faccessat(r->dir, name, F_OK, 0) < 0)
			rig_file(r, name, "");
		assert_int_equal(fc_lookup(&r->c, ROOT, name, &e), 0);
		assert_int_equal(fc_getattr(&r->c, e.nodeid, NULL), 0);
	}
}

/* A file known by its handle alone is looked up again with its attributes of now, and opens; deleted, it is stale. */
static void test_forgotten_and_found(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out was, e;
	uint64_t fh;
	char text[16];

	if (!rig_is_root())
		skip();
	rig_file(r, "f", "text");
	grow_old(r, "f");
	rig_start(r, "");
	for (int i = 0; i < 5; i++) {
		assert_int_equal(fc_lookup(&r->c, ROOT, "f", &was), 0);
		fc_forget(&r->c, was.nodeid, 1);
		assert_int_equal(fc_getattr(&r->c, was.nodeid, NULL), -ESTALE);
		assert_int_equal(fchmodat(r->dir, "f", 0640 + (unsigned)i, 0), 0);
		assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), 0);
		assert_int_equal(e.attr.mode, S_IFREG | (0640 + (unsigned)i));
		assert_int_equal(rig_cat(r, e.nodeid, text, sizeof(text)), 0);
		assert_string_equal(text, "text");
		fc_forget(&r->c, e.nodeid, 1);
	}
	assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), 0);
	assert_int_equal(unlinkat(r->dir, "f", 0), 0);
	assert_int_equal(fc_open(&r->c, e.nodeid, O_RDONLY, &fh), -ESTALE);
	assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), -ENOENT);
	rig_stop(r);
}

/* The number of a removed file is being given to another: its handle is stale soon, and its node if it is not removed is there. */
static void test_number_in_the_making(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out e;
	uint64_t fh;

	if (!rig_is_root())
		skip();
	rig_file(r, "f", "text");
	rig_start_with(r, "", RIG_FLAGS_ALL, &few_fds);
	assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), 0);
	look_at_others(r);
	in_the_making = 3;
	assert_int_equal(fc_getattr(&r->c, e.nodeid, NULL), 0);
	assert_int_equal(in_the_making, 0);
	look_at_others(r);
	assert_int_equal(unlinkat(r->dir, "f", 0), 0);
	in_the_making = 3;
	assert_int_equal(fc_open(&r->c, e.nodeid, O_RDONLY, &fh), -ESTALE);
	/* Want of memory is what it is. */
	assert_int_equal(fc_lookup(&r->c, ROOT, "other0", &e), 0);
	look_at_others(r);
	in_the_making = UINT_MAX;
	assert_int_equal(fc_getattr(&r->c, e.nodeid, NULL), -ENOMEM);
	in_the_making = 0;
	assert_int_equal(fc_getattr(&r->c, e.nodeid, NULL), 0);
	rig_stop(r);
}

/* A guest that writes late sets the times of a file after its last close and its removal. */
static void test_late_times_of_removed(void **state)
{
	struct fuse_setattr_in in = {.valid = FATTR_MTIME, .mtime = 12345};
	struct rig *r = *state;
	struct fuse_entry_out e;
	uint64_t fh;

	rig_start_with(r, ", \"writeback\": true", RIG_FLAGS_ALL, &few_fds);
	for (int again = 0; again < 2; again++) { /* made; then looked up, long after it was made */
		if (again) {
			rig_file(r, "f", "text");
			grow_old(r, "f");
			assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), 0);
			fc_forget(&r->c, e.nodeid, 1);
			assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), 0);
			assert_int_equal(fc_open(&r->c, e.nodeid, O_RDWR, &fh), 0);
		} else {
			assert_int_equal(fc_create(&r->c, ROOT, "f", O_RDWR, S_IFREG | 0644, &e, &fh), 0);
		}
		assert_int_equal(fc_write(&r->c, e.nodeid, fh, 0, "late", 4), 4);
		assert_int_equal(fc_release(&r->c, e.nodeid, fh), 0);
		look_at_others(r);
		assert_int_equal(fc_unlink(&r->c, ROOT, "f"), 0);
		look_at_others(r);
		assert_int_equal(fc_setattr(&r->c, e.nodeid, &in, NULL), 0);
		fc_forget(&r->c, e.nodeid, 1);
	}
	rig_stop(r);
}

/* The same of one that never had a name. */
static void test_late_times_of_nameless(void **state)
{
	struct fuse_setattr_in in = {.valid = FATTR_MTIME, .mtime = 12345};
	struct fuse_create_in create = {.flags = O_RDWR, .mode = S_IFREG | 0600};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;
	struct rig *r = *state;
	int rc;

	rig_start_with(r, ", \"writeback\": true", RIG_FLAGS_ALL, &few_fds);
	rc = fc_call(&r->c, FUSE_TMPFILE, ROOT, &create, sizeof(create), "#1", NULL, sizeof(out));
	if (rc == -EOPNOTSUPP)
		skip();
	assert_int_equal(rc, 0);
	memcpy(&out, r->c.m->out, sizeof(out));
	assert_int_equal(fc_release(&r->c, out.entry.nodeid, out.open.fh), 0);
	look_at_others(r);
	assert_int_equal(fc_setattr(&r->c, out.entry.nodeid, &in, NULL), 0);
	rig_stop(r);
}

/*
 * A name whose object was exchanged between the two calls of one look: the node that came of it opens nothing, and is not
 * found again.
 */
static void test_mixed_up_heals(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out mixed, e;
	uint64_t fh;
	char text[16];

	if (!rig_is_root())
		skip();
	rig_file(r, "f", "mine");
	rig_file(r, "other", "theirs");
	grow_old(r, "other");
	rig_start(r, "");
	swap.name = "f";
	swap.other = "other";
	assert_true(list_for(r, "f", &mixed));
	swap.name = NULL;
	assert_true(mixed.nodeid != 0);
	assert_int_equal(fc_open(&r->c, mixed.nodeid, O_RDONLY, &fh), -ESTALE);
	assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), 0);
	assert_true(e.nodeid != mixed.nodeid);
	assert_int_equal(rig_cat(r, e.nodeid, text, sizeof(text)), 0);
	assert_string_equal(text, "mine");
	rig_stop(r);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

/* The same where the other object is one that nobody may open: the handle of a FIFO is not opened to find that out, which would wait
 * for a writer for ever. */
static void test_mixed_up_with_a_fifo(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out mixed;
	uint64_t fh;

	if (!rig_is_root())
		skip();
	rig_file(r, "f", "mine");
	assert_int_equal(mkfifoat(r->dir, "other", 0600), 0);
	rig_start(r, "");
	swap.name = "f";
	swap.other = "other";
	assert_true(list_for(r, "f", &mixed));
	swap.name = NULL;
	assert_true(mixed.nodeid != 0);
	assert_int_equal(fc_open(&r->c, mixed.nodeid, O_RDONLY, &fh), -ESTALE);
	rig_stop(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_changes_are_seen),     T(test_attributes_agree),      T(test_replaced_is_another),
	    T(test_forgotten_and_found),  T(test_late_times_of_removed), T(test_mixed_up_heals),
	    T(test_mixed_up_with_a_fifo), T(test_number_in_the_making),  T(test_late_times_of_nameless),
	};

	return cmocka_run_group_tests_name("passthrough_fresh", tests, NULL, NULL);
}
