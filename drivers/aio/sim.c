/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An engine for tests that does everything a kernel may do to I/O, by a plan and a seed. It knows no time but
 * the number of reaps.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "sfs_aio_engines.h"
#include "sfs_base.h"
#include "sfs_iov.h"

#define SIM_BLOCK 4096u /* O_DIRECT: what a short result is a multiple of */

struct sfs_aio_sim_plan sfs_aio_sim_plan;

struct sim {
	uint64_t random;
	uint64_t turn; /* reaps */
	unsigned depth;
	unsigned queued;           /* at the end of ios: not yet committed */
	unsigned committed;        /* at the front */
	struct iovec iov[IOV_MAX]; /* a short I/O's segments */
	struct sfs_io *ios[];
};

/* splitmix64: every seed, also 0, gives a good sequence. */
static uint64_t sim_random(struct sim *sim)
{
	uint64_t x = sim->random += 0x9e3779b97f4a7c15u;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* 0 to @n - 1. */
static uint64_t sim_below(struct sim *sim, uint64_t n)
{
	return sim_random(sim) % n;
}

static bool sim_chance(struct sim *sim, unsigned permille)
{
	return permille && sim_below(sim, 1000) < permille;
}

static int sim_open(struct sfs_aio *aio, const struct sfs_aio_opts *opts)
{
	struct sim *sim;

	if (opts->depth == 0)
		return -EINVAL;
	sim = calloc(1, sizeof(*sim) + opts->depth * sizeof(sim->ios[0]));
	if (!sim)
		return -ENOMEM;
	sim->random = opts->seed;
	sim->depth = opts->depth;
	aio->priv = sim;
	return 0;
}

static void sim_close(struct sfs_aio *aio)
{
	free(aio->priv);
}

static int sim_queue(struct sfs_aio *aio, struct sfs_io *io)
{
	struct sim *sim = aio->priv;

	if (aio->in_flight >= sim->depth || sim_chance(sim, sfs_aio_sim_plan.full_permille))
		return -EAGAIN;
	sim->ios[sim->committed + sim->queued++] = io;
	return 0;
}

static unsigned sim_commit(struct sfs_aio *aio)
{
	struct sim *sim = aio->priv;

	for (; sim->queued; sim->queued--) {
		struct sfs_io *io = sim->ios[sim->committed++];

		io->priv[0] = sim->turn + 1 + sim_below(sim, sfs_aio_sim_plan.delay_max_turns + 1ull);
	}
	return 0;
}

/* Does what will be reported, no less and no more. */
static int64_t sim_do(struct sim *sim, const struct sfs_io *io)
{
	const struct sfs_aio_sim_plan *plan = &sfs_aio_sim_plan;
	uint64_t unit = io->flags & SFS_IO_F_DIRECT ? SIM_BLOCK : 1;
	uint64_t units = sfs_iov_bytes(io->iov, io->iovcnt) / unit;
	unsigned iovcnt;

	if (plan->error_count && sim_chance(sim, plan->error_permille))
		return plan->errors[sim_below(sim, plan->error_count)];
	if (units < 2 || !sim_chance(sim, plan->short_permille))
		return aio_do(io, io->iov, io->iovcnt);
	memcpy(sim->iov, io->iov, io->iovcnt * sizeof(io->iov[0]));
	iovcnt = sfs_iov_cut(sim->iov, io->iovcnt, (1 + sim_below(sim, units - 1)) * unit);
	return aio_do(io, sim->iov, iovcnt);
}

/* Moves those whose turn has come to the front, in random order; returns their number. */
static unsigned sim_due(struct sim *sim)
{
	unsigned due = 0;

	for (unsigned i = 0; i < sim->committed; i++) {
		struct sfs_io *io = sim->ios[i];

		if (io->priv[0] > sim->turn)
			continue;
		sim->ios[i] = sim->ios[due];
		sim->ios[due++] = io;
	}
	for (unsigned i = due; i > 1; i--) {
		unsigned j = (unsigned)sim_below(sim, i);
		struct sfs_io *io = sim->ios[j];

		sim->ios[j] = sim->ios[i - 1];
		sim->ios[i - 1] = io;
	}
	return due;
}

static unsigned sim_reap(struct sfs_aio *aio, struct sfs_io **ios, unsigned max)
{
	struct sim *sim = aio->priv;
	unsigned n;

	sim->turn++;
	n = SFS_MIN(sim_due(sim), max);
	for (unsigned i = 0; i < n; i++) {
		ios[i] = sim->ios[i];
		ios[i]->res = sim_do(sim, ios[i]);
	}
	sim->committed -= n;
	memmove(sim->ios, sim->ios + n, (sim->committed + sim->queued) * sizeof(sim->ios[0]));
	return n;
}

/* Nothing ever finishes by itself here: as long as there is something to reap nobody may sleep. */
static bool sim_ready(struct sfs_aio *aio)
{
	struct sim *sim = aio->priv;

	return sim->committed > 0;
}

static int sim_fd(struct sfs_aio *aio)
{
	return -1;
}

const struct sfs_aio_ops sfs_aio_sim = {
    .name = "sim",
    .open = sim_open,
    .close = sim_close,
    .queue = sim_queue,
    .commit = sim_commit,
    .reap = sim_reap,
    .ready = sim_ready,
    .fd = sim_fd,
};
