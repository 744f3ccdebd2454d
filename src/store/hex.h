/* store/hex.h - numbers of fixed width in lower-case hexadecimal. Pure. */
#ifndef STORE_HEX_H
#define STORE_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes the lowest n digits of v, no NUL. */
static inline void
hex_put(uint8_t *p, size_t n, uint64_t v)
{
	for (; n > 0; v >>= 4)
		p[--n] = (uint8_t)"0123456789abcdef"[v & 15];
}

/* Exactly n (at most 16) digits; false when one is no lower-case hexadecimal digit. */
static inline bool
hex_get(const uint8_t *p, size_t n, uint64_t *v_out)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		if (p[i] >= '0' && p[i] <= '9')
			v = v << 4 | (uint64_t)(p[i] - '0');
		else if (p[i] >= 'a' && p[i] <= 'f')
			v = v << 4 | (uint64_t)(p[i] - 'a' + 10);
		else
			return false;
	}
	*v_out = v;
	return true;
}

#endif
