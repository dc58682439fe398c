/* SPDX-License-Identifier: BSD-3-Clause */
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "pt_rig.h"
#include "sfs_aio_engines.h"
#include "sfs_passthrough.h"

bool rig_is_root(void)
{
	return geteuid() == 0;
}

int rig_setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	strcpy(r->top, "/tmp/spinfs-test-XXXXXX");
	assert_non_null(mkdtemp(r->top));
	assert_int_equal(chmod(r->top, 0755), 0);
	snprintf(r->share, sizeof(r->share), "%s/share", r->top);
	assert_int_equal(mkdir(r->share, 0777), 0);
	assert_int_equal(chmod(r->share, 0777), 0);
	r->dir = open(r->share, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(r->dir >= 0);
	*state = r;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int rig_teardown(void **state)
{
	struct rig *r = *state;

	rig_stop(r);
	close(r->dir);
	nftw(r->top, remove_one, 32, FTW_DEPTH | FTW_PHYS);
	free(r);
	return 0;
}

void rig_start_with(struct rig *r, const char *options, uint64_t init_flags,
		    const struct sfs_session_limits *limits)
{
	static const struct sfs_session_limits large = {.inodes = 65536, .handles = 1024, .fds = 4096};
	char text[512];

	snprintf(text, sizeof(text), "{\"shared_dir\": \"%s\"%s}", r->share, options);
	fg_start_engine(&r->g, &sfs_fs_passthrough, text, 2, limits ? limits : &large,
			r->engine ? r->engine : &sfs_aio_workers, init_flags);
	fc_init(&r->c, &r->g, 0);
	r->g.uid = r->g.gid = 0;
	r->started = true;
}

void rig_start(struct rig *r, const char *options)
{
	rig_start_with(r, options, RIG_FLAGS_ALL, NULL);
}

int rig_try(struct rig *r, const char *options, char *text, size_t bytes)
{
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err = {""};
	struct sfs_fs_info info;
	char json[2048];
	void *fs;
	int rc;

	snprintf(json, sizeof(json), "{\"shared_dir\": \"%s\"%s}", r->share, options);
	assert_int_equal(sfs_conf_doc_parse(json, strlen(json), "f", &doc, &err), 0);
	rc = sfs_fs_passthrough.create(sfs_conf_doc_root(doc), &fs, &info, &err);
	if (rc == 0)
		sfs_fs_passthrough.destroy(fs);
	snprintf(text, bytes, "%s", err.text);
	sfs_conf_doc_destroy(doc);
	return rc;
}

void rig_stop(struct rig *r)
{
	if (!r->started)
		return;
	fc_fini(&r->c);
	fg_stop(&r->g);
	r->started = false;
}

void rig_file(struct rig *r, const char *name, const char *text)
{
	int fd = openat(r->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

struct stat rig_stat(struct rig *r, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(r->dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

uint64_t rig_node(struct rig *r, uint64_t dir, const char *name)
{
	struct fuse_entry_out e;

	assert_int_equal(fc_lookup(&r->c, dir, name, &e), 0);
	return e.nodeid;
}

int rig_cat(struct rig *r, uint64_t node, char *text, size_t bytes)
{
	uint64_t fh;
	ssize_t n;
	int rc = fc_open(&r->c, node, O_RDONLY, &fh);

	if (rc < 0)
		return rc;
	n = fc_read(&r->c, node, fh, 0, text, (uint32_t)bytes - 1);
	assert_int_equal(fc_release(&r->c, node, fh), 0);
	if (n < 0)
		return (int)n;
	text[n] = 0;
	return 0;
}

uint64_t rig_path(struct rig *r, uint32_t opcode, enum sfs_req_path path)
{
	return r->g.lanes[0].stats[opcode].path[path];
}

void rig_pattern(char *p, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (char)(i * 31 + (i >> 12) * 7 + seed);
}

void rig_make_cold(struct rig *r, const char *name)
{
	int fd = openat(r->dir, name, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	close(fd);
}

/* What another core works on is not dropped at once. Looking is no read, which would have it read ahead. */
void rig_await_cold(struct rig *r, const char *name, off_t offset)
{
	int fd = openat(r->dir, name, O_RDONLY | O_CLOEXEC);
	unsigned char there = 1;
	struct statfs st;
	void *page;

	assert_true(fd >= 0);
	assert_int_equal(fstatfs(fd, &st), 0);
	if (st.f_type == TMPFS_MAGIC)
		skip(); /* never cold */
	page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, offset);
	assert_ptr_not_equal(page, MAP_FAILED);
	while (there & 1) {
		rig_make_cold(r, name);
		assert_int_equal(mincore(page, 4096, &there), 0);
	}
	munmap(page, 4096);
	close(fd);
}
