/* proc/crl.c - see crl.h, and what worker.h says of revocation lists.
 *
 * Every worker has the same lists and sees them age; one speaks for all: the one with the lowest slot of its
 * generation. The others keep silent track, so that nothing is said twice when it has gone. */
#include "proc/crl.h"

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

/* The lists of service i, unless a service before it has the very same. */
static struct tls_crl_set *
own_crls(const struct worker *w, size_t i)
{
	struct tls_cred *cred = w->services[i].cred;
	size_t k;

	if (cred == NULL)
		return NULL;
	for (k = 0; k < i; k++)
		if (w->services[k].cred == cred)
			return NULL;
	return tls_cred_crls(cred);
}

static bool
speaks(const struct worker *w)
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

void
worker_crl_second(struct worker *w)
{
	uint64_t now = (uint64_t)time(NULL);
	char text[TLS_CRL_WARNING_MAX];
	struct tls_crl_set *crls;
	size_t i;

	for (i = 0; i < w->conf->nservices; i++) {
		if ((crls = own_crls(w, i)) == NULL)
			continue;
		while (tls_crl_warning(crls, now, text)) {
			const struct log_field f[] = {
				{ "service", w->services[i].conf->name },
				{ "code", "crl" },
			};

			if (speaks(w))
				log_fields(LOG_L_WARNING, f, PT_COUNT(f), "%s", text);
		}
	}
}

void
worker_crl_committed(struct worker *w)
{
	struct tls_crl_set *crls;
	struct tls_cred *cred;
	size_t i;

	for (i = 0; i < w->conf->nservices; i++) {
		cred = w->services[i].cred;
		crls = cred != NULL ? tls_cred_crls(cred) : NULL;
		atomic_store(&w->services[i].count->crl_next_update,
			crls != NULL ? tls_crl_next_update(crls) : 0);
	}
}
