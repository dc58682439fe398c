/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The real door, the real rte_vhost and the engine's end between them; the VMM and the device are the test's.
 * The device is a stub of sfs_virtiofs.h with one thread that ends stops.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "door_rig.h"
#include "sfs_base.h"
#include "sfs_env.h"
#include "sfs_log.h"
#include "sfs_vhost_user.h"

#define MEM_BYTES   (2u << 20)
#define RING_STRIDE 0x10000u

/* --- the device --- */

struct stub_queue {
	bool running;
	struct sfs_vring_setup setup;
	struct sfs_queue_stop *stop;
	struct sfs_mem *hangs; /* what a call that never came back still holds */
	unsigned starts, stops, abandons;
};

struct sfs_device {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	pthread_t thread;
	bool quit, hold_stops, hangs;
	int start_fails;
	uint16_t advance; /* requests that each run of a queue serves */
	unsigned resets;
	const char *fault;
	struct stub_queue q[RIG_QUEUES];
};

static void stub_end_stop(struct sfs_device *dev, struct stub_queue *q)
{
	struct sfs_queue_stop *stop = q->stop;

	q->stop = NULL;
	stop->last_avail_idx = (uint16_t)(q->setup.last_avail_idx + dev->advance);
	stop->last_used_idx = stop->last_avail_idx;
	/* As a device would have: the ring says so as well. */
	((volatile uint16_t *)q->setup.used)[1] = stop->last_used_idx;
	stop->done(stop);
}

static void *stub_main(void *arg)
{
	struct sfs_device *dev = arg;

	pthread_mutex_lock(&dev->lock);
	while (!dev->quit) {
		for (unsigned i = 0; i < RIG_QUEUES; i++)
			if (dev->q[i].stop && !dev->hold_stops)
				stub_end_stop(dev, &dev->q[i]);
		pthread_cond_wait(&dev->cond, &dev->lock);
	}
	pthread_mutex_unlock(&dev->lock);
	return NULL;
}

static void stub_poke(struct sfs_device *dev)
{
	pthread_cond_signal(&dev->cond);
	pthread_mutex_unlock(&dev->lock);
}

const char *sfs_device_tag(const struct sfs_device *dev)
{
	return "stub";
}

unsigned sfs_device_queue_count(const struct sfs_device *dev)
{
	return RIG_QUEUES;
}

int sfs_device_queue_start(struct sfs_device *dev, unsigned idx, const struct sfs_vring_setup *setup)
{
	struct stub_queue *q = &dev->q[idx];
	int rc = 0;

	pthread_mutex_lock(&dev->lock);
	if (q->running)
		rc = -EBUSY;
	else if (dev->start_fails)
		rc = dev->start_fails;
	if (rc == 0) {
		q->setup = *setup;
		q->running = true;
		q->starts++;
		sfs_mem_get(setup->mem);
	}
	pthread_mutex_unlock(&dev->lock);
	return rc;
}

int sfs_device_queue_stop(struct sfs_device *dev, unsigned idx, struct sfs_queue_stop *stop)
{
	pthread_mutex_lock(&dev->lock);
	assert_true(dev->q[idx].running);
	assert_null(dev->q[idx].stop);
	dev->q[idx].stop = stop;
	dev->q[idx].stops++;
	stub_poke(dev);
	return 0;
}

static void stub_free(struct stub_queue *q)
{
	assert_true(q->running);
	if (q->setup.kick_fd >= 0)
		close(q->setup.kick_fd);
	if (q->setup.call_fd >= 0)
		close(q->setup.call_fd);
	sfs_mem_put(q->setup.mem);
	q->running = false;
}

void sfs_device_queue_release(struct sfs_device *dev, unsigned idx)
{
	pthread_mutex_lock(&dev->lock);
	assert_null(dev->q[idx].stop);
	stub_free(&dev->q[idx]);
	pthread_mutex_unlock(&dev->lock);
}

