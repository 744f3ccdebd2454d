/* bench/wire.h - what the clients of a measurement have below their protocol: a non-blocking socket, and TLS 1.3 on it.
 *
 * The server's certificate is not checked, since only the server is measured and the client shares its processors.
 * Functions that return a text return NULL, or what went wrong. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include "pki.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct wire {
	int fd;               /* -1: none */
	gnutls_session_t tls; /* NULL: plaintext */
	size_t cert;          /* which of the pool's certificates it shows */
};

/* Once per process. pool: client certificates, borrowed; NULL: none. */
void wire_setup(uint16_t port, const struct pki_pool *pool);

/* Connects, from an address of its own in 127.0.0.0/8 by number, so that ports do not run out. That it is connected is told
 * by the first octets that come. */
const char *wire_open(struct wire *w, unsigned number);

/* A session, whose handshake is the caller's; tickets: it asks for some. */
const char *wire_begin_tls(struct wire *w, bool tickets);

/* A ClientHello that never ends, and one octet more of it (false: the server has closed). */
const char *wire_stall(struct wire *w);
bool wire_drip(struct wire *w);

/* How many octets went, or came; 0: the end; or */
#define WIRE_LATER (-1)  /* nothing now */
#define WIRE_BROKEN (-2)
ssize_t wire_send(struct wire *w, const void *p, size_t n);
ssize_t wire_recv(struct wire *w, void *p, size_t n);

/* Whether octets wait that no socket will tell of. */
bool wire_pending(const struct wire *w);

void wire_close(struct wire *w);

#endif
