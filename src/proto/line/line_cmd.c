/* proto/line/line_cmd.c - the pure parser: octets to a verb and its argument, no more. */
#include "proto/line/line_cmd.h"

#include "util/utf8.h"

#include <string.h>

static const char *const verb_names[LINE_V_COUNT] = {
#define LINE_VERB_NAME(name) [LINE_V_##name] = #name,
	LINE_VERBS(LINE_VERB_NAME)
#undef LINE_VERB_NAME
};

enum line_verb
line_verb_find(struct span word)
{
	unsigned v;

	for (v = 0; v < LINE_V_COUNT; v++)
		if (span_is_nocase(word, verb_names[v]))
			return (enum line_verb)v;
	return LINE_V_UNKNOWN;
}

static enum line_parse
bad(struct line_cmd *cmd, enum line_bad why, bool open)
{
	cmd->bad = why;
	cmd->open = open;
	return LINE_PARSE_BAD;
}

/* Takes the octets of a whole line, without its CRLF, apart. */
static enum line_parse
split(const uint8_t *buf, size_t len, struct line_cmd *cmd)
{
	const uint8_t *space;

	if (len == 0)
		return bad(cmd, LINE_BAD_EMPTY, false);
	if (!utf8_printable((struct span){ buf, len }))
		return bad(cmd, LINE_BAD_TEXT, false);
	cmd->word = (struct span){ buf, len };
	if ((space = memchr(buf, ' ', len)) != NULL) {
		cmd->word.n = (size_t)(space - buf);
		cmd->has_arg = true;
		cmd->arg = (struct span){ space + 1, len - cmd->word.n - 1 };
	}
	cmd->verb = line_verb_find(cmd->word);
	return LINE_PARSE_OK;
}

enum line_parse
line_cmd_parse(const uint8_t *buf, size_t len, struct line_cmd *cmd, size_t *used)
{
	size_t i, max = len < LINE_LINE_MAX ? len : LINE_LINE_MAX;

	*cmd = (struct line_cmd){ .verb = LINE_V_UNKNOWN };
	*used = 0;
	for (i = 0; i < max; i++) {
		if (buf[i] > '\r' || (buf[i] != '\0' && buf[i] != '\n' && buf[i] != '\r'))
			continue;
		*used = i + 1;
		if (buf[i] == '\0')
			return bad(cmd, LINE_BAD_NUL, true);
		if (buf[i] == '\n') /* never ends a good line: others count lines otherwise */
			return bad(cmd, LINE_BAD_LF, false);
		if (i + 1 == max)
			break; /* a CR is the last octet that we may look at */
		if (buf[i + 1] != '\n')
			return bad(cmd, LINE_BAD_CR, true);
		*used = i + 2;
		return split(buf, i, cmd);
	}
	*used = max;
	if (max == LINE_LINE_MAX)
		return bad(cmd, LINE_BAD_LONG, true);
	*used = 0;
	return LINE_PARSE_MORE;
}

/* Between the quotes of a quoted string. */
static bool
unquote(struct span s, uint8_t *out, size_t cap, size_t *n)
{
	size_t i;

	for (*n = 0, i = 0; i < s.n; i++) {
		if (s.p[i] == '"')
			return false;
		if (s.p[i] == '\\') {
			if (++i == s.n || (s.p[i] != '"' && s.p[i] != '\\'))
				return false;
		}
		if (*n == cap)
			return false;
		out[(*n)++] = s.p[i];
	}
	return true;
}

bool
line_string_read(struct span arg, uint8_t *out, size_t cap, size_t *n)
{
	*n = 0;
	if (arg.n == 0)
		return false;
	if (arg.p[0] == '"') {
		if (arg.n < 2 || arg.p[arg.n - 1] != '"')
			return false;
		return unquote((struct span){ arg.p + 1, arg.n - 2 }, out, cap, n);
	}
	if (arg.n > cap || memchr(arg.p, ' ', arg.n) != NULL || memchr(arg.p, '"', arg.n) != NULL ||
	    memchr(arg.p, '\\', arg.n) != NULL)
		return false;
	memcpy(out, arg.p, arg.n);
	*n = arg.n;
	return true;
}
