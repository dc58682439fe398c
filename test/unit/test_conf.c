/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "sfs_base.h"
#include "sfs_conf.h"

struct inner {
	unsigned count;
	const char *word;
};

struct outer {
	bool flag;
	uint8_t small;
	uint64_t large;
	int64_t timeout_ms;
	unsigned ring;
	const char *word, *path, *maybe;
	int cache;
	unsigned mode;
	struct inner inner;
	struct inner *items;
	unsigned item_count;
	const char **words;
	unsigned word_count;
	struct sfs_conf_node rest;
	int parity;
	int fd;
};

static int parity_parse(const struct sfs_conf_node *node, void *member, struct sfs_conf_err *err)
{
	if (!json_is_string(node->json))
		return sfs_conf_error(node, NULL, err, "must be odd or even");
	*(int *)member = strcmp(json_string_value(node->json), "odd") == 0;
	return 0;
}

static json_t *parity_print(const void *member)
{
	int parity = *(const int *)member;

	return parity < 0 ? NULL : json_string(parity ? "odd" : "even");
}

static const char *const caches[] = {"never|none", "metadata", "auto", "always", NULL};
static const struct sfs_conf_field inner_fields[] = {
    {.key = "count", .type = SFS_CONF_UINT, SFS_CONF_AT(struct inner, count), .min = 1, .max = 64},
    {.key = "word", .type = SFS_CONF_STRING, .flags = SFS_CONF_REQUIRED, SFS_CONF_AT(struct inner, word)},
};
static const struct inner inner_defaults = {.count = 7};
static const struct sfs_conf_field inner_item = {
    .type = SFS_CONF_OBJECT, .bytes = sizeof(struct inner), .fields = inner_fields, .field_count = 2};
static const struct sfs_conf_field word_item = {
    .type = SFS_CONF_STRING, .bytes = sizeof(char *), .min = 1, .max = 4};

#define AT(member) SFS_CONF_AT(struct outer, member)
static const struct sfs_conf_field fields[] = {
    {.key = "flag", .type = SFS_CONF_BOOL, AT(flag)},
    {.key = "small", .type = SFS_CONF_UINT, AT(small), .max = 255},
    {.key = "large", .type = SFS_CONF_UINT, AT(large), .max = INT64_MAX},
    {.key = "timeout_ms",
     .type = SFS_CONF_UINT,
     .flags = SFS_CONF_NULLABLE,
     AT(timeout_ms),
     .max = UINT32_MAX},
    {.key = "ring", .type = SFS_CONF_UINT, .flags = SFS_CONF_POW2, AT(ring), .min = 2, .max = 1024},
    {.key = "word", .type = SFS_CONF_STRING, AT(word), .min = 1, .max = 5},
    {.key = "path", .type = SFS_CONF_PATH, AT(path)},
    {.key = "maybe", .type = SFS_CONF_STRING, .flags = SFS_CONF_NULLABLE, AT(maybe)},
    {.key = "cache", .type = SFS_CONF_ENUM, AT(cache), .names = caches},
    {.key = "mode", .type = SFS_CONF_MODE, AT(mode), .max = 0777},
    {.key = "inner", .type = SFS_CONF_OBJECT, AT(inner), .fields = inner_fields, .field_count = 2},
    {.key = "items",
     .type = SFS_CONF_ARRAY,
     AT(items),
     .count_offset = offsetof(struct outer, item_count),
     .min = 1,
     .max = 3,
     .item = &inner_item,
     .item_defaults = &inner_defaults},
    {.key = "words",
     .type = SFS_CONF_ARRAY,
     AT(words),
     .count_offset = offsetof(struct outer, word_count),
     .max = 3,
     .item = &word_item},
    {.key = "rest", .type = SFS_CONF_NODE, AT(rest)},
    {.key = "parity", .type = SFS_CONF_CUSTOM, AT(parity), .parse = parity_parse, .print = parity_print},
    {.key = "fd", .type = SFS_CONF_UINT, .flags = SFS_CONF_ARGS, AT(fd), .max = 1000},
};

