/* proc/spawn_program.c - the life of one program: waiting, started, running, ended with all of its group.
 *
 * The first process is not reaped before its group was told to end: while it is a zombie, nobody else can have its
 * number. What others of the group leave behind is looked at until the group is empty. */
#include "proc/spawn.h"

#include "proc/program_env.h"
#include "proto/engine.h"
#include "util/diag.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void serve_queue(struct pool *pool);

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static const char *
name_of(const struct program *p)
{
	return p->pool->name;
}

/* --- to the owner ----------------------------------------------------------------------------- */

static void
tell(struct program *p, struct frame *f, int fd)
{
	if (p->owner != NULL)
		link_tell(p->owner->link, f, fd);
}

static void
tell_refused(struct program *p, enum engine_no_program why, const char *text)
{
	struct msg_program_refused m = { .why = (uint8_t)why, .text = span_str(text) };
	struct frame f;

	PT_ASSERT(msg_program_refused_encode(&m, p->id, &f) == 0);
	tell(p, &f, -1);
	p->owner = NULL;
}

static void
tell_running(struct program *p)
{
	struct msg_program_output out = { .pid = (uint32_t)p->pid };
	struct msg_program_input in = { 0 };
	struct frame f;

	PT_ASSERT(msg_program_input_encode(&in, p->id, &f) == 0);
	tell(p, &f, p->in_fd);
	PT_ASSERT(msg_program_output_encode(&out, p->id, &f) == 0);
	tell(p, &f, p->out_fd);
	close_fd(&p->in_fd);
	close_fd(&p->out_fd);
}

static void
tell_ended(struct program *p, const siginfo_t *si)
{
	bool by_signal = si->si_code != CLD_EXITED;
	struct msg_program_ended m = { .code = by_signal ? 0 : (uint32_t)si->si_status,
		.signal = by_signal ? (uint32_t)si->si_status : 0 };
	struct frame f;

	PT_ASSERT(msg_program_ended_encode(&m, p->id, &f) == 0);
	tell(p, &f, -1);
	p->owner = NULL;
}

/* --- its end ---------------------------------------------------------------------------------- */

static void
program_free(struct program *p)
{
	struct pool *pool = p->pool;

	if (p->state == PROGRAM_WAITING) {
		TAILQ_REMOVE(&pool->queue, p, queue);
		pool->waiting--;
	} else {
		pool->running--;
	}
	if (p->slot >= 0)
		atomic_store(&p->spawn->groups->pgid[p->slot], 0);
	ev_io_fini(&p->exit_io);
	ev_io_fini(&p->status_io);
	ev_io_fini(&p->err_io);
	ev_timer_fini(&p->timer);
	close_fd(&p->pidfd);
	close_fd(&p->status_fd);
	close_fd(&p->in_fd);
	close_fd(&p->out_fd);
	close_fd(&p->err_fd);
	buf_fini(&p->environment);
	rate_fini(&p->lines);
	TAILQ_REMOVE(&p->spawn->programs, p, all);
	free(p);
}

static void
gone(struct program *p)
{
	struct spawn *s = p->spawn;
	struct pool *pool = p->pool;

	program_end_stderr(p);
	program_free(p);
	serve_queue(pool);
	spawn_end_if_done(s);
}

static void
signal_group(const struct program *p, int signo)
{
	(void)kill(-p->pid, signo);
	(void)kill(-p->pid, SIGCONT); /* one that was stopped would not hear the other */
}

static void
tell_to_end(struct program *p)
{
	if (p->told)
		return;
	p->told = true;
	p->kill_ms = ev_now_ms() + p->stop_timeout_ms;
	signal_group(p, SIGTERM);
	ev_timer_set(&p->timer, p->stop_timeout_ms);
}

void
program_leave(struct program *p)
{
	p->owner = NULL;
	/* nobody holds them: a program that reads or writes sees it */
	close_fd(&p->in_fd);
	close_fd(&p->out_fd);
	if (p->state == PROGRAM_WAITING)
		program_free(p);
	else
		tell_to_end(p);
}

void
program_forget_plan(struct program *p)
{
	if (p->state == PROGRAM_WAITING)
		program_free(p);
	else
		p->plan = NULL;
}

void
program_kill_all(struct spawn *s)
{
	struct program *p, *next;

	for (p = TAILQ_FIRST(&s->programs); p != NULL; p = next) {
		next = TAILQ_NEXT(p, all);
		if (p->state == PROGRAM_WAITING)
			program_free(p);
		else
			signal_group(p, SIGKILL);
	}
}

