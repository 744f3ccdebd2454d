/* unit/tls/test_key.c - what the keyholder loads and signs. */
#include "test.h"
#include "pki.h"

#include "tls/tls_key.h"

#include <gnutls/abstract.h>
#include <gnutls/pkcs12.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pki *ca, *keys[3], *other;

static int
load_spans(struct span cert, struct span key, const char *passphrase, struct tls_key **out, struct diag *diag)
{
	struct buf chain;
	int rc;

	diag->text[0] = '\0';
	*out = (struct tls_key *)(uintptr_t)1;
	buf_init(&chain, 2 * TLS_FILE_MAX);
	rc = tls_key_load(cert, key, passphrase, out, &chain, diag);
	if (rc == 0) { /* the certificates alone */
		CU_ASSERT_FALSE(tls_pem_has_key(buf_span(&chain)));
		CU_ASSERT_TRUE(buf_size(&chain) > 0);
	} else {
		CU_ASSERT_PTR_NULL(*out);
	}
	buf_fini(&chain);
	return rc;
}

static int
load(const char *cert, const char *key, struct tls_key **out, struct diag *diag)
{
	return load_spans(span_str(cert), span_str(key), NULL, out, diag);
}

static char *
encrypted(const struct pki *p, unsigned flags)
{
	gnutls_datum_t d;
	char *s;

	PT_ASSERT(gnutls_x509_privkey_export2_pkcs8(p->key, GNUTLS_X509_FMT_PEM, "secret", flags, &d) == 0);
	s = strndup((const char *)d.data, d.size);
	gnutls_free(d.data);
	return s;
}

static void
test_begin(void)
{
	static const struct pki_spec authority = { .cn = "CA", .ca = true };
	struct pki_spec leaf = { .cn = "server.example.org" };
	int i;

	ca = pki_new(&authority, NULL);
	for (i = PKI_EC; i <= PKI_ED25519; i++) {
		leaf.kind = (enum pki_kind)i;
		keys[i] = pki_new(&leaf, ca);
	}
	leaf.kind = PKI_EC;
	other = pki_new(&leaf, ca);
}

static void
test_load(void)
{
	char *cert = pki_cert_pem(keys[0]), *key = pki_key_pem(keys[0]), *both, *text;
	struct tls_key *k;
	struct diag diag;
	int i;

	for (i = 0; i < 3; i++) {
		both = pki_cert_pem(keys[i]);
		text = pki_key_pem(keys[i]);
		CU_ASSERT_EQUAL(load(both, text, &k, &diag), 0);
		tls_key_free(&k);
		CU_ASSERT_PTR_NULL(k);
		free(both);
		free(text);
	}
	/* one file with all, in either order, and with a chain */
	both = pki_join(pki_cert_pem(keys[0]), pki_key_pem(keys[0]), NULL);
	CU_ASSERT_EQUAL(load(both, both, &k, &diag), 0);
	tls_key_free(&k);
	free(both);
	both = pki_join(pki_key_pem(keys[0]), pki_cert_pem(keys[0]), pki_cert_pem(ca), NULL);
	CU_ASSERT_EQUAL(load(both, both, &k, &diag), 0);
	tls_key_free(&k);
	free(both);
	tls_key_free(&k);

	text = pki_key_pem(other);
	CU_ASSERT_EQUAL(load(cert, text, &k, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "does not belong to the first certificate"));
	free(text);
	/* the leaf is not the first */
	both = pki_join(pki_cert_pem(ca), pki_cert_pem(keys[0]), NULL);
	CU_ASSERT_EQUAL(load(both, key, &k, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "does not belong to the first certificate"));
	free(both);
	CU_ASSERT_EQUAL(load(cert, cert, &k, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "no PEM private key"));
	CU_ASSERT_EQUAL(load(key, key, &k, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "no PEM certificate"));
	CU_ASSERT_EQUAL(load("", "", &k, &diag), PT_EINVAL);
	CU_ASSERT_EQUAL(load(cert, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &k,
		&diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "cannot be read"));
	text = encrypted(keys[0], GNUTLS_PKCS_PBES2_AES_256);
	CU_ASSERT_EQUAL(load(cert, text, &k, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "encrypted, and needs a passphrase"));
	free(text);
	free(cert);
	free(key);
}

