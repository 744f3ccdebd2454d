/* rec/why.h - why a connection or a login failed: from a record's facts to a code, and from a code to a sentence.
 *
 * Pure. The worker that meets the end calls why_judge() once and writes the code into the record, so that the log and
 * "postern why" say the same; words are made from the table in why_list.h by whoever shows them. */
#ifndef REC_WHY_H
#define REC_WHY_H

#include "rec/rec.h"
#include "rec/why_list.h"
#include "util/buf.h"

enum why_code {
	WHY_NOTHING, /* nothing is wrong */
#define WHY_ENUM(name, word, side, kind, level, what, next) WHY_##name,
	WHY_LIST(WHY_ENUM)
#undef WHY_ENUM
	WHY_COUNT
};

enum why_side { WHY_CLIENT, WHY_SERVER, WHY_NETWORK, WHY_NOBODY };

/* In the order in which they matter: of two on one connection the later of these counts. */
enum why_kind { WHY_NOTE, WHY_ENDED, WHY_LOGIN, WHY_FAILED };

struct why {
	const char *word;      /* "certificate-expired" */
	enum why_side side;
	enum why_kind kind;
	int level;             /* enum log_level */
	const char *what, *next; /* templates */
};

/* "client", "server", "network", "nobody". */
const char *why_side_word(enum why_side side);

/* The row of a code, below WHY_COUNT and not 0. */
const struct why *why_row(enum why_code code);

/* Which row the facts of the record lead to; what is in code is not looked at. */
enum why_code why_judge(const struct rec *r);

/* The kind of what befell this connection: a row that ends one may be only a LOGIN where the session went on. */
enum why_kind why_kind(const struct rec *r);
const char *why_kind_word(enum why_kind kind);

/* Append texts for r->code, which is not 0. why_sentence_put(): "WHAT; NEXT."; the others one part of it, without
 * a period. PT_ENOMEM, PT_ETOOBIG. */
int why_what_put(const struct rec *r, struct buf *out) PT_MUST_USE;
int why_next_put(const struct rec *r, struct buf *out) PT_MUST_USE;
int why_sentence_put(const struct rec *r, struct buf *out) PT_MUST_USE;

#define WHY_SENTENCE_MAX 2048 /* octets of a sentence with all that is put in */

/* "12 minutes", "3 days", "6 years": the largest unit of which there are two, else one of it. */
#define WHY_SPAN_MAX 32
const char *why_span_text(uint64_t seconds, char out[WHY_SPAN_MAX]);

/* "1 February 2020"; UTC. */
#define WHY_DATE_MAX 40
const char *why_date_text(int64_t seconds, char out[WHY_DATE_MAX]);

/* One name that stands in braces in the table, and what is put there; NULL behind the last. */
struct why_word {
	const char *name, *help;
};
const struct why_word *why_word(unsigned i);

#endif
