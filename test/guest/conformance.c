/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asks a filesystem, through its mount, for what POSIX and Linux promise: one process and one empty directory
 * a case, TAP on standard output. It runs in the guest on the share and, for comparison, on any directory.
 */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUN_CASE_SECONDS 180
#define RUN_WORDS_MAX    64

static const struct conf_case *const run_families[] = {
    conf_open_cases, conf_data_cases, conf_space_cases, conf_name_cases, conf_dir_cases,
    conf_attr_cases, conf_perm_cases, conf_xattr_cases, conf_lock_cases, conf_ext_cases,
};

struct run_words {
	const char *word[RUN_WORDS_MAX];
	size_t count;
};

struct run {
	struct run_words only;
	struct run_words skip;
	const char *dir;
	bool list;
	unsigned int number;
	unsigned int failed;
};

static void run_usage(FILE *to)
{
	fputs("usage: conformance [--only NAME]... [--skip NAME]... [--waiters N] [--entries N]\n"
	      "                   [--no-shared-mappings] DIR\n"
	      "       conformance --list\n"
	      "  NAME                  a case, or the beginning of some cases' names\n"
	      "  --waiters N           processes that wait for one lock at a time (24): a share lets half as "
	      "many\n"
	      "                        requests wait as its queue has entries\n"
	      "  --entries N           entries of the largest directory (5000)\n"
	      "  --no-shared-mappings  they must be refused, as on a share with cache never or metadata\n"
	      "Exit status: 0 none failed, 1 some did, 2 usage or DIR is of no use.\n",
	      to);
}

static bool run_named(const struct run_words *words, const char *name)
{
	for (size_t i = 0; i < words->count; i++) {
		if (strncmp(name, words->word[i], strlen(words->word[i])) == 0)
			return true;
	}
	return false;
}

static bool run_wanted(const struct run *run, const char *name)
{
	return (run->only.count == 0 || run_named(&run->only, name)) && !run_named(&run->skip, name);
}

static int run_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

static int run_remove(const char *path)
{
	return nftw(path, run_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static _Noreturn void run_child(const struct conf_case *c, const char *dir)
{
	setpgid(0, 0);
	alarm(RUN_CASE_SECONDS);
	umask(022);
	if (chdir(dir) < 0) {
		printf("# %s: %s\n", dir, strerror(errno));
		fflush(stdout);
		_exit(1);
	}
	c->run();
	fflush(stdout);
	_exit(0);
}

/* The case's wait status, or -1 where its directory or process could not be made. */
static int run_process(const struct conf_case *c, const char *dir)
{
	int status;

	if (mkdir(dir, 0777) < 0 || chmod(dir, 0777) < 0) {
		printf("# %s: %s\n", dir, strerror(errno));
		return -1;
	}
	fflush(stdout);
	pid_t pid = fork();
	if (pid < 0)
		return -1;
	if (pid == 0)
		run_child(c, dir);
	if (waitpid(pid, &status, 0) < 0)
		return -1;
	/* Whatever the case left running; it is its own process group. */
	kill(-pid, SIGKILL);
	return status;
}

static void run_case(struct run *run, const struct conf_case *c)
{
	char dir[4096];

	snprintf(dir, sizeof(dir), "%s/%s", run->dir, c->name);
	int status = run_process(c, dir);
	bool skipped = status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == 77;
	bool passed = status == 0;

	if (status != -1 && WIFSIGNALED(status))
		printf("# ended by signal %d\n", WTERMSIG(status));
	if (run_remove(dir) < 0) {
		printf("# %s is not removed: %s\n", dir, strerror(errno));
		passed = skipped = false;
	}
	run->number++;
	run->failed += !passed && !skipped;
	printf("%sok %u - %s%s\n", passed || skipped ? "" : "not ", run->number, c->name,
	       skipped ? " # SKIP" : "");
	fflush(stdout);
}

static unsigned int run_each(struct run *run, void (*fn)(struct run *, const struct conf_case *))
{
	unsigned int count = 0;

	for (size_t i = 0; i < sizeof(run_families) / sizeof(run_families[0]); i++) {
		for (const struct conf_case *c = run_families[i]; c->name; c++) {
			if (!run_wanted(run, c->name))
				continue;
			count++;
			if (fn)
				fn(run, c);
		}
	}
	return count;
}

static void run_print(struct run *run, const struct conf_case *c)
{
	(void)run;
	puts(c->name);
}

static bool run_add(struct run_words *words, const char *word)
{
	if (!word || words->count == RUN_WORDS_MAX)
		return false;
	words->word[words->count++] = word;
	return true;
}

static bool run_number(unsigned int *number, unsigned int max, const char *word)
{
	char *end;
	unsigned long value = word ? strtoul(word, &end, 10) : 0;

	if (value == 0 || value > max || *end)
		return false;
	*number = (unsigned int)value;
	return true;
}

static bool run_parse(struct run *run, char **argv)
{
	for (; *argv; argv++) {
		if (strcmp(*argv, "--list") == 0) {
			run->list = true;
		} else if (strcmp(*argv, "--only") == 0) {
			if (!run_add(&run->only, *++argv))
				return false;
		} else if (strcmp(*argv, "--skip") == 0) {
			if (!run_add(&run->skip, *++argv))
				return false;
		} else if (strcmp(*argv, "--waiters") == 0) {
			if (!run_number(&conf_waiters, CONF_WAITERS_MAX, *++argv))
				return false;
		} else if (strcmp(*argv, "--entries") == 0) {
			if (!run_number(&conf_entries, CONF_ENTRIES_MAX, *++argv))
				return false;
		} else if (strcmp(*argv, "--no-shared-mappings") == 0) {
			conf_no_shared_mappings = true;
		} else if (**argv == '-' || run->dir) {
			return false;
		} else {
			run->dir = *argv;
		}
	}
	return run->list != (run->dir != NULL);
}

int main(int argc, char **argv)
{
	struct run run = {0};
	char dir[4096];

	(void)argc;
	if (!run_parse(&run, argv + 1)) {
		run_usage(stderr);
		return 2;
	}
	if (run.list) {
		run_each(&run, run_print);
		return 0;
	}
	snprintf(dir, sizeof(dir), "%s/conformance-%d", run.dir, (int)getpid());
	if (mkdir(dir, 0755) < 0) {
		fprintf(stderr, "%s: %s\n", dir, strerror(errno));
		return 2;
	}
	run.dir = dir;
	printf("1..%u\n", run_each(&run, NULL));
	run_each(&run, run_case);
	if (rmdir(dir) < 0) {
		fprintf(stderr, "%s: %s\n", dir, strerror(errno));
		return 2;
	}
	return run.failed ? 1 : 0;
}
