/* proc/spawn_exec.c - from fork to exec: another user, limits, folder, descriptors and environment, then the
 * program. Nothing of the server's is left but the three descriptors.
 *
 * The process that runs this is single-threaded, so that memory may be allocated; it must not log and never
 * return. */
#include "proc/spawn.h"

#include "proc/program_env.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEFAULT_PATH "PATH=/usr/local/bin:/usr/bin:/bin"
#define CLOSE_RANGE_CLOEXEC_BIT 4u /* <linux/close_range.h> */

#define STEPS(X)                                                                                   \
	X(SETUP, "prepare the process")                                                            \
	X(LIMIT, "set its limits")                                                                 \
	X(USER, "become user")                                                                     \
	X(DIRECTORY, "enter the directory")                                                        \
	X(EXEC, "run")

enum step {
#define STEP_ENUM(name, text) STEP_##name,
	STEPS(STEP_ENUM)
#undef STEP_ENUM
	STEP_COUNT
};

const char *
spawn_failure_text(const struct plan *plan, const struct spawn_failure *f, char *out, size_t cap)
{
	static const char *const texts[STEP_COUNT] = {
#define STEP_TEXT(name, text) [STEP_##name] = (text),
		STEPS(STEP_TEXT)
#undef STEP_TEXT
	};
	const struct conf_exec *e = &plan->conf->exec;
	unsigned step = (unsigned)f->step < STEP_COUNT ? (unsigned)f->step : STEP_SETUP;
	const char *object = step == STEP_USER ? e->user
		: step == STEP_DIRECTORY ? e->directory
		: step == STEP_EXEC ? e->command[0] : "";

	snprintf(out, cap, "cannot %s%s%s: %s", texts[step], object[0] != '\0' ? " " : "", object,
		strerror(f->error));
	return out;
}

__attribute__((noreturn)) static void
fail(int status_fd, enum step step)
{
	struct spawn_failure f = { (int)step, errno };

	(void)!write(status_fd, &f, sizeof f);
	_exit(127);
}

/* A group and a session of its own, no signal ignored or blocked, no descriptor but 0, 1 and 2. */
static int
set_up(const int fds[3])
{
	sigset_t none;
	int i;

	if (setsid() < 0)
		return -1;
	for (i = 1; i < NSIG; i++)
		(void)signal(i, SIG_DFL); /* fails for those that cannot be caught */
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) != 0)
		return -1;
	for (i = 0; i < 3; i++)
		if (dup2(fds[i], i) < 0)
			return -1;
	/* all are close-on-exec already; this is for those that nobody thought of */
	if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC_BIT) != 0 && errno != ENOSYS && errno != EINVAL)
		return -1;
	umask(022);
	return 0;
}

static int
limit(int resource, rlim_t value)
{
	struct rlimit l;

	if (getrlimit(resource, &l) != 0)
		return -1;
	if (l.rlim_max != RLIM_INFINITY && value > l.rlim_max)
		value = l.rlim_max;
	l.rlim_cur = l.rlim_max = value;
	return setrlimit(resource, &l);
}

static int
set_limits(const struct conf_exec *e)
{
	static const int resources[CONF_LIMITS] = {
		[CONF_LIMIT_CPU] = RLIMIT_CPU,
		[CONF_LIMIT_MEMORY] = RLIMIT_AS,
		[CONF_LIMIT_FILES] = RLIMIT_NOFILE,
		[CONF_LIMIT_FILE_SIZE] = RLIMIT_FSIZE,
		[CONF_LIMIT_PROCESSES] = RLIMIT_NPROC,
	};
	unsigned kind;

	/* the server has raised its own */
	if (!e->limits[CONF_LIMIT_FILES].set && limit(RLIMIT_NOFILE, SPAWN_FILES_DEFAULT) != 0)
		return -1;
	for (kind = 0; kind < CONF_LIMITS; kind++)
		if (e->limits[kind].set && limit(resources[kind], (rlim_t)e->limits[kind].value) != 0)
			return -1;
	return 0;
}

static int
become_user(const struct plan *plan)
{
	const struct program_user *u = plan->user;

	if (u == NULL)
		return 0;
	if (setgroups((size_t)u->ngroups, u->groups) != 0 || setresgid(u->gid, u->gid, u->gid) != 0 ||
	    setresuid(u->uid, u->uid, u->uid) != 0)
		return -1;
	if (setresuid(0, 0, 0) == 0) { /* root's rights can be had back: they must not */
		errno = EPERM;
		return -1;
	}
	return 0;
}

struct environment {
	char *vars[1 + CONF_EXEC_ENVIRONMENT_MAX + PROGRAM_ENV_COUNT + 1];
	size_t n;
};

static int
add(void *arg, const char *assignment)
{
	struct environment *env = arg;

	return (env->vars[env->n++] = strdup(assignment)) != NULL ? 0 : PT_ENOMEM;
}

static int
make_environment(struct environment *env, const struct conf_exec *e, struct span client)
{
	bool has_path = false;
	size_t i;

	env->n = 0;
	for (i = 0; i < e->nenvironment; i++) {
		env->vars[env->n++] = e->environment[i];
		has_path |= strncmp(e->environment[i], "PATH=", 5) == 0;
	}
	if ((!has_path && add(env, DEFAULT_PATH) != 0) || program_env_each(client, add, env) != 0) {
		errno = ENOMEM;
		return -1;
	}
	env->vars[env->n] = NULL;
	return 0;
}

void
spawn_become(const struct plan *plan, struct span client, const int fds[3], int status_fd, pid_t parent)
{
	const struct conf_exec *e = &plan->conf->exec;
	char *argv[CONF_EXEC_ARGS_MAX + 1];
	struct environment env;

	if (set_up(fds) != 0 || make_environment(&env, e, client) != 0)
		fail(status_fd, STEP_SETUP);
	if (set_limits(e) != 0)
		fail(status_fd, STEP_LIMIT);
	if (become_user(plan) != 0)
		fail(status_fd, STEP_USER);
	/* who could end it is gone when the spawn process dies: then it goes, too. Only now, because a change of user
	 * undoes it; and the spawn process may have died before */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != parent)
		fail(status_fd, STEP_SETUP);
	if (chdir(e->directory) != 0)
		fail(status_fd, STEP_DIRECTORY);
	memcpy(argv, e->command, e->ncommand * sizeof argv[0]);
	argv[e->ncommand] = NULL;
	execve(argv[0], argv, env.vars);
	fail(status_fd, STEP_EXEC);
}
