/* script/script.h - a conversation script as a list of steps (README.md has the format).
 *
 * Reading knows the words and the escapes, nothing of engines. */
#ifndef SCRIPT_SCRIPT_H
#define SCRIPT_SCRIPT_H

#include "util/diag.h"
#include "util/span.h"

#define SCRIPT_FILE_MAX (256 * 1024) /* octets of a script */
#define SCRIPT_STEPS_MAX 1000
#define SCRIPT_TEXT_MAX (1024 * 1024) /* octets of one step with its repeats written out */

#define SCRIPT_STEPS(X)                                                                            \
	X(CLIENT, "C:", LINE)                                                                      \
	X(CLIENT_RAW, "C*", RAW)                                                                   \
	X(CLIENT_WHOLE, "C!", RAW)                                                                 \
	X(CLIENT_REFUSED, "C-", RAW)                                                               \
	X(SERVER, "S:", PLAIN)                                                                     \
	X(SERVER_RAW, "S*", RAW)                                                                   \
	X(SERVER_ALL, "S+", PLAIN)                                                                 \
	X(SERVER_LIKE, "S~", PLAIN)                                                                \
	X(BODY, "B:", PLAIN)                                                                       \
	X(BODY_RAW, "B*", RAW)                                                                     \
	X(BODY_LIKE, "B~", PLAIN)                                                                  \
	X(SINK, "sink", WORDS)                                                                     \
	X(AUTO, "auto", WORDS)                                                                     \
	X(NOTES, "notes", WORDS)                                                                   \
	X(PROTOCOL, "protocol", WORDS)                                                             \
	X(CONF, "conf", WORDS)                                                                     \
	X(OFFER, "offer", WORDS)                                                                   \
	X(PEER, "peer", WORDS)                                                                     \
	X(START, "start", WORDS)                                                                   \
	X(EVENT, "event", WORDS)                                                                   \
	X(WAIT, "wait", WORDS)                                                                     \
	X(END_OF_INPUT, "end-of-input", WORDS)                                                     \
	X(BYE, "bye", WORDS)                                                                       \
	X(SERVER_OCTETS, "S=", RAW)                                                                \
	X(PROGRAM_LINE, "P:", LINE)                                                                \
	X(PROGRAM_RAW, "P*", RAW)                                                                  \
	X(PROGRAM_INPUT, "I*", RAW)                                                                \
	X(PROGRAM, "program", WORDS)

enum script_verb {
#define SCRIPT_VERB_ENUM(name, word, how) SCRIPT_V_##name,
	SCRIPT_STEPS(SCRIPT_VERB_ENUM)
#undef SCRIPT_VERB_ENUM
	SCRIPT_V_COUNT
};

struct step {
	enum script_verb verb;
	unsigned line;
	char *text; /* owned; what stands behind the verb, escapes written out; ends in NUL */
	size_t len; /* octets of text without that NUL: escapes may have made others */
};

struct script {
	const char *path; /* borrowed */
	struct step *steps;
	size_t n;
	/* of a comment "# fails at LINE: TEXT", what a script that must fail says: */
	unsigned fails_line;
	char *fails_text; /* owned; NULL where there is none */
};

/* Reads the file. 0, or PT_EIO, PT_EINVAL and so on with "file:line: what is wrong" in diag. */
int script_read(struct script *s, const char *path, struct diag *diag) PT_MUST_USE;

void script_fini(struct script *s);

#endif
