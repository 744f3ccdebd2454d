/* conf/conf_read.c - walks statements and the schema together: finds the directive, checks that it
 * may stand there, reads the types of the tables, fills in defaults and origins. */
#include "conf/conf_read.h"

#include "conf/conf_utf8.h"
#include "conf/conf_value.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SHOWN   CONF_TEXT_SHOWN
#define OUTSIDE "the file, outside of blocks"

/* Appends "item", ", item" or " or item" to a list for a message. */
static void
list_add(char *out, size_t cap, size_t i, size_t n, const char *item)
{
	size_t len = strlen(out);

	snprintf(out + len, cap - len, "%s%s", i == 0 ? "" : i + 1 < n ? ", " : " or ", item);
}

struct conf_origin
conf_read_origin(const struct conf_word *w)
{
	return (struct conf_origin){ w->pos.file->name, w->pos.line, w->pos.column };
}

const char *
conf_read_where(const struct conf_word *w, const struct conf_origin *first, char *out, size_t cap)
{
	if (strcmp(w->pos.file->name, first->file) == 0)
		snprintf(out, cap, "on line %u", first->line);
	else
		snprintf(out, cap, "at %s:%u", first->file, first->line);
	return out;
}

const struct conf_word *
conf_read_word(struct conf_reader *r, const struct conf_word *before, const char *what)
{
	if (before->next == NULL)
		conf_mistake_word(r->errors, before, NULL, "nothing behind '%.*s'; expected %s",
				  SHOWN, before->text, what);
	return before->next;
}

/* A service's, as far as it has been read. */
static unsigned
protocol_of(const struct conf_scope *s)
{
	const struct conf_service *sv = s->base;

	return s->block == &conf_schema_service && sv->protocol != CONF_PROTOCOL_UNKNOWN ? 1u << sv->protocol : 0;
}

void
conf_read_end(struct conf_reader *r, struct conf_scope *s, const struct conf_node *n,
	      const struct conf_word *w, const char *keyword)
{
	struct conf_guess g;
	int i;

	if (w->next != NULL && (i = conf_schema_find(s->block, w->next->text)) >= 0 &&
	    conf_schema_belongs(&s->block->directives[i], protocol_of(s))) {
		s->excused |= 1u << i;
		conf_mistake_word(r->errors, w->next, NULL,
				  "unexpected '%s'; expected each directive "
				  "on a line of its own",
				  w->next->text);
	} else if (w->next != NULL) {
		conf_guess_init(&g, w->next->text);
		if (keyword != NULL)
			conf_guess_try(&g, keyword);
		conf_mistake_word(r->errors, w->next, g.best,
				  "unexpected '%.*s'; expected %s%s%s"
				  "the end of the line",
				  SHOWN, w->next->text, keyword != NULL ? "'" : "",
				  keyword != NULL ? keyword : "", keyword != NULL ? "' or " : "");
	} else if (n->brace != NULL) {
		conf_mistake(r->errors, &n->brace->pos, NULL, "'%.*s' with a block; expected none",
			     SHOWN, n->words.first->text);
	}
}

bool
conf_read_has_block(struct conf_reader *r, const struct conf_node *n)
{
	if (n->brace == NULL)
		conf_mistake_word(r->errors, n->words.last, NULL,
				  "'%.*s' without a block; expected '{'", SHOWN,
				  n->words.first->text);
	return n->brace != NULL;
}

char *
conf_read_path(struct conf_reader *r, const struct conf_word *w, uint32_t max)
{
	const char *dir = w->pos.file->dir;
	size_t len = strlen(w->text);
	bool relative = w->text[0] != '/';
	char *path;

	if (len == 0) {
		conf_mistake_word(r->errors, w, NULL, "an empty path; expected the name of a file");
		return NULL;
	}
	if (relative && dir == NULL) {
		conf_mistake_word(r->errors, w, NULL,
				  "'%.*s' is a relative path; expected one that "
				  "begins with '/'",
				  SHOWN, w->text);
		return NULL;
	}
	if (relative)
		len += strlen(dir) + (strcmp(dir, "/") != 0);
	if (len > max) {
		conf_mistake_word(r->errors, w, NULL, "a path of %zu octets; expected at most %u",
				  len, (unsigned)max);
		return NULL;
	}
	if (!relative)
		return conf_arena_str(r->arena, w->text);
	path =
	    conf_arena_printf(r->arena, "%s%s%s", dir, strcmp(dir, "/") != 0 ? "/" : "", w->text);
	if (path != NULL && !conf_utf8_is_text(path)) {
		/* conf_show() could not write it down */
		conf_mistake_word(r->errors, w, NULL,
				  "a path within a folder whose name is no text; "
				  "expected UTF-8 without control octets");
		return NULL;
	}
	return path;
}

