/* conf/conf_special.c - directives with a form of their own: log, the named blocks, and the lines
 * of certificates, CAs, rules and addresses. */
#include "conf/conf_read.h"

#include "conf/conf_value.h"
#include "mail/normal.h"

#include <stdio.h>
#include <string.h>

#define SHOWN CONF_TEXT_SHOWN

void *
conf_read_array_add(struct conf_reader *r, const struct conf_word *w, void *array, size_t size, size_t *n,
		    size_t max)
{
	void **base = array;

	if (*n == max) {
		conf_mistake_word(r->errors, w, NULL, "one '%.*s' too many; expected at most %zu",
				  SHOWN, w->text, max);
		return NULL;
	}
	if (*n == 0 && (*base = conf_arena_alloc(r->arena, max * size)) == NULL)
		return NULL;
	return (char *)*base + (*n)++ * size;
}

void
conf_read_log(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	      const struct conf_node *n)
{
	static const struct conf_choice kinds[] = { { "syslog", CONF_LOG_SYSLOG },
						    { "stderr", CONF_LOG_STDERR },
						    { "file", CONF_LOG_FILE },
						    { NULL, 0 } };
	const struct conf_word *w;
	bool with_format;
	unsigned value;

	if (n->bad || (w = conf_read_word(r, n->words.first, d->args)) == NULL ||
	    !conf_read_choice(r, w, kinds, &value))
		return;
	r->conf->log = value;
	if (value == CONF_LOG_FILE) {
		if ((w = conf_read_word(r, w, "a path")) == NULL)
			return;
		r->conf->log_file = conf_read_path(r, w, CONF_PATH_MAX);
	}
	r->conf->log_format = CONF_LOG_TEXT;
	with_format = w->next != NULL && strcmp(w->next->text, "format") == 0;
	if (with_format) {
		if ((w = conf_read_word(r, w->next, "text or json")) == NULL)
			return;
		if (!conf_read_choice(r, w, conf_choices_log_format, &value))
			return;
		r->conf->log_format = value;
	}
	conf_read_end(r, s, n, w, with_format ? NULL : "format");
}

/* The name of a block, and that it is one. NULL: reported; the block is read all the same. */
static const struct conf_word *
block_name(struct conf_reader *r, const struct conf_node *n)
{
	const struct conf_word *w;

	if (n->bad || (w = conf_read_word(r, n->words.first, "a name")) == NULL)
		return NULL;
	if (w->next != NULL)
		conf_mistake_word(r->errors, w->next, NULL, "unexpected '%.*s'; expected '{'",
				  SHOWN, w->next->text);
	else
		(void)conf_read_has_block(r, n);
	if (strlen(w->text) <= CONF_NAME_MAX && conf_value_is_name(span_str(w->text)))
		return w;
	conf_mistake_word(r->errors, w, NULL,
			  "'%.*s' is not a name; expected at most %d letters, "
			  "digits, '.', '_' and '-', a letter or digit first",
			  SHOWN, w->text, CONF_NAME_MAX);
	return NULL;
}

void
conf_read_tls(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	      const struct conf_node *n)
{
	const struct conf_word *key = n->words.first, *name;
	struct conf *conf = r->conf;
	struct conf_scope *inner;
	struct conf_tls *tls;
	char where[300];
	size_t i;

	if ((tls = conf_read_array_add(r, key, &conf->tls, sizeof *tls, &conf->ntls, CONF_TLS_MAX)) == NULL) {
		r->top.excused |= 1u << (d - s->block->directives);
		return;
	}
	inner = &r->tls[conf->ntls - 1];
	*inner = (struct conf_scope){ .block = &conf_schema_tls, .base = tls, .node = n };
	tls->origin = conf_read_origin(key);
	if ((name = block_name(r, n)) == NULL) {
		r->top.excused |= 1u << (d - s->block->directives);
	} else {
		for (i = 0; i + 1 < conf->ntls; i++)
			if (conf->tls[i].name != NULL && strcmp(conf->tls[i].name, name->text) == 0)
				conf_mistake_word(r->errors, name, NULL,
						  "tls '%s' again; expected another "
						  "name, for the first is %s",
						  name->text,
						  conf_read_where(name, &conf->tls[i].origin, where,
								  sizeof where));
		tls->name = conf_arena_str(r->arena, name->text);
	}
	conf_read_block(r, inner, &n->block);
	conf_read_defaults(r, inner);
	conf_read_required(r, inner);
	conf_read_finish_names(r, tls);
}

