/* proc/supervise.c - children: heard by a table of who may say what, reaped, and started again when they
 * die, at once the first time, then ever more slowly. */
#include "config.h"

#include "proc/parent.h"

#include "proc/confine.h"
#include "proc/groups.h"
#include "proc/logging.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define FRAMES_MAX 64
#define RESPAWN_FIRST_MS 100     /* after the second death in a row; doubles */
#define RESPAWN_MAX_MS 30000
#define RESPAWN_RETIRE_MS 10     /* between looks at a slot whose records are being copied */
#define RESPAWN_QUIET_MS 10000   /* a process that lived this long ends the row */
#define RESPAWN_LOOP 6           /* deaths in a row that are called a crash loop */

static void proc_ready(void *arg, unsigned what);

/* --- sending ---------------------------------------------------------------------------------- */

static void
watch(struct proc *proc)
{
	if (proc->chan != NULL)
		ev_io_want(&proc->io,
			EV_IO_READ | (chan_wants_write(proc->chan) ? EV_IO_WRITE : 0));
}

void
supervise_send(struct proc *proc, struct frame *f, int fd)
{
	int rc;

	if (proc == NULL || proc->chan == NULL)
		return;
	/* a dead one is reaped by its signal; one that does not read is killed for it */
	if ((rc = chan_send(proc->chan, f, fd)) != 0 && rc != PT_EEOF) {
		log_msg(LOG_L_ERROR, "%s[%d] does not take our frames (%s); it is killed",
			role_name(proc->role), (int)proc->pid, pt_strerror(rc));
		supervise_kill(proc);
	}
	watch(proc);
}

static struct respawn *
respawn_of(struct parent *p, enum role role, uint32_t slot)
{
	return role == ROLE_WORKER ? &p->worker_respawn[slot] : &p->helper_respawn[role];
}

void
supervise_tell_process(struct parent *p, const struct proc *proc, bool gone)
{
	uint32_t restarts = respawn_of(p, proc->role, proc->slot)->restarts;

	SEND(p->helpers[ROLE_CONTROL], process, -1, .role = (uint8_t)proc->role, .slot = proc->slot,
		.pid = gone ? 0 : (uint32_t)proc->pid, .generation = proc->generation,
		.state = (uint8_t)proc->state, .restarts = restarts);
}

void
supervise_set_state(struct proc *proc, enum proc_state state)
{
	proc->state = state;
	supervise_tell_process(proc->parent, proc, false);
}

void
supervise_tell_state(struct parent *p)
{
	char limitations[sizeof p->limitations + 128];

	snprintf(limitations, sizeof limitations, "%s%s", p->limitations, !p->log_failed ? ""
		: "the log's target cannot be opened: messages are lost or go to stderr\n");
	SEND(p->helpers[ROLE_CONTROL], state, -1, .generation = p->current != NULL ? p->current->number : 0,
		.state = (uint8_t)p->state, .pid = (uint32_t)getpid(), .started = p->started,
		.config = span_str(p->conf_path),
		.limitations = span_str(limitations));
}

/* --- children -------------------------------------------------------------------------------- */

struct proc *
supervise_adopt(struct parent *p, enum role role, uint32_t slot, pid_t pid, uint64_t generation,
		enum proc_state state, int fd)
{
	struct proc *proc = calloc(1, sizeof *proc);

	PT_ASSERT(proc != NULL);
	*proc = (struct proc){ .parent = p, .role = role, .slot = slot, .pid = pid,
		.generation = generation, .state = state, .started_ms = ev_now_ms(), .groups_fd = -1 };
	PT_ASSERT((proc->chan = chan_new(fd)) != NULL);
	ev_io_init(&proc->io, p->loop, fd, proc_ready, proc);
	TAILQ_INSERT_TAIL(&p->procs, proc, next);
	watch(proc);
	return proc;
}

size_t
supervise_count(const struct parent *p, enum role role, uint64_t generation)
{
	const struct proc *proc;
	size_t n = 0;

	TAILQ_FOREACH(proc, &p->procs, next)
		n += proc->role == role && (generation == 0 || proc->generation == generation);
	return n;
}
/* --- frames from children --------------------------------------------------------------------- */

