/* proc/spawn.c - the process that starts the programs of exec services, as their user, and ends them.
 *
 * Holds: the configurations of all live generations, a channel to the parent, one to each worker, the
 * descriptors of what it starts until they are passed on, and every program's standard error. As root it keeps the
 * capabilities to change user and to signal, and no others; it keeps the file system, because programs need it. No
 * landlock and no system-call filter: the programs would inherit them. It never reads what flows between a
 * program and its client. What is started, and as whom, is the configuration's word; a worker names the service
 * and says who the client is. */
#include "proc/spawn.h"

#include "proc/files.h"
#include "proc/program_env.h"
#include "proc/spawn_main.h"
#include "util/log.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STOP_MARGIN_MS 500 /* before the parent's patience ends */

void
spawn_end_if_done(struct spawn *s)
{
	if (s->stopping && s->nlinks == 0 && TAILQ_EMPTY(&s->programs))
		exit(0);
}

/* --- generations ------------------------------------------------------------------------------ */

static struct pool *
pool_get(struct spawn *s, const char *name)
{
	struct pool *p;

	TAILQ_FOREACH(p, &s->pools, next)
		if (strcmp(p->name, name) == 0)
			return p;
	PT_ASSERT((p = calloc(1, sizeof *p)) != NULL && (p->name = strdup(name)) != NULL);
	TAILQ_INIT(&p->queue);
	TAILQ_INSERT_TAIL(&s->pools, p, next);
	return p;
}

/* Accounts are looked up here, once: a program's start must not wait for a directory service. */
static int
find_user(const struct spawn *s, struct plan *plan, struct diag *diag)
{
	const char *name = plan->conf->exec.user;
	const struct passwd *pw;
	int rc;

	if (s->is_root) {
		PT_ASSERT((plan->user = calloc(1, sizeof *plan->user)) != NULL);
		if ((rc = program_user_find(name, plan->user, diag)) != 0)
			diag_prefix(diag, "service %s", plan->conf->name);
		return rc;
	}
	if ((pw = getpwuid(getuid())) == NULL || strcmp(pw->pw_name, name) != 0)
		log_msg(LOG_L_NOTICE, "service %s: the server was not started by root: programs run as its own "
			"user and not as %s", plan->conf->name, name);
	return 0;
}

static struct plan_generation *
generation_get(struct spawn *s, uint64_t number)
{
	struct plan_generation *g;

	TAILQ_FOREACH(g, &s->generations, next)
		if (g->number == number)
			return g;
	return NULL;
}

static void
generation_free(struct spawn *s, struct plan_generation *g)
{
	struct program *p, *next;
	size_t i;

	/* its workers have ended, but their channels may be heard later */
	for (p = TAILQ_FIRST(&s->programs); p != NULL; p = next) {
		next = TAILQ_NEXT(p, all);
		if (p->plan >= g->plans && p->plan < g->plans + CONF_SERVICES_MAX)
			program_forget_plan(p);
	}
	TAILQ_REMOVE(&s->generations, g, next);
	for (i = 0; i < CONF_SERVICES_MAX; i++)
		free(g->plans[i].user);
	conf_free(&g->conf);
	free(g);
}

static int
make_plans(struct spawn *s, struct plan_generation *g, struct diag *diag)
{
	const struct conf_service *conf;
	size_t i;
	int rc;

	for (i = 0; i < g->conf->nservices; i++) {
		conf = &g->conf->services[i];
		if (conf->protocol != CONF_PROTOCOL_EXEC)
			continue;
		g->plans[i].conf = conf;
		g->plans[i].pool = pool_get(s, conf->name);
		if ((rc = find_user(s, &g->plans[i], diag)) != 0)
			return rc;
	}
	return 0;
}

static int
on_config(void *self, void *peer, struct frame *f)
{
	struct conf_errors *errors = conf_errors_new();
	struct plan_generation *g;
	struct diag diag = { "" };
	struct spawn *s = self;
	struct msg_config m;
	struct buf text;
	int rc;

	(void)peer;
	if (msg_config_decode(f, &m) != 0 || generation_get(s, m.generation) != NULL || s->groups == NULL ||
	    errors == NULL)
		return PT_EPROTO;
	PT_ASSERT((g = calloc(1, sizeof *g)) != NULL);
	g->number = m.generation;
	TAILQ_INSERT_TAIL(&s->generations, g, next);
	buf_init(&text, 4 * CONF_FILE_MAX);
	/* the parent has checked it: anything wrong here is our own bug */
	PT_ASSERT(file_slurp(f->fd, &text, &diag) == 0);
	PT_ASSERT(conf_parse("configuration", "/", buf_span(&text), &g->conf, errors) == 0);
	conf_errors_free(&errors);
	buf_fini(&text);
	rc = make_plans(s, g, &diag);
	child_ack_cred(&s->child, m.generation, rc == 0, diag.text);
	if (rc != 0)
		generation_free(s, g);
	return 0;
}

