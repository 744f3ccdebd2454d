/* bench/pki.h - keys and certificates for a measurement, ECDSA P-256 throughout, never for anything else.
 *
 * Whatever goes wrong here ends the program with a message: there is nothing to measure then. */
#ifndef BENCH_PKI_H
#define BENCH_PKI_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stddef.h>
#include <stdint.h>

/* "PROGRAM: WHAT: reason", and the end. code: of GnuTLS, or 0. */
_Noreturn void fail(const char *what, int code);

/* Writes ca.pem, ca.key, server.pem and server.key to the folder, and another pair of the same server, server-2. */
void pki_make(const char *dir);

/* crl.pem of that CA, by rename, with n certificates that nobody has. Each is newer than the ones before. */
void pki_crl(const char *dir, unsigned n);

/* One client key and n certificates on it, each different, each signed by the folder's CA. */
struct pki_pool {
	gnutls_privkey_t key;
	gnutls_pcert_st *certs;
	size_t n;
};
void pki_pool_init(struct pki_pool *p, const char *dir, size_t n);

#endif
