/* conf/conf_lex.c - the hand-written lexer. Reads octets only: what a word means is decided
 * elsewhere. Each reader below starts at lx->at and leaves it behind what it took. */
#include "conf/conf_lex.h"

#include "conf/conf_utf8.h"

#include <string.h>

void
conf_lex_init(struct conf_lex *lx, struct conf_arena *arena, struct conf_errors *errors,
	      const struct conf_file *file)
{
	*lx = (struct conf_lex){ .arena = arena,
				 .errors = errors,
				 .file = file,
				 .line = 1,
				 .statement_start = true,
				 .eol_said = true };
	if (file->len >= 3 && memcmp(file->text, "\xef\xbb\xbf", 3) == 0)
		lx->at = lx->bol = 3; /* a byte order mark says what we assume anyway */
}

/* The octet n places ahead; 0 at the end (a NUL in the text is handled by what takes it). */
static uint8_t
peek(const struct conf_lex *lx, size_t n)
{
	return n < lx->file->len - lx->at ? lx->file->text[lx->at + n] : 0;
}

static bool
at_end(const struct conf_lex *lx)
{
	return lx->at == lx->file->len;
}

/* Octets of the line end at p: LF, CR LF; 0: none here. */
static size_t
line_end(const struct conf_lex *lx, size_t ahead)
{
	if (lx->at + ahead >= lx->file->len)
		return 0;
	if (peek(lx, ahead) == '\n')
		return 1;
	return peek(lx, ahead) == '\r' && lx->at + ahead + 1 < lx->file->len &&
		       peek(lx, ahead + 1) == '\n'
		   ? 2
		   : 0;
}

static struct conf_pos
pos_from(const struct conf_lex *lx, size_t off)
{
	size_t len = lx->at > off ? lx->at - off : 1;

	return (struct conf_pos){ .file = lx->file,
				  .off = off,
				  .line = lx->line,
				  .column = (unsigned)(off - lx->bol + 1),
				  .len = (unsigned)len };
}

static void
next_line(struct conf_lex *lx, size_t octets)
{
	lx->at += octets;
	lx->bol = lx->at;
	lx->line++;
	lx->indent = 0;
	lx->garbage_said = false;
}

/* Takes one character; one that is no text is reported, once a line. Returns whether it is text. */
static bool
take_char(struct conf_lex *lx)
{
	size_t start = lx->at, len = conf_utf8_text(lx->file->text + start, lx->file->len - start);
	uint8_t c = lx->file->text[start];
	struct conf_pos pos;

	lx->at += len > 0 ? len : 1;
	if (len > 0)
		return true;
	pos = pos_from(lx, start);
	if (!lx->garbage_said && c == '\r')
		conf_mistake(lx->errors, &pos, NULL,
			     "a carriage return within a line; expected it "
			     "before a line feed only");
	else if (!lx->garbage_said && c < 0x80)
		conf_mistake(lx->errors, &pos, NULL, "control octet 0x%02x; expected text", c);
	else if (!lx->garbage_said)
		conf_mistake(lx->errors, &pos, NULL, "octet 0x%02x is no text; expected UTF-8", c);
	lx->garbage_said = true;
	return false;
}

/* Skips what stands between tokens: blanks, comments, continued line ends. */
static void
skip_blank(struct conf_lex *lx)
{
	for (;;) {
		if (at_end(lx))
			return;
		if (peek(lx, 0) == ' ' || peek(lx, 0) == '\t')
			lx->at++;
		else if (peek(lx, 0) == '\\' && line_end(lx, 1) > 0)
			next_line(lx, 1 + line_end(lx, 1));
		else if (peek(lx, 0) == '#')
			while (!at_end(lx) && line_end(lx, 0) == 0)
				(void)take_char(lx);
		else
			return;
	}
}

static struct conf_word *
word_new(struct conf_lex *lx, size_t start, const char *text)
{
	struct conf_word *w = conf_arena_alloc(lx->arena, sizeof *w);

	if (w == NULL || text == NULL)
		return NULL;
	w->text = text;
	w->pos = pos_from(lx, start);
	return w;
}

