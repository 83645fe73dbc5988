/* SPDX-License-Identifier: GPL-2.0-only */
/* Sites of functions that a request has called from already. */
#ifndef RECENT_BPF_H
#define RECENT_BPF_H

/*
 * Functions in the opcode cache's memory, by address. What is there stays what it is until the request ends: the cache
 * frees nothing, and starts anew only when no process uses it. Everywhere else an address may become another
 * function's at any time, and so it may for threads of one process: nothing is remembered of them. A task's own, so
 * that nobody else writes it while it is read.
 */
struct recent {
	u64 function;
	struct hash128 site;
	u64 kind;
};

enum {
	RECENT = 32,
	RECENT_TRIES = 8, /* looks at the memory map for each request, of functions that are elsewhere */
};

struct memory_range {
	u64 from, to;
};

/* The opcode cache's memory, as far as one request knows it. */
struct cache_seen {
	struct memory_range at; /* empty: not seen yet */
	u32 request; /* which one of its task */
	u32 tries;
	u64 elsewhere; /* who was looked up last and is not there: top-level code makes many calls */
};

struct recents {
	struct cache_seen cache;
	struct recent of[RECENT];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct recents);
} recent_sites SEC(".maps");

static long find_range(struct task_struct *t, struct vm_area_struct *vma, struct memory_range *r)
{
	if (!(BPF_CORE_READ(vma, vm_flags) & VM_SHARED))
		return 0;
	r->from = BPF_CORE_READ(vma, vm_start);
	r->to = BPF_CORE_READ(vma, vm_end);
	return 0;
}

/* Whether anything is: not where a request's start was not seen, or another thread might change what is remembered. */
static __always_inline bool can_remember(struct task *task, struct image *img)
{
	return task && task->request && !(img->flags & IMAGE_ZTS);
}

/* Whether it is another request than before: of which nothing is known. */
static __always_inline bool begins_request(struct cache_seen *c, u32 request)
{
	if (c->request == request)
		return false;
	c->request = request;
	c->at.from = c->at.to = c->tries = 0;
	c->elsewhere = 0;
	return true;
}

/* What is remembered of this task's request. NULL: its start was not seen, or there is no room; nothing is remembered. */
static __always_inline struct recents *recents_of(struct task *task, struct image *img)
{
	struct recents *r;
	u32 i;

	if (!can_remember(task, img))
		return NULL;
	r = bpf_task_storage_get(&recent_sites, bpf_get_current_task_btf(), NULL,
				 BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!r || !begins_request(&r->cache, task->request))
		return r;
	for (i = 0; i < RECENT; i++)
		r->of[i].function = 0;
	return r;
}

static __always_inline bool is_cached(struct cache_seen *c, u64 address)
{
	struct memory_range found = {};

	if (address >= c->at.from && address < c->at.to)
		return true;
	if (address == c->elsewhere || c->tries >= RECENT_TRIES)
		return false;
	c->tries++;
	c->elsewhere = address;
	if (bpf_find_vma(bpf_get_current_task_btf(), address, find_range, &found, 0) || !found.to)
		return false;
	c->at = found;
	return true;
}

static __always_inline bool is_cached_code(struct recents *r, u64 function)
{
	return is_cached(&r->cache, function);
}

static __always_inline struct recent *recent_of(struct recents *r, u64 function)
{
	return &r->of[(function >> 4 ^ function >> 9) & (RECENT - 1)];
}

#endif
