/* unit/tls/test_crl.c - revocation lists: made here octet by octet, so that wrong ones can be made, too. */
#include "test.h"

#include "tls/tls_cred.h"
#include "tls/tls_crl.h"
#include "tls/tls_der.h"
#include "util/buf.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOW ((uint64_t)1800000000)
#define DAY ((uint64_t)86400)
#define BIG_MAX ((size_t)256 * 1024 * 1024)

struct cert {
	gnutls_x509_crt_t crt;
	gnutls_privkey_t key;
	gnutls_datum_t der, pem;
};

static struct cert root, other, mute, between, new_root, leaf, leaf_between, between_cross, twin;

static void
make(struct cert *c, const char *name, const char *serial, size_t nserial, const struct cert *issuer,
     bool ca, unsigned usage)
{
	gnutls_x509_privkey_t k;

	CU_ASSERT_FATAL(gnutls_x509_privkey_init(&k) == 0 && gnutls_privkey_init(&c->key) == 0 &&
		gnutls_x509_crt_init(&c->crt) == 0);
	CU_ASSERT_FATAL(gnutls_x509_privkey_generate(k, GNUTLS_PK_ECDSA,
				GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0) == 0);
	gnutls_x509_crt_set_key(c->crt, k);
	CU_ASSERT_FATAL(gnutls_privkey_import_x509(c->key, k, GNUTLS_PRIVKEY_IMPORT_AUTO_RELEASE) == 0);
	gnutls_x509_crt_set_version(c->crt, 3);
	gnutls_x509_crt_set_serial(c->crt, serial, nserial);
	gnutls_x509_crt_set_dn_by_oid(c->crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name));
	gnutls_x509_crt_set_activation_time(c->crt, (time_t)(NOW - 100 * DAY));
	gnutls_x509_crt_set_expiration_time(c->crt, (time_t)(NOW + 100 * DAY));
	gnutls_x509_crt_set_ca_status(c->crt, ca);
	if (usage != 0)
		gnutls_x509_crt_set_key_usage(c->crt, usage);
	issuer = issuer != NULL ? issuer : c;
	CU_ASSERT_FATAL(gnutls_x509_crt_privkey_sign(c->crt, issuer->crt, issuer->key, GNUTLS_DIG_SHA256,
				0) == 0);
	CU_ASSERT_FATAL(gnutls_x509_crt_export2(c->crt, GNUTLS_X509_FMT_DER, &c->der) == 0 &&
		gnutls_x509_crt_export2(c->crt, GNUTLS_X509_FMT_PEM, &c->pem) == 0);
}

#define CA_USAGE (GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)

static void
make_all(void)
{
	make(&root, "root", "\x01", 1, NULL, true, CA_USAGE);
	make(&other, "other", "\x01", 1, NULL, true, CA_USAGE);
	make(&mute, "mute", "\x01", 1, NULL, true, GNUTLS_KEY_KEY_CERT_SIGN);
	make(&new_root, "root", "\x02", 1, NULL, true, CA_USAGE); /* the same name, another key */
	make(&between, "between", "\x10", 1, &root, true, CA_USAGE);
	make(&between_cross, "between", "\x11", 1, &root, true, CA_USAGE);
	make(&leaf, "leaf", "\x00\x80\x01", 3, &root, false, 0);
	make(&leaf_between, "leaf", "\x21", 1, &between, false, 0);
	make(&twin, "twin", "\x01", 1, &root, false, 0); /* the root's own serial number */
}

/* --- lists ------------------------------------------------------------------------------------ */

static void
put(struct buf *b, uint8_t tag, const void *p, size_t n)
{
	uint8_t h[DER_HEADER_MAX];

	CU_ASSERT_FATAL(buf_append(b, h, der_header(tag, n, h)) == 0 && buf_append(b, p, n) == 0);
}

static void
put_time(struct buf *b, uint64_t when)
{
	time_t t = (time_t)when;
	char text[32];
	struct tm tm;

	gmtime_r(&t, &tm);
	put(b, DER_GENERALIZED_TIME, text, strftime(text, sizeof text, "%Y%m%d%H%M%SZ", &tm));
}

struct list {
	const char *name;
	const struct cert *issuer; /* NULL: root */
	const struct cert *signer; /* NULL: the issuer */
	uint64_t this_update, next_update; /* 0: NOW - 1 d, NOW + 9 d; UINT64_MAX: left out */
	const char *number;     /* octets; NULL: none */
	const char *serials[4]; /* octets, no NUL among them */
	const char *entry_ext;  /* DER of an Extensions content, for each entry */
	size_t nentry_ext;
	const char *ext; /* DER of further extensions */
	size_t next;
	const char *outer_alg; /* differs from the inner one */
	bool tampered, trailing;
	size_t generated; /* further entries: numbers from 0x40000000 on */
};

static const uint8_t alg[] = { 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02 };

static void
put_entry(struct buf *b, const struct list *l, const void *serial, size_t n)
{
	struct buf e;

	buf_init(&e, 4096);
	put(&e, DER_INTEGER, serial, n);
	put_time(&e, NOW - DAY);
	if (l->entry_ext != NULL)
		put(&e, DER_SEQUENCE, l->entry_ext, l->nentry_ext);
	put(b, DER_SEQUENCE, buf_span(&e).p, buf_size(&e));
	buf_fini(&e);
}

