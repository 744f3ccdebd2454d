/* bench/store.c - the store's rows: postern-store itself, driven through the client's library, and beside it what the same work
 * takes without it. One line of JSON each; bench_store.py puts them side by side. */
#include "meter.h"
#include "pki.h"
#include "store_load.h"

#include "util/err.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEGMENTS 4
#define MIB (1u << 20)

struct options {
	const char *program, *dir;
	struct load load;
	unsigned churn, messages, mib, rounds;
};

static double
us(uint64_t ns)
{
	return (double)ns / 1000;
}

static double
ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

/* --- a connection, and requests that wait ----------------------------------------------------------------------- */

struct answer {
	bool there;
	enum store_rc rc;
	struct store_view *view;
};

static void
on_answer(void *arg, enum store_rc rc, struct store_reply *r)
{
	struct answer *a = arg;

	a->rc = rc;
	a->view = r->view;
	a->there = true;
}

static struct store *
connection(struct store_run *run)
{
	struct store *s = store_new();

	if (s == NULL)
		fail("memory", 0);
	store_attach(s, store_run_channel(run));
	return s;
}

static struct store_view *
view_open(struct store *s, const char *user, void (*change)(void *), void *arg)
{
	struct answer a = { .there = false };

	store_view_open(s, user, "INBOX", change, on_answer, &a);
	store_await(s, &a.there);
	if (a.rc != STORE_OK)
		fail(store_rc_text(a.rc), 0);
	(void)arg;
	return a.view;
}

/* n messages of that size in one transaction; waits until they are durable. */
static void
give(struct store *s, const char *user, unsigned n, size_t octets)
{
	static uint8_t message[STORE_BODY_MAX];
	struct answer a = { .there = false };
	struct store_txn *t = store_txn_new(s);
	struct store_blob *b = store_blob_new(s, octets);
	unsigned i;

	message_fill(message, octets);
	if (t == NULL || b == NULL || store_blob_write(b, message, octets) != 0)
		fail("a message cannot be given", 0);
	for (i = 0; i < n; i++)
		if (store_txn_add(t, user, NULL, b, NULL, 0, 0) != 0)
			fail("a message cannot be given", 0);
	store_commit(&t, on_answer, &a);
	store_blob_free(&b);
	store_await(s, &a.there);
	if (a.rc != STORE_OK)
		fail(store_rc_text(a.rc), 0);
}

/* Segments that the journal has, all; and those with records. */
static unsigned
segments(const char *dir, bool used)
{
	char path[4096];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof path, "%s/state/journal", dir);
	if ((d = opendir(path)) == NULL)
		fail(path, 0);
	while ((e = readdir(d)) != NULL)
		n += strlen(e->d_name) > 3 && strcmp(e->d_name + strlen(e->d_name) - 3, ".pj") == 0 &&
			(!used || strncmp(e->d_name, "free-", 5) != 0);
	closedir(d);
	return n;
}

/* A store as it is when it has run for a while: all segments are there. */
static void
start_settled(struct store_run *run, const struct options *o)
{
	time_t end = time(NULL) + 60;

	store_run_start(run, o->program, o->dir);
	while (segments(o->dir, false) < SEGMENTS && time(NULL) < end)
		usleep(20000);
}

/* --- append: acknowledged, then applied --------------------------------------------------------------------------- */

/* Each mailbox is opened, behind what is under way in it; all messages must be there. */
static void
await_applied(struct store_run *run, unsigned users, uint64_t messages)
{
	struct store *s = connection(run);
	struct answer *a = calloc(users, sizeof *a);
	uint64_t there = 0;
	unsigned i;

	if (a == NULL)
		fail("memory", 0);
	for (i = 0; i < users; i++)
		store_view_open(s, user_name(i), "INBOX", NULL, on_answer, &a[i]);
	for (i = 0; i < users; i++) {
		store_await(s, &a[i].there);
		if (a[i].rc != STORE_OK)
			fail(store_rc_text(a[i].rc), 0);
		there += store_view_count(a[i].view);
		store_view_close(&a[i].view);
	}
	if (there != messages) {
		fprintf(stderr, "store: %llu messages were acknowledged, %llu are there\n", (unsigned long long)messages,
			(unsigned long long)there);
		exit(1);
	}
	free(a);
	store_free(&s);
}

