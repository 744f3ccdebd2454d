/* proto/smtp/smtp_impl.h - what the files of the engine share; nobody else includes it. */
#ifndef PROTO_SMTP_SMTP_IMPL_H
#define PROTO_SMTP_SMTP_IMPL_H

#include "mail/mail_header.h"
#include "proto/ask.h"
#include "proto/smtp/smtp_data.h"
#include "proto/smtp/smtp_engine.h"
#include "proto/smtp/smtp_rules.h"

/* Events that wait to be given out, in this order. */
#define WANT_START_TLS 0x01u
#define WANT_ASK 0x02u
#define WANT_NOTE 0x04u
#define WANT_INJECTION 0x08u
#define WANT_CLOSE 0x10u

#define MECHANISMS_MAX 4

/* A message that is coming. */
struct smtp_body {
	struct smtp_data data;
	struct ask_sink sink;   /* ops is NULL when there is none any more: dropped, or handed over */
	uint64_t received;      /* octets of the message, without those that we add */
	uint64_t put;           /* octets that went into the sink */
	int64_t now_s;
	uint64_t deadline_ms;   /* for its last octet; UINT64_MAX: none */
	uint64_t stalled_ms;    /* since when the sink takes nothing, which is not the client's fault; UINT64_MAX: it does */
	enum smtp_text refusal; /* why it will not be kept; SMTP_TX_NONE */
	bool chunks;            /* BDAT */
	bool complete;          /* its last octet has come */
	bool denied;            /* addr is none of the user's */
	bool who_done;          /* each address that says who sent it may be used, or it is not asked */
	bool who_open;          /* within the who'th of these fields */
	bool who_any;           /* that has an address */
	uint8_t who;
	uint8_t nwho;           /* addresses asked about */
	enum mail_field whose;  /* that field */
	struct span who_rest;   /* of its value */
	struct mail_addr addr;  /* the one that is asked about */
	char id[ASK_ID_MAX + 1];
	char allowed[SMTP_VALUE_MAX + 1]; /* addresses that such a field may hold, when one that it does may not */
	struct mail_header header;
};

/* A transaction: from MAIL on. */
struct smtp_tx {
	struct ask_envelope envelope; /* recipients: owned here */
	struct mail_addr sender;
	struct mail_addr rcpt;        /* the one that is asked about */
	struct span *rcpts;           /* owned, and so is each one's text */
	enum ask_result *results;     /* owned; of the message, one for each recipient */
	size_t room;                  /* of rcpts */
	bool refused;                 /* at least one recipient was not taken */
	struct smtp_body *body;       /* owned */
};

struct smtp_engine {
	struct engine base; /* first: the dispatchers see only this */
	const struct engine_conf *conf;
	const struct smtp_conf *smtp;
	const struct engine_peer *peer;
	struct buf in;        /* the beginning of a line whose end has not come; of one that is held all */
	struct buf out;
	struct buf sasl;      /* what the client sent in this step of a login, decoded */
	struct smtp_tx *tx;   /* owned; NULL: no transaction */
	char *helo;           /* owned; NULL: the client has not said who it is */
	char *user;           /* owned; who is logged in; NULL: nobody */
	char *claimed;        /* owned; who the client will be when a login under way ends well, or would have been */
	const char *mechanism; /* static: how the user is logged in */
	const char *login;     /* static: the mechanism of a login under way, or of the last */
	struct ask ask;
	struct note note;
	uint64_t deadline_ms; /* UINT64_MAX for none */
	uint64_t chunk;       /* octets of this chunk that are still to come */
	uint32_t skipped;     /* octets of a bad line dropped so far */
	uint32_t commands, errors, unknown;
	uint8_t kind;         /* enum smtp_kind */
	uint8_t state, back;  /* enum smtp_state; back: where a question was asked */
	uint8_t offer;        /* enum engine_offer */
	uint8_t want;         /* WANT_... */
	uint8_t why;          /* enum engine_close, of WANT_CLOSE */
	uint8_t logins;       /* that failed */
	uint8_t identities;   /* times that it was asked again whose the certificate is */
	uint8_t chunk_refusal; /* enum smtp_text: what this chunk is answered with; SMTP_TX_NONE */
	bool needed_tls;      /* a command was refused because it needs TLS first */
	bool chunk_last;
	bool esmtp;           /* EHLO or LHLO, not HELO */
	bool skipping;        /* within a bad line: drop up to its LF */
	bool asked;           /* a question, or ENGINE_EV_START_TLS, is given out and not answered */
	bool tx_over;         /* the transaction is kept only for the note about it */
	bool certificate;     /* the certificate is the login: it maps to a user of ours */
	bool unknown_yet;     /* whether it does could not be found out */
	bool held;            /* in has a whole command, to be run when that has been asked again */
	bool exchanged;       /* AUTH has succeeded: there is no second */
	bool began;           /* SASL: the mechanism has been asked for this login */
	bool leaving;         /* goodbye once the message under way is answered */
	bool ended;           /* the peer sends no more */
};

