/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Forged identity. The name of a file is what the stream that code was compiled from
 * says it opened: a stream wrapper of PHP code says whatever it likes, and php://filter
 * names the file that it makes other code of. Who compiled such code is tainted until
 * its request ends; its sites are {unknown}. Whoever replaces the wrapper of plain files
 * may leave forged code in the opcode cache: there the taint is its whole pool's, until
 * that is started anew.
 */
#ifndef TAINT_BPF_H
#define TAINT_BPF_H

/* In zend_file_handle: what the script asked for. */
enum { HANDLE_NAME = 40 };
/* A longer word before `://` is taken for one. */
enum { SCHEME_ROOM = 64 };

/* By the process in which all of a pool began (struct proc, `pool`). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PROCS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, u32);
} tainted_pools SEC(".maps");

/* 1: there is or was one. Nobody else pays for a look-up. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} pools_are_tainted SEC(".maps");

static __always_inline void taint_pool(struct proc *p)
{
	u32 pool = p->pool, zero = 0, one = 1;

	bpf_map_update_elem(&pools_are_tainted, &zero, &one, BPF_ANY);
	if (bpf_map_update_elem(&tainted_pools, &pool, &one, BPF_ANY))
		count(STAT_PROCS_FULL);
}

static __always_inline void pool_begins(u32 pool)
{
	bpf_map_delete_elem(&tainted_pools, &pool);
}

/* The thread's request; where that cannot be marked, more than it. */
static __always_inline void taint(struct proc *p, u32 how)
{
	struct task *task = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), NULL,
						 BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (task) {
		task->taint |= how;
	} else {
		count(STAT_STORAGE_FAILED);
		taint_pool(p);
	}
}

static __always_inline bool is_tainted(struct task *task, struct proc *p)
{
	u32 zero = 0, pool, *any;

	if (task && (task->taint & TAINT_FORGED))
		return true;
	any = bpf_map_lookup_elem(&pools_are_tainted, &zero);
	if (!any || !*any)
		return false;
	pool = p->pool;
	return bpf_map_lookup_elem(&tainted_pools, &pool);
}

/* As PHP finds it: letters, digits, `+-.`, then `://`. Its length; 0 where there is none. */
static __always_inline u32 scheme_of(const char *name)
{
	u32 i;

	for (i = 0; i < SCHEME_ROOM; i++) {
		char c = name[i], lower = c | 0x20;

		if (c == ':')
			return i > 1 && name[i + 1] == '/' && name[i + 2] == '/' ? i : 0;
		if (!((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '-' ||
		      c == '.'))
			return 0;
	}
	return SCHEME_ROOM;
}

static __always_inline u32 lower_word(const char *name)
{
	u32 word;

	__builtin_memcpy(&word, name, sizeof(word));
	return word | 0x20202020;
}

#define WORD_OF(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)

static __always_inline struct proc *running_php(void)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct proc *p = bpf_map_lookup_elem(&procs, &tgid);

	return p && p->image ? p : NULL;
}

/* A file is about to be compiled: zend_file_handle. */
static __always_inline void on_compile(u64 handle)
{
	struct proc *p = running_php();
	struct task *task;
	struct image *img;
	char name[SCHEME_ROOM + 8] = {};
	u64 at = 0;
	u32 len;

	if (!p)
		return;
	img = image_by_id(p->image);
	if (!img || bpf_probe_read_user(&at, sizeof(at), (void *)handle + HANDLE_NAME) || !at)
		return;
	if (!(img->flags & IMAGE_PLAIN_NAMES))
		at += ZSTR_HEAD;
	if (bpf_probe_read_user_str(name, SCHEME_ROOM + 4, (void *)at) <= 0)
		return;
	len = scheme_of(name);
	if (!len)
		return;
	if (len == 4 && lower_word(name) == WORD_OF('f', 'i', 'l', 'e'))
		return;
	task = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), NULL, 0);
	if (len == 4 && lower_word(name) == WORD_OF('p', 'h', 'a', 'r')) {
		/* An archive's own wrapper names the archive; another one, whose code is cached too, what it likes. */
		if (!task || !(task->taint & TAINT_ARCHIVES))
			return;
		taint_pool(p);
	}
	taint(p, TAINT_FORGED);
}

/* A wrapper is about to be taken away, for another one to be put in its place: its name, a zend_string. */
static __always_inline void on_unregister(u64 zstr)
{
	struct proc *p = running_php();
	char name[8] = {};

	if (!p || bpf_probe_read_user_str(name, sizeof(name), (void *)zstr + ZSTR_HEAD) != 5)
		return;
	if (lower_word(name) == WORD_OF('f', 'i', 'l', 'e')) {
		taint(p, TAINT_FORGED);
		taint_pool(p);
	} else if (lower_word(name) == WORD_OF('p', 'h', 'a', 'r')) {
		taint(p, TAINT_ARCHIVES);
	}
}

#endif
