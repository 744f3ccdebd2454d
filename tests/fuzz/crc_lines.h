/* fuzz/crc_lines.h - text in which each line has the CRC that its reader wants: with wrong ones every input ends at its first line. */
#ifndef FUZZ_CRC_LINES_H
#define FUZZ_CRC_LINES_H

#include "store/crc32c.h"
#include "store/hex.h"

#include <string.h>

/* Each line of the input with its CRC behind; returns the octets. out has 12 times as many as the input. */
static inline size_t
crc_lines(const uint8_t *p, size_t n, uint8_t *out)
{
	const uint8_t *nl;
	size_t k = 0, len;

	while (n > 0 && (nl = memchr(p, '\n', n)) != NULL) {
		len = (size_t)(nl - p);
		memcpy(out + k, p, len);
		memcpy(out + k + len, " ~", 2);
		hex_put(out + k + len + 2, 8, crc32c(0, p, len));
		out[k + len + 10] = '\n';
		k += len + 11;
		n -= len + 1;
		p = nl + 1;
	}
	return k;
}

#endif
