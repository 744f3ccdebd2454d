/* bench/client.h - one client of the line protocol as a state machine over a non-blocking socket. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "wire.h"

#define CLIENT_ROOM 1024 /* the longest reply that we expect */

/* Where a client stops and says so. */
enum client_goal {
	CLIENT_GREETED, /* in plaintext, greeting read */
	CLIENT_STALLED, /* STARTTLS accepted, a ClientHello begun and not ended */
	CLIENT_SECURE,  /* in TLS, its greeting read */
	CLIENT_CYCLE,   /* all of that, NOOP, close_notify both ways, end */
	CLIENT_TALK,    /* the cycle's round trips in plaintext: greeting, four NOOPs, end */
};

enum client_state { CLIENT_BUSY, CLIENT_THERE, CLIENT_FAILED };

enum client_phase {
	PHASE_GREETING,
	PHASE_STARTTLS,
	PHASE_STALL,
	PHASE_HANDSHAKE,
	PHASE_CAPABILITIES,
	PHASE_READY,
	PHASE_NOOP,
	PHASE_BYE,
};

struct client {
	struct wire wire;
	enum client_goal goal;
	enum client_phase phase;
	uint64_t begun_ns;
	const char *why; /* after CLIENT_FAILED */
	unsigned said; /* NOOPs of CLIENT_TALK */
	gnutls_datum_t session; /* of the connection before, where sessions are resumed; client_setup() */
	size_t have;
	char room[CLIENT_ROOM]; /* a reply until it is complete */
};

/* Once per process. pool: client certificates, each used once and then from the start; NULL: none. resume: each
 * client comes back with the newest ticket of its connection before; a full handshake is then a failure. */
void client_setup(uint16_t port, struct pki_pool *pool, bool resume);

/* Connects, from an address of its own in 127.0.0.0/8 by number, so that ports do not run out. */
enum client_state client_begin(struct client *c, unsigned number, enum client_goal goal);

/* The socket is readable. */
enum client_state client_step(struct client *c);

/* Sends NOOP; client_step() says CLIENT_THERE when the answer is there. After CLIENT_SECURE. */
enum client_state client_noop(struct client *c);

/* One octet more of the ClientHello that never ends; false: the server has closed. */
bool client_drip(struct client *c);

void client_end(struct client *c);

#endif
