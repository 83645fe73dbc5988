/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a call returns, two programs, of which one is loaded. That of a raw tracepoint is
 * quicker. But on newer kernels (seen on 7.3, not on 6.18) it can be preempted, and while
 * it is, the kernel skips it for whoever else returns on that processor: nobody would see
 * that return. That of perf's runs with preemption off.
 */
#ifndef RETURNS_BPF_H
#define RETURNS_BPF_H

/* As /sys/kernel/tracing/events/raw_syscalls has it. */
struct exited {
	u64 common;
	s64 id;
	s64 ret;
};

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
