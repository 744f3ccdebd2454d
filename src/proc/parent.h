/* proc/parent.h - the parent: what it knows of itself, its generations and its children. Shared by the
 * parent's own files. The parent never reads an octet from a client and never parses a certificate. */
#ifndef PROC_PARENT_H
#define PROC_PARENT_H

#include "conf/conf.h"
#include "ev/ev.h"
#include "ipc/chan.h"
#include "ipc/msg.h"
#include "ipc/rules.h"
#include "net/listen.h"
#include "proc/cred_kind.h"
#include "proc/credset.h"
#include "proc/pickup.h"
#include "proc/role.h"
#include "proc/table.h"
#include "proc/ticket_key.h"

#include <sys/queue.h>
#include <sys/types.h>

#define PENDING_MAX 16          /* reload requests that wait for their answer */
#define STAGE_TIMEOUT_MS 60000  /* for new workers to be ready */
#define SLOT_NONE 0xffffffffu

/* --- generations: a configuration with all that belongs to it (generation.c) ------------------ */

struct gen_listener {
	char *text; /* of the address: by it a reload finds the socket again */
	int fd;     /* -1 once the generation accepts no more */
	uint32_t service, listen;
};

struct generation {
	TAILQ_ENTRY(generation) next;
	uint64_t number;
	struct conf *conf; /* NULL: taken over from a binary whose configuration we cannot read */
	int conf_fd;       /* its text, sealed */
	struct gen_listener *listeners;
	size_t nlisteners;
	struct cred_set_list sets; /* whose keys may still be asked for, the oldest first */
	struct cred_set *cred;     /* the last of them: the one in effect */
	bool dirty;                /* its files are not those of that set */
	unsigned tries;            /* that failed, of the files as they are */
	uint64_t not_before_ms;    /* the next one */
	uint64_t tried;            /* digest of the files that were refused */
	struct cred_set *accounts; /* users file and impersonate table, as auth has them; NULL: no users */
	struct cred_set *accounts_next; /* given to auth, which has not said yes; NULL: none */
	struct cred_set *accounts_bad;  /* auth has said no: not to be tried again until they change; NULL: none */
	unsigned agreed; /* bit set of the helpers that have said yes to it, of the present ones */
	bool has_ticket_key;
	uint8_t ticket_key[TICKET_KEY_SIZE]; /* wiped with it */
};

/* Opens what conf names; listeners that prev has are taken from it. conf is taken in any case. bind
 * false: nothing is bound (a check). On error nothing stays open. */
int generation_new(struct conf *conf, uint64_t number, const struct generation *prev, bool bind,
		   struct generation **gen_out, struct diag *diag) PT_MUST_USE;
void generation_close_listeners(struct generation *g);

/* Removes the files of its unix sockets, but those that keep (NULL: none) has too. */
void generation_remove_sockets(const struct generation *g, const struct generation *keep);

/* The key of session tickets, if a service gives any; without one its workers give none. */
void generation_load_ticket_key(struct generation *g, const struct generation *prev);
void generation_free(struct generation **g);

/* The files of auth, as cred_set_open(): conf names a users file. */
int accounts_open(const struct conf *conf, const struct cred_set *prev, struct cred_set **set_out,
		  struct diag *diag) PT_MUST_USE;

/* The number of the key of a certificate directive: the same in all its sets. */
uint32_t generation_key(const struct generation *g, const struct conf_cert *cert);

/* --- children (supervise.c) ------------------------------------------------------------------- */

struct parent;

struct proc {
	TAILQ_ENTRY(proc) next;
	struct parent *parent;
	enum role role;
	uint32_t slot; /* of its table; SLOT_NONE for others than workers */
	pid_t pid;
	uint64_t generation;
	enum proc_state state;
	bool leaving; /* told to end, or replaced: its end is no failure */
	bool joined;  /* a helper that has its channels, and gets one to whoever is started later */
	bool ended;   /* reaped: its pid may be somebody else's by now */
	bool loading; /* a worker that has to say yes to the set that is being picked up */
	uint64_t started_ms;
	int groups_fd; /* of spawn: its programs (proc/groups.h); -1 elsewhere */
	struct chan *chan;
	struct ev_io io;
};

