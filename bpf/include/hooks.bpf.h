/* SPDX-License-Identifier: GPL-2.0-only */
/* Entry points that every phase has: the lives of subjects, requests, and the first look round. */
#ifndef HOOKS_BPF_H
#define HOOKS_BPF_H

enum { PF_IO_WORKER = 0x10 };

/*
 * Two programs each for forks and ends, of which one is loaded, for the reason that
 * returns.bpf.h gives: who forks while another one is preempted in the middle of its fork
 * has a child that is not watched.
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	on_fork(parent, child);
	return 0;
}

/*
 * Where the child is first made runnable: with interrupts off, so nobody comes in between.
 * The kernel's workers come by here, too; whom they act for is known from their making.
 */
SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(process_fork_held, struct task_struct *child)
{
	if (!(BPF_CORE_READ(child, flags) & PF_IO_WORKER))
		on_fork(bpf_get_current_task_btf(), child);
	return 0;
}

/* Only here is the bprm at hand, so on newer kernels an exec can be skipped: counted. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *t, int old_pid, struct linux_binprm *bprm)
{
	on_exec(t, bprm);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *t)
{
	on_exit(t);
	return 0;
}

/* Of perf's tracepoint: preemption is off. */
SEC("tracepoint/sched/sched_process_exit")
int process_exit_held(void *ctx)
{
	on_exit(bpf_get_current_task_btf());
	return 0;
}

SEC("iter/task")
int find_running(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;

	if (t)
		on_iterate(t);
	return 0;
}

/* Once, at its end. */
SEC("iter/task")
int find_memory(struct bpf_iter__task *ctx)
{
	if (!ctx->task)
		find_layout();
	return 0;
}

/* Answers which file, as the kernel has it, is behind each descriptor of the tracer. */
const volatile u32 tracer_pid = 0;

SEC("iter/task_file")
int describe_fds(struct bpf_iter__task_file *ctx)
{
	struct task_struct *t = ctx->task;
	struct file *f = ctx->file;
	struct fd_answer a = {};

	if (!t || !f || t->tgid != tracer_pid)
		return 0;
	a.fd = ctx->fd;
	a.key.ino = BPF_CORE_READ(f, f_inode, i_ino);
	a.key.dev = BPF_CORE_READ(f, f_inode, i_sb, s_dev);
	bpf_seq_write(ctx->meta->seq, &a, sizeof(a));
	return 0;
}

static __always_inline void set_phase(u32 phase)
{
	struct task_struct *t = bpf_get_current_task_btf();
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct proc *p = bpf_map_lookup_elem(&procs, &tgid);
	struct task *task;

	/* Both objects of an adoption: seen twice it is the same, seen by neither it would be lost. */
	if (!p || !p->image)
		return;
	task = bpf_task_storage_get(&tasks, t, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!task) {
		count(STAT_STORAGE_FAILED);
		return;
	}
	if (usdt_attribution)
		usdt_reset(task);
	task->phase = phase;
	p->phase = phase;
	if (phase == PHASE_REQUEST) {
		task->taint = 0;
		count(STAT_REQUESTS);
		p->requests = 1;
		p->role = role_of(p, image_by_id(p->image));
	}
}

/*
 * A process that mapped a library image (mod_php, embed) becomes one of its
 * processes at its first request. The cookie is (image << 48 | EDGE_STARTS | symbol's vaddr).
 */
static __always_inline void join_library(u64 ip, u64 cookie)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32, id = cookie >> 48;
	struct image *img = image_by_id(id);
	struct proc *p = bpf_map_lookup_elem(&procs, &tgid);
	struct proc new = {};
	struct scratch *s;

	if (!img || !(img->flags & IMAGE_LIBRARY) || (p && p->image))
		return;
	if (!p) {
		if (scope_command || filter_pid || !passes_filters())
			return;
		new.start = bpf_get_current_task_btf()->group_leader->start_boottime;
		new.pool = bpf_get_current_task_btf()->real_parent->tgid;
		p = &new;
	}
	p->image = id;
	p->bias = ip - (cookie & EDGE_VADDR);
	if (p == &new && !store_proc(tgid, p))
		return;
	s = claim_scratch();
	if (!s)
		return;
	tell_proc(s, REC_ADOPT, bpf_get_current_task_btf(), p, PHASE_REQUEST, true);
	release_scratch(s);
}

/* A request begins or ends; which, the cookie says. */
static __always_inline void on_request_edge(u64 ip, u64 cookie)
{
	if (cookie & EDGE_STARTS) {
		join_library(ip, cookie);
		set_phase(PHASE_REQUEST);
	} else {
		set_phase(PHASE_SHUTDOWN);
	}
}

SEC("uprobe")
int BPF_KPROBE(request_edge)
{
	on_request_edge(ctx->ip, bpf_get_attach_cookie(ctx));
	return 0;
}

/* The same through one link for all edges of an image: Linux 6.6 (2023-10), and much quicker to detach. */
SEC("uprobe.multi")
int BPF_KPROBE(request_edges)
{
	on_request_edge(ctx->ip, bpf_get_attach_cookie(ctx));
	return 0;
}

/* Where code comes from; what happened, the cookie says. */
static __always_inline void on_source(u64 argument, u64 cookie)
{
	if (cookie == SOURCE_COMPILED)
		on_compile(argument);
	else if (cookie == SOURCE_NAMED)
		on_named(argument);
	else
		on_unregister(argument);
}

SEC("uprobe")
int BPF_KPROBE(source_edge, u64 argument)
{
	on_source(argument, bpf_get_attach_cookie(ctx));
	return 0;
}

SEC("uprobe.multi")
int BPF_KPROBE(source_edges, u64 argument)
{
	on_source(argument, bpf_get_attach_cookie(ctx));
	return 0;
}

#endif
