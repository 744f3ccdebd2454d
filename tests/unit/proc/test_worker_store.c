/* unit/proc/test_worker_store.c - who waits for a store process that is away: told once, when it comes or is not waited for
 * any longer. */
#include "test.h"

#include "proc/worker_store.h"

#include <sys/socket.h>
#include <unistd.h>

#define LONG_MS 600000 /* longer than any test */

struct waiter {
	struct worker_store_wait wait;
	struct worker_store *ws;
	struct waiter *other; /* whose wait it ends; NULL: nobody's */
	unsigned told;
	bool there;
};

static void
on_over(void *arg)
{
	struct waiter *w = arg;

	w->told++;
	w->there = store_attached(worker_store(w->ws));
	if (w->other != NULL)
		worker_store_wait_end(&w->other->wait);
}

static void
attach(struct worker_store *ws, int *peer_out)
{
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	*peer_out = fds[1];
	worker_store_attach(ws, fds[0]);
}

static void
test_comes(void)
{
	struct ev_loop *loop = ev_loop_new();
	struct worker_store *ws = worker_store_new(loop);
	struct waiter a = { .ws = ws }, b = { .ws = ws }, c = { .ws = ws };
	int peer, next;

	CU_ASSERT_PTR_NOT_NULL_FATAL(ws);
	a.other = &b;
	worker_store_wait_end(&a.wait); /* it does not wait */
	worker_store_wait(ws, &a.wait, LONG_MS, on_over, &a);
	worker_store_wait(ws, &b.wait, LONG_MS, on_over, &b);
	worker_store_wait(ws, &c.wait, LONG_MS, on_over, &c);
	CU_ASSERT_EQUAL(a.told + b.told + c.told, 0);
	attach(ws, &peer);
	CU_ASSERT_TRUE(a.told == 1 && a.there);
	CU_ASSERT_EQUAL(b.told, 0); /* ended by a */
	CU_ASSERT_TRUE(c.told == 1 && c.there);
	attach(ws, &next);
	CU_ASSERT_TRUE(a.told == 1 && c.told == 1);
	close(peer);
	close(next);
	worker_store_free(&ws);
	ev_loop_free(&loop);
}

static void
test_does_not_come(void)
{
	struct ev_loop *loop = ev_loop_new();
	struct worker_store *ws = worker_store_new(loop);
	struct waiter a = { .ws = ws }, b = { .ws = ws };
	int i, peer;

	CU_ASSERT_PTR_NOT_NULL_FATAL(ws);
	worker_store_wait(ws, &a.wait, 1, on_over, &a);
	worker_store_wait(ws, &b.wait, LONG_MS, on_over, &b);
	for (i = 0; i < 1000 && a.told == 0; i++)
		ev_loop_once(loop);
	CU_ASSERT_TRUE(a.told == 1 && !a.there);
	worker_store_wait(ws, &a.wait, LONG_MS, on_over, &a); /* and again */
	attach(ws, &peer);
	CU_ASSERT_TRUE(a.told == 2 && a.there);
	CU_ASSERT_TRUE(b.told == 1 && b.there);
	close(peer);
	worker_store_free(&ws);
	ev_loop_free(&loop);
}

static void
test_freed(void)
{
	struct ev_loop *loop = ev_loop_new();
	struct worker_store *ws = worker_store_new(loop);
	struct waiter a = { .ws = ws };

	CU_ASSERT_PTR_NOT_NULL_FATAL(ws);
	worker_store_wait(ws, &a.wait, LONG_MS, on_over, &a);
	worker_store_free(&ws);
	worker_store_wait_end(&a.wait);
	CU_ASSERT_EQUAL(a.told, 0);
	ev_loop_free(&loop);
}

static const struct test_row rows[] = {
	{ "the store comes", test_comes },
	{ "it does not come in time", test_does_not_come },
	{ "the end of the worker", test_freed },
};
TEST_MAIN("proc/worker_store", rows)