/* smtp_engine.c */
void smtp_enter(struct smtp_engine *e, enum smtp_state state);
void smtp_finish(struct smtp_engine *e, enum engine_close why);
void smtp_say(struct smtp_engine *e, enum smtp_text t);
void smtp_say_about(struct smtp_engine *e, enum smtp_text t, struct span value);
void smtp_said(struct smtp_engine *e, int rc); /* the result of appending to e->out */
void smtp_say_and_finish(struct smtp_engine *e, enum smtp_text t, enum engine_close why);
/* Counts it as an error. */
void smtp_refuse(struct smtp_engine *e, enum smtp_text t);
void smtp_refuse_about(struct smtp_engine *e, enum smtp_text t, struct span value);
/* Parks; e->ask has all of the question. */
void smtp_ask(struct smtp_engine *e, enum ask_kind kind);
/* The state that commands are taken in, where no transaction is. */
enum smtp_state smtp_ground(const struct smtp_engine *e);
/* Something for the log; t: what was said of it. One waits at most. */
struct note *smtp_note(struct smtp_engine *e, enum note_kind kind, enum smtp_text t);
void smtp_idle_start(struct smtp_engine *e, uint64_t now_ms);
/* A message, or what there was of it, is answered: back to the ground, or goodbye. */
void smtp_tx_end(struct smtp_engine *e);

/* smtp_session.c */
void smtp_greet(struct smtp_engine *e);

/* smtp_auth.c: mechanisms offered in this session, best first; returns how many. */
size_t smtp_auth_offer(const struct smtp_engine *e, const char *out[MECHANISMS_MAX]);
void smtp_auth_line(struct smtp_engine *e, struct span line);
void smtp_auth_reply(struct smtp_engine *e, const struct ask_reply *reply);
void smtp_auth_fail(struct smtp_engine *e, enum smtp_text t);

/* smtp_mail.c */
void smtp_tx_free(struct smtp_tx **tx); /* drops its body */
void smtp_mail_sender_reply(struct smtp_engine *e, const struct ask_reply *reply);
void smtp_mail_recipient_reply(struct smtp_engine *e, const struct ask_reply *reply);

/* smtp_body.c */
void smtp_body_free(struct smtp_body **body);
void smtp_body_ask(struct smtp_engine *e, bool chunks);
void smtp_body_reply(struct smtp_engine *e, const struct ask_reply *reply, uint64_t now_ms);
void smtp_body_sender_reply(struct smtp_engine *e, const struct ask_reply *reply);
void smtp_body_commit_reply(struct smtp_engine *e, const struct ask_reply *reply);
size_t smtp_body_input(struct smtp_engine *e, const uint8_t *buf, size_t len, uint64_t now_ms);
void smtp_chunk_begin(struct smtp_engine *e);
bool smtp_body_stalled(const struct smtp_engine *e); /* the sink takes nothing now */
/* Time passes: until when the message under way must be complete; UINT64_MAX: there is none, or it waits for us. */
uint64_t smtp_body_deadline(struct smtp_engine *e, uint64_t now_ms);

#endif
