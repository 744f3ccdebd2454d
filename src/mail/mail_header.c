/* mail/mail_header.c - see mail_header.h. One octet at a time, but within values. */
#include "mail/mail_header.h"

#include "util/err.h"

#include <string.h>

enum {
	AT_START, /* of a line */
	AT_NAME,
	AT_BLANK, /* between a name and its ':' (RFC 5322 §4.5 has it as obsolete) */
	AT_VALUE,
};

/* One walk: where the line that is not decided yet begins in in; 0 when it began before. */
struct walk {
	struct mail_header *h;
	struct span in;
	size_t line;
	size_t nheld; /* held from before and not yet known to be of the header */
};

static const char *const names[MAIL_FIELD_COUNT] = {
#define MAIL_FIELD_NAME(id, name) [MAIL_FIELD_##id] = (name),
	MAIL_FIELDS(MAIL_FIELD_NAME)
#undef MAIL_FIELD_NAME
};

void
mail_header_init(struct mail_header *h, bool keeps_who)
{
	memset(h, 0, offsetof(struct mail_header, held));
	h->nwho = 0;
	h->nkept = 0;
	h->keeps_who = keeps_who;
	h->field = MAIL_FIELD_OTHER;
}

static bool
is_ftext(uint8_t c)
{
	return c > 0x20 && c < 0x7f && c != ':';
}

static enum mail_field
field_find(struct span name)
{
	unsigned f;

	while (name.n > 0 && (name.p[name.n - 1] == ' ' || name.p[name.n - 1] == '\t'))
		name.n--;
	for (f = 0; f < MAIL_FIELD_COUNT; f++)
		if (span_is_nocase(name, names[f]))
			return (enum mail_field)f;
	return MAIL_FIELD_OTHER;
}

static bool
says_who(const struct mail_header *h)
{
	return h->keeps_who && (h->field == MAIL_FIELD_FROM || h->field == MAIL_FIELD_SENDER ||
				h->field == MAIL_FIELD_RESENT_FROM || h->field == MAIL_FIELD_RESENT_SENDER);
}

/* Each value for itself: a quote that one does not close must not hide what the next one says. */
static void
begin_who(struct mail_header *h)
{
	if (h->nwho == MAIL_HEADER_WHOS_MAX) {
		h->who_long = true;
		return;
	}
	h->who[h->nwho].field = h->field;
	h->who[h->nwho].end = h->nkept;
	h->nwho++;
}

static void
keep_who(struct mail_header *h, struct span s)
{
	size_t i;

	for (i = 0; i < s.n && !h->who_long; i++) {
		if (s.p[i] == '\r' || s.p[i] == '\n')
			continue; /* unfolding leaves the blank behind it (RFC 5322 §2.2.3) */
		if (h->nkept == sizeof(h->kept)) {
			h->who_long = true;
			return;
		}
		h->kept[h->nkept++] = s.p[i];
		h->who[h->nwho - 1].end = h->nkept;
	}
}

struct span
mail_header_who(const struct mail_header *h, unsigned i, enum mail_field *field)
{
	size_t from = i == 0 ? 0 : h->who[i - 1].end;

	PT_ASSERT(i < h->nwho);
	*field = (enum mail_field)h->who[i].field;
	return (struct span){ h->kept + from, h->who[i].end - from };
}

/* in[end] is the ':' of a field. */
static void
begin_field(struct walk *w, size_t end)
{
	struct mail_header *h = w->h;
	uint8_t name[MAIL_HEADER_NAME_MAX];
	size_t n = end - w->line;

	PT_ASSERT(h->nheld + n <= sizeof(name));
	memcpy(name, h->held, h->nheld);
	memcpy(name + h->nheld, w->in.p + w->line, n);
	h->field = (uint8_t)field_find((struct span){ name, h->nheld + n });
	h->any = true;
	if (h->field < MAIL_FIELD_COUNT)
		h->count[h->field]++;
	if (says_who(h))
		begin_who(h);
	if (h->nheld > 0) { /* of the first field in this piece only */
		memcpy(h->told, h->held, h->nheld);
		w->nheld = h->nheld;
		h->nheld = 0;
	}
	h->at = AT_VALUE;
}

/* The rest of a line. Returns its octets. */
static size_t
value(struct mail_header *h, struct span in)
{
	const uint8_t *lf = memchr(in.p, '\n', in.n);
	size_t n = lf == NULL ? in.n : (size_t)(lf - in.p) + 1;

	if (says_who(h))
		keep_who(h, (struct span){ in.p, n });
	if (lf != NULL)
		h->at = AT_START;
	return n;
}

/* The first octet of a line; false when the header has no such line. */
static bool
start(struct walk *w, size_t i)
{
	uint8_t c = w->in.p[i];

	if ((c == ' ' || c == '\t') && w->h->any) { /* the field goes on */
		w->h->at = AT_VALUE;
		return true;
	}
	w->line = i;
	w->h->at = AT_NAME;
	return is_ftext(c);
}

/* An octet of a name, or of the blanks behind it; false when this is no field. */
static bool
name(struct walk *w, size_t i)
{
	struct mail_header *h = w->h;
	uint8_t c = w->in.p[i];

	if (c == ':' && h->nheld + i - w->line > 0) {
		begin_field(w, i);
		return true;
	}
	if (c == ' ' || c == '\t')
		h->at = AT_BLANK;
	else if (h->at == AT_BLANK || !is_ftext(c))
		return false;
	return h->nheld + i - w->line < MAIL_HEADER_NAME_MAX;
}

bool
mail_header_walk(struct mail_header *h, struct span in, struct span *held, struct span *text,
		 size_t *used)
{
	struct walk w = { .h = h, .in = in };
	bool good = true;
	size_t i = 0;

	PT_ASSERT(!h->over && (in.n == 0 || in.p[in.n - 1] != '\r'));
	while (i < in.n && good) {
		if (h->at == AT_VALUE) {
			i += value(h, (struct span){ in.p + i, in.n - i });
			w.line = i;
			continue;
		}
		good = h->at == AT_START ? start(&w, i) : name(&w, i);
		i += h->at != AT_VALUE || in.p[i] == ':'; /* a blank that goes on is of the value */
	}
	if (h->at == AT_START || h->at == AT_VALUE)
		w.line = in.n;
	h->over = !good;
	*held = (struct span){ h->told, w.nheld };
	*text = (struct span){ in.p, w.line };
	*used = good ? in.n : w.line;
	if (good) {
		PT_ASSERT(h->nheld + in.n - w.line <= sizeof(h->held));
		memcpy(h->held + h->nheld, in.p + w.line, in.n - w.line);
		h->nheld = (uint8_t)(h->nheld + in.n - w.line);
	}
	return h->over;
}

bool
mail_header_open(const struct mail_header *h)
{
	return h->at == AT_VALUE;
}

struct span
mail_header_rest(const struct mail_header *h)
{
	return (struct span){ h->held, h->nheld };
}
