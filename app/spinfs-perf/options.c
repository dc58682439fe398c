/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf.h"

enum { EXIT_USAGE = 2 };

static void po_usage(FILE *to)
{
	char workloads[400];

	perf_workload_list(workloads, sizeof(workloads));
	fprintf(
	    to,
	    "spinfs-perf {--socket PATH... [--spawn CMD] | --loopback | --raw DIR} --workload W [options]\n"
	    "spinfs-perf --round-trip [--cpus N --daemon-cpus N]\n"
	    "  --workload W       one of %s\n"
	    "  --bs N             bytes of an operation (4096; K, M and G are understood)\n"
	    "  --iodepth N        operations in flight on each queue (1)\n"
	    "  --queues N         request queues of each guest (1)\n"
	    "  --files N          files to work on (1; 1000 for names and listings)\n"
	    "  --size N           bytes of each file of data (256M)\n"
	    "  --write-percent N  of the operations of \"mixed\" (30)\n"
	    "  --time S --ramp S  seconds to measure (5), after seconds to warm up (1)\n"
	    "  --ops N            end each guest after N operations, measured from the first\n"
	    "  --skip N           with --ops: the first N operations of each queue come before and are not "
	    "measured (0)\n"
	    "  --rate N           operations a second of each guest; latency counts from when one was due\n"
	    "  --direct           open with O_DIRECT\n"
	    "  --verify           check what is read, and after the run what was written\n"
	    "  --guests N         guests in this process (1), over the sockets in turn; %%d in PATH: the "
	    "number\n"
	    "  --noisy N          a neighbour that is not measured, any number of times; N is\n"
	    "                     [SOCKET:]WORKLOAD[,bs=N][,iodepth=N][,files=N][,size=N][,rate=N][,direct]\n"
	    "  --segment N        bytes of a data segment (4096); 0: one segment\n"
	    "  --indirect on|off  indirect descriptors (on)\n"
	    "  --event-idx on|off EVENT_IDX (on)\n"
	    "  --completion C     poll or irq (poll)\n"
	    "  --ring-size N      entries of each ring (128, or as iodepth needs)\n"
	    "  --hugepages        guest memory in 2 MiB pages\n"
	    "  --cpus LIST        one thread of load on each of these CPUs (one thread, not pinned)\n"
	    "  --daemon-cpus LIST where a spawned daemon, or the loopback device, runs\n"
	    "  --io-uring         with --raw: reads and writes by io_uring, iodepth in flight\n"
	    "  --unpinned         with --io-uring: buffers that are not registered, as a guest's memory\n"
	    "  --ceiling          first a second against the loopback device, reported beside the result\n"
	    "  --round-trip       only how long an eventfd, and a cache line, take to another core and back\n"
	    "  --json FILE        the result as JSON; -: to stdout, instead of the line\n"
	    "  --histogram        all latencies in the JSON\n",
	    workloads);
}

static bool po_bytes(const char *text, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-')
		return false;
	const char *units = "KMG", *unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		*value <<= 10 * (unsigned)(unit - units + 1);
		end++;
	}
	return *end == '\0';
}

static bool po_count(const char *text, uint64_t min, uint64_t max, unsigned *value)
{
	uint64_t v;

	if (!po_bytes(text, &v) || v < min || v > max)
		return false;
	*value = (unsigned)v;
	return true;
}

static bool po_number(const char *text, double *value)
{
	char *end;

	*value = strtod(text, &end);
	return end != text && *end == '\0' && *value >= 0;
}

static bool po_choice(const char *text, const char *yes, const char *no, bool *value)
{
	*value = !strcmp(text, yes);
	return *value || !strcmp(text, no);
}

/* What may be said of each guest. */
static bool po_work(struct perf_work *w, const char *name, const char *arg)
{
	if (!strcmp(name, "direct"))
		return w->direct = true;
	if (!arg)
		return false;
	if (!strcmp(name, "bs"))
		return po_count(arg, 8, 1u << 20, &w->bs) && w->bs % 8 == 0;
	if (!strcmp(name, "iodepth"))
		return po_count(arg, 1, 16384, &w->iodepth);
	if (!strcmp(name, "files"))
		return po_count(arg, 1, 10000000, &w->files);
	if (!strcmp(name, "size"))
		return po_bytes(arg, &w->size);
	if (!strcmp(name, "rate"))
		return po_number(arg, &w->rate);
	return false;
}

