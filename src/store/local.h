/* store/local.h - the parts of the local engine among themselves: journal in front of Maildir++.
 *
 * local.c        main thread: open, close, and other programs
 * local_jobs.c   main thread: what jobs work on, and transactions cut into jobs
 * local_checkpoint.c main thread: what was carried out is made durable
 * local_replay.c main thread: what the journal has at a start
 * local_journal.c main thread: transactions and their flushes
 * local_carry.c  main thread: what cannot be carried out
 * local_settle.c what must be on the disk before a mailbox goes or gets another name
 * local_apply.c  in threads: a transaction's lines to files and index
 * local_graves.c in threads: what was taken away and may still be needed
 * local_subscribe.c in threads: the file of subscriptions
 * local_names.c  in threads: which files a folder has
 * local_read.c   in threads: indexes, folders and messages read
 * local_file.c   in threads: large bodies
 * local_scan.c   in threads: what others changed, and other programs' indexes
 * local_admin.c  in threads: what an operator asks
 * local_stat.c   main thread: how it stands
 * local_check.c, local_check_store.c, local_check_queue.c, local_check_user.c  in threads: whether all is as it should be
 * local_rebuild.c  in threads: an index made anew of what is left of it and of the names
 * local_queue.c  files of what is queued
 *
 * A *box* is what one strand of jobs works on: a mailbox; a user as a whole (key ""); a key space (user ""). Its
 * descriptors and its names belong to its jobs, the rest to the main thread. */
#ifndef STORE_LOCAL_H
#define STORE_LOCAL_H

#include "store/backend.h"
#include "store/journal.h"
#include "store/crew.h"
#include "store/nursery.h"
#include "store/pace.h"
#include "store/uidlist.h"

#include <stdatomic.h>
#include <sys/queue.h>
#include <time.h>

#define KEYWORDS_FILE "postern-keywords" /* "0 $Label" a line: what the letter a means, as dovecot-keywords has it */

struct names;

struct box {
	/* main thread */
	struct box *hash_next;
	TAILQ_ENTRY(box) lru;
	char user[STORE_USER_MAX + 1];
	char key[STORE_BOX_MAX + 1];
	struct crew_strand strand;
	unsigned jobs; /* queued or running */
	unsigned stuck; /* parts of it that were accepted and are blocked (local_carry.c) */
	int wd_new, wd_cur; /* inotify; -1 */
	/* jobs of the strand */
	int dir_fd;   /* -1: not open */
	int index_fd; /* appends; -1 */
	bool read_only; /* it only reads: the file system is read only */
	uint64_t modseq; /* replay: of the index's last line */
	uint32_t uidnext; /* replay; 0: there is no index */
	char id[33];      /* replay: of the mailbox */
	bool damaged;     /* replay: its index is to be made anew when it is read; until then every line is added to it */
	struct names *names; /* replay: which files are there */
	bool clean;   /* index and folder were the same when the folder's times were these, and we changed nothing since */
	struct timespec seen_new, seen_cur;
};

/* A transaction on its way to the files. */
struct apply {
	TAILQ_ENTRY(apply) next; /* by LSN */
	uint64_t lsn;
	struct journal_place at;
	struct store_commit *commit; /* NULL: from the replay */
	struct buf text;             /* of a replayed one */
	const uint8_t *whole;        /* where its text begins */
	const struct store_hint *hints;
	size_t nhints;
	unsigned jobs;               /* that are not done */
	TAILQ_HEAD(, apply_job) parts; /* the same */
	bool carried;                /* is being written into the journal once more */
	uint32_t owed;               /* in local.owed */
	bool moved;                  /* has been: its LSN is younger than the files that it needs */
};

