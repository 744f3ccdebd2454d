/* store/server_admin.c - an operator's questions, which come through the control process: it has looked at who asks. */
#include "store/server_impl.h"

#include "store/admin.h"
#include "store/row.h"

static void
send_row(void *arg, struct span row)
{
	struct request *q = arg;
	struct msg_store_row m = { .fields = row };
	struct frame f;

	if (q->peer == NULL)
		return;
	PT_ASSERT(row.n <= ROW_MAX && msg_store_row_encode(&m, q->id, &f) == 0);
	peer_send(q->peer, &f, -1);
}

static void
send_end(void *arg, enum store_rc rc, const char *text)
{
	struct request *q = arg;

	if (q->peer != NULL)
		reply_rc(q->peer, q->id, rc, text);
	request_free(&q);
}

int
on_admin(void *self, void *peer, struct frame *f)
{
	struct server *s = self;
	struct peer *p = peer;
	struct admin_question question;
	struct msg_store_admin m;
	struct request *q;
	const char *wrong;

	if (msg_store_admin_decode(f, &m) != 0 || m.repair > 1)
		return PT_EPROTO;
	if ((wrong = admin_question_make(&question, m.what, m.repair != 0, m.user, m.box)) != NULL)
		reply_rc(p, f->id, STORE_INVALID, wrong);
	else if ((q = request_new(p, f->id)) == NULL)
		reply_rc(p, f->id, STORE_TEMP, "");
	else {
		question.clients = s->npeers;
		admin_ask(s->mbs, &question, send_row, send_end, q);
	}
	return 0;
}
