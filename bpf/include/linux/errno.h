/* SPDX-License-Identifier: GPL-2.0-only */
/* For <bpf/usdt.bpf.h>, so that the build needs no kernel headers of this machine. */
#ifndef LINUX_ERRNO_H
#define LINUX_ERRNO_H

#define ENOENT 2
#define EINVAL 22
#define ESRCH 3

#endif
