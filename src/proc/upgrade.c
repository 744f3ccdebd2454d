/* proc/upgrade.c - a new binary in place of this one: same pid, same sockets, not one session cut.
 *
 * The new binary checks the configuration first (-n). Then everything worth keeping is written as text
 * into a memfd, close-on-exec is taken off the descriptors in it, and execve() follows. The new parent
 * adopts the children and goes on as at a reload: new workers beside the old ones, which drain; and a
 * new keyholder and control, to which the old workers go over. If the exec fails, nothing has changed. */
#include "proc/parent.h"

#include "proc/files.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATE_MAX (1024 * 1024)
#define STATE_VERSION 1
#define CHECK_TIMEOUT_MS 60000 /* for the new binary to check the configuration */

static int check_output = -1; /* memfd that the check writes to; there is one parent in a process */

/* --- the check -------------------------------------------------------------------------------- */

/* Its end is met when it is reaped: the upgrade is refused then. */
static void
check_late(void *arg)
{
	struct parent *p = arg;

	log_msg(LOG_L_ERROR, "upgrade: the check takes longer than %d s and is ended",
		CHECK_TIMEOUT_MS / 1000);
	if (p->check_pid > 0)
		kill(p->check_pid, SIGKILL);
}

void
upgrade_begin(struct parent *p)
{
	char *argv[] = { p->exe_path, (char *)(uintptr_t)"-n", (char *)(uintptr_t)"-f",
		(char *)(uintptr_t)p->conf_path, NULL };

	if (!p->upgrade_wanted || p->staging != NULL || p->check_pid != 0 ||
	    p->state >= PROC_DRAINING || p->current == NULL)
		return; /* not asked for, or called again when what is under way has ended */
	p->upgrade_wanted = false;
	log_msg(LOG_L_NOTICE, "upgrade: checking the configuration with %s", p->exe_path);
	ev_timer_init(&p->check_timer, p->loop, check_late, p);
	ev_timer_set(&p->check_timer, CHECK_TIMEOUT_MS);
	check_output = memfd_create("postern-check", MFD_CLOEXEC);
	if ((p->check_pid = fork()) == 0) {
		if (check_output >= 0)
			(void)dup2(check_output, STDERR_FILENO);
		execv(p->exe_path, argv);
		dprintf(STDERR_FILENO, "cannot run %s: %s\n", p->exe_path, strerror(errno));
		_exit(127);
	}
	if (p->check_pid < 0) {
		p->check_pid = 0;
		log_msg(LOG_L_ERROR, "upgrade: cannot fork: %s", strerror(errno));
	}
}

/* --- what is kept ----------------------------------------------------------------------------- */

struct keeper {
	struct buf text;
	int fds[8192];
	size_t n;
	int rc;
};

static int
keep(struct keeper *k, int fd)
{
	if (fd < 0)
		return -1;
	if (k->n == PT_COUNT(k->fds)) {
		k->rc = PT_EFULL;
		return -1;
	}
	k->fds[k->n++] = fd;
	return fd;
}

#define PUT(k, ...)                                                                                \
	do {                                                                                       \
		if ((k)->rc == 0)                                                                  \
			(k)->rc = buf_printf(&(k)->text, __VA_ARGS__);                             \
	} while (0)

