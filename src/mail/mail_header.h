/* mail/mail_header.h - walks the header of a message as it streams past (RFC 5322 §2.2).
 *
 * Pure: text goes in as it comes, in pieces of any size, and comes out again at once, so that a header
 * of any length takes no memory. Only the beginning of a line is held back, until it is known to be a field:
 * so the caller can put fields of its own behind the last one, whether or not an empty line ends the
 * header. Lines must end in CRLF, and a CR must not be the last octet of a piece. */
#ifndef MAIL_MAIL_HEADER_H
#define MAIL_MAIL_HEADER_H

#include "util/span.h"

#define MAIL_HEADER_NAME_MAX 78 /* octets of a field's name with blanks before its ':'; longer is none */
#define MAIL_HEADER_WHO_MAX 4096 /* octets of the values of fields that say who sent it, together */
#define MAIL_HEADER_WHOS_MAX 32  /* of these fields */

/* Fields that are looked for. */
#define MAIL_FIELDS(X)                                                                             \
	X(RECEIVED, "received")                                                                    \
	X(FROM, "from")                                                                            \
	X(SENDER, "sender")                                                                        \
	X(RESENT_FROM, "resent-from")                                                              \
	X(RESENT_SENDER, "resent-sender")                                                          \
	X(DATE, "date")                                                                            \
	X(MESSAGE_ID, "message-id")

enum mail_field {
#define MAIL_FIELD_ENUM(id, name) MAIL_FIELD_##id,
	MAIL_FIELDS(MAIL_FIELD_ENUM)
#undef MAIL_FIELD_ENUM
	MAIL_FIELD_COUNT,
	MAIL_FIELD_OTHER = MAIL_FIELD_COUNT
};

struct mail_header {
	uint32_t count[MAIL_FIELD_COUNT]; /* how many of each so far */
	bool keeps_who;   /* set by the caller at the beginning: values of From, Sender, Resent-From and Resent-Sender */
	bool over;        /* the header has ended */
	bool who_long;    /* these were more than their maxima: some are not there */
	uint8_t at;       /* the walker's own: where in a line, */
	uint8_t field;    /* and of which field */
	bool any;         /* a field has been seen */
	uint8_t nheld;
	uint8_t held[MAIL_HEADER_NAME_MAX]; /* beginning of a line that may be no field */
	uint8_t told[MAIL_HEADER_NAME_MAX]; /* what was held and is given out */
	uint8_t nwho;
	uint16_t nkept;
	struct {
		uint8_t field;
		uint16_t end; /* of its value in kept; it begins where the one before ends */
	} who[MAIL_HEADER_WHOS_MAX];
	uint8_t kept[MAIL_HEADER_WHO_MAX]; /* unfolded */
};

void mail_header_init(struct mail_header *h, bool keeps_who);

/* The value of the i'th field (below nwho) that says who sent it, and which one that is. */
struct span mail_header_who(const struct mail_header *h, unsigned i, enum mail_field *field_out);

/* Walks over in, while the header is not over. *held is what was held back and is now known to be text of
 * the header (valid until the next call), *text the run of in behind it that is. What is neither is held
 * back, or stands behind the end.
 * true: the header is over; its last octets are *held and *text, and what follows, the empty line or what
 * is no field, begins with mail_header_rest() and goes on in in behind *used. */
bool mail_header_walk(struct mail_header *h, struct span in, struct span *held, struct span *text,
		      size_t *used);

/* Whether the last line is of a field and has no end yet: a message may end there. */
bool mail_header_open(const struct mail_header *h);

/* What is held back when the header is over, or the message with it. */
struct span mail_header_rest(const struct mail_header *h);

#endif
