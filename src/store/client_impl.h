/* store/client_impl.h - the parts of the client's library among themselves.
 *
 * client.c       the channel and calls under way
 * client_blob.c  bodies
 * client_txn.c   transactions
 * client_queue.c the queue: messages for it, claims
 * client_view.c  mailboxes that are looked at
 * client_watch.c keys that are watched */
#ifndef STORE_CLIENT_IMPL_H
#define STORE_CLIENT_IMPL_H

#include "store/index.h"
#include "store/store.h"

#include "ipc/chan.h"
#include "ipc/msg.h"

#include <sys/queue.h>

/* A frame of a call, kept until it is answered. */
struct piece {
	STAILQ_ENTRY(piece) next;
	uint16_t type;
	uint32_t len;
	struct store_blob *blob; /* a reference: it is not dropped before the answer. NULL: none */
	uint8_t payload[];
};

struct call {
	TAILQ_ENTRY(call) next;
	struct store *s;
	uint32_t id;
	STAILQ_HEAD(, piece) pieces;
	bool commit;
	bool bad;  /* a part could not be: answered without being sent */
	enum store_rc bad_rc;
	uint64_t user; /* whose mailboxes it is about: client_user(); 0: nobody's */
	bool unsent;   /* the channel has enough to do: sent in its turn */
	bool oneway;   /* never answered: over when it is sent */
	bool held;     /* not sent: a view of that user is being opened again, and it must come behind that */
	store_cb *cb; /* NULL: nobody waits */
	void *arg;
	struct store_view *view; /* that it opens */
	struct store_blob *file; /* that it asks for */
	struct store_box *boxes; /* owned, with their names */
	size_t nboxes;
	struct store_claimed *claimed; /* owned, with all that is in them */
	size_t nclaimed;
	uint32_t lease_s; /* for which it claims */
	struct store_claimed_rcpt *rcpts; /* of the one that is arriving */
	size_t nrcpts;
};

/* What a message of the store's calls. */
struct answer {
	enum msg_type type;
	int (*f)(struct store *s, struct frame *f);
};

struct store {
	struct chan *chan; /* NULL: none */
	uint32_t next_id, next_view, next_file, next_watch;
	TAILQ_HEAD(calls, call) calls; /* in the order in which they were made */
	size_t ncalls;
	size_t nunsent;
	TAILQ_HEAD(, store_blob) blobs;
	TAILQ_HEAD(, store_view) views;
	TAILQ_HEAD(, store_watch) watches;
	TAILQ_HEAD(, held) held;
	size_t nreopening; /* views */
	unsigned attached; /* how often */
	/* octets for the file of one body, so that many small pieces are one write */
	struct store_blob *gathering; /* NULL: of none */
	uint8_t *gathered;            /* owned; NULL until there was a large body */
	size_t ngathered;
	bool broken; /* its end will be read */
	bool closing;
};

/* A message that was claimed and not given back. */
struct held {
	TAILQ_ENTRY(held) next;
	uint64_t qid;
	uint32_t lease_s;
};

struct store_blob {
	TAILQ_ENTRY(store_blob) next;
	struct store *s;
	unsigned refs;     /* its owner's and calls' */
	struct buf mem;    /* what it is as long as it is in no file */
	int file_fd;       /* -1: none, or no more: the store takes no file that somebody can still write into */
	uint64_t margin;   /* octets that must stay free on its disk */
	bool in_file;      /* its octets are there */
	uint64_t written, told; /* octets that are in it, and of which the store has been told */
	uint32_t file;     /* its number; 0: none asked for */
	unsigned attached; /* of which channel the file is */
	bool has_file;     /* the store has made it */
	bool lost, sealed;
	enum store_rc refused;
	uint64_t size;
	void (*ready)(void *arg);
	void *ready_arg;
	STAILQ_HEAD(, store_txn) waiting; /* commits, for the file */
};

/* Collected: pieces as they will be sent, but that bodies get their numbers last. */
struct store_txn {
	STAILQ_ENTRY(store_txn) next;
	struct store *s;
	STAILQ_HEAD(, piece) pieces;
	uint8_t id[16];
	unsigned nops;
	size_t octets;
	uint64_t user; /* as in a call; CLIENT_USERS: of several */
	int bad;
	store_cb *cb;
	void *arg;
};

