/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * User-Mode Linux of 6.1 to 6.12 keeps a guest's floating point state in a buffer that is smaller than the
 * XSAVE area of a CPU with AMX, and the host's kernel refuses to set a part of that area (EFAULT). Preloaded
 * into it, this module stands between it and ptrace(2): it always moves the whole area and shows User-Mode
 * Linux the first iov_len bytes. The rest belongs to state that no program in the guest has asked for.
 */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long (*uml_ptrace_fn)(int request, pid_t pid, void *addr, void *data);

long ptrace(enum __ptrace_request request, ...);

/* Static: the callers run on the small stacks of the guest's kernel, and only its one CPU calls. */
static _Alignas(64) unsigned char uml_area[32 * 1024];
static uml_ptrace_fn uml_real;

__attribute__((constructor)) static void uml_resolve(void)
{
	void *symbol = dlsym(RTLD_NEXT, "ptrace");

	if (!symbol)
		abort();
	memcpy(&uml_real, &symbol, sizeof(uml_real));
}

static long uml_get(pid_t pid, void *type, struct iovec *iov)
{
	struct iovec whole = {.iov_base = uml_area, .iov_len = sizeof(uml_area)};
	long rc = uml_real(PTRACE_GETREGSET, pid, type, &whole);

	if (rc < 0)
		return rc;
	if (iov->iov_len > whole.iov_len)
		iov->iov_len = whole.iov_len;
	memcpy(iov->iov_base, uml_area, iov->iov_len);
	return rc;
}

static long uml_set(pid_t pid, void *type, struct iovec *iov)
{
	struct iovec whole = {.iov_base = uml_area, .iov_len = sizeof(uml_area)};
	long rc = uml_real(PTRACE_GETREGSET, pid, type, &whole);

	if (rc < 0)
		return rc;
	memcpy(uml_area, iov->iov_base, iov->iov_len < whole.iov_len ? iov->iov_len : whole.iov_len);
	return uml_real(PTRACE_SETREGSET, pid, type, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list ap;
	va_start(ap, request);
	pid_t pid = va_arg(ap, pid_t);
	void *addr = va_arg(ap, void *);
	void *data = va_arg(ap, void *);
	va_end(ap);

	if ((unsigned long)addr == NT_X86_XSTATE) {
		if (request == PTRACE_GETREGSET)
			return uml_get(pid, addr, data);
		if (request == PTRACE_SETREGSET)
			return uml_set(pid, addr, data);
	}
	return uml_real(request, pid, addr, data);
}