static int parse(const char *text, struct sfs_conf_doc **doc, struct outer *out, struct sfs_conf_err *err)
{
	struct sfs_conf_node root;
	int rc;

	*doc = NULL;
	*out = (struct outer){.timeout_ms = -1, .ring = 2, .parity = -1};
	rc = sfs_conf_doc_parse(text, strlen(text), "F", doc, err);
	if (rc)
		return rc;
	root = sfs_conf_doc_root(*doc);
	return sfs_conf_parse_object(&root, fields, SFS_ARRAY_SIZE(fields), out, err);
}

static void expect_error(const char *text, const char *want)
{
	struct sfs_conf_err err = {0};
	struct sfs_conf_doc *doc;
	struct outer out;

	assert_int_equal(parse(text, &doc, &out, &err), -EINVAL);
	assert_string_equal(err.text, want);
	sfs_conf_doc_destroy(doc);
}

static void test_values(void **state)
{
	static const char text[] =
	    "{\"flag\":true,\"small\":255,\"large\":9223372036854775807,\"timeout_ms\":5,\"ring\":1024,"
	    "\"word\":\"hello\",\"path\":\"a/b\",\"maybe\":\"x\",\"cache\":\"none\",\"mode\":\"0640\","
	    "\"inner\":{\"word\":\"w\"},\"items\":[{\"word\":\"a\"},{\"word\":\"b\",\"count\":64}],"
	    "\"words\":[\"one\",\"two\"],\"rest\":{\"anything\":[1,2]},\"parity\":\"odd\"}";
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err;
	struct outer o;

	assert_int_equal(parse(text, &doc, &o, &err), 0);
	assert_true(o.flag);
	assert_int_equal(o.small, 255);
	assert_int_equal(o.large, INT64_MAX);
	assert_int_equal(o.timeout_ms, 5);
	assert_int_equal(o.ring, 1024);
	assert_string_equal(o.word, "hello");
	assert_string_equal(o.path, "a/b");
	assert_string_equal(o.maybe, "x");
	assert_int_equal(o.cache, 0);
	assert_int_equal(o.mode, 0640);
	assert_string_equal(o.inner.word, "w");
	assert_int_equal(o.item_count, 2);
	assert_int_equal(o.items[0].count, 7);
	assert_string_equal(o.items[1].word, "b");
	assert_int_equal(o.items[1].count, 64);
	assert_int_equal(o.word_count, 2);
	assert_string_equal(o.words[1], "two");
	assert_string_equal(o.rest.path, "rest");
	assert_int_equal(json_array_size(json_object_get(o.rest.json, "anything")), 2);
	assert_int_equal(o.parity, 1);
	sfs_conf_doc_destroy(doc);
}

static void test_defaults_and_null(void **state)
{
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err;
	struct outer o;

	assert_int_equal(parse("{}", &doc, &o, &err), 0);
	assert_int_equal(o.ring, 2);
	assert_int_equal(o.timeout_ms, -1);
	assert_null(o.items);
	sfs_conf_doc_destroy(doc);

	assert_int_equal(parse("{\"timeout_ms\":null,\"maybe\":null,\"words\":[]}", &doc, &o, &err), 0);
	assert_int_equal(o.timeout_ms, -1);
	assert_null(o.maybe);
	assert_int_equal(o.word_count, 0);
	sfs_conf_doc_destroy(doc);
}

static void test_absent_object(void **state)
{
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err;
	struct sfs_conf_node node;
	struct outer o = {.ring = 4};
	struct inner i = {0};

	assert_int_equal(sfs_conf_doc_parse("{\"a\":\n {}}", 10, "F", &doc, &err), 0);
	node = (struct sfs_conf_node){.doc = doc, .path = "a.options"};
	assert_int_equal(sfs_conf_parse_object(&node, fields, SFS_ARRAY_SIZE(fields), &o, &err), 0);
	assert_int_equal(o.ring, 4);
	assert_int_equal(sfs_conf_parse_object(&node, inner_fields, 2, &i, &err), -EINVAL);
	assert_string_equal(err.text, "F:2:2: a.options.word: missing");
	sfs_conf_doc_destroy(doc);
}

