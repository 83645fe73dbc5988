/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The profile in the kernel, for who decides here. User space compiles it into these
 * tables, each entry under its generation's number; what a generation needs is
 * complete before the first call reads that number, and stays until after the last.
 *
 * Everything fails closed: what is not found here is not granted.
 */
#ifndef POLICY_BPF_H
#define POLICY_BPF_H

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, POLICIES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct policy_key);
	__type(value, struct policy);
} policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, POLICIES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct rule_key);
	__type(value, struct rules);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, POLICIES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct node_key);
	__type(value, u32);
} nodes SEC(".maps");

/* By state. User space makes each as large as it has to be. */
struct automaton {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_INNER_MAP);
	/* Not by its type: the compiler leaves out what a map in a map refers to. */
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(struct automaton_row));
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, GENERATIONS_MAX);
	__type(key, u32); /* generation */
	__array(values, struct automaton);
} automata SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GENERATIONS_MAX);
	__type(key, u32); /* generation */
	__type(value, struct tables);
} heads SEC(".maps");

/* How origins were made, and the names of sites: under another profile they are looked up again. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SITES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hash128);
	__type(value, struct origin_link);
} origins SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SITES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hash128);
	__type(value, struct site_name);
} site_names SEC(".maps");

/* Read and written by user space only: it is pinned with the others. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct identity);
} identity SEC(".maps");

/* By operation: enum op_info. */
const volatile u16 op_info[OPS_MAX] = {};
/* 1: somebody but root could remove the tracer's own files. */
const volatile u32 exposed = 0;
/* 1: allowed calls are told too, with what was decided. For tests. */
const volatile u32 tell_allowed = 0;

enum {
	SYS_open = 2,
	SYS_mmap = 9,
	SYS_mprotect = 10,
	SYS_symlink = 88,
	SYS_mount = 165,
	SYS_openat = 257,
	SYS_symlinkat = 266,
	SYS_bpf = 321,
	MMAP_FD = 4,
	MPROTECT_PROT = 2,
	READ_EXEC = 5, /* PROT_READ | PROT_EXEC */
	SOCKET_TYPE = 1,
	SOCKET_PROTOCOL = 2,
	SOCK_DGRAM = 2,
	SOCK_FLAGS = 02004000, /* SOCK_CLOEXEC, SOCK_NONBLOCK */
	MOUNT_FLAGS = 3,
	MS_REMOUNT = 0x20,
	MS_BIND = 0x1000,
	MS_MOVE = 0x2000,
	MS_PROPAGATION = 0x1e0000, /* MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED */
	NODE_RESOLVED = 0xffffffff,
};

static __always_inline bool same_hash(const struct hash128 *a, const struct hash128 *b)
{
	return a->lo == b->lo && a->hi == b->hi;
}

/*
 * Entries of these tables are made once and never replaced: an element that is replaced may become another entry's
 * at once, while somebody still reads it.
 */
static __always_inline bool has_no_room(long error)
{
	/* 32 bits of it are the map's answer: before Linux 6.4 (2023-06) the others are 0, also of a negative one. */
	s32 answer = error;

	return answer && answer != -EEXIST;
}

/* ---- names that outlive their call ---- */

/* s->out.site has them, for the record. Also what adopts this after its tracer ended knows ids by them. */
static __always_inline bool keep_names(struct scratch *s, struct hash128 *id)
{
	struct scratch *own = own_scratch(s);

	/* not stored: what comes from there cannot be resolved, and is not granted (fails closed) */
	return own && !has_no_room(bpf_map_update_elem(&site_names, id, &own->out.site.name, BPF_NOEXIST));
}

static __always_inline void keep_origin(struct hash128 *origin, struct origin_link *link)
{
	if (has_no_room(bpf_map_update_elem(&origins, origin, link, BPF_NOEXIST)))
		count(STAT_SITES_FULL); /* likewise */
}

/* The names of a site into s->names, which may have them still. */
__noinline u32 recall_names(struct scratch *s, struct hash128 *id)
{
	struct names *n;
	struct site_name *from;
	struct hash128 key;

	if (!s || !id)
		return 0;
	key = *id; /* to 6.1 a function's argument is no key */
	if (same_hash(&s->names_id, &key))
		return 1;
	from = bpf_map_lookup_elem(&site_names, &key);
	if (!from)
		return 0;
	n = &s->names;
	n->kind = from->kind;
	n->unknown = 0;
	n->file.len = from->file_len;
	n->class_name.len = from->class_len;
	n->function.len = from->function_len;
	__builtin_memcpy(n->file.val, from->file, NAME_ROOM);
	__builtin_memcpy(n->class_name.val, from->class_name, NAME_ROOM);
	__builtin_memcpy(n->function.val, from->function, NAME_ROOM);
	s->names_id = key;
	return 1;
}

