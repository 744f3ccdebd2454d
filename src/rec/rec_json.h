/* rec/rec_json.h - a checked record as a JSON object, for postern trace and postern why (postern(1) has its
 * members). */
#ifndef REC_REC_JSON_H
#define REC_REC_JSON_H

#include "rec/rec.h"

#include <jansson.h>

/* All that is known of a connection, from step number `from` on (0: all). New reference; NULL when out of
 * memory. */
json_t *rec_json(const struct rec *r, unsigned from);

/* The "why" of it: code, side, kind, sentence, what, next; null when nothing is wrong. New reference; NULL when
 * out of memory. */
json_t *rec_json_why(const struct rec *r);

#endif
