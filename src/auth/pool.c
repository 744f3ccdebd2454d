/* auth/pool.c - see pool.h. The loop's thread keeps the queue and gives a job to a thread only when one is
 * free; what the threads share with it is one list of jobs to do and one of jobs done, under one lock. */
#include "auth/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS (VERIFY_PAUSE_US * 1000ull) /* Linux 6.12; before that the kernel has one for all */
#define IDLE_MS 20 /* so long one is content with what nobody else wants */

struct pool_job {
	TAILQ_ENTRY(pool_job) next;
	struct timespec began;
	bool pushing;   /* it has been content for long enough */
	struct user_credentials credentials;
	char password[VERIFY_PASSWORD_MAX + 1];
	bool ok;
	bool given;     /* to a thread: out of our hands until it is done */
	bool cancelled;
	pool_wanted_f *wanted;
	pool_done_f *done;
	void *arg;
};

TAILQ_HEAD(job_list, pool_job);

struct pool {
	/* the loop's */
	struct job_list waiting;
	size_t nwaiting;
	unsigned idle; /* threads without a job */
	int fd;        /* read end */
	bool may_rise; /* threads that have stepped back to what nobody wants may come forward again */
	unsigned nthreads;
	pthread_t threads[POOL_THREADS_MAX];
	/* shared */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job_list todo, finished;
	bool ending;
	int done_fd; /* write end: an octet for each finished job */
};

static void
job_free(struct pool_job *job)
{
	freezero(job, sizeof *job);
}

/* --- a thread --------------------------------------------------------------------------------- */

/* Lets the others of the process, and the workers, go first. The slice is what sched_yield() gives up when
 * others want the processor: with the kernel's own, which is many times longer, hashing would starve on a busy machine. */
static void
set_policy(uint32_t policy)
{
	/* struct sched_attr of linux/sched/types.h, whose other structures are the C library's as well */
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} a = { .size = sizeof a, .policy = policy, .nice = POOL_NICE /* logins by certificate and the workers go first */, .runtime = SLICE_NS };

	(void)syscall(SYS_sched_setattr, 0, &a, 0);
}

/* A thread of SCHED_IDLE is where the kernel wakes others as if the processor had nothing to do, and gives way at once. On a machine
 * where somebody always wants every processor it would be there for ever: after IDLE_MS it is one of low priority. */
static void
pause_job(void *arg)
{
	struct pool_job *job = arg;
	struct timespec now;

	if (!job->pushing) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		job->pushing = (now.tv_sec - job->began.tv_sec) * 1000 + (now.tv_nsec - job->began.tv_nsec) / 1000000 >=
			IDLE_MS;
		if (job->pushing)
			set_policy(SCHED_OTHER);
	}
	/* without this the kernel would look for others with its next tick only, which is 4 ms where it ticks 250 times a second */
	sched_yield();
}

static bool
run_job(const struct pool *p, struct pool_job *job)
{
	bool ok;

	/* the yescrypt form is made in one piece: who cannot push need not be content */
	job->pushing = !p->may_rise || !verify_is_scram(&job->credentials);
	clock_gettime(CLOCK_MONOTONIC, &job->began);
	if (!job->pushing)
		set_policy(SCHED_IDLE);
	ok = verify_password(&job->credentials, job->password, pause_job, job);
	if (!job->pushing)
		set_policy(SCHED_OTHER);
	return ok;
}

