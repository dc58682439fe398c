/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The passthrough driver: options, names, nodes. What the guest gets is compared with the host's
 * tree.
 */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "../../lib/fuse/session_priv.h"
#include "pt_rig.h"
#include "sfs_passthrough.h"

#define ROOT SFS_ROOT_ID

/* --- options --- */

static void test_options(void **state)
{
	struct rig *r = *state;
	char text[1024];

	assert_int_equal(rig_try(r, "", text, sizeof(text)), 0);
	assert_int_equal(rig_try(r, ", \"cache\": \"none\", \"entry_timeout_ms\": null", text, sizeof(text)),
			 0);
	assert_int_equal(rig_try(r, ", \"posix_lock\": true", text, sizeof(text)), -EINVAL);
	assert_non_null(strstr(text, "posix_lock"));
	assert_int_equal(rig_try(r, ", \"cache\": \"fast\"", text, sizeof(text)), -EINVAL);
	assert_non_null(strstr(text, "cache"));
	assert_int_equal(rig_try(r, ", \"posix_acl\": \"always\", \"xattr\": false", text, sizeof(text)),
			 -EINVAL);
	assert_non_null(strstr(text, "posix_acl"));
	assert_int_equal(rig_try(r, ", \"inode_fds_max\": 0", text, sizeof(text)), -EINVAL);
	assert_int_equal(
	    rig_try(r, ", \"max_write_bytes\": 4096, \"max_readahead_bytes\": null", text, sizeof(text)), 0);
	assert_int_equal(rig_try(r, ", \"max_write_bytes\": 4095", text, sizeof(text)), -EINVAL);
	assert_int_equal(rig_try(r, ", \"max_background\": 65536", text, sizeof(text)), -EINVAL);
	assert_int_equal(rig_try(r, ", \"congestion_threshold\": 0", text, sizeof(text)), -EINVAL);
	strcat(r->share, "/missing");
	assert_int_equal(rig_try(r, "", text, sizeof(text)), -ENOENT);
	assert_non_null(strstr(text, "shared_dir"));
	assert_non_null(strstr(text, "/missing"));
}

/* --- LOOKUP and attributes --- */

static void check_attr(const struct fuse_attr *a, const struct stat *st)
{
	assert_int_equal(a->ino, st->st_ino);
	assert_int_equal(a->mode, st->st_mode);
	assert_int_equal(a->size, st->st_size);
	assert_int_equal(a->blocks, st->st_blocks);
	assert_int_equal(a->nlink, st->st_nlink);
	assert_int_equal(a->uid, st->st_uid);
	assert_int_equal(a->gid, st->st_gid);
	assert_int_equal(a->rdev, st->st_rdev);
	assert_int_equal(a->mtime, st->st_mtim.tv_sec);
	assert_int_equal(a->mtimensec, st->st_mtim.tv_nsec);
	assert_int_equal(a->ctimensec, st->st_ctim.tv_nsec);
}

/* One object of each type, as far as we may make them. Returns how many. */
static unsigned make_types(struct rig *r, const char *names[8])
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	unsigned n = 0;
	int s;

	rig_file(r, "file", "text");
	names[n++] = "file";
	assert_int_equal(mkdirat(r->dir, "dir", 0755), 0);
	names[n++] = "dir";
	assert_int_equal(symlinkat("nowhere", r->dir, "link"), 0);
	names[n++] = "link";
	assert_int_equal(mkfifoat(r->dir, "fifo", 0644), 0);
	names[n++] = "fifo";
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/sock", r->share);
	assert_int_equal(bind(s, (void *)&un, sizeof(un)), 0);
	close(s);
	names[n++] = "sock";
	if (mknodat(r->dir, "null", S_IFCHR | 0666, makedev(1, 3)) == 0)
		names[n++] = "null";
	return n;
}

