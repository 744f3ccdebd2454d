/* util/diag.h - the text for people that travels beside a result code.
 *
 * Filled where the cause is known (file, line, name); each caller may put context in front; who
 * handles the failure logs it, once. */
#ifndef UTIL_DIAG_H
#define UTIL_DIAG_H

#include "util/err.h"

#define DIAG_MAX 1024 /* octets with the NUL; longer text is cut */

struct diag {
	char text[DIAG_MAX];
};

/* Replaces the text. d may be NULL: then nothing happens. Returns rc, so that
 * "return diag_set(diag, PT_EIO, ...)" reads as one step. */
int diag_set(struct diag *d, int rc, const char *fmt, ...) PT_PRINTF(3, 4);

/* Puts "fmt: " in front of the text. d may be NULL. */
void diag_prefix(struct diag *d, const char *fmt, ...) PT_PRINTF(2, 3);

#endif
