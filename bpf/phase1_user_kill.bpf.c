// SPDX-License-Identifier: GPL-2.0-only
/*
 * Phase 1: every policed call of a subject is told to user space, which decides
 * and kills. Here nothing is judged; the one thing done in the kernel is to kill a
 * subject whose record was lost, because nobody could decide about it any more.
 */
#include "phase.bpf.h"

static __always_inline void judge(struct scratch *s, struct task *task, struct image *img, u32 len)
{
	struct rec_call *c = &s->call;
	struct control *now = control_now();
	u32 mode = now ? now->mode : MODE_SANDBOX;
	struct pair *known;

	pair_key_of(s);
	known = bpf_map_lookup_elem(&pairs, &c->pair);
	if (known) {
		__sync_fetch_and_add(&known->count, 1);
		if (mode == MODE_PROFILE && known->sent) {
			count(STAT_DEDUPLICATED);
			return;
		}
		if (mode != MODE_PROFILE && now && known->generation == now->generation)
			c->flags |= CALL_QUIET;
	}
	if (!(c->flags & CALL_QUIET)) {
		if (img && chain_limit && c->site_kind != SITE_UNKNOWN && !(c->flags & CALL_SITE_RECORDED))
			walk_chain(s, img);
		if (task && mode != MODE_PROFILE)
			task->want_return = 1;
	}
	c->seq = task ? ++task->seq : 0;
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
