/* store/index.c - lines to messages. Reading is the hot path: 100,000 lines when a mailbox is opened. */
#include "store/index.h"

#include "store/crc32c.h"
#include "store/hex.h"
#include "store/maildir.h"
#include "store/uidset.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void
index_init(struct index *x)
{
	memset(x, 0, sizeof *x);
	x->uidnext = 1;
}

void
index_fini(struct index *x)
{
	free(x->msgs);
	index_init(x);
}

/* --- a line ------------------------------------------------------------------------------------------ */

/* A word up to the next space; false: there is none. */
static bool
word(struct span *s, struct span *w)
{
	const uint8_t *end = memchr(s->p, ' ', s->n);

	if (end == NULL || end == s->p)
		return false;
	*w = (struct span){ s->p, (size_t)(end - s->p) };
	s->n -= w->n + 1;
	s->p = end + 1;
	return true;
}

/* All of w is a number, without leading zeros. */
static bool
number(struct span w, uint64_t max, uint64_t *v_out)
{
	uint64_t v = 0;
	size_t i;

	if (w.n == 0 || w.n > 19 || (w.p[0] == '0' && w.n > 1))
		return false;
	for (i = 0; i < w.n; i++) {
		if (w.p[i] < '0' || w.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(w.p[i] - '0');
	}
	*v_out = v;
	return v <= max;
}

static bool
take_number(struct span *s, uint64_t max, uint64_t *v_out)
{
	struct span w;

	return word(s, &w) && number(w, max, v_out);
}

static bool
take_u32(struct span *s, uint32_t *v_out)
{
	uint64_t v;

	if (!take_number(s, UINT32_MAX, &v))
		return false;
	*v_out = (uint32_t)v;
	return true;
}

static bool
flags_parse(struct span w, uint32_t *flags_out, uint8_t *where_out)
{
	/* what each letter means, beside 0x80: it is one */
	static const uint32_t bits['z' + 1] = { ['S'] = STORE_SEEN, ['R'] = STORE_ANSWERED,
		['F'] = STORE_FLAGGED, ['T'] = STORE_DELETED, ['D'] = STORE_DRAFT,
		['P'] = STORE_FORWARDED };
	uint32_t flags = 0;
	uint8_t where = 0, c;
	size_t i;

	if (w.n == 0)
		return false;
	for (i = 0; i < w.n; i++) {
		c = w.p[i];
		if (c >= 'a' && c <= 'z')
			flags |= STORE_KEYWORD(c - 'a');
		else if (c == 'N')
			where |= INDEX_NEW;
		else if (c == 'L')
			where |= INDEX_LF;
		else if (c < 'z' && bits[c] != 0)
			flags |= bits[c];
		else if (c != '-' || w.n != 1)
			return false;
	}
	*flags_out = flags;
	*where_out = where;
	return true;
}

static bool
is_hex32(struct span s)
{
	uint64_t v;

	return s.n == 32 && hex_get(s.p, 16, &v) && hex_get(s.p + 16, 16, &v);
}

static bool
parse_add(struct span s, struct index_line *l)
{
	struct span flags;
	uint64_t date;

	if (!take_number(&s, INT64_MAX, &l->modseq) || !take_u32(&s, &l->uid) || !word(&s, &l->guid) ||
	    !take_number(&s, INT64_MAX, &l->size) || !take_number(&s, INT64_MAX, &date) ||
	    !word(&s, &flags) || !flags_parse(flags, &l->flags, &l->where))
		return false;
	l->date = (int64_t)date;
	l->text = s;
	return l->uid != 0 && is_hex32(l->guid) && s.n > 0 && s.n <= MAILDIR_BASE_MAX;
}

static bool
parse_header(struct span s, struct index_line *l)
{
	uint64_t created;

	if (s.n < 2 || s.p[0] != '1' || s.p[1] != ' ')
		return false;
	s.p += 2;
	s.n -= 2;
	if (!take_u32(&s, &l->uid) || l->uid == 0 || !word(&s, &l->guid) || !is_hex32(l->guid) ||
	    !number(s, INT64_MAX, &created))
		return false;
	l->date = (int64_t)created;
	return true;
}

static bool
parse_body(struct span s, struct index_line *l)
{
	struct span set;
	uint64_t v;
	uint8_t where;

	switch (l->kind) {
	case '+':
		return parse_add(s, l);
	case '=':
		if (!take_number(&s, INT64_MAX, &l->modseq) || !word(&s, &set) ||
		    !flags_parse(s, &l->flags, &where) || where != 0)
			return false;
		l->text = set;
		return uidset_valid(set);
	case '-':
		l->text = (struct span){ NULL, 0 };
		if (!take_number(&s, INT64_MAX, &l->modseq))
			return false;
		l->text = s;
		return uidset_valid(s);
	case 'k':
		if (!take_number(&s, INT64_MAX, &l->modseq) ||
		    !take_number(&s, STORE_KEYWORDS_MAX - 1, &v))
			return false;
		l->uid = (uint32_t)v;
		l->text = s;
		return index_keyword_ok(s);
	case 'U':
		if (!number(s, UINT32_MAX, &v) || v == 0)
			return false;
		l->uid = (uint32_t)v;
		return true;
	case 'L':
	case 'm':
		return number(s, INT64_MAX, &l->modseq);
	default:
		return false;
	}
}

size_t
index_line_parse(struct span text, struct index_line *l, bool *bad)
{
	const uint8_t *nl = text.n == 0 ? NULL
		: memchr(text.p, '\n', text.n < INDEX_LINE_MAX ? text.n : INDEX_LINE_MAX);
	struct span s;
	uint64_t crc;
	size_t n;

	*bad = nl == NULL && text.n >= INDEX_LINE_MAX;
	if (nl == NULL)
		return 0;
	*bad = true;
	n = (size_t)(nl - text.p) + 1;
	if (n < INDEX_CRC + 3 || nl[-10] != ' ' || nl[-9] != '~' || !hex_get(nl - 8, 8, &crc) ||
	    crc32c(0, text.p, n - INDEX_CRC) != crc)
		return 0;
	*l = (struct index_line){ .kind = (char)text.p[0] };
	s = (struct span){ text.p + 1, n - INDEX_CRC - 1 };
	if (l->kind == 'P') {
		if (!parse_header(s, l))
			return 0;
	} else {
		if (s.p[0] != ' ')
			return 0;
		s.p++;
		s.n--;
		if (!parse_body(s, l))
			return 0;
	}
	*bad = false;
	return n;
}

/* --- changes ------------------------------------------------------------------------------------------ */

uint32_t
index_find(const struct index *x, uint32_t uid, bool *found)
{
	uint32_t lo = 0, hi = x->n, mid;

	/* UIDs without gaps: the guess is right */
	if (x->n > 0 && uid >= x->msgs[0].uid && uid - x->msgs[0].uid < x->n &&
	    x->msgs[uid - x->msgs[0].uid].uid == uid) {
		*found = true;
		return uid - x->msgs[0].uid;
	}
	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (x->msgs[mid].uid < uid)
			lo = mid + 1;
		else
			hi = mid;
	}
	*found = lo < x->n && x->msgs[lo].uid == uid;
	return lo;
}

