/* SPDX-License-Identifier: BSD-3-Clause */
/* The filesystem as a guest sees it, compared with the host's view. */
#include "harness.h"

#include <linux/falloc.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define MIB (1u << 20)

static void check_attr(const struct fuse_attr *a, const struct stat *st)
{
	assert_int_equal(a->ino, st->st_ino);
	assert_int_equal(a->mode, st->st_mode);
	assert_int_equal(a->size, st->st_size);
	assert_int_equal(a->nlink, st->st_nlink);
	assert_int_equal(a->uid, st->st_uid);
	assert_int_equal(a->gid, st->st_gid);
	assert_int_equal(a->mtime, st->st_mtim.tv_sec);
	assert_int_equal(a->mtimensec, st->st_mtim.tv_nsec);
}

static void make(struct fn_env *env, const char *name, struct fuse_entry_out *entry, uint64_t *fh)
{
	struct fuse_open_out open;

	fn_ok(sfs_fg_create(&env->g, FUSE_ROOT_ID, name, O_RDWR | O_CREAT, S_IFREG | 0644, entry, &open));
	assert_true(entry->nodeid > FUSE_ROOT_ID);
	*fh = open.fh;
}

static void test_init(struct fn_env *env)
{
	struct fuse_init_out out;

	fn_guest(env, NULL);
	for (uint32_t minor = 38; minor >= 27; minor--) { /* again and again: a remount */
		fn_ok(sfs_fg_init(&env->g, minor, FUSE_MAX_PAGES | FUSE_BIG_WRITES, &out));
		assert_int_equal(out.major, FUSE_KERNEL_VERSION);
		assert_true(out.minor >= 27);
		assert_int_equal(out.max_write, MIB);
		assert_true(out.flags & FUSE_MAX_PAGES);
		assert_int_equal(out.max_pages, 256);
	}
}

static void test_destroy_and_init_again(struct fn_env *env)
{
	struct fuse_init_out out;
	struct fuse_attr_out attr;

	fn_guest(env, NULL);
	fn_ok(sfs_fg_destroy(&env->g));
	fn_ok(sfs_fg_init(&env->g, 38, FUSE_MAX_PAGES, &out));
	fn_ok(sfs_fg_getattr(&env->g, FUSE_ROOT_ID, NULL, &attr));
}

/* What stands in the ring behind an INIT is served after it, by what it negotiated. */
static void test_requests_behind_init(struct fn_env *env)
{
	struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION, .minor = 38};
	struct fuse_getattr_in getattr = {0};
	struct sfs_fg_req *reqs[20];

	fn_guest(env, &(struct sfs_fg_opts){.depth = SFS_ARRAY_SIZE(reqs)});
	for (unsigned round = 0; round < 50; round++) {
		struct sfs_fg_queue *q = &env->g.queue[1];

		fn_ok(sfs_fg_destroy(&env->g));
		for (unsigned i = 0; i < SFS_ARRAY_SIZE(reqs); i++)
			reqs[i] = fn_call(
			    q, i == round % 3
				   ? &(struct sfs_fg_call){.opcode = FUSE_INIT,
							   .args = &in,
							   .args_bytes = sizeof(in),
							   .out_bytes = sizeof(struct fuse_init_out),
							   .out_short = true}
				   : &(struct sfs_fg_call){.opcode = FUSE_GETATTR,
							   .nodeid = FUSE_ROOT_ID,
							   .args = &getattr,
							   .args_bytes = sizeof(getattr),
							   .out_bytes = sizeof(struct fuse_attr_out)});
		fn_publish(q);
		for (unsigned i = 0; i < SFS_ARRAY_SIZE(reqs); i++)
			assert_int_equal(fn_result(reqs[i]), i < round % 3 ? -EIO : 0);
	}
}

