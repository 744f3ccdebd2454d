/* conf/conf_lex.h - the octets of one file as tokens.
 *
 * The lexer reports what it cannot read itself and goes on with a word marked bad, and it keeps the
 * braces balanced (a '}' too many is dropped, missing ones are supplied at the end), so that one
 * mistake does not make the grammar find others. */
#ifndef CONF_CONF_LEX_H
#define CONF_CONF_LEX_H

#include "conf/conf_arena.h"
#include "conf/conf_errors.h"
#include "conf/conf_tree.h"

enum conf_lexeme {
	CONF_LX_END,
	CONF_LX_WORD,
	CONF_LX_MACRO, /* "$name" at the beginning of a statement; word's text is the name */
	CONF_LX_EQUALS,
	CONF_LX_OPEN,
	CONF_LX_CLOSE,
	CONF_LX_EOL,
	CONF_LX_NOMEM,
	CONF_LX_NONE, /* within the lexer: something was taken that makes no token */
};

struct conf_token {
	struct conf_pos pos;
	struct conf_word *word;   /* of WORD and MACRO */
	struct conf_brace *brace; /* of OPEN */
};

struct conf_lex {
	struct conf_arena *arena; /* words and braces; borrowed */
	struct conf_errors *errors;
	const struct conf_file *file;
	size_t at;  /* next octet */
	size_t bol; /* first octet of this line */
	unsigned line;
	unsigned indent;      /* column of the line's first token; 0: none yet */
	bool statement_start; /* the next token begins a statement */
	bool after_macro;
	bool eol_said;     /* the last token was EOL */
	bool garbage_said; /* an octet of this line that is no text was reported */
	struct conf_brace *open[CONF_NEST_MAX];
	unsigned nopen;
	struct conf_brace *suspect; /* closed by a '}' that by its column belongs to an outer one */
	unsigned too_deep;          /* '{' beyond CONF_NEST_MAX, read without a token */
	bool ended;
};

/* At the first octet of file, which is borrowed and outlives every token. */
void conf_lex_init(struct conf_lex *lx, struct conf_arena *arena, struct conf_errors *errors,
		   const struct conf_file *file);

/* The next token; CONF_LX_END for ever at the end. */
enum conf_lexeme conf_lex_next(struct conf_lex *lx, struct conf_token *tok_out);

/* Octets of a macro's name at the beginning of n octets; 0: none. */
size_t conf_lex_macro_name(const uint8_t *p, size_t n);

#endif
