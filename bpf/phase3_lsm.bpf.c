// SPDX-License-Identifier: GPL-2.0-only
/*
 * Phase 3 with LSM: decided at the hooks, where the kernel has resolved what the call
 * is about. A call that the profile does not allow gets -EPERM before it does anything,
 * and PHP goes on. docs/lsm.md says which hook sees what.
 *
 * Where BPF programs are no LSM of this kernel, the same programs are attached as
 * fmod_ret to the functions security_*: user space changes their type before load.
 */
enum { DECIDES_HERE = 1, PATHS_FROM_KERNEL = 1 };

#include "phase.bpf.h"
#include "policy.bpf.h"
#include "lsm_hook.bpf.h"

/* ---- files ---- */

/*
 * What makes a file, where no other hook sees it: memfd_create (seen on 6.18; on 7.3 it has a hook), and pidfd_open
 * before Linux 6.9 (2024-05). It is asked for every file. Set before load: whether it is loaded.
 */
const volatile u32 by_allocation = 0;

SEC("lsm/file_alloc_security")
int BPF_PROG(file_alloc_security)
{
	u32 now = current_nr();

	if (is_call(now, SYS_memfd_create, NR32_memfd_create))
		return call_hook(SYS_memfd_create, 0);
	return is_call(now, SYS_pidfd_open, SYS_pidfd_open) ? call_hook(SYS_pidfd_open, 0) : 0;
}

/* Since Linux 6.9 (2024-05) a descriptor of a process is made by opening a file. */
static __always_inline bool is_pidfd(struct file *file)
{
	return file->f_inode->i_sb->s_magic == PID_FS_MAGIC;
}

/* Other calls that make one are judged as what they are (clone). */
static __always_inline s32 pidfd_hook(void)
{
	if (by_allocation || !is_call(current_nr(), SYS_pidfd_open, SYS_pidfd_open))
		return 0;
	return call_hook(SYS_pidfd_open, 0);
}

SEC("lsm/file_open")
int BPF_PROG(file_open, struct file *file)
{
	u32 flags = file->f_flags, op = op_of(SYS_openat, class_open(flags));
	struct scratch *s;
	s32 verdict;

	if (is_pidfd(file))
		return pidfd_hook();
	if (!op_is_policed(op) || (flags & FMODE_EXEC))
		return 0;
	/* Judged as the same operation when its name was made. */
	if ((flags & O_CREAT) && (file->f_mode & FMODE_CREATED))
		return 0;
	s = hook_begin(op, &verdict);
	if (!s)
		return verdict;
	s->call.args[2] = flags;
	take_file(s, &file->f_path);
	return hook_end(s);
}

/* A regular file is made: by open or by mknod. Here, because file_open comes when it is there already. */
SEC("lsm/path_mknod")
int BPF_PROG(path_mknod, const struct path *dir, struct dentry *dentry, umode_t mode)
{
	bool regular = !(mode & S_IFMT) || (mode & S_IFMT) == S_IFREG;

	return name_hook(regular ? op_of(SYS_openat, OPEN_CREATE) : op_of(SYS_mknod, 0), dir, dentry);
}

/* So is a message queue, which has no path. */
SEC("lsm/inode_create")
int BPF_PROG(inode_create, struct inode *dir)
{
	return dir->i_sb->s_magic == MQUEUE_MAGIC ? inode_hook(op_of(SYS_openat, OPEN_CREATE)) : 0;
}

/* Its removal passes no hook of paths. */
SEC("lsm/inode_unlink")
int BPF_PROG(inode_unlink, struct inode *dir)
{
	return dir->i_sb->s_magic == MQUEUE_MAGIC ? call_hook(SYS_mq_unlink, 0) : 0;
}

SEC("lsm/path_unlink")
int BPF_PROG(path_unlink, const struct path *dir, struct dentry *dentry)
{
	return name_hook(op_of(SYS_unlink, 0), dir, dentry);
}

SEC("lsm/path_mkdir")
int BPF_PROG(path_mkdir, const struct path *dir, struct dentry *dentry)
{
	return name_hook(op_of(SYS_mkdir, 0), dir, dentry);
}

