/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration: JSON text to C structures by tables of fields, with errors that name file, line, column and
 * key.
 *
 * A document is a JSON file, or the same JSON built from a command line, so that both are checked by the same
 * tables. Everything that parsing allocates (strings, paths, arrays) belongs to the document and goes with
 * it: a parsed structure needs no destructor and must not outlive its document.
 *
 * A structure is filled with its defaults by the caller; parsing overwrites what the document names. Only the
 * first error is reported. A document is used by one thread at a time; nothing here blocks but
 * sfs_conf_doc_load().
 *
 *	static const char *const modes[] = { "never|none", "auto", "always", NULL };
 *	static const struct sfs_conf_field fields[] = {
 *		{ .key = "shared_dir", .type = SFS_CONF_PATH, .flags = SFS_CONF_REQUIRED,
 *		  SFS_CONF_AT(struct opts, shared_dir) },                           // const char *
 *		{ .key = "cache", .type = SFS_CONF_ENUM, SFS_CONF_AT(struct opts, cache), .names = modes },
 *		{ .key = "entry_timeout_ms", .type = SFS_CONF_UINT, .flags = SFS_CONF_NULLABLE,
 *		  SFS_CONF_AT(struct opts, entry_timeout_ms), .max = UINT32_MAX },  // int64_t; null is -1
 *	};
 *	struct opts o = defaults;
 *	rc = sfs_conf_parse_object(&node, fields, SFS_ARRAY_SIZE(fields), &o, err);
 */
#ifndef SFS_CONF_H
#define SFS_CONF_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/** What is wrong, as one line without the program's name: "FILE:LINE:COL: path: text" or "--option: text". */
struct sfs_conf_err {
	char text[1024];
};

struct sfs_conf_doc;

/** A place in a document. Copied freely; valid as long as the document. */
struct sfs_conf_node {
	struct sfs_conf_doc *doc;
	json_t *json;     /* borrowed; NULL: the key is absent, which reads as an empty object */
	const char *path; /* "devices[1].fs.options"; "" is the root */
};

enum sfs_conf_type {
	SFS_CONF_BOOL,   /* bool */
	SFS_CONF_UINT,   /* any integer member; min to max */
	SFS_CONF_STRING, /* const char *; min to max bytes (max 0: any) */
	SFS_CONF_PATH,   /* const char *; a relative one is relative to the file's directory; not empty */
	SFS_CONF_ENUM,   /* any integer member: the index in names */
	SFS_CONF_MODE,   /* any integer member: an octal string such as "0660", at most max */
	SFS_CONF_OBJECT, /* a structure embedded in this one: fields, field_count */
	SFS_CONF_ARRAY,  /* a pointer to min to max elements of item; unsigned count at count_offset */
	SFS_CONF_NODE,   /* struct sfs_conf_node: an object that somebody else parses */
	SFS_CONF_CUSTOM, /* parse and print below */
};

enum {
	SFS_CONF_REQUIRED = 1, /* must be there in a file. On a command line its options see to it */
	SFS_CONF_NULLABLE = 2, /* null is a value: all ones (-1) in a number, NULL in a string */
	SFS_CONF_POW2 = 4,     /* UINT: a power of two */
	SFS_CONF_ARGS =
	    8, /* from a command line only: in a file it is an unknown key, and it is not printed */
};

struct sfs_conf_field {
	const char *key;
	enum sfs_conf_type type;
	unsigned flags;
	size_t offset, bytes; /* of the member: SFS_CONF_AT() */
	uint64_t min, max;    /* max at most INT64_MAX */
	const char *const
	    *names; /* ENUM: NULL at the end; another spelling may follow a bar ("never|none") */
	const struct sfs_conf_field *fields; /* OBJECT */
	size_t field_count;
	const struct sfs_conf_field *item; /* ARRAY: offset 0, bytes the size of one element; key unused */
	const void *item_defaults;         /* ARRAY: what an element starts from; NULL: zero bytes */
	size_t count_offset;               /* ARRAY */
	/** CUSTOM: fills @member from @node (json is not NULL). 0, or a negative errno after
	 * sfs_conf_error(). */
	int (*parse)(const struct sfs_conf_node *node, void *member, struct sfs_conf_err *err);
	/** CUSTOM: the value as JSON, a new reference; NULL: leave the key out. */
	json_t *(*print)(const void *member);
};

#define SFS_CONF_AT(type, member) .offset = offsetof(type, member), .bytes = sizeof(((type *)0)->member)

/* --- documents --- */

/**
 * Reads @file, at most 1 MiB of JSON. Returns 0 and *@doc, the caller's until sfs_conf_doc_destroy(), or
 * -errno with @err filled: what reading gave, -EFBIG, -EINVAL (syntax, a key named twice). May block.
 */
int sfs_conf_doc_load(const char *file, struct sfs_conf_doc **doc, struct sfs_conf_err *err);

/** As sfs_conf_doc_load(), from memory. @source (copied) stands for the file in errors; @text is copied. */
int sfs_conf_doc_parse(const char *text, size_t bytes, const char *source, struct sfs_conf_doc **doc,
		       struct sfs_conf_err *err);

/** A document for a command line: an empty object, to be filled by sfs_conf_doc_set(). 0 or -ENOMEM. */
int sfs_conf_doc_create(struct sfs_conf_doc **doc);

/**
 * Puts @value (taken over, also on failure; NULL: -ENOMEM) at @path ("devices[0].fs.options.cache"), making
 * the objects and arrays on the way and replacing what is there; an error at that very path will name @option
 * ("--cache", copied) instead of a position. Also on a file's document (an option that overrides its file),
 * before it is parsed. @path comes from the program, not from outside. 0 or -ENOMEM.
 */
int sfs_conf_doc_set(struct sfs_conf_doc *doc, const char *path, const char *option, json_t *value);

/** Frees the document and all that parsing it allocated. NULL is fine. */
void sfs_conf_doc_destroy(struct sfs_conf_doc *doc);

/** Whether the document was made by sfs_conf_doc_create(). */
int sfs_conf_doc_is_args(const struct sfs_conf_doc *doc);

/** Zeroed memory that goes with the document; NULL: out of memory. For custom parse functions. */
void *sfs_conf_doc_alloc(struct sfs_conf_doc *doc, size_t bytes);

/** The document's root. */
struct sfs_conf_node sfs_conf_doc_root(struct sfs_conf_doc *doc);

/* --- tables --- */

/**
 * Fills @out from the object @node by @fields. Returns 0, or -errno with @err filled: -EINVAL (not an object,
 * unknown key, missing key, a value that its field refuses), -ENOMEM, or what a custom function gave. @out is
 * half filled then.
 */
int sfs_conf_parse_object(const struct sfs_conf_node *node, const struct sfs_conf_field *fields, size_t count,
			  void *out, struct sfs_conf_err *err);

/** The other direction: @in as a JSON object by the same table, a new reference. NULL: out of memory. */
json_t *sfs_conf_print_object(const struct sfs_conf_field *fields, size_t count, const void *in);

/**
 * Fills @err with a message about @path below @node ("shared_dir", "socket.path"; NULL: @node itself) and
 * returns -EINVAL. Where that path is not in the file the position is that of the innermost object around it
 * that is.
 */
int sfs_conf_error(const struct sfs_conf_node *node, const char *path, struct sfs_conf_err *err,
		   const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
