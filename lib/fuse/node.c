/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes: what the guest calls nodeids. Found by key through hash buckets, each under a lock that is held for a few loads;
 * everything else is atomic. A node of count zero stays for the next lookup until its record is wanted.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <unistd.h>

#include "session_priv.h"

#define LIVE SFS_PINS_LIVE

/* Nodes of count zero that may stay, and how many records one insertion looks at to keep to that. */
#define ZERO_KEEP     4096
#define RECLAIM_STEPS 64
/* Of the table: as many insertions as that look at every record, before it is full. */
#define SCARCE_PART (RECLAIM_STEPS / 2)
/* How many one looks at for a record where the table is full: some 100 us. */
#define RECLAIM_STEPS_MAX 16384
/*
 * Nodes of one inode number in a bucket: what had the number before, and still is known, is left there for as long as the guest makes no habit of it.
 */
#define SAME_NUMBER_MAX 8
/* Inode numbers in a row whose buckets are in a row, too: a page. */
#define BUCKET_RUN 1024u

_Static_assert(sizeof(struct sfs_node) == 2 * SFS_CACHE_LINE &&
		   offsetof(struct sfs_node, key.handle_bytes) <= SFS_CACHE_LINE,
	       "what a lookup needs is in one line");
_Static_assert(sizeof(struct sfs_node) + sizeof(struct sfs_fdent) + sizeof(uint32_t) <= 160,
	       "memory per cached inode");

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	return x;
}

/*
 * Inode numbers that are near each other have buckets side by side: files of one directory often are, so that a listing walks
 * along cache lines, and a small table touches few pages.
 */
static uint32_t key_bucket(const struct sfs_session *se, const struct sfs_node_key *k)
{
	uint64_t run = k->ino / BUCKET_RUN * 0x9e3779b97f4a7c15ull + mix(k->dev + k->mnt_idx);

	return ((uint32_t)mix(run) * BUCKET_RUN + k->ino % BUCKET_RUN) & se->bucket_mask;
}

/*
 * Is what @key was formed of the node's object? Where the numbers are, a handle or a birth time tells a reused inode number. Who
 * asks without a handle does not touch the node's second line.
 */
static bool node_has_key(const struct sfs_node *node, const struct sfs_node_key *key)
{
	const struct sfs_node_key *own = &node->key;

	if (own->ino != key->ino || own->dev != key->dev || own->mnt_idx != key->mnt_idx ||
	    own->btime_ns != key->btime_ns)
		return false;
	if (!key->handle_bytes || !own->handle_bytes)
		return true;
	return own->handle_type == key->handle_type && own->handle_bytes == key->handle_bytes &&
	       !memcmp(own->handle, key->handle, own->handle_bytes);
}

void sfs_bucket_lock(struct sfs_session *se, uint32_t b)
{
	while (atomic_flag_test_and_set_explicit(&se->bucket_locks[b % BUCKET_LOCKS], memory_order_acquire))
		sfs_pause();
}

void sfs_bucket_unlock(struct sfs_session *se, uint32_t b)
{
	atomic_flag_clear_explicit(&se->bucket_locks[b % BUCKET_LOCKS], memory_order_release);
}

int sfs_nodes_create(struct sfs_session *se)
{
	uint32_t buckets = 1024;

	se->node_cap = sfs_nodes_cap(se);
	while (buckets < se->limits.inodes && buckets < (1u << 30))
		buckets <<= 1;
	se->bucket_mask = buckets - 1;
	se->nodes = sfs_table_map(se->node_cap * sizeof(*se->nodes));
	se->buckets = sfs_table_map(buckets * sizeof(*se->buckets));
	if (!se->nodes || !se->buckets || sfs_nodes_trim_create(se))
		return -ENOMEM;
	/* Index 0 is never used and index 1 is the root, so that the root's id is FUSE_ROOT_ID. */
	atomic_store(&se->node_high, 2);
	return 0;
}

