/* cli/cli_status.c - "postern status", "postern metrics" and "postern reload": what the running server says
 * of itself, and the one thing that it is told to do. With --json the server's answer is passed on as it is.
 */
#include "cli/cli_client.h"
#include "cli/cli_table.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define STATUS_TIMEOUT_MS 10000
#define RELOAD_TIMEOUT_MS 120000 /* certificates of many services are loaded meanwhile */

static const char *
get_text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s != NULL ? s : "-";
}

/* The same of an array, whatever stands there. */
static const char *
text_at(const json_t *array, size_t i)
{
	const char *s = json_string_value(json_array_get(array, i));

	return s != NULL ? s : "-";
}

static long long
get_number(const json_t *o, const char *name)
{
	return (long long)json_number_value(json_object_get(o, name));
}

/* "3d 04:05:06": the two ends that a person asks for, since when, and is it counting. */
static int
put_duration(struct buf *out, long long s)
{
	int rc = 0;

	if (s >= 86400)
		rc = buf_printf(out, "%lldd ", s / 86400);
	return rc != 0
		   ? rc
		   : buf_printf(out, "%02lld:%02lld:%02lld", s / 3600 % 24, s / 60 % 60, s % 60);
}

static void
date_text(long long s, char *out, size_t cap)
{
	time_t t = (time_t)s;
	struct tm tm;

	if (localtime_r(&t, &tm) == NULL || strftime(out, cap, "%Y-%m-%d %H:%M:%S %Z", &tm) == 0)
		snprintf(out, cap, "-");
}

static int
put_credentials(struct buf *out, const json_t *o)
{
	char when[64];
	int rc;

	if (o == NULL)
		return 0; /* a server that does not know of them */
	date_text(get_number(o, "since"), when, sizeof when);
	if ((rc = buf_printf(out, "certificates   generation %lld since %s\n", get_number(o, "generation"),
		     when)) != 0 || !json_is_string(json_object_get(o, "error")))
		return rc;
	date_text(get_number(o, "refused"), when, sizeof when);
	return buf_printf(out, "%-15schanged files were refused at %s: %s\n", "", when,
		get_text(o, "error"));
}

static int
put_head(struct buf *out, const json_t *answer)
{
	const json_t *limitations = json_object_get(answer, "limitations");
	char when[64];
	size_t i;
	int rc;

	date_text(get_number(answer, "started"), when, sizeof when);
	if ((rc = buf_printf(out, "posternd %s is %s, process %lld\n", get_text(answer, "version"),
			     get_text(answer, "state"), get_number(answer, "pid"))) != 0 ||
	    (rc = buf_printf(out, "running        ")) != 0 ||
	    (rc = put_duration(out, get_number(answer, "uptime"))) != 0 ||
	    (rc = buf_printf(out, " since %s\nconfiguration  %s, generation %lld\n", when,
			     get_text(answer, "config"), get_number(answer, "generation"))) != 0)
		return rc;
	if ((rc = put_credentials(out, json_object_get(answer, "credentials"))) != 0)
		return rc;
	for (i = 0; i < json_array_size(limitations); i++)
		if ((rc = buf_printf(out, "%-15s%s\n", i == 0 ? "limitations" : "",
				     text_at(limitations, i))) != 0)
			return rc;
	if (get_number(answer, "log_dropped") > 0 &&
	    (rc = buf_printf(out, "log            %lld messages were dropped: too many at once\n",
			     get_number(answer, "log_dropped"))) != 0)
		return rc;
	return 0;
}

/* "1234", "56.7k", "8.9M": exact below 10,000, and --json has every digit. */
static void
put_octets(struct cli_table *t, long long n)
{
	static const char units[] = "kMGTPE";
	double v = (double)n;
	char text[32];
	size_t u = 0;

	if (n < 10000) {
		cli_table_number(t, n);
		return;
	}
	for (v /= 1000; v >= 1000 && u + 1 < sizeof units - 1; u++)
		v /= 1000;
	snprintf(text, sizeof text, "%.1f%c", v, units[u]);
	cli_table_cell(t, text);
}

/* How long the revocation lists of a service still hold: "6d", "5h", "ended"; "-" without any. */
/* The first end of a service's certificates; NULL: not known. */
static const json_t *
first_end(const json_t *service)
{
	const json_t *all = json_object_get(service, "certificates"), *first = NULL, *one;
	size_t i;

	for (i = 0; i < json_array_size(all); i++) {
		one = json_object_get(json_array_get(all, i), "not_after");
		if (first == NULL || json_integer_value(one) < json_integer_value(first))
			first = one;
	}
	return first;
}

/* How much time is left until then. */
static void
put_left(struct cli_table *t, const json_t *next)
{
	long long left = (long long)json_integer_value(next) - (long long)time(NULL);
	char text[32] = "ended";

	if (!json_is_integer(next))
		strlcpy(text, "-", sizeof text);
	else if (left >= 86400)
		snprintf(text, sizeof text, "%lldd", left / 86400);
	else if (left >= 3600)
		snprintf(text, sizeof text, "%lldh", left / 3600);
	else if (left >= 0)
		snprintf(text, sizeof text, "%lldm", left / 60);
	cli_table_cell(t, text);
}

