/* unit/auth/test_pool.c - the queue, its limit, cancelling, and that nothing is called twice. */
#include "test.h"

#include "auth/pool.h"

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Cheap to check: "pencil" (RFC 7677). */
#define VECTOR "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==," \
	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static struct user_credentials credentials;

struct one {
	unsigned asked, done;
	bool want, wanted, ok;
};

static bool
wanted(void *arg)
{
	struct one *o = arg;

	o->asked++;
	return o->want;
}

static void
done(void *arg, bool was_wanted, bool ok)
{
	struct one *o = arg;

	o->done++;
	o->wanted = was_wanted;
	o->ok = ok;
}

static struct pool *
start(unsigned threads)
{
	struct pool *p = pool_new();
	const char *why;

	PT_ASSERT(p != NULL && users_credentials_parse(span_str(VECTOR), &credentials, &why));
	PT_ASSERT(pool_start(p, threads) == 0);
	return p;
}

static void
wait_for(struct pool *p, const unsigned *n, unsigned target)
{
	struct pollfd fd = { .fd = pool_fd(p), .events = POLLIN };

	while (*n < target) {
		PT_ASSERT(poll(&fd, 1, 60000) == 1);
		pool_ready(p);
	}
}

static void
test_checks(void)
{
	struct one ones[20] = { { 0 } };
	struct pool *p;
	unsigned i, threads;

	for (threads = 1; threads <= POOL_THREADS_MAX; threads++) {
		memset(ones, 0, sizeof ones);
		p = start(threads);
		for (i = 0; i < 20; i++) {
			ones[i].want = i % 5 != 4;
			CU_ASSERT_PTR_NOT_NULL(pool_check(p, &credentials, i % 2 ? "pencil" : "pen", wanted, done,
				&ones[i]));
			CU_ASSERT_EQUAL(ones[i].done, 0);
		}
		CU_ASSERT_EQUAL(pool_waiting(p), 20 - threads);
		for (i = 0; i < 20; i++)
			wait_for(p, &ones[i].done, 1);
		for (i = 0; i < 20; i++) {
			CU_ASSERT_EQUAL(ones[i].done, 1);
			CU_ASSERT_TRUE(ones[i].asked == (i >= threads));
			/* the first ones were given away at once */
			CU_ASSERT_EQUAL(ones[i].wanted, i < threads || i % 5 != 4);
			CU_ASSERT_EQUAL(ones[i].ok, ones[i].wanted && i % 2 == 1);
		}
		CU_ASSERT_EQUAL(pool_waiting(p), 0);
		pool_free(&p);
		CU_ASSERT_PTR_NULL(p);
	}
}

static void
test_limit(void)
{
	static struct one ones[POOL_QUEUE_MAX + 2];
	struct pool *p = start(1);
	unsigned i;

	/* one is given to the thread, then as many as the queue holds; all but the first are not wanted when they
	 * are looked at */
	for (i = 0; i < POOL_QUEUE_MAX + 1; i++)
		CU_ASSERT_PTR_NOT_NULL(pool_check(p, &credentials, "pencil", wanted, done, &ones[i]));
	CU_ASSERT_PTR_NULL(pool_check(p, &credentials, "pencil", wanted, done, &ones[i]));
	wait_for(p, &ones[POOL_QUEUE_MAX].done, 1);
	CU_ASSERT_TRUE(ones[0].ok);
	CU_ASSERT_FALSE(ones[1].wanted);
	CU_ASSERT_EQUAL(ones[POOL_QUEUE_MAX + 1].done, 0);
	/* and there is room again */
	ones[0] = (struct one){ .want = true };
	CU_ASSERT_PTR_NOT_NULL(pool_check(p, &credentials, "pencil", wanted, done, &ones[0]));
	wait_for(p, &ones[0].done, 1);
	pool_free(&p);
}

static void
test_cancel(void)
{
	struct one a = { .want = true }, b = { .want = true }, c = { .want = true };
	struct pool_job *ja, *jb;
	struct pool *p = start(1);

	ja = pool_check(p, &credentials, "pencil", wanted, done, &a);
	jb = pool_check(p, &credentials, "pencil", wanted, done, &b);
	CU_ASSERT_PTR_NOT_NULL(pool_check(p, &credentials, "pencil", wanted, done, &c));
	pool_cancel(p, ja); /* under way */
	pool_cancel(p, jb); /* waiting */
	wait_for(p, &c.done, 1);
	CU_ASSERT_TRUE(c.ok);
	CU_ASSERT_EQUAL(a.done + a.asked + b.done + b.asked, 0);
	pool_free(&p);
}

