/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tables of the configuration, and the checks that look at more than one value.
 */
#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "config.h"
#include "sfs_base.h"
#include "sfs_cpus.h"

#define SOCKET_MODE       0600
#define SOCKET_MODE_GROUP 0660
#define TAG_MAX           36 /* virtio_fs_config.tag */
#define WORKERS_DEFAULT   8
#define CPU_LIST_BYTES    4096

/* What EAL's heap is needed for: rte_vhost allocates this much an entry of each ring, with a fifth of
 * overhead. */
#define HEAP_ENTRY_BYTES 40
#define HEAP_BASE_MIB    4

static const char *const log_levels[] = {"off", "error", "warn", "info", "debug", "trace", NULL};
static const char *const log_targets[] = {"stderr", "syslog", NULL};
static const char *const sandboxes[] = {"namespace", "chroot", "none", NULL};
static const char *const seccomps[] = {"kill", "log", "trap", "none", NULL};
static const char *const idles[] = {"spin", "adaptive", NULL};
static const char *const engines[] = {"auto", "io_uring", "libaio", "workers", NULL};
static const char *const on_disconnects[] = {"listen", "exit", NULL};

/* --- CPU lists and the NUMA node --- */

const char *spinfsd_cpus_problem(int rc)
{
	switch (rc) {
	case -ERANGE:
		return "a CPU number or range is out of range";
	case -EEXIST:
		return "a CPU is named twice";
	default:
		return "not a CPU list such as 0-1,3";
	}
}

static int cpus_parse(const struct sfs_conf_node *node, void *member, struct sfs_conf_err *err)
{
	const char *list = json_string_value(node->json);
	int rc;

	if (!list)
		return sfs_conf_error(node, NULL, err, "must be a string, a CPU list such as \"0-1,3\"");
	rc = sfs_cpus_parse(list, member);
	if (rc)
		return sfs_conf_error(node, NULL, err, "\"%s\": %s", list, spinfsd_cpus_problem(rc));
	return 0;
}

static json_t *cpus_print(const void *member)
{
	char list[CPU_LIST_BYTES];

	return sfs_cpus_format(member, list, sizeof(list)) > 0 ? json_string(list) : NULL;
}

static int numa_parse(const struct sfs_conf_node *node, void *member, struct sfs_conf_err *err)
{
	const char *text = json_string_value(node->json);
	json_int_t value = json_integer_value(node->json);

	if (text && strcmp(text, "auto") == 0)
		*(int *)member = -1;
	else if (json_is_integer(node->json) && value >= 0 && value <= 1023)
		*(int *)member = (int)value;
	else
		return sfs_conf_error(node, NULL, err, "must be \"auto\" or the number of a node");
	return 0;
}

static json_t *numa_print(const void *member)
{
	int numa = *(const int *)member;

	return numa < 0 ? json_string("auto") : json_integer(numa);
}

/* --- tables --- */

#define TOP(member)    SFS_CONF_AT(struct spinfsd_config, member)
#define DEVICE(member) SFS_CONF_AT(struct spinfsd_device_config, member)
#define TABLE(t)       .fields = (t), .field_count = SFS_ARRAY_SIZE(t)
/* Sub-tables of structures without a name of their own use offsets from the whole. */
#define FLAT(t) .offset = 0, .bytes = 0, TABLE(t)

static const struct sfs_conf_field log_fields[] = {
    {.key = "level", .type = SFS_CONF_ENUM, TOP(log.level), .names = log_levels},
    {.key = "target", .type = SFS_CONF_ENUM, TOP(log.target), .names = log_targets},
};

static const struct sfs_conf_field memory_fields[] = {
    {.key = "hugepages", .type = SFS_CONF_BOOL, TOP(memory.hugepages)},
    {.key = "heap_mib", .type = SFS_CONF_UINT, TOP(memory.heap_mib), .min = 1, .max = 1u << 20},
    {.key = "numa", .type = SFS_CONF_CUSTOM, TOP(memory.numa), .parse = numa_parse, .print = numa_print},
};