/* ---- automata ---- */

struct automaton_run {
	void *rows;
	char *bytes;
	u32 state;
};

/* False where the generation has none. */
static __always_inline bool begin_run(struct automaton_run *r, u32 generation, u32 start, char *bytes)
{
	r->rows = bpf_map_lookup_elem(&automata, &generation);
	r->bytes = bytes;
	r->state = start;
	return r->rows;
}

/* What is true of what was read; NULL where that is nothing. */
static __always_inline struct automaton_row *end_run(struct automaton_run *r)
{
	return r->state ? bpf_map_lookup_elem(r->rows, &r->state) : NULL;
}

/* One array look-up for each byte. */
static __always_inline long automaton_next(struct automaton_run *r, u8 byte)
{
	struct automaton_row *row = bpf_map_lookup_elem(r->rows, &r->state);

	r->state = row ? row->next[byte] : 0;
	return !r->state;
}

static long automaton_step_name(u32 i, struct automaton_run *r)
{
	return automaton_next(r, r->bytes[i & (NAME_ROOM - 1)]);
}

static long automaton_step_path(u32 i, struct automaton_run *r)
{
	return automaton_next(r, r->bytes[i & (PATH_ROOM - 1)]);
}

/* Whether the automaton that starts at `state` accepts a path of the call. */
__noinline u32 path_accepted(struct scratch *s, u32 state, u32 second)
{
	struct automaton_run r = {};
	struct automaton_row *row;
	u32 len, flags;

	if (!s)
		return 0;
	flags = s->call.flags;
	if (flags &
	    (second ? CALL_PATH2_FAULT | CALL_PATH2_TRUNCATED : CALL_PATH_FAULT | CALL_PATH_TRUNCATED))
		return 0;
	len = second ? s->call.path2_len : s->call.path_len;
	if (len >= PATH_ROOM)
		return 0;
	if (!begin_run(&r, s->generation, state, second ? s->call.path2 : s->call.path))
		return 0;
	bpf_loop(len, automaton_step_path, &r, 0);
	row = end_run(&r);
	return row && (row->accept & ACCEPT);
}

struct slash_search {
	struct zname *file;
	u32 left;
	u32 at;
};

static long pass_slash(u32 i, struct slash_search *f)
{
	if (f->file->val[i & (NAME_ROOM - 1)] != '/')
		return 0;
	if (--f->left)
		return 0;
	f->at = i + 1;
	return 1;
}

/* Where what follows the root's directory begins; 0 where the name has not so many slashes. */
__noinline u32 after_slashes(struct zname *file, u32 slashes)
{
	struct slash_search f = {};

	if (!file || !slashes || file->len > NAME_CAP)
		return 0;
	f.file = file;
	f.left = slashes;
	bpf_loop(file->len, pass_slash, &f, 0);
	return f.at;
}

/* What the profile's roots and patterns say of a file name: into s->accept, s->generated, s->ways. */
__noinline int match_file(struct scratch *s, struct zname *file)
{
	struct automaton_run r = {};
	struct automaton_row *row;
	struct tables *t;
	u32 generation, i;

	if (!s || !file)
		return 0;
	s->accept = s->generated = 0;
	for (i = 0; i < WAYS_MAX - 1; i++)
		s->ways[i].root = 0;
	generation = s->generation;
	t = bpf_map_lookup_elem(&heads, &generation);
	if (!t || file->len > NAME_CAP)
		return 0;
	count(STAT_RESOLVED);
	if (!begin_run(&r, generation, t->names, file->val))
		return 0;
	bpf_loop(file->len, automaton_step_name, &r, 0);
	row = end_run(&r);
	if (!row)
		return 0;
	s->accept = row->accept;
	s->generated = row->generated;
	for (i = 0; i < WAYS_MAX - 1; i++) {
		u32 off = row->roots[i].root ? after_slashes(file, row->roots[i].slashes) : 0;

		s->ways[i].root = off ? row->roots[i].root : 0;
		s->ways[i].off = off;
	}
	return 0;
}

/* ---- ids under which the profile stores things ---- */

