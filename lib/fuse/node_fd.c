/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The descriptors that nodes hold: one at most for each, of which inode_fds_max stay open. Taken away, offered, swapped, held, and seen
 * without a pin.
 */
#include <errno.h>

#include "session_priv.h"

#define LIVE SFS_PINS_LIVE

/* How many descriptor entries one offer looks at for one to evict. */
#define EVICT_STEPS 256

/* In a node's fd_idx: somebody is about to take it from the node, see node_evict_fd(). Still the node's, and good to be pinned. */
#define FD_LEAVES (1u << 31)

/* Index + 1 of the node that may lose the descriptor. */
static uint32_t fd_owner(const struct sfs_fdent *ent)
{
	return atomic_load_explicit(&ent->owner, memory_order_acquire) & ~SFS_FD_USED;
}

/* @fd_idx is no node's descriptor any more; the last pin closes it. */
static void node_fd_gone(struct sfs_session *se, uint32_t fd_idx)
{
	struct sfs_fdent *ent = &se->fds[fd_idx - 1];

	if (fd_owner(ent))
		atomic_fetch_sub_explicit(&se->node_fds, 1, memory_order_relaxed);
	sfs_fd_unlink(se, ent);
}

void sfs_node_drop_fd(struct sfs_session *se, struct sfs_node *node, uint32_t fd_idx)
{
	uint32_t was = fd_idx;

	if (atomic_compare_exchange_strong(&node->fd_idx, &was, 0))
		node_fd_gone(se, fd_idx & ~FD_LEAVES);
}

/* The node holds its descriptor. If the guest has forgotten it meanwhile, node_idle() may have seen none. */
static void node_fd_held(struct sfs_session *se, struct sfs_node *node, uint32_t fd_idx)
{
	if (node->key.handle_bytes && atomic_load(&node->nlookup) == 0)
		sfs_node_drop_fd(se, node, fd_idx);
}

/* A held node's descriptor, which was about to leave before it was held, stays, unless it has left. */
static void node_fd_stays(struct sfs_session *se, struct sfs_node *node, uint32_t fd_idx)
{
	uint32_t leaves = fd_idx | FD_LEAVES;

	if (atomic_compare_exchange_strong(&node->fd_idx, &leaves, fd_idx))
		node_fd_held(se, node, fd_idx);
}

/* The clock's hand will pass by once. */
static void fd_used(struct sfs_fdent *ent)
{
	if (!(atomic_load_explicit(&ent->owner, memory_order_relaxed) & SFS_FD_USED))
		atomic_fetch_or_explicit(&ent->owner, SFS_FD_USED, memory_order_relaxed);
}

struct sfs_fdent *sfs_node_fd(struct sfs_req *req, struct sfs_node *node)
{
	struct sfs_session *se = req->session;
	uint32_t i = atomic_load_explicit(&node->fd_idx, memory_order_acquire);
	struct sfs_fdent *ent;

	if (!i)
		return NULL;
	if (SFS_UNLIKELY(i & FD_LEAVES)) {
		i &= ~FD_LEAVES;
		if (sfs_node_held(node))
			node_fd_stays(se, node, i);
	}
	ent = &se->fds[i - 1];
	if (!sfs_fd_trypin(ent))
		return NULL;
	/* Pinned; is it still the node's, or was it closed and used anew in between? */
	if ((atomic_load_explicit(&node->fd_idx, memory_order_acquire) & ~FD_LEAVES) != i) {
		sfs_fd_unpin(se, ent);
		return NULL;
	}
	fd_used(ent);
	sfs_req_pin_fd(req, ent);
	return ent;
}

bool sfs_node_see(struct sfs_session *se, uint64_t nodeid, struct sfs_node_sight *sight)
{
	const struct sfs_node *node = node_record(se, nodeid);
	struct sfs_fdent *ent;
	uint32_t fd_idx;

	if (!node)
		return false;
	fd_idx = atomic_load_explicit(&node->fd_idx, memory_order_acquire);
	if (!fd_idx || (fd_idx & FD_LEAVES) ||
	    __atomic_load_n(&node->gen, __ATOMIC_RELAXED) != (uint32_t)(nodeid >> 32) ||
	    atomic_load_explicit(&node->nlookup, memory_order_relaxed) == 0)
		return false;
	ent = &se->fds[fd_idx - 1];
	fd_used(ent);
	*sight = (struct sfs_node_sight){
	    .node = node,
	    .gen = (uint32_t)(nodeid >> 32),
	    .fd_idx = fd_idx,
	    .fd = __atomic_load_n(&ent->fd, __ATOMIC_RELAXED),
	};
	return sight->fd >= 0;
}

bool sfs_node_seen(const struct sfs_session *se, const struct sfs_node_sight *sight, uint64_t dev,
		   uint64_t ino)
{
	const struct sfs_node *node = sight->node;

	atomic_thread_fence(memory_order_acquire);
	return __atomic_load_n(&node->key.ino, __ATOMIC_RELAXED) == ino &&
	       __atomic_load_n(&node->key.dev, __ATOMIC_RELAXED) == dev &&
	       __atomic_load_n(&se->fds[sight->fd_idx - 1].fd, __ATOMIC_RELAXED) == sight->fd &&
	       (atomic_load_explicit(&node->fd_idx, memory_order_acquire) & ~FD_LEAVES) == sight->fd_idx &&
	       __atomic_load_n(&node->gen, __ATOMIC_RELAXED) == sight->gen;
}

