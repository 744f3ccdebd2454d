/* cli/cli_load.h - the configuration, for a command that needs it. */
#ifndef CLI_CLI_LOAD_H
#define CLI_CLI_LOAD_H

#include "cli/cli.h"
#include "conf/conf.h"

/* Loads cli->conf_file. CLI_OK: *conf_out is owned by the caller. Otherwise it is NULL and the
 * mistakes have been told exactly as the parser words them. */
enum cli_exit cli_load(const struct cli *cli, struct conf **conf_out);

/* Where the running server listens for us, when the file on disk has mistakes (an edit under way must not hide
 * a server that runs well): the last "socket PATH" in it, else the default. An absolute path, owned by the
 * caller; NULL when out of memory. */
char *cli_guess_socket(const struct cli *cli);

/* The file can be read and has no mistakes; nothing is told. */
bool cli_load_is_clean(const struct cli *cli);

#endif
