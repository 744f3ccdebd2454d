/* cli/cli_client.c - see cli_client.h. Most of it is about saying well what went wrong: this is
 * where a person meets a server that is down, not theirs, or of another version. */
#include "cli/cli_client.h"

#include "cli/cli_load.h"
#include "conf/conf.h"
#include "util/diag.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX CLI_TEXT_MAX /* 64 services and 64 workers need a tenth of it */

/* Where the server listens, and what to say when it does not. Strings owned. */
struct place {
	char *socket;
	char *group;
	struct buf start; /* the command that starts the server, with its NUL */
};

static void
place_fini(struct place *pl)
{
	free(pl->socket);
	free(pl->group);
	buf_fini(&pl->start);
}

static enum cli_exit
place_find(const struct cli *cli, bool tolerate, struct place *pl)
{
	struct conf *conf = NULL;
	enum cli_exit code;
	char *real;
	int rc;

	*pl = (struct place){ 0 };
	buf_init(&pl->start, CLI_TEXT_MAX);
	if (cli->socket != NULL) {
		pl->socket = strdup(cli->socket);
		pl->group = strdup("postern-admin");
	} else if (tolerate && access(cli->conf_file, R_OK) == 0 && !cli_load_is_clean(cli)) {
		if (!cli->json)
			fprintf(stderr, "postern: %s has mistakes (postern config show lists them); the "
				"running server is asked all the same\n", cli->conf_file);
		pl->socket = cli_guess_socket(cli);
		pl->group = strdup("postern-admin");
	} else {
		if ((code = cli_load(cli, &conf)) != CLI_OK)
			return code;
		pl->socket = strdup(conf->control_socket);
		pl->group = strdup(conf->control_group);
		conf_free(&conf);
	}
	rc = buf_append_str(&pl->start, SBINDIR "/posternd");
	if (rc == 0 && cli->conf_given && (rc = buf_append_str(&pl->start, " -f ")) == 0) {
		real = realpath(cli->conf_file, NULL); /* to be pasted in any folder */
		rc = cli_shell_quote(&pl->start, real != NULL ? real : cli->conf_file);
		free(real);
	}
	if (rc == 0)
		rc = buf_append(&pl->start, "", 1);
	return rc != 0 || pl->socket == NULL || pl->group == NULL ? cli_fail_memory(cli) : CLI_OK;
}

static enum cli_exit
fail_connect(const struct cli *cli, const struct place *pl, int error)
{
	const char *start = (const char *)pl->start.base;

	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return cli_fail(
		    cli, CLI_NOT_RUNNING,
		    "posternd is not running (there is no socket %s): start it with: %s",
		    pl->socket, start);
	case ECONNREFUSED:
		return cli_fail(cli, CLI_NOT_RUNNING,
				"posternd is not running (nobody listens at %s): start it with: %s",
				pl->socket, start);
	case EACCES:
	case EPERM:
		return cli_fail(
		    cli, CLI_DENIED,
		    "you may not speak to posternd at %s: you are neither root, nor who "
		    "started it, nor in group %s; an administrator puts you there with: "
		    "usermod -a -G %s YOUR-NAME (then log in again)",
		    pl->socket, pl->group, pl->group);
	case EAGAIN: /* what connect() on a unix socket says when the backlog is full */
		return cli_fail(
		    cli, CLI_FAILED,
		    "posternd listens at %s but takes no more questions: it is stuck or "
		    "flooded; look at its log",
		    pl->socket);
	default:
		return cli_fail(cli, CLI_FAILED, "connecting to %s: %s", pl->socket,
				strerror(error));
	}
}

