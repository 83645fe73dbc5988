/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The walk: from executor_globals.current_execute_data along prev_execute_data, to
 * the nearest user frame (the site) and, where asked for, further (the chain).
 *
 * A read that faults makes its field *unknown*, never absent: file, class,
 * function, type or link make the site {unknown}; a line only goes unshown.
 */
#ifndef PHP_WALK_BPF_H
#define PHP_WALK_BPF_H

/* Same in PHP 7.4 to 8.5. */
enum php_offsets {
	EX_OPLINE = 0, /* indices into scratch.frame, in words */
	EX_FUNC = 3,
	EX_PREV = 6,
	FN_FLAGS = 4, /* bytes, in zend_function */
	FN_NAME = 8,
	FN_SCOPE = 16,
	FN_HEAD = 24,
	OP_LINENO = 24,
	OP_SIZE = 32,
	CE_NAME = 1, /* words, in zend_class_entry */
	CE_FLAGS = 28, /* bytes */
	CE_ANON = 1 << 2,
	ZSTR_LEN = 16,
	ZSTR_HEAD = 24,
	FN_TRAMPOLINE = 1 << 18,
	FN_INTERNAL = 1,
	FN_USER = 2,
	FN_EVAL = 4,
};

/* Frames of the chain that a call record carries, and whether it does at all. */
const volatile u32 chain_limit = CHAIN_MAX;

/* The name at `zstr`, which the process has not touched yet. */
static __always_inline int read_shared_name(struct zname *n, u64 zstr)
{
	u64 len;

	n->len = 0;
	if (!read_shared((u64 *)n, zstr, ZSTR_HEAD / 8))
		return -1;
	len = n->len;
	n->len = 0;
	if (len > NAME_CAP)
		return UNK_LONG;
	if (!read_shared((u64 *)n, zstr, (ZSTR_HEAD + len + 7) / 8))
		return -1;
	return 0;
}

/* The name at `zstr`. One read in the common case; two where the page ends behind the string. */
__noinline int read_name(struct zname *n, u64 zstr)
{
	if (!n)
		return UNK_FUNCTION;
	n->len = 0;
	if (!zstr)
		return 0;
	if (bpf_probe_read_user(n, ZSTR_HEAD + NAME_ROOM, (void *)zstr)) {
		u64 len;

		if (bpf_probe_read_user(n, ZSTR_HEAD, (void *)zstr))
			return read_shared_name(n, zstr);
		len = n->len;
		if (len > NAME_CAP)
			goto fault; /* and what an anonymous class begins with was not read */
		opaque(len);
		if (len > NAME_CAP || bpf_probe_read_user(n->val, len, (void *)zstr + ZSTR_HEAD))
			return read_shared_name(n, zstr);
	}
	if (n->len > NAME_CAP)
		goto too_long;
	return 0;
too_long:
	n->len = 0;
	return UNK_LONG;
fault:
	n->len = 0;
	return -1;
}

struct nul_loop {
	struct zname *name;
	u32 at;
};

static long find_nul(u32 i, struct nul_loop *l)
{
	if (i >= NAME_ROOM || !l->name->val[i & (NAME_ROOM - 1)]) {
		l->at = i;
		return 1;
	}
	return 0;
}

/* Anonymous classes: `class@anonymous`, NUL, where they were declared. Only the first part is a name. */
__noinline int cut_at_nul(struct zname *n)
{
	struct nul_loop l;

	if (!n)
		return 0;
	l.name = n;
	l.at = n->len;
	bpf_loop(n->len, find_nul, &l, 0);
	if (l.at < n->len)
		n->len = l.at;
	return 0;
}

static __always_inline u64 func_u64(struct scratch *s, u32 off)
{
	return off <= sizeof(s->func) - 8 ? *(u64 *)&s->func[off] : 0;
}

static __always_inline void read_class(struct scratch *s, u64 scope)
{
	struct names *n = &s->names;
	int err;

	if (!scope)
		return;
	if (bpf_probe_read_user(s->class_entry, sizeof(s->class_entry), (void *)scope) &&
	    !read_shared(s->class_entry, scope, sizeof(s->class_entry) / 8)) {
		n->fault_class_entry = scope;
		n->unknown |= UNK_CLASS;
		return;
	}
	err = read_name(&n->class_name, s->class_entry[CE_NAME]);
	if ((s->class_entry[CE_FLAGS / 8] >> 32) & CE_ANON) {
		/* its name is longer than the cap where its file's is; what counts comes first */
		if (err == UNK_LONG) {
			n->class_name.len = NAME_CAP;
			err = 0;
		}
		cut_at_nul(&n->class_name);
	}
	if (err == UNK_LONG)
		n->unknown |= UNK_LONG;
	else if (err) {
		n->fault_class = s->class_entry[CE_NAME];
		n->unknown |= UNK_CLASS;
	}
}