bool sfs_device_queue_abandon(struct sfs_device *dev, unsigned idx)
{
	pthread_mutex_lock(&dev->lock);
	dev->q[idx].stop = NULL;
	dev->q[idx].abandons++;
	if (dev->hangs && !dev->q[idx].hangs) {
		dev->q[idx].hangs = dev->q[idx].setup.mem;
		sfs_mem_get(dev->q[idx].hangs);
	}
	stub_free(&dev->q[idx]);
	pthread_mutex_unlock(&dev->lock);
	return true;
}

void sfs_device_reset(struct sfs_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		assert_false(dev->q[i].running);
	dev->resets++;
	pthread_mutex_unlock(&dev->lock);
}

const char *sfs_device_queue_fault(const struct sfs_device *dev, unsigned idx)
{
	struct sfs_device *d = (struct sfs_device *)(uintptr_t)dev;
	const char *fault;

	pthread_mutex_lock(&d->lock);
	fault = d->fault;
	pthread_mutex_unlock(&d->lock);
	return fault;
}

/* --- the bench: rig, device, guest memory --- */

struct bench {
	struct rig rig;
	struct rig_dev *d;
	struct sfs_device dev;
	struct sfs_vhost_user *vu;
	char *guest; /* the VMM's view of memory */
};

static uint64_t bench_tag(unsigned ring)
{
	return 0x5150000000000000u + ring;
}

static void bench_init(struct bench *b)
{
	struct sfs_vhost_user_device vd;

	memset(b, 0, sizeof(*b));
	rig_init(&b->rig, 1);
	b->rig.real = true;
	b->d = &b->rig.dev[0];
	pthread_mutex_init(&b->dev.lock, NULL);
	pthread_cond_init(&b->dev.cond, NULL);
	assert_int_equal(pthread_create(&b->dev.thread, NULL, stub_main, &b->dev), 0);
	vd = (struct sfs_vhost_user_device){b->d->link, &b->dev};
	assert_int_equal(sfs_vhost_user_create(&vd, 1, &b->vu), 0);
	b->d->mem_fd = rig_memfd();
	b->guest = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, b->d->mem_fd, 0);
	assert_ptr_not_equal(b->guest, MAP_FAILED);
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		*(uint64_t *)(void *)(b->guest + i * RING_STRIDE) = bench_tag(i);
}

static void bench_fini(struct bench *b)
{
	sfs_vhost_user_destroy(b->vu);
	pthread_mutex_lock(&b->dev.lock);
	b->dev.quit = true;
	stub_poke(&b->dev);
	pthread_join(b->dev.thread, NULL);
	pthread_mutex_destroy(&b->dev.lock);
	pthread_cond_destroy(&b->dev.cond);
	munmap(b->guest, MEM_BYTES);
	close(b->d->mem_fd);
	rig_fini(&b->rig);
}

/* What ring @idx was given last: the right memory, through a mapping of our own. */
static void bench_check_ring(struct bench *b, unsigned idx, unsigned size)
{
	struct stub_queue *q = &b->dev.q[idx];

	pthread_mutex_lock(&b->dev.lock);
	assert_true(q->running);
	assert_int_equal(q->setup.size, size);
	assert_int_equal(*(uint64_t *)q->setup.desc, bench_tag(idx));
	assert_int_equal((char *)q->setup.avail - (char *)q->setup.desc, 0x6000);
	assert_int_equal((char *)q->setup.used - (char *)q->setup.desc, 0x8000);
	assert_int_equal(q->setup.features, SFS_F_VERSION_1 | SFS_F_INDIRECT_DESC | SFS_F_EVENT_IDX);
	assert_true(q->setup.kick_fd >= 0);
	assert_true(q->setup.call_fd >= 0);
	pthread_mutex_unlock(&b->dev.lock);
}

static bool bench_running(struct bench *b, unsigned idx)
{
	bool running;

	pthread_mutex_lock(&b->dev.lock);
	running = b->dev.q[idx].running;
	pthread_mutex_unlock(&b->dev.lock);
	return running;
}