static void
put_set(struct keeper *k, const struct cred_set *s)
{
	const struct cred_source *o;
	const struct gen_cert *c;
	size_t i;

	PUT(k, "set %llu\n", (unsigned long long)s->number);
	for (i = 0; i < s->nsources; i++) {
		o = &s->sources[i];
		PUT(k, "source %d %d %llu %llu %llu %lld %lld %s\n", keep(k, o->fd), o->private,
			(unsigned long long)o->sig.dev, (unsigned long long)o->sig.ino,
			(unsigned long long)o->sig.size, (long long)o->sig.mtime_ns,
			(long long)o->sig.ctime_ns, o->path);
	}
	/* their descriptors but the chains' are those of sources, and have the same numbers there */
	for (i = 0; i < s->ncerts; i++) {
		c = &s->certs[i];
		PUT(k, "cert %d %d %d %s\n", c->cert_fd, c->key_fd, keep(k, c->chain_fd), c->certificate);
		PUT(k, "key %s\n", c->key != NULL ? c->key : "");
		if (c->passphrase != NULL)
			PUT(k, "passphrase %d %s\n", c->pass_fd, c->passphrase);
	}
	for (i = 0; i < s->nfiles; i++)
		PUT(k, "file %d %d %u %u %s\n", s->files[i].fd, (int)s->files[i].kind, s->files[i].set,
			s->files[i].index, s->files[i].path);
}

static void
put_accounts(struct keeper *k, const struct cred_set *s)
{
	const struct cred_source *o;
	size_t i, n;

	for (i = 0; i < s->nfiles; i++) {
		for (n = 0; n + 1 < s->nsources && strcmp(s->sources[n].path, s->files[i].path) != 0; n++)
			;
		o = &s->sources[n];
		PUT(k, "account %d %d %llu %llu %llu %lld %lld %s\n", keep(k, o->fd), (int)s->files[i].kind,
			(unsigned long long)o->sig.dev, (unsigned long long)o->sig.ino,
			(unsigned long long)o->sig.size, (long long)o->sig.mtime_ns,
			(long long)o->sig.ctime_ns, o->path);
	}
}

static void
put_generation(struct keeper *k, const struct parent *p, const struct generation *g)
{
	const struct cred_set *s;
	size_t i;

	PUT(k, "gen %llu %d %d\n", (unsigned long long)g->number, keep(k, g->conf_fd),
		g == p->current);
	for (i = 0; i < g->nlisteners; i++)
		if (g->listeners[i].fd >= 0)
			PUT(k, "listener %d %u %u %s\n", keep(k, g->listeners[i].fd),
				g->listeners[i].service, g->listeners[i].listen, g->listeners[i].text);
	TAILQ_FOREACH(s, &g->sets, next)
		put_set(k, s);
	if (g->accounts != NULL)
		put_accounts(k, g->accounts);
}

static void
put_all(struct keeper *k, const struct parent *p)
{
	const struct generation *g;
	const struct proc *proc;
	uint32_t i;

	PUT(k, "postern-upgrade %d\n", STATE_VERSION);
	PUT(k, "seed %llu\nstarted %llu\nlast %llu\ncred %llu\n", (unsigned long long)p->seed,
		(unsigned long long)p->started, (unsigned long long)p->last_generation,
		(unsigned long long)p->last_cred);
	PUT(k, "log %d\nroot %d\n", keep(k, p->log_fd), keep(k, p->root_fd));
	PUT(k, "pid %d %s\n", keep(k, p->pid_fd), p->pid_file);
	if (p->control_fd >= 0)
		PUT(k, "control %d %s\n", keep(k, p->control_fd), p->control_path);
	for (i = 0; i < TABLE_SLOTS_MAX; i++)
		if (p->tables[i].fd >= 0)
			PUT(k, "table %u %d %d\n", i, keep(k, p->tables[i].fd),
				keep(k, p->tables[i].reader_fd));
	for (i = 0; i < TABLE_SLOTS_MAX; i++)
		if (p->tables[i].rec_fd >= 0)
			PUT(k, "recorder %u %d %d\n", i, keep(k, p->tables[i].rec_fd),
				keep(k, p->tables[i].rec_reader_fd));
	TAILQ_FOREACH(g, &p->generations, next)
		put_generation(k, p, g);
	TAILQ_FOREACH(proc, &p->procs, next)
		if (proc->chan != NULL)
			PUT(k, "proc %d %u %d %llu %d %d %d %d\n", (int)proc->role, proc->slot,
				(int)proc->pid, (unsigned long long)proc->generation, (int)proc->state,
				proc->leaving, keep(k, chan_fd(proc->chan)), keep(k, proc->groups_fd));
}