static bool po_noisy(struct perf_opts *o, const char *arg)
{
	struct perf_work *w = &o->noisy[o->noisy_count];
	const char *comma = strchrnul(arg, ','), *colon = memrchr(arg, ':', (size_t)(comma - arg));
	char *copy = strdup(colon ? colon + 1 : arg), *at = copy, *word;
	bool good = copy && o->noisy_count < PERF_NOISY_MAX;

	if (good) {
		*w = (struct perf_work){.bs = 4096, .iodepth = 1, .queues = 1, .size = 256u << 20};
		if (colon)
			snprintf(w->socket, sizeof(w->socket), "%.*s", (int)(colon - arg), arg);
		w->workload = perf_workload_find(strsep(&at, ","));
		good = w->workload && w->workload->build;
	}
	while (good && (word = strsep(&at, ",")) != NULL) {
		char *value = strchr(word, '=');

		if (value)
			*value++ = '\0';
		good = po_work(w, word, value);
	}
	o->noisy_count += good;
	free(copy);
	return good;
}

static const struct option options[] = {{"socket", required_argument, NULL, 's'},
					{"spawn", required_argument, NULL, 'S'},
					{"loopback", no_argument, NULL, 'l'},
					{"raw", required_argument, NULL, 'r'},
					{"io-uring", no_argument, NULL, 'u'},
					{"unpinned", no_argument, NULL, 'U'},
					{"round-trip", no_argument, NULL, 'T'},
					{"ceiling", no_argument, NULL, 'L'},
					{"workload", required_argument, NULL, 'w'},
					{"bs", required_argument, NULL, 'b'},
					{"iodepth", required_argument, NULL, 'b'},
					{"files", required_argument, NULL, 'b'},
					{"size", required_argument, NULL, 'b'},
					{"rate", required_argument, NULL, 'b'},
					{"direct", no_argument, NULL, 'b'},
					{"queues", required_argument, NULL, 'q'},
					{"write-percent", required_argument, NULL, 'W'},
					{"time", required_argument, NULL, 't'},
					{"ramp", required_argument, NULL, 'R'},
					{"ops", required_argument, NULL, 'O'},
					{"skip", required_argument, NULL, 'k'},
					{"verify", no_argument, NULL, 'v'},
					{"guests", required_argument, NULL, 'G'},
					{"noisy", required_argument, NULL, 'N'},
					{"segment", required_argument, NULL, 'g'},
					{"indirect", required_argument, NULL, 'i'},
					{"event-idx", required_argument, NULL, 'e'},
					{"completion", required_argument, NULL, 'c'},
					{"ring-size", required_argument, NULL, 'n'},
					{"hugepages", no_argument, NULL, 'H'},
					{"cpus", required_argument, NULL, 'C'},
					{"daemon-cpus", required_argument, NULL, 'P'},
					{"json", required_argument, NULL, 'j'},
					{"histogram", no_argument, NULL, 'J'},
					{"help", no_argument, NULL, 'h'},
					{0}};

/* Of the ring, of where things run, and of the output. */
static bool po_machine(struct perf_opts *o, int c, const char *arg)
{
	switch (c) {
	case 'g':
		return po_count(arg, 0, 1u << 20, &o->segment);
	case 'i':
		return po_choice(arg, "on", "off", &o->indirect);
	case 'e':
		return po_choice(arg, "on", "off", &o->event_idx);
	case 'c':
		return po_choice(arg, "irq", "poll", &o->interrupts);
	case 'n':
		return po_count(arg, 2, 32768, &o->ring_size) && !(o->ring_size & (o->ring_size - 1));
	case 'H':
		return o->hugepages = true;
	case 'C':
		return perf_parse_cpus(arg, o->cpus, PERF_THREADS_MAX, &o->cpu_count) == 0;
	case 'P':
		return perf_parse_cpus(arg, o->daemon_cpus, PERF_THREADS_MAX, &o->daemon_cpu_count) == 0;
	case 'u':
		return o->io_uring = true;
	case 'U':
		return o->unpinned = true;
	case 'T':
		return o->round_trip = true;
	case 'L':
		return o->ceiling = true;
	case 'j':
		o->json = arg;
		return true;
	case 'J':
		return o->histogram = true;
	default:
		return false;
	}
}

