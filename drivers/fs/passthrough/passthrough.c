/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's instance: options, creation, sessions, and what all operations begin with.
 */
#include <grp.h>
#include <stdlib.h>

#include "pt.h"
#include "sfs_log.h"
#include "sfs_passthrough.h"

#define DAY_MS           (86400ull * 1000)
#define INLINE_BYTES_MAX SFS_FUSE_MAX_WRITE
#define INODE_FDS_LIMIT  (1u << 20)

/* --- options --- */

struct pt_opts {
	const char *shared_dir, *xattrmap;
	bool readonly, writeback, allow_direct_io, allow_mmap, xattr, killpriv_v2, announce_submounts,
	    preserve_noatime, posix_locks, flock, no_open;
	uint32_t inline_blocking, cache, posix_acl, security_label,
	    inode_file_handles; /* indices of the lists below */
	enum pt_when readdirplus;
	uint32_t inline_bytes_max, inode_fds_max;
	int64_t entry_timeout_ms, attr_timeout_ms; /* -1: by cache mode */
	uint64_t negative_timeout_ms;
	uint32_t max_write_bytes, max_background, time_gran_ns;
	int64_t max_readahead_bytes,
	    congestion_threshold; /* -1: as the guest asks for, 3/4 of max_background */
};

/* In the order of the enumerations of pt.h and sfs_fs.h. */
static const char *const block_names[] = {"auto", "never", "always", NULL};
static const char *const cache_names[] = {"never|none", "metadata", "auto", "always", NULL};
static const char *const when_names[] = {"never", "auto", "always", NULL};
static const char *const handle_names[] = {"never", "prefer", "mandatory", NULL};

#define OPT_BOOL(name)                                                                                       \
	{                                                                                                    \
		.key = #name, .type = SFS_CONF_BOOL, SFS_CONF_AT(struct pt_opts, name)                       \
	}
#define OPT_ENUM(name, list)                                                                                 \
	{                                                                                                    \
		.key = #name, .type = SFS_CONF_ENUM, SFS_CONF_AT(struct pt_opts, name), .names = list        \
	}
#define OPT_UINT(name, f, lo, hi)                                                                            \
	{                                                                                                    \
		.key = #name, .type = SFS_CONF_UINT, .flags = f, SFS_CONF_AT(struct pt_opts, name),          \
		.min = lo, .max = hi                                                                         \
	}

/* true: where the guest thinks that it pays; "always": for every listing. */
static int pt_readdirplus_parse(const struct sfs_conf_node *node, void *member, struct sfs_conf_err *err)
{
	const char *text = json_string_value(node->json);
	enum pt_when *when = member;

	if (json_is_boolean(node->json))
		*when = json_is_true(node->json) ? PT_WHEN_AUTO : PT_WHEN_NEVER;
	else if (text && strcmp(text, "always") == 0)
		*when = PT_WHEN_ALWAYS;
	else
		return sfs_conf_error(node, NULL, err, "must be true, false or \"always\"");
	return 0;
}

static json_t *pt_readdirplus_print(const void *member)
{
	enum pt_when when = *(const enum pt_when *)member;

	return when == PT_WHEN_ALWAYS ? json_string("always") : json_boolean(when == PT_WHEN_AUTO);
}

