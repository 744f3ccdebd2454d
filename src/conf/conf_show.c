/* conf/conf_show.c - the effective configuration, walked by the schema and written in the file's
 * own grammar. One walk serves both forms that people ask for: text here, JSON in the command. */
#include "conf/conf_read.h"
#include "conf/conf_schema.h"
#include "conf/conf_utf8.h"
#include "conf/conf_value.h"

#include <stdio.h>
#include <string.h>

#define PATH_OCTETS    512 /* "service NAME/tls NAME/name HOST" and a NUL */
#define COMMENT_COLUMN 56  /* origins stand behind it */
#define WORDS_MAX      (CONF_CLIENT_CA_MAX + 4)

struct conf_shower {
	const struct conf *conf;
	conf_item_f *f;
	void *arg;
	const struct conf_block *block;    /* the one being walked */
	const struct conf_origin *origins; /* of it, by directive */
	char path[PATH_OCTETS];
	unsigned depth;
};

static const struct conf_origin by_default;

static const struct conf_origin *
origin_of(const struct conf_shower *sh, const struct conf_directive *d)
{
	return sh->origins != NULL ? &sh->origins[d - sh->block->directives] : &by_default;
}

static int
emit(struct conf_shower *sh, enum conf_item_kind kind, const struct conf_directive *d,
     const char *const *words, size_t n, const struct conf_origin *origin)
{
	struct conf_item item = { .kind = kind,
				  .path = sh->path,
				  .name = d->name,
				  .words = words,
				  .nwords = n,
				  .repeats = (d->flags & CONF_F_REPEAT) != 0,
				  .is_number = d->type == CONF_T_NUMBER,
				  .depth = sh->depth,
				  .origin = origin };

	return sh->f(sh->arg, &item);
}

static int show_block(struct conf_shower *sh, const struct conf_block *block,
		      const struct conf_origin *origins, const void *base, uint32_t which);

/* A block with its braces and the names in front of them. which: the directives that are shown. */
static int
emit_named(struct conf_shower *sh, const struct conf_directive *d, const char *const *names, size_t n,
	   const struct conf_origin *origin, const struct conf_origin *origins, const void *base,
	   uint32_t which)
{
	size_t len = strlen(sh->path);
	int rc;

	if ((rc = emit(sh, CONF_ITEM_OPEN, d, names, n, origin)) != 0)
		return rc;
	snprintf(sh->path + len, sizeof sh->path - len, "%s%s%s%s", len > 0 ? "/" : "", d->name,
		 n > 0 ? " " : "", n > 0 ? names[0] : "");
	sh->depth++;
	rc = show_block(sh, d->block, origins, base, which);
	sh->depth--;
	sh->path[len] = '\0';
	return rc != 0 ? rc : emit(sh, CONF_ITEM_CLOSE, d, names, n, origin);
}

/* name is NULL when the block has none. */
static int
emit_block(struct conf_shower *sh, const struct conf_directive *d, const char *name,
	   const struct conf_origin *origin, const struct conf_origin *origins, const void *base,
	   uint32_t which)
{
	return emit_named(sh, d, &name, name != NULL ? 1 : 0, origin, origins, base, which);
}

static int
show_set(struct conf_shower *sh, const struct conf_directive *d, unsigned set)
{
	const char *words[CONF_DIRECTIVES_MAX];
	size_t i, n = 0;

	for (i = 0; d->choices[i].word != NULL; i++)
		if ((set & d->choices[i].value) != 0)
			words[n++] = d->choices[i].word;
	return emit(sh, CONF_ITEM_VALUE, d, words, n, origin_of(sh, d));
}

static int
show_rate(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	char count[CONF_VALUE_TEXT_MAX], window[CONF_VALUE_TEXT_MAX];
	const char *words[] = { "off", "per", window };
	struct conf_rate rate;

	memcpy(&rate, (const char *)base + d->offset, sizeof rate);
	if (rate.count > 0) {
		snprintf(count, sizeof count, "%llu", (unsigned long long)rate.count);
		conf_value_duration_print(rate.window_ms, window);
		words[0] = count;
	}
	return emit(sh, CONF_ITEM_VALUE, d, words, rate.count > 0 ? 3 : 1, origin_of(sh, d));
}

