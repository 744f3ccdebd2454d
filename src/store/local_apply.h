/* store/local_apply.h - for the files that carry a transaction out (local_apply.c, local_place.c, local_claim.c, local_whole.c), and nobody
 * else: one run of one job, in its thread.
 *
 * Everything can be done twice: after a crash the whole journal is done again, in order, whatever of it had reached
 * the disk. Then contents are written over what may be garbage (in place: a copy may share the file), files are found under
 * whatever name they have by now, and index lines that are there are not written again.
 *
 * All return 0, PT_ENOENT where somebody took something away, PT_EFULL, PT_EIO, PT_ENOMEM, unless it says otherwise. */
#ifndef STORE_LOCAL_APPLY_H
#define STORE_LOCAL_APPLY_H

#include "store/local.h"

#include "store/maildir.h"
#include "store/record.h"

#define PATH_ROOM (MAILDIR_NAME_MAX + 5)

/* Where the next "+" gets its file. */
enum source { SOURCE_NONE, SOURCE_BODY, SOURCE_FILE, SOURCE_COPY, SOURCE_THERE };

struct run {
	struct local *l;
	struct apply_job *aj;
	bool replay;
	struct box *box; /* of the lines */
	struct span box_id;
	bool skip;       /* replay: the mailbox is gone by now, or another one */
	bool files_only; /* replay: its index is lost; the next look at it makes one from the files */
	struct buf out;  /* lines for its index */
	size_t hint;
	enum source source;
	uint64_t off, octets;
	char file[64];
	struct box *from;
	uint32_t from_uid;
	struct span from_id;
};

/* --- local_apply.c ------------------------------------------------------------------------------------------ */

/* That of the job with this name: it has all boxes of its lines. */
struct box *box_of(struct run *r, struct span user, struct span key);

/* --- local_place.c: a message's file ------------------------------------------------------------------------ */

/* The hint that goes with the next UID; NULL: a replay has none. */
const struct store_hint *next_hint(struct run *r, uint32_t uid);
/* A line "+": its file, from r->source, which is SOURCE_NONE then. */
int add_message(struct run *r, const struct index_line *x) PT_MUST_USE;
/* A line "=" or "-". */
int each_of_set(struct run *r, const struct index_line *x) PT_MUST_USE;

/* --- local_claim.c: replay: which file is which message -------------------------------------------------------- */

/* Before the first line for a box: what is in the index, and which files are there. */
int prepare_replay(struct run *r, struct box *b) PT_MUST_USE;
/* Its index begins: what files have for a UID was given by others, or in the mailbox that will have this name later. */
void claim_none(struct box *b);
/* From now on the UID means that name. A file that others brought may have any U= of its own. */
void claim(struct box *b, const struct index_line *x);
/* Whether the mailbox is still the one that a line is about. */
bool is_same_box(struct run *r, struct box *b, struct span id);

/* --- local_whole.c: lines "D" and "R" --------------------------------------------------------------------------- */

/* May say APPLY_WAITS. */
int delete_box(struct run *r, const struct record_line *line) PT_MUST_USE;
int rename_box(struct run *r, const struct record_line *line) PT_MUST_USE;

#endif
