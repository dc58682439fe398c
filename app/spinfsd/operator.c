/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the operator's socket answers.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"

static json_t *reactors_json(const struct spinfsd *d)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < d->config->reactor_count; i++) {
		struct sfs_reactor *r = d->reactors[i];
		struct sfs_reactor_stats st;

		sfs_reactor_stats_get(r, &st);
		json_array_append_new(
		    list, json_pack("{s:s, s:i, s:s, s:I, s:I, s:I, s:I, s:I}", "name", sfs_reactor_name(r),
				    "cpu", sfs_reactor_cpu(r), "idle",
				    sfs_reactor_idle(r) == SFS_IDLE_SPIN ? "spin" : "adaptive", "turns",
				    (json_int_t)st.turns, "busy_ns", (json_int_t)st.busy_ns, "idle_ns",
				    (json_int_t)st.idle_ns, "sleeps", (json_int_t)st.sleeps, "wakeups",
				    (json_int_t)st.wakeups));
	}
	return list;
}

static json_t *queues_json(const struct sfs_device *dev)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < sfs_device_queue_count(dev); i++) {
		const char *fault = sfs_device_queue_fault(dev, i);
		struct sfs_queue_figures f;
		json_t *q;

		sfs_device_queue_figures(dev, i, &f);
		q = json_pack("{s:i, s:s, s:I, s:I, s:I, s:I, s:I}", "index", (int)i, "reactor", f.reactor,
			      "requests", (json_int_t)f.requests, "in_flight", (json_int_t)f.in_flight,
			      "kicks", (json_int_t)f.kicks, "calls", (json_int_t)f.calls, "eventfd_reads",
			      (json_int_t)f.eventfd_reads);
		if (fault)
			json_object_set_new(q, "fault", json_string(fault));
		json_array_append_new(list, q);
	}
	return list;
}

static json_t *ops_json(const struct sfs_device *dev)
{
	json_t *ops = json_object();

	for (unsigned op = 0; op < 64; op++) {
		struct sfs_op_figures f;

		if (!sfs_device_op_figures(dev, op, &f))
			continue;
		json_object_set_new(
		    ops, f.name,
		    json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "count", (json_int_t)f.count,
			      "errors", (json_int_t)f.errors, "inline", (json_int_t)f.inline_count, "engine",
			      (json_int_t)f.engine_count, "worker", (json_int_t)f.worker_count, "bytes",
			      (json_int_t)f.bytes, "p50_ns", (json_int_t)f.p50_ns, "p99_ns",
			      (json_int_t)f.p99_ns));
	}
	return ops;
}

static json_t *device_json(const struct spinfsd_device *dv, bool all)
{
	struct sfs_device_figures f;
	struct sfs_door_figures door;
	json_t *o;

	sfs_device_figures(dv->dev, &f);
	sfs_door_device_figures(dv->door, &door);
	o = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "tag",
		      sfs_device_tag(dv->dev), "state", sfs_door_state_name(sfs_door_device_state(dv->door)),
		      "inodes", (json_int_t)f.inodes, "handles", (json_int_t)f.handles, "fds",
		      (json_int_t)f.fds, "limit_hits", (json_int_t)f.limit_hits, "bytes_copied",
		      (json_int_t)f.bytes_copied, "bad_requests", (json_int_t)f.bad_requests, "sessions",
		      (json_int_t)door.sessions, "refused_messages", (json_int_t)door.refused, "quarantined",
		      (json_int_t)door.quarantined, "pinned_bytes", (json_int_t)f.pinned_bytes);
	if (all) {
		json_object_set_new(o, "queues", queues_json(dv->dev));
		json_object_set_new(o, "ops", ops_json(dv->dev));
	}
	return o;
}

static json_t *figures_json(const struct spinfsd *d, const char *tag, bool all)
{
	json_t *devices = json_array();

	for (unsigned i = 0; i < d->device_count; i++)
		if (!tag || !strcmp(tag, sfs_device_tag(d->devices[i].dev)))
			json_array_append_new(devices, device_json(&d->devices[i], all));
	return json_pack("{s:i, s:f, s:i, s:i, s:s, s:o, s:o}", "version", 1, "uptime_s",
			 (double)(sfs_now_ns() - d->start_ns) / 1e9, "engine_pid", (int)getpid(),
			 "engine_restarts", 0, "io_engine", d->engine->name, "reactors", reactors_json(d),
			 "devices", devices);
}

static int method_status(void *arg, const json_t *params, json_t **result, struct sfs_rpc_reason *why)
{
	*result = figures_json(arg, NULL, false);
	return *result ? 0 : -ENOMEM;
}

static int method_stats(void *arg, const json_t *params, json_t **result, struct sfs_rpc_reason *why)
{
	const char *tag = json_string_value(json_object_get(params, "device"));

	*result = figures_json(arg, tag, true);
	if (!*result)
		return -ENOMEM;
	if (tag && json_array_size(json_object_get(*result, "devices")) == 0) {
		snprintf(why->text, sizeof(why->text), "no device has the tag \"%.40s\"", tag);
		json_decref(*result);
		*result = NULL;
		return -EINVAL;
	}
	return 0;
}

static int method_stop(void *arg, const json_t *params, json_t **result, struct sfs_rpc_reason *why)
{
	struct spinfsd *d = arg;

	d->stop = true;
	return 0;
}

const struct sfs_rpc_method spinfsd_methods[] = {
    {"status", method_status},
    {"stats", method_stats},
    {"stop", method_stop},
};
const size_t spinfsd_method_count = SFS_ARRAY_SIZE(spinfsd_methods);
