/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the fuzzers share: the input as a stream, and a way to say that something must not be.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)                                                                                           \
	do {                                                                                                 \
		if (!(cond)) {                                                                               \
			fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #cond);                \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

/** Input that is used up reads as zero. */
struct fuzz_in {
	const uint8_t *at, *end;
};

static inline size_t fuzz_left(const struct fuzz_in *in)
{
	return (size_t)(in->end - in->at);
}

static inline size_t fuzz_take(struct fuzz_in *in, void *to, size_t bytes)
{
	size_t n = fuzz_left(in) < bytes ? fuzz_left(in) : bytes;

	if (n)
		memcpy(to, in->at, n);
	memset((char *)to + n, 0, bytes - n);
	in->at += n;
	return n;
}

static inline uint8_t fuzz_byte(struct fuzz_in *in)
{
	uint8_t b;

	fuzz_take(in, &b, 1);
	return b;
}

#endif