static int
on_release(void *self, void *peer, struct frame *f)
{
	struct plan_generation *g;
	struct msg_cred_release m;
	struct spawn *s = self;

	(void)peer;
	if (msg_cred_release_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((g = generation_get(s, m.generation)) != NULL)
		generation_free(s, g);
	return 0;
}

static int
on_programs(void *self, void *peer, struct frame *f)
{
	struct msg_programs m;
	struct spawn *s = self;

	(void)peer;
	if (msg_programs_decode(f, &m) != 0 || s->groups != NULL)
		return PT_EPROTO;
	PT_ASSERT((s->groups = groups_map(f->fd)) != NULL);
	return 0;
}

/* --- workers ---------------------------------------------------------------------------------- */

static int
ignore(void *arg, const char *assignment)
{
	(void)arg;
	(void)assignment;
	return 0;
}

static int
on_program_start(void *self, void *peer, struct frame *f)
{
	struct spawn_link *sl = self;
	struct msg_program_start m;
	struct plan_generation *g;
	const struct plan *plan;

	(void)peer;
	if (msg_program_start_decode(f, &m) != 0 || m.service >= CONF_SERVICES_MAX ||
	    program_env_each(m.environment, ignore, NULL) != 0 || program_find(sl, f->id) != NULL)
		return PT_EPROTO;
	/* its generation may just have been released: the worker is about to end */
	if ((g = generation_get(sl->spawn, sl->generation)) == NULL)
		return 0;
	plan = &g->plans[m.service];
	if (plan->conf == NULL)
		return PT_EPROTO;
	program_new(sl, f->id, plan, m.environment);
	return 0;
}

static int
on_program_end(void *self, void *peer, struct frame *f)
{
	struct msg_program_end m;
	struct program *p;

	(void)peer;
	if (msg_program_end_decode(f, &m) != 0)
		return PT_EPROTO;
	if ((p = program_find(self, f->id)) != NULL) /* it may have ended meanwhile */
		program_leave(p);
	return 0;
}

static const struct ipc_rule worker_rules[] = {
	{ MSG_T_PROGRAM_START, 1u << ROLE_WORKER, IPC_ANY_STATE, on_program_start },
	{ MSG_T_PROGRAM_END, 1u << ROLE_WORKER, IPC_ANY_STATE, on_program_end },
};

static void
worker_gone(void *self, struct link *l, int rc)
{
	struct spawn_link *sl = self;
	struct spawn *s = sl->spawn;
	struct program *p, *next;

	if (rc == PT_EPROTO)
		log_msg(LOG_L_ERROR, "a worker broke the protocol; its programs are ended");
	for (p = TAILQ_FIRST(&s->programs); p != NULL; p = next) {
		next = TAILQ_NEXT(p, all);
		if (p->owner == sl)
			program_leave(p);
	}
	free(sl);
	link_free(&l);
	s->nlinks--;
	spawn_end_if_done(s);
}

static int
on_channel(void *self, void *peer, struct frame *f)
{
	struct spawn *s = self;
	struct spawn_link *sl;
	struct msg_channel m;

	(void)peer;
	if (msg_channel_decode(f, &m) != 0 || m.role != ROLE_WORKER)
		return PT_EPROTO;
	PT_ASSERT((sl = calloc(1, sizeof *sl)) != NULL);
	sl->spawn = s;
	sl->generation = m.generation;
	sl->link = link_new(&s->child, frame_take_fd(f), ROLE_WORKER, worker_rules, PT_COUNT(worker_rules), sl,
		worker_gone);
	if (sl->link != NULL)
		s->nlinks++;
	else
		free(sl);
	return 0;
}

/* --- the end ---------------------------------------------------------------------------------- */

static void
on_stop_timer(void *arg)
{
	struct spawn *s = arg;

	program_kill_all(s);
	exit(0);
}

/* Nobody ends its programs if we do not. */
static void
orphaned(void *self)
{
	program_kill_all(self);
}

static int
on_stop(void *self, void *peer, struct frame *f)
{
	struct spawn *s = self;
	struct msg_stop m;

	(void)peer;
	if (msg_stop_decode(f, &m) != 0)
		return PT_EPROTO;
	s->stopping = true;
	if (m.timeout_ms > 0)
		ev_timer_set(&s->stop_timer, m.timeout_ms > STOP_MARGIN_MS ? m.timeout_ms - STOP_MARGIN_MS : 1);
	spawn_end_if_done(s);
	return 0;
}

static const struct ipc_rule rules[] = {
	{ MSG_T_LOG_END, 1u << ROLE_PARENT, IPC_ANY_STATE, child_on_log_end },
	{ MSG_T_PROGRAMS, 1u << ROLE_PARENT, IPC_ANY_STATE, on_programs },
	{ MSG_T_CONFIG, 1u << ROLE_PARENT, IPC_ANY_STATE, on_config },
	{ MSG_T_CRED_RELEASE, 1u << ROLE_PARENT, IPC_ANY_STATE, on_release },
	{ MSG_T_CHANNEL, 1u << ROLE_PARENT, IPC_ANY_STATE, on_channel },
	{ MSG_T_STOP, 1u << ROLE_PARENT, IPC_ANY_STATE, on_stop },
	{ MSG_T_PROBE, 1u << ROLE_PARENT, IPC_ANY_STATE, child_on_probe },
};

int
spawn_main(int argc, char **argv)
{
	static struct spawn s;

	TAILQ_INIT(&s.generations);
	TAILQ_INIT(&s.pools);
	TAILQ_INIT(&s.programs);
	s.is_root = geteuid() == 0;
	child_init(&s.child, ROLE_SPAWN, argc, argv, rules, PT_COUNT(rules), &s);
	s.child.orphaned = orphaned;
	ev_timer_init(&s.stop_timer, s.child.loop, on_stop_timer, &s);
	s.child.state = PROC_SERVING;
	setproctitle("spawn: %s", proc_state_name(PROC_SERVING));
	child_run(&s.child);
}
