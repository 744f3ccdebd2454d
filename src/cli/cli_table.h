/* cli/cli_table.h - rows of text in aligned columns, for people. */
#ifndef CLI_CLI_TABLE_H
#define CLI_CLI_TABLE_H

#include "util/buf.h"

#define CLI_TABLE_COLUMNS_MAX 16

/* One column: its heading, and whether its cells are numbers (then they end at the right). */
struct cli_column {
	const char *heading;
	bool right;
};

/* Opaque; owned by the caller. */
struct cli_table;

/* columns is borrowed and must outlive the table; n <= CLI_TABLE_COLUMNS_MAX. NULL when out of
 * memory. */
struct cli_table *cli_table_new(const struct cli_column *columns, size_t n);
void cli_table_free(struct cli_table **t);

/* Appends a cell; the one after a row's last begins the next row. The text is copied. Once memory
 * is short the table remembers it, and cli_table_print() says so. */
void cli_table_cell(struct cli_table *t, const char *text);
void cli_table_number(struct cli_table *t, long long number);

/* Appends the headings and all rows to out. Widths count UTF-8 characters, not octets. */
int cli_table_print(const struct cli_table *t, struct buf *out) PT_MUST_USE;

#endif
