/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading and writing: by call, by mapping, from several places at once. */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#define DATA_MIB (1024 * 1024)

static void data_write_read(void)
{
	char data[10000];
	char found[sizeof(data)];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	conf_fill(data, sizeof(data), 2);
	for (size_t done = 0; done < sizeof(data); done += 1000)
		EQ(write(fd, data + done, 1000), 1000);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	for (size_t done = 0; done < sizeof(data); done += 2500)
		EQ(read(fd, found + done, 2500), 2500);
	EQ(read(fd, found, 1), 0);
	conf_read_all(fd, found, 2500, 0);
	CHECK(memcmp(data, found, sizeof(data)) == 0);
	OK(close(fd));
}

static void data_end_of_file(void)
{
	conf_write_file("f", "12345", 5);
	int fd = OK(open("f", O_RDWR));
	char found[100];

	EQ(pread(fd, found, sizeof(found), 0), 5);
	EQ(pread(fd, found, sizeof(found), 4), 1);
	EQ(pread(fd, found, sizeof(found), 5), 0);
	EQ(pread(fd, found, sizeof(found), 1000000), 0);
	EQ(pread(fd, found, 0, 0), 0);
	EQ(pwrite(fd, found, 0, 100), 0);
	FAILS(EINVAL, pread(fd, found, 1, -1));
	EQ(conf_lstat("f").st_size, 5);
	OK(close(fd));
}

static void data_hole(void)
{
	char zeros[4096] = {0};
	char found[sizeof(zeros)];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	conf_write_all(fd, "end", 3, 3 * DATA_MIB);
	EQ(conf_lstat("f").st_size, 3 * DATA_MIB + 3);
	for (off_t at = 0; at < 3 * DATA_MIB; at += 512 * 1024) {
		conf_fill(found, sizeof(found), 1);
		conf_read_all(fd, found, sizeof(found), at);
		CHECK(memcmp(found, zeros, sizeof(zeros)) == 0);
	}
	conf_write_all(fd, "mid", 3, DATA_MIB + 7);
	conf_read_all(fd, found, 12, DATA_MIB);
	CHECK(memcmp(found, "\0\0\0\0\0\0\0mid\0\0", 12) == 0);
	OK(close(fd));
}

static void data_sparse_far(void)
{
	const off_t far = (off_t)1 << 40;
	char found[4];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	conf_write_all(fd, "far!", 4, far);
	EQ(conf_lstat("f").st_size, far + 4);
	CHECK(conf_lstat("f").st_blocks < 1024);
	conf_read_all(fd, found, 4, far);
	CHECK(memcmp(found, "far!", 4) == 0);
	EQ(pread(fd, found, 4, far - 4), 4);
	CHECK(memcmp(found, "\0\0\0\0", 4) == 0);
	OK(close(fd));
}

static void data_large_blocks(void)
{
	static const size_t sizes[] = {DATA_MIB, DATA_MIB + 4096, 2 * DATA_MIB + 1, 5 * DATA_MIB - 3};
	size_t largest = 5 * DATA_MIB;
	char *data = conf_alloc(largest);
	char *found = conf_alloc(largest);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int fd = OK(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));

		conf_fill(data, sizes[i], (unsigned int)i);
		EQ(pwrite(fd, data, sizes[i], 0), sizes[i]);
		EQ(pread(fd, found, largest, 0), sizes[i]);
		CHECK(memcmp(data, found, sizes[i]) == 0);
		/* Again past the page cache of this open. */
		OK(fsync(fd));
		OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
		memset(found, 0, sizes[i]);
		EQ(pread(fd, found, largest, 0), sizes[i]);
		CHECK(memcmp(data, found, sizes[i]) == 0);
		OK(close(fd));
	}
	free(data);
	free(found);
}

static void data_unaligned_buffers(void)
{
	const size_t size = 300 * 1000;
	char *data = conf_alloc(size + 64);
	char *found = conf_alloc(size + 64);
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	for (size_t shift = 1; shift < 64; shift += 21) {
		conf_fill(data + shift, size, (unsigned int)shift);
		conf_write_all(fd, data + shift, size, (off_t)shift);
		conf_read_all(fd, found + 64 - shift, size, (off_t)shift);
		CHECK(memcmp(data + shift, found + 64 - shift, size) == 0);
	}
	OK(close(fd));
	free(data);
	free(found);
}

