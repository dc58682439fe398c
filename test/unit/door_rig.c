/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "door_rig.h"
#include "sfs_base.h"
#include "sfs_log.h"

const struct rig_table rig_one_region = {.count = 1, .regions = {{0, 2 << 20, 0x1000, 0}}};

static void rig_log(struct rig_dev *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void rig_log(struct rig_dev *d, const char *fmt, ...)
{
	size_t len = strlen(d->log);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(d->log + len, sizeof(d->log) - len, fmt, ap);
	va_end(ap);
}

static int rig_connect_path(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* --- the engine's end --- */

static void rig_engine_answer(struct rig_dev *d, const struct sfs_link_cmd *cmd)
{
	struct sfs_link_ack ack = {.op = cmd->op, .rings = cmd->rings};
	char path[SFS_LINK_PATH_MAX];

	switch (cmd->op) {
	case SFS_LINK_ATTACH:
		if (d->attach_fails) {
			ack.result = -ENOSPC;
			break;
		}
		assert_int_equal(sfs_link_path(d->link, cmd->session, path), 0);
		d->be = rig_connect_path(path);
		break;
	case SFS_LINK_MAP:
		ack.result = d->map_fails ? -ENOMEM : 0;
		break;
	case SFS_LINK_STOP:
		for (unsigned i = 0; i < SFS_LINK_RINGS_MAX; i++)
			ack.last_avail[i] = d->base;
		break;
	case SFS_LINK_START:
		d->moved = cmd->moved;
		if (d->start_fails)
			ack.result = -EFAULT;
		else
			ack.rings = (struct sfs_ring_mask){{0, 0}};
		break;
	case SFS_LINK_DETACH:
		if (d->be >= 0)
			close(d->be);
		d->be = -1;
		break;
	default:
		break;
	}
	sfs_link_answer(d->link, &ack);
}

void rig_answer_held(struct rig_dev *d)
{
	for (unsigned i = 0; i < d->held_count; i++)
		rig_engine_answer(d, &d->held[i]);
	d->held_count = 0;
}

static void rig_engine(struct rig_dev *d)
{
	static const char *const names[] = {"?", "attach", "map", "start", "stop", "abandon", "detach"};
	struct sfs_link_cmd cmd;

	sfs_link_engine_clear(d->link);
	while (sfs_link_next(d->link, &cmd) > 0) {
		rig_log(d, "%s", names[cmd.op]);
		if (cmd.rings.bits[0])
			rig_log(d, ":%lx", (unsigned long)cmd.rings.bits[0]);
		rig_log(d, "%s ", cmd.flags & SFS_LINK_UNMAP ? "+unmap" : "");
		if (d->hold_all || (d->hold_stop && cmd.op == SFS_LINK_STOP)) {
			d->held[d->held_count++] = cmd;
			continue;
		}
		if (cmd.op == SFS_LINK_ABANDON)
			rig_answer_held(d);
		rig_engine_answer(d, &cmd);
	}
}

/* --- the stand-in for rte_vhost --- */

static bool rig_backend_own_reply(struct rig_dev *d, struct rig_msg *m)
{
	switch (m->request) {
	case 1:
	case 15:
		m->p.u64 = d->be_features;
		return true;
	case 11:
		m->p.u32[1] = d->base;
		return true;
	default:
		return false;
	}
}

static void rig_backend(struct rig_dev *d)
{
	char control[CMSG_SPACE(16 * sizeof(int))];
	struct rig_msg m;
	struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
	struct msghdr mh = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	unsigned fds = 0;
	ssize_t n;

	if (d->be < 0)
		return;
	n = recvmsg(d->be, &mh, MSG_CMSG_CLOEXEC);
	if (n <= 0)
		return;
	/* One message is one piece. */
	assert_true(n >= 12);
	assert_int_equal(n, 12 + m.size);
	for (c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c))
		for (; fds < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); fds++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + fds * sizeof(int), sizeof(fd));
			close(fd);
		}
	rig_log(d, fds ? "%u/%u " : "%u ", m.request, fds);
	if (d->be_close) {
		close(d->be);
		d->be = -1;
		return;
	}
	bool own = rig_backend_own_reply(d, &m);

	assert_int_equal(own, !(m.flags & RIG_NEED_REPLY));
	if (!own)
		m.p.u64 = d->be_nack;
	m.flags = 5;
	m.size = 8;
	if (d->be_garbage)
		m.request++;
	assert_int_equal(send(d->be, &m, 20, MSG_NOSIGNAL), 20);
}

/* --- door --- */

static void rig_on_state(void *ctx, enum sfs_door_state state)
{
	struct rig_dev *d = ctx;
	size_t len = strlen(d->states);

	if (len + 2 < sizeof(d->states))
		d->states[len] = sfs_door_state_name(state)[0];
}

static void rig_on_disconnect(void *ctx)
{
	struct rig_dev *d = ctx;

	d->disconnects++;
}

static void rig_config(void *ctx, uint32_t offset, void *buf, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		((uint8_t *)buf)[i] = (uint8_t)(offset + i + 1);
}

