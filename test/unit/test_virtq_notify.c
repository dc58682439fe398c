/* SPDX-License-Identifier: BSD-3-Clause */
/* Who is told what when: the notifications of both sides, by event index and by flag. */
#include "virtq_rig.h"

static void give_back(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		rig_desc(r, i, FAR, 8, 0, 0);
		assert_int_equal(rig_try(r, i), 1);
		sfs_virtq_push(&r->vq, r->chain.head, 0);
	}
	sfs_virtq_publish(&r->vq);
}

static void test_event_idx_exactly_when_asked(void **state)
{
	/* From every position, in steps of 1 to 4, with every wish nearby: told if and only if the step passes the wish. */
	for (unsigned start = 65530; start < 65530 + 12; start++)
		for (unsigned step = 1; step <= 4; step++)
			for (int wish = -6; wish <= 6; wish++) {
				struct rig *r =
				    rig_new(&(struct rig_opts){.event_idx = true, .start = (uint16_t)start});

				r->avail->ring[16] = (uint16_t)(start + (unsigned)wish); /* used_event */
				give_back(r, step);
				assert_int_equal(rig_calls(r), wish >= 0 && wish < (int)step);
				assert_int_equal(r->vq.calls, wish >= 0 && wish < (int)step);
				rig_free(r);
			}
}

static void test_no_interrupt_flag(void **state)
{
	struct rig *r = rig_new(&plain);

	give_back(r, 3);
	assert_int_equal(rig_calls(r), 1); /* one for all */
	r->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	give_back(r, 3);
	assert_int_equal(rig_calls(r), 0);
	r->avail->flags = 0;
	sfs_virtq_publish(&r->vq); /* nothing new */
	assert_int_equal(rig_calls(r), 0);
	sfs_virtq_notify(&r->vq); /* whatever it wants */
	assert_int_equal(rig_calls(r), 1);
	assert_int_equal(r->vq.calls, 2);
	rig_free(r);
}

static void test_flag_is_ignored_with_event_idx(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){.event_idx = true});

	r->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	r->avail->ring[16] = 1;
	give_back(r, 2);
	assert_int_equal(rig_calls(r), 1);
	rig_free(r);
}

/* A driver that asked too late for what it had not seen is told once more, and once only. */
static void test_reminded(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){.event_idx = true, .start = 65534});

	r->avail->ring[16] = 65500; /* not read yet, as far as we see */
	give_back(r, 4);
	assert_int_equal(rig_calls(r), 0);
	sfs_virtq_remind(&r->vq); /* wants no interrupts: a driver is behind by a ring at most */
	assert_int_equal(rig_calls(r), 0);
	r->avail->ring[16] = 2; /* has seen them all */
	sfs_virtq_remind(&r->vq);
	assert_int_equal(rig_calls(r), 0);
	r->avail->ring[16] = 65535; /* waits for the second of them */
	sfs_virtq_remind(&r->vq);
	assert_int_equal(rig_calls(r), 1);
	sfs_virtq_remind(&r->vq);
	assert_int_equal(rig_calls(r), 0);
	rig_free(r);
	/* By flag there is nothing that could be missed. */
	r = rig_new(&plain);
	r->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	give_back(r, 2);
	sfs_virtq_remind(&r->vq);
	assert_int_equal(rig_calls(r), 0);
	rig_free(r);
}

static void test_no_call_fd(void **state)
{
	struct rig *r = rig_new(&plain);

	r->vq.call_fd = -1;
	give_back(r, 2);
	assert_int_equal(r->vq.calls, 0);
	assert_int_equal(r->used->idx, 2);
	rig_free(r);
}

/* Whether a guest that goes from @from to @to would kick, by virtio 1.2, 2.7.10. */
static bool would_kick(const struct rig *r, uint16_t from, uint16_t to)
{
	uint16_t event;

	if (!r->vq.event_idx)
		return !(r->used->flags & VRING_USED_F_NO_NOTIFY);
	memcpy(&event, &r->used->ring[r->vq.size], sizeof(event));
	return vring_need_event(event, to, from);
}

static void test_arm_and_disarm(void **state)
{
	for (int event_idx = 0; event_idx < 2; event_idx++) {
		struct rig *r = rig_new(&(struct rig_opts){.event_idx = event_idx, .start = 65534});
		uint16_t at = 65534;

		assert_false(would_kick(r, at, (uint16_t)(at + 1))); /* from init on */
		for (unsigned i = 0; i < 5; i++) {
			assert_false(sfs_virtq_arm(&r->vq));
			assert_true(would_kick(r, at, (uint16_t)(at + 1)));
			assert_true(would_kick(r, at, (uint16_t)(at + 16)));
			/* Awake for another reason than a request. */
			sfs_virtq_disarm(&r->vq);
			assert_false(would_kick(r, at, (uint16_t)(at + 16)));
			assert_false(sfs_virtq_arm(&r->vq));
			rig_desc(r, 0, FAR, 8, 0, 0);
			rig_offer(r, 0);
			assert_true(sfs_virtq_arm(&r->vq)); /* look again instead of sleeping */
			sfs_virtq_disarm(&r->vq);
			assert_int_equal(rig_pop(r), 1);
			rig_done(r, 0);
			at++;
			assert_false(would_kick(r, at, (uint16_t)(at + 1)));
		}
		rig_free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_event_idx_exactly_when_asked),
	    cmocka_unit_test(test_no_interrupt_flag),
	    cmocka_unit_test(test_flag_is_ignored_with_event_idx),
	    cmocka_unit_test(test_reminded),
	    cmocka_unit_test(test_no_call_fd),
	    cmocka_unit_test(test_arm_and_disarm),
	};

	return cmocka_run_group_tests_name("virtq_notify", tests, NULL, NULL);
}
