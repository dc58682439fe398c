/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What server and client share.
 */
#ifndef RPC_INT_H
#define RPC_INT_H

#include <jansson.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

/** Bytes from a socket or for one. Zeroed is empty. */
struct rpc_buf {
	char *data;
	size_t used, cap;
};

/** Makes room for @bytes more. 0 or -ENOMEM. */
int rpc_buf_reserve(struct rpc_buf *buf, size_t bytes);
/** Appends; 0 or -ENOMEM. */
int rpc_buf_add(struct rpc_buf *buf, const void *data, size_t bytes);
/** Appends @json as one line; 0 or -ENOMEM. */
int rpc_buf_add_line(struct rpc_buf *buf, const json_t *json);
/** Drops the first @bytes. */
void rpc_buf_drop(struct rpc_buf *buf, size_t bytes);
void rpc_buf_free(struct rpc_buf *buf);

/** The address of @path. 0 or -ENAMETOOLONG. */
int rpc_address(const char *path, struct sockaddr_un *addr);

#endif
