/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The passthrough driver: what becomes of the flags of an open file, those of the open and those that fcntl() has changed since.
 */
#include <dirent.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "pt_rig.h"
#include "sfs_aio_engines.h"
#include "sfs_passthrough.h"

#define ROOT SFS_ROOT_ID

static const struct sfs_aio_ops *const engines[] = {&sfs_aio_uring, &sfs_aio_libaio, &sfs_aio_workers};

/* Whether the share's filesystem has O_DIRECT. */
static bool has_direct(struct rig *r)
{
	int fd = openat(r->dir, "probe", O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static void is(struct rig *r, const char *name, const char *text)
{
	int fd = openat(r->dir, name, O_RDONLY | O_CLOEXEC);
	char got[64];

	assert_int_equal(read(fd, got, sizeof(got)), strlen(text));
	assert_memory_equal(got, text, strlen(text));
	close(fd);
}

/* --- the host's descriptor --- */

/* The flags of the only descriptor of this process that has the file open for data. */
static int host_flags(struct rig *r, const char *name)
{
	struct stat want = rig_stat(r, name), st;
	DIR *dir = opendir("/proc/self/fdinfo");
	struct dirent *de;
	int found = -1;

	while ((de = readdir(dir)) != NULL) {
		int fd = atoi(de->d_name), flags = fcntl(fd, F_GETFL);

		if (de->d_name[0] == '.' || flags < 0 || (flags & O_PATH) || fstat(fd, &st) < 0 ||
		    st.st_ino != want.st_ino || st.st_dev != want.st_dev)
			continue;
		assert_int_equal(found, -1);
		found = flags;
	}
	closedir(dir);
	assert_true(found >= 0);
	return found;
}

static const struct {
	const char *options;
	uint32_t guest;
	int on, off; /* of the host's descriptor */
} flag_rows[] = {
    {"", O_RDWR, O_RDWR, O_APPEND | O_DIRECT | O_NOATIME | O_DSYNC},
    {"", O_RDWR | O_DIRECT, O_RDWR, O_DIRECT},
    {"", O_RDWR | O_SYNC, O_RDWR | O_SYNC, 0},
    {"", O_RDWR | O_DSYNC, O_RDWR | O_DSYNC, O_SYNC & ~O_DSYNC},
    {"", O_RDWR | O_NOATIME, O_RDWR, O_NOATIME},
    {"", O_RDWR | O_APPEND | O_NONBLOCK, O_RDWR, O_APPEND | O_NONBLOCK},
    {", \"preserve_noatime\": true", O_RDONLY | O_NOATIME, O_NOATIME, O_ACCMODE},
    {", \"preserve_noatime\": true", O_RDONLY, 0, O_NOATIME},
    {", \"writeback\": true", O_WRONLY | O_APPEND, O_RDWR, O_APPEND},
};

static void test_host_flags(void **state)
{
	struct rig *r = *state;

	rig_file(r, "f", "text");
	for (size_t i = 0; i < SFS_ARRAY_SIZE(flag_rows); i++) {
		uint64_t fh;
		int flags;

		rig_start(r, flag_rows[i].options);
		assert_int_equal(fc_open(&r->c, rig_node(r, ROOT, "f"), flag_rows[i].guest, &fh), 0);
		flags = host_flags(r, "f");
		assert_int_equal(flags & flag_rows[i].on, flag_rows[i].on);
		assert_int_equal(flags & flag_rows[i].off, 0);
		rig_stop(r);
	}
	if (!has_direct(r))
		return;
	rig_start(r, ", \"allow_direct_io\": true");
	uint64_t fh;
	assert_int_equal(fc_open(&r->c, rig_node(r, ROOT, "f"), O_RDWR | O_DIRECT, &fh), 0);
	assert_true(host_flags(r, "f") & O_DIRECT);
	rig_stop(r);
}

/* --- O_APPEND: of each write, as fcntl() may change it, and not of what the guest's page cache writes --- */

static void write_as(struct rig *r, uint64_t node, uint64_t fh, uint32_t flags, uint32_t write_flags)
{
	struct fuse_write_in in = {.fh = fh, .size = 2, .flags = flags, .write_flags = write_flags};
	struct fuse_write_out out;

	fg_send(&r->g, 0, r->c.m, FUSE_WRITE, node, &in, sizeof(in), NULL, NULL, "ab", 2, sizeof(out));
	assert_int_equal(fg_wait(&r->g, 0, r->c.m), 0);
	memcpy(&out, r->c.m->out, sizeof(out));
	assert_int_equal(out.size, 2);
}

static void append_all(struct rig *r, const char *options, bool back)
{
	uint64_t node, own, other;

	rig_file(r, "f", "0123456789");
	rig_start(r, options);
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_open(&r->c, node, O_RDWR | O_APPEND, &own), 0);
	assert_int_equal(fc_open(&r->c, node, O_RDWR, &other), 0);
	write_as(r, node, own, O_RDWR | O_APPEND, 0);
	assert_int_equal(rig_stat(r, "f").st_size, back ? 10 : 12);
	write_as(r, node, own, O_RDWR | O_APPEND, FUSE_WRITE_CACHE);
	assert_int_equal(rig_stat(r, "f").st_size, back ? 10 : 12);
	write_as(r, node, own, O_RDWR, 0);
	assert_int_equal(rig_stat(r, "f").st_size, back ? 10 : 12);
	write_as(r, node, other, O_RDWR | O_APPEND, 0);
	assert_int_equal(rig_stat(r, "f").st_size, back ? 10 : 14);
	is(r, "f", back ? "ab23456789" : "ab23456789abab");
	rig_stop(r);
}

static void test_append(void **state)
{
	struct rig *r = *state;

	append_all(r, "", false);
	append_all(r, ", \"inline_blocking\": \"never\"", false);
	append_all(r, ", \"writeback\": true", true);
}

/* By the engines, which get such writes of O_DIRECT handles and of batches. */
static void test_append_direct(void **state)
{
	static char block[4096] __attribute__((aligned(4096)));
	struct rig *r = *state;
	struct fuse_entry_out e;
	uint64_t fh;

	if (!has_direct(r))
		skip();
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(engines); i++) {
		if (sfs_aio_probe(engines[i]) < 0)
			continue;
		r->engine = engines[i];
		rig_start(r, ", \"allow_direct_io\": true");
		assert_int_equal(
		    fc_create(&r->c, ROOT, "f", O_RDWR | O_DIRECT | O_APPEND, S_IFREG | 0644, &e, &fh), 0);
		for (unsigned n = 1; n <= 3; n++) {
			assert_int_equal(fc_write(&r->c, e.nodeid, fh, 0, block, sizeof(block)),
					 sizeof(block));
			assert_int_equal(rig_stat(r, "f").st_size, n * sizeof(block));
		}
		r->c.io_flags &= ~(uint32_t)O_APPEND;
		assert_int_equal(fc_write(&r->c, e.nodeid, fh, 0, block, sizeof(block)), sizeof(block));
		assert_int_equal(rig_stat(r, "f").st_size, 3 * sizeof(block));
		assert_int_equal(fc_unlink(&r->c, ROOT, "f"), 0);
		rig_stop(r);
	}
}

