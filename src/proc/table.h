/* proc/table.h - the table that each worker shares with the others: counters, and connections per
 * address, so that limits hold over all workers.
 *
 * One memfd per worker slot, made by the parent, sealed in size, mapped writable by that worker alone and
 * read-only by everyone else. A slot outlives its worker: when one has ended, however, the parent
 * clears the table before the next takes it. Counters are single words; the address part carries a
 * sequence number, so that a reader that meets a change tries again. */
#ifndef PROC_TABLE_H
#define PROC_TABLE_H

#include "tls/tls_verdict.h"
#include "util/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define TABLE_SLOTS_MAX 256       /* workers alive at once, those that drain included */
#define TABLE_SERVICES_MAX 64     /* = CONF_SERVICES_MAX */
#define TABLE_SERVICE_NAME_MAX 64 /* octets with the NUL; a longer name is cut */
#define TABLE_ADDR_SLOTS 32768    /* power of two, above the connections that one worker can hold */

/* Counters of one service in one worker. The first two are gauges: they go down again. */
#define TABLE_COUNTERS(X)                                                                          \
	X(connections, "now open")                                                                 \
	X(tls_sessions, "now in TLS")                                                                   \
	X(accepted, "connections accepted")                                                        \
	X(refused, "connections refused by a limit")                                               \
	X(handshakes, "TLS handshakes completed")                                                  \
	X(resumed, "TLS handshakes that resumed a session by its ticket")                          \
	X(chains_known, "TLS handshakes with a client chain that was verified before")             \
	X(tickets, "session tickets given out")                                                    \
	X(handshakes_failed, "TLS handshakes that failed or were not finished in time")            \
	X(injections, "octets behind STARTTLS")                                                    \
	X(truncated, "TLS sessions that ended without close_notify")                               \
	X(unavailable, "STARTTLS refused because the keyholder was away")                          \
	X(restarts, "returns to plaintext after close_notify")                                     \
	X(restarts_refused, "connections ended because they went back too often")                  \
	X(renegotiations, "renegotiations completed")                                              \
	X(renegotiations_refused, "renegotiations refused, or failed; each ends its connection")   \
	X(distrusted, "sessions ended because their certificate was not trusted any more")         \
	X(ousted, "sessions ended because their user was removed or has another password")         \
	X(key_update_floods, "connections ended because of too many key updates")                  \
	X(programs_started, "programs started")                                                    \
	X(programs_refused, "sessions that got no program")                                        \
	X(messages, "messages accepted")                                                           \
	X(messages_refused, "messages refused, cut off or given up after they had begun")          \
	X(recipients_refused, "recipients refused")                                                \
	X(senders_refused, "senders that were not the user's")                                     \
	X(logins, "logins by AUTH")                                                                \
	X(logins_failed, "logins by AUTH that failed")                                             \
	X(early_talkers, "clients that spoke before the greeting")                                 \
	X(octets_in, "octets received")                                                            \
	X(octets_out, "octets sent")

/* Why handshakes_failed was counted. */
#define TABLE_FAILURES(X)                                                                          \
	X(NO_HELLO, "no-hello")       /* no complete ClientHello in time */                        \
	X(TIMEOUT, "timeout")         /* not finished in time */                                   \
	X(CERTIFICATE, "certificate") /* the client certificate was refused, or is missing */      \
	X(ALERT, "alert")             /* the client ended it with an alert */                      \
	X(CLOSED, "closed")           /* the connection ended */                                   \
	X(SIGNATURE, "signature")     /* the keyholder did not sign */                             \
	X(ALPN, "alpn")               /* the client wants another protocol (RFC 7301) */           \
	X(PROTOCOL, "protocol")       /* anything else that TLS does not allow */

enum table_failure {
#define TABLE_FAILURE_ENUM(name, word) TABLE_FAILURE_##name,
	TABLE_FAILURES(TABLE_FAILURE_ENUM)
#undef TABLE_FAILURE_ENUM
	TABLE_FAILURE_COUNT
};

/* When the first of a service's ... is out of date. */
#define TABLE_ENDS(X)                                                                              \
	X(CRL, "crl_next_update", "when the first revocation list should be renewed")              \
	X(OCSP, "ocsp_next_update", "when the first OCSP response is out of date")

enum table_end {
#define TABLE_END_ENUM(name, word, help) TABLE_END_##name,
	TABLE_ENDS(TABLE_END_ENUM)
#undef TABLE_END_ENUM
	TABLE_END_COUNT
};

/* Kinds of completed handshakes, each with its own histogram. */
#define TABLE_KINDS(X)                                                                             \
	X(FULL, "full")                                                                            \
	X(FULL_CERT, "full-certificate")                                                           \
	X(RESUMED, "resumed")                                                                      \
	X(RESUMED_CERT, "resumed-certificate")

