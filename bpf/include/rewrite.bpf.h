/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Making a call fail by rewriting what its argument points to, before the kernel
 * reads it. Only private memory that is present and writable at that moment: the
 * helper takes no fault, and what other processes see is nobody's to change.
 */
#ifndef REWRITE_BPF_H
#define REWRITE_BPF_H

enum { REWRITE_MOST = 8 };

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

static __always_inline u32 spared_by_memory(u64 addr, u32 len)
{
	u64 first = VM_SHARED, last = VM_SHARED;

	/* The lock of the memory map is only tried: -EBUSY while another thread maps something. */
	if (bpf_find_vma(bpf_get_current_task_btf(), addr, find_flags, &first, 0) == -EBUSY)
		return SPARED_BUSY;
	if (bpf_find_vma(bpf_get_current_task_btf(), addr + len - 1, find_flags, &last, 0) == -EBUSY)
		return SPARED_BUSY;
	return (first | last) & VM_SHARED ? SPARED_SHARED : SPARED_NONE;
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
	task->rewritten_len = len;
	return SPARED_NONE;
}

/*
 * Rewrites the call in s->call; enum not_rewritten. With AT_EMPTY_PATH an empty path is not
 * none: it would make the call act on the descriptor instead.
 */
static __always_inline u32 rewrite_call(struct scratch *s, struct task *task)
{
	struct rec_call *c = &s->call;
	u32 nr = c->nr, spared = SPARED_VALUE, i;
	const volatile struct call_desc *d;

	if (c->op == NR_FOREIGN << CLASS_BITS)
		return SPARED_FOREIGN;
	if (nr >= NR_MAX)
		return SPARED_VALUE;
	if (!task)
		return SPARED_BUSY;
	d = &calls[bounded(nr)];
	for (i = 0; i < REWRITE_STEPS; i++) {
		u32 arg = d->steps[i].arg;
		u64 addr;

		if (!arg)
			break;
		if (d->empty_arg && !d->steps[i].ones &&
		    (arg_of(c, d->empty_arg - 1) & (1ULL << (d->empty_bits_at & 63))))
			continue;
		addr = arg_of(c, arg - 1);
		if (!addr)
			continue;
		spared = rewrite_step(task, addr + d->steps[i].offset, d->steps[i].len, d->steps[i].ones);
		if (!spared)
			return SPARED_NONE;
	}
	return spared;
}

/* What was there before, also when the task is being killed: others may share its memory. */
static __always_inline void put_back(struct task *task)
{
	u32 len = task->rewritten_len;
	u64 was = task->rewritten_was;

	if (!len)
		return;
	task->rewritten_len = 0;
	if (bpf_probe_write_user((void *)task->rewritten_at, &was, bounded_size(len)))
		count(STAT_RESTORE_FAILED);
}

#endif
