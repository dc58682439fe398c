/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories: OPENDIR, READDIR, READDIRPLUS. RELEASEDIR and FSYNCDIR are those of files.
 */
#include <dirent.h>

#include "pt.h"

#define RAW_BYTES_MIN 512  /* holds the longest entry */
#define RAW_BYTES_MAX 8192 /* on the stack */
/* The host's record of the shortest name, and ours: no others are as different. */
#define RAW_SHORTEST  24u
#define PLUS_SHORTEST (FUSE_NAME_OFFSET_DIRENTPLUS + 8)

#define USUAL_NAME_BYTES 16

enum { DIR_LOCK = PT_END + 1 };

static int64_t pt_opendir_fn(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int flags = O_RDONLY | O_DIRECTORY;
	int fd = pt_node_open(req, op->node, flags);

	if (fd < 0)
		return fd;
	req->out_bytes = sizeof(req->out.open);
	return pt_handle_make(req, op->node, fd, flags, SFS_HANDLE_DIR, &req->out.open);
}

int pt_opendir(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	if (pt_no_open(req))
		return -ENOSYS;
	rc = pt_pin_node(req, false);
	if (rc < 0)
		return rc;
	if (!S_ISDIR(pt_op(req)->node->mode))
		return -ENOTDIR;
	return pt_block(req, PT_END, pt_opendir_fn);
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

/*
 * One entry of READDIRPLUS. The lookup is taken last, when it is certain that the guest will see it. What
 * cannot be looked up (gone meanwhile, tables full, another mount that this thread must not touch) is listed
 * with nodeid 0: name and type.
 */
static bool pt_plus_add(struct sfs_req *req, int dirfd, struct sfs_dirbuf *d, const struct dirent64 *e,
			uint32_t name_bytes)
{
	struct fuse_entry_out entry = {0};
	struct pt_op *op = pt_op(req);

	if (!sfs_dirbuf_fits(d, name_bytes, true))
		return false;
	req->looked++;
	if (is_dots(e->d_name) || pt_enter_name(req, op->node, dirfd, e->d_name, false, false, &entry) != 0)
		entry =
		    (struct fuse_entry_out){.attr.ino = e->d_ino, .attr.mode = DTTOIF((uint32_t)e->d_type)};
	return sfs_dirbuf_add(d, e->d_name, name_bytes, e->d_ino, (uint64_t)e->d_off, e->d_type, &entry);
}

static bool pt_dir_add(struct sfs_req *req, int dirfd, struct sfs_dirbuf *d, const struct dirent64 *e)
{
	uint32_t name_bytes = (uint32_t)strlen(e->d_name);

	if (pt_op(req)->plus)
		return pt_plus_add(req, dirfd, d, e, name_bytes);
	return sfs_dirbuf_add(d, e->d_name, name_bytes, e->d_ino, (uint64_t)e->d_off, e->d_type, NULL);
}

/*
 * How much to read at a time. What will not fit has to be read again, and a seek back costs some filesystems a whole block of
 * entries that they sort anew: at first what fits whatever the names, then what fits if names go on like those before (@raw
 * bytes of them).
 */
static size_t pt_raw_bytes(const struct sfs_dirbuf *d, size_t raw, bool plus)
{
	size_t room = d->bytes - d->used, want = room;

	if (plus)
		want = raw ? room * raw / d->used : room * RAW_SHORTEST / PLUS_SHORTEST;
	return SFS_MIN(d->used ? want : SFS_MAX(want, RAW_BYTES_MIN), RAW_BYTES_MAX);
}

/* *@pos: where the position of @fd is, and is left. */
static int64_t pt_dir_fill(struct sfs_req *req, int fd, uint64_t *pos, struct sfs_dirbuf *d)
{
	_Alignas(struct dirent64) char raw[RAW_BYTES_MAX];
	bool plus = pt_op(req)->plus;
	size_t raw_used = 0;
	int64_t bytes;

	if (*pos != req->arg.read.offset) {
		int64_t rc = PT_CALL(lseek(fd, (off_t)req->arg.read.offset, SEEK_SET));

		if (rc < 0)
			return rc;
		*pos = req->arg.read.offset;
	}
	for (;;) {
		bytes = PT_CALL(getdents64(fd, raw, pt_raw_bytes(d, raw_used, plus)));
		/* An error after entries (EINVAL: the next one is longer than what is asked for): the guest has these
		 * first, and meets it when it goes on. */
		if (bytes <= 0)
			return bytes < 0 && d->used == 0 ? bytes : 0;
		for (int64_t at = 0; at < bytes;) {
			const struct dirent64 *e = (const void *)(raw + at);

			if (!pt_dir_add(req, fd, d, e)) {
				/* The descriptor has read on. Back now, not with the next request: where places
				 * are counted, they are others once the guest has removed what it got. */
				if (PT_CALL(lseek(fd, (off_t)*pos, SEEK_SET)) < 0)
					*pos = UINT64_MAX;
				return d->used ? 0 : -EINVAL;
			}
			*pos = (uint64_t)e->d_off;
			at += e->d_reclen;
		}
		raw_used += (size_t)bytes;
		if (!sfs_dirbuf_fits(d, USUAL_NAME_BYTES, plus))
			return 0;
	}
}

static int64_t pt_dir_list(struct sfs_req *req, int fd, uint64_t *pos)
{
	struct sfs_dirbuf d;
	int64_t rc;

	sfs_dirbuf_init(&d, req, req->arg.read.size);
	rc = pt_dir_fill(req, fd, pos, &d);
	if (rc == 0)
		sfs_req_reply_bytes(req, d.buf, d.used);
	return rc;
}

static int64_t pt_readdir_fn(struct sfs_req *req)
{
	const struct pt_op *op = pt_op(req);

	return pt_dir_list(req, op->ent->fd, &op->handle->drv[PT_HANDLE_POS]);
}

/* Without a handle the offset alone says where to go on. */
static int64_t pt_readdir_unopened_fn(struct sfs_req *req)
{
	int fd = pt_node_open(req, pt_op(req)->node, O_RDONLY | O_DIRECTORY);
	uint64_t pos = 0;
	int64_t rc;

	if (fd < 0)
		return fd;
	rc = pt_dir_list(req, fd, &pos);
	close(fd);
	return rc;
}

static int pt_list_unopened(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return pt_end(req);
	rc = pt_pin_node(req, false);
	if (rc == 0 && !S_ISDIR(pt_op(req)->node->mode))
		rc = -ENOTDIR;
	return rc < 0 ? rc : pt_block(req, PT_END, pt_readdir_unopened_fn);
}

static int pt_list(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	uint64_t epoch;
	int rc;

	if (pt_no_open(req))
		return pt_list_unopened(req);
	switch (req->step) {
	case PT_START:
		/* The node is where lookups start. */
		rc = pt_pin_node(req, false);
		if (rc == 0)
			rc = pt_pin_handle(req, req->arg.read.fh, false);
		if (rc < 0)
			return rc;
		if (!(op->handle->flags & SFS_HANDLE_DIR))
			return -ENOTDIR;
		__attribute__((fallthrough));
	case DIR_LOCK:
		/* One request at a time uses the position. */
		epoch = sfs_session_epoch(req->session);
		if (!sfs_handle_trylock(op->handle))
			return sfs_req_wait(req, DIR_LOCK, epoch);
		return pt_block(req, PT_END, pt_readdir_fn);
	default:
		sfs_handle_unlock(req->session, op->handle);
		return pt_end(req);
	}
}

int pt_readdir(struct sfs_req *req)
{
	return pt_list(req);
}

int pt_readdirplus(struct sfs_req *req)
{
	pt_op(req)->plus = true;
	return pt_list(req);
}
