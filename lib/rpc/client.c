/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc_int.h"
#include "sfs_base.h"
#include "sfs_rpc.h"

#define CALL_READ_BYTES 65536

/* Waits for @events on @fd until @deadline_ns. 0, -ETIMEDOUT or -errno. */
static int call_wait(int fd, short events, uint64_t deadline_ns)
{
	for (;;) {
		uint64_t now = sfs_now_ns();
		struct pollfd pfd = {.fd = fd, .events = events};
		int n;

		if (now >= deadline_ns)
			return -ETIMEDOUT;
		n = poll(&pfd, 1, (int)SFS_MIN((deadline_ns - now) / SFS_NS_PER_MS + 1, 3600000ull));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int call_connect(const char *path, uint64_t deadline_ns)
{
	const struct timespec pause = {.tv_nsec = (long)SFS_NS_PER_MS};
	struct sockaddr_un addr;
	int rc = rpc_address(path, &addr), fd;

	if (rc)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	for (;;) {
		if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
			return fd;
		rc = -errno;
		/* EAGAIN: the backlog is full, and nothing tells when it is not. */
		if ((rc != -EAGAIN && rc != -EINTR) || sfs_now_ns() >= deadline_ns)
			break;
		nanosleep(&pause, NULL);
	}
	close(fd);
	return rc == -EAGAIN ? -ETIMEDOUT : rc;
}

static int call_send(int fd, const char *text, size_t bytes, uint64_t deadline_ns)
{
	while (bytes) {
		ssize_t n = send(fd, text, bytes, MSG_NOSIGNAL);
		int rc;

		if (n >= 0) {
			text += n;
			bytes -= (size_t)n;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			return errno == EPIPE ? -ECONNRESET : -errno;
		rc = call_wait(fd, POLLOUT, deadline_ns);
		if (rc)
			return rc;
	}
	return 0;
}

/* Reads one line into @buf; its length without the newline, or -errno. */
static ssize_t call_receive(int fd, struct rpc_buf *buf, uint64_t deadline_ns)
{
	size_t seen = 0;

	for (;;) {
		const char *end = buf->used > seen ? memchr(buf->data + seen, '\n', buf->used - seen) : NULL;
		ssize_t n;
		int rc;

		if (end)
			return end - buf->data;
		seen = buf->used;
		rc = call_wait(fd, POLLIN, deadline_ns);
		if (rc == 0)
			rc = rpc_buf_reserve(buf, CALL_READ_BYTES);
		if (rc)
			return rc;
		n = recv(fd, buf->data + buf->used, CALL_READ_BYTES, 0);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		buf->used += n > 0 ? (size_t)n : 0;
	}
}

static int call_answer(const char *line, size_t bytes, json_t **result, struct sfs_rpc_reason *why)
{
	json_t *answer = json_loadb(line, bytes, 0, NULL);
	json_t *value = json_object_get(answer, "result"), *error = json_object_get(answer, "error");
	const char *message = json_string_value(json_object_get(error, "message"));
	int rc = -EPROTO;

	if (value) {
		*result = json_incref(value);
		rc = 0;
	} else if (message) {
		snprintf(why->text, sizeof(why->text), "%s", message);
		rc = -EREMOTEIO;
	}
	json_decref(answer);
	return rc;
}

int sfs_rpc_call(const char *path, const char *method, json_t *params, unsigned timeout_ms, json_t **result,
		 struct sfs_rpc_reason *why)
{
	uint64_t deadline_ns = sfs_now_ns() + timeout_ms * SFS_NS_PER_MS;
	json_t *request = json_pack("{s:s, s:s, s:i}", "jsonrpc", "2.0", "method", method, "id", 1);
	struct rpc_buf out = {0}, in = {0};
	ssize_t rc;
	int fd = -1;

	if (!request || (params && json_object_set(request, "params", params) != 0))
		rc = -ENOMEM;
	else
		rc = fd = call_connect(path, deadline_ns);
	if (rc >= 0)
		rc = rpc_buf_add_line(&out, request);
	if (rc == 0)
		rc = call_send(fd, out.data, out.used, deadline_ns);
	if (rc == 0)
		rc = call_receive(fd, &in, deadline_ns);
	if (rc >= 0)
		rc = call_answer(in.data, (size_t)rc, result, why);
	if (fd >= 0)
		close(fd);
	rpc_buf_free(&out);
	rpc_buf_free(&in);
	json_decref(request);
	return (int)rc;
}
