/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lock owners. One lock for all of it, held for a few loads: locking is rare beside the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "sfs_lock.h"
#include "session_priv.h"

#define BUCKETS_MAX 65536u
/* Records that owners_scan() looks at before it lets go of the lock. */
#define SCAN_STEPS 256
/* An unlock may add a lock, too: that many more than the limit, as a part of it. */
#define UNLOCK_PART 8

struct sfs_lock_owner {
	uint64_t nodeid, owner;
	uint32_t fd_idx; /* index + 1; 0: the record is free */
	uint32_t open_flags;
	uint32_t pid;
	uint32_t handle_idx;
	uint32_t hash_next;                /* index + 1, also of free records */
	uint32_t handle_next, handle_prev; /* index + 1 */
	uint32_t serial;                   /* of this use of the record */
	bool granted;                      /* a lock at least once */
	bool loose;                        /* it may hold fewer than held */
	uint32_t held;                     /* locks that it holds, at most */
	uint32_t flying;                   /* of these, what changes that are under way may add */
	uint64_t added;                    /* what all changes so far could have added */
	uint64_t start, end;               /* where all of them are, unless held is 0 */
};

/* A request that waits; free where wait.type is F_UNLCK. */
struct lock_wait {
	struct sfs_lock_wait wait;
	uint32_t next_free; /* index + 1 */
};

static void locks_lock(struct sfs_session *se)
{
	while (atomic_flag_test_and_set_explicit(&se->locks.lock, memory_order_acquire))
		sfs_pause();
}

static void locks_unlock(struct sfs_session *se)
{
	atomic_flag_clear_explicit(&se->locks.lock, memory_order_release);
}

int sfs_locks_create(struct sfs_session *se)
{
	struct lock_table *t = &se->locks;
	uint32_t buckets = 64;

	t->cap = SFS_MIN(se->limits.handles, se->limits.fds);
	while (buckets < t->cap && buckets < BUCKETS_MAX)
		buckets <<= 1;
	t->bucket_mask = buckets - 1;
	atomic_flag_clear(&t->lock);
	/* The guest chooses the owners' numbers: not so that they all meet in one bucket. */
	if (getrandom(&t->seed, sizeof(t->seed), GRND_NONBLOCK) != sizeof(t->seed))
		t->seed = sfs_now_ns() * 0x9e3779b97f4a7c15ull;
	t->owners = sfs_table_map(t->cap * sizeof(*t->owners));
	t->buckets = sfs_table_map(buckets * sizeof(*t->buckets));
	t->held_max = se->limits.locks;
	t->wait_cap = se->limits.lock_waiters;
	t->waits = sfs_table_map((t->wait_cap + 1ull) * sizeof(*t->waits));
	return t->owners && t->buckets && t->waits ? 0 : -ENOMEM;
}

void sfs_locks_destroy(struct sfs_session *se)
{
	struct lock_table *t = &se->locks;

	if (t->owners)
		munmap(t->owners, t->cap * sizeof(*t->owners));
	if (t->buckets)
		munmap(t->buckets, (t->bucket_mask + 1ull) * sizeof(*t->buckets));
	if (t->waits)
		munmap(t->waits, (t->wait_cap + 1ull) * sizeof(*t->waits));
}

/* --- under the lock --- */

static uint32_t *owner_bucket(struct lock_table *t, uint64_t nodeid, uint64_t owner)
{
	uint64_t x = (owner ^ t->seed) * 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 29 ^ nodeid) * 0xff51afd7ed558ccdull;
	return &t->buckets[(x ^ x >> 32) & t->bucket_mask];
}

static struct sfs_lock_owner *owner_get(struct lock_table *t, uint64_t nodeid, uint64_t owner)
{
	for (uint32_t at = *owner_bucket(t, nodeid, owner); at; at = t->owners[at - 1].hash_next) {
		struct sfs_lock_owner *o = &t->owners[at - 1];

		if (o->owner == owner && o->nodeid == nodeid)
			return o;
	}
	return NULL;
}

