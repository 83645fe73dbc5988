/*
 * ways WAY FOLDER COUNT [EXTRA [dry]]: one way to an effect, on FOLDER/0 … FOLDER/COUNT-1; `ways prey FOLDER` is a
 * process that is reached for. What each way is, is told by the attempt of that name.
 *
 * With `dry` everything is done but the last call, which is the one that an attack must not get done: that much is
 * learnt. Where the effect is `bytes`, one is written for each call that succeeded: who was killed writes none.
 */
#define main calls_main
#include "calls.c"
#undef main

#include <arpa/inet.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/un.h>
#include <sys/sendfile.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

enum { PAGE = 4096, PREY_AT = 0x10000000, PREY_FD = 10, BUSY_SIGNAL = 34 };

static const char *folder, *extra;
static int dry, one;
extern char **environ;

/* Nothing from here on is learnt. */
#define LAST(call) (dry ? 0 : (call))

static int open_object(const char *at, int flags)
{
	int fd = open(at, flags);

	if (fd < 0)
		perror(at);
	return fd;
}

/* ---- files ---- */

static long way_unlink(const char *at)
{
	return LAST(unlink(at));
}

static long way_long_path(const char *at)
{
	char path[PAGE] = "";
	size_t len = 0;

	/* As much as a path may have, most of it nothing. */
	while (len + strlen(at) + 3 < sizeof(path)) {
		path[len++] = '/';
		path[len++] = '.';
	}
	strcpy(path + len, at);
	return LAST(unlink(path));
}

static long way_mknod(const char *at)
{
	return LAST(mknodat(AT_FDCWD, at, S_IFREG | 0600, 0));
}

static long way_bind_unix(const char *at)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	long result;

	strncpy(to.sun_path, at, sizeof(to.sun_path) - 1);
	result = LAST(bind(fd, (struct sockaddr *)&to, sizeof(to)));
	close(fd);
	return result;
}

static long way_rename_over(const char *at)
{
	char from[PAGE];
	int fd;

	snprintf(from, sizeof(from), "%s.new", at);
	fd = open(from, O_CREAT | O_WRONLY, 0600);
	close(fd);
	return LAST(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, at, 0));
}

static long way_symlinkat(const char *at)
{
	return LAST(symlinkat("/etc/passwd", AT_FDCWD, at));
}

static long way_mkdirat(const char *at)
{
	return LAST(mkdirat(AT_FDCWD, at, 0700));
}

static long way_fchmodat2(const char *at)
{
	return LAST(syscall(452, AT_FDCWD, at, 0777, 0));
}

static long way_fchmod(const char *at)
{
	int fd = open_object(at, O_RDONLY);
	long result = LAST(fchmod(fd, 0777));

	close(fd);
	return result;
}

/* To whom it belongs already: what changes is the mode, which loses its set-user-id bit. */
static long way_fchownat(const char *at)
{
	return LAST(fchownat(AT_FDCWD, at, getuid(), -1, 0));
}

static long way_utimensat(const char *at)
{
	struct timespec both[2] = { { 1, 0 }, { 1, 0 } };

	return LAST(utimensat(AT_FDCWD, at, both, 0));
}

static long way_setxattr(const char *at)
{
	return LAST(setxattr(at, "user.e2e", "x", 1, 0));
}

/* ---- what is open already ---- */

static long way_copy_file_range(const char *at)
{
	int from = open_object("/etc/passwd", O_RDONLY), to = open_object(at, O_WRONLY);
	long result;
	char other[PAGE];

	/* From the same file system: a copy of the first bytes behind the last ones. */
	snprintf(other, sizeof(other), "%s", at);
	close(from);
	from = open_object(other, O_RDONLY);
	result = LAST(copy_file_range(from, &(off_t){ 0 }, to, &(off_t){ 100 }, 8, 0));
	close(from);
	close(to);
	return result;
}

static long way_sendfile(const char *at)
{
	int from = open_object("/etc/passwd", O_RDONLY), to = open_object(at, O_WRONLY);
	long result = LAST(sendfile(to, from, NULL, 8));

	close(from);
	close(to);
	return result;
}

