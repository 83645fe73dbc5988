/*
 * calls OPERATION FOLDER COUNT [NUMBER]: what PHP has no function for, each on FOLDER/0 … FOLDER/COUNT-1.
 * Prints how often it was done, how often it got EPERM, and the last other error number.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/perf_event.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <pthread.h>
#include <asm/ldt.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static long number;

static long create_openat2(const char *at)
{
	struct open_how how = { .flags = O_CREAT | O_WRONLY, .mode = 0600 };

	return syscall(SYS_openat2, AT_FDCWD, at, &how, sizeof(how));
}

static long read_openat2(const char *at)
{
	struct open_how how = { .flags = O_RDONLY };
	int fd = syscall(SYS_openat2, AT_FDCWD, at, &how, sizeof(how));

	if (fd >= 0)
		close(fd);
	return fd;
}

static long creat_old(const char *at)
{
	return syscall(SYS_creat, at, 0600);
}

static long open_truncate(const char *at)
{
	int fd = open(at, O_WRONLY | O_TRUNC);

	if (fd >= 0)
		close(fd);
	return fd;
}

static long message_queue(const char *at)
{
	struct mq_attr small = { .mq_maxmsg = 1, .mq_msgsize = 1 };
	char name[64];
	mqd_t queue;

	snprintf(name, sizeof(name), "/e2e-lsm-%s", strrchr(at, '/') + 1);
	queue = mq_open(name, O_CREAT | O_RDWR, 0600, &small);
	if (queue >= 0)
		mq_close(queue);
	return queue;
}

static long truncate_it(const char *at)
{
	return truncate(at, 1);
}

static int index_of(const char *at)
{
	return atoi(strrchr(at, '/') + 1);
}

static long queue_remove(const char *at)
{
	char name[64];

	/* The call itself: the C library makes EACCES of EPERM. */
	snprintf(name, sizeof(name), "e2e-lsm-gone-%d", index_of(at));
	return syscall(SYS_mq_unlink, name);
}

/* As `trap.rs` has made them: in FOLDER's name is what is done to them. */
static int key_of(const char *at)
{
	static const char *const verbs[] = { "remove", "find", "make", "store", "up", "send", "receive" };
	unsigned int i;

	for (i = 0; i < sizeof(verbs) / sizeof(*verbs); i++) {
		char folder[16];

		snprintf(folder, sizeof(folder), "_%s/", verbs[i]);
		if (strstr(at, folder))
			break;
	}
	return 0xe2f000 + i * 0x1000 + index_of(at);
}

/* Numbers are there to be looked up: nobody has to ask for an object by its key. */
static int shm_of(const char *at)
{
	struct shmid_ds about;
	int i, id, last = shmctl(0, SHM_INFO, (void *)&about);

	for (i = 0; i <= last; i++)
		if ((id = shmctl(i, SHM_STAT, &about)) >= 0 && about.shm_perm.__key == key_of(at))
			return id;
	return -1;
}

static int sem_of(const char *at)
{
	struct semid_ds about;
	struct seminfo all;
	int i, id, last = semctl(0, 0, SEM_INFO, &all);

	for (i = 0; i <= last; i++)
		if ((id = semctl(i, 0, SEM_STAT, &about)) >= 0 && about.sem_perm.__key == key_of(at))
			return id;
	return -1;
}

static int msg_of(const char *at)
{
	struct msqid_ds about;
	struct msginfo all;
	int i, id, last = msgctl(0, MSG_INFO, (void *)&all);

	for (i = 0; i <= last; i++)
		if ((id = msgctl(i, MSG_STAT, &about)) >= 0 && about.msg_perm.__key == key_of(at))
			return id;
	return -1;
}

static long shm_remove(const char *at)
{
	return shmctl(shm_of(at), IPC_RMID, NULL);
}

static long sem_remove(const char *at)
{
	return semctl(sem_of(at), 0, IPC_RMID);
}

