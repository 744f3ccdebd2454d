/* auth/pool.h - checking passwords beside the loop: a few threads that let everybody else go first, a queue with a limit.
 *
 * Everything here is called from the loop's thread, callbacks included; the threads see nothing but a copy of
 * credentials and password, which is wiped when it is done. */
#ifndef AUTH_POOL_H
#define AUTH_POOL_H

#include "auth/verify.h"

#define POOL_THREADS_MAX 4
#define POOL_NICE 10
#define POOL_NICE_LIMIT (20 - POOL_NICE) /* RLIMIT_NICE with which threads may do what nobody else has time for (pool.c) */
#define POOL_QUEUE_MAX 256 /* passwords that wait: at 40 ms each, ten seconds for one thread */

struct pool;
struct pool_job;

/* Just before the work begins, perhaps after a long wait: false when it is not wanted any more. Then, and when it
 * is done, pool_done_f is called, once. Neither is called after pool_cancel(). */
typedef bool pool_wanted_f(void *arg);
typedef void pool_done_f(void *arg, bool wanted, bool ok);

/* Makes descriptors but no threads yet. NULL when the kernel refuses. */
struct pool *pool_new(void);

/* Starts the threads (1 to POOL_THREADS_MAX), which have the process's rights as they are now. */
int pool_start(struct pool *p, unsigned threads) PT_MUST_USE;

/* Ends when the work under way is done; what waits is dropped without a callback. */
void pool_free(struct pool **p);

/* Readable when pool_ready() has something to do. */
int pool_fd(const struct pool *p);
void pool_ready(struct pool *p);

/* Is this the password? Both are copied. The job is the pool's; it is gone after done. NULL: the queue is full,
 * or memory is short, and nothing will be called. */
struct pool_job *pool_check(struct pool *p, const struct user_credentials *c, const char *password,
			    pool_wanted_f *wanted, pool_done_f *done, void *arg);
void pool_cancel(struct pool *p, struct pool_job *job);

/* Jobs that wait for a thread. */
size_t pool_waiting(const struct pool *p);

#endif
