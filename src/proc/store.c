/* proc/store.c - postern-store: the process that owns everything durable.
 *
 * Holds: four folders (journal, keys, queue, mail), a channel to the parent and one to control and one to each worker, helper threads. Gave
 * up: user, root folder, network, exec, and by landlock every file that is not below those folders. It
 * parses its own indexes, names of files and its own journal, never what a message contains.
 *
 * One at a time: at an upgrade the old one answers what it has, writes it, gives up the journal's lock and ends; the new one
 * waits for the lock. What workers asked meanwhile they ask again. */
#include "config.h"

#include "conf/conf.h"
#include "proc/child.h"
#include "proc/files.h"
#include "proc/storage.h"
#include "store/server.h"
#include "util/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOCK_RETRY_MS 20
#define TICK_MAX_MS 1000
#define TICK_BUSY_MS 10
#define EARLY_MAX 64 /* processes that the parent has connected while the last store still ends */
#define WAITING_MAX 64 /* generations that live at a time */

/* An id of the replay, until there are mailboxes to remember it. */
struct replayed {
	struct replayed *next;
	char id[33];
	struct buf text;
};

struct store_proc {
	struct child child;
	struct conf *conf;        /* the first; NULL: none yet */
	uint64_t waiting[WAITING_MAX]; /* generations that wait for the store to be open, in their order */
	size_t nwaiting;
	struct {
		int fd;
		enum role role;
		uint32_t pid; /* a worker's */
	} early[EARLY_MAX]; /* channels that came before it was open */
	size_t nearly;
	struct store_backend *be; /* NULL: not open */
	struct kv *kv;
	struct queue *queue;
	struct mailboxes *mbs;
	struct server *server;
	struct replayed *replayed;
	struct ev_io io;
	struct ev_timer tick, retry;
	uint64_t ticked_ms;
	bool stopping;
	bool failed;
};

static void
on_failed(void *arg, const char *what)
{
	struct store_proc *s = arg;

	log_msg(LOG_L_ERROR, "%s: the process ends, and its successor carries out what the journal has", what);
	s->failed = true;
}

/* After each turn: the end, if it has come. What was answered is on its way. */
static void
look_for_the_end(struct store_proc *s)
{
	if (s->failed)
		exit(75);
	if (!s->stopping || (s->server != NULL && !server_quiet(s->server)))
		return;
	if (s->be != NULL) {
		server_free(&s->server);
		s->be->ops->close(s->be);
		mailboxes_free(&s->mbs);
	}
	exit(0);
}

static void on_tick(void *arg);

static void
on_ready(void *arg, unsigned what)
{
	struct store_proc *s = arg;

	(void)what;
	server_dispatch(s->server);
	look_for_the_end(s);
	if (ev_now_ms() - s->ticked_ms >= TICK_BUSY_MS) /* who is busy fills the journal, and must empty it */
		on_tick(s);
}

static void
on_tick(void *arg)
{
	struct store_proc *s = arg;
	uint64_t now = ev_now_ms(), next = mailboxes_tick(s->mbs, now);

	s->ticked_ms = now;
	mailboxes_flush(s->mbs);
	look_for_the_end(s);
	ev_timer_set(&s->tick, next <= now ? 1 : next - now < TICK_MAX_MS ? next - now : TICK_MAX_MS);
}

/* --- opening ------------------------------------------------------------------------------------------------ */

static void
on_key(void *arg, const char *space, const char *key, uint64_t version, int64_t expires, struct span value)
{
	struct store_proc *s = arg;

	if (kv_set(s->kv, space, key, version, expires, value) != 0)
		log_msg(LOG_L_ERROR, "no room for key %s of %s", key, space);
}

static void
on_id(void *arg, const char *id, struct span text)
{
	struct store_proc *s = arg;
	struct replayed *r = calloc(1, sizeof *r);

	PT_ASSERT(r != NULL);
	snprintf(r->id, sizeof r->id, "%.32s", id);
	buf_init(&r->text, text.n);
	PT_ASSERT(buf_append(&r->text, text.p, text.n) == 0);
	r->next = s->replayed;
	s->replayed = r;
}

