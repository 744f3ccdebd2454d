/* cli/cli.c - see cli.h: how the commands speak, to people and to programs. */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum cli_exit
cli_fail_memory(const struct cli *cli)
{
	return cli_fail(cli, CLI_FAILED, "this machine is out of memory: nothing more was done");
}

/* stdout is a pipe or a file as often as a terminal: a full disk must not look like success. */
static enum cli_exit
stdout_done(enum cli_exit code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	fprintf(stderr, "postern: writing the answer: %s\n", strerror(errno));
	return code == CLI_OK ? CLI_FAILED : code;
}

/* Control characters become '?', but newline and what is above ASCII stay. */
static void
put_clean(FILE *to, struct span text)
{
	size_t i;

	for (i = 0; i < text.n; i++) {
		int c = text.p[i];

		putc((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f ? '?' : c, to);
	}
}

enum cli_exit
cli_fail_text(const struct cli *cli, enum cli_exit code, struct buf *text)
{
	struct span s;
	json_t *answer;

	while (buf_size(text) > 0 && text->base[text->len - 1] == '\n')
		text->len--; /* the caller's last newline; ours follows */
	s = buf_span(text);
	if (!cli->json) {
		fputs("postern: ", stderr);
		put_clean(stderr, s);
		putc('\n', stderr);
		buf_fini(text);
		return code;
	}
	/* "error" is made by hand so that a failure for want of memory is still an answer */
	if (buf_append(text, "", 1) != 0 ||
	    (answer = json_pack("{s:b, s:o}", "ok", 0, "error",
				cli_json_string((const char *)buf_span(text).p))) == NULL) {
		puts("{\"ok\": false, \"error\": \"out of memory\"}");
		buf_fini(text);
		return stdout_done(code);
	}
	buf_fini(text);
	json_dumpf(answer, stdout, JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(answer);
	return stdout_done(code);
}

enum cli_exit
cli_fail(const struct cli *cli, enum cli_exit code, const char *fmt, ...)
{
	char small[1024], *text = NULL;
	struct buf b;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) { /* out of memory: as much as fits */
		va_start(ap, fmt);
		vsnprintf(small, sizeof small, fmt, ap);
		va_end(ap);
	}
	buf_init(&b, CLI_TEXT_MAX);
	if (buf_append_str(&b, n < 0 ? small : text) != 0)
		fprintf(stderr, "postern: %s\n", n < 0 ? small : text);
	free(n < 0 ? NULL : text);
	return cli_fail_text(cli, code, &b);
}

enum cli_exit
cli_put_json(const struct cli *cli, json_t *answer)
{
	if (answer == NULL)
		return cli_fail_memory(cli);
	json_dumpf(answer, stdout, JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(answer);
	return stdout_done(CLI_OK);
}

enum cli_exit
cli_put_text(const struct cli *cli, struct buf *text)
{
	(void)cli;
	put_clean(stdout, buf_span(text));
	buf_fini(text);
	return stdout_done(CLI_OK);
}

json_t *
cli_json_string(const char *s)
{
	json_t *j = json_string(s); /* NULL for what is not UTF-8, too */
	char *copy, *p;

	if (j != NULL || (copy = strdup(s)) == NULL)
		return j;
	for (p = copy; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	j = json_string(copy);
	free(copy);
	return j;
}

int
cli_shell_quote(struct buf *out, const char *s)
{
	const char *p;
	int rc = 0;

	for (p = s; isalnum((unsigned char)*p) || (*p != '\0' && strchr("%+,-./:=@_", *p) != NULL);)
		p++;
	if (*p == '\0' && p > s)
		return buf_append_str(out, s);
	if ((rc = buf_append_str(out, "'")) != 0)
		return rc;
	for (p = s; *p != '\0' && rc == 0; p++)
		rc = *p == '\'' ? buf_append_str(out, "'\\''") : buf_append(out, p, 1);
	return rc != 0 ? rc : buf_append_str(out, "'");
}
