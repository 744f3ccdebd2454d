/* store/mailbox_look.c - a transaction waits until its mailboxes are there, and then all of it is looked at before any of it is done. */
#include "store/mailbox_impl.h"

#include "store/uidset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What looking at an operation says: go on, it waits (and looks again later), or it is refused. */
enum look { LOOK_ON, LOOK_WAIT, LOOK_NO };

static void
woken(void *arg, enum store_rc rc, struct mailbox *mb)
{
	struct mb_txn *t = arg;

	(void)mb;
	if (rc == STORE_OK || rc == STORE_NOTFOUND)
		txn_try(t);
	else
		txn_refuse(t, rc, NULL);
}

static void
counted(void *arg)
{
	txn_try(arg);
}

static enum look
no(struct mb_txn *t, enum store_rc rc, const char *text)
{
	t->reply.rc = rc;
	t->reply.text = text;
	return LOOK_NO;
}

static bool
settled(const struct mailbox *mb)
{
	return mb->state == MB_READY || mb->state == MB_NONE;
}

static bool
keywords_fit(const struct mailbox *mb, const struct mb_op *op)
{
	unsigned i, used = 0, fresh = 0;

	for (i = 0; i < STORE_KEYWORDS_MAX; i++)
		used += mb->x.keywords[i][0] != '\0';
	for (i = 0; i < op->nkeywords; i++)
		fresh += index_keyword(&mb->x, span_str(op->keywords[i])) < 0;
	return used + fresh <= STORE_KEYWORDS_MAX;
}

bool
txn_renames(const struct mb_txn *t, const char *key)
{
	size_t n = strlen(t->ops[0].key);

	return strncmp(key, t->ops[0].key, n) == 0 && (key[n] == '\0' || key[n] == '.');
}

/* What `key` is called when `old` has become `new`. to has STORE_BOX_MAX + 1 octets; false: too long. */
bool
txn_new_name(char *to, const char *key, const char *old, const char *new)
{
	return snprintf(to, STORE_BOX_MAX + 1, "%s%s", new, key + strlen(old)) <= STORE_BOX_MAX;
}

/* In the list, or made since it was read. */
static bool
name_taken(struct mb_txn *t, const char *user, const char *key)
{
	const struct mailbox *mb = mailbox_find(t->mbs, user, key);
	size_t i;

	for (i = 0; i < t->nlist; i++)
		if (t->list[i].exists && strcmp(t->list[i].key, key) == 0)
			return true;
	return mb != NULL && mb->state != MB_NONE;
}

static enum look
look_box(struct mb_txn *t, struct mb_op *op, struct mailbox *mb)
{
	char to[STORE_BOX_MAX + 1];
	size_t i;

	switch (op->box_op) {
	case STORE_BOX_CREATE:
		return mb->state == MB_READY ? no(t, STORE_EXISTS, "the mailbox exists already") : LOOK_ON;
	case STORE_BOX_SUBSCRIBE:
	case STORE_BOX_UNSUBSCRIBE:
		return LOOK_ON;
	default:
		break;
	}
	if (strcmp(op->key, "INBOX") == 0)
		return no(t, STORE_DENIED, "INBOX can be neither deleted nor renamed");
	if (mb->state != MB_READY)
		return no(t, STORE_NOTFOUND, "there is no such mailbox");
	if (op->box_op != STORE_BOX_RENAME)
		return LOOK_ON;
	if (strcmp(op->key2, "INBOX") == 0)
		return no(t, STORE_EXISTS, "INBOX exists already");
	if (strncmp(op->key2, op->key, strlen(op->key)) == 0 && op->key2[strlen(op->key)] == '.')
		return no(t, STORE_INVALID, "a mailbox cannot go below itself");
	if (name_taken(t, op->user, op->key2))
		return no(t, STORE_EXISTS, "a mailbox of the new name exists already");
	for (i = 0; i < t->nlist; i++) {
		if (!t->list[i].exists || !txn_renames(t, t->list[i].key))
			continue;
		if (!txn_new_name(to, t->list[i].key, op->key, op->key2))
			return no(t, STORE_INVALID, "the name of a mailbox below it would be too long");
		if (name_taken(t, op->user, to))
			return no(t, STORE_EXISTS, "a mailbox of the new name of one below it exists already");
	}
	return LOOK_ON;
}