static void test_lookup_types(void **state)
{
	const char *const modes[] = {"never", "prefer"};
	struct rig *r = *state;
	const char *names[8];
	unsigned n = make_types(r, names);

	for (unsigned m = 0; m < 2; m++) {
		char options[128];

		snprintf(options, sizeof(options), ", \"inode_file_handles\": \"%s\"", modes[m]);
		rig_start(r, options);
		for (unsigned i = 0; i < n; i++) {
			struct stat st = rig_stat(r, names[i]);
			struct fuse_entry_out e, again;
			struct fuse_attr attr;

			assert_int_equal(fc_lookup(&r->c, ROOT, names[i], &e), 0);
			assert_true(e.nodeid > ROOT);
			check_attr(&e.attr, &st);
			assert_int_equal(e.entry_valid, 1);
			assert_int_equal(e.attr_valid, 1);
			assert_int_equal(fc_lookup(&r->c, ROOT, names[i], &again), 0);
			assert_int_equal(again.nodeid, e.nodeid);
			assert_int_equal(fc_getattr(&r->c, e.nodeid, &attr), 0);
			check_attr(&attr, &st);
			fc_forget(&r->c, e.nodeid, 2);
			assert_int_equal(fc_getattr(&r->c, e.nodeid, &attr), -ESTALE);
		}
		assert_int_equal(fc_lookup(&r->c, ROOT, "none", NULL), -ENOENT);
		assert_int_equal(fc_lookup(&r->c, rig_node(r, ROOT, "file"), "x", NULL), -ENOTDIR);
		rig_stop(r);
	}
}

static void test_lookup_timeouts(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out e;

	rig_file(r, "f", "");
	rig_start(r, ", \"entry_timeout_ms\": 2500, \"attr_timeout_ms\": 0, \"negative_timeout_ms\": 1500");
	assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), 0);
	assert_int_equal(e.entry_valid, 2);
	assert_int_equal(e.entry_valid_nsec, 500000000);
	assert_int_equal(e.attr_valid, 0);
	assert_int_equal(fc_lookup(&r->c, ROOT, "none", &e), 0);
	assert_int_equal(e.nodeid, 0);
	assert_int_equal(e.entry_valid, 1);
	assert_int_equal(e.entry_valid_nsec, 500000000);
	rig_stop(r);
	rig_start(r, ", \"cache\": \"always\"");
	assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), 0);
	assert_int_equal(e.entry_valid, 86400);
}

static void test_lookup_dots(void **state)
{
	struct rig *r = *state;
	uint64_t a, b;

	assert_int_equal(mkdirat(r->dir, "a", 0755), 0);
	assert_int_equal(mkdirat(r->dir, "a/b", 0755), 0);
	rig_start(r, "");
	a = rig_node(r, ROOT, "a");
	b = rig_node(r, a, "b");
	assert_int_equal(rig_node(r, a, "."), a);
	assert_int_equal(rig_node(r, b, ".."), a);
	assert_int_equal(rig_node(r, a, ".."), ROOT);
	assert_int_equal(rig_node(r, ROOT, ".."), ROOT);
	assert_int_equal(rig_node(r, ROOT, "."), ROOT);
	/* Moved out of the share: what is above is not the guest's. */
	assert_int_equal(renameat(r->dir, "a/b", r->dir, "../b"), 0);
	assert_int_equal(fc_lookup(&r->c, b, "..", NULL), -ESTALE);
	assert_int_equal(renameat(r->dir, "../b", r->dir, "b"), 0);
	assert_int_equal(rig_node(r, b, ".."), ROOT);
}

static void test_names(void **state)
{
	const char *const bad[] = {"", ".", "..", "a/b", "/", "../share"};
	struct rig *r = *state;
	struct fuse_entry_out e;
	char name[260];
	uint64_t fh;

	rig_file(r, "f", "");
	rig_start(r, "");
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(bad); i++) {
		assert_true(fc_mkdir(&r->c, ROOT, bad[i], 0755, NULL) < 0);
		assert_true(fc_mknod(&r->c, ROOT, bad[i], S_IFREG | 0644, 0, NULL) < 0);
		assert_true(fc_symlink(&r->c, ROOT, bad[i], "t", NULL) < 0);
		assert_true(fc_create(&r->c, ROOT, bad[i], O_RDWR, 0644, &e, &fh) < 0);
		assert_true(fc_unlink(&r->c, ROOT, bad[i]) < 0);
		assert_true(fc_rmdir(&r->c, ROOT, bad[i]) < 0);
		assert_true(fc_rename(&r->c, ROOT, "f", ROOT, bad[i], 0) < 0);
		assert_true(fc_rename(&r->c, ROOT, bad[i], ROOT, "g", 0) < 0);
	}
	memset(name, 'n', sizeof(name));
	name[255] = 0;
	assert_int_equal(fc_mkdir(&r->c, ROOT, name, 0755, NULL), 0);
	name[255] = 'n';
	name[256] = 0;
	assert_int_equal(fc_mkdir(&r->c, ROOT, name, 0755, NULL), -ENAMETOOLONG);
}

