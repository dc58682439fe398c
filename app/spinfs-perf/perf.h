/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * spinfs-perf: a polled front end that puts load on any vhost-user-fs daemon, and the plain system calls to
 * compare with.
 */
#ifndef PERF_H
#define PERF_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sfs_base.h"
#include "sfs_fe_guest.h"
#include "sfs_hist.h"

#define PERF_THREADS_MAX 64
#define PERF_SOCKETS_MAX 64
#define PERF_NOISY_MAX   16
#define PERF_RAW_BUFFERS 32
#define PERF_TREE_FILES  64 /* files of each directory that "untar" makes */

struct perf_workload;
struct perf_run;

/** What a guest does. */
struct perf_work {
	const struct perf_workload *workload;
	char socket[108]; /* of a noisy neighbour; empty: that of the first guest */
	uint32_t bs;
	unsigned iodepth; /* of each queue */
	unsigned queues;
	unsigned files;
	unsigned write_percent; /* of "mixed" */
	uint64_t size, blocks;  /* of each file; blocks of bs */
	double rate;            /* operations a second; 0: as fast as it goes */
	bool direct, verify;
};

struct perf_opts {
	const char *sockets[PERF_SOCKETS_MAX];
	unsigned socket_count;
	const char *spawn, *raw_dir, *json;
	bool loopback, ceiling, indirect, interrupts, event_idx, hugepages, io_uring, unpinned, histogram,
	    round_trip;
	struct perf_work work;
	struct perf_work noisy[PERF_NOISY_MAX];
	unsigned noisy_count;
	unsigned guests;
	uint64_t ops;  /* each guest ends after so many; 0: after time_s */
	uint64_t skip; /* and so many of each lane before */
	double time_s, ramp_s;
	uint32_t segment; /* 0: one */
	unsigned ring_size;
	unsigned cpu_count;
	int cpus[PERF_THREADS_MAX]; /* one thread of load on each */
	unsigned daemon_cpu_count;
	int daemon_cpus[PERF_THREADS_MAX];
};

enum perf_phase { PERF_RAMP, PERF_MEASURE, PERF_STOP };

struct perf_file {
	char name[40];
	uint64_t nodeid, fh;
	int fd;                     /* raw mode */
	struct file_handle *handle; /* "open-handle": of its first use on */
	uint8_t *written;           /* with --verify: a byte a block */
};

/** What was counted between PERF_MEASURE and PERF_STOP. */
struct perf_count {
	uint64_t ops, bytes, errors;
	uint64_t min_ns;
	uint64_t start_ns, stop_ns;
	uint64_t kicks, interrupts;
	int first_error;
	struct sfs_hist_fine hist;
};

struct perf_guest {
	struct perf_run *run;
	unsigned idx;
	bool noisy;
	struct perf_work work;
	char socket[108];
	struct sfs_fg fg;
	struct perf_file *files;
	uint64_t dir_nodeid;
	pthread_spinlock_t hiprio_lock;
	_Atomic bool hiprio_dirty;
	uint64_t attach_ns;     /* from connect() to the answer of INIT */
	uint64_t verify_errors; /* found by the check after the run */
	struct perf_count total;
};

/** One queue of one guest, or one loop of plain system calls. */
struct perf_lane {
	struct perf_guest *guest;
	struct sfs_fg_queue *queue;
	unsigned idx, count; /* this one, of how many of the guest */
	uint64_t rng, cursor;
	struct perf_job *jobs;
	unsigned in_flight;
	struct sfs_fg_req *starved; /* built again when the ring has descriptors */
	struct sfs_fg_req *idle;    /* with --rate: not due yet */
	uint64_t interval_ns, due_ns;
	uint64_t quota, skip; /* with --ops: how many are measured, after how many that are not */
	bool ended;
	int fatal;
	struct perf_count c;
};

struct perf_thread {
	struct perf_run *run;
	unsigned idx;
	pthread_t thread;
	unsigned lane_count;
	struct perf_lane *lanes;
	int phase;
	double own_cpu_s; /* while it measured */
};

/** What the processes of the daemons took. */
struct perf_daemon_figures {
	double cpu_s;
	uint64_t pss_bytes, pss_anon_bytes, fds;
};