/* A part of it: lines of one box, or all lines where two boxes depend on each other. */
struct apply_job {
	struct crew_job job;
	struct local *l;
	struct apply *a;
	struct box *box[CREW_STRANDS_INLINE];
	unsigned nboxes;
	struct span text;
	size_t hint; /* the first of its hints */
	int rc;
	unsigned tries;
	bool kept; /* a mailbox could not get its new name */
	bool parked; /* in local.failing */
	bool blocked; /* twice tried, or behind one that was: counted in its boxes' stuck */
	uint64_t order; /* of submission: that in which they wait */
	bool settling, granted; /* waits for a flush of its own; has had it */
	int file_fd, file_error; /* what it waits for is a file: owned; -1: all there is. errno, then */
	size_t begun, begun_hint; /* then: lines and hints that are done */
	TAILQ_ENTRY(apply_job) retry, of;
};

/* A batch on its way to the disk. */
struct flight {
	struct crew_job job; /* first */
	struct local *l;
	struct journal_flight *f;
	struct store_commit *list;   /* in the order of their LSNs */
	uint64_t began_us, took_us;  /* took: without waking the thread */
	bool over; /* the disk has said how it went; it waits for those that began before it */
};

struct local {
	struct store_backend be; /* first */
	struct local_conf conf;
	char host[65];
	struct journal *journal;
	struct crew *crew;
	int tmp_fd;  /* <mail>/.tmp */
	struct nursery *nursery; /* in it */
	struct nursery *queue_nursery; /* in the queue's folder; NULL: there is no queue */
	int inotify_fd, epoll_fd;
	struct box **hash;
	size_t nhash, nboxes;
	TAILQ_HEAD(, box) lru; /* boxes without jobs, oldest first */
	struct store_commit *queued, **queued_end; /* not yet in the journal */
	size_t nqueued;
	struct store_commit *batch, **batch_end;   /* in the journal's batch */
	struct flight flight[JOURNAL_FLIGHTS];     /* being flushed: a ring */
	unsigned first_flight, flights;            /* the oldest, and how many */
	uint64_t flush_us, flush_least_us; /* how long flushes take of late, and the quickest of them */
	struct latency flushes;       /* all since the start */
	uint64_t was_synced;          /* `synced` of earlier processes, as the journal says */
	int64_t checkpointed;         /* when one last ended; 0: none since the start */
	uint64_t segment_octets;      /* of the journal */
	struct pace pace;             /* of what is let into it */
	TAILQ_HEAD(, apply) applying;
	TAILQ_HEAD(, apply_job) failing;
	uint64_t parts_made;
	unsigned retrying, carrying; /* jobs that are tried again just now; transactions on their way back into the journal */
	struct { uint64_t lsn; char name[40]; } *drops; /* files of .tmp that go at the next checkpoint */
	size_t ndrops, drops_cap;
	struct names *graves; /* replay: what was removed and is kept, by "mailbox id-uid"; size: its LSN */
	struct endings *ended; /* replay: what becomes of mailboxes further on */
	uint64_t owed;     /* octets of bodies that are accepted and may not be in files yet: they take room, too */
	uint64_t synced;   /* LSN below which all is in the files for good */
	_Atomic uint64_t settled; /* the same for mailboxes alone, and a few seconds younger (local_settle.c) */
	_Atomic bool moved;       /* a record has a younger LSN than it had: the order of LSNs says nothing any more */
	TAILQ_HEAD(, apply_job) settle_next, settle_now; /* who waits for the next flush of the mail folder, and for this one */
	struct crew_job settle_job;
	uint64_t settle_lsn;
	int settle_error;
	bool is_settling;
	struct store_commit mark; /* the record that says so */
	bool marking;
	uint64_t now_ms, next_checkpoint, next_retry;
	uint64_t keep_until; /* segments are recycled only as far as they are needed */
	bool writing_out; /* a large body, before it is whole */
	bool checkpointing, making_spare, failed, replaying, closing, said_copies;
	bool queue_apart;  /* the queue's folder is on a file system of its own */
	bool queue_failed; /* its files could not be written, which has been said */
	STAILQ_HEAD(, queue_turn) queue_turns; /* who has the queue's files, and who waits for them */
	struct queue_found { uint64_t *id; size_t n, cap; } eml, bad_env, no_eml; /* at the start: names in its folder */
	_Atomic uint64_t cut_octets; /* of indexes, not yet said */
	_Atomic uint64_t stuck; /* jobs that failed since the start */
};

