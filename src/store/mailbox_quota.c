/* store/mailbox_quota.c - how much each user has: counted when it is first asked for, then kept. */
#include "store/mailbox_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct asking {
	void (*f)(void *arg);
	mb_room_cb *room; /* in place of f */
	uint64_t limit;
	void *arg;
	struct asking *next;
};

struct mb_quota {
	struct mb_quota *next;
	char user[STORE_USER_MAX + 1];
	bool known, counting;
	bool failed; /* while those who asked are told so */
	uint64_t limit; /* octets, as it was said last; 0: never */
	int64_t octets, messages;
	uint64_t pass, asked_octets, asked_messages; /* of one transaction, which may be more than one message */
	struct asking *asking;
	struct mailboxes *mbs;
};

static size_t
slot(const char *user)
{
	size_t h = 5381;

	for (; *user != '\0'; user++)
		h = h * 33 ^ (uint8_t)*user;
	return h % MB_QUOTA_HASH;
}

static struct mb_quota *
find(struct mailboxes *mbs, const char *user)
{
	struct mb_quota *q;

	for (q = mbs->quotas[slot(user)]; q != NULL; q = q->next)
		if (strcmp(q->user, user) == 0)
			return q;
	return NULL;
}

uint64_t
mb_quota_limit(struct mailboxes *mbs, const char *user)
{
	const struct mb_quota *q = find(mbs, user);
	uint64_t octets = 0, messages = 0;

	if (q != NULL && q->limit > 0)
		return q->limit;
	if (mbs->conf.quota != NULL)
		mbs->conf.quota(mbs->conf.quota_arg, user, &octets, &messages);
	return octets;
}

static void
tell_room(const struct mb_quota *q, uint64_t limit, mb_room_cb *cb, void *arg)
{
	uint64_t used = q->octets < 0 ? 0 : (uint64_t)q->octets;

	cb(arg, STORE_OK, used < limit ? limit - used : 0);
}

static void
wake(struct mb_quota *q)
{
	struct asking *a, *next;

	a = q->asking;
	q->asking = NULL;
	for (; a != NULL; a = next) {
		next = a->next;
		if (a->room == NULL)
			a->f(a->arg);
		else if (q->failed)
			a->room(a->arg, STORE_TEMP, 0);
		else
			tell_room(q, a->limit, a->room, a->arg);
		free(a);
	}
}

/* As it is now: the first may have changed while the last was looked at. */
static void
add_up(struct mailboxes *mbs, const char *user, const struct mb_status *boxes, size_t n, int64_t *octets, int64_t *messages)
{
	const struct mailbox *mb;
	size_t i;

	for (i = 0; i < n; i++) {
		if (!boxes[i].exists)
			continue;
		mb = mailbox_find(mbs, user, boxes[i].key);
		if (mb != NULL && mb->state != MB_READY)
			mb = NULL;
		*octets += (int64_t)(mb != NULL ? mb->x.octets : boxes[i].status.octets);
		*messages += mb != NULL ? mb->x.n : boxes[i].status.messages;
	}
}

static void
counted(void *arg, enum store_rc rc, const struct mb_status *boxes, size_t n)
{
	struct mb_quota *q = arg;

	q->counting = false;
	q->known = rc == STORE_OK || rc == STORE_NOTFOUND; /* nobody yet: nothing */
	q->failed = !q->known;
	q->octets = q->messages = 0;
	add_up(q->mbs, q->user, boxes, n, &q->octets, &q->messages);
	if (!q->mbs->closing)
		wake(q);
	q->failed = false;
}

static bool
ask(struct mb_quota *q, struct asking asking)
{
	struct asking *a = calloc(1, sizeof *a);

	if (a == NULL)
		return false;
	*a = asking;
	a->next = q->asking;
	q->asking = a;
	if (!q->counting) {
		q->counting = true;
		mb_boxes(q->mbs, q->user, counted, q);
	}
	return true;
}

static struct mb_quota *
get(struct mailboxes *mbs, const char *user)
{
	struct mb_quota *q = find(mbs, user);

	if (q != NULL || (q = calloc(1, sizeof *q)) == NULL)
		return q;
	q->mbs = mbs;
	snprintf(q->user, sizeof q->user, "%s", user);
	q->next = mbs->quotas[slot(user)];
	mbs->quotas[slot(user)] = q;
	return q;
}

