/* SPDX-License-Identifier: GPL-2.0-only */
/* Preloaded: holds a program up before its first instruction, while $HOLD is there. Then it opens a file. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void hold(void)
{
	const char *path = getenv("HOLD");

	while (path && !access(path, F_OK))
		usleep(1000);
	close(open("/etc/hostname", O_RDONLY));
}
