/* cli/cli_load.c - see cli_load.h. */
#include "cli/cli_load.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file that is not there or not readable is the most common mistake, and has its own way out. */
static enum cli_exit
fail_access(const struct cli *cli, int error)
{
	if (error == ENOENT)
		return cli_fail(cli, CLI_CONFIG,
				"there is no configuration %s: make one with: postern %ssetup%s",
				cli->conf_file, cli->conf_given ? "-f FILE " : "",
				cli->conf_given ? "" : " (as root), or name yours with -f FILE");
	return cli_fail(cli, error == EACCES ? CLI_DENIED : CLI_CONFIG,
			"the configuration %s cannot be read: %s", cli->conf_file, strerror(error));
}

static enum cli_exit
fail_mistakes(const struct cli *cli, const struct conf_errors *errors)
{
	size_t n = conf_errors_count(errors);
	struct buf text;

	buf_init(&text, CLI_TEXT_MAX);
	if (buf_printf(&text, "the configuration has %zu mistake%s:\n", n, n == 1 ? "" : "s") !=
		0 ||
	    conf_errors_print(errors, &text) != 0) {
		buf_fini(&text);
		return cli_fail_memory(cli);
	}
	return cli_fail_text(cli, CLI_CONFIG, &text);
}

enum cli_exit
cli_load(const struct cli *cli, struct conf **conf_out)
{
	struct conf_errors *errors;
	enum cli_exit code;
	int rc;

	*conf_out = NULL;
	if (access(cli->conf_file, R_OK) != 0)
		return fail_access(cli, errno);
	if ((errors = conf_errors_new()) == NULL)
		return cli_fail_memory(cli);
	rc = conf_load(cli->conf_file, conf_out, errors);
	if (rc == 0)
		code = CLI_OK;
	else if (conf_errors_count(errors) > 0)
		code = fail_mistakes(cli, errors);
	else
		code = cli_fail(cli, CLI_FAILED, "reading %s: %s", cli->conf_file, pt_strerror(rc));
	conf_errors_free(&errors);
	return code;
}

bool
cli_load_is_clean(const struct cli *cli)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf = NULL;
	bool clean;

	clean = errors != NULL && conf_load(cli->conf_file, &conf, errors) == 0;
	conf_free(&conf);
	conf_errors_free(&errors);
	return clean;
}

/* The word behind the last "socket" of a line, without its quotes; false if there is none. */
static bool
socket_word(char *line, char **word_out)
{
	char *p = line, *word, *to;

	*word_out = NULL;
	while ((p = strstr(p, "socket")) != NULL) {
		if (strcspn(line, "#") < (size_t)(p - line))
			break; /* a comment */
		p += strlen("socket");
		if (*p != ' ' && *p != '\t')
			continue;
		p += strspn(p, " \t");
		word = to = p;
		if (*p == '"') {
			for (p++; *p != '"' && *p != '\0'; p++) {
				if (*p == '\\' && p[1] != '\0')
					p++;
				*to++ = *p;
			}
		} else {
			to = p += strcspn(p, " \t\r\n{}#");
		}
		if (*p != '\0')
			p++;
		*to = '\0';
		*word_out = word;
	}
	return *word_out != NULL;
}

static char *
in_folder_of(const char *file, const char *path)
{
	char *copy, *real, *out = NULL;

	if (path[0] == '/')
		return strdup(path);
	if ((real = realpath(file, NULL)) == NULL)
		return NULL;
	copy = dirname(real);
	if (asprintf(&out, "%s/%s", copy, path) < 0)
		out = NULL;
	free(real);
	return out;
}

char *
cli_guess_socket(const struct cli *cli)
{
	char line[4096], *word, *guess = strdup(RUNSTATEDIR "/postern/control");
	FILE *f = fopen(cli->conf_file, "re");

	while (f != NULL && guess != NULL && fgets(line, sizeof line, f) != NULL) {
		if (!socket_word(line, &word))
			continue;
		free(guess);
		guess = in_folder_of(cli->conf_file, word);
	}
	if (f != NULL)
		fclose(f);
	return guess;
}
