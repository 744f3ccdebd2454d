/* util/diag.c - see diag.h. */
#include "util/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int
diag_set(struct diag *d, int rc, const char *fmt, ...)
{
	va_list ap;

	if (d == NULL)
		return rc;
	va_start(ap, fmt);
	vsnprintf(d->text, sizeof d->text, fmt, ap);
	va_end(ap);
	return rc;
}

void
diag_prefix(struct diag *d, const char *fmt, ...)
{
	char old[DIAG_MAX];
	va_list ap;
	int n;

	if (d == NULL)
		return;
	memcpy(old, d->text, sizeof old);
	va_start(ap, fmt);
	n = vsnprintf(d->text, sizeof d->text, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof d->text)
		snprintf(d->text + n, sizeof d->text - (size_t)n, ": %s", old);
}
