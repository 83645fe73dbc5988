/* Hosts PHP: runs the PHP code of its argument. With COPY, refers to the library's globals so that, linked without
 * position independence, the executable holds its own copy of them. */
#include <stddef.h>
#include <stdio.h>

int php_embed_init(int argc, char **argv);
void php_embed_shutdown(void);
int zend_eval_string(const char *code, void *result, const char *name);

#ifdef COPY
extern size_t COPY;
#endif

int main(int argc, char **argv)
{
	if (argc != 2 || php_embed_init(argc, argv) != 0)
		return 1;
#ifdef COPY
	fprintf(stderr, "%p\n", (void *)&COPY);
#endif
	int result = zend_eval_string(argv[1], NULL, "given code");
	php_embed_shutdown();
	return result;
}
