/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a filesystem driver implements, and what it may ask of the session. The filesystem interface is FUSE itself:
 * operations read checked copies of struct fuse_*_in (req->arg) and fill struct fuse_*_out (req->out).
 */
#ifndef SFS_FS_H
#define SFS_FS_H

#include "sfs_conf.h"
#include "sfs_req.h"
#include "sfs_table.h"

typedef int (*sfs_op_fn)(struct sfs_req *req);

/**
 * inline_blocking: where system calls without a non-blocking form run. AUTO: on the reactor while this share's calls stay
 * short, on workers for a while after one that did not. NEVER: always on workers. ALWAYS: on the reactor.
 */
enum sfs_block_policy { SFS_BLOCK_AUTO, SFS_BLOCK_NEVER, SFS_BLOCK_ALWAYS };

/** What INIT answers beside flags; 0 in each: the default. */
struct sfs_init_limits {
	uint32_t max_write_bytes;     /* of one request, reads too: 4096 to SFS_FUSE_MAX_WRITE, the default */
	uint32_t max_readahead_bytes; /* at most; default: what the guest asks for */
	uint32_t max_background;      /* requests that nobody waits for: to UINT16_MAX, the default */
	uint32_t congestion_threshold; /* of these, from where on the guest holds back; default: 3/4 */
	uint32_t time_gran_ns;         /* of times of files; default: 1 */
};

/** What a driver tells the device about itself at create. */
struct sfs_fs_info {
	enum sfs_block_policy block_policy;
	uint32_t node_fds_max; /* cached O_PATH descriptors; 0: the driver keeps none */
	uint64_t init_flags;   /* FUSE_* INIT flags that it wants where the guest offers them */
	uint64_t needed_flags; /* those of them without which a guest is not served: INIT fails with EPROTO */
	struct sfs_init_limits init;
};

struct sfs_fs_ops {
	const char *name;

	/**
	 * Makes an instance from the `options` object of the configuration. Returns 0 and *@fs, or -errno with @err filled: the
	 * place and the remedy (sfs_conf_error()). Control thread; may block. No session exists yet.
	 */
	int (*create)(struct sfs_conf_node options, void **fs, struct sfs_fs_info *info,
		      struct sfs_conf_err *err);
	/** Frees it; no session uses it any more. Control thread. */
	void (*destroy)(void *fs);
	/** A guest has come (or came back): the root node exists in @se when this returns. 0 or -errno. Control thread; may block. */
	int (*session_begin)(void *fs, struct sfs_session *se);
	/** The guest has gone; called before the tables are emptied. Control thread; may block. May be NULL. */
	void (*session_end)(void *fs, struct sfs_session *se);
	/** Called once on each thread that may run operations (reactors, workers) before the first. May be NULL. */
	void (*thread_init)(void *fs);
	/** A node record is about to go (count zero, evicted): frees what node->drv names. May be NULL. Any thread; must not block. */
	void (*node_evict)(struct sfs_session *se, struct sfs_node *node);
	/** A handle's last pin has gone: frees what handle->drv names. May be NULL. Reactor or worker; must not block. */
	void (*handle_free)(struct sfs_session *se, struct sfs_handle *handle);

	/* One function per FUSE operation, in protocol order; NULL answers ENOSYS. FORGET, BATCH_FORGET, INTERRUPT, INIT and
	 * DESTROY are the session's own. */
	sfs_op_fn lookup, getattr, setattr, readlink, symlink, mknod, mkdir, unlink, rmdir, rename, link,
	    open, read, write, statfs, release, fsync, setxattr, getxattr, listxattr, removexattr, flush,
	    opendir, readdir, releasedir, fsyncdir, getlk, setlk, setlkw, access, create_file, bmap, ioctl,
	    poll, fallocate, readdirplus, lseek, copy_file_range, syncfs, tmpfile, statx;
};

/* --- the session, as a driver sees it --- */

/** The driver's instance. */
void *sfs_session_fs(const struct sfs_session *se);
/** INIT flags in force (what guest and driver both want), minor version of the guest. */
uint64_t sfs_session_init_flags(const struct sfs_session *se);
uint32_t sfs_session_minor(const struct sfs_session *se);
/** Inserts the root node (nodeid 1), never forgotten. From session_begin only. @fd as in sfs_node_get(). 0 or -errno. */
int sfs_session_root(struct sfs_session *se, const struct sfs_node_key *key, uint32_t mode, int fd,
		     uint64_t drv);
/** The epoch of sfs_req_wait(); read before looking at what may be taken. */
uint64_t sfs_session_epoch(const struct sfs_session *se);
/** Lets all waiters of the session look again. Any thread. */
void sfs_session_wake(struct sfs_session *se);
/** A limit of the configuration was hit (for the figures). Any thread. */
void sfs_session_limit_hit(struct sfs_session *se);
/** Counts @bytes of bulk data that were copied by the daemon instead of the kernel. Any thread. */
void sfs_session_copied(struct sfs_session *se, uint64_t bytes);

/* --- directory listings: fuse_dirent and fuse_direntplus records built in a buffer --- */

struct sfs_dirbuf {
	char *buf;
	uint32_t bytes, used;
};

/** Starts a listing of at most min(@bytes asked, reply room, 64 KiB) in the request's buffer. */
void sfs_dirbuf_init(struct sfs_dirbuf *d, struct sfs_req *req, uint32_t bytes);
/**
 * Appends one entry. @entry NULL: READDIR form; else READDIRPLUS form. False: no room, nothing was written.
 */
bool sfs_dirbuf_add(struct sfs_dirbuf *d, const char *name, uint32_t name_bytes, uint64_t ino, uint64_t off,
		    uint32_t type, const struct fuse_entry_out *entry);
/** True if an entry with a name of @name_bytes would fit: ask before taking a lookup reference. */
bool sfs_dirbuf_fits(const struct sfs_dirbuf *d, uint32_t name_bytes, bool plus);
/** For sfs_req_share_objects(): as how many objects all counts that may still fit, at least 1. */
uint32_t sfs_dirbuf_objects(const struct sfs_dirbuf *d, bool plus);

#endif