static void test_syntax_errors(void **state)
{
	expect_error("", "F:1:1: '[' or '{' expected near end of file");
	expect_error("{\"a\": x}", "F:1:7: invalid token near 'x'");
	expect_error("{\"a\":1", "F:1:6: '}' expected near end of file");
	expect_error("{\n  \"a\": 1,\n}", "F:3:1: string or '}' expected near '}'");
	expect_error("{} x", "F:1:4: end of file expected near 'x'");
	expect_error("{\"a\":123456789012345678901234567890}", "F:1:35: too big integer");
	expect_error("{\"a\":\"\\u0000\"}",
		     "F:1:13: \\u0000 is not allowed without JSON_ALLOW_NUL near '\"\\u0000\"'");
}

static void test_duplicates(void **state)
{
	expect_error("{\"a\":1,\"a\":2}", "F:1:8: a: named twice");
	expect_error("{\"ä\":1,\n \"b\":[{\"c\":1},\n  {\"d\":1, \"\\u0064\":2}]}",
		     "F:3:11: b[1].d: named twice");
	expect_error("{\"a\":{\"b\":1,\"b\":1} x", "F:1:13: a.b: named twice");
}

static void test_key_errors(void **state)
{
	expect_error("[]", "F:1:1: an array is not an object");
	expect_error("{\"nope\":1}", "F:1:2: nope: unknown key");
	expect_error("{\"flag\":true,\n\t\"inner\": {\"x\": 1}}", "F:2:12: inner.x: unknown key");
	expect_error("{\"a.b\":1}", "F:1:2: [\"a.b\"]: unknown key");
	expect_error("{\"a\\nb\":1}", "F:1:2: [\"a\\nb\"]: unknown key");
	expect_error("{\"\":1}", "F:1:2: [\"\"]: unknown key");
	expect_error("{\"fd\":1}", "F:1:2: fd: unknown key");
	expect_error("{\"words\":[\"ä\"],\"inner\":{}}", "F:1:24: inner.word: missing");
	expect_error("{\"items\":[{\"word\":\"a\"},\n{\"count\":1}]}", "F:2:1: items[1].word: missing");
}

static void test_value_errors(void **state)
{
	expect_error("{\"flag\":1}", "F:1:9: flag: 1 is not true or false");
	expect_error("{\"small\":256}", "F:1:10: small: 256 is not a whole number from 0 to 255");
	expect_error("{\"small\":-1}", "F:1:10: small: -1 is not a whole number from 0 to 255");
	expect_error("{\"small\": 1.5}", "F:1:11: small: 1.5 is not a whole number from 0 to 255");
	expect_error("{\"small\":\"1\"}", "F:1:10: small: \"1\" is not a whole number from 0 to 255");
	expect_error("{\"small\":null}", "F:1:10: small: null is not a whole number from 0 to 255");
	expect_error("{\"timeout_ms\":true}",
		     "F:1:15: timeout_ms: true is not a whole number from 0 to 4294967295 or null");
	expect_error("{\"ring\":48}", "F:1:9: ring: 48 is not a power of two from 2 to 1024");
	expect_error("{\"ring\":2048}", "F:1:9: ring: 2048 is not a power of two from 2 to 1024");
	expect_error("{\"word\":\"\"}", "F:1:9: word: \"\" is not a string of 1 to 5 bytes");
	expect_error("{\"word\":\"toolong\"}", "F:1:9: word: \"toolong\" is not a string of 1 to 5 bytes");
	expect_error("{\"word\":{}}", "F:1:9: word: an object is not a string");
	expect_error("{\"path\":\"\"}", "F:1:9: path: \"\" is not a path");
	expect_error("{\"cache\":\"fast\"}",
		     "F:1:10: cache: \"fast\" is not one of never, metadata, auto, always");
	expect_error("{\"cache\":\"never|none\"}",
		     "F:1:10: cache: \"never|none\" is not one of never, metadata, auto, always");
	expect_error("{\"cache\":[]}", "F:1:10: cache: an array is not one of never, metadata, auto, always");
	expect_error("{\"mode\":\"0888\"}",
		     "F:1:9: mode: \"0888\" is not an octal string of at most \"0777\"");
	expect_error("{\"mode\":\"1777\"}",
		     "F:1:9: mode: \"1777\" is not an octal string of at most \"0777\"");
	expect_error("{\"mode\":432}", "F:1:9: mode: 432 is not an octal string of at most \"0777\"");
	expect_error("{\"inner\":3}", "F:1:10: inner: 3 is not an object");
	expect_error("{\"items\":{}}", "F:1:10: items: an object is not an array");
	expect_error("{\"items\":[]}", "F:1:10: items: an array of 0, must be of 1 to 3");
	expect_error("{\"words\":[\"a\",\n\"fives\"]}",
		     "F:2:1: words[1]: \"fives\" is not a string of 1 to 4 bytes");
	expect_error("{\"rest\":[]}", "F:1:9: rest: an array is not an object");
	expect_error("{\"parity\":1}", "F:1:11: parity: must be odd or even");
}

