/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "rpc_int.h"
#include "sfs_base.h"
#include "sfs_rpc.h"

#define CLIENTS_MAX       16
#define LINE_BYTES_MAX    (64u << 10)
#define PENDING_BYTES_MAX (4u << 20)
#define READ_BYTES        4096
#define EVENTS_MAX        16
#define ACCEPT_MS         100 /* descriptors that accept() lacked may be back by then */

struct rpc_client {
	LIST_ENTRY(rpc_client) link;
	int fd;
	bool wants_out; /* epoll has been asked for EPOLLOUT */
	struct rpc_buf in, out;
};

struct sfs_rpc_server {
	struct sfs_rpc_server_opts opts;
	struct sockaddr_un addr;
	int listen_fd, epoll_fd;
	int timer_fd; /* for the next accept() */
	unsigned client_count;
	LIST_HEAD(, rpc_client) clients;
};

/* --- the socket --- */

/* Removes a socket file that nobody listens on. 0: the path is free. */
static int rpc_clear_stale(const struct sockaddr_un *addr)
{
	struct stat st;
	int fd, rc;

	if (lstat(addr->sun_path, &st) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? -errno : 0;
	close(fd);
	if (rc == -ENOENT)
		return 0;
	/* A full backlog (EAGAIN) is somebody alive, too. */
	if (rc == 0 || rc == -EAGAIN || rc == -EPROTOTYPE)
		return -EADDRINUSE;
	if (rc != -ECONNREFUSED)
		return rc;
	return unlink(addr->sun_path) && errno != ENOENT ? -errno : 0;
}

static int rpc_listen(struct sfs_rpc_server *server)
{
	int rc = rpc_clear_stale(&server->addr);

	if (rc)
		return rc;
	server->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->listen_fd < 0)
		return -errno;
	/* The mode of the file that bind makes is that of the socket: no window, and no umask of a whole
	 * process changed. */
	if (fchmod(server->listen_fd, 0600) != 0)
		return -errno;
	if (bind(server->listen_fd, (const struct sockaddr *)&server->addr, sizeof(server->addr)) != 0) {
		rc = -errno;
		server->addr.sun_path[0] = '\0'; /* not ours to remove */
		return rc;
	}
	return listen(server->listen_fd, CLIENTS_MAX) ? -errno : 0;
}

static int rpc_watch(struct sfs_rpc_server *server, int op, int fd, uint32_t events, void *ptr)
{
	struct epoll_event ev = {.events = events, .data.ptr = ptr};

	return epoll_ctl(server->epoll_fd, op, fd, &ev) ? -errno : 0;
}

int sfs_rpc_server_create(const struct sfs_rpc_server_opts *opts, struct sfs_rpc_server **server)
{
	struct sfs_rpc_server *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	s->opts = *opts;
	s->opts.path = NULL;
	if (!s->opts.clients_max)
		s->opts.clients_max = CLIENTS_MAX;
	if (!s->opts.line_bytes_max)
		s->opts.line_bytes_max = LINE_BYTES_MAX;
	if (!s->opts.pending_bytes_max)
		s->opts.pending_bytes_max = PENDING_BYTES_MAX;
	s->listen_fd = -1;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	rc = s->epoll_fd < 0 || s->timer_fd < 0 ? -errno : rpc_address(opts->path, &s->addr);
	if (rc == 0) {
		rc = rpc_listen(s);
		if (rc && s->listen_fd < 0)
			s->addr.sun_path[0] = '\0';
	} else {
		s->addr.sun_path[0] = '\0';
	}
	if (rc == 0)
		rc = rpc_watch(s, EPOLL_CTL_ADD, s->listen_fd, EPOLLIN, NULL);
	if (rc == 0)
		rc = rpc_watch(s, EPOLL_CTL_ADD, s->timer_fd, EPOLLIN, &s->timer_fd);
	if (rc) {
		sfs_rpc_server_destroy(s);
		return rc;
	}
	*server = s;
	return 0;
}

static void rpc_hang_up(struct sfs_rpc_server *server, struct rpc_client *client)
{
	LIST_REMOVE(client, link);
	server->client_count--;
	close(client->fd);
	rpc_buf_free(&client->in);
	rpc_buf_free(&client->out);
	free(client);
}

