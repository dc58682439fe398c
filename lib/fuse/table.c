/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors and handles. See sfs_table.h for the rules of pins.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plant.h"
#include "session_priv.h"

#define LIVE SFS_PINS_LIVE

#define CLOSE_WAITING_MAX 256

/* --- free records --- */

void free_stack_push(struct free_stack *s, uint32_t idx, uint32_t *next)
{
	uint64_t head = atomic_load_explicit(&s->head, memory_order_relaxed), want;

	do {
		__atomic_store_n(next, (uint32_t)head, __ATOMIC_RELAXED);
		want = ((head >> 32) + 1) << 32 | (idx + 1);
	} while (!atomic_compare_exchange_weak_explicit(&s->head, &head, want, memory_order_release,
							memory_order_relaxed));
}

uint32_t free_stack_pop(struct free_stack *s, void *records, size_t record_bytes, size_t next_off)
{
	uint64_t head = atomic_load_explicit(&s->head, memory_order_acquire), want;
	uint32_t idx;

	do {
		if ((uint32_t)head == 0)
			return NO_IDX;
		idx = (uint32_t)head - 1;
		/* May be stale if another thread was faster: then the counter has moved and the exchange fails. */
		const uint32_t *next = (void *)((char *)records + idx * record_bytes + next_off);

		want = ((head >> 32) + 1) << 32 | __atomic_load_n(next, __ATOMIC_RELAXED);
	} while (!atomic_compare_exchange_weak_explicit(&s->head, &head, want, memory_order_acquire,
							memory_order_acquire));
	return idx;
}

uint32_t free_stack_take(struct free_stack *s)
{
	uint64_t head = atomic_load(&s->head), want;

	do {
		want = ((head >> 32) + 1) << 32;
	} while (!atomic_compare_exchange_weak(&s->head, &head, want));
	return (uint32_t)head;
}

uint32_t sfs_high_take(_Atomic uint32_t *high, uint32_t cap)
{
	uint32_t n = atomic_load_explicit(high, memory_order_relaxed);

	do {
		if (n >= cap)
			return NO_IDX;
	} while (!atomic_compare_exchange_weak(high, &n, n + 1));
	return n;
}

bool sfs_pins_tryget(_Atomic uint32_t *pins)
{
	uint32_t n = atomic_load_explicit(pins, memory_order_relaxed);

	do {
		if (!(n & LIVE))
			return false;
	} while (!atomic_compare_exchange_weak_explicit(pins, &n, n + 1, memory_order_acquire,
							memory_order_relaxed));
	return true;
}