/* A site of s->names whose file begins at `off` in a root; without a kind, only the file. */
__noinline int rooted_id(struct scratch *s, struct zname *file, u32 way, struct hash128 *id)
{
	u32 kind, root, off, rest;

	if (!s || !file || !id || way >= WAYS_MAX - 1)
		return 0;
	kind = id->lo;
	root = s->ways[way].root;
	off = s->ways[way].off;
	if (file->len > NAME_CAP || off > file->len)
		return 0;
	rest = file->len - off;
	sip_init(&s->sip, ~hash_key[0], ~hash_key[1]);
	sip_word(&s->sip, root);
	if (kind)
		sip_word(&s->sip, (u64)kind << 48 | (u64)rest << 32 |
					  (s->names.class_name.len & 0xffff) << 16 |
					  (s->names.function.len & 0xffff));
	else
		sip_word(&s->sip, (u64)rest << 32);
	sip_name_from(&s->sip, file, off);
	if (kind) {
		sip_name(&s->sip, &s->names.class_name);
		sip_name(&s->sip, &s->names.function);
	}
	*id = sip_end(&s->sip);
	return 0;
}

/* The id of a path, as path_intern makes it. */
__noinline int file_id(struct scratch *s, struct zname *file, struct hash128 *id)
{
	if (!s || !file || !id)
		return 0;
	sip_init(&s->sip, hash_key[0], ~hash_key[1]);
	sip_word(&s->sip, file->len);
	sip_name(&s->sip, file);
	*id = sip_end(&s->sip);
	return 0;
}

/* ---- look-ups ---- */

/* Not inlined, like what follows: on 6.1 the stack of all callers together has 512 bytes. */
static __noinline struct policy *policy_of(struct scratch *s, u32 kind, struct hash128 *id, u32 node)
{
	struct policy_key k = {};

	k.id = *id;
	k.generation = s->generation;
	k.kind = kind;
	k.node = node;
	return bpf_map_lookup_elem(&policies, &k);
}

/* Remembered only where something is granted, or known: what is not is no way to fill the table. */
static __noinline void remember(struct scratch *s, u32 kind, struct hash128 *id, u32 node)
{
	struct scratch *own = own_scratch(s);
	struct policy_key k = {};

	k.id = *id;
	k.generation = s->generation;
	k.kind = kind;
	k.node = node;
	if (!own || has_no_room(bpf_map_update_elem(&policies, &k, &own->policy, BPF_NOEXIST)))
		count(STAT_RESOLVED_FULL); /* resolved again at the next call */
}

/* Adds what one entry allows to s->policy. */
__noinline u32 unite(struct scratch *s, u32 kind, struct hash128 *id, u32 node)
{
	struct policy *p, *all;
	u32 i;

	if (!s || !id)
		return 0;
	p = policy_of(s, kind, id, node);
	if (!p)
		return 0;
	all = &s->policy;
	for (i = 0; i < OP_WORDS; i++) {
		all->allowed[i] |= p->allowed[i];
		all->asking[i] |= p->asking[i];
	}
	all->flags |= p->flags;
	if (!p->owners[0])
		return 1;
	for (i = 0; i < WAYS_MAX; i++) {
		if (all->owners[i])
			continue;
		all->owners[i] = p->owners[0];
		break;
	}
	return 1;
}

/* What one id has at the nodes of the present context: into s->policy. */
__noinline u32 unite_nodes(struct scratch *s, u32 kind, struct hash128 *id)
{
	u32 found = 0, i;

	if (!s || !id)
		return 0;
	for (i = 0; i < NODES_MAX; i++) {
		if (i >= s->nodes_len)
			break;
		found |= unite(s, kind, id, s->nodes[i]);
	}
	return found;
}

/* Everything that the profile has under a name of the site in s->names, as it was called. */
__noinline u32 unite_site(struct scratch *s, struct hash128 *id)
{
	struct hash128 other = {};
	u32 found = 0, i;

	if (!s || !id)
		return 0;
	__builtin_memset(&s->policy, 0, sizeof(s->policy));
	match_file(s, &s->names.file);
	if (!(s->accept & ACCEPT_TRUSTED))
		return 0;
	if (s->generated) {
		/* whoever calls it */
		other.lo = s->generated;
		return unite(s, POLICY_GENERATED, &other, 0);
	}
	if (s->accept & ACCEPT_EVALUATED)
		return 0;
	found = unite_nodes(s, POLICY_EXACT, id);
	for (i = 0; i < WAYS_MAX - 1; i++) {
		if (!s->ways[i].root)
			continue;
		other.lo = s->names.kind;
		other.hi = 0;
		rooted_id(s, &s->names.file, i, &other);
		found |= unite_nodes(s, POLICY_ROOTED, &other);
	}
	return found;
}

/* ---- where programs and sites come from: a tree of those before them ---- */