static void
set_cloexec(int fd, bool on)
{
	if (fd >= 0)
		(void)fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0);
}

static void
go(struct parent *p)
{
	char *argv[] = { (char *)(uintptr_t)"posternd", (char *)(uintptr_t)"-f",
		(char *)(uintptr_t)p->conf_path, p->foreground ? (char *)(uintptr_t)"-d" : NULL, NULL };
	struct keeper *k = calloc(1, sizeof *k);
	char number[16];
	size_t i;
	int fd = -1;

	if (k == NULL)
		return;
	pickup_abort(p); /* the next parent looks for itself what has changed */
	buf_init(&k->text, STATE_MAX);
	put_all(k, p);
	if (k->rc == 0)
		k->rc = memfd_sealed("postern-upgrade", buf_span(&k->text), &fd);
	if (k->rc == 0) {
		snprintf(number, sizeof number, "%d", fd);
		for (i = 0; i < k->n; i++)
			set_cloexec(k->fds[i], false);
		set_cloexec(fd, false);
		setenv("POSTERN_UPGRADE", number, 1);
		log_msg(LOG_L_NOTICE, "upgrade: going over to %s", p->exe_path);
		notify_systemd("RELOADING=1");
		execv(p->exe_path, argv);
		log_msg(LOG_L_ERROR, "upgrade: cannot run %s: %s; everything goes on as before",
			p->exe_path, strerror(errno));
		unsetenv("POSTERN_UPGRADE");
		for (i = 0; i < k->n; i++)
			set_cloexec(k->fds[i], true);
	} else {
		log_msg(LOG_L_ERROR, "upgrade: %s; everything goes on as before", pt_strerror(k->rc));
	}
	if (fd >= 0)
		close(fd);
	buf_fini(&k->text);
	free(k);
}

/* One turn of the loop after signals were held: those that came before have been followed. */
static void
go_or_not(void *arg)
{
	struct parent *p = arg;

	if (p->staging != NULL)
		p->upgrade_wanted = true; /* a reload came between: once more when it has ended */
	else if (p->state == PROC_SERVING)
		go(p);
	parent_hold_signals(false);
}

void
upgrade_checked(struct parent *p, int status)
{
	struct buf out;
	bool ok;

	p->check_pid = 0;
	ev_timer_clear(&p->check_timer);
	buf_init(&out, 4096);
	if (check_output >= 0) {
		(void)!file_slurp(check_output, &out, NULL);
		close(check_output);
		check_output = -1;
	}
	ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (!ok)
		log_msg(LOG_L_ERROR, "upgrade refused, everything goes on as before: %.*s",
			(int)buf_size(&out), buf_size(&out) > 0 ? (const char *)buf_span(&out).p : "");
	buf_fini(&out);
	if (!ok)
		return;
	/* exec resets our handlers: a signal that came before the new ones are there would be lost, or
	 * the end of us. So they are held until then, and those that we have are followed first. */
	parent_hold_signals(true);
	ev_timer_init(&p->upgrade_timer, p->loop, go_or_not, p);
	ev_timer_set(&p->upgrade_timer, 0);
}

/* --- the new binary --------------------------------------------------------------------------- */

struct reader {
	struct parent *p;
	struct generation *g; /* the last one met */
	bool ok;
};

static char *
rest_of(const char *line, int fields)
{
	while (fields-- > 0 && line != NULL)
		if ((line = strchr(line, ' ')) != NULL)
			line++;
	return line != NULL ? strdup(line) : NULL;
}

static struct conf *
read_conf(int fd)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf = NULL;
	struct buf text;

	buf_init(&text, 4 * CONF_FILE_MAX);
	/* an older binary's configuration may have what we do not know: then we go without */
	if (errors == NULL || file_slurp(fd, &text, NULL) != 0 ||
	    conf_parse("configuration", "/", buf_span(&text), &conf, errors) != 0)
		conf = NULL;
	buf_fini(&text);
	conf_errors_free(&errors);
	return conf;
}

