/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Positions. jansson tells where a syntax error is and nothing else, so the text is kept, and when an error
 * is to be reported it is walked once more to find the line and column of one path.
 */
#include <string.h>

#include "conf_int.h"

#define SCAN_DEPTH_MAX 2048 /* as jansson's */

enum scan_what { SCAN_KEY, SCAN_VALUE };

struct scan {
	const char *p, *start, *end;
	struct conf_pos pos;
	unsigned depth;
	bool hidden; /* in here paths are too long to be looked for */
	size_t path_len;
	char path[CONF_PATH_MAX];

	/* What is looked for: a path (want), or the first key that ends at offset or later. */
	enum scan_what what;
	const char *want;
	size_t offset;
	struct conf_pos found;
};

enum { SCAN_STOP = -1, SCAN_ON = 0, SCAN_FOUND = 1 };

size_t conf_path_key(char *buf, size_t cap, size_t len, const char *key)
{
	size_t plain = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
	int n;

	if (plain > 0 && key[plain] == '\0') {
		n = snprintf(buf + len, cap - len, "%s%s", len ? "." : "", key);
	} else {
		json_t *string = json_string(key);
		char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;

		n = quoted ? snprintf(buf + len, cap - len, "[%s]", quoted) : -1;
		free(quoted);
		json_decref(string);
	}
	if (n < 0 || (size_t)n >= cap - len) {
		buf[len] = '\0';
		return 0;
	}
	return len + (size_t)n;
}

static void scan_next(struct scan *s)
{
	unsigned char c = (unsigned char)*s->p++;

	if (c == '\n') {
		s->pos.line++;
		s->pos.col = 1;
	} else if ((c & 0xc0) != 0x80) {
		s->pos.col++;
	}
}

static void scan_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n'))
		scan_next(s);
}

/* Goes past @c and the space after it, if it is there. */
static bool scan_char(struct scan *s, char c)
{
	if (s->p >= s->end || *s->p != c)
		return false;
	scan_next(s);
	scan_space(s);
	return true;
}

static void scan_string(struct scan *s)
{
	scan_next(s);
	while (s->p < s->end && *s->p != '"') {
		if (*s->p == '\\')
			scan_next(s);
		if (s->p < s->end)
			scan_next(s);
	}
	if (s->p < s->end)
		scan_next(s);
}

static int scan_key(struct scan *s)
{
	const char *token = s->p;
	struct conf_pos pos = s->pos;
	size_t len = s->path_len;
	json_t *string;

	if (s->p >= s->end || *s->p != '"')
		return SCAN_STOP;
	scan_string(s);
	string = json_loadb(token, (size_t)(s->p - token), JSON_DECODE_ANY, NULL);
	if (!json_is_string(string)) {
		json_decref(string);
		return SCAN_STOP;
	}
	s->path_len = s->hidden ? 0 : conf_path_key(s->path, sizeof(s->path), len, json_string_value(string));
	s->hidden = s->path_len == 0;
	json_decref(string);
	if (s->what == SCAN_KEY && !s->hidden &&
	    (s->want ? strcmp(s->path, s->want) == 0 : (size_t)(s->p - s->start) >= s->offset)) {
		s->found = pos;
		return SCAN_FOUND;
	}
	scan_space(s);
	return scan_char(s, ':') ? SCAN_ON : SCAN_STOP;
}

static int scan_value(struct scan *s);

static int scan_object(struct scan *s)
{
	bool hidden = s->hidden;
	size_t len = s->path_len;

	scan_char(s, '{');
	if (scan_char(s, '}'))
		return SCAN_ON;
	do {
		int rc = scan_key(s);

		if (rc == SCAN_ON)
			rc = scan_value(s);
		if (rc != SCAN_ON)
			return rc;
		s->hidden = hidden;
		s->path_len = len;
		s->path[len] = '\0';
	} while (scan_char(s, ','));
	return scan_char(s, '}') ? SCAN_ON : SCAN_STOP;
}

static int scan_array(struct scan *s)
{
	bool hidden = s->hidden;
	size_t len = s->path_len;
	unsigned idx = 0;

	scan_char(s, '[');
	if (scan_char(s, ']'))
		return SCAN_ON;
	do {
		int n = snprintf(s->path + len, sizeof(s->path) - len, "[%u]", idx++);
		int rc;

		s->hidden = hidden || (size_t)n >= sizeof(s->path) - len;
		s->path_len = s->hidden ? len : len + (size_t)n;
		rc = scan_value(s);
		if (rc != SCAN_ON)
			return rc;
		s->hidden = hidden;
		s->path_len = len;
		s->path[len] = '\0';
	} while (scan_char(s, ','));
	return scan_char(s, ']') ? SCAN_ON : SCAN_STOP;
}

/* One value and the space after it; s->path names it. */
static int scan_value(struct scan *s)
{
	int rc = SCAN_ON;

	if (s->what == SCAN_VALUE && !s->hidden && strcmp(s->path, s->want) == 0) {
		s->found = s->pos;
		return SCAN_FOUND;
	}
	if (s->p >= s->end || ++s->depth > SCAN_DEPTH_MAX)
		return SCAN_STOP;
	if (*s->p == '{') {
		rc = scan_object(s);
	} else if (*s->p == '[') {
		rc = scan_array(s);
	} else if (*s->p == '"') {
		scan_string(s);
	} else {
		while (s->p < s->end && !strchr(",]} \t\r\n", *s->p))
			scan_next(s);
	}
	scan_space(s);
	s->depth--;
	return rc;
}

static bool scan_run(struct scan *s, const char *text, size_t bytes)
{
	s->p = s->start = text;
	s->end = text + bytes;
	s->pos = (struct conf_pos){.line = 1, .col = 1};
	scan_space(s);
	return scan_value(s) == SCAN_FOUND;
}

bool conf_scan_path(const char *text, size_t bytes, const char *path, bool key, struct conf_pos *pos)
{
	struct scan s = {.what = key ? SCAN_KEY : SCAN_VALUE, .want = path};

	if (!scan_run(&s, text, bytes))
		return false;
	*pos = s.found;
	return true;
}

bool conf_scan_key_at(const char *text, size_t bytes, size_t offset, char *path, size_t cap,
		      struct conf_pos *pos)
{
	struct scan s = {.what = SCAN_KEY, .offset = offset};

	if (!scan_run(&s, text, bytes))
		return false;
	*pos = s.found;
	snprintf(path, cap, "%s", s.path);
	return true;
}
