/* store/mailbox_impl.h - the parts of the mailbox logic among themselves.
 *
 * mailbox.c        mailboxes in memory: loading, waiting, forgetting; views
 * mailbox_txn.c    a transaction's life: record, answer
 * mailbox_look.c   it waits for its mailboxes, and all of it is checked
 * mailbox_write.c  its operations as lines
 * mailbox_lines.c  changes as lines, taken into memory as they are written
 * mailbox_merge.c  what others changed, and compaction
 * mailbox_reindex.c  a log made anew of what is there
 * mailbox_ids.c    which transactions were done
 * mailbox_queue.c  what is queued: checks and lines, claims */
#ifndef STORE_MAILBOX_IMPL_H
#define STORE_MAILBOX_IMPL_H

#include "store/mailbox.h"
#include "store/maildir.h"

#include <sys/queue.h>

struct mb_view {
	struct mailbox *mb; /* NULL: gone */
	struct mailboxes *mbs;
	mb_event_f *event;
	void *event_arg;
	bool open; /* its opener has been told */
	uint32_t uidvalidity; /* then */
	TAILQ_ENTRY(mb_view) next;
};

/* Something that waits for a mailbox to be there. */
struct waiter {
	void (*f)(void *arg, enum store_rc rc, struct mailbox *mb);
	void *arg;
	STAILQ_ENTRY(waiter) next;
};

enum mb_state {
	MB_LOADING, /* waiters wait */
	MB_READY,
	MB_BUSY,    /* its log is being written anew: waiters wait */
	MB_NONE     /* no such mailbox; kept while a creation may be under way */
};

struct mailbox {
	struct mailboxes *mbs;
	struct mailbox *hash_next;
	TAILQ_ENTRY(mailbox) lru;
	char user[STORE_USER_MAX + 1];
	char key[STORE_BOX_MAX + 1];
	enum mb_state state;
	struct index x;
	unsigned pins;        /* commits not yet applied, loads, scans: it must stay */
	unsigned unapplied;   /* commits */
	uint32_t counted;     /* of mailboxes.messages */
	uint64_t looked_ms;   /* MB_NONE: when it was found not to be there */
	enum store_rc failed; /* why it could not be read; STORE_OK: it could, or is not there */
	bool unborn;          /* made by a commit that is not yet applied: there is no log to be opened */
	bool stale;           /* a commit failed: read again when nothing is under way */
	bool scanning, scan_again, scanned;
	uint32_t scanned_as;  /* its UIDVALIDITY when the folder began to be read; 0: it had none */
	unsigned merging;     /* records of what a scan found, not yet in the log: another one would find it again */
	bool not_merged;      /* what was found could not be written: the next load says so */
	unsigned reloads;
	bool watched;
	uint32_t compact_at;  /* lines: not before, the last try failed */
	/* called once when nothing that was committed is unapplied; STORE_TEMP: that will not be soon. NULL: nobody waits */
	void (*quiet)(void *arg, enum store_rc rc);
	void *quiet_arg;
	STAILQ_HEAD(, waiter) waiters, scan_waiters;
	TAILQ_HEAD(, mb_view) views;
};

struct mb_touched {
	struct mailbox *mb;
	uint64_t end;     /* of its log after this transaction */
	uint64_t modseq;  /* of this transaction there */
	bool gone;
};

struct mb_quota;
struct mb_ids;

#define MB_QUOTA_HASH 1024

struct mailboxes {
	struct store_backend *be;
	struct kv *kv;
	struct mailboxes_conf conf;
	char host[MAILDIR_HOST_MAX + 1];
	struct mailbox **hash;
	size_t nhash;
	TAILQ_HEAD(, mailbox) lru; /* all, used longest ago first */
	size_t nboxes;
	uint64_t messages;         /* in memory, roughly: at the last look */
	mb_changed_f *changed;
	void *changed_arg;
	struct mb_ids *ids;
	struct mb_quota *quotas[MB_QUOTA_HASH];
	TAILQ_HEAD(, mb_txn) late; /* durable, and answered when they are carried out */
	uint64_t look_pass;        /* goes up for each look at a transaction */
	bool closing;
};

