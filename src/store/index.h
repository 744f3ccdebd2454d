/* store/index.h - a mailbox as text: one line for each change, read into an array of messages.
 *
 * The file `postern-index`, and what a cluster keeps in one object. Lines end in " ~" and the CRC-32C of what
 * stands before; MODSEQ is the number of the transaction in this mailbox and never falls:
 *
 *     P1 uidvalidity id created                       the first line
 *     + modseq uid guid size date flags base          a message; flags: letters of maildir_info(), "-" none, and
 *                                                     N: in new/, L: its file has bare LF line ends
 *     = modseq uid-set flags                          flags afterwards; from now on in cur/
 *     - modseq uid-set                                gone
 *     k modseq n keyword                              keyword n (0 to 25) has that name
 *     m modseq                                        it had another name until then
 *     U uidnext                                       no UID below is given again (written by a compaction)
 *     L modseq                                        what vanished up to here is no longer told
 *
 * The store reads and writes it, its clients only read. What others wrote is not believed: a line that is not right
 * ends the reading. Not thread safe. */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include "store/store_types.h"

#include "util/buf.h"
#include "util/span.h"

#define INDEX_FILE "postern-index"
#define INDEX_LINE_MAX 4096   /* octets of a line with its end */
#define INDEX_SET_MAX 3900    /* octets of a set of UIDs: longer ones take several lines */
#define INDEX_CRC 11          /* " ~12345678\n" */
#define INDEX_MESSAGES_MAX (16u << 20)

#define INDEX_NEW 1u /* store_msg.where: in new/ */
#define INDEX_LF 2u  /* its file has LF line ends: size is not the file's */

struct index {
	struct store_msg *msgs; /* owned, ascending by uid */
	uint32_t n, cap;
	uint32_t uidvalidity;   /* 0: no header yet */
	uint32_t uidnext;
	uint64_t modseq;        /* of the last line */
	uint64_t floor;         /* L */
	int64_t created;
	char id[33];
	char keywords[STORE_KEYWORDS_MAX][STORE_KEYWORD_MAX + 1]; /* "": free */
	uint32_t unseen, recent, deleted;
	uint64_t octets;        /* of the messages */
	uint64_t end;           /* octets of the log that were taken */
	uint32_t lines;
};

void index_init(struct index *x);
void index_fini(struct index *x);

/* One change, as a line is taken. seq: its number, for VANISHED the one that it had. */
typedef void index_change_f(void *arg, enum store_change_kind kind, uint32_t seq, uint32_t uid);

/* Takes whole lines from the front of text until one is cut, wrong, or max_lines were taken; f may be NULL. Returns the octets taken (x->end
 * has gone up by as much). 0 with *bad_out: the next line is there and wrong; without: it is not there yet.
 * *rc_out: PT_ENOMEM, otherwise 0. */
size_t index_feed(struct index *x, struct span text, uint32_t max_lines, index_change_f *f, void *arg,
		  bool *bad_out, int *rc_out);

/* The message's place in msgs, or the place of the next higher one; *found_out. */
uint32_t index_find(const struct index *x, uint32_t uid, bool *found_out);

/* The keyword's number, -1: none has that name (ASCII letters without case). */
int index_keyword(const struct index *x, struct span name);

/* May be a keyword: an atom (RFC 3501 §9) that does not begin with '\'. */
bool index_keyword_ok(struct span name);

void index_status(const struct index *x, struct store_status *out);

/* 32 hexadecimal digits and NUL. */
void index_guid(const struct store_msg *m, char out[33]);

/* The same mailbox in as few lines as it takes; text is the log that x was read from. 0, PT_EPROTO when it is not, PT_ETOOBIG,
 * PT_ENOMEM. */
int index_compact(const struct index *x, struct span text, struct buf *out) PT_MUST_USE;

/* --- lines: appended to out with their CRC; 0, PT_ETOOBIG, PT_ENOMEM --------------------------------- */

int index_put_header(struct buf *out, uint32_t uidvalidity, const char *id, int64_t created) PT_MUST_USE;

struct index_add {
	uint64_t modseq;
	uint32_t uid;
	uint32_t flags;
	uint8_t where;
	uint64_t size;
	int64_t date;
	const char *guid;
	struct span base;
};

int index_put_add(struct buf *out, const struct index_add *a) PT_MUST_USE;
int index_put_flags(struct buf *out, uint64_t modseq, struct span set, uint32_t flags) PT_MUST_USE;
int index_put_gone(struct buf *out, uint64_t modseq, struct span set) PT_MUST_USE;
int index_put_keyword(struct buf *out, uint64_t modseq, unsigned n, const char *name) PT_MUST_USE;
int index_put_moved(struct buf *out, uint64_t modseq) PT_MUST_USE;
int index_put_next(struct buf *out, uint32_t uidnext) PT_MUST_USE;
int index_put_floor(struct buf *out, uint64_t modseq) PT_MUST_USE;

/* --- a line taken apart ------------------------------------------------------------------------------ */

struct index_line {
	char kind;
	uint64_t modseq;     /* P, U: 0 */
	uint32_t uid;        /* + ; U: uidnext; P: uidvalidity; k: number */
	uint32_t flags;      /* + = */
	uint8_t where;       /* + */
	uint64_t size;       /* + */
	int64_t date;        /* + ; P: created */
	struct span guid;    /* + ; P: id */
	struct span text;    /* +: base; k: keyword; = -: set */
};

/* The line that text begins with. Returns its octets with the end; 0: cut, or (*bad_out) wrong. Pure. */
size_t index_line_parse(struct span text, struct index_line *out, bool *bad_out);

#endif
