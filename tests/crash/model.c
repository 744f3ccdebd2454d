/* tests/crash/model.c - requests that can be made, and what they change. */
#include "model.h"

#include "util/err.h"

#include <stdio.h>
#include <string.h>

#define SUFFIXES 3

const char *const model_box_names[BOXES] = {
	"INBOX",
	"Archive", "Archive.2026", "Archive.\xc3\x85ngstr\xc3\xb6m",
	"Lists", "Lists.2026", "Lists.\xc3\x85ngstr\xc3\xb6m",
	"Old", "Old.2026", "Old.\xc3\x85ngstr\xc3\xb6m",
	"INBOX", "Public", "INBOX", "Public", "INBOX", "Public",
};
bool model_restless;
const char *const model_spaces[KEYS] = { "sieve", "vacation", "greylist", "pop3-lock" };
const char *const model_keywords[KEYWORDS] = { "$Junk", "later", "Project/7" };

/* --- octets ----------------------------------------------------------------------------------------- */

void
model_body(uint64_t id, uint32_t size, uint8_t *out)
{
	uint64_t x = id * 0x9e3779b97f4a7c15ull + size;
	char head[64];
	size_t i, n = (size_t)snprintf(head, sizeof head, "X-Id: %016llx %u\r\n\r\n", (unsigned long long)id, size);

	for (i = 0; i < size; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		out[i] = i < n ? (uint8_t)head[i] : (uint8_t)('0' + x % 74);
		if (i > n && i % 78 == 77) { /* a line's end */
			out[i - 1] = '\r';
			out[i] = '\n';
		}
	}
}

void
model_value(uint64_t value, uint32_t size, char *out)
{
	snprintf(out, 17, "%016llx", (unsigned long long)value);
	memset(out + 16, 'v', size - 16);
	out[size] = '\0';
}

/* --- choosing --------------------------------------------------------------------------------------- */

static uint32_t
limit(uint32_t box)
{
	return box < OWN ? MESSAGES : MESSAGES_SHARED;
}

static bool
may_grow(const struct state *s, uint32_t box)
{
	return (s->box[box].exists || box == 0 || box >= OWN) && s->box[box].n < limit(box);
}

int
model_renamed(uint32_t box, uint32_t from, uint32_t to)
{
	if (box == from)
		return (int)to;
	if ((from - 1) % SUFFIXES != 0 || box >= OWN || box <= from || box >= from + SUFFIXES)
		return (int)box; /* not below it */
	return (to - 1) % SUFFIXES == 0 ? (int)(to + box - from) : -1;
}

/* Whether a rename would run into something that is there; and none of what goes along has a name that is not ours. */
static bool
rename_fits(const struct state *s, uint32_t from, uint32_t to, bool *ours)
{
	uint32_t b;
	int n;

	*ours = true;
	for (b = 1; b < OWN; b++) {
		if (!s->box[b].exists || (n = model_renamed(b, from, to)) == (int)b)
			continue;
		if (n < 0)
			*ours = false;
		else if (s->box[n].exists)
			return false;
	}
	return true;
}

static bool
is_below(uint32_t box, uint32_t from)
{
	return (from - 1) % SUFFIXES == 0 && box > from && box < from + SUFFIXES;
}

static void
pick(const struct box *b, model_random *rnd, struct op *op)
{
	uint32_t i;

	for (i = 0; i < b->n && op->nuids < PICKED; i++)
		if (rnd() % 3 == 0)
			op->uids[op->nuids++] = b->m[i].uid;
	if (op->nuids == 0)
		op->uids[op->nuids++] = b->m[rnd() % b->n].uid;
}

static uint32_t
some_size(model_random *rnd)
{
	switch (rnd() % 24) {
	case 0:
		return STORE_BODY_MAX;
	case 1:
		return STORE_BODY_MAX + 1;
	case 2:
		return (uint32_t)(STORE_BODY_MAX + 2 + rnd() % (BODY_LARGE - STORE_BODY_MAX - 2));
	default:
		return (uint32_t)(64 + rnd() % 5000);
	}
}