SEC("lsm/path_rmdir")
int BPF_PROG(path_rmdir, const struct path *dir, struct dentry *dentry)
{
	return name_hook(op_of(SYS_rmdir, 0), dir, dentry);
}

SEC("lsm/path_rename")
int BPF_PROG(path_rename, const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir,
	     struct dentry *new_dentry)
{
	u32 op = op_of(SYS_rename, 0);
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	if (!s)
		return verdict;
	path_in(s, old_dir, old_dentry, 0);
	path_in(s, new_dir, new_dentry, 1);
	return hook_end(s);
}

SEC("lsm/path_link")
int BPF_PROG(path_link, struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry)
{
	u32 op = op_of(SYS_link, 0);
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	if (!s)
		return verdict;
	path_in(s, new_dir, old_dentry, 0); /* both are in the same mount, or there is no link */
	path_in(s, new_dir, new_dentry, 1);
	return hook_end(s);
}

SEC("lsm/path_symlink")
int BPF_PROG(path_symlink, const struct path *dir, struct dentry *dentry, const char *old_name)
{
	u32 op = op_of(SYS_symlink, 0);
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	if (!s)
		return verdict;
	take_text(s, old_name);
	path_in(s, dir, dentry, 1);
	return hook_end(s);
}

/* Truncation as part of an open was judged as that. */
static __always_inline bool is_opening(void)
{
	u32 nr = current_nr();

	return nr == SYS_open || nr == SYS_openat || nr == SYS_openat2 || nr == SYS_creat;
}

static __always_inline s32 truncate_hook(const struct path *path)
{
	struct scratch *s;
	s32 verdict;

	if (is_opening())
		return 0;
	s = hook_begin_policed(op_of(SYS_truncate, 0), &verdict);
	if (!s)
		return verdict;
	take_file(s, path);
	return hook_end(s);
}

SEC("lsm/path_truncate")
int BPF_PROG(path_truncate, const struct path *path)
{
	return truncate_hook(path);
}

/* Linux 6.2 (2022-12); before it path_truncate sees both. */
SEC("lsm/file_truncate")
int BPF_PROG(file_truncate, struct file *file)
{
	return truncate_hook(&file->f_path);
}

SEC("lsm/path_chmod")
int BPF_PROG(path_chmod, const struct path *path, umode_t mode)
{
	return path_hook(op_of(SYS_chmod, 0), path);
}

SEC("lsm/path_chown")
int BPF_PROG(path_chown, const struct path *path)
{
	return path_hook(op_of(SYS_chown, 0), path);
}

/* Which argument has the attributes: the third since Linux 6.9 (2024-03), the second before. Set before load. */
const volatile u32 setattr_third = 1;

/* Times; everything else has hooks of its own. */
SEC("lsm/inode_setattr")
int inode_setattr(u64 *ctx)
{
	struct iattr *attr;
	u32 what;

	/* The context may only be read at offsets that are constant, and the compiler would join these. */
	if (setattr_third)
		asm volatile("%0 = *(u64 *)(%1 + 16)" : "=r"(attr) : "r"(ctx));
	else
		asm volatile("%0 = *(u64 *)(%1 + 8)" : "=r"(attr) : "r"(ctx));
	what = BPF_CORE_READ(attr, ia_valid);

	if (!(what & ATTR_TIMES) || (what & ATTR_OTHER))
		return 0;
	return inode_hook(op_of(SYS_utimensat, 0));
}

SEC("lsm/inode_setxattr")
int inode_setxattr(u64 *ctx)
{
	return inode_hook(op_of(SYS_setxattr, 0));
}

SEC("lsm/inode_removexattr")
int inode_removexattr(u64 *ctx)
{
	return inode_hook(op_of(SYS_removexattr, 0));
}

/* Linux 6.17 (2025-09), as is the call. The same by ioctl was judged as that. */
SEC("lsm/inode_file_setattr")
int BPF_PROG(inode_file_setattr)
{
	return current_nr() == SYS_ioctl ? 0 : call_hook(SYS_file_setattr, 0);
}

