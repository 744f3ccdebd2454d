/* store/queue.h - all messages that are queued, in memory: envelope, a state for each recipient, what is due, who has it.
 *
 * What is durable is lines (store/record.h): of the journal, and of what a checkpoint found still there, a file for each message,
 * <queue id>.env, in which each line has its CRC behind it. This table is what all lines say together, in whatever order
 * the two are read and however often: a recipient's state only goes forward, by the number of its attempt. A message
 * whose recipients are all done is no more.
 *
 * Claims (leases) are here too, and only in memory: who holds a message is a pointer, and times come from the caller. Seconds are
 * since 1970, milliseconds of a clock that is never set. Does no I/O. Not thread safe. */
#ifndef STORE_QUEUE_H
#define STORE_QUEUE_H

#include "store/store_types.h"

#include "util/buf.h"
#include "util/span.h"

#include <sys/queue.h>

#define QUEUE_MAX (1u << 20)             /* messages */
#define QUEUE_OCTETS_MAX (1024ull << 20) /* of all envelopes in memory */
#define QUEUE_ENV_MAX (8u << 20)         /* octets of an .env: its lines are written anew long before */

struct queue;

struct queue_rcpt {
	char *address; /* owned, as all of these */
	char *params;
	char *reply;   /* of the last attempt; "" */
	enum store_rcpt_state state;
	uint32_t attempts;
	int64_t next;  /* STORE_RCPT_WAITING: not before */
	bool changed;  /* since it was last in an .env */
	/* by who writes records */
	uint32_t written_attempts; /* in records that are not yet durable */
	bool written_done;
};

/* Where the message itself is. Its engine's business. */
enum queue_in { QUEUE_IN_JOURNAL, QUEUE_IN_TMP, QUEUE_IN_FILE };
struct queue_body {
	enum queue_in in;
	uint32_t segment;
	uint64_t off;
	char file[40];
};

struct queue_entry {
	struct queue_entry *hash_next;
	uint64_t qid;
	int64_t received;
	uint64_t octets; /* of the message */
	char *sender, *params, *identity, *service;
	struct queue_rcpt *rcpts;
	uint32_t nrcpts, left; /* left: waiting */
	struct queue_body body;
	size_t memory;
	/* claims */
	const void *holder;  /* NULL: nobody, though it may be held back */
	uint64_t until_ms;   /* held; 0: not */
	unsigned pins;       /* records about it that are not yet durable */
	bool broken;         /* its message is gone: never due */
	size_t at[2];        /* in the heaps, from 1; 0: not in it */
	uint64_t key[2];
	/* checkpoints */
	TAILQ_ENTRY(queue_entry) dirty_next;
	bool dirty, saving;  /* in one of the lists */
	bool files;          /* there may be files of it */
	bool saved;          /* its .env is whole, but for what has changed */
	bool anew;           /* its .env is to be written anew beside the old one */
	uint64_t env_octets; /* of it */
};

/* NULL when out of memory. */
struct queue *queue_new(void);
void queue_free(struct queue **q);

/* The letter of a state, and the way back (STORE_RCPT_STATE_COUNT: none). */
char queue_state_letter(enum store_rcpt_state state);
enum store_rcpt_state queue_state(struct span letter);

/* May be an address, a service; may be parameters or a reply (any octets but NUL). */
bool queue_address_ok(struct span s);
bool queue_service_ok(struct span s);
bool queue_text_ok(struct span s, size_t max);

/* --- what lines say ------------------------------------------------------------------------------------------ */

/* Takes the lines of a transaction that are about the queue, others are skipped. segment, body: where its body is. 0; PT_ENOMEM;
 * PT_EPROTO: a message without all its recipients, or a line that cannot be: it is not taken. */
int queue_take(struct queue *q, struct span text, uint32_t segment, uint64_t body) PT_MUST_USE;

/* Takes an .env: all of its lines that are whole; *taken_out: octets in front of the first that is not. PT_EPROTO: the message and its
 * recipients are not whole, nothing is taken. The name says which message it is. Later lines of the journal may add to it
 * or know better. */