void sfs_nodes_destroy(struct sfs_session *se)
{
	sfs_nodes_trim_destroy(se);
	if (se->nodes)
		munmap(se->nodes, se->node_cap * sizeof(*se->nodes));
	if (se->buckets)
		munmap(se->buckets, (se->bucket_mask + 1ull) * sizeof(*se->buckets));
}

uint64_t sfs_node_id(const struct sfs_session *se, const struct sfs_node *node)
{
	return (uint64_t)node->gen << 32 | node_idx(se, node);
}

/* --- pins --- */

static void req_pin_node(struct sfs_req *req, struct sfs_node *node)
{
	assert(req->pin_node_count < SFS_REQ_PINS);
	req->pin_node[req->pin_node_count++] = node;
}

static bool node_reclaim(struct sfs_session *se, struct sfs_node *node);

void sfs_node_unpin(struct sfs_session *se, struct sfs_node *node)
{
	bool gone = atomic_load_explicit(&node->flags, memory_order_relaxed) & SFS_NODE_GONE;

	atomic_fetch_sub_explicit(&node->pins, 1, memory_order_release);
	/* The record may be another's by now: then it is in use, or one that nobody counts goes a little earlier. */
	if (SFS_UNLIKELY(gone))
		node_reclaim(se, node);
}

void sfs_node_gone(struct sfs_node *node)
{
	atomic_fetch_or_explicit(&node->flags, SFS_NODE_GONE, memory_order_relaxed);
}

bool sfs_node_hold(struct sfs_node *node)
{
	if (atomic_load_explicit(&node->nlookup, memory_order_relaxed) == 0)
		return false;
	atomic_fetch_or(&node->flags, SFS_NODE_HELD);
	atomic_thread_fence(memory_order_seq_cst); /* before the look at fd_idx: see node_fd.c */
	return true;
}

bool sfs_node_held(const struct sfs_node *node)
{
	return atomic_load_explicit(&node->flags, memory_order_relaxed) & SFS_NODE_HELD;
}

void sfs_node_stale(struct sfs_node *node)
{
	atomic_fetch_or_explicit(&node->flags, SFS_NODE_STALE, memory_order_relaxed);
}

struct sfs_node *sfs_node_pin(struct sfs_req *req, uint64_t nodeid)
{
	struct sfs_session *se = req->session;
	struct sfs_node *node = node_record(se, nodeid);

	if (!node || !sfs_pins_tryget(&node->pins))
		return NULL;
	if (node->gen != (uint32_t)(nodeid >> 32) ||
	    atomic_load_explicit(&node->nlookup, memory_order_relaxed) == 0) {
		sfs_node_unpin(se, node);
		return NULL;
	}
	req_pin_node(req, node);
	return node;
}

/* --- reclaiming records of count zero --- */

/* Whoever took the record off the free stack a little too late may still read where it led there. */
static void node_link(struct sfs_node *node, uint32_t next)
{
	__atomic_store_n(&node->hash_next, next, __ATOMIC_RELAXED);
}

static void bucket_remove(struct sfs_session *se, uint32_t b, struct sfs_node *node)
{
	uint32_t at = atomic_load_explicit(&se->buckets[b], memory_order_relaxed),
		 me = node_idx(se, node) + 1;

	if (at == me) {
		atomic_store_explicit(&se->buckets[b], node->hash_next, memory_order_relaxed);
		return;
	}
	while (at) {
		struct sfs_node *n = &se->nodes[at - 1];

		if (n->hash_next == me) {
			node_link(n, node->hash_next);
			return;
		}
		at = n->hash_next;
	}
}

