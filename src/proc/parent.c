/* proc/parent.c - posternd itself: binds, opens, forks, supervises. See parent.h for what it never does. */
#include "config.h"

#include "proc/parent.h"

#include "proc/confine.h"
#include "proc/files.h"
#include "proc/logging.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONTROL_MODE 0660
#define SERVING_TITLE "posternd: serving %s"

/* --- the log ---------------------------------------------------------------------------------- */

static void
sink(void *arg, enum log_level level, const char *text, const struct log_field *fields, size_t n)
{
	struct parent *p = arg;

	if (p->log_fd >= 0 && logging_send(p->log_fd, level, text, fields, n) == 0)
		return;
	dprintf(STDERR_FILENO, "posternd[%d] %s: %s\n", (int)getpid(), log_level_name(level), text);
}

/* --- files of our own ------------------------------------------------------------------------- */

/* The folder of a path, one level, if it is not there (as a runtime folder after a boot). */
static void
make_folder_of(const char *path)
{
	char folder[1024];
	char *slash;

	if (strlcpy(folder, path, sizeof folder) >= sizeof folder ||
	    (slash = strrchr(folder, '/')) == NULL || slash == folder)
		return;
	*slash = '\0';
	(void)mkdir(folder, 0755); /* what is wrong with it shows when the file is made */
}

/* The pid file is the lock against a second start: held by its descriptor through upgrades. */
static int
lock_pid_file(struct parent *p, const char *path, struct diag *diag)
{
	char pid[24] = "";
	int fd;

	make_folder_of(path);
	if ((fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0644)) < 0)
		return diag_set(diag, PT_EPERM, "cannot write the pid file %s: %s; \"postern setup\" makes "
			"its folder", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (read(fd, pid, sizeof pid - 1) < 0)
			pid[0] = '\0';
		pid[strcspn(pid, "\n")] = '\0';
		close(fd);
		return diag_set(diag, PT_EBUSY, "posternd is already running with this configuration "
			"(pid %s, %s)", pid, path);
	}
	snprintf(pid, sizeof pid, "%d\n", (int)getpid());
	if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, strlen(pid), 0) != (ssize_t)strlen(pid)) {
		close(fd);
		return diag_set(diag, PT_EIO, "cannot write the pid file %s: %s", path, strerror(errno));
	}
	p->pid_fd = fd;
	p->pid_file = strdup(path);
	return p->pid_file != NULL ? 0 : PT_ENOMEM;
}

int
parent_open_control(struct parent *p, const struct conf *conf, struct diag *diag)
{
	union addr a = { .un = { .sun_family = AF_UNIX } };
	const struct group *gr;
	int fd, rc;

	if (p->control_fd >= 0 && strcmp(p->control_path, conf->control_socket) == 0)
		return 0;
	if (strlcpy(a.un.sun_path, conf->control_socket, sizeof a.un.sun_path) >= sizeof a.un.sun_path)
		return diag_set(diag, PT_EINVAL, "%s is too long for a unix socket (at most %zu octets)",
			conf->control_socket, sizeof a.un.sun_path - 1);
	make_folder_of(conf->control_socket);
	if ((rc = listen_open(&a, sizeof a.un, CONTROL_MODE, &fd, diag)) != 0)
		return rc;
	if (p->is_root) {
		if ((gr = getgrnam(conf->control_group)) == NULL)
			log_msg(LOG_L_WARNING, "the group %s does not exist: only root can use the postern "
				"command; run \"postern setup\"", conf->control_group);
		else if (chown(conf->control_socket, 0, gr->gr_gid) != 0)
			log_msg(LOG_L_WARNING, "cannot give %s to group %s: %s", conf->control_socket,
				conf->control_group, strerror(errno));
	}
	if (p->control_fd >= 0) {
		close(p->control_fd);
		unlink(p->control_path);
		free(p->control_path);
	}
	p->control_fd = fd;
	p->control_path = strdup(conf->control_socket);
	return p->control_path != NULL ? 0 : PT_ENOMEM;
}

/* The empty folder that becomes the children's root. */
static int
open_root(struct parent *p, const struct conf *conf, struct diag *diag)
{
	char path[1024];

	p->root_fd = -1;
	if (!p->is_root)
		return 0;
	snprintf(path, sizeof path, "%s/empty", conf->state);
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		return diag_set(diag, PT_EIO, "cannot make the folder %s: %s; run \"postern setup\" first",
			path, strerror(errno));
	if ((p->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)) < 0)
		return diag_set(diag, PT_EIO, "cannot open the folder %s: %s", path, strerror(errno));
	return 0;
}

/* --- the programs that roles execute ----------------------------------------------------------- */

#define PROGRAM_FD 64 /* above a child's fixed descriptors, which are put in place before exec */

static int
open_program(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), high;

	if (fd < 0)
		return -1;
	high = fcntl(fd, F_DUPFD_CLOEXEC, PROGRAM_FD);
	close(fd);
	return high;
}

