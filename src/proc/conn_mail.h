/* proc/conn_mail.h - what a mail protocol's engine asks, answered by auth and the store.
 *
 * One struct mail for each connection whose engine has asked something, made with its first question. A question about
 * somebody goes to auth, a message into a body of the store's, and a commit is a transaction of the store. Answers come from
 * the worker's event loop; an engine that has gone (a new session, the end of the connection) withdraws its question, but a
 * message that was handed over is delivered all the same, and the log tells what became of it. */
#ifndef PROC_CONN_MAIL_H
#define PROC_CONN_MAIL_H

#include "proc/conn_impl.h"
#include "proto/ask.h"

struct mail;

/* Answers the question, at once or later by engine_reply() and conn_wake(). */
void conn_mail_ask(struct conn *c, const struct ask *ask);

/* One line in the log. */
void conn_mail_note(const struct conn *c, const struct note *note);

/* Who has logged in by AUTH, whose password or certificate it was aside; NULL: nobody. */
const char *conn_mail_user(const struct conn *c);

/* The engine goes: no answer is wanted any more. Fine when nothing was ever asked. */
void conn_mail_forget(struct conn *c);

#endif