static void
put_extensions(struct buf *tbs, const struct list *l)
{
	static const char oid[] = { 0x06, 0x03, 0x55, 0x1d, 0x14 }; /* cRLNumber */
	struct buf e, x, n;

	buf_init(&e, 4096);
	buf_init(&x, 4096);
	buf_init(&n, 4096);
	if (l->number != NULL) {
		CU_ASSERT_FATAL(buf_append(&x, oid, sizeof oid) == 0);
		put(&n, DER_INTEGER, l->number, strlen(l->number));
		put(&x, 0x04, buf_span(&n).p, buf_size(&n));
		put(&e, DER_SEQUENCE, buf_span(&x).p, buf_size(&x));
	}
	if (l->ext != NULL)
		CU_ASSERT_FATAL(buf_append(&e, l->ext, l->next) == 0);
	buf_fini(&x);
	buf_fini(&n);
	if (buf_size(&e) > 0) {
		put(&x, DER_SEQUENCE, buf_span(&e).p, buf_size(&e));
		put(tbs, 0xa0, buf_span(&x).p, buf_size(&x));
	}
	buf_fini(&e);
	buf_fini(&x);
}

static void
put_entries(struct buf *tbs, const struct list *l)
{
	uint8_t serial[4];
	struct buf all;
	size_t i;

	buf_init(&all, BIG_MAX);
	for (i = 0; i < PT_COUNT(l->serials) && l->serials[i] != NULL; i++)
		put_entry(&all, l, l->serials[i], strlen(l->serials[i]));
	for (i = 0; i < l->generated; i++) {
		uint32_t v = 0x40000000u + (uint32_t)((i * 7919) % l->generated);

		serial[0] = (uint8_t)(v >> 24);
		serial[1] = (uint8_t)(v >> 16);
		serial[2] = (uint8_t)(v >> 8);
		serial[3] = (uint8_t)v;
		put_entry(&all, l, serial, sizeof serial);
	}
	if (buf_size(&all) > 0)
		put(tbs, DER_SEQUENCE, buf_span(&all).p, buf_size(&all));
	buf_fini(&all);
}

/* Appends the list as PEM. */
static void
put_list(struct buf *out, const struct list *l)
{
	const struct cert *issuer = l->issuer != NULL ? l->issuer : &root;
	gnutls_datum_t dn, d, sig, pem;
	struct buf tbs, all;

	buf_init(&tbs, BIG_MAX);
	buf_init(&all, BIG_MAX);
	put(&tbs, DER_INTEGER, "\x01", 1);
	CU_ASSERT_FATAL(buf_append(&tbs, alg, sizeof alg) == 0);
	CU_ASSERT_FATAL(gnutls_x509_crt_get_raw_dn(issuer->crt, &dn) == 0);
	CU_ASSERT_FATAL(buf_append(&tbs, dn.data, dn.size) == 0);
	gnutls_free(dn.data);
	put_time(&tbs, l->this_update != 0 ? l->this_update : NOW - DAY);
	if (l->next_update != UINT64_MAX)
		put_time(&tbs, l->next_update != 0 ? l->next_update : NOW + 9 * DAY);
	put_entries(&tbs, l);
	put_extensions(&tbs, l);
	put(&all, DER_SEQUENCE, buf_span(&tbs).p, buf_size(&tbs));
	buf_fini(&tbs);
	d = (gnutls_datum_t){ (unsigned char *)(uintptr_t)buf_span(&all).p, (unsigned)buf_size(&all) };
	CU_ASSERT_FATAL(gnutls_privkey_sign_data2((l->signer != NULL ? l->signer : issuer)->key,
				GNUTLS_SIGN_ECDSA_SHA256, 0, &d, &sig) == 0);
	if (l->tampered)
		d.data[d.size - 1] ^= 1;
	CU_ASSERT_FATAL(buf_append(&all, l->outer_alg != NULL ? (const void *)l->outer_alg : alg,
				sizeof alg) == 0);
	CU_ASSERT_FATAL(buf_append(&tbs, "", 1) == 0 && buf_append(&tbs, sig.data, sig.size) == 0);
	put(&all, DER_BIT_STRING, buf_span(&tbs).p, buf_size(&tbs));
	gnutls_free(sig.data);
	buf_fini(&tbs);
	put(&tbs, DER_SEQUENCE, buf_span(&all).p, buf_size(&all));
	buf_fini(&all);
	if (l->trailing)
		CU_ASSERT_FATAL(buf_append(&tbs, "\x05\x00", 2) == 0);
	d = (gnutls_datum_t){ (unsigned char *)(uintptr_t)buf_span(&tbs).p, (unsigned)buf_size(&tbs) };
	CU_ASSERT_FATAL(gnutls_pem_base64_encode2("X509 CRL", &d, &pem) == 0);
	CU_ASSERT_FATAL(buf_append(out, pem.data, pem.size) == 0);
	gnutls_free(pem.data);
	buf_fini(&tbs);
}

