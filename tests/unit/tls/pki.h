/* unit/tls/pki.h - keys and certificates made at run time, good ones and every kind of bad one, so that no
 * fixture can expire. Whatever fails here ends the test program. */
#ifndef UNIT_TLS_PKI_H
#define UNIT_TLS_PKI_H

#include "util/span.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

enum pki_kind {
	PKI_EC, /* P-256 */
	PKI_RSA, /* 2048 bits */
	PKI_ED25519,
};

struct pki_san {
	int type; /* GNUTLS_SAN_* */
	const void *p;
	size_t n; /* 0: p is a string */
};

struct pki_spec {
	const char *cn;       /* NULL: no subject at all */
	enum pki_kind kind;
	bool ca;
	long from_s, to_s;    /* from now; both 0: a day before and a year behind it */
	const char *purpose;  /* OID; NULL: none */
	const char *email;    /* one rfc822Name; NULL: none */
	const struct pki_san *sans;
	size_t nsans;
	size_t padding;       /* octets of an extension that nobody knows */
	const char *permitted_email; /* name constraint of a CA; NULL: none */
};

struct pki {
	gnutls_x509_crt_t crt;
	gnutls_x509_privkey_t key;
};

/* issuer NULL: signs itself. Owned by the caller. */
struct pki *pki_new(const struct pki_spec *spec, const struct pki *issuer);
void pki_free(struct pki **p);

/* Changes the last octet of the signature. */
void pki_tamper(struct pki *p);

/* PEM of the certificate, and of the key (PKCS#8), as strings that the caller frees. */
char *pki_cert_pem(const struct pki *p);
char *pki_key_pem(const struct pki *p);

/* One string of two or more, all of which are freed; ends with NULL. */
char *pki_join(char *first, ...);

#endif