static void *
thread_main(void *arg)
{
	struct pool *p = arg;
	struct pool_job *job;

	set_policy(SCHED_OTHER);
	pthread_mutex_lock(&p->lock);
	for (;;) {
		while ((job = TAILQ_FIRST(&p->todo)) == NULL && !p->ending)
			pthread_cond_wait(&p->wake, &p->lock);
		if (p->ending)
			break;
		TAILQ_REMOVE(&p->todo, job, next);
		pthread_mutex_unlock(&p->lock);
		job->ok = run_job(p, job);
		pthread_mutex_lock(&p->lock);
		TAILQ_INSERT_TAIL(&p->finished, job, next);
		/* at most one for each thread: the pipe never fills */
		while (write(p->done_fd, "", 1) < 0 && errno == EINTR)
			;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* --- the loop's side -------------------------------------------------------------------------- */

struct pool *
pool_new(void)
{
	struct pool *p = calloc(1, sizeof *p);
	struct rlimit nice = { 0, 0 };
	int fds[2];

	if (p == NULL || pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
		free(p);
		return NULL;
	}
	p->may_rise = getrlimit(RLIMIT_NICE, &nice) == 0 && nice.rlim_cur >= POOL_NICE_LIMIT;
	p->fd = fds[0];
	p->done_fd = fds[1];
	TAILQ_INIT(&p->waiting);
	TAILQ_INIT(&p->todo);
	TAILQ_INIT(&p->finished);
	PT_ASSERT(pthread_mutex_init(&p->lock, NULL) == 0 && pthread_cond_init(&p->wake, NULL) == 0);
	return p;
}

int
pool_start(struct pool *p, unsigned threads)
{
	sigset_t all, before;

	PT_ASSERT(threads > 0 && threads <= POOL_THREADS_MAX && p->nthreads == 0);
	sigfillset(&all); /* signals are the loop's */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (p->nthreads < threads &&
	       pthread_create(&p->threads[p->nthreads], NULL, thread_main, p) == 0)
		p->nthreads++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	p->idle = p->nthreads;
	return p->nthreads > 0 ? 0 : PT_EUNAVAIL; /* fewer than wanted are slower, not wrong */
}

static void
drop(struct job_list *list)
{
	struct pool_job *job;

	while ((job = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, job, next);
		job_free(job);
	}
}

void
pool_free(struct pool **pp)
{
	struct pool *p = *pp;
	unsigned i;

	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (i = 0; i < p->nthreads; i++)
		pthread_join(p->threads[i], NULL);
	drop(&p->waiting);
	drop(&p->todo);
	drop(&p->finished);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	close(p->fd);
	close(p->done_fd);
	free(p);
	*pp = NULL;
}

int
pool_fd(const struct pool *p)
{
	return p->fd;
}

size_t
pool_waiting(const struct pool *p)
{
	return p->nwaiting;
}

static void
give(struct pool *p, struct pool_job *job)
{
	job->given = true;
	p->idle--;
	pthread_mutex_lock(&p->lock);
	TAILQ_INSERT_TAIL(&p->todo, job, next);
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

/* As many as there are free threads. */
static void
give_all(struct pool *p)
{
	struct pool_job *job;

	while (p->idle > 0 && (job = TAILQ_FIRST(&p->waiting)) != NULL) {
		TAILQ_REMOVE(&p->waiting, job, next);
		p->nwaiting--;
		if (job->wanted(job->arg)) {
			give(p, job);
			continue;
		}
		job->done(job->arg, false, false);
		job_free(job);
	}
}

void
pool_ready(struct pool *p)
{
	struct job_list finished = TAILQ_HEAD_INITIALIZER(finished);
	struct pool_job *job;
	char octets[POOL_THREADS_MAX];

	while (read(p->fd, octets, sizeof octets) > 0)
		;
	pthread_mutex_lock(&p->lock);
	TAILQ_CONCAT(&finished, &p->finished, next);
	pthread_mutex_unlock(&p->lock);
	while ((job = TAILQ_FIRST(&finished)) != NULL) {
		TAILQ_REMOVE(&finished, job, next);
		p->idle++;
		if (!job->cancelled)
			job->done(job->arg, true, job->ok);
		job_free(job);
	}
	give_all(p);
}

struct pool_job *
pool_check(struct pool *p, const struct user_credentials *c, const char *password, pool_wanted_f *wanted,
	   pool_done_f *done, void *arg)
{
	struct pool_job *job;

	if ((p->idle == 0 && p->nwaiting >= POOL_QUEUE_MAX) || p->nthreads == 0 ||
	    (job = calloc(1, sizeof *job)) == NULL)
		return NULL;
	PT_ASSERT(strlcpy(job->password, password, sizeof job->password) < sizeof job->password);
	job->credentials = *c;
	job->wanted = wanted;
	job->done = done;
	job->arg = arg;
	if (p->idle > 0) {
		give(p, job); /* it is wanted: its owner has just asked */
		return job;
	}
	TAILQ_INSERT_TAIL(&p->waiting, job, next);
	p->nwaiting++;
	return job;
}

void
pool_cancel(struct pool *p, struct pool_job *job)
{
	if (job->given) {
		job->cancelled = true; /* by the loop's thread alone; the others do not look */
		return;
	}
	TAILQ_REMOVE(&p->waiting, job, next);
	p->nwaiting--;
	job_free(job);
}
