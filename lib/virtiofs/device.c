/* SPDX-License-Identifier: BSD-3-Clause */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/virtio_fs.h>

#include "device.h"
#include "sfs_log.h"

int sfs_device_create(const struct sfs_device_opts *o, struct sfs_device **out)
{
	struct sfs_session_opts so = {.fs = o->fs,
				      .fs_ctx = o->fs_ctx,
				      .limits = o->limits,
				      .block_policy = o->fs_info.block_policy,
				      .init_flags = o->fs_info.init_flags,
				      .needed_flags = o->fs_info.needed_flags,
				      .init = o->fs_info.init,
				      .lane_count = o->request_queue_count + 1,
				      .reactors = o->reactors,
				      .reactor_count = o->reactor_count};
	struct sfs_device *dev;
	int rc = -ENOMEM;

	if (o->request_queue_count == 0 || o->request_queue_count > SFS_REQUEST_QUEUES_MAX ||
	    o->reactor_count == 0 || o->reactor_count > QUEUES_MAX || strlen(o->tag) > SFS_TAG_MAX ||
	    o->slots_max == 0)
		return -EINVAL;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	dev->opts = *o;
	strcpy(dev->tag, o->tag);
	dev->opts.tag = dev->tag;
	memcpy(dev->reactors, o->reactors, o->reactor_count * sizeof(dev->reactors[0]));
	dev->opts.reactors = dev->reactors;
	dev->tables_node = -1;
	dev->queue_count = o->request_queue_count + 1;
	pthread_mutex_init(&dev->lock, NULL);
	dev->past_ops = calloc(SFS_OP_COUNT, sizeof(*dev->past_ops));
	dev->workers = sfs_workers_client_create(o->workers, o->workers_max);
	if (!dev->past_ops || !dev->workers)
		goto fail;
	so.workers = dev->workers;
	so.limits.node_fds = o->fs_info.node_fds_max;
	rc = sfs_session_create(&so, &dev->session);
	if (rc)
		goto fail;
	*out = dev;
	return 0;
fail:
	if (dev->workers)
		sfs_workers_client_destroy(dev->workers);
	free(dev->past_ops);
	pthread_mutex_destroy(&dev->lock);
	free(dev);
	return rc;
}

/* Frees abandoned queues whose last call has come back. */
static void device_bury(struct sfs_device *dev)
{
	struct sfs_queue **at = &dev->abandoned;

	while (*at) {
		struct sfs_queue *q = *at;

		if (!atomic_load(&q->gone)) {
			at = &q->next;
			continue;
		}
		*at = q->next;
		sfs_queue_destroy(q);
	}
}

void sfs_device_destroy(struct sfs_device *dev)
{
	if (!dev)
		return;
	for (unsigned i = 0; i < dev->queue_count; i++)
		assert(!dev->queues[i]);
	sfs_device_reset(dev);
	device_bury(dev);
	/* Calls that hang for ever use session and driver: both stay with them. */
	if (dev->abandoned)
		return;
	for (unsigned i = 0; i < dev->opts.reactor_count; i++)
		sfs_poll_group_close(&dev->groups[i]);
	sfs_session_destroy(dev->session);
	dev->opts.fs->destroy(dev->opts.fs_ctx);
	sfs_workers_client_destroy(dev->workers);
	free(dev->past_ops);
	pthread_mutex_destroy(&dev->lock);
	free(dev);
}

const char *sfs_device_tag(const struct sfs_device *dev)
{
	return dev->tag;
}

unsigned sfs_device_queue_count(const struct sfs_device *dev)
{
	return dev->queue_count;
}

void sfs_device_config_read(const struct sfs_device *dev, uint32_t offset, void *buf, uint32_t bytes)
{
	struct virtio_fs_config config = {.num_request_queues = htole32(dev->queue_count - 1)};

	memcpy(config.tag, dev->tag, strlen(dev->tag));
	memset(buf, 0, bytes);
	if (offset < sizeof(config))
		memcpy(buf, (const char *)&config + offset,
		       SFS_MIN(bytes, (uint32_t)sizeof(config) - offset));
}