/* sign is 1 or -1, as an unsigned number. */
static void
count(struct index *x, const struct store_msg *m, uint32_t sign)
{
	x->unseen += m->flags & STORE_SEEN ? 0 : sign;
	x->deleted += m->flags & STORE_DELETED ? sign : 0;
	x->recent += m->where & INDEX_NEW ? sign : 0;
	x->octets += sign == 1 ? m->size : -m->size;
}

static int
take_add(struct index *x, const struct index_line *l, index_change_f *f, void *arg)
{
	struct store_msg *grown;
	uint64_t guid[2];
	uint32_t cap;

	if (l->uid < x->uidnext || l->uid == UINT32_MAX || x->n == INDEX_MESSAGES_MAX)
		return PT_EPROTO;
	if (x->n == x->cap) {
		cap = x->cap == 0 ? 16 : x->cap + x->cap / 2;
		if ((grown = reallocarray(x->msgs, cap, sizeof *grown)) == NULL)
			return PT_ENOMEM;
		x->msgs = grown;
		x->cap = cap;
	}
	PT_ASSERT(hex_get(l->guid.p, 16, &guid[0]) && hex_get(l->guid.p + 16, 16, &guid[1]));
	x->msgs[x->n] = (struct store_msg){ .guid = { guid[0], guid[1] }, .uid = l->uid, .flags = l->flags, .modseq = l->modseq,
		.size = l->size, .date = l->date, .line = x->end, .where = l->where };
	count(x, &x->msgs[x->n++], 1);
	x->uidnext = l->uid + 1;
	if (f != NULL)
		f(arg, STORE_CHANGE_EXISTS, x->n, l->uid);
	return 0;
}

static void
take_flags(struct index *x, const struct index_line *l, index_change_f *f, void *arg)
{
	struct span set = l->text;
	struct uidset_range r;
	struct store_msg *m;
	uint32_t i;
	bool found;

	while (uidset_next(&set, &r))
		for (i = index_find(x, r.first, &found); i < x->n && x->msgs[i].uid <= r.last; i++) {
			m = &x->msgs[i];
			count(x, m, (uint32_t)-1);
			m->flags = l->flags;
			m->where &= (uint8_t)~INDEX_NEW;
			m->modseq = l->modseq;
			count(x, m, 1);
			if (f != NULL)
				f(arg, STORE_CHANGE_FLAGS, i + 1, m->uid);
		}
}

