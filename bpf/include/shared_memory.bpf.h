/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory that PHP's processes share (the opcode cache), where a process that was just
 * forked has not touched the page yet: reading it from there would fault. Its page is
 * in the kernel's page cache all the same, with the content that the process would see.
 * Only shared mappings: of a private one the process may have a copy of its own.
 */
#ifndef SHARED_MEMORY_BPF_H
#define SHARED_MEMORY_BPF_H

/*
 * Where the kernel has all memory and its descriptors: at addresses that differ from boot to boot, and that no
 * kernel tells. They are found with the help of a page of the tracer's own, of which it knows the frame and the
 * content. Zero: not found, and then what is unreadable stays so ({unknown}, fails closed).
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct memory_layout);
} memory_layout SEC(".maps");

enum {
	VM_SHARED = 8,
	PAGE_BITS = 12,
	PAGE_BYTES = 1 << PAGE_BITS,
	XA_SLOTS = 64,
	XA_LEVELS = 8,
	XA_NODE_MIN = 4096, /* below, tagged as a node: the number of another slot */
	LAYOUT_BITS = 30, /* memory begins at a multiple of 1 GiB */
	LAYOUT_TRIES = 8192,
	SHARED_WORDS = 32, /* of one read: names of up to 232 bytes */
};

struct shared_page {
	u64 addr;
	u64 mapping; /* struct address_space */
	u64 index;
};

static long find_mapping(struct task_struct *t, struct vm_area_struct *vma, struct shared_page *p)
{
	struct file *file = BPF_CORE_READ(vma, vm_file);

	if (!file || !(BPF_CORE_READ(vma, vm_flags) & VM_SHARED))
		return 0;
	p->index = ((p->addr - BPF_CORE_READ(vma, vm_start)) >> PAGE_BITS) + BPF_CORE_READ(vma, vm_pgoff);
	p->mapping = (u64)BPF_CORE_READ(file, f_mapping);
	return 0;
}

/* The folio at an index of the page cache; 0 where there is none in memory. */
static __always_inline u64 folio_at(u64 mapping, u64 index)
{
	u64 entry = (u64)BPF_CORE_READ((struct address_space *)mapping, i_pages.xa_head);
	u32 i;

	for (i = 0; i < XA_LEVELS; i++) {
		struct xa_node *node;
		u64 slots;
		u8 shift;
		u32 slot;

		if ((entry & 3) != 2 || entry < XA_NODE_MIN)
			break;
		node = (void *)(entry - 2);
		shift = BPF_CORE_READ(node, shift);
		slots = (u64)node + bpf_core_field_offset(struct xa_node, slots);
		slot = (index >> (shift & 63)) & (XA_SLOTS - 1);
		if (bpf_probe_read_kernel(&entry, sizeof(entry), (void *)(slots + slot * 8)))
			return 0;
		if ((entry & 3) == 2 && entry < XA_NODE_MIN) {
			slot = (entry >> 2) & (XA_SLOTS - 1);
			if (bpf_probe_read_kernel(&entry, sizeof(entry), (void *)(slots + slot * 8)))
				return 0;
		}
	}
	/* tagged: swapped out, or deeper than we look */
	return entry & 3 ? 0 : entry;
}

/* Where the kernel has a page of the current process that is shared; 0 where it cannot be told. */
__noinline u64 shared_page_at(u64 addr)
{
	struct shared_page p = { .addr = addr };
	struct memory_layout *at;
	u64 folio, first;
	u32 zero = 0;

	at = bpf_map_lookup_elem(&memory_layout, &zero);
	if (!at || !at->memory || bpf_find_vma(bpf_get_current_task_btf(), addr, find_mapping, &p, 0) ||
	    !p.mapping)
		return 0;
	folio = folio_at(p.mapping, p.index);
	if (!folio)
		return 0;
	first = BPF_CORE_READ((struct folio *)folio, index);
	if (first > p.index)
		return 0;
	return at->memory +
	       (((folio - at->descriptors) / bpf_core_type_size(struct page) + p.index - first) << PAGE_BITS);
}

struct layout_search {
	u64 from, offset;
	u64 content[2];
	u64 found;
};

static long try_layout(u32 i, struct layout_search *l)
{
	u64 memory = l->from - ((u64)i << LAYOUT_BITS), content[2];

	if (bpf_probe_read_kernel(content, sizeof(content), (void *)(memory + l->offset)) ||
	    content[0] != l->content[0] || content[1] != l->content[1])
		return 0;
	l->found = memory;
	return 1;
}

/* Run by the tracer, about its own page. */
static __always_inline void find_layout(void)
{
	struct shared_page p = {};
	struct layout_search l = {};
	struct memory_layout *at;
	u64 folio, first;
	u32 zero = 0;

	at = bpf_map_lookup_elem(&memory_layout, &zero);
	if (!at || !at->frame)
		return;
	p.addr = at->addr;
	if (bpf_find_vma(bpf_get_current_task_btf(), p.addr, find_mapping, &p, 0) || !p.mapping)
		return;
	folio = folio_at(p.mapping, p.index);
	if (!folio)
		return;
	first = BPF_CORE_READ((struct folio *)folio, index);
	at->descriptors = folio - (at->frame - (p.index - first)) * bpf_core_type_size(struct page);
	l.from = p.mapping & ~((1ULL << LAYOUT_BITS) - 1); /* lies in that memory, too */
	l.offset = at->frame << PAGE_BITS;
	l.content[0] = at->content[0];
	l.content[1] = at->content[1];
	bpf_loop(LAYOUT_TRIES, try_layout, &l, 0);
	at->memory = l.found;
}

struct shared_read {
	u64 *to;
	u64 addr;
	u64 page, at; /* the page that was found last, and where */
	u32 failed;
	u32 pad;
};

static long read_shared_word(u32 i, struct shared_read *r)
{
	u64 addr = r->addr + i * 8, page = addr & ~(u64)(PAGE_BYTES - 1), word = 0;

	if (i >= SHARED_WORDS)
		return 1;
	if (page != r->page) {
		r->at = shared_page_at(page);
		r->page = page;
	}
	if (!r->at ||
	    bpf_probe_read_kernel(&word, sizeof(word), (void *)(r->at + (addr & (PAGE_BYTES - 1))))) {
		r->failed = 1;
		return 1;
	}
	r->to[i & (SHARED_WORDS - 1)] = word;
	return 0;
}

/* `words` of 8 bytes from `addr`, which is aligned to them: what PHP shares is. */
static __always_inline bool read_shared(u64 *to, u64 addr, u32 words)
{
	/*
	 * No page yet, but no constant either: kernels before 6.7 look at a loop's function only as it is called first,
	 * and cut off what these values cannot reach.
	 */
	struct shared_read r = { .to = to, .addr = addr, .page = addr | 1, .at = addr };

	if ((addr & 7) || words > SHARED_WORDS)
		return false;
	bpf_loop(words, read_shared_word, &r, 0);
	if (!r.failed)
		count(STAT_READ_SHARED);
	return !r.failed;
}

#endif
