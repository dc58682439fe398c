/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the passthrough driver share.
 *
 * An operation pins what the guest named on the reactor, then does its system calls in one function that may
 * block and that runs where the policy says: on the reactor or on a worker. What is known not to block is
 * called directly.
 */
#ifndef PT_H
#define PT_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sfs_fs.h"
#include "sfs_store.h"
#include "xattrmap.h"

#define PT_MOUNTS_MAX 1024
#define PT_STATX_MASK (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)
#define PT_NAME_BYTES 32 /* "/proc/self/fd/2147483647" */

enum pt_cache { PT_CACHE_NEVER, PT_CACHE_METADATA, PT_CACHE_AUTO, PT_CACHE_ALWAYS };
enum pt_when { PT_WHEN_NEVER, PT_WHEN_AUTO, PT_WHEN_ALWAYS };
enum pt_handles { PT_HANDLES_NEVER, PT_HANDLES_PREFER, PT_HANDLES_MANDATORY };

/** What a request does with the file that it names by fh. */
enum pt_use { PT_USE_ANY, PT_USE_READ, PT_USE_WRITE };

enum pt_nowait { PT_NOWAIT_UNKNOWN, PT_NOWAIT_YES, PT_NOWAIT_NO };

/** A mount of the host that was met in the share. Never changes once it counts, but for nowait. */
struct pt_mount {
	uint64_t mnt_id;
	int fd; /* open for reading, for file handles and syncfs; -1: none. Keeps mnt_id from being reused */
	/* enum sfs_store; REMOTE: nothing of it is ever called on a reactor, unless the policy is "always" */
	uint8_t store;
	bool handles; /* its file handles can be opened */
	bool btime;   /* its birth times stay as they are */
	/* One of the filesystems known to have: a birth time that an inode number used again does not share, handles
	 * that open a deleted file for as long as it is open, and nothing to do at a FLUSH. */
	bool plain;
	_Atomic uint8_t
	    nowait; /* enum pt_nowait: whether RWF_NOWAIT reads work; learned from the first one */
};

struct pt_timeout {
	uint64_t s;
	uint32_t ns;
};

struct pt_fs {
	/* Options. */
	bool readonly, allow_direct_io, xattr, preserve_noatime, security_label, no_open;
	uint8_t cache;                /* enum pt_cache */
	uint8_t inode_handles;        /* enum pt_handles */
	struct pt_xattrmap *xattrmap; /* NULL: names are the same on both sides */
	char label_name
	    [PT_XATTR_NAME_BYTES]; /* the attribute that holds labels for the guest alone; empty: the host's own */
	uint32_t inline_bytes_max;
	struct pt_timeout entry_timeout, attr_timeout, negative_timeout;
	enum sfs_block_policy policy;

	bool switch_ids; /* the daemon is root: objects are made under the caller's ids */
	int proc_fd;     /* O_PATH of /proc/self/fd */
	int root_fd;     /* O_PATH of the shared directory */
	mode_t root_mode;
	struct sfs_node_key root_key;
	atomic_flag warned_handles;

	pthread_mutex_t mount_lock; /* of adding; readers take none */
	_Atomic unsigned mount_count;
	struct pt_mount mounts[PT_MOUNTS_MAX];
};

/** What a request keeps while it is parked: SFS_REQ_DRV(). The pins are in the request. */
struct pt_op {
	struct sfs_node *node, *node2;
	struct sfs_handle *handle, *handle2;
	struct sfs_fdent *ent, *ent2; /* of handle, or of a descriptor that node holds; NULL: none */
	uint32_t open_flags;          /* as ent was opened on the host */
	struct pt_mount *mount;       /* of node or handle */
	uint64_t offset, done;        /* READ, WRITE: where it began, bytes done; a listing: bytes listed */
	uint32_t list_raw;            /* a listing: what these were on the host, */
	uint32_t list_left;           /* and that was read there beyond them; */
	uint32_t list_objects;        /* how many to look at now, unless on a worker */
	bool plus;                    /* READDIRPLUS */
	bool reopened;                /* pt_pin_file() */
	uint8_t use;                  /* enum pt_use */
	uint32_t guest_flags;         /* as the guest has it open */
};

/** sfs_handle.drv: index of the mount; a directory's position on the host. */
enum { PT_HANDLE_MOUNT, PT_HANDLE_POS };

/**
 * sfs_node.flags: the object was much older than its filesystem's clock is coarse when it was identified by its handle.
 * If its number is used again then for one that was born later: the birth time tells them apart.
 */
