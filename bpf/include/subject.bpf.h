/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose task is it. A process is a subject when `procs` has it; a thread of one
 * carries a little more in task storage. Marks are inherited at fork and changed
 * at exec, so that neither the parent's death nor another program ends them.
 */
#ifndef SUBJECT_BPF_H
#define SUBJECT_BPF_H

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PROCS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32); /* tgid in the initial pid namespace */
	__type(value, struct proc);
} procs SEC(".maps");

/* How many of `procs` have a number like this one, at least. Read at each call of strangers: no helper is called for it. */
enum { NUMBERS = 16384 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NUMBERS);
	__type(key, u32);
	__type(value, u32);
} numbers SEC(".maps");

static __always_inline u32 *number_of(u32 tgid)
{
	u32 at = tgid % NUMBERS;

	return bpf_map_lookup_elem(&numbers, &at);
}

/* False: `procs` does not have it. */
static __always_inline bool may_be_watched(u32 tgid)
{
	u32 *n = number_of(tgid);

	return !n || *n;
}

/* What is known of a process that is watched; NULL: it is not. */
static __always_inline struct proc *proc_of(u32 tgid)
{
	return may_be_watched(tgid) ? bpf_map_lookup_elem(&procs, &tgid) : NULL;
}

/* Into `procs`, and in place of what is there if that is wanted. Counted first: nobody is there and not counted. */
static __always_inline long put_proc(u32 tgid, struct proc *p, bool replaces)
{
	u32 *n = number_of(tgid);
	long failed;

	if (n)
		__sync_fetch_and_add(n, 1);
	failed = bpf_map_update_elem(&procs, &tgid, p, BPF_NOEXIST);
	if (!failed)
		return 0;
	if (n)
		__sync_fetch_and_sub(n, 1);
	return replaces ? bpf_map_update_elem(&procs, &tgid, p, BPF_EXIST) : failed;
}

static __always_inline void drop_proc(u32 tgid)
{
	u32 *n = number_of(tgid);

	if (!bpf_map_delete_elem(&procs, &tgid) && n)
		__sync_fetch_and_sub(n, 1);
}

enum { PF_IO_WORKER = 0x10, PF_DUMPCORE = 0x200 };

enum taint {
	TAINT_FORGED = 1, /* code of it may have another file's name */
	TAINT_ARCHIVES = 2, /* the wrapper of archives is not PHP's own any more */
	TAINT_EXCUSED = 4, /* no taint: code came from a wrapper of the profile, and its name is looked at */
	TAINT_FIBERS = 8, /* no taint: there are fibers */
};

/* Small on purpose: a fork burst must find room for it. */
struct task {
	u64 seq;
	u32 want_return; /* so many told operations wait for their sys_exit, seq the last of them */
	u32 want_nr; /* of the call that they are part of, like the next: a return that was skipped is not seen */
	u64 want_arg;
	u32 phase;
	u32 kind; /* of `site`; SITE_NONE: nothing recorded */
	u32 unknown;
	/* where it was when it last forked, cloned or execed; of a child: its parent's */
	struct hash128 site, sink;
	u32 usdt_depth;
	u32 usdt_flags;
	/* what was rewritten, until the call returns; rewritten_len 0: nothing */
	u64 rewritten_at, rewritten_was;
	u32 rewritten_len;
	u32 rewritten_ones;
	/* of the io_uring that it made: whom the kernel's workers for it act for */
	u32 ring_kind;
	u32 taint; /* enum taint, of its request */
	struct hash128 ring_site;
	u32 request; /* how many it has begun; 0: none */
	u32 urgent; /* one of those that wait for their sys_exit may be a violation */
	u32 waits; /* it is one of `waiting` */
	u32 execs; /* how many programs it was before */
	u32 gave_up; /* its memory could not be read however long it was waited for: until it can, that is not done again */
	u32 opening; /* the descriptor, and 1, of what it is opening, which is looked at after the call; 0: nothing */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task);
} tasks SEC(".maps");

/* How many tasks have something left to be done where their call returns, at least. Read at each return of the machine. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} waiting SEC(".maps");

static __always_inline u32 *waiting_tasks(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&waiting, &zero);
}

static __always_inline bool somebody_waits(void)
{
	u32 *n = waiting_tasks();

	return !n || *n;
}

/* The current task's: counted before it can return. */
static __always_inline void begins_to_wait(struct task *task)
{
	u32 *n = waiting_tasks();

	if (task->waits || !n)
		return;
	task->waits = 1;
	__sync_fetch_and_add(n, 1);
}

