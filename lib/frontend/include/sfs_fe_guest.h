/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that speaks FUSE over virtqueues, laid out as Linux lays requests out: descriptors for the header,
 * the arguments with the names, the data in pages; then for the reply's header, its fixed part, its data in
 * pages.
 *
 * A queue belongs to one thread at a time; everything else to the thread that called sfs_fg_begin(). The
 * helpers at the end wait (spin a little, then sleep) for at most sfs_fg.timeout_ms.
 */
#ifndef SFS_FE_GUEST_H
#define SFS_FE_GUEST_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stdint.h>

#include "sfs_fe_ring.h"
#include "sfs_frontend.h"

#define SFS_FG_HIPRIO      0           /* queue 0; request queues follow */
#define SFS_FG_ARGS_MAX    (72u << 10) /* arguments with names and xattr values */
#define SFS_FG_ARGS_INLINE 192         /* up to here they lie beside the header */
#define SFS_FG_OUT_MAX     192         /* fixed part of a reply */
#define SFS_FG_PAGE        4096u       /* segments as a Linux guest makes them */

struct sfs_fg;
struct sfs_fg_queue;

/** What a request is made of. Nothing is kept: it may live on the stack. */
struct sfs_fg_call {
	uint32_t opcode;
	uint64_t nodeid;
	const void *args; /* struct fuse_*_in */
	uint32_t args_bytes;
	const void *tail[2]; /* names with their NUL, xattr values */
	uint32_t tail_bytes[2];
	uint32_t data_readable; /* bytes of req->data that follow (WRITE) */
	uint32_t out_bytes;     /* fixed part of the reply, at most SFS_FG_OUT_MAX */
	uint32_t data_writable; /* room in req->data for the reply's data */
	bool out_short;         /* the fixed part may come shorter (INIT); the rest reads as zero */
	bool no_reply;          /* FORGET, BATCH_FORGET */
};

/** A slot: one request at a time, with its own places in guest memory. */
struct sfs_fg_req {
	struct sfs_fg_queue *queue;
	struct fuse_in_header *in; /* these six in guest memory */
	uint8_t *args;
	uint8_t *args_long;
	struct fuse_out_header *out;
	uint8_t *out_args;
	uint8_t *data; /* data_bytes of the options, page aligned */
	uint64_t in_gpa, args_gpa, args_long_gpa, out_gpa, out_args_gpa, data_gpa;

	uint64_t unique;
	uint32_t out_room, data_room;
	bool out_short, no_reply;
	bool done;  /* it came back */
	int result; /* then: bytes of data in the reply after its fixed part, or -errno; -EPROTO: malformed */
	uint32_t used_bytes; /* then: what the device says it wrote */
	void *user;          /* the caller's */
	struct sfs_fg_req *next;
};

struct sfs_fg_queue {
	struct sfs_fg *guest;
	unsigned idx;
	struct sfs_fe_ring ring;
	unsigned depth; /* slots */
	struct sfs_fg_req *reqs;
	struct sfs_fg_req *free;
	struct sfs_fg_req *done_head, **done_tail; /* came back while another one was waited for */
	uint64_t next_unique;
	struct sfs_fe_seg *segs; /* of the request being built */
	unsigned seg_max;
};

struct sfs_fg_opts {
	struct sfs_fe_mem_opts mem; /* region_bytes 0: one region's worth of what the queues need */
	unsigned request_queues;    /* 0 means 1 */
	unsigned ring_size;         /* 0 means 128 */
	unsigned depth;             /* requests in flight a queue; 0: as many as the ring has entries */
	uint32_t data_bytes;        /* of each slot; 0 means 1 MiB */
	uint32_t seg_bytes;         /* data is cut into segments of this size; 0: one segment */
	bool interrupts;            /* completions by eventfd instead of polling */
	uint64_t features_refused;  /* of INDIRECT_DESC and EVENT_IDX */
	uint64_t protocol_refused;  /* of MQ, REPLY_ACK and CONFIG */
};