/* Encrypted keys (RFC 5958), and what is said when they cannot be opened. */
static void
test_encrypted(void)
{
	static const unsigned kinds[] = { GNUTLS_PKCS_PBES2_AES_256, GNUTLS_PKCS_PBES2_AES_128,
		GNUTLS_PKCS_PBES2_3DES };
	char *cert = pki_cert_pem(keys[0]), *key, *plain = pki_key_pem(keys[0]), *both;
	struct tls_key *k;
	struct diag diag;
	size_t i;

	for (i = 0; i < PT_COUNT(kinds); i++) {
		key = encrypted(keys[0], kinds[i]);
		CU_ASSERT_TRUE(tls_key_is_encrypted(span_str(cert), span_str(key)));
		CU_ASSERT_EQUAL(load_spans(span_str(cert), span_str(key), "secret", &k, &diag), 0);
		tls_key_free(&k);
		CU_ASSERT_EQUAL(load_spans(span_str(cert), span_str(key), "Secret", &k, &diag), PT_EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "the passphrase does not open the private key"));
		CU_ASSERT_PTR_NULL(strstr(diag.text, "Secret")); /* nobody reads it in a log */
		CU_ASSERT_EQUAL(load_spans(span_str(cert), span_str(key), "", &k, &diag), PT_EINVAL);
		both = pki_join(key, pki_cert_pem(keys[0]), NULL);
		CU_ASSERT_EQUAL(load_spans(span_str(both), span_str(both), "secret", &k, &diag), 0);
		tls_key_free(&k);
		free(both);
	}
	/* one that needs none does not mind */
	CU_ASSERT_FALSE(tls_key_is_encrypted(span_str(cert), span_str(plain)));
	CU_ASSERT_EQUAL(load_spans(span_str(cert), span_str(plain), "secret", &k, &diag), 0);
	tls_key_free(&k);
	free(cert);
	free(plain);
}

/* RFC 7292: leaf and key, and other certificates; password NULL: none. */
static gnutls_datum_t
pkcs12(const struct pki *leaf, const struct pki *issuer, bool with_key, const char *password)
{
	gnutls_pkcs12_bag_t certs, key;
	gnutls_pkcs12_t p12;
	gnutls_datum_t d, out;
	uint8_t id[20] = "one";
	int i;

	PT_ASSERT(gnutls_pkcs12_init(&p12) == 0 && gnutls_pkcs12_bag_init(&certs) == 0 &&
		gnutls_pkcs12_bag_init(&key) == 0);
	d = (gnutls_datum_t){ id, 3 };
	PT_ASSERT((i = gnutls_pkcs12_bag_set_crt(certs, leaf->crt)) >= 0 &&
		gnutls_pkcs12_bag_set_key_id(certs, (unsigned)i, &d) == 0);
	if (issuer != NULL)
		PT_ASSERT(gnutls_pkcs12_bag_set_crt(certs, issuer->crt) >= 0);
	if (password != NULL)
		PT_ASSERT(gnutls_pkcs12_bag_encrypt(certs, password, GNUTLS_PKCS_PBES2_AES_256) == 0);
	PT_ASSERT(gnutls_pkcs12_set_bag(p12, certs) == 0);
	if (with_key) {
		PT_ASSERT(gnutls_x509_privkey_export2_pkcs8(leaf->key, GNUTLS_X509_FMT_DER, password,
			password != NULL ? GNUTLS_PKCS_PBES2_AES_256 : GNUTLS_PKCS_PLAIN, &out) == 0);
		i = gnutls_pkcs12_bag_set_data(key, password != NULL ? GNUTLS_BAG_PKCS8_ENCRYPTED_KEY
								     : GNUTLS_BAG_PKCS8_KEY, &out);
		PT_ASSERT(i >= 0 && gnutls_pkcs12_bag_set_key_id(key, (unsigned)i, &d) == 0);
		gnutls_free(out.data);
		PT_ASSERT(gnutls_pkcs12_set_bag(p12, key) == 0);
	}
	PT_ASSERT(gnutls_pkcs12_generate_mac(p12, password) == 0);
	PT_ASSERT(gnutls_pkcs12_export2(p12, GNUTLS_X509_FMT_DER, &out) == 0);
	gnutls_pkcs12_bag_deinit(certs);
	gnutls_pkcs12_bag_deinit(key);
	gnutls_pkcs12_deinit(p12);
	return out;
}

