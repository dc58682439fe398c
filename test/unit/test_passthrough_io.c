/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The passthrough driver: data, attributes, extended attributes, read-only shares, and where calls run.
 */
#include <linux/falloc.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#include "pt_rig.h"
#include "sfs_aio_engines.h"

#define ROOT SFS_ROOT_ID
#define MIB  (1u << 20)

static int do_access(struct rig *r, uint64_t node, uint32_t mask)
{
	struct fuse_access_in in = {.mask = mask};

	return fc_call(&r->c, FUSE_ACCESS, node, &in, sizeof(in), NULL, NULL, 0);
}

static int do_fsync(struct rig *r, uint32_t opcode, uint64_t node, uint64_t fh, uint32_t flags)
{
	struct fuse_fsync_in in = {.fh = fh, .fsync_flags = flags};

	return fc_call(&r->c, opcode, node, &in, sizeof(in), NULL, NULL, 0);
}

static int do_flush(struct rig *r, uint64_t node, uint64_t fh)
{
	struct fuse_flush_in in = {.fh = fh};

	return fc_call(&r->c, FUSE_FLUSH, node, &in, sizeof(in), NULL, NULL, 0);
}

static int do_syncfs(struct rig *r)
{
	struct fuse_syncfs_in in = {0};

	return fc_call(&r->c, FUSE_SYNCFS, ROOT, &in, sizeof(in), NULL, NULL, 0);
}

static int do_open(struct rig *r, uint64_t node, uint32_t flags, uint32_t open_flags,
		   struct fuse_open_out *out)
{
	struct fuse_open_in in = {.flags = flags, .open_flags = open_flags};
	int rc = fc_call(&r->c, FUSE_OPEN, node, &in, sizeof(in), NULL, NULL, sizeof(*out));

	if (rc == 0)
		memcpy(out, r->c.m->out, sizeof(*out));
	return rc;
}

static int do_write_flags(struct rig *r, uint64_t node, uint64_t fh, const char *text, uint32_t write_flags)
{
	struct fuse_write_in in = {.fh = fh, .size = (uint32_t)strlen(text), .write_flags = write_flags};

	fg_send(&r->g, 0, r->c.m, FUSE_WRITE, node, &in, sizeof(in), NULL, NULL, text, strlen(text),
		sizeof(struct fuse_write_out));
	return fg_wait(&r->g, 0, r->c.m);
}

/* --- READ and WRITE --- */

/* Writes behind a hole and reads it back, warm and cold, over the end and behind it; @max: the largest
 * request. */
static void data(struct rig *r, const char *options, uint32_t flags, uint32_t max)
{
	static const uint32_t sizes[] = {512, 4096, 65536, 131072, 262144, MIB};
	char *file = calloc(1, MIB + 4096), *in = malloc(MIB);
	struct fuse_entry_out e;
	uint64_t fh;

	rig_start(r, options);
	assert_int_equal(fc_create(&r->c, ROOT, "f", O_RDWR | flags, S_IFREG | 0644, &e, &fh), 0);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(sizes) && sizes[i] <= max; i++) {
		rig_pattern(file + 4096, sizes[i], i);
		assert_int_equal(fc_write(&r->c, e.nodeid, fh, 4096, file + 4096, sizes[i]), sizes[i]);
		assert_int_equal(rig_stat(r, "f").st_size, 4096 + sizes[i]);
		for (int cold = 0; cold < 2; cold++) {
			assert_int_equal(fc_read(&r->c, e.nodeid, fh, 4096, in, sizes[i]), sizes[i]);
			assert_memory_equal(in, file + 4096, sizes[i]);
			rig_make_cold(r, "f");
		}
		assert_int_equal(fc_read(&r->c, e.nodeid, fh, sizes[i], in, max), 4096);
		assert_memory_equal(in, file + sizes[i], 4096);
		assert_int_equal(fc_read(&r->c, e.nodeid, fh, 4096 + sizes[i], in, 4096), 0);
		assert_int_equal(fc_read(&r->c, e.nodeid, fh, 1u << 30, in, 4096), 0);
	}
	assert_int_equal(fc_release(&r->c, e.nodeid, fh), 0);
	assert_int_equal(fc_unlink(&r->c, ROOT, "f"), 0);
	rig_stop(r);
	free(in);
	free(file);
}

static void test_data(void **state)
{
	data(*state, "", 0, MIB);
	data(*state, ", \"inline_blocking\": \"never\"", 0, MIB);
	data(*state, ", \"inline_blocking\": \"always\", \"inline_bytes_max\": 0", 0, MIB);
}

static void test_data_uring(void **state)
{
	struct rig *r = *state;

	if (sfs_aio_probe(&sfs_aio_uring) < 0)
		skip();
	r->engine = &sfs_aio_uring;
	data(r, "", 0, MIB);
	data(r, ", \"inline_bytes_max\": 0", 0, MIB);
	data(r, ", \"allow_direct_io\": true", O_DIRECT, 131072);
}

static void test_data_direct(void **state)
{
	struct rig *r = *state;
	int fd = openat(r->dir, "probe", O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644);

	if (fd < 0)
		skip(); /* not on this filesystem */
	close(fd);
	/* No larger than one segment of the test guest: the host wants these in whole blocks. */
	data(r, ", \"allow_direct_io\": true", O_DIRECT, 131072);
}

