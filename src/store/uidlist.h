/* store/uidlist.h - what Dovecot says of a Maildir, in `dovecot-uidlist` (version 3) and `dovecot-keywords`:
 *
 *     3 V<uidvalidity> N<next uid> G<guid of the mailbox>        the first line; fields in any order
 *     <uid> [<letter><value> ...] :<name of the file>            a message; the name with or without flags
 *
 *     <n> <keyword>                                              what the n-th small letter means, 0 for a
 *
 * `postern-keywords` has the same form. Whoever can write into the Maildir can write these: a line that is not right is
 * passed over, and nothing in a file is believed to be another one's. Pure; what is given out borrows from the text. */
#ifndef STORE_UIDLIST_H
#define STORE_UIDLIST_H

#include "store/store_types.h"

#include "util/span.h"

#define UIDLIST_FILE "dovecot-uidlist"
#define UIDLIST_KEYWORDS_FILE "dovecot-keywords"

struct uidlist_head {
	uint32_t uidvalidity; /* 0: not said */
	uint32_t uidnext;     /* 0: not said */
};

/* Takes the first line. false: not a list of version 3, and nothing in it can be used. */
bool uidlist_begin(struct span *text, struct uidlist_head *out);

struct uidlist_entry {
	uint32_t uid;     /* 1 to UINT32_MAX - 1 */
	struct span name; /* not empty; may be anything, as no file has been looked at */
};

/* Takes the next message; a last line without its end is none. false: there is no other. */
bool uidlist_next(struct span *text, struct uidlist_entry *out);

/* Takes the next keyword: its letter's number (below STORE_KEYWORDS_MAX) and its name (index_keyword_ok()). */
bool uidlist_keyword(struct span *text, unsigned *n_out, struct span *name_out);

/* All of a file's keywords, those that have no name yet; of two lines for one letter the last counts. */
void uidlist_keywords(struct span text, char keywords[STORE_KEYWORDS_MAX][STORE_KEYWORD_MAX + 1]);

#endif
