/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Figures: counted by the lanes, summed here. Readers see values a moment old.
 */
#include <string.h>

#include "device.h"

/* The lock is the only part of a device that a reader of figures changes. */
static void figures_lock(const struct sfs_device *dev)
{
	pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&dev->lock);
}

static void figures_unlock(const struct sfs_device *dev)
{
	pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&dev->lock);
}

static void op_merge(struct sfs_op_stats *into, const struct sfs_op_stats *from)
{
	if (!SFS_STAT_GET(from->count))
		return;
	into->count += SFS_STAT_GET(from->count);
	into->errors += SFS_STAT_GET(from->errors);
	into->bytes += SFS_STAT_GET(from->bytes);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(into->path); i++)
		into->path[i] += SFS_STAT_GET(from->path[i]);
	sfs_hist_merge(&into->hist, &from->hist);
}

void sfs_device_figures_keep(struct sfs_device *dev, const struct sfs_queue *q)
{
	struct queue_past *past = &dev->past[q->idx];

	past->requests += SFS_STAT_GET(q->lane.requests);
	past->kicks += SFS_STAT_GET(q->kicks);
	past->calls += SFS_STAT_GET(q->vq.calls);
	dev->past_bad_requests += SFS_STAT_GET(q->lane.bad_requests);
	for (unsigned i = 0; i < SFS_OP_COUNT; i++)
		op_merge(&dev->past_ops[i], &q->lane.stats[i]);
}

void sfs_device_queue_figures(const struct sfs_device *dev, unsigned idx, struct sfs_queue_figures *fig)
{
	const struct sfs_queue *q;

	memset(fig, 0, sizeof(*fig));
	fig->reactor = sfs_reactor_name(dev->reactors[idx % dev->opts.reactor_count]);
	figures_lock(dev);
	q = dev->queues[idx];
	fig->requests = dev->past[idx].requests;
	fig->kicks = dev->past[idx].kicks;
	fig->calls = dev->past[idx].calls;
	if (q) {
		fig->requests += SFS_STAT_GET(q->lane.requests);
		fig->in_flight = SFS_STAT_GET(q->lane.in_flight);
		fig->kicks += SFS_STAT_GET(q->kicks);
		fig->calls += SFS_STAT_GET(q->vq.calls);
	}
	figures_unlock(dev);
}

bool sfs_device_op_figures(const struct sfs_device *dev, unsigned opcode, struct sfs_op_figures *fig)
{
	const struct sfs_op *op = sfs_op_get(opcode);
	struct sfs_op_stats sum = {0};

	if (!op)
		return false;
	figures_lock(dev);
	op_merge(&sum, &dev->past_ops[opcode]);
	for (unsigned i = 0; i < dev->queue_count; i++)
		if (dev->queues[i])
			op_merge(&sum, &dev->queues[i]->lane.stats[opcode]);
	figures_unlock(dev);
	if (!sum.count)
		return false;
	*fig = (struct sfs_op_figures){.name = op->name,
				       .count = sum.count,
				       .errors = sum.errors,
				       .inline_count = sum.path[SFS_PATH_INLINE],
				       .engine_count = sum.path[SFS_PATH_ENGINE],
				       .worker_count = sum.path[SFS_PATH_WORKER],
				       .bytes = sum.bytes,
				       .p50_ns = sfs_hist_quantile(&sum.hist, 0.5),
				       .p99_ns = sfs_hist_quantile(&sum.hist, 0.99)};
	return true;
}

void sfs_device_figures(const struct sfs_device *dev, struct sfs_device_figures *fig)
{
	struct sfs_session_figures se;

	sfs_session_figures(dev->session, &se);
	*fig = (struct sfs_device_figures){.inodes = se.inodes,
					   .handles = se.handles,
					   .fds = se.fds,
					   .limit_hits = se.limit_hits,
					   .bytes_copied = se.bytes_copied};
	figures_lock(dev);
	fig->bad_requests = dev->past_bad_requests;
	fig->pinned_bytes = dev->pin ? atomic_load(&dev->pin->bytes) : 0;
	for (unsigned i = 0; i < dev->queue_count; i++)
		if (dev->queues[i])
			fig->bad_requests += SFS_STAT_GET(dev->queues[i]->lane.bad_requests);
	figures_unlock(dev);
}
