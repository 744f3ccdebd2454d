/* proc/accounts.c - the parent's part of auth: its files by descriptor, at each start, each configuration and each
 * change. The parent opens them and never reads them. A change is taken when auth has parsed it; until then, and
 * when it has a mistake, what auth has is what this file would give the next one. */
#include "proc/parent.h"

#include "proc/files.h"
#include "proc/watch.h"
#include "util/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECRET "salt" /* <state>/keys/salt */

bool
accounts_wanted(const struct conf *conf)
{
	return conf->users_file != NULL;
}

/* What the salts of users who do not exist come from: it must outlive the process, or a salt that changes tells. */
void
accounts_begin(struct parent *p, struct proc *proc)
{
	const struct generation *g = p->staging != NULL ? p->staging : p->current;
	uint8_t secret[TICKET_KEY_SIZE];
	enum ticket_key_source source;
	struct diag diag = { "" };
	int fd;

	if (g == NULL || g->conf == NULL)
		return; /* it has made one for itself */
	if (state_key_open(g->conf->state, SECRET, secret, &source, &diag) != 0) {
		log_msg(LOG_L_WARNING, "%s: who asks for a password login before and after a start of auth can tell "
			"which users exist", diag.text);
	} else if (memfd_sealed("postern-salt", (struct span){ secret, sizeof secret }, &fd) == 0) {
		if (source == TICKET_KEY_REPLACED)
			log_msg(LOG_L_WARNING, "%s: a new one was made", diag.text);
		SEND(proc, auth_secret, fd, .unused = 0);
		close(fd);
	}
	explicit_bzero(secret, sizeof secret);
}

static void
give_set(struct proc *proc, const struct generation *g, const struct cred_set *set)
{
	const struct gen_file *f;
	size_t i;

	SEND(proc, cred_begin, -1, .generation = g->number, .config = g->number);
	for (i = 0; i < set->nfiles; i++) {
		f = &set->files[i];
		SEND(proc, cred_file, f->fd, .generation = g->number, .set = f->set, .kind = (uint8_t)f->kind,
			.index = f->index, .path = span_str(f->path));
	}
	SEND(proc, cred_end, -1, .generation = g->number);
}

void
accounts_give(struct parent *p, struct proc *proc, const struct generation *g)
{
	(void)p;
	PT_ASSERT(g->accounts != NULL);
	SEND(proc, config, g->conf_fd, .generation = g->number);
	give_set(proc, g, g->accounts);
}

/* --- changes ---------------------------------------------------------------------------------- */

static void
look_at(struct parent *p, struct generation *g)
{
	const struct cred_set *tried = g->accounts_bad != NULL ? g->accounts_bad : g->accounts;
	struct proc *auth = p->helpers[ROLE_AUTH];
	struct diag diag = { "" };
	int rc;

	/* one at a time; and one that was just started gets the present ones by accounts_give() */
	if (g->accounts == NULL || g->accounts_next != NULL || auth == NULL || !auth->joined ||
	    !cred_set_changed(tried))
		return;
	cred_set_free(&g->accounts_bad);
	if ((rc = accounts_open(g->conf, g->accounts, &g->accounts_next, &diag)) == 0)
		give_set(auth, g, g->accounts_next);
	else if (g == p->current && rc != PT_EAGAIN) /* one that is being written is looked at again */
		log_msg(LOG_L_ERROR, "%s: the users stay as they were", diag.text);
}

void
accounts_look(struct parent *p)
{
	struct generation *g;

	TAILQ_FOREACH(g, &p->generations, next)
		if (g->conf != NULL && accounts_wanted(g->conf))
			look_at(p, g);
}

static void
changed(void *arg)
{
	accounts_look(arg);
}

void
accounts_init(struct parent *p)
{
	p->accounts_watch = watch_new(p->loop, true, changed, p);
}

void
accounts_follow(struct parent *p)
{
	const char **paths = NULL;
	const struct generation *g;
	size_t n = 0, max = 0;
	int rc = PT_ENOMEM;

	TAILQ_FOREACH(g, &p->generations, next)
		max += 2;
	if (p->accounts_watch != NULL && (paths = calloc(max + 1, sizeof *paths)) != NULL) {
		TAILQ_FOREACH(g, &p->generations, next) {
			if (g->conf != NULL && g->conf->users_file != NULL)
				paths[n++] = g->conf->users_file;
			if (g->conf != NULL && g->conf->users_file != NULL && g->conf->impersonate != NULL)
				paths[n++] = g->conf->impersonate;
		}
		rc = watch_paths(p->accounts_watch, paths, n);
		free(paths);
	}
	if (rc != 0)
		log_msg(LOG_L_ERROR, "the users file cannot be watched, out of memory: a change needs a reload");
	accounts_look(p);
}

void
accounts_loaded(struct parent *p, struct proc *proc, uint64_t generation, bool ok, uint32_t users, const char *text)
{
	struct generation *g = parent_generation(p, generation);

	if (g == NULL || g->accounts_next == NULL || proc != p->helpers[ROLE_AUTH])
		return;
	if (ok) {
		cred_set_free(&g->accounts);
		g->accounts = g->accounts_next;
	} else {
		g->accounts_bad = g->accounts_next;
	}
	g->accounts_next = NULL;
	if (g == p->current && ok)
		log_msg(LOG_L_NOTICE, "the users have changed: %u of them now", users);
	else if (g == p->current)
		log_msg(LOG_L_ERROR, "the users stay as they were, %u of them: %s", users, text);
	look_at(p, g); /* it may have changed again meanwhile */
}

void
accounts_auth_gone(struct parent *p)
{
	struct generation *g;

	TAILQ_FOREACH(g, &p->generations, next)
		cred_set_free(&g->accounts_next);
}
