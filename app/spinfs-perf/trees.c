/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on directories and whole files: listings, "smallfiles", "untar". */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "perf.h"

#define TR_CHUNK (128u << 10) /* of a write, as much as every slot holds */

/* --- listings --- */

void perf_build_list(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
		     union perf_args *args)
{
	uint64_t dir = job->lane->guest->dir_nodeid;
	uint32_t bs = job->lane->guest->work.bs;

	switch (job->step) {
	case 0:
		args->open = (struct fuse_open_in){0};
		*call = PERF_CALL(FUSE_OPENDIR, dir, args->open);
		call->out_bytes = sizeof(struct fuse_open_out);
		break;
	case 1:
		args->read = (struct fuse_read_in){.fh = job->fh, .offset = job->offset, .size = bs};
		*call = PERF_CALL(FUSE_READDIRPLUS, dir, args->read);
		call->data_writable = bs;
		break;
	default:
		args->release = (struct fuse_release_in){.fh = job->fh};
		*call = PERF_CALL(FUSE_RELEASEDIR, dir, args->release);
	}
}

static bool tr_reply_list(struct perf_job *job, struct sfs_fg_req *req, bool forget)
{
	if (job->step == 0) {
		job->fh = ((const struct fuse_open_out *)(void *)req->out_args)->fh;
		job->offset = 0;
		job->step = 1;
		return false;
	}
	if (job->step == 2)
		return true;
	const uint8_t *at = req->data, *end = at + req->result;
	while ((size_t)(end - at) >= FUSE_NAME_OFFSET_DIRENTPLUS) {
		const struct fuse_direntplus *entry = (const struct fuse_direntplus *)(const void *)at;

		if (entry->entry_out.nodeid && forget)
			perf_forget(job->lane->guest, entry->entry_out.nodeid, 1);
		job->offset = entry->dirent.off;
		at += FUSE_DIRENTPLUS_SIZE(entry);
	}
	if (req->result == 0)
		job->step = 2;
	job->lane->c.bytes += (uint64_t)req->result;
	return false;
}

bool perf_reply_list(struct perf_job *job, struct sfs_fg_req *req)
{
	return tr_reply_list(job, req, true);
}

bool perf_reply_list_known(struct perf_job *job, struct sfs_fg_req *req)
{
	return tr_reply_list(job, req, false);
}

/* The attributes of all entries, each asked for once: what a listing with attributes costs at least. */
int64_t perf_raw_list(struct perf_job *job, int dir_fd, void *buf)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ssize_t bytes = fd < 0 ? -1 : 0;
	int64_t sum = 0;
	struct statx stx;

	while (fd >= 0 && (bytes = getdents64(fd, buf, job->lane->guest->work.bs)) > 0) {
		for (ssize_t at = 0; at < bytes;) {
			const struct dirent64 *e = (const struct dirent64 *)(const void *)((char *)buf + at);

			if (statx(fd, e->d_name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx) < 0)
				sum = -errno;
			at += e->d_reclen;
		}
		sum += sum < 0 ? 0 : bytes;
	}
	if (bytes < 0)
		sum = -errno;
	if (fd >= 0)
		close(fd);
	return sum;
}

/* --- one small file's life: looked for, created, written, closed, found, opened, read, closed, deleted --- */

enum { SM_MISS, SM_CREATE, SM_WRITE, SM_FLUSH, SM_RELEASE, SM_FIND, SM_OPEN, SM_READ, SM_CLOSE, SM_UNLINK };

static uint32_t tr_small_bytes(const struct perf_job *job)
{
	return SFS_MIN(job->lane->guest->work.bs, TR_CHUNK);
}

static void tr_call_write(struct sfs_fg_call *call, union perf_args *args, const struct perf_job *job,
			  uint32_t bytes)
{
	args->write = (struct fuse_write_in){.fh = job->fh, .offset = job->offset, .size = bytes};
	*call = PERF_CALL(FUSE_WRITE, job->nodeid, args->write);
	call->data_readable = bytes;
	call->out_bytes = sizeof(struct fuse_write_out);
}

void perf_build_small(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
		      union perf_args *args)
{
	uint64_t dir = job->lane->guest->dir_nodeid;

	switch (job->step) {
	case SM_MISS:
		perf_new_name(job);
		job->offset = 0;
		perf_call_lookup(call, dir, job->name);
		break;
	case SM_CREATE:
		perf_call_create(call, args, dir, job->name);
		break;
	case SM_WRITE:
		tr_call_write(call, args, job, tr_small_bytes(job));
		break;
	case SM_FIND:
		perf_call_lookup(call, dir, job->name);
		break;
	case SM_OPEN:
		perf_call_open(call, args, job->nodeid);
		break;
	case SM_READ:
		args->read = (struct fuse_read_in){.fh = job->fh, .size = tr_small_bytes(job)};
		*call = PERF_CALL(FUSE_READ, job->nodeid, args->read);
		call->data_writable = tr_small_bytes(job);
		break;
	case SM_UNLINK:
		perf_call_unlink(call, dir, job->name);
		break;
	default:
		perf_call_close(call, args, job, job->step == SM_FLUSH);
	}
}

