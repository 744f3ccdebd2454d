/* proc/control_metrics.c - the numbers of the shared tables as Prometheus text, exposition format 0.0.4: one
 * family after another, each service a label. */
#include "config.h"

#include "proc/control.h"

#include <stdio.h>
#include <stdlib.h>

#define US_PER_SECOND 1000000.0

struct page {
	const struct control *c;
	struct table_service *sums; /* one for each service of the configuration */
	struct buf *out;
	int rc; /* the first failure; nothing is added after it */
};

#define PUT(p, ...)                                                                                \
	do {                                                                                       \
		if ((p)->rc == 0)                                                                  \
			(p)->rc = buf_printf((p)->out, __VA_ARGS__);                               \
	} while (0)

static void
head(struct page *p, const char *name, const char *type, const char *help)
{
	PUT(p, "# HELP postern_%s %s\n# TYPE postern_%s %s\n", name, help, name, type);
}

/* A label's value: backslash, quote and line end are escaped. */
static void
label(struct page *p, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '\\' || *s == '"')
			PUT(p, "\\%c", *s);
		else if (*s == '\n')
			PUT(p, "\\n");
		else
			PUT(p, "%c", *s);
	}
}

static void
sample(struct page *p, const char *name, size_t service, const char *extra, const char *value, uint64_t n)
{
	PUT(p, "postern_%s{service=\"", name);
	label(p, p->c->conf->services[service].name);
	PUT(p, "\"");
	if (extra != NULL)
		PUT(p, ",%s=\"%s\"", extra, value);
	PUT(p, "} %llu\n", (unsigned long long)n);
}

