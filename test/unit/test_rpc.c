/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "sfs_base.h"
#include "sfs_rpc.h"

#define TURN_MS 10000 /* how long to wait for what must come; far more than it takes */

static char dir[64], path[80];

static int m_echo(void *arg, const json_t *params, json_t **result, struct sfs_rpc_reason *why)
{
	*result = params ? json_deep_copy(params) : json_null();
	return 0;
}

static int m_count(void *arg, const json_t *params, json_t **result, struct sfs_rpc_reason *why)
{
	*result = json_integer(++*(int *)arg);
	return 0;
}

static int m_done(void *arg, const json_t *params, json_t **result, struct sfs_rpc_reason *why)
{
	return 0;
}

static int m_refuse(void *arg, const json_t *params, json_t **result, struct sfs_rpc_reason *why)
{
	if (params && json_is_array(params))
		return -EINVAL;
	if (params)
		snprintf(why->text, sizeof(why->text), "not on a Sunday");
	return -EBUSY;
}

static int m_large(void *arg, const json_t *params, json_t **result, struct sfs_rpc_reason *why)
{
	size_t bytes = (size_t)json_integer_value(json_object_get(params, "bytes"));
	char *text = malloc(bytes + 1);

	if (!text)
		return -ENOMEM;
	memset(text, 'x', bytes);
	*result = json_stringn(text, bytes);
	free(text);
	return 0;
}

static const struct sfs_rpc_method methods[] = {
    {"echo", m_echo}, {"count", m_count}, {"done", m_done}, {"refuse", m_refuse}, {"large", m_large},
};

static int calls;
static const struct sfs_rpc_server_opts defaults = {
    .path = path, .methods = methods, .method_count = SFS_ARRAY_SIZE(methods), .arg = &calls};

static struct sfs_rpc_server *server_new(const struct sfs_rpc_server_opts *opts)
{
	struct sfs_rpc_server *server = NULL;

	calls = 0;
	assert_int_equal(sfs_rpc_server_create(opts, &server), 0);
	return server;
}

static int client_new(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, path, strlen(path) + 1);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Turns the server until @fd has something to read, or an end. */
static void turn_until(struct sfs_rpc_server *server, int fd)
{
	struct pollfd pfd[2] = {{.fd = fd, .events = POLLIN},
				{.fd = sfs_rpc_server_fd(server), .events = POLLIN}};

	for (;;) {
		assert_true(poll(pfd, 2, TURN_MS) > 0);
		if (pfd[0].revents)
			return;
		sfs_rpc_server_run(server);
	}
}

/* Sends all of @text, turning the server while it does not fit. */
static void put(struct sfs_rpc_server *server, int fd, const char *text)
{
	size_t left = strlen(text);

	while (left) {
		ssize_t n = send(fd, text, left, MSG_NOSIGNAL);

		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			sfs_rpc_server_run(server);
			continue;
		}
		text += n;
		left -= (size_t)n;
	}
}

/* One line of answer without its newline, "" at the end of the connection. */
static const char *get(struct sfs_rpc_server *server, int fd)
{
	static char line[4096];
	size_t used = 0;

	for (;;) {
		ssize_t n;

		turn_until(server, fd);
		assert_true(used < sizeof(line) - 1);
		n = recv(fd, line + used, 1, 0);
		if (n <= 0 || line[used] == '\n')
			break;
		used++;
	}
	line[used] = '\0';
	return line;
}

static void expect(struct sfs_rpc_server *server, int fd, const char *request, const char *answer)
{
	put(server, fd, request);
	assert_string_equal(get(server, fd), answer);
}

static void test_answers(void **state)
{
	struct sfs_rpc_server *server = server_new(&defaults);
	int fd = client_new();

	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"params\":{\"a\":[1]},\"id\":1}\n",
	       "{\"jsonrpc\":\"2.0\",\"result\":{\"a\":[1]},\"id\":1}");
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":\"x\"}\r\n",
	       "{\"jsonrpc\":\"2.0\",\"result\":null,\"id\":\"x\"}");
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"done\",\"id\":null}\n",
	       "{\"jsonrpc\":\"2.0\",\"result\":true,\"id\":null}");
	close(fd);
	sfs_rpc_server_destroy(server);
}

