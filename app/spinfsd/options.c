/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A command line becomes a configuration document. Options are spelled out in full, "--name value" or
 * "--name=value"; of two that set the same value the last one wins, as in virtiofsd.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "options.h"
#include "sfs_base.h"
#include "sfs_cpus.h"

#define DEVICE  "devices[0]."
#define OPTIONS "devices[0].fs.options."

enum kind {
	/* Without a value. */
	SET_TRUE,
	SET_FALSE,
	SET_CONST, /* arg is the value */
	IGNORED,
	ACTION, /* number is the enum spinfsd_action */
	/* With a value. */
	SET_STRING,
	SET_NUMBER, /* what is no number stays a string, and is refused as such */
	SET_ACL,    /* the value is optional and then comes after "=" only; without: always */
	SET_HANDLES,
	SET_LEVEL,  /* -o loglevel: "err" is error */
	SET_SOCKET, /* number: whether the spelling is the old one */
	KEEP_CONFIG,
	KEEP_LEVEL,
	KEEP_IDLE,
	KEEP_CPUS,
	LIST,
	/* Refused, with a value or without. */
	UNBUILT,
};

struct row {
	const char *name;
	enum kind kind;
	const char *path;
	const char *arg; /* SET_CONST: the value; else what --help shows for it, NULL: nothing */
	int number;
	const char *help; /* NULL: not shown */
};