void rig_init(struct rig *r, unsigned devices)
{
	memset(r, 0, sizeof(*r));
	sfs_log_setup(getenv("RIG_VERBOSE") ? SFS_LOG_TRACE : SFS_LOG_OFF, SFS_LOG_STDERR);
	snprintf(r->dir, sizeof(r->dir), "/tmp/sfs-door-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	assert_int_equal(sfs_door_create(r->dir, &r->door), 0);
	for (unsigned i = 0; i < devices; i++) {
		struct rig_dev *d = &r->dev[i];

		d->be = d->vmm = d->mem_fd = -1;
		d->be_features = UINT64_MAX;
		snprintf(d->path, sizeof(d->path), "%s/vmm-%u", r->dir, i);
		assert_int_equal(sfs_link_create(i, RIG_QUEUES, &d->link), 0);
		d->opts = (struct sfs_door_device_opts){
		    .name = i ? "second" : "first",
		    .socket_path = d->path,
		    .listen_fd = -1,
		    .gid = (gid_t)-1,
		    .mode = 0660,
		    .ring_size_max = RIG_SIZE_MAX,
		    .stop_timeout_ms = 5000,
		    .link = d->link,
		    .config_read = rig_config,
		    .on_state = rig_on_state,
		    .on_disconnect = rig_on_disconnect,
		    .ctx = d,
		};
		assert_int_equal(sfs_door_add(r->door, &d->opts, &d->dev), 0);
		r->count++;
	}
}

void rig_fini(struct rig *r)
{
	sfs_door_destroy(r->door);
	for (unsigned i = 0; i < r->count; i++) {
		sfs_link_destroy(r->dev[i].link);
		if (r->dev[i].vmm >= 0)
			close(r->dev[i].vmm);
		if (r->dev[i].be >= 0)
			close(r->dev[i].be);
	}
	/* Everything the door made is gone. */
	assert_int_equal(rmdir(r->dir), 0);
}

void rig_turn(struct rig *r)
{
	assert_int_equal(sfs_door_run_once(r->door, r->real ? 1 : 0), 0);
	for (unsigned i = 0; i < r->count && !r->real; i++) {
		rig_engine(&r->dev[i]);
		rig_backend(&r->dev[i]);
	}
}

void rig_await(struct rig *r, struct rig_dev *d, enum sfs_door_state state)
{
	uint64_t end = sfs_now_ns() + RIG_TIMEOUT * SFS_NS_PER_MS;

	while (sfs_door_device_state(d->dev) != state) {
		assert_true(sfs_now_ns() < end);
		rig_turn(r);
		assert_int_equal(sfs_door_run_once(r->door, 1), 0);
	}
}

/* --- the VMM --- */

int rig_connect(struct rig_dev *d)
{
	return rig_connect_path(d->path);
}

void rig_begin(struct rig *r, struct rig_dev *d)
{
	assert_int_equal(d->vmm, -1);
	d->vmm = rig_connect(d);
	rig_await(r, d, SFS_DOOR_CONNECTED);
	d->log[0] = '\0';
}

void rig_hangup(struct rig *r, struct rig_dev *d)
{
	if (d->vmm >= 0)
		close(d->vmm);
	d->vmm = -1;
	rig_await(r, d, SFS_DOOR_LISTENING);
}

void rig_send_raw(struct rig_dev *d, const void *buf, size_t len, const int *fds, unsigned fd_count)
{
	char control[CMSG_SPACE(64 * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd_count) {
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	assert_int_equal(sendmsg(d->vmm, &mh, MSG_NOSIGNAL), (int)len);
}

void rig_send(struct rig_dev *d, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
	      const int *fds, unsigned fd_count)
{
	struct rig_msg m = {.request = request, .flags = 1 | flags, .size = size};

	if (size)
		memcpy(m.p.bytes, payload, size);
	rig_send_raw(d, &m, 12 + size, fds, fd_count);
}

int rig_reply(struct rig *r, struct rig_dev *d, struct rig_msg *msg)
{
	uint64_t end = sfs_now_ns() + RIG_TIMEOUT * SFS_NS_PER_MS;

	for (;;) {
		ssize_t n = recv(d->vmm, msg, sizeof(*msg), 0);

		if (n > 0) {
			assert_int_equal(n, 12 + msg->size);
			assert_int_equal(msg->flags, 5); /* version 1, reply */
			rig_turn(r);
			return 1;
		}
		if (n == 0 || errno == ECONNRESET)
			return 0;
		assert_int_equal(errno, EAGAIN);
		assert_true(sfs_now_ns() < end);
		rig_turn(r);
	}
}

uint64_t rig_ask(struct rig *r, struct rig_dev *d, uint32_t request, const void *payload, uint32_t size,
		 const int *fds, unsigned fd_count)
{
	struct rig_msg m;

	rig_send(d, request, RIG_NEED_REPLY, payload, size, fds, fd_count);
	assert_int_equal(rig_reply(r, d, &m), 1);
	assert_int_equal(m.request, request);
	assert_int_equal(m.size, 8);
	return m.p.u64;
}

void rig_tell(struct rig *r, struct rig_dev *d, uint32_t request, const void *payload, uint32_t size,
	      const int *fds, unsigned fd_count)
{
	struct sfs_door_figures before, now;
	uint64_t end = sfs_now_ns() + RIG_TIMEOUT * SFS_NS_PER_MS;

	sfs_door_device_figures(d->dev, &before);
	rig_send(d, request, 0, payload, size, fds, fd_count);
	do {
		rig_turn(r);
		assert_true(sfs_now_ns() < end);
		sfs_door_device_figures(d->dev, &now);
	} while (now.messages == before.messages && sfs_door_device_state(d->dev) != SFS_DOOR_LISTENING);
}

unsigned rig_fd_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

int rig_memfd(void)
{
	int fd = memfd_create("rig", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 2 << 20), 0);
	return fd;
}

/* --- set-up as VMMs do it --- */

void rig_mem_table(struct rig *r, struct rig_dev *d, uint32_t flags, unsigned payload_regions)
{
	struct {
		uint32_t count, padding;
		uint64_t regions[2][4];
	} table = {.count = 1, .regions = {{0, 2 << 20, 0x7f0000000000, 0}}};
	int fd = d->mem_fd >= 0 ? dup(d->mem_fd) : rig_memfd();
	uint32_t size = 8 + 32 * payload_regions;

	if (flags & RIG_NEED_REPLY)
		assert_int_equal(rig_ask(r, d, 5, &table, size, &fd, 1), 0);
	else
		rig_tell(r, d, 5, &table, size, &fd, 1);
	close(fd);
}

void rig_state(struct rig *r, struct rig_dev *d, uint32_t request, uint32_t index, uint32_t num)
{
	uint32_t state[2] = {index, num};

	rig_tell(r, d, request, state, sizeof(state), NULL, 0);
}

void rig_ring_fd(struct rig *r, struct rig_dev *d, uint32_t request, uint32_t index)
{
	uint64_t val = index;
	int fd = eventfd(0, EFD_CLOEXEC);

	rig_tell(r, d, request, &val, sizeof(val), &fd, 1);
	close(fd);
}

void rig_addr(struct rig *r, struct rig_dev *d, uint32_t index)
{
	uint64_t base = 0x7f0000000000 + index * 0x10000;
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} addr = {index, 0, base, base + 0x8000, base + 0x6000, 0};

	rig_tell(r, d, 9, &addr, sizeof(addr), NULL, 0);
}

static void rig_negotiate(struct rig *r, struct rig_dev *d, uint32_t flags)
{
	uint64_t features = SFS_LINK_FEATURES, proto = SFS_LINK_PROTO_FEATURES;
	struct rig_msg m;

	rig_send(d, 1, 0, NULL, 0, NULL, 0);
	assert_int_equal(rig_reply(r, d, &m), 1);
	rig_send(d, 15, 0, NULL, 0, NULL, 0);
	assert_int_equal(rig_reply(r, d, &m), 1);
	if (flags) {
		assert_int_equal(rig_ask(r, d, 16, &proto, 8, NULL, 0), 0);
		assert_int_equal(rig_ask(r, d, 3, NULL, 0, NULL, 0), 0);
		assert_int_equal(rig_ask(r, d, 2, &features, 8, NULL, 0), 0);
	} else {
		rig_tell(r, d, 16, &proto, 8, NULL, 0);
		rig_tell(r, d, 3, NULL, 0, NULL, 0);
		rig_tell(r, d, 2, &features, 8, NULL, 0);
	}
}

void rig_setup_qemu(struct rig *r, struct rig_dev *d, unsigned rings)
{
	rig_negotiate(r, d, 0);
	for (unsigned i = 0; i < RIG_QUEUES; i++)
		rig_ring_fd(r, d, 13, i);
	rig_mem_table(r, d, RIG_NEED_REPLY, 1);
	for (unsigned i = 0; i < rings; i++) {
		rig_state(r, d, 8, i, 128);
		rig_state(r, d, 10, i, 0);
		rig_addr(r, d, i);
		rig_ring_fd(r, d, 12, i);
	}
	for (unsigned i = 0; i < rings; i++)
		rig_state(r, d, 18, i, 1);
	for (unsigned i = 0; i < rings; i++)
		rig_ring_fd(r, d, 13, i);
}

void rig_setup_uml(struct rig *r, struct rig_dev *d, unsigned rings)
{
	rig_negotiate(r, d, RIG_NEED_REPLY);
	rig_mem_table(r, d, RIG_NEED_REPLY, 2);
	for (unsigned i = 0; i < rings; i++) {
		rig_ring_fd(r, d, 13, i);
		rig_state(r, d, 8, i, 256);
		rig_state(r, d, 10, i, 0);
		rig_addr(r, d, i);
	}
	for (unsigned i = 0; i < rings; i++) {
		rig_ring_fd(r, d, 12, i);
		rig_state(r, d, 18, i, 1);
	}
}