static const struct sfs_conf_field workers_fields[] = {
    {.key = "count", .type = SFS_CONF_UINT, TOP(workers.count), .max = 1024},
    {.key = "cpus", .type = SFS_CONF_CUSTOM, TOP(workers.cpus), .parse = cpus_parse, .print = cpus_print},
    {.key = "spin_us", .type = SFS_CONF_UINT, TOP(workers.spin_us), .max = 1000000},
};

static const struct sfs_conf_field io_fields[] = {
    {.key = "engine", .type = SFS_CONF_ENUM, TOP(io.engine), .names = engines},
    {.key = "depth", .type = SFS_CONF_UINT, TOP(io.depth), .min = 1, .max = 32768},
};

#define REACTOR(member) SFS_CONF_AT(struct spinfsd_reactor_config, member)
static const struct sfs_conf_field reactor_fields[] = {
    {.key = "name", .type = SFS_CONF_STRING, .flags = SFS_CONF_REQUIRED, REACTOR(name), .min = 1, .max = 12},
    {.key = "cpu", .type = SFS_CONF_UINT, .flags = SFS_CONF_NULLABLE, REACTOR(cpu), .max = CPU_SETSIZE - 1},
    {.key = "idle", .type = SFS_CONF_ENUM, REACTOR(idle), .names = idles},
    {.key = "spin_us", .type = SFS_CONF_UINT, REACTOR(spin_us), .max = 1000000},
};
static const struct spinfsd_reactor_config reactor_defaults = {
    .cpu = -1, .idle = SFS_IDLE_ADAPTIVE, .spin_us = 50};
static const struct sfs_conf_field reactor_item = {
    .type = SFS_CONF_OBJECT, .bytes = sizeof(struct spinfsd_reactor_config), TABLE(reactor_fields)};

static const struct sfs_conf_field string_item = {.type = SFS_CONF_STRING, .bytes = sizeof(const char *)};

#define SOCKET(member) SFS_CONF_AT(struct spinfsd_socket_config, member)
static const struct sfs_conf_field socket_fields[] = {
    {.key = "path", .type = SFS_CONF_PATH, .flags = SFS_CONF_REQUIRED, SOCKET(path)},
    {.key = "fd", .type = SFS_CONF_UINT, .flags = SFS_CONF_ARGS, SOCKET(fd), .max = INT32_MAX},
    {.key = "group",
     .type = SFS_CONF_STRING,
     .flags = SFS_CONF_NULLABLE,
     SOCKET(group),
     .min = 1,
     .max = 255},
    {.key = "mode", .type = SFS_CONF_MODE, SOCKET(mode), .max = 0777},
};

#define QUEUES(member) SFS_CONF_AT(struct spinfsd_queues_config, member)
static const struct sfs_conf_field queues_fields[] = {
    {.key = "request_count", .type = SFS_CONF_UINT, QUEUES(request_count), .min = 1, .max = 64},
    {.key = "size_max",
     .type = SFS_CONF_UINT,
     .flags = SFS_CONF_POW2,
     QUEUES(size_max),
     .min = 2,
     .max = 32768},
    {.key = "reactors",
     .type = SFS_CONF_ARRAY,
     QUEUES(reactor_names),
     .count_offset = offsetof(struct spinfsd_queues_config, reactor_name_count),
     .min = 1,
     .max = 1024,
     .item = &string_item},
};

#define LIMITS(member) SFS_CONF_AT(struct spinfsd_limits_config, member)
static const struct sfs_conf_field limits_fields[] = {
    {.key = "inodes", .type = SFS_CONF_UINT, LIMITS(inodes), .min = 1, .max = 1u << 30},
    {.key = "handles", .type = SFS_CONF_UINT, LIMITS(handles), .min = 1, .max = 1u << 30},
    {.key = "fds", .type = SFS_CONF_UINT, LIMITS(fds), .min = 1, .max = 1u << 30},
    {.key = "requests", .type = SFS_CONF_UINT, LIMITS(requests), .min = 1, .max = 32768},
    {.key = "bytes_in_flight",
     .type = SFS_CONF_UINT,
     LIMITS(bytes_in_flight),
     .min = 1u << 20,
     .max = INT64_MAX},
    {.key = "workers", .type = SFS_CONF_UINT, LIMITS(workers), .min = 1, .max = 1024},
    {.key = "locks", .type = SFS_CONF_UINT, LIMITS(locks), .min = 1, .max = 1u << 30},
    {.key = "lock_waiters", .type = SFS_CONF_UINT, LIMITS(lock_waiters), .max = 1u << 20},
};