struct store_view {
	TAILQ_ENTRY(store_view) next;
	struct store *s;
	uint32_t id;
	char *user, *box; /* owned */
	uint64_t user_hash;
	void (*change)(void *arg);
	void *change_arg;
	bool opened;       /* its opener has it */
	bool reopening;    /* by this channel, after the last one */
	int fd;
	uint64_t octets;   /* of the log that are there */
	struct index x;
	int new_fd;        /* another log, not yet taken; -1 */
	uint64_t new_octets;
	bool gone, told_gone;
	struct store_change *queue; /* owned; what one line made */
	size_t nqueue, queue_at, queue_cap;
};

struct store_watch {
	TAILQ_ENTRY(store_watch) next;
	struct store *s; /* NULL: it has gone */
	uint32_t id;
	char space[STORE_SPACE_MAX + 1];
	store_watch_cb *cb;
	void *arg;
};

/* --- client.c ------------------------------------------------------------------------------------------- */

struct call *call_new(struct store *s, store_cb *cb, void *arg); /* NULL: out of memory */
int call_add(struct call *c, const struct frame *f, struct store_blob *blob); /* PT_ENOMEM */
/* Into the list, and out if there is a channel. */
void call_start(struct call *c);
/* A view is open again, or no more: what was held for it goes out. */
void calls_release(struct store *s);

#define CLIENT_USERS UINT64_MAX
/* A number for a user's name, neither 0 nor CLIENT_USERS. Two users may have the same: requests wait a moment longer then. */
uint64_t client_user(const char *user);
void call_free(struct call **c);
void call_answer(struct call *c, enum store_rc rc, struct store_reply *r); /* frees */
/* A frame that is not answered, behind all that was asked before. */
void store_tell(struct store *s, struct frame *f);

/* --- client_blob.c ---------------------------------------------------------------------------------------- */

void blob_unref(struct store_blob *b);
void blob_file(struct store_blob *b, enum store_rc rc, int fd, uint64_t margin); /* the answer; fd is taken */
void blob_detached(struct store_blob *b); /* a new channel */
int blob_seal(struct store_blob *b);

/* f was encoded with rc: a call of that one frame about that user (0: none). NULL: it has been answered. */
struct call *store_ask(struct store *s, uint64_t user, int rc, const struct frame *f, store_cb *cb, void *arg);
struct call *call_find(struct store *s, uint32_t id);

/* --- client_queue.c --------------------------------------------------------------------------------------- */

extern const struct answer queue_answers[];
#define QUEUE_ANSWERS 2

/* The call is sent once more: half a message is none. */
void claim_again(struct call *c);
void claims_free(struct call *c);
/* All that are held, on a new channel. */
void held_again(struct store *s);

/* --- client_txn.c ------------------------------------------------------------------------------------------ */

/* A part: f was encoded with rc. What is wrong is remembered. */
int txn_add(struct store_txn *t, int rc, const struct frame *f, struct store_blob *blob);
int txn_bad(struct store_txn *t, int rc);
void txn_wake(struct store_blob *b); /* its file is there, or never will be */

/* --- client_view.c ---------------------------------------------------------------------------------------- */

/* The log of a view; fd is taken. 0, PT_ENOMEM, PT_EPROTO. */
int view_log(struct store_view *v, int fd, uint64_t octets);
void view_event(struct store_view *v, bool gone, uint64_t octets);
/* Opened again: whether the log that came is that of the same mailbox, and not of another one made since under its name. */
bool view_is_same(const struct store_view *v);
void view_unlearn(struct store_view *v); /* the store is told that nobody wants it any more */
void view_reopen(struct store_view *v);
void view_not_reopened(struct store_view *v); /* what was under way of that is answered with STORE_TEMP */
void view_reopening(struct store_view *v, bool on);
void view_free(struct store_view *v);

/* --- client_watch.c --------------------------------------------------------------------------------------- */

/* All of them once more, on a new channel. */
void watches_begin(struct store *s);
int watch_event(struct store *s, const struct frame *f);

#endif