static long msg_remove(const char *at)
{
	return msgctl(msg_of(at), IPC_RMID, NULL);
}

static long shm_find(const char *at)
{
	return shmget(key_of(at), 0, 0);
}

static long sem_find(const char *at)
{
	return semget(key_of(at), 0, 0);
}

static long msg_find(const char *at)
{
	return msgget(key_of(at), 0);
}

static long shm_make(const char *at)
{
	return shmget(key_of(at), 1, IPC_CREAT | 0600);
}

static long sem_make(const char *at)
{
	return semget(key_of(at), 1, IPC_CREAT | 0600);
}

static long msg_make(const char *at)
{
	return msgget(key_of(at), IPC_CREAT | 0600);
}

static long shm_store(const char *at)
{
	char *memory = shmat(shm_of(at), NULL, 0);

	if (memory == (void *)-1)
		return -1;
	*memory = 1;
	return shmdt(memory);
}

static long sem_up(const char *at)
{
	struct sembuf up = { 0, 1, IPC_NOWAIT };

	return semop(sem_of(at), &up, 1);
}

struct message {
	long type;
	char text;
};

static long msg_send(const char *at)
{
	struct message message = { 1, 'x' };

	return msgsnd(msg_of(at), &message, 1, IPC_NOWAIT);
}

static long msg_receive(const char *at)
{
	struct message message;
	long result = msgrcv(msg_of(at), &message, 1, 0, IPC_NOWAIT);

	/* The hook is one of permissions. */
	if (result < 0 && errno == EACCES)
		errno = EPERM;
	return result;
}

/* One file less may be opened by that process. */
static long lower(const char *at)
{
	struct rlimit limit;

	if (prlimit(number, RLIMIT_NOFILE, NULL, &limit))
		return -1;
	limit.rlim_cur--;
	return prlimit(number, RLIMIT_NOFILE, &limit, NULL);
}

static long renice(const char *at)
{
	return setpriority(PRIO_PROCESS, number, index_of(at) + 1);
}

static long schedule(const char *at)
{
	struct sched_param none = { 0 };

	return sched_setscheduler(number, SCHED_BATCH, &none);
}

static long affinity(const char *at)
{
	unsigned long all = 1;

	return syscall(SYS_sched_setaffinity, number, sizeof(all), &all);
}

static long io_priority(const char *at)
{
	return syscall(SYS_ioprio_set, 1, number, 2 << 13 | 5);
}

static long pages(const char *at)
{
	return syscall(SYS_move_pages, number, 0, NULL, NULL, NULL, 0);
}

static long closed(int fd)
{
	if (fd >= 0)
		close(fd);
	return fd;
}

/* Its first bytes once more, behind its end. */
static long copy_range(const char *at)
{
	int fd = open(at, O_RDWR), error;
	loff_t from = 0, to = 1000;
	long result = copy_file_range(fd, &from, fd, &to, 8, 0);

	error = errno;
	closed(fd);
	errno = error;
	return result == 8 ? 0 : -1;
}

static long punch(const char *at)
{
	int fd = open(at, O_RDWR), error;
	long result = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4);

	error = errno;
	closed(fd);
	errno = error;
	return result;
}

static long memory(const char *at)
{
	return closed(memfd_create("e2e", index_of(at) % 2 ? MFD_HUGETLB : 0));
}

static long pidfd(const char *at)
{
	return closed(syscall(SYS_pidfd_open, number, 0));
}

static long watch(const char *at)
{
	static int fd = -1;

	if (fd < 0)
		fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY);
	return fanotify_mark(fd, FAN_MARK_ADD, FAN_MODIFY, AT_FDCWD, at);
}

/* Linux 6.17: struct file_attr, and FS_XFLAG_NODUMP. */
static long attributes(const char *at)
{
	struct {
		unsigned long long flags;
		unsigned int rest[4];
	} attr = { .flags = 0x80 };

	return syscall(469, AT_FDCWD, at, &attr, sizeof(attr), 0);
}

