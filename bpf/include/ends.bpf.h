/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a call enters and returns, two programs each, of which one is loaded. Those of
 * raw tracepoints are quicker. But on newer kernels (seen on 7.3, not on 6.18) they can be
 * preempted, and while one is, the kernel skips it for whoever else enters a call on
 * that processor: nobody would see that call. Those of perf's run with preemption off.
 */
#ifndef ENDS_BPF_H
#define ENDS_BPF_H

/* As /sys/kernel/tracing/events/raw_syscalls has them. */
struct entered {
	u64 common;
	s64 id;
	u64 args[6];
};

struct exited {
	u64 common;
	s64 id;
	s64 ret;
};

SEC("raw_tp/sys_enter")
int sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	return on_enter(ctx->args[0], ctx->args[1]);
}

SEC("tracepoint/raw_syscalls/sys_enter")
int sys_enter_held(struct entered *ctx)
{
	return on_enter((u64)bpf_task_pt_regs(bpf_get_current_task_btf()), ctx->id);
}

SEC("raw_tp/sys_exit")
int sys_exit(struct bpf_raw_tracepoint_args *ctx)
{
	return on_return(ctx->args[1]);
}

SEC("tracepoint/raw_syscalls/sys_exit")
int sys_exit_held(struct exited *ctx)
{
	return on_return(ctx->ret);
}

#endif
