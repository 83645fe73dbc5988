/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way of one operation that an LSM hook sees. What it is about comes from the
 * kernel's own objects, never from the caller's memory: no second thread can change
 * it after the check.
 */
#ifndef LSM_HOOK_BPF_H
#define LSM_HOOK_BPF_H

#include "lsm.bpf.h"
#include "protected_files.bpf.h"

/*
 * The kernel acts for itself under credentials that are not the task's: a file system on top of another one (overlay)
 * that opens what is below. What the task asked for was judged above. Requests of io_uring are made under credentials
 * of when they were prepared: of who has a ring, and of the kernel's workers for it, everything is judged. So is a core
 * dump: it is made where the task's code wants it, of memory with what that code wants in it.
 */
static __always_inline bool is_internal(struct task_struct *t)
{
	return t->cred != t->real_cred && !(t->flags & (PF_IO_WORKER | PF_DUMPCORE)) && !t->io_uring;
}

/* What the call that this task is in was given; NULL for a worker of the kernel, which is in none of its own. */
static __always_inline struct pt_regs *current_registers(void)
{
	struct task_struct *t = bpf_get_current_task_btf();

	return t->flags & PF_IO_WORKER ? NULL : (struct pt_regs *)bpf_task_pt_regs(t);
}

/* The call that this task is in; the number of a 32-bit one means another call, and has NR_32 beside it. */
static __always_inline u32 current_nr(void)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct pt_regs *regs = current_registers();
	u32 nr;

	if (!regs)
		return NR_UNKNOWN;
	nr = (u32)regs->orig_ax & ~X32_BIT;
	return t->thread_info.status & TS_COMPAT ? nr | NR_32 : nr;
}

/* By its 32-bit number it is judged, too: as foreign-abi. */
static __always_inline bool is_call(u32 now, u32 nr, u32 nr_32)
{
	return now == nr || now == (nr_32 | NR_32);
}

/* What a signal or a trace is for: known before anything is decided. */
struct target {
	u32 pid;
	u32 signal;
};

/*
 * Whose place the decider takes in each hook's program, before the object acts; weak, or the compiler would know what
 * it returns. Fails closed, but for the master's process, as where there is no scratch space.
 */
__weak __noinline u32 decider(struct scratch *s, struct task *task, struct proc *p, u32 step)
{
	if (!s)
		return 0;
	count(STAT_NO_DECIDER);
	if (s->mode == MODE_SANDBOX && s->may_kill)
		s->verdict = -EPERM;
	return 0;
}

/* One of two constants: newer kernels look at what a hook may return. */
static __always_inline s32 verdict_of(struct scratch *s)
{
	return s->verdict ? -EPERM : 0;
}

/*
 * Whether this operation of a subject's task is to be judged by what it is about; else *verdict is what
 * the hook returns.
 */
static __always_inline struct scratch *hook_begin_at(u32 op, struct target target, s32 *verdict)
{
	struct task_struct *t = bpf_get_current_task_btf();
	u32 tgid = t->tgid;
	struct rec_call *c;
	struct scratch *s;
	struct task *task;
	struct proc *p;

	*verdict = 0;
	p = proc_of(tgid);
	if (!p || !acts() || is_internal(t))
		return NULL;
	if (is_left_alone(p))
		return NULL;
	task = bpf_task_storage_get(&tasks, t, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!task)
		count(STAT_STORAGE_FAILED);
	s = claim_scratch();
	if (!s) {
		/* Fails closed: what cannot be decided does not happen. */
		if (mode_now() == MODE_SANDBOX && p->role != ROLE_MASTER)
			*verdict = -EPERM;
		return NULL;
	}
	if (s->ends) {
		kill_current(STAT_ENDED);
		*verdict = -EPERM;
		release_scratch(s);
		return NULL;
	}
	s->may_kill = p->role != ROLE_MASTER;
	s->verdict = 0;
	s->is_script = s->is_memory = s->inside[0] = s->inside[1] = 0;
	c = &s->call;
	clear_call(s);
	__builtin_memset(c->args, 0, sizeof(c->args));
	c->op = op;
	c->nr = op >> CLASS_BITS;
	c->target_pid = target.pid;
	if (target.pid) {
		bool traced = c->nr == SYS_ptrace;

		c->args[0] = traced ? 0 : target.pid;
		c->args[1] = traced ? target.pid : target.signal;
	}
	if (decider(s, task, p, STEP_BEGIN))
		return s;
	*verdict = verdict_of(s);
	release_scratch(s);
	return NULL;
}

static __always_inline struct scratch *hook_begin(u32 op, s32 *verdict)
{
	struct target nobody = {};

	return hook_begin_at(op, nobody, verdict);
}

/* Likewise, of an operation that may not be policed. */
static __always_inline struct scratch *hook_begin_policed(u32 op, s32 *verdict)
{
	*verdict = 0;
	return op_is_policed(op) ? hook_begin(op, verdict) : NULL;
}

/* Decides about what hook_begin() has claimed, whose arguments are there. What the hook returns. */
static __always_inline s32 hook_end(struct scratch *s)
{
	s32 verdict;

	decider(s, NULL, NULL, STEP_END);
	verdict = verdict_of(s);
	release_scratch(s);
	return verdict;
}

/* ---- what an operation is about ---- */

/* In scratch: a function of its own takes no pointer whose type the kernel knows. */
static __always_inline void path_at(struct scratch *s, struct vfsmount *mnt, struct dentry *d, u32 second)
{
	s->mnt = (u64)mnt;
	s->dentry = (u64)d;
	decider(s, NULL, NULL, second ? STEP_PATH2 : STEP_PATH);
}