/* A file to which its owner may only append. */
static void test_append_only_file(void **state)
{
	struct rig *r = *state;
	int flags, fd;
	uint64_t node, fh;

	rig_file(r, "f", "01");
	fd = openat(r->dir, "f", O_RDONLY | O_CLOEXEC);
	flags = 0;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 ||
	    (flags |= FS_APPEND_FL, ioctl(fd, FS_IOC_SETFLAGS, &flags)) < 0) {
		close(fd);
		skip();
	}
	rig_start(r, "");
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_open(&r->c, node, O_WRONLY, &fh), -EPERM);
	assert_int_equal(fc_open(&r->c, node, O_WRONLY | O_APPEND, &fh), 0);
	assert_int_equal(fc_write(&r->c, node, fh, 0, "ab", 2), 2);
	is(r, "f", "01ab");
	rig_stop(r);
	/* Pages that hold what is there already cannot be written to it. */
	rig_start(r, ", \"writeback\": true");
	node = rig_node(r, ROOT, "f");
	assert_int_equal(fc_open(&r->c, node, O_WRONLY | O_APPEND, &fh), -EPERM);
	flags &= ~FS_APPEND_FL;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	close(fd);
}

/* O_DIRECT that fcntl() has taken away, as dd does it for a last block that is none. */
static void test_direct_no_more(void **state)
{
	struct rig *r = *state;
	struct fuse_entry_out e;
	uint64_t fh;
	char text[16];

	if (!has_direct(r))
		skip();
	rig_start(r, ", \"allow_direct_io\": true");
	assert_int_equal(fc_create(&r->c, ROOT, "f", O_RDWR | O_DIRECT, S_IFREG | 0644, &e, &fh), 0);
	r->c.io_flags = O_RDWR;
	assert_int_equal(fc_write(&r->c, e.nodeid, fh, 3, "odd", 3), 3);
	assert_int_equal(rig_stat(r, "f").st_size, 6);
	assert_int_equal(fc_read(&r->c, e.nodeid, fh, 1, text, sizeof(text)), 5);
	assert_memory_equal(text, "\0\0odd", 5);
	r->c.io_flags |= O_APPEND;
	assert_int_equal(fc_write(&r->c, e.nodeid, fh, 0, "end", 3), 3);
	assert_int_equal(rig_stat(r, "f").st_size, 9);
	/* Deleted meanwhile. */
	assert_int_equal(fc_unlink(&r->c, ROOT, "f"), 0);
	assert_int_equal(fc_read(&r->c, e.nodeid, fh, 6, text, sizeof(text)), 3);
	assert_memory_equal(text, "end", 3);
}

#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_host_flags),       T(test_append),         T(test_append_direct),
	    T(test_append_only_file), T(test_direct_no_more),
	};

	return cmocka_run_group_tests_name("passthrough_flags", tests, NULL, NULL);
}
