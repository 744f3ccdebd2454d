/* proto/line/line_cmd.h - one line of the line protocol taken apart (doc/line.md §3).
 *
 * Pure: no allocation, no session, nothing written to the input. */
#ifndef PROTO_LINE_LINE_CMD_H
#define PROTO_LINE_LINE_CMD_H

#include "util/span.h"

/* Octets of a line with its CRLF: as much as RFC 5804 §4 lets stand in quotes. */
#define LINE_LINE_MAX 1024

#define LINE_VERBS(X) X(CAPABILITY) X(ECHO) X(HELP) X(NOOP) X(QUIT) X(STARTTLS) X(WHOAMI)

enum line_verb {
#define LINE_VERB_ENUM(name) LINE_V_##name,
	LINE_VERBS(LINE_VERB_ENUM)
#undef LINE_VERB_ENUM
	LINE_V_COUNT,
	LINE_V_UNKNOWN = LINE_V_COUNT
};

enum line_parse {
	LINE_PARSE_MORE, /* no decision yet: offer again with more behind it */
	LINE_PARSE_OK,   /* a line; its verb may still be unknown */
	LINE_PARSE_BAD,  /* no line of this protocol */
};

enum line_bad {
	LINE_BAD_LF,    /* LF without CR before it */
	LINE_BAD_CR,    /* CR without LF behind it */
	LINE_BAD_NUL,
	LINE_BAD_LONG,  /* LINE_LINE_MAX octets without an end */
	LINE_BAD_TEXT,  /* not UTF-8, or control characters */
	LINE_BAD_EMPTY, /* nothing but CRLF */
};

struct line_cmd {
	enum line_verb verb;
	struct span word; /* the verb as it was typed */
	bool has_arg;     /* a space stands behind the word */
	struct span arg;  /* all octets between that space and CRLF */
	/* of LINE_PARSE_BAD: */
	enum line_bad bad;
	bool open; /* the line has not ended: skip up to its LF */
};

/* Reads one line at buf. LINE_PARSE_MORE: *used is 0, and len < LINE_LINE_MAX. LINE_PARSE_OK: *used
 * is the line with its CRLF; the spans in *cmd are borrowed from buf. LINE_PARSE_BAD: *used octets
 * (> 0) belong to the bad line; cmd->bad and cmd->open tell the rest. A bad octet is reported as
 * soon as it is there, without waiting for the end of its line. */
enum line_parse line_cmd_parse(const uint8_t *buf, size_t len, struct line_cmd *cmd, size_t *used);

/* LINE_V_UNKNOWN when there is none of this name; letters are compared without case. */
enum line_verb line_verb_find(struct span word);

/* A string argument (doc/line.md §3): a bare word, or a quoted string (RFC 5804 §4: "\" before
 * "\" and '"'). Copies what it means to out (cap octets, no NUL) and its length to *n. false when
 * arg is neither or does not fit. */
bool line_string_read(struct span arg, uint8_t *out, size_t cap, size_t *n);

#endif