/* Random writes, truncations and reads, beside a copy in memory that says what must be found. */
static void data_random_model(void)
{
	const uint32_t limit = 400 * 1000;
	char *model = conf_alloc(limit);
	char *buffer = conf_alloc(limit);
	uint32_t state = 20240117, size = 0;
	int fds[2] = {OK(open("f", O_RDWR | O_CREAT, 0644)), OK(open("f", O_RDWR))};

	for (int step = 0; step < 600; step++) {
		int fd = fds[conf_random(&state, 2)];
		uint32_t at = conf_random(&state, limit - 1);
		uint32_t length = 1 + conf_random(&state, conf_random(&state, 8) ? 5000 : limit - at);

		if (length > limit - at)
			length = limit - at;
		switch (conf_random(&state, 5)) {
		case 0:
			OK(ftruncate(fd, at));
			if (at < size)
				memset(model + at, 0, size - at);
			size = at;
			break;
		case 1:
		case 2:
			conf_fill(buffer, length, (unsigned int)step);
			memcpy(model + at, buffer, length);
			conf_write_all(fd, buffer, length, at);
			size = at + length > size ? at + length : size;
			break;
		default:
			EQ(pread(fd, buffer, length, at), at >= size           ? 0
							  : length < size - at ? length
									       : size - at);
			CHECK(at >= size ||
			      memcmp(buffer, model + at, length < size - at ? length : size - at) == 0);
		}
	}
	conf_expect_file("f", model, size);
	OK(close(fds[0]));
	OK(close(fds[1]));
	free(model);
	free(buffer);
}

static void data_vectors(void)
{
	char a[3] = "abc", b[5000], c[1] = "z", found[5004];
	struct iovec out[] = {{a, 3}, {b, sizeof(b)}, {NULL, 0}, {c, 1}};
	struct iovec in[] = {{found, 1}, {found + 1, 4999}, {found + 5000, 4}};
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	conf_fill(b, sizeof(b), 5);
	EQ(pwritev(fd, out, 4, 10), 5004);
	EQ(preadv(fd, in, 3, 10), 5004);
	CHECK(memcmp(found, a, 3) == 0 && memcmp(found + 3, b, sizeof(b)) == 0 && found[5003] == 'z');
	EQ(conf_lstat("f").st_size, 5014);
	OK(close(fd));
}

static void data_appenders_in_processes(void)
{
	enum { writers = 4, lines = 50 };
	pid_t pids[writers];
	int fd = OK(open("f", O_RDONLY | O_CREAT, 0644));

	for (int w = 0; w < writers; w++) {
		pids[w] = conf_fork();
		if (pids[w] == 0) {
			int own = OK(open("f", O_WRONLY | O_APPEND));
			char line[16];

			memset(line, 'a' + w, sizeof(line));
			for (int i = 0; i < lines; i++)
				EQ(write(own, line, sizeof(line)), sizeof(line));
			_exit(0);
		}
	}
	for (int w = 0; w < writers; w++)
		conf_join(pids[w]);
	int counts[writers] = {0};
	for (int i = 0; i < writers * lines; i++) {
		char line[16];

		conf_read_all(fd, line, sizeof(line), i * (off_t)sizeof(line));
		for (size_t k = 1; k < sizeof(line); k++)
			EQ(line[k], line[0]);
		CHECK(line[0] >= 'a' && line[0] < 'a' + writers);
		counts[line[0] - 'a']++;
	}
	for (int w = 0; w < writers; w++)
		EQ(counts[w], lines);
	EQ(conf_lstat("f").st_size, writers * lines * 16);
	OK(close(fd));
}

static void data_between_processes(void)
{
	int there[2], back[2];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	char found[8];

	conf_pipe(there);
	conf_pipe(back);
	pid_t pid = conf_fork();
	if (pid == 0) {
		int own = OK(open("f", O_RDWR));

		conf_await(there[0]);
		conf_read_all(own, found, 4, 100);
		CHECK(memcmp(found, "ping", 4) == 0);
		conf_write_all(own, "pong", 4, 5000);
		conf_signal(back[1]);
		_exit(0);
	}
	conf_write_all(fd, "ping", 4, 100);
	conf_signal(there[1]);
	conf_await(back[0]);
	conf_read_all(fd, found, 4, 5000);
	CHECK(memcmp(found, "pong", 4) == 0);
	conf_join(pid);
	OK(close(fd));
}

