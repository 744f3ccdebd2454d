/* tls/tls_impl.h - what the files of tls/ share; nobody else includes it. */
#ifndef TLS_TLS_IMPL_H
#define TLS_TLS_IMPL_H

#include "tls/tls_cred.h"
#include "tls/tls_fault.h"
#include "tls/tls_hello.h"
#include "tls/tls_vcache.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

struct tls_from {
	bool within;                    /* client-ca has all its CAs; otherwise its rule does not apply */
	bool all;                       /* and no other: nothing to look up */
	gnutls_x509_trust_list_t trust; /* within, but not all: its CAs alone */
};

#define TLS_SHA256_SIZE 32

/* A CA of client-ca, by its digest, and the time (seconds since 1970) in which it is valid. */
struct tls_ca {
	uint8_t digest[TLS_SHA256_SIZE];
	uint8_t name[TLS_SHA256_SIZE]; /* of its subject */
	int64_t from_s, until_s;
};

#define TLS_TICKET_NAMES 16u /* of the present key and the one before of some services */

/* CAs of one name: a key that was renewed. GnuTLS takes one of them as the issuer of a certificate that has no
 * authorityKeyIdentifier, and does not try another. So each set of alternatives has one of every such name. */
#define TLS_TWINS_MAX 8

struct tls_ocsp;

struct tls_cred {
	unsigned refs;
	uint64_t generation;
	enum tls_client_cert client_cert;
	gnutls_certificate_credentials_t x509;
	gnutls_priority_t priority;
	unsigned nchains; /* in x509 */
	struct tls_ocsp *ocsps; /* room for TLS_OCSPS_MAX; NULL: none configured */
	size_t nocsps;
	struct tls_from froms[TLS_FROM_MAX];
	size_t nfroms;
	gnutls_certificate_credentials_t twins[TLS_TWINS_MAX]; /* CAs alone, of different names */
	size_t ntwins;                     /* 0: all have names of their own */
	size_t ncas;
	struct tls_ca *cas;                /* ncas of them, by digest */
	uint8_t ca_set[TLS_SHA256_SIZE];   /* of their digests, each once: the same in any order */
	uint8_t chains[TLS_SHA256_SIZE];   /* of our own certificates and the numbers of their keys */
	struct tls_vcache *known;          /* chains that were verified with these CAs */
	struct tls_crl_set *crls; /* NULL: none configured */
	/* of the last tickets that were given with it: for which key, and by which name of it */
	struct tls_ticket_name {
		uint64_t tag;
		uint8_t name[TLS_TICKET_NAME_SIZE];
	} ticket_names[TLS_TICKET_NAMES];
	unsigned nticket_names; /* ever noted */
	tls_sign_f *sign;
	void *sign_arg;
	tls_gone_f *gone;
	void *gone_arg;
};

/* tls_fault.c: what an error of the library means. ended: the transport has nothing more to read. */
enum tls_fault tls_fault_of(int code, bool ended);

#endif
