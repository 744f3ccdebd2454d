/* script/ask.h - the other side of an engine's questions (proto/ask.h): as words of a script, and back.
 *
 * Each message gets the same id and date, so that a script can say what stands in it. */
#ifndef SCRIPT_ASK_H
#define SCRIPT_ASK_H

#include "proto/ask.h"
#include "util/buf.h"

#define ASK_WORDS_MAX 4096
#define ASK_RECIPIENTS_MAX 1024
#define ASK_ID "1a2b3c"
#define ASK_NOW 1795798390 /* Fri, 27 Nov 2026 16:53:10 +0000 */

struct ask_script {
	struct buf body;   /* what the engine has put into the sink; stays when it is kept */
	size_t room;       /* what the sink takes at once */
	bool live;         /* a sink is with the engine */
	bool looked;       /* a step has read of this body */
	unsigned drops;    /* so far */
	unsigned told;     /* of these, known to the script */
	unsigned automatic; /* 1u << kind: answered "ok" by itself */
	bool notes;        /* notes are events, too */
	uint8_t data[ASK_WORDS_MAX]; /* of an answer */
	char user[ASK_WORDS_MAX];
	enum ask_result each[ASK_RECIPIENTS_MAX];
};

void ask_script_init(struct ask_script *s);
void ask_script_fini(struct ask_script *s);

/* "recipient bob@example.org", "sasl PLAIN AGEAYg==", "body <a@x> <b@y> size=5", "commit 417". Returns out. */
const char *ask_words(const struct ask *ask, char out[ASK_WORDS_MAX]);

/* "note recipient-refused 550 5.1.1 address=x@y". Returns out. */
const char *ask_note_words(const struct note *note, char out[ASK_WORDS_MAX]);

/* The answer that words mean: a result, and for sasl base64 or a user and base64; for sender a text; for commit as many
 * results as there are recipients, or one. false when they mean none. All in *out is s's. */
bool ask_answer(struct ask_script *s, enum ask_kind kind, const char *words, struct ask_reply *out);

/* "recipient sender body commit"; false when one is no kind. */
bool ask_automatic(struct ask_script *s, const char *words);

#endif