static const struct row long_rows[] = {
    {"config", KEEP_CONFIG, NULL, "FILE", 0,
     "configuration file (JSON); of the options below only the next three go with it"},
    {"check-config", ACTION, NULL, NULL, SPINFSD_CHECK_CONFIG, "with --config: check it and exit"},
    {"print-config", ACTION, NULL, NULL, SPINFSD_PRINT_CONFIG,
     "with --config: print what is in force and exit"},
    {"log-level", KEEP_LEVEL, "log.level", "LEVEL", 0, "off, error, warn, info, debug, trace (info)"},
    {"socket-path", SET_SOCKET, DEVICE "socket.path", "PATH", 0,
     "listen for the VMM there; also as plain argument"},
    {"socket", SET_SOCKET, DEVICE "socket.path", "PATH", 1, "deprecated spelling of --socket-path"},
    {"fd", SET_NUMBER, DEVICE "socket.fd", "N", 0, "an inherited listening socket instead"},
    {"socket-group", SET_STRING, DEVICE "socket.group", "GROUP", 0, "group that may connect"},
    {"shared-dir", SET_STRING, OPTIONS "shared_dir", "DIR", 0, "directory to share"},
    {"tag", SET_STRING, DEVICE "tag", "TAG", 0, "name of the filesystem for the guest, 1 to 36 bytes (none)"},
    {"cache", SET_STRING, OPTIONS "cache", "MODE", 0, "never, metadata, auto, always (auto)"},
    {"xattr", SET_TRUE, OPTIONS "xattr", NULL, 0, "extended attributes (off)"},
    {"xattrmap", SET_STRING, OPTIONS "xattrmap", "RULES", 0,
     "their names by rules such as :map:trusted.:user.virtiofs.: (none); implies --xattr"},
    {"posix-acl", SET_ACL, OPTIONS "posix_acl", "[=MODE]", 0,
     "never, auto, always (never; without a mode: always); implies --xattr"},
    {"security-label", SET_ACL, OPTIONS "security_label", "[=MODE]", 0,
     "never, auto, always (never; without a mode: always); implies --xattr"},
    {"readonly", SET_TRUE, OPTIONS "readonly", NULL, 0, "the guest may not write"},
    {"writeback", SET_TRUE, OPTIONS "writeback", NULL, 0, "let the guest cache writes"},
    {"no-readdirplus", SET_FALSE, OPTIONS "readdirplus", NULL, 0, "no attributes in listings"},
    {"allow-direct-io", SET_TRUE, OPTIONS "allow_direct_io", NULL, 0, "pass O_DIRECT of the guest on"},
    {"allow-mmap", SET_TRUE, OPTIONS "allow_mmap", NULL, 0, "shared mappings also with cache never"},
    {"announce-submounts", SET_TRUE, OPTIONS "announce_submounts", NULL, 0,
     "show mounts below as mounts (on)"},
    {"no-announce-submounts", SET_FALSE, OPTIONS "announce_submounts", NULL, 0, "do not"},
    {"inode-file-handles", SET_HANDLES, OPTIONS "inode_file_handles", "MODE", 0,
     "never, prefer, mandatory (prefer)"},
    {"inode-fds-max", SET_NUMBER, OPTIONS "inode_fds_max", "N", 0,
     "descriptors kept for recently used files (1024)"},
    {"preserve-noatime", SET_TRUE, OPTIONS "preserve_noatime", NULL, 0, "pass O_NOATIME of the guest on"},
    {"no-open", SET_TRUE, OPTIONS "no_open", NULL, 0,
     "the guest opens nothing, with cache always: fewer requests (off)"},
    {"killpriv-v2", SET_TRUE, OPTIONS "killpriv_v2", NULL, 0, "the host clears set-id bits"},
    {"no-killpriv-v2", SET_FALSE, OPTIONS "killpriv_v2", NULL, 0, "the guest does (default)"},
    {"sandbox", SET_STRING, "sandbox", "MODE", 0, "none"},
    {"seccomp", SET_STRING, "seccomp", "MODE", 0, "none"},
    {"rlimit-nofile", SET_NUMBER, "rlimit_nofile", "N", 0, "open files (1000000); 0: as inherited"},
    {"thread-pool-size", SET_NUMBER, "workers.count", "N", 0, "worker threads (8); 0: the default"},
    {"workers", SET_NUMBER, "workers.count", "N", 0, "the same"},
    {"syslog", SET_CONST, "log.target", "syslog", 0, "log to syslog"},
    {"idle", KEEP_IDLE, NULL, "MODE", 0, "spin, adaptive (adaptive): what a reactor does without work"},
    {"cpus", KEEP_CPUS, NULL, "LIST", 0, "one reactor on each of these CPUs (one, not pinned)"},
    {"request-queues", SET_NUMBER, DEVICE "queues.request_count", "N", 0, "request queues, 1 to 64 (4)"},
    {"queue-size-max", SET_NUMBER, DEVICE "queues.size_max", "N", 0,
     "largest ring, a power of two to 32768 (1024)"},
    {"engine", SET_STRING, "io.engine", "E", 0, "auto, io_uring, libaio, workers (auto)"},
    {"pin-memory", SET_TRUE, DEVICE "pin_memory", NULL, 0,
     "keep the guest's memory pinned: O_DIRECT I/O costs less, ballooning is lost (off)"},
    {"on-disconnect", SET_STRING, DEVICE "on_disconnect", "M", 0,
     "listen, exit (exit): when the VMM has gone"},
    {"control-socket", SET_STRING, "control_socket", "PATH", 0, "for spinfs-ctl (none)"},
    {"print-capabilities", ACTION, NULL, NULL, SPINFSD_CAPABILITIES,
     "print what vhost-user.json asks for and exit"},
    {"version", ACTION, NULL, NULL, SPINFSD_VERSION, "print the version and exit"},
    {"help", ACTION, NULL, NULL, SPINFSD_HELP, "print this and exit"},
    {"no-keeper", UNBUILT, NULL, NULL, 0, NULL},
    {"modcaps", UNBUILT, NULL, NULL, 0, NULL},
    {"uid-map", UNBUILT, NULL, NULL, 0, NULL},
    {"gid-map", UNBUILT, NULL, NULL, 0, NULL},
    {"translate-uid", UNBUILT, NULL, NULL, 0, NULL},
    {"translate-gid", UNBUILT, NULL, NULL, 0, NULL},
    {"migration-mode", UNBUILT, NULL, NULL, 0, NULL},
    {"migration-on-error", UNBUILT, NULL, NULL, 0, NULL},
    {"migration-verify-handles", UNBUILT, NULL, NULL, 0, NULL},
    {"migration-confirm-paths", UNBUILT, NULL, NULL, 0, NULL},
};