static uint32_t
some_flags(model_random *rnd)
{
	static const uint32_t any[] = { STORE_SEEN, STORE_DELETED, STORE_FLAGGED | STORE_SEEN, STORE_DELETED | STORE_KEYWORD(0),
		STORE_KEYWORD(1), STORE_KEYWORD(1) | STORE_KEYWORD(2) | STORE_ANSWERED, STORE_FORWARDED, STORE_DRAFT };

	return any[rnd() % PT_COUNT(any)];
}

static void
choose_add(const struct state *s, model_random *rnd, struct op *op)
{
	uint32_t want = rnd() % 3 != 0 ? 1 : 2 + (uint32_t)(rnd() % (RECIPIENTS - 1)), b, tries, i;

	op->kind = rnd() % 6 == 0 ? MIXED : ADD;
	op->size = some_size(rnd);
	op->has_flags = rnd() % 2 != 0;
	op->flags = op->has_flags ? some_flags(rnd) : 0;
	for (tries = 0; op->nboxes < want && tries < 40; tries++) {
		b = (uint32_t)(rnd() % BOXES);
		for (i = 0; i < op->nboxes && op->boxes[i] != b; i++)
			;
		if (i == op->nboxes && may_grow(s, b))
			op->boxes[op->nboxes++] = b;
	}
	b = 1 + (uint32_t)(rnd() % (OWN - 1));
	if (op->nboxes > 0 && op->nboxes < RECIPIENTS && rnd() % 16 == 0 && !s->box[b].exists) {
		op->boxes[op->nboxes++] = b; /* one recipient that is not there: nobody gets it */
		op->other = STORE_NOTFOUND;
		op->never = true;
	}
	if (op->nboxes == 0)
		op->kind = NOTHING;
}

static void
choose_put(const struct state *s, model_random *rnd, int64_t now, struct op *op)
{
	const struct key *k;
	bool there, maybe;

	op->kind = op->kind == NOTHING ? PUT : op->kind;
	op->key = (uint32_t)(rnd() % KEYS);
	op->expect = STORE_ANY_VERSION;
	op->value_size = rnd() % 8 == 0 ? STORE_VALUE_MAX : 17 + (uint32_t)(rnd() % 300);
	k = &s->key[op->key];
	there = k->value != 0 && (k->hi == 0 || now + 1 < k->lo);
	maybe = k->value != 0 && !there;
	if (op->key >= 2) /* a lock of somebody who may vanish */
		op->ttl = 1 + (uint32_t)(rnd() % 3);
	if (op->kind == MIXED)
		return;
	if (rnd() % 5 == 0)
		op->gone = true;
	switch (rnd() % 4) {
	case 0: /* only when it is not there */
		op->expect = 0;
		op->other = k->value != 0 ? STORE_EXISTS : STORE_OK;
		op->never = there && k->hi == 0;
		break;
	case 1: /* as it is known */
		if (there && k->hi == 0 && k->version != 0)
			op->expect = k->version;
		break;
	case 2: /* as it was */
		if (!maybe && k->version > 1) {
			op->expect = k->version - 1;
			op->other = STORE_CONFLICT;
			op->never = true;
		}
		break;
	default:
		break;
	}
}

/* Mailboxes as a whole. */
static void
choose_box(const struct state *s, model_random *rnd, struct op *op)
{
	static const enum kind kinds[] = { CREATE, CREATE, CREATE, CREATE, DELETE, RENAME, RENAME, SUBSCRIBE, UNSUBSCRIBE };
	bool ours;

	op->kind = kinds[rnd() % PT_COUNT(kinds)];
	op->box = 1 + (uint32_t)(rnd() % (OWN - 1));
	op->to = 1 + (uint32_t)(rnd() % (OWN - 1));
	op->never = true;
	switch (op->kind) {
	case CREATE:
		op->other = s->box[op->box].exists ? STORE_EXISTS : STORE_OK;
		break;
	case DELETE:
		op->other = s->box[op->box].exists ? STORE_OK : STORE_NOTFOUND;
		break;
	case RENAME:
		if (!s->box[op->box].exists)
			op->other = STORE_NOTFOUND;
		else if (is_below(op->to, op->box))
			op->other = STORE_INVALID;
		else if (!rename_fits(s, op->box, op->to, &ours))
			op->other = STORE_EXISTS;
		else if (op->box == op->to || !ours)
			op->kind = NOTHING;
		break;
	default:
		break;
	}
	op->never = op->other != STORE_OK;
}

