/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model.h"

static const char *const file_names[NAMES] = {"a", "bb", "a-longer-name", "\xc3\xa4", "e.e"};

/* --- building requests --- */

struct op *op_make(struct op *op, uint32_t opcode, uint64_t node, uint32_t arg_bytes, uint32_t out_bytes)
{
	struct actor *a = op->actor;

	memset(op, 0, offsetof(struct op, data));
	op->actor = a;
	op->active = true;
	op->queue = 1 + (unsigned)sim_below(sim.plan.queues);
	op->call = (struct sfs_fg_call){.opcode = opcode,
					.nodeid = node,
					.args = &op->in,
					.args_bytes = arg_bytes,
					.out_bytes = out_bytes};
	return op;
}

void op_name(struct op *op, unsigned i, const char *name)
{
	snprintf(op->name[i], sizeof(op->name[i]), "%s", name);
	op->call.tail[i] = op->name[i];
	op->call.tail_bytes[i] = (uint32_t)strlen(name) + 1;
}

/* --- picking --- */

static int any_name(void)
{
	return (int)sim_below(NAMES);
}

/* An object with a name, a nodeid and this type. */
struct obj *any_obj(struct actor *a, uint32_t type)
{
	unsigned start = (unsigned)sim_below(NAMES);

	for (unsigned i = 0; i < NAMES; i++) {
		struct obj *o = a->names[(start + i) % NAMES];

		if (o && o->count && (!type || o->type == type))
			return o;
	}
	return NULL;
}

struct handle *any_handle(struct actor *a, bool dir, bool writable)
{
	unsigned start = (unsigned)sim_below(HANDLES);

	for (unsigned i = 0; i < HANDLES; i++) {
		struct handle *h = &a->handles[(start + i) % HANDLES];

		if (h->obj && h->dir == dir && (h->writable || !writable))
			return h;
	}
	return NULL;
}

struct handle *free_handle(struct actor *a)
{
	for (unsigned i = 0; i < HANDLES; i++)
		if (!a->handles[i].obj)
			return &a->handles[i];
	return NULL;
}

static struct obj *free_obj(struct actor *a)
{
	for (unsigned i = 0; i < OBJS; i++)
		if (!a->objs[i].type)
			return &a->objs[i];
	return NULL;
}

static struct obj *obj_new(struct actor *a, uint32_t type, uint32_t perm)
{
	struct obj *o = free_obj(a);

	if (!o)
		sim_fail("actor %u has too many objects", a->idx);
	*o = (struct obj){.type = type, .perm = perm, .nlink = 1, .data = o->data};
	if (!o->data)
		o->data = malloc(FILE_MAX);
	memset(o->data, 0, FILE_MAX);
	return o;
}

void obj_settle(struct obj *o)
{
	if (!o->nlink && !o->count && !o->opens)
		o->type = 0;
}

static bool can_make(struct actor *a)
{
	return free_obj(a) != NULL;
}

/* --- checking --- */

static void check_attr(const struct op *op, const struct obj *o, const struct fuse_attr *attr)
{
	if ((attr->mode & S_IFMT) != o->type)
		FAIL(op, "mode %o of an object of type %o", op->actor->idx, op->call.opcode, attr->mode,
		     o->type);
	if (o->type == S_IFREG &&
	    (attr->size != o->size || attr->nlink != o->nlink || (attr->mode & 07777) != o->perm))
		FAIL(op, "size %llu links %u mode %o, not %u, %u, %o", op->actor->idx, op->call.opcode,
		     (unsigned long long)attr->size, attr->nlink, attr->mode & 07777, o->size, o->nlink,
		     o->perm);
	if (o->type == S_IFLNK && attr->size != strlen(o->target))
		FAIL(op, "link of %llu bytes", op->actor->idx, op->call.opcode,
		     (unsigned long long)attr->size);
}

