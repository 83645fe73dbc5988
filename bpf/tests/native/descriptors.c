// SPDX-License-Identifier: GPL-2.0-only
/* The descriptor that comes next, beside looking at each in turn. */
#include "shim.h"

#include "descriptors.h"

static u32 one_by_one(u64 open, u32 from)
{
	for (u32 fd = from; fd / 64 == from / 64; fd++)
		if (!(open >> (fd % 64) & 1))
			return fd;
	return NO_DESCRIPTOR;
}

int main(void)
{
	u64 open = 0x9e3779b97f4a7c15ULL;

	assert(lowest_free(~0ULL, 0) == NO_DESCRIPTOR);
	assert(lowest_free(~0ULL >> 1, 0) == 63);
	assert(lowest_free(7, 64) == 67);
	for (u32 i = 0; i < 10000; i++) {
		for (u32 from = 0; from < 192; from++)
			assert(lowest_free(open, from) == one_by_one(open, from));
		/* Dense ones and thin ones. */
		open = open * 6364136223846793005ULL + 1442695040888963407ULL;
		open |= i % 3 ? open << 1 | open >> 3 : 0;
	}
	return 0;
}
