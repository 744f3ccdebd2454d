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

static enum cli_exit
open_socket(const struct cli *cli, const struct place *pl, unsigned timeout_ms, int *fd_out)
{
	struct timeval tv = { timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000 };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd;

	*fd_out = -1;
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
		int error = errno;

		close(fd);
		return fail_connect(cli, pl, error);
	}
	*fd_out = fd;
	return CLI_OK;
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
talk(const struct cli *cli, const struct place *pl, int fd, const char *command,
     json_t **answer_out)
{
	struct buf in;
	json_error_t why;
	json_t *answer;
	char line[256];
	enum cli_exit code;
	int error, n;

	buf_init(&in, ANSWER_MAX);
	n = snprintf(line, sizeof line, "{\"command\":\"%s\"}\n", command);
	PT_ASSERT(n > 0 && (size_t)n < sizeof line);
	if (send_all(fd, line, (size_t)n) != 0 || (error = read_line(fd, &in)) == ECONNRESET ||
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
	} else {
		code = judge(cli, answer, answer_out);
	}
	buf_fini(&in);
	return code;
}

enum cli_exit
cli_client_ask(const struct cli *cli, const char *command, unsigned timeout_ms, json_t **answer_out)
{
	struct place pl;
	enum cli_exit code;
	int fd = -1;

	*answer_out = NULL;
	if ((code = place_find(cli, strcmp(command, "reload") != 0, &pl)) == CLI_OK &&
	    (code = open_socket(cli, &pl, timeout_ms, &fd)) == CLI_OK)
		code = talk(cli, &pl, fd, command, answer_out);
	if (fd >= 0)
		close(fd);
	place_fini(&pl);
	return code;
}