static long way_splice(const char *at)
{
	int to = open_object(at, O_WRONLY), both[2];
	long result;

	if (pipe(both) || write(both[1], "changed", 7) != 7)
		return -1;
	result = LAST(splice(both[0], NULL, to, NULL, 7, 0));
	close(both[0]);
	close(both[1]);
	close(to);
	return result;
}

static long way_store(const char *at)
{
	int fd = open_object(at, O_RDWR);
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (page == MAP_FAILED)
		return -1;
	if (!dry)
		page[0] = 'P';
	msync(page, PAGE, MS_SYNC);
	munmap(page, PAGE);
	close(fd);
	return 0;
}

static long way_fallocate(const char *at)
{
	int fd = open_object(at, O_RDWR);
	/* FALLOC_FL_PUNCH_HOLE, which keeps the size */
	long result = LAST(fallocate(fd, 3, 0, 4));

	close(fd);
	return result;
}

/* ---- programs ---- */

static long started(pid_t child)
{
	int status = 0;

	if (child < 0)
		return -1;
	waitpid(child, &status, 0);
	return status ? -1 : 0;
}

static long way_execveat(const char *at)
{
	char *arguments[] = { "touch", (char *)at, NULL };
	int fd = open(extra, O_RDONLY);
	pid_t child = vfork();

	if (!child) {
		if (!dry)
			syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
		_exit(dry ? 0 : 98);
	}
	close(fd);
	return started(child);
}

static long way_exec_descriptor(const char *at)
{
	char *arguments[] = { "touch", (char *)at, NULL }, path[64];
	int fd = open(extra, O_RDONLY);
	pid_t child;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	child = vfork();
	if (!child) {
		if (!dry)
			execve(path, arguments, environ);
		_exit(dry ? 0 : 98);
	}
	close(fd);
	return started(child);
}

/* An interpreter line: the kernel starts what it names. */
static long way_script(const char *at)
{
	char path[PAGE], *arguments[] = { path, NULL };
	FILE *script;
	pid_t child;

	snprintf(path, sizeof(path), "%s.script", at);
	script = fopen(path, "w");
	fprintf(script, "#!%s %s\n", extra, at);
	fclose(script);
	child = fork();
	if (!child) {
		/* As it is not for running yet, the mode is part of what is learnt. */
		if (chmod(path, 0700))
			_exit(97);
		if (!dry)
			execve(path, arguments, environ);
		_exit(dry ? 0 : 98);
	}
	return started(child);
}

static long way_loader(const char *at)
{
	char *arguments[] = { "ld.so", (char *)extra, (char *)at, NULL };
	pid_t child = vfork();

	if (!child) {
		if (!dry)
			execve("/lib64/ld-linux-x86-64.so.2", arguments, environ);
		_exit(dry ? 0 : 98);
	}
	return started(child);
}

static long way_spawn(const char *at)
{
	char *arguments[] = { "touch", (char *)at, NULL };
	pid_t child = 0;

	if (dry)
		return 0;
	if (posix_spawn(&child, extra, NULL, NULL, arguments, environ))
		return -1;
	return started(child);
}

/* ---- tasks ---- */

static void leave_byte(void)
{
	char path[PAGE];
	int fd;

	snprintf(path, sizeof(path), "%s/fifo", folder);
	fd = open(path, O_WRONLY | O_NONBLOCK);
	if (fd >= 0 && !dry && write(fd, "x", 1) != 1)
		_exit(3);
	close(fd);
}

static long way_vfork(const char *at)
{
	pid_t child;

	if (dry)
		return 0;
	child = vfork();
	if (!child)
		_exit(0);
	return started(child);
}

static long way_clone3(const char *at)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	pid_t child;

	if (dry)
		return 0;
	child = syscall(SYS_clone3, &args, sizeof(args));
	if (!child)
		_exit(0);
	return started(child);
}

static void *in_thread(void *at)
{
	return (void *)(LAST(unlink(at)));
}