/* Its first process has ended. Are there others? */
static void
look_at_group(struct program *p)
{
	if (kill(-p->pid, 0) != 0 && errno == ESRCH) {
		gone(p);
		return;
	}
	if (ev_now_ms() >= p->kill_ms)
		signal_group(p, SIGKILL);
	ev_timer_set(&p->timer, SPAWN_GROUP_POLL_MS);
}

/* The status pipe has something to say, or has ended with the exec. */
static void
begun(struct program *p)
{
	struct spawn_failure f;
	char text[DIAG_MAX];
	ssize_t n = read(p->status_fd, &f, sizeof f);

	if (n < 0 && errno == EAGAIN)
		return;
	ev_io_fini(&p->status_io);
	close_fd(&p->status_fd);
	p->state = PROGRAM_RUNNING;
	if (n == (ssize_t)sizeof f) {
		if (p->plan != NULL)
			spawn_failure_text(p->plan, &f, text, sizeof text);
		else
			snprintf(text, sizeof text, "a program cannot be started: %s", strerror(f.error));
		log_msg(LOG_L_ERROR, "service %s: %s", name_of(p), text);
		tell_refused(p, ENGINE_NO_PROGRAM_FAILED, text);
	} else {
		tell_running(p);
	}
	p->plan = NULL;
}

static void
on_status_io(void *arg, unsigned what)
{
	(void)what;
	begun(arg);
}

static void
on_err_io(void *arg, unsigned what)
{
	(void)what;
	program_read_stderr(arg);
}

static void
on_exit_io(void *arg, unsigned what)
{
	struct program *p = arg;
	siginfo_t si = { 0 };

	(void)what;
	if (waitid(P_PID, (id_t)p->pid, &si, WEXITED | WNOWAIT | WNOHANG) != 0 || si.si_pid == 0)
		return;
	ev_io_fini(&p->exit_io);
	if (p->state == PROGRAM_STARTING) /* it has said why, or it has begun and ended */
		begun(p);
	program_read_stderr(p);
	tell_ended(p, &si);
	tell_to_end(p);
	p->state = PROGRAM_ENDED;
	(void)waitid(P_PID, (id_t)p->pid, &si, WEXITED | WNOHANG);
	look_at_group(p);
}

static void
on_timer(void *arg)
{
	struct program *p = arg;

	switch (p->state) {
	case PROGRAM_WAITING:
		tell_refused(p, ENGINE_NO_PROGRAM_BUSY, "as many run as may, and none ended in time");
		program_free(p);
		return;
	case PROGRAM_STARTING:
	case PROGRAM_RUNNING:
		log_msg(LOG_L_NOTICE, "service %s: program %d does not end when it is told to; it is killed",
			name_of(p), (int)p->pid);
		signal_group(p, SIGKILL);
		return;
	case PROGRAM_ENDED:
		look_at_group(p);
		return;
	}
}

/* --- its start -------------------------------------------------------------------------------- */

struct pipes {
	int fd[4][2]; /* stdin, stdout, stderr, status */
};

static void
pipes_close(struct pipes *p)
{
	size_t i;

	for (i = 0; i < PT_COUNT(p->fd); i++) {
		close_fd(&p->fd[i][0]);
		close_fd(&p->fd[i][1]);
	}
}

/* The program's ends block, as programs expect; ours do not. */
static int
pipes_make(struct pipes *p)
{
	static const int ours[] = { 1, 0, 0, 0 };
	size_t i;

	memset(p, 0xff, sizeof *p);
	for (i = 0; i < PT_COUNT(p->fd); i++)
		if (pipe2(p->fd[i], O_CLOEXEC) != 0 || fcntl(p->fd[i][ours[i]], F_SETFL, O_NONBLOCK) != 0) {
			pipes_close(p);
			return PT_EIO;
		}
	return 0;
}