/*
 * Takes the descriptor from a node that can have another, unless it is held. First it is marked: whoever holds the node says so first and
 * looks at fd_idx then, so either that look sees the mark, and takes it away, or this here sees that the node is held. Nobody ever finds a
 * held node without the descriptor that who holds it has seen.
 */
static bool node_evict_fd(struct sfs_session *se, struct sfs_node *node, uint32_t fd_idx)
{
	uint32_t was = fd_idx, leaves = fd_idx | FD_LEAVES;
	bool taken = false;

	/* Pinned, so that it is the same node when it gets its descriptor back. */
	if (sfs_node_held(node) || !sfs_pins_tryget(&node->pins))
		return false;
	if (atomic_compare_exchange_strong(&node->fd_idx, &was, leaves)) {
		if (atomic_load(&node->flags) & SFS_NODE_HELD)
			node_fd_stays(se, node, fd_idx);
		else
			taken = atomic_compare_exchange_strong(&node->fd_idx, &leaves, 0);
	}
	if (taken)
		node_fd_gone(se, fd_idx);
	sfs_node_unpin(se, node);
	return taken;
}

/* Second chance: the hand goes round, an entry used since its last visit stays. False: it has found none on its way. */
static bool fds_evict(struct sfs_session *se)
{
	uint32_t high = atomic_load(&se->fd_high);

	for (unsigned steps = 0; steps < EVICT_STEPS && high; steps++) {
		uint32_t idx = atomic_fetch_add_explicit(&se->fd_hand, 1, memory_order_relaxed) % high;
		struct sfs_fdent *ent = &se->fds[idx];
		uint32_t node = fd_owner(ent);

		if (!node || atomic_load_explicit(&ent->pins, memory_order_relaxed) != LIVE)
			continue;
		if (atomic_fetch_and_explicit(&ent->owner, ~SFS_FD_USED, memory_order_relaxed) & SFS_FD_USED)
			continue;
		if (node_evict_fd(se, &se->nodes[node - 1], idx + 1))
			return true;
	}
	return false;
}

/* Whether a node may keep one more descriptor that can be opened again; it is counted then. */
static bool node_fds_room(struct sfs_session *se)
{
	if (atomic_fetch_add_explicit(&se->node_fds, 1, memory_order_relaxed) < se->limits.node_fds ||
	    fds_evict(se))
		return true;
	atomic_fetch_sub_explicit(&se->node_fds, 1, memory_order_relaxed);
	return false;
}

/* An entry for @fd that @node may hold, counted where it may lose it; *room false: it cannot hold another, this one is the request's alone. */
static struct sfs_fdent *node_fd_insert(struct sfs_req *req, const struct sfs_node *node, int fd, bool *room)
{
	struct sfs_session *se = req->session;
	struct sfs_fdent *ent = sfs_fd_insert(se, req, fd);
	/* What has no handle keeps its descriptor for as long as it lives, and what is held until it is forgotten. */
	bool again = node->key.handle_bytes && !sfs_node_held(node);

	if (!ent)
		return NULL;
	*room = !again || node_fds_room(se);
	if (!*room)
		sfs_fd_unlink(se, ent);
	else if (again)
		atomic_fetch_or_explicit(&ent->owner, node_idx(se, node) + 1, memory_order_release);
	return ent;
}

struct sfs_fdent *sfs_node_fd_offer(struct sfs_req *req, struct sfs_node *node, int fd)
{
	struct sfs_session *se = req->session;
	uint32_t none = 0;
	bool room;
	struct sfs_fdent *ent = node_fd_insert(req, node, fd, &room);

	if (!ent || !room)
		return ent;
	if (!atomic_compare_exchange_strong(&node->fd_idx, &none, (uint32_t)(ent - se->fds) + 1)) {
		/* It has one by now: this one goes with the request, too. */
		if (fd_owner(ent))
			atomic_fetch_sub_explicit(&se->node_fds, 1, memory_order_relaxed);
		atomic_store_explicit(&ent->owner, 0, memory_order_relaxed);
		sfs_fd_unlink(se, ent);
	} else {
		node_fd_held(se, node, (uint32_t)(ent - se->fds) + 1);
	}
	return ent;
}

struct sfs_fdent *sfs_node_fd_swap(struct sfs_req *req, struct sfs_node *node, int fd, uint32_t open_flags)
{
	struct sfs_session *se = req->session;
	struct sfs_fdent *ent;
	uint32_t old;
	bool room;

	ent = node_fd_insert(req, node, fd, &room);
	if (!ent)
		return NULL;
	atomic_store_explicit(&ent->open_flags, open_flags, memory_order_relaxed);
	if (!room)
		return ent;
	old = atomic_exchange(&node->fd_idx, (uint32_t)(ent - se->fds) + 1);
	if (old)
		node_fd_gone(se, old & ~FD_LEAVES);
	node_fd_held(se, node, (uint32_t)(ent - se->fds) + 1);
	return ent;
}

bool sfs_node_fd_drop(struct sfs_session *se, struct sfs_node *node, const struct sfs_fdent *ent)
{
	return node_evict_fd(se, node, (uint32_t)(ent - se->fds) + 1);
}
