/* store/crew.c - one mutex, a queue for each lane, and strands. */
#include "store/crew.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define APPLY_NICE 10 /* who waits for an answer goes first; what has been answered is safe in the journal */

struct queue {
	struct crew_job *head, *tail;
};

struct lane {
	struct queue ready;
	pthread_cond_t some;
	pthread_t threads[CREW_THREADS_MAX];
	unsigned nthreads;
};

struct crew {
	pthread_mutex_t lock;
	struct lane lane[CREW_LANES];
	struct queue finished;
	bool announced; /* of these the main thread has been told, or is just being told */
	bool stop;
	int fd;
	/* the main thread's */
	size_t jobs; /* submitted, done() not yet called */
	bool in_turn;
	unsigned owed; /* threads of CREW_APPLY that are woken when it ends */
};

/* Who is to be woken when the lock is free again: a thread that is woken under it, and the main thread above all, would only
 * wait for it, perhaps while a thread of low priority that holds it has no processor. */
struct wakes {
	unsigned n[CREW_LANES];
	bool main;
};

struct starter {
	struct crew *p;
	struct lane *lane;
};

static void
push(struct queue *q, struct crew_job *j)
{
	j->next = NULL;
	if (q->head == NULL)
		q->head = j;
	else
		q->tail->next = j;
	q->tail = j;
}

static struct crew_job *
pop(struct queue *q)
{
	struct crew_job *j = q->head;

	if (j != NULL)
		q->head = j->next;
	return j;
}

/* Under the lock: the main thread is told, unless it has been. */
static void
announce(struct crew *p, struct wakes *w)
{
	w->main = w->main || !p->announced;
	p->announced = true;
}

/* Under the lock. */
static void
make_ready(struct crew *p, struct crew_job *j, struct wakes *w)
{
	push(&p->lane[j->lane].ready, j);
	w->n[j->lane]++;
}

/* Without the lock. */
static void
wake(struct crew *p, const struct wakes *w)
{
	uint64_t one = 1;
	unsigned i, k;

	for (i = 0; i < CREW_LANES; i++)
		for (k = 0; k < w->n[i]; k++)
			pthread_cond_signal(&p->lane[i].some);
	if (w->main && write(p->fd, &one, sizeof one) != sizeof one)
		PT_ASSERT(!"an eventfd takes a one");
}

/* Under the lock: the next in each of its strands has its turn. */
static void
leave_strands(struct crew *p, struct crew_job *j, struct wakes *w)
{
	struct crew_strand *s;
	unsigned i;

	for (i = 0; i < j->nturns; i++) {
		s = j->turn[i].strand;
		PT_ASSERT(s->head == &j->turn[i]);
		s->head = j->turn[i].next;
		if (s->head != NULL && --s->head->job->waiting == 0)
			make_ready(p, s->head->job, w);
	}
}

static void
finish(struct crew *p, struct crew_job *j, struct wakes *w)
{
	if (!j->again)
		leave_strands(p, j, w);
	push(&p->finished, j);
	if (!j->unhurried || j->again)
		announce(p, w);
}

/* Under the lock: until there is a job, or the end. What has ended untold is told before anything else is begun, which may take long, and
 * when this has waited for CREW_LATE_MS. */
static struct crew_job *
next_job(struct crew *p, struct lane *l)
{
	struct wakes w = { .main = false };
	struct timespec late;
	struct crew_job *j;

	while (!p->stop && l->ready.head == NULL) {
		if (p->finished.head == NULL || p->announced) {
			pthread_cond_wait(&l->some, &p->lock);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &late);
		late.tv_nsec += CREW_LATE_MS * 1000000L;
		late.tv_sec += late.tv_nsec / 1000000000;
		late.tv_nsec %= 1000000000;
		if (pthread_cond_timedwait(&l->some, &p->lock, &late) == ETIMEDOUT)
			break;
	}
	j = p->stop ? NULL : pop(&l->ready);
	if (p->finished.head != NULL)
		announce(p, &w);
	if (w.main) {
		pthread_mutex_unlock(&p->lock);
		wake(p, &w);
		pthread_mutex_lock(&p->lock);
	}
	return j;
}

/* As top -H shows them. */
static const char *const names[CREW_LANES] = { [CREW_APPLY] = "apply", [CREW_READ] = "read", [CREW_FLUSH] = "flush" };

