/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The whole contract between the C side and Rust: every shared structure,
 * constant and table, and nothing else. Rust's types are generated from this
 * file; sizes are asserted on both sides.
 *
 * All integers are little endian and naturally aligned. Records travel through
 * one ring buffer, in the order in which they were written: a record that
 * names a thing (REC_SITE, REC_PATH, REC_ORIGIN) comes before the first
 * record that refers to it by its hash.
 */
#ifndef INTF_H
#define INTF_H

#if !defined(__VMLINUX_H__) && !defined(INTF_NO_STDINT)
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;
#endif

enum limits {
	/* Bytes of one name (file, class, function). Longer: {unknown}. */
	NAME_CAP = 255,
	/* Room for one name: the cap, rounded up to the reader's granularity. */
	NAME_ROOM = 256,
	/* Bytes of one path argument that are shown and compared. */
	PATH_ROOM = 1024,
	/* Frames that a walk looks at before it gives up: {unknown}. */
	WALK_MAX = 128,
	/* Frames that a call record carries. */
	CHAIN_MAX = 16,
	/* User frames that may decide (--context N), the site among them. */
	CONTEXT_MAX = 8,
	/* Sites of one session. More: {unknown}. */
	SITES_MAX = 65536,
	/* (site, operation) pairs of one session. */
	PAIRS_MAX = 262144,
	/* Entries of each table of the profile in the kernel, of two generations. */
	POLICIES_MAX = 262144,
	PROCS_MAX = 65536,
	IMAGES_MAX = 1024,
	/* Schemes of stream wrappers whose includes a profile excuses, and room for each: with the NUL after it. */
	WRAPPERS_MAX = 16,
	WRAPPER_ROOM = 32,
	/* Entries of one origin. A longer one is {unknown}. */
	ORIGIN_MAX = 8,
	ADDR_ROOM = 112,
	/* Numbers below this are looked up in the tables. */
	NR_MAX = 512,
	/* Operation = nr * 16 + class. */
	CLASS_BITS = 4,
	OPS_MAX = NR_MAX << CLASS_BITS,
	/* Pseudo calls, above every real number. */
	NR_EXEC = 508, /* a program was started: judged by (origin, program) */
	NR_FOREIGN = 509, /* a 32-bit or x32 call */
	NR_UNKNOWN = 510, /* a number that the table does not know */
	X32_BIT = 0x40000000,
};

/* Which calls a default set contains. */
enum call_set {
	SET_RELEVANT = 1, /* whatever creates, opens, changes, deletes, executes, connects, … */
	SET_SEED = 2, /* the original's twenty */
};

/* How the argument class of a call is found. */
enum class_kind {
	CLASS_NONE,
	CLASS_OPEN, /* flags by value */
	CLASS_OPEN_HOW, /* flags in struct open_how */
	CLASS_CLONE, /* flags by value */
	CLASS_CLONE3, /* flags in struct clone_args */
	CLASS_KILL, /* whom a process number means */
	CLASS_FAMILY, /* address family by value */
	CLASS_ADDRESS, /* family in a struct sockaddr */
	CLASS_SENDTO, /* likewise; NULL is a send to nobody in particular */
	CLASS_SENDMSG, /* likewise, in a struct msghdr */
	CLASS_MMAP, /* executable or not */
	CLASS_MPROTECT,
	CLASS_FCNTL,
	CLASS_IOCTL,
	CLASS_PRCTL,
	CLASS_SHMAT, /* executable or not */
	CLASS_IPC, /* the command of shmctl, semctl, msgctl */
	CLASS_LIMITS, /* whose */
	CLASS_WHOSE, /* likewise; one's own number is one's own */
	CLASS_WHICH, /* likewise, where the argument before says what kind of number it is */
};

enum class_value {
	OPEN_READ = 0,
	OPEN_WRITE,
	OPEN_CREATE,
	OPEN_TRUNCATE,
	OPEN_PATH,

	CLONE_PROCESS = 0,
	CLONE_IS_THREAD,
	CLONE_NAMESPACE,

	KILL_SELF = 0,
	KILL_SUBJECT,
	KILL_STRANGER,

	FAMILY_OTHER = 0,
	FAMILY_UNIX,
	FAMILY_INET,
	FAMILY_INET6,
	FAMILY_NETLINK,
	FAMILY_PACKET,
	FAMILY_UNSPEC,
	FAMILY_NONE, /* no address given */

	MEM_PLAIN = 0,
	MEM_EXEC,

	FCNTL_PLAIN = 0,
	FCNTL_OWN, /* who gets signals */
	FCNTL_LEASE,
	FCNTL_SEAL,
	FCNTL_OTHER,

	IOCTL_PLAIN = 0,
	IOCTL_TTY, /* types into or takes a terminal */
	IOCTL_CHANGE, /* changes a file */
	IOCTL_OTHER,

	PRCTL_PLAIN = 0,
	PRCTL_PRIVILEGE,
	PRCTL_TRACE,
	PRCTL_PROCESS,
	PRCTL_OTHER,

	IPC_PLAIN = 0,
	IPC_CHANGE, /* removes it, says whose it is, or sets a semaphore */

	LIMITS_SELF = 0,
	LIMITS_OTHER,

	CLASS_UNREADABLE = 15, /* the argument could not be read: never granted */
};

/*
 * The x86-64 table: X(number, name, sets, class kind, class argument, arguments).
 *
 * Arguments, one letter each: p path, q second path, P program, d directory
 * descriptor, f open flags, o struct open_how *, m mode, F descriptor, n number,
 * c command, s signal, i process, D family, t type, a struct sockaddr *,
 * l length, M struct msghdr *, r protection, C clone flags, K struct clone_args *.
 */
