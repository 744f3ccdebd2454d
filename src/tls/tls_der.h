/* tls/tls_der.h - as much DER (X.690) as is needed to walk a certificate and a revocation list; within
 * tls/ only. Pure: no allocation, and what comes out borrows from what went in. */
#ifndef TLS_TLS_DER_H
#define TLS_TLS_DER_H

#include "util/err.h"
#include "util/span.h"

#define DER_INTEGER 0x02
#define DER_BIT_STRING 0x03
#define DER_OCTET_STRING 0x04
#define DER_OID 0x06
#define DER_UTC_TIME 0x17
#define DER_GENERALIZED_TIME 0x18
#define DER_SEQUENCE 0x30
#define DER_HEADER_MAX 6 /* octets of tag and length as der_header() writes them */

struct der {
	uint8_t tag;
	struct span content;
	struct span whole; /* with tag and length */
};

/* Takes the next element from in; false, with nothing taken, when there is none or it is broken. */
bool der_next(struct span *in, struct der *out);

/* The same for an element that must have this tag. */
bool der_take(struct span *in, uint8_t tag, struct der *out);

/* Writes tag and length of an element of n octets (below 4 GiB); how many octets that took. */
size_t der_header(uint8_t tag, size_t n, uint8_t out[DER_HEADER_MAX]);

/* A serial number without the octets in front that are 0: one number, one form. */
struct span der_serial(struct span content);

/* Parts of a certificate (RFC 5280 §4.1). Names are whole elements. */
struct der_crt {
	struct span serial, issuer, subject;
	struct span validity; /* content: for der_time(), twice */
	struct span rest;     /* behind the subject: for der_crt_extension() */
};
bool der_crt_read(struct span der, struct der_crt *out);

/* The value of the first extension with this OID (content of its element); false: none, or broken. */
bool der_crt_extension(const struct der_crt *crt, struct span oid, struct span *value_out);

/* Takes a time as certificates have it, to the second and in UTC (RFC 5280 §4.1.2.5): seconds since 1970. False, with
 * nothing taken, for any other form. */
bool der_time(struct span *in, int64_t *seconds_out);

/* The parts of a revocation list (RFC 5280 §5.1). */
struct der_crl {
	struct span tbs;       /* what is signed, whole */
	struct span head;      /* within it: all before the entries, */
	struct span entries;   /* their list, content; empty when there is none, */
	struct span tail;      /* and all behind them */
	struct span signature; /* octets of the BIT STRING */
	struct span rest;      /* of the outer sequence behind tbs */
};
bool der_crl_read(struct span der, struct der_crl *out);

/* Takes the next entry of a list; the date of the revocation is for der_time(). bad: it is broken, or has an extension that must be understood (critical, or
 * certificateIssuer, which makes a list indirect: RFC 5280 §5.3). */
enum der_entry { DER_ENTRY_OK, DER_ENTRY_END, DER_ENTRY_BAD };
enum der_entry der_crl_entry(struct span *entries, struct span *serial_out, struct span *date_out);

#endif
