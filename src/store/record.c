/* store/record.c - lines of words. */
#include "store/record.h"

#include "store/hex.h"
#include "util/scan.h"

#include <string.h>

/* How many words each kind has; 0xff: an index line. */
static unsigned
words_of(char kind)
{
	switch (kind) {
	case 'X':
		return 0;
	case 'T':
	case 'C':
	case 'Z':
	case 'M':
		return 1;
	case 'I':
	case 'F':
		return 2;
	case 'B':
	case 'D':
	case 's':
	case 'v':
		return 3;
	case 'S':
		return 4;
	case 'R':
	case 'V':
	case 'r':
		return 5;
	case 'q':
		return 6;
	case 'Q':
		return 8;
	case 'P':
	case '+':
	case '=':
	case '-':
	case 'k':
	case 'U':
	case 'L':
		return 0xff;
	default:
		return 0xfe;
	}
}

static bool
split(struct span s, struct record_line *l, unsigned want)
{
	const uint8_t *sp;

	for (l->nwords = 0; l->nwords < want; l->nwords++) {
		if (s.n < 1 || s.p[0] != ' ')
			return false;
		s.p++;
		s.n--;
		sp = s.n == 0 ? NULL : memchr(s.p, ' ', s.n);
		l->word[l->nwords] = (struct span){ s.p, sp == NULL ? s.n : (size_t)(sp - s.p) };
		s.p += l->word[l->nwords].n;
		s.n -= l->word[l->nwords].n;
	}
	return s.n == 0;
}

bool
record_next(struct span *text, struct record_line *l, bool *bad)
{
	const uint8_t *nl;
	unsigned want;

	*bad = false;
	if (text->n == 0)
		return false;
	*bad = true;
	if ((nl = memchr(text->p, '\n', text->n)) == NULL || nl == text->p)
		return false;
	memset(l, 0, sizeof *l);
	l->kind = (char)text->p[0];
	l->raw = (struct span){ text->p, (size_t)(nl - text->p) + 1 };
	want = words_of(l->kind);
	l->index = want == 0xff;
	if (want == 0xfe ||
	    (!l->index && !split((struct span){ text->p + 1, l->raw.n - 2 }, l, want)))
		return false;
	text->p += l->raw.n;
	text->n -= l->raw.n;
	*bad = false;
	return true;
}

int
record_put(struct buf *out, char kind, unsigned n, const struct span *words)
{
	uint8_t piece[3 * 64 + 1];
	size_t i, k;
	unsigned w;
	int rc = buf_append(out, &kind, 1);

	for (w = 0; w < n && rc == 0; w++) {
		piece[0] = ' ';
		k = 1;
		for (i = 0; i < words[w].n && rc == 0; i++) {
			uint8_t c = words[w].p[i];

			if (c <= ' ' || c == '%' || c == 0x7f) {
				piece[k++] = '%';
				hex_put(piece + k, 2, c);
				k += 2;
			} else {
				piece[k++] = c;
			}
			if (k + 3 > sizeof piece) {
				rc = buf_append(out, piece, k);
				k = 0;
			}
		}
		if (rc == 0)
			rc = buf_append(out, piece, k);
	}
	return rc != 0 ? rc : buf_append(out, "\n", 1);
}

bool
record_word(struct span w, char *out, size_t cap)
{
	uint64_t v;
	size_t i, n = 0;

	for (i = 0; i < w.n && n + 1 < cap; i++) {
		v = w.p[i];
		if (w.p[i] == '%') {
			if (w.n - i < 3 || !hex_get(w.p + i + 1, 2, &v) || v == 0)
				return false;
			i += 2;
		}
		out[n++] = (char)v;
	}
	out[n] = '\0';
	return i == w.n;
}

bool
record_number(struct span w, uint64_t *v_out)
{
	return scan_u64(w, v_out);
}