static struct tls_crl_set *
new_set(const struct cert *const *cas, size_t n, uint64_t grace_s)
{
	struct tls_ca_file files[8];
	struct tls_crl_set *set = NULL;
	struct diag diag;
	size_t i;

	for (i = 0; i < n; i++)
		files[i] = (struct tls_ca_file){ { cas[i]->pem.data, cas[i]->pem.size }, "ca.pem" };
	CU_ASSERT_FATAL(tls_crl_new(files, n, grace_s, &set, &diag) == 0);
	return set;
}

#define SET(grace, ...)                                                                            \
	new_set((const struct cert *const[]){ __VA_ARGS__ },                                       \
		sizeof((const struct cert *const[]){ __VA_ARGS__ }) / sizeof(void *), grace)

static int
load(struct tls_crl_set *set, const struct list *lists, size_t n, struct diag *diag)
{
	struct buf text;
	size_t i;
	int rc;

	buf_init(&text, BIG_MAX);
	for (i = 0; i < n; i++)
		put_list(&text, &lists[i]);
	diag->text[0] = '\0';
	rc = tls_crl_load(set, buf_span(&text), "lists.pem", diag);
	buf_fini(&text);
	return rc;
}

static enum tls_verdict
judge(const struct tls_crl_set *set, uint64_t now, const struct cert *a, const struct cert *b,
      const struct cert *c)
{
	const struct cert *chain[] = { a, b, c };
	struct span ders[3];
	size_t n = 0;

	for (; n < 3 && chain[n] != NULL; n++)
		ders[n] = (struct span){ chain[n]->der.data, chain[n]->der.size };
	return tls_crl_judge(set, ders, n, now);
}

/* --- the tests -------------------------------------------------------------------------------- */

#define OID_IDP "\x06\x03\x55\x1d\x1c"
#define CRITICAL "\x01\x01\xff"
#define BYTES(s) .ext = s, .next = sizeof(s) - 1

/* What is refused, and what is said. */
static void
test_refused(void)
{
	static const struct {
		struct list list;
		int rc;
		const char *says;
	} rows[] = {
		{ { .name = "good", .serials = { "\x21" } }, 0, "" },
		{ { .name = "no entries" }, 0, "" },
		{ { .name = "forged", .signer = &other }, PT_EINVAL, "list 1, of CN=root: its signature" },
		{ { .name = "tampered", .serials = { "\x21" }, .tampered = true }, PT_EINVAL, "signature" },
		{ { .name = "by nobody", .issuer = &leaf }, PT_EINVAL, "no CA of client-ca" },
		{ { .name = "by an untrusted CA", .issuer = &between }, PT_EINVAL, "no CA of client-ca" },
		{ { .name = "without cRLSign", .issuer = &mute }, PT_EINVAL, "no right to sign" },
		{ { .name = "no nextUpdate", .next_update = UINT64_MAX }, PT_EINVAL, "no nextUpdate" },
		{ { .name = "ends as it begins", .this_update = NOW, .next_update = NOW }, PT_EINVAL,
		  "no nextUpdate" },
		{ { .name = "delta",
		    BYTES("\x30\x0d\x06\x03\x55\x1d\x1b" CRITICAL "\x04\x03\x02\x01\x01") }, PT_EINVAL,
		  "delta" },
		{ { .name = "delta, not critical", BYTES("\x30\x0a\x06\x03\x55\x1d\x1b\x04\x03\x02\x01\x01") },
		  PT_EINVAL, "delta" },
		{ { .name = "indirect", BYTES("\x30\x0f" OID_IDP CRITICAL "\x04\x05\x30\x03\x84\x01\xff") },
		  PT_EINVAL, "indirect" },
		{ { .name = "a part", BYTES("\x30\x0f" OID_IDP CRITICAL "\x04\x05\x30\x03\x81\x01\xff") }, 0,
		  "" },
		{ { .name = "two scopes",
		    BYTES("\x30\x0f" OID_IDP CRITICAL "\x04\x05\x30\x03\x81\x01\xff"
			  "\x30\x0f" OID_IDP CRITICAL "\x04\x05\x30\x03\x82\x01\xff") }, PT_EINVAL, "two" },
		{ { .name = "unknown, critical", BYTES("\x30\x0c\x06\x03\x55\x1d\x63" CRITICAL "\x04\x02\x05\x00") },
		  PT_EINVAL, "critical extension, 2.5.29.99" },
		{ { .name = "unknown", BYTES("\x30\x09\x06\x03\x55\x1d\x63\x04\x02\x05\x00") }, 0, "" },
		{ { .name = "entry with a reason", .serials = { "\x21" },
		    .entry_ext = "\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01\x01", .nentry_ext = 12 }, 0, "" },
		{ { .name = "entry, critical", .serials = { "\x21" },
		    .entry_ext = "\x30\x0c\x06\x03\x55\x1d\x63" CRITICAL "\x04\x02\x05\x00", .nentry_ext = 14 },
		  PT_EINVAL, "entry 1 cannot be read, or has a critical" },
		{ { .name = "entry of another CA", .serials = { "\x21" },
		    .entry_ext = "\x30\x09\x06\x03\x55\x1d\x1d\x04\x02\x30\x00", .nentry_ext = 11 }, PT_EINVAL,
		  "another CA" },
		{ { .name = "serial at its maximum", .serials = { "\x7f" "1234567890123456789" } }, 0, "" },
		{ { .name = "serial beyond it", .serials = { "\x7f" "12345678901234567890" } }, PT_EINVAL,
		  "serial number of entry 1" },
		{ { .name = "number at its maximum", .number = "\x7f" "1234567890123456789" }, 0, "" },
		{ { .name = "number beyond it", .number = "\x7f" "12345678901234567890" }, PT_EINVAL, "number" },
		{ { .name = "two algorithms",
		    .outer_alg = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03" }, PT_EINVAL, "cannot be read" },
		{ { .name = "octets behind it", .trailing = true }, PT_EINVAL, "cannot be read" },
	};
	struct tls_crl_set *set;
	struct diag diag;
	size_t i;
	int rc;

	for (i = 0; i < PT_COUNT(rows); i++) {
		set = SET(0, &root, &other, &mute);
		rc = load(set, &rows[i].list, 1, &diag);
		if (rc != rows[i].rc || strstr(diag.text, rows[i].says) == NULL) {
			printf("%s: %d %s\n", rows[i].list.name, rc, diag.text);
			CU_FAIL("see above");
		}
		if (rc != 0)
			CU_ASSERT(strncmp(diag.text, "lists.pem: revocation list 1", 28) == 0);
		tls_crl_free(&set);
		CU_ASSERT_PTR_NULL(set);
	}
}

/* What is no list at all. */
static void
test_no_lists(void)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{ "", "no PEM revocation list" },
		{ "-----BEGIN CERTIFICATE-----\n", "no PEM revocation list" },
		{ "-----BEGIN X509 CRL-----\nMAA=\n", "list 1 is broken" },
		{ "-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n", "list 1" },
		{ "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n", "list 1: it cannot be read" },
		{ "-----BEGIN X509 CRL-----\n!!\n-----END X509 CRL-----\n", "list 1" },
		{ "-----BEGIN PRIVATE KEY-----\n", "private key" },
	};
	struct tls_crl_set *set = SET(0, &root);
	struct diag diag;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		CU_ASSERT_EQUAL(tls_crl_load(set, span_str(rows[i].text), "f", &diag), PT_EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, rows[i].says));
	}
	tls_crl_free(&set);
	tls_crl_free(&set); /* NULL is fine */
}

