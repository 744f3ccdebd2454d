/* proc/expiry.c - when the server's own certificates end: in the shared table for status and metrics, and in the log: as
 * soon as fewer than 14 days are left, when it has happened, and every day from then on. The keyholder says it when
 * they are loaded; here it is said while they are in use, by one worker for all. */
#include "proc/worker.h"

#include "tls/tls_check.h"
#include "util/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_S 86400
#define LOAD_S 60 /* longer than it takes from there to here */

enum stage { FINE, SOON, OVER };

struct expiry {
	uint32_t set;
	char *path;
	uint64_t not_after; /* 0: not known */
	enum stage said;
	uint64_t said_s;
};

static enum stage
stage_of(const struct expiry *x, uint64_t now)
{
	if (x->not_after == 0 || x->not_after > now + TLS_CHECK_SOON_S)
		return FINE;
	return x->not_after > now ? SOON : OVER;
}

void
expiries_fini(struct expiries *e)
{
	while (e->n > 0)
		free(e->list[--e->n].path);
	free(e->list);
	e->list = NULL;
}

void
expiry_add(struct expiries *e, uint32_t set, const char *path, struct span chain)
{
	struct expiry *more = reallocarray(e->list, e->n + 1, sizeof *more), *x;
	uint64_t now = (uint64_t)time(NULL);

	PT_ASSERT(more != NULL);
	e->list = more;
	x = &more[e->n++];
	*x = (struct expiry){ .set = set, .path = strdup(path), .not_after = tls_chain_not_after(chain) };
	PT_ASSERT(x->path != NULL);
	/* by the keyholder, just before: what has begun since then it cannot have said */
	x->said = stage_of(x, now - LOAD_S);
	x->said_s = now;
}

static const struct expiry *
find(const struct expiries *e, const struct expiry *like)
{
	size_t i;

	for (i = 0; i < e->n; i++)
		if (e->list[i].set == like->set && e->list[i].not_after == like->not_after &&
		    strcmp(e->list[i].path, like->path) == 0)
			return &e->list[i];
	return NULL;
}

static void
show(struct worker *w)
{
	struct table_certs certs;
	const struct expiry *x;
	uint32_t i;
	size_t k;

	for (i = 0; i < w->conf->nservices; i++) {
		certs = (struct table_certs){ .n = 0 };
		for (k = 0; k < w->expiries.n; k++) {
			x = &w->expiries.list[k];
			if ((x->set & 0xffff) == i && x->not_after != 0)
				table_certs_add(&certs, x->path, x->not_after);
		}
		table_certs_put(w->services[i].count, &certs);
	}
}

/* Those that have not changed keep what was said of them. */
void
worker_expiry_committed(struct worker *w)
{
	const struct expiry *old;
	size_t i;

	for (i = 0; i < w->expiries_staged.n; i++)
		if ((old = find(&w->expiries, &w->expiries_staged.list[i])) != NULL) {
			w->expiries_staged.list[i].said = old->said;
			w->expiries_staged.list[i].said_s = old->said_s;
		}
	expiries_fini(&w->expiries);
	w->expiries = w->expiries_staged;
	w->expiries_staged = (struct expiries){ NULL, 0 };
	show(w);
}

/* Two services may name the same file. */
static bool
is_first(const struct worker *w, const struct expiry *x)
{
	const struct expiry *y;

	for (y = w->expiries.list; y < x; y++)
		if (strcmp(y->path, x->path) == 0)
			return false;
	return true;
}

static void
say(const struct expiry *x)
{
	const struct log_field f[] = { { "code", "certificate-ends" } };
	time_t end = (time_t)x->not_after;
	char when[32] = "?";
	struct tm tm;

	if (gmtime_r(&end, &tm) != NULL)
		strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	log_fields(LOG_L_WARNING, f, PT_COUNT(f), x->said == OVER
		? "%s: the server's certificate, or one behind it, has expired at %s; clients refuse it"
		: "%s: the server's certificate, or one behind it, expires within 14 days, at %s", x->path, when);
}

void
worker_expiry_second(struct worker *w)
{
	uint64_t now = (uint64_t)time(NULL);
	struct expiry *x;
	enum stage is;

	for (x = w->expiries.list; x < w->expiries.list + w->expiries.n; x++) {
		if ((is = stage_of(x, now)) == FINE || (is == x->said && now < x->said_s + DAY_S))
			continue;
		x->said = is;
		x->said_s = now;
		if (is_first(w, x) && worker_speaks(w))
			say(x);
	}
}
