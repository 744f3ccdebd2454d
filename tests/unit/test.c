/* unit/test.c - see test.h. */
#include "test.h"

#include <CUnit/Basic.h>
#include <dirent.h>
#include <stdio.h>

int
test_main(const char *suite, const struct test_row *rows, size_t n)
{
	CU_pSuite s;
	unsigned bad, ran;
	size_t i;

	if (CU_initialize_registry() != CUE_SUCCESS || (s = CU_add_suite(suite, NULL, NULL)) == NULL)
		return 1;
	for (i = 0; i < n; i++)
		if (CU_add_test(s, rows[i].name, rows[i].f) == NULL)
			return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	bad = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	ran = CU_get_number_of_tests_run();
	CU_cleanup_registry();
	return bad == 0 && ran > 0 ? 0 : 1;
}

unsigned
test_open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n; /* ".", ".." and the folder's own are always among them */
}