#define FAULT(code, message, id)                                                                             \
	"{\"jsonrpc\":\"2.0\",\"error\":{\"code\":" code ",\"message\":\"" message "\"},\"id\":" id "}"

static void test_errors(void **state)
{
	struct sfs_rpc_server *server = server_new(&defaults);
	int fd = client_new();

	expect(server, fd, "{\"jsonrpc\":\n", FAULT("-32700", "parse error", "null"));
	expect(server, fd, "nonsense\n", FAULT("-32700", "parse error", "null"));
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"done\",\"id\":1,\"id\":2}\n",
	       FAULT("-32700", "parse error", "null"));
	expect(server, fd, "[]\n", FAULT("-32600", "invalid request", "null"));
	expect(server, fd, "5\n", FAULT("-32600", "invalid request", "null"));
	expect(server, fd, "{\"method\":\"done\",\"id\":3}\n", FAULT("-32600", "invalid request", "3"));
	expect(server, fd, "{\"jsonrpc\":\"1.0\",\"method\":\"done\",\"id\":3}\n",
	       FAULT("-32600", "invalid request", "3"));
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":1,\"id\":\"q\"}\n",
	       FAULT("-32600", "invalid request", "\"q\""));
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"done\",\"id\":[]}\n",
	       FAULT("-32600", "invalid request", "null"));
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"done\",\"params\":1,\"id\":4}\n",
	       FAULT("-32600", "invalid request", "4"));
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"nope\",\"id\":5}\n",
	       FAULT("-32601", "method not found", "5"));
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"refuse\",\"params\":[],\"id\":6}\n",
	       FAULT("-32602", "invalid parameters", "6"));
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"refuse\",\"params\":{},\"id\":7}\n",
	       FAULT("-32000", "not on a Sunday", "7"));
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"refuse\",\"id\":8}\n",
	       FAULT("-32000", "Device or resource busy", "8"));
	close(fd);
	sfs_rpc_server_destroy(server);
}

/* Requests may come in any pieces, several at once, and without wanting an answer. */
static void test_framing(void **state)
{
	static const char request[] = "\n{\"jsonrpc\":\"2.0\",\"method\":\"count\",\"id\":1}\n";
	struct sfs_rpc_server *server = server_new(&defaults);
	int fd = client_new();

	for (const char *p = request; *p; p++) {
		const char one[2] = {*p, '\0'};

		put(server, fd, one);
		sfs_rpc_server_run(server);
	}
	assert_string_equal(get(server, fd), "{\"jsonrpc\":\"2.0\",\"result\":1,\"id\":1}");
	put(server, fd,
	    "{\"jsonrpc\":\"2.0\",\"method\":\"count\"}\n{\"jsonrpc\":\"2.0\",\"method\":\"nope\"}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"count\",\"id\":2}\n{\"jsonrpc\":\"2.0\",\"method\":\"count\","
	    "\"id\":3}\n");
	assert_string_equal(get(server, fd), "{\"jsonrpc\":\"2.0\",\"result\":3,\"id\":2}");
	assert_string_equal(get(server, fd), "{\"jsonrpc\":\"2.0\",\"result\":4,\"id\":3}");
	close(fd);
	sfs_rpc_server_destroy(server);
}

static void test_clients(void **state)
{
	struct sfs_rpc_server_opts opts = defaults;
	struct sfs_rpc_server *server;
	int fds[3];

	opts.clients_max = 2;
	server = server_new(&opts);
	for (int i = 0; i < 3; i++) {
		fds[i] = client_new();
		sfs_rpc_server_run(server);
	}
	/* One more than there may be is hung up on, the others are served in any order. */
	assert_string_equal(get(server, fds[2]), "");
	expect(server, fds[1], "{\"jsonrpc\":\"2.0\",\"method\":\"count\",\"id\":1}\n",
	       "{\"jsonrpc\":\"2.0\",\"result\":1,\"id\":1}");
	expect(server, fds[0], "{\"jsonrpc\":\"2.0\",\"method\":\"count\",\"id\":1}\n",
	       "{\"jsonrpc\":\"2.0\",\"result\":2,\"id\":1}");
	/* A place that was left is free again. */
	close(fds[0]);
	close(fds[2]);
	sfs_rpc_server_run(server);
	fds[2] = client_new();
	expect(server, fds[2], "{\"jsonrpc\":\"2.0\",\"method\":\"count\",\"id\":1}\n",
	       "{\"jsonrpc\":\"2.0\",\"result\":3,\"id\":1}");
	/* A client that goes in the middle of a request, or with an answer on the way, harms nobody. */
	put(server, fds[2], "{\"jsonrpc\":\"2.0\",");
	close(fds[2]);
	put(server, fds[1],
	    "{\"jsonrpc\":\"2.0\",\"method\":\"large\",\"params\":{\"bytes\":1000000},\"id\":1}\n");
	turn_until(server, fds[1]);
	close(fds[1]);
	sfs_rpc_server_run(server);
	fds[0] = client_new();
	expect(server, fds[0], "{\"jsonrpc\":\"2.0\",\"method\":\"count\",\"id\":1}\n",
	       "{\"jsonrpc\":\"2.0\",\"result\":4,\"id\":1}");
	close(fds[0]);
	sfs_rpc_server_destroy(server);
}