static int
show_value(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	char text[CONF_VALUE_TEXT_MAX];
	const char *word = text;
	uint32_t number;

	switch (d->type) {
	case CONF_T_HOSTNAME:
	case CONF_T_NAME:
	case CONF_T_STRING:
	case CONF_T_PATH:
		memcpy(&word, (const char *)base + d->offset, sizeof word);
		if (word == NULL)
			return 0;
		break;
	case CONF_T_WORD:
	case CONF_T_SET:
	case CONF_T_NUMBER:
	case CONF_T_SIZE:
	case CONF_T_DURATION:
		memcpy(&number, (const char *)base + d->offset, sizeof number);
		if (d->type == CONF_T_SET)
			return show_set(sh, d, number);
		if (d->type == CONF_T_WORD)
			word = conf_choice_word(d->choices, number);
		else if (d->type == CONF_T_DURATION)
			conf_value_duration_print(number, text);
		else if (d->type == CONF_T_SIZE)
			conf_value_size_print(number, text);
		else
			snprintf(text, sizeof text, "%u", (unsigned)number);
		break;
	case CONF_T_RATE:
		return show_rate(sh, d, base);
	case CONF_T_SPECIAL:
		return d->show(sh, d, base);
	case CONF_T_BLOCK:
		if (d->block == &conf_schema_identity && sh->conf->nmaps == 0 &&
		    sh->conf->impersonate == NULL)
			return 0;
		return emit_block(sh, d, NULL, origin_of(sh, d),
				  d->block == &conf_schema_control ? sh->conf->priv->control : NULL,
				  base, UINT32_MAX);
	}
	return emit(sh, CONF_ITEM_VALUE, d, &word, 1, origin_of(sh, d));
}

static int
show_block(struct conf_shower *sh, const struct conf_block *block,
	   const struct conf_origin *origins, const void *base, uint32_t which)
{
	const struct conf_origin *outer_origins = sh->origins;
	const struct conf_block *outer = sh->block;
	size_t i;
	int rc = 0;

	sh->block = block;
	sh->origins = origins;
	for (i = 0; i < block->n && rc == 0; i++)
		if ((which & 1u << i) != 0)
			rc = show_value(sh, &block->directives[i], base);
	sh->block = outer;
	sh->origins = outer_origins;
	return rc;
}

int
conf_show_log(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf *conf = base;
	const char *words[4];
	size_t n = 0;

	words[n++] = conf->log == CONF_LOG_SYSLOG   ? "syslog"
		     : conf->log == CONF_LOG_STDERR ? "stderr"
						    : "file";
	if (conf->log == CONF_LOG_FILE)
		words[n++] = conf->log_file;
	words[n++] = "format";
	words[n++] = conf_choice_word(conf_choices_log_format, conf->log_format);
	return emit(sh, CONF_ITEM_VALUE, d, words, n, origin_of(sh, d));
}

int
conf_show_tls(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf *conf = base;
	size_t i;
	int rc = 0;

	for (i = 0; i < conf->ntls && rc == 0; i++) {
		const struct conf_tls *t = &conf->tls[i];

		rc = emit_block(sh, d, t->name, &t->origin, t->origins, t, UINT32_MAX);
	}
	return rc;
}

int
conf_show_certificate(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_tls *tls = base;
	size_t i;
	int rc = 0;

	for (i = 0; i < tls->ncerts && rc == 0; i++) {
		const struct conf_cert *c = &tls->certs[i];
		const char *words[5] = { c->certificate };
		size_t n = 1;

		if (c->key != NULL) {
			words[n++] = "key";
			words[n++] = c->key;
		}
		if (c->passphrase != NULL) {
			words[n++] = "passphrase";
			words[n++] = c->passphrase;
		}
		rc = emit(sh, CONF_ITEM_VALUE, d, words, n, &c->origin);
	}
	return rc;
}

int
conf_show_ocsp(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_tls *tls = base;

	if (tls->nocsp == 0)
		return 0;
	return emit(sh, CONF_ITEM_VALUE, d, (const char *const *)tls->ocsp, tls->nocsp, origin_of(sh, d));
}

int
conf_show_client_ca(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_tls *tls = base;

	if (tls->nclient_ca == 0)
		return 0;
	return emit(sh, CONF_ITEM_VALUE, d, (const char *const *)tls->client_ca, tls->nclient_ca,
		    origin_of(sh, d));
}

int
conf_show_client_crl(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	static const char *const none = "none";
	const struct conf_tls *tls = base;

	if (tls->nclient_crl == 0 && (tls->overridden & 1u << (d - sh->block->directives)) == 0)
		return 0;
	if (tls->nclient_crl == 0)
		return emit(sh, CONF_ITEM_VALUE, d, &none, 1, origin_of(sh, d));
	return emit(sh, CONF_ITEM_VALUE, d, (const char *const *)tls->client_crl, tls->nclient_crl,
		    origin_of(sh, d));
}

