/* conf/conf_errors.h - collecting mistakes: what the lexer, the grammar, the schema and the checks
 * share. The public half is in conf.h. */
#ifndef CONF_CONF_ERRORS_H
#define CONF_CONF_ERRORS_H

#include "conf/conf.h"
#include "conf/conf_tree.h"

#define CONF_TEXT_SHOWN 60 /* octets of the file's own words that a message repeats */

/* Adds a mistake at pos ("what is wrong; what was expected"). meant is a word the writer may have
 * had in mind, NULL for none. The text may carry octets of the file as they are: they are made
 * printable when they are shown. Never fails: see conf_errors_nomem(). */
void conf_mistake(struct conf_errors *e, const struct conf_pos *pos, const char *meant,
		  const char *fmt, ...) PT_PRINTF(4, 5);

/* The same about a word; says so when the word comes from a macro. */
void conf_mistake_word(struct conf_errors *e, const struct conf_word *w, const char *meant,
		       const char *fmt, ...) PT_PRINTF(4, 5);

/* A mistake that has no place in a text, such as a file that cannot be read. */
void conf_mistake_file(struct conf_errors *e, const char *name, const char *fmt, ...)
    PT_PRINTF(3, 4);

/* Whether a mistake could not be kept. */
bool conf_errors_nomem(const struct conf_errors *e);

/* The name that the writer of word may have meant: the nearest by edit distance (a swap of two
 * neighbours is one step), case and '_' for '-' not counted. */
struct conf_guess {
	const char *word;
	const char *best; /* NULL: nothing is near */
	unsigned distance;
};
void conf_guess_init(struct conf_guess *g, const char *word);
void conf_guess_try(struct conf_guess *g, const char *name);

#endif