struct sfs_fg {
	struct sfs_fe fe; /* fe.fd -1: not attached */
	struct sfs_fe_mem mem;
	struct sfs_fg_opts opts;
	uint64_t features, protocol_features; /* agreed on */
	unsigned queue_count;                 /* with hiprio */
	uint64_t daemon_queues; /* what GET_QUEUE_NUM said; queue_count where it cannot be asked */
	struct sfs_fg_queue *queue;
	struct sfs_fg_queue *sync_queue; /* of the helpers below; queue 1 at first */
	uint32_t uid, gid, pid;          /* the caller in each request's header */
	uint32_t io_flags;               /* what READ and WRITE say of the file: as at the last open */
	unsigned timeout_ms;             /* of the helpers; 10,000 at first */
};

/**
 * Makes memory, rings and slots; no daemon is needed yet. 0, -EINVAL, -ENOMEM or what the system gave.
 * sfs_fg_end() ends it; nothing is left behind after an error.
 */
int sfs_fg_begin(struct sfs_fg *g, const struct sfs_fg_opts *opts);
/** Detaches and frees everything. */
void sfs_fg_end(struct sfs_fg *g);

/**
 * Connects to @path (trying for @wait_ms), agrees on features, hands over memory and rings and enables them.
 * The rings start empty. Errors of sfs_fe_connect() and sfs_fe_set(); -ENOTSUP: the daemon lacks VERSION_1;
 * -ERANGE: it has fewer queues.
 */
int sfs_fg_attach(struct sfs_fg *g, const char *path, unsigned wait_ms);
/** The same over the connected socket @fd, which is taken over in every case. */
int sfs_fg_attach_fd(struct sfs_fg *g, int fd);
/** Stops all rings as QEMU does: ENABLE 0 for all, then GET_VRING_BASE for each. Errors as sfs_fe_set(). */
int sfs_fg_stop(struct sfs_fg *g);
/** Starts the rings again after sfs_fg_stop(), from where they stand. Errors as sfs_fe_set(). */
int sfs_fg_restart(struct sfs_fg *g);
/** Closes the socket, whatever is in flight; slots are free again. */
void sfs_fg_detach(struct sfs_fg *g);

/* --- requests --- */

/** A free slot of the queue, or NULL. */
struct sfs_fg_req *sfs_fg_req_get(struct sfs_fg_queue *q);
/** Gives a slot back; it is not in flight. */
void sfs_fg_req_put(struct sfs_fg_req *req);

/**
 * Puts the request into the ring; sfs_fg_publish() shows it to the device. 0, -EINVAL (more than the slot
 * holds), or -ENOSPC: no descriptors now.
 */
int sfs_fg_start(struct sfs_fg_req *req, const struct sfs_fg_call *call);
static inline int sfs_fg_publish(struct sfs_fg_queue *q)
{
	return sfs_fe_ring_publish(&q->ring);
}
/** Takes one request that came back. 1 taken, 0 none, -EPROTO: the device gave back what was not in flight.
 */
int sfs_fg_poll(struct sfs_fg_queue *q, struct sfs_fg_req **req);
/** Waits until @req came back. 0, -ETIMEDOUT, -ECONNRESET, -EPROTO. Others that come meanwhile are kept for
 * sfs_fg_poll(). */
int sfs_fg_wait(struct sfs_fg_req *req);
/**
 * One request on the helpers' queue from start to end: @data_in (call->data_readable bytes) goes out, the
 * fixed part comes back in
 * @out, data in @data_out; each may be NULL. Bytes of data in the reply, or -errno: the daemon's, or that of
 * sfs_fg_wait(), after which the slot stays lost until the guest detaches.
 */
int sfs_fg_call(struct sfs_fg *g, const struct sfs_fg_call *call, const void *data_in, void *out,
		void *data_out);

/* --- one helper an operation; 0 (or bytes where said) or -errno as sfs_fg_call() --- */

/** @flags: FUSE_* bits, the upper half goes into flags2. */
int sfs_fg_init(struct sfs_fg *g, uint32_t minor, uint64_t flags, struct fuse_init_out *out);
int sfs_fg_destroy(struct sfs_fg *g);
int sfs_fg_lookup(struct sfs_fg *g, uint64_t parent, const char *name, struct fuse_entry_out *out);
/** On hiprio, as Linux does; returns when the device has given the chain back. */
int sfs_fg_forget(struct sfs_fg *g, uint64_t nodeid, uint64_t nlookup);
int sfs_fg_batch_forget(struct sfs_fg *g, const struct fuse_forget_one *list, uint32_t count);
/** On hiprio, about request @unique. 0 also where the daemon gives the chain back without an answer. */
int sfs_fg_interrupt(struct sfs_fg *g, uint64_t unique);
/** @fh may be NULL. */
int sfs_fg_getattr(struct sfs_fg *g, uint64_t nodeid, const uint64_t *fh, struct fuse_attr_out *out);
int sfs_fg_setattr(struct sfs_fg *g, uint64_t nodeid, const struct fuse_setattr_in *in,
		   struct fuse_attr_out *out);