/* Made without a name, and given one. */
static long tmpfile_linked(const char *at)
{
	char folder[4096], *slash, proc[64];
	int fd;

	snprintf(folder, sizeof(folder), "%s", at);
	slash = strrchr(folder, '/');
	*slash = 0;
	fd = open(folder, O_TMPFILE | O_WRONLY, 0600);
	if (fd < 0)
		return -1;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, proc, AT_FDCWD, at, AT_SYMLINK_FOLLOW);
}

static long unlinkat_dir(const char *at)
{
	return unlinkat(AT_FDCWD, at, AT_REMOVEDIR);
}

static long exchange(const char *at)
{
	char other[4096];

	snprintf(other, sizeof(other), "%s.other", at);
	return syscall(SYS_renameat2, AT_FDCWD, at, AT_FDCWD, other, 2);
}

static long setxattr_trusted(const char *at)
{
	return setxattr(at, "trusted.e2e", "x", 1, 0);
}

/* A program without a name: the mark that it leaves is a file. */
static long exec_memfd(const char *at)
{
	static char *environment[] = { NULL };
	static int fd = -1;
	char *arguments[] = { "touch", (char *)at, NULL }, buffer[1 << 16];
	int status, from;
	long n;
	pid_t child;

	if (fd < 0) {
		fd = memfd_create("program", 0);
		from = open("/usr/bin/touch", O_RDONLY);
		while ((n = read(from, buffer, sizeof(buffer))) > 0)
			if (write(fd, buffer, n) != n)
				return -1;
		close(from);
	}
	child = vfork();
	if (child < 0)
		return -1;
	if (!child) {
		syscall(SYS_execveat, fd, "", arguments, environment, AT_EMPTY_PATH);
		_exit(errno == EPERM ? 99 : 98);
	}
	waitpid(child, &status, 0);
	errno = WEXITSTATUS(status) == 99 ? EPERM : EINVAL;
	return status ? -1 : 0;
}

/* The 32-bit way: call 10 there is unlink. */
static long unlink_int80(const char *at)
{
	static char *low;
	long result;

	if (!low)
		low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	strcpy(low, at);
	asm volatile("int $0x80" : "=a"(result) : "a"(10L), "b"(low) : "memory", "r8", "r9", "r10", "r11");
	if (result >= 0)
		return 0;
	errno = -(int)result;
	return -1;
}

/* Both rings are one mapping: IORING_FEAT_SINGLE_MMAP. */
struct ring {
	int fd;
	struct io_uring_params p;
	char *rings;
	struct io_uring_sqe *sqe;
};

static int ring_make(struct ring *r, unsigned int flags)
{
	memset(r, 0, sizeof(*r));
	r->p.flags = flags;
	r->p.sq_thread_idle = 100;
	r->fd = syscall(SYS_io_uring_setup, 4, &r->p);
	if (r->fd < 0)
		return -1;
	r->rings = mmap(NULL, r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe),
			PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->sqe = mmap(NULL, r->p.sq_entries * sizeof(*r->sqe), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	return r->rings == MAP_FAILED || r->sqe == MAP_FAILED ? -1 : 0;
}

/* One request, and its result. */
static long ring_do(struct ring *r, struct io_uring_sqe request)
{
	unsigned int *tail = (unsigned int *)(r->rings + r->p.sq_off.tail);
	unsigned int *head = (unsigned int *)(r->rings + r->p.cq_off.head), at = *tail % r->p.sq_entries;
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(r->rings + r->p.cq_off.cqes);
	long result;

	r->sqe[at] = request;
	((unsigned int *)(r->rings + r->p.sq_off.array))[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP, NULL, 0) < 0)
		return -1;
	result = cqes[*head % r->p.cq_entries].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	errno = result < 0 ? -(int)result : 0;
	return result < 0 ? -1 : 0;
}

