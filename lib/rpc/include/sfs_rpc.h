/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operator's socket: JSON-RPC 2.0, one object a line, on a unix stream socket. The server is driven by
 * the caller's event loop and never blocks on a client. All server calls are made by one thread.
 */
#ifndef SFS_RPC_H
#define SFS_RPC_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define SFS_RPC_PARSE_ERROR      (-32700)
#define SFS_RPC_INVALID_REQUEST  (-32600)
#define SFS_RPC_METHOD_NOT_FOUND (-32601)
#define SFS_RPC_INVALID_PARAMS   (-32602)
#define SFS_RPC_FAILED           (-32000) /* the method ran and refused */

/** Why a method refused, for the operator. */
struct sfs_rpc_reason {
	char text[256];
};

struct sfs_rpc_method {
	const char *name;
	/**
	 * Answers one request. @params: an object or array, borrowed, NULL: none given. Returns 0 with
	 * *@result set (a new reference; left NULL it reads true), -EINVAL (parameters: error -32602) or
	 * another -errno (error -32000); @why may
	 * say more. Runs in sfs_rpc_server_run(); must not block.
	 */
	int (*fn)(void *arg, const json_t *params, json_t **result, struct sfs_rpc_reason *why);
};

struct sfs_rpc_server_opts {
	const char *path;                     /* copied */
	const struct sfs_rpc_method *methods; /* stays the caller's, and where it is */
	size_t method_count;
	void *arg;                /* the methods' first argument */
	unsigned clients_max;     /* further ones are hung up on; 0: 16 */
	size_t line_bytes_max;    /* a longer request ends its client; 0: 64 KiB */
	size_t pending_bytes_max; /* answers that a client has not read; more ends it; 0: 4 MiB */
};

struct sfs_rpc_server;

/**
 * Listens at @opts->path, mode 0600 whatever the umask. A socket file that nobody listens on any more is
 * replaced. Returns 0 or -errno: -EADDRINUSE (somebody listens there), -EEXIST (not a socket), -ENAMETOOLONG,
 * -ENOMEM, or what the system calls gave (-ENOENT: no such directory). Does not block.
 */
int sfs_rpc_server_create(const struct sfs_rpc_server_opts *opts, struct sfs_rpc_server **server);

/** Hangs up and removes the socket file; answers already sent still arrive. NULL is fine. */
void sfs_rpc_server_destroy(struct sfs_rpc_server *server);

/** The descriptor that is readable when sfs_rpc_server_run() has something to do; the server's. */
int sfs_rpc_server_fd(const struct sfs_rpc_server *server);

/** Does what there is to do: accepts, reads, calls methods, writes. Never blocks. */
void sfs_rpc_server_run(struct sfs_rpc_server *server);

/**
 * A client's one call: connects to @path, calls @method with @params (borrowed; NULL: none) and waits at most
 * @timeout_ms for all of it. Returns 0 with *@result, a new reference; -EREMOTEIO: the server answered with
 * an error, its message in @why; -ETIMEDOUT; -EPROTO: no JSON-RPC answer; -ECONNRESET: hung up; or what
 * connecting gave (-ENOENT, -ECONNREFUSED, -EACCES, -ENAMETOOLONG). Any thread; blocks.
 */
int sfs_rpc_call(const char *path, const char *method, json_t *params, unsigned timeout_ms, json_t **result,
		 struct sfs_rpc_reason *why);

#endif
