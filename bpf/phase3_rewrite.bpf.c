// SPDX-License-Identifier: GPL-2.0-only
/*
 * Phase 3 without LSM: decided where the call enters. What its argument points to is
 * rewritten, so that the call fails before it does anything, and who made it is
 * sent SIGKILL: what cannot be rewritten gets through once, as in phase 2.
 */
enum { DECIDES_HERE = 1, PATHS_FROM_KERNEL = 0 };

#include "phase.bpf.h"
#include "policy.bpf.h"
#include "decide.bpf.h"
#include "opened_decides.bpf.h"
#include "rewrite.bpf.h"

/* --action: 0 only kills, as phase 2 does. */
const volatile u32 action_deny = 1;

static __always_inline void act(struct scratch *s)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct rec_call *c = &s->call;

	if (c->flags & CALL_NEVER_KILL)
		return;
	if (action_deny && c->op != NR_EXEC << CLASS_BITS) {
		struct task *task = bpf_task_storage_get(&tasks, t, NULL, 0);

		c->spared = task ? rewrite_call(c, task) : SPARED_BUSY;
		if (c->spared) {
			count(STAT_NOT_REWRITTEN);
		} else {
			count(STAT_REWRITTEN);
			c->flags |= CALL_REWRITTEN;
		}
	}
	kill_violator(s);
}

static __always_inline void judge_exec(struct scratch *s)
{
	judge_started(s);
}

static __always_inline void returned(struct task *task)
{
	put_back(task);
}

#include "ends.bpf.h"
#include "killed.bpf.h"

char LICENSE[] SEC("license") = "GPL";
