/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes: stat, mode, owner, times. Times that the filesystem sets come from the host's clock. */
#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void attr_stat_fields(void)
{
	conf_write_file("f", "12345", 5);
	struct stat st = conf_lstat("f");
	struct stat dir = conf_lstat(".");
	struct stat fst;
	int fd = OK(open("f", O_RDONLY));

	EQ(st.st_mode, S_IFREG | 0644);
	EQ(st.st_size, 5);
	EQ(st.st_nlink, 1);
	EQ(st.st_uid, geteuid());
	EQ(st.st_gid, getegid());
	EQ(st.st_dev, dir.st_dev);
	CHECK(st.st_ino != 0 && st.st_ino != dir.st_ino);
	CHECK(st.st_mtim.tv_nsec >= 0 && st.st_mtim.tv_nsec < 1000000000);
	CHECK(S_ISDIR(dir.st_mode));
	OK(fstat(fd, &fst));
	EQ(fst.st_ino, st.st_ino);
	EQ(fst.st_mtim.tv_nsec, st.st_mtim.tv_nsec);
	OK(close(fd));
	FAILS(ENOENT, lstat("none", &st));
	FAILS(ENOTDIR, lstat("f/x", &st));
}

static void attr_statx(void)
{
	struct statx stx;

	conf_write_file("f", "12345", 5);
	OK(statx(AT_FDCWD, "f", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx));
	CHECK((stx.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	EQ(stx.stx_size, 5);
	EQ(stx.stx_ino, conf_lstat("f").st_ino);
	OK(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_SIZE, &stx));
	EQ(stx.stx_size, 5);
}

static void attr_inodes_differ(void)
{
	conf_write_file("a", "", 0);
	conf_write_file("b", "", 0);
	ino_t a = conf_lstat("a").st_ino;

	CHECK(a != conf_lstat("b").st_ino);
	OK(truncate("a", 100));
	OK(chmod("a", 0600));
	EQ(conf_lstat("a").st_ino, a);
}

static void attr_chmod(void)
{
	static const mode_t modes[] = {0, 0777, 0644, 01777, 04755, 02755, 06711, 0400};

	conf_write_file("f", "", 0);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		OK(chmod("f", modes[i]));
		EQ(conf_lstat("f").st_mode, S_IFREG | modes[i]);
	}
	int fd = OK(open("f", O_RDONLY));
	OK(fchmod(fd, 0750));
	EQ(conf_lstat("f").st_mode, S_IFREG | 0750);
	OK(close(fd));
	OK(mkdir("d", 0755));
	OK(chmod("d", 01777));
	EQ(conf_lstat("d").st_mode, S_IFDIR | 01777);
	FAILS(ENOENT, chmod("none", 0644));
	OK(symlink("f", "s"));
	OK(chmod("s", 0600));
	EQ(conf_lstat("f").st_mode, S_IFREG | 0600);
}

static void attr_chown(void)
{
	conf_need_root();
	conf_write_file("f", "", 0);
	OK(chown("f", CONF_USER, CONF_OTHER_USER));
	EQ(conf_lstat("f").st_uid, CONF_USER);
	EQ(conf_lstat("f").st_gid, CONF_OTHER_USER);
	OK(chown("f", (uid_t)-1, 7));
	EQ(conf_lstat("f").st_uid, CONF_USER);
	EQ(conf_lstat("f").st_gid, 7);
	OK(chown("f", 8, (gid_t)-1));
	EQ(conf_lstat("f").st_uid, 8);
	EQ(conf_lstat("f").st_gid, 7);
	OK(symlink("f", "s"));
	OK(lchown("s", CONF_USER, CONF_USER));
	EQ(conf_lstat("s").st_uid, CONF_USER);
	EQ(conf_lstat("f").st_uid, 8);
	OK(chown("s", 9, 9));
	EQ(conf_lstat("f").st_uid, 9);
	int fd = OK(open("f", O_RDONLY));
	OK(fchown(fd, 0, 0));
	EQ(conf_lstat("f").st_uid, 0);
	OK(close(fd));
}

static void attr_chown_drops_suid(void)
{
	conf_need_root();
	conf_write_file("f", "", 0);
	OK(chmod("f", 06755));
	OK(chown("f", CONF_USER, CONF_USER));
	EQ(conf_lstat("f").st_mode, S_IFREG | 0755);
}

static void attr_write_as_user(void)
{
	int fd = OK(open("f", O_WRONLY));

	conf_write_all(fd, "x", 1, 0);
	OK(close(fd));
}

