/* conf/conf_parse.c - files, includes and macros of one run. The only file of this folder that
 * opens files; it reads no meaning into what they say. */
#include "conf/conf_parse.h"

#include "conf/conf_grammar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_OCTETS 65536
#define TOO_LARGE   "larger than 1 MiB; expected a configuration"
_Static_assert(CONF_FILE_MAX == 1024 * 1024, "TOO_LARGE says so");

void
conf_parse_init(struct conf_parse *ps, struct conf_arena *names, struct conf_errors *errors)
{
	*ps = (struct conf_parse){ .names = names, .errors = errors };
}

void
conf_parse_fini(struct conf_parse *ps)
{
	conf_arena_fini(&ps->tree);
}

static bool
nomem(const struct conf_parse *ps)
{
	return ps->tree.failed || ps->names->failed || conf_errors_nomem(ps->errors);
}

/* Runs the grammar over one file; its statements come out in list. */
static int
parse_file(struct conf_parse *ps, const struct conf_file *file, struct conf_list *list)
{
	struct conf_run run = { .ps = ps, .list_out = list };

	*list = (struct conf_list){ NULL, NULL };
	conf_lex_init(&run.lex, &ps->tree, ps->errors, file);
	if (conf_yyparse(&run) != 0) /* every mistake is recovered from */
		PT_ASSERT(ps->tree.failed);
	if (nomem(ps))
		return PT_ENOMEM;
	conf_tree_hoist(list);
	return 0;
}

static struct conf_file *
file_new(struct conf_parse *ps, const char *name)
{
	struct conf_file *f = conf_arena_alloc(&ps->tree, sizeof *f);

	if (f == NULL || (f->name = conf_arena_str(ps->names, name)) == NULL)
		return NULL;
	f->index = ps->nfiles++;
	return f;
}

/* The folder of path, made absolute: the program may go elsewhere before it opens anything. NULL
 * when out of memory, or when there is no working folder (then relative paths are mistakes). */
static char *
folder_of(struct conf_parse *ps, const char *path)
{
	const char *slash = strrchr(path, '/');
	char cwd[CONF_WORD_MAX];

	if (path[0] == '/')
		return conf_arena_strn(&ps->tree, path, slash == path ? 1 : (size_t)(slash - path));
	if (getcwd(cwd, sizeof cwd) == NULL)
		return NULL;
	if (slash == NULL)
		return conf_arena_str(&ps->tree, cwd);
	return conf_arena_printf(&ps->tree, "%s%s%.*s", cwd, cwd[1] == '\0' ? "" : "/",
				 (int)(slash - path), path);
}

/* Reads all of fd, at most CONF_FILE_MAX octets, into f. 0, PT_ENOMEM, PT_ETOOBIG, or PT_EIO with
 * errno. */
static int
read_all(struct conf_parse *ps, int fd, struct conf_file *f)
{
	struct buf b;
	uint8_t *block;
	ssize_t n;
	int rc = 0, saved = 0;

	buf_init(&b, CONF_FILE_MAX);
	if ((block = conf_arena_alloc(&ps->tree, READ_OCTETS)) == NULL)
		return PT_ENOMEM;
	while (rc == 0 && (n = read(fd, block, READ_OCTETS)) != 0) {
		if (n > 0) {
			rc = buf_append(&b, block, (size_t)n);
		} else if (errno != EINTR) {
			saved = errno;
			rc = PT_EIO;
		}
	}
	if (rc == 0) {
		f->len = buf_size(&b);
		f->text = (uint8_t *)conf_arena_strn(&ps->tree, buf_span(&b).p, f->len);
		rc = f->text != NULL ? 0 : PT_ENOMEM;
	}
	buf_fini(&b);
	errno = saved;
	return rc;
}

/* Says what is wrong with a file: at the include that names it, or by itself. */
static void
report_file(struct conf_parse *ps, const struct conf_word *w, const char *path, const char *what)
{
	if (w != NULL)
		conf_mistake_word(ps->errors, w, NULL, "'%.*s': %s", CONF_TEXT_SHOWN * 2, path,
				  what);
	else
		conf_mistake_file(ps->errors, path, "%s", what);
	ps->incomplete = true;
}

static bool
includes_itself(const struct conf_file *f)
{
	const struct conf_file *p;

	for (p = f->parent; p != NULL; p = p->parent)
		if (p->dev == f->dev && p->ino == f->ino)
			return true;
	return false;
}