/* clang-format off */
#define CALL_TABLE(X) \
	X(0, read, 0, CLASS_NONE, 0, "Fnn") \
	X(1, write, 0, CLASS_NONE, 0, "Fnn") \
	X(2, open, SET_RELEVANT, CLASS_OPEN, 1, "pfm") \
	X(3, close, 0, CLASS_NONE, 0, "") \
	X(4, stat, 0, CLASS_NONE, 0, "p") \
	X(5, fstat, 0, CLASS_NONE, 0, "") \
	X(6, lstat, 0, CLASS_NONE, 0, "p") \
	X(7, poll, 0, CLASS_NONE, 0, "") \
	X(8, lseek, 0, CLASS_NONE, 0, "") \
	X(9, mmap, SET_RELEVANT, CLASS_MMAP, 2, "nlrnF") \
	X(10, mprotect, SET_RELEVANT, CLASS_MPROTECT, 2, "nlr") \
	X(11, munmap, 0, CLASS_NONE, 0, "") \
	X(12, brk, 0, CLASS_NONE, 0, "") \
	X(13, rt_sigaction, 0, CLASS_NONE, 0, "") \
	X(14, rt_sigprocmask, 0, CLASS_NONE, 0, "") \
	X(15, rt_sigreturn, 0, CLASS_NONE, 0, "") \
	X(16, ioctl, SET_RELEVANT, CLASS_IOCTL, 1, "Fcn") \
	X(17, pread64, 0, CLASS_NONE, 0, "") \
	X(18, pwrite64, 0, CLASS_NONE, 0, "Fnnn") \
	X(19, readv, 0, CLASS_NONE, 0, "") \
	X(20, writev, 0, CLASS_NONE, 0, "") \
	X(21, access, 0, CLASS_NONE, 0, "pm") \
	X(22, pipe, 0, CLASS_NONE, 0, "") \
	X(23, select, 0, CLASS_NONE, 0, "") \
	X(24, sched_yield, 0, CLASS_NONE, 0, "") \
	X(25, mremap, 0, CLASS_NONE, 0, "") \
	X(26, msync, 0, CLASS_NONE, 0, "") \
	X(27, mincore, 0, CLASS_NONE, 0, "") \
	X(28, madvise, 0, CLASS_NONE, 0, "") \
	X(29, shmget, SET_RELEVANT, CLASS_NONE, 0, "nnn") \
	X(30, shmat, SET_RELEVANT, CLASS_SHMAT, 2, "nnn") \
	X(31, shmctl, SET_RELEVANT, CLASS_IPC, 1, "nn") \
	X(32, dup, 0, CLASS_NONE, 0, "") \
	X(33, dup2, 0, CLASS_NONE, 0, "") \
	X(34, pause, 0, CLASS_NONE, 0, "") \
	X(35, nanosleep, 0, CLASS_NONE, 0, "") \
	X(36, getitimer, 0, CLASS_NONE, 0, "") \
	X(37, alarm, 0, CLASS_NONE, 0, "") \
	X(38, setitimer, 0, CLASS_NONE, 0, "") \
	X(39, getpid, 0, CLASS_NONE, 0, "") \
	X(40, sendfile, 0, CLASS_NONE, 0, "") \
	X(41, socket, SET_RELEVANT | SET_SEED, CLASS_FAMILY, 0, "Dt") \
	X(42, connect, SET_RELEVANT | SET_SEED, CLASS_ADDRESS, 1, "Fal") \
	X(43, accept, SET_SEED, CLASS_NONE, 0, "F") \
	X(44, sendto, SET_RELEVANT, CLASS_SENDTO, 4, "Fnnnal") \
	X(45, recvfrom, 0, CLASS_NONE, 0, "") \
	X(46, sendmsg, SET_RELEVANT, CLASS_SENDMSG, 1, "FM") \
	X(47, recvmsg, 0, CLASS_NONE, 0, "") \
	X(48, shutdown, 0, CLASS_NONE, 0, "") \
	X(49, bind, SET_RELEVANT | SET_SEED, CLASS_ADDRESS, 1, "Fal") \
	X(50, listen, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "Fn") \
	X(51, getsockname, 0, CLASS_NONE, 0, "") \
	X(52, getpeername, 0, CLASS_NONE, 0, "") \
	X(53, socketpair, SET_RELEVANT, CLASS_FAMILY, 0, "Dt") \
	X(54, setsockopt, 0, CLASS_NONE, 0, "") \
	X(55, getsockopt, 0, CLASS_NONE, 0, "") \
	X(56, clone, SET_RELEVANT | SET_SEED, CLASS_CLONE, 0, "C") \
	X(57, fork, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(58, vfork, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(59, execve, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "P") \
	X(60, exit, 0, CLASS_NONE, 0, "n") \
	X(61, wait4, 0, CLASS_NONE, 0, "") \
	X(62, kill, SET_RELEVANT | SET_SEED, CLASS_KILL, 0, "is") \
	X(63, uname, 0, CLASS_NONE, 0, "") \
	X(64, semget, SET_RELEVANT, CLASS_NONE, 0, "nnn") \
	X(65, semop, SET_RELEVANT, CLASS_NONE, 0, "nnn") \
	X(66, semctl, SET_RELEVANT, CLASS_IPC, 2, "nnn") \
	X(67, shmdt, 0, CLASS_NONE, 0, "") \
	X(68, msgget, SET_RELEVANT, CLASS_NONE, 0, "nn") \
	X(69, msgsnd, SET_RELEVANT, CLASS_NONE, 0, "nnnn") \
	X(70, msgrcv, SET_RELEVANT, CLASS_NONE, 0, "nnnnn") \
	X(71, msgctl, SET_RELEVANT, CLASS_IPC, 1, "nn") \
	X(72, fcntl, SET_RELEVANT, CLASS_FCNTL, 1, "Fcn") \
	X(73, flock, 0, CLASS_NONE, 0, "") \
	X(74, fsync, 0, CLASS_NONE, 0, "") \
	X(75, fdatasync, 0, CLASS_NONE, 0, "") \
	X(76, truncate, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "pn") \
	X(77, ftruncate, SET_RELEVANT, CLASS_NONE, 0, "Fn") \
	X(78, getdents, 0, CLASS_NONE, 0, "") \
	X(79, getcwd, 0, CLASS_NONE, 0, "") \
	X(80, chdir, 0, CLASS_NONE, 0, "p") \
	X(81, fchdir, 0, CLASS_NONE, 0, "") \
	X(82, rename, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "pq") \
	X(83, mkdir, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "pm") \
	X(84, rmdir, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "p") \
	X(85, creat, SET_RELEVANT, CLASS_NONE, 0, "pm") \
	X(86, link, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "pq") \
	X(87, unlink, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "p") \
	X(88, symlink, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "pq") \
	X(89, readlink, 0, CLASS_NONE, 0, "p") \
	X(90, chmod, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "pm") \
	X(91, fchmod, SET_RELEVANT, CLASS_NONE, 0, "Fm") \
	X(92, chown, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "pnn") \
	X(93, fchown, SET_RELEVANT, CLASS_NONE, 0, "Fnn") \
	X(94, lchown, SET_RELEVANT, CLASS_NONE, 0, "pnn") \
	X(95, umask, 0, CLASS_NONE, 0, "") \
	X(96, gettimeofday, 0, CLASS_NONE, 0, "") \
	X(97, getrlimit, 0, CLASS_NONE, 0, "") \
	X(98, getrusage, 0, CLASS_NONE, 0, "") \
	X(99, sysinfo, 0, CLASS_NONE, 0, "") \
	X(100, times, 0, CLASS_NONE, 0, "") \
	X(101, ptrace, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "ni") \
	X(102, getuid, 0, CLASS_NONE, 0, "") \
	X(103, syslog, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(104, getgid, 0, CLASS_NONE, 0, "") \
	X(105, setuid, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(106, setgid, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(107, geteuid, 0, CLASS_NONE, 0, "") \
	X(108, getegid, 0, CLASS_NONE, 0, "") \
	X(109, setpgid, 0, CLASS_NONE, 0, "") \
	X(110, getppid, 0, CLASS_NONE, 0, "") \
	X(111, getpgrp, 0, CLASS_NONE, 0, "") \
	X(112, setsid, 0, CLASS_NONE, 0, "") \
	X(113, setreuid, SET_RELEVANT, CLASS_NONE, 0, "nn") \
	X(114, setregid, SET_RELEVANT, CLASS_NONE, 0, "nn") \
	X(115, getgroups, 0, CLASS_NONE, 0, "") \
	X(116, setgroups, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(117, setresuid, SET_RELEVANT, CLASS_NONE, 0, "nnn") \
	X(118, getresuid, 0, CLASS_NONE, 0, "") \
	X(119, setresgid, SET_RELEVANT, CLASS_NONE, 0, "nnn") \
	X(120, getresgid, 0, CLASS_NONE, 0, "") \
	X(121, getpgid, 0, CLASS_NONE, 0, "") \
	X(122, setfsuid, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(123, setfsgid, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(124, getsid, 0, CLASS_NONE, 0, "") \
	X(125, capget, 0, CLASS_NONE, 0, "") \
	X(126, capset, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(127, rt_sigpending, 0, CLASS_NONE, 0, "") \
	X(128, rt_sigtimedwait, 0, CLASS_NONE, 0, "") \
	X(129, rt_sigqueueinfo, SET_RELEVANT, CLASS_KILL, 0, "is") \
	X(130, rt_sigsuspend, 0, CLASS_NONE, 0, "") \
	X(131, sigaltstack, 0, CLASS_NONE, 0, "") \
	X(132, utime, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(133, mknod, SET_RELEVANT, CLASS_NONE, 0, "pmn") \
	X(134, uselib, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(135, personality, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(136, ustat, 0, CLASS_NONE, 0, "") \
	X(137, statfs, 0, CLASS_NONE, 0, "p") \
	X(138, fstatfs, 0, CLASS_NONE, 0, "") \
	X(139, sysfs, 0, CLASS_NONE, 0, "") \
	X(140, getpriority, 0, CLASS_NONE, 0, "") \
	X(141, setpriority, SET_RELEVANT, CLASS_WHICH, 1, "nin") \
	X(142, sched_setparam, SET_RELEVANT, CLASS_WHOSE, 0, "i") \
	X(143, sched_getparam, 0, CLASS_NONE, 0, "") \
	X(144, sched_setscheduler, SET_RELEVANT, CLASS_WHOSE, 0, "in") \
	X(145, sched_getscheduler, 0, CLASS_NONE, 0, "") \
	X(146, sched_get_priority_max, 0, CLASS_NONE, 0, "") \
	X(147, sched_get_priority_min, 0, CLASS_NONE, 0, "") \
	X(148, sched_rr_get_interval, 0, CLASS_NONE, 0, "") \
	X(149, mlock, 0, CLASS_NONE, 0, "") \
	X(150, munlock, 0, CLASS_NONE, 0, "") \
	X(151, mlockall, 0, CLASS_NONE, 0, "") \
	X(152, munlockall, 0, CLASS_NONE, 0, "") \
	X(153, vhangup, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(154, modify_ldt, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(155, pivot_root, SET_RELEVANT, CLASS_NONE, 0, "pq") \
	X(156, _sysctl, 0, CLASS_NONE, 0, "") \
	X(157, prctl, SET_RELEVANT, CLASS_PRCTL, 0, "cn") \
	X(158, arch_prctl, 0, CLASS_NONE, 0, "") \
	X(159, adjtimex, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(160, setrlimit, 0, CLASS_NONE, 0, "n") \
	X(161, chroot, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(162, sync, 0, CLASS_NONE, 0, "") \
	X(163, acct, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(164, settimeofday, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(165, mount, SET_RELEVANT | SET_SEED, CLASS_NONE, 0, "pqn") \
	X(166, umount2, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(167, swapon, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(168, swapoff, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(169, reboot, SET_RELEVANT, CLASS_NONE, 0, "nn") \
	X(170, sethostname, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(171, setdomainname, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(172, iopl, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(173, ioperm, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(174, create_module, 0, CLASS_NONE, 0, "") \
	X(175, init_module, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(176, delete_module, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(177, get_kernel_syms, 0, CLASS_NONE, 0, "") \
	X(178, query_module, 0, CLASS_NONE, 0, "") \
	X(179, quotactl, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(180, nfsservctl, 0, CLASS_NONE, 0, "") \
	X(181, getpmsg, 0, CLASS_NONE, 0, "") \
	X(182, putpmsg, 0, CLASS_NONE, 0, "") \
	X(183, afs_syscall, 0, CLASS_NONE, 0, "") \
	X(184, tuxcall, 0, CLASS_NONE, 0, "") \
	X(185, security, 0, CLASS_NONE, 0, "") \
	X(186, gettid, 0, CLASS_NONE, 0, "") \
	X(187, readahead, 0, CLASS_NONE, 0, "") \
	X(188, setxattr, SET_RELEVANT, CLASS_NONE, 0, "pq") \
	X(189, lsetxattr, SET_RELEVANT, CLASS_NONE, 0, "pq") \
	X(190, fsetxattr, SET_RELEVANT, CLASS_NONE, 0, "Fq") \
	X(191, getxattr, 0, CLASS_NONE, 0, "pq") \
	X(192, lgetxattr, 0, CLASS_NONE, 0, "pq") \
	X(193, fgetxattr, 0, CLASS_NONE, 0, "") \
	X(194, listxattr, 0, CLASS_NONE, 0, "") \
	X(195, llistxattr, 0, CLASS_NONE, 0, "") \
	X(196, flistxattr, 0, CLASS_NONE, 0, "") \
	X(197, removexattr, SET_RELEVANT, CLASS_NONE, 0, "pq") \
	X(198, lremovexattr, SET_RELEVANT, CLASS_NONE, 0, "pq") \
	X(199, fremovexattr, SET_RELEVANT, CLASS_NONE, 0, "Fq") \
	X(200, tkill, SET_RELEVANT, CLASS_KILL, 0, "is") \
	X(201, time, 0, CLASS_NONE, 0, "") \
	X(202, futex, 0, CLASS_NONE, 0, "") \
	X(203, sched_setaffinity, SET_RELEVANT, CLASS_WHOSE, 0, "i") \
	X(204, sched_getaffinity, 0, CLASS_NONE, 0, "") \
	X(205, set_thread_area, 0, CLASS_NONE, 0, "") \
	X(206, io_setup, 0, CLASS_NONE, 0, "") \
	X(207, io_destroy, 0, CLASS_NONE, 0, "") \
	X(208, io_getevents, 0, CLASS_NONE, 0, "") \
	X(209, io_submit, 0, CLASS_NONE, 0, "") \
	X(210, io_cancel, 0, CLASS_NONE, 0, "") \
	X(211, get_thread_area, 0, CLASS_NONE, 0, "") \
	X(212, lookup_dcookie, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(213, epoll_create, 0, CLASS_NONE, 0, "") \
	X(214, epoll_ctl_old, 0, CLASS_NONE, 0, "") \
	X(215, epoll_wait_old, 0, CLASS_NONE, 0, "") \
	X(216, remap_file_pages, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(217, getdents64, 0, CLASS_NONE, 0, "") \
	X(218, set_tid_address, 0, CLASS_NONE, 0, "") \
	X(219, restart_syscall, 0, CLASS_NONE, 0, "") \
	X(220, semtimedop, SET_RELEVANT, CLASS_NONE, 0, "nnnn") \
	X(221, fadvise64, 0, CLASS_NONE, 0, "") \
	X(222, timer_create, 0, CLASS_NONE, 0, "") \
	X(223, timer_settime, 0, CLASS_NONE, 0, "") \
	X(224, timer_gettime, 0, CLASS_NONE, 0, "") \
	X(225, timer_getoverrun, 0, CLASS_NONE, 0, "") \
	X(226, timer_delete, 0, CLASS_NONE, 0, "") \
	X(227, clock_settime, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(228, clock_gettime, 0, CLASS_NONE, 0, "") \
	X(229, clock_getres, 0, CLASS_NONE, 0, "") \
	X(230, clock_nanosleep, 0, CLASS_NONE, 0, "") \
	X(231, exit_group, 0, CLASS_NONE, 0, "n") \
	X(232, epoll_wait, 0, CLASS_NONE, 0, "") \
	X(233, epoll_ctl, 0, CLASS_NONE, 0, "") \
	X(234, tgkill, SET_RELEVANT, CLASS_KILL, 0, "iis") \
	X(235, utimes, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(236, vserver, 0, CLASS_NONE, 0, "") \
	X(237, mbind, 0, CLASS_NONE, 0, "") \
	X(238, set_mempolicy, 0, CLASS_NONE, 0, "") \
	X(239, get_mempolicy, 0, CLASS_NONE, 0, "") \
	X(240, mq_open, SET_RELEVANT, CLASS_NONE, 0, "pfm") \
	X(241, mq_unlink, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(242, mq_timedsend, 0, CLASS_NONE, 0, "") \
	X(243, mq_timedreceive, 0, CLASS_NONE, 0, "") \
	X(244, mq_notify, 0, CLASS_NONE, 0, "") \
	X(245, mq_getsetattr, 0, CLASS_NONE, 0, "") \
	X(246, kexec_load, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(247, waitid, 0, CLASS_NONE, 0, "") \
	X(248, add_key, SET_RELEVANT, CLASS_NONE, 0, "pq") \
	X(249, request_key, SET_RELEVANT, CLASS_NONE, 0, "pq") \
	X(250, keyctl, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(251, ioprio_set, SET_RELEVANT, CLASS_WHICH, 1, "nin") \
	X(252, ioprio_get, 0, CLASS_NONE, 0, "") \
	X(253, inotify_init, 0, CLASS_NONE, 0, "") \
	X(254, inotify_add_watch, 0, CLASS_NONE, 0, "Fp") \
	X(255, inotify_rm_watch, 0, CLASS_NONE, 0, "") \
	X(256, migrate_pages, SET_RELEVANT, CLASS_WHOSE, 0, "i") \
	X(257, openat, SET_RELEVANT | SET_SEED, CLASS_OPEN, 2, "dpfm") \
	X(258, mkdirat, SET_RELEVANT, CLASS_NONE, 0, "dpm") \
	X(259, mknodat, SET_RELEVANT, CLASS_NONE, 0, "dpmn") \
	X(260, fchownat, SET_RELEVANT, CLASS_NONE, 0, "dpnnn") \
	X(261, futimesat, SET_RELEVANT, CLASS_NONE, 0, "dp") \
	X(262, newfstatat, 0, CLASS_NONE, 0, "dp") \
	X(263, unlinkat, SET_RELEVANT, CLASS_NONE, 0, "dpn") \
	X(264, renameat, SET_RELEVANT, CLASS_NONE, 0, "dpdq") \
	X(265, linkat, SET_RELEVANT, CLASS_NONE, 0, "dpdqn") \
	X(266, symlinkat, SET_RELEVANT, CLASS_NONE, 0, "pdq") \
	X(267, readlinkat, 0, CLASS_NONE, 0, "dp") \
	X(268, fchmodat, SET_RELEVANT, CLASS_NONE, 0, "dpm") \
	X(269, faccessat, 0, CLASS_NONE, 0, "dpm") \
	X(270, pselect6, 0, CLASS_NONE, 0, "") \
	X(271, ppoll, 0, CLASS_NONE, 0, "") \
	X(272, unshare, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(273, set_robust_list, 0, CLASS_NONE, 0, "") \
	X(274, get_robust_list, 0, CLASS_NONE, 0, "") \
	X(275, splice, 0, CLASS_NONE, 0, "") \
	X(276, tee, 0, CLASS_NONE, 0, "") \
	X(277, sync_file_range, 0, CLASS_NONE, 0, "") \
	X(278, vmsplice, SET_RELEVANT, CLASS_NONE, 0, "F") \
	X(279, move_pages, SET_RELEVANT, CLASS_WHOSE, 0, "in") \
	X(280, utimensat, SET_RELEVANT, CLASS_NONE, 0, "dp") \
	X(281, epoll_pwait, 0, CLASS_NONE, 0, "") \
	X(282, signalfd, 0, CLASS_NONE, 0, "") \
	X(283, timerfd_create, 0, CLASS_NONE, 0, "") \
	X(284, eventfd, 0, CLASS_NONE, 0, "") \
	X(285, fallocate, SET_RELEVANT, CLASS_NONE, 0, "Fnnn") \
	X(286, timerfd_settime, 0, CLASS_NONE, 0, "") \
	X(287, timerfd_gettime, 0, CLASS_NONE, 0, "") \
	X(288, accept4, 0, CLASS_NONE, 0, "F") \
	X(289, signalfd4, 0, CLASS_NONE, 0, "") \
	X(290, eventfd2, 0, CLASS_NONE, 0, "") \
	X(291, epoll_create1, 0, CLASS_NONE, 0, "") \
	X(292, dup3, 0, CLASS_NONE, 0, "") \
	X(293, pipe2, 0, CLASS_NONE, 0, "") \
	X(294, inotify_init1, 0, CLASS_NONE, 0, "") \
	X(295, preadv, 0, CLASS_NONE, 0, "") \
	X(296, pwritev, 0, CLASS_NONE, 0, "") \
	X(297, rt_tgsigqueueinfo, SET_RELEVANT, CLASS_KILL, 0, "iis") \
	X(298, perf_event_open, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(299, recvmmsg, 0, CLASS_NONE, 0, "") \
	X(300, fanotify_init, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(301, fanotify_mark, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(302, prlimit64, SET_RELEVANT, CLASS_LIMITS, 0, "in") \
	X(303, name_to_handle_at, 0, CLASS_NONE, 0, "dp") \
	X(304, open_by_handle_at, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(305, clock_adjtime, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(306, syncfs, 0, CLASS_NONE, 0, "") \
	X(307, sendmmsg, SET_RELEVANT, CLASS_SENDMSG, 1, "FM") \
	X(308, setns, SET_RELEVANT, CLASS_NONE, 0, "Fn") \
	X(309, getcpu, 0, CLASS_NONE, 0, "") \
	X(310, process_vm_readv, SET_RELEVANT, CLASS_NONE, 0, "i") \
	X(311, process_vm_writev, SET_RELEVANT, CLASS_NONE, 0, "i") \
	X(312, kcmp, SET_RELEVANT, CLASS_NONE, 0, "ii") \
	X(313, finit_module, SET_RELEVANT, CLASS_NONE, 0, "F") \
	X(314, sched_setattr, SET_RELEVANT, CLASS_WHOSE, 0, "i") \
	X(315, sched_getattr, 0, CLASS_NONE, 0, "") \
	X(316, renameat2, SET_RELEVANT, CLASS_NONE, 0, "dpdqn") \
	X(317, seccomp, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(318, getrandom, 0, CLASS_NONE, 0, "") \
	X(319, memfd_create, SET_RELEVANT, CLASS_NONE, 0, "pn") \
	X(320, kexec_file_load, SET_RELEVANT, CLASS_NONE, 0, "FF") \
	X(321, bpf, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(322, execveat, SET_RELEVANT, CLASS_NONE, 0, "dPnnn") \
	X(323, userfaultfd, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(324, membarrier, 0, CLASS_NONE, 0, "") \
	X(325, mlock2, 0, CLASS_NONE, 0, "") \
	X(326, copy_file_range, SET_RELEVANT, CLASS_NONE, 0, "FnFn") \
	X(327, preadv2, 0, CLASS_NONE, 0, "") \
	X(328, pwritev2, 0, CLASS_NONE, 0, "") \
	X(329, pkey_mprotect, SET_RELEVANT, CLASS_MPROTECT, 2, "nlr") \
	X(330, pkey_alloc, 0, CLASS_NONE, 0, "") \
	X(331, pkey_free, 0, CLASS_NONE, 0, "") \
	X(332, statx, 0, CLASS_NONE, 0, "dp") \
	X(333, io_pgetevents, 0, CLASS_NONE, 0, "") \
	X(334, rseq, 0, CLASS_NONE, 0, "") \
	X(335, uretprobe, 0, CLASS_NONE, 0, "") \
	X(336, uprobe, 0, CLASS_NONE, 0, "") \
	X(424, pidfd_send_signal, SET_RELEVANT, CLASS_NONE, 0, "Fs") \
	X(425, io_uring_setup, SET_RELEVANT, CLASS_NONE, 0, "n") \
	X(426, io_uring_enter, SET_RELEVANT, CLASS_NONE, 0, "F") \
	X(427, io_uring_register, SET_RELEVANT, CLASS_NONE, 0, "F") \
	X(428, open_tree, SET_RELEVANT, CLASS_NONE, 0, "dpn") \
	X(429, move_mount, SET_RELEVANT, CLASS_NONE, 0, "dpdqn") \
	X(430, fsopen, SET_RELEVANT, CLASS_NONE, 0, "p") \
	X(431, fsconfig, SET_RELEVANT, CLASS_NONE, 0, "F") \
	X(432, fsmount, SET_RELEVANT, CLASS_NONE, 0, "F") \
	X(433, fspick, SET_RELEVANT, CLASS_NONE, 0, "dp") \
	X(434, pidfd_open, SET_RELEVANT, CLASS_NONE, 0, "i") \
	X(435, clone3, SET_RELEVANT, CLASS_CLONE3, 0, "K") \
	X(436, close_range, 0, CLASS_NONE, 0, "") \
	X(437, openat2, SET_RELEVANT, CLASS_OPEN_HOW, 2, "dpol") \
	X(438, pidfd_getfd, SET_RELEVANT, CLASS_NONE, 0, "FF") \
	X(439, faccessat2, 0, CLASS_NONE, 0, "dpmn") \
	X(440, process_madvise, SET_RELEVANT, CLASS_NONE, 0, "F") \
	X(441, epoll_pwait2, 0, CLASS_NONE, 0, "") \
	X(442, mount_setattr, SET_RELEVANT, CLASS_NONE, 0, "dp") \
	X(443, quotactl_fd, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(444, landlock_create_ruleset, 0, CLASS_NONE, 0, "") \
	X(445, landlock_add_rule, 0, CLASS_NONE, 0, "") \
	X(446, landlock_restrict_self, 0, CLASS_NONE, 0, "") \
	X(447, memfd_secret, SET_RELEVANT, CLASS_NONE, 0, "") \
	X(448, process_mrelease, 0, CLASS_NONE, 0, "") \
	X(449, futex_waitv, 0, CLASS_NONE, 0, "") \
	X(450, set_mempolicy_home_node, 0, CLASS_NONE, 0, "") \
	X(451, cachestat, 0, CLASS_NONE, 0, "") \
	X(452, fchmodat2, SET_RELEVANT, CLASS_NONE, 0, "dpmn") \
	X(453, map_shadow_stack, 0, CLASS_NONE, 0, "") \
	X(454, futex_wake, 0, CLASS_NONE, 0, "") \
	X(455, futex_wait, 0, CLASS_NONE, 0, "") \
	X(456, futex_requeue, 0, CLASS_NONE, 0, "") \
	X(457, statmount, 0, CLASS_NONE, 0, "") \
	X(458, listmount, 0, CLASS_NONE, 0, "") \
	X(459, lsm_get_self_attr, 0, CLASS_NONE, 0, "") \
	X(460, lsm_set_self_attr, 0, CLASS_NONE, 0, "") \
	X(461, lsm_list_modules, 0, CLASS_NONE, 0, "") \
	X(462, mseal, 0, CLASS_NONE, 0, "") \
	X(463, setxattrat, SET_RELEVANT, CLASS_NONE, 0, "dpnq") \
	X(464, getxattrat, 0, CLASS_NONE, 0, "") \
	X(465, listxattrat, 0, CLASS_NONE, 0, "") \
	X(466, removexattrat, SET_RELEVANT, CLASS_NONE, 0, "dpnq") \
	X(467, open_tree_attr, SET_RELEVANT, CLASS_NONE, 0, "dpn") \
	X(468, file_getattr, 0, CLASS_NONE, 0, "") \
	X(469, file_setattr, SET_RELEVANT, CLASS_NONE, 0, "dp") \
	X(470, listns, 0, CLASS_NONE, 0, "")
/* clang-format on */

struct hash128 {
	u64 lo, hi;
};

/* What is written so that a call fails: never more bytes than there were, and put back when it returns. */
struct rewrite_step {
	u8 arg; /* the pointer, + 1; 0: no step */
	u8 len; /* bytes: 1, 2, 4 or 8 */
	u8 offset; /* in what it points to */
	u8 ones; /* 1: all bits one; 0: a zero byte, which makes a text empty */
};

enum { REWRITE_STEPS = 2 };

/* Why a violating call was not rewritten: it may have had its effect. */
enum not_rewritten {
	SPARED_NONE = 0,
	SPARED_VALUE, /* nothing of it lies in memory, or what would be written is there already */
	SPARED_SHARED, /* memory that other processes see */
	SPARED_FAULT, /* not present or not writable at that moment: a read-only page, one not touched since a fork */
	SPARED_BUSY, /* the memory map was being changed, or there was no room to remember what was there */
	SPARED_FOREIGN, /* a 32-bit or x32 call: its arguments lie elsewhere */
	SPARED_EMPTY, /* with AT_EMPTY_PATH: an empty path would be the descriptor itself */
};

/* One row of the table as the BPF side wants it: argument numbers + 1, 0 for none. */
struct call_desc {
	u8 class_kind;
	u8 class_arg;
	u8 path_arg;
	u8 path2_arg;
	u8 addr_arg;
	u8 addrlen_arg;
	u8 msghdr_arg;
	u8 known; /* 1: the number is in the table */
	u8 pid_args; /* bits: the arguments that are processes */
	/* With this bit of this argument an empty first path is no error; 0: there is none. */
	u8 empty_arg;
	u8 empty_bits_at; /* the bit's number */
	u8 pad[5];
	struct rewrite_step steps[REWRITE_STEPS]; /* the first that can be written is enough */
};

/* ---- images ---- */

/* What the kernel says a file is. */
struct file_key {
	u64 ino;
	u64 dev; /* the superblock's s_dev, not what stat() shows */
};

enum image_flags {
	IMAGE_ZTS = 1,
	IMAGE_LIBRARY = 2,
	IMAGE_FPM = 4,
	IMAGE_PHASES = 8, /* request start and end are seen (uprobes attached) */
	IMAGE_USDT = 16, /* function entry and return are seen */
	IMAGE_TCB_SLOT = 32, /* tcb_offset is where the dynamic loader wrote it */
	IMAGE_FAILED = 64, /* its self-check failed: every site is {unknown} */
	IMAGE_PLAIN_NAMES = 128, /* zend_file_handle has its name as plain characters (PHP 7.4 and 8.0) */
};

/* Offsets are bytes; see PHP's own headers for the names. */
struct image {
	u32 id; /* from 1; 0 is no image */
	u32 flags;
	u64 first_exec_vaddr; /* load bias = mm->start_code - this */
	u64 eg; /* executor_globals, or (ZTS) executor_globals_offset */
	u64 sg; /* sapi_globals, likewise */
	u64 scanner; /* language_scanner_globals, likewise */
	u64 compiler; /* compiler_globals, likewise */
	u64 stream_read, plain_files; /* _php_stream_read, php_plain_files_wrapper */
	s64 tcb_offset; /* ZTS: the TSRM cache, from the thread pointer; or, IMAGE_TCB_SLOT, where that is */
	u32 acc_closure; /* fn_flags of closures */
	u16 current_execute_data; /* in executor_globals */
	u16 opcodes, last, filename; /* in zend_op_array */
	u16 module; /* in zend_internal_function */
	u16 path_translated; /* in sapi_globals */
	u16 pad[2];
};

/* A scheme of stream wrappers whose includes the profile of that generation excuses; the rest is 0. */
struct wrapper_key {
	u32 generation;
	char scheme[WRAPPER_ROOM];
};

/* Of a REC_TAINT. `path` is what was asked for, `path2` what its code was named. */
enum taint_cause {
	TAINTED_BY_STREAM = 1, /* code compiled from a stream, which says itself what it is */
	TAINTED_BY_NAME, /* a listed wrapper's code has a name that is not that wrapper's */
	TAINTED_BY_FILE_WRAPPER, /* the wrapper of plain files was taken away */
	TAINTED_BY_ARCHIVE, /* code compiled from an archive, whose wrapper was taken away */
	TAINTED_BY_OPENED, /* a file was asked for, and something else opened */
	TAINTED_BY_ENCODING, /* a file's code was converted before it was compiled */
	TAINTED_BY_FIBER, /* code was named amid a compilation, and a fiber can go on with that one under its name */
};

/* Likewise: what is tainted from then on that was not; bits. */
enum taint_scope { TAINTED_REQUEST = 1, TAINTED_POOL = 2 };

/* A known (site, operation). */
struct pair_key {
	struct hash128 who; /* site, origin and program together */
	u64 detail; /* sink, and for {engine} the directory */
	u32 op;
	u32 pad;
};

struct pair {
	u64 count;
	u32 sent; /* 1: user space has it; of an allowed one: user space looks where each call's paths lead */
	u32 generation; /* for which it is known to be allowed; 0 none */
};

/* Processes to adopt: --pid, the started command, those that mapped a library image. */
struct adoption {
	u64 bias; /* of the library; 0: found from the executable */
	u32 image; /* 0: found from the executable */
	u32 flags; /* enum proc_flags */
};

/*
 * The cookie of a uprobe where code comes from: a file is compiled, its code named, a wrapper of streams taken away, what is
 * compiled converted, a fiber made, and what was compiled until now put aside for other code.
 */
enum source_edge {
	SOURCE_COMPILED = 0,
	SOURCE_UNREGISTERED,
	SOURCE_NAMED,
	SOURCE_CONVERTED,
	SOURCE_FIBER,
	SOURCE_SAVED
};

/* The cookie of a uprobe at the start or end of requests: image << 48, and: */
#define EDGE_STARTS (1ULL << 47)
#define EDGE_VADDR (EDGE_STARTS - 1)

/* A process that is watched: the value of the map `procs`. */
struct proc {
	u64 start;
	u64 bias; /* load bias of the image */
	u32 image;
	u32 flags;
	u32 role;
	u32 depth; /* entries of the origin */
	u32 requests; /* since it was forked */
	u32 phase; /* of the thread that forked or execed last: what a new thread starts with */
	u64 mm; /* its memory (0: not known): the same at an exec means that this exec was seen already */
	u32 pool; /* the process in which the code that it shares was compiled first: its own, or a parent's */
	u32 pad;
	struct hash128 origin, program, script;
};

/* Asked and answered: where the kernel has all memory, by means of a page whose frame and content are known. */
struct memory_layout {
	u64 addr, frame; /* of the page, in the tracer and in memory */
	u64 content[2]; /* what it begins with */
	u64 memory, descriptors; /* 0: not found */
};

/* One descriptor of the tracer, and which file the kernel has behind it. */
struct fd_answer {
	u32 fd;
	u32 pad;
	struct file_key key;
};

/* ---- records ---- */

enum rec_kind {
	REC_SITE = 1,
	REC_PARTIAL,
	REC_PATH,
	REC_ORIGIN,
	REC_CALL,
	REC_RETURN,
	REC_FORK,
	REC_EXEC,
	REC_EXIT,
	REC_ADOPT, /* a process found running */
	REC_TAINT, /* an identity became doubtful: struct rec_call of no call */
	REC_FILE, /* of whom user space is asked whether it knows it */
	REC_OPENED, /* what the task's next call has opened */
	REC_FOLDER, /* struct rec_path: where a relative path of the task's next call begins */
};

struct rec_hdr {
	u16 kind;
	u16 pad;
	u32 len; /* of the whole record */
	u64 ts; /* CLOCK_MONOTONIC, ns */
};

enum site_kind {
	SITE_NONE = 0,
	SITE_FUNCTION,
	SITE_MAIN,
	SITE_CLOSURE,
	SITE_INTERNAL,
	SITE_ENGINE, /* function: the phase's name */
	SITE_MASTER,
	SITE_UNKNOWN,
	SITE_TRAMPOLINE, /* only in chains: neither a site nor a sink */
	SITE_FILE, /* no site: the file of a frame on a chain */
};

enum phase {
	PHASE_UNKNOWN = 0,
	PHASE_STARTUP,
	PHASE_REQUEST,
	PHASE_SHUTDOWN, /* from the end of a request to the start of the next */
};

enum role {
	ROLE_PLAIN = 0,
	ROLE_MASTER, /* serves no request; forks those that do */
	ROLE_WORKER,
};

/* Why a site is {unknown}; bits. */
enum unknown_cause {
	UNK_LINK = 1, /* a link of the chain could not be read */
	UNK_FRAME = 2, /* a frame or its function could not be read */
	UNK_TYPE = 4, /* the structure is not what it must be */
	UNK_FILE = 8,
	UNK_CLASS = 16,
	UNK_FUNCTION = 32,
	UNK_LONG = 64, /* a name over the cap */
	UNK_TRUNCATED = 128, /* more frames than the limit */
	UNK_TABLE_FULL = 256, /* no room for another site */
	UNK_NO_IMAGE = 512, /* PHP that was not introspected yet */
	UNK_GLOBALS = 1024, /* executor_globals could not be read */
	UNK_DRIFT = 2048, /* usdt: the shadow stack does not match */
	UNK_ORIGIN = 4096, /* found running: what started it is not known */
	UNK_TAINTED = 8192, /* it, or its pool, may run code under another file's name */
};

/* File, class and function, exactly as PHP has them. */
struct site_name {
	u8 kind;
	u8 pad;
	u16 file_len, class_len, function_len;
	char file[NAME_ROOM];
	char class_name[NAME_ROOM];
	char function[NAME_ROOM];
};

struct rec_site {
	struct rec_hdr h;
	struct hash128 hash;
	struct site_name name;
};

/*
 * A site of which a name could not be read, sent before its call: the names that
 * could be read, and the addresses of those that could not (0: was read).
 */
struct rec_partial {
	struct rec_hdr h;
	u32 pid, tid;
	u64 fault_file, fault_function; /* zend_string */
	u64 fault_class; /* zend_string; or, fault_class_entry set, not yet known */
	u64 fault_class_entry;
	struct site_name name;
};

/* A program or a script. */
struct rec_path {
	struct rec_hdr h;
	struct hash128 hash; /* of a REC_FOLDER its `lo` is the task */
	u32 len;
	u32 truncated; /* 1: only its end is here */
	char path[PATH_ROOM];
};

/* What a call has opened, which is told after it. */
struct rec_opened {
	struct rec_hdr h;
	struct hash128 folder; /* what user space marks, if nothing in it is protected */
	u32 tid;
	u16 len;
	u16 inner; /* where in `path` begins what it is called below the task's own root */
	u32 is_memory; /* of a process */
	u32 pad;
	char path[PATH_ROOM];
};

/* origin = parent origin + (site, sink) */
struct rec_origin {
	struct rec_hdr h;
	struct hash128 origin, parent, site, sink;
	u32 depth;
	u32 pad;
};

/* Who a record is about: the process, as the kernel knows it. */
struct who {
	u64 start; /* start time of the process: CLOCK_BOOTTIME, ns */
	u32 pid, tid; /* in the initial pid namespace */
	u32 ppid;
	u32 nspid; /* in its own pid namespace */
	u32 uid;
	u32 image; /* 0: it runs another program */
	u8 role;
	u8 phase;
	u16 pad;
	u32 proc_flags;
	struct hash128 origin; /* 0: not a descendant of PHP */
	struct hash128 program;
	struct hash128 script;
	char comm[16];
};

/* Whose path is watched for new files. */
enum watched_path {
	WATCHED_HERE = 1, /* whatever is executed there is PHP until it was looked at */
	WATCHED_INSIDE, /* a container's, which means another file elsewhere: looked at while it runs */
};

enum proc_flags {
	PROC_COMMAND = 1, /* the started command, before its exec: not policed */
	PROC_UNVOUCHED = 2, /* found running: identity not vouched for */
	PROC_ORIGIN_UNKNOWN = 4, /* a descendant whose origin is not known */
	PROC_UNINTROSPECTED = 8, /* a new file at a watched path */
	PROC_PRELOADED = 32, /* fpm that ran a request and forks: still the master */
	PROC_IGNORED = 64, /* outside --pid, --cgroup, --uid */
	/* a worker that its master told to end (SIGQUIT): its next call for that is {master} */
	PROC_QUITTING = 128,
	PROC_SERVES = 256, /* of an fpm, and has asked for a request: never its master */
	PROC_YOUNG = 512, /* adopted in its first seconds, and has made no policed call since */
};

enum { YOUNG_SECONDS = 10 };

struct frame {
	struct hash128 name;
	u32 line; /* 0: not known */
	u16 kind;
	u16 unknown;
};

enum call_flags {
	CALL_QUIET = 1, /* of a program that was started: judged and told before, as a call */
	CALL_PATH_TRUNCATED = 2,
	CALL_PATH_FAULT = 4,
	CALL_PATH2_TRUNCATED = 8,
	CALL_PATH2_FAULT = 16,
	CALL_CHAIN_TRUNCATED = 32,
	CALL_ADDR_FAULT = 64,
	CALL_LINE_FAULT = 128,
	CALL_SITE_RECORDED = 256, /* no PHP context: the site at its clone or fork */
	CALL_KILLED = 512, /* killed from the kernel */
	CALL_REQUEST_SCRIPT = 1024, /* `script` is the request's main script */
	CALL_DECIDED = 2048, /* `reason` is what the kernel side decided */
	CALL_REVIEW = 4096, /* allowed there; whether its path leads to a protected object it cannot tell */
	CALL_LOG_ONLY = 8192, /* a violation that a grant in `log` mode speaks of */
	CALL_NEVER_KILL = 16384, /* a violation of {master} */
	CALL_KILL_FAILED = 32768, /* the kill from the kernel failed: `error` says why */
	CALL_REWRITTEN = 65536, /* an argument was rewritten, so that the call fails */
	CALL_DENIED = 131072, /* a hook returned -EPERM */
	CALL_CONTEXT_UNKNOWN =
		262144, /* a file or a frame of its context is not known, or could not be told */
	CALL_PATHS_ONLY = 524288, /* user space has allowed it already, but for where its paths lead */
	CALL_RETURN_WORK = 1048576, /* its return is told, whether others are seen or not */
	CALL_REACHES = 2097152, /* what it has opened is a protected object, by another name or not */
};

struct rec_call {
	struct rec_hdr h;
	struct who who;
	u64 seq; /* joins a return record: unique within a task */
	u64 args[6];
	u32 nr;
	u16 op;
	u16 chain_len;
	u32 flags;
	u32 line;
	u32 unknown; /* enum unknown_cause */
	u16 path_len, path2_len;
	u16 addr_len;
	u16 site_kind;
	u32 target_pid; /* kill: the process it means, 0 if not one */
	u32 generation; /* of the profile at that moment */
	u16 reason; /* enum reason; of a REC_TAINT enum taint_cause */
	u16 error; /* errno; of a REC_TAINT enum taint_scope */
	u16 spared; /* enum not_rewritten */
	u16 asked; /* so many REC_FILE of this task came before */
	u16 context_cause; /* enum unknown_cause: why its chain could not be told; 0: by `context` */
	u16 callers_len;
	struct hash128 site;
	struct hash128 sink;
	struct hash128 request; /* the request's main script */
	struct hash128 context; /* a file of its chain that is not known */
	struct hash128 callers[CONTEXT_MAX]; /* user frames below the site that decide, too */
	struct pair_key pair; /* what user space marks as allowed, if it is whatever the arguments are */
	u8 addr[ADDR_ROOM];
	struct frame chain[CHAIN_MAX];
	char path[PATH_ROOM];
	char path2[PATH_ROOM];
};

/*
 * A file on the chain of a call that follows, which the strategy does not know to be the profile's: the strategy that
 * decides in user space asks there.
 */
struct rec_file {
	struct rec_hdr h;
	struct hash128 file;
	u32 tid;
	u32 pad;
};

struct rec_return {
	struct rec_hdr h;
	u64 first, seq; /* what waited for it: hooks may see several operations in one system call */
	s64 ret;
	u32 pid, tid;
};

/* fork, exec, exit, adopt */
struct rec_proc {
	struct rec_hdr h;
	struct who who;
	struct file_key exe;
	u32 exit_code; /* as wait() has it */
	u32 parent_role;
	u32 flags; /* of an exec: enum call_flags, what was decided about it */
	u16 reason; /* enum reason */
	u16 error; /* errno */
};

/* ---- counters ---- */

#define STATS(X)                                                                                             \
	X(CALLS, "policed calls of subjects")                                                                \
	X(EVENTS, "records sent")                                                                            \
	X(LOST, "records lost: the ring buffer was full")                                                    \
	X(LOST_KILLED, "subjects killed because their record was lost")                                      \
	X(ENDED, "subjects killed because their sandbox ended before them")                                  \
	X(KILL_FAILED, "kills from the kernel that failed")                                                  \
	X(DEDUPLICATED, "observations that were known already")                                              \
	X(PAIRS_FULL, "no room for another (site, operation)")                                               \
	X(SITES_FULL, "no room for another site")                                                            \
	X(PROCS_FULL, "no room for another process")                                                         \
	X(UNSEEN_END, "processes forgotten when their number was had again")                                 \
	X(STORAGE_FAILED, "task storage could not be created")                                               \
	X(WALKS, "walks")                                                                                    \
	X(WALKS_AGAIN, "walks begun again, as memory could not be read for a moment")                        \
	X(WAITS, "waits for memory that could not be read")                                                  \
	X(UNK_GLOBALS, "unknown site: executor_globals unreadable")                                          \
	X(UNK_LINK, "unknown site: a link of the chain unreadable")                                          \
	X(UNK_FRAME, "unknown site: a frame unreadable")                                                     \
	X(UNK_TYPE, "unknown site: not the expected structure")                                              \
	X(UNK_FILE, "unknown site: file name unreadable")                                                    \
	X(UNK_CLASS, "unknown site: class name unreadable")                                                  \
	X(UNK_FUNCTION, "unknown site: function name unreadable")                                            \
	X(UNK_LONG, "unknown site: a name over the cap")                                                     \
	X(UNK_TRUNCATED, "unknown site: too many frames")                                                    \
	X(UNK_NO_IMAGE, "unknown site: PHP not introspected")                                                \
	X(UNK_DRIFT, "unknown site: shadow stack drifted")                                                   \
	X(UNK_CONTEXT, "chains of which not every file could be told")                                       \
	X(SCRATCH_BUSY, "no scratch space")                                                                  \
	X(NO_DECIDER, "operations at a hook that nothing was there to decide about")                         \
	X(LINE_FAULT, "lines not shown")                                                                     \
	X(ARG_FAULT, "arguments not readable")                                                               \
	X(FOREIGN, "32-bit and x32 calls")                                                                   \
	X(REQUESTS, "requests started")                                                                      \
	X(DECIDED, "calls decided in the kernel")                                                            \
	X(ALLOWED, "calls allowed there")                                                                    \
	X(KILLED, "kills from the kernel for a violation")                                                   \
	X(KILL_EBUSY, "of the failed kills: no room for the signal at that moment")                          \
	X(REWRITTEN, "violating calls that were rewritten")                                                  \
	X(NOT_REWRITTEN, "violating calls that could not be rewritten")                                      \
	X(RESTORE_FAILED, "rewritten arguments that could not be put back")                                  \
	X(MAP_BUSY, "looks at a memory map that was being changed")                                          \
	X(DENIED, "violating calls that were denied")                                                        \
	X(V_SITE, "violations: site-not-in-profile")                                                         \
	X(V_OPERATION, "violations: operation-not-in-profile")                                               \
	X(V_PROGRAM, "violations: program-not-in-profile")                                                   \
	X(V_UNKNOWN_SITE, "violations: unknown-site")                                                        \
	X(V_TAINTED, "violations: tainted-identity")                                                         \
	X(V_FOREIGN_ABI, "violations: foreign-abi")                                                          \
	X(V_PROTECTED, "violations: protected-object")                                                       \
	X(V_LOST, "violations: events-lost")                                                                 \
	X(V_CONTEXT, "violations: unknown-context")                                                          \
	X(READ_SHARED, "reads of shared memory that the process had not touched")                            \
	X(RESOLVED, "names resolved by roots and patterns")                                                  \
	X(RESOLVED_FULL, "no room to remember a resolved name")                                              \
	X(REVIEW_LOST, "allowed calls whose paths nobody followed: the ring buffer was full")                \
	X(OPENINGS_FULL, "allowed calls that open, for which there was no room to look at what they opened") \
	X(UNTOLD, "names that could not be told to user space")                                              \
	X(TAINT_REQUESTS, "requests that became tainted")                                                    \
	X(TAINT_POOLS, "pools that became tainted")                                                          \
	X(USDT_ENTRY, "usdt: functions entered")                                                             \
	X(USDT_RETURN, "usdt: functions returned from")                                                      \
	X(USDT_DRIFT, "usdt: returns that matched no entry")                                                 \
	X(USDT_RESET, "usdt: frames left over at a request's start or end")                                  \
	X(USDT_DEEP, "usdt: entries over the depth limit")

enum stat_id {
#define X(name, text) STAT_##name,
	STATS(X)
#undef X
		STAT_MAX,
};

/* ---- what changes while running: read once per decision ---- */

enum mode {
	MODE_PROFILE = 0,
	MODE_MONITOR,
	MODE_SANDBOX,
	MODE_MASK = 255,
	/* Beside the mode: the profile has roots or generated code, so names have to be resolved. */
	MODE_PATTERNED = 256,
	/* The sandbox ends before its COMMAND: whoever of it calls anything is killed. */
	MODE_ENDS = 512,
};

struct control {
	u32 generation; /* with the mode in one word: both are read and written at once */
	u32 mode;
	u32 instance; /* which of the loaded objects acts: the others leave at once */
	u32 tracer; /* its process, which no subject may reach for */
	u32 returns_are_seen; /* 1 from the first call on whose return was seen: before, only the end of who is killed tells */
	u32 pad;
};

/* Whose pinned maps these are. The number changes with everything that a later version could not go on with. */
enum { PERSIST_FORMAT = 22 };

struct identity {
	u32 format;
	u32 pad;
	u64 hash_key[2];
};

/* ---- the profile in the kernel, for who decides there ---- */

/* Verdicts, in the order of Rust's `Reason`; 0 is allowed. */
enum reason {
	REASON_NONE = 0,
	REASON_SITE,
	REASON_OPERATION,
	REASON_PROGRAM,
	REASON_UNKNOWN_SITE,
	REASON_TAINTED,
	REASON_FOREIGN_ABI,
	REASON_PROTECTED,
	REASON_LOST,
	REASON_CONTEXT,
};

enum table_limits {
	/* Operations that can be granted, numbered from 0 for bitmaps. */
	OP_BITS = 512,
	OP_WORDS = OP_BITS / 64,
	/* Ways in which roots store one file name, the name itself among them. */
	WAYS_MAX = 4,
	/* Rules of one (owner, operation). */
	RULES_MAX = 16,
	/* Patterns lists that one rule demands to match. */
	RULE_PATHS_MAX = 2,
	/* Programs with an origin: nodes of the origins' tree that one origin can mean. */
	NODES_MAX = 4,
	AUTOMATON_STATES_MAX = 65536, /* the dead one counts */
	GENERATIONS_MAX = 16,
};

/* Per operation (raw number): the bit's number + 1 in the low bits, 0 for what is never granted. */
enum op_info {
	OP_INDEX = 1023,
	OP_MOVES = 0x2000, /* could take a folder away with all that is in it, or cover it */
	OP_PROTECTS = 0x4000, /* could change a script, by a path */
	OP_REMOVES = 0x8000, /* could take a file away or change what it is, by a path */
};

enum policy_kind {
	POLICY_EXACT = 1, /* a site with its file's absolute name, or with no file */
	POLICY_ROOTED, /* a site with its file relative to a root */
	POLICY_GENERATED, /* id.lo: what an automaton's state says of generated code */
	POLICY_PROGRAM, /* (node of its origin, program) */
	POLICY_SCRIPT_EXACT, /* a script of the profile or a file of the tracer, by absolute path */
	POLICY_SCRIPT_ROOTED,
	POLICY_RESOLVED, /* a site or (origin, program) as seen, united from the above: made in the kernel */
	POLICY_FILE, /* a known file as seen, found by roots and patterns: likewise; what it holds means nothing */
};

struct policy_key {
	struct hash128 id;
	u32 generation;
	u16 kind;
	u16 pad;
	u32 node; /* POLICY_PROGRAM */
	u32 pad2;
};

enum policy_flags {
	POLICY_IS_MASTER = 1, /* violations never kill */
	POLICY_IS_SCRIPT = 2, /* of a script entry: may not be opened for writing, renamed or linked */
	POLICY_IS_OWN = 4, /* of a script entry: may not be removed or changed either */
	POLICY_IS_ABOVE = 8, /* of a folder above such an entry: may not be moved or covered */
	POLICY_IS_KNOWN = 16, /* of a script entry: may be on the chain of a call */
};

/* What one site, program or generated file may do. */
struct policy {
	u64 allowed[OP_WORDS]; /* whatever the arguments are */
	u64 asking[OP_WORDS]; /* by rules */
	u32 owners[WAYS_MAX]; /* whose rules; 0: none */
	u32 flags; /* enum policy_flags */
	u32 pad;
};

/* The rules of one owner about one operation. */
struct rule_key {
	u32 generation;
	u32 owner;
	u32 op;
	u32 pad;
};

struct rule {
	u16 paths
		[RULE_PATHS_MAX]; /* start states: every path of the call must be accepted by each; 0: none */
	u8 itself; /* 1: the program is what the task runs already */
	u8 log; /* 1: a violation all the same, that is only logged */
	u16 pad;
};

struct rules {
	u32 n;
	u32 pad;
	struct rule rule[RULES_MAX];
};

/* From one node of the origins' tree to the next; node 0 is the empty origin. */
struct node_key {
	struct hash128 site; /* the id under which a policy would be found */
	struct hash128 sink;
	u32 generation;
	u32 node;
	u16 kind; /* POLICY_EXACT or POLICY_ROOTED */
	u16 pad;
	u32 pad2;
};

/* How an origin was made: what it is looked up by under another profile. */
struct origin_link {
	struct hash128 parent, site, sink;
	u32 depth;
	u32 kind; /* of the site */
};

enum accept_flags {
	ACCEPT = 1, /* a path that matches */
	ACCEPT_TRUSTED = 2, /* of file names: one that can be believed */
	ACCEPT_EVALUATED = 4, /* of file names: code that was made while running */
	ACCEPT_ABOVE = 8, /* of file names: a folder that is or holds a root */
};

/* One state of an automaton: deterministic, state 0 accepts nothing and stays. */
struct automaton_row {
	u16 next[256];
	u32 accept; /* enum accept_flags: what is true of what ends here */
	u32 generated; /* id of a POLICY_GENERATED; 0: none */
	/* A root whose pattern the name begins with: its number, and the slashes up to and with the last of it. */
	struct {
		u16 root; /* from 1; 0: none */
		u16 slashes;
	} roots[WAYS_MAX - 1];
	u16 pad[2];
};

/* What a generation's tables begin with. */
struct tables {
	u16 names; /* start state of file names */
	u16 once; /* start state of what PHP and the C library read once in each process */
	u32 patterned; /* 1: see MODE_PATTERNED */
};

#endif
