/* store/queue.c - the table of queued messages: what lines make of it, two heaps (what is due, what is held), lists for
 * checkpoints. */
#include "store/queue.h"

#include "store/queue_env.h"
#include "store/record.h"
#include "util/err.h"
#include "util/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_MIN 1024
#define ENV_ANEW (64u * 1024) /* octets of an .env above which it is written anew when most of it is old */

enum { DUE, HELD, HEAPS };

struct heap {
	struct queue_entry **e; /* from 1 */
	size_t n, cap;
};

struct queue {
	struct queue_entry **hash;
	size_t nhash, n;
	size_t memory;
	uint64_t last; /* highest id */
	struct heap heap[HEAPS];
	TAILQ_HEAD(dirty, queue_entry) dirty, saving;
	uint64_t *gone;
	size_t ngone, gone_cap;
	bool replaying;
};

/* --- made and freed --------------------------------------------------------------------------------------------- */

struct queue *
queue_new(void)
{
	struct queue *q = calloc(1, sizeof *q);

	if (q == NULL)
		return NULL;
	TAILQ_INIT(&q->dirty);
	TAILQ_INIT(&q->saving);
	q->nhash = HASH_MIN;
	if ((q->hash = calloc(q->nhash, sizeof(struct queue_entry *))) == NULL) {
		free(q);
		return NULL;
	}
	return q;
}

static void
rcpts_free(struct queue_rcpt *rcpts, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		free(rcpts[i].address);
		free(rcpts[i].params);
		free(rcpts[i].reply);
	}
	free(rcpts);
}

static void
entry_free(struct queue_entry *e)
{
	rcpts_free(e->rcpts, e->nrcpts);
	free(e->sender);
	free(e->params);
	free(e->identity);
	free(e->service);
	free(e);
}

void
queue_free(struct queue **qp)
{
	struct queue *q = *qp;
	struct queue_entry *e;
	size_t i;

	if (q == NULL)
		return;
	for (i = 0; i < q->nhash; i++)
		while ((e = q->hash[i]) != NULL) {
			q->hash[i] = e->hash_next;
			entry_free(e);
		}
	for (i = 0; i < HEAPS; i++)
		free(q->heap[i].e);
	free(q->hash);
	free(q->gone);
	free(q);
	*qp = NULL;
}

/* --- words ------------------------------------------------------------------------------------------------------- */

static const char letters[STORE_RCPT_STATE_COUNT] = {
#define STORE_RCPT_LETTER(name, letter) [STORE_RCPT_##name] = (letter),
	STORE_RCPT_STATES(STORE_RCPT_LETTER)
};

char
queue_state_letter(enum store_rcpt_state state)
{
	return letters[state];
}

enum store_rcpt_state
queue_state(struct span s)
{
	unsigned i;

	for (i = 0; i < STORE_RCPT_STATE_COUNT; i++)
		if (s.n == 1 && s.p[0] == (uint8_t)letters[i])
			break;
	return (enum store_rcpt_state)i;
}

bool
queue_text_ok(struct span s, size_t max)
{
	return s.n <= max && (s.n == 0 || memchr(s.p, '\0', s.n) == NULL);
}

bool
queue_address_ok(struct span s)
{
	return s.n <= STORE_ADDRESS_MAX && utf8_printable(s);
}

bool
queue_service_ok(struct span s)
{
	return s.n <= STORE_SERVICE_MAX && utf8_printable(s);
}

/* A word as an owned string; NULL: it is none, or out of memory. */
static char *
word_dup(struct span w, size_t max)
{
	char text[STORE_PARAMS_MAX + 1];

	PT_ASSERT(max < sizeof text);
	return memchr(w.p, '\0', w.n) == NULL && record_word(w, text, max + 1) ? strdup(text) : NULL;
}

static bool
word_seconds(struct span w, int64_t *out)
{
	uint64_t v;

	if (!record_number(w, &v) || v > INT64_MAX)
		return false;
	*out = (int64_t)v;
	return true;
}

/* --- heaps ------------------------------------------------------------------------------------------------------- */

static void
heap_set(struct heap *h, unsigned which, size_t i, struct queue_entry *e)
{
	h->e[i] = e;
	e->at[which] = i;
}

