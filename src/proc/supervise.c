/* proc/supervise.c - children: started with a role and fixed descriptors, given what they need, heard,
 * and started again when they die, at once the first time, then ever more slowly. */
#include "proc/parent.h"

#include "proc/confine.h"
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
#define LOG_RETRY_MS 10000 /* between attempts to open the log's target */
#define TITLE_ROOM 128
#define RESPAWN_FIRST_MS 100     /* after the second death in a row; doubles */
#define RESPAWN_MAX_MS 30000
#define RESPAWN_QUIET_MS 10000   /* a process that lived this long ends the row */
#define RESPAWN_LOOP 6           /* deaths in a row that are called a crash loop */

extern char **environ;

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
		kill(proc->pid, SIGKILL);
	}
	watch(proc);
}

#define SEND(proc, name, fd, ...)                                                                  \
	do {                                                                                       \
		struct msg_##name m_ = { __VA_ARGS__ };                                            \
		struct frame f_;                                                                   \
		PT_ASSERT(msg_##name##_encode(&m_, 0, &f_) == 0);                                  \
		supervise_send(proc, &f_, fd);                                                     \
	} while (0)

static void
tell_process(struct parent *p, const struct proc *proc, bool gone)
{
	uint32_t restarts = proc->role == ROLE_WORKER ? p->worker_respawn[proc->slot].restarts
		: proc->role == ROLE_KEYHOLDER ? p->keyholder_respawn.restarts
					       : p->control_respawn.restarts;

	SEND(p->control, process, -1, .role = (uint8_t)proc->role, .slot = proc->slot,
		.pid = gone ? 0 : (uint32_t)proc->pid, .generation = proc->generation,
		.state = (uint8_t)proc->state, .restarts = restarts);
}

void
supervise_set_state(struct proc *proc, enum proc_state state)
{
	proc->state = state;
	tell_process(proc->parent, proc, false);
}

void
supervise_tell_state(struct parent *p)
{
	SEND(p->control, state, -1, .generation = p->current != NULL ? p->current->number : 0,
		.state = (uint8_t)p->state, .pid = (uint32_t)getpid(), .started = p->started,
		.config = span_str(p->conf_path),
		.limitations = span_str(p->limitations));
}

/* --- exec ------------------------------------------------------------------------------------- */

/* In the child, between fork and exec: nothing but descriptors. */
__attribute__((noreturn)) static void
exec_role(const struct parent *p, enum role role, const int want[3], uid_t uid, gid_t gid)
{
	char name[] = "posternd", u[16], g[16];
	char room[TITLE_ROOM] = "POSTERN_TITLE=";
	char *argv[] = { name, (char *)(uintptr_t)"-r", (char *)(uintptr_t)role_name(role),
		(char *)(uintptr_t)"-u", u, (char *)(uintptr_t)"-g", g, NULL };
	char *env[5] = { room }, **e;
	int safe[3], i, n = 1, null;

	/* a process title is written over arguments and environment: make room for it */
	memset(room + strlen(room), '-', sizeof room - strlen(room) - 1);
	snprintf(u, sizeof u, "%u", (unsigned)uid);
	snprintf(g, sizeof g, "%u", (unsigned)gid);
	/* nothing of our surroundings but what a sanitizer's runtime reads (and no SSLKEYLOGFILE) */
	for (e = environ; *e != NULL && n < 4; e++)
		if (strncmp(*e, "ASAN_OPTIONS=", 13) == 0 || strncmp(*e, "UBSAN_OPTIONS=", 14) == 0)
			env[n++] = *e;
	for (i = 0; i < 3; i++) /* away from the fixed places first */
		if ((safe[i] = fcntl(want[i], F_DUPFD_CLOEXEC, 16)) < 0)
			_exit(71);
	for (i = 0; i < 3; i++)
		if (dup2(safe[i], ROLE_FD_PARENT + i) < 0)
			_exit(71);
	if ((null = open("/dev/null", O_RDWR)) < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(71);
	if (null > STDERR_FILENO)
		close(null);
	fexecve(role == ROLE_CONTROL ? p->control_exe_fd : p->exe_fd, argv, env);
	dprintf(STDERR_FILENO, "posternd: cannot start the %s: %s\n", role_name(role), strerror(errno));
	_exit(71);
}

static int
account(const struct parent *p, enum role role, uid_t *uid, gid_t *gid)
{
	const struct passwd *pw;

	*uid = 0;
	*gid = 0;
	if (!p->is_root)
		return 0;
	if ((pw = getpwnam(confine_user(role))) == NULL) {
		log_msg(LOG_L_ERROR, "the account %s does not exist: run \"postern setup\" as root",
			confine_user(role));
		return PT_ENOENT;
	}
	*uid = pw->pw_uid;
	*gid = pw->pw_gid;
	return 0;
}

static struct respawn *
respawn_of(struct parent *p, enum role role, uint32_t slot)
{
	return role == ROLE_WORKER ? &p->worker_respawn[slot]
		: role == ROLE_KEYHOLDER ? &p->keyholder_respawn : &p->control_respawn;
}

struct proc *
supervise_adopt(struct parent *p, enum role role, uint32_t slot, pid_t pid, uint64_t generation,
		enum proc_state state, int fd)
{
	struct proc *proc = calloc(1, sizeof *proc);

	PT_ASSERT(proc != NULL);
	*proc = (struct proc){ .parent = p, .role = role, .slot = slot, .pid = pid,
		.generation = generation, .state = state, .started_ms = ev_now_ms() };
	PT_ASSERT((proc->chan = chan_new(fd)) != NULL);
	ev_io_init(&proc->io, p->loop, fd, proc_ready, proc);
	TAILQ_INSERT_TAIL(&p->procs, proc, next);
	watch(proc);
	return proc;
}

/* Gives a process a log: one end to it (as a frame, or at exec), the other to control. Returns the
 * process's end, -1 when there is none. */
static int
new_log_end(struct parent *p, enum role role, pid_t pid, uint32_t slot, int *control_end)
{
	int fds[2];

	(void)role;
	(void)pid;
	(void)slot;
	*control_end = -1;
	if (p->control == NULL || chan_pair(fds) != 0)
		return -1;
	*control_end = fds[1];
	return fds[0];
}

static int
spawn(struct parent *p, enum role role, uint32_t slot, uint64_t generation, struct proc **proc_out)
{
	int fds[2] = { -1, -1 }, null = -1, log_end = -1, control_end = -1, want[3], rc;
	struct proc *proc;
	uid_t uid;
	gid_t gid;
	pid_t pid;

	*proc_out = NULL;
	if ((rc = account(p, role, &uid, &gid)) != 0 || (rc = chan_pair(fds)) != 0)
		return rc;
	if ((null = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0) {
		rc = PT_EIO;
		goto out;
	}
	if (role != ROLE_CONTROL)
		log_end = new_log_end(p, role, 0, slot, &control_end);
	want[0] = fds[1];
	want[1] = log_end >= 0 ? log_end : null;
	want[2] = p->root_fd >= 0 ? p->root_fd : null;
	if ((pid = fork()) < 0) {
		log_msg(LOG_L_ERROR, "cannot fork: %s", strerror(errno));
		rc = PT_EIO;
		goto out;
	}
	if (pid == 0)
		exec_role(p, role, want, uid, gid);
	proc = supervise_adopt(p, role, slot, pid, generation, PROC_STARTING, fds[0]);
	fds[0] = -1;
	if (control_end >= 0)
		SEND(p->control, log_sender, control_end, .role = (uint8_t)role, .pid = (uint32_t)pid,
			.slot = slot);
	*proc_out = proc;
	rc = 0;
out:
	if (fds[0] >= 0)
		close(fds[0]);
	close(fds[1]);
	if (null >= 0)
		close(null);
	if (log_end >= 0)
		close(log_end);
	if (control_end >= 0)
		close(control_end);
	return rc;
}

/* --- control ---------------------------------------------------------------------------------- */

void
supervise_log_target(struct parent *p)
{
	const struct conf *conf = p->current != NULL ? p->current->conf
		: p->staging != NULL ? p->staging->conf : NULL;
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	enum conf_log kind = CONF_LOG_STDERR;
	int fd = -1;

	ev_timer_clear(&p->log_timer);
	if (conf == NULL)
		return;
	if (!p->foreground)
		kind = conf->log;
	if (kind == CONF_LOG_FILE) {
		fd = open(conf->log_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
		if (fd < 0 && !p->log_failed)
			log_msg(LOG_L_ERROR, "cannot open the log %s: %s; messages go to stderr",
				conf->log_file, strerror(errno));
	} else if (kind == CONF_LOG_SYSLOG) {
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof un) != 0) {
			close(fd);
			fd = -1;
		}
		if (fd < 0 && !p->log_failed)
			log_msg(LOG_L_ERROR, "no syslog daemon listens at /dev/log: messages go to "
				"stderr; see \"log\" in postern.conf(5)");
	}
	p->log_failed = fd < 0 && kind != CONF_LOG_STDERR;
	if (p->log_failed) /* said once; tried until it works */
		ev_timer_set(&p->log_timer, LOG_RETRY_MS);
	if (fd < 0) {
		kind = CONF_LOG_STDERR;
		if ((fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)) < 0)
			return;
	}
	SEND(p->control, log_target, fd, .kind = (uint8_t)kind, .format = (uint8_t)conf->log_format);
	close(fd);
}

static void
send_table(struct proc *proc, uint32_t slot, const struct parent_table *t, bool own)
{
	SEND(proc, table, own ? t->fd : t->reader_fd, .slot = slot, .own = own);
}

static void
send_all_tables(struct parent *p, struct proc *proc)
{
	uint32_t i;

	for (i = 0; i < TABLE_SLOTS_MAX; i++)
		if (p->tables[i].fd >= 0 && !(proc->role == ROLE_WORKER &&
						    (proc->slot == i || i == TABLE_SLOT_PAST)))
			send_table(proc, i, &p->tables[i], false);
}

/* Every process that has a log gets a new end of it. */
static void
new_log_ends(struct parent *p)
{
	struct proc *proc;
	int end, control_end;

	TAILQ_FOREACH(proc, &p->procs, next) {
		if (proc->role == ROLE_CONTROL)
			continue;
		if ((end = new_log_end(p, proc->role, proc->pid, proc->slot, &control_end)) < 0)
			continue;
		SEND(p->control, log_sender, control_end, .role = (uint8_t)proc->role,
			.pid = (uint32_t)proc->pid, .slot = proc->slot);
		SEND(proc, log_end, end, .unused = 0);
		close(end);
		close(control_end);
	}
	if ((end = new_log_end(p, ROLE_PARENT, getpid(), SLOT_NONE, &control_end)) < 0)
		return;
	SEND(p->control, log_sender, control_end, .role = ROLE_PARENT, .pid = (uint32_t)getpid(),
		.slot = SLOT_NONE);
	close(control_end);
	if (p->log_fd >= 0)
		close(p->log_fd);
	p->log_fd = end;
}

int
supervise_spawn_control(struct parent *p)
{
	const struct generation *g = p->current != NULL ? p->current : p->staging;
	struct proc *proc, *other;
	int rc;

	if ((rc = spawn(p, ROLE_CONTROL, SLOT_NONE, 0, &proc)) != 0)
		return rc;
	p->control = proc;
	supervise_log_target(p);
	new_log_ends(p);
	if (g != NULL && g->conf != NULL)
		SEND(proc, config, g->conf_fd, .generation = g->number);
	send_all_tables(p, proc);
	if (p->control_fd >= 0)
		SEND(proc, control_socket, p->control_fd, .owner_uid = (uint32_t)geteuid());
	TAILQ_FOREACH(other, &p->procs, next)
		tell_process(p, other, false);
	supervise_tell_state(p);
	return 0;
}

/* --- keyholder -------------------------------------------------------------------------------- */

void
supervise_send_keys(struct parent *p, const struct generation *g)
{
	struct proc *k = p->keyholder;
	uint32_t i;

	SEND(k, cred_begin, -1, .generation = g->number);
	for (i = 0; i < g->ncerts; i++) {
		SEND(k, cred_file, g->certs[i].cert_fd, .generation = g->number, .kind = CRED_CERT,
			.key = i, .path = span_str(g->certs[i].certificate));
		if (g->certs[i].key_fd >= 0)
			SEND(k, cred_file, g->certs[i].key_fd, .generation = g->number,
				.kind = CRED_KEY, .key = i, .path = span_str(g->certs[i].key));
	}
	SEND(k, cred_end, -1, .generation = g->number);
}

int
supervise_spawn_keyholder(struct parent *p)
{
	struct generation *g;
	struct proc *proc;
	int rc;

	if ((rc = spawn(p, ROLE_KEYHOLDER, SLOT_NONE, 0, &proc)) != 0)
		return rc;
	p->keyholder = proc;
	tell_process(p, proc, false);
	TAILQ_FOREACH(g, &p->generations, next) {
		g->keys_loaded = false;
		supervise_send_keys(p, g);
	}
	return 0;
}

/* A worker and the keyholder get a channel between them. */
static void
connect_worker(struct parent *p, struct proc *worker)
{
	int fds[2];

	if (p->keyholder == NULL || chan_pair(fds) != 0)
		return;
	SEND(p->keyholder, channel, fds[0], .role = ROLE_WORKER, .slot = worker->slot);
	SEND(worker, channel, fds[1], .role = ROLE_KEYHOLDER, .slot = 0);
	close(fds[0]);
	close(fds[1]);
}

/* The keyholder has the keys of every generation: all workers go over to it. One that it replaces ends
 * when the last of them has. */
void
supervise_switch_keyholder(struct parent *p)
{
	struct proc *proc;

	TAILQ_FOREACH(proc, &p->procs, next) {
		if (proc->role == ROLE_WORKER)
			connect_worker(p, proc);
		if (proc->role == ROLE_KEYHOLDER && proc != p->keyholder && !proc->leaving) {
			proc->leaving = true;
			SEND(proc, stop, -1, .timeout_ms = 0);
		}
	}
	supervise_set_state(p->keyholder, PROC_SERVING);
}

/* --- workers ---------------------------------------------------------------------------------- */

int
supervise_free_slot(const struct parent *p, uint32_t *slot_out)
{
	uint32_t i;

	for (i = 0; i < TABLE_SLOTS_MAX; i++)
		if (!p->tables[i].taken) {
			*slot_out = i;
			return 0;
		}
	return PT_EFULL;
}

/* The slot's table, empty, and known to everyone. */
static int
prepare_table(struct parent *p, uint32_t slot)
{
	struct parent_table *t = &p->tables[slot];
	struct table *map;
	struct proc *proc;
	int rc;

	t->taken = true;
	if (t->fd >= 0) {
		if ((map = table_map(t->fd, true)) == NULL)
			return PT_EIO;
		table_clear(map);
		table_unmap(&map);
		return 0;
	}
	if ((rc = table_create(&t->fd)) != 0 || (rc = table_reader_fd(t->fd, &t->reader_fd)) != 0)
		return rc;
	TAILQ_FOREACH(proc, &p->procs, next)
		if ((proc->role == ROLE_WORKER || proc == p->control) && proc->slot != slot)
			send_table(proc, slot, t, false);
	return 0;
}

static void
send_worker_credentials(const struct generation *g, struct proc *proc)
{
	const struct conf_tls *tls;
	uint32_t i, k, key;

	SEND(proc, cred_begin, -1, .generation = g->number);
	for (i = 0; i < g->conf->nservices; i++) {
		tls = g->conf->services[i].tls;
		for (k = 0; tls != NULL && k < tls->ncerts; k++) {
			key = generation_key(g, &tls->certs[k]);
			SEND(proc, cred_file, g->certs[key].chain_fd, .generation = g->number, .set = i,
				.kind = CRED_CHAIN, .index = k, .key = key,
				.path = span_str(tls->certs[k].certificate));
		}
	}
	for (i = 0; i < g->nfiles; i++)
		SEND(proc, cred_file, g->files[i].fd, .generation = g->number, .set = g->files[i].set,
			.kind = (uint8_t)g->files[i].kind, .index = g->files[i].index,
			.path = span_str(g->files[i].path));
	SEND(proc, cred_end, -1, .generation = g->number);
}

int
supervise_spawn_worker(struct parent *p, struct generation *g, uint32_t slot)
{
	struct proc *proc;
	size_t i;
	int rc;

	if ((rc = prepare_table(p, slot)) != 0 ||
	    (rc = spawn(p, ROLE_WORKER, slot, g->number, &proc)) != 0) {
		p->tables[slot].taken = false;
		return rc;
	}
	send_table(proc, slot, &p->tables[slot], true);
	send_all_tables(p, proc);
	SEND(proc, seed, -1, .seed = p->seed);
	SEND(proc, config, g->conf_fd, .generation = g->number);
	connect_worker(p, proc);
	for (i = 0; i < g->nlisteners; i++)
		SEND(proc, listener, g->listeners[i].fd, .service = g->listeners[i].service,
			.listen = g->listeners[i].listen);
	send_worker_credentials(g, proc);
	tell_process(p, proc, false);
	return 0;
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
	if (proc->role == ROLE_CONTROL)
		supervise_set_state(proc, PROC_SERVING);
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

static bool
all_keys_loaded(const struct parent *p)
{
	const struct generation *g;

	TAILQ_FOREACH(g, &p->generations, next)
		if (!g->keys_loaded)
			return false;
	return true;
}

static void
keyholder_acked(struct parent *p, struct proc *proc, const struct msg_cred_ack *m, const char *text)
{
	struct generation *g = parent_generation(p, m->generation);

	if (proc != p->keyholder || g == NULL)
		return; /* of a generation that is no more */
	if (g == p->staging) {
		transition_keys_loaded(p, m->ok != 0, text);
		return;
	}
	if (!m->ok) {
		log_msg(LOG_L_ERROR, "the keyholder cannot load the keys again: %s", text);
		kill(proc->pid, SIGKILL); /* and tries again, ever more slowly */
		return;
	}
	g->keys_loaded = true;
	if (all_keys_loaded(p))
		supervise_switch_keyholder(p);
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
	if (proc->role == ROLE_KEYHOLDER)
		keyholder_acked(p, proc, &m, text);
	else
		transition_worker_loaded(p, proc, m.ok != 0, text);
	return 0;
}

static int
on_cred_chain(void *self, void *peer, struct frame *f)
{
	struct parent *p = self;
	struct generation *g;
	struct msg_cred_chain m;

	(void)peer;
	if (msg_cred_chain_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((g = parent_generation(p, m.generation)) == NULL)
		return 0;
	if (m.key >= g->ncerts)
		return PT_EPROTO;
	if (g->certs[m.key].chain_fd < 0)
		g->certs[m.key].chain_fd = frame_take_fd(f);
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
	supervise_log_target(p);
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
	log_msg(LOG_L_NOTICE, "probe: %s: %s: %s", role_name(proc->role), probe_name(m.what),
		m.error == 0 ? "allowed" : strerror((int)m.error));
	return 0;
}

static const struct ipc_rule rules[] = {
	{ MSG_T_READY, ~0u, IPC_ANY_STATE, on_ready },
	{ MSG_T_CRED_ACK, 1u << ROLE_KEYHOLDER | 1u << ROLE_WORKER, IPC_ANY_STATE, on_cred_ack },
	{ MSG_T_CRED_CHAIN, 1u << ROLE_KEYHOLDER, IPC_ANY_STATE, on_cred_chain },
	{ MSG_T_RELOAD, 1u << ROLE_CONTROL, IPC_ANY_STATE, on_reload },
	{ MSG_T_LOG_REOPEN, 1u << ROLE_CONTROL, IPC_ANY_STATE, on_log_reopen },
	{ MSG_T_PROBE_RESULT, ~0u, IPC_ANY_STATE, on_probe_result },
};

static void
proc_ready(void *arg, unsigned what)
{
	struct proc *proc = arg;
	struct frame f;
	int i, rc = 0;

	if (what & EV_IO_WRITE)
		rc = chan_flush(proc->chan);
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
	if (rc == PT_EPROTO) {
		log_msg(LOG_L_ERROR, "%s[%d] broke the protocol and is killed", role_name(proc->role),
			(int)proc->pid);
		kill(proc->pid, SIGKILL);
	}
}

/* --- the end of children ---------------------------------------------------------------------- */

static void
respawn_now(void *arg)
{
	struct respawn *r = arg;
	struct parent *p = r->parent;
	int rc = 0;

	if (p->state >= PROC_STOPPING || p->current == NULL)
		return;
	switch (r->role) {
	case ROLE_KEYHOLDER:
		rc = supervise_spawn_keyholder(p);
		break;
	case ROLE_CONTROL:
		rc = supervise_spawn_control(p);
		break;
	case ROLE_WORKER:
		if (p->tables[r->slot].taken)
			return; /* a new generation has the slot */
		if (p->keyholder == NULL || !all_keys_loaded(p)) {
			ev_timer_set(&r->timer, RESPAWN_FIRST_MS);
			return;
		}
		if (supervise_count(p, ROLE_WORKER, p->current->number) < p->current->conf->workers)
			rc = supervise_spawn_worker(p, p->current, r->slot);
		break;
	case ROLE_PARENT:
	case ROLE_COUNT:
		break;
	}
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
	if (WIFSIGNALED(status))
		log_msg(LOG_L_ERROR, "%s[%d] was ended by signal %d (%s)%s", role_name(proc->role),
			(int)proc->pid, WTERMSIG(status), strsignal(WTERMSIG(status)),
			WTERMSIG(status) == SIGSYS ? ": it tried a system call that its role may not make"
						   : "");
	else if (!proc->leaving || WEXITSTATUS(status) != 0)
		log_msg(proc->leaving ? LOG_L_WARNING : LOG_L_ERROR, "%s[%d] ended with code %d",
			role_name(proc->role), (int)proc->pid, WEXITSTATUS(status));
}

/* What an ended worker has counted is kept in the table of those that are no more; its connections are
 * gone, so its own is emptied at once: limits count it no longer. */
static void
retire_table(struct parent *p, uint32_t slot)
{
	struct table *t, *past;

	if ((t = table_map(p->tables[slot].fd, true)) == NULL)
		return;
	if ((past = table_map(p->tables[TABLE_SLOT_PAST].fd, true)) != NULL)
		table_retire(past, t);
	table_clear(t);
	table_unmap(&past);
	table_unmap(&t);
	p->tables[slot].taken = false;
}

static void
proc_ended(struct parent *p, struct proc *proc, int status)
{
	/* frames that it sent before its end still count */
	if (proc->chan != NULL)
		proc_ready(proc, EV_IO_READ);
	say_end(proc, status);
	TAILQ_REMOVE(&p->procs, proc, next);
	if (proc == p->keyholder)
		p->keyholder = NULL;
	if (proc == p->control)
		p->control = NULL;
	if (proc->role == ROLE_WORKER) {
		retire_table(p, proc->slot);
	}
	tell_process(p, proc, true);
	if (!proc->leaving && p->state < PROC_DRAINING && p->current != NULL &&
	    (proc->role != ROLE_WORKER || proc->generation == p->current->number))
		respawn_later(p, proc);
	transition_proc_gone(p, proc);
	if (proc->chan != NULL)
		ev_io_fini(&proc->io);
	chan_free(&proc->chan);
	free(proc);
}

void
supervise_reap(struct parent *p)
{
	struct proc *proc;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == p->check_pid) {
			upgrade_checked(p, status);
			continue;
		}
		TAILQ_FOREACH(proc, &p->procs, next)
			if (proc->pid == pid)
				break;
		if (proc != NULL)
			proc_ended(p, proc, status);
	}
}

void
supervise_kill_all(struct parent *p)
{
	struct proc *proc;

	TAILQ_FOREACH(proc, &p->procs, next) {
		proc->leaving = true;
		kill(proc->pid, SIGKILL);
	}
}

static void
log_again(void *arg)
{
	supervise_log_target(arg);
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
		respawn_init(p, &p->worker_respawn[i], ROLE_WORKER, i);
	}
	/* the table of what ended workers have counted belongs to nobody's slot */
	if (prepare_table(p, TABLE_SLOT_PAST) != 0)
		log_msg(LOG_L_ERROR, "cannot make the table of ended workers: their counts will be lost");
	respawn_init(p, &p->keyholder_respawn, ROLE_KEYHOLDER, SLOT_NONE);
	respawn_init(p, &p->control_respawn, ROLE_CONTROL, SLOT_NONE);
}
