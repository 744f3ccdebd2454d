/* bench/load.c - a load client for the line protocol. One process, one epoll loop, non-blocking clients.
 *
 *   load pki DIR                     makes a CA and a server certificate there
 *   load cycle  --port N --conns N --seconds S [--meter SPEC] [--plain] [--pki DIR --certs N] [--resume]
 *   load noop   --port N --conns N --seconds S [--meter SPEC]
 *   load crl DIR N                   makes a revocation list of that CA with N entries
 *   load pace   --port N --conns N --seconds S --interval MS [--pki DIR --certs N]
 *   load idle   --port N --conns N [--plain] [--pki DIR --certs N]
 *   load stall  --port N --conns N
 *
 * pace is noop with a pause: each connection sends one command every MS. It prints "up" when all are open.
 * cycle and noop run for S seconds and print one JSON object: operations, seconds, errors, percentiles of
 * the time of an operation, and the server's CPU as --meter tells (meter.h). idle and stall open their
 * connections, print "up", hold them until standard input ends, and print one JSON object then. A stalled
 * client that the server drops comes back at once. --plain: without TLS; a cycle has the same round trips
 * then, so that the cost of the sockets alone can be told. */
#include "client.h"
#include "meter.h"

#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define OPENING_MAX 64 /* connections being opened at a time, where they are to be held */
#define SAMPLES_MAX (4u << 20)
#define EVENTS 256
#define DRIP_NS 1000000000u

struct load {
	struct client *clients;
	unsigned nclients, opening, up;
	int epoll;
	enum client_goal goal;
	bool commands; /* noop: operations on open connections */
	bool paced;    /* the next one in its time */
	bool running;  /* new operations may begin */
	unsigned busy; /* operations under way */
	uint64_t ops, errors, dropped;
	const char *first_error;
	uint32_t *samples;
	size_t nsamples;
};

struct options {
	const char *mode, *meter, *pki;
	unsigned port, conns, certs;
	double seconds;
	unsigned interval_ms;
	bool plain, resume;
};

static void
error(struct load *l, const char *why)
{
	l->errors++;
	if (l->first_error == NULL)
		l->first_error = why;
}

static enum client_state
begin(struct load *l, struct client *c)
{
	enum client_state s = client_begin(c, (unsigned)(c - l->clients), l->goal);
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	if (s == CLIENT_BUSY && epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->wire.fd, &ev) != 0)
		fail("epoll_ctl", 0);
	if (s == CLIENT_FAILED) {
		error(l, c->why);
		client_end(c);
	}
	return s;
}

static void
sample(struct load *l, const struct client *c)
{
	l->ops++;
	if (l->nsamples < SAMPLES_MAX)
		l->samples[l->nsamples++] = (uint32_t)((meter_now_ns() - c->begun_ns) / 1000);
}

/* --- operations for a time -------------------------------------------------------------------- */

static void
begin_cycle(struct load *l, struct client *c)
{
	if (begin(l, c) == CLIENT_BUSY)
		l->busy++;
}

static void
begin_noop(struct load *l, struct client *c)
{
	c->begun_ns = meter_now_ns();
	if (client_noop(c) == CLIENT_BUSY)
		l->busy++;
	else
		error(l, c->why);
}

/* An operation has ended: the next. */
static void
ended(struct load *l, struct client *c, enum client_state s)
{
	if (l->busy > 0) /* not when the server speaks or ends unasked */
		l->busy--;
	if (s == CLIENT_THERE)
		sample(l, c);
	else
		error(l, c->why);
	if (!l->commands || s == CLIENT_FAILED)
		client_end(c);
	if (!l->running || l->paced)
		return;
	if (!l->commands)
		begin_cycle(l, c);
	else if (s == CLIENT_THERE)
		begin_noop(l, c);
}

static void
turn(struct load *l, int timeout_ms)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(l->epoll, ev, EVENTS, timeout_ms), i;
	struct client *c;
	enum client_state s;

	for (i = 0; i < n; i++) {
		c = ev[i].data.ptr;
		if ((s = client_step(c)) != CLIENT_BUSY)
			ended(l, c, s);
	}
}

static int
compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint32_t
percentile(const struct load *l, unsigned p)
{
	return l->nsamples == 0 ? 0 : l->samples[(l->nsamples - 1) * p / 100];
}

