/* cli/cli_trace.c - "postern trace": the handshake of a connection, message by message. */
#include "cli/cli_trace.h"

#include "cli/cli_client.h"

#include <stdio.h>
#include <string.h>

#define TRACE_TIMEOUT_MS 20000
#define LABEL_WIDTH 34 /* characters of a step's words; sizes stand behind */

const char *
cli_trace_text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s != NULL ? s : "";
}

static long long
number(const json_t *o, const char *name)
{
	return (long long)json_integer_value(json_object_get(o, name));
}

int
cli_trace_put_time(struct buf *out, const char *time)
{
	static const char *const months[] = { "January", "February", "March",	  "April",   "May",	 "June",
					      "July",	 "August",   "September", "October", "November", "December" };
	int year, month, day, used = 0;

	if (sscanf(time, "%d-%d-%dT%n", &year, &month, &day, &used) != 3 || used == 0 || month < 1 || month > 12)
		return buf_append_str(out, time);
	return buf_printf(out, "%d %s %d %.8s UTC", day, months[month - 1], year, time + used);
}

/* --- the head ---------------------------------------------------------------------------------- */

/* Appends the text behind a separator if there is one; *first is false afterwards. */
static int
put_part(struct buf *out, bool *first, const char *before, const char *text)
{
	int rc;

	if (text[0] == '\0')
		return 0;
	rc = buf_printf(out, "%s%s%s", *first ? "  " : ", ", before, text);
	*first = false;
	return rc;
}

static int
put_tls(struct buf *out, const json_t *c)
{
	const json_t *tls = json_object_get(c, "tls");
	bool first = true;
	int rc;

	if (cli_trace_text(tls, "version")[0] == '\0')
		return 0;
	if ((rc = put_part(out, &first, "", cli_trace_text(tls, "version"))) != 0 ||
	    (rc = put_part(out, &first, "", cli_trace_text(tls, "cipher"))) != 0 ||
	    (rc = put_part(out, &first, "", cli_trace_text(tls, "group"))) != 0 ||
	    (rc = put_part(out, &first, "signed with ", cli_trace_text(tls, "signature"))) != 0 ||
	    (rc = put_part(out, &first, "", json_is_true(json_object_get(tls, "resumed")) ? "resumed by ticket" : "")) != 0 ||
	    (rc = put_part(out, &first, "server name ", cli_trace_text(tls, "server_name"))) != 0 ||
	    (rc = put_part(out, &first, "ALPN ", cli_trace_text(tls, "alpn"))) != 0)
		return rc;
	if (number(tls, "tickets") > 0 && (rc = buf_printf(out, ", %lld tickets given", number(tls, "tickets"))) != 0)
		return rc;
	return buf_append_str(out, "\n");
}

static int
put_certificate(struct buf *out, const json_t *c)
{
	const json_t *cert = json_object_get(c, "certificate");
	const char *user = cli_trace_text(c, "user");
	int rc;

	if (cert == NULL)
		return 0;
	if ((rc = buf_printf(out, "  certificate %s by %s (%s), valid %.10s to %.10s, %lld in the chain\n  verdict: %s",
			     cli_trace_text(cert, "subject"), cli_trace_text(cert, "issuer"),
			     cli_trace_text(cert, "names"), cli_trace_text(cert, "not_before"),
			     cli_trace_text(cert, "not_after"), number(cert, "chain"),
			     cli_trace_text(c, "verdict"))) != 0)
		return rc;
	if (user[0] != '\0' && (rc = buf_printf(out, ", user %s", user)) != 0)
		return rc;
	return buf_append_str(out, "\n");
}

static int
put_head(struct buf *out, const json_t *c)
{
	const bool open = json_is_true(json_object_get(c, "open"));
	int rc;

	if ((rc = buf_printf(out, "connection %s, ", cli_trace_text(c, "id"))) != 0 ||
	    (rc = cli_trace_put_time(out, cli_trace_text(c, "time"))) != 0)
		return rc;
	if ((rc = buf_printf(out, ", %s%s\n", open ? "open, in " : "closed", open ? cli_trace_text(c, "phase") : "")) != 0 ||
	    (rc = buf_printf(out, "  from %s to %s, service %s (%s), worker %lld, %lld octets in, %lld out\n",
			     cli_trace_text(c, "peer"), cli_trace_text(c, "local"), cli_trace_text(c, "service"),
			     cli_trace_text(c, "mode"), number(c, "pid"), number(c, "octets_in"),
			     number(c, "octets_out"))) != 0)
		return rc;
	if ((rc = put_tls(out, c)) != 0 || (rc = put_certificate(out, c)) != 0)
		return rc;
	if (number(c, "repeats") > 0)
		rc = buf_printf(out, "  and %lld like it before, since %s\n", number(c, "repeats"),
				cli_trace_text(c, "first_time"));
	return rc;
}

/* --- the steps --------------------------------------------------------------------------------- */

