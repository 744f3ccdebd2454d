/* proc/transition.c - from one generation to the next, and to the end.
 *
 * A reload: read and check everything, open it, let the keyholder load the keys, start the new workers and
 * let them load their credentials; only when all of them say yes do they begin to accept and do the old
 * ones stop. Any no before that leaves the old generation as it is. The first start is the same with
 * nothing to fall back on. */
#include "proc/parent.h"

#include "util/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STOP_EXTRA_MS 3000  /* beyond stop-timeout and linger, then children are killed */

/* --- answers ---------------------------------------------------------------------------------- */

static void
answer(struct parent *p, bool ok, const char *text)
{
	struct msg_reloaded m = { .ok = ok, .text = span_str(text),
		.generation = p->current != NULL ? p->current->number : 0 };
	struct frame f;
	size_t i;

	if (m.text.n > FRAME_PAYLOAD_MAX / 2)
		m.text.n = FRAME_PAYLOAD_MAX / 2;
	for (i = 0; i < p->npending; i++) {
		PT_ASSERT(msg_reloaded_encode(&m, p->pending[i], &f) == 0);
		supervise_send(p->helpers[ROLE_CONTROL], &f, -1);
	}
	p->npending = 0;
}

static void
next_reload(struct parent *p)
{
	if (!p->reload_again || p->state >= PROC_DRAINING)
		return;
	p->reload_again = false;
	memcpy(p->pending, p->pending_next, sizeof p->pending);
	p->npending = p->npending_next;
	p->npending_next = 0;
	transition_begin(p, 0);
}

/* --- failure ---------------------------------------------------------------------------------- */

static void
forget_generation(struct parent *p, struct generation **g)
{
	struct generation *gone = *g;

	*g = NULL; /* p->staging, maybe: who is needed is asked without it */
	helpers_release(p, gone);
	generation_free(&gone);
}

static void
drop_staging(struct parent *p)
{
	struct proc *proc;

	ev_timer_clear(&p->stage_timer);
	p->helpers_asked = false;
	if (p->staging == NULL)
		return;
	TAILQ_FOREACH(proc, &p->procs, next)
		if (proc->role == ROLE_WORKER && proc->generation == p->staging->number) {
			proc->leaving = true;
			supervise_kill(proc);
		}
	generation_remove_sockets(p->staging, p->current);
	forget_generation(p, &p->staging);
}

void
transition_fail(struct parent *p, const char *text)
{
	/* nothing serves: not even what an upgrade took over and could not read */
	bool first = p->current == NULL && TAILQ_EMPTY(&p->generations);

	if (first && p->log_fd >= 0) {
		/* the last words of a start that fails must not depend on a process that is about to go */
		close(p->log_fd);
		p->log_fd = -1;
	}
	log_msg(LOG_L_ERROR, "%s: %s", first ? "cannot start"
					    : "reload failed, everything goes on as before", text);
	drop_staging(p);
	answer(p, false, text);
	if (first) {
		p->exit_code = 78; /* EX_CONFIG */
		transition_stop_now(p);
		return;
	}
	notify_systemd("READY=1");
	next_reload(p);
	upgrade_begin(p); /* one that waited for us */
	pickup_follow(p);
}

/* --- the way ---------------------------------------------------------------------------------- */

static struct conf *
load(const char *path, char *text, size_t cap)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf = NULL;
	struct buf out;
	int rc;

	snprintf(text, cap, "out of memory");
	if (errors == NULL)
		return NULL;
	if ((rc = conf_load(path, &conf, errors)) != 0) {
		buf_init(&out, cap - 1);
		/* more than fits is cut: "posternd -n" shows all */
		(void)!conf_errors_print(errors, &out);
		snprintf(text, cap, "%.*s", (int)buf_size(&out), (const char *)buf_span(&out).p);
		if (buf_size(&out) == 0)
			snprintf(text, cap, "the configuration has many mistakes: run posternd -n -f %s",
				path);
		buf_fini(&out);
	}
	conf_errors_free(&errors);
	return conf;
}

static void
stage_late(void *arg)
{
	transition_fail(arg, "the new processes were not ready in time");
}

