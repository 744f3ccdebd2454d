/* tls/tls_key.c - see tls_key.h. The only code that parses a private key. */
#include "tls/tls_key.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/pkcs12.h>
#include <gnutls/x509.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define KEY_ID_MAX 64

struct tls_key {
	gnutls_privkey_t key;
};

static void
wiping_free(void *p)
{
	if (p != NULL)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static void *
wiping_realloc(void *p, size_t n)
{
	size_t had = p != NULL ? malloc_usable_size(p) : 0;
	void *q = malloc(n);

	if (q == NULL)
		return NULL;
	if (had > 0)
		memcpy(q, p, had < n ? had : n);
	wiping_free(p);
	return q;
}

void
tls_key_wipe_freed(void)
{
	gnutls_free = wiping_free;
	gnutls_realloc = wiping_realloc;
}

static gnutls_datum_t
datum(struct span s)
{
	return (gnutls_datum_t){ (unsigned char *)(uintptr_t)s.p, (unsigned)s.n };
}

static bool
has_mark(struct span s, const char *mark)
{
	return s.n > 0 && memmem(s.p, s.n, mark, strlen(mark)) != NULL;
}

bool
tls_pem_has_key(struct span pem)
{
	return has_mark(pem, "PRIVATE KEY-----");
}

/* The private key in pem has the same public key as the leaf certificate. */
static int
same_public_key(gnutls_x509_crt_t leaf, gnutls_privkey_t key)
{
	uint8_t a[KEY_ID_MAX], b[KEY_ID_MAX];
	size_t na = sizeof a, nb = sizeof b;
	gnutls_pubkey_t pub = NULL;
	int rc = PT_EINVAL;

	if (gnutls_pubkey_init(&pub) != 0)
		return PT_ENOMEM;
	if (gnutls_pubkey_import_privkey(pub, key, 0, 0) == 0 &&
	    gnutls_pubkey_get_key_id(pub, GNUTLS_KEYID_USE_SHA256, a, &na) == 0 &&
	    gnutls_x509_crt_get_key_id(leaf, GNUTLS_KEYID_USE_SHA256, b, &nb) == 0 && na == nb &&
	    memcmp(a, b, na) == 0)
		rc = 0;
	gnutls_pubkey_deinit(pub);
	return rc;
}

/* A DER SEQUENCE, which is what PKCS#12 begins with, and no PEM. */
static bool
is_der(struct span s)
{
	return s.n > 0 && s.p[0] == 0x30 && !has_mark(s, "-----BEGIN ");
}

bool
tls_key_is_encrypted(struct span cert, struct span key)
{
	return is_der(cert) || has_mark(key, "ENCRYPTED");
}

int
tls_passphrase_read(struct span file, char out[TLS_PASSPHRASE_MAX + 1], struct diag *diag)
{
	const uint8_t *end = file.n > 0 ? memchr(file.p, '\n', file.n) : NULL;
	size_t n = end != NULL ? (size_t)(end - file.p) : file.n;

	if (n > 0 && file.p[n - 1] == '\r')
		n--;
	if (n > TLS_PASSPHRASE_MAX)
		return diag_set(diag, PT_EINVAL, "the passphrase, the first line of its file, is longer than %d "
			"octets", TLS_PASSPHRASE_MAX);
	if (n > 0 && memchr(file.p, '\0', n) != NULL)
		return diag_set(diag, PT_EINVAL, "the passphrase, the first line of its file, has a NUL in it: it "
			"must be text");
	if (n > 0)
		memcpy(out, file.p, n);
	out[n] = '\0';
	return 0;
}

static int
needs_passphrase(struct diag *diag, const char *what)
{
	return diag_set(diag, PT_EINVAL, "%s needs a passphrase: write it into a file of mode 0600 and name that "
		"behind the certificate: passphrase FILE", what);
}

static int
wrong_passphrase(struct diag *diag, const char *what, const char *try)
{
	return diag_set(diag, PT_EINVAL, "the passphrase does not open %s; it is the first line of its file, and you "
		"can try it by hand: %s", what, try);
}

static int
load_key(struct span pem, const char *passphrase, gnutls_privkey_t *key_out, struct diag *diag)
{
	gnutls_datum_t d = datum(pem);
	bool encrypted = has_mark(pem, "ENCRYPTED");
	int rc;

	if (!tls_pem_has_key(pem))
		return diag_set(diag, PT_EINVAL, "there is no PEM private key in the key's file");
	if (encrypted && passphrase == NULL)
		return needs_passphrase(diag, "the private key is encrypted, and");
	if (gnutls_privkey_init(key_out) != 0)
		return PT_ENOMEM;
	rc = gnutls_privkey_import_x509_raw(*key_out, &d, GNUTLS_X509_FMT_PEM, encrypted ? passphrase : NULL, 0);
	if (encrypted && rc == GNUTLS_E_DECRYPTION_FAILED)
		return wrong_passphrase(diag, "the private key",
			"openssl pkey -noout -in KEY -passin file:PASSPHRASE");
	if (rc != 0)
		return diag_set(diag, PT_EINVAL, "the private key cannot be read: %s",
			gnutls_strerror(rc));
	return 0;
}

static int
export_chain(gnutls_x509_crt_t *crts, unsigned n, struct buf *out)
{
	gnutls_datum_t d;
	unsigned i;
	int rc = 0;

	for (i = 0; i < n && rc == 0; i++) {
		if (gnutls_x509_crt_export2(crts[i], GNUTLS_X509_FMT_PEM, &d) != 0)
			return PT_ENOMEM;
		rc = buf_append(out, d.data, d.size);
		gnutls_free(d.data);
	}
	return rc;
}

/* What was read, from either form. */
struct read {
	gnutls_x509_crt_t *crts;
	unsigned n;
	gnutls_privkey_t key;
};

static int
read_pem(struct span cert, struct span key, const char *passphrase, struct read *r, struct diag *diag)
{
	gnutls_datum_t d = datum(cert);
	int rc = gnutls_x509_crt_list_import2(&r->crts, &r->n, &d, GNUTLS_X509_FMT_PEM, 0);

	if (rc < 0 || r->n == 0)
		return diag_set(diag, PT_EINVAL, "there is no PEM certificate in the certificate's file: %s",
			gnutls_strerror(rc));
	if (r->n > TLS_CHAIN_MAX)
		return diag_set(diag, PT_EINVAL, "%u certificates are in it; at most %d are used", r->n,
			TLS_CHAIN_MAX);
	return load_key(key, passphrase, &r->key, diag);
}

/* Without a passphrase in the configuration there are two ways to have none: no password, and an empty one. */
static int
verify_mac(gnutls_pkcs12_t p12, const char **passphrase)
{
	int rc = gnutls_pkcs12_verify_mac(p12, *passphrase);

	if (rc == 0 || *passphrase != NULL)
		return rc;
	*passphrase = "";
	return gnutls_pkcs12_verify_mac(p12, "");
}

static int
open_pkcs12(gnutls_pkcs12_t p12, const char *passphrase, struct read *r, struct diag *diag)
{
	static const char try[] = "openssl pkcs12 -noout -in CERTIFICATE -passin file:PASSPHRASE";
	bool given = passphrase != NULL;
	gnutls_x509_privkey_t key = NULL;
	int rc = verify_mac(p12, &passphrase);

	if (rc == GNUTLS_E_MAC_VERIFY_FAILED)
		return given ? wrong_passphrase(diag, "the PKCS#12 file", try)
			     : needs_passphrase(diag, "the PKCS#12 file");
	if (rc != 0)
		return diag_set(diag, PT_EINVAL, "the integrity of the PKCS#12 file cannot be checked: %s",
			gnutls_strerror(rc));
	rc = gnutls_pkcs12_simple_parse(p12, passphrase, &key, &r->crts, &r->n, NULL, NULL, NULL, 0);
	if (rc == GNUTLS_E_DECRYPTION_FAILED)
		return wrong_passphrase(diag, "what is in the PKCS#12 file", try);
	if (rc != 0 && rc != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
		return diag_set(diag, PT_EINVAL, "the PKCS#12 file cannot be read: %s", gnutls_strerror(rc));
	if (key == NULL || r->n == 0)
		rc = diag_set(diag, PT_EINVAL, "there is no private key with its certificate in the PKCS#12 file");
	else if (r->n > TLS_CHAIN_MAX)
		rc = diag_set(diag, PT_EINVAL, "a chain of %u certificates is in the PKCS#12 file; at most %d are "
			"used", r->n, TLS_CHAIN_MAX);
	else if (gnutls_privkey_init(&r->key) != 0)
		rc = PT_ENOMEM;
	else if ((rc = gnutls_privkey_import_x509(r->key, key, GNUTLS_PRIVKEY_IMPORT_AUTO_RELEASE)) != 0)
		rc = diag_set(diag, PT_EINVAL, "the private key cannot be used: %s", gnutls_strerror(rc));
	else
		key = NULL;
	if (key != NULL)
		gnutls_x509_privkey_deinit(key);
	return rc;
}

static int
read_pkcs12(struct span der, const char *passphrase, struct read *r, struct diag *diag)
{
	gnutls_datum_t d = datum(der);
	gnutls_pkcs12_t p12;
	int rc;

	if (gnutls_pkcs12_init(&p12) != 0)
		return PT_ENOMEM;
	if ((rc = gnutls_pkcs12_import(p12, &d, GNUTLS_X509_FMT_DER, 0)) != 0)
		rc = diag_set(diag, PT_EINVAL, "the certificate's file is neither PEM nor PKCS#12: %s",
			gnutls_strerror(rc));
	else
		rc = open_pkcs12(p12, passphrase, r, diag);
	gnutls_pkcs12_deinit(p12);
	return rc;
}

int
tls_key_load(struct span cert, struct span key, const char *passphrase, struct tls_key **key_out,
	     struct buf *chain_out, struct diag *diag)
{
	struct read r = { NULL, 0, NULL };
	unsigned i;
	int rc;

	*key_out = NULL;
	if (!is_der(cert))
		rc = read_pem(cert, key, passphrase, &r, diag);
	else if (cert.p != key.p)
		rc = diag_set(diag, PT_EINVAL, "the certificate's file is PKCS#12, which has the key in it: leave "
			"\"key FILE\" out");
	else
		rc = read_pkcs12(cert, passphrase, &r, diag);
	if (rc == 0 && (rc = same_public_key(r.crts[0], r.key)) != 0)
		rc = diag_set(diag, rc, "the private key does not belong to the first certificate");
	if (rc == 0)
		rc = export_chain(r.crts, r.n, chain_out);
	if (rc == 0 && (*key_out = calloc(1, sizeof **key_out)) == NULL)
		rc = PT_ENOMEM;
	if (rc == 0) {
		(*key_out)->key = r.key;
		r.key = NULL;
	}
	if (r.key != NULL)
		gnutls_privkey_deinit(r.key);
	for (i = 0; i < r.n; i++)
		gnutls_x509_crt_deinit(r.crts[i]);
	gnutls_free(r.crts);
	return rc;
}

void
tls_key_free(struct tls_key **key)
{
	if (*key == NULL)
		return;
	if ((*key)->key != NULL)
		gnutls_privkey_deinit((*key)->key); /* wipes the parameters */
	freezero(*key, sizeof **key);
	*key = NULL;
}

int
tls_key_sign(struct tls_key *key, uint32_t algorithm, bool hashed, struct span data, uint8_t *sig,
	     size_t *len)
{
	gnutls_sign_algorithm_t algo = (gnutls_sign_algorithm_t)algorithm;
	gnutls_datum_t in = datum(data), out = { NULL, 0 };
	int rc;

	if (data.n > TLS_SIGN_DATA_MAX)
		return PT_ETOOBIG;
	rc = hashed ? gnutls_privkey_sign_hash2(key->key, algo, 0, &in, &out)
		    : gnutls_privkey_sign_data2(key->key, algo, 0, &in, &out);
	if (rc != 0)
		return PT_EINVAL;
	if (out.size > TLS_SIGNATURE_MAX) {
		gnutls_free(out.data);
		return PT_ETOOBIG;
	}
	memcpy(sig, out.data, out.size);
	*len = out.size;
	gnutls_free(out.data);
	return 0;
}