static void
heap_up(struct heap *h, unsigned which, size_t i)
{
	struct queue_entry *e = h->e[i];

	for (; i > 1 && h->e[i / 2]->key[which] > e->key[which]; i /= 2)
		heap_set(h, which, i, h->e[i / 2]);
	heap_set(h, which, i, e);
}

static void
heap_down(struct heap *h, unsigned which, size_t i)
{
	struct queue_entry *e = h->e[i];
	size_t child;

	for (; (child = i * 2) <= h->n; i = child) {
		if (child < h->n && h->e[child + 1]->key[which] < h->e[child]->key[which])
			child++;
		if (h->e[child]->key[which] >= e->key[which])
			break;
		heap_set(h, which, i, h->e[child]);
	}
	heap_set(h, which, i, e);
}

static void
heap_remove(struct heap *h, unsigned which, struct queue_entry *e)
{
	size_t i = e->at[which];
	struct queue_entry *last;

	if (i == 0)
		return;
	e->at[which] = 0;
	last = h->e[h->n--];
	if (last == e)
		return;
	heap_set(h, which, i, last);
	heap_up(h, which, i);
	heap_down(h, which, last->at[which]);
}

static void
heap_place(struct heap *h, unsigned which, struct queue_entry *e, uint64_t key)
{
	if (e->at[which] == 0) {
		e->key[which] = key;
		heap_set(h, which, ++h->n, e);
		heap_up(h, which, h->n);
	} else if (e->key[which] != key) {
		e->key[which] = key;
		heap_up(h, which, e->at[which]);
		heap_down(h, which, e->at[which]);
	}
}

/* Room for one more: placing never fails. */
static int
heap_reserve(struct heap *h, size_t n)
{
	size_t cap = h->cap == 0 ? 64 : h->cap * 2;
	struct queue_entry **grown;

	if (n < h->cap)
		return 0;
	if ((grown = reallocarray(h->e, cap, sizeof(struct queue_entry *))) == NULL)
		return PT_ENOMEM;
	h->e = grown;
	h->cap = cap;
	return 0;
}

static uint64_t
due_of(const struct queue_entry *e)
{
	int64_t due = INT64_MAX;
	uint32_t i;

	for (i = 0; i < e->nrcpts; i++)
		if (e->rcpts[i].state == STORE_RCPT_WAITING && e->rcpts[i].next < due)
			due = e->rcpts[i].next;
	return (uint64_t)due;
}

/* After anything that its place depends on. */
static void
place(struct queue *q, struct queue_entry *e)
{
	bool held = e->until_ms != 0, due = !held && e->pins == 0 && !e->broken && e->left > 0;

	if (held)
		heap_place(&q->heap[HELD], HELD, e, e->until_ms);
	else
		heap_remove(&q->heap[HELD], HELD, e);
	if (due)
		heap_place(&q->heap[DUE], DUE, e, due_of(e));
	else
		heap_remove(&q->heap[DUE], DUE, e);
}

/* --- the table --------------------------------------------------------------------------------------------------- */

static struct queue_entry **
slot(const struct queue *q, uint64_t qid)
{
	struct queue_entry **at = &q->hash[(qid * 0x9e3779b97f4a7c15ull >> 20) % q->nhash];

	while (*at != NULL && (*at)->qid != qid)
		at = &(*at)->hash_next;
	return at;
}

struct queue_entry *
queue_find(const struct queue *q, uint64_t qid)
{
	return *slot(q, qid);
}

size_t
queue_count(const struct queue *q)
{
	return q->n;
}

void
queue_each(const struct queue *q, void (*f)(void *arg, const struct queue_entry *e), void *arg)
{
	const struct queue_entry *e;
	size_t i;

	for (i = 0; i < q->nhash; i++)
		for (e = q->hash[i]; e != NULL; e = e->hash_next)
			f(arg, e);
}

bool
queue_full(const struct queue *q)
{
	return q->n >= QUEUE_MAX || q->memory >= QUEUE_OCTETS_MAX;
}

uint64_t
queue_id(struct queue *q, int64_t now)
{
	uint64_t floor = (uint64_t)(now > 0 ? now : 0) << 20; /* a million each second: the last process gave lower ones */

	q->last = q->last + 1 > floor ? q->last + 1 : floor;
	return q->last;
}

