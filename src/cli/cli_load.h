/* cli/cli_load.h - the configuration, for a command that needs it. */
#ifndef CLI_CLI_LOAD_H
#define CLI_CLI_LOAD_H

#include "cli/cli.h"
#include "conf/conf.h"

/* Loads cli->conf_file. CLI_OK: *conf_out is owned by the caller. Otherwise it is NULL and the
 * mistakes have been told exactly as the parser words them. */
enum cli_exit cli_load(const struct cli *cli, struct conf **conf_out);

#endif
