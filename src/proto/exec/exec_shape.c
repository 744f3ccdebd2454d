/* proto/exec/exec_shape.c - see exec_shape.h. */
#include "proto/exec/exec_shape.h"

#include "proto/exec/exec_line.h"

#include <string.h>

void
exec_shape_init(struct exec_shape *s)
{
	*s = (struct exec_shape){ .deadline_ms = UINT64_MAX };
	buf_init(&s->raw, EXEC_RAW_MAX);
}

void
exec_shape_fini(struct exec_shape *s)
{
	buf_fini(&s->raw);
}

void
exec_shape_watch(struct exec_shape *s, const struct exec_conf *conf)
{
	size_t i;

	for (i = 0; i < conf->ncapabilities; i++) {
		s->watches = true;
		if (conf->capabilities[i].to == NULL)
			s->armed |= (uint16_t)(1u << i);
	}
}

void
exec_shape_skip_banner(struct exec_shape *s, const struct exec_conf *conf)
{
	s->skips_banner = conf->banner != NULL;
}

void
exec_shape_command(struct exec_shape *s, const struct exec_conf *conf, struct span line)
{
	const struct exec_capability *c;
	size_t i;

	for (i = 0; s->watches && i < conf->ncapabilities; i++) {
		c = &conf->capabilities[i];
		if (c->to == NULL)
			continue;
		s->armed &= (uint16_t)~(1u << i); /* the answer to the command before is over */
		if (exec_line_matches(c->to, line))
			s->armed |= (uint16_t)(1u << i);
	}
}

bool
exec_shape_is_needed(const struct exec_shape *s)
{
	return s->watches || s->skips_banner || buf_size(&s->raw) > 0;
}

bool
exec_shape_is_empty(const struct exec_shape *s)
{
	return buf_size(&s->raw) == 0;
}

size_t
exec_shape_room(const struct exec_shape *s)
{
	return EXEC_RAW_MAX - buf_size(&s->raw);
}

int
exec_shape_in(struct exec_shape *s, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	if (len > 0)
		s->deadline_ms = now_ms + EXEC_HOLD_MS;
	return buf_append(&s->raw, buf, len);
}

/* Adds the capabilities that this line calls for; place: before it, or at its end and behind it. */
static int
add(struct exec_shape *s, const struct exec_conf *conf, struct buf *out, struct span line, struct span end,
    enum exec_place place)
{
	const struct exec_capability *c;
	int rc = 0;
	size_t i;

	for (i = 0; i < conf->ncapabilities && rc == 0; i++) {
		c = &conf->capabilities[i];
		if (c->place != place || (s->armed & 1u << i) == 0 || !exec_line_matches(c->pattern, line))
			continue;
		rc = buf_append_str(out, c->text);
		if (rc == 0 && place != EXEC_APPEND)
			rc = buf_append(out, end.p, end.n);
		if (c->to != NULL)
			s->armed &= (uint16_t)~(1u << i);
	}
	return rc;
}

static int
put_line(struct exec_shape *s, const struct exec_conf *conf, struct buf *out, struct span line, struct span end)
{
	int rc;

	if ((rc = add(s, conf, out, line, end, EXEC_BEFORE)) != 0 ||
	    (rc = buf_append(out, line.p, line.n)) != 0 ||
	    (rc = add(s, conf, out, line, end, EXEC_APPEND)) != 0 ||
	    (rc = buf_append(out, end.p, end.n)) != 0)
		return rc;
	return add(s, conf, out, line, end, EXEC_AFTER);
}

/* A line of the banner, or what has to be taken for one. */
static void
skip_line(struct exec_shape *s, const struct exec_conf *conf, struct span line, size_t n, bool whole)
{
	s->banner_octets += (uint32_t)n;
	if ((whole && exec_line_matches(conf->banner, line)) || s->banner_octets >= EXEC_BANNER_MAX)
		s->skips_banner = false;
}

int
exec_shape_out(struct exec_shape *s, const struct exec_conf *conf, struct buf *out)
{
	struct span raw, line;
	enum exec_line kind;
	size_t used;
	int rc = 0;

	while (rc == 0 && (raw = buf_span(&s->raw)).n > 0) {
		if (buf_size(out) > ENGINE_OUTPUT_HIGH)
			return 0;
		kind = exec_line_parse(raw.p, raw.n, &line, &used);
		/* a banner ends with a line, however long that takes */
		if (kind == EXEC_L_MORE && !s->end && (s->skips_banner || (!s->flush && !s->in_line)))
			break;
		if (s->skips_banner)
			skip_line(s, conf, line, used, kind == EXEC_L_OK);
		else if (kind == EXEC_L_OK && !s->in_line)
			rc = put_line(s, conf, out, line,
				(struct span){ raw.p + line.n, used - line.n });
		else
			rc = buf_append(out, raw.p, used);
		s->in_line = kind != EXEC_L_OK;
		buf_consume(&s->raw, used);
	}
	s->flush = false;
	return rc;
}

void
exec_shape_flush(struct exec_shape *s, bool end)
{
	s->flush = true;
	s->end |= end;
	s->deadline_ms = UINT64_MAX;
}

uint64_t
exec_shape_deadline(const struct exec_shape *s)
{
	return buf_size(&s->raw) > 0 ? s->deadline_ms : UINT64_MAX;
}
