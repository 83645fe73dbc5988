/* SPDX-License-Identifier: GPL-2.0-only */
/* Paths of files as the kernel has them, and their ids. */
#ifndef PATH_BPF_H
#define PATH_BPF_H

/* What a descriptor of the current task is open on, if it is. */
static __always_inline struct file *file_at(u32 fd)
{
	struct fdtable *table = BPF_CORE_READ(bpf_get_current_task_btf(), files, fdt);
	struct file **files = BPF_CORE_READ(table, fd), *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds) || bpf_probe_read_kernel(&file, sizeof(file), files + fd))
		return NULL;
	return file;
}

struct sip_path_loop {
	struct sip *sip;
	char *bytes; /* PATH_ROOM of them, and 8 more that may be read */
	u32 off, end;
};

static long sip_path_word(u32 i, struct sip_path_loop *l)
{
	u32 off = l->off + i * 8, rest;
	u64 w;

	if (off >= l->end)
		return 1;
	rest = l->end - off;
	w = *(u64 *)&l->bytes[off & (PATH_ROOM - 1)];
	if (rest < 8)
		w &= (1ULL << (rest * 8)) - 1;
	sip_word(l->sip, w);
	return 0;
}

/* The path in s->path, from path_off to path_end; its length first. */
__noinline int sip_path(struct scratch *s)
{
	struct sip_path_loop l;

	if (!s)
		return 0;
	l.sip = &s->sip;
	l.bytes = s->path;
	l.off = s->path_off;
	l.end = s->path_end;
	if (l.end > PATH_ROOM || l.off > l.end)
		return 0;
	sip_word(&s->sip, l.end - l.off);
	bpf_loop((l.end - l.off + 7) / 8, sip_path_word, &l, 0);
	return 0;
}

/*
 * What is in no file system's tree (a memfd) has a name all the same. It is told as that, and is no path: a
 * program whose name begins without a slash is never learnt, because whoever makes one may put anything into it.
 */
static __always_inline void name_without_place(struct scratch *s, struct dentry *d)
{
	u32 len = BPF_CORE_READ(d, d_name.len), off = PATH_ROOM - len;

	s->path_state = 1; /* what was moved out of what is mounted has no path either */
	if (s->path_off != PATH_ROOM || len == 0 || len > 255)
		return;
	if (bpf_probe_read_kernel(&s->path[off & (PATH_ROOM - 1)], len & 255, BPF_CORE_READ(d, d_name.name)))
		return;
	if (s->path[off & (PATH_ROOM - 1)] == '/')
		return; /* not even that */
	s->path_off = off;
	s->path_state = 0;
}

/* What a step needs of a dentry. */
struct dentry_head {
	u64 parent;
	u32 hash, len;
	u64 name;
};

/* In one read where the kernel has it in one piece: each costs as much as all the rest of a step. */
static __always_inline void read_head(struct dentry_head *h, struct dentry *d)
{
	u32 at = bpf_core_field_offset(struct dentry, d_parent);

	if (bpf_core_field_offset(struct dentry, d_name.len) == at + offsetof(struct dentry_head, len) &&
	    bpf_core_field_offset(struct dentry, d_name.name) == at + offsetof(struct dentry_head, name)) {
		bpf_probe_read_kernel(h, sizeof(*h), (void *)d + at);
		return;
	}
	h->parent = (u64)BPF_CORE_READ(d, d_parent);
	h->len = BPF_CORE_READ(d, d_name.len);
	h->name = (u64)BPF_CORE_READ(d, d_name.name);
}

/* From s->dentry in s->mnt up: path_step() goes. */
static __always_inline void begin_climb(struct scratch *s)
{
	s->path_off = s->path_end = PATH_ROOM;
	s->path_state = 0;
	s->mnt_root = 0;
	s->root_mnt = s->root_dentry = 0;
	s->root_off = s->last_name = 0;
}

/* One step up from s->dentry; 1 when the root was reached or the room is used up. */
__noinline int path_step(struct scratch *s)
{
	struct dentry_head head = {};
	struct vfsmount *mnt;
	struct dentry *d;
	u32 off, len;

	if (!s)
		return 1;
	d = (struct dentry *)s->dentry;
	mnt = (struct vfsmount *)s->mnt;
	if ((u64)d == s->root_dentry && (u64)mnt == s->root_mnt)
		s->root_off = s->path_off;
	if (!s->mnt_root)
		s->mnt_root = (u64)BPF_CORE_READ(mnt, mnt_root);
	if ((u64)d == s->mnt_root) {
		struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
		struct mount *up = BPF_CORE_READ(m, mnt_parent);

		if (up == m)
			return 1;
		s->dentry = (u64)BPF_CORE_READ(m, mnt_mountpoint);
		s->mnt = (u64)up + bpf_core_field_offset(struct mount, mnt);
		s->mnt_root = 0;
		return 0;
	}
	read_head(&head, d);
	if (head.parent == (u64)d) {
		name_without_place(s, d);
		return 1;
	}
	len = head.len;
	off = s->path_off;
	if (len == 0 || len > 255 || off > PATH_ROOM || off < len + 1) {
		s->path_state = 1; /* truncated: never granted */
		return 1;
	}
	if (off == s->path_end)
		s->last_name = len;
	off -= len;
	if (bpf_probe_read_kernel(&s->path[off & (PATH_ROOM - 1)], len & 255, (void *)head.name)) {
		s->path_state = 1;
		return 1;
	}
	off--;
	s->path[off & (PATH_ROOM - 1)] = '/';
	s->path_off = off;
	s->dentry = head.parent;
	return 0;
}