enum {
	PT_NODE_SETTLED = 1,
	/* The numbers and the handle were seen to be of one object: opening the handle opens what mode says. */
	PT_NODE_PROVEN = 2
};

/** Steps of the operations that are one blocking function. */
enum { PT_START, PT_END };
/** Instead of an error: this must be done again on a worker (an unknown or remote mount was met). */
#define PT_ELSEWHERE 1
/** Instead of the end: the turn's share is used up. */
#define PT_MORE 2

static inline struct pt_fs *pt_fs(const struct sfs_req *req)
{
	return sfs_session_fs(req->session);
}

static inline struct pt_op *pt_op(struct sfs_req *req)
{
	return SFS_REQ_DRV(req, struct pt_op);
}

/** A system call's result in our convention; EINTR is for the TEMP_FAILURE_RETRY around the call. */
static inline int64_t pt_ret(int64_t rc)
{
	return rc < 0 ? -errno : rc;
}
#define PT_CALL(expr) pt_ret(TEMP_FAILURE_RETRY(expr))

/** The name of @fd below pt_fs.proc_fd. */
static inline const char *pt_fd_name(char name[PT_NAME_BYTES], int fd)
{
	snprintf(name, PT_NAME_BYTES, "%d", fd);
	return name;
}

/* --- passthrough.c --- */

/** Pins req->in.nodeid as op->node and sets op->mount. @writes: EROFS on a read-only share. 0, -ESTALE,
 * -EROFS. */
int pt_pin_node(struct sfs_req *req, bool writes);
/** Pins @fh of req->in.nodeid as op->handle, op->ent. 0, -EBADF, -EROFS. */
int pt_pin_handle(struct sfs_req *req, uint64_t fh, bool writes);
/** As pt_pin_node(), and in op->ent the descriptor that the node holds, if any; op->open_flags is how it was opened. 0, -ESTALE. */
int pt_pin_held(struct sfs_req *req);
/** Runs @fn by the policy, remote mounts' on a worker. A wait: return its value. */
int pt_block(struct sfs_req *req, uint16_t step, int64_t (*fn)(struct sfs_req *req));
/** As pt_block() for what takes long for certain: on a worker unless the policy is "always". */
int pt_slow(struct sfs_req *req, uint16_t step, int64_t (*fn)(struct sfs_req *req));
/** Runs @fn at once if it cannot block: op->ent is there and the mount is not remote. Otherwise as
 * pt_block(). */
int pt_quick(struct sfs_req *req, int64_t (*fn)(struct sfs_req *req));
/** Whether this guest's files have no handles: OPEN is answered ENOSYS, and each request names a node. */
static inline bool pt_no_open(const struct sfs_req *req)
{
	const uint64_t both = FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT;

	return SFS_UNLIKELY(pt_fs(req)->no_open) && (sfs_session_init_flags(req->session) & both) == both;
}
/* unopened.c: pt_pin_file() where there are no handles. */
int pt_pin_unopened(struct sfs_req *req, bool writes, enum pt_use use, uint32_t flags);
/**
 * As pt_pin_handle(), for what may come without a handle where files are not opened: then a descriptor that req->in.nodeid holds becomes
 * op->ent, opened for @use with the guest's @flags, and op->handle stays NULL. 0, or another value to return: an error, or a wait; then the
 * operation begins once more at PT_START. Not for FUSE_COPY_FILE_RANGE, which names two.
 */
static inline int pt_pin_file(struct sfs_req *req, uint64_t fh, bool writes, enum pt_use use, uint32_t flags)
{
	return pt_no_open(req) ? pt_pin_unopened(req, writes, use, flags) : pt_pin_handle(req, fh, writes);
}
/** With a writeback cache the guest sets times of files that it has closed and removed already: their nodes must hold them. */
static inline bool pt_writes_late(const struct sfs_req *req)
{
	return sfs_session_init_flags(req->session) & FUSE_WRITEBACK_CACHE;
}
/** Whether the guest may use a file without a name by its node alone: a node that is one holds its descriptor. */
static inline bool pt_outlives_handles(const struct sfs_req *req)
{
	return pt_no_open(req) || pt_writes_late(req);
}
/** Whether op->handle, or op->node where there is none, is a directory. */
static inline bool pt_is_dir(const struct pt_op *op)
{
	return op->handle ? op->handle->flags & SFS_HANDLE_DIR : S_ISDIR(op->node->mode);
}
/** The end of an operation whose function has run: its result. */
static inline int pt_end(const struct sfs_req *req)
{
	return req->res < 0 ? (int)req->res : SFS_DONE;
}