void
transition_begin(struct parent *p, uint32_t request_id)
{
	struct diag diag = { "" };
	struct generation *prev;
	struct conf *conf;
	char text[8192];

	if (p->state >= PROC_DRAINING) {
		if (request_id != 0 && p->npending < PENDING_MAX)
			p->pending[p->npending++] = request_id;
		answer(p, false, "the server is about to stop: nothing is reloaded any more");
		return;
	}
	if (p->staging != NULL) { /* after this one, once, for all that asked meanwhile */
		p->reload_again = true;
		if (request_id != 0 && p->npending_next < PENDING_MAX)
			p->pending_next[p->npending_next++] = request_id;
		return;
	}
	if (request_id != 0 && p->npending < PENDING_MAX)
		p->pending[p->npending++] = request_id;
	pickup_abort(p); /* all files are opened anew */
	if (p->current != NULL)
		notify_systemd("RELOADING=1");
	if ((conf = load(p->conf_path, text, sizeof text)) == NULL) {
		transition_fail(p, text);
		return;
	}
	/* an upgrade may have taken over sockets with a configuration that it cannot read */
	prev = p->current != NULL ? p->current : TAILQ_LAST(&p->generations, generation_list);
	if (generation_new(conf, ++p->last_generation, prev, true, &p->staging, &diag) != 0) {
		transition_fail(p, diag.text);
		return;
	}
	p->staging->cred->number = ++p->last_cred;
	if (helpers_stage(p, p->staging, &diag) != 0) {
		transition_fail(p, diag.text);
		return;
	}
	generation_load_ticket_key(p->staging, p->current); /* control is there: it may have to say something */
	p->helpers_asked = true;
	ev_timer_init(&p->stage_timer, p->loop, stage_late, p);
	ev_timer_set(&p->stage_timer, STAGE_TIMEOUT_MS);
	transition_helpers_agreed(p);
}

void
transition_helpers_agreed(struct parent *p)
{
	uint32_t slot;
	unsigned i;

	if (!p->helpers_asked || !helpers_agreed(p->staging))
		return;
	p->helpers_asked = false;
	for (i = 0; i < p->staging->conf->workers; i++) {
		if (workers_free_slot(p, &slot) != 0) {
			transition_fail(p, "too many workers of earlier reloads still have sessions; "
				"try again when some have ended, or set a shorter drain");
			return;
		}
		if (workers_start(p, p->staging, slot) != 0) {
			transition_fail(p, "a worker cannot be started");
			return;
		}
	}
}

static void
start_worker(struct proc *proc)
{
	struct generation *g = parent_generation(proc->parent, proc->generation);

	SEND(proc, cred_commit, -1, .generation = g->cred->number);
	SEND(proc, start, -1, .unused = 0);
	supervise_set_state(proc, PROC_SERVING);
}

static void
say_listeners(const struct generation *g)
{
	size_t i;

	for (i = 0; i < g->nlisteners; i++)
		log_msg(LOG_L_NOTICE, "listening on %s for service %s", g->listeners[i].text,
			g->conf->services[g->listeners[i].service].name);
}

/* The new generation serves; the one before drains. */
static void
commit(struct parent *p)
{
	struct generation *old = p->current, *g = p->staging;
	struct diag diag = { "" };
	struct proc *proc;

	ev_timer_clear(&p->stage_timer);
	p->staging = NULL;
	p->current = g;
	TAILQ_INSERT_TAIL(&p->generations, g, next);
	TAILQ_FOREACH(proc, &p->procs, next)
		if (proc->role == ROLE_WORKER && proc->generation == g->number)
			start_worker(proc);
	TAILQ_FOREACH(proc, &p->procs, next) {
		if (proc->role != ROLE_WORKER || proc->generation == g->number ||
		    proc->state >= PROC_DRAINING)
			continue;
		proc->leaving = true;
		SEND(proc, drain, -1, .timeout_ms = g->conf->drain_ms);
		supervise_set_state(proc, PROC_DRAINING);
	}
	/* nobody accepts on a socket that only the old one had: close it, so that clients see it */
	if (old != NULL) {
		generation_remove_sockets(old, g);
		generation_close_listeners(old);
	}
	if (parent_open_control(p, g->conf, &diag) != 0)
		log_msg(LOG_L_ERROR, "the postern command cannot be answered: %s", diag.text);
	SEND(p->helpers[ROLE_CONTROL], config, g->conf_fd, .generation = g->number);
	if (p->control_fd >= 0)
		SEND(p->helpers[ROLE_CONTROL], control_socket, p->control_fd, .owner_uid = (uint32_t)geteuid());
	p->state = PROC_SERVING;
	helpers_serving(p);
	supervise_tell_state(p);
	parent_ready(p); /* lets the terminal go: so must the log, and only then is it opened */
	log_target_open(p);
	log_msg(LOG_L_NOTICE, "serving %s: generation %llu, %u workers", p->conf_path,
		(unsigned long long)g->number, g->conf->workers);
	if (old == NULL)
		say_listeners(g);
	pickup_serving(p);
	answer(p, true, "");
	next_reload(p);
	upgrade_begin(p);
}