static void
grow(struct queue *q)
{
	size_t old = q->nhash, i;
	struct queue_entry **from = q->hash, **to = calloc(old * 2, sizeof(struct queue_entry *)), *e, **at;

	if (to == NULL)
		return; /* slower, not wrong */
	q->hash = to;
	q->nhash = old * 2;
	for (i = 0; i < old; i++)
		while ((e = from[i]) != NULL) {
			from[i] = e->hash_next;
			at = slot(q, e->qid);
			e->hash_next = NULL;
			*at = e;
		}
	free(from);
}

static void
set_dirty(struct queue *q, struct queue_entry *e)
{
	if (e->dirty || e->saving)
		return;
	e->dirty = true;
	TAILQ_INSERT_TAIL(&q->dirty, e, dirty_next);
}

static void
not_dirty(struct queue *q, struct queue_entry *e)
{
	if (e->dirty)
		TAILQ_REMOVE(&q->dirty, e, dirty_next);
	if (e->saving)
		TAILQ_REMOVE(&q->saving, e, dirty_next);
	e->dirty = e->saving = false;
}

static void
gone_add(struct queue *q, uint64_t qid)
{
	size_t cap = q->gone_cap == 0 ? 64 : q->gone_cap * 2;
	uint64_t *grown;

	if (q->ngone == q->gone_cap) {
		if ((grown = reallocarray(q->gone, cap, sizeof *grown)) == NULL)
			return; /* its files stay; a start that reads the journal removes them */
		q->gone = grown;
		q->gone_cap = cap;
	}
	q->gone[q->ngone++] = qid;
}

static void
forget(struct queue *q, struct queue_entry *e)
{
	*slot(q, e->qid) = e->hash_next;
	heap_remove(&q->heap[DUE], DUE, e);
	heap_remove(&q->heap[HELD], HELD, e);
	not_dirty(q, e);
	q->n--;
	q->memory -= e->memory;
	entry_free(e);
}

static void
finish(struct queue *q, struct queue_entry *e)
{
	if (e->files || q->replaying)
		gone_add(q, e->qid);
	forget(q, e);
}

/* --- lines ------------------------------------------------------------------------------------------------------- */

/* A message whose recipients are being read. */
struct taking {
	struct queue *q;
	struct queue_entry *e; /* not yet in the table; NULL: none */
	uint32_t have;         /* recipients */
	struct queue_body body; /* what "I" or "F" said */
	uint32_t segment;
	uint64_t base;
	bool from_file;        /* an .env, not the journal */
};

static void
taking_drop(struct taking *t)
{
	if (t->e != NULL)
		entry_free(t->e);
	t->e = NULL;
}

static int
take_body(struct taking *t, const struct record_line *line)
{
	uint64_t off;

	memset(&t->body, 0, sizeof t->body);
	if (line->kind == 'F') {
		t->body.in = QUEUE_IN_TMP;
		return record_word(line->word[0], t->body.file, sizeof t->body.file) ? 0 : PT_EPROTO;
	}
	if (!record_number(line->word[0], &off))
		return PT_EPROTO;
	t->body.in = QUEUE_IN_JOURNAL;
	t->body.segment = t->segment;
	t->body.off = t->base + off;
	return 0;
}

static int
take_message(struct taking *t, const struct record_line *line)
{
	struct queue_entry *e;
	uint64_t n;

	if (t->e != NULL)
		return PT_EPROTO;
	if ((e = t->e = calloc(1, sizeof *e)) == NULL)
		return PT_ENOMEM;
	t->have = 0;
	if (!record_number(line->word[0], &e->qid) || !word_seconds(line->word[1], &e->received) ||
	    !record_number(line->word[2], &e->octets) || !record_number(line->word[3], &n) || n == 0 ||
	    n > STORE_RCPTS_MAX)
		return PT_EPROTO;
	e->sender = word_dup(line->word[4], STORE_ADDRESS_MAX);
	e->params = word_dup(line->word[5], STORE_PARAMS_MAX);
	e->identity = word_dup(line->word[6], STORE_ADDRESS_MAX);
	e->service = word_dup(line->word[7], STORE_SERVICE_MAX);
	if (e->sender == NULL || e->params == NULL || e->identity == NULL || e->service == NULL)
		return PT_EPROTO;
	if ((e->rcpts = calloc(n, sizeof *e->rcpts)) == NULL)
		return PT_ENOMEM;
	e->nrcpts = e->left = (uint32_t)n;
	e->body = t->body;
	if (t->from_file)
		e->body.in = QUEUE_IN_FILE;
	e->memory = sizeof *e + n * sizeof *e->rcpts + line->raw.n;
	return 0;
}

