/* proto/exec/exec_reply.h - what an exec service says in its own words. */
#ifndef PROTO_EXEC_EXEC_REPLY_H
#define PROTO_EXEC_EXEC_REPLY_H

#include "proto/exec/exec_engine.h"
#include "util/buf.h"

/* Appends the configured text or the default with its line end; nothing where there is none. 0, PT_ENOMEM. */
int exec_reply_say(struct buf *out, const struct exec_conf *conf, enum exec_text t,
		   const struct engine_peer *peer) PT_MUST_USE;

/* Appends a line. */
int exec_reply_line(struct buf *out, const char *text) PT_MUST_USE;

/* The line for a connection that is refused before it has an engine. Static storage. */
const char *exec_reply_refusal(enum engine_bye why);

#endif
