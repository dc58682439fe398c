/* SPDX-License-Identifier: BSD-3-Clause */
/* The files that the load works on: made through the share where missing, and checked after the run. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "perf.h"

#define PF_CHUNK (128u << 10)

static uint64_t pf_word(unsigned file, uint64_t offset, unsigned generation)
{
	return (offset + ((uint64_t)file << 44) + ((uint64_t)generation << 60)) * 0x9e3779b97f4a7c15ull;
}

void perf_fill(void *buf, uint32_t bytes, unsigned file, uint64_t offset, unsigned generation)
{
	uint64_t *words = buf;

	for (uint32_t i = 0; i < bytes / sizeof(*words); i++)
		words[i] = pf_word(file, offset + i * sizeof(*words), generation);
}

bool perf_matches(const void *buf, uint32_t bytes, unsigned file, uint64_t offset, unsigned allowed)
{
	const uint64_t *words = buf;

	for (uint32_t i = 0; i < bytes / sizeof(*words); i++) {
		uint64_t at = offset + i * sizeof(*words);
		bool good = ((allowed & 1) && words[i] == pf_word(file, at, 0)) ||
			    ((allowed & 2) && words[i] == pf_word(file, at, 1));

		if (!good)
			return false;
	}
	return true;
}

/* Of each kind of load; where names come and go, of each guest. */
static void pf_dir_name(const struct perf_guest *guest, char *name, size_t bytes)
{
	static const char *const names[] = {[PERF_DATA] = "perf-data",
					    [PERF_NAMES] = "perf-names",
					    [PERF_DIR] = "perf-dir",
					    [PERF_NEW] = "perf-new"};
	enum perf_kind kind = guest->work.workload->kind;

	if (kind == PERF_NEW)
		snprintf(name, bytes, "%s-%u", names[kind], guest->idx);
	else
		snprintf(name, bytes, "%s", names[kind]);
}

static void pf_file_name(char *name, size_t bytes, unsigned i)
{
	snprintf(name, bytes, "f%06u", i);
}

static int pf_alloc(struct perf_guest *guest)
{
	const struct perf_work *o = &guest->work;
	bool written = o->verify && perf_writes(o);

	guest->files = calloc(o->files, sizeof(*guest->files));
	if (!guest->files)
		return -ENOMEM;
	for (unsigned i = 0; i < o->files; i++) {
		pf_file_name(guest->files[i].name, sizeof(guest->files[i].name), i);
		guest->files[i].fd = -1;
		if (!written)
			continue;
		guest->files[i].written = calloc(1, o->size / o->bs);
		if (!guest->files[i].written)
			return -ENOMEM;
	}
	return 0;
}

static int pf_find_or_create(struct sfs_fg *g, uint64_t dir, const char *name, struct fuse_entry_out *entry)
{
	struct fuse_open_out open;
	int rc = sfs_fg_lookup(g, dir, name, entry);

	if (rc == 0 && entry->nodeid == 0)
		rc = -ENOENT; /* a negative entry that may be cached */
	if (rc != -ENOENT)
		return rc;
	rc = sfs_fg_create(g, dir, name, O_RDWR | O_CREAT, S_IFREG | 0644, entry, &open);
	return rc < 0 ? rc : sfs_fg_release(g, entry->nodeid, open.fh);
}

static int pf_write_all(struct perf_guest *guest, unsigned i, uint64_t from)
{
	struct perf_file *f = &guest->files[i];
	uint32_t chunk = SFS_MIN(PF_CHUNK, guest->fg.opts.data_bytes);
	struct fuse_open_out open;
	uint8_t *buf = malloc(chunk);
	int rc = buf ? sfs_fg_open(&guest->fg, f->nodeid, O_WRONLY, &open) : -ENOMEM;

	if (rc < 0) {
		free(buf);
		return rc;
	}
	for (uint64_t at = from; rc >= 0 && at < guest->work.size; at += (uint64_t)rc) {
		uint32_t bytes = (uint32_t)SFS_MIN((uint64_t)chunk, guest->work.size - at);

		perf_fill(buf, bytes, i, at, 0);
		rc = sfs_fg_write(&guest->fg, f->nodeid, open.fh, at, buf, bytes);
		if (rc == 0)
			rc = -EIO;
	}
	int released = sfs_fg_release(&guest->fg, f->nodeid, open.fh);

	free(buf);
	return rc < 0 ? rc : released;
}

static int pf_prepare_one(struct perf_guest *guest, unsigned i)
{
	const struct perf_work *o = &guest->work;
	struct perf_file *f = &guest->files[i];
	struct fuse_entry_out entry;
	struct fuse_open_out open;
	uint32_t flags = perf_writes(o) ? O_RDWR : O_RDONLY;
	int rc = pf_find_or_create(&guest->fg, guest->dir_nodeid, f->name, &entry);

	if (rc < 0)
		return rc;
	f->nodeid = entry.nodeid;
	/* The daemon knows no name but those that the workload itself looks up. */
	if (o->workload->kind == PERF_DIR || o->workload->reply == perf_reply_lookupforget)
		return sfs_fg_forget(&guest->fg, f->nodeid, 1);
	if (o->workload->kind != PERF_DATA)
		return 0;
	uint64_t from = o->verify ? 0 : entry.attr.size;
	if (from < o->size)
		rc = pf_write_all(guest, i, from - from % sizeof(uint64_t));
	if (rc < 0)
		return rc;
	rc = sfs_fg_open(&guest->fg, f->nodeid, flags | (o->direct ? O_DIRECT : 0), &open);
	f->fh = open.fh;
	return rc;
}