static void test_attributes_are_the_hosts(struct fn_env *env)
{
	struct fuse_attr_out attr;
	struct fuse_entry_out entry;
	struct stat st;

	fn_guest(env, NULL);
	assert_int_equal(fstat(env->share_fd, &st), 0);
	fn_ok(sfs_fg_getattr(&env->g, FUSE_ROOT_ID, NULL, &attr));
	assert_int_equal(attr.attr.mode, st.st_mode);
	fn_fails(ENOENT, sfs_fg_lookup(&env->g, FUSE_ROOT_ID, "missing", &entry));

	fn_host_write(env, "file", "hello", 5);
	assert_int_equal(fstatat(env->share_fd, "file", &st, 0), 0);
	fn_ok(sfs_fg_lookup(&env->g, FUSE_ROOT_ID, "file", &entry));
	check_attr(&entry.attr, &st);

	fn_host_write(env, "file", "hello, world", 12); /* on the host, behind the guest's back */
	assert_int_equal(fchmodat(env->share_fd, "file", 0640, 0), 0);
	assert_int_equal(fstatat(env->share_fd, "file", &st, 0), 0);
	fn_ok(sfs_fg_getattr(&env->g, entry.nodeid, NULL, &attr));
	check_attr(&attr.attr, &st);

	assert_int_equal(renameat(env->share_fd, "file", env->share_fd, "renamed"), 0);
	fn_ok(sfs_fg_getattr(&env->g, entry.nodeid, NULL, &attr));
	fn_fails(ENOENT, sfs_fg_lookup(&env->g, FUSE_ROOT_ID, "file", &entry));
}

static void test_setattr(struct fn_env *env)
{
	struct fuse_setattr_in in = {.valid = FATTR_SIZE | FATTR_MODE | FATTR_MTIME,
				     .size = 3,
				     .mode = 0600,
				     .mtime = 1000000000,
				     .mtimensec = 5};
	struct fuse_attr_out attr;
	struct fuse_entry_out entry;
	struct stat st;

	fn_guest(env, NULL);
	fn_host_write(env, "file", "hello", 5);
	fn_ok(sfs_fg_lookup(&env->g, FUSE_ROOT_ID, "file", &entry));
	fn_ok(sfs_fg_setattr(&env->g, entry.nodeid, &in, &attr));
	assert_int_equal(fstatat(env->share_fd, "file", &st, 0), 0);
	check_attr(&attr.attr, &st);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_mtim.tv_sec, 1000000000);
	assert_int_equal(st.st_mtim.tv_nsec, 5);
}

static void test_create_write_read(struct fn_env *env)
{
	static uint8_t sent[70000], got[70000];
	const struct {
		uint64_t offset;
		uint32_t bytes;
	} parts[] = {{0, 70000}, {4093, 5}, {1, 1}, {8191, 4097}, {69999, 1}};
	struct fuse_entry_out entry;
	uint64_t fh;

	fn_guest(env, NULL);
	make(env, "file", &entry, &fh);
	assert_int_equal(sfs_fg_read(&env->g, entry.nodeid, fh, 0, got, 4096), 0);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(parts); i++) {
		fn_pattern(sent + parts[i].offset, parts[i].bytes, i);
		assert_int_equal(sfs_fg_write(&env->g, entry.nodeid, fh, parts[i].offset,
					      sent + parts[i].offset, parts[i].bytes),
				 parts[i].bytes);
		fn_host_read(env, "file", got, sizeof(got));
		assert_memory_equal(sent, got, sizeof(got));
	}
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(parts); i++) {
		memset(got, 0, sizeof(got));
		assert_int_equal(sfs_fg_read(&env->g, entry.nodeid, fh, parts[i].offset, got, parts[i].bytes),
				 parts[i].bytes);
		assert_memory_equal(sent + parts[i].offset, got, parts[i].bytes);
	}
	assert_int_equal(sfs_fg_read(&env->g, entry.nodeid, fh, 69000, got, 4096), 1000); /* to the end */
	assert_int_equal(sfs_fg_read(&env->g, entry.nodeid, fh, 1 << 20, got, 4096), 0);
	fn_ok(sfs_fg_fsync(&env->g, entry.nodeid, fh, true));
	fn_ok(sfs_fg_fsync(&env->g, entry.nodeid, fh, false));
	fn_ok(sfs_fg_flush(&env->g, entry.nodeid, fh));
	fn_ok(sfs_fg_release(&env->g, entry.nodeid, fh));
	fn_fails(EBADF, sfs_fg_read(&env->g, entry.nodeid, fh, 0, got, 1));
}

