/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "ctl.h"

#define CELL_BYTES 32

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "-";
}

static long long figure(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* 1234567 as "1.2M": at most 6 characters. */
static const char *scaled(long long value, char buf[CELL_BYTES])
{
	static const char units[] = " kMGTPE";
	double v = (double)value;
	unsigned unit = 0;

	while (v >= 9999.5 && units[unit + 1]) {
		v /= 1000;
		unit++;
	}
	if (unit == 0)
		snprintf(buf, CELL_BYTES, "%lld", value);
	else
		snprintf(buf, CELL_BYTES, "%.*f%c", v < 100 ? 1 : 0, v, units[unit]);
	return buf;
}

/* Nanoseconds as "1.2us". */
static const char *duration(long long ns, char buf[CELL_BYTES])
{
	if (ns < 1000)
		snprintf(buf, CELL_BYTES, "%lldns", ns);
	else if (ns < 1000000)
		snprintf(buf, CELL_BYTES, "%.1fus", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(buf, CELL_BYTES, "%.1fms", (double)ns / 1e6);
	else
		snprintf(buf, CELL_BYTES, "%.1fs", (double)ns / 1e9);
	return buf;
}

/* One cell, right-aligned in @width. */
static void cell(const json_t *object, const char *key, int width, FILE *out)
{
	char buf[CELL_BYTES];

	fprintf(out, " %*s", width, scaled(figure(object, key), buf));
}

static void print_reactors(const json_t *reactors, FILE *out)
{
	size_t i;
	json_t *r;

	fprintf(out, "%-16s %4s %-8s %8s %6s %8s %8s\n", "REACTOR", "CPU", "IDLE", "TURNS", "BUSY%", "SLEEPS",
		"WAKEUPS");
	json_array_foreach(reactors, i, r)
	{
		double busy = (double)figure(r, "busy_ns"), all = busy + (double)figure(r, "idle_ns");
		const json_t *cpu = json_object_get(r, "cpu");
		char number[24] = "-";

		if (json_is_integer(cpu) && json_integer_value(cpu) >= 0)
			snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(cpu));
		fprintf(out, "%-16s %4s %-8s", text(r, "name"), number, text(r, "idle"));
		cell(r, "turns", 8, out);
		fprintf(out, " %6.1f", all > 0 ? 100 * busy / all : 0);
		cell(r, "sleeps", 8, out);
		cell(r, "wakeups", 8, out);
		fputc('\n', out);
	}
}

static void print_devices(const json_t *devices, FILE *out)
{
	size_t i;
	json_t *d;

	fprintf(out, "\n%-36s %-10s %7s %7s %7s %7s %7s %7s\n", "DEVICE", "STATE", "INODES", "HANDLES", "FDS",
		"LIMITS", "COPIED", "BAD");
	json_array_foreach(devices, i, d)
	{
		static const char *const keys[] = {"inodes",       "handles",      "fds", "limit_hits",
						   "bytes_copied", "bad_requests", NULL};

		fprintf(out, "%-36s %-10s", text(d, "tag"), text(d, "state"));
		for (unsigned k = 0; keys[k]; k++)
			cell(d, keys[k], 7, out);
		fputc('\n', out);
	}
}

static void print_queues(const json_t *device, FILE *out)
{
	size_t i;
	json_t *q;

	json_array_foreach(json_object_get(device, "queues"), i, q)
	{
		static const char *const keys[] = {"requests", "in_flight",     "kicks",
						   "calls",    "eventfd_reads", NULL};

		fprintf(out, "%-36s %5lld %-16s", text(device, "tag"), figure(q, "index"),
			text(q, "reactor"));
		for (unsigned k = 0; keys[k]; k++)
			cell(q, keys[k], 9, out);
		fputc('\n', out);
	}
}

static void print_ops(const json_t *device, FILE *out)
{
	const char *name;
	json_t *op;

	json_object_foreach(json_object_get(device, "ops"), name, op)
	{
		static const char *const keys[] = {"count",  "errors", "inline", "engine",
						   "worker", "bytes",  NULL};
		char buf[CELL_BYTES];

		fprintf(out, "%-36s %-15s", text(device, "tag"), name);
		for (unsigned k = 0; keys[k]; k++)
			cell(op, keys[k], 7, out);
		fprintf(out, " %8s", duration(figure(op, "p50_ns"), buf));
		fprintf(out, " %8s\n", duration(figure(op, "p99_ns"), buf));
	}
}

void ctl_print_stats(const json_t *stats, FILE *out)
{
	const json_t *devices = json_object_get(stats, "devices");
	size_t i;
	json_t *d;

	print_reactors(json_object_get(stats, "reactors"), out);
	print_devices(devices, out);
	fprintf(out, "\n%-36s %5s %-16s %9s %9s %9s %9s %9s\n", "DEVICE", "QUEUE", "REACTOR", "REQUESTS",
		"IN-FLIGHT", "KICKS", "CALLS", "FD-READS");
	json_array_foreach(devices, i, d)
	{
		print_queues(d, out);
	}
	fprintf(out, "\n%-36s %-15s %7s %7s %7s %7s %7s %7s %8s %8s\n", "DEVICE", "OPERATION", "COUNT",
		"ERRORS", "INLINE", "ENGINE", "WORKER", "BYTES", "P50", "P99");
	json_array_foreach(devices, i, d)
	{
		print_ops(d, out);
	}
}

void ctl_print_status(const json_t *status, FILE *out)
{
	size_t i;
	json_t *d;

	fprintf(out, "spinfsd: process %lld, up %.0f s, engine restarts %lld\n", figure(status, "engine_pid"),
		json_number_value(json_object_get(status, "uptime_s")), figure(status, "engine_restarts"));
	json_array_foreach(json_object_get(status, "devices"), i, d)
	{
		fprintf(out, "%-36s %s\n", text(d, "tag"), text(d, "state"));
	}
}