/* Names of the function in s->func into s->names. */
__noinline int read_function(struct scratch *s, struct image *img)
{
	struct names *n;
	u32 type, flags;
	u64 file, function;
	int err;

	if (!s || !img)
		return 0;
	n = &s->names;
	s->names_id.lo = s->names_id.hi = 0; /* nobody's, until they are interned */
	type = s->func[0];
	flags = *(u32 *)&s->func[FN_FLAGS];
	function = func_u64(s, FN_NAME);
	if (type == FN_INTERNAL) {
		names_clear(n, (flags & FN_TRAMPOLINE) || !func_u64(s, img->module) ? SITE_TRAMPOLINE
										    : SITE_INTERNAL);
	} else {
		u32 closure = img->acc_closure;

		names_clear(n, SITE_FUNCTION);
		if (flags & FN_TRAMPOLINE)
			n->kind = SITE_TRAMPOLINE;
		else if (!function)
			n->kind = SITE_MAIN; /* its scope is inherited from the includer and means nothing */
		else if ((flags & closure) && !(flags & (closure << 1)))
			n->kind = SITE_CLOSURE; /* not FAKE_CLOSURE: that one is the function itself */
		file = func_u64(s, img->filename);
		err = file ? read_name(&n->file, file) : -1;
		if (err == UNK_LONG) {
			n->unknown |= UNK_LONG;
		} else if (err || !n->file.len) {
			n->fault_file = file;
			n->unknown |= UNK_FILE;
		}
		if (n->kind == SITE_MAIN || n->kind == SITE_CLOSURE)
			return 0;
	}
	err = read_name(&n->function, function);
	if (err == UNK_LONG) {
		n->unknown |= UNK_LONG;
	} else if (err) {
		n->fault_function = function;
		n->unknown |= UNK_FUNCTION;
	}
	read_class(s, func_u64(s, FN_SCOPE));
	return 0;
}

static __always_inline u32 read_line(struct scratch *s, struct image *img)
{
	u64 opline = s->frame[EX_OPLINE], opcodes = func_u64(s, img->opcodes);
	u32 last = img->last <= sizeof(s->func) - 4 ? *(u32 *)&s->func[img->last] : 0;
	u32 line = 0;

	/* Outside the function's own code (an exception is being thrown): a line would be a guess. */
	if (opline < opcodes || opline >= opcodes + (u64)last * OP_SIZE)
		return 0;
	if (bpf_probe_read_user(&line, sizeof(line), (void *)opline + OP_LINENO)) {
		count(STAT_LINE_FAULT);
		return 0;
	}
	return line;
}

/* The names that could be read and the addresses of the others, for user space to try once more. */
static __always_inline void tell_partial(struct scratch *s)
{
	struct rec_partial *r = &s->out.partial;
	struct names *n = &s->names;

	r->pid = s->call.who.pid;
	r->tid = s->call.who.tid;
	r->fault_file = n->fault_file;
	r->fault_function = n->fault_function;
	r->fault_class = n->fault_class;
	r->fault_class_entry = n->fault_class_entry;
	names_copy(&r->name, n);
	rec_init(&r->h, REC_PARTIAL, sizeof(*r));
	/* at once: a short-lived process may be gone before it is read once more */
	emit_with(&r->h, sizeof(*r), s->may_kill, BPF_RB_FORCE_WAKEUP);
}

static __always_inline u32 is_user(u32 type)
{
	return type == FN_USER || type == FN_EVAL;
}

/*
 * One frame. Without want_chain: until the site is found. With it: names of every
 * frame into the record's chain. Returns 1 to stop.
 */
