/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a call enters and returns. Where it enters it is told whose it is, which, and by which site; then each phase's
 * file has
 * - recall(): what is known of this (site, operation) already, before arguments are read,
 * - decide(): whether there is anything to tell about the call, with its arguments; who decides in the kernel acts on
 *   a violation here, before what is only shown is read,
 * - judge(): what the strategy does with it.
 */
#ifndef ENDS_BPF_H
#define ENDS_BPF_H

#include "returns.bpf.h"
#include "return_work.bpf.h"

/* As /sys/kernel/tracing/events/raw_syscalls has it. */
struct entered {
	u64 common;
	s64 id;
	u64 args[6];
};

static __always_inline int on_enter(u64 id, bool leaves_work)
{
	struct task_struct *t = bpf_get_current_task_btf();
	bool compat = t->thread_info.status & TS_COMPAT, foreign, named, by_path = false;
	u32 tgid, nr = id, len;
	struct image *img;
	struct scratch *s;
	struct rec_call *c;
	struct proc *p;
	struct task *task;

	/*
	 * Every call of the machine comes by here: up to where strangers leave nothing is called, as each return from a
	 * helper may cost as much as all the rest.
	 */
	settle();
	foreign = compat || (id & X32_BIT);
	if (!foreign) {
		if ((s64)id < 0)
			return 0; /* no call: a tracer skipped it */
		if (nr < NR_MAX && !policed_nr[bounded(nr)])
			return 0;
	}
	tgid = t->tgid;
	p = proc_of(tgid);
	if (!p || !acts())
		return 0;
	if (!foreign && accepts(nr)) {
		begins_to_serve(p);
		if (!op_is_policed(nr << CLASS_BITS))
			return 0;
	}
	if (is_left_alone(p))
		return 0;
	task = bpf_task_storage_get(&tasks, t, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!task)
		count(STAT_STORAGE_FAILED);
	s = claim_scratch();
	if (!s) {
		/* Fails closed: what cannot be told to who decides must not go on. */
		/* of a decision that is lost, as of a record */
		if (mode_now() == MODE_SANDBOX && p->role != ROLE_MASTER)
			kill_current(STAT_LOST_KILLED);
		return 0;
	}
	if (s->ends) {
		kill_current(STAT_ENDED);
		goto out;
	}
	s->may_kill = p->role != ROLE_MASTER;
	count(STAT_CALLS);
	c = &s->call;
	clear_call(s);
	take_registers(c, (struct pt_regs *)bpf_task_pt_regs(t));
	c->nr = nr;
	/* what is recorded for a child has the sink, and what is learnt */
	s->may_be_brief = s->mode != MODE_PROFILE && !forks_or_execs(nr);
	c->who.uid = uid_of(t);
	fill_who_briefly(&c->who, t, p, task ? task->phase : PHASE_UNKNOWN);
	len = offsetof(struct rec_call, path);
	if (foreign) {
		count(STAT_FOREIGN);
		c->op = NR_FOREIGN << CLASS_BITS;
	} else if (nr >= NR_MAX || !calls[bounded(nr)].known) {
		c->op = NR_UNKNOWN << CLASS_BITS; /* policed, whatever it is */
	} else {
		u32 class = class_of(c, calls[bounded(nr)].class_kind, calls[bounded(nr)].class_arg) & 15;
		u32 op = (nr << CLASS_BITS) | class;

		c->op = op;
		if ((!op_is_policed(op) && !forks_or_execs(nr)) || ends_itself(c, nr, class))
			goto out;
	}
	if (p->role == ROLE_MASTER)
		note_ending(c);
	img = image_by_id(p->image);
	if (is_ending(c, p)) {
		set_special(s, SITE_MASTER, c->who.phase);
	} else if (p->image || (p->flags & PROC_UNINTROSPECTED)) {
		find_site(s, t, task, p, img);
		if (task && !foreign && forks_or_execs(nr))
			record_site(c, task);
	}
	named = !foreign && c->op != NR_UNKNOWN << CLASS_BITS;
	if (named && !op_is_policed(c->op))
		goto out;
	if (!decides_first(s)) {
		/* For others, arguments only matter to what was not judged before. */
		by_path = named && learnt_by_path(s);
		if (by_path)
			len = read_args(s, nr);
		pair_key_of(s);
	}
	if (recall(s) == PAIR_SETTLED)
		goto out;
	if (named && !by_path)
		len = read_args(s, nr);
	if ((c->flags & ARGS_FAULT) && s->mode != MODE_PROFILE && would_be_denied(s))
		len = read_args_soon(s, nr);
	if (decides_first(s) && !decide(s))
		goto out;
	fill_who_rest(&c->who, t);
	if (img && s->brief)
		walk_rest(s, img);
	if (img && !(c->flags & (CALL_SITE_RECORDED | CALL_REVIEW)))
		find_request(s, p, img);
	judge(s, task, img, len);
out:
	release_scratch(s);
	if (leaves_work && task && task->waits && !returns_are_seen())
		leave_work(t);
	return 0;
}

/* Two programs here, too, for the reason that returns.bpf.h gives. */
SEC("raw_tp/sys_enter")
int sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	return on_enter(ctx->args[1], false);
}

SEC("tracepoint/raw_syscalls/sys_enter")
int sys_enter_held(struct entered *ctx)
{
	return on_enter(ctx->id, false);
}

#ifdef LEAVES_WORK
SEC("raw_tp/sys_enter")
int sys_enter_work(struct bpf_raw_tracepoint_args *ctx)
{
	return on_enter(ctx->args[1], true);
}

SEC("tracepoint/raw_syscalls/sys_enter")
int sys_enter_work_held(struct entered *ctx)
{
	return on_enter(ctx->id, true);
}
#endif

#endif
