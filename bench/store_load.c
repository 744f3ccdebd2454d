/* bench/store_load.c - see store_load.h. Each process of clients has one channel, like a worker of Postern's. */
#include "store_load.h"

#include "meter.h"
#include "pki.h"

#include "util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAMPLES_MAX (1u << 22)

/* Between the processes. */
struct shared {
	_Atomic bool go;
	_Atomic uint64_t taken, ops, stop_ns, last_ns;
	_Atomic uint32_t nsamples;
	uint32_t samples[SAMPLES_MAX]; /* microseconds */
};

struct client {
	struct crowd *crowd;
	unsigned number;
	uint64_t begun_ns;
};

/* The clients of one process. */
struct crowd {
	const struct load *l;
	struct shared *sh;
	struct store *s;
	const uint8_t *message;
	struct client *clients;
	unsigned busy;
};

void
message_fill(uint8_t *p, size_t n)
{
	static const char header[] = "From: sender@example.org\r\nTo: user@example.org\r\nSubject: a message\r\n\r\n";
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = i < sizeof header - 1 ? (uint8_t)header[i] : i % 72 == 70 ? '\r' : i % 72 == 71 ? '\n'
			: (uint8_t)('a' + i % 23);
	if (n >= 2)
		memcpy(p + n - 2, "\r\n", 2);
}

const char *
user_name(unsigned client)
{
	static char name[64];

	snprintf(name, sizeof name, "user%u@example.org", client);
	return name;
}

static bool
may_begin(struct crowd *c)
{
	if (meter_now_ns() >= atomic_load(&c->sh->stop_ns))
		return false;
	return c->l->count == 0 || atomic_fetch_add(&c->sh->taken, 1) < c->l->count;
}

static void
note(struct shared *sh, uint64_t begun_ns)
{
	uint64_t now = meter_now_ns(), last = atomic_load(&sh->last_ns);
	uint32_t at = atomic_fetch_add(&sh->nsamples, 1);

	if (at < SAMPLES_MAX)
		sh->samples[at] = (uint32_t)((now - begun_ns) / 1000);
	while (now > last && !atomic_compare_exchange_weak(&sh->last_ns, &last, now))
		continue;
	atomic_fetch_add(&sh->ops, 1);
}

/* --- the store's clients ------------------------------------------------------------------------------------ */

static void begin(struct client *c);

static void
on_done(void *arg, enum store_rc rc, struct store_reply *r)
{
	struct client *c = arg;

	(void)r;
	if (rc != STORE_OK)
		fail(store_rc_text(rc), 0);
	note(c->crowd->sh, c->begun_ns);
	c->crowd->busy--;
	begin(c);
}

static void
begin(struct client *c)
{
	struct crowd *w = c->crowd;
	struct store_blob *b;
	struct store_txn *t;

	if (!may_begin(w))
		return;
	w->busy++;
	c->begun_ns = meter_now_ns();
	if ((b = store_blob_new(w->s, w->l->octets)) == NULL || store_blob_write(b, w->message, w->l->octets) != 0 ||
	    (t = store_txn_new(w->s)) == NULL || store_txn_add(t, user_name(c->number), NULL, b, NULL, 0, 0) != 0)
		fail("a message cannot be given", 0);
	store_commit(&t, on_done, c);
	store_blob_free(&b);
}

static void
store_crowd(struct crowd *w, unsigned n)
{
	struct pollfd p;
	unsigned i;

	for (i = 0; i < n; i++)
		begin(&w->clients[i]);
	while (w->busy > 0) {
		p = (struct pollfd){ .fd = store_fd(w->s),
			.events = (short)(POLLIN | (store_wants_write(w->s) ? POLLOUT : 0)) };
		if (poll(&p, 1, 120000) <= 0 || store_dispatch(w->s) != 0)
			fail("the store has gone", 0);
	}
}

/* --- one file for each message -------------------------------------------------------------------------------- */

void
peer_prepare(const char *dir)
{
	char path[4096];

	(void)mkdir(dir, 0755);
	snprintf(path, sizeof path, "%s/incoming", dir);
	(void)mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/active", dir);
	(void)mkdir(path, 0755);
}