static int
on_ready(void *self, void *peer, struct frame *f)
{
	struct parent *p = self;
	struct proc *proc = peer;
	struct msg_ready m;
	char line[512];
	size_t i, from = 0;

	if (msg_ready_decode(f, &m) != 0)
		return PT_EPROTO;
	if (helper_of(proc->role) != NULL)
		helper_ready(p, proc);
	/* each limitation once, whoever met it */
	for (i = 0; i < m.limitations.n; i++) {
		if (m.limitations.p[i] != '\n')
			continue;
		snprintf(line, sizeof line, "%.*s", (int)(i - from), (const char *)m.limitations.p + from);
		from = i + 1;
		if (strstr(p->limitations, line) != NULL)
			continue;
		strlcat(p->limitations, line, sizeof p->limitations);
		strlcat(p->limitations, "\n", sizeof p->limitations);
		log_msg(LOG_L_NOTICE, "confinement: %s", line);
		supervise_tell_state(p);
	}
	return 0;
}

struct generation *
parent_generation(const struct parent *p, uint64_t number)
{
	struct generation *g;

	if (p->staging != NULL && p->staging->number == number)
		return p->staging;
	TAILQ_FOREACH(g, &p->generations, next)
		if (g->number == number)
			return g;
	return NULL;
}

struct cred_set *
parent_cred_set(struct parent *p, uint64_t number, struct generation **g_out)
{
	struct cred_set *set;
	struct generation *g;

	*g_out = p->pickup.g;
	if (p->pickup.g != NULL && p->pickup.set->number == number)
		return p->pickup.set;
	*g_out = p->staging;
	if (p->staging != NULL)
		TAILQ_FOREACH(set, &p->staging->sets, next)
			if (set->number == number)
				return set;
	TAILQ_FOREACH(g, &p->generations, next)
		TAILQ_FOREACH(set, &g->sets, next)
			if (set->number == number) {
				*g_out = g;
				return set;
			}
	*g_out = NULL;
	return NULL;
}

static void
helper_acked(struct parent *p, struct proc *proc, const struct msg_cred_ack *m, const char *text)
{
	struct generation *g;

	if (helper_of(proc->role)->give_set != NULL)
		(void)parent_cred_set(p, m->generation, &g);
	else
		g = parent_generation(p, m->generation);
	if (proc != p->helpers[proc->role] || g == NULL)
		return; /* of a generation that is no more */
	if (!m->ok && g == p->staging) {
		transition_fail(p, text);
		return;
	}
	if (!m->ok) {
		log_msg(LOG_L_ERROR, "the %s cannot load again what it had: %s", role_name(proc->role), text);
		supervise_kill(proc); /* and tries again, ever more slowly */
		return;
	}
	helper_agrees(p, proc, m->generation);
	if (g == p->staging)
		transition_helpers_agreed(p);
}

static int
on_cred_ack(void *self, void *peer, struct frame *f)
{
	struct parent *p = self;
	struct proc *proc = peer;
	struct msg_cred_ack m;
	char text[DIAG_MAX];

	if (msg_cred_ack_decode(f, &m) != 0)
		return PT_EPROTO;
	snprintf(text, sizeof text, "%.*s", (int)m.text.n, (const char *)m.text.p);
	/* the others' numbers are of configurations */
	if ((proc->role == ROLE_WORKER || helper_of(proc->role)->give_set != NULL) &&
	    pickup_acked(p, proc, &m, text))
		return 0;
	if (proc->role == ROLE_WORKER)
		transition_worker_loaded(p, proc, m.ok != 0, text);
	else if (helper_of(proc->role)->agrees)
		helper_acked(p, proc, &m, text);
	else
		return PT_EPROTO;
	return 0;
}

static int
on_auth_loaded(void *self, void *peer, struct frame *f)
{
	struct msg_auth_loaded m;
	char text[DIAG_MAX];

	if (msg_auth_loaded_decode(f, &m) != 0)
		return PT_EPROTO;
	snprintf(text, sizeof text, "%.*s", (int)m.text.n, (const char *)m.text.p);
	accounts_loaded(self, peer, m.generation, m.ok != 0, m.users, text);
	return 0;
}

