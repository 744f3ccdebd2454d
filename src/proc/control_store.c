/* proc/control_store.c - an operator's questions to the store: the control process looks at who asks, passes the question on,
 * and makes JSON of the rows of the answer. */
#include "proc/control.h"

#include "store/admin.h"
#include "store/row_json.h"
#include "util/log.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 2000 /* of one answer; the store sends fewer */

struct store_question {
	LIST_ENTRY(store_question) next;
	uint32_t id;
	json_t *rows;
	bool spoilt; /* rows are missing */
	struct store_question **owner;
	control_store_cb *cb;
	void *arg;
};

static json_t *
refusal(const char *why)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", why);
}

static void
question_free(struct store_question *q)
{
	LIST_REMOVE(q, next);
	json_decref(q->rows);
	free(q);
}

void
control_store_forget(struct store_question **q)
{
	if (*q != NULL)
		question_free(*q);
	*q = NULL;
}

/* Takes the answer; the question is over. */
static void
answer(struct store_question *q, json_t *o)
{
	control_store_cb *cb = q->cb;
	void *arg = q->arg;

	*q->owner = NULL;
	question_free(q);
	cb(arg, o);
}

static struct store_question *
find(struct control *c, uint32_t id)
{
	struct store_question *q;

	LIST_FOREACH(q, &c->questions, next)
		if (q->id == id)
			break;
	return q;
}

static int
on_row(void *self, void *peer, struct frame *f)
{
	struct store_question *q;
	struct msg_store_row m;
	json_t *row;

	(void)peer;
	if (msg_store_row_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((q = find(self, f->id)) == NULL)
		return 0; /* nobody waits for it any more */
	row = json_array_size(q->rows) < ROWS_MAX ? row_json(m.fields) : NULL;
	if (row == NULL || json_array_append_new(q->rows, row) != 0)
		q->spoilt = true;
	return 0;
}

static json_t *
failure(const struct msg_store_reply *m)
{
	json_t *o = m->text.n > 0 ? json_pack("{s:b, s:s%}", "ok", 0, "error", (const char *)m->text.p, m->text.n)
		: refusal(m->rc == STORE_FULL ? "the disk is full: make room and try again"
			: m->rc == STORE_TEMP ? "the store could not read or write its files: its log says which; try again when "
				"that has been seen to" : store_rc_text(m->rc));

	if (o != NULL)
		json_object_set_new(o, "store", json_string(store_rc_text(m->rc)));
	return o;
}

static int
on_reply(void *self, void *peer, struct frame *f)
{
	struct store_question *q;
	struct msg_store_reply m;
	json_t *o;

	(void)peer;
	if (msg_store_reply_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((q = find(self, f->id)) == NULL)
		return 0;
	if (m.rc != STORE_OK)
		o = failure(&m);
	else if (q->spoilt)
		o = refusal("the answer is too long");
	else
		o = json_pack("{s:b, s:O}", "ok", 1, "rows", q->rows);
	answer(q, o);
	return 0;
}

static const struct ipc_rule store_rules[] = {
	{ MSG_T_STORE_ROW, 1u << ROLE_STORE, IPC_ANY_STATE, on_row },
	{ MSG_T_STORE_REPLY, 1u << ROLE_STORE, IPC_ANY_STATE, on_reply },
};

/* A question that changes something may have been carried out: everything that is asked here can be asked again. */
static void
drop(struct control *c)
{
	struct store_question *q;

	link_free(&c->store);
	while ((q = LIST_FIRST(&c->questions)) != NULL)
		answer(q, refusal("the store process ended meanwhile, and is started again: ask again in a moment; its log says "
				  "why it ended"));
}

static void
gone(void *self, struct link *link, int rc)
{
	(void)link;
	if (rc == PT_EPROTO)
		log_msg(LOG_L_ERROR, "the store sent what it may not: its channel is closed");
	drop(self);
}

int
control_on_channel(void *self, void *peer, struct frame *f)
{
	struct control *c = self;
	struct msg_channel m;

	(void)peer;
	if (msg_channel_decode(f, &m) != 0 || m.role != ROLE_STORE)
		return PT_EPROTO;
	drop(c);
	c->store = link_new(&c->child, frame_take_fd(f), ROLE_STORE, store_rules, PT_COUNT(store_rules), c, gone);
	if (c->store == NULL)
		log_msg(LOG_L_ERROR, "no memory for the channel to the store");
	return 0;
}

static const char *
text_of(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));

	return text == NULL ? "" : text;
}

/* NULL, or why it is not passed on. */
static const char *
make(const struct control *c, const json_t *o, bool may_change, struct frame *f, uint32_t id)
{
	const char *user = text_of(o, "user"), *box = text_of(o, "mailbox"), *wrong;
	struct admin_question q;
	struct msg_store_admin m = { .what = (uint8_t)admin_find(text_of(o, "what")),
		.repair = json_is_true(json_object_get(o, "repair")), .user = span_str(user), .box = span_str(box) };

	if ((wrong = admin_question_make(&q, m.what, m.repair != 0, m.user, m.box)) != NULL)
		return wrong;
	if (admin_changes(q.what, q.repair) && !may_change)
		return "changes in the store are for root or for the user who started posternd";
	if (c->store == NULL)
		return c->conf != NULL && c->conf->mail == NULL
			   ? "this server has no store: its configuration has no \"mail\" directive"
			   : "the store process is being started: ask again in a moment; if that does not help, the log says why";
	return msg_store_admin_encode(&m, id, f) == 0 ? NULL : "the question is too long";
}

void
control_store_ask(struct control *c, const json_t *o, bool may_change, struct store_question **q_out,
		  control_store_cb *cb, void *arg)
{
	struct store_question *q = calloc(1, sizeof *q);
	const char *why = q == NULL || (q->rows = json_array()) == NULL ? "out of memory" : NULL;
	struct frame f;

	if (++c->next_id == 0)
		c->next_id = 1;
	if (why == NULL)
		why = make(c, o, may_change, &f, c->next_id);
	if (why != NULL) {
		if (q != NULL)
			json_decref(q->rows);
		free(q);
		cb(arg, refusal(why));
		return;
	}
	q->id = c->next_id;
	q->owner = q_out;
	q->cb = cb;
	q->arg = arg;
	LIST_INSERT_HEAD(&c->questions, q, next);
	*q_out = q;
	link_tell(c->store, &f, -1);
}