static void test_long_and_odd_values(void **state)
{
	expect_error(
	    "{\"cache\":\"0123456789012345678901234567890123456789012345678901234567ä123\"}",
	    "F:1:10: cache: \"0123456789012345678901234567890123456789012345678901234567... is not one of "
	    "never, metadata, auto, always");
	expect_error("{\"cache\":\"a\\u0007\x7f\"}", /* escaped by JSON, the rest replaced */
		     "F:1:10: cache: \"a\\u0007?\" is not one of never, metadata, auto, always");
}

/* Braces, brackets, commas and quotes inside strings do not lead the search astray. */
static void test_positions(void **state)
{
	expect_error("{ \"maybe\" : \"}]\\\"{[,:\" ,\r\n\t\"rest\" : {\"x\":[1 , [2,[3]],{\"y\":-1e5}]},\n"
		     "  \"inner\" : { \"word\":\"\\\\\", \"count\" : 65 } }",
		     "F:3:38: inner.count: 65 is not a whole number from 1 to 64");
}

static void test_error_at(void **state)
{
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err;
	struct sfs_conf_node root, node;
	struct outer o;

	assert_int_equal(parse("{\n \"rest\": {\"a\": {\"b\": 5}}}", &doc, &o, &err), 0);
	root = sfs_conf_doc_root(doc);
	node = o.rest;
	assert_int_equal(sfs_conf_error(&node, "a.b", &err, "%d is odd", 5), -EINVAL);
	assert_string_equal(err.text, "F:2:22: rest.a.b: 5 is odd");
	sfs_conf_error(&node, NULL, &err, "bad");
	assert_string_equal(err.text, "F:2:10: rest: bad");
	sfs_conf_error(&root, "rest.a.c[2].d", &err, "bad");
	assert_string_equal(err.text, "F:2:16: rest.a.c[2].d: bad");
	sfs_conf_error(&root, "x.y", &err, "line\nbreak");
	assert_string_equal(err.text, "F:1:1: x.y: line?break");
	sfs_conf_doc_destroy(doc);
}

static void test_print(void **state)
{
	static const char text[] =
	    "{\"flag\":true,\"small\":255,\"large\":9223372036854775807,\"timeout_ms\":null,"
	    "\"ring\":4,\"word\":\"w\",\"path\":\"/p\",\"maybe\":null,\"cache\":\"never\","
	    "\"mode\":\"0640\",\"inner\":{\"count\":1,\"word\":\"i\"},"
	    "\"items\":[{\"count\":7,\"word\":\"a\"}],\"words\":[],\"rest\":{\"k\":[1]}}";
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err;
	struct outer o;
	json_t *json;
	char *printed;

	assert_int_equal(parse(text, &doc, &o, &err), 0);
	json = sfs_conf_print_object(fields, SFS_ARRAY_SIZE(fields), &o);
	printed = json_dumps(json, JSON_COMPACT);
	assert_string_equal(printed, text);
	free(printed);
	json_decref(json);
	sfs_conf_doc_destroy(doc);
}

