/* conf/conf_parse.h - one run of the grammar over a file and what it includes.
 *
 * Between the grammar and the lexer: macros, include, and the list of statements that comes out. */
#ifndef CONF_CONF_PARSE_H
#define CONF_CONF_PARSE_H

#include "conf/conf_arena.h"
#include "conf/conf_errors.h"
#include "conf/conf_lex.h"
#include "conf/conf_tree.h"

struct conf_parse {
	struct conf_arena tree;   /* everything of this run */
	struct conf_arena *names; /* file names, which outlive it; borrowed */
	struct conf_errors *errors;
	bool may_include;
	bool incomplete; /* an include failed: what is undefined may be defined there */
	struct conf_macro *macros;
	unsigned nmacros, nfiles, nwords;
	struct conf_list statements; /* the result */
};

/* names and errors are borrowed until conf_parse_fini(). */
void conf_parse_init(struct conf_parse *ps, struct conf_arena *names, struct conf_errors *errors);
void conf_parse_fini(struct conf_parse *ps);

/* Reads a file with its includes, or octets from memory (dir: where relative paths start, NULL for
 * nowhere; both borrowed), into statements. Mistakes go to errors. 0, or PT_ENOMEM. */
int conf_parse_path(struct conf_parse *ps, const char *path) PT_MUST_USE;
int conf_parse_text(struct conf_parse *ps, const char *name, const char *dir,
		    struct span text) PT_MUST_USE;

/* For the grammar, while it reads one file. */
struct conf_run {
	struct conf_parse *ps;
	struct conf_lex lex;
	struct conf_list *list_out;
};

/* Appends a word with its macros replaced. */
void conf_parse_word(struct conf_parse *ps, struct conf_words *words, struct conf_word *w);

/* A statement; NULL when out of memory. brace is NULL without a block. */
struct conf_node *conf_parse_node(struct conf_parse *ps, struct conf_words words,
				  const struct conf_brace *brace, struct conf_list block);

/* Appends a statement, or what it includes. */
void conf_parse_statement(struct conf_run *run, struct conf_list *list, struct conf_node *n);

/* Defines a macro; bad when its line has been reported. */
void conf_parse_macro(struct conf_parse *ps, const struct conf_word *name, struct conf_words words,
		      bool bad);

#endif
