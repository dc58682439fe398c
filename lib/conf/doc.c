/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Documents: where they come from, what they own, how a place in them is named in an error.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

#include "conf_int.h"
#include "sfs_base.h"

#define DOC_BYTES_MAX (1u << 20)

/* Memory that goes with the document. */
struct doc_block {
	struct doc_block *next;
	max_align_t data[];
};

/* A path that an option has set; the newest first. */
struct doc_option {
	struct doc_option *next;
	char *name;
	char path[];
};

struct sfs_conf_doc {
	json_t *root;
	char *text; /* NULL: from a command line */
	size_t text_bytes;
	char *source;
	char *dir; /* what relative paths are relative to; NULL: the working directory */
	struct doc_block *blocks;
	struct doc_option *options;
};

int conf_nomem(struct sfs_conf_err *err)
{
	snprintf(err->text, sizeof(err->text), "out of memory");
	return -ENOMEM;
}

void *sfs_conf_doc_alloc(struct sfs_conf_doc *doc, size_t bytes)
{
	struct doc_block *block = calloc(1, sizeof(*block) + bytes);

	if (!block)
		return NULL;
	block->next = doc->blocks;
	doc->blocks = block;
	return block->data;
}

static char *doc_strdup(struct sfs_conf_doc *doc, const char *s)
{
	size_t bytes = strlen(s) + 1;
	char *copy = sfs_conf_doc_alloc(doc, bytes);

	return copy ? memcpy(copy, s, bytes) : NULL;
}

static struct sfs_conf_doc *doc_new(void)
{
	return calloc(1, sizeof(struct sfs_conf_doc));
}

int sfs_conf_doc_create(struct sfs_conf_doc **doc)
{
	struct sfs_conf_doc *d = doc_new();

	if (!d)
		return -ENOMEM;
	d->root = json_object();
	if (!d->root) {
		sfs_conf_doc_destroy(d);
		return -ENOMEM;
	}
	*doc = d;
	return 0;
}

void sfs_conf_doc_destroy(struct sfs_conf_doc *doc)
{
	if (!doc)
		return;
	json_decref(doc->root);
	while (doc->blocks) {
		struct doc_block *block = doc->blocks;

		doc->blocks = block->next;
		free(block);
	}
	free(doc);
}

int sfs_conf_doc_is_args(const struct sfs_conf_doc *doc)
{
	return !doc->text;
}

struct sfs_conf_node sfs_conf_doc_root(struct sfs_conf_doc *doc)
{
	return (struct sfs_conf_node){.doc = doc, .json = doc->root, .path = ""};
}

const char *conf_doc_path(struct sfs_conf_doc *doc, const char *path)
{
	size_t bytes;
	char *joined;

	if (path[0] == '/' || !doc->dir)
		return path;
	bytes = strlen(doc->dir) + strlen(path) + 2;
	joined = sfs_conf_doc_alloc(doc, bytes);
	if (joined)
		snprintf(joined, bytes, "%s/%s", strcmp(doc->dir, "/") == 0 ? "" : doc->dir, path);
	return joined;
}

/* --- errors --- */

/* Names and values may hold anything; an error is one printable line. */
static void __attribute__((format(printf, 2, 3))) err_set(struct sfs_conf_err *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	for (char *p = err->text; *p; p++) {
		if (iscntrl((unsigned char)*p))
			*p = '?';
	}
}

/* Cuts the last component off; false: there was none. */
static bool path_up(char *path)
{
	char *cut = NULL;

	for (char *p = path; *p; p++) {
		if (*p == '.' || *p == '[')
			cut = p;
	}
	if (!cut && !path[0])
		return false;
	*(cut ? cut : path) = '\0';
	return true;
}

static struct conf_pos doc_find(const struct sfs_conf_doc *doc, const char *path, bool key)
{
	struct conf_pos pos = {.line = 1, .col = 1};
	char at[CONF_PATH_MAX];

