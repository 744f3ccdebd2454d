/* tls/tls_key.h - a private key and its certificates: the keyholder's side. */
#ifndef TLS_TLS_KEY_H
#define TLS_TLS_KEY_H

#include "util/buf.h"
#include "util/diag.h"

#define TLS_FILE_MAX (1024 * 1024)  /* octets of one PEM file */
#define TLS_CHAIN_MAX 16            /* certificates of one server chain */
#define TLS_SIGN_DATA_MAX 8192      /* octets that may be signed at once */
#define TLS_SIGNATURE_MAX 2048      /* RSA-16384 */

struct tls_key;

/* Reads the certificates in cert_pem (leaf first) and the private key in key_pem (the same span for a
 * combined file), and sees that they belong together. chain_out gets the certificates alone, as PEM.
 * The caller wipes key_pem. PT_EINVAL with a sentence in diag; PT_ENOMEM. */
int tls_key_load(struct span cert_pem, struct span key_pem, struct tls_key **key_out,
		 struct buf *chain_out, struct diag *diag) PT_MUST_USE;

/* Wipes and frees; NULL is fine; sets the pointer to NULL. */
void tls_key_free(struct tls_key **key);

/* Signs data (hashed: a digest) with a gnutls_sign_algorithm_t. sig_out holds TLS_SIGNATURE_MAX octets.
 * PT_EINVAL when the key cannot do that, PT_ETOOBIG for too much data. */
int tls_key_sign(struct tls_key *key, uint32_t algorithm, bool hashed, struct span data,
		 uint8_t *sig_out, size_t *len_out) PT_MUST_USE;

/* A PEM private key of any kind stands in it. */
bool tls_pem_has_key(struct span pem);

#endif
