/* SPDX-License-Identifier: BSD-3-Clause */
/* The device, its rings and its reactors, turned by hand. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sfs_mem_fs.h"
#include "sfs_passthrough.h"
#include "sim.h"

#define TURN_NS     1000
#define STUCK_TURNS 20000

static const int engine_errors[] = {-EIO, -ENOMEM};

/* --- the plan --- */

static uint64_t pick(const unsigned *of, unsigned count)
{
	return of[sim_below(count)];
}
#define PICK(...)                                                                                            \
	pick((const unsigned[]){__VA_ARGS__}, sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned))

static void plan_driver(struct sim_plan *p)
{
	if (p->mem) {
		snprintf(p->options, sizeof(p->options), "{\"size_mib\": 64, \"inodes\": 4096}");
		return;
	}
	snprintf(p->options, sizeof(p->options),
		 "{\"shared_dir\": \"%s/share\", \"inline_blocking\": \"%s\", \"inline_bytes_max\": %u, "
		 "\"inode_file_handles\": \"%s\", \"inode_fds_max\": %u, \"cache\": \"%s\"}",
		 sim.dir, sim_chance(750) ? "never" : "always", (unsigned)PICK(0, 1000, 131072),
		 sim_chance(700) ? "prefer" : "never", (unsigned)PICK(1, 4, 64),
		 sim_chance(500) ? "auto" : "never");
}

void sim_plan_make(struct sim_plan *p, uint64_t seed)
{
	memset(p, 0, sizeof(*p));
	p->seed = seed;
	p->mem = sim_chance(200);
	p->errors = sim_chance(300);
	p->queues = 2 + (unsigned)sim_below(2);
	p->reactors = 1 + (unsigned)sim_below(2);
	p->slots = (unsigned)PICK(1, 2, 5, 64);
	p->depth = (unsigned)PICK(1, 3, 64);
	p->share_ns = (unsigned)PICK(0, 1000, 5000);
	p->actors = 3 + (unsigned)sim_below(4);
	p->steps = 200;
	p->call_delay = (unsigned)PICK(0, 3, 30);
	p->cached_permille = (unsigned)PICK(0, 500, 1000);
	p->short_permille = (unsigned)PICK(0, 300);
	p->guest = (struct sfs_fg_opts){.mem = {.region_count = 1 + (unsigned)sim_below(3)},
					.request_queues = p->queues,
					.ring_size = (unsigned)PICK(16, 64),
					.depth = 12,
					.data_bytes = 65536,
					.seg_bytes = (uint32_t)PICK(0, 4096, 16384),
					.features_refused = sim_chance(500) ? SFS_FE_F_EVENT_IDX : 0};
	if (p->guest.seg_bytes != 4096 && sim_chance(300))
		p->guest.features_refused |= SFS_FE_F_INDIRECT_DESC;
	p->guest.mem.region_bytes = 24 << 20;
	plan_driver(p);
	sfs_aio_sim_plan = (struct sfs_aio_sim_plan){.delay_max_turns = (unsigned)PICK(0, 2, 40),
						     .short_permille = (unsigned)PICK(0, 300, 700),
						     .error_permille = p->errors ? 200 : 0,
						     .errors = engine_errors,
						     .error_count = 2,
						     .full_permille = (unsigned)PICK(0, 300)};
}

/* --- the engine: sim, with a seed, and watched --- */

static int engine_open(struct sfs_aio *aio, const struct sfs_aio_opts *opts)
{
	struct sfs_aio_opts seeded = *opts;

	seeded.seed = sim_below(UINT64_MAX);
	return sfs_aio_sim.open(aio, &seeded);
}

static void engine_close(struct sfs_aio *aio)
{
	sfs_aio_sim.close(aio);
}

static int engine_queue(struct sfs_aio *aio, struct sfs_io *io)
{
	int rc = sfs_aio_sim.queue(aio, io);

	sim.cover->engine_full += rc < 0;
	return rc;
}

static unsigned engine_commit(struct sfs_aio *aio)
{
	return sfs_aio_sim.commit(aio);
}

static unsigned engine_reap(struct sfs_aio *aio, struct sfs_io **ios, unsigned max)
{
	unsigned n = sfs_aio_sim.reap(aio, ios, max);

	for (unsigned i = 0; i < n; i++) {
		size_t want = 0;

		for (unsigned j = 0; j < ios[i]->iovcnt; j++)
			want += ios[i]->iov[j].iov_len;
		if (ios[i]->res > 0 && (size_t)ios[i]->res < want)
			sim.cover->short_reads |= 1ull << (63 - __builtin_clzll((uint64_t)ios[i]->res));
	}
	return n;
}

