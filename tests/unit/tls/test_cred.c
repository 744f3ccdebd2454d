/* unit/tls/test_cred.c - credential sets: what they refuse, which certificate a client gets, and their life. */
#include "test.h"
#include "duet.h"

#include <gnutls/abstract.h>
#include <stdlib.h>
#include <string.h>

static struct pki *ca[2], *ec, *rsa, *ed, *second;
static char *ca_pem[2], *pem[4];
static struct duet_signer signer;
static struct duet duet;

static void
test_begin(void)
{
	static const struct pki_san names[] = { { GNUTLS_SAN_DNSNAME, "other-name.example.org", 0 },
		{ GNUTLS_SAN_DNSNAME, "second.example.org", 0 } };

	ca[0] = pki_new(&(struct pki_spec){ .cn = "CA one", .ca = true }, NULL);
	ca[1] = pki_new(&(struct pki_spec){ .cn = "CA two", .ca = true }, NULL);
	ca_pem[0] = pki_cert_pem(ca[0]);
	ca_pem[1] = pki_cert_pem(ca[1]);
	ec = pki_new(&(struct pki_spec){ .cn = "first.example.org" }, ca[0]);
	rsa = pki_new(&(struct pki_spec){ .cn = "first.example.org", .kind = PKI_RSA }, ca[0]);
	ed = pki_new(&(struct pki_spec){ .cn = "first.example.org", .kind = PKI_ED25519 }, ca[0]);
	second = pki_new(&(struct pki_spec){ .cn = "x", .sans = names, .nsans = PT_COUNT(names) }, ca[0]);
	pem[0] = duet_add_key(&signer, ec, NULL);
	pem[1] = duet_add_key(&signer, rsa, ca[0]);
	pem[2] = duet_add_key(&signer, ed, NULL);
	pem[3] = duet_add_key(&signer, second, NULL);
}

static void
test_end(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		pki_free(&ca[i]);
		free(ca_pem[i]);
	}
	for (i = 0; i < 4; i++)
		free(pem[i]);
	pki_free(&ec);
	pki_free(&rsa);
	pki_free(&ed);
	pki_free(&second);
	duet_signer_fini(&signer);
}

/* What every set has; a test changes what it is about. */
static struct tls_chain chain;
static struct tls_ca_file cas[2], froms[TLS_FROM_MAX];

static struct tls_cred_conf
basic(void)
{
	chain = (struct tls_chain){ span_str(pem[0]), 0 };
	cas[0] = (struct tls_ca_file){ span_str(ca_pem[0]), "one.pem" };
	cas[1] = (struct tls_ca_file){ span_str(ca_pem[1]), "two.pem" };
	return (struct tls_cred_conf){ .protocols = TLS_PROTO_1_2 | TLS_PROTO_1_3,
		.client_cert = TLS_CLIENT_CERT_REQUEST, .chains = &chain, .nchains = 1, .cas = cas,
		.ncas = 2, .froms = froms, .nfroms = 0, .generation = 7, .sign = duet_sign,
		.sign_arg = &signer };
}

static int
try(const struct tls_cred_conf *conf, struct diag *diag)
{
	struct tls_cred *cred = (struct tls_cred *)(uintptr_t)1;
	int rc;

	diag->text[0] = '\0';
	rc = tls_cred_new(conf, &cred, diag);
	CU_ASSERT_EQUAL(cred == NULL, rc != 0);
	tls_cred_unref(&cred);
	CU_ASSERT_PTR_NULL(cred);
	return rc;
}

