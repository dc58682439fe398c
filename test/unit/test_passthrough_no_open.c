/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The passthrough driver with no_open: nobody opens, so every request names a node alone, and descriptors are the driver's own affair.
 */
#include <dirent.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "pt_rig.h"

#define ROOT SFS_ROOT_ID
#define BOTH (FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT)
/* A worker may close what is not held any more. */
#define UNTIL(cond)                                                                                          \
	for (unsigned ms = 0; !(cond); ms++) {                                                               \
		assert_true(ms < 10000);                                                                     \
		usleep(1000);                                                                                \
	}
#define NO_OPEN ", \"cache\": \"always\", \"no_open\": true"

static int no_open_setup(void **state)
{
	rig_setup(state);
	rig_start(*state, NO_OPEN);
	return 0;
}

/* A guest that knows few nodes' descriptors. */
static void start_with_few(struct rig *r, const char *options, uint32_t node_fds)
{
	const struct sfs_session_limits limits = {
	    .inodes = 4096, .handles = 64, .fds = 256, .node_fds = node_fds, .locks = 16, .lock_waiters = 16};

	rig_start_with(r, options, RIG_FLAGS_ALL, &limits);
}

/* Calls @fn with the flags of each descriptor of this process that has the object open. */
static void open_each(const struct stat *want, void (*fn)(void *arg, int flags), void *arg)
{
	DIR *dir = opendir("/proc/self/fdinfo");
	struct dirent *de;
	struct stat st;
	int flags;

	while ((de = readdir(dir)) != NULL) {
		if (de->d_name[0] == '.')
			continue;
		flags = fcntl(atoi(de->d_name), F_GETFL);
		if (flags >= 0 && fstat(atoi(de->d_name), &st) == 0 && st.st_ino == want->st_ino &&
		    st.st_dev == want->st_dev)
			fn(arg, flags);
	}
	closedir(dir);
}

static void count(void *arg, int flags)
{
	++*(int *)arg;
}

static int any_open(const struct stat *want)
{
	int n = 0;

	open_each(want, count, &n);
	return n;
}

static void collect(void *arg, int flags)
{
	int *all = arg;

	if (!(flags & O_PATH))
		*all = *all < 0 ? flags : *all | flags;
}

/* Which of @flags the file is open with, but for O_PATH; -1: it is not. */
static int flags_of(struct rig *r, const char *name, int flags)
{
	struct stat st = rig_stat(r, name);
	int all = -1;

	open_each(&st, collect, &all);
	return all < 0 ? all : all & flags;
}