static struct sfs_lock_owner *owner_alloc(struct lock_table *t)
{
	uint32_t at = t->free;

	if (at)
		t->free = t->owners[at - 1].hash_next;
	else if (t->high < t->cap)
		at = ++t->high;
	return at ? &t->owners[at - 1] : NULL;
}

static void owner_link(struct sfs_session *se, struct sfs_lock_owner *o, struct sfs_handle *h)
{
	struct lock_table *t = &se->locks;
	uint32_t me = (uint32_t)(o - t->owners) + 1, *bucket = owner_bucket(t, o->nodeid, o->owner);

	o->hash_next = *bucket;
	*bucket = me;
	o->handle_idx = (uint32_t)(h - se->handles);
	o->handle_prev = 0;
	o->handle_next = atomic_load_explicit(&h->locks, memory_order_relaxed);
	if (o->handle_next)
		t->owners[o->handle_next - 1].handle_prev = me;
	atomic_store_explicit(&h->locks, me, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->count, 1, memory_order_relaxed);
}

/* Takes the record out of everything; its descriptor is the caller's to unlink. */
static struct sfs_fdent *owner_remove(struct sfs_session *se, struct sfs_lock_owner *o)
{
	struct lock_table *t = &se->locks;
	uint32_t me = (uint32_t)(o - t->owners) + 1, *at = owner_bucket(t, o->nodeid, o->owner);
	struct sfs_fdent *ent = &se->fds[o->fd_idx - 1];

	while (*at != me)
		at = &t->owners[*at - 1].hash_next;
	*at = o->hash_next;
	if (o->handle_next)
		t->owners[o->handle_next - 1].handle_prev = o->handle_prev;
	if (o->handle_prev)
		t->owners[o->handle_prev - 1].handle_next = o->handle_next;
	else
		atomic_store_explicit(&se->handles[o->handle_idx].locks, o->handle_next,
				      memory_order_relaxed);
	t->held -= o->held;
	o->fd_idx = 0;
	o->hash_next = t->free;
	t->free = me;
	atomic_fetch_sub_explicit(&t->count, 1, memory_order_relaxed);
	return ent;
}

/* The table keeps what it names linked, so the pin cannot fail. */
static struct sfs_fdent *owner_pin(struct sfs_req *req, const struct sfs_lock_owner *o)
{
	struct sfs_fdent *ent = &req->session->fds[o->fd_idx - 1];

	if (!sfs_fd_trypin(ent))
		return NULL;
	sfs_req_pin_fd(req, ent);
	return ent;
}

/* --- what drivers call --- */

bool sfs_lock_owner_any(const struct sfs_session *se)
{
	return atomic_load_explicit(&se->locks.count, memory_order_relaxed) != 0;
}

struct sfs_fdent *sfs_lock_owner_find(struct sfs_req *req, uint64_t nodeid, uint64_t owner, uint32_t pid,
				      uint32_t *open_flags)
{
	struct sfs_session *se = req->session;
	struct sfs_fdent *ent = NULL;
	struct sfs_lock_owner *o;

	locks_lock(se);
	o = owner_get(&se->locks, nodeid, owner);
	if (o) {
		ent = owner_pin(req, o);
		*open_flags = o->open_flags;
		if (pid)
			o->pid = pid;
	}
	locks_unlock(se);
	return ent;
}

/* A descriptor that is in the table, or closed. */
static struct sfs_fdent *fd_enter(struct sfs_session *se, int fd)
{
	struct sfs_fdent *ent = sfs_fd_insert(se, NULL, fd);

	if (!ent)
		close(fd);
	return ent;
}

static struct sfs_lock_owner *owner_new(struct sfs_req *req, struct sfs_handle *handle, uint64_t owner,
					struct sfs_fdent *ent, uint32_t open_flags)
{
	struct sfs_session *se = req->session;
	struct lock_table *t = &se->locks;
	struct sfs_lock_owner *o;