/* An entry means one more lookup, and the same object the same id as long as it is known. */
void took_entry(const struct op *op, struct obj *o, const struct fuse_entry_out *e)
{
	if (e->nodeid < 2 || (o->count && o->id != e->nodeid))
		FAIL(op, "nodeid %llx instead of %llx", op->actor->idx, op->call.opcode,
		     (unsigned long long)e->nodeid, (unsigned long long)o->id);
	o->id = e->nodeid;
	o->count++;
	sim_note(e->nodeid);
	check_attr(op, o, &e->attr);
}

const void *out_of(const struct sfs_fg_req *req)
{
	return req->out_args;
}

void check_nothing(struct op *op, const struct sfs_fg_req *req)
{
}

static void check_attr_out(struct op *op, const struct sfs_fg_req *req)
{
	const struct fuse_attr_out *out = out_of(req);

	check_attr(op, op->obj, &out->attr);
}

/* --- LOOKUP, FORGET, GETATTR, SETATTR --- */

void check_lookup(struct op *op, const struct sfs_fg_req *req)
{
	took_entry(op, op->obj, out_of(req));
}

static bool step_lookup(struct actor *a, struct op *op)
{
	int at = any_name();

	op_make(op, FUSE_LOOKUP, a->dir, 0, sizeof(struct fuse_entry_out));
	op_name(op, 0, file_names[at]);
	op->obj = a->names[at];
	op->expect = op->obj ? 0 : -ENOENT;
	op->check = check_lookup;
	return true;
}

static void check_forget(struct op *op, const struct sfs_fg_req *req)
{
	op->obj->count -= SFS_MIN(op->number, op->obj->count);
	obj_settle(op->obj);
}

void make_forget(struct op *op, struct obj *o, uint64_t count)
{
	if (sim_chance(300)) {
		op_make(op, FUSE_BATCH_FORGET, 0, sizeof(op->in.batch), 0);
		op->in.batch.in.count = 2;
		op->in.batch.one[0] = (struct fuse_forget_one){.nodeid = o->id, .nlookup = count};
		op->in.batch.one[1] =
		    (struct fuse_forget_one){.nodeid = o->id + 77, .nlookup = 5}; /* nobody's */
	} else {
		op_make(op, FUSE_FORGET, o->id, sizeof(op->in.forget), 0);
		op->in.forget.nlookup = count;
	}
	op->call.no_reply = true;
	op->queue = sim_chance(500) ? SFS_FG_HIPRIO : op->queue;
	op->obj = o;
	op->number = count;
	op->check = check_forget;
}

static struct obj *counted(struct actor *a)
{
	unsigned start = (unsigned)sim_below(OBJS);

	for (unsigned i = 0; i < OBJS; i++) {
		struct obj *o = &a->objs[(start + i) % OBJS];

		if (o->type && o->count)
			return o;
	}
	return NULL;
}

static bool step_forget(struct actor *a, struct op *op)
{
	struct obj *o = counted(a);

	/* What is open is known to a kernel. */
	if (!o || (o->opens && o->count == 1))
		return false;
	make_forget(op, o, o->opens ? 1 : 1 + sim_below(o->count + 1));
	return true;
}

/* A name that was forgotten: its old id is nobody's. */
static bool step_stale(struct actor *a, struct op *op)
{
	struct obj *o = a->names[any_name()];

	if (!o || o->count || !o->id)
		return false;
	op_make(op, FUSE_GETATTR, o->id, sizeof(op->in.getattr), sizeof(struct fuse_attr_out));
	op->expect = -ESTALE;
	return true;
}

static bool step_getattr(struct actor *a, struct op *op)
{
	struct handle *h = sim_chance(500) ? any_handle(a, false, false) : NULL;
	struct obj *o = h ? h->obj : any_obj(a, 0);

	if (!o)
		return false;
	op_make(op, FUSE_GETATTR, o->id, sizeof(op->in.getattr), sizeof(struct fuse_attr_out));
	if (h)
		op->in.getattr = (struct fuse_getattr_in){.getattr_flags = FUSE_GETATTR_FH, .fh = h->fh};
	op->obj = o;
	op->check = check_attr_out;
	return true;
}

