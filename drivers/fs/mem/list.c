/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories as streams. A listing keeps no state in its handle: an offset names the position to go on from.
 * 0 is ".", 1 is "..", 2 and more are positions of entries.
 */
#include <errno.h>
#include <string.h>

#include "mem.h"

#define LIST_DOTS 2

enum { LIST_START, LIST_MORE };

int mem_opendir(struct sfs_req *req)
{
	struct mem_inode *dir;
	int rc = mem_node_dir(req, req->in.nodeid, &dir);

	if (rc == 0)
		rc = mem_handle_new(req, req->in.nodeid, dir, req->arg.open.flags, SFS_HANDLE_DIR,
				    &req->out.open.fh);
	if (rc)
		return rc;
	req->out_bytes = sizeof(req->out.open);
	return SFS_DONE;
}

/*
 * The next entry of @dir from offset *@off on: copies its name to @name, which has room for MEM_NAME_MAX
 * bytes, sets *@off to the offset behind it, and returns its inode with a reference; NULL: the end.
 */
static struct mem_inode *list_next(struct mem_fs *fs, struct mem_inode *dir, uint64_t *off, char *name,
				   uint32_t *bytes)
{
	struct mem_inode *inode = NULL;
	const struct mem_entry *e;
	uint64_t slot;

	pthread_rwlock_rdlock(&fs->tree);
	if (*off < LIST_DOTS) {
		*bytes = (uint32_t)*off + 1;
		memset(name, '.', *bytes);
		inode = *off == 0 || dir->nlink == 0 ? dir : &fs->inodes[dir->parent];
		++*off;
	} else {
		slot = *off - LIST_DOTS;
		e = mem_entry_next(fs, dir, &slot);
		if (e) {
			*bytes = e->name_bytes;
			memcpy(name, e->name, e->name_bytes);
			inode = &fs->inodes[e->ino];
			*off = slot + LIST_DOTS + 1;
		}
	}
	if (inode)
		mem_inode_get(inode);
	pthread_rwlock_unlock(&fs->tree);
	return inode;
}

/*
 * Appends one entry with its attributes; takes over the reference. The guest counts one lookup for each entry
 * that it is given, so there must be room before the lookup is counted. The dots have no lookup: nodeid 0.
 * Nor has a name for which the table of nodes has no room: the guest then looks it up when it is wanted. The
 * pin is given back at once, for a listing has more entries than a request has room for pins.
 */
static void list_add_plus(struct sfs_req *req, struct sfs_dirbuf *d, struct mem_inode *inode,
			  const char *name, uint32_t bytes, uint64_t off)
{
	struct fuse_entry_out entry = {.attr = {.ino = inode->ino, .mode = inode->type}};
	uint64_t ino = inode->ino;
	uint32_t type = inode->type >> 12;
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);

	if (off <= LIST_DOTS) {
		mem_inode_put(mem_req_fs(req), inode);
	} else {
		mem_entry_node(req, inode, &entry);
		sfs_req_unpin_to(req, mark);
	}
	sfs_dirbuf_add(d, name, bytes, ino, off, type, &entry);
}

/* A listing between its pieces. */
struct list {
	struct mem_inode *dir; /* by the handle that the request has pinned */
	uint64_t off;
	uint32_t used;
};

static int list_start(struct sfs_req *req, struct list *l)
{
	l->dir = mem_handle_inode(req, req->arg.read.fh, NULL);
	if (!l->dir)
		return -EBADF;
	l->off = req->arg.read.offset;
	return S_ISDIR(l->dir->type) ? 0 : -ENOTDIR;
}

/* As many entries as a turn's share allows: then it goes on in the next. */
static int list_read(struct sfs_req *req, bool plus)
{
	uint32_t each = plus ? 1 : SFS_REQ_NAMES_PER_OBJECT, most, n = 0;
	struct list *l = SFS_REQ_DRV(req, struct list);
	struct mem_fs *fs = mem_req_fs(req);
	struct mem_inode *inode;
	char name[MEM_NAME_MAX];
	struct sfs_dirbuf d;
	uint32_t bytes;
	int rc = req->step == LIST_START ? list_start(req, l) : 0;

	if (rc)
		return rc;
	sfs_dirbuf_init(&d, req, req->arg.read.size);
	d.used = l->used;
	most = sfs_req_share_objects(req, sfs_dirbuf_objects(&d, plus)) * each;
	for (; n < most; n++) {
		inode = list_next(fs, l->dir, &l->off, name, &bytes);
		if (!inode)
			break;
		if (!sfs_dirbuf_fits(&d, bytes, plus)) {
			mem_inode_put(fs, inode);
			if (d.used == 0) /* an empty listing would mean the end */
				return -EINVAL;
			break;
		}
		if (plus) {
			list_add_plus(req, &d, inode, name, bytes, l->off);
		} else {
			sfs_dirbuf_add(&d, name, bytes, inode->ino, l->off, inode->type >> 12, NULL);
			mem_inode_put(fs, inode);
		}
	}
	sfs_req_share_looked(req, n / each);
	l->used = d.used;
	if (n == most)
		return sfs_req_yield(req, LIST_MORE);
	sfs_req_reply_bytes(req, d.buf, d.used);
	return SFS_DONE;
}

int mem_readdir(struct sfs_req *req)
{
	return list_read(req, false);
}

int mem_readdirplus(struct sfs_req *req)
{
	return list_read(req, true);
}
