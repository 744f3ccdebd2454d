/* tls/tls_check.h - what an administrator should know of certificates that can be used all the same. */
#ifndef TLS_TLS_CHECK_H
#define TLS_TLS_CHECK_H

#include "tls/tls_cred.h"

#define TLS_CHECK_SOON_S (14 * 86400) /* a certificate that ends within that time is spoken of */

/* One warning; text is a sentence without the file's name, printable, borrowed. */
typedef void tls_check_f(void *arg, const char *text);

/* When the first certificate of a chain ends, seconds since 1970; 0: none can be read. */
uint64_t tls_chain_not_after(struct span pem);

/* A chain of the server, PEM, leaf first: has it expired or will it soon. now in seconds of the epoch. */
void tls_check_chain(struct span pem, uint64_t now, tls_check_f *f, void *arg);

/* The same chain: the leaf's issuer is not in it, and is no root among these CA files either, so a client
 * might lack it. */
void tls_check_chain_whole(struct span pem, const struct tls_ca_file *cas, size_t ncas, tls_check_f *f,
			   void *arg);

/* All chains of one set: they have RSA keys, and no other key is beside them for clients that can do better. */
void tls_check_cost(const struct tls_chain *chains, size_t n, tls_check_f *f, void *arg);

/* Chains of one name block: the leaf of none is for this host, as the configuration has it ("*.example.net": the
 * certificate must have that wildcard). */
void tls_check_host(const struct tls_chain *chains, size_t n, const char *host, tls_check_f *f, void *arg);

/* The certificates of a client-ca file: each is a CA and has not expired. */
void tls_check_cas(struct span pem, uint64_t now, tls_check_f *f, void *arg);

#endif