static bool
check_length(struct conf_lex *lx, size_t start, size_t len)
{
	struct conf_pos pos = pos_from(lx, start);

	if (len <= CONF_WORD_MAX)
		return true;
	conf_mistake(lx->errors, &pos, NULL, "a word of %zu octets; expected at most %d", len,
		     CONF_WORD_MAX);
	return false;
}

/* What may stand behind a closing quote. */
static bool
is_delimiter(const struct conf_lex *lx)
{
	return at_end(lx) || line_end(lx, 0) > 0 || memchr(" \t{}\\", peek(lx, 0), 5) != NULL;
}

/* The quote at start is not closed on its line. A brace that ends the line is given back: it opens
 * a block, and its '}' will come. */
static void
unterminated(struct conf_lex *lx, size_t start)
{
	size_t end = lx->at;
	struct conf_pos pos;

	while (end > start + 1 && memchr(" \t\r", lx->file->text[end - 1], 3) != NULL)
		end--;
	if (end > start + 1 && lx->file->text[end - 1] == '{')
		end--;
	lx->at = end;
	pos = pos_from(lx, start);
	conf_mistake(lx->errors, &pos, NULL, "this string does not end on its line; expected '\"'");
}

/* Takes the octets behind the opening quote up to the closing one into out, which is large enough.
 * Returns false when something in it was reported. */
static bool
take_string(struct conf_lex *lx, size_t start, char *out, size_t *len_out)
{
	struct conf_pos pos;
	bool good = true;
	size_t from, n = 0;

	for (;;) {
		if (at_end(lx) || line_end(lx, 0) > 0) {
			unterminated(lx, start);
			return false;
		}
		from = lx->at;
		if (peek(lx, 0) == '"')
			break;
		if (peek(lx, 0) == '\\' && (peek(lx, 1) == '"' || peek(lx, 1) == '\\')) {
			out[n++] = (char)peek(lx, 1);
			lx->at += 2;
			continue;
		}
		if (!take_char(lx)) {
			good = false;
		} else if (lx->file->text[from] == '\\') {
			pos = pos_from(lx, from);
			conf_mistake(lx->errors, &pos, NULL,
				     "'\\' in a string; expected \\\" or \\\\");
			good = false;
		} else {
			memcpy(out + n, lx->file->text + from, lx->at - from);
			n += lx->at - from;
		}
	}
	lx->at++;
	*len_out = n;
	return good;
}

/* Octets up to the closing quote or the end of the line: what the string needs at most. Not simply
 * the rest of the line, which may hold a thousand strings. */
static size_t
string_octets(const struct conf_lex *lx)
{
	const uint8_t *p = lx->file->text + lx->at;
	size_t i, n = lx->file->len - lx->at;

	for (i = 0; i < n && p[i] != '\n' && p[i] != '"'; i++)
		if (p[i] == '\\' && i + 1 < n && p[i + 1] != '\n')
			i++;
	return i;
}

static struct conf_word *
lex_string(struct conf_lex *lx)
{
	size_t start = lx->at, len = 0;
	struct conf_word *w;
	struct conf_pos pos;
	bool good;
	char *text;

	lx->at++;
	if ((text = conf_arena_alloc(lx->arena, string_octets(lx) + 1)) == NULL)
		return NULL;
	good = take_string(lx, start, text, &len);
	text[len] = '\0';
	good = good && check_length(lx, start, len);
	if (good && !is_delimiter(lx)) {
		size_t behind = lx->at;

		while (!is_delimiter(lx) && take_char(lx))
			continue;
		pos = pos_from(lx, behind);
		conf_mistake(lx->errors, &pos, NULL,
			     "text behind a string; expected a blank after the closing '\"'");
		good = false;
	}
	if ((w = word_new(lx, start, text)) != NULL)
		w->bad = !good;
	return w;
}