void sfs_rpc_server_destroy(struct sfs_rpc_server *server)
{
	if (!server)
		return;
	while (!LIST_EMPTY(&server->clients)) /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): LIST_REMOVE() */
		rpc_hang_up(server, LIST_FIRST(&server->clients));
	if (server->addr.sun_path[0])
		unlink(server->addr.sun_path);
	if (server->listen_fd >= 0)
		close(server->listen_fd);
	if (server->timer_fd >= 0)
		close(server->timer_fd);
	if (server->epoll_fd >= 0)
		close(server->epoll_fd);
	free(server);
}

int sfs_rpc_server_fd(const struct sfs_rpc_server *server)
{
	return server->epoll_fd;
}

/* --- requests --- */

static json_t *rpc_error(json_t *id, int code, const char *message)
{
	return json_pack("{s:s, s:{s:i, s:s}, s:O}", "jsonrpc", "2.0", "error", "code", code, "message",
			 message, "id", id);
}

static const struct sfs_rpc_method *rpc_find(const struct sfs_rpc_server *server, const char *name)
{
	for (size_t i = 0; i < server->opts.method_count; i++) {
		if (strcmp(server->opts.methods[i].name, name) == 0)
			return &server->opts.methods[i];
	}
	return NULL;
}

static json_t *rpc_call_method(struct sfs_rpc_server *server, const json_t *request, json_t *id)
{
	const struct sfs_rpc_method *method =
	    rpc_find(server, json_string_value(json_object_get(request, "method")));
	struct sfs_rpc_reason why = {0};
	json_t *result = NULL, *answer;
	int rc;

	if (!method)
		return rpc_error(id, SFS_RPC_METHOD_NOT_FOUND, "method not found");
	rc = method->fn(server->opts.arg, json_object_get(request, "params"), &result, &why);
	if (rc == 0) {
		answer = json_pack("{s:s, s:o, s:O}", "jsonrpc", "2.0", "result",
				   result ? result : json_true(), "id", id);
		return answer;
	}
	json_decref(result);
	if (rc == -EINVAL)
		return rpc_error(id, SFS_RPC_INVALID_PARAMS, why.text[0] ? why.text : "invalid parameters");
	return rpc_error(id, SFS_RPC_FAILED, why.text[0] ? why.text : strerror(-rc));
}

static bool rpc_is_request(const json_t *request)
{
	const json_t *id = json_object_get(request, "id"), *params = json_object_get(request, "params");
	const char *version = json_string_value(json_object_get(request, "jsonrpc"));

	return json_is_object(request) && version && strcmp(version, "2.0") == 0 &&
	       json_is_string(json_object_get(request, "method")) &&
	       (!id || json_is_string(id) || json_is_number(id) || json_is_null(id)) &&
	       (!params || json_is_object(params) || json_is_array(params));
}

