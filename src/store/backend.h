/* store/backend.h - what an engine of the store must be able to do: logs, blobs, keys and values, watching.
 *
 * A mailbox is a log of text (store/index.h) and the blobs that its lines name; what changes is one transaction (store/record.h):
 * done whole or not at all. Everything that makes mail of it (UIDs, MODSEQ, flags, quota, views) is above,
 * once, in mailbox.c. `local` is a journal in front of Maildir++, `memory` is for tests. Callbacks run
 * from dispatch() or flush(), or before the call that asked returns. One thread. */
#ifndef STORE_BACKEND_H
#define STORE_BACKEND_H

#include "store/index.h"
#include "store/latency.h"
#include "store/queue.h"
#include "store/store_types.h"

#include "util/buf.h"
#include "util/diag.h"

#define STORE_CAP_MAILDIR 1u      /* other programs see messages as files */
#define STORE_CAP_SHARED 2u       /* other nodes see the same mailboxes */
#define STORE_CAP_ATOMIC_MULTI 4u /* a transaction over several mailboxes is whole */
#define STORE_CAP_LINK_COPY 8u    /* a copy costs no space */
#define STORE_CAP_EXTERNAL 16u    /* others may change it: scan() and watch() tell */

struct store_backend;

/* Where a message of an existing log lies, for changes that need its blob: in the order of the UIDs of the
 * transaction's "=", "-" and "S" lines. */
struct store_hint {
	uint32_t uid;
	uint32_t flags;
	uint64_t line; /* octet of its "+" line in the log */
	uint8_t where;
};

struct store_commit {
	/* by the caller; borrowed until done(), hints until applied() */
	struct buf text;
	const struct span *bodies; /* the record's body is all of them in a row */
	size_t nbodies;
	struct store_hint *hints; /* NULL: none known */
	size_t nhints;
	bool queue; /* there are lines about the queue */
	bool carry; /* the engine's own: what it could not carry out yet, once more */
	void (*done)(struct store_commit *, enum store_rc); /* durable, or nothing was done */
	void (*applied)(struct store_commit *); /* after done() with STORE_OK: logs and blobs have it */
	/* by the backend */
	struct store_commit *next;
	void *engine;
	uint64_t id;
};

/* A file that others brought. */
struct store_found {
	char *base;      /* owned by the scan */
	uint32_t uid;    /* what its name or an older index says; 0: nothing */
	uint32_t flags;
	uint8_t where;
	uint64_t size;   /* with CRLF */
	int64_t date;
};

struct store_flagged {
	uint32_t uid;
	uint32_t flags;
};

/* What differs between a mailbox and its index. */
struct store_scan {
	struct store_found *found;
	size_t nfound;
	struct store_flagged *flagged; /* ascending, as the other two */
	size_t nflagged;
	uint32_t *gone;
	size_t ngone;
	bool fresh;             /* there is no index: found is all of it */
	uint32_t uidvalidity;   /* fresh: what another program's index says, 0 nothing */
	uint32_t uidnext;       /* fresh: the same */
	char keywords[STORE_KEYWORDS_MAX][STORE_KEYWORD_MAX + 1];
};

void store_scan_free(struct store_scan **s);

/* What a mailbox's log must say, whatever is left of it. */
struct store_header {
	uint32_t uidvalidity; /* 0: what the old log says, else another program's, else spare_uidvalidity */
	uint32_t spare_uidvalidity;
	char id[33];          /* with uidvalidity */
	int64_t created;      /* with uidvalidity; otherwise where the old log does not say it */
	uint32_t uidnext;     /* at least */
	uint64_t modseq;      /* at least */
};

