/* SPDX-License-Identifier: GPL-2.0-only */
/* Which descriptor the kernel gives out next. */
#ifndef DESCRIPTORS_H
#define DESCRIPTORS_H

#define NO_DESCRIPTOR 0xffffffffU

/* The number of the lowest bit that is set, of a word with one. Clang's own makes it run out of memory for BPF. */
static __always_inline u32 lowest_bit(u64 word)
{
	u32 n = 0, step;

	for (step = 32; step; step /= 2) {
		if (word & ((1ULL << step) - 1))
			continue;
		word >>= step;
		n += step;
	}
	return n;
}

/* The lowest that is free, from `from` on, of the 64 that it is among; `open` has a bit for each of those. */
static __always_inline u32 lowest_free(u64 open, u32 from)
{
	u64 free = ~open & (~0ULL << (from % 64));

	return free ? from / 64 * 64 + lowest_bit(free) : NO_DESCRIPTOR;
}

#endif