/* The thread is learnt; what it does is not. */
static long way_thread(const char *at)
{
	pthread_t thread;
	void *result = NULL;

	if (pthread_create(&thread, NULL, in_thread, (void *)at))
		return -1;
	pthread_join(thread, &result);
	return (long)result;
}

static long way_clone_thread(const char *at)
{
	pthread_t thread;

	return LAST(pthread_create(&thread, NULL, (void *(*)(void *))getpid, NULL) ? -1 : pthread_join(thread, NULL));
}

static long way_clone_namespace(const char *at)
{
	struct clone_args args = { .exit_signal = SIGCHLD, .flags = CLONE_NEWUSER };
	pid_t child;

	if (dry)
		return 0;
	child = syscall(SYS_clone3, &args, sizeof(args));
	if (!child)
		_exit(0);
	return started(child);
}

/* In a child: whoever is nobody there cannot do it again. */
static long way_unshare(const char *at)
{
	pid_t child = fork();

	if (!child)
		_exit(LAST(unshare(CLONE_NEWUSER)) ? 1 : 0);
	return started(child);
}

/* ---- memory ---- */

static const unsigned char returns_7[] = { 0xb8, 7, 0, 0, 0, 0xc3 };

static long run_code(void *page)
{
	return ((int (*)(void))page)() == 7 ? 0 : -1;
}

static long way_map_code(const char *at)
{
	char path[PAGE];
	void *page;
	int fd;

	snprintf(path, sizeof(path), "%s/code", folder);
	fd = open(path, O_CREAT | O_RDWR, 0700);
	if (write(fd, returns_7, sizeof(returns_7)) != sizeof(returns_7))
		return -1;
	if (dry)
		return 0;
	page = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	close(fd);
	return page == MAP_FAILED ? -1 : run_code(page);
}

static void *code_page(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(page, returns_7, sizeof(returns_7));
	return page;
}

static long way_mprotect(const char *at)
{
	void *page = code_page();

	return dry ? 0 : mprotect(page, PAGE, PROT_READ | PROT_EXEC) ? -1 : run_code(page);
}

static long way_pkey_mprotect(const char *at)
{
	void *page = code_page();

	return dry ? 0 : syscall(SYS_pkey_mprotect, page, PAGE, PROT_READ | PROT_EXEC, -1) ? -1 : run_code(page);
}

/* Shared memory of System V, attached as code. */
static long way_shmat(const char *at)
{
	int id = shmget(IPC_PRIVATE, PAGE, 0700 | IPC_CREAT);
	void *plain = shmat(id, NULL, 0), *page;
	long result;

	shmctl(id, IPC_RMID, NULL);
	memcpy(plain, returns_7, sizeof(returns_7));
	if (dry)
		return 0;
	page = shmat(id, NULL, SHM_EXEC | SHM_RDONLY);
	result = page == (void *)-1 ? -1 : run_code(page);
	return result;
}

/* Reading is to be executing. */
static long way_personality(const char *at)
{
	void *page;

	if (dry)
		return 0;
	if (syscall(SYS_personality, 0x0400000) < 0)
		return -1;
	page = code_page();
	return run_code(page);
}

/* ---- what goes out ---- */

static struct sockaddr_in address(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(extra)) };

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return to;
}

static int udp(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = socket(AF_INET, SOCK_DGRAM, 0);
	return fd;
}

static long way_sendto(const char *at)
{
	struct sockaddr_in to = address();
	int fd = udp();

	return LAST(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)));
}

static struct msghdr message(struct sockaddr_in *to, struct iovec *io)
{
	struct msghdr message = { .msg_name = to, .msg_namelen = sizeof(*to), .msg_iov = io, .msg_iovlen = 1 };

	return message;
}

static long way_sendmsg(const char *at)
{
	struct sockaddr_in to = address();
	struct iovec io = { "x", 1 };
	struct msghdr m = message(&to, &io);
	int fd = udp();

	return LAST(sendmsg(fd, &m, 0));
}

static long way_sendmmsg(const char *at)
{
	struct sockaddr_in to = address();
	struct iovec io = { "x", 1 };
	struct mmsghdr m = { message(&to, &io), 0 };
	int fd = udp();

	return LAST(sendmmsg(fd, &m, 1, 0));
}

