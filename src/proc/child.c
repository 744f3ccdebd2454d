/* proc/child.c - see child.h. Holds: the channel to the parent and the log. */
#include "config.h"

#include "proc/child.h"

#include "proc/confine.h"
#include "proc/logging.h"
#include "util/log.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_OUT_MS 1000
#define PARENT_FRAMES_MAX 64 /* handled in one turn, so that clients get theirs */

static struct child *logs; /* this process's, for its end */

static bool
send_line(struct child *c, enum log_level level, const char *text, const struct log_field *fields, size_t n)
{
	struct frame f;

	return logging_encode(level, text, fields, n, &f) == 0 && chan_send(c->log, &f, -1) == 0;
}

static void
send_log(void *arg, enum log_level level, const char *text, const struct log_field *fields, size_t n)
{
	struct child *c = arg;
	char lost[64];

	if (!send_line(c, level, text, fields, n)) {
		c->log_lost++;
	} else if (c->log_lost > 0) {
		snprintf(lost, sizeof lost, "%u messages were lost before this one", c->log_lost);
		if (send_line(c, LOG_L_WARNING, lost, NULL, 0))
			c->log_lost = 0;
	}
	if (c->log_watched && chan_wants_write(c->log))
		ev_io_want(&c->log_io, EV_IO_WRITE);
}

static void
log_ready(void *arg, unsigned what)
{
	struct child *c = arg;

	(void)what;
	/* where nobody reads any more it waits for who is next (child_on_log_end()) */
	if (chan_flush(c->log) != 0 || !chan_wants_write(c->log))
		ev_io_want(&c->log_io, 0);
}

/* At the end of the process: what waits is said, if control takes it. */
static void
log_out(void)
{
	struct pollfd p = { .fd = chan_fd(logs->log), .events = POLLOUT };
	uint64_t end = ev_now_ms() + LOG_OUT_MS, now;

	while (chan_wants_write(logs->log) && (now = ev_now_ms()) < end && poll(&p, 1, (int)(end - now)) > 0)
		if (chan_flush(logs->log) != 0)
			break;
}

/* The parent is gone: whatever we do, nobody supervises it. */
__attribute__((noreturn)) static void
orphaned(const struct child *c)
{
	if (c->orphaned != NULL)
		c->orphaned(c->self);
	_exit(0);
}

static void
parent_ready(void *arg, unsigned what)
{
	struct child *c = arg;
	struct frame f;
	int i, rc = 0;

	if ((what & EV_IO_WRITE) && chan_flush(c->parent) != 0)
		orphaned(c);
	for (i = 0; i < PARENT_FRAMES_MAX && rc == 0; i++) {
		if ((rc = chan_recv(c->parent, &f)) != 0)
			break;
		if ((rc = ipc_dispatch(c->rules, c->nrules, ROLE_PARENT, c->state, c->self, c, &f)) ==
		    PT_EPROTO)
			log_msg(LOG_L_ERROR, "frame %s from the parent is not allowed in state %s",
				msg_name(f.type), proc_state_name(c->state));
	}
	if (rc != 0 && rc != PT_EAGAIN)
		orphaned(c);
	ev_io_want(&c->parent_io, EV_IO_READ | (chan_wants_write(c->parent) ? EV_IO_WRITE : 0));
}

void
child_send(struct child *c, struct frame *f, int fd)
{
	if (chan_send(c->parent, f, fd) != 0)
		orphaned(c);
	if (chan_wants_write(c->parent))
		ev_io_want(&c->parent_io, EV_IO_READ | EV_IO_WRITE);
}

void
child_ack_cred(struct child *c, uint64_t generation, bool ok, const char *text)
{
	struct msg_cred_ack m = { .generation = generation, .ok = ok, .text = span_str(text) };
	struct frame f;

	PT_ASSERT(msg_cred_ack_encode(&m, 0, &f) == 0);
	child_send(c, &f, -1);
}

static void
say_ready(struct child *c, const struct buf *limitations)
{
	struct msg_ready m = { .limitations = buf_span(limitations) };
	struct frame f;

	PT_ASSERT(msg_ready_encode(&m, 0, &f) == 0);
	child_send(c, &f, -1);
}

static void
read_options(int argc, char **argv, uid_t *uid, gid_t *gid)
{
	int o;

	*uid = 0;
	*gid = 0;
	optind = 1;
	while ((o = getopt(argc, argv, "r:u:g:")) != -1) {
		if (o == 'u')
			*uid = (uid_t)strtoul(optarg, NULL, 10);
		else if (o == 'g')
			*gid = (gid_t)strtoul(optarg, NULL, 10);
	}
}

/* Only the fixed descriptors may be there: the parent has set close-on-exec on all others. */
static void
own_descriptors(enum role role)
{
	int fd, end = ROLE_FD_FOLDER + (int)role_folders(role);

	for (fd = ROLE_FD_PARENT; fd < end; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
			log_msg(LOG_L_ERROR, "not started by posternd: descriptor %d is missing", fd);
			exit(64);
		}
	(void)fcntl(ROLE_FD_LOG, F_SETFL, O_NONBLOCK);
}

