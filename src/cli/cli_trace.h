/* cli/cli_trace.h - a connection of the flight recorder as text; for trace and why. */
#ifndef CLI_CLI_TRACE_H
#define CLI_CLI_TRACE_H

#include "cli/cli.h"

/* Appends what is known of the connection: whose, what was negotiated, the steps. */
int cli_trace_put(struct buf *out, const json_t *connection) PT_MUST_USE;

/* Appends "27 November 2026 17:22:27 UTC" for an RFC 3339 time; as it is when it is none. */
int cli_trace_put_time(struct buf *out, const char *time) PT_MUST_USE;

/* "" when the object has no such text. */
const char *cli_trace_text(const json_t *o, const char *name);

#endif
