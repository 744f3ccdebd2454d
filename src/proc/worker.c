/* proc/worker.c - the process that holds client connections.
 *
 * Holds: the listeners, its connections, a channel to the parent, one to the keyholder, its shared table
 * and read-only maps of the others'. Gave up: user, root folder, files, new sockets, exec. It gets all it
 * needs by descriptors: the configuration as text in a sealed memfd, certificates without keys, CA files. */
#include "proc/worker.h"

#include "proc/conn.h"
#include "proc/conn_rec.h"
#include "proc/files.h"
#include "proc/ticket_key.h"
#include "proc/worker_main.h"
#include "proto/exec/exec_engine.h"
#include "proto/line/line_engine.h"
#include "proto/smtp/smtp_engine.h"
#include "util/log.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(TICKET_KEY_SIZE == TLS_TICKET_MASTER_SIZE, "the parent's file is the master key");

#define TRIM_CONNS_MIN 256 /* fewer that have ended are not worth looking through the heap */
#define STOP_LINGER_EXTRA_MS 500 /* goodbyes on their way when stop-timeout has passed */

static const struct engine_protocol *const protocols[] = {
	[CONF_PROTOCOL_LINE] = &line_protocol,
	[CONF_PROTOCOL_EXEC] = &exec_protocol,
	[CONF_PROTOCOL_SMTP] = &smtp_protocol,
	[CONF_PROTOCOL_SUBMISSION] = &submission_protocol,
	[CONF_PROTOCOL_LMTP] = &lmtp_protocol,
};

static void
set_state(struct worker *w, enum proc_state state)
{
	w->child.state = state;
	atomic_store(&w->table->state, (uint32_t)state);
}

static void
show_title(struct worker *w)
{
	char title[sizeof w->title];

	snprintf(title, sizeof title, "worker %u: %llu connections, %s", w->slot,
		(unsigned long long)atomic_load(&w->table->connections),
		proc_state_name(w->child.state));
	if (strcmp(title, w->title) == 0)
		return;
	memcpy(w->title, title, sizeof title);
	setproctitle("%s", title);
}

/* After a burst the freed memory lies between what is still in use, and free() alone keeps all of it.
 * Only when half of the connections have gone, so that the work is in proportion. */
static void
give_back_memory(struct worker *w)
{
	uint64_t now = atomic_load_explicit(&w->table->connections, memory_order_relaxed);

	if (now > w->conns_peak)
		w->conns_peak = now;
	if (w->conns_peak - now < TRIM_CONNS_MIN || now > w->conns_peak / 2)
		return;
	(void)malloc_trim(0);
	w->conns_peak = now;
}

static void
on_second(void *arg)
{
	struct worker *w = arg;
	uint64_t now = ev_now_ms();

	ev_timer_set(&w->second, 1000);
	show_title(w);
	accept_second(w, now);
	conn_sweep_handshakes(w, now);
	worker_ages_second(w);
	worker_expiry_second(w);
	judge_second(w);
	conn_rec_second(w, now);
	give_back_memory(w);
}

/* --- from the parent -------------------------------------------------------------------------- */

/* The engine knows nothing of conf/: what it needs, in its own words. */
static void
set_up_exec(struct service *s, uint32_t linger_ms)
{
	const struct conf_exec *e = &s->conf->exec;
	const struct conf_capability *c;
	size_t i;

	_Static_assert((int)CONF_SAY_COUNT == (int)EXEC_TEXT_COUNT &&
			(int)CONF_SAY_SHUTDOWN == (int)EXEC_TX_SHUTDOWN, "one list");
	_Static_assert(CONF_EXEC_CAPABILITIES_MAX == EXEC_CAPABILITIES_MAX &&
			CONF_EXEC_TEXT_MAX == EXEC_TEXT_MAX && CONF_EXEC_PATTERNS_MAX == EXEC_PATTERNS_MAX, "limits");
	s->exec = (struct exec_conf){ .at_once = e->start == CONF_START_AT_ONCE,
		.needs_login = (s->conf->login & CONF_LOGIN_CERTIFICATE) != 0,
		.case_sensitive = e->case_sensitive, .arguments = e->arguments, .greeting = e->greeting,
		.keyword = e->keyword, .reply = e->reply, .banner = e->banner,
		.plaintext = (const char *const *)e->plaintext, .nplaintext = e->nplaintext,
		.capabilities = s->capabilities, .ncapabilities = e->ncapabilities, .linger_ms = linger_ms };
	for (i = 0; i < e->ncapabilities; i++) {
		c = &e->capabilities[i];
		s->capabilities[i] = (struct exec_capability){ .text = c->text, .pattern = c->pattern,
			.to = c->to, .place = c->place == CONF_PLACE_BEFORE ? EXEC_BEFORE
				: c->place == CONF_PLACE_AFTER ? EXEC_AFTER : EXEC_APPEND };
	}
	for (i = 0; i < EXEC_TEXT_COUNT; i++)
		s->exec.says[i] = e->says[i].text;
	s->engine_conf.exec = &s->exec;
}

