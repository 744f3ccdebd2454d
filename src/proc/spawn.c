/* proc/spawn.c - starting children: fork and exec with a role and fixed descriptors, then what each of them
 * needs to work: keys, tables, listeners, credentials, channels to each other, a log. */
#include "proc/parent.h"

#include "proc/confine.h"
#include "proc/files.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_RETRY_MS 10000 /* between attempts to open the log's target */
#define TITLE_ROOM 128     /* octets of environment that a process title may overwrite */

extern char **environ;

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
	/* in the background nobody may keep the starter's terminal or pipe */
	if ((null = open("/dev/null", O_RDWR)) < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(p->foreground ? STDERR_FILENO : null, STDOUT_FILENO) < 0 ||
	    dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
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

/* What becomes of messages meanwhile: in the background stderr is nobody's. */
static const char *
without_target(const struct parent *p)
{
	return p->foreground ? "messages go to stderr"
			     : "messages are lost until it is there (it is tried every 10 s)";
}

void
spawn_log_target(struct parent *p)
{
	const struct conf *conf = p->current != NULL ? p->current->conf
		: p->staging != NULL ? p->staging->conf : NULL;
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	enum conf_log kind = CONF_LOG_STDERR;
	bool failed;
	int fd = -1;

	ev_timer_clear(&p->log_timer);
	if (conf == NULL)
		return;
	if (!p->foreground)
		kind = conf->log;
	if (kind == CONF_LOG_FILE) {
		fd = open(conf->log_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
		if (fd < 0 && !p->log_failed)
			log_msg(LOG_L_ERROR, "cannot open the log %s: %s; %s", conf->log_file,
				strerror(errno), without_target(p));
	} else if (kind == CONF_LOG_SYSLOG) {
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof un) != 0) {
			close(fd);
			fd = -1;
		}
		if (fd < 0 && !p->log_failed)
			log_msg(LOG_L_ERROR, "no syslog daemon listens at /dev/log: %s; see \"log\" "
				"in postern.conf(5)", without_target(p));
	}
	failed = fd < 0 && kind != CONF_LOG_STDERR;
	if (failed != p->log_failed) {
		p->log_failed = failed;
		supervise_tell_state(p);
	}
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
spawn_control(struct parent *p)
{
	const struct generation *g = p->current != NULL ? p->current : p->staging;
	struct proc *proc, *other;
	int rc;

	if ((rc = spawn(p, ROLE_CONTROL, SLOT_NONE, 0, &proc)) != 0)
		return rc;
	p->control = proc;
	spawn_log_target(p);
	new_log_ends(p);
	if (g != NULL && g->conf != NULL)
		SEND(proc, config, g->conf_fd, .generation = g->number);
	send_all_tables(p, proc);
	if (p->control_fd >= 0)
		SEND(proc, control_socket, p->control_fd, .owner_uid = (uint32_t)geteuid());
	TAILQ_FOREACH(other, &p->procs, next)
		supervise_tell_process(p, other, false);
	supervise_tell_state(p);
	return 0;
}

/* --- keyholder -------------------------------------------------------------------------------- */

void
spawn_send_keys(struct parent *p, const struct generation *g)
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
spawn_keyholder(struct parent *p)
{
	struct generation *g;
	struct proc *proc;
	int rc;

	if ((rc = spawn(p, ROLE_KEYHOLDER, SLOT_NONE, 0, &proc)) != 0)
		return rc;
	p->keyholder = proc;
	supervise_tell_process(p, proc, false);
	TAILQ_FOREACH(g, &p->generations, next) {
		g->keys_loaded = false;
		spawn_send_keys(p, g);
	}
	return 0;
}

/* A worker and the keyholder get a channel between them. */
static void
connect_worker(struct parent *p, struct proc *worker)
{
	int fds[2];

	if (p->keyholder == NULL)
		return;
	if (chan_pair(fds) != 0) {
		log_msg(LOG_L_ERROR, "worker[%d] gets no channel to the keyholder: %s",
			(int)worker->pid, strerror(errno));
		return;
	}
	SEND(p->keyholder, channel, fds[0], .role = ROLE_WORKER, .slot = worker->slot,
		.generation = worker->generation);
	SEND(worker, channel, fds[1], .role = ROLE_KEYHOLDER, .slot = 0);
	close(fds[0]);
	close(fds[1]);
}

/* The keyholder has the keys of every generation: all workers go over to it. One that it replaces ends
 * when the last of them has. */
void
spawn_switch_keyholder(struct parent *p)
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
spawn_free_slot(const struct parent *p, uint32_t *slot_out)
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
int
spawn_prepare_table(struct parent *p, uint32_t slot)
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

/* In a memfd: what travels in a frame may wait in a queue. */
static void
send_ticket_key(const struct generation *g, struct proc *proc)
{
	int fd;

	if (!g->has_ticket_key ||
	    memfd_sealed("postern-ticket", (struct span){ g->ticket_key, sizeof g->ticket_key }, &fd) != 0)
		return;
	SEND(proc, ticket_key, fd, .unused = 0);
	close(fd);
}

int
spawn_worker(struct parent *p, struct generation *g, uint32_t slot)
{
	struct proc *proc;
	size_t i;
	int rc;

	if ((rc = spawn_prepare_table(p, slot)) != 0 ||
	    (rc = spawn(p, ROLE_WORKER, slot, g->number, &proc)) != 0) {
		p->tables[slot].taken = false;
		return rc;
	}
	send_table(proc, slot, &p->tables[slot], true);
	send_all_tables(p, proc);
	SEND(proc, seed, -1, .seed = p->seed);
	send_ticket_key(g, proc);
	SEND(proc, config, g->conf_fd, .generation = g->number);
	connect_worker(p, proc);
	for (i = 0; i < g->nlisteners; i++)
		SEND(proc, listener, g->listeners[i].fd, .service = g->listeners[i].service,
			.listen = g->listeners[i].listen);
	send_worker_credentials(g, proc);
	supervise_tell_process(p, proc, false);
	return 0;
}

/* What an ended worker has counted is kept in the table of those that are no more; its connections are
 * gone, so its own is emptied at once: limits count it no longer. */
void
spawn_retire_table(struct parent *p, uint32_t slot)
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
