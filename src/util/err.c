/* util/err.c - texts of result codes, and the end of a process that found its own bug. */
#include "util/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *
pt_strerror(int rc)
{
	switch (rc) {
	case 0:
		return "no error";
#define PT_ERROR_TEXT(name, value, text)                                                           \
	case PT_##name:                                                                            \
		return text;
		PT_ERRORS(PT_ERROR_TEXT)
#undef PT_ERROR_TEXT
	}
	return "unknown error";
}

void
pt_assert_failed(const char *what, const char *file, int line, const char *func)
{
	/* stderr by descriptor: stdio may be what is broken */
	dprintf(STDERR_FILENO, "posternd[%d]: assertion failed: %s (%s:%d, %s)\n", (int)getpid(),
		what, file, line, func);
	abort();
}