enum table_kind {
#define TABLE_KIND_ENUM(name, word) TABLE_KIND_##name,
	TABLE_KINDS(TABLE_KIND_ENUM)
#undef TABLE_KIND_ENUM
	TABLE_KIND_COUNT
};

/* Upper ends of the buckets in us; the last bucket has none. */
#define TABLE_BUCKETS_US                                                                           \
	{ 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 5000000 }
#define TABLE_BUCKETS 13

struct table_histogram {
	_Atomic uint64_t buckets[TABLE_BUCKETS]; /* not cumulative */
	_Atomic uint64_t sum_us;
};

#define TABLE_CERTS_MAX 16      /* server certificates of a service; of more, those that end first */
#define TABLE_CERT_FILE_MAX 120 /* octets of a path with the NUL; of a longer one, its end */

/* A server certificate, and when the first of its chain ends, seconds since 1970. */
struct table_cert {
	char file[TABLE_CERT_FILE_MAX];
	uint64_t not_after;
};

struct table_certs {
	uint32_t n;
	struct table_cert list[TABLE_CERTS_MAX];
};

struct table_service {
	char name[TABLE_SERVICE_NAME_MAX];
#define TABLE_COUNTER_MEMBER(name, help) _Atomic uint64_t name;
	TABLE_COUNTERS(TABLE_COUNTER_MEMBER)
#undef TABLE_COUNTER_MEMBER
	/* seconds of the epoch; 0: it has none. Not sums: they belong to the worker's generation */
	_Atomic uint64_t ends[TABLE_END_COUNT];
	/* nor is this; certs_seq is odd while the worker changes it */
	_Atomic uint32_t certs_seq;
	struct table_certs certs;
	_Atomic uint64_t failures[TABLE_FAILURE_COUNT];
	_Atomic uint64_t verdicts[TLS_VERDICT_COUNT]; /* of completed handshakes */
	struct table_histogram handshake_us[TABLE_KIND_COUNT];
};

struct table_addr {
	uint64_t key; /* 0: free */
	uint32_t count;
	uint32_t unused;
};

struct table {
	_Atomic uint32_t pid; /* 0: the slot is free */
	_Atomic uint32_t state; /* enum proc_state */
	_Atomic uint64_t generation;
	_Atomic uint64_t credentials; /* the credential generation that new sessions get */
	_Atomic uint64_t connections;
	_Atomic uint64_t accepted;
	_Atomic uint32_t nservices;
	_Atomic uint32_t addr_seq; /* odd while the worker changes addrs */
	struct table_service services[TABLE_SERVICES_MAX];
	struct table_addr addrs[TABLE_ADDR_SLOTS];
};

/* A new sealed memfd of the right size. */
int table_create(int *fd_out) PT_MUST_USE;

/* A read-only descriptor of the same memory, to be passed to readers. */
int table_reader_fd(int fd, int *fd_out) PT_MUST_USE;

/* Maps it; NULL when that fails or the size is wrong. fd is borrowed. */
struct table *table_map(int fd, bool writable);
void table_unmap(struct table **t);

/* The slot that no worker has: what ended workers have counted is added up there, by the parent. */
#define TABLE_SLOT_PAST (TABLE_SLOTS_MAX - 1)

/* The certificates of a service, by its worker; and a copy of them, by others: false when they are just being
 * changed, again and again. */
void table_certs_put(struct table_service *s, const struct table_certs *certs);
bool table_certs_get(const struct table_service *s, struct table_certs *out) PT_MUST_USE;

/* Adds one certificate: file by its end, if it is too long; when there is no room, in place of the one that ends
 * last, if that ends later. */
void table_certs_add(struct table_certs *certs, const char *file, uint64_t not_after);

/* Adds one service's numbers to another's, gauges too. */
void table_service_add(struct table_service *to, const struct table_service *from);

/* Counts one value. */
void table_histogram_add(struct table_histogram *h, uint64_t us);

/* "no-hello", and "full". Static storage. */
const char *table_failure_name(enum table_failure f);
const char *table_kind_name(enum table_kind k);

/* Adds the counters of an ended worker (not its gauges) to past's, by service name. A service that finds no
 * room there is left out. */
void table_retire(struct table *past, const struct table *t);

/* Empties it; only while no worker has it. */
void table_clear(struct table *t);

/* One connection more or less from an address. key: from table_addr_key(). add: PT_EFULL when the
 * table is full. sub of a key that is not there is our bug. */
int table_addr_add(struct table *t, uint64_t key) PT_MUST_USE;
void table_addr_sub(struct table *t, uint64_t key);

/* Connections counted for the key; a table that changes all the time counts as 0 (the next connection is
 * counted again). */
uint32_t table_addr_count(const struct table *t, uint64_t key);

/* Key of an address at a service, never 0. seed: random, the same in all workers. */
uint64_t table_addr_key(uint64_t seed, const char *service, const uint8_t addr[16]);

#endif
