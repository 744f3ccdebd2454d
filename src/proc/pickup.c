/* proc/pickup.c - see pickup.h. What tells of changes is watch.c; what a set is, credset.c. */
#include "proc/pickup.h"

#include "proc/parent.h"
#include "proc/watch.h"
#include "util/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCKED_MS 200  /* until it is looked again whether a pick-up can begin */
#define NAMES_SHOWN 3   /* changed files in one message */

static void begin_next(struct parent *p);
static void in_use(struct parent *p);

void
pickup_tell(struct parent *p)
{
	const struct pickup *u = &p->pickup;

	SEND(p->helpers[ROLE_CONTROL], cred_state, -1,
		.generation = p->current != NULL && p->current->cred != NULL ? p->current->cred->number : 0,
		.done = u->done_s, .failed = u->failed_s, .text = span_str(u->why));
}

static bool
is_worker_of(const struct proc *proc, const struct generation *g)
{
	return proc->role == ROLE_WORKER && proc->generation == g->number && proc->chan != NULL && !proc->ended;
}

/* --- sets that nobody needs ------------------------------------------------------------------- */

static void
drop_set(struct parent *p, struct generation *g, struct cred_set *set)
{
	TAILQ_REMOVE(&g->sets, set, next);
	helpers_release_set(p, set);
	cred_set_free(&set);
}

static void
drop_unheld(struct parent *p, struct generation *g)
{
	struct cred_set *set, *next;
	size_t n = 0;

	for (set = TAILQ_FIRST(&g->sets); set != NULL; set = next) {
		next = TAILQ_NEXT(set, next);
		n++;
		if (set != g->cred && !cred_set_is_held(set)) {
			drop_set(p, g, set);
			n--;
		}
	}
	for (; n > PICKUP_SETS_MAX; n--)
		drop_set(p, g, TAILQ_FIRST(&g->sets));
}

void
pickup_unused(struct parent *p, const struct proc *worker, uint64_t number)
{
	struct generation *g;
	struct cred_set *set = parent_cred_set(p, number, &g);

	if (set == NULL || set == p->pickup.set || g->number != worker->generation)
		return;
	cred_set_let_go(set, worker->slot);
	drop_unheld(p, g);
}

/* --- one pick-up ------------------------------------------------------------------------------ */

static void
forget(struct parent *p, bool tell)
{
	struct pickup *u = &p->pickup;
	struct proc *proc;

	ev_timer_clear(&u->late);
	if (tell) {
		helpers_release_set(p, u->set);
		TAILQ_FOREACH(proc, &p->procs, next)
			if (is_worker_of(proc, u->g))
				SEND(proc, cred_release, -1, .generation = u->set->number);
	}
	TAILQ_FOREACH(proc, &p->procs, next)
		proc->loading = false;
	cred_set_free(&u->set);
	u->g = NULL;
	u->keys_asked = false;
}

void
pickup_abort(struct parent *p)
{
	struct generation *g = p->pickup.g;

	if (g == NULL)
		return;
	forget(p, true);
	g->dirty = true;
	ev_timer_set(&p->pickup.again, BLOCKED_MS);
}

/* Once more after a moment: between a certificate and its key both are wrong. Then it is said, and the next change is
 * waited for. */
static void
failed(struct parent *p, struct generation *g, const char *text)
{
	struct pickup *u = &p->pickup;
	size_t n = strlen(text);

	if (u->g != NULL)
		forget(p, true);
	if (n > 0 && text[n - 1] == '.') /* another program's sentence */
		n--;
	if (++g->tries == 1) {
		g->dirty = true;
		g->not_before_ms = ev_now_ms() + PICKUP_AGAIN_MS;
		ev_timer_set(&u->again, PICKUP_AGAIN_MS);
		return;
	}
	if (g == p->current) {
		u->failed_s = (uint64_t)time(NULL);
		snprintf(u->why, sizeof u->why, "%s", text);
		pickup_tell(p);
	}
	log_msg(g == p->current ? LOG_L_ERROR : LOG_L_NOTICE, "credential files have changed and cannot be used, "
		"%s goes on with those before: %.*s; they are looked at again when one of them changes",
		g == p->current ? "everything" : "an older generation", (int)n, text);
	begin_next(p);
}

static void
late(void *arg)
{
	struct parent *p = arg;
	const struct proc *proc;
	char text[128] = "the helper processes have not loaded them in time";

	TAILQ_FOREACH(proc, &p->procs, next)
		if (proc->loading) {
			snprintf(text, sizeof text, "%s[%d] has not loaded them in time", role_name(proc->role),
				(int)proc->pid);
			break;
		}
	failed(p, p->pickup.g, text);
}