#define FS(member) SFS_CONF_AT(struct spinfsd_fs_config, member)
static const struct sfs_conf_field fs_fields[] = {
    {.key = "driver", .type = SFS_CONF_STRING, .flags = SFS_CONF_REQUIRED, FS(driver)},
    {.key = "options", .type = SFS_CONF_NODE, FS(options)},
};

static const struct sfs_conf_field device_fields[] = {
    {.key = "tag",
     .type = SFS_CONF_STRING,
     .flags = SFS_CONF_REQUIRED,
     DEVICE(tag),
     .min = 1,
     .max = TAG_MAX},
    {.key = "socket",
     .type = SFS_CONF_OBJECT,
     .flags = SFS_CONF_REQUIRED,
     DEVICE(socket),
     TABLE(socket_fields)},
    {.key = "on_disconnect", .type = SFS_CONF_ENUM, DEVICE(on_disconnect), .names = on_disconnects},
    {.key = "queues", .type = SFS_CONF_OBJECT, DEVICE(queues), TABLE(queues_fields)},
    {.key = "limits", .type = SFS_CONF_OBJECT, DEVICE(limits), TABLE(limits_fields)},
    {.key = "pin_memory", .type = SFS_CONF_BOOL, DEVICE(pin_memory)},
    {.key = "fs", .type = SFS_CONF_OBJECT, .flags = SFS_CONF_REQUIRED, DEVICE(fs), TABLE(fs_fields)},
};
static const struct spinfsd_device_config device_defaults = {
    .socket = {.fd = -1, .mode = SPINFSD_MODE_UNSET},
    .on_disconnect = SPINFSD_LISTEN,
    .queues = {.request_count = 4, .size_max = 1024},
    .limits = {.inodes = 4194304,
	       .handles = 65536,
	       .fds = 65536,
	       .requests = 256,
	       .bytes_in_flight = 268435456,
	       .workers = 4,
	       .locks = 16384,
	       .lock_waiters = 256},
};
static const struct sfs_conf_field device_item = {
    .type = SFS_CONF_OBJECT, .bytes = sizeof(struct spinfsd_device_config), TABLE(device_fields)};

static const struct sfs_conf_field top_fields[] = {
    {.key = "version", .type = SFS_CONF_UINT, TOP(version), .min = 1, .max = 1},
    {.key = "log", .type = SFS_CONF_OBJECT, FLAT(log_fields)},
    {.key = "control_socket", .type = SFS_CONF_PATH, .flags = SFS_CONF_NULLABLE, TOP(control_socket)},
    {.key = "stop_timeout_ms", .type = SFS_CONF_UINT, TOP(stop_timeout_ms), .min = 1, .max = 3600000},
    {.key = "sandbox", .type = SFS_CONF_ENUM, TOP(sandbox), .names = sandboxes},
    {.key = "seccomp", .type = SFS_CONF_ENUM, TOP(seccomp), .names = seccomps},
    {.key = "rlimit_nofile", .type = SFS_CONF_UINT, TOP(rlimit_nofile), .max = 1u << 30},
    {.key = "memory", .type = SFS_CONF_OBJECT, FLAT(memory_fields)},
    {.key = "eal",
     .type = SFS_CONF_ARRAY,
     TOP(eal),
     .count_offset = offsetof(struct spinfsd_config, eal_count),
     .max = 256,
     .item = &string_item},
    {.key = "control_cpus",
     .type = SFS_CONF_CUSTOM,
     TOP(control_cpus),
     .parse = cpus_parse,
     .print = cpus_print},
    {.key = "reactors",
     .type = SFS_CONF_ARRAY,
     TOP(reactors),
     .count_offset = offsetof(struct spinfsd_config, reactor_count),
     .min = 1,
     .max = 1024,
     .item = &reactor_item,
     .item_defaults = &reactor_defaults},
    {.key = "workers", .type = SFS_CONF_OBJECT, FLAT(workers_fields)},
    {.key = "io", .type = SFS_CONF_OBJECT, FLAT(io_fields)},
    {.key = "devices",
     .type = SFS_CONF_ARRAY,
     .flags = SFS_CONF_REQUIRED,
     TOP(devices),
     .count_offset = offsetof(struct spinfsd_config, device_count),
     .min = 1,
     .max = 4096,
     .item = &device_item,
     .item_defaults = &device_defaults},
};

