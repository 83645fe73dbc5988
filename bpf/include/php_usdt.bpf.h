/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The original's attribution, done correctly: a shadow stack of function entries and
 * returns, from PHP's USDT probes. With class and file, of any depth, reset at each
 * request's start and end. What it cannot see: internal functions (no sink), and the
 * switch of a fiber. Where it is found not to match PHP, the site is {unknown} until
 * the next request, and the drift is counted.
 */
#ifndef PHP_USDT_BPF_H
#define PHP_USDT_BPF_H

#include <bpf/usdt.bpf.h>

struct usdt_key {
	u32 tid;
	u32 depth; /* from 1 */
};

struct usdt_frame {
	struct hash128 site;
	u32 kind;
	u32 unknown;
};

enum {
	USDT_FRAMES = 1 << 20, /* of all tasks together */
	USDT_POP_MAX = 64, /* frames that one return may find left over */
	USDT_COPY_MAX = 4096, /* frames that a forked child inherits */
	USDT_DRIFTED = 1, /* task.usdt_flags */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, USDT_FRAMES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct usdt_key);
	__type(value, struct usdt_frame);
} usdt_frames SEC(".maps");

/* A C string into a name; 0, or why it is not known. */
__noinline int read_cstr(struct zname *n, u64 from)
{
	long len;

	if (!n)
		return UNK_FUNCTION;
	n->len = 0;
	if (!from)
		return 0;
	len = bpf_probe_read_user_str(n->val, NAME_ROOM, (void *)from);
	if (len < 0)
		return UNK_FUNCTION;
	/* A string of exactly the cap and a longer one look alike: both over it (fails closed). */
	if (len == NAME_ROOM)
		return UNK_LONG;
	n->len = len - 1;
	return 0;
}

static __always_inline bool name_begins(struct zname *n, const char *with, u32 len)
{
	u32 i;

	if (n->len < len)
		return false;
	for (i = 0; i < len; i++)
		if (n->val[i] != with[i])
			return false;
	return true;
}

/* Names of the probe's arguments into s->names, and their id. */
static __always_inline void usdt_names(struct scratch *s, u64 function, u64 file, u64 class,
				       struct usdt_frame *f)
{
	struct names *n = &s->names;
	const char closure[] = "{closure", main[] = "main";

	names_clear(n, SITE_FUNCTION);
	f->unknown = read_cstr(&n->function, function) | read_cstr(&n->file, file) |
		     read_cstr(&n->class_name, class);
	if (!n->file.len)
		f->unknown |= UNK_FILE;
	if (name_begins(&n->function, closure, 8)) {
		n->kind = SITE_CLOSURE;
		n->function.len = n->class_name.len = 0;
	} else if (n->function.len == 4 && !n->class_name.len && name_begins(&n->function, main, 4)) {
		n->kind =
			SITE_MAIN; /* PHP calls top-level code so; a function main() cannot be told from it */
		n->function.len = 0;
	}
	f->kind = n->kind;
	if (!f->unknown)
		f->unknown = names_intern(s, &f->site);
}

static __always_inline struct task *usdt_task(void)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (!acts() || !proc_of(tgid))
		return NULL;
	return bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

static __always_inline void usdt_enter(u64 function, u64 file, u64 class)
{
	struct task *task = usdt_task();
	struct usdt_key key = {};
	struct usdt_frame frame = {};
	struct scratch *s;

	if (!task)
		return;
	count(STAT_USDT_ENTRY);
	s = claim_scratch();
	if (!s) {
		task->usdt_flags |= USDT_DRIFTED;
		return;
	}
	usdt_names(s, function, file, class, &frame);
	release_scratch(s);
	key.tid = (u32)bpf_get_current_pid_tgid();
	key.depth = ++task->usdt_depth;
	if (bpf_map_update_elem(&usdt_frames, &key, &frame, BPF_ANY)) {
		count(STAT_USDT_DEEP);
		task->usdt_flags |= USDT_DRIFTED;
	}
}

