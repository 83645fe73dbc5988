/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a call asks for: its argument class, and the arguments that are shown.
 * Read at the system call's entry from memory that another thread may change
 * before the kernel reads it again: a tracepoint cannot do better (docs say so).
 */
#ifndef ARGS_BPF_H
#define ARGS_BPF_H

/* Filled before load from the table in intf.h. */
const volatile struct call_desc calls[NR_MAX] = {};
/* Numbers of which some class is policed, or that must be seen; and the operations that are policed. */
const volatile u8 policed_nr[NR_MAX] = {};
const volatile u64 policed_ops[OPS_MAX / 64] = {};

enum {
	SYS_clone = 56,
	SYS_fork = 57,
	SYS_vfork = 58,
	SYS_execve = 59,
	SYS_socket = 41,
	SYS_accept = 43,
	SYS_kill = 62,
	SYS_tkill = 200,
	SYS_tgkill = 234,
	SYS_rt_tgsigqueueinfo = 297,
	SYS_ioprio_set = 251,
	SYS_accept4 = 288,
	SYS_sendmmsg = 307,
	SYS_execveat = 322,
	SYS_clone3 = 435,
	MSGS_MAX = 4,
	MMSGHDR_SIZE = 64,
};

/* A number that was tested already, so that 6.1 sees it as well: the compiler drops what it knows to be so. */
static __always_inline u32 bounded(u32 nr)
{
	opaque(nr);
	return nr & (NR_MAX - 1);
}

static __always_inline bool op_is_policed(u32 op)
{
	return policed_ops[(op / 64) & (OPS_MAX / 64 - 1)] & (1ULL << (op % 64));
}

static __always_inline bool forks_or_execs(u32 nr)
{
	return (nr >= SYS_clone && nr <= SYS_execve) || nr == SYS_execveat || nr == SYS_clone3;
}

static __always_inline bool accepts(u32 nr)
{
	return nr == SYS_accept || nr == SYS_accept4;
}

static __always_inline u64 arg_of(struct rec_call *c, u32 n)
{
	switch (n) {
	case 0:
		return c->args[0];
	case 1:
		return c->args[1];
	case 2:
		return c->args[2];
	case 3:
		return c->args[3];
	case 4:
		return c->args[4];
	}
	return c->args[5];
}

/* A class_value for the family of the address at `addr`. */
static __always_inline u32 address_class(u64 addr)
{
	u16 family;

	if (!addr)
		return FAMILY_NONE;
	if (read_user_soon(&family, sizeof(family), addr))
		return CLASS_UNREADABLE;
	return class_family(family);
}

/* One message is what it says; of several, the first that names somebody; more than we look at: other. */
static __always_inline u32 message_class(struct rec_call *c)
{
	u32 n = c->nr == SYS_sendmmsg ? (u32)c->args[2] : 1, i, found = FAMILY_NONE;

	for (i = 0; i < MSGS_MAX; i++) {
		u64 name;
		u32 k;

		if (i >= n)
			break;
		if (read_user_soon(&name, sizeof(name), c->args[1] + i * MMSGHDR_SIZE))
			return CLASS_UNREADABLE;
		k = address_class(name);
		if (k != FAMILY_NONE && found != FAMILY_NONE && k != found)
			return FAMILY_OTHER;
		if (k != FAMILY_NONE)
			found = k;
	}
	return n > MSGS_MAX ? FAMILY_OTHER : found;
}

/* The process that a number means to the caller; 0: it cannot be told. */
static __always_inline u32 process_of(struct rec_call *c, u32 number, bool own_numbers)
{
	if ((s32)number <= 0)
		return 0;
	if (own_numbers)
		return number;
	return c->nr == SYS_tkill ? 0 : child_of_number(bpf_get_current_task_btf(), number);
}

/*
 * Whom a signal is for. Process groups, "everybody", and in another pid namespace whoever is no child of the caller,
 * cannot be told from here: strangers (fails closed).
 */
