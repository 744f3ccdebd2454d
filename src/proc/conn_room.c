/* proc/conn_room.c - whether the mailboxes that a recipient reaches have room for the message, asked when the recipient is
 * named: so one full mailbox refuses itself and not the others of the same message. It is not the last word: others may be
 * faster, and the commit decides. Who is far from his limit is asked about once in a while. */
#include "proc/conn_mail_impl.h"

#include "mail/mail_trace.h"
#include "proc/worker.h"

#include <stdlib.h>
#include <string.h>

#define KNOWN_MS 10000 /* how long a mailbox with much room counts as one */
#define FAR 16         /* much: this many times what is wanted */

/* A recipient that is being asked about. It outlives its connection. */
struct mail_room {
	struct mail *mail;    /* NULL: nobody waits any more */
	struct worker *worker;
	size_t at;            /* of the users that the last recipient reaches */
	uint64_t need;
	bool inside;          /* store_room() is being called */
	bool answered;        /* and has been, within */
	bool full;
};

static struct room_known *
slot_of(struct worker *w, const struct auth_recipient *r)
{
	uint64_t h = 14695981039346656037ull;
	const char *p;

	for (p = r->user; *p != '\0'; p++)
		h = (h ^ (uint8_t)*p) * 1099511628211ull;
	return &w->rooms[h % WORKER_ROOMS];
}

static bool
is_far(struct worker *w, const struct auth_recipient *r, uint64_t need)
{
	const struct room_known *k = slot_of(w, r);

	return k->quota == r->quota && k->octets / FAR > need && ev_now_ms() - k->since_ms < KNOWN_MS &&
	       strcmp(k->user, r->user) == 0;
}

static void
remember(struct worker *w, const struct auth_recipient *r, uint64_t octets)
{
	struct room_known *k = slot_of(w, r);

	strlcpy(k->user, r->user, sizeof k->user);
	k->quota = r->quota;
	k->octets = octets;
	k->since_ms = ev_now_ms();
}

static void told(void *arg, enum store_rc rc, struct store_reply *r);

/* Asks about the users from `at` on; true when all is known. */
static bool
go_on(struct mail_room *room)
{
	const struct mail_rcpt *rcpt = &room->mail->rcpts[room->mail->nrcpts - 1];
	const struct auth_recipient *user;

	for (; !room->full && room->at < rcpt->n; room->at++) {
		user = &rcpt->users[room->at];
		if (user->quota == 0 || user->quota == STORE_NO_QUOTA || is_far(room->worker, user, room->need))
			continue;
		room->inside = true;
		room->answered = false;
		store_room(worker_store(room->worker->store), user->user, user->quota, told, room);
		room->inside = false;
		if (!room->answered) {
			worker_store_asked(room->worker->store);
			return false;
		}
	}
	return true;
}

/* All is known: what the recipient hears. */
static enum ask_result
result(struct mail_room *room)
{
	struct mail *m = room->mail;
	bool full = room->full;

	m->asking_room = NULL;
	free(room);
	if (full)
		mail_recipients_cut(m, m->nrcpts - 1);
	return full ? ASK_OVERQUOTA : ASK_OK;
}

static void
told(void *arg, enum store_rc rc, struct store_reply *r)
{
	struct mail_room *room = arg;
	struct mail *m = room->mail;
	struct ask_reply reply = { .result = ASK_OK };

	room->answered = true;
	if (m == NULL) {
		free(room);
		return;
	}
	/* where the store cannot say, the commit will */
	if (rc == STORE_OK) {
		remember(room->worker, &m->rcpts[m->nrcpts - 1].users[room->at], r->size);
		room->full = r->size < room->need;
	}
	if (room->inside)
		return;
	room->at++;
	if (!go_on(room))
		return;
	reply.result = result(room);
	mail_reply(m, &reply);
	conn_wake(m->conn);
}

enum ask_result
mail_room_ask(struct mail *m)
{
	struct mail_room *room;

	/* a store that is away would make the client wait for it: what comes then is put off anyway */
	if (!store_attached(worker_store(m->conn->worker->store)) || (room = calloc(1, sizeof *room)) == NULL)
		return ASK_OK;
	/* what we put in front counts, or a message that fits by what its client says would never fit */
	*room = (struct mail_room){ .mail = m, .worker = m->conn->worker, .need = m->declared + MAIL_TRACE_MAX };
	m->asking_room = room;
	return go_on(room) ? result(room) : ASK_MORE;
}

void
mail_room_forget(struct mail *m)
{
	if (m->asking_room != NULL)
		m->asking_room->mail = NULL;
	m->asking_room = NULL;
}