/* --- local_checkpoint.c ---------------------------------------------------------------------------------- */

uint64_t local_tick(struct store_backend *be, uint64_t now_ms);
uint64_t local_oldest(const struct local *l); /* the LSN below which all is carried out */
void local_checkpoint_now(struct local *l);   /* all is carried out, no thread is at work: waits for the disk */

/* --- local_replay.c -------------------------------------------------------------------------------------- */

int local_replay(struct local *l, store_key_f *key_f, store_id_f *id_f, void *arg, struct diag *diag) PT_MUST_USE;

/* --- local_endings.c: replay: which mailboxes are deleted or renamed, anywhere in the journal ---------------------- */

struct record_line;
struct endings *endings_new(void); /* NULL: out of memory */
void endings_free(struct endings **e); /* NULL is fine; sets the pointer to NULL */
/* A line "D" or "R" of that record. 0, PT_ENOMEM. */
int endings_add(struct endings *e, uint64_t lsn, const struct record_line *line) PT_MUST_USE;
/* A line "B" whose mailbox that record makes. */
int endings_made(struct endings *e, uint64_t lsn, const struct record_line *line) PT_MUST_USE;
void endings_sort(struct endings *e); /* all have been added: now it can be asked */

/* In threads. Ids have 32 octets. Whether the mailbox with that id is deleted. */
bool endings_deleted(const struct endings *e, struct span id);
/* Whether another mailbox is made after that record under the name in its line "B", "D" or "R" (the former one). */
bool endings_made_since(const struct endings *e, uint64_t lsn, const struct record_line *line);
/* Whether it is where a record above lsn brings it: what had to be done before, has been. */
bool endings_moved_on(const struct local *l, struct span id, uint64_t lsn);
/* Whether the mailbox of that line "B" has gone from its name after that record: it is deleted or elsewhere, or there is another one. */
bool endings_gone_from(const struct local *l, uint64_t lsn, const struct record_line *line);
/* Whether the mailbox, which is at modseq, got another name after that record: then what the record says was flushed, and what was done
 * under the other name may be where no replay finds it. */
bool endings_moved_since(const struct endings *e, struct span id, uint64_t lsn, uint64_t modseq);

/* --- local_jobs.c ---------------------------------------------------------------------------------------- */

void local_retry_failed(struct local *l); /* what could not be carried out */
struct box *local_find(struct local *l, const char *user, const char *key); /* NULL: not in use */
struct box *local_box(struct local *l, const char *user, const char *key); /* NULL: out of memory */

/* Queues a job for a box; done must call local_box_left(). */
void local_submit(struct local *l, struct crew_job *j, struct box *const *boxes, unsigned n);
/* The same for one that only reads: where the box is stuck, or comes to be while it waits, it is refused(), and done. */
void local_submit_read(struct local *l, struct crew_job *j, struct box *b);
void local_box_left(struct local *l, struct box *b);

/* Cuts a transaction into jobs; started: after all that must come before applied(). */
void local_apply_start(struct local *l, struct apply *a, struct span text);
void local_apply_started(struct local *l, struct apply *a);

/* --- local_journal.c --------------------------------------------------------------------------------------- */

uint64_t local_next_id(const struct store_backend *be);
void local_commit(struct store_backend *be, struct store_commit *c);
void local_flush(struct store_backend *be);
/* Into the batch. PT_EBUSY, PT_EFULL: it must wait for the flush, or for a checkpoint. */
int local_append(struct local *l, struct store_commit *c) PT_MUST_USE;

