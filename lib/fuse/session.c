/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session: set-up, negotiation, the operations that are not the filesystem's, and what drivers ask of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "sfs_log.h"
#include "session_priv.h"

/* A call that took longer than this on the reactor sends the share's calls to workers for a while. */
#define SLOW_CALL_US   200
#define SLOW_SPELL_MIN (50 * SFS_NS_PER_MS)
#define SLOW_SPELL_MAX (2 * SFS_NS_PER_S)
#define SLOW_MEMORY    SFS_NS_PER_S
/* Of a share's time a twentieth may be waited away, and this much at once, before workers take over. */
#define WAITED_SHARE 20
#define WAITED_MAX   (2 * SFS_NS_PER_MS)
/* What a long call that did not wait counts at most: the host of a virtual machine may have had the CPU. */
#define WORKED_MAX (500 * SFS_NS_PER_US)
/* More than that is counted in full where it comes again; and more than this at once: no CPU is taken away for so long. */
#define WORKED_LONG    (5 * SFS_NS_PER_MS)
#define WORKED_CERTAIN (50 * SFS_NS_PER_MS)
/* What a node's forgetting counts of a turn, and how many are forgotten before the next look at what is left of it. */
#define FORGET_NS        170
#define FORGETS_TOGETHER 16u
_Static_assert(SFS_BUF_BYTES / sizeof(struct fuse_forget_one) / FORGETS_TOGETHER <= UINT16_MAX,
	       "a step each");
/* How long the end of a session waits for closes that hang before it leaves them their memory. */
#define DRAIN_NS (5 * SFS_NS_PER_S)

/* What the protocol layer itself supports, whatever the filesystem. */
#define PROTO_FLAGS                                                                                          \
	(FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_ASYNC_DIO |        \
	 FUSE_INIT_EXT)

static int op_enosys(struct sfs_req *req)
{
	return -ENOSYS;
}

static void session_bind_ops(struct sfs_session *se)
{
	for (unsigned i = 0; i < SFS_OP_COUNT; i++) {
		const struct sfs_op *op = sfs_op_get(i);

		se->fn[i] = op_enosys;
		if (op && op->slot != 0xffff) {
			sfs_op_fn fn;

			memcpy(&fn, (const char *)se->fs + op->slot, sizeof(fn));
			if (fn)
				se->fn[i] = fn;
		}
	}
	se->fn[FUSE_INIT] = sfs_session_op_init;
	se->fn[FUSE_DESTROY] = sfs_session_op_destroy;
	se->fn[FUSE_FORGET] = sfs_session_op_forget;
	se->fn[FUSE_BATCH_FORGET] = sfs_session_op_batch_forget;
	se->fn[FUSE_INTERRUPT] = sfs_session_op_interrupt;
}

static void session_free(struct sfs_session *se)
{
	sfs_fds_destroy(se);
	sfs_locks_destroy(se);
	sfs_handles_destroy(se);
	sfs_nodes_destroy(se);
	free(se);
}

static void init_limits_set(struct sfs_init_limits *to, const struct sfs_init_limits *from)
{
	*to = *from;
	if (!to->max_write_bytes)
		to->max_write_bytes = SFS_FUSE_MAX_WRITE;
	if (!to->max_readahead_bytes)
		to->max_readahead_bytes = UINT32_MAX;
	if (!to->max_background)
		to->max_background = UINT16_MAX;
	if (!to->congestion_threshold)
		to->congestion_threshold = (to->max_background * 3 + 3) / 4;
	if (!to->time_gran_ns)
		to->time_gran_ns = 1;
}

int sfs_session_create(const struct sfs_session_opts *o, struct sfs_session **out)
{
	struct sfs_session *se = NULL;

	if (o->lane_count > LANES_MAX || o->reactor_count > REACTORS_MAX || o->limits.inodes < 2 ||
	    !o->limits.handles || !o->limits.fds)
		return -EINVAL;
	if (posix_memalign((void **)&se, SFS_CACHE_LINE, sizeof(*se)))
		return -ENOMEM;
	memset(se, 0, sizeof(*se));
	atomic_flag_clear(&se->guest_lock);
	se->fs = o->fs;
	se->fs_ctx = o->fs_ctx;
	se->limits = o->limits;
	se->policy = o->block_policy;
	se->slow_ticks = SLOW_CALL_US * sfs_ticks_per_us();
	se->driver_flags = o->init_flags;
	se->needed_flags = o->needed_flags;
	init_limits_set(&se->init, &o->init);
	se->lane_count = o->lane_count;
	se->reactor_count = o->reactor_count;
	for (unsigned i = 0; i < o->reactor_count; i++)
		se->reactors[i] = o->reactors[i];
	se->workers = o->workers;
	session_bind_ops(se);
	if (sfs_nodes_create(se) || sfs_handles_create(se) || sfs_fds_create(se) || sfs_locks_create(se)) {
		session_free(se);
		return -ENOMEM;
	}
	*out = se;
	return 0;
}

