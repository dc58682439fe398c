/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * JSON to structures and back, by tables of fields.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "conf_int.h"
#include "sfs_base.h"

#define SHOW_BYTES 64

/* The value as an error quotes it, cut at a character. */
static const char *show(const json_t *json, char buf[SHOW_BYTES])
{
	char *text;
	size_t len;

	if (json_is_object(json))
		return "an object";
	if (json_is_array(json))
		return "an array";
	text = json_dumps(json, JSON_ENCODE_ANY);
	len = text ? strlen(text) : 0;
	if (len >= SHOW_BYTES) {
		len = SHOW_BYTES - 4;
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
		snprintf(buf, SHOW_BYTES, "%.*s...", (int)len, text);
	} else {
		snprintf(buf, SHOW_BYTES, "%s", text ? text : "?");
	}
	free(text);
	return buf;
}

/* "VALUE is not WHAT", where WHAT is the format. */
static int __attribute__((format(printf, 4, 5)))
refuse(const struct sfs_conf_node *node, const struct sfs_conf_field *field, struct sfs_conf_err *err,
       const char *fmt, ...)
{
	char value[SHOW_BYTES], what[sizeof(err->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return sfs_conf_error(node, NULL, err, "%s is not %s%s", show(node->json, value), what,
			      field->flags & SFS_CONF_NULLABLE ? " or null" : "");
}

static void put_uint(void *member, size_t bytes, uint64_t value)
{
	switch (bytes) {
	case 1:
		*(uint8_t *)member = (uint8_t)value;
		break;
	case 2:
		*(uint16_t *)member = (uint16_t)value;
		break;
	case 4:
		*(uint32_t *)member = (uint32_t)value;
		break;
	default:
		assert(bytes == 8);
		*(uint64_t *)member = value;
	}
}

/* Sign-extended, so that -1 of any width is -1. */
static int64_t get_int(const void *member, size_t bytes)
{
	switch (bytes) {
	case 1:
		return *(const int8_t *)member;
	case 2:
		return *(const int16_t *)member;
	case 4:
		return *(const int32_t *)member;
	default:
		assert(bytes == 8);
		return *(const int64_t *)member;
	}
}

static uint64_t get_uint(const void *member, size_t bytes)
{
	uint64_t value = (uint64_t)get_int(member, bytes);

	return bytes < 8 ? value & ((1ull << bytes * 8) - 1) : value;
}

static int parse_uint(const struct sfs_conf_node *node, const struct sfs_conf_field *field, void *member,
		      struct sfs_conf_err *err)
{
	unsigned long long min = field->min, max = field->max;
	json_int_t value = json_integer_value(node->json);
	bool pow2 = field->flags & SFS_CONF_POW2;

	if (json_is_integer(node->json) && value >= 0 && (uint64_t)value >= min && (uint64_t)value <= max &&
	    (!pow2 || (value & (value - 1)) == 0)) {
		put_uint(member, field->bytes, (uint64_t)value);
		return 0;
	}
	if (min == max)
		return refuse(node, field, err, "%llu", min);
	return refuse(node, field, err, "a %s from %llu to %llu", pow2 ? "power of two" : "whole number", min,
		      max);
}

static int parse_string(const struct sfs_conf_node *node, const struct sfs_conf_field *field, void *member,
			struct sfs_conf_err *err)
{
	const char *value = json_string_value(node->json);
	size_t len = json_string_length(node->json);

	if (!value)
		return refuse(node, field, err, "a string");
	if (field->type == SFS_CONF_PATH) {
		if (len == 0)
			return refuse(node, field, err, "a path");
		value = conf_doc_path(node->doc, value);
		if (!value || json_string_set(node->json, value) != 0)
			return conf_nomem(err);
		value = json_string_value(node->json);
	} else if (field->max && (len < field->min || len > field->max)) {
		return refuse(node, field, err, "a string of %llu to %llu bytes",
			      (unsigned long long)field->min, (unsigned long long)field->max);
	}
	*(const char **)member = value;
	return 0;
}

/* Whether @value is one of the spellings "name|other|...". */
static bool name_is(const char *spellings, const char *value)
{
	size_t len = strlen(value);

	for (const char *p = spellings; *p;) {
		size_t n = strcspn(p, "|");

		if (n == len && memcmp(p, value, n) == 0)
			return true;
		p += n + (p[n] == '|');
	}
	return false;
}

static int parse_enum(const struct sfs_conf_node *node, const struct sfs_conf_field *field, void *member,
		      struct sfs_conf_err *err)
{
	const char *value = json_string_value(node->json);
	char list[256] = "";
	size_t len = 0;

	for (unsigned i = 0; value && field->names[i]; i++) {
		if (name_is(field->names[i], value)) {
			put_uint(member, field->bytes, i);
			return 0;
		}
	}
	for (unsigned i = 0; field->names[i] && len < sizeof(list); i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%.*s", i ? ", " : "",
					(int)strcspn(field->names[i], "|"), field->names[i]);
	return refuse(node, field, err, "one of %s", list);
}

static int parse_mode(const struct sfs_conf_node *node, const struct sfs_conf_field *field, void *member,
		      struct sfs_conf_err *err)
{
	const char *value = json_string_value(node->json);
	unsigned mode = 0;

	if (value && value[0] && strlen(value) <= 5 && strspn(value, "01234567") == strlen(value))
		mode = (unsigned)strtoul(value, NULL, 8);
	else
		value = NULL;
	if (!value || mode > field->max)
		return refuse(node, field, err, "an octal string of at most \"%04o\"", (unsigned)field->max);
	put_uint(member, field->bytes, mode);
	return 0;
}

static int parse_value(const struct sfs_conf_node *node, const struct sfs_conf_field *field, void *member,
		       struct sfs_conf_err *err);

static int parse_array(const struct sfs_conf_node *node, const struct sfs_conf_field *field, void *out,
		       struct sfs_conf_err *err)
{
	const struct sfs_conf_field *item = field->item;
	size_t count = json_array_size(node->json);
	char *items;

	if (!json_is_array(node->json))
		return refuse(node, field, err, "an array");
	if (count < field->min || count > field->max)
		return sfs_conf_error(node, NULL, err, "an array of %zu, must be of %llu to %llu", count,
				      (unsigned long long)field->min, (unsigned long long)field->max);
	items = sfs_conf_doc_alloc(node->doc, (count ? count : 1) * item->bytes);
	if (!items)
		return conf_nomem(err);
	for (size_t i = 0; i < count; i++) {
		struct sfs_conf_node child;
		int rc = conf_child(node, NULL, i, json_array_get(node->json, i), &child, err);

		if (rc)
			return rc;
		if (field->item_defaults)
			memcpy(items + i * item->bytes, field->item_defaults, item->bytes);
		rc = parse_value(&child, item, items + i * item->bytes, err);
		if (rc)
			return rc;
	}
	*(void **)(void *)((char *)out + field->offset) = items;
	*(unsigned *)(void *)((char *)out + field->count_offset) = (unsigned)count;
	return 0;
}

/* All types whose value fits one member; arrays have two and are told apart by the caller. */
static int parse_value(const struct sfs_conf_node *node, const struct sfs_conf_field *field, void *member,
		       struct sfs_conf_err *err)
{
	if (json_is_null(node->json) && (field->flags & SFS_CONF_NULLABLE)) {
		memset(member, field->type == SFS_CONF_STRING || field->type == SFS_CONF_PATH ? 0 : 0xff,
		       field->bytes);
		return 0;
	}
	switch (field->type) {
	case SFS_CONF_BOOL:
		if (!json_is_boolean(node->json))
			return refuse(node, field, err, "true or false");
		*(bool *)member = json_is_true(node->json);
		return 0;
	case SFS_CONF_UINT:
		return parse_uint(node, field, member, err);
	case SFS_CONF_STRING:
	case SFS_CONF_PATH:
		return parse_string(node, field, member, err);
	case SFS_CONF_ENUM:
		return parse_enum(node, field, member, err);
	case SFS_CONF_MODE:
		return parse_mode(node, field, member, err);
	case SFS_CONF_OBJECT:
		return sfs_conf_parse_object(node, field->fields, field->field_count, member, err);
	case SFS_CONF_NODE:
		if (!json_is_object(node->json))
			return refuse(node, field, err, "an object");
		*(struct sfs_conf_node *)member = *node;
		return 0;
	case SFS_CONF_CUSTOM:
		return field->parse(node, member, err);
	case SFS_CONF_ARRAY:
		break;
	}
	assert(!"an array of arrays has no place for its count");
	return -EINVAL;
}

static const struct sfs_conf_field *find_field(const struct sfs_conf_node *node,
					       const struct sfs_conf_field *fields, size_t count,
					       const char *key)
{
	for (size_t i = 0; i < count; i++) {
		if ((fields[i].flags & SFS_CONF_ARGS) && !sfs_conf_doc_is_args(node->doc))
			continue;
		if (strcmp(fields[i].key, key) == 0)
			return &fields[i];
	}
	return NULL;
}

static json_t *print_field(const struct sfs_conf_field *field, const void *in);

/* Puts what is in force at the keys that were not given: so a part that somebody else parsed can be printed.
 */
static int fill_object(const struct sfs_conf_node *node, const struct sfs_conf_field *fields, size_t count,
		       const void *out, struct sfs_conf_err *err)
{
	for (size_t i = 0; node->json && i < count; i++) {
		json_t *value;

		if ((fields[i].flags & (SFS_CONF_ARGS | SFS_CONF_REQUIRED)) ||
		    json_object_get(node->json, fields[i].key))
			continue;
		value = print_field(&fields[i], out);
		if (value && json_object_set_new(node->json, fields[i].key, value) != 0)
			return conf_nomem(err);
	}
	return 0;
}

int sfs_conf_parse_object(const struct sfs_conf_node *node, const struct sfs_conf_field *fields, size_t count,
			  void *out, struct sfs_conf_err *err)
{
	char shown[SHOW_BYTES];
	const char *key;
	json_t *value;

	if (node->json && !json_is_object(node->json))
		return sfs_conf_error(node, NULL, err, "%s is not an object", show(node->json, shown));
	json_object_foreach(node->json, key, value)
	{
		const struct sfs_conf_field *field = find_field(node, fields, count, key);
		struct sfs_conf_node child;
		int rc;

		if (!field)
			return conf_error_key(node, key, err, "unknown key");
		rc = conf_child(node, key, 0, value, &child, err);
		if (rc == 0)
			rc = field->type == SFS_CONF_ARRAY
				 ? parse_array(&child, field, out, err)
				 : parse_value(&child, field, (char *)out + field->offset, err);
		if (rc)
			return rc;
	}
	for (size_t i = 0; i < count; i++) {
		if ((fields[i].flags & SFS_CONF_REQUIRED) && !json_object_get(node->json, fields[i].key) &&
		    !sfs_conf_doc_is_args(node->doc))
			return sfs_conf_error(node, fields[i].key, err, "missing");
	}
	return fill_object(node, fields, count, out, err);
}

static json_t *print_value(const struct sfs_conf_field *field, const void *member);

static json_t *print_array(const struct sfs_conf_field *field, const void *in)
{
	const char *items = *(const char *const *)(const void *)((const char *)in + field->offset);
	unsigned count = *(const unsigned *)(const void *)((const char *)in + field->count_offset);
	json_t *array = json_array();

	for (unsigned i = 0; i < count; i++) {
		if (json_array_append_new(array, print_value(field->item, items + i * field->item->bytes)) !=
		    0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* NULL: a default that no name stands for. */
static json_t *print_enum(const struct sfs_conf_field *field, uint64_t value)
{
	for (uint64_t i = 0; field->names[i]; i++) {
		if (i == value)
			return json_stringn(field->names[i], strcspn(field->names[i], "|"));
	}
	return NULL;
}

static json_t *print_value(const struct sfs_conf_field *field, const void *member)
{
	char mode[16];

	switch (field->type) {
	case SFS_CONF_BOOL:
		return json_boolean(*(const bool *)member);
	case SFS_CONF_UINT:
		if ((field->flags & SFS_CONF_NULLABLE) && get_int(member, field->bytes) == -1)
			return json_null();
		return json_integer((json_int_t)get_uint(member, field->bytes));
	case SFS_CONF_STRING:
	case SFS_CONF_PATH:
		if (!*(const char *const *)member)
			return json_null();
		return json_string(*(const char *const *)member);
	case SFS_CONF_ENUM:
		return print_enum(field, get_uint(member, field->bytes));
	case SFS_CONF_MODE:
		if ((field->flags & SFS_CONF_NULLABLE) && get_int(member, field->bytes) == -1)
			return json_null();
		snprintf(mode, sizeof(mode), "%04o", (unsigned)get_uint(member, field->bytes));
		return json_string(mode);
	case SFS_CONF_OBJECT:
		return sfs_conf_print_object(field->fields, field->field_count, member);
	case SFS_CONF_NODE: {
		const struct sfs_conf_node *node = member;

		return node->json ? json_deep_copy(node->json) : json_object();
	}
	case SFS_CONF_CUSTOM:
		return field->print(member);
	case SFS_CONF_ARRAY:
		break;
	}
	assert(!"an array of arrays has no place for its count");
	return NULL;
}

static json_t *print_field(const struct sfs_conf_field *field, const void *in)
{
	if (field->type == SFS_CONF_ARRAY)
		return print_array(field, in);
	return print_value(field, (const char *)in + field->offset);
}

json_t *sfs_conf_print_object(const struct sfs_conf_field *fields, size_t count, const void *in)
{
	json_t *object = json_object();

	for (size_t i = 0; i < count; i++) {
		json_t *value;

		if (fields[i].flags & SFS_CONF_ARGS)
			continue;
		value = print_field(&fields[i], in);
		if (!value && (fields[i].type == SFS_CONF_CUSTOM || fields[i].type == SFS_CONF_ENUM))
			continue;
		if (json_object_set_new(object, fields[i].key, value) != 0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}
