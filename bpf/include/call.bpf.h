/* SPDX-License-Identifier: GPL-2.0-only */
/* Of one call: by which site it is made, and what becomes of it. */
#ifndef CALL_BPF_H
#define CALL_BPF_H

/* What the strategy does when a call returns, whether anybody waits for that or not. */
static __always_inline void returned(struct task *task);

/* Global functions: what comes after is not verified again for each cause. */
__noinline int set_special(struct scratch *s, u32 kind, u32 phase)
{
	struct rec_call *c;

	if (!s)
		return 0;
	c = &s->call;
	c->site_kind = kind;
	c->unknown |= intern_special(s, kind, phase, &c->site);
	return 0;
}

__noinline int set_unknown(struct scratch *s)
{
	u32 cause;

	if (!s)
		return 0;
	cause = s->call.unknown;
	count_unknown(cause);
	set_special(s, SITE_UNKNOWN, 0);
	s->call.unknown = cause;
	return 0;
}

/* The site that was recorded when this task was cloned, for one that has no PHP context of its own. */
static __always_inline bool recorded_site(struct scratch *s, struct task *task)
{
	if (!task || task->kind == SITE_NONE)
		return false;
	s->call.site_kind = task->kind;
	s->call.site = task->site;
	s->call.sink = task->sink;
	s->call.unknown |= task->unknown;
	s->call.flags |= CALL_SITE_RECORDED;
	return true;
}

/* No PHP code runs. */
static __always_inline void set_engine(struct scratch *s, struct proc *p, u32 phase)
{
	set_special(s, p->role == ROLE_MASTER ? SITE_MASTER : SITE_ENGINE, phase);
}

/* What is before it in PHP's globals: among it the stack that all PHP code runs on. */
enum { WORDS_BEFORE_FRAME = 12 };

/* Nobody has touched PHP's globals yet, or only what is beside them. */
__noinline int globals_are_blank(struct scratch *s, struct image *img)
{
	u64 words[WORDS_BEFORE_FRAME + 1], at, any = 0;
	u32 i;

	if (!s || !img || !s->eg || img->current_execute_data < WORDS_BEFORE_FRAME * sizeof(u64))
		return false;
	at = s->eg + img->current_execute_data - WORDS_BEFORE_FRAME * sizeof(u64);
	if (bpf_probe_read_user(words, sizeof(words), (void *)at))
		return true;
	for (i = 0; i <= WORDS_BEFORE_FRAME; i++)
		any |= words[i];
	return !any;
}

/*
 * At the first policed call of a process that was adopted in its first seconds: PHP has not begun, and what begins from
 * here on is seen. Only then: later, globals that cannot be read may have been swapped out, and whose call it is stays
 * untold (fails closed).
 */
static __always_inline bool has_not_begun(struct scratch *s, struct task *task, struct proc *p,
					  struct image *img)
{
	if (!(p->flags & PROC_YOUNG))
		return false;
	__sync_fetch_and_and(&p->flags, ~PROC_YOUNG);
	if (!task || task->phase != PHASE_UNKNOWN || !(img->flags & IMAGE_PHASES) ||
	    !globals_are_blank(s, img))
		return false;
	task->phase = p->phase = PHASE_STARTUP;
	return true;
}

/* Tells the site of the current call of a task that runs PHP. */
static __always_inline void find_site(struct scratch *s, struct task_struct *t, struct task *task,
				      struct proc *p, struct image *img)
{
	struct rec_call *c = &s->call;
	u32 phase = task ? task->phase : PHASE_UNKNOWN, found;
	struct recents *recents = NULL;
	bool own_thread, tainted;