/* What is durable there, but cannot be carried out at present, is answered: it is accepted, and views have it later. */
void txn_stuck(struct mailboxes *mbs, const struct mailbox *mb);

/* --- mailbox.c ------------------------------------------------------------------------------------------ */

struct mailbox *mailbox_find(struct mailboxes *mbs, const char *user, const char *key);

/* The mailbox in memory, made (MB_LOADING) when it is not there. NULL: out of memory. */
struct mailbox *mailbox_get(struct mailboxes *mbs, const char *user, const char *key);

/* The same, but it is not read: MB_NONE where it was not in memory. */
struct mailbox *mailbox_place(struct mailboxes *mbs, const char *user, const char *key);

/* Calls f when it is no longer loading or busy; at once when it is not. */
void mailbox_wait(struct mailbox *mb, void (*f)(void *, enum store_rc, struct mailbox *), void *arg);

void mailbox_born(struct mailbox *mb);   /* the commit that made it is applied, or undone */
void mailbox_pin(struct mailbox *mb);
void mailbox_unpin(struct mailbox *mb);
void mailbox_settled(struct mailbox *mb, enum mb_state state, enum store_rc rc); /* wakes all who wait */
void mailbox_gone(struct mailbox *mb);   /* deleted or renamed: views hear it */
void mailbox_reload(struct mailbox *mb); /* what is in memory is not what is in the log */
/* STORE_OK: a commit is applied or was taken back: calls `quiet` if it was the last. STORE_TEMP: the rest cannot be carried out. */
void mailbox_quiet(struct mailbox *mb, enum store_rc rc);
void mailbox_tell(struct mailbox *mb, enum mb_event what, uint64_t octets);
int64_t mailbox_clock(const struct mailboxes *mbs);

/* --- mailbox_lines.c ------------------------------------------------------------------------------------ */

/* A transaction being written. The first failure sticks: PT_ENOMEM, PT_ETOOBIG. */
struct writing {
	struct mailboxes *mbs;
	struct mb_txn *t;
	struct mailbox *mb; /* what lines are about */
	struct mailbox *said; /* the last "B" line */
	struct maildir_stamp stamp;
	int rc;
};

void writing_begin(struct writing *w, struct mailboxes *mbs, struct mb_txn *t);
/* Lines are for mb from now on. Returns the transaction's MODSEQ there. */
uint64_t writing_box(struct writing *w, struct mailbox *mb);
void writing_line(struct writing *w, char kind, unsigned n, const struct span *words);
/* Its "B" line, if it was not the last. Comes by itself with index lines, not with writing_line(). */
void writing_say(struct writing *w);
void writing_create(struct writing *w, struct mailbox *mb, uint32_t uidvalidity);
/* A new header where the index was lost: MODSEQ above all that was ever told. uidvalidity 0: a new one. */
void writing_rebuild(struct writing *w, struct mailbox *mb, uint32_t uidvalidity);
void writing_hint(struct writing *w, const struct store_msg *m);
/* The index line that was just put at octet `from` of the text: into memory. */
void writing_take(struct writing *w, size_t from);
uint32_t writing_add(struct writing *w, struct index_add *a); /* UID and MODSEQ are given here; base too if it is empty */
void writing_flags(struct writing *w, const struct store_flagged *f, size_t n); /* ascending by flags, then uid */
void writing_gone(struct writing *w, const uint32_t *uids, size_t n);
/* The bits of flags there; new keywords get a letter. false: there is none left. */
bool writing_keywords(struct writing *w, const char (*names)[STORE_KEYWORD_MAX + 1], unsigned n, bool make,
		      uint32_t *flags_out);

/* --- mailbox_txn.c --------------------------------------------------------------------------------------- */