/* --- what must never be reached --- */

static void test_special_never_opened(void **state)
{
	struct rig *r = *state;
	const char *names[8];
	unsigned n = make_types(r, names);
	struct fuse_entry_out e;
	uint64_t fh, node;
	char text[16];

	rig_start(r, "");
	for (unsigned i = 1; i < n; i++) {
		node = rig_node(r, ROOT, names[i]);
		assert_true(fc_open(&r->c, node, O_RDONLY, &fh) < 0);
		assert_true(fc_open(&r->c, node, O_RDWR, &fh) < 0);
		assert_true(fc_truncate(&r->c, node, 0) < 0);
		assert_true(fc_create(&r->c, ROOT, names[i], O_RDWR, 0644, &e, &fh) < 0);
		if (strcmp(names[i], "dir") != 0)
			assert_int_equal(fc_opendir(&r->c, node, &fh), -ENOTDIR);
	}
	/* Replaced behind our back: the guest means what it looked up. */
	node = rig_node(r, ROOT, "file");
	assert_int_equal(unlinkat(r->dir, "file", 0), 0);
	assert_int_equal(mkfifoat(r->dir, "file", 0644), 0);
	assert_int_equal(rig_cat(r, node, text, sizeof(text)), 0);
	assert_string_equal(text, "text");
}

static void test_symlinks_not_followed(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out e;
	char text[64], target[128];
	uint64_t fh;

	rig_file(r, "../secret", "secret");
	snprintf(target, sizeof(target), "%s/secret", r->top);
	assert_int_equal(symlinkat(target, r->dir, "abs"), 0);
	assert_int_equal(symlinkat("../secret", r->dir, "rel"), 0);
	assert_int_equal(symlinkat("..", r->dir, "up"), 0);
	rig_start(r, "");
	assert_int_equal(fc_lookup(&r->c, rig_node(r, ROOT, "up"), "secret", NULL), -ENOTDIR);
	assert_int_equal(fc_create(&r->c, ROOT, "abs", O_RDWR, 0644, &e, &fh), -ELOOP);
	assert_int_equal(fc_create(&r->c, ROOT, "rel", O_RDWR | O_EXCL, 0644, &e, &fh), -EEXIST);
	assert_int_equal(fc_open(&r->c, rig_node(r, ROOT, "rel"), O_RDONLY, &fh), -ELOOP);
	assert_int_equal(fc_readlink(&r->c, rig_node(r, ROOT, "rel"), text, sizeof(text)), 9);
	assert_string_equal(text, "../secret");
}

struct swapper {
	struct rig *r;
	atomic_bool stop;
	unsigned swaps;
};

static void *swap_thread(void *arg)
{
	struct swapper *s = arg;

	while (!atomic_load(&s->stop)) {
		renameat2(s->r->dir, "d", s->r->dir, "evil", RENAME_EXCHANGE);
		s->swaps++;
	}
	return NULL;
}

static void test_symlink_swap(void **state)
{
	struct rig *r = *state;
	struct swapper s = {.r = r};
	struct fuse_entry_out e, f;
	ino_t secret, fine;
	pthread_t t;

	assert_int_equal(mkdirat(r->dir, "../outside", 0755), 0);
	rig_file(r, "../outside/x", "secret");
	assert_int_equal(mkdirat(r->dir, "d", 0755), 0);
	rig_file(r, "d/x", "fine");
	assert_int_equal(symlinkat("../outside", r->dir, "evil"), 0);
	secret = rig_stat(r, "../outside/x").st_ino;
	fine = rig_stat(r, "d/x").st_ino;
	rig_start(r, "");
	assert_int_equal(pthread_create(&t, NULL, swap_thread, &s), 0);
	for (unsigned i = 0; i < 3000; i++) {
		int rc;

		assert_int_equal(fc_lookup(&r->c, ROOT, "d", &e), 0);
		rc = fc_lookup(&r->c, e.nodeid, "x", &f);
		if (rc == 0) {
			assert_int_equal(f.attr.ino, fine);
			assert_int_not_equal(f.attr.ino, secret);
		} else {
			assert_int_equal(rc, -ENOTDIR);
		}
	}
	atomic_store(&s.stop, true);
	pthread_join(t, NULL);
}