static void is(struct rig *r, uint64_t node, const char *text)
{
	char got[64];

	assert_int_equal(fc_read(&r->c, node, 0, 0, got, sizeof(got)), strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

static int flush(struct rig *r, uint64_t node)
{
	struct fuse_flush_in in = {.lock_owner = 1};

	return fc_call(&r->c, FUSE_FLUSH, node, &in, sizeof(in), NULL, NULL, 0);
}

/* --- what is agreed --- */

static void test_negotiation(void **state)
{
	const uint64_t without = FUSE_ATOMIC_O_TRUNC | FUSE_FLOCK_LOCKS | FUSE_POSIX_LOCKS;
	struct rig *r = *state;
	char why[256];
	uint64_t fh, flags;

	assert_int_equal(rig_try(r, ", \"no_open\": true", why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "no_open"));
	assert_non_null(strstr(why, "always"));
	rig_start(r, NO_OPEN);
	flags = sfs_session_init_flags(r->g.se);
	assert_int_equal(flags & (BOTH | without), BOTH);
	assert_int_equal(fc_open(&r->c, ROOT, O_RDONLY, &fh), -ENOSYS);
	assert_int_equal(fc_opendir(&r->c, ROOT, &fh), -ENOSYS);
	rig_stop(r);
	rig_start(r, ", \"cache\": \"always\"");
	flags = sfs_session_init_flags(r->g.se);
	assert_int_equal(flags & (BOTH | without), without);
	assert_int_equal(fc_opendir(&r->c, ROOT, &fh), 0);
	rig_stop(r);
}

/* Who would go on to open one kind has handles of both. */
static void test_half_a_guest(void **state)
{
	const uint64_t half[] = {FUSE_NO_OPEN_SUPPORT, FUSE_NO_OPENDIR_SUPPORT};
	struct rig *r = *state;
	uint64_t node, fh, dir;

	rig_file(r, "f", "text");
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(half); i++) {
		rig_start_with(r, NO_OPEN, RIG_FLAGS_ALL & ~half[i], NULL);
		node = rig_node(r, ROOT, "f");
		assert_int_equal(fc_open(&r->c, node, O_RDWR, &fh), 0);
		assert_int_equal(fc_write(&r->c, node, fh, 0, "T", 1), 1);
		assert_int_equal(fc_write(&r->c, node, fh + 1, 0, "T", 1), -EBADF);
		assert_int_equal(fc_release(&r->c, node, fh), 0);
		assert_int_equal(fc_opendir(&r->c, ROOT, &dir), 0);
		assert_int_equal(fc_releasedir(&r->c, ROOT, dir), 0);
		rig_stop(r);
	}
}

/* --- files --- */

static void test_read_and_write(void **state)
{
	struct rig *r = *state;
	uint64_t node;

	rig_file(r, "f", "0123456789");
	node = rig_node(r, ROOT, "f");
	UNTIL(flags_of(r, "f", 0) == -1);
	is(r, node, "0123456789");
	UNTIL(flags_of(r, "f", O_ACCMODE) == O_RDONLY);
	assert_int_equal(fc_write(&r->c, node, 0, 3, "abc", 3), 3);
	UNTIL(flags_of(r, "f", O_ACCMODE) == O_RDWR);
	is(r, node, "012abc6789");
	/* The host can run it as soon as a process of the guest has closed it. */
	assert_int_equal(flush(r, node), 0);
	UNTIL(flags_of(r, "f", 0) == -1);
	is(r, node, "012abc6789");
	assert_int_equal(fc_write(&r->c, node, 0, 0, "x", 1), 1);
	is(r, node, "x12abc6789");
	/* One that is read stays open. */
	assert_int_equal(flush(r, node), 0);
	is(r, node, "x12abc6789");
	assert_int_equal(flush(r, node), 0);
	UNTIL(flags_of(r, "f", O_ACCMODE) == O_RDONLY);
}

/* Without file handles the descriptor is all that a node is known by: it never goes, and is another at times. */
static void test_without_handles(void **state)
{
	struct rig *r = *state;
	uint64_t node;

	rig_file(r, "f", "0123456789");
	rig_start(r, NO_OPEN ", \"inode_file_handles\": \"never\"");
	node = rig_node(r, ROOT, "f");
	is(r, node, "0123456789");
	assert_int_equal(fc_write(&r->c, node, 0, 3, "abc", 3), 3);
	assert_int_equal(fc_unlink(&r->c, ROOT, "f"), 0);
	assert_int_equal(flush(r, node), 0);
	is(r, node, "012abc6789");
	assert_int_equal(fc_write(&r->c, node, 0, 0, "x", 1), 1);
	is(r, node, "x12abc6789");
	rig_stop(r);
}

/* On workers alone, where nothing is opened on the reactor. */
static void test_on_workers(void **state)
{
	struct rig *r = *state;
	uint64_t node;

	rig_file(r, "f", "0123456789");
	rig_start(r, NO_OPEN ", \"inline_blocking\": \"never\"");
	node = rig_node(r, ROOT, "f");
	is(r, node, "0123456789");
	assert_int_equal(rig_path(r, FUSE_READ, SFS_PATH_INLINE), 0);
	assert_int_equal(fc_write(&r->c, node, 0, 9, "abc", 3), 3);
	is(r, node, "012345678abc");
	assert_int_equal(flush(r, node), 0);
	rig_stop(r);
}

static void test_create(void **state)
{
	struct fuse_release_in in = {.flags = O_RDWR};
	struct rig *r = *state;
	struct fuse_entry_out e;
	uint64_t fh = 1;

	assert_int_equal(fc_create(&r->c, ROOT, "new", O_WRONLY, S_IFREG | 0600, &e, &fh), 0);
	assert_int_equal(fh, 0);
	assert_int_equal(fc_write(&r->c, e.nodeid, 0, 0, "text", 4), 4);
	UNTIL(flags_of(r, "new", O_ACCMODE) == O_WRONLY);
	assert_int_equal(flush(r, e.nodeid), 0);
	/* A guest that has opened nothing yet sends it. */
	assert_int_equal(fc_call(&r->c, FUSE_RELEASE, e.nodeid, &in, sizeof(in), NULL, NULL, 0), 0);
	UNTIL(flags_of(r, "new", 0) == -1);
	is(r, e.nodeid, "text");
	/* What is there already is another's perhaps: it is opened anew, and truncated where the guest says so. */
	fh = 1;
	assert_int_equal(fc_create(&r->c, ROOT, "new", O_RDWR, S_IFREG | 0600, &e, &fh), 0);
	assert_int_equal(fh, 0);
	is(r, e.nodeid, "text");
	assert_int_equal(fc_create(&r->c, ROOT, "new", O_RDWR | O_EXCL, S_IFREG | 0600, &e, &fh), -EEXIST);
}

static void test_nameless(void **state)
{
	struct fuse_create_in in = {.flags = O_RDWR, .mode = S_IFREG | 0600};
	struct fuse_entry_out e, other;
	struct rig *r = *state;
	uint64_t fh;
	char name[16];
	int rc;

	start_with_few(r, NO_OPEN, 4);
	rc = fc_call(&r->c, FUSE_TMPFILE, ROOT, &in, sizeof(in), "#1", NULL, sizeof(e) + 16);
	if (rc == -EOPNOTSUPP)
		skip();
	assert_int_equal(rc, 0);
	memcpy(&e, r->c.m->out, sizeof(e));
	assert_int_equal(fc_write(&r->c, e.nodeid, 0, 0, "text", 4), 4);
	assert_int_equal(flush(r, e.nodeid), 0);
	for (unsigned i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fc_create(&r->c, ROOT, name, O_RDWR, S_IFREG | 0600, &other, &fh), 0);
	}
	is(r, e.nodeid, "text");
	assert_int_equal(fc_link(&r->c, e.nodeid, ROOT, "named", &other), 0);
	assert_int_equal(other.nodeid, e.nodeid);
	is(r, rig_node(r, ROOT, "named"), "text");
	rig_stop(r);
}

