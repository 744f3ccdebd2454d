/* unit/conf/conf_limits.c - every limit, at its maximum and one beyond. */
#include "unit/conf/test_conf.h"

#include "conf/conf_schema.h"
#include "conf/conf_tree.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* head, n times unit (with its number in the place of %u), tail. */
static void
build(struct buf *b, const char *head, const char *unit, unsigned n, const char *tail)
{
	char *item = NULL, *at;
	unsigned i;

	buf_init(b, TEXT_MAX);
	CU_ASSERT_EQUAL(buf_append_str(b, head), 0);
	item = strdup(unit);
	CU_ASSERT_PTR_NOT_NULL_FATAL(item);
	for (i = 0; i < n; i++) {
		char *rest = item;

		while ((at = strchr(rest, '%')) != NULL) {
			CU_ASSERT_EQUAL(buf_append(b, rest, (size_t)(at - rest)), 0);
			CU_ASSERT_EQUAL(buf_printf(b, "%u", i + 1), 0);
			rest = at + 1;
		}
		CU_ASSERT_EQUAL(buf_append_str(b, rest), 0);
	}
	CU_ASSERT_EQUAL(buf_append_str(b, tail), 0);
	free(item);
}

void
test_counts(void)
{
	static const struct {
		const char *head, *unit, *tail;
		unsigned max;
		const char *text; /* what is said beyond it */
	} rows[] = {
		{ "", "service s% {\nprotocol line\nlisten 127.0.0.1:% plain\n}\n", "",
		  CONF_SERVICES_MAX, "one 'service' too many; expected at most 64" },
		{ "", "tls t% {\ncertificate /a\n}\n", "", CONF_TLS_MAX,
		  "one 'tls' too many; expected at most 64" },
		{ "tls t {\n", "certificate /%\n", "}\n", CONF_CERTS_MAX,
		  "one 'certificate' too many; expected at most 8" },
		{ "tls t {\ncertificate /a\n", "client-ca /%\n", "}\n", CONF_CLIENT_CA_MAX,
		  "one 'client-ca' too many; expected at most 64" },
		{ "tls t {\ncertificate /a\nclient-ca", " /%", "\n}\n", CONF_CLIENT_CA_MAX,
		  "one 'client-ca' too many; expected at most 64" },
		{ "tls t {\ncertificate /a\n", "client-crl /%\n", "}\n", CONF_CLIENT_CRL_MAX,
		  "one 'client-crl' too many; expected at most 64" },
		{ "tls t {\ncertificate /a\nclient-crl", " /%", "\n}\n", CONF_CLIENT_CRL_MAX,
		  "one 'client-crl' too many; expected at most 64" },
		{ "tls t {\ncertificate /a\n", "name h%.example {\ncertificate /b\n}\n", "}\n", CONF_NAMES_MAX,
		  "one 'name' too many; expected at most 64" },
		{ "tls t {\ncertificate /a\n", "ocsp /%\n", "}\n", CONF_OCSP_MAX,
		  "one 'ocsp' too many; expected at most 16" },
		{ "tls t {\ncertificate /a\nname", " h%.example", " {\ncertificate /b\n}\n}\n", CONF_HOSTS_MAX,
		  "more than 64 host names; expected another 'name' block" },
		{ "service s {\nprotocol line\n", "listen 127.0.0.1:% plain\n", "}\n",
		  CONF_LISTEN_MAX, "one 'listen' too many; expected at most 16" },
		{ "identity {\n", "map san-email from /%\n", "}\n", CONF_MAPS_MAX,
		  "one 'map' too many; expected at most 64" },
		{ "", "domain d%.example\n", "", CONF_DOMAINS_MAX,
		  "one 'domain' too many; expected at most 256" },
		{ "domain", " d%.example", "\n", CONF_DOMAINS_MAX,
		  "one 'domain' too many; expected at most 256" },
		{ "", "$m% = x\n", "hostname $m256\n", CONF_MACROS_MAX,
		  "one macro too many; expected at most 256" },
	};
	size_t i, mistakes;
	struct buf text, out;

	for (i = 0; i < PT_COUNT(rows); i++) {
		build(&text, rows[i].head, rows[i].unit, rows[i].max, rows[i].tail);
		CU_ASSERT_EQUAL(conf_say(NULL, buf_span(&text), &out, &mistakes), 0);
		buf_fini(&text);
		buf_fini(&out);
		build(&text, rows[i].head, rows[i].unit, rows[i].max + 1, rows[i].tail);
		CU_ASSERT_EQUAL(conf_say(NULL, buf_span(&text), &out, &mistakes), PT_EINVAL);
		CU_ASSERT_EQUAL(mistakes, 1);
		CU_ASSERT_PTR_NOT_NULL(strstr((const char *)buf_span(&out).p, rows[i].text));
		buf_fini(&text);
		buf_fini(&out);
	}
}

/* Writes a file of this test into the folder it runs in. */
static void
write_file(const char *path, struct span text)
{
	FILE *f = fopen(path, "wb");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(fwrite(text.p, 1, text.n, f), text.n);
	fclose(f);
}