void
transition_worker_loaded(struct parent *p, struct proc *proc, bool ok, const char *text)
{
	struct proc *other;
	size_t ready = 0;

	if (proc->leaving) /* of a generation that has just been given up: the first no was the answer */
		return;
	if (p->staging == NULL || proc->generation != p->staging->number) {
		/* one that was started again */
		if (!ok)
			log_msg(LOG_L_ERROR, "a worker cannot load its credentials: %s", text);
		if (!ok || p->current == NULL || proc->generation != p->current->number)
			supervise_kill(proc);
		else if (proc->state == PROC_STARTING)
			start_worker(proc);
		return;
	}
	if (!ok) {
		transition_fail(p, text);
		return;
	}
	supervise_set_state(proc, PROC_READY);
	TAILQ_FOREACH(other, &p->procs, next)
		ready += other->role == ROLE_WORKER && other->state == PROC_READY &&
			other->generation == p->staging->number;
	if (ready == p->staging->conf->workers)
		commit(p);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void
end_helpers(struct parent *p)
{
	uint32_t timeout_ms;

	if (!helpers_end(p, &timeout_ms))
		parent_exit(p, p->exit_code);
	ev_timer_set(&p->stop_timer, timeout_ms);
}

void
transition_proc_gone(struct parent *p, const struct proc *proc)
{
	struct generation *g = parent_generation(p, proc->generation);
	char text[64];

	if (proc->role == ROLE_WORKER && g != NULL && g != p->current && g != p->staging &&
	    supervise_count(p, ROLE_WORKER, g->number) == 0) {
		TAILQ_REMOVE(&p->generations, g, next);
		forget_generation(p, &g);
		pickup_follow(p);
	}
	if (p->staging != NULL && !proc->leaving && proc->role == ROLE_WORKER &&
	    proc->generation == p->staging->number)
		transition_fail(p, "a new worker died before it was ready");
	if (p->staging != NULL && helper_lost(p, proc)) {
		snprintf(text, sizeof text, "the %s died", role_name(proc->role));
		transition_fail(p, text);
	}
	if (p->state >= PROC_DRAINING && supervise_count(p, ROLE_WORKER, 0) == 0)
		end_helpers(p);
}

static void
stop_late(void *arg)
{
	struct parent *p = arg;

	if (supervise_count(p, ROLE_WORKER, 0) > 0)
		log_msg(LOG_L_WARNING, "some processes did not end in time and are killed");
	supervise_kill_all(p);
	parent_exit(p, p->exit_code);
}

void
transition_stop(struct parent *p, bool drain)
{
	const struct conf *conf = p->current != NULL ? p->current->conf : NULL;
	struct proc *proc;

	/* nothing is served, or asked twice */
	if (conf == NULL || p->state >= PROC_STOPPING || (drain && p->state == PROC_DRAINING)) {
		transition_stop_now(p);
		return;
	}
	p->state = drain ? PROC_DRAINING : PROC_STOPPING;
	log_msg(LOG_L_NOTICE, drain ? "draining: no new connections, sessions go on"
				    : "stopping: no new connections, goodbye to all sessions");
	notify_systemd("STOPPING=1");
	/* a reload under way must not end in serving again */
	drop_staging(p);
	if (!drain)
		pickup_abort(p);
	answer(p, false, "the server is stopping");
	supervise_tell_state(p);
	ev_timer_fini(&p->stop_timer); /* SIGTERM after SIGQUIT: it is running */
	ev_timer_init(&p->stop_timer, p->loop, stop_late, p);
	ev_timer_set(&p->stop_timer, (uint64_t)(drain ? conf->drain_ms : conf->stop_timeout_ms) +
			conf->linger_ms + STOP_EXTRA_MS);
	TAILQ_FOREACH(proc, &p->procs, next) {
		if (proc->role != ROLE_WORKER)
			continue;
		proc->leaving = true;
		if (drain)
			SEND(proc, drain, -1, .timeout_ms = conf->drain_ms);
		else
			SEND(proc, stop, -1, .timeout_ms = conf->stop_timeout_ms);
		supervise_set_state(proc, p->state);
	}
	if (p->current != NULL)
		generation_close_listeners(p->current);
	if (supervise_count(p, ROLE_WORKER, 0) == 0)
		end_helpers(p);
}

void
transition_stop_now(struct parent *p)
{
	supervise_kill_all(p);
	parent_exit(p, p->exit_code);
}
