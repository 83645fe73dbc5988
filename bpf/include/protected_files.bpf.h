/* SPDX-License-Identifier: GPL-2.0-only */
/* Protected objects by what they are. */
#ifndef PROTECTED_FILES_BPF_H
#define PROTECTED_FILES_BPF_H

/*
 * Scripts of the profile, and the tracer's own: where another name of one leads, its path does not tell. User space
 * looks again each second; one that has been replaced since is told by its path alone (fails open).
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SITES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct file_key);
	__type(value, u32);
} protected_files SEC(".maps");

static __always_inline bool is_protected_file(struct inode *inode)
{
	struct file_key key = {};

	key.ino = BPF_CORE_READ(inode, i_ino);
	key.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	return bpf_map_lookup_elem(&protected_files, &key);
}

enum { PROC_SUPER_MAGIC = 0x9fa0 };

static __always_inline bool is_in_procfs(struct inode *inode)
{
	return BPF_CORE_READ(inode, i_sb, s_magic) == PROC_SUPER_MAGIC;
}

#endif
