/* SPDX-License-Identifier: BSD-3-Clause */
#include "poll_group.h"
#include "queue.h"

/* After so many turns that did not use up their share a guest is one whose requests are short. */
#define QUICK_TURNS 16u

static unsigned group_poll(struct sfs_poller *poller, uint64_t now_ns)
{
	struct sfs_poll_group *pg = SFS_CONTAINER_OF(poller, struct sfs_poll_group, poller);
	enum sfs_company company = sfs_reactor_company(pg->reactor, pg->session, now_ns);
	unsigned work, requests = 0;
	struct sfs_queue *q, *next;
	bool sated = false;

	TAILQ_FOREACH (q, &pg->queues, link)
		requests += sfs_queue_pending(q);
	work = sfs_group_begin(&pg->lanes, requests);
	TAILQ_FOREACH (q, &pg->queues, link)
		work += sfs_queue_accept(q, now_ns, company);
	work += sfs_group_commit(&pg->lanes);
	TAILQ_FOREACH (q, &pg->queues, link) {
		work += sfs_queue_answer(q);
		sated |= sfs_lane_sated(&q->lane);
	}
	sfs_group_end(&pg->lanes);
	if (work) {
		pg->quick_turns = sated ? 0 : SFS_MIN(pg->quick_turns + 1, QUICK_TURNS);
		sfs_reactor_worked(pg->reactor, pg->session, now_ns, pg->quick_turns == QUICK_TURNS);
	}
	/* When the last one has gone, the group may have, too. */
	for (q = TAILQ_FIRST(&pg->queues); q; q = next) {
		next = TAILQ_NEXT(q, link);
		if (SFS_UNLIKELY(sfs_queue_ending(q)))
			sfs_queue_drain(q);
	}
	return work;
}

static bool group_arm(struct sfs_poller *poller)
{
	struct sfs_poll_group *pg = SFS_CONTAINER_OF(poller, struct sfs_poll_group, poller);
	bool work = sfs_group_has_work(&pg->lanes);
	struct sfs_queue *q;

	TAILQ_FOREACH (q, &pg->queues, link)
		work |= sfs_queue_arm(q);
	return work;
}

static void group_disarm(struct sfs_poller *poller)
{
	struct sfs_poll_group *pg = SFS_CONTAINER_OF(poller, struct sfs_poll_group, poller);
	struct sfs_queue *q;

	TAILQ_FOREACH (q, &pg->queues, link)
		sfs_queue_disarm(q);
}

static const struct sfs_poller_ops group_poller_ops = {group_poll, group_arm, group_disarm};

int sfs_poll_group_open(struct sfs_poll_group *pg, const struct sfs_poll_group_opts *o)
{
	int rc;

	if (pg->open)
		return 0;
	rc = sfs_group_init(&pg->lanes, &o->lanes);
	if (rc)
		return rc;
	pg->poller.ops = &group_poller_ops;
	pg->reactor = o->reactor;
	pg->session = o->lanes.session;
	TAILQ_INIT(&pg->queues);
	pg->open = true;
	return 0;
}

void sfs_poll_group_close(struct sfs_poll_group *pg)
{
	if (pg->open)
		sfs_group_fini(&pg->lanes);
	pg->open = false;
}

void sfs_poll_group_add(struct sfs_poll_group *pg, struct sfs_queue *q)
{
	if (TAILQ_EMPTY(&pg->queues)) {
		sfs_group_join(&pg->lanes);
		sfs_reactor_add(pg->reactor, &pg->poller);
	}
	TAILQ_INSERT_TAIL(&pg->queues, q, link);
}

void sfs_poll_group_remove(struct sfs_poll_group *pg, struct sfs_queue *q)
{
	TAILQ_REMOVE(&pg->queues, q, link);
	if (!TAILQ_EMPTY(&pg->queues))
		return;
	sfs_reactor_remove(pg->reactor, &pg->poller);
	sfs_group_leave(&pg->lanes);
}
