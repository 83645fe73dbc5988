// SPDX-License-Identifier: GPL-2.0-only
/*
 * The walker on PHP's structures laid out here, with the offsets of PHP 8.2: what a
 * site is, and that a fault in any one field makes it {unknown} and nothing else.
 */
#include "shim.h"

enum { DECIDES_HERE = 0, PATHS_FROM_KERNEL = 0 };

#include "compat.bpf.h"
#include "siphash.h"
#include "emit.bpf.h"
#include "site.bpf.h"

static bool keep_names(struct scratch *s, struct hash128 *id)
{
	(void)s, (void)id;
	return true;
}

/* The kernel's page cache: has what faults, where it is shared. */
static bool is_shared;

static bool read_shared(u64 *to, u64 addr, u32 words)
{
	if (!is_shared || (addr & 7) || words > 32)
		return false;
	memcpy(to, (void *)addr, words * 8);
	return true;
}

/* What is remembered, where anything is. */
struct task {
	bool remembers;
	u32 request;
};

struct recent {
	u64 function;
	struct hash128 site;
	u64 kind;
};

struct recents {
	struct recent only;
	struct {
		u32 relied_on;
	} cache;
};

static struct recents memory;

static struct recents *recents_of(struct task *task, struct image *img)
{
	(void)img;
	return task && task->remembers ? &memory : NULL;
}

static struct recent *recent_of(struct recents *r, u64 function)
{
	return r->only.function == function ? &r->only : NULL;
}

static void remember_site(struct recents *r, u64 function, struct rec_call *c)
{
	r->only.function = function;
	r->only.site = c->site;
	r->only.kind = c->site_kind;
}

static bool is_cached_code(struct recents *r, u64 function)
{
	(void)r, (void)function;
	return true;
}

/* By a restart, of who runs this, or code of a file of this name. */
static u64 taken;

static bool is_taken_by_restarts(struct recents *r, u64 function, u64 file, u32 flags)
{
	(void)r, (void)flags;
	return function == taken || file == taken;
}

#include "memory.bpf.h"
#include "php_walk.bpf.h"

/* Everything is in the opcode cache; but for this. */
static u64 uncached;

struct cache_seen {
	u32 request;
};

static bool can_remember(struct task *task, struct image *img)
{
	(void)img;
	return task && task->request;
}

/* As where nothing tells of restarts: each request is another. */
static bool begins_anew(struct cache_seen *c, struct task *task)
{
	bool fresh = c->request != task->request;

	c->request = task->request;
	return fresh;
}

static bool is_cached(struct cache_seen *c, u64 address)
{
	(void)c;
	return address != uncached;
}

static u64 storage[256];

#define bpf_get_current_task_btf() NULL
#define bpf_task_storage_get(map, task, value, flags) ((void *)storage)

#include "context.bpf.h"

/* What the profile knows: whatever is in this folder, and how often it was asked. */
static int questions;

static u32 knows_file(struct scratch *s)
{
	questions++;
	return s->file.len > 5 && !memcmp(s->file.val, "/srv/", 5) ? FILE_KNOWN : is_foreign(s);
}

struct zstr {
	u64 refcount, h, len;
	char val[600];
};

struct class
{
	char type;
	struct zstr *name;
	u64 parent;
	u32 refcount, flags;
};

struct opline {
	u8 head[24];
	u32 line;
	u32 tail;
};

struct function {
	u8 raw[256];
};

struct ex {
	struct opline *opline;
	u64 call, ret;
	struct function *func;
	u64 this[2];
	struct ex *prev;
	u64 more[3];
};

static struct image php82 = {
	.id = 1,
	.acc_closure = 1 << 22,
	.current_execute_data = 8,
	.opcodes = 88,
	.last = 80,
	.filename = 152,
	.module = 80,
};

static struct {
	u64 pad;
	struct ex *current;
} globals;

static struct opline code[4] = { { .line = 10 }, { .line = 11 }, { .line = 12 }, { .line = 13 } };
static struct scratch work;

static struct zstr *string(const char *text, size_t len)
{
	struct zstr *s = calloc(1, sizeof(*s));

	s->len = len;
	memcpy(s->val, text, len < sizeof(s->val) ? len : sizeof(s->val));
	return s;
}