/* The ids under which the profile may have the site of an origin's link. */
__noinline int find_candidates(struct scratch *s, struct origin_link *link)
{
	struct hash128 id;
	u32 i, n = 1;

	if (!s || !link)
		return 0;
	s->candidates[0] = link->site;
	s->candidates_len = 1;
	if (!s->patterned || !has_file(link->kind))
		return 0;
	id = link->site;
	if (!recall_names(s, &id)) {
		s->candidates_len = 0; /* its names were not kept: fails closed */
		return 0;
	}
	match_file(s, &s->names.file);
	if (!(s->accept & ACCEPT_TRUSTED)) {
		s->candidates_len = 0;
		return 0;
	}
	for (i = 0; i < WAYS_MAX - 1; i++) {
		if (!s->ways[i].root)
			continue;
		id.lo = s->names.kind;
		id.hi = 0;
		rooted_id(s, &s->names.file, i, &id);
		s->candidates[n & (WAYS_MAX - 1)] = id;
		n++;
	}
	s->candidates_len = n;
	return 0;
}

struct edges {
	struct scratch *s;
	struct origin_link *link;
};

/* One (node, candidate) of the present step. */
static long follow_edge(u32 i, struct edges *e)
{
	u32 at = i / WAYS_MAX, candidate = i % WAYS_MAX, len;
	struct scratch *s = e->s;
	struct node_key k = {};
	u32 *next;

	if (at >= NODES_MAX || at >= s->nodes_len)
		return 1;
	if (candidate >= s->candidates_len)
		return 0;
	k.site = s->candidates[candidate];
	k.sink = e->link->sink;
	k.generation = s->generation;
	k.node = s->nodes[at];
	k.kind = candidate ? POLICY_ROOTED : POLICY_EXACT;
	next = bpf_map_lookup_elem(&nodes, &k);
	if (!next)
		return 0;
	len = s->next_len;
	if (len >= NODES_MAX)
		return 1; /* more ways than are followed: the others are not granted */
	s->next_nodes[len] = *next;
	s->next_len = len + 1;
	return 0;
}

/* One step, from all nodes at once. */
__noinline int follow_link(struct scratch *s, struct origin_link *link)
{
	struct edges e;
	u32 i;

	if (!s || !link)
		return 0;
	find_candidates(s, link);
	e.s = s;
	e.link = link;
	s->next_len = 0;
	bpf_loop(NODES_MAX * WAYS_MAX, follow_edge, &e, 0);
	for (i = 0; i < NODES_MAX; i++)
		s->nodes[i] = s->next_nodes[i];
	s->nodes_len = s->next_len;
	return 0;
}

/* The nodes of the origins' tree that an origin means: into s->nodes. */
static __always_inline int find_origin_nodes(struct scratch *s)
{
	struct hash128 at;
	u32 i, n = 0;

	if (!s)
		return 0;
	s->nodes[0] = 0;
	s->nodes_len = 1;
	at = s->call.who.origin;
	for (i = 0; i < ORIGIN_MAX; i++) {
		struct origin_link *link;

		if (hash_is_zero(&at))
			break;
		link = bpf_map_lookup_elem(&origins, &at);
		if (!link) {
			s->nodes_len = 0;
			return 0;
		}
		s->links[i & (ORIGIN_MAX - 1)] = at;
		n = i + 1;
		at = link->parent;
	}
	if (!hash_is_zero(&at)) {
		s->nodes_len = 0;
		return 0;
	}
	for (i = 0; i < ORIGIN_MAX; i++) {
		struct origin_link *link;

		if (i >= n)
			break;
		at = s->links[(n - 1 - i) & (ORIGIN_MAX - 1)];
		link = bpf_map_lookup_elem(&origins, &at);
		if (!link) {
			s->nodes_len = 0;
			return 0;
		}
		follow_link(s, link);
	}
	return 0;
}

/* The nodes that the call's site has by its callers, nearest first: into s->nodes. */
static __always_inline void find_caller_nodes(struct scratch *s)
{
	u32 i;

	s->nodes[0] = 0;
	s->nodes_len = 1;
	for (i = 0; i + 1 < context_frames && i < CONTEXT_MAX; i++) {
		if (i >= s->call.callers_len)
			break;
		__builtin_memset(&s->link, 0, sizeof(s->link));
		s->link.site = s->call.callers[i];
		s->link.kind = SITE_FUNCTION; /* one that has a file: which one its id says */
		follow_link(s, &s->link);
	}
}

__noinline u32 resolve_site(struct scratch *s)
{
	struct hash128 id;

	if (!s)
		return 0;
	find_caller_nodes(s);
	id = s->call.site;
	return recall_names(s, &id) && unite_site(s, &id);
}

static __always_inline struct policy *site_policy(struct scratch *s)
{
	struct hash128 id = *context_id(s);
	struct policy *p;

	if (!has_callers(&s->call) && (!s->patterned || !has_file(s->call.site_kind)))
		return policy_of(s, POLICY_EXACT, &id, 0);
	if (context_frames > 1 && has_unknown_context(&s->call))
		return NULL; /* who has called it could not be told: fails closed */
	p = policy_of(s, POLICY_RESOLVED, &id, 0);
	if (p)
		return p;
	if (!resolve_site(s))
		return NULL;
	remember(s, POLICY_RESOLVED, &id, 0);
	return &s->policy;
}