/* --- name.c --- */

/** Pins the node that the arguments name besides the header's, as op->node2. 0, -ESTALE. */
int pt_pin_second(struct sfs_req *req, uint64_t nodeid);

/* --- cred.c --- */

struct pt_caller {
	bool ids, mask, groups, label;
	mode_t old_mask;
	int label_fd; /* where label was set: to take it away must not need a descriptor that cannot be had */
	const char *label_value; /* in req->extra: for pt_caller_label(); NULL: none */
	uint32_t label_bytes;
};

#define PT_GROUPS_MAX 64

/** What follows an operation that creates: req->extra, checked. */
struct pt_ext {
	uint32_t group_count;
	gid_t groups[PT_GROUPS_MAX];
	const char *label; /* in req->extra; NULL: none */
	uint32_t label_bytes;
};

/** Reads it from @at on, @bytes long. 0 or -EINVAL. */
int pt_ext_parse(const char *at, uint32_t bytes, struct pt_ext *ext);

/**
 * As pt_caller_begin() with @override, for operations that create: also with the supplementary groups and the
 * security label that the guest sent. 0 or -errno; then nothing has changed.
 */
int pt_creator_begin(const struct sfs_req *req, struct pt_caller *c);
/** Whether the host lets threads choose the label of what they create. */
bool pt_label_works(const struct pt_fs *fs);

/**
 * The calling thread acts as the request's caller until pt_caller_end(). @override: the guest's kernel has
 * checked permissions, ours does not. 0 or -EPERM (such ids cannot be taken; nothing has changed).
 */
int pt_caller_begin(const struct sfs_req *req, struct pt_caller *c, bool override);
/**
 * As pt_caller_begin(), for operations that give nothing an owner: newer guests do not say there who calls, but have checked that he
 * may. Then the thread stays what it is.
 */
int pt_asker_begin(const struct sfs_req *req, struct pt_caller *c, bool override);
/** Back to the daemon's own ids; errno stays. */
void pt_caller_end(const struct pt_caller *c);
/**
 * After pt_caller_end(): where labels go by another name on the host, the object just made, @fd, gets its own. 0 or -errno: then
 * the object must go.
 */
int pt_caller_label(const struct sfs_req *req, const struct pt_caller *c, int fd);
/** Applies @umask_bits to what is made until pt_caller_end(), where the guest leaves that to us; returns the
 * mode to use. */
mode_t pt_caller_mask(const struct sfs_req *req, struct pt_caller *c, mode_t mode, uint32_t umask_bits);
/** Whether set-user-ID and set-group-ID bits must go: the guest says so by @flag, or leaves that to us. */
static inline bool pt_kills(const struct sfs_req *req, bool flag)
{
	return flag || (sfs_session_init_flags(req->session) & FUSE_HANDLE_KILLPRIV);
}
/** Whether the file at @fd has such bits. */
bool pt_is_set_id(int fd);
/** Until pt_fsetid_restore(), writing and truncating on this thread clear set-user-ID and set-group-ID bits.
 * 0 or -errno. */
int pt_fsetid_drop(void);
void pt_fsetid_restore(void);
/** sfs_fs_ops.thread_init */
void pt_thread_init(void *fs);
/** A path to @fd for calls that know no descriptors, from any thread. */
const char *pt_fd_path(char name[PT_NAME_BYTES], int fd);

/* --- mount.c --- */

/** Some share of this process has met a filesystem that lies on a server: from then on. */
extern atomic_bool pt_remote_known;

/** The index of mount @mnt_id; @hint is looked at first. -ENOENT: not met yet. Never blocks. */
int pt_mount_find(const struct pt_fs *fs, unsigned hint, uint64_t mnt_id);
/** As pt_mount_find(), but adds it; @fd is an O_PATH descriptor of an object in it, @stx its attributes. Or
 * -errno. May block. */
int pt_mount_get(struct pt_fs *fs, unsigned hint, int fd, const struct statx *stx);
/** Closes all. */
void pt_mounts_fini(struct pt_fs *fs);

/* --- node.c --- */

