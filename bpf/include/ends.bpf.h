/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a call enters and returns: where it enters, too, two programs, for the reason that returns.bpf.h gives. */
#ifndef ENDS_BPF_H
#define ENDS_BPF_H

#include "returns.bpf.h"

/* As /sys/kernel/tracing/events/raw_syscalls has it. */
struct entered {
	u64 common;
	s64 id;
	u64 args[6];
};

SEC("raw_tp/sys_enter")
int sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	return on_enter(ctx->args[1]);
}

SEC("tracepoint/raw_syscalls/sys_enter")
int sys_enter_held(struct entered *ctx)
{
	return on_enter(ctx->id);
}

#endif