static void attr_truncate_as_user(void)
{
	OK(truncate("f", 0));
}

static void attr_write_drops_suid(void)
{
	conf_need_root();
	conf_write_file("f", "data", 4);
	OK(chmod("f", 06777));
	conf_run_as(CONF_USER, CONF_USER, attr_write_as_user);
	EQ(conf_lstat("f").st_mode, S_IFREG | 0777);
	OK(chmod("f", 06777));
	conf_run_as(CONF_USER, CONF_USER, attr_truncate_as_user);
	EQ(conf_lstat("f").st_mode, S_IFREG | 0777);
}

static void attr_fallocate_as_user(void)
{
	int fd = OK(open("f", O_WRONLY));

	if (fallocate(fd, 0, 0, 8192) < 0 && errno == EOPNOTSUPP)
		conf_skip("no fallocate here");
	OK(close(fd));
	EQ(conf_lstat("f").st_size, 8192);
}

static void attr_fallocate_drops_suid(void)
{
	conf_need_root();
	conf_write_file("f", "data", 4);
	OK(chmod("f", 06777));
	conf_run_as(CONF_USER, CONF_USER, attr_fallocate_as_user);
	EQ(conf_lstat("f").st_mode, S_IFREG | 0777);
}

static void attr_copy_as_user(void)
{
	int from = OK(open("from", O_RDONLY)), to = OK(open("f", O_WRONLY));
	ssize_t done = copy_file_range(from, NULL, to, NULL, 4, 0);

	if (done < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EXDEV))
		conf_skip("no copy_file_range here");
	EQ(done, 4);
	OK(close(from));
	OK(close(to));
}

static void attr_copy_drops_suid(void)
{
	conf_need_root();
	conf_write_file("from", "data", 4);
	conf_write_file("f", "", 0);
	OK(chmod("f", 06777));
	conf_run_as(CONF_USER, CONF_USER, attr_copy_as_user);
	EQ(conf_lstat("f").st_mode, S_IFREG | 0777);
	conf_expect_file("f", "data", 4);
}

static void attr_times_set(void)
{
	const struct timespec times[2] = {{1234567890, 123456789}, {987654321, 999999999}};

	conf_write_file("f", "", 0);
	OK(utimensat(AT_FDCWD, "f", times, 0));
	struct stat st = conf_lstat("f");
	EQ(st.st_atim.tv_sec, 1234567890);
	EQ(st.st_atim.tv_nsec, 123456789);
	EQ(st.st_mtim.tv_sec, 987654321);
	EQ(st.st_mtim.tv_nsec, 999999999);
	int fd = OK(open("f", O_RDONLY));
	const struct timespec again[2] = {{1, 1}, {2, 2}};
	OK(futimens(fd, again));
	st = conf_lstat("f");
	EQ(st.st_atim.tv_nsec, 1);
	EQ(st.st_mtim.tv_sec, 2);
	OK(close(fd));
}

