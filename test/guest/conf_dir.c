/* SPDX-License-Identifier: BSD-3-Clause */
/* Listings. */
#include "conf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static DIR *dir_open(const char *path)
{
	DIR *dir = opendir(path);

	CHECK(dir != NULL);
	return dir;
}

static bool dir_is_dots(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
}

static int dir_count(const char *path)
{
	DIR *dir = dir_open(path);
	const struct dirent *entry;
	int count = 0;

	errno = 0;
	while ((entry = readdir(dir)) != NULL)
		count += !dir_is_dots(entry);
	EQ(errno, 0);
	OK(closedir(dir));
	return count;
}

static void dir_make(unsigned int count)
{
	char name[32];

	for (unsigned int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "entry-%u", i);
		OK(mknod(name, S_IFREG | 0644, 0));
	}
}

/* Every entry exactly once, whatever else happens to the listing; the number found. */
static unsigned int dir_mark(DIR *dir, unsigned char *seen, unsigned int limit)
{
	const struct dirent *entry;
	unsigned int found = 0;

	errno = 0;
	while ((entry = readdir(dir)) != NULL) {
		unsigned int i;

		if (dir_is_dots(entry))
			continue;
		EQ(sscanf(entry->d_name, "entry-%u", &i), 1);
		CHECK(i < limit);
		EQ(seen[i], 0);
		seen[i] = 1;
		found++;
	}
	EQ(errno, 0);
	return found;
}

static void dir_many_entries(void)
{
	unsigned char *seen = conf_alloc(conf_entries);

	dir_make(conf_entries);
	DIR *dir = dir_open(".");
	EQ(dir_mark(dir, seen, conf_entries), conf_entries);
	/* A second listing through the same handle. */
	rewinddir(dir);
	memset(seen, 0, conf_entries);
	EQ(dir_mark(dir, seen, conf_entries), conf_entries);
	OK(closedir(dir));
	free(seen);
}

static void dir_dots(void)
{
	OK(mkdir("d", 0755));
	DIR *dir = dir_open("d");
	const struct dirent *entry;
	int count = 0;

	while ((entry = readdir(dir)) != NULL) {
		CHECK(dir_is_dots(entry));
		count++;
	}
	EQ(count, 2);
	OK(closedir(dir));
}

static void dir_entry_fields(void)
{
	DIR *dir;
	const struct dirent *entry;
	int count = 0;

	conf_write_file("file", "", 0);
	OK(mkdir("directory", 0755));
	OK(symlink("file", "symlink"));
	OK(mkfifo("fifo", 0644));
	OK(link("file", "link"));
	dir = dir_open(".");
	while ((entry = readdir(dir)) != NULL) {
		if (dir_is_dots(entry))
			continue;
		struct stat st = conf_lstat(entry->d_name);
		EQ(entry->d_ino, st.st_ino);
		if (entry->d_type != DT_UNKNOWN)
			EQ(entry->d_type, IFTODT(st.st_mode));
		count++;
	}
	EQ(count, 5);
	OK(closedir(dir));
}

static void dir_seek_tell(void)
{
	enum { count = 300 };
	static long places[count + 2];
	static char names[count + 2][NAME_MAX + 1];
	int total = 0;

	dir_make(count);
	DIR *dir = dir_open(".");
	for (;;) {
		long place = telldir(dir);
		const struct dirent *entry = readdir(dir);

		if (!entry)
			break;
		CHECK(total < count + 2);
		places[total] = place;
		snprintf(names[total++], sizeof(names[0]), "%s", entry->d_name);
	}
	EQ(total, count + 2);
	for (int i = total - 1; i >= 0; i -= 7) {
		seekdir(dir, places[i]);
		for (int k = i; k < total && k < i + 3; k++) {
			const struct dirent *entry = readdir(dir);

			CHECK(entry != NULL);
			CHECK(strcmp(entry->d_name, names[k]) == 0);
		}
	}
	OK(closedir(dir));
}

static void dir_rewind_sees_changes(void)
{
	conf_write_file("one", "", 0);
	DIR *dir = dir_open(".");
	const struct dirent *entry;
	int found = 0;

	while (readdir(dir) != NULL)
		;
	conf_write_file("two", "", 0);
	OK(unlink("one"));
	rewinddir(dir);
	while ((entry = readdir(dir)) != NULL) {
		CHECK(strcmp(entry->d_name, "one") != 0);
		found += strcmp(entry->d_name, "two") == 0;
	}
	EQ(found, 1);
	OK(closedir(dir));
}