static void
test_refused(void)
{
	struct tls_cred_conf conf = basic();
	struct diag diag;
	char *key, *both;

	CU_ASSERT_EQUAL(try(&conf, &diag), 0);
	conf.chains = NULL; /* a set without a certificate: for a service that gets one later */
	conf.nchains = 0;
	CU_ASSERT_EQUAL(try(&conf, &diag), 0);

	conf = basic();
	chain.pem = span_str("no certificate");
	CU_ASSERT_EQUAL(try(&conf, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "the server certificate cannot be used"));
	conf = basic();
	chain.key = 3; /* another key signs: the test signature shows it */
	CU_ASSERT_EQUAL(try(&conf, &diag), PT_EINVAL);
	conf = basic();
	signer.rc = PT_EUNAVAIL; /* nobody signs at present: it will be back */
	signer.calls = 0;
	CU_ASSERT_EQUAL(try(&conf, &diag), 0);
	CU_ASSERT_EQUAL(signer.calls, 1);
	signer.rc = 0;

	conf = basic();
	cas[1].pem = span_str("");
	CU_ASSERT_EQUAL(try(&conf, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "two.pem: there is no PEM certificate"));
	cas[1].pem = span_str("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	CU_ASSERT_EQUAL(try(&conf, &diag), PT_EINVAL);
	key = pki_key_pem(ca[1]);
	both = pki_join(pki_cert_pem(ca[1]), key, NULL);
	cas[1].pem = span_str(both);
	CU_ASSERT_EQUAL(try(&conf, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "two.pem: a private key is in this file"));

	conf = basic();
	conf.nfroms = 1;
	froms[0] = (struct tls_ca_file){ span_str(both), "from.pem" };
	CU_ASSERT_EQUAL(try(&conf, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "from.pem: a private key"));
	free(both);
	froms[0].pem = span_str(ca_pem[1]);
	CU_ASSERT_EQUAL(try(&conf, &diag), 0);
}

struct reports {
	unsigned n;
	char text[8 * DIAG_MAX];
};

static void
report(void *arg, const char *text)
{
	struct reports *r = arg;

	r->n++;
	strlcat(r->text, text, sizeof r->text);
}

/* Who wants to know all mistakes gets all of them, and no set. */
static void
test_reported(void)
{
	struct tls_cred_conf conf = basic();
	struct reports r = { 0, "" };
	struct diag diag;

	conf.report = report;
	conf.report_arg = &r;
	CU_ASSERT_EQUAL(try(&conf, &diag), 0);
	CU_ASSERT_EQUAL(r.n, 0);
	conf.priority = "NORMAL:+NONSENSE";
	chain.key = 3;
	cas[0].pem = span_str("x");
	cas[1].pem = span_str("");
	froms[0] = (struct tls_ca_file){ span_str("y"), "from.pem" };
	conf.nfroms = 1;
	CU_ASSERT_EQUAL(try(&conf, &diag), PT_EINVAL);
	CU_ASSERT_EQUAL(r.n, 5);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "wrong at \"+NONSENSE"));
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "the server certificate cannot be used"));
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "one.pem: "));
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "two.pem: "));
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "from.pem: "));
}

static void
test_priority(void)
{
	struct tls_cred_conf conf = basic();
	struct diag diag = { "" };

	CU_ASSERT_EQUAL(tls_priority_check("NORMAL", &diag), 0);
	CU_ASSERT_EQUAL(tls_priority_check("NORMAL:-VERS-ALL:+VERS-TLS1.3", &diag), 0);
	CU_ASSERT_EQUAL(tls_priority_check("NORMAL:+NONSENSE:-VERS-TLS1.0", &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "wrong at \"+NONSENSE"));
	CU_ASSERT_EQUAL(tls_priority_check("", &diag), PT_EINVAL);
	CU_ASSERT_EQUAL(tls_priority_check("NORMAL:-VERS-ALL", NULL), PT_EINVAL);
	conf.priority = "NORMAL:+NONSENSE";
	CU_ASSERT_EQUAL(try(&conf, &diag), PT_EINVAL);
	conf.priority = NULL;
	conf.protocols = 0;
	CU_ASSERT_EQUAL(try(&conf, &diag), PT_EINVAL);
}

/* A set that was replaced lives until its last session has ended; the sanitizers look on. */
static void
test_references(void)
{
	struct tls_cred_conf conf = basic();
	struct tls_cred *a, *b, *none = NULL;
	uint8_t octets[8];
	struct diag diag;
	size_t n;

	tls_cred_unref(&none);
	CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &a, &diag), 0);
	CU_ASSERT_EQUAL(tls_cred_generation(a), 7);
	b = tls_cred_ref(a);
	CU_ASSERT_PTR_EQUAL(a, b);
	tls_cred_unref(&b);
	CU_ASSERT_PTR_NULL(b);
	CU_ASSERT_EQUAL(tls_cred_generation(a), 7);
	duet_init(&duet, a, DUET_TLS12, ec, NULL, NULL);
	tls_cred_unref(&a); /* the session has its own */
	duet_handshake(&duet);
	CU_ASSERT_EQUAL(duet.status, TLS_OK);
	CU_ASSERT_EQUAL(gnutls_record_send(duet.client, "x", 1), 1);
	CU_ASSERT_EQUAL(tls_session_recv(duet.server, octets, sizeof octets, &n), TLS_OK);
	duet_fini(&duet);
}

/* The octets of the certificate that the client got. */
static bool
client_got(const struct pki *p)
{
	unsigned n = 0;
	const gnutls_datum_t *raw = gnutls_certificate_get_peers(duet.client, &n);
	gnutls_datum_t der;
	bool same;

	if (raw == NULL || n == 0 || gnutls_x509_crt_export2(p->crt, GNUTLS_X509_FMT_DER, &der) != 0)
		return false;
	same = raw[0].size == der.size && memcmp(raw[0].data, der.data, der.size) == 0;
	gnutls_free(der.data);
	return same;
}

