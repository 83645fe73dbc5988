/* SPDX-License-Identifier: GPL-2.0-only */
/* (Site, operation) pairs: what is known of them, and how a call is told. */
#ifndef PAIRS_BPF_H
#define PAIRS_BPF_H

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PAIRS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pair_key);
	__type(value, struct pair);
} pairs SEC(".maps");

/* What is known of a pair. */
enum { PAIR_NEW, PAIR_SETTLED };

struct last_slash {
	char *path; /* PATH_ROOM of them */
	u32 end;
};

static long find_slash(u32 i, struct last_slash *l)
{
	if (i >= PATH_ROOM)
		return 1;
	if (l->path[i & (PATH_ROOM - 1)] == '/')
		l->end = i;
	return 0;
}

/* Adds so many bytes of a path to s->sip. 8 more than those may be read. */
static __always_inline void hash_beginning(struct scratch *s, char *path, u32 len)
{
	struct sip_path_loop p = { .sip = &s->sip, .bytes = path, .end = len };

	if (p.end > PATH_ROOM - 8)
		return;
	bpf_loop((p.end + 7) / 8, sip_path_word, &p, 0);
	sip_word(&s->sip, p.end);
}

/* How much of a path is learnt: of sessions, which are many, not what PHP makes up (name_pattern() of the policy). */
static __always_inline u32 learnt_part(char *path, u32 len)
{
	static const char session[] = "sess_";
	struct last_slash l = { path, 0 };
	u32 at, i;

	bpf_loop(len, find_slash, &l, 0);
	at = l.end + 1;
	for (i = 0; i < sizeof(session) - 1; i++)
		if (path[(at + i) & (PATH_ROOM - 1)] != session[i])
			return len;
	return at + i < len ? at + i : len;
}

/* Of both paths, for who learns them. */
__noinline u64 paths_hash(struct scratch *s)
{
	struct rec_call *c;

	if (!s)
		return 0;
	c = &s->call;
	sip_init(&s->sip, hash_key[0], hash_key[1]);
	hash_beginning(s, c->path, learnt_part(c->path, c->path_len));
	hash_beginning(s, c->path2, learnt_part(c->path2, c->path2_len));
	return sip_end(&s->sip).lo;
}

/* Opening only to read: learnt without its path. */
static __always_inline bool opens_to_read(u32 op)
{
	u32 nr = op >> CLASS_BITS, class = op & ((1 << CLASS_BITS) - 1), kind;

	if (nr >= NR_MAX)
		return false;
	kind = calls[bounded(nr)].class_kind;
	return (kind == CLASS_OPEN || kind == CLASS_OPEN_HOW) && (class == OPEN_READ || class == OPEN_PATH);
}

/*
 * An include: code opens a file, and no internal function does it for it. Likewise the engine opens the script that
 * was asked for.
 */
static __always_inline bool includes(struct scratch *s)
{
	struct rec_call *c = &s->call;
	bool begins = c->site_kind == SITE_ENGINE && c->who.phase == PHASE_REQUEST;

	return (begins || has_file(c->site_kind)) && opens_to_read(c->op) && !s->have_sink &&
	       hash_is_zero(&c->sink);
}

/* No function of the application is behind the call: is_nobodys() of the policy. */
static __always_inline bool is_nobodys(u32 kind)
{
	return kind == SITE_ENGINE || kind == SITE_INTERNAL || kind == SITE_MASTER;
}

/*
 * Nobody's sites learn paths, and a profile names each file that code was compiled from: neither is known by its site
 * and operation alone.
 */
static __always_inline bool learnt_by_path(struct scratch *s)
{
	return is_nobodys(s->call.site_kind) || (s->mode == MODE_PROFILE && includes(s));
}

static __always_inline void pair_key_of(struct scratch *s)
{
	struct rec_call *c = &s->call;
	struct pair_key *k = &c->pair;
	struct hash128 *site = context_id(s);

	/* as in add_caller() */
	k->who.lo = site->lo + 3 * c->who.origin.lo + 5 * c->who.program.lo;
	k->who.hi = site->hi + 3 * c->who.origin.hi + 5 * c->who.program.hi;
	k->op = c->op;
	k->pad = 0;
	/* who decides does not ask for it; a reader of the profile does */
	k->detail = s->mode == MODE_PROFILE ? c->sink.lo : 0;
	if ((s->mode == MODE_PROFILE && includes(s)) ||
	    (is_nobodys(c->site_kind) && c->path_len && !opens_to_read(c->op)))
		k->detail = paths_hash(s);
}

