/* tls/tls_ticket.h - the keys that session tickets are sealed with (RFC 5077, RFC 8446 §4.6.1).
 *
 * One master key per installation, known to the parent and its workers; from it one key for each trust
 * domain, so that a ticket opens only where it was given: at the same service, with the same
 * client-certificate mode and the same set of CAs. CRLs, reloads and the server's own certificate are no
 * part of it: they do not end tickets, because every resumed session is judged again.
 *
 * The key of a domain is itself a master to GnuTLS: it derives the working key from it and the time
 * (SHA3-512), a new one every three lifetimes, and opens tickets of the present and the one before. So
 * equal keys and equal lifetimes interoperate between processes, starts and machines. */
#ifndef TLS_TLS_TICKET_H
#define TLS_TLS_TICKET_H

#include "tls/tls_cred.h"

#define TLS_TICKET_MASTER_SIZE 64 /* octets of the master key */
#define TLS_TICKET_KEY_SIZE 64    /* what GnuTLS takes; also HMAC-SHA512's output */
#define TLS_TICKET_LIFETIME_MAX_S 604800u /* seven days: RFC 8446 §4.6.1, and GnuTLS */
#define TLS_TICKET_WRAP_MAX 8192  /* octets of a ticket, and of a ClientHello, beside the client's chain */

/* Secret: wipe it. */
struct tls_ticket_key {
	uint8_t octets[TLS_TICKET_KEY_SIZE];
	uint32_t lifetime_s; /* from the full handshake on; resumptions do not prolong it */
};

/* The key of the domain of that service and credential set. sni: name of the block within it, "" for
 * none. lifetime_s: 1 to TLS_TICKET_LIFETIME_MAX_S. PT_EIO when the library refuses. */
int tls_ticket_key_derive(const uint8_t master[TLS_TICKET_MASTER_SIZE], const char *service, const char *sni,
			  const struct tls_cred *cred, uint32_t lifetime_s,
			  struct tls_ticket_key *key_out) PT_MUST_USE;

#endif
