/* proc/ages.c - see ages.h, and what worker.h says of it.
 *
 * Every worker has the same lists and responses, and sees them age; one speaks for all: the one with the lowest slot of its
 * generation. The others keep silent track, so that nothing is said twice when it has gone. */
#include "proc/ages.h"

#include "proc/files.h"
#include "proc/worker.h"
#include "util/log.h"

#include <time.h>

int
crl_load_fd(struct tls_crl_set *set, int fd, const char *path, struct diag *diag)
{
	struct buf text;
	int rc;

	buf_init(&text, TLS_CRL_FILE_MAX);
	if ((rc = file_slurp(fd, &text, diag)) != 0)
		diag_prefix(diag, "%s", path);
	else
		rc = tls_crl_load(set, buf_span(&text), path, diag);
	buf_fini(&text);
	return rc;
}

bool
worker_speaks(const struct worker *w)
{
	const struct table *t;
	unsigned i;

	if (w->child.state != PROC_SERVING)
		return false; /* its lists may have been replaced */
	for (i = 0; i < w->slot && i < w->ntables; i++) {
		t = w->tables[i];
		if (t != NULL && atomic_load(&t->pid) != 0 && atomic_load(&t->generation) == w->generation &&
		    atomic_load(&t->state) <= PROC_SERVING)
			return false;
	}
	return true;
}

static void
say_warnings(const struct worker *w, const struct service *s, const struct domain *d, uint64_t now)
{
	char text[TLS_CRL_WARNING_MAX];
	const char *code;

	/* what several domains share says each thing once, at the first of them */
	while (d->cred != NULL && tls_cred_warning(d->cred, now, &code, text)) {
		const struct log_field f[] = {
			{ "service", s->conf->name },
			{ "code", code },
			{ "name", d->name != NULL ? d->name : "" },
		};

		if (worker_speaks(w))
			log_fields(LOG_L_WARNING, f, d->name != NULL ? PT_COUNT(f) : PT_COUNT(f) - 1, "%s", text);
	}
}

void
worker_ages_second(struct worker *w)
{
	uint64_t now = (uint64_t)time(NULL);
	size_t i, k;

	for (i = 0; i < w->conf->nservices; i++)
		for (k = 0; k < w->services[i].domains.n; k++)
			say_warnings(w, &w->services[i], &w->services[i].domains.list[k], now);
}

static uint64_t
end_of(const struct tls_cred *cred, enum table_end end)
{
	const struct tls_crl_set *crls = tls_cred_crls(cred);

	switch (end) {
	case TABLE_END_CRL:
		return crls != NULL ? tls_crl_next_update(crls) : 0;
	case TABLE_END_OCSP:
		return tls_cred_ocsp_next_update(cred);
	case TABLE_END_COUNT:
		break;
	}
	return 0;
}

/* The earliest in all domains of a service; 0: none. */
static uint64_t
earliest(const struct service *s, enum table_end end)
{
	uint64_t first = 0, one;
	size_t k;

	for (k = 0; k < s->domains.n; k++) {
		one = s->domains.list[k].cred != NULL ? end_of(s->domains.list[k].cred, end) : 0;
		if (one != 0 && (first == 0 || one < first))
			first = one;
	}
	return first;
}

void
worker_ages_committed(struct worker *w)
{
	size_t i, k;

	for (i = 0; i < w->conf->nservices; i++)
		for (k = 0; k < TABLE_END_COUNT; k++)
			atomic_store(&w->services[i].count->ends[k],
				earliest(&w->services[i], (enum table_end)k));
}