static struct smtp_conf
smtp_conf(const struct conf_service *s)
{
	const struct conf_mail *m = &s->mail;

	return (struct smtp_conf){ .max_message_octets = m->max_message_octets,
		.max_recipients = m->max_recipients, .max_errors = m->max_errors,
		.max_unknown = m->max_unknown, .max_commands = m->max_commands,
		.message_timeout_ms = m->message_timeout_ms,
		.greeting_delay_ms = m->greeting_delay_ms,
		.login = ((s->login & CONF_LOGIN_CERTIFICATE) != 0 ? SMTP_LOGIN_CERTIFICATE : 0) |
			((s->login & CONF_LOGIN_PASSWORD) != 0 ? SMTP_LOGIN_PASSWORD : 0) };
}

static void
set_up_services(struct worker *w)
{
	const struct conf *conf = w->conf;
	struct service *s;
	size_t i;

	for (i = 0; i < conf->nservices; i++) {
		s = &w->services[i];
		s->conf = &conf->services[i];
		s->protocol = protocols[s->conf->protocol];
		s->smtp = smtp_conf(s->conf);
		s->engine_conf = (struct engine_conf){ .hostname = conf->hostname, .smtp = &s->smtp,
			.service = s->conf->name, .idle_timeout_ms = s->conf->idle_timeout_ms };
		PT_ASSERT(domains_init(&s->domains, s->conf->tls) == 0);
		if (s->conf->protocol == CONF_PROTOCOL_EXEC)
			set_up_exec(s, conf->linger_ms);
		s->count = &w->table->services[i];
		strlcpy(s->count->name, s->conf->name, sizeof s->count->name);
	}
	atomic_store_explicit(&w->table->nservices, (uint32_t)conf->nservices, memory_order_release);
}

static int
on_config(void *self, void *peer, struct frame *f)
{
	struct conf_errors *errors = conf_errors_new();
	struct worker *w = self;
	struct msg_config m;
	struct diag diag;
	struct buf text;

	(void)peer;
	if (msg_config_decode(f, &m) != 0 || w->conf != NULL || w->table == NULL || errors == NULL)
		return PT_EPROTO;
	buf_init(&text, 4 * CONF_FILE_MAX);
	/* the parent has checked it: anything wrong here is our own bug */
	PT_ASSERT(file_slurp(f->fd, &text, &diag) == 0);
	PT_ASSERT(conf_parse("configuration", "/", buf_span(&text), &w->conf, errors) == 0);
	conf_errors_free(&errors);
	buf_fini(&text);
	w->generation = m.generation;
	atomic_store(&w->table->generation, m.generation);
	if (w->conf->recorder && w->rec_mem != NULL)
		w->rec_writer = rec_writer_new(w->rec_mem, w->slot, REC_RECENT);
	w->why_limit = why_limit_new();
	set_up_services(w);
	return 0;
}

static int
on_table(void *self, void *peer, struct frame *f)
{
	struct worker *w = self;
	struct msg_table m;
	struct table **at;

	(void)peer;
	if (msg_table_decode(f, &m) != 0 || m.slot >= TABLE_SLOTS_MAX || (m.own && w->table != NULL))
		return PT_EPROTO;
	at = m.own ? &w->table : &w->tables[m.slot];
	if (*at != NULL)
		return 0; /* the same memory again */
	PT_ASSERT((*at = table_map(f->fd, m.own != 0)) != NULL);
	if (m.slot >= w->ntables)
		w->ntables = m.slot + 1;
	if (m.own) {
		w->slot = m.slot;
		w->pid = (uint32_t)getpid();
		atomic_store(&w->table->pid, w->pid);
		set_state(w, PROC_STARTING);
	}
	return 0;
}

