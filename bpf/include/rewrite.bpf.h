/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Making a call fail by rewriting what its argument points to, before the kernel
 * reads it. Only private memory that is present and writable at that moment: the
 * helper takes no fault, and what other processes see is nobody's to change.
 */
#ifndef REWRITE_BPF_H
#define REWRITE_BPF_H

enum {
	REWRITE_MOST = 8,
	/* Of one look at the memory map. Its lock is only tried, and another thread that maps something holds it. */
	MAP_TRIES = 32,
	VM_MAYSHARE = 0x80,
};

/* From 1 to REWRITE_MOST, so that 6.1 sees it, too: what it was tested for before is forgotten there. */
static __always_inline u32 bounded_size(u32 len)
{
	len--;
	opaque(len);
	return (len & (REWRITE_MOST - 1)) + 1;
}

static long find_flags(struct task_struct *t, struct vm_area_struct *vma, u64 *flags)
{
	*flags = BPF_CORE_READ(vma, vm_flags);
	return 0;
}

static __always_inline long memory_flags(u64 addr, u64 *flags)
{
	struct task_struct *t = bpf_get_current_task_btf();
	long failed = -EBUSY;
	u32 i;

	for (i = 0; i < MAP_TRIES; i++) {
		failed = bpf_find_vma(t, addr, find_flags, flags, 0);
		if (failed != -EBUSY)
			break;
		count(STAT_MAP_BUSY);
	}
	return failed;
}

static __always_inline u32 spared_by_memory(u64 addr, u32 len)
{
	u64 first = VM_SHARED, last = VM_SHARED;

	if (memory_flags(addr, &first) == -EBUSY)
		return SPARED_BUSY;
	if (len == 1)
		last = first;
	else if (memory_flags(addr + len - 1, &last) == -EBUSY)
		return SPARED_BUSY;
	return (first | last) & (VM_SHARED | VM_MAYSHARE) ? SPARED_SHARED : SPARED_NONE;
}

/* One step: enum not_rewritten. */
__noinline u32 rewrite_step(struct task *task, u64 addr, u32 len, u32 ones)
{
	u64 was = 0, now = ones ? ~0ULL : 0, mask;
	u32 spared;

	if (!task || !addr || !len || len > REWRITE_MOST)
		return SPARED_VALUE;
	if (bpf_probe_read_user(&was, bounded_size(len), (void *)addr))
		return SPARED_FAULT;
	mask = len < 8 ? (1ULL << (len * 8)) - 1 : ~0ULL;
	if ((was & mask) == (now & mask))
		return SPARED_VALUE;
	spared = spared_by_memory(addr, len);
	if (spared)
		return spared;
	if (bpf_probe_write_user((void *)addr, &now, bounded_size(len)))
		return SPARED_FAULT;
	task->rewritten_at = addr;
	task->rewritten_was = was;
	task->rewritten_ones = ones;
	task->rewritten_len = len;
	begins_to_wait(task);
	return SPARED_NONE;
}

/*
 * What was there before, also when the task is being killed: others may share its memory.
 * Not where somebody has written something else meanwhile.
 */
static __always_inline void put_back(struct task *task)
{
	u32 len = task->rewritten_len;
	u64 was = task->rewritten_was, now = 0, mask;

	if (!len)
		return;
	task->rewritten_len = 0;
	mask = len < 8 ? (1ULL << ((len & 7) * 8)) - 1 : ~0ULL;
	if (!bpf_probe_read_user(&now, bounded_size(len), (void *)task->rewritten_at)) {
		if ((now & mask) != (task->rewritten_ones ? mask : 0))
			return;
		if (!bpf_probe_write_user((void *)task->rewritten_at, &was, bounded_size(len)))
			return;
	}
	count(STAT_RESTORE_FAILED);
}

static __always_inline bool takes_empty_path(struct rec_call *c, const volatile struct call_desc *d)
{
	u64 flags = arg_of(c, d->empty_arg - 1);

	if (d->class_kind == CLASS_OPEN_HOW && bpf_probe_read_user(&flags, sizeof(flags), (void *)flags))
		return true;
	return flags & (1ULL << (d->empty_bits_at & 63));
}

/*
 * Rewrites the call; enum not_rewritten. Where the call takes an empty path for the
 * descriptor, that would make it act on something else instead. A function of its own: on 6.1
 * there is no room for it on the stack of who walks.
 */
__noinline u32 rewrite_call(struct rec_call *c, struct task *task)
{
	u32 nr, spared = SPARED_VALUE, i;
	const volatile struct call_desc *d;

	if (!c || !task)
		return SPARED_BUSY;
	if (c->op == NR_FOREIGN << CLASS_BITS)
		return SPARED_FOREIGN;
	nr = c->nr;
	if (nr >= NR_MAX)
		return SPARED_VALUE;
	/* Of this call, where two objects saw it (an adoption); or of one whose return the kernel did not show us. */
	put_back(task);
	d = &calls[bounded(nr)];
	for (i = 0; i < REWRITE_STEPS; i++) {
		u32 arg = d->steps[i].arg, end = d->steps[i].offset + d->steps[i].len;
		u64 addr;

		if (!arg)
			break;
		if (d->empty_arg && arg == d->path_arg && takes_empty_path(c, d)) {
			spared = SPARED_EMPTY;
			continue;
		}
		if (arg == d->addr_arg && d->addrlen_arg && (u32)arg_of(c, d->addrlen_arg - 1) < end)
			continue; /* that long it is not */
		addr = arg_of(c, arg - 1);
		if (!addr)
			continue;
		spared = rewrite_step(task, addr + d->steps[i].offset, d->steps[i].len, d->steps[i].ones);
		if (!spared)
			return SPARED_NONE;
	}
	return spared;
}

#endif