/* Opens and reads path. w is the word of the include that names it, NULL for the first file; NULL
 * in *file_out with 0: it has been reported. */
static int
load_file(struct conf_parse *ps, const char *path, const struct conf_word *w,
	  struct conf_file **file_out)
{
	struct conf_file *f;
	struct stat st;
	int fd = -1, rc = PT_ENOMEM;

	*file_out = NULL;
	if ((f = file_new(ps, path)) == NULL)
		goto out;
	f->parent = w != NULL ? w->pos.file : NULL;
	rc = 0;
	if ((fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)) < 0 || fstat(fd, &st) != 0) {
		report_file(ps, w, path, strerror(errno));
		goto out;
	}
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	if (includes_itself(f)) {
		report_file(ps, w, path, "includes itself; expected no loop");
		goto out;
	}
	if ((rc = read_all(ps, fd, f)) == PT_ENOMEM) {
		ps->tree.failed = true; /* an include cannot pass it on */
		goto out;
	}
	if (rc == PT_ETOOBIG)
		report_file(ps, w, path, TOO_LARGE);
	else if (rc != 0)
		report_file(ps, w, path, strerror(errno));
	if (rc == 0) {
		f->dir = folder_of(ps, path);
		*file_out = f;
	}
	rc = 0;
out:
	if (fd >= 0)
		close(fd);
	return nomem(ps) ? PT_ENOMEM : rc;
}

int
conf_parse_path(struct conf_parse *ps, const char *path)
{
	struct conf_file *f;
	int rc;

	ps->may_include = true;
	if ((rc = load_file(ps, path, NULL, &f)) != 0 || f == NULL)
		return rc;
	return parse_file(ps, f, &ps->statements);
}

int
conf_parse_text(struct conf_parse *ps, const char *name, const char *dir, struct span text)
{
	struct conf_file *f;

	if ((f = file_new(ps, name)) == NULL)
		return PT_ENOMEM;
	if (text.n > CONF_FILE_MAX) {
		report_file(ps, NULL, name, TOO_LARGE);
		return nomem(ps) ? PT_ENOMEM : 0;
	}
	f->dir = dir;
	f->text = (uint8_t *)conf_arena_strn(&ps->tree, text.p, text.n);
	f->len = text.n;
	if (f->text == NULL)
		return PT_ENOMEM;
	return parse_file(ps, f, &ps->statements);
}

static void
words_append(struct conf_parse *ps, struct conf_words *words, struct conf_word *w)
{
	if (ps->nwords == CONF_WORDS_TOTAL_MAX)
		conf_mistake_word(ps->errors, w, NULL, "more than %d words; the rest is not read",
				  CONF_WORDS_TOTAL_MAX);
	if (ps->nwords++ >= CONF_WORDS_TOTAL_MAX)
		return;
	if (words->last != NULL)
		words->last->next = w;
	else
		words->first = w;
	words->last = w;
}

static const struct conf_macro *
macro_find(struct conf_parse *ps, const char *name, size_t n)
{
	const struct conf_macro *m;

	for (m = ps->macros; m != NULL; m = m->next)
		if (strlen(m->name) == n && memcmp(m->name, name, n) == 0)
			return m;
	return NULL;
}

/* The macro at p, a '$' in the text of w. NULL: it is not usable, and that has been said. */
static const struct conf_macro *
macro_use(struct conf_parse *ps, const struct conf_word *w, const char *p)
{
	size_t n = conf_lex_macro_name((const uint8_t *)p + 1, strlen(p + 1));
	const struct conf_macro *m = macro_find(ps, p + 1, n), *other;
	struct conf_pos pos = w->pos;
	struct conf_guess g;
	char *name, *meant;

	if (m != NULL)
		return m->bad ? NULL : m;
	if (ps->incomplete || (name = conf_arena_strn(&ps->tree, p + 1, n)) == NULL)
		return NULL;
	conf_guess_init(&g, name);
	for (other = ps->macros; other != NULL; other = other->next)
		conf_guess_try(&g, other->name);
	meant = g.best != NULL ? conf_arena_printf(&ps->tree, "$%s", g.best) : NULL;
	pos.off += (size_t)(p - w->text);
	pos.column += (unsigned)(p - w->text);
	pos.len = (unsigned)n + 1;
	conf_mistake(ps->errors, &pos, meant,
		     "undefined macro '$%.*s'; expected '$%.*s = value' before its use",
		     CONF_TEXT_SHOWN, name, CONF_TEXT_SHOWN, name);
	return NULL;
}