static void data_mmap_read(void)
{
	const size_t size = 70 * 1000;
	char *data = conf_alloc(size);

	conf_fill(data, size, 11);
	conf_write_file("f", data, size);
	int fd = OK(open("f", O_RDONLY));
	char *map = conf_map_shared(fd, size, PROT_READ);
	OK(close(fd));
	CHECK(memcmp(map, data, size) == 0);
	/* The rest of the last page reads as zeros. */
	for (size_t i = size; i % 4096 != 0; i++)
		EQ(map[i], 0);
	OK(munmap(map, size));
	free(data);
}

static void data_mmap_write(void)
{
	const size_t size = 5 * 4096;
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	char found[16];

	OK(ftruncate(fd, (off_t)size));
	char *map = conf_map_shared(fd, size, PROT_READ | PROT_WRITE);
	memcpy(map + 4090, "across two pages", 16);
	conf_read_all(fd, found, 16, 4090);
	CHECK(memcmp(found, "across two pages", 16) == 0);
	OK(msync(map, size, MS_SYNC));
	conf_write_all(fd, "by call", 7, 100);
	CHECK(memcmp(map + 100, "by call", 7) == 0);
	map[size - 1] = '!';
	OK(munmap(map, size));
	OK(close(fd));
	fd = OK(open("f", O_RDONLY));
	conf_read_all(fd, found, 1, (off_t)size - 1);
	EQ(found[0], '!');
	conf_read_all(fd, found, 16, 4090);
	CHECK(memcmp(found, "across two pages", 16) == 0);
	OK(close(fd));
}

static void data_mmap_after_close_and_unlink(void)
{
	conf_write_file("f", "mapped text", 11);
	int fd = OK(open("f", O_RDWR));
	char *map = conf_map_shared(fd, 4096, PROT_READ | PROT_WRITE);

	OK(close(fd));
	OK(unlink("f"));
	CHECK(memcmp(map, "mapped text", 11) == 0);
	map[0] = 'M';
	OK(msync(map, 4096, MS_SYNC));
	EQ(map[0], 'M');
	OK(munmap(map, 4096));
}

/* What is stored in a mapping has its place, also where the file was opened to append. */
static void data_mmap_append(void)
{
	char data[5000], found[sizeof(data)];
	struct statx stx;
	int fd = OK(open("f", O_RDWR | O_CREAT | O_APPEND, 0644));

	conf_fill(data, sizeof(data), 12);
	EQ(write(fd, data, sizeof(data)), sizeof(data));
	OK(fsync(fd));
	char *map = conf_map_shared(fd, sizeof(data), PROT_READ | PROT_WRITE);
	memcpy(map, "stored", 6);
	memcpy(data, "stored", 6);
	OK(msync(map, sizeof(data), MS_SYNC));
	OK(munmap(map, sizeof(data)));
	OK(statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_SIZE, &stx));
	EQ(stx.stx_size, sizeof(data));
	OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	conf_read_all(fd, found, sizeof(found), 0);
	CHECK(memcmp(found, data, sizeof(data)) == 0);
	OK(close(fd));
}

static void data_mmap_private(void)
{
	conf_write_file("f", "original", 8);
	int fd = OK(open("f", O_RDONLY));
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	CHECK(map != MAP_FAILED);
	map[0] = 'O';
	OK(munmap(map, 4096));
	OK(close(fd));
	conf_expect_file("f", "original", 8);
}

static void data_mmap_between_processes(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));

	OK(ftruncate(fd, 4096));
	pid_t pid = conf_fork();
	if (pid == 0) {
		int own = OK(open("f", O_RDWR));
		char *map = conf_map_shared(own, 4096, PROT_READ | PROT_WRITE);

		memcpy(map + 64, "child", 5);
		_exit(0);
	}
	conf_join(pid);
	char *map = conf_map_shared(fd, 4096, PROT_READ);
	CHECK(memcmp(map + 64, "child", 5) == 0);
	OK(munmap(map, 4096));
	OK(close(fd));
}

