/* proc/conn_impl.h - what the files of a connection share; nobody else includes it. */
#ifndef PROC_CONN_IMPL_H
#define PROC_CONN_IMPL_H

#include "proc/conn.h"
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

struct conn {
	TAILQ_ENTRY(conn) all;
	TAILQ_ENTRY(conn) handshakes;
	struct worker *worker;
	struct service *service;
	const struct conf_listen *listen;
	struct conn_at at;
	bool shut;          /* our side of the socket is closed */
	bool inside;        /* the engine is one of the TLS session */
	bool watched;       /* counted in tls_sessions */
	uint8_t peer[sizeof(struct sockaddr_in6)];
	uint64_t key;
	uint64_t since_ms;    /* of this state */
	uint64_t handshake_us; /* when the handshake began */
	uint64_t deadline_ms; /* of this state, or the engine's */
	uint64_t timer_ms;    /* when the timer fires; 0: not set */
	size_t discarded;
	struct engine *engine;
	struct tls_session *tls;
	struct secure *secure;
	struct buf plain; /* decrypted and not taken by the engine */
	struct rate restarts, renegotiations, key_updates; /* of all sessions of this connection */
	unsigned key_updates_seen; /* of this session */
	struct stream stream;
	struct ev_io io;
	struct ev_timer timer;
};

/* conn_say.c: one line in the log, with service and peer; code is a stable word for machines. */
void conn_say(const struct conn *c, enum log_level level, const char *code, const char *what);
void conn_say_handshake_failed(const struct conn *c);
void conn_say_session_failed(const struct conn *c);

#endif
