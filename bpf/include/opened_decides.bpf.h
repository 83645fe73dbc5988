/* SPDX-License-Identifier: GPL-2.0-only */
/* What was opened, by who decides in the kernel: the signal comes before anything is written. */
#ifndef OPENED_DECIDES_BPF_H
#define OPENED_DECIDES_BPF_H

#include "opened.bpf.h"

static __always_inline u32 look_at_opened(struct scratch *s, bool is_memory)
{
	u32 flags;

	if (is_memory)
		return OPENED_MEMORY;
	flags = climbed_flags(s, s->path_off);
	if (has_inner_path(s))
		flags |= climbed_flags(s, s->root_off);
	return flags & (POLICY_IS_SCRIPT | POLICY_IS_OWN) ? OPENED_PROTECTED : OPENED_HARMLESS;
}

static __always_inline void settle_call(struct scratch *s, u32 found)
{
	struct rec_call *c = &s->call;

	if (found == OPENED_PROTECTED || (found == OPENED_MEMORY && by_site(&c->who))) {
		c->flags &= ~CALL_REVIEW;
		if (c->generation != s->generation)
			c->flags |= CALL_LOG_ONLY; /* by an earlier profile it may have been right */
		if (violates(s, REASON_PROTECTED) && !(c->flags & CALL_NEVER_KILL))
			kill_violator(s); /* nothing else: the call that is under way is another one */
		tell_opening(s);
		return;
	}
	count(STAT_ALLOWED);
	if (found != OPENED_MEMORY && !tell_opening(s))
		count(STAT_REVIEW_LOST); /* fails open for what a link leads to; by its own text it was decided */
}

#endif