/* The answer to one line, a new reference; NULL: none is due (a notification), or no memory. */
static json_t *rpc_answer(struct sfs_rpc_server *server, const char *line, size_t bytes)
{
	json_t *request = json_loadb(line, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
	json_t *id = json_object_get(request, "id"), *answer;

	if (!request)
		return rpc_error(json_null(), SFS_RPC_PARSE_ERROR, "parse error");
	if (!rpc_is_request(request)) {
		bool plain = json_is_string(id) || json_is_number(id);

		answer = rpc_error(plain ? id : json_null(), SFS_RPC_INVALID_REQUEST, "invalid request");
	} else {
		answer = rpc_call_method(server, request, id ? id : json_null());
		if (!id) {
			json_decref(answer);
			answer = NULL;
		}
	}
	json_decref(request);
	return answer;
}

static int rpc_line(struct sfs_rpc_server *server, struct rpc_client *client, const char *line, size_t bytes)
{
	json_t *answer;
	int rc = 0;

	if (bytes == 0 || (bytes == 1 && line[0] == '\r'))
		return 0;
	answer = rpc_answer(server, line, bytes);
	if (answer)
		rc = rpc_buf_add_line(&client->out, answer);
	json_decref(answer);
	return rc;
}

/* --- clients --- */

static int rpc_flush(struct sfs_rpc_server *server, struct rpc_client *client)
{
	size_t done = 0;
	bool wants_out;

	while (done < client->out.used) {
		ssize_t n = send(client->fd, client->out.data + done, client->out.used - done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	if (done)
		rpc_buf_drop(&client->out, done);
	if (client->out.used > server->opts.pending_bytes_max)
		return -ENOBUFS;
	wants_out = client->out.used > 0;
	if (wants_out == client->wants_out)
		return 0;
	client->wants_out = wants_out;
	return rpc_watch(server, EPOLL_CTL_MOD, client->fd, wants_out ? EPOLLIN | EPOLLOUT : EPOLLIN, client);
}

/* Answers the whole lines that have come; what follows them stays. */
static int rpc_lines(struct sfs_rpc_server *server, struct rpc_client *client)
{
	size_t start = 0;
	int rc = 0;

	while (rc == 0 && start < client->in.used) {
		const char *line = client->in.data + start;
		const char *end = memchr(line, '\n', client->in.used - start);

		if (!end)
			break;
		rc = rpc_line(server, client, line, (size_t)(end - line));
		/* Sent at once: what a client does not read stays bounded by one answer and the limit. */
		if (rc == 0)
			rc = rpc_flush(server, client);
		start = (size_t)(end - client->in.data) + 1;
	}
	if (start)
		rpc_buf_drop(&client->in, start);
	if (rc == 0 && client->in.used > server->opts.line_bytes_max)
		rc = -EMSGSIZE;
	return rc;
}

/* One read a turn, so that no client keeps the others waiting. Negative: hang up. */
static int rpc_read(struct sfs_rpc_server *server, struct rpc_client *client)
{
	ssize_t n;

	if (rpc_buf_reserve(&client->in, READ_BYTES) != 0)
		return -ENOMEM;
	n = recv(client->fd, client->in.data + client->in.used, READ_BYTES, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	client->in.used += (size_t)n;
	return rpc_lines(server, client);
}

/* The client that could not be accepted still waits: without a pause the listener would be ready at once, for ever. */
static void rpc_pause(struct sfs_rpc_server *server)
{
	const struct itimerspec its = {.it_value = {.tv_nsec = ACCEPT_MS * (long)SFS_NS_PER_MS}};

	if (timerfd_settime(server->timer_fd, 0, &its, NULL) == 0)
		rpc_watch(server, EPOLL_CTL_MOD, server->listen_fd, 0, NULL);
}

static void rpc_go_on(struct sfs_rpc_server *server)
{
	uint64_t count;

	if (read(server->timer_fd, &count, sizeof(count)) == sizeof(count))
		rpc_watch(server, EPOLL_CTL_MOD, server->listen_fd, EPOLLIN, NULL);
}

static void rpc_accept(struct sfs_rpc_server *server)
{
	struct rpc_client *client;
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			rpc_pause(server);
		return;
	}
	client = server->client_count < server->opts.clients_max ? calloc(1, sizeof(*client)) : NULL;
	if (!client || rpc_watch(server, EPOLL_CTL_ADD, fd, EPOLLIN, client) != 0) {
		free(client);
		close(fd);
		return;
	}
	client->fd = fd;
	LIST_INSERT_HEAD(&server->clients, client, link);
	server->client_count++;
}

void sfs_rpc_server_run(struct sfs_rpc_server *server)
{
	struct epoll_event ev[EVENTS_MAX];
	int n = epoll_wait(server->epoll_fd, ev, EVENTS_MAX, 0);

	for (int i = 0; i < n; i++) {
		struct rpc_client *client = ev[i].data.ptr;
		int rc = 0;

		if (ev[i].data.ptr == &server->timer_fd) {
			rpc_go_on(server);
			continue;
		}
		if (!client) {
			rpc_accept(server);
			continue;
		}
		if (ev[i].events & EPOLLOUT)
			rc = rpc_flush(server, client);
		if (rc == 0 && (ev[i].events & ~(uint32_t)EPOLLOUT))
			rc = rpc_read(server, client);
		if (rc)
			rpc_hang_up(server, client);
	}
}
