/* proc/rec_log.h - what the log says of a connection that failed: the sentence of "postern why", with its code. */
#ifndef PROC_REC_LOG_H
#define PROC_REC_LOG_H

#include "rec/rec.h"
#include "rec/why_limit.h"

/* One line for r->code, which is not 0, unless its address has had enough of the same for now. limit NULL: no
 * limit. */
void rec_log(struct why_limit *limit, const struct rec *r);

/* A line for each address and code of which lines were left out, when their minute is over (all: whenever). */
void rec_log_left(struct why_limit *limit, uint64_t now_ms, bool all);

#endif
