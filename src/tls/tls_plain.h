/* tls/tls_plain.h - the names of a certificate where they have their usual form; within tls/ only.
 *
 * GnuTLS builds a tree for each name that it reads, which costs as much as a signature; where a name is plain, the
 * same text is a copy. "Plain" is drawn so narrowly that there is one way to read it. All else is GnuTLS's to
 * read, and what it says of a plain name is the same. Pure, no allocation. */
#ifndef TLS_TLS_PLAIN_H
#define TLS_TLS_PLAIN_H

#include "util/err.h"
#include "util/span.h"

/* A distinguished name (whole element) in words (RFC 4514), no NUL behind it: at most max octets. False, with anything
 * in out, when it is not plain: more than one attribute in a part, an attribute or a kind of string that
 * is rare, a character that is escaped or not printable, no parts or too many, or longer than max. */
bool plain_dn(struct span name, char *out, size_t max, size_t *n_out);

/* A subjectAltName: GNUTLS_SAN_RFC822NAME, _DNSNAME, _URI or _IPADDRESS. */
struct plain_san {
	int type;
	struct span name; /* borrowed */
};

/* All of the extension's value. False when they are not plain: any of another type, a text that is empty or has
 * anything but printable ASCII in it, an address of a length that none has, none at all, or more than max. */
bool plain_sans(struct span value, struct plain_san *out, size_t max, size_t *n_out);

#endif
