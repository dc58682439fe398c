/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locks: GETLK, SETLK, SETLKW. What guests lock is locked on the host, so that the host and other guests see
 * it.
 *
 * Record locks: each owner has an open file description of its own for each file (sfs_lock.h), with
 * open-file-description locks on it: POSIX locks would be the daemon's as a whole. flock locks are those of
 * the handle's description, since a handle is what the guest's kernel has for one of its own.
 *
 * All calls are of the kind that does not wait. Who has to wait parks, and tries again when this device has
 * unlocked something, and from time to time, since others unlock without telling.
 */
#include <stdlib.h>
#include <sys/file.h>

#include "pt.h"
#include "sfs_lock.h"

/* What one look for a circle of waiters takes in: as many owners, of each so many waits, and as many owners' locks. A larger one is
 * not found. */
#define CIRCLE_OWNERS_MAX 64
#define CIRCLE_WAITS_MAX  8
#define CIRCLE_LOOKS_MAX  1024
#define PID_OWNERS_MAX    64 /* how many owners one GETLK looks at for the process that stands in the way */

enum { LOCK_TRY = PT_END + 1, LOCK_WOKEN, LOCK_CIRCLE, LOCK_PID };

/* What GETLK keeps between its steps. */
struct pt_getlk {
	struct pt_op op;
	struct fuse_file_lock found;
};

static struct flock pt_flock(const struct fuse_file_lock *lk)
{
	return (struct flock){
	    .l_type = (short)lk->type,
	    .l_whence = SEEK_SET,
	    .l_start = (off_t)lk->start,
	    .l_len = lk->end == INT64_MAX ? 0 : (off_t)(lk->end - lk->start + 1),
	};
}

static int pt_lock_check(const struct sfs_req *req)
{
	const struct fuse_lk_in *in = &req->arg.lk;
	uint64_t need = in->lk_flags & FUSE_LK_FLOCK ? FUSE_FLOCK_LOCKS : FUSE_POSIX_LOCKS;

	if (!(sfs_session_init_flags(req->session) & need))
		return -ENOSYS;
	if (in->lk.type != F_RDLCK && in->lk.type != F_WRLCK && in->lk.type != F_UNLCK)
		return -EINVAL;
	if (in->lk.start > in->lk.end || in->lk.end > INT64_MAX)
		return -EINVAL;
	return 0;
}

static int pt_lock_pin(struct sfs_req *req)
{
	int rc = pt_lock_check(req);

	if (rc < 0)
		return rc;
	rc = pt_pin_node(req, false);
	if (rc == 0)
		rc = pt_pin_handle(req, req->arg.lk.fh, false);
	if (rc == 0 && (pt_op(req)->handle->flags & SFS_HANDLE_DIR) &&
	    !(req->arg.lk.lk_flags & FUSE_LK_FLOCK))
		rc = -EBADF;
	return rc;
}

/* --- the owner's description --- */

static int pt_owner_open(struct sfs_req *req, int accmode)
{
	return pt_node_open(req, pt_op(req)->node, accmode);
}

static struct sfs_fdent *pt_owner_new(struct sfs_req *req, int *err)
{
	struct pt_op *op = pt_op(req);
	int accmode = (int)(op->handle->open_flags & O_ACCMODE);
	/* What may be written may be locked both ways. */
	int flags = accmode == O_RDONLY ? O_RDONLY : O_RDWR;
	int fd = pt_owner_open(req, flags);
	struct sfs_fdent *ent;

	if (fd < 0 && accmode == O_WRONLY)
		fd = pt_owner_open(req, flags = O_WRONLY);
	if (fd < 0) {
		*err = fd;
		return NULL;
	}
	ent = sfs_lock_owner_add(req, op->handle, req->arg.lk.owner, fd, (uint32_t)flags);
	if (!ent)
		*err = -ENOLCK;
	return ent;
}

/* Of a description that is given up: its close comes with the last pin, perhaps later and elsewhere. */
static void pt_unlock_whole(const struct sfs_fdent *ent)
{
	struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	fcntl(ent->fd, F_OFD_SETLK, &lock);
}

/* One line of fdinfo, "lock: 1: OFDLCK ADVISORY READ -1 08:01:2 0 EOF": a record lock of this description. */
static bool pt_fdinfo_lock(const char *line, struct flock *lock)
{
	char kind[16], type[16], end[24];
	unsigned long long start;

	if (sscanf(line, "lock: %*d: %15s %*s %15s %*d %*s %llu %23s", kind, type, &start, end) != 4 ||
	    strcmp(kind, "OFDLCK") != 0)
		return false;
	*lock =
	    (struct flock){.l_type = strcmp(type, "WRITE") == 0 ? F_WRLCK : F_RDLCK, .l_start = (off_t)start};
	if (strcmp(end, "EOF") != 0)
		lock->l_len = (off_t)(strtoull(end, NULL, 10) - start + 1);
	return true;
}