/* The configured node, or the one where the guest's memory is: that of a page which the guest has written. */
static int queue_node(const struct sfs_device *dev, const struct sfs_queue *q)
{
	if (dev->opts.numa_node >= 0)
		return dev->opts.numa_node;
	/* To the kernel a page that we have not touched is nowhere yet. */
	(void)*(const volatile uint16_t *)&q->vq.avail->idx;
	return dev->opts.numa->node_of(q->vq.avail);
}

/* Slots and tables go to the node, and the reactor if it may and has no other queue. */
static void queue_place(struct sfs_device *dev, struct sfs_queue *q)
{
	const struct sfs_env_numa *numa = dev->opts.numa;
	struct iovec tables[SFS_SESSION_TABLES];
	int node = queue_node(dev, q);

	if (node < 0)
		return;
	numa->bind(q->lane.slots, q->lane.slot_count * sizeof(struct sfs_req), node);
	numa->bind(q->lane.bufs.mem, q->lane.bufs.mem_bytes, node);
	numa->bind(q->lane.bigs.mem, q->lane.bigs.mem_bytes, node);
	q->has_cpus = numa->cpus(node, &q->cpus) == 0;
	if (node == dev->tables_node)
		return;
	for (unsigned i = 0, n = sfs_session_tables(dev->session, tables); i < n; i++)
		numa->bind(tables[i].iov_base, tables[i].iov_len, node);
	dev->tables_node = node;
}

static void device_pin_set(struct sfs_device *dev, struct sfs_aio_pin *pin)
{
	struct sfs_aio_pin *old = dev->pin;

	pthread_mutex_lock(&dev->lock);
	dev->pin = pin;
	pthread_mutex_unlock(&dev->lock);
	sfs_aio_pin_put(old);
}

/* What queues use of it already stays until they end. */
static void device_unpin(struct sfs_device *dev)
{
	device_pin_set(dev, NULL);
	if (dev->pin_mem)
		sfs_mem_put(dev->pin_mem);
	dev->pin_mem = NULL;
}

static void pin_released(void *mem)
{
	sfs_mem_put(mem);
}

/* Has the guest's memory pinned, once for each memory table. */
static void device_pin(struct sfs_device *dev, struct sfs_mem *mem)
{
	struct iovec regions[SFS_MEM_REGIONS_MAX];
	struct sfs_aio_pin_opts po = {.name = dev->tag,
				      .regions = regions,
				      .count = mem->region_count,
				      .workers = dev->workers,
				      .release = pin_released,
				      .ctx = mem};
	struct sfs_aio_pin *pin = NULL;
	int rc;

	if (!dev->opts.pin_memory || dev->pin_mem == mem)
		return;
	device_unpin(dev);
	for (unsigned i = 0; i < mem->region_count; i++)
		regions[i] = (struct iovec){mem->regions[i].host, mem->regions[i].bytes};
	sfs_mem_get(mem); /* the pin's */
	rc = sfs_aio_pin_begin(dev->opts.engine, &po, &pin);
	if (rc) {
		SFS_WARN("device %s: guest memory is not pinned: %s", dev->tag,
			 rc == -ENOSYS ? "needs io_uring of Linux 6.12" : strerror(-rc));
		sfs_mem_put(mem);
	}
	sfs_mem_get(mem); /* the device's: no other table comes to lie there */
	dev->pin_mem = mem;
	device_pin_set(dev, pin);
}

