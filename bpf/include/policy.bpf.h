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
	struct rec_call *call;
	u32 end;
};

static long find_slash(u32 i, struct last_slash *l)
{
	if (i >= PATH_ROOM)
		return 1;
	if (l->call->path[i & (PATH_ROOM - 1)] == '/')
		l->end = i;
	return 0;
}

/* Of the path's directory: for {engine}, which learns paths by directory. */
__noinline u64 directory_hash(struct scratch *s)
{
	struct sip_path_loop p;
	struct last_slash l;

	if (!s)
		return 0;
	l.call = &s->call;
	l.end = 0;
	bpf_loop(s->call.path_len, find_slash, &l, 0);
	sip_init(&s->sip, hash_key[0], hash_key[1]);
	p.sip = &s->sip;
	p.bytes = s->call.path;
	p.off = 0;
	p.end = l.end;
	if (p.end > PATH_ROOM)
		return 0;
	bpf_loop((p.end + 7) / 8, sip_path_word, &p, 0);
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
		k->detail = directory_hash(s);
}

#endif