static void dir_remove_while_listing(void)
{
	dir_make(1000);
	DIR *dir = dir_open(".");
	const struct dirent *entry;

	while ((entry = readdir(dir)) != NULL) {
		if (!dir_is_dots(entry))
			OK(unlink(entry->d_name));
	}
	OK(closedir(dir));
	EQ(dir_count("."), 0);
}

/* Entries that nobody touches are listed once although others come and go meanwhile. */
static void dir_stable_while_changing(void)
{
	enum { count = 600 };
	unsigned char *seen = conf_alloc(count);
	char name[32];
	int found = 0;

	dir_make(count);
	DIR *dir = dir_open(".");
	for (int step = 0;; step++) {
		const struct dirent *entry = readdir(dir);
		int i;

		if (!entry)
			break;
		snprintf(name, sizeof(name), "passing-%d", step);
		conf_write_file(name, "", 0);
		OK(unlink(name));
		if (sscanf(entry->d_name, "entry-%d", &i) == 1) {
			CHECK(i >= 0 && i < count);
			EQ(seen[i], 0);
			seen[i] = 1;
			found++;
		}
	}
	EQ(found, count);
	OK(closedir(dir));
	free(seen);
}

static void dir_removed_while_open(void)
{
	char path[PATH_MAX];

	OK(mkdir("d", 0755));
	DIR *dir = dir_open("d");
	OK(chdir("d"));
	OK(rmdir("../d"));
	while (readdir(dir) != NULL)
		;
	OK(closedir(dir));
	CHECK(getcwd(path, sizeof(path)) == NULL || strstr(path, "d") != NULL);
	FAILS(ENOENT, open("f", O_WRONLY | O_CREAT, 0644));
	FAILS(ENOENT, mkdir("e", 0755));
}

static void dir_long_names(void)
{
	char name[256];

	for (int i = 0; i < 200; i++) {
		memset(name, 'x', sizeof(name));
		name[255] = 0;
		name[i] = 'y';
		OK(mknod(name, S_IFREG | 0644, 0));
	}
	EQ(dir_count("."), 200);
}

static void dir_errors(void)
{
	conf_write_file("f", "", 0);
	CHECK(opendir("f") == NULL && errno == ENOTDIR);
	CHECK(opendir("none") == NULL && errno == ENOENT);
}

static void dir_two_handles(void)
{
	dir_make(400);
	DIR *a = dir_open(".");
	DIR *b = dir_open(".");
	for (int i = 0; i < 402; i++) {
		const struct dirent *from_a = readdir(a);
		CHECK(from_a != NULL);
		const struct dirent *from_b = readdir(b);
		CHECK(from_b != NULL);
		CHECK(strcmp(from_a->d_name, from_b->d_name) == 0);
	}
	CHECK(readdir(a) == NULL && readdir(b) == NULL);
	OK(closedir(a));
	OK(closedir(b));
}

static void dir_times(void)
{
	struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

	OK(mkdir("d", 0755));
	OK(utimensat(AT_FDCWD, "d", old, 0));
	conf_write_file("d/f", "", 0);
	CHECK(conf_lstat("d").st_mtime > 1000);
	OK(utimensat(AT_FDCWD, "d", old, 0));
	OK(unlink("d/f"));
	CHECK(conf_lstat("d").st_mtime > 1000);
}

const struct conf_case conf_dir_cases[] = {
    {"dir_many_entries", dir_many_entries},
    {"dir_dots", dir_dots},
    {"dir_entry_fields", dir_entry_fields},
    {"dir_seek_tell", dir_seek_tell},
    {"dir_rewind_sees_changes", dir_rewind_sees_changes},
    {"dir_remove_while_listing", dir_remove_while_listing},
    {"dir_stable_while_changing", dir_stable_while_changing},
    {"dir_removed_while_open", dir_removed_while_open},
    {"dir_long_names", dir_long_names},
    {"dir_errors", dir_errors},
    {"dir_two_handles", dir_two_handles},
    {"dir_times", dir_times},
    {NULL, NULL},
};