/* Several certificates: by what the client's algorithms allow, and by the name that it asks for. */
static void
test_selection(void)
{
#define ONLY(sign) DUET_TLS13 ":-SIGN-ALL:+SIGN-" sign
	static const char *const any = DUET_TLS13;
	static const unsigned orders[][4] = { { 0, 1, 2, 3 }, { 1, 2, 0, 3 }, { 2, 1, 0, 3 }, { 1, 0, 2, 3 } };
	const struct {
		const char *priority, *sni;
		const struct pki *want;
	} rows[] = {
		{ any, NULL, ec },
		{ ONLY("ECDSA-SECP256R1-SHA256"), NULL, ec },
		{ ONLY("RSA-PSS-RSAE-SHA256:+SIGN-RSA-SHA256"), NULL, rsa },
		{ ONLY("EDDSA-ED25519"), NULL, ed },
		{ DUET_TLS12 ":-KX-ALL:+ECDHE-RSA", NULL, rsa },
		{ any, "second.example.org", second },
		{ any, "other.example.org", ec }, /* nobody's: the first */
		{ DUET_TLS12, "second.example.org", second },
	};
	struct tls_cred_conf conf = basic();
	struct tls_chain all[4];
	struct tls_cred *cred;
	struct diag diag;
	uint32_t k;
	size_t i, order;

	conf.chains = all;
	conf.nchains = 4;
	for (order = 0; order < PT_COUNT(orders); order++) {
		for (k = 0; k < 4; k++)
			all[k] = (struct tls_chain){ span_str(pem[orders[order][k]]), orders[order][k] };
		CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &cred, &diag), 0);
		for (i = 0; i < PT_COUNT(rows); i++) {
			duet_init(&duet, cred, rows[i].priority, NULL, NULL, rows[i].sni);
			duet_handshake(&duet);
			CU_ASSERT_EQUAL(duet.status, TLS_OK);
			if (!client_got(rows[i].want)) {
				fprintf(stderr, "\n%s, %s\n", rows[i].priority, rows[i].sni);
				CU_FAIL("another certificate than expected");
			}
			duet_fini(&duet);
		}
		tls_cred_unref(&cred);
	}
}

static void
test_chain_from(void)
{
	struct pki_spec spec = { .cn = "alice", .purpose = GNUTLS_KP_TLS_WWW_CLIENT };
	struct pki *leaf[2] = { pki_new(&spec, ca[0]), pki_new(&spec, ca[1]) };
	char *both = pki_join(pki_cert_pem(ca[0]), pki_cert_pem(ca[1]), NULL);
	char *twice = pki_join(pki_cert_pem(ca[0]), pki_cert_pem(ca[0]), NULL);
	struct tls_cred_conf conf = basic();
	struct tls_cred *cred;
	struct diag diag;
	size_t i;

	froms[0] = (struct tls_ca_file){ span_str(ca_pem[0]), "one" };
	froms[1] = (struct tls_ca_file){ span_str(ca_pem[1]), "two" };
	froms[2] = (struct tls_ca_file){ span_str(both), "both" };
	froms[3] = (struct tls_ca_file){ span_str(twice), "twice" };
	conf.nfroms = 4;
	CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &cred, &diag), 0);
	for (i = 0; i < 2; i++) {
		duet_init(&duet, cred, DUET_TLS13, leaf[i], NULL, NULL);
		CU_ASSERT_FALSE(tls_session_chain_from(duet.server, 2)); /* not judged yet */
		duet_handshake(&duet);
		CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, TLS_VERDICT_TRUSTED);
		CU_ASSERT_EQUAL(tls_session_chain_from(duet.server, 0), i == 0);
		CU_ASSERT_EQUAL(tls_session_chain_from(duet.server, 1), i == 1);
		CU_ASSERT_TRUE(tls_session_chain_from(duet.server, 2));
		/* as many certificates as client-ca has, but not the same ones */
		CU_ASSERT_EQUAL(tls_session_chain_from(duet.server, 3), i == 0);
		duet_fini(&duet);
	}
	for (i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(tls_cred_applies(cred, i), i < 4);
	tls_cred_unref(&cred);
	/* where one of its CAs is not trusted a rule does not apply, and the others do */
	conf.ncas = 1;
	CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &cred, &diag), 0);
	for (i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(tls_cred_applies(cred, i), i == 0 || i == 3);
	duet_init(&duet, cred, DUET_TLS13, leaf[0], NULL, NULL);
	duet_handshake(&duet);
	CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, TLS_VERDICT_TRUSTED);
	for (i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(tls_session_chain_from(duet.server, i), i == 0 || i == 3);
	duet_fini(&duet);
	tls_cred_unref(&cred);
	/* as many rules as there may be */
	for (i = 0; i < TLS_FROM_MAX; i++)
		froms[i] = (struct tls_ca_file){ span_str(ca_pem[0]), "one" };
	conf.nfroms = TLS_FROM_MAX;
	CU_ASSERT_EQUAL(try(&conf, &diag), 0);
	for (i = 0; i < 2; i++)
		pki_free(&leaf[i]);
	free(both);
	free(twice);
}