int sfs_device_queue_start(struct sfs_device *dev, unsigned idx, const struct sfs_vring_setup *setup)
{
	const struct sfs_device_opts *o = &dev->opts;
	struct sfs_queue_opts qo = {
	    .idx = idx,
	    .lane = {.idx = idx,
		     .slot_count = o->slots_max,
		     .workers = dev->workers,
		     .engine = o->engine,
		     .aio = {.depth = o->io_depth, .iowq_cpus = o->iowq_cpus},
		     .bytes_in_flight_max = o->bytes_in_flight_max / o->request_queue_count,
		     .share_ns = o->turn_share_ns}};
	struct sfs_aside *aside = &dev->aside[idx < dev->queue_count ? idx : 0];
	struct sfs_poll_group_opts go = {.reactor = dev->reactors[idx % o->reactor_count],
					 .lanes = {.idx = idx % o->reactor_count,
						   .session = dev->session,
						   .workers = dev->workers,
						   .engine = o->engine}};
	struct sfs_vring_setup vring = *setup;
	struct sfs_queue *q;
	int rc;

	if (idx >= dev->queue_count || setup->size > o->ring_size_max)
		return -EINVAL;
	if (dev->queues[idx])
		return -EBUSY;
	device_bury(dev);
	if (!dev->begun) {
		rc = sfs_session_begin(dev->session);
		if (rc)
			return rc;
		dev->begun = true;
	}
	device_pin(dev, setup->mem);
	qo.lane.aio.pin = dev->pin;
	qo.group = &dev->groups[go.lanes.idx];
	rc = sfs_poll_group_open(qo.group, &go);
	if (rc)
		return rc;
	if (aside->heads && sfs_aside_fits(aside, setup)) {
		/* Who knows only what was answered thinks that the ring stands there. */
		vring.last_avail_idx = aside->place.last_avail;
		qo.again = aside;
	}
	rc = sfs_queue_create(&qo, &vring, &q);
	if (rc)
		return rc;
	sfs_aside_fini(aside);
	queue_place(dev, q);
	pthread_mutex_lock(&dev->lock);
	dev->queues[idx] = q;
	pthread_mutex_unlock(&dev->lock);
	sfs_queue_run(q);
	return 0;
}

bool sfs_device_queue_running(const struct sfs_device *dev, unsigned idx)
{
	return idx < dev->queue_count && dev->queues[idx];
}

int sfs_device_queue_stop(struct sfs_device *dev, unsigned idx, struct sfs_queue_stop *stop)
{
	if (!sfs_device_queue_running(dev, idx))
		return -ENOENT;
	sfs_queue_stop(dev->queues[idx], stop);
	return 0;
}

/* Takes the queue out of the device. */
static struct sfs_queue *queue_take(struct sfs_device *dev, unsigned idx)
{
	struct sfs_queue *q;

	if (!sfs_device_queue_running(dev, idx))
		return NULL;
	pthread_mutex_lock(&dev->lock);
	q = dev->queues[idx];
	sfs_device_figures_keep(dev, q);
	dev->queues[idx] = NULL;
	pthread_mutex_unlock(&dev->lock);
	return q;
}

void sfs_device_queue_release(struct sfs_device *dev, unsigned idx)
{
	struct sfs_queue *q = queue_take(dev, idx);

	if (!q)
		return;
	if (q->aside.count) {
		dev->aside[idx] = q->aside;
		q->aside.heads = NULL;
	}
	sfs_queue_destroy(q);
}

bool sfs_device_queue_abandon(struct sfs_device *dev, unsigned idx)
{
	struct sfs_queue *q;

	if (!sfs_device_queue_running(dev, idx))
		return true;
	if (!sfs_queue_abandon(dev->queues[idx]))
		return false;
	SFS_ERROR("device %s: queue %u did not drain in time: given up", dev->tag, idx);
	q = queue_take(dev, idx);
	q->next = dev->abandoned;
	dev->abandoned = q;
	return true;
}

void sfs_device_reset(struct sfs_device *dev)
{
	device_bury(dev);
	for (unsigned i = 0; i < dev->queue_count; i++)
		sfs_aside_fini(&dev->aside[i]);
	device_unpin(dev);
	if (!dev->begun)
		return;
	sfs_session_end(dev->session);
	dev->begun = false;
}

const char *sfs_device_queue_fault(const struct sfs_device *dev, unsigned idx)
{
	struct sfs_device *d = (struct sfs_device *)(uintptr_t)dev;
	const char *fault = NULL;

	if (idx >= dev->queue_count)
		return NULL;
	pthread_mutex_lock(&d->lock);
	if (dev->queues[idx])
		fault = atomic_load(&dev->queues[idx]->fault);
	pthread_mutex_unlock(&d->lock);
	return fault;
}