/* The disk failed: nothing more is taken, and the process must end. What is on its way to the disk is left alone: it may get
 * there, and then its senders hear it, from this process or from the next. */
void local_fail(struct local *l);
void local_answer(struct store_commit *list, bool started, enum store_rc rc);

/* Segments that a checkpoint covers are free. For some time after a start only as far as they are needed: clients that
 * have not yet come back ask again for what they had asked the last process, and the ids of what was done are
 * in there. */
void local_recycle(struct local *l);
/* One more segment, if there may be, in a thread. extra: one more than there may be, where the journal is full of what must be
 * carried to its end. */
void local_make_spare(struct local *l, bool extra);

/* --- local_carry.c ----------------------------------------------------------------------------------------- */

/* What cannot be carried out, and keeps segments from being recycled, goes to the journal's end. */
void local_carry(struct local *l);
bool local_stuck(struct store_backend *be, const char *user, const char *key);
/* A part could not be carried out, twice. It is blocked, with all that wait behind it and hold or want other boxes, and what only reads
 * there is refused. */
void local_block(struct local *l, struct apply_job *aj);
/* It has just been submitted: is it behind one that is blocked? */
void local_block_behind(struct local *l, struct apply_job *aj);
void local_unblock(struct apply_job *aj); /* it is done */
/* Whether a file of .tmp is one that such a transaction needs. */
bool local_carries(const struct local *l, const char *file);

/* --- local_settle.c ---------------------------------------------------------------------------------------- */

/* Main thread. The part comes back to its turn when the mail folder has been flushed. */
void settle_wait(struct local *l, struct apply_job *aj);
/* All that is below is on the disk. */
void settle_below(struct local *l, uint64_t lsn);

/* In threads. Whether a mailbox may go, or get another name; if not, the part must settle_wait(). */
bool settle_may(struct apply_job *aj);

/* In threads. The same for a file (taken) that is to take the place of one that was flushed long ago: settle_file() and settle_wait(), and at its
 * next run settle_file_end() says how it went: 0, PT_EIO; PT_EAGAIN: nothing was flushed. */
void settle_file(struct apply_job *aj, int fd);
int settle_file_end(struct apply_job *aj) PT_MUST_USE;

/* --- local_apply.c --------------------------------------------------------------------------------------- */

#define APPLY_WAITS 1 /* no error: the job goes on with this line when it has been flushed */

void apply_run(struct crew_job *j);
/* Main thread: it could not, and is tried again. */
void local_apply_failed(struct local *l, struct apply_job *aj);

/* Folder and index of a box, open for its jobs. make: where they are not there. 0, PT_ENOENT, PT_EFULL, PT_EIO. */
int box_open(struct local *l, struct box *b, bool make) PT_MUST_USE;
void box_close(struct box *b);

/* The path of a message below its mailbox's folder. out has MAILDIR_NAME_MAX + 5 octets. */
void box_path(struct span base, uint32_t flags, uint8_t where, char *out);

/* The base name that the line at that octet of the index gives. base_out has MAILDIR_BASE_MAX + 1 octets. */
int box_base(const struct box *b, uint64_t line, uint32_t uid, char *base_out) PT_MUST_USE;

/* --- local_graves.c ----------------------------------------------------------------------------------------- */

#define DELETED "deleted-" /* <lsn>-<where in its transaction>: a whole mailbox */
#define GRAVE_ROOM 80

/* What "-" takes away goes into .tmp first: a copy of it may not be on the disk yet, and which of two changes of folders
 * comes there first is the file system's choice. Reads which are there; NULL: they cannot be read, or out of memory. */
struct names *graves_read(int tmp_fd);
/* Those of records below lsn go, and what is left of deleted mailboxes: a checkpoint has everything. */
void graves_clear(int tmp_fd, uint64_t lsn);

void grave_name(char out[GRAVE_ROOM], uint64_t lsn, struct span id, uint32_t uid);
/* A folder with all that is in it, as many levels of it. What cannot be removed stays. */
void tree_remove(int dir_fd, const char *name, int depth);