/* "$name" alone: all the words of the macro, in the place of w. */
static void
append_macro_words(struct conf_parse *ps, struct conf_words *words, const struct conf_word *w,
		   const struct conf_macro *m)
{
	const struct conf_word *v;
	struct conf_word *copy;

	for (v = m->words.first; v != NULL && ps->nwords <= CONF_WORDS_TOTAL_MAX; v = v->next) {
		if ((copy = conf_arena_alloc(&ps->tree, sizeof *copy)) == NULL)
			return;
		copy->text = v->text;
		copy->pos = w->pos;
		copy->macro = m;
		words_append(ps, words, copy);
	}
}

/* Joins the text of w, whose macros must be of one word each; NULL: reported. */
static char *
join_macros(struct conf_parse *ps, const struct conf_word *w, const struct conf_macro **first)
{
	const char *p = w->text, *end, *add;
	const struct conf_macro *m;
	char text[CONF_WORD_MAX + 1];
	size_t n = 0, len;

	while (*p != '\0') {
		if (*p == '$') {
			if ((m = macro_use(ps, w, p)) == NULL)
				return NULL;
			if (m->nwords != 1) {
				conf_mistake_word(ps->errors, w, NULL,
						  "$%.*s has %zu words; expected "
						  "one to join with others",
						  CONF_TEXT_SHOWN, m->name, m->nwords);
				return NULL;
			}
			end = p + 1 + strlen(m->name);
			add = m->words.first->text;
			len = strlen(add);
			*first = *first != NULL ? *first : m;
		} else {
			add = p;
			len = strcspn(p, "$");
			end = p + len;
		}
		if (n + len > CONF_WORD_MAX) {
			conf_mistake_word(ps->errors, w, NULL,
					  "a word of more than %d octets with its macros; expected "
					  "at most as many",
					  CONF_WORD_MAX);
			return NULL;
		}
		memcpy(text + n, add, len);
		n += len;
		p = end;
	}
	return conf_arena_strn(&ps->tree, text, n);
}

void
conf_parse_word(struct conf_parse *ps, struct conf_words *words, struct conf_word *w)
{
	const struct conf_macro *m = NULL;
	size_t n;

	if (!w->dollar || ps->nwords > CONF_WORDS_TOTAL_MAX) {
		words_append(ps, words, w);
		return;
	}
	n = conf_lex_macro_name((const uint8_t *)w->text + 1, strlen(w->text) - 1);
	if (w->text[0] == '$' && w->text[1 + n] == '\0' &&
	    (m = macro_use(ps, w, w->text)) != NULL) {
		append_macro_words(ps, words, w, m);
		return;
	}
	if (w->text[0] == '$' && w->text[1 + n] == '\0') {
		w->bad = true;
	} else {
		w->text = join_macros(ps, w, &m);
		w->bad = w->text == NULL;
		w->macro = m;
	}
	if (w->bad)
		w->text = "";
	words_append(ps, words, w);
}

void
conf_parse_macro(struct conf_parse *ps, const struct conf_word *name, struct conf_words words,
		 bool bad)
{
	const struct conf_macro *old = macro_find(ps, name->text, strlen(name->text));
	const struct conf_word *w;
	struct conf_macro *m;

	if (old != NULL) {
		conf_mistake_word(
		    ps->errors, name, NULL,
		    "'$%.*s' is defined again; expected one definition, and the first "
		    "is at %s:%u",
		    CONF_TEXT_SHOWN, name->text, old->pos.file->name, old->pos.line);
		return;
	}
	if (ps->nmacros++ == CONF_MACROS_MAX) {
		conf_mistake_word(ps->errors, name, NULL, "one macro too many; expected at most %d",
				  CONF_MACROS_MAX);
		ps->incomplete = true; /* its uses are no mistakes of their own */
	}
	if (ps->nmacros > CONF_MACROS_MAX || (m = conf_arena_alloc(&ps->tree, sizeof *m)) == NULL)
		return;
	m->name = name->text;
	m->pos = name->pos;
	m->words = words;
	m->bad = bad;
	for (w = words.first; w != NULL; w = w->next) {
		m->nwords++;
		m->bad = m->bad || w->bad;
	}
	m->next = ps->macros;
	ps->macros = m;
}