/* --- objects belong to the caller --- */

static void check_owner(struct rig *r, const char *name, uid_t uid, gid_t gid, mode_t mode)
{
	struct stat st = rig_stat(r, name);

	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_gid, gid);
	assert_int_equal(st.st_mode, mode);
}

static void ownership(struct rig *r, const char *options)
{
	struct fuse_create_in create = {.flags = O_RDWR, .mode = S_IFREG | 0666, .umask = 027};
	struct fuse_mkdir_in mkdir_in = {.mode = 0777, .umask = 022};
	struct fuse_entry_out e;
	uint64_t fh;

	rig_start(r, options);
	r->g.uid = 1234;
	r->g.gid = 5678;
	assert_int_equal(fc_create(&r->c, ROOT, "file", O_RDWR, S_IFREG | 0640, &e, &fh), 0);
	check_owner(r, "file", 1234, 5678, S_IFREG | 0640);
	assert_int_equal(fc_release(&r->c, e.nodeid, fh), 0);
	assert_int_equal(fc_mkdir(&r->c, ROOT, "dir", 0750, NULL), 0);
	check_owner(r, "dir", 1234, 5678, S_IFDIR | 0750);
	assert_int_equal(fc_mknod(&r->c, ROOT, "fifo", S_IFIFO | 0600, 0, NULL), 0);
	check_owner(r, "fifo", 1234, 5678, S_IFIFO | 0600);
	assert_int_equal(fc_symlink(&r->c, ROOT, "link", "target", NULL), 0);
	check_owner(r, "link", 1234, 5678, S_IFLNK | 0777);
	/* DONT_MASK is in force: the mask comes with the request. */
	assert_int_equal(fc_call(&r->c, FUSE_CREATE, ROOT, &create, sizeof(create), "masked", NULL,
				 sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out)),
			 0);
	check_owner(r, "masked", 1234, 5678, S_IFREG | 0640);
	assert_int_equal(
	    fc_call(&r->c, FUSE_MKDIR, ROOT, &mkdir_in, sizeof(mkdir_in), "mdir", NULL, sizeof(e)), 0);
	check_owner(r, "mdir", 1234, 5678, S_IFDIR | 0755);
	/* Errors leave nothing behind: the next one is root's again. */
	assert_int_equal(fc_mkdir(&r->c, ROOT, "dir", 0755, NULL), -EEXIST);
	r->g.uid = UINT32_MAX;
	assert_int_equal(fc_mkdir(&r->c, ROOT, "nobody", 0755, NULL), -EPERM);
	r->g.uid = r->g.gid = 0;
	assert_int_equal(fc_mkdir(&r->c, ROOT, "rootdir", 0700, NULL), 0);
	check_owner(r, "rootdir", 0, 0, S_IFDIR | 0700);
	/* The guest's kernel has decided that this caller may: a directory closed on the host is no obstacle.
	 */
	r->g.uid = 1234;
	assert_int_equal(fc_mkdir(&r->c, rig_node(r, ROOT, "rootdir"), "in", 0755, NULL), 0);
	check_owner(r, "rootdir/in", 1234, 0, S_IFDIR | 0755);
}

static void test_ownership(void **state)
{
	if (!rig_is_root())
		skip();
	ownership(*state, "");
}

static void test_ownership_on_workers(void **state)
{
	struct rig *r = *state;

	if (!rig_is_root())
		skip();
	ownership(r, ", \"inline_blocking\": \"never\"");
	assert_int_equal(rig_path(r, FUSE_MKDIR, SFS_PATH_INLINE), 0);
	assert_true(rig_path(r, FUSE_MKDIR, SFS_PATH_WORKER) > 0);
}

