/* unit/ev/test_ev.c - the event loop's promises: level-triggered watchers, timers that fire once, signals, and
 * what may be done to a watcher from within its own callback. No test depends on how fast a machine is. */
#include "test.h"

#include "ev/ev.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ev_loop *loop;

struct seen {
	unsigned n, what;
	struct ev_io *fini; /* ended from the callback */
	int close_fd;       /* and closed */
};

static void
on_io(void *arg, unsigned what)
{
	struct seen *s = arg;

	s->n++;
	s->what = what;
	if (s->fini != NULL) {
		ev_io_fini(s->fini);
		close(s->close_fd);
		s->fini = NULL;
	}
}

static void
on_timer(void *arg)
{
	++*(unsigned *)arg;
}

static void
on_stop(void *arg)
{
	(void)arg;
	ev_loop_stop(loop);
}

/* Handles what is ready now, without waiting for anything else. */
static void
turn(void)
{
	struct ev_timer t;
	unsigned n = 0;

	memset(&t, 0, sizeof t);
	ev_timer_init(&t, loop, on_timer, &n);
	ev_timer_set(&t, 0);
	while (n == 0)
		ev_loop_once(loop);
	ev_timer_fini(&t);
}

static void
test_io(void)
{
	static const struct {
		unsigned want, what;
	} rows[] = { /* of a socket that can be read and written */
		{ EV_IO_READ, EV_IO_READ },
		{ EV_IO_WRITE, EV_IO_WRITE },
		{ EV_IO_READ | EV_IO_WRITE, EV_IO_READ | EV_IO_WRITE },
		{ 0, 0 },
		{ EV_IO_WRITE, EV_IO_WRITE },
		{ EV_IO_READ, EV_IO_READ },
	};
	struct seen s = { 0 };
	struct ev_io io;
	int fds[2];
	size_t i;

	memset(&io, 0, sizeof io);
	CU_ASSERT_EQUAL(ev_io_wants(&io), 0);
	ev_io_fini(&io); /* zeroed */
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ev_io_init(&io, loop, fds[0], on_io, &s);
	CU_ASSERT_EQUAL(ev_io_wants(&io), 0);
	ev_io_want(&io, EV_IO_READ);
	turn();
	CU_ASSERT_EQUAL(s.n, 0); /* nothing to read yet */
	CU_ASSERT_EQUAL(write(fds[1], "x", 1), 1);
	for (i = 0; i < PT_COUNT(rows); i++) {
		ev_io_want(&io, rows[i].want);
		CU_ASSERT_EQUAL(ev_io_wants(&io), rows[i].want);
		ev_io_want(&io, rows[i].want); /* again: nothing changes */
		s.n = s.what = 0;
		turn();
		CU_ASSERT_EQUAL(s.what, rows[i].what);
		CU_ASSERT_EQUAL(s.n > 0, rows[i].want != 0);
		s.n = 0;
		turn(); /* level-triggered: as long as it is so */
		CU_ASSERT_EQUAL(s.n > 0, rows[i].want != 0);
	}
	/* the other end is closed: readable, and writable if that is asked for */
	close(fds[1]);
	ev_io_want(&io, EV_IO_READ);
	turn();
	CU_ASSERT_EQUAL(s.what, EV_IO_READ);
	ev_io_fini(&io);
	CU_ASSERT_EQUAL(ev_io_wants(&io), 0);
	s.n = 0;
	turn();
	CU_ASSERT_EQUAL(s.n, 0);
	ev_io_fini(&io);
	close(fds[0]);
}

static void
test_io_ended_in_its_callback(void)
{
	struct seen s = { 0 };
	struct ev_io io;
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	CU_ASSERT_EQUAL(write(fds[1], "x", 1), 1);
	ev_io_init(&io, loop, fds[0], on_io, &s);
	ev_io_want(&io, EV_IO_READ | EV_IO_WRITE);
	s.fini = &io;
	s.close_fd = fds[0];
	turn();
	turn();
	CU_ASSERT_EQUAL(s.n, 1);
	close(fds[1]);
}

