/*
 * Opens $INSTEAD where `job.php` is asked for: as if what that path means had been another file at that moment, and
 * were what it says again when PHP finds out the script's name.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

FILE *fopen(const char *path, const char *mode)
{
	FILE *(*open)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen");
	const char *instead = strstr(path, "job.php") ? getenv("INSTEAD") : NULL;

	return open(instead ? instead : path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
	return fopen(path, mode);
}
