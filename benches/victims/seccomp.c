/*
 * What one would use instead, for a whole process:
 *   seccomp allow FILE COMMAND…    only calls that are named in FILE; others kill
 *   seccomp notify NAMES COMMAND…  each of these calls is put to this program, which lets it go on
 */
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int failed, const char *what)
{
	if (!failed)
		return;
	perror(what);
	exit(125);
}

static void add(scmp_filter_ctx ctx, unsigned action, const char *name)
{
	int nr = seccomp_syscall_resolve_name(name);

	if (nr == __NR_SCMP_ERROR) {
		fprintf(stderr, "seccomp: no call `%s`\n", name);
		exit(125);
	}
	must(seccomp_rule_add(ctx, action, nr, 0) != 0, name);
}

static int allow(const char *file, char **command)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	FILE *names = fopen(file, "r");
	char name[64];

	must(!ctx, "seccomp_init");
	must(!names, file);
	while (fscanf(names, "%63s", name) == 1)
		add(ctx, SCMP_ACT_ALLOW, name);
	add(ctx, SCMP_ACT_ALLOW, "execve"); /* COMMAND itself */
	must(seccomp_load(ctx) != 0, "seccomp_load");
	execvp(command[0], command);
	must(1, command[0]);
	return 125;
}

/* The descriptor goes to who was there before the filter, or its own calls would be put to itself. */
static void pass(int to, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = { 0 }, byte = 0;
	struct iovec io = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	must(sendmsg(to, &msg, 0) != 1, "sendmsg");
}

static int receive(int from)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec io = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	int fd;

	must(recvmsg(from, &msg, 0) != 1 || !CMSG_FIRSTHDR(&msg), "recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

static void answer(int fd)
{
	struct seccomp_notif *asked;
	struct seccomp_notif_resp *reply;

	must(seccomp_notify_alloc(&asked, &reply) != 0, "seccomp_notify_alloc");
	for (;;) {
		memset(asked, 0, sizeof(*asked));
		if (seccomp_notify_receive(fd, asked) != 0) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			return;
		}
		reply->id = asked->id;
		reply->error = 0;
		reply->val = 0;
		reply->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		if (seccomp_notify_respond(fd, reply) != 0 && errno != ENOENT)
			return;
	}
}

static int notify(char *names, char **command)
{
	int pair[2], status;
	pid_t child, answering;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) != 0, "socketpair");
	child = fork();
	must(child < 0, "fork");
	if (child == 0) {
		scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		must(!ctx, "seccomp_init");
		for (char *name = strtok(names, ","); name; name = strtok(NULL, ","))
			add(ctx, SCMP_ACT_NOTIFY, name);
		must(seccomp_load(ctx) != 0, "seccomp_load");
		pass(pair[1], seccomp_notify_fd(ctx));
		execvp(command[0], command);
		must(1, command[0]);
	}
	answering = fork();
	must(answering < 0, "fork");
	if (answering == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		answer(receive(pair[0]));
		exit(0);
	}
	must(waitpid(child, &status, 0) != child, "waitpid");
	kill(answering, SIGKILL);
	waitpid(answering, NULL, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "allow"))
		return allow(argv[2], argv + 3);
	if (argc > 3 && !strcmp(argv[1], "notify"))
		return notify(argv[2], argv + 3);
	fprintf(stderr, "usage: seccomp allow FILE COMMAND… | notify NAMES COMMAND…\n");
	return 2;
}