__noinline int walk_step(struct scratch *s, struct image *img)
{
	struct rec_call *c;
	u64 func;
	u32 type, len;

	if (!s || !img)
		return 1;
	c = &s->call;
	if (!s->next)
		return 1;
	if (bpf_probe_read_user(s->frame, sizeof(s->frame), (void *)s->next)) {
		c->unknown |= UNK_LINK;
		return 1;
	}
	s->next = s->frame[EX_PREV];
	s->depth++;
	func = s->frame[EX_FUNC];
	if (!func)
		return 0; /* a generator's placeholder */
	/* An internal function's structure is shorter and may end at a page's end. */
	if (bpf_probe_read_user(s->func, sizeof(s->func), (void *)func) &&
	    !read_shared((u64 *)s->func, func, sizeof(s->func) / 8)) {
		__builtin_memset(s->func, 0, sizeof(s->func));
		if (bpf_probe_read_user(s->func, FN_HEAD, (void *)func) || (s->func[0] & 1) == 0 ||
		    bpf_probe_read_user(s->func, 112, (void *)func)) {
			c->unknown |= UNK_FRAME;
			return 1;
		}
	}
	type = s->func[0];
	if (type != FN_INTERNAL && !is_user(type)) {
		c->unknown |= UNK_TYPE;
		return 1;
	}
	if (type == FN_INTERNAL && !func_u64(s, FN_NAME))
		return 0; /* the bottom of a fiber */
	if (s->want_chain) {
		struct hash128 id = {};
		struct frame *f;

		len = c->chain_len;
		if (len >= CHAIN_MAX || len >= chain_limit) {
			c->flags |= CALL_CHAIN_TRUNCATED;
			return 1;
		}
		read_function(s, img);
		if (!s->names.unknown)
			s->names.unknown = names_intern(s, &id);
		f = &c->chain[len & (CHAIN_MAX - 1)];
		f->name = id;
		f->kind = s->names.kind;
		f->unknown = s->names.unknown;
		f->line = is_user(type) ? read_line(s, img) : 0;
		c->chain_len = len + 1;
		return 0;
	}
	if (type == FN_INTERNAL && s->have_sink)
		return 0;
	read_function(s, img);
	if (s->names.kind == SITE_TRAMPOLINE)
		return 0; /* its name is whatever the caller chose */
	if (type == FN_INTERNAL) {
		/* A sink is only shown, unless no user frame is left: then it is the key. */
		s->have_sink = 1;
		if (!s->names.unknown)
			names_intern(s, &c->sink);
		return 0;
	}
	s->have_site = 1;
	c->site_kind = s->names.kind;
	c->unknown |= s->names.unknown;
	if (!c->unknown)
		c->unknown |= names_intern(s, &c->site);
	c->line = read_line(s, img);
	if (!c->line)
		c->flags |= CALL_LINE_FAULT;
	return 1;
}

/*
 * Along the chain from s->next; false where it did not end within the limit. No callback:
 * of the eight frames that a program's call stack may have, reading shared memory takes five.
 */
static __always_inline bool walk_on(struct scratch *s, struct image *img)
{
	u32 i;

	for (i = 0; i < WALK_MAX; i++)
		if (walk_step(s, img))
			return true;
	return false;
}

/* ---- the site alone ---- */

/* --context N: so many user frames decide, the site among them. 1: the verifier drops all that is about callers. */
const volatile u32 context_frames = 1;

/* The site of the user function in s->func; 0 where only a walk in full can tell. */
static __always_inline u32 brief_site(struct scratch *s, struct image *img, struct recents *r, u64 function)
{
	struct rec_call *c = &s->call;
	bool is_kept = r && is_cached_code(r, function);

	read_function(s, img);
	if (s->names.unknown)
		return 0;
	c->site_kind = s->names.kind;
	if (!is_kept && context_frames == 1) {
		c->site = s->names_id = names_hash(s);
		return 1;
	}
	/* Its names are told: they will not be read again, or those of other frames follow them. */
	if (names_intern(s, &c->site))
		return 0;
	if (is_kept && s->names_kept)
		remember_site(r, function, c);
	return 1;
}

/*
 * One frame, until the nearest user frame: no names but its own, nothing that is only shown. Returns 1 to stop.
 */
__noinline int brief_step(struct scratch *s, struct image *img, struct recents *r)
{
	u64 function;
	u32 type, flags;
	bool whole;

	/* in scratch: with its callers and what it calls this is the longest stack */
	if (!s || !img || !s->next ||
	    bpf_probe_read_user(&s->frame[EX_FUNC], 8 * (EX_PREV - EX_FUNC + 1),
				(void *)s->next + 8 * EX_FUNC))
		return 1;
	s->next = s->frame[EX_PREV];
	function = s->frame[EX_FUNC];
	if (!function)
		return 0; /* a generator's placeholder */
	if (r) {
		struct recent *known = recent_of(r, function);

		if (known) {
			s->call.site = known->site;
			s->call.site_kind = known->kind;
			s->have_site = 1;
			return 1;
		}
	}
	/* An internal function's structure is shorter and may end at a page's end. */
	whole = !bpf_probe_read_user(s->func, sizeof(s->func), (void *)function);
	if (!whole && bpf_probe_read_user(s->func, FN_HEAD, (void *)function))
		return 1;
	type = s->func[0];
	flags = *(u32 *)&s->func[FN_FLAGS];
	if (flags & FN_TRAMPOLINE)
		return 0; /* its name is whatever the caller chose */
	if (type == FN_INTERNAL) {
		/* without a name: the bottom of a fiber */
		s->have_sink |= func_u64(s, FN_NAME) != 0;
		return 0;
	}
	s->have_site = whole && is_user(type) && brief_site(s, img, r, function);
	return 1;
}

