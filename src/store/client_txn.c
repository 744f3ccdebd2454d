/* store/client_txn.c - a transaction: collected, then sent whole. */
#include "store/client_impl.h"

#include "store/maildir.h"
#include "store/uidset.h"

#include <stdlib.h>
#include <string.h>

#define SET_MAX (12u * 1024)  /* octets of a set in one frame; longer ones are several parts */
#define BODY_MAX (16u * 1000) /* octets of a body in one frame; longer ones are several */

struct store_txn *
store_txn_new(struct store *s)
{
	struct store_txn *t = calloc(1, sizeof *t);

	if (t == NULL)
		return NULL;
	t->s = s;
	arc4random_buf(t->id, sizeof t->id);
	STAILQ_INIT(&t->pieces);
	return t;
}

static void
pieces_free(struct store_txn *t)
{
	struct piece *p;

	while ((p = STAILQ_FIRST(&t->pieces)) != NULL) {
		STAILQ_REMOVE_HEAD(&t->pieces, next);
		if (p->blob != NULL)
			blob_unref(p->blob);
		free(p);
	}
}

void
store_txn_free(struct store_txn **t)
{
	if (*t == NULL)
		return;
	pieces_free(*t);
	free(*t);
	*t = NULL;
}

int
txn_bad(struct store_txn *t, int rc)
{
	if (t->bad == 0)
		t->bad = rc;
	return rc;
}

/* f was encoded with rc. */
int
txn_add(struct store_txn *t, int rc, const struct frame *f, struct store_blob *blob)
{
	struct piece *p;

	if (rc != 0)
		return txn_bad(t, rc);
	if (t->nops >= STORE_TXN_OPS_MAX || t->octets + f->len > STORE_TXN_OCTETS_MAX)
		return txn_bad(t, PT_ETOOBIG);
	if ((p = malloc(sizeof *p + f->len)) == NULL)
		return txn_bad(t, PT_ENOMEM);
	p->type = f->type;
	p->len = f->len;
	p->blob = blob;
	if (blob != NULL)
		blob->refs++;
	memcpy(p->payload, f->octets + FRAME_HEADER, f->len);
	STAILQ_INSERT_TAIL(&t->pieces, p, next);
	t->nops++;
	t->octets += f->len;
	return 0;
}

/* It is about that user's mailboxes. */
static void
about(struct store_txn *t, uint64_t user)
{
	t->user = t->user == 0 || t->user == user ? user : CLIENT_USERS;
}

static bool
names_ok(const char *user, const char *box)
{
	char key[STORE_BOX_MAX + 1];

	return maildir_user_ok(span_str(user)) && maildir_key(span_str(box), key);
}

/* Keywords one after the other, each with its NUL. */
static int
flags_text(const struct store_flags *flags, struct buf *out)
{
	size_t i;
	int rc = 0;

	buf_init(out, STORE_KEYWORDS_MAX * (STORE_KEYWORD_MAX + 1));
	for (i = 0; flags != NULL && i < flags->nkeywords && rc == 0; i++) {
		if (!index_keyword_ok(span_str(flags->keywords[i])))
			rc = PT_EINVAL;
		else
			rc = buf_append(out, flags->keywords[i], strlen(flags->keywords[i]) + 1);
	}
	return rc;
}

int
store_txn_add(struct store_txn *t, const char *user, const char *box, struct store_blob *b,
	      const struct store_flags *flags, int64_t date, uint64_t quota)
{
	struct msg_store_add m = { .user = span_str(user), .box = span_str(box == NULL ? "INBOX" : box),
		.date = date < 0 ? 0 : (uint64_t)date, .has_flags = flags != NULL,
		.flags = flags == NULL ? 0 : flags->system, .quota = quota };
	struct frame f;
	struct buf keywords;
	int rc = flags_text(flags, &keywords);

	about(t, client_user(user));
	m.keywords = buf_span(&keywords);
	if (rc == 0 && !names_ok(user, box == NULL ? "INBOX" : box))
		rc = PT_EINVAL;
	if (rc == 0)
		rc = msg_store_add_encode(&m, 0, &f);
	rc = txn_add(t, rc, &f, b);
	buf_fini(&keywords);
	return rc;
}

/* One part for as much of the set as fits: cut behind a comma. */
static struct span
set_cut(struct span *rest)
{
	struct span s = *rest;

	if (s.n > SET_MAX) {
		for (s.n = SET_MAX; s.p[s.n] != ','; s.n--)
			continue;
		rest->p += s.n + 1;
		rest->n -= s.n + 1;
	} else {
		rest->p += s.n;
		rest->n = 0;
	}
	return s;
}

