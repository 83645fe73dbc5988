/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an allowed call has opened: whether that is a protected object is told by the file itself, at the task's next
 * call. Nobody can take a link away in between, and user space need not be woken for each. What cannot be told so goes
 * the way of all other paths: user space follows it. Who includes this has
 * - look_at_opened(): what it is, of what has one name,
 * - settle_call(): what the strategy does about a call that is not harmless.
 */
#ifndef OPENED_BPF_H
#define OPENED_BPF_H

#include "descriptors.h"
#include "protected_files.bpf.h"

enum { SYS_creat = 85, OPENINGS_MAX = 256 };

/* A call as it was told at its beginning; calls that open have one path. */
struct opening {
	u8 call[offsetof(struct rec_call, path2)];
};

/* By tid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OPENINGS_MAX);
	__type(key, u32);
	__type(value, struct opening);
} openings SEC(".maps");

/* How many tasks have one, at least. Read at each call of the machine. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} opening_tasks SEC(".maps");

static __always_inline u32 *tasks_that_open(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&opening_tasks, &zero);
}

static __always_inline bool somebody_opens(void)
{
	u32 *n = tasks_that_open();

	return n && *n;
}

static __always_inline bool opens_a_file(struct rec_call *c)
{
	u32 nr = c->nr, kind;

	if (nr >= NR_MAX)
		return false;
	kind = calls[bounded(nr)].class_kind;
	return kind == CLASS_OPEN || kind == CLASS_OPEN_HOW || nr == SYS_creat;
}

/*
 * The descriptor that the current task gets next: the lowest that is free, as nobody else uses its table. Not where
 * that is in another word of the kernel's bits than where it begins to look.
 */
static __always_inline u32 next_descriptor(void)
{
	struct files_struct *files = BPF_CORE_READ(bpf_get_current_task_btf(), files);
	struct fdtable *table = BPF_CORE_READ(files, fdt);
	u32 from = BPF_CORE_READ(files, next_fd);
	u64 *bits = (u64 *)BPF_CORE_READ(table, open_fds), open = 0;

	if (BPF_CORE_READ(files, count.counter) != 1 || from >= BPF_CORE_READ(table, max_fds) ||
	    bpf_probe_read_kernel(&open, sizeof(open), bits + from / 64))
		return NO_DESCRIPTOR;
	return lowest_free(open, from);
}

/* Whether the call in s->call is looked at again at the task's next, instead of by user space. */
static __always_inline bool keep_opening(struct scratch *s, struct task *task)
{
	struct task_struct *t = bpf_get_current_task_btf();
	u32 tid = t->pid, *n = tasks_that_open(), fd;

	if (!task || !n || !opens_a_file(&s->call) || (t->flags & PF_IO_WORKER))
		return false;
	fd = next_descriptor();
	if (fd == NO_DESCRIPTOR)
		return false;
	if (bpf_map_update_elem(&openings, &tid, &s->call, BPF_ANY)) {
		count(STAT_OPENINGS_FULL);
		return false;
	}
	if (!task->opening)
		__sync_fetch_and_add(n, 1);
	task->opening = fd + 1;
	return true;
}

enum opened {
	OPENED_NOTHING, /* or it is not there any more */
	OPENED_UNTOLD, /* what it is cannot be told here */
	OPENED_HARMLESS,
	OPENED_PROTECTED,
	OPENED_MEMORY, /* of a process: PHP code that writes there changes what runs */
	OPENED_TOLD, /* user space was told what it is, and decides */
};

/* enum opened, of the file whose path was climbed. */
static __always_inline u32 look_at_opened(struct scratch *s, bool is_memory);

/* Of the call in s->call, `found` being enum opened. */
static __always_inline void settle_call(struct scratch *s, u32 found);

static __always_inline bool is_called_mem_there(struct scratch *s)
{
	u64 off = PATH_ROOM - (sizeof("/mem") - 1);

	return s->path_off <= off && s->path[off] == '/' && s->path[off + 1] == 'm' &&
	       s->path[off + 2] == 'e' && s->path[off + 3] == 'm';
}

/* enum opened, of a descriptor of the current task. A global function, as those in call.bpf.h. */
__noinline u32 what_was_opened(struct scratch *s, u32 fd)
{
	struct file *f = s ? file_at(fd) : NULL;
	struct inode *inode;

	if (!f)
		return OPENED_NOTHING;
	inode = BPF_CORE_READ(f, f_inode);
	if (is_protected_file(inode))
		return OPENED_PROTECTED;
	if (BPF_CORE_READ(inode, i_nlink) > 1)
		return OPENED_UNTOLD; /* of a script that was replaced since user space looked? It looks again */
	s->mnt = (u64)BPF_CORE_READ(f, f_path.mnt);
	s->dentry = (u64)BPF_CORE_READ(f, f_path.dentry);
	climb_past_root(s);
	if (s->path_state)
		return OPENED_UNTOLD;
	return look_at_opened(s, is_in_procfs(inode) && is_called_mem_there(s));
}

/* The call in s->call, as it was when it began. */
static __always_inline bool tell_opening(struct scratch *s)
{
	struct rec_call *c = &s->call;

	return send_call(s, offsetof(struct rec_call, path) + (c->path_len & (PATH_ROOM - 1)));
}

/* The return of the call in s->call, which was told when it had returned. */
static __always_inline void tell_opened(struct scratch *s, u32 fd)
{
	struct rec_call *c = &s->call;
	struct rec_return r = {};

	r.first = r.seq = c->seq;
	r.ret = fd;
	r.pid = c->who.pid;
	r.tid = c->who.tid;
	rec_init(&r.h, REC_RETURN, sizeof(r));
	/* lost: the effect is not-seen, and counted */
	emit_with(&r.h, sizeof(r), false, is_urgent(c) ? wakeup : 0);
}

static __always_inline bool is_master(u32 tgid)
{
	struct proc *p = proc_of(tgid);

	return p && p->role == ROLE_MASTER;
}

/* What the current task has opened. A global function, as those in call.bpf.h. */
__noinline int settle_opening(void)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct task *task = bpf_task_storage_get(&tasks, t, NULL, 0);
	u32 tid = t->pid, *n = tasks_that_open(), found, fd;
	struct opening *kept;
	struct scratch *s;
	bool may_kill;

	if (!task || !n || !task->opening || !acts())
		return 0;
	fd = task->opening - 1;
	task->opening = 0;
	__sync_fetch_and_sub(n, 1);
	may_kill = !is_master(t->tgid);
	s = claim_scratch();
	if (!s) {
		/* Fails closed, as a call that cannot be decided does. */
		if (may_kill && mode_now() == MODE_SANDBOX)
			kill_current(STAT_LOST_KILLED);
		goto out;
	}
	s->may_kill = may_kill;
	found = what_was_opened(s, fd);
	kept = bpf_map_lookup_elem(&openings, &tid);
	if (found == OPENED_HARMLESS) {
		count(STAT_ALLOWED);
	} else if (!kept) {
		count(STAT_REVIEW_LOST); /* fails open: nobody but this removes it before it is looked at */
	} else {
		bpf_probe_read_kernel(&s->call, sizeof(*kept), kept);
		if (found != OPENED_NOTHING)
			s->call.flags |= CALL_RETURN_WORK;
		settle_call(s, found);
		if (found != OPENED_NOTHING)
			tell_opened(s, fd);
	}
	release_scratch(s);
out:
	bpf_map_delete_elem(&openings, &tid);
	return 0;
}

static __always_inline void settle(void)
{
	if (somebody_opens())
		settle_opening();
}

#endif
