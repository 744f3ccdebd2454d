/* store/server_txn.c - a transaction arrives part by part, then STORE_COMMIT says that it is whole. A part that is
 * wrong spoils the whole, and the answer to STORE_COMMIT says so. */
#include "store/server_impl.h"

#include "store/hex.h"
#include "store/uidset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- files of large bodies --------------------------------------------------------------------------------- */

struct peer_file *
peer_file_find(struct peer *p, uint32_t id)
{
	struct peer_file *f = p->files[id % PEER_HASH];

	while (f != NULL && f->id != id)
		f = f->next;
	return f;
}

void
peer_file_unref(struct server *s, struct peer_file *f)
{
	if (--f->refs > 0)
		return;
	if (f->name[0] != '\0')
		s->be->ops->file_drop(s->be, f->name);
	free(f);
}

static struct peer_file *
file_take(struct peer *p, uint32_t id)
{
	struct peer_file **at = &p->files[id % PEER_HASH], *file;

	while (*at != NULL && (*at)->id != id)
		at = &(*at)->next;
	if ((file = *at) == NULL)
		return NULL;
	*at = file->next;
	p->nfiles--;
	return file;
}

static void
file_made(void *arg, enum store_rc rc, int fd, const char *name)
{
	struct request *q = arg;
	struct msg_store_file_fd m;
	struct frame f;

	if (rc == STORE_OK)
		snprintf(q->file->name, sizeof q->file->name, "%s", name);
	m = (struct msg_store_file_fd){ .file = q->file->id, .margin = q->s->be->margin_octets };
	if (q->peer != NULL && rc == STORE_OK) {
		PT_ASSERT(msg_store_file_fd_encode(&m, q->id, &f) == 0);
		peer_send(q->peer, &f, fd);
	} else if (q->peer != NULL) {
		reply_rc(q->peer, q->id, rc, "");
		if (file_take(q->peer, q->file->id) == q->file) /* the client does not give back what it did not get */
			peer_file_unref(q->s, q->file);
	}
	if (fd >= 0)
		close(fd);
	peer_file_unref(q->s, q->file);
	request_free(&q);
}

int
on_file(void *self, void *peer, struct frame *f)
{
	struct server *s = self;
	struct peer *p = peer;
	struct msg_store_file m;
	struct peer_file *file;
	struct request *q;
	enum store_rc rc;

	if (msg_store_file_decode(f, &m) != 0 || peer_file_find(p, m.file) != NULL)
		return PT_EPROTO;
	if (p->nfiles >= PEER_FILES_MAX) {
		s->refused++;
		reply_rc(p, f->id, STORE_TEMP, "too many large messages are under way");
		return 0;
	}
	if ((rc = s->be->ops->room(s->be, STORE_BODY_MAX)) != STORE_OK) {
		reply_rc(p, f->id, rc, "the disk is full");
		return 0;
	}
	if ((q = request_new(p, f->id)) == NULL || (file = calloc(1, sizeof *file)) == NULL) {
		request_free(&q);
		reply_rc(p, f->id, STORE_TEMP, "");
		return 0;
	}
	file->id = m.file;
	STAILQ_INIT(&file->syncs);
	file->refs = 2; /* the client's and this request's */
	file->next = p->files[m.file % PEER_HASH];
	p->files[m.file % PEER_HASH] = file;
	p->nfiles++;
	q->file = file;
	request_charge(q, 0, true);
	s->be->ops->file_new(s->be, file_made, q);
	return 0;
}

int
on_drop(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct peer_file *file;
	struct msg_store_drop m;

	if (msg_store_drop_decode(f, &m) != 0 || (file = file_take(p, m.file)) == NULL)
		return PT_EPROTO;
	peer_file_unref(self, file);
	return 0;
}

int
on_written(void *self, void *peer, struct frame *f)
{
	struct server *s = self;
	struct msg_store_written m;
	struct peer_file *file;

	if (msg_store_written_decode(f, &m) != 0 || (file = peer_file_find(peer, m.file)) == NULL || file->name[0] == '\0')
		return PT_EPROTO;
	if (s->be->ops->file_written != NULL)
		s->be->ops->file_written(s->be, file->name, m.octets);
	return 0;
}

