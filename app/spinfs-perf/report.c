/* SPDX-License-Identifier: BSD-3-Clause */
/* One line for people, one JSON object for machines. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "perf.h"

static double rp_seconds(const struct perf_count *c)
{
	return c->stop_ns > c->start_ns ? (double)(c->stop_ns - c->start_ns) / (double)SFS_NS_PER_S : 0;
}

double perf_ops_s(const struct perf_count *c)
{
	return rp_seconds(c) > 0 ? (double)c->ops / rp_seconds(c) : 0;
}

static uint64_t rp_ns(const struct perf_count *c, double q)
{
	return sfs_hist_fine_quantile(&c->hist, q);
}

static double rp_us(const struct perf_count *c, double q)
{
	return (double)rp_ns(c, q) / 1e3;
}

static void rp_line(const struct perf_run *run, const struct perf_count *c)
{
	const struct perf_work *w = &run->opts.work;
	uint64_t differ = 0;

	printf("%s bs=%u depth=%u queues=%u guests=%u: %.0f ops/s, %.1f MB/s, p50 %.2f p90 %.2f p99 %.2f "
	       "p99.9 %.2f max %.2f us, %" PRIu64 " kicks, %" PRIu64 " interrupts, ",
	       w->workload->name, w->bs, w->iodepth, w->queues, run->opts.guests, perf_ops_s(c),
	       (double)c->bytes / rp_seconds(c) / 1e6, rp_us(c, 0.5), rp_us(c, 0.9), rp_us(c, 0.99),
	       rp_us(c, 0.999), (double)c->hist.max_ns / 1e3, c->kicks, c->interrupts);
	printf("daemon cpu %.2f s, own %.2f s, %" PRIu64 " errors", run->daemon.cpu_s, run->load_cpu_s,
	       c->errors);
	if (c->errors)
		printf(" (first: %s)", strerror(-c->first_error));
	for (unsigned i = 0; i < run->opts.guests; i++)
		differ += run->guests[i].verify_errors;
	if (w->verify)
		printf(", %" PRIu64 " blocks differ", differ);
	if (run->ceiling_ops_s > 0)
		printf(", ceiling %.0f ops/s", run->ceiling_ops_s);
	printf("\n");
	for (unsigned i = 0; run->guest_count > 1 && i < run->guest_count; i++) {
		const struct perf_guest *g = &run->guests[i];

		printf("  guest %u%s %s: %.0f ops/s, p50 %.2f p99 %.2f us, %" PRIu64 " errors\n", i,
		       g->noisy ? " (noisy)" : "", g->work.workload->name, perf_ops_s(&g->total),
		       rp_us(&g->total, 0.5), rp_us(&g->total, 0.99), g->total.errors);
	}
}

static void rp_json_latency(FILE *f, const struct perf_count *c)
{
	fprintf(f,
		"\"latency_ns\":{\"min\":%" PRIu64 ",\"p50\":%" PRIu64 ",\"p90\":%" PRIu64 ",\"p99\":%" PRIu64
		",\"p999\":%" PRIu64 ",\"max\":%" PRIu64 "}",
		c->min_ns, rp_ns(c, 0.5), rp_ns(c, 0.9), rp_ns(c, 0.99), rp_ns(c, 0.999), c->hist.max_ns);
}

static void rp_json_guests(FILE *f, const struct perf_run *run)
{
	const char *comma = "";

	fprintf(f, ",\"guests\":[");
	for (unsigned i = 0; i < run->guest_count; i++, comma = ",") {
		const struct perf_guest *g = &run->guests[i];

		fprintf(f,
			"%s{\"workload\":\"%s\",\"noisy\":%s,\"ops_s\":%.1f,\"errors\":%" PRIu64
			",\"attach_ns\":%" PRIu64 ",",
			comma, g->work.workload->name, g->noisy ? "true" : "false", perf_ops_s(&g->total),
			g->total.errors, g->attach_ns);
		rp_json_latency(f, &g->total);
		fprintf(f, "}");
	}
	fprintf(f, "]");
}

/* Upper bound and count of each bucket that is not empty. */
static void rp_json_histogram(FILE *f, const struct sfs_hist_fine *h)
{
	const char *comma = "";

	fprintf(f, ",\"histogram_ns\":[");
	for (unsigned i = 0; i < SFS_ARRAY_SIZE(h->bucket); i++) {
		if (!h->bucket[i])
			continue;
		fprintf(f, "%s[%" PRIu64 ",%" PRIu64 "]", comma, sfs_hist_upper_ns(SFS_HIST_FINE_BITS, i),
			h->bucket[i]);
		comma = ",";
	}
	fprintf(f, "]");
}