static void open_all(struct load *l);

static void
print_result(struct load *l, uint64_t begun, uint64_t cpu)
{
	qsort(l->samples, l->nsamples, sizeof *l->samples, compare);
	printf("{\"ops\": %" PRIu64 ", \"seconds\": %.4f, \"errors\": %" PRIu64 ", \"error\": \"%s\", "
	       "\"p50_us\": %" PRIu32 ", \"p99_us\": %" PRIu32 ", \"max_us\": %" PRIu32 ", \"cpu_us\": %.1f}\n",
		l->ops, (double)(meter_now_ns() - begun) / 1e9, l->errors,
		l->first_error != NULL ? l->first_error : "", percentile(l, 50), percentile(l, 99),
		percentile(l, 100), (double)cpu / 1e3);
}

/* Those whose time has come; a client that still waits for its answer is left out this time. */
static void
begin_due(struct load *l, uint64_t step_ns, uint64_t *next_ns, unsigned *next)
{
	struct client *c;

	for (; *next_ns <= meter_now_ns(); *next_ns += step_ns) {
		c = &l->clients[*next];
		*next = (*next + 1) % l->nclients;
		if (c->wire.fd >= 0 && c->phase == PHASE_READY)
			begin_noop(l, c);
	}
}

/* A command of one after the other, evenly: what is seen is how long each waits, not what the server can do. */
static void
run_paced(struct load *l, const struct options *o)
{
	uint64_t begun, next_ns, deadline, step_ns = o->interval_ms * UINT64_C(1000000) / o->conns;
	unsigned next = 0;

	l->goal = CLIENT_SECURE;
	l->commands = l->paced = true;
	open_all(l);
	puts("up");
	fflush(stdout);
	begun = next_ns = meter_now_ns();
	l->running = true;
	while (meter_now_ns() < begun + (uint64_t)(o->seconds * 1e9)) {
		begin_due(l, step_ns, &next_ns, &next);
		turn(l, 1);
	}
	l->running = false;
	for (deadline = meter_now_ns() + 5000000000u; l->busy > 0 && meter_now_ns() < deadline;)
		turn(l, 10);
	l->errors += l->busy;
	print_result(l, begun, 0);
}

static void
run_timed(struct load *l, const struct options *o)
{
	uint64_t begun, end, cpu = 0, deadline;
	unsigned i;

	if (l->commands) {
		l->goal = CLIENT_SECURE;
		open_all(l);
	}
	begun = meter_now_ns();
	end = begun + (uint64_t)(o->seconds * 1e9);
	if (o->meter != NULL)
		cpu = meter_cpu_ns(o->meter);
	l->running = true;
	for (i = 0; i < l->nclients; i++)
		if (l->commands)
			begin_noop(l, &l->clients[i]);
		else
			begin_cycle(l, &l->clients[i]);
	while (meter_now_ns() < end && l->busy > 0)
		turn(l, 10);
	l->running = false;
	for (deadline = end + 5000000000u; l->busy > 0 && meter_now_ns() < deadline;)
		turn(l, 10);
	if (o->meter != NULL)
		cpu = meter_cpu_ns(o->meter) - cpu;
	l->errors += l->busy;
	print_result(l, begun, cpu);
}

/* --- connections that are held ---------------------------------------------------------------- */

static void
opened(struct load *l, struct client *c, enum client_state s)
{
	l->opening--;
	if (s == CLIENT_THERE) {
		l->up++;
		return;
	}
	error(l, c->why);
	client_end(c);
}

static void
open_all(struct load *l)
{
	struct epoll_event ev[EVENTS];
	enum client_state s;
	unsigned next = 0;
	int n, i;

	while (next < l->nclients || l->opening > 0) {
		while (next < l->nclients && l->opening < OPENING_MAX)
			if (begin(l, &l->clients[next++]) == CLIENT_BUSY)
				l->opening++;
		if ((n = epoll_wait(l->epoll, ev, EVENTS, 10000)) <= 0)
			fail("the server does not answer", 0);
		for (i = 0; i < n; i++)
			if ((s = client_step(ev[i].data.ptr)) != CLIENT_BUSY)
				opened(l, ev[i].data.ptr, s);
	}
	if (l->errors > 0)
		fail(l->first_error, 0);
}