/* Without a descriptor for a client that waits the server sleeps between its attempts. */
static void test_out_of_descriptors(void **state)
{
	struct sfs_rpc_server *server = server_new(&defaults);
	uint64_t end = sfs_now_ns() + TURN_MS * SFS_NS_PER_MS;
	struct pollfd pfd = {.fd = sfs_rpc_server_fd(server), .events = POLLIN};
	int fd = client_new(), lowest = dup(fd);
	struct rlimit old, none;

	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){(rlim_t)lowest, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (unsigned attempt = 0; attempt < 2; attempt++) {
		assert_int_equal(poll(&pfd, 1, TURN_MS), 1);
		while (poll(&pfd, 1, 0) > 0) {
			assert_true(sfs_now_ns() < end);
			sfs_rpc_server_run(server);
		}
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"done\"}\n",
	       "{\"jsonrpc\":\"2.0\",\"result\":true,\"id\":1}");
	close(fd);
	sfs_rpc_server_destroy(server);
}

static void test_bounds(void **state)
{
	struct sfs_rpc_server_opts opts = defaults;
	struct sfs_rpc_server *server;
	char line[256];
	int slow, fd;

	opts.line_bytes_max = 100;
	opts.pending_bytes_max = 3000000;
	server = server_new(&opts);
	memset(line, 'a', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	fd = client_new();
	put(server, fd, line);
	assert_string_equal(get(server, fd), "");
	close(fd);

	/* A slow client holds an answer up to the bound, and others are served meanwhile. */
	slow = client_new();
	fd = client_new();
	put(server, slow,
	    "{\"jsonrpc\":\"2.0\",\"method\":\"large\",\"params\":{\"bytes\":2000000},\"id\":1}\n");
	turn_until(server, slow);
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"count\",\"id\":1}\n",
	       "{\"jsonrpc\":\"2.0\",\"result\":1,\"id\":1}");
	/* More than the bound ends it. */
	put(server, slow,
	    "{\"jsonrpc\":\"2.0\",\"method\":\"large\",\"params\":{\"bytes\":2000000},\"id\":2}\n");
	expect(server, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"count\",\"id\":1}\n",
	       "{\"jsonrpc\":\"2.0\",\"result\":2,\"id\":1}");
	for (;;) {
		char buf[4096];
		ssize_t n;

		turn_until(server, slow);
		n = recv(slow, buf, sizeof(buf), 0);
		assert_true(n <= 0 || !memchr(buf, '\n', (size_t)n)); /* the answer never ended */
		if (n <= 0)
			break;
	}
	close(slow);
	close(fd);
	sfs_rpc_server_destroy(server);
}

static void test_socket_file(void **state)
{
	struct sfs_rpc_server *server, *second = NULL;
	mode_t old = umask(0);
	struct stat st;
	char far[200];
	struct sfs_rpc_server_opts opts = defaults;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;
	FILE *f;

	server = server_new(&defaults);
	umask(old);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* A live one is refused and stays. */
	assert_int_equal(sfs_rpc_server_create(&defaults, &second), -EADDRINUSE);
	assert_int_equal(access(path, F_OK), 0);
	sfs_rpc_server_destroy(server);
	assert_int_equal(access(path, F_OK), -1);

	/* A stale one is replaced. */
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	server = server_new(&defaults);
	sfs_rpc_server_destroy(server);

	/* Anything else stays. */
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(sfs_rpc_server_create(&defaults, &second), -EEXIST);
	assert_int_equal(unlink(path), 0);

	memset(far, 'x', sizeof(far) - 1);
	far[sizeof(far) - 1] = '\0';
	opts.path = far;
	assert_int_equal(sfs_rpc_server_create(&opts, &second), -ENAMETOOLONG);
	snprintf(far, sizeof(far), "%s/none/s", dir);
	assert_int_equal(sfs_rpc_server_create(&opts, &second), -ENOENT);
}

