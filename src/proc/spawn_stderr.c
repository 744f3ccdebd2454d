/* proc/spawn_stderr.c - what programs write to their standard error goes to the log, line by line, cleaned, and
 * not more of it than the log can bear. */
#include "proc/spawn.h"

#include "util/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define READ_SIZE 16384
#define READS_MAX 16 /* in one turn, so that a flood holds up nobody else */

static void
say(struct program *p, const char *line)
{
	char pid[16];
	const struct log_field fields[] = { { "service", p->pool->name }, { "program", pid } };

	snprintf(pid, sizeof pid, "%d", (int)p->pid);
	log_fields(LOG_L_NOTICE, fields, PT_COUNT(fields), "service %s: program %s: %s", p->pool->name, pid, line);
}

static void
end_line(struct program *p)
{
	char text[SPAWN_LINE_MAX + 1];
	uint64_t now = ev_now_ms();
	unsigned dropped;

	if (p->line_len == 0)
		return;
	if (!rate_take(&p->lines, SPAWN_LINES, SPAWN_LINES_WINDOW_MS, now)) {
		p->dropped++;
	} else {
		if ((dropped = p->dropped) > 0) {
			p->dropped = 0;
			snprintf(text, sizeof text, "(%u lines were left out)", dropped);
			say(p, text);
		}
		say(p, span_print((struct span){ (const uint8_t *)p->line, p->line_len }, text, sizeof text));
	}
	p->line_len = 0;
}

static void
take(struct program *p, const char *octets, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (octets[i] == '\n' || p->line_len == sizeof p->line)
			end_line(p);
		if (octets[i] != '\n' && octets[i] != '\r')
			p->line[p->line_len++] = octets[i];
	}
}

void
program_read_stderr(struct program *p)
{
	char octets[READ_SIZE];
	ssize_t n = 1;
	int i;

	for (i = 0; i < READS_MAX && p->err_fd >= 0 && n > 0; i++)
		if ((n = read(p->err_fd, octets, sizeof octets)) > 0)
			take(p, octets, (size_t)n);
	if (n == 0) {
		end_line(p);
		ev_io_fini(&p->err_io);
		close(p->err_fd);
		p->err_fd = -1;
	}
}

void
program_end_stderr(struct program *p)
{
	char text[64];

	program_read_stderr(p);
	end_line(p);
	if (p->dropped == 0)
		return;
	snprintf(text, sizeof text, "(%u lines were left out)", p->dropped);
	p->dropped = 0;
	say(p, text);
}
