/* store/row_json.h - rows of the store (row.h) as JSON objects. */
#ifndef STORE_ROW_JSON_H
#define STORE_ROW_JSON_H

#include "util/span.h"

#include <jansson.h>

/* The row as an object: a new reference; NULL when it is not a row, or out of memory. Octets that are not UTF-8 become '?'. */
json_t *row_json(struct span row);

#endif
