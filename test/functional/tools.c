/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests of the daemon have in common: configuration files, requests, the host's side, figures. */
#include "harness.h"

#include <dirent.h>
#include <jansson.h>
#include <sys/wait.h>

#include "sfs_rpc.h"

#define FN_RPC_MS 10000

/* --- the host's side --- */

const char *fn_path(const struct fn_env *env, const char *name)
{
	static char paths[16][256];
	static unsigned next;
	char *path = paths[next++ % SFS_ARRAY_SIZE(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", env->dir, name);
	return path;
}

void fn_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		print_error("%s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

int fn_shell(char *out, size_t bytes, const char *fmt, ...)
{
	char command[1024];
	size_t n = 0;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	FILE *f = popen(command, "r");
	assert_non_null(f);
	if (out) {
		n = fread(out, 1, bytes - 1, f);
		out[n] = '\0';
	}
	while (getc(f) != EOF)
		;
	int status = pclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void fn_slowfs(struct fn_env *env, const char *name, bool no_flush)
{
	int rc;

	mkdir(fn_path(env, name), 0755);
	rc = slowfs_mount(fn_path(env, name), no_flush, &env->slowfs);
	if (rc == -EPERM || rc == -ENOENT || rc == -ENODEV)
		fn_skip("no FUSE mounts here: %s", strerror(-rc));
	fn_ok(rc);
}

/* --- configuration files --- */

void fn_write_config(struct fn_env *env, const char *top, const struct fn_share *shares, unsigned count)
{
	FILE *f = fopen(fn_path(env, "config.json"), "w");

	assert_non_null(f);
	fprintf(f, "{ \"version\": 1, \"control_socket\": \"control\", \"sandbox\": \"none\", \"seccomp\": "
		   "\"none\",\n");
	if (!top || !strstr(top, "\"io\""))
		fprintf(f, "  \"io\": { \"engine\": \"%s\" },\n", fn_engine());
	if (top)
		fprintf(f, "  %s,\n", top);
	fprintf(f, "  \"devices\": [\n");
	for (unsigned i = 0; i < count; i++) {
		const struct fn_share *s = &shares[i];

		mkdir(fn_path(env, s->tag), 0755);
		fprintf(f,
			"    { \"tag\": \"%s\", \"socket\": { \"path\": \"%s.sock\" }%s%s,\n"
			"      \"fs\": { \"driver\": \"passthrough\", \"options\": { \"shared_dir\": "
			"\"%s\"%s%s } } }%s\n",
			s->tag, s->tag, s->more ? ", " : "", s->more ? s->more : "", s->tag,
			s->options ? ", " : "", s->options ? s->options : "", i + 1 < count ? "," : "");
	}
	fprintf(f, "  ] }\n");
	assert_int_equal(fclose(f), 0);
}

void fn_start_config(struct fn_env *env, const char *top, const struct fn_share *shares, unsigned count)
{
	const char *args[] = {"--config", fn_path(env, "config.json"), NULL};

	fn_write_config(env, top, shares, count);
	fn_start(env, args);
}

/* --- requests --- */

void fn_publish(struct sfs_fg_queue *q)
{
	assert_true(sfs_fg_publish(q) >= 0);
}

struct sfs_fg_req *fn_call(struct sfs_fg_queue *q, const struct sfs_fg_call *call)
{
	struct sfs_fg_req *req = sfs_fg_req_get(q);

	assert_non_null(req);
	fn_ok(sfs_fg_start(req, call));
	return req;
}

struct sfs_fg_req *fn_read(struct sfs_fg_queue *q, uint64_t nodeid, uint64_t fh, uint64_t offset,
			   uint32_t bytes)
{
	struct fuse_read_in in = {.fh = fh, .offset = offset, .size = bytes, .flags = q->guest->io_flags};
	struct sfs_fg_call call = {.opcode = FUSE_READ,
				   .nodeid = nodeid,
				   .args = &in,
				   .args_bytes = sizeof(in),
				   .data_writable = bytes};

	return fn_call(q, &call);
}

struct sfs_fg_req *fn_write(struct sfs_fg_queue *q, uint64_t nodeid, uint64_t fh, uint64_t offset,
			    uint32_t bytes)
{
	struct fuse_write_in in = {.fh = fh, .offset = offset, .size = bytes, .flags = q->guest->io_flags};
	struct sfs_fg_call call = {.opcode = FUSE_WRITE,
				   .nodeid = nodeid,
				   .args = &in,
				   .args_bytes = sizeof(in),
				   .data_readable = bytes,
				   .out_bytes = sizeof(struct fuse_write_out)};

	return fn_call(q, &call);
}

int fn_result(struct sfs_fg_req *req)
{
	fn_ok(sfs_fg_wait(req));
	sfs_fg_req_put(req);
	return req->result;
}

void fn_open(struct sfs_fg *g, const char *name, int flags, uint64_t *nodeid, uint64_t *fh)
{
	struct fuse_entry_out entry;
	struct fuse_open_out open;

	fn_ok(sfs_fg_lookup(g, FUSE_ROOT_ID, name, &entry));
	fn_ok(sfs_fg_open(g, entry.nodeid, (uint32_t)flags, &open));
	*nodeid = entry.nodeid;
	*fh = open.fh;
}

void fn_work(struct sfs_fg *g, const char *name, unsigned rounds)
{
	uint8_t sent[20000], got[20000];
	uint32_t bytes = SFS_MIN((uint32_t)sizeof(sent), g->opts.data_bytes);
	struct fuse_entry_out entry;
	struct fuse_attr_out attr;
	struct fuse_open_out open;

	for (unsigned i = 0; i < rounds; i++) {
		fn_pattern(sent, bytes, i);
		fn_ok(sfs_fg_create(g, FUSE_ROOT_ID, name, O_RDWR | O_CREAT, S_IFREG | 0644, &entry, &open));
		assert_int_equal(sfs_fg_write(g, entry.nodeid, open.fh, 0, sent, bytes), bytes);
		fn_ok(sfs_fg_getattr(g, entry.nodeid, NULL, &attr));
		assert_int_equal(attr.attr.size, bytes);
		assert_int_equal(sfs_fg_read(g, entry.nodeid, open.fh, 0, got, bytes), bytes);
		assert_memory_equal(sent, got, bytes);
		fn_ok(sfs_fg_release(g, entry.nodeid, open.fh));
		fn_ok(sfs_fg_unlink(g, FUSE_ROOT_ID, name));
		fn_ok(sfs_fg_forget(g, entry.nodeid, 1));
	}
}

/* --- figures --- */

/* The value at @path of all figures, a new reference in *@all; NULL: none there. */
static const json_t *figures_at(const struct fn_env *env, const char *path, json_t **all)
{
	struct sfs_rpc_reason why;
	const json_t *at;
	char part[64];
	int rc = sfs_rpc_call(env->control, "stats", NULL, FN_RPC_MS, all, &why);

	if (rc < 0)
		fail_msg("stats: %s", strerror(-rc));
	for (at = *all; at && *path; path += strspn(path, ".")) {
		size_t len = strcspn(path, ".");

		snprintf(part, sizeof(part), "%.*s", (int)len, path);
		at = json_is_array(at) ? json_array_get(at, strtoul(part, NULL, 10))
				       : json_object_get(at, part);
		path += len;
	}
	return at;
}

int64_t fn_figure(const struct fn_env *env, const char *path)
{
	json_t *all;
	const json_t *at = figures_at(env, path, &all);
	bool is = json_is_integer(at);
	int64_t value = is ? json_integer_value(at) : 0;

	json_decref(all);
	if (!is)
		fail_msg("no figure %s", path);
	return value;
}

bool fn_figure_is(const struct fn_env *env, const char *path, const char *text)
{
	json_t *all;
	const json_t *at = figures_at(env, path, &all);
	bool same = json_is_string(at) && strcmp(json_string_value(at), text) == 0;

	json_decref(all);
	return same;
}

unsigned fn_fd_count(const struct fn_env *env)
{
	char path[64];
	unsigned count = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", env->pid);
	DIR *dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

unsigned fn_map_count(const struct fn_env *env)
{
	char path[64];
	unsigned count = 0;
	int c;

	snprintf(path, sizeof(path), "/proc/%d/maps", env->pid);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	while ((c = getc(f)) != EOF)
		count += c == '\n';
	fclose(f);
	return count;
}

uint64_t fn_status(const struct fn_env *env, pid_t tid, const char *key)
{
	char path[64], line[128];
	size_t len = strlen(key);
	bool found = false;
	uint64_t value = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", env->pid, tid);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	while (!found && fgets(line, sizeof(line), f)) {
		found = strncmp(line, key, len) == 0;
		if (found)
			value = strtoull(line + len, NULL, 10);
	}
	fclose(f);
	assert_true(found);
	return value;
}

pid_t fn_thread(const struct fn_env *env, const char *name)
{
	char path[128], comm[32] = "";
	pid_t tid = 0;
	struct dirent *d;

	snprintf(path, sizeof(path), "/proc/%d/task", env->pid);
	DIR *dir = opendir(path);
	while (dir && !tid && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/comm", env->pid, d->d_name);
		FILE *f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f) && strncmp(comm, name, strlen(name)) == 0)
			tid = atoi(d->d_name);
		fclose(f);
	}
	if (dir)
		closedir(dir);
	return tid;
}