/* Hands the record to the engine, or, when writing it failed, takes all of it back. */
void txn_finish(struct mb_txn *t, int rc);
uint32_t txn_uidvalidity(struct writing *w, const char *user); /* one that this user never had */
uint32_t txn_spare_uidvalidity(struct mailboxes *mbs, const char *user); /* the same, not yet taken */
void txn_touched(struct mb_txn *t, struct mailbox *mb, struct mb_touched **out);
void txn_refuse(struct mb_txn *t, enum store_rc rc, const char *text); /* text NULL: what the answer has already */
bool txn_is_empty(const struct mb_txn *t); /* only its id: there is nothing to be made durable */

/* --- mailbox_look.c -------------------------------------------------------------------------------------- */

/* Waits, looks, and goes on to txn_write(), or refuses. */
void txn_try(struct mb_txn *t);
bool txn_renames(const struct mb_txn *t, const char *key); /* a rename: that mailbox, too */
bool txn_new_name(char *to, const char *key, const char *old, const char *new); /* false: it is too long */

/* --- mailbox_write.c ------------------------------------------------------------------------------------- */

void txn_write(struct mb_txn *t);
/* The "I" or "F" of the operation's body. */
void writing_source(struct writing *w, const struct mb_op *op);

/* --- mailbox_queue.c ------------------------------------------------------------------------------------ */

/* STORE_OK, or why not, with the text. */
enum store_rc queue_look(struct mailboxes *mbs, const struct mb_op *op, const char **text_out);
void queue_write(struct writing *w, struct mb_op *op);
/* What was written is durable, or (!ok) will never be. */
void queue_written(struct mailboxes *mbs, struct mb_op *op, bool ok);
void mailboxes_queue_begin(struct mailboxes *mbs);
/* Time passes: returns when to call again. */
uint64_t mailboxes_queue_tick(struct mailboxes *mbs, uint64_t now_ms);
/* Tells who watches when something is due. */
void mailboxes_queue_look(struct mailboxes *mbs);

/* --- mailbox_merge.c ------------------------------------------------------------------------------------- */

/* Looks for what others did; cb may be NULL. */
void mailbox_scan(struct mailbox *mb, bool all);
void mailbox_scan_refused(struct mailbox *mb); /* what was found cannot be written: who waits for it hears that */
/* What a scan found is in the log, or will never be. */
void mailbox_merged(struct mailbox *mb);
void mailbox_touched(void *arg, const char *user, const char *key, struct span name, bool in_new, bool went);
void mailbox_maybe_compact(struct mailbox *mb);

/* --- mailbox_quota.c ------------------------------------------------------------------------------------- */

/* Room for that much more, and for what the same look asked for before. limit: octets of this user, 0: what was said last, or what mailboxes_conf says. false with *rc_out STORE_OK: the user's mailboxes are being counted, and f is called
 * when they are. */
bool mb_quota_check(struct mailboxes *mbs, const char *user, uint64_t limit, uint64_t octets,
		    uint64_t messages, void (*f)(void *arg), void *arg, enum store_rc *rc_out);
void mb_quota_change(struct mailboxes *mbs, const char *user, int64_t octets, int64_t messages);
void mb_quota_unknown(struct mailboxes *mbs, const char *user); /* count again at the next question */
void mb_quota_free(struct mailboxes *mbs);

/* --- mailbox_ids.c --------------------------------------------------------------------------------------- */

struct mb_ids *mb_ids_new(void);
void mb_ids_free(struct mb_ids **ids);
struct mb_known {
	enum store_rc rc; /* STORE_OK, or STORE_CONFLICT: done in part */
	uint64_t id;
	uint32_t uidvalidity;
	uint64_t modseq;
	const char *uids, *sources;
};
bool mb_ids_find(const struct mb_ids *ids, const char *id, struct mb_known *out);
void mb_ids_done(struct mb_ids *ids, const char *id, const struct mb_reply *r);

/* A transaction has begun. false: one with the same id is under way, t waits for its answer: mb_ids_end() of that one
 * returns it. */
bool mb_ids_begin(struct mb_ids *ids, struct mb_txn *t);
/* It has its answer. Returns those that waited for it, linked by `same`. Harmless when it had not begun. */
struct mb_txn *mb_ids_end(struct mb_ids *ids, struct mb_txn *t);

#endif