/* The second list of a file is wrong: that is the one that is named. */
static void
test_which_list(void)
{
	const struct list lists[] = { { .number = "\x01" }, { .number = "\x02", .signer = &other } };
	struct tls_crl_set *set = SET(0, &root);
	struct diag diag;

	CU_ASSERT_EQUAL(load(set, lists, 2, &diag), PT_EINVAL);
	CU_ASSERT(strncmp(diag.text, "lists.pem: revocation list 2, of CN=root: ", 42) == 0);
	tls_crl_free(&set);
}

static void
test_judge(void)
{
	static const struct {
		const char *name;
		struct list lists[2];
		const struct cert *chain[3];
		enum tls_verdict want;
	} rows[] = {
		{ "good", { { .serials = { "\x21" } } }, { &leaf }, TLS_VERDICT_TRUSTED },
		{ "revoked", { { .serials = { "\x21", "\x80\x01" } } }, { &leaf }, TLS_VERDICT_REVOKED },
		{ "a serial in front of it", { { .serials = { "\x80" } } }, { &leaf }, TLS_VERDICT_TRUSTED },
		{ "the same number of another CA", { { .issuer = &other, .serials = { "\x80\x01" } } },
		  { &leaf }, TLS_VERDICT_TRUSTED },
		{ "by either of two", { { .serials = { "\x22" } }, { .issuer = &between, .serials = { "\x21" } } },
		  { &leaf_between, &between }, TLS_VERDICT_REVOKED },
		{ "the intermediate", { { .serials = { "\x10" } } }, { &leaf_between, &between },
		  TLS_VERDICT_REVOKED },
		{ "the intermediate, root sent along", { { .serials = { "\x10" } } },
		  { &leaf_between, &between, &root }, TLS_VERDICT_REVOKED },
		{ "the intermediate, sent in disorder", { { .serials = { "\x10" } } },
		  { &leaf_between, &root, &between }, TLS_VERDICT_REVOKED },
		{ "the intermediate is the anchor", { { .serials = { "\x10" } } }, { &leaf_between },
		  TLS_VERDICT_REVOKED },
		{ "one of two intermediates of one name", { { .serials = { "\x11" } } },
		  { &leaf_between, &between, &between_cross }, TLS_VERDICT_REVOKED },
		{ "an unrelated intermediate", { { .serials = { "\x10" } } }, { &leaf, &between },
		  TLS_VERDICT_TRUSTED },
		{ "an unrelated leaf", { { .serials = { "\x80\x01" } } }, { &leaf_between, &between, &leaf },
		  TLS_VERDICT_TRUSTED },
		{ "the root's number is a leaf's, too", { { .serials = { "\x01" } } }, { &leaf, &root },
		  TLS_VERDICT_TRUSTED },
		{ "and that leaf is revoked", { { .serials = { "\x01" } } }, { &twin, &root },
		  TLS_VERDICT_REVOKED },
		{ "the other key's list of one name",
		  { { .serials = { "\x21" } }, { .issuer = &new_root, .serials = { "\x80\x01" } } }, { &leaf },
		  TLS_VERDICT_REVOKED },
		{ "two parts",
		  { { .serials = { "\x80\x01" }, .number = "\x01",
		      BYTES("\x30\x0f" OID_IDP CRITICAL "\x04\x05\x30\x03\x81\x01\xff") },
		    { .number = "\x02", BYTES("\x30\x0f" OID_IDP CRITICAL "\x04\x05\x30\x03\x82\x01\xff") } },
		  { &leaf }, TLS_VERDICT_REVOKED },
	};
	struct tls_crl_set *set;
	struct diag diag;
	enum tls_verdict v;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		set = SET(0, &root, &other, &between, &new_root);
		CU_ASSERT_EQUAL(load(set, &rows[i].lists[0], 1, &diag), 0);
		if (rows[i].lists[1].issuer != NULL || rows[i].lists[1].number != NULL)
			CU_ASSERT_EQUAL(load(set, &rows[i].lists[1], 1, &diag), 0);
		v = judge(set, NOW, rows[i].chain[0], rows[i].chain[1], rows[i].chain[2]);
		if (v != rows[i].want) {
			printf("%s: %s\n", rows[i].name, tls_verdict_name(v));
			CU_FAIL("see above");
		}
		tls_crl_free(&set);
	}
}

