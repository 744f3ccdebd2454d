/* proc/conn_rec.h - a connection and the flight recorder: its steps, and what went wrong with it, said once in the
 * log and kept where "postern why" finds it. For the files of a connection, and for who refuses one.
 *
 * With the recorder off, or when a connection's record had to make room for another's, steps are lost and nothing
 * else: what a sentence needs is in the connection and its session, and is put together when something fails. */
#ifndef PROC_CONN_REC_H
#define PROC_CONN_REC_H

#include "proc/worker.h"
#include "rec/why.h"

struct conn;

/* What a connection keeps for it. */
struct conn_rec {
	struct rec_ref ref;
	uint64_t start_us;  /* CLOCK_REALTIME */
	uint64_t accept_us; /* ev_now_us() */
	uint16_t code;      /* enum why_code, as it was told; 0: nothing is wrong */
	uint8_t kind;       /* enum why_kind, of that code */
	uint8_t plain_first, tls_first; /* enum rec_octets */
	uint8_t cause;      /* enum rec_cause of an end in plaintext that is judged when it is over */
	uint16_t flags;     /* REC_F_SECURED, REC_F_NEEDS_TLS, REC_F_AMBIGUOUS, REC_F_CROWDED */
	uint16_t restarts, renegotiations, tickets;
	uint8_t verdict;    /* enum tls_verdict of the session, unmapped included */
};

/* Accepted: everything that was before the first octet must be set in c. */
void conn_rec_open(struct conn *c);

/* It is over; the last that is said of it. */
void conn_rec_close(struct conn *c);

void conn_rec_step(struct conn *c, enum rec_step_kind kind, enum rec_way way);

/* The program behind it has ended: by a signal, or (signal 0) with that exit code. */
void conn_rec_program(struct conn *c, uint32_t code, uint32_t signal);

/* For struct tls_transport: arg is the connection. */
void conn_rec_message(void *arg, const struct tls_step *step);

/* The first octets of a phase; later ones are not looked at. */
void conn_rec_first(struct conn *c, bool tls, struct span in);

/* A session is established and judged: verdict with unmapped, user NULL when nobody is logged in. Tells what the
 * certificate or the ticket did not do. */
void conn_rec_established(struct conn *c, enum tls_verdict verdict, const char *user);

/* Something is wrong. Judged, told, kept: once for a connection, unless what comes later weighs more. Call it while
 * the session is there. conn_fault_n(): with a number that was allowed, and the time in which it was. */
void conn_fault(struct conn *c, enum rec_cause cause);
void conn_fault_n(struct conn *c, enum rec_cause cause, uint64_t number, uint64_t window_ms);

/* A connection that was refused before it was one. number: the limit. */
void conn_rec_refused(struct listener *l, const union addr *peer, socklen_t len, enum rec_cause cause,
		      uint64_t number);

/* Once a second: tells how many lines the log has left out. */
void conn_rec_second(struct worker *w, uint64_t now_ms);

#endif
