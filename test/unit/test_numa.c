/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a device puts its memory when a guest comes: asked of a host of two nodes that is made up, and of this one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "sfs_aio_engines.h"
#include "sfs_env.h"
#include "sfs_null.h"
#include "sfs_session.h"
#include "sfs_virtiofs.h"
#include "sfs_workers.h"

#define RING 128u

static _Alignas(4096) char guest[65536];

/* What was asked and told. */
static struct {
	const void *asked;
	unsigned binds, cpus;
	size_t bytes;
	int node, failed;
} seen;

static int fake_node_of(const void *addr)
{
	seen.asked = addr;
	return 1;
}

static int no_numa(const void *addr)
{
	return -ENOSYS;
}

static int fake_bind(void *addr, size_t len, int node)
{
	assert_non_null(addr);
	assert_int_equal((uintptr_t)addr % 4096, 0);
	assert_true(seen.binds == 0 || seen.node == node);
	seen.binds++;
	seen.bytes += len;
	seen.node = node;
	return 0;
}

static int fake_cpus(int node, cpu_set_t *set)
{
	seen.cpus++;
	CPU_ZERO(set);
	CPU_SET(1, set);
	return 0;
}

static int real_node_of(const void *addr)
{
	seen.asked = addr;
	return sfs_env_numa_host.node_of(addr);
}

static int real_bind(void *addr, size_t len, int node)
{
	if (sfs_env_numa_host.bind(addr, len, node))
		seen.failed++;
	return fake_bind(addr, len, node);
}

struct rig {
	struct sfs_reactor *reactor;
	struct sfs_workers *workers;
	struct sfs_mem *mem;
	struct sfs_device *dev;
};

static bool stopped;

static void stop_done(struct sfs_queue_stop *stop)
{
	stopped = true;
}

static void begin(struct rig *r, const struct sfs_env_numa *numa, int node)
{
	const struct sfs_reactor_opts ro = {.name = "t", .cpu = -1, .idle = SFS_IDLE_SPIN};
	const struct sfs_workers_opts wo = {.count = 1};
	const struct sfs_mem_region region = {.user_addr = 4096, .bytes = sizeof(guest), .host = guest};
	struct sfs_device_opts o = {.tag = "t",
				    .request_queue_count = 2,
				    .ring_size_max = RING,
				    .slots_max = RING,
				    .io_depth = 8,
				    .engine = &sfs_aio_workers,
				    .reactors = &r->reactor,
				    .reactor_count = 1,
				    .workers_max = 1,
				    .limits = {.inodes = 64, .handles = 64, .fds = 64, .lock_waiters = 1},
				    .fs = &sfs_fs_null,
				    .numa_node = node,
				    .numa = numa};
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err;

	memset(&seen, 0, sizeof(seen));
	memset(guest, 0, sizeof(guest)); /* a page that was never written is nowhere */
	assert_int_equal(sfs_reactor_create(&ro, &r->reactor), 0);
	assert_int_equal(sfs_workers_create(&wo, &r->workers), 0);
	assert_int_equal(sfs_mem_create_mapped(&region, 1, &r->mem), 0);
	assert_int_equal(sfs_conf_doc_parse("{}", 2, "options", &doc, &err), 0);
	assert_int_equal(o.fs->create(sfs_conf_doc_root(doc), &o.fs_ctx, &o.fs_info, &err), 0);
	sfs_conf_doc_destroy(doc);
	o.workers = r->workers;
	assert_int_equal(sfs_device_create(&o, &r->dev), 0);
}

static void queue_start(struct rig *r, unsigned idx)
{
	char *at = guest + idx * 16384;
	const struct sfs_vring_setup s = {.features = SFS_F_VERSION_1,
					  .mem = r->mem,
					  .desc = at,
					  .avail = at + 4096,
					  .used = at + 8192,
					  .size = RING,
					  .kick_fd = -1,
					  .call_fd = -1};

	assert_int_equal(sfs_device_queue_start(r->dev, idx, &s), 0);
	sfs_reactor_turn(r->reactor, 0);
}

static void end(struct rig *r, unsigned queues)
{
	struct sfs_queue_stop stop = {.done = stop_done};

	for (unsigned i = 0; i < queues; i++) {
		stopped = false;
		assert_int_equal(sfs_device_queue_stop(r->dev, i, &stop), 0);
		while (!stopped)
			sfs_reactor_turn(r->reactor, 0);
		sfs_device_queue_release(r->dev, i);
	}
	sfs_device_destroy(r->dev);
	sfs_mem_put(r->mem);
	assert_int_equal(sfs_workers_destroy(r->workers, UINT64_MAX), 0);
	sfs_reactor_destroy(r->reactor);
}

/* Slots, buffers and segment arrays of each queue, and the tables once, go to the node of the guest's rings. */
static void test_node_of_the_guest(void **state)
{
	static const struct sfs_env_numa two = {fake_node_of, fake_bind, fake_cpus};
	struct rig r;

	begin(&r, &two, -1);
	assert_int_equal(seen.binds, 0);
	queue_start(&r, 0);
	assert_ptr_equal(seen.asked, guest + 4096);
	assert_int_equal(seen.node, 1);
	assert_int_equal(seen.binds, 3 + SFS_SESSION_TABLES);
	assert_true(seen.bytes > RING * sizeof(struct sfs_req));
	queue_start(&r, 1);
	assert_ptr_equal(seen.asked, guest + 16384 + 4096);
	assert_int_equal(seen.binds, 3 + SFS_SESSION_TABLES + 3);
	assert_int_equal(seen.cpus, 2);
	end(&r, 2);
}

static void test_node_of_the_configuration(void **state)
{
	static const struct sfs_env_numa two = {fake_node_of, fake_bind, fake_cpus};
	struct rig r;

	begin(&r, &two, 0);
	queue_start(&r, 0);
	assert_null(seen.asked);
	assert_int_equal(seen.node, 0);
	assert_int_equal(seen.binds, 3 + SFS_SESSION_TABLES);
	end(&r, 1);
}

static void test_no_numa(void **state)
{
	static const struct sfs_env_numa none = {no_numa, fake_bind, fake_cpus};
	struct rig r;

	begin(&r, &none, -1);
	queue_start(&r, 0);
	assert_int_equal(seen.binds, 0);
	end(&r, 1);
}

/* The same on this host, however many nodes it has. */
static void test_this_host(void **state)
{
	const struct sfs_env_numa host = {real_node_of, real_bind, sfs_env_numa_host.cpus};
	struct rig r;

	begin(&r, &host, -1);
	queue_start(&r, 0);
	assert_non_null(seen.asked);
	if (sfs_env_numa_host.node_of(seen.asked) == -ENOSYS)
		skip();
	assert_true(sfs_env_numa_host.node_of(seen.asked) >= 0);
	assert_int_equal(seen.node, sfs_env_numa_host.node_of(seen.asked));
	assert_int_equal(seen.binds, 3 + SFS_SESSION_TABLES);
	assert_int_equal(seen.failed, 0);
	end(&r, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_node_of_the_guest),
	    cmocka_unit_test(test_node_of_the_configuration),
	    cmocka_unit_test(test_no_numa),
	    cmocka_unit_test(test_this_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