static __always_inline void usdt_leave(u64 function, u64 file, u64 class)
{
	struct task *task = usdt_task();
	struct usdt_key key = {};
	struct usdt_frame frame = {};
	struct scratch *s;
	u32 i;

	if (!task)
		return;
	count(STAT_USDT_RETURN);
	s = claim_scratch();
	if (!s) {
		task->usdt_flags |= USDT_DRIFTED;
		return;
	}
	usdt_names(s, function, file, class, &frame);
	release_scratch(s);
	key.tid = (u32)bpf_get_current_pid_tgid();
	/* Frames that never returned (an exit, a fatal error, a suspended fiber) are on top of the one that does. */
	for (i = 0; i < USDT_POP_MAX; i++) {
		struct usdt_frame *top;
		bool same;

		if (!task->usdt_depth)
			break;
		key.depth = task->usdt_depth;
		top = bpf_map_lookup_elem(&usdt_frames, &key);
		same = top && top->site.lo == frame.site.lo && top->site.hi == frame.site.hi;
		bpf_map_delete_elem(&usdt_frames, &key);
		task->usdt_depth--;
		if (same)
			return;
		count(STAT_USDT_DRIFT);
	}
	count(STAT_USDT_DRIFT);
	task->usdt_flags |= USDT_DRIFTED;
}

struct usdt_range {
	u32 tid, to;
	u32 depth;
	u32 failed;
};

static long usdt_drop(u32 i, struct usdt_range *r)
{
	struct usdt_key key = { r->tid, i + 1 };

	bpf_map_delete_elem(&usdt_frames, &key);
	return 0;
}

static long usdt_copy(u32 i, struct usdt_range *r)
{
	struct usdt_key key = { r->tid, i + 1 };
	struct usdt_frame *f = bpf_map_lookup_elem(&usdt_frames, &key), copy;

	if (!f) {
		r->failed = 1;
		return 1;
	}
	copy = *f;
	key.tid = r->to;
	if (bpf_map_update_elem(&usdt_frames, &key, &copy, BPF_ANY)) {
		r->failed = 1;
		return 1;
	}
	return 0;
}

/* A request begins or ends: whatever is still on the stack is left over. */
static __always_inline void usdt_reset(struct task *task)
{
	struct usdt_range r = { .tid = (u32)bpf_get_current_pid_tgid() };
	u64 depth = task->usdt_depth;

	if (depth) {
		count(STAT_USDT_RESET);
		bpf_loop(depth < USDT_FRAMES ? depth : USDT_FRAMES, usdt_drop, &r, 0);
	}
	task->usdt_depth = 0;
	task->usdt_flags = 0;
}

/* A forked child goes on where its parent was. */
static __always_inline void usdt_inherit(struct task *from, struct task *to, u32 parent_tid, u32 child_tid)
{
	struct usdt_range r = { .tid = parent_tid, .to = child_tid };
	u64 depth = from->usdt_depth;

	to->usdt_flags = from->usdt_flags;
	to->usdt_depth = depth;
	if (!depth)
		return;
	if (depth > USDT_COPY_MAX) {
		to->usdt_flags |= USDT_DRIFTED;
		return;
	}
	bpf_loop(depth, usdt_copy, &r, 0);
	if (r.failed)
		to->usdt_flags |= USDT_DRIFTED;
}

/* The site by the shadow stack; leaves it in s->call. */
static __always_inline u32 usdt_site(struct scratch *s, struct task *task, struct image *img)
{
	struct rec_call *c = &s->call;
	struct usdt_key key = {};
	struct usdt_frame *top;
	u64 ced = 0;

	if (!task || (task->usdt_flags & USDT_DRIFTED)) {
		c->unknown |= UNK_DRIFT;
		return WALK_UNKNOWN;
	}
	/* PHP code runs and no entry was seen: the probes do not fire (USE_ZEND_DTRACE=1 is missing). */
	if (bpf_probe_read_user(&ced, sizeof(ced), (void *)(s->eg + img->current_execute_data))) {
		c->unknown |= UNK_GLOBALS;
		return WALK_UNKNOWN;
	}
	if (!task->usdt_depth) {
		if (!ced)
			return WALK_EMPTY;
		c->unknown |= UNK_DRIFT;
		return WALK_UNKNOWN;
	}
	key.tid = (u32)bpf_get_current_pid_tgid();
	key.depth = task->usdt_depth;
	top = bpf_map_lookup_elem(&usdt_frames, &key);
	if (!top) {
		c->unknown |= UNK_DRIFT;
		return WALK_UNKNOWN;
	}
	if (top->unknown) {
		c->unknown |= top->unknown;
		return WALK_UNKNOWN;
	}
	c->site = top->site;
	c->site_kind = top->kind;
	return WALK_SITE;
}

#endif
