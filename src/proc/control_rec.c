/* proc/control_rec.c - the workers' flight recorders as control sees them: what is kept of those that have ended, and the
 * answers to "trace" and "why". Every record is copied and checked before anything of it is used: the worker that
 * wrote it may have been taken over. */
#include "proc/control.h"

#include "proc/rec_log.h"
#include "rec/rec_json.h"
#include "rec/why.h"
#include "util/log.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define KILLED_LINES_MAX 20 /* in the log, of one worker's connections */

/* --- memory ------------------------------------------------------------------------------------ */

int
control_on_recorder(void *self, void *peer, struct frame *f)
{
	struct control *c = self;
	struct msg_recorder m;

	(void)peer;
	if (msg_recorder_decode(f, &m) != 0 || m.slot >= TABLE_SLOTS_MAX ||
	    (m.own != 0) != (m.slot == TABLE_SLOT_PAST))
		return PT_EPROTO;
	rec_mem_unmap(&c->recs[m.slot]);
	if (m.own)
		rec_writer_free(&c->past);
	c->recs[m.slot] = rec_mem_map(f->fd, m.own != 0); /* NULL: of another binary */
	if (m.own && c->recs[m.slot] != NULL)
		c->past = rec_writer_new(c->recs[m.slot], m.slot, 0);
	return 0;
}

/* --- workers that have ended ------------------------------------------------------------------- */

/* It was open when its worker ended. What was wrong before that counts more. */
static void
end_killed(struct control *c, struct rec *r, unsigned *lines)
{
	r->flags &= ~REC_F_OPEN;
	if (r->code == WHY_NOTHING || why_kind(r) == WHY_NOTE) {
		r->cause = REC_CAUSE_KILLED;
		r->code = WHY_KILLED;
		if ((*lines)++ < KILLED_LINES_MAX)
			rec_log(c->why_limit, r);
	}
	rec_step_add(r, REC_STEP_CLOSED, 0, REC_WAY_NONE, 0, r->end_us);
	rec_writer_fail(c->past, r);
}

static void
keep_of(struct control *c, const struct rec_mem *m, uint32_t pid)
{
	unsigned i, lines = 0;
	struct rec r;

	for (i = REC_RECENT; i < REC_SLOTS; i++)
		if (rec_read(m, i, &r) && r.pid == pid && r.code != WHY_NOTHING)
			rec_writer_fail(c->past, &r);
	for (i = 0; i < rec_mem_end(m); i++)
		if (rec_read(m, i, &r) && r.pid == pid && (r.flags & REC_F_OPEN))
			end_killed(c, &r, &lines);
	if (lines > KILLED_LINES_MAX)
		log_msg(LOG_L_WARNING, "%u more connections of worker[%u] ended with it", lines - KILLED_LINES_MAX,
			pid);
}

int
control_on_retire(void *self, void *peer, struct frame *f)
{
	struct control *c = self;
	struct msg_retire m;
	struct frame answer;

	(void)peer;
	if (msg_retire_decode(f, &m) != 0 || m.slot >= TABLE_SLOT_PAST)
		return PT_EPROTO;
	if (c->recs[m.slot] != NULL && c->past != NULL &&
	    atomic_load(&c->recs[m.slot]->layout) == REC_LAYOUT)
		keep_of(c, c->recs[m.slot], m.pid);
	PT_ASSERT(msg_retired_encode(&(struct msg_retired){ .slot = m.slot, .pid = m.pid }, 0, &answer) == 0);
	child_send(&c->child, &answer, -1);
	return 0;
}

void
control_rec_second(struct control *c)
{
	rec_log_left(c->why_limit, ev_now_ms(), false);
}

/* --- questions --------------------------------------------------------------------------------- */

static bool
parse_port(const char *text, uint16_t *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*out = (uint16_t)n;
	return end > text && *end == '\0' && n > 0 && n <= UINT16_MAX;
}

