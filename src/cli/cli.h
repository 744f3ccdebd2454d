/* cli/cli.h - what the commands of the program "postern" share: options, exit codes, messages.
 *
 * A command gets a struct cli and its own arguments, does one thing, prints it (text for people, or
 * one JSON object on one line with --json) and returns its exit code. What goes wrong is told
 * once, by cli_fail(), where it is known what happened, whose fault it is and what to do next. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "util/buf.h"
#include "util/err.h"

#include <jansson.h>
#include <stdbool.h>

/* The exit codes of postern(1). 3 for "not running" is what init scripts use as well. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,      /* could not be done, or the server refused */
	CLI_USAGE = 2,       /* the command line is wrong */
	CLI_NOT_RUNNING = 3, /* no server at the control socket */
	CLI_DENIED = 4,      /* the caller may not do this */
	CLI_CONFIG = 5,      /* the configuration has mistakes */
};

#define CLI_DEFAULT_CONF SYSCONFDIR "/postern/postern.conf"
#define CLI_TEXT_MAX ((size_t)1024 * 1024) /* octets of one message or page that we print */

#define CLI_ALIASES_MAX 100

/* What "postern user" alone takes. */
struct cli_user {
	bool any; /* one of these options was given */
	bool from_stdin, generate, no_password;
	const char *quota; /* NULL: not given */
	const char *aliases[CLI_ALIASES_MAX], *no_aliases[CLI_ALIASES_MAX];
	size_t naliases, nno_aliases;
};

#define CLI_DOMAINS_MAX 16

/* What "postern setup" alone takes. */
struct cli_setup {
	const char *hostname, *postmaster, *client_ca; /* NULL: not given */
	const char *domains[CLI_DOMAINS_MAX];
	size_t ndomains; /* one more than the maximum: too many */
};

struct cli {
	const char *conf_file; /* -f, or CLI_DEFAULT_CONF */
	bool conf_given;       /* there was a -f */
	const char *socket;    /* -s, or NULL: what the configuration says */
	bool json;
	struct cli_user user; /* its three about passwords are of setup, too */
	struct cli_setup setup;
	bool follow; /* --follow, of trace */
	bool repair; /* --repair, of store check */
};

/* Tells that the command failed: "postern: text" on stderr, or {"ok":false,"error":"text"} on
 * stdout. The text may have several lines. Returns code, so that a command can end with it. */
enum cli_exit cli_fail(const struct cli *cli, enum cli_exit code, const char *fmt, ...)
	PT_PRINTF(3, 4);

/* The same for a text of any length (CLI_TEXT_MAX at most); frees what text holds. */
enum cli_exit cli_fail_text(const struct cli *cli, enum cli_exit code, struct buf *text);

/* Out of memory, wherever it happened. */
enum cli_exit cli_fail_memory(const struct cli *cli);

/* Prints an answer as one line of JSON on stdout and drops the reference (taken; NULL means out
 * of memory). CLI_FAILED when stdout takes no more. */
enum cli_exit cli_put_json(const struct cli *cli, json_t *answer);

/* Prints what buf holds on stdout, control characters but newline as '?' (names in it come from
 * files and from the server, and a terminal obeys), and frees what it holds. */
enum cli_exit cli_put_text(const struct cli *cli, struct buf *text);

/* A JSON string of any octets: what is not UTF-8 becomes '?'. NULL when out of memory. */
json_t *cli_json_string(const char *s);

/* Appends s as one word of a shell's command line: bare when nothing in it is special, in single
 * quotes otherwise (POSIX shell §2.2.2). */
int cli_shell_quote(struct buf *out, const char *s) PT_MUST_USE;

/* The commands. argv holds the arguments behind the command's name. */
enum cli_exit cli_setup(const struct cli *cli, int argc, char **argv);
enum cli_exit cli_status(const struct cli *cli, int argc, char **argv);
enum cli_exit cli_trace(const struct cli *cli, int argc, char **argv);
enum cli_exit cli_why(const struct cli *cli, int argc, char **argv);
enum cli_exit cli_metrics(const struct cli *cli, int argc, char **argv);
enum cli_exit cli_reload(const struct cli *cli, int argc, char **argv);
enum cli_exit cli_user(const struct cli *cli, int argc, char **argv);
enum cli_exit cli_store(const struct cli *cli, int argc, char **argv);
enum cli_exit cli_store_stat(const struct cli *cli, int argc, char **argv); /* behind "store stat" */
enum cli_exit cli_reindex(const struct cli *cli, int argc, char **argv);
enum cli_exit cli_config(const struct cli *cli, int argc, char **argv);

#endif
