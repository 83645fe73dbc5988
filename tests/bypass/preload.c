/* A library for LD_PRELOAD: deletes $VICTIMS/0 … before the program that it is loaded into begins. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void load(void)
{
	const char *folder = getenv("VICTIMS");
	char path[4096];
	int n;

	for (n = 0; folder && n < 1000; n++) {
		snprintf(path, sizeof(path), "%s/%d", folder, n);
		if (unlink(path))
			break;
	}
}