/* A tree that was moved (DESTDIR, a private prefix) keeps its shape. */
static void
program_path(const struct parent *p, const char *name, char *path, size_t cap)
{
	size_t folder = (size_t)(strrchr(p->exe_path, '/') - p->exe_path);

	if (strcmp(p->exe_path, SBINDIR "/posternd") == 0)
		snprintf(path, cap, PKGLIBEXECDIR "/%s", name);
	else
		snprintf(path, cap, "%.*s/../libexec/postern/%s", (int)folder, p->exe_path, name);
}

/* By descriptor, so that what is started is what we are, whatever is installed meanwhile. */
static int
open_programs(struct parent *p, struct diag *diag)
{
	char path[1200];
	unsigned role;
	ssize_t n;
	int own;

	n = readlink("/proc/self/exe", p->exe_path, sizeof p->exe_path - 1);
	if (n <= 0)
		return diag_set(diag, PT_EIO, "/proc is not mounted");
	p->exe_path[n] = '\0';
	if ((own = open_program("/proc/self/exe")) < 0)
		return diag_set(diag, PT_EIO, "cannot open %s: %s", p->exe_path, strerror(errno));
	for (role = 0; role < ROLE_COUNT; role++) {
		p->exe_fds[role] = own;
		if (role_program(role) == NULL)
			continue;
		program_path(p, role_program(role), path, sizeof path);
		if ((p->exe_fds[role] = open_program(path)) < 0)
			return diag_set(diag, PT_ENOENT, "cannot open %s: %s; is the installation "
				"complete?", path, strerror(errno));
	}
	return 0;
}

/* --- signals ---------------------------------------------------------------------------------- */

#ifdef ENABLE_PROBE
static void
probe_all(struct parent *p)
{
	struct msg_probe m;
	struct proc *proc;
	struct frame f;

	TAILQ_FOREACH(proc, &p->procs, next)
		for (m.what = 0; m.what < PROBE_COUNT; m.what++) {
			PT_ASSERT(msg_probe_encode(&m, 0, &f) == 0);
			supervise_send(proc, &f, -1);
		}
}
#endif

static void
on_signal(void *arg, int signo)
{
	struct parent *p = arg;

	switch (signo) {
	case SIGCHLD:
		supervise_reap(p);
		break;
	case SIGHUP:
		log_msg(LOG_L_NOTICE, "reload, asked for by SIGHUP");
		transition_begin(p, 0);
		break;
	case SIGUSR2:
		p->upgrade_wanted = true;
		upgrade_begin(p);
		break;
	case SIGTERM:
		transition_stop(p, false);
		break;
	case SIGQUIT:
		transition_stop(p, true);
		break;
	case SIGINT:
		transition_stop_now(p);
		break;
#ifdef ENABLE_PROBE
	case SIGURG:
		probe_all(p);
		break;
#endif
	}
}

static const int signals[] = { SIGCHLD, SIGHUP, SIGUSR2, SIGTERM, SIGQUIT, SIGINT };

void
parent_hold_signals(bool hold)
{
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	for (i = 0; i < PT_COUNT(signals); i++)
		sigaddset(&set, signals[i]);
	(void)sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void
watch_signals(struct parent *p)
{
	size_t i;

	signal(SIGPIPE, SIG_IGN);
	for (i = 0; i < PT_COUNT(signals); i++)
		ev_signal_init(&p->signals[i], p->loop, signals[i], on_signal, p);
	parent_hold_signals(false); /* held over an upgrade's exec */
#ifdef ENABLE_PROBE
	{
		static struct ev_signal probe;

		ev_signal_init(&probe, p->loop, SIGURG, on_signal, p);
	}
#endif
}

/* --- start ------------------------------------------------------------------------------------ */

/* To the background: the starter waits until we serve, and ends with our code. */
static int
daemonize(struct parent *p)
{
	int fds[2], null, status;
	char code = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) != 0 || (pid = fork()) < 0)
		return PT_EIO;
	if (pid > 0) {
		close(fds[1]);
		do
			n = read(fds[0], &code, 1);
		while (n < 0 && errno == EINTR);
		if (n == 1)
			_exit(0);
		_exit(waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 71);
	}
	close(fds[0]);
	p->ready_fd = fds[1];
	if (setsid() < 0)
		return PT_EIO;
	if ((null = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0)
		(void)dup2(null, STDIN_FILENO);
	if (null > STDERR_FILENO)
		close(null);
	return chdir("/") == 0 ? 0 : PT_EIO;
}

