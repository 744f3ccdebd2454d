/* conf/conf_tree.h - what the grammar makes of a file: statements of words, blocks within blocks.
 *
 * Knows no directive. Every word keeps its place, since the schema and the cross checks report
 * through the same function as the grammar. All of it lives in one arena of the run. */
#ifndef CONF_CONF_TREE_H
#define CONF_CONF_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CONF_WORD_MAX        4096   /* octets of one word: a path's maximum */
#define CONF_WORDS_TOTAL_MAX 100000 /* words of one run; macros could multiply without end */
#define CONF_NEST_MAX        8      /* blocks within blocks; the schema needs three */
#define CONF_MACROS_MAX      256
#define CONF_FILES_MAX       256 /* files of one run, each include counted */

struct conf_file {
	const char *name; /* as in messages; lives as long as the struct conf */
	const char *dir;  /* folder that relative paths start at; NULL: none do */
	const uint8_t *text;
	size_t len;
	unsigned index; /* order in which the files were opened */
	dev_t dev;      /* which file it is, to find loops; 0 for text from memory */
	ino_t ino;
	const struct conf_file *parent; /* the file that includes it */
};

/* A place in a file. */
struct conf_pos {
	const struct conf_file *file;
	size_t off;      /* octet in text */
	unsigned line;   /* from 1 */
	unsigned column; /* from 1, in octets */
	unsigned len;    /* octets that the mistake covers, on its line; at least 1 */
};

struct conf_word {
	struct conf_word *next;
	const char *text;
	struct conf_pos pos;            /* for the words of a macro: where it is used */
	const struct conf_macro *macro; /* where the text comes from; NULL: it stands here */
	bool dollar;                    /* unquoted and with a '$': not yet expanded */
	bool bad;                       /* has been reported; must not be judged */
};

struct conf_words {
	struct conf_word *first, *last;
};

struct conf_macro {
	struct conf_macro *next;
	const char *name; /* without '$' */
	struct conf_pos pos;
	struct conf_words words;
	size_t nwords;
	bool bad; /* its definition has been reported */
};

struct conf_brace {
	struct conf_pos pos;
	unsigned indent; /* column of the first token on its line */
	bool unclosed;
};

struct conf_list {
	struct conf_node *first, *last;
};

/* One statement. Words may be missing only in a block without a name, which has been reported. */
struct conf_node {
	struct conf_node *next;
	struct conf_words words;
	const struct conf_brace *brace; /* NULL: no block */
	struct conf_list block;
	bool bad; /* a word of it has been reported */
};

/* Moves out of blocks that are never closed what by its indentation stands behind them, so that one
 * missing brace is one mistake. */
void conf_tree_hoist(struct conf_list *list);

#endif
