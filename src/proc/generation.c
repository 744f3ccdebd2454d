/* proc/generation.c - a configuration with its open files and sockets. All or nothing: an error leaves
 * what is running untouched. */
#include "proc/parent.h"

#include "proc/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static struct gen_cert *
cert_find(const struct cred_set *s, const struct conf_cert *cert)
{
	size_t i;

	for (i = 0; i < s->ncerts; i++)
		if (same_text(s->certs[i].certificate, cert->certificate) &&
		    same_text(s->certs[i].key, cert->key) &&
		    same_text(s->certs[i].passphrase, cert->passphrase))
			return &s->certs[i];
	return NULL;
}

uint32_t
generation_key(const struct generation *g, const struct conf_cert *cert)
{
	const struct gen_cert *c = cert_find(g->cred, cert);

	PT_ASSERT(c != NULL);
	return (uint32_t)(c - g->cred->certs);
}

/* Grows an array by one zeroed element; NULL when out of memory. */
static void *
add_one(void **array, size_t *n, size_t size)
{
	char *more = reallocarray(*array, *n + 1, size);

	if (more == NULL)
		return NULL;
	*array = more;
	memset(more + *n * size, 0, size);
	return more + (*n)++ * size;
}

/* --- what a configuration names --------------------------------------------------------------- */

struct walk {
	struct cred_set *set;
	const struct cred_set *prev;
	struct diag *diag;
};

static int
add_cert(struct walk *w, const struct conf_cert *cert)
{
	struct cred_set *s = w->set;
	struct gen_cert *c;
	int rc;

	if (cert_find(s, cert) != NULL)
		return 0;
	if (s->ncerts == CRED_KEYS_MAX)
		return diag_set(w->diag, PT_EFULL, "more than %d certificates", CRED_KEYS_MAX);
	if ((c = add_one((void **)&s->certs, &s->ncerts, sizeof *c)) == NULL)
		return PT_ENOMEM;
	c->cert_fd = c->key_fd = c->pass_fd = c->chain_fd = -1;
	if ((c->certificate = strdup(cert->certificate)) == NULL ||
	    (cert->key != NULL && (c->key = strdup(cert->key)) == NULL) ||
	    (cert->passphrase != NULL && (c->passphrase = strdup(cert->passphrase)) == NULL))
		return PT_ENOMEM;
	rc = cred_set_source(s, w->prev, cert->certificate, true, &c->cert_fd, w->diag);
	if (rc == 0 && cert->key != NULL)
		rc = cred_set_source(s, w->prev, cert->key, true, &c->key_fd, w->diag);
	if (rc == 0 && cert->passphrase != NULL)
		rc = cred_set_source(s, w->prev, cert->passphrase, true, &c->pass_fd, w->diag);
	return rc;
}

static int
add_file(struct walk *w, enum cred_kind kind, uint32_t set, uint32_t index, const char *path)
{
	struct cred_set *s = w->set;
	struct gen_file *f;

	if (s->nfiles == CRED_FILES_MAX / 2)
		return diag_set(w->diag, PT_EFULL, "more than %d files of CAs, revocation lists and OCSP responses",
			CRED_FILES_MAX / 2);
	if ((f = add_one((void **)&s->files, &s->nfiles, sizeof *f)) == NULL)
		return PT_ENOMEM;
	*f = (struct gen_file){ kind, set, index, strdup(path), -1 };
	return f->path != NULL ? cred_set_source(s, w->prev, path, false, &f->fd, w->diag) : PT_ENOMEM;
}

static int
add_files(struct walk *w, enum cred_kind kind, uint32_t set, char *const *paths, size_t n)
{
	size_t k;
	int rc = 0;

	for (k = 0; k < n && rc == 0; k++)
		rc = add_file(w, kind, set, (uint32_t)k, paths[k]);
	return rc;
}

/* Whether anybody is asked for a certificate for whom these lists are: where nobody is, none is of use. */
static bool
uses_crls(const struct conf_tls *tls, const struct conf_name *name)
{
	bool uses = tls->client_certificate != CONF_CC_NONE;
	size_t i;

	for (i = 0; name == NULL && i < tls->nnames; i++)
		uses = uses || (!tls->names[i].own_client_crl &&
				 tls->names[i].tls->client_certificate != CONF_CC_NONE);
	return uses;
}

