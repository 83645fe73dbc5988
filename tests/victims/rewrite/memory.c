/*
 * Attacks of a program that PHP code has started: `memory OPERATION FOLDER COUNT TRIES EXTRA [dry]`.
 * COUNT children, one after the other; each does the operation to FOLDER/N-0, FOLDER/N-1, … (TRIES of them).
 * With `dry` they only prepare: that is learnt. Prints how many children SIGKILL ended, and of how many the
 * memory was found changed by somebody else who sees it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, ROOM = 512, SIGNAL = 40 };

static const char *folder, *extra;
static char before[PAGE] __attribute__((aligned(PAGE)));
static int fd = -1, dry;

/* What is not learnt. */
#define ATTACK(call)                                                                                         \
	do {                                                                                                 \
		if (!dry && (call))                                                                          \
			continue;                                                                            \
	} while (0)

/* In read-only data, as literals of a program are. */
#define LITERAL(n) FOLDER "/" #n "-0"
#define TEN(n)                                                                                               \
	LITERAL(n##0), LITERAL(n##1), LITERAL(n##2), LITERAL(n##3), LITERAL(n##4), LITERAL(n##5),            \
		LITERAL(n##6), LITERAL(n##7), LITERAL(n##8), LITERAL(n##9)
static const char *const literals[] = {
	TEN(), TEN(1), TEN(2), TEN(3), TEN(4), TEN(5), TEN(6), TEN(7), TEN(8), TEN(9),
};
#define LITERALS (int)(sizeof(literals) / sizeof(*literals))

static char *map(int flags)
{
	char *page = mmap(0, PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		exit(2);
	return page;
}

/* The last bytes of a page, behind which there is none. */
static char *at_the_end(size_t len)
{
	char *pages = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(pages + PAGE, PAGE);
	return pages + PAGE - len;
}

static void do_unlink(char *at)
{
	ATTACK(unlink(at));
}

static void do_rename(char *at)
{
	char to[ROOM];

	snprintf(to, sizeof(to), "%s.moved", at);
	ATTACK(rename(at, to));
}

/* Of the two paths only the second can be rewritten. */
static void do_rename_from_literal(char *at)
{
	char to[ROOM], *from = map(MAP_PRIVATE);

	snprintf(to, sizeof(to), "%s.moved", at);
	strcpy(from, at);
	mprotect(from, PAGE, PROT_READ);
	ATTACK(rename(from, to));
}

static void do_mkdir(char *at)
{
	ATTACK(mkdir(at, 0777));
}

static void do_rmdir(char *at)
{
	ATTACK(rmdir(at));
}

static void do_symlink(char *at)
{
	char to[] = "precious";

	ATTACK(symlink(to, at));
}

static void do_link(char *at)
{
	char from[ROOM];

	snprintf(from, sizeof(from), "%s/file", folder);
	ATTACK(link(from, at));
}

static void do_link_empty(char *at)
{
	char from[ROOM];

	snprintf(from, sizeof(from), "%s/file", folder);
	ATTACK(linkat(AT_FDCWD, from, AT_FDCWD, at, AT_EMPTY_PATH));
}

static void do_touch_empty(char *at)
{
	ATTACK(utimensat(fd, strrchr(at, '/') + 1, 0, AT_EMPTY_PATH));
}

static void do_chmod(char *at)
{
	ATTACK(chmod(at, 0600));
}

static void do_mknod(char *at)
{
	ATTACK(mknod(at, S_IFIFO | 0600, 0));
}

static void do_create(char *at)
{
	ATTACK(open(at, O_WRONLY | O_CREAT | O_EXCL, 0600));
}

static void do_open_truncate(char *at)
{
	ATTACK(open(at, O_WRONLY | O_TRUNC));
}

static void do_truncate(char *at)
{
	ATTACK(truncate(at, 0));
}

static void do_openat2(char *at)
{
	struct open_how how = { .flags = O_WRONLY | O_CREAT | O_EXCL, .mode = 0600 };

	ATTACK(syscall(SYS_openat2, AT_FDCWD, at, &how, sizeof(how)));
}

/* Its path cannot be rewritten: its flags are. */
static void do_openat2_literal(char *at)
{
	struct open_how how = { .flags = O_WRONLY | O_CREAT | O_EXCL, .mode = 0600 };
	char *path = map(MAP_PRIVATE);

	strcpy(path, at);
	mprotect(path, PAGE, PROT_READ);
	ATTACK(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)));
}

static socklen_t unix_address(struct sockaddr_un *address, const char *at)
{
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof(address->sun_path), "%s", at);
	return offsetof(struct sockaddr_un, sun_path) + strlen(address->sun_path) + 1;
}