bool
conf_read_choice(struct conf_reader *r, const struct conf_word *w, const struct conf_choice *c,
		 unsigned *out)
{
	char list[200] = "";
	struct conf_guess g;
	size_t i, n;

	conf_guess_init(&g, w->text);
	for (n = 0; c[n].word != NULL; n++) {
		if (strcmp(c[n].word, w->text) == 0) {
			*out = c[n].value;
			return true;
		}
		conf_guess_try(&g, c[n].word);
	}
	for (i = 0; i < n; i++)
		list_add(list, sizeof list, i, n, c[i].word);
	conf_mistake_word(r->errors, w, g.best, "unknown word '%.*s'; expected %s", SHOWN, w->text,
			  list);
	return false;
}

static void
store(struct conf_scope *s, const struct conf_directive *d, const void *value, size_t octets)
{
	memcpy((char *)s->base + d->offset, value, octets);
}

static void
read_number(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	    const struct conf_word *w)
{
	const char *or_auto = d->flags & CONF_F_AUTO ? "auto or " : "";
	enum conf_value v;
	uint64_t n;
	uint32_t v32;
	long cpus;

	if (d->flags & CONF_F_AUTO && strcmp(w->text, "auto") == 0) {
		cpus = sysconf(_SC_NPROCESSORS_ONLN);
		n = cpus < (long)d->min ? d->min : cpus > (long)d->max ? d->max : (uint64_t)cpus;
	} else if ((v = conf_value_number(span_str(w->text), &n)) == CONF_V_BAD) {
		conf_mistake_word(r->errors, w, NULL, "'%.*s' is not a number; expected %s%u to %u",
				  SHOWN, w->text, or_auto, (unsigned)d->min, (unsigned)d->max);
		return;
	} else if (v != CONF_V_OK || n < d->min || n > d->max) {
		conf_mistake_word(r->errors, w, NULL, "'%.*s' is out of range; expected %s%u to %u",
				  SHOWN, w->text, or_auto, (unsigned)d->min, (unsigned)d->max);
		return;
	}
	v32 = (uint32_t)n;
	store(s, d, &v32, sizeof v32);
}

static void
read_size(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	  const struct conf_word *w)
{
	char min[CONF_VALUE_TEXT_MAX], max[CONF_VALUE_TEXT_MAX];
	uint64_t n = 0;
	enum conf_value v = conf_value_size(span_str(w->text), &n);
	uint32_t v32 = (uint32_t)n;

	if (v == CONF_V_OK && n >= d->min && n <= d->max) {
		store(s, d, &v32, sizeof v32);
		return;
	}
	conf_mistake_word(r->errors, w, NULL, "'%.*s' %s; expected octets from %s to %s, with K, M or G behind the number",
			  SHOWN, w->text, v == CONF_V_BAD ? "is not a size" : "is out of range",
			  conf_value_size_print(d->min, min), conf_value_size_print(d->max, max));
}