/* A global function, as the other walk: its loop is verified once, not once for each way to it. */
__noinline u32 walk_briefly(struct scratch *s, struct image *img, struct recents *r)
{
	u64 ced = 0;
	u32 i;

	if (!s || !img || !s->eg ||
	    bpf_probe_read_user(&ced, sizeof(ced), (void *)(s->eg + img->current_execute_data)))
		return 0;
	s->next = ced;
	s->have_site = s->have_sink = 0;
	for (i = 0; i < WALK_MAX; i++)
		if (brief_step(s, img, r))
			break;
	return s->have_site;
}

/* ---- whether the opcode cache's code runs ---- */

/* One frame; returns 1 to stop. */
__noinline int reliance_step(struct scratch *s, struct image *img, struct recents *r)
{
	u64 function;

	if (!s || !img || !r || !s->next ||
	    bpf_probe_read_user(&s->frame[EX_FUNC], 8 * (EX_PREV - EX_FUNC + 1),
				(void *)s->next + 8 * EX_FUNC))
		return 1;
	s->next = s->frame[EX_PREV];
	function = s->frame[EX_FUNC];
	/* what cannot be read whole is internal */
	if (!function || bpf_probe_read_user(s->func, sizeof(s->func), (void *)function) ||
	    !is_user(s->func[0]))
		return 0;
	if (!is_taken_by_restarts(r, function, func_u64(s, img->filename), *(u32 *)&s->func[FN_FLAGS]))
		return 0;
	r->cache.relied_on = 1;
	return 1;
}

/* At any frame: also where the one that calls is a copy, or was loaded before all requests. */
static __always_inline void find_reliance(struct scratch *s, struct image *img, struct recents *r)
{
	u64 ced = 0;
	u32 i;

	if (!s->eg || bpf_probe_read_user(&ced, sizeof(ced), (void *)(s->eg + img->current_execute_data)))
		return;
	s->next = ced;
	for (i = 0; i < WALK_MAX; i++)
		if (reliance_step(s, img, r))
			break;
}

/* ---- all there is to say of a call ---- */

/* Where the engine's globals of this task are; 0 where it has none. */
static __always_inline u64 globals_at(u64 thread_pointer, struct image *img, u64 bias, u64 symbol)
{
	u64 cache = 0, off = 0;
	s64 tcb = img->tcb_offset;

	if (!(img->flags & IMAGE_ZTS))
		return bias + symbol;
	if ((img->flags & IMAGE_TCB_SLOT) && bpf_probe_read_user(&tcb, sizeof(tcb), (void *)(bias + tcb)))
		return 0;
	if (bpf_probe_read_user(&cache, sizeof(cache), (void *)(thread_pointer + tcb)) || !cache)
		return 0;
	if (bpf_probe_read_user(&off, sizeof(off), (void *)(bias + symbol)) || !off)
		return 0;
	return cache + off;
}

static __always_inline void count_unknown(u32 u)
{
	if (u & UNK_GLOBALS)
		count(STAT_UNK_GLOBALS);
	if (u & UNK_LINK)
		count(STAT_UNK_LINK);
	if (u & UNK_FRAME)
		count(STAT_UNK_FRAME);
	if (u & UNK_TYPE)
		count(STAT_UNK_TYPE);
	if (u & UNK_FILE)
		count(STAT_UNK_FILE);
	if (u & UNK_CLASS)
		count(STAT_UNK_CLASS);
	if (u & UNK_FUNCTION)
		count(STAT_UNK_FUNCTION);
	if (u & UNK_LONG)
		count(STAT_UNK_LONG);
	if (u & UNK_TRUNCATED)
		count(STAT_UNK_TRUNCATED);
	if (u & UNK_NO_IMAGE)
		count(STAT_UNK_NO_IMAGE);
	if (u & UNK_DRIFT)
		count(STAT_UNK_DRIFT);
}

enum { WALK_NO_CONTEXT, WALK_EMPTY, WALK_SITE, WALK_INTERNAL, WALK_UNKNOWN };