static int
on_recorder(void *self, void *peer, struct frame *f)
{
	struct worker *w = self;
	struct msg_recorder m;

	(void)peer;
	if (msg_recorder_decode(f, &m) != 0 || m.own == 0 || w->rec_mem != NULL)
		return PT_EPROTO;
	w->rec_mem = rec_mem_map(f->fd, true);
	return 0;
}

static int
on_seed(void *self, void *peer, struct frame *f)
{
	struct worker *w = self;
	struct msg_seed m;

	(void)peer;
	if (msg_seed_decode(f, &m) != 0)
		return PT_EPROTO;
	w->seed = m.seed;
	return 0;
}

static int
on_ticket_key(void *self, void *peer, struct frame *f)
{
	struct worker *w = self;
	struct msg_ticket_key m;

	(void)peer;
	if (msg_ticket_key_decode(f, &m) != 0 || w->has_ticket_master ||
	    pread(f->fd, w->ticket_master, sizeof w->ticket_master, 0) !=
		    (ssize_t)sizeof w->ticket_master)
		return PT_EPROTO;
	w->has_ticket_master = true;
	return 0;
}

static int
on_listener_fd(void *self, void *peer, struct frame *f)
{
	struct worker *w = self;
	struct msg_listener m;
	struct listener *l;

	(void)peer;
	if (msg_listener_decode(f, &m) != 0 || w->conf == NULL || m.service >= w->conf->nservices ||
	    m.listen >= w->conf->services[m.service].nlistens ||
	    w->nlisteners == PT_COUNT(w->listeners))
		return PT_EPROTO;
	l = &w->listeners[w->nlisteners++];
	l->worker = w;
	l->service = &w->services[m.service];
	l->conf = &w->conf->services[m.service].listens[m.listen];
	l->fd = frame_take_fd(f);
	return 0;
}

static int
on_channel(void *self, void *peer, struct frame *f)
{
	struct worker *w = self;
	struct msg_channel m;

	(void)peer;
	if (msg_channel_decode(f, &m) != 0)
		return PT_EPROTO;
	if (m.role == ROLE_KEYHOLDER)
		signer_set(&w->signer, frame_take_fd(f));
	else if (m.role == ROLE_SPAWN)
		spawner_set(w, frame_take_fd(f));
	else if (m.role == ROLE_STORE)
		worker_store_attach(w->store, frame_take_fd(f));
	else if (m.role == ROLE_AUTH)
		auth_client_set(w->auth, frame_take_fd(f));
	else
		return PT_EPROTO;
	return 0;
}

static int
on_start(void *self, void *peer, struct frame *f)
{
	struct worker *w = self;
	struct msg_start m;

	(void)peer;
	if (msg_start_decode(f, &m) != 0 || w->conf == NULL)
		return PT_EPROTO;
	set_state(w, PROC_SERVING);
	accept_start(w);
	on_second(w);
	return 0;
}

/* --- the end ---------------------------------------------------------------------------------- */

void
worker_conn_gone(struct worker *w)
{
	uint64_t left = atomic_fetch_sub_explicit(&w->table->connections, 1, memory_order_relaxed) - 1;

	accept_conn_gone(w);
	if (left == 0 && (w->child.state == PROC_DRAINING || w->child.state == PROC_STOPPING))
		exit(0);
}

static void
goodbye_to_all(struct worker *w)
{
	struct conn *c, *next;

	/* the last one's end is the end of this process */
	for (c = TAILQ_FIRST(&w->conns); c != NULL; c = next) {
		next = conn_next(c);
		conn_goodbye(c);
	}
}

static void
on_stop_timer(void *arg)
{
	struct worker *w = arg;

	if (w->dying)
		exit(0);
	w->dying = true;
	ev_timer_set(&w->stop_timer, w->conf->linger_ms + STOP_LINGER_EXTRA_MS);
	set_state(w, PROC_STOPPING);
	show_title(w);
	goodbye_to_all(w);
}