/* How a log was made anew. */
struct store_rebuilt {
	enum { STORE_HEADER_KEPT, STORE_HEADER_IMPORTED, STORE_HEADER_NEW } header;
	uint32_t messages;
	uint32_t kept;     /* have the UID that the old log gave them */
	uint32_t named;    /* that their file's name says */
	uint32_t imported; /* that another program's index says */
	uint32_t given;    /* a new one */
	uint32_t missing;  /* the old log has them, and there is no file */
	uint64_t damaged;  /* lines of the old log, or what was between whole ones, that could not be read */
};

/* What a check found wrong, in plain words. */
enum store_fix {
	STORE_FIX_NONE,    /* nothing can, or need, be done */
	STORE_FIX_SCAN,    /* the next look at the mailbox takes it in */
	STORE_FIX_REINDEX, /* a new index mends it */
	STORE_FIX_COUNT,   /* the user's mail is counted anew */
	/* by the check itself, if it was asked to */
	STORE_FIX_TIDY,     /* it is removed */
	STORE_FIX_ASIDE,    /* it is moved to queue/lost */
	STORE_FIX_ENVELOPE, /* an envelope is written anew */
	STORE_FIX_COUNT_FILE /* others' count is removed */
};

#define STORE_FINDINGS_MAX 200 /* of one check; more are counted */

struct store_finding {
	const char *kind;  /* static: "missing", "size", ... */
	char text[640];
	enum store_fix fix;
	bool mended;       /* by the check itself */
};

struct store_checked {
	struct store_finding *list; /* owned by the check */
	size_t n;
	uint64_t found;    /* all, those that are not in the list as well */
	unsigned fixes;    /* bit set of the enum's, of all */
	uint64_t files, octets;
	uint64_t young;    /* files that have come within the last minute and nobody has looked at: no finding */
};

/* How an engine stands at this moment. */
struct store_standing {
	unsigned segments, spare, segments_max; /* of the journal: in use, waiting, at most */
	uint64_t segment_octets;                /* of each */
	uint64_t newest;      /* LSN of the last record; 0: there was none yet */
	uint64_t durable;     /* LSN up to which a checkpoint has everything in the files for good; 0: nothing */
	int64_t checkpointed; /* when the last checkpoint ended, seconds since 1970; 0: none since the start */
	uint64_t unapplied;   /* transactions that are durable and not yet carried out */
	uint64_t stuck;       /* mailboxes that cannot be written */
	struct latency flushes; /* of the journal, since the start */
	bool has_octets, has_inodes; /* the mail folder's file system has a limit, which is known */
	uint64_t free_octets, free_inodes;
	uint64_t margin_octets, margin_inodes; /* that are left alone */
};

struct store_listed {
	char key[STORE_BOX_MAX + 1];
	bool exists, subscribed;
};

typedef void store_load_cb(void *arg, enum store_rc rc, struct index *x); /* x is moved from */
typedef void store_fd_cb(void *arg, enum store_rc rc, int fd, uint64_t octets); /* fd is taken */
typedef void store_scan_cb(void *arg, enum store_rc rc, struct store_scan *s); /* s is taken */
typedef void store_rebuild_cb(void *arg, enum store_rc rc, struct index *x, const struct store_rebuilt *r); /* x is moved from */
typedef void store_check_cb(void *arg, enum store_rc rc, const struct store_checked *c);
typedef void store_list_cb(void *arg, enum store_rc rc, struct store_listed *list, size_t n); /* freed after */
typedef void store_users_cb(void *arg, enum store_rc rc, const char *const *names, size_t n); /* freed after */
typedef void store_done_cb(void *arg, enum store_rc rc);
typedef void store_file_cb(void *arg, enum store_rc rc, int fd, const char *name); /* fd is taken */

/* Called for every key that is stored, while it is opened. */
typedef void store_key_f(void *arg, const char *space, const char *key, uint64_t version, int64_t expires,
			 struct span value);
/* A file came to or went from a mailbox, by us or by others; name empty: it cannot be said which. */
typedef void store_touched_f(void *arg, const char *user, const char *key, struct span name, bool in_new,
			     bool went);