/* One role or worker slot that is started again when it dies. */
struct respawn {
	struct parent *parent;
	enum role role;
	uint32_t slot;
	unsigned streak; /* deaths in a row without a quiet time between them */
	uint32_t restarts;
	struct ev_timer timer;
};

struct parent_table {
	int fd, reader_fd; /* -1: not made yet */
	int rec_fd, rec_reader_fd; /* of its flight recorder; -1: not made */
	bool taken;
	uint32_t retiring; /* pid of the ended worker whose records control is to look at; 0: none */
	uint64_t retiring_ms; /* since when */
};

/* --- the parent ------------------------------------------------------------------------------- */

struct parent {
	/* from the command line, for ever */
	const char *conf_path;
	bool foreground;
	char **argv;
	char exe_path[1024];
	int exe_fds[ROLE_COUNT]; /* what each role executes */
	struct ev_loop *loop;
	struct ev_signal signals[6];

	enum proc_state state;
	bool is_root;
	uint64_t started; /* seconds of CLOCK_REALTIME; outlives an upgrade */
	uint64_t seed;
	uint64_t last_generation, last_cred; /* numbers given: of configurations, of credentials */
	int pid_fd;
	char *pid_file; /* as locked */
	int control_fd; /* listening socket for the postern command */
	char *control_path;
	int log_fd; /* our own messages; -1: stderr */
	bool log_failed; /* its target could not be opened, and that has been said */
	struct ev_timer log_timer;
	int root_fd; /* the empty folder */
	int ready_fd; /* the process that started us waits here; -1: nobody */
	char limitations[4096];
	int exit_code;

	TAILQ_HEAD(proc_list, proc) procs;
	struct proc *helpers[ROLE_COUNT]; /* the present one of each helper role; NULL: none */
	TAILQ_HEAD(generation_list, generation) generations; /* those with workers; current is among them */
	struct generation *current, *staging;
	struct ev_timer stage_timer;
	bool helpers_asked; /* staging waits for helpers; else for workers */
	bool reload_again;
	uint32_t pending[PENDING_MAX], pending_next[PENDING_MAX];
	size_t npending, npending_next;
	struct ev_timer stop_timer;

	struct watch *accounts_watch; /* of the files of auth; NULL: out of memory at the start */
	struct parent_table tables[TABLE_SLOTS_MAX];
	struct respawn worker_respawn[TABLE_SLOTS_MAX], helper_respawn[ROLE_COUNT];

	pid_t check_pid; /* the new binary's -n, before an upgrade; 0: none */
	struct ev_timer check_timer; /* it may hang on a file system that does */
	bool upgrade_wanted;
	struct ev_timer upgrade_timer; /* between the check and the exec */
	struct pickup pickup;
	pid_t probe_pid;
};

/* launch.c: a child of that role; its channel is there, and nothing was sent yet. On error diag has a sentence where
 * there is one; it is not logged, since a start that fails says it as its last word. */
int launch(struct parent *p, enum role role, uint32_t slot, uint64_t generation, struct proc **proc_out,
	   struct diag *diag) PT_MUST_USE;

/* A new end of the log for a process, the other in *control_end_out; -1 when there is no control. */
int launch_log_end(struct parent *p, int *control_end_out);

/* log_target.c */
void log_target_open(struct parent *p); /* opens what "log" names, and gives it to control */
void log_target_join(struct parent *p); /* control is new: every process gets an end of its log */

/* helpers.c: the roles that exist once */

/* What the parent has to know of a helper role; helpers.c has the table of all. A helper is started when a
 * configuration needs it, before the workers of it; at a reload it stays and gets the next generation; at an
 * upgrade a new one joins everybody, and the old one, told to stop, ends when its last channel has. When
 * it dies it is started again and joins anew. */
