/* auth/impersonate.h - who may act as whom: the table of "impersonate" in postern.conf(5).
 *
 * One user on a line (auth/lines.h), behind it those that he may act as, or "*" for every user:
 *
 *     admin@example.org    *
 *     backup@example.org   alice@example.org bob@example.org
 *
 * A user may always act as himself. */
#ifndef AUTH_IMPERSONATE_H
#define AUTH_IMPERSONATE_H

#include "util/buf.h"

#define IMPERSONATE_FILE_MAX (1024u * 1024) /* octets */
#define IMPERSONATE_FIELDS_MAX 256          /* of a line */

struct impersonate;

/* As users_parse(). */
int impersonate_parse(const char *name, struct span text, struct impersonate **out, struct buf *mistakes)
	PT_MUST_USE;
void impersonate_free(struct impersonate **i);

/* May who act as whom (both in normal form)? i may be NULL: only as himself. */
bool impersonate_allows(const struct impersonate *i, const char *who, const char *whom);

#endif