/** statx on a descriptor. 0 or -errno. */
int pt_stat(int fd, struct statx *stx);
void pt_attr_fill(struct fuse_attr *attr, const struct statx *stx);
/** Fills @key from @stx, without a file handle. */
void pt_key_fill(const struct pt_fs *fs, unsigned mnt_idx, const struct statx *stx, struct sfs_node_key *key);
/** An O_PATH descriptor of @node, pinned by @req; blocks where the node holds none. Or -errno. */
int pt_node_fd(struct sfs_req *req, struct sfs_node *node);
/** op->ent's descriptor, or pt_node_fd() of op->node. */
int pt_op_fd(struct sfs_req *req);
/** Opens @node, a regular file or a directory, with @flags. A descriptor, the caller's, or -errno. May block.
 */
int pt_node_open(struct sfs_req *req, struct sfs_node *node, int flags);
/**
 * @name in @dirfd is about to be removed: if this is the file's last name, and pt_outlives_handles(), its node holds a descriptor from now
 * on. May block.
 */
void pt_hold_last(struct sfs_req *req, const struct sfs_node *parent, int dirfd, const char *name);
/** Opens @name in @dirfd with O_PATH, whatever it is, never following it. */
int pt_name_open(int dirfd, const char *name);
/**
 * The entry for the object of @fd (O_PATH; taken over in any case) found in @parent: finds or makes its node
 * and counts one lookup. @keep: the node shall hold the descriptor. @enter: mounts not met before or remote
 * ones may be touched, else PT_ELSEWHERE. @node may be NULL. 0, PT_ELSEWHERE or -errno.
 */
int pt_enter(struct sfs_req *req, const struct sfs_node *parent, int fd, bool keep, bool enter,
	     struct fuse_entry_out *entry, struct sfs_node **node);
/** As pt_enter() for an object just made in @parent, which the caller has open at @fd. 0 or -errno. */
int pt_enter_made(struct sfs_req *req, const struct sfs_node *parent, int fd, struct fuse_entry_out *entry,
		  struct sfs_node **node);
/** One more lookup of a node that is pinned; @fd is a descriptor of it. 0 or -errno. */
int pt_enter_again(struct sfs_req *req, const struct sfs_node *parent, const struct sfs_node *node, int fd,
		   struct fuse_entry_out *entry);
/** One name in @parent, open at @dirfd; @keep and @enter as in pt_enter(). 0, PT_ELSEWHERE or -errno. */
int pt_enter_name(struct sfs_req *req, const struct sfs_node *parent, int dirfd, const char *name, bool keep,
		  bool enter, struct fuse_entry_out *entry);

/* --- attr.c --- */

/** Pins the node, and in op->ent a descriptor of it where there is one: the handle's (@by_handle, and files have any), or the one
 * that the node holds. 0 or -errno. */
int pt_pin_attr(struct sfs_req *req, bool by_handle, uint64_t fh, bool writes);

/* --- unopened.c --- */

/**
 * FLUSH of op->node, op->ent: a file that nobody may have open any more, as far as can be told, is not kept open for writing: the host could not run it as a program. Who
 * goes on to write has it opened again. What might be lost by that keeps another descriptor.
 */
void pt_flush_unopened(struct sfs_req *req);

/* --- file.c --- */

/** The entry and the node of a file just made, open at @fd. 0 or -errno. May block. */
int pt_create_enter(struct sfs_req *req, int fd, struct sfs_node **node);

/** The host's open flags for the guest's. */
int pt_open_flags(const struct sfs_req *req, uint32_t flags);
/** 0, or why objects of this type are not opened. */
int pt_open_check(uint32_t mode);
/**
 * Opens @node as pt_node_open(). A file that may only be appended to (FS_APPEND_FL) is opened with O_APPEND if @guest_flags have it: *@flags
 * says so then.
 */
int pt_open_host(struct sfs_req *req, struct sfs_node *node, int *flags, uint32_t guest_flags);
/** Makes a handle of @fd (taken over in any case) for @node and fills @out. Where there are none (pt_no_open()) the node holds it,
 * if it can. 0 or -ENFILE. */
int pt_handle_make(struct sfs_req *req, struct sfs_node *node, int fd, int flags, uint32_t handle_flags,
		   struct fuse_open_out *out);

/* --- lock.c --- */

/** FLUSH: @owner's record locks on the node go. May block on remote mounts. */
void pt_locks_flush(struct sfs_req *req, uint64_t owner);
/** RELEASE of op->handle, no longer to be found: whether pt_locks_release_fn() has anything to do. */
bool pt_locks_held(struct sfs_req *req);
/** Lets go of all locks that came through op->handle. */
int64_t pt_locks_release_fn(struct sfs_req *req);

#include "pt_ops.h"

#endif
