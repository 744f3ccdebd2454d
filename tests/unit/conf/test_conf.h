/* unit/conf/test_conf.h - the parts of the program of this folder. */
#ifndef UNIT_CONF_TEST_CONF_H
#define UNIT_CONF_TEST_CONF_H

#include "conf/conf.h"

#define TEXT_MAX (16 * 1024 * 1024) /* octets of anything printed here */

/* Reads text; returns rc. What it says, configuration or mistakes, is in out (initialised here, the
 * caller frees it); the number of mistakes in *mistakes. */
int conf_say(const char *base, struct span text, struct buf *out, size_t *mistakes);

/* conf_files.c */
void test_broken_files(void);
void test_good_files(void);
void test_shipped_file(void);

/* conf_values.c */
void test_numbers(void);
void test_durations(void);
void test_rates(void);
void test_addresses(void);
void test_names(void);
void test_utf8(void);
void test_guesses(void);

/* conf_limits.c */
void test_counts(void);
void test_file_size(void);
void test_includes(void);
void test_word_length(void);
void test_words_total(void);
void test_shown_size(void);
void test_mistakes_kept(void);

/* conf_api.c */
void test_absent_directives(void);
void test_absent_words(void);
void test_defaults(void);
void test_from_memory(void);
void test_walk(void);
void test_origins(void);
void test_same_credentials(void);
void test_print_limits(void);

#endif