size_t
conf_lex_macro_name(const uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') ||
		      (p[i] >= '0' && p[i] <= '9' && i > 0) || p[i] == '_' ||
		      (p[i] == '-' && i > 0)))
			break;
	return i;
}

/* What is wrong with the octets of a bare word, at offset *off of it; NULL: nothing. */
static const char *
word_fault(const uint8_t *p, size_t n, size_t *off)
{
	size_t i;

	*off = 0;
	if (p[0] == '\'')
		return "\"'\" begins no string; expected '\"'";
	for (i = 0; i < n; i++) {
		*off = i;
		if (p[i] == '"')
			return "a quote within a word; expected it at the word's beginning";
		if (p[i] == '\\')
			return "'\\' within a word; expected it at the end of a line, or quotes "
			       "around the word and \\\\";
		if (p[i] == '$' && conf_lex_macro_name(p + i + 1, n - i - 1) == 0)
			return "'$' without a name; expected a macro's name, or quotes around the "
			       "word";
	}
	*off = n - 1;
	if (p[n - 1] == ';')
		return "';' at the end of a word; expected the end of the line alone to end a "
		       "directive";
	return NULL;
}

static struct conf_word *
lex_word(struct conf_lex *lx)
{
	size_t start = lx->at, off, n;
	const uint8_t *p = lx->file->text + start;
	struct conf_word *w;
	const char *fault;
	struct conf_pos pos;
	bool good = true;

	while (!at_end(lx) && line_end(lx, 0) == 0 && memchr(" \t{}", peek(lx, 0), 4) == NULL &&
	       !(peek(lx, 0) == '\\' && line_end(lx, 1) > 0))
		good = take_char(lx) && good;
	n = lx->at - start;
	if (good && (fault = word_fault(p, n, &off)) != NULL) {
		pos = pos_from(lx, start);
		pos.off += off;
		pos.column += (unsigned)off;
		pos.len = 1;
		conf_mistake(lx->errors, &pos, NULL, "%s", fault);
		good = false;
	}
	good = good && check_length(lx, start, n);
	w = word_new(lx, start, conf_arena_strn(lx->arena, p, good ? n : 0));
	if (w == NULL)
		return NULL;
	w->bad = !good;
	w->dollar = good && memchr(p, '$', n) != NULL;
	return w;
}

static enum conf_lexeme
lex_open(struct conf_lex *lx, struct conf_token *tok)
{
	struct conf_brace *b;

	lx->at++;
	tok->pos = pos_from(lx, lx->at - 1);
	if (lx->nopen == CONF_NEST_MAX) {
		if (lx->too_deep++ == 0)
			conf_mistake(lx->errors, &tok->pos, NULL,
				     "blocks within blocks; expected at most %d levels",
				     CONF_NEST_MAX);
		return CONF_LX_NONE;
	}
	if ((b = conf_arena_alloc(lx->arena, sizeof *b)) == NULL)
		return CONF_LX_NOMEM;
	b->pos = tok->pos;
	b->indent = lx->indent;
	lx->open[lx->nopen++] = b;
	tok->brace = b;
	lx->statement_start = true;
	return CONF_LX_OPEN;
}

static enum conf_lexeme
lex_close(struct conf_lex *lx, struct conf_token *tok)
{
	unsigned i, column;
	struct conf_brace *b;

	lx->at++;
	tok->pos = pos_from(lx, lx->at - 1);
	column = tok->pos.column;
	lx->statement_start = false;
	if (lx->too_deep > 0) {
		lx->too_deep--;
		return CONF_LX_NONE;
	}
	if (lx->nopen == 0) {
		conf_mistake(lx->errors, &tok->pos, NULL,
			     "this '}' closes nothing; expected a '{' before it");
		return CONF_LX_NONE;
	}
	b = lx->open[--lx->nopen];
	for (i = 0; i < lx->nopen && lx->suspect == NULL; i++)
		if (lx->indent == column && column < b->indent && lx->open[i]->indent == column)
			lx->suspect = b;
	return CONF_LX_CLOSE;
}

