/* cli/cli_config.c - "postern config show": the configuration in effect, and where each value comes
 * from. As text it is a configuration again; as JSON one list of values, each with the blocks
 * around it, its words and its origin. */
#include "cli/cli_load.h"

#include <string.h>

static json_t *
origin_json(const struct conf_origin *origin)
{
	if (origin->file == NULL)
		return json_null(); /* the schema's default */
	return json_pack("{s:o, s:i, s:i}", "file", cli_json_string(origin->file), "line",
			 (int)origin->line, "column", (int)origin->column);
}

static json_t *
words_json(const struct conf_item *item)
{
	json_t *words = json_array(), *word;
	size_t i;

	for (i = 0; i < item->nwords; i++) {
		word = item->is_number ? json_loads(item->words[i], JSON_DECODE_ANY, NULL)
				       : cli_json_string(item->words[i]);
		if (json_array_append_new(words, word) != 0) {
			json_decref(words);
			return NULL;
		}
	}
	return words;
}

static int
add_value(void *arg, const struct conf_item *item)
{
	json_t *value;

	if (item->kind != CONF_ITEM_VALUE)
		return 0; /* a value's path names the blocks around it */
	value =
	    json_pack("{s:o, s:s, s:o, s:o}", "block", cli_json_string(item->path), "name",
		      item->name, "words", words_json(item), "origin", origin_json(item->origin));
	return json_array_append_new(arg, value) == 0 ? 0 : PT_ENOMEM;
}

static enum cli_exit
show_json(const struct cli *cli, const struct conf *conf)
{
	json_t *values = json_array();

	if (values == NULL || conf_show_each(conf, add_value, values) != 0) {
		json_decref(values);
		return cli_fail_memory(cli);
	}
	return cli_put_json(cli, json_pack("{s:b, s:o, s:o}", "ok", 1, "file",
					   cli_json_string(conf->file), "values", values));
}

static enum cli_exit
show_text(const struct cli *cli, const struct conf *conf)
{
	struct buf out;

	buf_init(&out, CLI_TEXT_MAX * 4); /* each value with its origin is more than was written */
	if (conf_show(conf, true, &out) == 0)
		return cli_put_text(cli, &out);
	buf_fini(&out);
	return cli_fail_memory(cli);
}

enum cli_exit
cli_config(const struct cli *cli, int argc, char **argv)
{
	struct conf *conf;
	enum cli_exit code;

	if (argc != 1 || strcmp(argv[0], "show") != 0)
		return cli_fail(cli, CLI_USAGE, "config knows one word: postern config show");
	if ((code = cli_load(cli, &conf)) != CLI_OK)
		return code;
	code = cli->json ? show_json(cli, conf) : show_text(cli, conf);
	conf_free(&conf);
	return code;
}
