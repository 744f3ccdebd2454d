/* bench/mail.c - a load client for mail submission. One process, one epoll loop, non-blocking clients.
 *
 *   mail submit   --port N --conns N --seconds S|--count N --size OCTETS --pki DIR --certs N [--meter SPEC]
 *   mail login    --port N --conns N|--rate N --seconds S --pki DIR --certs N [--meter SPEC]
 *   mail noop     --port N --conns N --seconds S --pki DIR --certs N [--meter SPEC]
 *   mail password --port N --seconds S --rate N --users N
 *   mail stall    --port N --conns N
 *   mail idle     --port N --conns N --pki DIR --certs N
 *
 * submit opens its connections first; an operation is a message, and its time that from the last octet sent to the reply. login: an
 * operation is a connection, STARTTLS with a client certificate, AUTH EXTERNAL and QUIT. password: the same without a
 * certificate and with AUTH PLAIN. --rate: so many each second, each at its time, whether those before it have ended or not.
 * stall: connections that begin a ClientHello and send one octet of it a second, each at its time; those that the server drops come back. idle: that
 * are logged in and say nothing. Both print "up" when all are there, and end with standard input.
 * Messages go from client<i>@localhost, whose certificate client i has, to client0 to client<USERS - 1>.
 *
 * Prints one JSON object: operations, seconds, errors, percentiles, the server's CPU as --meter tells (meter.h). */
#include "meter.h"
#include "smtp.h"

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

#define USERS 64
#define SAMPLES_MAX (1u << 20)
#define EVENTS 256
#define OPENING_MAX 64 /* connections being opened at a time */
#define DRIP_NS 1000000000u
#define WAIT_NS UINT64_C(60000000000) /* for what is under way at the end */

enum mode { MODE_SUBMIT, MODE_LOGIN, MODE_NOOP, MODE_PASSWORD, MODE_STALL, MODE_IDLE, MODE_COUNT };
static const char *const modes[MODE_COUNT] = { "submit", "login", "noop", "password", "stall", "idle" };

struct slot {
	struct smtp smtp;
	uint32_t events; /* that the loop waits for */
};

struct load {
	enum mode mode;
	struct slot *slots;
	unsigned nslots, busy; /* busy: operations under way */
	int epoll;
	bool opening, running, paced;
	uint64_t left; /* operations that may still begin, of --count */
	uint64_t ops, errors, dropped;
	char first_error[128];
	uint32_t *samples;
	size_t nsamples;
};

struct options {
	const char *meter, *pki;
	unsigned port, conns, certs, users, rate;
	uint64_t size, count;
	double seconds;
};

static void
error(struct load *l, struct slot *s)
{
	if (l->errors++ == 0)
		snprintf(l->first_error, sizeof l->first_error, "%s", s->smtp.why);
	smtp_end(&s->smtp);
	s->events = 0;
}

static void
sample(struct load *l, uint64_t since_ns)
{
	l->ops++;
	if (l->nsamples < SAMPLES_MAX)
		l->samples[l->nsamples++] = (uint32_t)((meter_now_ns() - since_ns) / 1000);
}

static void
watch(struct load *l, struct slot *s)
{
	struct epoll_event ev = { .events = EPOLLIN | (s->smtp.writes ? EPOLLOUT : 0), .data.ptr = s };

	if (ev.events == s->events)
		return;
	if (epoll_ctl(l->epoll, s->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, s->smtp.wire.fd, &ev) != 0)
		fail("epoll_ctl", 0);
	s->events = ev.events;
}

static void turn_to(struct load *l, struct slot *s, enum smtp_state state);

static bool
may_begin(struct load *l)
{
	if (!l->running || l->left == 0)
		return false;
	l->left--;
	l->busy++;
	return true;
}

static void
connect_next(struct load *l, struct slot *s)
{
	s->events = 0;
	turn_to(l, s, smtp_begin(&s->smtp, s->smtp.number));
}

static void
begin_operation(struct load *l, struct slot *s)
{
	if (may_begin(l))
		turn_to(l, s, l->mode == MODE_NOOP ? smtp_noop(&s->smtp) : smtp_message(&s->smtp));
}

/* It is logged in, or an operation of a session has ended. */
static void
ready(struct load *l, struct slot *s)
{
	if (l->mode == MODE_LOGIN || l->mode == MODE_PASSWORD) {
		turn_to(l, s, smtp_quit(&s->smtp));
		return;
	}
	if (l->mode == MODE_STALL || l->mode == MODE_IDLE) {
		l->busy -= l->opening;
	} else if (!l->opening) {
		sample(l, l->mode == MODE_SUBMIT ? s->smtp.sent_ns : s->smtp.begun_ns);
		l->busy--;
		begin_operation(l, s);
	} else {
		l->busy--;
	}
}