static void inet_address(struct sockaddr_in *address)
{
	memset(address, 0, sizeof(*address));
	address->sin_family = AF_INET;
	address->sin_port = htons(atoi(extra));
	address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

static void do_connect_unix(char *at)
{
	struct sockaddr_un address;
	char to[ROOM];

	(void)at;
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(to, sizeof(to), "%s/socket", folder);
	ATTACK(connect(fd, (struct sockaddr *)&address, unix_address(&address, to)));
}

static void do_connect_inet(char *at)
{
	struct sockaddr_in address;

	(void)at;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	inet_address(&address);
	ATTACK(connect(fd, (struct sockaddr *)&address, sizeof(address)));
}

static void do_bind_unix(char *at)
{
	struct sockaddr_un address;

	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ATTACK(bind(fd, (struct sockaddr *)&address, unix_address(&address, at)));
}

static void do_sendto(char *at)
{
	struct sockaddr_in *address = (void *)at_the_end(sizeof(*address));

	(void)at;
	inet_address(address);
	ATTACK(sendto(fd, "x", 1, 0, (struct sockaddr *)address, sizeof(*address)));
}

static void do_sendmsg(char *at)
{
	struct sockaddr_in address;
	struct iovec piece = { "x", 1 };
	struct msghdr message = { &address, sizeof(address), &piece, 1, 0, 0, 0 };

	(void)at;
	inet_address(&address);
	ATTACK(sendmsg(fd, &message, 0));
}

/* A connected stream does not look at the address. */
static void do_sendto_stream(char *at)
{
	struct sockaddr_in address;

	(void)at;
	inet_address(&address);
	ATTACK(sendto(fd, "x", 1, 0, (struct sockaddr *)&address, sizeof(address)));
}

static void do_execve(char *at)
{
	char program[] = "/usr/bin/touch", *arguments[] = { program, at, 0 };

	ATTACK(execv(program, arguments));
}

static void do_vfork_execve(char *at)
{
	char program[] = "/usr/bin/touch", *arguments[] = { program, at, 0 };

	if (!vfork()) {
		ATTACK(execv(program, arguments));
		_exit(0);
	}
}

static void do_clone3(char *at)
{
	struct clone_args arguments = { .exit_signal = SIGCHLD };

	if (dry)
		return;
	if (!syscall(SYS_clone3, &arguments, sizeof(arguments)))
		_exit(open(at, O_WRONLY | O_CREAT, 0600) < 0);
	wait(0);
}

static void do_fork(char *at)
{
	if (dry)
		return;
	if (!syscall(SYS_fork))
		_exit(open(at, O_WRONLY | O_CREAT, 0600) < 0);
	wait(0);
}

static void do_kill(char *at)
{
	(void)at;
	ATTACK(kill(atoi(extra), SIGNAL));
}

static void do_write(char *at)
{
	(void)at;
	ATTACK(write(fd, "x", 1));
}

/* The path at the end of a page. */
static void do_page_end(char *at)
{
	char *path = at_the_end(strlen(at) + 1);

	strcpy(path, at);
	ATTACK(unlink(path));
}

static void do_read_only(char *at)
{
	char *path = map(MAP_PRIVATE);

	strcpy(path, at);
	mprotect(path, PAGE, PROT_READ);
	ATTACK(unlink(path));
}

static volatile int ready;

static void *puts_it_back(void *byte)
{
	for (;;) {
		*(volatile char *)byte = '/';
		ready = 1;
	}
	return 0;
}

static void do_second_thread(char *at)
{
	pthread_t thread;

	if (!ready && pthread_create(&thread, 0, puts_it_back, at))
		exit(2);
	while (!ready)
		;
	ATTACK(unlink(at));
}

static void *maps_memory(void *unused)
{
	(void)unused;
	for (;;) {
		char *page = map(MAP_PRIVATE);

		*(volatile char *)page = 1;
		munmap(page, PAGE);
		ready = 1;
	}
	return 0;
}

static void do_busy_map(char *at)
{
	pthread_t thread;

	if (!ready && pthread_create(&thread, 0, maps_memory, 0))
		exit(2);
	while (!ready)
		;
	ATTACK(unlink(at));
}

static const struct operation {
	const char *name;
	void (*act)(char *at);
	int family, type; /* of the socket that it needs */
} operations[] = {
	{ "unlink", do_unlink, 0, 0 },
	{ "rename", do_rename, 0, 0 },
	{ "rename-from-literal", do_rename_from_literal, 0, 0 },
	{ "mkdir", do_mkdir, 0, 0 },
	{ "rmdir", do_rmdir, 0, 0 },
	{ "symlink", do_symlink, 0, 0 },
	{ "link", do_link, 0, 0 },
	{ "link-empty", do_link_empty, 0, 0 },
	{ "touch-empty", do_touch_empty, 0, 0 },
	{ "chmod", do_chmod, 0, 0 },
	{ "mknod", do_mknod, 0, 0 },
	{ "create", do_create, 0, 0 },
	{ "open-truncate", do_open_truncate, 0, 0 },
	{ "truncate", do_truncate, 0, 0 },
	{ "openat2", do_openat2, 0, 0 },
	{ "openat2-literal", do_openat2_literal, 0, 0 },
	{ "connect-unix", do_connect_unix, 0, 0 },
	{ "connect-inet", do_connect_inet, 0, 0 },
	{ "bind-unix", do_bind_unix, 0, 0 },
	{ "sendto", do_sendto, AF_INET, SOCK_DGRAM },
	{ "sendmsg", do_sendmsg, AF_INET, SOCK_DGRAM },
	{ "sendto-stream", do_sendto_stream, AF_INET, SOCK_STREAM },
	{ "execve", do_execve, 0, 0 },
	{ "vfork-execve", do_vfork_execve, 0, 0 },
	{ "clone3", do_clone3, 0, 0 },
	{ "fork", do_fork, 0, 0 },
	{ "kill", do_kill, 0, 0 },
	{ "write", do_write, 0, 0 },
	{ "page-end", do_page_end, 0, 0 },
	{ "read-only", do_read_only, 0, 0 },
	{ "second-thread", do_second_thread, 0, 0 },
	{ "busy-map", do_busy_map, 0, 0 },
	/* where the path lies, see below */
	{ "literal", do_unlink, 0, 0 },
	{ "untouched", do_unlink, 0, 0 },
	{ "shared", do_unlink, 0, 0 },
	{ "sibling", do_unlink, 0, 0 },
	{ "vfork", do_unlink, 0, 0 },
};

static const struct operation *operation;
static char *path; /* where the child finds it, for those who share it; NULL: each makes its own */
static int tries, child;

static int is(const char *name)
{
	return !strcmp(operation->name, name);
}

static void prepare(void)
{
	char at[ROOM];

	if (operation->family)
		fd = socket(operation->family, operation->type, 0);
	if (is("sendto-stream")) {
		struct sockaddr_in address;

		inet_address(&address);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
			_exit(2);
	}
	if (is("write")) {
		snprintf(at, sizeof(at), "%s/fifo", folder);
		fd = open(at, O_RDWR);
	}
	if (is("touch-empty"))
		fd = open(folder, O_PATH);
}

static int attack(void *unused)
{
	int k;

	(void)unused;
	prepare();
	for (k = 0; k < tries; k++) {
		char own[ROOM], *at = own;

		if (path && k == 0)
			at = path;
		if (at == own || is("shared"))
			snprintf(at, ROOM, "%s/%d-%d", folder, child, k);
		operation->act(at);
	}
	_exit(0);
}

static pid_t start(void)
{
	static char stack[64 * 1024] __attribute__((aligned(16)));
	pid_t pid;

	if (is("sibling"))
		return clone(attack, stack + sizeof(stack), CLONE_VM | SIGCHLD, 0);
	pid = is("vfork") ? vfork() : fork();
	if (!pid)
		attack(0);
	return pid;
}

int main(int argc, char **argv)
{
	int killed = 0, changed = 0, count, status;
	char expected[ROOM];
	size_t n;

	if (argc < 6)
		return 2;
	for (n = 0; n < sizeof(operations) / sizeof(*operations); n++)
		if (!strcmp(operations[n].name, argv[1]))
			operation = &operations[n];
	if (!operation)
		return 2;
	folder = argv[2];
	count = atoi(argv[3]);
	tries = atoi(argv[4]);
	extra = argv[5];
	dry = argc > 6;
	if (is("literal") && count > LITERALS)
		return 2;
	if (is("shared"))
		path = map(MAP_SHARED);
	else if (is("untouched") || is("sibling") || is("vfork"))
		path = before;
	for (child = 0; child < count; child++) {
		pid_t pid;

		snprintf(expected, sizeof(expected), "%s/%d-0", folder, child);
		if (is("literal"))
			path = (char *)literals[child];
		else if (path)
			strcpy(path, expected);
		pid = start();
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return 3;
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		changed += path && strcmp(path, expected);
	}
	printf("killed %d, changed %d\n", killed, changed);
	return 0;
}