__noinline u32 unite_program(struct scratch *s)
{
	struct hash128 program;

	if (!s)
		return 0;
	program = s->call.who.program;
	find_origin_nodes(s);
	__builtin_memset(&s->policy, 0, sizeof(s->policy));
	return unite_nodes(s, POLICY_PROGRAM, &program);
}

static __always_inline struct policy *program_policy(struct scratch *s)
{
	struct who *w = &s->call.who;
	struct hash128 id;
	struct policy *p;

	/* Keyed hashes: nobody outside can make two of these sums meet. */
	id.lo = w->program.lo + 3 * w->origin.lo;
	id.hi = w->program.hi + 3 * w->origin.hi;
	p = policy_of(s, POLICY_RESOLVED, &id, NODE_RESOLVED);
	if (p)
		return p;
	if (!unite_program(s))
		return NULL;
	remember(s, POLICY_RESOLVED, &id, NODE_RESOLVED);
	return &s->policy;
}

/* ---- rules ---- */

struct rule_try {
	struct scratch *s;
	struct rules *rules;
	u32 nr;
};

static __always_inline bool runs_itself(struct scratch *s)
{
	struct sip_path_loop l = { .sip = &s->sip, .bytes = s->call.path };
	struct hash128 id;

	if (s->call.flags & (CALL_PATH_FAULT | CALL_PATH_TRUNCATED) || !s->call.path_len)
		return false;
	l.end = s->call.path_len;
	if (l.end >= PATH_ROOM)
		return false;
	sip_init(&s->sip, hash_key[0], ~hash_key[1]);
	sip_word(&s->sip, l.end);
	bpf_loop((l.end + 7) / 8, sip_path_word, &l, 0);
	id = sip_end(&s->sip);
	return same_hash(&id, &s->call.who.program);
}

static long try_rule(u32 i, struct rule_try *t)
{
	struct rule *r;
	u32 k;

	if (i >= RULES_MAX || i >= t->rules->n)
		return 1;
	r = &t->rules->rule[i];
	if (r->itself && !runs_itself(t->s))
		return 0;
	for (k = 0; k < RULE_PATHS_MAX; k++) {
		u32 nr = t->nr;

		if (!r->paths[k])
			continue;
		if (nr >= NR_MAX || !calls[bounded(nr)].path_arg || !path_accepted(t->s, r->paths[k], 0))
			return 0;
		if (calls[bounded(nr)].path2_arg && !path_accepted(t->s, r->paths[k], 1))
			return 0;
	}
	if (r->log) {
		t->s->rule_logs = 1;
		return 0;
	}
	t->s->rule_allows = 1;
	return 1;
}

/* What rules of one owner say: into s->rule_allows, s->rule_logs. */
__noinline int ask_rules(struct scratch *s, u32 owner)
{
	struct rule_key k = {};
	struct rule_try t;

	if (!s)
		return 0;
	k.generation = s->generation;
	k.owner = owner;
	k.op = s->call.op;
	t.rules = bpf_map_lookup_elem(&rules, &k);
	if (!t.rules)
		return 0;
	t.s = s;
	t.nr = s->call.op >> CLASS_BITS;
	bpf_loop(RULES_MAX, try_rule, &t, 0);
	return 0;
}

/* ---- decisions ---- */

static __always_inline u32 op_info_of(u32 op)
{
	return op_info[op & (OPS_MAX - 1)];
}

static __always_inline bool bit_is_set(const u64 *words, u32 index)
{
	u32 bit = index - 1; /* of OP_INDEX: from 1 */

	return index && words[(bit / 64) & (OP_WORDS - 1)] & (1ULL << (bit % 64));
}

/* Allowed whatever the arguments are. */
static __always_inline bool allows_plainly(struct policy *p, u32 op)
{
	return p && bit_is_set(p->allowed, op_info_of(op) & OP_INDEX);
}

/* Whom the call's permission depends on: the site for PHP, the program for descendants, both for both. */
static __always_inline bool by_site(struct who *w)
{
	return w->image || (w->proc_flags & PROC_UNINTROSPECTED);
}

static __always_inline bool by_program(struct who *w)
{
	return !by_site(w) || !hash_is_zero(&w->origin) || (w->proc_flags & PROC_ORIGIN_UNKNOWN);
}