static void
turn_to(struct load *l, struct slot *s, enum smtp_state state)
{
	switch (state) {
	case SMTP_BUSY:
		watch(l, s);
		break;
	case SMTP_READY:
		watch(l, s);
		ready(l, s);
		break;
	case SMTP_ENDED: /* of a login */
		sample(l, s->smtp.begun_ns);
		smtp_end(&s->smtp);
		l->busy--;
		if (l->mode == MODE_LOGIN && !l->paced && may_begin(l))
			connect_next(l, s);
		break;
	case SMTP_FAILED:
		if (l->mode == MODE_STALL && !l->opening && l->running) { /* dropped: it comes back */
			l->dropped++;
			smtp_end(&s->smtp);
			connect_next(l, s);
			break;
		}
		error(l, s);
		l->busy--;
	}
}

static void
turn(struct load *l, int timeout_ms)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(l->epoll, ev, EVENTS, timeout_ms), i;
	struct slot *s;

	for (i = 0; i < n; i++) {
		s = ev[i].data.ptr;
		if (s->smtp.wire.fd >= 0)
			turn_to(l, s, smtp_step(&s->smtp));
	}
}

static void
finish(struct load *l)
{
	uint64_t until = meter_now_ns() + WAIT_NS;

	l->running = false;
	while (l->busy > 0 && meter_now_ns() < until)
		turn(l, 10);
	if (l->busy > 0 && l->errors == 0)
		snprintf(l->first_error, sizeof l->first_error, "not finished in time");
	l->errors += l->busy;
}

static void
open_all(struct load *l)
{
	unsigned i;

	l->opening = true;
	for (i = 0; i < l->nslots; i++) {
		l->busy++;
		connect_next(l, &l->slots[i]);
		while (l->busy >= OPENING_MAX)
			turn(l, 1000);
	}
	while (l->busy > 0)
		turn(l, 1000);
	l->opening = false;
	if (l->errors > 0)
		fail(l->first_error, 0);
}

static void
run_sessions(struct load *l, const struct options *o)
{
	uint64_t end = meter_now_ns() + (uint64_t)(o->seconds * 1e9);
	unsigned i;

	l->running = true;
	for (i = 0; i < l->nslots; i++) {
		if (l->mode != MODE_LOGIN && l->mode != MODE_PASSWORD)
			begin_operation(l, &l->slots[i]);
		else if (may_begin(l))
			connect_next(l, &l->slots[i]);
	}
	while (l->busy > 0 && (o->count > 0 || meter_now_ns() < end))
		turn(l, 10);
	finish(l);
}

static void
hold(struct load *l)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	uint64_t begun = meter_now_ns(), n = 0;
	struct slot *s;

	puts("up");
	fflush(stdout);
	l->running = true;
	while (poll(&in, 1, 0) == 0) {
		turn(l, 5);
		/* one after the other in the course of the second: they know nothing of each other */
		for (; begun + n * DRIP_NS / l->nslots <= meter_now_ns(); n++) {
			s = &l->slots[n % l->nslots];
			if (s->smtp.wire.fd >= 0 && s->smtp.phase == SMTP_STALLED)
				smtp_drip(&s->smtp);
		}
	}
	printf("{\"up\": %u, \"dropped\": %" PRIu64 ", \"errors\": %" PRIu64 "}\n", l->nslots, l->dropped, l->errors);
}