	/* After a RELEASE nobody would look for it any more. */
	if (atomic_load_explicit(&handle->state, memory_order_acquire) != SFS_REC_LIVE)
		return NULL;
	o = owner_alloc(t);
	if (!o)
		return NULL;
	o->nodeid = handle->nodeid;
	o->owner = owner;
	o->fd_idx = (uint32_t)(ent - se->fds) + 1;
	o->open_flags = open_flags;
	o->pid = req->in.pid;
	o->granted = o->loose = false;
	o->held = o->flying = 0;
	o->added = 0;
	o->serial = ++t->serial ? t->serial : ++t->serial;
	owner_link(se, o, handle);
	return o;
}

struct sfs_fdent *sfs_lock_owner_add(struct sfs_req *req, struct sfs_handle *handle, uint64_t owner, int fd,
				     uint32_t open_flags)
{
	struct sfs_session *se = req->session;
	struct sfs_fdent *ent = fd_enter(se, fd), *use;
	struct sfs_lock_owner *o;

	if (!ent)
		return NULL;
	locks_lock(se);
	o = owner_get(&se->locks, handle->nodeid, owner);
	if (!o)
		o = owner_new(req, handle, owner, ent, open_flags);
	use = o ? owner_pin(req, o) : NULL;
	locks_unlock(se);
	if (use != ent)
		sfs_fd_unlink(se, ent);
	if (!use)
		sfs_session_limit_hit(se);
	return use;
}

struct sfs_fdent *sfs_lock_owner_swap(struct sfs_req *req, uint64_t nodeid, uint64_t owner,
				      struct sfs_fdent *old, int fd, uint32_t open_flags)
{
	struct sfs_session *se = req->session;
	struct sfs_fdent *ent = fd_enter(se, fd), *use = NULL;
	struct sfs_lock_owner *o;

	if (!ent)
		return NULL;
	locks_lock(se);
	o = owner_get(&se->locks, nodeid, owner);
	/* Who has the old one pinned could be locking with it: only we may. */
	if (o && &se->fds[o->fd_idx - 1] == old && atomic_load(&old->pins) == (SFS_PINS_LIVE | 1)) {
		o->fd_idx = (uint32_t)(ent - se->fds) + 1;
		o->open_flags = open_flags;
		use = owner_pin(req, o);
	}
	locks_unlock(se);
	sfs_fd_unlink(se, use ? old : ent);
	return use;
}

/* Unlinked, but for the request's pin. */
static struct sfs_fdent *owner_forget(struct sfs_req *req, struct sfs_lock_owner *o)
{
	struct sfs_fdent *ent;

	if (!o)
		return NULL;
	owner_pin(req, o);
	ent = owner_remove(req->session, o);
	sfs_fd_unlink(req->session, ent);
	return ent;
}

struct sfs_fdent *sfs_lock_owner_drop(struct sfs_req *req, uint64_t nodeid, uint64_t owner)
{
	struct sfs_session *se = req->session;
	struct sfs_fdent *ent;

	if (!sfs_lock_owner_any(se))
		return NULL;
	locks_lock(se);
	ent = owner_forget(req, owner_get(&se->locks, nodeid, owner));
	locks_unlock(se);
	return ent;
}

struct sfs_fdent *sfs_lock_owner_pop(struct sfs_req *req, struct sfs_handle *handle)
{
	struct sfs_session *se = req->session;
	struct sfs_fdent *ent;
	uint32_t first;

	if (!sfs_lock_owner_any(se))
		return NULL;
	locks_lock(se);
	first = atomic_load_explicit(&handle->locks, memory_order_relaxed);
	ent = owner_forget(req, first ? &se->locks.owners[first - 1] : NULL);
	locks_unlock(se);
	return ent;
}