/* --- flags: of each request --- */

static int64_t write_as(struct rig *r, uint64_t node, uint32_t flags, uint64_t off, const void *data,
			uint32_t bytes)
{
	r->c.io_flags = flags;
	return fc_write(&r->c, node, 0, off, data, bytes);
}

static void test_flags(void **state)
{
	static char block[4096] __attribute__((aligned(4096)));
	struct rig *r = *state;
	uint64_t node;
	int fd;

	rig_file(r, "f", "0123");
	rig_start(r, NO_OPEN ", \"allow_direct_io\": true, \"preserve_noatime\": true");
	node = rig_node(r, ROOT, "f");
	assert_int_equal(write_as(r, node, O_RDWR | O_SYNC, 0, "a", 1), 1);
	UNTIL(flags_of(r, "f", O_SYNC) == O_SYNC);
	assert_int_equal(write_as(r, node, O_RDWR | O_DSYNC, 0, "b", 1), 1);
	UNTIL(flags_of(r, "f", O_SYNC) == O_DSYNC);
	assert_int_equal(write_as(r, node, O_RDWR, 0, "c", 1), 1);
	UNTIL(flags_of(r, "f", O_SYNC) == 0);
	r->c.io_flags = O_RDWR | O_NOATIME;
	is(r, node, "c123");
	UNTIL(flags_of(r, "f", O_NOATIME) == O_NOATIME);
	r->c.io_flags = O_RDWR;
	is(r, node, "c123");
	UNTIL(flags_of(r, "f", O_NOATIME) == 0);
	/* To the end as the host knows it, which is not where the guest thinks it is. */
	assert_int_equal(write_as(r, node, O_RDWR | O_APPEND, 0, "end", 3), 3);
	assert_int_equal(write_as(r, node, O_RDWR, 0, "d", 1), 1);
	is(r, node, "d123end");
	fd = openat(r->dir, "probe", O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644);
	if (fd >= 0) {
		close(fd);
		assert_int_equal(write_as(r, node, O_RDWR | O_DIRECT, 0, block, sizeof(block)),
				 sizeof(block));
		UNTIL(flags_of(r, "f", O_DIRECT) == O_DIRECT);
		assert_int_equal(write_as(r, node, O_RDWR, 1, "x", 1), 1);
		UNTIL(flags_of(r, "f", O_DIRECT) == 0);
		r->c.io_flags = O_RDWR | O_DIRECT;
		assert_int_equal(fc_read(&r->c, node, 0, 0, block, sizeof(block)), sizeof(block));
		assert_memory_equal(block, "\0x\0", 3);
	}
	rig_stop(r);
}

