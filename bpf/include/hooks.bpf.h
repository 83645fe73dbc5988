/* SPDX-License-Identifier: GPL-2.0-only */
/* Entry points that every phase has: the lives of subjects, requests, and the first look round. */
#ifndef HOOKS_BPF_H
#define HOOKS_BPF_H

/* What the strategy does about what the current task has opened, before its next call and at its end. */
static __always_inline void settle(void);

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

static __always_inline void on_end(struct task_struct *t)
{
	settle();
	on_last_return();
	on_exit(t);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *t)
{
	on_end(t);
	return 0;
}

/* Of perf's tracepoint: preemption is off. */
SEC("tracepoint/sched/sched_process_exit")
int process_exit_held(void *ctx)
{
	on_end(bpf_get_current_task_btf());
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
	struct proc *p = proc_of(tgid);
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
		task->request++;
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
	struct proc *p = proc_of(tgid);
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

/* What was asked for, and what its code was named, of a taint: into s->call. Returns the record's length. */
static __always_inline u32 read_taint_names(struct scratch *s, u64 asked, u64 given)
{
	struct rec_call *c = &s->call;
	u32 len = offsetof(struct rec_call, path);
	long n = asked ? bpf_probe_read_user_str(c->path, PATH_ROOM, (void *)asked) : -1;

	if (n > 0) {
		c->path_len = n - 1;
		len = offsetof(struct rec_call, path) + (n & (2 * PATH_ROOM - 1));
	} else {
		c->flags |= CALL_PATH_FAULT;
	}
	n = given ? bpf_probe_read_user_str(c->path2, PATH_ROOM, (void *)given) : -1;
	if (n > 0) {
		c->path2_len = n - 1;
		len = offsetof(struct rec_call, path2) + (n & (2 * PATH_ROOM - 1));
	} else {
		c->flags |= CALL_PATH2_FAULT;
	}
	return len > sizeof(*c) ? sizeof(*c) : len;
}

/* Tells what became tainted, by whom and by which name, as far as it can be read. It holds, whether it is told or not. */
static __always_inline void tell_taint(u32 what, u64 argument, u64 cookie)
{
	struct task_struct *t = bpf_get_current_task_btf();
	u64 asked = 0, given = 0, handle = argument;
	struct proc *p = running_php();
	struct image *img = p ? image_by_id(p->image) : NULL;
	struct scratch *s = img ? claim_scratch() : NULL;
	struct rec_call *c;
	struct task *task;
	u32 len;

	if (!s)
		return; /* counted */
	c = &s->call;
	__builtin_memset(c, 0, offsetof(struct rec_call, chain));
	task = bpf_task_storage_get(&tasks, t, NULL, 0);
	c->op = NR_UNKNOWN << CLASS_BITS;
	c->reason = what & ((1 << TAINT_SCOPE_AT) - 1);
	c->error = what >> TAINT_SCOPE_AT;
	c->who.uid = (u32)bpf_get_current_uid_gid();
	fill_who(&c->who, t, p, task ? task->phase : PHASE_UNKNOWN);
	s->thread_pointer = t->thread.fsbase;
	s->eg = globals_at(s->thread_pointer, img, p->bias, img->eg);
	walk_chain(s, img);
	find_request(s, p, img);
	if (cookie == SOURCE_UNREGISTERED) {
		asked = argument + ZSTR_HEAD;
	} else {
		if (cookie == SOURCE_NAMED)
			given = argument + ZSTR_HEAD;
		if (cookie != SOURCE_COMPILED && !compiled_handle(p, img, &handle))
			handle = 0;
		asked = handle ? asked_at(img, handle) : 0;
	}
	len = read_taint_names(s, asked, given);
	rec_init(&c->h, REC_TAINT, len);
	emit(&c->h, len, false);
	release_scratch(s);
}

/* Where code comes from; what happened, the cookie says. */
static __always_inline void on_source(u64 argument, u64 cookie)
{
	u32 what;

	if (cookie == SOURCE_COMPILED)
		what = on_compile(argument);
	else if (cookie == SOURCE_NAMED)
		what = on_named(argument);
	else if (cookie == SOURCE_CONVERTED)
		what = on_converted(argument);
	else if (cookie == SOURCE_FIBER)
		what = on_fiber();
	else if (cookie == SOURCE_SAVED)
		what = on_saved();
	else
		what = on_unregister(argument);
	if (what)
		tell_taint(what, argument, cookie);
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

/* --attribution usdt: PHP tells. */
SEC("usdt")
int BPF_USDT(usdt_entry, u64 function, u64 file, u64 line, u64 class)
{
	usdt_enter(function, file, class);
	return 0;
}

SEC("usdt")
int BPF_USDT(usdt_return, u64 function, u64 file, u64 line, u64 class)
{
	usdt_leave(function, file, class);
	return 0;
}

#endif