static void
read_duration(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	      const struct conf_word *w)
{
	char min[CONF_VALUE_TEXT_MAX], max[CONF_VALUE_TEXT_MAX], meant[SHOWN + 2];
	const char *what;
	enum conf_value v;
	uint64_t ms = 0;
	uint32_t v32;

	v = conf_value_duration(span_str(w->text), &ms);
	if (v == CONF_V_OK && ms >= d->min && ms <= d->max) {
		v32 = (uint32_t)ms;
		store(s, d, &v32, sizeof v32);
		return;
	}
	conf_value_duration_print(d->min, min);
	conf_value_duration_print(d->max, max);
	what = v == CONF_V_NO_UNIT ? "has no unit"
	       : v == CONF_V_UNIT  ? "has an unknown unit"
	       : v == CONF_V_BAD   ? "is not a time"
				   : "is out of range";
	snprintf(meant, sizeof meant, "%.*ss", SHOWN, w->text);
	if (v == CONF_V_OK || v == CONF_V_LARGE)
		conf_mistake_word(r->errors, w, NULL, "'%.*s' %s; expected %s to %s", SHOWN,
				  w->text, what, min, max);
	else
		conf_mistake_word(
		    r->errors, w, v == CONF_V_NO_UNIT ? meant : NULL,
		    "'%.*s' %s; expected a number and ms, s, m, h or d, from %s to %s", SHOWN,
		    w->text, what, min, max);
}

static void
read_text(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	  const struct conf_word *w)
{
	size_t len = strlen(w->text);
	char *text;

	if (d->type == CONF_T_HOSTNAME && !conf_value_is_hostname(span_str(w->text))) {
		conf_mistake_word(r->errors, w, NULL,
				  "'%.*s' is not a host name; expected letters, "
				  "digits and '-', in parts with '.' between",
				  SHOWN, w->text);
		return;
	}
	if (len < d->min || len > d->max) {
		conf_mistake_word(r->errors, w, NULL, "a text of %zu octets; expected %u to %u",
				  len, (unsigned)(d->min > 0 ? d->min : 1), (unsigned)d->max);
		return;
	}
	if (d->type == CONF_T_NAME && !conf_value_is_name(span_str(w->text))) {
		conf_mistake_word(r->errors, w, NULL,
				  "'%.*s' is not a name; expected letters, digits, "
				  "'.', '_' and '-', a letter or digit first",
				  SHOWN, w->text);
		return;
	}
	text = conf_arena_str(r->arena, w->text);
	store(s, d, &text, sizeof text);
}

/* Takes as many words as are choices; returns the last one. */
static const struct conf_word *
read_set(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	 const struct conf_word *w)
{
	unsigned set = 0, bit;

	for (;; w = w->next) {
		if (conf_read_choice(r, w, d->choices, &bit) && (set & bit) != 0)
			conf_mistake_word(r->errors, w, NULL,
					  "'%.*s' again; expected each word once", SHOWN, w->text);
		else
			set |= bit;
		if (w->next == NULL)
			break;
	}
	store(s, d, &set, sizeof set);
	return w;
}

/* "off", or three words; returns the last one that belongs to it, NULL when one is missing. */
static const struct conf_word *
read_rate(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	  const struct conf_word *w)
{
	const struct conf_word *count = w, *per;
	struct conf_rate rate = { 0, 0 };
	enum conf_value v;

	if (strcmp(w->text, "off") == 0) {
		store(s, d, &rate, sizeof rate);
		return w;
	}
	v = conf_value_number(span_str(count->text), &rate.count);
	if (v != CONF_V_OK || rate.count < d->min || rate.count > d->max) {
		conf_mistake_word(r->errors, count, NULL,
				  "'%.*s' %s; expected off or %u to %u, 'per' and a time", SHOWN,
				  count->text, v == CONF_V_BAD ? "is not a number" : "is out of range",
				  (unsigned)d->min, (unsigned)d->max);
		return NULL;
	}
	if ((per = conf_read_word(r, count, "'per' and a time")) == NULL)
		return NULL;
	if (strcmp(per->text, "per") != 0)
		conf_mistake_word(r->errors, per, NULL, "unexpected '%.*s'; expected 'per' and a time",
				  SHOWN, per->text);
	if ((w = conf_read_word(r, per, "a time such as 30s or 10m")) == NULL)
		return NULL;
	if (conf_value_rate(span_str("1"), span_str("per"), span_str(w->text), &rate) != CONF_V_OK ||
	    rate.window_ms > CONF_DAY_MS) {
		conf_mistake_word(r->errors, w, NULL,
				  "'%.*s' is no such time; expected a number and ms, s, m, h or "
				  "d, from 1ms to 1d",
				  SHOWN, w->text);
		return w;
	}
	if (conf_value_number(span_str(count->text), &rate.count) == CONF_V_OK)
		store(s, d, &rate, sizeof rate);
	return w;
}

