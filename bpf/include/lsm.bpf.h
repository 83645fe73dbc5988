/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way of one operation that an LSM hook sees. What it is about comes from the
 * kernel's own objects, never from the caller's memory: no second thread can change
 * it after the check. Operations have the names of system calls (docs/lsm.md): a hook
 * is numbered like the call that is there for the same thing.
 */
#ifndef LSM_BPF_H
#define LSM_BPF_H

/* --action */
const volatile u32 action_deny = 1;
const volatile u32 action_kill = 0;

enum {
	SYS_write = 1,
	SYS_mprotect = 10,
	SYS_ioctl = 16,
	SYS_shmctl = 31,
	SYS_connect = 42,
	SYS_accept = 43,
	SYS_sendto = 44,
	SYS_bind = 49,
	SYS_listen = 50,
	SYS_semctl = 66,
	SYS_msgctl = 71,
	SYS_fcntl = 72,
	SYS_truncate = 76,
	SYS_ftruncate = 77,
	SYS_rename = 82,
	SYS_mkdir = 83,
	SYS_rmdir = 84,
	SYS_creat = 85,
	SYS_link = 86,
	SYS_unlink = 87,
	SYS_symlink = 88,
	SYS_chmod = 90,
	SYS_chown = 92,
	SYS_ptrace = 101,
	SYS_syslog = 103,
	SYS_setuid = 105,
	SYS_setgid = 106,
	SYS_setgroups = 116,
	SYS_capset = 126,
	SYS_mknod = 133,
	SYS_personality = 135,
	SYS_modify_ldt = 154,
	SYS_pivot_root = 155,
	SYS_prctl = 157,
	SYS_chroot = 161,
	SYS_umount2 = 166,
	SYS_setxattr = 188,
	SYS_removexattr = 197,
	SYS_clock_settime = 227,
	SYS_mq_unlink = 241,
	SYS_keyctl = 250,
	SYS_inotify_add_watch = 254,
	SYS_unshare = 272,
	SYS_vmsplice = 278,
	SYS_utimensat = 280,
	SYS_fallocate = 285,
	SYS_perf_event_open = 298,
	SYS_fanotify_mark = 301,
	SYS_prlimit64 = 302,
	SYS_seccomp = 317,
	SYS_memfd_create = 319,
	SYS_userfaultfd = 323,
	SYS_copy_file_range = 326,
	SYS_io_uring_setup = 425,
	SYS_io_uring_enter = 426,
	SYS_io_uring_register = 427,
	SYS_move_mount = 429,
	SYS_pidfd_open = 434,
	SYS_openat2 = 437,
	SYS_memfd_secret = 447,
	SYS_file_setattr = 469,

	NR_32 = 0x80000000,
	NR32_fallocate = 324,
	NR32_memfd_create = 356,
	NR32_copy_file_range = 377,

	O_CREAT = 0100,
	FMODE_EXEC = 0x20, /* in f_flags: opened to be executed; no caller can set it */
	FMODE_CREATED = 0x100000, /* in f_mode: this open has made it */
	S_IFMT = 0170000,
	S_IFREG = 0100000,
	MAY_WRITE = 2,
	PID_FS_MAGIC = 0x50494446,
	MQUEUE_MAGIC = 0x19800202,
	PTRACE_MODE_ATTACH = 2,
	ATTR_OTHER = 1 | 2 | 4 | 8, /* mode, owner, group, size */
	ATTR_TIMES = 16 | 32,
};

static __always_inline u32 op_of(u32 nr, u32 class)
{
	return nr << CLASS_BITS | class;
}

/* Whether this task is in the middle of an exec: new memory, old mark. Only the loader acts there. */
static __always_inline bool is_loading(struct task_struct *t, struct proc *p)
{
	return p->mm && p->mm != (u64)BPF_CORE_READ(t, mm);
}

/*
 * The kernel acts for itself under credentials that are not the task's: a file system on top of another one (overlay)
 * that opens what is below. What the task asked for was judged above. Requests of io_uring are made under credentials
 * of when they were prepared: of who has a ring, and of the kernel's workers for it, everything is judged.
 */
static __always_inline bool is_internal(struct task_struct *t)
{
	return t->cred != t->real_cred && !(t->flags & PF_IO_WORKER) && !t->io_uring;
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

/* The site into s->call. The kernel's workers act for whoever made their io_uring; their own memory says nothing. */
__noinline int hook_site(struct scratch *s, struct task *task, struct proc *p)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct rec_call *c;
	struct image *img;

	if (!s || !p)
		return 0;
	c = &s->call;
	img = image_by_id(p->image);
	if (is_loading(t, p)) {
		c->unknown |= UNK_GLOBALS;
		set_unknown(s);
	} else if (is_ending(c, p)) {
		set_special(s, SITE_MASTER, c->who.phase);
	} else if (!p->image && !(p->flags & PROC_UNINTROSPECTED)) {
		return 0;
	} else if (t->flags & PF_IO_WORKER) {
		if (!recorded_site(s, task)) {
			c->unknown |= UNK_GLOBALS;
			set_unknown(s);
		}
	} else {
		find_site(s, t, task, p, img);
	}
	return 0;
}

