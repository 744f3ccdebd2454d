/* proc/auth_client.h - asking the auth process, from a worker.
 *
 * Every question is asynchronous: the caller embeds a struct auth_request where it waits (one for each
 * question that it has under way), asks, and parks; the answer comes to its callback, once, later, never from
 * inside the call that asked. Whoever goes away before the answer calls auth_client_cancel(). While
 * auth is away every question, also those already asked, is answered AUTH_AWAY: the protocol's
 * temporary error. Memory: nothing for each question but the caller's struct.
 *
 * A frame from auth that is not as it should be condemns auth's channel, not the worker. */
#ifndef PROC_AUTH_CLIENT_H
#define PROC_AUTH_CLIENT_H

#include "auth/result.h"
#include "proc/auth_known.h"
#include "proc/auth_wire.h"
#include "proc/child.h"

#include <sys/queue.h>

struct auth_answer {
	enum auth_result result;
	/* AUTH_OK of identify and sasl: the user that is logged in, in its normal form; else "" */
	const char *user;
	/* of sasl by a password. AUTH_OK: whose it is, which differs from user when an authzid was given. A refusal: the user of
	 * ours who was named, for the log alone. Else "" */
	const char *by;
	/* AUTH_OK of recipient: whom it reaches (1 to AUTH_RECIPIENTS_MAX), and the part behind "+" ("": none) */
	const struct auth_recipient *recipients;
	size_t nrecipients;
	const char *detail;
	/* AUTH_CONTINUE: the challenge. AUTH_OK of sasl: what the mechanism says last, if success_data was true */
	struct span data;
	/* AUTH_NOT_ALLOWED: the addresses that are, for the refusal's text, separated by ", ".
	 * AUTH_LIMIT: "" */
	const char *text;
};

/* Everything in a is borrowed until the callback returns. The request may be used again inside it. */
typedef void auth_answer_f(void *arg, const struct auth_answer *a);

struct auth_request {
	TAILQ_ENTRY(auth_request) next; /* the client's own, like all of this; zero when not in use */
	struct auth_peer *peer;         /* who was asked */
	uint32_t id;
	enum {
		AUTH_REQUEST_IDLE,
		AUTH_REQUEST_ASKED,    /* an answer will come */
		AUTH_REQUEST_EXCHANGE, /* sasl: AUTH_CONTINUE was answered, and auth keeps the exchange */
		AUTH_REQUEST_KNOWN,    /* the answer is known here, and will be told */
	} state;
	uint16_t answer;         /* type of the frame that answers it */
	enum auth_result result; /* KNOWN: that answer */
	struct auth_known_key *key; /* owned: as what the answer will be remembered; NULL: it will not */
	auth_answer_f *done;
	void *arg;
};

struct auth_client;

/* Told when users are none any more or have another password: names in their normal form, at most AUTH_OUSTED_MAX
 * octets, each good and with its NUL (auth_wire_take_name()). Answers that were given before are behind us. */
typedef void auth_ousted_f(void *arg, enum auth_change what, struct span users);

/* NULL when out of memory. child is borrowed. */
struct auth_client *auth_client_new(struct child *child, auth_ousted_f *ousted, void *arg);
void auth_client_free(struct auth_client **c);

/* A channel to auth came (fd is taken). What is asked from now on goes there; what was asked before, and exchanges that
 * have begun, end with the process that has them, if that lives. */
void auth_client_set(struct auth_client *c, int fd);

/* Whether a question would be asked at present. Nobody needs to look: it is for greetings and status. */
bool auth_client_available(const struct auth_client *c);

/* Is the user that a certificate maps to (identity_map()) one of ours? AUTH_OK with the user's normal
 * form, AUTH_NO_USER. EXTERNAL is offered only after AUTH_OK. */
void auth_client_identify(struct auth_client *c, struct auth_request *r, const char *user,
			  auth_answer_f *done, void *arg);

/* What auth has answered before and would answer again, without asking it: it says itself when that may be different. False:
 * it has to be asked. Borrowed until the next call, or the next turn of the loop. */
const char *auth_client_knows_identity(const struct auth_client *c, const char *user); /* his normal form; NULL: not known */
const char *auth_client_knows_external(const struct auth_client *c, const char *identity); /* the same */
bool auth_client_knows_sender(const struct auth_client *c, const char *user, struct span address);
bool auth_client_knows_recipient(const struct auth_client *c, struct span address,
				 const struct auth_recipient **users_out, size_t *n_out);

/* RCPT: address without <>, "postmaster" too. AUTH_OK, AUTH_NO_USER, AUTH_NOT_LOCAL, AUTH_BAD_ADDRESS. */
void auth_client_recipient(struct auth_client *c, struct auth_request *r, struct span address,
			   auth_answer_f *done, void *arg);

/* May that user send with this address (MAIL FROM, From)? AUTH_OK, AUTH_NOT_ALLOWED with the ones that he may,
 * AUTH_BAD_ADDRESS. The null sender is not an address: the protocol decides about it. */
void auth_client_sender(struct auth_client *c, struct auth_request *r, const char *user,
			struct span address, auth_answer_f *done, void *arg);

struct auth_sasl {
	enum auth_mechanism mechanism;
	bool tls;             /* without TLS every mechanism is refused */
	const char *identity; /* the user of the session's certificate, as identify answered; NULL: none. With one,
	                       * a password login as another user is refused (AUTHZID) */
	struct span binding;  /* tls-exporter, raw octets; empty: the session has none */
	uint64_t address_key; /* of the client, as in the tables: failures are counted by it; 0: not by address */
	bool has_initial;     /* there was an initial response; initial may be empty all the same ("=") */
	struct span initial;  /* decoded; AUTH_MESSAGE_MAX */
	bool success_data;    /* the protocol can say the mechanism's last words together with its OK (ManageSieve). False
	                       * (SMTP, IMAP, POP3): they come as a last AUTH_CONTINUE, to which the client's answer is empty */
};

/* Begins an exchange. AUTH_CONTINUE: send data as a challenge, then auth_client_sasl_step() with the client's
 * answer and the same r, or auth_client_cancel() when the client gives up ("*") or is gone. All other results
 * end the exchange. */
void auth_client_sasl_begin(struct auth_client *c, struct auth_request *r, const struct auth_sasl *s,
			    auth_answer_f *done, void *arg);

/* The client's answer to a challenge, decoded. */
void auth_client_sasl_step(struct auth_client *c, struct auth_request *r, struct span response);

/* No answer is wanted any more, an exchange is over. Fine at any time, also when nothing is under way. */
void auth_client_cancel(struct auth_client *c, struct auth_request *r);

#endif