/* The intermediate's own CA is trusted, it is not: what counts is the presented certificate. */
static void
test_judge_bounds(void)
{
	const struct list list = { .serials = { "\x80\x01" } };
	struct tls_crl_set *set = SET(0, &root);
	struct span chain[17], broken = { leaf.der.data, leaf.der.size };
	struct diag diag;
	size_t i;

	CU_ASSERT_EQUAL(load(set, &list, 1, &diag), 0);
	for (i = 0; i < PT_COUNT(chain); i++)
		chain[i] = (struct span){ leaf_between.der.data, leaf_between.der.size };
	CU_ASSERT_EQUAL(tls_crl_judge(set, chain, 0, NOW), TLS_VERDICT_BAD_SIGNATURE);
	CU_ASSERT_EQUAL(tls_crl_judge(set, chain, TLS_CHAIN_MAX, NOW), TLS_VERDICT_TRUSTED);
	CU_ASSERT_EQUAL(tls_crl_judge(set, chain, TLS_CHAIN_MAX + 1, NOW), TLS_VERDICT_BAD_SIGNATURE);
	for (broken.n = 0; broken.n < leaf.der.size; broken.n++)
		CU_ASSERT_EQUAL(tls_crl_judge(set, &broken, 1, NOW), TLS_VERDICT_BAD_SIGNATURE);
	tls_crl_free(&set);
}

/* Of two lists of one issuer the newer counts, in whatever order they come. */
static void
test_newer(void)
{
	static const struct {
		const char *name;
		struct list old, new;
	} rows[] = {
		{ "by number", { .number = "\x09", .serials = { "\x21" } },
		  { .number = "\x01\x01", .serials = { "\x80\x01" } } },
		{ "by number, dated the other way", { .number = "\x01", .this_update = NOW - DAY },
		  { .number = "\x02", .this_update = NOW - 2 * DAY, .serials = { "\x80\x01" } } },
		{ "by date", { .this_update = NOW - 3 * DAY },
		  { .this_update = NOW - 2 * DAY, .serials = { "\x80\x01" } } },
		{ "by date when one has no number", { .number = "\x7f", .this_update = NOW - 3 * DAY },
		  { .this_update = NOW - 2 * DAY, .serials = { "\x80\x01" } } },
		{ "by date when the numbers are the same", { .number = "\x01", .this_update = NOW - 3 * DAY },
		  { .number = "\x01", .this_update = NOW - 2 * DAY, .serials = { "\x80\x01" } } },
		{ "nothing is revoked any more", { .number = "\x01", .serials = { "\x80\x01" } },
		  { .number = "\x02", .serials = { "\x22" } } },
	};
	struct tls_crl_set *set;
	struct list lists[2];
	struct diag diag;
	size_t i, k;

	for (i = 0; i < PT_COUNT(rows); i++) {
		for (k = 0; k < 2; k++) {
			lists[k] = rows[i].old;
			lists[1 - k] = rows[i].new;
			set = SET(0, &root);
			CU_ASSERT_EQUAL(load(set, lists, 2, &diag), 0);
			CU_ASSERT_EQUAL(judge(set, NOW, &leaf, NULL, NULL),
				i + 1 < PT_COUNT(rows) ? TLS_VERDICT_REVOKED : TLS_VERDICT_TRUSTED);
			CU_ASSERT_EQUAL(tls_crl_entries(set), 1); /* the other's are gone */
			tls_crl_free(&set);
		}
	}
}