/* Its end with work under way and waiting calls nobody and loses nothing (the sanitizer looks). */
static void
test_end(void)
{
	struct one ones[8] = { { 0 } };
	unsigned i, fds = test_open_fds();
	struct pool *p = start(2);

	for (i = 0; i < 8; i++)
		CU_ASSERT_PTR_NOT_NULL(pool_check(p, &credentials, "pencil", wanted, done, &ones[i]));
	pool_free(&p);
	for (i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(ones[i].done, 0);
	CU_ASSERT_EQUAL(test_open_fds(), fds);
	p = pool_new(); /* and one that never had threads */
	CU_ASSERT_PTR_NULL(pool_check(p, &credentials, "pencil", wanted, done, &ones[0]));
	pool_free(&p);
	CU_ASSERT_EQUAL(test_open_fds(), fds);
}

/* Of any thread but this one: whether it has that policy (proc(5), stat 41), and the nice value of the last seen. */
static bool
has_policy(int policy, long *nice_out)
{
	DIR *d = opendir("/proc/self/task");
	char path[300], line[1024], *p;
	bool has = false;
	struct dirent *e;
	FILE *f;
	int i;

	PT_ASSERT(d != NULL);
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.' || strtol(e->d_name, NULL, 10) == getpid())
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%s/stat", e->d_name);
		if ((f = fopen(path, "r")) == NULL)
			continue;
		p = fgets(line, sizeof line, f) == NULL ? NULL : strrchr(line, ')');
		fclose(f);
		for (i = 2; p != NULL && i < 41; i++) {
			p = strchr(p + 1, ' ');
			if (i == 18 && p != NULL)
				*nice_out = strtol(p, NULL, 10);
		}
		has = has || (p != NULL && strtol(p, NULL, 10) == policy);
	}
	closedir(d);
	return has;
}

/* At first it takes only what nobody else wants, then it pushes, where the process may come back from there. A thread that has
 * nothing to do is an ordinary one of low priority. */
static void
test_patience(void)
{
	struct rlimit before, nice = { POOL_NICE_LIMIT, POOL_NICE_LIMIT };
	struct user_credentials slow;
	bool idle = false, pushed = false, other;
	struct pool *p;
	struct one o;
	long level = 0;
	int i;

	PT_ASSERT(getrlimit(RLIMIT_NICE, &before) == 0);
	if (setrlimit(RLIMIT_NICE, &nice) != 0) /* not root: it never steps back so far */
		PT_ASSERT(getrlimit(RLIMIT_NICE, &nice) == 0);
	p = start(1);
	slow = credentials;
	slow.scram.iterations = 1000000;
	for (i = 0; i < 30 && !(idle && pushed); i++) {
		o = (struct one){ .want = true };
		CU_ASSERT_PTR_NOT_NULL(pool_check(p, &slow, "pencil", wanted, done, &o));
		while (o.done == 0) {
			struct pollfd fd = { .fd = pool_fd(p), .events = POLLIN };

			idle = idle || has_policy(SCHED_IDLE, &level);
			other = idle && has_policy(SCHED_OTHER, &level);
			if (poll(&fd, 1, other ? 5 : 0) == 1)
				pool_ready(p);
			else
				pushed = pushed || other; /* and it is not because it is done */
		}
		if (nice.rlim_cur < POOL_NICE_LIMIT)
			break;
	}
	CU_ASSERT_EQUAL(idle, nice.rlim_cur >= POOL_NICE_LIMIT);
	CU_ASSERT_EQUAL(pushed, idle);
	CU_ASSERT_TRUE(has_policy(SCHED_OTHER, &level));
	CU_ASSERT_EQUAL(level, POOL_NICE);
	pool_free(&p);
	(void)setrlimit(RLIMIT_NICE, &before);
}

static const struct test_row tests[] = {
	{ "checks", test_checks },
	{ "the queue's limit", test_limit },
	{ "cancelling", test_cancel },
	{ "patience", test_patience },
	{ "the end", test_end },
};

TEST_MAIN("auth/pool", tests)