/* "KEYWORD FILE" behind w, if it is there. The last word of what was read; NULL: a mistake, reported. */
static const struct conf_word *
read_keyword_path(struct conf_reader *r, const struct conf_word *w, const char *keyword, char **path)
{
	if (w->next == NULL || strcmp(w->next->text, keyword) != 0)
		return w;
	if ((w = conf_read_word(r, w->next, "a file")) != NULL)
		*path = conf_read_path(r, w, CONF_PATH_MAX);
	return w;
}

void
conf_read_certificate(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		      const struct conf_node *n)
{
	struct conf_tls *tls = s->base;
	const struct conf_word *w = n->words.first;
	struct conf_cert *c;

	if (s->set[d - s->block->directives] == w)
		tls->ncerts = 0; /* in a service: instead of the block's, not beside them */
	if ((c = conf_read_array_add(r, w, &tls->certs, sizeof *c, &tls->ncerts, CONF_CERTS_MAX)) == NULL)
		return;
	c->origin = conf_read_origin(w);
	if (n->bad || (w = conf_read_word(r, w, "a file")) == NULL)
		return;
	c->certificate = conf_read_path(r, w, CONF_PATH_MAX);
	if ((w = read_keyword_path(r, w, "key", &c->key)) == NULL ||
	    (w = read_keyword_path(r, w, "passphrase", &c->passphrase)) == NULL)
		return;
	conf_read_end(r, s, n, w, c->passphrase != NULL ? NULL : c->key != NULL ? "passphrase" : "key");
}

/* A directive that is a list of files, and may come several times: at most d->max in all. */
static void
read_files(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	   const struct conf_node *n, char ***paths, size_t *npaths)
{
	const struct conf_word *key = n->words.first, *w = key;
	char **path;

	if (s->set[d - s->block->directives] == key)
		*npaths = 0; /* in a service: instead of the block's, not beside them */
	if (n->bad)
		return;
	do {
		if ((w = conf_read_word(r, w, "a file")) == NULL)
			return;
		if ((path = conf_read_array_add(r, key, paths, sizeof *path, npaths, d->max)) == NULL)
			return;
		*path = conf_read_path(r, w, CONF_PATH_MAX);
	} while (w->next != NULL);
	conf_read_end(r, s, n, w, NULL);
}

void
conf_read_ocsp(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	       const struct conf_node *n)
{
	struct conf_tls *tls = s->base;

	read_files(r, s, d, n, &tls->ocsp, &tls->nocsp);
}

void
conf_read_client_ca(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		    const struct conf_node *n)
{
	struct conf_tls *tls = s->base;

	read_files(r, s, d, n, &tls->client_ca, &tls->nclient_ca);
}

void
conf_read_client_crl(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		     const struct conf_node *n)
{
	const struct conf_word *w = n->words.first->next;
	struct conf_tls *tls = s->base;

	if (n->bad || w == NULL || w->next != NULL || strcmp(w->text, "none") != 0) {
		read_files(r, s, d, n, &tls->client_crl, &tls->nclient_crl);
		return;
	}
	if (tls->nclient_crl > 0 && s->set[d - s->block->directives] != n->words.first)
		conf_mistake_word(r->errors, w, NULL, "'none' beside files of revocation lists; expected "
				  "one or the other");
	tls->nclient_crl = 0; /* a service, or a name: not those of the block */
	conf_read_end(r, s, n, w, NULL);
}

void
conf_read_domain(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		 const struct conf_node *n)
{
	const struct conf_word *key = n->words.first, *w = key;
	char normal[NORMAL_DOMAIN_MAX], **domain;
	struct conf *conf = r->conf;
	size_t i;

	if (n->bad)
		return;
	do {
		if ((w = conf_read_word(r, w, "a domain")) == NULL)
			return;
		if (!normal_domain(span_str(w->text), normal)) {
			conf_mistake_word(r->errors, w, NULL,
					  "'%.*s' is not a domain; expected letters, digits and '-', in "
					  "parts with '.' between",
					  SHOWN, w->text);
			continue;
		}
		for (i = 0; i < conf->ndomains && strcmp(conf->domains[i], normal) != 0; i++)
			;
		if (i < conf->ndomains) {
			conf_mistake_word(r->errors, w, NULL, "'%.*s' again; expected each domain once",
					  SHOWN, w->text);
			continue;
		}
		if ((domain = conf_read_array_add(r, key, &conf->domains, sizeof *domain, &conf->ndomains, d->max)) ==
		    NULL)
			return;
		if ((*domain = conf_arena_str(r->arena, normal)) == NULL)
			conf->ndomains--; /* the arena remembers */
	} while (w->next != NULL);
	conf_read_end(r, s, n, w, NULL);
}