/* Life: NOW to NOW + 100 s; grace: 50 s. */
static void
test_age(void)
{
	static const struct {
		uint64_t at;
		const char *says; /* NULL: nothing new */
		enum tls_verdict good, revoked;
	} rows[] = {
		{ NOW, NULL, TLS_VERDICT_TRUSTED, TLS_VERDICT_REVOKED },
		{ NOW + 79, NULL, TLS_VERDICT_TRUSTED, TLS_VERDICT_REVOKED },
		{ NOW + 80, "80 %", TLS_VERDICT_TRUSTED, TLS_VERDICT_REVOKED },
		{ NOW + 81, NULL, TLS_VERDICT_TRUSTED, TLS_VERDICT_REVOKED },
		{ NOW + 100, NULL, TLS_VERDICT_TRUSTED, TLS_VERDICT_REVOKED },
		{ NOW + 101, "is out of date: what it revokes", TLS_VERDICT_TRUSTED, TLS_VERDICT_REVOKED },
		{ NOW + 90, NULL, TLS_VERDICT_TRUSTED, TLS_VERDICT_REVOKED }, /* a clock that goes back */
		{ NOW + 150, NULL, TLS_VERDICT_TRUSTED, TLS_VERDICT_REVOKED },
		{ NOW + 151, "crl-grace", TLS_VERDICT_CRL_STALE, TLS_VERDICT_REVOKED },
		{ NOW + 1000, NULL, TLS_VERDICT_CRL_STALE, TLS_VERDICT_REVOKED },
	};
	const struct list list = { .this_update = NOW, .next_update = NOW + 100, .serials = { "\x80\x01" } };
	struct tls_crl_set *set = SET(50, &root);
	char text[TLS_CRL_WARNING_MAX];
	struct diag diag;
	bool said;
	size_t i;

	CU_ASSERT_EQUAL(tls_crl_next_update(set), 0);
	CU_ASSERT_EQUAL(load(set, &list, 1, &diag), 0);
	CU_ASSERT_EQUAL(tls_crl_next_update(set), NOW + 100);
	for (i = 0; i < PT_COUNT(rows); i++) {
		said = tls_crl_warning(set, rows[i].at, text);
		CU_ASSERT_EQUAL(said, rows[i].says != NULL);
		if (said && rows[i].says != NULL)
			CU_ASSERT(strstr(text, rows[i].says) != NULL && strstr(text, "lists.pem") != NULL &&
				strstr(text, "CN=root") != NULL);
		CU_ASSERT_FALSE(tls_crl_warning(set, rows[i].at, text));
		CU_ASSERT_EQUAL(judge(set, rows[i].at, &twin, NULL, NULL), rows[i].good);
		CU_ASSERT_EQUAL(judge(set, rows[i].at, &leaf, NULL, NULL), rows[i].revoked);
		/* another CA's certificates have nothing to do with it */
		CU_ASSERT_EQUAL(judge(set, rows[i].at, &other, NULL, NULL), TLS_VERDICT_TRUSTED);
	}
	tls_crl_free(&set);
}

static void
test_future_and_missing(void)
{
	const struct list list = { .this_update = NOW + TLS_CRL_SKEW_S, .serials = { "\x80\x01" } };
	struct tls_crl_set *set = SET(0, &root, &other, &leaf);
	char text[TLS_CRL_WARNING_MAX];
	struct diag diag;

	CU_ASSERT_EQUAL(load(set, &list, 1, &diag), 0);
	CU_ASSERT(tls_crl_warning(set, NOW, text)); /* leaf is no CA: nothing to say */
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "CA CN=other"));
	CU_ASSERT_FALSE(tls_crl_warning(set, NOW, text));
	CU_ASSERT(tls_crl_warning(set, NOW - 1, text));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "future"));
	CU_ASSERT_FALSE(tls_crl_warning(set, NOW - 1, text));
	CU_ASSERT_EQUAL(judge(set, NOW - DAY, &leaf, NULL, NULL), TLS_VERDICT_REVOKED);
	tls_crl_free(&set);
}

