/* SPDX-License-Identifier: GPL-2.0-only */
/* The way of a call whose strategy decides in the kernel: by the profile there, acting at once. */
#ifndef DECIDE_BPF_H
#define DECIDE_BPF_H

/* What the strategy does about the violation in s->call, in a sandbox. Defined by each phase's entry-point file. */
static __always_inline void act(struct scratch *s);

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

/* SIGKILL for the violation in s->call. */
static __always_inline void kill_violator(struct scratch *s)
{
	struct rec_call *c = &s->call;
	long failed = bpf_send_signal(SIGKILL);

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

/* One stray call of the master must not take the service down. Nobody's master: who PHP code has started, and code. */
static __always_inline bool spares(struct rec_call *c)
{
	if (!hash_is_zero(&c->who.origin) || (c->who.proc_flags & PROC_ORIGIN_UNKNOWN))
		return false;
	return c->site_kind == SITE_MASTER || (c->who.role == ROLE_MASTER && c->site_kind == SITE_NONE);
}

/* A violation: whether it is acted on. */
static __always_inline bool violates(struct scratch *s, u32 reason)
{
	struct rec_call *c = &s->call;

	c->reason = reason;
	count(STAT_V_SITE + reason - REASON_SITE);
	if (spares(c))
		c->flags |= CALL_NEVER_KILL;
	else
		c->flags &= ~CALL_NEVER_KILL;
	return s->mode == MODE_SANDBOX && !(c->flags & CALL_LOG_ONLY);
}

static __always_inline void punish(struct scratch *s, u32 reason)
{
	if (violates(s, reason))
		act(s);
}

/* Whether the call in s->call would be a violation: nothing comes of it yet. A global function, as the next one. */
__noinline u32 would_be_denied(struct scratch *s)
{
	u32 flags, reason;

	if (!s)
		return true;
	flags = s->call.flags;
	reason = decide_call(s);
	s->call.flags = flags;
	return reason;
}

/* A global function, as those in call.bpf.h. */
__noinline u32 decide(struct scratch *s)
{
	u32 reason;

	if (!s)
		return true;
	reason = decide_call(s);
	if (reason) {
		punish(s, reason);
		return true;
	}
	if (s->call.flags & CALL_REVIEW)
		return true; /* counted when that is known */
	count(STAT_ALLOWED);
	return tell_allowed;
}

/* What the strategy does about an allowed call whose path may lead anywhere: whether it is looked at later. */
static __always_inline bool keep_opening(struct scratch *s, struct task *task);

static __always_inline void judge(struct scratch *s, struct task *task, struct image *img, u32 len)
{
	s->call.seq = task ? ++task->seq : 0;
	if (s->mode == MODE_PROFILE) {
		tell_observation(s, task, img, len);
		return;
	}
	if (s->call.flags & CALL_REVIEW) {
		if (keep_opening(s, task)) {
			if (!tell_allowed)
				return;
			s->call.flags &= ~CALL_REVIEW;
		} else {
			count(STAT_ALLOWED);
		}
	}
	if (!tell_call(s, task, img, len) && (s->call.flags & CALL_REVIEW))
		count(STAT_REVIEW_LOST); /* fails open for what a link leads to; by its own text it was decided */
}

/* What (origin, program) may do as such, of a program that is about to run or does: into s->call. */
static __always_inline u32 decide_exec(struct scratch *s, struct who *who)
{
	struct rec_call *c = &s->call;
	u32 reason;

	c->who = *who;
	c->op = NR_EXEC << CLASS_BITS;
	c->nr = 0;
	c->site_kind = SITE_NONE;
	c->flags = CALL_DECIDED |
		   CALL_PATH_FAULT; /* constraints of the program's path were asked at the call */
	c->reason = c->error = c->spared = 0;
	count(STAT_DECIDED);
	reason = decide_program(s);
	if (reason)
		punish(s, reason);
	else
		count(STAT_ALLOWED);
	return reason;
}

/* Whether the start of a program is judged: not of PHP that nobody who is watched has started. */
static __always_inline bool exec_is_judged(struct scratch *s, struct who *w)
{
	return s->mode != MODE_PROFILE && !(w->proc_flags & PROC_IGNORED) && (!by_site(w) || by_program(w));
}

/* A program was started: the moment when (origin, program) as such is judged where no hook could before. */
static __always_inline void judge_started(struct scratch *s)
{
	struct rec_proc *r = &s->out.proc;

	if (!exec_is_judged(s, &r->who))
		return;
	decide_exec(s, &r->who);
	r->flags = s->call.flags;
	r->reason = s->call.reason;
	r->error = s->call.error;
}

#endif