/* What a tls block (name NULL), or a name block in it, gives itself. */
static int
walk_set(struct walk *w, uint32_t set, const struct conf_tls *tls, const struct conf_name *name)
{
	size_t k;
	int rc = 0;

	for (k = 0; (name == NULL || name->own_certs) && k < tls->ncerts && rc == 0; k++)
		rc = add_cert(w, &tls->certs[k]);
	if (rc == 0 && (name == NULL || name->own_ocsp))
		rc = add_files(w, CRED_OCSP, set, tls->ocsp, tls->nocsp);
	if (rc == 0 && (name == NULL || name->own_client_ca))
		rc = add_files(w, CRED_CLIENT_CA, set, tls->client_ca, tls->nclient_ca);
	if (rc == 0 && (name == NULL || name->own_client_crl) && uses_crls(tls, name))
		rc = add_files(w, CRED_CRL, set, tls->client_crl, tls->nclient_crl);
	return rc;
}

/* The files of a service's tls block and its names. */
static int
walk_tls(struct walk *w, uint32_t service, const struct conf_tls *tls)
{
	int rc = walk_set(w, CRED_SET(service, 0), tls, NULL);
	uint32_t k;

	for (k = 0; k < tls->nnames && rc == 0; k++)
		rc = walk_set(w, CRED_SET(service, k + 1), tls->names[k].tls, &tls->names[k]);
	return rc;
}

static int
walk_all(struct walk *w, const struct conf *conf)
{
	uint32_t index = 0;
	size_t i;
	int rc = 0;

	for (i = 0; i < conf->nservices && rc == 0; i++)
		if (conf->services[i].tls != NULL)
			rc = walk_tls(w, (uint32_t)i, conf->services[i].tls);
	for (i = 0; i < conf->nmaps && rc == 0; i++)
		if (conf->maps[i].from != NULL)
			rc = add_file(w, CRED_FROM, CRED_SET_IDENTITY, index++, conf->maps[i].from);
	return rc;
}

int
cred_set_open(const struct conf *conf, uint64_t number, const struct cred_set *prev, struct cred_set **set_out,
	      struct diag *diag)
{
	struct walk w = { calloc(1, sizeof *w.set), prev, diag };
	int rc;

	*set_out = NULL;
	if (w.set == NULL)
		return PT_ENOMEM;
	w.set->number = number;
	if ((rc = walk_all(&w, conf)) != 0)
		cred_set_free(&w.set);
	*set_out = w.set;
	return rc;
}

int
accounts_open(const struct conf *conf, const struct cred_set *prev, struct cred_set **set_out, struct diag *diag)
{
	struct walk w = { calloc(1, sizeof *w.set), prev, diag };
	int rc;

	*set_out = NULL;
	if (w.set == NULL)
		return PT_ENOMEM;
	rc = add_file(&w, CRED_USERS, 0, 0, conf->users_file);
	if (rc == 0 && conf->impersonate != NULL)
		rc = add_file(&w, CRED_IMPERSONATE, 0, 0, conf->impersonate);
	if (rc != 0)
		cred_set_free(&w.set);
	*set_out = w.set;
	return rc;
}

/* --- sockets ---------------------------------------------------------------------------------- */

/* The socket that another generation already listens on; -1 if none. */
static int
inherited(const struct generation *prev, const char *text)
{
	size_t i;

	for (i = 0; prev != NULL && i < prev->nlisteners; i++)
		if (prev->listeners[i].fd >= 0 && strcmp(prev->listeners[i].text, text) == 0)
			return fcntl(prev->listeners[i].fd, F_DUPFD_CLOEXEC, 0);
	return -1;
}

static int
open_listeners(struct generation *g, const struct generation *prev, struct diag *diag)
{
	const struct conf_service *s;
	struct gen_listener *l;
	uint32_t i, k;
	int rc;

	for (i = 0; i < g->conf->nservices; i++) {
		s = &g->conf->services[i];
		for (k = 0; k < s->nlistens; k++) {
			l = add_one((void **)&g->listeners, &g->nlisteners, sizeof *l);
			if (l == NULL)
				return PT_ENOMEM;
			*l = (struct gen_listener){ strdup(s->listens[k].text), -1, i, k };
			if (l->text == NULL)
				return PT_ENOMEM;
			if ((l->fd = inherited(prev, l->text)) >= 0)
				continue;
			if ((rc = listen_open((const union addr *)&s->listens[k].addr,
				     s->listens[k].addr_len, 0666, &l->fd, diag)) != 0)
				return rc;
		}
	}
	return 0;
}

