/* fuzz/fuzz_conf.c - any octets as a configuration: never a crash, never both a configuration and
 * mistakes, and what is accepted reads back as the same from its own printed form. */
#include "conf/conf.h"

#include <stdint.h>
#include <string.h>

#define TEXT_MAX (8 * 1024 * 1024) /* octets of a printed configuration, or of all mistakes */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads text; prints the configuration, or the mistakes, into out. */
static int
run(const char *base, struct span text, struct buf *out)
{
	struct conf_errors *errors = conf_errors_new();
	struct conf *conf;
	int rc;

	PT_ASSERT(errors != NULL);
	rc = conf_parse("fuzz.conf", base, text, &conf, errors);
	PT_ASSERT((conf != NULL) == (rc == 0));
	PT_ASSERT((conf_errors_count(errors) == 0) == (rc == 0));
	if (rc == 0)
		PT_ASSERT(conf_show(conf, false, out) == 0);
	else
		PT_ASSERT(rc == PT_EINVAL && conf_errors_print(errors, out) == 0);
	conf_free(&conf);
	conf_errors_free(&errors);
	return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf first, second;

	buf_init(&first, TEXT_MAX);
	buf_init(&second, TEXT_MAX);
	if (run("/etc/postern", (struct span){ data, size }, &first) == 0) {
		PT_ASSERT(run(NULL, buf_span(&first), &second) == 0);
		PT_ASSERT(span_equal(buf_span(&first), buf_span(&second)));
	}
	buf_fini(&first);
	buf_fini(&second);
	return 0;
}