static void test_setgid_directory(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out e;
	uint64_t fh, dir;

	if (!rig_is_root())
		skip();
	assert_int_equal(mkdirat(r->dir, "g", 0777), 0);
	assert_int_equal(fchownat(r->dir, "g", 0, 2000, 0), 0);
	assert_int_equal(fchmodat(r->dir, "g", 02777, 0), 0);
	rig_start(r, "");
	dir = rig_node(r, ROOT, "g");
	r->g.uid = r->g.gid = 1000;
	assert_int_equal(fc_create(&r->c, dir, "f", O_RDWR, S_IFREG | 02775, &e, &fh), 0);
	check_owner(r, "g/f", 1000, 2000, S_IFREG | 0775);
	assert_int_equal(fc_mkdir(&r->c, dir, "d", 0775, NULL), 0);
	check_owner(r, "g/d", 1000, 2000, S_IFDIR | 02775);
	/* A member of the group keeps the bit. */
	r->g.gid = 2000;
	assert_int_equal(fc_create(&r->c, dir, "m", O_RDWR, S_IFREG | 02775, &e, &fh), 0);
	check_owner(r, "g/m", 1000, 2000, S_IFREG | 02775);
}

/* --- names that change --- */

static void test_links_and_renames(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out e;
	uint64_t f, d;

	rig_file(r, "f", "1");
	rig_file(r, "g", "2");
	assert_int_equal(mkdirat(r->dir, "d", 0755), 0);
	assert_int_equal(symlinkat("t", r->dir, "s"), 0);
	rig_start(r, "");
	f = rig_node(r, ROOT, "f");
	d = rig_node(r, ROOT, "d");
	assert_int_equal(fc_link(&r->c, f, d, "hard", &e), 0);
	assert_int_equal(e.nodeid, f);
	assert_int_equal(e.attr.nlink, 2);
	assert_int_equal(rig_node(r, d, "hard"), f);
	assert_int_equal(fc_link(&r->c, f, d, "hard", &e), -EEXIST);
	assert_int_equal(fc_link(&r->c, rig_node(r, ROOT, "s"), d, "slink", &e), 0);
	assert_true(S_ISLNK(rig_stat(r, "d/slink").st_mode));
	assert_int_equal(fc_rename(&r->c, ROOT, "f", ROOT, "g", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(fc_rename(&r->c, ROOT, "f", ROOT, "g", RENAME_EXCHANGE), 0);
	assert_int_equal(rig_node(r, ROOT, "g"), f);
	assert_int_equal(fc_rename(&r->c, ROOT, "g", d, "moved", 0), 0);
	assert_int_equal(rig_node(r, d, "moved"), f);
	assert_int_equal(fc_rename(&r->c, ROOT, "f", ROOT, "f2", 1u << 30), -EINVAL);
	assert_int_equal(fc_rename(&r->c, ROOT, "f", 0x7777, "x", 0), -ESTALE);
	/* A whiteout: what overlay filesystems leave in the place of what was there. */
	if (rig_is_root() && fc_rename(&r->c, ROOT, "s", ROOT, "s2", RENAME_WHITEOUT) == 0) {
		assert_true(S_ISCHR(rig_stat(r, "s").st_mode));
		assert_int_equal(rig_stat(r, "s").st_rdev, 0);
		assert_true(S_ISLNK(rig_stat(r, "s2").st_mode));
	}
	assert_int_equal(fc_unlink(&r->c, ROOT, "d"), -EISDIR);
	assert_int_equal(fc_rmdir(&r->c, ROOT, "d"), -ENOTEMPTY);
	assert_int_equal(fc_rmdir(&r->c, ROOT, "f"), -ENOTDIR);
	assert_int_equal(fc_unlink(&r->c, ROOT, "f"), 0);
	assert_int_equal(faccessat(r->dir, "f", F_OK, 0), -1);
}

static void deleted_before_open(struct rig *r, const char *options)
{
	struct fuse_attr attr;
	uint64_t node, fh;
	char text[16];

	rig_file(r, "f", "still here");
	rig_start(r, options);
	node = rig_node(r, ROOT, "f");
	assert_int_equal(unlinkat(r->dir, "f", 0), 0);
	assert_int_equal(fc_open(&r->c, node, O_RDWR, &fh), 0);
	assert_int_equal(fc_read(&r->c, node, fh, 0, text, 10), 10);
	assert_memory_equal(text, "still here", 10);
	assert_int_equal(fc_getattr(&r->c, node, &attr), 0);
	assert_int_equal(attr.nlink, 0);
	assert_int_equal(fc_truncate(&r->c, node, 5), 0);
	assert_int_equal(fc_read(&r->c, node, fh, 0, text, 10), 5);
	assert_int_equal(fc_release(&r->c, node, fh), 0);
	assert_int_equal(fc_read(&r->c, node, fh, 0, text, 10), -EBADF);
	rig_stop(r);
}

static void test_deleted_before_open(void **state)
{
	deleted_before_open(*state, ", \"inode_file_handles\": \"never\"");
	deleted_before_open(*state, ", \"inode_file_handles\": \"prefer\"");
	deleted_before_open(*state, ", \"inline_blocking\": \"never\"");
}

/* A file that is open and unlinked works, also when its node has lost its cached descriptor. */
static void test_unlinked_while_open(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out e;
	struct fuse_attr attr;
	char name[16];
	uint64_t fh;

	rig_start(r, ", \"inode_fds_max\": 1");
	assert_int_equal(fc_create(&r->c, ROOT, "f", O_RDWR, S_IFREG | 0644, &e, &fh), 0);
	assert_int_equal(fc_unlink(&r->c, ROOT, "f"), 0);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "o%d", i);
		rig_file(r, name, "");
		rig_node(r, ROOT, name);
	}
	assert_int_equal(fc_write(&r->c, e.nodeid, fh, 0, "data", 4), 4);
	assert_int_equal(fc_getattr(&r->c, e.nodeid, &attr), 0);
	assert_int_equal(attr.size, 4);
	assert_int_equal(fc_truncate(&r->c, e.nodeid, 2), 0);
	assert_int_equal(fc_release(&r->c, e.nodeid, fh), 0);
}

