/* util/utf8.c - one decoder, table of leading octets as in RFC 3629 §4. */
#include "util/utf8.h"

/* Octets of the well-formed character at p (n > 0 octets are there), 0 for none. Its code point
 * goes to *c. */
static size_t
decode(const uint8_t *p, size_t n, uint32_t *c)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 }; /* less is overlong */
	size_t len, i;

	if (p[0] < 0x80) {
		*c = p[0];
		return 1;
	}
	len = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	if (len == 0 || n < len)
		return 0;
	*c = p[0] & (0x7fu >> len);
	for (i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (p[i] & 0x3f);
	}
	if (*c < least[len] || *c > 0x10ffff || (*c >= 0xd800 && *c <= 0xdfff))
		return 0;
	return len;
}

size_t
utf8_printable_char(struct span s)
{
	uint32_t c;
	size_t n;

	if (s.n == 0 || (n = decode(s.p, s.n, &c)) == 0)
		return 0;
	return c < 0x20 || (c >= 0x7f && c < 0xa0) ? 0 : n;
}

bool
utf8_printable(struct span s)
{
	size_t i, n;

	for (i = 0; i < s.n; i += n)
		if ((n = utf8_printable_char((struct span){ s.p + i, s.n - i })) == 0)
			return false;
	return true;
}

struct span
utf8_cut(struct span s, size_t max)
{
	size_t back;

	if (s.n <= max)
		return s;
	s.n = max;
	/* a character has at most three octets behind its first */
	for (back = 0; back < 3 && back < max && (s.p[max - back] & 0xc0) == 0x80; back++)
		;
	if ((s.p[max - back] & 0xc0) == 0xc0)
		s.n = max - back;
	return s;
}
