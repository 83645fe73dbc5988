// SPDX-License-Identifier: GPL-2.0-only
/*
 * Phase 2: the profile is in the kernel. A call is decided where it enters, and who
 * must not make it is sent SIGKILL there, with all its threads: the call in flight
 * is the last. User space hears of violations, and of what only it can find out.
 */
enum { DECIDES_HERE = 1 };

#include "phase.bpf.h"
#include "policy.bpf.h"

static __always_inline u32 recall(struct scratch *s)
{
	s->call.generation = s->generation;
	if (s->mode == MODE_PROFILE)
		return recall_observation(s);
	count(STAT_DECIDED);
	if (tell_allowed || !allowed_plainly(s))
		return PAIR_NEW;
	count(STAT_ALLOWED);
	return PAIR_SETTLED;
}

/* Sends the signal for a violation, where one is due. Nobody's master: who PHP code has started. */
static __always_inline void punish(struct scratch *s, u32 reason)
{
	struct rec_call *c = &s->call;
	bool descendant = !hash_is_zero(&c->who.origin) || (c->who.proc_flags & PROC_ORIGIN_UNKNOWN);
	long failed;

	c->reason = reason;
	count(STAT_V_SITE + reason - REASON_SITE);
	if (!descendant && c->who.role == ROLE_MASTER)
		c->flags |= CALL_NEVER_KILL;
	else if (descendant)
		c->flags &= ~CALL_NEVER_KILL;
	if (s->mode != MODE_SANDBOX || (c->flags & (CALL_LOG_ONLY | CALL_NEVER_KILL)))
		return;
	failed = bpf_send_signal(SIGKILL);
	if (!failed) {
		count(STAT_KILLED);
		c->flags |= CALL_KILLED;
		return;
	}
	/* Fails open for this call, and tells: user space kills when it hears of it. */
	count(STAT_KILL_FAILED);
	if (failed == -EBUSY)
		count(STAT_KILL_EBUSY);
	c->flags |= CALL_KILL_FAILED;
	c->error = -failed;
}

static __always_inline bool decide(struct scratch *s)
{
	u32 reason = decide_call(s);

	if (reason) {
		punish(s, reason);
		return true;
	}
	count(STAT_ALLOWED);
	return tell_allowed || (s->call.flags & CALL_REVIEW);
}

static __always_inline void judge(struct scratch *s, struct task *task, struct image *img, u32 len)
{
	s->call.seq = task ? ++task->seq : 0;
	if (s->mode == MODE_PROFILE)
		tell_observation(s, task, img, len);
	else if (!tell_call(s, task, img, len) && (s->call.flags & CALL_REVIEW))
		count(STAT_REVIEW_LOST); /* fails open for what a link leads to; by its own text it was decided */
}

/* A program was started: the one moment when (origin, program) as such is judged. */
static __always_inline void judge_exec(struct scratch *s)
{
	struct rec_proc *r = &s->out.proc;
	struct rec_call *c = &s->call;
	u32 reason;

	if (s->mode == MODE_PROFILE || (r->who.proc_flags & PROC_IGNORED) ||
	    (by_site(&r->who) && !by_program(&r->who)))
		return;
	c->who = r->who;
	c->op = NR_EXEC << CLASS_BITS;
	c->nr = 0;
	c->flags = CALL_DECIDED |
		   CALL_PATH_FAULT; /* constraints of the program's path were asked at the call */
	c->reason = c->error = 0;
	count(STAT_DECIDED);
	reason = decide_program(s);
	if (reason)
		punish(s, reason);
	else
		count(STAT_ALLOWED);
	r->flags = c->flags;
	r->reason = c->reason;
	r->error = c->error;
}

SEC("raw_tp/sys_enter")
int sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	return on_enter(ctx->args[0], ctx->args[1]);
}

SEC("raw_tp/sys_exit")
int sys_exit(struct bpf_raw_tracepoint_args *ctx)
{
	return on_return(ctx->args[1]);
}

char LICENSE[] SEC("license") = "GPL";
