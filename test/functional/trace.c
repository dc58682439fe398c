/* SPDX-License-Identifier: BSD-3-Clause */
#include "trace.h"

#include <dirent.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define IOV_MAX_READ 300
#define SQES_MAX     4096
#define SQES_OFFSET  0x10000000ull /* where the kernel maps the entries, IORING_OFF_SQES */

enum { STARTING, RUNNING, REFUSED, ENDING };

/* --- what calls point to --- */

static bool copy_in(const struct fn_trace *t, uint64_t at, void *to, size_t bytes)
{
	struct iovec local = {to, bytes}, remote = {(void *)(uintptr_t)at, bytes};

	return process_vm_readv(t->pid, &local, 1, &remote, 1, 0) == (ssize_t)bytes;
}

static void see_data(struct fn_trace *t, uint64_t at, uint64_t bytes)
{
	for (unsigned i = 0; i < t->guest_count; i++) {
		if (at >= t->guest[i].from && at + bytes <= t->guest[i].to) {
			t->inside++;
			return;
		}
	}
	t->outside++;
}

static void see_iov(struct fn_trace *t, uint64_t at, uint64_t count)
{
	struct iovec iov[IOV_MAX_READ];

	if (count > IOV_MAX_READ || !copy_in(t, at, iov, count * sizeof(iov[0])))
		return;
	for (uint64_t i = 0; i < count; i++)
		see_data(t, (uintptr_t)iov[i].iov_base, iov[i].iov_len);
}

static void see_iocbs(struct fn_trace *t, uint64_t at, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		struct iocb iocb;
		uint64_t p;

		if (!copy_in(t, at + i * sizeof(p), &p, sizeof(p)) || !copy_in(t, p, &iocb, sizeof(iocb)))
			continue;
		if (iocb.aio_lio_opcode == IOCB_CMD_PREADV || iocb.aio_lio_opcode == IOCB_CMD_PWRITEV)
			see_iov(t, iocb.aio_buf, iocb.aio_nbytes);
		else
			see_data(t, iocb.aio_buf, iocb.aio_nbytes);
	}
}

/* All entries that the rings hold; old ones were seen before and tell the same. */
static void see_sqes(struct fn_trace *t)
{
	static struct io_uring_sqe sqes[SQES_MAX];

	for (unsigned r = 0; r < t->sqes_count; r++) {
		uint64_t bytes = SFS_MIN(t->sqes[r].to - t->sqes[r].from, (uint64_t)sizeof(sqes));

		if (!copy_in(t, t->sqes[r].from, sqes, bytes))
			continue;
		for (uint64_t i = 0; i < bytes / sizeof(sqes[0]); i++) {
			if (sqes[i].opcode == IORING_OP_READV || sqes[i].opcode == IORING_OP_WRITEV)
				see_iov(t, sqes[i].addr, sqes[i].len);
			else if (sqes[i].opcode == IORING_OP_READ || sqes[i].opcode == IORING_OP_WRITE)
				see_data(t, sqes[i].addr, sqes[i].len);
		}
	}
}

static void see_call(struct fn_trace *t, pid_t tid, uint64_t nr, const uint64_t *args)
{
	bool reactor = tid == t->reactor;

	if (nr >= FN_TRACE_CALLS)
		return;
	(reactor ? t->on_reactor : t->elsewhere)[nr]++;
	switch (nr) {
	case SYS_preadv:
	case SYS_preadv2:
		if (reactor && !(nr == SYS_preadv2 && (args[5] & RWF_NOWAIT)))
			t->reactor_reads_that_wait++;
		see_iov(t, args[1], args[2]);
		break;
	case SYS_pwritev:
	case SYS_pwritev2:
		see_iov(t, args[1], args[2]);
		break;
	case SYS_pread64:
		if (reactor)
			t->reactor_reads_that_wait++;
		see_data(t, args[1], args[2]);
		break;
	case SYS_pwrite64:
		see_data(t, args[1], args[2]);
		break;
	case SYS_io_submit:
		see_iocbs(t, args[2], args[1]);
		break;
	case SYS_io_uring_enter:
		see_sqes(t);
		break;
	default:
		break;
	}
}

