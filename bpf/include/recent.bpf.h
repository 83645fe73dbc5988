/* SPDX-License-Identifier: GPL-2.0-only */
/* Sites of functions that a task has called from already. */
#ifndef RECENT_BPF_H
#define RECENT_BPF_H

/*
 * Functions in the opcode cache's memory, by address. What is there stays what it is until the cache is restarted: it
 * frees nothing before, and it is not restarted while any process is in a request. Its memory says how often it was.
 * Everywhere else an address may become another function's at any time, and so it may for threads of one process:
 * nothing is remembered of them. A task's own, so that nobody else writes it while it is read.
 */
struct recent {
	u64 function;
	struct hash128 site;
	u64 kind;
	u64 era; /* of another one than its `recents` have: of nobody */
};

enum {
	RECENT = 128,
	RECENT_TRIES = 8, /* looks at the memory map for each request, of functions that are elsewhere */
};

/*
 * The opcode cache's memory begins with what its allocator knows (zend_smm_shared_globals), and that has where the
 * cache's own begin (zend_accel_shared_globals). Same in PHP 7.4 to 8.5.
 */
enum cache_head {
	SMM_SEGMENTS = 0, /* words */
	SMM_COUNT = 1, /* an int, and 4 bytes of nothing */
	SMM_POSITIONS = 5,
	SMM_APP = 7,
	SMM_HEAD = 8,
	ACCEL_RESTARTS = 24, /* bytes: for want of memory, for want of keys, by hand */
	ACCEL_REASONS = 3,
};

struct memory_range {
	u64 from, to;
};

/* The opcode cache's memory, as far as a task knows it. */
struct cache_seen {
	struct memory_range at; /* empty: not seen yet */
	u32 request; /* which one of its task */
	u32 tries;
	u64 elsewhere; /* who was looked up last and is not there: top-level code makes many calls */
	u64 restarts_at; /* 0: how often it was restarted cannot be told, and nothing is known longer than a request */
	u64 restarts;
	u32 execs; /* the task's, then */
	u32 pad;
};

struct recents {
	struct cache_seen cache;
	u64 era;
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

/* False where it cannot be read. */
static __always_inline bool count_restarts(u64 at, u64 *n)
{
	u64 by_reason[ACCEL_REASONS];

	if (!at || bpf_probe_read_user(by_reason, sizeof(by_reason), (void *)at))
		return false;
	*n = by_reason[0] + by_reason[1] + by_reason[2];
	return true;
}

static __always_inline bool is_within(struct memory_range *r, u64 address)
{
	return address >= r->from && address < r->to;
}

/* Where the cache at `r` counts its restarts; 0 where its head is not what it should be, or it has several parts. */
static __noinline u64 restarts_of(struct memory_range *r)
{
	u64 head[SMM_HEAD];

	if (!r || bpf_probe_read_user(head, sizeof(head), (void *)r->from) || (u32)head[SMM_COUNT] != 1 ||
	    !is_within(r, head[SMM_SEGMENTS]) || !is_within(r, head[SMM_POSITIONS]) ||
	    !is_within(r, head[SMM_APP]))
		return 0;
	return head[SMM_APP] + ACCEL_RESTARTS;
}

/* Whether what is known of the cache may be wrong: of another request it is, unless the cache was seen to be the same. */
static __always_inline bool begins_anew(struct cache_seen *c, struct task *task)
{
	u64 restarts = 0;
	bool same_program = c->execs == task->execs;

	if (same_program && c->request == task->request)
		return false;
	c->request = task->request;
	c->execs = task->execs;
	c->tries = 0;
	c->elsewhere = 0;
	if (same_program && count_restarts(c->restarts_at, &restarts) && restarts == c->restarts)
		return false;
	c->at.from = c->at.to = c->restarts_at = 0;
	return true;
}

/* What is remembered for this task. NULL: its request's start was not seen, or there is no room; nothing is remembered. */
static __always_inline struct recents *recents_of(struct task *task, struct image *img)
{
	struct recents *r;

	if (!can_remember(task, img))
		return NULL;
	r = bpf_task_storage_get(&recent_sites, bpf_get_current_task_btf(), NULL,
				 BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (r && begins_anew(&r->cache, task))
		r->era++;
	return r;
}

static __always_inline bool is_cached(struct cache_seen *c, u64 address)
{
	struct memory_range found = {};

	if (is_within(&c->at, address))
		return true;
	if (address == c->elsewhere || c->tries >= RECENT_TRIES)
		return false;
	c->tries++;
	c->elsewhere = address;
	if (bpf_find_vma(bpf_get_current_task_btf(), address, find_range, &found, 0) || !found.to)
		return false;
	/* of two such ranges, what is known may be of either: until the request ends */
	c->restarts_at = c->at.to ? 0 : restarts_of(&found);
	if (!count_restarts(c->restarts_at, &c->restarts))
		c->restarts_at = 0;
	c->at = found;
	return true;
}

static __always_inline bool is_cached_code(struct recents *r, u64 function)
{
	return is_cached(&r->cache, function);
}

static __always_inline struct recent *place_of(struct recents *r, u64 function)
{
	return &r->of[(function >> 4 ^ function >> 11) & (RECENT - 1)];
}

/* NULL: it is not known. */
static __always_inline struct recent *recent_of(struct recents *r, u64 function)
{
	struct recent *known = place_of(r, function);

	return known->function == function && known->era == r->era ? known : NULL;
}

static __always_inline void remember_site(struct recents *r, u64 function, struct rec_call *c)
{
	struct recent *place = place_of(r, function);

	place->function = function;
	place->site = c->site;
	place->kind = c->site_kind;
	place->era = r->era;
}

#endif
