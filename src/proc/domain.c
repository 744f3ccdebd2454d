/* proc/domain.c - see domain.h. */
#include "proc/domain.h"

#include "mail/normal.h"
#include "proc/cred_kind.h"

#include <stdlib.h>
#include <string.h>

static int
by_host(const void *a, const void *b)
{
	return strcmp(((const struct domain_host *)a)->host, ((const struct domain_host *)b)->host);
}

int
domains_init(struct domains *d, const struct conf_tls *tls)
{
	size_t i, k, hosts = 0;

	*d = (struct domains){ .n = 0 };
	if (tls == NULL)
		return 0;
	for (i = 0; i < tls->nnames; i++)
		hosts += tls->names[i].nhosts;
	d->list = calloc(1 + tls->nnames, sizeof *d->list);
	d->hosts = calloc(hosts + 1, sizeof *d->hosts);
	if (d->list == NULL || d->hosts == NULL) {
		domains_fini(d);
		return PT_ENOMEM;
	}
	d->n = 1 + tls->nnames;
	d->list[0].tls = tls;
	for (i = 0; i < tls->nnames; i++) {
		d->list[1 + i].tls = tls->names[i].tls;
		d->list[1 + i].name = tls->names[i].hosts[0];
		for (k = 0; k < tls->names[i].nhosts; k++)
			d->hosts[d->nhosts++] = (struct domain_host){ tls->names[i].hosts[k], 1 + i };
	}
	qsort(d->hosts, d->nhosts, sizeof *d->hosts, by_host);
	return 0;
}

void
domains_fini(struct domains *d)
{
	size_t i;

	for (i = 0; i < d->n; i++) {
		tls_cred_unref(&d->list[i].cred);
		tls_cred_unref(&d->list[i].staged);
	}
	if (d->list != NULL)
		freezero(d->list, d->n * sizeof *d->list); /* ticket keys are in it */
	free(d->hosts);
	*d = (struct domains){ .n = 0 };
}

static struct domain *
find(const struct domains *d, const char *host)
{
	const struct domain_host key = { host, 0 }, *found;

	found = bsearch(&key, d->hosts, d->nhosts, sizeof *d->hosts, by_host);
	return found != NULL ? &d->list[found->index] : NULL;
}

struct domain *
domains_find(const struct domains *d, const char *host)
{
	char normal[NORMAL_DOMAIN_MAX], *dot;
	struct domain *found;

	PT_ASSERT(d->n > 0);
	if (host == NULL || !normal_domain(span_str(host), normal))
		return &d->list[0];
	if ((found = find(d, normal)) == NULL && (dot = strchr(normal, '.')) != NULL) {
		dot[-1] = '*'; /* what it stands for is not needed any more */
		found = find(d, dot - 1);
	}
	return found != NULL ? found : &d->list[0];
}

struct domain_sets
domain_sets(const struct conf_tls *tls, uint32_t service, uint32_t name)
{
	const struct conf_name *n = name > 0 ? &tls->names[name - 1] : NULL;

	return (struct domain_sets){
		.certs = CRED_SET(service, n != NULL && n->own_certs ? name : 0),
		.ocsp = CRED_SET(service, n != NULL && n->own_ocsp ? name : 0),
		.client_ca = CRED_SET(service, n != NULL && n->own_client_ca ? name : 0),
		.client_crl = CRED_SET(service, n != NULL && n->own_client_crl ? name : 0),
	};
}
