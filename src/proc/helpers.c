/* proc/helpers.c - the roles that exist once: keyholder, control, spawn. One table says what each needs; what
 * follows is the same for all of them: start, join, reload, replacement, end. */
#include "proc/parent.h"

#include "proc/groups.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define BIT(role) (1u << (role))

/* --- what each of them gets ------------------------------------------------------------------- */

static void
control_begin(struct parent *p, struct proc *proc)
{
	const struct generation *g = p->current != NULL ? p->current : p->staging;
	const struct proc *other;

	log_target_open(p);
	log_target_join(p);
	if (g != NULL && g->conf != NULL)
		SEND(proc, config, g->conf_fd, .generation = g->number);
	workers_send_tables(p, proc);
	recorders_control_begin(p);
	if (p->control_fd >= 0)
		SEND(proc, control_socket, p->control_fd, .owner_uid = (uint32_t)geteuid());
	TAILQ_FOREACH(other, &p->procs, next)
		if (other != proc)
			supervise_tell_process(p, other, false);
	supervise_tell_state(p);
	pickup_tell(p);
}

static void
keyholder_give(struct proc *proc, const struct generation *g, const struct cred_set *set)
{
	const struct gen_cert *c;
	uint32_t i;

	SEND(proc, cred_begin, -1, .generation = set->number, .config = g->number);
	for (i = 0; i < set->ncerts; i++) {
		c = &set->certs[i];
		SEND(proc, cred_file, c->cert_fd, .generation = set->number, .kind = CRED_CERT, .key = i,
			.path = span_str(c->certificate));
		if (c->key_fd >= 0)
			SEND(proc, cred_file, c->key_fd, .generation = set->number, .kind = CRED_KEY,
				.key = i, .path = span_str(c->key));
		if (c->pass_fd >= 0)
			SEND(proc, cred_file, c->pass_fd, .generation = set->number, .kind = CRED_PASSPHRASE,
				.key = i, .path = span_str(c->passphrase));
	}
	SEND(proc, cred_end, -1, .generation = set->number);
}

static bool
spawn_wanted(const struct conf *conf)
{
	size_t i;

	for (i = 0; i < conf->nservices; i++)
		if (conf->services[i].protocol == CONF_PROTOCOL_EXEC)
			return true;
	return false;
}

/* What outlives it: the parent ends its programs (supervise.c), and gets those that they leave behind. */
static void
spawn_begin(struct parent *p, struct proc *proc)
{
	(void)p;
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	if (groups_create(&proc->groups_fd) != 0) {
		log_msg(LOG_L_ERROR, "no memory for the table of programs: %s", strerror(errno));
		return;
	}
	SEND(proc, programs, proc->groups_fd, .unused = 0);
}