/* All recipients are there. A message that an .env brought has got its states from there; the journal knows where the message is
 * for certain. */
static int
take_whole(struct taking *t)
{
	struct queue *q = t->q;
	struct queue_entry *e = t->e, *there = *slot(q, e->qid);

	if (there != NULL && there->nrcpts == e->nrcpts) {
		there->body = e->body;
		there->saved = t->from_file;
		there->files = true;
		taking_drop(t);
		set_dirty(q, there);
		return 0;
	}
	if (there != NULL) /* an .env that says something else is not of this message */
		forget(q, there);
	if (heap_reserve(&q->heap[DUE], q->n + 1) != 0 || heap_reserve(&q->heap[HELD], q->n + 1) != 0)
		return PT_ENOMEM;
	if (q->n >= q->nhash)
		grow(q);
	t->e = NULL;
	*slot(q, e->qid) = e;
	q->n++;
	q->memory += e->memory;
	q->last = e->qid > q->last ? e->qid : q->last;
	e->saved = t->from_file;
	e->files = t->from_file || q->replaying;
	if (!t->from_file)
		set_dirty(q, e);
	place(q, e);
	return 0;
}

static int
take_rcpt(struct taking *t, const struct record_line *line)
{
	struct queue_rcpt *r;
	uint64_t qid, n;

	if (t->e == NULL || !record_number(line->word[0], &qid) || qid != t->e->qid ||
	    !record_number(line->word[1], &n) || n != t->have)
		return PT_EPROTO;
	r = &t->e->rcpts[t->have];
	r->address = word_dup(line->word[3], STORE_ADDRESS_MAX);
	r->params = word_dup(line->word[4], STORE_PARAMS_MAX);
	r->reply = strdup("");
	if (r->address == NULL || r->params == NULL || r->reply == NULL || !word_seconds(line->word[2], &r->next))
		return PT_EPROTO;
	t->e->memory += line->raw.n;
	t->have++;
	return t->have == t->e->nrcpts ? take_whole(t) : 0;
}

static int
set_reply(struct queue *q, struct queue_entry *e, struct queue_rcpt *r, struct span word)
{
	char *reply = word_dup(word, STORE_OUTCOME_MAX);
	size_t before = strlen(r->reply);

	if (reply == NULL)
		return PT_EPROTO;
	free(r->reply);
	r->reply = reply;
	e->memory += strlen(reply) - before;
	q->memory += strlen(reply) - before;
	return 0;
}

/* What an attempt came to. The first word about an attempt stands, but that it was delivered is true whoever says it when. */
static int
take_outcome(struct taking *t, const struct record_line *line)
{
	enum store_rcpt_state state = queue_state(line->word[3]);
	struct queue_entry *e;
	struct queue_rcpt *r;
	uint64_t qid, n, attempt;
	int64_t next;
	int rc;

	if (!record_number(line->word[0], &qid) || !record_number(line->word[1], &n) ||
	    !record_number(line->word[2], &attempt) || attempt == 0 || attempt > UINT32_MAX || !word_seconds(line->word[4], &next) ||
	    state == STORE_RCPT_STATE_COUNT)
		return PT_EPROTO;
	if ((e = *slot(t->q, qid)) == NULL)
		return 0; /* done since */
	if (n >= e->nrcpts)
		return PT_EPROTO;
	r = &e->rcpts[n];
	if (r->state != STORE_RCPT_WAITING || (attempt <= r->attempts && state != STORE_RCPT_DELIVERED))
		return 0;
	if ((rc = set_reply(t->q, e, r, line->word[5])) != 0)
		return rc;
	r->attempts = attempt > r->attempts ? (uint32_t)attempt : r->attempts;
	r->written_attempts = r->attempts > r->written_attempts ? r->attempts : r->written_attempts;
	r->state = state;
	r->next = next;
	r->changed = !t->from_file;
	if (state != STORE_RCPT_WAITING && --e->left == 0) {
		finish(t->q, e);
		return 0;
	}
	if (!t->from_file)
		set_dirty(t->q, e);
	place(t->q, e);
	return 0;
}

