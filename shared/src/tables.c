// SPDX-License-Identifier: GPL-2.0-only
/* The tables of intf.h as data: macros cannot be seen from Rust. */
#include <intf.h>

struct call_row {
	const char *name;
	const char *args;
	u16 nr;
	u8 sets;
	u8 class_kind;
	u8 class_arg;
};

const struct call_row shared_calls[] = {
#define X(nr, name, sets, kind, arg, args) { #name, args, nr, sets, kind, arg },
	CALL_TABLE(X)
#undef X
};
const u64 shared_calls_len = sizeof(shared_calls) / sizeof(shared_calls[0]);

struct stat_row {
	const char *name;
	const char *text;
};

const struct stat_row shared_stats[] = {
#define X(name, text) { #name, text },
	STATS(X)
#undef X
};
const u64 shared_stats_len = sizeof(shared_stats) / sizeof(shared_stats[0]);
