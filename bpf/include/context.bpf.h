/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The context of a call. --context known-files: every user frame below its site must be in a file that the profile
 * knows. So code of a file that somebody has brought in cannot have a granted function do its work for it.
 * --context N: grants are for a site as it was called, by its nearest N user frames.
 *
 * Fails closed: a context is unknown until the chain's end was reached and every file on the way was found known, or
 * until all the callers were told that there are.
 */
#ifndef CONTEXT_BPF_H
#define CONTEXT_BPF_H

/* 0: decisions look at the site alone, and the verifier drops everything here. */
const volatile u32 context_files = 0;

enum known {
	FILE_FOREIGN,
	FILE_KNOWN,
	FILE_ASKED, /* user space will say */
};

/* Whether the profile knows the file in s->file, of the call in s->call. Defined by each phase. */
static __always_inline u32 knows_file(struct scratch *s);

/*
 * What a task has found known already: functions in the opcode cache's memory, and names of files there of
 * functions that are elsewhere, by address, for the reasons that recent.bpf.h gives. A function there has one file,
 * and a name is what it is.
 */
enum { KNOWN_BITS = 6, KNOWN_WAYS = 2 };

struct known_code {
	struct cache_seen cache;
	u32 generation; /* of the profile that knows it */
	u32 pad;
	u64 at[1 << KNOWN_BITS][KNOWN_WAYS]; /* the one that was found last first */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct known_code);
} known_codes SEC(".maps");

/* NULL: nothing is remembered, and every name is read. */
static __always_inline struct known_code *known_code_of(struct scratch *s, struct task *task,
							struct image *img)
{
	struct known_code *k;
	bool fresh;

	if (!can_remember(task, img))
		return NULL;
	k = bpf_task_storage_get(&known_codes, bpf_get_current_task_btf(), NULL,
				 BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!k)
		return NULL;
	fresh = begins_anew(&k->cache, task);
	if (fresh || k->generation != s->generation)
		__builtin_memset(k->at, 0, sizeof(k->at));
	k->generation = s->generation;
	return k;
}

static __always_inline u64 *known_at(struct known_code *k, u64 address)
{
	return k->at[(u32)(address >> 4) * 2654435761u >> (32 - KNOWN_BITS)];
}

static __always_inline bool is_known_code(struct known_code *k, u64 address)
{
	u64 *at;

	if (!k || !address)
		return false; /* an empty place has nobody's address */
	at = known_at(k, address);
	return at[0] == address || at[1] == address;
}

static __always_inline bool remember_code(struct known_code *k, u64 address)
{
	u64 *at;

	if (!k || !is_cached(&k->cache, address))
		return false;
	at = known_at(k, address);
	at[1] = at[0];
	at[0] = address;
	return true;
}

/* The file in s->file as a name of its own; 0, or why it could not be told. */
static __always_inline u32 intern_file(struct scratch *s, struct hash128 *id)
{
	names_clear(&s->names, SITE_FILE);
	__builtin_memcpy(&s->names.file, &s->file, sizeof(s->file));
	return names_intern(s, id);
}

/* While learning every file is told, once. */
static __always_inline u32 learn_file(struct scratch *s)
{
	struct hash128 id;

	/* not told: tried again, and what was lost is counted */
	return intern_file(s, &id) ? FILE_ASKED : FILE_KNOWN;
}

static __always_inline int chain_untold(struct scratch *s, u32 cause)
{
	s->call.context_cause = cause;
	return 1;
}

/* The file in s->file is none of the profile's. Its name is for people: the decision does not need it. */
static __always_inline u32 is_foreign(struct scratch *s)
{
	struct rec_call *c = &s->call;

	chain_untold(s, 0);
	/* The site's names may be asked for later, and nobody else has them where the walk was brief: kept first. */
	if (s->names_id.lo == c->site.lo && s->names_id.hi == c->site.hi)
		names_intern(s, &c->site);
	intern_file(s, &s->call.context);
	return FILE_FOREIGN;
}

/* The file at `zstr`, a name of the present frame. */
static __always_inline u32 judge_file(struct scratch *s, u64 zstr)
{
	int err = zstr ? read_name(&s->file, zstr) : -1;

	if (err || !s->file.len) {
		chain_untold(s, err == UNK_LONG ? UNK_LONG : UNK_FILE);
		return FILE_FOREIGN;
	}
	return s->mode == MODE_PROFILE ? learn_file(s) : knows_file(s);
}

/* One frame. Returns 1 to stop: at the chain's end, which makes the context known, or at what makes it unknown. */
__noinline int context_step(struct scratch *s, struct image *img, struct known_code *k)
{
	u64 function, file;
	u32 known;
	bool whole;

	if (!s || !img)
		return 1;
	if (!s->next) {
		s->call.flags &= ~CALL_CONTEXT_UNKNOWN;
		return chain_untold(s, 0);
	}
	/* in scratch, like all that is read here: with its callers and what it calls this is the longest stack */
	if (bpf_probe_read_user(&s->frame[EX_FUNC], 8 * (EX_PREV - EX_FUNC + 1),
				(void *)s->next + 8 * EX_FUNC))
		return chain_untold(s, UNK_LINK);
	s->next = s->frame[EX_PREV];
	function = s->frame[EX_FUNC];
	/* without a function: a generator's placeholder */
	if (!function || is_known_code(k, function))
		return 0;
	/* An internal function's structure is shorter and may end at a page's end. */
	whole = !bpf_probe_read_user(s->func, sizeof(s->func), (void *)function) ||
		read_shared((u64 *)s->func, function, sizeof(s->func) / 8);
	if (!whole && bpf_probe_read_user(s->func, FN_HEAD, (void *)function))
		return chain_untold(s, UNK_FRAME);
	if (s->func[0] == FN_INTERNAL)
		return 0; /* of no file */
	if (!is_user(s->func[0]))
		return chain_untold(s, UNK_TYPE);
	if (!whole)
		return chain_untold(s, UNK_FRAME);
	/* A trampoline's file is that of the method that takes the call: looked at as any other. */
	file = func_u64(s, img->filename);
	known = is_known_code(k, file) ? FILE_KNOWN : judge_file(s, file);
	if (known == FILE_KNOWN && !remember_code(k, function))
		remember_code(k, file);
	return known == FILE_FOREIGN;
}

