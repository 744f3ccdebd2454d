/* tls/tls_hello.h - what a ClientHello offers (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2), as far as it helps to say
 * why a handshake did not come about. Pure: no allocation, spans borrow from the message. */
#ifndef TLS_TLS_HELLO_H
#define TLS_TLS_HELLO_H

#include "util/span.h"

/* Versions by rank, so that they compare. 0: none, or none that we know. */
#define TLS_RANK_SSL30 1u
#define TLS_RANK_10 2u
#define TLS_RANK_11 3u
#define TLS_RANK_12 4u
#define TLS_RANK_13 5u
#define TLS_RANK_COUNT 6u

#define TLS_TICKET_NAME_SIZE 16 /* octets in front of every ticket of ours: which key sealed it */

struct tls_hello {
	uint8_t version_min, version_max; /* ranks */
	uint16_t suites;                  /* cipher suites offered, those of no meaning (RFC 8701, 5746, 7507) left out */
	uint16_t suites_known;            /* of them, those that our own priorities have (tls_cred.c) */
	uint16_t groups, groups_known;    /* the same of key exchange groups */
	bool has_ticket;                  /* a ticket that is not empty, of TLS 1.2 or 1.3 */
	struct span ticket;               /* the first one */
	struct span sni;                  /* host_name of RFC 6066 §3; n 0: none */
	struct span alpn;                 /* the first protocol (RFC 7301) */
};

/* msg: the message's body, without its header of 4 octets. False: it cannot be read; what was found before is in
 * *out all the same. */
bool tls_hello_read(struct span msg, struct tls_hello *out);

/* The first ticket of a NewSessionTicket's body; minor 2 or 3. n 0: none, or not to be read. */
struct span tls_hello_new_ticket(struct span msg, unsigned minor);

#endif
