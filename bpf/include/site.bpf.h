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

/*
 * The names in s->names, for who decides in the kernel and may look them up later; false where there is no room.
 * Defined by each phase.
 */
static __always_inline bool keep_names(struct scratch *s, struct hash128 *id);

static __always_inline bool has_file(u32 kind)
{
	return kind == SITE_FUNCTION || kind == SITE_MAIN || kind == SITE_CLOSURE;
}

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

/* From any byte on. */
struct sip_name_at {
	struct sip *sip;
	struct zname *name;
	u32 off, end;
};

static long sip_name_word_at(u32 i, struct sip_name_at *l)
{
	u32 off = l->off + i * 8, rest;
	u64 w;

	if (off >= l->end)
		return 1;
	rest = l->end - off;
	w = *(u64 *)&l->name->val[off & (NAME_ROOM - 1)];
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

/* What follows from a byte of the name on. */
__noinline int sip_name_from(struct sip *sip, struct zname *n, u32 from)
{
	struct sip_name_at l;

	if (!sip || !n || n->len > NAME_CAP || from > n->len)
		return 0;
	l.sip = sip;
	l.name = n;
	l.off = from;
	l.end = n->len;
	bpf_loop((l.end - l.off + 7) / 8, sip_name_word_at, &l, 0);
	return 0;
}

static __always_inline struct hash128 names_hash(struct scratch *s)
{
	struct names *n = &s->names;

	sip_init(&s->sip, hash_key[0], hash_key[1]);
	sip_word(&s->sip, (u64)n->kind << 48 | (n->file.len & 0xffff) << 32 |
				  (n->class_name.len & 0xffff) << 16 | (n->function.len & 0xffff));
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
 * What a name that cannot be told means. Where user space decides it could not be judged: {unknown}.
 * Who decides in the kernel looks it up by its id, told or not.
 */
static __always_inline u32 untold(void)
{
	count(STAT_UNTOLD);
	return DECIDES_HERE ? 0 : UNK_TABLE_FULL;
}

/*
 * The id of s->names, told to user space before anybody can refer to it. It is
 * marked as told only once it was: two tasks may both tell it, none may skip it.
 */
__noinline int names_intern(struct scratch *s, struct hash128 *id)
{
	struct hash128 h;
	u32 one = 1;
	bool kept;

	if (!s || !id)
		return UNK_TABLE_FULL;
	h = names_hash(s);
	*id = h;
	s->names_id = h;
	s->names_kept = 1;
	if (bpf_map_lookup_elem(&sites, &h))
		return 0;
	s->names_kept = 0;
	names_copy(&s->out.site.name, &s->names);
	s->out.site.hash = h;
	kept = keep_names(s, &h);
	rec_init(&s->out.site.h, REC_SITE, sizeof(s->out.site));
	if (!emit(&s->out.site.h, sizeof(s->out.site), s->may_kill))
		return untold();
	/* Not marked as told before its names are kept: the next call tells it again. */
	if (!kept || bpf_map_update_elem(&sites, &h, &one, BPF_ANY))
		count(STAT_SITES_FULL);
	else
		s->names_kept = 1;
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

#endif