static enum look
look_put(struct mb_txn *t, struct mb_op *op)
{
	struct kv_entry e;
	bool there = kv_get(t->mbs->kv, op->space, op->name, mailbox_clock(t->mbs), &e);

	if (op->expect == STORE_ANY_VERSION)
		return LOOK_ON;
	if (op->expect == 0)
		return there ? no(t, STORE_EXISTS, "the key is there already") : LOOK_ON;
	return there && e.version == op->expect ? LOOK_ON
		: no(t, STORE_CONFLICT, "the key was changed meanwhile");
}

static enum look
look_room(struct mb_txn *t, const char *user, uint64_t limit, uint64_t octets, uint64_t messages)
{
	enum store_rc rc;

	if (mb_quota_check(t->mbs, user, limit, octets, messages, counted, t, &rc))
		return LOOK_ON;
	return rc == STORE_OK ? LOOK_WAIT : no(t, rc, rc == STORE_OVERQUOTA
		? "the mailboxes of this user are full" : "");
}

static void
set_size(const struct mailbox *mb, struct span set, uint64_t *octets, uint64_t *n)
{
	struct uidset_range r;
	uint32_t i;
	bool found;

	*octets = *n = 0;
	while (uidset_next(&set, &r))
		for (i = index_find(&mb->x, r.first, &found); i < mb->x.n && mb->x.msgs[i].uid <= r.last; i++) {
			*octets += mb->x.msgs[i].size;
			*n += 1;
		}
}

/* UIDs say nothing in another mailbox, made since under the same name. */
static bool
is_there(const struct mailbox *mb, const struct mb_op *op)
{
	return mb->state == MB_READY && (op->uidvalidity == 0 || op->uidvalidity == mb->x.uidvalidity);
}

static enum look
look(struct mb_txn *t, struct mb_op *op)
{
	struct mailbox *mb = NULL, *to;
	const char *text = "";
	uint64_t octets, n;
	enum store_rc rc;

	if (op->kind == MB_PUT)
		return look_put(t, op);
	if (op->kind == MB_QUEUE || op->kind == MB_OUTCOME) {
		rc = queue_look(t->mbs, op, &text);
		return rc == STORE_OK ? LOOK_ON : no(t, rc, text);
	}
	if ((mb = mailbox_find(t->mbs, op->user, op->key)) == NULL)
		return no(t, STORE_TEMP, "");
	switch (op->kind) {
	case MB_ADD:
		if (mb->state == MB_NONE && strcmp(op->key, "INBOX") != 0)
			return no(t, STORE_NOTFOUND, "there is no such mailbox");
		if (op->nkeywords > 0 && !keywords_fit(mb, op))
			return no(t, STORE_DENIED, "a mailbox has at most 26 keywords");
		return look_room(t, op->user, op->quota, op->octets, 1);
	case MB_COPY:
		to = mailbox_find(t->mbs, op->user, op->key2);
		if (!is_there(mb, op))
			return no(t, STORE_NOTFOUND, "the mailbox is gone");
		if (to == NULL || (to->state != MB_READY && strcmp(op->key2, "INBOX") != 0))
			return no(t, STORE_NOTFOUND, "there is no such mailbox");
		if (op->move)
			return LOOK_ON;
		set_size(mb, span_str(op->set), &octets, &n);
		return look_room(t, op->user, 0, octets, n);
	case MB_FLAGS:
		if (!is_there(mb, op))
			return no(t, STORE_NOTFOUND, "the mailbox is gone");
		return op->flag_op == STORE_FLAGS_REMOVE || keywords_fit(mb, op) ? LOOK_ON
			: no(t, STORE_DENIED, "a mailbox has at most 26 keywords");
	case MB_EXPUNGE:
		return is_there(mb, op) ? LOOK_ON : no(t, STORE_NOTFOUND, "the mailbox is gone");
	case MB_BOX:
		return look_box(t, op, mb);
	case MB_PUT:
	case MB_QUEUE:
	case MB_OUTCOME:
		break;
	}
	return LOOK_ON;
}

