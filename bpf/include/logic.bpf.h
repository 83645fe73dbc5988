/* SPDX-License-Identifier: GPL-2.0-only */
/* Everything but entry points, in the order in which it depends on each other. */
#ifndef LOGIC_BPF_H
#define LOGIC_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <stddef.h>

#include "intf.h"

#include "compat.bpf.h"
#include "siphash.h"
#include "op_class.h"
#include "emit.bpf.h"
#include "site.bpf.h"
#include "path.bpf.h"
#include "subject.bpf.h"
#include "shared_memory.bpf.h"
#include "recent.bpf.h"
#include "memory.bpf.h"
#include "php_walk.bpf.h"
#include "context.bpf.h"
#include "php_usdt.bpf.h"
#include "args.bpf.h"
#include "pairs.bpf.h"
#include "taint.bpf.h"
#include "call.bpf.h"

#endif