static int
on_cred_chain(void *self, void *peer, struct frame *f)
{
	struct parent *p = self;
	struct generation *g;
	struct cred_set *set;
	struct msg_cred_chain m;

	(void)peer;
	if (msg_cred_chain_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((set = parent_cred_set(p, m.generation, &g)) == NULL)
		return 0;
	if (m.key >= set->ncerts)
		return PT_EPROTO;
	if (set->certs[m.key].chain_fd < 0)
		set->certs[m.key].chain_fd = frame_take_fd(f);
	return 0;
}

static int
on_cred_unused(void *self, void *peer, struct frame *f)
{
	struct msg_cred_unused m;

	if (msg_cred_unused_decode(f, &m) != 0)
		return PT_EPROTO;
	pickup_unused(self, peer, m.generation);
	return 0;
}

/* A store that is not ours any more may say what it likes: it could as well refuse the worker all that it asks. */
static int
on_store_condemned(void *self, void *peer, struct frame *f)
{
	struct parent *p = self;
	struct msg_store_condemned m;
	struct proc *proc;

	(void)peer;
	if (msg_store_condemned_decode(f, &m) != 0)
		return PT_EPROTO;
	TAILQ_FOREACH(proc, &p->procs, next) {
		if (proc->role != ROLE_WORKER || (uint32_t)proc->pid != m.pid || proc->ended)
			continue;
		log_msg(LOG_L_ERROR, "worker[%d] is killed and another one started: the store says that it %.*s, which no worker "
			"of ours does; either it has a fault or one of its clients has broken into it; what was accepted is "
			"safe; \"postern why\" shows its last connections, keep them and the log, and report both", (int)proc->pid,
			(int)m.text.n, (const char *)m.text.p);
		supervise_kill(proc);
	}
	return 0;
}

static int
on_reload(void *self, void *peer, struct frame *f)
{
	struct parent *p = self;
	struct msg_reload m;

	(void)peer;
	if (msg_reload_decode(f, &m) != 0 || f->id == 0)
		return PT_EPROTO;
	log_msg(LOG_L_NOTICE, "reload, asked for by user %u", m.uid);
	transition_begin(p, f->id);
	return 0;
}

static int
on_log_reopen(void *self, void *peer, struct frame *f)
{
	struct msg_log_reopen m;
	struct parent *p = self;

	(void)peer;
	if (msg_log_reopen_decode(f, &m) != 0)
		return PT_EPROTO;
	log_target_open(p);
	return 0;
}

static int
on_probe_result(void *self, void *peer, struct frame *f)
{
	struct proc *proc = peer;
	struct msg_probe_result m;

	(void)self;
	if (msg_probe_result_decode(f, &m) != 0)
		return PT_EPROTO;
	/* control, which writes the log, dies of its own probes: straight to stderr, so that none is lost */
	dprintf(STDERR_FILENO, "probe: %s: %s: %s\n", role_name(proc->role), probe_name(m.what),
		m.error == 0 ? "allowed" : strerror((int)m.error));
	return 0;
}

static int
on_retired(void *self, void *peer, struct frame *f)
{
	struct parent *p = self;
	struct msg_retired m;

	if (msg_retired_decode(f, &m) != 0 || m.slot >= TABLE_SLOTS_MAX)
		return PT_EPROTO;
	if (peer == p->helpers[ROLE_CONTROL])
		recorders_retired(p, m.slot, m.pid);
	return 0;
}

static const struct ipc_rule rules[] = {
	{ MSG_T_READY, ~0u, IPC_ANY_STATE, on_ready },
	{ MSG_T_CRED_ACK, ~0u, IPC_ANY_STATE, on_cred_ack },
	{ MSG_T_CRED_CHAIN, 1u << ROLE_KEYHOLDER, IPC_ANY_STATE, on_cred_chain },
	{ MSG_T_CRED_UNUSED, 1u << ROLE_WORKER, IPC_ANY_STATE, on_cred_unused },
	{ MSG_T_STORE_CONDEMNED, 1u << ROLE_STORE, IPC_ANY_STATE, on_store_condemned },
	{ MSG_T_AUTH_LOADED, 1u << ROLE_AUTH, IPC_ANY_STATE, on_auth_loaded },
	{ MSG_T_RELOAD, 1u << ROLE_CONTROL, IPC_ANY_STATE, on_reload },
	{ MSG_T_LOG_REOPEN, 1u << ROLE_CONTROL, IPC_ANY_STATE, on_log_reopen },
	{ MSG_T_RETIRED, 1u << ROLE_CONTROL, IPC_ANY_STATE, on_retired },
	{ MSG_T_PROBE_RESULT, ~0u, IPC_ANY_STATE, on_probe_result },
};

static void
proc_ready(void *arg, unsigned what)
{
	struct proc *proc = arg;
	struct frame f;
	int i, rc = 0;

	/* what one that has ended had sent still counts: its end is met when all of that is read */
	if ((what & EV_IO_WRITE) && (rc = chan_flush(proc->chan)) == PT_EEOF)
		rc = 0;
	for (i = 0; i < FRAMES_MAX && rc == 0; i++) {
		if ((rc = chan_recv(proc->chan, &f)) != 0)
			break;
		rc = ipc_dispatch(rules, PT_COUNT(rules), proc->role, proc->state, proc->parent, proc,
			&f);
	}
	if (rc == 0 || rc == PT_EAGAIN) {
		watch(proc);
		return;
	}
	/* its end, or what makes us end it: the rest is done when it is reaped */
	ev_io_fini(&proc->io);
	chan_free(&proc->chan);
	if (rc == PT_EPROTO)
		log_msg(LOG_L_ERROR, "%s[%d] broke the protocol and is killed", role_name(proc->role),
			(int)proc->pid);
	/* without a channel nobody supervises it; one that is about to end does not notice */
	supervise_kill(proc);
}

/* --- the end of children ---------------------------------------------------------------------- */

/* A reload under way may succeed, then nobody is missed; or it fails, and its workers' slots are free
 * again: either way it is waited for. */
static int
respawn_worker(struct parent *p, struct respawn *r)
{
	uint32_t slot = r->slot;

	if (p->staging != NULL || pickup_is_loading(p) || !helpers_ready(p)) {
		ev_timer_set(&r->timer, RESPAWN_FIRST_MS);
		return 0;
	}
	if (supervise_count(p, ROLE_WORKER, p->current->number) >= p->current->conf->workers)
		return 0;
	if (recorders_wait(p, slot)) {
		ev_timer_set(&r->timer, RESPAWN_RETIRE_MS);
		return 0;
	}
	if (p->tables[slot].taken && workers_free_slot(p, &slot) != 0)
		return PT_EFULL;
	return workers_start(p, p->current, slot);
}

static void
respawn_now(void *arg)
{
	struct respawn *r = arg;
	struct parent *p = r->parent;
	struct diag diag = { "" };
	int rc = 0;

	if (p->state >= PROC_STOPPING || p->current == NULL)
		return;
	if (r->role == ROLE_WORKER)
		rc = respawn_worker(p, r);
	else if (helper_needed(p, r->role))
		rc = helper_start(p, r->role, &diag);
	if (diag.text[0] != '\0')
		log_msg(LOG_L_ERROR, "the %s cannot be started: %s", role_name(r->role), diag.text);
	if (rc != 0)
		ev_timer_set(&r->timer, RESPAWN_MAX_MS);
}

static void
respawn_later(struct parent *p, const struct proc *proc)
{
	struct respawn *r = respawn_of(p, proc->role, proc->slot);
	uint64_t delay = 0;
	unsigned i;

	if (ev_now_ms() - proc->started_ms >= RESPAWN_QUIET_MS)
		r->streak = 0;
	for (i = 0; i < r->streak && delay < RESPAWN_MAX_MS; i++)
		delay = delay == 0 ? RESPAWN_FIRST_MS : delay * 2;
	if (delay > RESPAWN_MAX_MS)
		delay = RESPAWN_MAX_MS;
	r->streak++;
	r->restarts++;
	if (r->streak == RESPAWN_LOOP)
		log_msg(LOG_L_ERROR, "the %s dies again and again: it is started only every %d s at "
			"most from now on", role_name(proc->role), RESPAWN_MAX_MS / 1000);
	ev_timer_set(&r->timer, delay);
}

static void
say_end(const struct proc *proc, int status)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && proc->leaving)
		return; /* by us, and why was said */
