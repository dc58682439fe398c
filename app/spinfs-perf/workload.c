/* SPDX-License-Identifier: BSD-3-Clause */
/* What an operation of each workload consists of: as requests, and as plain system calls. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "perf.h"

static struct perf_file *pw_file(const struct perf_job *job)
{
	return &job->lane->guest->files[job->file];
}

/* --- data --- */

void perf_pick_block(struct perf_job *job)
{
	const struct perf_work *o = &job->lane->guest->work;
	uint64_t pick;

	if (o->workload->random)
		pick = (uint64_t)(((unsigned __int128)perf_random(job->lane) * (o->blocks * o->files)) >> 64);
	else
		pick = (job->lane->cursor++ * job->lane->count + job->lane->idx) % (o->blocks * o->files);
	job->file = o->files > 1 ? (unsigned)(pick / o->blocks) : 0;
	job->offset = (pick - job->file * o->blocks) * o->bs;
	if (o->workload->write_percent == 0 || o->workload->write_percent == 100)
		job->is_write = o->workload->write_percent;
	else
		job->is_write = perf_random(job->lane) % 100 < o->write_percent;
}

static void pw_build_write(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
			   union perf_args *args)
{
	const struct perf_work *o = &job->lane->guest->work;

	args->write = (struct fuse_write_in){.fh = pw_file(job)->fh,
					     .offset = job->offset,
					     .size = o->bs,
					     .flags = job->lane->guest->fg.io_flags};
	*call = PERF_CALL(FUSE_WRITE, pw_file(job)->nodeid, args->write);
	call->data_readable = o->bs;
	call->out_bytes = sizeof(struct fuse_write_out);
	if (o->verify)
		perf_fill(req->data, o->bs, job->file, job->offset, 1);
}

static void pw_build_io(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
			union perf_args *args)
{
	const struct perf_work *o = &job->lane->guest->work;

	perf_pick_block(job);
	if (job->is_write) {
		pw_build_write(job, req, call, args);
		return;
	}
	args->read = (struct fuse_read_in){.fh = pw_file(job)->fh,
					   .offset = job->offset,
					   .size = o->bs,
					   .flags = job->lane->guest->fg.io_flags};
	*call = PERF_CALL(FUSE_READ, pw_file(job)->nodeid, args->read);
	call->data_writable = o->bs;
}

static int pw_judge_write(struct perf_job *job, struct sfs_fg_req *req)
{
	const struct perf_work *o = &job->lane->guest->work;
	const struct fuse_write_out *out = (const struct fuse_write_out *)(void *)req->out_args;

	if (req->result < 0)
		return req->result;
	if (out->size != o->bs)
		return -EIO;
	if (o->verify)
		pw_file(job)->written[job->offset / o->bs] = 1;
	return 0;
}

static bool pw_reply_io(struct perf_job *job, struct sfs_fg_req *req)
{
	const struct perf_work *o = &job->lane->guest->work;

	if (job->is_write) {
		req->result = pw_judge_write(job, req);
	} else if (req->result >= 0) {
		bool good = (uint32_t)req->result == o->bs;

		if (good && o->verify)
			good = perf_matches(req->data, o->bs, job->file, job->offset, perf_writes(o) ? 3 : 1);
		req->result = good ? 0 : -EIO;
	}
	if (req->result == 0)
		job->lane->c.bytes += o->bs;
	return true;
}

static int64_t pw_raw_io(struct perf_job *job, int dir_fd, void *buf)
{
	struct iovec iov = {.iov_base = buf, .iov_len = job->lane->guest->work.bs};

	perf_pick_block(job);
	ssize_t n = job->is_write ? pwritev(pw_file(job)->fd, &iov, 1, (off_t)job->offset)
				  : preadv(pw_file(job)->fd, &iov, 1, (off_t)job->offset);
	return n < 0 ? -errno : n;
}

/* A block written and made durable. */
static void pw_build_fsync(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
			   union perf_args *args)
{
	if (job->step == 0) {
		perf_pick_block(job);
		job->is_write = true;
		pw_build_write(job, req, call, args);
		return;
	}
	args->fsync = (struct fuse_fsync_in){.fh = pw_file(job)->fh, .fsync_flags = FUSE_FSYNC_FDATASYNC};
	*call = PERF_CALL(FUSE_FSYNC, pw_file(job)->nodeid, args->fsync);
}

static bool pw_reply_fsync(struct perf_job *job, struct sfs_fg_req *req)
{
	if (job->step == 0)
		req->result = pw_judge_write(job, req);
	if (job->step == 1 && req->result == 0)
		job->lane->c.bytes += job->lane->guest->work.bs;
	return job->step++ == 1;
}

static int64_t pw_raw_fsync(struct perf_job *job, int dir_fd, void *buf)
{
	int64_t n = pw_raw_io(job, dir_fd, buf);

	return n >= 0 && fdatasync(pw_file(job)->fd) < 0 ? -errno : n;
}

#define PW_IO  pw_build_io, pw_reply_io, pw_raw_io
#define PW(op) perf_build_##op, perf_reply_##op, perf_raw_##op

static const struct perf_workload workloads[] = {
    {"read", PERF_DATA, false, true, false, 0, PW_IO},
    {"write", PERF_DATA, false, true, false, 100, PW_IO},
    {"randread", PERF_DATA, true, true, false, 0, PW_IO},
    {"randwrite", PERF_DATA, true, true, false, 100, PW_IO},
    {"mixed", PERF_DATA, true, true, false, 30, PW_IO},
    {"fsync", PERF_DATA, true, true, false, 100, pw_build_fsync, pw_reply_fsync, pw_raw_fsync},
    {"getattr", PERF_NAMES, true, true, false, 0, PW(getattr)},
    {"lookup", PERF_NAMES, true, false, false, 0, PW(lookup)},
    {"lookupforget", PERF_NAMES, true, false, false, 0, perf_build_lookup, perf_reply_lookupforget,
     perf_raw_lookup},
    {"open", PERF_NAMES, true, false, false, 0, PW(open)},
    {"open-handle", PERF_NAMES, true, false, false, 0, NULL, NULL, perf_raw_open_handle},
    {"visit", PERF_NAMES, true, false, false, 0, PW(visit)},
    {"hoard", PERF_NAMES, false, false, false, 0, perf_build_hoard, perf_reply_hoard, NULL},
    {"create", PERF_NEW, true, false, false, 0, PW(create)},
    {"create-entry", PERF_NEW, true, false, false, 0, NULL, NULL, perf_raw_create_entry},
    {"rename", PERF_NAMES, true, false, false, 0, PW(rename)},
    {"smallfiles", PERF_NEW, true, false, true, 0, PW(small)},
    {"untar", PERF_NEW, true, false, true, 0, PW(untar)},
    {"readdirplus", PERF_DIR, false, false, false, 0, perf_build_list, perf_reply_list, perf_raw_list},
    {"readdirplus-known", PERF_DIR, false, false, false, 0, perf_build_list, perf_reply_list_known,
     perf_raw_list},
};

const struct perf_workload *perf_workload_find(const char *name)
{
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(workloads); i++) {
		if (!strcmp(workloads[i].name, name))
			return &workloads[i];
	}
	return NULL;
}

void perf_workload_list(char *buf, size_t bytes)
{
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(workloads) && at < bytes; i++)
		at += (size_t)snprintf(buf + at, bytes - at, "%s%s", i ? " " : "", workloads[i].name);
}

bool perf_writes(const struct perf_work *work)
{
	return work->workload->kind == PERF_DATA && work->workload->write_percent;
}
