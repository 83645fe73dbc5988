/* A library for LD_PRELOAD: deletes $VICTIMS/0 … before the program that it is loaded into begins. Or by VICTIMS. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void load(void)
{
#ifdef VICTIMS
	const char *folder = VICTIMS;
#else
	const char *folder = getenv("VICTIMS");
#endif
	char path[4096];
	int n;

	for (n = 0; folder && n < 1000; n++) {
		snprintf(path, sizeof(path), "%s/%d", folder, n);
		if (unlink(path))
			break;
	}
}
