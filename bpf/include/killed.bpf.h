/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is killed at a call meets the signal on the way out of it: after the kernel has done what the call asked for,
 * before anybody's code runs, and before any of the process' threads can be seen as its last. So nobody needs to listen
 * at every return of the machine for that. Interrupts are off here: the kernel never skips it.
 */
#ifndef KILLED_BPF_H
#define KILLED_BPF_H

SEC("tp_btf/signal_deliver")
int BPF_PROG(signal_delivered, int signal)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct task *task = may_be_watched(t->tgid) ? bpf_task_storage_get(&tasks, t, NULL, 0) : NULL;

	if (!task)
		return 0;
	returned(task);
	if (signal == SIGKILL)
		tell_last_return(t, task);
	return 0;
}

#endif
