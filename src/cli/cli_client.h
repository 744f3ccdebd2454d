/* cli/cli_client.h - one question to the running server: its control socket, one JSON object on a
 * line each way, then the server closes. */
#ifndef CLI_CLI_CLIENT_H
#define CLI_CLI_CLIENT_H

#include "cli/cli.h"

/* Asks {"command": command} at the control socket of cli's configuration (or at cli->socket) and
 * waits at most timeout_ms for the answer. CLI_OK: *answer_out is the server's object, owned by the
 * caller, with "ok" true. Otherwise *answer_out is NULL, the failure has been told, and the code
 * says whether the server is not running, refused us, or answered "ok" false. */
enum cli_exit cli_client_ask(const struct cli *cli, const char *command, unsigned timeout_ms,
			     json_t **answer_out);

/* The same for a whole question (taken; NULL means out of memory), such as {"command":"why","which":"last"}. Only for
 * questions that change nothing: a configuration with mistakes does not keep the server from being asked. */
enum cli_exit cli_client_question(const struct cli *cli, json_t *question, unsigned timeout_ms,
				  json_t **answer_out);

/* The same, but the server's answer is given out whatever it says ("ok" true or false): nothing is told of a refusal. */
enum cli_exit cli_client_answer(const struct cli *cli, json_t *question, unsigned timeout_ms,
				json_t **answer_out);

/* Where the server listens (owned by the caller) and whether one does. Only what keeps us from knowing is a failure, and told. */
enum cli_exit cli_client_reach(const struct cli *cli, char **socket_out, bool *running_out);

/* Asks (question taken) and calls f with each answer, a line each, for as long as the server sends any; f borrows the
 * answer, and what it returns other than CLI_OK ends it. CLI_OK when the server has ended. */
typedef enum cli_exit cli_answer_f(void *arg, const json_t *answer);
enum cli_exit cli_client_follow(const struct cli *cli, json_t *question, cli_answer_f *f, void *arg);

#endif