/* Which files of the new set are not those of the old one. */
static void
name_changes(const struct cred_set *set, const struct cred_set *old, char *out, size_t cap)
{
	size_t i, k, n = 0;

	out[0] = '\0';
	for (i = 0; i < set->nsources; i++) {
		for (k = 0; k < old->nsources; k++)
			if (strcmp(set->sources[i].path, old->sources[k].path) == 0 &&
			    file_sig_same(&set->sources[i].sig, &old->sources[k].sig))
				break;
		if (k < old->nsources || n++ > NAMES_SHOWN)
			continue;
		if (n > 1)
			strlcat(out, ", ", cap);
		strlcat(out, n > NAMES_SHOWN ? "and more" : set->sources[i].path, cap);
	}
	if (n == 0)
		strlcpy(out, "written anew", cap);
}

/* All have it: they are told to use it. */
static void
commit(struct parent *p)
{
	struct pickup *u = &p->pickup;
	struct cred_set *set = u->set, *old = u->g->cred;
	struct generation *g = u->g;
	char names[512];
	struct proc *proc;

	u->set = NULL;
	forget(p, false);
	TAILQ_INSERT_TAIL(&g->sets, set, next);
	g->cred = set;
	g->tries = 0;
	g->not_before_ms = ev_now_ms() + WATCH_QUIET_MS; /* a file that never stands still is no busy loop */
	TAILQ_FOREACH(proc, &p->procs, next)
		if (is_worker_of(proc, g)) {
			cred_set_hold(set, proc->slot);
			SEND(proc, cred_commit, -1, .generation = set->number);
		}
	name_changes(set, old, names, sizeof names);
	log_msg(LOG_L_NOTICE, "credential files have changed (%s): credential generation %llu is in use%s", names,
		(unsigned long long)set->number, g == p->current ? "" : " by an older generation");
	cred_set_retire(old);
	drop_unheld(p, g);
	if (g == p->current)
		in_use(p);
	pickup_follow(p); /* links may lead elsewhere, and what has changed meanwhile comes next */
}

static void
commit_if_loaded(struct parent *p)
{
	const struct proc *proc;

	TAILQ_FOREACH(proc, &p->procs, next)
		if (proc->loading)
			return;
	commit(p);
}

static void
to_workers(struct parent *p)
{
	struct pickup *u = &p->pickup;
	struct proc *proc;

	u->keys_asked = false;
	TAILQ_FOREACH(proc, &p->procs, next)
		if (is_worker_of(proc, u->g)) {
			proc->loading = true;
			workers_send_credentials(proc, u->g, u->set);
		}
	commit_if_loaded(p);
}

bool
pickup_acked(struct parent *p, struct proc *proc, const struct msg_cred_ack *m, const char *text)
{
	struct pickup *u = &p->pickup;

	if (u->g == NULL || m->generation != u->set->number)
		return proc->role == ROLE_WORKER && proc->state >= PROC_SERVING; /* of one that was given up */
	if (proc->role != ROLE_WORKER && proc != p->helpers[proc->role])
		return true; /* one that was replaced */
	if (!m->ok) {
		failed(p, u->g, text);
		return true;
	}
	if (proc->role != ROLE_WORKER) {
		u->set->agreed |= 1u << proc->role;
		if (u->keys_asked && helpers_have_set(u->g, u->set))
			to_workers(p);
	} else if (proc->loading) {
		proc->loading = false;
		commit_if_loaded(p);
	}
	return true;
}

/* --- when ------------------------------------------------------------------------------------- */

bool
pickup_is_loading(const struct parent *p)
{
	return p->pickup.g != NULL;
}

/* Nobody who has to load it is just coming or going. */
static bool
possible(const struct parent *p)
{
	const struct proc *proc;

	if (p->pickup.g != NULL || p->staging != NULL || p->current == NULL || p->state < PROC_SERVING ||
	    p->state >= PROC_STOPPING || !helpers_ready(p))
		return false;
	TAILQ_FOREACH(proc, &p->procs, next)
		if (proc->role == ROLE_WORKER && proc->state < PROC_SERVING)
			return false;
	return true;
}

static void
begin(struct parent *p, struct generation *g)
{
	struct pickup *u = &p->pickup;
	struct diag diag = { "" };
	int rc;

	g->dirty = false;
	g->tried = cred_set_digest(g->cred);
	if ((rc = cred_set_open(g->conf, ++p->last_cred, g->cred, &u->set, &diag)) != 0) {
		failed(p, g, diag.text[0] != '\0' ? diag.text : pt_strerror(rc));
		return;
	}
	u->g = g;
	u->keys_asked = true;
	ev_timer_set(&u->late, PICKUP_TIMEOUT_MS);
	helpers_give_set(p, g, u->set);
}

/* The current generation first. */
static struct generation *
next_dirty(struct parent *p, bool *waits)
{
	struct generation *g, *found = NULL;
	uint64_t now = ev_now_ms();

	*waits = false;
	TAILQ_FOREACH(g, &p->generations, next) {
		if (!g->dirty)
			continue;
		if (g->not_before_ms > now)
			*waits = true;
		else if (found == NULL || g == p->current)
			found = g;
	}
	return found;
}

