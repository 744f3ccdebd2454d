/* store/local_jobs.c - main thread: what jobs work on, and transactions cut into jobs. */
#include "store/local.h"

#include "store/record.h"
#include "store/uidset.h"
#include "util/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_BOXES_MAX 1024 /* with two descriptors each */

/* --- boxes --------------------------------------------------------------------------------------------- */

static size_t
hash_of(const char *user, const char *key)
{
	size_t h = 5381;

	for (; *user != '\0'; user++)
		h = h * 33 ^ (uint8_t)*user;
	for (h = h * 33 ^ '/'; *key != '\0'; key++)
		h = h * 33 ^ (uint8_t)*key;
	return h;
}

static void
forget(struct local *l, struct box *b)
{
	struct box **at = &l->hash[hash_of(b->user, b->key) % l->nhash];

	while (*at != b)
		at = &(*at)->hash_next;
	*at = b->hash_next;
	TAILQ_REMOVE(&l->lru, b, lru);
	l->nboxes--;
	box_close(b);
	names_free(&b->names);
	free(b);
}

/* Idle boxes go, the one that was used longest ago first; what is watched stays. */
static void
trim(struct local *l)
{
	struct box *b, *next;

	for (b = TAILQ_FIRST(&l->lru); b != NULL && l->nboxes > OPEN_BOXES_MAX; b = next) {
		next = TAILQ_NEXT(b, lru);
		if (b->wd_new < 0 && b->names == NULL)
			forget(l, b);
	}
}

struct box *
local_find(struct local *l, const char *user, const char *key)
{
	struct box *b = l->hash[hash_of(user, key) % l->nhash];

	while (b != NULL && (strcmp(b->user, user) != 0 || strcmp(b->key, key) != 0))
		b = b->hash_next;
	return b;
}

struct box *
local_box(struct local *l, const char *user, const char *key)
{
	struct box **at, *b = local_find(l, user, key);

	if (b != NULL)
		return b;
	at = &l->hash[hash_of(user, key) % l->nhash];
	trim(l);
	if ((b = calloc(1, sizeof *b)) == NULL)
		return NULL;
	snprintf(b->user, sizeof b->user, "%s", user);
	snprintf(b->key, sizeof b->key, "%s", key);
	b->wd_new = b->wd_cur = b->dir_fd = b->index_fd = -1;
	b->hash_next = *at;
	*at = b;
	l->nboxes++;
	TAILQ_INSERT_TAIL(&l->lru, b, lru);
	return b;
}

void
local_submit(struct local *l, struct crew_job *j, struct box *const *boxes, unsigned n)
{
	struct crew_strand *strands[CREW_STRANDS_INLINE];
	unsigned i;

	for (i = 0; i < n; i++) {
		if (boxes[i]->jobs++ == 0)
			TAILQ_REMOVE(&l->lru, boxes[i], lru);
		strands[i] = &boxes[i]->strand;
	}
	crew_submit(l->crew, j, strands, n);
}

void
local_submit_read(struct local *l, struct crew_job *j, struct box *b)
{
	if (b != NULL && b->stuck > 0) {
		if (b->jobs++ == 0)
			TAILQ_REMOVE(&l->lru, b, lru);
		j->refused(j);
		j->done(j);
		return;
	}
	local_submit(l, j, &b, b == NULL ? 0 : 1);
}

void
local_box_left(struct local *l, struct box *b)
{
	PT_ASSERT(b->jobs > 0);
	if (--b->jobs == 0)
		TAILQ_INSERT_TAIL(&l->lru, b, lru);
}

/* --- applying ------------------------------------------------------------------------------------------ */

/* A box is no longer replayed once all that was replayed is applied: names cost memory. */
static void
names_drop(struct local *l)
{
	struct box *b;
	size_t i;

	for (i = 0; i < l->nhash; i++)
		for (b = l->hash[i]; b != NULL; b = b->hash_next)
			if (b->jobs == 0)
				names_free(&b->names);
}