static const struct row short_rows[] = {
    {"d", SET_CONST, "log.level", "debug", 0, "= --log-level debug"},
    {"f", IGNORED, NULL, NULL, 0, "accepted; the daemon always stays in the foreground"},
    {"o", LIST, NULL, "LIST", 0,
     "options in the spelling of the older virtiofsd: source=DIR,cache=MODE,xattr,..."},
    {"V", ACTION, NULL, NULL, SPINFSD_VERSION, "= --version"},
    {"h", ACTION, NULL, NULL, SPINFSD_HELP, "= --help"},
};

static const struct row list_rows[] = {
    {"source", SET_STRING, OPTIONS "shared_dir", NULL, 0, NULL},
    {"cache", SET_STRING, OPTIONS "cache", NULL, 0, NULL},
    {"loglevel", SET_LEVEL, "log.level", NULL, 0, NULL},
    {"log_level", SET_LEVEL, "log.level", NULL, 0, NULL},
    {"debug", SET_CONST, "log.level", "debug", 0, NULL},
    {"sandbox", SET_STRING, "sandbox", NULL, 0, NULL},
    {"xattr", SET_TRUE, OPTIONS "xattr", NULL, 0, NULL},
    {"no_xattr", SET_FALSE, OPTIONS "xattr", NULL, 0, NULL},
    {"readdirplus", SET_TRUE, OPTIONS "readdirplus", NULL, 0, NULL},
    {"no_readdirplus", SET_FALSE, OPTIONS "readdirplus", NULL, 0, NULL},
    {"writeback", SET_TRUE, OPTIONS "writeback", NULL, 0, NULL},
    {"no_writeback", SET_FALSE, OPTIONS "writeback", NULL, 0, NULL},
    {"allow_direct_io", SET_TRUE, OPTIONS "allow_direct_io", NULL, 0, NULL},
    {"no_allow_direct_io", SET_FALSE, OPTIONS "allow_direct_io", NULL, 0, NULL},
    {"announce_submounts", SET_TRUE, OPTIONS "announce_submounts", NULL, 0, NULL},
    {"killpriv_v2", SET_TRUE, OPTIONS "killpriv_v2", NULL, 0, NULL},
    {"no_killpriv_v2", SET_FALSE, OPTIONS "killpriv_v2", NULL, 0, NULL},
    {"posix_acl", SET_CONST, OPTIONS "posix_acl", "always", 0, NULL},
    {"no_posix_acl", SET_CONST, OPTIONS "posix_acl", "never", 0, NULL},
    {"posix_lock", SET_TRUE, OPTIONS "posix_locks", NULL, 0, NULL},
    {"no_posix_lock", SET_FALSE, OPTIONS "posix_locks", NULL, 0, NULL},
    {"flock", SET_TRUE, OPTIONS "flock", NULL, 0, NULL},
    {"no_flock", SET_FALSE, OPTIONS "flock", NULL, 0, NULL},
    {"xattrmap", SET_STRING, OPTIONS "xattrmap", NULL, 0, NULL},
    {"modcaps", UNBUILT, NULL, NULL, 0, NULL},
    {"security_label", SET_CONST, OPTIONS "security_label", "always", 0, NULL},
    {"no_security_label", SET_CONST, OPTIONS "security_label", "never", 0, NULL},
};

struct parse {
	struct spinfsd_options *opts;
	struct sfs_conf_doc *doc;
	struct sfs_conf_err *err;
	const char *idle, *cpus;
	const char *positional;
	char first[64]; /* the first option that does not go with --config */
};

