/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A turn's share: what requests count, and how much of a long one a turn has (docs/decisions/0020-a-turn-has-a-share.md).
 */
#include "session_priv.h"

/* What requests count of a turn's share: see SFS_LANE_SHARE_NS. */
#define SHARE_REQUEST_NS        250
#define SHARE_READ_NS           1000 /* a small cached READ, in all */
#define SHARE_PIECE_NS          250  /* of a copy, beside its bytes: many small ones end, too */
#define SHARE_FINDING_NS        2000
#define SHARE_MUTATION_NS       4000
#define SHARE_BYTES_PER_NS      4    /* what no cache of the CPU holds */
#define SHARE_SMALL_MAX         4096 /* so much mostly is in one, and counts half */
#define SHARE_BULK_BESIDE_QUICK 2    /* what is more counts so many times beside who waits for all of it */
#define SHARE_SEGMENT_NS        4    /* to walk a descriptor */
#define SHARE_LOOK_NS           1000 /* an object of a listing */

/* What a turn has. */
static unsigned lane_share(const struct sfs_lane *lane)
{
	return lane->company == SFS_ALONE ? lane->turn_share_ns
					  : SFS_MIN(lane->turn_share_ns, SFS_LANE_SHARE_NS_SHARED);
}

void sfs_share_renew(struct sfs_lane *lane)
{
	lane->share_ns = lane_share(lane);
	lane->share_cut = false;
}

static int64_t share_of(const struct sfs_op *op)
{
	if (op && (op->flags & SFS_OP_MUTATES))
		return SHARE_MUTATION_NS;
	return op && (op->flags & SFS_OP_FINDS) ? SHARE_FINDING_NS : SHARE_REQUEST_NS;
}

/* What came with it had to be walked and copied. */
static int64_t share_of_size(const struct sfs_req *req)
{
	unsigned segments = (unsigned)req->chain.readable_count + req->chain.writable_count;

	return (int64_t)segments * SHARE_SEGMENT_NS + req->extra_bytes / SHARE_BYTES_PER_NS;
}

void sfs_share_begin(struct sfs_req *req)
{
	req->lane->share_ns -= share_of(req->op) + share_of_size(req);
}

bool sfs_req_batched(const struct sfs_req *req, unsigned flag)
{
	const struct sfs_lane *lane = req->lane;
	const struct sfs_session *se = req->session;
	const struct sfs_group *g = lane->group;
	/* Of those that have come a turn takes so many. */
	unsigned room = lane_share(lane) / (flag == SFS_IO_F_CACHED ? SHARE_READ_NS : SHARE_MUTATION_NS), min;

	if (!g || g->aio.in_flight >= SFS_GROUP_DEPTH)
		return false;
	min = flag == SFS_IO_F_CACHED ? g->aio.cached_min : g->aio.blocking_min;
	if (min == 0 || SFS_MIN(g->requests, room) < min)
		return false;
	return flag == SFS_IO_F_CACHED || se->policy == SFS_BLOCK_ALWAYS ||
	       (se->policy == SFS_BLOCK_AUTO && !sfs_session_is_slow(se, SFS_CALL_CHANGES, lane->now_ns));
}

/* What does not fit into the rest of a turn begins one of its own rather than with a small piece of this. */
static bool share_begins(struct sfs_lane *lane, bool fits)
{
	if (!fits && lane->share_cut) {
		lane->share_ns = 0;
		return false;
	}
	lane->share_cut = true;
	return true;
}

uint64_t sfs_req_share(struct sfs_req *req, uint64_t want)
{
	struct sfs_lane *lane = req->lane;
	unsigned times = lane->company == SFS_BESIDE_QUICK ? SHARE_BULK_BESIDE_QUICK : 1;
	uint64_t room;

	if (sfs_lane_sated(lane))
		return 0;
	room = SFS_MAX((uint64_t)lane->share_ns * SHARE_BYTES_PER_NS, SFS_REQ_SHARE_MIN) / times;
	if (!share_begins(lane, want <= room))
		return 0;
	want = SFS_MIN(want, room);
	if (want <= SHARE_SMALL_MAX)
		lane->share_ns -= (int64_t)(SHARE_PIECE_NS + want / SHARE_BYTES_PER_NS / 2);
	else
		lane->share_ns -= (int64_t)(SHARE_PIECE_NS + want / SHARE_BYTES_PER_NS) * times;
	return want;
}

uint32_t sfs_req_share_objects(struct sfs_req *req, uint32_t want)
{
	struct sfs_lane *lane = req->lane;
	uint32_t room;

	if (sfs_lane_sated(lane))
		return 0;
	room = SFS_MAX((uint32_t)(lane->share_ns / SHARE_LOOK_NS), SFS_REQ_SHARE_OBJECTS);
	return share_begins(lane, want <= room) ? SFS_MIN(want, room) : 0;
}

void sfs_req_share_looked(struct sfs_req *req, uint32_t objects)
{
	req->lane->share_ns -= (int64_t)objects * SHARE_LOOK_NS;
}