/* --- the client's side, against a server on a thread of its own --- */

struct loop {
	struct sfs_rpc_server *server;
	int stop;
	pthread_t thread;
};

static void *loop_run(void *arg)
{
	struct loop *loop = arg;
	struct pollfd pfd[2] = {{.fd = loop->stop, .events = POLLIN},
				{.fd = sfs_rpc_server_fd(loop->server), .events = POLLIN}};

	while (poll(pfd, 2, -1) > 0 && !pfd[0].revents)
		sfs_rpc_server_run(loop->server);
	return NULL;
}

static void test_call(void **state)
{
	struct loop loop = {.server = server_new(&defaults), .stop = eventfd(0, EFD_CLOEXEC)};
	struct sfs_rpc_reason why;
	json_t *params, *result = NULL;

	assert_int_equal(pthread_create(&loop.thread, NULL, loop_run, &loop), 0);
	assert_int_equal(sfs_rpc_call(path, "count", NULL, TURN_MS, &result, &why), 0);
	assert_int_equal(json_integer_value(result), 1);
	json_decref(result);
	params = json_pack("{s:i}", "bytes", 3000000);
	assert_int_equal(sfs_rpc_call(path, "large", params, TURN_MS, &result, &why), 0);
	assert_int_equal(json_string_length(result), 3000000);
	json_decref(result);
	assert_int_equal(sfs_rpc_call(path, "refuse", params, TURN_MS, &result, &why), -EREMOTEIO);
	assert_string_equal(why.text, "not on a Sunday");
	json_decref(params);
	assert_int_equal(sfs_rpc_call(path, "nope", NULL, TURN_MS, &result, &why), -EREMOTEIO);
	assert_string_equal(why.text, "method not found");
	assert_int_equal(eventfd_write(loop.stop, 1), 0);
	pthread_join(loop.thread, NULL);
	close(loop.stop);

	/* Nobody turns the server any more. */
	assert_int_equal(sfs_rpc_call(path, "count", NULL, 1, &result, &why), -ETIMEDOUT);
	sfs_rpc_server_destroy(loop.server);
	assert_int_equal(sfs_rpc_call(path, "count", NULL, TURN_MS, &result, &why), -ENOENT);
}

static void *bad_server(void *arg)
{
	int fd = accept(*(int *)arg, NULL, NULL);
	char buf[256];

	assert_true(recv(fd, buf, sizeof(buf), 0) > 0);
	assert_int_equal(send(fd, "what?\n", 6, 0), 6);
	close(fd);
	fd = accept(*(int *)arg, NULL, NULL);
	assert_true(recv(fd, buf, sizeof(buf), 0) > 0);
	close(fd);
	return NULL;
}

static void test_bad_server(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sfs_rpc_reason why;
	json_t *result = NULL;
	pthread_t thread;
	int rc;

	memcpy(addr.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(sfs_rpc_call(path, "count", NULL, TURN_MS, &result, &why), -ECONNREFUSED);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(pthread_create(&thread, NULL, bad_server, &fd), 0);
	assert_int_equal(sfs_rpc_call(path, "count", NULL, TURN_MS, &result, &why), -EPROTO);
	rc = sfs_rpc_call(path, "count", NULL, TURN_MS, &result, &why);
	assert_int_equal(rc, -ECONNRESET);
	pthread_join(thread, NULL);
	close(fd);
	unlink(path);
}

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/test_rpc.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/s", dir);
	return 0;
}

static int teardown(void **state)
{
	return rmdir(dir); /* nothing was left in it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_errors),
	    cmocka_unit_test(test_framing),
	    cmocka_unit_test(test_clients),
	    cmocka_unit_test(test_out_of_descriptors),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_socket_file),
	    cmocka_unit_test(test_call),
	    cmocka_unit_test(test_bad_server),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