/* Calls @fn with each record lock that @fd's description holds, until it returns something else than 0. */
static int pt_fdinfo_each(const struct sfs_req *req, int fd, int (*fn)(void *arg, struct flock *lock),
			  void *arg)
{
	char path[PT_NAME_BYTES + 16], line[256];
	struct flock lock;
	int rc = 0, info;
	FILE *f;

	snprintf(path, sizeof(path), "../fdinfo/%d", fd);
	info = (int)PT_CALL(openat(pt_fs(req)->proc_fd, path, O_RDONLY | O_CLOEXEC));
	if (info < 0)
		return info;
	f = fdopen(info, "r");
	if (!f) {
		close(info);
		return -ENOMEM;
	}
	while (rc == 0 && fgets(line, sizeof(line), f))
		if (pt_fdinfo_lock(line, &lock))
			rc = fn(arg, &lock);
	fclose(f);
	return rc;
}

static int pt_copy_lock(void *arg, struct flock *lock)
{
	return (int)PT_CALL(fcntl(*(const int *)arg, F_OFD_SETLK, lock));
}

/*
 * An owner that came with a file open for reading now has one for writing: it gets a description that can do
 * both. Until then it holds shared locks alone, which the new one can take before the old one lets go.
 */
static struct sfs_fdent *pt_owner_widen(struct sfs_req *req, struct sfs_fdent *old, int *err)
{
	uint64_t nodeid = req->in.nodeid, owner = req->arg.lk.owner;
	struct sfs_fdent *ent;
	int fd = pt_owner_open(req, O_RDWR);

	if (fd < 0) {
		*err = fd;
		return NULL;
	}
	*err = pt_fdinfo_each(req, old->fd, pt_copy_lock, &fd);
	if (*err < 0) {
		close(fd);
		return NULL;
	}
	ent = sfs_lock_owner_swap(req, nodeid, owner, old, fd, O_RDWR);
	/* What the new one is to lock may be locked by the old one. */
	if (ent)
		pt_unlock_whole(old);
	else
		*err = -EAGAIN;
	return ent;
}

/* The description to lock with; NULL: *err. */
static struct sfs_fdent *pt_owner_get(struct sfs_req *req, int *err)
{
	const struct fuse_lk_in *in = &req->arg.lk;
	struct sfs_fdent *ent;
	uint32_t flags;

	ent = sfs_lock_owner_find(req, req->in.nodeid, in->owner, req->in.pid, &flags);
	if (!ent)
		return pt_owner_new(req, err);
	if (in->lk.type == F_WRLCK && (flags & O_ACCMODE) == O_RDONLY &&
	    (pt_op(req)->handle->open_flags & O_ACCMODE) != O_RDONLY)
		return pt_owner_widen(req, ent, err);
	return ent;
}

/* --- SETLK, SETLKW --- */

/* The rest of the owner's locks stays as it is. PT_ELSEWHERE: perhaps too many, to be counted on a worker. */
static int64_t pt_change_record(struct sfs_req *req, const struct sfs_fdent *ent,
				const struct sfs_lock_look *look)
{
	struct flock lock = pt_flock(&req->arg.lk.lk);
	struct sfs_lock_change change;
	int64_t rc;

	if (!sfs_lock_change_begin(req, look, &change))
		return PT_ELSEWHERE;
	rc = PT_CALL(fcntl(ent->fd, F_OFD_SETLK, &lock));
	sfs_lock_change_end(req, &change, rc == 0);
	if (lock.l_type == F_UNLCK)
		sfs_session_wake(req->session);
	return rc;
}

/* The descriptor to lock or unlock with; NULL: *err, or 0: nothing is locked. */
static struct sfs_fdent *pt_change_owner(struct sfs_req *req, int *err)
{
	uint32_t flags;

	*err = 0;
	if (req->arg.lk.lk.type == F_UNLCK)
		return sfs_lock_owner_find(req, req->in.nodeid, req->arg.lk.owner, 0, &flags);
	return pt_owner_get(req, err);
}

