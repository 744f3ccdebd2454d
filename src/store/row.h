/* store/row.h - what the store tells an operator, a row at a time: named fields, for whoever makes JSON or a table of them.
 *
 * On the wire each field is its kind ('s' text, 'n' number, 'b' yes or no), its name and its value, both ended by NUL;
 * a number in decimal, a truth as "1" or "0". Text is whatever names files have. Writer and reader allocate nothing
 * of their own but the buffer's memory. */
#ifndef STORE_ROW_H
#define STORE_ROW_H

#include "util/buf.h"
#include "util/span.h"

#include <stdbool.h>
#include <stdint.h>

#define ROW_MAX 8192 /* octets of a row: it travels in one frame */

/* Appends a field: 0, PT_ETOOBIG, PT_ENOMEM. */
int row_text(struct buf *row, const char *name, const char *value) PT_MUST_USE;
int row_number(struct buf *row, const char *name, uint64_t value) PT_MUST_USE;
int row_truth(struct buf *row, const char *name, bool value) PT_MUST_USE;

struct row_field {
	char kind;          /* 's', 'n', 'b' */
	const char *name;   /* borrow from the row */
	const char *value;
	uint64_t number;    /* of 'n' and 'b' */
};

/* Takes the next field. false: none is left, or (*bad_out) it is not one. Pure. */
bool row_next(struct span *row, struct row_field *out, bool *bad_out);

#endif
