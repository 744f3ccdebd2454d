/* auth/result.c - names. */
#include "auth/result.h"

#include "util/err.h"

const char *
auth_result_text(enum auth_result r)
{
	static const char *const texts[] = {
#define AUTH_RESULT_TEXT(name, text) [AUTH_##name] = (text),
		AUTH_RESULTS(AUTH_RESULT_TEXT)
#undef AUTH_RESULT_TEXT
	};

	return (unsigned)r < PT_COUNT(texts) ? texts[r] : "unknown";
}

const char *
auth_mechanism_name(enum auth_mechanism m)
{
	static const char *const names[] = {
#define AUTH_MECHANISM_NAME(name, text) [AUTH_M_##name] = (text),
		AUTH_MECHANISMS(AUTH_MECHANISM_NAME)
#undef AUTH_MECHANISM_NAME
	};

	return (unsigned)m < PT_COUNT(names) ? names[m] : "unknown";
}
