/* SPDX-License-Identifier: GPL-2.0-only */
/* What decides for the LSM hooks: lsm.bpf.h says why it is apart. */
#ifndef LSM_DECIDER_BPF_H
#define LSM_DECIDER_BPF_H

#include "lsm.bpf.h"

/* --action */
const volatile u32 action_deny = 1;
const volatile u32 action_kill = 0;

/* The site into s->call. The kernel's workers act for whoever made their io_uring; their own memory says nothing. */
static __always_inline void find_hook_site(struct scratch *s, struct task *task, struct proc *p)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct image *img = image_by_id(p->image);
	struct rec_call *c = &s->call;

	if (is_loading(t, p)) {
		c->unknown |= UNK_GLOBALS;
		set_unknown(s);
	} else if (is_ending(c, p)) {
		set_special(s, SITE_MASTER, c->who.phase);
	} else if (!p->image && !(p->flags & PROC_UNINTROSPECTED)) {
		return;
	} else if (t->flags & PF_IO_WORKER) {
		if (!recorded_site(s, task)) {
			c->unknown |= UNK_GLOBALS;
			set_unknown(s);
		}
	} else {
		find_site(s, t, task, p, img);
	}
}

__noinline u32 hook_recall(struct scratch *s)
{
	if (!s)
		return PAIR_NEW;
	s = own_scratch(s);
	if (!s)
		return PAIR_NEW;
	if (s->mode == MODE_PROFILE)
		pair_key_of(s);
	return recall(s);
}

static __always_inline void hook_tell(struct scratch *s, struct task *task, struct image *img)
{
	struct rec_call *c = &s->call;
	u32 len;

	fill_who_rest(&c->who, bpf_get_current_task_btf());
	if (img && s->brief)
		walk_rest(s, img);
	if (img && !(c->flags & CALL_SITE_RECORDED) && c->site_kind != SITE_UNKNOWN) {
		struct task_struct *t = bpf_get_current_task_btf();
		u32 tgid = t->tgid;
		struct proc *p = proc_of(tgid);

		if (p && !is_loading(t, p))
			find_request(s, p, img);
	}
	len = c->path2_len ? sizeof(*c) : offsetof(struct rec_call, path) + (c->path_len & (PATH_ROOM - 1));
	judge(s, task, img, len);
}

/* Whose site is: that of a child, a program or an io_uring, for whoever acts for it. */
static __always_inline bool is_recorded(u32 nr)
{
	return nr == SYS_clone || nr == SYS_execve || nr == SYS_io_uring_setup;
}

/* Where a child, a program or the kernel's workers for an io_uring come from is recorded, policed or not. */
static __always_inline void note_site(struct rec_call *c, struct task *task)
{
	u32 nr = c->nr;

	if (c->site_kind == SITE_NONE)
		return; /* of another program */
	if (nr == SYS_clone || nr == SYS_execve)
		record_site(c, task);
	opaque(task);
	if (nr != SYS_io_uring_setup || !task)
		return;
	/* Of two sites' rings one worker could serve both: {unknown}. */
	if (task->ring_kind && (task->ring_kind != c->site_kind || !same_hash(&task->ring_site, &c->site)))
		task->ring_kind = SITE_UNKNOWN;
	else
		task->ring_kind = c->site_kind;
	task->ring_site = c->site;
}

/* The site, and whether it is allowed whatever the operation is about: then nothing of that is looked at. */
static __always_inline u32 begin_call(struct scratch *s, struct task *task, struct proc *p)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct rec_call *c = &s->call;
	u32 op = c->op;

	count(STAT_CALLS);
	s->may_be_brief = decides_first(s) && !is_recorded(c->nr);
	c->who.uid = uid_of(t);
	fill_who_briefly(&c->who, t, p, task ? task->phase : PHASE_UNKNOWN);
	if (t->thread_info.status & TS_COMPAT) {
		count(STAT_FOREIGN);
		c->op = NR_FOREIGN << CLASS_BITS;
	}
	if (p->role == ROLE_MASTER)
		note_ending(c);
	find_hook_site(s, task, p);
	note_site(c, task);
	if (!op_is_policed(op))
		return 0;
	return s->mode == MODE_PROFILE || hook_recall(s) != PAIR_SETTLED;
}

static __always_inline void end_call(struct scratch *s)
{
	struct task *task;

	if (s->mode == MODE_PROFILE ? hook_recall(s) == PAIR_SETTLED : !decide(s))
		return;
	task = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), NULL, 0);
	hook_tell(s, task, image_by_id(s->call.who.image));
}

/*
 * PHP names its files from its own root. A profile knows scripts by that name, and by where hooks saw them opened: not
 * those that were in the opcode cache already.
 */
static __always_inline void judge_inside(struct scratch *s, u32 second)
{
	if (has_inner_path(s) && s->mode != MODE_PROFILE)
		s->inside[second & 1] = climbed_flags(s, s->root_off);
}

/* The absolute path of s->mnt and s->dentry, from the root of the mount namespace. */
__noinline int climb(struct scratch *s, u32 second)
{
	if (!s)
		return 0;
	climb_past_root(s);
	judge_inside(s, second);
	if (s->path_off == PATH_ROOM && !s->path_state) {
		/* the root itself */
		s->path[PATH_ROOM - 1] = '/';
		s->path_off = PATH_ROOM - 1;
	}
	take_path(s, second);
	return 0;
}

static __always_inline bool keep_opening(struct scratch *s, struct task *task)
{
	return false; /* a hook knows what is opened */
}

static __always_inline void act(struct scratch *s)
{
	struct rec_call *c = &s->call;

	if (c->flags & CALL_NEVER_KILL)
		return;
	if (action_deny) {
		count(STAT_DENIED);
		c->flags |= CALL_DENIED;
		s->verdict = -EPERM;
	}
	if (action_kill)
		kill_violator(s);
}

/* Whether (origin, program) in s->out.proc may not run; what is told of it is in s->call then. */
__noinline u32 judge_program(struct scratch *s)
{
	struct rec_call *c;
	u32 reason;

	if (!s)
		return 0;
	c = &s->call;
	__builtin_memset(c->args, 0, sizeof(c->args));
	clear_call(s);
	c->generation = s->generation;
	reason = decide_exec(s, &s->out.proc.who);
	c->nr = SYS_execve;
	return reason;
}

static __always_inline void judge_start(struct scratch *s, struct task *task)
{
	if (!exec_is_judged(s, &s->out.proc.who) || !judge_program(s))
		return;
	s->call.seq = task ? ++task->seq : 0;
	hook_tell(s, task, NULL);
}

/* What the hooks' programs call as decider(). */
static __always_inline u32 take_step(struct scratch *argument, struct task *task, struct proc *p, u32 step)
{
	struct scratch *s = argument ? own_scratch(argument) : NULL;

	if (!s)
		return 0;
	switch (step) {
	case STEP_BEGIN:
		return p ? begin_call(s, task, p) : 0;
	case STEP_PATH:
		climb(s, 0);
		break;
	case STEP_PATH2:
		climb(s, 1);
		break;
	case STEP_END:
		end_call(s);
		break;
	case STEP_PROGRAM:
		judge_start(s, task);
	}
	return 0;
}

#endif