/* Descriptors of ours whose file was deleted. */
static unsigned deleted_held(struct rig *r)
{
	struct dirent *e;
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");

	assert_non_null(d);
	while ((e = readdir(d))) {
		char path[300];
		ssize_t len = readlinkat(dirfd(d), e->d_name, path, sizeof(path) - 1);

		if (len < 0)
			continue;
		path[len] = 0;
		n += strstr(path, r->share) && strstr(path, "(deleted)");
	}
	closedir(d);
	return n;
}

static void forgotten_is_gone(struct rig *r, const char *options)
{
	uint64_t node;

	rig_file(r, "f", "blocks");
	rig_start(r, options);
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_unlink(&r->c, ROOT, "f"), 0);
	assert_int_equal(deleted_held(r), 1);
	fc_forget(&r->c, node, 1);
	while (deleted_held(r))
		sched_yield();
	rig_stop(r);
}

/* A deleted file that the guest has forgotten takes no room on the host. */
static void test_forgotten_is_gone(void **state)
{
	forgotten_is_gone(*state, "");
	forgotten_is_gone(*state, ", \"inode_file_handles\": \"never\"");
	forgotten_is_gone(*state, ", \"inline_blocking\": \"never\"");
}

struct renamer {
	struct rig *r;
	unsigned count;
	atomic_bool done;
};

