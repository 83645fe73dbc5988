// SPDX-License-Identifier: GPL-2.0-only
/*
 * Phase 1: every policed call of a subject is told to user space, which decides
 * and kills. Here nothing is judged; the one thing done in the kernel is to kill a
 * subject whose record was lost, because nobody could decide about it any more.
 */
#include "phase.bpf.h"

/*
 * Bytes of quiet records that may lie unread before the consumer is woken for them.
 * A call that is not quiet waits until they have been read: some 30 of them, not more.
 */
#define QUIET_BYTES (16 << 10)

static __always_inline u32 recall(struct scratch *s)
{
	struct rec_call *c = &s->call;
	struct control *now = control_now();
	struct pair *known = bpf_map_lookup_elem(&pairs, &c->pair);
	u32 mode = now ? now->mode : MODE_SANDBOX;

	c->generation = now ? now->generation : 0;
	if (!known)
		return PAIR_NEW;
	__sync_fetch_and_add(&known->count, 1);
	if (mode == MODE_PROFILE && known->sent) {
		count(STAT_DEDUPLICATED);
		return PAIR_SETTLED;
	}
	/* User space has allowed it under this profile, whatever its arguments: told in short. */
	if (mode != MODE_PROFILE && now && known->generation == now->generation) {
		c->flags |= CALL_QUIET;
		return PAIR_KNOWN;
	}
	return PAIR_NEW;
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
	u32 mode = mode_now();

	c->seq = task ? ++task->seq : 0;
	if (c->flags & CALL_QUIET) {
		len = offsetof(struct rec_call, chain);
		rec_init(&c->h, REC_CALL, len);
		emit_with(&c->h, len, s->may_kill, quiet_wakeup());
		return;
	}
	if (img && chain_limit && c->site_kind != SITE_UNKNOWN && !(c->flags & CALL_SITE_RECORDED))
		walk_chain(s, img);
	if (task && mode != MODE_PROFILE)
		task->want_return = 1;
	if (len > sizeof(*c))
		len = sizeof(*c);
	rec_init(&c->h, REC_CALL, len);
	if (!emit(&c->h, len, s->may_kill))
		return;
	/* Marked as sent only now that it was; an unknown site is told every time. */
	if (mode == MODE_PROFILE && c->site_kind != SITE_UNKNOWN) {
		struct pair new = { .count = 1, .sent = 1 };

		if (bpf_map_update_elem(&pairs, &c->pair, &new, BPF_ANY))
			count(STAT_PAIRS_FULL);
	}
}

SEC("raw_tp/sys_enter")
int sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	return on_enter(ctx->args[0], ctx->args[1]);
}

SEC("raw_tp/sys_exit")
int sys_exit(struct bpf_raw_tracepoint_args *ctx)
{
	return on_return(ctx->args[1]);
}

char LICENSE[] SEC("license") = "GPL";