static void
read_generation(struct reader *r, const char *line)
{
	struct parent *p = r->p;
	unsigned long long number;
	int fd, current;

	if (sscanf(line, "gen %llu %d %d", &number, &fd, &current) != 3 ||
	    (r->g = calloc(1, sizeof *r->g)) == NULL) {
		r->ok = false;
		return;
	}
	set_cloexec(fd, true);
	r->g->number = number;
	TAILQ_INIT(&r->g->sets);
	r->g->conf_fd = fd;
	r->g->conf = read_conf(fd);
	TAILQ_INSERT_TAIL(&p->generations, r->g, next);
	if (current && r->g->conf != NULL)
		p->current = r->g;
}

static void
read_listener(struct reader *r, const char *line)
{
	struct generation *g = r->g;
	struct gen_listener *more, l;

	if (g == NULL || sscanf(line, "listener %d %u %u", &l.fd, &l.service, &l.listen) != 3 ||
	    (more = reallocarray(g->listeners, g->nlisteners + 1, sizeof l)) == NULL) {
		r->ok = false;
		return;
	}
	set_cloexec(l.fd, true);
	l.text = rest_of(line, 4);
	g->listeners = more;
	more[g->nlisteners++] = l;
}

static void
read_set(struct reader *r, const char *line)
{
	unsigned long long number;
	struct cred_set *s;

	if (r->g == NULL || sscanf(line, "set %llu", &number) != 1 || (s = calloc(1, sizeof *s)) == NULL) {
		r->ok = false;
		return;
	}
	s->number = number;
	r->g->cred = s;
	TAILQ_INSERT_TAIL(&r->g->sets, s, next);
}

static void
read_source(struct reader *r, const char *line)
{
	struct cred_set *s = r->g != NULL ? r->g->cred : NULL;
	struct cred_source *more, o = { 0 };
	unsigned long long dev, ino, size;
	long long mtime, ctime;
	int private;

	if (s == NULL || sscanf(line, "source %d %d %llu %llu %llu %lld %lld", &o.fd, &private, &dev, &ino,
			 &size, &mtime, &ctime) != 7 ||
	    (more = reallocarray(s->sources, s->nsources + 1, sizeof o)) == NULL) {
		r->ok = false;
		return;
	}
	set_cloexec(o.fd, true);
	o.private = private != 0;
	o.sig = (struct file_sig){ dev, ino, size, mtime, ctime };
	o.path = rest_of(line, 8);
	s->sources = more;
	more[s->nsources++] = o;
}

/* A file of auth's: both the source and what it is. */
static void
read_account(struct reader *r, const char *line)
{
	struct cred_source *sources, o = { .path = NULL };
	unsigned long long dev, ino, size;
	struct gen_file *files;
	long long mtime, ctime;
	struct cred_set *s;
	int kind;

	if (r->g == NULL || sscanf(line, "account %d %d %llu %llu %llu %lld %lld", &o.fd, &kind, &dev, &ino, &size,
				    &mtime, &ctime) != 7 ||
	    (r->g->accounts == NULL && (r->g->accounts = calloc(1, sizeof *s)) == NULL)) {
		r->ok = false;
		return;
	}
	s = r->g->accounts;
	if ((sources = reallocarray(s->sources, s->nsources + 1, sizeof o)) != NULL)
		s->sources = sources;
	if ((files = reallocarray(s->files, s->nfiles + 1, sizeof *files)) != NULL)
		s->files = files;
	if (sources == NULL || files == NULL) {
		r->ok = false;
		return;
	}
	set_cloexec(o.fd, true);
	o.sig = (struct file_sig){ dev, ino, size, mtime, ctime };
	o.path = rest_of(line, 8);
	files[s->nfiles++] = (struct gen_file){ (enum cred_kind)kind, 0, 0, rest_of(line, 8), o.fd };
	if (s->nsources == 0 || sources[0].fd != o.fd) /* else both directives name one file */
		sources[s->nsources++] = o;
	else
		free(o.path);
}