static long ring_unlink(const char *at, unsigned int setup, unsigned int flags)
{
	struct io_uring_sqe request = { .opcode = IORING_OP_UNLINKAT, .flags = flags, .fd = AT_FDCWD,
					.addr = (unsigned long)at };
	struct ring r;
	long result;
	int error;

	if (ring_make(&r, setup))
		return -1;
	result = ring_do(&r, request);
	error = errno;
	munmap(r.rings, r.p.cq_off.cqes + r.p.cq_entries * sizeof(struct io_uring_cqe));
	munmap(r.sqe, r.p.sq_entries * sizeof(*r.sqe));
	close(r.fd);
	errno = error;
	return result;
}

static long uring(const char *at)
{
	return ring_unlink(at, 0, 0);
}

static long uring_async(const char *at)
{
	return ring_unlink(at, 0, IOSQE_ASYNC);
}

/* A thread of the kernel looks for requests. */
static long uring_sqpoll(const char *at)
{
	return ring_unlink(at, IORING_SETUP_SQPOLL, 0);
}

static long capset_same(const char *at)
{
	struct __user_cap_header_struct who = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &who, data))
		return -1;
	return syscall(SYS_capset, &who, data);
}

static long uring_socket(const char *at)
{
	struct io_uring_sqe request = { .opcode = IORING_OP_SOCKET, .fd = AF_INET, .off = SOCK_STREAM };
	static struct ring r;

	if (!r.rings && ring_make(&r, 0))
		return -1;
	return ring_do(&r, request);
}

/* A link, made by a worker of the kernel that has other credentials than who asks it. */
static long uring_credentials(const char *at)
{
	struct io_uring_sqe nothing = { .opcode = IORING_OP_NOP, .flags = IOSQE_ASYNC };
	struct io_uring_sqe link = { .opcode = IORING_OP_SYMLINKAT, .flags = IOSQE_ASYNC, .fd = AT_FDCWD,
				     .addr = (unsigned long)"/etc/passwd", .addr2 = (unsigned long)at };
	static struct ring r;

	if (!r.rings && ring_make(&r, 0))
		return -1;
	/* The worker is there, and stays a while. */
	if (ring_do(&r, nothing) || capset_same(at)) {
		errno = EINVAL;
		return -1;
	}
	return ring_do(&r, link);
}

static long mmap_exec(const char *at)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -1;
	munmap(page, 4096);
	return 0;
}

static sigjmp_buf before;

static void faulted(int signal)
{
	siglongjmp(before, 1);
}

/* Whatever it is told: done is what can be executed. */
static long mprotect_exec(const char *at)
{
	static char page[4096] __attribute__((aligned(4096)));
	int error;

	page[0] = (char)0xc3; /* ret */
	error = mprotect(page, sizeof(page), PROT_READ | PROT_WRITE | PROT_EXEC) ? errno : 0;
	signal(SIGSEGV, faulted);
	if (!sigsetjmp(before, 1)) {
		((void (*)(void))page)();
		error = 0;
	} else if (!error) {
		error = EFAULT;
	}
	signal(SIGSEGV, SIG_DFL);
	mprotect(page, sizeof(page), PROT_READ | PROT_WRITE);
	errno = error;
	return error ? -1 : 0;
}