/* prefix: in front of each line. */
static int
put_step(struct buf *out, const char *prefix, const json_t *s)
{
	const char *way = cli_trace_text(s, "way");
	const char *arrow = strcmp(way, "in") == 0    ? "client ------> server"
			    : strcmp(way, "out") == 0 ? "client <------ server"
						      : "                     ";
	long long us = number(s, "us");

	if (json_object_get(s, "size") != NULL)
		return buf_printf(out, "%s%9lld.%03lld  %s  %-*s %6lld\n", prefix, us / 1000, us % 1000, arrow,
				  LABEL_WIDTH, cli_trace_text(s, "text"), number(s, "size"));
	return buf_printf(out, "%s%9lld.%03lld  %s  %s\n", prefix, us / 1000, us % 1000, arrow,
			  cli_trace_text(s, "text"));
}

static int
put_steps(struct buf *out, const char *prefix, const json_t *c)
{
	const json_t *steps = json_object_get(c, "steps");
	long long skipped = number(c, "steps_skipped");
	size_t i, n = json_array_size(steps);
	int rc = 0;

	for (i = 0; i < n && rc == 0; i++) {
		/* the recorder keeps the first half and the last */
		if (skipped > 0 && i == n / 2 && prefix[0] == '\0' &&
		    (rc = buf_printf(out, "%15s(%lld steps are left out here)\n", "", skipped)) != 0)
			break;
		rc = put_step(out, prefix, json_array_get(steps, i));
	}
	return rc;
}

int
cli_trace_put(struct buf *out, const json_t *c)
{
	int rc;

	if ((rc = put_head(out, c)) != 0 ||
	    (rc = buf_printf(out, "\n%13s  %-21s  %-*s %6s\n", "ms", "", LABEL_WIDTH, "", "octets")) != 0 ||
	    (rc = put_steps(out, "", c)) != 0)
		return rc;
	if (json_is_true(json_object_get(c, "partial")))
		rc = buf_append_str(out, "      (its steps had to make room for others')\n");
	return rc;
}

/* --- the command ------------------------------------------------------------------------------- */

static int
put_all(struct buf *out, const json_t *answer)
{
	const json_t *list = json_object_get(answer, "connections"), *c;
	const char *sentence;
	size_t i;
	int rc = 0;

	if (json_array_size(list) == 0)
		return buf_append_str(out, strcmp(cli_trace_text(answer, "recorder"), "off") == 0
				? "The flight recorder is off: \"recorder on\" in the configuration keeps connections.\n"
				: "No such connection is known (any more).\n");
	for (i = json_array_size(list); i > 0 && rc == 0; i--) { /* the newest last, where a person looks */
		c = json_array_get(list, i - 1);
		if ((rc = cli_trace_put(out, c)) != 0)
			break;
		sentence = cli_trace_text(json_object_get(c, "why"), "sentence");
		if (sentence[0] != '\0' && (rc = buf_printf(out, "\n  why: %s\n", sentence)) != 0)
			break;
		if (i > 1)
			rc = buf_append_str(out, "\n");
	}
	return rc;
}

struct following {
	const struct cli *cli;
	char last[64]; /* id of the connection that was told of last */
};

static enum cli_exit
follow_one(void *arg, const json_t *answer)
{
	struct following *f = arg;
	const json_t *c = json_object_get(answer, "connection"), *why = json_object_get(c, "why");
	const char *id = cli_trace_text(c, "id");
	const bool open = json_is_true(json_object_get(c, "open"));
	char prefix[80];
	struct buf out;
	int rc = 0;

	if (f->cli->json) {
		if (json_dumpf(answer, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF || fflush(stdout) != 0)
			return CLI_FAILED;
		return CLI_OK;
	}
	buf_init(&out, CLI_TEXT_MAX);
	snprintf(prefix, sizeof prefix, "%-8.40s", id);
	if (strcmp(f->last, id) != 0)
		rc = put_head(&out, c);
	snprintf(f->last, sizeof f->last, "%.60s", id);
	if (rc == 0 && (rc = put_steps(&out, prefix, c)) == 0 && !open && json_is_object(why))
		rc = buf_printf(&out, "%s why: %s\n", prefix, cli_trace_text(why, "sentence"));
	if (rc == 0 && cli_put_text(f->cli, &out) == CLI_OK && fflush(stdout) == 0)
		return CLI_OK;
	buf_fini(&out);
	return CLI_FAILED;
}

static json_t *
question_of(const char *which, bool follow)
{
	json_t *q = json_pack("{s:s, s:o, s:b}", "command", "trace", "which", cli_json_string(which), "follow", follow);

	return q;
}

enum cli_exit
cli_trace(const struct cli *cli, int argc, char **argv)
{
	const char *which = argc > 0 ? argv[0] : "last";
	struct following f = { .cli = cli };
	json_t *answer;
	struct buf out;
	enum cli_exit code;

	if (argc > 1)
		return cli_fail(cli, CLI_USAGE, "trace takes one argument: last, the id of a connection, or an address");
	if (cli->follow)
		return cli_client_follow(cli, question_of(which, true), follow_one, &f);
	code = cli_client_question(cli, question_of(which, false), TRACE_TIMEOUT_MS, &answer);
	if (code != CLI_OK)
		return code;
	if (cli->json)
		return cli_put_json(cli, answer);
	buf_init(&out, CLI_TEXT_MAX);
	code = put_all(&out, answer) == 0 ? cli_put_text(cli, &out) : cli_fail_memory(cli);
	buf_fini(&out);
	json_decref(answer);
	return code;
}