/* Frees the node if nobody counts or pins it. */
static bool node_reclaim(struct sfs_session *se, struct sfs_node *node)
{
	uint32_t expect = LIVE, b, fd_idx;

	/* The key is stable while the record is live, and checked again under the lock by the pins. */
	if (atomic_load_explicit(&node->pins, memory_order_acquire) != LIVE ||
	    atomic_load_explicit(&node->nlookup, memory_order_relaxed) != 0)
		return false;
	b = atomic_load_explicit(&node->bucket, memory_order_relaxed);
	sfs_bucket_lock(se, b);
	if (atomic_load(&node->bucket) != b || atomic_load(&node->nlookup) != 0 ||
	    !atomic_compare_exchange_strong(&node->pins, &expect, 0)) {
		sfs_bucket_unlock(se, b);
		return false;
	}
	if (!(atomic_load_explicit(&node->flags, memory_order_relaxed) & SFS_NODE_UNHASHED))
		bucket_remove(se, b, node);
	sfs_bucket_unlock(se, b);
	atomic_fetch_sub(&se->node_zero, 1);
	fd_idx = atomic_load(&node->fd_idx);
	if (fd_idx)
		sfs_node_drop_fd(se, node, fd_idx);
	if (se->fs->node_evict)
		se->fs->node_evict(se, node);
	__atomic_store_n(&node->gen, node->gen + 1, __ATOMIC_RELAXED); /* who sees without a pin may look */
	atomic_store_explicit(&node->state, SFS_REC_FREE, memory_order_release);
	atomic_fetch_sub_explicit(&se->inode_count, 1, memory_order_relaxed);
	free_stack_push(&se->node_free, node_idx(se, node), &node->hash_next);
	return true;
}

void sfs_nodes_sweep(struct sfs_session *se, unsigned steps, unsigned enough)
{
	uint32_t high = atomic_load(&se->node_high);

	while (steps-- && enough) {
		uint32_t idx = atomic_fetch_add_explicit(&se->node_hand, 1, memory_order_relaxed) % high;

		if (idx > SFS_ROOT_ID && !sfs_node_released(se, idx))
			enough -= node_reclaim(se, &se->nodes[idx]);
	}
}

/* Whether the next insertion has to take the record of a node of count zero. */
static bool nodes_full(const struct sfs_session *se)
{
	return atomic_load_explicit(&se->node_high, memory_order_relaxed) >= se->node_cap &&
	       (uint32_t)atomic_load_explicit(&se->node_free.head, memory_order_relaxed) == 0 &&
	       atomic_load_explicit(&se->trim.chunks, memory_order_relaxed) == 0;
}

static uint32_t node_alloc(struct sfs_session *se)
{
	/* Soon after almost every record was used, what was forgotten is needed, and a search then has to be short. */
	bool scarce = atomic_load_explicit(&se->node_high, memory_order_relaxed) >=
		      se->node_cap - se->node_cap / SCARCE_PART;
	uint32_t idx;

	if (atomic_load_explicit(&se->node_zero, memory_order_relaxed) > (scarce ? 0 : ZERO_KEEP))
		sfs_nodes_sweep(se, RECLAIM_STEPS, RECLAIM_STEPS);
	for (unsigned tries = 0;; tries++) {
		idx = free_stack_pop(&se->node_free, se->nodes, sizeof(*se->nodes),
				     offsetof(struct sfs_node, hash_next));
		if (idx == NO_IDX)
			idx = sfs_node_unrelease(se);
		if (idx == NO_IDX)
			idx = sfs_high_take(&se->node_high, se->node_cap);
		if (idx == NO_IDX)
			idx = sfs_node_search(se);
		if (idx != NO_IDX || tries == 1 || !atomic_load(&se->node_zero))
			return idx;
		/* Nodes forgotten from now on are freed at once (node_idle()); those from before turn up, unless the
		 * guest forgot them in the last few moments. */
		sfs_nodes_sweep(se, SFS_MIN(atomic_load(&se->node_high), RECLAIM_STEPS_MAX), 1);
	}
}

/* --- counts --- */

static void node_count_add(struct sfs_session *se, struct sfs_node *node, uint64_t count)
{
	uint64_t n = atomic_load_explicit(&node->nlookup, memory_order_relaxed), want;

	if (count == 0)
		return;
	do {
		want = n + count < n ? UINT64_MAX : n + count;
	} while (!atomic_compare_exchange_weak(&node->nlookup, &n, want));
	if (n == 0)
		atomic_fetch_sub(&se->node_zero, 1);
}

