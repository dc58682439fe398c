/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "sfs_reactor.h"

struct counter {
	struct sfs_poller poller;
	struct sfs_reactor *r;
	unsigned polls, arms, disarms;
	unsigned work; /* what poll reports */
	bool pending;  /* what arm reports */
	struct counter *removes;
};

static unsigned counter_poll(struct sfs_poller *p, uint64_t now_ns)
{
	struct counter *c = SFS_CONTAINER_OF(p, struct counter, poller);

	c->polls++;
	if (c->removes) {
		sfs_reactor_remove(c->r, &c->removes->poller);
		c->removes = NULL;
	}
	return c->work;
}

static bool counter_arm(struct sfs_poller *p)
{
	struct counter *c = SFS_CONTAINER_OF(p, struct counter, poller);

	c->arms++;
	return c->pending;
}

static void counter_disarm(struct sfs_poller *p)
{
	SFS_CONTAINER_OF(p, struct counter, poller)->disarms++;
}

static const struct sfs_poller_ops counter_ops = {counter_poll, counter_arm, counter_disarm};

static struct sfs_reactor *make(enum sfs_idle idle)
{
	struct sfs_reactor_opts opts = {.name = "t", .cpu = -1, .idle = idle, .spin_ns = 1000};
	struct sfs_reactor *r = NULL;

	assert_int_equal(sfs_reactor_create(&opts, &r), 0);
	return r;
}

static void turns_call_each_poller_once(void **state)
{
	struct sfs_reactor *r = make(SFS_IDLE_SPIN);
	struct counter a = {.poller.ops = &counter_ops, .r = r, .work = 2},
		       b = {.poller.ops = &counter_ops, .r = r};

	sfs_reactor_add(r, &a.poller);
	sfs_reactor_add(r, &b.poller);
	assert_int_equal(sfs_reactor_turn(r, 1), 2);
	assert_int_equal(a.polls, 1);
	assert_int_equal(b.polls, 1);
	sfs_reactor_destroy(r);
}

static void a_poller_may_remove_itself_and_its_neighbour(void **state)
{
	struct sfs_reactor *r = make(SFS_IDLE_SPIN);
	struct counter a = {.poller.ops = &counter_ops, .r = r}, b = {.poller.ops = &counter_ops, .r = r},
		       c = {.poller.ops = &counter_ops, .r = r};

	sfs_reactor_add(r, &a.poller);
	sfs_reactor_add(r, &b.poller);
	sfs_reactor_add(r, &c.poller);
	a.removes = &b;
	sfs_reactor_turn(r, 1);
	assert_int_equal(b.polls, 0);
	assert_int_equal(c.polls, 1);
	c.removes = &c;
	sfs_reactor_turn(r, 2);
	sfs_reactor_turn(r, 3);
	assert_int_equal(c.polls, 2);
	assert_int_equal(a.polls, 3);
	sfs_reactor_destroy(r);
}

struct note {
	struct sfs_msg msg;
	int seq;
	int *log;
	unsigned *count;
};

static void note_fn(struct sfs_msg *msg)
{
	struct note *n = SFS_CONTAINER_OF(msg, struct note, msg);

	n->log[(*n->count)++] = n->seq;
}