static uint16_t bench_base(struct bench *b, unsigned idx)
{
	uint32_t state[2] = {idx, 0};
	struct rig_msg m;

	rig_send(b->d, 11, 0, state, sizeof(state), NULL, 0);
	assert_int_equal(rig_reply(&b->rig, b->d, &m), 1);
	assert_int_equal(m.p.u32[0], idx);
	assert_true(m.p.u32[1] <= UINT16_MAX);
	return (uint16_t)m.p.u32[1];
}

/* --- tests --- */

static void test_qemu(void **state)
{
	struct bench b;

	bench_init(&b);
	b.dev.advance = 123;
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, RIG_QUEUES);
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		bench_check_ring(&b, i, 128);
	/* Each was stopped once, for its second SET_VRING_CALL. */
	for (unsigned i = 0; i < RIG_QUEUES; i++) {
		assert_int_equal(b.dev.q[i].starts, 2);
		assert_int_equal(b.dev.q[i].setup.last_avail_idx, 123);
		assert_int_equal(b.dev.q[i].setup.last_used_idx, 123);
	}
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		rig_state(&b.rig, b.d, 18, i, 0);
	for (unsigned i = 0; i < RIG_QUEUES; i++) {
		assert_false(bench_running(&b, i));
		assert_int_equal(bench_base(&b, i), 246);
	}
	rig_hangup(&b.rig, b.d);
	assert_int_equal(b.dev.resets, 1);
	bench_fini(&b);
}

static void test_uml(void **state)
{
	struct bench b;

	bench_init(&b);
	rig_begin(&b.rig, b.d);
	rig_setup_uml(&b.rig, b.d, 2); /* fewer than offered */
	for (unsigned i = 0; i < 2; i++)
		bench_check_ring(&b, i, 256);
	assert_false(bench_running(&b, 2));
	rig_hangup(&b.rig, b.d);
	assert_false(bench_running(&b, 0));
	bench_fini(&b);
}

/* Each queue stands by itself: the device serves the first before the guest has set up a second. */
static void test_one_queue_at_a_time(void **state)
{
	struct bench b;

	bench_init(&b);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 1);
	bench_check_ring(&b, 0, 128);
	rig_state(&b.rig, b.d, 8, 3, 64);
	rig_state(&b.rig, b.d, 10, 3, 77);
	((uint16_t *)(void *)(b.guest + 3 * RING_STRIDE + 0x8000))[1] = 77;
	rig_addr(&b.rig, b.d, 3);
	rig_ring_fd(&b.rig, b.d, 12, 3);
	assert_false(bench_running(&b, 3));
	rig_state(&b.rig, b.d, 18, 3, 1);
	bench_check_ring(&b, 3, 64);
	assert_int_equal(b.dev.q[3].setup.last_avail_idx, 77);
	assert_int_equal(b.dev.q[0].starts, 2);
	rig_hangup(&b.rig, b.d);
	bench_fini(&b);
}

static void test_memory_table_change(void **state)
{
	struct {
		uint32_t count, padding;
		uint64_t regions[3][4];
	} table = {.count = 3,
		   /* The rings move to another file, at an offset that is no multiple of a page. */
		   .regions = {{0, 4096, 0x7e0000000000, 0},
			       {0x100000, 0x100000, 0x7f0000000000, 0x80200},
			       {0x40000000, 8192, 0x7d0000000000, 4096}}};
	int fds[3] = {rig_memfd(), rig_memfd(), rig_memfd()};
	char *moved = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
	struct bench b;

	bench_init(&b);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, RIG_QUEUES);
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		*(uint64_t *)(void *)(moved + 0x80200 + i * RING_STRIDE) = bench_tag(i);
	/* The mark in the old file is not to be found any more. */
	memset(b.guest, 0, MEM_BYTES);
	assert_int_equal(rig_ask(&b.rig, b.d, 5, &table, sizeof(table), fds, 3), 0);
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		bench_check_ring(&b, i, 128);
	assert_int_equal(b.dev.q[0].setup.mem->region_count, 3);
	assert_ptr_equal(b.dev.q[0].setup.mem, b.dev.q[3].setup.mem);
	rig_hangup(&b.rig, b.d);
	bench_fini(&b);
	munmap(moved, MEM_BYTES);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
}

