/* proc/conn_state.h - which state a connection may go to, from where and when, as a table.
 *
 * Pure: no clock, no socket, no memory. conn.c changes its state by conn_state_next() alone and does what that
 * says: `drops` is freed at once, and what the new state holds is made before the next step (asserted
 * there). So what the unit test shows for every sequence of events holds for the server. */
#ifndef PROC_CONN_STATE_H
#define PROC_CONN_STATE_H

#include <stdbool.h>

/* Where octets from the peer go. */
enum conn_input {
	CONN_IN_ENGINE,  /* as they are, to the engine */
	CONN_IN_TLS,     /* to the TLS session; what it decrypts to the engine, if there is one */
	CONN_IN_DISCARD, /* nowhere */
	CONN_IN_NOT,     /* not read at all */
};

/* Whose deadline runs. */
enum conn_clock {
	CONN_CLOCK_ENGINE,    /* the engine's: idle time */
	CONN_CLOCK_HANDSHAKE, /* handshake-timeout, first-flight-timeout */
	CONN_CLOCK_LINGER,    /* linger, since the last octet went out */
	CONN_CLOCK_NONE,      /* it is being freed */
};

/* X(name, input, clock) */
#define CONN_STATES(X)                                                                             \
	X(PLAIN, ENGINE, ENGINE)        /* an engine in plaintext */                               \
	X(HANDSHAKE, TLS, HANDSHAKE)    /* a TLS session without an engine */                      \
	X(SECURE, TLS, ENGINE)          /* an engine in a TLS session */                           \
	X(REHANDSHAKE, TLS, HANDSHAKE)  /* the same in a renegotiation: the engine waits */        \
	X(ENDING, NOT, LINGER)          /* the peer has ended its input; the engine speaks on */   \
	X(CLOSING, DISCARD, LINGER)     /* the last octets go out */                               \
	X(ENDED, NOT, NONE)             /* to be freed */

enum conn_state {
#define CONN_STATE_ENUM(name, input, clock) CONN_##name,
	CONN_STATES(CONN_STATE_ENUM)
#undef CONN_STATE_ENUM
	CONN_STATE_COUNT
};

#define CONN_EVENTS(X)                                                                             \
	X(UPGRADE)      /* the go-ahead of STARTTLS is on its way */                               \
	X(ESTABLISHED)  /* the handshake is complete and judged */                                 \
	X(RENEGOTIATE)  /* the peer wants a handshake anew, and may */                             \
	X(CLOSE_NOTIFY) /* the peer's orderly end of the TLS session */                            \
	X(END_OF_FILE)  /* the peer's end in plaintext */                                          \
	X(BYE)          /* the engine has said all, and our close_notify is written behind it */   \
	X(RESTART)      /* back to plaintext */                                                    \
	X(CLOSE)        /* what is on its way is the last; for whatever reason */                  \
	X(ABORT)        /* nothing more can be done or said */

enum conn_event {
#define CONN_EVENT_ENUM(name) CONN_EV_##name,
	CONN_EVENTS(CONN_EVENT_ENUM)
#undef CONN_EVENT_ENUM
	CONN_EVENT_COUNT
};

/* What a connection has. */
#define CONN_F_ENGINE   0x01u /* an engine */
#define CONN_F_TLS      0x02u /* a TLS session */
#define CONN_F_IDENTITY 0x04u /* the facts of a TLS session: verdict, names, identity */
#define CONN_F_INSIDE   0x08u /* the engine is one of a TLS session: it was told these facts */
#define CONN_F_HAS      (CONN_F_ENGINE | CONN_F_TLS | CONN_F_IDENTITY | CONN_F_INSIDE)
/* What has happened. */
#define CONN_F_CLEAN    0x10u /* the peer's close_notify has come */
#define CONN_F_BYE      0x20u /* our close_notify is written */
/* What never changes. */
#define CONN_F_STARTTLS 0x40u /* plaintext on this port may be upgraded */

struct conn_at {
	enum conn_state state;
	unsigned flags;
};

/* How a connection begins: in the handshake, or in plaintext with an engine. starttls: of a plaintext port. */
struct conn_at conn_state_start(bool implicit_tls, bool starttls);

/* Where the event leads; false: it is not allowed there (*to_out is not set). *drops_out: which of CONN_F_HAS is
 * given up, even where the new state has one of the same kind again. */
bool conn_state_next(struct conn_at at, enum conn_event ev, struct conn_at *to_out,
		     unsigned *drops_out);

enum conn_input conn_state_input(enum conn_state state);
enum conn_clock conn_state_clock(enum conn_state state);

/* "PLAIN", for messages. */
const char *conn_state_name(enum conn_state state);

#endif
