/* proc/logging.c - see logging.h. */
#include "proc/logging.h"

#include "ipc/msg.h"

#include <string.h>
#include <time.h>

/* A value with control characters would make lines of its own in the log, or move a terminal's cursor. */
static void
put_value(char *to, const char *value, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		to[i] = (unsigned char)value[i] < 0x20 || value[i] == 0x7f ? '?' : value[i];
	to[n] = '\0';
}

size_t
logging_pack(const struct log_field *fields, size_t n, char out[LOGGING_FIELDS_MAX])
{
	size_t i, at = 0, a, b;

	for (i = 0; i < n && i < LOG_FIELDS_MAX; i++) {
		a = strlen(fields[i].name) + 1;
		b = strlen(fields[i].value) + 1;
		if (at + a + b > LOGGING_FIELDS_MAX)
			break;
		memcpy(out + at, fields[i].name, a);
		put_value(out + at + a, fields[i].value, b - 1);
		at += a + b;
	}
	return at;
}

int
logging_encode(enum log_level level, const char *text, const struct log_field *fields, size_t n, struct frame *f)
{
	char packed[LOGGING_FIELDS_MAX];
	size_t at = logging_pack(fields, n, packed);
	struct timespec now;
	struct msg_log m;

	clock_gettime(CLOCK_REALTIME, &now);
	m = (struct msg_log){ .time_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000,
		.level = (uint8_t)level, .text = span_str(text), .fields = { (uint8_t *)packed, at } };
	return msg_log_encode(&m, 0, f) == 0 ? 0 : PT_ETOOBIG;
}

int
logging_send(int fd, enum log_level level, const char *text, const struct log_field *fields, size_t n)
{
	struct frame f;
	int rc = logging_encode(level, text, fields, n, &f);

	return rc != 0 ? rc : frame_send(fd, &f, -1);
}