/* Whether an allowed call of this operation may still reach a protected object by its path. */
static __always_inline bool paths_matter(struct rec_call *c)
{
	u32 info = op_info_of(c->op);

	return (info & (OP_PROTECTS | OP_MOVES)) || ((exposed || !c->who.uid) && (info & OP_REMOVES));
}

/* Calls whose argument is a process, and signals to everybody from who may signal the tracer. */
static __always_inline bool reaches_tracer(struct rec_call *c)
{
	struct control *now = control_now();
	u32 nr = c->op >> CLASS_BITS, tracer, i;

	if (nr >= NR_MAX || !calls[bounded(nr)].pid_args || !now)
		return false;
	tracer = now->tracer;
	if (!tracer)
		return false; /* adopted by nobody: there is none to reach */
	if (c->target_pid == tracer)
		return true;
	for (i = 0; i < 6; i++) {
		u32 pid = arg_of(c, i);

		if (!(calls[bounded(nr)].pid_args & (1 << i)))
			continue;
		if (pid == tracer ||
		    (calls[bounded(nr)].class_kind == CLASS_KILL && (s32)pid < 0 && c->who.uid == 0))
			return true;
	}
	return false;
}

/* The first eight bytes of a text, for comparing. */
static __always_inline u64 start_of(const char *text)
{
	u64 word;

	__builtin_memcpy(&word, text, sizeof(word));
	return word;
}

/* Below one of the tracer's folders: its pins and its socket. */
static __always_inline bool is_in_own_folder(struct zname *n)
{
	const u64 *w = (const u64 *)n->val;

	if (w[0] == start_of("/run/php"))
		return w[1] == start_of("-tracer/");
	return w[0] == start_of("/sys/fs/") && w[1] == start_of("bpf/php-") &&
	       (w[2] & ~(0xffULL << 56)) == (start_of("tracer/.") & ~(0xffULL << 56));
}

/* A file name of the call in s->file: 0 where it is no script and none of the tracer's. */
__noinline u32 script_flags(struct scratch *s)
{
	struct hash128 id = {};
	struct policy *p;
	u32 flags = 0, i;

	if (!s || !s->file.len || s->file.len > NAME_CAP)
		return 0;
	if (is_in_own_folder(&s->file))
		return POLICY_IS_OWN;
	file_id(s, &s->file, &id);
	p = policy_of(s, POLICY_SCRIPT_EXACT, &id, 0);
	if (p)
		flags = p->flags;
	if (!s->patterned)
		return flags;
	match_file(s, &s->file);
	if (!(s->accept & ACCEPT_TRUSTED))
		return flags & (POLICY_IS_OWN | POLICY_IS_ABOVE);
	if (s->accept & ACCEPT_ABOVE)
		flags |= POLICY_IS_ABOVE;
	for (i = 0; i < WAYS_MAX - 1; i++) {
		if (!s->ways[i].root)
			continue;
		id.lo = id.hi = 0;
		rooted_id(s, &s->file, i, &id);
		p = policy_of(s, POLICY_SCRIPT_ROOTED, &id, 0);
		if (p)
			flags |= p->flags;
	}
	return flags;
}

/* Files that are generated are known by their patterns. */
static __always_inline u32 knows_file(struct scratch *s)
{
	struct hash128 id = {};

	if (!s->patterned)
		return script_flags(s) & POLICY_IS_KNOWN ? FILE_KNOWN : is_foreign(s);
	file_id(s, &s->file, &id);
	if (policy_of(s, POLICY_FILE, &id, 0))
		return FILE_KNOWN;
	s->accept = s->generated = 0; /* where script_flags() does not ask the patterns */
	if (!(script_flags(s) & POLICY_IS_KNOWN) && !((s->accept & ACCEPT_TRUSTED) && s->generated))
		return is_foreign(s);
	remember(s, POLICY_FILE, &id, 0);
	return FILE_KNOWN;
}

/* What the path that was climbed is, from `off` on: enum policy_flags. One that is too long for a script's is none. */
static __always_inline u32 climbed_flags(struct scratch *s, u32 off)
{
	u32 len = PATH_ROOM - off;

	opaque(len);
	if (len > NAME_CAP)
		return 0;
	bpf_probe_read_kernel(s->file.val, len, &s->path[off & (PATH_ROOM - 1)]);
	s->file.len = len;
	return script_flags(s);
}

/* What a path of the call is: enum policy_flags. Names that are too long for a script's are none. */
__noinline u32 path_flags(struct scratch *s, u32 second)
{
	u32 len, flags;

	if (!s)
		return 0;
	flags = s->call.flags;
	if (flags &
	    (second ? CALL_PATH2_FAULT | CALL_PATH2_TRUNCATED : CALL_PATH_FAULT | CALL_PATH_TRUNCATED))
		return 0;
	len = second ? s->call.path2_len : s->call.path_len;
	if (!len || len > NAME_CAP)
		return 0;
	s->file.len = len;
	__builtin_memcpy(s->file.val, second ? s->call.path2 : s->call.path, NAME_ROOM);
	return script_flags(s);
}

