// SPDX-License-Identifier: GPL-2.0-only
/* Prints the hash of the words given as arguments, after the two of the key. */
#include "shim.h"

#include "siphash.h"

int main(int argc, char **argv)
{
	struct sip s;
	struct hash128 h;

	sip_init(&s, strtoull(argv[1], NULL, 16), strtoull(argv[2], NULL, 16));
	for (int i = 3; i < argc; i++)
		sip_word(&s, strtoull(argv[i], NULL, 16));
	h = sip_end(&s);
	printf("%016llx%016llx\n", (unsigned long long)h.lo, (unsigned long long)h.hi);
	return 0;
}