	if (key && conf_scan_path(doc->text, doc->text_bytes, path, true, &pos))
		return pos;
	snprintf(at, sizeof(at), "%s", path);
	while (!conf_scan_path(doc->text, doc->text_bytes, at, false, &pos) && path_up(at))
		;
	return pos;
}

static void doc_error(const struct sfs_conf_doc *doc, const char *path, bool key, struct sfs_conf_err *err,
		      const char *msg)
{
	const struct doc_option *opt = doc->options;

	while (opt && strcmp(opt->path, path) != 0)
		opt = opt->next;
	if (opt) {
		err_set(err, "%s: %s", opt->name, msg);
	} else if (doc->text) {
		struct conf_pos pos = doc_find(doc, path, key);

		err_set(err, "%s:%u:%u: %s%s%s", doc->source, pos.line, pos.col, path, path[0] ? ": " : "",
			msg);
	} else {
		err_set(err, "%s%s%s", path, path[0] ? ": " : "", msg);
	}
}

int sfs_conf_error(const struct sfs_conf_node *node, const char *path, struct sfs_conf_err *err,
		   const char *fmt, ...)
{
	char full[CONF_PATH_MAX], msg[sizeof(err->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	snprintf(full, sizeof(full), "%s%s%s", node->path, path && node->path[0] && path[0] != '[' ? "." : "",
		 path ? path : "");
	doc_error(node->doc, full, false, err, msg);
	return -EINVAL;
}

int conf_error_key(const struct sfs_conf_node *node, const char *key, struct sfs_conf_err *err,
		   const char *msg)
{
	char full[CONF_PATH_MAX];

	snprintf(full, sizeof(full), "%s", node->path);
	conf_path_key(full, sizeof(full), strlen(full), key);
	doc_error(node->doc, full, true, err, msg);
	return -EINVAL;
}

int conf_child(const struct sfs_conf_node *node, const char *key, size_t idx, json_t *json,
	       struct sfs_conf_node *child, struct sfs_conf_err *err)
{
	char full[CONF_PATH_MAX];

	snprintf(full, sizeof(full), "%s", node->path);
	if (key)
		conf_path_key(full, sizeof(full), strlen(full), key);
	else
		snprintf(full, sizeof(full), "%s[%zu]", node->path, idx);
	child->doc = node->doc;
	child->json = json;
	child->path = doc_strdup(node->doc, full);
	return child->path ? 0 : conf_nomem(err);
}

/* --- files --- */

static int doc_syntax_error(const struct sfs_conf_doc *doc, const json_error_t *json,
			    struct sfs_conf_err *err)
{
	char path[CONF_PATH_MAX];
	struct conf_pos pos;

	if (json_error_code(json) == json_error_duplicate_key &&
	    conf_scan_key_at(doc->text, doc->text_bytes, (size_t)json->position, path, sizeof(path), &pos))
		err_set(err, "%s:%u:%u: %s: named twice", doc->source, pos.line, pos.col, path);
	else
		err_set(err, "%s:%d:%d: %s", doc->source, SFS_MAX(json->line, 1), SFS_MAX(json->column, 1),
			json->text);
	return -EINVAL;
}

int sfs_conf_doc_parse(const char *text, size_t bytes, const char *source, struct sfs_conf_doc **doc,
		       struct sfs_conf_err *err)
{
	struct sfs_conf_doc *d = doc_new();
	json_error_t json;
	int rc;

	if (!d)
		return conf_nomem(err);
	d->text = sfs_conf_doc_alloc(d, bytes + 1);
	d->source = doc_strdup(d, source);
	if (!d->text || !d->source) {
		rc = conf_nomem(err);
		goto fail;
	}
	memcpy(d->text, text, bytes);
	d->text_bytes = bytes;
	d->root = json_loadb(d->text, bytes, JSON_REJECT_DUPLICATES, &json);
	if (!d->root) {
		rc = doc_syntax_error(d, &json, err);
		goto fail;
	}
	*doc = d;
	return 0;
fail:
	sfs_conf_doc_destroy(d);
	return rc;
}

/* At most DOC_BYTES_MAX + 1 bytes of @file into @text; the number, or -errno. */
static ssize_t doc_read(const char *file, char *text)
{
	FILE *f = fopen(file, "re");
	size_t bytes;
	int rc;

	if (!f)
		return -errno;
	errno = 0;
	bytes = fread(text, 1, DOC_BYTES_MAX + 1, f);
	rc = ferror(f) ? (errno ? -errno : -EIO) : 0;
	fclose(f);
	return rc ? rc : (ssize_t)bytes;
}

int sfs_conf_doc_load(const char *file, struct sfs_conf_doc **doc, struct sfs_conf_err *err)
{
	char *text = malloc(DOC_BYTES_MAX + 1), *real;
	ssize_t bytes;
	int rc;

	if (!text)
		return conf_nomem(err);
	bytes = doc_read(file, text);
	if (bytes > DOC_BYTES_MAX)
		bytes = -EFBIG;
	if (bytes < 0) {
		err_set(err, "%s: %s", file, strerror((int)-bytes));
		free(text);
		return (int)bytes;
	}
	rc = sfs_conf_doc_parse(text, (size_t)bytes, file, doc, err);
	free(text);
	if (rc)
		return rc;
	real = realpath(file, NULL); /* NULL: a pipe, say; then paths stay as they are */
	if (real) {
		(*doc)->dir = doc_strdup(*doc, dirname(real));
		free(real);
		if (!(*doc)->dir) {
			sfs_conf_doc_destroy(*doc);
			return conf_nomem(err);
		}
	}
	return 0;
}

/* --- command lines --- */

/* The component at @p: a key (returned in @key) or an index. Returns what follows it. */
static const char *path_step(const char *p, char *key, size_t cap, size_t *idx)
{
	size_t len;

	if (*p == '[') {
		char *end;

		*idx = strtoul(p + 1, &end, 10);
		assert(*end == ']');
		key[0] = '\0';
		return end + 1;
	}
	if (*p == '.')
		p++;
	len = strcspn(p, ".[");
	assert(len > 0 && len < cap);
	memcpy(key, p, len);
	key[len] = '\0';
	return p + len;
}

/* Puts @value (taken over) at @key or @idx of @at. */
static int json_put(json_t *at, const char *key, size_t idx, json_t *value)
{
	if (key[0])
		return json_object_set_new(at, key, value);
	assert(idx <= json_array_size(at));
	return idx == json_array_size(at) ? json_array_append_new(at, value)
					  : json_array_set_new(at, idx, value);
}

static int doc_put(json_t *root, const char *path, json_t *value)
{
	json_t *at = root;
	char key[64];
	size_t idx = 0;

	if (!json_is_object(root)) {
		json_decref(value);
		return 0;
	}
	for (const char *p = path_step(path, key, sizeof(key), &idx); *p;) {
		json_t *next = key[0] ? json_object_get(at, key) : json_array_get(at, idx);

		if (!next) {
			next = *p == '[' ? json_array() : json_object();
			if (json_put(at, key, idx, next) != 0)
				goto nomem;
		}
		/* What stands in an option's way is an error of the file: the parser will find it. */
		if (*p == '[' ? !json_is_array(next) : !json_is_object(next)) {
			json_decref(value);
			return 0;
		}
		at = next;
		p = path_step(p, key, sizeof(key), &idx);
	}
	return json_put(at, key, idx, value) ? -ENOMEM : 0;
nomem:
	json_decref(value);
	return -ENOMEM;
}

int sfs_conf_doc_set(struct sfs_conf_doc *doc, const char *path, const char *option, json_t *value)
{
	size_t path_bytes = strlen(path) + 1;
	struct doc_option *opt = sfs_conf_doc_alloc(doc, sizeof(*opt) + path_bytes);
	char *name = doc_strdup(doc, option);

	if (!opt || !name || !value) {
		json_decref(value);
		return -ENOMEM;
	}
	opt->name = name;
	memcpy(opt->path, path, path_bytes);
	opt->next = doc->options;
	doc->options = opt;
	return doc_put(doc->root, path, value);
}