void *sfs_table_map(size_t bytes)
{
	void *p =
	    mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* --- descriptors --- */

int sfs_fds_create(struct sfs_session *se)
{
	struct rlimit files = {.rlim_cur = 0};

	se->fd_cap = se->limits.fds + se->limits.node_fds;
	getrlimit(RLIMIT_NOFILE, &files);
	/* Where files are few, none stays open for a moment longer than it has to. */
	se->fd_plenty = (uint32_t)SFS_MIN((rlim_t)se->fd_cap, files.rlim_cur) / 2;
	se->fds = sfs_table_map(se->fd_cap * sizeof(*se->fds));
	return se->fds ? 0 : -ENOMEM;
}

/* Frees the entry of a descriptor that is closed. */
static void fd_free(struct sfs_session *se, struct sfs_fdent *ent)
{
	__atomic_store_n(&ent->fd, -1, __ATOMIC_RELAXED); /* sfs_node_see() may look */
	atomic_fetch_sub_explicit(&se->fd_count, 1, memory_order_relaxed);
	free_stack_push(&se->fd_free, (uint32_t)(ent - se->fds), &ent->next_free);
}

/* Closes the descriptor of an entry that nobody can reach any more, and frees the entry. */
static void fd_close(struct sfs_session *se, struct sfs_fdent *ent)
{
	/* The system call itself: glibc's close() is a cancellation point, which costs a threaded program two atomic
	 * operations. */
	syscall(SYS_close, ent->fd);
	fd_free(se, ent);
}

/* --- closed together --- */

static __thread struct sfs_closing *closing;
static __thread struct sfs_session *closing_se;

/* In order of their numbers; they nearly are. */
static void closing_sort(struct sfs_closing *c)
{
	for (unsigned i = 1; i < c->count; i++) {
		struct sfs_fdent *ent = c->ents[i];
		unsigned k = i;

		for (; k && c->ents[k - 1]->fd > ent->fd; k--)
			c->ents[k] = c->ents[k - 1];
		c->ents[k] = ent;
	}
}

/* Numbers in a row are one call's: all of them are ours, so none is anybody else's. */
static void closing_flush(struct sfs_session *se, struct sfs_closing *c)
{
	uint64_t begin = sfs_ticks();

	closing_sort(c);
	for (unsigned i = 0, n; i < c->count; i += n) {
		int first = c->ents[i]->fd;

		for (n = 1; i + n < c->count && c->ents[i + n]->fd == first + (int)n; n++)
			;
		if (n == 1 || syscall(SYS_close_range, first, first + (int)n - 1, 0) < 0)
			for (unsigned k = 0; k < n; k++)
				syscall(SYS_close, first + (int)k);
		for (unsigned k = 0; k < n; k++)
			fd_free(se, c->ents[i + k]);
	}
	c->count = 0;
	if (se->policy == SFS_BLOCK_AUTO)
		sfs_session_call_cost(se, SFS_CALL_CHANGES, sfs_ticks() - begin);
}

void sfs_closes_begin(struct sfs_session *se, struct sfs_closing *to)
{
	closing = to;
	closing_se = se;
}

void sfs_closes_end(struct sfs_session *se, struct sfs_closing *to)
{
	closing = NULL;
	if (to->count)
		closing_flush(se, to);
}

/* Whether the close of @ent is put off to the end of the turn. */
static bool fd_close_later(struct sfs_session *se, struct sfs_fdent *ent)
{
	if (!closing || closing_se != se ||
	    atomic_load_explicit(&se->fd_count, memory_order_relaxed) >= se->fd_plenty)
		return false;
	if (closing->count == SFS_CLOSING_MAX)
		closing_flush(se, closing);
	closing->ents[closing->count++] = ent;
	return true;
}

/* Worker: closes all that waits now. */
static void close_list(struct sfs_session *se)
{
	uint32_t at = atomic_exchange(&se->close_head, 0);

	while (at) {
		struct sfs_fdent *ent = &se->fds[at - 1];

		at = ent->next_free;
		fd_close(se, ent);
		atomic_fetch_sub(&se->close_count, 1);
	}
}

static void close_waiting(struct sfs_call *call)
{
	struct sfs_session *se = SFS_CONTAINER_OF(call, struct sfs_session, close_call);

	do {
		close_list(se);
		atomic_store(&se->close_busy, false);
		/* Another one may have come before the flag fell: then somebody has to go on. */
	} while (atomic_load(&se->close_head) && !atomic_exchange(&se->close_busy, true));
	/* The session may be freed now. */
	atomic_fetch_sub(&se->close_calls, 1);
}

/* Whether AUTO lets the reactor close now: not in a slow spell, unless workers do not keep up and the table would fill. */
static bool close_inline(const struct sfs_session *se)
{
	if (se->policy != SFS_BLOCK_AUTO)
		return false;
	if (!atomic_load_explicit(&se->slow[SFS_CALL_LOOKS].until_ns, memory_order_relaxed) &&
	    !atomic_load_explicit(&se->slow[SFS_CALL_CHANGES].until_ns, memory_order_relaxed))
		return true;
	return !sfs_session_is_slow(se, SFS_CALL_CHANGES, sfs_now_ns()) ||
	       atomic_load_explicit(&se->close_count, memory_order_relaxed) >= CLOSE_WAITING_MAX;
}

/*
 * The engine of @group may hold the file open. It lets go at the group's next turn, while the descriptor is still open: so the
 * last close, which may block, is never the ring's on a reactor, and the number stays taken until nobody uses the file.
 */
static void fd_wait_for_engine(struct sfs_session *se, struct sfs_fdent *ent, unsigned group)
{
	uint32_t head = atomic_load(&se->drop_head[group]);

	do {
		__atomic_store_n(&ent->next_free, head, __ATOMIC_RELAXED); /* as in free_stack_push() */
	} while (!atomic_compare_exchange_weak(&se->drop_head[group], &head, (uint32_t)(ent - se->fds) + 1));
	/* The group says that it leaves before it takes the list for the last time. */
	if (atomic_load(&se->group_running[group]))
		session_wake_all(se);
	else
		sfs_fds_drop(se, group, NULL);
}

/* The last pin of an unlinked entry has gone. A close may block (a network filesystem, the last link of a large file): not
 * on a reactor where the share's policy forbids that. */
static void fd_last(struct sfs_session *se, struct sfs_fdent *ent)
{
	uint64_t begin;
	uint32_t head;
	bool ending = atomic_load_explicit(&se->ending, memory_order_relaxed);
	uint64_t holders = atomic_load_explicit(&ent->file.holders, memory_order_acquire);

	if (holders) {
		fd_wait_for_engine(se, ent, (unsigned)__builtin_ctzll(holders));
		return;
	}
	if (sfs_on_worker || !se->workers || (se->policy == SFS_BLOCK_ALWAYS && !ending)) {
		fd_close(se, ent);
		return;
	}
	if (!ending && close_inline(se)) {
		if (fd_close_later(se, ent))
			return;
		begin = sfs_ticks();
		fd_close(se, ent);
		sfs_session_call_cost(se, SFS_CALL_CHANGES, sfs_ticks() - begin);
		return;
	}
	atomic_fetch_add(&se->close_count, 1);
	head = atomic_load(&se->close_head);
	do {
		__atomic_store_n(&ent->next_free, head, __ATOMIC_RELAXED);
	} while (!atomic_compare_exchange_weak(&se->close_head, &head, (uint32_t)(ent - se->fds) + 1));
	if (!atomic_exchange(&se->close_busy, true)) {
		atomic_fetch_add(&se->close_calls, 1);
		se->close_call.fn = close_waiting;
		se->close_call.port = NULL;
		sfs_call_submit(se->workers, &se->close_call);
	}
}

unsigned sfs_fds_drop(struct sfs_session *se, unsigned group, struct sfs_aio *aio)
{
	uint32_t at = atomic_exchange(&se->drop_head[group], 0);
	unsigned n = 0;

	for (; at; n++) {
		struct sfs_fdent *ent = &se->fds[at - 1];

		at = ent->next_free;
		if (aio)
			sfs_aio_files_drop(aio, &ent->file, (uint32_t)(ent - se->fds));
		atomic_fetch_and(&ent->file.holders, ~sfs_group_bit(group));
		fd_last(se, ent); /* the next engine, or the close */
	}
	return n;
}

bool sfs_fds_drain(struct sfs_session *se, uint64_t timeout_ns)
{
	uint64_t until = sfs_now_ns() + timeout_ns;

	while (atomic_load(&se->close_calls)) {
		if (sfs_now_ns() >= until)
			return false;
		sched_yield();
	}
	return true;
}

void sfs_fds_destroy(struct sfs_session *se)
{
	if (!se->fds)
		return;
	for (uint32_t i = 0; i < atomic_load(&se->fd_high); i++)
		if (atomic_load(&se->fds[i].pins) & LIVE)
			close(se->fds[i].fd);
	munmap(se->fds, se->fd_cap * sizeof(*se->fds));
}

void sfs_req_pin_fd(struct sfs_req *req, struct sfs_fdent *ent)
{
	assert(req->pin_fd_count < SFS_REQ_PINS);
	req->pin_fd[req->pin_fd_count++] = ent;
}

struct sfs_fdent *sfs_fd_insert(struct sfs_session *se, struct sfs_req *req, int fd)
{
	uint32_t idx =
	    free_stack_pop(&se->fd_free, se->fds, sizeof(*se->fds), offsetof(struct sfs_fdent, next_free));
	struct sfs_fdent *ent;

	if (idx == NO_IDX)
		idx = sfs_high_take(&se->fd_high, se->fd_cap);
	if (idx == NO_IDX && sfs_on_worker && atomic_load(&se->close_head)) {
		/* Full of what waits to be closed: here it can be. */
		close_list(se);
		idx = free_stack_pop(&se->fd_free, se->fds, sizeof(*se->fds),
				     offsetof(struct sfs_fdent, next_free));
	}
	if (idx == NO_IDX) {
		sfs_session_limit_hit(se);
		return NULL;
	}
	ent = &se->fds[idx];
	__atomic_store_n(&ent->fd, fd, __ATOMIC_RELAXED);
	atomic_store_explicit(&ent->open_flags, O_PATH, memory_order_relaxed);
	atomic_store_explicit(&ent->owner, SFS_FD_USED, memory_order_relaxed);
	atomic_fetch_add_explicit(&se->fd_count, 1, memory_order_relaxed);
	if (req)
		sfs_req_pin_fd(req, ent);
	atomic_store_explicit(&ent->pins, LIVE | (req ? 1 : 0), memory_order_release);
	return ent;
}

bool sfs_fd_trypin(struct sfs_fdent *ent)
{
	return sfs_pins_tryget(&ent->pins);
}

void sfs_fd_unpin(struct sfs_session *se, struct sfs_fdent *ent)
{
	if (atomic_fetch_sub_explicit(&ent->pins, 1, memory_order_acq_rel) == 1)
		fd_last(se, ent);
}

void sfs_fd_unlink(struct sfs_session *se, struct sfs_fdent *ent)
{
	uint32_t was = atomic_fetch_and_explicit(&ent->pins, ~LIVE, memory_order_acq_rel);

	assert(was & LIVE);
	if (was == LIVE)
		fd_last(se, ent);
}

/* --- handles --- */

int sfs_handles_create(struct sfs_session *se)
{
	se->handles = sfs_table_map(se->limits.handles * sizeof(*se->handles));
	return se->handles ? 0 : -ENOMEM;
}

void sfs_handles_destroy(struct sfs_session *se)
{
	if (se->handles)
		munmap(se->handles, se->limits.handles * sizeof(*se->handles));
}

struct sfs_handle *sfs_handle_open(struct sfs_req *req, uint64_t nodeid, int fd, uint32_t open_flags,
				   uint32_t flags, uint64_t *fh)
{
	struct sfs_session *se = req->session;
	struct sfs_fdent *ent = NULL;
	struct sfs_handle *h;
	uint32_t idx;

	idx =
	    free_stack_pop(&se->handle_free, se->handles, sizeof(*h), offsetof(struct sfs_handle, next_free));
	if (idx == NO_IDX)
		idx = sfs_high_take(&se->handle_high, se->limits.handles);
	if (idx == NO_IDX) {
		sfs_session_limit_hit(se);
		return NULL;
	}
	h = &se->handles[idx];
	if (fd >= 0) {
		ent = sfs_fd_insert(se, NULL, fd);
		if (!ent) {
			free_stack_push(&se->handle_free, idx, &h->next_free);
			return NULL;
		}
	}
	h->fd_idx = ent ? (uint32_t)(ent - se->fds) + 1 : 0;
	h->nodeid = nodeid;
	h->open_flags = open_flags;
	h->flags = flags;
	atomic_store_explicit(&h->locks, 0, memory_order_relaxed);
	atomic_store_explicit(&h->flocked, 0, memory_order_relaxed);
	atomic_store_explicit(&h->busy, 0, memory_order_relaxed);
	memset(h->drv, 0, sizeof(h->drv));
	assert(req->pin_handle_count < SFS_ARRAY_SIZE(req->pin_handle));
	req->pin_handle[req->pin_handle_count++] = h;
	*fh = (uint64_t)h->gen << 32 | idx;
	atomic_fetch_add_explicit(&se->handle_count, 1, memory_order_relaxed);
	atomic_store_explicit(&h->state, SFS_REC_LIVE, memory_order_relaxed);
	atomic_store_explicit(&h->pins, LIVE | 1, memory_order_release);
	return h;
}

struct sfs_handle *sfs_handle_pin(struct sfs_req *req, uint64_t nodeid, uint64_t fh, struct sfs_fdent **ent)
{
	struct sfs_session *se = req->session;
	uint32_t idx = (uint32_t)fh, gen = (uint32_t)(fh >> 32);
	struct sfs_handle *h;

	if (idx >= atomic_load_explicit(&se->handle_high, memory_order_acquire))
		return NULL;
	h = &se->handles[idx];
	if (!sfs_pins_tryget(&h->pins))
		return NULL;
	/* Pinned, so it stays what it is: now it can be looked at. */
	assert(req->pin_handle_count < SFS_ARRAY_SIZE(req->pin_handle));
	req->pin_handle[req->pin_handle_count++] = h;
	if (h->gen != gen || h->nodeid != nodeid ||
	    atomic_load_explicit(&h->state, memory_order_acquire) != SFS_REC_LIVE) {
		req->pin_handle_count--;
		sfs_handle_unpin(se, h);
		return NULL;
	}
	/* The handle's pin keeps its descriptor: it is unlinked after the handle's last unpin. */
	if (ent)
		*ent = h->fd_idx ? &se->fds[h->fd_idx - 1] : NULL;
	return h;
}

void sfs_handle_unpin(struct sfs_session *se, struct sfs_handle *h)
{
	if (atomic_fetch_sub_explicit(&h->pins, 1, memory_order_acq_rel) != 1)
		return;
	if (se->fs->handle_free)
		se->fs->handle_free(se, h);
	if (SFS_UNLIKELY(atomic_load_explicit(&h->locks, memory_order_relaxed) ||
			 atomic_load_explicit(&h->flocked, memory_order_relaxed)))
		sfs_locks_handle_gone(se, h);
	if (h->fd_idx)
		sfs_fd_unlink(se, &se->fds[h->fd_idx - 1]);
	h->gen++;
	atomic_store_explicit(&h->state, SFS_REC_FREE, memory_order_release);
	atomic_fetch_sub_explicit(&se->handle_count, 1, memory_order_relaxed);
	free_stack_push(&se->handle_free, (uint32_t)(h - se->handles), &h->next_free);
}

int sfs_handle_release(struct sfs_req *req, uint64_t nodeid, uint64_t fh)
{
	struct sfs_handle *h = sfs_handle_pin(req, nodeid, fh, NULL);

	return h ? sfs_handle_unlink(req->session, h) : -EBADF;
}

int sfs_handle_unlink(struct sfs_session *se, struct sfs_handle *h)
{
	if (!(atomic_fetch_and_explicit(&h->pins, ~LIVE, memory_order_acq_rel) & LIVE))
		return -EBADF; /* another RELEASE was faster */
	atomic_store_explicit(&h->state, SFS_REC_DEAD, memory_order_release);
	if (sfs_plant("stale_fd") && h->fd_idx)
		close(se->fds[h->fd_idx - 1].fd);
	return 0;
}

bool sfs_handle_trylock(struct sfs_handle *h)
{
	return !atomic_exchange_explicit(&h->busy, 1, memory_order_acquire);
}

void sfs_handle_unlock(struct sfs_session *se, struct sfs_handle *h)
{
	atomic_store_explicit(&h->busy, 0, memory_order_release);
	sfs_session_wake(se);
}

void sfs_handles_reset(const struct sfs_reset *r)
{
	struct sfs_session *se = r->se;
	uint32_t high = atomic_load(&se->handle_high);

	for (uint32_t i = 0; i < high; i++) {
		struct sfs_handle *h = &se->handles[i];
		bool pinned;

		if (!(atomic_load(&h->pins) & LIVE))
			continue;
		if (!sfs_reset_lock(r))
			return;
		pinned = sfs_pins_tryget(&h->pins);
		if (pinned) {
			atomic_fetch_and(&h->pins, ~LIVE);
			atomic_store(&h->state, SFS_REC_DEAD);
		}
		sfs_reset_unlock(r);
		if (pinned)
			sfs_handle_unpin(se, h); /* may block */
	}
}
