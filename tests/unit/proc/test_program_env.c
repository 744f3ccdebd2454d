/* unit/proc/test_program_env.c - a program's environment on its way: what arrives is what was put, and nothing that
 * was not. */
#include "test.h"

#include "proc/program_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct got {
	char text[PROGRAM_ENV_COUNT][PROGRAM_ENV_NAME_MAX + PROGRAM_ENV_VALUE_MAX + 2];
	size_t n;
};

static int
take(void *arg, const char *assignment)
{
	struct got *g = arg;

	CU_ASSERT_FATAL(g->n < PROGRAM_ENV_COUNT);
	snprintf(g->text[g->n++], sizeof g->text[0], "%s", assignment);
	return 0;
}

static int
each(struct span env, struct got *g)
{
	g->n = 0;
	return program_env_each(env, take, g);
}

static void
test_round(void)
{
	struct got *g = calloc(1, sizeof *g);
	struct buf b;

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	buf_init(&b, PROGRAM_ENV_MAX);
	CU_ASSERT_EQUAL(each(buf_span(&b), g), 0);
	CU_ASSERT_EQUAL(g->n, 0);
	program_env_put(&b, PROGRAM_ENV_USER, "alice@example.org");
	program_env_put(&b, PROGRAM_ENV_DEVICE, NULL);
	program_env_put(&b, PROGRAM_ENV_VERDICT, "");
	program_env_put(&b, PROGRAM_ENV_CLIENT_S_DN, "CN=a\\,b=\"c\" B\xc3\xbc" "cher");
	CU_ASSERT_EQUAL(each(buf_span(&b), g), 0);
	CU_ASSERT_EQUAL_FATAL(g->n, 3);
	CU_ASSERT_STRING_EQUAL(g->text[0], "POSTERN_USER=alice@example.org");
	CU_ASSERT_STRING_EQUAL(g->text[1], "POSTERN_VERDICT=");
	CU_ASSERT_STRING_EQUAL(g->text[2], "SSL_CLIENT_S_DN=CN=a\\,b=\"c\" B\xc3\xbc" "cher");
	buf_fini(&b);
	free(g);
}

/* Never a part of a value: too long, or no line of text, and it is not there. */
static void
test_left_out(void)
{
	static const char *const bad[] = { "a\nb", "\x01", "a\x7f", "tab\t" };
	struct got *g = calloc(1, sizeof *g);
	char value[PROGRAM_ENV_VALUE_MAX + 2];
	unsigned var;
	struct buf b;
	size_t i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	buf_init(&b, PROGRAM_ENV_MAX);
	for (i = 0; i < PT_COUNT(bad); i++)
		program_env_put(&b, PROGRAM_ENV_USER, bad[i]);
	memset(value, 'x', sizeof value);
	value[PROGRAM_ENV_VALUE_MAX + 1] = '\0';
	program_env_put(&b, PROGRAM_ENV_USER, value);
	CU_ASSERT_EQUAL(buf_size(&b), 0);
	value[PROGRAM_ENV_VALUE_MAX] = '\0';
	/* all that there is, at its longest: the first ones are there, whole */
	for (var = 0; var < PROGRAM_ENV_COUNT; var++)
		program_env_put(&b, (enum program_env_var)var, value);
	CU_ASSERT_EQUAL(each(buf_span(&b), g), 0);
	CU_ASSERT_TRUE(g->n < PROGRAM_ENV_COUNT);
	CU_ASSERT_EQUAL(g->n, PROGRAM_ENV_MAX / (PROGRAM_ENV_VALUE_MAX + 2));
	for (i = 0; i < g->n; i++) {
		CU_ASSERT_EQUAL(strlen(strchr(g->text[i], '=')), PROGRAM_ENV_VALUE_MAX + 1);
		CU_ASSERT_EQUAL(strncmp(g->text[i], program_env_name((enum program_env_var)i),
				strlen(program_env_name((enum program_env_var)i))), 0);
	}
	buf_fini(&b);
	free(g);
}

/* What a worker that was taken over might send. */
static void
test_hostile(void)
{
	static const struct {
		const char *octets;
		size_t n;
	} rows[] = {
		{ "\x00", 1 },                  /* a number and nothing */
		{ "\x00" "alice", 6 },          /* no end */
		{ "\xff" "x\0", 3 },            /* no such variable */
		{ "\x00" "a\nLD_PRELOAD=x\0", 16 }, /* more than a line */
		{ "\x00" "a\0\x00" "b\0", 6 },  /* twice */
		{ "\x00" "a\0\x01", 4 },        /* cut */
	};
	struct got *g = calloc(1, sizeof *g);
	uint8_t *long_one = malloc(PROGRAM_ENV_MAX + 1);
	size_t i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_PTR_NOT_NULL_FATAL(long_one);
	for (i = 0; i < PT_COUNT(rows); i++)
		CU_ASSERT_EQUAL(each((struct span){ (const uint8_t *)rows[i].octets, rows[i].n }, g), PT_EPROTO);
	memset(long_one, 'x', PROGRAM_ENV_MAX + 1);
	long_one[0] = 0;
	long_one[PROGRAM_ENV_VALUE_MAX + 2] = '\0';
	CU_ASSERT_EQUAL(each((struct span){ long_one, PROGRAM_ENV_VALUE_MAX + 3 }, g), PT_EPROTO);
	long_one[PROGRAM_ENV_VALUE_MAX + 1] = '\0';
	CU_ASSERT_EQUAL(each((struct span){ long_one, PROGRAM_ENV_VALUE_MAX + 2 }, g), 0);
	CU_ASSERT_EQUAL(each((struct span){ long_one, PROGRAM_ENV_MAX + 1 }, g), PT_EPROTO);
	free(long_one);
	free(g);
}

/* No name is long, and none twice. */
static void
test_names(void)
{
	unsigned a, b;

	for (a = 0; a < PROGRAM_ENV_COUNT; a++) {
		CU_ASSERT_TRUE(strlen(program_env_name((enum program_env_var)a)) <= PROGRAM_ENV_NAME_MAX);
		for (b = 0; b < a; b++)
			CU_ASSERT_STRING_NOT_EQUAL(program_env_name((enum program_env_var)a),
				program_env_name((enum program_env_var)b));
	}
}

static const struct test_row rows[] = {
	{ "there and back", test_round },
	{ "what is left out", test_left_out },
	{ "what is refused", test_hostile },
	{ "names", test_names },
};
TEST_MAIN("proc/program_env", rows)