#ifdef ENABLE_PROBE
	if (proc->role == ROLE_SPAWN) /* what it ran in its own place has no channel: it ends, or is ended for that */
		dprintf(STDERR_FILENO, "probe: %s[%d] ended\n", role_name(proc->role), (int)proc->pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		dprintf(STDERR_FILENO, "probe: %s[%d] was ended by signal %d\n", role_name(proc->role),
			(int)proc->pid, WTERMSIG(status));
#endif
	if (WIFSIGNALED(status))
		log_msg(LOG_L_ERROR, "%s[%d] was ended by signal %d (%s)%s", role_name(proc->role),
			(int)proc->pid, WTERMSIG(status), strsignal(WTERMSIG(status)),
			WTERMSIG(status) == SIGSYS ? ": it tried a system call that its role may not make"
						   : "");
	else if (!proc->leaving || WEXITSTATUS(status) != 0)
		log_msg(proc->leaving ? LOG_L_WARNING : LOG_L_ERROR, "%s[%d] ended with code %d",
			role_name(proc->role), (int)proc->pid, WEXITSTATUS(status));
}

/* The spawn process has died: nobody else knows its programs. Those that are dead already are ours to reap now (we
 * are their subreaper), and not before this, so that their numbers are nobody else's. */
static void
end_programs(struct proc *proc)
{
	struct groups *g;

	if (proc->groups_fd < 0)
		return;
	if ((g = groups_map(proc->groups_fd)) != NULL)
		groups_kill(g);
	groups_unmap(&g);
	close(proc->groups_fd);
	proc->groups_fd = -1;
}