/* Along the chain from s->next: into the call's flags. A function of its own, so that its loop is verified once. */
__noinline int context_steps(struct scratch *s, struct image *img, struct known_code *k)
{
	struct rec_call *c;
	u32 i;

	if (!s || !img)
		return 0;
	c = &s->call;
	c->context_cause = UNK_TRUNCATED;
	for (i = 0; i < WALK_MAX; i++)
		if (context_step(s, img, k))
			break;
	return 0;
}

/* Below the site, what could not be read may be memory that the kernel moves. A global function: the stack is short. */
__noinline u32 can_read_context_soon(struct scratch *s)
{
	if (!s || !s->patient)
		return false;
	count(STAT_WALKS_AGAIN);
	/* the helper leaves zeros where it cannot read */
	s->patient = wait_for_memory(s->frame[EX_FUNC] ? s->frame[EX_FUNC] : s->next);
	return s->patient;
}

/* From the frame below the site, where the walk to it has stopped, to the bottom. */
static __always_inline void walk_context(struct scratch *s, struct image *img, struct task *task)
{
	struct known_code *k = known_code_of(s, task, img);
	struct rec_call *c = &s->call;
	u64 from = s->next;
	u32 i;

	c->flags |= CALL_CONTEXT_UNKNOWN;
	context_steps(s, img, k);
	for (i = 0; i < WAITS_MOST && (c->context_cause & UNK_UNREADABLE) && can_read_context_soon(s); i++) {
		s->next = from;
		context_steps(s, img, k);
	}
	if (c->context_cause)
		count(STAT_UNK_CONTEXT);
}

/* ---- callers ---- */

/* One more caller. Keyed hashes: nobody outside can make two of these sums meet. */
static __always_inline void add_caller(struct scratch *s)
{
	struct rec_call *c = &s->call;
	u32 n = c->callers_len;

	c->callers[n & (CONTEXT_MAX - 1)] = c->site;
	s->as_called.lo += (2 * n + 7) * c->site.lo;
	s->as_called.hi += (2 * n + 7) * c->site.hi;
	c->callers_len = n + 1;
}

/* The frames below the site that decide, too, or as many of them as there are. In scratch: the longest stack. */
__noinline int find_callers(struct scratch *s, struct image *img, struct recents *r)
{
	u32 i;

	if (!s || !img)
		return 0;
	s->own_site = s->as_called = s->call.site;
	s->own_kind = s->call.site_kind;
	s->own_sink = s->have_sink;
	for (i = 0; i < WALK_MAX; i++) {
		if (!s->next || s->call.callers_len + 1 >= context_frames) {
			s->call.flags &= ~CALL_CONTEXT_UNKNOWN;
			break;
		}
		s->have_site = 0;
		if (!brief_step(s, img, r))
			continue;
		if (!s->have_site)
			break; /* it could not be told */
		add_caller(s);
	}
	if (s->call.flags & CALL_CONTEXT_UNKNOWN)
		s->call.callers_len = 0;
	s->call.site = s->own_site;
	s->call.site_kind = s->own_kind;
	s->have_sink = s->own_sink;
	s->have_site = 1;
	return 0;
}

/* As walk_context, for --context N. */
static __always_inline void walk_callers(struct scratch *s, struct image *img, struct recents *r)
{
	u64 from = s->next;
	u32 i;

	s->call.flags |= CALL_CONTEXT_UNKNOWN;
	find_callers(s, img, r);
	for (i = 0; i < WAITS_MOST && (s->call.flags & CALL_CONTEXT_UNKNOWN) && can_read_context_soon(s);
	     i++) {
		s->next = from;
		find_callers(s, img, r);
	}
	if (s->call.flags & CALL_CONTEXT_UNKNOWN)
		count(STAT_UNK_CONTEXT);
}

/* Of the site as it was called. */
static __always_inline struct hash128 *context_id(struct scratch *s)
{
	return context_frames > 1 && s->call.callers_len ? &s->as_called : &s->call.site;
}

/* Whether grants are for a site by its callers, which this one has, or might have. */
static __always_inline bool has_callers(struct rec_call *c)
{
	return context_frames > 1 && (c->callers_len || (c->flags & CALL_CONTEXT_UNKNOWN));
}

/* Whether a context decides, and where one does whether the call's could not be told, or is not the profile's. */
static __always_inline bool context_decides(void)
{
	return context_files || context_frames > 1;
}

static __always_inline bool has_unknown_context(struct rec_call *c)
{
	return context_decides() && (c->flags & CALL_CONTEXT_UNKNOWN);
}

#endif