/*
 * The guest has forgotten the node: it holds nothing of the host's any more, so that what was deleted is gone with its
 * blocks. With a handle the record stays for the next lookup. Without one only its descriptor told it from a later object
 * of the same number: then it goes, too, and where the table is full. True: reclaim it after the unpin.
 */
static bool node_idle(struct sfs_session *se, struct sfs_node *node)
{
	uint32_t fd_idx = atomic_load(&node->fd_idx);

	atomic_fetch_add(&se->node_zero, 1);
	if (SFS_UNLIKELY(sfs_node_held(node)))
		atomic_fetch_and(&node->flags, ~(uint32_t)SFS_NODE_HELD);
	/* Found by nobody, or its record is wanted. */
	if ((atomic_load_explicit(&node->flags, memory_order_relaxed) &
	     (SFS_NODE_STALE | SFS_NODE_UNHASHED)) ||
	    nodes_full(se))
		return true;
	if (!fd_idx || !node->key.handle_bytes)
		return fd_idx != 0;
	sfs_node_drop_fd(se, node, fd_idx);
	return false;
}

void sfs_node_forget(struct sfs_session *se, uint64_t nodeid, uint64_t count)
{
	uint32_t idx = (uint32_t)nodeid;
	bool reclaim = false;
	struct sfs_node *node;
	uint64_t n, want = 1;

	if (idx <= SFS_ROOT_ID || idx >= atomic_load_explicit(&se->node_high, memory_order_acquire) ||
	    count == 0)
		return;
	node = &se->nodes[idx];
	if (!sfs_pins_tryget(&node->pins))
		return;
	n = atomic_load_explicit(&node->nlookup, memory_order_relaxed);
	if (node->gen == (uint32_t)(nodeid >> 32)) {
		do {
			if (n == 0)
				break;
			want = n == UINT64_MAX ? n : n > count ? n - count : 0;
		} while (!atomic_compare_exchange_weak(&node->nlookup, &n, want));
		if (n && want == 0)
			reclaim = node_idle(se, node);
	}
	sfs_node_unpin(se, node);
	/* While a request has it pinned: with the last pin. If the record is another's by now, see sfs_node_unpin(). */
	if (reclaim && !node_reclaim(se, node))
		sfs_node_gone(node);
	if (n && want == 0)
		sfs_nodes_trim(se);
}

/* --- find or insert --- */

/* Under the bucket's lock: while it is held the node stays. */
static struct sfs_node *bucket_look(struct sfs_session *se, uint32_t b, const struct sfs_node_key *key)
{
	uint32_t at = atomic_load_explicit(&se->buckets[b], memory_order_relaxed);

	while (at) {
		struct sfs_node *n = &se->nodes[at - 1];

		if (node_has_key(n, key) &&
		    !(atomic_load_explicit(&n->flags, memory_order_relaxed) & SFS_NODE_STALE))
			return n;
		at = n->hash_next;
	}
	return NULL;
}

/*
 * Under the bucket's lock: thins out the nodes whose inode number is about to be another object's. One that nobody counts is returned, and may
 * go: it will not be found again. Where there are many others the one that has been there for longest goes out of the bucket, so that files made
 * and removed over and over, by a guest that forgets none of them, do not make one long chain.
 */
static struct sfs_node *bucket_superseded(struct sfs_session *se, uint32_t b, const struct sfs_node_key *key)
{
	uint32_t at = atomic_load_explicit(&se->buckets[b], memory_order_relaxed);
	struct sfs_node *idle = NULL, *oldest = NULL;
	unsigned count = 0;

	for (; at; at = se->nodes[at - 1].hash_next) {
		struct sfs_node *n = &se->nodes[at - 1];

		if (n->key.ino != key->ino || n->key.dev != key->dev || n->key.mnt_idx != key->mnt_idx)
			continue;
		oldest = n;
		count++;
		if (!idle && atomic_load_explicit(&n->nlookup, memory_order_relaxed) == 0)
			idle = n;
	}
	if (count >= SAME_NUMBER_MAX && oldest != &se->nodes[SFS_ROOT_ID]) {
		bucket_remove(se, b, oldest);
		atomic_fetch_or_explicit(&oldest->flags, SFS_NODE_UNHASHED, memory_order_relaxed);
	}
	return idle;
}

