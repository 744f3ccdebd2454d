/* proc/program_env.c - see program_env.h. On the way a variable is its number, its value and a NUL. */
#include "proc/program_env.h"

#include <stdio.h>
#include <string.h>

static const char *const names[PROGRAM_ENV_COUNT] = {
#define PROGRAM_ENV_NAME(var, name) [PROGRAM_ENV_##var] = (name),
	PROGRAM_ENV_VARS(PROGRAM_ENV_NAME)
#undef PROGRAM_ENV_NAME
};
_Static_assert(PROGRAM_ENV_COUNT <= 64, "bits of a word");

const char *
program_env_name(enum program_env_var var)
{
	PT_ASSERT((unsigned)var < PROGRAM_ENV_COUNT);
	return names[var];
}

static bool
is_line(struct span value)
{
	size_t i;

	for (i = 0; i < value.n; i++)
		if (value.p[i] < 0x20 || value.p[i] == 0x7f)
			return false;
	return value.n <= PROGRAM_ENV_VALUE_MAX;
}

void
program_env_put(struct buf *buf, enum program_env_var var, const char *value)
{
	const uint8_t number = (uint8_t)var;
	size_t n;

	if (value == NULL || !is_line(span_str(value)))
		return;
	n = strlen(value) + 1;
	if (buf_size(buf) + 1 + n > PROGRAM_ENV_MAX)
		return;
	/* out of memory is the same: nothing of it is there */
	if (buf_append(buf, &number, 1) == 0 && buf_append(buf, value, n) != 0)
		buf_fini(buf);
}

int
program_env_each(struct span env, program_env_f *f, void *arg)
{
	char text[PROGRAM_ENV_NAME_MAX + 1 + PROGRAM_ENV_VALUE_MAX + 1];
	const uint8_t *p = env.p, *end = p + env.n, *nul;
	uint64_t seen = 0;
	struct span value;
	int rc;

	if (env.n > PROGRAM_ENV_MAX)
		return PT_EPROTO;
	for (; p < end; p = nul + 1) {
		if (*p >= PROGRAM_ENV_COUNT || (seen & 1ull << *p) != 0 ||
		    (nul = memchr(p + 1, '\0', (size_t)(end - p - 1))) == NULL)
			return PT_EPROTO;
		value = (struct span){ p + 1, (size_t)(nul - p - 1) };
		if (!is_line(value))
			return PT_EPROTO;
		seen |= 1ull << *p;
		snprintf(text, sizeof text, "%s=%.*s", names[*p], (int)value.n, (const char *)value.p);
		if ((rc = f(arg, text)) != 0)
			return rc;
	}
	return 0;
}