/* "192.0.2.1", "192.0.2.1:25", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:25", "unix:". */
static bool
parse_addr(const char *text, struct rec_addr *out)
{
	char host[INET6_ADDRSTRLEN + 2];
	const char *end = text[0] == '[' ? strchr(text, ']') : strchr(text, ':');
	size_t n;

	memset(out, 0, sizeof *out);
	if (strcmp(text, "unix:") == 0)
		return true;
	if (inet_pton(AF_INET6, text, out->octets) == 1) {
		out->family = REC_IPV6;
		return true;
	}
	out->family = text[0] == '[' ? REC_IPV6 : REC_IPV4;
	text += text[0] == '[';
	n = end != NULL ? (size_t)(end - text) : strlen(text);
	if (n >= sizeof host)
		return false;
	memcpy(host, text, n);
	host[n] = '\0';
	if (inet_pton(out->family == REC_IPV4 ? AF_INET : AF_INET6, host, out->octets) != 1)
		return false;
	if (end == NULL)
		return out->family == REC_IPV4;
	end += *end == ']';
	return *end == '\0' || (*end == ':' && parse_port(end + 1, &out->port));
}

void
control_query_parse(const char *text, struct control_query *q)
{
	*q = (struct control_query){ .which = CONTROL_LAST };
	if (text == NULL || strcmp(text, "last") == 0)
		return;
	if (rec_id_parse(text, &q->id))
		q->which = CONTROL_ID;
	else if (parse_addr(text, &q->peer))
		q->which = CONTROL_ADDRESS;
	else {
		q->which = CONTROL_USER;
		strlcpy(q->user, text, sizeof q->user);
	}
}

/* One of the names in the certificate: ", " between them, "email:" in front. */
static bool
names_user(const char *sans, const char *user)
{
	size_t n = strlen(user), k;

	for (; *sans != '\0'; sans += k + strspn(sans + k, ", ")) {
		k = strcspn(sans, ",");
		if (k == n + 6 && strncmp(sans, "email:", 6) == 0 && strncasecmp(sans + 6, user, n) == 0)
			return true;
	}
	return false;
}

static bool
is_common_name(const char *subject, const char *user)
{
	const char *cn = strstr(subject, "CN=");
	size_t n = strlen(user);

	return cn != NULL && strncasecmp(cn + 3, user, n) == 0 && (cn[3 + n] == '\0' || cn[3 + n] == ',');
}

bool
control_query_fits(const struct control_query *q, const struct rec *r)
{
	switch (q->which) {
	case CONTROL_LAST:
		return true;
	case CONTROL_ID:
		return r->id == q->id;
	case CONTROL_ADDRESS:
		return r->peer.family == q->peer.family &&
			memcmp(r->peer.octets, q->peer.octets, sizeof r->peer.octets) == 0 &&
			(q->peer.port == 0 || q->peer.port == r->peer.port);
	case CONTROL_USER:
		return strcasecmp(r->user, q->user) == 0 || names_user(r->sans, q->user) ||
			is_common_name(r->subject, q->user);
	}
	return false;
}

/* --- the search -------------------------------------------------------------------------------- */

/* Slots of processes that are no more were copied before they were forgotten. */
static bool
is_live(const struct control *c, uint32_t slot)
{
	const struct process_row *row;

	TAILQ_FOREACH(row, &c->processes, next)
		if (row->p.role == ROLE_WORKER && row->p.slot == slot)
			return true;
	return false;
}

void
control_rec_each(const struct control *c, control_rec_f *f, void *arg)
{
	const struct rec_mem *m;
	uint32_t slot;
	unsigned i, end;

	for (slot = 0; slot < TABLE_SLOTS_MAX; slot++) {
		if ((m = c->recs[slot]) == NULL || (slot != TABLE_SLOT_PAST && !is_live(c, slot)) ||
		    atomic_load(&m->layout) != REC_LAYOUT)
			continue;
		end = slot == TABLE_SLOT_PAST ? REC_RECENT : rec_mem_end(m);
		for (i = 0; i < end; i++)
			if (!f(arg, slot, m, i))
				return;
		for (i = REC_RECENT; i < REC_SLOTS; i++)
			if (!f(arg, slot, m, i))
				return;
	}
}

/* The newest that fit, the newest first. */
struct search {
	const struct control_query *q;
	bool failed; /* only those that failed; of one connection, the record among the failed */
	unsigned max, n;
	struct rec *found; /* max of them */
};

static uint64_t
time_of(const struct search *s, uint64_t start_us, uint64_t end_us)
{
	return s->failed ? start_us + end_us : start_us;
}

