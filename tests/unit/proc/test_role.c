/* unit/proc/test_role.c - names of roles and states: in logs, titles and the status. */
#include "test.h"

#include "proc/role.h"

static void
test_names(void)
{
	static const char *const roles[] = { "parent", "keyholder", "worker", "control", "auth", "spawn", "store",
		"unknown" };
	static const char *const states[] = { "starting", "ready", "serving", "draining", "stopping",
		"unknown" };
	unsigned i;

	for (i = 0; i <= ROLE_COUNT; i++)
		CU_ASSERT_STRING_EQUAL(role_name(i), roles[i]);
	CU_ASSERT_STRING_EQUAL(role_name(~0u), "unknown");
	/* posternd itself, but for those that must not carry what it is linked with */
	for (i = 0; i <= ROLE_COUNT; i++)
		CU_ASSERT_EQUAL(role_program(i) != NULL, i == ROLE_CONTROL || i == ROLE_AUTH || i == ROLE_STORE);
	CU_ASSERT_STRING_EQUAL(role_program(ROLE_CONTROL), "postern-control");
	CU_ASSERT_STRING_EQUAL(role_program(ROLE_AUTH), "postern-auth");
	CU_ASSERT_STRING_EQUAL(role_program(ROLE_STORE), "postern-store");
	for (i = 0; i <= PROC_STOPPING + 1; i++)
		CU_ASSERT_STRING_EQUAL(proc_state_name(i), states[i]);
	CU_ASSERT_STRING_EQUAL(proc_state_name(~0u), "unknown");
}

static const struct test_row rows[] = {
	{ "names", test_names },
};
TEST_MAIN("proc/role", rows)