/* A mailbox has come to be stuck, see there: who waits for it is to be told. */
typedef void store_stuck_f(void *arg, const char *user, const char *key);

struct store_backend_ops {
	const char *name;
	unsigned caps;
	/* Carries out what was committed, calls all callbacks, frees. Who waits for them must still be there. */
	void (*close)(struct store_backend *be);

	/* Watch for reading, then call dispatch; -1: nothing ever completes later. */
	int (*fd)(const struct store_backend *be);
	void (*dispatch)(struct store_backend *be);

	/* A turn of the process begins, and ends when answers are on their way: until then none of its threads is to compete with those who
	 * wait for them. NULL: it makes no difference. */
	void (*turn)(struct store_backend *be, bool begins);

	/* The number that the next commit will have: names are made of it. */
	uint64_t (*next_id)(const struct store_backend *be);

	/* Queues the transaction (borrowed until done() failed, or applied()). flush() makes all that are queued durable. */
	void (*commit)(struct store_backend *be, struct store_commit *c);
	void (*flush)(struct store_backend *be);

	/* A mailbox's log, read; behind all that was committed before. An empty index (uidvalidity 0): the mailbox is
	 * there and has none. NOTFOUND: no such mailbox. */
	void (*load)(struct store_backend *be, const char *user, const char *key, store_load_cb *cb, void *arg);

	/* A descriptor that only reads, and how much of the log is there. */
	void (*log_open)(struct store_backend *be, const char *user, const char *key, store_fd_cb *cb,
			 void *arg);

	/* The log in as few lines as it takes, behind what was committed before; nothing may be committed to that mailbox until the
	 * callback gives its new index (places of lines are others now). */
	void (*log_compact)(struct store_backend *be, const char *user, const char *key, store_load_cb *cb,
			    void *arg);

	/* The log of a key space, written anew. text is moved from. */
	void (*keys_replace)(struct store_backend *be, const char *space, struct buf *text,
			     store_done_cb *cb, void *arg);

	/* A message, CRLF throughout. */
	void (*blob_open)(struct store_backend *be, const char *user, const char *key,
			  const struct store_hint *h, store_fd_cb *cb, void *arg);

	/* The message of one in the queue, for reading only. NOTFOUND: there is no such, or it is lost. */
	void (*queue_open)(struct store_backend *be, uint64_t qid, store_fd_cb *cb, void *arg);

	/* A place for a large body: its file, for writing, and its name for "F" lines. file_sync() makes it durable and tells its
	 * size, or says STORE_DENIED: somebody may still write into it. Not twice at a time for one file. A file that no
	 * transaction names goes with file_drop(). file_written(): so many octets are in it and more will follow; it may begin to send them
	 * to the disk. NULL: it makes no difference. */
	void (*file_new)(struct store_backend *be, store_file_cb *cb, void *arg);
	void (*file_sync)(struct store_backend *be, const char *name, store_fd_cb *cb, void *arg);
	void (*file_drop)(struct store_backend *be, const char *name);
	void (*file_written)(struct store_backend *be, const char *name, uint64_t octets);

	/* All mailboxes of a user, and what is subscribed to. NOTFOUND: no such user. */
	void (*list)(struct store_backend *be, const char *user, store_list_cb *cb, void *arg);

	/* Users that have mail, in the order of their names' octets, behind `after`; max at most. NULL: cannot tell. */
	void (*users)(struct store_backend *be, const char *after, size_t max, store_users_cb *cb, void *arg);

	/* CAP_EXTERNAL only. scan: `all` looks even where nothing seems to have changed; NULL in the callback: no difference. watch:
	 * says from now on (or no more) through touched when somebody else changes it. */
	void (*scan)(struct store_backend *be, const char *user, const char *key, bool all,
		     store_scan_cb *cb, void *arg);
	int (*watch)(struct store_backend *be, const char *user, const char *key, bool on);

