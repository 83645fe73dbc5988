/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Enough of the BPF environment to run the walker natively, on structures that a
 * test lays out in its own memory. A read of an address in `faults` fails, as one of
 * a page that is not there does.
 */
#ifndef SHIM_H
#define SHIM_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "intf.h"

#define SEC(name)
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_MAP_TYPE_TASK_STORAGE 29
#define BPF_F_NO_PREALLOC 1
#define BPF_F_MMAPABLE 1024
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1
#define BPF_ANY 0
#define BPF_RB_FORCE_WAKEUP 2

#define CHECK(what)                                                                                          \
	do {                                                                                                 \
		if (!(what)) {                                                                               \
			printf("%s:%d: %s\n", __FILE__, __LINE__, #what);                                    \
			exit(1);                                                                             \
		}                                                                                            \
	} while (0)

/* ---- memory that faults ---- */

static struct {
	const void *at;
	size_t len;
} faults[8];

static void fault(const void *at, size_t len)
{
	for (int i = 0; i < 8; i++) {
		if (!faults[i].len) {
			faults[i].at = at;
			faults[i].len = len;
			return;
		}
	}
	abort();
}

static void no_faults(void)
{
	memset(faults, 0, sizeof(faults));
}

static long bpf_probe_read_user(void *to, u32 size, const void *from)
{
	if ((uintptr_t)from < 4096)
		return -14;
	for (int i = 0; i < 8; i++) {
		const char *a = faults[i].at;

		if (faults[i].len && (const char *)from < a + faults[i].len && (const char *)from + size > a)
			return -14;
	}
	memcpy(to, from, size);
	return 0;
}

static inline long bpf_probe_read_user_str(char *to, u32 size, const void *from)
{
	for (u32 n = 0; n < size; n++) {
		if (bpf_probe_read_user(to + n, 1, (const char *)from + n))
			return -14;
		if (!to[n])
			return n + 1;
	}
	to[size - 1] = 0;
	return size;
}

#define bpf_probe_read_kernel bpf_probe_read_user

/* ---- maps: one of everything that the walker touches ---- */

static u64 counters[STAT_MAX];
static struct control control_value = { 1, MODE_MONITOR };
static struct hash128 interned[256];
static int interned_count;
static struct rec_site told[256];
static int told_count, partial_count, ring_full;
static struct rec_partial last_partial;

static void *shim_lookup(const char *map, const void *key)
{
	if (!strcmp(map, "stats"))
		return &counters[*(const u32 *)key];
	if (!strcmp(map, "control"))
		return &control_value;
	if (!strcmp(map, "sites"))
		for (int i = 0; i < interned_count; i++)
			if (!memcmp(&interned[i], key, sizeof(struct hash128)))
				return &interned[i];
	return NULL;
}

#define bpf_map_lookup_elem(map, key) shim_lookup(#map + 1, key)

static long shim_update(const void *key)
{
	if (interned_count == 256)
		return -7;
	interned[interned_count++] = *(const struct hash128 *)key;
	return 0;
}

#define bpf_map_update_elem(map, key, value, flags) shim_update(key)

static long bpf_ringbuf_output(void *map, void *data, u64 size, u64 flags)
{
	const struct rec_hdr *h = data;

	(void)map, (void)flags;
	if (ring_full)
		return -11;
	if (h->kind == REC_SITE)
		told[told_count++] = *(struct rec_site *)data;
	if (h->kind == REC_PARTIAL) {
		partial_count++;
		last_partial = *(struct rec_partial *)data;
	}
	assert(h->len == size);
	return 0;
}

static long bpf_loop(u32 n, void *body, void *context, u64 flags)
{
	long (*call)(u32, void *) = (long (*)(u32, void *))body;

	(void)flags;
	for (u32 i = 0; i < n; i++)
		if (call(i, context))
			return i + 1;
	return n;
}

static u64 bpf_ktime_get_ns(void)
{
	return 1;
}

static u32 bpf_get_smp_processor_id(void)
{
	return 0;
}

static int killed;

static long bpf_send_signal(u32 signal)
{
	killed = signal;
	return 0;
}

#endif