static int
view_check(struct store_txn *t, const struct store_view *v, struct span uids)
{
	about(t, v->user_hash);
	if (!uidset_valid(uids) || v->s == NULL)
		return txn_bad(t, PT_EINVAL);
	return 0;
}

int
store_txn_copy(struct store_txn *t, struct store_view *v, struct span uids, const char *box, bool move)
{
	struct msg_store_copy m = { .view = v->id, .box = span_str(box), .move = move, .uids = uids };
	struct frame f;

	if (view_check(t, v, uids) != 0 || !names_ok(v->user, box))
		return txn_bad(t, PT_EINVAL);
	return txn_add(t, msg_store_copy_encode(&m, 0, &f), &f, NULL);
}

int
store_txn_flags(struct store_txn *t, struct store_view *v, struct span uids, enum store_flag_op op,
		const struct store_flags *flags, uint64_t unchangedsince)
{
	struct msg_store_flags m = { .view = v->id, .op = (uint8_t)op, .flags = flags->system,
		.unchangedsince = unchangedsince };
	struct buf keywords;
	struct frame f;
	int rc = flags_text(flags, &keywords);

	if (rc != 0 || (rc = view_check(t, v, uids)) != 0)
		rc = txn_bad(t, rc);
	m.keywords = buf_span(&keywords);
	while (rc == 0 && uids.n > 0) {
		m.uids = set_cut(&uids);
		rc = txn_add(t, msg_store_flags_encode(&m, 0, &f), &f, NULL);
	}
	buf_fini(&keywords);
	return rc;
}

int
store_txn_expunge(struct store_txn *t, struct store_view *v, struct span uids)
{
	struct msg_store_expunge m = { .view = v->id };
	struct frame f;
	int rc = view_check(t, v, uids);

	while (rc == 0 && uids.n > 0) {
		m.uids = set_cut(&uids);
		rc = txn_add(t, msg_store_expunge_encode(&m, 0, &f), &f, NULL);
	}
	return rc;
}

int
store_txn_box(struct store_txn *t, const char *user, enum store_box_op op, const char *name, const char *to)
{
	struct msg_store_box m = { .user = span_str(user), .op = (uint8_t)op, .box = span_str(name),
		.to = span_str(to == NULL ? "" : to) };
	struct frame f;

	if (!names_ok(user, name) || (op == STORE_BOX_RENAME && (to == NULL || !names_ok(user, to))))
		return txn_bad(t, PT_EINVAL);
	about(t, client_user(user));
	return txn_add(t, msg_store_box_encode(&m, 0, &f), &f, NULL);
}

int
store_txn_put(struct store_txn *t, const char *space, const char *key, const struct span *value,
	      uint64_t expect, uint32_t ttl_s)
{
	struct msg_store_put m = { .space = span_str(space), .key = span_str(key),
		.has_value = value != NULL, .expect = expect, .ttl_s = ttl_s };
	struct frame f;

	if (value != NULL)
		m.value = *value;
	if (m.value.n > STORE_VALUE_MAX || m.key.n > STORE_KEY_MAX || ttl_s > STORE_TTL_MAX_S)
		return txn_bad(t, PT_ETOOBIG);
	return txn_add(t, msg_store_put_encode(&m, 0, &f), &f, NULL);
}

/* --- sent ---------------------------------------------------------------------------------------------------- */

static enum store_rc
rc_of(int rc, const struct store_blob *b)
{
	if (rc == PT_EINVAL || rc == PT_ETOOBIG || rc == PT_EPROTO)
		return STORE_INVALID;
	return rc == PT_EFULL || (b != NULL && b->refused == STORE_FULL) ? STORE_FULL : STORE_TEMP;
}

static int
put_body(struct call *c, const struct store_blob *b)
{
	struct span rest = buf_span(&b->mem);
	struct msg_store_body m;
	struct frame f;
	int rc;

	do {
		m.octets = (struct span){ rest.p, rest.n < BODY_MAX ? rest.n : BODY_MAX };
		rest.n -= m.octets.n;
		rest.p += m.octets.n;
		m.more = rest.n > 0;
		if ((rc = msg_store_body_encode(&m, 0, &f)) != 0 || (rc = call_add(c, &f, NULL)) != 0)
			return rc;
	} while (m.more);
	return 0;
}

