/* proc/conn_impl.h - what the files of a connection share; nobody else includes it. */
#ifndef PROC_CONN_IMPL_H
#define PROC_CONN_IMPL_H

#include "proc/auth_wire.h"
#include "proc/conn.h"
#include "proc/conn_program.h"
#include "proc/conn_rec.h"
#include "util/log.h"
#include "util/rate.h"

#define COUNT(c, what, n)                                                                          \
	atomic_fetch_add_explicit(&(c)->service->count->what, (uint64_t)(int64_t)(n),              \
		memory_order_relaxed)

/* What exists only while TLS is up. */
struct secure {
	struct engine_peer peer;
	char *identity;
};

struct mail;

/* What such an engine is told of its peer, also in plaintext. */
struct known {
	struct engine_peer plain;
	char address[ADDR_TEXT_MAX]; /* "192.0.2.1"; "" for a unix socket */
};

enum conn_ousted { CONN_OUSTED_NOT, CONN_OUSTED_GONE, CONN_OUSTED_PASSWORD };

struct conn {
	TAILQ_ENTRY(conn) all;
	TAILQ_ENTRY(conn) handshakes;
	struct worker *worker;
	struct service *service;
	const struct conf_listen *listen;
	struct conn_at at;
	bool shut;          /* our side of the socket is closed */
	bool inside;        /* the engine is one of the TLS session */
	bool leaving;       /* the engine has closed, and what it said last is still on its way to the stream */
	uint8_t leave_why;  /* enum engine_close */
	uint8_t ousted;     /* enum conn_ousted: it ends when its renegotiation has */
	bool refused;       /* the session was judged anew before it began, and must not */
	bool watched;       /* counted in tls_sessions */
	uint8_t peer[sizeof(struct sockaddr_in6)];
	uint64_t key;
	uint64_t since_ms;    /* of this state */
	uint64_t handshake_us; /* when the handshake began */
	uint64_t leave_ms;    /* leaving: the peer must have read some of it by then */
	uint64_t deadline_ms; /* of this state, or the engine's */
	uint64_t timer_ms;    /* when the timer fires; 0: not set */
	size_t discarded;
	struct engine *engine;
	struct conn_program *program; /* of the engine; NULL: none asked for */
	struct mail *mail;    /* owned: of an engine that asks; NULL: it has not */
	struct known *known;  /* owned: of a service whose engines ask; else NULL */
	struct tls_session *tls;
	struct secure *secure;
	struct buf plain; /* decrypted and not taken by the engine */
	struct rate restarts, renegotiations, key_updates; /* of all sessions of this connection */
	unsigned key_updates_seen; /* of this session */
	struct conn_rec rec;
	struct stream stream;
	struct ev_io io;
	struct ev_timer timer;
};

/* --- what the files of a connection ask of each other ------------------------------------------ */

/* What to do once the engine's output is on its way. Each is told once, so that output must go. */
struct conn_asked {
	bool go_tls;
	bool close;
	enum engine_close why;
};

/* conn.c: the one way to another state. What the new state does not keep is gone when this returns; what it has
 * and was not there the caller makes. An event that the table does not allow is our bug. */
void conn_enter(struct conn *c, enum conn_event ev);

/* Nothing more can be done or said; the connection is freed at the end of this wake-up. */
void conn_give_up(struct conn *c);

/* The transport broke under it: told to the recorder. */
void conn_reset(struct conn *c);

/* An engine for the session that begins, within TLS or (c->secure is NULL) in plaintext; false: out of memory,
 * given up. */
bool conn_new_engine(struct conn *c, enum engine_start start, enum engine_offer offer);
enum engine_offer conn_offer(enum conf_listen_mode mode);

/* The peer does not read what we have for it: true where it may go on sending all the same, because what it sends is
 * no command of ours but a program's input. */
static inline bool
conn_reads_on(const struct conn *c)
{
	return c->at.state != CONN_ENDED && c->engine != NULL && engine_has_program(c->engine);
}

/* Takes what the engine has to tell or ask. */
struct conn_asked conn_events(struct conn *c);

/* The peer says no more: the engine is told, and what it still has to say goes out in ENDING. */
bool conn_end_of_input(struct conn *c, enum conn_event ev);
void conn_free(struct conn *c);

/* Each state's step: true when something has moved, so that another may follow in this wake-up. */
bool conn_step_plain(struct conn *c);
bool conn_step_handshake(struct conn *c);
bool conn_step_secure(struct conn *c);
bool conn_step_ending(struct conn *c);
bool conn_step_closing(struct conn *c);

/* Move the engine's output on its way; true when all of it has gone. last: a go-ahead for TLS, which nothing follows, so it
 * goes whatever the peer has not read yet. What an engine says when it closes waits like all else: the replies for a
 * thousand recipients are more than a stream holds. */
bool conn_pump_plain(struct conn *c, bool last);
bool conn_pump_secure(struct conn *c);

/* conn_handshake.c */
void conn_open_session(struct conn *c);
void conn_begin_handshake(struct conn *c);
uint64_t conn_handshake_deadline(const struct conn *c);
void conn_handshake_late(struct conn *c);

/* conn.c: its steps, now; it may be freed when this returns. */
void conn_wake(struct conn *c);

/* conn_judge.c: a handshake is complete; the first one before the engine is there, and then behind it. */
void conn_judge_early(struct conn *c);
void conn_judge_late(struct conn *c);

/* conn_users.c: a renegotiation has ended, within which its user may have changed. */
void conn_users_late(struct conn *c);

/* conn_close.c: what the peer gets now is the last. */
void conn_begin_close(struct conn *c);

/* --- conn_say.c: one line in the log that is about no failure; code is a stable word for machines --- */
const char *conn_peer_text(const struct conn *c, char out[ADDR_TEXT_MAX]);
void conn_say(const struct conn *c, enum log_level level, const char *code, const char *what);

#endif