/* Rings that are not inside the memory: refused, the daemon lives, the next guest is served. */
static void test_bad_addresses(void **state)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} addr = {0, 0, 0x7f0000000000 + MEM_BYTES - 16, 0x7f0000008000, 0x7f0000006000, 0};
	uint64_t kick = 0 | 256;
	struct bench b;

	bench_init(&b);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 0);
	rig_state(&b.rig, b.d, 8, 0, 128);
	/* Told by rte_vhost at the address or at the kick, or by our own start of the queue. */
	uint64_t refused = rig_ask(&b.rig, b.d, 9, &addr, sizeof(addr), NULL, 0);

	refused |= rig_ask(&b.rig, b.d, 12, &kick, sizeof(kick), NULL, 0);
	uint32_t enable[2] = {0, 1};

	refused |= rig_ask(&b.rig, b.d, 18, enable, sizeof(enable), NULL, 0);
	assert_int_not_equal(refused, 0);
	assert_false(bench_running(&b, 0));
	rig_hangup(&b.rig, b.d);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 1);
	bench_check_ring(&b, 0, 128);
	rig_hangup(&b.rig, b.d);
	bench_fini(&b);
}

/* The VMM takes the memory away under rte_vhost's hands. */
static void test_truncated_memory(void **state)
{
	struct bench b;

	/* In place of cmocka's own handler. */
	assert_int_equal(sfs_mem_sigbus_install(), 0);
	bench_init(&b);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 1);
	rig_state(&b.rig, b.d, 8, 1, 128);
	rig_addr(&b.rig, b.d, 1);
	assert_int_equal(ftruncate(b.d->mem_fd, 0), 0);
	rig_ring_fd(&b.rig, b.d, 12, 1);
	rig_state(&b.rig, b.d, 18, 1, 1);
	rig_hangup(&b.rig, b.d);
	assert_int_equal(ftruncate(b.d->mem_fd, MEM_BYTES), 0);
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		*(uint64_t *)(void *)(b.guest + i * RING_STRIDE) = bench_tag(i);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 2);
	bench_check_ring(&b, 1, 128);
	rig_hangup(&b.rig, b.d);
	bench_fini(&b);
}

/* A table over a file that is too short: rte_vhost looks at the rings in it before anybody else has mapped it. */
static void test_short_memory(void **state)
{
	struct {
		uint32_t count, padding;
		uint64_t region[4];
	} table = {.count = 1, /* Not the table before: rte_vhost would keep that one. */
		   .region = {4096, MEM_BYTES, 0x7f0000000000, 0}};
	int fd = rig_memfd();
	struct bench b;

	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(sfs_mem_sigbus_install(), 0);
	bench_init(&b);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 2);
	rig_ask(&b.rig, b.d, 5, &table, sizeof(table), &fd, 1);
	rig_hangup(&b.rig, b.d);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 2);
	bench_check_ring(&b, 1, 128);
	rig_hangup(&b.rig, b.d);
	bench_fini(&b);
	close(fd);
}

static void test_start_fails(void **state)
{
	uint32_t enable[2] = {0, 1};
	struct bench b;
	unsigned before;

	bench_init(&b);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 0);
	rig_state(&b.rig, b.d, 8, 0, 128);
	rig_addr(&b.rig, b.d, 0);
	rig_ring_fd(&b.rig, b.d, 12, 0);
	b.dev.start_fails = -ENOMEM;
	before = rig_fd_count();
	assert_int_not_equal(rig_ask(&b.rig, b.d, 18, enable, sizeof(enable), NULL, 0), 0);
	assert_int_equal(rig_fd_count(), before);
	assert_int_equal(sfs_door_device_state(b.d->dev), SFS_DOOR_BROKEN);
	b.dev.start_fails = 0;
	rig_hangup(&b.rig, b.d);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 1);
	bench_check_ring(&b, 0, 128);
	rig_hangup(&b.rig, b.d);
	bench_fini(&b);
}