static void check_setattr(struct op *op, const struct sfs_fg_req *req)
{
	struct obj *o = op->obj;

	if (op->in.setattr.valid & FATTR_SIZE) {
		uint32_t size = (uint32_t)op->in.setattr.size;

		if (size < o->size)
			memset(o->data + size, 0, o->size - size);
		o->size = size;
	}
	if (op->in.setattr.valid & FATTR_MODE)
		o->perm = op->in.setattr.mode & 07777;
	check_attr_out(op, req);
}

static bool step_setattr(struct actor *a, struct op *op)
{
	struct handle *h = sim_chance(500) ? any_handle(a, false, true) : NULL;
	struct obj *o = h ? h->obj : any_obj(a, S_IFREG);

	if (!o)
		return false;
	op_make(op, FUSE_SETATTR, o->id, sizeof(op->in.setattr), sizeof(struct fuse_attr_out));
	if (h) {
		op->in.setattr.valid = FATTR_FH | FATTR_SIZE;
		op->in.setattr.fh = h->fh;
	} else {
		op->in.setattr.valid = sim_chance(500) ? FATTR_SIZE : FATTR_MODE;
	}
	op->in.setattr.size = sim_below(FILE_MAX);
	op->in.setattr.mode = S_IFREG | 0600 | (uint32_t)sim_below(0100);
	op->obj = o;
	op->check = check_setattr;
	return true;
}

/* --- making names --- */

static void check_made(struct op *op, const struct sfs_fg_req *req)
{
	struct actor *a = op->actor;
	uint32_t type = (uint32_t)op->number;
	struct obj *o = obj_new(a, type, type == S_IFLNK ? 0777 : type == S_IFDIR ? 0755 : 0644);

	if (type == S_IFLNK)
		strcpy(o->target, op->name[1]);
	a->names[op->at] = o;
	took_entry(op, o, out_of(req));
}

static bool step_make(struct actor *a, struct op *op)
{
	static const uint32_t types[] = {S_IFREG, S_IFDIR, S_IFLNK};
	uint32_t type = types[sim_below(3)];
	int at = any_name();

	if (!can_make(a))
		return false;
	switch (type) {
	case S_IFREG:
		op_make(op, FUSE_MKNOD, a->dir, sizeof(op->in.mknod), sizeof(struct fuse_entry_out));
		op->in.mknod.mode = S_IFREG | 0644;
		break;
	case S_IFDIR:
		op_make(op, FUSE_MKDIR, a->dir, sizeof(op->in.mkdir), sizeof(struct fuse_entry_out));
		op->in.mkdir.mode = 0755;
		break;
	default:
		op_make(op, FUSE_SYMLINK, a->dir, 0, sizeof(struct fuse_entry_out));
	}
	op_name(op, 0, file_names[at]);
	if (type == S_IFLNK) {
		char target[40];

		snprintf(target, sizeof(target), "../to/%u", (unsigned)sim_below(1000000));
		op_name(op, 1, target);
	}
	op->at = at;
	op->number = type;
	op->expect = a->names[at] ? -EEXIST : 0;
	op->check = check_made;
	return true;
}

static void check_create(struct op *op, const struct sfs_fg_req *req)
{
	struct actor *a = op->actor;
	const struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} *out = out_of(req);
	struct obj *o = a->names[op->at];

	if (!o)
		o = a->names[op->at] = obj_new(a, S_IFREG, 0640);
	if (op->in.create.flags & O_TRUNC) {
		memset(o->data, 0, FILE_MAX);
		o->size = 0;
	}
	took_entry(op, o, &out->entry);
	o->opens++;
	*op->handle = (struct handle){.obj = o, .fh = out->open.fh, .writable = true};
	sim_note(out->open.fh);
}

