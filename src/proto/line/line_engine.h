/* proto/line/line_engine.h - one session of the line protocol without I/O (doc/line.md).
 *
 * The protocol's whole interface is struct engine_protocol: make one with line_protocol.new(),
 * drive it with the functions of proto/engine.h. Not thread safe. Memory: at most 160 octets while
 * nothing waits; with a full line and full output LINE_LINE_MAX and ENGINE_OUTPUT_MAX more. */
#ifndef PROTO_LINE_LINE_ENGINE_H
#define PROTO_LINE_LINE_ENGINE_H

#include "proto/engine.h"

#define LINE_SKIP_MAX (64 * 1024) /* octets skipped of one bad line before the session is ended */
#define LINE_ERRORS_MAX 10        /* BAD replies in a session; the last one is followed by BYE */

extern const struct engine_protocol line_protocol;

#endif