static const char *
expected(const struct conf_directive *d)
{
	switch (d->type) {
	case CONF_T_HOSTNAME:
		return "a host name";
	case CONF_T_NAME:
		return "a name";
	case CONF_T_PATH:
		return "a path";
	case CONF_T_NUMBER:
		return d->flags & CONF_F_AUTO ? "auto or a number" : "a number";
	case CONF_T_SIZE:
		return "a size such as 50M";
	case CONF_T_DURATION:
		return "a time such as 500ms, 30s or 10m";
	case CONF_T_RATE:
		return "off, or a rate such as 3 per 10m";
	case CONF_T_STRING:
		return "a string";
	case CONF_T_WORD:
	case CONF_T_SET:
	case CONF_T_SPECIAL:
	case CONF_T_BLOCK:
		break;
	}
	return d->args;
}

static struct conf_scope *
scope_of(struct conf_reader *r, const struct conf_directive *d)
{
	return d->block == &conf_schema_control ? &r->control : &r->identity;
}

static void
read_value(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	   const struct conf_node *n)
{
	const struct conf_word *w = conf_read_word(r, n->words.first, expected(d));
	unsigned value;
	char *path;

	if (w == NULL)
		return;
	switch (d->type) {
	case CONF_T_WORD:
		if (conf_read_choice(r, w, d->choices, &value))
			store(s, d, &value, sizeof value);
		break;
	case CONF_T_SET:
		w = read_set(r, s, d, w);
		break;
	case CONF_T_HOSTNAME:
	case CONF_T_NAME:
	case CONF_T_STRING:
		read_text(r, s, d, w);
		break;
	case CONF_T_PATH:
		if ((path = conf_read_path(r, w, d->max)) != NULL)
			store(s, d, &path, sizeof path);
		break;
	case CONF_T_NUMBER:
		read_number(r, s, d, w);
		break;
	case CONF_T_SIZE:
		read_size(r, s, d, w);
		break;
	case CONF_T_DURATION:
		read_duration(r, s, d, w);
		break;
	case CONF_T_RATE:
		if ((w = read_rate(r, s, d, w)) == NULL)
			return;
		break;
	case CONF_T_SPECIAL:
	case CONF_T_BLOCK:
		break;
	}
	conf_read_end(r, s, n, w, NULL);
}

static void
read_plain_block(struct conf_reader *r, const struct conf_directive *d, const struct conf_node *n)
{
	struct conf_scope *inner = scope_of(r, d);

	inner->node = n;
	if (n->words.first->next != NULL)
		conf_mistake_word(r->errors, n->words.first->next, NULL,
				  "unexpected '%.*s'; expected '{'", SHOWN,
				  n->words.first->next->text);
	else if (!conf_read_has_block(r, n))
		return;
	conf_read_block(r, inner, &n->block);
}

/* The block that knows the directive, when it is not this one; NULL: none does. */
static const struct conf_block *
belongs_to(const char *name)
{
	static const struct conf_block *const blocks[] = { &conf_schema_top, &conf_schema_service,
							   &conf_schema_tls, &conf_schema_control,
							   &conf_schema_identity };
	size_t i;

	for (i = 0; i < PT_COUNT(blocks); i++)
		if (conf_schema_find(blocks[i], name) >= 0)
			return blocks[i];
	return NULL;
}

static bool
opens_block(const struct conf_block *b, const char *name)
{
	return b->directives[conf_schema_find(b, name)].block != NULL;
}

