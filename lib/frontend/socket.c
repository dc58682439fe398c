/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-user messages, as the VMM sends them. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "sfs_base.h"
#include "sfs_frontend.h"

#define FS_NO_FD     (1u << 8) /* in the u64 of SET_VRING_KICK, CALL and ERR */
#define FS_TIMEOUT   10000
#define FS_RETRY_NS  1000000
#define FS_HDR_BYTES (3 * sizeof(uint32_t))

int sfs_fe_connect(struct sfs_fe *fe, const char *path, unsigned wait_ms)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	uint64_t deadline = sfs_now_ns() + wait_ms * SFS_NS_PER_MS;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0)
			return -errno;
		if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
			sfs_fe_adopt(fe, fd);
			return 0;
		}
		int rc = -errno;
		close(fd);
		if (sfs_now_ns() >= deadline)
			return rc;
		nanosleep(&(struct timespec){.tv_nsec = FS_RETRY_NS}, NULL);
	}
}

void sfs_fe_adopt(struct sfs_fe *fe, int fd)
{
	*fe = (struct sfs_fe){.fd = fd, .timeout_ms = FS_TIMEOUT};
}

void sfs_fe_close(struct sfs_fe *fe)
{
	if (fe->fd >= 0)
		close(fe->fd);
	fe->fd = -1;
}

