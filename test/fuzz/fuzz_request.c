/* SPDX-License-Identifier: BSD-3-Clause */
/* One request of any bytes, in segments of any size, with any room for the answer. */
#include "fuzz_input.h"
#include "fuzz_mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz_msg m = fuzz_input(data, size);

	fz_begin(&fuzz_mem);
	fz_request(&m);
	fz_end(&fuzz_mem);
	return 0;
}
