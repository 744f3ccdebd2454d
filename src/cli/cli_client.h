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

#endif