static void
put_found(struct search *s, const struct rec *r)
{
	uint64_t t = time_of(s, r->start_us, r->end_us);
	unsigned i;

	for (i = 0; i < s->n; i++)
		if (s->found[i].id == r->id) {
			if (r->repeats >= s->found[i].repeats)
				s->found[i] = *r;
			return;
		}
	if (s->n == s->max && t <= time_of(s, s->found[s->n - 1].start_us, s->found[s->n - 1].end_us))
		return;
	if (s->n < s->max)
		s->n++;
	for (i = s->n - 1; i > 0 && time_of(s, s->found[i - 1].start_us, s->found[i - 1].end_us) < t; i--)
		s->found[i] = s->found[i - 1];
	s->found[i] = *r;
}

static bool
look(void *arg, uint32_t slot, const struct rec_mem *m, unsigned index)
{
	struct search *s = arg;
	struct rec_peek peek;
	struct rec r;

	(void)slot;
	if (!rec_peek(m, index, &peek))
		return true;
	/* the memory is read whole only where it may matter; what was peeked at decides nothing else */
	if (s->failed ? peek.code == WHY_NOTHING : s->q->which == CONTROL_ID && peek.id != s->q->id)
		return true;
	if (s->n == s->max && time_of(s, peek.start_us, peek.end_us) <
	    time_of(s, s->found[s->n - 1].start_us, s->found[s->n - 1].end_us))
		return true;
	if (rec_read(m, index, &r) && control_query_fits(s->q, &r) && (!s->failed || r.code != WHY_NOTHING))
		put_found(s, &r);
	return true;
}

static bool
search(const struct control *c, struct search *s)
{
	if ((s->found = reallocarray(NULL, s->max, sizeof *s->found)) == NULL)
		return false;
	control_rec_each(c, look, s);
	return true;
}

static unsigned
how_many(const struct control_query *q)
{
	return q->which == CONTROL_ADDRESS || q->which == CONTROL_USER ? CONTROL_ANSWER_RECORDS : 1;
}

static void
put_state(const struct control *c, json_t *o)
{
	json_object_set_new(o, "recorder", json_string(c->conf == NULL || c->conf->recorder ? "on" : "off"));
}

json_t *
control_trace_answer(const struct control *c, const struct control_query *q)
{
	struct search s = { .q = q, .max = how_many(q) };
	json_t *o, *a;
	unsigned i;

	if (!search(c, &s))
		return NULL;
	o = json_pack("{s:b}", "ok", 1);
	put_state(c, o);
	a = json_array();
	for (i = 0; i < s.n; i++)
		json_array_append_new(a, rec_json(&s.found[i], 0));
	json_object_set_new(o, "connections", a);
	free(s.found);
	return o;
}

/* Failures first; what was no failure is told only where there is none. */
static void
sort_by_weight(struct search *s)
{
	unsigned i, k = 0;
	struct rec r;

	for (i = 0; i < s->n; i++) {
		if (why_kind(&s->found[i]) == WHY_NOTE)
			continue;
		r = s->found[i];
		memmove(&s->found[k + 1], &s->found[k], (i - k) * sizeof r);
		s->found[k++] = r;
	}
}

json_t *
control_why_answer(const struct control *c, const struct control_query *q)
{
	struct search s = { .q = q, .failed = true, .max = CONTROL_ANSWER_RECORDS };
	json_t *o, *others, *why;
	unsigned i, n;

	if (!search(c, &s))
		return NULL;
	sort_by_weight(&s);
	n = s.n < how_many(q) ? s.n : how_many(q);
	o = json_pack("{s:b}", "ok", 1);
	put_state(c, o);
	json_object_set_new(o, "found", json_integer(n));
	if (n > 0) {
		why = rec_json_why(&s.found[0]);
		json_object_update(o, why); /* code, side, kind, sentence, what, next */
		json_decref(why);
		json_object_set_new(o, "connection", rec_json(&s.found[0], 0));
	}
	others = json_array();
	for (i = 1; i < n; i++)
		json_array_append_new(others, rec_json(&s.found[i], 0));
	json_object_set_new(o, "others", others);
	free(s.found);
	return o;
}