/* A queue breaks by itself: told to the door, to whoever looks at the state. */
static void test_fault(void **state)
{
	struct bench b;

	bench_init(&b);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 1);
	pthread_mutex_lock(&b.dev.lock);
	b.dev.fault = "a test said so";
	pthread_mutex_unlock(&b.dev.lock);
	rig_await(&b.rig, b.d, SFS_DOOR_BROKEN);
	/* Stopped as any other, not started again. */
	bench_base(&b, 0);
	assert_false(bench_running(&b, 0));
	rig_hangup(&b.rig, b.d);
	bench_fini(&b);
}

/* Stops that never end: the VMM is answered nevertheless, the device is given up, the next guest is served.
 */
static void test_overdue_stop(void **state)
{
	struct sfs_door_figures fig;
	struct bench b;

	bench_init(&b);
	sfs_door_destroy(b.rig.door);
	assert_int_equal(sfs_door_create(b.rig.dir, &b.rig.door), 0);
	b.d->opts.stop_timeout_ms = 100;
	assert_int_equal(sfs_door_add(b.rig.door, &b.d->opts, &b.d->dev), 0);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 2);
	pthread_mutex_lock(&b.dev.lock);
	b.dev.hold_stops = true;
	pthread_mutex_unlock(&b.dev.lock);
	bench_base(&b, 0);
	assert_int_equal(sfs_door_device_state(b.d->dev), SFS_DOOR_BROKEN);
	assert_int_equal(b.dev.q[0].abandons, 1);
	assert_true(bench_running(&b, 1));
	rig_hangup(&b.rig, b.d);
	assert_int_equal(b.dev.q[1].abandons, 1);
	sfs_door_device_figures(b.d->dev, &fig);
	assert_int_equal(fig.quarantined, 1);
	pthread_mutex_lock(&b.dev.lock);
	b.dev.hold_stops = false;
	pthread_mutex_unlock(&b.dev.lock);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, RIG_QUEUES);
	assert_int_equal(sfs_door_device_state(b.d->dev), SFS_DOOR_RUNNING);
	rig_hangup(&b.rig, b.d);
	bench_fini(&b);
}

/* Where the library has mapped the guest's memory: neither the test's mapping nor that of the queues. */
static char *library_map(struct bench *b)
{
	const struct sfs_mem *mem = b->dev.q[0].setup.mem;
	char line[512], *found = NULL;
	FILE *f = fopen("/proc/self/maps", "r");
	struct stat st;

	assert_non_null(f);
	assert_int_equal(fstat(b->d->mem_fd, &st), 0);
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, ino;

		if (sscanf(line, "%lx-%*x %*s %*x %*s %lu", &from, &ino) != 2 || ino != st.st_ino)
			continue;
		if ((char *)from != b->guest && (char *)from != mem->maps[0].addr)
			found = (char *)from;
	}
	fclose(f);
	return found;
}