/* --- waiting --------------------------------------------------------------------------------------------- */

static void
listed(void *arg, enum store_rc rc, struct store_listed *list, size_t n)
{
	struct mb_txn *t = arg;

	if (rc == STORE_OK && n > 0 && (t->list = calloc(n, sizeof *list)) == NULL)
		rc = STORE_TEMP;
	if (rc != STORE_OK) {
		txn_refuse(t, rc, NULL);
		return;
	}
	if (n > 0)
		memcpy(t->list, list, n * sizeof *list);
	t->nlist = n;
	t->listed = true;
	txn_try(t);
}

static bool
needs_list(const struct mb_txn *t)
{
	return !t->listed && t->nops > 0 && t->ops[0].kind == MB_BOX && t->ops[0].box_op == STORE_BOX_RENAME;
}

/* It would be accepted, and wait in the journal for nobody knows how long. */
static bool
is_stuck(const struct mb_txn *t, const struct mb_op *op)
{
	struct store_backend *be = t->mbs->be;

	if (be->ops->stuck == NULL || op->kind > MB_PUT)
		return false;
	if (op->kind == MB_PUT)
		return be->ops->stuck(be, "", op->space);
	return be->ops->stuck(be, op->user, "") || be->ops->stuck(be, op->user, op->key) ||
		(op->key2[0] != '\0' && be->ops->stuck(be, op->user, op->key2));
}

/* All loads begin; the first that is not ready is the one to wait for. NULL: all are there. */
static struct mailbox *
first_unready(struct mb_txn *t, enum store_rc *failed)
{
	struct mailbox *mb, *wait = NULL;
	struct mb_op *op;
	unsigned i, k;

	*failed = STORE_OK;
	for (i = 0; i < t->nops; i++) {
		op = &t->ops[i];
		if (is_stuck(t, op)) {
			*failed = STORE_TEMP;
			return NULL;
		}
		for (k = 0; op->kind < MB_PUT && k < (op->kind == MB_COPY ? 2 : 1); k++) {
			mb = mailbox_get(t->mbs, op->user, k == 0 ? op->key : op->key2);
			if (mb == NULL)
				*failed = STORE_TEMP;
			else if (!settled(mb) && wait == NULL)
				wait = mb;
			else if (mb->failed != STORE_OK)
				*failed = mb->failed;
		}
	}
	for (i = 0; i < t->nlist; i++) { /* a rename: its children too */
		if (!t->list[i].exists || !txn_renames(t, t->list[i].key))
			continue;
		if ((mb = mailbox_get(t->mbs, t->ops[0].user, t->list[i].key)) == NULL)
			*failed = STORE_TEMP;
		else if (!settled(mb) && wait == NULL)
			wait = mb;
	}
	return wait;
}

void
txn_try(struct mb_txn *t)
{
	struct mailbox *wait;
	enum store_rc rc;
	uint64_t octets = 0;
	enum look l = LOOK_ON;
	unsigned i;

	wait = first_unready(t, &rc);
	if (rc != STORE_OK) {
		txn_refuse(t, rc, NULL);
		return;
	}
	if (wait != NULL) {
		mailbox_wait(wait, woken, t);
		return;
	}
	if (needs_list(t)) {
		t->mbs->be->ops->list(t->mbs->be, t->ops[0].user, listed, t);
		return;
	}
	t->mbs->look_pass++;
	for (i = 0; i < t->nops && l == LOOK_ON; i++) {
		if ((l = look(t, &t->ops[i])) == LOOK_WAIT)
			return; /* it may have come to its end already: an engine may answer at once */
		octets += t->ops[i].kind == MB_ADD || t->ops[i].kind == MB_QUEUE ? t->ops[i].octets
			: t->ops[i].kind == MB_PUT ? 1 : 0;
	}
	if (l == LOOK_ON && octets > 0 && (rc = t->mbs->be->ops->room(t->mbs->be, octets)) != STORE_OK)
		l = no(t, rc, rc == STORE_FULL ? "the disk is full" : "");
	if (l == LOOK_NO)
		txn_refuse(t, t->reply.rc, NULL);
	else
		txn_write(t);
}