/* Oldest first, so that the youngest are remembered longest. */
static void
remember(struct store_proc *s)
{
	struct replayed *r, *reversed = NULL;

	while ((r = s->replayed) != NULL) {
		s->replayed = r->next;
		r->next = reversed;
		reversed = r;
	}
	while ((r = reversed) != NULL) {
		reversed = r->next;
		mb_remember(s->mbs, r->id, buf_span(&r->text));
		buf_fini(&r->text);
		free(r);
	}
}

/* It has descriptors of files in .tmp, and may go on writing: who can end it must. */
static void
on_condemned(void *arg, uint32_t pid, const char *what)
{
	struct store_proc *s = arg;
	struct msg_store_condemned m = { .pid = pid, .text = span_str(what) };
	struct frame f;

	PT_ASSERT(msg_store_condemned_encode(&m, 0, &f) == 0);
	child_send(&s->child, &f, -1);
}

static int
open_engine(struct store_proc *s, struct diag *diag)
{
	struct local_conf lc = { .journal_fd = ROLE_FD_FOLDER + STORAGE_JOURNAL,
		.kv_fd = ROLE_FD_FOLDER + STORAGE_KEYS, .mail_fd = ROLE_FD_FOLDER + STORAGE_MAIL,
		.queue_fd = ROLE_FD_FOLDER + STORAGE_QUEUE,
		.host = s->conf->hostname, .segments = LOCAL_SEGMENTS,
		.segment_octets = ((uint64_t)s->conf->journal_mib << 20) / LOCAL_SEGMENTS,
		.margin_octets = LOCAL_MARGIN_OCTETS, .margin_inodes = LOCAL_MARGIN_INODES, .tidy = true,
		.failed = on_failed, .failed_arg = s };
	struct mailboxes_conf mc = { .host = s->conf->hostname };
	int rc;

	kv_free(&s->kv);
	queue_free(&s->queue);
	PT_ASSERT((s->kv = kv_new()) != NULL && (s->queue = queue_new()) != NULL);
	lc.queue = mc.queue = s->queue;
	if ((rc = local_open(&lc, on_key, on_id, s, &s->be, diag)) != 0)
		return rc;
	PT_ASSERT((s->mbs = mailboxes_new(s->be, s->kv, &mc)) != NULL);
	PT_ASSERT((s->server = server_new(s->be, s->mbs, s->kv)) != NULL);
	server_on_condemned(s->server, on_condemned, s);
	remember(s);
	return 0;
}

static void
agree(struct store_proc *s, bool ok, const char *text)
{
	size_t i;

	for (i = 0; i < s->nwaiting; i++)
		child_ack_cred(&s->child, s->waiting[i], ok, text);
	s->nwaiting = 0;
}

static void
take_channel(struct store_proc *s, int fd, enum role role, uint32_t pid)
{
	if (s->stopping)
		close(fd);
	else if (server_peer(s->server, fd, role == ROLE_WORKER ? STORE_CLASS_WORKER : STORE_CLASS_CONTROL, pid) != 0)
		log_msg(LOG_L_ERROR, "no memory for a channel");
}

static void
open_store(void *arg)
{
	struct store_proc *s = arg;
	struct diag diag = { "" };
	int rc = open_engine(s, &diag);
	size_t i;

	if (rc == PT_EBUSY) { /* the one before us is about to end */
		ev_timer_set(&s->retry, LOCK_RETRY_MS);
		return;
	}
	if (rc != 0) {
		agree(s, false, diag.text);
		return;
	}
	ev_io_init(&s->io, s->child.loop, server_fd(s->server), on_ready, s);
	ev_io_want(&s->io, EV_IO_READ);
	ev_timer_init(&s->tick, s->child.loop, on_tick, s);
	ev_timer_set(&s->tick, 1);
	s->child.state = PROC_SERVING;
	setproctitle("store: %s", proc_state_name(PROC_SERVING));
	for (i = 0; i < s->nearly; i++)
		take_channel(s, s->early[i].fd, s->early[i].role, s->early[i].pid);
	s->nearly = 0;
	agree(s, true, "");
}

/* --- the parent --------------------------------------------------------------------------------------------- */

static struct conf *
read_conf(int fd)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf = NULL;
	struct diag diag;
	struct buf text;

	PT_ASSERT(errors != NULL);
	buf_init(&text, 4 * CONF_FILE_MAX);
	PT_ASSERT(file_slurp(fd, &text, &diag) == 0);
	PT_ASSERT(conf_parse("configuration", "/", buf_span(&text), &conf, errors) == 0);
	conf_errors_free(&errors);
	buf_fini(&text);
	return conf;
}