void sfs_session_destroy(struct sfs_session *se)
{
	if (!se)
		return;
	sfs_session_end(se);
	/* A close that hangs uses the tables: they stay with it. */
	if (sfs_fds_drain(se, DRAIN_NS))
		session_free(se);
}

int sfs_session_begin(struct sfs_session *se)
{
	return se->fs->session_begin(se->fs_ctx, se);
}

bool sfs_reset_lock(const struct sfs_reset *r)
{
	session_guest_lock(r->se);
	if (r->guest == r->se->guest && !(r->lane && r->lane->given_up))
		return true;
	session_guest_unlock(r->se);
	return false;
}

void sfs_reset_unlock(const struct sfs_reset *r)
{
	session_guest_unlock(r->se);
}

static void session_empty(const struct sfs_reset *r, bool root_too)
{
	sfs_locks_reset(r);
	sfs_handles_reset(r);
	sfs_nodes_reset(r, root_too);
	if (!sfs_reset_lock(r))
		return;
	r->se->inited = false;
	sfs_reset_unlock(r);
}

void sfs_session_end(struct sfs_session *se)
{
	struct sfs_reset r = {.se = se};

	/* A reset that hangs takes nothing any more. */
	session_guest_lock(se);
	r.guest = ++se->guest;
	session_guest_unlock(se);
	if (se->fs->session_end)
		se->fs->session_end(se->fs_ctx, se);
	atomic_store(&se->barrier, NULL);
	atomic_store(&se->ending, true);
	session_empty(&r, true);
	atomic_store(&se->ending, false);
	atomic_store(&se->refused, false);
	se->init_flags = 0;
}

void sfs_session_lane_join(struct sfs_session *se, unsigned idx)
{
	atomic_store(&se->lane_ack[idx], 0);
	atomic_store(&se->lane_running[idx], true);
}

void sfs_session_lane_leave(struct sfs_session *se, unsigned idx)
{
	atomic_store(&se->lane_running[idx], false);
	/* A barrier may have waited for this lane alone. */
	session_wake_all(se);
}

/* --- the session's own operations --- */

/* What INIT and DESTROY begin with: whose tables they are about, however long they wait or hang. */
static int reset_barrier(struct sfs_req *req)
{
	struct sfs_reset *r = SFS_REQ_DRV(req, struct sfs_reset);
	struct sfs_session *se = req->session;

	session_guest_lock(se);
	*r = (struct sfs_reset){.se = se, .lane = req->lane, .guest = se->guest};
	session_guest_unlock(se);
	return sfs_req_barrier(req, 1);
}

static int64_t reset_call(struct sfs_req *req)
{
	session_empty(SFS_REQ_DRV(req, struct sfs_reset), false);
	return 0;
}

/* Empties the tables inside a barrier; descriptors are closed, so on a worker where there is one. */
static int session_reset(struct sfs_req *req, uint16_t step)
{
	if (req->lane->workers)
		return sfs_req_call(req, step, reset_call);
	reset_call(req);
	req->step = step;
	return SFS_AGAIN;
}

/* False: by now the session is another guest's. */
static bool session_agree(struct sfs_req *req, uint32_t minor, uint64_t flags)
{
	const struct sfs_reset *r = SFS_REQ_DRV(req, struct sfs_reset);
	struct sfs_session *se = req->session;

	if (!sfs_reset_lock(r))
		return false;
	se->minor = minor;
	se->init_flags = flags;
	se->inited = true;
	sfs_reset_unlock(r);
	return true;
}

