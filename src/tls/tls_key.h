/* tls/tls_key.h - a private key and its certificates: the keyholder's side. */
#ifndef TLS_TLS_KEY_H
#define TLS_TLS_KEY_H

#include "util/buf.h"
#include "util/diag.h"

#define TLS_FILE_MAX (1024 * 1024)  /* octets of one PEM file */
#define TLS_CHAIN_MAX 16            /* certificates of one server chain */
#define TLS_SIGN_DATA_MAX 8192      /* octets that may be signed at once */
#define TLS_SIGNATURE_MAX 2048      /* RSA-16384 */

#define TLS_PASSPHRASE_MAX 1024     /* octets */
#define TLS_PASSPHRASE_FILE_MAX 4096 /* of the file that it is the first line of */

struct tls_key;

/* From now on all that GnuTLS gives back to the heap of this process is wiped first: of a key that it reads it leaves the
 * decoded octets there as they are. Once, before anything else is asked of GnuTLS. */
void tls_key_wipe_freed(void);

/* Loads a certificate, its chain and its private key, and sees that they belong together. cert: PEM certificates, leaf
 * first, and key: a PEM private key (the same span for a combined file), which may be encrypted (PKCS#8, RFC
 * 5958, or OpenSSL's older form); or cert: PKCS#12 (RFC 7292) in DER, which has all of it, and key: the same
 * span. passphrase: NULL: none. chain_out gets the certificates alone, as PEM, leaf first. The caller wipes what
 * it gave. PT_EINVAL with a sentence in diag; PT_ENOMEM. */
int tls_key_load(struct span cert, struct span key, const char *passphrase, struct tls_key **key_out,
		 struct buf *chain_out, struct diag *diag) PT_MUST_USE;

/* Whether a passphrase is of use: it is PKCS#12, or the PEM key is encrypted. */
bool tls_key_is_encrypted(struct span cert, struct span key);

/* The first line of a passphrase file, without its end; an empty one is a passphrase, too. Secret: wipe it. PT_EINVAL
 * with a sentence in diag: too long, or with a NUL. */
int tls_passphrase_read(struct span file, char out[TLS_PASSPHRASE_MAX + 1], struct diag *diag) PT_MUST_USE;

/* Wipes and frees; NULL is fine; sets the pointer to NULL. */
void tls_key_free(struct tls_key **key);

/* Signs data (hashed: a digest) with a gnutls_sign_algorithm_t. sig_out holds TLS_SIGNATURE_MAX octets.
 * PT_EINVAL when the key cannot do that, PT_ETOOBIG for too much data. */
int tls_key_sign(struct tls_key *key, uint32_t algorithm, bool hashed, struct span data,
		 uint8_t *sig_out, size_t *len_out) PT_MUST_USE;

/* A PEM private key of any kind stands in it. */
bool tls_pem_has_key(struct span pem);

#endif