/*
 * Which paths of a call stay where and what they are: what a symbolic link leads to, and of mount, in the order in
 * which the kernel tells its kinds.
 */
static __always_inline bool stays(struct rec_call *c, u32 second)
{
	u32 flags = c->args[MOUNT_FLAGS], nr = c->op >> CLASS_BITS;

	if (nr == SYS_symlink || nr == SYS_symlinkat)
		return !second;
	if (nr != SYS_mount)
		return false;
	if (flags & MS_REMOUNT)
		return true;
	if (flags & MS_BIND)
		return !second;
	if (flags & MS_PROPAGATION)
		return true;
	return !second && !(flags & MS_MOVE);
}

static __always_inline u32 reached_by(struct scratch *s, u32 second)
{
	u32 flags = path_flags(s, second) | (PATHS_FROM_KERNEL ? s->inside[second & 1] : 0);

	return stays(&s->call, second) ? flags & ~POLICY_IS_ABOVE : flags;
}

static __always_inline bool is_called_mem(struct rec_call *c)
{
	const u32 shortest = sizeof("/proc/1/mem") - 1, mask = PATH_ROOM - 1;
	u32 len = c->path_len;
	char *p = c->path;

	return len >= shortest && len < PATH_ROOM && p[(len - 4) & mask] == '/' &&
	       p[(len - 3) & mask] == 'm' && p[(len - 2) & mask] == 'e' && p[(len - 1) & mask] == 'm';
}

/*
 * PHP code that writes there changes what runs, past everything that is looked at. A hook tells by the file system; by
 * its text a path is one only where procfs usually is, and user space finds the others.
 */
static __always_inline bool is_memory_of_a_process(struct scratch *s)
{
	char *p = s->call.path;

	if (PATHS_FROM_KERNEL)
		return s->is_memory;
	return is_called_mem(&s->call) && p[0] == '/' && p[1] == 'p' && p[2] == 'r' && p[3] == 'o' &&
	       p[4] == 'c' && p[5] == '/';
}

/*
 * As far as the path's own text tells: where a link or a relative path leads, user space finds out, after
 * the call (CALL_REVIEW).
 */
static __always_inline bool reaches_protected(struct scratch *s)
{
	u32 info = op_info_of(s->call.op), found = reached_by(s, 0) | reached_by(s, 1), forbids = 0;

	/* Text of more than fits, which could change a script: not told, so denied. A resolved one is no script's. */
	if (!PATHS_FROM_KERNEL && (info & (OP_PROTECTS | OP_MOVES)) &&
	    (s->call.flags & (CALL_PATH_TRUNCATED | CALL_PATH2_TRUNCATED)))
		return true;
	if ((info & OP_PROTECTS) && by_site(&s->call.who) && is_memory_of_a_process(s))
		return true;
	if (PATHS_FROM_KERNEL && (info & OP_PROTECTS) && s->is_script)
		return true;
	if (info & OP_PROTECTS)
		forbids |= POLICY_IS_SCRIPT | POLICY_IS_OWN;
	if (info & OP_REMOVES)
		forbids |= POLICY_IS_OWN;
	if (info & OP_MOVES)
		forbids |= POLICY_IS_OWN | POLICY_IS_ABOVE;
	return found & forbids;
}

/* Made and closed to find out whether there is IPv6 at all. It reaches nobody: that has to be granted. */
static __always_inline bool is_probe_of_ipv6(struct rec_call *c)
{
	return ((u32)c->args[SOCKET_TYPE] & ~SOCK_FLAGS) == SOCK_DGRAM && !(u32)c->args[SOCKET_PROTOCOL];
}

/*
 * What PHP does once in each process, on behalf of whoever comes first: the pattern compiler's code memory (and the
 * JIT's, whenever a function gets hot), time zones, locales and random bytes, a probe for IPv6, and compiling a script
 * of the profile (an `include`, which has no sink). For code in files of the profile only.
 */