/* --- following --- */

static void read_maps(struct fn_trace *t)
{
	unsigned long long from, to, offset, ino;
	char path[64], line[512];

	snprintf(path, sizeof(path), "/proc/%d/maps", t->pid);
	FILE *f = fopen(path, "r");
	t->guest_count = t->sqes_count = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx %*s %llx %*s %llu", &from, &to, &offset, &ino) != 4)
			continue;
		if (ino == t->guest_ino && t->guest_count < SFS_ARRAY_SIZE(t->guest)) {
			t->guest[t->guest_count].from = from;
			t->guest[t->guest_count++].to = to;
		} else if (strstr(line, "[io_uring]") && offset == SQES_OFFSET &&
			   t->sqes_count < SFS_ARRAY_SIZE(t->sqes)) {
			t->sqes[t->sqes_count].from = from;
			t->sqes[t->sqes_count++].to = to;
		}
	}
	if (f)
		fclose(f);
}

static bool seize_all(struct fn_trace *t)
{
	char path[64];
	struct dirent *d;
	bool all = true;

	snprintf(path, sizeof(path), "/proc/%d/task", t->pid);
	DIR *dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		pid_t tid = atoi(d->d_name);

		if (tid <= 0)
			continue;
		all &= ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE) == 0 &&
		       ptrace(PTRACE_INTERRUPT, tid, 0, 0) == 0;
	}
	if (dir)
		closedir(dir);
	return dir && all;
}

static void handle_stop(struct fn_trace *t, pid_t tid, int status)
{
	struct __ptrace_syscall_info info;
	int sig = WSTOPSIG(status);

	if (sig == (SIGTRAP | 0x80)) {
		if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) > 0 &&
		    info.op == PTRACE_SYSCALL_INFO_ENTRY)
			see_call(t, tid, info.entry.nr, (const uint64_t *)(const void *)info.entry.args);
		sig = 0;
	} else if (status >> 16) { /* an event of ptrace's own */
		sig = 0;
	}
	ptrace(PTRACE_SYSCALL, tid, 0, sig);
}

static void *trace_main(void *arg)
{
	struct fn_trace *t = arg;
	bool ok;

	read_maps(t);
	ok = seize_all(t);
	atomic_store(&t->state, ok ? RUNNING : REFUSED);
	while (ok && atomic_load(&t->state) != ENDING) {
		int status;
		pid_t tid = waitpid(-1, &status, __WALL | __WNOTHREAD | WNOHANG);

		if (tid > 0 && WIFSTOPPED(status))
			handle_stop(t, tid, status);
		else if (tid <= 0)
			usleep(100);
	}
	/* The end of this thread lets all go. */
	return NULL;
}

void fn_trace_begin(struct fn_env *env, struct fn_trace *t, const struct sfs_fg *g)
{
	struct stat st;

	assert_int_equal(g->mem.region_count, 1);
	assert_int_equal(fstat(g->mem.region[0].fd, &st), 0);
	*t = (struct fn_trace){
	    .env = env, .pid = env->pid, .reactor = fn_thread(env, "sfs-r0"), .guest_ino = st.st_ino};
	assert_true(t->reactor > 0);
	assert_int_equal(pthread_create(&t->thread, NULL, trace_main, t), 0);
	fn_until(atomic_load(&t->state) != STARTING);
	if (atomic_load(&t->state) == REFUSED) {
		pthread_join(t->thread, NULL);
		fn_skip("ptrace is refused here");
	}
}

void fn_trace_end(struct fn_trace *t)
{
	atomic_store(&t->state, ENDING);
	pthread_join(t->thread, NULL);
	/* Its end lets go of them a moment after it can be joined. */
	fn_until(fn_status(t->env, t->reactor, "TracerPid:") == 0);
}
