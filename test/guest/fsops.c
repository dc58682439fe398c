/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random operations on a filesystem, checked against what they must have led to.
 *
 *   fsops run DIR SEED COUNT LIST    an empty DIR: COUNT operations; what is there then goes to LIST
 *   fsops check DIR LIST             whether DIR is still as LIST says: after a remount, from the other side
 *
 * Files are held in memory, too, and compared whenever they are read: by read(), by mmap(), and at the end.
 * Exit status: 0 all is as it must be, 1 it is not (one line says what), 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FILES_MAX  48
#define DIRS_MAX   12
#define BYTES_MAX  (256 * 1024)
#define WRITE_MAX  (64 * 1024)
#define PATH_BYTES 64

struct ops_file {
	char path[PATH_BYTES];
	unsigned char *data; /* what it must hold; files of several links share it by `same` */
	size_t bytes;
	int same; /* index of the file whose data these are; itself: its own */
	bool live;
};

static struct {
	struct ops_file files[FILES_MAX];
	char dirs[DIRS_MAX][PATH_BYTES];
	unsigned dir_count;
	uint64_t random;
	unsigned names;
	unsigned long step;
} ops;

static _Noreturn void __attribute__((format(printf, 1, 2))) ops_fail(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	printf("fsops: operation %lu: ", ops.step);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" (errno: %s)\n", strerror(err));
	exit(1);
}

static long ops_do(long rc, const char *call)
{
	if (rc < 0)
		ops_fail("%s", call);
	return rc;
}

#define DO(call) ops_do((call), #call)

static uint32_t ops_random(uint32_t limit)
{
	ops.random = ops.random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((ops.random >> 33) % limit);
}

static uint64_t ops_sum(const unsigned char *data, size_t bytes)
{
	uint64_t sum = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < bytes; i++)
		sum = (sum ^ data[i]) * 0x100000001b3ull;
	return sum;
}

/* --- the model --- */

static struct ops_file *ops_data(struct ops_file *f)
{
	return &ops.files[f->same];
}

static struct ops_file *ops_pick(void)
{
	for (unsigned tries = 0; tries < FILES_MAX * 4; tries++) {
		struct ops_file *f = &ops.files[ops_random(FILES_MAX)];

		if (f->live)
			return f;
	}
	return NULL;
}

static struct ops_file *ops_slot(void)
{
	for (int i = 0; i < FILES_MAX; i++) {
		struct ops_file *f = &ops.files[i];
		bool used = f->live;

		for (int j = 0; j < FILES_MAX && !used; j++)
			used = ops.files[j].live && ops.files[j].same == i;
		if (!used) {
			f->same = i;
			f->bytes = 0;
			return f;
		}
	}
	return NULL;
}

static void ops_new_path(char path[PATH_BYTES])
{
	/* By way of a copy: both may be members of ops, of which the compiler cannot see that they are not the same. */
	const char *dir = ops.dirs[ops_random(ops.dir_count)];
	char name[PATH_BYTES];

	snprintf(name, sizeof(name), "%.40s/n%u", dir, ops.names++);
	memcpy(path, name, sizeof(name));
}

static void ops_compare(const struct ops_file *f, const unsigned char *got, size_t off, size_t bytes,
			const char *how)
{
	const struct ops_file *d = &ops.files[f->same];

	for (size_t i = 0; i < bytes; i++)
		if (got[i] != d->data[off + i])
			ops_fail("%s by %s: byte %zu is 0x%02x, not 0x%02x", f->path, how, off + i, got[i],
				 d->data[off + i]);
}

static void ops_extend(struct ops_file *d, size_t bytes)
{
	if (bytes > d->bytes) {
		memset(d->data + d->bytes, 0, bytes - d->bytes);
		d->bytes = bytes;
	}
}

/* --- operations --- */

