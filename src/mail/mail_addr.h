/* mail/mail_addr.h - mailboxes and paths as SMTP writes them (RFC 5321 §4.1.2, RFC 6531 §3.3).
 *
 * Pure. What is read comes out in one canonical form, so that two ways to write an address are one
 * string: the local part without quotes where it needs none, with no needless backslash where it does; the
 * domain's ASCII letters in lower case, without a dot at its end; an address literal as it was written, in lower
 * case. IDNA is not done here: a domain in UTF-8 stays in UTF-8. */
#ifndef MAIL_MAIL_ADDR_H
#define MAIL_MAIL_ADDR_H

#include "util/span.h"

/* RFC 5321 §4.5.3.1 asks for 64, 255 and 256 at least, and for no limit where that can be had: bounce
 * addresses that carry the recipient's often have more than 64 in front of the '@'. */
#define MAIL_LOCAL_MAX 256  /* octets of a local part, canonical */
#define MAIL_DOMAIN_MAX 255 /* of a domain or literal */
#define MAIL_ADDR_MAX (MAIL_LOCAL_MAX + 1 + MAIL_DOMAIN_MAX)
#define MAIL_LABEL_MAX 63   /* of one label of a domain (RFC 1035 §2.3.4) */

enum mail_addr_rc {
	MAIL_ADDR_OK,
	MAIL_ADDR_SYNTAX,
	MAIL_ADDR_TOO_LONG, /* one of the maxima above */
	MAIL_ADDR_UTF8,     /* good, but it holds UTF-8, which was not allowed */
};

struct mail_addr {
	char text[MAIL_ADDR_MAX + 1]; /* canonical, ends in NUL; "" for the null path */
	uint16_t n;     /* octets of text */
	uint16_t local; /* octets of the local part; n when there is no domain (postmaster) */
	bool utf8;      /* octets outside ASCII stand in it */
	bool literal;   /* the domain is an address literal: [192.0.2.1] */
};

#define MAIL_ADDR_NULL 0x1u       /* <> is taken */
#define MAIL_ADDR_POSTMASTER 0x2u /* <postmaster>, without case, is taken without a domain */
#define MAIL_ADDR_ALLOW_UTF8 0x4u

/* A path at the beginning of in: '<', a source route, which is dropped (RFC 5321 §4.1.1.3), mailbox, '>'.
 * Fills *out and sets *used to the octets up to and with '>' when it is good, or when it is only that UTF-8
 * was not allowed. */
enum mail_addr_rc mail_path_read(struct span in, unsigned flags, struct mail_addr *out, size_t *used);

/* A mailbox that is all of in, without angle brackets. UTF-8 is allowed. */
enum mail_addr_rc mail_addr_read(struct span in, struct mail_addr *out);

/* The same from its two halves, decoded: a local part without quotes, and a domain or literal. */
enum mail_addr_rc mail_addr_make(struct span local, struct span domain, struct mail_addr *out);

/* Its parts: borrowed from a. The domain is empty where there is none. */
struct span mail_addr_text(const struct mail_addr *a);
struct span mail_addr_domain(const struct mail_addr *a);

/* A domain (no literal) that is all of in: labels of letters, digits, '-', '_' and UTF-8, at most
 * MAIL_DOMAIN_MAX octets; one dot at the end is taken. */
bool mail_domain_valid(struct span in);

/* An address literal with its brackets: an IPv4 or IPv6 address, "[192.0.2.1]", "[IPv6:2001:db8::1]". */
bool mail_literal_valid(struct span in);

#endif