/* The set is ascending: one pass closes all holes. */
static void
take_gone(struct index *x, const struct index_line *l, index_change_f *f, void *arg)
{
	struct span set = l->text;
	struct uidset_range r;
	uint32_t from, to, i;
	bool found;

	if (!uidset_next(&set, &r))
		return;
	from = to = index_find(x, r.first, &found);
	for (i = from; i < x->n; i++) {
		while (r.last != 0 && x->msgs[i].uid > r.last)
			if (!uidset_next(&set, &r))
				r = (struct uidset_range){ 0, 0 };
		if (r.last == 0 || x->msgs[i].uid < r.first) {
			x->msgs[to++] = x->msgs[i];
			continue;
		}
		count(x, &x->msgs[i], (uint32_t)-1);
		if (f != NULL)
			f(arg, STORE_CHANGE_VANISHED, to + 1, x->msgs[i].uid);
	}
	x->n = to;
}

static int
take(struct index *x, const struct index_line *l, index_change_f *f, void *arg)
{
	/* a compaction writes messages by UID: the MODSEQ of "+" goes up and down there */
	bool ordered = l->kind == '=' || l->kind == '-' || l->kind == 'k' || l->kind == 'm';

	if ((x->uidvalidity == 0) != (l->kind == 'P') || (ordered && l->modseq < x->modseq))
		return PT_EPROTO;
	switch (l->kind) {
	case 'P':
		x->uidvalidity = l->uid;
		x->created = l->date;
		memcpy(x->id, l->guid.p, 32);
		return 0;
	case '+':
		x->modseq = l->modseq > x->modseq ? l->modseq : x->modseq;
		return take_add(x, l, f, arg);
	case '=':
		x->modseq = l->modseq;
		take_flags(x, l, f, arg);
		return 0;
	case '-':
		x->modseq = l->modseq;
		take_gone(x, l, f, arg);
		return 0;
	case 'k':
		x->modseq = l->modseq;
		memcpy(x->keywords[l->uid], l->text.p, l->text.n);
		x->keywords[l->uid][l->text.n] = '\0';
		return 0;
	case 'm':
		x->modseq = l->modseq;
		return 0;
	case 'U':
		x->uidnext = l->uid > x->uidnext ? l->uid : x->uidnext;
		return 0;
	default:
		x->floor = l->modseq;
		x->modseq = l->modseq > x->modseq ? l->modseq : x->modseq;
		return 0;
	}
}

size_t
index_feed(struct index *x, struct span text, uint32_t max_lines, index_change_f *f, void *arg, bool *bad,
	   int *rc)
{
	struct index_line l;
	size_t taken = 0, n;

	*rc = 0;
	*bad = false;
	while (max_lines-- > 0 && (n = index_line_parse(text, &l, bad)) > 0) {
		if ((*rc = take(x, &l, f, arg)) != 0) {
			*bad = *rc == PT_EPROTO;
			*rc = *bad ? 0 : *rc;
			break;
		}
		x->lines++;
		x->end += n;
		taken += n;
		text.p += n;
		text.n -= n;
	}
	return taken;
}

/* --- questions ---------------------------------------------------------------------------------------- */

int
index_keyword(const struct index *x, struct span name)
{
	int i;

	for (i = 0; i < STORE_KEYWORDS_MAX; i++)
		if (x->keywords[i][0] != '\0' && span_is_nocase(name, x->keywords[i]))
			return i;
	return -1;
}

bool
index_keyword_ok(struct span name)
{
	size_t i;

	if (name.n == 0 || name.n > STORE_KEYWORD_MAX)
		return false;
	for (i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] >= 0x7f || strchr("(){%*\"\\]", name.p[i]) != NULL)
			return false;
	return true;
}

void
index_status(const struct index *x, struct store_status *out)
{
	*out = (struct store_status){ .uidvalidity = x->uidvalidity, .uidnext = x->uidnext,
		.messages = x->n, .unseen = x->unseen, .recent = x->recent, .deleted = x->deleted,
		.octets = x->octets, .modseq = x->modseq };
	memcpy(out->id, x->id, sizeof out->id);
}

void
index_guid(const struct store_msg *m, char out[33])
{
	hex_put((uint8_t *)out, 16, m->guid[0]);
	hex_put((uint8_t *)out + 16, 16, m->guid[1]);
	out[32] = '\0';
}