static bool engine_ready(struct sfs_aio *aio)
{
	return sfs_aio_sim.ready(aio);
}

static int engine_fd(struct sfs_aio *aio)
{
	return -1;
}

static const struct sfs_aio_ops engine = {.name = "sim",
					  .open = engine_open,
					  .close = engine_close,
					  .queue = engine_queue,
					  .commit = engine_commit,
					  .reap = engine_reap,
					  .ready = engine_ready,
					  .fd = engine_fd};

/* --- making it --- */

static void device_make(void)
{
	struct sfs_device_opts o = {
	    .tag = "sim",
	    .request_queue_count = sim.plan.queues,
	    .ring_size_max = 1024,
	    .slots_max = sim.plan.slots,
	    .io_depth = sim.plan.depth,
	    .turn_share_ns = sim.plan.share_ns,
	    .engine = &engine,
	    .reactors = sim.reactors,
	    .reactor_count = sim.plan.reactors,
	    .workers_max = 4,
	    .limits = {.inodes = 4096, .handles = 256, .fds = 512, .locks = 64, .lock_waiters = 16},
	    .fs = sim.fs,
	    .numa_node = -1,
	    .numa = &sfs_env_numa_host};
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err;

	if (sfs_conf_doc_parse(sim.plan.options, strlen(sim.plan.options), "options", &doc, &err) ||
	    sim.fs->create(sfs_conf_doc_root(doc), &o.fs_ctx, &o.fs_info, &err))
		sim_fail("driver's options %s: %s", sim.plan.options, err.text);
	sfs_conf_doc_destroy(doc);
	if (sim.fs->thread_init)
		sim.fs->thread_init(o.fs_ctx);
	if (o.fs_info.block_policy == SFS_BLOCK_AUTO) /* depends on the clock */
		o.fs_info.block_policy = SFS_BLOCK_NEVER;
	if (sfs_device_create(&o, &sim.dev))
		sim_fail("no device");
}

static void queue_start(unsigned idx)
{
	struct sfs_fe_ring *r = &sim.guest.queue[idx].ring;
	const struct sfs_vring_setup s = {.features = SFS_F_VERSION_1 | (r->event_idx ? SFS_F_EVENT_IDX : 0) |
						      (r->indirect_on ? SFS_F_INDIRECT_DESC : 0),
					  .mem = sim.mem,
					  .desc = r->desc,
					  .avail = r->avail,
					  .used = r->used,
					  .size = (uint16_t)r->size,
					  .last_avail_idx = r->base_idx,
					  .last_used_idx = r->used->idx,
					  .kick_fd = -1,
					  .call_fd = -1};
	int rc = sfs_device_queue_start(sim.dev, idx, &s);

	if (rc)
		sim_fail("queue %u does not start: %s", idx, strerror(-rc));
}

static void memory_make(void)
{
	struct sfs_mem_region r[SFS_MEM_REGIONS_MAX];

	if (sfs_fg_begin(&sim.guest, &sim.plan.guest))
		sim_fail("no guest memory");
	for (unsigned i = 0; i < sim.guest.mem.region_count; i++)
		r[i] = (struct sfs_mem_region){.guest_addr = sim.guest.mem.region[i].gpa,
					       .user_addr = (uintptr_t)sim.guest.mem.region[i].hva,
					       .bytes = sim.guest.mem.region[i].bytes,
					       .host = (char *)sim.guest.mem.region[i].hva};
	if (sfs_mem_create_mapped(r, sim.guest.mem.region_count, &sim.mem))
		sim_fail("no memory table");
	sim.guest.uid = geteuid();
	sim.guest.gid = getegid();
}

void sim_world_begin(void)
{
	const struct sfs_reactor_opts ro = {.name = "sim", .cpu = -1, .idle = SFS_IDLE_SPIN};
	char share[160];

	sim_calls_at_once(false);
	snprintf(share, sizeof(share), "%s/share", sim.dir);
	if (mkdir(share, 0755))
		sim_fail("%s: %s", share, strerror(errno));
	sim.fs = sim.plan.mem ? &sfs_fs_mem : &sfs_fs_passthrough;
	for (unsigned i = 0; i < sim.plan.reactors; i++)
		if (sfs_reactor_create(&ro, &sim.reactors[i]))
			sim_fail("no reactor");
	memory_make();
	device_make();
	for (unsigned i = 0; i < sim.guest.queue_count; i++)
		queue_start(i);
	sim_world_init();
}

