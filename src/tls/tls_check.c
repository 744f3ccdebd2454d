/* tls/tls_check.c - see tls_check.h. Silent about what cannot be read: loading says that. */
#include "tls/tls_check.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NAME_SHOWN 200
#define TEXT_MAX 600

struct certs {
	gnutls_x509_crt_t *crts;
	unsigned n;
};

static void
certs_init(struct certs *c, struct span pem)
{
	gnutls_datum_t d = { (unsigned char *)(uintptr_t)pem.p, (unsigned)pem.n };

	if (gnutls_x509_crt_list_import2(&c->crts, &c->n, &d, GNUTLS_X509_FMT_PEM, 0) < 0)
		*c = (struct certs){ NULL, 0 };
}

static void
certs_fini(struct certs *c)
{
	unsigned i;

	for (i = 0; i < c->n; i++)
		gnutls_x509_crt_deinit(c->crts[i]);
	gnutls_free(c->crts);
}

static void
name_of(gnutls_x509_crt_t crt, char out[NAME_SHOWN])
{
	gnutls_datum_t d;

	strlcpy(out, "(no name)", NAME_SHOWN);
	if (gnutls_x509_crt_get_dn3(crt, &d, 0) != 0)
		return;
	if (d.size > 0)
		span_print((struct span){ d.data, d.size }, out, NAME_SHOWN);
	gnutls_free(d.data);
}

static void
check_expiry(gnutls_x509_crt_t crt, const char *what, uint64_t soon_s, uint64_t now, tls_check_f *f, void *arg)
{
	time_t end = gnutls_x509_crt_get_expiration_time(crt);
	char text[TEXT_MAX], name[NAME_SHOWN], when[32] = "?";
	struct tm tm;

	if (end < 0 || (uint64_t)end > now + soon_s)
		return;
	if (gmtime_r(&end, &tm) != NULL)
		strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
	name_of(crt, name);
	if ((uint64_t)end < now)
		snprintf(text, sizeof text, "the %s %s has expired at %s", what, name, when);
	else
		snprintf(text, sizeof text, "the %s %s expires within %u days, at %s", what, name,
			(unsigned)(soon_s / 86400), when);
	f(arg, text);
}

uint64_t
tls_chain_not_after(struct span pem)
{
	uint64_t first = 0;
	struct certs c;
	unsigned i;
	time_t end;

	certs_init(&c, pem);
	for (i = 0; i < c.n; i++) {
		end = gnutls_x509_crt_get_expiration_time(c.crts[i]);
		if (end > 0 && (first == 0 || (uint64_t)end < first))
			first = (uint64_t)end;
	}
	certs_fini(&c);
	return first;
}

void
tls_check_chain(struct span pem, uint64_t now, tls_check_f *f, void *arg)
{
	struct certs c;
	unsigned i;

	certs_init(&c, pem);
	for (i = 0; i < c.n; i++)
		check_expiry(c.crts[i], i == 0 ? "certificate" : "certificate behind it", TLS_CHECK_SOON_S, now,
			f, arg);
	certs_fini(&c);
}

static bool
is_rsa(const struct tls_chain *chain)
{
	struct certs c;
	bool rsa;
	int pk;

	certs_init(&c, chain->pem);
	pk = c.n > 0 ? gnutls_x509_crt_get_pk_algorithm(c.crts[0], NULL) : -1;
	rsa = pk == GNUTLS_PK_RSA || pk == GNUTLS_PK_RSA_PSS;
	certs_fini(&c);
	return rsa;
}

void
tls_check_cost(const struct tls_chain *chains, size_t n, tls_check_f *f, void *arg)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!is_rsa(&chains[i]))
			return;
	if (n > 0)
		f(arg, "its key is RSA: a handshake costs several times what one with an ECDSA key costs; make a "
			"P-256 key, beside it if old clients need RSA");
}

static bool
is_self_issued(gnutls_x509_crt_t crt)
{
	return gnutls_x509_crt_check_issuer(crt, crt) != 0;
}

void
tls_check_chain_whole(struct span pem, const struct tls_ca_file *cas, size_t ncas, tls_check_f *f, void *arg)
{
	char text[TEXT_MAX], name[NAME_SHOWN];
	struct certs c, ca;
	bool whole;
	unsigned k;
	size_t i;

	certs_init(&c, pem);
	whole = c.n == 0 || is_self_issued(c.crts[0]);
	for (k = 1; k < c.n && !whole; k++)
		whole = gnutls_x509_crt_check_issuer(c.crts[0], c.crts[k]) != 0;
	for (i = 0; i < ncas && !whole; i++) {
		certs_init(&ca, cas[i].pem);
		for (k = 0; k < ca.n && !whole; k++)
			whole = is_self_issued(ca.crts[k]) &&
				gnutls_x509_crt_check_issuer(c.crts[0], ca.crts[k]) != 0;
		certs_fini(&ca);
	}
	if (!whole) {
		name_of(c.crts[0], name);
		snprintf(text, sizeof text, "the issuer of the certificate %s is not behind it in the file: "
			"unless that is a root that every client has, they cannot verify it", name);
		f(arg, text);
	}
	certs_fini(&c);
}

void
tls_check_host(const struct tls_chain *chains, size_t n, const char *host, tls_check_f *f, void *arg)
{
	/* any label stands for the asterisk: one that nobody has written out */
	char name[300], text[TEXT_MAX];
	bool found = false;
	struct certs c;
	size_t i;

	snprintf(name, sizeof name, "%s%s", host[0] == '*' ? "postern-any" : "", host + (host[0] == '*'));
	for (i = 0; i < n && !found; i++) {
		certs_init(&c, chains[i].pem);
		found = c.n > 0 && gnutls_x509_crt_check_hostname(c.crts[0], name) != 0;
		certs_fini(&c);
	}
	if (found || n == 0)
		return;
	snprintf(text, sizeof text, "no certificate is for the name %s: clients that ask for it will not trust the "
		"server", host);
	f(arg, text);
}

void
tls_check_cas(struct span pem, uint64_t now, tls_check_f *f, void *arg)
{
	char text[TEXT_MAX], name[NAME_SHOWN];
	unsigned i, critical;
	struct certs c;

	certs_init(&c, pem);
	for (i = 0; i < c.n; i++) {
		check_expiry(c.crts[i], "CA", 0, now, f, arg);
		if (gnutls_x509_crt_get_ca_status(c.crts[i], &critical) > 0 ||
		    gnutls_x509_crt_get_version(c.crts[i]) < 3)
			continue;
		name_of(c.crts[i], name);
		snprintf(text, sizeof text, "the certificate %s is no CA: it can trust nobody but itself", name);
		f(arg, text);
	}
	certs_fini(&c);
}
