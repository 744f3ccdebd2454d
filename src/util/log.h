/* util/log.h - what a process says to its administrator.
 *
 * One line per event, written once by whoever handles it. Where it goes is the sink's business:
 * stderr until log_set_sink() (in proc/ the sink sends a frame to the control process). Secrets and
 * octets of message bodies never come here; octets from a peer only through span_print(). */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>

#define LOG_LINE_MAX 2048 /* octets of one message with the NUL; longer text is cut */
#define LOG_FIELDS_MAX 12

/* The values are syslog's severities (RFC 5424 §6.2.1). */
enum log_level {
	LOG_L_ERROR = 3,
	LOG_L_WARNING = 4,
	LOG_L_NOTICE = 5,
	LOG_L_INFO = 6,
	LOG_L_DEBUG = 7,
};

/* A named value beside the message, for machines: service, peer, user, ... Borrowed. */
struct log_field {
	const char *name; /* a static word of lower-case letters and '-' */
	const char *value;
};

/* Called with each message; fields is NULL when n is 0. Must not log. */
typedef void log_sink_f(void *arg, enum log_level level, const char *text,
			const struct log_field *fields, size_t n);

/* NULL goes back to stderr. arg is borrowed. */
void log_set_sink(log_sink_f *sink, void *arg);

/* Messages above this level are dropped before they are formatted; LOG_L_INFO at start. */
void log_set_level(enum log_level max);

/* The name in front of messages that go to stderr; borrowed, "posternd" at start. */
void log_set_name(const char *name);

/* Whether a message of this level is written at all: to spare making one that is not. */
bool log_wants(enum log_level level);

void log_msg(enum log_level level, const char *fmt, ...) PT_PRINTF(2, 3);
void log_fields(enum log_level level, const struct log_field *fields, size_t n, const char *fmt, ...)
	PT_PRINTF(4, 5);

/* "error", "warning", "notice", "info", "debug". */
const char *log_level_name(enum log_level level);

#endif
