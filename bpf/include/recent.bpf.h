/* SPDX-License-Identifier: GPL-2.0-only */
/* Sites of functions that a task has called from already. */
#ifndef RECENT_BPF_H
#define RECENT_BPF_H

/*
 * Functions in the opcode cache's memory, by address. What is there stays what it is until the cache is restarted: it
 * frees nothing before. Its memory says how often it was, which is asked at each call: a request may make calls before the
 * cache is restarted for it (.user.ini, sessions). Everywhere else an address may become another function's at any time,
 * and so it may for threads of one process: nothing is remembered of them. A task's own, so that nobody else writes it
 * while it is read.
 *
 * Amid a request whose code is the cache's own it is not restarted: PHP has a lock for that. But code can give the lock
 * up (whoever closes any descriptor of its file does), have the cache restarted, and go on, while another file's code is
 * put where its own names were. So a restart seen amid such a request taints it.
 */
struct recent {
	u64 function;
	struct hash128 site;
	u64 kind;
	u64 era; /* of another one than its `recents` have: of nobody */
};

enum { RECENT = 128 };

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
	struct memory_range elsewhere; /* another mapping: what is not in the cache is mostly in that */
	u32 request; /* which one of its task */
	u32 pad;
	u64 restarts_at; /* where it counts them */
	u64 restarts;
	u32 execs; /* the task's, then */
	u32 relied_on; /* code of it was seen on the stack in this request */
	u64 head[SMM_HEAD]; /* for what is read: on the way to a site no stack is left */
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

struct found_range {
	struct memory_range at;
	u64 shared;
};

static long find_range(struct task_struct *t, struct vm_area_struct *vma, struct found_range *found)
{
	found->at.from = BPF_CORE_READ(vma, vm_start);
	found->at.to = BPF_CORE_READ(vma, vm_end);
	found->shared = BPF_CORE_READ(vma, vm_flags) & VM_SHARED;
	return 0;
}

/* In zend_function's flags. Same in PHP 7.4 to 8.5. */
enum { FN_PRELOADED = 1 << 10 };

/* Whether anything is: not where a request's start was not seen, or another thread might change what is remembered. */
static __always_inline bool can_remember(struct task *task, struct image *img)
{
	return task && task->request && !(img->flags & IMAGE_ZTS);
}

/* False where it cannot be read. */
static __always_inline bool count_restarts(struct cache_seen *c, u64 at, u64 *n)
{
	u64 *by_reason = c->head;

	if (!at || bpf_probe_read_user(by_reason, ACCEL_REASONS * sizeof(u64), (void *)at))
		return false;
	*n = by_reason[0] + by_reason[1] + by_reason[2];
	return true;
}

static __always_inline bool is_within(struct memory_range *r, u64 address)
{
	return address >= r->from && address < r->to;
}

/* Where the cache at `r` counts its restarts; 0 where its head is not what it should be, or it has several parts. */
static __always_inline u64 restarts_of(struct cache_seen *c, struct memory_range *r)
{
	u64 *head = c->head;

	if (bpf_probe_read_user(head, sizeof(c->head), (void *)r->from) || (u32)head[SMM_COUNT] != 1 ||
	    !is_within(r, head[SMM_SEGMENTS]) || !is_within(r, head[SMM_POSITIONS]) ||
	    !is_within(r, head[SMM_APP]))
		return 0;
	return head[SMM_APP] + ACCEL_RESTARTS;
}

static __always_inline void taint_by_restart(struct task *task)
{
	if (task->taint & TAINT_FORGED)
		return;
	task->taint |= TAINT_FORGED;
	count(STAT_TAINT_REQUESTS);
}

static __always_inline void begin_request(struct cache_seen *c, struct task *task)
{
	c->request = task->request;
	c->execs = task->execs;
	c->elsewhere.from = c->elsewhere.to = 0;
	c->relied_on = 0;
}

/* Whether what is known of the cache may be wrong: it was restarted, or another program runs. Asked before each walk. */
static __always_inline bool begins_anew(struct cache_seen *c, struct task *task)
{
	bool same_program = c->execs == task->execs;
	bool same_request = same_program && c->request == task->request;
	u64 restarts = 0;

	if (!same_request)
		begin_request(c, task);
	if (!c->at.to)
		return !same_request;
	if (same_program) {
		/* fails closed: nothing is known until it can be told again */
		if (!count_restarts(c, c->restarts_at, &restarts))
			return true;
		if (restarts == c->restarts)
			return false;
		if (c->relied_on)
			taint_by_restart(task);
	}
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

/* Looks in the memory map. Not where it cannot be told how often it was restarted. */
static __noinline bool find_cache(struct cache_seen *c, u64 address)
{
	struct found_range found = {};
	u64 restarts_at;

	if (!c || bpf_find_vma(bpf_get_current_task_btf(), address, find_range, &found, 0) || !found.at.to)
		return false;
	if (!found.shared) {
		c->elsewhere = found.at;
		return false;
	}
	restarts_at = restarts_of(c, &found.at);
	if (!count_restarts(c, restarts_at, &c->restarts))
		return false;
	c->restarts_at = restarts_at;
	c->at = found.at;
	return true;
}

static __always_inline bool is_cached(struct cache_seen *c, u64 address)
{
	if (is_within(&c->at, address))
		return true;
	if (c->at.to || is_within(&c->elsewhere, address))
		return false;
	return find_cache(c, address);
}

static __always_inline bool is_cached_code(struct recents *r, u64 function)
{
	return is_cached(&r->cache, function);
}

/* A function that runs, and the name of its file: in the cache's memory also where the function is a copy. */
static __always_inline bool is_taken_by_restarts(struct recents *r, u64 function, u64 file, u32 flags)
{
	return !(flags & FN_PRELOADED) && (is_cached(&r->cache, function) || is_cached(&r->cache, file));
}

/*
 * Whether it is to be found out if the task runs code of the cache: once in each request. Not in the first one of a
 * process that nobody serves by: there is no other to have the cache restarted.
 */
static __always_inline bool may_rely_on_cache(struct recents *r, struct task *task, struct image *img)
{
	return r && !r->cache.relied_on && (img->flags & (IMAGE_FPM | IMAGE_LIBRARY) || task->request > 1);
}

/* After a walk on the cache's code: the count changes before the names do, which may be others' now. Fails closed. */
static __always_inline bool was_restarted(struct recents *r)
{
	struct cache_seen *c = &r->cache;
	u64 restarts = 0;

	return c->relied_on && (!count_restarts(c, c->restarts_at, &restarts) || restarts != c->restarts);
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
