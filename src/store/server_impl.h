/* store/server_impl.h - the parts of the server among themselves.
 *
 * server.c        channels, turns
 * server_rules.c  who may ask what
 * server_txn.c    transactions
 * server_admin.c  an operator's questions
 * server_read.c   views, messages, lists, keys
 * server_queue.c  what is queued, and who has it
 * server_watch.c  who hears of what */
#ifndef STORE_SERVER_IMPL_H
#define STORE_SERVER_IMPL_H

#include "store/maildir.h"
#include "store/server.h"

#include "ipc/chan.h"
#include "ipc/rules.h"

#include <sys/queue.h>

/* What a client may have in the store. Beyond the first two it gets a temporary failure; beyond the others nothing is read from it
 * until it has less, so that it waits and nobody else does.
 *
 * Files of .tmp: PEER_FILES_MAX that it has asked for and not dropped, and what it has dropped and keeps open, which is gone from the folder at the
 * next checkpoint; none is longer than STORE_MESSAGE_MAX, because its process can write no longer one (confine.c), and no longer one is
 * accepted. Their sum has no maximum: its library stops where the disk has its margin left, and a client that keeps no rule can fill
 * the disk. Then nothing more is accepted for anybody (452), what was accepted is in the journal, which has its room, and is
 * carried out when there is some again; when that client has ended the next checkpoint has its files removed. */
#define PEER_VIEWS_MAX 16384
#define PEER_FILES_MAX 4096
#define PEER_REQUESTS_MAX 4096        /* that are not answered */
#define PEER_OCTETS_MAX (64u << 20)   /* of transactions that are not answered, and of lists on their way */
#define PEER_FDS_MAX 256              /* descriptors that are being opened for it, and frames that it has not read */
#define PEER_WATCHES_MAX 64
#define PEER_TURN_MAX 256     /* frames, then the others */
#define PEER_HASH 256

/* A large body's file. */
struct peer_file {
	struct peer_file *next;
	uint32_t id;
	char name[64];   /* "": asked for */
	unsigned refs;   /* transactions that need it, and the client */
	STAILQ_HEAD(, sync) syncs; /* who waits until it is flushed */
	bool fixed;      /* it is, and nobody writes into it any more */
	uint64_t octets; /* then */
};

struct peer_view {
	struct peer_view *next;
	struct peer *peer;
	uint32_t id;
	struct mb_view *v; /* NULL: being opened */
	bool closed;       /* while it was being opened */
};

/* Keys of a space that a client hears of. */
struct peer_watch {
	SLIST_ENTRY(peer_watch) next;
	uint32_t id;
	char space[STORE_SPACE_MAX + 1]; /* "": the queue */
	bool told; /* the queue: that something is due, since it last claimed */
};

/* Something that will be answered. */
struct request {
	LIST_ENTRY(request) next;
	struct peer *peer; /* NULL: it has gone */
	struct server *s;
	uint32_t id;
	struct peer_view *view;
	struct peer_file *file;
	size_t octets;   /* of the client's budget */
	bool fd;         /* a descriptor of it */
	/* a list on its way; owned */
	STAILQ_ENTRY(request) next_list;
	struct mb_status *list;
	size_t nlist, listed;
	/* a transaction */
	struct mb_txn *t;
	struct peer_file **files; /* of its operations, owned; NULL where there is none */
	unsigned syncs;           /* operations whose files are being flushed */
	enum store_rc rc;
};

struct peer {
	struct server *s;
	TAILQ_ENTRY(peer) next;
	struct chan *chan;
	enum store_class class;
	uint32_t who;
	bool writing, full, quiet, dead; /* quiet: not read from */
	bool claiming; /* one claim at a time */
	size_t nrequests, nviews, nfiles, nwatches, nfds, octets;
	STAILQ_HEAD(, request) lists; /* that are being sent */
	SLIST_HEAD(, peer_watch) watches;
	LIST_HEAD(, request) requests;
	struct peer_view *views[PEER_HASH];
	struct peer_file *files[PEER_HASH];
	/* the transaction that is arriving */
	struct mb_txn *t;
	struct peer_file **tfiles;
	uint32_t tid;
	size_t toctets;
	bool tbad;   /* a part was wrong: refused whole */
	bool tmore;  /* the last body goes on with the next frame */
	bool tlater; /* not its fault: a mailbox that is still being opened, a body that went with the last process */
};

struct server {
	struct store_backend *be;
	struct mailboxes *mbs;
	struct kv *kv;
	int epoll_fd;
	bool closed, quiet;
	bool in_turn; /* answers gather until its end: one packet for each client */
	TAILQ_HEAD(, peer) peers;
	size_t npeers, nrequests, condemned;
	server_condemned_f *on_condemned;
	void *on_condemned_arg;
	size_t waits, refused; /* how often a client had to wait, or was refused, for what it had already */
};

extern const struct ipc_rule server_rules[];
extern const size_t server_nrules;

/* Whether the class may read (or write) keys of that space. */
bool server_space(enum store_class class, struct span space, bool write);

void peer_send(struct peer *p, struct frame *f, int fd);
void peer_condemn(struct peer *p, const char *what); /* it did what no client does: its channel ends with the turn */
struct request *request_new(struct peer *p, uint32_t id); /* NULL: out of memory; the caller answers with reply_rc */
void request_free(struct request **q);
void request_charge(struct request *q, size_t octets, bool fd); /* until it is over */
void reply_rc(struct peer *p, uint32_t id, enum store_rc rc, const char *text);
struct peer_view *peer_view_find(struct peer *p, uint32_t id);
struct peer_file *peer_file_find(struct peer *p, uint32_t id);
void peer_file_unref(struct server *s, struct peer_file *f);
void peer_txn_drop(struct peer *p);
void peer_lists_send(struct peer *p); /* as much as it takes */

/* handlers; self: the server, peer: the peer */
ipc_handler_f on_body, on_file, on_drop, on_written, on_add, on_copy, on_flags, on_expunge, on_box, on_put, on_commit;
ipc_handler_f on_admin;
ipc_handler_f on_view_open, on_view_close, on_fetch, on_boxes, on_room, on_get, on_watch, on_watch_end;
ipc_handler_f on_queue, on_queue_rcpt, on_outcome, on_claim, on_hold;

/* --- server_txn.c: a part of the transaction that is arriving */
struct mb_op *peer_part(struct peer *p, const struct frame *f, enum mb_op_kind kind, int *rc);
int peer_part_body(struct peer *p, struct mb_op *op, bool in_file, uint32_t body);

/* It has claimed: it hears again when something is due. */
void peer_watch_again(struct peer *p);

/* Of mailboxes_watch(): tells who watches. arg: the server. */
void server_changed(void *arg, const char *space, const char *key, uint64_t version);
void peer_watches_free(struct peer *p);

#endif
