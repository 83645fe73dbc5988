/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What became of a call, told by its own task on its way out of it: then no program runs at every return of the
 * machine. To leave the work takes an interrupt, as long as a hundred programs at returns; so it is left by calls that
 * may be violations, not by what is allowed.
 */
#ifndef RETURN_WORK_BPF_H
#define RETURN_WORK_BPF_H

#ifdef LEAVES_WORK

/* As the kernel has it. */
struct bpf_task_work {
	u64 __opaque;
} __attribute__((aligned(8)));

typedef int (*work_callback)(struct bpf_map *map, void *key, void *value);

/* Linux 6.18 (2025-11); 7.0 took the last argument away, and that part of the name. */
extern int bpf_task_work_schedule_resume_impl(struct task_struct *t, struct bpf_task_work *work, void *map,
					      work_callback callback, void *aux) __ksym __weak;
extern int bpf_task_work_schedule_resume(struct task_struct *t, struct bpf_task_work *work, void *map,
					 work_callback callback) __ksym __weak;

struct left_work {
	struct bpf_task_work work;
};

/* By tid: a task's entry goes when its work is done. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct left_work);
} left_works SEC(".maps");

static int at_return(struct bpf_map *map, u32 *tid, struct left_work *work)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(t);
	s64 ret = regs->ax;
	u32 own = t->pid;

	/* That is there until a call returns: work can be done before, and at the end of a task. */
	if (ret != -ENOSYS)
		call_returned(ret);
	bpf_map_delete_elem(&left_works, &own);
	return 0;
}

/* Where it cannot be left the effect is told as not seen. */
static __always_inline void leave_work(struct task_struct *t)
{
	struct left_work none = {}, *left;
	u32 tid = t->pid;

	bpf_map_update_elem(&left_works, &tid, &none, BPF_NOEXIST);
	left = bpf_map_lookup_elem(&left_works, &tid);
	if (!left)
		return;
	if (bpf_ksym_exists(bpf_task_work_schedule_resume))
		bpf_task_work_schedule_resume(t, &left->work, &left_works, (work_callback)at_return);
	else
		bpf_task_work_schedule_resume_impl(t, &left->work, &left_works, (work_callback)at_return,
						   NULL);
}

#else

static __always_inline void leave_work(struct task_struct *t)
{
}

#endif

#endif
