/* proc/control.c - the process that writes the log, and answers the postern command.
 *
 * Holds: the log's target, one end of every process's log, the control socket, read-only maps of the
 * workers' tables, a channel to the store for an operator's questions. Gave up: user, root folder, files, new sockets, exec. It never sees a client
 * connection. When it dies the parent starts another and gives everyone new log ends. */
#include "proc/control.h"

#include "proc/files.h"
#include "util/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
on_config(void *self, void *peer, struct frame *f)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf = NULL;
	struct control *c = self;
	struct msg_config m;
	struct diag diag;
	struct buf text;

	(void)peer;
	if (msg_config_decode(f, &m) != 0 || errors == NULL)
		return PT_EPROTO;
	buf_init(&text, 4 * CONF_FILE_MAX);
	PT_ASSERT(file_slurp(f->fd, &text, &diag) == 0);
	PT_ASSERT(conf_parse("configuration", "/", buf_span(&text), &conf, errors) == 0);
	conf_errors_free(&errors);
	buf_fini(&text);
	conf_free(&c->conf);
	c->conf = conf;
	c->generation = m.generation;
	return 0;
}

static int
on_table(void *self, void *peer, struct frame *f)
{
	struct control *c = self;
	struct msg_table m;

	(void)peer;
	if (msg_table_decode(f, &m) != 0 || m.slot >= TABLE_SLOTS_MAX || m.own)
		return PT_EPROTO;
	if (c->tables[m.slot] == NULL)
		PT_ASSERT((c->tables[m.slot] = table_map(f->fd, false)) != NULL);
	return 0;
}

static int
on_process(void *self, void *peer, struct frame *f)
{
	struct control *c = self;
	struct process_row *r;
	struct msg_process m;

	(void)peer;
	if (msg_process_decode(f, &m) != 0 || m.role >= ROLE_COUNT)
		return PT_EPROTO;
	TAILQ_FOREACH(r, &c->processes, next)
		if (r->p.role == m.role && r->p.slot == m.slot && (m.role == ROLE_WORKER ||
			    r->p.pid == m.pid || m.pid == 0))
			break;
	if (m.pid == 0) {
		if (r != NULL)
			TAILQ_REMOVE(&c->processes, r, next);
		free(r);
		return 0;
	}
	if (r == NULL) {
		PT_ASSERT((r = calloc(1, sizeof *r)) != NULL);
		TAILQ_INSERT_TAIL(&c->processes, r, next);
	}
	r->p = m;
	return 0;
}

static int
on_cred_state(void *self, void *peer, struct frame *f)
{
	struct control *c = self;
	struct msg_cred_state m;

	(void)peer;
	if (msg_cred_state_decode(f, &m) != 0)
		return PT_EPROTO;
	c->cred.generation = m.generation;
	c->cred.done = m.done;
	c->cred.failed = m.failed;
	snprintf(c->cred.why, sizeof c->cred.why, "%.*s", (int)m.text.n, (const char *)m.text.p);
	return 0;
}

static int
on_state(void *self, void *peer, struct frame *f)
{
	struct control *c = self;
	struct msg_state m;

	(void)peer;
	if (msg_state_decode(f, &m) != 0)
		return PT_EPROTO;
	c->generation = m.generation;
	c->state = m.state;
	c->started = m.started;
	c->pid = m.pid;
	snprintf(c->config, sizeof c->config, "%.*s", (int)m.config.n, (const char *)m.config.p);
	snprintf(c->limitations, sizeof c->limitations, "%.*s", (int)m.limitations.n,
		(const char *)m.limitations.p);
	setproctitle("control: %s", proc_state_name(c->state));
	return 0;
}

static int
on_stop(void *self, void *peer, struct frame *f)
{
	struct control *c = self;
	struct msg_stop m;

	(void)peer;
	if (msg_stop_decode(f, &m) != 0)
		return PT_EPROTO;
	if (c->socket >= 0)
		ev_io_want(&c->socket_io, 0); /* new clients are the next control's */
	control_log_stop(c);
	return 0;
}

#define FROM_PARENT (1u << ROLE_PARENT)

static const struct ipc_rule rules[] = {
	{ MSG_T_LOG_TARGET, FROM_PARENT, IPC_ANY_STATE, control_on_log_target },
	{ MSG_T_LOG_SENDER, FROM_PARENT, IPC_ANY_STATE, control_on_log_sender },
	{ MSG_T_CONFIG, FROM_PARENT, IPC_ANY_STATE, on_config },
	{ MSG_T_CHANNEL, FROM_PARENT, IPC_ANY_STATE, control_on_channel },
	{ MSG_T_TABLE, FROM_PARENT, IPC_ANY_STATE, on_table },
	{ MSG_T_CONTROL_SOCKET, FROM_PARENT, IPC_ANY_STATE, control_on_socket },
	{ MSG_T_RECORDER, FROM_PARENT, IPC_ANY_STATE, control_on_recorder },
	{ MSG_T_RETIRE, FROM_PARENT, IPC_ANY_STATE, control_on_retire },
	{ MSG_T_PROCESS, FROM_PARENT, IPC_ANY_STATE, on_process },
	{ MSG_T_STATE, FROM_PARENT, IPC_ANY_STATE, on_state },
	{ MSG_T_CRED_STATE, FROM_PARENT, IPC_ANY_STATE, on_cred_state },
	{ MSG_T_RELOADED, FROM_PARENT, IPC_ANY_STATE, control_on_reloaded },
	{ MSG_T_STOP, FROM_PARENT, IPC_ANY_STATE, on_stop },
	{ MSG_T_PROBE, FROM_PARENT, IPC_ANY_STATE, child_on_probe },
};

int
main(int argc, char **argv)
{
	static struct control c;

	c.socket = -1;
	TAILQ_INIT(&c.processes);
	TAILQ_INIT(&c.clients);
	LIST_INIT(&c.questions);
	child_init(&c.child, ROLE_CONTROL, argc, argv, rules, PT_COUNT(rules), &c);
	control_log_init(&c);
	c.why_limit = why_limit_new();
	c.child.state = PROC_SERVING;
	setproctitle("control: %s", proc_state_name(PROC_STARTING));
	child_run(&c.child);
}