static int init_negotiate(struct sfs_req *req)
{
	struct sfs_session *se = req->session;
	const struct fuse_init_in *in = &req->arg.init;
	struct fuse_init_out *out = &req->out.init;
	uint64_t offered = in->flags, flags;

	out->major = FUSE_KERNEL_VERSION;
	out->minor = SFS_FUSE_MINOR;
	req->out_bytes = sizeof(*out);
	if (in->major > FUSE_KERNEL_VERSION)
		return SFS_DONE; /* the guest comes again with our major version */
	if (in->major < FUSE_KERNEL_VERSION || in->minor < SFS_FUSE_MINOR_MIN) {
		/* The guest may ask as often as it likes. */
		if (!atomic_exchange(&se->refused, true))
			SFS_ERROR("guest speaks FUSE %u.%u; 7.%u is the oldest supported", in->major,
				  in->minor, SFS_FUSE_MINOR_MIN);
		return -EPROTO;
	}
	if (offered & FUSE_INIT_EXT)
		offered |= (uint64_t)in->flags2 << 32;
	if (se->needed_flags & ~offered) {
		if (!atomic_exchange(&se->refused, true))
			SFS_ERROR("guest lacks INIT flags 0x%llx that the share needs: a newer kernel, or "
				  "\"auto\" in place "
				  "of \"always\" for posix_acl and security_label",
				  (unsigned long long)(se->needed_flags & ~offered));
		return -EPROTO;
	}
	flags = offered & (PROTO_FLAGS | se->driver_flags);
	/* The host applies access lists, and with them the umask, or nobody does. */
	if ((flags & SFS_FUSE_ACL_FLAGS) != SFS_FUSE_ACL_FLAGS)
		flags &= ~SFS_FUSE_ACL_FLAGS;
	if (flags & FUSE_HANDLE_KILLPRIV_V2) /* the older form of the same is for guests that know no other */
		flags &= ~(uint64_t)FUSE_HANDLE_KILLPRIV;
	if (!session_agree(req, SFS_MIN(in->minor, (uint32_t)SFS_FUSE_MINOR), flags))
		return -EIO;
	out->max_readahead = SFS_MIN(se->init.max_readahead_bytes, in->max_readahead);
	out->flags = (uint32_t)flags;
	out->flags2 = (uint32_t)(flags >> 32);
	out->max_background = (uint16_t)se->init.max_background;
	out->congestion_threshold = (uint16_t)se->init.congestion_threshold;
	out->max_write = se->init.max_write_bytes;
	if (flags & FUSE_MAX_PAGES)
		out->max_pages = (uint16_t)((out->max_write + SFS_FUSE_PAGE - 1) / SFS_FUSE_PAGE);
	else
		out->max_write = SFS_MIN(out->max_write, 32u * SFS_FUSE_PAGE);
	out->time_gran = se->init.time_gran_ns;
	SFS_DEBUG("INIT: guest 7.%u flags 0x%llx, agreed 0x%llx", in->minor, (unsigned long long)offered,
		  (unsigned long long)flags);
	return SFS_DONE;
}

int sfs_session_op_init(struct sfs_req *req)
{
	switch (req->step) {
	case 0:
		return reset_barrier(req);
	case 1:
		/* A guest that boots again leaves nothing behind. For the first one there is nothing to close: it is let in
		 * even where the workers still hang in what its predecessor left. */
		if (req->session->inited)
			return session_reset(req, 2);
		return init_negotiate(req);
	default:
		return init_negotiate(req);
	}
}

int sfs_session_op_destroy(struct sfs_req *req)
{
	switch (req->step) {
	case 0:
		return reset_barrier(req);
	case 1:
		return session_reset(req, 2);
	default:
		return SFS_DONE;
	}
}

int sfs_session_op_forget(struct sfs_req *req)
{
	sfs_node_forget(req->session, req->in.nodeid, req->arg.forget.nlookup);
	return SFS_DONE;
}

/* Many take some turns: see SFS_LANE_SHARE_NS. */
int sfs_session_op_batch_forget(struct sfs_req *req)
{
	uint32_t count = req->arg.batch_forget.count;
	struct fuse_forget_one one;

	if (count > req->extra_bytes / sizeof(one))
		count = req->extra_bytes / sizeof(one);
	for (uint32_t i = (uint32_t)req->step * FORGETS_TOGETHER, end; i < count; i = end) {
		if (sfs_lane_sated(req->lane))
			return sfs_req_yield(req, (uint16_t)(i / FORGETS_TOGETHER));
		end = SFS_MIN(i + FORGETS_TOGETHER, count);
		req->lane->share_ns -= (int64_t)(end - i) * FORGET_NS;
		for (uint32_t k = i; k < end; k++) {
			memcpy(&one, req->extra + k * sizeof(one), sizeof(one));
			sfs_node_forget(req->session, one.nodeid, one.nlookup);
		}
	}
	return SFS_DONE;
}