/* Memory filesystems know no RWF_NOWAIT. */
static void test_data_in_memory(void **state)
{
	struct rig mem = {.top = "/dev/shm/spinfs-test-XXXXXX"};

	if (!mkdtemp(mem.top))
		skip();
	snprintf(mem.share, sizeof(mem.share), "%s", mem.top);
	mem.dir = open(mem.share, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	data(&mem, "", 0, MIB);
	data(&mem, ", \"inline_blocking\": \"never\"", 0, MIB);
	close(mem.dir);
	assert_int_equal(rmdir(mem.top), 0);
}

/* Cached: on the reactor. Not cached, and large: by the engine. Nothing of the data passes through our own
 * memory. */
static void test_read_paths(void **state)
{
	struct rig *r = *state;
	struct sfs_session_figures fig;
	char *buf = malloc(MIB);
	uint64_t node, fh;

	rig_file(r, "f", "");
	rig_pattern(buf, MIB, 1);
	rig_start(r, "");
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_open(&r->c, node, O_RDWR, &fh), 0);
	assert_int_equal(fc_write(&r->c, node, fh, 0, buf, MIB), MIB);
	assert_int_equal(fc_read(&r->c, node, fh, 0, buf, 4096), 4096);
	assert_int_equal(fc_read(&r->c, node, fh, 0, buf, 131072), 131072);
	assert_int_equal(rig_path(r, FUSE_READ, SFS_PATH_INLINE), 2);
	assert_int_equal(fc_read(&r->c, node, fh, 0, buf, 131073), 131073);
	assert_int_equal(rig_path(r, FUSE_READ, SFS_PATH_INLINE), 3);
	/* A look without waiting has the kernel read ahead, and if this thread is preempted in it the page is there after all. */
	for (unsigned i = 0; i < 100 && rig_path(r, FUSE_READ, SFS_PATH_ENGINE) == 0; i++) {
		rig_await_cold(r, "f", 524288);
		assert_int_equal(fc_read(&r->c, node, fh, 524288, buf, 4096), 4096);
	}
	assert_int_equal(rig_path(r, FUSE_READ, SFS_PATH_ENGINE), 1);
	sfs_session_figures(r->g.se, &fig);
	assert_int_equal(fig.bytes_copied, 0);
	free(buf);
}

/* A long read of cached data goes on in several turns, so that other guests' need not wait for the whole of it. */
static void long_read(struct rig *r, const char *options, enum sfs_company company, unsigned turns_min,
		      unsigned turns_max)
{
	char *buf = malloc(MIB), *again = malloc(MIB);
	struct fuse_read_in in = {.size = MIB};
	unsigned turns = 0;
	uint64_t node;

	rig_file(r, "f", "");
	rig_pattern(buf, MIB, 1);
	rig_start(r, options);
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_open(&r->c, node, O_RDWR, &in.fh), 0);
	assert_int_equal(fc_write(&r->c, node, in.fh, 0, buf, MIB), MIB);
	assert_int_equal(fc_read(&r->c, node, in.fh, 0, again, MIB), MIB);
	assert_memory_equal(buf, again, MIB);
	r->g.lanes[0].company = company;
	fg_turn(&r->g, 0);
	fg_send(&r->g, 0, r->c.m, FUSE_READ, node, &in, sizeof(in), NULL, NULL, NULL, 0, MIB);
	for (; !r->c.m->answered; turns++)
		fg_turn(&r->g, 0);
	assert_int_equal(r->c.m->out_bytes, MIB);
	assert_memory_equal(buf, r->c.m->out, MIB);
	assert_true(turns >= turns_min && turns <= turns_max);
	assert_int_equal(rig_path(r, FUSE_READ, SFS_PATH_INLINE), 2);
	rig_stop(r);
	free(again);
	free(buf);
}

static void test_long_read_takes_turns(void **state)
{
	long_read(*state, "", SFS_BESIDE_BUSY, 64, 70);
	/* Who is waited for by one whose requests are short has shorter turns. */
	long_read(*state, "", SFS_BESIDE_QUICK, 128, 140);
	/* Nobody else is there. */
	long_read(*state, "", SFS_ALONE, 1, 1);
	/* Pieces however small are a turn's work, too. */
	long_read(*state, ", \"inline_bytes_max\": 256", SFS_ALONE, 3, 16);
}