static void data_sendfile(void)
{
	const size_t size = 200 * 1000;
	char *data = conf_alloc(size);
	off_t at = 0;

	conf_fill(data, size, 6);
	conf_write_file("from", data, size);
	int from = OK(open("from", O_RDONLY));
	int to = OK(open("to", O_WRONLY | O_CREAT, 0644));
	while (at < (off_t)size)
		CHECK(sendfile(to, from, &at, size - (size_t)at) > 0);
	OK(close(from));
	OK(close(to));
	conf_expect_file("to", data, size);
	free(data);
}

static void data_copy_file_range(void)
{
	const size_t size = 100 * 1000;
	char *data = conf_alloc(size);
	loff_t in = 1000, out = 50;

	conf_fill(data, size, 4);
	conf_write_file("from", data, size);
	int from = OK(open("from", O_RDONLY));
	int to = OK(open("to", O_RDWR | O_CREAT, 0644));
	while (in < (loff_t)size) {
		ssize_t done = copy_file_range(from, &in, to, &out, size - (size_t)in, 0);

		if (done < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EXDEV))
			conf_skip("no copy_file_range here");
		CHECK(done > 0);
	}
	EQ(conf_lstat("to").st_size, size - 1000 + 50);
	char *found = conf_alloc(size);
	conf_read_all(to, found, size - 1000, 50);
	CHECK(memcmp(found, data + 1000, size - 1000) == 0);
	OK(close(from));
	OK(close(to));
	free(data);
	free(found);
}

static void data_sync_calls(void)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	int dir = OK(open(".", O_RDONLY | O_DIRECTORY));

	for (int i = 0; i < 5; i++) {
		conf_write_all(fd, "data", 4, i * 4);
		OK(fdatasync(fd));
		OK(fsync(fd));
	}
	OK(fsync(dir));
	OK(syncfs(dir));
	OK(close(dir));
	OK(close(fd));
}

static void data_execute(void)
{
	char buffer[65536];
	int from = OK(open("/proc/self/exe", O_RDONLY));
	int to = OK(open("program", O_WRONLY | O_CREAT, 0755));
	ssize_t got;

	while ((got = OK(read(from, buffer, sizeof(buffer)))) > 0)
		EQ(write(to, buffer, (size_t)got), got);
	OK(close(from));
	OK(close(to));
	pid_t pid = conf_fork();
	if (pid == 0) {
		int null = OK(open("/dev/null", O_WRONLY));

		OK(dup2(null, STDOUT_FILENO));
		execl("./program", "program", "--list", (char *)NULL);
		_exit(1);
	}
	conf_join(pid);
	OK(chmod("program", 0644));
	FAILS(EACCES, execl("./program", "program", "--list", (char *)NULL));
}

static void data_many_small_files(void)
{
	char name[32], text[32];

	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		int length = snprintf(text, sizeof(text), "content of %d", i);
		conf_write_file(name, text, (size_t)length);
	}
	for (int i = 499; i >= 0; i--) {
		snprintf(name, sizeof(name), "file-%d", i);
		int length = snprintf(text, sizeof(text), "content of %d", i);
		conf_expect_file(name, text, (size_t)length);
		OK(unlink(name));
	}
}

const struct conf_case conf_data_cases[] = {
    {"data_write_read", data_write_read},
    {"data_end_of_file", data_end_of_file},
    {"data_hole", data_hole},
    {"data_sparse_far", data_sparse_far},
    {"data_large_blocks", data_large_blocks},
    {"data_unaligned_buffers", data_unaligned_buffers},
    {"data_random_model", data_random_model},
    {"data_vectors", data_vectors},
    {"data_appenders_in_processes", data_appenders_in_processes},
    {"data_between_processes", data_between_processes},
    {"data_mmap_read", data_mmap_read},
    {"data_mmap_write", data_mmap_write},
    {"data_mmap_after_close_and_unlink", data_mmap_after_close_and_unlink},
    {"data_mmap_append", data_mmap_append},
    {"data_mmap_private", data_mmap_private},
    {"data_mmap_between_processes", data_mmap_between_processes},
    {"data_sendfile", data_sendfile},
    {"data_copy_file_range", data_copy_file_range},
    {"data_sync_calls", data_sync_calls},
    {"data_execute", data_execute},
    {"data_many_small_files", data_many_small_files},
    {NULL, NULL},
};
