// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel at hand lets programs do, found out by doing it: one tiny program for
 * each thing that a strategy needs. They act on one made-up prctl() of the tracer's own
 * process and on nothing else. Each is loaded without the others, so that a kernel that
 * refuses one still tells about the rest.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "compat.bpf.h"

enum { NR_PRCTL = 157 };

const volatile u32 own_pid = 0;
const volatile u32 own_option = 0; /* none that the kernel knows */
const volatile u32 own_signal = 0;
const volatile u8 own_byte = 0;

struct answer {
	u64 ran; /* how often a program was asked */
	s64 result; /* of what it did last, 0 for success */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct answer);
} answers SEC(".maps");

/* Of the program `base` alone: a kernel that lacks them refuses that one only. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

static __always_inline void answer(s64 result)
{
	u32 zero = 0;
	struct answer *a = bpf_map_lookup_elem(&answers, &zero);

	if (!a)
		return;
	a->ran++;
	a->result = result;
}

static __always_inline bool is_own(u32 option)
{
	return option == own_option && bpf_get_current_pid_tgid() >> 32 == own_pid;
}

/* Whether the call that enters is the one; then with its second argument. */
static __always_inline bool is_asked(struct bpf_raw_tracepoint_args *ctx, u64 *argument)
{
	struct pt_regs *regs = (void *)ctx->args[0];

	if (ctx->args[1] != NR_PRCTL || !is_own(BPF_CORE_READ(regs, di)))
		return false;
	*argument = BPF_CORE_READ(regs, si);
	return true;
}

/* Not counted: the verifier would go round as often as it counts. */
static long step(u32 i, u32 *done)
{
	*done = 1;
	return 0;
}

static long see_area(struct task_struct *t, struct vm_area_struct *vma, u32 *done)
{
	*done = 1;
	return 0;
}

/* What every strategy is built on. */
SEC("raw_tp/sys_enter")
int base(struct bpf_raw_tracepoint_args *ctx)
{
	u32 looped = 0, found = 0;
	struct task_struct *t;
	u64 argument, *mark;

	if (!is_asked(ctx, &argument))
		return 0;
	t = bpf_get_current_task_btf();
	bpf_loop(1, step, &looped, 0);
	bpf_find_vma(t, argument, see_area, &found, 0);
	mark = bpf_task_storage_get(&storage, t, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	answer(!looped || !found || !mark || bpf_ringbuf_output(&events, &argument, sizeof(argument), 0));
	return 0;
}

SEC("raw_tp/sys_enter")
int send_signal(struct bpf_raw_tracepoint_args *ctx)
{
	u64 argument;

	if (is_asked(ctx, &argument))
		answer(bpf_send_signal(own_signal));
	return 0;
}

SEC("raw_tp/sys_enter")
int write_user(struct bpf_raw_tracepoint_args *ctx)
{
	u8 byte = own_byte;
	u64 argument;

	if (is_asked(ctx, &argument))
		answer(bpf_probe_write_user((void *)argument, &byte, sizeof(byte)));
	return 0;
}

static __always_inline long deny(u32 option)
{
	if (!is_own(option))
		return 0;
	answer(0);
	return -EPERM;
}

/* As in lsm_hook.bpf.h: another program takes its place, and denies. */
__weak __noinline u32 decider(u32 option)
{
	return 0;
}

static __always_inline int let_deny(u32 option)
{
	if (!is_own(option))
		return 0;
	answer(0);
	return decider(option) ? -EPERM : 0;
}

SEC("lsm/task_prctl")
int BPF_PROG(lsm_hook, int option)
{
	return let_deny(option);
}

/* The same place without an LSM: the function that asks them all. Linux 5.7 (2020-05). */
SEC("fmod_ret/security_task_prctl")
int BPF_PROG(security_function, int option)
{
	return let_deny(option);
}

SEC("freplace/decider")
u32 refuse(u32 option)
{
	return 1;
}

/* The call itself, where a kernel allows it: seen on 7.3 (2026), not on 6.18. A long: an int is no errno there. */
SEC("fmod_ret/__x64_sys_prctl")
long BPF_PROG(call_function, struct pt_regs *regs)
{
	return deny(regs->di);
}

/* Whether the kernel asks about a memfd, and by its name: seen on 7.3 (2026), not on 6.18. */
SEC("lsm/inode_init_security_anon")
int BPF_PROG(named_memory, struct inode *inode, const struct qstr *name)
{
	const unsigned char *text = BPF_CORE_READ(name, name);
	char what[sizeof("[memfd]")] = {};

	bpf_probe_read_kernel(what, sizeof(what), text);
	if (bpf_get_current_pid_tgid() >> 32 != own_pid || __builtin_memcmp(what, "[memfd]", sizeof(what)))
		return 0;
	answer(0);
	return -EPERM;
}

char LICENSE[] SEC("license") = "GPL";