static long way_connect_udp(const char *at)
{
	struct sockaddr_in to = address();
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	long result = LAST(connect(fd, (struct sockaddr *)&to, sizeof(to)) ? -1 : send(fd, "x", 1, 0));

	close(fd);
	return result;
}

static long way_fast_open(const char *at)
{
	struct sockaddr_in to = address();
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	long result = LAST(sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof(to)));

	close(fd);
	return result;
}

/* A name that is in no file system. */
static socklen_t abstract_name(struct sockaddr_un *to)
{
	memset(to, 0, sizeof(*to));
	to->sun_family = AF_UNIX;
	strncpy(to->sun_path + 1, extra, sizeof(to->sun_path) - 2);
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(extra);
}

static long way_abstract(const char *at)
{
	struct sockaddr_un to;
	socklen_t len = abstract_name(&to);
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	long result = LAST(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, len));

	close(fd);
	return result;
}

/* The first message goes to nobody but the other end of a pair; the second one has an address. */
static long way_sendmmsg_second(const char *at)
{
	struct sockaddr_un to;
	socklen_t len = abstract_name(&to);
	struct iovec io = { "x", 1 };
	struct mmsghdr m[2] = {};
	int both[2];
	long result;

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, both))
		return -1;
	m[0].msg_hdr.msg_iov = m[1].msg_hdr.msg_iov = &io;
	m[0].msg_hdr.msg_iovlen = m[1].msg_hdr.msg_iovlen = 1;
	if (!dry) {
		m[1].msg_hdr.msg_name = &to;
		m[1].msg_hdr.msg_namelen = len;
	}
	result = sendmmsg(both[0], m, 2, 0);
	close(both[0]);
	close(both[1]);
	return result == 2 ? 0 : -1;
}

/* ---- other processes ---- */

static int target(void)
{
	return atoi(extra);
}

static long way_tgkill(const char *at)
{
	return LAST(syscall(SYS_tgkill, target(), target(), signal_for(at)));
}

static long way_sigqueue(const char *at)
{
	union sigval value = { 0 };

	return LAST(sigqueue(target(), signal_for(at), value));
}

static long way_pidfd_signal(const char *at)
{
	int fd = syscall(SYS_pidfd_open, target(), 0);
	long result = LAST(syscall(SYS_pidfd_send_signal, fd, signal_for(at), NULL, 0));

	close(fd);
	return result;
}

/* The kernel sends the signal as soon as the pipe has something to read: to whom it was told to. */
static long way_sigio(const char *at)
{
	int both[2];
	long result;

	if (pipe(both))
		return -1;
	if (dry)
		return close(both[0]) + close(both[1]);
	result = fcntl(both[0], F_SETOWN, target()) || fcntl(both[0], F_SETSIG, signal_for(at)) ||
		 fcntl(both[0], F_SETFL, O_ASYNC) || write(both[1], "x", 1) != 1;
	close(both[0]);
	close(both[1]);
	return result ? -1 : 0;
}

/* The same of a socket, by another call. */
static long way_sigio_socket(const char *at)
{
	int both[2], owner = target(), on = 1;
	long result;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, both))
		return -1;
	if (dry)
		return close(both[0]) + close(both[1]);
	result = ioctl(both[0], 0x8901 /* FIOSETOWN */, &owner) || fcntl(both[0], F_SETSIG, signal_for(at)) ||
		 ioctl(both[0], 0x5452 /* FIOASYNC */, &on) || write(both[1], "x", 1) != 1;
	close(both[0]);
	close(both[1]);
	return result ? -1 : 0;
}

static long way_vm_write(const char *at)
{
	int word = 1, n = atoi(strrchr(at, '/') + 1);
	struct iovec here = { &word, sizeof(word) }, there = { (void *)(PREY_AT + n * sizeof(word)), sizeof(word) };

	return LAST(process_vm_writev(target(), &here, 1, &there, 1, 0));
}