/* --- parts ------------------------------------------------------------------------------------------------- */

void
peer_txn_drop(struct peer *p)
{
	unsigned i;

	if (p->t == NULL)
		return;
	for (i = 0; i < p->t->nops; i++)
		if (p->tfiles != NULL && p->tfiles[i] != NULL)
			peer_file_unref(p->s, p->tfiles[i]);
	for (i = 0; i < p->t->nbodies; i++)
		free((void *)(uintptr_t)p->t->bodies[i].p);
	free(p->tfiles);
	p->tfiles = NULL;
	mb_txn_free(&p->t);
}

/* The transaction that a frame belongs to; NULL: out of memory, the whole is refused. Parts of two transactions never
 * mix: *rc_out. */
static struct mb_txn *
arriving(struct peer *p, const struct frame *f, int *rc)
{
	*rc = 0;
	if (p->t != NULL && p->tid != f->id) {
		*rc = PT_EPROTO;
		return NULL;
	}
	if (p->t == NULL) {
		p->t = mb_txn_new();
		p->tid = f->id;
		p->toctets = 0;
		p->tbad = p->tlater = p->tmore = false;
	}
	if (p->t == NULL)
		*rc = PT_ENOMEM;
	return p->t;
}

struct mb_op *
peer_part(struct peer *p, const struct frame *f, enum mb_op_kind kind, int *rc)
{
	struct mb_txn *t = arriving(p, f, rc);
	struct peer_file **grown;
	struct mb_op *op;

	if (t == NULL)
		return NULL;
	if (p->tmore || t->nops >= STORE_TXN_OPS_MAX || (p->toctets += f->len) > STORE_TXN_OCTETS_MAX) {
		*rc = PT_EPROTO; /* the client's library knows the limit */
		return NULL;
	}
	if ((grown = reallocarray(p->tfiles, t->nops + 1u, sizeof *grown)) == NULL ||
	    (p->tfiles = grown, op = mb_txn_op(t)) == NULL) {
		*rc = PT_ENOMEM;
		return NULL;
	}
	p->tfiles[t->nops - 1] = NULL;
	op->kind = kind;
	return op;
}

/* A name from outside into a place of that size, or the transaction is wrong. */
static void
name_user(struct peer *p, struct span user, char *out)
{
	if (!maildir_user_ok(user)) {
		p->tbad = true;
		return;
	}
	memcpy(out, user.p, user.n);
	out[user.n] = '\0';
}

static void
name_box(struct peer *p, struct span box, char *out)
{
	p->tbad = p->tbad || !maildir_key(box, out);
}

static void
keywords(struct peer *p, struct mb_op *op, struct span list)
{
	const uint8_t *end;
	unsigned n = 0;
	size_t i;

	for (i = 0; i < list.n; i++)
		n += list.p[i] == '\0';
	if (n == 0 && list.n == 0)
		return;
	if (n > STORE_KEYWORDS_MAX || list.p[list.n - 1] != '\0' ||
	    (op->keywords = calloc(n, sizeof *op->keywords)) == NULL) {
		p->tbad = true;
		return;
	}
	for (; list.n > 0; list.n -= (size_t)(end + 1 - list.p), list.p = end + 1) {
		struct span k = { list.p, 0 };

		end = memchr(list.p, '\0', list.n);
		k.n = (size_t)(end - list.p);
		if (!index_keyword_ok(k))
			p->tbad = true;
		else
			memcpy(op->keywords[op->nkeywords++], k.p, k.n);
	}
}

static void
take_set(struct peer *p, struct mb_op *op, struct span set)
{
	if (!uidset_valid(set) || (op->set = strndup((const char *)set.p, set.n)) == NULL)
		p->tbad = true;
}

/* The mailbox of a view. A view that is no more makes the transaction wrong, not the client. */
static void
take_view(struct peer *p, struct mb_op *op, uint32_t id)
{
	struct peer_view *v = peer_view_find(p, id);

	if (v == NULL || v->v == NULL || mb_view_user(v->v) == NULL) {
		p->tbad = true;
		p->tlater = p->tlater || (v != NULL && v->v == NULL);
		return;
	}
	snprintf(op->user, sizeof op->user, "%s", mb_view_user(v->v));
	snprintf(op->key, sizeof op->key, "%s", mb_view_key(v->v));
	op->uidvalidity = mb_view_uidvalidity(v->v);
	p->t->after_apply = true;
}