static void
begin_next(struct parent *p)
{
	struct generation *g;
	bool waits;

	if (p->pickup.g != NULL)
		return;
	g = next_dirty(p, &waits);
	if (g != NULL && possible(p)) {
		begin(p, g);
		return;
	}
	if ((g != NULL || waits) && p->state < PROC_STOPPING && !ev_timer_pending(&p->pickup.again))
		ev_timer_set(&p->pickup.again, BLOCKED_MS);
}

static void
again(void *arg)
{
	begin_next(arg);
}

static void
note_changes(struct parent *p)
{
	struct generation *g;

	TAILQ_FOREACH(g, &p->generations, next) {
		if (g->conf == NULL || g->cred == NULL)
			continue; /* of another binary, whose configuration we cannot read */
		if (g->tries > 0 && cred_set_digest(g->cred) != g->tried) {
			g->tries = 0; /* not what was refused */
			g->not_before_ms = 0;
		}
		g->dirty = g->tries < 2 && cred_set_changed(g->cred);
	}
}

static void
changed(void *arg)
{
	struct parent *p = arg;

	/* what is being loaded may be half of the change */
	if (p->pickup.g != NULL && cred_set_changed(p->pickup.set))
		pickup_abort(p);
	note_changes(p);
	if (p->pickup.g != NULL)
		p->pickup.g->dirty = false;
	begin_next(p);
}

/* --- what is watched -------------------------------------------------------------------------- */

static size_t
collect(const struct parent *p, const char **paths, size_t max)
{
	const struct generation *g;
	size_t n = 0, i, k;

	TAILQ_FOREACH(g, &p->generations, next)
		for (i = 0; g->conf != NULL && g->cred != NULL && i < g->cred->nsources && n < max; i++) {
			for (k = 0; k < n; k++)
				if (strcmp(paths[k], g->cred->sources[i].path) == 0)
					break;
			if (k == n)
				paths[n++] = g->cred->sources[i].path;
		}
	return n;
}

void
pickup_follow(struct parent *p)
{
	const struct generation *g;
	const char **paths, *weakness;
	size_t max = 0;

	TAILQ_FOREACH(g, &p->generations, next)
		max += g->cred != NULL ? g->cred->nsources : 0;
	if (p->pickup.watch == NULL || (paths = calloc(max + 1, sizeof *paths)) == NULL ||
	    watch_paths(p->pickup.watch, paths, collect(p, paths, max)) != 0) {
		log_msg(LOG_L_ERROR, "credential files cannot be watched, out of memory: a change needs a reload");
		return;
	}
	free(paths);
	weakness = watch_weakness(p->pickup.watch);
	if (weakness != NULL && !p->pickup.weakness_said)
		log_msg(LOG_L_NOTICE, "%s: the files of certificates are looked at every second instead", weakness);
	p->pickup.weakness_said = weakness != NULL;
	note_changes(p);
	begin_next(p);
	accounts_follow(p);
}

static void
in_use(struct parent *p)
{
	p->pickup.done_s = (uint64_t)time(NULL);
	p->pickup.why[0] = '\0';
	pickup_tell(p);
}

void
pickup_serving(struct parent *p)
{
	in_use(p);
	pickup_follow(p);
}

void
pickup_init(struct parent *p)
{
	struct pickup *u = &p->pickup;

	u->watch = watch_new(p->loop, true, changed, p);
	accounts_init(p);
	ev_timer_init(&u->late, p->loop, late, p);
	ev_timer_init(&u->again, p->loop, again, p);
}

void
pickup_proc_gone(struct parent *p, const struct proc *proc)
{
	struct generation *g = parent_generation(p, proc->generation);
	struct cred_set *set;

	/* with it went what it had loaded, and it may be the only one; and what it asked for */
	if (p->pickup.g != NULL && helper_of(proc->role) != NULL && helper_of(proc->role)->give_set != NULL &&
	    p->helpers[proc->role] == NULL)
		pickup_abort(p);
	if (proc->role != ROLE_WORKER || g == NULL)
		return;
	TAILQ_FOREACH(set, &g->sets, next)
		cred_set_let_go(set, proc->slot);
	if (g->cred != NULL)
		drop_unheld(p, g);
	if (p->pickup.g == NULL)
		return;
	if (p->pickup.g == g && g != p->current && supervise_count(p, ROLE_WORKER, g->number) == 0)
		forget(p, true); /* the generation goes with its last worker */
	else if (proc->loading) /* perhaps of these very files, and so would the others, one by one */
		failed(p, p->pickup.g, "a worker has ended while it loaded them");
	else if (!p->pickup.keys_asked)
		commit_if_loaded(p);
}
