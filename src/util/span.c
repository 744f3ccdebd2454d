/* util/span.c - comparing and printing borrowed octets. */
#include "util/span.h"

#include <string.h>

struct span
span_str(const char *s)
{
	return (struct span){ (const uint8_t *)s, strlen(s) };
}

bool
span_equal(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c; /* never by locale */
}

bool
span_is_nocase(struct span a, const char *s)
{
	size_t i;

	for (i = 0; i < a.n; i++)
		if (s[i] == '\0' || lower(a.p[i]) != lower((uint8_t)s[i]))
			return false;
	return s[i] == '\0';
}

const char *
span_print(struct span a, char *out, size_t cap)
{
	size_t i;

	for (i = 0; i < a.n && i + 1 < cap; i++)
		out[i] = a.p[i] >= 0x20 && a.p[i] < 0x7f ? (char)a.p[i] : '?';
	out[i] = '\0';
	return out;
}
