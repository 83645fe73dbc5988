/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between kernels, each dated. Oldest full support: 6.1. */
#ifndef COMPAT_BPF_H
#define COMPAT_BPF_H

/* thread_info.status: set for the duration of a 32-bit call. Unchanged since 4.7. */
#define TS_COMPAT 0x0002

#define SIGQUIT 3
#define SIGKILL 9
#define EPERM 1
#define EBUSY 16
#define EEXIST 17
#define ENOSYS 38

/* clang 14 has no BPF atomics that return a value before -mcpu=v3; the helper builds with v3 (kernel 5.12). */
#define try_claim(flag) (__sync_val_compare_and_swap((flag), 0, 1) == 0)

/* Keeps the compiler from joining or moving a bound check away from its use. */
#define opaque(x) asm volatile("" : "+r"(x))

#endif
