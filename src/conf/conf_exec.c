/* conf/conf_exec.c - directives of exec services: the program, how it is run, and what is said around it. */
#include "conf/conf_read.h"

#include "conf/conf_value.h"

#include <stdio.h>
#include <string.h>

#define SHOWN CONF_TEXT_SHOWN

const struct conf_choice conf_choices_limit[] = {
	{ "cpu", CONF_LIMIT_CPU },
	{ "memory", CONF_LIMIT_MEMORY },
	{ "files", CONF_LIMIT_FILES },
	{ "file-size", CONF_LIMIT_FILE_SIZE },
	{ "processes", CONF_LIMIT_PROCESSES },
	{ NULL, 0 },
};

const struct conf_choice conf_choices_place[] = {
	{ "before", CONF_PLACE_BEFORE },
	{ "after", CONF_PLACE_AFTER },
	{ "append", CONF_PLACE_APPEND },
	{ NULL, 0 },
};

const struct conf_choice conf_choices_say[] = {
#define CONF_SAY_CHOICE(name, word) { word, CONF_SAY_##name },
	CONF_SAYS(CONF_SAY_CHOICE)
#undef CONF_SAY_CHOICE
	{ NULL, 0 },
};

static const struct conf_choice choices_case[] = {
	{ "sensitive", true },
	{ "insensitive", false },
	{ NULL, 0 },
};

/* --- what several of them have ---------------------------------------------------------------- */

/* A text that is one line, or a pattern of one. NULL: reported, or out of memory. */
static char *
read_line(struct conf_reader *r, const struct conf_word *w, bool may_be_empty)
{
	size_t n = strlen(w->text);

	if (n > CONF_EXEC_TEXT_MAX || (n == 0 && !may_be_empty)) {
		conf_mistake_word(r->errors, w, NULL, "a text of %zu octets; expected %u to %u", n,
				  may_be_empty ? 0u : 1u, CONF_EXEC_TEXT_MAX);
		return NULL;
	}
	return conf_arena_str(r->arena, w->text);
}

/* All words of the statement, max in all statements of that name. */
static void
read_words(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	   const struct conf_node *n, char ***words, size_t *nwords, size_t max, const char *what,
	   char *(*read)(struct conf_reader *r, const struct conf_word *w))
{
	const struct conf_word *key = n->words.first, *w = key;
	char **word;

	(void)d;
	if (n->bad)
		return;
	do {
		if ((w = conf_read_word(r, w, what)) == NULL ||
		    (word = conf_read_array_add(r, key, words, sizeof *word, nwords, max)) == NULL)
			return;
		if ((*word = read(r, w)) == NULL)
			return;
	} while (w->next != NULL);
	conf_read_end(r, s, n, w, NULL);
}

/* --- the program ------------------------------------------------------------------------------ */

static char *
read_argument(struct conf_reader *r, const struct conf_word *w)
{
	if (strlen(w->text) <= CONF_PATH_MAX)
		return conf_arena_str(r->arena, w->text);
	conf_mistake_word(r->errors, w, NULL, "an argument of %zu octets; expected at most %u",
			  strlen(w->text), CONF_PATH_MAX);
	return NULL;
}

void
conf_read_command(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		  const struct conf_node *n)
{
	struct conf_exec *e = &((struct conf_service *)s->base)->exec;
	const struct conf_word *program = n->words.first->next;

	read_words(r, s, d, n, &e->command, &e->ncommand, CONF_EXEC_ARGS_MAX, "a program", read_argument);
	/* never looked up in a PATH: the program is that one and no other */
	if (!n->bad && program != NULL && e->ncommand > 0)
		e->command[0] = conf_read_path(r, program, CONF_PATH_MAX);
}

