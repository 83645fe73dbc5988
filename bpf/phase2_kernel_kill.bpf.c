// SPDX-License-Identifier: GPL-2.0-only
/*
 * Phase 2: the profile is in the kernel. A call is decided where it enters, and who
 * must not make it is sent SIGKILL there, with all its threads: the call in flight
 * is the last. User space hears of violations, and of what only it can find out.
 */
enum { DECIDES_HERE = 1, PATHS_FROM_KERNEL = 0 };

#include "phase.bpf.h"
#include "policy.bpf.h"
#include "decide.bpf.h"
#include "opened_decides.bpf.h"

static __always_inline void act(struct scratch *s)
{
	if (!(s->call.flags & CALL_NEVER_KILL))
		kill_violator(s);
}

static __always_inline void judge_exec(struct scratch *s)
{
	judge_started(s);
}

static __always_inline void returned(struct task *task)
{
}

#include "ends.bpf.h"
#include "killed.bpf.h"

char LICENSE[] SEC("license") = "GPL";