/* As Postfix does: made under a name of its own, mode 0700 when it is whole, flushed, moved. */
static void
peer_one(const struct load *l, const uint8_t *message, unsigned client, uint64_t n)
{
	char from[4096], to[4096];
	int fd;

	snprintf(from, sizeof from, "%s/incoming/%u.%llu", l->dir, client, (unsigned long long)n);
	snprintf(to, sizeof to, "%s/active/%u.%llu", l->dir, client, (unsigned long long)n);
	if ((fd = open(from, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0 ||
	    write(fd, message, l->octets) != (ssize_t)l->octets || fchmod(fd, 0700) != 0 || fsync(fd) != 0 ||
	    close(fd) != 0 || rename(from, to) != 0)
		fail("a file cannot be written", 0);
}

static void
peer_crowd(struct crowd *w, unsigned number)
{
	uint64_t n, begun;

	for (n = 0; may_begin(w); n++) {
		begun = meter_now_ns();
		peer_one(w->l, w->message, number, n);
		note(w->sh, begun);
	}
}

/* --- all of them ------------------------------------------------------------------------------------------------ */

static void
process(const struct load *l, struct shared *sh, int fd, unsigned first, unsigned n)
{
	struct crowd w = { .l = l, .sh = sh };
	uint8_t *message = malloc(l->octets);
	unsigned i;

	if (message == NULL || (w.clients = calloc(n, sizeof *w.clients)) == NULL)
		fail("memory", 0);
	(void)prctl(PR_SET_NAME, "client", 0, 0, 0); /* to tell them from the store in a profile */
	message_fill(message, l->octets);
	w.message = message;
	for (i = 0; i < n; i++)
		w.clients[i] = (struct client){ .crowd = &w, .number = first + i };
	if (fd >= 0) {
		if ((w.s = store_new()) == NULL)
			fail("memory", 0);
		store_attach(w.s, fd);
	}
	while (!atomic_load(&sh->go))
		usleep(500);
	if (fd >= 0)
		store_crowd(&w, n);
	else
		peer_crowd(&w, first);
	_exit(0);
}

static int
by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t
children_ns(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_CHILDREN, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u +
		(uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
}

static void
sum_up(struct shared *sh, uint64_t begun_ns, struct load_result *r)
{
	uint32_t n = sh->nsamples < SAMPLES_MAX ? sh->nsamples : SAMPLES_MAX;

	r->ops = sh->ops;
	r->seconds = (double)(sh->last_ns - begun_ns) / 1e9;
	if (n == 0)
		fail("nothing was done", 0);
	qsort(sh->samples, n, sizeof *sh->samples, by_size);
	r->p50_us = sh->samples[n / 2];
	r->p99_us = sh->samples[(uint64_t)n * 99 / 100];
	r->max_us = sh->samples[n - 1];
}

void
load_run(const struct load *l, struct store_run *run, struct load_result *r)
{
	struct shared *sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned np = run == NULL ? l->clients : l->processes, i, first = 0, n;
	uint64_t before = children_ns(), begun;
	int fd, status;
	pid_t *pids = calloc(np, sizeof *pids);

	if (sh == MAP_FAILED || pids == NULL)
		fail("memory", 0);
	for (i = 0; i < np; i++, first += n) {
		n = l->clients / np + (i < l->clients % np);
		fd = run == NULL ? -1 : store_run_channel(run);
		if ((pids[i] = fork()) == 0)
			process(l, sh, fd, first, n);
		if (fd >= 0)
			close(fd);
	}
	usleep(50000);
	begun = meter_now_ns();
	sh->stop_ns = begun + (uint64_t)(l->seconds * 1e9);
	atomic_store(&sh->go, true);
	for (i = 0; i < np; i++)
		if (waitpid(pids[i], &status, 0) < 0 || status != 0)
			fail("a client failed", 0);
	r->client_ns = children_ns() - before;
	sum_up(sh, begun, r);
	free(pids);
	munmap(sh, sizeof *sh);
}

/* --- folders of which much has just been removed ----------------------------------------------------------------- */

static void
make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, "x", 1) != 1)
		fail(path, 0);
	close(fd);
}

void
churn_peer(const char *dir, unsigned n)
{
	char path[4096];
	unsigned i;

	for (i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%s/incoming/gone.%u", dir, i);
		make_file(path);
	}
	for (i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%s/incoming/gone.%u", dir, i);
		(void)unlink(path);
	}
}

void
churn_store(const char *dir, unsigned users, unsigned n)
{
	char path[4096], to[4096];
	unsigned i;

	for (i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%s/mail/.tmp/gone.%u", dir, i);
		make_file(path);
		snprintf(to, sizeof to, "%s/mail/%s/Maildir/new/gone.%u", dir, user_name(i % users), i);
		if (rename(path, to) != 0)
			fail(to, 0);
	}
	for (i = 0; i < n; i++) {
		snprintf(to, sizeof to, "%s/mail/%s/Maildir/new/gone.%u", dir, user_name(i % users), i);
		(void)unlink(to);
	}
}
