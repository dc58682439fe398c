/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on names: as requests, and as plain system calls. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "perf.h"

void perf_call_name(struct sfs_fg_call *call, unsigned i, const char *name)
{
	call->tail[i] = name;
	call->tail_bytes[i] = (uint32_t)strlen(name) + 1;
}

void perf_call_lookup(struct sfs_fg_call *call, uint64_t parent, const char *name)
{
	*call = (struct sfs_fg_call){.opcode = FUSE_LOOKUP, .nodeid = parent};
	call->out_bytes = sizeof(struct fuse_entry_out);
	perf_call_name(call, 0, name);
}

void perf_call_open(struct sfs_fg_call *call, union perf_args *args, uint64_t nodeid)
{
	args->open = (struct fuse_open_in){.flags = O_RDONLY};
	*call = PERF_CALL(FUSE_OPEN, nodeid, args->open);
	call->out_bytes = sizeof(struct fuse_open_out);
}

void perf_call_create(struct sfs_fg_call *call, union perf_args *args, uint64_t parent, const char *name)
{
	args->create = (struct fuse_create_in){.flags = O_RDWR | O_CREAT | O_EXCL, .mode = S_IFREG | 0644};
	*call = PERF_CALL(FUSE_CREATE, parent, args->create);
	call->out_bytes = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out);
	perf_call_name(call, 0, name);
}

void perf_call_close(struct sfs_fg_call *call, union perf_args *args, const struct perf_job *job, bool flush)
{
	if (flush) {
		args->flush = (struct fuse_flush_in){.fh = job->fh};
		*call = PERF_CALL(FUSE_FLUSH, job->nodeid, args->flush);
	} else {
		args->release = (struct fuse_release_in){.fh = job->fh};
		*call = PERF_CALL(FUSE_RELEASE, job->nodeid, args->release);
	}
}

void perf_call_unlink(struct sfs_fg_call *call, uint64_t parent, const char *name)
{
	*call = (struct sfs_fg_call){.opcode = FUSE_UNLINK, .nodeid = parent};
	perf_call_name(call, 0, name);
}

void perf_new_name(struct perf_job *job)
{
	snprintf(job->name, sizeof(job->name), "new.%u.%u.%llu", job->lane->idx, job->id,
		 (unsigned long long)job->serial++);
}

static struct perf_file *pn_file(const struct perf_job *job)
{
	return &job->lane->guest->files[job->file];
}

static void pn_pick_file(struct perf_job *job)
{
	uint64_t files = job->lane->guest->work.files;

	job->file = (unsigned)(((unsigned __int128)perf_random(job->lane) * files) >> 64);
}

static uint64_t pn_opened_fh(const struct sfs_fg_req *req)
{
	return ((const struct fuse_open_out *)(void *)req->out_args)->fh;
}

/* --- one request --- */

void perf_build_getattr(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
			union perf_args *args)
{
	pn_pick_file(job);
	args->getattr = (struct fuse_getattr_in){0};
	*call = PERF_CALL(FUSE_GETATTR, pn_file(job)->nodeid, args->getattr);
	call->out_bytes = sizeof(struct fuse_attr_out);
}

bool perf_reply_getattr(struct perf_job *job, struct sfs_fg_req *req)
{
	return true;
}

int64_t perf_raw_getattr(struct perf_job *job, int dir_fd, void *buf)
{
	struct stat st;

	pn_pick_file(job);
	/* The bare call: glibc's fstat() is one that takes a name, and costs more. */
	return syscall(SYS_fstat, pn_file(job)->fd, &st) < 0 ? -errno : 0;
}

void perf_build_lookup(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
		       union perf_args *args)
{
	pn_pick_file(job);
	perf_call_lookup(call, job->lane->guest->dir_nodeid, pn_file(job)->name);
}

bool perf_reply_lookup(struct perf_job *job, struct sfs_fg_req *req)
{
	return true;
}

bool perf_reply_lookupforget(struct perf_job *job, struct sfs_fg_req *req)
{
	const struct fuse_entry_out *out = (const struct fuse_entry_out *)(void *)req->out_args;

	perf_forget(job->lane->guest, out->nodeid, 1);
	return true;
}

