/* unit/tls/test_ocsp.c - OCSP responses of the server: which are taken, for which certificate, when they are sent, and
 * what is said of them. GnuTLS cannot make one, so they are written here (RFC 6960 §4.2.1).
 *
 * time() is this file's own, for ours and for the library: days pass at will. */
#include "test.h"
#include "duet.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/ocsp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOW 1800000000
#define HOUR_S 3600L
#define DAY_S 86400L
#define DER_MAX 4096

static long now_s = NOW;

time_t
time(time_t *out)
{
	if (out != NULL)
		*out = now_s;
	return now_s;
}

static struct pki *ca, *other_ca, *server, *rsa, *other;
static struct duet_signer signer;
static char *server_pem, *rsa_pem, *whole_pem; /* whole: with its issuer */
static struct duet duet;

/* --- responses -------------------------------------------------------------------------------- */

/* DER is written from its end to its begin: what is inside is there when its length is. */
struct der_out {
	uint8_t octets[DER_MAX];
	size_t at;
};

static void
put(struct der_out *d, const void *p, size_t n)
{
	PT_ASSERT(d->at >= n);
	d->at -= n;
	if (n > 0)
		memcpy(d->octets + d->at, p, n);
}

/* The header of what has been written since "end". */
static void
wrap(struct der_out *d, uint8_t tag, size_t end)
{
	size_t n = end - d->at;
	const uint8_t head[] = { tag, 0x82, (uint8_t)(n >> 8), (uint8_t)n };
	const uint8_t brief[] = { tag, (uint8_t)n };

	if (n < 0x80)
		put(d, brief, sizeof brief);
	else
		put(d, head, sizeof head);
}

static void
put_time(struct der_out *d, long s)
{
	char text[32];
	time_t t = s;
	struct tm tm;
	size_t end = d->at;

	strftime(text, sizeof text, "%Y%m%d%H%M%SZ", gmtime_r(&t, &tm));
	put(d, text, 15);
	wrap(d, 0x18, end);
}

static const uint8_t sha1_id[] = { 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00 };
static const uint8_t ecdsa_sha256_id[] = { 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02 };
static const uint8_t basic_id[] = { 0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01 };

static void
put_sha1(struct der_out *d, const gnutls_datum_t *of)
{
	uint8_t hash[20];
	size_t end = d->at;

	PT_ASSERT(gnutls_hash_fast(GNUTLS_DIG_SHA1, of->data, of->size, hash) == 0);
	put(d, hash, sizeof hash);
	wrap(d, 0x04, end);
}

/* CertID of a certificate by that issuer. */
static void
put_cert_id(struct der_out *d, const struct pki *leaf, const struct pki *issuer)
{
	uint8_t serial[64], id[64];
	size_t n = sizeof serial, nid = sizeof id, end = d->at, inner;
	gnutls_datum_t dn;

	PT_ASSERT(gnutls_x509_crt_get_serial(leaf->crt, serial, &n) == 0);
	inner = d->at;
	put(d, serial, n);
	wrap(d, 0x02, inner);
	PT_ASSERT(gnutls_x509_crt_get_key_id(issuer->crt, 0, id, &nid) == 0);
	inner = d->at;
	put(d, id, 20); /* of the key: nobody looks at it here */
	wrap(d, 0x04, inner);
	PT_ASSERT(gnutls_x509_crt_get_raw_issuer_dn(leaf->crt, &dn) == 0);
	put_sha1(d, &dn);
	gnutls_free(dn.data);
	put(d, sha1_id, sizeof sha1_id);
	wrap(d, 0x30, end);
}

struct spec {
	const struct pki *leaf, *issuer, *by; /* by: who signs */
	long from_s, to_s;                    /* from NOW; to_s 0: no nextUpdate */
	bool revoked, failed;                 /* failed: the responder says "try later" */
};