static void
leave_service(struct worker *w, enum proc_state state, uint64_t timeout_ms)
{
	if (w->child.state < PROC_DRAINING)
		accept_stop(w);
	if (w->child.state < state)
		set_state(w, state);
	show_title(w);
	if (TAILQ_EMPTY(&w->conns))
		exit(0);
	ev_timer_set(&w->stop_timer, timeout_ms);
}

static int
on_drain(void *self, void *peer, struct frame *f)
{
	struct worker *w = self;
	struct msg_drain m;

	(void)peer;
	if (msg_drain_decode(f, &m) != 0)
		return PT_EPROTO;
	if (w->conf == NULL)
		exit(0); /* before it began */
	leave_service(w, PROC_DRAINING, m.timeout_ms);
	return 0;
}

static int
on_stop(void *self, void *peer, struct frame *f)
{
	struct worker *w = self;
	struct msg_stop m;

	(void)peer;
	if (msg_stop_decode(f, &m) != 0)
		return PT_EPROTO;
	if (w->conf == NULL)
		exit(0); /* stopped before it began */
	w->dying = true; /* the goodbye is said now; the timer is the end of waiting */
	leave_service(w, PROC_STOPPING, m.timeout_ms);
	goodbye_to_all(w);
	return 0;
}

#define FROM_PARENT (1u << ROLE_PARENT)
#define BEFORE (IPC_IN(PROC_STARTING))

static const struct ipc_rule rules[] = {
	{ MSG_T_TABLE, FROM_PARENT, IPC_ANY_STATE, on_table },
	{ MSG_T_RECORDER, FROM_PARENT, BEFORE, on_recorder },
	{ MSG_T_SEED, FROM_PARENT, BEFORE, on_seed },
	{ MSG_T_TICKET_KEY, FROM_PARENT, BEFORE, on_ticket_key },
	{ MSG_T_CONFIG, FROM_PARENT, BEFORE, on_config },
	{ MSG_T_LISTENER, FROM_PARENT, BEFORE, on_listener_fd },
	{ MSG_T_CHANNEL, FROM_PARENT, IPC_ANY_STATE, on_channel },
	{ MSG_T_LOG_END, FROM_PARENT, IPC_ANY_STATE, child_on_log_end },
	{ MSG_T_CRED_BEGIN, FROM_PARENT, IPC_ANY_STATE, worker_on_cred_begin },
	{ MSG_T_CRED_FILE, FROM_PARENT, IPC_ANY_STATE, worker_on_cred_file },
	{ MSG_T_CRED_END, FROM_PARENT, IPC_ANY_STATE, worker_on_cred_end },
	{ MSG_T_CRED_COMMIT, FROM_PARENT, IPC_ANY_STATE, worker_on_cred_commit },
	{ MSG_T_CRED_RELEASE, FROM_PARENT, IPC_ANY_STATE, worker_on_cred_release },
	{ MSG_T_START, FROM_PARENT, BEFORE, on_start },
	{ MSG_T_DRAIN, FROM_PARENT, IPC_ANY_STATE, on_drain },
	{ MSG_T_STOP, FROM_PARENT, IPC_ANY_STATE, on_stop },
	{ MSG_T_PROBE, FROM_PARENT, IPC_ANY_STATE, child_on_probe },
};

int
worker_main(int argc, char **argv)
{
	struct worker *w = calloc(1, sizeof *w);

	PT_ASSERT(w != NULL);
	TAILQ_INIT(&w->conns);
	TAILQ_INIT(&w->handshakes);
	descriptors_raise();
	child_init(&w->child, ROLE_WORKER, argc, argv, rules, PT_COUNT(rules), w);
	signer_init(&w->signer, w);
	worker_cred_init(w);
	judge_init(w);
	PT_ASSERT((w->auth = auth_client_new(&w->child, conn_users_ousted, w)) != NULL);
	PT_ASSERT((w->store = worker_store_new(w->child.loop)) != NULL);
	arc4random_buf(&w->message_seed, sizeof w->message_seed);
	ev_timer_init(&w->second, w->child.loop, on_second, w);
	ev_timer_init(&w->stop_timer, w->child.loop, on_stop_timer, w);
	setproctitle("worker: %s", proc_state_name(PROC_STARTING));
	child_run(&w->child);
}