/* Finds the site; leaves it in s->call. */
__noinline u32 walk_once(struct scratch *s, struct image *img)
{
	struct rec_call *c;
	u64 ced = 0;

	if (!s || !img || !s->eg)
		return WALK_NO_CONTEXT;
	c = &s->call;
	if (bpf_probe_read_user(&ced, sizeof(ced), (void *)(s->eg + img->current_execute_data))) {
		c->unknown |= UNK_GLOBALS;
		return WALK_UNKNOWN;
	}
	if (!ced)
		return WALK_EMPTY;
	s->next = ced;
	s->depth = s->have_site = s->have_sink = s->want_chain = 0;
	if (!walk_on(s, img))
		c->unknown |= UNK_TRUNCATED;
	if (c->unknown)
		return WALK_UNKNOWN;
	if (s->have_site)
		return WALK_SITE;
	if (hash_is_zero(&c->sink)) {
		c->unknown |= UNK_FUNCTION;
		return WALK_UNKNOWN;
	}
	return WALK_INTERNAL;
}

/* Honest code would be {unknown} for what the kernel moves. What still cannot be read after waiting is. */
enum {
	WAITS_MOST = 3,
	UNK_UNREADABLE = UNK_GLOBALS | UNK_LINK | UNK_FRAME | UNK_FILE | UNK_CLASS | UNK_FUNCTION,
};

/* Where the walk could not read. */
static __always_inline u64 unreadable_at(struct scratch *s, struct image *img)
{
	u32 unknown = s->call.unknown;
	struct names *n = &s->names;

	if (unknown & UNK_GLOBALS)
		return s->eg + img->current_execute_data;
	if (unknown & UNK_LINK)
		return s->next;
	if (unknown & UNK_FRAME)
		return s->frame[EX_FUNC];
	if (n->fault_file)
		return n->fault_file;
	if (n->fault_function)
		return n->fault_function;
	return n->fault_class ? n->fault_class : n->fault_class_entry;
}

static __always_inline u32 walk_until_readable(struct scratch *s, struct image *img)
{
	u32 found = walk_once(s, img), i;

	for (i = 0; i < WAITS_MOST; i++) {
		if (!s->patient || found != WALK_UNKNOWN || !(s->call.unknown & UNK_UNREADABLE))
			return found;
		count(STAT_WALKS_AGAIN);
		if (!wait_for_memory(unreadable_at(s, img)))
			break;
		s->call.unknown &= ~UNK_UNREADABLE;
		found = walk_once(s, img);
	}
	s->patient = found != WALK_UNKNOWN;
	return found;
}

/* Of the site, where a walk found it, but not all of its names. */
static __always_inline void tell_unreadable_names(struct scratch *s)
{
	if (s->have_site && s->names.unknown && !(s->call.unknown & UNK_LONG))
		tell_partial(s);
}

/* Briefly where that is asked for and does it: s->brief is 0 where everything was found out. */
static __always_inline u32 walk_site(struct scratch *s, struct image *img, struct recents *r)
{
	u32 found;

	count(STAT_WALKS);
	if (s->brief && walk_briefly(s, img, r))
		return WALK_SITE;
	s->brief = s->have_site = 0;
	found = walk_until_readable(s, img);
	tell_unreadable_names(s);
	return found;
}

/* What a brief walk left out. The site is decided by then: should the frames have changed, it is told as unknown. */
static __always_inline void walk_rest(struct scratch *s, struct image *img)
{
	struct rec_call *c = &s->call;
	struct hash128 decided = c->site;
	u32 found;

	s->brief = s->have_site = 0;
	found = walk_until_readable(s, img);
	tell_unreadable_names(s);
	if (found == WALK_SITE && decided.lo == c->site.lo && decided.hi == c->site.hi)
		return;
	c->unknown |= UNK_LINK;
	c->site_kind = SITE_UNKNOWN;
	intern_special(s, SITE_UNKNOWN, 0, &c->site);
}

/* The whole chain, for people: after the site, and only for a call that is told in full. */
static __always_inline void walk_chain(struct scratch *s, struct image *img)
{
	struct rec_call *c = &s->call;
	u32 unknown = c->unknown;
	u64 ced = 0;

	c->chain_len = 0;
	if (!s->eg || bpf_probe_read_user(&ced, sizeof(ced), (void *)(s->eg + img->current_execute_data)) ||
	    !ced)
		return;
	s->next = ced;
	s->want_chain = 1;
	walk_on(s, img);
	c->unknown = unknown; /* the chain is only shown */
}

#endif
