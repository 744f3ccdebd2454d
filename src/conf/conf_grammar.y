/* conf/conf_grammar.y - how tokens make statements: words, then perhaps a block, to the end of the
 * line. What the words mean is the schema's business (conf_read.c). The lexer gives balanced braces
 * and an EOL before the end, so every error here is one of order within a line; recovery goes to
 * the end of that line, and over a block that begins on it. */

%define api.pure full
%define api.prefix {conf_yy}
%define api.location.type {struct conf_pos}
%define parse.error custom
%locations
%param { struct conf_run *run }
%expect 0
/* Without this, "junk" would be reduced, and the error forgotten, before the line is skipped. */
%define lr.default-reduction consistent

%code requires {
#include "conf/conf_parse.h"
}

%code {
#include <stdio.h>
#include <string.h>

/* A rule begins where its first part does; only tokens are ever reported. */
#define YYLLOC_DEFAULT(cur, rhs, n)                                                                \
	((cur) = (n) > 0 ? YYRHSLOC(rhs, 1) : YYRHSLOC(rhs, 0))

static int conf_yylex(CONF_YYSTYPE *value, struct conf_pos *loc, struct conf_run *run);
static void conf_yyerror(const struct conf_pos *loc, struct conf_run *run, const char *text);

static const struct conf_list no_block;
static const struct conf_words no_words;
}

%union {
	struct conf_word *word;
	struct conf_words words;
	struct conf_brace *brace;
	struct conf_node *node;
	struct conf_list list;
	struct {
		const struct conf_brace *brace;
		struct conf_list list;
	} block;
}

%token END 0 "the end of the file"
%token <word> WORD "a value"
%token <word> MACRO "a macro"
%token EQUALS "'='"
%token <brace> OPEN "'{'"
%token CLOSE "'}'"
%token EOL "the end of the line"

%type <words> words
%type <block> block
%type <list> items
%type <node> statement

%%

file:
	items				{ *run->list_out = $1; }
	;

items:
	%empty				{ $$ = no_block; }
	| items EOL			{ $$ = $1; }
	| items statement EOL		{ $$ = $1; conf_parse_statement(run, &$$, $2); }
	| items statement junk EOL	{ $$ = $1; conf_parse_statement(run, &$$, $2); yyerrok; }
	| items macro EOL		{ $$ = $1; }
	| items junk EOL		{ $$ = $1; yyerrok; }
	;

statement:
	words		{ $$ = conf_parse_node(run->ps, $1, NULL, no_block); }
	| words block	{ $$ = conf_parse_node(run->ps, $1, $2.brace, $2.list); }
	| block		{ $$ = conf_parse_node(run->ps, no_words, $1.brace, $1.list); }
	;

words:
	WORD				{ $$ = no_words; conf_parse_word(run->ps, &$$, $1); }
	| words WORD			{ $$ = $1; conf_parse_word(run->ps, &$$, $2); }
	;

/* The last statement of a block may stand on the line of its brace. */
block:
	OPEN items CLOSE		{ $$.brace = $1; $$.list = $2; }
	| OPEN items statement CLOSE
		{ $$.brace = $1; $$.list = $2; conf_parse_statement(run, &$$.list, $3); }
	| OPEN items statement junk CLOSE
		{ $$.brace = $1; $$.list = $2; conf_parse_statement(run, &$$.list, $3); yyerrok; }
	| OPEN items macro CLOSE	{ $$.brace = $1; $$.list = $2; }
	| OPEN items junk CLOSE		{ $$.brace = $1; $$.list = $2; yyerrok; }
	;

macro:
	MACRO EQUALS words		{ conf_parse_macro(run->ps, $1, $3, false); }
	| MACRO EQUALS words junk	{ conf_parse_macro(run->ps, $1, $3, true); }
	| MACRO EQUALS junk		{ conf_parse_macro(run->ps, $1, no_words, true); }
	| MACRO junk			{ conf_parse_macro(run->ps, $1, no_words, true); }
	;

junk:
	error
	| error block
	;

%%

static int
conf_yylex(CONF_YYSTYPE *value, struct conf_pos *loc, struct conf_run *run)
{
	static const int kinds[] = {
		[CONF_LX_END] = END,	   [CONF_LX_WORD] = WORD, [CONF_LX_MACRO] = MACRO,
		[CONF_LX_EQUALS] = EQUALS, [CONF_LX_OPEN] = OPEN, [CONF_LX_CLOSE] = CLOSE,
		[CONF_LX_EOL] = EOL,
	};
	struct conf_token tok = { 0 };
	enum conf_lexeme x;

	x = run->ps->tree.failed ? CONF_LX_NOMEM : conf_lex_next(&run->lex, &tok);
	if (x == CONF_LX_NOMEM) {
		run->ps->tree.failed = true;
		return END;
	}
	*loc = tok.pos;
	if (x == CONF_LX_OPEN)
		value->brace = tok.brace;
	else if (tok.word != NULL)
		value->word = tok.word;
	return kinds[x];
}

/* Called by bison itself when its stack cannot grow: blocks are bounded, so memory is short. */
static void
conf_yyerror(const struct conf_pos *loc, struct conf_run *run, const char *text)
{
	(void)loc;
	(void)text;
	run->ps->tree.failed = true;
}

/* What may stand here, in words: "'='", "a value or the end of the line". A '}' goes without saying
 * where a line may end. */
static const char *
list_expected(const yypcontext_t *ctx, char *list, size_t cap)
{
	yysymbol_kind_t kinds[8];
	int i, kept = 0, n = yypcontext_expected_tokens(ctx, kinds, 8);
	bool eol = false;
	size_t len;

	for (i = 0; i < n; i++)
		eol = eol || kinds[i] == YYSYMBOL_EOL;
	for (i = 0; i < n; i++)
		if (!eol || kinds[i] != YYSYMBOL_CLOSE)
			kinds[kept++] = kinds[i];
	*list = '\0';
	for (i = 0; i < kept; i++) {
		len = strlen(list);
		snprintf(list + len, cap - len, "%s%s",
			 i == 0 ? "" : i + 1 < kept ? ", " : " or ", yysymbol_name(kinds[i]));
	}
	return list;
}

static int
yyreport_syntax_error(const yypcontext_t *ctx, struct conf_run *run)
{
	const struct conf_pos *loc = yypcontext_location(ctx);
	yysymbol_kind_t got = yypcontext_token(ctx);
	char list[200];

	if (run->ps->tree.failed)
		return 0;
	list_expected(ctx, list, sizeof list);
	if (got == YYSYMBOL_WORD)
		conf_mistake(run->ps->errors, loc, NULL, "unexpected '%.*s'; expected %s",
			     (int)(loc->len < CONF_TEXT_SHOWN ? loc->len : CONF_TEXT_SHOWN),
			     (const char *)loc->file->text + loc->off, list);
	else if (got == YYSYMBOL_EOL)
		conf_mistake(run->ps->errors, loc, NULL, "the line ends too early; expected %s", list);
	else
		conf_mistake(run->ps->errors, loc, NULL, "unexpected %s; expected %s",
			     yysymbol_name(got), list);
	return 0;
}