struct perf_run {
	struct perf_opts opts;
	unsigned guest_count;
	struct perf_guest *guests; /* the noisy ones last */
	_Atomic int phase;
	_Atomic unsigned lanes_left; /* with --ops */
	_Atomic uint64_t ops_so_far; /* for the progress line */
	double load_cpu_s;
	struct perf_daemon_figures daemon;
	double ceiling_ops_s;
};

/** A file that the bare loop has made and not yet removed. */
struct perf_held {
	int fd; /* -1: none */
	char name[64];
};

/** One operation in flight: some requests, one after the other, in the same slot. */
struct perf_job {
	struct perf_lane *lane;
	unsigned id;
	unsigned step;
	unsigned file;
	bool is_write;
	uint64_t offset, nodeid, fh;
	uint64_t dir[2]; /* of "untar": the directory that is filled, and the one before; and their files */
	uint64_t nodes[2][PERF_TREE_FILES];
	uint64_t start_ns;
	uint64_t serial;
	char name[64], name2[64];
	struct perf_held *held; /* the bare loop's, as many as are in flight */
};

/** Arguments of the request that is being built. */
union perf_args {
	struct fuse_read_in read;
	struct fuse_write_in write;
	struct fuse_getattr_in getattr;
	struct fuse_setattr_in setattr;
	struct fuse_mkdir_in mkdir;
	struct fuse_open_in open;
	struct fuse_create_in create;
	struct fuse_flush_in flush;
	struct fuse_release_in release;
	struct fuse_fsync_in fsync;
	struct fuse_rename_in rename;
};

enum perf_kind {
	PERF_DATA,  /* large files, opened before */
	PERF_NAMES, /* many small files */
	PERF_DIR,   /* a directory of many */
	PERF_NEW,   /* makes all that it needs */
};

struct perf_workload {
	const char *name;
	enum perf_kind kind;
	bool random, opened;
	bool judges_errors; /* reply() sees errors too, and may expect them */
	unsigned write_percent;
	/* Fills @call for the job's step; args may use @args. NULL: plain system calls only. */
	void (*build)(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,
		      union perf_args *args);
	/* Judges the reply and moves job->step on: true when the operation is over. */
	bool (*reply)(struct perf_job *job, struct sfs_fg_req *req);
	/* The same by plain system calls: bytes or -errno. NULL: there is none. */
	int64_t (*raw)(struct perf_job *job, int dir_fd, void *buf);
};

/* workload.c: the table, and data; names.c; trees.c */
const struct perf_workload *perf_workload_find(const char *name);
void perf_workload_list(char *buf, size_t bytes);
bool perf_writes(const struct perf_work *work);
void perf_pick_block(struct perf_job *job);

/* The parts that operations are made of. */
#define PERF_CALL(op, node, in)                                                                              \
	(struct sfs_fg_call)                                                                                 \
	{                                                                                                    \
		.opcode = (op), .nodeid = (node), .args = &(in), .args_bytes = sizeof(in)                    \
	}
void perf_call_name(struct sfs_fg_call *call, unsigned i, const char *name);
void perf_call_lookup(struct sfs_fg_call *call, uint64_t parent, const char *name);
void perf_call_open(struct sfs_fg_call *call, union perf_args *args, uint64_t nodeid);
void perf_call_create(struct sfs_fg_call *call, union perf_args *args, uint64_t parent, const char *name);
void perf_call_close(struct sfs_fg_call *call, union perf_args *args, const struct perf_job *job, bool flush);
void perf_call_unlink(struct sfs_fg_call *call, uint64_t parent, const char *name);
void perf_new_name(struct perf_job *job);

#define PERF_OP_DECLARE(op)                                                                                  \
	void perf_build_##op(struct perf_job *job, struct sfs_fg_req *req, struct sfs_fg_call *call,         \
			     union perf_args *args);                                                         \
	bool perf_reply_##op(struct perf_job *job, struct sfs_fg_req *req);                                  \
	int64_t perf_raw_##op(struct perf_job *job, int dir_fd, void *buf)