/*
 * The next owner that is @wanted, which may note what it likes: *@pos goes on. Its descriptor, pinned by @req; NULL: no more. The lock is let go of
 * from time to time.
 */
static struct sfs_fdent *owners_scan(struct sfs_req *req, uint32_t *pos,
				     bool (*wanted)(const struct sfs_lock_owner *o, void *arg), void *arg)
{
	struct sfs_session *se = req->session;
	struct lock_table *t = &se->locks;
	struct sfs_fdent *ent = NULL;
	uint32_t high;

	do {
		locks_lock(se);
		high = t->high;
		for (unsigned i = 0; i < SCAN_STEPS && *pos < high && !ent; i++) {
			const struct sfs_lock_owner *o = &t->owners[(*pos)++];

			if (o->fd_idx && wanted(o, arg))
				ent = owner_pin(req, o);
		}
		locks_unlock(se);
	} while (!ent && *pos < high);
	return ent;
}

struct of_node {
	uint64_t nodeid;
	struct sfs_lock_holder *holder;
};

static bool wants_node(const struct sfs_lock_owner *o, void *arg)
{
	const struct of_node *of = arg;

	if (o->nodeid != of->nodeid)
		return false;
	*of->holder = (struct sfs_lock_holder){.owner = o->owner, .pid = o->pid};
	return true;
}

struct sfs_fdent *sfs_lock_owner_next(struct sfs_req *req, uint64_t nodeid, uint32_t *pos,
				      struct sfs_lock_holder *holder)
{
	struct of_node of = {nodeid, holder};

	return owners_scan(req, pos, wants_node, &of);
}

void sfs_locks_handle_gone(struct sfs_session *se, struct sfs_handle *h)
{
	uint32_t first;

	sfs_lock_flock_uncount(se, h);
	do {
		struct sfs_fdent *ent;

		locks_lock(se);
		first = atomic_load_explicit(&h->locks, memory_order_relaxed);
		ent = first ? owner_remove(se, &se->locks.owners[first - 1]) : NULL;
		locks_unlock(se);
		if (ent)
			sfs_fd_unlink(se, ent);
	} while (first);
}

void sfs_locks_reset(const struct sfs_reset *r)
{
	struct sfs_session *se = r->se;
	struct lock_table *t = &se->locks;
	bool more = true;

	/* A request that hangs may come back meanwhile, and add an owner or drop one. */
	for (uint32_t i = 0; more; i++) {
		struct sfs_fdent *ent;

		if (!sfs_reset_lock(r))
			return;
		locks_lock(se);
		more = i < t->high;
		ent = more && t->owners[i].fd_idx ? owner_remove(se, &t->owners[i]) : NULL;
		locks_unlock(se);
		sfs_reset_unlock(r);
		if (ent)
			sfs_fd_unlink(se, ent); /* may block */
	}
}

/* --- how many there are --- */

/* For ever those of one use of a record. */
static struct sfs_lock_owner *owner_of(struct lock_table *t, const struct sfs_lock_count *c)
{
	struct sfs_lock_owner *o = owner_get(t, c->nodeid, c->owner);

	return o && o->serial == c->serial ? o : NULL;
}

static struct sfs_lock_count count_of(const struct sfs_lock_owner *o)
{
	return (struct sfs_lock_count){.nodeid = o->nodeid,
				       .owner = o->owner,
				       .serial = o->serial,
				       .flying = o->flying,
				       .added = o->added};
}

/*
 * The owner held @locks after @c was taken, and since then changes that may have added @own were counted in: it holds no more than that and
 * what others add. True: there were no others.
 */
static bool owner_settle(struct lock_table *t, struct sfs_lock_owner *o, const struct sfs_lock_count *c,
			 uint32_t locks, uint32_t own)
{
	uint64_t others = c->flying + (o->added - c->added - own), most = locks + others;

	if (most < o->held) {
		t->held -= o->held - (uint32_t)most;
		o->held = (uint32_t)most;
	}
	o->loose = others != 0;
	return others == 0;
}