void
child_init(struct child *c, enum role role, int argc, char **argv, const struct ipc_rule *rules,
	   size_t nrules, void *self)
{
	struct buf limitations;
	struct diag diag = { "" };
	uid_t uid;
	gid_t gid;

	memset(c, 0, sizeof *c);
	c->role = role;
	c->rules = rules;
	c->nrules = nrules;
	c->self = self;
	log_set_name(role_name(role));
	read_options(argc, argv, &uid, &gid);
	own_descriptors(role);
	(void)prctl(PR_SET_NAME, role_name(role), 0, 0, 0);
	/* Ctrl-C goes to all of a terminal's processes; the parent tells us what it means */
	signal(SIGINT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if ((c->log = chan_new(ROLE_FD_LOG)) == NULL)
		exit(71);
	logs = c;
	if (role != ROLE_CONTROL) {
		log_set_sink(send_log, c);
		PT_ASSERT(atexit(log_out) == 0);
	}
	/* before confinement: libevent makes its own descriptors here */
	if ((c->loop = ev_loop_new()) == NULL || (c->parent = chan_new(ROLE_FD_PARENT)) == NULL) {
		log_msg(LOG_L_ERROR, "cannot start: out of memory or descriptors");
		exit(71);
	}
	buf_init(&limitations, 4096);
	if (confine_enter(role, uid, gid, ROLE_FD_ROOT, &limitations, &diag) != 0) {
		log_msg(LOG_L_ERROR, "cannot confine the %s: %s", role_name(role), diag.text);
		exit(77);
	}
	close(ROLE_FD_ROOT);
	ev_io_init(&c->parent_io, c->loop, ROLE_FD_PARENT, parent_ready, c);
	ev_io_want(&c->parent_io, EV_IO_READ);
	ev_io_init(&c->log_io, c->loop, chan_fd(c->log), log_ready, c);
	c->log_watched = true;
	say_ready(c, &limitations);
	buf_fini(&limitations);
}

void
child_run(struct child *c)
{
	ev_loop_run(c->loop);
	exit(0);
}

int
child_on_log_end(void *self, void *peer, struct frame *f)
{
	struct child *c = peer;
	struct msg_log_end m;

	(void)self;
	if (msg_log_end_decode(f, &m) != 0)
		return PT_EPROTO;
	log_out(); /* to the one that goes, which ends when nobody says anything any more */
	ev_io_fini(&c->log_io);
	chan_move(c->log, frame_take_fd(f));
	ev_io_init(&c->log_io, c->loop, chan_fd(c->log), log_ready, c);
	if (chan_wants_write(c->log))
		ev_io_want(&c->log_io, EV_IO_WRITE);
	return 0;
}

int
child_on_probe(void *self, void *peer, struct frame *f)
{
#ifdef ENABLE_PROBE
	struct child *c = peer;
	struct msg_probe m;
	struct msg_probe_result r;

	(void)self;
	if (msg_probe_decode(f, &m) != 0)
		return PT_EPROTO;
	r = (struct msg_probe_result){ .what = m.what,
		.error = (uint32_t)confine_probe((enum probe)m.what) };
	PT_ASSERT(msg_probe_result_encode(&r, 0, f) == 0);
	child_send(c, f, -1);
	return 0;
#else
	(void)self;
	(void)peer;
	(void)f;
	return PT_EPROTO;
#endif
}

static void
link_want(struct link *l)
{
	ev_io_want(&l->io, (l->paused ? 0 : EV_IO_READ) | (chan_wants_write(l->chan) ? EV_IO_WRITE : 0));
}

static void
link_ready(void *arg, unsigned what)
{
	struct link *l = arg;
	struct frame f;
	int rc = 0;

	if (what & EV_IO_WRITE)
		rc = chan_flush(l->chan);
	/* one frame, then the other links: the peer waits for its answer and has sent no second */
	if ((what & EV_IO_READ) && rc == 0 && (rc = chan_recv(l->chan, &f)) == 0)
		rc = ipc_dispatch(l->rules, l->nrules, l->peer_role, l->child->state, l->self, l,
			&f);
	if (rc == 0 || rc == PT_EAGAIN) {
		link_want(l);
		return;
	}
	l->gone(l->self, l, rc); /* may free the link */
}

struct link *
link_new(struct child *c, int fd, unsigned peer_role, const struct ipc_rule *rules, size_t nrules,
	 void *self, link_gone_f *gone)
{
	struct link *l = calloc(1, sizeof *l);

	if (l == NULL) {
		close(fd);
		return NULL;
	}
	*l = (struct link){ .child = c, .rules = rules, .nrules = nrules, .peer_role = peer_role,
		.self = self, .gone = gone };
	if ((l->chan = chan_new(fd)) == NULL) {
		free(l);
		return NULL;
	}
	ev_io_init(&l->io, c->loop, fd, link_ready, l);
	ev_io_want(&l->io, EV_IO_READ);
	return l;
}

void
link_free(struct link **lp)
{
	struct link *l = *lp;

	if (l == NULL)
		return;
	ev_io_fini(&l->io);
	chan_free(&l->chan);
	free(l);
	*lp = NULL;
}

int
link_send(struct link *l, struct frame *f, int fd)
{
	int rc = chan_send(l->chan, f, fd);

	if (rc == 0 && chan_wants_write(l->chan))
		link_want(l);
	return rc;
}

void
link_pause(struct link *l, bool paused)
{
	l->paused = paused;
	link_want(l);
}

void
link_tell(struct link *l, struct frame *f, int fd)
{
	if (l != NULL && link_send(l, f, fd) != 0)
		(void)shutdown(chan_fd(l->chan), SHUT_RDWR); /* its end is read when the loop comes to it */
}