static void
append(struct options *o)
{
	struct store_run run;
	struct store_cpu before, acked, applied;
	struct load_result r;
	uint64_t begun;
	struct store *s;
	unsigned i;

	start_settled(&run, o);
	s = connection(&run);
	for (i = 0; i < o->load.clients; i++)
		give(s, user_name(i), 1, 1000);
	await_applied(&run, o->load.clients, o->load.clients);
	if (o->churn > 0)
		churn_store(o->dir, o->load.clients, o->churn);
	before = store_run_cpu(&run);
	begun = meter_now_ns();
	load_run(&o->load, &run, &r);
	acked = store_run_cpu(&run);
	await_applied(&run, o->load.clients, r.ops + o->load.clients);
	applied = store_run_cpu(&run);
	printf("{\"ops\": %llu, \"seconds\": %.6f, \"p50_us\": %llu, \"p99_us\": %llu, \"max_us\": %llu, "
	       "\"cpu_us\": %.2f, \"client_cpu_us\": %.2f, \"applied_seconds\": %.6f, \"applied_cpu_us\": %.2f, "
	       "\"segments\": %u}\n",
		(unsigned long long)r.ops, r.seconds, (unsigned long long)r.p50_us, (unsigned long long)r.p99_us,
		(unsigned long long)r.max_us, us(acked.front_ns - before.front_ns) / (double)r.ops,
		us(r.client_ns) / (double)r.ops, (double)(meter_now_ns() - begun) / 1e9,
		us(applied.all_ns - before.all_ns) / (double)r.ops, segments(o->dir, true));
	store_free(&s);
	store_run_stop(&run);
}

static void
peer(struct options *o)
{
	struct load_result r;

	peer_prepare(o->dir);
	if (o->churn > 0)
		churn_peer(o->dir, o->churn);
	load_run(&o->load, NULL, &r);
	printf("{\"ops\": %llu, \"seconds\": %.6f, \"p50_us\": %llu, \"p99_us\": %llu, \"max_us\": %llu, "
	       "\"client_cpu_us\": %.2f}\n",
		(unsigned long long)r.ops, r.seconds, (unsigned long long)r.p50_us, (unsigned long long)r.p99_us,
		(unsigned long long)r.max_us, us(r.client_ns) / (double)r.ops);
}

/* --- a large mailbox is opened ------------------------------------------------------------------------------------- */

static double
open_ms(struct store *s, unsigned messages)
{
	uint64_t begun = meter_now_ns(), ended;
	struct store_view *v = view_open(s, user_name(0), NULL, NULL);
	struct store_change c;

	while (store_view_next(v, &c))
		continue;
	ended = meter_now_ns();
	if (store_view_count(v) != messages)
		fail("messages are missing", 0);
	store_view_close(&v);
	return ms(ended - begun);
}

static void
index_row(struct options *o)
{
	struct store_run run;
	struct store *s;
	double cold, warm = 1e9, again;
	unsigned left, n, i;

	start_settled(&run, o);
	s = connection(&run);
	for (left = o->messages; left > 0; left -= n) {
		n = left < 1000 ? left : 1000;
		give(s, user_name(0), n, 500);
	}
	(void)open_ms(s, o->messages);
	store_free(&s);
	store_run_stop(&run);
	/* once for the journal to be carried out again and recycled, once with nothing in it */
	store_run_start(&run, o->program, o->dir);
	for (i = 0; i < 600 && segments(o->dir, true) > 0; i++)
		usleep(100000);
	store_run_stop(&run);
	store_run_start(&run, o->program, o->dir);
	s = connection(&run);
	cold = open_ms(s, o->messages);
	for (i = 0; i < 9; i++)
		if ((again = open_ms(s, o->messages)) < warm)
			warm = again;
	printf("{\"cold_ms\": %.3f, \"warm_ms\": %.3f}\n", cold, warm);
	store_free(&s);
	store_run_stop(&run);
}