static int
take_end(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static void
watch(struct program *p, struct ev_io *io, int fd, ev_io_f *f)
{
	ev_io_init(io, p->spawn->child.loop, fd, f, p);
	ev_io_want(io, EV_IO_READ);
}

/* Our side of what was forked. */
static void
adopt(struct program *p, struct pipes *pipes, pid_t pid)
{
	atomic_store(&p->spawn->groups->pgid[p->slot], pid);
	p->pid = pid;
	p->state = PROGRAM_STARTING;
	p->in_fd = take_end(&pipes->fd[0][1]);
	p->out_fd = take_end(&pipes->fd[1][0]);
	p->err_fd = take_end(&pipes->fd[2][0]);
	p->status_fd = take_end(&pipes->fd[3][0]);
	watch(p, &p->err_io, p->err_fd, on_err_io);
	watch(p, &p->status_io, p->status_fd, on_status_io);
	watch(p, &p->exit_io, p->pidfd, on_exit_io);
	buf_fini(&p->environment);
}

/* False: it cannot be; the owner was told, and p is to be freed. p->state is STARTING then, too. */
static bool
start(struct program *p)
{
	pid_t pid, self = getpid();
	struct pipes pipes;
	int fds[3];

	p->pool->running++;
	p->state = PROGRAM_STARTING;
	if ((p->slot = groups_find_free(p->spawn->groups)) < 0) {
		tell_refused(p, ENGINE_NO_PROGRAM_BUSY, "as many programs run as may run at all");
		return false;
	}
	if (pipes_make(&pipes) != 0) {
		tell_refused(p, ENGINE_NO_PROGRAM_FAILED, "no descriptors are left");
		return false;
	}
	if ((pid = fork()) == 0) {
		fds[0] = pipes.fd[0][0];
		fds[1] = pipes.fd[1][1];
		fds[2] = pipes.fd[2][1];
		spawn_become(p->plan, buf_span(&p->environment), fds, pipes.fd[3][1], self);
	}
	if (pid < 0 || (p->pidfd = (int)syscall(SYS_pidfd_open, pid, 0)) < 0) {
		log_msg(LOG_L_ERROR, "service %s: no program can be started: %s", name_of(p), strerror(errno));
		if (pid > 0) {
			(void)kill(pid, SIGKILL);
			(void)waitpid(pid, NULL, 0);
		}
		pipes_close(&pipes);
		tell_refused(p, ENGINE_NO_PROGRAM_FAILED, "no process could be made");
		return false;
	}
	adopt(p, &pipes, pid);
	pipes_close(&pipes);
	return true;
}

/* Whoever waits gets the places of those that have gone. */
static void
serve_queue(struct pool *pool)
{
	struct program *p;

	while ((p = TAILQ_FIRST(&pool->queue)) != NULL && pool->running < p->plan->conf->exec.max_programs) {
		TAILQ_REMOVE(&pool->queue, p, queue);
		pool->waiting--;
		ev_timer_clear(&p->timer);
		if (!start(p))
			program_free(p);
	}
}

static void
wait_in_queue(struct program *p)
{
	p->state = PROGRAM_WAITING;
	TAILQ_INSERT_TAIL(&p->pool->queue, p, queue);
	p->pool->waiting++;
	ev_timer_set(&p->timer, p->plan->conf->exec.wait_timeout_ms);
}

static void
refuse(struct spawn_link *owner, uint32_t id, enum engine_no_program why, const char *text)
{
	struct program p = { .owner = owner, .id = id };

	tell_refused(&p, why, text);
}

void
program_new(struct spawn_link *owner, uint32_t id, const struct plan *plan, struct span environment)
{
	const struct conf_exec *e = &plan->conf->exec;
	struct pool *pool = plan->pool;
	struct program *p;

	if (pool->running >= e->max_programs && pool->waiting >= e->max_waiting) {
		refuse(owner, id, ENGINE_NO_PROGRAM_BUSY, "as many run and wait as may");
		return;
	}
	if ((p = calloc(1, sizeof *p)) == NULL) {
		refuse(owner, id, ENGINE_NO_PROGRAM_FAILED, "out of memory");
		return;
	}
	*p = (struct program){ .spawn = owner->spawn, .owner = owner, .id = id, .plan = plan, .pool = pool,
		.stop_timeout_ms = e->stop_timeout_ms, .slot = -1, .pidfd = -1, .status_fd = -1, .in_fd = -1,
		.out_fd = -1, .err_fd = -1 };
	TAILQ_INSERT_TAIL(&p->spawn->programs, p, all);
	ev_timer_init(&p->timer, p->spawn->child.loop, on_timer, p);
	buf_init(&p->environment, PROGRAM_ENV_MAX);
	if (buf_append(&p->environment, environment.p, environment.n) != 0) {
		p->state = PROGRAM_STARTING;
		pool->running++;
		tell_refused(p, ENGINE_NO_PROGRAM_FAILED, "out of memory");
		program_free(p);
	} else if (pool->running >= e->max_programs || pool->waiting > 0) {
		wait_in_queue(p);
	} else if (!start(p)) {
		program_free(p);
	}
}

struct program *
program_find(struct spawn_link *owner, uint32_t id)
{
	struct program *p;

	TAILQ_FOREACH(p, &owner->spawn->programs, all)
		if (p->owner == owner && p->id == id)
			return p;
	return NULL;
}
