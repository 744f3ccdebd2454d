/* proto/exec/exec_line.c - see exec_line.h. */
#include "proto/exec/exec_line.h"

#include <string.h>

enum exec_line
exec_line_parse(const uint8_t *buf, size_t len, struct span *line, size_t *used)
{
	size_t max = len < EXEC_LINE_MAX ? len : EXEC_LINE_MAX;
	const uint8_t *lf = memchr(buf, '\n', max);

	*line = (struct span){ buf, max };
	*used = max;
	if (lf == NULL)
		return len < EXEC_LINE_MAX ? EXEC_L_MORE : EXEC_L_LONG;
	line->n = (size_t)(lf - buf);
	*used = line->n + 1;
	if (line->n > 0 && buf[line->n - 1] == '\r')
		line->n--;
	return EXEC_L_OK;
}

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static bool
starts_with(struct span line, const char *word, size_t n, bool case_sensitive)
{
	size_t i;

	if (line.n < n)
		return false;
	for (i = 0; i < n; i++)
		if (case_sensitive ? line.p[i] != (uint8_t)word[i]
				   : lower(line.p[i]) != lower((uint8_t)word[i]))
			return false;
	return true;
}

enum exec_keyword
exec_line_keyword(const struct exec_conf *conf, struct span line)
{
	size_t n = strlen(conf->keyword);

	while (line.n > n && (line.p[line.n - 1] == ' ' || line.p[line.n - 1] == '\t'))
		line.n--;
	if (!starts_with(line, conf->keyword, n, conf->case_sensitive))
		return EXEC_K_NO;
	if (line.n == n)
		return EXEC_K_YES;
	if (line.p[n] != ' ' && line.p[n] != '\t')
		return EXEC_K_NO;
	return conf->arguments ? EXEC_K_YES : EXEC_K_ARGUMENTS;
}

bool
exec_line_matches(const char *pattern, struct span line)
{
	const char *star = NULL; /* the last '*' met: what it stands for may grow */
	size_t i = 0, from = 0;

	while (i < line.n) {
		if (*pattern == '*') {
			star = pattern++;
			from = i;
		} else if (*pattern != '\0' &&
			   (*pattern == '?' || lower((uint8_t)*pattern) == lower(line.p[i]))) {
			pattern++;
			i++;
		} else if (star != NULL) {
			pattern = star + 1;
			i = ++from;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}