	if (!img || (img->flags & IMAGE_FAILED)) {
		c->unknown |= img ? UNK_TYPE : UNK_NO_IMAGE;
		set_unknown(s);
		return;
	}
	/* Before its first request no PHP code runs, and the globals' pages may not even be there. */
	if (phase == PHASE_STARTUP && (img->flags & IMAGE_PHASES)) {
		set_engine(s, p, phase);
		return;
	}
	s->thread_pointer = t->thread.fsbase;
	s->eg = globals_at(s->thread_pointer, img, p->bias, img->eg);
	own_thread = t->pid != t->tgid;
	if (own_thread && (!(img->flags & IMAGE_ZTS) || !s->eg)) {
		/* a helper thread: the process' globals are not its own */
		if (!recorded_site(s, task)) {
			c->unknown |= UNK_GLOBALS;
			set_unknown(s);
		}
		return;
	}
	if (has_not_begun(s, task, p, img)) {
		set_engine(s, p, PHASE_STARTUP);
		return;
	}
	/* before it is asked who is tainted: a restart of the cache may do that */
	if (s->mode != MODE_PROFILE && !usdt_attribution)
		recents = recents_of(task, img);
	if (may_rely_on_cache(recents, task, img))
		find_reliance(s, img, recents);
	tainted = is_tainted(task, p);
	s->brief = s->may_be_brief && !tainted && !usdt_attribution;
	if (context_decides())
		s->have_site = 0; /* of a walk before, where none begins now */
	s->patient = task && !task->gave_up;
	found = usdt_attribution ? usdt_site(s, task, img) : walk_site(s, img, recents);
	if (task)
		task->gave_up = found == WALK_UNKNOWN && !s->patient;
	/* Also where a name of the site itself is still to be read: user space may do that. */
	if (context_files && s->have_site && !tainted)
		walk_context(s, img, task);
	if (context_frames > 1 && s->have_site && !tainted)
		walk_callers(s, img, recents);
	if (recents && was_restarted(recents))
		tainted = true;
	if (p->role == ROLE_MASTER && found != WALK_EMPTY && found != WALK_NO_CONTEXT) {
		/* runs code, whoever its parent is; a preloading master is told by its forks */
		p->role = c->who.role = ROLE_WORKER;
		p->requests = 1;
	}
	switch (found) {
	case WALK_SITE:
	case WALK_INTERNAL:
		if (tainted) {
			c->unknown |= UNK_TAINTED;
			break;
		}
		if (found == WALK_SITE)
			return;
		c->site_kind = SITE_INTERNAL;
		c->site = c->sink;
		return;
	case WALK_EMPTY:
		set_engine(s, p, phase);
		return;
	case WALK_NO_CONTEXT:
		if (recorded_site(s, task))
			return;
		c->unknown |= UNK_GLOBALS;
	}
	set_unknown(s);
}

/* The request's main script, for people. */
__noinline int find_request(struct scratch *s, struct proc *p, struct image *img)
{
	u64 sg, path = 0;
	long n;

	if (!s || !p || !img)
		return 0;
	sg = globals_at(s->thread_pointer, img, p->bias, img->sg);
	if (!img->sg || !sg ||
	    bpf_probe_read_user(&path, sizeof(path), (void *)(sg + img->path_translated)) || !path)
		return 0;
	n = bpf_probe_read_user_str(s->path, PATH_ROOM, (void *)path);
	if (n <= 1)
		return 0;
	s->path_off = 0;
	s->path_end = n - 1;
	s->path_state = 0;
	if (!path_intern(s, &s->call.request, true))
		s->call.flags |= CALL_REQUEST_SCRIPT;
	return 0;
}

static __always_inline void record_site(struct rec_call *c, struct task *task)
{
	/* The compiler joins tests; 6.1 must see this one where it counts. */
	opaque(task);
	if (!task)
		return;
	task->kind = c->site_kind;
	task->unknown = c->unknown;
	task->site = c->site;
	task->sink = c->sink;
}

/* The master told a worker to end when it has served its request: a reload, a spare one. */
static __always_inline void note_ending(struct rec_call *c)
{
	u32 target = c->target_pid;
	struct proc *q;

	if (c->nr != SYS_kill || c->args[1] != SIGQUIT)
		return;
	q = proc_of(target);
	/* not only a worker: it may become one before the signal comes */
	if (q && q->role != ROLE_PLAIN)
		__sync_fetch_and_or(&q->flags, PROC_QUITTING);
}

/*
 * What it does for that it does in a signal handler, wherever its PHP code is: it
 * puts an unconnected socket in the place of the one it listened on. That reaches
 * nothing but itself, and one such call is the master's, whose built-in grants have
 * it, for one signal of the master.
 */