/* All the way from s->dentry: 0 or 1 (truncated). */
static __always_inline u32 climb_to_root(struct scratch *s)
{
	u32 i;

	for (i = 0; i < 64; i++)
		if (path_step(s))
			return s->path_state;
	return 1; /* deeper than we look */
}

/*
 * The absolute path of an open file, from the root of its mount namespace, and not
 * from the task's root: a chroot must not make another program look like /bin/sh.
 * Leaves it in s->path; 0 or 1 (truncated).
 */
static __always_inline u32 path_of_file(struct scratch *s, struct file *f)
{
	struct dentry *d = BPF_CORE_READ(f, f_path.dentry);

	s->mnt = (u64)BPF_CORE_READ(f, f_path.mnt);
	s->dentry = (u64)d;
	begin_climb(s);
	/* An unlinked file must not pass for what its name used to be. */
	if (!BPF_CORE_READ(d, d_hash.pprev) && BPF_CORE_READ(d, d_parent) != d) {
		s->path_off = PATH_ROOM - 10;
		__builtin_memcpy(&s->path[PATH_ROOM - 10], " (deleted)", 10);
	}
	return climb_to_root(s);
}

struct climbing {
	struct scratch *s;
	u32 done;
};

static long climb_step(u32 i, struct climbing *c)
{
	c->done = path_step(c->s);
	return c->done ? 1 : 0;
}

/* Likewise of s->dentry; where it passes the task's own root is in s->root_off then. */
static __always_inline void climb_past_root(struct scratch *s)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct fs_struct *fs = t->fs;
	struct climbing c = { .s = s };

	begin_climb(s);
	s->root_mnt = (u64)fs->root.mnt;
	s->root_dentry = (u64)fs->root.dentry;
	bpf_loop(64, climb_step, &c, 0);
	if (!c.done)
		s->path_state = 1; /* deeper than we look */
}

/* Whether the path that was climbed passed a root of the task's own: that is not the namespace's, nor above the path. */
static __always_inline bool has_inner_path(struct scratch *s)
{
	return s->root_off > s->path_off && s->root_off < PATH_ROOM;
}

/* Copies what path_step() has built. */
static __always_inline void take_path(struct scratch *s, bool second)
{
	struct rec_call *c = &s->call;
	u32 off = s->path_off, len;

	if (s->path_state || off > PATH_ROOM) {
		c->flags |= second ? CALL_PATH2_TRUNCATED : CALL_PATH_TRUNCATED;
		return;
	}
	len = PATH_ROOM - off;
	opaque(len);
	if (len >= PATH_ROOM) {
		c->flags |= second ? CALL_PATH2_TRUNCATED : CALL_PATH_TRUNCATED;
		return;
	}
	bpf_probe_read_kernel(second ? c->path2 : c->path, len, &s->path[off & (PATH_ROOM - 1)]);
	if (second)
		c->path2_len = len;
	else
		c->path_len = len;
}

/*
 * Where a relative path of the call begins, from the root of its mount namespace: its task may be elsewhere when user
 * space looks.
 */
__noinline int tell_folder(struct scratch *s)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct rec_path *r;
	u32 len;

	if (!s)
		return 0;
	r = &s->out.path;
	s->mnt = (u64)BPF_CORE_READ(t, fs, pwd.mnt);
	s->dentry = (u64)BPF_CORE_READ(t, fs, pwd.dentry);
	begin_climb(s);
	r->hash.lo = (u32)t->pid;
	r->len = 0;
	r->truncated = climb_to_root(s);
	len = PATH_ROOM - s->path_off;
	opaque(len);
	if (!r->truncated && len < PATH_ROOM) {
		bpf_probe_read_kernel(r->path, len, &s->path[s->path_off & (PATH_ROOM - 1)]);
		r->len = len;
	} else {
		r->truncated = 1;
	}
	rec_init(&r->h, REC_FOLDER, sizeof(*r));
	/* Lost: user space takes it from where the task is then. */
	emit_with(&r->h, sizeof(*r), s->may_kill, 0);
	return 0;
}

/* The id of s->path, told to user space like a site's. */
static __always_inline u32 path_intern(struct scratch *s, struct hash128 *id, bool tell)
{
	struct hash128 h;
	u32 off = s->path_off, end = s->path_end, len, one = 1;

	sip_init(&s->sip, hash_key[0], ~hash_key[1]); /* paths and sites never meet */
	sip_path(s);
	h = sip_end(&s->sip);
	*id = h;
	if (!tell || bpf_map_lookup_elem(&sites, &h))
		return 0;
	if (end > PATH_ROOM || off > end)
		return UNK_TABLE_FULL;
	len = end - off;
	s->out.path.hash = h;
	s->out.path.len = len;
	s->out.path.truncated = s->path_state;
	opaque(len);
	if (len > PATH_ROOM)
		return UNK_TABLE_FULL;
	bpf_probe_read_kernel(s->out.path.path, len, &s->path[off & (PATH_ROOM - 1)]);
	rec_init(&s->out.path.h, REC_PATH, sizeof(s->out.path));
	if (!emit(&s->out.path.h, sizeof(s->out.path), s->may_kill))
		return untold();
	if (bpf_map_update_elem(&sites, &h, &one, BPF_ANY))
		count(STAT_SITES_FULL); /* the next one tells it again */
	return 0;
}

#endif