static void test_data_refused(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out e;
	uint64_t fh, ro, dir;
	char text[32];

	rig_start(r, "");
	assert_int_equal(fc_create(&r->c, ROOT, "f", O_RDWR, S_IFREG | 0644, &e, &fh), 0);
	/* -1 would be "the current position". */
	assert_int_equal(fc_write(&r->c, e.nodeid, fh, UINT64_MAX, "x", 1), -EINVAL);
	assert_int_equal(fc_read(&r->c, e.nodeid, fh, UINT64_MAX, text, 1), -EINVAL);
	assert_int_equal(fc_read(&r->c, e.nodeid, fh, INT64_MAX, text, 1), -EINVAL);
	assert_int_equal(fc_write(&r->c, e.nodeid, fh, 0, "", 0), 0);
	assert_int_equal(fc_read(&r->c, e.nodeid, fh, 0, text, 0), 0);
	assert_int_equal(fc_open(&r->c, e.nodeid, O_RDONLY, &ro), 0);
	assert_int_equal(fc_write(&r->c, e.nodeid, ro, 0, "x", 1), -EBADF);
	assert_int_equal(fc_read(&r->c, ROOT, ro, 0, text, 1), -EBADF);
	assert_int_equal(fc_read(&r->c, e.nodeid, 999, 0, text, 1), -EBADF);
	assert_int_equal(fc_opendir(&r->c, ROOT, &dir), 0);
	assert_int_equal(fc_read(&r->c, ROOT, dir, 0, text, 1), -EISDIR);
	assert_int_equal(fc_write(&r->c, ROOT, dir, 0, "x", 1), -EBADF);
	assert_int_equal(fc_readdir(&r->c, e.nodeid, fh, 0, 4096, false, NULL, NULL), -ENOTDIR);
	assert_int_equal(fc_lseek(&r->c, ROOT, dir, 0, SEEK_DATA), -EINVAL);
}

static void test_open_flags(void **state)
{
	struct rig *r = *state;
	struct fuse_open_out out;
	uint64_t node, fh;

	rig_file(r, "f", "0123456789");
	rig_start(r, ", \"cache\": \"never\"");
	node = rig_node(r, ROOT, "f");
	assert_int_equal(do_open(r, node, O_RDONLY, 0, &out), 0);
	assert_int_equal(out.open_flags, FOPEN_DIRECT_IO);
	assert_int_equal(fc_open(&r->c, node, O_WRONLY | O_TRUNC, &fh), 0);
	assert_int_equal(rig_stat(r, "f").st_size, 0);
	rig_stop(r);

	rig_file(r, "f", "0123456789");
	rig_start(r, ", \"cache\": \"always\", \"writeback\": true");
	node = rig_node(r, ROOT, "f");
	assert_int_equal(do_open(r, node, O_WRONLY | O_APPEND, 0, &out), 0);
	assert_int_equal(out.open_flags, FOPEN_KEEP_CACHE);
	/* Under writeback the guest reads what it writes in part, and says where. */
	assert_int_equal(fc_write(&r->c, node, out.fh, 2, "ab", 2), 2);
	assert_int_equal(rig_stat(r, "f").st_size, 10);
	assert_int_equal(fc_read(&r->c, node, out.fh, 0, &(char[10]){0}, 10), 10);
	rig_stop(r);

	rig_start_with(r, "", RIG_FLAGS_ALL & ~(uint64_t)FUSE_ATOMIC_O_TRUNC, NULL);
	node = rig_node(r, ROOT, "f");
	assert_int_equal(do_open(r, node, O_WRONLY | O_TRUNC, 0, &out), 0);
	assert_int_equal(out.open_flags, 0);
	assert_int_equal(rig_stat(r, "f").st_size, 10);
}

static void test_create(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out e, l;
	uint64_t fh;
	char text[16];

	rig_file(r, "old", "content");
	rig_start(r, "");
	assert_int_equal(fc_create(&r->c, ROOT, "old", O_RDWR | O_EXCL, 0644, &e, &fh), -EEXIST);
	assert_int_equal(fc_create(&r->c, ROOT, "old", O_RDWR, 0644, &e, &fh), 0);
	assert_int_equal(e.attr.size, 7);
	assert_int_equal(fc_read(&r->c, e.nodeid, fh, 0, text, 16), 7);
	assert_int_equal(fc_create(&r->c, ROOT, "old", O_RDWR | O_TRUNC, 0644, &e, &fh), 0);
	assert_int_equal(e.attr.size, 0);
	assert_int_equal(rig_stat(r, "old").st_size, 0);
	/* The mode does not concern the one who creates. */
	assert_int_equal(fc_create(&r->c, ROOT, "closed", O_RDWR | O_EXCL, S_IFREG | 0400, &e, &fh), 0);
	assert_int_equal(fc_write(&r->c, e.nodeid, fh, 0, "x", 1), 1);
	assert_int_equal(fc_lookup(&r->c, ROOT, "closed", &l), 0);
	assert_int_equal(l.nodeid, e.nodeid);
	assert_int_equal(l.attr.size, 1);
	assert_int_equal(fc_create(&r->c, e.nodeid, "x", O_RDWR, 0644, &l, &fh), -ENOTDIR);
}

/* --- set-user-ID and set-group-ID bits --- */

static void suid_file(struct rig *r)
{
	rig_file(r, "s", "text");
	assert_int_equal(fchmodat(r->dir, "s", 06755, 0), 0);
}