struct conf_node *
conf_parse_node(struct conf_parse *ps, struct conf_words words, const struct conf_brace *brace,
		struct conf_list block)
{
	struct conf_node *n = conf_arena_alloc(&ps->tree, sizeof *n);
	const struct conf_word *w;

	if (n == NULL)
		return NULL;
	n->words = words;
	n->brace = brace;
	n->block = block;
	for (w = words.first; w != NULL; w = w->next)
		n->bad = n->bad || w->bad;
	return n;
}

/* Appends b to a. */
static void
list_join(struct conf_list *a, struct conf_list b)
{
	if (b.first == NULL)
		return;
	if (a->last != NULL)
		a->last->next = b.first;
	else
		a->first = b.first;
	a->last = b.last;
}

/* The path of an included file: as written, or in the folder of the file that includes it. That
 * folder is taken as it was named, so that messages keep the form people gave. */
static char *
include_path(struct conf_parse *ps, const struct conf_word *w)
{
	const char *name = w->pos.file->name, *slash = strrchr(name, '/');

	if (w->text[0] == '/' || slash == NULL)
		return conf_arena_str(&ps->tree, w->text);
	return conf_arena_printf(&ps->tree, "%.*s%s", (int)(slash - name + 1), name, w->text);
}

static void
include(struct conf_run *run, struct conf_list *list, const struct conf_node *n)
{
	struct conf_parse *ps = run->ps;
	const struct conf_word *key = n->words.first, *w = key->next;
	const struct conf_file *p;
	struct conf_file *f;
	struct conf_list in;
	unsigned depth = 0;
	char *path;

	ps->incomplete = ps->incomplete || n->bad || w == NULL;
	if (n->bad)
		return;
	if (w == NULL || w->next != NULL || n->brace != NULL) {
		conf_mistake_word(ps->errors, w == NULL || w->next == NULL ? key : w->next, NULL,
				  "'include' with %s; expected one file",
				  w == NULL         ? "nothing behind it"
				  : w->next != NULL ? "more than one word"
						    : "a block");
		return;
	}
	for (p = key->pos.file->parent; p != NULL; p = p->parent)
		depth++;
	if (!ps->may_include || depth >= CONF_INCLUDE_DEPTH_MAX || ps->nfiles >= CONF_FILES_MAX) {
		ps->incomplete = true;
		if (!ps->may_include)
			conf_mistake_word(
			    ps->errors, key, NULL,
			    "'include' in a text that is no file; expected directives");
		else if (depth >= CONF_INCLUDE_DEPTH_MAX)
			conf_mistake_word(ps->errors, key, NULL,
					  "files within files; expected at "
					  "most %d levels",
					  CONF_INCLUDE_DEPTH_MAX);
		else
			conf_mistake_word(ps->errors, key, NULL,
					  "one file too many; expected at "
					  "most %d",
					  CONF_FILES_MAX);
		return;
	}
	if ((path = include_path(ps, w)) == NULL || load_file(ps, path, w, &f) != 0 || f == NULL)
		return;
	if (parse_file(ps, f, &in) == 0)
		list_join(list, in);
}

void
conf_parse_statement(struct conf_run *run, struct conf_list *list, struct conf_node *n)
{
	struct conf_parse *ps = run->ps;
	struct conf_node *last = list->last;

	if (n == NULL)
		return;
	if (n->words.first == NULL) {
		if (ps->nwords > CONF_WORDS_TOTAL_MAX)
			return; /* its words were dropped */
		if (last != NULL && last->brace == NULL &&
		    last->words.first->pos.file == n->brace->pos.file) {
			conf_mistake(ps->errors, &n->brace->pos, NULL,
				     "'{' at the beginning of a line; expected it at the end of "
				     "line %u",
				     last->words.last->pos.line);
			last->brace = n->brace;
			last->block = n->block;
			return;
		}
		conf_mistake(ps->errors, &n->brace->pos, NULL,
			     "a block without a name; expected a directive before '{'");
		n->bad = true;
	}
	if (n->words.first != NULL && strcmp(n->words.first->text, "include") == 0) {
		include(run, list, n);
		return;
	}
	list_join(list, (struct conf_list){ n, n });
}