#define STRING(text) string(text, sizeof(text) - 1)

static void put(struct function *f, int at, const void *pointer)
{
	memcpy(&f->raw[at], &pointer, 8);
}

static struct function *user(struct zstr *name, struct zstr *file, struct class *scope, u32 flags)
{
	struct function *f = calloc(1, sizeof(*f));
	u32 last = 4;

	f->raw[0] = 2;
	memcpy(&f->raw[4], &flags, 4);
	put(f, 8, name);
	put(f, 16, scope);
	put(f, 88, code);
	memcpy(&f->raw[80], &last, 4);
	put(f, 152, file);
	return f;
}

static struct function *internal(struct zstr *name, int with_module, u32 flags)
{
	static int module;
	struct function *f = calloc(1, sizeof(*f));

	f->raw[0] = 1;
	memcpy(&f->raw[4], &flags, 4);
	put(f, 8, name);
	if (with_module)
		put(f, 80, &module);
	return f;
}

static struct ex *frame(struct function *f, struct ex *prev)
{
	struct ex *e = calloc(1, sizeof(*e));

	e->func = f;
	e->prev = prev;
	e->opline = &code[2];
	return e;
}

/*
 * The site alone is the same one; where the walk in full does not find it, it is not found, unless it was not told or
 * what could not be read of a frame was its line.
 */
static void walk_again_briefly(u32 found)
{
	static struct scratch full;
	bool brief;

	full = work;
	brief = walk_briefly(&work, &php82, NULL);
	if (found == WALK_SITE)
		CHECK(brief && !memcmp(&work.call.site, &full.call.site, sizeof(full.call.site)) &&
		      work.call.site_kind == full.call.site_kind);
	else if (!(full.call.unknown & (UNK_TABLE_FULL | UNK_LINK)))
		CHECK(!brief);
	work = full;
}

static u32 walk(struct ex *top)
{
	u32 found;

	memset(&work, 0, sizeof(work));
	globals.current = top;
	work.eg = (u64)&globals;
	work.may_kill = 1;
	found = walk_site(&work, &php82, NULL);
	walk_again_briefly(found);
	return found;
}

static struct rec_site *site_of(struct hash128 id)
{
	for (int i = 0; i < told_count; i++)
		if (told[i].hash.lo == id.lo && told[i].hash.hi == id.hi)
			return &told[i];
	return NULL;
}

static int named(struct hash128 id, u32 kind, const char *file, const char *class, const char *function)
{
	struct rec_site *r = site_of(id);

	return r && r->name.kind == kind && r->name.file_len == strlen(file) &&
	       !memcmp(r->name.file, file, strlen(file)) && r->name.class_len == strlen(class) &&
	       !memcmp(r->name.class_name, class, strlen(class)) &&
	       r->name.function_len == strlen(function) &&
	       !memcmp(r->name.function, function, strlen(function));
}

static struct zstr *file, *del, *unlink_name;
static struct class *store;
static struct ex *bottom;

static void what_a_site_is(void)
{
	struct ex *e;
	struct class anonymous = { 2, STRING("class@anonymous\0/srv/a.php:7$0"), 0, 1, 1 << 2 };

	CHECK(walk(NULL) == WALK_EMPTY);
	e = frame(internal(unlink_name, 1, 0), frame(user(del, file, store, 0), bottom));
	CHECK(walk(e) == WALK_SITE);
	CHECK(named(work.call.site, SITE_FUNCTION, "/srv/a.php", "Store", "del"));
	CHECK(named(work.call.sink, SITE_INTERNAL, "", "", "unlink"));
	CHECK(work.call.line == 12);
	/* top-level code; its scope is the includer's and means nothing */
	CHECK(walk(frame(user(NULL, file, store, 0), NULL)) == WALK_SITE);
	CHECK(named(work.call.site, SITE_MAIN, "/srv/a.php", "", ""));
	/* closures by flag, never by name; a fake closure is the function itself */
	CHECK(walk(frame(user(STRING("{closure:x():3}"), file, store, 1 << 22), bottom)) == WALK_SITE);
	CHECK(named(work.call.site, SITE_CLOSURE, "/srv/a.php", "", ""));
	CHECK(walk(frame(user(del, file, store, 3 << 22), bottom)) == WALK_SITE);
	CHECK(named(work.call.site, SITE_FUNCTION, "/srv/a.php", "Store", "del"));
	/* what comes behind the NUL is where it was declared */
	CHECK(walk(frame(user(del, file, &anonymous, 0), bottom)) == WALK_SITE);
	CHECK(named(work.call.site, SITE_FUNCTION, "/srv/a.php", "class@anonymous", "del"));
	/* no user frame is left: keyed by the sink */
	CHECK(walk(frame(internal(unlink_name, 1, 0), NULL)) == WALK_INTERNAL);
	/* placeholders and a fiber's bottom are skipped */
	CHECK(walk(frame(NULL, frame(internal(NULL, 1, 0), frame(user(del, file, NULL, 0), NULL)))) ==
	      WALK_SITE);
	CHECK(named(work.call.site, SITE_FUNCTION, "/srv/a.php", "", "del"));
}