static void
proc_ended(struct parent *p, struct proc *proc, int status)
{
	proc->ended = true;
	/* frames that it sent before its end still count */
	if (proc->chan != NULL)
		proc_ready(proc, EV_IO_READ);
	say_end(proc, status);
	end_programs(proc);
	TAILQ_REMOVE(&p->procs, proc, next);
	if (proc == p->helpers[proc->role])
		p->helpers[proc->role] = NULL;
	if (proc->role == ROLE_AUTH)
		accounts_auth_gone(p);
	if (proc->role == ROLE_WORKER)
		workers_retire_table(p, proc);
	supervise_tell_process(p, proc, true);
	if (!proc->leaving && p->state < PROC_DRAINING && p->current != NULL &&
	    (proc->role != ROLE_WORKER || proc->generation == p->current->number))
		respawn_later(p, proc);
	pickup_proc_gone(p, proc);
	transition_proc_gone(p, proc);
	if (proc->chan != NULL)
		ev_io_fini(&proc->io);
	chan_free(&proc->chan);
	free(proc);
}

/* Those that we have started. */
static void
reap_ours(struct parent *p)
{
	struct proc *proc, *next;
	int status;

	if (p->check_pid > 0 && waitpid(p->check_pid, &status, WNOHANG) == p->check_pid)
		upgrade_checked(p, status);
	for (proc = TAILQ_FIRST(&p->procs); proc != NULL; proc = next) {
		next = TAILQ_NEXT(proc, next);
		if (waitpid(proc->pid, &status, WNOHANG) == proc->pid) {
			proc_ended(p, proc, status);
			next = TAILQ_FIRST(&p->procs); /* others may have gone with it */
		}
	}
}

void
supervise_reap(struct parent *p)
{
	siginfo_t si;

	/* what a dead spawn process leaves becomes ours in the same moment, and keeps its numbers until it is reaped:
	 * that is after it was ended by them, so our own come first */
	for (;;) {
		si.si_pid = 0;
		if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) != 0 || si.si_pid == 0)
			return;
		reap_ours(p);
		(void)waitpid(si.si_pid, NULL, WNOHANG); /* somebody else's, or gone already */
	}
}

void
supervise_kill(struct proc *proc)
{
	if (!proc->ended)
		kill(proc->pid, SIGKILL);
}

void
supervise_kill_all(struct parent *p)
{
	struct proc *proc;

	TAILQ_FOREACH(proc, &p->procs, next) {
		proc->leaving = true;
		supervise_kill(proc);
		end_programs(proc); /* behind it, so that it starts no more */
	}
}

static void
log_again(void *arg)
{
	log_target_open(arg);
}

static void
respawn_init(struct parent *p, struct respawn *r, enum role role, uint32_t slot)
{
	*r = (struct respawn){ .parent = p, .role = role, .slot = slot };
	ev_timer_init(&r->timer, p->loop, respawn_now, r);
}

void
supervise_init(struct parent *p)
{
	uint32_t i;

	TAILQ_INIT(&p->procs);
	ev_timer_init(&p->log_timer, p->loop, log_again, p);
	TAILQ_INIT(&p->generations);
	for (i = 0; i < TABLE_SLOTS_MAX; i++) {
		p->tables[i].fd = p->tables[i].reader_fd = -1;
		p->tables[i].rec_fd = p->tables[i].rec_reader_fd = -1;
		respawn_init(p, &p->worker_respawn[i], ROLE_WORKER, i);
	}
	/* the table of what ended workers have counted belongs to nobody's slot */
	if (workers_prepare_table(p, TABLE_SLOT_PAST) != 0)
		log_msg(LOG_L_ERROR, "cannot make the table of ended workers: their counts will be lost");
	for (i = 0; i < ROLE_COUNT; i++)
		respawn_init(p, &p->helper_respawn[i], (enum role)i, SLOT_NONE);
}