static void
read_cert(struct reader *r, const char *line)
{
	struct cred_set *s = r->g != NULL ? r->g->cred : NULL;
	struct gen_cert *more, c = { .pass_fd = -1 };

	if (s == NULL || sscanf(line, "cert %d %d %d", &c.cert_fd, &c.key_fd, &c.chain_fd) != 3 ||
	    (more = reallocarray(s->certs, s->ncerts + 1, sizeof c)) == NULL) {
		r->ok = false;
		return;
	}
	set_cloexec(c.chain_fd, true);
	c.certificate = rest_of(line, 4);
	s->certs = more;
	more[s->ncerts++] = c;
}

static void
read_key(struct reader *r, const char *line)
{
	struct cred_set *s = r->g != NULL ? r->g->cred : NULL;

	if (s == NULL || s->ncerts == 0)
		r->ok = false;
	else if (line[4] != '\0')
		s->certs[s->ncerts - 1].key = rest_of(line, 1);
}

static void
read_passphrase(struct reader *r, const char *line)
{
	struct cred_set *s = r->g != NULL ? r->g->cred : NULL;

	if (s == NULL || s->ncerts == 0 || sscanf(line, "passphrase %d", &s->certs[s->ncerts - 1].pass_fd) != 1)
		r->ok = false;
	else
		s->certs[s->ncerts - 1].passphrase = rest_of(line, 2);
}

static void
read_file(struct reader *r, const char *line)
{
	struct cred_set *s = r->g != NULL ? r->g->cred : NULL;
	struct gen_file *more, f = { 0 };
	int kind;

	if (s == NULL || sscanf(line, "file %d %d %u %u", &f.fd, &kind, &f.set, &f.index) != 4 ||
	    (more = reallocarray(s->files, s->nfiles + 1, sizeof f)) == NULL) {
		r->ok = false;
		return;
	}
	f.kind = (enum cred_kind)kind;
	f.path = rest_of(line, 5);
	s->files = more;
	more[s->nfiles++] = f;
}

static void
read_proc(struct reader *r, const char *line)
{
	int role, pid, state, leaving, fd, groups_fd = -1;
	unsigned long long generation;
	struct generation *g;
	struct cred_set *set;
	struct proc *proc;
	uint32_t slot;

	/* an older binary has written no groups_fd */
	if (sscanf(line, "proc %d %u %d %llu %d %d %d %d", &role, &slot, &pid, &generation, &state, &leaving,
		    &fd, &groups_fd) < 7) {
		r->ok = false;
		return;
	}
	set_cloexec(fd, true);
	if ((unsigned)role >= ROLE_COUNT) {
		close(fd); /* a newer binary's helper: without us it ends */
		return;
	}
	proc = supervise_adopt(r->p, (enum role)role, slot, pid, generation, (enum proc_state)state, fd);
	proc->leaving = leaving != 0;
	proc->groups_fd = groups_fd;
	set_cloexec(groups_fd, true);
	if (role != ROLE_WORKER || slot >= TABLE_SLOTS_MAX)
		return;
	r->p->tables[slot].taken = true;
	/* which of them it still needs is not known: all, until it has ended */
	if ((g = parent_generation(r->p, generation)) != NULL)
		TAILQ_FOREACH(set, &g->sets, next)
			cred_set_hold(set, slot);
}

