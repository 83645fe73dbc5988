/* SPDX-License-Identifier: GPL-2.0-only */
/* Preloaded: opens files whose names nobody has touched yet, each further from the others than the kernel maps at once. */
#include <fcntl.h>

#define NAMES 8

static const struct {
	char before[2 << 20];
	char name[16];
} untouched[NAMES] = { [0 ... NAMES - 1] = { .before = { 1 }, .name = "/none/at/all" } };

__attribute__((constructor)) static void names(void)
{
	int i;

	for (i = 0; i < NAMES; i++)
		open(untouched[i].name, O_RDONLY);
}