static void
apply_over(struct local *l, struct apply *a)
{
	bool replayed = a->commit == NULL;

	TAILQ_REMOVE(&l->applying, a, next);
	l->owed -= a->owed;
	if (!replayed)
		a->commit->applied(a->commit);
	buf_fini(&a->text);
	free(a);
	if (replayed && l->replaying &&
	    (TAILQ_EMPTY(&l->applying) || TAILQ_FIRST(&l->applying)->commit != NULL)) {
		l->replaying = false;
		names_drop(l);
		names_free(&l->graves);
		endings_free(&l->ended);
		l->next_checkpoint = 0; /* the journal is as full as it was: empty it */
	}
}

#define BOX_TEXT (STORE_USER_MAX + STORE_BOX_MAX + 32)

/* As people call it. */
static const char *
box_text(const struct box *b, char text[BOX_TEXT])
{
	if (b->user[0] == '\0')
		snprintf(text, BOX_TEXT, "the keys of %s", b->key);
	else if (b->key[0] == '\0')
		snprintf(text, BOX_TEXT, "the mail folder of %s", b->user);
	else
		snprintf(text, BOX_TEXT, "mailbox %s of %s", b->key, b->user);
	return text;
}

void
local_apply_failed(struct local *l, struct apply_job *aj)
{
	char text[BOX_TEXT];

	aj->parked = true;
	TAILQ_INSERT_TAIL(&l->failing, aj, retry);
	if (aj->tries++ == 0) {
		log_msg(LOG_L_ERROR, "cannot write into %s: %s; trying again every second; the journal "
			"has what was accepted, and nothing more is accepted for it", box_text(aj->box[0], text),
			pt_strerror(aj->rc));
		l->next_retry = 0; /* the first time soon: until then who asks waits */
	} else {
		local_block(l, aj);
	}
}

static void
apply_done(struct crew_job *j)
{
	struct apply_job *aj = (struct apply_job *)j;
	struct local *l = aj->l;
	char text[BOX_TEXT];
	unsigned i;

	if (aj->settling) {
		settle_wait(l, aj);
		return;
	}
	l->retrying -= aj->tries > 0;
	if (aj->job.again) {
		local_apply_failed(l, aj);
		return;
	}
	if (aj->tries > 0)
		log_msg(LOG_L_NOTICE, "%s can be written again", box_text(aj->box[0], text));
	if (aj->kept)
		log_msg(LOG_L_ERROR, "mailbox %s of %s keeps its name: another program has made a folder of the new one",
			aj->box[1]->key, aj->box[1]->user);
	local_unblock(aj);
	for (i = 0; i < aj->nboxes; i++)
		local_box_left(l, aj->box[i]);
	TAILQ_REMOVE(&aj->a->parts, aj, of);
	if (--aj->a->jobs == 0)
		apply_over(l, aj->a);
	free(aj);
}

static struct apply_job *
part_new(struct local *l, struct apply *a, size_t hint)
{
	struct apply_job *aj = calloc(1, sizeof *aj);

	PT_ASSERT(aj != NULL); /* it is durable: who cannot carry it out must end and replay */
	aj->job = (struct crew_job){ .run = apply_run, .done = apply_done, .lane = CREW_APPLY, .unhurried = true };
	aj->l = l;
	aj->a = a;
	aj->hint = hint;
	aj->file_fd = -1;
	aj->order = ++l->parts_made;
	a->jobs++;
	TAILQ_INSERT_TAIL(&a->parts, aj, of);
	return aj;
}

static void
part_box(struct apply_job *aj, const char *user, const char *key)
{
	struct box *b = local_box(aj->l, user, key);
	unsigned i;

	PT_ASSERT(b != NULL);
	for (i = 0; i < aj->nboxes; i++)
		if (aj->box[i] == b)
			return;
	PT_ASSERT(aj->nboxes < CREW_STRANDS_INLINE);
	if (b->jobs++ == 0) /* until submit(): the next one must not push it out */
		TAILQ_REMOVE(&aj->l->lru, b, lru);
	aj->box[aj->nboxes++] = b;
}

