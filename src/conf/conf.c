/* conf/conf.c - loading from a file or from memory, freeing, comparing. */
#include "conf/conf.h"

#include "conf/conf_read.h"

#include <stdlib.h>
#include <string.h>

static struct conf *
conf_new(void)
{
	struct conf_priv *priv;
	struct conf *conf;

	if ((priv = calloc(1, sizeof *priv)) == NULL)
		return NULL;
	if ((conf = conf_arena_alloc(&priv->arena, sizeof *conf)) == NULL) {
		free(priv);
		return NULL;
	}
	conf->priv = priv;
	return conf;
}

void
conf_free(struct conf **conf)
{
	struct conf_priv *priv;

	if (*conf == NULL)
		return;
	priv = (*conf)->priv;
	conf_arena_fini(&priv->arena);
	free(priv);
	*conf = NULL;
}

/* The processes get the configuration as text, so what is written out must not be larger than what
 * is read; macros could make it so. */
static int
check_size(const struct conf *conf, struct conf_errors *errors)
{
	struct buf text;
	int rc;

	buf_init(&text, CONF_FILE_MAX);
	rc = conf_show(conf, false, &text);
	buf_fini(&text);
	if (rc != PT_ETOOBIG)
		return rc;
	conf_mistake_file(errors, conf->file,
			  "larger than 1 MiB when its macros and includes are "
			  "written out; expected less");
	return 0;
}

/* path is NULL when text is what is read. */
static int
load(const char *path, const char *name, const char *dir, struct span text, struct conf **conf_out,
     struct conf_errors *errors)
{
	struct conf_parse ps;
	struct conf *conf;
	size_t before = conf_errors_count(errors);
	int rc = PT_ENOMEM;

	*conf_out = NULL;
	if ((conf = conf_new()) == NULL)
		return PT_ENOMEM;
	conf_parse_init(&ps, &conf->priv->arena, errors);
	if ((conf->file = conf_arena_str(&conf->priv->arena, name)) == NULL)
		goto out;
	rc = path != NULL ? conf_parse_path(&ps, path) : conf_parse_text(&ps, name, dir, text);
	if (rc == 0 && ps.nfiles > 0 && !conf_read(conf, &ps, errors))
		rc = PT_ENOMEM;
	if (rc == 0 && conf_errors_count(errors) == before)
		rc = check_size(conf, errors);
	if (rc == 0 && conf_errors_nomem(errors))
		rc = PT_ENOMEM;
	if (rc == 0 && conf_errors_count(errors) > before)
		rc = PT_EINVAL;
	if (rc == 0) {
		*conf_out = conf;
		conf = NULL;
	}
out:
	conf_parse_fini(&ps);
	conf_free(&conf);
	return rc;
}

int
conf_load(const char *path, struct conf **conf_out, struct conf_errors *errors)
{
	return load(path, path, NULL, (struct span){ NULL, 0 }, conf_out, errors);
}

int
conf_parse(const char *name, const char *base, struct span text, struct conf **conf_out,
	   struct conf_errors *errors)
{
	return load(NULL, name, base, text, conf_out, errors);
}

static bool
same_str(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
has_path(char *const *paths, size_t n, const char *path)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(paths[i], path) == 0)
			return true;
	return false;
}

/* As sets: order and repetition do not count. */
static bool
same_paths(char *const *a, size_t na, char *const *b, size_t nb)
{
	size_t i;

	for (i = 0; i < na; i++)
		if (!has_path(b, nb, a[i]))
			return false;
	for (i = 0; i < nb; i++)
		if (!has_path(a, na, b[i]))
			return false;
	return true;
}

bool
conf_tls_same_credentials(const struct conf_tls *a, const struct conf_tls *b)
{
	size_t i;

	if (a->ncerts != b->ncerts || a->protocols != b->protocols ||
	    !same_str(a->priority, b->priority) || a->client_certificate != b->client_certificate)
		return false;
	for (i = 0; i < a->ncerts; i++)
		if (!same_str(a->certs[i].certificate, b->certs[i].certificate) ||
		    !same_str(a->certs[i].key, b->certs[i].key) ||
		    !same_str(a->certs[i].passphrase, b->certs[i].passphrase))
			return false;
	return same_paths(a->ocsp, a->nocsp, b->ocsp, b->nocsp) &&
	       same_paths(a->client_ca, a->nclient_ca, b->client_ca, b->nclient_ca) &&
	       same_paths(a->client_crl, a->nclient_crl, b->client_crl, b->nclient_crl) &&
	       a->crl_grace_ms == b->crl_grace_ms;
}