static __always_inline u32 kill_class(struct rec_call *c)
{
	u32 who = c->args[0];
	bool own_numbers;

	fill_nspid(&c->who, bpf_get_current_task_btf());
	own_numbers = c->who.nspid == c->who.pid;
	if (c->nr == SYS_tkill) {
		if (own_numbers && who == c->who.tid)
			return KILL_SELF;
	} else if (who == c->who.nspid) {
		c->target_pid = c->who.pid;
		return KILL_SELF;
	}
	who = process_of(c, who, own_numbers);
	if (!who)
		return KILL_STRANGER;
	c->target_pid = who;
	if (proc_of(who) || ended_child(who, c->who.pid))
		return KILL_SUBJECT;
	return KILL_STRANGER;
}

/* Whether this signal ends the task: by default, and it has no handler for it. */
static __always_inline bool is_end_of(struct task_struct *t, u64 signal)
{
	u64 handler = 1, actions = (u64)BPF_CORE_READ(t, sighand);

	if (!ends_by_default(signal))
		return false;
	actions += bpf_core_field_offset(struct sighand_struct, action) +
		   bpf_core_field_offset(struct k_sigaction, sa.sa_handler);
	return !bpf_probe_read_kernel(&handler, sizeof(handler),
				      (void *)actions +
					      ((u32)signal - 1) * bpf_core_type_size(struct k_sigaction)) &&
	       !handler;
}

/*
 * Told to end, PHP and shells send themselves the signal once more, without a handler, wherever their code is. That
 * reaches nobody else and does no more than exit(): it is not told.
 */
static __always_inline bool ends_itself(struct rec_call *c, u32 nr, u32 class)
{
	if (calls[bounded(nr)].class_kind != CLASS_KILL || class != KILL_SELF)
		return false;
	return is_end_of(bpf_get_current_task_btf(),
			 c->args[nr == SYS_tgkill || nr == SYS_rt_tgsigqueueinfo ? 2 : 1]);
}

/* Numbers of another pid namespace cannot be told from here, but for the process' own. */
static __always_inline u32 whose_class(struct rec_call *c, u32 kind, u64 who)
{
	u32 thread;

	fill_nspid(&c->who, bpf_get_current_task_btf());
	thread = c->who.nspid == c->who.pid ? c->who.tid : 0;
	if (kind == CLASS_WHOSE)
		return class_whose(who, c->who.nspid, thread);
	/* PRIO_PROCESS, IOPRIO_WHO_PROCESS */
	return class_which(c->args[0], c->nr == SYS_ioprio_set, who, c->who.nspid, thread);
}

__noinline u32 class_of(struct rec_call *c, u32 kind, u32 arg)
{
	u64 v, flags;

	if (!c)
		return CLASS_UNREADABLE;
	v = arg_of(c, arg);
	switch (kind) {
	case CLASS_NONE:
		return 0;
	case CLASS_OPEN:
		return class_open(v);
	case CLASS_OPEN_HOW:
		if (read_user_soon(&flags, sizeof(flags), v))
			return CLASS_UNREADABLE;
		return class_open(flags);
	case CLASS_CLONE:
		return class_clone(v);
	case CLASS_CLONE3:
		if (read_user_soon(&flags, sizeof(flags), v))
			return CLASS_UNREADABLE;
		return class_clone3(flags);
	case CLASS_KILL:
		return kill_class(c);
	case CLASS_FAMILY:
		return class_family(v);
	case CLASS_ADDRESS:
	case CLASS_SENDTO:
		return address_class(v);
	case CLASS_SENDMSG:
		return message_class(c);
	case CLASS_MMAP:
	case CLASS_MPROTECT:
		return class_mem(v);
	case CLASS_FCNTL:
		return class_fcntl(v);
	case CLASS_IOCTL:
		return class_ioctl(v);
	case CLASS_PRCTL:
		return class_prctl(v);
	case CLASS_SHMAT:
		return class_shmat(v);
	case CLASS_IPC:
		return class_ipc(v);
	case CLASS_LIMITS:
		return class_limits(v);
	case CLASS_WHOSE:
	case CLASS_WHICH:
		return whose_class(c, kind, v);
	}
	return CLASS_UNREADABLE;
}

/* NULL is a path that was not given (utimensat), and nothing to be read. */
static __always_inline void count_fault(u64 address)
{
	if (address)
		count(STAT_ARG_FAULT);
}

/*
 * Paths and addresses, each with its own fault flag. Returns the record's length. Nothing is waited for: mostly what cannot
 * be read is a constant that nobody has touched yet, which only the call itself brings in.
 */
