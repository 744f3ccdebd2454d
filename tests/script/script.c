/* script/script.c - see script.h. */
#include "script.h"

#include "util/buf.h"
#include "util/scan.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum how {
	HOW_PLAIN, /* as it stands */
	HOW_LINE,  /* as it stands, CRLF added */
	HOW_RAW,   /* escapes */
	HOW_WORDS, /* as it stands, blanks at both ends dropped */
};

static const struct {
	const char *word;
	enum how how;
} verbs[SCRIPT_V_COUNT] = {
#define SCRIPT_VERB_ROW(name, word, how) [SCRIPT_V_##name] = { word, HOW_##how },
	SCRIPT_STEPS(SCRIPT_VERB_ROW)
#undef SCRIPT_VERB_ROW
};

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One escape behind a '\': its octet to *out. Returns the characters it took, 0 for none known. */
static size_t
escape(const char *p, size_t n, uint8_t *out)
{
	static const char names[] = "rnt0\\{}", octets[] = "\r\n\t\0\\{}";
	const char *at;

	if (n >= 3 && p[0] == 'x' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
		*out = (uint8_t)(hex(p[1]) * 16 + hex(p[2]));
		return 3;
	}
	if (n == 0 || p[0] == '\0' || (at = strchr(names, p[0])) == NULL)
		return 0;
	*out = (uint8_t)octets[at - names];
	return 1;
}

/* Writes escapes out: \r \n \t \0 \\ \{ \} \xHH. */
static int
unescape_plain(struct buf *out, const char *p, size_t n)
{
	uint8_t octet;
	size_t used;
	int rc;

	for (; n > 0; p += used, n -= used) {
		octet = (uint8_t)*p;
		used = 1;
		if (*p == '\\') {
			if ((used = escape(p + 1, n - 1, &octet)) == 0)
				return PT_EINVAL;
			used++;
		}
		if ((rc = buf_append(out, &octet, 1)) != 0)
			return rc;
	}
	return 0;
}

/* The next '{' or '}' of the n characters at p that no '\' stands before; n when there is none. */
static size_t
brace(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n && p[i] != '{' && p[i] != '}'; i++)
		if (p[i] == '\\' && i + 1 < n)
			i++;
	return i;
}

/* The same, and {N*text}, which is text N times. */
static int
unescape(struct buf *out, const char *p, size_t n)
{
	size_t open, close, digits;
	uint64_t times;
	int rc;

	while (n > 0) {
		open = brace(p, n);
		if ((rc = unescape_plain(out, p, open)) != 0)
			return rc;
		if (open == n)
			return 0;
		p += open + 1;
		n -= open + 1;
		close = brace(p, n);
		digits = strspn(p, "0123456789");
		if (p[-1] != '{' || close == n || p[close] != '}' || p[digits] != '*' ||
		    !scan_u64((struct span){ (const uint8_t *)p, digits }, &times))
			return PT_EINVAL;
		for (; times > 0; times--)
			if ((rc = unescape_plain(out, p + digits + 1, close - digits - 1)) != 0)
				return rc;
		p += close + 1;
		n -= close + 1;
	}
	return 0;
}

/* The text of a step, by what its verb says. */
static int
step_text(struct step *st, const char *p, size_t n)
{
	enum how how = verbs[st->verb].how;
	struct buf b;
	int rc;

	buf_init(&b, SCRIPT_TEXT_MAX);
	if (how == HOW_RAW) {
		rc = unescape(&b, p, n);
	} else {
		while (how == HOW_WORDS && n > 0 && p[n - 1] == ' ')
			n--;
		if ((rc = buf_append(&b, p, n)) == 0 && how == HOW_LINE)
			rc = buf_append(&b, "\r\n", 2);
	}
	st->len = buf_size(&b);
	if (rc == 0)
		rc = buf_append(&b, "", 1);
	if (rc == 0 && (st->text = malloc(st->len + 1)) == NULL)
		rc = PT_ENOMEM;
	if (rc == 0)
		memcpy(st->text, buf_span(&b).p, st->len + 1);
	buf_fini(&b);
	return rc;
}

/* "# fails at LINE: TEXT" of a script that must fail; any other comment is none of ours. */
static int
comment(struct script *s, const char *line)
{
	int at = 0;

	if (sscanf(line, "# fails at %u: %n", &s->fails_line, &at) != 1 || at == 0)
		return 0;
	free(s->fails_text);
	return (s->fails_text = strdup(line + at)) == NULL ? PT_ENOMEM : 0;
}

static int
one_line(struct script *s, unsigned number, const char *line, size_t n, struct diag *diag)
{
	struct step *st = &s->steps[s->n];
	size_t word;
	unsigned v;
	int rc;

	if (n == 0 || line[0] == '#')
		return n == 0 ? 0 : comment(s, line);
	word = strcspn(line, " ");
	for (v = 0; v < SCRIPT_V_COUNT; v++)
		if (strlen(verbs[v].word) == word && memcmp(line, verbs[v].word, word) == 0)
			break;
	if (v == SCRIPT_V_COUNT)
		return diag_set(diag, PT_EINVAL, "%s:%u: no such step: %.*s", s->path, number,
				(int)word, line);
	if (s->n == SCRIPT_STEPS_MAX)
		return diag_set(diag, PT_ETOOBIG, "%s:%u: more than %d steps", s->path, number,
				SCRIPT_STEPS_MAX);
	*st = (struct step){ .verb = (enum script_verb)v, .line = number };
	if (line[word] == ' ')
		word++;
	if ((rc = step_text(st, line + word, n - word)) != 0)
		return diag_set(diag, rc, "%s:%u: %s: %s", s->path, number, pt_strerror(rc), line);
	s->n++;
	return 0;
}

int
script_read(struct script *s, const char *path, struct diag *diag)
{
	char *line = NULL;
	size_t cap = 0, sum = 0;
	unsigned number = 0;
	ssize_t n;
	FILE *f;
	int rc = 0;

	*s = (struct script){ .path = path };
	if ((f = fopen(path, "r")) == NULL)
		return diag_set(diag, PT_EIO, "%s: cannot be opened", path);
	if ((s->steps = calloc(SCRIPT_STEPS_MAX + 1, sizeof(*s->steps))) == NULL)
		rc = diag_set(diag, PT_ENOMEM, "%s: out of memory", path);
	while (rc == 0 && (n = getline(&line, &cap, f)) > 0) {
		number++;
		if ((sum += (size_t)n) > SCRIPT_FILE_MAX)
			rc = diag_set(diag, PT_ETOOBIG, "%s: the file is too long", path);
		if (line[n - 1] == '\n')
			line[--n] = '\0';
		if (rc == 0)
			rc = one_line(s, number, line, (size_t)n, diag);
	}
	free(line);
	fclose(f);
	return rc;
}

void
script_fini(struct script *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		free(s->steps[i].text);
	free(s->steps);
	free(s->fails_text);
	*s = (struct script){ 0 };
}