static void messages_run_in_order_before_the_pollers(void **state)
{
	struct sfs_reactor *r = make(SFS_IDLE_SPIN);
	int log[3];
	unsigned count = 0;
	struct note n[3];

	for (int i = 0; i < 3; i++) {
		n[i] = (struct note){.msg.fn = note_fn, .seq = i, .log = log, .count = &count};
		sfs_reactor_send(r, &n[i].msg);
	}
	assert_int_equal(sfs_reactor_turn(r, 1), 3);
	assert_int_equal(count, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(log[i], i);
	sfs_reactor_destroy(r);
}

static void arm_refuses_sleep_while_there_is_work(void **state)
{
	struct sfs_reactor *r = make(SFS_IDLE_ADAPTIVE);
	struct counter a = {.poller.ops = &counter_ops, .r = r, .pending = true};
	int log[1];
	unsigned count = 0;
	struct note n = {.msg.fn = note_fn, .log = log, .count = &count};

	sfs_reactor_add(r, &a.poller);
	assert_false(sfs_reactor_arm(r));
	sfs_reactor_disarm(r);
	assert_int_equal(a.arms, 1);
	assert_int_equal(a.disarms, 1);
	a.pending = false;
	assert_true(sfs_reactor_arm(r));
	sfs_reactor_disarm(r);
	sfs_reactor_send(r, &n.msg);
	assert_false(sfs_reactor_arm(r));
	sfs_reactor_disarm(r);
	sfs_reactor_destroy(r);
}

struct ping {
	struct sfs_msg msg;
	int efd;
};

static void ping_fn(struct sfs_msg *msg)
{
	uint64_t one = 1;

	assert_int_equal(write(SFS_CONTAINER_OF(msg, struct ping, msg)->efd, &one, 8), 8);
}

/* A sender that races with the reactor falling asleep, many times: a lost wake-up hangs the read. */
static void no_message_is_lost_while_falling_asleep(void **state)
{
	struct sfs_reactor *r = make(SFS_IDLE_ADAPTIVE);
	struct ping p = {.msg.fn = ping_fn, .efd = eventfd(0, 0)};
	struct sfs_reactor_stats st;
	uint64_t v;
	unsigned rounds = 20000;

	assert_int_equal(sfs_reactor_start(r), 0);
	for (unsigned i = 0; i < rounds; i++) {
		for (unsigned spin = 0; spin < i % 997; spin++)
			sfs_pause();
		sfs_reactor_send(r, &p.msg);
		assert_int_equal(read(p.efd, &v, 8), 8);
	}
	assert_int_equal(sfs_reactor_stop(r, 60 * SFS_NS_PER_S), 0);
	sfs_reactor_stats_get(r, &st);
	assert_true(st.sleeps > 0);
	close(p.efd);
	sfs_reactor_destroy(r);
}

struct fdwait {
	struct sfs_poller poller;
	int in, out;
};

static bool fdwait_arm(struct sfs_poller *p)
{
	return false;
}

static unsigned fdwait_poll(struct sfs_poller *p, uint64_t now_ns)
{
	struct fdwait *f = SFS_CONTAINER_OF(p, struct fdwait, poller);
	uint64_t v = 0;

	if (read(f->in, &v, 8) != 8)
		return 0;
	assert_int_equal(write(f->out, &v, 8), 8);
	return 1;
}

static const struct sfs_poller_ops fdwait_ops = {fdwait_poll, fdwait_arm, NULL};

static void a_watched_descriptor_ends_sleep(void **state)
{
	struct sfs_reactor *r = make(SFS_IDLE_ADAPTIVE);
	struct fdwait f = {.poller.ops = &fdwait_ops, .in = eventfd(0, EFD_NONBLOCK), .out = eventfd(0, 0)};
	uint64_t v = 1;

	sfs_reactor_add(r, &f.poller);
	assert_int_equal(sfs_reactor_fd_add(r, f.in), 0);
	assert_int_equal(sfs_reactor_start(r), 0);
	for (unsigned i = 0; i < 2000; i++) {
		v = 1;
		assert_int_equal(write(f.in, &v, 8), 8);
		assert_int_equal(read(f.out, &v, 8), 8);
		assert_int_equal(v, 1);
	}
	assert_int_equal(sfs_reactor_stop(r, 60 * SFS_NS_PER_S), 0);
	sfs_reactor_remove(r, &f.poller);
	close(f.in);
	close(f.out);
	sfs_reactor_destroy(r);
}

/* A turn that took longer than the time to spin: the spinning begins when it is over, with many looks before the sleep. */
#define LONG_SPIN_NS (200 * SFS_NS_PER_MS)

struct longturn {
	struct sfs_poller poller;
	struct sfs_reactor *r;
	int out;
	bool disk, answers; /* the turn's request goes to a disk, and the one before it is answered */
	uint64_t began_ns;
	bool worked;
	uint64_t looks; /* since the long turn */
};

static unsigned longturn_poll(struct sfs_poller *p, uint64_t now_ns)
{
	struct longturn *l = SFS_CONTAINER_OF(p, struct longturn, poller);

	if (l->disk)
		sfs_reactor_waits(l->r);
	if (l->worked) {
		l->looks++;
		return 0;
	}
	if (!l->began_ns)
		l->began_ns = now_ns;
	/* The reactor learns that requests take their time. */
	if (l->disk && now_ns - l->began_ns < LONG_SPIN_NS * 3 / 4)
		return 0;
	sfs_reactor_arrived(l->r);
	if (l->answers)
		sfs_reactor_answered(l->r);
	/* By the clock that turns are given, which may be ahead of the system's by less than a microsecond. */
	while (sfs_reactor_now_ns(l->r) - now_ns < LONG_SPIN_NS + 20 * SFS_NS_PER_MS)
		sfs_pause();
	l->worked = true;
	return 1;
}

static bool longturn_arm(struct sfs_poller *p)
{
	struct longturn *l = SFS_CONTAINER_OF(p, struct longturn, poller);
	uint64_t looks = l->looks;

	if (looks && write(l->out, &looks, sizeof(looks)) < 0)
		return false;
	l->looks = 0;
	return !l->worked;
}

static const struct sfs_poller_ops longturn_ops = {longturn_poll, longturn_arm, NULL};

/* How often the reactor looks after the long turn, before it sleeps. */
static uint64_t looks_after(struct longturn l)
{
	struct sfs_reactor_opts opts = {
	    .name = "t", .cpu = -1, .idle = SFS_IDLE_ADAPTIVE, .spin_ns = LONG_SPIN_NS};
	uint64_t looks;

	l.poller.ops = &longturn_ops;
	l.out = eventfd(0, 0);
	assert_int_equal(sfs_reactor_create(&opts, &l.r), 0);
	sfs_reactor_add(l.r, &l.poller);
	assert_int_equal(sfs_reactor_start(l.r), 0);
	assert_int_equal(read(l.out, &looks, sizeof(looks)), sizeof(looks));
	assert_int_equal(sfs_reactor_stop(l.r, 60 * SFS_NS_PER_S), 0);
	sfs_reactor_remove(l.r, &l.poller);
	close(l.out);
	sfs_reactor_destroy(l.r);
	return looks;
}

static void a_long_turn_is_no_idle_time(void **state)
{
	assert_true(looks_after((struct longturn){.disk = false}) > 1);
}

/* While it handed requests to a disk nobody got an answer that others could follow: they could have come all that time. */
static void a_long_submission_is_idle_time(void **state)
{
	assert_int_equal(looks_after((struct longturn){.disk = true}), 1);
	assert_true(looks_after((struct longturn){.disk = true, .answers = true}) > 1);
}

/* Who works alone may take longer: another party counts for a while after its last work. */
static void parties_share_a_reactor(void **state)
{
	struct sfs_reactor *r = make(SFS_IDLE_SPIN);
	uint64_t ms = SFS_NS_PER_MS, now = 1000 * ms;
	int a, b, c;

	assert_int_equal(sfs_reactor_company(r, &a, now), SFS_ALONE);
	sfs_reactor_worked(r, &a, now, false);
	sfs_reactor_worked(r, &a, now + ms, false);
	assert_int_equal(sfs_reactor_company(r, &a, now + ms), SFS_ALONE);
	assert_int_equal(sfs_reactor_company(r, &b, now + ms), SFS_BESIDE_BUSY);
	sfs_reactor_worked(r, &b, now + 2 * ms, false);
	sfs_reactor_worked(r, &a, now + 3 * ms, false);
	assert_int_equal(sfs_reactor_company(r, &a, now + 3 * ms), SFS_BESIDE_BUSY);
	assert_int_equal(sfs_reactor_company(r, &b, now + 3 * ms), SFS_BESIDE_BUSY);
	assert_int_equal(sfs_reactor_company(r, &c, now + 3 * ms), SFS_BESIDE_BUSY);
	sfs_reactor_worked(r, &a, now + 11 * ms, false);
	assert_int_equal(sfs_reactor_company(r, &a, now + 11 * ms), SFS_BESIDE_BUSY);
	assert_int_equal(sfs_reactor_company(r, &a, now + 12 * ms), SFS_ALONE);
	assert_int_equal(sfs_reactor_company(r, &b, now + 12 * ms), SFS_BESIDE_BUSY);
	assert_int_equal(sfs_reactor_company(r, &b, now + 21 * ms), SFS_ALONE);
	/* One who is quick is nobody's company but the others'. */
	now += 100 * ms;
	sfs_reactor_worked(r, &a, now, true);
	sfs_reactor_worked(r, &b, now + ms, false);
	assert_int_equal(sfs_reactor_company(r, &a, now + ms), SFS_BESIDE_BUSY);
	assert_int_equal(sfs_reactor_company(r, &b, now + ms), SFS_BESIDE_QUICK);
	sfs_reactor_worked(r, &c, now + 9 * ms, false);
	assert_int_equal(sfs_reactor_company(r, &b, now + 9 * ms), SFS_BESIDE_QUICK);
	assert_int_equal(sfs_reactor_company(r, &b, now + 10 * ms), SFS_BESIDE_BUSY);
	sfs_reactor_destroy(r);
}

/* Requests come every other turn; after a while none come any more, and perhaps a disk is waited for. */
struct patient {
	struct sfs_poller poller;
	struct sfs_reactor *r;
	enum { ALONE, WAITS, YIELDS, YIELDS_SHARED } how;
	unsigned turns;
	atomic_uint
	    arms; /* YIELDS_SHARED: how often it wanted to sleep, and was not let; what lay between at least */
	uint64_t last_ns, least_ns;
};

static unsigned patient_poll(struct sfs_poller *poller, uint64_t now_ns)
{
	struct patient *p = SFS_CONTAINER_OF(poller, struct patient, poller);

	if (p->how == WAITS)
		sfs_reactor_waits(p->r);
	else if (p->how != ALONE)
		sfs_reactor_yields(p->r, p->how == YIELDS_SHARED);
	if (p->turns == 1000 || p->turns++ % 2)
		return 0;
	sfs_reactor_arrived(p->r);
	return 1;
}

static bool patient_arm(struct sfs_poller *poller)
{
	struct patient *p = SFS_CONTAINER_OF(poller, struct patient, poller);
	uint64_t now = sfs_reactor_now_ns(p->r);

	if (p->how != YIELDS_SHARED)
		return false;
	if (atomic_load(&p->arms))
		p->least_ns = SFS_MIN(p->least_ns, now - p->last_ns);
	p->last_ns = now;
	atomic_fetch_add(&p->arms, 1);
	return true;
}

static const struct sfs_poller_ops patient_ops = {.poll = patient_poll, .arm = patient_arm};

/* While a disk or a worker on its CPU works the reactor spins no longer than requests take to come; else as long as it is told to. */
static void spins_less_beside_a_disk(void **state)
{
	struct sfs_reactor_opts opts = {
	    .name = "t", .cpu = -1, .idle = SFS_IDLE_ADAPTIVE, .spin_ns = 3600 * SFS_NS_PER_S};
	struct sfs_reactor_stats stats;

	for (unsigned how = ALONE; how <= YIELDS; how++) {
		struct patient p = {.poller.ops = &patient_ops, .how = how};

		assert_int_equal(sfs_reactor_create(&opts, &p.r), 0);
		sfs_reactor_add(p.r, &p.poller);
		assert_int_equal(sfs_reactor_start(p.r), 0);
		do
			sfs_reactor_stats_get(p.r, &stats);
		while (how != ALONE ? stats.sleeps == 0 : stats.turns < 100000);
		assert_int_equal(stats.sleeps != 0, how != ALONE);
		assert_int_equal(sfs_reactor_stop(p.r, SFS_NS_PER_S), 0);
		sfs_reactor_destroy(p.r);
	}
}

/* Others who are served meanwhile wait for a worker no more often than once in two milliseconds. */
static void makes_way_now_and_then(void **state)
{
	struct sfs_reactor_opts opts = {
	    .name = "t", .cpu = -1, .idle = SFS_IDLE_ADAPTIVE, .spin_ns = 3600 * SFS_NS_PER_S};
	struct patient p = {.poller.ops = &patient_ops, .how = YIELDS_SHARED, .least_ns = UINT64_MAX};

	assert_int_equal(sfs_reactor_create(&opts, &p.r), 0);
	sfs_reactor_add(p.r, &p.poller);
	assert_int_equal(sfs_reactor_start(p.r), 0);
	while (atomic_load(&p.arms) < 10)
		sched_yield();
	assert_int_equal(sfs_reactor_stop(p.r, SFS_NS_PER_S), 0);
	sfs_reactor_destroy(p.r);
	assert_true(p.least_ns >= 2 * SFS_NS_PER_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(turns_call_each_poller_once),
	    cmocka_unit_test(a_poller_may_remove_itself_and_its_neighbour),
	    cmocka_unit_test(messages_run_in_order_before_the_pollers),
	    cmocka_unit_test(arm_refuses_sleep_while_there_is_work),
	    cmocka_unit_test(no_message_is_lost_while_falling_asleep),
	    cmocka_unit_test(a_watched_descriptor_ends_sleep),
	    cmocka_unit_test(a_long_turn_is_no_idle_time),
	    cmocka_unit_test(a_long_submission_is_idle_time),
	    cmocka_unit_test(parties_share_a_reactor),
	    cmocka_unit_test(spins_less_beside_a_disk),
	    cmocka_unit_test(makes_way_now_and_then),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
