/* store/row_json.c - see row_json.h. */
#include "store/row_json.h"

#include "store/row.h"

#include <stdlib.h>
#include <string.h>

/* A file may have any name. */
static json_t *
text(const char *s)
{
	json_t *value = json_string(s);
	char *copy, *p;

	if (value != NULL || (copy = strdup(s)) == NULL)
		return value;
	for (p = copy; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	value = json_string(copy);
	free(copy);
	return value;
}

json_t *
row_json(struct span row)
{
	json_t *o = json_object(), *value;
	struct row_field f;
	bool bad;

	while (row_next(&row, &f, &bad)) {
		value = f.kind == 's' ? text(f.value) : f.kind == 'b' ? json_boolean(f.number != 0)
			: json_integer((json_int_t)(f.number > INT64_MAX ? INT64_MAX : f.number));
		if (value == NULL || json_object_set_new(o, f.name, value) != 0)
			bad = true;
		if (bad)
			break;
	}
	if (bad) {
		json_decref(o);
		return NULL;
	}
	return o;
}
