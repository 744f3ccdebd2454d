/* proc/conn_count.h - what happened to a TLS handshake, as numbers in the worker's table. */
#ifndef PROC_CONN_COUNT_H
#define PROC_CONN_COUNT_H

#include "proc/table.h"
#include "tls/tls_session.h"

/* A completed handshake: verdict is what the session goes on with (unmapped included), us the time since
 * it began. */
void conn_count_handshake(struct table_service *t, const struct tls_facts *facts, enum tls_verdict verdict,
			  uint64_t us);

/* A handshake that ended with a failure of its own, or (f NULL) by its deadline. */
void conn_count_failure(struct table_service *t, const struct tls_failure *f, bool hello_seen);

#endif
