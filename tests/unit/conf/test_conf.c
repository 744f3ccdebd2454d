/* unit/conf/test_conf.c - the configuration reader: the table of its tests. */
#include "unit/conf/test_conf.h"

#include "test.h"

static const struct test_row rows[] = {
	{ "broken files", test_broken_files },
	{ "good files", test_good_files },
	{ "the file as installed", test_shipped_file },
	{ "numbers", test_numbers },
	{ "durations", test_durations },
	{ "rates", test_rates },
	{ "addresses", test_addresses },
	{ "names", test_names },
	{ "UTF-8", test_utf8 },
	{ "guesses", test_guesses },
	{ "counts at their limits", test_counts },
	{ "size of a file", test_file_size },
	{ "includes at their limits", test_includes },
	{ "length of a word", test_word_length },
	{ "words of a run", test_words_total },
	{ "size when written out", test_shown_size },
	{ "mistakes kept", test_mistakes_kept },
	{ "directives that do not exist yet", test_absent_directives },
	{ "words that do not exist yet", test_absent_words },
	{ "defaults", test_defaults },
	{ "from memory", test_from_memory },
	{ "walk", test_walk },
	{ "origins", test_origins },
	{ "same credentials", test_same_credentials },
	{ "print limits", test_print_limits },
};

int
conf_say(const char *base, struct span text, struct buf *out, size_t *mistakes)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf;
	int rc;

	buf_init(out, TEXT_MAX);
	CU_ASSERT_PTR_NOT_NULL_FATAL(errors);
	rc = conf_parse("t", base, text, &conf, errors);
	*mistakes = conf_errors_count(errors);
	CU_ASSERT_EQUAL(rc == 0, conf != NULL);
	CU_ASSERT_EQUAL(rc == 0, *mistakes == 0);
	CU_ASSERT_EQUAL(rc == 0 ? conf_show(conf, false, out) : conf_errors_print(errors, out), 0);
	CU_ASSERT_EQUAL(buf_append(out, "", 1), 0); /* so that it can be compared as a string */
	conf_free(&conf);
	CU_ASSERT_PTR_NULL(conf);
	conf_errors_free(&errors);
	CU_ASSERT_PTR_NULL(errors);
	return rc;
}

TEST_MAIN("conf", rows)
