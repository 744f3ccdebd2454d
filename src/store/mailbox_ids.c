/* store/mailbox_ids.c - which transactions were done lately, and what was answered: repeating one does nothing. */
#include "store/mailbox_impl.h"

#include "store/hex.h"
#include "store/record.h"
#include "store/uidset.h"

#include <stdlib.h>
#include <string.h>

#define IDS_MAX 16384       /* more than all workers can have under way */
#define ANSWER_MAX 256      /* octets of UIDs that are remembered */
#define UNDER_WAY_HASH 1024

struct known {
	uint64_t key[2]; /* 0, 0: free */
	uint64_t id, modseq;
	uint32_t uidvalidity;
	enum store_rc rc;
	uint32_t next;   /* in its chain; IDS_MAX: last */
	char *uids;      /* owned; uids NUL sources NUL */
};

struct mb_ids {
	struct known entry[IDS_MAX];
	uint32_t table[IDS_MAX];
	uint32_t at; /* the oldest: its place is the next to be used */
	struct mb_txn *under_way[UNDER_WAY_HASH];
};

struct mb_ids *
mb_ids_new(void)
{
	struct mb_ids *ids = calloc(1, sizeof *ids);
	uint32_t i;

	for (i = 0; ids != NULL && i < IDS_MAX; i++)
		ids->table[i] = IDS_MAX;
	return ids;
}

void
mb_ids_free(struct mb_ids **ids)
{
	uint32_t i;

	for (i = 0; *ids != NULL && i < IDS_MAX; i++)
		free((*ids)->entry[i].uids);
	free(*ids);
	*ids = NULL;
}

static bool
key_of(const char *id, uint64_t key[2])
{
	return hex_get((const uint8_t *)id, 16, &key[0]) && hex_get((const uint8_t *)id + 16, 16, &key[1]) &&
		(key[0] | key[1]) != 0;
}

bool
mb_ids_find(const struct mb_ids *ids, const char *id, struct mb_known *out)
{
	uint64_t key[2];
	uint32_t i;

	if (!key_of(id, key))
		return false;
	for (i = ids->table[key[0] % IDS_MAX]; i != IDS_MAX; i = ids->entry[i].next)
		if (ids->entry[i].key[0] == key[0] && ids->entry[i].key[1] == key[1]) {
			const struct known *k = &ids->entry[i];

			*out = (struct mb_known){ .rc = k->rc, .id = k->id, .uidvalidity = k->uidvalidity,
				.modseq = k->modseq, .uids = k->uids == NULL ? "" : k->uids };
			out->sources = k->uids == NULL ? "" : k->uids + strlen(k->uids) + 1;
			return true;
		}
	return false;
}

static void
forget(struct mb_ids *ids, struct known *k)
{
	uint32_t *at = &ids->table[k->key[0] % IDS_MAX], self = (uint32_t)(k - ids->entry);

	if ((k->key[0] | k->key[1]) == 0)
		return;
	while (*at != self)
		at = &ids->entry[*at].next;
	*at = k->next;
	free(k->uids);
	memset(k, 0, sizeof *k);
}

static char *
texts(struct span uids, struct span sources)
{
	char *p;

	if (uids.n + sources.n > ANSWER_MAX || (p = calloc(1, uids.n + sources.n + 2)) == NULL)
		return NULL;
	if (uids.n > 0)
		memcpy(p, uids.p, uids.n);
	if (sources.n > 0)
		memcpy(p + uids.n + 1, sources.p, sources.n);
	return p;
}

static void
add(struct mb_ids *ids, const char *id, const struct known *what)
{
	struct known *k = &ids->entry[ids->at];
	uint64_t key[2];

	if (!key_of(id, key)) {
		free(what->uids);
		return;
	}
	forget(ids, k);
	*k = *what;
	memcpy(k->key, key, sizeof k->key);
	k->next = ids->table[key[0] % IDS_MAX];
	ids->table[key[0] % IDS_MAX] = ids->at;
	ids->at = (ids->at + 1) % IDS_MAX;
}

