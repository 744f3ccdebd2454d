/* util/scan.h - numbers out of text: pure, no locale, overflow is an error. */
#ifndef UTIL_SCAN_H
#define UTIL_SCAN_H

#include "util/span.h"

/* The whole span is a decimal number without sign or leading '+'. false when it is not or does not
 * fit; *out is unchanged then. */
bool scan_u64(struct span s, uint64_t *out);

#endif
