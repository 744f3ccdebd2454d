/* store/local_rebuild.c - an index made anew: of every line of the old one that is still whole, wherever it stands, and
 * of the names of the files that are there.
 *
 * A message keeps the UID that the old index gave its file. What that does not know has the UID in its name (U=), where
 * the old index is damaged or ends before it: of an index that is whole, another mailbox's U= would be believed (people
 * move files). Then Dovecot's list, if it is of the same UIDVALIDITY. All others get new ones. No UID is given that the old index
 * has ever used for another message. */
#include "store/local.h"

#include "store/hex.h"
#include "store/maildir.h"
#include "store/uidset.h"
#include "util/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REBUILT_OCTETS_MAX (4ull << 30)

#define MODSEQ_TRUST_MAX (1ull << 62) /* the next one must fit as well */

/* --- the old index ----------------------------------------------------------------------------------------- */

/* What can be read of it. Spans borrow from text. */
struct salvage {
	uint8_t *text;
	struct index_line *adds; /* by base name, then UID */
	size_t nadds, adds_cap;
	struct uidset_range *gone; /* by first */
	size_t ngone, gone_cap;
	struct store_header h; /* uidvalidity 0: its header is lost */
	char keywords[STORE_KEYWORDS_MAX][STORE_KEYWORD_MAX + 1];
	uint64_t damaged;
};

static int
grown(void *array, size_t n, size_t *cap, size_t size)
{
	void **p = array, *bigger;
	size_t c = *cap == 0 ? 64 : *cap * 2;

	if (n < *cap)
		return 0;
	if ((bigger = reallocarray(*p, c, size)) == NULL)
		return PT_ENOMEM;
	*p = bigger;
	*cap = c;
	return 0;
}

static void
used_uid(struct salvage *s, uint32_t uid)
{
	if (uid >= s->h.uidnext && uid < UINT32_MAX)
		s->h.uidnext = uid + 1;
}

static int
salvage_gone(struct salvage *s, struct span set)
{
	struct uidset_range r;
	int rc = 0;

	while (rc == 0 && uidset_next(&set, &r)) {
		used_uid(s, r.last);
		if ((rc = grown(&s->gone, s->ngone, &s->gone_cap, sizeof *s->gone)) == 0)
			s->gone[s->ngone++] = r;
	}
	return rc;
}

static int
salvage_line(struct salvage *s, const struct index_line *x)
{
	int rc;

	if (x->modseq > MODSEQ_TRUST_MAX) {
		s->damaged++;
		return 0;
	}
	s->h.modseq = x->modseq > s->h.modseq ? x->modseq : s->h.modseq;
	switch (x->kind) {
	case 'P':
		if (s->h.uidvalidity != 0)
			return 0; /* a second one: of a mailbox that was here before, or a jest */
		s->h.uidvalidity = x->uid;
		s->h.created = x->date;
		memcpy(s->h.id, x->guid.p, 32);
		return 0;
	case '+':
		used_uid(s, x->uid);
		if ((rc = grown(&s->adds, s->nadds, &s->adds_cap, sizeof *s->adds)) == 0)
			s->adds[s->nadds++] = *x;
		return rc;
	case '-':
		return salvage_gone(s, x->text);
	case 'k':
		memcpy(s->keywords[x->uid], x->text.p, x->text.n);
		s->keywords[x->uid][x->text.n] = '\0';
		return 0;
	case 'U':
		s->h.uidnext = x->uid > s->h.uidnext ? x->uid : s->h.uidnext;
		return 0;
	default:
		return 0; /* flags are in the names of the files */
	}
}

static int
by_base(const void *a, const void *b)
{
	const struct index_line *x = a, *y = b;
	size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
	int c = memcmp(x->text.p, y->text.p, n);

	if (c != 0)
		return c;
	if (x->text.n != y->text.n)
		return x->text.n < y->text.n ? -1 : 1;
	return x->uid < y->uid ? -1 : x->uid > y->uid;
}

