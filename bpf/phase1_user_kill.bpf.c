// SPDX-License-Identifier: GPL-2.0-only
/*
 * Phase 1: policed calls of subjects are told to user space, which decides and kills;
 * what it has allowed whatever the arguments are is told once. Here nothing is judged;
 * the one thing done in the kernel is to kill a subject whose record was lost, because
 * nobody could decide about it any more.
 */
enum { DECIDES_HERE = 0, PATHS_FROM_KERNEL = 0 };
#define LEAVES_WORK

#include "phase.bpf.h"
#include "opened.bpf.h"

/* Files that the profile knows, by their ids, and the generation of that profile: written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SITES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct hash128);
	__type(value, u32);
} known_files SEC(".maps");

/* What is not marked yet user space is asked about, before the call is told. */
static __always_inline u32 knows_file(struct scratch *s)
{
	struct rec_file *r = &s->out.file;
	struct hash128 id = {};
	u32 *generation;

	if (intern_file(s, &id)) {
		chain_untold(s, UNK_TABLE_FULL);
		return FILE_FOREIGN; /* it could not be told: fails closed */
	}
	generation = bpf_map_lookup_elem(&known_files, &id);
	if (generation && *generation == s->generation)
		return FILE_KNOWN;
	r->file = id;
	r->tid = (u32)bpf_get_current_pid_tgid();
	r->pad = 0;
	s->call.asked++;
	rec_init(&r->h, REC_FILE, sizeof(*r));
	emit(&r->h, sizeof(*r), s->may_kill); /* lost: the call says how many there are (fails closed) */
	return FILE_ASKED;
}

/* Whether the call's context is known without asking. */
static __always_inline bool context_is_settled(struct rec_call *c)
{
	return !context_decides() || !(c->asked || has_unknown_context(c));
}

static __always_inline u32 recall(struct scratch *s)
{
	struct rec_call *c = &s->call;
	struct pair *known;

	c->generation = s->generation;
	if (s->mode == MODE_PROFILE)
		return recall_observation(s);
	known = bpf_map_lookup_elem(&pairs, &c->pair);
	if (!known || known->generation != s->generation || !context_is_settled(c))
		return PAIR_NEW;
	/* User space has allowed it under this profile, whatever its arguments: it is not asked again, */
	if (known->sent) {
		/* but where the path leads it looks up each time. */
		c->flags |= CALL_PATHS_ONLY;
		return PAIR_NEW;
	}
	count(STAT_ALLOWED);
	return PAIR_SETTLED;
}

/* Its chain is that of this moment, whenever it is told. A global function, as those in call.bpf.h. */
__noinline u32 keep_with_chain(struct scratch *s, struct task *task, struct image *img)
{
	if (!s || !opens_a_file(&s->call))
		return false;
	s = own_scratch(s);
	if (!s)
		return false;
	find_chain(s, img);
	return keep_opening(s, task);
}

static __always_inline void judge(struct scratch *s, struct task *task, struct image *img, u32 len)
{
	s->call.seq = task ? ++task->seq : 0;
	if (s->mode == MODE_PROFILE)
		tell_observation(s, task, img, len);
	else if (!(s->call.flags & CALL_PATHS_ONLY) || !keep_with_chain(s, task, img))
		tell_call(s, task, img, len);
}

/* User space decides: nothing of what only the kernel would need is kept, and nothing is decided here. */
static __always_inline bool decide(struct scratch *s)
{
	return true;
}

/* It may be: user space is asked, but where it looks paths up later in any case. */
static __always_inline bool would_be_denied(struct scratch *s)
{
	return !(s->call.flags & CALL_PATHS_ONLY);
}

static __always_inline void judge_exec(struct scratch *s)
{
}

static __always_inline void returned(struct task *task)
{
}

/* Folders in which, and below which, nothing is protected by the profile of that generation: written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct hash128);
	__type(value, u32);
} harmless_folders SEC(".maps");

/* The id of the folder that is in s->path, of what is in there: by both its names. */
static __always_inline struct hash128 folder_id(struct scratch *s, u32 inner)
{
	u32 end = s->path_end;
	struct hash128 id;

	s->path_end = end - s->last_name - 1;
	sip_init(&s->sip, hash_key[0], ~hash_key[1]);
	sip_path(s);
	sip_word(&s->sip, inner);
	id = sip_end(&s->sip);
	s->path_end = end;
	return id;
}

static __always_inline u32 look_at_opened(struct scratch *s, bool is_memory)
{
	struct rec_opened *r = &s->out.opened;
	u32 inner = has_inner_path(s) ? s->root_off - s->path_off : 0, len = PATH_ROOM - s->path_off;
	struct hash128 folder = folder_id(s, inner);
	u32 *generation = bpf_map_lookup_elem(&harmless_folders, &folder);

	if (!is_memory && generation && *generation == s->generation)
		return OPENED_HARMLESS;
	opaque(len);
	if (len > PATH_ROOM)
		return OPENED_UNTOLD;
	r->folder = folder;
	r->tid = (u32)bpf_get_current_pid_tgid();
	r->len = len;
	r->inner = inner;
	r->is_memory = is_memory;
	bpf_probe_read_kernel(r->path, len, &s->path[s->path_off & (PATH_ROOM - 1)]);
	rec_init(&r->h, REC_OPENED, sizeof(*r));
	return emit_with(&r->h, sizeof(*r), s->may_kill, 0) ? OPENED_TOLD : OPENED_UNTOLD;
}

static __always_inline void settle_call(struct scratch *s, u32 found)
{
	if (found == OPENED_PROTECTED)
		s->call.flags |= CALL_REACHES;
	tell_opening(s);
}

static __always_inline void keep_origin(struct hash128 *origin, struct origin_link *link)
{
}

static __always_inline bool keep_names(struct scratch *s, struct hash128 *id)
{
	return true;
}

#include "ends.bpf.h"

char LICENSE[] SEC("license") = "GPL";