static void forgeries(void)
{
	struct ex *user_frame = frame(user(del, file, store, 0), bottom);

	/* a trampoline has any name that its caller wants: neither sink nor site */
	CHECK(walk(frame(internal(STRING("forged"), 1, 1 << 18), user_frame)) == WALK_SITE);
	CHECK(hash_is_zero(&work.call.sink));
	CHECK(walk(frame(internal(STRING("forged"), 0, 0), user_frame)) == WALK_SITE);
	CHECK(hash_is_zero(&work.call.sink));
	CHECK(walk(frame(user(STRING("forged"), file, store, 1 << 18), user_frame)) == WALK_SITE);
	CHECK(named(work.call.site, SITE_FUNCTION, "/srv/a.php", "Store", "del"));
	/* the same letters, split otherwise, are another site */
	struct class ab = { 2, STRING("ab"), 0, 1, 0 }, a = { 2, STRING("a"), 0, 1, 0 };
	struct hash128 first;

	walk(frame(user(STRING("c"), file, &ab, 0), bottom));
	first = work.call.site;
	walk(frame(user(STRING("bc"), file, &a, 0), bottom));
	CHECK(first.lo != work.call.site.lo || first.hi != work.call.site.hi);
	/* what lies behind a name in memory is no part of it */
	struct zstr *dirty = STRING("del");

	memset(dirty->val + 3, 'x', 40);
	walk(frame(user(dirty, file, store, 0), bottom));
	CHECK(named(work.call.site, SITE_FUNCTION, "/srv/a.php", "Store", "del"));
	walk(user_frame);
	first = work.call.site;
	walk(frame(user(dirty, file, store, 0), bottom));
	CHECK(first.lo == work.call.site.lo && first.hi == work.call.site.hi);
}

static bool relies(struct ex *top, const void *on)
{
	struct recents r = {};

	memset(&work, 0, sizeof(work));
	globals.current = top;
	work.eg = (u64)&globals;
	taken = (u64)on;
	find_reliance(&work, &php82, &r);
	return r.cache.relied_on;
}

/* At any user frame of the chain, not only where the call is made. */
static void who_relies_on_the_cache(void)
{
	struct zstr *other = STRING("/srv/other.php"), *nobodys = STRING("/srv/x.php");
	struct function *cached = user(del, file, store, 0);
	struct ex *above = frame(
		internal(unlink_name, 1, 0),
		frame(NULL, frame(user(STRING("copy"), other, NULL, 1 << 22), frame(cached, bottom))));
	struct ex *deep = frame(cached, bottom);

	CHECK(relies(above, cached));
	CHECK(relies(above, other));
	CHECK(relies(above, file));
	CHECK(!relies(above, nobodys));
	CHECK(!relies(NULL, cached));
	for (int i = 0; i < WALK_MAX - 2; i++)
		deep = frame(user(STRING("copy"), other, NULL, 0), deep);
	CHECK(relies(deep, cached));
}