struct helper {
	bool (*wanted)(const struct conf *conf); /* whether it needs the helper; NULL: each one does */
	void (*begin)(struct parent *p, struct proc *proc); /* it was just started; may be NULL */
	/* A generation that it has to know, until CRED_RELEASE; NULL: none */
	void (*give)(struct parent *p, struct proc *proc, const struct generation *g);
	/* The same for one that gets credential sets instead, each by its own number, until CRED_RELEASE of that */
	void (*give_set)(struct proc *proc, const struct generation *g, const struct cred_set *set);
	bool agrees;     /* answers each with CRED_ACK, which may be no; it joins when it has said yes to all */
	bool alone;      /* one at a time: the one before is told to stop as the next is started, not when it has joined */
	unsigned peers;  /* bit set of roles: a channel (CHANNEL) to each process of them */
	unsigned ends;   /* rank at the end of all, after the workers: told to stop when all of lower rank are gone */
	uint32_t end_ms; /* that it may take then */
};

/* NULL for parent and worker. */
const struct helper *helper_of(unsigned role);

/* All that g (p->staging) needs is there, and was given it. */
int helpers_stage(struct parent *p, struct generation *g, struct diag *diag) PT_MUST_USE;

/* All whose yes g needs have said it. */
bool helpers_agreed(const struct generation *g);

/* Every helper that the current generation needs is there and has agreed to all that live. */
bool helpers_ready(const struct parent *p);

/* Starts the present one of its role, unless there is one. It gets all generations, staging too. */
int helper_start(struct parent *p, enum role role, struct diag *diag) PT_MUST_USE;
void helper_ready(struct parent *p, struct proc *proc); /* confined */
void helper_agrees(struct parent *p, struct proc *proc, uint64_t number); /* CRED_ACK; it may be of nothing */
void helpers_serving(struct parent *p); /* a generation serves: so do they */
/* proc was a helper whose yes the next generation needs. */
bool helper_lost(const struct parent *p, const struct proc *proc);
bool helper_needed(const struct parent *p, enum role role); /* by any generation */
void helpers_release(struct parent *p, const struct generation *g); /* it has gone, and maybe they with it */
void helpers_replace(struct parent *p); /* after an upgrade */
void helpers_join_worker(struct parent *p, struct proc *worker);
void helpers_give_set(struct parent *p, const struct generation *g, const struct cred_set *set);
bool helpers_have_set(const struct generation *g, const struct cred_set *set); /* all have agreed to it */
void helpers_release_set(struct parent *p, const struct cred_set *set);

/* Tells those to stop whose turn it is; false: there are none left. *timeout_ms_out: what they may take. */
bool helpers_end(struct parent *p, uint32_t *timeout_ms_out);

/* storage.c: the store and its folders */
bool storage_wanted(const struct conf *conf);

/* accounts.c: auth and its files */
bool accounts_wanted(const struct conf *conf);
void accounts_begin(struct parent *p, struct proc *proc);
void accounts_give(struct parent *p, struct proc *proc, const struct generation *g);
void accounts_init(struct parent *p);
void accounts_look(struct parent *p); /* files may have changed, or who they are for can be told now */
void accounts_follow(struct parent *p); /* the generations have changed: their files are watched, and looked at */
/* AUTH_LOADED; users: how many there are now, or still. */
void accounts_loaded(struct parent *p, struct proc *proc, uint64_t generation, bool ok, uint32_t users,
		     const char *text);
void accounts_auth_gone(struct parent *p); /* what it was given it has not taken */

/* workers.c */
void workers_send_credentials(struct proc *proc, const struct generation *g, const struct cred_set *set);
int workers_start(struct parent *p, struct generation *g, uint32_t slot) PT_MUST_USE;
int workers_free_slot(struct parent *p, uint32_t *slot_out);
int workers_prepare_table(struct parent *p, uint32_t slot) PT_MUST_USE; /* empty, known to everyone */
void workers_retire_table(struct parent *p, const struct proc *worker);
void workers_send_tables(struct parent *p, struct proc *proc); /* all that it reads */