/* --- local_subscribe.c -------------------------------------------------------------------------------------- */

/* A line "s". In a job of the user's box. May say APPLY_WAITS. */
int local_subscribe(struct apply_job *aj, const struct record_line *line) PT_MUST_USE;

/* --- local_names.c: names of a folder, by base ------------------------------------------------------------ */

struct name {
	struct name *base_next, *uid_next;
	uint32_t uid; /* U=, 0; in a replay what the index says */
	uint32_t flags;
	uint8_t where; /* INDEX_NEW or 0 */
	bool seen;
	bool ours; /* in a replay: the log has given it these flags */
	bool has_size, has_virtual;
	uint64_t size, virt;
	char base[]; /* NUL-ended */
};

struct names *names_new(void); /* of no name; NULL: out of memory */

/* Reads new/ and cur/. Owned. */
int names_read(int dir_fd, struct names **out) PT_MUST_USE;
void names_free(struct names **n);
struct name *names_find(const struct names *n, struct span base);
struct name *names_find_uid(const struct names *n, uint32_t uid);
void names_set_uid(struct names *n, struct name *e, uint32_t uid);
void names_ours(struct name *e, uint32_t flags, uint8_t where); /* if that is what it has */
void names_remove(struct names *n, struct name *e);
int names_add(struct names *n, struct span base, uint32_t flags, uint8_t where) PT_MUST_USE;
typedef int names_each_f(void *arg, struct name *n);
int names_each(struct names *n, names_each_f *f, void *arg);

/* --- local_read.c ---------------------------------------------------------------------------------------- */

/* The box's index, up to what cannot be read. An end that was cut goes; *damaged_out: there are lines behind it, and all is left for
 * box_rebuild(). */
int box_index(struct local *l, struct box *b, bool replay, struct index *x_out, bool *damaged_out) PT_MUST_USE;

/* Writes a file anew and flushes it before it takes the place of the old one. */
int box_write_new(int dir_fd, const char *name, struct span s) PT_MUST_USE;

#define BOX_UID_TRUST_MAX 0xff000000u /* a U= beyond leaves a mailbox without a future: nobody has come so far by counting */

/* Reads a file whole; *text_out is owned. */
int read_whole(int fd, uint8_t **text_out, size_t *n_out) PT_MUST_USE;

void local_load(struct store_backend *, const char *, const char *, store_load_cb *, void *);
void local_log_open(struct store_backend *, const char *, const char *, store_fd_cb *, void *);
void local_log_compact(struct store_backend *, const char *, const char *, store_load_cb *, void *);
void local_keys_replace(struct store_backend *, const char *, struct buf *, store_done_cb *, void *);
void local_blob_open(struct store_backend *, const char *, const char *, const struct store_hint *,
		     store_fd_cb *, void *);
void local_list(struct store_backend *, const char *, store_list_cb *, void *);
/* What all keys are, out of their logs. */
int local_keys(struct local *l, store_key_f *f, void *arg, struct diag *diag) PT_MUST_USE;

/* --- local_file.c ----------------------------------------------------------------------------------------- */

#define LOCAL_TMP_NAME 40
/* A new file in .tmp, for writing, under a name of its own. */
int local_tmp_open(struct local *l, const char *prefix, char name[LOCAL_TMP_NAME]) PT_MUST_USE;

void local_file_new(struct store_backend *, store_file_cb *, void *);
void local_file_sync(struct store_backend *, const char *, store_fd_cb *, void *);
void local_file_drop(struct store_backend *, const char *);
void local_file_written(struct store_backend *, const char *, uint64_t);

/* Files of .tmp that no record of the journal names and that are older than an hour. */
void local_sweep(struct local *l);

/* --- local_scan.c ---------------------------------------------------------------------------------------- */

