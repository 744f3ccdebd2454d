/* unit/store/rig.h - a store without a process: an engine, its mailboxes, and calls that wait for their answer. */
#ifndef UNIT_STORE_RIG_H
#define UNIT_STORE_RIG_H

#include "store/admin.h"
#include "store/mailbox.h"

#define RIG_USER "alice@example.test"

enum rig_kind { RIG_MEMORY, RIG_LOCAL, RIG_KINDS };

struct rig {
	enum rig_kind kind;
	char dir[64];       /* local: a temporary folder, with journal, kv and mail in it */
	int dir_fd, journal_fd, kv_fd, queue_fd, mail_fd;
	struct store_backend *be;
	struct kv *kv;
	struct queue *queue;
	struct mailboxes *mbs;
	uint64_t quota_octets, quota_messages;
	unsigned settle_s;  /* rig_settle() waits no longer: set where something is kept from being written; 0: for hangs only */
	bool failed;        /* the engine said so */
	char why[256];      /* it could not be opened */
	unsigned segments;  /* 0: 4, of 256 KiB */
	uint64_t segment_octets;
	bool tidy;           /* ends with a checkpoint */
	bool no_checkpoints; /* all stays in the journal: what is lost of the files must come back */
};

/* What the store's mailboxes take for the time; 0: the system's. */
extern int64_t rig_clock;
/* How far their other clock, that of leases, is ahead of the system's. */
extern uint64_t rig_ahead_ms;

/* Makes folders and opens. */
void rig_open(struct rig *r, enum rig_kind kind);
/* Ends without any care, as a kill does, and opens again; memory: nothing happens. */
void rig_restart(struct rig *r);
/* Ends; the folders stay for rig_start(). */
void rig_stop(struct rig *r);
void rig_start(struct rig *r);
/* The same, and it may not be possible: false. */
bool rig_try_start(struct rig *r);
/* Opens each kind in turn, lets f do what it will, and ends. */
void rig_each(void (*f)(struct rig *r));
/* Ends and removes the folders. */
void rig_close(struct rig *r);
/* Carries out all that is under way. */
void rig_settle(struct rig *r);

/* What is ready, or comes within that time. */
void rig_turn(struct rig *r, int timeout_ms);

/* Until the flag is set by a callback. */
void rig_wait(struct rig *r, const bool *flag);

/* A checkpoint, and the segments that it covers are recycled; with no_checkpoints too. */
void rig_checkpoint(struct rig *r);
/* Files of what is queued, as a checkpoint writes them that does not come to its end. */
void rig_save(struct rig *r);
/* Looks for what others did. */
void rig_scan(struct rig *r, const char *user, const char *key);

struct rig_reply {
	bool done;
	enum store_rc rc;
	char text[128];
	uint64_t id, modseq;
	uint32_t uidvalidity;
	char uids[256], sources[256];
};

/* Commits and waits for the answer. */
struct rig_reply rig_commit(struct rig *r, struct mb_txn *t);

/* The same, and it must have been done: the reply's id. */
uint64_t rig_must(struct rig *r, struct mb_txn *t);

/* Transactions of one part; the caller may add more parts. body: octets, NUL-ended. */
struct mb_txn *rig_add(struct mb_txn *t, const char *user, const char *key, const char *body);
struct mb_txn *rig_flags(const char *user, const char *key, const char *set, enum store_flag_op op,
			 uint32_t flags);
struct mb_txn *rig_copy(const char *user, const char *key, const char *set, const char *to, bool move);
struct mb_txn *rig_expunge(const char *user, const char *key, const char *set);
struct mb_txn *rig_box(const char *user, enum store_box_op op, const char *key, const char *to);
/* A message that came as a file, committed and its file no longer wanted by who sent it. */
void rig_add_large(struct rig *r, const char *user, const char *key, const char *text);
struct mb_txn *rig_put(const char *space, const char *key, const char *value, uint64_t expect, uint32_t ttl_s);

/* A message for the queue, with so many recipients r0@example.test and on. */
struct mb_txn *rig_queue(struct mb_txn *t, const char *sender, unsigned nrcpts, const char *body);
struct mb_txn *rig_outcome(struct mb_txn *t, uint64_t qid, uint32_t rcpt, uint32_t attempt,
			   enum store_rcpt_state state, int64_t next, const char *reply);

/* Claims at most max; each one's id into qids_out and what its message is, NUL-ended, into bodies_out (may be NULL): how many. */
unsigned rig_claim(struct rig *r, const void *holder, unsigned max, uint32_t lease_s, uint64_t *qids_out,
		   char (*bodies_out)[64]);

/* The mailbox as its log says: "1 S:octets 3 -:octets ..." (uid, letters, body); "none" when there is none. Static. */
const char *rig_dump(struct rig *r, const char *user, const char *key);
/* RIG_USER's mailbox must be so. */
void rig_is(struct rig *r, const char *key, const char *want);
/* The index itself; owned. false: none. */
bool rig_index(struct rig *r, const char *user, const char *key, struct index *x);

/* What an operator's question was answered. */
struct rig_told {
	bool done;
	enum store_rc rc;
	char kinds[2048];   /* of what a check found: "missing size " */
	unsigned repaired;
	uint64_t found, files, young;
};
/* Asks about RIG_USER; box "INBOX" where one is meant. start: callbacks go into *t, which must stay. */
void rig_ask_start(struct rig *r, enum admin_what what, bool repair, struct rig_told *t);
struct rig_told rig_ask(struct rig *r, enum admin_what what, bool repair);

/* A shell command in the rig's folder (local), for what other programs do. */
void rig_shell(struct rig *r, const char *command);

#endif