bool sfs_lock_count_begin(struct sfs_req *req, struct sfs_lock_count *c)
{
	struct sfs_session *se = req->session;
	struct sfs_lock_owner *o;

	locks_lock(se);
	o = owner_get(&se->locks, req->in.nodeid, req->arg.lk.owner);
	if (o)
		*c = count_of(o);
	locks_unlock(se);
	return o;
}

static bool wants_count(const struct sfs_lock_owner *o, void *arg)
{
	if (!o->loose || o->held < 2)
		return false;
	*(struct sfs_lock_count *)arg = count_of(o);
	return true;
}

struct sfs_fdent *sfs_lock_count_next(struct sfs_req *req, uint32_t *pos, struct sfs_lock_count *c)
{
	return owners_scan(req, pos, wants_count, c);
}

void sfs_lock_count_end(struct sfs_session *se, const struct sfs_lock_count *c, uint32_t locks)
{
	struct lock_table *t = &se->locks;
	struct sfs_lock_owner *o;

	locks_lock(se);
	o = owner_of(t, c);
	if (o)
		owner_settle(t, o, c, locks, 0);
	locks_unlock(se);
}

/* Where the change leaves nothing of what there was, what there is then is known. */
static void change_fill(struct sfs_lock_change *c, const struct sfs_lock_owner *o,
			const struct fuse_lk_in *in, const struct sfs_lock_look *look)
{
	bool unlock = in->lk.type == F_UNLCK;

	c->all = o->held == 0 || (in->lk.start <= o->start && in->lk.end >= o->end);
	if (look) {
		c->before = look->count;
		c->known = true;
		c->after = look->after;
		c->adds = SFS_MAX(look->adds, 1u);
		return;
	}
	c->before = count_of(o);
	c->known = c->all;
	c->after = unlock ? 0 : 1;
	/* In the midst of another kind of lock, or of nothing. */
	c->adds = c->all ? c->after : unlock ? 1 : 2;
}

bool sfs_lock_change_begin(struct sfs_req *req, const struct sfs_lock_look *look, struct sfs_lock_change *c)
{
	const struct fuse_lk_in *in = &req->arg.lk;
	struct sfs_session *se = req->session;
	struct lock_table *t = &se->locks;
	struct sfs_lock_owner *o;
	bool unlock = in->lk.type == F_UNLCK, fits = true;
	uint32_t adds;

	*c = (struct sfs_lock_change){0};
	locks_lock(se);
	o = owner_get(t, req->in.nodeid, in->owner);
	if (o && (!look || look->count.serial == o->serial)) {
		change_fill(c, o, in, look);
		adds = look ? look->adds : c->adds;
		/* Who unlocks one after the other is not made to look at each. */
		fits = adds == 0 || t->held + adds <= t->held_max + (unlock ? t->held_max / UNLOCK_PART : 0);
	}
	if (o && fits && c->before.serial) {
		if (!unlock) {
			o->start = o->held ? SFS_MIN(o->start, in->lk.start) : in->lk.start;
			o->end = o->held ? SFS_MAX(o->end, in->lk.end) : in->lk.end;
		}
		o->held += c->adds;
		o->flying += c->adds;
		o->added += c->adds;
		t->held += c->adds;
	}
	locks_unlock(se);
	return fits;
}

void sfs_lock_change_end(struct sfs_req *req, const struct sfs_lock_change *c, bool done)
{
	const struct fuse_lk_in *in = &req->arg.lk;
	struct sfs_session *se = req->session;
	struct lock_table *t = &se->locks;
	struct sfs_lock_owner *o;

	locks_lock(se);
	o = owner_of(t, &c->before);
	if (o) {
		o->flying -= c->adds;
		if (!done) {
			o->held -= c->adds;
			t->held -= c->adds;
		} else if (!c->known) {
			o->loose = true;
		} else if (owner_settle(t, o, &c->before, c->after, c->adds) && c->all) {
			o->start = in->lk.start;
			o->end = in->lk.end;
		}
		if (done && in->lk.type != F_UNLCK)
			o->granted = true;
	}
	locks_unlock(se);
}