/* --- turning it --- */

static void watch_queue(const struct sfs_queue *q)
{
	static const int parks[] = {
	    [SFS_REQ_IO] = SIM_PARK_IO + 1,       [SFS_REQ_CALL] = SIM_PARK_CALL + 1,
	    [SFS_REQ_WAIT] = SIM_PARK_WAIT + 1,   [SFS_REQ_BARRIER] = SIM_PARK_BARRIER + 1,
	    [SFS_REQ_YIELD] = SIM_PARK_YIELD + 1, [SFS_REQ_ENDED] = 0};

	for (unsigned i = 0; i < q->lane.slot_count; i++) {
		const struct sfs_req *req = &q->lane.slots[i];
		int park = parks[req->state];

		if (park)
			sim.cover->parked[req->op->opcode][park - 1] |= 1ull << req->step;
	}
	sim.cover->slots_full += !q->lane.free_slots && q->vq.avail->idx != q->vq.last_avail;
}

void sim_world_turn(void)
{
	unsigned first = (unsigned)sim_below(sim.plan.reactors);

	sim.turn++;
	for (unsigned i = 0; i < sim.plan.reactors; i++)
		if (!sim_chance(200))
			sfs_reactor_turn(sim.reactors[(first + i) % sim.plan.reactors], sim.turn * TURN_NS);
	for (unsigned i = 0; i < sim.guest.queue_count; i++)
		if (sim.dev->queues[i])
			watch_queue(sim.dev->queues[i]);
	sim_calls_turn();
	if (sim.turn - sim.last_progress > STUCK_TURNS)
		sim_fail("nothing ends any more: a request was lost");
}

static bool stop_done;

static void stopped(struct sfs_queue_stop *stop)
{
	stop_done = true;
}

static uint16_t queue_stop(unsigned idx)
{
	struct sfs_queue_stop stop = {.done = stopped};

	stop_done = false;
	if (sfs_device_queue_stop(sim.dev, idx, &stop))
		sim_fail("queue %u does not run", idx);
	while (!stop_done)
		sim_world_turn();
	if (sfs_device_queue_fault(sim.dev, idx))
		sim_fail("queue %u: %s", idx, sfs_device_queue_fault(sim.dev, idx));
	sfs_device_queue_release(sim.dev, idx);
	return stop.last_avail_idx;
}

void sim_world_restart(unsigned idx)
{
	sim.guest.queue[idx].ring.base_idx = queue_stop(idx);
	queue_start(idx);
	sim.cover->restarts++;
}

void sim_world_init(void)
{
	const struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION,
					.minor = FUSE_KERNEL_MINOR_VERSION,
					.max_readahead = 1 << 20,
					.flags = INT32_MAX & ~(uint32_t)FUSE_SETXATTR_EXT};
	const struct sfs_fg_call call = {.opcode = FUSE_INIT,
					 .args = &in,
					 .args_bytes = sizeof(in),
					 .out_bytes = sizeof(struct fuse_init_out)};
	struct sfs_fg_queue *q = &sim.guest.queue[1 + sim_below(sim.plan.queues)];
	struct sfs_fg_req *req = sfs_fg_req_get(q), *back = NULL;
	int rc;

	rc = sfs_fg_start(req, &call);
	if (rc < 0 || sfs_fg_publish(q) < 0)
		sim_fail("INIT does not fit into the ring");
	sim.last_progress = sim.turn;
	while ((rc = sfs_fg_poll(q, &back)) == 0)
		sim_world_turn();
	if (rc < 0 || back != req || req->result != 0)
		sim_fail("INIT: %d", rc < 0 ? rc : req->result);
	sfs_fg_req_put(req);
	sim.cover->inits++;
}

void sim_world_end(void)
{
	for (unsigned i = 0; i < sim.guest.queue_count; i++)
		queue_stop(i);
	sim_calls_at_once(true);
	sfs_device_destroy(sim.dev);
	for (unsigned i = 0; i < sim.plan.reactors; i++)
		sfs_reactor_destroy(sim.reactors[i]);
	if (atomic_load(&sim.mem->refs) != 1)
		sim_fail("guest memory is still referred to");
	sfs_mem_put(sim.mem);
	sfs_fg_end(&sim.guest);
}