static void
choose_change(const struct state *s, model_random *rnd, struct op *op)
{
	uint32_t tries, to;
	const struct box *b;

	for (tries = 0; tries < 20 && op->nuids == 0; tries++) {
		op->box = (uint32_t)(rnd() % BOXES);
		b = &s->box[op->box];
		if (b->n > 0)
			pick(b, rnd, op);
	}
	if (op->nuids == 0)
		return;
	/* to another mailbox of the same user */
	to = op->box < OWN ? (uint32_t)(rnd() % OWN) : (op->box - OWN) / 2 * 2 + OWN + (uint32_t)(rnd() % 2);
	switch (rnd() % (model_restless ? 4 : 6)) {
	case 0:
		op->kind = EXPUNGE;
		break;
	case 1:
	case 2:
		op->kind = rnd() % 2 ? COPY : MOVE;
		op->to = to;
		if (!may_grow(s, to) || s->box[to].n + op->nuids > limit(to) + PICKED || (op->kind == MOVE && to == op->box))
			op->kind = EXPUNGE;
		break;
	default:
		op->kind = FLAGS;
		op->flag_op = (enum store_flag_op)(rnd() % 3);
		op->flags = some_flags(rnd);
		op->unchangedsince = UINT64_MAX;
		if (rnd() % 12 == 0) {
			op->unchangedsince = 0; /* all were changed since: nothing is */
			op->other = STORE_CONFLICT;
			op->never = true;
		}
	}
}

void
model_choose(const struct state *s, model_random *rnd, int64_t now, struct op *op)
{
	unsigned dice = (unsigned)(rnd() % 100);

	memset(op, 0, sizeof *op);
	op->id = s->next_id;
	op->sent = now;
	op->unchangedsince = UINT64_MAX;
	if (dice < (model_restless ? 26 : 12))
		choose_box(s, rnd, op);
	else if (dice < (model_restless ? 30 : 20))
		choose_put(s, rnd, now, op);
	else if (dice < 60)
		choose_add(s, rnd, op);
	else
		choose_change(s, rnd, op);
	if (op->kind == MIXED) {
		choose_put(s, rnd, now, op);
		op->box = (uint32_t)(rnd() % OWN); /* subscribed to */
	}
}

/* --- applying --------------------------------------------------------------------------------------- */

static void
add(struct box *b, struct message m)
{
	b->exists = 1;
	m.uid = 0;
	b->m[b->n++] = m;
}

static bool
picked(const struct op *op, uint32_t uid)
{
	uint32_t i;

	for (i = 0; i < op->nuids; i++)
		if (op->uids[i] == uid)
			return true;
	return false;
}

static void
take_out(struct box *b, const struct op *op)
{
	uint32_t i, kept = 0;

	for (i = 0; i < b->n; i++)
		if (!picked(op, b->m[i].uid) || (op->kind == EXPUNGE && !(b->m[i].flags & STORE_DELETED)))
			b->m[kept++] = b->m[i];
	b->n = kept;
}

static void
copy(struct box *from, struct box *to, const struct op *op)
{
	uint32_t i, n = from->n;

	for (i = 0; i < n; i++)
		if (picked(op, from->m[i].uid))
			add(to, from->m[i]);
	if (op->kind == MOVE)
		take_out(from, op);
}

static void
flags(struct box *b, const struct op *op)
{
	uint32_t i, *f;

	for (i = 0; i < b->n; i++)
		if (picked(op, b->m[i].uid)) {
			f = &b->m[i].flags;
			*f = op->flag_op == STORE_FLAGS_SET ? op->flags
				: op->flag_op == STORE_FLAGS_ADD ? *f | op->flags : *f & ~op->flags;
		}
}

static void
empty(struct box *b)
{
	uint8_t subscribed = b->subscribed;

	memset(b, 0, sizeof *b);
	b->subscribed = subscribed; /* that is of the name */
}

static void
put(struct state *s, const struct op *op, int64_t now)
{
	struct key *k = &s->key[op->key];

	memset(k, 0, sizeof *k);
	if (op->gone)
		return;
	k->value = op->id;
	k->size = op->value_size;
	k->lo = op->ttl == 0 ? 0 : op->sent + op->ttl;
	k->hi = op->ttl == 0 ? 0 : now + op->ttl + 1;
}