static const struct sfs_conf_field pt_fields[] = {
    {.key = "shared_dir",
     .type = SFS_CONF_PATH,
     .flags = SFS_CONF_REQUIRED,
     SFS_CONF_AT(struct pt_opts, shared_dir)},
    OPT_BOOL(readonly),
    OPT_ENUM(inline_blocking, block_names),
    OPT_UINT(inline_bytes_max, 0, 0, INLINE_BYTES_MAX),
    OPT_ENUM(cache, cache_names),
    OPT_UINT(entry_timeout_ms, SFS_CONF_NULLABLE, 0, UINT32_MAX),
    OPT_UINT(attr_timeout_ms, SFS_CONF_NULLABLE, 0, UINT32_MAX),
    OPT_UINT(negative_timeout_ms, 0, 0, UINT32_MAX),
    OPT_BOOL(writeback),
    {.key = "readdirplus",
     .type = SFS_CONF_CUSTOM,
     SFS_CONF_AT(struct pt_opts, readdirplus),
     .parse = pt_readdirplus_parse,
     .print = pt_readdirplus_print},
    OPT_BOOL(allow_direct_io),
    OPT_BOOL(allow_mmap),
    OPT_BOOL(xattr),
    {.key = "xattrmap",
     .type = SFS_CONF_STRING,
     .flags = SFS_CONF_NULLABLE,
     SFS_CONF_AT(struct pt_opts, xattrmap)},
    OPT_ENUM(posix_acl, when_names),
    OPT_ENUM(security_label, when_names),
    OPT_BOOL(killpriv_v2),
    OPT_BOOL(posix_locks),
    OPT_BOOL(flock),
    OPT_BOOL(announce_submounts),
    OPT_ENUM(inode_file_handles, handle_names),
    OPT_UINT(inode_fds_max, 0, 1, INODE_FDS_LIMIT),
    OPT_BOOL(preserve_noatime),
    OPT_BOOL(no_open),
    OPT_UINT(max_write_bytes, 0, 4096, SFS_FUSE_MAX_WRITE),
    OPT_UINT(max_readahead_bytes, SFS_CONF_NULLABLE, 4096, UINT32_MAX),
    OPT_UINT(max_background, 0, 1, UINT16_MAX),
    OPT_UINT(congestion_threshold, SFS_CONF_NULLABLE, 1, UINT16_MAX),
    OPT_UINT(time_gran_ns, 0, 1, SFS_NS_PER_S),
};

static const struct pt_opts pt_defaults = {
    .inline_blocking = SFS_BLOCK_AUTO,
    .inline_bytes_max = SFS_FUSE_MAX_WRITE,
    .cache = PT_CACHE_AUTO,
    .entry_timeout_ms = -1,
    .attr_timeout_ms = -1,
    .readdirplus = PT_WHEN_AUTO,
    .xattr = true,
    .posix_acl = PT_WHEN_AUTO,
    .posix_locks = true,
    .flock = true,
    .announce_submounts = true,
    .inode_file_handles = PT_HANDLES_PREFER,
    .inode_fds_max = 1024,
    .max_write_bytes = SFS_FUSE_MAX_WRITE,
    .max_background = UINT16_MAX,
    .time_gran_ns = 1,
    .max_readahead_bytes = -1,
    .congestion_threshold = -1,
};

static struct pt_timeout pt_timeout(uint32_t cache, int64_t ms)
{
	static const uint64_t by_cache[] = {[PT_CACHE_NEVER] = 0,
					    [PT_CACHE_METADATA] = DAY_MS,
					    [PT_CACHE_AUTO] = 1000,
					    [PT_CACHE_ALWAYS] = DAY_MS};
	uint64_t v = ms < 0 ? by_cache[cache] : (uint64_t)ms;

	return (struct pt_timeout){.s = v / 1000, .ns = (uint32_t)(v % 1000 * SFS_NS_PER_MS)};
}

static uint64_t pt_init_flags(const struct pt_opts *o)
{
	uint64_t flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_EXPORT_SUPPORT | FUSE_BIG_WRITES |
			 FUSE_AUTO_INVAL_DATA | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES |
			 FUSE_INIT_EXT | FUSE_HAS_IOCTL_DIR | FUSE_CREATE_SUPP_GROUP | FUSE_ALLOW_IDMAP;

	if (o->cache != PT_CACHE_NEVER) {
		/* A link's target never changes: another target is another inode. */
		flags |= FUSE_CACHE_SYMLINKS;
		if (o->readdirplus != PT_WHEN_NEVER)
			flags |= FUSE_DO_READDIRPLUS;
		if (o->readdirplus == PT_WHEN_AUTO)
			flags |= FUSE_READDIRPLUS_AUTO;
	}
	if (o->writeback)
		flags |= FUSE_WRITEBACK_CACHE;
	if (o->allow_mmap)
		flags |= FUSE_DIRECT_IO_ALLOW_MMAP;
	if (o->posix_acl != PT_WHEN_NEVER && o->xattr)
		flags |= SFS_FUSE_ACL_FLAGS;
	if (o->killpriv_v2)
		flags |= FUSE_HANDLE_KILLPRIV_V2 | FUSE_HANDLE_KILLPRIV;
	if (o->posix_locks)
		flags |= FUSE_POSIX_LOCKS;
	if (o->flock)
		flags |= FUSE_FLOCK_LOCKS;
	if (o->announce_submounts)
		flags |= FUSE_SUBMOUNTS;
	/* Nobody opens, so nothing is truncated at an open; and no RELEASE says that locks of an open file go. */
	if (o->no_open)
		flags = (flags & ~(uint64_t)(FUSE_ATOMIC_O_TRUNC | FUSE_FLOCK_LOCKS | FUSE_POSIX_LOCKS)) |
			FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT;
	return flags;
}