/* A part that was parsed shows what is in force: for options that only their driver knows. */
static void test_fill(void **state)
{
	static const struct sfs_conf_field part[] = {
	    {.key = "ring", .type = SFS_CONF_UINT, AT(ring), .max = 64},
	    {.key = "cache", .type = SFS_CONF_ENUM, AT(cache), .names = caches},
	    {.key = "path", .type = SFS_CONF_PATH, AT(path)},
	    {.key = "maybe", .type = SFS_CONF_STRING, .flags = SFS_CONF_NULLABLE, AT(maybe)},
	    {.key = "parity",
	     .type = SFS_CONF_CUSTOM,
	     AT(parity),
	     .parse = parity_parse,
	     .print = parity_print},
	    {.key = "fd", .type = SFS_CONF_UINT, .flags = SFS_CONF_ARGS, AT(fd), .max = 9},
	};
	struct outer o, in = {.ring = 2, .cache = 3, .parity = -1, .path = "/p"};
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err;
	json_t *json;
	char *printed;

	assert_int_equal(parse("{\"rest\":{\"ring\":8}}", &doc, &o, &err), 0);
	assert_int_equal(sfs_conf_parse_object(&o.rest, part, SFS_ARRAY_SIZE(part), &in, &err), 0);
	json = sfs_conf_print_object(fields, SFS_ARRAY_SIZE(fields), &o);
	printed = json_dumps(json_object_get(json, "rest"), JSON_COMPACT);
	assert_string_equal(printed, "{\"ring\":8,\"cache\":\"always\",\"path\":\"/p\",\"maybe\":null}");
	free(printed);
	json_decref(json);
	/* A default without a name is left out. */
	in.cache = -1;
	json = sfs_conf_print_object(part, SFS_ARRAY_SIZE(part), &in);
	assert_null(json_object_get(json, "cache"));
	assert_int_equal(json_object_size(json), 3);
	json_decref(json);
	sfs_conf_doc_destroy(doc);
}

static void test_command_line(void **state)
{
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err;
	struct sfs_conf_node root;
	struct outer o = {0};

	assert_int_equal(sfs_conf_doc_create(&doc), 0);
	assert_true(sfs_conf_doc_is_args(doc));
	assert_int_equal(sfs_conf_doc_set(doc, "fd", "--fd", json_integer(3)), 0);
	assert_int_equal(sfs_conf_doc_set(doc, "path", "--path", json_string("rel")), 0);
	assert_int_equal(sfs_conf_doc_set(doc, "items[0].count", "--count", json_integer(9)), 0);
	assert_int_equal(sfs_conf_doc_set(doc, "items[1].count", "--count", json_integer(10)), 0);
	assert_int_equal(sfs_conf_doc_set(doc, "cache", "--cache", json_string("fast")), 0);
	root = sfs_conf_doc_root(doc);
	assert_int_equal(sfs_conf_parse_object(&root, fields, SFS_ARRAY_SIZE(fields), &o, &err), -EINVAL);
	assert_string_equal(err.text, "--cache: \"fast\" is not one of never, metadata, auto, always");
	/* The last one wins, and is the one that is named. */
	assert_int_equal(sfs_conf_doc_set(doc, "cache", "-o cache", json_string("slow")), 0);
	assert_int_equal(sfs_conf_parse_object(&root, fields, SFS_ARRAY_SIZE(fields), &o, &err), -EINVAL);
	assert_string_equal(err.text, "-o cache: \"slow\" is not one of never, metadata, auto, always");
	assert_int_equal(sfs_conf_doc_set(doc, "cache", "-o cache", json_string("auto")), 0);
	assert_int_equal(sfs_conf_parse_object(&root, fields, SFS_ARRAY_SIZE(fields), &o, &err), 0);
	assert_int_equal(o.fd, 3);
	assert_string_equal(o.path, "rel");
	assert_int_equal(o.item_count, 2);
	assert_int_equal(o.items[1].count, 10);
	sfs_conf_error(&root, "inner.word", &err, "missing");
	assert_string_equal(err.text, "inner.word: missing");
	sfs_conf_doc_destroy(doc);
}