/* Above a certain number the CAs are not named to clients, and any certificate may come. */
static void
test_many_cas(void)
{
	struct tls_cred_conf conf = basic();
	struct pki_spec spec = { .cn = "alice", .purpose = GNUTLS_KP_TLS_WWW_CLIENT };
	struct pki *leaf = pki_new(&spec, ca[0]), *more;
	struct tls_cred *cred;
	struct diag diag;
	char *many = pki_cert_pem(ca[0]);
	int i;

	for (i = 0; i < 40; i++) {
		more = pki_new(&(struct pki_spec){ .cn = "one of many", .ca = true }, NULL);
		many = pki_join(many, pki_cert_pem(more), NULL);
		pki_free(&more);
	}
	cas[0].pem = span_str(many);
	CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &cred, &diag), 0);
	for (i = 0; i < 2; i++) {
		duet_init(&duet, cred, i ? DUET_TLS13 : DUET_TLS12, leaf, NULL, NULL);
		duet_handshake(&duet);
		CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, TLS_VERDICT_TRUSTED);
		duet_fini(&duet);
	}
	tls_cred_unref(&cred);
	/* no CA at all: nothing is trusted */
	conf.ncas = 0;
	CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &cred, &diag), 0);
	duet_init(&duet, cred, DUET_TLS13, leaf, NULL, NULL);
	duet_handshake(&duet);
	CU_ASSERT_EQUAL(tls_session_facts(duet.server)->verdict, TLS_VERDICT_UNKNOWN_CA);
	duet_fini(&duet);
	tls_cred_unref(&cred);
	free(many);
	pki_free(&leaf);
}

/* How many names of CAs the client was given. */
static int names_seen;

static int
note_names(gnutls_session_t g, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **certs, unsigned *n,
	   gnutls_ocsp_data_st **ocsp, unsigned *nocsp, gnutls_privkey_t *key, unsigned *flags)
{
	(void)g;
	(void)ocsp;
	(void)nocsp;
	(void)key;
	(void)flags;
	names_seen = info->nreqs;
	*certs = NULL;
	*n = 0;
	return 0;
}

/* A list of names that is too long is not sent: with a thousand of them the handshake would fail. */
static void
test_ca_names(void)
{
	static const struct {
		int cas, names;
	} rows[] = { { 1, 1 }, { 32, 32 }, { 33, 0 } };
	struct tls_cred_conf conf = basic();
	struct tls_cred *cred;
	struct diag diag;
	struct pki *more;
	char *many;
	size_t i;
	int n, v;

	conf.ncas = 1; /* files */
	for (i = 0; i < PT_COUNT(rows); i++) {
		many = pki_cert_pem(ca[0]);
		for (n = 1; n < rows[i].cas; n++) {
			more = pki_new(&(struct pki_spec){ .cn = "one of many", .ca = true }, NULL);
			many = pki_join(many, pki_cert_pem(more), NULL);
			pki_free(&more);
		}
		cas[0].pem = span_str(many);
		CU_ASSERT_EQUAL_FATAL(tls_cred_new(&conf, &cred, &diag), 0);
		for (v = 0; v < 2; v++) {
			duet_init(&duet, cred, v ? DUET_TLS13 : DUET_TLS12, NULL, NULL, NULL);
			gnutls_certificate_set_retrieve_function3(duet.client_cred, note_names);
			names_seen = -1;
			duet_handshake(&duet);
			CU_ASSERT_EQUAL(duet.status, TLS_OK);
			CU_ASSERT_EQUAL(names_seen, rows[i].names);
			duet_fini(&duet);
		}
		tls_cred_unref(&cred);
		free(many);
	}
}

static const struct test_row rows[] = {
	{ "certificates", test_begin },
	{ "what is refused", test_refused },
	{ "priority strings", test_priority },
	{ "references", test_references },
	{ "which certificate a client gets", test_selection },
	{ "chains from a rule's CA", test_chain_from },
	{ "all mistakes", test_reported },
	{ "many CAs, and none", test_many_cas },
	{ "names of CAs", test_ca_names },
	{ "certificates freed", test_end },
};
TEST_MAIN("tls/cred", rows)