static void limits(void)
{
	char long_name[300];
	struct ex *e = bottom;

	memset(long_name, 'n', sizeof(long_name));
	CHECK(walk(frame(user(string(long_name, 255), file, NULL, 0), NULL)) == WALK_SITE);
	CHECK(walk(frame(user(string(long_name, 256), file, NULL, 0), NULL)) == WALK_UNKNOWN);
	CHECK(work.call.unknown & UNK_LONG);
	/* only internal frames, more than the limit */
	for (int i = 0; i < WALK_MAX + 1; i++)
		e = frame(internal(unlink_name, 1, 0), e);
	CHECK(walk(e) == WALK_UNKNOWN && (work.call.unknown & UNK_TRUNCATED));
	/* something that is no function */
	struct function *odd = user(del, file, store, 0);

	odd->raw[0] = 9;
	CHECK(walk(frame(odd, bottom)) == WALK_UNKNOWN && (work.call.unknown & UNK_TYPE));
	/* the ring buffer is full: a name that could not be told is not known */
	ring_full = 1;
	CHECK(walk(frame(user(STRING("never_told"), file, store, 0), bottom)) == WALK_UNKNOWN);
	CHECK(work.call.unknown & UNK_TABLE_FULL);
	CHECK(!killed);
	control_value.mode = MODE_SANDBOX;
	walk(frame(user(STRING("never_told"), file, store, 0), bottom));
	CHECK(killed == SIGKILL);
	control_value.mode = MODE_MONITOR;
	killed = ring_full = 0;
	CHECK(walk(frame(user(STRING("never_told"), file, store, 0), bottom)) == WALK_SITE);
}

/* Whatever cannot be read is unknown, field by field; a line only goes unshown. */
static void one_fault(const void *at, size_t len, u32 expected)
{
	struct ex *top = frame(internal(unlink_name, 1, 0), frame(user(del, file, store, 0), bottom));

	partial_count = 0;
	fault(at ? at : (expected == UNK_LINK ? (void *)top : (void *)top->prev->func), len);
	CHECK(walk(top) == WALK_UNKNOWN);
	CHECK(work.call.unknown == expected);
	no_faults();
}

static void faulting(void)
{
	one_fault(&globals.current, 8, UNK_GLOBALS);
	one_fault(NULL, 8, UNK_LINK);
	one_fault(NULL, 4, UNK_FRAME);
	one_fault(file, 8, UNK_FILE);
	CHECK(partial_count == 1 && last_partial.fault_file == (u64)file && !last_partial.fault_function);
	CHECK(last_partial.name.function_len == 3 && !memcmp(last_partial.name.function, "del", 3));
	one_fault(del, 8, UNK_FUNCTION);
	CHECK(partial_count == 1 && last_partial.fault_function == (u64)del);
	one_fault(store, 8, UNK_CLASS);
	CHECK(partial_count == 1 && last_partial.fault_class_entry == (u64)store);
	one_fault(store->name, 8, UNK_CLASS);
	CHECK(partial_count == 1 && last_partial.fault_class == (u64)store->name);
	/* a line */
	struct ex *e = frame(user(del, file, store, 0), bottom);

	fault(&code[2], sizeof(code[2]));
	CHECK(walk(e) == WALK_SITE && work.call.line == 0 && (work.call.flags & CALL_LINE_FAULT));
	no_faults();
	/* the page ends behind the name: a second, exact read */
	fault(del->val + 3, sizeof(del->val) - 3);
	CHECK(walk(e) == WALK_SITE);
	CHECK(named(work.call.site, SITE_FUNCTION, "/srv/a.php", "Store", "del"));
	no_faults();
	/* an internal function's structure ends at a page's end */
	struct function *f = internal(unlink_name, 1, 0);

	fault(&f->raw[112], 100);
	CHECK(walk(frame(f, frame(user(del, file, store, 0), bottom))) == WALK_SITE);
	no_faults();
}

/* What the process has not touched is read from the page cache where it is shared: names and class entries. */
static void untouched(void)
{
	struct ex *e = frame(user(del, file, store, 0), bottom);
	const struct {
		const void *at;
		size_t len;
	} parts[] = { { file, 8 }, { file->val + 4, 4 }, { del, 8 }, { store, 8 }, { store->name, 8 } };

	is_shared = true;
	for (unsigned i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		no_faults();
		fault(parts[i].at, parts[i].len);
		CHECK(walk(e) == WALK_SITE);
		CHECK(named(work.call.site, SITE_FUNCTION, "/srv/a.php", "Store", "del"));
	}
	no_faults();
	fault(&globals.current, 8);
	CHECK(walk(e) == WALK_UNKNOWN && work.call.unknown == UNK_GLOBALS);
	no_faults();
	is_shared = false;
}

