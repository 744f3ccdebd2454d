/* unit/tls/test_check.c - what is worth a warning, by a clock that the test has. */
#include "test.h"

#include "pki.h"

#include "tls/tls_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY 86400L

struct heard {
	unsigned n;
	char text[2048];
};

static void
hear(void *arg, const char *text)
{
	struct heard *h = arg;

	h->n++;
	strlcat(h->text, text, sizeof h->text);
	strlcat(h->text, "\n", sizeof h->text);
}

static void
test_expiry(void)
{
	static const struct {
		long at_s; /* from the end of the certificate */
		const char *chain, *ca; /* what is said; NULL: nothing */
	} rows[] = {
		{ -TLS_CHECK_SOON_S - 1, NULL, NULL },
		{ -TLS_CHECK_SOON_S, "certificate CN=a expires within 14 days, at 20", NULL },
		{ -1, "expires within", NULL },
		{ 1, "certificate CN=a has expired at 20", "CA CN=a has expired at 20" },
	};
	struct pki *p = pki_new(&(struct pki_spec){ .cn = "a", .ca = true }, NULL);
	time_t end = gnutls_x509_crt_get_expiration_time(p->crt);
	char *pem = pki_cert_pem(p);
	struct heard h;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		h = (struct heard){ .n = 0 };
		tls_check_chain(span_str(pem), (uint64_t)(end + rows[i].at_s), hear, &h);
		CU_ASSERT_EQUAL(h.n, rows[i].chain != NULL ? 1 : 0);
		CU_ASSERT(rows[i].chain == NULL || strstr(h.text, rows[i].chain) != NULL);
		h = (struct heard){ .n = 0 };
		tls_check_cas(span_str(pem), (uint64_t)(end + rows[i].at_s), hear, &h);
		CU_ASSERT_EQUAL(h.n, rows[i].ca != NULL ? 1 : 0);
		CU_ASSERT(rows[i].ca == NULL || strstr(h.text, rows[i].ca) != NULL);
	}
	free(pem);
	pki_free(&p);
}

static void
test_kinds(void)
{
	static const struct {
		enum pki_kind kind;
		unsigned n;
	} rows[] = { { PKI_EC, 0 }, { PKI_ED25519, 0 }, { PKI_RSA, 1 } };
	struct pki *p = pki_new(&(struct pki_spec){ .cn = "beside" }, NULL);
	char *pem, *beside = pki_cert_pem(p);
	struct tls_chain chains[3];
	struct heard h = { .n = 0 };
	size_t i;

	pki_free(&p);
	tls_check_cost(NULL, 0, hear, &h);
	CU_ASSERT_EQUAL(h.n, 0);

	for (i = 0; i < PT_COUNT(rows); i++) {
		p = pki_new(&(struct pki_spec){ .cn = "a", .kind = rows[i].kind }, NULL);
		pem = pki_cert_pem(p);
		h = (struct heard){ .n = 0 };
		tls_check_chain(span_str(pem), (uint64_t)time(NULL), hear, &h);
		CU_ASSERT_EQUAL(h.n, 0);
		chains[0] = (struct tls_chain){ span_str(pem), 0 };
		tls_check_cost(chains, 1, hear, &h);
		CU_ASSERT_EQUAL(h.n, rows[i].n);
		CU_ASSERT(rows[i].n == 0 || strstr(h.text, "P-256") != NULL);
		/* beside an ECDSA key there is nothing to be said, in any order */
		h = (struct heard){ .n = 0 };
		chains[1] = (struct tls_chain){ span_str(beside), 1 };
		tls_check_cost(chains, 2, hear, &h);
		chains[2] = chains[0];
		tls_check_cost(chains + 1, 2, hear, &h);
		CU_ASSERT_EQUAL(h.n, 0);
		tls_check_cas(span_str(pem), (uint64_t)time(NULL), hear, &h);
		CU_ASSERT(h.n == 1 && strstr(h.text, "CN=a is no CA") != NULL);
		free(pem);
		pki_free(&p);
	}
	free(beside);
}

