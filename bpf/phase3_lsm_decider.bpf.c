// SPDX-License-Identifier: GPL-2.0-only
/* What decides for the hooks of phase 3 with LSM: one program, in the place of a function that each of theirs has. */
enum { DECIDES_HERE = 1, PATHS_FROM_KERNEL = 1 };

#include "logic.bpf.h"
#include "policy.bpf.h"
#include "decide.bpf.h"
#include "lsm_decider.bpf.h"

/* Twice, since such a program goes into programs of one type alone: that of hooks, and that of the kernel's functions. */
SEC("freplace/decider")
u32 decider_of_hooks(struct scratch *s, struct task *task, struct proc *p, u32 step)
{
	return take_step(s, task, p, step);
}

SEC("freplace/decider")
u32 decider_of_functions(struct scratch *s, struct task *task, struct proc *p, u32 step)
{
	return take_step(s, task, p, step);
}

char LICENSE[] SEC("license") = "GPL";