/* An OCSPResponse in DER; at its place in d, to the end. */
static struct span
make(struct der_out *d, const struct spec *s)
{
	static const uint8_t good[] = { 0x80, 0x00 }, successful[] = { 0x0a, 1, 0 }, later[] = { 0x0a, 1, 3 },
		by_key[] = { 0xa2, 0x04, 0x04, 0x02, 'i', 'd' };
	const size_t end = sizeof d->octets;
	gnutls_privkey_t key;
	gnutls_datum_t tbs, sig;
	uint8_t copy[DER_MAX];
	size_t at;

	d->at = end;
	if (s->failed) {
		put(d, later, sizeof later);
		wrap(d, 0x30, end);
		return (struct span){ d->octets + d->at, end - d->at };
	}
	if (s->to_s != 0) {
		put_time(d, NOW + s->to_s);
		wrap(d, 0xa0, end);
	}
	put_time(d, NOW + s->from_s);
	if (s->revoked) {
		at = d->at;
		put_time(d, NOW + s->from_s);
		wrap(d, 0xa1, at);
	} else {
		put(d, good, sizeof good);
	}
	put_cert_id(d, s->leaf, s->issuer);
	wrap(d, 0x30, end); /* SingleResponse */
	wrap(d, 0x30, end); /* their list */
	put_time(d, NOW + s->from_s); /* producedAt */
	put(d, by_key, sizeof by_key);
	wrap(d, 0x30, end); /* tbsResponseData */
	tbs = (gnutls_datum_t){ copy, (unsigned)(end - d->at) };
	memcpy(copy, d->octets + d->at, tbs.size);
	PT_ASSERT(gnutls_privkey_init(&key) == 0 && gnutls_privkey_import_x509(key, s->by->key, 0) == 0);
	PT_ASSERT(gnutls_privkey_sign_data2(key, GNUTLS_SIGN_ECDSA_SHA256, 0, &tbs, &sig) == 0);
	gnutls_privkey_deinit(key);
	d->at = end;
	put(d, sig.data, sig.size);
	gnutls_free(sig.data);
	put(d, "", 1); /* no unused bits */
	wrap(d, 0x03, end);
	put(d, ecdsa_sha256_id, sizeof ecdsa_sha256_id);
	put(d, tbs.data, tbs.size);
	wrap(d, 0x30, end); /* BasicOCSPResponse */
	wrap(d, 0x04, end);
	put(d, basic_id, sizeof basic_id);
	wrap(d, 0x30, end);
	wrap(d, 0xa0, end);
	put(d, successful, sizeof successful);
	wrap(d, 0x30, end);
	return (struct span){ d->octets + d->at, end - d->at };
}

static char *
as_pem(struct span der)
{
	const gnutls_datum_t in = { (unsigned char *)(uintptr_t)der.p, (unsigned)der.n };
	gnutls_datum_t out;
	char *s;

	PT_ASSERT(gnutls_pem_base64_encode2("OCSP RESPONSE", &in, &out) == 0);
	s = strndup((const char *)out.data, out.size);
	gnutls_free(out.data);
	return s;
}

/* --- sets ------------------------------------------------------------------------------------- */

static void
test_begin(void)
{
	const struct pki_spec authority = { .cn = "CA", .ca = true, .from_s = -DAY_S, .to_s = 900 * DAY_S };
	struct pki_spec leaf = { .cn = "server", .from_s = -DAY_S, .to_s = 30 * DAY_S };

	ca = pki_new(&authority, NULL);
	other_ca = pki_new(&authority, NULL);
	server = pki_new(&leaf, ca);
	other = pki_new(&leaf, ca);
	leaf.kind = PKI_RSA;
	rsa = pki_new(&leaf, ca);
	server_pem = duet_add_key(&signer, server, NULL);
	rsa_pem = duet_add_key(&signer, rsa, NULL);
	whole_pem = pki_join(strdup(server_pem), pki_cert_pem(ca), NULL);
}

static void
test_end(void)
{
	pki_free(&ca);
	pki_free(&other_ca);
	pki_free(&server);
	pki_free(&other);
	pki_free(&rsa);
	duet_signer_fini(&signer);
	free(server_pem);
	free(rsa_pem);
	free(whole_pem);
}

/* A set with the server's certificates (whole: and the issuer of the first) and these files. */
static int
new_cred(bool whole, const struct tls_ca_file *files, size_t n, struct tls_cred **cred, struct diag *diag)
{
	const struct tls_chain chains[] = { { span_str(whole ? whole_pem : server_pem), 0 },
		{ span_str(rsa_pem), 1 } };
	const struct tls_cred_conf conf = { .protocols = TLS_PROTO_1_2 | TLS_PROTO_1_3, .chains = chains,
		.nchains = 2, .ocsps = files, .nocsps = n, .generation = 1, .sign = duet_sign,
		.sign_arg = &signer };

	diag->text[0] = '\0';
	return tls_cred_new(&conf, cred, diag);
}