static int
take_line(struct taking *t, const struct record_line *line)
{
	uint64_t qid;

	switch (line->kind) {
	case 'I':
	case 'F':
		return take_body(t, line);
	case 'Q':
		return take_message(t, line);
	case 'r':
		return take_rcpt(t, line);
	case 'q':
		return take_outcome(t, line);
	case 'Z': /* what its recipients' lines say counts; but of a message that is not here files may be */
		if (!record_number(line->word[0], &qid))
			return PT_EPROTO;
		if (*slot(t->q, qid) == NULL && t->q->replaying)
			gone_add(t->q, qid);
		t->q->last = qid > t->q->last ? qid : t->q->last;
		return 0;
	default:
		return 0;
	}
}

static int
take_text(struct taking *t, struct span text)
{
	struct record_line line;
	bool bad = false;
	int rc = 0;

	while (rc == 0 && record_next(&text, &line, &bad))
		rc = take_line(t, &line);
	if (rc == 0 && (bad || t->e != NULL))
		rc = PT_EPROTO;
	taking_drop(t);
	return rc;
}

int
queue_take(struct queue *q, struct span text, uint32_t segment, uint64_t body)
{
	struct taking t = { .q = q, .segment = segment, .base = body };

	return take_text(&t, text);
}

static int
by_id(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

void
queue_replaying(struct queue *q, bool on)
{
	q->replaying = on;
	if (!on && q->ngone > 0)
		qsort(q->gone, q->ngone, sizeof *q->gone, by_id);
}

bool
queue_replayed_gone(const struct queue *q, uint64_t qid)
{
	return q->ngone > 0 && bsearch(&qid, q->gone, q->ngone, sizeof *q->gone, by_id) != NULL;
}

/* --- .env -------------------------------------------------------------------------------------------------------- */

int
queue_load(struct queue *q, uint64_t qid, struct span env, size_t *taken)
{
	struct taking t = { .q = q, .from_file = true };
	struct queue_entry *e;
	struct queue_env look;
	struct buf lines;
	struct span head, rest;
	int rc;

	buf_init(&lines, QUEUE_ENV_MAX);
	rc = queue_env_open(env, qid, &lines, &look);
	*taken = look.whole;
	head = rest = buf_span(&lines);
	head.n = look.head;
	if (rc == 0 && (look.head == 0 || queue_find(q, qid) != NULL))
		rc = PT_EPROTO;
	if (rc == 0)
		rc = take_text(&t, head);
	if (rc == 0 && (e = queue_find(q, qid)) != NULL) {
		e->env_octets = *taken;
		e->anew = look.behind; /* what is added goes where the first damaged line is, and would cut off what is behind it */
		rest.p += head.n;
		rest.n -= head.n;
		if (take_text(&t, rest) == PT_ENOMEM) /* may be its end */
			rc = PT_ENOMEM;
	}
	buf_fini(&lines);
	return rc;
}

/* --- claims ------------------------------------------------------------------------------------------------------ */

bool
queue_rcpt_due(const struct queue_rcpt *r, int64_t now)
{
	return r->state == STORE_RCPT_WAITING && r->next <= now;
}

bool
queue_due(const struct queue *q, int64_t now)
{
	return queue_due_next(q) <= now;
}

int64_t
queue_due_next(const struct queue *q)
{
	const struct heap *h = &q->heap[DUE];

	return h->n == 0 ? INT64_MAX : (int64_t)h->e[1]->key[DUE];
}

uint64_t
queue_lease_next(const struct queue *q)
{
	const struct heap *h = &q->heap[HELD];

	return h->n == 0 ? UINT64_MAX : h->e[1]->key[HELD];
}

struct queue_entry *
queue_claim(struct queue *q, int64_t now, const void *holder, uint64_t until_ms)
{
	struct queue_entry *e;

	if (!queue_due(q, now))
		return NULL;
	e = q->heap[DUE].e[1];
	e->holder = holder;
	e->until_ms = until_ms;
	place(q, e);
	return e;
}

bool
queue_hold(struct queue *q, struct queue_entry *e, const void *holder, uint64_t until_ms)
{
	if (e->until_ms != 0 && e->holder != NULL && e->holder != holder)
		return false;
	if (until_ms == 0 && e->holder != holder)
		return false; /* nobody can let go what nobody has */
	e->holder = until_ms == 0 ? NULL : holder;
	e->until_ms = until_ms;
	place(q, e);
	return true;
}

void
queue_hold_all(struct queue *q, uint64_t until_ms)
{
	struct queue_entry *e;
	size_t i;

	for (i = 0; i < q->nhash; i++)
		for (e = q->hash[i]; e != NULL; e = e->hash_next) {
			e->until_ms = until_ms;
			place(q, e);
		}
}

void
queue_tick(struct queue *q, uint64_t now_ms)
{
	struct queue_entry *e;

	while (queue_lease_next(q) <= now_ms) {
		e = q->heap[HELD].e[1];
		e->holder = NULL;
		e->until_ms = 0;
		place(q, e);
	}
}

void
queue_release(struct queue *q, const void *holder)
{
	struct heap *h = &q->heap[HELD];
	size_t i;

	/* those are over as of the first moment; then the heap is put in order, and they leave it */
	for (i = 1; i <= h->n; i++)
		if (h->e[i]->holder == holder)
			h->e[i]->until_ms = h->e[i]->key[HELD] = 1;
	for (i = h->n / 2; i >= 1; i--)
		heap_down(h, HELD, i);
	queue_tick(q, 1);
}

void
queue_pin(struct queue *q, struct queue_entry *e)
{
	e->pins++;
	place(q, e);
}

void
queue_unpin(struct queue *q, uint64_t qid)
{
	struct queue_entry *e = queue_find(q, qid);

	if (e == NULL)
		return; /* done */
	PT_ASSERT(e->pins > 0);
	e->pins--;
	place(q, e);
}

void
queue_break(struct queue *q, struct queue_entry *e)
{
	e->broken = true;
	place(q, e);
}

/* --- checkpoints ------------------------------------------------------------------------------------------------- */

bool
queue_dirty(const struct queue *q)
{
	return !TAILQ_EMPTY(&q->dirty) || !TAILQ_EMPTY(&q->saving) || q->ngone > 0;
}

void
queue_save_begin(struct queue *q)
{
	struct queue_entry *e;

	while ((e = TAILQ_FIRST(&q->dirty)) != NULL) {
		TAILQ_REMOVE(&q->dirty, e, dirty_next);
		e->dirty = false;
		e->saving = true;
		TAILQ_INSERT_TAIL(&q->saving, e, dirty_next);
	}
}

struct queue_entry *
queue_save_next(struct queue *q, struct buf *text, bool *all)
{
	struct queue_entry *e = TAILQ_FIRST(&q->saving);

	if (e == NULL)
		return NULL;
	not_dirty(q, e);
	e->files = true;
	if (e->saved && e->env_octets > ENV_ANEW && e->env_octets / 4 > e->memory)
		e->anew = true;
	*all = !e->saved || e->anew;
	PT_ASSERT(queue_env_put(e, *all, text) == 0); /* out of memory: who cannot keep what was accepted must end and replay */
	return e;
}

void
queue_saved(struct queue *q, uint64_t qid, bool ok, bool all, uint64_t octets)
{
	struct queue_entry *e = queue_find(q, qid);

	if (e == NULL)
		return; /* done meanwhile: its files go */
	if (!ok) {
		e->anew = e->saved; /* what was to be added is not marked any more */
		set_dirty(q, e);
		return;
	}
	e->env_octets = octets;
	if (all) {
		e->saved = true;
		e->anew = false;
		e->body = (struct queue_body){ .in = QUEUE_IN_FILE };
	}
}

uint64_t *
queue_gone(struct queue *q, size_t *n)
{
	uint64_t *list = q->gone;

	*n = q->ngone;
	q->gone = NULL;
	q->ngone = q->gone_cap = 0;
	return list;
}

void
queue_gone_again(struct queue *q, uint64_t *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		gone_add(q, list[i]);
	free(list);
}

/* --- checks -------------------------------------------------------------------------------------------------------- */

bool
queue_going(struct queue *q, uint64_t qid)
{
	size_t i;

	for (i = 0; i < q->ngone && q->gone[i] != qid; i++)
		continue;
	return i < q->ngone;
}

void
queue_anew(struct queue *q, struct queue_entry *e)
{
	e->anew = true;
	set_dirty(q, e);
}

bool
queue_drop(struct queue *q, struct queue_entry *e)
{
	if (e->pins > 0 || (e->until_ms != 0 && !e->broken))
		return false;
	forget(q, e);
	return true;
}