/* A name that a certificate of its block is for, and one that none is. */
static void
test_hosts(void)
{
	static const struct pki_san sans[] = { { GNUTLS_SAN_DNSNAME, "mail.example.net", 0 },
		{ GNUTLS_SAN_DNSNAME, "*.example.org", 0 } };
	static const struct {
		const char *host;
		unsigned n;
	} rows[] = {
		{ "mail.example.net", 0 }, { "imap.example.net", 1 }, { "*.example.net", 1 }, { "*.example.org", 0 },
		{ "any.example.org", 0 }, { "a.b.example.org", 1 }, { "example.org", 1 }, { "other.example", 0 },
	};
	struct pki *a = pki_new(&(struct pki_spec){ .cn = "a", .sans = sans, .nsans = 2 }, NULL),
		   *b = pki_new(&(struct pki_spec){ .cn = "b", .sans = &(struct pki_san){ GNUTLS_SAN_DNSNAME,
						   "other.example", 0 }, .nsans = 1 }, NULL);
	char *pem_a = pki_cert_pem(a), *pem_b = pki_cert_pem(b);
	const struct tls_chain chains[] = { { span_str(pem_a), 0 }, { span_str(pem_b), 1 } };
	struct heard h;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		h = (struct heard){ .n = 0 };
		tls_check_host(chains, 2, rows[i].host, hear, &h);
		CU_ASSERT_EQUAL(h.n, rows[i].n);
		CU_ASSERT(rows[i].n == 0 || strstr(h.text, rows[i].host) != NULL);
	}
	free(pem_a);
	free(pem_b);
	pki_free(&a);
	pki_free(&b);
}

static void
test_whole(void)
{
	struct pki *root = pki_new(&(struct pki_spec){ .cn = "root", .ca = true }, NULL),
		   *sub = pki_new(&(struct pki_spec){ .cn = "sub", .ca = true }, root),
		   *leaf = pki_new(&(struct pki_spec){ .cn = "leaf" }, sub),
		   *direct = pki_new(&(struct pki_spec){ .cn = "direct" }, root);
	const struct {
		const struct pki *chain[2], *ca;
		unsigned n;
	} rows[] = {
		{ { root }, NULL, 0 }, /* signs itself */
		{ { leaf, sub }, NULL, 0 },
		{ { leaf }, NULL, 1 },
		{ { leaf, root }, NULL, 1 },
		{ { leaf }, sub, 1 }, /* that we know it does not help a client */
		{ { direct }, NULL, 1 },
		{ { direct }, root, 0 },
		{ { direct, root }, NULL, 0 },
	};
	struct tls_ca_file file;
	char *pem, *ca;
	struct heard h;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		pem = pki_cert_pem(rows[i].chain[0]);
		if (rows[i].chain[1] != NULL)
			pem = pki_join(pem, pki_cert_pem(rows[i].chain[1]), NULL);
		ca = rows[i].ca != NULL ? pki_cert_pem(rows[i].ca) : NULL;
		file = (struct tls_ca_file){ ca != NULL ? span_str(ca) : (struct span){ NULL, 0 }, "ca" };
		h = (struct heard){ .n = 0 };
		tls_check_chain_whole(span_str(pem), &file, ca != NULL, hear, &h);
		CU_ASSERT_EQUAL(h.n, rows[i].n);
		free(pem);
		free(ca);
	}
	pki_free(&direct);
	pki_free(&leaf);
	pki_free(&sub);
	pki_free(&root);
}

/* What cannot be read is loading's to say. */
static void
test_nothing(void)
{
	struct heard h = { .n = 0 };

	tls_check_chain(span_str("x"), 0, hear, &h);
	tls_check_chain_whole(span_str("x"), NULL, 0, hear, &h);
	tls_check_cas((struct span){ NULL, 0 }, 0, hear, &h);
	CU_ASSERT_EQUAL(h.n, 0);
}

static const struct test_row rows[] = {
	{ "expiry", test_expiry },
	{ "kinds of keys; no CA", test_kinds },
	{ "names", test_hosts },
	{ "chains with a gap", test_whole },
	{ "no certificates", test_nothing },
};

TEST_MAIN("tls/check", rows)