/* --- checks --- */

struct check {
	const struct spinfsd_host *host;
	struct spinfsd_config *cfg;
	struct sfs_conf_node root;
	struct sfs_conf_err *err;
};

/* An error at the path that @path and its numbers make. */
#define CHECK_PATH(buf, ...)                                                                                 \
	char buf[64];                                                                                        \
	snprintf(buf, sizeof(buf), __VA_ARGS__)

static int check_cpu(struct check *c, const char *path, unsigned cpu)
{
	char mask[CPU_LIST_BYTES];

	if (!CPU_ISSET(cpu, &c->host->online))
		return sfs_conf_error(&c->root, path, c->err, "CPU %u is offline or does not exist", cpu);
	if (CPU_ISSET(cpu, &c->host->allowed))
		return 0;
	sfs_cpus_format(&c->host->allowed, mask, sizeof(mask));
	return sfs_conf_error(&c->root, path, c->err, "CPU %u is outside of the affinity mask (%s)", cpu,
			      mask);
}

static int check_reactors(struct check *c)
{
	struct spinfsd_config *cfg = c->cfg;

	for (unsigned i = 0; i < cfg->reactor_count; i++) {
		const struct spinfsd_reactor_config *r = &cfg->reactors[i];
		int rc;

		for (unsigned j = 0; j < i; j++) {
			if (strcmp(r->name, cfg->reactors[j].name) == 0) {
				CHECK_PATH(path, "reactors[%u].name", i);
				return sfs_conf_error(&c->root, path, c->err,
						      "\"%s\" is reactors[%u] already", r->name, j);
			}
			if (r->cpu >= 0 && r->cpu == cfg->reactors[j].cpu) {
				CHECK_PATH(path, "reactors[%u].cpu", i);
				return sfs_conf_error(&c->root, path, c->err,
						      "CPU %d is that of \"%s\" already", r->cpu,
						      cfg->reactors[j].name);
			}
		}
		if (r->cpu >= 0) {
			CHECK_PATH(path, "reactors[%u].cpu", i);
			rc = check_cpu(c, path, (unsigned)r->cpu);
			if (rc)
				return rc;
		}
	}
	return 0;
}

/* A list of CPUs that was given must be usable; one that was not becomes the affinity mask less spinning
 * reactors. */
static int check_cpus(struct check *c, const char *path, cpu_set_t *set)
{
	if (CPU_COUNT(set) > 0) {
		for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
			int rc = CPU_ISSET(cpu, set) ? check_cpu(c, path, cpu) : 0;

			if (rc)
				return rc;
		}
		return 0;
	}
	*set = c->host->allowed;
	for (unsigned i = 0; i < c->cfg->reactor_count; i++) {
		const struct spinfsd_reactor_config *r = &c->cfg->reactors[i];

		if (r->cpu >= 0 && r->idle == SFS_IDLE_SPIN)
			CPU_CLR((unsigned)r->cpu, set);
	}
	if (CPU_COUNT(set) == 0)
		*set = c->host->allowed;
	return 0;
}