static void check_one_mib(struct fn_env *env)
{
	uint8_t *sent = malloc(MIB), *got = calloc(1, MIB);
	struct fuse_entry_out entry;
	uint64_t fh;

	make(env, "large", &entry, &fh);
	for (unsigned i = 0; i < 3; i++) {
		fn_pattern(sent, MIB, i);
		assert_int_equal(sfs_fg_write(&env->g, entry.nodeid, fh, (uint64_t)i * MIB, sent, MIB), MIB);
		assert_int_equal(sfs_fg_read(&env->g, entry.nodeid, fh, (uint64_t)i * MIB, got, MIB), MIB);
		assert_memory_equal(sent, got, MIB);
	}
	assert_int_equal(sfs_fg_read(&env->g, entry.nodeid, fh, 2 * MIB + 100, got, MIB), MIB - 100);
	assert_memory_equal(sent + 100, got, MIB - 100);
	free(sent);
	free(got);
}

static void test_one_mib_in_pages(struct fn_env *env)
{
	fn_guest(env, NULL);
	check_one_mib(env);
}

static void test_one_mib_in_one_segment(struct fn_env *env)
{
	fn_guest(env, &(struct sfs_fg_opts){.depth = 8});
	check_one_mib(env);
}

static void test_one_mib_without_indirect(struct fn_env *env)
{
	fn_guest(env, &(struct sfs_fg_opts){.depth = 8,
					    .ring_size = 512,
					    .seg_bytes = SFS_FG_PAGE,
					    .features_refused = SFS_FE_F_INDIRECT_DESC});
	check_one_mib(env);
}

/* Beyond the operator's RLIMIT_FSIZE a guest is told so, and the daemon lives. */
static void test_file_size_limit(struct fn_env *env)
{
	enum { LIMIT = MIB };
	const struct rlimit lim = {LIMIT, LIMIT};
	struct fuse_setattr_in size = {.valid = FATTR_SIZE, .size = LIMIT + 1};
	struct fuse_fallocate_in room = {.offset = LIMIT, .length = 4096};
	struct sfs_fg_call fallocate = {.opcode = FUSE_FALLOCATE, .args = &room, .args_bytes = sizeof(room)};
	struct fuse_entry_out entry;
	struct fuse_attr_out attr;
	uint64_t fh;

	fn_guest(env, NULL);
	make(env, "file", &entry, &fh);
	fallocate.nodeid = entry.nodeid;
	room.fh = fh;
	assert_int_equal(prlimit(env->pid, RLIMIT_FSIZE, &lim, NULL), 0);
	fn_fails(EFBIG, sfs_fg_write(&env->g, entry.nodeid, fh, LIMIT, "x", 1));
	fn_fails(EFBIG, sfs_fg_setattr(&env->g, entry.nodeid, &size, &attr));
	fn_fails(EFBIG, sfs_fg_call(&env->g, &fallocate, NULL, NULL, NULL));
	assert_int_equal(sfs_fg_write(&env->g, entry.nodeid, fh, 0, "x", 1), 1);
	assert_true(fn_alive(env));
}

static void test_unlinked_file_stays_open(struct fn_env *env)
{
	struct fuse_entry_out entry, none;
	struct fuse_attr_out attr;
	char got[5];
	uint64_t fh;

	fn_guest(env, NULL);
	make(env, "file", &entry, &fh);
	assert_int_equal(sfs_fg_write(&env->g, entry.nodeid, fh, 0, "hello", 5), 5);
	fn_ok(sfs_fg_unlink(&env->g, FUSE_ROOT_ID, "file"));
	fn_fails(ENOENT, sfs_fg_unlink(&env->g, FUSE_ROOT_ID, "file"));
	fn_fails(ENOENT, sfs_fg_lookup(&env->g, FUSE_ROOT_ID, "file", &none));
	assert_int_equal(sfs_fg_read(&env->g, entry.nodeid, fh, 0, got, 5), 5);
	assert_memory_equal(got, "hello", 5);
	fn_ok(sfs_fg_getattr(&env->g, entry.nodeid, &fh, &attr));
	assert_int_equal(attr.attr.nlink, 0);
	fn_ok(sfs_fg_release(&env->g, entry.nodeid, fh));
	fn_ok(sfs_fg_forget(&env->g, entry.nodeid, 1));
}