static long way_vm_read(const char *at)
{
	int word = 1;
	struct iovec here = { &word, sizeof(word) }, there = { (void *)PREY_AT, sizeof(word) };

	return LAST(process_vm_readv(target(), &here, 1, &there, 1, 0));
}

static long way_poke(const char *at)
{
	int n = atoi(strrchr(at, '/') + 1);
	long result = 0;

	if (dry)
		return 0;
	if (ptrace(PTRACE_ATTACH, target(), 0, 0))
		return -1;
	waitpid(target(), NULL, __WALL);
	/* A word of 64 bits: two of those that are counted, so each tells of itself only. */
	result = ptrace(PTRACE_POKEDATA, target(), (void *)(PREY_AT + n / 2 * 8L),
			n % 2 ? 0x100000001L : 1L);
	ptrace(PTRACE_DETACH, target(), 0, 0);
	return result;
}

static long way_proc_mem(const char *at)
{
	int word = 1, n = atoi(strrchr(at, '/') + 1), fd;
	char path[64];
	long result;

	if (dry)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/mem", target());
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -1;
	result = pwrite(fd, &word, sizeof(word), PREY_AT + n * sizeof(word));
	close(fd);
	return result;
}

/* The other process' end of a pipe: what is written to it is ours. */
static long way_pidfd_getfd(const char *at)
{
	int fd = syscall(SYS_pidfd_open, target(), 0), stolen;
	long result = -1;

	if (dry)
		return close(fd);
	stolen = syscall(SYS_pidfd_getfd, fd, PREY_FD, 0);
	if (stolen >= 0)
		result = write(stolen, "x", 1);
	close(stolen);
	close(fd);
	return result;
}

/* No processor time any more: the kernel kills it. */
static long way_prlimit(const char *at)
{
	struct rlimit none = { 1, 1 };

	return LAST(syscall(SYS_prlimit64, target(), RLIMIT_NPROC, &none, NULL));
}

static long way_nice(const char *at)
{
	return LAST(setpriority(PRIO_PROCESS, target(), atoi(strrchr(at, '/') + 1) + 1));
}

static long way_ipc_remove(const char *at)
{
	int id = shmget(0xe2e000 + atoi(strrchr(at, '/') + 1), 0, 0);

	return LAST(shmctl(id, IPC_RMID, NULL));
}

/* By its number, which is not asked for: whose they are is known. */
static long way_ipc_message(const char *at)
{
	struct { long type; char text; } message = { 1, 'x' };

	return LAST(msgsnd(number, &message, 1, IPC_NOWAIT));
}

static long way_ipc_semaphore(const char *at)
{
	struct sembuf up = { 0, 1, IPC_NOWAIT };

	return LAST(semop(number, &up, 1));
}

static long way_ipc_store(const char *at)
{
	char *memory = dry ? NULL : shmat(number, NULL, 0);

	if (dry || memory == (void *)-1)
		return dry ? 0 : -1;
	memory[atoi(strrchr(at, '/') + 1)] = 1;
	return shmdt(memory);
}

static long way_ipc_make(const char *at)
{
	return LAST(msgget(0xe2e000 + atoi(strrchr(at, '/') + 1), IPC_CREAT | 0600));
}

/* ---- the kernel's own ---- */

static long way_seccomp(const char *at)
{
	struct sock_filter allow = { 0x06, 0, 0, 0x7fff0000 };
	struct { unsigned short len; struct sock_filter *filter; } program = { 1, &allow };

	if (dry)
		return 0;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, 1, 0, &program);
}