/* A number that was closed and comes back as another descriptor, within one turn. */
static void
test_number_reused(void)
{
	struct seen first = { 0 }, second = { 0 };
	struct ev_io a, b;
	int one[2], two[2], number;

	CU_ASSERT_EQUAL_FATAL(pipe2(one, O_CLOEXEC), 0);
	CU_ASSERT_EQUAL_FATAL(pipe2(two, O_CLOEXEC), 0);
	ev_io_init(&a, loop, one[0], on_io, &first);
	ev_io_want(&a, EV_IO_READ);
	turn();
	ev_io_fini(&a);
	number = one[0];
	close(one[0]);
	CU_ASSERT_EQUAL(fcntl(two[0], F_DUPFD_CLOEXEC, number), number);
	ev_io_init(&b, loop, number, on_io, &second);
	ev_io_want(&b, EV_IO_READ);
	CU_ASSERT_EQUAL(write(two[1], "x", 1), 1);
	turn();
	CU_ASSERT_EQUAL(first.n, 0);
	CU_ASSERT_TRUE(second.n > 0);
	ev_io_fini(&b);
	close(number);
	close(one[1]);
	close(two[0]);
	close(two[1]);
}

/* A listener is shared with other processes: closing ours does not end it, so the kernel must be told
 * that we do not watch it any more, or its events go to whoever gets the number next. */
static void
test_shared_descriptor_is_forgotten(void)
{
	struct seen first = { 0 }, second = { 0 };
	struct ev_io a, b;
	int one[2], two[2], shared, number;

	CU_ASSERT_EQUAL_FATAL(pipe2(one, O_CLOEXEC), 0);
	CU_ASSERT_EQUAL_FATAL(pipe2(two, O_CLOEXEC), 0);
	shared = fcntl(one[0], F_DUPFD_CLOEXEC, 100); /* as another process would have it */
	ev_io_init(&a, loop, one[0], on_io, &first);
	ev_io_want(&a, EV_IO_READ);
	turn();
	ev_io_fini(&a);
	number = one[0];
	close(one[0]);
	CU_ASSERT_EQUAL(fcntl(two[0], F_DUPFD_CLOEXEC, number), number);
	turn();
	ev_io_init(&b, loop, number, on_io, &second);
	ev_io_want(&b, EV_IO_READ);
	turn();
	CU_ASSERT_EQUAL(write(one[1], "x", 1), 1);
	turn();
	CU_ASSERT_EQUAL(first.n, 0);
	CU_ASSERT_EQUAL(second.n, 0); /* nothing is in its pipe */
	CU_ASSERT_EQUAL(write(two[1], "x", 1), 1);
	turn();
	CU_ASSERT_TRUE(second.n > 0);
	ev_io_fini(&b);
	close(number);
	close(shared);
	close(one[1]);
	close(two[0]);
	close(two[1]);
}

static void
test_timer(void)
{
	unsigned n = 0, later = 0;
	struct ev_timer t, u;
	uint64_t start;

	memset(&t, 0, sizeof t);
	ev_timer_fini(&t); /* zeroed */
	ev_timer_init(&t, loop, on_timer, &n);
	ev_timer_init(&u, loop, on_timer, &later);
	CU_ASSERT_FALSE(ev_timer_pending(&t));
	start = ev_now_ms();
	ev_timer_set(&t, 20);
	CU_ASSERT_TRUE(ev_timer_pending(&t));
	while (n == 0)
		ev_loop_once(loop);
	CU_ASSERT_TRUE(ev_now_ms() - start >= 19);
	CU_ASSERT_FALSE(ev_timer_pending(&t));
	turn();
	CU_ASSERT_EQUAL(n, 1); /* once */
	/* a new setting replaces the one before, in both directions */
	ev_timer_set(&t, 3600000);
	ev_timer_set(&t, 0);
	while (n == 1)
		ev_loop_once(loop);
	ev_timer_set(&t, 0);
	ev_timer_set(&t, UINT64_MAX);
	turn();
	CU_ASSERT_EQUAL(n, 2);
	CU_ASSERT_TRUE(ev_timer_pending(&t));
	ev_timer_clear(&t);
	ev_timer_clear(&t);
	CU_ASSERT_FALSE(ev_timer_pending(&t));
	/* in the order of their times */
	ev_timer_set(&u, 40);
	ev_timer_set(&t, 10);
	while (later == 0) {
		ev_loop_once(loop);
		CU_ASSERT_TRUE(later == 0 || n == 3);
	}
	ev_timer_set(&u, 0);
	ev_timer_fini(&u);
	turn();
	CU_ASSERT_EQUAL(later, 1);
	ev_timer_fini(&t);
	ev_timer_fini(&t);
}

