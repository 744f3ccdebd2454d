/* store/rc.c - names of results. */
#include "store/store_types.h"

const char *
store_rc_text(unsigned rc)
{
	static const char *const texts[STORE_RC_COUNT] = {
#define STORE_RC_TEXT(name, text) [STORE_##name] = text,
		STORE_RCS(STORE_RC_TEXT)
#undef STORE_RC_TEXT
	};

	return rc < STORE_RC_COUNT ? texts[rc] : "unknown";
}
