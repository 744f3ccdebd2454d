/* util/log.c - formats a message once and hands it to the sink. The three variables below are the
 * one writable state outside proc/: a message may come from anywhere, and a process has one log. */
#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static log_sink_f *sink_f;
static void *sink_arg;
static enum log_level level_max = LOG_L_INFO;
static const char *own_name = "posternd";

void
log_set_sink(log_sink_f *sink, void *arg)
{
	sink_f = sink;
	sink_arg = arg;
}

void
log_set_level(enum log_level max)
{
	level_max = max;
}

void
log_set_name(const char *name)
{
	own_name = name;
}

bool
log_wants(enum log_level level)
{
	return level <= level_max;
}

const char *
log_level_name(enum log_level level)
{
	switch (level) {
	case LOG_L_ERROR:
		return "error";
	case LOG_L_WARNING:
		return "warning";
	case LOG_L_NOTICE:
		return "notice";
	case LOG_L_INFO:
		return "info";
	case LOG_L_DEBUG:
		return "debug";
	}
	return "error"; /* a level from another process may be out of range */
}

PT_PRINTF(4, 0)
static void
emit(enum log_level level, const struct log_field *fields, size_t n, const char *fmt, va_list ap)
{
	char line[LOG_LINE_MAX], *p;

	if (level > level_max)
		return;
	vsnprintf(line, sizeof line, fmt, ap);
	/* a log ends on terminals: no control characters, whatever a name or a path held */
	for (p = line; *p != '\0'; p++)
		if (((unsigned char)*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f)
			*p = '?';
	if (sink_f != NULL)
		sink_f(sink_arg, level, line, n > 0 ? fields : NULL, n);
	else
		dprintf(STDERR_FILENO, "%s[%d] %s: %s\n", own_name, (int)getpid(),
			log_level_name(level), line);
}

void
log_msg(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(level, NULL, 0, fmt, ap);
	va_end(ap);
}

void
log_fields(enum log_level level, const struct log_field *fields, size_t n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(level, fields, n, fmt, ap);
	va_end(ap);
}