static void rp_json_object(FILE *f, const struct perf_run *run, const struct perf_count *c, uint64_t errors)
{
	const struct perf_opts *o = &run->opts;
	/* With --skip it is that of what was skipped, too. */
	double cpu_s = o->skip ? 0 : o->raw_dir ? run->load_cpu_s : run->daemon.cpu_s;

	fprintf(f,
		"{\"version\":1,\"workload\":\"%s\",\"bs_bytes\":%u,\"iodepth\":%u,\"queues\":%u,"
		"\"duration_s\":%.6f,",
		o->work.workload->name, o->work.bs, o->work.iodepth, o->work.queues, rp_seconds(c));
	fprintf(f, "\"ops\":%" PRIu64 ",\"ops_s\":%.1f,\"bytes_s\":%.1f,\"errors\":%" PRIu64 ",", c->ops,
		perf_ops_s(c), (double)c->bytes / rp_seconds(c), errors);
	rp_json_latency(f, c);
	fprintf(f,
		",\"kicks\":%" PRIu64 ",\"interrupts\":%" PRIu64
		",\"daemon_cpu_s\":%.6f,\"ops_per_cpu_s\":%.1f,\"load_cpu_s\":%.6f",
		c->kicks, c->interrupts, cpu_s, cpu_s > 0 ? (double)c->ops / cpu_s : 0.0, run->load_cpu_s);
	fprintf(f,
		",\"daemon_pss_bytes\":%" PRIu64 ",\"daemon_pss_anon_bytes\":%" PRIu64
		",\"daemon_fds\":%" PRIu64,
		run->daemon.pss_bytes, run->daemon.pss_anon_bytes, run->daemon.fds);
	if (run->ceiling_ops_s > 0)
		fprintf(f, ",\"ceiling_ops_s\":%.1f", run->ceiling_ops_s);
	if (!o->raw_dir)
		rp_json_guests(f, run);
	if (o->histogram)
		rp_json_histogram(f, &c->hist);
	fprintf(f, "}\n");
}

static int rp_json(const struct perf_run *run, const struct perf_count *c, uint64_t errors)
{
	FILE *f = strcmp(run->opts.json, "-") ? fopen(run->opts.json, "w") : stdout;

	if (!f)
		return -errno;
	rp_json_object(f, run, c, errors);
	if (f == stdout)
		return fflush(f) ? -errno : 0;
	return fclose(f) ? -errno : 0;
}

/* What the guests that are measured did, together. */
static uint64_t rp_sum(const struct perf_run *run, struct perf_count *sum)
{
	uint64_t errors = 0;

	*sum = run->guests[0].total;
	for (unsigned i = 0; i < run->opts.guests; i++) {
		const struct perf_count *c = &run->guests[i].total;

		errors += c->errors + run->guests[i].verify_errors;
		if (i == 0)
			continue;
		sum->ops += c->ops;
		sum->bytes += c->bytes;
		sum->errors += c->errors;
		sum->first_error = sum->first_error ? sum->first_error : c->first_error;
		sum->kicks += c->kicks;
		sum->interrupts += c->interrupts;
		sum->min_ns = SFS_MIN(sum->min_ns, c->min_ns);
		sum->start_ns = SFS_MIN(sum->start_ns, c->start_ns);
		sum->stop_ns = SFS_MAX(sum->stop_ns, c->stop_ns);
		sfs_hist_fine_merge(&sum->hist, &c->hist);
	}
	return errors;
}

int perf_report(struct perf_run *run)
{
	static struct perf_count sum;
	uint64_t errors = rp_sum(run, &sum);
	int rc = 0;

	if (rp_seconds(&sum) <= 0)
		return -ENODATA;
	if (!run->opts.json || strcmp(run->opts.json, "-"))
		rp_line(run, &sum);
	if (run->opts.json)
		rc = rp_json(run, &sum, errors);
	if (errors && run->opts.json)
		fprintf(stderr, "spinfs-perf: %" PRIu64 " operations failed, the first with: %s\n", errors,
			strerror(-sum.first_error));
	return rc == 0 && errors ? -EIO : rc;
}
