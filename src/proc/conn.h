/* proc/conn.h - the life of one client connection (design: greeting, plaintext, upgrade, handshake,
 * judged, secure, closing). The one place where stream, TLS session and engine meet. */
#ifndef PROC_CONN_H
#define PROC_CONN_H

#include "proc/worker.h"

#define CONN_LINGER_OCTETS (256 * 1024) /* discarded at most from a peer that we have said goodbye to */
#define CONN_TURNS_MAX 64               /* steps in one wake-up; then the others get their turn */

#define CONN_STATES(X)                                                                             \
	X(PLAIN)     /* an engine in plaintext */                                                  \
	X(HANDSHAKE) /* a TLS session without an engine */                                         \
	X(SECURE)    /* an engine in a TLS session */                                              \
	X(CLOSING)   /* the last octets go out, what comes in is discarded */                      \
	X(ENDED)     /* to be freed */

enum conn_state {
#define CONN_STATE_ENUM(name) CONN_##name,
	CONN_STATES(CONN_STATE_ENUM)
#undef CONN_STATE_ENUM
};

/* A connection that was accepted (fd is taken) and counted in nothing yet. key: of its address. NULL when
 * out of memory (fd is closed then). Greets at once. */
struct conn *conn_new(struct worker *w, struct listener *l, int fd, const union addr *peer,
		      socklen_t peer_len, uint64_t key);

/* Says goodbye in the protocol's words and closes; a handshake under way just ends. May free c. */
void conn_goodbye(struct conn *c);

/* The next in the worker's list; NULL: none. */
struct conn *conn_next(struct conn *c);

/* A handshake that began before the given time has had enough; for crowded moments. Handshakes are
 * looked at in the order in which they began. */
void conn_sweep_handshakes(struct worker *w, uint64_t now_ms);

#endif