static long userfault(const char *at)
{
	/* UFFD_USER_MODE_ONLY, without which it takes a capability. */
	int fd = syscall(SYS_userfaultfd, 1 | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd;
}

static long key(const char *at)
{
	return syscall(SYS_add_key, "user", at, "x", 1, KEY_SPEC_PROCESS_KEYRING);
}

static long attach(const char *at)
{
	if (ptrace(PTRACE_SEIZE, number, 0, 0))
		return -1;
	/* Let go: who is traced cannot be attached to again. */
	ptrace(PTRACE_INTERRUPT, number, 0, 0);
	waitpid(number, NULL, __WALL);
	return ptrace(PTRACE_DETACH, number, 0, 0);
}

static long traceme(const char *at)
{
	int status;
	pid_t child = fork();

	if (child < 0)
		return -1;
	if (!child)
		_exit(ptrace(PTRACE_TRACEME, 0, 0, 0) ? errno : 0);
	waitpid(child, &status, 0);
	errno = WEXITSTATUS(status);
	return status ? -1 : 0;
}

/* Two words of whoever it is: where its stack is does not matter, what matters is whether they come. */
static long peek(const char *at)
{
	static unsigned long from;
	unsigned long word;
	struct iovec here = { &word, sizeof(word) }, there = { NULL, sizeof(word) };
	char name[64], line[256];

	if (!from) {
		FILE *maps;

		snprintf(name, sizeof(name), "/proc/%ld/maps", number);
		maps = fopen(name, "r");
		if (maps && fgets(line, sizeof(line), maps))
			from = strtoul(line, NULL, 16);
		if (!from)
			from = 0x400000;
	}
	there.iov_base = (void *)from;
	return process_vm_readv(number, &here, 1, &there, 1, 0) == sizeof(word) ? 0 : -1;
}

/* One of those that a program may use: another one for another object. */
static int signal_for(const char *at)
{
	return SIGRTMIN + index_of(at) % 30;
}

static long queue(const char *at)
{
	union sigval value = { 0 };

	return sigqueue(number, signal_for(at), value);
}

static long pidfd_signal(const char *at)
{
	static int fd = -1;

	if (fd < 0)
		fd = syscall(SYS_pidfd_open, number, 0);
	if (fd < 0)
		return -1;
	return syscall(SYS_pidfd_send_signal, fd, signal_for(at), NULL, 0);
}

static long pair(const char *at)
{
	int both[2];
	long result = socketpair(AF_UNIX, SOCK_STREAM, 0, both);

	if (!result) {
		close(both[0]);
		close(both[1]);
	}
	return result;
}

static long inotify(const char *at)
{
	static int fd = -1;

	if (fd < 0)
		fd = inotify_init1(IN_CLOEXEC);
	return inotify_add_watch(fd, at, IN_MODIFY);
}

/* FS_IOC_SETFLAGS with FS_NODUMP_FL. */
static long attributes_by_ioctl(const char *at)
{
	long flags = 0x40, result;
	int fd = open(at, O_RDWR), error;

	result = ioctl(fd, 0x40086602, &flags);
	error = errno;
	closed(fd);
	errno = error;
	return result;
}

/* Whom a pipe's signals are for. */
static long pipe_owner(const char *at)
{
	static int both[2] = { -1, -1 };
	int error, is_done;

	if (both[0] < 0 && pipe(both))
		return -1;
	error = fcntl(both[0], F_SETOWN, getpid()) ? errno : 0;
	is_done = fcntl(both[0], F_GETOWN) == getpid();
	if (is_done)
		fcntl(both[0], F_SETOWN, 0);
	errno = error;
	return is_done ? 0 : -1;
}

/* Which signal it gets at its parent's end: another one each time. */
static long death_signal(const char *at)
{
	int error, is_set = 0;

	error = prctl(PR_SET_PDEATHSIG, signal_for(at)) ? errno : 0;
	prctl(PR_GET_PDEATHSIG, &is_set);
	errno = error;
	return is_set == signal_for(at) ? 0 : -1;
}

static long secret_memory(const char *at)
{
	return closed(syscall(SYS_memfd_secret, 0));
}

/* A byte into a pipe, and out of it. */
static long splice_memory(const char *at)
{
	static int both[2] = { -1, -1 };
	char byte = 'x';
	struct iovec from = { &byte, 1 };

	if (both[0] < 0 && pipe(both))
		return -1;
	if (vmsplice(both[1], &from, 1, 0) != 1)
		return -1;
	return read(both[0], &byte, 1) == 1 ? 0 : -1;
}

static long persona(const char *at)
{
	return syscall(SYS_personality, 0UL);
}

static long descriptor_table(const char *at)
{
	struct user_desc entry = { .entry_number = 0, .base_addr = 0, .limit = 1, .seg_32bit = 1 };

	return syscall(SYS_modify_ldt, 1, &entry, sizeof(entry));
}

static char raced[4096];

/* Where the folder's name is in `raced`: there, and back. */
static void *other_folder(void *spot)
{
	for (;;) {
		memcpy(spot, "kept", 4);
		__sync_synchronize();
		memcpy(spot, "free", 4);
		__sync_synchronize();
	}
	return NULL;
}

/* FOLDER/free/N, of which a second thread makes FOLDER/kept/N while the kernel looks at it. */
static long race(const char *at)
{
	static pthread_t thread;
	const char *name = strrchr(at, '/');
	int i, denied = 0;

	snprintf(raced, sizeof(raced), "%.*s/free%s", (int)(name - at), at, name);
	if (!thread && pthread_create(&thread, NULL, other_folder, raced + (name - at) + 1))
		return -1;
	for (i = 0; i < 200; i++)
		denied |= unlink(raced) && errno == EPERM;
	errno = EPERM;
	return denied ? -1 : 0;
}

/* ---- by root ---- */

/* A filter that allows everything. */
static long filter(const char *at)
{
	struct sock_filter allow = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
	struct sock_fprog program = { 1, &allow };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static long bpf_map(const char *at)
{
	/* BPF_MAP_CREATE of an array. */
	unsigned int attr[32] = { 2, 4, 4, 1 };
	int fd = syscall(SYS_bpf, 0, attr, sizeof(attr));

	if (fd >= 0)
		close(fd);
	return fd;
}

static long perf(const char *at)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(attr),
					.config = PERF_COUNT_SW_CPU_CLOCK };
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);

	if (fd >= 0)
		close(fd);
	return fd;
}

