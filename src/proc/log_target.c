/* proc/log_target.c - where messages go: the target that control writes to, and everybody's way to control. */
#include "proc/parent.h"

#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define LOG_RETRY_MS 10000 /* between attempts to open the log's target */

/* What becomes of messages meanwhile: in the background stderr is nobody's. */
static const char *
without_target(const struct parent *p)
{
	return p->foreground ? "messages go to stderr"
			     : "messages are lost until it is there (it is tried every 10 s)";
}

void
log_target_open(struct parent *p)
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
	SEND(p->helpers[ROLE_CONTROL], log_target, fd, .kind = (uint8_t)kind, .format = (uint8_t)conf->log_format);
	close(fd);
}

void
log_target_join(struct parent *p)
{
	struct proc *proc;
	int end, control_end;

	TAILQ_FOREACH(proc, &p->procs, next) {
		if (proc->role == ROLE_CONTROL)
			continue;
		if ((end = launch_log_end(p, &control_end)) < 0)
			continue;
		SEND(p->helpers[ROLE_CONTROL], log_sender, control_end, .role = (uint8_t)proc->role,
			.pid = (uint32_t)proc->pid, .slot = proc->slot);
		SEND(proc, log_end, end, .unused = 0);
		close(end);
		close(control_end);
	}
	if ((end = launch_log_end(p, &control_end)) < 0)
		return;
	SEND(p->helpers[ROLE_CONTROL], log_sender, control_end, .role = ROLE_PARENT, .pid = (uint32_t)getpid(),
		.slot = SLOT_NONE);
	close(control_end);
	if (p->log_fd >= 0)
		close(p->log_fd);
	p->log_fd = end;
}