static void op_create(void)
{
	struct ops_file *f = ops_slot();

	if (!f)
		return;
	ops_new_path(f->path);
	DO(close((int)DO(open(f->path, O_RDWR | O_CREAT | O_EXCL, 0644))));
	f->live = true;
}

static void op_write(void)
{
	struct ops_file *f = ops_pick(), *d;
	size_t off, bytes;
	int fd;

	if (!f)
		return;
	d = ops_data(f);
	bytes = 1 + ops_random(WRITE_MAX);
	off = ops_random(4) == 0 ? d->bytes : ops_random((uint32_t)(BYTES_MAX - bytes));
	if (off + bytes > BYTES_MAX)
		return;
	fd = (int)DO(open(f->path, O_RDWR | (ops_random(8) == 0 ? O_SYNC : 0)));
	ops_extend(d, off + bytes);
	for (size_t i = 0; i < bytes; i++)
		d->data[off + i] = (unsigned char)(ops_random(256));
	for (size_t done = 0; done < bytes;)
		done += (size_t)DO(pwrite(fd, d->data + off + done, bytes - done, (off_t)(off + done)));
	if (ops_random(16) == 0)
		DO(fsync(fd));
	DO(close(fd));
}

static void op_append(void)
{
	struct ops_file *f = ops_pick(), *d;
	size_t bytes = 1 + ops_random(5000);
	int fd;

	if (!f || ops_data(f)->bytes + bytes > BYTES_MAX)
		return;
	d = ops_data(f);
	fd = (int)DO(open(f->path, O_WRONLY | O_APPEND));
	for (size_t i = 0; i < bytes; i++)
		d->data[d->bytes + i] = (unsigned char)(ops_random(256));
	if ((size_t)DO(write(fd, d->data + d->bytes, bytes)) != bytes)
		ops_fail("%s: short append", f->path);
	d->bytes += bytes;
	DO(close(fd));
}

static void op_read(void)
{
	static unsigned char buf[BYTES_MAX];
	struct ops_file *f = ops_pick();
	const struct ops_file *d;
	size_t off, bytes, want;
	ssize_t n;
	int fd;

	if (!f)
		return;
	d = ops_data(f);
	off = ops_random(BYTES_MAX);
	bytes = 1 + ops_random(BYTES_MAX);
	want = off >= d->bytes ? 0 : d->bytes - off < bytes ? d->bytes - off : bytes;
	fd = (int)DO(open(f->path, O_RDONLY));
	n = DO(pread(fd, buf, bytes, (off_t)off));
	if ((size_t)n != want)
		ops_fail("%s: read %zd of %zu at %zu, size %zu", f->path, n, bytes, off, d->bytes);
	ops_compare(f, buf, off, want, "read");
	DO(close(fd));
}

static void op_map(void)
{
	struct ops_file *f = ops_pick(), *d;
	bool write = ops_random(2);
	unsigned char *map;
	int fd;

	if (!f || ops_data(f)->bytes == 0)
		return;
	d = ops_data(f);
	fd = (int)DO(open(f->path, O_RDWR));
	map = mmap(NULL, d->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED) { /* cache modes without shared mappings */
		ops_compare(f, map, 0, d->bytes, "mapping");
		if (write) {
			size_t off = ops_random((uint32_t)d->bytes),
			       bytes = 1 + ops_random((uint32_t)(d->bytes - off));

			for (size_t i = 0; i < bytes; i++)
				map[off + i] = d->data[off + i] = (unsigned char)(ops_random(256));
			DO(msync(map, d->bytes, MS_SYNC));
		}
		DO(munmap(map, d->bytes));
	}
	DO(close(fd));
}

static void op_truncate(void)
{
	struct ops_file *f = ops_pick(), *d;
	size_t bytes = ops_random(BYTES_MAX);

	if (!f)
		return;
	d = ops_data(f);
	DO(truncate(f->path, (off_t)bytes));
	ops_extend(d, bytes);
	d->bytes = bytes;
}

