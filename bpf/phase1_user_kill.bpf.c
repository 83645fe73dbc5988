// SPDX-License-Identifier: GPL-2.0-only
/*
 * Phase 1: every policed call of a subject is told to user space, which decides
 * and kills. Here nothing is judged; the one thing done in the kernel is to kill a
 * subject whose record was lost, because nobody could decide about it any more.
 */
enum { DECIDES_HERE = 0, PATHS_FROM_KERNEL = 0 };

#include "phase.bpf.h"

/*
 * Bytes of quiet records that may lie unread before the consumer is woken for them.
 * A call that is not quiet waits until they have been read: some 30 of them, not more.
 */
#define QUIET_BYTES (16 << 10)

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

/* Whether the files on the call's chain are known without asking. */
static __always_inline bool context_is_settled(struct rec_call *c)
{
	return !context_files || !(c->asked || has_unknown_context(c));
}

static __always_inline u32 recall(struct scratch *s)
{
	struct rec_call *c = &s->call;
	struct pair *known;

	c->generation = s->generation;
	if (s->mode == MODE_PROFILE)
		return recall_observation(s);
	known = bpf_map_lookup_elem(&pairs, &c->pair);
	if (!known)
		return PAIR_NEW;
	__sync_fetch_and_add(&known->count, 1);
	if (known->generation != s->generation || !context_is_settled(c))
		return PAIR_NEW;
	/* User space has allowed it under this profile, whatever its arguments: told in short. */
	c->flags |= CALL_QUIET;
	return PAIR_KNOWN;
}

/* A quiet call does not hurry: whoever reads the others reads it too. */
static __always_inline u64 quiet_wakeup(void)
{
	if (!wakeup)
		return 0;
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) < QUIET_BYTES ? BPF_RB_NO_WAKEUP
									   : BPF_RB_FORCE_WAKEUP;
}

static __always_inline void judge(struct scratch *s, struct task *task, struct image *img, u32 len)
{
	struct rec_call *c = &s->call;

	c->seq = task ? ++task->seq : 0;
	if (c->flags & CALL_QUIET) {
		len = offsetof(struct rec_call, chain);
		rec_init(&c->h, REC_CALL, len);
		emit_with(&c->h, len, s->may_kill, quiet_wakeup());
	} else if (s->mode == MODE_PROFILE) {
		tell_observation(s, task, img, len);
	} else {
		tell_call(s, task, img, len);
	}
}

/* User space decides: nothing of what only the kernel would need is kept, and nothing is decided here. */
static __always_inline bool decide(struct scratch *s)
{
	return true;
}

static __always_inline void judge_exec(struct scratch *s)
{
}

static __always_inline void returned(struct task *task)
{
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