bool perf_reply_small(struct perf_job *job, struct sfs_fg_req *req)
{
	const struct fuse_entry_out *entry = (const struct fuse_entry_out *)(void *)req->out_args;

	if (job->step == SM_MISS && req->result == -ENOENT)
		req->result = 0;
	if (req->result < 0)
		return true;
	switch (job->step++) {
	case SM_CREATE:
		job->nodeid = entry->nodeid;
		job->fh = ((const struct fuse_open_out *)(const void *)(entry + 1))->fh;
		break;
	case SM_OPEN:
		job->fh = ((const struct fuse_open_out *)(void *)req->out_args)->fh;
		break;
	case SM_READ:
		job->lane->c.bytes += tr_small_bytes(job);
		break;
	case SM_UNLINK:
		perf_forget(job->lane->guest, job->nodeid, 2);
		return true;
	default:
		break;
	}
	return false;
}

int64_t perf_raw_small(struct perf_job *job, int dir_fd, void *buf)
{
	uint32_t bytes = tr_small_bytes(job);
	struct stat st;

	perf_new_name(job);
	if (fstatat(dir_fd, job->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	int fd = openat(dir_fd, job->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 || pwrite(fd, buf, bytes, 0) < 0 || close(fd) < 0)
		return -errno;
	if (fstatat(dir_fd, job->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	fd = openat(dir_fd, job->name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, buf, bytes, 0) < 0 || close(fd) < 0 || unlinkat(dir_fd, job->name, 0) < 0)
		return -errno;
	return bytes;
}

/*
 * --- untar: files of many sizes, made, written and given their times, into one directory after the other ---
 * The directory before the one that is filled is emptied file by file, so that a long run fills no disk.
 */

enum { UT_MKDIR, UT_MISS, UT_CREATE, UT_WRITE, UT_TIMES, UT_FLUSH, UT_RELEASE, UT_UNLINK, UT_RMDIR };

static void tr_tree_dir(struct perf_job *job, char *name, uint64_t serial)
{
	snprintf(name, sizeof(job->name), "new.d%u.%u.%llu", job->lane->idx, job->id,
		 (unsigned long long)(serial / PERF_TREE_FILES));
}

static void tr_tree_file(char *name, size_t bytes, uint64_t serial)
{
	snprintf(name, bytes, "new.%llu", (unsigned long long)(serial % PERF_TREE_FILES));
}

/* Sizes as in a tree of headers: most small, one in sixteen of 100 KiB and more. */
static uint32_t tr_tree_bytes(uint64_t serial)
{
	uint64_t mixed = serial * 0x9e3779b97f4a7c15ull >> 40;

	return serial % 16 == 15 ? 100 * 1024 + (uint32_t)(mixed % (100 * 1024))
				 : 512 + (uint32_t)(mixed % 16384);
}

static uint32_t tr_tree_chunk(const struct perf_job *job)
{
	return SFS_MIN(tr_tree_bytes(job->serial) - (uint32_t)job->offset, TR_CHUNK);
}

void perf_build_untar(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
		      union perf_args *args)
{
	uint64_t root = job->lane->guest->dir_nodeid;

	if (job->step == UT_MKDIR && job->serial % PERF_TREE_FILES)
		job->step = UT_MISS;
	switch (job->step) {
	case UT_MKDIR:
		tr_tree_dir(job, job->name, job->serial);
		args->mkdir = (struct fuse_mkdir_in){.mode = 0755};
		*call = PERF_CALL(FUSE_MKDIR, root, args->mkdir);
		call->out_bytes = sizeof(struct fuse_entry_out);
		perf_call_name(call, 0, job->name);
		break;
	case UT_MISS:
		tr_tree_file(job->name, sizeof(job->name), job->serial);
		job->offset = 0;
		perf_call_lookup(call, job->dir[0], job->name);
		break;
	case UT_CREATE:
		perf_call_create(call, args, job->dir[0], job->name);
		break;
	case UT_WRITE:
		tr_call_write(call, args, job, tr_tree_chunk(job));
		break;
	case UT_TIMES:
		args->setattr = (struct fuse_setattr_in){
		    .valid = FATTR_FH | FATTR_ATIME | FATTR_MTIME, .fh = job->fh, .mtime = 1000000000};
		*call = PERF_CALL(FUSE_SETATTR, job->nodeid, args->setattr);
		call->out_bytes = sizeof(struct fuse_attr_out);
		break;
	case UT_UNLINK:
		perf_call_unlink(call, job->dir[1], job->name);
		break;
	case UT_RMDIR:
		tr_tree_dir(job, job->name, job->serial - PERF_TREE_FILES);
		*call = (struct sfs_fg_call){.opcode = FUSE_RMDIR, .nodeid = root};
		perf_call_name(call, 0, job->name);
		break;
	default:
		perf_call_close(call, args, job, job->step == UT_FLUSH);
	}
}

/* After the file is there, its namesake in the directory before goes, with the last one the directory. */
static bool tr_untar_next(struct perf_job *job)
{
	bool last = job->serial % PERF_TREE_FILES == PERF_TREE_FILES - 1;

	if ((job->step == UT_RELEASE && job->dir[1]) || (job->step == UT_UNLINK && last)) {
		job->step++;
		return false;
	}
	if (job->step == UT_RMDIR) {
		perf_forget(job->lane->guest, job->dir[1], 1);
		job->dir[1] = 0;
	}
	if (last) {
		job->dir[1] = job->dir[0];
		job->dir[0] = 0;
		memcpy(job->nodes[1], job->nodes[0], sizeof(job->nodes[1]));
	}
	job->serial++;
	return true;
}

bool perf_reply_untar(struct perf_job *job, struct sfs_fg_req *req)
{
	const struct fuse_entry_out *entry = (const struct fuse_entry_out *)(void *)req->out_args;

	if (job->step == UT_MISS && req->result == -ENOENT)
		req->result = 0;
	if (req->result < 0)
		return true;
	switch (job->step) {
	case UT_MKDIR:
		job->dir[0] = entry->nodeid;
		break;
	case UT_CREATE:
		job->nodeid = entry->nodeid;
		job->fh = ((const struct fuse_open_out *)(const void *)(entry + 1))->fh;
		break;
	case UT_WRITE:
		job->lane->c.bytes += tr_tree_chunk(job);
		job->offset += tr_tree_chunk(job);
		if (job->offset < tr_tree_bytes(job->serial))
			return false;
		break;
	case UT_RELEASE:
		job->nodes[0][job->serial % PERF_TREE_FILES] = job->nodeid;
		return tr_untar_next(job);
	case UT_UNLINK:
		/* Not before: a kernel deletes only what it has looked up. */
		perf_forget(job->lane->guest, job->nodes[1][job->serial % PERF_TREE_FILES], 1);
		return tr_untar_next(job);
	case UT_RMDIR:
		return tr_untar_next(job);
	default:
		break;
	}
	job->step++;
	return false;
}

static int tr_raw_file(struct perf_job *job, int tree, void *buf)
{
	static const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = 1000000000}};
	uint32_t bytes = tr_tree_bytes(job->serial), bs = job->lane->guest->work.bs;
	struct stat st;

	tr_tree_file(job->name, sizeof(job->name), job->serial);
	if (fstatat(tree, job->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	int fd = openat(tree, job->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	for (uint32_t at = 0; at < bytes; at += SFS_MIN(bs, bytes - at)) {
		if (pwrite(fd, buf, SFS_MIN(bs, bytes - at), at) < 0)
			return -errno;
	}
	if (futimens(fd, times) < 0 || close(fd) < 0)
		return -errno;
	return 0;
}

int64_t perf_raw_untar(struct perf_job *job, int dir_fd, void *buf)
{
	uint64_t in_dir = job->serial % PERF_TREE_FILES;
	int rc;

	tr_tree_dir(job, job->name2, job->serial);
	if (!in_dir && mkdirat(dir_fd, job->name2, 0755) < 0)
		return -errno;
	int tree = openat(dir_fd, job->name2, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tree < 0)
		return -errno;
	rc = tr_raw_file(job, tree, buf);
	close(tree);
	if (rc == 0 && job->serial >= PERF_TREE_FILES) {
		char path[2 * sizeof(job->name2)], dir[sizeof(job->name2)];

		tr_tree_dir(job, dir, job->serial - PERF_TREE_FILES);
		snprintf(path, sizeof(path), "%s/%s", dir, job->name);
		if (unlinkat(dir_fd, path, 0) < 0)
			return -errno;
		if (in_dir == PERF_TREE_FILES - 1 && unlinkat(dir_fd, dir, AT_REMOVEDIR) < 0)
			return -errno;
	}
	job->serial++;
	return rc < 0 ? rc : (int64_t)tr_tree_bytes(job->serial - 1);
}

static void tr_clean_dir(struct perf_job *job, uint64_t nodeid, uint64_t serial, int dir_fd)
{
	struct perf_guest *guest = job->lane->guest;
	char dir[sizeof(job->name)], file[32], path[2 * sizeof(job->name)];

	tr_tree_dir(job, dir, serial);
	for (unsigned i = 0; i < PERF_TREE_FILES; i++) {
		tr_tree_file(file, sizeof(file), i);
		snprintf(path, sizeof(path), "%s/%s", dir, file);
		if (dir_fd >= 0)
			unlinkat(dir_fd, path, 0);
		else
			sfs_fg_unlink(&guest->fg, nodeid, file);
	}
	if (dir_fd >= 0)
		unlinkat(dir_fd, dir, AT_REMOVEDIR);
	else
		sfs_fg_rmdir(&guest->fg, guest->dir_nodeid, dir);
}

void perf_untar_clean(struct perf_job *job, int dir_fd)
{
	if (job->dir[0] || dir_fd >= 0)
		tr_clean_dir(job, job->dir[0], job->serial, dir_fd);
	if ((job->dir[1] || dir_fd >= 0) && job->serial >= PERF_TREE_FILES)
		tr_clean_dir(job, job->dir[1], job->serial - PERF_TREE_FILES, dir_fd);
}