static bool step_create(struct actor *a, struct op *op)
{
	struct handle *h = free_handle(a);
	int at = any_name();
	struct obj *o = a->names[at];

	if (!h || !can_make(a))
		return false;
	op_make(op, FUSE_CREATE, a->dir, sizeof(op->in.create),
		sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
	op->in.create = (struct fuse_create_in){.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0640};
	if (sim_chance(300))
		op->in.create.flags |= O_TRUNC;
	if ((o && o->type != S_IFREG) || sim_chance(400))
		op->in.create.flags |= O_EXCL;
	op_name(op, 0, file_names[at]);
	op->at = at;
	op->handle = h;
	h->obj = &a->objs[0]; /* taken until the answer is there */
	op->expect = o && (op->in.create.flags & O_EXCL) ? -EEXIST : 0;
	op->check = check_create;
	return true;
}

static void check_link(struct op *op, const struct sfs_fg_req *req)
{
	op->actor->names[op->at] = op->obj;
	op->obj->nlink++;
	took_entry(op, op->obj, out_of(req));
}

static bool step_link(struct actor *a, struct op *op)
{
	struct obj *o = any_obj(a, S_IFREG);
	int at = any_name();

	if (!o)
		return false;
	op_make(op, FUSE_LINK, a->dir, sizeof(op->in.link), sizeof(struct fuse_entry_out));
	op->in.link.oldnodeid = o->id;
	op_name(op, 0, file_names[at]);
	op->at = at;
	op->obj = o;
	op->expect = a->names[at] ? -EEXIST : 0;
	op->check = check_link;
	return true;
}

/* --- names that go --- */

static void name_gone(struct actor *a, int at)
{
	struct obj *o = a->names[at];

	a->names[at] = NULL;
	o->nlink--;
	obj_settle(o);
}

void check_unlink(struct op *op, const struct sfs_fg_req *req)
{
	name_gone(op->actor, op->at);
}

static bool step_unlink(struct actor *a, struct op *op)
{
	bool rmdir = sim_chance(400);
	int at = any_name();
	const struct obj *o = a->names[at];

	op_make(op, rmdir ? FUSE_RMDIR : FUSE_UNLINK, a->dir, 0, 0);
	op_name(op, 0, file_names[at]);
	op->at = at;
	if (!o)
		op->expect = -ENOENT;
	else if (rmdir && o->type != S_IFDIR)
		op->expect = -ENOTDIR;
	else if (!rmdir && o->type == S_IFDIR)
		op->expect = -EISDIR;
	op->check = check_unlink;
	return true;
}

static void check_rename(struct op *op, const struct sfs_fg_req *req)
{
	struct actor *a = op->actor;
	struct obj *from = a->names[op->at], *to = a->names[op->at2];

	if (from == to)
		return;
	if (op->in.rename.flags == RENAME_EXCHANGE) {
		a->names[op->at] = to;
	} else {
		if (to)
			name_gone(a, op->at2);
		a->names[op->at] = NULL;
	}
	a->names[op->at2] = from;
}

static int rename_expect(const struct obj *from, const struct obj *to, unsigned flags)
{
	if (!from || (flags == RENAME_EXCHANGE && !to))
		return -ENOENT;
	if (flags == RENAME_NOREPLACE && to)
		return -EEXIST;
	if (!to || flags == RENAME_EXCHANGE || from == to)
		return 0;
	if (from->type == S_IFDIR && to->type != S_IFDIR)
		return -ENOTDIR;
	return from->type != S_IFDIR && to->type == S_IFDIR ? -EISDIR : 0;
}

static bool step_rename(struct actor *a, struct op *op)
{
	static const unsigned flags[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	unsigned flag = flags[sim_below(4)];
	int at = any_name(), at2 = any_name();

	if (flag || sim_chance(300)) {
		op_make(op, FUSE_RENAME2, a->dir, sizeof(op->in.rename), 0);
		op->in.rename.flags = flag;
	} else {
		op_make(op, FUSE_RENAME, a->dir, sizeof(struct fuse_rename_in), 0);
	}
	op->in.rename.newdir = a->dir;
	op_name(op, 0, file_names[at]);
	op_name(op, 1, file_names[at2]);
	op->at = at;
	op->at2 = at2;
	op->expect = rename_expect(a->names[at], a->names[at2], flag);
	op->check = check_rename;
	return true;
}

static void check_readlink(struct op *op, const struct sfs_fg_req *req)
{
	if (req->result != (int)strlen(op->obj->target) ||
	    memcmp(req->data, op->obj->target, (size_t)req->result))
		FAIL(op, "wrong target", op->actor->idx, op->call.opcode);
}

static bool step_readlink(struct actor *a, struct op *op)
{
	struct obj *o = any_obj(a, S_IFLNK);

	if (!o)
		return false;
	op_make(op, FUSE_READLINK, o->id, 0, 0);
	op->call.data_writable = 4096;
	op->obj = o;
	op->check = check_readlink;
	return true;
}

/* --- listings: of the actor's own directory --- */

static bool is_dots(const char *name, uint32_t bytes)
{
	return bytes <= 2 && name[0] == '.' && name[bytes - 1] == '.';
}

/* One entry: its name is the actor's, once. @seen: a bit for each. */
static void check_entry(struct op *op, const struct fuse_dirent *d, const struct fuse_entry_out *e,
			unsigned *seen)
{
	struct actor *a = op->actor;

	for (unsigned i = 0; i < NAMES; i++) {
		if (strlen(file_names[i]) != d->namelen || memcmp(file_names[i], d->name, d->namelen))
			continue;
		if (!a->names[i] || (*seen & 1u << i) || d->type != a->names[i]->type >> 12)
			break;
		*seen |= 1u << i;
		if (e && e->nodeid)
			took_entry(op, a->names[i], e);
		return;
	}
	FAIL(op, "lists %.*s", a->idx, op->call.opcode, (int)d->namelen, d->name);
}

static void check_readdir(struct op *op, const struct sfs_fg_req *req)
{
	bool plus = op->call.opcode == FUSE_READDIRPLUS;
	unsigned seen = 0, have = 0;

	for (size_t at = 0; at < (size_t)req->result;) {
		const struct fuse_entry_out *e = plus ? (const void *)(req->data + at) : NULL;
		const struct fuse_dirent *d = (const void *)(req->data + at + (plus ? sizeof(*e) : 0));

		if (!is_dots(d->name, d->namelen))
			check_entry(op, d, e, &seen);
		at += (plus ? sizeof(*e) : 0) + FUSE_DIRENT_SIZE(d);
	}
	for (unsigned i = 0; i < NAMES; i++)
		have |= op->actor->names[i] ? 1u << i : 0;
	if (op->in.read.size == 8192 && seen != have)
		FAIL(op, "lists %x of %x", op->actor->idx, op->call.opcode, seen, have);
}

static void make_readdir(struct op *op, struct handle *h)
{
	op_make(op, sim_chance(500) ? FUSE_READDIR : FUSE_READDIRPLUS, h->obj->id, sizeof(op->in.read), 0);
	op->in.read = (struct fuse_read_in){.fh = h->fh, .size = sim_chance(700) ? 8192 : 400};
	op->call.data_writable = op->in.read.size;
	op->check = check_readdir;
}

static struct obj own_dir(const struct actor *a)
{
	return (struct obj){.type = S_IFDIR, .id = a->dir, .count = 1};
}

/* The actor's directory is open all the time: handle 0 of the three. */
static bool step_readdir(struct actor *a, struct op *op)
{
	make_readdir(op, &a->handles[0]);
	if (sim_chance(500)) {
		op[1].actor = a;
		make_readdir(&op[1], &a->handles[0]);
		sim.cover->races++;
	}
	return true;
}

/* --- begin and end --- */

static void check_begin(struct op *op, const struct sfs_fg_req *req)
{
	const struct fuse_entry_out *e = out_of(req);

	op->actor->dir = e->nodeid;
}

static void check_own_dir(struct op *op, const struct sfs_fg_req *req)
{
	const struct fuse_open_out *out = out_of(req);
	struct actor *a = op->actor;

	a->ready = true;
	a->objs[OBJS - 1] = own_dir(a);
	a->objs[OBJS - 1].opens = a->objs[OBJS - 1].nlink = 1;
	a->handles[0] = (struct handle){.obj = &a->objs[OBJS - 1], .fh = out->fh, .dir = true};
}

bool model_begin(struct actor *a, struct op *op)
{
	if (!a->dir) {
		op_make(op, FUSE_MKDIR, FUSE_ROOT_ID, sizeof(op->in.mkdir), sizeof(struct fuse_entry_out));
		op->in.mkdir.mode = 0755;
		op_name(op, 0, a->name);
		op->check = check_begin;
		return true;
	}
	if (a->ready)
		return false;
	op_make(op, FUSE_OPENDIR, a->dir, sizeof(op->in.open), sizeof(struct fuse_open_out));
	op->check = check_own_dir;
	return true;
}

static bool end_name(struct actor *a, struct op *op, int at)
{
	struct obj *o = a->names[at];

	if (!o->count) {
		op_make(op, FUSE_LOOKUP, a->dir, 0, sizeof(struct fuse_entry_out));
		op_name(op, 0, file_names[at]);
		op->obj = o;
		op->check = check_lookup;
	} else if (o->type == S_IFREG && !a->handles[1].obj && !(a->steps & 1u << at)) {
		a->steps |= 1u << at;
		op_make(op, FUSE_OPEN, o->id, sizeof(op->in.open), sizeof(struct fuse_open_out));
		op->handle = &a->handles[1];
		op->obj = o;
		op->check = check_open;
	} else if (o->type == S_IFREG && a->handles[1].obj && !(a->steps & 32u << at)) {
		a->steps |= 32u << at;
		make_read(op, &a->handles[1], 0, FILE_MAX);
	} else if (a->handles[1].obj) {
		make_release(op, &a->handles[1]);
	} else {
		op_make(op, o->type == S_IFDIR ? FUSE_RMDIR : FUSE_UNLINK, a->dir, 0, 0);
		op_name(op, 0, file_names[at]);
		op->at = at;
		op->check = check_unlink;
	}
	return true;
}

bool model_end(struct actor *a, struct op *op)
{
	for (unsigned i = 1; i < HANDLES; i++)
		if (a->handles[i].obj && !(i == 1 && a->steps)) {
			make_release(op, &a->handles[i]);
			return true;
		}
	if (!(a->steps & 1024)) { /* what the directory holds, as a whole */
		a->steps |= 1024;
		make_readdir(op, &a->handles[0]);
		return true;
	}
	for (int i = 0; i < NAMES; i++)
		if (a->names[i])
			return end_name(a, op, i);
	if (a->handles[0].obj) {
		make_release(op, &a->handles[0]);
		a->objs[OBJS - 1].nlink = 0;
		return true;
	}
	for (unsigned i = 0; i < OBJS; i++)
		if (a->objs[i].type && a->objs[i].count) {
			make_forget(op, &a->objs[i], a->objs[i].count);
			return true;
		}
	return false;
}

void model_free(struct actor *a)
{
	for (unsigned i = 0; i < OBJS; i++)
		free(a->objs[i].data);
}

const struct model_row model_rows[] = {
    {step_lookup, 10},      {step_forget, 6},     {step_stale, 2},     {step_getattr, 4},   {step_setattr, 5},
    {step_make, 6},         {step_create, 8},     {step_link, 3},      {step_unlink, 5},    {step_rename, 6},
    {step_readlink, 2},     {step_open, 8},       {step_read, 12},     {step_write, 14},    {step_release, 4},
    {step_read_release, 5}, {step_bad_handle, 1}, {step_sync, 2},      {step_fallocate, 2}, {step_lseek, 1},
    {step_copy, 3},         {step_statfs, 2},     {step_interrupt, 1}, {step_xattr, 5},     {step_readdir, 5},
};
const unsigned model_row_count = SFS_ARRAY_SIZE(model_rows);