/* Once it may be written anywhere the descriptor that could only append is not used any more. */
static void test_append_only_file(void **state)
{
	struct rig *r = *state;
	int fd, flags = 0;
	uint64_t node;

	rig_file(r, "f", "0123");
	fd = openat(r->dir, "f", O_RDONLY | O_CLOEXEC);
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 ||
	    (flags |= FS_APPEND_FL, ioctl(fd, FS_IOC_SETFLAGS, &flags)) < 0) {
		close(fd);
		skip();
	}
	node = rig_node(r, ROOT, "f");
	assert_int_equal(write_as(r, node, O_RDWR, 0, "a", 1), -EPERM);
	assert_int_equal(write_as(r, node, O_RDWR | O_APPEND, 0, "a", 1), 1);
	flags &= ~FS_APPEND_FL;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	close(fd);
	assert_int_equal(write_as(r, node, O_RDWR, 0, "b", 1), 1);
	is(r, node, "b123a");
}

/* --- files that are gone while the guest has them open --- */

static void use_others(struct rig *r, unsigned count)
{
	struct fuse_entry_out e;
	char name[16];
	uint64_t fh;

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "other%u", i);
		assert_int_equal(fc_create(&r->c, ROOT, name, O_RDWR, S_IFREG | 0600, &e, &fh), 0);
		assert_int_equal(fc_write(&r->c, e.nodeid, 0, 0, "o", 1), 1);
	}
}

static void test_gone(void **state)
{
	struct rig *r = *state;
	uint64_t unlinked, replaced, linked;
	struct stat st[3];

	rig_file(r, "unlinked", "first");
	rig_file(r, "replaced", "second");
	rig_file(r, "linked", "third");
	rig_file(r, "new", "new");
	start_with_few(r, NO_OPEN, 4);
	unlinked = rig_node(r, ROOT, "unlinked");
	replaced = rig_node(r, ROOT, "replaced");
	linked = rig_node(r, ROOT, "linked");
	st[1] = rig_stat(r, "unlinked");
	st[2] = rig_stat(r, "replaced");
	use_others(r, 64); /* none of them holds a descriptor now */
	assert_int_equal(linkat(r->dir, "linked", r->dir, "again", 0), 0);
	assert_int_equal(fc_unlink(&r->c, ROOT, "unlinked"), 0);
	assert_int_equal(fc_rename(&r->c, ROOT, "new", ROOT, "replaced", 0), 0);
	assert_int_equal(fc_unlink(&r->c, ROOT, "linked"), 0);
	use_others(r, 64);
	is(r, unlinked, "first");
	is(r, replaced, "second");
	is(r, linked, "third");
	assert_int_equal(fc_write(&r->c, unlinked, 0, 0, "F", 1), 1);
	assert_int_equal(flush(r, unlinked), 0);
	use_others(r, 64);
	is(r, unlinked, "First");
	/* What the guest has forgotten before holds nothing. */
	fc_forget(&r->c, linked, 1);
	st[0] = rig_stat(r, "again");
	assert_int_equal(fc_unlink(&r->c, ROOT, "again"), 0);
	UNTIL(any_open(&st[0]) == 0);
	/* Until the guest has forgotten them. */
	fc_forget(&r->c, unlinked, 1);
	fc_forget(&r->c, replaced, 1);
	UNTIL(any_open(&st[1]) == 0);
	UNTIL(any_open(&st[2]) == 0);
	rig_stop(r);
}

/* --- everything else that names a file by fh --- */

