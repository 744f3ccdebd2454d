/* proto/smtp/smtp_cmd.h - one line of SMTP taken apart (RFC 5321 §4.1, RFC 2033 §4.1).
 *
 * Pure: no allocation, no session, nothing written to the input. */
#ifndef PROTO_SMTP_SMTP_CMD_H
#define PROTO_SMTP_SMTP_CMD_H

#include "mail/mail_addr.h"

/* Octets of a command with its CRLF: 512 (RFC 5321 §4.5.3.1.4), 26 for SIZE (RFC 1870 §3), 17 for BODY
 * (RFC 6152 §2), 500 for AUTH (RFC 4954 §3), 10 for SMTPUTF8 (RFC 6531 §3.4), longer paths, and some more. */
#define SMTP_LINE_MAX 2048
/* Of AUTH and of the lines that answer a challenge (RFC 4954 §4). */
#define SMTP_AUTH_LINE_MAX 12288

#define SMTP_VERBS(X)                                                                              \
	X(AUTH) X(BDAT) X(DATA) X(EHLO) X(EXPN) X(HELO) X(HELP) X(LHLO) X(MAIL) X(NOOP) X(QUIT)    \
	X(RCPT) X(RSET) X(STARTTLS) X(VRFY)

enum smtp_verb {
#define SMTP_VERB_ENUM(name) SMTP_V_##name,
	SMTP_VERBS(SMTP_VERB_ENUM)
#undef SMTP_VERB_ENUM
	SMTP_V_COUNT,
	SMTP_V_UNKNOWN = SMTP_V_COUNT
};

enum smtp_parse {
	SMTP_PARSE_MORE, /* no decision yet: offer again with more behind it */
	SMTP_PARSE_OK,   /* a line; its verb may still be unknown */
	SMTP_PARSE_BAD,  /* no line of this protocol */
};

enum smtp_bad {
	SMTP_BAD_LF,    /* LF without CR before it */
	SMTP_BAD_CR,    /* CR without LF behind it */
	SMTP_BAD_NUL,
	SMTP_BAD_LONG,  /* its maximum of octets without an end */
	SMTP_BAD_TEXT,  /* not UTF-8, or control characters */
	SMTP_BAD_EMPTY, /* nothing but CRLF */
};

struct smtp_line {
	struct span text; /* without CRLF */
	/* of SMTP_PARSE_BAD: */
	enum smtp_bad bad;
	bool open; /* the line has not ended: skip up to its LF */
};

struct smtp_cmd {
	struct smtp_line line;
	enum smtp_verb verb;
	struct span word; /* the verb as it was typed */
	bool has_arg;     /* something stands behind the word */
	struct span arg;  /* without blanks at its ends */
};

/* Reads one line of at most max octets at buf. SMTP_PARSE_MORE: *used is 0, and len < max.
 * SMTP_PARSE_OK: *used is the line with its CRLF; spans are borrowed from buf. SMTP_PARSE_BAD: *used
 * octets (> 0) belong to the bad line. A bad octet is reported as soon as it is there. */
enum smtp_parse smtp_line_parse(const uint8_t *buf, size_t len, size_t max, struct smtp_line *line,
				size_t *used);

/* The same for a command, whose maximum goes by its verb. */
enum smtp_parse smtp_cmd_parse(const uint8_t *buf, size_t len, struct smtp_cmd *cmd, size_t *used);

/* Takes the next ESMTP parameter off the front of *rest (RFC 5321 §4.1.2 Mail-parameters): "KEY" or
 * "KEY=value", between blanks. value.p is NULL where there is no '='. */
enum smtp_param {
	SMTP_PARAM_OK,
	SMTP_PARAM_END,
	SMTP_PARAM_BAD,
};
enum smtp_param smtp_param_next(struct span *rest, struct span *key, struct span *value);

/* "n" or "n LAST" of BDAT (RFC 3030 §2). SMTP_BDAT_HUGE: a number that is none of ours; neither of these says how many
 * octets follow the line. */
enum smtp_bdat {
	SMTP_BDAT_OK,
	SMTP_BDAT_HUGE,
	SMTP_BDAT_BAD,
};
enum smtp_bdat smtp_bdat_read(struct span arg, uint64_t *octets, bool *last);

/* Whether a line, or its beginning, is meant as BDAT. */
bool smtp_is_bdat(struct span line);

/* The name behind EHLO, HELO or LHLO: a domain or an address literal; what many clients send instead of a
 * domain (with '_', or no dot in it) is taken. */
bool smtp_helo_valid(struct span arg);

/* "mechanism" or "mechanism initial-response" of AUTH. initial.p is NULL where there is none. */
bool smtp_auth_read(struct span arg, struct span *mechanism, struct span *initial);

#endif