/* recorders.c: the memory of the flight recorders */
void recorders_prepare(struct parent *p, uint32_t slot); /* empty, and known to control */
void recorders_send_own(struct parent *p, struct proc *worker);
void recorders_control_begin(struct parent *p); /* a new control: it gets all of them */
void recorders_retire(struct parent *p, const struct proc *worker); /* it has ended: its slot is free soon */
void recorders_retired(struct parent *p, uint32_t slot, uint32_t pid); /* control has what it wants */
bool recorders_wait(struct parent *p, uint32_t slot); /* a moment more before the slot is used again */

/* supervise.c */
void supervise_init(struct parent *p);
struct proc *supervise_adopt(struct parent *p, enum role role, uint32_t slot, pid_t pid, uint64_t generation,
			     enum proc_state state, int fd);
void supervise_send(struct proc *proc, struct frame *f, int fd);
void supervise_reap(struct parent *p);
void supervise_set_state(struct proc *proc, enum proc_state state);
size_t supervise_count(const struct parent *p, enum role role, uint64_t generation /* 0: any */);
void supervise_tell_process(struct parent *p, const struct proc *proc, bool gone);
void supervise_tell_state(struct parent *p);
void supervise_kill(struct proc *proc); /* -9, unless it has ended */
void supervise_kill_all(struct parent *p);
struct generation *parent_generation(const struct parent *p, uint64_t number);

/* The credential set of that number, and whose it is; NULL when there is none. */
struct cred_set *parent_cred_set(struct parent *p, uint64_t number, struct generation **g_out);

/* Sends one message to a child; the fields are given as designated initialisers. proc may be NULL. */
#define SEND(proc, name, fd, ...) SEND_ID(proc, name, 0, fd, __VA_ARGS__)
#define SEND_ID(proc, name, id, fd, ...)                                                           \
	do {                                                                                       \
		struct msg_##name m_ = { __VA_ARGS__ };                                            \
		struct frame f_;                                                                   \
		PT_ASSERT(msg_##name##_encode(&m_, (id), &f_) == 0);                               \
		supervise_send(proc, &f_, fd);                                                     \
	} while (0)

/* transition.c: from one generation to the next, and to the end */
void transition_begin(struct parent *p, uint32_t request_id /* 0: a signal */);
void transition_helpers_agreed(struct parent *p);
void transition_worker_loaded(struct parent *p, struct proc *proc, bool ok, const char *text);
void transition_proc_gone(struct parent *p, const struct proc *proc);
void transition_stop(struct parent *p, bool drain);
void transition_stop_now(struct parent *p);
void transition_fail(struct parent *p, const char *text); /* staging is given up */

/* upgrade.c */
void upgrade_begin(struct parent *p);
void upgrade_checked(struct parent *p, int status);
bool upgrade_resume(struct parent *p); /* true: we were exec'd by an older parent and have its children */

/* check.c: posternd -n; prints mistakes to stderr, returns the exit code */
int check_main(const char *conf_path);
unsigned check_accounts(const struct generation *g); /* check_accounts.c: how many files have mistakes */

/* check_exec.c: its part about programs; says what is wrong, returns how much. */
unsigned check_exec(const struct conf *conf);

/* parent.c */
int parent_main(int argc, char **argv, const char *conf_path, bool foreground);
int parent_open_control(struct parent *p, const struct conf *conf, struct diag *diag) PT_MUST_USE;
void parent_ready(struct parent *p); /* serving: tell the starter and the service manager */
void parent_hold_signals(bool hold); /* those that we handle wait until they are no longer held */
__attribute__((noreturn)) void parent_exit(struct parent *p, int code);

/* notify.c: sd_notify(3) without the library */
void notify_systemd(const char *state);

#endif