static void *
thread(void *arg)
{
	struct starter *s = arg;
	struct crew *p = s->p;
	struct lane *l = s->lane;
	ptrdiff_t lane = l - p->lane;
	struct crew_job *j;
	struct wakes w;

	free(s);
	(void)prctl(PR_SET_NAME, names[lane], 0, 0, 0);
	if (l == &p->lane[CREW_APPLY])
		(void)setpriority(PRIO_PROCESS, 0, APPLY_NICE); /* on Linux: of this thread */
	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		if ((j = next_job(p, l)) == NULL)
			continue;
		pthread_mutex_unlock(&p->lock);
		j->run(j);
		w = (struct wakes){ .main = false };
		pthread_mutex_lock(&p->lock);
		finish(p, j, &w);
		if (w.n[lane] > 0)
			w.n[lane]--; /* this thread takes it */
		pthread_mutex_unlock(&p->lock);
		wake(p, &w);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int
start(struct crew *p, struct lane *l)
{
	struct starter *s = malloc(sizeof *s);

	if (s == NULL)
		return PT_ENOMEM;
	*s = (struct starter){ p, l };
	if (pthread_create(&l->threads[l->nthreads], NULL, thread, s) != 0) {
		free(s);
		return PT_EUNAVAIL;
	}
	l->nthreads++;
	return 0;
}

struct crew *
crew_new(const unsigned threads[CREW_LANES])
{
	struct crew *p = calloc(1, sizeof *p);
	pthread_condattr_t monotonic;
	sigset_t all, before;
	unsigned i, k;
	int rc = 0;

	if (p == NULL)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	PT_ASSERT(pthread_condattr_init(&monotonic) == 0 && pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
	for (i = 0; i < CREW_LANES; i++)
		PT_ASSERT(pthread_cond_init(&p->lane[i].some, &monotonic) == 0);
	pthread_condattr_destroy(&monotonic);
	if ((p->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		rc = PT_EUNAVAIL;
	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (i = 0; i < CREW_LANES && rc == 0; i++)
		for (k = 0; k < threads[i] && k < CREW_THREADS_MAX && rc == 0; k++)
			rc = start(p, &p->lane[i]);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		crew_free(&p);
	return p;
}

void
crew_free(struct crew **pp)
{
	struct crew *p = *pp;
	unsigned i, k;

	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	for (i = 0; i < CREW_LANES; i++)
		pthread_cond_broadcast(&p->lane[i].some);
	pthread_mutex_unlock(&p->lock);
	for (i = 0; i < CREW_LANES; i++) {
		for (k = 0; k < p->lane[i].nthreads; k++)
			pthread_join(p->lane[i].threads[k], NULL);
		pthread_cond_destroy(&p->lane[i].some);
	}
	pthread_mutex_destroy(&p->lock);
	if (p->fd >= 0)
		close(p->fd);
	free(p);
	*pp = NULL;
}

int
crew_fd(const struct crew *p)
{
	return p->fd;
}

/* Main thread, without the lock. */
static void
wake_later(struct crew *p, struct wakes *w)
{
	if (p->in_turn) {
		p->owed += w->n[CREW_APPLY];
		w->n[CREW_APPLY] = 0;
	}
	wake(p, w);
}

void
crew_wake(struct crew *p)
{
	struct wakes w = { .n = { [CREW_APPLY] = p->owed } };

	p->owed = 0;
	wake(p, &w);
}

void
crew_submit(struct crew *p, struct crew_job *j, struct crew_strand *const *strands, unsigned n)
{
	struct wakes w = { .main = false };
	struct crew_turn *t;
	unsigned i;

	PT_ASSERT(n <= CREW_STRANDS_INLINE);
	pthread_mutex_lock(&p->lock);
	j->nturns = n;
	j->waiting = 0;
	p->jobs++;
	for (i = 0; i < n; i++) {
		t = &j->turn[i];
		*t = (struct crew_turn){ .job = j, .strand = strands[i] };
		if (strands[i]->head == NULL) {
			strands[i]->head = t;
		} else {
			strands[i]->tail->next = t;
			j->waiting++;
		}
		strands[i]->tail = t;
	}
	if (j->waiting == 0)
		make_ready(p, j, &w);
	pthread_mutex_unlock(&p->lock);
	wake_later(p, &w);
}

void
crew_again(struct crew *p, struct crew_job *j)
{
	struct wakes w = { .main = false };

	pthread_mutex_lock(&p->lock);
	j->again = false;
	p->jobs++;
	make_ready(p, j, &w);
	pthread_mutex_unlock(&p->lock);
	wake_later(p, &w);
}

void
crew_refuse(struct crew *p, struct crew_strand *s)
{
	struct wakes w = { .main = false };
	struct crew_turn *t, *before;
	struct crew_job *j;

	pthread_mutex_lock(&p->lock);
	for (before = s->head; before != NULL && (t = before->next) != NULL;) {
		j = t->job;
		if (j->refused == NULL || j->nturns > 1) {
			before = t;
			continue;
		}
		before->next = t->next;
		if (s->tail == t)
			s->tail = before;
		j->refused(j);
		push(&p->finished, j);
		announce(p, &w);
	}
	pthread_mutex_unlock(&p->lock);
	wake(p, &w);
}

const struct crew_job *
crew_strand_first(struct crew *p, const struct crew_strand *s)
{
	const struct crew_job *j;

	pthread_mutex_lock(&p->lock);
	j = s->head == NULL ? NULL : s->head->job;
	pthread_mutex_unlock(&p->lock);
	return j;
}

bool
crew_strand_idle(struct crew *p, const struct crew_strand *s)
{
	bool idle;

	pthread_mutex_lock(&p->lock);
	idle = s->head == NULL;
	pthread_mutex_unlock(&p->lock);
	return idle;
}

/* told: by the descriptor, which is emptied. Otherwise it stays as it is: what it announces has not been written yet, perhaps. */
static void
collect(struct crew *p, bool told)
{
	struct crew_job *j, *next;
	uint64_t n;

	pthread_mutex_lock(&p->lock);
	if (told) {
		if (read(p->fd, &n, sizeof n) != sizeof n) {
			/* nothing was announced */
		}
		p->announced = false;
	}
	j = p->finished.head;
	p->finished.head = NULL;
	pthread_mutex_unlock(&p->lock);
	for (; j != NULL; j = next) {
		next = j->next;
		p->jobs--;
		j->done(j);
	}
}

void
crew_dispatch(struct crew *p)
{
	collect(p, true);
}

void
crew_turn_begin(struct crew *p)
{
	p->in_turn = true;
}

void
crew_turn_end(struct crew *p)
{
	p->in_turn = false;
	collect(p, false); /* before a thread takes the next, and tells what it finds */
	crew_wake(p);
}

void
crew_drain(struct crew *p)
{
	struct pollfd fd = { .fd = p->fd, .events = POLLIN };

	crew_wake(p);
	while (p->jobs > 0) {
		(void)poll(&fd, 1, -1);
		crew_dispatch(p);
	}
}