/* --- kill -9 with a full journal ------------------------------------------------------------------------------------ */

static void
kill_row(struct options *o)
{
	struct store_run run;
	struct load_result r;
	uint64_t begun, answered, applied;
	struct store *s;
	unsigned i, used;

	start_settled(&run, o);
	s = connection(&run);
	for (i = 0; i < o->load.clients; i++)
		give(s, user_name(i), 1, 1000);
	store_free(&s);
	load_run(&o->load, &run, &r);
	used = segments(o->dir, true);
	store_run_kill(&run);
	begun = meter_now_ns();
	store_run_start(&run, o->program, o->dir);
	s = connection(&run);
	give(s, "another@example.org", 1, 1000);
	answered = meter_now_ns();
	await_applied(&run, o->load.clients, r.ops + o->load.clients);
	applied = meter_now_ns();
	printf("{\"ops\": %llu, \"segments\": %u, \"ready_ms\": %.1f, \"accepts_ms\": %.1f, \"applied_ms\": %.1f}\n",
		(unsigned long long)r.ops, used, ms(run.ready_ns - begun), ms(answered - begun), ms(applied - begun));
	store_free(&s);
	store_run_stop(&run);
}

/* --- large bodies ------------------------------------------------------------------------------------------------- */

#define CHUNK (64u * 1024)

struct body {
	struct store *s;
	struct store_blob *b;
	uint64_t left;
	bool waits, given;
	struct answer answer;
	const char *user;
};

static void
on_ready(void *arg)
{
	((struct body *)arg)->waits = false;
}

/* As much as is taken. */
static void
body_write(struct body *b, const uint8_t *chunk, unsigned turns)
{
	struct store_txn *t;
	size_t n;
	int rc;

	while (!b->waits && b->left > 0 && turns-- > 0) {
		n = b->left < CHUNK ? (size_t)b->left : CHUNK;
		if ((rc = store_blob_write(b->b, chunk, n)) == PT_EAGAIN) {
			b->waits = true;
			store_blob_ready(b->b, on_ready, b);
			continue;
		}
		if (rc != 0)
			fail("a body cannot be written", 0);
		b->left -= n;
	}
	if (b->left > 0 || b->given)
		return;
	b->given = true;
	if ((t = store_txn_new(b->s)) == NULL || store_txn_add(t, b->user, NULL, b->b, NULL, 0, 0) != 0)
		fail("a message cannot be given", 0);
	store_commit(&t, on_answer, &b->answer);
	store_blob_free(&b->b);
}

static void
body_begin(struct body *b, struct store *s, const char *user, uint64_t octets)
{
	*b = (struct body){ .s = s, .left = octets, .user = user };
	if ((b->b = store_blob_new(s, octets)) == NULL)
		fail("memory", 0);
}