/* --- writing ------------------------------------------------------------------------------------------ */

/* Ends the line that began at octet `from` of out. */
static int
finish(struct buf *out, size_t from, int rc)
{
	uint8_t end[INDEX_CRC];
	struct span s;

	if (rc != 0)
		return rc;
	s = buf_span(out);
	PT_ASSERT(s.n - from + INDEX_CRC <= INDEX_LINE_MAX);
	memcpy(end, " ~", 2);
	hex_put(end + 2, 8, crc32c(0, s.p + from, s.n - from));
	end[10] = '\n';
	return buf_append(out, end, sizeof end);
}

int
index_put_header(struct buf *out, uint32_t uidvalidity, const char *id, int64_t created)
{
	size_t from = buf_size(out);

	return finish(out, from, buf_printf(out, "P1 %u %s %lld", uidvalidity, id, (long long)created));
}

static void
flags_text(uint32_t flags, uint8_t where, char *out)
{
	char info[MAILDIR_FLAGS_MAX + 1];

	if (where & INDEX_NEW)
		*out++ = 'N';
	if (where & INDEX_LF)
		*out++ = 'L';
	maildir_info(flags, info);
	if (info[3] == '\0' && where == 0)
		memcpy(out, "-", 2);
	else
		memcpy(out, info + 3, strlen(info + 3) + 1);
}

int
index_put_add(struct buf *out, const struct index_add *a)
{
	char flags[MAILDIR_FLAGS_MAX + 3];
	size_t from = buf_size(out);

	flags_text(a->flags, a->where, flags);
	return finish(out, from, buf_printf(out, "+ %llu %u %s %llu %lld %s %.*s",
		(unsigned long long)a->modseq, a->uid, a->guid, (unsigned long long)a->size,
		(long long)(a->date < 0 ? 0 : a->date), flags, (int)a->base.n, (const char *)a->base.p));
}

int
index_put_flags(struct buf *out, uint64_t modseq, struct span set, uint32_t flags)
{
	char text[MAILDIR_FLAGS_MAX + 3];
	size_t from = buf_size(out);

	flags_text(flags, 0, text);
	return finish(out, from, buf_printf(out, "= %llu %.*s %s", (unsigned long long)modseq, (int)set.n,
		(const char *)set.p, text));
}

int
index_put_gone(struct buf *out, uint64_t modseq, struct span set)
{
	size_t from = buf_size(out);

	return finish(out, from, buf_printf(out, "- %llu %.*s", (unsigned long long)modseq, (int)set.n,
		(const char *)set.p));
}

int
index_put_keyword(struct buf *out, uint64_t modseq, unsigned n, const char *name)
{
	size_t from = buf_size(out);

	return finish(out, from, buf_printf(out, "k %llu %u %s", (unsigned long long)modseq, n, name));
}

int
index_put_moved(struct buf *out, uint64_t modseq)
{
	size_t from = buf_size(out);

	return finish(out, from, buf_printf(out, "m %llu", (unsigned long long)modseq));
}

int
index_put_next(struct buf *out, uint32_t uidnext)
{
	size_t from = buf_size(out);

	return finish(out, from, buf_printf(out, "U %u", uidnext));
}

int
index_put_floor(struct buf *out, uint64_t modseq)
{
	size_t from = buf_size(out);

	return finish(out, from, buf_printf(out, "L %llu", (unsigned long long)modseq));
}

int
index_compact(const struct index *x, struct span text, struct buf *out)
{
	struct index_line l;
	uint32_t i;
	unsigned k;
	bool bad;
	int rc = index_put_header(out, x->uidvalidity, x->id, x->created);

	for (k = 0; k < STORE_KEYWORDS_MAX && rc == 0; k++)
		if (x->keywords[k][0] != '\0')
			rc = index_put_keyword(out, 0, k, x->keywords[k]);
	for (i = 0; i < x->n && rc == 0; i++) {
		const struct store_msg *m = &x->msgs[i];
		char guid[33];

		if (m->line >= text.n || index_line_parse((struct span){ text.p + m->line,
			    text.n - m->line }, &l, &bad) == 0 || l.kind != '+' || l.uid != m->uid)
			return PT_EPROTO;
		index_guid(m, guid);
		rc = index_put_add(out, &(struct index_add){ .modseq = m->modseq, .uid = m->uid,
			.flags = m->flags, .where = m->where, .size = m->size, .date = m->date,
			.guid = guid, .base = l.text });
	}
	if (rc == 0)
		rc = index_put_next(out, x->uidnext);
	return rc != 0 ? rc : index_put_floor(out, x->modseq);
}