/* What a client gets along with the certificate. */
static bool
is_sent(struct tls_cred *cred, const char *priority)
{
	gnutls_datum_t d = { NULL, 0 };
	bool sent;

	duet_init(&duet, cred, priority, NULL, NULL, NULL);
	CU_ASSERT_EQUAL(gnutls_ocsp_status_request_enable_client(duet.client, NULL, 0, NULL), 0);
	duet_handshake(&duet);
	CU_ASSERT_EQUAL(duet.status, TLS_OK);
	CU_ASSERT_EQUAL(duet.client_rc, 0);
	sent = gnutls_ocsp_status_request_get(duet.client, &d) == 0 && d.size > 0;
	duet_fini(&duet);
	return sent;
}

/* --- tests ------------------------------------------------------------------------------------ */

#define ECDSA_12 DUET_TLS12 ":-KX-ALL:+ECDHE-ECDSA"
#define RSA_12 DUET_TLS12 ":-KX-ALL:+ECDHE-RSA"

static void
test_sent(void)
{
	static struct der_out d[2];
	struct tls_ca_file files[2];
	struct tls_cred *cred;
	struct diag diag;
	char *both;
	int i;

	files[0] = (struct tls_ca_file){ make(&d[0], &(struct spec){ server, ca, ca, -HOUR_S, HOUR_S, false, false }),
		"a.ocsp" };
	CU_ASSERT_EQUAL_FATAL(new_cred(false, files, 1, &cred, &diag), 0);
	CU_ASSERT_TRUE(is_sent(cred, ECDSA_12));
	CU_ASSERT_TRUE(is_sent(cred, DUET_TLS13));
	CU_ASSERT_FALSE(is_sent(cred, RSA_12)); /* that certificate has none */
	CU_ASSERT_EQUAL(tls_cred_ocsp_next_update(cred), NOW + HOUR_S);
	now_s = NOW + HOUR_S + 1;
	CU_ASSERT_FALSE(is_sent(cred, ECDSA_12));
	CU_ASSERT_FALSE(is_sent(cred, DUET_TLS13));
	now_s = NOW;
	tls_cred_unref(&cred);
	/* for both, in whatever form */
	files[1] = (struct tls_ca_file){ make(&d[1], &(struct spec){ rsa, ca, ca, -HOUR_S, 2 * HOUR_S, false, false }),
		"b.ocsp" };
	both = pki_join(strdup("text\n"), as_pem(files[0].pem), as_pem(files[1].pem), NULL);
	for (i = 0; i < 3; i++) {
		if (i == 1) {
			files[0].pem = span_str(both);
			files[1].pem = files[0].pem; /* twice the same does no harm */
		}
		CU_ASSERT_EQUAL_FATAL(new_cred(true, files, i == 2 ? 1 : 2, &cred, &diag), 0);
		CU_ASSERT_TRUE(is_sent(cred, ECDSA_12));
		CU_ASSERT_TRUE(is_sent(cred, RSA_12));
		CU_ASSERT_EQUAL(tls_cred_ocsp_next_update(cred), NOW + HOUR_S);
		tls_cred_unref(&cred);
	}
	free(both);
}

static void
test_refused(void)
{
	static struct der_out d;
	static uint8_t many[TLS_OCSP_FILE_MAX + 1];
	const struct {
		struct spec spec;
		bool whole;
		const char *says; /* NULL: taken */
	} rows[] = {
		{ { server, ca, ca, -HOUR_S, HOUR_S, false, false }, true, NULL },
		{ { server, ca, other_ca, -HOUR_S, HOUR_S, false, false }, true, "a.ocsp: the OCSP response is not signed" },
		{ { server, ca, other_ca, -HOUR_S, HOUR_S, false, false }, false, NULL }, /* nobody can tell */
		{ { other, ca, ca, -HOUR_S, HOUR_S, false, false }, true, "a.ocsp: the OCSP response is for none of" },
		{ { server, ca, ca, -HOUR_S, HOUR_S, false, true }, true, "a.ocsp: the OCSP response is an error of" },
		{ { server, ca, ca, -2 * HOUR_S, -HOUR_S, false, false }, true, NULL }, /* late, but no mistake */
		{ { server, ca, ca, -HOUR_S, 0, false, false }, true, NULL },
		{ { server, ca, ca, -HOUR_S, HOUR_S, true, false }, true, NULL },
	};
	struct tls_ca_file file = { { NULL, 0 }, "a.ocsp" };
	struct tls_cred *cred;
	struct diag diag;
	struct span whole;
	size_t i;
	int rc;

	for (i = 0; i < PT_COUNT(rows); i++) {
		file.pem = make(&d, &rows[i].spec);
		rc = new_cred(rows[i].whole, &file, 1, &cred, &diag);
		CU_ASSERT_EQUAL(rc, rows[i].says == NULL ? 0 : PT_EINVAL);
		if ((rc == 0) != (rows[i].says == NULL) ||
		    (rc != 0 && strstr(diag.text, rows[i].says) == NULL)) {
			printf("\n    row %zu: %s\n", i, diag.text);
			CU_FAIL("another outcome");
		}
		tls_cred_unref(&cred);
	}
	/* cut off anywhere */
	whole = make(&d, &rows[0].spec);
	for (i = 0; i < whole.n; i++) {
		file.pem = (struct span){ whole.p, i };
		CU_ASSERT_EQUAL(new_cred(true, &file, 1, &cred, &diag), PT_EINVAL);
	}
	memset(many, ' ', sizeof many);
	memcpy(many, whole.p, whole.n);
	file.pem = (struct span){ many, sizeof many };
	CU_ASSERT_EQUAL(new_cred(true, &file, 1, &cred, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "a.ocsp: larger than"));
	file.pem = span_str("-----BEGIN OCSP RESPONSE-----\nAAAA\n");
	CU_ASSERT_EQUAL(new_cred(true, &file, 1, &cred, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "its PEM is broken"));
}