static void *rename_thread(void *arg)
{
	struct renamer *rn = arg;
	int fd;

	for (unsigned i = 0; i < rn->count; i++) {
		fd = openat(rn->r->dir, "new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (fd < 0 || write(fd, "whole", 5) != 5)
			break;
		close(fd);
		if (renameat(rn->r->dir, "new", rn->r->dir, "name") < 0)
			break;
	}
	atomic_store(&rn->done, true);
	return NULL;
}

static void renamed_over(struct rig *r, const char *options, unsigned count)
{
	struct renamer rn = {.r = r, .count = count};
	unsigned rounds = 0;
	pthread_t t;

	rig_file(r, "name", "whole");
	rig_start(r, options);
	assert_int_equal(pthread_create(&t, NULL, rename_thread, &rn), 0);
	for (; !atomic_load(&rn.done); rounds++) {
		struct fuse_entry_out e;
		char text[16];

		assert_int_equal(fc_lookup(&r->c, ROOT, "name", &e), 0);
		assert_int_equal(rig_cat(r, e.nodeid, text, sizeof(text)), 0);
		assert_string_equal(text, "whole");
		assert_int_equal(fc_getattr(&r->c, e.nodeid, NULL), 0);
		fc_forget(&r->c, e.nodeid, 1);
	}
	pthread_join(t, NULL);
	assert_true(rounds > 0);
	rig_stop(r);
}

static void test_renamed_over(void **state)
{
	renamed_over(*state, "", 10000);
	renamed_over(*state, ", \"inode_file_handles\": \"never\"", 2000);
	renamed_over(*state, ", \"inline_blocking\": \"never\"", 2000);
}

/* An inode number that is used again is another object, also for a node that holds no descriptor. */
static void test_inode_reused(void **state)
{
	struct rig *r = *state;
	unsigned reused = 0;

	rig_start(r, ", \"inode_fds_max\": 1");
	for (int i = 0; i < 50; i++) {
		uint64_t old, other, now;
		char text[16];
		ino_t ino;

		rig_file(r, "f", "old");
		ino = rig_stat(r, "f").st_ino;
		old = rig_node(r, ROOT, "f");
		/* Two more lookups take its descriptor away. */
		rig_file(r, "x", "");
		rig_file(r, "y", "");
		other = rig_node(r, ROOT, "x");
		rig_node(r, ROOT, "y");
		rig_node(r, ROOT, "x");
		assert_int_equal(unlinkat(r->dir, "f", 0), 0);
		rig_file(r, "f", "new");
		reused += rig_stat(r, "f").st_ino == ino;
		now = rig_node(r, ROOT, "f");
		assert_true(now != other);
		assert_int_equal(rig_cat(r, now, text, sizeof(text)), 0);
		assert_string_equal(text, "new");
		if (now != old && rig_cat(r, old, text, sizeof(text)) == 0)
			assert_string_equal(text, "old");
	}
	print_message("inode numbers used again: %u of 50\n", reused);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

static unsigned open_here(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* What a turn closes is closed at its end, in whatever order it was opened; where room is short, at once. */
static void test_closed_together(void **state)
{
	static const struct sfs_session_limits few = {
	    .inodes = 64, .handles = 64, .fds = 8, .node_fds = 4, .lock_waiters = 4};
	enum { FILES = 7 };
	struct rig *r = *state;

	for (unsigned scarce = 0; scarce < 2; scarce++) {
		struct fg_msg *m[FILES];
		uint64_t node, fh[FILES], kept;
		unsigned before;
		char buf[16];

		rig_file(r, "f", "0123456789");
		rig_start_with(r, "", RIG_FLAGS_ALL, scarce ? &few : NULL);
		r->g.se->slow_ticks = UINT64_MAX; /* a machine with much to do gives no closes to workers */
		node = rig_node(r, ROOT, "f");
		for (unsigned i = 0; i < FILES; i++)
			assert_int_equal(fc_open(&r->c, node, O_RDONLY, &fh[i]), 0);
		kept = fh[3];
		before = open_here();
		sfs_group_begin(&r->g.group, 0);
		for (unsigned i = FILES; i-- > 0;) {
			struct fuse_release_in in = {.fh = fh[i]};

			if (i == 3)
				continue;
			m[i] = fg_new();
			fg_send(&r->g, 0, m[i], FUSE_RELEASE, node, &in, sizeof(in), NULL, NULL, NULL, 0, 0);
		}
		if (!scarce)
			assert_int_equal(open_here(), before);
		else /* down to half of what there may be */
			assert_true(open_here() <= before - 1);
		sfs_group_end(&r->g.group);
		assert_int_equal(open_here(), before - (FILES - 1));
		for (unsigned i = 0; i < FILES; i++) {
			if (i == 3)
				continue;
			assert_int_equal(fg_wait(&r->g, 0, m[i]), 0);
			fg_free(m[i]);
		}
		/* The kept one works. */
		assert_int_equal(fc_read(&r->c, node, kept, 0, buf, 10), 10);
		assert_int_equal(fc_release(&r->c, node, kept), 0);
		assert_int_equal(open_here(), before - FILES);
		rig_stop(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_options),
	    T(test_lookup_types),
	    T(test_lookup_timeouts),
	    T(test_lookup_dots),
	    T(test_names),
	    T(test_special_never_opened),
	    T(test_symlinks_not_followed),
	    T(test_symlink_swap),
	    T(test_ownership),
	    T(test_ownership_on_workers),
	    T(test_setgid_directory),
	    T(test_links_and_renames),
	    T(test_closed_together),
	    T(test_deleted_before_open),
	    T(test_unlinked_while_open),
	    T(test_forgotten_is_gone),
	    T(test_renamed_over),
	    T(test_inode_reused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
