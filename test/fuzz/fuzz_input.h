/* SPDX-License-Identifier: BSD-3-Clause */
/* The input of fuzzers of one request: room for the answer (4 bytes), the segments' sizes (2 bytes each), then the request from its header on. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include "fuzz_rig.h"

static inline struct fz_msg fuzz_input(const uint8_t *data, size_t size)
{
	static uint8_t bytes[FZ_BYTES];
	struct fuzz_in in = {data, data + size};
	struct fz_msg m = {.in = bytes};
	struct {
		uint32_t room;
		uint16_t in_piece, out_piece;
	} shape;

	fuzz_take(&in, &shape, sizeof(shape));
	m.in_piece = shape.in_piece;
	m.out_piece = shape.out_piece;
	m.out_bytes = shape.room % (FZ_BYTES + 1);
	m.in_bytes = (uint32_t)SFS_MIN(fuzz_left(&in), sizeof(bytes));
	fuzz_take(&in, bytes, m.in_bytes);
	return m;
}

#endif