static void test_killpriv(void **state)
{
	struct fuse_setattr_in set = {.valid = FATTR_SIZE | FATTR_KILL_SUIDGID, .size = 1};
	struct fuse_copy_file_range_in copy = {.len = 4};
	struct rig *r = *state;
	struct fuse_entry_out from;
	struct fuse_open_out out;
	uint64_t node, fh;

	suid_file(r);
	rig_start(r, ", \"killpriv_v2\": true, \"allow_direct_io\": true");
	node = rig_node(r, ROOT, "s");
	assert_int_equal(fc_open(&r->c, node, O_RDWR, &fh), 0);
	if (rig_is_root()) {
		assert_int_equal(do_write_flags(r, node, fh, "a", 0), 0);
		assert_int_equal(rig_stat(r, "s").st_mode & 07777, 06755);
	}
	assert_int_equal(do_write_flags(r, node, fh, "a", FUSE_WRITE_KILL_SUIDGID), 0);
	assert_int_equal(rig_stat(r, "s").st_mode & 07777, 0755);
	suid_file(r);
	assert_int_equal(fc_setattr(&r->c, node, &set, NULL), 0);
	assert_int_equal(rig_stat(r, "s").st_mode & 07777, 0755);
	suid_file(r);
	assert_int_equal(do_open(r, node, O_WRONLY | O_TRUNC, FUSE_OPEN_KILL_SUIDGID, &out), 0);
	assert_int_equal(rig_stat(r, "s").st_mode & 07777, 0755);
	/* These two do not say that anything is to go: whoever is not root loses the bits, as on a local disk. */
	assert_int_equal(fc_create(&r->c, ROOT, "from", O_RDWR, S_IFREG | 0644, &from, &copy.fh_in), 0);
	assert_int_equal(fc_write(&r->c, from.nodeid, copy.fh_in, 0, "more", 4), 4);
	copy.nodeid_out = node;
	copy.fh_out = fh;
	for (uint32_t user = 0; user < 2; user++) {
		bool kept = user == 0 && rig_is_root();

		r->g.uid = r->g.gid = user * 1000;
		suid_file(r);
		assert_int_equal(fc_fallocate(&r->c, node, fh, 0, 0, 8192), 0);
		assert_int_equal(rig_stat(r, "s").st_mode & 07777, kept ? 06755 : 0755);
		suid_file(r);
		assert_int_equal(fc_call(&r->c, FUSE_COPY_FILE_RANGE, from.nodeid, &copy, sizeof(copy), NULL,
					 NULL, sizeof(struct fuse_write_out)),
				 0);
		assert_int_equal(rig_stat(r, "s").st_mode & 07777, kept ? 06755 : 0755);
	}
	r->g.uid = r->g.gid = 0;
	/* The thread has its capabilities again. */
	suid_file(r);
	if (rig_is_root()) {
		assert_int_equal(do_write_flags(r, node, fh, "a", 0), 0);
		assert_int_equal(rig_stat(r, "s").st_mode & 07777, 06755);
	}
}

/* --- SETATTR, ACCESS, STATFS --- */

static void setattr_all(struct rig *r, const char *options)
{
	struct fuse_setattr_in times = {.valid = FATTR_ATIME | FATTR_MTIME,
					.atime = 1000,
					.atimensec = 1,
					.mtime = 2000,
					.mtimensec = 999999999};
	struct fuse_setattr_in mode = {.valid = FATTR_MODE, .mode = S_IFREG | 0604};
	struct fuse_setattr_in owner = {.valid = FATTR_UID, .uid = 77, .gid = 88};
	struct fuse_setattr_in size = {.valid = FATTR_SIZE | FATTR_FH, .size = 3};
	struct fuse_setattr_in none = {.valid = FATTR_CTIME | FATTR_LOCKOWNER, .ctime = 5, .lock_owner = 7};
	struct fuse_setattr_in now = {.valid = FATTR_MTIME | FATTR_MTIME_NOW, .mtime = 5};
	const char *const names[] = {"f", "l", "d"};
	struct fuse_attr a;
	uint64_t node;

	rig_file(r, "f", "012345");
	symlinkat("nowhere", r->dir, "l");
	mkdirat(r->dir, "d", 0755);
	rig_start(r, options);
	for (unsigned i = 0; i < 3; i++) {
		struct stat st;

		node = rig_node(r, ROOT, names[i]);
		assert_int_equal(fc_setattr(&r->c, node, &times, &a), 0);
		st = rig_stat(r, names[i]);
		assert_int_equal(st.st_atim.tv_sec, 1000);
		assert_int_equal(st.st_atim.tv_nsec, 1);
		assert_int_equal(st.st_mtim.tv_sec, 2000);
		assert_int_equal(a.mtimensec, 999999999);
		if (!rig_is_root())
			continue;
		assert_int_equal(fc_setattr(&r->c, node, &owner, &a), 0);
		assert_int_equal(rig_stat(r, names[i]).st_uid, 77);
		assert_int_equal(rig_stat(r, names[i]).st_gid, st.st_gid);
		assert_int_equal(a.uid, 77);
	}
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_setattr(&r->c, node, &mode, &a), 0);
	assert_int_equal(rig_stat(r, "f").st_mode, S_IFREG | 0604);
	assert_int_equal(fc_open(&r->c, node, O_RDWR, &size.fh), 0);
	assert_int_equal(fc_setattr(&r->c, node, &size, &a), 0);
	assert_int_equal(a.size, 3);
	size.fh = 4711;
	assert_int_equal(fc_setattr(&r->c, node, &size, &a), -EBADF);
	assert_int_equal(fc_truncate(&r->c, node, 8192), 0);
	assert_int_equal(rig_stat(r, "f").st_size, 8192);
	assert_int_equal(fc_truncate(&r->c, node, UINT64_MAX), -EINVAL);
	assert_int_equal(fc_truncate(&r->c, rig_node(r, ROOT, "d"), 0), -EISDIR);
	assert_int_equal(fc_setattr(&r->c, node, &now, &a), 0);
	assert_true(rig_stat(r, "f").st_mtim.tv_sec > 1000000000);
	/* What the host sets by itself, and what only says who asks, changes nothing. */
	a.mode = 0;
	assert_int_equal(fc_setattr(&r->c, node, &none, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 0604);
	assert_true(rig_stat(r, "f").st_ctim.tv_sec > 1000000000);
	times.mtimensec = UTIME_OMIT;
	assert_int_equal(fc_setattr(&r->c, node, &times, &a), -EINVAL);
	rig_stop(r);
}