static __always_inline void waits_no_longer(struct task *task)
{
	u32 *n = waiting_tasks();

	if (!task->waits || !n)
		return;
	task->waits = 0;
	__sync_fetch_and_sub(n, 1);
}

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct file_key);
	__type(value, u32);
} files SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, IMAGES_MAX);
	__type(key, u32);
	__type(value, struct image);
} images SEC(".maps");

/* Paths at which new files are looked at, by their hash: enum watched_path. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct hash128);
	__type(value, u32);
} watched SEC(".maps");

/* Processes that were started at a container's path: user space looks whether they are PHP, and takes them out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, u32);
} newcomers SEC(".maps");

/* How a path is watched; 0: it is not. */
static __always_inline u32 how_watched(struct hash128 *path)
{
	u32 *how = bpf_map_lookup_elem(&watched, path);

	return how ? *how : 0;
}

/* Another container's, or a container's next start: it is not watched until user space has looked. */
static __always_inline void note_newcomer(u32 tgid)
{
	u32 one = 1;

	bpf_map_update_elem(&newcomers, &tgid, &one, BPF_ANY);
}

/* Subjects that ended: until they are waited for, their parent may still signal them. */
struct ended {
	u64 at;
	u32 parent;
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct ended);
} just_ended SEC(".maps");

/* Short: afterwards the number may be somebody else's. */
enum { ENDED_NS = 2000000000 };

static __always_inline bool ended_child(u32 pid, u32 parent)
{
	struct ended *e = bpf_map_lookup_elem(&just_ended, &pid);

	return e && e->parent == parent && bpf_ktime_get_ns() - e->at < ENDED_NS;
}

/* cgroup ids (--cgroup); empty: any. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u32);
} cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PROCS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct adoption);
} adoptions SEC(".maps");

/*
 * Who becomes a subject: 1 only the started command and its descendants; 0 whoever
 * runs an image. The three filters narrow 0.
 */
const volatile u32 scope_command = 0;
const volatile u32 filter_uid_set = 0;
const volatile u32 filter_uid = 0;
const volatile u32 filter_cgroup = 0;
const volatile u32 filter_pid = 0; /* only processes in `adoptions` and their descendants */

/* 1: the site comes from the shadow stack of function entries and returns. */
const volatile u32 usdt_attribution = 0;

static __always_inline void usdt_inherit(struct task *from, struct task *to, u32 parent_tid, u32 child_tid);
static __always_inline void usdt_reset(struct task *task);
/* A program is started in this process: what its pool shares is new. */
static __always_inline void pool_begins(u32 pool);

/* What the strategy does about a program that was started: into s->out.proc. Defined by each phase. */
static __always_inline void judge_exec(struct scratch *s);

/* How an origin was made, for who decides in the kernel. */
static __always_inline void keep_origin(struct hash128 *origin, struct origin_link *link);

static __always_inline struct image *image_by_id(u32 id)
{
	if (!id)
		return NULL;
	return bpf_map_lookup_elem(&images, &id);
}

static __always_inline u32 image_of_file(struct file *f, struct file_key *key)
{
	u32 *id;

	key->ino = BPF_CORE_READ(f, f_inode, i_ino);
	key->dev = BPF_CORE_READ(f, f_inode, i_sb, s_dev);
	id = bpf_map_lookup_elem(&files, key);
	return id ? *id : 0;
}

/*
 * --uid and --cgroup, for the current task. A pool's master is of another user than
 * its workers, and both can move: what runs an image is marked in any case, as
 * PROC_IGNORED until its first policed call that passes, and from then on stays a
 * subject whatever it becomes.
 */
static __always_inline bool passes_filters(void)
{
	if (filter_uid_set && (u32)bpf_get_current_uid_gid() != filter_uid)
		return false;
	if (filter_cgroup) {
		int level;

		for (level = 0; level < 16; level++) {
			u64 id = bpf_get_current_ancestor_cgroup_id(level);

			if (!id)
				return false;
			if (bpf_map_lookup_elem(&cgroups, &id))
				return true;
		}
		return false;
	}
	return true;
}

/* Its user, in the initial user namespace. 0 where it has none, which is who most is asked of. */
static __always_inline u32 uid_of(struct task_struct *t)
{
	const struct cred *cred = t->cred;

	return cred ? cred->uid.val : 0;
}

