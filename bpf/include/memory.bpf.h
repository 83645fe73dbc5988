/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory of user space. While the kernel moves a page, or makes a huge one of many, nobody can read it without sleeping,
 * which a program may not: mostly for less than a millisecond.
 */
#ifndef MEMORY_BPF_H
#define MEMORY_BPF_H

/* Some ten milliseconds in all, and more where processors are emulated. */
enum { LOOKS_MOST = 5, READS_MOST = 4000 };

/* Global functions: they are verified once, not for each use. */
__noinline u32 is_readable_soon(u64 at)
{
	u64 word;
	u32 i;

	for (i = 0; i < READS_MOST; i++)
		if (!bpf_probe_read_user(&word, sizeof(word), (void *)at))
			return true;
	return false;
}

__noinline u32 wait_for_memory(u64 at)
{
	u64 word;
	u32 i;

	if (!at || !bpf_probe_read_user(&word, sizeof(word), (void *)at))
		return at != 0;
	count(STAT_WAITS);
	for (i = 0; i < LOOKS_MOST; i++)
		if (is_readable_soon(at))
			return true;
	return false;
}

/* Both ends: they may be of two pages. What follows a string may be of none, so that this does not tell. */
static __always_inline void wait_for_range(u64 at, u32 size)
{
	if (wait_for_memory(at))
		wait_for_memory((at + size - 1) & ~7ULL);
}

/* Like the helpers, and again after waiting for what could not be read. */
static __always_inline long read_user_soon(void *to, u32 size, u64 at)
{
	if (!bpf_probe_read_user(to, size, (void *)at))
		return 0;
	wait_for_range(at, size);
	return bpf_probe_read_user(to, size, (void *)at);
}

static __always_inline long read_user_str_soon(void *to, u32 size, u64 at)
{
	long n = bpf_probe_read_user_str(to, size, (void *)at);

	if (n > 0)
		return n;
	wait_for_range(at, size);
	return bpf_probe_read_user_str(to, size, (void *)at);
}

#endif