static struct ev_timer again;

static void
on_again(void *arg)
{
	unsigned *n = arg;

	if (++*n < 3)
		ev_timer_set(&again, 0); /* from its own callback */
	else
		ev_timer_fini(&again);
}

static void
test_timer_set_in_its_callback(void)
{
	unsigned n = 0;

	ev_timer_init(&again, loop, on_again, &n);
	ev_timer_set(&again, 0);
	while (n < 3)
		ev_loop_once(loop);
	turn();
	CU_ASSERT_EQUAL(n, 3);
}

static int last_signal;

static void
on_signal(void *arg, int signo)
{
	++*(unsigned *)arg;
	last_signal = signo;
}

static void
test_signal(void)
{
	struct ev_signal s, t;
	unsigned n = 0, m = 0;

	memset(&t, 0, sizeof t);
	ev_signal_fini(&t);
	ev_signal_init(&s, loop, SIGUSR1, on_signal, &n);
	ev_signal_init(&t, loop, SIGHUP, on_signal, &m);
	raise(SIGUSR1);
	while (n == 0)
		ev_loop_once(loop);
	CU_ASSERT_EQUAL(last_signal, SIGUSR1);
	CU_ASSERT_EQUAL(m, 0);
	raise(SIGHUP);
	while (m == 0)
		ev_loop_once(loop);
	CU_ASSERT_EQUAL(last_signal, SIGHUP);
	raise(SIGUSR1);
	while (n == 1)
		ev_loop_once(loop);
	ev_signal_fini(&s);
	ev_signal_fini(&t);
	ev_signal_fini(&t);
	CU_ASSERT_EQUAL(n, 2);
	CU_ASSERT_EQUAL(m, 1);
}

/* --- one of several ----------------------------------------------------------------------------- */

#define SLEEPERS 6

struct sleeper {
	struct ev_io io;
	int said; /* where to say that it was woken */
};

/* It says so, and leaves the connection to others. */
static void
on_woken(void *arg, unsigned what)
{
	struct sleeper *s = arg;

	(void)what;
	PT_ASSERT(write(s->said, "x", 1) == 1);
	ev_io_want(&s->io, 0);
}

/* Waits in a loop of its own for a connection, until it is killed. */
static pid_t
sleeper(int listener, int said, bool alone)
{
	struct sleeper s = { .said = said };
	struct ev_loop *l;
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	l = ev_loop_new();
	ev_io_init(&s.io, l, listener, on_woken, &s);
	if (alone)
		ev_io_want_alone(&s.io);
	else
		ev_io_want(&s.io, EV_IO_READ);
	ev_loop_run(l);
	_exit(0);
}

/* Until it has nothing to do: then it sleeps in epoll and nowhere else. */
static void
await_sleep(pid_t pid)
{
	char path[64], state = '?';
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	while (state != 'S') {
		CU_ASSERT_PTR_NOT_NULL_FATAL((f = fopen(path, "r")));
		CU_ASSERT_EQUAL_FATAL(fscanf(f, "%*d (%*[^)]) %c", &state), 1);
		fclose(f);
		if (state != 'S')
			usleep(1000);
	}
}

static int
connect_to(int listener)
{
	struct sockaddr_in a;
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CU_ASSERT_EQUAL_FATAL(getsockname(listener, (struct sockaddr *)&a, &n), 0);
	CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&a, n), 0);
	return fd;
}