int64_t perf_raw_lookup(struct perf_job *job, int dir_fd, void *buf)
{
	struct statx stx;

	pn_pick_file(job);
	return statx(dir_fd, pn_file(job)->name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx) < 0 ? -errno
												   : 0;
}

/* --- open, flush, release --- */

void perf_build_open(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
		     union perf_args *args)
{
	if (job->step) {
		perf_call_close(call, args, job, job->step == 1);
		return;
	}
	pn_pick_file(job);
	job->nodeid = pn_file(job)->nodeid;
	perf_call_open(call, args, job->nodeid);
}

bool perf_reply_open(struct perf_job *job, struct sfs_fg_req *req)
{
	if (job->step == 0)
		job->fh = pn_opened_fh(req);
	return job->step++ == 2;
}

int64_t perf_raw_open(struct perf_job *job, int dir_fd, void *buf)
{
	pn_pick_file(job);
	int fd = openat(dir_fd, pn_file(job)->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 || close(fd) < 0 ? -errno : 0;
}

/* Asked for once a file. */
static struct file_handle *pn_handle(const struct perf_file *file, int dir_fd)
{
	struct file_handle *h = malloc(sizeof(*h) + MAX_HANDLE_SZ);
	int mount_id;

	if (!h)
		return NULL;
	h->handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(dir_fd, file->name, h, &mount_id, 0) == 0)
		return h;
	free(h);
	return NULL;
}

/* As a daemon opens a node that it knows by its file handle. */
int64_t perf_raw_open_handle(struct perf_job *job, int dir_fd, void *buf)
{
	struct perf_file *file;
	int fd;

	pn_pick_file(job);
	file = pn_file(job);
	if (!file->handle)
		file->handle = pn_handle(file, dir_fd);
	if (!file->handle)
		return -errno;
	fd = open_by_handle_at(dir_fd, file->handle, O_RDONLY | O_CLOEXEC);
	return fd < 0 || close(fd) < 0 ? -errno : 0;
}

/* A file is found, opened, looked at and closed. */
void perf_build_visit(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
		      union perf_args *args)
{
	switch (job->step) {
	case 0:
		perf_build_lookup(job, req, call, args);
		break;
	case 1:
		perf_call_open(call, args, job->nodeid);
		break;
	case 2:
		args->getattr = (struct fuse_getattr_in){.getattr_flags = FUSE_GETATTR_FH, .fh = job->fh};
		*call = PERF_CALL(FUSE_GETATTR, job->nodeid, args->getattr);
		call->out_bytes = sizeof(struct fuse_attr_out);
		break;
	default:
		perf_call_close(call, args, job, job->step == 3);
	}
}

bool perf_reply_visit(struct perf_job *job, struct sfs_fg_req *req)
{
	if (job->step == 0)
		job->nodeid = ((const struct fuse_entry_out *)(void *)req->out_args)->nodeid;
	if (job->step == 1)
		job->fh = pn_opened_fh(req);
	if (job->step == 4)
		perf_forget(job->lane->guest, job->nodeid, 1);
	return job->step++ == 4;
}

int64_t perf_raw_visit(struct perf_job *job, int dir_fd, void *buf)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	struct statx stx;

	pn_pick_file(job);
	int fd = (int)syscall(SYS_openat2, dir_fd, pn_file(job)->name, &how, sizeof(how));
	if (fd < 0)
		return -errno;
	int rc = statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx);
	return close(fd) < 0 || rc < 0 ? -errno : 0;
}

/* Opens all files, keeping them; then releases all; and so on. */
void perf_build_hoard(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
		      union perf_args *args)
{
	struct perf_lane *lane = job->lane;
	uint64_t pick = lane->cursor++ * lane->count + lane->idx;
	uint64_t files = lane->guest->work.files - lane->guest->work.files % lane->count;

	job->file = (unsigned)(pick % files);
	job->step = pick / files % 2;
	job->nodeid = pn_file(job)->nodeid;
	job->fh = pn_file(job)->fh;
	if (job->step)
		perf_call_close(call, args, job, false);
	else
		perf_call_open(call, args, job->nodeid);
}

bool perf_reply_hoard(struct perf_job *job, struct sfs_fg_req *req)
{
	if (job->step == 0)
		pn_file(job)->fh = pn_opened_fh(req);
	return true;
}

