/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "door_int.h"

static void dw_take_fds(struct dw_msg *msg, struct msghdr *mh)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			assert(msg->fd_count < DW_REGIONS_MAX);
			msg->fds[msg->fd_count++] = fd;
		}
	}
	if (mh->msg_flags & MSG_CTRUNC)
		msg->fds_lost = true;
}

static ssize_t dw_recv(int fd, struct dw_msg *msg, void *buf, size_t len)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(DW_REGIONS_MAX * sizeof(int))];
	} control;
	unsigned room = DW_REGIONS_MAX - msg->fd_count;
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.buf,
			    /* What is more is dropped by the kernel, which does not wait as close() may. */
			    .msg_controllen = room ? CMSG_LEN(room * sizeof(int)) : 0};
	ssize_t n;

	do
		n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	dw_take_fds(msg, &mh);
	return n;
}

int dw_receive(int fd, struct dw_msg *msg)
{
	for (;;) {
		size_t end = sizeof(msg->hdr);
		char *to = (char *)&msg->hdr + msg->got;

		if (msg->got >= sizeof(msg->hdr)) {
			if (msg->hdr.size > DW_PAYLOAD_MAX)
				return -EMSGSIZE;
			end += msg->hdr.size;
			to = (char *)msg->payload.bytes + (msg->got - sizeof(msg->hdr));
			if (msg->got == end)
				return 1;
		}
		ssize_t n = dw_recv(fd, msg, to, end - msg->got);

		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n < 0 ? (int)n : -ECONNRESET;
		msg->got += (size_t)n;
	}
}

int dw_send(int fd, const struct dw_header *hdr, const void *payload, const int *fds, unsigned fd_count)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(DW_REGIONS_MAX * sizeof(int))];
	} control = {0};
	struct dw_header head = *hdr;
	struct iovec iov[2] = {{.iov_base = &head, .iov_len = sizeof(head)},
			       {.iov_base = (void *)(uintptr_t)payload, .iov_len = hdr->size}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t n;

	if (fd_count) {
		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	do
		n = sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* A part of a message cannot be taken back: the same as a peer that does not read. */
	return (size_t)n == sizeof(head) + hdr->size ? 0 : -EAGAIN;
}

void dw_clear(struct dw_msg *msg)
{
	for (unsigned i = 0; i < msg->fd_count; i++)
		close(msg->fds[i]);
	msg->fd_count = 0;
	msg->fds_lost = false;
	msg->got = 0;
}