static void op_punch(void)
{
	struct ops_file *f = ops_pick(), *d;
	size_t off, bytes;
	int fd;

	if (!f || ops_data(f)->bytes == 0)
		return;
	d = ops_data(f);
	off = ops_random((uint32_t)d->bytes);
	bytes = 1 + ops_random((uint32_t)(d->bytes - off));
	fd = (int)DO(open(f->path, O_RDWR));
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)bytes) == 0)
		memset(d->data + off, 0, bytes);
	else if (errno != EOPNOTSUPP)
		ops_fail("%s: punch", f->path);
	DO(close(fd));
}

static void op_copy(void)
{
	struct ops_file *f = ops_pick(), *t = ops_pick(), *d;
	size_t bytes;
	ssize_t n;
	off_t from, to;
	int in, out;

	if (!f || !t || f->same == t->same || ops_data(f)->bytes == 0)
		return;
	d = ops_data(t);
	from = ops_random((uint32_t)ops_data(f)->bytes);
	to = ops_random((uint32_t)(d->bytes + 1));
	bytes = 1 + ops_random((uint32_t)(ops_data(f)->bytes - (size_t)from));
	if ((size_t)to + bytes > BYTES_MAX)
		return;
	in = (int)DO(open(f->path, O_RDONLY));
	out = (int)DO(open(t->path, O_RDWR));
	n = copy_file_range(in, &(off_t){from}, out, &(off_t){to}, bytes, 0);
	if (n < 0 && errno != EOPNOTSUPP && errno != EXDEV)
		ops_fail("copy_file_range");
	if (n > 0) {
		ops_extend(d, (size_t)to + (size_t)n);
		memcpy(d->data + to, ops_data(f)->data + from, (size_t)n);
	}
	DO(close(in));
	DO(close(out));
}

static void op_rename(void)
{
	struct ops_file *f = ops_pick(), *over = ops_random(3) == 0 ? ops_pick() : NULL;
	char path[PATH_BYTES];

	if (!f)
		return;
	if (over && over->same == f->same)
		return; /* two names of one file: nothing would happen */
	if (over)
		memcpy(path, over->path, sizeof(path));
	else
		ops_new_path(path);
	DO(rename(f->path, path));
	if (over)
		over->live = false;
	memcpy(f->path, path, sizeof(path));
}

static void op_exchange(void)
{
	struct ops_file *a = ops_pick(), *b = ops_pick();
	char path[PATH_BYTES];

	if (!a || !b || a == b || a->same == b->same)
		return;
	if (renameat2(AT_FDCWD, a->path, AT_FDCWD, b->path, RENAME_EXCHANGE) < 0) {
		if (errno != EINVAL && errno != ENOSYS)
			ops_fail("exchange %s %s", a->path, b->path);
		return;
	}
	memcpy(path, a->path, sizeof(path));
	memcpy(a->path, b->path, sizeof(path));
	memcpy(b->path, path, sizeof(path));
}

static void op_link(void)
{
	struct ops_file *f = ops_pick(), *l = ops_slot();
	int same;

	if (!f || !l)
		return;
	same = f->same;
	ops_new_path(l->path);
	DO(link(f->path, l->path));
	l->same = same;
	l->live = true;
}

static void op_unlink(void)
{
	struct ops_file *f = ops_pick();

	if (!f || ops_random(2))
		return;
	DO(unlink(f->path));
	f->live = false;
	if (access(f->path, F_OK) == 0)
		ops_fail("%s is still there", f->path);
}

static void op_mkdir(void)
{
	char path[PATH_BYTES];

	if (ops.dir_count == DIRS_MAX)
		return;
	ops_new_path(path);
	DO(mkdir(path, 0755));
	memcpy(ops.dirs[ops.dir_count++], path, sizeof(path));
}