/* --- names that come and go --- */

void perf_build_create(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
		       union perf_args *args)
{
	uint64_t dir = job->lane->guest->dir_nodeid;

	switch (job->step) {
	case 0:
		perf_new_name(job);
		perf_call_create(call, args, dir, job->name);
		break;
	case 1:
	case 2:
		perf_call_close(call, args, job, job->step == 1);
		break;
	default:
		perf_call_unlink(call, dir, job->name);
	}
}

bool perf_reply_create(struct perf_job *job, struct sfs_fg_req *req)
{
	const struct fuse_entry_out *entry = (const struct fuse_entry_out *)(void *)req->out_args;

	if (job->step == 0) {
		job->nodeid = entry->nodeid;
		job->fh = ((const struct fuse_open_out *)(const void *)(entry + 1))->fh;
	}
	if (job->step == 3)
		perf_forget(job->lane->guest, job->nodeid, 1);
	return job->step++ == 3;
}

static int pn_raw_end(struct perf_held *held, int dir_fd)
{
	int fd = held->fd;

	held->fd = -1;
	return fd >= 0 && (close(fd) < 0 || unlinkat(dir_fd, held->name, 0) < 0) ? -errno : 0;
}

/*
 * As many files at a time as requests in flight would have: the oldest one makes room for a new one. @entry: with what an answer to CREATE says, and what the file is
 * known by afterwards.
 */
static int64_t pn_raw_create(struct perf_job *job, int dir_fd, bool entry)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u = {.h = {.handle_bytes = MAX_HANDLE_SZ}};
	struct perf_held *held = &job->held[job->serial % job->lane->guest->work.iodepth];
	struct statx stx;
	int mount_id, rc = pn_raw_end(held, dir_fd);

	if (rc < 0)
		return rc;
	perf_new_name(job);
	held->fd = openat(dir_fd, job->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (held->fd < 0)
		return -errno;
	memcpy(held->name, job->name, sizeof(held->name));
	if (entry && (statx(held->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &stx) < 0 ||
		      name_to_handle_at(held->fd, "", &u.h, &mount_id, AT_EMPTY_PATH) < 0))
		return -errno;
	return 0;
}

int64_t perf_raw_create(struct perf_job *job, int dir_fd, void *buf)
{
	return pn_raw_create(job, dir_fd, false);
}

int64_t perf_raw_create_entry(struct perf_job *job, int dir_fd, void *buf)
{
	return pn_raw_create(job, dir_fd, true);
}

int perf_raw_held(struct perf_job *job)
{
	unsigned count = job->lane->guest->work.iodepth;

	job->held = calloc(count, sizeof(*job->held));
	for (unsigned i = 0; job->held && i < count; i++)
		job->held[i].fd = -1;
	return job->held ? 0 : -ENOMEM;
}

void perf_raw_held_end(struct perf_job *job, int dir_fd)
{
	for (unsigned i = 0; job->held && i < job->lane->guest->work.iodepth; i++)
		pn_raw_end(&job->held[i], dir_fd);
	free(job->held);
	job->held = NULL;
}

/* There and back, each job on a file of its own. */
static void pn_rename_names(struct perf_job *job)
{
	job->file = job->id;
	memcpy(job->name, pn_file(job)->name, sizeof(pn_file(job)->name));
	snprintf(job->name2, sizeof(job->name2), "%s.new", pn_file(job)->name);
}

void perf_build_rename(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
		       union perf_args *args)
{
	uint64_t dir = job->lane->guest->dir_nodeid;

	pn_rename_names(job);
	args->rename = (struct fuse_rename_in){.newdir = dir};
	*call = PERF_CALL(FUSE_RENAME, dir, args->rename);
	perf_call_name(call, job->step, job->name);
	perf_call_name(call, !job->step, job->name2);
}

bool perf_reply_rename(struct perf_job *job, struct sfs_fg_req *req)
{
	return job->step++ == 1;
}

int64_t perf_raw_rename(struct perf_job *job, int dir_fd, void *buf)
{
	pn_rename_names(job);
	if (renameat(dir_fd, job->name, dir_fd, job->name2) < 0 ||
	    renameat(dir_fd, job->name2, dir_fd, job->name) < 0)
		return -errno;
	return 0;
}
