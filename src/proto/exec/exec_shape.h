/* proto/exec/exec_shape.h - a program's output where it does not go out as it is: a banner that is left out, and
 * capability lines that are put in.
 *
 * Lines are looked at one by one, and the beginning of one is held back for its rest, for EXEC_HOLD_MS at most: a
 * prompt has no end. Where nothing is to be done, now or later, the caller need not come by here. */
#ifndef PROTO_EXEC_EXEC_SHAPE_H
#define PROTO_EXEC_EXEC_SHAPE_H

#include "proto/exec/exec_engine.h"
#include "util/buf.h"

struct exec_shape {
	struct buf raw;        /* output that was not let out yet, EXEC_RAW_MAX */
	uint64_t deadline_ms;  /* when the beginning of a line goes out as it is */
	uint32_t banner_octets; /* left out so far */
	uint16_t armed;        /* bit set of capabilities that wait for their line */
	bool watches;          /* capabilities may have to be put in */
	bool skips_banner;
	bool in_line;          /* the beginning of this line has gone out */
	bool flush, end;       /* the beginning of a line goes out as it is: now; for good */
};

_Static_assert(EXEC_CAPABILITIES_MAX <= 16, "bits of armed");

void exec_shape_init(struct exec_shape *s);
void exec_shape_fini(struct exec_shape *s);

/* Capabilities are put in from now on; the banner is left out from now on. */
void exec_shape_watch(struct exec_shape *s, const struct exec_conf *conf);
void exec_shape_skip_banner(struct exec_shape *s, const struct exec_conf *conf);

/* The client has sent this line: answers to it are looked for. */
void exec_shape_command(struct exec_shape *s, const struct exec_conf *conf, struct span line);

/* Output has to come by here. */
bool exec_shape_is_needed(const struct exec_shape *s);

bool exec_shape_is_empty(const struct exec_shape *s);
size_t exec_shape_room(const struct exec_shape *s);
int exec_shape_in(struct exec_shape *s, const uint8_t *buf, size_t len, uint64_t now_ms) PT_MUST_USE;

/* Appends to out what may go, while out holds at most ENGINE_OUTPUT_HIGH; the rest waits. One line is never more than
 * EXEC_SHAPE_STEP_MAX. */
#define EXEC_SHAPE_STEP_MAX (EXEC_RAW_MAX + EXEC_CAPABILITIES_MAX * (EXEC_TEXT_MAX + 2))
int exec_shape_out(struct exec_shape *s, const struct exec_conf *conf, struct buf *out) PT_MUST_USE;

/* Lets the beginning of a line go: this one, or (end: there is no more output) whatever is left. */
void exec_shape_flush(struct exec_shape *s, bool end);

/* UINT64_MAX: nothing is held back. */
uint64_t exec_shape_deadline(const struct exec_shape *s);

#endif