static void
part_words(struct apply_job *aj, const struct record_line *line, unsigned key_word)
{
	char user[STORE_USER_MAX + 1], key[STORE_BOX_MAX + 1];

	PT_ASSERT(record_word(line->word[0], user, sizeof user) &&
		record_word(line->word[key_word], key, sizeof key));
	part_box(aj, user, key);
}

/* Whether messages go from one mailbox to another: then the lines belong together. */
static bool
is_joint(struct span text)
{
	struct record_line line;
	bool bad;

	while (record_next(&text, &line, &bad))
		if (line.kind == 'S')
			return true;
	return false;
}

/* How many UIDs with a hint a line has. */
static size_t
hints_of(const struct apply *a, const struct record_line *line)
{
	struct uidset_range r;
	struct index_line x;
	bool bad;
	size_t n = 0;

	if (a->hints == NULL)
		return 0;
	if (line->kind == 'S')
		return 1;
	if (line->kind != '=' && line->kind != '-')
		return 0;
	PT_ASSERT(index_line_parse(line->raw, &x, &bad) > 0);
	while (uidset_next(&x.text, &r))
		n += r.last - r.first + 1;
	return n;
}

static void
submit(struct apply_job *aj, const uint8_t *end)
{
	unsigned i;

	aj->text.n = (size_t)(end - aj->text.p);
	PT_ASSERT(aj->nboxes > 0);
	local_submit(aj->l, &aj->job, aj->box, aj->nboxes);
	for (i = 0; i < aj->nboxes; i++)
		local_box_left(aj->l, aj->box[i]); /* part_box()'s */
	local_block_behind(aj->l, aj);
}

/* What makes, removes or renames a mailbox is the user's, too: a list comes behind it. */
static void
add_boxes(struct apply_job *aj, const struct record_line *line, struct span rest)
{
	char space[STORE_SPACE_MAX + 1], user[STORE_USER_MAX + 1];

	switch (line->kind) {
	case 'R':
		part_words(aj, line, 2);
		/* FALLTHROUGH */
	case 'B':
	case 'S':
	case 'D':
		part_words(aj, line, 1);
		break;
	case 'V':
	case 'v':
		PT_ASSERT(record_word(line->word[0], space, sizeof space));
		part_box(aj, "", space);
		return;
	}
	if (line->kind == 'S' || (line->kind == 'B' && (rest.n == 0 || rest.p[0] != 'P')))
		return;
	PT_ASSERT(record_word(line->word[0], user, sizeof user));
	part_box(aj, user, "");
}

/* Cuts a transaction into jobs: one for each mailbox, so that one slow one does not delay the others. */
void
local_apply_start(struct local *l, struct apply *a, struct span text)
{
	struct apply_job *aj = NULL;
	struct record_line line;
	struct span whole = text;
	bool joint = is_joint(text), bad;
	size_t hint = 0;

	TAILQ_INSERT_TAIL(&l->applying, a, next);
	TAILQ_INIT(&a->parts);
	a->jobs = 1; /* until local_apply_started() */
	a->whole = text.p;
	while (record_next(&text, &line, &bad)) {
		if (strchr("BSDRsVv", line.kind) != NULL && (aj == NULL || (!joint && line.kind != 'S'))) {
			if (aj != NULL)
				submit(aj, line.raw.p);
			aj = part_new(l, a, hint);
			aj->text.p = joint ? whole.p : line.raw.p;
		}
		if (strchr("BSDRsVv", line.kind) != NULL)
			add_boxes(aj, &line, text);
		hint += hints_of(a, &line);
	}
	PT_ASSERT(!bad);
	if (aj != NULL)
		submit(aj, whole.p + whole.n);
}

void
local_apply_started(struct local *l, struct apply *a)
{
	if (--a->jobs == 0)
		apply_over(l, a);
}

void
local_retry_failed(struct local *l)
{
	struct apply_job *aj, *next;

	for (aj = TAILQ_FIRST(&l->failing); aj != NULL; aj = next) {
		next = TAILQ_NEXT(aj, retry);
		if (aj->a->carried)
			continue;
		TAILQ_REMOVE(&l->failing, aj, retry);
		aj->parked = false;
		l->retrying++;
		crew_again(l->crew, &aj->job);
	}
}