/* Under the bucket's lock. The node found is pinned. */
static struct sfs_node *bucket_find(struct sfs_session *se, uint32_t b, const struct sfs_node_key *key)
{
	struct sfs_node *node = bucket_look(se, b, key);

	return node && sfs_pins_tryget(&node->pins) ? node : NULL;
}

struct sfs_node *sfs_node_find(struct sfs_req *req, const struct sfs_node_key *key, uint64_t count)
{
	struct sfs_session *se = req->session;
	uint32_t b = key_bucket(se, key);
	struct sfs_node *node;

	sfs_bucket_lock(se, b);
	node = bucket_find(se, b, key);
	if (node)
		node_count_add(se, node, count);
	sfs_bucket_unlock(se, b);
	if (node)
		req_pin_node(req, node);
	return node;
}

void sfs_node_expect(struct sfs_session *se, const struct sfs_node_key *key)
{
	uint32_t b = key_bucket(se, key);

	__builtin_prefetch(&se->buckets[b]);
	sfs_prefetch_write(&se->bucket_locks[b % BUCKET_LOCKS]);
}

bool sfs_node_again(struct sfs_session *se, const struct sfs_node_key *key, uint32_t flags, uint64_t count,
		    uint64_t *nodeid)
{
	uint32_t b = key_bucket(se, key);
	struct sfs_node *node;

	sfs_bucket_lock(se, b);
	node = bucket_look(se, b, key);
	if (node && !atomic_load_explicit(&node->fd_idx, memory_order_acquire) &&
	    !(atomic_load_explicit(&node->flags, memory_order_relaxed) & flags))
		node = NULL;
	if (node) {
		node_count_add(se, node, count);
		*nodeid = sfs_node_id(se, node);
	}
	sfs_bucket_unlock(se, b);
	return node;
}

/* Who sees the node's record without a pin may look at the first two. */
static void key_store(struct sfs_node_key *to, const struct sfs_node_key *from)
{
	__atomic_store_n(&to->dev, from->dev, __ATOMIC_RELAXED);
	__atomic_store_n(&to->ino, from->ino, __ATOMIC_RELAXED);
	to->mnt_idx = from->mnt_idx;
	to->btime_ns = from->btime_ns;
	to->handle_type = from->handle_type;
	to->handle_bytes = from->handle_bytes;
	memcpy(to->handle, from->handle, sizeof(to->handle));
}

static void node_fill(struct sfs_session *se, struct sfs_node *node, const struct sfs_node_key *key,
		      uint32_t b, uint32_t mode, uint64_t count)
{
	key_store(&node->key, key);
	node->mode = mode & S_IFMT;
	node->drv = 0;
	atomic_store_explicit(&node->bucket, b, memory_order_relaxed);
	atomic_store_explicit(&node->flags, 0, memory_order_relaxed);
	atomic_store_explicit(&node->fd_idx, 0, memory_order_relaxed);
	atomic_store_explicit(&node->nlookup, count, memory_order_relaxed);
	if (count == 0)
		atomic_fetch_add(&se->node_zero, 1);
	atomic_fetch_add_explicit(&se->inode_count, 1, memory_order_relaxed);
	atomic_store_explicit(&node->state, SFS_REC_LIVE, memory_order_relaxed);
	/* A free record has no pins; but the root's may still be pinned by requests of an earlier guest that hang. */
	atomic_fetch_add_explicit(&node->pins, LIVE | 1, memory_order_release);
}

/* What becomes of the descriptor that came with a lookup: kept by a node without one, else closed. */
static int node_take_fd(struct sfs_req *req, struct sfs_node *node, int fd)
{
	if (fd < 0)
		return 0;
	return sfs_node_fd_offer(req, node, fd) ? 0 : -ENFILE;
}