/* How many of SLEEPERS a connection wakes that none of them takes. */
static unsigned
woken(bool alone)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener, said[2], fd, i;
	pid_t pids[SLEEPERS];
	char octets[64];
	ssize_t n;

	CU_ASSERT_EQUAL_FATAL(pipe(said), 0);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CU_ASSERT_EQUAL_FATAL(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
	CU_ASSERT_EQUAL_FATAL(listen(listener, 8), 0);
	for (i = 0; i < SLEEPERS; i++)
		pids[i] = sleeper(listener, said[1], alone);
	for (i = 0; i < SLEEPERS; i++)
		await_sleep(pids[i]);
	fd = connect_to(listener);
	for (i = 0; i < SLEEPERS; i++)
		await_sleep(pids[i]);
	for (i = 0; i < SLEEPERS; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	close(said[1]);
	n = read(said[0], octets, sizeof octets);
	close(said[0]);
	close(listener);
	close(fd);
	return n > 0 ? (unsigned)n : 0;
}

static void
test_alone(void)
{
	CU_ASSERT_EQUAL(woken(true), 1);
	CU_ASSERT_EQUAL(woken(false), SLEEPERS);
}

/* It is watched as any other: until it is wanted no more, and again. */
static void
test_alone_watches(void)
{
	struct seen seen = { 0 };
	struct ev_io io;
	int p[2], i;

	CU_ASSERT_EQUAL_FATAL(pipe(p), 0);
	ev_io_init(&io, loop, p[0], on_io, &seen);
	for (i = 0; i < 2; i++) {
		seen.n = 0;
		ev_io_want_alone(&io);
		ev_io_want_alone(&io); /* twice is once */
		CU_ASSERT_EQUAL(ev_io_wants(&io), EV_IO_READ);
		CU_ASSERT_EQUAL(write(p[1], "x", 1), 1);
		ev_loop_once(loop);
		CU_ASSERT_EQUAL(seen.n, 1);
		ev_loop_once(loop); /* level-triggered */
		CU_ASSERT_EQUAL(seen.n, 2);
		ev_io_want(&io, 0);
		CU_ASSERT_EQUAL(ev_io_wants(&io), 0);
		CU_ASSERT_EQUAL(read(p[0], &(char){ 0 }, 1), 1);
	}
	ev_io_want_alone(&io);
	ev_io_fini(&io);
	close(p[0]);
	close(p[1]);
}

static void
test_stop(void)
{
	struct ev_timer t;
	unsigned n = 0;

	/* with nothing to watch it still runs, until the timer stops it */
	ev_timer_init(&t, loop, on_stop, NULL);
	ev_timer_set(&t, 1);
	ev_loop_run(loop);
	CU_ASSERT_FALSE(ev_timer_pending(&t));
	ev_timer_set(&t, 1);
	ev_loop_run(loop); /* and again */
	ev_timer_fini(&t);
	ev_timer_init(&t, loop, on_timer, &n);
	ev_timer_set(&t, 0);
	while (n == 0)
		ev_loop_once(loop);
	ev_timer_fini(&t);
}

static void
test_loops(void)
{
	struct ev_loop *none = NULL, *l;
	unsigned before = test_open_fds();

	ev_loop_free(&none);
	l = ev_loop_new();
	CU_ASSERT_PTR_NOT_NULL(l);
	CU_ASSERT_TRUE(test_open_fds() > before);
	ev_loop_free(&l);
	CU_ASSERT_PTR_NULL(l);
	CU_ASSERT_EQUAL(test_open_fds(), before);
	ev_loop_free(&loop); /* the one of all tests */
}

static void
test_begin(void)
{
	loop = ev_loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(loop);
}

static const struct test_row rows[] = {
	{ "a loop", test_begin },
	{ "what is wanted is what is told", test_io },
	{ "a watcher that ends in its callback", test_io_ended_in_its_callback },
	{ "a number that is used again", test_number_reused },
	{ "a descriptor that others share is forgotten", test_shared_descriptor_is_forgotten },
	{ "timers", test_timer },
	{ "a timer that sets itself", test_timer_set_in_its_callback },
	{ "signals", test_signal },
	{ "one of several is woken", test_alone },
	{ "a watcher that is woken alone", test_alone_watches },
	{ "stop", test_stop },
	{ "the loop's own descriptors", test_loops },
};
TEST_MAIN("ev", rows)