static double
plain_file_ms(const char *dir, const uint8_t *chunk, uint64_t octets, unsigned n)
{
	uint64_t begun = meter_now_ns(), left;
	char path[4096];
	size_t m;
	int fd;

	snprintf(path, sizeof path, "%s/plain.%u", dir, n);
	if ((fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
		fail(path, 0);
	for (left = octets; left > 0; left -= m) {
		m = left < CHUNK ? (size_t)left : CHUNK;
		if (write(fd, chunk, m) != (ssize_t)m)
			fail(path, 0);
	}
	if (fdatasync(fd) != 0)
		fail(path, 0);
	close(fd);
	return ms(meter_now_ns() - begun);
}

static double
body_ms(struct store *s, const uint8_t *chunk, uint64_t octets)
{
	uint64_t begun = meter_now_ns();
	struct body b;

	body_begin(&b, s, user_name(0), octets);
	while (b.left > 0) {
		body_write(&b, chunk, UINT32_MAX);
		if (b.waits) {
			struct pollfd p = { .fd = store_fd(s), .events = POLLIN };

			if (poll(&p, 1, 60000) <= 0 || store_dispatch(s) != 0)
				fail("the store has gone", 0);
		}
	}
	store_await(s, &b.answer.there);
	if (b.answer.rc != STORE_OK)
		fail(store_rc_text(b.answer.rc), 0);
	return ms(meter_now_ns() - begun);
}

static void
big(struct options *o)
{
	uint64_t octets = (uint64_t)o->mib * MIB;
	uint8_t *chunk = malloc(CHUNK);
	struct store_run run;
	struct store *s;
	unsigned i;

	message_fill(chunk, CHUNK);
	start_settled(&run, o);
	s = connection(&run);
	give(s, user_name(0), 1, 1000);
	printf("[");
	for (i = 0; i < o->rounds; i++) {
		double a, b;

		if (i % 2 == 0) {
			a = plain_file_ms(o->dir, chunk, octets, i);
			b = body_ms(s, chunk, octets);
		} else {
			b = body_ms(s, chunk, octets);
			a = plain_file_ms(o->dir, chunk, octets, i);
		}
		printf("%s[%.3f, %.3f]", i == 0 ? "" : ", ", b, a);
	}
	printf("]\n");
	free(chunk);
	store_free(&s);
	store_run_stop(&run);
}

/* --- many large bodies at once --------------------------------------------------------------------------------------- */

/* Of memfds that a process holds: no map shows them. */
static uint64_t
memfds_kib(pid_t pid)
{
	char path[64], file[128], link[64];
	uint64_t kib = 0;
	struct dirent *e;
	struct stat st;
	ssize_t n;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	if ((d = opendir(path)) == NULL)
		return 0;
	while ((e = readdir(d)) != NULL) {
		snprintf(file, sizeof file, "%s/%.20s", path, e->d_name);
		if ((n = readlink(file, link, sizeof link - 1)) <= 0)
			continue;
		link[n] = '\0';
		if (strncmp(link, "/memfd:", 7) == 0 && stat(file, &st) == 0)
			kib += (uint64_t)st.st_blocks / 2;
	}
	closedir(d);
	return kib;
}

static void
memory(struct options *o)
{
	struct body *bodies = calloc(o->load.clients, sizeof *bodies);
	uint8_t *chunk = malloc(CHUNK);
	uint64_t pss, shared, pss_max = 0, shared_max = 0, x, begun, turns = 0;
	struct store_run run;
	unsigned i, done = 0;
	char **users = calloc(o->load.clients, sizeof *users);
	struct store *s;

	message_fill(chunk, CHUNK);
	start_settled(&run, o);
	s = connection(&run);
	for (i = 0; i < o->load.clients; i++) {
		users[i] = strdup(user_name(i));
		give(s, users[i], 1, 1000);
	}
	await_applied(&run, o->load.clients, o->load.clients);
	pss = pss_kib(run.pid) + pss_kib(getpid());
	shared = memfds_kib(getpid()) + memfds_kib(run.pid);
	begun = meter_now_ns();
	for (i = 0; i < o->load.clients; i++)
		body_begin(&bodies[i], s, users[i], (uint64_t)o->mib * MIB);
	while (done < o->load.clients) {
		struct pollfd p = { .fd = store_fd(s),
			.events = (short)(POLLIN | (store_wants_write(s) ? POLLOUT : 0)) };
		bool writes = false;

		for (i = 0, done = 0; i < o->load.clients; i++) {
			if (bodies[i].left > 0 || !bodies[i].given)
				body_write(&bodies[i], chunk, 1);
			writes = writes || (bodies[i].left > 0 && !bodies[i].waits);
			if (bodies[i].answer.there && bodies[i].answer.rc != STORE_OK)
				fail(store_rc_text(bodies[i].answer.rc), 0);
			done += bodies[i].answer.there;
		}
		if (done < o->load.clients && poll(&p, 1, writes ? 0 : 120000) > 0 && store_dispatch(s) != 0)
			fail("the store has gone", 0);
		if (turns++ % 20 == 0) {
			x = pss_kib(run.pid) + pss_kib(getpid());
			pss_max = x > pss_max ? x : pss_max;
			x = memfds_kib(getpid()) + memfds_kib(run.pid);
			shared_max = x > shared_max ? x : shared_max;
		}
	}
	printf("{\"seconds\": %.3f, \"pss_mib\": %.1f, \"shared_mib\": %.1f}\n", (double)(meter_now_ns() - begun) / 1e9,
		pss_max > pss ? (double)(pss_max - pss) / 1024 : 0,
		shared_max > shared ? (double)(shared_max - shared) / 1024 : 0);
	store_free(&s);
	store_run_stop(&run);
}

/* --- what a subscriber hears ------------------------------------------------------------------------------------------ */

static uint64_t heard_ns;

static void
on_change(void *arg)
{
	(void)arg;
	heard_ns = meter_now_ns();
}

/* Runs both connections until the subscriber has heard of it. */
static double
await_event(struct store *a, struct store *b, uint64_t begun)
{
	struct pollfd p[2];

	while (heard_ns == 0) {
		p[0] = (struct pollfd){ .fd = store_fd(a), .events = POLLIN };
		p[1] = (struct pollfd){ .fd = store_fd(b), .events = POLLIN };
		if (poll(p, 2, 30000) <= 0 || store_dispatch(a) != 0 || store_dispatch(b) != 0)
			fail("a subscriber has heard nothing", 0);
	}
	return ms(heard_ns - begun);
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The subscriber takes the change before the next. */
static void
take_changes(struct store_view *v)
{
	struct store_change c;

	while (store_view_next(v, &c))
		continue;
	heard_ns = 0;
}

static void
print_times(const char *name, double *times, unsigned n, const char *end)
{
	qsort(times, n, sizeof *times, by_value);
	printf("\"%s\": {\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}%s", name, times[n / 2], times[n * 99 / 100],
		times[n - 1], end);
}

static void
outside_file(const char *dir, unsigned n)
{
	char tmp[4096], to[4096];
	struct stat st;
	FILE *f;

	snprintf(tmp, sizeof tmp, "%s/mail/%s/Maildir/tmp/1700000000.%u.outside", dir, user_name(0), n);
	snprintf(to, sizeof to, "%s/mail/%s/Maildir/new/1700000000.%u.outside", dir, user_name(0), n);
	if ((f = fopen(tmp, "we")) == NULL || fputs("Subject: outside\r\n\r\nhello\r\n", f) < 0 || fclose(f) != 0)
		fail(tmp, 0);
	/* as procmail of the same user would */
	*strrchr(to, '/') = '\0';
	if (stat(to, &st) != 0 || chown(tmp, st.st_uid, st.st_gid) != 0)
		fail(tmp, 0);
	to[strlen(to)] = '/';
	if (rename(tmp, to) != 0)
		fail(to, 0);
}

static void
event(struct options *o)
{
	double *inside = calloc(o->rounds, sizeof *inside), *outside = calloc(o->rounds, sizeof *outside);
	struct store_run run;
	struct store *s, *other;
	struct store_view *v;
	struct answer a;
	unsigned i;
	static uint8_t message[4096];

	message_fill(message, sizeof message);
	start_settled(&run, o);
	s = connection(&run);
	other = connection(&run);
	give(other, user_name(0), 1, 1000);
	v = view_open(s, user_name(0), on_change, NULL);
	take_changes(v);
	for (i = 0; i < o->rounds; i++) {
		uint64_t begun = meter_now_ns();
		struct store_blob *b = store_blob_new(other, sizeof message);
		struct store_txn *t = store_txn_new(other);

		a = (struct answer){ .there = false };
		if (b == NULL || t == NULL || store_blob_write(b, message, sizeof message) != 0 ||
		    store_txn_add(t, user_name(0), NULL, b, NULL, 0, 0) != 0)
			fail("a message cannot be given", 0);
		store_commit(&t, on_answer, &a);
		store_blob_free(&b);
		inside[i] = await_event(s, other, begun);
		store_await(other, &a.there);
		take_changes(v);
		usleep(2000);
	}
	for (i = 0; i < o->rounds; i++) {
		uint64_t begun = meter_now_ns();

		outside_file(o->dir, i);
		outside[i] = await_event(s, other, begun);
		usleep(20000);
		while (store_dispatch(s) == 0 && heard_ns == 0)
			continue;
		take_changes(v);
	}
	if (store_view_count(v) != 1 + 2 * o->rounds)
		fail("messages are missing", 0);
	printf("{");
	print_times("inside", inside, o->rounds, ", ");
	print_times("outside", outside, o->rounds, "}\n");
	store_view_close(&v);
	store_free(&s);
	store_free(&other);
	store_run_stop(&run);
}

/* --- what to do ---------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(struct options *);
} rows[] = {
	{ "append", append },
	{ "peer", peer },
	{ "index", index_row },
	{ "kill", kill_row },
	{ "big", big },
	{ "memory", memory },
	{ "event", event },
};

static const struct option longs[] = {
	{ "program", required_argument, NULL, 'P' },
	{ "dir", required_argument, NULL, 'd' },
	{ "clients", required_argument, NULL, 'c' },
	{ "processes", required_argument, NULL, 'p' },
	{ "seconds", required_argument, NULL, 's' },
	{ "count", required_argument, NULL, 'n' },
	{ "octets", required_argument, NULL, 'o' },
	{ "churn", required_argument, NULL, 'x' },
	{ "messages", required_argument, NULL, 'm' },
	{ "mib", required_argument, NULL, 'b' },
	{ "rounds", required_argument, NULL, 'r' },
	{ NULL, 0, NULL, 0 },
};

static void
take_option(struct options *o, int c)
{
	unsigned long n = strtoul(optarg, NULL, 10);

	switch (c) {
	case 'P':
		o->program = optarg;
		break;
	case 'd':
		o->dir = o->load.dir = optarg;
		break;
	case 'c':
		o->load.clients = (unsigned)n;
		break;
	case 'p':
		o->load.processes = (unsigned)n;
		break;
	case 's':
		o->load.seconds = strtod(optarg, NULL);
		break;
	case 'n':
		o->load.count = n;
		break;
	case 'o':
		o->load.octets = n;
		break;
	case 'x':
		o->churn = (unsigned)n;
		break;
	case 'm':
		o->messages = (unsigned)n;
		break;
	case 'b':
		o->mib = (unsigned)n;
		break;
	case 'r':
		o->rounds = (unsigned)n;
		break;
	default:
		exit(64);
	}
}

int
main(int argc, char **argv)
{
	struct options o = { .load = { .clients = 1, .processes = 0, .seconds = 3600, .octets = 4096 },
		.messages = 100000, .mib = 50, .rounds = 7 };
	size_t i;
	int c;

	signal(SIGPIPE, SIG_IGN);
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		take_option(&o, c);
	if (o.load.processes == 0 || o.load.processes > o.load.clients)
		o.load.processes = o.load.clients;
	for (i = 0; i < PT_COUNT(rows) && optind < argc; i++)
		if (strcmp(argv[optind], rows[i].name) == 0 && o.dir != NULL) {
			rows[i].run(&o);
			return 0;
		}
	fprintf(stderr, "store: see bench_store.py\n");
	return 64;
}
