/* cli/cli_why.c - "postern why": why a connection failed, in a sentence, and the steps that it rests on. */
#include "cli/cli_client.h"
#include "cli/cli_trace.h"

#include <stdio.h>
#include <string.h>

#define WHY_TIMEOUT_MS 20000
/* A mail program may show no more than "failed: 550". */
#define REFUSED "A login, sender, recipient or message that was refused in one that went on is in the log.\n"

static int
put_none(struct buf *out, const json_t *answer, const char *which)
{
	if (strcmp(cli_trace_text(answer, "recorder"), "off") == 0)
		return buf_append_str(out, "The flight recorder is off: \"recorder on\" in the configuration keeps "
					   "connections. Until then the log says why each one failed.\n");
	if (strcmp(which, "last") == 0)
		return buf_append_str(out, "No connection has failed, as far as is known. " REFUSED);
	return buf_printf(out, "No connection of %s has failed, as far as is known. The log may know of an older one. " REFUSED,
			  which);
}

/* One line for each of the others: when, id, sentence. */
static int
put_others(struct buf *out, const json_t *others)
{
	const json_t *c;
	size_t i;
	int rc = 0;

	if (json_array_size(others) > 0)
		rc = buf_append_str(out, "\nand besides:\n");
	for (i = 0; i < json_array_size(others) && rc == 0; i++) {
		c = json_array_get(others, i);
		if ((rc = buf_append_str(out, "  ")) != 0 ||
		    (rc = cli_trace_put_time(out, cli_trace_text(c, "time"))) != 0)
			break;
		rc = buf_printf(out, ", connection %s: %s\n", cli_trace_text(c, "id"),
				cli_trace_text(json_object_get(c, "why"), "sentence"));
	}
	return rc;
}

static int
put_answer(struct buf *out, const json_t *answer, const char *which)
{
	int rc;

	if (json_integer_value(json_object_get(answer, "found")) == 0)
		return put_none(out, answer, which);
	if ((rc = buf_printf(out, "%s\n\n(%s, %s; see postern-why(7))\n\n", cli_trace_text(answer, "sentence"),
			     cli_trace_text(answer, "code"), cli_trace_text(answer, "side"))) != 0 ||
	    (rc = cli_trace_put(out, json_object_get(answer, "connection"))) != 0)
		return rc;
	return put_others(out, json_object_get(answer, "others"));
}

enum cli_exit
cli_why(const struct cli *cli, int argc, char **argv)
{
	const char *which = argc > 0 ? argv[0] : "last";
	json_t *answer;
	struct buf out;
	enum cli_exit code;

	if (argc > 1)
		return cli_fail(cli, CLI_USAGE, "why takes one argument: last, an address, or a user");
	code = cli_client_question(cli,
				   json_pack("{s:s, s:o}", "command", "why", "which", cli_json_string(which)),
				   WHY_TIMEOUT_MS, &answer);
	if (code != CLI_OK)
		return code;
	if (cli->json)
		return cli_put_json(cli, answer);
	buf_init(&out, CLI_TEXT_MAX);
	code = put_answer(&out, answer, which) == 0 ? cli_put_text(cli, &out) : cli_fail_memory(cli);
	buf_fini(&out);
	json_decref(answer);
	return code;
}