static void
report_unknown(struct conf_reader *r, struct conf_scope *s, const struct conf_word *w)
{
	const struct conf_block *b = s->block, *home = belongs_to(w->text);
	size_t i, k = 0, n = 0;
	char list[500] = "";
	struct conf_guess g;

	conf_guess_init(&g, w->text);
	for (i = 0; i < b->n; i++)
		n += conf_schema_belongs(&b->directives[i], protocol_of(s));
	for (i = 0; i < b->n; i++) {
		if (conf_schema_belongs(&b->directives[i], protocol_of(s)))
			list_add(list, sizeof list, k++, n, b->directives[i].name);
		conf_guess_try(&g, b->directives[i].name);
	}
	if (home != NULL) {
		conf_mistake_word(r->errors, w, NULL, "'%s' in %s; expected it in %s", w->text,
				  s->node != NULL ? b->name : OUTSIDE,
				  home != &conf_schema_top     ? home->name
				  : opens_block(home, w->text) ? OUTSIDE
				      ", behind the '}' of this one"
							       : OUTSIDE);
		return;
	}
	if (g.best != NULL)
		s->excused |= 1u << conf_schema_find(b, g.best);
	conf_mistake_word(r->errors, w, g.best, "unknown directive '%.*s'; expected %s", SHOWN,
			  w->text, list);
}

static void
read_directive(struct conf_reader *r, struct conf_scope *s, const struct conf_node *n)
{
	const struct conf_word *w = n->words.first;
	const struct conf_directive *d;
	struct conf_origin first;
	char where[300];
	int i;

	if (w == NULL || w->bad)
		return;
	if ((i = conf_schema_find(s->block, w->text)) < 0) {
		report_unknown(r, s, w);
		return;
	}
	d = &s->block->directives[i];
	if (s->set[i] != NULL && (d->flags & CONF_F_REPEAT) == 0) {
		first = conf_read_origin(s->set[i]);
		conf_mistake_word(r->errors, w, NULL,
				  "'%s' again; expected it once, and the first is %s", w->text,
				  conf_read_where(w, &first, where, sizeof where));
		return;
	}
	if (s->set[i] == NULL)
		s->set[i] = w;
	if (d->type == CONF_T_SPECIAL)
		d->read(r, s, d, n);
	else if (d->type == CONF_T_BLOCK)
		read_plain_block(r, d, n);
	else if (!n->bad)
		read_value(r, s, d, n);
}

void
conf_read_block(struct conf_reader *r, struct conf_scope *s, const struct conf_list *list)
{
	const struct conf_node *n;

	for (n = list->first; n != NULL; n = n->next)
		read_directive(r, s, n);
}

/* The words of a default as if they stood in a file, "name value ..."; a path is one word whatever
 * is in it. */
static const struct conf_node *
default_node(struct conf_reader *r, const struct conf_directive *d, const char *def)
{
	struct conf_file *file = conf_arena_alloc(r->scratch, sizeof *file);
	struct conf_node *n = conf_arena_alloc(r->scratch, sizeof *n);
	char *line = conf_arena_printf(r->scratch, "%s %s", d->name, def);
	size_t at = 0, len;
	struct conf_word *w;

	if (file == NULL || n == NULL || line == NULL)
		return NULL;
	*file =
	    (struct conf_file){ .name = "default", .text = (uint8_t *)line, .len = strlen(line) };
	file->index = UINT_MAX; /* behind all that people wrote */
	while (at < file->len) {
		len = at > 0 && d->type == CONF_T_PATH ? file->len - at : strcspn(line + at, " ");
		if ((w = conf_arena_alloc(r->scratch, sizeof *w)) == NULL ||
		    (w->text = conf_arena_strn(r->scratch, line + at, len)) == NULL)
			return NULL;
		w->pos = (struct conf_pos){ file, at, 1, (unsigned)at + 1, (unsigned)len };
		if (n->words.first == NULL)
			n->words.first = w;
		else
			n->words.last->next = w;
		n->words.last = w;
		at += len + 1;
	}
	return n;
}

void
conf_read_defaults(struct conf_reader *r, struct conf_scope *s)
{
	const struct conf_directive *d;
	const struct conf_node *n;
	bool mail;

	for (d = s->block->directives; d < s->block->directives + s->block->n; d++) {
		if (d->def == NULL || s->set[d - s->block->directives] != NULL ||
		    !conf_schema_belongs(d, s->protocol))
			continue;
		mail = d->mail_def != NULL && (s->protocol & CONF_PROTOCOLS_MAIL) != 0;
		if ((n = default_node(r, d, mail ? d->mail_def : d->def)) == NULL)
			return;
		if (d->type == CONF_T_SPECIAL)
			d->read(r, s, d, n);
		else
			read_value(r, s, d, n);
	}
}