static int64_t pt_lock_record(struct sfs_req *req)
{
	const struct fuse_lk_in *in = &req->arg.lk;
	struct flock lock = pt_flock(&in->lk);
	struct sfs_fdent *ent;
	int64_t rc;
	int err;

	if (in->lk.type != F_UNLCK || in->lk.start != 0 || in->lk.end != INT64_MAX) {
		ent = pt_change_owner(req, &err);
		return ent ? pt_change_record(req, ent, NULL) : err;
	}
	ent = sfs_lock_owner_drop(req, req->in.nodeid, in->owner);
	if (!ent)
		return 0; /* it holds none */
	rc = PT_CALL(fcntl(ent->fd, F_OFD_SETLK, &lock));
	sfs_session_wake(req->session);
	return rc;
}

static int64_t pt_lock_flock(struct sfs_req *req)
{
	uint32_t type = req->arg.lk.lk.type;
	int how = type == F_UNLCK ? LOCK_UN : type == F_RDLCK ? LOCK_SH : LOCK_EX;
	struct pt_op *op = pt_op(req);
	bool first = false;
	int64_t rc;

	if (type != F_UNLCK && !sfs_lock_flock_count(req->session, op->handle, &first))
		return PT_ELSEWHERE;
	rc = PT_CALL(flock(op->ent->fd, how | LOCK_NB));
	/* One that was not changed to another kind stays counted until it is unlocked: at most one a handle. */
	if (rc < 0 ? first : type == F_UNLCK)
		sfs_lock_flock_uncount(req->session, op->handle);
	/* What it held before went first, even where the new one is not to be had. */
	if (type == F_UNLCK || op->done++ == 0)
		sfs_session_wake(req->session);
	return rc;
}

/* Pins only what the request needs beyond one attempt. */
static int64_t pt_lock_fn(struct sfs_req *req)
{
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	int64_t rc = req->arg.lk.lk_flags & FUSE_LK_FLOCK ? pt_lock_flock(req) : pt_lock_record(req);

	sfs_req_unpin_to(req, mark);
	return rc;
}

/* --- at the limit --- */

static int pt_count_lock(void *arg, struct flock *lock)
{
	++*(uint32_t *)arg;
	return 0;
}

/* Counts the locks of one more owner. False: all that there are have been. */
static bool pt_recount(struct sfs_req *req, uint32_t *pos)
{
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	struct sfs_lock_count count;
	struct sfs_fdent *ent = sfs_lock_count_next(req, pos, &count);
	uint32_t locks = 0;

	if (!ent)
		return false;
	if (pt_fdinfo_each(req, ent->fd, pt_count_lock, &locks) == 0)
		sfs_lock_count_end(req->session, &count, locks);
	sfs_req_unpin_to(req, mark);
	return true;
}

struct pt_look {
	struct fuse_file_lock want;
	int64_t locks, more; /* that there are; by which they will be more */
};

/* What becomes of one of the owner's locks: it merges with the new one, or loses a part or its middle. */
static int pt_look_lock(void *arg, struct flock *lock)
{
	struct pt_look *look = arg;
	uint64_t start = (uint64_t)lock->l_start,
		 end = lock->l_len ? start + (uint64_t)lock->l_len - 1 : INT64_MAX;
	bool same = (uint32_t)lock->l_type == look->want.type;

	look->locks++;
	if (start > look->want.end + same || look->want.start > end + same)
		return 0;
	look->more--;
	if (!same)
		look->more += (start < look->want.start) + (end > look->want.end);
	return 0;
}

/* Does what adds no more than there is room for. */
static int64_t pt_lock_looked(struct sfs_req *req)
{
	struct pt_look found = {.want = req->arg.lk.lk, .more = req->arg.lk.lk.type != F_UNLCK};
	struct sfs_lock_look look;
	struct sfs_fdent *ent;
	int rc;

	ent = pt_change_owner(req, &rc);
	if (!ent)
		return rc;
	if (!sfs_lock_count_begin(req, &look.count))
		return PT_ELSEWHERE;
	rc = pt_fdinfo_each(req, ent->fd, pt_look_lock, &found);
	if (rc < 0)
		return rc;
	look.after = (uint32_t)(found.locks + found.more);
	look.adds = found.more > 0 ? (uint32_t)found.more : 0;
	return pt_change_record(req, ent, &look);
}

/*
 * The device may hold as many locks as it may: counts until there is room. Who still finds none has to see whether it needs any. A worker:
 * that takes as long as there are locks.
 */
