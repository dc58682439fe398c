/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The in-memory filesystem: options, instance, sessions, and the table of operations. mem.h tells how it is
 * laid out.
 */
#include <errno.h>
#include <stdlib.h>

#include "mem.h"
#include "sfs_mem_fs.h"

struct mem_opts {
	uint64_t size_mib;
	uint32_t inodes;
};

static const struct sfs_conf_field mem_fields[] = {
    {.key = "size_mib",
     .type = SFS_CONF_UINT,
     SFS_CONF_AT(struct mem_opts, size_mib),
     .min = 1,
     .max = 1 << 20},
    {.key = "inodes", .type = SFS_CONF_UINT, SFS_CONF_AT(struct mem_opts, inodes), .min = 16, .max = 1 << 24},
};

static void mem_free(struct mem_fs *fs)
{
	mem_inodes_fini(fs);
	mem_entries_fini(fs);
	mem_pool_fini(fs);
	free(fs);
}

static int mem_root_make(struct mem_fs *fs)
{
	struct mem_inode *root = mem_inode_new(fs, NULL, S_IFDIR | 0755, 0, 0);

	if (!root)
		return -ENOSPC;
	root->parent = root->ino;
	root->nlink = 2; /* its reference is that of its links, which it never loses */
	return 0;
}

static int mem_create_fs(struct sfs_conf_node options, void **out, struct sfs_fs_info *info,
			 struct sfs_conf_err *err)
{
	struct mem_opts opts = {.size_mib = 1024, .inodes = 65536};
	struct mem_fs *fs;
	int rc = sfs_conf_parse_object(&options, mem_fields, SFS_ARRAY_SIZE(mem_fields), &opts, err);

	if (rc)
		return rc;
	fs = calloc(1, sizeof(*fs));
	if (!fs)
		return -ENOMEM;
	rc = mem_pool_init(fs, opts.size_mib << 20);
	if (rc == 0)
		rc = mem_entries_init(fs, opts.inodes);
	if (rc == 0)
		rc = mem_inodes_init(fs, opts.inodes);
	if (rc == 0)
		rc = mem_root_make(fs);
	if (rc) {
		sfs_conf_error(&options, "size_mib", err, "no address space for %llu MiB: choose less",
			       (unsigned long long)opts.size_mib);
		mem_free(fs);
		return rc;
	}
	info->block_policy = SFS_BLOCK_AUTO;
	info->init_flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_EXPORT_SUPPORT |
			   FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |
			   FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS;
	*out = fs;
	return 0;
}

static void mem_destroy_fs(void *fs)
{
	mem_free(fs);
}

/* The root's inode never goes, so its node needs no reference. */
static int mem_session_begin(void *ctx, struct sfs_session *se)
{
	struct mem_fs *fs = ctx;
	struct sfs_node_key key = {.ino = MEM_ROOT_INO, .btime_ns = fs->inodes[MEM_ROOT_INO].gen};

	return sfs_session_root(se, &key, S_IFDIR, -1, 0);
}

static int mem_statfs(struct sfs_req *req)
{
	struct mem_fs *fs = mem_req_fs(req);
	struct fuse_kstatfs *out = &req->out.statfs;

	if (!mem_node_inode(req, req->in.nodeid))
		return -ESTALE;
	out->bsize = out->frsize = MEM_BLOCK;
	out->blocks = fs->block_max - 1; /* number 0 is none, of blocks and of inodes */
	out->bfree = out->bavail = mem_pool_free(fs);
	out->files = fs->inode_max - 1;
	out->ffree = mem_inodes_free(fs);
	out->namelen = MEM_NAME_MAX;
	req->out_bytes = sizeof(*out);
	return SFS_DONE;
}

/*
 * Not here, so ENOSYS: locks and copies of ranges, which the guest then does itself; ACCESS, which it never
 * sends to a virtio-fs device (it checks modes itself, and so this filesystem need not); SYNCFS, for nothing
 * is ever dirty; BMAP, IOCTL, POLL, TMPFILE.
 */
const struct sfs_fs_ops sfs_fs_mem = {
    .name = "mem",
    .create = mem_create_fs,
    .destroy = mem_destroy_fs,
    .session_begin = mem_session_begin,
    .node_evict = mem_node_evict,
    .handle_free = mem_handle_free,

    .lookup = mem_lookup,
    .getattr = mem_getattr,
    .setattr = mem_setattr,
    .readlink = mem_readlink,
    .symlink = mem_symlink,
    .mknod = mem_mknod,
    .mkdir = mem_mkdir,
    .unlink = mem_unlink,
    .rmdir = mem_rmdir,
    .rename = mem_rename,
    .link = mem_link,
    .open = mem_open,
    .read = mem_read,
    .write = mem_write,
    .statfs = mem_statfs,
    .release = mem_release,
    .fsync = mem_sync,
    .setxattr = mem_setxattr,
    .getxattr = mem_getxattr,
    .listxattr = mem_listxattr,
    .removexattr = mem_removexattr,
    .flush = mem_sync,
    .opendir = mem_opendir,
    .readdir = mem_readdir,
    .releasedir = mem_release,
    .fsyncdir = mem_sync,
    .create_file = mem_create,
    .fallocate = mem_fallocate,
    .readdirplus = mem_readdirplus,
    .lseek = mem_lseek,
};