__noinline u32 once_per_process(struct scratch *s)
{
	u32 nr, class, generation;
	struct tables *t;
	struct rec_call *c;
	struct hash128 id;

	if (!s)
		return 0;
	c = &s->call;
	nr = c->op >> CLASS_BITS;
	class = c->op & ((1 << CLASS_BITS) - 1);
	generation = s->generation;
	if (nr == SYS_mmap) {
		if (class != MEM_EXEC || (u32)c->args[MMAP_FD] != (u32)-1)
			return 0;
	} else if (nr == SYS_mprotect) {
		if (class != MEM_EXEC || c->args[MPROTECT_PROT] != READ_EXEC)
			return 0;
	} else if (nr == SYS_socket) {
		if (class != FAMILY_INET6 || !is_probe_of_ipv6(c))
			return 0;
	} else if ((nr == SYS_open || nr == SYS_openat) && class == OPEN_READ) {
		t = bpf_map_lookup_elem(&heads, &generation);
		if (!(t && path_accepted(s, t->once, 0)) &&
		    !(!s->have_sink && hash_is_zero(&c->sink) && (reached_by(s, 0) & POLICY_IS_SCRIPT)))
			return 0;
	} else {
		return 0;
	}
	id = c->site;
	if (!has_file(c->site_kind) || !recall_names(s, &id))
		return 0;
	s->file.len = s->names.file.len;
	__builtin_memcpy(s->file.val, s->names.file.val, NAME_ROOM);
	return script_flags(s) & POLICY_IS_SCRIPT;
}

/* By a policy, with the call's arguments: enum reason. */
static __always_inline u32 decide_by(struct scratch *s, struct policy *p, u32 missing)
{
	struct rec_call *c = &s->call;
	u32 op = c->op, index = op_info_of(op) & OP_INDEX, i;
	u32 owners[WAYS_MAX];

	if (op == NR_FOREIGN << CLASS_BITS)
		return REASON_FOREIGN_ABI;
	if (op >> CLASS_BITS == SYS_bpf)
		return REASON_PROTECTED;
	if (!p)
		return missing;
	if (p->flags & POLICY_IS_MASTER)
		c->flags |= CALL_NEVER_KILL;
	if (bit_is_set(p->allowed, index))
		return REASON_NONE;
	if (!bit_is_set(p->asking, index))
		return REASON_OPERATION;
	for (i = 0; i < WAYS_MAX; i++)
		owners[i] =
			p->owners
				[i]; /* `p` may be s->policy, which asking does not change; a map's entry stays */
	s->rule_allows = s->rule_logs = 0;
	for (i = 0; i < WAYS_MAX; i++) {
		if (!owners[i])
			break;
		ask_rules(s, owners[i]);
		if (s->rule_allows)
			return REASON_NONE;
	}
	if (s->rule_logs)
		c->flags |= CALL_LOG_ONLY;
	return REASON_OPERATION;
}

static __always_inline u32 decide_site(struct scratch *s)
{
	u32 reason;

	if (s->call.site_kind == SITE_UNKNOWN)
		return s->call.unknown & UNK_TAINTED ? REASON_TAINTED : REASON_UNKNOWN_SITE;
	reason = decide_by(s, site_policy(s), has_callers(&s->call) ? REASON_CONTEXT : REASON_SITE);
	if (reason && once_per_process(s)) {
		s->call.flags &= ~(CALL_LOG_ONLY | CALL_NEVER_KILL);
		reason = REASON_NONE;
	}
	return !reason && has_unknown_context(&s->call) ? REASON_CONTEXT : reason;
}

static __always_inline u32 decide_program(struct scratch *s)
{
	if (s->call.who.proc_flags & PROC_ORIGIN_UNKNOWN)
		return REASON_UNKNOWN_SITE;
	return decide_by(s, program_policy(s), REASON_PROGRAM);
}

/* Allowed whatever its arguments are, for whoever asks: one look-up, and nothing of the call is read. */
static __always_inline bool allowed_plainly(struct scratch *s)
{
	struct rec_call *c = &s->call;
	u32 op = c->op;

	if (paths_matter(c) || reaches_tracer(c) || has_unknown_context(c))
		return false;
	if (by_site(&c->who) && (c->site_kind == SITE_UNKNOWN || !allows_plainly(site_policy(s), op)))
		return false;
	return !by_program(&c->who) ||
	       (!(c->who.proc_flags & PROC_ORIGIN_UNKNOWN) && allows_plainly(program_policy(s), op));
}

static __always_inline u32 decide_call(struct scratch *s)
{
	struct rec_call *c = &s->call;
	u32 reason = REASON_NONE;

	c->flags |= CALL_DECIDED;
	if (by_site(&c->who))
		reason = decide_site(s);
	if (!reason && by_program(&c->who))
		reason = decide_program(s);
	if (reason)
		return reason;
	if (reaches_tracer(c))
		return REASON_PROTECTED;
	if (!paths_matter(c))
		return REASON_NONE;
	if (reaches_protected(s))
		return REASON_PROTECTED;
	if (!PATHS_FROM_KERNEL)
		c->flags |= CALL_REVIEW;
	return REASON_NONE;
}

#endif