__noinline u32 hook_recall(struct scratch *s)
{
	if (!s)
		return PAIR_NEW;
	s = own_scratch(s);
	if (!s)
		return PAIR_NEW;
	if (s->mode == MODE_PROFILE)
		pair_key_of(s);
	return recall(s);
}

__noinline u32 hook_decide(struct scratch *s)
{
	return s ? decide(s) : 1;
}

/* What is only told. */
__noinline int hook_rest(struct scratch *s, struct image *img)
{
	if (!s || !img)
		return 0;
	if (s->brief)
		walk_rest(s, img);
	return 0;
}

static __always_inline void hook_tell(struct scratch *s, struct task *task, struct image *img)
{
	struct rec_call *c = &s->call;
	u32 len;

	fill_who_rest(&c->who, bpf_get_current_task_btf());
	if (img)
		hook_rest(s, img);
	if (img && !(c->flags & CALL_SITE_RECORDED) && c->site_kind != SITE_UNKNOWN) {
		struct task_struct *t = bpf_get_current_task_btf();
		u32 tgid = t->tgid;
		struct proc *p = proc_of(tgid);

		if (p && !is_loading(t, p))
			find_request(s, p, img);
	}
	len = c->path2_len ? sizeof(*c) : offsetof(struct rec_call, path) + (c->path_len & (PATH_ROOM - 1));
	judge(s, task, img, len);
}

/* Whose site is: that of a child, a program or an io_uring, for whoever acts for it. */
static __always_inline bool is_recorded(u32 nr)
{
	return nr == SYS_clone || nr == SYS_execve || nr == SYS_io_uring_setup;
}

/* Where a child, a program or the kernel's workers for an io_uring come from is recorded, policed or not. */
static __always_inline void note_site(struct rec_call *c, struct task *task)
{
	u32 nr = c->nr;

	if (c->site_kind == SITE_NONE)
		return; /* of another program */
	if (nr == SYS_clone || nr == SYS_execve)
		record_site(c, task);
	opaque(task);
	if (nr != SYS_io_uring_setup || !task)
		return;
	/* Of two sites' rings one worker could serve both: {unknown}. */
	if (task->ring_kind && (task->ring_kind != c->site_kind || !same_hash(&task->ring_site, &c->site)))
		task->ring_kind = SITE_UNKNOWN;
	else
		task->ring_kind = c->site_kind;
	task->ring_site = c->site;
}

/* What a signal or a trace is for: known before anything is decided. */
struct target {
	u32 pid;
	u32 signal;
};

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
	if (p->flags & (PROC_COMMAND | PROC_IGNORED)) {
		if ((p->flags & PROC_COMMAND) || !passes_filters())
			return NULL;
		p->flags &= ~PROC_IGNORED;
	}
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
	s->may_kill = p->role != ROLE_MASTER;
	s->verdict = 0;
	count(STAT_CALLS);
	c = &s->call;
	__builtin_memset(c->args, 0, sizeof(c->args));
	c->op = op;
	c->nr = op >> CLASS_BITS;
	clear_call(s);
	c->target_pid = target.pid;
	if (target.pid) {
		bool traced = c->nr == SYS_ptrace;

		c->args[0] = traced ? 0 : target.pid;
		c->args[1] = traced ? target.pid : target.signal;
	}
	s->may_be_brief = decides_first(s) && !is_recorded(c->nr);
	c->who.uid = uid_of(t);
	fill_who_briefly(&c->who, t, p, task ? task->phase : PHASE_UNKNOWN);
	if (t->thread_info.status & TS_COMPAT) {
		count(STAT_FOREIGN);
		c->op = NR_FOREIGN << CLASS_BITS;
	}
	if (p->role == ROLE_MASTER)
		note_ending(c);
	hook_site(s, task, p);
	note_site(c, task);
	if (!op_is_policed(op)) {
		release_scratch(s);
		return NULL;
	}
	/* Allowed whatever it is about: nothing of that is looked at. */
	if (s->mode != MODE_PROFILE && hook_recall(s) == PAIR_SETTLED) {
		release_scratch(s);
		return NULL;
	}
	return s;
}

static __always_inline struct scratch *hook_begin(u32 op, s32 *verdict)
{
	struct target nobody = {};

	return hook_begin_at(op, nobody, verdict);
}

/* One of two constants: newer kernels look at what a hook may return. */
static __always_inline s32 verdict_of(struct scratch *s)
{
	return s->verdict ? -EPERM : 0;
}

/* Decides about what hook_begin() has claimed, whose arguments are there. What the hook returns. */
static __always_inline s32 hook_end(struct scratch *s)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct rec_call *c = &s->call;
	struct image *img;
	struct task *task;
	s32 verdict;

	if (s->mode == MODE_PROFILE ? hook_recall(s) == PAIR_SETTLED : !hook_decide(s))
		goto out;
	img = image_by_id(c->who.image);
	task = bpf_task_storage_get(&tasks, t, NULL, 0);
	hook_tell(s, task, img);