/* What was opened stays open: folders and journal are those of the first configuration. */
static const char *
cannot_change(const struct conf *a, const struct conf *b)
{
	if (strcmp(a->mail, b->mail) != 0)
		return "mail: the folder cannot be another one while the server runs; stop it and start it again";
	if (strcmp(a->state, b->state) != 0)
		return "state: the folder cannot be another one while the server runs; stop it and start it again";
	return NULL;
}

static int
on_config(void *self, void *peer, struct frame *f)
{
	struct store_proc *s = self;
	struct msg_config m;
	struct conf *conf;
	const char *wrong;

	(void)peer;
	if (msg_config_decode(f, &m) != 0)
		return PT_EPROTO;
	conf = read_conf(f->fd);
	if (conf->mail == NULL) {
		conf_free(&conf);
		return PT_EPROTO;
	}
	if (s->conf == NULL) {
		s->conf = conf;
		s->waiting[s->nwaiting++] = m.generation;
		open_store(s);
		return 0;
	}
	wrong = cannot_change(s->conf, conf);
	conf_free(&conf);
	if (wrong == NULL && s->nwaiting > 0 && s->nwaiting < WAITING_MAX) {
		s->waiting[s->nwaiting++] = m.generation;
		return 0;
	}
	child_ack_cred(&s->child, m.generation, wrong == NULL, wrong == NULL ? "" : wrong);
	return 0;
}

static int
on_channel(void *self, void *peer, struct frame *f)
{
	struct store_proc *s = self;
	struct msg_channel m;
	uint32_t pid;

	(void)peer;
	if (msg_channel_decode(f, &m) != 0 || (m.role != ROLE_WORKER && m.role != ROLE_CONTROL))
		return PT_EPROTO;
	pid = m.role == ROLE_WORKER ? f->id : 0;
	if (s->server != NULL) {
		take_channel(s, frame_take_fd(f), (enum role)m.role, pid);
		return 0;
	}
	if (s->nearly == EARLY_MAX)
		return PT_EPROTO;
	s->early[s->nearly].fd = frame_take_fd(f);
	s->early[s->nearly].pid = pid;
	s->early[s->nearly++].role = (enum role)m.role;
	return 0;
}

static int
on_release(void *self, void *peer, struct frame *f)
{
	struct msg_cred_release m;

	(void)self;
	(void)peer;
	return msg_cred_release_decode(f, &m); /* nothing of a generation is kept */
}

static int
on_stop(void *self, void *peer, struct frame *f)
{
	struct store_proc *s = self;
	struct msg_stop m;

	(void)peer;
	if (msg_stop_decode(f, &m) != 0)
		return PT_EPROTO;
	s->stopping = true;
	look_for_the_end(s);
	return 0;
}

static const struct ipc_rule rules[] = {
	{ MSG_T_LOG_END, 1u << ROLE_PARENT, IPC_ANY_STATE, child_on_log_end },
	{ MSG_T_CONFIG, 1u << ROLE_PARENT, IPC_ANY_STATE, on_config },
	{ MSG_T_CHANNEL, 1u << ROLE_PARENT, IPC_ANY_STATE, on_channel },
	{ MSG_T_CRED_RELEASE, 1u << ROLE_PARENT, IPC_ANY_STATE, on_release },
	{ MSG_T_STOP, 1u << ROLE_PARENT, IPC_ANY_STATE, on_stop },
	{ MSG_T_PROBE, 1u << ROLE_PARENT, IPC_ANY_STATE, child_on_probe },
};

int
main(int argc, char **argv)
{
	static struct store_proc s;

	if (argc < 3 || strcmp(argv[1], "-r") != 0 || strcmp(argv[2], role_name(ROLE_STORE)) != 0) {
		fprintf(stderr, "postern-store is started by posternd(8)\n");
		return 64;
	}
	child_init(&s.child, ROLE_STORE, argc, argv, rules, PT_COUNT(rules), &s);
	signal(SIGIO, SIG_IGN); /* of a lease that is held for a moment (store/local_file.c) */
	ev_timer_init(&s.retry, s.child.loop, open_store, &s);
	setproctitle("store: %s", proc_state_name(PROC_STARTING));
	child_run(&s.child);
}