struct sfs_node *sfs_node_get(struct sfs_req *req, const struct sfs_node_key *key, uint32_t mode, int fd_new,
			      uint64_t count, bool *created)
{
	struct sfs_session *se = req->session;
	uint32_t b = key_bucket(se, key), idx;
	struct sfs_pin_mark mark = sfs_req_pin_mark(req);
	struct sfs_node *node = sfs_node_find(req, key, count), *old = NULL;

	*created = false;
	if (!node) {
		idx = node_alloc(se);
		if (idx == NO_IDX) {
			sfs_session_limit_hit(se);
			return NULL;
		}
		sfs_bucket_lock(se, b);
		node = bucket_find(se, b, key);
		if (node) { /* another thread was faster */
			free_stack_push(&se->node_free, idx, &se->nodes[idx].hash_next);
			node_count_add(se, node, count);
		} else {
			old = bucket_superseded(se, b, key);
			node = &se->nodes[idx];
			node_fill(se, node, key, b, mode, count);
			node_link(node, atomic_load_explicit(&se->buckets[b], memory_order_relaxed));
			atomic_store_explicit(&se->buckets[b], idx + 1, memory_order_relaxed);
			*created = true;
		}
		sfs_bucket_unlock(se, b);
		if (old)
			node_reclaim(se, old);
		req_pin_node(req, node);
		sfs_nodes_grew(se);
	}
	if (node_take_fd(req, node, fd_new) < 0) {
		/* No room for its descriptor. One that has a handle lives without; the caller keeps the number. */
		if (node->key.handle_bytes) {
			close(fd_new);
		} else {
			sfs_node_forget(se, sfs_node_id(se, node), count);
			sfs_req_unpin_to(req, mark);
			return NULL;
		}
	}
	return node;
}

int sfs_session_root(struct sfs_session *se, const struct sfs_node_key *key, uint32_t mode, int fd,
		     uint64_t drv)
{
	struct sfs_node *root = &se->nodes[SFS_ROOT_ID];
	uint32_t b = key_bucket(se, key);
	struct sfs_fdent *ent;

	root->gen = 0;
	node_fill(se, root, key, b, mode, UINT64_MAX);
	root->drv = drv;
	if (fd >= 0) {
		ent = sfs_fd_insert(se, NULL, fd);
		if (!ent)
			return -ENFILE;
		atomic_store(&root->fd_idx, (uint32_t)(ent - se->fds) + 1);
	}
	sfs_bucket_lock(se, b);
	root->hash_next = atomic_load(&se->buckets[b]);
	atomic_store(&se->buckets[b], SFS_ROOT_ID + 1);
	sfs_bucket_unlock(se, b);
	/* The table's own pin: the root is never reclaimed. */
	return 0;
}

/* --- the end of a session --- */

void sfs_nodes_reset(const struct sfs_reset *r, bool root_too)
{
	struct sfs_session *se = r->se;
	uint32_t high = atomic_load(&se->node_high);
	struct sfs_node *root = &se->nodes[SFS_ROOT_ID];

	for (uint32_t i = SFS_ROOT_ID + 1; i < high; i++) {
		struct sfs_node *node = &se->nodes[i];

		if (sfs_node_released(se, i) || !(atomic_load(&node->pins) & LIVE))
			continue;
		if (!sfs_reset_lock(r))
			return;
		if ((atomic_load(&node->pins) & LIVE) && atomic_exchange(&node->nlookup, 0))
			atomic_fetch_add(&se->node_zero, 1);
		sfs_reset_unlock(r);
		node_reclaim(se, node); /* may block; whosever the node is by now, nobody counts it */
	}
	if (root_too && (atomic_load(&root->pins) & LIVE)) {
		uint32_t b = atomic_load(&root->bucket), fd_idx = atomic_load(&root->fd_idx);

		sfs_bucket_lock(se, b);
		bucket_remove(se, b, root);
		sfs_bucket_unlock(se, b);
		atomic_fetch_sub(&root->pins, LIVE | 1);
		if (fd_idx)
			sfs_node_drop_fd(se, root, fd_idx);
		if (se->fs->node_evict)
			se->fs->node_evict(se, root);
		atomic_fetch_sub_explicit(&se->inode_count, 1, memory_order_relaxed);
	}
}
