/* conf/conf_utf8.c - see conf_utf8.h. */
#include "conf/conf_utf8.h"

#include "util/utf8.h"

#include <string.h>

size_t
conf_utf8_text(const uint8_t *p, size_t n)
{
	return *p == '\t' ? 1 : utf8_printable_char((struct span){ p, n });
}

bool
conf_utf8_is_text(const char *s)
{
	size_t i, len, n = strlen(s);

	for (i = 0; i < n; i += len)
		if ((len = conf_utf8_text((const uint8_t *)s + i, n - i)) == 0)
			return false;
	return true;
}

int
conf_utf8_print(struct buf *out, const char *s)
{
	size_t i, len, n = strlen(s);
	int rc = 0;

	for (i = 0; i < n && rc == 0; i += len) {
		len = conf_utf8_text((const uint8_t *)s + i, n - i);
		rc = len > 0 ? buf_append(out, s + i, len) : buf_append(out, "?", 1);
		len = len > 0 ? len : 1;
	}
	return rc;
}