/* The last body goes on, or a new one begins. False: out of memory. */
static bool
body_append(struct mb_txn *t, bool goes_on, struct span octets)
{
	struct span *grown, *last;
	uint8_t *p;

	if (!goes_on) {
		if ((grown = reallocarray(t->bodies, t->nbodies + 1u, sizeof *grown)) == NULL)
			return false;
		t->bodies = grown;
		grown[t->nbodies++] = (struct span){ NULL, 0 };
	}
	last = &t->bodies[t->nbodies - 1];
	if ((p = realloc((void *)(uintptr_t)last->p, last->n + octets.n + 1)) == NULL)
		return false;
	if (octets.n > 0)
		memcpy(p + last->n, octets.p, octets.n);
	*last = (struct span){ p, last->n + octets.n };
	return true;
}

int
on_body(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_body m;
	struct mb_txn *t;
	bool goes_on;
	size_t before;
	int rc;

	(void)self;
	if (msg_store_body_decode(f, &m) != 0 || m.more > 1)
		return PT_EPROTO;
	if ((t = arriving(p, f, &rc)) == NULL)
		return rc == PT_EPROTO ? rc : 0;
	goes_on = p->tmore;
	p->tmore = m.more;
	if (p->tbad)
		return 0;
	before = goes_on ? t->bodies[t->nbodies - 1].n : 0;
	if ((!goes_on && t->nbodies >= STORE_TXN_OPS_MAX) || before + m.octets.n > STORE_BODY_MAX ||
	    (p->toctets += m.octets.n) > STORE_TXN_OCTETS_MAX)
		return PT_EPROTO;
	if (!body_append(t, goes_on, m.octets))
		p->tbad = p->tlater = true;
	return 0;
}

/* The body that the last operation needs. */
int
peer_part_body(struct peer *p, struct mb_op *op, bool in_file, uint32_t body)
{
	struct peer_file *file;

	if (!in_file) {
		if (body >= p->t->nbodies)
			return p->tbad ? 0 : PT_EPROTO;
		op->body = (int)body;
		op->octets = p->t->bodies[body].n;
		return 0;
	}
	if ((file = peer_file_find(p, body)) == NULL || file->name[0] == '\0') {
		p->tbad = p->tlater = true; /* it was the last store process's */
	} else {
		p->tfiles[p->t->nops - 1] = file;
		file->refs++;
		snprintf(op->file, sizeof op->file, "%s", file->name);
	}
	return 0;
}

