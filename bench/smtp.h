/* bench/smtp.h - one client of SMTP submission as a state machine over a non-blocking socket. */
#ifndef BENCH_SMTP_H
#define BENCH_SMTP_H

#include "wire.h"

#define SMTP_ROOM 4096 /* the longest replies that we expect at a time */

/* What is said of the login once TLS is there. */
enum smtp_login {
	SMTP_LOGIN_NONE,     /* the certificate, if there is one, is enough */
	SMTP_LOGIN_EXTERNAL, /* AUTH EXTERNAL */
	SMTP_LOGIN_PASSWORD, /* AUTH PLAIN as user, no certificate */
};

struct smtp_conf {
	uint16_t port;
	struct pki_pool *pool; /* client i shows certificate i mod n, and is client<i mod n>@localhost; NULL: none */
	unsigned users;        /* recipients are client0 to client<users - 1> */
	enum smtp_login login;
	size_t size;           /* octets of a message */
	bool stalls;           /* begins a ClientHello and does not end it: SMTP_READY then, and smtp_drip() */
};

enum smtp_state {
	SMTP_BUSY,
	SMTP_READY,  /* it may be told the next thing */
	SMTP_ENDED,  /* after smtp_quit() */
	SMTP_FAILED, /* why says what */
};

struct smtp {
	struct wire wire;
	unsigned number, user;
	enum smtp_phase {
		SMTP_GREETING,
		SMTP_EHLO,
		SMTP_STARTTLS,
		SMTP_HANDSHAKE,
		SMTP_EHLO_TLS,
		SMTP_AUTH,
		SMTP_IDLE,
		SMTP_NOOP,
		SMTP_ENVELOPE,
		SMTP_BODY,
		SMTP_QUIT,
		SMTP_STALLED,
	} phase;
	const char *why;
	unsigned awaited;      /* replies */
	bool writes;           /* wants to be told when the socket can be written */
	uint64_t begun_ns;     /* when the operation began */
	uint64_t sent_ns;      /* when the last octet of a message was given to the kernel */
	uint64_t messages;
	size_t at;             /* octets of the message that have been sent */
	size_t have;
	char room[SMTP_ROOM];
};

void smtp_setup(const struct smtp_conf *conf); /* once; borrowed */

enum smtp_state smtp_begin(struct smtp *c, unsigned number);
enum smtp_state smtp_step(struct smtp *c); /* the socket is ready */

/* When SMTP_READY. */
enum smtp_state smtp_message(struct smtp *c);
enum smtp_state smtp_noop(struct smtp *c);
enum smtp_state smtp_quit(struct smtp *c);

/* One octet more of that ClientHello. */
void smtp_drip(struct smtp *c);

void smtp_end(struct smtp *c);

#endif
