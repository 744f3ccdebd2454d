/* tls/tls_ocsp.h - responses about the server's own certificates (OCSP, RFC 6960), which it sends along with them
 * (RFC 6066 §8, RFC 8446 §4.4.2.1) so that clients need not ask anybody; within tls/ only. */
#ifndef TLS_TLS_OCSP_H
#define TLS_TLS_OCSP_H

#include "tls/tls_impl.h"

/* One response, as it is known when it has been loaded. */
struct tls_ocsp {
	char *path;       /* owned */
	char *name;       /* of the certificate, printable, owned */
	int64_t from_s;   /* thisUpdate, seconds of the epoch */
	int64_t until_s;  /* nextUpdate, or what GnuTLS takes instead where there is none */
	bool revoked;     /* that is what it says */
	unsigned said;    /* of what is to be warned of */
};

/* Adds all responses of a file, DER or PEM, to the certificates of cred's x509 that they are for. Each must be a
 * successful one, for a certificate here, and (where the issuer is in the chain) signed for that issuer. PT_EINVAL with a
 * sentence in diag that names the file; PT_EFULL, PT_ENOMEM. */
int tls_ocsp_load(struct tls_cred *cred, const struct tls_ca_file *file, struct diag *diag) PT_MUST_USE;
void tls_ocsp_fini(struct tls_cred *cred);

/* As tls_cred_warning(), of these alone. */
bool tls_ocsp_warning(struct tls_cred *cred, uint64_t now, char *text_out) PT_MUST_USE;

#endif
