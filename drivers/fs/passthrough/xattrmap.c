/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xattrmap.h"

#define RULES_MAX 64

enum rule_type { RULE_PREFIX, RULE_OK, RULE_BAD, RULE_UNSUPPORTED, RULE_MAP };

struct rule {
	uint8_t type;
	bool client, server;
	char key[PT_XATTR_NAME_BYTES];     /* what a name of the guest begins with */
	char prepend[PT_XATTR_NAME_BYTES]; /* what a name of the host begins with */
};

struct pt_xattrmap {
	unsigned count;
	struct rule rules[RULES_MAX];
};

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* --- use --- */

int pt_xattrmap_to_host(const struct pt_xattrmap *map, const char *name, char host[PT_XATTR_NAME_BYTES])
{
	for (unsigned i = 0; i < map->count; i++) {
		const struct rule *r = &map->rules[i];
		size_t before, len = strlen(name);

		if (!r->client || !begins(name, r->key))
			continue;
		if (r->type == RULE_BAD)
			return -EPERM;
		if (r->type == RULE_UNSUPPORTED)
			return -EOPNOTSUPP;
		before = r->type == RULE_PREFIX ? strlen(r->prepend) : 0;
		if (before + len >= PT_XATTR_NAME_BYTES)
			return -ERANGE;
		memcpy(host, r->prepend, before);
		memcpy(host + before, name, len + 1);
		return 0;
	}
	return -EPERM;
}

const char *pt_xattrmap_to_guest(const struct pt_xattrmap *map, const char *name)
{
	for (unsigned i = 0; i < map->count; i++) {
		const struct rule *r = &map->rules[i];

		if (!r->server || !begins(name, r->prepend))
			continue;
		if (r->type == RULE_OK)
			return name;
		if (r->type != RULE_PREFIX)
			return NULL;
		name += strlen(r->prepend);
		return *name ? name : NULL; /* a name of no bytes is none */
	}
	return NULL;
}

bool pt_xattrmap_keeps(const struct pt_xattrmap *map, const char *name)
{
	char host[PT_XATTR_NAME_BYTES];
	const char *guest;

	if (!map)
		return true;
	if (pt_xattrmap_to_host(map, name, host) < 0 || strcmp(host, name) != 0)
		return false;
	guest = pt_xattrmap_to_guest(map, name);
	return guest && strcmp(guest, name) == 0;
}

/* --- parsing --- */

struct parser {
	const char *text, *at, *why;
	struct pt_xattrmap *map;
	char separator;
};

static int refuse(struct parser *p, const char *why)
{
	p->why = why;
	return -EINVAL;
}

/* The next field, up to the rule's separator. */
static int field(struct parser *p, char out[PT_XATTR_NAME_BYTES])
{
	size_t len = strcspn(p->at, (const char[]){p->separator, '\0'});

	if (p->at[len] == '\0')
		return refuse(p, "a rule ends without its last separator");
	if (len >= PT_XATTR_NAME_BYTES)
		return refuse(p, "a field is longer than any name");
	memcpy(out, p->at, len);
	out[len] = '\0';
	p->at += len + 1;
	return 0;
}

static int add(struct parser *p, enum rule_type type, bool client, bool server, const char *key,
	       const char *prepend)
{
	struct rule *r = &p->map->rules[p->map->count];

	if (p->map->count == RULES_MAX)
		return refuse(p, "more than 64 rules");
	p->map->count++;
	r->type = (uint8_t)type;
	r->client = client;
	r->server = server;
	strcpy(r->key, key);
	strcpy(r->prepend, prepend);
	return 0;
}

/* The short form, which stands for all that it takes. */
static int add_map(struct parser *p, const char *key, const char *prepend)
{
	int rc = add(p, RULE_PREFIX, true, true, key, prepend);

	if (*key == '\0')
		return rc ? rc : add(p, RULE_BAD, true, true, "", "");
	/* On either side nobody else's name is taken for one that was translated. */
	if (rc == 0)
		rc = add(p, RULE_BAD, true, false, prepend, "");
	if (rc == 0)
		rc = add(p, RULE_BAD, false, true, "", key);
	return rc ? rc : add(p, RULE_OK, true, true, "", "");
}

static int choose(const char *const *names, unsigned count, const char *name)
{
	for (unsigned i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	return -1;
}

/* One rule; *last: none may follow. */
static int parse_rule(struct parser *p, bool *last)
{
	static const char *const types[] = {"prefix", "ok", "bad", "unsupported", "map"};
	static const char *const scopes[] = {"client", "server", "all"};
	char word[PT_XATTR_NAME_BYTES], key[PT_XATTR_NAME_BYTES], prepend[PT_XATTR_NAME_BYTES];
	int type, scope = 2, rc;

	p->separator = *p->at++;
	rc = field(p, word);
	if (rc)
		return rc;
	type = choose(types, 5, word);
	if (type < 0)
		return refuse(p, "not one of the types prefix, ok, bad, unsupported, map");
	if (type != RULE_MAP) {
		rc = field(p, word);
		scope = rc ? 0 : choose(scopes, 3, word);
		if (scope < 0)
			return refuse(p, "not one of the scopes client, server, all");
	}
	if (rc == 0)
		rc = field(p, key);
	if (rc == 0)
		rc = field(p, prepend);
	if (rc)
		return rc;
	*last = type == RULE_MAP;
	return *last ? add_map(p, key, prepend)
		     : add(p, (enum rule_type)type, scope != 1, scope != 0, key, prepend);
}

/* Whether every name of a side meets a rule. */
static bool covers_all(const struct pt_xattrmap *map)
{
	bool client = false, server = false;

	for (unsigned i = 0; i < map->count; i++) {
		client |= map->rules[i].client && !map->rules[i].key[0];
		server |= map->rules[i].server && !map->rules[i].prepend[0];
	}
	return client && server;
}

static int parse_all(struct parser *p)
{
	bool last = false;
	int rc = 0;

	for (; rc == 0; rc = parse_rule(p, &last)) {
		while (isspace((unsigned char)*p->at))
			p->at++;
		if (*p->at == '\0')
			break;
		if (last)
			return refuse(p, "nothing may follow a map rule");
	}
	if (rc == 0 && !covers_all(p->map))
		return refuse(p, "the rules do not end with one for all other names, such as :ok:all:::");
	return rc;
}

int pt_xattrmap_parse(const char *text, struct pt_xattrmap **map, const char **why, unsigned *at)
{
	struct parser p = {.text = text, .at = text, .map = calloc(1, sizeof(*p.map))};
	int rc;

	if (!p.map)
		return -ENOMEM;
	rc = parse_all(&p);
	if (rc < 0) {
		free(p.map);
		*why = p.why;
		*at = (unsigned)(p.at - p.text);
		return rc;
	}
	*map = p.map;
	return 0;
}

void pt_xattrmap_free(struct pt_xattrmap *map)
{
	free(map);
}