static long device(const char *at)
{
	return mknod(at, S_IFCHR | 0600, 1 << 8 | 3);
}

static long mount_tmpfs(const char *at)
{
	return mount("e2e", at, "tmpfs", 0, NULL);
}

static long umount_it(const char *at)
{
	return umount2(at, MNT_DETACH);
}

static long namespace(const char *at)
{
	return unshare(CLONE_NEWUTS);
}

static long host_name(const char *at)
{
	return sethostname("e2e-lsm", 7);
}

static long root_of(const char *at)
{
	int outside = open("/", O_PATH | O_DIRECTORY);
	long result = chroot(at);

	/* Back again: the next one is not to be found from inside. */
	if (!result)
		result = fchdir(outside) || chroot(".") ? -1 : 0;
	close(outside);
	return result;
}

static long remove_attribute(const char *at)
{
	return removexattr(at, "trusted.e2e");
}

static long set_groups(const char *at)
{
	gid_t group = 1000 + index_of(at), now = 0;
	int error;

	/* The call itself: the C library's is for every thread. */
	error = syscall(SYS_setgroups, 1, &group) ? errno : 0;
	if (getgroups(1, &now) != 1)
		now = 0;
	errno = error;
	return now == group ? 0 : -1;
}

/* How much of what the kernel says comes to the console. */
static long console_level(const char *at)
{
	return syscall(SYS_syslog, 8, NULL, 5);
}

/* The part of the time zone that moves no clock. */
static long time_zone(const char *at)
{
	struct timezone zone = { 0, 7 };

	return syscall(SYS_settimeofday, NULL, &zone);
}

/* The offset of atomic time. */
static struct timex atomic_time(void)
{
	return (struct timex){ .modes = ADJ_TAI, .constant = 7 };
}

static long adjust(const char *at)
{
	struct timex time = atomic_time();

	return syscall(SYS_adjtimex, &time);
}

static long adjust_clock(const char *at)
{
	struct timex time = atomic_time();

	return syscall(SYS_clock_adjtime, CLOCK_REALTIME, &time);
}