/* What is known of a call while learning: told once, then only counted. */
static __always_inline u32 recall_observation(struct scratch *s)
{
	struct pair *known = bpf_map_lookup_elem(&pairs, &s->call.pair);

	if (!known)
		return PAIR_NEW;
	__sync_fetch_and_add(&known->count, 1);
	if (!known->sent)
		return PAIR_NEW;
	count(STAT_DEDUPLICATED);
	return PAIR_SETTLED;
}

/* 1: a task does work where its calls return, so that nobody needs to see all of the machine's return. */
const volatile u32 works_at_return = 0;

static __always_inline bool returns_are_seen(void)
{
	struct control *c = control_now();

	return c && c->returns_are_seen;
}

/*
 * Whether the consumer is woken for a call by all means: not for one that is allowed but for where its paths lead. Each
 * wake-up is an interrupt, there may be many such calls, and who sleeps is woken anyway.
 */
static __always_inline u32 is_urgent(struct rec_call *c)
{
	return !(c->flags & (CALL_REVIEW | CALL_PATHS_ONLY));
}

/* Whether a path of the call begins in its task's folder, or may. */
static __always_inline bool begins_in_folder(struct rec_call *c)
{
	u32 nr = c->nr;

	if (nr >= NR_MAX)
		return false;
	return (calls[bounded(nr)].path_arg && c->path[0] != '/') ||
	       (calls[bounded(nr)].path2_arg && c->path2[0] != '/');
}

/*
 * Whether what waits for a return waits for that of the call which the task is in, by its number and its first
 * argument. Of those an exec leaves the number.
 */
static __always_inline bool waits_for_this(struct task *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	u32 nr = regs->orig_ax;

	return task->want_return && task->want_nr == nr &&
	       (task->want_arg == regs->di || nr == SYS_execve || nr == SYS_execveat);
}

static __always_inline void want_return(struct task *task, struct rec_call *c)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

	if (!waits_for_this(task)) {
		task->want_return = task->urgent = 0;
		task->want_nr = regs->orig_ax;
		task->want_arg = regs->di;
	}
	task->want_return++;
	task->urgent |= is_urgent(c);
	begins_to_wait(task);
}

/* The record of a call, behind that of the folder which its paths begin in. */
static __always_inline bool send_call(struct scratch *s, u32 len)
{
	struct rec_call *c = &s->call;

	if (!PATHS_FROM_KERNEL && s->mode != MODE_PROFILE && (!DECIDES_HERE || (c->flags & CALL_REVIEW)) &&
	    begins_in_folder(c))
		tell_folder(s);
	if (len > sizeof(*c))
		len = sizeof(*c);
	rec_init(&c->h, REC_CALL, len);
	return emit_with(&c->h, len, s->may_kill, is_urgent(c) ? wakeup : 0);
}

/* Where paths are all that is in doubt the kernel side has no time for it: of most such calls nothing is told. */
static __always_inline void find_chain(struct scratch *s, struct image *img)
{
	struct rec_call *c = &s->call;

	if (img && chain_limit && !(c->flags & CALL_REVIEW) && c->site_kind != SITE_UNKNOWN &&
	    !(c->flags & CALL_SITE_RECORDED))
		walk_chain(s, img);
}

/* The record of a call, with its chain; its return is told too, where somebody asks what became of it. */
__noinline u32 tell_call(struct scratch *s, struct task *task, struct image *img, u32 len)
{
	struct rec_call *c;

	if (!s)
		return 0;
	c = &s->call;
	find_chain(s, img);
	if (works_at_return && is_urgent(c))
		c->flags |= CALL_RETURN_WORK;
	/* A worker of an io_uring returns from no call; its own end looks like one (seen on 6.1). */
	if (task && s->mode != MODE_PROFILE &&
	    (returns_are_seen() || (c->flags & (CALL_KILLED | CALL_RETURN_WORK))) &&
	    !(bpf_get_current_task_btf()->flags & PF_IO_WORKER))
		want_return(task, c);
	return send_call(s, len);
}

/* Marked as sent only when it was; an unknown site, or one whose callers are, is told every time. */
static __always_inline void tell_observation(struct scratch *s, struct task *task, struct image *img, u32 len)
{
	struct pair new = { .count = 1, .sent = 1 };

	bool is_known = s->call.site_kind != SITE_UNKNOWN &&
			!(context_frames > 1 && has_unknown_context(&s->call));

	if (tell_call(s, task, img, len) && is_known &&
	    bpf_map_update_elem(&pairs, &s->call.pair, &new, BPF_ANY))
		count(STAT_PAIRS_FULL);
}

#endif