void
conf_read_postmaster(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		     const struct conf_node *n)
{
	const struct conf_word *w;
	char normal[NORMAL_ADDRESS_MAX];

	if (n->bad || (w = conf_read_word(r, n->words.first, d->args)) == NULL)
		return;
	if (normal_address(span_str(w->text), normal))
		r->conf->postmaster = conf_arena_str(r->arena, normal);
	else
		conf_mistake_word(r->errors, w, NULL, "'%.*s' is not an address; expected USER@DOMAIN", SHOWN,
				  w->text);
	conf_read_end(r, s, n, w, NULL);
}

void
conf_read_users(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		const struct conf_node *n)
{
	static const struct conf_choice kinds[] = { { "file", 0 }, { NULL, 0 } };
	const struct conf_word *w;
	unsigned kind;

	if (n->bad || (w = conf_read_word(r, n->words.first, d->args)) == NULL ||
	    !conf_read_choice(r, w, kinds, &kind) || (w = conf_read_word(r, w, "a path")) == NULL)
		return;
	r->conf->users_file = conf_read_path(r, w, CONF_PATH_MAX);
	conf_read_end(r, s, n, w, NULL);
}

void
conf_read_impersonate(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		      const struct conf_node *n)
{
	const struct conf_word *w;

	(void)d;
	r->conf->impersonate_origin = conf_read_origin(n->words.first);
	if (n->bad || (w = conf_read_word(r, n->words.first, "a file")) == NULL)
		return;
	r->conf->impersonate = conf_read_path(r, w, CONF_PATH_MAX);
	conf_read_end(r, s, n, w, NULL);
}

void
conf_read_map(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	      const struct conf_node *n)
{
	struct conf *conf = r->conf;
	const struct conf_word *w = n->words.first;
	struct conf_map *m;
	unsigned value;

	if ((m = conf_read_array_add(r, w, &conf->maps, sizeof *m, &conf->nmaps, CONF_MAPS_MAX)) == NULL)
		return;
	m->origin = conf_read_origin(w);
	if (n->bad || (w = conf_read_word(r, w, d->args)) == NULL ||
	    !conf_read_choice(r, w, d->choices, &value))
		return;
	m->kind = value;
	if (w->next != NULL && strcmp(w->next->text, "from") == 0) {
		if ((w = conf_read_word(r, w->next, "a file")) == NULL)
			return;
		m->from = conf_read_path(r, w, CONF_PATH_MAX);
	}
	conf_read_end(r, s, n, w, m->from != NULL ? NULL : "from");
}

/* Now that all is read: what protocol it is, and which directives are another's. */
static void
find_protocol(struct conf_reader *r, struct conf_scope *s, struct conf_service *sv)
{
	const struct conf_directive *protocol, *d;
	size_t i;

	if (sv->protocol == CONF_PROTOCOL_UNKNOWN) { /* reported: it is missing, or no protocol */
		sv->protocol = CONF_PROTOCOL_LINE;
		return;
	}
	s->protocol = 1u << sv->protocol;
	protocol = &s->block->directives[conf_schema_find(s->block, "protocol")];
	for (i = 0; i < s->block->n; i++) {
		d = &s->block->directives[i];
		if (s->set[i] != NULL && !conf_schema_belongs(d, s->protocol))
			conf_mistake_word(r->errors, s->set[i], NULL,
					  "'%s' in a service with protocol %s, which has no such directive", d->name,
					  conf_choice_word(protocol->choices, sv->protocol));
	}
}

void
conf_read_service(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		  const struct conf_node *n)
{
	const struct conf_word *key = n->words.first, *name;
	struct conf *conf = r->conf;
	struct conf_service_scope *ss;
	struct conf_service *sv;
	char where[300];
	size_t i;

	(void)s;
	(void)d;
	sv = conf_read_array_add(r, key, &conf->services, sizeof *sv, &conf->nservices, CONF_SERVICES_MAX);
	if (sv == NULL)
		return;
	ss = &r->services[conf->nservices - 1];
	ss->scope = (struct conf_scope){ .block = &conf_schema_service, .base = sv, .node = n };
	sv->origin = conf_read_origin(key);
	sv->protocol = CONF_PROTOCOL_UNKNOWN;
	if ((name = block_name(r, n)) != NULL) {
		for (i = 0; i + 1 < conf->nservices; i++)
			if (conf->services[i].name != NULL &&
			    strcmp(conf->services[i].name, name->text) == 0)
				conf_mistake_word(r->errors, name, NULL,
						  "service '%s' again; expected "
						  "another name, for the first is %s",
						  name->text,
						  conf_read_where(name, &conf->services[i].origin,
								  where, sizeof where));
		sv->name = conf_arena_str(r->arena, name->text);
	}
	conf_read_block(r, &ss->scope, &n->block);
	find_protocol(r, &ss->scope, sv);
	conf_read_defaults(r, &ss->scope);
	conf_read_required(r, &ss->scope);
	if (sv->protocol == CONF_PROTOCOL_EXEC)
		conf_read_finish_exec(r, sv);
	for (i = 0; i < sv->nlistens; i++)
		if ((ss->modeless & 1u << i) != 0)
			sv->listens[i].mode = conf_schema_listen_mode(sv->protocol);
}