/* Whether workers have no CPU that is not a reactor's, too. */
static bool workers_share(const struct check *c)
{
	cpu_set_t reactors, both;

	CPU_ZERO(&reactors);
	for (unsigned i = 0; i < c->cfg->reactor_count; i++) {
		int cpu = c->cfg->reactors[i].cpu;

		if (cpu >= 0)
			CPU_SET((unsigned)cpu, &reactors);
		else if (CPU_COUNT(&c->host->allowed) == 1)
			CPU_OR(&reactors, &reactors, &c->host->allowed);
	}
	CPU_AND(&both, &c->cfg->workers.cpus, &reactors);
	return CPU_EQUAL(&both, &c->cfg->workers.cpus);
}

static int check_unbuilt(struct check *c)
{
	if (c->cfg->sandbox != SPINFSD_SANDBOX_NONE)
		return sfs_conf_error(&c->root, "sandbox", c->err, "\"%s\" is not built yet, use none",
				      sandboxes[c->cfg->sandbox]);
	if (c->cfg->seccomp != SPINFSD_SECCOMP_NONE)
		return sfs_conf_error(&c->root, "seccomp", c->err, "\"%s\" is not built yet, use none",
				      seccomps[c->cfg->seccomp]);
	return 0;
}

/* With engine auto it may turn out later that there is no io_uring, as with a kernel that is too old: that is a warning. */
static int check_pin(struct check *c, unsigned idx)
{
	enum spinfsd_engine engine = c->cfg->io.engine;

	CHECK_PATH(path, "devices[%u].pin_memory", idx);
	if (!c->cfg->devices[idx].pin_memory || engine == SPINFSD_ENGINE_AUTO ||
	    engine == SPINFSD_ENGINE_IO_URING)
		return 0;
	return sfs_conf_error(&c->root, path, c->err, "io.engine \"%s\" has no use for it, use io_uring",
			      engines[engine]);
}

/* One of them may pin for seconds. */
static int check_pin_workers(struct check *c, unsigned idx)
{
	const struct spinfsd_device_config *d = &c->cfg->devices[idx];

	CHECK_PATH(path, "devices[%u].pin_memory", idx);
	if (!d->pin_memory || (d->limits.workers > 1 && c->cfg->workers.count > 1))
		return 0;
	return sfs_conf_error(&c->root, path, c->err,
			      "needs a worker beside those that serve the guest: at least 2 of workers.count "
			      "and limits.workers");
}

