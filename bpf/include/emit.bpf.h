/* SPDX-License-Identifier: GPL-2.0-only */
/* Counters, scratch space, and the one way a record reaches user space. */
#ifndef EMIT_BPF_H
#define EMIT_BPF_H

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAT_MAX);
	__type(key, u32);
	__type(value, u64);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE); /* user space writes generation and mode as one word */
	__type(key, u32);
	__type(value, struct control);
} control SEC(".maps");

/*
 * How the consumer is woken: 0 leaves it to the ring buffer (only when the
 * consumer had caught up), BPF_RB_FORCE_WAKEUP wakes at every record (shortest
 * reaction, one more interrupt a record). Default: forced in sandbox mode.
 */
const volatile u64 wakeup = 0;

/* One zend_string as it lies in memory. */
struct zname {
	u64 refcount;
	u64 h; /* never used: forgeable */
	u64 len;
	char val[NAME_ROOM];
	u64 slack; /* read by words, from any byte */
};

/* File, class and function while a site is being told. */
struct names {
	u32 kind;
	u32 unknown;
	struct zname file, class_name, function;
	u64 fault_file, fault_class, fault_class_entry, fault_function;
};

/*
 * Work space of one hook. Not per CPU: the hook may be preempted on newer
 * kernels, and with another task's site in the buffer A would be judged as B.
 * Not in task storage: of its size, allocation there fails under fork bursts.
 * A slot belongs to whoever set `busy`; SLOTS of them per CPU, and where those are
 * taken (by tasks that were preempted while they had one) those of others.
 */
struct scratch {
	u32 busy;
	u32 may_kill; /* a record of this hook that is lost may cost current its life: not the master's */
	u64 frame[7]; /* zend_execute_data */
	u8 func[184]; /* zend_function, up to line_start */
	u64 class_entry[4];
	struct names names;
	struct sip sip;
	/* the walk */
	u64 eg;
	u64 next;
	u64 thread_pointer;
	u32 depth;
	u32 want_chain;
	u32 have_site;
	u32 have_sink;
	u32 patient; /* unreadable memory is waited for; cleared where that was in vain */
	u32 may_be_brief;
	u32 brief; /* the walk found the site and looked at nothing else */
	u32 pad3;
	struct hash128 own_site; /* the site, while its callers are found in its place */
	u32 own_kind, own_sink;
	struct hash128 as_called; /* the site and its callers together, where it has any that decide */
	/* the path being built, from its end; slack for one name */
	u64 mnt, dentry;
	u64 mnt_root; /* of mnt; 0: not read yet */
	u32 path_off, path_end;
	u64 root_mnt,
		root_dentry; /* of the task, where a hook asks: path_step() tells where it has passed it */
	u32 root_off; /* 0: it has not */
	u32 last_name; /* its length */
	u32 path_state;
	u32 pad2;
	char path[PATH_ROOM + NAME_ROOM];
	union {
		struct rec_site site;
		struct rec_partial partial;
		struct rec_path path;
		struct rec_origin origin;
		struct rec_proc proc;
		struct rec_return ret;
		struct rec_file file;
		struct rec_opened opened;
	} out;
	/* of the decision: mode and generation are read once, so that no call is decided by half of each */
	u32 generation;
	u32 mode;
	u32 patterned;
	u32 ends;
	u32 slot;
	struct hash128 names_id; /* whose names `names` has */
	u32 names_kept; /* they are told and kept: they need not be read again */
	u32 pad_names;
	struct zname file; /* a path that is looked up like a script's name */
	struct policy policy; /* united */
	struct way {
		u16 root, off;
	} ways[WAYS_MAX - 1];
	u32 generated;
	u32 accept;
	u32 rule_allows, rule_logs;
	u32 nodes[NODES_MAX], next_nodes[NODES_MAX];
	u32 nodes_len, next_len;
	struct hash128 links[ORIGIN_MAX];
	struct origin_link link; /* being made */
	struct proc fresh; /* likewise */
	struct file_key exe; /* of it */
	struct hash128 candidates[WAYS_MAX];
	u32 candidates_len;
	s32 verdict; /* what a hook returns */
	u32 is_script; /* what a hook has in hand is a script by another name */
	u32 is_memory; /* or the memory of a process */
	u32 inside[2]; /* what its paths are from a root of the task's own: enum policy_flags */
	struct rec_call call;
	u64 slack; /* behind the last path, which is read by words */
};