static void test_names(struct fn_env *env)
{
	struct fuse_entry_out dir, entry, other;
	struct fuse_statfs_out statfs;
	char target[SFS_FG_PAGE];
	struct stat st;

	fn_guest(env, NULL);
	fn_ok(sfs_fg_mkdir(&env->g, FUSE_ROOT_ID, "dir", 0750, &dir));
	assert_int_equal(fstatat(env->share_fd, "dir", &st, 0), 0);
	assert_true(S_ISDIR(st.st_mode));
	fn_fails(EEXIST, sfs_fg_mkdir(&env->g, FUSE_ROOT_ID, "dir", 0750, &entry));
	fn_ok(sfs_fg_mknod(&env->g, dir.nodeid, "file", S_IFREG | 0644, 0, &entry));
	fn_ok(sfs_fg_mknod(&env->g, dir.nodeid, "fifo", S_IFIFO | 0600, 0, &other));
	assert_int_equal(fstatat(env->share_fd, "dir/fifo", &st, 0), 0);
	assert_true(S_ISFIFO(st.st_mode));
	fn_fails(ENOTEMPTY, sfs_fg_rmdir(&env->g, FUSE_ROOT_ID, "dir"));
	fn_ok(sfs_fg_link(&env->g, entry.nodeid, FUSE_ROOT_ID, "link", &other));
	assert_int_equal(other.nodeid, entry.nodeid);
	assert_int_equal(other.attr.nlink, 2);
	fn_ok(sfs_fg_symlink(&env->g, FUSE_ROOT_ID, "symlink", "../anywhere", &other));
	assert_int_equal(sfs_fg_readlink(&env->g, other.nodeid, target), 11);
	assert_string_equal(target, "../anywhere");
	fn_ok(sfs_fg_rename(&env->g, dir.nodeid, "file", FUSE_ROOT_ID, "moved", 0));
	assert_int_equal(fstatat(env->share_fd, "moved", &st, 0), 0);
	fn_fails(EEXIST,
		 sfs_fg_rename(&env->g, FUSE_ROOT_ID, "moved", FUSE_ROOT_ID, "link", RENAME_NOREPLACE));
	fn_ok(sfs_fg_rename(&env->g, FUSE_ROOT_ID, "moved", FUSE_ROOT_ID, "symlink", RENAME_EXCHANGE));
	assert_int_equal(fstatat(env->share_fd, "moved", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	fn_ok(sfs_fg_unlink(&env->g, dir.nodeid, "fifo"));
	fn_ok(sfs_fg_rmdir(&env->g, FUSE_ROOT_ID, "dir"));
	fn_fails(ENOTDIR, sfs_fg_rmdir(&env->g, FUSE_ROOT_ID, "link"));
	fn_ok(sfs_fg_statfs(&env->g, FUSE_ROOT_ID, &statfs));
	assert_true(statfs.st.blocks > 0 && statfs.st.namelen == 255);
}

/* Every name once, in however many portions. */
static void check_listing(struct fn_env *env, bool plus, uint32_t bytes)
{
	enum { FILES = 300 };
	bool seen[FILES] = {false};
	static uint8_t buf[65536];
	struct fuse_open_out open;
	struct fuse_attr_out attr;
	uint64_t offset = 0;
	unsigned count = 0;
	int got;

	for (unsigned i = 0; i < FILES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "file-%u", i);
		fn_host_write(env, name, "x", 1);
	}
	fn_ok(sfs_fg_opendir(&env->g, FUSE_ROOT_ID, &open));
	while ((got = sfs_fg_readdir(&env->g, FUSE_ROOT_ID, open.fh, offset, buf, bytes, plus)) > 0) {
		for (int at = 0; at < got;) {
			const struct fuse_direntplus *p =
			    (const struct fuse_direntplus *)(const void *)(buf + at);
			const struct fuse_dirent *d =
			    plus ? &p->dirent : (const struct fuse_dirent *)(const void *)p;
			char name[32] = {0};
			unsigned n;

			offset = d->off;
			at += (int)(plus ? FUSE_DIRENTPLUS_SIZE(p) : FUSE_DIRENT_SIZE(d));
			assert_true(at <= got);
			assert_true(d->namelen < sizeof(name));
			memcpy(name, d->name, d->namelen);
			if (name[0] == '.')
				continue;
			assert_int_equal(sscanf(name, "file-%u", &n), 1);
			assert_true(n < FILES && !seen[n]);
			seen[n] = true;
			count++;
			if (!plus || !p->entry_out.nodeid)
				continue;
			fn_ok(sfs_fg_getattr(&env->g, p->entry_out.nodeid, NULL, &attr));
			assert_int_equal(attr.attr.ino, d->ino);
			fn_ok(sfs_fg_forget(&env->g, p->entry_out.nodeid, 1));
		}
	}
	assert_int_equal(got, 0);
	assert_int_equal(count, FILES);
	fn_ok(sfs_fg_fsyncdir(&env->g, FUSE_ROOT_ID, open.fh));
	fn_ok(sfs_fg_releasedir(&env->g, FUSE_ROOT_ID, open.fh));
	fn_fails(EBADF, sfs_fg_readdir(&env->g, FUSE_ROOT_ID, open.fh, 0, buf, bytes, plus));
}

static void test_readdir(struct fn_env *env)
{
	fn_guest(env, NULL);
	check_listing(env, false, 4096);
	check_listing(env, false, 512);
	check_listing(env, false, 65536);
}

static void test_readdirplus(struct fn_env *env)
{
	fn_guest(env, NULL);
	check_listing(env, true, 4096);
	check_listing(env, true, 512);
	check_listing(env, true, 65536);
}

static void test_xattr(struct fn_env *env)
{
	struct fuse_entry_out entry;
	char value[64];

	fn_guest(env, NULL);
	fn_host_write(env, "file", "x", 1);
	fn_ok(sfs_fg_lookup(&env->g, FUSE_ROOT_ID, "file", &entry));
	fn_fails(ENODATA, sfs_fg_getxattr(&env->g, entry.nodeid, "user.a", value, sizeof(value)));
	fn_ok(sfs_fg_setxattr(&env->g, entry.nodeid, "user.a", "value", 5, 0));
	assert_int_equal(sfs_fg_getxattr(&env->g, entry.nodeid, "user.a", value, 0), 5);
	assert_int_equal(sfs_fg_getxattr(&env->g, entry.nodeid, "user.a", value, sizeof(value)), 5);
	assert_memory_equal(value, "value", 5);
	fn_fails(ERANGE, sfs_fg_getxattr(&env->g, entry.nodeid, "user.a", value, 4));
	assert_int_equal(sfs_fg_listxattr(&env->g, entry.nodeid, value, sizeof(value)), 7);
	assert_memory_equal(value, "user.a", 7);
	fn_ok(sfs_fg_removexattr(&env->g, entry.nodeid, "user.a"));
	assert_int_equal(sfs_fg_listxattr(&env->g, entry.nodeid, value, 0), 0);
}

/* --- what is refused --- */

static int lookup_bytes(struct fn_env *env, const char *name, uint32_t bytes)
{
	struct sfs_fg_call call = {.opcode = FUSE_LOOKUP,
				   .nodeid = FUSE_ROOT_ID,
				   .tail = {name},
				   .tail_bytes = {bytes},
				   .out_bytes = sizeof(struct fuse_entry_out)};

	return sfs_fg_call(&env->g, &call, NULL, NULL, NULL);
}

static void test_bad_names(struct fn_env *env)
{
	const char *bad[] = {"", ".", "..", "/", "a/b", "../escape", "/etc"};
	char longest[257];
	struct fuse_entry_out entry, file;
	struct fuse_open_out open;
	struct stat st;

	fn_guest(env, NULL);
	fn_host_write(env, "file", "x", 1);
	assert_int_equal(mkdirat(env->share_fd, "a", 0755), 0);
	fn_ok(sfs_fg_lookup(&env->g, FUSE_ROOT_ID, "file", &file));
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(bad); i++) {
		const uint64_t root = FUSE_ROOT_ID;

		assert_true(sfs_fg_create(&env->g, root, bad[i], O_RDWR, S_IFREG | 0644, &entry, &open) < 0);
		assert_true(sfs_fg_mkdir(&env->g, root, bad[i], 0755, &entry) < 0);
		assert_true(sfs_fg_mknod(&env->g, root, bad[i], S_IFREG | 0644, 0, &entry) < 0);
		assert_true(sfs_fg_symlink(&env->g, root, bad[i], "target", &entry) < 0);
		assert_true(sfs_fg_link(&env->g, file.nodeid, root, bad[i], &entry) < 0);
		assert_true(sfs_fg_rename(&env->g, root, "file", root, bad[i], 0) < 0);
		assert_true(sfs_fg_rename(&env->g, root, bad[i], root, "new", 0) < 0);
		assert_true(sfs_fg_unlink(&env->g, root, bad[i]) < 0);
		assert_true(sfs_fg_rmdir(&env->g, root, bad[i]) < 0);
	}
	assert_int_equal(fstatat(env->share_fd, "a/b", &st, 0), -1);
	assert_int_equal(fstatat(env->share_fd, "../escape", &st, 0), -1);
	assert_int_equal(fstatat(env->share_fd, "file", &st, 0), 0);

	fn_fails(EINVAL, lookup_bytes(env, "fi\0le", 6)); /* a NUL inside */
	fn_fails(EINVAL, lookup_bytes(env, "file", 4));   /* none at the end */
	fn_fails(EINVAL, lookup_bytes(env, NULL, 0));
	fn_fails(EINVAL, lookup_bytes(env, "a/b", 4));
	memset(longest, 'n', sizeof(longest));
	longest[255] = '\0';
	fn_fails(ENOENT, lookup_bytes(env, longest, 256));
	longest[255] = 'n';
	longest[256] = '\0';
	fn_fails(ENAMETOOLONG, lookup_bytes(env, longest, 257));
}