/* A listing is of names that the daemon has not seen yet, where they are all there already. */
static bool pf_have_all(struct perf_guest *guest)
{
	struct fuse_entry_out entry;
	char name[40];

	if (guest->work.workload->kind != PERF_DIR || guest->run->opts.loopback)
		return guest->work.workload->kind == PERF_NEW || guest->run->opts.loopback;
	pf_file_name(name, sizeof(name), guest->work.files - 1);
	if (sfs_fg_lookup(&guest->fg, guest->dir_nodeid, name, &entry) < 0 || !entry.nodeid)
		return false;
	return sfs_fg_forget(&guest->fg, entry.nodeid, 1) == 0;
}

int perf_files_prepare(struct perf_guest *guest)
{
	struct fuse_entry_out dir;
	char name[40];
	int rc = pf_alloc(guest);

	if (rc < 0)
		return rc;
	pf_dir_name(guest, name, sizeof(name));
	rc = sfs_fg_lookup(&guest->fg, FUSE_ROOT_ID, name, &dir);
	if (rc == -ENOENT || (rc == 0 && !dir.nodeid))
		rc = sfs_fg_mkdir(&guest->fg, FUSE_ROOT_ID, name, 0755, &dir);
	guest->dir_nodeid = dir.nodeid;
	if (rc == 0 && pf_have_all(guest))
		return 0;
	for (unsigned i = 0; rc == 0 && i < guest->work.files; i++)
		rc = pf_prepare_one(guest, i);
	return rc;
}

static int pf_prepare_raw_one(struct perf_guest *guest, int dir_fd, unsigned i)
{
	const struct perf_work *o = &guest->work;
	struct perf_file *f = &guest->files[i];
	struct stat st;
	int flags = O_RDWR | O_CREAT | O_CLOEXEC | (o->direct ? O_DIRECT : 0);

	f->fd = openat(dir_fd, f->name, flags, 0644);
	if (f->fd < 0 || fstat(f->fd, &st) < 0)
		return -errno;
	if (o->workload->kind != PERF_DATA && !o->workload->opened) {
		close(f->fd);
		f->fd = -1;
	}
	if (o->workload->kind != PERF_DATA)
		return 0;
	uint64_t *buf = aligned_alloc(SFS_FG_PAGE, PF_CHUNK);
	if (!buf)
		return -ENOMEM;
	int rc = 0;
	for (uint64_t at = (uint64_t)st.st_size / PF_CHUNK * PF_CHUNK; at < o->size && rc == 0;
	     at += PF_CHUNK) {
		perf_fill(buf, PF_CHUNK, i, at, 0);
		if (pwrite(f->fd, buf, PF_CHUNK, (off_t)at) != (ssize_t)PF_CHUNK)
			rc = errno ? -errno : -EIO;
	}
	free(buf);
	return rc;
}

int perf_files_prepare_raw(struct perf_guest *guest, int dir_fd)
{
	char name[40];
	int rc = pf_alloc(guest);

	if (rc < 0)
		return rc;
	pf_dir_name(guest, name, sizeof(name));
	if (mkdirat(dir_fd, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* A listing's directory is as another run has made it: to look at its files would warm the caches. */
	if (guest->work.workload->kind == PERF_NEW || guest->work.workload->kind == PERF_DIR)
		return fd;
	for (unsigned i = 0; rc == 0 && i < guest->work.files; i++)
		rc = pf_prepare_raw_one(guest, fd, i);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

/* After writes that were to be verified: what was written is there, and nothing else changed. */
static void pf_check(struct perf_guest *guest, unsigned i)
{
	const struct perf_work *o = &guest->work;
	struct perf_file *f = &guest->files[i];
	uint8_t *buf = aligned_alloc(SFS_FG_PAGE, o->bs);

	for (uint64_t at = 0; buf && at + o->bs <= o->size; at += o->bs) {
		int rc = sfs_fg_read(&guest->fg, f->nodeid, f->fh, at, buf, o->bs);

		if (rc < 0 || (uint32_t)rc != o->bs ||
		    !perf_matches(buf, o->bs, i, at, f->written[at / o->bs] ? 2 : 1))
			guest->verify_errors++;
	}
	free(buf);
}

void perf_files_finish(struct perf_guest *guest)
{
	for (unsigned i = 0; guest->files && i < guest->work.files; i++) {
		struct perf_file *f = &guest->files[i];

		if (f->written)
			pf_check(guest, i);
		if (f->fd >= 0)
			close(f->fd);
		else if (guest->work.workload->kind == PERF_DATA && guest->fg.queue)
			sfs_fg_release(&guest->fg, f->nodeid, f->fh);
		free(f->written);
		free(f->handle);
	}
	free(guest->files);
	guest->files = NULL;
}