enum { SLOTS = 4, SLOT_TRIES = 32 };

/* Set before load. */
const volatile u32 slots = 8;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8); /* set to SLOTS * possible CPUs before load */
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline void count(u32 which)
{
	u64 *n = bpf_map_lookup_elem(&stats, &which);

	if (n)
		(*n)++;
}

static __always_inline struct control *control_now(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

/* The process that has loaded this. */
const volatile u32 tracer_pid = 0;

/* Which of the loaded objects this is: at an adoption two are attached, and one acts. */
const volatile u32 instance = 1;

static __always_inline bool acts(void)
{
	struct control *c = control_now();

	return c && c->instance == instance;
}

static __always_inline u32 mode_now(void)
{
	struct control *c = control_now();

	return c ? c->mode & MODE_MASK : MODE_SANDBOX; /* fails closed */
}

static __always_inline void take_snapshot(struct scratch *s)
{
	struct control *c = control_now();
	u64 both;

	if (!c) {
		s->generation = 0; /* of which nothing is granted: fails closed */
		s->mode = MODE_SANDBOX;
		s->patterned = s->ends = 0;
		return;
	}
	both = *(volatile u64 *)c;
	s->generation = (u32)both;
	s->mode = (both >> 32) & MODE_MASK;
	s->patterned = (both >> 32) & MODE_PATTERNED;
	s->ends = (both >> 32) & MODE_ENDS;
}

struct claim {
	u32 slot;
	u32 claimed;
};

static long try_slot(u32 i, struct claim *c)
{
	u32 slot = c->slot % slots;
	struct scratch *s = bpf_map_lookup_elem(&scratches, &slot);

	if (s && try_claim(&s->busy)) {
		c->slot = slot;
		c->claimed = 1;
		return 1;
	}
	c->slot++;
	return 0;
}

static __noinline struct scratch *claim_scratch(void)
{
	struct claim c = { bpf_get_smp_processor_id() * SLOTS % slots, 0 };
	struct scratch *s = bpf_map_lookup_elem(&scratches, &c.slot);

	if (!s || !try_claim(&s->busy)) {
		bpf_loop(SLOT_TRIES, try_slot, &c, 0);
		s = c.claimed ? bpf_map_lookup_elem(&scratches, &c.slot) : NULL;
	}
	if (!s) {
		count(STAT_SCRATCH_BUSY);
		return NULL;
	}
	s->may_kill = 1;
	s->slot = c.slot;
	take_snapshot(s);
	return s;
}

/* The same once more, as what it is: to 6.1 a function's argument is no memory that a map may take. */
static __always_inline struct scratch *own_scratch(struct scratch *s)
{
	u32 slot = s->slot;

	return bpf_map_lookup_elem(&scratches, &slot);
}

static __always_inline void release_scratch(struct scratch *s)
{
	__sync_lock_test_and_set(&s->busy, 0);
}

/* Kills the current process, all its threads with it. */
static __always_inline void kill_current(u32 why)
{
	if (bpf_send_signal(SIGKILL))
		count(STAT_KILL_FAILED); /* fails open for this call; shown as missed */
	else
		count(why);
}

static __always_inline void rec_init(struct rec_hdr *h, u32 kind, u32 len)
{
	h->kind = kind;
	h->pad = 0;
	h->len = len;
	h->ts = bpf_ktime_get_ns();
}

/*
 * Sends a record. In a sandbox, the strategy that decides in user space fails
 * open for a record that was lost, so whoever loses one dies for it here, at this
 * moment: `may_kill` says that the current task is that subject. Who decides in the
 * kernel has decided already, and only what is told is less.
 */
static __always_inline bool emit_with(struct rec_hdr *h, u32 len, bool may_kill, u64 flags)
{
	if (!bpf_ringbuf_output(&events, h, len, flags)) {
		count(STAT_EVENTS);
		return true;
	}
	count(STAT_LOST);
	if (!DECIDES_HERE && may_kill && mode_now() == MODE_SANDBOX)
		kill_current(STAT_LOST_KILLED);
	return false;
}

static __always_inline bool emit(struct rec_hdr *h, u32 len, bool may_kill)
{
	return emit_with(h, len, may_kill, wakeup);
}

#endif
