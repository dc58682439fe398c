/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories as streams. A listing keeps no state in its handle: an offset names the position to go on from.
 * 0 is ".", 1 is "..", 2 and more are positions of entries.
 */
#include <errno.h>
#include <string.h>

#include "mem.h"

#define LIST_DOTS 2

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

static int list_read(struct sfs_req *req, bool plus)
{
	const struct fuse_read_in *in = &req->arg.read;
	struct mem_inode *dir = mem_handle_inode(req, in->fh, NULL), *inode;
	struct mem_fs *fs = mem_req_fs(req);
	uint64_t off = in->offset;
	char name[MEM_NAME_MAX];
	struct sfs_dirbuf d;
	uint32_t bytes;

	if (!dir)
		return -EBADF;
	if (!S_ISDIR(dir->type))
		return -ENOTDIR;
	sfs_dirbuf_init(&d, req, in->size);
	while ((inode = list_next(fs, dir, &off, name, &bytes))) {
		if (!sfs_dirbuf_fits(&d, bytes, plus)) {
			mem_inode_put(fs, inode);
			if (d.used == 0) /* an empty listing would mean the end */
				return -EINVAL;
			break;
		}
		if (plus) {
			list_add_plus(req, &d, inode, name, bytes, off);
		} else {
			sfs_dirbuf_add(&d, name, bytes, inode->ino, off, inode->type >> 12, NULL);
			mem_inode_put(fs, inode);
		}
	}
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
