/* store/store.h - the client's side of the store: what workers and other processes ask of it.
 *
 * The store process owns everything durable: mailboxes, queue, keys and values. This library collects a
 * request, sends it over a channel and runs a callback when the answer is there; it never waits, opens
 * no file and knows no clock. Bodies up to STORE_BODY_MAX travel in frames, beyond
 * in a file of the store's that the caller's process may only write to.
 *
 * A transaction carries a random id. When the store process dies, all that was sent and not answered is
 * sent again to its successor by store_attach(), and the id makes repeating harmless: an answer is
 * always the outcome of exactly one execution.
 *
 * User and mailbox names are checked by the store; an empty name, one with '/' or NUL, and one that is too
 * long are STORE_INVALID. Mailbox names are UTF-8, separated by '.'; INBOX is the one that always
 * exists. Not thread safe: one struct store belongs to one event loop. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "store/store_types.h"

#include "util/err.h"
#include "util/span.h"

struct store;
struct store_blob;
struct store_txn;
struct store_view;
struct store_watch;

/* A message that was claimed, and its recipients that are due. Borrowed like all of an answer. */
struct store_claimed_rcpt {
	uint32_t number;
	uint32_t attempts; /* so far: the next is attempts + 1 */
	const char *address;
	struct span params;
	struct span reply; /* of the last attempt */
};

struct store_claimed {
	uint64_t qid;
	int64_t received; /* seconds since 1970 */
	uint64_t size;
	const char *sender; /* "": the null one */
	struct span params;
	const char *identity, *service;
	const struct store_claimed_rcpt *rcpts;
	size_t nrcpts;
	int fd; /* the message, for reading only, with pread; taken by setting it to -1, else closed */
};

/* An answer. What it points to is borrowed until the callback returns. */
struct store_reply {
	uint64_t id;          /* the id that the store gave: of a message put in the queue, its queue id */
	uint32_t uidvalidity; /* of the mailbox that messages went to */
	struct span uids;     /* theirs, in order, as a set: "12", "12:14,20"; of the first store_txn_copy() too */
	struct span sources;  /* store_txn_copy(): the UIDs they had, in the same order */
	uint64_t modseq;      /* of the mailbox, after it */
	struct span text;     /* for people: what was wrong; empty when nothing was */
	struct span value;    /* store_get() */
	uint64_t version;     /* store_get(): to be expected by store_txn_put() */
	int fd;               /* store_fetch(): the message; taken by setting it to -1 here, else closed */
	uint64_t size;        /* store_fetch(): its octets; store_room() */
	struct store_view *view; /* store_view_open(): owned by the caller from now on */
	const struct store_box *boxes; /* store_boxes() */
	size_t nboxes;
	struct store_claimed *claimed; /* store_claim() */
	size_t nclaimed;
};

/* rc is STORE_OK or says why not; r is never NULL. May call every function of this file but store_free()
 * and store_dispatch(). */
typedef void store_cb(void *arg, enum store_rc rc, struct store_reply *r);

/* --- connection ------------------------------------------------------------------------------------- */

/* Not attached: what is asked waits. NULL when out of memory. */
struct store *store_new(void);

/* All callbacks that wait are called with STORE_UNKNOWN (a commit that may have been sent) or STORE_TEMP. */
void store_free(struct store **s);

/* A channel to the store process (taken): at start, and a new one each time the process has been started
 * again. What was not answered is sent again; bodies that lay in a file of the old one fail with
 * STORE_TEMP unless their transaction was already done. Views go on: store_view_next() says what is different. Where another mailbox
 * has the name by now, a view is gone, and what is asked of it is refused: UIDs are others there. */
void store_attach(struct store *s, int fd);

/* The channel: -1 while there is none. Watch it for reading, and for writing while store_wants_write(). */
int store_fd(const struct store *s);
bool store_wants_write(const struct store *s);

/* The channel is ready: sends what waits, runs callbacks. At most 64 frames, then others have a turn (the
 * descriptor stays ready). 0; PT_EEOF when the process is gone, PT_EPROTO when it sent nonsense: the
 * channel is closed then, and all waits for store_attach(). */
int store_dispatch(struct store *s) PT_MUST_USE;

/* Requests that wait for an answer. */
size_t store_pending(const struct store *s);

/* Whether there is a channel at present. A caller that does not want to wait looks before it asks. */
bool store_attached(const struct store *s);

/* --- a body that is being received ----------------------------------------------------------------- */

/* size_hint: octets that are expected, 0 when not known; above STORE_BODY_MAX a file is asked for at once.
 * NULL when out of memory or descriptors. */
struct store_blob *store_blob_new(struct store *s, uint64_t size_hint);

