/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A driver at its smallest. docs/writing-a-driver.md walks through it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sfs_base.h"
#include "sfs_null.h"

#define NULL_ROOT_INO  1
#define NULL_DATA_INO  2
#define NULL_BLOCK     4096u
#define NULL_TIMEOUT_S 3600 /* nothing ever changes */

static const char null_name[] = "data";

struct null_fs {
	uint64_t size_mib;
};

static const struct sfs_conf_field null_fields[] = {
    {.key = "size_mib",
     .type = SFS_CONF_UINT,
     SFS_CONF_AT(struct null_fs, size_mib),
     .min = 1,
     .max = 1 << 30},
};

static int null_create(struct sfs_conf_node options, void **out, struct sfs_fs_info *info,
		       struct sfs_conf_err *err)
{
	struct null_fs *fs = calloc(1, sizeof(*fs));
	int rc;

	if (!fs)
		return -ENOMEM;
	fs->size_mib = 1024;
	rc = sfs_conf_parse_object(&options, null_fields, SFS_ARRAY_SIZE(null_fields), fs, err);
	if (rc) {
		free(fs);
		return rc;
	}
	info->init_flags =
	    FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES;
	*out = fs;
	return 0;
}

static void null_destroy(void *fs)
{
	free(fs);
}

static int null_session_begin(void *fs, struct sfs_session *se)
{
	struct sfs_node_key key = {.ino = NULL_ROOT_INO};

	return sfs_session_root(se, &key, S_IFDIR, -1, 0);
}

static uint64_t null_size(const struct sfs_req *req)
{
	const struct null_fs *fs = sfs_session_fs(req->session);

	return fs->size_mib << 20;
}

static void null_attr(const struct sfs_req *req, uint64_t ino, struct fuse_attr *attr)
{
	bool root = ino == NULL_ROOT_INO;

	attr->ino = ino;
	attr->mode = root ? S_IFDIR | 0755 : S_IFREG | 0666;
	attr->nlink = root ? 2 : 1;
	attr->size = root ? 0 : null_size(req);
	attr->blocks = attr->size / 512;
	attr->blksize = NULL_BLOCK;
}

static int null_lookup(struct sfs_req *req)
{
	struct sfs_node_key key = {.ino = NULL_DATA_INO};
	struct fuse_entry_out *out = &req->out.entry;
	const struct sfs_node *dir = sfs_node_pin(req, req->in.nodeid), *node;
	bool created;

	if (!dir)
		return -ESTALE;
	if (dir->key.ino != NULL_ROOT_INO)
		return -ENOTDIR;
	if (strcmp(req->name[0], null_name) != 0)
		return -ENOENT;
	node = sfs_node_get(req, &key, S_IFREG, -1, 1, &created);
	if (!node)
		return -ENFILE;
	out->nodeid = sfs_node_id(req->session, node);
	out->entry_valid = NULL_TIMEOUT_S;
	out->attr_valid = NULL_TIMEOUT_S;
	null_attr(req, NULL_DATA_INO, &out->attr);
	req->out_bytes = sizeof(*out);
	return SFS_DONE;
}

static int null_getattr(struct sfs_req *req)
{
	const struct sfs_node *node = sfs_node_pin(req, req->in.nodeid);

	if (!node)
		return -ESTALE;
	null_attr(req, node->key.ino, &req->out.attr.attr);
	req->out.attr.attr_valid = NULL_TIMEOUT_S;
	req->out_bytes = sizeof(req->out.attr);
	return SFS_DONE;
}

static int null_open(struct sfs_req *req)
{
	const struct sfs_node *node = sfs_node_pin(req, req->in.nodeid);
	bool want_dir = req->in.opcode == FUSE_OPENDIR;

	if (!node)
		return -ESTALE;
	if (want_dir != (node->key.ino == NULL_ROOT_INO))
		return want_dir ? -ENOTDIR : -EISDIR;
	if (!sfs_handle_open(req, req->in.nodeid, -1, req->arg.open.flags, want_dir ? SFS_HANDLE_DIR : 0,
			     &req->out.open.fh))
		return -ENFILE;
	req->out_bytes = sizeof(req->out.open);
	return SFS_DONE;
}

static int null_release(struct sfs_req *req)
{
	return sfs_handle_release(req, req->in.nodeid, req->arg.release.fh);
}

static const struct sfs_handle *null_file(struct sfs_req *req, uint64_t fh)
{
	const struct sfs_handle *h = sfs_handle_pin(req, req->in.nodeid, fh, NULL);

	return h && !(h->flags & SFS_HANDLE_DIR) ? h : NULL;
}

/* Says that the data stand in the guest's pages. They do not: that is the point. */
static int null_read(struct sfs_req *req)
{
	const struct fuse_read_in *in = &req->arg.read;
	uint64_t size = null_size(req), left;

	if (!null_file(req, in->fh))
		return -EBADF;
	left = in->offset < size ? size - in->offset : 0;
	req->data_bytes = SFS_MIN(SFS_MIN(left, in->size), req->data_left);
	return SFS_DONE;
}

static int null_write(struct sfs_req *req)
{
	if (!null_file(req, req->arg.write.fh))
		return -EBADF;
	req->out.write.size = (uint32_t)SFS_MIN(req->arg.write.size, req->data_left);
	req->out_bytes = sizeof(req->out.write);
	return SFS_DONE;
}

static int null_statfs(struct sfs_req *req)
{
	struct fuse_kstatfs *out = &req->out.statfs;

	out->bsize = out->frsize = NULL_BLOCK;
	out->blocks = null_size(req) / NULL_BLOCK;
	out->files = NULL_DATA_INO;
	out->namelen = sizeof(null_name) - 1;
	req->out_bytes = sizeof(*out);
	return SFS_DONE;
}

static int null_readdir(struct sfs_req *req)
{
	static const struct {
		const char *name;
		uint64_t ino;
		uint32_t type;
	} entries[] = {
	    {".", NULL_ROOT_INO, S_IFDIR >> 12},
	    {"..", NULL_ROOT_INO, S_IFDIR >> 12},
	    {null_name, NULL_DATA_INO, S_IFREG >> 12},
	};
	const struct fuse_read_in *in = &req->arg.read;
	const struct sfs_handle *h = sfs_handle_pin(req, req->in.nodeid, in->fh, NULL);
	struct sfs_dirbuf d;

	if (!h || !(h->flags & SFS_HANDLE_DIR))
		return -EBADF;
	sfs_dirbuf_init(&d, req, in->size);
	for (uint64_t i = in->offset; i < SFS_ARRAY_SIZE(entries); i++) {
		if (!sfs_dirbuf_add(&d, entries[i].name, (uint32_t)strlen(entries[i].name), entries[i].ino,
				    i + 1, entries[i].type, NULL))
			break;
	}
	sfs_req_reply_bytes(req, d.buf, d.used);
	return SFS_DONE;
}

const struct sfs_fs_ops sfs_fs_null = {
    .name = "null",
    .create = null_create,
    .destroy = null_destroy,
    .session_begin = null_session_begin,

    .lookup = null_lookup,
    .getattr = null_getattr,
    .open = null_open,
    .read = null_read,
    .write = null_write,
    .statfs = null_statfs,
    .release = null_release,
    .opendir = null_open,
    .readdir = null_readdir,
    .releasedir = null_release,
};
