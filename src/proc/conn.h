/* proc/conn.h - the life of one client connection: greeting, plaintext, upgrade, handshake, judged, secure,
 * back to plaintext, closing. The one place where stream, TLS session and engine meet. */
#ifndef PROC_CONN_H
#define PROC_CONN_H

#include "proc/auth_wire.h"
#include "proc/conn_state.h"
#include "proc/worker.h"

#define CONN_LINGER_OCTETS (256 * 1024) /* discarded at most from a peer that we have said goodbye to */
#define CONN_TURNS_MAX 64               /* steps in one wake-up; then the others get their turn */
#define CONN_TOGETHER 1024               /* octets of replies that wait for the next commands that are there already */

#define CONN_PARKED_MS (60 * 1000)      /* a connection that waits for auth or the store is looked at that often */

/* Key updates that one connection may send; more is no use of them but work for us. (A record of TLS 1.3 takes
 * 2^24 GiB before a key is worn out; GnuTLS itself refuses more than 8 in a second.) */
#define CONN_KEY_UPDATES_MAX 10
#define CONN_KEY_UPDATES_WINDOW_MS (10 * 1000)

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

/* conn_users.c: what has become of users, as auth tells it (auth_client_new()). arg: the worker. */
void conn_users_ousted(void *arg, enum auth_change what, struct span users);

#endif
