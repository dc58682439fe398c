/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What must come out: the objects of one actor, in memory. Nobody else touches them, so a result is known beforehand, but
 * where two requests of the actor race: then it is one of two.
 */
#ifndef MODEL_H
#define MODEL_H

#include "sim.h"

#define NAMES    5
#define OBJS     24
#define HANDLES  3
#define FILE_MAX 40000u
#define DATA_MAX 24576u

struct obj {
	uint32_t type, perm, size, nlink, opens;
	uint64_t id, count; /* nodeid, and how often it was looked up and not forgotten */
	uint8_t *data;
	char target[48];
	bool has_xattr;
	uint32_t xattr_bytes;
	char xattr[32];
};

struct handle {
	struct obj *obj; /* NULL: free */
	uint64_t fh;
	bool writable, dir;
};

struct actor;

/** A request of an actor, before, while and after it is in the ring. */
struct op {
	bool active, sent;
	struct actor *actor;
	unsigned queue;
	struct sfs_fg_req *req;
	struct sfs_fg_call call;
	union {
		struct fuse_getattr_in getattr;
		struct fuse_setattr_in setattr;
		struct fuse_mkdir_in mkdir;
		struct fuse_mknod_in mknod;
		struct fuse_create_in create;
		struct fuse_open_in open;
		struct fuse_read_in read;
		struct fuse_write_in write;
		struct fuse_release_in release;
		struct fuse_flush_in flush;
		struct fuse_fsync_in fsync;
		struct fuse_rename2_in rename;
		struct fuse_link_in link;
		struct fuse_forget_in forget;
		struct fuse_access_in access;
		struct fuse_fallocate_in fallocate;
		struct fuse_lseek_in lseek;
		struct fuse_copy_file_range_in copy;
		struct fuse_syncfs_in syncfs;
		struct fuse_interrupt_in interrupt;
		struct fuse_getxattr_in getxattr;
		struct {
			uint32_t size, flags;
		} setxattr;
		struct {
			struct fuse_batch_forget_in in;
			struct fuse_forget_one one[2];
		} batch;
	} in;
	char name[2][64];
	int expect;   /* 0 or -errno */
	int other[3]; /* further allowed errors; 0: none. Nothing has happened then */
	void (*check)(struct op *op, const struct sfs_fg_req *req); /* of a success; moves the model on */
	struct obj *obj, *obj2;
	struct handle *handle, *handle2;
	int at, at2;     /* names */
	uint64_t number; /* the check's own */
	uint8_t data[DATA_MAX];
};

struct actor {
	unsigned idx;
	char name[16];
	uint64_t dir;
	struct obj objs[OBJS];
	struct obj *names[NAMES];
	struct handle handles[HANDLES];
	bool ready;     /* has its directory, open */
	unsigned steps; /* to go; at the end: what was verified */
	struct op op[2];
};

/** Fills @op with a step for the actor, and op[1] where it is a race. False: this one is not possible now. */
typedef bool (*model_step)(struct actor *a, struct op *op);

struct model_row {
	model_step step;
	unsigned weight;
};
extern const struct model_row model_rows[];
extern const unsigned model_row_count;

/** MKDIR of the actor's own directory. */
bool model_begin(struct actor *a, struct op *op);
/** The last steps: closes, verifies, forgets; false: nothing is left to do. */
bool model_end(struct actor *a, struct op *op);
void model_free(struct actor *a);

/* --- what the files of the model share --- */

#define FAIL(op, ...) sim_fail("actor %u, opcode %u: " __VA_ARGS__)

struct op *op_make(struct op *op, uint32_t opcode, uint64_t node, uint32_t arg_bytes, uint32_t out_bytes);
void op_name(struct op *op, unsigned i, const char *name);
struct obj *any_obj(struct actor *a, uint32_t type);
struct handle *any_handle(struct actor *a, bool dir, bool writable);
struct handle *free_handle(struct actor *a);
void obj_settle(struct obj *o);
void took_entry(const struct op *op, struct obj *o, const struct fuse_entry_out *e);
const void *out_of(const struct sfs_fg_req *req);
void check_nothing(struct op *op, const struct sfs_fg_req *req);
void check_lookup(struct op *op, const struct sfs_fg_req *req);
void make_forget(struct op *op, struct obj *o, uint64_t count);
void check_unlink(struct op *op, const struct sfs_fg_req *req);
void check_open(struct op *op, const struct sfs_fg_req *req);
void make_read(struct op *op, struct handle *h, uint64_t off, uint32_t size);
void make_release(struct op *op, struct handle *h);

bool step_open(struct actor *a, struct op *op);
bool step_read(struct actor *a, struct op *op);
bool step_write(struct actor *a, struct op *op);
bool step_release(struct actor *a, struct op *op);
bool step_read_release(struct actor *a, struct op *op);
bool step_bad_handle(struct actor *a, struct op *op);
bool step_sync(struct actor *a, struct op *op);
bool step_fallocate(struct actor *a, struct op *op);
bool step_lseek(struct actor *a, struct op *op);
bool step_copy(struct actor *a, struct op *op);
bool step_statfs(struct actor *a, struct op *op);
bool step_interrupt(struct actor *a, struct op *op);
bool step_xattr(struct actor *a, struct op *op);

#endif