static int
load_file(const char *path, size_t *mistakes)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf;
	int rc;

	CU_ASSERT_PTR_NOT_NULL_FATAL(errors);
	rc = conf_load(path, &conf, errors);
	*mistakes = conf_errors_count(errors);
	conf_free(&conf);
	conf_errors_free(&errors);
	return rc;
}

void
test_file_size(void)
{
	size_t mistakes;
	struct buf text, out;
	char path[64];

	snprintf(path, sizeof path, "conf_size.%d", (int)getpid());
	build(&text, "", "#23456789abcdef\n", CONF_FILE_MAX / 16, "");
	CU_ASSERT_EQUAL(buf_size(&text), CONF_FILE_MAX);
	CU_ASSERT_EQUAL(conf_say(NULL, buf_span(&text), &out, &mistakes), 0);
	buf_fini(&out);
	write_file(path, buf_span(&text));
	CU_ASSERT_EQUAL(load_file(path, &mistakes), 0);

	CU_ASSERT_EQUAL(buf_append(&text, "\n", 1), 0);
	CU_ASSERT_EQUAL(conf_say(NULL, buf_span(&text), &out, &mistakes), PT_EINVAL);
	CU_ASSERT_STRING_EQUAL((const char *)buf_span(&out).p,
			       "t: larger than 1 MiB; expected a configuration\n");
	buf_fini(&out);
	write_file(path, buf_span(&text));
	CU_ASSERT_EQUAL(load_file(path, &mistakes), PT_EINVAL);
	CU_ASSERT_EQUAL(mistakes, 1);
	buf_fini(&text);
	unlink(path);
	CU_ASSERT_EQUAL(load_file(path, &mistakes), PT_EINVAL); /* no such file */
	CU_ASSERT_EQUAL(mistakes, 1);
}

void
test_includes(void)
{
	char dir[64], path[96], text[96];
	size_t mistakes;
	struct buf all;
	unsigned i;

	snprintf(dir, sizeof dir, "conf_include.%d", (int)getpid());
	CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
	for (i = 0; i <= CONF_INCLUDE_DEPTH_MAX + 1; i++) { /* each includes the one before */
		snprintf(path, sizeof path, "%s/%u", dir, i);
		snprintf(text, sizeof text, i == 0 ? "linger 1s\n" : "include %u\n", i - 1);
		write_file(path, span_str(text));
	}
	snprintf(path, sizeof path, "%s/%u", dir, CONF_INCLUDE_DEPTH_MAX);
	CU_ASSERT_EQUAL(load_file(path, &mistakes), 0);
	snprintf(path, sizeof path, "%s/%u", dir, CONF_INCLUDE_DEPTH_MAX + 1);
	CU_ASSERT_EQUAL(load_file(path, &mistakes), PT_EINVAL);
	CU_ASSERT_EQUAL(mistakes, 1);

	snprintf(path, sizeof path, "%s/0", dir);
	write_file(path, span_str(""));
	snprintf(path, sizeof path, "%s/all", dir);
	for (i = 0; i < 2; i++) { /* the file itself and what it includes, and one more */
		build(&all, "", "include 0\n", CONF_FILES_MAX - 1 + i, "");
		write_file(path, buf_span(&all));
		buf_fini(&all);
		CU_ASSERT_EQUAL(load_file(path, &mistakes), i == 0 ? 0 : PT_EINVAL);
		CU_ASSERT_EQUAL(mistakes, i);
	}
	unlink(path);
	for (i = 0; i <= CONF_INCLUDE_DEPTH_MAX + 1; i++) {
		snprintf(path, sizeof path, "%s/%u", dir, i);
		unlink(path);
	}
	CU_ASSERT_EQUAL(rmdir(dir), 0);
}

void
test_word_length(void)
{
	/* where the word stands is a comment's, a macro's, a quoted one's */
	static const struct {
		const char *head, *tail;
	} rows[] = { { "$m = ", "\n" }, { "$m = \"", "\"\n" } };
	size_t i, n, mistakes;
	struct buf text, out;

	for (i = 0; i < PT_COUNT(rows); i++)
		for (n = CONF_WORD_MAX; n <= CONF_WORD_MAX + 1; n++) {
			build(&text, rows[i].head, "x", (unsigned)n, rows[i].tail);
			CU_ASSERT_EQUAL(conf_say(NULL, buf_span(&text), &out, &mistakes),
					n == CONF_WORD_MAX ? 0 : PT_EINVAL);
			CU_ASSERT_EQUAL(mistakes, n - CONF_WORD_MAX);
			buf_fini(&text);
			buf_fini(&out);
		}
	for (n = CONF_WORD_MAX; n <= CONF_WORD_MAX + 1; n++) { /* joined from two */
		build(&text, "$a = ", "x", (unsigned)n - 1, "\n$b = /$a\n");
		CU_ASSERT_EQUAL(conf_say(NULL, buf_span(&text), &out, &mistakes),
				n == CONF_WORD_MAX ? 0 : PT_EINVAL);
		CU_ASSERT_EQUAL(mistakes, n - CONF_WORD_MAX);
		buf_fini(&text);
		buf_fini(&out);
	}
	for (n = CONF_PATH_MAX; n <= CONF_PATH_MAX + 1; n++) { /* with the folder in front */
		build(&text, "state ", "x", (unsigned)n - 5, "\n");
		CU_ASSERT_EQUAL(conf_say("/etc", buf_span(&text), &out, &mistakes),
				n == CONF_PATH_MAX ? 0 : PT_EINVAL);
		buf_fini(&text);
		buf_fini(&out);
		build(&text, "state ", "x", (unsigned)n - 1, "\n");
		CU_ASSERT_EQUAL(conf_say("/", buf_span(&text), &out, &mistakes),
				n == CONF_PATH_MAX ? 0 : PT_EINVAL);
		buf_fini(&text);
		buf_fini(&out);
	}
}