PERF_OP_DECLARE(getattr);
PERF_OP_DECLARE(lookup);
PERF_OP_DECLARE(open);
PERF_OP_DECLARE(visit);
PERF_OP_DECLARE(hoard);
PERF_OP_DECLARE(create);
PERF_OP_DECLARE(rename);
PERF_OP_DECLARE(list);
PERF_OP_DECLARE(small);
PERF_OP_DECLARE(untar);
bool perf_reply_lookupforget(struct perf_job *job, struct sfs_fg_req *req);
bool perf_reply_list_known(struct perf_job *job, struct sfs_fg_req *req);
int64_t perf_raw_list(struct perf_job *job, int dir_fd, void *buf);
int64_t perf_raw_open_handle(struct perf_job *job, int dir_fd, void *buf);
int64_t perf_raw_create_entry(struct perf_job *job, int dir_fd, void *buf);
/** Before the first perf_raw_create() of a job, and after the last. */
int perf_raw_held(struct perf_job *job);
void perf_raw_held_end(struct perf_job *job, int dir_fd);
/** Deletes what an unfinished "untar" left, by requests or, with @dir_fd, by system calls. */
void perf_untar_clean(struct perf_job *job, int dir_fd);

/* files.c: what lies on the share */
int perf_files_prepare(struct perf_guest *guest);
int perf_files_prepare_raw(struct perf_guest *guest, int dir_fd);
void perf_files_finish(struct perf_guest *guest);
void perf_fill(void *buf, uint32_t bytes, unsigned file, uint64_t offset, unsigned generation);
/** Whether each word is of one of the generations in the bit set @allowed. */
bool perf_matches(const void *buf, uint32_t bytes, unsigned file, uint64_t offset, unsigned allowed);

/* load.c */
/** A thread of load over rings; its argument is a struct perf_thread. */
void *perf_load_body(void *thread);
/** Sends a FORGET and does not wait; it is kicked with the next turn. */
void perf_forget(struct perf_guest *guest, uint64_t nodeid, uint64_t nlookup);

/* threads.c */
struct perf_loopback;
uint64_t perf_random(struct perf_lane *lane);
/** Runs @body in a thread on each CPU of load, with @lanes lanes of each guest; counts go to the guests. */
int perf_threads_run(struct perf_run *run, void *(*body)(void *), struct perf_loopback *lb);
void perf_lane_begin(struct perf_lane *lane, uint64_t now);
void perf_lane_end(struct perf_lane *lane, uint64_t now);
/** Whether an operation that was just counted begins the measurement (the last to skip) or ends it (the last of the quota). */
static inline bool perf_lane_due(const struct perf_lane *lane)
{
	return lane->quota && lane->c.ops == (lane->skip ? lane->skip : lane->quota);
}
/** Does so. */
void perf_lane_turns(struct perf_lane *lane, uint64_t now);
/** Notices a new phase and returns it; own CPU time is taken at both ends of the measurement. */
int perf_thread_phase(struct perf_thread *t);
int perf_cpu_set(const int *cpus, unsigned count, cpu_set_t *set);

/* loopback.c: a device that answers at once */
int perf_loopback_start(struct perf_run *run, struct perf_loopback **lb);
void perf_loopback_stop(struct perf_loopback *lb);
int perf_loopback_cpu_ns(struct perf_loopback *lb, uint64_t *ns);

/* raw.c, raw_uring.c */
int perf_raw(struct perf_run *run);
void *perf_raw_uring_body(void *thread);
/** Median time to another core and back: of an eventfd, and of a cache line that both sides look at. */
int perf_round_trip(const struct perf_opts *o, uint64_t *eventfd_ns, uint64_t *spin_ns);

/* daemon.c */
int perf_parse_cpus(const char *text, int *cpus, unsigned max, unsigned *count);
int perf_spawn(const char *cmd, const int *cpus, unsigned cpu_count, int *pid);
void perf_spawn_stop(int pid);
/** CPU time of the daemons at the other ends of the guests' sockets, and of their children. */
int perf_daemons_cpu_ns(struct perf_run *run, uint64_t *ns);
/** Their memory and descriptors now. */
void perf_daemons_look(struct perf_run *run);

/* options.c: 0, or the status to exit with */
int perf_options(int argc, char **argv, struct perf_opts *o, bool *over);

/* report.c */
int perf_report(struct perf_run *run);
double perf_ops_s(const struct perf_count *c);

#endif