static void
service_rows(struct cli_table *t, const json_t *service)
{
	static const char *const counts[] = {
		"connections", "accepted",	    "refused",	 "tls_sessions",
		"handshakes",  "handshakes_failed", "injections"
	};
	const json_t *listens = json_object_get(service, "listen");
	size_t i, k;

	cli_table_cell(t, get_text(service, "name"));
	cli_table_cell(t, text_at(listens, 0));
	for (i = 0; i < PT_COUNT(counts); i++)
		cli_table_number(t, get_number(service, counts[i]));
	put_octets(t, get_number(service, "octets_in"));
	put_octets(t, get_number(service, "octets_out"));
	put_left(t, first_end(service));
	put_left(t, json_object_get(service, "crl_next_update"));
	for (i = 1; i < json_array_size(listens); i++) { /* further addresses: lines of their own */
		cli_table_cell(t, "");
		cli_table_cell(t, text_at(listens, i));
		for (k = 0; k < PT_COUNT(counts) + 4; k++)
			cli_table_cell(t, "");
	}
}

static int
put_services(struct buf *out, const json_t *answer)
{
	static const struct cli_column columns[] = {
		{ "SERVICE", false }, { "LISTENS AT", false }, { "OPEN", true },
		{ "ACCEPTED", true }, { "REFUSED", true },     { "IN TLS", true },
		{ "HANDSHAKES", true }, { "FAILED", true },    { "INJECTIONS", true },
		{ "IN", true },       { "OUT", true },
		{ "CERTIFICATE", true }, { "CRL", true },
	};
	const json_t *services = json_object_get(answer, "services");
	struct cli_table *t;
	size_t i;
	int rc;

	if (json_array_size(services) == 0)
		return buf_append_str(out, "\nThere is no service: postern setup makes one.\n");
	if ((rc = buf_append_str(out, "\n")) != 0)
		return rc;
	if ((t = cli_table_new(columns, PT_COUNT(columns))) == NULL)
		return PT_ENOMEM;
	for (i = 0; i < json_array_size(services); i++)
		service_rows(t, json_array_get(services, i));
	rc = cli_table_print(t, out);
	cli_table_free(&t);
	return rc;
}

static int
put_processes(struct buf *out, const json_t *answer)
{
	static const struct cli_column columns[] = {
		{ "PROCESS", false }, { "SLOT", true }, { "PID", true },      { "GENERATION", true },
		{ "STATE", false },   { "OPEN", true }, { "ACCEPTED", true }, { "RESTARTS", true },
	};
	static const char *const counts[] = { "connections", "accepted", "restarts" };
	const json_t *processes = json_object_get(answer, "processes"), *process;
	struct cli_table *t;
	size_t i, k;
	int rc;

	if ((rc = buf_append_str(out, "\n")) != 0)
		return rc;
	if ((t = cli_table_new(columns, PT_COUNT(columns))) == NULL)
		return PT_ENOMEM;
	for (i = 0; i < json_array_size(processes); i++) {
		process = json_array_get(processes, i);
		cli_table_cell(t, get_text(process, "role"));
		cli_table_number(t, get_number(process, "slot"));
		cli_table_number(t, get_number(process, "pid"));
		cli_table_number(t, get_number(process, "generation"));
		cli_table_cell(t, get_text(process, "state"));
		for (k = 0; k < PT_COUNT(counts); k++) {
			if (json_object_get(process, counts[k]) == NULL)
				cli_table_cell(t, "-"); /* only workers hold connections */
			else
				cli_table_number(t, get_number(process, counts[k]));
		}
	}
	rc = cli_table_print(t, out);
	cli_table_free(&t);
	return rc;
}

enum cli_exit
cli_status(const struct cli *cli, int argc, char **argv)
{
	json_t *answer;
	struct buf out;
	enum cli_exit code;

	(void)argv;
	if (argc > 0)
		return cli_fail(cli, CLI_USAGE, "status takes no argument");
	if ((code = cli_client_ask(cli, "status", STATUS_TIMEOUT_MS, &answer)) != CLI_OK)
		return code;
	if (cli->json)
		return cli_put_json(cli, answer);
	buf_init(&out, CLI_TEXT_MAX);
	if (put_head(&out, answer) == 0 && put_services(&out, answer) == 0 &&
	    put_processes(&out, answer) == 0) {
		code = cli_put_text(cli, &out);
	} else {
		buf_fini(&out);
		code = cli_fail_memory(cli);
	}
	json_decref(answer);
	return code;
}

enum cli_exit
cli_metrics(const struct cli *cli, int argc, char **argv)
{
	json_t *answer;
	struct buf out;
	enum cli_exit code;

	(void)argv;
	if (argc > 0)
		return cli_fail(cli, CLI_USAGE, "metrics takes no argument");
	if ((code = cli_client_ask(cli, "metrics", STATUS_TIMEOUT_MS, &answer)) != CLI_OK)
		return code;
	if (cli->json)
		return cli_put_json(cli, answer);
	buf_init(&out, CLI_TEXT_MAX);
	if (buf_append_str(&out, get_text(answer, "metrics")) == 0) {
		code = cli_put_text(cli, &out);
	} else {
		buf_fini(&out);
		code = cli_fail_memory(cli);
	}
	json_decref(answer);
	return code;
}

enum cli_exit
cli_reload(const struct cli *cli, int argc, char **argv)
{
	json_t *answer;
	struct buf out;
	enum cli_exit code;

	(void)argv;
	if (argc > 0)
		return cli_fail(cli, CLI_USAGE, "reload takes no argument");
	if ((code = cli_client_ask(cli, "reload", RELOAD_TIMEOUT_MS, &answer)) != CLI_OK)
		return code;
	if (cli->json)
		return cli_put_json(cli, answer);
	buf_init(&out, CLI_TEXT_MAX);
	code = buf_printf(&out,
			  "reloaded: generation %lld serves, older sessions go on until they "
			  "end or \"drain\" is over\n",
			  get_number(answer, "generation")) == 0
		   ? cli_put_text(cli, &out)
		   : cli_fail_memory(cli);
	buf_fini(&out);
	json_decref(answer);
	return code;
}