static int64_t pt_lock_full_fn(struct sfs_req *req)
{
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	uint32_t pos = 0;
	int64_t rc;

	do {
		rc = pt_lock_fn(req);
	} while (rc == PT_ELSEWHERE && pt_recount(req, &pos));
	if (rc == PT_ELSEWHERE && !(req->arg.lk.lk_flags & FUSE_LK_FLOCK)) {
		rc = pt_lock_looked(req);
		sfs_req_unpin_to(req, mark);
	}
	if (rc != PT_ELSEWHERE)
		return rc;
	sfs_session_limit_hit(req->session);
	return -ENOLCK;
}

int pt_setlk(struct sfs_req *req)
{
	int rc;

	if (req->step == PT_END)
		return req->res == PT_ELSEWHERE ? pt_slow(req, PT_END, pt_lock_full_fn) : pt_end(req);
	rc = pt_lock_pin(req);
	return rc < 0 ? rc : pt_block(req, PT_END, pt_lock_fn);
}

/* --- circles of waiters --- */

/* Owners that the request waits for, and those that they wait for in turn. */
struct circle {
	unsigned count, looks;
	uint64_t owners[CIRCLE_OWNERS_MAX];
};

static void circle_add(struct circle *c, uint64_t owner)
{
	for (unsigned i = 0; i < c->count; i++)
		if (c->owners[i] == owner)
			return;
	if (c->count < CIRCLE_OWNERS_MAX)
		c->owners[c->count++] = owner;
}

static int pt_conflicts(void *arg, struct flock *lock)
{
	const struct sfs_lock_wait *w = arg;
	uint64_t start = (uint64_t)lock->l_start,
		 end = lock->l_len ? start + (uint64_t)lock->l_len - 1 : INT64_MAX;

	return start <= w->end && end >= w->start && (lock->l_type == F_WRLCK || w->type == F_WRLCK);
}

/* Adds whose locks stand in the way of @w. */
static void circle_blockers(struct sfs_req *req, struct circle *c, struct sfs_lock_wait *w)
{
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	struct sfs_lock_holder holder;
	struct sfs_fdent *ent;
	uint32_t pos = 0;

	while (c->looks++ < CIRCLE_LOOKS_MAX && (ent = sfs_lock_owner_next(req, w->nodeid, &pos, &holder))) {
		if (holder.owner != w->owner && pt_fdinfo_each(req, ent->fd, pt_conflicts, w) > 0)
			circle_add(c, holder.owner);
		sfs_req_unpin_to(req, mark);
	}
}

/*
 * Whether who asks waits, over others that came before it, for itself. So a circle is told to the one that closed it, and to
 * nobody else, whoever looks first.
 */
static int64_t pt_circle_fn(struct sfs_req *req)
{
	struct sfs_lock_wait own = sfs_lock_wait_of(req), waits[CIRCLE_WAITS_MAX];
	struct circle c = {0};
	bool found = false;

	circle_blockers(req, &c, &own);
	for (unsigned i = 0; i < c.count && !found; i++) {
		unsigned n =
		    sfs_lock_waits_get(req->session, c.owners[i], own.serial, waits, CIRCLE_WAITS_MAX);

		found = c.owners[i] == own.owner;
		for (unsigned k = 0; k < n && !found; k++)
			circle_blockers(req, &c, &waits[k]);
	}
	return found ? -EDEADLK : 0;
}

static int pt_lock_wait(struct sfs_req *req)
{
	int rc = sfs_req_lock_waits(req);

	if (rc < 0)
		return rc;
	if (!(req->arg.lk.lk_flags & FUSE_LK_FLOCK) && sfs_lock_wait_suspect(req))
		return pt_slow(req, LOCK_CIRCLE, pt_circle_fn);
	return sfs_req_wait_lock(req, LOCK_WOKEN, pt_op(req)->offset);
}

int pt_setlkw(struct sfs_req *req)
{
	struct pt_op *op = pt_op(req);
	int rc;

	switch (req->step) {
	case PT_START:
		rc = pt_lock_pin(req);
		if (rc < 0)
			return rc;
		break;
	case PT_END:
		if (req->res == PT_ELSEWHERE)
			return pt_slow(req, PT_END, pt_lock_full_fn);
		return req->res == -EAGAIN ? pt_lock_wait(req) : pt_end(req);
	case LOCK_CIRCLE:
		return req->res < 0 ? (int)req->res : sfs_req_wait_lock(req, LOCK_WOKEN, op->offset);
	default:
		if (req->res < 0)
			return (int)req->res;
		break;
	}
	op->offset = sfs_session_epoch(req->session);
	return pt_block(req, PT_END, pt_lock_fn);
}