/* Serving: whoever started us may know, and in the background the terminal is let go. */
void
parent_ready(struct parent *p)
{
	char state[96];
	int null;

	setproctitle("-" SERVING_TITLE, p->conf_path);
	snprintf(state, sizeof state, "READY=1\nSTATUS=generation %llu\nMAINPID=%d",
		(unsigned long long)p->current->number, (int)getpid());
	notify_systemd(state);
	if (p->ready_fd < 0)
		return;
	if (write(p->ready_fd, "", 1) != 1)
		log_msg(LOG_L_WARNING, "the process that started us is gone");
	close(p->ready_fd);
	p->ready_fd = -1;
	if ((null = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0) {
		(void)dup2(null, STDOUT_FILENO);
		(void)dup2(null, STDERR_FILENO);
		close(null);
	}
}

void
parent_exit(struct parent *p, int code)
{
	struct generation *g;
	const struct conf_listen *l;
	size_t i, k;

	TAILQ_FOREACH(g, &p->generations, next)
		for (i = 0; g->conf != NULL && i < g->conf->nservices; i++)
			for (k = 0; k < g->conf->services[i].nlistens; k++) {
				l = &g->conf->services[i].listens[k];
				if (l->addr.sa.sa_family == AF_UNIX)
					unlink(l->addr.un.sun_path);
			}
	TAILQ_FOREACH(g, &p->generations, next)
		explicit_bzero(g->ticket_key, sizeof g->ticket_key);
	if (p->staging != NULL)
		explicit_bzero(p->staging->ticket_key, sizeof p->staging->ticket_key);
	if (p->control_path != NULL)
		unlink(p->control_path);
	if (p->pid_file != NULL)
		unlink(p->pid_file);
	if (p->check_pid > 0)
		kill(p->check_pid, SIGKILL);
	exit(code);
}

static int
find_accounts(struct diag *diag)
{
	unsigned role;

	for (role = ROLE_KEYHOLDER; role < ROLE_COUNT; role++)
		if (confine_user((enum role)role) != NULL && getpwnam(confine_user((enum role)role)) == NULL)
			return diag_set(diag, PT_ENOENT, "the account %s does not exist: run \"postern "
				"setup\" as root first", confine_user((enum role)role));
	return 0;
}

/* What a first start needs before there are children. */
static int
prepare(struct parent *p, struct diag *diag)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf = NULL;
	struct buf text;
	int rc;

	if (errors == NULL)
		return PT_ENOMEM;
	if ((rc = conf_load(p->conf_path, &conf, errors)) != 0) {
		buf_init(&text, 1024 * 1024);
		(void)!conf_errors_print(errors, &text);
		(void)!write(STDERR_FILENO, buf_span(&text).p, buf_size(&text));
		buf_fini(&text);
		diag_set(diag, rc, "mistakes in %s; nothing was started", p->conf_path);
	}
	conf_errors_free(&errors);
	/* before anything is made: what "postern setup" has to do first */
	if (rc == 0 && conf->nservices == 0)
		rc = diag_set(diag, PT_EINVAL, "%s has no service: there is nothing to serve; run \"postern "
			"setup\" to get one, or add a service block", p->conf_path);
	if (rc == 0 && p->is_root)
		rc = find_accounts(diag);
	if (rc == 0 && (rc = lock_pid_file(p, conf->pid_file, diag)) == 0 &&
	    (rc = open_root(p, conf, diag)) == 0)
		rc = parent_open_control(p, conf, diag);
	conf_free(&conf);
	return rc;
}

static int
fail(struct parent *p, const struct diag *diag, int rc)
{
	log_msg(LOG_L_ERROR, "%s", diag->text[0] != '\0' ? diag->text : pt_strerror(rc));
	if (p->pid_file != NULL)
		unlink(p->pid_file);
	if (p->control_path != NULL)
		unlink(p->control_path);
	return rc == PT_EBUSY ? 75 : rc == PT_EINVAL ? 78 : 71;
}

int
parent_main(int argc, char **argv, const char *conf_path, bool foreground)
{
	static struct parent p;
	struct diag diag = { "" };
	bool resumed;
	int rc;

	(void)argc;
	p = (struct parent){ .conf_path = conf_path, .foreground = foreground, .argv = argv,
		.is_root = geteuid() == 0, .started = (uint64_t)time(NULL), .pid_fd = -1,
		.control_fd = -1, .log_fd = -1, .root_fd = -1, .ready_fd = -1 };
	umask(022);
	log_set_sink(sink, &p);
	descriptors_raise();
	resumed = getenv("POSTERN_UPGRADE") != NULL;
	if (!resumed)
		closefrom(STDERR_FILENO + 1); /* what a careless starter left open is nobody's business */
	if (getrandom(&p.seed, sizeof p.seed, 0) != (ssize_t)sizeof p.seed)
		return fail(&p, &diag, PT_EIO);
	if ((rc = open_programs(&p, &diag)) != 0 ||
	    (!resumed && !foreground && (rc = daemonize(&p)) != 0) ||
	    (!resumed && (rc = prepare(&p, &diag)) != 0) || (rc = confine_parent(&diag)) != 0)
		return fail(&p, &diag, rc);
	if ((p.loop = ev_loop_new()) == NULL)
		return fail(&p, &diag, PT_ENOMEM);
	supervise_init(&p);
	pickup_init(&p);
	ev_timer_init(&p.stage_timer, p.loop, NULL, NULL);
	ev_timer_init(&p.stop_timer, p.loop, NULL, NULL);
	watch_signals(&p);
	setproctitle("-" "posternd: starting");
	if (resumed)
		resumed = upgrade_resume(&p);
	transition_begin(&p, 0);
	if (resumed)
		supervise_reap(&p); /* those that ended while we were exec'd */
	ev_loop_run(p.loop);
	return 0;
}
