/* mail/normal.h - the one form in which domains and addresses are compared.
 *
 * A domain: NFC, lower case, A-labels (RFC 5890 §2.3), of letters, digits and inner hyphens. The local part
 * of an address: ASCII in lower case, other octets as they are; quotes that are not needed are taken off (RFC
 * 5321 §4.1.2). RFC 5321 §2.4 leaves it to the receiving host to tell local parts apart by case; nobody's
 * users expect two mailboxes there. Pure; the result is always at most that long. */
#ifndef MAIL_NORMAL_H
#define MAIL_NORMAL_H

#include "util/span.h"

#define NORMAL_LOCAL_MAX 64   /* octets of a local part: RFC 5321 §4.5.3.1.1 */
#define NORMAL_DOMAIN_MAX 256 /* octets of a domain with the NUL: §4.5.3.1.2 */
#define NORMAL_ADDRESS_MAX (NORMAL_LOCAL_MAX + 1 + NORMAL_DOMAIN_MAX)

/* false for what is no domain name, address literals included; out is "" then. */
bool normal_domain(struct span domain, char out[NORMAL_DOMAIN_MAX]);

/* "Alice@EXAMPLE.org" is "alice@example.org". false for what is no address of ours could be: no '@', a local part
 * that needs its quotes or is too long, a domain that is none; out is "" then. The local part that comes out has
 * no control character, blank, '/', special (RFC 5322 §3.2.3) but '.', and no dot at an end or beside another: it
 * may name a folder. */
bool normal_address(struct span address, char out[NORMAL_ADDRESS_MAX]);

#endif