static long domain_name(const char *at)
{
	return setdomainname("e2e-lsm", 7);
}

/* Ctrl-Alt-Del restarts the machine at once. */
static long keys_restart(const char *at)
{
	return syscall(SYS_reboot, 0xfee1dead, 672274793, 0x89abcdef, NULL);
}

/* Done is what may write to a port: the one that is there for nothing. */
static long port(const char *at)
{
	int error = ioperm(0x80, 1, 1) ? errno : 0;

	signal(SIGSEGV, faulted);
	if (!sigsetjmp(before, 1)) {
		outb(0, 0x80);
		error = 0;
	} else if (!error) {
		error = EFAULT;
	}
	signal(SIGSEGV, SIG_DFL);
	ioperm(0x80, 1, 0);
	errno = error;
	return error ? -1 : 0;
}

static long all_ports(const char *at)
{
	long result = iopl(3);
	int error = errno;

	iopl(0);
	errno = error;
	return result;
}

static long hang_up(const char *at)
{
	return vhangup();
}

/* No accounting, which there is none of. */
static long accounting(const char *at)
{
	return acct(NULL);
}

/* No kernel to start, which there is none of. */
static long unload_kernel(const char *at)
{
	return syscall(SYS_kexec_load, 0L, 0L, NULL, 0L);
}

static long watch_everything(const char *at)
{
	return closed(fanotify_init(FAN_CLASS_CONTENT, O_RDONLY));
}

static long file_system(const char *at)
{
	return closed(fsopen("tmpfs", 0));
}

static long mount_clone(const char *at)
{
	return closed(open_tree(AT_FDCWD, at, OPEN_TREE_CLONE));
}

static long mount_read_only(const char *at)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

	return syscall(SYS_mount_setattr, AT_FDCWD, at, 0, &attr, sizeof(attr));
}

static long mount_moved(const char *at)
{
	char to[4096];

	snprintf(to, sizeof(to), "%s.to", at);
	return move_mount(AT_FDCWD, at, AT_FDCWD, to, 0);
}