static long way_prctl(const char *at)
{
	return LAST(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

static long way_keyctl(const char *at)
{
	return LAST(syscall(SYS_add_key, "user", at, "x", 1, KEY_SPEC_PROCESS_KEYRING));
}

static long way_userfaultfd(const char *at)
{
	return LAST(userfault(at));
}

static long way_uring_poll(const char *at)
{
	struct io_uring_params p = { .flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 10000 };
	struct io_uring_sqe *sqe;
	unsigned int *tail, *head;
	char *rings;
	int fd, n;

	if (dry)
		return 0;
	fd = syscall(SYS_io_uring_setup, 4, &p);
	if (fd < 0)
		return -1;
	rings = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	sqe = mmap(NULL, p.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
		   IORING_OFF_SQES);
	if (rings == MAP_FAILED || sqe == MAP_FAILED)
		return -1;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_UNLINKAT;
	sqe->fd = AT_FDCWD;
	sqe->addr = (unsigned long)at;
	((unsigned int *)(rings + p.sq_off.array))[0] = 0;
	tail = (unsigned int *)(rings + p.sq_off.tail);
	head = (unsigned int *)(rings + p.cq_off.tail);
	/* From here on no call of this task is needed: the kernel's thread finds it. */
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	for (n = 0; n < 5000 && !__atomic_load_n(head, __ATOMIC_ACQUIRE); n++)
		poll(NULL, 0, 1);
	close(fd);
	return 0;
}

static long way_x32(const char *at)
{
	return LAST(syscall(0x40000000 + SYS_unlink, at));
}

/* ---- by root ---- */

static long way_mount(const char *at)
{
	return LAST(mount("e2e", at, "tmpfs", 0, NULL));
}

/* fsopen, fsconfig, fsmount, move_mount: the newer way to the same. */
static long way_fsmount(const char *at)
{
	int fs, fd;
	long result;

	if (dry)
		return 0;
	fs = syscall(SYS_fsopen, "tmpfs", 0);
	if (fs < 0 || syscall(SYS_fsconfig, fs, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0))
		return -1;
	fd = syscall(SYS_fsmount, fs, 0, 0);
	result = syscall(SYS_move_mount, fd, "", AT_FDCWD, at, 4 /* MOVE_MOUNT_F_EMPTY_PATH */);
	close(fd);
	close(fs);
	return result;
}

static long way_chroot(const char *at)
{
	return LAST(root_of(at));
}

static long way_setns(const char *at)
{
	int fd = open("/proc/self/ns/uts", O_RDONLY);
	long result = LAST(setns(fd, CLONE_NEWUTS));

	close(fd);
	return result;
}

static long way_handle(const char *at)
{
	struct { struct file_handle h; char room[128]; } handle = { .h = { .handle_bytes = 128 } };
	int mount_id, at_fd = open(folder, O_RDONLY), fd;

	if (name_to_handle_at(AT_FDCWD, at, &handle.h, &mount_id, 0))
		return -1;
	fd = LAST(open_by_handle_at(at_fd, &handle.h, O_RDONLY));
	close(at_fd);
	return fd;
}

static long way_bpf(const char *at)
{
	return LAST(bpf_map(at));
}

static long way_perf(const char *at)
{
	return LAST(perf(at));
}

static long way_setuid(const char *at)
{
	/* In a child: the next one has to be root again. */
	pid_t child = fork();

	if (!child)
		_exit(LAST(syscall(SYS_setresuid, 65534, 65534, 65534)) ? 1 : 0);
	return started(child);
}

static const struct {
	const char *name;
	long (*way)(const char *at);
	int leaves_byte;
} ways[] = {
	{ "unlink", way_unlink },
	{ "long-path", way_long_path },
	{ "mknod", way_mknod },
	{ "bind-unix", way_bind_unix },
	{ "rename-over", way_rename_over },
	{ "symlinkat", way_symlinkat },
	{ "mkdirat", way_mkdirat },
	{ "fchmodat2", way_fchmodat2 },
	{ "fchmod", way_fchmod },
	{ "fchownat", way_fchownat },
	{ "utimensat", way_utimensat },
	{ "setxattr", way_setxattr },
	{ "copy_file_range", way_copy_file_range },
	{ "sendfile", way_sendfile },
	{ "splice", way_splice },
	{ "store", way_store },
	{ "fallocate", way_fallocate },
	{ "execveat", way_execveat },
	{ "exec-descriptor", way_exec_descriptor },
	{ "script", way_script },
	{ "loader", way_loader },
	{ "spawn", way_spawn },
	{ "vfork", way_vfork, 1 },
	{ "clone3", way_clone3, 1 },
	{ "thread", way_thread },
	{ "clone-thread", way_clone_thread, 1 },
	{ "clone-namespace", way_clone_namespace, 1 },
	{ "unshare", way_unshare, 1 },
	{ "map-code", way_map_code, 1 },
	{ "mprotect", way_mprotect, 1 },
	{ "pkey_mprotect", way_pkey_mprotect, 1 },
	{ "shmat", way_shmat, 1 },
	{ "personality", way_personality, 1 },
	{ "sendto", way_sendto },
	{ "sendmsg", way_sendmsg },
	{ "sendmmsg", way_sendmmsg },
	{ "sendmmsg-second", way_sendmmsg_second },
	{ "connect-udp", way_connect_udp },
	{ "fast-open", way_fast_open },
	{ "abstract", way_abstract },
	{ "tgkill", way_tgkill },
	{ "sigqueue", way_sigqueue },
	{ "pidfd-signal", way_pidfd_signal },
	{ "sigio", way_sigio },
	{ "sigio-socket", way_sigio_socket },
	{ "vm-write", way_vm_write },
	{ "vm-read", way_vm_read, 1 },
	{ "poke", way_poke },
	{ "proc-mem", way_proc_mem },
	{ "pidfd_getfd", way_pidfd_getfd },
	{ "prlimit", way_prlimit, 1 },
	{ "nice", way_nice },
	{ "ipc-remove", way_ipc_remove },
	{ "ipc-message", way_ipc_message },
	{ "ipc-semaphore", way_ipc_semaphore },
	{ "ipc-store", way_ipc_store },
	{ "ipc-make", way_ipc_make },
	{ "seccomp", way_seccomp, 1 },
	{ "prctl", way_prctl, 1 },
	{ "keyctl", way_keyctl, 1 },
	{ "userfaultfd-byte", way_userfaultfd, 1 },
	{ "uring-poll", way_uring_poll },
	{ "x32", way_x32 },
	{ "mount-byte", way_mount, 1 },
	{ "fsmount", way_fsmount, 1 },
	{ "chroot-byte", way_chroot, 1 },
	{ "setns", way_setns, 1 },
	{ "handle", way_handle, 1 },
	{ "bpf-byte", way_bpf, 1 },
	{ "perf-byte", way_perf, 1 },
	{ "setresuid", way_setuid, 1 },
};

/* A process with words that others could change, and a pipe that they could take. */
static int be_prey(void)
{
	char path[PAGE];
	int fd;

	snprintf(path, sizeof(path), "%s/prey", folder);
	fd = open(path, O_RDWR);
	if (mmap((void *)PREY_AT, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return 1;
	snprintf(path, sizeof(path), "%s/fifo", folder);
	if (dup2(open(path, O_WRONLY), PREY_FD) < 0)
		return 1;
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

static long one_of_calls(const char *name, const char *at)
{
	unsigned int i;

	for (i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		if (!strcmp(calls[i].name, name))
			return dry ? 0 : calls[i].call(at);
	fprintf(stderr, "no way `%s`\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	unsigned int i, known = 0;
	char at[PAGE];
	int n, count;

	if (argc < 3)
		return 0;
	folder = argv[2];
	if (!strcmp(argv[1], "prey"))
		return be_prey();
	count = atoi(argv[3]);
	extra = argc > 4 ? argv[4] : "";
	dry = argc > 5 && !strcmp(argv[5], "dry");
	number = atol(extra);
	for (n = 0; n < count; n++) {
		snprintf(at, sizeof(at), "%s/%d", folder, n);
		for (i = known = 0; i < sizeof(ways) / sizeof(*ways); i++) {
			if (strcmp(ways[i].name, argv[1]))
				continue;
			known = 1;
			errno = 0;
			if (ways[i].way(at) >= 0) {
				if (ways[i].leaves_byte)
					leave_byte();
			} else if (!n) {
				perror(argv[1]);
			}
		}
		if (!known && one_of_calls(argv[1], at) < 0 && !n)
			perror(argv[1]);
	}
	return 0;
}
