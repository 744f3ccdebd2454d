/* proc/worker_spawn.c - the spawn process as a worker sees it: programs are asked for, and ended.
 *
 * After an upgrade there are two for a while: new programs are the new one's, and the old one stays until the last
 * of its has ended. */
#include "proc/conn_program.h"

#include "util/log.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct spawner {
	struct worker *worker;
	struct link *link;
	TAILQ_HEAD(, conn_program) programs;
};

static struct conn_program *
find(struct spawner *s, uint32_t id)
{
	struct conn_program *p;

	TAILQ_FOREACH(p, &s->programs, next)
		if (p->id == id)
			return p;
	return NULL; /* it was ended meanwhile */
}

static void
leave(struct conn_program *p)
{
	TAILQ_REMOVE(&p->spawner->programs, p, next);
	p->spawner = NULL;
}

/* An old one is let go with its last program. Only its channel is shut here, because a frame of it may be what is
 * being handled: the rest is done when its end is read. */
static void
let_go_if_done(struct spawner *s)
{
	if (s->worker->spawner != s && TAILQ_EMPTY(&s->programs))
		(void)shutdown(chan_fd(s->link->chan), SHUT_RDWR);
}

/* --- asking ----------------------------------------------------------------------------------- */

void
spawner_start(struct spawner *s, struct conn_program *p, uint32_t service, struct span environment)
{
	struct msg_program_start m = { .service = service, .environment = environment };
	struct frame f;

	p->spawner = s;
	p->id = ++s->worker->program_id;
	TAILQ_INSERT_TAIL(&s->programs, p, next);
	PT_ASSERT(msg_program_start_encode(&m, p->id, &f) == 0);
	link_tell(s->link, &f, -1);
}

void
spawner_end(struct conn_program *p)
{
	struct spawner *s = p->spawner;
	struct msg_program_end m = { 0 };
	struct frame f;

	leave(p);
	PT_ASSERT(msg_program_end_encode(&m, p->id, &f) == 0);
	link_tell(s->link, &f, -1);
	let_go_if_done(s);
}

/* --- answers ---------------------------------------------------------------------------------- */

static int
on_input(void *self, void *peer, struct frame *f)
{
	struct msg_program_input m;
	struct conn_program *p;

	(void)peer;
	if (msg_program_input_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((p = find(self, f->id)) == NULL)
		return 0;
	if (p->in_fd >= 0 || p->runs)
		return PT_EPROTO;
	conn_program_got_input(p, frame_take_fd(f));
	return 0;
}

static int
on_output(void *self, void *peer, struct frame *f)
{
	struct msg_program_output m;
	struct conn_program *p;

	(void)peer;
	if (msg_program_output_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((p = find(self, f->id)) == NULL)
		return 0;
	if (p->in_fd < 0 || p->runs)
		return PT_EPROTO;
	conn_program_got_output(p, frame_take_fd(f), m.pid);
	return 0;
}

static int
on_refused(void *self, void *peer, struct frame *f)
{
	struct msg_program_refused m;
	struct conn_program *p;

	(void)peer;
	if (msg_program_refused_decode(f, &m) != 0 || m.why > ENGINE_NO_PROGRAM_FAILED)
		return PT_EPROTO;
	if ((p = find(self, f->id)) == NULL)
		return 0;
	if (p->runs)
		return PT_EPROTO;
	leave(p); /* it knows of none: nothing is to be ended */
	conn_program_refused(p, (enum engine_no_program)m.why);
	let_go_if_done(self);
	return 0;
}

static int
on_ended(void *self, void *peer, struct frame *f)
{
	struct msg_program_ended m;
	struct conn_program *p;

	(void)peer;
	if (msg_program_ended_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((p = find(self, f->id)) == NULL)
		return 0;
	if (!p->runs)
		return PT_EPROTO;
	leave(p);
	conn_program_ended(p, m.code, m.signal);
	let_go_if_done(self);
	return 0;
}

static const struct ipc_rule rules[] = {
	{ MSG_T_PROGRAM_INPUT, 1u << ROLE_SPAWN, IPC_ANY_STATE, on_input },
	{ MSG_T_PROGRAM_OUTPUT, 1u << ROLE_SPAWN, IPC_ANY_STATE, on_output },
	{ MSG_T_PROGRAM_REFUSED, 1u << ROLE_SPAWN, IPC_ANY_STATE, on_refused },
	{ MSG_T_PROGRAM_ENDED, 1u << ROLE_SPAWN, IPC_ANY_STATE, on_ended },
};

/* --- the channel ------------------------------------------------------------------------------ */

static void
gone(void *self, struct link *l, int rc)
{
	struct spawner *s = self;
	struct worker *w = s->worker;
	struct conn_program *p;
	bool current = w->spawner == s;

	(void)rc;
	link_free(&l);
	if (current) {
		w->spawner = NULL;
		log_msg(LOG_L_WARNING, "the process that starts programs is away: exec services refuse sessions "
			"until it is back");
	}
	while ((p = TAILQ_FIRST(&s->programs)) != NULL) {
		leave(p);
		conn_program_lost(p);
	}
	free(s);
}

void
spawner_set(struct worker *w, int fd)
{
	struct spawner *old = w->spawner, *s = calloc(1, sizeof *s);

	if (s == NULL) {
		close(fd);
		return;
	}
	s->worker = w;
	TAILQ_INIT(&s->programs);
	if ((s->link = link_new(&w->child, fd, ROLE_SPAWN, rules, PT_COUNT(rules), s, gone)) == NULL) {
		free(s);
		return;
	}
	w->spawner = s;
	if (old != NULL)
		let_go_if_done(old);
}