/* Two calls; of a 32-bit one it does not matter which. */
SEC("lsm/path_notify")
int BPF_PROG(path_notify, const struct path *path)
{
	u32 nr = current_nr() == SYS_inotify_add_watch ? SYS_inotify_add_watch : SYS_fanotify_mark;

	return path_hook(op_of(nr, 0), path);
}

SEC("lsm/path_chroot")
int BPF_PROG(path_chroot, const struct path *path)
{
	return path_hook(op_of(SYS_chroot, 0), path);
}

SEC("lsm/file_ioctl")
int BPF_PROG(file_ioctl, struct file *file, unsigned int cmd)
{
	return valued_hook(op_of(SYS_ioctl, class_ioctl(cmd)), 1, cmd);
}

SEC("lsm/file_fcntl")
int BPF_PROG(file_fcntl, struct file *file, unsigned int cmd)
{
	return valued_hook(op_of(SYS_fcntl, class_fcntl(cmd)), 1, cmd);
}

/* What writes to a file that is open. What is not policed by its own name is a write like any. */
static __always_inline u32 nr_of_write(void)
{
	u32 now = current_nr();

	if (is_call(now, SYS_copy_file_range, NR32_copy_file_range) &&
	    op_is_policed(op_of(SYS_copy_file_range, 0)))
		return SYS_copy_file_range;
	if (is_call(now, SYS_fallocate, NR32_fallocate) && op_is_policed(op_of(SYS_fallocate, 0)))
		return SYS_fallocate;
	return SYS_write;
}

/* It runs at every read and write of everybody, who leave here as soon as they can. */
SEC("lsm/file_permission")
int BPF_PROG(file_permission, struct file *file, int mask)
{
	return (mask & MAY_WRITE) ? call_hook(nr_of_write(), 0) : 0;
}

/* ---- memory ---- */

static __always_inline s32 memory_hook(u32 nr, u64 prot, struct file *file, bool mapped)
{
	u32 op = op_of(nr, class_mem(prot)), tgid;
	struct task_struct *t;
	struct scratch *s;
	struct proc *p;
	s32 verdict;

	if (!op_is_policed(op))
		return 0;
	t = bpf_get_current_task_btf();
	tgid = t->tgid;
	p = proc_of(tgid);
	if (p && is_loading(t, p))
		return 0; /* a program that was judged is being mapped */
	s = hook_begin(op, &verdict);
	if (!s)
		return verdict;
	s->call.args[2] = prot;
	if (mapped && is_null(s, file))
		s->call.args[MMAP_FD] = (u32)-1; /* of no file */
	return hook_end(s);
}

SEC("lsm/mmap_file")
int BPF_PROG(mmap_file, struct file *file, unsigned long reqprot, unsigned long prot)
{
	return memory_hook(SYS_mmap, prot, file, true);
}

SEC("lsm/file_mprotect")
int BPF_PROG(file_mprotect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
{
	return memory_hook(SYS_mprotect, prot, NULL, false);
}

/* ---- programs and tasks ---- */

SEC("lsm/bprm_creds_for_exec")
int BPF_PROG(bprm_creds_for_exec, struct linux_binprm *bprm)
{
	struct scratch *s;
	s32 verdict;

	/* Also where it is not policed: where a program comes from is always recorded. */
	s = hook_begin(op_of(SYS_execve, 0), &verdict);
	if (!s)
		return verdict;
	if (path_of_file(s, BPF_CORE_READ(bprm, file)))
		s->path_state = 1;
	take_path(s, false);
	return hook_end(s);
}

/* The program that it comes to, interpreters resolved: the last moment at which it can be refused. */
SEC("lsm/bprm_creds_from_file")
int BPF_PROG(bprm_creds_from_file, struct linux_binprm *bprm)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct scratch *s;
	struct task *task;
	s32 verdict;
	u32 tgid = t->tgid;
	struct proc *p;

	if (!op_is_policed(NR_EXEC << CLASS_BITS))
		return 0;
	p = proc_of(tgid);
	if (!p || (p->flags & (PROC_COMMAND | PROC_IGNORED)) || !acts())
		return 0;
	s = claim_scratch();
	if (!s)
		return mode_now() == MODE_SANDBOX && p->role != ROLE_MASTER ? -EPERM : 0; /* fails closed */
	s->verdict = 0;
	if (s->mode == MODE_PROFILE)
		goto out; /* learnt when it runs */
	task = bpf_task_storage_get(&tasks, t, NULL, 0);
	describe_exec(s, t, bprm, p, task);
	fill_who(&s->out.proc.who, t, &s->fresh, PHASE_STARTUP);
	s->out.proc.who.uid = (u32)bpf_get_current_uid_gid();
	s->may_kill = p->role != ROLE_MASTER;
	decider(s, task, NULL, STEP_PROGRAM);
out:
	verdict = verdict_of(s);
	release_scratch(s);
	return verdict;
}

