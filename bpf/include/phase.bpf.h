/* SPDX-License-Identifier: GPL-2.0-only */
/* Everything that a phase's entry-point file needs. */
#ifndef PHASE_BPF_H
#define PHASE_BPF_H

#include "logic.bpf.h"
#include "hooks.bpf.h"

#endif
