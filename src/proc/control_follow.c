/* proc/control_follow.c - "trace --follow": what has been added to the workers' records since the last look. Nothing is
 * told to the workers, and nothing waits: who follows too slowly sees less. */
#include "proc/control.h"

#include "rec/rec_json.h"

#include <stdlib.h>

/* Of one place in a recorder's memory: what was seen there. */
struct seen {
	uint64_t id;
	uint32_t seq;
	uint32_t steps; /* those skipped included */
};

struct follow {
	struct control_query q;
	bool first;   /* the first look tells nothing: it is about what comes */
	bool over;
	int rc;
	struct buf *out;
	struct seen *slots[TABLE_SLOTS_MAX]; /* REC_SLOTS of them each; NULL until there is something */
};

struct follow *
control_follow_new(const struct control *c, const struct control_query *q)
{
	struct follow *f = calloc(1, sizeof *f);
	struct buf none;
	bool over;

	if (f == NULL)
		return NULL;
	f->q = *q;
	f->first = true;
	buf_init(&none, 1);
	if (control_follow_put(c, f, &none, &over) != 0)
		control_follow_free(&f);
	buf_fini(&none);
	return f;
}

void
control_follow_free(struct follow **f)
{
	size_t i;

	if (*f != NULL)
		for (i = 0; i < TABLE_SLOTS_MAX; i++)
			free((*f)->slots[i]);
	free(*f);
	*f = NULL;
}

static int
put_line(struct follow *f, const struct rec *r, uint32_t news)
{
	json_t *o = json_pack("{s:b, s:o}", "ok", 1, "connection",
		rec_json(r, news < r->nsteps ? r->nsteps - news : 0));
	char *text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
	int rc = text == NULL ? PT_ENOMEM : 0;

	if (rc == 0 && (rc = buf_append_str(f->out, text)) == 0)
		rc = buf_append_str(f->out, "\n");
	free(text);
	json_decref(o);
	return rc;
}

/* A failed one is the copy of one that was seen already, unless it was refused before it was a connection. */
static bool
is_copy(uint32_t slot, unsigned index, const struct rec *r)
{
	return slot == TABLE_SLOT_PAST || (index >= REC_RECENT && r->phase != REC_PHASE_REFUSED);
}

static bool
look(void *arg, uint32_t slot, const struct rec_mem *m, unsigned index)
{
	struct follow *f = arg;
	struct rec_peek peek;
	struct seen *s;
	struct rec r;
	uint32_t steps, before;

	if (!rec_peek(m, index, &peek))
		return true;
	if (f->slots[slot] == NULL &&
	    (f->slots[slot] = calloc(REC_SLOTS, sizeof *f->slots[slot])) == NULL) {
		f->rc = PT_ENOMEM;
		return false;
	}
	s = &f->slots[slot][index];
	if (s->seq == peek.seq && s->id == peek.id)
		return true;
	if (!rec_read(m, index, &r))
		return true;
	steps = r.nsteps + r.skipped;
	before = s->id == r.id ? s->steps : 0;
	if (f->first || steps <= before || is_copy(slot, index, &r) || !control_query_fits(&f->q, &r)) {
		*s = (struct seen){ r.id, peek.seq, steps };
		return true;
	}
	if ((f->rc = put_line(f, &r, steps - before)) != 0)
		return false; /* no room: it is told at the next look */
	*s = (struct seen){ r.id, peek.seq, steps };
	f->over = f->over || (f->q.which == CONTROL_ID && (r.flags & REC_F_OPEN) == 0);
	return !f->over;
}

int
control_follow_put(const struct control *c, struct follow *f, struct buf *out, bool *over)
{
	f->out = out;
	f->rc = 0;
	control_rec_each(c, look, f);
	f->first = false;
	*over = f->over;
	return f->rc == PT_ETOOBIG ? 0 : f->rc;
}