static void test_other_operations(void **state)
{
	struct fuse_fsync_in fsync_in = {0};
	struct fuse_ioctl_in ioctl_in = {.cmd = FS_IOC_GETFLAGS, .out_size = sizeof(int)};
	struct fuse_setattr_in setattr = {.valid = FATTR_SIZE | FATTR_FH, .size = 6};
	struct fuse_getattr_in getattr = {.getattr_flags = FUSE_GETATTR_FH};
	struct fuse_copy_file_range_in copy = {.len = 4};
	struct fuse_write_out copied;
	struct fuse_attr_out attr;
	struct rig *r = *state;
	struct fuse_attr set;
	uint64_t node, to;
	int rc;

	rig_file(r, "f", "0123456789");
	rig_file(r, "to", "");
	node = rig_node(r, ROOT, "f");
	to = rig_node(r, ROOT, "to");
	assert_int_equal(fc_setattr(&r->c, node, &setattr, &set), 0);
	assert_int_equal(set.size, 6);
	assert_int_equal(
	    fc_call(&r->c, FUSE_GETATTR, node, &getattr, sizeof(getattr), NULL, NULL, sizeof(attr)), 0);
	memcpy(&attr, r->c.m->out, sizeof(attr));
	assert_int_equal(attr.attr.size, 6);
	assert_int_equal(fc_call(&r->c, FUSE_FSYNC, node, &fsync_in, sizeof(fsync_in), NULL, NULL, 0), 0);
	assert_int_equal(fc_call(&r->c, FUSE_FSYNCDIR, ROOT, &fsync_in, sizeof(fsync_in), NULL, NULL, 0), 0);
	assert_int_equal(fc_lookup(&r->c, ROOT, "f", &(struct fuse_entry_out){0}), 0);
	assert_int_equal(fc_lseek(&r->c, node, 0, 0, SEEK_HOLE), 6);
	assert_int_equal(fc_fallocate(&r->c, node, 0, 0, 0, 4096), 0);
	assert_int_equal(rig_stat(r, "f").st_size, 4096);
	rc = fc_call(&r->c, FUSE_IOCTL, node, &ioctl_in, sizeof(ioctl_in), NULL, NULL,
		     sizeof(struct fuse_ioctl_out) + sizeof(int));
	assert_true(rc == 0 || rc == -ENOTTY || rc == -EOPNOTSUPP);
	copy.nodeid_out = to;
	assert_int_equal(
	    fc_call(&r->c, FUSE_COPY_FILE_RANGE, node, &copy, sizeof(copy), NULL, NULL, sizeof(copied)), 0);
	memcpy(&copied, r->c.m->out, sizeof(copied));
	assert_int_equal(copied.size, 4);
	is(r, to, "0123");
}

/* What is no regular file is never opened: a FIFO would wait for its other end, on the reactor. */
static void test_other_types(void **state)
{
	struct fuse_fsync_in fsync_in = {0};
	struct fuse_copy_file_range_in copy = {.len = 4};
	struct fuse_entry_out fifo, link;
	struct rig *r = *state;
	uint64_t file;
	char text[4];

	rig_file(r, "f", "text");
	file = rig_node(r, ROOT, "f");
	assert_int_equal(fc_mknod(&r->c, ROOT, "fifo", S_IFIFO | 0600, 0, &fifo), 0);
	assert_int_equal(fc_symlink(&r->c, ROOT, "link", "f", &link), 0);
	assert_int_equal(fc_read(&r->c, fifo.nodeid, 0, 0, text, sizeof(text)), -ENXIO);
	assert_int_equal(fc_write(&r->c, fifo.nodeid, 0, 0, "text", 4), -ENXIO);
	assert_int_equal(fc_call(&r->c, FUSE_FSYNC, fifo.nodeid, &fsync_in, sizeof(fsync_in), NULL, NULL, 0),
			 -ENXIO);
	copy.nodeid_out = fifo.nodeid;
	assert_int_equal(
	    fc_call(&r->c, FUSE_COPY_FILE_RANGE, file, &copy, sizeof(copy), NULL, NULL, sizeof(text) * 2),
	    -ENXIO);
	assert_int_equal(fc_read(&r->c, link.nodeid, 0, 0, text, sizeof(text)), -ELOOP);
	assert_int_equal(fc_read(&r->c, ROOT, 0, 0, text, sizeof(text)), -EISDIR);
	assert_int_equal(fc_write(&r->c, ROOT, 0, 0, "text", 4), -EISDIR);
	assert_int_equal(fc_readdir(&r->c, file, 0, 0, 4096, false, NULL, NULL), -ENOTDIR);
	assert_int_equal(fc_read(&r->c, 12345, 0, 0, text, sizeof(text)), -ESTALE);
}