/* Says why the address cannot be read. */
static void
report_address(struct conf_reader *r, const struct conf_word *w, enum conf_value v)
{
	static const char forms[] = "IPV4:PORT, [IPV6]:PORT or unix:/PATH";
	char meant[SHOWN + 16];
	const char *t = w->text, *colon = strrchr(t, ':');

	*meant = '\0';
	if (t[0] == '*' && t[1] == ':')
		snprintf(meant, sizeof meant, "0.0.0.0%.*s", SHOWN, t + 1);
	else if (v == CONF_V_HOST && strncmp(t, "localhost:", 10) == 0)
		snprintf(meant, sizeof meant, "127.0.0.1%.*s", SHOWN, t + 9);
	else if (v == CONF_V_BRACKET)
		snprintf(meant, sizeof meant, "[%.*s]%.*s",
			 (int)(colon - t < SHOWN ? colon - t : SHOWN), t, 8, colon);
	switch (v) {
	case CONF_V_HOST:
		conf_mistake_word(r->errors, w, *meant ? meant : NULL,
				  "'%.*s' has a name, and names are "
				  "not looked up; expected %s",
				  SHOWN, t, forms);
		return;
	case CONF_V_PORT:
		conf_mistake_word(r->errors, w, NULL,
				  "'%.*s' has no port from 1 to 65535; expected %s", SHOWN, t,
				  forms);
		return;
	case CONF_V_BRACKET:
		conf_mistake_word(r->errors, w, meant,
				  "'%.*s' is an IPv6 address without brackets; "
				  "expected [IPV6]:PORT",
				  SHOWN, t);
		return;
	case CONF_V_LONG:
		conf_mistake_word(r->errors, w, NULL,
				  "a unix path of %zu octets; expected at most %d",
				  strlen(t) - strlen("unix:"), CONF_SOCKET_MAX);
		return;
	case CONF_V_OK:
	case CONF_V_BAD:
	case CONF_V_NO_UNIT:
	case CONF_V_UNIT:
	case CONF_V_LARGE:
		break;
	}
	conf_mistake_word(r->errors, w, *meant ? meant : NULL,
			  "'%.*s' is not an address; expected %s", SHOWN, t, forms);
}

/* Whether another listen has this address; says so. */
static void
check_taken(struct conf_reader *r, const struct conf_word *w, const struct conf_listen *l)
{
	const struct conf *conf = r->conf;
	const struct conf_listen *other;
	char where[300];
	size_t i, k;

	for (i = 0; i < conf->nservices; i++)
		for (k = 0; k < conf->services[i].nlistens; k++) {
			other = &conf->services[i].listens[k];
			if (other == l || other->text == NULL || strcmp(other->text, l->text) != 0)
				continue;
			conf_mistake_word(r->errors, w, NULL,
					  "%s again; expected another address, for "
					  "the first is %s",
					  l->text,
					  conf_read_where(w, &other->origin, where, sizeof where));
			return;
		}
}

/* A mode may be called like a directive: "tls" is both, and behind an address it is the mode. */
static bool
is_choice(const struct conf_choice *c, const char *word)
{
	while (c->word != NULL && strcmp(c->word, word) != 0)
		c++;
	return c->word != NULL;
}