static void op_stat(void)
{
	struct ops_file *f = ops_pick();
	struct stat st;
	nlink_t links = 0;

	if (!f)
		return;
	for (int i = 0; i < FILES_MAX; i++)
		links += ops.files[i].live && ops.files[i].same == f->same;
	DO(stat(f->path, &st));
	if ((size_t)st.st_size != ops_data(f)->bytes || st.st_nlink != links)
		ops_fail("%s: size %jd, %ju links; not %zu, %ju", f->path, (intmax_t)st.st_size,
			 (uintmax_t)st.st_nlink, ops_data(f)->bytes, (uintmax_t)links);
}

static void (*const ops_table[])(void) = {
    op_create,   op_create, op_write, op_write,  op_write,    op_append, op_read,   op_read,  op_read, op_map,
    op_truncate, op_punch,  op_copy,  op_rename, op_exchange, op_link,   op_unlink, op_mkdir, op_stat,
};

/* --- lists --- */

static unsigned char *ops_load(const char *path, size_t *bytes)
{
	unsigned char *data = malloc(BYTES_MAX + 1);
	int fd = (int)DO(open(path, O_RDONLY));
	ssize_t n;

	if (!data)
		ops_fail("memory");
	for (*bytes = 0; (n = DO(read(fd, data + *bytes, BYTES_MAX + 1 - *bytes))) > 0;)
		*bytes += (size_t)n;
	DO(close(fd));
	return data;
}

static int ops_run(const char *dir, uint64_t seed, unsigned long count, const char *list)
{
	FILE *out = fopen(list, "w");

	if (!out || chdir(dir) < 0)
		ops_fail("%s or %s", list, dir);
	ops.random = seed * 2654435761u + 1;
	for (int i = 0; i < FILES_MAX; i++) {
		ops.files[i].same = i;
		ops.files[i].data = malloc(BYTES_MAX);
		if (!ops.files[i].data)
			ops_fail("memory");
	}
	strcpy(ops.dirs[ops.dir_count++], ".");
	for (ops.step = 1; ops.step <= count; ops.step++)
		ops_table[ops_random(sizeof(ops_table) / sizeof(ops_table[0]))]();
	for (int i = 0; i < FILES_MAX; i++) {
		struct ops_file *f = &ops.files[i];
		unsigned char *data;
		size_t bytes;

		if (!f->live)
			continue;
		data = ops_load(f->path, &bytes);
		if (bytes != ops_data(f)->bytes)
			ops_fail("%s has %zu bytes, not %zu", f->path, bytes, ops_data(f)->bytes);
		ops_compare(f, data, 0, bytes, "read");
		fprintf(out, "%s %zu %016" PRIx64 "\n", f->path, bytes, ops_sum(data, bytes));
		free(data);
	}
	if (fclose(out) != 0)
		ops_fail("%s", list);
	return 0;
}

static int ops_check(const char *dir, const char *list)
{
	char path[PATH_BYTES];
	FILE *in = fopen(list, "r");
	size_t bytes, want;
	uint64_t sum;

	if (!in || chdir(dir) < 0)
		ops_fail("%s or %s", list, dir);
	while (fscanf(in, "%63s %zu %" SCNx64, path, &want, &sum) == 3) {
		unsigned char *data = ops_load(path, &bytes);

		ops.step++;
		if (bytes != want || ops_sum(data, bytes) != sum)
			ops_fail("%s: %zu bytes, not %zu, or another content", path, bytes, want);
		free(data);
	}
	fclose(in);
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 6 && strcmp(argv[1], "run") == 0)
		return ops_run(argv[2], strtoull(argv[3], NULL, 10), strtoul(argv[4], NULL, 10), argv[5]);
	if (argc == 4 && strcmp(argv[1], "check") == 0)
		return ops_check(argv[2], argv[3]);
	fputs("usage: fsops run DIR SEED COUNT LIST\n       fsops check DIR LIST\n", stderr);
	return 2;
}
