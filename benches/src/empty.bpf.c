// SPDX-License-Identifier: GPL-2.0-only
/*
 * What any program at the system calls' tracepoints costs, whatever it does: the
 * kernel's own way there and back.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("raw_tp/sys_enter")
int empty_enter(struct bpf_raw_tracepoint_args *ctx)
{
	return 0;
}

SEC("raw_tp/sys_exit")
int empty_exit(struct bpf_raw_tracepoint_args *ctx)
{
	return 0;
}

/* Of perf's tracepoints, where those of raw ones can be preempted: the strategies are there, too. */
SEC("tracepoint/raw_syscalls/sys_enter")
int empty_enter_held(void *ctx)
{
	return 0;
}

SEC("tracepoint/raw_syscalls/sys_exit")
int empty_exit_held(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