int sfs_session_op_interrupt(struct sfs_req *req)
{
	/* Nothing is broken off: every request ends by itself, and its guest keeps the pages until then. */
	return SFS_DONE;
}

/* --- where blocking calls run --- */

/*
 * Whether a long call was the filesystem's doing. A thread that was preempted, by whoever shares its CPU, was slow for no
 * fault of the share: it has involuntary context switches and no voluntary ones but its sleeps. Fast calls, too, wait now and
 * then for a moment, so only the switches since the last few calls count.
 */
struct switches {
	uint64_t voluntary, involuntary;
};

static __thread struct switches noted;
__thread unsigned sfs_session_calls;

static bool switches_read(struct switches *sw)
{
	struct rusage ru;

	if (getrusage(RUSAGE_THREAD, &ru) < 0)
		return false;
	sw->voluntary = (uint64_t)ru.ru_nvcsw - sfs_reactor_thread_sleeps();
	sw->involuntary = (uint64_t)ru.ru_nivcsw;
	return true;
}

void sfs_session_switches_note(void)
{
	switches_read(&noted);
}

/* Whether a call of @ns that ends now began soon after the one before. */
static bool worked_again(_Atomic uint64_t *last_ns, uint64_t now, uint64_t ns, uint64_t within)
{
	uint64_t last = atomic_exchange_explicit(last_ns, now, memory_order_relaxed);

	return last && now - ns < last + within;
}

/*
 * What of a call that did not wait is the filesystem's. It worked for that long, or the host of this virtual machine took its CPU away, or other threads
 * of this one: mostly for a moment. Two of them in a short time are the filesystem's; so is one that took longer than a CPU is taken away.
 */
static uint64_t work_blame(struct slow_spell *slow, uint64_t now, uint64_t ns, bool preempted)
{
	if (ns < WORKED_LONG)
		return !preempted && worked_again(&slow->worked_ns, now, ns, SLOW_SPELL_MIN)
			   ? SFS_MIN(ns, WORKED_MAX)
			   : 0;
	if (ns < WORKED_CERTAIN && preempted)
		return 0;
	return worked_again(&slow->worked_long_ns, now, ns, SLOW_MEMORY) ||
		       (ns >= WORKED_CERTAIN && !preempted)
		   ? ns
		   : 0;
}

/* How much of a long call of @ns is the filesystem's. */
static uint64_t call_blame(struct slow_spell *slow, uint64_t now, uint64_t ns)
{
	struct switches before = noted;

	if (!switches_read(&noted))
		return ns;
	/* A sleep that ended at once is no switch, so the difference may fall. */
	if ((int64_t)(noted.voluntary - before.voluntary) > 0)
		return ns;
	return work_blame(slow, now, ns, noted.involuntary != before.involuntary);
}

/* Short waits that are few are everywhere, a journal's for one: they are forgiven at a rate, but for the time that they take themselves. */
static bool waited_too_long(struct slow_spell *slow, uint64_t now, uint64_t took, uint64_t ns)
{
	uint64_t last = atomic_exchange_explicit(&slow->waited_at_ns, now, memory_order_relaxed);
	uint64_t level = atomic_load_explicit(&slow->waited_ns, memory_order_relaxed);
	uint64_t forgiven = now - took > last ? (now - took - last) / WAITED_SHARE : 0;

	level = (level > forgiven ? level - forgiven : 0) + ns;
	atomic_store_explicit(&slow->waited_ns, level < WAITED_MAX ? level : 0, memory_order_relaxed);
	return level >= WAITED_MAX;
}

void sfs_session_call_slow(struct sfs_session *se, enum sfs_call_kind kind, uint64_t ticks)
{
	struct slow_spell *slow = &se->slow[kind];
	uint64_t now = sfs_now_ns(), took = ticks * SFS_NS_PER_US / sfs_ticks_per_us(), spell, last_end;

	if (!waited_too_long(slow, now, took, call_blame(slow, now, took)))
		return;
	/* A spell soon after another is twice as long. */
	spell = atomic_load_explicit(&slow->for_ns, memory_order_relaxed);
	last_end = atomic_load_explicit(&slow->until_ns, memory_order_relaxed);
	if (now > last_end + SLOW_MEMORY)
		spell = 0;
	spell = spell * 2 < SLOW_SPELL_MIN ? SLOW_SPELL_MIN : SFS_MIN(spell * 2, SLOW_SPELL_MAX);
	atomic_store_explicit(&slow->for_ns, spell, memory_order_relaxed);
	atomic_store_explicit(&slow->until_ns, now + spell, memory_order_relaxed);
}

