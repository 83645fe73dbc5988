// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long what is known of the opcode cache is kept, on a cache whose head is laid out here as PHP has it: until it is
 * restarted, or another program runs; and not at all where its head does not say. Who is tainted by a restart: a request
 * that runs code of the cache, which then has it locked.
 */
#include "shim.h"

struct vm_area_struct {
	u64 vm_flags, vm_start, vm_end;
};

struct task {
	u32 request, execs, taint;
};

enum { VM_SHARED = 8, TAINT_FORGED = 1 };

static int counted;

static void count(u32 what)
{
	CHECK(what == STAT_TAINT_REQUESTS);
	counted++;
}

#define BPF_CORE_READ(p, field) ((p)->field)

/* Two mappings; of the first there is what PHP keeps at its start. */
static struct vm_area_struct mappings[2];
static int looked_up;

static long bpf_find_vma(void *task, u64 address, void *found, void *context, u64 flags)
{
	long (*call)(void *, void *, void *) = (long (*)(void *, void *, void *))found;

	(void)flags;
	looked_up++;
	for (int i = 0; i < 2; i++)
		if (address >= mappings[i].vm_start && address < mappings[i].vm_end)
			return call(task, &mappings[i], context);
	return -2;
}

static u64 storage[1024];

#define bpf_get_current_task_btf() NULL
#define bpf_task_storage_get(map, task, value, flags) ((void *)storage)

#define task_struct vm_area_struct /* nobody looks into it */
#include "recent.bpf.h"

static struct cache {
	u64 segments, count, rest[3], positions, free, app;
	u64 hits[3], restarts[3];
	char code[1024];
} cache, other;

static struct task task = { .request = 1 };
static struct image image;

static struct recents *next_request(void)
{
	task.request++;
	return recents_of(&task, &image);
}

/* As before each walk, with this function on the stack. */
static struct recents *runs(u64 function, u64 file, u32 flags)
{
	struct recents *r = recents_of(&task, &image);

	if (may_rely_on_cache(r, &task, &image) && is_taken_by_restarts(r, function, file, flags))
		r->cache.relied_on = 1;
	return r;
}

/* Remembers this function, as the walk to it does. */
static void remember(u64 function, u64 kind)
{
	struct rec_call call = { .site_kind = kind };
	struct recents *r = runs(function, 0, 0);

	CHECK(is_cached_code(r, function));
	remember_site(r, function, &call);
	CHECK(recent_of(r, function)->kind == kind);
}

static void lay_out_head(struct cache *c)
{
	memset(c, 0, sizeof(*c));
	c->segments = (u64)&c->code;
	c->count = 0x7f0000000001; /* an int: what is above it is left from something else */
	c->positions = (u64)&c->code;
	c->app = (u64)&c->hits;
}

static void lay_out(void)
{
	memset(storage, 0, sizeof(storage));
	lay_out_head(&cache);
	lay_out_head(&other);
	mappings[0] = (struct vm_area_struct){ VM_SHARED, (u64)&cache, (u64)(&cache + 1) };
	mappings[1] = (struct vm_area_struct){ 0, (u64)&other, (u64)(&other + 1) };
	task.request = 2;
	task.taint = 0;
}

static u64 at(u32 offset)
{
	return (u64)&cache.code[offset];
}

static bool is_kept(u64 function)
{
	struct recents *r = next_request();

	return recent_of(r, function) != NULL;
}

static void until_it_is_restarted(void)
{
	for (int reason = 0; reason < 3; reason++) {
		lay_out();
		remember(at(0), 1);
		remember(at(64), 2);
		CHECK(is_kept(at(0)) && is_kept(at(64)) && recent_of(next_request(), at(64))->kind == 2);
		CHECK(!recent_of(next_request(), at(128)));
		cache.hits[0]++;
		CHECK(is_kept(at(0)));
		cache.restarts[reason]++;
		CHECK(!is_kept(at(0)) && !is_kept(at(64)));
		CHECK(!task.taint);
		remember(at(0), 3);
		CHECK(is_kept(at(0)) && !is_kept(at(64)));
	}
}

static void until_another_program_runs(void)
{
	lay_out();
	remember(at(0), 1);
	task.execs++;
	CHECK(!recent_of(recents_of(&task, &image), at(0))); /* before its first request, too */
	CHECK(!is_kept(at(0)));
	remember(at(0), 1);
	CHECK(is_kept(at(0)));
}

/* As at each walk. */
static bool is_known_now(u64 function)
{
	return recent_of(recents_of(&task, &image), function) != NULL;
}

static bool is_in_cache(u64 function)
{
	return is_cached_code(recents_of(&task, &image), function);
}

/* A request may make calls before the cache is restarted for it. */
static void also_amid_a_request(void)
{
	lay_out();
	remember(at(0), 1);
	task.request++;
	CHECK(is_known_now(at(64)) == false); /* {engine}: nobody's code runs yet */
	cache.restarts[2]++;
	CHECK(!is_known_now(at(0)));
	CHECK(!task.taint);
}