/* --- GETLK --- */

static struct pt_getlk *pt_getlk_state(struct sfs_req *req)
{
	return SFS_REQ_DRV(req, struct pt_getlk);
}

static int64_t pt_getlk_fn(struct sfs_req *req)
{
	const struct fuse_lk_in *in = &req->arg.lk;
	struct flock lock = pt_flock(&in->lk);
	struct sfs_fdent *ent;
	uint32_t flags;
	int64_t rc;

	ent = sfs_lock_owner_find(req, req->in.nodeid, in->owner, 0, &flags);
	/* Without one it holds nothing itself; nothing is ever locked with the handle's own. */
	rc = PT_CALL(fcntl(ent ? ent->fd : pt_op(req)->ent->fd, F_OFD_GETLK, &lock));
	if (rc < 0)
		return rc;
	pt_getlk_state(req)->found = (struct fuse_file_lock){
	    .start = (uint64_t)lock.l_start,
	    .end = lock.l_len ? (uint64_t)(lock.l_start + lock.l_len - 1) : INT64_MAX,
	    .type = (uint32_t)lock.l_type,
	};
	return 0;
}

static int pt_same_lock(void *arg, struct flock *lock)
{
	const struct fuse_file_lock *found = arg;
	uint64_t end = lock->l_len ? (uint64_t)(lock->l_start + lock->l_len - 1) : INT64_MAX;

	return (uint64_t)lock->l_start == found->start && end == found->end &&
	       (uint32_t)lock->l_type == found->type;
}

/* Which process of this guest holds the lock that was found; one of the host or of another guest stays 0. */
static int64_t pt_getlk_pid_fn(struct sfs_req *req)
{
	struct pt_getlk *g = pt_getlk_state(req);
	struct sfs_lock_holder holder;
	uint32_t pos = 0;

	for (unsigned i = 0; i < PID_OWNERS_MAX && g->found.pid == 0; i++) {
		struct sfs_pin_mark mark = sfs_req_pin_mark(req);
		struct sfs_fdent *ent = sfs_lock_owner_next(req, req->in.nodeid, &pos, &holder);

		if (!ent)
			break;
		if (pt_fdinfo_each(req, ent->fd, pt_same_lock, &g->found) > 0)
			g->found.pid = holder.pid;
		sfs_req_unpin_to(req, mark);
	}
	return 0;
}

int pt_getlk(struct sfs_req *req)
{
	int rc;

	switch (req->step) {
	case PT_START:
		rc = pt_lock_pin(req);
		if (rc == 0 && (req->arg.lk.lk_flags & FUSE_LK_FLOCK))
			rc = -EINVAL;
		return rc < 0 ? rc : pt_block(req, LOCK_TRY, pt_getlk_fn);
	case LOCK_TRY:
		if (req->res < 0)
			return (int)req->res;
		if (pt_getlk_state(req)->found.type != F_UNLCK)
			return pt_slow(req, LOCK_PID, pt_getlk_pid_fn);
		break;
	default:
		break;
	}
	req->out.lk.lk = pt_getlk_state(req)->found;
	req->out_bytes = sizeof(req->out.lk);
	return SFS_DONE;
}

/* --- what FLUSH and RELEASE let go --- */

static void pt_unlock_all(struct sfs_req *req, const struct sfs_fdent *ent)
{
	pt_unlock_whole(ent);
	sfs_session_wake(req->session);
}

void pt_locks_flush(struct sfs_req *req, uint64_t owner)
{
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	struct sfs_fdent *ent = sfs_lock_owner_drop(req, req->in.nodeid, owner);

	if (!ent)
		return;
	pt_unlock_all(req, ent);
	sfs_req_unpin_to(req, mark);
}

bool pt_locks_held(struct sfs_req *req)
{
	return atomic_load_explicit(&pt_op(req)->handle->locks, memory_order_relaxed) ||
	       (req->arg.release.release_flags & FUSE_RELEASE_FLOCK_UNLOCK);
}

int64_t pt_locks_release_fn(struct sfs_req *req)
{
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	struct pt_op *op = pt_op(req);
	struct sfs_fdent *ent;

	while ((ent = sfs_lock_owner_pop(req, op->handle))) {
		pt_unlock_all(req, ent);
		sfs_req_unpin_to(req, mark);
	}
	if (req->arg.release.release_flags & FUSE_RELEASE_FLOCK_UNLOCK) {
		flock(op->ent->fd, LOCK_UN);
		sfs_session_wake(req->session);
	}
	return 0;
}