/* Adds octets. 0; PT_EAGAIN: nothing taken, the store's file is not there yet (store_blob_ready() tells);
 * PT_ETOOBIG above STORE_MESSAGE_MAX, PT_EFULL when the disk is, PT_EUNAVAIL when the file was lost with the
 * store process or refused (answer 451), PT_EIO. After any but PT_EAGAIN the body is of no use. */
int store_blob_write(struct store_blob *b, const void *p, size_t n) PT_MUST_USE;

/* Called once when a write that got PT_EAGAIN may be tried again. */
void store_blob_ready(struct store_blob *b, void (*ready)(void *arg), void *arg);

uint64_t store_blob_size(const struct store_blob *b);

/* A body may be used by any number of store_txn_add() of transactions, which keep what they need: it may be freed
 * when the last is committed, or earlier to throw it away. NULL is fine; sets the pointer to NULL. */
void store_blob_free(struct store_blob **b);

/* --- a transaction: collected here, sent whole, done whole or not at all -------------------------- */

struct store_txn *store_txn_new(struct store *s); /* NULL when out of memory */

/* Every one of these: 0, PT_EINVAL for a name or set that cannot be, PT_ETOOBIG beyond STORE_TXN_*_MAX,
 * PT_ENOMEM. What is wrong is remembered: store_commit() then answers STORE_INVALID. */

/* A message for a mailbox; once for each recipient. user: an address in lower case. box NULL: INBOX, which is
 * made when the user has none yet; another box must exist. flags NULL: none (a message nobody has
 * seen). date: internal date, seconds since 1970, 0: now. quota: octets that the user's mailboxes may have in all, 0: no
 * limit; the store remembers it for copies. STORE_NO_QUOTA: this message is taken whatever there is. */
int store_txn_add(struct store_txn *t, const char *user, const char *box, struct store_blob *b,
		  const struct store_flags *flags, int64_t date, uint64_t quota);

/* Messages of a view into another mailbox of its user; move: and out of the view, in the same moment. */
int store_txn_copy(struct store_txn *t, struct store_view *v, struct span uids, const char *box,
		   bool move);

/* Flags of messages. unchangedsince: those with a higher MODSEQ stay as they are and are listed in the answer's
 * `uids`, with STORE_CONFLICT if there is one (the others are changed); UINT64_MAX: all. */
int store_txn_flags(struct store_txn *t, struct store_view *v, struct span uids, enum store_flag_op op,
		    const struct store_flags *flags, uint64_t unchangedsince);

/* Removes those of the set that are \Deleted. */
int store_txn_expunge(struct store_txn *t, struct store_view *v, struct span uids);

/* to: the new name of STORE_BOX_RENAME, otherwise NULL; those below get theirs, and one that is taken refuses all.
 * What makes or deletes a mailbox has no other part about it but subscriptions; a rename is alone. */
int store_txn_box(struct store_txn *t, const char *user, enum store_box_op op, const char *name,
		  const char *to);

/* A value of a key; NULL: gone. expect: the version it must have now (0: must not be there), or
 * STORE_ANY_VERSION; otherwise STORE_CONFLICT (STORE_EXISTS for 0) and nothing is done. ttl_s: seconds until
 * it is forgotten, at most STORE_TTL_MAX_S; 0: never. */
int store_txn_put(struct store_txn *t, const char *space, const char *key, const struct span *value,
		  uint64_t expect, uint32_t ttl_s);

/* The transaction is taken. The callback runs when all of it is durable: then it is seen by everyone who asks,
 * and a view that it touches has already got the change (store_view_next()). When it runs with anything
 * but STORE_OK or a partial STORE_CONFLICT nothing was done; STORE_UNKNOWN: only from store_free(). */
void store_commit(struct store_txn **t, store_cb *cb, void *arg);
void store_txn_free(struct store_txn **t);

/* --- reading ---------------------------------------------------------------------------------------- */

/* All mailboxes of a user with their counts, and subscribed names that do not exist. */
void store_boxes(struct store *s, const char *user, store_cb *cb, void *arg);

/* How many octets more the user may have where his mailboxes may have `quota` (not 0) in all: r->size. Others may be faster:
 * a commit decides. */
void store_room(struct store *s, const char *user, uint64_t quota, store_cb *cb, void *arg);

/* A mailbox as it is, followed from now on. change (may be NULL) is called when store_view_next() has
 * something to say. STORE_NOTFOUND when there is no such mailbox; INBOX is made when it is not there yet. */
void store_view_open(struct store *s, const char *user, const char *box, void (*change)(void *arg),
		     store_cb *cb, void *arg);