__noinline u32 read_args(struct scratch *s, u32 nr)
{
	u32 arg, len = offsetof(struct rec_call, path);
	struct rec_call *c;

	if (!s)
		return len;
	c = &s->call;
	c->path_len = c->path2_len = c->addr_len = 0;
	if (nr >= NR_MAX)
		return len;
	arg = calls[bounded(nr)].path_arg;
	if (arg) {
		long n = bpf_probe_read_user_str(c->path, PATH_ROOM, (void *)arg_of(c, arg - 1));

		if (n < 0) {
			c->flags |= CALL_PATH_FAULT;
			count_fault(arg_of(c, arg - 1));
			n = 0;
		} else if (n == PATH_ROOM) {
			c->flags |= CALL_PATH_TRUNCATED;
		}
		c->path_len = n > 0 ? n - 1 : 0;
		len = offsetof(struct rec_call, path) + (n & (2 * PATH_ROOM - 1));
	}
	arg = calls[bounded(nr)].path2_arg;
	if (arg) {
		long n = bpf_probe_read_user_str(c->path2, PATH_ROOM, (void *)arg_of(c, arg - 1));

		if (n < 0) {
			c->flags |= CALL_PATH2_FAULT;
			count_fault(arg_of(c, arg - 1));
			n = 0;
		} else if (n == PATH_ROOM) {
			c->flags |= CALL_PATH2_TRUNCATED;
		}
		c->path2_len = n > 0 ? n - 1 : 0;
		len = offsetof(struct rec_call, path2) + (n & (2 * PATH_ROOM - 1));
	}
	arg = calls[bounded(nr)].addr_arg;
	if (arg) {
		u64 addr = arg_of(c, arg - 1);
		u32 n = calls[bounded(nr)].addrlen_arg ? (u32)arg_of(c, calls[bounded(nr)].addrlen_arg - 1)
						       : 0;

		if (n > ADDR_ROOM)
			n = ADDR_ROOM;
		if (addr && n) {
			opaque(n);
			if (n > ADDR_ROOM || bpf_probe_read_user(c->addr, n, (void *)addr)) {
				c->flags |= CALL_ADDR_FAULT;
				count(STAT_ARG_FAULT);
			} else {
				c->addr_len = n;
			}
		}
	}
	if (calls[bounded(nr)].msghdr_arg) {
		u64 name = 0;

		if (bpf_probe_read_user(&name, sizeof(name), (void *)c->args[1]) ||
		    (name && bpf_probe_read_user(c->addr, 28, (void *)name))) {
			c->flags |= CALL_ADDR_FAULT;
			count(STAT_ARG_FAULT);
		} else if (name) {
			c->addr_len = 28;
		}
	}
	return len;
}

enum { ARGS_FAULT = CALL_PATH_FAULT | CALL_PATH2_FAULT | CALL_ADDR_FAULT };

static __always_inline void wait_for_string(char *room, u64 at)
{
	if (wait_for_memory(at) && bpf_probe_read_user_str(room, PATH_ROOM, (void *)at) < 0)
		wait_for_memory((at | (PAGE_BYTES - 1)) + 1);
}

/* Again, after waiting for what could not be read: for a call that would be denied for it. */
__noinline u32 read_args_soon(struct scratch *s, u32 nr)
{
	struct rec_call *c;
	u64 name = 0;

	if (!s || nr >= NR_MAX)
		return offsetof(struct rec_call, path);
	c = &s->call;
	if (c->flags & CALL_PATH_FAULT)
		wait_for_string(c->path, arg_of(c, calls[bounded(nr)].path_arg - 1));
	if (c->flags & CALL_PATH2_FAULT)
		wait_for_string(c->path2, arg_of(c, calls[bounded(nr)].path2_arg - 1));
	if (c->flags & CALL_ADDR_FAULT && calls[bounded(nr)].addr_arg)
		wait_for_range(arg_of(c, calls[bounded(nr)].addr_arg - 1), sizeof(u64));
	if (c->flags & CALL_ADDR_FAULT && calls[bounded(nr)].msghdr_arg &&
	    !read_user_soon(&name, sizeof(name), c->args[1]))
		wait_for_range(name, 28);
	c->flags &= ~ARGS_FAULT;
	return read_args(s, nr);
}

#endif
