/* conf/conf_name.c - name blocks: what holds for clients that ask for another host name. Each is read once, into a
 * struct of what it says itself; for its tls block, and for each service that uses that, the rest is filled
 * in from what is around it there. */
#include "conf/conf_read.h"

#include "conf/conf_value.h"

#include <string.h>

#define SHOWN CONF_TEXT_SHOWN

static bool
has_host(const struct conf_name *name, const char *host)
{
	size_t i;

	for (i = 0; i < name->nhosts; i++)
		if (strcmp(name->hosts[i], host) == 0)
			return true;
	return false;
}

/* The name block of tls that has this host; NULL: none. */
static const struct conf_name *
find_host(const struct conf_tls *tls, const char *host)
{
	size_t i;

	for (i = 0; i < tls->nnames; i++)
		if (has_host(&tls->names[i], host))
			return &tls->names[i];
	return NULL;
}

static void
add_host(struct conf_reader *r, const struct conf_tls *tls, struct conf_name *name, const struct conf_word *key,
	 const struct conf_word *w)
{
	char host[CONF_VALUE_SNI_MAX], where[300];
	const struct conf_name *other;

	if (name->nhosts == CONF_HOSTS_MAX) {
		conf_mistake_word(r->errors, key, NULL, "more than %d host names; expected another 'name' block "
				  "for the rest", CONF_HOSTS_MAX);
		return;
	}
	if (!conf_value_sni(w->text, host)) {
		conf_mistake_word(r->errors, w, NULL,
				  "'%.*s' is not a host name; expected one such as mail.example.net or "
				  "*.example.net", SHOWN, w->text);
		return;
	}
	if ((other = find_host(tls, host)) != NULL) {
		conf_mistake_word(r->errors, w, NULL, "name '%.*s' again; expected another host name, for the first "
				  "is %s", SHOWN, w->text,
				  conf_read_where(w, &other->origin, where, sizeof where));
		return;
	}
	if (name->hosts == NULL && (name->hosts = conf_arena_alloc(r->arena,
					    CONF_HOSTS_MAX * sizeof *name->hosts)) == NULL)
		return;
	if ((name->hosts[name->nhosts] = conf_arena_str(r->arena, host)) != NULL)
		name->nhosts++;
}

static void
read_hosts(struct conf_reader *r, const struct conf_tls *tls, struct conf_name *name, const struct conf_node *n)
{
	const struct conf_word *key = n->words.first, *w;

	if (n->bad || conf_read_word(r, key, "a host name") == NULL)
		return;
	for (w = key->next; w != NULL; w = w->next) {
		if (name->nhosts == CONF_HOSTS_MAX) {
			add_host(r, tls, name, key, w);
			break;
		}
		add_host(r, tls, name, key, w);
	}
	(void)conf_read_has_block(r, n);
}

static void
check_says_something(struct conf_reader *r, const struct conf_node *n, const struct conf_scope *s)
{
	size_t i;

	for (i = 0; i < s->block->n; i++)
		if (s->set[i] != NULL)
			return;
	if (n->brace != NULL && !n->brace->unclosed && n->block.first == NULL && !r->incomplete)
		conf_mistake_word(r->errors, n->words.first, NULL, "a name block that says nothing; expected "
				  "'certificate FILE' or another directive in it");
}

void
conf_read_name(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	       const struct conf_node *n)
{
	struct conf_tls *tls = s->base, *own = conf_arena_alloc(r->arena, sizeof *own);
	const struct conf_word *key = n->words.first;
	struct conf_name_scope *ns = conf_arena_alloc(r->scratch, sizeof *ns);
	struct conf_name *name;
	size_t i;

	if (s->set[d - s->block->directives] == key)
		tls->nnames = 0; /* in a service: instead of the block's, not beside them */
	if (own == NULL || ns == NULL ||
	    (name = conf_read_array_add(r, key, &tls->names, sizeof *name, &tls->nnames, CONF_NAMES_MAX)) == NULL)
		return;
	*name = (struct conf_name){ .origin = conf_read_origin(key), .own = own };
	read_hosts(r, tls, name, n);
	own->origin = name->origin;
	ns->own = own;
	ns->scope = (struct conf_scope){ .block = &conf_schema_name, .base = own, .node = n };
	ns->next = r->names;
	r->names = ns;
	conf_read_block(r, &ns->scope, &n->block);
	for (i = 0; i < conf_schema_name.n; i++)
		if (ns->scope.set[i] != NULL)
			own->overridden |= 1u << i;
	own->origins = conf_read_origins(r, &ns->scope);
	check_says_something(r, n, &ns->scope);
}

static bool
says(const struct conf_tls *own, const char *directive)
{
	return (own->overridden & 1u << conf_schema_find(&conf_schema_name, directive)) != 0;
}

/* What own says, within what tls says. */
static void
fill(struct conf_name *name, const struct conf_tls *tls, struct conf_tls *out)
{
	const struct conf_tls *own = name->own;

	*out = *tls;
	out->origin = own->origin;
	out->origins = own->origins;
	out->overridden = own->overridden;
	out->names = NULL;
	out->nnames = 0;
	name->own_certs = says(own, "certificate");
	/* the block's responses are for the block's certificates */
	name->own_ocsp = name->own_certs || says(own, "ocsp");
	name->own_client_ca = says(own, "client-ca");
	name->own_client_crl = says(own, "client-crl");
	if (says(own, "client-certificate"))
		out->client_certificate = own->client_certificate;
	if (name->own_certs) {
		out->certs = own->certs;
		out->ncerts = own->ncerts;
	}
	if (name->own_ocsp) {
		out->ocsp = own->ocsp;
		out->nocsp = own->nocsp;
	}
	if (name->own_client_ca) {
		out->client_ca = own->client_ca;
		out->nclient_ca = own->nclient_ca;
	}
	if (name->own_client_crl) {
		out->client_crl = own->client_crl;
		out->nclient_crl = own->nclient_crl;
	}
	name->tls = out;
}

void
conf_read_finish_names(struct conf_reader *r, struct conf_tls *tls)
{
	struct conf_name *names;
	struct conf_tls *outs;
	size_t i;

	if (tls->nnames == 0)
		return;
	names = conf_arena_alloc(r->arena, tls->nnames * sizeof *names);
	outs = conf_arena_alloc(r->arena, tls->nnames * sizeof *outs);
	if (names == NULL || outs == NULL)
		return;
	for (i = 0; i < tls->nnames; i++) {
		names[i] = tls->names[i];
		fill(&names[i], tls, &outs[i]);
	}
	tls->names = names;
}