static void test_setattr(void **state)
{
	setattr_all(*state, "");
	setattr_all(*state, ", \"inode_file_handles\": \"never\"");
	setattr_all(*state, ", \"inline_blocking\": \"never\", \"inode_fds_max\": 1");
}

static void test_access_statfs(void **state)
{
	struct rig *r = *state;
	struct fuse_kstatfs k;
	struct statfs st;
	uint64_t f;

	rig_file(r, "f", "");
	assert_int_equal(fchmodat(r->dir, "f", 0640, 0), 0);
	rig_start(r, "");
	f = rig_node(r, ROOT, "f");
	if (rig_is_root()) {
		assert_int_equal(do_access(r, f, R_OK | W_OK), 0);
		assert_int_equal(do_access(r, f, X_OK), -EACCES);
		r->g.uid = r->g.gid = 1000;
		assert_int_equal(do_access(r, f, R_OK), -EACCES);
		assert_int_equal(do_access(r, f, F_OK), 0);
		r->g.gid = rig_stat(r, "f").st_gid;
		assert_int_equal(do_access(r, f, R_OK), 0);
		assert_int_equal(do_access(r, f, W_OK), -EACCES);
		r->g.uid = 0;
	}
	assert_int_equal(fc_statfs(&r->c, &k), 0);
	assert_int_equal(statfs(r->share, &st), 0);
	assert_int_equal(k.blocks, st.f_blocks);
	assert_int_equal(k.bsize, st.f_bsize);
	assert_int_equal(k.frsize, st.f_frsize);
	assert_int_equal(k.files, st.f_files);
	assert_int_equal(k.namelen, st.f_namelen);
}

/* --- extended attributes --- */

static int set_xattr(struct rig *r, uint64_t node, const char *name, const void *value, uint32_t bytes,
		     uint32_t flags, uint32_t more)
{
	struct fuse_setxattr_in in = {.size = bytes, .flags = flags, .setxattr_flags = more};
	size_t name_bytes = strlen(name) + 1;
	char *tail = malloc(name_bytes + bytes);

	memcpy(tail, name, name_bytes);
	memcpy(tail + name_bytes, value, bytes);
	fg_send(&r->g, 0, r->c.m, FUSE_SETXATTR, node, &in,
		sfs_session_init_flags(r->g.se) & FUSE_SETXATTR_EXT ? sizeof(in)
								    : FUSE_COMPAT_SETXATTR_IN_SIZE,
		NULL, NULL, tail, name_bytes + bytes, 0);
	free(tail);
	return fg_wait(&r->g, 0, r->c.m);
}

static void xattrs(struct rig *r, const char *options)
{
	char value[3000], list[256];
	uint64_t f, l;

	rig_file(r, "f", "");
	symlinkat("x", r->dir, "l");
	rig_start(r, options);
	f = rig_node(r, ROOT, "f");
	l = rig_node(r, ROOT, "l");
	rig_pattern(value, sizeof(value), 3);
	assert_int_equal(fc_listxattr(&r->c, f, list, 200), 0);
	assert_int_equal(fc_listxattr(&r->c, f, list, 0), 0);
	assert_int_equal(fc_getxattr(&r->c, f, "user.a", value, 10), -ENODATA);
	assert_int_equal(set_xattr(r, f, "user.a", value, 3000, XATTR_REPLACE, 0), -ENODATA);
	assert_int_equal(set_xattr(r, f, "user.a", value, 3000, XATTR_CREATE, 0), 0);
	assert_int_equal(set_xattr(r, f, "user.a", value, 3000, XATTR_CREATE, 0), -EEXIST);
	memset(value, 0, sizeof(value));
	assert_int_equal(fc_getxattr(&r->c, f, "user.a", value, 0), 3000);
	assert_int_equal(fc_getxattr(&r->c, f, "user.a", value, 2999), -ERANGE);
	assert_int_equal(fc_getxattr(&r->c, f, "user.a", value, 3000), 3000);
	assert_int_equal((unsigned char)value[1], 34);
	assert_int_equal(set_xattr(r, f, "user.empty", "", 0, 0, 0), 0);
	assert_int_equal(fc_getxattr(&r->c, f, "user.empty", value, 10), 0);
	assert_int_equal(fc_listxattr(&r->c, f, list, 0), 18);
	assert_int_equal(fc_listxattr(&r->c, f, list, 17), -ERANGE);
	assert_int_equal(fc_listxattr(&r->c, f, list, 18), 18);
	assert_int_equal(fc_removexattr(&r->c, f, "user.a"), 0);
	assert_int_equal(fc_removexattr(&r->c, f, "user.a"), -ENODATA);
	if (rig_is_root()) {
		/* On the link itself. */
		assert_int_equal(set_xattr(r, l, "trusted.t", "v", 1, 0, 0), 0);
		assert_int_equal(fc_getxattr(&r->c, l, "trusted.t", value, 10), 1);
		assert_int_equal(fc_listxattr(&r->c, l, list, 200), 10);
	}
	assert_int_equal(fc_removexattr(&r->c, f, "user.empty"), 0);
	rig_stop(r);
	unlinkat(r->dir, "l", 0);
}