static void
test_pkcs12(void)
{
	static const struct {
		const char *password, *passphrase;
		bool key;
		const char *says; /* NULL: it is loaded */
	} rows[] = {
		{ "secret", "secret", true, NULL },
		{ NULL, NULL, true, NULL },
		{ "", NULL, true, NULL },
		{ "", "", true, NULL },
		{ "secret", "Secret", true, "the passphrase does not open the PKCS#12 file" },
		{ "secret", "", true, "the passphrase does not open the PKCS#12 file" },
		{ "secret", NULL, true, "the PKCS#12 file needs a passphrase" },
		{ "secret", "secret", false, "no private key with its certificate" },
	};
	struct tls_key *k;
	struct diag diag;
	gnutls_datum_t d;
	struct span s;
	char *key;
	size_t i;
	int kind;

	/* what takes time is to make them: a row of each kind */
	for (kind = PKI_EC; kind <= PKI_ED25519; kind++)
		for (i = 0; i < (kind == PKI_EC ? PT_COUNT(rows) : 1); i++) {
			d = pkcs12(keys[kind], ca, rows[i].key, rows[i].password);
			s = (struct span){ d.data, d.size };
			CU_ASSERT_TRUE(tls_key_is_encrypted(s, s));
			CU_ASSERT_EQUAL(load_spans(s, s, rows[i].passphrase, &k, &diag),
				rows[i].says == NULL ? 0 : PT_EINVAL);
			if (rows[i].says != NULL && strstr(diag.text, rows[i].says) == NULL) {
				printf("\n    %s\n", diag.text);
				CU_FAIL("another text");
			}
			if (rows[i].says == NULL)
				tls_key_free(&k);
			gnutls_free(d.data);
		}
	/* a key file beside it is a misunderstanding */
	d = pkcs12(keys[0], ca, true, "secret");
	s = (struct span){ d.data, d.size };
	key = pki_key_pem(keys[0]);
	CU_ASSERT_EQUAL(load_spans(s, span_str(key), "secret", &k, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "leave \"key FILE\" out"));
	free(key);
	/* cut off anywhere */
	for (i = 1; i < d.size; i += 7) {
		s = (struct span){ d.data, i };
		CU_ASSERT_EQUAL(load_spans(s, s, "secret", &k, &diag), PT_EINVAL);
	}
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "neither PEM nor PKCS#12"));
	gnutls_free(d.data);
	/* DER that is a certificate alone */
	CU_ASSERT_EQUAL_FATAL(gnutls_x509_crt_export2(keys[0]->crt, GNUTLS_X509_FMT_DER, &d), 0);
	s = (struct span){ d.data, d.size };
	CU_ASSERT_EQUAL(load_spans(s, s, NULL, &k, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "neither PEM nor PKCS#12"));
	gnutls_free(d.data);
}

static void
test_passphrase(void)
{
	static const struct {
		const char *file, *want;
	} rows[] = {
		{ "secret", "secret" },
		{ "secret\n", "secret" },
		{ "secret\r\n", "secret" },
		{ "two words \nsecond line\n", "two words " },
		{ "", "" },
		{ "\n", "" },
		{ "\r", "" },
		{ "p\xc3\xa4ss\n", "p\xc3\xa4ss" },
	};
	static char most[TLS_PASSPHRASE_MAX + 3];
	char out[TLS_PASSPHRASE_MAX + 1];
	struct diag diag;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		CU_ASSERT_EQUAL(tls_passphrase_read(span_str(rows[i].file), out, &diag), 0);
		CU_ASSERT_STRING_EQUAL(out, rows[i].want);
	}
	CU_ASSERT_EQUAL(tls_passphrase_read((struct span){ NULL, 0 }, out, &diag), 0);
	CU_ASSERT_EQUAL(tls_passphrase_read((struct span){ (const uint8_t *)"a\0b", 3 }, out, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "NUL"));
	memset(most, 'x', TLS_PASSPHRASE_MAX + 1);
	CU_ASSERT_EQUAL(tls_passphrase_read(span_str(most), out, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "longer than 1024"));
	most[TLS_PASSPHRASE_MAX] = '\n';
	CU_ASSERT_EQUAL(tls_passphrase_read(span_str(most), out, &diag), 0);
	CU_ASSERT_EQUAL(strlen(out), TLS_PASSPHRASE_MAX);
}

static void
test_chain_max(void)
{
	char *key = pki_key_pem(keys[0]), *chain = pki_cert_pem(keys[0]);
	struct tls_key *k;
	struct diag diag;
	int i;

	for (i = 1; i < TLS_CHAIN_MAX; i++)
		chain = pki_join(chain, pki_cert_pem(ca), NULL);
	CU_ASSERT_EQUAL(load(chain, key, &k, &diag), 0);
	tls_key_free(&k);
	chain = pki_join(chain, pki_cert_pem(ca), NULL);
	CU_ASSERT_EQUAL(load(chain, key, &k, &diag), PT_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "17 certificates"));
	free(chain);
	free(key);
}

static bool
verifies(const struct pki *p, gnutls_sign_algorithm_t algo, bool hashed, struct span data, const uint8_t *sig,
	 size_t n)
{
	gnutls_datum_t d = { (unsigned char *)(uintptr_t)data.p, (unsigned)data.n };
	gnutls_datum_t s = { (unsigned char *)(uintptr_t)sig, (unsigned)n };
	gnutls_pubkey_t pub;
	int rc;

	PT_ASSERT(gnutls_pubkey_init(&pub) == 0 && gnutls_pubkey_import_x509(pub, p->crt, 0) == 0);
	rc = hashed ? gnutls_pubkey_verify_hash2(pub, algo, 0, &d, &s)
		    : gnutls_pubkey_verify_data2(pub, algo, 0, &d, &s);
	gnutls_pubkey_deinit(pub);
	return rc >= 0;
}