bool sfs_lock_flock_count(struct sfs_session *se, struct sfs_handle *h, bool *first)
{
	struct lock_table *t = &se->locks;
	bool fits = true;

	locks_lock(se);
	*first = !atomic_load_explicit(&h->flocked, memory_order_relaxed);
	if (*first) {
		fits = t->held < t->held_max;
		t->held += fits;
		atomic_store_explicit(&h->flocked, fits, memory_order_relaxed);
	}
	locks_unlock(se);
	return fits;
}

void sfs_lock_flock_uncount(struct sfs_session *se, struct sfs_handle *h)
{
	locks_lock(se);
	se->locks.held -= atomic_exchange_explicit(&h->flocked, 0, memory_order_relaxed);
	locks_unlock(se);
}

/* --- who waits --- */

struct sfs_lock_wait sfs_lock_wait_of(const struct sfs_req *req)
{
	struct sfs_session *se = req->session;
	struct sfs_lock_wait w;

	locks_lock(se);
	assert(req->lock_wait);
	w = se->locks.waits[req->lock_wait - 1].wait;
	locks_unlock(se);
	return w;
}

void sfs_lock_wait_add(struct sfs_req *req)
{
	const struct fuse_lk_in *in = &req->arg.lk;
	struct sfs_session *se = req->session;
	struct lock_table *t = &se->locks;
	uint32_t at;

	locks_lock(se);
	at = t->wait_free;
	if (at)
		t->wait_free = t->waits[at - 1].next_free;
	else
		at = ++t->wait_high;
	assert(at <= t->wait_cap); /* no more wait than limits.lock_waiters */
	t->waits[at - 1].wait = (struct sfs_lock_wait){.nodeid = req->in.nodeid,
						       .owner = in->owner,
						       .start = in->lk.start,
						       .end = in->lk.end,
						       .serial = ++t->wait_serial,
						       .type = in->lk.type};
	locks_unlock(se);
	req->lock_wait = at;
}

void sfs_lock_wait_forget(struct sfs_req *req)
{
	struct sfs_session *se = req->session;
	struct lock_table *t = &se->locks;
	uint32_t at = req->lock_wait;

	if (!at)
		return;
	req->lock_wait = 0;
	locks_lock(se);
	t->waits[at - 1].wait.type = F_UNLCK;
	t->waits[at - 1].next_free = t->wait_free;
	t->wait_free = at;
	locks_unlock(se);
}

bool sfs_lock_wait_suspect(const struct sfs_req *req)
{
	struct sfs_session *se = req->session;
	struct lock_table *t = &se->locks;
	uint64_t me = req->arg.lk.owner;
	bool found = false;

	locks_lock(se);
	for (uint32_t i = 0; i < t->wait_high && !found; i++) {
		const struct sfs_lock_wait *w = &t->waits[i].wait;
		const struct sfs_lock_owner *o;

		if (w->type == F_UNLCK || w->owner == me)
			continue;
		o = owner_get(t, w->nodeid, me);
		found = o && o->granted;
	}
	locks_unlock(se);
	return found;
}

unsigned sfs_lock_waits_get(struct sfs_session *se, uint64_t owner, uint64_t serial,
			    struct sfs_lock_wait *waits, unsigned max)
{
	struct lock_table *t = &se->locks;
	unsigned n = 0;

	locks_lock(se);
	for (uint32_t i = 0; i < t->wait_high && n < max; i++) {
		const struct sfs_lock_wait *w = &t->waits[i].wait;

		if (w->type != F_UNLCK && w->owner == owner && w->serial < serial)
			waits[n++] = *w;
	}
	locks_unlock(se);
	return n;
}
