/*
 * Hosts a thread-safe PHP in eight threads at once: `threads CODE`, where CODE finds its number in $thread.
 * (No thread-safe PHP that can be had here brings an extension for threads.)
 */
#include <pthread.h>
#include <stdio.h>

int php_embed_init(int argc, char **argv);
void php_embed_shutdown(void);
int php_request_startup(void);
void php_request_shutdown(void *unused);
void *ts_resource_ex(int id, void *thread);
void ts_free_thread(void);
int zend_eval_string(const char *code, void *result, const char *name);

enum { THREADS = 8 };

static pthread_barrier_t all_ready;
static const char *code;

static void *run(void *number)
{
	char text[4096];
	long failed = 1;

	ts_resource_ex(0, 0);
	pthread_barrier_wait(&all_ready);
	snprintf(text, sizeof(text), "$thread = %ld; %s", (long)number, code);
	if (!php_request_startup()) {
		failed = zend_eval_string(text, 0, "Command line code");
		php_request_shutdown(0);
	}
	ts_free_thread();
	return (void *)failed;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	long n, failed = 0;
	void *result;

	if (argc != 2 || php_embed_init(1, argv))
		return 1;
	code = argv[1];
	pthread_barrier_init(&all_ready, 0, THREADS);
	for (n = 0; n < THREADS; n++)
		if (pthread_create(&threads[n], 0, run, (void *)n))
			return 1;
	for (n = 0; n < THREADS; n++) {
		pthread_join(threads[n], &result);
		failed |= (long)result;
	}
	php_embed_shutdown();
	return !!failed;
}