static __always_inline void path_of(struct scratch *s, const struct path *path, u32 second)
{
	path_at(s, BPF_CORE_READ(path, mnt), BPF_CORE_READ(path, dentry), second);
}

static __always_inline void path_in(struct scratch *s, const struct path *dir, struct dentry *d, u32 second)
{
	path_at(s, BPF_CORE_READ(dir, mnt), d, second);
}

static __always_inline void note_other_names(struct scratch *s, struct inode *inode)
{
	if (BPF_CORE_READ(inode, i_nlink) > 1)
		s->is_script = is_protected_file(inode);
}

/* What is told of a file that may be changed. */
static __always_inline void take_file(struct scratch *s, const struct path *path)
{
	struct inode *inode = BPF_CORE_READ(path, dentry, d_inode);

	note_other_names(s, inode);
	path_of(s, path, 0);
	s->is_memory = is_called_mem(&s->call) && is_in_procfs(inode);
}

/* The text at s->dentry: the kernel's copy. */
__noinline int take_text_there(struct scratch *s)
{
	u64 text;
	long n;

	if (!s)
		return 0;
	text = s->dentry;
	if (!text)
		return 0;
	n = bpf_probe_read_kernel_str(s->call.path, PATH_ROOM, (void *)text);
	if (n < 0 || n == PATH_ROOM)
		s->call.flags |= n < 0 ? CALL_PATH_FAULT : CALL_PATH_TRUNCATED;
	else
		s->call.path_len = n > 0 ? n - 1 : 0;
	return 0;
}

static __always_inline void take_text(struct scratch *s, const char *text)
{
	s->dentry = (u64)text;
	take_text_there(s);
}

/* The socket address at s->dentry: the kernel's copy. */
__noinline int take_address(struct scratch *s, u32 len)
{
	u64 address;

	if (!s)
		return 0;
	address = s->dentry;
	if (!address)
		return 0;
	if (len > ADDR_ROOM)
		len = ADDR_ROOM;
	opaque(len);
	if (len > ADDR_ROOM || bpf_probe_read_kernel(s->call.addr, len, (void *)address))
		s->call.flags |= CALL_ADDR_FAULT;
	else
		s->call.addr_len = len;
	return 0;
}

/* An address without a family is nobody's in particular. */
static __always_inline u32 family_of(struct sockaddr *address, int len)
{
	if (!address || len < (int)sizeof(u16))
		return FAMILY_NONE;
	return class_family(BPF_CORE_READ(address, sa_family));
}

/* By number: 1 where only capable() sees the call. Filled before load. */
const volatile u8 by_capability[NR_MAX] = {};

/*
 * Whether a hook's argument is NULL. By way of memory: the verifier believes that what it knows the type of
 * never is, and drops the test.
 */
static __always_inline bool is_null(struct scratch *s, const void *argument)
{
	volatile u64 *cell = &s->dentry;

	*cell = (u64)argument;
	return !*cell;
}

/* What has no path and no address. */
static __always_inline s32 plain_hook(u32 op)
{
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	return s ? hook_end(s) : verdict;
}

static __always_inline s32 valued_hook(u32 op, u32 arg, u64 value)
{
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	if (!s)
		return verdict;
	s->call.args[arg] = value;
	return hook_end(s);
}

static __always_inline s32 path_hook(u32 op, const struct path *path)
{
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	if (!s)
		return verdict;
	path_of(s, path, 0);
	return hook_end(s);
}

static __always_inline s32 name_hook(u32 op, const struct path *dir, struct dentry *dentry)
{
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	if (!s)
		return verdict;
	path_in(s, dir, dentry, 0);
	return hook_end(s);
}

/*
 * What the task was asked for by a call of this number, and no object tells more about. Its registers are what the
 * kernel has used: no other thread can change them. What a pointer in them leads to is not looked at.
 */
static __always_inline s32 call_hook(u32 nr, u32 class)
{
	u32 op = op_of(nr, class);
	struct pt_regs *regs;
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	if (!s)
		return verdict;
	regs = current_registers();
	if (regs && current_nr() == nr)
		take_registers(&s->call, regs);
	if (calls[bounded(nr)].path_arg)
		s->call.flags |= CALL_PATH_FAULT;
	return hook_end(s);
}

/* Hooks that know a file by its inode alone: where it is mounted they do not tell. */
static __always_inline s32 inode_hook(u32 op)
{
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	if (!s)
		return verdict;
	s->call.flags |= CALL_PATH_FAULT;
	return hook_end(s);
}

static __always_inline s32 address_hook(u32 nr, struct sockaddr *address, int len)
{
	u32 op = op_of(nr, family_of(address, len));
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	if (!s)
		return verdict;
	s->dentry = (u64)address;
	take_address(s, len);
	return hook_end(s);
}

/* A worker of the kernel for an io_uring: made by the task that uses it, or by another worker. */
static __always_inline void worker_made(struct task_struct *t, struct task_struct *worker)
{
	u32 tgid = t->tgid;
	struct task *from, *to;

	if (!proc_of(tgid))
		return;
	to = bpf_task_storage_get(&tasks, worker, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	from = bpf_task_storage_get(&tasks, t, NULL, 0);
	if (!to) {
		count(STAT_STORAGE_FAILED); /* its site stays unknown: never granted (fails closed) */
		return;
	}
	to->kind = SITE_UNKNOWN;
	if (!from)
		return;
	if (t->flags & PF_IO_WORKER) {
		to->kind = from->kind;
		to->site = from->site;
	} else if (from->ring_kind) {
		to->kind = from->ring_kind;
		to->site = from->ring_site;
	}
}

#endif
