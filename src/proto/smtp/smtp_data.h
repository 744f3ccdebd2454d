/* proto/smtp/smtp_data.h - the octets of a message as they stream past: its end, its dots, its lines
 * (RFC 5321 §4.1.1.4, §4.5.2; RFC 3030).
 *
 * Pure. Lines end in CRLF and in nothing else: a CR or LF alone never ends a line, never the message, and
 * spoils it. Where sender and receiver disagree on that, what one takes for text is the other's next
 * command (SMTP smuggling, CVE-2023-51764 and its kin). */
#ifndef PROTO_SMTP_SMTP_DATA_H
#define PROTO_SMTP_SMTP_DATA_H

#include "util/span.h"

/* Octets of a line of text with its CRLF, without a dot that was added (RFC 5321 §4.5.3.1.6). */
#define SMTP_TEXT_LINE_MAX 1000

/* What spoils a message; the first stays. */
enum smtp_spoilt {
	SMTP_SPOILT_NOT,
	SMTP_SPOILT_LF,
	SMTP_SPOILT_CR,
	SMTP_SPOILT_NUL,
	SMTP_SPOILT_LONG,
};

struct smtp_data {
	bool dots;       /* DATA: '.' alone ends it, and dots are stuffed; BDAT: they are text */
	uint8_t at;      /* where in a line */
	uint16_t line;   /* octets of this line so far; at most SMTP_TEXT_LINE_MAX + 1 */
	uint8_t spoilt;  /* enum smtp_spoilt */
};

enum smtp_data_step {
	SMTP_DATA_TEXT,      /* *text is text (may be empty); all of in, or what was used, is taken */
	SMTP_DATA_END,       /* CRLF '.' CRLF: the message is complete; in behind *used is not its */
	SMTP_DATA_AMBIGUOUS, /* '.' stood alone between line ends of which one was not CRLF: to others
			      * this is an end, to us it never is. What follows cannot be trusted. */
};

void smtp_data_init(struct smtp_data *d, bool dots);

/* Takes some of in (in.n > 0), *used > 0. *text is borrowed from in or static; it never ends in a CR: one at the
 * end of in comes with what follows it. */
enum smtp_data_step smtp_data_next(struct smtp_data *d, struct span in, struct span *text,
				   size_t *used);

/* BDAT: no more comes. A CR that stands alone at the end spoils it, too. */
void smtp_data_finish(struct smtp_data *d);

#endif