/* --- creation --- */

static void pt_destroy(void *arg)
{
	struct pt_fs *fs = arg;

	pt_mounts_fini(fs);
	pt_xattrmap_free(fs->xattrmap);
	if (fs->root_fd >= 0)
		close(fs->root_fd);
	if (fs->proc_fd >= 0)
		close(fs->proc_fd);
	pthread_mutex_destroy(&fs->mount_lock);
	free(fs);
}

/* Opens the shared directory; its mount becomes index 0. */
static int pt_open_root(struct pt_fs *fs, const struct pt_opts *o, struct sfs_conf_node *node,
			struct sfs_conf_err *err)
{
	struct statx stx;
	int rc;

	fs->root_fd = (int)PT_CALL(open(o->shared_dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
	rc = fs->root_fd < 0 ? fs->root_fd : pt_stat(fs->root_fd, &stx);
	if (rc < 0) {
		sfs_conf_error(node, "shared_dir", err, "%s: %s", o->shared_dir, strerror(-rc));
		return rc;
	}
	rc = pt_mount_get(fs, 0, fs->root_fd, &stx);
	if (rc < 0) {
		sfs_conf_error(
		    node, fs->inode_handles == PT_HANDLES_MANDATORY ? "inode_file_handles" : "shared_dir",
		    err,
		    "%s: no file handles there (%s); they need CAP_DAC_READ_SEARCH and a filesystem "
		    "that has them, or \"prefer\"",
		    o->shared_dir, strerror(-rc));
		return rc;
	}
	/* Without a handle in its key the root keeps its descriptor for as long as it lives. */
	pt_key_fill(fs, (unsigned)rc, &stx, &fs->root_key);
	fs->root_mode = stx.stx_mode & S_IFMT;
	return 0;
}

/* As root we make objects under the ids of the caller; our own further groups must not count then. */
static int pt_drop_groups(struct pt_fs *fs)
{
	fs->switch_ids = geteuid() == 0;
	if (!fs->switch_ids || getgroups(0, NULL) == 0)
		return 0;
	return setgroups(0, NULL) < 0 ? -errno : 0;
}

static struct pt_fs *pt_alloc(const struct pt_opts *o)
{
	struct pt_fs *fs = calloc(1, sizeof(*fs));

	if (!fs)
		return NULL;
	fs->readonly = o->readonly;
	fs->allow_direct_io = o->allow_direct_io;
	fs->xattr = o->xattr;
	fs->preserve_noatime = o->preserve_noatime;
	fs->no_open = o->no_open;
	fs->cache = (uint8_t)o->cache;
	fs->inode_handles = (uint8_t)o->inode_file_handles;
	fs->inline_bytes_max = o->inline_bytes_max;
	fs->entry_timeout = pt_timeout(o->cache, o->entry_timeout_ms);
	fs->attr_timeout = pt_timeout(o->cache, o->attr_timeout_ms);
	fs->negative_timeout = pt_timeout(o->cache, (int64_t)o->negative_timeout_ms);
	fs->policy = o->inline_blocking;
	fs->root_fd = fs->proc_fd = -1;
	atomic_flag_clear(&fs->warned_handles);
	pthread_mutex_init(&fs->mount_lock, NULL);
	return fs;
}

/*
 * The rules, and what goes together with them. Where a name that the kernel knows has another name on the host, the host's kernel
 * does nothing about it: neither ACLs nor, on a write, capabilities.
 */
static int pt_open_map(struct pt_fs *fs, struct pt_opts *o, struct sfs_conf_node *node,
		       struct sfs_conf_err *err)
{
	const char *why = "out of memory";
	unsigned at = 0;
	bool acls;

	if (!o->xattrmap)
		return 0;
	if (!o->xattr)
		return sfs_conf_error(node, "xattrmap", err, "needs \"xattr\": true");
	if (pt_xattrmap_parse(o->xattrmap, &fs->xattrmap, &why, &at) < 0)
		return sfs_conf_error(node, "xattrmap", err, "%s, at byte %u", why, at);
	acls =
	    pt_xattrmap_keeps(fs->xattrmap, PT_ACL_ACCESS) && pt_xattrmap_keeps(fs->xattrmap, PT_ACL_DEFAULT);
	if (!acls && o->posix_acl == PT_WHEN_ALWAYS)
		return sfs_conf_error(node, "xattrmap", err,
				      "\"posix_acl\": \"always\" needs rules that keep system.posix_acl_*");
	if (!acls)
		o->posix_acl = PT_WHEN_NEVER;
	if (o->killpriv_v2 && !pt_xattrmap_keeps(fs->xattrmap, PT_CAPABILITY))
		return sfs_conf_error(node, "xattrmap", err,
				      "\"killpriv_v2\" needs rules that keep security.capability");
	if (o->security_label != PT_WHEN_NEVER && !pt_xattrmap_keeps(fs->xattrmap, PT_SELINUX) &&
	    pt_xattrmap_to_host(fs->xattrmap, PT_SELINUX, fs->label_name) < 0)
		return sfs_conf_error(
		    node, "xattrmap", err,
		    "\"security_label\" needs rules that keep security.selinux or rename it");
	return 0;
}

static int pt_create_fs(struct sfs_conf_node options, void **out, struct sfs_fs_info *info,
			struct sfs_conf_err *err)
{
	struct pt_opts o = pt_defaults;
	struct pt_fs *fs;
	int rc = sfs_conf_parse_object(&options, pt_fields, SFS_ARRAY_SIZE(pt_fields), &o, err);

	if (rc < 0)
		return rc;
	if (o.posix_acl == PT_WHEN_ALWAYS && !o.xattr)
		return sfs_conf_error(&options, "posix_acl", err, "\"always\" needs \"xattr\": true");
	/* The guest keeps pages from one open to the next then, and there is no other way to say so. */
	if (o.no_open && o.cache != PT_CACHE_ALWAYS)
		return sfs_conf_error(&options, "no_open", err, "needs \"cache\": \"always\"");
	fs = pt_alloc(&o);
	if (!fs) {
		sfs_conf_error(&options, NULL, err, "out of memory");
		return -ENOMEM;
	}
	fs->proc_fd = (int)PT_CALL(open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
	rc = fs->proc_fd < 0 ? fs->proc_fd : pt_drop_groups(fs);
	if (rc < 0)
		sfs_conf_error(&options, NULL, err, "%s: %s", fs->proc_fd < 0 ? "/proc/self/fd" : "setgroups",
			       strerror(-rc));
	else
		rc = pt_open_map(fs, &o, &options, err);
	if (rc == 0)
		rc = pt_open_root(fs, &o, &options, err);
	if (rc < 0) {
		pt_destroy(fs);
		return rc;
	}
	fs->security_label = o.security_label != PT_WHEN_NEVER && (fs->label_name[0] || pt_label_works(fs));
	if (o.security_label == PT_WHEN_ALWAYS && !fs->security_label) {
		pt_destroy(fs);
		return sfs_conf_error(
		    &options, "security_label", err,
		    "\"always\", but no security module of this host labels what is created");
	}
	/* What lies on a server may hang for ever, and with it all that a reactor serves. */
	if (fs->policy == SFS_BLOCK_AUTO && fs->mounts[0].store == SFS_STORE_REMOTE)
		fs->policy = SFS_BLOCK_NEVER;
	*info = (struct sfs_fs_info){
	    .block_policy = fs->policy,
	    .node_fds_max = o.inode_fds_max,
	    .init_flags = pt_init_flags(&o) | (fs->security_label ? FUSE_SECURITY_CTX : 0),
	    .needed_flags = (o.posix_acl == PT_WHEN_ALWAYS ? SFS_FUSE_ACL_FLAGS : 0) |
			    (o.security_label == PT_WHEN_ALWAYS ? FUSE_SECURITY_CTX : 0),
	    .init = {.max_write_bytes = o.max_write_bytes,
		     .max_readahead_bytes = (uint32_t)SFS_MAX(o.max_readahead_bytes, (int64_t)0),
		     .max_background = o.max_background,
		     .congestion_threshold = (uint32_t)SFS_MAX(o.congestion_threshold, (int64_t)0),
		     .time_gran_ns = o.time_gran_ns},
	};
	*out = fs;
	return 0;
}

static int pt_session_begin(void *arg, struct sfs_session *se)
{
	struct pt_fs *fs = arg;
	int rc, fd = (int)PT_CALL(fcntl(fs->root_fd, F_DUPFD_CLOEXEC, 0));

	if (fd < 0)
		return fd;
	rc = sfs_session_root(se, &fs->root_key, fs->root_mode, fd, 0);
	if (rc < 0)
		close(fd);
	return rc;
}

/* --- how operations begin --- */

int pt_pin_node(struct sfs_req *req, bool writes)
{
	struct pt_op *op = pt_op(req);
	struct pt_fs *fs = pt_fs(req);

	op->node = sfs_node_pin(req, req->in.nodeid);
	if (!op->node)
		return -ESTALE;
	op->mount = &fs->mounts[op->node->key.mnt_idx];
	return writes && fs->readonly ? -EROFS : 0;
}

int pt_pin_handle(struct sfs_req *req, uint64_t fh, bool writes)
{
	struct pt_op *op = pt_op(req);
	struct pt_fs *fs = pt_fs(req);

	op->handle = sfs_handle_pin(req, req->in.nodeid, fh, &op->ent);
	if (!op->handle || !op->ent)
		return -EBADF;
	op->mount = &fs->mounts[op->handle->drv[PT_HANDLE_MOUNT]];
	op->open_flags = op->handle->open_flags;
	return writes && fs->readonly ? -EROFS : 0;
}

int pt_pin_held(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int rc = pt_pin_node(req, false);

	if (rc < 0)
		return rc;
	op->ent = sfs_node_fd(req, op->node);
	if (op->ent)
		op->open_flags = atomic_load_explicit(&op->ent->open_flags, memory_order_relaxed);
	return 0;
}

int pt_block(struct sfs_req *req, uint16_t step, int64_t (*fn)(struct sfs_req *req))
{
	if (pt_op(req)->mount->store == SFS_STORE_REMOTE)
		return pt_slow(req, step, fn);
	return sfs_req_block(req, step, fn);
}

int pt_slow(struct sfs_req *req, uint16_t step, int64_t (*fn)(struct sfs_req *req))
{
	if (pt_fs(req)->policy == SFS_BLOCK_ALWAYS)
		return sfs_req_block(req, step, fn);
	return sfs_req_call(req, step, fn);
}

int pt_quick(struct sfs_req *req, int64_t (*fn)(struct sfs_req *req))
{
	const struct pt_op *op = pt_op(req);
	int64_t rc;

	if (!op->ent || op->mount->store == SFS_STORE_REMOTE)
		return pt_block(req, PT_END, fn);
	rc = fn(req);
	return rc < 0 ? (int)rc : SFS_DONE;
}

const struct sfs_fs_ops sfs_fs_passthrough = {
    .name = "passthrough",
    .create = pt_create_fs,
    .destroy = pt_destroy,
    .session_begin = pt_session_begin,
    .thread_init = pt_thread_init,
    .lookup = pt_lookup,
    .getattr = pt_getattr,
    .setattr = pt_setattr,
    .readlink = pt_readlink,
    .symlink = pt_symlink,
    .mknod = pt_mknod,
    .mkdir = pt_mkdir,
    .unlink = pt_unlink,
    .rmdir = pt_rmdir,
    .rename = pt_rename,
    .link = pt_link,
    .open = pt_open,
    .read = pt_read,
    .write = pt_write,
    .statfs = pt_statfs,
    .release = pt_release,
    .fsync = pt_fsync,
    .setxattr = pt_setxattr,
    .getxattr = pt_getxattr,
    .listxattr = pt_listxattr,
    .removexattr = pt_removexattr,
    .flush = pt_flush,
    .opendir = pt_opendir,
    .readdir = pt_readdir,
    .releasedir = pt_release,
    .fsyncdir = pt_fsync,
    .getlk = pt_getlk,
    .setlk = pt_setlk,
    .setlkw = pt_setlkw,
    .access = pt_access,
    .create_file = pt_create,
    .fallocate = pt_fallocate,
    .readdirplus = pt_readdirplus,
    .lseek = pt_lseek,
    .copy_file_range = pt_copy_file_range,
    .syncfs = pt_syncfs,
    .tmpfile = pt_tmpfile,
    .statx = pt_statx,
    .ioctl = pt_ioctl,
};