void local_scan(struct store_backend *, const char *, const char *, bool, store_scan_cb *, void *);

/* A file of a mailbox's folder as the index will have it; base and uid are the caller's. PT_ENOENT: it is gone, or is no file. */
int found_look(int dir_fd, const struct name *e, struct store_found *f_out) PT_MUST_USE;

/* The UIDs of Dovecot's list for the names that it has; where uidvalidity is given, only if the list has the same. head_out: what the list
 * says of itself, zeros when there is none. */
void box_uidlist(int dir_fd, struct names *n, const uint32_t *uidvalidity, struct uidlist_head *head_out);

/* Names of keywords that have none yet: of our own file, then Dovecot's. */
void box_keywords(int dir_fd, char keywords[STORE_KEYWORDS_MAX][STORE_KEYWORD_MAX + 1]);

/* --- local_admin.c ----------------------------------------------------------------------------------------- */

void local_users(struct store_backend *, const char *, size_t, store_users_cb *, void *);

/* --- local_stat.c ------------------------------------------------------------------------------------------ */

void local_stat(struct store_backend *, struct store_standing *);

/* --- local_check.c: mailboxes; the other three: what belongs to none, the queue, a user as a whole ---------- */

struct checking {
	struct store_checked out;
	size_t cap;
	bool tidy;
	int rc;
};

/* Adds a finding. Out of memory it is only counted. */
struct store_finding *check_found(struct checking *c, const char *kind, enum store_fix fix, const char *fmt, ...)
	PT_PRINTF(4, 5);

/* In a thread. tidy: names of left-overs are given to drop (main thread: local_file_drop()). */
struct check_drops {
	char (*names)[64];
	size_t n;
};
void check_store(struct local *l, struct checking *c, struct check_drops *drops);

void local_check(struct store_backend *, const char *, const char *, bool, store_check_cb *, void *);

/* The queue's files: new in the main thread, files in a thread, end in the main thread again, which calls done now or later and has
 * freed it then. Everything goes into c. */
struct queue_look *queue_look_new(struct local *l, struct checking *c); /* NULL: out of memory */
void queue_look_files(struct queue_look *q);
void queue_look_end(struct queue_look *q, void (*done)(void *arg), void *arg);

/* In the turn of a user as a whole: what he has, against Maildir++'s maildirsize, if there is one. */
void check_user(struct box *b, struct checking *c);

/* A file of .tmp that may be left behind by a process that was killed. */
bool local_is_leftover(const char *name);

/* --- local_rebuild.c --------------------------------------------------------------------------------------- */

/* Makes the box's index anew; x_out is what it says then. In a job of the box. */
int box_rebuild(struct local *l, struct box *b, const struct store_header *known, struct store_rebuilt *r_out,
		struct index *x_out) PT_MUST_USE;

void local_rebuild(struct store_backend *, const char *, const char *, const struct store_header *,
		   store_rebuild_cb *, void *);
/* --- local_queue.c --------------------------------------------------------------------------------------- */

/* All .env files, before the journal; and what is said of them after it. */
int local_queue_load(struct local *l, struct diag *diag) PT_MUST_USE;
void local_queue_replayed(struct local *l);

/* For a checkpoint: what has changed until now goes to its files, in threads; done gets 0 or PT_E*, and then nothing of
 * the journal may be recycled. */
void local_queue_save(struct local *l, void (*done)(void *arg, int rc), void *arg);

void local_queue_open(struct store_backend *, uint64_t, store_fd_cb *, void *);

/* Checkpoints and checks take turns at the queue's files. begin is called now or later; who has begun says when it is over. */
struct queue_turn {
	STAILQ_ENTRY(queue_turn) next;
	void (*begin)(void *arg);
	void *arg;
};
void local_queue_turn(struct local *l, struct queue_turn *t, void (*begin)(void *arg), void *arg);
void local_queue_turn_over(struct local *l);

enum store_rc local_rc(int rc);

#endif