/* Of the cache's own code none can be replaced before it has ended: it gave the lock up. */
static void whose_code_is_replaced_while_it_runs_is_tainted(void)
{
	lay_out();
	remember(at(0), 1);
	cache.restarts[2]++;
	CHECK(!is_known_now(at(0)) && task.taint == TAINT_FORGED);
	/* in a later request, too, where it is known from before */
	lay_out();
	remember(at(0), 1);
	CHECK(is_kept(at(0)));
	runs(at(0), 0, 0);
	cache.restarts[0]++;
	CHECK(!is_known_now(at(0)) && task.taint == TAINT_FORGED);
	/* a copy of a function, whose names are the cache's; and after many calls of other code */
	lay_out();
	for (u32 i = 0; i < 20; i++)
		runs((u64)&other.code[i], (u64)&other.code[i + 1], 0);
	runs((u64)&other.code, at(64), 0);
	cache.restarts[1]++;
	recents_of(&task, &image);
	CHECK(task.taint == TAINT_FORGED);
	/* once, and not the next request */
	counted = 0;
	runs(at(0), 0, 0);
	cache.restarts[1]++;
	recents_of(&task, &image);
	CHECK(!counted);
	task.taint = 0;
	CHECK(!is_kept(at(0)) && !task.taint);
}

/* Where a restart is no sign of anything. */
static void who_runs_no_code_that_a_restart_takes_is_not(void)
{
	struct rec_call call = {};
	struct recents *r;

	/* code of its own, compiled while the cache was waiting for its restart */
	lay_out();
	remember(at(0), 1);
	task.request++;
	r = runs((u64)&other.code, (u64)&other.code[64], 0);
	CHECK(!r->cache.relied_on && !was_restarted(r));
	cache.restarts[0]++;
	CHECK(!is_known_now(at(0)) && !task.taint);
	/* what was loaded before all requests stays where it is */
	lay_out();
	r = runs(at(0), at(64), FN_PRELOADED);
	CHECK(is_cached_code(r, at(0)));
	remember_site(r, at(0), &call);
	CHECK(is_kept(at(0)));
	runs(at(0), at(64), FN_PRELOADED);
	cache.restarts[0]++;
	CHECK(!is_known_now(at(0)) && !task.taint);
	/* a process that serves once has nobody beside it; php-fpm's have from the first request on */
	lay_out();
	task.request = 1;
	CHECK(!runs(at(0), 0, 0)->cache.relied_on);
	image.flags = IMAGE_FPM;
	CHECK(runs(at(0), 0, 0)->cache.relied_on);
	image.flags = 0;
}

/* While the names were read. */
static void amid_a_walk(void)
{
	struct recents *r;

	lay_out();
	r = runs(at(0), 0, 0);
	CHECK(!was_restarted(r));
	cache.restarts[2]++;
	CHECK(was_restarted(r));
	lay_out();
	r = runs(at(0), 0, 0);
	fault(&cache.restarts, 8);
	CHECK(was_restarted(r)); /* it cannot be told */
	no_faults();
}

/* One thing about its head is not as it should be: nothing is known. */
static void for_nothing(u64 *word, u64 value)
{
	lay_out();
	*word = value;
	CHECK(!is_in_cache(at(0)));
}

static void where_its_head_does_not_say(void)
{
	for_nothing(&cache.count, 2);
	for_nothing(&cache.segments, (u64)&other);
	for_nothing(&cache.positions, 0);
	for_nothing(&cache.app, (u64)&other.hits);
	lay_out();
	fault(&cache.restarts, 8);
	CHECK(!is_in_cache(at(0)));
	no_faults();
	/* it could be read then, and not now; what it was then is kept */
	lay_out();
	remember(at(0), 1);
	fault(&cache.restarts, 8);
	CHECK(!is_known_now(at(0)) && !is_kept(at(0)) && !task.taint);
	no_faults();
	lay_out();
	remember(at(0), 1);
	fault(&cache.restarts, 8);
	CHECK(!is_known_now(at(0)) && !task.taint);
	no_faults();
	cache.restarts[0]++;
	CHECK(!is_known_now(at(0)) && task.taint == TAINT_FORGED);
}

/* Who finds another mapping that could be one has found no other cache. */
static void where_there_are_two(void)
{
	lay_out();
	mappings[1].vm_flags = VM_SHARED;
	remember(at(0), 1);
	CHECK(!is_in_cache((u64)&other.code));
	CHECK(is_kept(at(0)));
}

static void nothing_elsewhere(void)
{
	struct recents *r;

	lay_out();
	r = next_request();
	looked_up = 0;
	/* what is in one mapping is looked up once in a request */
	for (u32 i = 0; i < 20; i++)
		CHECK(!is_cached(&r->cache, (u64)&other.code[i]));
	CHECK(looked_up == 1);
	CHECK(is_cached(&r->cache, at(0)) && is_cached(&r->cache, at(8)) && looked_up == 2);
	CHECK(!is_cached(&r->cache, (u64)&other.code) && looked_up == 2);
}

static void nothing_of_threads_or_without_a_request(void)
{
	lay_out();
	image.flags = IMAGE_ZTS;
	CHECK(!recents_of(&task, &image));
	image.flags = 0;
	task.request = 0;
	CHECK(!recents_of(&task, &image));
	CHECK(!recents_of(NULL, &image));
}

int main(void)
{
	until_it_is_restarted();
	also_amid_a_request();
	whose_code_is_replaced_while_it_runs_is_tainted();
	who_runs_no_code_that_a_restart_takes_is_not();
	amid_a_walk();
	until_another_program_runs();
	where_its_head_does_not_say();
	where_there_are_two();
	nothing_elsewhere();
	nothing_of_threads_or_without_a_request();
	return 0;
}
