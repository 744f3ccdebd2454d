/* conf/conf_read.h - from statements to the struct conf, by the schema.
 *
 * conf_read.c knows the types, conf_special.c the directives that have a form of their own,
 * conf_check.c what only shows when all is read. A statement that has been reported counts as
 * given, so that its absence is not reported as well. */
#ifndef CONF_CONF_READ_H
#define CONF_CONF_READ_H

#include "conf/conf.h"
#include "conf/conf_arena.h"
#include "conf/conf_errors.h"
#include "conf/conf_parse.h"
#include "conf/conf_schema.h"
#include "conf/conf_tree.h"

/* What belongs to a struct conf and nobody else needs. */
struct conf_priv {
	struct conf_arena arena; /* holds the struct conf, too */
	struct conf_origin *top, *control;
};

/* Of a service whose protocol has not been read. */
#define CONF_PROTOCOL_UNKNOWN ((enum conf_protocol)99)

/* One block while it is read. */
struct conf_scope {
	const struct conf_block *block;
	void *base;                                       /* the struct of the block */
	const struct conf_node *node;                     /* its statement; NULL: the file itself */
	const struct conf_word *set[CONF_DIRECTIVES_MAX]; /* who gave the directive; NULL: nobody */
	unsigned protocol; /* a service's, as a bit of conf_directive.protocols; 0: none, or not known */
	uint32_t excused; /* directives whose absence follows from a mistake that was reported */
};

struct conf_name_scope {
	struct conf_scope scope; /* base: what the block says itself */
	const struct conf_tls *own;
	bool lacks_ca, lacks_crl; /* that was said */
	struct conf_name_scope *next;
};

struct conf_service_scope {
	struct conf_scope scope;
	struct conf_scope tls; /* its overrides */
	const struct conf_node *tls_node;
	const struct conf_tls *tls_base; /* the block it names; NULL: there is none */
	const struct conf_word *listens[CONF_LISTEN_MAX];
	uint32_t modeless; /* listens whose mode the protocol decides */
};

struct conf_reader {
	struct conf *conf;
	struct conf_arena *arena;   /* of the struct conf */
	struct conf_arena *scratch; /* of this run */
	struct conf_errors *errors;
	bool incomplete; /* a file is missing: what is not defined may be defined there */
	struct conf_scope top, control, identity;
	struct conf_scope tls[CONF_TLS_MAX];
	struct conf_service_scope services[CONF_SERVICES_MAX];
	struct conf_name_scope *names; /* of all tls blocks and services */
};

/* Fills conf from what ps has read. Mistakes go to errors; false when out of memory. */
bool conf_read(struct conf *conf, struct conf_parse *ps, struct conf_errors *errors) PT_MUST_USE;

/* For conf_special.c: */

/* The array of a repeatable directive, made at its first use for all it may hold. NULL: full (then
 * reported at w, as one too many) or out of memory. */
void *conf_read_array_add(struct conf_reader *r, const struct conf_word *w, void *array, size_t size, size_t *n,
			  size_t max);

void conf_read_block(struct conf_reader *r, struct conf_scope *s, const struct conf_list *list);

/* A value where the statement must have one more word; NULL: it has not, and that was reported
 * ("what" is what was expected). */
const struct conf_word *conf_read_word(struct conf_reader *r, const struct conf_word *before,
				       const char *what);

/* Reports what follows w (the last word of the statement's value), and a block. keyword might have
 * followed; NULL: nothing might. */
void conf_read_end(struct conf_reader *r, struct conf_scope *s, const struct conf_node *n,
		   const struct conf_word *w, const char *keyword);

/* Whether the statement has a block; reports it when it has none. */
bool conf_read_has_block(struct conf_reader *r, const struct conf_node *n);

/* An owned absolute path; NULL: reported, or out of memory. */
char *conf_read_path(struct conf_reader *r, const struct conf_word *w, uint32_t max);

/* The value of the choice; false: reported. */
bool conf_read_choice(struct conf_reader *r, const struct conf_word *w, const struct conf_choice *c,
		      unsigned *out);

struct conf_origin conf_read_origin(const struct conf_word *w);

/* " on line 3" or " at other.conf:3": where the first of two stands, as seen from w. Returns out.
 */
const char *conf_read_where(const struct conf_word *w, const struct conf_origin *first, char *out,
			    size_t cap);

/* Where each value of the scope was written, by directive; NULL: out of memory. */
struct conf_origin *conf_read_origins(struct conf_reader *r, const struct conf_scope *s);

/* The array of a repeatable directive, made at its first use for all it may hold. NULL: full (then
 * reported at w, as one too many) or out of memory. */
void *conf_read_array_add(struct conf_reader *r, const struct conf_word *w, void *array, size_t size, size_t *n,
			  size_t max);

/* Fills what nobody gave with the schema's default. */
void conf_read_defaults(struct conf_reader *r, struct conf_scope *s);

/* Reports directives that the block needs and has not. */
void conf_read_required(struct conf_reader *r, struct conf_scope *s);

/* Resolves the services' tls blocks and applies the overrides; when every block has been read. */
void conf_read_finish_services(struct conf_reader *r);

/* In conf_name.c: gives each name block of an effective tls block what it does not say itself. */
void conf_read_finish_names(struct conf_reader *r, struct conf_tls *tls);

/* In conf_exec.c: the defaults that have words with blanks. */
void conf_read_finish_exec(struct conf_reader *r, struct conf_service *sv);

/* In conf_check.c: what must hold between directives. */
void conf_check(struct conf_reader *r);

#endif