static void
read_line(struct reader *r, const char *line)
{
	struct parent *p = r->p;
	unsigned long long number;
	uint32_t slot;
	int a, b;

	if (sscanf(line, "seed %llu", &number) == 1) {
		p->seed = number;
	} else if (sscanf(line, "started %llu", &number) == 1) {
		p->started = number;
	} else if (sscanf(line, "last %llu", &number) == 1) {
		p->last_generation = number;
	} else if (sscanf(line, "cred %llu", &number) == 1) {
		p->last_cred = number;
	} else if (sscanf(line, "log %d", &a) == 1) {
		p->log_fd = a;
		set_cloexec(a, true);
	} else if (sscanf(line, "root %d", &a) == 1) {
		p->root_fd = a;
		set_cloexec(a, true);
	} else if (sscanf(line, "pid %d", &a) == 1) {
		p->pid_fd = a;
		p->pid_file = rest_of(line, 2);
		set_cloexec(a, true);
	} else if (sscanf(line, "control %d", &a) == 1) {
		p->control_fd = a;
		p->control_path = rest_of(line, 2);
		set_cloexec(a, true);
	} else if (sscanf(line, "table %u %d %d", &slot, &a, &b) == 3 && slot < TABLE_SLOTS_MAX) {
		if (p->tables[slot].fd >= 0) { /* that of ended workers: go on with theirs */
			close(p->tables[slot].fd);
			close(p->tables[slot].reader_fd);
		}
		p->tables[slot].fd = a;
		p->tables[slot].reader_fd = b;
		set_cloexec(a, true);
		set_cloexec(b, true);
	} else if (sscanf(line, "recorder %u %d %d", &slot, &a, &b) == 3 && slot < TABLE_SLOTS_MAX) {
		if (p->tables[slot].rec_fd >= 0) {
			close(p->tables[slot].rec_fd);
			close(p->tables[slot].rec_reader_fd);
		}
		p->tables[slot].rec_fd = a;
		p->tables[slot].rec_reader_fd = b;
		set_cloexec(a, true);
		set_cloexec(b, true);
	} else if (strncmp(line, "gen ", 4) == 0) {
		read_generation(r, line);
	} else if (strncmp(line, "listener ", 9) == 0) {
		read_listener(r, line);
	} else if (strncmp(line, "set ", 4) == 0) {
		read_set(r, line);
	} else if (strncmp(line, "source ", 7) == 0) {
		read_source(r, line);
	} else if (strncmp(line, "cert ", 5) == 0) {
		read_cert(r, line);
	} else if (strncmp(line, "key ", 4) == 0) {
		read_key(r, line);
	} else if (strncmp(line, "passphrase ", 11) == 0) {
		read_passphrase(r, line);
	} else if (strncmp(line, "file ", 5) == 0) {
		read_file(r, line);
	} else if (strncmp(line, "account ", 8) == 0) {
		read_account(r, line);
	} else if (strncmp(line, "proc ", 5) == 0) {
		read_proc(r, line);
	}
	/* what a newer binary wrote and we do not know is left out */
}

bool
upgrade_resume(struct parent *p)
{
	struct reader r = { p, NULL, true };
	char *text, *at, *line;
	struct buf b;
	int fd = atoi(getenv("POSTERN_UPGRADE"));

	unsetenv("POSTERN_UPGRADE");
	set_cloexec(fd, true);
	buf_init(&b, STATE_MAX);
	if (file_slurp(fd, &b, NULL) != 0 || buf_append(&b, "", 1) != 0) {
		log_msg(LOG_L_ERROR, "upgrade: what the older posternd left cannot be read");
		parent_exit(p, 71);
	}
	close(fd);
	at = text = (char *)(uintptr_t)buf_span(&b).p;
	while ((line = strsep(&at, "\n")) != NULL)
		read_line(&r, line);
	buf_fini(&b);
	if (!r.ok)
		log_msg(LOG_L_ERROR, "upgrade: a part of what the older posternd left is not understood");
	log_msg(LOG_L_NOTICE, "upgrade: taken over from the older posternd");
	if (p->current != NULL) /* for workers of it that have to be started again */
		generation_load_ticket_key(p->current, NULL);
	if (!TAILQ_EMPTY(&p->generations)) {
		p->state = PROC_SERVING;
		helpers_replace(p);
	}
	return true;
}