out:
	verdict = verdict_of(s);
	release_scratch(s);
	return verdict;
}

/* ---- what an operation is about ---- */

/* Copies what path_step() has built. */
static __always_inline void take_path(struct scratch *s, bool second)
{
	struct rec_call *c = &s->call;
	u32 off = s->path_off, len;

	if (s->path_state || off > PATH_ROOM) {
		c->flags |= second ? CALL_PATH2_TRUNCATED : CALL_PATH_TRUNCATED;
		return;
	}
	len = PATH_ROOM - off;
	opaque(len);
	if (len >= PATH_ROOM) {
		c->flags |= second ? CALL_PATH2_TRUNCATED : CALL_PATH_TRUNCATED;
		return;
	}
	bpf_probe_read_kernel(second ? c->path2 : c->path, len, &s->path[off & (PATH_ROOM - 1)]);
	if (second)
		c->path2_len = len;
	else
		c->path_len = len;
}

struct climbing {
	struct scratch *s;
	u32 done;
};

static long climb_step(u32 i, struct climbing *c)
{
	c->done = path_step(c->s);
	return c->done ? 1 : 0;
}

/* The absolute path of s->mnt and s->dentry, from the root of the mount namespace. */
__noinline int climb(struct scratch *s, u32 second)
{
	struct climbing c = {};

	if (!s)
		return 0;
	s->path_off = s->path_end = PATH_ROOM;
	s->path_state = 0;
	c.s = s;
	bpf_loop(64, climb_step, &c, 0);
	if (!c.done)
		s->path_state = 1; /* deeper than we look */
	if (s->path_off == PATH_ROOM && !s->path_state) {
		/* the root itself */
		s->path[PATH_ROOM - 1] = '/';
		s->path_off = PATH_ROOM - 1;
	}
	take_path(s, second);
	return 0;
}

/* In scratch: a function of its own takes no pointer whose type the kernel knows. */
static __always_inline void path_at(struct scratch *s, struct vfsmount *mnt, struct dentry *d, u32 second)
{
	s->mnt = (u64)mnt;
	s->dentry = (u64)d;
	climb(s, second);
}

static __always_inline void path_of(struct scratch *s, const struct path *path, u32 second)
{
	path_at(s, BPF_CORE_READ(path, mnt), BPF_CORE_READ(path, dentry), second);
}

static __always_inline void path_in(struct scratch *s, const struct path *dir, struct dentry *d, u32 second)
{
	path_at(s, BPF_CORE_READ(dir, mnt), d, second);
}

static __always_inline void path_of_open(struct scratch *s, struct file *f)
{
	path_at(s, BPF_CORE_READ(f, f_path.mnt), BPF_CORE_READ(f, f_path.dentry), 0);
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

/* ---- what the strategy does ---- */

static __always_inline void act(struct scratch *s)
{
	struct rec_call *c = &s->call;
	bool spare = c->flags & CALL_NEVER_KILL;

	/* One stray call of the master must not take the service down; code of a site is nobody's master. */
	if (spare && (c->site_kind == SITE_MASTER || c->site_kind == SITE_NONE))
		return;
	if (action_deny) {
		count(STAT_DENIED);
		c->flags |= CALL_DENIED;
		s->verdict = -EPERM;
	}
	if (action_kill && !spare)
		kill_violator(s);
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

	if (!op_is_policed(op))
		return 0;
	s = hook_begin(op, &verdict);
	return s ? hook_end(s) : verdict;
}

static __always_inline s32 valued_hook(u32 op, u32 arg, u64 value)
{
	struct scratch *s;
	s32 verdict;

	if (!op_is_policed(op))
		return 0;
	s = hook_begin(op, &verdict);
	if (!s)
		return verdict;
	s->call.args[arg] = value;
	return hook_end(s);
}

static __always_inline s32 path_hook(u32 op, const struct path *path)
{
	struct scratch *s;
	s32 verdict;

	if (!op_is_policed(op))
		return 0;
	s = hook_begin(op, &verdict);
	if (!s)
		return verdict;
	path_of(s, path, 0);
	return hook_end(s);
}

static __always_inline s32 name_hook(u32 op, const struct path *dir, struct dentry *dentry)
{
	struct scratch *s;
	s32 verdict;

	if (!op_is_policed(op))
		return 0;
	s = hook_begin(op, &verdict);
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

	if (!op_is_policed(op))
		return 0;
	s = hook_begin(op, &verdict);
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

	if (!op_is_policed(op))
		return 0;
	s = hook_begin(op, &verdict);
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

	if (!op_is_policed(op))
		return 0;
	s = hook_begin(op, &verdict);
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

/* Whether (origin, program) in s->out.proc may not run; what is told of it is in s->call then. */
__noinline u32 judge_program(struct scratch *s)
{
	struct rec_call *c;
	u32 reason;

	if (!s)
		return 0;
	c = &s->call;
	__builtin_memset(c->args, 0, sizeof(c->args));
	clear_call(s);
	c->generation = s->generation;
	reason = decide_exec(s, &s->out.proc.who);
	c->nr = SYS_execve;
	return reason;
}

#endif