static void test_readonly(void **state)
{
	struct rig *r = *state;
	uint64_t node;

	rig_file(r, "f", "text");
	rig_start(r, NO_OPEN ", \"readonly\": true");
	node = rig_node(r, ROOT, "f");
	is(r, node, "text");
	assert_int_equal(fc_write(&r->c, node, 0, 0, "T", 1), -EROFS);
	assert_int_equal(fc_fallocate(&r->c, node, 0, 0, 0, 4096), -EROFS);
	is(r, node, "text");
	rig_stop(r);
}

/* An error of the open is the request's. */
static void test_open_fails(void **state)
{
	struct rig *r = *state;
	uint64_t node;
	char text[4];

	rig_file(r, "f", "text");
	start_with_few(r, NO_OPEN, 1);
	node = rig_node(r, ROOT, "f");
	use_others(r, 8); /* its descriptor goes */
	assert_int_equal(unlinkat(r->dir, "f", 0), 0);
	assert_int_equal(fc_read(&r->c, node, 0, 0, text, sizeof(text)), -ESTALE);
	assert_int_equal(fc_write(&r->c, node, 0, 0, "T", 1), -ESTALE);
	assert_int_equal(flush(r, node), 0);
	rig_stop(r);
}

/* --- directories --- */

#define NAMES 300

struct listing {
	unsigned seen[NAMES];
	uint64_t last;
};

static void see(void *arg, const struct fuse_dirent *d, const struct fuse_entry_out *e)
{
	struct listing *l = arg;
	unsigned n;

	l->last = d->off;
	if (d->namelen == 4 && sscanf(d->name, "n%3u", &n) == 1 && n < NAMES) {
		l->seen[n]++;
		assert_true(!e || e->nodeid);
	}
}

static void list_all(struct rig *r, uint32_t bytes, bool plus)
{
	struct listing l = {.last = 0};

	while (fc_readdir(&r->c, ROOT, 0, l.last, bytes, plus, see, &l) > 0)
		;
	for (unsigned i = 0; i < NAMES; i++)
		assert_int_equal(l.seen[i], 1);
}

static void test_listing(void **state)
{
	struct rig *r = *state;
	struct listing l = {.last = 0};
	uint64_t again;
	char name[8];

	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "n%03u", i);
		rig_file(r, name, "");
	}
	list_all(r, 512, false);
	list_all(r, 65536, false);
	list_all(r, 1024, true);
	list_all(r, 65536, true);
	/* From an earlier place once more. */
	assert_true(fc_readdir(&r->c, ROOT, 0, 0, 1024, false, see, &l) > 0);
	again = l.last;
	assert_true(fc_readdir(&r->c, ROOT, 0, again, 4096, false, see, &l) > 0);
	memset(&l, 0, sizeof(l));
	assert_true(fc_readdir(&r->c, ROOT, 0, 0, 1024, false, see, &l) > 0);
	assert_int_equal(l.last, again);
	assert_int_equal(fc_readdir(&r->c, ROOT, 0, UINT64_MAX, 4096, false, see, &l), -EINVAL);
}

#define T(f)  cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
#define TO(f) cmocka_unit_test_setup_teardown(f, no_open_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_negotiation),       T(test_half_a_guest),
	    TO(test_read_and_write),   T(test_without_handles),
	    T(test_on_workers),        TO(test_create),
	    T(test_nameless),          T(test_flags),
	    TO(test_append_only_file), T(test_gone),
	    TO(test_other_operations), TO(test_other_types),
	    T(test_readonly),          T(test_open_fails),
	    TO(test_listing),
	};

	return cmocka_run_group_tests_name("passthrough_no_open", tests, NULL, NULL);
}