static void
test_sign(void)
{
	static const uint8_t digest[32] = { 1, 2, 3 };
	static uint8_t data[TLS_SIGN_DATA_MAX + 1];
	static const struct {
		enum pki_kind kind;
		gnutls_sign_algorithm_t algo;
		bool hashed;
		size_t n;
		int rc;
	} rows[] = {
		{ PKI_EC, GNUTLS_SIGN_ECDSA_SECP256R1_SHA256, true, 32, 0 },
		{ PKI_EC, GNUTLS_SIGN_ECDSA_SHA256, true, 32, 0 },
		{ PKI_EC, GNUTLS_SIGN_ECDSA_SHA256, false, 100, 0 },
		{ PKI_EC, GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, true, 32, PT_EINVAL },
		{ PKI_EC, GNUTLS_SIGN_EDDSA_ED25519, false, 100, PT_EINVAL },
		{ PKI_EC, GNUTLS_SIGN_UNKNOWN, true, 32, PT_EINVAL },
		{ PKI_EC, (gnutls_sign_algorithm_t)0x7fff, true, 32, PT_EINVAL },
		{ PKI_RSA, GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, true, 32, 0 },
		{ PKI_RSA, GNUTLS_SIGN_RSA_SHA256, true, 32, 0 },
		{ PKI_RSA, GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, false, TLS_SIGN_DATA_MAX, 0 },
		{ PKI_RSA, GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, false, TLS_SIGN_DATA_MAX + 1, PT_ETOOBIG },
		{ PKI_ED25519, GNUTLS_SIGN_EDDSA_ED25519, false, 130, 0 },
		{ PKI_ED25519, GNUTLS_SIGN_EDDSA_ED25519, false, TLS_SIGN_DATA_MAX, 0 },
		{ PKI_ED25519, GNUTLS_SIGN_EDDSA_ED25519, false, TLS_SIGN_DATA_MAX + 1, PT_ETOOBIG },
		{ PKI_ED25519, GNUTLS_SIGN_EDDSA_ED25519, true, 32, PT_EINVAL },
	};
	uint8_t sig[TLS_SIGNATURE_MAX];
	struct tls_key *k[3];
	char *cert, *key;
	struct diag diag;
	struct span in;
	size_t i, n;
	int rc;

	for (i = 0; i < 3; i++) {
		cert = pki_cert_pem(keys[i]);
		key = pki_key_pem(keys[i]);
		CU_ASSERT_EQUAL_FATAL(load(cert, key, &k[i], &diag), 0);
		free(cert);
		free(key);
	}
	for (i = 0; i < PT_COUNT(rows); i++) {
		in = (struct span){ rows[i].n == 32 ? digest : data, rows[i].n };
		n = 0;
		rc = tls_key_sign(k[rows[i].kind], (uint32_t)rows[i].algo, rows[i].hashed, in, sig, &n);
		CU_ASSERT_EQUAL(rc, rows[i].rc);
		if (rc == 0)
			CU_ASSERT_TRUE(verifies(keys[rows[i].kind], rows[i].algo, rows[i].hashed, in,
				sig, n));
	}
	for (i = 0; i < 3; i++)
		tls_key_free(&k[i]);
}

static void
test_has_key(void)
{
	char *key = pki_key_pem(keys[0]), *cert = pki_cert_pem(keys[0]);
	char *secret = encrypted(keys[0], GNUTLS_PKCS_PBES2_AES_256);

	CU_ASSERT_TRUE(tls_pem_has_key(span_str(key)));
	CU_ASSERT_TRUE(tls_pem_has_key(span_str(secret)));
	CU_ASSERT_TRUE(tls_pem_has_key(span_str("-----BEGIN EC PRIVATE KEY-----")));
	CU_ASSERT_FALSE(tls_pem_has_key(span_str(cert)));
	CU_ASSERT_FALSE(tls_pem_has_key(span_str("")));
	CU_ASSERT_FALSE(tls_pem_has_key((struct span){ NULL, 0 }));
	free(key);
	free(cert);
	free(secret);
}

static void
test_end(void)
{
	int i;

	pki_free(&ca);
	pki_free(&other);
	for (i = 0; i < 3; i++)
		pki_free(&keys[i]);
}

static const struct test_row rows[] = {
	{ "keys", test_begin },
	{ "files, good and bad", test_load },
	{ "encrypted keys", test_encrypted },
	{ "PKCS#12", test_pkcs12 },
	{ "passphrases", test_passphrase },
	{ "certificates of one chain", test_chain_max },
	{ "signatures", test_sign },
	{ "a key in a file", test_has_key },
	{ "keys freed", test_end },
};
TEST_MAIN("tls/key", rows)