static int mounts_of_its_own(void)
{
	return unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

/* In a child: is its root the file system that was just mounted? */
static int pivot_in_child(const char *at)
{
	struct statfs about;
	int error;

	if (mounts_of_its_own() || mount("e2e-pivot", at, "ramfs", 0, NULL) || chdir(at))
		return ENOSYS;
	error = syscall(SYS_pivot_root, ".", ".") ? errno : 0;
	if (!statfs("/", &about) && about.f_type == 0x858458f6 /* RAMFS_MAGIC */)
		return 0;
	return error ? error : EFAULT;
}

static long pivot(const char *at)
{
	int status;
	pid_t child = fork();

	if (child < 0)
		return -1;
	if (!child)
		_exit(pivot_in_child(at));
	waitpid(child, &status, 0);
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
	return errno ? -1 : 0;
}

/* Into the name space that it is in already. */
static long join(const char *at)
{
	int fd = syscall(SYS_pidfd_open, getpid(), 0), error;
	long result = setns(fd, CLONE_NEWUTS);

	error = errno;
	closed(fd);
	errno = error;
	return result;
}

static const struct {
	const char *name;
	long (*call)(const char *at);
} calls[] = {
	{ "open_truncate", open_truncate }, { "truncate", truncate_it },
	{ "openat2", create_openat2 },	  { "creat", creat_old },	{ "tmpfile", tmpfile_linked },
	{ "unlinkat_dir", unlinkat_dir }, { "exchange", exchange },	{ "setxattr", setxattr_trusted },
	{ "exec_memfd", exec_memfd },	  { "int80", unlink_int80 },	{ "uring", uring },
	{ "uring_async", uring_async },	  { "userfaultfd", userfault }, { "add_key", key },
	{ "ptrace", attach },		  { "traceme", traceme },	{ "peek", peek },
	{ "sigqueue", queue },		  { "pidfd_signal", pidfd_signal }, { "socketpair", pair },
	{ "bpf", bpf_map },		  { "perf", perf },		{ "device", device },
	{ "mount", mount_tmpfs },	  { "umount", umount_it },	{ "unshare", namespace },
	{ "hostname", host_name },	  { "chroot", root_of },	{ "read_openat2", read_openat2 },
	{ "message_queue", message_queue }, { "uring_sqpoll", uring_sqpoll },
	{ "uring_credentials", uring_credentials }, { "uring_socket", uring_socket }, { "capset", capset_same },
	{ "mmap_exec", mmap_exec },	  { "mprotect_exec", mprotect_exec },
	{ "queue_remove", queue_remove }, { "shm_remove", shm_remove }, { "sem_remove", sem_remove },
	{ "msg_remove", msg_remove },	  { "prlimit", lower },		{ "memfd", memory },
	{ "shm_find", shm_find },	  { "sem_find", sem_find },	{ "msg_find", msg_find },
	{ "shm_make", shm_make },	  { "sem_make", sem_make },	{ "msg_make", msg_make },
	{ "shm_store", shm_store },	  { "sem_up", sem_up },		{ "msg_send", msg_send },
	{ "msg_receive", msg_receive },	  { "renice", renice },		{ "schedule", schedule },
	{ "affinity", affinity },	  { "io_priority", io_priority }, { "move_pages", pages },
	{ "copy_range", copy_range },	  { "fallocate", punch },
	{ "vmsplice", splice_memory },	  { "personality", persona },	{ "modify_ldt", descriptor_table },
	{ "seccomp", filter },
	{ "pidfd_open", pidfd },	  { "fanotify", watch },	{ "file_setattr", attributes },
	{ "inotify", inotify },		  { "ioctl", attributes_by_ioctl }, { "fcntl", pipe_owner },
	{ "prctl", death_signal },	  { "memfd_secret", secret_memory }, { "removexattr", remove_attribute },
	{ "setgroups", set_groups },	  { "syslog", console_level },	{ "time_zone", time_zone },
	{ "adjtimex", adjust },		  { "clock_adjtime", adjust_clock }, { "domain_name", domain_name },
	{ "reboot", keys_restart },	  { "ioperm", port },		{ "iopl", all_ports },
	{ "vhangup", hang_up },		  { "acct", accounting },	{ "kexec_load", unload_kernel },
	{ "fanotify_init", watch_everything }, { "fsopen", file_system }, { "open_tree", mount_clone },
	{ "mount_setattr", mount_read_only }, { "move_mount", mount_moved }, { "pivot_root", pivot },
	{ "setns", join },		  { "race", race },
};

int main(int argc, char **argv)
{
	long done = 0, denied = 0, other = 0, n, count;
	unsigned int i;
	char at[4096];

	if (argc < 4) {
		/* Honest, and that is all: a child; as `prepared` also what some of these begin with. */
		pid_t child = fork();

		if (!child)
			_exit(0);
		if (argc > 1 && !strcmp(argv[1], "prepared")) {
			closed(open("/dev/null", O_RDWR));
			closed(syscall(SYS_pidfd_open, getpid(), 0));
			if (!getuid())
				mounts_of_its_own();
		}
		return child < 0 || waitpid(child, NULL, 0) < 0;
	}
	count = atol(argv[3]);
	number = argc > 4 ? atol(argv[4]) : 0;
	for (i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		if (strcmp(calls[i].name, argv[1]))
			continue;
		for (n = 0; n < count; n++) {
			snprintf(at, sizeof(at), "%s/%ld", argv[2], n);
			if (calls[i].call(at) >= 0)
				done++;
			else if (errno == EPERM)
				denied++;
			else
				other = errno;
		}
		printf("%s {\"done\":%ld,\"denied\":%ld,\"other\":%ld}\n", argv[1], done, denied, other);
		return 0;
	}
	return 2;
}