static void test_stale_nodes(struct fn_env *env)
{
	const uint64_t bad[] = {0, 2, 12345, 1ull << 32 | 1, 0xdeadbeefdeadbeef, UINT64_MAX};
	struct fuse_entry_out entry;
	struct fuse_attr_out attr;
	struct fuse_open_out open;

	fn_guest(env, NULL);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(bad); i++) {
		fn_fails(ESTALE, sfs_fg_getattr(&env->g, bad[i], NULL, &attr));
		fn_fails(ESTALE, sfs_fg_lookup(&env->g, bad[i], "file", &entry));
		fn_fails(ESTALE, sfs_fg_open(&env->g, bad[i], O_RDONLY, &open));
		fn_fails(ESTALE, sfs_fg_opendir(&env->g, bad[i], &open));
		fn_fails(ESTALE, sfs_fg_mkdir(&env->g, bad[i], "dir", 0755, &entry));
		fn_fails(ESTALE, sfs_fg_rename(&env->g, FUSE_ROOT_ID, "file", bad[i], "file", 0));
		fn_ok(sfs_fg_forget(&env->g, bad[i], 1));
	}
	fn_ok(sfs_fg_forget(&env->g, FUSE_ROOT_ID, UINT64_MAX));
	fn_ok(sfs_fg_getattr(&env->g, FUSE_ROOT_ID, NULL, &attr));
}