static int
by_first(const void *a, const void *b)
{
	const struct uidset_range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* Sorted, and so that no two meet. */
static void
join_gone(struct salvage *s)
{
	size_t i, n = 0;

	if (s->ngone == 0)
		return;
	qsort(s->gone, s->ngone, sizeof *s->gone, by_first);
	for (i = 1; i < s->ngone; i++)
		if (s->gone[i].first > s->gone[n].last)
			s->gone[++n] = s->gone[i];
		else if (s->gone[i].last > s->gone[n].last)
			s->gone[n].last = s->gone[i].last;
	s->ngone = n + 1;
}

/* Whole lines, and on behind what is not one. A last line without its end is of a write that was cut: no damage. */
static int
salvage_read(int index_fd, struct salvage *s)
{
	struct index_line x;
	const uint8_t *nl;
	struct span rest;
	bool bad, was_bad = false;
	size_t used;
	int rc;

	s->h.uidnext = 1;
	if (index_fd < 0)
		return 0;
	if ((rc = read_whole(index_fd, &s->text, &rest.n)) != 0)
		return rc;
	for (rest.p = s->text; rest.n > 0 && rc == 0; rest.p += used, rest.n -= used) {
		if ((used = index_line_parse(rest, &x, &bad)) > 0) {
			rc = salvage_line(s, &x);
			was_bad = false;
			continue;
		}
		if ((nl = memchr(rest.p, '\n', rest.n)) == NULL)
			break;
		used = (size_t)(nl - rest.p) + 1;
		s->damaged += !was_bad;
		was_bad = true;
	}
	if (s->nadds > 0)
		qsort(s->adds, s->nadds, sizeof *s->adds, by_base);
	join_gone(s);
	return rc;
}

static void
salvage_fini(struct salvage *s)
{
	free(s->text);
	free(s->adds);
	free(s->gone);
}

static bool
is_gone(const struct salvage *s, uint32_t uid)
{
	size_t lo = 0, hi = s->ngone, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (s->gone[mid].first <= uid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 0 && s->gone[lo - 1].last >= uid;
}

/* The youngest line of that file that is not gone. */
static const struct index_line *
salvage_find(const struct salvage *s, struct span base)
{
	struct index_line key = { .text = base, .uid = UINT32_MAX };
	size_t lo = 0, hi = s->nadds, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (by_base(&s->adds[mid], &key) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	while (lo > 0 && span_equal(s->adds[--lo].text, base))
		if (!is_gone(s, s->adds[lo].uid))
			return &s->adds[lo];
	return NULL;
}

/* --- who gets which UID ------------------------------------------------------------------------------------ */

enum from { FROM_INDEX, FROM_NAME, FROM_LIST, FROM_NOTHING };

struct placed {
	const struct name *e;
	const struct index_line *old; /* NULL: the old index does not know it */
	uint32_t uid;
	enum from from;
};

struct rebuild {
	struct local *l;
	struct box *b;
	struct salvage s;
	struct names *names;
	struct uidlist_head list;
	struct placed *placed;
	size_t nplaced, placed_cap;
	uint32_t uidnext; /* that the old index has got to */
	bool trust_names; /* U= of any name */
	struct store_header h; /* of the new one */
	struct store_rebuilt out;
};

static int
collect(void *arg, struct name *e)
{
	struct rebuild *r = arg;
	struct placed p = { .e = e, .from = FROM_NOTHING };
	int rc = grown(&r->placed, r->nplaced, &r->placed_cap, sizeof *r->placed);

	if (rc != 0)
		return rc;
	if ((p.old = salvage_find(&r->s, span_str(e->base))) != NULL) {
		p.uid = p.old->uid;
		p.from = FROM_INDEX;
	} else if (e->uid != 0 && e->uid <= BOX_UID_TRUST_MAX && !is_gone(&r->s, e->uid) &&
		(r->trust_names || e->uid >= r->uidnext)) {
		p.uid = e->uid;
		p.from = FROM_NAME;
	}
	r->placed[r->nplaced++] = p;
	return 0;
}

/* Ascending by UID, of two with the same the one with the better right first; without one at the end, by name: that is time. */
static int
by_uid(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;
	uint32_t u = x->uid - 1, v = y->uid - 1; /* 0 is the highest */

	if (u != v)
		return u < v ? -1 : 1;
	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	return strcmp(x->e->base, y->e->base);
}

static void
sort_placed(struct rebuild *r)
{
	uint32_t last = 0, uid;
	size_t i;

	if (r->nplaced == 0)
		return;
	qsort(r->placed, r->nplaced, sizeof *r->placed, by_uid);
	for (i = 0; i < r->nplaced; last = uid, i++)
		if ((uid = r->placed[i].uid) == last && uid != 0) {
			r->placed[i].uid = 0;
			r->placed[i].from = FROM_NOTHING;
		}
	qsort(r->placed, r->nplaced, sizeof *r->placed, by_uid);
}

/* Names that nothing else gave a UID get the one of Dovecot's list. */
static void
place_listed(struct rebuild *r)
{
	size_t i;

	for (i = 0; i < r->nplaced; i++) {
		struct placed *p = &r->placed[i];

		if (p->from != FROM_NOTHING || p->e->uid == 0 || is_gone(&r->s, p->e->uid))
			continue;
		p->uid = p->e->uid;
		p->from = FROM_LIST;
	}
}

static int
no_uid(void *arg, struct name *e)
{
	names_set_uid(arg, e, 0);
	return 0;
}

static int
place(struct rebuild *r)
{
	const uint32_t *uidvalidity = r->h.uidvalidity != 0 ? &r->h.uidvalidity : NULL;
	int rc;

	r->uidnext = r->s.h.uidnext;
	r->trust_names = r->s.h.uidvalidity == 0 || r->s.damaged > 0;
	if ((rc = names_each(r->names, collect, r)) != 0)
		return rc;
	sort_placed(r);
	/* the list's UIDs take the place of those in the names, which have been looked at */
	names_each(r->names, no_uid, r->names);
	box_uidlist(r->b->dir_fd, r->names, uidvalidity, &r->list);
	place_listed(r);
	sort_placed(r);
	return 0;
}

/* --- the new index ----------------------------------------------------------------------------------------- */

static void
new_id(char id[33])
{
	uint64_t w[2] = { 0, 0 };

	(void)!getrandom(w, sizeof w, 0);
	hex_put((uint8_t *)id, 16, w[0]);
	hex_put((uint8_t *)id + 16, 16, w[1]);
	id[32] = '\0';
}

/* known: what the store has in memory, if it has, is what the log would say. */
static void
choose_header(struct rebuild *r, const struct store_header *known)
{
	struct store_header *h = &r->h;
	int64_t now = (int64_t)time(NULL);

	if (known->uidvalidity != 0) {
		*h = *known;
	} else if (r->s.h.uidvalidity != 0) {
		*h = r->s.h;
	} else {
		new_id(h->id);
		h->created = known->created;
	}
	h->uidnext = known->uidnext > r->s.h.uidnext ? known->uidnext : r->s.h.uidnext;
	h->modseq = known->modseq > r->s.h.modseq ? known->modseq : r->s.h.modseq;
	h->modseq = h->modseq >= (uint64_t)now << 20 ? h->modseq + 1 : (uint64_t)now << 20;
}

static void
import_header(struct rebuild *r, const struct store_header *known)
{
	r->out.header = STORE_HEADER_KEPT;
	if (r->h.uidvalidity == 0) {
		r->h.uidvalidity = r->list.uidvalidity != 0 ? r->list.uidvalidity : known->spare_uidvalidity;
		r->out.header = r->list.uidvalidity != 0 ? STORE_HEADER_IMPORTED : STORE_HEADER_NEW;
	}
	if (r->list.uidvalidity == r->h.uidvalidity && r->list.uidnext > r->h.uidnext)
		r->h.uidnext = r->list.uidnext;
}

static int
put_keywords(struct rebuild *r, struct buf *out)
{
	struct buf file;
	unsigned k;
	int rc = 0;

	box_keywords(r->b->dir_fd, r->s.keywords);
	buf_init(&file, STORE_KEYWORDS_MAX * (STORE_KEYWORD_MAX + 8));
	for (k = 0; k < STORE_KEYWORDS_MAX && rc == 0; k++)
		if (r->s.keywords[k][0] != '\0' &&
		    (rc = index_put_keyword(out, r->h.modseq, k, r->s.keywords[k])) == 0)
			rc = buf_printf(&file, "%u %s\n", k, r->s.keywords[k]);
	if (rc == 0 && buf_size(&file) > 0)
		rc = box_write_new(r->b->dir_fd, KEYWORDS_FILE, buf_span(&file));
	buf_fini(&file);
	return rc;
}

/* Size and date, as the old index has them where they fit the file, so that no message is read that need not be. */
static int
look(struct rebuild *r, const struct placed *p, struct store_found *f)
{
	char path[MAILDIR_NAME_MAX + 8];
	struct stat st;
	bool lf;

	box_path(span_str(p->e->base), p->e->flags, p->e->where, path);
	if (p->old == NULL || fstatat(r->b->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
		return found_look(r->b->dir_fd, p->e, f);
	lf = (p->old->where & INDEX_LF) != 0;
	if (lf ? (uint64_t)st.st_size >= p->old->size : (uint64_t)st.st_size != p->old->size)
		return found_look(r->b->dir_fd, p->e, f);
	*f = (struct store_found){ .flags = p->e->flags, .size = p->old->size, .date = p->old->date,
		.where = (uint8_t)(p->e->where | (p->old->where & INDEX_LF)) };
	return 0;
}

static int
put_message(struct rebuild *r, const struct placed *p, struct buf *out)
{
	struct index_add a = { .modseq = r->h.modseq, .uid = p->uid, .base = span_str(p->e->base) };
	struct store_found f;
	char guid[33];
	int rc = look(r, p, &f);

	if (rc == PT_ENOENT)
		return 0; /* taken away meanwhile, or no file */
	if (rc != 0)
		return rc;
	if (p->from == FROM_NOTHING)
		a.uid = r->h.uidnext;
	if (a.uid == UINT32_MAX || r->out.messages == INDEX_MESSAGES_MAX)
		return PT_ETOOBIG;
	r->h.uidnext = a.uid >= r->h.uidnext ? a.uid + 1 : r->h.uidnext;
	a.flags = f.flags;
	a.where = f.where;
	a.size = f.size;
	a.date = f.date;
	if (p->old != NULL)
		snprintf(guid, sizeof guid, "%.32s", (const char *)p->old->guid.p);
	else
		maildir_guid(a.base, guid);
	a.guid = guid;
	r->out.messages++;
	switch (p->from) {
	case FROM_INDEX:
		r->out.kept++;
		break;
	case FROM_NAME:
		r->out.named++;
		break;
	case FROM_LIST:
		r->out.imported++;
		break;
	case FROM_NOTHING:
		r->out.given++;
		break;
	}
	return index_put_add(out, &a);
}

static int
put_all(struct rebuild *r, struct buf *out)
{
	int rc = index_put_header(out, r->h.uidvalidity, r->h.id, r->h.created);
	size_t i;

	if (rc == 0)
		rc = put_keywords(r, out);
	for (i = 0; i < r->nplaced && rc == 0; i++)
		rc = put_message(r, &r->placed[i], out);
	if (rc == 0)
		rc = index_put_next(out, r->h.uidnext);
	return rc != 0 ? rc : index_put_floor(out, r->h.modseq);
}

static void
count_missing(struct rebuild *r)
{
	size_t i;

	for (i = 0; i < r->s.nadds; i++)
		if (!is_gone(&r->s, r->s.adds[i].uid))
			r->out.missing++;
	r->out.missing -= r->out.kept < r->out.missing ? r->out.kept : r->out.missing;
}

/* What the journal still says is done again after a loss of power, by what the index has then: of a message that is not in it any more the
 * file must be gone for good, and a new id makes all that is said of the old one void. So everything that was done comes to the disk first;
 * and what is told about the new index must be found again, so does its name. */
static int
publish(struct rebuild *r, struct span text, bool *there)
{
	int rc;

	*there = false;

	if (syncfs(r->l->conf.mail_fd) != 0)
		return PT_EIO;
	if ((rc = box_write_new(r->b->dir_fd, INDEX_FILE, text)) != 0)
		return rc;
	*there = true;
	return fsync(r->b->dir_fd) == 0 ? 0 : PT_EIO;
}

int
box_rebuild(struct local *l, struct box *b, const struct store_header *known, struct store_rebuilt *out,
	    struct index *x)
{
	struct rebuild r = { .l = l, .b = b };
	struct buf text;
	bool bad, there;
	int rc, again;

	index_init(x);
	buf_init(&text, REBUILT_OCTETS_MAX);
	if ((rc = salvage_read(b->index_fd, &r.s)) != 0 || (rc = names_read(b->dir_fd, &r.names)) != 0)
		goto out;
	choose_header(&r, known);
	if ((rc = place(&r)) != 0)
		goto out;
	import_header(&r, known);
	if ((rc = put_all(&r, &text)) != 0)
		goto out;
	rc = publish(&r, buf_span(&text), &there);
	if (!there)
		goto out;
	count_missing(&r);
	r.out.damaged = r.s.damaged;
	*out = r.out;
	box_close(b); /* its descriptor is the old file's */
	b->clean = false;
	again = box_open(l, b, false);
	if (again == 0) /* also where its name may not be for good: what comes next must go into it */
		(void)index_feed(x, buf_span(&text), UINT32_MAX, NULL, NULL, &bad, &again);
	rc = rc != 0 ? rc : again;
out:
	buf_fini(&text);
	names_free(&r.names);
	salvage_fini(&r.s);
	free(r.placed);
	return rc;
}

/* --- the job ----------------------------------------------------------------------------------------------- */

struct rebuild_job {
	struct crew_job job;
	struct local *l;
	struct box *b;
	struct store_header known;
	store_rebuild_cb *cb;
	void *arg;
	int rc;
	struct store_rebuilt out;
	struct index x;
};

static void
rebuild_run(struct crew_job *pj)
{
	struct rebuild_job *j = (struct rebuild_job *)pj;

	if ((j->rc = box_open(j->l, j->b, false)) == 0)
		j->rc = box_rebuild(j->l, j->b, &j->known, &j->out, &j->x);
}

static void
rebuild_done(struct crew_job *pj)
{
	struct rebuild_job *j = (struct rebuild_job *)pj;

	j->cb(j->arg, local_rc(j->rc), &j->x, &j->out);
	index_fini(&j->x);
	local_box_left(j->l, j->b);
	free(j);
}

void
local_rebuild(struct store_backend *be, const char *user, const char *key, const struct store_header *known,
	      store_rebuild_cb *cb, void *arg)
{
	static const struct store_rebuilt none;
	struct local *l = (struct local *)be;
	struct rebuild_job *j = calloc(1, sizeof *j);
	struct index x;

	if (j == NULL || (j->b = local_box(l, user, key)) == NULL) {
		free(j);
		index_init(&x);
		cb(arg, STORE_TEMP, &x, &none);
		return;
	}
	j->job = (struct crew_job){ .run = rebuild_run, .done = rebuild_done, .lane = CREW_READ };
	j->l = l;
	j->known = *known;
	j->cb = cb;
	j->arg = arg;
	index_init(&j->x);
	local_submit(l, &j->job, &j->b, 1);
}
