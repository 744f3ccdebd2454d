/* unit/test.h - what every unit program shares: a table of tests, and an exit code that tells. */
#ifndef UNIT_TEST_H
#define UNIT_TEST_H

#include <CUnit/CUnit.h>
#include <stddef.h>

struct test_row {
	const char *name;
	void (*f)(void);
};

/* Runs the rows as one suite and returns main()'s exit code: 0 when at least one test ran and
 * none failed. (CU_basic_run_tests() itself reports success whatever happened.) */
int test_main(const char *suite, const struct test_row *rows, size_t n);

/* Descriptors that this process has open: equal before and after what must not leave one behind. */
unsigned test_open_fds(void);

#define TEST_MAIN(suite, rows)                                                                     \
	int main(void)                                                                             \
	{                                                                                          \
		return test_main(suite, rows, sizeof(rows) / sizeof((rows)[0]));                   \
	}

#endif
