/* proto/exec/exec_line.h - lines of an exec service in plaintext: what they are, and whether they are the keyword.
 * Pure. */
#ifndef PROTO_EXEC_EXEC_LINE_H
#define PROTO_EXEC_EXEC_LINE_H

#include "proto/exec/exec_engine.h"

enum exec_line {
	EXEC_L_MORE, /* no line end yet, and room for one */
	EXEC_L_OK,
	EXEC_L_LONG, /* no line end within EXEC_LINE_MAX */
};

/* The first line of buf. *line_out is what stands before its end (LF, or CR LF: any program's clients may end
 * lines either way); *used_out counts that too. With EXEC_L_MORE and _LONG both are what there is. */
enum exec_line exec_line_parse(const uint8_t *buf, size_t len, struct span *line_out, size_t *used_out);

enum exec_keyword {
	EXEC_K_NO,
	EXEC_K_YES,
	EXEC_K_ARGUMENTS, /* it is, with arguments that it must not have */
};

/* Whether a line asks for TLS. Blanks at its end do not count. */
enum exec_keyword exec_line_keyword(const struct exec_conf *conf, struct span line);

/* A pattern of '*' (any octets, none too) and '?' (one) against a whole line; ASCII letters without case. Linear
 * in len * strlen(pattern) at worst. */
bool exec_line_matches(const char *pattern, struct span line);

#endif