void
conf_read_listen(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		 const struct conf_node *n)
{
	struct conf_service_scope *ss = &r->services[r->conf->nservices - 1];
	struct conf_service *sv = s->base;
	const struct conf_word *w = n->words.first;
	char text[CONF_VALUE_TEXT_MAX];
	struct conf_listen *l;
	enum conf_value v;
	unsigned mode;

	if (n->bad)
		return;
	l = conf_read_array_add(r, w, &sv->listens, sizeof *l, &sv->nlistens, CONF_LISTEN_MAX);
	if (l == NULL)
		return;
	l->mode = CONF_LISTEN_STARTTLS_REQUIRED;
	l->origin = conf_read_origin(w);
	if ((w = conf_read_word(r, w, "an address")) == NULL)
		return;
	if ((v = conf_value_address(span_str(w->text), &l->addr, &l->addr_len)) != CONF_V_OK) {
		report_address(r, w, v);
	} else if ((l->text = conf_arena_str(r->arena, conf_value_address_print(&l->addr, text))) !=
		   NULL) {
		ss->listens[sv->nlistens - 1] = w;
		check_taken(r, w, l);
	}
	if (w->next == NULL || (conf_schema_find(s->block, w->next->text) >= 0 &&
				!is_choice(d->choices, w->next->text))) {
		ss->modeless |= 1u << (sv->nlistens - 1);
	} else {
		w = w->next;
		if (!conf_read_choice(r, w, d->choices, &mode))
			return;
		l->mode = mode;
		if (mode == CONF_LISTEN_PLAIN && l->text != NULL && !conf_value_is_local(&l->addr))
			conf_mistake_word(r->errors, w, NULL,
					  "'plain' on %s, which others can reach; "
					  "expected it on loopback and unix addresses only",
					  l->text);
	}
	conf_read_end(r, s, n, w, NULL);
}

/* Keeps the statement: the block it names may stand behind it. */
void
conf_read_service_tls(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		      const struct conf_node *n)
{
	(void)s;
	(void)d;
	r->services[r->conf->nservices - 1].tls_node = n;
}

/* The tls block that w names; reports when there is none. */
static const struct conf_tls *
find_tls(struct conf_reader *r, const struct conf_word *w)
{
	const struct conf *conf = r->conf;
	struct conf_guess g;
	size_t i;

	conf_guess_init(&g, w->text);
	for (i = 0; i < conf->ntls; i++) {
		if (conf->tls[i].name == NULL)
			continue;
		if (strcmp(conf->tls[i].name, w->text) == 0)
			return &conf->tls[i];
		conf_guess_try(&g, conf->tls[i].name);
	}
	if (!r->incomplete &&
	    (r->top.excused & 1u << conf_schema_find(&conf_schema_top, "tls")) == 0)
		conf_mistake_word(r->errors, w, g.best,
				  "no tls block '%.*s'; expected the name of one in "
				  "this file",
				  SHOWN, w->text);
	return NULL;
}

static void
finish_service(struct conf_reader *r, struct conf_service_scope *ss, struct conf_service *sv)
{
	const struct conf_node *n = ss->tls_node;
	const struct conf_word *w = NULL;
	int mode = conf_schema_find(&conf_schema_tls, "client-certificate");
	struct conf_tls *tls;
	size_t i;

	if (n == NULL || (tls = conf_arena_alloc(r->arena, sizeof *tls)) == NULL)
		return;
	if (!n->bad && (w = conf_read_word(r, n->words.first, "the name of a tls block")) != NULL)
		ss->tls_base = find_tls(r, w);
	if (ss->tls_base != NULL)
		*tls = *ss->tls_base;
	tls->origin = conf_read_origin(n->words.first);
	tls->origins = NULL;
	tls->overridden = 0;
	if (w != NULL && w->next != NULL)
		conf_mistake_word(r->errors, w->next, NULL,
				  "unexpected '%.*s'; expected the end of the "
				  "line, or '{'",
				  SHOWN, w->next->text);
	ss->tls = (struct conf_scope){ .block = &conf_schema_tls, .base = tls, .node = n };
	conf_read_block(r, &ss->tls, &n->block);
	/* the block's responses are for the block's certificates */
	if (ss->tls.set[conf_schema_find(&conf_schema_tls, "certificate")] != NULL &&
	    ss->tls.set[conf_schema_find(&conf_schema_tls, "ocsp")] == NULL)
		tls->nocsp = 0;
	for (i = 0; i < conf_schema_tls.n; i++)
		if (ss->tls.set[i] != NULL)
			tls->overridden |= 1u << i;
	/* public senders may break when they are asked for a certificate: only where somebody said so */
	if (sv->protocol == CONF_PROTOCOL_SMTP && ss->tls_base != NULL && ss->tls.set[mode] == NULL &&
	    r->tls[ss->tls_base - r->conf->tls].set[mode] == NULL) {
		tls->client_certificate = CONF_CC_NONE;
		tls->overridden |= 1u << mode;
	}
	conf_read_finish_names(r, tls);
	sv->tls = tls;
}

void
conf_read_finish_services(struct conf_reader *r)
{
	size_t i;

	for (i = 0; i < r->conf->nservices; i++)
		finish_service(r, &r->services[i], &r->conf->services[i]);
}