int sfs_fe_send_raw(struct sfs_fe *fe, uint32_t id, uint32_t flags, uint32_t size, const void *payload,
		    size_t bytes, const int *fds, unsigned fd_count)
{
	uint8_t buf[FS_HDR_BYTES + SFS_FE_PAYLOAD_MAX];
	union {
		char space[CMSG_SPACE(SFS_FE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = buf, .iov_len = FS_HDR_BYTES + bytes};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (bytes > SFS_FE_PAYLOAD_MAX || fd_count > SFS_FE_FDS_MAX)
		return -EINVAL;
	memcpy(buf, &id, 4);
	memcpy(buf + 4, &flags, 4);
	memcpy(buf + 8, &size, 4);
	if (bytes)
		memcpy(buf + FS_HDR_BYTES, payload, bytes);
	if (fd_count) {
		mh.msg_control = control.space;
		mh.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	ssize_t sent = sendmsg(fe->fd, &mh, MSG_NOSIGNAL);

	if (sent < 0)
		return errno == EPIPE ? -ECONNRESET : -errno;
	return (size_t)sent == iov.iov_len ? 0 : -EPROTO;
}

static int fs_wait_readable(struct sfs_fe *fe, uint64_t deadline)
{
	for (;;) {
		struct pollfd pfd = {.fd = fe->fd, .events = POLLIN};
		uint64_t now = sfs_now_ns();
		int ms = now >= deadline ? 0 : (int)((deadline - now) / SFS_NS_PER_MS + 1);
		int rc = poll(&pfd, 1, ms);

		if (rc > 0)
			return 0;
		if (rc < 0 && errno != EINTR)
			return -errno;
		if (rc == 0 && ms == 0)
			return -ETIMEDOUT;
	}
}

static void fs_take_fds(struct sfs_fe_msg *msg, struct msghdr *mh)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		msg->fd_count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(msg->fds, CMSG_DATA(c), msg->fd_count * sizeof(int));
	}
}

/* Reads exactly @bytes; fds may come with the first of them. */
static int fs_read_all(struct sfs_fe *fe, void *buf, size_t bytes, struct sfs_fe_msg *msg, uint64_t deadline)
{
	size_t got = 0;

	while (got < bytes) {
		union {
			char space[CMSG_SPACE(SFS_FE_FDS_MAX * sizeof(int))];
			struct cmsghdr align;
		} control;
		struct iovec iov = {.iov_base = (char *)buf + got, .iov_len = bytes - got};
		struct msghdr mh = {.msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control.space,
				    .msg_controllen = sizeof(control)};
		int rc = fs_wait_readable(fe, deadline);

		if (rc < 0)
			return rc;
		ssize_t n = recvmsg(fe->fd, &mh, MSG_CMSG_CLOEXEC);
		if (n < 0)
			return -errno;
		if (n == 0)
			return got ? -EPROTO : -ECONNRESET;
		fs_take_fds(msg, &mh);
		got += (size_t)n;
	}
	return 0;
}

int sfs_fe_recv(struct sfs_fe *fe, struct sfs_fe_msg *msg)
{
	uint64_t deadline = sfs_now_ns() + fe->timeout_ms * SFS_NS_PER_MS;
	uint32_t hdr[3];

	msg->fd_count = 0;
	int rc = fs_read_all(fe, hdr, sizeof(hdr), msg, deadline);
	if (rc < 0)
		return rc;
	msg->id = hdr[0];
	msg->flags = hdr[1];
	msg->size = hdr[2];
	if (msg->size > SFS_FE_PAYLOAD_MAX)
		return -EMSGSIZE;
	rc = msg->size ? fs_read_all(fe, msg->payload.bytes, msg->size, msg, deadline) : 0;
	return rc == -ECONNRESET ? -EPROTO : rc;
}

int sfs_fe_wait_hangup(struct sfs_fe *fe)
{
	uint64_t deadline = sfs_now_ns() + fe->timeout_ms * SFS_NS_PER_MS;
	char drop[256];

	for (;;) {
		int rc = fs_wait_readable(fe, deadline);

		if (rc < 0)
			return rc;
		ssize_t n = recv(fe->fd, drop, sizeof(drop), 0);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return 0;
		if (n < 0)
			return -errno;
	}
}

static int fs_answer(struct sfs_fe *fe, uint32_t id, struct sfs_fe_msg *msg)
{
	int rc = sfs_fe_recv(fe, msg);

	if (rc < 0)
		return rc;
	if (msg->id != id || (msg->flags & 7) != (SFS_FE_VERSION | SFS_FE_REPLY))
		rc = -EPROTO;
	for (unsigned i = 0; i < msg->fd_count; i++)
		close(msg->fds[i]);
	return rc;
}

int sfs_fe_set(struct sfs_fe *fe, uint32_t id, const void *payload, size_t bytes, const int *fds,
	       unsigned fd_count)
{
	uint32_t flags = SFS_FE_VERSION | (fe->ack ? SFS_FE_NEED_REPLY : 0);
	int rc = sfs_fe_send_raw(fe, id, flags, (uint32_t)bytes, payload, bytes, fds, fd_count);
	struct sfs_fe_msg msg;

	if (rc < 0 || !fe->ack)
		return rc;
	rc = fs_answer(fe, id, &msg);
	if (rc < 0)
		return rc;
	if (msg.size != sizeof(uint64_t))
		return -EPROTO;
	return msg.payload.u64 ? -EREMOTEIO : 0;
}

int sfs_fe_get(struct sfs_fe *fe, uint32_t id, const void *payload, size_t bytes, void *reply,
	       size_t reply_bytes)
{
	int rc = sfs_fe_send_raw(fe, id, SFS_FE_VERSION, (uint32_t)bytes, payload, bytes, NULL, 0);
	struct sfs_fe_msg msg;

	if (rc < 0)
		return rc;
	rc = fs_answer(fe, id, &msg);
	if (rc < 0)
		return rc;
	if (msg.size != reply_bytes)
		return -EPROTO;
	memcpy(reply, msg.payload.bytes, reply_bytes);
	return 0;
}

static int fs_get_u64(struct sfs_fe *fe, uint32_t id, uint64_t *value)
{
	return sfs_fe_get(fe, id, NULL, 0, value, sizeof(*value));
}

int sfs_fe_get_features(struct sfs_fe *fe, uint64_t *features)
{
	return fs_get_u64(fe, SFS_FE_GET_FEATURES, features);
}

int sfs_fe_set_features(struct sfs_fe *fe, uint64_t features)
{
	return sfs_fe_set(fe, SFS_FE_SET_FEATURES, &features, sizeof(features), NULL, 0);
}

int sfs_fe_get_protocol_features(struct sfs_fe *fe, uint64_t *features)
{
	return fs_get_u64(fe, SFS_FE_GET_PROTOCOL_FEATURES, features);
}

int sfs_fe_set_protocol_features(struct sfs_fe *fe, uint64_t features)
{
	int rc = sfs_fe_set(fe, SFS_FE_SET_PROTOCOL_FEATURES, &features, sizeof(features), NULL, 0);

	if (rc == 0)
		fe->ack = features & SFS_FE_P_REPLY_ACK;
	return rc;
}

int sfs_fe_set_owner(struct sfs_fe *fe)
{
	return sfs_fe_set(fe, SFS_FE_SET_OWNER, NULL, 0, NULL, 0);
}

int sfs_fe_get_queue_num(struct sfs_fe *fe, uint64_t *count)
{
	return fs_get_u64(fe, SFS_FE_GET_QUEUE_NUM, count);
}

int sfs_fe_set_mem_table(struct sfs_fe *fe, const struct sfs_fe_mem *mem)
{
	struct {
		uint32_t count, padding;
		struct {
			uint64_t gpa, bytes, user, mmap_offset;
		} region[SFS_FE_REGIONS_MAX];
	} table = {.count = mem->region_count};
	int fds[SFS_FE_REGIONS_MAX];

	for (unsigned i = 0; i < mem->region_count; i++) {
		const struct sfs_fe_region *r = &mem->region[i];

		table.region[i].gpa = r->gpa;
		table.region[i].bytes = r->bytes;
		table.region[i].user = (uintptr_t)r->hva;
		table.region[i].mmap_offset = r->mmap_offset;
		fds[i] = r->fd;
	}
	return sfs_fe_set(fe, SFS_FE_SET_MEM_TABLE, &table, 8 + mem->region_count * sizeof(table.region[0]),
			  fds, mem->region_count);
}

int sfs_fe_get_config(struct sfs_fe *fe, uint32_t offset, void *config, uint32_t bytes)
{
	struct {
		uint32_t offset, bytes, flags;
		uint8_t space[256];
	} msg = {.offset = offset, .bytes = bytes}, reply;

	if (bytes > sizeof(msg.space))
		return -EINVAL;
	int rc = sfs_fe_get(fe, SFS_FE_GET_CONFIG, &msg, 12 + bytes, &reply, 12 + bytes);
	if (rc == 0)
		memcpy(config, reply.space, bytes);
	return rc;
}

static int fs_set_state(struct sfs_fe *fe, uint32_t id, unsigned idx, uint32_t num)
{
	uint32_t state[2] = {idx, num};

	return sfs_fe_set(fe, id, state, sizeof(state), NULL, 0);
}

int sfs_fe_set_vring_num(struct sfs_fe *fe, unsigned idx, uint32_t size)
{
	return fs_set_state(fe, SFS_FE_SET_VRING_NUM, idx, size);
}

int sfs_fe_set_vring_base(struct sfs_fe *fe, unsigned idx, uint32_t base)
{
	return fs_set_state(fe, SFS_FE_SET_VRING_BASE, idx, base);
}

int sfs_fe_get_vring_base(struct sfs_fe *fe, unsigned idx, uint32_t *base)
{
	uint32_t state[2] = {idx, 0};
	int rc = sfs_fe_get(fe, SFS_FE_GET_VRING_BASE, state, sizeof(state), state, sizeof(state));

	*base = state[1];
	if (rc == 0 && state[0] != idx)
		rc = -EPROTO;
	return rc;
}

int sfs_fe_set_vring_addr(struct sfs_fe *fe, unsigned idx, const void *desc, const void *avail,
			  const void *used)
{
	struct {
		uint32_t idx, flags;
		uint64_t desc, used, avail, log;
	} addr = {.idx = idx, .desc = (uintptr_t)desc, .used = (uintptr_t)used, .avail = (uintptr_t)avail};

	return sfs_fe_set(fe, SFS_FE_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
}

static int fs_set_fd(struct sfs_fe *fe, uint32_t id, unsigned idx, int fd)
{
	uint64_t value = idx | (fd < 0 ? FS_NO_FD : 0);

	return sfs_fe_set(fe, id, &value, sizeof(value), &fd, fd < 0 ? 0 : 1);
}

int sfs_fe_set_vring_kick(struct sfs_fe *fe, unsigned idx, int fd)
{
	return fs_set_fd(fe, SFS_FE_SET_VRING_KICK, idx, fd);
}

int sfs_fe_set_vring_call(struct sfs_fe *fe, unsigned idx, int fd)
{
	return fs_set_fd(fe, SFS_FE_SET_VRING_CALL, idx, fd);
}

int sfs_fe_set_vring_enable(struct sfs_fe *fe, unsigned idx, bool enable)
{
	return fs_set_state(fe, SFS_FE_SET_VRING_ENABLE, idx, enable);
}