static void
give_config(struct parent *p, struct proc *proc, const struct generation *g)
{
	(void)p;
	SEND(proc, config, g->conf_fd, .generation = g->number);
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct helper table[ROLE_COUNT] = {
	[ROLE_KEYHOLDER] = {
		.give_set = keyholder_give,
		.agrees = true,
		.peers = BIT(ROLE_WORKER),
		.ends = 1,
		.end_ms = 2000,
	},
	[ROLE_AUTH] = {
		.wanted = accounts_wanted,
		.begin = accounts_begin,
		.give = accounts_give,
		.agrees = true,
		.peers = BIT(ROLE_WORKER),
		.ends = 1,
		.end_ms = 2000,
	},
	[ROLE_SPAWN] = {
		.wanted = spawn_wanted,
		.begin = spawn_begin,
		.give = give_config,
		.agrees = true,
		.peers = BIT(ROLE_WORKER),
		.ends = 1,
		.end_ms = 7000, /* programs that do not hear SIGTERM */
	},
	[ROLE_STORE] = {
		.wanted = storage_wanted,
		.give = give_config,
		.agrees = true,
		.alone = true,
		.peers = BIT(ROLE_WORKER) | BIT(ROLE_CONTROL),
		.ends = 2, /* when nobody asks it any more */
		.end_ms = 10000,
	},
	[ROLE_CONTROL] = {
		.begin = control_begin,
		.ends = 9, /* the last: it writes what the others have to say */
		.end_ms = 2000,
	},
};

const struct helper *
helper_of(unsigned role)
{
	return role < ROLE_COUNT && table[role].ends > 0 ? &table[role] : NULL;
}

/* A generation that we cannot read (of another binary) stays with the helpers that it had. */
static bool
needs(const struct generation *g, enum role role)
{
	return table[role].wanted == NULL || (g->conf != NULL && table[role].wanted(g->conf));
}

bool
helper_needed(const struct parent *p, enum role role)
{
	const struct generation *g;

	if (p->staging != NULL && needs(p->staging, role))
		return true;
	TAILQ_FOREACH(g, &p->generations, next)
		if (needs(g, role))
			return true;
	return false;
}

bool
helper_lost(const struct parent *p, const struct proc *proc)
{
	return helper_of(proc->role) != NULL && !proc->leaving && table[proc->role].agrees &&
		p->helpers[proc->role] == NULL && needs(p->staging, proc->role);
}

/* --- agreement -------------------------------------------------------------------------------- */

static bool
has_agreed(const struct generation *g, enum role role)
{
	const struct cred_set *set;

	if (!table[role].agrees || !needs(g, role))
		return true;
	if (table[role].give_set == NULL)
		return (g->agreed & BIT(role)) != 0;
	TAILQ_FOREACH(set, &g->sets, next)
		if ((set->agreed & BIT(role)) == 0)
			return false;
	return true;
}

bool
helpers_agreed(const struct generation *g)
{
	unsigned role;

	for (role = 0; role < ROLE_COUNT; role++)
		if (helper_of(role) != NULL && !has_agreed(g, (enum role)role))
			return false;
	return true;
}

static bool
has_agreed_to_all(const struct parent *p, enum role role)
{
	const struct generation *g;

	TAILQ_FOREACH(g, &p->generations, next)
		if (!has_agreed(g, role))
			return false;
	return true;
}

bool
helpers_ready(const struct parent *p)
{
	unsigned role;

	for (role = 0; role < ROLE_COUNT; role++)
		if (helper_of(role) != NULL && table[role].agrees && needs(p->current, (enum role)role) &&
		    (p->helpers[role] == NULL || !has_agreed_to_all(p, (enum role)role)))
			return false;
	return true;
}

/* --- channels --------------------------------------------------------------------------------- */

/* One end each, with the role of the other. A worker is known by its slot, and by the generation whose
 * matters alone are its business. */
static void
connect_with(struct proc *helper, struct proc *other)
{
	bool worker = other->role == ROLE_WORKER;
	int fds[2];

	if (chan_pair(fds) != 0) {
		log_msg(LOG_L_ERROR, "%s[%d] gets no channel to the %s: %s", role_name(other->role),
			(int)other->pid, role_name(helper->role), strerror(errno));
		return;
	}
	/* the id: by it the helper can say later which process it was, and one of an older version reads over it */
	SEND_ID(helper, channel, (uint32_t)other->pid, fds[0], .role = (uint8_t)other->role, .slot = worker ? other->slot : 0,
		.generation = worker ? other->generation : 0);
	SEND(other, channel, fds[1], .role = (uint8_t)helper->role, .slot = 0);
	close(fds[0]);
	close(fds[1]);
}

static bool
are_peers(const struct parent *p, const struct proc *helper, const struct proc *other)
{
	const struct generation *g;

	if (other->role == ROLE_WORKER) {
		if ((table[helper->role].peers & BIT(ROLE_WORKER)) == 0)
			return false;
		g = parent_generation(p, other->generation);
		return g != NULL && needs(g, helper->role);
	}
	return other != helper && other == p->helpers[other->role] && other->joined &&
		((table[helper->role].peers & BIT(other->role)) != 0 ||
			(table[other->role].peers & BIT(helper->role)) != 0);
}

static void
settle(struct parent *p, struct proc *proc)
{
	if (proc->state == PROC_READY && proc->joined && p->current != NULL)
		supervise_set_state(proc, PROC_SERVING);
}

/* STOP: it serves whom it has a channel to, until they have gone over to the next. */
static void
tell_to_stop(struct parent *p, struct proc *proc, uint32_t timeout_ms)
{
	if (proc->leaving)
		return;
	proc->leaving = true;
	if (proc->role == ROLE_CONTROL && proc == p->helpers[ROLE_CONTROL] && p->log_fd >= 0) {
		close(p->log_fd); /* it waits until the last sender has gone */
		p->log_fd = -1;
	}
	SEND(proc, stop, -1, .timeout_ms = timeout_ms);
}

/* It knows all that its peers may ask of it: everybody goes over to it, and one that it replaces may end. */
static void
join(struct parent *p, struct proc *proc)
{
	struct proc *other;

	proc->joined = true;
	TAILQ_FOREACH(other, &p->procs, next) {
		if (are_peers(p, proc, other))
			connect_with(proc, other);
		if (other->role == proc->role && other != proc)
			tell_to_stop(p, other, 0);
	}
	settle(p, proc);
}

void
helpers_join_worker(struct parent *p, struct proc *worker)
{
	unsigned role;

	for (role = 0; role < ROLE_COUNT; role++)
		if (p->helpers[role] != NULL && p->helpers[role]->joined &&
		    are_peers(p, p->helpers[role], worker))
			connect_with(p->helpers[role], worker);
}

void
helper_ready(struct parent *p, struct proc *proc)
{
	supervise_set_state(proc, PROC_READY);
	settle(p, proc);
}

void
helpers_serving(struct parent *p)
{
	unsigned role;

	for (role = 0; role < ROLE_COUNT; role++)
		if (p->helpers[role] != NULL)
			settle(p, p->helpers[role]);
}

void
helper_agrees(struct parent *p, struct proc *proc, uint64_t number)
{
	struct generation *g;
	struct cred_set *set;

	if (table[proc->role].give_set != NULL) {
		if ((set = parent_cred_set(p, number, &g)) == NULL)
			return;
		set->agreed |= BIT(proc->role);
	} else {
		if ((g = parent_generation(p, number)) == NULL)
			return;
		g->agreed |= BIT(proc->role);
	}
	if (!proc->joined && has_agreed_to_all(p, proc->role)) {
		join(p, proc);
		if (proc->role == ROLE_AUTH)
			accounts_look(p); /* what changed while there was none */
	}
}

/* --- start ------------------------------------------------------------------------------------ */

static void
give(struct parent *p, struct proc *proc, struct generation *g)
{
	struct cred_set *set;

	g->agreed &= ~BIT(proc->role);
	if (!needs(g, proc->role))
		return;
	if (table[proc->role].give != NULL)
		table[proc->role].give(p, proc, g);
	TAILQ_FOREACH(set, &g->sets, next) {
		set->agreed &= ~BIT(proc->role);
		if (table[proc->role].give_set != NULL)
			table[proc->role].give_set(proc, g, set);
	}
}

/* One set more, for a generation that they have. */
void
helpers_give_set(struct parent *p, const struct generation *g, const struct cred_set *set)
{
	unsigned role;

	for (role = 0; role < ROLE_COUNT; role++)
		if (table[role].give_set != NULL && p->helpers[role] != NULL && needs(g, (enum role)role))
			table[role].give_set(p->helpers[role], g, set);
}

int
helper_start(struct parent *p, enum role role, struct diag *diag)
{
	struct generation *g;
	struct proc *proc;
	int rc;

	if (p->helpers[role] != NULL)
		return 0;
	if ((rc = launch(p, role, SLOT_NONE, 0, &proc, diag)) != 0)
		return rc;
	p->helpers[role] = proc;
	if (table[role].begin != NULL)
		table[role].begin(p, proc);
	supervise_tell_process(p, proc, false);
	TAILQ_FOREACH(g, &p->generations, next)
		give(p, proc, g);
	if (p->staging != NULL)
		give(p, proc, p->staging);
	if (has_agreed_to_all(p, role))
		join(p, proc);
	return 0;
}

static int
stage(struct parent *p, struct generation *g, enum role role, struct diag *diag)
{
	int rc;

	if (!needs(g, role))
		return 0;
	if (p->helpers[role] == NULL) {
		if ((rc = helper_start(p, role, diag)) != 0) {
			if (diag->text[0] == '\0')
				diag_set(diag, rc, "%s", pt_strerror(rc));
			diag_prefix(diag, "the %s cannot be started", role_name(role));
			return rc;
		}
		return 0;
	}
	give(p, p->helpers[role], g);
	return 0;
}

int
helpers_stage(struct parent *p, struct generation *g, struct diag *diag)
{
	unsigned role;
	int rc;

	/* control first: it has the log of all others */
	if ((rc = stage(p, g, ROLE_CONTROL, diag)) != 0)
		return rc;
	for (role = 0; role < ROLE_COUNT; role++)
		if (helper_of(role) != NULL && role != ROLE_CONTROL &&
		    (rc = stage(p, g, (enum role)role, diag)) != 0)
			return rc;
	return 0;
}

/* New helpers beside the old ones. Control's takes over at once; the others when they have agreed to all that
 * the old workers need. */
void
helpers_replace(struct parent *p)
{
	struct diag diag = { "" };
	struct proc *proc;
	unsigned role;
	bool ok;

	ok = helper_start(p, ROLE_CONTROL, &diag) == 0;
	for (role = 0; role < ROLE_COUNT; role++)
		if (helper_of(role) != NULL && helper_needed(p, (enum role)role))
			ok &= helper_start(p, (enum role)role, &diag) == 0;
	if (!ok)
		log_msg(LOG_L_ERROR, "upgrade: a helper process cannot be started: %s", diag.text);
	TAILQ_FOREACH(proc, &p->procs, next)
		if (helper_of(proc->role) != NULL && proc != p->helpers[proc->role] &&
		    (p->helpers[proc->role] == NULL || table[proc->role].alone))
			tell_to_stop(p, proc, 0);
}

/* --- end -------------------------------------------------------------------------------------- */

bool
helpers_have_set(const struct generation *g, const struct cred_set *set)
{
	unsigned role;

	for (role = 0; role < ROLE_COUNT; role++)
		if (table[role].give_set != NULL && table[role].agrees && needs(g, (enum role)role) &&
		    (set->agreed & BIT(role)) == 0)
			return false;
	return true;
}

void
helpers_release_set(struct parent *p, const struct cred_set *set)
{
	unsigned role;

	for (role = 0; role < ROLE_COUNT; role++)
		if (table[role].give_set != NULL)
			SEND(p->helpers[role], cred_release, -1, .generation = set->number);
}

void
helpers_release(struct parent *p, const struct generation *g)
{
	const struct cred_set *set;
	struct proc *proc;
	unsigned role;

	TAILQ_FOREACH(set, &g->sets, next)
		helpers_release_set(p, set);
	for (role = 0; role < ROLE_COUNT; role++) {
		if ((proc = p->helpers[role]) == NULL)
			continue;
		if (table[role].give != NULL && needs(g, (enum role)role))
			SEND(proc, cred_release, -1, .generation = g->number);
		if (helper_needed(p, (enum role)role))
			continue;
		tell_to_stop(p, proc, 0);
		p->helpers[role] = NULL; /* who needs it again gets another */
	}
}

bool
helpers_end(struct parent *p, uint32_t *timeout_ms)
{
	unsigned rank = UINT32_MAX;
	struct proc *proc;

	TAILQ_FOREACH(proc, &p->procs, next)
		if (table[proc->role].ends < rank)
			rank = table[proc->role].ends;
	*timeout_ms = 0;
	TAILQ_FOREACH(proc, &p->procs, next) {
		if (table[proc->role].ends != rank)
			continue;
		tell_to_stop(p, proc, table[proc->role].end_ms);
		if (table[proc->role].end_ms > *timeout_ms)
			*timeout_ms = table[proc->role].end_ms;
	}
	return rank != UINT32_MAX;
}