static int __attribute__((format(printf, 2, 3))) usage(struct parse *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->err->text, sizeof(p->err->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static void warn(struct parse *p, const char *text)
{
	for (unsigned i = 0; i < p->opts->warning_count; i++) {
		if (p->opts->warnings[i] == text)
			return;
	}
	if (p->opts->warning_count < SPINFSD_WARNINGS_MAX)
		p->opts->warnings[p->opts->warning_count++] = text;
}

static int set(struct parse *p, const char *path, const char *option, json_t *value)
{
	int rc = sfs_conf_doc_set(p->doc, path, option, value);

	if (rc)
		usage(p, "out of memory");
	return rc;
}

/* A number, or the text itself where it is none: the tables say what is wrong with it. */
static json_t *number(const char *text)
{
	size_t len = strlen(text);

	if (len > 0 && len <= 18 && strspn(text, "0123456789") == len)
		return json_integer(strtoll(text, NULL, 10));
	return json_string(text);
}

static const struct row *find_row(const struct row *rows, size_t count, const char *name, size_t len)
{
	for (size_t i = 0; i < count; i++) {
		if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
			return &rows[i];
	}
	return NULL;
}

static bool wants_value(const struct row *row)
{
	return row->kind >= SET_STRING && row->kind <= LIST && row->kind != SET_ACL;
}

/* Refuses what is no use of @row: @value NULL is none. */
static int check_use(struct parse *p, const struct row *row, const char *option, const char *value)
{
	json_t *text;

	if (row->kind == UNBUILT)
		return usage(p, "%s: not supported yet", option);
	if (wants_value(row) && !value)
		return usage(p, "%s: a value is missing", option);
	if (!value)
		return 0;
	if (!wants_value(row) && row->kind != SET_ACL)
		return usage(p, "%s: takes no value", option);
	text = json_string(value);
	if (!text)
		return usage(p, "%s: the value is not UTF-8", option);
	json_decref(text);
	return 0;
}

static int apply_list(struct parse *p, const char *list);

static int apply(struct parse *p, const struct row *row, const char *option, const char *value)
{
	int rc = check_use(p, row, option, value);

	if (rc)
		return rc;
	switch (row->kind) {
	case SET_TRUE:
	case SET_FALSE:
		return set(p, row->path, option, json_boolean(row->kind == SET_TRUE));
	case SET_CONST:
		return set(p, row->path, option, json_string(row->arg));
	case SET_ACL:
		return set(p, row->path, option, json_string(value ? value : "always"));
	case SET_NUMBER:
		return set(p, row->path, option, number(value));
	case SET_HANDLES:
		assert(value); /* check_use() */
		if (strcmp(value, "fallback") == 0) {
			warn(p, "--inode-file-handles=fallback means prefer");
			value = "prefer";
		}
		return set(p, row->path, option, json_string(value));
	case SET_LEVEL:
		assert(value);
		return set(p, row->path, option, json_string(strcmp(value, "err") == 0 ? "error" : value));
	case SET_SOCKET:
		if (row->number)
			warn(p, "--socket is deprecated, use --socket-path");
		return set(p, row->path, option, json_string(value));
	case SET_STRING:
		return set(p, row->path, option, json_string(value));
	case KEEP_LEVEL:
		p->opts->log_level = value;
		return set(p, row->path, option, json_string(value));
	case KEEP_CONFIG:
		p->opts->config_file = value;
		return 0;
	case KEEP_IDLE:
		p->idle = value;
		return 0;
	case KEEP_CPUS:
		p->cpus = value;
		return 0;
	case LIST:
		return apply_list(p, value);
	case ACTION:
		p->opts->action = (enum spinfsd_action)row->number;
		return 0;
	case IGNORED:
	case UNBUILT:
		break;
	}
	return 0;
}

static int apply_list(struct parse *p, const char *list)
{
	for (const char *at = list;;) {
		size_t len = strcspn(at, ","), key = strcspn(at, ",=");
		const struct row *row = find_row(list_rows, SFS_ARRAY_SIZE(list_rows), at, key);
		char option[64], *value = NULL;
		int rc;

		snprintf(option, sizeof(option), "-o %.*s", (int)SFS_MIN(key, 48u), at);
		if (!row)
			return usage(p, "%s: unknown option", option);
		if (key < len) {
			value = strndup(at + key + 1, len - key - 1);
			if (!value)
				return usage(p, "out of memory");
		}
		rc = apply(p, row, option, value);
		free(value);
		if (rc || at[len] == '\0')
			return rc;
		at += len + 1;
	}
}

/* Whether an option stands beside --config. */
static bool with_config(const struct row *row)
{
	return row->kind == KEEP_CONFIG || row->kind == KEEP_LEVEL || row->kind == ACTION;
}

static int parse_row(struct parse *p, const struct row *row, const char *option, const char *value)
{
	if (!with_config(row) && !p->first[0])
		snprintf(p->first, sizeof(p->first), "%s", option);
	return apply(p, row, option, value);
}

/* "--name", "--name=value" or "--name" "value" at argv[*i]. */
static int parse_long(struct parse *p, int argc, char *const *argv, int *i)
{
	const char *name = argv[*i] + 2, *value = NULL;
	size_t len = strcspn(name, "=");
	const struct row *row = find_row(long_rows, SFS_ARRAY_SIZE(long_rows), name, len);
	char option[64];

	snprintf(option, sizeof(option), "--%.*s", (int)SFS_MIN(len, 48u), name);
	if (!row)
		return usage(p, "%s: unknown option (see --help)", option);
	if (name[len] == '=')
		value = name + len + 1;
	else if (wants_value(row) && *i + 1 < argc)
		value = argv[++*i];
	return parse_row(p, row, option, value);
}

/* "-d", "-df", "-oLIST" or "-o" "LIST" at argv[*i]. */
static int parse_short(struct parse *p, int argc, char *const *argv, int *i)
{
	for (const char *at = argv[*i] + 1; *at; at++) {
		const struct row *row = find_row(short_rows, SFS_ARRAY_SIZE(short_rows), at, 1);
		const char option[] = {'-', *at, '\0'}, *value = NULL;
		int rc;

		if (!row)
			return usage(p, "%s: unknown option (see --help)", option);
		if (wants_value(row)) {
			if (at[1])
				value = at + 1;
			else if (*i + 1 < argc)
				value = argv[++*i];
		}
		rc = parse_row(p, row, option, value);
		if (rc || value)
			return rc;
	}
	return 0;
}

static int parse_positional(struct parse *p, const char *arg)
{
	const struct row row = {"SOCKET", SET_STRING, DEVICE "socket.path", NULL, 0, NULL};

	if (p->positional)
		return usage(p, "unexpected argument \"%s\" (see --help)", arg);
	p->positional = arg;
	return parse_row(p, &row, "SOCKET", arg);
}

/* Until an action that ends the program. */
static int parse_all(struct parse *p, int argc, char *const *argv)
{
	bool plain = false;

	for (int i = 1; i < argc && p->opts->action < SPINFSD_HELP; i++) {
		int rc;

		if (!plain && strcmp(argv[i], "--") == 0) {
			plain = true;
			continue;
		}
		if (plain || argv[i][0] != '-' || argv[i][1] == '\0')
			rc = parse_positional(p, argv[i]);
		else if (argv[i][1] == '-')
			rc = parse_long(p, argc, argv, &i);
		else
			rc = parse_short(p, argc, argv, &i);
		if (rc)
			return rc;
	}
	return 0;
}

/* What differs from a file's defaults when one device is given by options: it is what virtiofsd does. */
static int set_defaults(struct parse *p)
{
	int rc = set(p, DEVICE "on_disconnect", "--on-disconnect", json_string("exit"));

	if (rc == 0)
		rc = set(p, "control_socket", "--control-socket", json_null());
	if (rc == 0)
		rc = set(p, DEVICE "fs.driver", "driver", json_string("passthrough"));
	if (rc == 0)
		rc = set(p, OPTIONS "xattr", "--xattr", json_false());
	if (rc == 0)
		rc = set(p, OPTIONS "posix_acl", "--posix-acl", json_string("never"));
	if (rc == 0)
		rc = set(p, OPTIONS "posix_locks", "-o posix_lock", json_false());
	if (rc == 0)
		rc = set(p, OPTIONS "flock", "-o flock", json_false());
	return rc;
}

static bool is_asked(json_t *options, const char *key)
{
	const char *mode = json_string_value(json_object_get(options, key));

	return mode && strcmp(mode, "never") != 0;
}

/* Access control lists and labels are extended attributes: asking for them is asking for these, as in
 * virtiofsd. */
static int imply_xattr(struct parse *p)
{
	json_t *device = json_array_get(json_object_get(sfs_conf_doc_root(p->doc).json, "devices"), 0);
	json_t *options = json_object_get(json_object_get(device, "fs"), "options");

	if (is_asked(options, "posix_acl"))
		return set(p, OPTIONS "xattr", "--posix-acl", json_true());
	if (is_asked(options, "security_label"))
		return set(p, OPTIONS "xattr", "--security-label", json_true());
	if (json_object_get(options, "xattrmap"))
		return set(p, OPTIONS "xattr", "--xattrmap", json_true());
	return 0;
}

static int set_reactors(struct parse *p)
{
	cpu_set_t set_of;
	unsigned count = 0;
	int rc;

	CPU_ZERO(&set_of);
	rc = p->cpus ? sfs_cpus_parse(p->cpus, &set_of) : 0;
	if (rc)
		return usage(p, "--cpus: \"%s\": %s", p->cpus, spinfsd_cpus_problem(rc));
	for (unsigned cpu = 0; rc == 0 && cpu < CPU_SETSIZE; cpu++) {
		char path[64], name[16];

		if (p->cpus ? !CPU_ISSET(cpu, &set_of) : cpu > 0)
			continue;
		snprintf(name, sizeof(name), "r%u", count);
		snprintf(path, sizeof(path), "reactors[%u].name", count);
		rc = set(p, path, "--cpus", json_string(name));
		snprintf(path, sizeof(path), "reactors[%u].cpu", count);
		if (rc == 0)
			rc = set(p, path, "--cpus", p->cpus ? json_integer(cpu) : json_null());
		snprintf(path, sizeof(path), "reactors[%u].idle", count);
		if (rc == 0 && p->idle)
			rc = set(p, path, "--idle", json_string(p->idle));
		count++;
	}
	return rc;
}

/* One device: what has to be there, and what excludes what. */
static int check_device(struct parse *p)
{
	json_t *root = sfs_conf_doc_root(p->doc).json;
	json_t *device = json_array_get(json_object_get(root, "devices"), 0);
	json_t *socket = json_object_get(device, "socket");
	bool fd = json_object_get(socket, "fd"), path = json_object_get(socket, "path");

	if (p->opts->action != SPINFSD_RUN)
		return usage(p, "--check-config and --print-config need --config");
	if (!fd && !path)
		return usage(p, "--config, --socket-path or --fd is needed (see --help)");
	if (fd && path)
		return usage(p, "--fd and a socket path exclude each other");
	if (fd && json_object_get(socket, "group"))
		return usage(p, "--fd and --socket-group exclude each other");
	if (!json_object_get(json_object_get(json_object_get(device, "fs"), "options"), "shared_dir"))
		return usage(p, "--shared-dir is needed (see --help)");
	return 0;
}

int spinfsd_options_load(const struct spinfsd_options *opts, const struct spinfsd_host *host,
			 struct spinfsd_config *cfg, struct sfs_conf_err *err)
{
	struct sfs_conf_doc *doc;
	int rc;

	*cfg = (struct spinfsd_config){0};
	rc = sfs_conf_doc_load(opts->config_file, &doc, err);
	if (rc)
		return rc;
	if (opts->log_level) {
		rc = sfs_conf_doc_set(doc, "log.level", "--log-level", json_string(opts->log_level));
		if (rc) {
			sfs_conf_doc_destroy(doc);
			snprintf(err->text, sizeof(err->text), "out of memory");
			return rc;
		}
	}
	rc = spinfsd_config_parse(doc, host, cfg, err);
	if (rc)
		spinfsd_config_fini(cfg);
	return rc;
}

int spinfsd_options_parse(int argc, char *const *argv, const struct spinfsd_host *host,
			  struct spinfsd_options *opts, struct spinfsd_config *cfg, struct sfs_conf_err *err)
{
	struct parse p = {.opts = opts, .err = err};
	int rc;

	*opts = (struct spinfsd_options){0};
	*cfg = (struct spinfsd_config){0};
	if (sfs_conf_doc_create(&p.doc) != 0)
		return usage(&p, "out of memory");
	rc = set_defaults(&p);
	if (rc == 0)
		rc = parse_all(&p, argc, argv);
	if (rc || opts->action >= SPINFSD_HELP)
		goto out;
	if (opts->config_file) {
		rc = p.first[0] ? usage(&p, "%s does not go with --config", p.first)
				: spinfsd_options_load(opts, host, cfg, err);
		goto out;
	}
	rc = check_device(&p);
	if (rc == 0)
		rc = imply_xattr(&p);
	if (rc == 0)
		rc = set_reactors(&p);
	if (rc)
		goto out;
	rc = spinfsd_config_parse(p.doc, host, cfg, err);
	if (rc)
		spinfsd_config_fini(cfg);
	return rc;
out:
	sfs_conf_doc_destroy(p.doc);
	return rc;
}

static void help(FILE *out)
{
	fputs("Usage: spinfsd --config FILE [--check-config | --print-config] [--log-level LEVEL]\n"
	      "       spinfsd {--socket-path PATH | --fd N | PATH} --shared-dir DIR [OPTION]...\n"
	      "       spinfsd --help | --version | --print-capabilities\n\n"
	      "A virtio-fs device daemon. Defaults are in brackets; of options that contradict, the last one "
	      "wins.\n\n",
	      out);
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(long_rows) + SFS_ARRAY_SIZE(short_rows); i++) {
		bool is_long = i < SFS_ARRAY_SIZE(long_rows);
		const struct row *row = is_long ? &long_rows[i] : &short_rows[i - SFS_ARRAY_SIZE(long_rows)];
		const char *arg = row->kind >= SET_STRING ? row->arg : NULL;
		char left[64];

		if (!row->help)
			continue;
		snprintf(left, sizeof(left), "%s%s%s%s", is_long ? "--" : "-", row->name,
			 arg && arg[0] != '[' ? " " : "", arg ? arg : "");
		fprintf(out, "%-28s %s\n", left, row->help);
	}
}

void spinfsd_options_answer(enum spinfsd_action action, FILE *out)
{
	switch (action) {
	case SPINFSD_HELP:
		help(out);
		break;
	case SPINFSD_VERSION:
		fputs("spinfsd " SPINFS_VERSION "\n", out);
		break;
	case SPINFSD_CAPABILITIES:
		fputs(
		    "{\n  \"type\": \"fs\",\n  \"features\": [\n    \"separate-options\",\n"
		    "    \"posix-acl-negotiation-mode\",\n    \"security-label-negotiation-mode\"\n  ]\n}\n",
		    out);
		break;
	default:
		break;
	}
}
