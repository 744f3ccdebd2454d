/* store/local_replay.c - main thread, at the start: what the journal has is carried out again. */
#include "store/local.h"

#include "store/record.h"
#include "util/log.h"

#include <stdlib.h>

struct replay {
	struct local *l;
	store_key_f *key_f;
	store_id_f *id_f;
	void *arg;
	TAILQ_HEAD(, apply) records;
	uint64_t mark; /* what is below was in the files for good */
};

static void
replay_key(struct replay *r, const struct record_line *line)
{
	char space[STORE_SPACE_MAX + 1], key[STORE_KEY_MAX + 1], value[STORE_VALUE_MAX + 1];
	uint64_t version, expires = 1;

	if (r->key_f == NULL || !record_word(line->word[0], space, sizeof space) ||
	    !record_word(line->word[1], key, sizeof key) || !record_number(line->word[2], &version))
		return;
	value[0] = '\0';
	if (line->kind == 'V' && (!record_number(line->word[3], &expires) || expires > INT64_MAX ||
	    !record_word(line->word[4], value, sizeof value)))
		return;
	r->key_f(r->arg, space, key, version, line->kind == 'v' ? -1 : (int64_t)expires, span_str(value));
}

static int
replay_line(struct replay *r, uint64_t lsn, const struct record_line *line, struct span text)
{
	switch (line->kind) {
	case 'V':
	case 'v':
		replay_key(r, line);
		return 0;
	case 'T':
		if (r->id_f != NULL && line->word[0].n == 32)
			r->id_f(r->arg, (const char *)line->word[0].p, text);
		return 0;
	case 'D':
	case 'R':
		return endings_add(r->l->ended, lsn, line);
	default:
		return 0;
	}
}

static int
replay_record(void *arg, const struct journal_record *rec, const struct journal_place *at)
{
	struct replay *r = arg;
	struct record_line line, box = { 0 };
	struct span text = rec->text;
	struct apply *a;
	uint64_t lsn;
	bool bad;
	int rc;

	while (record_next(&text, &line, &bad)) {
		if (r->l->be.queue == NULL && (line.kind == 'Q' || line.kind == 'q')) {
			log_msg(LOG_L_ERROR, "the journal has queued messages, and whoever opens it here would lose them");
			return PT_EINVAL;
		}
		if (line.kind == 'C') { /* alone in its record */
			if (record_number(line.word[0], &lsn) && lsn <= rec->lsn && lsn > r->mark)
				r->mark = lsn;
			return 0;
		}
		if (line.kind == 'B' && !line.index)
			box = line;
		rc = line.index && line.kind == 'P' ? endings_made(r->l->ended, rec->lsn, &box)
			: replay_line(r, rec->lsn, &line, rec->text);
		if (rc != 0)
			return rc;
	}
	if (bad) { /* its CRC was right: written by a version that knows more */
		log_msg(LOG_L_ERROR, "journal record %llu has a line that this version does not know; skipped",
			(unsigned long long)rec->lsn);
		return 0;
	}
	if ((a = calloc(1, sizeof *a)) == NULL)
		return PT_ENOMEM;
	a->lsn = rec->lsn;
	a->at = *at;
	buf_init(&a->text, rec->text.n);
	if ((rc = buf_append(&a->text, rec->text.p, rec->text.n)) != 0) {
		free(a);
		return rc;
	}
	TAILQ_INSERT_TAIL(&r->records, a, next);
	return 0;
}

static void
replay_queue(struct local *l, const struct apply *a)
{
	int rc = l->be.queue == NULL ? 0 : queue_take(l->be.queue, buf_span(&a->text), a->at.segment, a->at.body);

	PT_ASSERT(rc != PT_ENOMEM); /* half a queue is none */
	if (rc != 0)
		log_msg(LOG_L_ERROR, "journal record %llu says of the queue what cannot be; skipped",
			(unsigned long long)a->lsn);
}

/* What no checkpoint covers is carried out again, if all of it can be. Returns how many records. */
static uint64_t
replay_start(struct replay *r, bool all)
{
	struct apply *a;
	uint64_t n = 0;

	while ((a = TAILQ_FIRST(&r->records)) != NULL) {
		TAILQ_REMOVE(&r->records, a, next);
		if (!all || a->lsn < r->mark) {
			buf_fini(&a->text);
			free(a);
			continue;
		}
		n++;
		a->owed = a->at.body_len;
		r->l->owed += a->owed;
		replay_queue(r->l, a);
		local_apply_start(r->l, a, buf_span(&a->text));
		local_apply_started(r->l, a);
	}
	return n;
}

int
local_replay(struct local *l, store_key_f *key_f, store_id_f *id_f, void *arg, struct diag *diag)
{
	struct replay r = { .l = l, .key_f = key_f, .id_f = id_f, .arg = arg };
	uint64_t gaps, n;
	int rc;

	TAILQ_INIT(&r.records);
	l->replaying = true;
	if ((l->ended = endings_new()) == NULL)
		return diag_set(diag, PT_ENOMEM, "out of memory");
	if ((l->graves = graves_read(l->tmp_fd)) == NULL)
		return diag_set(diag, PT_EIO, "cannot read .tmp in the mail folder: %s", pt_strerror(PT_EIO));
	if ((rc = local_keys(l, key_f, arg, diag)) != 0 || (rc = local_queue_load(l, diag)) != 0)
		return rc;
	rc = journal_replay(l->journal, replay_record, &r, &gaps, diag);
	endings_sort(l->ended);
	n = replay_start(&r, rc == 0);
	if (rc != 0)
		return rc;
	l->was_synced = r.mark;
	local_queue_replayed(l);
	if (gaps > 0)
		log_msg(LOG_L_ERROR, "%llu records are missing in the journal: if the disk had failed before, nobody was "
			"told that they were accepted; otherwise its files were changed",
			(unsigned long long)gaps);
	if (n > 0)
		log_msg(LOG_L_NOTICE, "the journal had %llu records: they are carried out again", (unsigned long long)n);
	if (TAILQ_EMPTY(&l->applying)) {
		l->replaying = false;
		names_free(&l->graves);
		endings_free(&l->ended);
	}
	return 0;
}
