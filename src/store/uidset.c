/* store/uidset.c - sets of UIDs as text. */
#include "store/uidset.h"

static bool
number(struct span *s, uint32_t *v_out)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < s->n && i < 11 && s->p[i] >= '0' && s->p[i] <= '9'; i++)
		v = v * 10 + (uint64_t)(s->p[i] - '0');
	if (i == 0 || s->p[0] == '0' || v > UINT32_MAX)
		return false;
	s->p += i;
	s->n -= i;
	*v_out = (uint32_t)v;
	return true;
}

bool
uidset_next(struct span *s, struct uidset_range *r)
{
	struct span t = *s;

	if (!number(&t, &r->first))
		return false;
	r->last = r->first;
	if (t.n > 0 && t.p[0] == ':') {
		t.p++;
		t.n--;
		if (!number(&t, &r->last) || r->last < r->first)
			return false;
	}
	if (t.n > 0) {
		if (t.p[0] != ',' || t.n == 1)
			return false;
		t.p++;
		t.n--;
	}
	*s = t;
	return true;
}

bool
uidset_valid(struct span s)
{
	struct uidset_range r;
	uint32_t last = 0;

	if (s.n == 0)
		return false;
	while (uidset_next(&s, &r)) {
		if (r.first <= last)
			return false;
		last = r.last;
	}
	return s.n == 0;
}

static void
flush(struct uidset_writer *w)
{
	if (w->open.first == 0 || w->rc != 0)
		return;
	if (w->open.first == w->open.last)
		w->rc = buf_printf(w->out, "%s%u", w->some ? "," : "", w->open.first);
	else
		w->rc = buf_printf(w->out, "%s%u:%u", w->some ? "," : "", w->open.first, w->open.last);
	w->some = true;
	w->open.first = 0;
}

void
uidset_begin(struct uidset_writer *w, struct buf *out)
{
	*w = (struct uidset_writer){ .out = out };
}

void
uidset_add(struct uidset_writer *w, uint32_t uid)
{
	if (w->open.first != 0 && uid == w->open.last + 1) {
		w->open.last = uid;
		return;
	}
	flush(w);
	w->open = (struct uidset_range){ uid, uid };
}

int
uidset_end(struct uidset_writer *w)
{
	flush(w);
	return w->rc;
}
