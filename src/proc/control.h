/* proc/control.h - the process that writes the log and answers the postern command; shared by its files. */
#ifndef PROC_CONTROL_H
#define PROC_CONTROL_H

#include "conf/conf.h"
#include "proc/child.h"
#include "proc/table.h"
#include "rec/rec_ring.h"
#include "rec/why_limit.h"
#include "util/diag.h"

#include <jansson.h>

#include <sys/queue.h>

#define CONTROL_REQUEST_MAX 4096       /* octets of one request line */
#define CONTROL_REPLY_MAX (1024 * 1024) /* octets of one reply; 64 services' metrics fit */
#define CONTROL_CLIENTS_MAX 32
#define CONTROL_FOLLOWERS_MAX 8        /* clients that follow connections as they go */
#define CONTROL_ANSWER_RECORDS 10      /* connections told of in one answer */
#define CONTROL_TIMEOUT_MS 120000      /* a request and its answer (a reload loads every key) */

struct process_row { /* as the parent told us */
	TAILQ_ENTRY(process_row) next;
	struct msg_process p;
};

struct log_target {
	enum conf_log kind;
	enum conf_log_format format;
	int fd; /* -1: none yet */
};

#define CONTROL_STORE_TIMEOUT_MS 3600000 /* of a question to the store: a large mailbox may be read whole */

struct log_sender;
struct client;
struct store_question;

struct control {
	struct child child;
	struct conf *conf;
	uint64_t generation;
	struct log_target target;
	struct buf lines; /* for a file, while `together` */
	bool together;
	uint64_t log_dropped;
	bool reopen_asked;
	TAILQ_HEAD(, log_sender) senders;
	struct ev_timer log_timer, gather_timer;
	struct table *tables[TABLE_SLOTS_MAX];
	struct rec_mem *recs[TABLE_SLOTS_MAX]; /* of workers, to read; of TABLE_SLOT_PAST, to write */
	struct rec_writer *past;               /* what was worth keeping of workers that have ended */
	struct why_limit *why_limit;
	unsigned nfollowers;
	TAILQ_HEAD(, process_row) processes;
	uint8_t state;          /* enum proc_state of the whole */
	uint64_t started;       /* seconds of CLOCK_REALTIME */
	uint32_t pid;           /* of the parent */
	char config[1024];      /* its configuration file */
	char limitations[4096]; /* a line each */
	struct {                /* the last word on credential files; times in seconds since 1970, 0: never */
		uint64_t generation, done, failed;
		char why[DIAG_MAX];
	} cred;
	bool stopping;          /* ends when nobody sends log messages any more */
	int socket;             /* listening; -1: none */
	struct ev_io socket_io;
	uid_t owner;
	unsigned nclients;
	TAILQ_HEAD(, client) clients;
	uint32_t next_id;
	struct link *store;     /* NULL: there is none at present */
	LIST_HEAD(, store_question) questions; /* to it, not answered */
};

/* control_log.c */
void control_log_init(struct control *c);
int control_on_log_sender(void *self, void *peer, struct frame *f);
int control_on_log_target(void *self, void *peer, struct frame *f);
void control_log_flush(struct control *c); /* takes what senders have left, before the end */
void control_end_if_done(struct control *c); /* ends the process, once it is stopping */
void control_log_stop(struct control *c); /* ends the process when the last sender has gone */

/* control_client.c */
int control_on_socket(void *self, void *peer, struct frame *f);
int control_on_reloaded(void *self, void *peer, struct frame *f);

/* control_store.c: questions to the store. The answer comes once, an object with "ok" (a new reference, NULL when out of memory), perhaps
 * before the call returns; *q_out is NULL then. After control_store_forget() it does not come. */
typedef void control_store_cb(void *arg, json_t *answer);
int control_on_channel(void *self, void *peer, struct frame *f);
void control_store_ask(struct control *c, const json_t *o, bool may_change, struct store_question **q_out,
		       control_store_cb *cb, void *arg);
void control_store_forget(struct store_question **q);

/* control_status.c: the answer to "status" as JSON text, owned (free()); NULL when out of memory. */
char *control_status_text(const struct control *c);

/* One service's numbers, over all workers, those that have ended included. */
void control_sum_service(const struct control *c, const char *name, struct table_service *sum_out);

/* When the first of a service's lists, responses or certificates is out of date, seconds of the epoch, as workers of
 * the current generation know it; 0 when it has none. */
uint64_t control_end(const struct control *c, const char *name, enum table_end end);

/* A service's server certificates, as a worker of the current generation knows them; none: n is 0. */
void control_certs(const struct control *c, const char *name, struct table_certs *out);

/* control_rec.c: the flight recorders. */
int control_on_recorder(void *self, void *peer, struct frame *f);
int control_on_retire(void *self, void *peer, struct frame *f);
void control_rec_second(struct control *c);

/* Which connections a question is about. */
enum control_which { CONTROL_LAST, CONTROL_ID, CONTROL_ADDRESS, CONTROL_USER };
struct control_query {
	enum control_which which;
	uint64_t id;
	struct rec_addr peer; /* port 0: any */
	char user[REC_USER_MAX];
};
/* text: "last" (or NULL), an id, an address, or else a user. */
void control_query_parse(const char *text, struct control_query *q);
bool control_query_fits(const struct control_query *q, const struct rec *r);

/* Calls f for every place where a record may be; read_from and end: of the memory. f returns false to end it. */
typedef bool control_rec_f(void *arg, uint32_t slot, const struct rec_mem *m, unsigned index);
void control_rec_each(const struct control *c, control_rec_f *f, void *arg);

/* The answers to "trace" and "why": new references; NULL when out of memory. */
json_t *control_trace_answer(const struct control *c, const struct control_query *q);
json_t *control_why_answer(const struct control *c, const struct control_query *q);

/* control_follow.c: what has happened to connections since the last look. NULL when out of memory. */
struct follow;
struct follow *control_follow_new(const struct control *c, const struct control_query *q);
void control_follow_free(struct follow **f);
/* Appends a line of JSON for each connection with something new. *over_out: it was about one connection, and that is
 * closed. */
int control_follow_put(const struct control *c, struct follow *f, struct buf *out, bool *over_out) PT_MUST_USE;

/* control_metrics.c: all numbers as Prometheus text (format 0.0.4), appended to out. */
int control_metrics_put(const struct control *c, struct buf *out) PT_MUST_USE;

#endif