int sfs_fg_access(struct sfs_fg *g, uint64_t nodeid, uint32_t mask);
int sfs_fg_statfs(struct sfs_fg *g, uint64_t nodeid, struct fuse_statfs_out *out);

int sfs_fg_mknod(struct sfs_fg *g, uint64_t parent, const char *name, uint32_t mode, uint32_t rdev,
		 struct fuse_entry_out *out);
int sfs_fg_mkdir(struct sfs_fg *g, uint64_t parent, const char *name, uint32_t mode,
		 struct fuse_entry_out *out);
int sfs_fg_symlink(struct sfs_fg *g, uint64_t parent, const char *name, const char *target,
		   struct fuse_entry_out *out);
/** @target has room for SFS_FG_PAGE bytes and gets a NUL; its length. */
int sfs_fg_readlink(struct sfs_fg *g, uint64_t nodeid, char *target);
int sfs_fg_link(struct sfs_fg *g, uint64_t nodeid, uint64_t parent, const char *name,
		struct fuse_entry_out *out);
int sfs_fg_unlink(struct sfs_fg *g, uint64_t parent, const char *name);
int sfs_fg_rmdir(struct sfs_fg *g, uint64_t parent, const char *name);
/** RENAME, or RENAME2 where @flags (RENAME_*) is not 0. */
int sfs_fg_rename(struct sfs_fg *g, uint64_t from, const char *name, uint64_t to, const char *new_name,
		  uint32_t flags);

int sfs_fg_create(struct sfs_fg *g, uint64_t parent, const char *name, uint32_t flags, uint32_t mode,
		  struct fuse_entry_out *entry, struct fuse_open_out *open);
int sfs_fg_open(struct sfs_fg *g, uint64_t nodeid, uint32_t flags, struct fuse_open_out *out);
int sfs_fg_flush(struct sfs_fg *g, uint64_t nodeid, uint64_t fh);
int sfs_fg_release(struct sfs_fg *g, uint64_t nodeid, uint64_t fh);
int sfs_fg_fsync(struct sfs_fg *g, uint64_t nodeid, uint64_t fh, bool data_only);
/** Bytes read; @bytes at most data_bytes of the options. */
int sfs_fg_read(struct sfs_fg *g, uint64_t nodeid, uint64_t fh, uint64_t offset, void *buf, uint32_t bytes);
/** Bytes written. */
int sfs_fg_write(struct sfs_fg *g, uint64_t nodeid, uint64_t fh, uint64_t offset, const void *buf,
		 uint32_t bytes);

int sfs_fg_opendir(struct sfs_fg *g, uint64_t nodeid, struct fuse_open_out *out);
/** READDIRPLUS where @plus; bytes of entries (struct fuse_dirent or fuse_direntplus) in @buf. */
int sfs_fg_readdir(struct sfs_fg *g, uint64_t nodeid, uint64_t fh, uint64_t offset, void *buf, uint32_t bytes,
		   bool plus);
int sfs_fg_releasedir(struct sfs_fg *g, uint64_t nodeid, uint64_t fh);
int sfs_fg_fsyncdir(struct sfs_fg *g, uint64_t nodeid, uint64_t fh);

int sfs_fg_setxattr(struct sfs_fg *g, uint64_t nodeid, const char *name, const void *value, uint32_t bytes,
		    uint32_t flags);
/** @bytes 0: the size of the value; otherwise the bytes put into @value. */
int sfs_fg_getxattr(struct sfs_fg *g, uint64_t nodeid, const char *name, void *value, uint32_t bytes);
int sfs_fg_listxattr(struct sfs_fg *g, uint64_t nodeid, void *list, uint32_t bytes);
int sfs_fg_removexattr(struct sfs_fg *g, uint64_t nodeid, const char *name);

#endif