/* Macros of macros could make any number of words out of a few lines. */
void
test_words_total(void)
{
	struct buf text, out;
	size_t mistakes;

	build(&text, "", "$m% = x\n", CONF_MACROS_MAX - 8, "");
	CU_ASSERT_EQUAL(buf_append_str(&text, "$a = x x x x x x x x x x\n"
					      "$b = $a $a $a $a $a $a $a $a $a $a\n"
					      "$c = $b $b $b $b $b $b $b $b $b $b\n"
					      "$d = $c $c $c $c $c $c $c $c $c $c\n"
					      "$e = $d $d $d $d $d $d $d $d $d $d\n"
					      "$f = $e $e $e $e $e $e $e $e $e $e\n"),
			0);
	CU_ASSERT_EQUAL(conf_say(NULL, buf_span(&text), &out, &mistakes), PT_EINVAL);
	CU_ASSERT_EQUAL(mistakes, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr((const char *)buf_span(&out).p, "more than 100000 words"));
	buf_fini(&text);
	buf_fini(&out);
	build(&text, "$a =", " x", CONF_WORDS_TOTAL_MAX, "\n");
	CU_ASSERT_EQUAL(conf_say(NULL, buf_span(&text), &out, &mistakes), 0);
	buf_fini(&text);
	buf_fini(&out);
	build(&text, "$a =", " x", CONF_WORDS_TOTAL_MAX + 1, "\n");
	CU_ASSERT_EQUAL(conf_say(NULL, buf_span(&text), &out, &mistakes), PT_EINVAL);
	CU_ASSERT_EQUAL(mistakes, 1);
	buf_fini(&text);
	buf_fini(&out);
}

/* What is written out for the other processes must be small enough to be read. */
void
test_shown_size(void)
{
	struct buf text, out;
	size_t mistakes;
	unsigned n;

	for (n = 4; n <= 8; n += 4) { /* 4 or 8 blocks of 64 paths of 3000 octets */
		build(&text, "$p = /", "x", 2999, "\n$q = $p $p $p $p $p $p $p $p\n");
		CU_ASSERT_EQUAL(buf_append_str(&text, "$r = $q $q $q $q $q $q $q $q\n"), 0);
		build(&out, "", "tls t% {\ncertificate /a\nclient-ca $r\n}\n", n, "");
		CU_ASSERT_EQUAL(buf_append(&text, buf_span(&out).p, buf_size(&out)), 0);
		buf_fini(&out);
		CU_ASSERT_EQUAL(conf_say(NULL, buf_span(&text), &out, &mistakes),
				n == 4 ? 0 : PT_EINVAL);
		if (n == 8)
			CU_ASSERT_STRING_EQUAL(
			    (const char *)buf_span(&out).p,
			    "t: larger than 1 MiB when its macros and includes are "
			    "written out; expected less\n");
		buf_fini(&text);
		buf_fini(&out);
	}
}

void
test_mistakes_kept(void)
{
	struct buf text, out;
	size_t mistakes;

	build(&text, "", "x%\n", CONF_ERRORS_MAX, "");
	CU_ASSERT_EQUAL(conf_say(NULL, buf_span(&text), &out, &mistakes), PT_EINVAL);
	CU_ASSERT_EQUAL(mistakes, CONF_ERRORS_MAX);
	CU_ASSERT_PTR_NULL(strstr((const char *)buf_span(&out).p, " more\n"));
	buf_fini(&text);
	buf_fini(&out);
	/* the lexer finds the last line's before the schema finds the others': place decides */
	build(&text, "", "x%\n", CONF_ERRORS_MAX, "\"\n");
	CU_ASSERT_EQUAL(conf_say(NULL, buf_span(&text), &out, &mistakes), PT_EINVAL);
	CU_ASSERT_EQUAL(mistakes, CONF_ERRORS_MAX + 1);
	CU_ASSERT_PTR_NOT_NULL(strstr((const char *)buf_span(&out).p, "\nt:100:1: "));
	CU_ASSERT_PTR_NOT_NULL(strstr((const char *)buf_span(&out).p, "\nand 1 more\n"));
	CU_ASSERT_PTR_NULL(strstr((const char *)buf_span(&out).p, "string"));
	buf_fini(&text);
	buf_fini(&out);
}