/* An option over a file: it is named where it is wrong, and does not hide what is wrong in the file. */
static void test_override(void **state)
{
	struct sfs_conf_doc *doc;
	struct sfs_conf_err err;
	struct sfs_conf_node root;
	struct outer o = {0};

	assert_int_equal(sfs_conf_doc_parse("{\"inner\":{\"word\":\"a\"}}", 22, "F", &doc, &err), 0);
	assert_int_equal(sfs_conf_doc_set(doc, "inner.count", "--count", json_integer(99)), 0);
	root = sfs_conf_doc_root(doc);
	assert_int_equal(sfs_conf_parse_object(&root, fields, SFS_ARRAY_SIZE(fields), &o, &err), -EINVAL);
	assert_string_equal(err.text, "--count: 99 is not a whole number from 1 to 64");
	sfs_conf_doc_destroy(doc);

	assert_int_equal(sfs_conf_doc_parse("{\"inner\":5}", 11, "F", &doc, &err), 0);
	assert_int_equal(sfs_conf_doc_set(doc, "inner.count", "--count", json_integer(1)), 0);
	root = sfs_conf_doc_root(doc);
	assert_int_equal(sfs_conf_parse_object(&root, fields, SFS_ARRAY_SIZE(fields), &o, &err), -EINVAL);
	assert_string_equal(err.text, "F:1:10: inner: 5 is not an object");
	sfs_conf_doc_destroy(doc);

	assert_int_equal(sfs_conf_doc_parse("[]", 2, "F", &doc, &err), 0);
	assert_int_equal(sfs_conf_doc_set(doc, "inner.count", "--count", json_integer(1)), 0);
	root = sfs_conf_doc_root(doc);
	assert_int_equal(sfs_conf_parse_object(&root, fields, SFS_ARRAY_SIZE(fields), &o, &err), -EINVAL);
	assert_string_equal(err.text, "F:1:1: an array is not an object");
	sfs_conf_doc_destroy(doc);
}

static void write_file(const char *path, const char *text, size_t bytes)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, bytes, f), bytes);
	assert_int_equal(fclose(f), 0);
}

static void test_files(void **state)
{
	char dir[] = "/tmp/test_conf.XXXXXX", path[64], want[160];
	struct sfs_conf_doc *doc = NULL;
	struct sfs_conf_err err;
	struct sfs_conf_node root;
	struct outer o = {0};
	char *large;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/c.json", dir);
	assert_int_equal(sfs_conf_doc_load(path, &doc, &err), -ENOENT);
	snprintf(want, sizeof(want), "%s: No such file or directory", path);
	assert_string_equal(err.text, want);
	assert_int_equal(sfs_conf_doc_load(dir, &doc, &err), -EISDIR);

	write_file(path, "{\"path\":\"x/y\"}", 14);
	assert_int_equal(sfs_conf_doc_load(path, &doc, &err), 0);
	assert_false(sfs_conf_doc_is_args(doc));
	root = sfs_conf_doc_root(doc);
	assert_int_equal(sfs_conf_parse_object(&root, fields, SFS_ARRAY_SIZE(fields), &o, &err), 0);
	snprintf(want, sizeof(want), "%s/x/y", dir);
	assert_string_equal(o.path, want);
	assert_string_equal(json_string_value(json_object_get(root.json, "path")), want);
	sfs_conf_doc_destroy(doc);

	large = calloc(1, (1u << 20) + 1);
	assert_non_null(large);
	memset(large, ' ', (1u << 20) + 1);
	write_file(path, large, (1u << 20) + 1);
	assert_int_equal(sfs_conf_doc_load(path, &doc, &err), -EFBIG);
	free(large);
	unlink(path);
	rmdir(dir);
}

/* What is nested too deeply to be looked for does not hide what follows it. */
static void test_deep(void **state)
{
	enum { DEPTH = 2000 };
	char text[2 * DEPTH + 64], want[64];
	size_t len = (size_t)snprintf(text, sizeof(text), "{\"rest\":{\"a\":");

	for (unsigned i = 0; i < DEPTH; i++)
		text[len++] = '[';
	len += (size_t)snprintf(text + len, 16, "{\"b\":1}");
	for (unsigned i = 0; i < DEPTH; i++)
		text[len++] = ']';
	snprintf(text + len, sizeof(text) - len, "},\"flag\":5}");
	snprintf(want, sizeof(want), "F:1:%zu: flag: 5 is not true or false", len + 10);
	expect_error(text, want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_values),        cmocka_unit_test(test_defaults_and_null),
	    cmocka_unit_test(test_absent_object), cmocka_unit_test(test_syntax_errors),
	    cmocka_unit_test(test_duplicates),    cmocka_unit_test(test_key_errors),
	    cmocka_unit_test(test_value_errors),  cmocka_unit_test(test_long_and_odd_values),
	    cmocka_unit_test(test_positions),     cmocka_unit_test(test_error_at),
	    cmocka_unit_test(test_print),         cmocka_unit_test(test_fill),
	    cmocka_unit_test(test_command_line),  cmocka_unit_test(test_override),
	    cmocka_unit_test(test_files),         cmocka_unit_test(test_deep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