static __always_inline bool is_ending(struct rec_call *c, struct proc *p)
{
	if (c->op != (SYS_socket << CLASS_BITS | FAMILY_UNIX) || !(p->flags & PROC_QUITTING))
		return false;
	__sync_fetch_and_and(&p->flags, ~PROC_QUITTING);
	return true;
}

/* COMMAND before it is what it will be, and whom the filters leave out: looked at again, since both can change. */
static __always_inline bool is_left_alone(struct proc *p)
{
	if (!(p->flags & (PROC_COMMAND | PROC_IGNORED)))
		return false;
	if ((p->flags & PROC_COMMAND) || !passes_filters())
		return true;
	p->flags &= ~PROC_IGNORED;
	return false;
}

/* Where the kernel side decides, and only then finds out what is only told. */
static __always_inline bool decides_first(struct scratch *s)
{
	return DECIDES_HERE && s->mode != MODE_PROFILE;
}

/* Nothing of the call before is left. */
static __always_inline void clear_call(struct scratch *s)
{
	struct rec_call *c = &s->call;
	struct hash128 zero = {};

	c->flags = 0;
	c->unknown = 0;
	c->reason = c->error = c->spared = 0;
	c->chain_len = 0;
	c->line = 0;
	c->target_pid = 0;
	c->path_len = c->path2_len = c->addr_len = 0;
	c->site = c->sink = c->request = zero;
	c->site_kind = SITE_NONE;
	s->have_sink = s->brief = 0;
	if (context_decides()) {
		c->asked = c->context_cause = c->callers_len = 0;
		c->context = zero;
	}
}

static __always_inline void take_registers(struct rec_call *c, struct pt_regs *regs)
{
	c->args[0] = regs->di;
	c->args[1] = regs->si;
	c->args[2] = regs->dx;
	c->args[3] = regs->r10;
	c->args[4] = regs->r8;
	c->args[5] = regs->r9;
}

/* What became of the operations that wait for the end of the current call. */
static __always_inline void tell_return(struct task_struct *t, struct task *task, s64 ret)
{
	struct rec_return r = {};
	u32 urgent;

	if (!task->want_return || !acts())
		return;
	if (!waits_for_this(task)) {
		task->want_return = task->urgent = 0;
		return;
	}
	r.seq = task->seq;
	r.first = task->seq - task->want_return + 1;
	urgent = task->urgent;
	task->want_return = task->urgent = 0;
	r.ret = ret;
	r.pid = t->tgid;
	r.tid = t->pid;
	rec_init(&r.h, REC_RETURN, sizeof(r));
	/* lost: the effect is not-seen, and counted */
	emit_with(&r.h, sizeof(r), false, urgent ? wakeup : 0);
}

/* Whether it was told that returns are seen: a variable, which costs every call of the machine least. */
u32 told_of_returns = 0;

static __always_inline void tell_of_returns(void)
{
	struct control *c = control_now();

	if (c)
		c->returns_are_seen = 1;
	told_of_returns = 1;
}

/* The current task's call. */
static __always_inline int call_returned(s64 ret)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct task *task;

	task = may_be_watched(t->tgid) ? bpf_task_storage_get(&tasks, t, NULL, 0) : NULL;
	if (!task || !task->waits)
		return 0;
	returned(task);
	/* amid an adoption the other object tells it, and must find that the task waits */
	if (!acts())
		return 0;
	waits_no_longer(task);
	tell_return(t, task, ret);
	return 0;
}

static __always_inline int on_return(s64 ret)
{
	if (!told_of_returns)
		tell_of_returns();
	return somebody_waits() ? call_returned(ret) : 0;
}

/*
 * A task that was killed at a call does nothing else: its registers have what that returned. (Kernel's workers of an
 * io_uring have no call that returns.)
 */
static __always_inline void tell_last_return(struct task_struct *t, struct task *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(t);

	if (!(t->flags & PF_IO_WORKER))
		tell_return(t, task, regs->ax);
}

/* At the end of a task: what its signal did not tell. */
static __always_inline void on_last_return(void)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct task *task = bpf_task_storage_get(&tasks, t, NULL, 0);

	if (!task)
		return;
	waits_no_longer(task);
	if (DECIDES_HERE)
		tell_last_return(t, task);
}

#endif
