/* store/uidlist.c - see uidlist.h. */
#include "store/uidlist.h"

#include "store/index.h"

#include <string.h>

/* The next whole line, without its end. */
static bool
next_line(struct span *s, struct span *line)
{
	const uint8_t *nl = s->n == 0 ? NULL : memchr(s->p, '\n', s->n);

	if (nl == NULL)
		return false;
	*line = (struct span){ s->p, (size_t)(nl - s->p) };
	s->n -= line->n + 1;
	s->p = nl + 1;
	return true;
}

/* A number in front, without sign; takes its digits. 0 where there is none, or one that no UID can have. */
static uint32_t
take_number(struct span *s, size_t *digits_out)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < s->n && i < 11 && s->p[i] >= '0' && s->p[i] <= '9'; i++)
		v = v * 10 + (uint64_t)(s->p[i] - '0');
	s->p += i;
	s->n -= i;
	*digits_out = i;
	return v < UINT32_MAX ? (uint32_t)v : 0;
}

/* The next word of a line, without the spaces around it. */
static bool
next_word(struct span *s, struct span *word)
{
	size_t i;

	while (s->n > 0 && s->p[0] == ' ') {
		s->p++;
		s->n--;
	}
	for (i = 0; i < s->n && s->p[i] != ' '; i++)
		continue;
	*word = (struct span){ s->p, i };
	s->p += i;
	s->n -= i;
	return i > 0;
}

bool
uidlist_begin(struct span *text, struct uidlist_head *out)
{
	struct span line, word;
	uint32_t value;
	size_t digits;
	char letter;

	*out = (struct uidlist_head){ 0, 0 };
	if (!next_line(text, &line) || !next_word(&line, &word) || !span_equal(word, span_str("3")))
		return false;
	while (next_word(&line, &word)) {
		letter = (char)word.p[0];
		word.p++;
		word.n--;
		value = take_number(&word, &digits);
		if (word.n > 0 || digits == 0)
			continue;
		if (letter == 'V')
			out->uidvalidity = value;
		else if (letter == 'N')
			out->uidnext = value;
	}
	return true;
}

bool
uidlist_next(struct span *text, struct uidlist_entry *out)
{
	struct span line, word;
	const uint8_t *colon;
	size_t digits;

	while (next_line(text, &line)) {
		if (!next_word(&line, &word))
			continue;
		out->uid = take_number(&word, &digits);
		/* the name is the last field and may have spaces in it */
		if (out->uid == 0 || word.n > 0 || line.n < 3 || (colon = memmem(line.p, line.n, " :", 2)) == NULL)
			continue;
		out->name = (struct span){ colon + 2, line.n - (size_t)(colon + 2 - line.p) };
		if (out->name.n > 0)
			return true;
	}
	return false;
}

bool
uidlist_keyword(struct span *text, unsigned *n_out, struct span *name_out)
{
	struct span line;
	size_t digits;

	while (next_line(text, &line)) {
		*n_out = take_number(&line, &digits);
		if (digits == 0 || *n_out >= STORE_KEYWORDS_MAX || line.n < 2 || line.p[0] != ' ')
			continue;
		*name_out = (struct span){ line.p + 1, line.n - 1 };
		if (index_keyword_ok(*name_out))
			return true;
	}
	return false;
}

void
uidlist_keywords(struct span text, char keywords[STORE_KEYWORDS_MAX][STORE_KEYWORD_MAX + 1])
{
	bool had[STORE_KEYWORDS_MAX];
	struct span name;
	unsigned n;

	for (n = 0; n < STORE_KEYWORDS_MAX; n++)
		had[n] = keywords[n][0] != '\0';
	while (uidlist_keyword(&text, &n, &name)) {
		if (had[n])
			continue;
		memcpy(keywords[n], name.p, name.n);
		keywords[n][name.n] = '\0';
	}
}
