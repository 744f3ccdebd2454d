/* cli/cli_load.c - see cli_load.h. */
#include "cli/cli_load.h"

#include <errno.h>
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