bool
mb_quota_check(struct mailboxes *mbs, const char *user, uint64_t limit, uint64_t octets, uint64_t messages,
	       void (*f)(void *), void *arg, enum store_rc *rc)
{
	struct mb_quota *q = find(mbs, user);
	uint64_t max_octets = 0, max_messages = 0;

	*rc = STORE_OK;
	if (limit == STORE_NO_QUOTA)
		return true;
	if (mbs->conf.quota != NULL)
		mbs->conf.quota(mbs->conf.quota_arg, user, &max_octets, &max_messages);
	if (limit == 0 && q != NULL)
		limit = q->limit;
	max_octets = limit != 0 ? limit : max_octets;
	if (max_octets == 0 && max_messages == 0)
		return true;
	if (q == NULL && (q = get(mbs, user)) == NULL) {
		*rc = STORE_TEMP;
		return false;
	}
	q->limit = limit;
	if (!q->known) {
		if (q->failed || !ask(q, (struct asking){ .f = f, .arg = arg }))
			*rc = STORE_TEMP;
		return false;
	}
	if (q->pass != mbs->look_pass) {
		q->pass = mbs->look_pass;
		q->asked_octets = q->asked_messages = 0;
	}
	q->asked_octets += octets;
	q->asked_messages += messages;
	if ((max_octets > 0 && (uint64_t)q->octets + q->asked_octets > max_octets) ||
	    (max_messages > 0 && (uint64_t)q->messages + q->asked_messages > max_messages)) {
		*rc = STORE_OVERQUOTA;
		return false;
	}
	return true;
}

void
mb_room(struct mailboxes *mbs, const char *user, uint64_t limit, mb_room_cb *cb, void *arg)
{
	struct mb_quota *q = get(mbs, user);

	if (q != NULL && q->known) {
		q->limit = limit;
		tell_room(q, limit, cb, arg);
	} else if (q == NULL || q->failed ||
		   !ask(q, (struct asking){ .room = cb, .limit = limit, .arg = arg })) {
		cb(arg, STORE_TEMP, 0);
	}
}

void
mb_quota_change(struct mailboxes *mbs, const char *user, int64_t octets, int64_t messages)
{
	struct mb_quota *q = find(mbs, user);

	if (q == NULL || !q->known)
		return;
	q->octets += octets;
	q->messages += messages;
	if (q->octets < 0 || q->messages < 0)
		q->known = false; /* something was not seen: counted again at the next question */
}

void
mb_quota_unknown(struct mailboxes *mbs, const char *user)
{
	struct mb_quota *q = find(mbs, user);

	if (q != NULL)
		q->known = false;
}

/* --- an audit ------------------------------------------------------------------------------------------------ */

#define AUDITS 3 /* as many times must the same be wrong: a mailbox may come or go while they are counted */

struct audit {
	struct mailboxes *mbs;
	char user[STORE_USER_MAX + 1];
	bool mend;
	unsigned times;
	struct mb_quota_audit a;
	mb_quota_audit_cb *cb;
	void *arg;
};

static void
audit_end(struct audit *o, enum store_rc rc)
{
	o->cb(o->arg, rc, &o->a);
	free(o);
}

static bool
is_right(const struct mb_quota_audit *a)
{
	return !a->known || (a->octets == a->box_octets && a->messages == a->box_messages);
}

static bool
is_same(const struct mb_quota_audit *a, const struct mb_quota_audit *b)
{
	return a->octets - a->box_octets == b->octets - b->box_octets &&
		a->messages - a->box_messages == b->messages - b->box_messages;
}

static void
audited(void *arg, enum store_rc rc, const struct mb_status *boxes, size_t n)
{
	struct audit *o = arg;
	const struct mb_quota *q = find(o->mbs, o->user);
	struct mb_quota_audit now = { .known = q != NULL && q->known };

	if (o->mbs->closing || (rc != STORE_OK && rc != STORE_NOTFOUND)) {
		audit_end(o, STORE_TEMP);
		return;
	}
	if (now.known) {
		now.octets = q->octets;
		now.messages = q->messages;
		add_up(o->mbs, o->user, boxes, n, &now.box_octets, &now.box_messages);
	}
	o->times = o->times > 0 && is_same(&now, &o->a) ? o->times + 1 : 1;
	o->a = now;
	if (!is_right(&now) && o->times < AUDITS) {
		mb_boxes_as_is(o->mbs, o->user, audited, o);
		return;
	}
	if (!is_right(&now) && o->mend)
		mb_quota_unknown(o->mbs, o->user);
	audit_end(o, STORE_OK);
}

void
mb_quota_audit(struct mailboxes *mbs, const char *user, bool mend, mb_quota_audit_cb *cb, void *arg)
{
	const struct mb_quota *q = find(mbs, user);
	struct audit *o = calloc(1, sizeof *o);

	if (o == NULL) {
		cb(arg, STORE_TEMP, &(struct mb_quota_audit){ .known = false });
		return;
	}
	o->mbs = mbs;
	snprintf(o->user, sizeof o->user, "%s", user);
	o->mend = mend;
	o->cb = cb;
	o->arg = arg;
	if (q == NULL || !q->known)
		audit_end(o, STORE_OK);
	else
		mb_boxes_as_is(mbs, user, audited, o);
}

void
mb_quota_free(struct mailboxes *mbs)
{
	struct mb_quota *q;
	struct asking *a;
	size_t i;

	for (i = 0; i < MB_QUOTA_HASH; i++)
		while ((q = mbs->quotas[i]) != NULL) {
			mbs->quotas[i] = q->next;
			while ((a = q->asking) != NULL) {
				q->asking = a->next;
				if (a->room != NULL)
					a->room(a->arg, STORE_TEMP, 0);
				free(a);
			}
			free(q);
		}
}
