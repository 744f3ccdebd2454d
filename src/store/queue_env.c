/* store/queue_env.c - see queue_env.h. */
#include "store/queue_env.h"

#include "store/crc32c.h"
#include "store/hex.h"
#include "store/record.h"
#include "util/err.h"

#include <stdio.h>
#include <string.h>

#define CRC 10 /* octets behind a line: " ~" and 8 digits */

/* --- written ------------------------------------------------------------------------------------------------------- */

/* Puts a line, its end replaced by " ~<crc>" and the end. */
static int
put_line(struct buf *out, char kind, unsigned n, const struct span *words)
{
	struct buf line;
	struct span s;
	uint8_t end[CRC + 1] = " ~00000000\n";
	int rc;

	buf_init(&line, QUEUE_ENV_MAX);
	if ((rc = record_put(&line, kind, n, words)) == 0) {
		s = buf_span(&line);
		hex_put(end + 2, 8, crc32c(0, s.p, s.n - 1));
		rc = buf_append(out, s.p, s.n - 1);
	}
	buf_fini(&line);
	return rc != 0 ? rc : buf_append(out, end, sizeof end);
}

static struct span
number(char text[24], uint64_t v)
{
	snprintf(text, 24, "%llu", (unsigned long long)v);
	return span_str(text);
}

static int
put_message(const struct queue_entry *e, struct buf *out)
{
	char a[4][24];
	uint32_t i;
	int rc = put_line(out, 'Q', 8, (struct span[]){ number(a[0], e->qid), number(a[1], (uint64_t)e->received),
		number(a[2], e->octets), number(a[3], e->nrcpts), span_str(e->sender), span_str(e->params),
		span_str(e->identity), span_str(e->service) });

	for (i = 0; rc == 0 && i < e->nrcpts; i++)
		rc = put_line(out, 'r', 5, (struct span[]){ number(a[0], e->qid), number(a[1], i),
			number(a[2], e->rcpts[i].attempts == 0 ? (uint64_t)e->rcpts[i].next : 0),
			span_str(e->rcpts[i].address), span_str(e->rcpts[i].params) });
	return rc;
}

static int
put_outcome(const struct queue_entry *e, uint32_t i, struct buf *out)
{
	const struct queue_rcpt *r = &e->rcpts[i];
	char a[4][24], letter[2] = { queue_state_letter(r->state), '\0' };

	return put_line(out, 'q', 6, (struct span[]){ number(a[0], e->qid), number(a[1], i), number(a[2], r->attempts),
		span_str(letter), number(a[3], (uint64_t)r->next), span_str(r->reply) });
}

int
queue_env_put(struct queue_entry *e, bool all, struct buf *out)
{
	uint32_t i;
	int rc = all ? put_message(e, out) : 0;

	for (i = 0; rc == 0 && i < e->nrcpts; i++) {
		if (all ? e->rcpts[i].attempts > 0 : e->rcpts[i].changed)
			rc = put_outcome(e, i, out);
		e->rcpts[i].changed = false;
	}
	return rc;
}

/* --- read ---------------------------------------------------------------------------------------------------------- */

/* Whether a line (n octets, without its end) is as it was written. */
static bool
is_whole(const uint8_t *line, size_t n)
{
	uint64_t crc;

	return n > CRC && line[n - CRC] == ' ' && line[n - CRC + 1] == '~' && hex_get(line + n - CRC + 2, 8, &crc) &&
		crc32c(0, line, n - CRC) == crc;
}

/* How many of the lines make the message: "Q" and as many "r" as it says. */
static void
find_head(struct span text, uint64_t qid, struct queue_env *out)
{
	struct record_line line;
	uint64_t id, have = 0;
	size_t n = text.n;
	bool bad;

	if (!record_next(&text, &line, &bad) || line.kind != 'Q' || !record_number(line.word[0], &id) || id != qid ||
	    !record_number(line.word[2], &out->octets) || !record_number(line.word[3], &out->rcpts))
		return;
	while (have < out->rcpts && record_next(&text, &line, &bad) && line.kind == 'r')
		have++;
	out->head = have == out->rcpts && have > 0 ? n - text.n : 0;
}

int
queue_env_open(struct span env, uint64_t qid, struct buf *lines, struct queue_env *out)
{
	const uint8_t *nl;
	size_t n;
	int rc = 0;

	*out = (struct queue_env){ .whole = 0 };
	while (rc == 0 && env.n > 0) {
		nl = memchr(env.p, '\n', env.n);
		n = nl == NULL ? env.n : (size_t)(nl - env.p);
		if (nl == NULL || !is_whole(env.p, n)) {
			out->passed++;
		} else {
			if ((rc = buf_append(lines, env.p, n - CRC)) == 0)
				rc = buf_append(lines, "\n", 1);
			out->behind = out->passed > 0;
			out->whole += out->behind ? 0 : n + 1;
		}
		n += nl != NULL;
		env.p += n;
		env.n -= n;
	}
	if (rc == 0)
		find_head(buf_span(lines), qid, out);
	return rc;
}
