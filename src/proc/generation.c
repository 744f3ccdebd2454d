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

static int
open_file(const char *path, int *fd_out, struct diag *diag)
{
	struct stat st;

	/* O_NONBLOCK: a FIFO must not hold us up */
	if ((*fd_out = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) < 0)
		return diag_set(diag, errno == ENOENT ? PT_ENOENT : PT_EPERM, "cannot open %s: %s", path,
			strerror(errno));
	if (fstat(*fd_out, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(*fd_out);
		*fd_out = -1;
		return diag_set(diag, PT_EINVAL, "%s is not a file", path);
	}
	return 0;
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static struct gen_cert *
cert_find(const struct generation *g, const struct conf_cert *cert)
{
	size_t i;

	for (i = 0; i < g->ncerts; i++)
		if (same_text(g->certs[i].certificate, cert->certificate) &&
		    same_text(g->certs[i].key, cert->key))
			return &g->certs[i];
	return NULL;
}

uint32_t
generation_key(const struct generation *g, const struct conf_cert *cert)
{
	const struct gen_cert *c = cert_find(g, cert);

	PT_ASSERT(c != NULL);
	return (uint32_t)(c - g->certs);
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

static int
add_cert(struct generation *g, const struct conf_cert *cert, struct diag *diag)
{
	struct gen_cert *c;
	int rc;

	if (cert_find(g, cert) != NULL)
		return 0;
	if (g->ncerts == CRED_KEYS_MAX)
		return diag_set(diag, PT_EFULL, "more than %d certificates", CRED_KEYS_MAX);
	if ((c = add_one((void **)&g->certs, &g->ncerts, sizeof *c)) == NULL)
		return PT_ENOMEM;
	c->cert_fd = c->key_fd = c->chain_fd = -1;
	if ((c->certificate = strdup(cert->certificate)) == NULL ||
	    (cert->key != NULL && (c->key = strdup(cert->key)) == NULL))
		return PT_ENOMEM;
	if ((rc = open_file(cert->certificate, &c->cert_fd, diag)) != 0)
		return rc;
	return cert->key != NULL ? open_file(cert->key, &c->key_fd, diag) : 0;
}

static int
add_file(struct generation *g, enum cred_kind kind, uint32_t set, uint32_t index, const char *path,
	 struct diag *diag)
{
	struct gen_file *f;

	if (g->nfiles == CRED_FILES_MAX / 2)
		return diag_set(diag, PT_EFULL, "more than %d files of CAs and revocation lists", CRED_FILES_MAX / 2);
	if ((f = add_one((void **)&g->files, &g->nfiles, sizeof *f)) == NULL)
		return PT_ENOMEM;
	*f = (struct gen_file){ kind, set, index, strdup(path), -1 };
	return f->path != NULL ? open_file(path, &f->fd, diag) : PT_ENOMEM;
}

static int
open_credentials(struct generation *g, struct diag *diag)
{
	const struct conf *conf = g->conf;
	const struct conf_tls *tls;
	uint32_t index = 0;
	size_t i, k;
	int rc;

	for (i = 0; i < conf->nservices; i++) {
		if ((tls = conf->services[i].tls) == NULL)
			continue;
		for (k = 0; k < tls->ncerts; k++)
			if ((rc = add_cert(g, &tls->certs[k], diag)) != 0)
				return rc;
		for (k = 0; k < tls->nclient_ca; k++)
			if ((rc = add_file(g, CRED_CLIENT_CA, (uint32_t)i, (uint32_t)k,
				     tls->client_ca[k], diag)) != 0)
				return rc;
		/* nobody is asked for a certificate: no list is of use */
		for (k = 0; tls->client_certificate != CONF_CC_NONE && k < tls->nclient_crl; k++)
			if ((rc = add_file(g, CRED_CRL, (uint32_t)i, (uint32_t)k, tls->client_crl[k],
				     diag)) != 0)
				return rc;
	}
	for (i = 0; i < conf->nmaps; i++)
		if (conf->maps[i].from != NULL && (rc = add_file(g, CRED_FROM, CRED_SET_IDENTITY, index++,
						   conf->maps[i].from, diag)) != 0)
			return rc;
	return 0;
}

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
	if (conf->nservices == 0)
		rc = diag_set(diag, PT_EINVAL, "%s has no service: there is nothing to serve; run "
			"\"postern setup\" to get one, or add a service block", conf->file);
	else if ((rc = open_credentials(g, diag)) == 0 && (rc = make_conf_fd(g)) == 0 && bind)
		rc = open_listeners(g, prev, diag);
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
	size_t i;

	if (g == NULL)
		return;
	generation_close_listeners(g);
	for (i = 0; i < g->nlisteners; i++)
		free(g->listeners[i].text);
	for (i = 0; i < g->ncerts; i++) {
		close_fd(&g->certs[i].cert_fd);
		close_fd(&g->certs[i].key_fd);
		close_fd(&g->certs[i].chain_fd);
		free(g->certs[i].certificate);
		free(g->certs[i].key);
	}
	for (i = 0; i < g->nfiles; i++) {
		close_fd(&g->files[i].fd);
		free(g->files[i].path);
	}
	close_fd(&g->conf_fd);
	free(g->listeners);
	free(g->certs);
	free(g->files);
	conf_free(&g->conf);
	freezero(g, sizeof *g); /* the ticket key is in it */
	*gp = NULL;
}