int
on_add(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_add m;
	struct mb_op *op;
	int rc;

	(void)self;
	if (msg_store_add_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((op = peer_part(p, f, MB_ADD, &rc)) == NULL)
		return rc == PT_EPROTO ? rc : 0;
	name_user(p, m.user, op->user);
	name_box(p, m.box, op->key);
	keywords(p, op, m.keywords);
	op->has_flags = m.has_flags;
	op->flags = m.flags & (STORE_KEYWORD(0) - 1);
	op->quota = m.quota;
	op->date = m.date > INT64_MAX ? 0 : (int64_t)m.date;
	return peer_part_body(p, op, m.in_file, m.body);
}

int
on_copy(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_copy m;
	struct mb_op *op;
	int rc;

	(void)self;
	if (msg_store_copy_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((op = peer_part(p, f, MB_COPY, &rc)) == NULL)
		return rc == PT_EPROTO ? rc : 0;
	take_view(p, op, m.view);
	take_set(p, op, m.uids);
	name_box(p, m.box, op->key2);
	op->move = m.move;
	return 0;
}

int
on_flags(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_flags m;
	struct mb_op *op;
	int rc;

	(void)self;
	if (msg_store_flags_decode(f, &m) != 0 || m.op > STORE_FLAGS_REMOVE)
		return PT_EPROTO;
	if ((op = peer_part(p, f, MB_FLAGS, &rc)) == NULL)
		return rc == PT_EPROTO ? rc : 0;
	take_view(p, op, m.view);
	take_set(p, op, m.uids);
	keywords(p, op, m.keywords);
	op->flags = m.flags & (STORE_KEYWORD(0) - 1);
	op->flag_op = (enum store_flag_op)m.op;
	op->unchangedsince = m.unchangedsince;
	return 0;
}

int
on_expunge(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_expunge m;
	struct mb_op *op;
	int rc;

	(void)self;
	if (msg_store_expunge_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((op = peer_part(p, f, MB_EXPUNGE, &rc)) == NULL)
		return rc == PT_EPROTO ? rc : 0;
	take_view(p, op, m.view);
	take_set(p, op, m.uids);
	return 0;
}

int
on_box(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_box m;
	struct mb_op *op;
	int rc;

	(void)self;
	if (msg_store_box_decode(f, &m) != 0 || m.op > STORE_BOX_UNSUBSCRIBE)
		return PT_EPROTO;
	if ((op = peer_part(p, f, MB_BOX, &rc)) == NULL)
		return rc == PT_EPROTO ? rc : 0;
	op->box_op = (enum store_box_op)m.op;
	name_user(p, m.user, op->user);
	name_box(p, m.box, op->key);
	if (op->box_op == STORE_BOX_RENAME)
		name_box(p, m.to, op->key2);
	return 0;
}

int
on_put(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_put m;
	struct mb_op *op;
	int rc;

	(void)self;
	if (msg_store_put_decode(f, &m) != 0 || !server_space(p->class, m.space, true))
		return PT_EPROTO;
	if ((op = peer_part(p, f, MB_PUT, &rc)) == NULL)
		return rc == PT_EPROTO ? rc : 0;
	memcpy(op->space, m.space.p, m.space.n);
	if (!kv_key_ok(m.key) || !kv_value_ok(m.value) || m.ttl_s > STORE_TTL_MAX_S ||
	    (op->name = strndup((const char *)m.key.p, m.key.n)) == NULL) {
		p->tbad = true;
		return 0;
	}
	buf_init(&op->value, STORE_VALUE_MAX);
	if (m.value.n > 0 && buf_append(&op->value, m.value.p, m.value.n) != 0)
		p->tbad = true;
	op->has_value = m.has_value;
	op->expect = m.expect;
	op->ttl_s = m.ttl_s;
	return 0;
}

/* --- the whole --------------------------------------------------------------------------------------------- */

static void
txn_done(struct mb_txn *t, const struct mb_reply *r)
{
	struct request *q = t->arg;
	struct msg_store_reply m = { .rc = (uint8_t)r->rc, .number = r->id, .uidvalidity = r->uidvalidity,
		.modseq = r->modseq, .uids = buf_span(&r->uids), .sources = buf_span(&r->sources),
		.text = span_str(r->text) };
	struct frame f;
	unsigned i;

	if (q->peer != NULL) {
		if (msg_store_reply_encode(&m, q->id, &f) != 0) {
			m.uids = m.sources = (struct span){ NULL, 0 };
			PT_ASSERT(msg_store_reply_encode(&m, q->id, &f) == 0);
		}
		peer_send(q->peer, &f, -1);
	}
	for (i = 0; i < t->nops; i++)
		if (q->files[i] != NULL)
			peer_file_unref(q->s, q->files[i]);
	for (i = 0; i < t->nbodies; i++)
		free((void *)(uintptr_t)t->bodies[i].p);
	t->nbodies = 0;
	free(q->files);
	request_free(&q);
}

static void
txn_begin(struct request *q)
{
	struct mb_reply failed = { .rc = q->rc, .text = "" };

	if (q->rc == STORE_OK) {
		mb_commit(q->s->mbs, q->t);
		return;
	}
	struct mb_txn *t = q->t;

	txn_done(t, &failed);
	mb_txn_free(&t);
}

struct sync {
	STAILQ_ENTRY(sync) next;
	struct request *q;
	unsigned op;
};

static void
sync_over(struct sync *sy, enum store_rc rc, uint64_t octets)
{
	struct request *q = sy->q;

	/* a client closes its end first; one that can still write would change what it has been told is accepted */
	if (rc == STORE_DENIED && q->peer != NULL)
		peer_condemn(q->peer, "still writes into a message that it has sent");
	if (rc != STORE_OK)
		q->rc = rc;
	q->t->ops[sy->op].octets = octets;
	free(sy);
	if (--q->syncs == 0)
		txn_begin(q);
}

static void
synced(void *arg, enum store_rc rc, int fd, uint64_t octets)
{
	STAILQ_HEAD(, sync) list = STAILQ_HEAD_INITIALIZER(list);
	struct peer_file *file = arg;
	struct sync *sy;

	(void)fd;
	file->fixed = rc == STORE_OK;
	file->octets = octets;
	STAILQ_CONCAT(&list, &file->syncs);
	while ((sy = STAILQ_FIRST(&list)) != NULL) { /* the last may be the file's end, too */
		STAILQ_REMOVE_HEAD(&list, next);
		sync_over(sy, rc, octets);
	}
}

static void
sync_file(struct request *q, unsigned op)
{
	struct peer_file *file = q->files[op];
	struct sync *sy = calloc(1, sizeof *sy);
	bool first = STAILQ_EMPTY(&file->syncs);

	if (sy == NULL) {
		q->rc = STORE_TEMP;
		return;
	}
	sy->q = q;
	sy->op = op;
	q->syncs++;
	if (file->fixed) {
		sync_over(sy, STORE_OK, file->octets);
		return;
	}
	STAILQ_INSERT_TAIL(&file->syncs, sy, next);
	if (first)
		q->s->be->ops->file_sync(q->s->be, file->name, synced, file);
}

/* Files first: a record that names one must find all of it. */
static void
sync_files(struct request *q)
{
	unsigned i;

	q->syncs = 1;
	for (i = 0; i < q->t->nops; i++)
		if (q->files[i] != NULL)
			sync_file(q, i);
	if (--q->syncs == 0)
		txn_begin(q);
}

/* Who adds to a mailbox that it looks at has the change before the answer. */
static bool
is_viewed(const struct mb_txn *t)
{
	const struct request *q = t->arg;
	struct peer *p = q->peer;
	struct mb_view *v;
	unsigned i;

	if (p == NULL || p->nviews == 0)
		return false;
	for (i = 0; i < t->nops; i++)
		if (t->ops[i].kind == MB_ADD)
			for (v = mb_view_of(p->s->mbs, t->ops[i].user, t->ops[i].key, NULL); v != NULL;
			     v = mb_view_of(p->s->mbs, t->ops[i].user, t->ops[i].key, v))
				if (((struct peer_view *)mb_view_arg(v))->peer == p)
					return true;
	return false;
}

int
on_commit(void *self, void *peer, struct frame *f)
{
	struct peer *p = peer;
	struct msg_store_commit m;
	struct request *q;
	uint64_t id[2];
	int rc;

	(void)self;
	if (msg_store_commit_decode(f, &m) != 0 || m.transaction.n != 16 || arriving(p, f, &rc) == NULL || p->tmore)
		return PT_EPROTO;
	memcpy(id, m.transaction.p, sizeof id);
	hex_put((uint8_t *)p->t->id, 16, id[0]);
	hex_put((uint8_t *)p->t->id + 16, 16, id[1]);
	if ((p->tbad && !mailboxes_knows(p->s->mbs, p->t->id)) || p->t->nops == 0 ||
	    (q = request_new(p, f->id)) == NULL) {
		reply_rc(p, f->id, (p->tbad && !p->tlater) || p->t->nops == 0 ? STORE_INVALID : STORE_TEMP,
			p->tbad ? "a part of it is wrong or gone" : "");
		peer_txn_drop(p);
		return 0;
	}
	request_charge(q, p->toctets + p->t->nops * sizeof *p->t->ops, false);
	q->t = p->t;
	q->files = p->tfiles;
	q->t->done = txn_done;
	q->t->arg = q;
	q->t->is_viewed = is_viewed;
	p->t = NULL;
	p->tfiles = NULL;
	if (p->tbad) /* sent again, and done: the answer is known */
		mb_commit(p->s->mbs, q->t);
	else
		sync_files(q);
	return 0;
}
