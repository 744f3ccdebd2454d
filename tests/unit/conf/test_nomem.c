/* unit/conf/test_nomem.c - memory that runs out: at each allocation in turn, once or for good, the
 * reader must say so and neither crash nor leak nor pass off half a configuration. The linker sends
 * the allocations of the folder here (see Makefile.inc). */
#include "conf/conf.h"
#include "test.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEXT_MAX (1024 * 1024)

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);

static unsigned left; /* allocations that succeed before one fails; counts down */
static bool for_good; /* all after it fail, too */
static unsigned failed;

static bool
fails(void)
{
	if (left > 0) {
		left--;
		return false;
	}
	if (failed > 0 && !for_good)
		return false;
	failed++;
	return true;
}

void *
__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

/* Enough of everything that each chunk, list and message is met. */
static const char *const texts[] = {
	"$a = x y\ntls main {\n    certificate a.pem key $b\n    client-ca $a\n}\n"
	"service s {\n    listen localhost:1 tls\n    tls mian { priority \"\\\" }\n    map x\n",
	"$a = x y\n$d = /d\nlog file $d/x\ntls main {\n    certificate a.pem key a.key\n    "
	"client-ca $a\n}\n"
	"identity {\n    map san-email from ca.pem\n}\n"
	"service s {\n    protocol line\n    listen 127.0.0.1:1 tls\n    listen unix:/x plain\n"
	"    tls main { priority \"NORMAL\" }\n}\n",
};

/* One run in which allocation number nth fails; false when it was not reached. */
static bool
run(const char *path, const char *text, unsigned nth)
{
	struct conf_errors *errors;
	struct conf *conf = NULL;
	struct buf out;
	int rc = PT_ENOMEM, printed = 0;

	buf_init(&out, TEXT_MAX);
	failed = 0;
	left = nth;
	if ((errors = conf_errors_new()) != NULL) {
		rc = path != NULL ? conf_load(path, &conf, errors)
				  : conf_parse("t", "/etc", span_str(text), &conf, errors);
		if (rc == 0)
			printed = conf_show(conf, true, &out);
		else
			printed = conf_errors_print(errors, &out);
	}
	left = UINT32_MAX;
	CU_ASSERT_EQUAL(rc == 0, conf != NULL);
	CU_ASSERT(printed == 0 || printed == PT_ENOMEM);
	CU_ASSERT_EQUAL(failed > 0, rc == PT_ENOMEM || printed == PT_ENOMEM);
	buf_fini(&out);
	conf_free(&conf);
	conf_errors_free(&errors);
	return failed > 0;
}

static void
exhaust(const char *path, const char *text)
{
	unsigned nth, good;

	for (good = 0; good < 2; good++) {
		for_good = good == 1;
		for (nth = 0; run(path, text, nth); nth++)
			continue;
		CU_ASSERT(nth > 5);
	}
}

static void
test_text(void)
{
	size_t i;

	for (i = 0; i < PT_COUNT(texts); i++)
		exhaust(NULL, texts[i]);
}

static void
test_file(void)
{
	static const char *const files[] = { "good/include.conf", "broken/include-mistakes.conf",
					     "broken/brace-unclosed.conf",
					     "broken/many-mistakes.conf" };
	char path[4096];
	size_t i;

	for (i = 0; i < PT_COUNT(files); i++) {
		snprintf(path, sizeof path, "%s/unit/conf/%s", TEST_SRCDIR, files[i]);
		exhaust(path, NULL);
	}
}

static const struct test_row rows[] = {
	{ "text", test_text },
	{ "files", test_file },
};

int
main(void)
{
	left = UINT32_MAX;
	return test_main("conf: out of memory", rows, PT_COUNT(rows));
}