int queue_load(struct queue *q, uint64_t qid, struct span env, size_t *taken_out) PT_MUST_USE;

/* While the journal is read again: what it says is done may have files, also of messages that are not here. */
void queue_replaying(struct queue *q, bool on);
/* Right after that: whether it said so of that message. */
bool queue_replayed_gone(const struct queue *q, uint64_t qid);

/* --- messages ------------------------------------------------------------------------------------------------- */

struct queue_entry *queue_find(const struct queue *q, uint64_t qid);
size_t queue_count(const struct queue *q);
bool queue_full(const struct queue *q);

/* Each of them, in no order; f must change nothing. */
void queue_each(const struct queue *q, void (*f)(void *arg, const struct queue_entry *e), void *arg);

/* An id for a new one: above all that were ever seen here, and above all of earlier processes. */
uint64_t queue_id(struct queue *q, int64_t now);

/* --- claims --------------------------------------------------------------------------------------------------- */

/* A message with a recipient that is due, which nobody has: held from now on. NULL: there is none. */
struct queue_entry *queue_claim(struct queue *q, int64_t now, const void *holder, uint64_t until_ms);

/* Whether queue_claim() would find one; when the next will be due (INT64_MAX: none); when the next lease ends (UINT64_MAX). */
bool queue_due(const struct queue *q, int64_t now);
int64_t queue_due_next(const struct queue *q);
uint64_t queue_lease_next(const struct queue *q);

/* Holds it (longer): false when another has it. until_ms 0: no more. */
bool queue_hold(struct queue *q, struct queue_entry *e, const void *holder, uint64_t until_ms);
/* All of them are held back by nobody: those who had claimed some of the last process have not come back yet. */
void queue_hold_all(struct queue *q, uint64_t until_ms);
/* Whoever it was has gone. */
void queue_release(struct queue *q, const void *holder);
/* Leases that are over end. */
void queue_tick(struct queue *q, uint64_t now_ms);

/* A record about it is on its way: nobody gets it until that is known. */
void queue_pin(struct queue *q, struct queue_entry *e);
void queue_unpin(struct queue *q, uint64_t qid);

/* Its message cannot be read: nobody gets it any more. */
void queue_break(struct queue *q, struct queue_entry *e);

/* Whether that recipient is due now. */
bool queue_rcpt_due(const struct queue_rcpt *r, int64_t now);

/* --- checkpoints ---------------------------------------------------------------------------------------------- */

/* A checkpoint begins: what has changed until now will be given by queue_save_next(), one after the other: text_out gets its
 * lines, all of them, or (all_out false) those to be added at env_octets of its .env. NULL: that was all. */
void queue_save_begin(struct queue *q);
struct queue_entry *queue_save_next(struct queue *q, struct buf *text_out, bool *all_out);
/* It is in its files, as it was when it was given; octets: of its .env. Or (!ok) it is not, and will be given again. */
void queue_saved(struct queue *q, uint64_t qid, bool ok, bool all, uint64_t octets);
/* Messages that are done and may have files: the array is the caller's. n_out 0: none. */
uint64_t *queue_gone(struct queue *q, size_t *n_out);
/* They could not be removed: once more. Takes the array. */
void queue_gone_again(struct queue *q, uint64_t *list, size_t n);
/* Whether there is anything to do for a checkpoint. */
bool queue_dirty(const struct queue *q);

/* --- checks --------------------------------------------------------------------------------------------------- */

/* Whether it is done, and the next checkpoint removes its files. */
bool queue_going(struct queue *q, uint64_t qid);
/* Its .env is damaged, or missing: the next checkpoint writes it anew, beside what is there and then in its place. */
void queue_anew(struct queue *q, struct queue_entry *e);
/* It is forgotten, as if it had never been accepted; its files are the caller's. false: somebody has it just now. */
bool queue_drop(struct queue *q, struct queue_entry *e);

#endif
