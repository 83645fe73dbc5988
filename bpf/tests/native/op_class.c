// SPDX-License-Identifier: GPL-2.0-only
/* Argument classes by the values that real programs pass. */
#include "shim.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>

#include "op_class.h"

#define IS(call, class) assert((call) == (class))

int main(void)
{
	IS(class_open(O_RDONLY | O_CLOEXEC), OPEN_READ);
	IS(class_open(O_WRONLY | O_APPEND), OPEN_WRITE);
	IS(class_open(O_RDWR), OPEN_WRITE);
	IS(class_open(O_WRONLY | O_CREAT | O_TRUNC), OPEN_CREATE);
	IS(class_open(O_RDONLY | O_CREAT), OPEN_CREATE);
	IS(class_open(O_WRONLY | O_TRUNC), OPEN_TRUNCATE);
	IS(class_open(O_RDONLY | O_TRUNC), OPEN_TRUNCATE);
	IS(class_open(010000000 | O_RDONLY), OPEN_PATH);
	IS(class_open(020200000 | O_RDWR), OPEN_CREATE); /* O_TMPFILE */
	IS(class_open(O_DIRECTORY), OPEN_READ);
	IS(class_clone(CLONE_VM | CLONE_VFORK | 17), CLONE_PROCESS);
	IS(class_clone(CLONE_VM | CLONE_THREAD), CLONE_IS_THREAD);
	IS(class_clone(CLONE_NEWUSER | CLONE_THREAD), CLONE_NAMESPACE);
	IS(class_clone(CLONE_NEWNS), CLONE_NAMESPACE);
	IS(class_clone3(0x80), CLONE_NAMESPACE);
	IS(class_family(AF_UNIX), FAMILY_UNIX);
	IS(class_family(AF_INET), FAMILY_INET);
	IS(class_family(AF_INET6), FAMILY_INET6);
	IS(class_family(AF_UNSPEC), FAMILY_UNSPEC);
	IS(class_family(40), FAMILY_OTHER); /* AF_VSOCK */
	IS(ends_by_default(SIGTERM), 1);
	IS(ends_by_default(0xffffffff00000000ULL | SIGKILL), 1);
	IS(ends_by_default(SIGUSR2), 1);
	IS(ends_by_default(0), 0);
	IS(ends_by_default(SIGCHLD), 0);
	IS(ends_by_default(SIGSTOP), 0);
	IS(ends_by_default(SIGWINCH), 0);
	IS(ends_by_default(SIGRTMIN), 0);
	IS(ends_by_default(256 + SIGTERM), 0);
	IS(class_mem(PROT_READ | PROT_EXEC), MEM_EXEC);
	IS(class_mem(PROT_READ | PROT_WRITE), MEM_PLAIN);
	IS(class_fcntl(F_SETFD), FCNTL_PLAIN);
	IS(class_fcntl(F_SETOWN), FCNTL_OWN);
	IS(class_fcntl(38), FCNTL_PLAIN); /* F_OFD_SETLKW */
	IS(class_fcntl(1030), FCNTL_PLAIN); /* F_DUPFD_CLOEXEC */
	IS(class_fcntl(1024 + 16), FCNTL_LEASE); /* F_SETDELEG */
	IS(class_fcntl(1024 + 99), FCNTL_OTHER);
	IS(class_ioctl(TCGETS), IOCTL_PLAIN);
	IS(class_ioctl(TIOCSTI), IOCTL_TTY);
	IS(class_ioctl(FICLONE), IOCTL_CHANGE);
	IS(class_ioctl(FS_IOC_SETFLAGS), IOCTL_CHANGE);
	IS(class_ioctl(0xdeadbeef), IOCTL_OTHER);
	/* the kernel takes 32 bits of a command: high bits must not hide one */
	IS(class_ioctl(0xffffffff00000000ULL | TIOCSTI), IOCTL_TTY);
	IS(class_shmat(SHM_RDONLY), MEM_PLAIN);
	IS(class_shmat(SHM_EXEC | SHM_RDONLY), MEM_EXEC);
	IS(class_ipc(IPC_STAT), IPC_PLAIN);
	IS(class_ipc(IPC_RMID), IPC_CHANGE);
	IS(class_ipc(IPC_SET | 0x100), IPC_CHANGE);
	IS(class_ipc(GETVAL), IPC_PLAIN);
	IS(class_ipc(SETVAL), IPC_CHANGE);
	IS(class_ipc(SETALL), IPC_CHANGE);
	IS(class_ipc(4711), IPC_CHANGE);
	IS(class_limits(0), LIMITS_SELF);
	IS(class_limits(4711), LIMITS_OTHER);
	IS(class_whose(0, 0, 0), LIMITS_SELF);
	IS(class_whose(7, 7, 8), LIMITS_SELF);
	IS(class_whose(8, 7, 8), LIMITS_SELF);
	IS(class_whose(9, 7, 8), LIMITS_OTHER);
	IS(class_whose(9, 0, 0), LIMITS_OTHER);
	IS(class_whose((u64)-1, 7, 8), LIMITS_OTHER);
	IS(class_which(PRIO_PROCESS, 0, 0, 7, 8), LIMITS_SELF);
	IS(class_which(PRIO_PROCESS, 0, 9, 7, 8), LIMITS_OTHER);
	IS(class_which(PRIO_PGRP, 0, 0, 7, 8), LIMITS_OTHER);
	IS(class_which(PRIO_USER, 0, 0, 7, 8), LIMITS_OTHER);
	IS(class_prctl(PR_SET_NAME), PRCTL_PLAIN);
	IS(class_prctl(PR_SET_NO_NEW_PRIVS), PRCTL_PRIVILEGE);
	IS(class_prctl(PR_SET_DUMPABLE), PRCTL_TRACE);
	IS(class_prctl(9999), PRCTL_OTHER);
	return 0;
}
