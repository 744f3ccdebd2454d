/* store/record.h - the text of a transaction: what the journal holds and every backend carries out.
 *
 * Lines of words; a word that may hold anything has space, '%' and controls written as %XX. A transaction is a sequence of:
 *
 *     T <id>                          its random id, 32 hexadecimal digits
 *     M <uid set>                     some were changed meanwhile and stay as they are: the answer is STORE_CONFLICT
 *     B <user> <key> <mailbox id>     the mailbox that index lines below belong to (store/index.h); "P1" makes it
 *     I <offset> <octets>             the next "+" has that part of the record's body
 *     F <name> <octets>               the next "+" has that file of <mail>/.tmp
 *     S <user> <key> <uid> <mailbox id>               the next "+" is a copy of that message
 *     X                               others did it: the next "+" is a file that is there already, and "=" and "-" until
 *                                     then are what was found; files stay as they are
 *     D <user> <key> <mailbox id>     the mailbox goes, with its messages
 *     R <user> <key> <new key> <mailbox id> <modseq>  it gets another name; modseq: of this transaction in it
 *     s <user> <key> <0 or 1>         subscribed or not
 *     V <space> <key> <version> <expires> <value>     a key's value; expires: seconds since 1970, 0: never
 *     v <space> <key> <version>                       it goes
 *     C <lsn>                         all records below are in the files for good
 *     Q <queue id> <received> <octets> <recipients> <sender> <parameters> <identity> <service>
 *                                     a message in the queue; "I" or "F" in front of it says where its body is, and
 *     r <queue id> <number> <next> <address> <parameters>     its recipients follow, numbered from 0
 *     q <queue id> <number> <attempt> <state> <next> <reply>  what an attempt came to; state: w d f x (store/queue.h)
 *     Z <queue id>                    all its recipients are done: it goes
 *
 * The id says which mailbox of that name is meant: one that was deleted, made again or renamed later has another, and
 * when the journal is carried out again, what was said about the old one must not touch the new. Order matters: a move has its "+" in front of its "-". */
#ifndef STORE_RECORD_H
#define STORE_RECORD_H

#include "util/buf.h"
#include "util/span.h"

#define RECORD_WORDS_MAX 8

struct record_line {
	char kind;            /* of an index line its first octet: P + = - k U L */
	bool index;           /* raw is a line of a mailbox's index, to be appended as it is */
	struct span raw;      /* with its end */
	struct span word[RECORD_WORDS_MAX]; /* still escaped */
	unsigned nwords;
};

/* Takes the next line from text. false: none is left, or (*bad_out) it is not one. Pure. */
bool record_next(struct span *text, struct record_line *out, bool *bad_out);

/* Adds a line: the kind and words, escaped. */
int record_put(struct buf *out, char kind, unsigned n, const struct span *words) PT_MUST_USE;

/* The word as it was, as a C string; false: it does not fit, or is not one. */
bool record_word(struct span word, char *out, size_t cap);
bool record_number(struct span word, uint64_t *v_out);

#endif