static int check_socket(struct check *c, unsigned idx)
{
	struct spinfsd_socket_config *s = &c->cfg->devices[idx].socket;

	CHECK_PATH(path, "devices[%u].socket.path", idx);
	if (s->mode == SPINFSD_MODE_UNSET)
		s->mode = s->group ? SOCKET_MODE_GROUP : SOCKET_MODE;
	if (!s->path)
		return 0;
	if (strlen(s->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return sfs_conf_error(&c->root, path, c->err,
				      "longer than a socket's path may be (%zu bytes)",
				      sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	if (c->cfg->control_socket && strcmp(s->path, c->cfg->control_socket) == 0)
		return sfs_conf_error(&c->root, path, c->err, "\"%s\" is control_socket already", s->path);
	for (unsigned i = 0; i < idx; i++) {
		const char *other = c->cfg->devices[i].socket.path;

		if (other && strcmp(s->path, other) == 0)
			return sfs_conf_error(&c->root, path, c->err,
					      "\"%s\" is the socket of devices[%u] already", s->path, i);
	}
	return 0;
}

static int check_tag(struct check *c, unsigned idx)
{
	const char *tag = c->cfg->devices[idx].tag;

	CHECK_PATH(path, "devices[%u].tag", idx);
	if (!tag)
		return 0;
	if (strchr(tag, '\n'))
		return sfs_conf_error(&c->root, path, c->err, "a tag must not hold a newline");
	for (unsigned i = 0; i < idx; i++) {
		const char *other = c->cfg->devices[i].tag;

		if (other && strcmp(tag, other) == 0)
			return sfs_conf_error(&c->root, path, c->err,
					      "\"%s\" is the tag of devices[%u] already", tag, i);
	}
	return 0;
}

/* Options that were not given are an empty object in the document, for the driver to fill. */
static int default_options(struct check *c, unsigned idx)
{
	json_t *device = json_array_get(json_object_get(c->root.json, "devices"), idx);
	json_t *options = json_object();
	char *path = sfs_conf_doc_alloc(c->cfg->doc, 64);

	if (json_object_set_new(json_object_get(device, "fs"), "options", options) != 0 || !path)
		return -ENOMEM;
	snprintf(path, 64, "devices[%u].fs.options", idx);
	c->cfg->devices[idx].fs.options =
	    (struct sfs_conf_node){.doc = c->cfg->doc, .json = options, .path = path};
	return 0;
}

static int check_driver(struct check *c, unsigned idx)
{
	struct spinfsd_fs_config *fs = &c->cfg->devices[idx].fs;
	const char *const *names = c->host->drivers;
	char list[256] = "";
	size_t len = 0;

	CHECK_PATH(path, "devices[%u].fs.driver", idx);
	if (!fs->options.json && default_options(c, idx) != 0)
		return -ENOMEM;
	for (unsigned i = 0; names[i]; i++) {
		if (strcmp(fs->driver, names[i]) == 0)
			return 0;
	}
	for (unsigned i = 0; names[i] && len < sizeof(list); i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "", names[i]);
	return sfs_conf_error(&c->root, path, c->err, "\"%s\" is not one of %s", fs->driver, list);
}

/* Names of reactors to indices; without a list all in order. */
static int resolve_reactors(struct check *c, unsigned idx)
{
	struct spinfsd_queues_config *q = &c->cfg->devices[idx].queues;

	q->reactor_count = q->reactor_names ? q->reactor_name_count : c->cfg->reactor_count;
	q->reactors = sfs_conf_doc_alloc(c->cfg->doc, q->reactor_count * sizeof(*q->reactors));
	if (!q->reactors)
		return -ENOMEM;
	for (unsigned i = 0; i < q->reactor_count; i++) {
		unsigned r = i;

		if (q->reactor_names) {
			for (r = 0; r < c->cfg->reactor_count; r++) {
				if (strcmp(q->reactor_names[i], c->cfg->reactors[r].name) == 0)
					break;
			}
		}
		if (r == c->cfg->reactor_count) {
			CHECK_PATH(path, "devices[%u].queues.reactors[%u]", idx, i);
			return sfs_conf_error(&c->root, path, c->err, "there is no reactor \"%s\"",
					      q->reactor_names[i]);
		}
		q->reactors[i] = r;
	}
	return 0;
}

static int check_heap(struct check *c)
{
	struct spinfsd_config *cfg = c->cfg;
	uint64_t entries = 0, need;

	for (unsigned i = 0; i < cfg->device_count; i++) {
		const struct spinfsd_queues_config *q = &cfg->devices[i].queues;

		entries += (uint64_t)(q->request_count + 1) * q->size_max;
	}
	need = HEAP_BASE_MIB + (entries * HEAP_ENTRY_BYTES * 12 / 10 + (1u << 20) - 1) / (1u << 20);
	if (cfg->memory.heap_mib >= need)
		return 0;
	if (sfs_conf_doc_is_args(cfg->doc)) { /* no option says it */
		cfg->memory.heap_mib = (uint32_t)need;
		return 0;
	}
	return sfs_conf_error(&c->root, "memory.heap_mib", c->err,
			      "%u is too small for the configured rings, which need %llu",
			      cfg->memory.heap_mib, (unsigned long long)need);
}

static int check_all(struct check *c)
{
	struct spinfsd_config *cfg = c->cfg;
	int rc = check_unbuilt(c);

	if (rc == 0 && cfg->control_socket &&
	    strlen(cfg->control_socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		rc = sfs_conf_error(&c->root, "control_socket", c->err,
				    "longer than a socket's path may be (%zu bytes)",
				    sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	if (rc == 0)
		rc = check_reactors(c);
	if (rc == 0)
		rc = check_cpus(c, "control_cpus", &cfg->control_cpus);
	if (rc == 0)
		rc = check_cpus(c, "workers.cpus", &cfg->workers.cpus);
	cfg->workers.share = rc == 0 && workers_share(c);
	for (unsigned i = 0; rc == 0 && i < cfg->device_count; i++) {
		rc = check_socket(c, i);
		if (rc == 0)
			rc = check_tag(c, i);
		if (rc == 0)
			rc = check_pin(c, i);
		if (rc == 0)
			rc = check_pin_workers(c, i);
		if (rc == 0)
			rc = check_driver(c, i);
		if (rc == 0)
			rc = resolve_reactors(c, i);
	}
	return rc ? rc : check_heap(c);
}

/* --- entry points --- */

int spinfsd_host_read(struct spinfsd_host *host)
{
	int rc = sfs_cpus_allowed(&host->allowed);

	if (rc)
		return rc;
	rc = sfs_cpus_online(&host->online);
	if (rc == -ENOENT || rc == -EACCES) { /* no sysfs: what we may run on is online */
		host->online = host->allowed;
		rc = 0;
	}
	return rc;
}

static int default_reactor(struct spinfsd_config *cfg)
{
	cfg->reactors = sfs_conf_doc_alloc(cfg->doc, sizeof(*cfg->reactors));
	if (!cfg->reactors)
		return -ENOMEM;
	cfg->reactors[0] = reactor_defaults;
	cfg->reactors[0].name = "r0";
	cfg->reactor_count = 1;
	return 0;
}

int spinfsd_config_parse(struct sfs_conf_doc *doc, const struct spinfsd_host *host,
			 struct spinfsd_config *cfg, struct sfs_conf_err *err)
{
	struct sfs_conf_node root = sfs_conf_doc_root(doc);
	struct check c = {.host = host, .cfg = cfg, .root = root, .err = err};
	int rc;

	*cfg = (struct spinfsd_config){
	    .doc = doc,
	    .version = 1,
	    .log = {.level = SFS_LOG_INFO, .target = SFS_LOG_STDERR},
	    .control_socket = SPINFSD_RUN_DIR "/control.sock",
	    .stop_timeout_ms = 30000,
	    .sandbox = SPINFSD_SANDBOX_NONE,
	    .seccomp = SPINFSD_SECCOMP_NONE,
	    .rlimit_nofile = 1000000,
	    .memory = {.heap_mib = 64, .numa = -1},
	    .workers = {.count = WORKERS_DEFAULT, .spin_us = 20},
	    .io = {.engine = SPINFSD_ENGINE_AUTO, .depth = 256},
	};
	snprintf(err->text, sizeof(err->text), "out of memory");
	rc = sfs_conf_parse_object(&root, top_fields, SFS_ARRAY_SIZE(top_fields), cfg, err);
	if (rc == 0 && !cfg->reactors)
		rc = default_reactor(cfg);
	if (rc)
		return rc;
	if (cfg->workers.count == 0)
		cfg->workers.count = WORKERS_DEFAULT;
	rc = check_all(&c);
	if (rc == 0)
		err->text[0] = '\0';
	return rc;
}

void spinfsd_config_fini(struct spinfsd_config *cfg)
{
	sfs_conf_doc_destroy(cfg->doc);
	*cfg = (struct spinfsd_config){0};
}

json_t *spinfsd_config_print(const struct spinfsd_config *cfg)
{
	json_t *root = sfs_conf_print_object(top_fields, SFS_ARRAY_SIZE(top_fields), cfg);
	json_t *devices = json_object_get(root, "devices");

	for (unsigned i = 0; root && i < cfg->device_count; i++) {
		const struct spinfsd_queues_config *q = &cfg->devices[i].queues;
		json_t *names = json_array();

		for (unsigned r = 0; r < q->reactor_count; r++)
			json_array_append_new(names, json_string(cfg->reactors[q->reactors[r]].name));
		if (json_object_set_new(json_object_get(json_array_get(devices, i), "queues"), "reactors",
					names) != 0) {
			json_decref(root);
			return NULL;
		}
	}
	return root;
}