/* One after the other in its time; a slot that is not free yet is left out, and counts as an error. */
static void
run_paced(struct load *l, const struct options *o)
{
	uint64_t begun = meter_now_ns(), n, count = (uint64_t)(o->seconds * o->rate), at;
	struct slot *s;

	l->running = l->paced = true;
	for (n = 0; n < count; n++) {
		at = begun + n * UINT64_C(1000000000) / o->rate;
		while (meter_now_ns() < at)
			turn(l, 1);
		s = &l->slots[n % l->nslots];
		if (s->smtp.wire.fd >= 0) {
			l->errors++;
			continue;
		}
		if (may_begin(l))
			connect_next(l, s);
	}
	finish(l);
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

static void
print_result(struct load *l, uint64_t begun, uint64_t cpu)
{
	const char *why = l->first_error;

	qsort(l->samples, l->nsamples, sizeof *l->samples, compare);
	printf("{\"ops\": %" PRIu64 ", \"seconds\": %.4f, \"errors\": %" PRIu64 ", \"error\": \"", l->ops,
		(double)(meter_now_ns() - begun) / 1e9, l->errors);
	for (; *why != '\0'; why++)
		if (*why >= ' ' && *why != '"' && *why != '\\')
			putchar(*why);
	printf("\", \"p50_us\": %" PRIu32 ", \"p99_us\": %" PRIu32 ", \"max_us\": %" PRIu32 ", \"cpu_us\": %.1f}\n",
		percentile(l, 50), percentile(l, 99), percentile(l, 100), (double)cpu / 1e3);
}

static void
parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = { { "port", 1, NULL, 'p' }, { "conns", 1, NULL, 'c' },
		{ "seconds", 1, NULL, 's' }, { "count", 1, NULL, 'n' }, { "size", 1, NULL, 'b' }, { "meter", 1, NULL, 'm' },
		{ "pki", 1, NULL, 'k' }, { "certs", 1, NULL, 'e' }, { "users", 1, NULL, 'u' }, { "rate", 1, NULL, 'r' },
		{ NULL, 0, NULL, 0 } };
	int ch;

	*o = (struct options){ .conns = 1, .seconds = 1, .users = USERS, .size = 4096 };
	optind = 2;
	while ((ch = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (ch) {
		case 'p': o->port = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'c': o->conns = (unsigned)strtoul(optarg, NULL, 10); break;
		case 's': o->seconds = strtod(optarg, NULL); break;
		case 'n': o->count = strtoull(optarg, NULL, 10); break;
		case 'b': o->size = strtoull(optarg, NULL, 10); break;
		case 'm': o->meter = optarg; break;
		case 'k': o->pki = optarg; break;
		case 'e': o->certs = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'u': o->users = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'r': o->rate = (unsigned)strtoul(optarg, NULL, 10); break;
		default: exit(2);
		}
	}
	if (o->conns == 0 || o->users == 0 || o->size < 512)
		fail("conns and users are at least 1, size 512", 0);
}

static void
prepare(struct load *l, const struct options *o)
{
	struct rlimit r;
	unsigned i;

	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
	l->nslots = o->rate > 0 ? 4 * o->rate : o->conns;
	l->left = o->count > 0 ? o->count : UINT64_MAX;
	l->slots = calloc(l->nslots, sizeof *l->slots);
	l->samples = malloc(SAMPLES_MAX * sizeof *l->samples);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->slots == NULL || l->samples == NULL || l->epoll < 0)
		fail("out of memory", 0);
	for (i = 0; i < l->nslots; i++)
		l->slots[i].smtp = (struct smtp){ .wire.fd = -1, .number = i };
}

int
main(int argc, char **argv)
{
	struct load l = { .mode = MODE_COUNT };
	struct smtp_conf conf = { .pool = NULL };
	struct pki_pool pool;
	struct options o;
	uint64_t begun, cpu = 0;
	unsigned i;

	for (i = 0; argc > 1 && i < MODE_COUNT; i++)
		if (strcmp(argv[1], modes[i]) == 0)
			l.mode = (enum mode)i;
	if (l.mode == MODE_COUNT)
		fail("usage: mail submit|login|noop|password|stall|idle --port N ...", 0);
	parse(argc, argv, &o);
	if (o.certs > 0 && o.pki != NULL) {
		pki_pool_init(&pool, o.pki, o.certs);
		conf.pool = &pool;
	}
	conf.port = (uint16_t)o.port;
	conf.users = o.users;
	conf.size = (size_t)o.size;
	conf.login = l.mode == MODE_LOGIN ? SMTP_LOGIN_EXTERNAL : l.mode == MODE_PASSWORD ? SMTP_LOGIN_PASSWORD
		: SMTP_LOGIN_NONE;
	conf.stalls = l.mode == MODE_STALL;
	smtp_setup(&conf);
	prepare(&l, &o);
	if (l.mode != MODE_LOGIN && l.mode != MODE_PASSWORD)
		open_all(&l);
	if (l.mode == MODE_STALL || l.mode == MODE_IDLE) {
		hold(&l);
		return 0;
	}
	begun = meter_now_ns();
	if (o.meter != NULL)
		cpu = meter_cpu_ns(o.meter);
	if (o.rate > 0)
		run_paced(&l, &o);
	else
		run_sessions(&l, &o);
	if (o.meter != NULL)
		cpu = meter_cpu_ns(o.meter) - cpu;
	print_result(&l, begun, cpu);
	return 0;
}