int
conf_show_name(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_tls *tls = base;
	size_t i;
	int rc = 0;

	for (i = 0; i < tls->nnames && rc == 0; i++) {
		const struct conf_name *n = &tls->names[i];

		rc = emit_named(sh, d, (const char *const *)n->hosts, n->nhosts, &n->origin, n->tls->origins,
				n->tls, n->tls->overridden);
	}
	return rc;
}

int
conf_show_domain(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf *conf = base;

	if (conf->ndomains == 0)
		return 0;
	return emit(sh, CONF_ITEM_VALUE, d, (const char *const *)conf->domains, conf->ndomains, origin_of(sh, d));
}

int
conf_show_postmaster(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf *conf = base;
	const char *word = conf->postmaster;

	return word == NULL ? 0 : emit(sh, CONF_ITEM_VALUE, d, &word, 1, origin_of(sh, d));
}

int
conf_show_users(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf *conf = base;
	const char *words[] = { "file", conf->users_file };

	return words[1] == NULL ? 0 : emit(sh, CONF_ITEM_VALUE, d, words, 2, origin_of(sh, d));
}

int
conf_show_impersonate(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf *conf = base;
	const char *word = conf->impersonate;

	return word == NULL ? 0 : emit(sh, CONF_ITEM_VALUE, d, &word, 1, &conf->impersonate_origin);
}

int
conf_show_map(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf *conf = base;
	size_t i;
	int rc = 0;

	for (i = 0; i < conf->nmaps && rc == 0; i++) {
		const struct conf_map *m = &conf->maps[i];
		const char *words[] = { conf_choice_word(d->choices, m->kind), "from", m->from };

		rc = emit(sh, CONF_ITEM_VALUE, d, words, m->from != NULL ? 3 : 1, &m->origin);
	}
	return rc;
}

/* The directives that a service of this protocol has. */
static uint32_t
of_protocol(const struct conf_block *block, enum conf_protocol protocol)
{
	uint32_t which = 0;
	size_t i;

	for (i = 0; i < block->n; i++)
		if (conf_schema_belongs(&block->directives[i], 1u << protocol))
			which |= 1u << i;
	return which;
}

int
conf_show_service(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf *conf = base;
	size_t i;
	int rc = 0;

	for (i = 0; i < conf->nservices && rc == 0; i++) {
		const struct conf_service *s = &conf->services[i];

		rc = emit_block(sh, d, s->name, &s->origin, s->origins, s, of_protocol(d->block, s->protocol));
	}
	return rc;
}

int
conf_show_listen(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_service *s = base;
	size_t i;
	int rc = 0;

	for (i = 0; i < s->nlistens && rc == 0; i++) {
		const struct conf_listen *l = &s->listens[i];
		const char *words[] = { l->text, conf_choice_word(d->choices, l->mode) };

		rc = emit(sh, CONF_ITEM_VALUE, d, words, 2, &l->origin);
	}
	return rc;
}

int
conf_show_service_tls(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_service *s = base;
	const struct conf_tls *t = s->tls;
	const char *name;

	if (t == NULL)
		return 0;
	name = t->name;
	if (t->overridden == 0)
		return emit(sh, CONF_ITEM_VALUE, d, &name, 1, &t->origin);
	return emit_block(sh, d, name, &t->origin, t->origins, t, t->overridden);
}

/* --- exec ------------------------------------------------------------------------------------- */

static int
show_words(struct conf_shower *sh, const struct conf_directive *d, char *const *words, size_t n)
{
	return n == 0 ? 0 : emit(sh, CONF_ITEM_VALUE, d, (const char *const *)words, n, origin_of(sh, d));
}

int
conf_show_command(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_exec *e = &((const struct conf_service *)base)->exec;

	return show_words(sh, d, e->command, e->ncommand);
}

int
conf_show_environment(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_exec *e = &((const struct conf_service *)base)->exec;

	return show_words(sh, d, e->environment, e->nenvironment);
}

int
conf_show_plaintext(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_exec *e = &((const struct conf_service *)base)->exec;

	return show_words(sh, d, e->plaintext, e->nplaintext);
}

int
conf_show_limit(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_exec *e = &((const struct conf_service *)base)->exec;
	char text[CONF_VALUE_TEXT_MAX];
	unsigned kind;
	int rc = 0;

	for (kind = 0; kind < CONF_LIMITS && rc == 0; kind++) {
		const struct conf_limit *l = &e->limits[kind];
		const char *words[] = { conf_choice_word(conf_choices_limit, kind), text };

		if (!l->set)
			continue;
		if (kind == CONF_LIMIT_CPU)
			conf_value_duration_print(l->value * 1000, text);
		else
			snprintf(text, sizeof text, "%llu", (unsigned long long)l->value);
		rc = emit(sh, CONF_ITEM_VALUE, d, words, 2, &l->origin);
	}
	return rc;
}