/* Names that say who the client is, and those that change what a program is before it begins. */
static bool
is_reserved(const char *name)
{
	static const char *const prefixes[] = { "POSTERN_", "SSL_", "TLS_", "TCP", "UNIX", "LD_", "GCONV_PATH=",
		"PROTO=" };
	size_t i;

	for (i = 0; i < PT_COUNT(prefixes); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static char *
read_variable(struct conf_reader *r, const struct conf_word *w)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
	size_t n = strspn(w->text, letters);

	if (n == 0 || w->text[n] != '=' || (w->text[0] >= '0' && w->text[0] <= '9')) {
		conf_mistake_word(r->errors, w, NULL,
				  "'%.*s' is not a variable; expected NAME=VALUE, the name of letters, "
				  "digits and '_'",
				  SHOWN, w->text);
		return NULL;
	}
	if (is_reserved(w->text)) {
		conf_mistake_word(r->errors, w, NULL,
				  "'%.*s' is a variable that the server sets, or that nobody may; expected "
				  "another",
				  (int)(n < SHOWN ? n : SHOWN), w->text);
		return NULL;
	}
	return read_argument(r, w);
}

void
conf_read_environment(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		      const struct conf_node *n)
{
	struct conf_exec *e = &((struct conf_service *)s->base)->exec;

	read_words(r, s, d, n, &e->environment, &e->nenvironment, CONF_EXEC_ENVIRONMENT_MAX, "NAME=VALUE",
		   read_variable);
}

/* A number of octets: digits, and K, M or G for 1024, its square and its cube. */
static bool
read_octets(const char *text, uint64_t *out)
{
	static const char units[] = "KMG";
	size_t digits = strspn(text, "0123456789"), i;
	const char *unit;
	uint64_t n = 0;

	if (digits == 0 || digits > 12 || (text[digits] != '\0' && text[digits + 1] != '\0'))
		return false;
	for (i = 0; i < digits; i++)
		n = n * 10 + (uint64_t)(text[i] - '0');
	if (text[digits] != '\0') {
		if ((unit = strchr(units, text[digits])) == NULL)
			return false;
		n <<= 10 * (unit - units + 1);
	}
	*out = n;
	return true;
}

static bool
read_limit_value(enum conf_limit_kind kind, const char *text, uint64_t *out)
{
	switch (kind) {
	case CONF_LIMIT_CPU:
		if (conf_value_duration(span_str(text), out) != CONF_V_OK || *out < 1000 || *out % 1000 != 0)
			return false;
		*out /= 1000;
		return true;
	case CONF_LIMIT_MEMORY:
	case CONF_LIMIT_FILE_SIZE:
		return read_octets(text, out);
	case CONF_LIMIT_FILES:
		return conf_value_number(span_str(text), out) == CONF_V_OK && *out >= 3 && *out <= 1000000;
	case CONF_LIMIT_PROCESSES:
		return conf_value_number(span_str(text), out) == CONF_V_OK && *out >= 1 && *out <= 1000000;
	}
	return false;
}

void
conf_read_limit(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		const struct conf_node *n)
{
	static const char *const forms[] = {
		[CONF_LIMIT_CPU] = "a time of whole seconds, as 10s",
		[CONF_LIMIT_MEMORY] = "octets, with K, M or G: 512M",
		[CONF_LIMIT_FILES] = "a number from 3 to 1000000",
		[CONF_LIMIT_FILE_SIZE] = "octets, with K, M or G: 512M",
		[CONF_LIMIT_PROCESSES] = "a number from 1 to 1000000",
	};
	struct conf_exec *e = &((struct conf_service *)s->base)->exec;
	const struct conf_word *w;
	unsigned kind;
	uint64_t value;

	if (n->bad || (w = conf_read_word(r, n->words.first, d->args)) == NULL ||
	    !conf_read_choice(r, w, conf_choices_limit, &kind) || (w = conf_read_word(r, w, forms[kind])) == NULL)
		return;
	if (!read_limit_value((enum conf_limit_kind)kind, w->text, &value)) {
		conf_mistake_word(r->errors, w, NULL, "'%.*s' is no limit of that kind; expected %s", SHOWN,
				  w->text, forms[kind]);
		return;
	}
	e->limits[kind] = (struct conf_limit){ true, value, conf_read_origin(n->words.first) };
	conf_read_end(r, s, n, w, NULL);
}

/* --- what is said ----------------------------------------------------------------------------- */

/* starttls KEYWORD reply TEXT [case sensitive|insensitive] [arguments] */
void
conf_read_starttls(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		   const struct conf_node *n)
{
	struct conf_exec *e = &((struct conf_service *)s->base)->exec;
	const struct conf_word *w;
	unsigned value;

	(void)d;
	if (n->bad || (w = conf_read_word(r, n->words.first, "the client's word for it")) == NULL)
		return;
	e->keyword = read_line(r, w, false);
	if ((w = conf_read_word(r, w, "'reply' and a text")) == NULL)
		return;
	if (strcmp(w->text, "reply") != 0) {
		conf_mistake_word(r->errors, w, "reply", "unexpected '%.*s'; expected 'reply' and a text", SHOWN,
				  w->text);
		return;
	}
	if ((w = conf_read_word(r, w, "a text")) == NULL)
		return;
	e->reply = read_line(r, w, false);
	if (w->next != NULL && strcmp(w->next->text, "case") == 0) {
		if ((w = conf_read_word(r, w->next, "sensitive or insensitive")) == NULL ||
		    !conf_read_choice(r, w, choices_case, &value))
			return;
		e->case_sensitive = value != 0;
	}
	if (w->next != NULL && strcmp(w->next->text, "arguments") == 0) {
		w = w->next;
		e->arguments = true;
	}
	conf_read_end(r, s, n, w, e->arguments ? NULL : "case");
}

static char *
read_pattern(struct conf_reader *r, const struct conf_word *w)
{
	return read_line(r, w, false);
}

void
conf_read_plaintext(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		    const struct conf_node *n)
{
	struct conf_exec *e = &((struct conf_service *)s->base)->exec;

	read_words(r, s, d, n, &e->plaintext, &e->nplaintext, CONF_EXEC_PATTERNS_MAX, "a pattern", read_pattern);
}

/* capability TEXT before|after|append PATTERN [to PATTERN] */
void
conf_read_capability(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
		     const struct conf_node *n)
{
	struct conf_exec *e = &((struct conf_service *)s->base)->exec;
	const struct conf_word *w = n->words.first;
	struct conf_capability *c;
	unsigned place;

	c = conf_read_array_add(r, w, &e->capabilities, sizeof *c, &e->ncapabilities, CONF_EXEC_CAPABILITIES_MAX);
	if (c == NULL || n->bad)
		return;
	c->origin = conf_read_origin(w);
	if ((w = conf_read_word(r, w, "a text")) == NULL)
		return;
	c->text = read_line(r, w, false);
	if ((w = conf_read_word(r, w, d->args)) == NULL || !conf_read_choice(r, w, conf_choices_place, &place))
		return;
	c->place = (enum conf_place)place;
	if ((w = conf_read_word(r, w, "a pattern of the program's line")) == NULL)
		return;
	c->pattern = read_line(r, w, false);
	if (w->next != NULL && strcmp(w->next->text, "to") == 0) {
		if ((w = conf_read_word(r, w->next, "a pattern of the client's line")) == NULL)
			return;
		c->to = read_line(r, w, false);
	}
	conf_read_end(r, s, n, w, c->to != NULL ? NULL : "to");
}

void
conf_read_say(struct conf_reader *r, struct conf_scope *s, const struct conf_directive *d,
	      const struct conf_node *n)
{
	struct conf_exec *e = &((struct conf_service *)s->base)->exec;
	const struct conf_word *w, *when;
	unsigned which;

	if (n->bad || (when = conf_read_word(r, n->words.first, d->args)) == NULL ||
	    !conf_read_choice(r, when, conf_choices_say, &which) || (w = conf_read_word(r, when, "a text")) == NULL)
		return;
	if (e->says[which].text != NULL)
		conf_mistake_word(r->errors, when, NULL, "'say %s' again; expected it once", when->text);
	e->says[which] = (struct conf_say){ read_line(r, w, false), conf_read_origin(n->words.first) };
	conf_read_end(r, s, n, w, NULL);
}

/* --- when all of the block is read ------------------------------------------------------------ */

void
conf_read_finish_exec(struct conf_reader *r, struct conf_service *sv)
{
	struct conf_exec *e = &sv->exec;

	if (e->keyword == NULL)
		e->keyword = conf_arena_str(r->arena, CONF_EXEC_KEYWORD);
	if (e->reply == NULL)
		e->reply = conf_arena_str(r->arena, CONF_EXEC_REPLY);
}