/* The file ends with blocks open: says which, by the columns where they tell. */
static void
report_unclosed(struct conf_lex *lx)
{
	unsigned i, n = lx->nopen;

	if (lx->suspect != NULL && n > 0) {
		lx->suspect->unclosed = true;
		conf_mistake(lx->errors, &lx->suspect->pos, NULL,
			     "this '{' is not closed; expected a '}'");
		n--;
	}
	for (i = 0; i < lx->nopen; i++) {
		lx->open[i]->unclosed = true;
		if (i < n)
			conf_mistake(lx->errors, &lx->open[i]->pos, NULL,
				     "this '{' is not closed; expected a '}'");
	}
}

/* At the end: the last line's EOL, then a '}' and an EOL for each block that is still open. */
static enum conf_lexeme
lex_end(struct conf_lex *lx, struct conf_token *tok)
{
	tok->pos = pos_from(lx, lx->at);
	lx->statement_start = false;
	if (!lx->eol_said) {
		lx->eol_said = true;
		return CONF_LX_EOL;
	}
	if (!lx->ended) {
		lx->ended = true;
		if (lx->too_deep == 0)
			report_unclosed(lx);
	}
	if (lx->nopen == 0)
		return CONF_LX_END;
	lx->nopen--;
	lx->eol_said = false;
	return CONF_LX_CLOSE;
}

static enum conf_lexeme
lex_eol(struct conf_lex *lx, struct conf_token *tok)
{
	tok->pos = pos_from(lx, lx->at);
	next_line(lx, line_end(lx, 0));
	lx->statement_start = true;
	lx->eol_said = true;
	return CONF_LX_EOL;
}

/* "$name" at the beginning of a statement: a definition, whatever follows. */
static enum conf_lexeme
lex_macro(struct conf_lex *lx, struct conf_token *tok)
{
	size_t start = lx->at,
	       n = conf_lex_macro_name(lx->file->text + start + 1, lx->file->len - start - 1);

	lx->at += 1 + n;
	tok->pos = pos_from(lx, start);
	tok->word = word_new(lx, start, conf_arena_strn(lx->arena, lx->file->text + start + 1, n));
	lx->after_macro = true;
	return tok->word != NULL ? CONF_LX_MACRO : CONF_LX_NOMEM;
}

static enum conf_lexeme
lex_one(struct conf_lex *lx, struct conf_token *tok)
{
	bool first, after_macro = lx->after_macro;
	uint8_t c;

	lx->after_macro = false;
	skip_blank(lx);
	if (at_end(lx))
		return lex_end(lx, tok);
	if (line_end(lx, 0) > 0)
		return lex_eol(lx, tok);
	first = lx->statement_start;
	c = peek(lx, 0);
	if (lx->indent == 0)
		lx->indent = (unsigned)(lx->at - lx->bol + 1);
	lx->eol_said = false;
	if (c == '{')
		return lex_open(lx, tok);
	if (c == '}')
		return lex_close(lx, tok);
	lx->statement_start = false;
	if (c == '=' && after_macro) {
		lx->at++;
		tok->pos = pos_from(lx, lx->at - 1);
		return CONF_LX_EQUALS;
	}
	if (c == '$' && first &&
	    conf_lex_macro_name(lx->file->text + lx->at + 1, lx->file->len - lx->at - 1) > 0)
		return lex_macro(lx, tok);
	tok->word = c == '"' ? lex_string(lx) : lex_word(lx);
	if (tok->word == NULL)
		return CONF_LX_NOMEM;
	tok->pos = tok->word->pos;
	return CONF_LX_WORD;
}

enum conf_lexeme
conf_lex_next(struct conf_lex *lx, struct conf_token *tok_out)
{
	enum conf_lexeme x;

	do
		x = lex_one(lx, tok_out);
	while (x == CONF_LX_NONE);
	return x;
}
