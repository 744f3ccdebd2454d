/* proc/worker.h - the process that holds client connections; shared by the worker's own files. */
#ifndef PROC_WORKER_H
#define PROC_WORKER_H

#include "conf/conf.h"
#include "ev/ev.h"
#include "mail/normal.h"
#include "net/listen.h"
#include "net/stream.h"
#include "proc/auth_client.h"
#include "proc/child.h"
#include "proc/cred_kind.h"
#include "proc/domain.h"
#include "proc/table.h"
#include "proc/worker_store.h"
#include "proto/engine.h"
#include "proto/exec/exec_engine.h"
#include "proto/smtp/smtp_engine.h"
#include "rec/rec_ring.h"
#include "rec/why_limit.h"
#include "tls/tls_cred.h"
#include "tls/tls_session.h"
#include "tls/tls_ticket.h"

#include <sys/queue.h>

struct conn;
struct worker;

/* A service as this worker runs it. */
struct service {
	const struct conf_service *conf; /* borrowed from worker.conf */
	const struct engine_protocol *protocol;
	struct engine_conf engine_conf;
	struct exec_conf exec; /* of protocol exec; borrows from conf and the two arrays */
	struct exec_capability capabilities[EXEC_CAPABILITIES_MAX];
	struct smtp_conf smtp;       /* of the mail protocols */
	struct domains domains;      /* none when it has no TLS */
	struct table_service *count; /* our own counters */
};

struct listener {
	struct worker *worker;
	struct service *service;
	const struct conf_listen *conf;
	int fd;
	struct ev_io io;
};

/* When the server's certificates end (expiry.c). */
struct expiry;
struct expiries {
	struct expiry *list;
	size_t n;
};

/* A credential generation while its files come in, and one that somebody still uses (worker_cred.c). */
struct cred_load;
struct cred_held;

/* The keyholder as this worker sees it (worker_sign.c). */
struct signer {
	struct worker *worker;
	struct chan *chan; /* NULL: away */
	struct ev_io io;   /* to see its end */
	uint32_t next_id;
	uint64_t sick_until_ms; /* it did not answer in time: not asked again before */
};

/* A spawn process as this worker sees it (worker_spawn.c). */
struct spawner;
struct conn_program;

/* How much room a mailbox had; see conn_room.c. */
#define WORKER_ROOMS 256
struct room_known {
	char user[NORMAL_ADDRESS_MAX];
	uint64_t quota, octets, since_ms;
};

struct worker {
	struct child child;
	uint32_t slot;
	uint32_t pid;
	uint64_t generation;
	struct conf *conf;
	struct table *table;                    /* ours, writable */
	struct table *tables[TABLE_SLOTS_MAX];  /* all others, read only */
	unsigned ntables;                       /* highest slot + 1 */
	uint64_t seed;                          /* of address keys */
	bool has_ticket_master;
	uint8_t ticket_master[TLS_TICKET_MASTER_SIZE];
	struct service services[CONF_SERVICES_MAX];
	struct listener listeners[CONF_SERVICES_MAX * CONF_LISTEN_MAX];
	size_t nlisteners;
	bool accepting;
	bool accept_yielded;  /* the others have had their moment */
	unsigned accept_turns; /* since it last went to the end of the queue */
	uint64_t accept_full_ms; /* when descriptors last ran out; 0: it is over */
	struct ev_timer accept_timer;
	struct ev_timer second; /* once a second: title, handshakes near a limit */
	struct ev_timer stop_timer;
	bool dying;           /* stop_timer means the end, not the goodbye */
	uint64_t conns_peak; /* since memory was last given back */
	char title[96]; /* what it was last set to */
	struct cred_load *load;
	struct ev_timer load_timer;
	struct expiries expiries, expiries_staged;
	uint64_t cred_staged, cred_generation; /* 0: none; the one that new sessions get */
	TAILQ_HEAD(, cred_held) cred_held;
	struct signer signer;
	struct worker_store *store; /* away for good where the configuration has no mail folder */
	struct room_known rooms[WORKER_ROOMS];
	struct auth_client *auth; /* away for good where the configuration has no users */
	struct spawner *spawner; /* NULL: away, or not needed */
	uint32_t program_id;     /* the last one given */
	struct rec_mem *rec_mem;       /* NULL: the parent gave none */
	struct rec_writer *rec_writer; /* NULL: the recorder is off */
	struct why_limit *why_limit;   /* NULL: no memory, and so no limit */
	struct rec rec_scratch;        /* one record that is being put together */
	TAILQ_HEAD(conn_list, conn) conns;
	struct conn *judge_next; /* the next to be judged anew; NULL: none */
	struct ev_timer judge_timer;
	int64_t judge_s; /* when the clock makes it necessary, seconds since 1970 */
	TAILQ_HEAD(, conn) handshakes; /* in the order in which they began */
	uint64_t message_seed, messages; /* of ids: where they begin, and how many there were */
	struct stream_scratch scratch;
	uint8_t plain[TLS_RECORD_MAX]; /* one decrypted record */
};

/* worker_cred.c: rows of the rule table, and the end of a half-loaded generation. */
void worker_cred_init(struct worker *w);
int worker_on_cred_begin(void *self, void *peer, struct frame *f);
int worker_on_cred_file(void *self, void *peer, struct frame *f);
int worker_on_cred_end(void *self, void *peer, struct frame *f);
int worker_on_cred_commit(void *self, void *peer, struct frame *f);
int worker_on_cred_release(void *self, void *peer, struct frame *f);

/* expiry.c: one certificate directive of a generation (set: CRED_SET); it comes into use; once a second, what is to be
 * said of those in use */
void expiry_add(struct expiries *e, uint32_t set, const char *path, struct span chain);
void expiries_fini(struct expiries *e);
void worker_expiry_committed(struct worker *w);
void worker_expiry_second(struct worker *w);

/* conn_judge.c: all sessions are judged anew, a few at a time: when what they rest on has changed, and when a
 * certificate has expired. */
void judge_init(struct worker *w);
void judge_begin(struct worker *w);
void judge_second(struct worker *w); /* once a second */

/* ages.c: what all workers see is said by one of them: this one. The credential sets of all services have changed; once a
 * second, what is to be said of their revocation lists and OCSP responses */
bool worker_speaks(const struct worker *w);
void worker_ages_committed(struct worker *w);
void worker_ages_second(struct worker *w);

/* worker_sign.c */
void signer_init(struct signer *s, struct worker *w);
void signer_set(struct signer *s, int fd); /* takes fd; replaces the one before */
bool signer_available(const struct signer *s);
int signer_sign(void *arg, uint64_t generation, uint32_t key, uint32_t algorithm, bool hashed,
		struct span data, uint8_t *sig_out, size_t *len_out);

/* worker_spawn.c */
void spawner_set(struct worker *w, int fd); /* takes fd; new programs are asked for there */
void spawner_start(struct spawner *s, struct conn_program *p, uint32_t service, struct span environment);
void spawner_end(struct conn_program *p);

/* worker_accept.c */
void accept_start(struct worker *w);
void accept_stop(struct worker *w); /* for good: closes the listeners */
void accept_conn_gone(struct worker *w); /* a descriptor has become free */
void accept_second(struct worker *w, uint64_t now_ms); /* once a second */

/* Above 80 % of a limit that counts for this service. */
bool accept_is_crowded(const struct worker *w, const struct service *svc);

/* worker.c */
void worker_conn_gone(struct worker *w);

#endif