/* The two gauges first in TABLE_COUNTERS go down again; all others only grow, and their names say so. */
static void
counters(struct page *p)
{
	unsigned k = 0;
	size_t i;

#define FAMILY(counter, help)                                                                      \
	head(p, k < 2 ? #counter : #counter "_total", k < 2 ? "gauge" : "counter", help);          \
	for (i = 0; i < p->c->conf->nservices; i++)                                                \
		sample(p, k < 2 ? #counter : #counter "_total", i, NULL, NULL,                     \
			atomic_load(&p->sums[i].counter));                                         \
	k++;
	TABLE_COUNTERS(FAMILY)
#undef FAMILY
}

static void
by_reason(struct page *p)
{
	size_t i, k;

	head(p, "handshake_failures_total", "counter", "TLS handshakes that failed, by reason");
	for (i = 0; i < p->c->conf->nservices; i++)
		for (k = 0; k < TABLE_FAILURE_COUNT; k++)
			sample(p, "handshake_failures_total", i, "reason",
				table_failure_name((enum table_failure)k),
				atomic_load(&p->sums[i].failures[k]));
	head(p, "verdicts_total", "counter", "completed TLS handshakes, by verdict on the client certificate");
	for (i = 0; i < p->c->conf->nservices; i++)
		for (k = 0; k < TLS_VERDICT_COUNT; k++)
			sample(p, "verdicts_total", i, "verdict", tls_verdict_name((enum tls_verdict)k),
				atomic_load(&p->sums[i].verdicts[k]));
}

/* Only for services that have such: 0 would be long ago. */
static void
ends(struct page *p)
{
	uint64_t until;
	size_t i;

#define FAMILY(end, key, help)                                                                     \
	head(p, key "_seconds", "gauge", help ", seconds since 1970");                             \
	for (i = 0; i < p->c->conf->nservices; i++)                                                \
		if ((until = control_end(p->c, p->c->conf->services[i].name, TABLE_END_##end)) != 0) \
			sample(p, key "_seconds", i, NULL, NULL, until);
	TABLE_ENDS(FAMILY)
#undef FAMILY
}

static void
certificates(struct page *p)
{
	struct table_certs certs;
	size_t i;
	uint32_t k;

	head(p, "certificate_not_after_seconds", "gauge",
		"when a server certificate, or the first behind it in its file, ends, seconds since 1970");
	for (i = 0; i < p->c->conf->nservices; i++) {
		control_certs(p->c, p->c->conf->services[i].name, &certs);
		for (k = 0; k < certs.n; k++) {
			PUT(p, "postern_certificate_not_after_seconds{service=\"");
			label(p, p->c->conf->services[i].name);
			PUT(p, "\",file=\"");
			label(p, certs.list[k].file);
			PUT(p, "\"} %llu\n", (unsigned long long)certs.list[k].not_after);
		}
	}
}

static void
histogram(struct page *p, size_t service, enum table_kind kind)
{
	static const uint64_t ends[] = TABLE_BUCKETS_US;
	const struct table_histogram *h = &p->sums[service].handshake_us[kind];
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < TABLE_BUCKETS; i++) {
		sum += atomic_load(&h->buckets[i]);
		PUT(p, "postern_handshake_seconds_bucket{service=\"");
		label(p, p->c->conf->services[service].name);
		PUT(p, "\",kind=\"%s\",le=\"", table_kind_name(kind));
		if (i < PT_COUNT(ends))
			PUT(p, "%g", (double)ends[i] / US_PER_SECOND);
		else
			PUT(p, "+Inf");
		PUT(p, "\"} %llu\n", (unsigned long long)sum);
	}
	PUT(p, "postern_handshake_seconds_sum{service=\"");
	label(p, p->c->conf->services[service].name);
	PUT(p, "\",kind=\"%s\"} %.6f\n", table_kind_name(kind),
		(double)atomic_load(&h->sum_us) / US_PER_SECOND);
	PUT(p, "postern_handshake_seconds_count{service=\"");
	label(p, p->c->conf->services[service].name);
	PUT(p, "\",kind=\"%s\"} %llu\n", table_kind_name(kind), (unsigned long long)sum);
}

static void
server(struct page *p)
{
	const struct process_row *r;
	uint64_t restarts = 0, workers = 0;

	TAILQ_FOREACH(r, &p->c->processes, next) {
		restarts += r->p.restarts;
		workers += r->p.role == ROLE_WORKER;
	}
	head(p, "info", "gauge", "1, with the version as a label");
	PUT(p, "postern_info{version=\"%s\"} 1\n", PACKAGE_VERSION);
	head(p, "start_time_seconds", "gauge", "start of the server, seconds since 1970");
	PUT(p, "postern_start_time_seconds %llu\n", (unsigned long long)p->c->started);
	head(p, "generation", "gauge", "number of the configuration in effect");
	PUT(p, "postern_generation %llu\n", (unsigned long long)p->c->generation);
	head(p, "credential_generation", "gauge", "number of the set of certificate files in use");
	PUT(p, "postern_credential_generation %llu\n", (unsigned long long)p->c->cred.generation);
	head(p, "credential_loaded_seconds", "gauge", "when it came into use, seconds since 1970");
	PUT(p, "postern_credential_loaded_seconds %llu\n", (unsigned long long)p->c->cred.done);
	head(p, "credential_refused_seconds", "gauge",
		"when changed certificate files were last refused, seconds since 1970; 0: never");
	PUT(p, "postern_credential_refused_seconds %llu\n", (unsigned long long)p->c->cred.failed);
	head(p, "workers", "gauge", "worker processes, those that drain included");
	PUT(p, "postern_workers %llu\n", (unsigned long long)workers);
	head(p, "process_restarts", "gauge", "times that the present processes were started again");
	PUT(p, "postern_process_restarts %llu\n", (unsigned long long)restarts);
	head(p, "log_dropped_total", "counter", "log messages that were left out");
	PUT(p, "postern_log_dropped_total %llu\n", (unsigned long long)p->c->log_dropped);
}

int
control_metrics_put(const struct control *c, struct buf *out)
{
	struct page p = { .c = c, .out = out };
	size_t i, k;

	server(&p);
	if (c->conf == NULL || c->conf->nservices == 0)
		return p.rc;
	if ((p.sums = calloc(c->conf->nservices, sizeof *p.sums)) == NULL)
		return PT_ENOMEM;
	for (i = 0; i < c->conf->nservices; i++)
		control_sum_service(c, c->conf->services[i].name, &p.sums[i]);
	counters(&p);
	by_reason(&p);
	ends(&p);
	certificates(&p);
	head(&p, "handshake_seconds", "histogram", "time from the begin of a TLS handshake to its end, by kind");
	for (i = 0; i < c->conf->nservices; i++)
		for (k = 0; k < TABLE_KIND_COUNT; k++)
			histogram(&p, i, (enum table_kind)k);
	free(p.sums);
	return p.rc;
}
