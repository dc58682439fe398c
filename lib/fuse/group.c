/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "session_priv.h"

/* How many completions one look takes. */
#define REAP_BATCH 64
/* What a small buffered write may take on any disk's filesystem. */
#define BLOCKING_US 10

int sfs_group_init(struct sfs_group *g, const struct sfs_group_opts *o)
{
	const struct sfs_aio_opts aio = {.depth = SFS_GROUP_DEPTH,
					 .at_once = true,
					 .workers = o->workers,
					 .file_bit = sfs_group_bit(o->idx)};

	memset(g, 0, sizeof(*g));
	g->session = o->session;
	g->idx = o->idx;
	return sfs_aio_open(&g->aio, o->engine, &aio);
}

void sfs_group_fini(struct sfs_group *g)
{
	sfs_aio_close(&g->aio);
}

void sfs_group_join(struct sfs_group *g)
{
	atomic_store(&g->session->group_running[g->idx], true);
}

void sfs_group_leave(struct sfs_group *g)
{
	struct sfs_session *se = g->session;

	assert(g->aio.in_flight == 0);
	sfs_aio_files_drop(&g->aio, NULL, 0);
	atomic_store(&se->group_running[g->idx], false);
	sfs_fds_drop(se, g->idx, NULL);
}

/* Whether files wait for this group's engine to let go of them. */
static bool group_has_drops(const struct sfs_group *g)
{
	return atomic_load_explicit(&g->session->drop_head[g->idx], memory_order_relaxed);
}

unsigned sfs_group_begin(struct sfs_group *g, unsigned requests)
{
	g->requests = requests;
	sfs_closes_begin(g->session, &g->closing);
	return SFS_UNLIKELY(group_has_drops(g)) ? sfs_fds_drop(g->session, g->idx, &g->aio) : 0;
}

void sfs_group_end(struct sfs_group *g)
{
	sfs_closes_end(g->session, &g->closing);
}

bool sfs_group_queue(struct sfs_group *g, struct sfs_req *req)
{
	if (!g || sfs_aio_queue(&g->aio, &req->io) < 0)
		return false;
	g->blocking += (req->io.flags & SFS_IO_F_BLOCKS) != 0;
	return true;
}

/* One of them may have waited for all the time that they do not usually take. */
static void commit_blocking(struct sfs_group *g)
{
	uint64_t begin = sfs_ticks(), took, usual = g->blocking * BLOCKING_US * sfs_ticks_per_us();

	sfs_aio_commit(&g->aio);
	g->blocking = 0;
	took = sfs_ticks() - begin;
	if (g->session->policy == SFS_BLOCK_AUTO)
		sfs_session_call_cost(g->session, SFS_CALL_CHANGES, took > usual ? took - usual : 0);
}

unsigned sfs_group_commit(struct sfs_group *g)
{
	struct sfs_io *ios[REAP_BATCH];
	unsigned n, all = 0;

	if (!g->aio.in_flight)
		return 0;
	if (g->blocking)
		commit_blocking(g);
	else
		sfs_aio_commit(&g->aio);
	/* What these queue here goes with the next turn. */
	while ((n = sfs_aio_reap(&g->aio, ios, REAP_BATCH)) != 0) {
		for (unsigned i = 0; i < n; i++)
			sfs_req_done_at_once(SFS_CONTAINER_OF(ios[i], struct sfs_req, io));
		all += n;
	}
	return all;
}

bool sfs_group_has_work(const struct sfs_group *g)
{
	return g->aio.in_flight || group_has_drops(g);
}