/* What a decision needs of who calls. */
static __always_inline void fill_who_briefly(struct who *w, struct task_struct *t, struct proc *p, u32 phase)
{
	w->pid = t->tgid;
	w->tid = t->pid;
	w->image = p->image;
	w->role = p->role;
	w->phase = phase;
	w->pad = 0;
	w->proc_flags = p->flags;
	w->origin = p->origin;
	w->program = p->program;
	w->script = p->script;
}

/* The number that a process has in the pid namespace of a level; 0: it has none there. */
static __always_inline u32 number_at(struct pid *pid, u32 level)
{
	int nr = 0;

	/* by reading: 6.1 lets nobody add to a pointer that it knows the type of */
	bpf_probe_read_kernel(&nr, sizeof(nr),
			      (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				      level * bpf_core_type_size(struct upid) +
				      bpf_core_field_offset(struct upid, nr));
	return nr;
}

/* How many pid namespaces are above that of a process. */
static __always_inline u32 namespace_level(struct task_struct *t)
{
	struct pid *pid = BPF_CORE_READ(t, group_leader, thread_pid);

	return BPF_CORE_READ(pid, level);
}

/* Its number in its own pid namespace. */
static __always_inline void fill_nspid(struct who *w, struct task_struct *t)
{
	u32 level = namespace_level(t);

	w->nspid = level ? number_at(BPF_CORE_READ(t, group_leader, thread_pid), level) : w->pid;
}

/* More children than these are not gone through. */
enum { CHILDREN_MAX = 4096 };

struct child_search {
	u64 head, at; /* of the list */
	u32 level, number;
	u32 tgid; /* what was found */
};

static long pass_child(u32 i, struct child_search *f)
{
	struct task_struct *child;

	if (!f->at || f->at == f->head)
		return 1;
	child = (void *)(f->at - bpf_core_field_offset(struct task_struct, sibling));
	if (number_at(BPF_CORE_READ(child, thread_pid), f->level) == f->number) {
		f->tgid = BPF_CORE_READ(child, tgid);
		return 1;
	}
	/* a list that changes meanwhile may lead nowhere, or round: then nobody is found */
	if (bpf_probe_read_kernel(&f->at, sizeof(f->at), (void *)f->at))
		f->at = 0;
	return 0;
}

/* The child that has this number in the task's own pid namespace; 0: none has. */
static __always_inline u32 child_of_number(struct task_struct *t, u32 number)
{
	struct child_search f = {};

	f.level = namespace_level(t);
	f.number = number;
	f.head = (u64)BPF_CORE_READ(t, children.next, prev);
	f.at = (u64)BPF_CORE_READ(t, children.next);
	bpf_loop(CHILDREN_MAX, pass_child, &f, 0);
	return f.tgid;
}

/* The rest, for people. */
static __always_inline void fill_who_rest(struct who *w, struct task_struct *t)
{
	w->start = t->group_leader->start_boottime;
	w->ppid = t->real_parent->tgid;
	fill_nspid(w, t);
	bpf_probe_read_kernel(w->comm, sizeof(w->comm), &t->comm);
}

static __always_inline void fill_who(struct who *w, struct task_struct *t, struct proc *p, u32 phase)
{
	fill_who_briefly(w, t, p, phase);
	fill_who_rest(w, t);
}

static __always_inline void tell_proc(struct scratch *s, u32 kind, struct task_struct *t, struct proc *p,
				      u32 phase, bool may_kill)
{
	struct rec_proc *r = &s->out.proc;

	fill_who(&r->who, t, p, phase);
	r->who.uid = (u32)bpf_get_current_uid_gid();
	r->exe.ino = r->exe.dev = 0;
	r->exit_code = 0;
	r->parent_role = 0;
	r->flags = 0;
	r->reason = r->error = 0;
	rec_init(&r->h, kind, sizeof(*r));
	emit(&r->h, sizeof(*r), may_kill);
}

/* {master}: an fpm process that asked for no request since it was forked, or that forks outside one. */
static __always_inline u32 role_of(struct proc *p, struct image *img)
{
	if (!img || !(img->flags & IMAGE_FPM))
		return ROLE_PLAIN;
	if (p->flags & PROC_SERVES)
		return ROLE_WORKER;
	if (!p->requests || (p->flags & PROC_PRELOADED))
		return ROLE_MASTER;
	return ROLE_WORKER;
}

/*
 * At a call of accept, before it has read anything: settings that a request brings along are made before the request
 * begins, and php-fpm's master never accepts. `p` is that in `procs`.
 */
static __always_inline void begins_to_serve(struct proc *p)
{
	if (p->role == ROLE_PLAIN || (p->flags & PROC_SERVES))
		return;
	__sync_fetch_and_or(&p->flags, PROC_SERVES);
	p->role = ROLE_WORKER;
}

/*
 * Marks a process as a subject. Fails closed: what cannot be marked cannot be watched,
 * so current, which is it or is about to let it run, is killed in a sandbox.
 */
static __always_inline bool store_proc(u32 tgid, struct proc *p)
{
	if (!put_proc(tgid, p, true))
		return true;
	count(STAT_PROCS_FULL);
	if (mode_now() == MODE_SANDBOX)
		kill_current(STAT_LOST_KILLED);
	return false;
}

/*
 * The kernel may skip a program that tells an end. What is left of who had the number before would make a stranger a
 * subject, whose calls are denied. Of the same start: found already, by a look round.
 */
static __always_inline void forget_before(struct task_struct *child, u32 tgid)
{
	struct proc *before = proc_of(tgid);

	if (!before || before->start == BPF_CORE_READ(child, start_boottime))
		return;
	count(STAT_UNSEEN_END);
	drop_proc(tgid);
}

static __always_inline void on_fork(struct task_struct *parent, struct task_struct *child)
{
	u32 ptgid = BPF_CORE_READ(parent, tgid), ctgid = BPF_CORE_READ(child, tgid);
	struct proc *p = acts() ? proc_of(ptgid) : NULL;
	struct task *pt, *ct;
	struct proc copy;
	struct scratch *s;

	if (ctgid != ptgid)
		forget_before(child, ctgid);
	if (!p)
		return;
	pt = bpf_task_storage_get(&tasks, parent, NULL, 0);
	ct = bpf_task_storage_get(&tasks, child, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!ct)
		count(STAT_STORAGE_FAILED); /* not fatal: `procs` has the mark, the thread's site is unknown */
	if (ct && pt) {
		ct->phase = pt->phase;
		ct->kind = pt->kind;
		ct->unknown = pt->unknown;
		ct->site = pt->site;
		ct->sink = pt->sink;
		ct->taint = pt->taint;
		if (usdt_attribution && ctgid != ptgid)
			usdt_inherit(pt, ct, BPF_CORE_READ(parent, pid), BPF_CORE_READ(child, pid));
	} else if (ct) {
		ct->phase = p->phase;
		ct->kind = SITE_UNKNOWN;
	}
	if (ctgid == ptgid)
		return;
	if (p->role == ROLE_WORKER && !(p->flags & PROC_SERVES) && pt && pt->kind == SITE_ENGINE &&
	    pt->phase != PHASE_REQUEST) {
		/* ran PHP before it had children (opcache.preload): it is the master all the same */
		p->flags |= PROC_PRELOADED;
		p->role = ROLE_MASTER;
	}
	copy = *p;
	copy.start = BPF_CORE_READ(child, start_boottime);
	copy.mm = (u64)BPF_CORE_READ(child, mm);
	copy.requests = 0;
	copy.flags &= ~(PROC_PRELOADED | PROC_QUITTING | PROC_YOUNG);
	copy.phase = pt ? pt->phase : p->phase;
	if (copy.role == ROLE_WORKER)
		copy.requests = 1; /* forked by PHP code: not a worker of the pool, but never a master */
	if (!store_proc(ctgid, &copy))
		return;
	s = claim_scratch();
	if (!s)
		return;
	s->may_kill = copy.role != ROLE_MASTER;
	tell_proc(s, REC_FORK, child, &copy, copy.phase, s->may_kill);
	release_scratch(s);
}

/* origin + (site, sink): what the task was in when it execed. */
static __always_inline void extend_origin(struct scratch *s, struct proc *p, struct task *t)
{
	struct rec_origin *o = &s->out.origin;

	if (!t || t->kind == SITE_NONE || t->kind == SITE_UNKNOWN || p->depth >= ORIGIN_MAX) {
		p->flags |= PROC_ORIGIN_UNKNOWN; /* never granted */
		return;
	}
	o->parent = p->origin;
	o->site = t->site;
	o->sink = t->sink;
	o->depth = ++p->depth;
	o->pad = 0;
	sip_init(&s->sip, ~hash_key[0], hash_key[1]);
	sip_word(&s->sip, o->parent.lo);
	sip_word(&s->sip, o->parent.hi);
	sip_word(&s->sip, o->site.lo);
	sip_word(&s->sip, o->site.hi);
	sip_word(&s->sip, o->sink.lo);
	sip_word(&s->sip, o->sink.hi);
	o->origin = sip_end(&s->sip);
	p->origin = o->origin;
	s->link.parent = o->parent;
	s->link.site = o->site;
	s->link.sink = o->sink;
	s->link.depth = o->depth;
	s->link.kind = t->kind;
	keep_origin(&p->origin, &s->link);
	rec_init(&o->h, REC_ORIGIN, sizeof(*o));
	emit(&o->h, sizeof(*o), true); /* every time: rare, and user space may have missed it */
}

/*
 * What a task becomes by an exec, into s->fresh: before it or after. `p` is what it was, NULL for a stranger.
 * Returns the image.
 */
static __always_inline u32 describe_exec(struct scratch *s, struct task_struct *t, struct linux_binprm *bprm,
					 struct proc *p, struct task *task)
{
	struct file *file = BPF_CORE_READ(bprm, file);
	struct proc *fresh = &s->fresh; /* in scratch: for a stack it is too much */
	struct file_key key = {};
	struct image *img;
	u32 image, truncated;

	image = image_of_file(file, &key);
	s->exe = key;
	__builtin_memset(fresh, 0, sizeof(*fresh));
	truncated = path_of_file(s, file);
	path_intern(s, &fresh->program, true);
	if (p) {
		fresh->flags = p->flags & (PROC_ORIGIN_UNKNOWN | PROC_IGNORED);
		fresh->origin = p->origin;
		fresh->depth = p->depth;
	}
	if (!image && how_watched(&fresh->program) == WATCHED_HERE)
		fresh->flags |= PROC_UNINTROSPECTED;
	if (truncated)
		fresh->flags |= PROC_ORIGIN_UNKNOWN;
	/*
	 * PHP code that execs is where the program comes from. The master is none:
	 * at a reload (USR2) it execs itself and stays what it was.
	 */
	if (p && (p->image || (p->flags & PROC_UNINTROSPECTED)) && !(task && task->kind == SITE_MASTER))
		extend_origin(s, fresh, task);
	fresh->start = BPF_CORE_READ(t, group_leader, start_boottime);
	fresh->image = image;
	fresh->pool = BPF_CORE_READ(t, tgid);
	fresh->phase = PHASE_STARTUP;
	img = image_by_id(image);
	/* An fpm that PHP code has started is never the master, which may do more and is not killed. */
	if (!hash_is_zero(&fresh->origin) || (fresh->flags & PROC_ORIGIN_UNKNOWN))
		fresh->requests = 1;
	fresh->role = role_of(fresh, img);
	if (BPF_CORE_READ(bprm, interp) != BPF_CORE_READ(bprm, filename)) {
		long n = bpf_probe_read_kernel_str(s->path, PATH_ROOM, BPF_CORE_READ(bprm, filename));

		s->path_off = 0;
		s->path_end = n > 0 ? n - 1 : 0;
		s->path_state = 0;
		path_intern(s, &fresh->script, true);
	}
	return image;
}

static __always_inline void on_exec(struct task_struct *t, struct linux_binprm *bprm)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32, image, how;
	struct file *file = BPF_CORE_READ(bprm, file);
	struct proc *p, *fresh;
	struct file_key key = {};
	struct image *img;
	struct task *task;
	struct scratch *s;
	u64 mm;

	if (!acts())
		return;
	p = proc_of(tgid);
	if (!p && scope_command)
		return;
	mm = (u64)BPF_CORE_READ(t, mm);
	if (p && p->mm == mm) {
		if (!(p->flags & PROC_UNVOUCHED))
			return; /* this exec, seen by the object that acted a moment ago */
		p = NULL; /* the look round came between its new memory and here: not found running, but starting */
	}
	image = image_of_file(file, &key);
	if (!p && !image && filter_pid)
		return;
	s = claim_scratch();
	if (!s) {
		/* Fails closed for a subject: what it runs now cannot be told. */
		if (p) {
			p->flags |= PROC_ORIGIN_UNKNOWN;
			p->image = 0;
		}
		return;
	}
	fresh = &s->fresh;
	if (!p) {
		/* A stranger's program is not told, unless it is PHP. */
		path_of_file(s, file);
		path_intern(s, &fresh->program, false);
		if (filter_pid)
			goto out;
		how = image ? WATCHED_HERE : how_watched(&fresh->program);
		if (how == WATCHED_INSIDE)
			note_newcomer(tgid);
		if (how != WATCHED_HERE)
			goto out;
	}
	task = bpf_task_storage_get(&tasks, t, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	describe_exec(s, t, bprm, p, task);
	if (!p && !passes_filters())
		fresh->flags |= PROC_IGNORED;
	fresh->mm = mm;
	pool_begins(tgid);
	img = image_by_id(image);
	if (img)
		fresh->bias = BPF_CORE_READ(t, mm, start_code) - img->first_exec_vaddr;
	if (task) {
		task->phase = PHASE_STARTUP;
		task->kind = SITE_NONE;
		task->taint = 0;
		task->execs++;
		task->request = 0; /* it has begun none */
		task->rewritten_len = 0; /* of memory that is not its own any more */
		if (usdt_attribution)
			usdt_reset(task);
	} else {
		count(STAT_STORAGE_FAILED);
	}
	if (!store_proc(tgid, fresh))
		goto out;
	fill_who(&s->out.proc.who, t, fresh, PHASE_STARTUP);
	s->out.proc.who.uid = (u32)bpf_get_current_uid_gid();
	s->out.proc.exe = s->exe;
	s->out.proc.exit_code = 0;
	s->out.proc.parent_role = 0;
	s->out.proc.flags = 0;
	s->out.proc.reason = s->out.proc.error = 0;
	judge_exec(s);
	rec_init(&s->out.proc.h, REC_EXEC, sizeof(s->out.proc));
	emit(&s->out.proc.h, sizeof(s->out.proc), true);
out:
	release_scratch(s);
}

static __always_inline void on_exit(struct task_struct *t)
{
	u32 tgid = BPF_CORE_READ(t, tgid);
	struct ended ended = {};
	struct proc *p;
	struct scratch *s;

	p = acts() ? proc_of(tgid) : NULL;
	if (!p || BPF_CORE_READ(t, signal, live.counter))
		return; /* a stranger, or not its last thread */
	s = claim_scratch();
	if (s) {
		struct rec_proc *r = &s->out.proc;

		fill_who(&r->who, t, p, p->phase);
		r->who.uid = (u32)bpf_get_current_uid_gid();
		r->exe.ino = r->exe.dev = 0;
		r->exit_code = BPF_CORE_READ(t, exit_code);
		r->parent_role = 0;
		r->flags = 0;
		r->reason = r->error = 0;
		rec_init(&r->h, REC_EXIT, sizeof(*r));
		emit(&r->h, sizeof(*r), false);
		release_scratch(s);
	}
	ended.at = bpf_ktime_get_ns();
	ended.parent = BPF_CORE_READ(t, real_parent, tgid);
	bpf_map_update_elem(&just_ended, &tgid, &ended,
			    BPF_ANY); /* not stored: told as a stranger (fails closed) */
	drop_proc(tgid);
}

/* It may not have begun yet: its first policed call tells. */
static __always_inline u32 young_flag(struct task_struct *t)
{
	u64 age = bpf_ktime_get_boot_ns() - BPF_CORE_READ(t, start_boottime);

	return age < YOUNG_SECONDS * 1000000000ULL ? PROC_YOUNG : 0;
}

/* A new file at a watched path is an image by now: its processes are judged by their sites from here on. */
static __always_inline void introspected_late(struct task_struct *t, struct proc *p, struct file *exe)
{
	struct file_key key = {};
	struct image *img;
	struct scratch *s;
	struct task *task;
	u32 image;

	if (!(p->flags & PROC_UNINTROSPECTED))
		return;
	image = image_of_file(exe, &key);
	img = image_by_id(image);
	if (!img)
		return;
	s = claim_scratch();
	if (!s)
		return; /* the next pass finds it; until then it stays {unknown} */
	p->bias = BPF_CORE_READ(t, mm, start_code) - img->first_exec_vaddr;
	/* Who of them served what was not seen: a request's start will tell. */
	if (img->flags & IMAGE_FPM) {
		struct file *parent = BPF_CORE_READ(t, real_parent, mm, exe_file);

		p->requests = parent && image_of_file(parent, &key) == image;
		p->role = p->requests ? ROLE_WORKER : ROLE_MASTER;
	}
	/* It may be anywhere in a request by now: not "startup", where no PHP code runs. */
	task = bpf_task_storage_get(&tasks, t, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (task)
		task->phase = PHASE_UNKNOWN;
	p->phase = PHASE_UNKNOWN;
	p->image = image;
	p->flags &= ~PROC_UNINTROSPECTED;
	p->flags |= young_flag(t);
	tell_proc(s, REC_ADOPT, t, p, PHASE_UNKNOWN, false);
	release_scratch(s);
}

/* Marks what was running before the hooks were attached; one task a call, leaders only. */
static __always_inline void on_iterate(struct task_struct *t)
{
	u32 tgid, pid, image = 0, i;
	struct task_struct *up;
	struct proc fresh = {};
	struct adoption *a;
	struct file_key key = {};
	struct file *exe;
	struct task *task;
	struct image *img;
	struct scratch *s;
	bool descendant = false;
	struct proc *p;

	tgid = BPF_CORE_READ(t, tgid);
	pid = BPF_CORE_READ(t, pid);
	if (tgid != pid)
		return;
	exe = BPF_CORE_READ(t, mm, exe_file);
	if (!exe)
		return;
	p = proc_of(tgid);
	if (p) {
		introspected_late(t, p, exe);
		return;
	}
	a = bpf_map_lookup_elem(&adoptions, &tgid);
	image = image_of_file(exe, &key);
	if (a && (a->flags & PROC_COMMAND)) {
		image = 0; /* what it is, its exec will say */
		fresh.flags = PROC_COMMAND;
	} else if (a) {
		image = a->image ? a->image : image;
		fresh.bias = a->bias;
	} else if (scope_command) {
		return;
	} else {
		up = t;
		for (i = 0; i < 64; i++) {
			u32 up_tgid;
			struct proc *q;

			up = BPF_CORE_READ(up, real_parent);
			if (!up)
				break;
			up_tgid = BPF_CORE_READ(up, tgid);
			if (up_tgid <= 1)
				break;
			q = proc_of(up_tgid);
			if (q) {
				/* its origin is not known, unless it is a worker of a running pool */
				descendant = true;
				fresh.role = q->role;
				break;
			}
		}
		if (!descendant && (!image || filter_pid))
			return;
	}
	img = image_by_id(image);
	fresh.image = image;
	fresh.pool = tgid;
	up = BPF_CORE_READ(t, real_parent);
	if (image && image_of_file(BPF_CORE_READ(up, mm, exe_file), &key) == image)
		fresh.pool = BPF_CORE_READ(up, tgid);
	fresh.start = BPF_CORE_READ(t, start_boottime);
	fresh.mm = (u64)BPF_CORE_READ(t, mm);
	if (!fresh.flags) {
		fresh.flags = PROC_UNVOUCHED | young_flag(t);
		/* where it is (--cgroup) its first call tells */
		if (filter_cgroup || (filter_uid_set && BPF_CORE_READ(t, cred, uid.val) != filter_uid))
			fresh.flags |= PROC_IGNORED;
	}
	fresh.phase = PHASE_UNKNOWN;
	if (img && !fresh.bias)
		fresh.bias = BPF_CORE_READ(t, mm, start_code) - img->first_exec_vaddr;
	if (img && (img->flags & IMAGE_FPM)) {
		struct file *parent = BPF_CORE_READ(t, real_parent, mm, exe_file);

		/* a process of the image whose parent is one too serves requests */
		fresh.requests = parent && image_of_file(parent, &key) == image;
		fresh.role = fresh.requests ? ROLE_WORKER : ROLE_MASTER;
	} else {
		fresh.role = ROLE_PLAIN;
		if (descendant && !img)
			fresh.flags |= PROC_ORIGIN_UNKNOWN;
	}
	s = claim_scratch();
	if (!s)
		return; /* the next pass finds it */
	if (path_of_file(s, exe))
		fresh.flags |= PROC_ORIGIN_UNKNOWN;
	path_intern(s, &fresh.program, true);
	task = bpf_task_storage_get(&tasks, t, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (task)
		task->phase = PHASE_UNKNOWN;
	if (put_proc(tgid, &fresh, false))
		count(STAT_PROCS_FULL);
	else
		tell_proc(s, REC_ADOPT, t, &fresh, PHASE_UNKNOWN, false);
	release_scratch(s);
}

#endif
