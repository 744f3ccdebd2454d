/* conf/conf_utf8.c - see conf_utf8.h. */
#include "conf/conf_utf8.h"

#include <string.h>

/* RFC 3629 section 4, row by row: lead octets, and what the second octet may be. That refuses
 * overlong forms, surrogates and what lies above U+10FFFF; C2 80..9F are the C1 controls. */
static const struct row {
	uint8_t lead_min, lead_max, second_min, second_max, len;
} rows[] = {
	{ 0x20, 0x7e, 0x00, 0x00, 1 }, { 0x09, 0x09, 0x00, 0x00, 1 },
	{ 0xc2, 0xc2, 0xa0, 0xbf, 2 }, { 0xc3, 0xdf, 0x80, 0xbf, 2 },
	{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
	{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
	{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
	{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
};

size_t
conf_utf8_text(const uint8_t *p, size_t n)
{
	const struct row *r;
	size_t i;

	for (r = rows; r < rows + PT_COUNT(rows); r++)
		if (p[0] >= r->lead_min && p[0] <= r->lead_max)
			break;
	if (r == rows + PT_COUNT(rows) || n < r->len)
		return 0;
	if (r->len > 1 && (p[1] < r->second_min || p[1] > r->second_max))
		return 0;
	for (i = 2; i < r->len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return r->len;
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