static void chains(void)
{
	struct ex *e = frame(internal(unlink_name, 1, 0), frame(user(del, file, store, 0), bottom));

	CHECK(walk(e) == WALK_SITE);
	walk_chain(&work, &php82);
	CHECK(work.call.chain_len == 3);
	CHECK(named(work.call.chain[0].name, SITE_INTERNAL, "", "", "unlink"));
	CHECK(named(work.call.chain[1].name, SITE_FUNCTION, "/srv/a.php", "Store", "del"));
	CHECK(named(work.call.chain[2].name, SITE_MAIN, "/srv/a.php", "", ""));
	CHECK(!(work.call.flags & CALL_CHAIN_TRUNCATED));
	for (int i = 0; i < CHAIN_MAX; i++)
		e = frame(user(del, file, store, 0), e);
	walk(e);
	walk_chain(&work, &php82);
	CHECK(work.call.chain_len == CHAIN_MAX && (work.call.flags & CALL_CHAIN_TRUNCATED));
	CHECK(!work.call.unknown);
}

/* ---- the context: every user frame below the site ---- */

static struct task request = { .request = 1 };

/* Whether it is known, from the frame below the site on. */
static bool context_of(struct ex *top, u32 mode)
{
	u32 found = walk(top);

	CHECK(found == WALK_SITE);
	work.mode = mode;
	work.generation = 1;
	walk_context(&work, &php82, &request);
	return !(work.call.flags & CALL_CONTEXT_UNKNOWN);
}

/* A site with these frames below it. */
static bool known_below(struct ex *below)
{
	return context_of(frame(internal(unlink_name, 1, 0), frame(user(del, file, store, 0), below)),
			  MODE_SANDBOX);
}

static struct ex *main_of(struct zstr *name, struct ex *below)
{
	return frame(user(NULL, name, NULL, 0), below);
}

static void unknown_by(struct ex *below, u32 cause)
{
	request.request++; /* nothing is remembered */
	CHECK(!known_below(below));
	CHECK(work.call.context_cause == cause);
	CHECK(!cause == !hash_is_zero(&work.call.context));
}

static void contexts(void)
{
	struct zstr *other = STRING("/srv/b.php"), *foreign = STRING("/tmp/evil.php");
	struct ex *deep = bottom;

	CHECK(known_below(NULL));
	CHECK(known_below(bottom));
	/* of no file: internal functions, also trampolines, placeholders, the bottom of a fiber */
	CHECK(known_below(frame(NULL, frame(internal(NULL, 1, 0), frame(internal(unlink_name, 0, 1 << 18),
									main_of(other, bottom))))));
	CHECK(!work.call.context_cause && hash_is_zero(&work.call.context));
	unknown_by(main_of(foreign, bottom), 0);
	CHECK(named(work.call.context, SITE_FILE, "/tmp/evil.php", "", ""));
	/* wherever it is, and behind whatever */
	unknown_by(main_of(other, main_of(foreign, NULL)), 0);
	unknown_by(frame(NULL, frame(internal(NULL, 1, 0), main_of(foreign, NULL))), 0);
	unknown_by(frame(user(del, foreign, store, 0), bottom), 0);
	unknown_by(frame(user(NULL, foreign, NULL, 1 << 22), bottom), 0);
	unknown_by(frame(user(del, foreign, store, 1 << 18), bottom),
		   0); /* a trampoline of a user's method */
	unknown_by(main_of(STRING("eval()'d code"), bottom), 0);
	/* the site's own file is the site's matter */
	CHECK(context_of(frame(user(del, foreign, store, 0), bottom), MODE_SANDBOX));
	for (int i = 0; i < WALK_MAX - 2; i++)
		deep = frame(user(del, other, store, 0), deep);
	CHECK(known_below(deep));
	unknown_by(frame(user(del, other, store, 0), deep), UNK_TRUNCATED);
	deep = main_of(foreign, NULL);
	for (int i = 0; i < 100; i++)
		deep = frame(user(del, other, store, 0), deep);
	unknown_by(deep, 0);
}

