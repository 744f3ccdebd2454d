/* util/base64.c - see base64.h. */
#include "util/base64.h"

#include <string.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int
base64_encode(struct buf *out, struct span in)
{
	uint32_t bits;
	char text[4];
	size_t i, n;
	int rc;

	for (i = 0; i < in.n; i += n) {
		n = in.n - i < 3 ? in.n - i : 3;
		bits = (uint32_t)in.p[i] << 16;
		bits |= n > 1 ? (uint32_t)in.p[i + 1] << 8 : 0;
		bits |= n > 2 ? in.p[i + 2] : 0;
		text[0] = letters[bits >> 18];
		text[1] = letters[bits >> 12 & 63];
		text[2] = n > 1 ? letters[bits >> 6 & 63] : '=';
		text[3] = n > 2 ? letters[bits & 63] : '=';
		if ((rc = buf_append(out, text, sizeof(text))) != 0)
			return rc;
	}
	return 0;
}

/* The six bits of a letter, 64 for what is none. */
static uint32_t
value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26u;
	if (c >= '0' && c <= '9')
		return c - '0' + 52u;
	return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/* Four letters that hold octets (1 to 3) octets. */
static bool
group(const uint8_t *p, size_t octets, uint8_t *out)
{
	uint32_t bits = 0, v;
	size_t i;

	for (i = 0; i < 4; i++) {
		v = i <= octets ? value(p[i]) : 0;
		if (v == 64 || (i > octets && p[i] != '='))
			return false;
		bits = bits << 6 | v;
	}
	if ((bits & ((1u << (24 - 8 * octets)) - 1)) != 0)
		return false; /* two texts for the same octets: a filter in front may see another */
	for (i = 0; i < octets; i++)
		out[i] = (uint8_t)(bits >> (16 - 8 * i));
	return true;
}

bool
base64_decode(struct span in, uint8_t *out, size_t cap, size_t *n)
{
	size_t i, octets;

	*n = 0;
	if (in.n % 4 != 0)
		return false;
	for (i = 0; i < in.n; i += 4) {
		octets = 3;
		if (i + 4 == in.n && in.p[i + 3] == '=')
			octets = in.p[i + 2] == '=' ? 1 : 2;
		if (cap - *n < octets || !group(in.p + i, octets, out + *n))
			return false;
		*n += octets;
	}
	return true;
}