int
conf_show_starttls(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_exec *e = &((const struct conf_service *)base)->exec;
	const char *words[] = { e->keyword, "reply", e->reply, "case",
				e->case_sensitive ? "sensitive" : "insensitive", "arguments" };

	return emit(sh, CONF_ITEM_VALUE, d, words, e->arguments ? 6 : 5, origin_of(sh, d));
}

int
conf_show_capability(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_exec *e = &((const struct conf_service *)base)->exec;
	size_t i;
	int rc = 0;

	for (i = 0; i < e->ncapabilities && rc == 0; i++) {
		const struct conf_capability *c = &e->capabilities[i];
		const char *words[] = { c->text, conf_choice_word(conf_choices_place, c->place), c->pattern,
					"to", c->to };

		rc = emit(sh, CONF_ITEM_VALUE, d, words, c->to != NULL ? 5 : 3, &c->origin);
	}
	return rc;
}

int
conf_show_say(struct conf_shower *sh, const struct conf_directive *d, const void *base)
{
	const struct conf_exec *e = &((const struct conf_service *)base)->exec;
	unsigned when;
	int rc = 0;

	for (when = 0; when < CONF_SAY_COUNT && rc == 0; when++) {
		const char *words[] = { conf_choice_word(conf_choices_say, when), e->says[when].text };

		if (e->says[when].text != NULL)
			rc = emit(sh, CONF_ITEM_VALUE, d, words, 2, &e->says[when].origin);
	}
	return rc;
}

int
conf_show_each(const struct conf *conf, conf_item_f *f, void *arg)
{
	struct conf_shower sh = { .conf = conf, .f = f, .arg = arg };

	return show_block(&sh, &conf_schema_top, conf->priv->top, conf, UINT32_MAX);
}

/* Whether a word would not read back as itself without quotes. */
static bool
needs_quotes(const char *w)
{
	size_t n = strlen(w);

	return n == 0 || strpbrk(w, " \t\"\\{}$") != NULL || w[0] == '#' || w[0] == '\'' ||
	       w[n - 1] == ';';
}

static int
print_word(struct buf *out, const char *w)
{
	int rc;

	if (!needs_quotes(w))
		return buf_append_str(out, w);
	if ((rc = buf_append(out, "\"", 1)) != 0)
		return rc;
	for (; *w != '\0' && rc == 0; w++) {
		if (*w == '"' || *w == '\\')
			rc = buf_append(out, "\\", 1);
		if (rc == 0)
			rc = buf_append(out, w, 1);
	}
	return rc != 0 ? rc : buf_append(out, "\"", 1);
}

struct printer {
	struct buf *out;
	bool origins;
};

static int
print_origin(struct buf *out, size_t width, const struct conf_origin *o)
{
	int rc, pad = width < COMMENT_COLUMN ? (int)(COMMENT_COLUMN - width) : 1;

	if ((rc = buf_printf(out, "%*s# ", pad, "")) != 0)
		return rc;
	if (o->file == NULL)
		return buf_append_str(out, "default");
	if ((rc = conf_utf8_print(out, o->file)) != 0)
		return rc;
	return buf_printf(out, ":%u", o->line);
}

static int
print_item(void *arg, const struct conf_item *item)
{
	struct printer *p = arg;
	size_t i, before = buf_size(p->out);
	int rc;

	if ((rc = buf_printf(p->out, "%*s%s", (int)item->depth * 4, "",
			     item->kind == CONF_ITEM_CLOSE ? "}" : item->name)) != 0)
		return rc;
	for (i = 0; i < item->nwords && item->kind != CONF_ITEM_CLOSE; i++)
		if ((rc = buf_append(p->out, " ", 1)) != 0 ||
		    (rc = print_word(p->out, item->words[i])) != 0)
			return rc;
	if (item->kind == CONF_ITEM_OPEN && (rc = buf_append_str(p->out, " {")) != 0)
		return rc;
	if (p->origins && item->kind != CONF_ITEM_CLOSE &&
	    (rc = print_origin(p->out, buf_size(p->out) - before, item->origin)) != 0)
		return rc;
	return buf_append(p->out, "\n", 1);
}

int
conf_show(const struct conf *conf, bool origins, struct buf *out)
{
	struct printer p = { out, origins };

	return conf_show_each(conf, print_item, &p);
}
