/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories: OPENDIR, READDIR, READDIRPLUS. RELEASEDIR and FSYNCDIR are those of files.
 */
#include <dirent.h>

#include "pt.h"

#define RAW_BYTES_MIN 512  /* holds the longest entry */
#define RAW_BYTES_MAX 8192 /* on the stack */
#define RAW_LEFT_MAX  512u /* at the end of the request's buffer, from one turn to the next */
/* The host's record of the shortest name, and ours: no others are as different. */
#define RAW_SHORTEST  24u
#define PLUS_SHORTEST (FUSE_NAME_OFFSET_DIRENTPLUS + 8)
#define RAW_USUAL     32u

#define USUAL_NAME_BYTES 16

/* Steps: waits for the position; goes on in another turn; some entries are there. */
enum { DIR_LOCK = PT_END + 1, DIR_MORE, DIR_FILLED };

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
 * bytes of them), but not many more than @left entries.
 */
static size_t pt_raw_bytes(const struct sfs_dirbuf *d, size_t raw, bool plus, size_t left)
{
	size_t room = d->bytes - d->used, want = room;

	if (plus)
		want = raw ? room * raw / d->used : room * RAW_SHORTEST / PLUS_SHORTEST;
	want = SFS_MIN(want, SFS_MAX(left * RAW_USUAL, RAW_BYTES_MIN));
	return SFS_MIN(d->used ? want : SFS_MAX(want, RAW_BYTES_MIN), RAW_BYTES_MAX);
}

/* Of @raw what a turn had no time for. */
static void pt_raw_keep(struct sfs_req *req, const char *raw, size_t bytes)
{
	pt_op(req)->list_left = (uint32_t)bytes;
	memcpy((char *)sfs_req_buf(req) + SFS_BUF_BYTES - bytes, raw, bytes);
}

/* The host's next records: what the last turn left of them, or others. *@pos: the position of @fd, if it is known. */
static int64_t pt_raw_next(struct sfs_req *req, int fd, uint64_t *pos, char *raw, size_t room)
{
	struct pt_op *op = pt_op(req);
	int64_t bytes = op->list_left;

	if (bytes) {
		memcpy(raw, (char *)sfs_req_buf(req) + SFS_BUF_BYTES - bytes, (size_t)bytes);
		op->list_left = 0;
		return bytes;
	}
	if (*pos != req->arg.read.offset) {
		int64_t rc = PT_CALL(lseek(fd, (off_t)req->arg.read.offset, SEEK_SET));

		if (rc < 0)
			return rc;
		*pos = req->arg.read.offset;
	}
	bytes = PT_CALL(getdents64(fd, raw, room));
	for (int64_t at = 0; at < bytes; at += ((const struct dirent64 *)(const void *)(raw + at))->d_reclen)
		*pos = (uint64_t)((const struct dirent64 *)(const void *)(raw + at))->d_off;
	op->list_raw += bytes > 0 ? (uint32_t)bytes : 0;
	return bytes;
}

/* PT_MORE: @most entries were looked at (req->looked), or a few more, and there may be others. */
static int64_t pt_dir_fill(struct sfs_req *req, int fd, uint64_t *pos, struct sfs_dirbuf *d, uint32_t most)
{
	_Alignas(struct dirent64) char raw[RAW_BYTES_MAX];
	const struct pt_op *op = pt_op(req);
	uint64_t *from = &req->arg.read.offset;
	int64_t bytes;

	while (req->looked < most) {
		bytes = pt_raw_next(req, fd, pos, raw,
				    pt_raw_bytes(d, op->list_raw, op->plus, most - req->looked));
		if (bytes <= 0)
			return bytes;
		for (int64_t at = 0; at < bytes; req->looked++) {
			const struct dirent64 *e = (const void *)(raw + at);

			if (req->looked >= most && bytes - at <= RAW_LEFT_MAX) {
				pt_raw_keep(req, raw + at, (size_t)(bytes - at));
				return PT_MORE;
			}
			if (!pt_dir_add(req, fd, d, e)) {
				/* The descriptor has read on. Back now, not with the next request: where places
				 * are counted, they are others once the guest has removed what it got. */
				*pos = PT_CALL(lseek(fd, (off_t)*from, SEEK_SET)) < 0 ? UINT64_MAX : *from;
				return -EINVAL;
			}
			*from = (uint64_t)e->d_off;
			at += e->d_reclen;
		}
		if (!sfs_dirbuf_fits(d, USUAL_NAME_BYTES, op->plus))
			return 0;
	}
	return PT_MORE;
}

