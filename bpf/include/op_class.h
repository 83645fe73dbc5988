/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Argument classes: what kind of use of a call this is. Pure functions of the
 * argument's value, compiled for BPF and natively. A value that this file does
 * not know falls into the class that is policed, never into the plain one.
 */
#ifndef OP_CLASS_H
#define OP_CLASS_H

#define CLASS_FN static inline __attribute__((always_inline)) u32

CLASS_FN class_open(u64 flags)
{
	if (flags & 010000000) /* O_PATH: neither reads nor creates, whatever else is set */
		return OPEN_PATH;
	if ((flags & 0100) || (flags & 020200000) == 020200000) /* O_CREAT, O_TMPFILE */
		return OPEN_CREATE;
	if (flags & 01000) /* O_TRUNC truncates also where the access mode is reading */
		return OPEN_TRUNCATE;
	return (flags & 3) ? OPEN_WRITE : OPEN_READ;
}

CLASS_FN class_clone(u64 flags)
{
	/* NEWTIME (0x80) is a signal number in clone(2); only clone3 has it. */
	const u64 namespaces = 0x7e020000ULL; /* NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET */

	if (flags & namespaces)
		return CLONE_NAMESPACE;
	return (flags & 0x10000) ? CLONE_IS_THREAD : CLONE_PROCESS;
}

CLASS_FN class_clone3(u64 flags)
{
	return (flags & 0x80) ? CLONE_NAMESPACE : class_clone(flags);
}

CLASS_FN class_family(u64 family)
{
	switch ((u32)family) {
	case 0:
		return FAMILY_UNSPEC;
	case 1:
		return FAMILY_UNIX;
	case 2:
		return FAMILY_INET;
	case 10:
		return FAMILY_INET6;
	case 16:
		return FAMILY_NETLINK;
	case 17:
		return FAMILY_PACKET;
	}
	return FAMILY_OTHER;
}

/* Whether a signal ends who has no handler for it. */
CLASS_FN ends_by_default(u64 signal)
{
	const u32 others = 1 << 0 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 23 |
			   1 << 28; /* none, CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH */

	return (u32)signal < 32 && !(others >> (u32)signal & 1);
}

CLASS_FN class_mem(u64 prot)
{
	return (prot & 4) ? MEM_EXEC : MEM_PLAIN; /* PROT_EXEC */
}

CLASS_FN class_fcntl(u64 cmd)
{
	switch ((u32)cmd) {
	case 8: /* F_SETOWN */
	case 10: /* F_SETSIG */
	case 15: /* F_SETOWN_EX */
		return FCNTL_OWN;
	case 1024: /* F_SETLEASE */
	case 1026: /* F_NOTIFY */
	case 1040: /* F_SETDELEG */
		return FCNTL_LEASE;
	case 1033: /* F_ADD_SEALS */
		return FCNTL_SEAL;
	case 0: /* F_DUPFD */
	case 1: /* F_GETFD */
	case 2: /* F_SETFD */
	case 3: /* F_GETFL */
	case 4: /* F_SETFL */
	case 5: /* F_GETLK */
	case 6: /* F_SETLK */
	case 7: /* F_SETLKW */
	case 9: /* F_GETOWN */
	case 11: /* F_GETSIG */
	case 16: /* F_GETOWN_EX */
	case 17: /* F_GETOWNER_UIDS */
	case 36: /* F_OFD_GETLK */
	case 37: /* F_OFD_SETLK */
	case 38: /* F_OFD_SETLKW */
	case 1025: /* F_GETLEASE */
	case 1027: /* F_DUPFD_QUERY */
	case 1028: /* F_CREATED_QUERY */
	case 1029: /* F_CANCELLK */
	case 1030: /* F_DUPFD_CLOEXEC */
	case 1031: /* F_SETPIPE_SZ */
	case 1032: /* F_GETPIPE_SZ */
	case 1034: /* F_GET_SEALS */
	case 1035: /* F_GET_RW_HINT */
	case 1036: /* F_SET_RW_HINT */
	case 1037: /* F_GET_FILE_RW_HINT */
	case 1038: /* F_SET_FILE_RW_HINT */
	case 1039: /* F_GETDELEG */
		return FCNTL_PLAIN;
	}
	return FCNTL_OTHER;
}