static int
make_conf_fd(struct generation *g)
{
	struct buf text;
	int rc;

	buf_init(&text, 4 * CONF_FILE_MAX);
	if ((rc = conf_show(g->conf, false, &text)) == 0)
		rc = memfd_sealed("postern-conf", buf_span(&text), &g->conf_fd);
	buf_fini(&text);
	return rc;
}

int
generation_new(struct conf *conf, uint64_t number, const struct generation *prev, bool bind,
	       struct generation **gen_out, struct diag *diag)
{
	struct generation *g = calloc(1, sizeof *g);
	int rc;

	*gen_out = NULL;
	if (g == NULL) {
		conf_free(&conf);
		return PT_ENOMEM;
	}
	g->number = number;
	g->conf = conf;
	g->conf_fd = -1;
	TAILQ_INIT(&g->sets);
	if (conf->nservices == 0)
		rc = diag_set(diag, PT_EINVAL, "%s has no service: there is nothing to serve; run "
			"\"postern setup\" to get one, or add a service block", conf->file);
	else if ((rc = cred_set_open(conf, number, prev != NULL ? prev->cred : NULL, &g->cred, diag)) == 0 &&
		(conf->users_file == NULL ||
			(rc = accounts_open(conf, prev != NULL ? prev->accounts : NULL, &g->accounts, diag)) == 0) &&
		(rc = make_conf_fd(g)) == 0 && bind)
		rc = open_listeners(g, prev, diag);
	if (g->cred != NULL)
		TAILQ_INSERT_TAIL(&g->sets, g->cred, next);
	if (rc == PT_ENOMEM)
		diag_set(diag, rc, "%s", pt_strerror(rc));
	if (rc == 0) {
		*gen_out = g;
		return 0;
	}
	generation_remove_sockets(g, prev);
	generation_free(&g);
	return rc;
}

void
generation_load_ticket_key(struct generation *g, const struct generation *prev)
{
	const uint8_t *key = prev != NULL && prev->has_ticket_key ? prev->ticket_key : NULL;
	size_t i;

	for (i = 0; i < g->conf->nservices && !g->has_ticket_key; i++)
		if (g->conf->services[i].tls != NULL && g->conf->services[i].tls->tickets)
			g->has_ticket_key = ticket_key_load(g->conf->state, key, g->ticket_key) == 0;
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void
generation_close_listeners(struct generation *g)
{
	size_t i;

	for (i = 0; i < g->nlisteners; i++)
		close_fd(&g->listeners[i].fd);
}

void
generation_remove_sockets(const struct generation *g, const struct generation *keep)
{
	const char *text;
	size_t i, k;

	for (i = 0; i < g->nlisteners; i++) {
		text = g->listeners[i].text;
		if (g->listeners[i].fd < 0 || text == NULL || strncmp(text, "unix:", 5) != 0)
			continue;
		for (k = 0; keep != NULL && k < keep->nlisteners; k++)
			if (strcmp(keep->listeners[k].text, text) == 0)
				break;
		if (keep == NULL || k == keep->nlisteners)
			unlink(text + 5);
	}
}

void
generation_free(struct generation **gp)
{
	struct generation *g = *gp;
	struct cred_set *set;
	size_t i;

	if (g == NULL)
		return;
	generation_close_listeners(g);
	for (i = 0; i < g->nlisteners; i++)
		free(g->listeners[i].text);
	while ((set = TAILQ_FIRST(&g->sets)) != NULL) {
		TAILQ_REMOVE(&g->sets, set, next);
		cred_set_free(&set);
	}
	cred_set_free(&g->accounts);
	cred_set_free(&g->accounts_next);
	cred_set_free(&g->accounts_bad);
	close_fd(&g->conf_fd);
	free(g->listeners);
	conf_free(&g->conf);
	freezero(g, sizeof *g); /* the ticket key is in it */
	*gp = NULL;
}
