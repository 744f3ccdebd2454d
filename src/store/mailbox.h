/* store/mailbox.h - what makes mail of logs and blobs: UIDs, MODSEQ, flags, keywords, quota, views. Once, for every engine.
 *
 * Mailboxes that are in use are in memory, with what has been committed and is not yet applied. A transaction is looked at as a whole (all its mailboxes loaded, all checks made), then becomes a record
 * (store/record.h), in one go: nothing else happens in between, so numbers need no lock. When the engine
 * refuses the record, the mailboxes it touched are read again. One thread; callbacks as in backend.h. */
#ifndef STORE_MAILBOX_H
#define STORE_MAILBOX_H

#include "store/backend.h"
#include "store/kv.h"

struct mailboxes;
struct mailbox;
struct mb_view;

struct mailboxes_conf {
	const char *host; /* for names; borrowed */
	/* Limits of a user: octets and messages, 0: none. NULL: nobody has one. */
	void (*quota)(void *arg, const char *user, uint64_t *octets_out, uint64_t *messages_out);
	void *quota_arg;
	struct queue *queue;    /* borrowed, the engine's; NULL: nothing can be queued */
	int64_t (*clock)(void); /* seconds since 1970; NULL: the system's. For tests */
	uint64_t (*clock_ms)(void); /* monotonic; the same */
};

/* be is borrowed; its `touched` becomes ours. kv is what its keys are. NULL when out of memory. */
struct mailboxes *mailboxes_new(struct store_backend *be, struct kv *kv, const struct mailboxes_conf *conf);

/* What waits is answered with STORE_TEMP. The engine has been closed before. */
void mailboxes_free(struct mailboxes **mbs);

/* Once after a number of requests: makes them durable. */
void mailboxes_flush(struct mailboxes *mbs);

/* Returns when to call again, in ms. */
uint64_t mailboxes_tick(struct mailboxes *mbs, uint64_t now_ms);

/* --- transactions ---------------------------------------------------------------------------------------- */

enum mb_op_kind { MB_ADD, MB_COPY, MB_FLAGS, MB_EXPUNGE, MB_BOX, MB_PUT, MB_QUEUE, MB_OUTCOME };

/* A message for the queue. Strings are owned. */
struct mb_queued {
	char *sender, *params, *identity, *service;
	int64_t due; /* the first attempt; 0: now */
	struct mb_queued_rcpt { char *address, *params; } *rcpts;
	uint32_t nrcpts, cap;
};

/* What an attempt came to, for one recipient. */
struct mb_outcome {
	uint64_t qid;
	uint32_t rcpt, attempt;
	enum store_rcpt_state state;
	int64_t next; /* STORE_RCPT_WAITING: of the next attempt */
	char *reply;  /* owned */
	bool pinned, marked; /* private */
};

struct mb_op {
	enum mb_op_kind kind;
	char user[STORE_USER_MAX + 1];
	char key[STORE_BOX_MAX + 1];   /* mailbox; COPY, FLAGS, EXPUNGE: of the messages */
	char key2[STORE_BOX_MAX + 1];  /* COPY: where to; BOX: new name */
	/* ADD, QUEUE */
	int body;                      /* index of txn.bodies; -1: a file */
	char file[64];
	uint64_t octets;
	int64_t date;
	uint64_t quota;                /* octets that the user may have, 0: what mailboxes_conf says */
	bool has_flags;                /* ADD: otherwise nobody has seen it */
	/* ADD, FLAGS */
	uint32_t flags;
	char (*keywords)[STORE_KEYWORD_MAX + 1]; /* owned */
	unsigned nkeywords;
	enum store_flag_op flag_op;
	uint64_t unchangedsince;
	/* COPY, FLAGS, EXPUNGE */
	char *set;                     /* owned */
	uint32_t uidvalidity;          /* of the mailbox that the set is of: another one of that name is left alone; 0: any */
	bool move;
	enum store_box_op box_op;
	/* PUT */
	char space[STORE_SPACE_MAX + 1];
	char *name;                    /* key; owned */
	bool has_value;
	struct buf value;
	uint64_t expect;
	uint32_t ttl_s;
	uint64_t version;              /* private: that it gets */
	bool had;                      /* private: what was there before */
	struct kv_entry before;
	struct buf old_value;
	struct mb_queued *queued;      /* QUEUE; owned */
	struct mb_outcome outcome;     /* OUTCOME */
};