/* --- what drivers ask --- */

void *sfs_session_fs(const struct sfs_session *se)
{
	return se->fs_ctx;
}

uint64_t sfs_session_init_flags(const struct sfs_session *se)
{
	return se->init_flags;
}

uint32_t sfs_session_minor(const struct sfs_session *se)
{
	return se->minor;
}

uint64_t sfs_session_epoch(const struct sfs_session *se)
{
	return atomic_load(&se->epoch);
}

void sfs_session_wake(struct sfs_session *se)
{
	/* The epoch first, then who waits; a waiter enters itself first and looks at the epoch after. */
	atomic_fetch_add(&se->epoch, 1);
	if (atomic_load(&se->waiters))
		session_wake_all(se);
}

void sfs_session_limit_hit(struct sfs_session *se)
{
	atomic_fetch_add_explicit(&se->limit_hits, 1, memory_order_relaxed);
}

void sfs_session_copied(struct sfs_session *se, uint64_t bytes)
{
	atomic_fetch_add_explicit(&se->bytes_copied, bytes, memory_order_relaxed);
}

unsigned sfs_session_tables(const struct sfs_session *se, struct iovec tables[SFS_SESSION_TABLES])
{
	tables[0] = (struct iovec){se->nodes, se->node_cap * sizeof(*se->nodes)};
	tables[1] = (struct iovec){se->buckets, (se->bucket_mask + 1ul) * sizeof(*se->buckets)};
	tables[2] = (struct iovec){se->handles, se->limits.handles * sizeof(*se->handles)};
	tables[3] = (struct iovec){se->fds, se->fd_cap * sizeof(*se->fds)};
	return 4;
}

void sfs_session_figures(const struct sfs_session *se, struct sfs_session_figures *fig)
{
	fig->inodes = atomic_load(&se->inode_count);
	fig->handles = atomic_load(&se->handle_count);
	fig->fds = atomic_load(&se->fd_count);
	fig->limit_hits = atomic_load(&se->limit_hits);
	fig->bytes_copied = atomic_load(&se->bytes_copied);
}

/* --- listings --- */

void sfs_dirbuf_init(struct sfs_dirbuf *d, struct sfs_req *req, uint32_t bytes)
{
	uint64_t room = sfs_req_reply_room(req);

	d->buf = sfs_req_buf(req);
	d->bytes = (uint32_t)SFS_MIN(SFS_MIN((uint64_t)bytes, room), (uint64_t)SFS_BUF_BYTES);
	d->used = 0;
}

static uint32_t dirent_bytes(uint32_t name_bytes, bool plus)
{
	uint32_t fixed = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;

	return FUSE_DIRENT_ALIGN(fixed + name_bytes);
}

bool sfs_dirbuf_fits(const struct sfs_dirbuf *d, uint32_t name_bytes, bool plus)
{
	return dirent_bytes(name_bytes, plus) <= d->bytes - d->used;
}

uint32_t sfs_dirbuf_objects(const struct sfs_dirbuf *d, bool plus)
{
	uint32_t most = (d->bytes - d->used) / dirent_bytes(1, plus);

	return 1 + (plus ? most : most / SFS_REQ_NAMES_PER_OBJECT);
}

bool sfs_dirbuf_add(struct sfs_dirbuf *d, const char *name, uint32_t name_bytes, uint64_t ino, uint64_t off,
		    uint32_t type, const struct fuse_entry_out *entry)
{
	struct fuse_dirent head = {.ino = ino, .off = off, .namelen = name_bytes, .type = type};
	uint32_t bytes = dirent_bytes(name_bytes, entry);
	char *at = d->buf + d->used;

	if (!sfs_dirbuf_fits(d, name_bytes, entry))
		return false;
	if (entry) {
		memcpy(at, entry, sizeof(*entry));
		at += sizeof(*entry);
	}
	memcpy(at, &head, FUSE_NAME_OFFSET);
	memcpy(at + FUSE_NAME_OFFSET, name, name_bytes);
	at += FUSE_NAME_OFFSET + name_bytes;
	d->used += bytes;
	memset(at, 0, (size_t)(d->buf + d->used - at)); /* padding: nothing of an earlier listing leaks */
	return true;
}