	/* CAP_EXTERNAL only. The log made anew: of what can be read of the old one, and of the blobs that are there. As with log_compact
	 * nothing may be committed to that mailbox until the callback gives its new index. Every message has a MODSEQ above all that were
	 * ever told. */
	void (*rebuild)(struct store_backend *be, const char *user, const char *key, const struct store_header *h,
			store_rebuild_cb *cb, void *arg);

	/* Looks whether log and blobs of a mailbox agree and can be read; key "": what belongs to a user as a whole; user "": to nobody,
	 * as the queue. tidy: what STORE_FIX_TIDY and those behind it say is mended, nothing else. NULL: cannot tell. */
	void (*check)(struct store_backend *be, const char *user, const char *key, bool tidy, store_check_cb *cb,
		      void *arg);

	/* How it stands; at once. NULL: cannot tell. */
	void (*stat)(struct store_backend *be, struct store_standing *out);

	/* What was committed there cannot be carried out at present, and what is asked of it would wait: refuse it instead.
	 * key "": something of the user; user "": a key space. NULL: it never happens. */
	bool (*stuck)(struct store_backend *be, const char *user, const char *key);

	/* STORE_OK while there is room for that many octets more, STORE_FULL, or STORE_TEMP when it is read only. */
	enum store_rc (*room)(struct store_backend *be, uint64_t octets);

	/* Time passes: checkpoints. Returns when to call again at the latest. */
	uint64_t (*tick)(struct store_backend *be, uint64_t now_ms);
};

struct store_backend {
	uint64_t margin_octets;   /* free space that is left alone, also by who writes large bodies */
	const struct store_backend_ops *ops;
	store_touched_f *touched; /* set by the caller */
	void *touched_arg;
	store_stuck_f *stuck;     /* the same */
	void *stuck_arg;
	struct queue *queue;      /* borrowed; has what is durable, before done() is called. NULL: there is none */
};

/* --- the engines --------------------------------------------------------------------------------------- */

/* What the store process opens it with; who opens it in its place must do the same. */
#define LOCAL_SEGMENTS 4
#define LOCAL_MARGIN_OCTETS (64ull << 20) /* free space that is left alone: what is accepted must be able to be written */
#define LOCAL_MARGIN_INODES 1000

struct local_conf {
	int journal_fd, kv_fd, mail_fd; /* folders, borrowed */
	int queue_fd;                   /* as well; only with a queue */
	struct queue *queue;            /* borrowed: gets what is queued. NULL: a journal with such records is not
	                                 * opened, because they would be lost with it */
	const char *host;               /* for names of files */
	uint64_t segment_octets;        /* 0: 64 MiB */
	unsigned segments;              /* 0: 4 */
	unsigned apply_threads, read_threads; /* 0: 2 and 4 */
	uint64_t margin_octets;         /* free space that is left alone */
	uint64_t margin_inodes;
	bool tidy; /* close() ends with a checkpoint: nothing is carried out again at the next start */
	void (*failed)(void *arg, const char *what); /* a flush failed: the process must end. Called at most once */
	void *failed_arg;
};

/* Opens it and replays the journal; keys are told to key_f, transactions' ids to id_f (NULL: to nobody). */
typedef void store_id_f(void *arg, const char *id, struct span text);
int local_open(const struct local_conf *conf, store_key_f *key_f, store_id_f *id_f, void *arg,
	       struct store_backend **be_out, struct diag *diag) PT_MUST_USE;

/* An engine without a disk. */
struct store_backend *memory_open(void);

/* The next n operations of that kind end with rc. */
enum memory_op { MEMORY_COMMIT, MEMORY_LOAD, MEMORY_LOG_OPEN, MEMORY_BLOB_OPEN, MEMORY_FILE, MEMORY_LIST,
	MEMORY_ROOM, MEMORY_OPS };
void memory_inject(struct store_backend *be, enum memory_op op, enum store_rc rc, unsigned n);

#endif