/* The next change, in order; false: none. Only this moves the view on: at a sync point (RFC 3501 §5.2) call it
 * until it says false. */
bool store_view_next(struct store_view *v, struct store_change *change_out);

/* The messages as of the last store_view_next(): ascending by UID; borrowed until the next. */
size_t store_view_count(const struct store_view *v);
const struct store_msg *store_view_msg(const struct store_view *v, uint32_t seq); /* seq from 1; NULL: none */
uint32_t store_view_seq(const struct store_view *v, uint32_t uid); /* 0: none */
struct store_status store_view_status(const struct store_view *v);

/* The name of keyword n (0 to STORE_KEYWORDS_MAX - 1), NULL: none. Borrowed as above. */
const char *store_view_keyword(const struct store_view *v, unsigned n);

/* The message's GUID: 32 hexadecimal digits and NUL. PT_ENOENT; PT_EIO. */
int store_view_guid(const struct store_view *v, uint32_t uid, char guid_out[33]) PT_MUST_USE;

void store_view_close(struct store_view **v);

/* A descriptor of the message, CRLF throughout, to be read with pread. STORE_NOTFOUND when it is gone. */
void store_fetch(struct store_view *v, uint32_t uid, store_cb *cb, void *arg);

/* A key's value and version. STORE_NOTFOUND. */
void store_get(struct store *s, const char *space, const char *key, store_cb *cb, void *arg);

/* --- the queue: messages that go to other hosts ----------------------------------------------------------- */

/* A message for the queue. Strings are borrowed. What must be known of it or of a recipient for the transport (RFC 3461, 1870,
 * 6531) is the caller's own text, anything but NUL, at most STORE_PARAMS_MAX octets. */
struct store_envelope {
	const char *sender;   /* at most STORE_ADDRESS_MAX octets; "": the null one */
	struct span params;
	const char *identity; /* who sent it; "": nobody who is known */
	const char *service;  /* through which it came; at most STORE_SERVICE_MAX octets */
	int64_t due;          /* first attempt, seconds since 1970; 0: now */
	const struct store_envelope_rcpt {
		const char *address;
		struct span params;
	} *rcpts;
	size_t nrcpts;        /* 1 to STORE_RCPTS_MAX: they are numbered from 0 */
};

/* The message goes into the queue; one for each transaction, whose answer has its queue id. STORE_FULL when there are too
 * many. Results as of the other parts. */
int store_txn_queue(struct store_txn *t, const struct store_envelope *e, struct store_blob *b);

/* What attempt number `attempt` (from 1) came to for a recipient: state, and for STORE_RCPT_WAITING when the next is due. reply:
 * what the other side said, at most STORE_OUTCOME_MAX octets, none NUL. Saying it again changes nothing: the first word about
 * an attempt stands, but a delivery counts whenever it is said. When the last recipient is no longer waiting the message is
 * removed; STORE_NOTFOUND: that has happened. */
int store_txn_outcome(struct store_txn *t, uint64_t qid, uint32_t rcpt, uint32_t attempt,
		      enum store_rcpt_state state, int64_t next, struct span reply);

/* Messages with recipients that are due: at most max (1 to STORE_CLAIM_MAX), each for nobody else until store_hold() gives it back,
 * our channel ends for another reason than the store's, or lease_s seconds (1 to STORE_LEASE_MAX_S) have passed. When the store
 * process is another one the claims go on. One at a time: STORE_TEMP. */
void store_claim(struct store *s, unsigned max, uint32_t lease_s, store_cb *cb, void *arg);

/* Keeps a claimed message for lease_s seconds from now. 0: gives it back, which everyone who has claimed one must do in the end,
 * after the answer to the last store_txn_outcome(). */
void store_hold(struct store *s, uint64_t qid, uint32_t lease_s);

/* --- hearing of changes ----------------------------------------------------------------------------------- */

/* Hear of every key of a space that is put or removed from now on, once that is durable; of our own changes too, and not of
 * keys that expire. key empty: any may have changed, look at those that matter; said at the beginning and each time the store
 * process was another one meanwhile. key is borrowed. May end its own watch, but call neither store_free()
 * nor store_dispatch(). */
typedef void store_watch_cb(void *arg, struct span key, uint64_t version);
struct store_watch *store_watch(struct store *s, const char *space, store_watch_cb *cb, void *arg); /* NULL: out of memory */

/* Hear, without a key, when something in the queue is due that nobody has; once, and again after the next store_claim(). */
struct store_watch *store_watch_queue(struct store *s, store_watch_cb *cb, void *arg);

/* No more of it. NULL is fine; sets the pointer to NULL. */
void store_unwatch(struct store_watch **w);

#endif