CLASS_FN class_ioctl(u64 cmd)
{
	switch ((u32)cmd) {
	case 0x5412: /* TIOCSTI */
	case 0x540e: /* TIOCSCTTY */
	case 0x541c: /* TIOCLINUX */
	case 0x541d: /* TIOCCONS */
		return IOCTL_TTY;
	case 0x40086602: /* FS_IOC_SETFLAGS */
	case 0x401c5820: /* FS_IOC_FSSETXATTR */
	case 0x40049409: /* FICLONE */
	case 0x4020940d: /* FICLONERANGE */
	case 0xc0189436: /* FIDEDUPERANGE */
		return IOCTL_CHANGE;
	case 0x5401: /* TCGETS */
	case 0x802c542a: /* TCGETS2 */
	case 0x5402: /* TCSETS, of one's own terminal */
	case 0x5403:
	case 0x5404:
	case 0x540f: /* TIOCGPGRP */
	case 0x5410: /* TIOCSPGRP */
	case 0x5413: /* TIOCGWINSZ */
	case 0x5411: /* TIOCOUTQ */
	case 0x541b: /* FIONREAD */
	case 0x5421: /* FIONBIO */
	case 0x5450: /* FIONCLEX */
	case 0x5451: /* FIOCLEX */
	case 0x5452: /* FIOASYNC */
	case 0x80086601: /* FS_IOC_GETFLAGS */
	case 0x8910: /* SIOCGIFNAME */
	case 0x8912: /* SIOCGIFCONF */
	case 0x8913: /* SIOCGIFFLAGS */
	case 0x8915: /* SIOCGIFADDR */
	case 0x8927: /* SIOCGIFHWADDR */
	case 0x8933: /* SIOCGIFINDEX */
		return IOCTL_PLAIN;
	}
	return IOCTL_OTHER;
}

CLASS_FN class_shmat(u64 flags)
{
	return (flags & 0100000) ? MEM_EXEC : MEM_PLAIN; /* SHM_EXEC */
}

CLASS_FN class_ipc(u64 cmd)
{
	switch ((u32)cmd & ~0x100) { /* IPC_64: the same in another form */
	case 2: /* IPC_STAT */
	case 3: /* IPC_INFO */
	case 11: /* MSG_STAT, SHM_LOCK, GETPID */
	case 12: /* MSG_INFO, SHM_UNLOCK, GETVAL */
	case 13: /* MSG_STAT_ANY, SHM_STAT, GETALL */
	case 14: /* SHM_INFO, GETNCNT */
	case 15: /* SHM_STAT_ANY, GETZCNT */
	case 18: /* SEM_STAT */
	case 19: /* SEM_INFO */
	case 20: /* SEM_STAT_ANY */
		return IPC_PLAIN;
	}
	return IPC_CHANGE;
}

/* One's own is 0; whoever names a process, even itself, is taken for another one. */
CLASS_FN class_limits(u64 pid)
{
	return (u32)pid ? LIMITS_OTHER : LIMITS_SELF;
}

/* Of a number of a task; 0 is the caller. `own` and `thread` are its process' and its own number, 0 if not known. */
CLASS_FN class_whose(u64 who, u32 own, u32 thread)
{
	return !(u32)who || (u32)who == own || (u32)who == thread ? LIMITS_SELF : LIMITS_OTHER;
}

/* Groups and users are others, also where one is among them. */
CLASS_FN class_which(u32 which, u32 process, u64 who, u32 own, u32 thread)
{
	return which == process ? class_whose(who, own, thread) : LIMITS_OTHER;
}

CLASS_FN class_prctl(u64 cmd)
{
	switch ((u32)cmd) {
	case 2: /* PR_GET_PDEATHSIG */
	case 3: /* PR_GET_DUMPABLE */
	case 7: /* PR_GET_KEEPCAPS */
	case 15: /* PR_SET_NAME */
	case 16: /* PR_GET_NAME */
	case 21: /* PR_GET_SECCOMP */
	case 23: /* PR_CAPBSET_READ */
	case 27: /* PR_GET_SECUREBITS */
	case 30: /* PR_GET_TIMERSLACK */
	case 29: /* PR_SET_TIMERSLACK */
	case 39: /* PR_GET_NO_NEW_PRIVS */
	case 42: /* PR_GET_THP_DISABLE */
	case 0x53564d41: /* PR_SET_VMA: a name for memory */
		return PRCTL_PLAIN;
	case 8: /* PR_SET_KEEPCAPS */
	case 22: /* PR_SET_SECCOMP */
	case 24: /* PR_CAPBSET_DROP */
	case 28: /* PR_SET_SECUREBITS */
	case 38: /* PR_SET_NO_NEW_PRIVS */
	case 47: /* PR_CAP_AMBIENT */
		return PRCTL_PRIVILEGE;
	case 4: /* PR_SET_DUMPABLE */
	case 0x59616d61: /* PR_SET_PTRACER */
		return PRCTL_TRACE;
	case 1: /* PR_SET_PDEATHSIG */
	case 36: /* PR_SET_CHILD_SUBREAPER */
	case 37: /* PR_GET_CHILD_SUBREAPER */
		return PRCTL_PROCESS;
	}
	return PRCTL_OTHER;
}

#endif