/* What the request has listed so far. */
static void pt_dirbuf(struct sfs_req *req, struct sfs_dirbuf *d)
{
	sfs_dirbuf_init(d, req, SFS_MIN(req->arg.read.size, SFS_BUF_BYTES - RAW_LEFT_MAX));
	d->used = (uint32_t)pt_op(req)->done;
}

/* @fd: or an error. */
static int64_t pt_dir_list(struct sfs_req *req, int fd, uint64_t *pos)
{
	struct pt_op *op = pt_op(req);
	uint32_t each = op->plus ? 1 : SFS_REQ_NAMES_PER_OBJECT;
	uint32_t most = req->path == SFS_PATH_WORKER ? SFS_BUF_BYTES : op->list_objects * each;
	struct sfs_dirbuf d;
	int64_t rc = fd;

	pt_dirbuf(req, &d);
	req->looked = 0;
	if (fd >= 0)
		rc = pt_dir_fill(req, fd, pos, &d, most);
	req->looked /= each;
	op->done = d.used;
	if (rc == PT_MORE)
		return rc;
	/* An error after entries (EINVAL: the next one is longer than what is asked for): the guest has these
	 * first, and meets it when it goes on. */
	if (rc < 0 && d.used == 0)
		return rc;
	sfs_req_reply_bytes(req, d.buf, d.used);
	return 0;
}

static int64_t pt_readdir_fn(struct sfs_req *req)
{
	const struct pt_op *op = pt_op(req);

	return pt_dir_list(req, op->ent->fd, &op->handle->drv[PT_HANDLE_POS]);
}

/* Without a handle the offset alone says where to go on. */
static int64_t pt_readdir_unopened_fn(struct sfs_req *req)
{
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	int fd = pt_node_open(req, pt_op(req)->node, O_RDONLY | O_DIRECTORY);
	uint64_t pos = 0;
	int64_t rc = pt_dir_list(req, fd, &pos);

	if (fd >= 0)
		close(fd);
	/* Each piece opens anew: what waits for its turn shall not hold descriptors that no limit counts. */
	sfs_req_unpin_to(req, mark);
	return rc;
}

/* Lists by @fn what a turn has, in so many turns. */
static int pt_list_fill(struct sfs_req *req, int64_t (*fn)(struct sfs_req *req))
{
	struct pt_op *op = pt_op(req);
	struct sfs_dirbuf d;

	pt_dirbuf(req, &d);
	op->list_objects = sfs_req_share_objects(req, sfs_dirbuf_objects(&d, op->plus));
	return op->list_objects ? pt_block(req, DIR_FILLED, fn) : sfs_req_yield(req, DIR_MORE);
}

static int pt_list_unopened(struct sfs_req *req)
{
	int rc;

	switch (req->step) {
	case PT_START:
		rc = pt_pin_node(req, false);
		if (rc == 0 && !S_ISDIR(pt_op(req)->node->mode))
			rc = -ENOTDIR;
		if (rc < 0)
			return rc;
		break;
	case DIR_FILLED:
		if (req->res != PT_MORE)
			return pt_end(req);
		break;
	}
	return pt_list_fill(req, pt_readdir_unopened_fn);
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
		break;
	case DIR_FILLED:
		if (req->res == PT_MORE)
			break;
		sfs_handle_unlock(req->session, op->handle);
		return pt_end(req);
	}
	return pt_list_fill(req, pt_readdir_fn);
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