static void attr_times_now_omit(void)
{
	const struct timespec old[2] = {{1000, 5}, {2000, 6}};
	const struct timespec only_atime[2] = {{3000, 7}, {0, UTIME_OMIT}};
	const struct timespec only_mtime_now[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
	const struct timespec neither[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};

	conf_write_file("f", "", 0);
	OK(utimensat(AT_FDCWD, "f", old, 0));
	OK(utimensat(AT_FDCWD, "f", only_atime, 0));
	EQ(conf_lstat("f").st_atim.tv_sec, 3000);
	EQ(conf_lstat("f").st_mtim.tv_sec, 2000);
	EQ(conf_lstat("f").st_mtim.tv_nsec, 6);
	OK(utimensat(AT_FDCWD, "f", only_mtime_now, 0));
	EQ(conf_lstat("f").st_atim.tv_sec, 3000);
	CHECK(conf_lstat("f").st_mtim.tv_sec > 1000000000);
	time_t now = conf_lstat("f").st_mtim.tv_sec;
	OK(utimensat(AT_FDCWD, "f", neither, 0));
	EQ(conf_lstat("f").st_atim.tv_sec, 3000);
	EQ(conf_lstat("f").st_mtim.tv_sec, now);
	OK(utimensat(AT_FDCWD, "f", NULL, 0));
	CHECK(conf_lstat("f").st_atim.tv_sec > 1000000000);
}

static void attr_times_of_symlink(void)
{
	const struct timespec old[2] = {{1000, 0}, {2000, 0}};

	conf_write_file("f", "", 0);
	OK(symlink("f", "s"));
	OK(utimensat(AT_FDCWD, "s", old, AT_SYMLINK_NOFOLLOW));
	EQ(conf_lstat("s").st_mtim.tv_sec, 2000);
	CHECK(conf_lstat("f").st_mtim.tv_sec > 1000000000);
}

static void attr_times_beyond_2038(void)
{
	const struct timespec late[2] = {{5000000000, 1}, {5000000001, 2}};

	conf_write_file("f", "", 0);
	OK(utimensat(AT_FDCWD, "f", late, 0));
	struct stat st = conf_lstat("f");
	if (st.st_mtim.tv_sec == INT32_MAX)
		conf_skip("this filesystem ends in 2038");
	EQ(st.st_atim.tv_sec, 5000000000);
	EQ(st.st_mtim.tv_sec, 5000000001);
}

static void attr_write_changes_mtime(void)
{
	const struct timespec old[2] = {{1000, 0}, {1000, 0}};

	conf_write_file("f", "data", 4);
	OK(utimensat(AT_FDCWD, "f", old, 0));
	int fd = OK(open("f", O_WRONLY));
	EQ(conf_lstat("f").st_mtim.tv_sec, 1000);
	conf_write_all(fd, "x", 1, 0);
	OK(fsync(fd));
	CHECK(conf_lstat("f").st_mtim.tv_sec > 1000000000);
	OK(close(fd));
	OK(utimensat(AT_FDCWD, "f", old, 0));
	EQ(conf_lstat("f").st_mtim.tv_sec, 1000);
}

static bool attr_not_before(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec >= b.tv_nsec);
}

static void attr_ctime_follows_changes(void)
{
	conf_write_file("f", "", 0);
	struct timespec before = conf_lstat("f").st_ctim;

	OK(chmod("f", 0600));
	struct timespec after = conf_lstat("f").st_ctim;
	CHECK(attr_not_before(after, before));
	OK(link("f", "g"));
	CHECK(attr_not_before(conf_lstat("f").st_ctim, after));
	EQ(conf_lstat("f").st_ctim.tv_nsec, conf_lstat("g").st_ctim.tv_nsec);
}

static void attr_size_seen_by_others(void)
{
	int fd = OK(open("f", O_WRONLY | O_CREAT | O_APPEND, 0644));

	for (int i = 1; i <= 100; i++) {
		EQ(write(fd, "0123456789", 10), 10);
		EQ(conf_lstat("f").st_size, i * 10);
	}
	OK(close(fd));
}

static void attr_setgid_directory(void)
{
	conf_need_root();
	OK(mkdir("d", 0755));
	OK(chown("d", 0, CONF_OTHER_USER));
	OK(chmod("d", 02775));
	conf_write_file("d/f", "", 0);
	EQ(conf_lstat("d/f").st_gid, CONF_OTHER_USER);
	OK(mkdir("d/e", 0755));
	EQ(conf_lstat("d/e").st_gid, CONF_OTHER_USER);
	EQ(conf_lstat("d/e").st_mode, S_IFDIR | 02755);
	OK(symlink("x", "d/s"));
	EQ(conf_lstat("d/s").st_gid, CONF_OTHER_USER);
	OK(mknod("d/p", S_IFIFO | 0644, 0));
	EQ(conf_lstat("d/p").st_gid, CONF_OTHER_USER);
}

const struct conf_case conf_attr_cases[] = {
    {"attr_stat_fields", attr_stat_fields},
    {"attr_statx", attr_statx},
    {"attr_inodes_differ", attr_inodes_differ},
    {"attr_chmod", attr_chmod},
    {"attr_chown", attr_chown},
    {"attr_chown_drops_suid", attr_chown_drops_suid},
    {"attr_write_drops_suid", attr_write_drops_suid},
    {"attr_fallocate_drops_suid", attr_fallocate_drops_suid},
    {"attr_copy_drops_suid", attr_copy_drops_suid},
    {"attr_times_set", attr_times_set},
    {"attr_times_now_omit", attr_times_now_omit},
    {"attr_times_of_symlink", attr_times_of_symlink},
    {"attr_times_beyond_2038", attr_times_beyond_2038},
    {"attr_write_changes_mtime", attr_write_changes_mtime},
    {"attr_ctime_follows_changes", attr_ctime_follows_changes},
    {"attr_size_seen_by_others", attr_size_seen_by_others},
    {"attr_setgid_directory", attr_setgid_directory},
    {NULL, NULL},
};