void
conf_read_required(struct conf_reader *r, struct conf_scope *s)
{
	const struct conf_word *w = s->node->words.first;
	const struct conf_directive *d;
	size_t i;

	if (r->incomplete || s->node->brace == NULL || s->node->brace->unclosed)
		return;
	for (i = 0; i < s->block->n; i++) {
		d = &s->block->directives[i];
		if ((d->flags & CONF_F_REQUIRED) != 0 && s->set[i] == NULL && conf_schema_belongs(d, s->protocol) &&
		    (s->excused & 1u << i) == 0)
			conf_mistake_word(r->errors, w, NULL,
					  "%s without '%s'; expected '%s %s' in it", s->block->name,
					  d->name, d->name, d->args);
	}
}

/* The machine's own name, when it is one that could stand in the file. */
static bool
default_hostname(struct conf_reader *r)
{
	char name[254] = "";

	if (r->conf->hostname != NULL)
		return true;
	if (gethostname(name, sizeof name - 1) != 0 || !conf_value_is_hostname(span_str(name)))
		strcpy(name, "localhost");
	return (r->conf->hostname = conf_arena_str(r->arena, name)) != NULL;
}

struct conf_origin *
conf_read_origins(struct conf_reader *r, const struct conf_scope *s)
{
	struct conf_origin *o = conf_arena_alloc(r->arena, s->block->n * sizeof *o);
	size_t i;

	for (i = 0; o != NULL && i < s->block->n; i++)
		if (s->set[i] != NULL)
			o[i] = conf_read_origin(s->set[i]);
	return o;
}

/* An effective tls block of a service: an override's origin is here, the others' in the block. */
static void
service_origins(struct conf_reader *r, struct conf_service_scope *ss, struct conf_service *sv)
{
	size_t i;

	sv->origins = conf_read_origins(r, &ss->scope);
	if (sv->tls == NULL || (sv->tls->origins = conf_read_origins(r, &ss->tls)) == NULL)
		return;
	for (i = 0; i < conf_schema_tls.n; i++)
		if (ss->tls.set[i] == NULL && ss->tls_base != NULL)
			sv->tls->origins[i] = ss->tls_base->origins[i];
}

static void
fill_origins(struct conf_reader *r)
{
	size_t i;

	r->conf->priv->top = conf_read_origins(r, &r->top);
	r->conf->priv->control = conf_read_origins(r, &r->control);
	for (i = 0; i < r->conf->ntls; i++)
		r->conf->tls[i].origins = conf_read_origins(r, &r->tls[i]);
	for (i = 0; i < r->conf->nservices && !r->arena->failed; i++)
		service_origins(r, &r->services[i], &r->conf->services[i]);
}

bool
conf_read(struct conf *conf, struct conf_parse *ps, struct conf_errors *errors)
{
	struct conf_reader *r = conf_arena_alloc(&ps->tree, sizeof *r);

	if (r == NULL)
		return false;
	r->conf = conf;
	r->arena = &conf->priv->arena;
	r->scratch = &ps->tree;
	r->errors = errors;
	r->incomplete = ps->incomplete;
	r->top = (struct conf_scope){ .block = &conf_schema_top, .base = conf };
	r->control = (struct conf_scope){ .block = &conf_schema_control, .base = conf };
	r->identity = (struct conf_scope){ .block = &conf_schema_identity, .base = conf };
	conf_read_block(r, &r->top, &ps->statements);
	conf_read_defaults(r, &r->top);
	conf_read_defaults(r, &r->control);
	if (r->arena->failed || r->scratch->failed || !default_hostname(r))
		return false;
	conf_read_finish_services(r);
	if (r->arena->failed || r->scratch->failed)
		return false;
	conf_check(r);
	fill_origins(r);
	return !r->arena->failed && !r->scratch->failed && !conf_errors_nomem(errors);
}