/* As many as there may be: each in two files counts twice. */
static void
test_most(void)
{
	static struct der_out d;
	struct tls_ca_file files[TLS_OCSPS_MAX + 1];
	struct tls_cred *cred;
	struct diag diag;
	size_t i;

	files[0].pem = make(&d, &(struct spec){ server, ca, ca, -2 * HOUR_S, -HOUR_S, false, false });
	for (i = 0; i <= TLS_OCSPS_MAX; i++)
		files[i] = (struct tls_ca_file){ files[0].pem, "a.ocsp" };
	CU_ASSERT_EQUAL_FATAL(new_cred(false, files, TLS_OCSPS_MAX, &cred, &diag), 0);
	tls_cred_unref(&cred);
	CU_ASSERT_EQUAL(new_cred(false, files, TLS_OCSPS_MAX + 1, &cred, &diag), PT_EFULL);
}

/* Each thing once, when its time has come. */
static void
test_warnings(void)
{
	static const struct {
		long from_s, to_s, at_s;
		bool revoked;
		const char *says; /* NULL: nothing */
	} rows[] = {
		{ -HOUR_S, 100 * HOUR_S, 0, false, NULL },
		{ 0, 100 * HOUR_S, 79 * HOUR_S, false, NULL },
		{ 0, 100 * HOUR_S, 81 * HOUR_S, false, "a.ocsp: the OCSP response for CN=server will be out of date at 2027" },
		{ 0, 100 * HOUR_S, 100 * HOUR_S, false, "is out of date since 2027" },
		{ 0, 0, 14 * DAY_S, false, "will be out of date" },
		{ 0, 0, 15 * DAY_S, false, "is out of date since" },
		{ -HOUR_S, 100 * HOUR_S, 0, true, "says that the certificate CN=server is revoked" },
		{ HOUR_S, 100 * HOUR_S, 0, false, "is from the future" },
	};
	static struct der_out d;
	struct tls_ca_file file = { { NULL, 0 }, "a.ocsp" };
	char text[TLS_CRL_WARNING_MAX];
	struct tls_cred *cred;
	const char *code;
	struct diag diag;
	bool said;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		file.pem = make(&d, &(struct spec){ server, ca, ca, rows[i].from_s, rows[i].to_s, rows[i].revoked,
					     false });
		now_s = NOW + rows[i].at_s;
		CU_ASSERT_EQUAL_FATAL(new_cred(false, &file, 1, &cred, &diag), 0);
		said = tls_cred_warning(cred, (uint64_t)now_s, &code, text);
		CU_ASSERT_EQUAL(said, rows[i].says != NULL);
		if (said && rows[i].says != NULL) {
			CU_ASSERT_STRING_EQUAL(code, "ocsp");
			if (strstr(text, rows[i].says) == NULL) {
				printf("\n    row %zu: %s\n", i, text);
				CU_FAIL("another warning");
			}
		}
		CU_ASSERT_FALSE(tls_cred_warning(cred, (uint64_t)now_s, &code, text));
		tls_cred_unref(&cred);
	}
	now_s = NOW;
}

static const struct test_row rows[] = {
	{ "certificates", test_begin },
	{ "sent in its time", test_sent },
	{ "refused", test_refused },
	{ "the greatest number", test_most },
	{ "warnings", test_warnings },
	{ "certificates freed", test_end },
};

TEST_MAIN("tls/ocsp", rows)