static bool po_option(struct perf_opts *o, int c, const char *arg)
{
	switch (c) {
	case 's':
		if (o->socket_count == PERF_SOCKETS_MAX)
			return false;
		o->sockets[o->socket_count++] = arg;
		return true;
	case 'S':
		o->spawn = arg;
		return true;
	case 'l':
		return o->loopback = true;
	case 'r':
		o->raw_dir = arg;
		return true;
	case 'w':
		o->work.workload = perf_workload_find(arg);
		return o->work.workload;
	case 'q':
		return po_count(arg, 1, PERF_THREADS_MAX, &o->work.queues);
	case 'W':
		return po_count(arg, 0, 100, &o->work.write_percent);
	case 't':
		return po_number(arg, &o->time_s) && o->time_s > 0;
	case 'R':
		return po_number(arg, &o->ramp_s);
	case 'O':
		return po_bytes(arg, &o->ops);
	case 'k':
		return po_bytes(arg, &o->skip);
	case 'v':
		return o->work.verify = true;
	case 'G':
		return po_count(arg, 1, 1024, &o->guests);
	case 'N':
		return po_noisy(o, arg);
	default:
		return po_machine(o, c, arg);
	}
}

/* NULL, or what is wrong. */
static const char *po_wrong(const struct perf_opts *o)
{
	const struct perf_workload *w = o->work.workload;

	if (!w || !!o->socket_count + o->loopback + !!o->raw_dir != 1 || (o->spawn && !o->socket_count))
		return "one of --socket, --loopback and --raw is needed, and --workload";
	if (!o->raw_dir && !w->build)
		return "this workload is one of plain system calls: it needs --raw";
	if (o->raw_dir && !w->raw)
		return "this workload has no form of plain system calls";
	if (o->raw_dir && (o->noisy_count || o->guests > 1 || o->work.rate > 0 || o->ceiling))
		return "--raw has no guests, no rate and no ceiling";
	if (o->io_uring && (!o->raw_dir || w->kind != PERF_DATA || !strcmp(w->name, "fsync")))
		return "--io-uring is for data with --raw";
	if (o->skip && !o->ops)
		return "--skip is for --ops";
	if (o->unpinned && !o->io_uring)
		return "--unpinned is for --io-uring";
	if (o->work.verify && (!o->socket_count || w->kind != PERF_DATA || o->ceiling))
		return "--verify is for data over a socket, without --ceiling";
	return NULL;
}

static void po_defaults(struct perf_work *w)
{
	unsigned jobs = w->iodepth * w->queues;

	if (!w->files)
		w->files = w->workload->kind == PERF_DATA ? 1 : 1000;
	if (w->workload->kind == PERF_NAMES)
		w->files = SFS_MAX(w->files, 2 * jobs);
	w->size = SFS_MAX(w->size, w->bs);
	w->blocks = w->size / w->bs;
}

static int po_complete(struct perf_opts *o)
{
	const char *wrong = po_wrong(o);
	unsigned depth = o->work.iodepth;

	if (wrong) {
		fprintf(stderr, "spinfs-perf: %s\n", wrong);
		return EXIT_USAGE;
	}
	po_defaults(&o->work);
	for (unsigned i = 0; i < o->noisy_count; i++) {
		po_defaults(&o->noisy[i]);
		depth = SFS_MAX(depth, o->noisy[i].iodepth);
	}
	while (o->ring_size < depth)
		o->ring_size *= 2;
	return 0;
}

int perf_options(int argc, char **argv, struct perf_opts *o, bool *over)
{
	int c, idx = 0;

	*o = (struct perf_opts){.time_s = 5, .ramp_s = 1, .guests = 1};
	o->work = (struct perf_work){
	    .bs = 4096, .iodepth = 1, .queues = 1, .size = 256u << 20, .write_percent = 30};
	o->segment = SFS_FG_PAGE;
	o->ring_size = 128;
	o->indirect = o->event_idx = true;
	while ((c = getopt_long(argc, argv, "h", options, &idx)) != -1) {
		if (c == 'h') {
			po_usage(stdout);
			*over = true;
			return 0;
		}
		if (c == '?')
			return EXIT_USAGE;
		if (!(c == 'b' ? po_work(&o->work, options[idx].name, optarg) : po_option(o, c, optarg))) {
			fprintf(stderr, "spinfs-perf: wrong value of --%s: %s\n", options[idx].name,
				optarg ? optarg : "");
			return EXIT_USAGE;
		}
	}
	if (optind != argc) {
		po_usage(stderr);
		return EXIT_USAGE;
	}
	return o->round_trip ? 0 : po_complete(o);
}
