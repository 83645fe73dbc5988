/* SPDX-License-Identifier: GPL-2.0-only */
/* What is known of (site, operation) pairs. */
#ifndef POLICY_BPF_H
#define POLICY_BPF_H

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PAIRS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pair_key);
	__type(value, struct pair);
} pairs SEC(".maps");

struct last_slash {
	char *path; /* PATH_ROOM of them */
	u32 end;
};

static long find_slash(u32 i, struct last_slash *l)
{
	if (i >= PATH_ROOM)
		return 1;
	if (l->path[i & (PATH_ROOM - 1)] == '/')
		l->end = i;
	return 0;
}

/* Adds a path's directory to s->sip. 8 more bytes than the path may be read. */
static __always_inline void hash_directory(struct scratch *s, char *path, u32 len)
{
	struct last_slash l = { path, 0 };
	struct sip_path_loop p = { .sip = &s->sip, .bytes = path };

	bpf_loop(len, find_slash, &l, 0);
	p.end = l.end;
	if (p.end > PATH_ROOM - 8)
		return;
	bpf_loop((p.end + 7) / 8, sip_path_word, &p, 0);
	sip_word(&s->sip, p.end);
}

/* Of both paths' directories: for {engine}, which learns paths by directory. */
__noinline u64 directories_hash(struct scratch *s)
{
	if (!s)
		return 0;
	sip_init(&s->sip, hash_key[0], hash_key[1]);
	hash_directory(s, s->call.path, s->call.path_len);
	hash_directory(s, s->call.path2, s->call.path2_len);
	return sip_end(&s->sip).lo;
}

/* Opening only to read: learnt without its path. */
static __always_inline bool opens_to_read(u32 op)
{
	u32 nr = op >> CLASS_BITS, class = op & ((1 << CLASS_BITS) - 1), kind;

	if (nr >= NR_MAX)
		return false;
	kind = calls[nr].class_kind;
	return (kind == CLASS_OPEN || kind == CLASS_OPEN_HOW) && (class == OPEN_READ || class == OPEN_PATH);
}

static __always_inline void pair_key_of(struct scratch *s)
{
	struct rec_call *c = &s->call;
	struct pair_key *k = &c->pair;

	/* Keyed hashes: nobody outside can make two of these sums meet. */
	k->who.lo = c->site.lo + 3 * c->who.origin.lo + 5 * c->who.program.lo;
	k->who.hi = c->site.hi + 3 * c->who.origin.hi + 5 * c->who.program.hi;
	k->op = c->op;
	k->pad = 0;
	k->detail = c->sink.lo;
	if (c->site_kind == SITE_ENGINE && c->path_len && !opens_to_read(c->op))
		k->detail = directories_hash(s);
}

#endif