static void test_xattr(void **state)
{
	struct rig *r = *state;
	uint64_t f;
	char v[8];

	xattrs(r, "");
	xattrs(r, ", \"inode_file_handles\": \"never\", \"inline_blocking\": \"never\"");
	rig_start(r, ", \"xattr\": false");
	f = rig_node(r, ROOT, "f");
	assert_int_equal(set_xattr(r, f, "user.a", "v", 1, 0, 0), -ENOSYS);
	assert_int_equal(fc_getxattr(&r->c, f, "user.a", v, 8), -ENOSYS);
	assert_int_equal(fc_listxattr(&r->c, f, v, 8), -ENOSYS);
	assert_int_equal(fc_removexattr(&r->c, f, "user.a"), -ENOSYS);
}

/* As many names as a list of 64 KiB can tell, where the host's filesystem has room for them. */
static void test_long_list(void **state)
{
	struct rig mem = {.top = "/dev/shm/spinfs-test-XXXXXX"}, *r = &mem;
	char name[240], *list = calloc(2, 65536), *host = list + 65536;
	unsigned names = 0;
	ssize_t bytes;
	uint64_t f;
	int fd;

	if (!mkdtemp(mem.top))
		skip();
	snprintf(mem.share, sizeof(mem.share), "%s", mem.top);
	mem.dir = open(mem.share, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rig_file(r, "f", "");
	fd = openat(r->dir, "f", O_RDONLY | O_CLOEXEC);
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[sizeof(name) - 1] = 0;
	for (; names < 270; names++) {
		char number[8];

		snprintf(number, sizeof(number), "%03u", names);
		memcpy(name + 5, number, 3);
		if (fsetxattr(fd, name, "v", 1, 0) < 0)
			break;
	}
	rig_start(r, "");
	f = rig_node(r, ROOT, "f");
	bytes = flistxattr(fd, host, 65536);
	assert_int_equal(fc_listxattr(&r->c, f, NULL, 0), bytes);
	if (bytes > 0) {
		assert_int_equal(fc_listxattr(&r->c, f, list, (uint32_t)bytes), bytes);
		assert_memory_equal(list, host, (size_t)bytes);
		assert_int_equal(fc_listxattr(&r->c, f, list, (uint32_t)bytes - 1), -ERANGE);
	}
	rig_stop(r);
	close(fd);
	assert_int_equal(unlinkat(r->dir, "f", 0), 0);
	close(r->dir);
	assert_int_equal(rmdir(mem.top), 0);
	free(list);
	if (names < 270)
		skip(); /* no such attributes in memory here */
	assert_true(bytes > 60000);
}

static void test_acl(void **state)
{
	/* Version 2: user::rwx, group::rwx, mask::rwx, group 4711 rwx, other::--- */
	static const unsigned char acl[] = {
	    2, 0, 0,    0,    1, 0, 7,  0, 255, 255, 255, 255, 4,   0,   7,  0, 255, 255, 255, 255, 8,   0,
	    7, 0, 0x67, 0x12, 0, 0, 16, 0, 7,   0,   255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255};
	struct rig *r = *state;
	char list[64];
	uint64_t f;

	rig_file(r, "f", "");
	rig_start_with(r, "", RIG_FLAGS_ALL & ~(uint64_t)FUSE_POSIX_ACL, NULL);
	f = rig_node(r, ROOT, "f");
	assert_int_equal(set_xattr(r, f, "system.posix_acl_access", acl, sizeof(acl), 0, 0), -EOPNOTSUPP);
	assert_int_equal(fc_getxattr(&r->c, f, "system.posix_acl_access", list, 64), -EOPNOTSUPP);
	rig_stop(r);

	rig_start(r, ", \"posix_acl\": \"always\"");
	f = rig_node(r, ROOT, "f");
	assert_int_equal(fchmodat(r->dir, "f", 02770, 0), 0);
	assert_int_equal(set_xattr(r, f, "system.posix_acl_access", acl, sizeof(acl), 0, 0), 0);
	assert_int_equal(fc_listxattr(&r->c, f, list, 64), 24);
	if (rig_is_root())
		assert_int_equal(rig_stat(r, "f").st_mode & 07777, 02770);
	if (rig_is_root())
		assert_int_equal(fchownat(r->dir, "f", 1, 1, 0), 0);
	assert_int_equal(fchmodat(r->dir, "f", 02770, 0), 0);
	if (rig_is_root()) {
		assert_int_equal(set_xattr(r, f, "system.posix_acl_access", acl, sizeof(acl), 0,
					   FUSE_SETXATTR_ACL_KILL_SGID),
				 0);
		assert_int_equal(rig_stat(r, "f").st_mode & 07777, 0770);
	}
	rig_stop(r);

	rig_start(r, ", \"posix_acl\": \"never\"");
	f = rig_node(r, ROOT, "f");
	assert_int_equal(fc_listxattr(&r->c, f, list, 64), 0);
}

/* --- files, the rest --- */

static void test_holes_and_copies(void **state)
{
	struct rig *r = *state;
	struct fuse_copy_file_range_in copy = {.off_in = 2, .len = 100};
	struct fuse_write_out out;
	struct fuse_entry_out e, c;
	char text[16];
	uint64_t fh;

	rig_start(r, "");
	assert_int_equal(fc_create(&r->c, ROOT, "f", O_RDWR, S_IFREG | 0644, &e, &fh), 0);
	assert_int_equal(fc_write(&r->c, e.nodeid, fh, 1 << 20, "data", 4), 4);
	assert_int_equal(fc_lseek(&r->c, e.nodeid, fh, 0, SEEK_HOLE), 0);
	assert_int_equal(fc_lseek(&r->c, e.nodeid, fh, 0, SEEK_DATA), 1 << 20);
	assert_int_equal(fc_lseek(&r->c, e.nodeid, fh, 2 << 20, SEEK_DATA), -ENXIO);
	assert_int_equal(fc_lseek(&r->c, e.nodeid, fh, 0, SEEK_END), -EINVAL);
	assert_int_equal(fc_fallocate(&r->c, e.nodeid, fh, 0, 0, 2 << 20), 0);
	assert_int_equal(rig_stat(r, "f").st_size, 2 << 20);
	assert_int_equal(
	    fc_fallocate(&r->c, e.nodeid, fh, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 << 20), 0);
	assert_int_equal(rig_stat(r, "f").st_blocks, 0);
	assert_int_equal(fc_fallocate(&r->c, e.nodeid, fh, 0, 0, 0), -EINVAL);

	assert_int_equal(fc_truncate(&r->c, e.nodeid, 0), 0);
	assert_int_equal(fc_write(&r->c, e.nodeid, fh, 0, "0123456789", 10), 10);
	copy.fh_in = fh;
	assert_int_equal(fc_create(&r->c, ROOT, "copy", O_RDWR, S_IFREG | 0644, &c, &copy.fh_out), 0);
	copy.nodeid_out = c.nodeid;
	assert_int_equal(
	    fc_call(&r->c, FUSE_COPY_FILE_RANGE, e.nodeid, &copy, sizeof(copy), NULL, NULL, sizeof(out)), 0);
	memcpy(&out, r->c.m->out, sizeof(out));
	assert_int_equal(out.size, 8);
	assert_int_equal(fc_read(&r->c, c.nodeid, copy.fh_out, 0, text, 16), 8);
	assert_memory_equal(text, "23456789", 8);
	copy.fh_out = 999;
	assert_int_equal(
	    fc_call(&r->c, FUSE_COPY_FILE_RANGE, e.nodeid, &copy, sizeof(copy), NULL, NULL, sizeof(out)),
	    -EBADF);
}

static void test_sync(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out e;
	uint64_t fh, dir;

	rig_start(r, "");
	assert_int_equal(fc_create(&r->c, ROOT, "f", O_RDWR, S_IFREG | 0644, &e, &fh), 0);
	assert_int_equal(fc_opendir(&r->c, ROOT, &dir), 0);
	assert_int_equal(do_fsync(r, FUSE_FSYNC, e.nodeid, fh, 0), 0);
	assert_int_equal(do_fsync(r, FUSE_FSYNC, e.nodeid, fh, FUSE_FSYNC_FDATASYNC), 0);
	assert_int_equal(do_fsync(r, FUSE_FSYNCDIR, ROOT, dir, 0), 0);
	assert_int_equal(do_fsync(r, FUSE_FSYNC, e.nodeid, 999, 0), -EBADF);
	assert_int_equal(do_flush(r, e.nodeid, fh), 0);
	assert_int_equal(do_flush(r, e.nodeid, 999), -EBADF);
	assert_int_equal(do_syncfs(r), 0);
	/* None of these ran on the reactor. */
	assert_int_equal(rig_path(r, FUSE_FSYNC, SFS_PATH_WORKER), 2);
	assert_int_equal(rig_path(r, FUSE_FSYNCDIR, SFS_PATH_WORKER), 1);
	assert_int_equal(rig_path(r, FUSE_SYNCFS, SFS_PATH_WORKER), 1);
	assert_int_equal(fc_release(&r->c, e.nodeid, fh), 0);
	assert_int_equal(fc_release(&r->c, e.nodeid, fh), -EBADF);
	assert_int_equal(fc_releasedir(&r->c, ROOT, dir), 0);
}

static void test_readonly(void **state)
{
	struct fuse_setattr_in set = {.valid = FATTR_MODE, .mode = 0777};
	struct rig *r = *state;
	struct fuse_entry_out e;
	uint64_t f, fh;
	char text[16];

	rig_file(r, "f", "text");
	assert_int_equal(mkdirat(r->dir, "d", 0755), 0);
	rig_start(r, ", \"readonly\": true");
	f = rig_node(r, ROOT, "f");
	assert_int_equal(rig_cat(r, f, text, sizeof(text)), 0);
	assert_string_equal(text, "text");
	assert_int_equal(fc_open(&r->c, f, O_RDWR, &fh), -EROFS);
	assert_int_equal(fc_open(&r->c, f, O_WRONLY, &fh), -EROFS);
	assert_int_equal(fc_open(&r->c, f, O_RDONLY | O_TRUNC, &fh), -EROFS);
	assert_int_equal(fc_create(&r->c, ROOT, "f", O_RDONLY, 0644, &e, &fh), -EROFS);
	assert_int_equal(fc_create(&r->c, ROOT, "n", O_RDWR, 0644, &e, &fh), -EROFS);
	assert_int_equal(fc_setattr(&r->c, f, &set, NULL), -EROFS);
	assert_int_equal(fc_truncate(&r->c, f, 0), -EROFS);
	assert_int_equal(fc_mkdir(&r->c, ROOT, "n", 0755, NULL), -EROFS);
	assert_int_equal(fc_mknod(&r->c, ROOT, "n", S_IFREG | 0644, 0, NULL), -EROFS);
	assert_int_equal(fc_symlink(&r->c, ROOT, "n", "t", NULL), -EROFS);
	assert_int_equal(fc_link(&r->c, f, ROOT, "n", NULL), -EROFS);
	assert_int_equal(fc_rename(&r->c, ROOT, "f", ROOT, "n", 0), -EROFS);
	assert_int_equal(fc_unlink(&r->c, ROOT, "f"), -EROFS);
	assert_int_equal(fc_rmdir(&r->c, ROOT, "d"), -EROFS);
	assert_int_equal(set_xattr(r, f, "user.a", "v", 1, 0, 0), -EROFS);
	assert_int_equal(fc_removexattr(&r->c, f, "user.a"), -EROFS);
	assert_int_equal(do_access(r, f, W_OK), -EROFS);
	assert_int_equal(fc_open(&r->c, f, O_RDONLY, &fh), 0);
	assert_int_equal(fc_write(&r->c, f, fh, 0, "x", 1), -EROFS);
	assert_int_equal(fc_fallocate(&r->c, f, fh, 0, 0, 10), -EROFS);
	assert_int_equal(rig_stat(r, "f").st_size, 4);
}

/* With "never", only what cannot block runs on the reactor. */
static void test_never(void **state)
{
	static const uint32_t blocking[] = {FUSE_LOOKUP,  FUSE_OPEN,     FUSE_OPENDIR,
					    FUSE_READDIR, FUSE_WRITE,    FUSE_CREATE,
					    FUSE_SETATTR, FUSE_GETXATTR, FUSE_UNLINK};
	struct rig *r = *state;
	struct fuse_entry_out e;
	uint64_t fh, dir;
	char v[8];

	rig_start(r, ", \"inline_blocking\": \"never\"");
	assert_int_equal(fc_create(&r->c, ROOT, "f", O_RDWR, S_IFREG | 0644, &e, &fh), 0);
	assert_int_equal(fc_write(&r->c, e.nodeid, fh, 0, "x", 1), 1);
	assert_int_equal(rig_node(r, ROOT, "f"), e.nodeid);
	assert_int_equal(fc_open(&r->c, e.nodeid, O_RDONLY, &dir), 0);
	assert_int_equal(fc_opendir(&r->c, ROOT, &dir), 0);
	assert_true(fc_readdir(&r->c, ROOT, dir, 0, 4096, false, NULL, NULL) == 3);
	assert_int_equal(fc_truncate(&r->c, e.nodeid, 0), 0);
	assert_int_equal(fc_getxattr(&r->c, e.nodeid, "user.x", v, 8), -ENODATA);
	assert_int_equal(fc_unlink(&r->c, ROOT, "f"), 0);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(blocking); i++) {
		assert_int_equal(rig_path(r, blocking[i], SFS_PATH_INLINE), 0);
		assert_true(rig_path(r, blocking[i], SFS_PATH_WORKER) > 0);
	}
	assert_int_equal(fc_getattr(&r->c, e.nodeid, NULL), 0);
	assert_int_equal(rig_path(r, FUSE_GETATTR, SFS_PATH_INLINE), 1);
}

static void test_reconnect(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out e;
	uint64_t fh;
	char text[8];

	rig_file(r, "f", "text");
	rig_start(r, "");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fc_lookup(&r->c, ROOT, "f", &e), 0);
		assert_int_equal(fc_open(&r->c, e.nodeid, O_RDONLY, &fh), 0);
		fg_reconnect(&r->g);
		assert_int_equal(fc_read(&r->c, e.nodeid, fh, 0, text, 4), -EBADF);
		assert_int_equal(fc_getattr(&r->c, e.nodeid, NULL), -ESTALE);
		assert_int_equal(fc_getattr(&r->c, ROOT, NULL), 0);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_data),         T(test_data_direct),
	    T(test_data_uring),   T(test_data_in_memory),
	    T(test_read_paths),   T(test_long_read_takes_turns),
	    T(test_data_refused), T(test_open_flags),
	    T(test_create),       T(test_killpriv),
	    T(test_setattr),      T(test_access_statfs),
	    T(test_xattr),        T(test_long_list),
	    T(test_acl),          T(test_holes_and_copies),
	    T(test_sync),         T(test_readonly),
	    T(test_never),        T(test_reconnect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