/* A list that GnuTLS made, and one by each kind of key. */
static void
test_made_by_gnutls(void)
{
	static const struct {
		gnutls_pk_algorithm_t pk;
		unsigned bits;
		gnutls_digest_algorithm_t hash;
		int rc;
	} rows[] = {
		{ GNUTLS_PK_RSA, 2048, GNUTLS_DIG_SHA256, 0 },
		{ GNUTLS_PK_RSA_PSS, 2048, GNUTLS_DIG_SHA256, 0 },
		{ GNUTLS_PK_EDDSA_ED25519, 0, GNUTLS_DIG_SHA512, 0 },
		{ GNUTLS_PK_RSA, 2048, GNUTLS_DIG_MD5, PT_EINVAL },
	};
	gnutls_x509_privkey_t key;
	gnutls_x509_crl_t crl;
	struct tls_crl_set *set;
	struct cert ca, child;
	gnutls_datum_t pem;
	struct diag diag;
	size_t i;
	int rc;

	for (i = 0; i < PT_COUNT(rows); i++) {
		make(&ca, "any", "\x01", 1, NULL, true, CA_USAGE);
		gnutls_privkey_deinit(ca.key);
		CU_ASSERT_FATAL(gnutls_x509_privkey_init(&key) == 0 && gnutls_privkey_init(&ca.key) == 0);
		CU_ASSERT_FATAL(gnutls_x509_privkey_generate(key, rows[i].pk, rows[i].bits, 0) == 0);
		gnutls_x509_crt_set_key(ca.crt, key);
		CU_ASSERT_FATAL(gnutls_privkey_import_x509(ca.key, key, GNUTLS_PRIVKEY_IMPORT_AUTO_RELEASE) == 0);
		CU_ASSERT_FATAL(gnutls_x509_crt_privkey_sign(ca.crt, ca.crt, ca.key,
					rows[i].pk == GNUTLS_PK_EDDSA_ED25519 ? GNUTLS_DIG_SHA512
									      : GNUTLS_DIG_SHA256, 0) == 0);
		gnutls_free(ca.pem.data);
		gnutls_x509_crt_export2(ca.crt, GNUTLS_X509_FMT_PEM, &ca.pem);
		make(&child, "child", "\x05\x06", 2, &root, false, 0);
		CU_ASSERT_FATAL(gnutls_x509_crl_init(&crl) == 0);
		gnutls_x509_crl_set_version(crl, 2);
		gnutls_x509_crl_set_this_update(crl, (time_t)NOW);
		gnutls_x509_crl_set_next_update(crl, (time_t)(NOW + DAY));
		gnutls_x509_crl_set_number(crl, "\x01", 1);
		gnutls_x509_crl_set_crt_serial(crl, "\x05\x06", 2, (time_t)NOW);
		rc = gnutls_x509_crl_privkey_sign(crl, ca.crt, ca.key, rows[i].hash, 0);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
		CU_ASSERT_FATAL(gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &pem) == 0);
		set = SET(0, &ca);
		rc = tls_crl_load(set, (struct span){ pem.data, pem.size }, "f", &diag);
		CU_ASSERT_EQUAL(rc, rows[i].rc);
		CU_ASSERT_EQUAL(tls_crl_entries(set), rc == 0 ? 1 : 0);
		if (rc != rows[i].rc)
			printf("row %zu: %d %s\n", i, rc, diag.text);
		tls_crl_free(&set);
		gnutls_x509_crl_deinit(crl);
		gnutls_free(pem.data);
		gnutls_x509_crt_deinit(ca.crt);
		gnutls_privkey_deinit(ca.key);
		gnutls_free(ca.der.data);
		gnutls_free(ca.pem.data);
		gnutls_x509_crt_deinit(child.crt);
		gnutls_privkey_deinit(child.key);
		gnutls_free(child.der.data);
		gnutls_free(child.pem.data);
	}
}

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* All of a large list is found, and nothing beside it; at the maximum, and one beyond. */
static void
test_large(void)
{
	static const struct {
		size_t n;
		int rc;
	} rows[] = { { 10000, 0 }, { 100000, 0 }, { TLS_CRL_ENTRIES_MAX, 0 },
		{ TLS_CRL_ENTRIES_MAX + 1, PT_EFULL } };
	struct list list = { .serials = { NULL } };
	double began, loaded, looked;
	struct tls_crl_set *set;
	struct cert first, last, beyond;
	struct diag diag;
	struct buf text;
	size_t i, k, tries = 100000;
	uint8_t serial[4];

	make(&first, "first", "\x40\x00\x00\x00", 4, &root, false, 0);
	for (i = 0; i < PT_COUNT(rows); i++) {
		for (k = 0; k < 4; k++)
			serial[k] = (uint8_t)((0x40000000u + rows[i].n - 1) >> (24 - 8 * k));
		make(&last, "last", (char *)serial, 4, &root, false, 0);
		for (k = 0; k < 4; k++)
			serial[k] = (uint8_t)((0x40000000u + rows[i].n) >> (24 - 8 * k));
		make(&beyond, "beyond", (char *)serial, 4, &root, false, 0);
		list.generated = rows[i].n;
		buf_init(&text, BIG_MAX);
		put_list(&text, &list);
		set = SET(0, &root);
		began = seconds();
		CU_ASSERT_EQUAL(tls_crl_load(set, buf_span(&text), "f", &diag), rows[i].rc);
		loaded = seconds();
		if (rows[i].rc == 0) {
			CU_ASSERT_EQUAL(judge(set, NOW, &first, NULL, NULL), TLS_VERDICT_REVOKED);
			CU_ASSERT_EQUAL(judge(set, NOW, &last, NULL, NULL), TLS_VERDICT_REVOKED);
			CU_ASSERT_EQUAL(judge(set, NOW, &beyond, NULL, NULL), TLS_VERDICT_TRUSTED);
			CU_ASSERT_EQUAL(judge(set, NOW, &leaf, NULL, NULL), TLS_VERDICT_TRUSTED);
			CU_ASSERT_EQUAL(tls_crl_entries(set), rows[i].n);
			looked = seconds();
			for (k = 0; k < tries; k++)
				(void)!judge(set, NOW, &first, NULL, NULL);
			printf("\n    %zu entries, %zu octets of PEM: loaded in %.0f ms, a look-up %.2f us\n",
				rows[i].n, buf_size(&text), (loaded - began) * 1e3,
				(seconds() - looked) * 1e6 / (double)tries);
		}
		buf_fini(&text);
		tls_crl_free(&set);
		for (k = 0; k < 2; k++) {
			struct cert *c = k == 0 ? &last : &beyond;

			gnutls_x509_crt_deinit(c->crt);
			gnutls_privkey_deinit(c->key);
			gnutls_free(c->der.data);
			gnutls_free(c->pem.data);
		}
	}
	gnutls_x509_crt_deinit(first.crt);
	gnutls_privkey_deinit(first.key);
	gnutls_free(first.der.data);
	gnutls_free(first.pem.data);
}