#define MB_BOXES_MAX (STORE_TXN_OPS_MAX + 8)

struct mb_reply {
	enum store_rc rc;
	const char *text; /* "" */
	uint64_t id;
	uint32_t uidvalidity;
	struct buf uids, sources;
	uint64_t modseq;
};

struct mb_txn {
	char id[33];                 /* "": internal, not remembered */
	struct mb_op *ops;           /* owned */
	unsigned nops;
	struct span *bodies;         /* owned array; the octets belong to the caller until done() */
	unsigned nbodies;
	bool after_apply;            /* answer only when views have it */
	bool (*is_viewed)(const struct mb_txn *); /* asked when it is durable: as if after_apply were set. May be NULL */
	void (*done)(struct mb_txn *, const struct mb_reply *); /* once */
	void *arg;
	/* private */
	struct mb_reply reply;
	struct store_commit commit;
	struct mb_touched *touched;
	unsigned ntouched;
	struct mailboxes *mbs;
	struct mb_txn *under_way_next; /* of those that have begun, with the same hash */
	struct mb_txn *same;           /* sent again meanwhile: they wait for this one's answer */
	size_t hints_cap;
	TAILQ_ENTRY(mb_txn) late;      /* in mailboxes.late, if it is_late */
	bool begun, written, answered, listed, is_late;
	struct mailbox *merges; /* what others did there, and nothing else */
	struct store_listed *list;
	size_t nlist;
};

struct mb_txn *mb_txn_new(void);
struct mb_op *mb_txn_op(struct mb_txn *t); /* one more, zeroed; NULL: out of memory or too many */
void mb_txn_free(struct mb_txn **t);       /* before mb_commit() only */

/* The transaction is taken; done() is called once, then it is freed. One with the id of another that is done, or under
 * way, does nothing and has its answer. */
void mb_commit(struct mailboxes *mbs, struct mb_txn *t);

/* --- views ------------------------------------------------------------------------------------------------ */

/* There are octets of the log to read, or another log (replaced), or none any more (gone). */
enum mb_event { MB_GREW, MB_REPLACED, MB_GONE };
typedef void mb_event_f(void *arg, enum mb_event what, uint64_t octets);
typedef void mb_view_cb(void *arg, enum store_rc rc, struct mb_view *v, int log_fd, uint64_t octets);

/* v and log_fd are the caller's, if rc is STORE_OK. */
void mb_view_open(struct mailboxes *mbs, const char *user, const char *key, mb_event_f *event, void *event_arg,
		  mb_view_cb *cb, void *arg);
/* The log once more, after MB_REPLACED. */
void mb_view_log(struct mb_view *v, store_fd_cb *cb, void *arg);
void mb_view_close(struct mb_view **v);
void mb_view_fetch(struct mb_view *v, uint32_t uid, store_fd_cb *cb, void *arg);
/* The views of a mailbox, one after the other (NULL: the first, and when there is none any more), and what they were opened with. */
struct mb_view *mb_view_of(struct mailboxes *mbs, const char *user, const char *key, struct mb_view *before);
void *mb_view_arg(const struct mb_view *v);
const char *mb_view_user(const struct mb_view *v);
const char *mb_view_key(const struct mb_view *v);
uint32_t mb_view_uidvalidity(const struct mb_view *v); /* when it was opened */

/* --- the queue -------------------------------------------------------------------------------------------- */

struct mb_queued *mb_queued_new(void);
int mb_queued_rcpt(struct mb_queued *m, struct span address, struct span params) PT_MUST_USE; /* PT_ENOMEM, PT_ETOOBIG */
void mb_queued_free(struct mb_queued **m);

/* Messages that are due and that nobody has, at most max, for lease_s seconds: each is called with every one of them, when it can be
 * read (fd is borrowed), then done. holder: who, until mb_unclaim(); arg must live until done. */
typedef void mb_claimed_f(void *arg, const struct queue_entry *e, int64_t now, int fd);
typedef void mb_claim_done_f(void *arg);
void mb_claim(struct mailboxes *mbs, const void *holder, unsigned max, uint32_t lease_s, mb_claimed_f *each,
	      mb_claim_done_f *done, void *arg);