/* The server has closed one that was stalled: it comes back. */
static void
stall_event(struct load *l, struct client *c)
{
	enum client_state s = client_step(c);

	if (s != CLIENT_FAILED)
		return;
	l->dropped++;
	client_end(c);
	(void)begin(l, c);
}

static void
hold(struct load *l, bool drips)
{
	uint64_t next = meter_now_ns() + DRIP_NS;
	struct epoll_event ev[EVENTS];
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	unsigned i;
	int n, k;

	puts("up");
	fflush(stdout);
	while (poll(&in, 1, 0) == 0) {
		n = epoll_wait(l->epoll, ev, EVENTS, 50);
		for (k = 0; k < n; k++) {
			if (drips)
				stall_event(l, ev[k].data.ptr);
			else
				fail("an idle connection was closed", 0);
		}
		if (!drips || meter_now_ns() < next)
			continue;
		next += DRIP_NS;
		for (i = 0; i < l->nclients; i++)
			if (l->clients[i].wire.fd >= 0 && l->clients[i].phase == PHASE_STALL)
				(void)client_drip(&l->clients[i]);
	}
	printf("{\"up\": %u, \"dropped\": %" PRIu64 ", \"errors\": %" PRIu64 "}\n", l->up, l->dropped,
		l->errors);
}

/* --- the command line ------------------------------------------------------------------------- */

static void
parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "conns", required_argument, NULL, 'c' },
		{ "seconds", required_argument, NULL, 's' },
		{ "meter", required_argument, NULL, 'm' },
		{ "pki", required_argument, NULL, 'k' },
		{ "certs", required_argument, NULL, 'n' },
		{ "interval", required_argument, NULL, 'i' },
		{ "plain", no_argument, NULL, 'P' },
		{ "resume", no_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	int ch;

	*o = (struct options){ .mode = argc > 1 ? argv[1] : "", .conns = 1, .seconds = 1,
		.interval_ms = 1000 };
	optind = 2;
	while ((ch = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (ch) {
		case 'p': o->port = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'c': o->conns = (unsigned)strtoul(optarg, NULL, 10); break;
		case 's': o->seconds = strtod(optarg, NULL); break;
		case 'm': o->meter = optarg; break;
		case 'k': o->pki = optarg; break;
		case 'n': o->certs = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'i': o->interval_ms = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'P': o->plain = true; break;
		case 'r': o->resume = true; break;
		default: exit(2);
		}
	}
}

int
main(int argc, char **argv)
{
	struct load l = { 0 };
	struct pki_pool pool;
	struct options o;
	struct rlimit r;
	unsigned i;

	if (argc == 3 && strcmp(argv[1], "pki") == 0) {
		pki_make(argv[2]);
		return 0;
	}
	if (argc == 4 && strcmp(argv[1], "crl") == 0) {
		pki_crl(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
		return 0;
	}
	parse(argc, argv, &o);
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
	if (o.certs > 0 && o.pki != NULL)
		pki_pool_init(&pool, o.pki, o.certs);
	client_setup((uint16_t)o.port, o.certs > 0 ? &pool : NULL, o.resume);
	l.nclients = o.conns;
	l.clients = calloc(o.conns, sizeof *l.clients);
	l.samples = malloc(SAMPLES_MAX * sizeof *l.samples);
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l.clients == NULL || l.samples == NULL || l.epoll < 0)
		fail("out of memory", 0);
	for (i = 0; i < o.conns; i++)
		l.clients[i].wire.fd = -1;
	if (strcmp(o.mode, "cycle") == 0 || strcmp(o.mode, "noop") == 0) {
		l.commands = o.mode[0] == 'n';
		l.goal = o.plain ? CLIENT_TALK : CLIENT_CYCLE;
		run_timed(&l, &o);
	} else if (strcmp(o.mode, "pace") == 0) {
		run_paced(&l, &o);
	} else if (strcmp(o.mode, "idle") == 0 || strcmp(o.mode, "stall") == 0) {
		l.goal = o.mode[0] == 's' ? CLIENT_STALLED : o.plain ? CLIENT_GREETED : CLIENT_SECURE;
		open_all(&l);
		hold(&l, o.mode[0] == 's');
	} else {
		fail("usage: load pki DIR | load crl DIR N | load cycle|noop|pace|idle|stall --port N ...", 0);
	}
	return 0;
}