static void
rename_boxes(struct state *s, const struct op *op)
{
	uint8_t subscribed;
	uint32_t b;
	int n;

	for (b = 1; b < OWN; b++) {
		if (!s->box[b].exists || (n = model_renamed(b, op->box, op->to)) == (int)b || n < 0)
			continue;
		subscribed = s->box[n].subscribed;
		s->box[n] = s->box[b];
		s->box[n].subscribed = subscribed;
		empty(&s->box[b]);
	}
}

void
model_apply(struct state *s, const struct op *op, int64_t now)
{
	struct box *b = &s->box[op->box];
	uint32_t i;

	switch (op->kind) {
	case CREATE:
		b->exists = 1;
		break;
	case DELETE:
		empty(b);
		break;
	case RENAME:
		rename_boxes(s, op);
		break;
	case SUBSCRIBE:
	case UNSUBSCRIBE:
		b->subscribed = op->kind == SUBSCRIBE;
		break;
	case MIXED:
		b->subscribed = 1;
		put(s, op, now);
		/* FALLTHROUGH */
	case ADD:
		for (i = 0; i < op->nboxes; i++)
			add(&s->box[op->boxes[i]], (struct message){ op->id, op->size, 0, op->flags });
		break;
	case FLAGS:
		flags(b, op);
		break;
	case COPY:
	case MOVE:
		copy(b, &s->box[op->to], op);
		break;
	case EXPUNGE:
		take_out(b, op);
		break;
	case PUT:
		put(s, op, now);
		break;
	case NOTHING:
		break;
	}
}

/* --- comparing -------------------------------------------------------------------------------------- */

static const char *
box_differs(const struct box *is, const struct box *want, uint32_t nr, uint32_t last_validity)
{
	const struct message *a, *b;
	uint32_t i;

	/* an INBOX that has never had a message is there or is not: it always exists (RFC 3501 §5.1) */
	if (is->exists != want->exists && nr < OWN && (nr != 0 || want->exists || is->n > 0))
		return is->exists ? "a mailbox is there that must not be" : "a mailbox is gone";
	if (is->subscribed != want->subscribed)
		return "a subscription";
	if (is->n != want->n)
		return is->n < want->n ? "messages are missing" : "messages are there that must not be";
	if (is->exists && want->uidvalidity != 0 && is->uidvalidity != want->uidvalidity)
		return "another UIDVALIDITY";
	if (is->exists && want->uidvalidity == 0 && nr < OWN && nr != 0 && is->uidvalidity <= last_validity)
		return "a new mailbox has a UIDVALIDITY that was used before";
	if (is->uidnext < want->uidnext || is->modseq < want->modseq)
		return is->uidnext < want->uidnext ? "UIDNEXT has gone back" : "MODSEQ has gone back";
	for (i = 0; i < is->n; i++) {
		a = &is->m[i];
		b = &want->m[i];
		if (a->id != b->id || a->size != b->size)
			return "another message";
		if (a->flags != b->flags)
			return "flags";
		if (b->uid != 0 ? a->uid != b->uid : a->uid < want->uidnext)
			return "a UID";
		if (i > 0 && a->uid <= is->m[i - 1].uid)
			return "UIDs do not ascend";
	}
	return NULL;
}

static const char *
key_differs(const struct key *is, const struct key *want, int64_t now)
{
	if (want->value == 0)
		return is->value != 0 ? "a key is there that must not be" : NULL;
	if (is->value == 0)
		return want->lo != 0 && now >= want->lo ? NULL : "a key is gone";
	if (want->hi != 0 && now > want->hi)
		return "a key is there that is over";
	if (is->value != want->value || is->size != want->size)
		return "another value";
	return want->version != 0 && is->version != want->version ? "another version of a key" : NULL;
}

bool
model_matches(const struct state *is, const struct state *want, int64_t now, const char **why)
{
	uint32_t i;

	*why = NULL;
	for (i = 0; i < BOXES && *why == NULL; i++)
		*why = box_differs(&is->box[i], &want->box[i], i, want->last_validity);
	for (i = 0; i < KEYS && *why == NULL; i++)
		*why = key_differs(&is->key[i], &want->key[i], now);
	return *why == NULL;
}