/* Keeps one for so many seconds from now; one that nobody has is taken. 0: gives it back. */
void mb_hold(struct mailboxes *mbs, const void *holder, uint64_t qid, uint32_t lease_s);

/* It has gone: nothing is its any more. */
void mb_unclaim(struct mailboxes *mbs, const void *holder);

/* Whether mb_claim() would find something. */
bool mb_due(const struct mailboxes *mbs);

/* --- others ------------------------------------------------------------------------------------------------ */

struct mb_status {
	char key[STORE_BOX_MAX + 1];
	bool exists, subscribed;
	struct store_status status;
};
typedef void mb_boxes_cb(void *arg, enum store_rc rc, const struct mb_status *boxes, size_t n);
void mb_boxes(struct mailboxes *mbs, const char *user, mb_boxes_cb *cb, void *arg);
/* The same as their logs have it, and nobody looks for what others did. */
void mb_boxes_as_is(struct mailboxes *mbs, const char *user, mb_boxes_cb *cb, void *arg);

/* Of one mailbox, with what others did there until now. NOTFOUND: there is no such. st is borrowed, and only of STORE_OK. */
typedef void mb_stat_cb(void *arg, enum store_rc rc, const struct store_status *st);
void mb_stat(struct mailboxes *mbs, const char *user, const char *key, mb_stat_cb *cb, void *arg);

/* The user's limit, as it was said last or as mailboxes_conf says; 0: none, or nobody has said one since the start. */
uint64_t mb_quota_limit(struct mailboxes *mbs, const char *user);

/* Mailboxes that are in memory, and those of them that somebody has open. */
void mailboxes_count(const struct mailboxes *mbs, size_t *memory_out, size_t *open_out);

/* How many octets more the user may have, of `limit` (not 0): of a quota that is known at once, else when his mailboxes have
 * been counted. STORE_OK or STORE_TEMP. */
typedef void mb_room_cb(void *arg, enum store_rc rc, uint64_t octets);
void mb_room(struct mailboxes *mbs, const char *user, uint64_t limit, mb_room_cb *cb, void *arg);

/* What the user has, as the quota is held against it and as his mailboxes have it at one moment. known: somebody had asked for the
 * first; otherwise nothing is believed, and nothing can be wrong. mend: where the two differ it is counted anew. STORE_OK or STORE_TEMP. */
struct mb_quota_audit {
	bool known;
	int64_t octets, messages;   /* believed */
	int64_t box_octets, box_messages;
};
typedef void mb_quota_audit_cb(void *arg, enum store_rc rc, const struct mb_quota_audit *a);
void mb_quota_audit(struct mailboxes *mbs, const char *user, bool mend, mb_quota_audit_cb *cb, void *arg);

/* Looks for changes by others now. */
void mb_rescan(struct mailboxes *mbs, const char *user, const char *key, store_done_cb *cb, void *arg);

/* Makes the log anew of what can be read of it and of the messages that are there: UIDs stay, UIDVALIDITY too where its header can be
 * read, MODSEQ is above all that were told. Views see what is different; of another UIDVALIDITY they see the mailbox go. Sessions wait meanwhile.
 * NOTFOUND: there is no such mailbox. INVALID: the engine has no other source than its logs. r is borrowed, and only of STORE_OK. */
typedef void mb_reindex_cb(void *arg, enum store_rc rc, const struct store_status *st, const struct store_rebuilt *r);
void mb_reindex(struct mailboxes *mbs, const char *user, const char *key, mb_reindex_cb *cb, void *arg);

/* A key that has not expired. */
bool mailboxes_key(struct mailboxes *mbs, const char *space, const char *key, struct kv_entry *out);

/* Says from now on which keys have changed, when that is durable, before their transaction is answered; space "": something
 * is due in the queue. One, NULL: nobody. */
typedef void mb_changed_f(void *arg, const char *space, const char *key, uint64_t version);
void mailboxes_watch(struct mailboxes *mbs, mb_changed_f *f, void *arg);

/* Whether a transaction with that id was done lately: mb_commit() would only answer. */
bool mailboxes_knows(const struct mailboxes *mbs, const char *id);

/* Ids of transactions that were done, with what was answered; from a replay. */
void mb_remember(struct mailboxes *mbs, const char *id, struct span text);

#endif