SEC("lsm/task_alloc")
int BPF_PROG(task_alloc, struct task_struct *child, unsigned long clone_flags)
{
	u32 op = op_of(SYS_clone, class_clone3(clone_flags));
	struct task_struct *t = bpf_get_current_task_btf();
	struct scratch *s;
	s32 verdict;

	if (BPF_CORE_READ(child, flags) & PF_IO_WORKER) {
		worker_made(t, child);
		return 0;
	}
	s = hook_begin(op, &verdict);
	if (!s)
		return verdict;
	s->call.args[0] = clone_flags;
	return hook_end(s);
}

/* Whom a signal is for: by the task itself, not by a number. */
static __always_inline u32 target_class(struct task_struct *target, u32 own)
{
	u32 tgid = BPF_CORE_READ(target, tgid);

	if (tgid == own)
		return KILL_SELF;
	return proc_of(tgid) || ended_child(tgid, own) ? KILL_SUBJECT : KILL_STRANGER;
}

static __always_inline bool is_foreign_abi(void)
{
	return bpf_get_current_task_btf()->thread_info.status & TS_COMPAT;
}

SEC("lsm/task_kill")
int BPF_PROG(task_kill, struct task_struct *target, struct kernel_siginfo *info, int sig,
	     const struct cred *cred)
{
	u32 own = bpf_get_current_pid_tgid() >> 32, op = op_of(SYS_kill, target_class(target, own));
	struct target whom = { .pid = BPF_CORE_READ(target, tgid), .signal = sig };
	struct scratch *s;
	s32 verdict;

	if (!op_is_policed(op) || (whom.pid == own && !is_foreign_abi() && is_end_of(target, sig)))
		return 0;
	s = hook_begin_at(op, whom, &verdict);
	if (!s)
		return verdict;
	if (!is_null(s, cred)) {
		/* With credentials: on behalf of somebody who asked for it before. */
		release_scratch(s);
		return 0;
	}
	return hook_end(s);
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(ptrace_access_check, struct task_struct *child, unsigned int mode)
{
	struct target whom = { .pid = BPF_CORE_READ(child, tgid) };
	u32 op = op_of(SYS_ptrace, 0);
	struct scratch *s;
	s32 verdict;

	if (!(mode & PTRACE_MODE_ATTACH) || !op_is_policed(op))
		return 0;
	s = hook_begin_at(op, whom, &verdict);
	return s ? hook_end(s) : verdict;
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(ptrace_traceme, struct task_struct *parent)
{
	return plain_hook(op_of(SYS_ptrace, 0));
}

/* Of another task: for one's own the kernel does not ask. */
SEC("lsm/task_prlimit")
int BPF_PROG(task_prlimit)
{
	return call_hook(SYS_prlimit64, LIMITS_OTHER);
}

/* Another one's limits were judged above. */
SEC("lsm/task_setrlimit")
int BPF_PROG(task_setrlimit, struct task_struct *target)
{
	u32 own = bpf_get_current_pid_tgid() >> 32;

	return target->tgid == own ? call_hook(SYS_prlimit64, LIMITS_SELF) : 0;
}

/* Whose processor time, memory's place and the like is changed: by the task itself, not by a number. */
static __always_inline s32 whose_hook(u32 nr, struct task_struct *target)
{
	u32 own = bpf_get_current_pid_tgid() >> 32;
	struct target whom = { .pid = target->tgid };
	u32 op = op_of(nr, whom.pid == own ? LIMITS_SELF : LIMITS_OTHER);
	struct scratch *s;
	s32 verdict;

	if (!op_is_policed(op))
		return 0;
	s = hook_begin_at(op, whom, &verdict);
	if (!s)
		return verdict;
	if (nr == SYS_setpriority || nr == SYS_ioprio_set)
		s->call.args[1] = whom.pid;
	return hook_end(s);
}

SEC("lsm/task_setnice")
int BPF_PROG(task_setnice, struct task_struct *target)
{
	return whose_hook(SYS_setpriority, target);
}

SEC("lsm/task_setioprio")
int BPF_PROG(task_setioprio, struct task_struct *target)
{
	return whose_hook(SYS_ioprio_set, target);
}

SEC("lsm/task_setscheduler")
int BPF_PROG(task_setscheduler, struct task_struct *target)
{
	return whose_hook(SYS_sched_setscheduler, target);
}

SEC("lsm/task_movememory")
int BPF_PROG(task_movememory, struct task_struct *target)
{
	return whose_hook(SYS_move_pages, target);
}

SEC("lsm/task_prctl")
int BPF_PROG(task_prctl, int option, unsigned long arg2)
{
	return valued_hook(op_of(SYS_prctl, class_prctl(option)), 0, (u32)option);
}

SEC("lsm/task_fix_setuid")
int BPF_PROG(task_fix_setuid, struct cred *new, const struct cred *old)
{
	return valued_hook(op_of(SYS_setuid, 0), 0, BPF_CORE_READ(new, uid.val));
}

SEC("lsm/task_fix_setgid")
int BPF_PROG(task_fix_setgid, struct cred *new, const struct cred *old)
{
	return plain_hook(op_of(SYS_setgid, 0));
}

SEC("lsm/task_fix_setgroups")
int BPF_PROG(task_fix_setgroups, struct cred *new, const struct cred *old)
{
	return plain_hook(op_of(SYS_setgroups, 0));
}

SEC("lsm/capset")
int BPF_PROG(capset, struct cred *new, const struct cred *old)
{
	return plain_hook(op_of(SYS_capset, 0));
}

SEC("lsm/userns_create")
int BPF_PROG(userns_create, const struct cred *cred)
{
	return plain_hook(op_of(SYS_unshare, 0));
}

/* Calls that no other hook sees, as long as they take a capability that the caller has. */
SEC("lsm/capable")
int BPF_PROG(capable, const struct cred *cred)
{
	u32 nr = current_nr();

	/* A 32-bit number means another call: whatever it is, it is foreign-abi. */
	if (nr & NR_32)
		return plain_hook(op_of(NR_FOREIGN, 0));
	if (nr >= NR_MAX || !by_capability[bounded(nr)])
		return 0;
	return plain_hook(op_of(nr, 0));
}

/* ---- System V objects ---- */

/* One is made, or one that is there is found by its key. */
SEC("lsm/shm_alloc_security")
int BPF_PROG(shm_alloc_security)
{
	return call_hook(SYS_shmget, 0);
}

SEC("lsm/shm_associate")
int BPF_PROG(shm_associate)
{
	return call_hook(SYS_shmget, 0);
}

SEC("lsm/shm_shmat")
int BPF_PROG(shm_shmat, struct kern_ipc_perm *perm, char *at, int flags)
{
	return call_hook(SYS_shmat, class_shmat(flags));
}

SEC("lsm/shm_shmctl")
int BPF_PROG(shm_shmctl, struct kern_ipc_perm *perm, int cmd)
{
	return call_hook(SYS_shmctl, class_ipc(cmd));
}

SEC("lsm/sem_alloc_security")
int BPF_PROG(sem_alloc_security)
{
	return call_hook(SYS_semget, 0);
}

SEC("lsm/sem_associate")
int BPF_PROG(sem_associate)
{
	return call_hook(SYS_semget, 0);
}

SEC("lsm/sem_semop")
int BPF_PROG(sem_semop)
{
	return call_hook(SYS_semop, 0);
}

SEC("lsm/sem_semctl")
int BPF_PROG(sem_semctl, struct kern_ipc_perm *perm, int cmd)
{
	return call_hook(SYS_semctl, class_ipc(cmd));
}

SEC("lsm/msg_queue_alloc_security")
int BPF_PROG(msg_queue_alloc_security)
{
	return call_hook(SYS_msgget, 0);
}

SEC("lsm/msg_queue_associate")
int BPF_PROG(msg_queue_associate)
{
	return call_hook(SYS_msgget, 0);
}

SEC("lsm/msg_queue_msgsnd")
int BPF_PROG(msg_queue_msgsnd)
{
	return call_hook(SYS_msgsnd, 0);
}

/*
 * Of who receives: the hook for that runs where a message is handed over, which may be in the sender, and not where
 * there is none yet. By a 32-bit number it is foreign-abi, whichever it is.
 */
SEC("lsm/ipc_permission")
int BPF_PROG(ipc_permission)
{
	u32 now = current_nr();

	return now == SYS_msgrcv || (now & NR_32) ? call_hook(SYS_msgrcv, 0) : 0;
}

SEC("lsm/msg_queue_msgctl")
int BPF_PROG(msg_queue_msgctl, struct kern_ipc_perm *perm, int cmd)
{
	return call_hook(SYS_msgctl, class_ipc(cmd));
}

/* ---- sockets ---- */

SEC("lsm/socket_create")
int BPF_PROG(socket_create, int family, int type, int protocol, int kern)
{
	u32 op = op_of(SYS_socket, class_family(family));
	struct scratch *s;
	s32 verdict;

	if (kern || !op_is_policed(op))
		return 0;
	s = hook_begin(op, &verdict);
	if (!s)
		return verdict;
	s->call.args[0] = family;
	s->call.args[1] = type;
	s->call.args[2] = protocol;
	return hook_end(s);
}

SEC("lsm/socket_bind")
int BPF_PROG(socket_bind, struct socket *sock, struct sockaddr *address, int len)
{
	return address_hook(SYS_bind, address, len);
}

SEC("lsm/socket_connect")
int BPF_PROG(socket_connect, struct socket *sock, struct sockaddr *address, int len)
{
	return address_hook(SYS_connect, address, len);
}

SEC("lsm/socket_listen")
int BPF_PROG(socket_listen, struct socket *sock, int backlog)
{
	return valued_hook(op_of(SYS_listen, 0), 1, backlog);
}

/* Also where it is not policed: who is a worker is told by it. */
SEC("lsm/socket_accept")
int BPF_PROG(socket_accept, struct socket *sock, struct socket *new)
{
	struct task_struct *t = bpf_get_current_task_btf();
	u32 tgid = t->tgid;
	struct proc *p = proc_of(tgid);

	if (p && acts())
		begins_to_serve(p);
	return plain_hook(op_of(SYS_accept, 0));
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(socket_sendmsg, struct socket *sock, struct msghdr *msg)
{
	void *name = BPF_CORE_READ(msg, msg_name);

	return name ? address_hook(SYS_sendto, name, BPF_CORE_READ(msg, msg_namelen)) : 0;
}

/* ---- the system ---- */

SEC("lsm/sb_mount")
int BPF_PROG(sb_mount, const char *dev_name, const struct path *path, const char *type, unsigned long flags)
{
	u32 op = op_of(SYS_mount, 0);
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	if (!s)
		return verdict;
	s->call.args[MOUNT_FLAGS] = flags;
	take_text(s, dev_name);
	path_of(s, path, 1);
	return hook_end(s);
}

SEC("lsm/move_mount")
int BPF_PROG(move_mount, const struct path *from, const struct path *to)
{
	u32 op = op_of(SYS_move_mount, 0);
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	if (!s)
		return verdict;
	path_of(s, from, 0);
	path_of(s, to, 1);
	return hook_end(s);
}

SEC("lsm/sb_umount")
int BPF_PROG(sb_umount, struct vfsmount *mnt)
{
	u32 op = op_of(SYS_umount2, 0);
	struct scratch *s;
	s32 verdict;

	s = hook_begin_policed(op, &verdict);
	if (!s)
		return verdict;
	path_at(s, mnt, BPF_CORE_READ(mnt, mnt_root), 0);
	return hook_end(s);
}

SEC("lsm/sb_pivotroot")
int BPF_PROG(sb_pivotroot, const struct path *old_path, const struct path *new_path)
{
	return path_hook(op_of(SYS_pivot_root, 0), new_path);
}

SEC("lsm/bpf")
int BPF_PROG(bpf, int cmd)
{
	return valued_hook(op_of(SYS_bpf, 0), 0, cmd);
}

SEC("lsm/perf_event_open")
int BPF_PROG(perf_event_open)
{
	return plain_hook(op_of(SYS_perf_event_open, 0));
}

SEC("lsm/key_permission")
int BPF_PROG(key_permission)
{
	return plain_hook(op_of(SYS_keyctl, 0));
}

SEC("lsm/key_alloc")
int BPF_PROG(key_alloc)
{
	return plain_hook(op_of(SYS_keyctl, 0));
}

SEC("lsm/syslog")
int BPF_PROG(syslog, int type)
{
	return valued_hook(op_of(SYS_syslog, 0), 0, type);
}

SEC("lsm/settime")
int BPF_PROG(settime)
{
	return plain_hook(op_of(SYS_clock_settime, 0));
}

/* Descriptors without a name in the file system: the kernel says what they are. */
SEC("lsm/inode_init_security_anon")
int BPF_PROG(inode_init_security_anon, struct inode *inode, const struct qstr *name)
{
	const unsigned char *text = BPF_CORE_READ(name, name);
	u64 what = 0;
	u32 nr;

	bpf_probe_read_kernel(&what, sizeof(what), text);
	if (what == start_of("[io_uring]"))
		nr = SYS_io_uring_setup;
	else if (what == start_of("[userfaultfd]"))
		nr = SYS_userfaultfd;
	else if (what == start_of("[secretmem]"))
		nr = SYS_memfd_secret;
	else if (what == start_of("[memfd]"))
		nr = SYS_memfd_create;
	else
		return 0;
	return call_hook(nr, 0);
}

SEC("lsm/uring_sqpoll")
int BPF_PROG(uring_sqpoll)
{
	return plain_hook(op_of(SYS_io_uring_setup, 0));
}

/* Requests under credentials that were handed over are somebody else's: never granted. */
SEC("lsm/uring_override_creds")
int BPF_PROG(uring_override_creds, const struct cred *new)
{
	return plain_hook(op_of(SYS_io_uring_register, 0));
}

/* ---- calls that no hook sees ---- */

/*
 * Where a program may change what the function of a call returns: seen on Linux 7.3 (2026), not on 6.18; nowhere that
 * of a 32-bit call, which fails open. So does a call while the same program was interrupted on that processor: the
 * kernel skips it then, and counts that. A long: an int is no errno there.
 */
SEC("fmod_ret/__x64_sys_modify_ldt")
long BPF_PROG(call_modify_ldt)
{
	return call_hook(SYS_modify_ldt, 0);
}

SEC("fmod_ret/__x64_sys_personality")
long BPF_PROG(call_personality)
{
	return call_hook(SYS_personality, 0);
}

SEC("fmod_ret/__x64_sys_seccomp")
long BPF_PROG(call_seccomp)
{
	return call_hook(SYS_seccomp, 0);
}

SEC("fmod_ret/__x64_sys_vmsplice")
long BPF_PROG(call_vmsplice)
{
	return call_hook(SYS_vmsplice, 0);
}

#include "returns.bpf.h"
#include "killed.bpf.h"

char LICENSE[] SEC("license") = "GPL";
