/* proto/smtp/smtp_cmd.c - the pure parser: octets to a verb and its argument, no more. */
#include "proto/smtp/smtp_cmd.h"

#include "util/scan.h"
#include "util/utf8.h"

#include <string.h>

static const char *const verb_names[SMTP_V_COUNT] = {
#define SMTP_VERB_NAME(name) [SMTP_V_##name] = #name,
	SMTP_VERBS(SMTP_VERB_NAME)
#undef SMTP_VERB_NAME
};

static enum smtp_parse
bad(struct smtp_line *line, enum smtp_bad why, bool open)
{
	line->bad = why;
	line->open = open;
	return SMTP_PARSE_BAD;
}

enum smtp_parse
smtp_line_parse(const uint8_t *buf, size_t len, size_t max, struct smtp_line *line, size_t *used)
{
	size_t i, n = len < max ? len : max;

	*line = (struct smtp_line){ .open = false };
	*used = 0;
	for (i = 0; i < n; i++) {
		if (buf[i] > '\r' || (buf[i] != '\0' && buf[i] != '\n' && buf[i] != '\r'))
			continue;
		*used = i + 1;
		if (buf[i] == '\0')
			return bad(line, SMTP_BAD_NUL, true);
		if (buf[i] == '\n') /* never ends a good line: others count lines otherwise */
			return bad(line, SMTP_BAD_LF, false);
		if (i + 1 == n)
			break; /* a CR is the last octet that we may look at */
		if (buf[i + 1] != '\n')
			return bad(line, SMTP_BAD_CR, true);
		*used = i + 2;
		line->text = (struct span){ buf, i };
		return SMTP_PARSE_OK;
	}
	*used = n;
	if (n == max)
		return bad(line, SMTP_BAD_LONG, true);
	*used = 0;
	return SMTP_PARSE_MORE;
}

static enum smtp_verb
verb_find(struct span word)
{
	unsigned v;

	for (v = 0; v < SMTP_V_COUNT; v++)
		if (span_is_nocase(word, verb_names[v]))
			return (enum smtp_verb)v;
	return SMTP_V_UNKNOWN;
}

static struct span
trim(struct span s)
{
	while (s.n > 0 && s.p[0] == ' ') {
		s.p++;
		s.n--;
	}
	while (s.n > 0 && s.p[s.n - 1] == ' ')
		s.n--;
	return s;
}

/* Blanks at the end of a line are no part of it (RFC 5321 §4.1.1: servers should tolerate them). */
static enum smtp_parse
split(struct smtp_cmd *cmd)
{
	struct span text = trim(cmd->line.text);
	const uint8_t *space;

	if (text.n == 0)
		return bad(&cmd->line, SMTP_BAD_EMPTY, false);
	if (!utf8_printable(text))
		return bad(&cmd->line, SMTP_BAD_TEXT, false);
	cmd->word = text;
	cmd->arg = (struct span){ text.p + text.n, 0 };
	if ((space = memchr(text.p, ' ', text.n)) != NULL) {
		cmd->word.n = (size_t)(space - text.p);
		cmd->has_arg = true;
		cmd->arg = trim((struct span){ space, text.n - cmd->word.n });
	}
	cmd->verb = verb_find(cmd->word);
	return SMTP_PARSE_OK;
}

enum smtp_parse
smtp_cmd_parse(const uint8_t *buf, size_t len, struct smtp_cmd *cmd, size_t *used)
{
	bool auth = len >= 5 && span_is_nocase((struct span){ buf, 5 }, "AUTH ");
	enum smtp_parse rc;

	*cmd = (struct smtp_cmd){ .verb = SMTP_V_UNKNOWN };
	rc = smtp_line_parse(buf, len, auth ? SMTP_AUTH_LINE_MAX : SMTP_LINE_MAX, &cmd->line, used);
	return rc == SMTP_PARSE_OK ? split(cmd) : rc;
}

/* Up to the first of stop in s. */
static struct span
before(struct span s, const char *stop)
{
	size_t i;

	for (i = 0; i < s.n && strchr(stop, s.p[i]) == NULL; i++)
		;
	return (struct span){ s.p, i };
}

static bool
is_alnum(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

enum smtp_param
smtp_param_next(struct span *rest, struct span *key, struct span *value)
{
	struct span s = trim(*rest), word;
	size_t i;

	*value = (struct span){ NULL, 0 };
	if (s.n == 0)
		return SMTP_PARAM_END;
	word = before(s, " ");
	*key = before(word, "=");
	for (i = 0; i < key->n; i++)
		if (!is_alnum(key->p[i]) && (i == 0 || key->p[i] != '-'))
			return SMTP_PARAM_BAD;
	if (key->n < word.n)
		*value = (struct span){ key->p + key->n + 1, word.n - key->n - 1 };
	if (key->n == 0 || (value->p != NULL && value->n == 0))
		return SMTP_PARAM_BAD;
	*rest = (struct span){ s.p + word.n, s.n - word.n };
	return SMTP_PARAM_OK;
}

enum smtp_bdat
smtp_bdat_read(struct span arg, uint64_t *octets, bool *last)
{
	struct span n = before(arg, " "), rest = trim((struct span){ arg.p + n.n, arg.n - n.n });
	size_t i;

	*last = span_is_nocase(rest, "LAST");
	if (n.n == 0 || (rest.n > 0 && !*last))
		return SMTP_BDAT_BAD;
	for (i = 0; i < n.n; i++)
		if (n.p[i] < '0' || n.p[i] > '9')
			return SMTP_BDAT_BAD;
	return scan_u64(n, octets) ? SMTP_BDAT_OK : SMTP_BDAT_HUGE;
}

bool
smtp_is_bdat(struct span line)
{
	while (line.n > 0 && line.p[0] == ' ') {
		line.p++;
		line.n--;
	}
	return line.n >= 4 && span_is_nocase((struct span){ line.p, 4 }, "BDAT") && (line.n == 4 || !is_alnum(line.p[4]));
}

bool
smtp_helo_valid(struct span arg)
{
	size_t i;

	if (arg.n > 0 && arg.p[0] == '[')
		return mail_literal_valid(arg);
	for (i = 0; i < arg.n; i++)
		if (arg.p[i] >= 0x80) /* RFC 6531 §3.7.1: A-labels */
			return false;
	return mail_domain_valid(arg);
}

bool
smtp_auth_read(struct span arg, struct span *mechanism, struct span *initial)
{
	struct span rest;
	size_t i;

	*mechanism = before(arg, " ");
	rest = trim((struct span){ arg.p + mechanism->n, arg.n - mechanism->n });
	*initial = rest.n > 0 ? rest : (struct span){ NULL, 0 };
	if (mechanism->n == 0 || mechanism->n > 20 || before(rest, " ").n < rest.n)
		return false;
	for (i = 0; i < mechanism->n; i++) /* RFC 4422 §3.1 */
		if (!is_alnum(mechanism->p[i]) && mechanism->p[i] != '-' && mechanism->p[i] != '_')
			return false;
	return true;
}
