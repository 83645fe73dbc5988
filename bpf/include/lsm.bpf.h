/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the hooks and their decider share. Operations have the names of system calls (docs/lsm.md): a hook is numbered
 * like the call that is there for the same thing.
 *
 * All that a decision needs would be verified again for each of some sixty hooks. So it is one program, the decider,
 * which is verified once and put in the place of a function of each hook's program (freplace).
 */
#ifndef LSM_BPF_H
#define LSM_BPF_H

enum {
	SYS_write = 1,
	SYS_ioctl = 16,
	SYS_shmget = 29,
	SYS_shmat = 30,
	SYS_shmctl = 31,
	SYS_connect = 42,
	SYS_sendto = 44,
	SYS_bind = 49,
	SYS_listen = 50,
	SYS_semget = 64,
	SYS_semop = 65,
	SYS_semctl = 66,
	SYS_msgget = 68,
	SYS_msgsnd = 69,
	SYS_msgrcv = 70,
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
	SYS_setpriority = 141,
	SYS_sched_setscheduler = 144,
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
	SYS_move_pages = 279,
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

/* What a hook asks of the decider. */
enum step {
	STEP_BEGIN, /* whether the operation in s->call is to be judged by what it is about */
	STEP_PATH, /* the absolute path of s->mnt and s->dentry into the call */
	STEP_PATH2, /* likewise, as its second */
	STEP_END, /* what comes of the call, whose arguments are there: s->verdict */
	STEP_PROGRAM, /* likewise of the program in s->out.proc, that is about to run */
};

static __always_inline void judge_exec(struct scratch *s)
{
	/* Judged at bprm_creds_from_file, before there was no way back: here it is only told. */
	s->out.proc.flags = CALL_DECIDED | CALL_QUIET;
}

static __always_inline void returned(struct task *task)
{
}

static __always_inline void settle(void)
{
}

#endif