void
mb_ids_done(struct mb_ids *ids, const char *id, const struct mb_reply *r)
{
	struct known k = { .rc = r->rc, .id = r->id, .modseq = r->modseq, .uidvalidity = r->uidvalidity };

	k.uids = texts(buf_span(&r->uids), buf_span(&r->sources));
	add(ids, id, &k);
}

bool
mailboxes_knows(const struct mailboxes *mbs, const char *id)
{
	struct mb_known k;

	return mb_ids_find(mbs->ids, id, &k);
}

/* --- under way ----------------------------------------------------------------------------------------------- */

static struct mb_txn **
under_way(struct mb_ids *ids, const char *id)
{
	uint64_t key[2];

	return key_of(id, key) ? &ids->under_way[key[0] % UNDER_WAY_HASH] : NULL;
}

bool
mb_ids_begin(struct mb_ids *ids, struct mb_txn *t)
{
	struct mb_txn **head = under_way(ids, t->id), **last, *other;

	if (head == NULL)
		return true;
	for (other = *head; other != NULL; other = other->under_way_next)
		if (strcmp(other->id, t->id) == 0) {
			for (last = &other->same; *last != NULL; last = &(*last)->same)
				continue;
			*last = t;
			return false;
		}
	t->under_way_next = *head;
	*head = t;
	t->begun = true;
	return true;
}

struct mb_txn *
mb_ids_end(struct mb_ids *ids, struct mb_txn *t)
{
	struct mb_txn **at = t->begun ? under_way(ids, t->id) : NULL, *same = t->same;

	if (at == NULL)
		return NULL;
	while (*at != t)
		at = &(*at)->under_way_next;
	*at = t->under_way_next;
	t->begun = false;
	t->same = NULL;
	return same;
}

/* --- after a start ------------------------------------------------------------------------------------------ */

static void
remember_line(const struct record_line *line, struct known *k, struct uidset_writer *uids,
	      struct uidset_writer *sources)
{
	struct span set = line->nwords > 0 ? line->word[0] : (struct span){ NULL, 0 };
	struct uidset_range r;
	struct index_line x;
	uint64_t uid;
	bool bad;

	switch (line->kind) {
	case '+':
		if (index_line_parse(line->raw, &x, &bad) > 0)
			uidset_add(uids, x.uid);
		break;
	case 'M':
		k->rc = STORE_CONFLICT;
		while (uidset_next(&set, &r))
			for (uid = r.first; uid <= r.last; uid++)
				uidset_add(uids, (uint32_t)uid);
		break;
	case 'S':
		if (record_number(line->word[2], &uid) && uid <= UINT32_MAX)
			uidset_add(sources, (uint32_t)uid);
		break;
	case 'Q':
		(void)!record_number(line->word[0], &k->id);
		break;
	case 'V':
	case 'v': /* the version is the answer, but not of the key that goes with a new mailbox */
		if (!span_equal(line->word[0], span_str("uidvalidity")))
			(void)!record_number(line->word[2], &k->id);
		break;
	}
}

/* From a record: the UIDs that it gave, of what, a key's version, a queue id. UIDVALIDITY is not in it: 0 says so. */
void
mb_remember(struct mailboxes *mbs, const char *id, struct span text)
{
	struct uidset_writer set, source_set;
	struct record_line line;
	struct known k = { .id = 0 };
	struct buf uids, sources;
	bool bad;

	buf_init(&uids, ANSWER_MAX);
	buf_init(&sources, ANSWER_MAX);
	uidset_begin(&set, &uids);
	uidset_begin(&source_set, &sources);
	while (record_next(&text, &line, &bad))
		remember_line(&line, &k, &set, &source_set);
	if (uidset_end(&set) == 0 && uidset_end(&source_set) == 0)
		k.uids = texts(buf_span(&uids), buf_span(&sources));
	add(mbs->ids, id, &k);
	buf_fini(&uids);
	buf_fini(&sources);
}