static void test_unknown_handles(struct fn_env *env)
{
	const uint64_t bad[] = {7, 0x1234567890, UINT64_MAX};
	struct fuse_open_out dir;
	struct fuse_entry_out entry;
	char buf[16];
	uint64_t fh;

	fn_guest(env, NULL);
	make(env, "file", &entry, &fh);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(bad); i++) {
		fn_fails(EBADF, sfs_fg_read(&env->g, entry.nodeid, bad[i], 0, buf, 16));
		fn_fails(EBADF, sfs_fg_write(&env->g, entry.nodeid, bad[i], 0, buf, 16));
		fn_fails(EBADF, sfs_fg_fsync(&env->g, entry.nodeid, bad[i], false));
		fn_fails(EBADF, sfs_fg_flush(&env->g, entry.nodeid, bad[i]));
		fn_fails(EBADF, sfs_fg_release(&env->g, entry.nodeid, bad[i]));
		fn_fails(EBADF, sfs_fg_readdir(&env->g, FUSE_ROOT_ID, bad[i], 0, buf, 16, false));
		fn_fails(EBADF, sfs_fg_releasedir(&env->g, FUSE_ROOT_ID, bad[i]));
	}
	fn_ok(sfs_fg_opendir(&env->g, FUSE_ROOT_ID, &dir));
	/* A handle of the wrong kind. */
	int rc = sfs_fg_read(&env->g, FUSE_ROOT_ID, dir.fh, 0, buf, 16);
	assert_true(rc == -EBADF || rc == -EISDIR);
	rc = sfs_fg_readdir(&env->g, entry.nodeid, fh, 0, buf, 16, false);
	assert_true(rc == -EBADF || rc == -ENOTDIR);
}