/* Whether a fault at @at, where a file of somebody else is mapped by now, ends the process as it should. */
static bool faults_there(char *at)
{
	int fd = rig_memfd(), status;
	char *p = mmap(at, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	pid_t pid;

	assert_ptr_equal(p, at); /* the library has unmapped it */
	assert_int_equal(ftruncate(fd, 0), 0);
	pid = fork();
	if (pid == 0) {
		*(volatile char *)p = 1;
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	munmap(p, MEM_BYTES);
	close(fd);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
}

/* A queue that hangs keeps the guest's memory, but not what the library had mapped where. */
static void hanging_queue(void (*end)(struct bench *b))
{
	struct bench b;
	char *at;

	signal(SIGBUS, SIG_DFL); /* in place of cmocka's own handler */
	assert_int_equal(sfs_mem_sigbus_install(), 0);
	bench_init(&b);
	sfs_door_destroy(b.rig.door);
	assert_int_equal(sfs_door_create(b.rig.dir, &b.rig.door), 0);
	b.d->opts.stop_timeout_ms = 100;
	assert_int_equal(sfs_door_add(b.rig.door, &b.d->opts, &b.d->dev), 0);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 1);
	at = library_map(&b);
	assert_non_null(at);
	pthread_mutex_lock(&b.dev.lock);
	b.dev.hold_stops = b.dev.hangs = true;
	pthread_mutex_unlock(&b.dev.lock);
	end(&b);
	assert_int_equal(b.dev.q[0].abandons, 1);
	assert_true(faults_there(at));
	if (b.d->vmm >= 0)
		rig_hangup(&b.rig, b.d);
	sfs_mem_put(b.dev.q[0].hangs);
	bench_fini(&b);
}

static void end_by_hangup(struct bench *b)
{
	rig_hangup(&b->rig, b->d);
}

static void end_by_table(struct bench *b)
{
	struct {
		uint32_t count, padding;
		uint64_t region[4];
	} table = {.count = 1, .region = {4096, 4096, 0x7f0000000000, 0}};
	int fd = rig_memfd();

	assert_int_equal(rig_ask(&b->rig, b->d, 5, &table, sizeof(table), &fd, 1), 0);
	close(fd);
}

static void test_hanging_queue_at_the_end(void **state)
{
	hanging_queue(end_by_hangup);
}

static void test_hanging_queue_and_new_table(void **state)
{
	hanging_queue(end_by_table);
}

/* The engine's end goes while a session is there. */
static void test_destroy_in_session(void **state)
{
	struct bench b;

	bench_init(&b);
	rig_begin(&b.rig, b.d);
	rig_setup_qemu(&b.rig, b.d, 2);
	bench_fini(&b);
	assert_int_equal(b.dev.resets, 1);
	assert_int_equal(b.dev.q[0].abandons + b.dev.q[1].abandons, 2);
}

static unsigned count_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned count = 0;
	int c;

	assert_non_null(f);
	while ((c = fgetc(f)) != EOF)
		count += c == '\n';
	fclose(f);
	return count;
}

static void test_many_sessions(void **state)
{
	unsigned fds = 0, maps = 0,
		 sessions = getenv("RIG_SESSIONS") ? (unsigned)atoi(getenv("RIG_SESSIONS")) : 200;
	struct bench b;

	bench_init(&b);
	for (unsigned i = 0; i < sessions; i++) {
		rig_begin(&b.rig, b.d);
		if (i % 4)
			rig_setup_qemu(&b.rig, b.d, i % 5 % (RIG_QUEUES + 1));
		else
			rig_setup_uml(&b.rig, b.d, RIG_QUEUES);
		rig_hangup(&b.rig, b.d);
		/* The first ones fill the pools of allocators. */
		if (i == 20) {
			fds = rig_fd_count();
			maps = count_maps();
		}
	}
	assert_int_equal(rig_fd_count(), fds);
	/* Allocators may add one or two, sessions that leaked would add hundreds. */
	assert_in_range(count_maps(), 1, maps + 4);
	assert_int_equal(b.dev.resets, sessions);
	bench_fini(&b);
}

static int setup_env(void **state)
{
	struct sfs_env_opts opts = {.program = "test_vhost_user", .heap_mib = 32};

	sfs_log_setup(SFS_LOG_ERROR, SFS_LOG_STDERR);
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(sfs_env_init(&opts), 0);
	assert_int_equal(sfs_env_init(&opts), -EALREADY);
	return 0;
}

static int teardown_env(void **state)
{
	sfs_env_fini();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_qemu),
	    cmocka_unit_test(test_uml),
	    cmocka_unit_test(test_one_queue_at_a_time),
	    cmocka_unit_test(test_memory_table_change),
	    cmocka_unit_test(test_bad_addresses),
	    cmocka_unit_test(test_truncated_memory),
	    cmocka_unit_test(test_short_memory),
	    cmocka_unit_test(test_start_fails),
	    cmocka_unit_test(test_fault),
	    cmocka_unit_test(test_overdue_stop),
	    cmocka_unit_test(test_hanging_queue_at_the_end),
	    cmocka_unit_test(test_hanging_queue_and_new_table),
	    cmocka_unit_test(test_destroy_in_session),
	    cmocka_unit_test(test_many_sessions),
	};

	return cmocka_run_group_tests(tests, setup_env, teardown_env);
}
