/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this component share.
 */
#ifndef CONF_INT_H
#define CONF_INT_H

#include <stdbool.h>
#include <stddef.h>

#include "sfs_conf.h"

#define CONF_PATH_MAX 1024 /* longer paths are not found; their parent's position is reported */

/** Where something stands in the text: line and column count characters from 1. */
struct conf_pos {
	unsigned line, col;
};

/**
 * Appends @key to the path of @len bytes in @buf, quoted where it is no plain name. Returns the new length, 0
 * where it does not fit.
 */
size_t conf_path_key(char *buf, size_t cap, size_t len, const char *key);

/** Finds the value at @path, or its key (@key true; a root and elements have none). Returns false: not there.
 */
bool conf_scan_path(const char *text, size_t bytes, const char *path, bool key, struct conf_pos *pos);

/** Finds the first key that ends at byte @offset or later; its path goes to @path. Returns false: none. */
bool conf_scan_key_at(const char *text, size_t bytes, size_t offset, char *path, size_t cap,
		      struct conf_pos *pos);

/** As sfs_conf_error() for the key @key of @node, at the key instead of its value. */
int conf_error_key(const struct sfs_conf_node *node, const char *key, struct sfs_conf_err *err,
		   const char *msg);

/** The node of @key (or element @idx where key is NULL) with value @json. 0 or -ENOMEM with @err filled. */
int conf_child(const struct sfs_conf_node *node, const char *key, size_t idx, json_t *json,
	       struct sfs_conf_node *child, struct sfs_conf_err *err);

/** Joins @path, relative to the document's file, and returns what lives as long as the document; NULL: no
 * memory. */
const char *conf_doc_path(struct sfs_conf_doc *doc, const char *path);

/** Fills @err for want of memory and returns -ENOMEM. */
int conf_nomem(struct sfs_conf_err *err);

#endif