static void test_unknown_opcodes(struct fn_env *env)
{
	const uint32_t opcodes[] = {0, 7, 19, 54, 200, 4096, UINT32_MAX};

	fn_guest(env, NULL);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(opcodes); i++) {
		struct sfs_fg_call call = {.opcode = opcodes[i], .nodeid = FUSE_ROOT_ID};

		fn_fails(ENOSYS, sfs_fg_call(&env->g, &call, NULL, NULL, NULL));
	}
}

static void test_short_arguments(struct fn_env *env)
{
	const uint32_t opcodes[] = {FUSE_READ,   FUSE_WRITE, FUSE_SETATTR, FUSE_CREATE,
				    FUSE_RENAME, FUSE_MKDIR, FUSE_RELEASE, FUSE_GETXATTR};
	uint8_t few[4] = {0};

	fn_guest(env, NULL);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(opcodes); i++) {
		struct sfs_fg_call call = {
		    .opcode = opcodes[i], .nodeid = FUSE_ROOT_ID, .args = few, .args_bytes = sizeof(few)};

		fn_fails(EINVAL, sfs_fg_call(&env->g, &call, NULL, NULL, NULL));
	}
}

const struct fn_test fn_tests[] = {
    {"init", test_init, {NULL}, 0},
    {"destroy and init again", test_destroy_and_init_again, {NULL}, 0},
    {"requests behind INIT", test_requests_behind_init, {NULL}, 0},
    {"attributes are the host's", test_attributes_are_the_hosts, {NULL}, 0},
    {"setattr", test_setattr, {NULL}, 0},
    {"create, write, read", test_create_write_read, {NULL}, 0},
    {"1 MiB in pages", test_one_mib_in_pages, {NULL}, 0},
    {"1 MiB in one segment", test_one_mib_in_one_segment, {NULL}, 0},
    {"1 MiB without indirect descriptors", test_one_mib_without_indirect, {NULL}, 0},
    {"file size limit", test_file_size_limit, {NULL}, 0},
    {"unlinked file stays open", test_unlinked_file_stays_open, {NULL}, 0},
    {"names", test_names, {NULL}, 0},
    {"readdir", test_readdir, {NULL}, 0},
    {"readdirplus", test_readdirplus, {NULL}, 0},
    {"xattr", test_xattr, {"--xattr"}, 0},
    {"bad names", test_bad_names, {NULL}, 0},
    {"stale nodes", test_stale_nodes, {NULL}, 0},
    {"unknown handles", test_unknown_handles, {NULL}, 0},
    {"unknown opcodes", test_unknown_opcodes, {NULL}, 0},
    {"short arguments", test_short_arguments, {NULL}, 0},
};
const unsigned fn_test_count = SFS_ARRAY_SIZE(fn_tests);
