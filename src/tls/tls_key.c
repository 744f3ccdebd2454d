/* tls/tls_key.c - see tls_key.h. The only code that parses a private key. */
#include "tls/tls_key.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#define KEY_ID_MAX 64

struct tls_key {
	gnutls_privkey_t key;
};

static gnutls_datum_t
datum(struct span s)
{
	return (gnutls_datum_t){ (unsigned char *)(uintptr_t)s.p, (unsigned)s.n };
}

bool
tls_pem_has_key(struct span pem)
{
	static const char mark[] = "PRIVATE KEY-----";

	return pem.n > 0 && memmem(pem.p, pem.n, mark, sizeof mark - 1) != NULL;
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

static int
load_key(struct span pem, gnutls_privkey_t *key_out, struct diag *diag)
{
	gnutls_datum_t d = datum(pem);
	int rc;

	if (!tls_pem_has_key(pem))
		return diag_set(diag, PT_EINVAL, "there is no PEM private key in the key's file");
	if (memmem(pem.p, pem.n, "ENCRYPTED", 9) != NULL)
		return diag_set(diag, PT_EINVAL, "the private key is encrypted; write it without a "
			"passphrase: openssl pkey -in OLD -out NEW");
	if (gnutls_privkey_init(key_out) != 0)
		return PT_ENOMEM;
	if ((rc = gnutls_privkey_import_x509_raw(*key_out, &d, GNUTLS_X509_FMT_PEM, NULL, 0)) != 0)
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

int
tls_key_load(struct span cert_pem, struct span key_pem, struct tls_key **key_out,
	     struct buf *chain_out, struct diag *diag)
{
	gnutls_x509_crt_t *crts = NULL;
	gnutls_datum_t d = datum(cert_pem);
	struct tls_key *key = NULL;
	unsigned i, n = 0;
	int rc;

	*key_out = NULL;
	rc = gnutls_x509_crt_list_import2(&crts, &n, &d, GNUTLS_X509_FMT_PEM, 0);
	if (rc < 0 || n == 0) {
		rc = diag_set(diag, PT_EINVAL, "there is no PEM certificate in the certificate's file: %s",
			gnutls_strerror(rc));
		goto out;
	}
	if (n > TLS_CHAIN_MAX) {
		rc = diag_set(diag, PT_EINVAL, "%u certificates are in it; at most %d are used", n,
			TLS_CHAIN_MAX);
		goto out;
	}
	if ((key = calloc(1, sizeof *key)) == NULL) {
		rc = PT_ENOMEM;
		goto out;
	}
	if ((rc = load_key(key_pem, &key->key, diag)) != 0)
		goto out;
	if ((rc = same_public_key(crts[0], key->key)) != 0) {
		rc = diag_set(diag, rc, "the private key does not belong to the first certificate");
		goto out;
	}
	if ((rc = export_chain(crts, n, chain_out)) != 0)
		goto out;
	*key_out = key;
	key = NULL;
out:
	for (i = 0; i < n; i++)
		gnutls_x509_crt_deinit(crts[i]);
	gnutls_free(crts);
	tls_key_free(&key);
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
