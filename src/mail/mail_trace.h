/* mail/mail_trace.h - the fields that a server puts in front of a message (RFC 5321 §4.4), and those that
 * submission adds where they are missing (RFC 6409 §8).
 *
 * The functions append to out: 0, or PT_ENOMEM and PT_ETOOBIG from the buffer. Nothing that a peer said
 * can end a line in them or leave a comment. */
#ifndef MAIL_MAIL_TRACE_H
#define MAIL_MAIL_TRACE_H

#include "util/buf.h"

/* What Received says. Borrowed; NULL or empty where there is nothing to say. */
struct mail_trace {
	struct span helo;      /* what the client calls itself: a domain or literal */
	const char *address;   /* "192.0.2.1", "2001:db8::1" */
	const char *hostname;  /* ours */
	const char *with;      /* "ESMTPSA" (RFC 3848, RFC 6531 §4.3) */
	const char *id;
	struct span recipient; /* only where there is one: others must not learn of each other */
	const char *user;      /* who is logged in */
	const char *mechanism; /* and how: "certificate", "PLAIN" */
	const char *tls_suite; /* RFC 8314 §4.3 */
	const char *tls_group;
	const char *tls_version; /* "TLS1.3": a comment, as that clause has no room for it */
	bool utf8;             /* a field of this message may hold UTF-8 */
	int64_t now_s;
};

/* All of both together: each name that stands in them has a maximum of its own. */
#define MAIL_TRACE_MAX 4096

int mail_trace_return_path(struct buf *out, struct span sender) PT_MUST_USE;
int mail_trace_received(struct buf *out, const struct mail_trace *t) PT_MUST_USE;

/* Date and Message-ID (id and hostname make it unique), and From. */
int mail_trace_date(struct buf *out, int64_t now_s) PT_MUST_USE;
int mail_trace_message_id(struct buf *out, const char *id, const char *hostname) PT_MUST_USE;
int mail_trace_from(struct buf *out, struct span address) PT_MUST_USE;

#endif