/* error_out: errno of the connection, 0 when there is one. */
static enum cli_exit
try_socket(const struct cli *cli, const struct place *pl, unsigned timeout_ms, int *fd_out, int *error_out)
{
	struct timeval tv = { timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000 };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd;

	*fd_out = -1;
	*error_out = 0;
	if (strlcpy(un.sun_path, pl->socket, sizeof un.sun_path) >= sizeof un.sun_path)
		return cli_fail(cli, CLI_USAGE,
				"the path of the control socket is too long: %s has %zu octets, a "
				"unix socket takes %zu",
				pl->socket, strlen(pl->socket), sizeof un.sun_path - 1);
	if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
		return cli_fail(cli, CLI_FAILED, "making a socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
	if (connect(fd, (const struct sockaddr *)&un, sizeof un) != 0) {
		*error_out = errno;
		close(fd);
		return CLI_OK;
	}
	*fd_out = fd;
	return CLI_OK;
}

static enum cli_exit
open_socket(const struct cli *cli, const struct place *pl, unsigned timeout_ms, int *fd_out)
{
	enum cli_exit code;
	int error;

	if ((code = try_socket(cli, pl, timeout_ms, fd_out, &error)) != CLI_OK || error == 0)
		return code;
	return fail_connect(cli, pl, error);
}

enum cli_exit
cli_client_reach(const struct cli *cli, char **socket_out, bool *running)
{
	struct place pl = { 0 };
	enum cli_exit code;
	int fd = -1, error;

	*socket_out = NULL;
	*running = false;
	if ((code = place_find(cli, true, &pl)) == CLI_OK &&
	    (code = try_socket(cli, &pl, 1000, &fd, &error)) == CLI_OK) {
		*running = error == 0;
		if (error != 0 && error != ENOENT && error != ENOTDIR && error != ECONNREFUSED)
			code = fail_connect(cli, &pl, error);
	}
	if (fd >= 0)
		close(fd);
	if (code == CLI_OK) {
		*socket_out = pl.socket;
		pl.socket = NULL;
	}
	place_fini(&pl);
	return code;
}

static int
send_all(int fd, const char *p, size_t n)
{
	ssize_t k;

	while (n > 0) {
		if ((k = send(fd, p, n, MSG_NOSIGNAL)) < 0 && errno != EINTR)
			return -1;
		if (k > 0) {
			p += k;
			n -= (size_t)k;
		}
	}
	return 0;
}

/* Reads until the newline or the end. 0, or an errno value. */
static int
read_line(int fd, struct buf *in)
{
	char piece[4096];
	ssize_t n;

	for (;;) {
		if ((n = recv(fd, piece, sizeof piece, 0)) < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		if (n == 0)
			return 0;
		if (buf_append(in, piece, (size_t)n) != 0)
			return EMSGSIZE;
		if (memchr(piece, '\n', (size_t)n) != NULL)
			return 0;
	}
}

/* A question as it is sent: its line, owned. Takes the question; NULL when out of memory. */
static char *
line_of(json_t *question)
{
	char *text = question != NULL ? json_dumps(question, JSON_COMPACT) : NULL, *line = NULL;

	json_decref(question);
	if (text != NULL && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	return line;
}

/* What the server said, judged. Takes the answer. */
static enum cli_exit
judge(const struct cli *cli, json_t *answer, json_t **answer_out)
{
	const char *error;
	enum cli_exit code;

	if (json_is_true(json_object_get(answer, "ok"))) {
		*answer_out = answer;
		return CLI_OK;
	}
	error = json_string_value(json_object_get(answer, "error"));
	code = cli_fail(cli, CLI_FAILED, "%s",
			error != NULL ? error : "posternd refused without a reason");
	json_decref(answer);
	return code;
}

static enum cli_exit
talk(const struct cli *cli, const struct place *pl, int fd, const char *line, bool judged, json_t **answer_out)
{
	struct buf in;
	json_error_t why;
	json_t *answer;
	enum cli_exit code;
	int error;

	buf_init(&in, ANSWER_MAX);
	if (send_all(fd, line, strlen(line)) != 0 || (error = read_line(fd, &in)) == ECONNRESET ||
	    (error == 0 && buf_size(&in) == 0)) {
		code =
		    cli_fail(cli, CLI_FAILED,
			     "posternd at %s closed the connection without an answer: it may have "
			     "just stopped; look at its log, then try again",
			     pl->socket);
	} else if (error == EAGAIN) {
		code =
		    cli_fail(cli, CLI_FAILED,
			     "posternd at %s took the question and does not answer: it is stuck or "
			     "very busy; look at its log",
			     pl->socket);
	} else if (error != 0) {
		code =
		    cli_fail(cli, CLI_FAILED, "reading from %s: %s", pl->socket, strerror(error));
	} else if ((answer = json_loadb((const char *)buf_span(&in).p, buf_size(&in), 0, &why)) ==
		   NULL) {
		code =
		    cli_fail(cli, CLI_FAILED,
			     "what answers at %s does not speak JSON (%s): is it posternd, and of "
			     "this version?",
			     pl->socket, why.text);
	} else if (judged) {
		code = judge(cli, answer, answer_out);
	} else {
		*answer_out = answer;
		code = CLI_OK;
	}
	buf_fini(&in);
	return code;
}

static enum cli_exit
ask(const struct cli *cli, json_t *question, bool tolerate, unsigned timeout_ms, bool judged, json_t **answer_out)
{
	char *line = line_of(question);
	struct place pl = { 0 };
	enum cli_exit code;
	int fd = -1;

	*answer_out = NULL;
	if (line == NULL)
		return cli_fail_memory(cli);
	if ((code = place_find(cli, tolerate, &pl)) == CLI_OK &&
	    (code = open_socket(cli, &pl, timeout_ms, &fd)) == CLI_OK)
		code = talk(cli, &pl, fd, line, judged, answer_out);
	if (fd >= 0)
		close(fd);
	place_fini(&pl);
	free(line);
	return code;
}

enum cli_exit
cli_client_ask(const struct cli *cli, const char *command, unsigned timeout_ms, json_t **answer_out)
{
	return ask(cli, json_pack("{s:s}", "command", command), strcmp(command, "reload") != 0, timeout_ms,
		   true, answer_out);
}

enum cli_exit
cli_client_question(const struct cli *cli, json_t *question, unsigned timeout_ms, json_t **answer_out)
{
	return ask(cli, question, true, timeout_ms, true, answer_out);
}

enum cli_exit
cli_client_answer(const struct cli *cli, json_t *question, unsigned timeout_ms, json_t **answer_out)
{
	return ask(cli, question, true, timeout_ms, false, answer_out);
}

/* One line of what the server sends. */
static enum cli_exit
answer_line(const struct cli *cli, struct span line, cli_answer_f *f, void *arg)
{
	json_t *answer = json_loadb((const char *)line.p, line.n, 0, NULL), *good;
	enum cli_exit code;

	if (answer == NULL)
		return cli_fail(cli, CLI_FAILED, "the server sent what is no JSON");
	if ((code = judge(cli, answer, &good)) != CLI_OK)
		return code;
	code = f(arg, good);
	json_decref(good);
	return code;
}

static enum cli_exit
follow(const struct cli *cli, int fd, cli_answer_f *f, void *arg)
{
	enum cli_exit code = CLI_OK;
	const uint8_t *end;
	char piece[4096];
	struct buf in;
	struct span s;
	ssize_t n = 1;

	buf_init(&in, ANSWER_MAX);
	while (code == CLI_OK && n != 0) {
		if ((n = recv(fd, piece, sizeof piece, 0)) < 0 && errno == EINTR)
			continue;
		if (n < 0 || (n > 0 && buf_append(&in, piece, (size_t)n) != 0))
			code = cli_fail(cli, CLI_FAILED, "reading from the server: %s", strerror(errno));
		while (code == CLI_OK && (s = buf_span(&in)).n > 0 && (end = memchr(s.p, '\n', s.n)) != NULL) {
			code = answer_line(cli, (struct span){ s.p, (size_t)(end - s.p) }, f, arg);
			buf_consume(&in, (size_t)(end - s.p) + 1);
		}
	}
	buf_fini(&in);
	return code;
}

enum cli_exit
cli_client_follow(const struct cli *cli, json_t *question, cli_answer_f *f, void *arg)
{
	char *line = line_of(question);
	struct place pl = { 0 };
	enum cli_exit code;
	int fd = -1;

	if (line == NULL)
		return cli_fail_memory(cli);
	if ((code = place_find(cli, true, &pl)) == CLI_OK && (code = open_socket(cli, &pl, 0, &fd)) == CLI_OK) {
		code = send_all(fd, line, strlen(line)) == 0
			   ? follow(cli, fd, f, arg)
			   : cli_fail(cli, CLI_FAILED, "posternd at %s closed the connection", pl.socket);
	}
	if (fd >= 0)
		close(fd);
	place_fini(&pl);
	free(line);
	return code;
}
