/* proc/conn_mail_impl.h - what the files that answer a mail engine's questions share. */
#ifndef PROC_CONN_MAIL_IMPL_H
#define PROC_CONN_MAIL_IMPL_H

#include "proc/auth_client.h"
#include "proc/conn_mail.h"
#include "proc/worker_store.h"

struct delivery;
struct mail_room;

/* A recipient that was taken, and whom it reaches. */
struct mail_rcpt {
	struct auth_recipient *users; /* owned */
	size_t n;
};

struct mail {
	struct conn *conn;
	struct auth_request auth;
	char *login;              /* owned: who has logged in by AUTH, normal form; NULL: nobody */
	char *by;                 /* owned: whose password that was; NULL: nobody's */
	enum ask_kind asked;      /* the question that is open */
	struct mail_rcpt *rcpts;  /* owned; of the transaction, in order */
	size_t nrcpts, room;
	bool postmaster;          /* the last of them was asked for by that name */
	uint64_t declared;        /* octets of the message, as its client said; 0: it did not */
	struct mail_room *asking_room; /* of the last of them; NULL: not */
	struct worker_store_wait absent; /* of a message that may begin when the store is there again */
	struct store_blob *body;  /* the message that is coming; NULL: none */
	struct buf waiting;       /* octets of it that the store has not taken yet */
	bool inside;              /* store_blob_ready() is being called */
	enum ask_result failed;   /* ASK_OK, or why the body is of no use */
	char id[ASK_ID_MAX + 1];
	const struct ask_envelope *committing; /* borrowed: of a commit that waits for 'waiting' to be taken */
	struct delivery *delivery; /* the commit that the engine waits for; NULL: none */
};

/* conn_mail.c */
void mail_reply(struct mail *m, const struct ask_reply *reply);
void mail_recipients_cut(struct mail *m, size_t n);

/* conn_room.c: whether the last recipient's mailboxes have room. ASK_OK, ASK_OVERQUOTA (it is taken off the list), or
 * ASK_MORE: the engine is answered later. */
enum ask_result mail_room_ask(struct mail *m);
void mail_room_forget(struct mail *m); /* no answer is wanted any more */

/* conn_deliver.c */
void mail_body(struct mail *m, const struct ask *ask);
void mail_commit(struct mail *m, const struct ask_envelope *envelope);
void mail_abandon(struct mail *m); /* the engine is gone: what was not handed over is dropped */

#endif
