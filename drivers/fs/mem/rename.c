/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RENAME and RENAME2.
 */
#include <errno.h>
#include <stdio.h>

#include "mem.h"

/* One side: a name in a directory, and what it means (NULL: nothing yet). */
struct rename_side {
	struct mem_inode *dir;
	const char *name;
	uint32_t bytes;
	struct mem_entry *entry;
	struct mem_inode *inode;
};

static void rename_find(struct mem_fs *fs, struct rename_side *s)
{
	s->entry = mem_entry_find(fs, s->dir, s->name, s->bytes);
	s->inode = s->entry ? &fs->inodes[s->entry->ino] : NULL;
}

static bool rename_is_dir(const struct rename_side *s)
{
	return s->inode && S_ISDIR(s->inode->type);
}

/* Whether what @from means may come to stand in @to's directory: never a directory below itself. */
static int rename_check_below(struct mem_fs *fs, const struct rename_side *from, const struct rename_side *to)
{
	int rc = rename_is_dir(from) && from->dir != to->dir ? mem_entry_below(fs, to->dir, from->inode) : 0;

	return rc > 0 ? -EINVAL : rc;
}

static int rename_check_over(const struct rename_side *from, const struct rename_side *to)
{
	if (!to->inode)
		return 0;
	if (rename_is_dir(from) && !rename_is_dir(to))
		return -ENOTDIR;
	if (!rename_is_dir(from) && rename_is_dir(to))
		return -EISDIR;
	return rename_is_dir(to) && to->inode->entries ? -ENOTEMPTY : 0;
}

static void rename_touch(struct mem_inode *inode)
{
	mem_wrlock(inode);
	inode->ctime = mem_now();
	mem_unlock(inode);
}

static int rename_exchange(struct mem_fs *fs, struct rename_side *a, struct rename_side *b)
{
	int a_dir = rename_is_dir(a), b_dir = rename_is_dir(b), rc;

	if (!b->inode)
		return -ENOENT;
	rc = rename_check_below(fs, a, b);
	if (rc == 0)
		rc = rename_check_below(fs, b, a);
	if (rc)
		return rc;
	a->entry->ino = b->inode->ino;
	b->entry->ino = a->inode->ino;
	a->inode->parent = b->dir->ino;
	b->inode->parent = a->dir->ino;
	mem_dir_changed(a->dir, b_dir - a_dir);
	mem_dir_changed(b->dir, a_dir - b_dir);
	rename_touch(a->inode);
	rename_touch(b->inode);
	return 0;
}

/* *@last: what stood under the new name and has lost its last link. */
static int rename_move(struct mem_fs *fs, struct rename_side *from, struct rename_side *to, uint32_t flags,
		       struct mem_inode **last)
{
	int is_dir = rename_is_dir(from), over_dir = rename_is_dir(to), rc;

	if (to->inode && (flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (from->inode == to->inode) /* two links of one object: nothing happens, says POSIX */
		return 0;
	rc = rename_check_over(from, to);
	if (rc == 0)
		rc = rename_check_below(fs, from, to);
	if (rc)
		return rc;
	if (to->inode)
		to->entry->ino = from->inode->ino;
	else
		rc = mem_entry_add(fs, to->dir, to->name, to->bytes, from->inode);
	if (rc)
		return rc;
	mem_entry_del(fs, from->dir, from->entry);
	from->inode->parent = to->dir->ino;
	mem_dir_changed(from->dir, -is_dir);
	mem_dir_changed(to->dir, is_dir - over_dir);
	rename_touch(from->inode);
	if (to->inode && mem_inode_unlink(to->inode))
		*last = to->inode;
	return 0;
}

int mem_rename(struct sfs_req *req)
{
	uint32_t flags = req->arg.rename.flags;
	struct mem_fs *fs = mem_req_fs(req);
	struct rename_side from = {.name = req->name[0], .bytes = req->name_bytes[0]};
	struct rename_side to = {.name = req->name[1], .bytes = req->name_bytes[1]};
	struct mem_inode *last = NULL;
	int rc = mem_node_dir(req, req->in.nodeid, &from.dir);

	if (rc == 0)
		rc = mem_node_dir(req, req->arg.rename.newdir, &to.dir);
	if (rc)
		return rc;
	if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE)
		return -EINVAL;

	pthread_rwlock_wrlock(&fs->tree);
	rename_find(fs, &from);
	rename_find(fs, &to);
	if (!from.inode || to.dir->nlink == 0)
		rc = -ENOENT;
	else if (flags & RENAME_EXCHANGE)
		rc = rename_exchange(fs, &from, &to);
	else
		rc = rename_move(fs, &from, &to, flags, &last);
	pthread_rwlock_unlock(&fs->tree);
	if (last)
		mem_inode_gone(req, last);
	return rc;
}