/* What cannot be read is unknown, never absent. */
static void contexts_that_fault(void)
{
	struct zstr *other = STRING("/srv/c.php");
	struct ex *below = main_of(other, bottom);
	char long_name[300];
	struct function *odd = user(del, other, store, 0);

	fault(below, 8 * 7);
	unknown_by(below, UNK_LINK);
	no_faults();
	fault(below->func, 4);
	unknown_by(below, UNK_FRAME);
	no_faults();
	fault(&below->func->raw[152], 8);
	unknown_by(below, UNK_FRAME);
	no_faults();
	fault(other, 8);
	unknown_by(below, UNK_FILE);
	is_shared = true; /* of the page cache it is read all the same */
	request.request++;
	CHECK(known_below(below));
	is_shared = false;
	no_faults();
	unknown_by(main_of(NULL, bottom), UNK_FILE);
	unknown_by(main_of(STRING(""), bottom), UNK_FILE);
	memset(long_name, 'n', sizeof(long_name));
	memcpy(long_name, "/srv/", 5);
	CHECK(known_below(main_of(string(long_name, 255), bottom)));
	unknown_by(main_of(string(long_name, 256), bottom), UNK_LONG);
	odd->raw[0] = 9;
	unknown_by(frame(odd, bottom), UNK_TYPE);
	/* the next one is whole: nothing is left of what was unknown */
	CHECK(known_below(below));
}

/* Asked once in a request and under a profile; what is foreign is never remembered. */
static void contexts_are_remembered(void)
{
	struct zstr *other = STRING("/srv/d.php"), *foreign = STRING("/tmp/evil.php");
	struct ex *once = main_of(other, NULL), *again = main_of(other, NULL), *many = NULL;

	request.request++;
	questions = 0;
	CHECK(known_below(once) && known_below(once) && questions == 1);
	CHECK(known_below(again) && questions == 2);
	fault(other, 8);
	CHECK(known_below(once));
	/* of a function that is elsewhere the file's name is: of any such function */
	no_faults();
	uncached = (u64)again->func;
	request.request++;
	questions = 0;
	CHECK(known_below(again) && known_below(again) && questions == 1);
	CHECK(known_below(once) && questions == 1);
	uncached = 0;
	for (int i = 0; i < 40; i++)
		many = main_of(string("/srv/many.php", 13), many);
	questions = 0;
	CHECK(known_below(many) && questions == 40);
	CHECK(known_below(many) && questions < 50);
	CHECK(known_below(once) && questions < 51);
	fault(other, 8);
	request.request++;
	CHECK(!known_below(once));
	no_faults();
	questions = 2;
	CHECK(known_below(once) && questions == 3);
	questions = 2;
	((struct known_code *)storage)->generation++;
	CHECK(known_below(once) && questions == 3);
	CHECK(!known_below(main_of(foreign, NULL)) && !known_below(main_of(foreign, NULL)) && questions == 5);
	/* where a request's start was not seen nothing is */
	request.request = 0;
	CHECK(known_below(once) && known_below(once) && questions == 7);
	request.request = 1000;
}

/* While learning every file is told as a name of its own, once, and none is foreign. */
static void contexts_are_learnt(void)
{
	struct zstr *foreign = STRING("/tmp/learnt.php");
	struct ex *e = frame(user(del, file, store, 0), main_of(foreign, bottom));
	int before;

	CHECK(context_of(e, MODE_PROFILE));
	before = told_count;
	CHECK(named(told[before - 2].hash, SITE_FILE, "/tmp/learnt.php", "", ""));
	CHECK(named(told[before - 1].hash, SITE_FILE, "/srv/a.php", "", ""));
	request.request++;
	CHECK(context_of(e, MODE_PROFILE) && told_count == before);
}

int main(void)
{
	file = STRING("/srv/a.php");
	del = STRING("del");
	unlink_name = STRING("unlink");
	store = calloc(1, sizeof(*store));
	store->type = 2;
	store->name = STRING("Store");
	bottom = frame(user(NULL, file, NULL, 0), NULL);
	what_a_site_is();
	forgeries();
	who_relies_on_the_cache();
	limits();
	faulting();
	untouched();
	chains();
	contexts();
	contexts_that_fault();
	contexts_are_remembered();
	contexts_are_learnt();
	return 0;
}
