/* SPDX-License-Identifier: GPL-2.0-only */
/* Names become ids: a keyed 128-bit hash; each name is told to user space once. */
#ifndef SITE_BPF_H
#define SITE_BPF_H

/* Random for each session, never shown. */
const volatile u64 hash_key[2] = {};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SITES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hash128);
	__type(value, u32);
} sites SEC(".maps");

static __always_inline bool hash_is_zero(const struct hash128 *h)
{
	return !(h->lo | h->hi);
}

/* Loop bodies are callbacks: the verifier looks at them once, however often they run. */
struct sip_name_loop {
	struct sip *sip;
	struct zname *name;
	u32 len;
};

static long sip_name_word(u32 i, struct sip_name_loop *l)
{
	u32 off = i * 8, rest;
	u64 w;

	if (off > NAME_ROOM - 8 || off >= l->len)
		return 1;
	rest = l->len - off;
	w = *(u64 *)&l->name->val[off & (NAME_ROOM - 8)];
	if (rest < 8)
		w &= (1ULL << (rest * 8)) - 1;
	sip_word(l->sip, w);
	return 0;
}

/* Global functions: verified once, whatever calls them. */
__noinline int sip_name(struct sip *sip, struct zname *n)
{
	struct sip_name_loop l = { sip, n };

	if (!sip || !n)
		return 0;
	l.sip = sip;
	l.name = n;
	l.len = n->len;
	if (l.len > NAME_CAP)
		return 0;
	bpf_loop((l.len + 7) / 8, sip_name_word, &l, 0);
	return 0;
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

static __always_inline struct hash128 names_hash(struct scratch *s)
{
	struct names *n = &s->names;

	sip_init(&s->sip, hash_key[0], hash_key[1]);
	sip_word(&s->sip, (u64)n->kind << 48 | (n->file.len & 0xffff) << 32 | (n->class_name.len & 0xffff) << 16 |
				  (n->function.len & 0xffff));
	sip_name(&s->sip, &n->file);
	sip_name(&s->sip, &n->class_name);
	sip_name(&s->sip, &n->function);
	return sip_end(&s->sip);
}

static __always_inline void names_copy(struct site_name *to, struct names *n)
{
	to->kind = n->kind;
	to->pad = 0;
	to->file_len = n->file.len;
	to->class_len = n->class_name.len;
	to->function_len = n->function.len;
	__builtin_memcpy(to->file, n->file.val, NAME_ROOM);
	__builtin_memcpy(to->class_name, n->class_name.val, NAME_ROOM);
	__builtin_memcpy(to->function, n->function.val, NAME_ROOM);
}

/*
 * The id of s->names, told to user space before anybody can refer to it. It is
 * marked as told only once it was: two tasks may both tell it, none may skip it.
 */
__noinline int names_intern(struct scratch *s, struct hash128 *id)
{
	struct hash128 h;
	u32 one = 1;

	if (!s || !id)
		return UNK_TABLE_FULL;
	h = names_hash(s);
	*id = h;
	if (bpf_map_lookup_elem(&sites, &h))
		return 0;
	names_copy(&s->out.site.name, &s->names);
	s->out.site.hash = h;
	rec_init(&s->out.site.h, REC_SITE, sizeof(s->out.site));
	if (!emit(&s->out.site.h, sizeof(s->out.site), true))
		return UNK_TABLE_FULL;
	if (bpf_map_update_elem(&sites, &h, &one, BPF_ANY)) {
		count(STAT_SITES_FULL);
		return UNK_TABLE_FULL;
	}
	return 0;
}

static __always_inline void names_clear(struct names *n, u32 kind)
{
	n->kind = kind;
	n->unknown = 0;
	n->file.len = n->class_name.len = n->function.len = 0;
	n->fault_file = n->fault_class = n->fault_class_entry = n->fault_function = 0;
}

/* A site without PHP code: {engine} by phase, {master}, {unknown}. */
static __always_inline u32 intern_special(struct scratch *s, u32 kind, u32 phase, struct hash128 *id)
{
	struct zname *f = &s->names.function;

	names_clear(&s->names, kind);
	if (kind == SITE_ENGINE) {
		switch (phase) {
		case PHASE_STARTUP:
			__builtin_memcpy(f->val, "startup", 8);
			f->len = 7;
			break;
		case PHASE_REQUEST:
			__builtin_memcpy(f->val, "request", 8);
			f->len = 7;
			break;
		case PHASE_SHUTDOWN:
			__builtin_memcpy(f->val, "shutdown", 8);
			f->len = 8;
			break;
		default:
			__builtin_memcpy(f->val, "unknown", 8);
			f->len = 7;
		}
	}
	return names_intern(s, id);
}

/* One step up from s->dentry; 1 when the root was reached or the room is used up. */
__noinline int path_step(struct scratch *s)
{
	struct dentry *d, *parent, *root;
	struct vfsmount *mnt;
	struct qstr name;
	u32 off, len;

	if (!s)
		return 1;
	d = (struct dentry *)s->dentry;
	mnt = (struct vfsmount *)s->mnt;
	root = BPF_CORE_READ(mnt, mnt_root);
	if (d == root) {
		struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
		struct mount *up = BPF_CORE_READ(m, mnt_parent);

		if (up == m)
			return 1;
		s->dentry = (u64)BPF_CORE_READ(m, mnt_mountpoint);
		s->mnt = (u64)up + bpf_core_field_offset(struct mount, mnt);
		return 0;
	}
	parent = BPF_CORE_READ(d, d_parent);
	if (parent == d)
		return 1;
	name.len = BPF_CORE_READ(d, d_name.len);
	name.name = BPF_CORE_READ(d, d_name.name);
	len = name.len;
	off = s->path_off;
	if (len == 0 || len > 255 || off > PATH_ROOM || off < len + 1) {
		s->path_state = 1; /* truncated: never granted */
		return 1;
	}
	off -= len;
	if (bpf_probe_read_kernel(&s->path[off & (PATH_ROOM - 1)], len & 255, name.name)) {
		s->path_state = 1;
		return 1;
	}
	off--;
	s->path[off & (PATH_ROOM - 1)] = '/';
	s->path_off = off;
	s->dentry = (u64)parent;
	return 0;
}

/*
 * The absolute path of an open file, from the root of its mount namespace, and not
 * from the task's root: a chroot must not make another program look like /bin/sh.
 * Leaves it in s->path; 0 or 1 (truncated).
 */
static __always_inline u32 path_of_file(struct scratch *s, struct file *f)
{
	struct dentry *d = BPF_CORE_READ(f, f_path.dentry);
	u32 i;

	s->mnt = (u64)BPF_CORE_READ(f, f_path.mnt);
	s->dentry = (u64)d;
	s->path_off = s->path_end = PATH_ROOM;
	s->path_state = 0;
	/* An unlinked file must not pass for what its name used to be. */
	if (!BPF_CORE_READ(d, d_hash.pprev) && BPF_CORE_READ(d, d_parent) != d) {
		s->path_off = PATH_ROOM - 10;
		__builtin_memcpy(&s->path[PATH_ROOM - 10], " (deleted)", 10);
	}
	for (i = 0; i < 64; i++)
		if (path_step(s))
			return s->path_state;
	return 1; /* deeper than we look */
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
	if (!emit(&s->out.path.h, sizeof(s->out.path), true))
		return UNK_TABLE_FULL;
	if (bpf_map_update_elem(&sites, &h, &one, BPF_ANY)) {
		count(STAT_SITES_FULL);
		return UNK_TABLE_FULL;
	}
	return 0;
}

#endif
