/* SPDX-License-Identifier: BSD-3-Clause */
/* Actors: who sends what when, and whether what comes back may. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define ACTORS_MAX 8

static struct actor *actors[ACTORS_MAX];

/* --- sending --- */

static void op_send(struct op *op)
{
	struct sfs_fg_queue *q = &sim.guest.queue[op->queue];
	struct sfs_fg_req *req = sfs_fg_req_get(q);
	int rc;

	if (!req)
		return;
	if (op->call.data_readable)
		memcpy(req->data, op->data, op->call.data_readable);
	req->user = op;
	rc = sfs_fg_start(req, &op->call);
	if (rc < 0) {
		sfs_fg_req_put(req);
		sim.cover->ring_full++;
		if (rc != -ENOSPC)
			sim_fail("a request does not fit into the ring: %d", rc);
		return;
	}
	op->sent = true;
	op->req = req;
}

static bool actor_busy(const struct actor *a)
{
	return a->op[0].active || a->op[1].active;
}

static void actor_step(struct actor *a)
{
	unsigned sum = 0, at;

	for (unsigned i = 0; i < model_row_count; i++)
		sum += model_rows[i].weight;
	at = (unsigned)sim_below(sum);
	for (unsigned i = 0; i < model_row_count; i++) {
		if (at >= model_rows[i].weight) {
			at -= model_rows[i].weight;
			continue;
		}
		a->steps -= model_rows[i].step(a, &a->op[0]);
		return;
	}
}

/* True while there is more to do. */
static bool actor_turn(struct actor *a, bool ending)
{
	if (!actor_busy(a)) {
		if (model_begin(a, &a->op[0])) {
			/* first its directory */
		} else if (ending) {
			if (!model_end(a, &a->op[0]))
				return false;
		} else if (a->steps == 0) {
			return false;
		} else if (sim_chance(600)) {
			actor_step(a);
		}
	}
	for (unsigned i = 0; i < 2; i++)
		if (a->op[i].active && !a->op[i].sent)
			op_send(&a->op[i]);
	return true;
}

/* --- what comes back --- */

static bool op_may_fail(const struct op *op, int error)
{
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(op->other); i++)
		if (error == op->other[i])
			return true;
	return error == op->expect;
}

static void op_done(struct op *op, struct sfs_fg_req *req)
{
	int rc = req->result;

	if (op->req != req)
		sim_fail("a request came back that nobody waits for");
	if (sim.verbose)
		printf("turn %6llu actor %u queue %u opcode %2u %-16s = %d\n", (unsigned long long)sim.turn,
		       op->actor->idx, op->queue, op->call.opcode, op->name[0], rc);
	sim_note(sim.turn << 16 | op->call.opcode);
	sim_note((uint64_t)rc);
	sim.cover->done[op->call.opcode]++;
	sim.cover->failed[op->call.opcode] += rc < 0;
	if (rc < 0 && !op_may_fail(op, rc))
		sim_fail("actor %u: opcode %u of %s: error %d instead of %d", op->actor->idx, op->call.opcode,
			 op->name[0], rc, op->expect);
	if (rc >= 0 && op->expect)
		sim_fail("actor %u: opcode %u of %s: success instead of %d", op->actor->idx, op->call.opcode,
			 op->name[0], op->expect);
	if (rc < 0) {
		if (op->handle && (op->call.opcode == FUSE_CREATE || op->call.opcode == FUSE_OPEN))
			op->handle->obj = NULL;
	} else {
		op->check(op, req);
	}
	op->active = op->sent = false;
}

static void take_answers(void)
{
	for (unsigned i = 0; i < sim.guest.queue_count; i++) {
		struct sfs_fg_req *req;
		int rc;

		while ((rc = sfs_fg_poll(&sim.guest.queue[i], &req)) == 1) {
			sim.last_progress = sim.turn;
			op_done(req->user, req);
			sfs_fg_req_put(req);
		}
		if (rc < 0)
			sim_fail("queue %u gave back what was not in flight", i);
	}
}

/* --- the run --- */

static bool all_turn(bool ending)
{
	unsigned first = (unsigned)sim_below(sim.plan.actors);
	bool more = false;

	for (unsigned i = 0; i < sim.plan.actors; i++)
		more |= actor_turn(actors[(first + i) % sim.plan.actors], ending);
	for (unsigned i = 0; i < sim.guest.queue_count; i++)
		if (!sim_chance(300))
			sfs_fg_publish(&sim.guest.queue[i]);
	sim_world_turn();
	take_answers();
	return more;
}

static void check_left(void)
{
	struct sfs_device_figures fig;

	sfs_device_figures(sim.dev, &fig);
	if (fig.handles)
		sim_fail("%llu handles are left", (unsigned long long)fig.handles);
	if (fig.bad_requests)
		sim_fail("%llu requests were taken for bad ones", (unsigned long long)fig.bad_requests);
	for (unsigned i = 0; i < sim.guest.queue_count; i++) {
		const struct sfs_queue *q = sim.dev->queues[i];

		if (q->lane.in_flight || q->lane.bytes_in_flight || q->lane.waiter_count || q->lane.calls_out)
			sim_fail("queue %u is not empty", i);
		if (q->lane.bufs.free_count != SFS_MIN(q->lane.slot_count, 64u) ||
		    q->lane.bigs.free_count != q->lane.bufs.free_count)
			sim_fail("queue %u has lost buffers", i);
	}
}

void sim_programs(void)
{
	sim.last_progress = sim.turn;
	for (unsigned i = 0; i < sim.plan.actors; i++) {
		struct actor *a = actors[i] = calloc(1, sizeof(*a));

		a->idx = i;
		a->steps = sim.plan.steps;
		a->op[0].actor = a->op[1].actor = a;
		snprintf(a->name, sizeof(a->name), "a%u", i % ACTORS_MAX);
	}
	while (all_turn(false))
		if (sim_chance(2))
			sim_world_restart((unsigned)sim_below(sim.guest.queue_count));
	while (all_turn(true))
		;
	for (unsigned i = 0; i < 100; i++) /* nothing more comes */
		all_turn(true);
	check_left();
	for (unsigned i = 0; i < sim.plan.actors; i++) {
		model_free(actors[i]);
		free(actors[i]);
	}
	sim_world_init(); /* the guest boots again */
}