static void
test_many_lists(void)
{
	char idp[] = "\x30\x12" OID_IDP CRITICAL "\x04\x08\x30\x06\x83\x04\x06\x00\x00\x00";
	struct list list = { .ext = idp, .next = sizeof idp - 1 };
	struct tls_crl_set *set = SET(0, &root);
	struct diag diag;
	unsigned i;

	for (i = 0; i <= TLS_CRL_LISTS_MAX; i++) {
		idp[sizeof idp - 2] = (char)(i & 0xff);
		idp[sizeof idp - 3] = (char)(i >> 8);
		CU_ASSERT_EQUAL(load(set, &list, 1, &diag), i < TLS_CRL_LISTS_MAX ? 0 : PT_EFULL);
	}
	tls_crl_free(&set);
}

static void
free_all(void)
{
	struct cert *all[] = { &root, &other, &mute, &between, &new_root, &leaf, &leaf_between,
		&between_cross, &twin };
	size_t i;

	for (i = 0; i < PT_COUNT(all); i++) {
		gnutls_x509_crt_deinit(all[i]->crt);
		gnutls_privkey_deinit(all[i]->key);
		gnutls_free(all[i]->der.data);
		gnutls_free(all[i]->pem.data);
	}
}

/* What a set was made of decides whether it may be used again: CAs, their order and paths, lists, grace. */
static void
test_source(void)
{
	static const struct {
		const char *cas[3], *lists[3]; /* each path and content */
		uint64_t grace_s;
		bool same; /* as the first */
	} rows[] = {
		{ { "a", "b" }, { "l", "m" }, 7, true },
		{ { "a", "b" }, { "l", "m" }, 7, true },
		{ { "a", "b" }, { "l", "m" }, 8, false },
		{ { "a", "c" }, { "l", "m" }, 7, false },
		{ { "b", "a" }, { "l", "m" }, 7, false },
		{ { "a", "b", "l" }, { "m" }, 7, false },
		{ { "a" }, { "b", "l" }, 7, false },
		{ { "a", "b" }, { "l" }, 7, false },
		{ { "a", "b" }, { "m", "l" }, 7, false },
		{ { "a", "b" }, { "l", "m", "n" }, 7, false },
	};
	struct tls_crl_set *set = SET(0, &root), *again;
	struct tls_crl_source first = { { 0 } }, s;
	struct tls_ca_file files[3];
	size_t i, n;

	for (i = 0; i < PT_COUNT(rows); i++) {
		for (n = 0; n < 3 && rows[i].cas[n] != NULL; n++)
			files[n] = (struct tls_ca_file){ span_str(rows[i].cas[n]), rows[i].cas[n] };
		CU_ASSERT_TRUE(tls_crl_source_begin(files, n, rows[i].grace_s, &s));
		for (n = 0; n < 3 && rows[i].lists[n] != NULL; n++)
			CU_ASSERT_TRUE(tls_crl_source_add(&s, span_str(rows[i].lists[n]), rows[i].lists[n]));
		if (i == 0) {
			CU_ASSERT_FALSE(tls_crl_is_from(set, &s)); /* not noted yet */
			first = s;
			tls_crl_note_source(set, &first);
		}
		CU_ASSERT_EQUAL(tls_crl_is_from(set, &s), rows[i].same);
	}
	again = tls_crl_ref(set);
	tls_crl_free(&set);
	CU_ASSERT_PTR_NULL(set);
	CU_ASSERT_TRUE(tls_crl_is_from(again, &first)); /* lives on */
	tls_crl_free(&again);
}

static const struct test_row rows[] = {
	{ "certificates for what follows", make_all },
	{ "lists that are refused", test_refused },
	{ "files without lists", test_no_lists },
	{ "the list that is wrong is named", test_which_list },
	{ "verdicts", test_judge },
	{ "chains too long, cut, empty", test_judge_bounds },
	{ "the newer of two lists", test_newer },
	{ "ageing", test_age },
	{ "from the future; a CA without a list", test_future_and_missing },
	{ "lists by other keys, made by GnuTLS", test_made_by_gnutls },
	{ "large lists", test_large },
	{ "many lists", test_many_lists },
	{ "what a set was made of", test_source },
	{ "the end", free_all },
};

TEST_MAIN("crl", rows)
