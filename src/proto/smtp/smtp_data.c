/* proto/smtp/smtp_data.c - see smtp_data.h.
 *
 * Most octets of a message are plain text and are only looked at, eight at once: the run that they make goes on
 * to its sink from where it was received. */
#include "proto/smtp/smtp_data.h"

#include "util/err.h"

#include <string.h>

enum {
	AT_START,     /* of a line, behind CRLF or at the beginning */
	AT_TEXT,
	AT_CR,        /* behind a CR that is not given out yet */
	AT_DOT,       /* a '.' stands at the start */
	AT_DOT_CR,
	AT_LOOSE,     /* behind a CR or LF alone: a line to others, not to us */
	AT_LOOSE_DOT,
};

void
smtp_data_init(struct smtp_data *d, bool dots)
{
	*d = (struct smtp_data){ .dots = dots, .at = AT_START };
}

static void
spoil(struct smtp_data *d, enum smtp_spoilt why)
{
	if (d->spoilt == SMTP_SPOILT_NOT)
		d->spoilt = (uint8_t)why;
}

/* n octets more of this line. */
static void
lengthen(struct smtp_data *d, size_t n)
{
	if (n > SMTP_TEXT_LINE_MAX || d->line + n > SMTP_TEXT_LINE_MAX) {
		spoil(d, SMTP_SPOILT_LONG);
		n = SMTP_TEXT_LINE_MAX + 1u - d->line;
	}
	d->line = (uint16_t)(d->line + n);
}

/* Octets at p before the first that is below 0x0e: NUL, LF and CR are among these. */
static size_t
plain(const uint8_t *p, size_t n)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
	uint64_t w;
	size_t i = 0;

	for (; n - i >= sizeof(w); i += sizeof(w)) {
		memcpy(&w, p + i, sizeof(w));
		if (((w - ones * 0x0e) & ~w & high) != 0)
			break;
	}
	while (i < n && p[i] >= 0x0e)
		i++;
	return i;
}

/* From text on, up to what ends the run: a dot at the start of a line, something that spoils, a CR at the end of
 * in. Returns the octets of the run; d->at says what comes behind it. */
static size_t
run(struct smtp_data *d, struct span in)
{
	size_t i = 0, from = 0;

	while (i < in.n) {
		i += plain(in.p + i, in.n - i);
		if (i == in.n)
			break;
		if (in.p[i] == '\r') {
			if (i + 1 == in.n || in.p[i + 1] != '\n') {
				lengthen(d, i - from);
				d->at = AT_CR;
				return i;
			}
			i += 2;
			lengthen(d, i - from);
			from = i;
			d->line = 0;
			if (i == in.n || (d->dots && in.p[i] == '.')) {
				d->at = AT_START;
				return i;
			}
			continue;
		}
		lengthen(d, i - from); /* what comes first is what is told, however it is cut */
		from = i;
		if (in.p[i] == '\n') {
			spoil(d, SMTP_SPOILT_LF);
			d->at = AT_LOOSE;
			return i;
		}
		if (in.p[i] == '\0')
			spoil(d, SMTP_SPOILT_NUL);
		i++; /* another control character is text */
	}
	lengthen(d, i - from);
	return i;
}

/* Behind a CR that was held back. */
static struct span
after_cr(struct smtp_data *d, uint8_t octet, size_t *used)
{
	static const uint8_t crlf[] = { '\r', '\n' };

	if (octet != '\n') {
		spoil(d, SMTP_SPOILT_CR);
		d->at = AT_LOOSE;
		return (struct span){ NULL, 0 };
	}
	lengthen(d, 2);
	d->line = 0;
	d->at = AT_START;
	*used = 1;
	return (struct span){ crlf, 2 };
}

static bool
is_end(uint8_t octet)
{
	return octet == '\r' || octet == '\n';
}

/* One octet behind a dot, or at a start: changes d->at, which is AT_TEXT when the octet is text. */
static enum smtp_data_step
at_start(struct smtp_data *d, uint8_t octet, size_t *used)
{
	bool loose = d->at == AT_LOOSE;

	d->at = AT_TEXT;
	if (!d->dots || octet != '.')
		return SMTP_DATA_TEXT;
	d->at = loose ? AT_LOOSE_DOT : AT_DOT; /* which is none of the text (RFC 5321 §4.5.2) */
	*used = 1;
	return SMTP_DATA_TEXT;
}

static enum smtp_data_step
after_dot(struct smtp_data *d, uint8_t octet, size_t *used)
{
	if (d->at == AT_DOT && octet == '\r') {
		d->at = AT_DOT_CR;
		*used = 1;
		return SMTP_DATA_TEXT;
	}
	if (d->at == AT_DOT_CR && octet == '\n') {
		*used = 1;
		return SMTP_DATA_END;
	}
	if (is_end(octet) || d->at == AT_DOT_CR) {
		spoil(d, octet == '\n' ? SMTP_SPOILT_LF : SMTP_SPOILT_CR);
		*used = 1;
		return SMTP_DATA_AMBIGUOUS;
	}
	d->at = AT_TEXT;
	return SMTP_DATA_TEXT;
}

enum smtp_data_step
smtp_data_next(struct smtp_data *d, struct span in, struct span *text, size_t *used)
{
	enum smtp_data_step step;

	PT_ASSERT(in.n > 0);
	*text = (struct span){ in.p, 0 };
	*used = 0;
	while (*used == 0) {
		switch (d->at) {
		case AT_CR:
			*text = after_cr(d, in.p[0], used);
			break;
		case AT_START:
		case AT_LOOSE:
			at_start(d, in.p[0], used);
			break;
		case AT_DOT:
		case AT_DOT_CR:
		case AT_LOOSE_DOT:
			if ((step = after_dot(d, in.p[0], used)) != SMTP_DATA_TEXT)
				return step;
			break;
		default:
			*used = run(d, in);
			*text = (struct span){ in.p, *used };
			if (d->at == AT_CR || d->at == AT_LOOSE)
				++*used; /* the CR is held back, the LF spoils */
		}
	}
	return SMTP_DATA_TEXT;
}

void
smtp_data_finish(struct smtp_data *d)
{
	if (d->at == AT_CR)
		spoil(d, SMTP_SPOILT_CR);
}
