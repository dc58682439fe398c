/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc_int.h"

int rpc_buf_reserve(struct rpc_buf *buf, size_t bytes)
{
	size_t cap = buf->cap ? buf->cap : 4096;
	char *data;

	if (buf->cap - buf->used >= bytes)
		return 0;
	while (cap - buf->used < bytes)
		cap *= 2;
	data = realloc(buf->data, cap);
	if (!data)
		return -ENOMEM;
	buf->data = data;
	buf->cap = cap;
	return 0;
}

int rpc_buf_add(struct rpc_buf *buf, const void *data, size_t bytes)
{
	int rc = rpc_buf_reserve(buf, bytes);

	if (rc)
		return rc;
	memcpy(buf->data + buf->used, data, bytes);
	buf->used += bytes;
	return 0;
}

static int rpc_buf_dump(const char *text, size_t bytes, void *buf)
{
	return rpc_buf_add(buf, text, bytes);
}

int rpc_buf_add_line(struct rpc_buf *buf, const json_t *json)
{
	if (json_dump_callback(json, rpc_buf_dump, buf, JSON_COMPACT) != 0)
		return -ENOMEM;
	return rpc_buf_add(buf, "\n", 1);
}

void rpc_buf_drop(struct rpc_buf *buf, size_t bytes)
{
	buf->used -= bytes;
	memmove(buf->data, buf->data + bytes, buf->used);
}

void rpc_buf_free(struct rpc_buf *buf)
{
	free(buf->data);
	*buf = (struct rpc_buf){0};
}

int rpc_address(const char *path, struct sockaddr_un *addr)
{
	size_t len = strlen(path);

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len == 0)
		return -ENOENT;
	if (len >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	memcpy(addr->sun_path, path, len + 1);
	return 0;
}