/* What is in memory goes along as STORE_BODY frames in front, each body once; returns how many bodies that are. */
static int
put_bodies(struct store_txn *t, struct call *c, struct store_blob **which, uint32_t *n)
{
	struct piece *p;
	uint32_t i;
	int rc = 0;

	*n = 0;
	STAILQ_FOREACH(p, &t->pieces, next) {
		if (p->blob == NULL || p->blob->in_file)
			continue;
		for (i = 0; i < *n && which[i] != p->blob; i++)
			continue;
		if (i < *n)
			continue;
		which[(*n)++] = p->blob;
		if ((rc = put_body(c, p->blob)) != 0)
			return rc;
	}
	return 0;
}

/* The part once more, with the number of its body among the transaction's, or of its file. */
static int
number_add(struct frame *f, const struct store_blob *b, uint32_t number, struct frame *out)
{
	struct msg_store_add m;

	PT_ASSERT(msg_store_add_decode(f, &m) == 0);
	m.in_file = b->in_file;
	m.body = m.in_file ? b->file : number;
	return msg_store_add_encode(&m, 0, out);
}

static int
number_queue(struct frame *f, const struct store_blob *b, uint32_t number, struct frame *out)
{
	struct msg_store_queue m;

	PT_ASSERT(msg_store_queue_decode(f, &m) == 0);
	m.in_file = b->in_file;
	m.body = m.in_file ? b->file : number;
	return msg_store_queue_encode(&m, 0, out);
}

static int
put_part(struct call *c, const struct piece *p, struct store_blob *const *which, uint32_t n)
{
	struct frame f = { .type = p->type, .len = p->len, .fd = -1 }, g;
	uint32_t i;
	int rc;

	memcpy(f.octets + FRAME_HEADER, p->payload, p->len);
	if (p->blob == NULL)
		return call_add(c, &f, NULL);
	for (i = 0; i < n && which[i] != p->blob; i++)
		continue;
	rc = p->type == MSG_T_STORE_ADD ? number_add(&f, p->blob, i, &g) : number_queue(&f, p->blob, i, &g);
	return rc != 0 ? rc : call_add(c, &g, p->blob);
}

static int
put_all(struct store_txn *t, struct call *c)
{
	struct msg_store_commit m = { .transaction = { t->id, sizeof t->id } };
	struct store_blob **which = calloc(t->nops + 1u, sizeof *which);
	struct piece *p;
	struct frame f;
	uint32_t n = 0;
	int rc = which == NULL ? PT_ENOMEM : put_bodies(t, c, which, &n);

	STAILQ_FOREACH(p, &t->pieces, next)
		if (rc == 0)
			rc = put_part(c, p, which, n);
	free(which);
	if (rc == 0)
		rc = msg_store_commit_encode(&m, 0, &f);
	return rc != 0 ? rc : call_add(c, &f, NULL);
}

static void
refuse(struct store_txn *t, enum store_rc rc)
{
	struct store_reply none = { .fd = -1 };

	t->cb(t->arg, rc, &none);
	store_txn_free(&t);
}

/* All bodies that are not lost are sealed; one may have to wait for its file. */
static void
commit(struct store_txn *t)
{
	struct piece *p;
	struct call *c;
	int rc;

	STAILQ_FOREACH(p, &t->pieces, next) {
		if (p->blob == NULL || (rc = blob_seal(p->blob)) == 0)
			continue;
		if (rc == PT_EAGAIN)
			STAILQ_INSERT_TAIL(&p->blob->waiting, t, next);
		else
			refuse(t, rc_of(rc, p->blob));
		return;
	}
	if (t->s == NULL || t->nops == 0 || (c = call_new(t->s, t->cb, t->arg)) == NULL) {
		refuse(t, t->nops == 0 ? STORE_INVALID : STORE_TEMP);
		return;
	}
	c->commit = true;
	c->user = t->user;
	if ((rc = put_all(t, c)) != 0) {
		call_free(&c);
		refuse(t, rc_of(rc, NULL));
		return;
	}
	store_txn_free(&t);
	call_start(c);
}

void
store_commit(struct store_txn **tp, store_cb *cb, void *arg)
{
	struct store_txn *t = *tp;

	*tp = NULL;
	t->cb = cb;
	t->arg = arg;
	if (t->bad != 0)
		refuse(t, rc_of(t->bad, NULL));
	else
		commit(t);
}

void
txn_wake(struct store_blob *b)
{
	struct store_txn *t;

	b->refs++;
	while ((t = STAILQ_FIRST(&b->waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&b->waiting, next);
		commit(t);
	}
	blob_unref(b);
}
